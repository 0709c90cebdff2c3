"""The layouts of video sets in which labels lie beside the clips, and of one's own folders.

| layout | recognised by |
|---|---|
| ucsd_clips | ``frame_gt.json`` and ``normal_segments_1based.json`` beside clips of the same names |
| avenue_stills | ``test_frames.csv`` (file, video, frame0, label) and zips of stills |
| frame_labels | ``labels.csv`` with ``frame0`` and ``label`` beside one video |
| label_lines | ``NAME_labels.csv``, a 0 or 1 a line, beside ``NAME`` and other videos |
| clip_labels | ``labels.csv`` with ``file`` and ``label``, a clip a row |
| ranges_json | ``annotations.json``: clip → ``frames``, ``anomalous_ranges_frames`` |
| tracks | ``*_train`` and ``*_test`` tables of boxes (Parquet or CSV) |
| frame_gt | lists of anomalous frames without footage |
| spans | ``spans.csv`` or ``spans.json`` with file, start, end (s) and, where told, label |

The layouts that public sets ship in are in ``videos_public``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.datasets import store as _store
from oddwatch.datasets import videos_public
from oddwatch.datasets.videos import VideoItem, VideoSet, runs
from oddwatch.datasets.videos_files import Tree, natural, pairs, stem
from oddwatch.datasets.videos_tracks import read_tables

LOOKED_FOR = (
    "the folders of UCSD, Avenue, ShanghaiTech, UBnormal, UCF-Crime, XD-Violence or MSAD as shipped; labels.csv beside "
    "videos; frame_gt.json, test_frames.csv, annotations.json or NAME_labels.csv; *_train and *_test tables of tracks; "
    "or spans.csv (file, start, end, label) in a folder of videos"
)
FOLDS = 4
"""Rounds of a set whose normal footage comes from its own test clips."""
CLIP_FOLDS = 5
_TRACK_FPS = {"avenue": (25.0, (360, 640)), "st": (24.0, (480, 856))}
"""Frames a second and (height, width) of the videos that the known tables of tracks are from."""


def read_tree(tree: Tree, seed: int = 0) -> list[VideoSet]:
    """The sets of the first layout that fits ``tree``; none where none fits."""
    readers: tuple[Callable[[Tree], list[VideoSet]], ...] = (
        _ucsd_clips, _avenue_stills, _frame_labels, _clip_labels, _ranges_json, _label_lines, _tracks, _frame_gt, _spans,
        *videos_public.READERS,
    )  # fmt: skip
    return next((sets for reader in readers if (sets := reader(tree))), [])


def _ucsd_clips(tree: Tree) -> list[VideoSet]:
    """UCSD test clips as videos; normal segments of the other clips are what is learnt (``folds``)."""
    if "frame_gt.json" not in tree.names or "normal_segments_1based.json" not in tree.names:
        return []
    truth, segments = tree.json("frame_gt.json"), tree.json("normal_segments_1based.json")
    if not isinstance(truth, dict) or not isinstance(segments, dict):
        raise tree.wrong("frame_gt.json", None, "clip → n_frames and ranges")
    test, train = [], []
    for clip in sorted(truth, key=natural):
        video = tree.video(clip)
        if video is None:
            continue
        bad = tree.wrong("frame_gt.json", None, f"n_frames and ranges of {clip}")
        try:
            count = int(truth[clip]["n_frames"])
            listed = [v for r in truth[clip]["anomalous_ranges_1based_inclusive"] for v in r]
            quiet = [v for r in segments.get(clip, []) for v in r]
        except (KeyError, TypeError, ValueError) as error:
            raise bad from error
        ranges = tuple(pairs(listed, bad, shift=-1))
        masks = [n for n in tree.ending("_gt.npz") if stem(n) == f"{clip}_gt"]
        common: dict[str, Any] = {"store": tree.store, "files": (video,), "group": clip}
        test.append(
            VideoItem(
                clip, **common, split="test", label=int(bool(ranges)), n_frames=count, ranges=ranges,
                mask_store=tree.store if masks else "", masks=tuple(masks),
            )
        )  # fmt: skip
        for first, stop in pairs(quiet, bad, shift=-1):
            train.append(
                VideoItem(
                    f"{clip}[{first}:{stop}]", **common, split="train", label=0, n_frames=stop - first,
                    ranges=(), part=(first, stop),
                )
            )  # fmt: skip
    note = "learnt from the normal segments of other clips, not from the set's own training clips"
    return [_set(tree, train, test, "ucsd_clips", note, folds=FOLDS)] if test else []


def _avenue_stills(tree: Tree) -> list[VideoSet]:
    """Stills every 2 s in zips, masks in a zip, normal stills and clips to learn from."""
    if "test_frames.csv" not in tree.names or not tree.zips:
        return []
    members = {path: _store.names(path) for path in tree.zips}
    rows: dict[str, list[tuple[int, str, int]]] = {}
    for number, row in enumerate(tree.rows("test_frames.csv"), 2):
        try:
            rows.setdefault(row["video"], []).append((int(row["frame0"]), row["file"], int(row["label"])))
        except (KeyError, ValueError) as error:
            raise tree.wrong("test_frames.csv", number, "file, video, frame0 and label 0 or 1") from error
    shown = _holding(members, {row[1] for group in rows.values() for row in group})
    drawn = next((p for p in tree.zips if "mask" in p.name), None)
    if shown is None:
        return []
    test = []
    for video, listed in sorted(rows.items()):
        kept = sorted(r for r in listed if r[1] in members[shown])
        masks = [f"{stem(r[1])}.png" for r in kept]
        own = {m for m in masks if drawn is not None and m in members[drawn]}
        test.append(
            VideoItem(
                video, str(shown), tuple(r[1] for r in kept), "test", int(any(r[2] for r in kept)), fps=25.0,
                n_frames=len(kept), ranges=runs([r[2] for r in kept]), numbers=tuple(r[0] for r in kept),
                mask_store=str(drawn) if own else "", masks=tuple(m if m in own else "" for m in masks) if own else (),
            )
        )  # fmt: skip
    train = [one for p in tree.zips if "train" in p.name for one in _numbered_stills(p, members[p])]
    train += [
        VideoItem(stem(n), tree.store, (n,), "train", 0, ranges=())
        for n in sorted(tree.ending(".mp4", ".avi"))
    ]
    note = "stills every 2 s: they carry no motion; normal stills and two normal clips to learn from"
    return [_set(tree, train, test, "avenue_stills", note, moving=False)]


def _holding(members: Mapping[Path, Sequence[str]], files: set[str]) -> Path | None:
    return next((path for path, names in members.items() if files & set(names)), None)


def _numbered_stills(path: Path, names: Sequence[str]) -> list[VideoItem]:
    """``…V imageK.jpg``: the picture K of video V, taken every 2 s of 25 frames (K counts from 1)."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if match := re.fullmatch(r"(.*?)_?image(\d+)\.\w+", name.rpartition("/")[2]):
            found.setdefault(match[1], []).append((50 * (int(match[2]) - 1), name))
    return [
        VideoItem(
            video, str(path), tuple(n for _, n in sorted(group)), "train", 0, fps=25.0, n_frames=len(group), ranges=(),
            numbers=tuple(k for k, _ in sorted(group)),
        )
        for video, group in sorted(found.items(), key=lambda pair: natural(pair[0]))
    ]  # fmt: skip


