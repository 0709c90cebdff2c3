"""The streaming accumulator against worked numbers, exact metrics and its laws (metrics §3, images §2.8)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.metrics.pixels import area_partial, aupro, pool
from oddwatch.metrics.ranking import aupr_trapezoid, auroc
from oddwatch.metrics.streaming import Histogram, log_edges, quantile_edges, two_pass

GRID_MASK = np.zeros((5, 4), dtype=bool)
GRID_MASK[0, 0] = GRID_MASK[2:4, 2:4] = True
GRID = np.zeros((5, 4))
GRID[0, 0] = 14.5
GRID[2:4, 2:4] = [[16, 13.5], [9.5, 3.5]]
GRID[~GRID_MASK] = np.arange(1, 16)


def drawn(seed, n=6):
    """Maps (n, 24, 20) within 0–1, masks with blobs in every other one."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 24, 20), dtype=bool)
    for mask in masks[::2]:
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, 18, 2)
            mask[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
    return np.clip(rng.beta(2, 6, masks.shape) + 0.25 * masks, 0, 1), masks


def values(histogram, **options):
    return {name: result.number for name, result in histogram.compute(**options).items()}


@pytest.mark.parametrize("nstrips", [30, 31, 100, 1000, 10_000])
def test_the_worked_grid(nstrips):
    histogram = Histogram(1, 16, nstrips)
    histogram.update([GRID], [GRID_MASK])
    found = histogram.compute()
    assert found["p_aupro"].value == pytest.approx(0.583333, abs=1e-6)
    assert found["p_auroc"].value == pytest.approx(0.72)
    assert found["p_aupr"].value == pytest.approx(aupr_trapezoid(GRID_MASK.ravel(), GRID.ravel()).value)
    theirs = histogram.compute(anchored=False)
    assert theirs["p_aupr"].value == pytest.approx(0.354412, abs=1e-6)
    assert theirs["p_aupro"].value == pytest.approx(0.583333, abs=1e-6)
    assert found["p_aupro"].details["regions"] == 2


def test_the_trapezoid_on_a_thousand_bins():
    histogram = Histogram(0, 1, 1000)
    histogram.update([np.array([[0.1, 0.4, 0.35, 0.8]])], [np.array([[0, 0, 1, 1]])])
    assert histogram.compute()["p_aupr"].value == pytest.approx(0.79167, abs=1e-5)
    assert histogram.compute()["p_auroc"].value == 0.75


def test_the_limit_is_reached_along_a_straight_line():
    assert area_partial(np.array([0.0, 1.0]), np.array([0.2, 0.6]), 0.5) == pytest.approx(0.15)
    assert area_partial(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]), 0.5) == pytest.approx(0.25)


def test_it_comes_close_to_the_exact_values():
    maps, masks = drawn(0, 20)
    histogram = Histogram(nstrips=1000)
    histogram.update(maps, masks)
    found = histogram.compute()
    assert found["p_aupro"].value == pytest.approx(aupro(maps, masks).value, abs=1e-3)
    assert found["p_auroc"].value == pytest.approx(pool(maps, masks).auroc().value, abs=1e-4)
    assert found["i_auroc"].value == auroc(masks.any(axis=(1, 2)), maps.max(axis=(1, 2))).value


@settings(max_examples=25)
@given(st.integers(0, 1000), st.lists(st.integers(0, 5), max_size=3), st.permutations(range(3)))
def test_pieces_in_any_order_give_what_one_call_gives(seed, cuts, order):
    maps, masks = drawn(seed)
    names = ["a", "b", "a", "c", "c", "c"]
    whole = Histogram(0.1, 0.7, 64)
    whole.update(maps, masks, names)
    pieces = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 6], strict=True):
        piece = Histogram(0.1, 0.7, 64)
        piece.update(maps[start:end], masks[start:end], names[start:end])
        pieces.append(piece)
    merged = Histogram(0.1, 0.7, 64)
    for i in [o for o in order if o < len(pieces)] + list(range(3, len(pieces))):
        merged.merge(pieces[i])
    assert values(merged) == values(whole)


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_merging_commutes_and_associates_exactly(seed):
    maps, masks = drawn(seed)

    def part(*which):
        made = Histogram(0.05, 0.9, 40)
        made.update(maps[list(which)], masks[list(which)])
        return made

    one = part(0, 1).merge(part(2, 3)).merge(part(4, 5))
    other = part(0, 1).merge(part(2, 3).merge(part(4, 5)))
    turned = part(4, 5).merge(part(0, 1)).merge(part(2, 3))
    assert values(one) == values(other) == values(turned)
    assert np.array_equal(one._weighted, turned._weighted)


def test_reset_then_reuse_is_a_new_object():
    used, new = Histogram(nstrips=50), Histogram(nstrips=50)
    used.update(*drawn(1), samples=range(6))
    used.reset()
    used.update(*drawn(2))
    new.update(*drawn(2))
    assert values(used) == values(new)


def test_doubling_scores_and_bounds_changes_nothing():
    maps, masks = drawn(3)
    one, two = Histogram(0.1, 0.8, 77), Histogram(0.2, 1.6, 77)
    one.update(maps, masks)
    two.update(2 * maps, masks)
    assert values(one) == values(two)


