"""The layouts in which public video sets ship.

| layout | recognised by |
|---|---|
| ucsd | ``Train/Train001/*.tif`` and ``Test/Test001/*.tif`` with ``Test001_gt`` and ``*.m`` |
| avenue | ``training_videos``, ``testing_videos`` and ``testing_label_mask/N_label.mat`` |
| shanghaitech | ``training/videos``, ``testing/frames``, ``testing/test_frame_mask/*.npy`` |
| ubnormal | ``SceneN/{normal,abnormal}_scene_N_scenario_M.mp4`` and the lists of names |
| ucf_crime | ``Temporal_Anomaly_Annotation*.txt`` and, for training, ``Anomaly_Train.txt`` |
| xd_violence | ``annotations.txt`` beside videos named ``…_label_B1-0-0`` |
| msad | videos ``MSAD_normal_*`` and an annotation CSV or ``*.list`` |
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

import numpy as np

from oddwatch.datasets import store as _store
from oddwatch.datasets.videos import VideoItem, VideoSet, runs
from oddwatch.datasets.videos_files import Tree, natural, pairs, stem

_LETTERS = {
    "B1": "fighting",
    "B2": "shooting",
    "B4": "riot",
    "B5": "abuse",
    "B6": "car accident",
    "G": "explosion",
}


def ucf_class(name: str) -> str:
    """``Fighting023_x264`` is Fighting; normal videos are Normal."""
    word = re.match(r"[A-Za-z]+", stem(name))
    return word[0] if word else ""


def _ucsd(tree: Tree) -> list[VideoSet]:
    """UCSD Ped1 or Ped2: folders of stills at 10 frames a second; frame labels by the ``.m`` file, else by the masks."""
    clips = {
        f: sorted(n, key=natural)
        for f, n in tree.pictures.items()
        if re.fullmatch(r"T(rain|est)\d+", f.rpartition("/")[2])
    }
    train = [
        VideoItem(f.rpartition("/")[2], tree.store, tuple(n), "train", 0, fps=10.0, n_frames=len(n), ranges=())
        for f, n in sorted(clips.items()) if f.startswith("Train/")
    ]  # fmt: skip
    tested = [f for f in sorted(clips) if f.startswith("Test/")]
    if not train or not tested:
        return []
    official = _matlab_ranges(tree)
    test = []
    for number, folder in enumerate(tested):
        files, name = clips[folder], folder.rpartition("/")[2]
        masks = sorted(tree.pictures.get(f"{folder}_gt", []), key=natural)
        whole = tuple(masks) if len(masks) == len(files) else ()
        ranges = official[number] if number < len(official) else None
        known = bool(ranges) if ranges is not None else None
        test.append(
            VideoItem(
                name, tree.store, tuple(files), "test", None if known is None else int(known), fps=10.0,
                n_frames=len(files), ranges=ranges, mask_store=tree.store if whole else "", masks=whole,
            )
        )  # fmt: skip
    note = "split by the folders; frame labels " + ("of the .m file" if official else "by the masks")
    return [VideoSet(tree.title, tree.title, tuple(train), tuple(test), note, "ucsd")]


def _matlab_ranges(tree: Tree) -> list[tuple[tuple[int, int], ...]]:
    """``TestVideoFile{end+1}.gt_frame = [60:152, 170:180];`` line by line, frames from 1."""
    for name in tree.ending(".m"):
        lines = re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", tree.text(name))
        if lines:
            found = [re.findall(r"(\d+)\s*(?::\s*(\d+))?", line) for line in lines]
            return [tuple((int(a) - 1, int(b or a)) for a, b in ranges) for ranges in found]
    return []


def _avenue(tree: Tree) -> list[VideoSet]:
    train, test = _in(tree, "training_videos"), _in(tree, "testing_videos")
    masks = {
        int(m[1]): n for n in tree.ending("_label.mat") if (m := re.match(r"(\d+)_", n.rpartition("/")[2]))
    }
    if not train or not masks:
        return []
    items = []
    for name in test:
        number = int(stem(name)) if stem(name).isdigit() else -1
        own = (masks[number],) if number in masks else ()
        items.append(
            VideoItem(
                stem(name),
                tree.store,
                (name,),
                "test",
                fps=25.0,
                mask_store=tree.store if own else "",
                masks=own,
            )
        )
    note = "split by the folders; frame labels by the masks (any pixel)"
    return [VideoSet(tree.title, tree.title, _normal(tree, train, fps=25.0), tuple(items), note, "avenue")]


def _shanghaitech(tree: Tree) -> list[VideoSet]:
    train = _in(tree, "videos", within="training")
    labels = {stem(n): n for n in tree.ending(".npy") if "test_frame_mask/" in n}
    drawn = {stem(n): n for n in tree.ending(".npy") if "test_pixel_mask/" in n}
    frames = {
        f.rpartition("/")[2]: sorted(n, key=natural)
        for f, n in tree.pictures.items()
        if "/frames/" in f"/{f}"
    }
    items = []
    for clip, name in sorted(labels.items()):
        if clip not in frames:
            continue
        values = _vector(tree, name)
        mask = drawn.get(clip)
        items.append(
            VideoItem(
                clip, tree.store, tuple(frames[clip]), "test", int(values.any()), scene=clip.partition("_")[0], fps=24.0,
                n_frames=len(values), ranges=runs(values), mask_store=tree.store if mask else "",
                masks=(mask,) if mask else (),
            )
        )  # fmt: skip
    if not items:
        return []
    learnt = _normal(tree, train, fps=24.0, scene=True)
    return [
        VideoSet(
            tree.title, tree.title, learnt, tuple(items), "split by the folders, one-class", "shanghaitech"
        )
    ]


def _vector(tree: Tree, name: str) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(_store.read(tree.root, name)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise tree.wrong(name, None, f"an array of frame labels ({error})") from error
    if values.ndim != 1 or not set(np.unique(values).tolist()) <= {0, 1}:
        raise tree.wrong(name, None, f"frame labels 0 or 1, got {values.shape}")
    return values


def _ubnormal(tree: Tree) -> list[VideoSet]:
    """UBnormal: one-class, the normal training videos are learnt; the abnormal ones too where labels are used."""
    placed = re.compile(r"Scene\d+/(?:ab)?normal_scene_\d+_scenario_?\w*\.\w+")
    videos = {stem(n): n for names in tree.videos.values() for n in names if placed.fullmatch(n)}
    if not videos:
        return []
    splits: dict[str, str] = {}
    for name in tree.ending("_video_names.txt"):
        split = "train" if "training" in name else "validation" if "validation" in name else "test"
        splits |= dict.fromkeys(tree.text(name).split(), split)
    train, test = list[VideoItem](), list[VideoItem]()
    for clip, video in sorted(videos.items(), key=lambda pair: natural(pair[0])):
        split = splits.get(clip, "test" if clip.startswith("abnormal") or not splits else "train")
        if split == "validation":
            continue
        scene = clip.split("_scene_")[1].partition("_")[0]
        label = int(clip.startswith("abnormal"))
        ranges = _track_ranges(tree, clip) if label else ()
        item = VideoItem(clip, tree.store, (video,), split, label, scene=scene, ranges=ranges)
        (train if split == "train" else test).append(item)
    note = "split by the lists of names" if splits else "no lists of names: all videos to test"
    return [VideoSet(tree.title, tree.title, tuple(train), tuple(test), note, "ubnormal")]


def _track_ranges(tree: Tree, clip: str) -> tuple[tuple[int, int], ...] | None:
    """``object, first, last`` a line, frames from 0, both ends included; None where there is no file."""
    names = [n for n in tree.ending("_tracks.txt") if stem(n) in (f"{clip}_tracks", f"{clip}_new_tracks")]
    if not names:
        return None
    found = []
    for number, line in enumerate(tree.text(max(names, key=len)).splitlines(), 1):
        if not line.strip():
            continue
        try:
            _, first, last = (int(float(v)) for v in line.split(",")[:3])
        except ValueError as error:
            raise tree.wrong(max(names, key=len), number, "object, first frame, last frame") from error
        found.append((first, last + 1))
    return tuple(sorted(found))


def _ucf_crime(tree: Tree) -> list[VideoSet]:
    """UCF-Crime: 290 test videos by the temporal annotation; training videos with labels of whole clips.

    Ranges are taken as the public evaluations take them: frames from ``start`` to before ``end``, counted from 0.
    """
    name = next((n for n in tree.ending(".txt") if "temporal_anomaly_annotation" in n.lower()), None)
    if name is None:
        return []
    test, missing = [], 0
    for number, line in enumerate(tree.text(name).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        bad = tree.wrong(name, number, "video, class, start, end, start, end")
        if len(words) < 4:
            raise bad
        ranges, video = tuple(pairs(words[2:], bad)), tree.video(words[0])
        missing += video is None
        if video is not None:
            test.append(
                VideoItem(
                    stem(video), tree.store, (video,), "test", int(bool(ranges)), words[1], ranges=ranges
                )
            )
    train = []
    for listed in (n for n in tree.ending("anomaly_train.txt")):
        for line in tree.text(listed).splitlines():
            video = tree.video(line.strip()) if line.strip() else None
            if video is not None:
                label = int("normal" not in line.lower())
                train.append(
                    VideoItem(
                        stem(video),
                        tree.store,
                        (video,),
                        "train",
                        label,
                        ucf_class(video),
                        ranges=None if label else (),
                    )
                )
    note = "split of the annotation" + (f"; {missing} listed test videos are not there" if missing else "")
    return [VideoSet(tree.title, tree.title, tuple(train), tuple(test), note, "ucf_crime")] if test else []


def _xd_violence(tree: Tree) -> list[VideoSet]:
    """XD-Violence: ``annotations.txt`` has the anomalous test videos; ``label_A`` in a name means normal."""
    labelled = {s: n[0] for s, n in tree.videos.items() if "_label_" in s}
    name = next((n for n in tree.ending("annotations.txt")), None)
    if name is None or not labelled:
        return []
    told = {}
    for number, line in enumerate(tree.text(name).splitlines(), 1):
        words = line.split()
        if words:
            bad = tree.wrong(name, number, "video, start, end, …")
            told[words[0].removesuffix(".mp4")] = tuple(pairs(words[1:], bad))
    folder = {video.rpartition("/")[0] for clip, video in labelled.items() if clip in told}
    train, test = list[VideoItem](), list[VideoItem]()
    for clip, video in sorted(labelled.items()):
        letters = [w for w in clip.rpartition("_label_")[2].split("-") if w not in ("0", "A")]
        cls = "-".join(_LETTERS.get(w, w) for w in letters)
        tested = clip in told or video.rpartition("/")[0] in folder
        ranges = told.get(clip, ()) if tested else (None if letters else ())
        item = VideoItem(clip, tree.store, (video,), "test" if tested else "train", int(bool(letters)), cls, fps=24.0,
                         ranges=ranges)  # fmt: skip
        (test if tested else train).append(item)
    note = "test: the folder of the annotated videos; AP is this set's metric"
    return [VideoSet(tree.title, tree.title, tuple(train), tuple(test), note, "xd_violence")] if test else []


def _msad(tree: Tree) -> list[VideoSet]:
    """MSAD. With a ``*test*.list`` its videos are tested (protocol ii); else all anomalous and ``normal_testing`` ones (i).

    The released annotation could not be had here: any CSV is read that has a column of names and one column each
    with "start" and "end" in its title (frames, the last included).
    """
    if not any(s.lower().startswith("msad_normal") for s in tree.videos):
        return []
    told: dict[str, list[tuple[int, int]]] = {}
    for name in tree.ending(".csv"):
        for number, row in enumerate(tree.rows(name), 2):
            start, end = (next((v for k, v in row.items() if w in k), "") for w in ("start", "end"))
            video = tree.video(row.get("name") or row.get("video") or row.get("video name") or "")
            if video is not None and start and end:
                bad = tree.wrong(name, number, "name, start and end frame")
                told.setdefault(stem(video), []).extend((a, b + 1) for a, b in pairs([start, end], bad))
    lists = {n: {stem(w).removesuffix("_i3d") for w in tree.text(n).split()} for n in tree.ending(".list")}
    second = {s for n, names in lists.items() if "test" in n.lower() for s in names}
    if not told and not lists:
        return []
    train, test = list[VideoItem](), list[VideoItem]()
    for clip, videos in sorted(tree.videos.items(), key=lambda pair: natural(pair[0])):
        normal = clip.lower().startswith("msad_normal")
        tested = clip in second if second else not normal or "testing" in clip.lower()
        ranges = () if normal else tuple(told[clip]) if clip in told else None
        cls = "" if normal else re.sub(r"_?\d+$", "", clip)
        item = VideoItem(
            clip, tree.store, (videos[0],), "test" if tested else "train", int(not normal), cls, ranges=ranges
        )
        (test if tested else train).append(item)
    note = f"protocol {'ii by the lists' if second else 'i: normal videos to learn from'}"
    return [VideoSet(tree.title, tree.title, tuple(train), tuple(test), note, "msad")]


def _in(tree: Tree, folder: str, within: str = "") -> list[str]:
    """Videos lying in a folder of this name."""
    found = (n for names in tree.videos.values() for n in names)
    return sorted(n for n in found if f"{within}/{folder}/".lstrip("/") in n)


def _normal(tree: Tree, videos: Sequence[str], fps: float, scene: bool = False) -> tuple[VideoItem, ...]:
    return tuple(
        VideoItem(
            stem(n),
            tree.store,
            (n,),
            "train",
            0,
            fps=fps,
            ranges=(),
            scene=stem(n).partition("_")[0] if scene else "",
        )
        for n in videos
    )


READERS: tuple[Callable[[Tree], list[VideoSet]], ...] = (
    _ucsd, _avenue, _shanghaitech, _ubnormal, _ucf_crime, _xd_violence, _msad,
)  # fmt: skip
