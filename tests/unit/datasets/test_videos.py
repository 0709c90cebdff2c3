"""Readers of video sets on the real folders, clips of stills and parts, folds, near-duplicates."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from oddwatch.core import Frame, InputError, LimitError, Span, resolve
from oddwatch.datasets import CARDS, VIDEO_SETS
from oddwatch.datasets.videos import VideoItem, VideoSet, clip_of, read_video_sets, runs, spans_of
from oddwatch.datasets.videos_alike import look_alikes, perceptual_hash
from oddwatch.datasets.videos_files import pairs
from oddwatch.media.video import Sampling


def write_video(path: Path, count: int = 12, shade: int = 0, fps: float = 10.0) -> Path:
    """A clip of ``count`` frames; frame i is ``shade`` + 5 i bright on the left, noise of its own on the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    noise = np.random.default_rng(shade).integers(0, 255, (6, 4), np.uint8).repeat(8, 0).repeat(8, 1)
    for i in range(count):
        frame = np.full((48, 64, 3), min(255, shade + 5 * i), np.uint8)
        frame[:, 32:] = noise[..., None]
        writer.write(frame)
    writer.release()
    return path


# -- the real folders --------------------------------------------------------------------------------------------


def real(data_root: Path, name: str) -> list[VideoSet]:
    if not (data_root / name).is_dir():
        pytest.skip(f"no {name} in {data_root}")
    return read_video_sets(data_root / name)


def frames_of(one: VideoSet) -> tuple[int, int]:
    labels = np.concatenate([item.frame_labels() for item in one.test])
    return len(labels), int(labels.sum())


def test_ucsd_ped1_has_its_official_ranges_and_folds_by_clip(data_root):
    (one,) = real(data_root, "ucsd_ped1")
    assert (one.layout, len(one.test), one.folds) == ("ucsd_clips", 27, 4)
    assert frames_of(one) == (5400, 3117)  # 57.7 % as its README says
    first = one.test[0]
    assert first.ranges == ((59, 152),) and first.label == 1
    assert one.train[0].part == (0, 59) and one.train[0].group == "Test001"
    masks = list(first.mask_frames())
    assert len(masks) == 200 and masks[0].shape == (158, 238)
    assert [i for i, m in enumerate(masks) if m.any()] == list(range(69, 151))
    assert sum(bool(item.masks) for item in one.test) == 13


def test_no_fold_of_ped1_learns_from_a_clip_it_tests(data_root):
    (one,) = real(data_root, "ucsd_ped1")
    tested = []
    for train, test in one.rounds():
        assert not {i.group for i in train} & {i.group for i in test} and train
        tested += [i.name for i in test]
    assert sorted(tested) == sorted(i.name for i in one.test)
    assert [len(test) for _, test in one.rounds(27)] == [1] * 27
    assert [[i.name for i in t] for _, t in one.rounds(4, 1)] != [
        [i.name for i in t] for _, t in one.rounds(4, 0)
    ]


def test_the_clip_of_a_part_is_the_same_frames_as_the_video(data_root):
    (one,) = real(data_root, "ucsd_ped1")
    part = clip_of(one.train[1])
    assert one.train[1].part == (152, 200) and len(part.times) == 48
    assert part.times[0] == pytest.approx(15.2)
    frames = list(part.frames(Sampling(None)))
    assert [f.index for f in frames] == list(range(48))
    whole = clip_of(one.test[0])
    same = next(iter(whole.frames(Sampling(None), 15.2)))
    assert np.array_equal(frames[0].pixels, same.pixels) and frames[0].time == same.time
    assert [f.index for f in part.frames(Sampling(None), 16.0, 16.25)] == [8, 9, 10]
    assert list(part.frames(Sampling(None), 0.0, 1.0)) == []


def test_avenue_stills_are_read_in_their_zips_with_masks(data_root):
    (one,) = real(data_root, "avenue")
    assert not one.moving and frames_of(one) == (249, 67)
    first = one.test[0]
    clip = clip_of(first)
    assert clip.times[:3].tolist() == [0, 2, 4]
    frame = next(iter(clip.frames(Sampling(2.0), 22.0)))
    assert frame.pixels.shape == (360, 640, 3) and frame.time == 22.0
    masks = list(first.mask_frames())
    labels = first.frame_labels()
    assert [int(m is not None) for m in masks] == labels.tolist()
    assert masks[11].shape == (360, 640) and masks[11].any()
    stills = [i for i in one.train if i.numbers]
    assert len(stills) == 12 and sum(len(i.files) for i in stills) == 142
    assert clip_of(stills[0]).times[:2].tolist() == [0, 4]
    assert [i.name for i in one.train if not i.numbers] == [
        "train_clip_10_frames0-1222",
        "train_clip_11_frames0-780",
    ]