def test_a_sample_is_as_odd_as_its_oddest_view():
    maps = [np.full((2, 2), v) for v in (0.1, 0.9, 0.2, 0.3)]
    masks = [np.zeros((2, 2)), np.eye(2), np.eye(2), np.zeros((2, 2))]
    histogram = Histogram()
    histogram.update(maps, masks, ["x", "x", "x", "y"])
    found = histogram.compute()
    assert found["s_auroc"].value == 1 and found["s_auroc"].details["anomalous"] == 1
    assert found["i_auroc"].value == 0.75
    assert found["s_aupr"].value == 1


def test_scores_outside_the_bounds_are_counted_and_told():
    maps, masks = drawn(4)
    histogram = Histogram(0.2, 0.6, 500)
    histogram.update(maps, masks)
    found = histogram.compute()["p_auroc"]
    outside = ((maps < 0.2) | (maps >= 0.6)).mean()
    assert found.details["outside"] == pytest.approx(outside) and 0 < outside < 1
    assert 0 <= found.value <= 1


@given(st.integers(0, 1000), st.floats(0.01, 1))
@settings(max_examples=25)
def test_all_values_are_between_0_and_1(seed, limit):
    histogram = Histogram(0.3, 0.5, 7)
    histogram.update(*drawn(seed))
    for result in histogram.compute(limit).values():
        assert 0 <= result.value <= 1 + 1e-12


def test_quantile_and_log_edges_serve_long_tails():
    rng = np.random.default_rng(0)
    _, masks = drawn(5, 12)
    maps = np.exp(2 * rng.normal(size=masks.shape) + 1.5 * masks)
    maps[0, 0, 0] = 1e9
    exact = aupro(maps, masks).value
    error = {}
    for name, edges in {
        "even": np.linspace(maps.min(), maps.max(), 101),
        "quantile": quantile_edges(maps[:, ::2], 100),
        "log": log_edges(maps.min(), maps.max(), 100),
    }.items():
        histogram = Histogram(edges=edges)
        histogram.update(maps, masks)
        error[name] = abs(histogram.compute()["p_aupro"].value - exact)
    assert error["quantile"] < 0.005 and error["log"] < 0.02 < error["even"]


@pytest.mark.parametrize("spacing", ["even", "quantile", "log"])
def test_two_passes_find_the_edges(spacing):
    maps, masks = drawn(6, 20)
    maps = maps + 0.01

    def source():
        return zip(maps, masks, strict=True)

    found = two_pass(source, spacing=spacing, exact_below=0)
    assert found["p_aupro"].value == pytest.approx(aupro(maps, masks).value, abs=2e-3)
    assert "exact" not in found["p_aupro"].details
    exact = two_pass(source, spacing=spacing)
    assert exact["p_aupro"].value == aupro(maps, masks).value and exact["p_aupro"].details["exact"]
    assert exact["p_aupr"].value == pytest.approx(aupr_trapezoid(masks.ravel(), maps.ravel()).value)
    assert exact["i_auroc"].value == found["i_auroc"].value


def test_constant_maps_are_even_odds():
    for spacing in ("even", "quantile"):
        found = two_pass(lambda: [(np.full((5, 4), 0.7), GRID_MASK)], spacing=spacing, exact_below=0)
        assert found["p_auroc"].value == 0.5 and found["p_aupro"].value == pytest.approx(0.15)


def test_a_missing_class_is_undefined_and_says_why():
    histogram = Histogram()
    assert {r.reason for r in histogram.compute().values()} == {"no normal pixel", "no anomalous item"}
    histogram.update([np.full((2, 2), 0.5)], [np.zeros((2, 2))])
    assert histogram.compute()["p_aupro"].reason == "no anomalous pixel"
    assert histogram.compute()["p_aupro"].number is None


def test_what_does_not_fit_is_refused():
    for options in ({"lower": 1, "upper": 0}, {"nstrips": 0}, {"upper": np.inf}):
        with pytest.raises(InputError, match="bounds"):
            Histogram(**options)
    for edges in ([1, 1], [1], [[0, 1]], [0, np.nan]):
        with pytest.raises(InputError, match="edges"):
            Histogram(edges=edges)
    histogram = Histogram()
    with pytest.raises(InputError, match=r"map\[1\]: infinite"):
        histogram.update([np.ones((1, 1)), np.full((1, 1), np.inf)], np.zeros((2, 1, 1)))
    with pytest.raises(InputError, match="samples"):
        histogram.update([np.ones((1, 1))], np.zeros((1, 1, 1)), [])
    with pytest.raises(InputError, match="different edges"):
        histogram.merge(Histogram(nstrips=10))
    with pytest.raises(InputError, match="limit"):
        histogram.compute(0)
    with pytest.raises(InputError, match="lower < upper"):
        log_edges(0, 1)
    with pytest.raises(InputError, match="finite scores"):
        quantile_edges([])
    with pytest.raises(InputError, match="spacing"):
        two_pass(list, spacing="cubic")
    with pytest.raises(InputError, match="no image"):
        two_pass(list)
    once = iter([(GRID, GRID_MASK)])
    with pytest.raises(InputError, match="1 images, then 0"):
        two_pass(lambda: once)
