"""Severity metrics against worked numbers and brute force (metrics §15, images §2.5, §8.5)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.metrics.ranking import auroc
from oddwatch.metrics.severity import c_index, kendall_tau_b, severity_levels, severity_metrics

rated = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=2, max_size=16)


def test_the_first_worked_example():
    found = severity_metrics([0, 0, 1, 1, 2], [0.1, 0.4, 0.3, 0.8, 0.8])
    assert found["auroc_0v1"].value == 0.75 and found["auroc_0v2"].value == 1
    assert found["auroc_0vall"].value == pytest.approx(0.833333, abs=1e-6)
    assert found["c_index"].value == pytest.approx(0.8125) and found["c_index"].details["pairs"] == 8
    assert found["tau_b"].value == pytest.approx(0.589256, abs=1e-6)
    assert found["c_index_anomalous"].value == 0.75


def test_the_other_worked_examples():
    severity, scores = [0, 0, 0, 1, 2, 2], [0.2, 0.1, 0.5, 0.3, 0.4, 0.9]
    assert c_index(severity, scores).value == pytest.approx(9 / 11)
    assert kendall_tau_b(severity, scores).value == pytest.approx(0.544949, abs=1e-6)
    severity, scores = [0, 0, 1, 2], [0.1, 0.3, 0.2, 0.9]
    assert c_index(severity, scores).value == pytest.approx(0.8)
    assert kendall_tau_b(severity, scores).value == pytest.approx(0.54772, abs=1e-5)


def test_reversed_and_constant_scores():
    assert c_index([0, 1, 2, 3], [4, 3, 2, 1]).value == 0
    assert kendall_tau_b([0, 1, 2, 3], [4, 3, 2, 1]).value == pytest.approx(-1)
    assert c_index([0, 0, 1, 2], [7, 7, 7, 7]).value == 0.5
    assert kendall_tau_b([0, 0, 1, 2], [7, 7, 7, 7]).reason == "all items have the same score"
    assert kendall_tau_b([0, 0], [7, 8]).reason == c_index([0, 0], [7, 8]).reason


def test_half_levels_go_up():
    assert severity_levels([0, 0.5, 1, 1.5, 6]).tolist() == [0, 1, 1, 2, 6]
    found = severity_metrics([0, 0.5, 1, 1.5], [1, 2, 3, 4])
    assert "auroc_0v1" in found and "auroc_0v2" in found and "auroc_0v3" not in found


@given(rated)
def test_c_index_and_tau_are_counts_of_pairs(rows):
    severity, scores = zip(*rows, strict=True)
    agree = differ = tied = n = in_order = 0
    only_severity = only_score = 0
    for (a, x), (b, y) in itertools.combinations(rows, 2):
        sign = (a > b) - (a < b), (x > y) - (x < y)
        agree += sign[0] * sign[1] > 0
        differ += sign[0] * sign[1] < 0
        tied += sign[0] != 0 and sign[1] == 0
        only_severity += sign[0] != 0
        only_score += sign[1] != 0
        n += sign[0] != 0
    in_order = agree + tied / 2
    found, tau = c_index(severity, scores), kendall_tau_b(severity, scores)
    if n:
        assert found.value == pytest.approx(in_order / n)
    else:
        assert found.number is None
    if only_severity and only_score:
        assert tau.value == pytest.approx((agree - differ) / np.sqrt(only_severity * only_score))
    else:
        assert tau.number is None


@given(rated)
def test_a_strictly_rising_transform_changes_no_metric(rows):
    severity, scores = (np.array(v, dtype=float) for v in zip(*rows, strict=True))
    before = severity_metrics(severity, scores)
    after = severity_metrics(severity, np.exp(3 * scores) + 5)
    assert before.keys() == after.keys()
    for name, result in before.items():
        assert after[name].value == pytest.approx(result.value, nan_ok=True, abs=1e-12), name


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=16))
def test_with_two_levels_the_c_index_is_the_auroc(rows):
    severity, scores = zip(*rows, strict=True)
    assert c_index(severity, scores).value == pytest.approx(auroc(severity, scores).value, nan_ok=True)


def test_infinite_scores_have_their_place():
    assert kendall_tau_b([0, 1, 2], [-np.inf, 3, np.inf]).value == pytest.approx(1)
    assert c_index([0, 1, 2], [-np.inf, 3, np.inf]).value == 1


@pytest.mark.parametrize(
    ("severity", "scores", "says"),
    [
        ([0, -1], [1, 2], "severity: expected 0"),
        ([0, np.nan], [1, 2], "severity: expected 0"),
        (["a", "b"], [1, 2], "severity: expected"),
        ([[0, 1]], [1, 2], "severity: expected"),
        ([0, 1], [1, np.nan], "scores: 1 NaN"),
        ([0, 1], [1, 2, 3], "scores: expected one per severity"),
    ],
)
def test_what_cannot_be_judged_is_refused(severity, scores, says):
    for metric in (c_index, kendall_tau_b, severity_metrics):
        with pytest.raises(InputError, match=says):
            metric(severity, scores)
