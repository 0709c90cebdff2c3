"""AUPIMO against the worked cases and brute force (metrics §4, images §2.4)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from oddwatch.core import InputError
from oddwatch.metrics import aupimo as module
from oddwatch.metrics.aupimo import aupimo, average_ranks, compare, spread

LN = math.log
NORMAL_A = np.arange(10.0).reshape(2, 5)
NORMAL_B = np.array([[0, 0, 0, 0, 5], [0, 0, 0, 0, 5.0]])


def image(anomalous, rest=0.0):
    """A 2 x 5 map and mask with these anomalous scores, and ``rest`` elsewhere."""
    scores, mask = np.full(10, rest), np.zeros(10, dtype=bool)
    scores[: len(anomalous)], mask[: len(anomalous)] = anomalous, True
    return scores.reshape(2, 5), mask.reshape(2, 5)


EMPTY = np.zeros((2, 5), dtype=bool)
BAD, BAD_MASK = image([9.5, 8.5, 6.5, 2])
CASE_A = (0.375 * LN(2) + 0.5 * LN(1.5) + 0.625 * LN(4 / 3)) / LN(4)


def case_a(bend=lambda s: s, **options):
    return aupimo([bend(NORMAL_A), bend(BAD)], [EMPTY, BAD_MASK], (0.1, 0.4), force=True, **options)


def test_case_a_and_its_stretched_copy():
    found = case_a(thresholds=10)
    assert found.value == pytest.approx(CASE_A) and found.value == pytest.approx(0.463440, abs=1e-6)
    assert found.details["points"] == 4
    assert found.details["rates"] == (0.1, 0.4) and found.details["thresholds"] == (9, 6)
    assert math.isnan(found.details["scores"][0]) and found.details["scores"][1] == found.value
    assert case_a(lambda s: 3 * s + 2, thresholds=10).value == pytest.approx(CASE_A)


def test_an_even_grid_feels_a_bend_and_exact_thresholds_do_not():
    def bend(s):
        return np.exp(s / 2)

    assert abs(case_a(bend, thresholds=10).value - CASE_A) > 0.01
    assert case_a(bend, thresholds="exact").value == pytest.approx(CASE_A)
    assert case_a(thresholds="exact").value == pytest.approx(CASE_A)


def test_case_b():
    others = [image([12, 12], 9), image([1, 1, 2], 9)]
    maps = [NORMAL_A, NORMAL_B, BAD, *(m for m, _ in others)]
    masks = [EMPTY, EMPTY, BAD_MASK, *(m for _, m in others)]
    found = aupimo(maps, masks, (0.05, 0.4), thresholds=10, force=True)
    first = (0.375 * LN(2) + 0.5 * LN(1.5) + 0.625 * LN(4 / 3) + 0.75 * LN(1.75) + 0.75 * LN(8 / 7)) / LN(8)
    assert found.details["scores"] == pytest.approx([np.nan, np.nan, first, 1, 0], nan_ok=True)
    assert first == pytest.approx(0.558960, abs=1e-6)
    assert found.value == pytest.approx(0.519653, abs=1e-6)
    assert found.details["points"] == 6


def test_the_toy_of_the_image_specification():
    bad, mask = image([5.5, 8.5, 9.5, 20])
    found = aupimo([NORMAL_A + 1, bad], [EMPTY, mask], (0.1, 0.4), thresholds=10, force=True)
    assert found.value == pytest.approx((0.375 * LN(2) + 0.625 * LN(1.5) + 0.75 * LN(4 / 3)) / LN(4))
    assert found.value == pytest.approx(0.52594, abs=1e-5)


def test_a_random_detector():
    lower, upper = 0.1, 0.4
    assert (upper - lower) / LN(upper / lower) == pytest.approx(0.216404, abs=1e-6)
    rng = np.random.default_rng(0)
    maps = rng.random((40, 40, 40))
    masks = np.zeros(maps.shape, dtype=bool)
    masks[20:] = True
    assert aupimo(maps, masks, (lower, upper)).value == pytest.approx(0.216404, abs=0.005)


def brute(maps, masks, bounds, thresholds):
    """Every threshold against every pixel, as the specification's steps read."""
    normal = [m for m, k in zip(maps, masks, strict=True) if not k.any()]
    pooled = np.concatenate([m.ravel() for m in normal])
    grid = np.unique(pooled) if thresholds == "exact" else np.linspace(pooled.min(), pooled.max(), thresholds)
    f = np.array([np.mean([(m >= t).mean() for m in normal]) for t in grid])
    index = []
    for level in bounds:
        near = np.abs(f - level)
        at = np.flatnonzero(near <= near.min() + 1e-12)
        index.append(int(at[-1]) if level == 1 else int(at[0]))
    low, high = index
    x = np.log(f[high : low + 1][::-1])
    found = []
    for m, k in zip(maps, masks, strict=True):
        if k.any():
            t = np.array([(m[k] >= grid[j]).mean() for j in range(high, low + 1)])[::-1]
            area = sum((b - a) * (p + q) / 2 for a, b, p, q in zip(x, x[1:], t, t[1:], strict=False))
            found.append(min(max(area / LN(bounds[1] / bounds[0]), 0), 1))
        else:
            found.append(np.nan)
    return (low, high), np.array(found)


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(0.02, 0.31), (0.003, 0.02), (0.11, 1.0), (0.3, 0.77)]),
    st.sampled_from([7, 50, 900, "exact"]),
    st.booleans(),
)
def test_it_is_the_definition(seed, bounds, thresholds, ties):
    rng = np.random.default_rng(seed)
    sizes = [tuple(rng.integers(2, 12, 2)) for _ in range(rng.integers(2, 6))]
    maps = [np.round(rng.gamma(2, 1, s), 1) if ties else rng.gamma(2, 1, s) for s in sizes]
    masks = [np.zeros(s, dtype=bool) for s in sizes]
    maps[0] = maps[0] + rng.random(sizes[0])
    masks[0][0, 0] = masks[0][-1, -1] = True
    (low, high), expected = brute(maps, masks, bounds, thresholds)
    if high >= low:
        with pytest.raises(InputError, match="both fall on the rate"):
            aupimo(maps, masks, bounds, thresholds, force=True)
        return
    found = aupimo(maps, masks, bounds, thresholds, force=True)
    assert found.details["points"] == low - high + 1
    assert found.details["scores"] == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert 0 <= found.value <= 1


