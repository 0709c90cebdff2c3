"""Records: made from what was seen, told back from JSON; spells read from steps."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Box, Frame, InputError, MediaError, Person, Span, Track, View
from oddwatch.describe.describer import Describer
from oddwatch.understand.record import Record, Steps, make, steps_of
from oddwatch.understand.spells import spells_of
from oddwatch.understand.watch import watch

from .conftest import facts, steps


def test_there_and_back(clip):
    again = Record.from_json(clip.to_json())
    assert again.to_json() == clip.to_json()
    assert again.person(2).spells == clip.person(2).spells
    np.testing.assert_array_equal(again.counts, clip.counts)


def test_counts(clip):
    assert (clip.count(1.0), clip.count(5.0), clip.count(19.0)) == (2, 3, 2)
    assert clip.count(40.0) is None and clip.count(-5.0) is None


def test_what_does_not_fit_is_refused(clip):
    with pytest.raises(InputError, match="those of every track"):
        make("x", Span(0, 1), (1, 1), {1: steps(0, 1, 5)}, {})
    with pytest.raises(InputError):
        Steps(np.array([1.0, 0.5]), np.zeros((2, 4)))
    with pytest.raises(InputError):
        Steps(np.zeros(2), np.zeros((3, 4)))
    with pytest.raises(InputError, match="track 9"):
        clip.person(9)


def test_steps_of_views():
    views = tuple(View(t, None, Person(Box(t, 0, t + 10, 30))) for t in (2.0, 1.0))
    own = steps_of(Track(4, Span(1, 2), views))
    assert own.times.tolist() == [1.0, 2.0] and own.box(1.2) == Box(1, 0, 11, 30) and own.body == 30
    with pytest.raises(InputError):
        steps_of(Track(4, Span(1, 2), (View(None, None, Person(Box(0, 0, 1, 1))),)))


def names(own: Steps) -> list[str]:
    return [s.atom.partition(".")[2] for s in spells_of({1: own})[1]]


def test_boxes_alone_tell_standing_walking_running():
    assert names(steps(0, 10, 100)) == ["standing"]
    assert names(steps(0, 10, 100, 700)) == ["walking"]
    assert names(steps(0, 10, 100, 2100)) == ["running"]


def fallen() -> Steps:
    """Walks for six seconds, then lies: the box is wide and low."""
    up, down = steps(0, 6, 100, 400), steps(6.25, 15, 420)
    boxes = np.concatenate([up.boxes, np.tile([370.0, 220, 470, 250], (len(down.times), 1))])
    return Steps(np.concatenate([up.times, down.times]), boxes)


def test_a_fall_is_the_turn_from_upright_to_lying():
    found = spells_of({1: fallen()})[1]
    fall = next(s for s in found if s.atom == "posture.falling")
    assert 5 <= fall.span.start <= 6.5 and fall.span.duration < 2
    lying = next(s for s in found if s.atom == "posture.lying")
    assert lying.span.end == 15 and abs(lying.span.start - 6.2) < 0.6


def test_who_lies_from_the_start_did_not_fall():
    down = Steps(np.arange(0, 8, 0.25), np.tile([100.0, 200, 200, 230], (32, 1)))
    assert names(down) == ["lying"]


def test_a_posture_that_never_wins_is_kept_faintly(monkeypatch):
    from oddwatch.understand import spells

    own, real = steps(0, 10, 100), spells._odds

    def bent(given: Steps):
        odds = real(given)
        odds["posture.bending"][(given.times >= 4) & (given.times <= 5)] = 0.3
        return odds

    monkeypatch.setattr(spells, "_odds", bent)
    found = {s.atom: s for s in spells_of({1: own})[1]}
    faint = found["posture.bending"]
    assert faint.p == pytest.approx(0.3, abs=0.05) and 4 <= faint.time <= 5 and faint.span.duration < 2
    assert found["posture.standing"].span.duration == 10


class Paper:
    """Finds one cardboard person who walks to the right and is gone for the last looks."""

    def find(self, frame: Frame) -> list[Person]:
        at = 40 + 12 * (frame.time or 0)
        return [Person(Box(at, 30, at + 24, 100), 0.9)] if (frame.time or 0) < 6 else []


def test_watching_frames():
    pixels = np.full((120, 240, 3), 140, np.uint8)
    frames = [Frame(pixels, "a.mp4", t / 4, t) for t in range(33)]
    told: list[float] = []
    record = watch(frames, Paper(), Describer(heads=None), source="a.mp4", tell=told.append)
    assert record.size == (240, 120) and record.span == Span(0, 8) and told[-1] == 8
    (one,) = record.people
    assert one.span == Span(0, 5.75) and one.spells and record.count(7.0) == 0
    assert record.scene is not None and record.scene.known.any()


def test_no_frame_is_an_error():
    with pytest.raises(MediaError, match="no frame"):
        watch([], Paper(), Describer(heads=None), source="a.mp4")


def test_facts_helper_is_of_this_table():
    assert facts(upper_color="red").known.sum() == 12
