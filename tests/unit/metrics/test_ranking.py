"""Ranking metrics against hand-computed values, the definition, and their laws (metrics §1, images §2.1)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import trapezoid

from oddwatch.core import InputError
from oddwatch.metrics.ranking import (
    aupr_trapezoid,
    auroc,
    average_precision,
    f1_max,
    pr_points,
    roc_points,
    sweep,
)

Y, S = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
METRICS = (auroc, average_precision, aupr_trapezoid, f1_max)
labelled = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=24).filter(
    lambda rows: 0 < sum(y for y, _ in rows) < len(rows)
)


def split(rows):
    return np.array([y for y, _ in rows]), np.array([s for _, s in rows], dtype=float)


def test_the_worked_example():
    assert auroc(Y, S).value == 0.75
    assert average_precision(Y, S).value == pytest.approx(0.833333, abs=1e-6)
    assert aupr_trapezoid(Y, S).value == pytest.approx(0.791667, abs=1e-6)
    best = f1_max(Y, S)
    assert best.value == pytest.approx(0.8) and best.details["threshold"] == 0.35
    assert best.details["threshold_from"] == "oracle"
    assert (best.details["precision"], best.details["recall"]) == (pytest.approx(2 / 3), 1)


def test_the_worked_example_with_ties():
    y, s = [0, 1, 0, 1, 1], [0.5, 0.5, 0.2, 0.9, 0.5]
    assert auroc(y, s).value == pytest.approx(0.833333, abs=1e-6)
    assert average_precision(y, s).value == pytest.approx(0.833333, abs=1e-6)


def test_the_threshold_stays_with_its_value_when_low_points_are_undefined():
    best = f1_max([0, 0, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.1])
    assert best.value == pytest.approx(0.4) and best.details["threshold"] == 0.6


def test_of_equally_good_thresholds_the_highest_is_named():
    best = f1_max([1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6])
    assert best.value == pytest.approx(2 / 3) and best.details["threshold"] == 0.9


def test_curves_of_the_worked_example():
    fpr, tpr, thresholds = roc_points(Y, S)
    assert fpr.tolist() == [0, 0, 0.5, 0.5, 1] and tpr.tolist() == [0, 0.5, 0.5, 1, 1]
    assert thresholds.tolist() == [np.inf, 0.8, 0.4, 0.35, 0.1]
    recall, precision, _ = pr_points(Y, S)
    assert recall.tolist() == [0, 0.5, 0.5, 1, 1]
    assert precision == pytest.approx([1, 1, 0.5, 2 / 3, 0.5])


def test_a_sweep_counts_weights_of_positives():
    swept = sweep([1, 0, 1, 1], [3, 2, 2, 1], [0.5, 9, 0.25, 0.25])
    assert swept.thresholds.tolist() == [3, 2, 1]
    assert swept.tp.tolist() == [0.5, 0.75, 1] and swept.fp.tolist() == [0, 1, 1]
    assert sweep([], []).thresholds.size == 0


@given(labelled)
def test_auroc_is_the_share_of_pairs_in_order(rows):
    y, s = split(rows)
    good, bad = s[~y], s[y]
    pairs = (bad[:, None] > good).mean() + (bad[:, None] == good).mean() / 2
    assert auroc(y, s).value == pytest.approx(pairs)
    fpr, tpr, _ = roc_points(y, s)
    assert trapezoid(tpr, fpr) == pytest.approx(pairs)
    assert auroc(y, -s).value == pytest.approx(1 - pairs)


@given(labelled)
def test_ap_and_f1_follow_their_definitions_threshold_by_threshold(rows):
    y, s = split(rows)
    ap, before, f1 = 0.0, 0.0, {}
    for t in sorted(set(s), reverse=True):
        predicted = s >= t
        precision, recall = y[predicted].mean(), y[predicted].sum() / y.sum()
        ap, before = ap + (recall - before) * precision, recall
        f1[t] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert average_precision(y, s).value == pytest.approx(ap)
    best = f1_max(y, s)
    assert best.value == pytest.approx(max(f1.values()))
    assert f1[best.details["threshold"]] == pytest.approx(best.value)


@given(labelled, st.permutations(range(24)))
def test_neither_a_rising_transform_nor_the_order_of_items_changes_anything(rows, places):
    y, s = split(rows)
    order = [p for p in places if p < y.size]
    for metric in METRICS:
        value = metric(y, s).value
        assert 0 <= value <= 1
        assert metric(y, np.exp(2 * s) - 7).value == pytest.approx(value, abs=1e-12)
        assert metric(y[order], s[order]).value == pytest.approx(value, abs=1e-12)


@given(labelled)
def test_one_more_false_positive_above_all_never_helps(rows):
    y, s = split(rows)
    for metric in METRICS:
        more = metric(np.append(y, False), np.append(s, 99.0)).value
        assert more <= metric(y, s).value + 1e-12


def test_perfect_constant_and_infinite_scores():
    for metric in METRICS:
        assert metric([0, 0, 1], [1, 2, 3]).value == 1
        assert metric([0, 0, 1], [-np.inf, 2, np.inf]).value == 1
    assert auroc([0, 0, 1], [5, 5, 5]).value == 0.5
    assert average_precision([0, 0, 1], [5, 5, 5]).value == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", METRICS)
def test_one_class_only_is_undefined_and_says_why(metric):
    for y, missing in (([0, 0], "anomalous"), ([1, 1], "normal"), ([], "anomalous")):
        result = metric(y, [0.1] * len(y))
        assert math.isnan(result.value) and result.number is None and missing in result.reason
    assert metric(Y, S).number == float(metric(Y, S)) and metric(Y, S).reason == ""


@pytest.mark.parametrize(
    ("y", "s", "says"),
    [
        ([0, 1], [0.1, np.nan], "scores: 1 NaN"),
        ([0, 2], [0.1, 0.2], "labels: expected 0"),
        ([0, 1, 1], [0.1, 0.2], "scores: expected"),
        (["a", "b"], [0.1, 0.2], "labels: expected 0"),
        ([0, 1], ["a", "b"], "scores: expected numbers"),
        ([[0, 1]], [[0.1, 0.2]], "scores: expected"),
    ],
)
def test_what_cannot_be_judged_is_refused(y, s, says):
    for metric in METRICS:
        with pytest.raises(InputError, match=says):
            metric(y, s)


def test_curves_and_weights_refuse_what_they_cannot_use():
    with pytest.raises(InputError, match="one class only"):
        roc_points([0, 0], [1, 2])
    with pytest.raises(InputError, match="one class only"):
        pr_points([1, 1], [1, 2])
    with pytest.raises(InputError, match="weights"):
        sweep([0, 1], [1, 2], [1])


def test_many_items_against_the_rank_sum_and_a_stored_value():
    rng = np.random.default_rng(0)
    y, s = rng.random(500) < 0.1, rng.random(500).astype(np.float16)
    u = stats.mannwhitneyu(s[y].astype(float), s[~y].astype(float)).statistic
    assert auroc(y, s).value == pytest.approx(u / (y.sum() * (~y).sum()))
    assert auroc(y, s).value == pytest.approx(0.5483067963, abs=1e-9)