def _frame_labels(tree: Tree) -> list[VideoSet]:
    """One video with ``labels.csv``: its first half (in whole tens of frames, while normal) is what is learnt."""
    rows = _table(tree, "labels.csv", {"frame0", "label"})
    videos = [n for names in tree.videos.values() for n in names]
    if not rows or len(videos) != 1:
        return []
    labels = np.zeros(len(rows), np.uint8)
    for number, row in enumerate(rows, 2):
        at, label = row["frame0"], row["label"]
        if not at.isdigit() or int(at) >= len(rows) or label not in ("0", "1"):
            raise tree.wrong("labels.csv", number, f"a frame below {len(rows)} and label 0 or 1")
        labels[int(at)] = int(label)
    first = int(np.argmax(labels)) if labels.any() else len(labels)
    lead = min(10 * (len(labels) // 20), first)
    name = stem(videos[0])
    common: dict[str, Any] = {"store": tree.store, "files": (videos[0],), "group": name}
    train = [
        VideoItem(
            f"{name}[0:{lead}]", **common, split="train", label=0, n_frames=lead, ranges=(), part=(0, lead)
        )
    ]
    rest = labels[lead:]
    test = VideoItem(
        f"{name}[{lead}:{len(labels)}]", **common, label=int(rest.any()), n_frames=len(rest), ranges=runs(rest),
        part=(lead, len(labels)),
    )  # fmt: skip
    note = f"the first {lead} frames to learn from, the other {len(rest)} to test"
    return [_set(tree, train if lead else [], [test], "frame_labels", note)]


def _clip_labels(tree: Tree) -> list[VideoSet]:
    """``labels.csv`` with a label a clip; folds keep clips of one source together, told by their pictures."""
    items = []
    for number, row in enumerate(_table(tree, "labels.csv", {"file", "label"}), 2):
        if row["label"] not in ("0", "1"):
            raise tree.wrong("labels.csv", number, "a file and label 0 or 1")
        video = tree.video(row["file"])
        if video is None:
            continue
        label = int(row["label"])
        items.append(
            VideoItem(stem(video), tree.store, (video,), "test", label, cls=row.get("class", ""),
                      ranges=None if label else (), n_frames=_whole(row.get("n_frames")))
        )  # fmt: skip
    note = "labels of whole clips; folds keep near-duplicate clips together, their normal clips (labels: all) to learn from"
    train = [replace(i, split="train") for i in items]
    return [_set(tree, train, items, "clip_labels", note, folds=CLIP_FOLDS, alike=True)] if items else []


def _ranges_json(tree: Tree) -> list[VideoSet]:
    """``annotations.json`` of a few clips with anomalous frames; the normal ones of the other fold are learnt."""
    if "annotations.json" not in tree.names:
        return []
    listed, items = tree.json("annotations.json"), []
    if not isinstance(listed, dict):
        return []
    for clip, about in sorted(listed.items()):
        video = tree.video(clip)
        if video is None or not isinstance(about, dict) or "anomalous_ranges_frames" not in about:
            continue
        bad = tree.wrong("annotations.json", None, f"frames and anomalous_ranges_frames of {clip}")
        ranges = tuple(pairs(about["anomalous_ranges_frames"], bad))
        items.append(
            VideoItem(clip, tree.store, (video,), "test", int(bool(ranges)), cls=videos_public.ucf_class(clip),
                      n_frames=_whole(about.get("frames")), ranges=ranges)
        )  # fmt: skip
    normal = [replace(i, split="train") for i in items if not i.label]
    note = "the normal clips of the other fold to learn from; other cameras, so for trying out only"
    folds = 2 if len(items) > 1 and normal else 0
    return [_set(tree, normal if folds else [], items, "ranges_json", note, folds=folds)] if items else []


def _label_lines(tree: Tree) -> list[VideoSet]:
    """``NAME_labels.csv`` with a 0 or 1 a line beside video ``NAME``; the videos without labels are normal ones."""
    test, labelled = [], set()
    for name in (n for n in tree.ending("_labels.csv") if "/" not in n):
        video = tree.video(stem(name).removesuffix("_labels"))
        lines = tree.text(name).split() if video is not None else []
        if video is None or not lines or not set(lines) <= {"0", "1"}:
            continue
        labelled.add(video)
        values = np.array(lines, np.uint8)
        test.append(
            VideoItem(stem(video), tree.store, (video,), "test", int(values.any()), n_frames=len(values),
                      ranges=runs(values))
        )  # fmt: skip
    others = sorted(n for s in tree.videos.values() for n in s if "/" not in n and n not in labelled)
    train = [VideoItem(stem(n), tree.store, (n,), "train", 0, ranges=()) for n in others]
    return [_set(tree, train, test, "label_lines", "videos without labels to learn from")] if test else []


def _tracks(tree: Tree) -> list[VideoSet]:
    """Tables ``X_train`` and ``X_test`` of boxes; frame labels of whole videos from the sets that lie beside."""
    sets = []
    for test_name in (n for n in tree.ending("_test.parquet", "_test.csv") if "/" not in n):
        head, ending = test_name.rsplit("_test", 1)
        train_name = f"{head}_train{ending}"
        if train_name not in tree.names or (ending == ".csv" and not _is_tracks(tree, test_name)):
            continue
        fps, size = _TRACK_FPS.get(stem(head), (25.0, None))
        truth = _known_labels(tree.root.parent)
        test = []
        for clip, table in sorted(read_tables(tree.root, test_name).items()):
            if clip in truth:
                labels = np.frombuffer(truth[clip].encode(), np.uint8) - ord("0")
            else:
                labels = np.zeros(int(table.frame[-1]) + 1, np.uint8)
                labels[table.frame[table.frame_label if table.frame_label is not None else []]] = 1
            test.append(
                VideoItem(clip, tree.store, (), "test", int(labels.any()), scene=clip.partition("_")[0], fps=fps,
                          n_frames=len(labels), ranges=runs(labels), tracks=test_name, size=size)
            )  # fmt: skip
        train = [
            VideoItem(clip, tree.store, (), "train", 0, scene=clip.partition("_")[0], fps=fps,
                      n_frames=int(table.frame[-1]) + 1, ranges=(), tracks=train_name, size=size)
            for clip, table in sorted(read_tables(tree.root, train_name).items())
        ]  # fmt: skip
        known = sum(i.name in truth for i in test)
        note = f"tracks of people, no pixels; labels of all frames for {known} of {len(test)} test videos"
        sets.append(_set(tree, train, test, "tracks", note, category=stem(head)))
    return sets


def _is_tracks(tree: Tree, name: str) -> bool:
    return "person_id" in tree.text(name).partition("\n")[0].lower()


def _known_labels(above: Path) -> dict[str, str]:
    """Clip → a 0 or 1 a frame, from the label files of Avenue and ShanghaiTech beside."""
    found: dict[str, str] = {}
    for folder, name in (
        ("avenue", "frame_labels_from_masks.json"),
        ("vad_frame_gt", "shanghaitech_test.json"),
    ):
        if (above / folder / name).is_file():
            found |= _strings(Tree(above / folder), name)
    return found


def _strings(tree: Tree, name: str) -> dict[str, str]:
    listed = tree.json(name)
    good = isinstance(listed, dict) and all(
        isinstance(v, str) and not set(v) - {"0", "1"} for v in listed.values()
    )
    if not good:
        raise tree.wrong(name, None, "clip → a 0 or 1 a frame")
    return dict(listed)


def _frame_gt(tree: Tree) -> list[VideoSet]:
    """Frame labels of UCF-Crime, XD-Violence and ShanghaiTech without footage."""
    sets = []
    note = "labels only, no footage"
    if "ucf_crime_test_290.csv" in tree.names:
        items = []
        for number, row in enumerate(tree.rows("ucf_crime_test_290.csv"), 2):
            bad = tree.wrong("ucf_crime_test_290.csv", number, "n_frames, start1, end1, start2, end2")
            if not {"video", "class", "n_frames"} <= set(row):
                raise bad
            ranges = tuple(pairs([row.get(c) for c in ("start1", "end1", "start2", "end2")], bad))
            items.append(_labelled(row["video"], row["class"], _whole(row["n_frames"]), ranges))
        sets.append(_set(tree, [], items, "frame_gt", note, category="ucf_crime"))
    if "xd_violence_test_800.json" in tree.names:
        items = []
        for row in tree.json("xd_violence_test_800.json"):
            bad = tree.wrong("xd_violence_test_800.json", None, f"frame pairs of {row}"[:200])
            try:
                listed = (row["temporal_label"] or ()) if str(row["label"]) == "1" else ()
                kinds = dict.fromkeys(str(c[0]) for c in row.get("multiclass") or ())
                name, count = str(row["video"]), _whole(row["n_frames"])
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise bad from error
            items.append(_labelled(name, "-".join(kinds), count, tuple(pairs(listed, bad))))
        sets.append(_set(tree, [], items, "frame_gt", note, category="xd_violence"))
    if "shanghaitech_test.json" in tree.names:
        strings = _strings(tree, "shanghaitech_test.json")
        items = [
            VideoItem(clip, label=int("1" in s), scene=clip.partition("_")[0], fps=24.0, n_frames=len(s),
                      ranges=runs(np.frombuffer(s.encode(), np.uint8) - ord("0")))
            for clip, s in sorted(strings.items())
        ]  # fmt: skip
        sets.append(_set(tree, [], items, "frame_gt", note, category="shanghaitech"))
    return sets


def _labelled(name: str, cls: str, count: int, ranges: tuple[tuple[int, int], ...]) -> VideoItem:
    kept = tuple((a, min(b, count)) for a, b in ranges if a < count)
    return VideoItem(name, label=int(bool(kept)), cls=cls, n_frames=count, ranges=kept)


def _spans(tree: Tree) -> list[VideoSet]:
    """One's own videos: ``spans.csv`` or ``spans.json`` say what is anomalous, in seconds.

    Videos in a folder named train, training or normal are what is learnt, all others are tested; those without a row
    are normal.
    """
    name = next((n for n in ("spans.csv", "spans.json") if n in tree.names), None)
    if name is None or not tree.videos:
        return []
    told: dict[str, list[tuple[float, float]]] = {}
    kinds: dict[str, str] = {}
    for number, row in enumerate(_span_rows(tree, name), 2 if name.endswith("csv") else 1):
        video = tree.video(str(row.get("file", "")))
        try:
            start, end = float(row["start"]), float(row["end"])
        except (KeyError, TypeError, ValueError) as error:
            raise tree.wrong(name, number, "file, start and end in seconds") from error
        if video is None or not (math.isfinite(end) and 0 <= start < end):
            raise tree.wrong(name, number, f"a video of the folder and 0 ≤ start < end, got {row}"[:300])
        told.setdefault(video, []).append((start, end))
        kinds[video] = str(row.get("label") or kinds.get(video, ""))
    train, test = [], []
    for video in sorted((n for names in tree.videos.values() for n in names), key=natural):
        folders = {part.lower() for part in video.split("/")[:-1]}
        normal = bool(folders & {"train", "training", "normal"}) and video not in told
        common: dict[str, Any] = {"name": video.rpartition(".")[0], "store": tree.store, "files": (video,)}
        if normal:
            train.append(VideoItem(**common, split="train", label=0, ranges=()))
            continue
        ranges, count = _in_frames(tree.root / video, told.get(video, []))
        test.append(
            VideoItem(
                **common, label=int(bool(ranges)), cls=kinds.get(video, ""), n_frames=count, ranges=ranges
            )
        )
    note = f"spans of {name}; videos in folders train or normal to learn from"
    return [_set(tree, train, test, "spans", note)]


def _span_rows(tree: Tree, name: str) -> list[Mapping[str, Any]]:
    rows: Any = tree.rows(name) if name.endswith(".csv") else tree.json(name)
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise tree.wrong(name, None, "a list of objects with file, start, end")
    return list(rows)


def _in_frames(path: Path, spans: Sequence[tuple[float, float]]) -> tuple[tuple[tuple[int, int], ...], int]:
    """Spans in seconds as frames: a frame counts where it is shown within the span, at least one a span."""
    from oddwatch.media.video import Video

    times = Video(path).times
    labels = np.zeros(len(times), np.uint8)
    for start, end in spans:
        first = min(max(int(np.searchsorted(times, start, side="right")) - 1, 0), len(times) - 1)
        stop = max(int(np.searchsorted(times, end, side="left")), first + 1)
        labels[first:stop] = 1
    return runs(labels), len(times)


def _table(tree: Tree, name: str, columns: set[str]) -> list[dict[str, str]]:
    """The rows of a table that has ``columns``; none where it is absent or another."""
    rows = tree.rows(name) if name in tree.names else []
    return rows if rows and columns <= set(rows[0]) else []


def _whole(value: Any) -> int:
    """A number of frames, 0 where none is told."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return 0


def _set(
    tree: Tree, train: Sequence[VideoItem], test: Sequence[VideoItem], layout: str, note: str, **more: Any
) -> VideoSet:
    if not train:
        note += "; no normal clips to learn from"
    return VideoSet(
        tree.title, more.pop("category", tree.title), tuple(train), tuple(test), note, layout, **more
    )
