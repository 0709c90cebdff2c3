"""Snippets: rows of a clip, the three poolings of the specification, bags, frames, files of features."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError, MediaError
from oddwatch.detectors.video import bags_file, snippets
from oddwatch.detectors.video.notes import Notes, Objects

ROWS = st.integers(1, 80)


def rows(n: int, width: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def clip(frames: int = 40, **arguments: object) -> Notes:
    return Notes("clip", (100, 200), np.arange(frames) / 25, **arguments)


# -- pooling -----------------------------------------------------------------------------------------------------------


def test_the_edges_of_the_specification():
    assert snippets.edges(10, 4).tolist() == [0, 2, 5, 7, 10]
    assert snippets.edges(3, 4).tolist() == [0, 0, 1, 2, 3]
    assert snippets.edges(10, 4, "matlab1").tolist() == [1, 3, 6, 8, 10]
    assert snippets.edges(3, 4, "matlab1").tolist() == [1, 2, 2, 3, 3]
    long = snippets.edges(64, 32, "matlab1").tolist()
    assert long[:5] == [1, 3, 5, 7, 9] and long[-3:] == [60, 62, 64]


def test_segments_are_the_rows_of_the_specification():
    x = rows(3)
    assert np.allclose(snippets.pool(x, 4), x[[0, 0, 1, 2]])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert np.allclose(snippets.pool(x, 4, "matlab1"), unit[[0, 1, 1, 2]], atol=1e-6)
    assert np.allclose(snippets.pool(x, 5, "index"), x[[0, 0, 1, 1, 2]])
    means = snippets.pool(rows(10), 4)
    assert np.allclose(means[1], rows(10)[2:5].mean(0), atol=1e-6)


@pytest.mark.parametrize("n", [18, 64, 200])
def test_sultanis_pooling_never_reads_the_last_snippet_of_a_long_clip(n):
    x = rows(n)
    changed = x.copy()
    changed[-1] += 100
    assert np.array_equal(snippets.pool(x, 32, "matlab1"), snippets.pool(changed, 32, "matlab1"))
    assert not np.array_equal(snippets.pool(x, 32), snippets.pool(changed, 32))


@given(ROWS, ROWS, st.sampled_from(["linspace0", "matlab1", "index"]))
def test_segments_are_means_of_neighbours_in_order(n, segments, how):
    """The pooled positions ascend, stay inside the clip, and pooling crops together is pooling each."""
    at = np.arange(n, dtype=np.float32)
    both = np.stack([at, np.ones(n, np.float32)], 1)
    pooled = snippets.pool(both, segments, how)
    place = pooled[:, 0] / pooled[:, 1]
    assert pooled.shape == (segments, 2)
    assert (np.diff(place) >= -1e-4).all() and place.min() >= 0 and place.max() <= n - 1 + 1e-3
    crops = snippets.pool(np.stack([both, both + 1]), segments, how)
    assert np.array_equal(crops[0], pooled)


@given(ROWS)
def test_pooling_to_the_same_number_changes_nothing(n):
    assert np.allclose(snippets.pool(rows(n), n), rows(n))
    assert np.allclose(snippets.pool(rows(n), n, "index"), rows(n))


@given(ROWS, ROWS)
def test_every_snippet_gets_the_score_of_a_segment(n, segments):
    scores = np.arange(1, segments + 1, dtype=np.float64)
    given_back = snippets.unpooled(scores, n)
    assert given_back.shape == (n,) and set(given_back) <= set(scores)
    assert (np.diff(given_back) >= 0).all()


def test_snippets_that_no_segment_holds_keep_the_last_score_or_are_zero_as_in_the_code():
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    assert snippets.unpooled(scores, 10).tolist() == [0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.4]
    assert snippets.unpooled(scores, 10, legacy=True)[-1] == 0
    assert snippets.unpooled(scores, 3).tolist() == [0.1, 0.3, 0.4]


@pytest.mark.parametrize(("n", "segments", "how"), [(0, 3, "index"), (3, 0, "linspace0"), (3, 3, "mean")])
def test_pooling_says_what_it_expects(n, segments, how):
    with pytest.raises(InputError):
        snippets.edges(n, segments, how)


def test_frames_repeat_a_score_and_hold_the_last():
    assert snippets.expand(np.array([1.0, 2.0]), 3).tolist() == [1, 1, 1, 2, 2, 2]
    assert snippets.expand(np.array([1.0, 2.0]), 3, 8).tolist() == [1, 1, 1, 2, 2, 2, 2, 2]
    assert snippets.expand(np.array([1.0, 2.0]), 3, 4).tolist() == [1, 1, 1, 2]


@given(st.integers(1, 200), st.integers(1, 20))
def test_every_frame_is_in_one_snippet(frames, length):
    first = snippets.starts(frames, length)
    assert first[0] == 0 and (np.diff(first) == length).all() and first[-1] < frames
    rest = frames - first[-1]
    assert rest < 1.5 * length and (len(first) == 1 or rest >= length / 2)


# -- rows of a clip ----------------------------------------------------------------------------------------------------


def test_appearance_is_the_mean_look_and_the_nearest_where_there_is_none():
    notes = clip(64, looked=np.array([1, 3, 40]), cls=np.array([[1, 0], [3, 0], [9, 5]], np.float16))
    assert snippets.appearance(notes).tolist() == [[2, 0], [2, 0], [9, 5], [9, 5]]


def test_motion_tells_marching_from_milling():
    motion = np.zeros((32, 2, 2, 4), np.float16)
    motion[..., 0] = 1
    motion[:16, ..., 1] = 1
    motion[16:, 0, :, 1], motion[16:, 1, :, 1] = 1, -1
    motion[20, 0, 0, 3] = 0.5
    one, two = snippets.motion(clip(32, motion=motion))
    assert one[[0, 1, 2, 3]].tolist() == [1, 1, 1, 0] and two[[0, 1, 2, 3]].tolist() == [1, 1, 0, 1]
    assert one[7] == 0 and two[7] == 0.5 and two[5] == pytest.approx(0.5 / 16)
    assert one[8] == two[8] == 0


def test_objects_are_counted_and_measured():
    found = Objects(
        frame=np.array([0, 0, 20]),
        box=np.array([[0, 0, 20, 100], [30, 0, 50, 100], [0, 0, 10, 10]], np.float32),
        track=np.array([-1, -1, 4]),
        person=np.array([True, True, False]),
        score=np.ones(3, np.float32),
        pose=np.full((3, 17, 3), np.nan, np.float32),
        velocity=np.array([[np.nan] * 8, [0.5] * 8, [1.0] * 8], np.float32),
        deep=np.zeros((3, 0), np.float32),
    )
    rows_ = snippets.objects(clip(32, objects=found, looked=np.array([0, 8])))
    assert rows_[0] == pytest.approx([1, 2, 0, 0, 0.3, 0.2, 4])
    # nobody looked for people in the second half: it keeps what was known
    assert rows_[1] == pytest.approx([1, 2, 1 / 16, 1, 1, 0.005, 8])


def test_parts_are_chosen_and_missing_ones_named():
    notes = clip(32, motion=np.zeros((32, 1, 1, 4), np.float16))
    assert snippets.snippets(notes, parts=("motion", "objects")).shape == (2, 16)
    for parts, word in ((("cls",), "class tokens"), (("sound",), "sound"), ((), "none")):
        with pytest.raises(InputError, match=word):
            snippets.snippets(notes, parts=parts)
    with pytest.raises(InputError, match="motion"):
        snippets.snippets(clip(32), parts=("motion",))


# -- bags --------------------------------------------------------------------------------------------------------------


def marked(n: int) -> list[np.ndarray]:
    return [np.full((1, 2, 1), i, np.float32) for i in range(n)]


def test_each_stream_of_bags_goes_through_its_clips_before_it_starts_again():
    labels = [0] * 5 + [1] * 7
    draws = snippets.Bags(marked(12), labels, 2, lambda x: x, np.random.default_rng(0))
    drawn = list(islice(draws, 12))
    assert all(x.shape == (4, 1, 2, 1) and y.tolist() == [0, 0, 1, 1] for x, y in drawn)
    normal = [x[:2, 0, 0, 0].astype(int).tolist() for x, _ in drawn]
    anomalous = [x[2:, 0, 0, 0].astype(int).tolist() for x, _ in drawn]
    for stream, clips, batches in ((normal, set(range(5)), 2), (anomalous, set(range(5, 12)), 3)):
        for start in range(0, 12, batches):
            seen = [i for batch in stream[start : start + batches] for i in batch]
            assert len(set(seen)) == len(seen) == 2 * batches and set(seen) <= clips
    assert {i for batch in normal for i in batch} == set(range(5))


def test_a_batch_is_no_larger_than_the_smaller_stream_and_crops_come_one_at_a_time():
    crops = [np.arange(10, dtype=np.float32).reshape(10, 1, 1)] * 4
    draws = snippets.Bags(crops, [0, 1, 1, 1], 30, lambda x: x, np.random.default_rng(0), one_crop=True)
    seen = [x.ravel() for x, _ in islice(draws, 40)]
    assert draws.batch == 1 and {x.shape for x in seen} == {(2,)}
    assert len(set(np.concatenate(seen))) == 10


def test_bags_beyond_the_memory_are_pooled_again(monkeypatch):
    monkeypatch.setattr(snippets, "KEEP", 8)
    asked: list[int] = []

    def pooled(x: np.ndarray) -> np.ndarray:
        asked.append(int(x[0, 0, 0]))
        return x

    draws = snippets.Bags(marked(4), [0, 0, 1, 1], 2, pooled, np.random.default_rng(0))
    drawn = [sorted(x[:, 0, 0, 0]) for x, _ in islice(draws, 3)]
    assert drawn == [[0, 1, 2, 3]] * 3
    assert len(asked) == 4 + 2 * 3


@pytest.mark.parametrize(
    ("features", "labels", "word"),
    [
        ([rows(2), rows(2)], [0, 2], "label"),
        ([rows(2), rows(2)], [0], "label"),
        ([rows(2), rows(2)], [1, 1], "one kind"),
        ([rows(2), rows(2, 4)], [0, 1], "equal crops and widths"),
        ([rows(2), rows(0)], [0, 1], "clip 1"),
    ],
)
def test_bags_that_cannot_be_learnt_from_are_refused(features, labels, word):
    with pytest.raises(InputError, match=word):
        snippets.checked(features, labels, "rtfm")


def test_standard_is_over_all_rows_and_leaves_constant_columns():
    bags = [np.array([[[1.0, 5], [3, 5]]]), np.array([[[5.0, 5]]])]
    mean, deviation = snippets.standard(bags)
    assert mean.tolist() == [3, 5] and deviation == pytest.approx([np.sqrt(8 / 3), 1])


# -- files -------------------------------------------------------------------------------------------------------------


def write(folder, name: str, *shape: int) -> np.ndarray:
    x = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
    np.save(folder / name, x)
    return x


def test_lists_of_published_features_are_read_as_shipped(tmp_path):
    first, second = (
        write(tmp_path, "Normal_Videos_003_x264.npy", 5, 10, 4),
        write(tmp_path, "Abuse001_x264.npy", 7, 10, 4),
    )
    listed = tmp_path / "ucf.list"
    listed.write_text("/home/yu/UCF_Train_ten_crop_i3d/Normal_Videos_003_x264.npy\n\nAbuse001_x264.npy\n")
    clips = bags_file.read_list(listed)
    assert clips.labels == [0, 1] and clips.names == ["Normal_Videos_003_x264", "Abuse001_x264"]
    assert [x.shape for x in clips.features] == [(10, 5, 4), (10, 7, 4)]
    assert np.array_equal(clips.features[1][3], second[:, 3]) and np.array_equal(
        clips.features[0][:, 2], first[2]
    )


def test_labels_are_written_or_told_by_names(tmp_path):
    names = ["a clip.npy", "v=1__#1_label_A.npy", "v=2__#1_label_B2-0-0.npy", "b.npy"]
    for name in names:
        write(tmp_path, name, 3, 4)
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "xd.list").write_text(f"{names[0]} 1\n{names[1]}\n{names[2]}\n{names[3]},0\n")
    clips = bags_file.read_list(folder / "xd.list", tmp_path)
    assert clips.labels == [1, 0, 1, 0] and len(clips) == 4
    (folder / "bad.list").write_text("b.npy\n")
    with pytest.raises(InputError, match="no label"):
        bags_file.read_list(folder / "bad.list", tmp_path)


def test_the_axis_of_crops_is_the_one_that_is_equal_in_all_files(tmp_path):
    for name, shape in {"a": (2, 5, 4), "b": (2, 7, 4), "c": (8, 3, 4), "d": (9, 5, 4)}.items():
        write(tmp_path, f"{name}.npy", *shape)
    (tmp_path / "first.list").write_text("a.npy 0\nb.npy 1\n")
    assert [x.shape for x in bags_file.read_list(tmp_path / "first.list").features] == [(2, 5, 4), (2, 7, 4)]
    (tmp_path / "mixed.list").write_text("c.npy 0\nd.npy 1\n")
    with pytest.raises(InputError, match="as many crops"):
        bags_file.read_list(tmp_path / "mixed.list")


def test_crops_in_files_of_their_own_can_be_joined(tmp_path):
    crops = [write(tmp_path, f"Abuse001_x264__{i}.npy", 3, 4) for i in range(3)]
    write(tmp_path, "Normal_1__0.npy", 2, 4)
    names = [*(f"Abuse001_x264__{i}" for i in range(3)), "Normal_1__0"]
    (tmp_path / "ucf.list").write_text("\n".join(f"{name}.npy" for name in names))
    apart = bags_file.read_list(tmp_path / "ucf.list")
    assert apart.labels == [1, 1, 1, 0] and apart.names == names
    joined = bags_file.read_list(tmp_path / "ucf.list", join=True)
    assert joined.names == ["Abuse001_x264", "Normal_1"] and joined.labels == [1, 0]
    assert np.array_equal(joined.features[0], np.stack(crops))


def test_files_that_hold_something_else_are_refused_and_nothing_in_them_runs(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.arange(6).reshape(2, 3))
    np.save(tmp_path / "flat.npy", np.ones(4, np.float32))
    np.savez(tmp_path / "several.npz", a=np.ones((2, 2)))
    (tmp_path / "text.npy").write_text("no numbers")
    for name in ("objects.npy", "whole.npy", "flat.npy", "several.npz", "text.npy", "missing.npy"):
        with pytest.raises(MediaError, match=name):
            bags_file.read_features(tmp_path / name)
    (tmp_path / "empty.list").write_text("\n")
    with pytest.raises(InputError, match="no files"):
        bags_file.read_list(tmp_path / "empty.list")
    with pytest.raises(MediaError):
        bags_file.read_list(tmp_path / "nowhere.list")
