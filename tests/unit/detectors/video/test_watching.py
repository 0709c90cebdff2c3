"""A drawn clip is watched: looks on a grid, things and people with tracks, pieces that join, only what is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import pairwise
from threading import Barrier

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import Box, Frame, InputError, Person, Pose, Tokens
from oddwatch.detectors.video.notes import Notes, Objects, joined
from oddwatch.detectors.video.watching import THINGS, Watcher, WatchSettings, watch
from oddwatch.media.video import Sampling
from oddwatch.pipeline.video_setup import Eye, VideoOptions

H, W, FPS = 180, 240, 10


def blotches(height: int, width: int, low: int, high: int, seed: int) -> np.ndarray:
    """Soft blotches, which flow can follow."""
    rough = (
        np.random.default_rng(seed).uniform(low, high, (height // 12 + 2, width // 12 + 2)).astype(np.float32)
    )
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


GROUND, COAT, THING = blotches(H, W, 60, 180, 0), blotches(60, 30, 120, 250, 1), blotches(36, 36, 0, 255, 2)


def drawn(i: int) -> Frame:
    """A red person walks to the right by 4 pixels a frame, a grey thing moves to the left from frame 20 on."""
    picture = np.dstack([GROUND] * 3)
    x, left = 6 + 4 * i, 200 - 4 * max(0, i - 20)
    picture[40:100, x : x + 30] = np.dstack([COAT.clip(110, 255), *np.zeros((2, 60, 30), np.uint8)])
    picture[130:166, left : left + 36] = THING[..., None]
    return Frame(picture, "drawn", i / FPS, i)


FRAMES = [drawn(i) for i in range(40)]


class Finder:
    """Finds what is red."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def find(self, frame: Frame) -> list[Person]:
        self.asked.append(frame.time)
        ys, xs = np.nonzero((frame.pixels[..., 0] > 100) & (frame.pixels[..., 1] < 40))
        box = Box(float(xs.min()), float(ys.min()), float(xs.max()) + 1, float(ys.max()) + 1)
        points = np.tile([*box.center, 0.9], (17, 1)).astype(np.float32)
        return [Person(box, 0.8, Pose(points))]


@dataclass
class Numbered:
    """A backbone of 3 × 4 patches whose token is its own number, at every layer."""

    id: str = "numbered"
    dim: int = 1
    layers: list[tuple[str, ...]] = field(default_factory=list)

    def encode(self, frames, layers=("last",)) -> Tokens:
        self.layers.append(tuple(layers))
        tokens = np.tile(np.arange(12, dtype=np.float32)[None, :, None], (len(frames), 1, 1))
        return Tokens(
            np.full((len(frames), 1), 7, np.float32),
            dict.fromkeys(layers, tokens),
            (3, 4),
            *np.zeros((2, 1, 2)),
        )


def told(frame: Frame, people, tokens) -> str:
    return f"{len(people)} at {frame.time:.1f}{' with tokens' if tokens is not None else ''}"


def watcher(**given) -> Watcher:
    given.setdefault("want", ("motion", "objects", "people", "tokens", "captions", "small"))
    models = {"eyes": Numbered(), "finder": Finder(), "captioner": told}
    return Watcher("drawn", WatchSettings(**given, rows=6, small=24), **models)


def watched(frames=FRAMES, **given) -> Notes:
    one = watcher(**given)
    for frame in frames:
        one.update(frame)
    return one.taken()


@pytest.fixture(scope="module")
def notes() -> Notes:
    return watched()


def test_everything_that_is_wanted_is_noted(notes):
    assert (notes.name, notes.size, len(notes), notes.encoder) == ("drawn", (H, W), 40, "numbered")
    assert notes.motion.shape == (40, 6, 8, 4) and not notes.motion[0].any() and notes.motion[1].any()
    assert notes.small.shape == (40, 24, 32)
    assert np.array_equal(notes.looked, np.arange(0, 40, 5))
    assert notes.tokens["block_9"].shape == (8, 12, 1) and notes.grid == (3, 4) and (notes.cls == 7).all()
    assert notes.captions[2] == "1 at 1.0 with tokens"


def test_people_are_rows_of_looked_at_frames_on_one_track(notes):
    people = notes.objects.where(notes.objects.person)
    assert np.array_equal(people.frame, notes.looked) and set(people.track) == {1}
    for frame, box in zip(people.frame, people.boxes(), strict=True):
        assert box.as_list() == [6 + 4 * frame, 40, 36 + 4 * frame, 100]
    assert people.score == pytest.approx(0.8) and np.isfinite(people.pose).all()
    assert (
        people.velocity[1:, [0, 7]].sum(axis=1) == pytest.approx(40 / H, abs=0.07)
        and np.isnan(people.velocity[0]).all()
    )


