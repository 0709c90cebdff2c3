"""Calibrators against known answers, and thresholds by rate."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.scoring.calibration import (
    IsotonicCalibrator,
    LogisticCalibrator,
    expected_calibration_error,
    from_json,
    threshold_by_alarms,
    threshold_by_rate,
)


def _drawn(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    scores = rng.normal(3, 2, n)
    return scores, rng.random(n) < 1 / (1 + np.exp(-(1.5 * scores - 4)))


def test_logistic_finds_the_curve_that_made_the_labels() -> None:
    model = LogisticCalibrator().fit(*_drawn())
    assert (model.a, model.b) == (pytest.approx(1.5, rel=0.06), pytest.approx(-4, rel=0.06))
    assert np.isnan(model.probability(np.array([np.nan, 1.0]))).tolist() == [True, False]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_logistic_follows_the_scale_of_the_scores(scale: float) -> None:
    scores, labels = _drawn(2000)
    plain = LogisticCalibrator().fit(scores, labels).probability(scores)
    scaled = LogisticCalibrator().fit(scores * scale + 3, labels).probability(scores * scale + 3)
    assert np.allclose(plain, scaled, atol=1e-4)


def test_separable_labels_stay_finite() -> None:
    model = LogisticCalibrator().fit(np.arange(10.0), np.arange(10) >= 5)
    p = model.probability(np.arange(10.0))
    assert (
        np.isfinite([model.a, model.b]).all()
        and (np.diff(p) > 0).all()
        and 0 < p[0] < 0.25 < 0.75 < p[-1] < 1
    )


def test_isotonic_pools_what_falls() -> None:
    model = IsotonicCalibrator().fit(np.array([1.0, 2, 3, 4, 5, 6]), np.array([0, 1, 0, 1, 0, 1]))
    p = model.probability(np.array([2.0, 3, 4, 5]))
    assert p.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert 0 < model.probability(np.array([-9.0]))[0] < 0.5 < model.probability(np.array([99.0]))[0] < 1


@pytest.mark.parametrize("kind", [LogisticCalibrator, IsotonicCalibrator])
def test_calibrated_and_restored(kind: type) -> None:
    scores, labels = _drawn()
    model = kind().fit(scores[:10_000], labels[:10_000])
    p = model.probability(scores[10_000:])
    assert expected_calibration_error(p, labels[10_000:]) < 0.02
    assert expected_calibration_error(np.full(10_000, 0.9), labels[10_000:]) > 0.2
    again = from_json(json.loads(json.dumps(model.to_json())))
    assert np.array_equal(again.probability(scores), model.probability(scores))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30))
def test_probabilities_rise_with_the_score(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if labels.all() or not labels.any():
        with pytest.raises(InputError, match="both classes"):
            IsotonicCalibrator().fit(scores, labels)
        return
    p = IsotonicCalibrator().fit(scores, labels).probability(np.linspace(-7, 7, 40))
    assert (np.diff(p) >= -1e-12).all() and p.min() > 0 and p.max() < 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.floats(0, 1))
def test_threshold_keeps_the_rate(values: list[int], rate: float) -> None:
    normal = np.array(values, float)
    threshold = threshold_by_rate(normal, rate)
    assert (normal >= threshold).mean() <= rate + 1e-9
    lower = normal[normal < threshold]
    if lower.size:
        assert (normal >= lower.max()).mean() > rate, "a lower threshold would have kept the rate too"


def test_threshold_by_alarms_counts_bursts_once() -> None:
    normal = np.zeros(3600)
    normal[100:120] = 5.0
    normal[2000] = 3.0
    assert threshold_by_alarms(normal, 1.0, 0) > 5
    assert threshold_by_alarms(normal, 1.0, 1) == 5.0
    assert threshold_by_alarms(normal, 1.0, 2) == 3.0
    assert threshold_by_alarms(normal, 2.0, 0.5) == 5.0
    assert threshold_by_alarms(normal, 1.0, 60) == 0.0, "an alarm that never ends comes every minute"


def test_threshold_of_a_fitted_calibrator() -> None:
    scores, labels = _drawn(4000)
    model = LogisticCalibrator().fit(scores, labels)
    level = model.threshold(rate=0.01)
    assert (scores[~labels] >= level).mean() <= 0.01
    model.watch_normal(np.zeros(3600), 1.0)
    assert model.threshold(false_alarms_per_hour=0) > 0
    with pytest.raises(InputError, match="exactly one"):
        model.threshold()
    with pytest.raises(InputError, match="no normal scores"):
        LogisticCalibrator().threshold(rate=0.1)


@pytest.mark.parametrize(
    "state",
    [{}, {"version": 9, "kind": "logistic"}, {"version": 1, "kind": "magic"}, {"version": 1, "kind": "logistic"},
     {"version": 1, "kind": "logistic", "a": "x", "b": 0}, {"version": 1, "kind": "logistic", "a": 1, "b": np.inf},
     {"version": 1, "kind": "isotonic", "knots": [2, 1], "values": [0, 1]},
     {"version": 1, "kind": "isotonic", "knots": [1, 2], "values": [0, 3]}],
)  # fmt: skip
def test_foreign_state_is_refused(state: dict) -> None:
    with pytest.raises(InputError):
        from_json(state)


def test_labels_are_checked() -> None:
    for labels in (None, np.array([0, 2]), np.array([1]), np.array([0, 0])):
        with pytest.raises(InputError):
            LogisticCalibrator().fit(np.array([0.0, 1.0]), labels)
