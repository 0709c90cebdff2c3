"""Event metrics of video against hand-made cases, the definitions, and their laws (video-language §2.4)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError, Span
from oddwatch.metrics.events import (
    Event,
    detection_delay,
    event_recall,
    segment_ap,
    segment_map,
    touches,
)


def event(video, start, end, score=1.0, label=""):
    return Event(video, Span(start, end), score, label)


TRUE = [event("a", 2, 8), event("a", 20, 30), event("b", 0, 10)]


def test_the_true_events_found_exactly_are_a_perfect_result():
    for iou in (0.1, 1.0):
        assert segment_ap(TRUE, TRUE, iou).value == 1
    assert segment_map(TRUE, TRUE).value == 1


def test_a_false_find_before_a_hit_costs_precision():
    found = [event("a", 50, 60, 0.9), event("a", 2, 8, 0.8), event("b", 0, 10, 0.7)]
    result = segment_ap(found, TRUE, 0.5)
    assert result.value == pytest.approx((1 / 2 + 2 / 3) / 3) and result.details["hits"] == 2


def test_the_overlap_has_to_be_reached():
    found = [event("a", 5, 10)]
    assert segment_ap(found, [event("a", 2, 8)], 0.375).value == 1
    assert segment_ap(found, [event("a", 2, 8)], 0.376).value == 0


def test_a_second_find_of_an_event_is_false_and_another_video_is_another_event():
    found = [event("a", 2, 8, 0.9), event("a", 2, 8, 0.8), event("c", 0, 10, 0.7), event("b", 0, 10, 0.6)]
    assert segment_ap(found, TRUE, 0.5).value == pytest.approx((1 + 2 / 4) / 3)


def test_a_find_claims_what_it_overlaps_most_of_what_is_free():
    true = [event("a", 0, 10), event("a", 4, 14)]
    found = [event("a", 4, 13, 0.9), event("a", 3, 12, 0.8)]
    assert segment_ap(found, true, 0.4).value == 1


def test_the_mean_is_over_classes_then_over_overlaps():
    true = [event("a", 0, 10, label="fall"), event("b", 0, 10, label="fight")]
    found = [event("a", 0, 10, label="fall"), event("b", 0, 3, label="fight"), event("a", 0, 9, label="riot")]
    result = segment_map(found, true)
    assert result.value == pytest.approx((3 * 1 + 2 * 0.5) / 5)
    assert result.details["per_iou"] == {0.1: 1, 0.2: 1, 0.3: 1, 0.4: 0.5, 0.5: 0.5}
    assert result.details["per_class"] == {"fall": 1, "fight": pytest.approx(0.6)}
    assert segment_map(found, true, [0.5]).value == 0.5


def test_what_is_undefined_says_why():
    assert segment_map(TRUE, []).reason == segment_ap(TRUE, [], 0.5).reason == "no true event"
    assert segment_ap([], TRUE, 0.5).value == 0
    assert event_recall(TRUE, [], hours=1, false_alarms_per_hour=1).reason == "no true event"
    assert detection_delay([], TRUE).reason == "none of 3 events has an alarm inside"
    assert detection_delay([], []).reason == "no true event"


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="iou"):
        segment_ap(TRUE, TRUE, 0)
    with pytest.raises(InputError, match="ious"):
        segment_map(TRUE, TRUE, [])
    with pytest.raises(InputError, match="NaN"):
        event("a", 0, 1, math.nan)
    for options in (
        {"hours": 0, "false_alarms_per_hour": 1},
        {"hours": 1, "false_alarms_per_hour": -1},
        {"hours": 1, "false_alarms_per_hour": 1, "normal": []},
        {"hours": 1, "false_alarms_per_hour": 1, "tolerance": -1},
        {"hours": 1, "false_alarms_per_hour": 1, "normal": [], "normal_hours": 0},
    ):
        with pytest.raises(InputError):
            event_recall(TRUE, TRUE, **options)


def test_spans_touch_when_they_share_an_instant():
    assert touches(Span(0, 2), Span(1, 3)) and not touches(Span(0, 2), Span(2, 3))
    assert touches(Span(2, 2), Span(2, 3)) and touches(Span(0, 3), Span(1, 1))
    assert not touches(Span(3, 3), Span(2, 3)) and touches(Span(1, 1), Span(1, 1))


FOUND = [
    event("a", 3, 4, 0.9),
    event("a", 40, 41, 0.8),
    event("a", 21, 22, 0.7),
    event("b", 50, 51, 0.6),
    event("b", 1, 2, 0.5),
]


@pytest.mark.parametrize(("allowed", "wanted"), [(0, 1 / 3), (0.9, 1 / 3), (1, 2 / 3), (2, 1), (50, 1)])
def test_recall_at_a_rate_of_false_alarms(allowed, wanted):
    result = event_recall(FOUND, TRUE, hours=1, false_alarms_per_hour=allowed)
    assert result.value == pytest.approx(wanted)
    assert result.details["false_alarms_per_hour"] <= allowed
    assert result.details["threshold_from"] == "oracle"
    half = event_recall(FOUND, TRUE, hours=0.5, false_alarms_per_hour=2 * allowed)
    assert half.value == result.value


def test_the_threshold_may_come_from_normal_footage():
    normal = [event("n", 0, 1, 0.65), event("n", 5, 6, 0.4)]
    options = {"hours": 1, "false_alarms_per_hour": 0.5, "normal": normal}
    result = event_recall(FOUND, TRUE, **options, normal_hours=1)
    assert result.value == pytest.approx(2 / 3) and result.details["threshold_from"] == "normal"
    assert result.details["threshold"] > 0.65 and result.details["false_alarms_per_hour"] == 1
    assert event_recall(FOUND, TRUE, **options, normal_hours=4).value == 1


def test_an_alarm_just_before_an_event_may_be_tolerated():
    found = [event("a", 18, 19, 0.9)]
    options = {"hours": 1, "false_alarms_per_hour": 0}
    assert event_recall(found, TRUE, **options).value == 0
    result = event_recall(found, TRUE, **options, tolerance=2)
    assert result.value == pytest.approx(1 / 3) and result.details["per_event"] == [False, True, False]


def test_several_alarms_on_one_event_are_not_false():
    found = [event("a", t, t + 0.5, 0.9) for t in range(2, 8)]
    result = event_recall(found, TRUE, hours=1, false_alarms_per_hour=0)
    assert result.value == pytest.approx(1 / 3) and result.details["false_alarms_per_hour"] == 0


def test_delay_is_from_the_start_of_an_event_to_the_first_alarm_inside():
    found = [*FOUND, event("a", 19, 21, 0.6)]
    result = detection_delay(found, TRUE, 0.5)
    assert result.details["per_event"] == [1, 0, 1] and result.value == pytest.approx(2 / 3)
    assert result.details["median"] == 1 and result.details["recall"] == 1
    strict = detection_delay(found, TRUE, 0.7)
    assert strict.details["per_event"] == [1, 1, None] and strict.details["missed"] == 1
    assert strict.value == 1


events = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 15), st.integers(0, 6), st.integers(0, 4)), max_size=8
).map(lambda rows: [event(v, a, a + n, s) for v, a, n, s in rows])


@settings(max_examples=50)
@given(events, events)
def test_precision_does_not_depend_on_the_order_given_and_falls_with_the_overlap(found, true):
    for iou in (0.1, 0.5, 0.9):
        one, other = segment_ap(found, true, iou), segment_ap(found[::-1], true[::-1], iou)
        assert one.number == other.number and (one.number is None) == (not true)
        if true:
            assert 0 <= one.value <= 1 and one.details["hits"] <= min(len(found), len(true))
    if len(true) == 1:
        first, last = (segment_ap(found, true, iou).value for iou in (0.1, 0.9))
        assert first >= last


@settings(max_examples=50)
@given(events, events, st.integers(0, 4))
def test_recall_rises_with_the_alarms_allowed_and_keeps_to_them(found, true, allowed):
    if not true:
        return
    one = event_recall(found, true, hours=1, false_alarms_per_hour=allowed)
    more = event_recall(found, true, hours=1, false_alarms_per_hour=allowed + 1)
    assert more.value >= one.value and one.details["false_alarms_per_hour"] <= allowed
    delay = detection_delay(found, true, one.details["threshold"])
    assert [d is not None for d in delay.details["per_event"]] == one.details["per_event"]
    assert all(0 <= d < 7 for d in delay.details["per_event"] if d is not None)