def test_umn_learns_its_first_150_frames(data_root):
    (one,) = real(data_root, "umn_crowd")
    assert one.train[0].part == (0, 150) and one.test[0].part == (150, 306)
    assert frames_of(one) == (156, 42) and one.test[0].ranges == ((114, 156),)


def test_upcam_learns_its_hours_and_tests_the_labelled_one(data_root):
    (one,) = real(data_root, "upcam_cctv")
    assert len(one.train) == 3 and [i.n_frames for i in one.test] == [13500]
    assert len(clip_of(one.test[0]).times) == 13500


def test_ucf_samples_and_lists_of_labels(data_root):
    (one,) = real(data_root, "ucf_crime_samples")
    assert {i.name: i.cls for i in one.test}["Fighting023_x264"] == "Fighting"
    assert {i.name: i.ranges for i in one.test}["Explosion001_x264"] == ((113, 410),)
    for train, test in one.rounds():
        assert [i.label for i in train] == [0] and sorted(i.label for i in test) == [0, 1]
    ucf, xd, shanghai = real(data_root, "vad_frame_gt")
    assert (len(ucf.test), frames_of(ucf)[0]) == (290, 1_111_808)
    assert sum(not i.label for i in ucf.test) == 150
    assert len(xd.test) == 800 and {i.label for i in xd.test} == {0, 1}
    assert len(shanghai.test) == 81 and shanghai.test[0].scene == "01"
    with pytest.raises(InputError, match="labels or tracks only"):
        clip_of(ucf.test[0])


@pytest.mark.slow
def test_fights_of_one_source_stay_in_one_fold(data_root):
    (one,) = real(data_root, "surveillance_fights")
    assert len(one.test) == 226 and sum(i.label for i in one.test) == 113 and one.folds == 5
    groups = look_alikes(one.test)
    assert (
        groups["noFight_nofi090"] == groups["noFight_nofi091"]
        and groups["fight_fi067"] == groups["noFight_nofi098"]
    )
    assert 100 < len(set(groups.values())) < 200
    for train, test in one.rounds():
        assert not {groups[i.name] for i in train} & {groups[i.name] for i in test}
        assert abs(len(test) - 45) <= 4 and abs(sum(i.label for i in test) - 22) <= 5
        assert {i.label for i in train} == {0, 1}


@pytest.mark.slow
def test_tables_of_tracks(data_root):
    pytest.importorskip("pyarrow")
    avenue, shanghai = real(data_root, "pedestrian_tracks")
    assert (len(avenue.train), len(avenue.test), frames_of(avenue)) == (16, 16, (12057, 3130))
    assert (len(shanghai.train), len(shanghai.test), frames_of(shanghai)) == (165, 81, (31093, 13114))
    tables = [i.table() for i in avenue.test]
    assert sum(map(len, tables)) == 75505 and all((np.diff(t.frame) >= 0).all() for t in tables)
    assert avenue.test[0].size == (360, 640) and tables[0].abnormal.any()
    # the table's own frame labels are those of the masks
    labels = avenue.test[0].frame_labels()
    assert (labels[tables[0].frame] == tables[0].frame_label).all()


# -- items, clips, folds -----------------------------------------------------------------------------------------


def test_runs_and_spans_are_half_open():
    labels = np.array([0, 1, 1, 0, 1])
    assert runs(labels) == ((1, 3), (4, 5)) and runs([]) == () and runs([1]) == ((0, 1),)
    times = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    assert spans_of(labels, times) == [Span(0.5, 1.5), Span(2.0, 2.5)]
    assert spans_of(np.zeros(0), np.zeros(0)) == [] and spans_of(np.ones(1), np.zeros(1)) == [Span(0.0, 1.0)]


def test_labels_fit_a_file_that_is_a_little_longer_or_shorter():
    item = VideoItem("a", ranges=((3, 20),), n_frames=20, label=1)
    assert item.frame_labels().tolist() == [0] * 3 + [1] * 17
    assert item.frame_labels(18).tolist() == [0] * 3 + [1] * 15
    assert item.frame_labels(25).tolist() == [0] * 3 + [1] * 22
    with pytest.raises(InputError, match="has 60 frames, its labels are of 20"):
        item.frame_labels(60)
    assert VideoItem("b", label=1).frame_labels(5) is None
    assert VideoItem("b", label=0).frame_labels(5).tolist() == [0] * 5
    with pytest.raises(InputError, match="how many frames"):
        VideoItem("b", label=0).frame_labels()


