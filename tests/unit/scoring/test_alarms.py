"""Thresholds of anomaly curves: counted where there are hours enough, else predicted, and always in the right order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import Curve, InputError
from oddwatch.scoring.alarms import Tail, alarm_threshold, block_maxima, seconds_of, tail


def curve(values, fps: float = 1.0, start: float = 0.0) -> Curve:
    values = np.asarray(values, np.float64)
    return Curve("quiet", start + np.arange(len(values)) / fps, values)


def alarms(values: np.ndarray, threshold: float, rest: int = 60) -> int:
    """At one value a second."""
    count, ready = 0, 0
    for i in np.flatnonzero(values >= threshold):
        if i >= ready:
            count, ready = count + 1, i + rest
    return count


def test_largest_value_of_each_block():
    values = np.arange(12.0)
    assert block_maxima([curve(values)]).tolist() == [4, 11], "two seconds are less than half a block"
    assert block_maxima([curve(np.arange(13.0))]).tolist() == [4, 9, 12]
    assert block_maxima([curve([3.0, 1.0])]).tolist() == [3], "the only one, however short"
    assert block_maxima([curve(values), curve([]), curve([7.0])]).tolist() == [4, 11, 7]
    assert block_maxima([]).shape == (0,)


def test_a_hole_in_time_makes_no_block():
    times = np.array([0.0, 1, 2, 3, 4, 20, 21, 22, 23, 24])
    assert block_maxima([Curve("hole", times, np.arange(10.0))]).tolist() == [4, 9]


def test_seconds_count_the_last_value_too():
    assert seconds_of([curve(np.zeros(250), fps=25), curve(np.zeros(5))]) == pytest.approx(15)
    assert seconds_of([curve([]), curve([1.0])]) == 0


def test_counted_where_there_are_hours_enough():
    """Ten hours with a known peak every hour: one an hour lets all pass at the lowest peak, half as many at the sixth."""
    values = np.random.default_rng(0).uniform(0, 1, 36_000)
    peaks = 10.0 + np.arange(10)
    values[1800::3600] = peaks
    found = alarm_threshold([curve(values)], 1.0)
    assert (found.rule, found.value) == ("counted", 10.0)
    assert alarm_threshold([curve(values)], 0.5).value == 15.0
    assert alarm_threshold([curve(values)], 0.1).value == 19.0
    assert "10.0 hours" in found.note
    assert alarms(values, found.value) == 10


def test_a_burst_is_one_alarm():
    values = np.zeros(7200)
    values[1000:1040] = 5.0
    values[5000] = 4.0
    assert alarm_threshold([curve(values)], 0.5).value == 5.0
    assert alarm_threshold([curve(values)], 0.5, rest=1.0).value > 5.0


def test_clips_are_not_run_together():
    """A peak at the end of one clip and one at the start of the next are two of one-second values, in two clips."""
    one, two = np.zeros(4000), np.zeros(4000)
    one[-1], two[0] = 3.0, 3.0
    assert alarm_threshold([curve(one), curve(two)], 0.5).value == 3.0


def test_predicted_from_the_tail_where_footage_is_short():
    """Exponential tops have an exponential tail: the threshold is where it reaches the wanted rate."""
    tops = np.random.default_rng(1).exponential(1.0, 400)  # 2000 s in blocks of 5
    values = np.repeat(tops, 5)
    found = alarm_threshold([curve(values)], 1.0)
    assert found.rule == "predicted" and "33 minutes" in found.note
    level = float(np.quantile(tops, 0.8))
    excess = tops[tops > level] - level
    rate = len(excess) / (2000 / 3600)
    assert found.value == pytest.approx(max(level + excess.mean() * math.log(rate), tops.max()))
    assert alarm_threshold([curve(values)], 0.01).value == pytest.approx(
        level + excess.mean() * math.log(rate / 0.01)
    )
    assert "seconds" in alarm_threshold([curve(values[:60])], 1.0).note


def test_flat_footage_and_a_single_frame_have_a_threshold():
    assert alarm_threshold([curve(np.ones(60))], 1.0).value == np.nextafter(1.0, 2)
    assert alarm_threshold([curve([2.0])], 1.0).value == np.nextafter(2.0, 3)
    assert alarm_threshold([curve(np.ones(7200))], 1.0).value > 1.0


footage = st.lists(st.lists(st.floats(-5, 20), min_size=1, max_size=120), min_size=1, max_size=3)


@settings(max_examples=50)
@given(footage, st.floats(0.01, 50))
def test_a_predicted_threshold_lies_above_everything_normal(clips, rate):
    curves = [curve(c) for c in clips]
    found = alarm_threshold(curves, rate)
    if found.rule == "predicted":
        assert found.value > max(max(c) for c in clips)
    else:
        counted = np.concatenate([np.append(block_maxima([c], 1.0), -np.inf) for c in curves])
        assert alarms(counted, found.value) <= rate * len(counted) / 3600 + 1e-9
    assert math.isfinite(found.value)


@settings(max_examples=50)
@given(footage, st.floats(0.01, 50), st.floats(1.0, 100))
def test_fewer_false_alarms_need_a_higher_threshold(clips, rate, times):
    curves = [curve(c) for c in clips]
    assert alarm_threshold(curves, rate).value >= alarm_threshold(curves, rate * times).value


@pytest.mark.parametrize("rate", [0, -1, math.nan])
def test_a_rate_of_nothing_is_refused(rate):
    with pytest.raises(InputError, match="an hour"):
        alarm_threshold([curve([1.0])], rate)


def test_no_footage_is_refused():
    for none in ([], [curve([])]):
        with pytest.raises(InputError, match="normal footage"):
            alarm_threshold(none, 1.0)


def test_a_tail_says_how_rare_a_value_is_and_which_value_is_so_rare():
    """100 s at one a second, blocks of 5 with the largest 1 … 20: u is their 0.8 quantile, 16.2, four lie above it, by 2.3 in the mean."""
    values = np.repeat(np.arange(1.0, 21.0), 5)
    found = tail([curve(values)])
    assert found.start == pytest.approx(16.2) and found.scale == pytest.approx(2.3)
    assert found.per_hour == pytest.approx(4 * 36)
    assert found.level(144.0) == pytest.approx(16.2) and found.level(14.4) == pytest.approx(
        16.2 + 2.3 * math.log(10)
    )
    assert found.decades(np.array([16.2, found.level(1.0)])) == pytest.approx([-math.log10(144), 0.0])
    assert found.level(1e6) == found.start, "more often than the tail begins it does not say"
    assert tail([curve(np.zeros(50))]) == Tail(0.0, 0.0, 72.0, 0)
    with pytest.raises(InputError, match="normal footage"):
        tail([])


def test_a_cautious_tail_is_wider_the_less_it_rests_on():
    """The largest scale that so many excesses allow: of 1,000 samples of five, four in five lie below theirs."""
    rng = np.random.default_rng(0)
    means = rng.exponential(2.0, (1000, 5)).mean(axis=1)
    bounds = [Tail(0.0, float(m), 144.0, 5).cautious().scale for m in means]
    assert np.mean(np.array(bounds) > 2.0) == pytest.approx(0.8, abs=0.03)
    wide = [Tail(0.0, 1.0, 144.0, n).cautious().scale for n in (1, 5, 24, 1000)]
    assert wide == sorted(wide, reverse=True) and 1.0 < wide[-1] < 1.03
    assert Tail(1.0, 0.0, 6.0, 0).cautious() == Tail(1.0, 1 / math.log(10), 6.0, 0)
