"""Segments of curves: worked numbers (video-language P13), hysteresis, gaps, holes, and laws on random curves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError, Span
from oddwatch.scoring.spans import Segment, activation, activation_threshold, localise, suppress


def spans(found):
    return [(s.start, s.end) for s in found]


def test_a_stretch_has_a_start_an_end_and_a_peak():
    found = localise([0, 1, 2, 3, 4], [0, 0.6, 0.9, 0.7, 0], 0.5, label="fall")
    assert found == [Segment(1, 4, 2, 0.9, "fall")] and found[0].span == Span(1, 4)


def test_a_sample_at_the_threshold_is_in_and_the_last_one_holds_a_step():
    assert spans(localise([0, 2, 4], [0, 0, 0.5], 0.5)) == [(4, 6)]
    assert spans(localise([7], [1], 0.5)) == [(7, 7)]
    assert localise([7], [1], 0.5, minimum=0.1) == [] == localise([], [], 0.5)


def test_hysteresis_reaches_further_than_it_decides():
    values = [0.3, 0.9, 0.4, 0.1, 0.4, 0.4, 0]
    assert spans(localise(range(7), values, 0.8, low=0.3)) == [(0, 3)]
    assert spans(localise(range(7), values, 0.8)) == [(1, 2)]


def test_near_stretches_become_one_before_short_ones_are_dropped():
    t, v = np.arange(8) / 10, [1, 0, 1, 0, 0, 0, 1, 0]
    assert spans(localise(t, v, 0.5, merge=0.1, minimum=0.3)) == [(0, pytest.approx(0.3))]
    assert len(localise(t, v, 0.5, merge=0.1)) == 2
    assert localise(t, v, 0.5, minimum=0.3) == []
    assert spans(localise(t, v, 0.5, merge=0.3)) == [(0, pytest.approx(0.7))]


def test_what_did_not_count_is_not_merged():
    assert spans(localise(range(4), [0.5, 0, 0.9, 0], 0.8, low=0.4, merge=5)) == [(2, 3)]


def test_a_sample_does_not_hold_through_a_hole():
    t, v = [0, 1, 2, 602, 603], [0, 1, 1, 1, 0]
    assert spans(localise(t, v, 0.5)) == [(1, 603)]
    assert spans(localise(t, v, 0.5, longest=2)) == [(1, 4), (602, 603)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [1], 0.5), "one per time"),
        (([1, 0], [1, 1], 0.5), "ascending"),
        (([0, 1], [1, np.nan], 0.5), "fill unknown"),
    ],
)
def test_what_is_no_curve_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        localise(*arguments)


def test_a_low_threshold_above_the_high_one_is_refused():
    with pytest.raises(InputError, match="at most the threshold"):
        localise([0], [0], 0.5, low=0.6)
    with pytest.raises(InputError, match="0 or more"):
        localise([0], [0], 0.5, merge=-1)


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=40),
    st.integers(0, 5),
    st.integers(0, 3),
    st.integers(0, 4),
)
def test_segments_are_apart_ordered_and_hold_their_peak(values, threshold, down, merge):
    times = np.arange(len(values)) * 0.5
    found = localise(times, values, threshold, low=threshold - down, merge=merge)
    for one in found:
        inside = (times >= one.start) & (times < one.end)
        assert one.score == np.array(values)[inside].max() >= threshold
        assert values[round(one.peak / 0.5)] == one.score and one.start <= one.peak < one.end
    for one, other in itertools.pairwise(found):
        assert other.start - one.end > merge
    covered = np.zeros(len(values), bool)
    for one in found:
        covered |= (times >= one.start) & (times < one.end)
    assert covered[np.array(values, int) >= threshold].all()


# P13

CLASS = [0.1, 0.1, 0.9, 0.8, 0.7, 0.1, 0.1, 0.1]


def test_class_activation():
    assert activation_threshold(CLASS) == pytest.approx(0.42)
    found = activation(range(8), CLASS, label="fight")
    assert spans(found) == [(2, 5)] and found[0].peak == 2 and found[0].label == "fight"
    assert found[0].score == pytest.approx(0.9 + 0.7 * 0.9)
    assert activation(range(8), CLASS, least=4) == []


def test_the_score_of_an_activation_takes_a_sixteenth_of_the_curve():
    values = np.zeros(32)
    values[10:12], values[20:22] = (1.0, 0.8), 0.6
    found = activation(range(32), values)
    assert [s.score for s in found] == [pytest.approx(1 + 0.7 * 0.9), pytest.approx(0.6 + 0.7 * 0.9)]


def test_a_flat_curve_says_nothing():
    assert activation(range(4), [0.3] * 4) == [] == activation([], [])


def test_suppression_keeps_the_best_of_what_overlaps():
    one, two, three = Segment(0, 10, 0, 0.9), Segment(1, 11, 1, 0.8), Segment(8, 20, 8, 0.7)
    assert suppress([three, two, one], 0.6) == [one, three]
    assert suppress([one, two, three], 0.9) == [one, two, three]
    assert suppress([]) == []
    with pytest.raises(InputError, match="tIoU above 0"):
        suppress([one], 0)


def test_the_overlap_of_two_spans():
    assert Span(2, 8).iou(Span(5, 10)) == 0.375


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(0, 9)), max_size=15))
def test_what_suppression_keeps_is_apart_and_suppressing_again_changes_nothing(rows):
    found = [Segment(a, a + n, a, s) for a, n, s in rows]
    kept = suppress(found, 0.5)
    assert all(a.span.iou(b.span) < 0.5 for i, a in enumerate(kept) for b in kept[:i])
    assert suppress(kept, 0.5) == kept
    assert all(any(k.span.iou(s.span) >= 0.5 and k.score >= s.score for k in kept) for s in found)
