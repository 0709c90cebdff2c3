"""Paths: speeds in own heights whatever the distance and the frame rate, shapes, gaps, what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.detectors.video.paths import COLUMNS, paths

SIZE = (240, 320)


def walk(
    speed: float = 1.0, tall: float = 60.0, fps: float = 25.0, seconds: float = 4.0, every: int = 1, wide: float = 0.4,
    grow: float = 0.0, track: int = 1, person: bool = True, size: tuple[int, int] = SIZE,
) -> Notes:  # fmt: skip
    """Somebody who walks to the right at ``speed`` own heights a second and gets taller by the share ``grow`` a second."""
    times = np.arange(round(seconds * fps)) / fps
    at = np.arange(0, len(times), every)
    height = tall * np.exp(grow * times[at])
    x = 40 + speed * tall * times[at]
    box = np.stack([x - wide * height / 2, 200 - height, x + wide * height / 2, np.full(len(at), 200.0)], 1)
    n = len(at)
    objects = Objects(
        at, box.astype(np.float32), np.full(n, track), np.full(n, person), np.ones(n, np.float32),
        np.full((n, 17, 3), np.nan, np.float32), np.full((n, 8), np.nan, np.float32), np.zeros((n, 0), np.float32),
    )  # fmt: skip
    return Notes("walk", size, times, objects=objects)


def column(notes: Notes, name: str) -> np.ndarray:
    """Away from the ends, where smoothing sees half of what it needs."""
    values = paths(notes).columns(name)[:, 0]
    edge = len(values) // 4
    return values[edge:-edge]


@pytest.mark.parametrize("tall", [20, 60, 120])
@pytest.mark.parametrize("fps", [10, 25, 50])
def test_speed_in_own_heights_does_not_depend_on_distance_or_frame_rate(tall, fps):
    notes = walk(1.3, tall, fps)
    assert column(notes, "vx") == pytest.approx(1.3, rel=0.02)
    assert column(notes, "vy") == pytest.approx(0, abs=0.02)
    assert column(notes, "jerk") == pytest.approx(0, abs=0.05)


def test_places_and_heights_are_in_frame_heights():
    notes = walk(0.0, 60)
    found = paths(notes)
    assert found.numbers.shape == (100, len(COLUMNS)) and np.array_equal(found.row, np.arange(100))
    assert found.columns("x", "y")[50] == pytest.approx([40 / 240, 200 / 240])
    assert found.columns("height")[50, 0] == pytest.approx(np.log(60 / 240))
    assert found.columns("aspect")[50, 0] == pytest.approx(np.log(0.4))


def test_growth_is_relative_and_tells_who_comes_nearer():
    assert column(walk(0.0, 40, grow=0.3), "growth") == pytest.approx(0.3, abs=0.03)
    assert column(walk(0.0, 40, grow=0.0), "growth") == pytest.approx(0.0, abs=1e-6)


def test_looks_a_few_times_a_second_are_joined_by_straight_lines():
    """Two looks a second on 25 frames: rows at looks only, with the speed in between."""
    notes = walk(1.0, 60, every=12)
    found = paths(notes)
    assert np.array_equal(notes.objects.frame[found.row], np.arange(0, 100, 12))
    assert found.columns("vx")[2:-2, 0] == pytest.approx(1.0, abs=0.03)


def test_an_abrupt_stop_is_a_jerk():
    notes = walk(2.0, 60)
    box = notes.objects.box
    box[50:, [0, 2]] = box[50, [0, 2]]
    jerk = paths(notes).columns("jerk")[:, 0]
    assert 45 <= jerk.argmax() <= 55 and jerk.max() > 3 > 10 * jerk[20:30].max()


def test_short_tracks_and_those_without_a_number_are_left_out():
    assert len(paths(walk(seconds=0.16)).row) == 0
    assert len(paths(walk(seconds=0.4)).row) == 10
    assert len(paths(walk(track=-1)).row) == 0
    assert len(paths(walk(), least=10).row) == 0
    assert paths(Notes("bare", SIZE, np.arange(10) / 25)).numbers.shape == (0, len(COLUMNS))


def test_tracks_do_not_mix():
    one, two = walk(1.0, 60), walk(-0.5, 30, track=2)
    both = Objects(
        *(np.concatenate([getattr(n.objects, f) for n in (one, two)]) for f in Objects.__dataclass_fields__)
    )
    order = np.argsort(both.frame, kind="stable")
    notes = Notes("both", SIZE, one.times, objects=both.where(order))
    found = paths(notes)
    for track, alone in ((1, one), (2, two)):
        own = notes.objects.track[found.row] == track
        assert found.numbers[own] == pytest.approx(paths(alone).numbers)


def test_somebody_seen_twice_in_a_frame_counts_once():
    notes = walk()
    twice = notes.objects.where(np.repeat(np.arange(100), 2))
    found = paths(Notes("twice", SIZE, notes.times, objects=twice))
    assert found.numbers == pytest.approx(paths(notes).numbers)


def test_stills_have_shapes_but_no_movement():
    """Below a frame a second nobody can be followed: each person is a row, with place and shape only."""
    notes = walk(1.0, 60, fps=0.5, seconds=20)
    found = paths(notes)
    assert len(found.row) == 10
    assert not found.columns("vx", "vy", "jerk", "growth").any()
    assert found.columns("aspect")[:, 0] == pytest.approx(np.log(0.4), abs=1e-5)
    assert len(paths(walk(fps=0.5, seconds=20, person=False)).row) == 0


def test_a_flat_box_gives_numbers():
    notes = walk(wide=0.0)
    notes.objects.box[:, 3] = notes.objects.box[:, 1]
    assert np.isfinite(paths(notes).numbers).all()