def test_stills_are_sampled_by_time_and_a_broken_one_is_left_out(tmp_path):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((6, 8), 40 * i, np.uint8))
    (tmp_path / "2.png").write_bytes(b"\x89PNG broken")
    files = tuple(f"{i}.png" for i in range(4))
    clip = clip_of(VideoItem("s", str(tmp_path), files, fps=2.0))
    assert clip.times.tolist() == [0, 0.5, 1, 1.5] and clip.fps == 2 and clip.duration == 2
    assert [f.index for f in clip.frames(Sampling(None))] == [0, 1, 3] and len(clip.problems) == 1
    assert [f.index for f in clip.frames(Sampling(1.0))] == [0]
    assert [f.index for f in clip.frames(Sampling(None), 0.4, 1.5)] == [1]
    with pytest.raises(InputError, match="by time only"):
        list(clip.frames(Sampling(scene=0.1)))
    with pytest.raises(InputError, match="in order of time"):
        clip_of(VideoItem("s", str(tmp_path), files, fps=2.0, numbers=(0, 4, 2, 6)))


def test_names_never_leave_the_folder(tmp_path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "out.png"), np.zeros((4, 4), np.uint8))
    clip = clip_of(VideoItem("s", str(tmp_path / "in"), ("../out.png",), fps=1.0))
    with pytest.raises(InputError, match="relative path"):
        list(clip.frames())
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(InputError, match="leaves its folder"):
        list(clip_of(VideoItem("s", str(tmp_path / "in"), ("a.png",), fps=1.0)).frames())


def test_folds_keep_groups_together_and_are_about_even():
    items = tuple(VideoItem(f"{i}", label=i % 2, group=f"g{i // 3}", n_frames=1) for i in range(24))
    one = VideoSet("s", "s", items, items, folds=4)
    sizes = []
    for train, test in one.rounds():
        assert not {i.group for i in train} & {i.group for i in test}
        sizes.append((len(test), sum(i.label for i in test)))
    assert sizes == [(6, 3)] * 4
    with pytest.raises(InputError, match="2 or more"):
        list(one.rounds(1))
    plain = VideoSet("s", "s", items[:2], items[2:])
    assert [(len(a), len(b)) for a, b in plain.rounds(4)] == [(2, 22)]


def test_near_duplicates_are_one_group(tmp_path):
    names = ["a1", "a2", "b1"]
    for name, shade in zip(names, (10, 10, 90), strict=True):
        write_video(tmp_path / f"{name}.avi", shade=shade)
    groups = look_alikes([VideoItem(n, str(tmp_path), (f"{n}.avi",), label=0) for n in names])
    assert groups == {"a1": "a1", "a2": "a1", "b1": "b1"} and look_alikes([]) == {}


def test_the_perceptual_hash_follows_what_is_seen_not_how_bright():
    rng = np.random.default_rng(0)
    one, other = (cv2.resize(rng.integers(0, 200, (5, 5, 3), np.uint8), (64, 48)) for _ in range(2))
    first = perceptual_hash(Frame(one))
    assert first.shape == (63,) and 28 <= first.sum() <= 32
    assert (first != perceptual_hash(Frame(one + np.uint8(20)))).sum() <= 4
    assert (first != perceptual_hash(Frame(other))).sum() > 16


def test_pairs_of_frames():
    wrong = InputError("row", "wrong")
    assert pairs(["3", "7", "-1", "-1"], wrong) == [(3, 7)] and pairs([1, 5], wrong, shift=-1) == [(0, 5)]
    for bad in (["3"], ["x", "1"], [5, 2], [None, None]):
        with pytest.raises(InputError, match="wrong"):
            pairs(bad, wrong)


@pytest.mark.parametrize("name", VIDEO_SETS)
def test_every_layout_has_its_reader_and_card(name):
    assert resolve(VIDEO_SETS, name, "video set") is read_video_sets
    assert CARDS[name].kind == "benchmark" and CARDS[name].modality == "video"


def test_what_was_looked_for_is_said(tmp_path):
    with pytest.raises(InputError, match=r"spans\.csv"):
        read_video_sets(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        read_video_sets(tmp_path / "absent")


def test_masks_of_other_content_are_refused(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "short.npz", packed=np.zeros(1, np.uint8), shape=(2, 30, 30))
    np.savez(tmp_path / "huge.npz", packed=np.zeros(10**4, np.uint8), shape=(10**9, 10**9, 10**9))
    (tmp_path / "bad.mat").write_bytes(b"MATLAB 5.0 nonsense" * 20)
    for name in ("flat.npy", "objects.npy", "short.npz", "huge.npz", "bad.mat"):
        with pytest.raises((InputError, LimitError)):
            list(VideoItem("m", mask_store=str(tmp_path), masks=(name,)).mask_frames())
