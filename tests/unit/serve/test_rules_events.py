"""Rules files, zones, hours, and the joining of signs to events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from oddwatch.core import Box, Frame, InputError
from oddwatch.serve.events import Joiner, Sign
from oddwatch.serve.rules import Rules

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PIXELS = np.zeros((100, 200, 3), np.uint8)

TEXT = """
timezone = "UTC"
threshold = 0.8
minimum = 0
[[hours]]
from = 22
to = 6
threshold = 0.6
[cameras.gate]
gap = 3
[[cameras.gate.zones]]
name = "door"
polygon = [[0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [0.0, 1.0]]
threshold = 0.5
minimum = 2
[[cameras.gate.zones]]
name = "tree"
polygon = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
ignore = true
"""


def frame(at: float, moment: datetime = START) -> Frame:
    return Frame(PIXELS, "cam", at, 0, moment + timedelta(seconds=at))


def test_thresholds_by_hour_camera_and_zone(tmp_path):
    (tmp_path / "r.toml").write_text(TEXT)
    rules = Rules.read(tmp_path / "r.toml")
    rule = rules.of("other").rule
    assert rule.passes(0.8, 12) and not rule.passes(0.79, 12)
    assert rule.passes(0.6, 22) and rule.passes(0.6, 5) and not rule.passes(0.6, 6)
    gate = rules.of("gate")
    assert gate.rule.gap == 3 and gate.rule.passes(0.6, 23)
    place, door = gate.place(Box(20, 10, 60, 90), 200, 100)
    assert place == "door" and door.minimum == 2 and door.passes(0.5, 12) and door.passes(0.5, 23)
    # Its feet are what counts: the same box higher up stands outside the door, one to the right in the tree.
    assert gate.place(Box(20, 0, 60, 40), 200, 100)[0] == ""
    assert gate.place(Box(140, 10, 160, 90), 200, 100) is None
    assert gate.place(None, 200, 100)[0] == ""
    assert rules.hour(datetime(2026, 3, 1, 23, 30, tzinfo=UTC)) == 23


def test_json_is_read_too_and_center_is_an_anchor(tmp_path):
    door = {"polygon": [[0, 0], [1, 0], [1, 0.5], [0, 0.5]]}
    (tmp_path / "r.json").write_text(
        json.dumps({"cameras": {"g": {"zones": [door], "anchor": "center", "only_zones": True}}})
    )
    gate = Rules.read(tmp_path / "r.json").of("g")
    assert gate.place(Box(0, 0, 20, 90), 200, 100)[0] == "zone-1"
    assert gate.place(Box(0, 60, 20, 90), 200, 100) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("thresold = 1", "rules.thresold"),
        ("threshold = 'a'", "rules.threshold"),
        ("gap = -1", "rules.gap"),
        ("timezone = 'Nowhere/Land'", "rules.timezone"),
        ("[[hours]]\nfrom = 25\nto = 2\nthreshold = 1", "rules.hours.from"),
        ("[[cameras.a.zones]]\npolygon = [[0, 0], [1, 1]]", "zone zone-1"),
        ("[[cameras.a.zones]]\npolygon = [[0, 0], [100, 1], [3, 4]]", "zone zone-1"),
        ("[[cameras.a.zones]]\nname = 'x'", "cameras.a.zones[0].polygon"),
        ("threshold =", "r.toml"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, named):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InputError) as error:
        Rules.read(tmp_path / "r.toml")
    assert named in error.value.subject or named in str(error.value)


def test_minimum_and_gap():
    joiner = Joiner(Rules.parse({"minimum": 1.0, "gap": 3.0}))
    # One blink is nothing; 5.0–6.0 s is an event, which a pause of 2.5 s does not end and one of 3 s does.
    out = []
    for i in range(29):
        at = i * 0.5
        signs = [Sign(1.0)] if at in (1.0, 5.0, 6.0, 8.5) else []
        changes = joiner.update("c", frame(at), signs)
        out += [(at, c.what, c.event.start, c.event.last) for c in changes]
    assert out == [(6.0, "opened", 5.0, 6.0), (11.5, "closed", 5.0, 8.5)]


def test_two_things_apart_are_two_events_with_ids_of_their_own():
    joiner = Joiner(Rules.parse({"minimum": 0, "gap": 2}))
    ids = []
    for i in range(20):
        signs = [Sign(1.0, key="a")] if i in (0, 10) else []
        ids += [c.event.id for c in joiner.update("c", frame(float(i)), signs) if c.what == "opened"]
    assert len(ids) == 2 and len(set(ids)) == 2


def test_the_same_footage_gives_the_same_id():
    ids = set()
    for _ in range(2):
        joiner = Joiner(Rules.parse({"minimum": 0}))
        ids.add(joiner.update("c", frame(3.0), [Sign(1.0, key="a")])[0].event.id)
    assert len(ids) == 1


def test_a_camera_away_does_not_end_an_event_and_a_long_absence_does():
    for away, expected in ((60.0, ["opened"]), (200.0, ["opened", "closed", "opened"])):
        joiner = Joiner(Rules.parse({"minimum": 0, "gap": 2}), hold=120)
        told = [c.what for at in (0.0, 1.0) for c in joiner.update("c", frame(at), [Sign(1.0)])]
        told += [c.what for c in joiner.update("c", frame(1.0 + away), [], looked=False)]
        told += [c.what for c in joiner.update("c", frame(1.5 + away), [Sign(1.0)])]
        assert told == expected


def test_a_gap_needs_a_look():
    joiner = Joiner(Rules.parse({"minimum": 0, "gap": 1}))
    joiner.update("c", frame(0.0), [Sign(1.0)])
    for i in range(1, 9):
        assert joiner.update("c", frame(i * 0.5), [], looked=False) == []
    assert [c.what for c in joiner.update("c", frame(4.5), [], looked=True)] == ["closed"]


def test_the_judge_may_know_when_it_began_and_that_it_is_over():
    joiner = Joiner(Rules.parse({"minimum": 1}))
    changes = joiner.update("c", frame(10.0), [Sign(1.0, since=8.0)])
    assert [(c.what, c.event.start) for c in changes] == [("opened", 8.0)]
    assert changes[0].event.wall == START + timedelta(seconds=8)
    changes = joiner.update("c", frame(11.0), [Sign(0.5, over=True)])
    assert [(c.what, c.event.last, c.event.best.score) for c in changes] == [("closed", 11.0, 1.0)]


def test_a_restart_goes_on_with_what_was_told():
    first = Joiner(Rules.parse({"minimum": 0}))
    told = first.update("c", frame(50.0), [Sign(1.0, key="a", reason="falls")])[0].event
    state = json.loads(json.dumps(first.state()))
    second = Joiner(Rules.parse({"minimum": 0}))
    second.restore(state)
    assert second.state() == state
    # The new stream counts from 0 again, ten seconds later on the wall.
    later = START + timedelta(seconds=60)
    assert second.update("c", frame(0.0, later), [Sign(1.0, key="a")]) == []
    (event,) = second.events("c")
    assert event.id == told.id and event.start == pytest.approx(-10.0)
    third = Joiner()
    third.restore(state)
    old = third.update("c", frame(0.0, START + timedelta(hours=1)), [])
    assert [(c.what, c.event.id) for c in old] == [("closed", told.id)]
    with pytest.raises(InputError):
        Joiner().restore({"c": [{"wall": "no"}]})


def test_signs_of_different_keys_and_zones_are_kept_apart_and_a_flood_is_bounded():
    joiner = Joiner(Rules.parse({"minimum": 0}))
    changes = joiner.update("c", frame(0.0), [Sign(1.0, key=str(i)) for i in range(100)])
    assert len(changes) == 64 and joiner.unjoined == 36
    with pytest.raises(InputError):
        Sign(float("nan"))