@pytest.mark.parametrize("thresholds", [300_000, "exact"])
@pytest.mark.parametrize("ties", [False, True])
def test_keeping_few_scores_changes_nothing(thresholds, ties, monkeypatch):
    rng = np.random.default_rng(3)
    maps = rng.gamma(2, 1, (12, 60, 70)).astype(np.float32)
    maps = np.round(maps * 4) / 4 if ties else maps
    masks = np.zeros(maps.shape, dtype=bool)
    masks[8:, 10:20, 10:30] = True
    maps[8:][masks[8:]] += 3
    bounds = (2e-3, 2e-2)
    lean = aupimo(maps, masks, bounds, thresholds, force=True)
    tail = module._tail
    kept = []

    def everything(m, sizes, keep):
        kept.append(keep)
        return tail(m, sizes, sum(sizes.values()))

    monkeypatch.setattr(module, "_tail", everything)
    full = aupimo(maps, masks, bounds, thresholds, force=True)
    assert max(kept) < 8 * 60 * 70
    assert lean.details["points"] == full.details["points"] and lean.details["rates"] == full.details["rates"]
    assert np.array_equal(lean.details["scores"], full.details["scores"], equal_nan=True)


def test_a_bound_among_many_equal_scores_is_still_found():
    rng = np.random.default_rng(0)
    normal = np.where(rng.random((4, 80, 80)) < 0.4, 1.0, rng.random((4, 80, 80)) / 2)
    normal[:, 0, :40] = 2 + rng.random((4, 40))
    bad = rng.random((1, 80, 80)) * 3
    masks = np.zeros((5, 80, 80), dtype=bool)
    masks[4, 5:9, 5:9] = True
    maps = np.concatenate([normal, bad])
    _, expected = brute(list(maps), list(masks), (1e-3, 0.01), 400)
    found = aupimo(maps, masks, (1e-3, 0.01), 400, force=True)
    assert found.details["scores"] == pytest.approx(expected, nan_ok=True)


def test_one_noisy_normal_image_can_be_left_out():
    rng = np.random.default_rng(1)
    maps = rng.random((6, 50, 50))
    masks = np.zeros(maps.shape, dtype=bool)
    masks[4:, :10, :10] = True
    maps[4:, :10, :10] += 1
    maps[2, 20:30, 20:30] += 5
    found = aupimo(maps, masks, (1e-3, 1e-2), force=True, without_worst=True)
    assert found.details["left_out"] == 2 and found.value == 0
    assert found.details["robust"] > 0.95
    alone = aupimo(np.delete(maps, 2, 0), np.delete(masks, 2, 0), (1e-3, 1e-2), force=True)
    assert found.details["robust"] == alone.value
    assert np.array_equal(
        np.delete(found.details["robust_scores"], 2), alone.details["scores"], equal_nan=True
    )
    with pytest.raises(InputError, match="one normal image only"):
        case_a(without_worst=True)


