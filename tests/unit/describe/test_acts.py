"""What people have been doing: falls, climbing, loitering, running away together, blows; nothing of what is calm."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Box, Person, Pose
from oddwatch.describe import acts as module
from oddwatch.describe.acts import ACTED, Acts
from oddwatch.describe.atoms import INDEX
from oddwatch.describe.describer import Sheet

UP = np.array([[0, -0.93], [0.02, -0.95], [-0.02, -0.95], [0.05, -0.94], [-0.05, -0.94], [0.11, -0.81], [-0.11, -0.81],
               [0.14, -0.62], [-0.14, -0.62], [0.14, -0.45], [-0.14, -0.45], [0.08, -0.5], [-0.08, -0.5],
               [0.08, -0.26], [-0.08, -0.26], [0.08, -0.03], [-0.08, -0.03]])  # fmt: skip
"""A standing body, one high, feet at the origin."""
TALL = 100.0


def person(track: int, x: float, foot: float = 200.0, lying: bool = False, arms: float = 0.0) -> Person:
    """Somebody at ``x``; ``arms`` stretched to that side by so many heights."""
    body = UP.copy()
    if arms:
        body[[7, 8], 0], body[[9, 10], 0] = arms / 2, arms
        body[[7, 8, 9, 10], 1] = -0.8
    points = np.column_stack([body[:, ::-1] * [1, 0.25] if lying else body, np.full(17, 0.9)])
    points[:, :2] = points[:, :2] * TALL + [x, foot]
    (x0, y0), (x1, y1) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return Person(Box(x0 - 5, y0 - 5, x1 + 5, y1 + 5), 0.9, Pose(points.astype(np.float32)), track)


def watched(shown, seconds: float = 10.0, step: float = 0.25) -> dict[float, dict[int, dict[str, float]]]:
    """Time → track → what is told, of people ``shown(t)``."""
    acts, out = Acts(), {}
    for t in np.arange(0, seconds, step).tolist():
        people = shown(t)
        acts.look(t, people)
        out[t] = {p.track: acts.of(p.track) for p in people}
    return out


def highest(told, atom: str, track: int = 1, start: float = 0.0) -> float:
    return max(own[track].get(atom, 0.0) for t, own in told.items() if t >= start and track in own)


def test_calm_people_do_nothing():
    told = watched(lambda t: [person(1, 100), person(2, 700 + 60 * t), person(3, 400)])
    for track in (1, 2, 3):
        for atom in (*ACTED, "posture.falling", "posture.lying", "posture.climbing"):
            assert highest(told, atom, track) < 0.3, (track, atom)
    assert told[9.0][2]["posture.walking"] > told[9.0][2]["posture.standing"]
    assert told[9.0][1]["posture.standing"] > told[9.0][1]["posture.walking"]


def test_who_gets_up_no_longer_lies_a_second_later_and_nothing_is_quite_sure():
    told = watched(lambda t: [person(1, 100, lying=t < 5)])
    assert told[4.75][1]["posture.lying"] > 0.4 > 0.2 > told[6.0][1]["posture.lying"]
    every = [p for own in told.values() for p in own[1].values()]
    assert min(every) >= 0.005 and max(every) <= 0.98


@pytest.mark.parametrize("lost", [False, True])
def test_upright_then_lying_is_a_fall_even_where_the_track_was_lost(lost):
    told = watched(lambda t: [person(1, 100)] if t < 5 else [person(9 if lost else 1, 110, lying=True)])
    track = 9 if lost else 1
    assert highest(told, "posture.falling", track, 5) > 0.4
    assert told[9.0][track]["posture.lying"] > 0.4
    always = watched(lambda t: [person(1, 100, lying=True)])
    assert highest(always, "posture.lying") > 0.4
    assert highest(always, "posture.falling", start=4) < highest(told, "posture.falling", track, 5)


def test_somebody_beside_one_who_falls_may_have_hit_them():
    beside = lambda t: [person(2, 150), person(1, 100, lying=t >= 5)]  # noqa: E731
    alone = lambda t: [person(2, 500), person(1, 100, lying=t >= 5)]  # noqa: E731
    assert highest(watched(beside), "action.hit", 2, 5) > 0.4
    assert highest(watched(alone), "action.hit", 2, 5) < 0.2
    assert highest(watched(alone), "action.hit", 1, 5) < 0.2


def test_walking_up_and_down_is_loitering_standing_and_passing_are_not():
    pace = lambda t: 200 + 100 * abs((t / 3) % 2 - 1)  # noqa: E731
    assert highest(watched(lambda t: [person(1, pace(t))], 12), "action.loiter") > 0.8
    assert highest(watched(lambda t: [person(1, 100 + 35 * t)], 12), "action.loiter") < 0.1
    assert highest(watched(lambda t: [person(1, 100 + 2 * np.sin(9 * t))], 12), "action.loiter") < 0.1
    jumping = lambda t: 200 + 300 * (int(t / 2) % 2)  # noqa: E731
    assert highest(watched(lambda t: [person(1, jumping(t))], 12), "action.loiter") < 0.1, (
        "a track that swaps people"
    )


def test_running_away_is_running_with_others():
    crowd = lambda t: [person(k, 100 * k + (200 * (t - 4) if t > 4 else 0)) for k in range(1, 5)]  # noqa: E731
    assert highest(watched(crowd, 7), "action.flee") > 0.7
    jogger = lambda t: [person(1, 200 * t), *(person(k, 100 * k) for k in range(2, 5))]  # noqa: E731
    told = watched(jogger, 7)
    assert highest(told, "posture.running") > 0.5 and highest(told, "action.flee") < 0.35
    alone = lambda t: [person(1, 200 * t)]  # noqa: E731
    assert highest(watched(alone, 7), "action.flee") < 0.35, "one is no crowd"
    two = lambda t: [person(1, 200 * t), person(2, 90 + 200 * t), *(person(k, 100 * k) for k in range(3, 8))]  # noqa: E731
    assert highest(watched(two, 7), "action.flee") < 0.35, "most of the others stand"


def test_climbing_is_told_of_who_keeps_climbing_and_not_of_one_odd_look(monkeypatch):
    def seen_as(climbs):
        def posture(points, box):
            return dict.fromkeys(module.POSTURES, 0.01) | {
                "standing": 0.5,
                "climbing": 0.3 if climbs(points[0, 0]) else 0.0,
            }

        monkeypatch.setattr(module, "posture", posture)
        return highest(watched(lambda t: [person(1, 100 + t)], 8), "posture.climbing")

    assert seen_as(lambda x: int(4 * x) % 2 == 0) > 0.9, "at every other look"
    assert seen_as(lambda x: 104.0 <= x < 104.2) < 0.2


def test_hands_on_another_for_a_second_are_blows():
    fight = lambda t: [person(1, 100, arms=0.4), person(2, 145, arms=-0.4)]  # noqa: E731
    talk = lambda t: [person(1, 100), person(2, 145)]  # noqa: E731
    assert highest(watched(fight), "action.fight") > 2 * highest(watched(talk), "action.fight")


def test_facts_take_over_what_was_done_and_keep_the_rest():
    acts = Acts()
    for t in np.arange(0, 3, 0.25).tolist():
        acts.look(t, [person(1, 100, lying=True)])
    sheet = Sheet()
    sheet.set("upper.color.red", 0.9)
    sheet.set("posture.lying", 0.02)
    facts = acts.told(1, sheet.facts())
    assert facts.p[INDEX["upper.color.red"]] == pytest.approx(0.9)
    assert facts.p[INDEX["posture.lying"]] > 0.4 and facts.known[INDEX["posture.lying"]]
    assert acts.of(77) == {} and np.array_equal(acts.told(77, sheet.facts()).p, sheet.facts().p)
    acts.look(60.0, [])
    assert acts.of(1) == {}, "who left long ago is forgotten"
