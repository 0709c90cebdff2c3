"""Thresholds from normal scores: the worked numbers of the specification, and what happens with few scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.scoring.normal import (
    chi2_threshold,
    false_alarm_rate,
    mean_and_deviations,
    normal_threshold,
    normals_needed,
    out_of_line,
    prediction_bound,
    rate_of_maximum,
    scaled_percentile,
)


@pytest.mark.parametrize(("k", "expected"), [(1, 3.0000), (2, 3.4393), (48, 8.9306), (1792, 44.3064)])
def test_chi_square_rule(k, expected):
    assert chi2_threshold(0.9973, k) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("rate", "n"), [(0.10, 29), (0.05, 59), (0.02, 149), (0.01, 299), (0.005, 598)])
def test_how_many_normals_the_order_statistic_needs(rate, n):
    assert normals_needed(rate, 0.05) == n
    assert rate_of_maximum(n, 0.05) <= rate < rate_of_maximum(n - 1, 0.05)


def test_mean_and_deviations_and_scaled_percentile():
    scores = np.array([1.0, 2, 3, 4, 5])
    assert mean_and_deviations(scores) == pytest.approx(3 + 3 * np.sqrt(2))
    assert scaled_percentile(scores, 0.5, 1.5) == pytest.approx(4.5)


def test_many_scores_are_counted():
    found = normal_threshold(np.arange(200.0), 0.05)
    assert found.rule == "counted" and found.value == np.nextafter(189.0, np.inf)
    assert (np.arange(200.0) >= found.value).sum() == 10


def test_few_scores_are_extrapolated_and_never_below_the_largest():
    scores = np.array([1.0, 1.1, 0.9, 1.05, 0.95])
    loose, strict = normal_threshold(scores, 0.05), normal_threshold(scores, 0.001)
    assert loose.rule == strict.rule == "predicted" and "5 normal scores" in loose.note
    assert scores.max() < loose.value < strict.value
    lopsided = np.array([0.0] * 30 + [10.0])
    assert normal_threshold(lopsided, 0.03).value > 10


def test_the_prediction_bound_keeps_its_rate():
    rng = np.random.default_rng(0)
    draws = rng.normal(5, 2, (20_000, 6))
    beaten = [draw[5] >= prediction_bound(draw[:5], 0.1) for draw in draws[:4000]]
    assert np.mean(beaten) == pytest.approx(0.1, abs=0.015)


def test_an_expected_spread_tames_few_scores_and_fades_with_many():
    two = np.array([1.0, 1.1])
    assert prediction_bound(two, 0.01) > 3 > 2.2 > prediction_bound(two, 0.01, 0.2) > 1.5
    one = prediction_bound(np.array([1.0]), 0.01, 0.2)
    assert one == pytest.approx(1 + 3.746947 * 0.2 * np.sqrt(2), rel=1e-6)
    many = np.random.default_rng(0).normal(1, 0.05, 400)
    assert prediction_bound(many, 0.01, 0.2) == pytest.approx(prediction_bound(many, 0.01), rel=0.03)


def test_what_spread_is_expected_depends_on_the_kind_of_score():
    distances, deviations = np.array([1.0, 1.1, 0.9]), np.array([-1.2, -0.3, 0.2, 0.4, 1.4])
    assert normal_threshold(distances, 0.01).value == prediction_bound(distances, 0.01, 0.2)
    assert normal_threshold(deviations, 0.01).value == prediction_bound(deviations, 0.01) > 3
    assert normal_threshold(deviations, 0.01, 1.0).value == prediction_bound(deviations, 0.01, 1.0)
    assert normal_threshold(-distances, 0.01).value == prediction_bound(-distances, 0.01)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.floats(0.001, 0.5),
    st.floats(0.001, 0.5),
)
def test_a_smaller_rate_never_lowers_the_threshold(scores, a, b):
    low, high = (normal_threshold(np.array(scores), rate).value for rate in (max(a, b), min(a, b)))
    assert np.isfinite([low, high]).all()
    assert high >= low - 1e-9 * max(1, abs(low))


def test_identical_and_single_scores():
    assert normal_threshold(np.full(9, 0.25), 0.01).value > 0.25
    assert normal_threshold(np.array([3.0]), 0.01).value > 3.0


def test_false_alarm_rates_are_conformal():
    rates = false_alarm_rate(np.array([1.0, 2, 3]), np.array([0.0, 2, 2.5, 9]))
    assert rates.tolist() == [1.0, 0.75, 0.5, 0.25]


def test_a_bad_part_among_the_normals_is_told():
    scores = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 4.0])
    assert out_of_line(scores).tolist() == [False] * 5 + [True]
    assert not out_of_line(np.full(8, 2.0)).any() and not out_of_line(np.array([1.0, 9.0])).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: normal_threshold(np.array([]), 0.1),
        lambda: normal_threshold(np.array([1.0, np.nan]), 0.1),
        lambda: normal_threshold(np.array([1.0]), 1.5),
        lambda: prediction_bound(np.array([1.0, 2]), 0),
        lambda: prediction_bound(np.array([1.0, 2]), 0.1, -1),
        lambda: chi2_threshold(1.0, 2),
        lambda: normals_needed(0.0),
        lambda: rate_of_maximum(0),
        lambda: scaled_percentile(np.array([1.0]), 2.0),
    ],
)
def test_wrong_arguments_are_told(call):
    with pytest.raises(InputError):
        call()