def test_few_points_are_refused_or_remarked_upon():
    with pytest.raises(InputError, match="4 points between them"):
        aupimo([NORMAL_A, BAD], [EMPTY, BAD_MASK], (0.1, 0.4), thresholds=10)
    assert "4 points" in " ".join(case_a(thresholds=10).details["notes"])
    assert case_a(thresholds=9000).details["notes"] == ()
    off = aupimo([NORMAL_A, BAD], [EMPTY, BAD_MASK], (0.12, 0.4), thresholds=9000, force=True)
    assert off.details["notes"] == ("the bound 0.12 is reached as 0.1",)


def test_a_lower_bound_out_of_reach_is_refused_and_when_forced_not_extrapolated():
    arguments = ([NORMAL_A, BAD], [EMPTY, BAD_MASK], (0.05, 0.4))
    with pytest.raises(InputError, match=r"0.05, is below the smallest rate, 0.1"):
        aupimo(*arguments)
    assert aupimo(*arguments, thresholds=10, force=True).value == pytest.approx(CASE_A * LN(4) / LN(8))


@pytest.mark.parametrize(
    ("maps", "masks", "options", "says"),
    [
        ([NORMAL_A, BAD], [EMPTY, BAD_MASK], {"bounds": (0.1, 0.1)}, "bounds: expected"),
        ([NORMAL_A, BAD], [EMPTY, BAD_MASK], {"bounds": (0, 0.1)}, "bounds: expected"),
        ([NORMAL_A, BAD], [EMPTY, BAD_MASK], {"bounds": (0.1, 1.5)}, "bounds: expected"),
        ([NORMAL_A, BAD], [EMPTY, BAD_MASK], {"thresholds": 1}, "thresholds: expected"),
        ([NORMAL_A * 0, BAD], [EMPTY, BAD_MASK], {}, "both fall on the rate 1"),
        ([NORMAL_A, BAD], [EMPTY, EMPTY], {}, "no anomalous image"),
        ([BAD, BAD], [BAD_MASK, BAD_MASK], {}, "no normal image"),
        ([], [], {}, "no normal image"),
        ([NORMAL_A, np.where(BAD > 9, np.inf, BAD)], [EMPTY, BAD_MASK], {}, r"map\[1\]: infinite"),
        ([NORMAL_A, np.where(BAD > 9, np.nan, BAD)], [EMPTY, BAD_MASK], {}, r"map\[1\]: 1 NaN"),
        ([NORMAL_A, BAD], [EMPTY, BAD_MASK.T], {}, r"mask\[1\]: expected the map's size"),
    ],
)
def test_what_cannot_be_judged_is_refused(maps, masks, options, says):
    with pytest.raises(InputError, match=says):
        aupimo(maps, masks, **options)


def test_models_are_compared_image_by_image():
    rng = np.random.default_rng(0)
    b = np.append(np.nan, rng.random(20))
    scores = {"a": b + 0.1 + rng.random(21) / 10, "b": b, "c": b.copy()}
    found = {(c.first, c.second): c for c in compare(scores)}
    assert list(found) == list(itertools.combinations("abc", 2))
    ab = found["a", "b"]
    assert ab.images == 20 and ab.gain == pytest.approx(np.nanmean(scores["a"] - b))
    assert (
        ab.wilcoxon_p == pytest.approx(stats.wilcoxon(scores["a"][1:], b[1:]).pvalue) and ab.wilcoxon_p < 1e-4
    )
    assert ab.t_p == pytest.approx(stats.ttest_rel(scores["a"][1:], b[1:]).pvalue)
    assert (found["b", "c"].gain, found["b", "c"].wilcoxon_p, found["b", "c"].t_p) == (0, 1, 1)
    assert average_ranks(scores) == {"a": 1, "b": 2.5, "c": 2.5}


def test_comparisons_of_few_and_of_equally_better_images():
    one = compare({"a": [0.5], "b": [0.25]})[0]
    assert (one.images, one.wilcoxon_p, one.t_p) == (1, 1, None)
    even = compare({"a": [0.5, 0.75], "b": [0.25, 0.5]})[0]
    assert even.t_p == 0


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ({"a": [1.0]}, "two models"),
        ({"a": [1.0], "b": [1.0, 2.0]}, "one length"),
        ({"a": [1.0, np.nan], "b": [np.nan, 1.0]}, "NaN for different images"),
        ({"a": [np.nan], "b": [np.nan]}, "no image"),
    ],
)
def test_comparisons_of_what_does_not_pair_are_refused(scores, says):
    for function in (compare, average_ranks):
        with pytest.raises(InputError, match=says):
            function(scores)


def test_the_spread_of_scores():
    found = spread([np.nan, *np.arange(101) / 100])
    assert found == pytest.approx(
        {
            "min": 0,
            "p5": 0.05,
            "q1": 0.25,
            "median": 0.5,
            "q3": 0.75,
            "max": 1,
            "mean": 0.5,
            "at_zero": 1 / 101,
        }
    )
