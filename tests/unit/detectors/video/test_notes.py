"""Notes of a clip: checked, cut, joined, kept."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError, MediaError
from oddwatch.detectors.video.notes import Notes, Objects, joined


def made(frames: int = 20, every: int = 4) -> Notes:
    """Two things a frame; people, tokens, captions and deep vectors on every fourth."""
    rng = np.random.default_rng(0)
    frame = np.repeat(np.arange(frames), 2)
    looked = np.arange(0, frames, every)
    n, m = len(frame), len(looked)
    deep = rng.normal(size=(n, 3)).astype(np.float32)
    deep[~np.isin(frame, looked)] = np.nan
    objects = Objects(
        frame, rng.uniform(0, 50, (n, 4)).astype(np.float32), np.tile([1, 1_000_000], frames),
        np.tile([True, False], frames), np.ones(n, np.float32), rng.normal(size=(n, 17, 3)).astype(np.float32),
        rng.normal(size=(n, 8)).astype(np.float32), deep,
    )  # fmt: skip
    return Notes(
        "a.mp4", (60, 80), np.arange(frames) / 8, rng.normal(size=(frames, 3, 4, 4)).astype(np.float16), objects, looked,
        rng.normal(size=(m, 3)).astype(np.float16), {"block_9": rng.normal(size=(m, 6, 3)).astype(np.float16)}, (2, 3),
        tuple(f"caption {i}" for i in looked), "toy", rng.integers(0, 255, (frames, 6, 8)).astype(np.uint8),
        np.column_stack([looked, rng.uniform(0, 50, (m, 5))]).astype(np.float32),
    )  # fmt: skip


def equal(a: Notes, b: Notes) -> None:
    assert (a.name, a.size, a.grid, a.captions, a.encoder) == (b.name, b.size, b.grid, b.captions, b.encoder)
    assert a.tokens.keys() == b.tokens.keys()
    pairs = [(getattr(a, n), getattr(b, n)) for n in ("times", "motion", "looked", "cls", "small", "left")]
    pairs += [(a.tokens[layer], b.tokens[layer]) for layer in a.tokens]
    pairs += [(getattr(a.objects, f.name), getattr(b.objects, f.name)) for f in fields(Objects)]
    for x, y in pairs:
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_nothing_noted_is_nothing_there():
    bare = Notes("bare", (60, 80), np.arange(3.0))
    assert len(bare) == 3 and len(bare.objects) == 0
    for what in ("motion", "objects", "people", "tokens", "cls", "captions", "small"):
        assert not bare.has(what) and made().has(what)


def test_frames_a_second_come_from_the_usual_step():
    def fps(*times: float) -> float:
        return Notes("a", (6, 8), np.array(times)).fps

    assert fps(0, 0.04, 0.08, 2.0, 2.04) == pytest.approx(25), "a hole changes nothing"
    assert fps(0, 0, 0.5, 1.0) == pytest.approx(2), "nor does a time that comes twice"
    assert fps() == fps(3.0) == fps(1.0, 1.0) == 1


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_part_names_its_own_frames(a, b):
    start, stop = min(a, b), max(a, b)
    notes = made()
    part = notes.part(start, stop)
    assert np.array_equal(part.times, notes.times[start:stop])
    assert np.array_equal(part.looked + start, [i for i in notes.looked if start <= i < stop])
    assert part.captions == tuple(f"caption {i + start}" for i in part.looked)
    rows = (notes.objects.frame >= start) & (notes.objects.frame < stop)
    assert np.array_equal(part.objects.frame + start, notes.objects.frame[rows])
    assert np.array_equal(part.objects.box, notes.objects.box[rows])


@given(st.sets(st.integers(1, 19), max_size=5))
def test_parts_joined_are_the_whole(cuts):
    notes, edges = made(), [0, *sorted(cuts), 20]
    equal(joined([notes.part(a, b) for a, b in pairwise(edges)]), notes)


def test_a_piece_that_no_model_looked_at_joins_the_others():
    """What a watcher hands out between two looks: no encoder, no tokens, deep vectors of no width."""
    notes = made()
    first, bare, last = notes.part(0, 1), notes.part(1, 4), notes.part(4, 20)
    bare = replace(
        bare, cls=np.zeros((0, 0), np.float16), tokens={}, grid=(0, 0), encoder="",
        objects=replace(bare.objects, deep=np.zeros((6, 0), np.float32)),
    )  # fmt: skip
    equal(joined([first, bare, last]), notes)
    whole = joined([bare, last])
    assert whole.encoder == "toy" and np.isnan(whole.objects.deep[:6]).all()


def test_pieces_of_different_clips_are_refused():
    notes = made()
    for other in (replace(notes, size=(61, 80)), replace(notes, encoder="another")):
        with pytest.raises(InputError, match="one size and encoder"):
            joined([notes, other])
    with pytest.raises(InputError, match="ascending"):
        joined([notes, notes])
    with pytest.raises(InputError, match="at least one"):
        joined([])


@pytest.mark.parametrize(
    "wrong",
    [
        {"times": np.array([0.0, 1, 0.5, 2])},
        {"times": np.zeros((20, 1))},
        {"motion": np.zeros((19, 3, 4, 4), np.float16)},
        {"small": np.zeros((5, 6, 8), np.uint8)},
        {"captions": ("one",)},
        {"cls": np.zeros((4, 3), np.float16)},
        {"tokens": {"block_9": np.zeros((4, 6, 3), np.float16)}},
        {"looked": np.array([0, 4, 8, 12, 20])},
        {"looked": np.array([-1, 4, 8, 12, 16])},
    ],
)
def test_notes_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(InputError, match="notes of"):
        replace(made(), **wrong)


def test_objects_of_frames_that_are_not_there_are_refused():
    notes = made()
    with pytest.raises(InputError, match="objects name frames"):
        replace(notes, objects=replace(notes.objects, frame=notes.objects.frame + 1))


def test_kept_notes_are_read_again(tmp_path):
    for notes in (made(), Notes("bare ☃", (60, 80), np.arange(3.0)), Notes("none", (0, 0), np.empty(0))):
        equal(Notes.load(notes.save(tmp_path / "clip.npz")), notes)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.npz"]


@pytest.mark.parametrize("content", [b"", b"zorple", None])
def test_anything_else_is_told(tmp_path, content):
    path = tmp_path / "clip.npz"
    if content is None:
        np.savez(path, times=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(MediaError, match="holds no notes"):
        Notes.load(path)


def test_cut_off_notes_are_told(tmp_path):
    path = made().save(tmp_path / "clip.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MediaError, match="holds no notes"):
        Notes.load(path)


def test_objects_are_picked_by_mask_and_index():
    objects = made().objects
    people = objects.where(objects.person)
    assert len(people) == 20 and people.person.all()
    assert objects.where(np.array([3])).boxes()[0].as_list() == pytest.approx(objects.box[3].tolist())