def test_moving_things_are_rows_of_every_frame_but_not_where_a_person_is(notes):
    things = notes.objects.where(~notes.objects.person)
    assert things.track.min() >= THINGS and np.isnan(things.pose).all() and (things.score == 1).all()
    late = things.where((things.frame > 24) & (things.box[:, 1] > 110))
    assert len(set(late.frame)) >= 12 and len(set(late.track)) == 1, "the grey thing, followed"
    seen = notes.objects.frame[notes.objects.person]
    walking = things.where((things.box[:, 1] < 110) & np.isin(things.frame, seen[1:]))
    assert len(walking) == 0, "where the person was found, the movement is theirs"
    early = things.where((things.frame > 2) & (things.frame < 20))
    assert len(early) and early.box[:, 3].max() < 125 and len(set(early.track)) == 1
    assert np.array_equal(notes.objects.frame, np.sort(notes.objects.frame))


def test_deep_vectors_are_the_mean_of_the_patches_that_a_box_meets(notes):
    people = notes.objects.where(notes.objects.person)
    # Patches are 60 pixels high and wide; the person stands in the first two rows.
    for box, deep in zip(people.boxes(), people.deep, strict=True):
        first, last = int(box.x0 // 60), int((box.x1 - 1e-3) // 60)
        assert deep[0] == np.mean([4 * r + c for r in (0, 1) for c in range(first, last + 1)])
    assert np.isnan(notes.objects.deep[~np.isin(notes.objects.frame, notes.looked)]).all()


class Early(Numbered):
    """A backbone that can stop early."""

    def encode_up_to(self, frames, layers) -> Tokens:
        return self.encode(frames, (*layers, "early"))


def test_deep_vectors_alone_need_the_first_layer_only_and_keep_no_tokens(notes):
    eyes = Early()
    settings = WatchSettings(want=("objects", "people", "deep"), layers=("block_9", "last"))
    one = Watcher("drawn", settings, eyes=eyes, finder=Finder())
    for frame in FRAMES:
        one.update(frame)
    found = one.taken()
    assert set(eyes.layers) == {("block_9", "early")}
    np.testing.assert_array_equal(found.objects.deep, notes.objects.deep)
    assert not found.has("tokens") and not found.has("cls") and found.encoder == "numbered"


class Ill(Finder):
    """Fails on the second look."""

    def find(self, frame: Frame) -> list[Person]:
        if len(self.asked) == 1:
            self.asked.append(-1)
            raise ZeroDivisionError("odd frame")
        return super().find(frame)


def test_a_look_that_failed_is_as_if_it_had_not_been():
    one = Watcher("drawn", WatchSettings(want=("people", "tokens")), eyes=Numbered(), finder=Ill())
    one.update(FRAMES[0], True)
    with pytest.raises(ZeroDivisionError):
        one.update(FRAMES[1], True)
    one.update(FRAMES[2], True)
    assert one.taken().looked.tolist() == [0, 2]


@pytest.mark.parametrize("fps", [5, 7.5, 25, 29.97])
@pytest.mark.parametrize("start", [0.0, 0.2, 3.33, 1000.7])
def test_looks_are_on_a_grid_whatever_the_start_and_the_frame_rate(fps, start):
    small = np.zeros((12, 16, 3), np.uint8)
    one = Watcher("a", WatchSettings(want=("tokens",), looks=2.0), eyes=Numbered())
    times = start + np.arange(round(4 * fps)) / fps
    for t in times:
        one.update(Frame(small, time=float(t)))
    looked = times[one.taken().looked]
    # The first frame, and then the first at or after every half second.
    grid = np.arange(np.floor(times[0] * 2 + 1e-6) + 1, np.floor(times[-1] * 2 + 1e-6) + 1) / 2
    due = [times[np.searchsorted(times, t - 1e-6)] for t in grid]
    assert looked == pytest.approx([times[0], *due])


def test_looks_can_be_all_frames_or_told_one_by_one():
    assert len(watched(FRAMES[:4], want=("tokens",), looks=None).looked) == 4
    one = watcher(want=("tokens",))
    for i, frame in enumerate(FRAMES[:8]):
        one.update(frame, look=i in (2, 3))
    assert one.taken().looked.tolist() == [2, 3]


def equal(a: Notes, b: Notes) -> None:
    assert (a.size, a.grid, a.captions, a.encoder) == (b.size, b.grid, b.captions, b.encoder)
    pairs = [(getattr(a, n), getattr(b, n)) for n in ("times", "motion", "looked", "cls", "small")]
    pairs += [(getattr(a.objects, f.name), getattr(b.objects, f.name)) for f in fields(Objects)]
    pairs += [(a.tokens[layer], b.tokens[layer]) for layer in a.tokens]
    for x, y in pairs:
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@settings(max_examples=6)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_pieces_joined_are_one_piece(notes, cuts):
    """Wherever the notes are taken, also twice in a row, before the first frame or between two looks."""
    one, pieces = watcher(), []
    for a, b in pairwise([0, *sorted(cuts), 40]):
        for frame in FRAMES[a:b]:
            one.update(frame)
        pieces.append(one.taken())
    equal(joined(pieces), notes)
    assert len(one.taken()) == 0


def test_only_what_is_wanted_is_noted():
    bare = watched(FRAMES[:12], want=("small",))
    assert bare.has("small") and not any(map(bare.has, ("motion", "objects", "people", "tokens", "captions")))
    assert bare.encoder == ""
    moved = watched(FRAMES[:12], want=("motion", "objects"))
    assert moved.has("objects") and not moved.has("people") and not moved.has("tokens")
    assert moved.objects.deep.shape[1] == 0


def test_what_stays_is_noted_at_looks_and_who_was_found_is_no_such_thing():
    def shown(i: int, red: int) -> Frame:
        picture = np.dstack([GROUND] * 3)
        if i >= 20:
            picture[100:140, 100:140] = (250, red, red)
        picture[5:25, 5:15] = (200, 0, 0)
        return Frame(picture, "drawn", i / 2, i)

    grey = watched([shown(i, 250) for i in range(40)], want=("people", "left"), looks=None)
    assert grey.left[:, 0].min() >= 22 and grey.left[-1, 0] == 39 and grey.left[-1, 5] > 5
    assert Box(*grey.left[-1, 1:5].tolist()).iou(Box(100, 100, 140, 140)) > 0.5
    assert (
        not grey.has("motion") and len(watched([shown(i, 250) for i in range(9)], want=("people",)).left) == 0
    )
    somebody = watched([shown(i, 0) for i in range(40)], want=("people", "left"), looks=None)
    assert not somebody.has("left")


@pytest.mark.parametrize("what", ["deep", "tokens", "people", "captions"])
def test_a_model_that_is_wanted_must_be_given(what):
    with pytest.raises(InputError, match=what):
        Watcher("a", WatchSettings(want=(what,)))


def test_wrong_settings_and_frames_are_told():
    with pytest.raises(InputError, match="zorple"):
        WatchSettings(want=("zorple",))
    for looks in (0, -1, float("nan")):
        with pytest.raises(InputError, match="looks"):
            WatchSettings(looks=looks)
    one = Watcher("a", WatchSettings(want=("motion",)))
    with pytest.raises(InputError, match="with a time"):
        one.update(Frame(np.zeros((12, 16, 3), np.uint8)))
    one.update(Frame(np.zeros((12, 16, 3), np.uint8), time=0.0))
    with pytest.raises(InputError, match="changes its size"):
        one.update(Frame(np.zeros((16, 12, 3), np.uint8), time=0.1))


@dataclass
class Clip:
    """Frames as a video gives them; remembers what it was asked for."""

    name: str = "drawn"
    asked: list = field(default_factory=list)
    closed: bool = False

    @property
    def times(self) -> np.ndarray:
        return np.array([f.time for f in FRAMES])

    def frames(self, sample=None, start=0.0, end=None):
        self.asked.append((sample, start, end))
        try:
            yield from FRAMES[:: 1 if sample.fps is None else 5]
        finally:
            self.closed = True


def test_a_clip_is_decoded_wholly_only_where_movement_is_wanted(notes):
    clip, models = Clip(), {"eyes": Numbered(), "finder": Finder(), "captioner": told}
    wanted = ("motion", "objects", "people", "tokens", "captions", "small")
    steps: list[tuple] = []
    found = watch(
        clip, WatchSettings(want=wanted, rows=6, small=24), **models, progress=lambda *a: steps.append(a)
    )
    equal(found, notes)
    assert clip.asked == [(Sampling(None), 0.0, None)] and clip.closed
    assert steps[-1] == ("watching drawn", 3.9, 3.9) and len(steps) == 40
    few = watch(clip, WatchSettings(want=("people", "tokens")), **models, start=1, end=3)
    assert clip.asked[-1] == (Sampling(2.0), 1, 3)
    assert len(few) == len(few.looked) == 8 and few.has("people") and not few.has("motion")


def test_both_models_look_at_a_clip_at_once(monkeypatch):
    both = Barrier(2, timeout=20)
    for kind, name in ((Finder, "find"), (Numbered, "encode")):
        own = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *a, own=own, **k: (both.wait(), own(*a, **k))[1])
    found = watch(Clip(), WatchSettings(want=("people", "deep")), eyes=Numbered(), finder=Finder())
    assert len(found.looked) == 8 and found.has("people")


def test_models_that_look_at_once_share_the_threads():
    both = Eye(("people", "deep"), VideoOptions(threads=6)).models.threads
    assert (both, Eye(("deep",), VideoOptions(threads=6)).models.threads) == (3, 6)
    assert Eye(("people", "tokens"), VideoOptions(threads=1)).models.threads == 1
