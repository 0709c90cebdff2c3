"""What, why and how severe, from a record made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import Box, Curve, Finding, Motion, Span
from oddwatch.understand import CARDS, EXPLAINERS, history, load
from oddwatch.understand.explain import anything, explain, happened
from oddwatch.understand.record import Record, Somebody

from .conftest import facts, spell, steps, street


def finding(**more):
    given = {"id": "v1", "task": "video", "source": "street.mp4", "score": 2.0, "span": Span(8, 10)} | more
    return Finding(**given)


def test_the_fall_is_explained(clip):
    told = explain(clip, finding(box=Box(105, 150, 135, 250)))
    assert told.finding == "v1" and told.what.value == "falling"
    assert "Falling, then lying, 8.0 to 9.0 s" in told.what.text and "red jacket" in told.what.text
    assert "Another person (2)" in told.why.text and "push" in told.why.text
    assert {p.track for p in told.why.proof} == {2}
    assert told.how.value == "strong" and "did not get up" in told.how.text
    # falling 0.6, stayed down + 0.25, somebody else ran + 0.05
    assert told.severity == pytest.approx(0.9)


def test_without_a_finding_the_gravest_thing(clip):
    assert explain(clip).what.value == "falling"


def test_who_gets_up_is_hurt_less(clip):
    up = replace(clip.people[0], spells=(*clip.people[0].spells[:2], spell("posture.lying", 9, 12, clip.people[0].steps),
                                        spell("posture.standing", 12, 20, clip.people[0].steps)))  # fmt: skip
    told = explain(replace(clip, people=(up,)))
    # falling 0.6, got up - 0.15
    assert told.severity == pytest.approx(0.45) and "got up at 12 s" in told.how.text


def test_nothing_supports_an_answer():
    quiet = street()
    third = quiet.person(3)
    told = explain(replace(quiet, people=(third,)))
    assert [p.known for p in told.parts.values()] == [False, False, False] and told.severity is None
    assert not told.why.proof


def test_a_finding_where_nobody_was_seen_keeps_the_detectors_word():
    empty = Record("empty.mp4", Span(0, 20), (640, 360))
    told = explain(empty, finding(reason="a bag left behind", severity=0.7, box=Box(1, 2, 3, 4)))
    assert "a bag left behind" in told.what.text and told.what.proof[0].box == Box(1, 2, 3, 4)
    assert not told.why.known and told.how.value == "strong" and told.severity == 0.7


def test_the_deciding_cue_is_told(clip):
    times = np.arange(0, 20, 0.5)
    curve = Curve(
        "d", times, np.ones(40), {"motion": np.where(times == 8, 3.0, 0.1), "look": np.full(40, 0.5)}
    )
    told = explain(replace(clip, curve=curve))
    assert "most unusual by motion" in told.why.text


def test_fast_before_the_fall():
    own = steps(0, 10, 50, 1050)
    runner = Somebody(
        1,
        own,
        facts(upper_color="red"),
        Motion(),
        (spell("posture.running", 0, 9, own), spell("posture.falling", 9, 10, own)),
    )
    told = explain(Record("x", Span(0, 10), (1200, 360), (runner,)))
    # 100 pixels a second at a body height of 100 pixels
    assert told.why.known is False
    quick = Somebody(1, steps(0, 10, 50, 1550), runner.facts, Motion(), runner.spells)
    assert (
        "Moved fast just before, 1.5 body heights a second"
        in explain(Record("x", Span(0, 10), (1600, 360), (quick,))).why.text
    )


def test_against_the_others_and_where_nobody_was():
    others = tuple(
        Somebody(i, steps(0, 12, 50 * i, 50 * i + 300), facts(upper_color="blue"), Motion(dx=0.3))
        for i in range(2, 5)
    )
    own = steps(0, 12, 600, 300)
    odd = Somebody(1, own, facts(upper_color="red"), Motion(dx=-0.3), (spell("posture.running", 8, 12, own),))
    cues = {c.name for c in history.before(Record("x", Span(0, 12), (640, 360), (odd, *others)), odd, 8.0)}
    assert "against" in cues
    along = replace(odd, motion=Motion(dx=0.3))
    assert "against" not in {
        c.name for c in history.before(Record("x", Span(0, 12), (640, 360), (along, *others)), along, 8.0)
    }
    far = replace(odd, steps=steps(0, 12, 1200, 1100))
    cues = {c.name for c in history.before(Record("x", Span(0, 12), (1300, 360), (far, *others)), far, 10.0)}
    assert "place" in cues


def test_others_gather(clip):
    near = steps(0, 20, 560, 130)
    helper = Somebody(3, near, facts(upper_color="green"), Motion())
    event = history.events(clip)[0]
    names = {c.name for c in history.after(replace(clip, people=(clip.people[0], helper)), event)}
    assert "gather" in names
    assert "gather" not in {c.name for c in history.after(clip, event)}


def test_what_happens_when(clip):
    assert happened(clip, Span(8.2, 8.4)).value == "falling"
    assert happened(clip, Span(3, 3)).text.startswith("Nothing unusual")
    assert not happened(replace(clip, people=()), None).known


def test_anything(clip):
    assert anything(clip).value is True
    calm = replace(clip, people=(clip.person(3),))
    assert anything(calm).value is False
    assert anything(replace(calm, findings=(finding(),))).value is True
    assert not anything(Record("x", Span(0, 1), (10, 10))).known


def test_a_finding_is_about_whom_it_shows(clip):
    assert history.of_finding(clip, finding(box=Box(545, 150, 575, 250))).track == 3
    assert history.of_finding(clip, finding(box=Box(0, 0, 5, 5))) is None
    assert history.of_finding(clip, finding()) is None


def test_the_table_and_the_cards():
    assert set(EXPLAINERS) == set(CARDS)
    assert load("explain") is explain
