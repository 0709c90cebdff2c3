"""Pixel metrics against the worked numbers and brute force (metrics §1–2, images §2.1–2.3, §8.3)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oddwatch.core import InputError
from oddwatch.metrics.maps import components, pairs
from oddwatch.metrics.pixels import SEVEN, aupro, auspro, iou_max, mad, pixel_metrics, pool
from oddwatch.metrics.ranking import MetricResult, auroc, average_precision, f1_max

GRID_MASK = np.zeros((5, 4), dtype=bool)
GRID_MASK[0, 0] = GRID_MASK[2:4, 2:4] = True
GRID = np.zeros((5, 4))
GRID[0, 0] = 14.5
GRID[2:4, 2:4] = [[16, 13.5], [9.5, 3.5]]
GRID[~GRID_MASK] = np.arange(1, 16)


@st.composite
def sets(draw):
    """One to three images of different sizes, scores with ties, both kinds of pixels."""
    images = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
        images.append((draw(hnp.arrays(np.int8, shape, elements=st.integers(-4, 4))),
                       draw(hnp.arrays(np.bool_, shape))))  # fmt: skip
    maps, masks = [m.astype(np.float32) for m, _ in images], [m for _, m in images]
    masks[0][0, 0] = True
    maps.append(np.array([[0.0, 2.0]], dtype=np.float32))
    masks.append(np.zeros((1, 2), dtype=bool))
    return maps, masks


def flood(mask):
    """Sets of pixels of the 8-connected parts, by walking."""
    left, parts = {tuple(p) for p in np.argwhere(mask)}, []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            edge += near
        parts.append(part)
    return parts


def brute_aupro(maps, masks, limit):
    """The definition, threshold by threshold, and a fine numeric integral of the joined points."""
    parts = [(i, part) for i, mask in enumerate(masks) for part in flood(mask)]
    normal = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    points = [(0.0, 0.0)]
    for t in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        overlap = [np.mean([maps[i][p] >= t for p in part]) for i, part in parts]
        points.append((float((normal >= t).mean()), float(np.mean(overlap))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + at_end) / 2
    return area / limit


def test_the_worked_grid():
    maps, masks = [GRID], [GRID_MASK]
    assert aupro(maps, masks).value == pytest.approx(0.583333, abs=1e-6)
    assert aupro(maps, masks).details["regions"] == 2
    assert aupro(maps, masks, variant="quantile", num_thresholds=15).value == pytest.approx(
        0.652778, abs=1e-6
    )
    assert aupro(maps, masks, variant="linear200").value == pytest.approx(0.5625, abs=1e-9)
    found = pool(maps, masks)
    assert found.auroc().value == pytest.approx(0.72)
    assert found.ap().value == pytest.approx(0.592157, abs=1e-6)


def test_the_worked_image_of_thirteen_pixels_and_its_curve():
    scores = np.array([[0.9, 0.7, 0.8, 0.6, 0.5] + [0.1] * 8])
    mask = np.array([[1, 0, 1, 1, 0] + [0] * 8])
    found = pool([scores], [mask])
    assert found.regions == 2
    assert found.aupro().value == pytest.approx(0.91667, abs=1e-5)
    assert found.auroc().value == pytest.approx(29 / 30)
    fpr, pro, thresholds = found.pro_points()
    assert fpr == pytest.approx([0, 0, 0, 0.1, 0.1, 0.2, 1])
    assert pro == pytest.approx([0, 0.5, 0.75, 0.75, 1, 1, 1])
    assert thresholds.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.5, 0.1]


def test_corners_connect():
    mask = np.eye(2, dtype=bool)
    assert components(mask)[1].tolist() == [2] and components(mask, 4)[1].tolist() == [1, 1]
    assert pool([np.ones((2, 2))], [mask]).regions == 1
    with pytest.raises(InputError, match="connectivity"):
        components(mask, 6)


def test_perfect_and_constant_maps():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:3, 1:3] = True
    perfect = pixel_metrics([mask.astype(float)], [mask])
    assert [perfect[k].value for k in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "iou_max")] == [
        1
    ] * 5
    flat = pixel_metrics([np.full((6, 6), 0.1)], [mask])
    assert flat["aupro"].value == pytest.approx(0.15)
    assert (flat["pixel_auroc"].value, flat["iou_max"].value, flat["mf1"].value) == (0.5, 0, 0)
    assert flat["macc"].value == pytest.approx(32 / 36)
    assert aupro([np.full((6, 6), 0.1)], [mask], variant="linear200").reason


@given(sets(), st.sampled_from([0.05, 0.3, 0.77, 1.0]))
def test_exact_aupro_is_the_definition(images, limit):
    maps, masks = images
    found = aupro(maps, masks, limit)
    assert found.value == pytest.approx(brute_aupro(maps, masks, limit), abs=1e-9)
    assert 0 <= found.value <= 1


@given(sets())
def test_pooled_metrics_are_the_ranking_metrics_of_all_pixels(images):
    maps, masks = images
    y = np.concatenate([m.ravel() for m in masks])
    s = np.concatenate([m.ravel() for m in maps])
    found = pool(maps, masks)
    assert found.auroc().value == pytest.approx(auroc(y, s).value)
    assert found.ap().value == pytest.approx(average_precision(y, s).value)
    best = found.f1_max()
    assert best.name == "pixel_f1_max" and best.value == pytest.approx(f1_max(y, s).value)
    assert best.details["threshold"] == f1_max(y, s).details["threshold"]


@given(sets())
def test_a_rising_transform_and_the_order_of_images_change_nothing(images):
    maps, masks = images
    before, ader = pool(maps, masks), pool(maps, masks).ader()
    bent = pool([np.exp(m.astype(float)) for m in maps], masks)
    turned = pool(maps[::-1], masks[::-1])
    for other in (bent, turned):
        assert other.aupro().value == pytest.approx(before.aupro().value)
        assert other.auroc().value == pytest.approx(before.auroc().value)
        assert other.aupro(variant="quantile").value == pytest.approx(before.aupro(variant="quantile").value)
    stretched = pool([2 * m + 4 for m in maps], masks).ader()
    assert {k: v.value for k, v in stretched.items()} == pytest.approx({k: v.value for k, v in ader.items()})
    assert all(0 <= v.value <= 1 for v in ader.values())


@given(sets())
def test_ader_is_its_21_thresholds(images):
    maps, masks = images
    y, s = (np.concatenate([m.ravel() for m in rows]) for rows in (masks, maps))
    low, high = float(s.min()), float(s.max())
    iou, f1, accuracy = [], [], []
    for level in np.arange(21) / 20:
        p = s > (high if level == 1 else low + (high - low) * level)
        both = (p & y).sum()
        iou.append(both / (p | y).sum())
        f1.append(2 * both / (p.sum() + y.sum()))
        accuracy.append((p == y).mean())
    middle = [4, 6, 8, 10, 12, 14, 16]
    found = pool(maps, masks).ader()
    assert found["iou_max"].value == pytest.approx(max(iou))
    assert found["f1_max_21"].value == pytest.approx(max(f1))
    for name, curve in (("miou", iou), ("mf1", f1), ("macc", accuracy)):
        assert found[name].value == pytest.approx(np.mean(np.array(curve)[middle]))
    assert iou_max(maps, masks).value == found["iou_max"].value


def test_variants_agree_on_many_pixels_but_are_not_equal():
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 64, 64), dtype=bool)
    for mask in masks[:4]:
        y, x = rng.integers(0, 50, 2)
        mask[y : y + 9, x : x + 13] = True
    maps = rng.normal(size=masks.shape) + 1.5 * masks
    exact = aupro(maps, masks).value
    fine = aupro(maps, masks, variant="quantile", num_thresholds=5000).value
    coarse = aupro(maps, masks, variant="quantile").value
    assert fine == pytest.approx(exact, abs=1e-3) and coarse == pytest.approx(exact, abs=1e-2)
    assert coarse != exact
    assert aupro(maps, masks, limit=1, variant="linear200", num_thresholds=4000).value == pytest.approx(
        aupro(maps, masks, limit=1).value, abs=1e-3
    )
    assert aupro(list(maps), list(masks)).value == exact


@pytest.mark.parametrize("variant", ["exact", "quantile", "linear200"])
def test_without_one_kind_of_pixel_it_is_undefined_and_says_so(variant):
    good = aupro([np.ones((2, 2))], [np.zeros((2, 2))], variant=variant)
    assert math.isnan(good.value) and good.reason == "no anomalous pixel"
    assert aupro([np.ones((2, 2))], [np.ones((2, 2))], variant=variant).reason == "no normal pixel"
    assert aupro([], [], variant=variant).reason == "no anomalous pixel"
    assert {
        k: v.number for k, v in pixel_metrics([np.ones((2, 2))], [np.zeros((2, 2))]).items()
    } == dict.fromkeys(
        ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "iou_max", "f1_max_21", "mf1", "macc", "miou")
    )
    with pytest.raises(InputError, match="no anomalous pixel"):
        pool([np.ones((2, 2))], [np.zeros((2, 2))]).pro_points()


@pytest.mark.parametrize(
    ("maps", "masks", "says"),
    [
        ([np.ones((2, 2))], [], r"masks: expected one per map \(1\), got 0"),
        (
            [np.ones((2, 2)), np.ones((2, 3))],
            [np.zeros((2, 2))] * 2,
            r"mask\[1\]: expected the map's size \(2, 3\)",
        ),
        ([np.ones((2, 2)), np.full((2, 2), np.nan)], [np.zeros((2, 2))] * 2, r"map\[1\]: 4 NaN"),
        ([np.ones(4)], [np.zeros(4)], r"map\[0\]: expected \(H, W\)"),
        ([np.ones((0, 2))], [np.zeros((0, 2))], r"map\[0\]: expected \(H, W\)"),
        ([np.ones((2, 2))], [None], r"mask\[0\]: is missing"),
        ([np.ones((2, 2))], [np.full((2, 2), 0.5)], r"mask\[0\]: expected 0 and 1"),
        ([np.ones((2, 2))], [np.full((2, 2), "a")], r"mask\[0\]: expected booleans"),
        ([np.full((2, 2), "a")], [np.zeros((2, 2))], r"map\[0\]: expected numbers"),
    ],
)
def test_what_does_not_fit_is_named(maps, masks, says):
    with pytest.raises(InputError, match=says):
        pool(maps, masks)


def test_arguments_out_of_range_are_refused():
    maps, masks = [GRID], [GRID_MASK]
    for limit in (0, 1.1, -1):
        with pytest.raises(InputError, match="limit"):
            aupro(maps, masks, limit)
        with pytest.raises(InputError, match="limit"):
            auspro(maps, [[(GRID_MASK, 1)]], limit)
    with pytest.raises(InputError, match="variant"):
        aupro(maps, masks, variant="fast")
    with pytest.raises(InputError, match="num_thresholds"):
        aupro(maps, masks, num_thresholds=100)
    with pytest.raises(InputError, match="infinite"):
        iou_max([np.array([[0.0, np.inf]])], [np.array([[0, 1]])])


def test_masks_of_255_and_half_precision_maps():
    found = list(
        pairs([GRID.astype(np.float16), GRID.astype(np.uint8)], [GRID_MASK * np.uint8(255), GRID_MASK])
    )
    assert [scores.dtype for scores, _ in found] == [np.float32, np.float64]
    assert all((mask == GRID_MASK).all() for _, mask in found)


def test_infinite_scores_only_have_a_place():
    high = np.where(GRID == 16, np.inf, GRID)
    assert aupro([high], [GRID_MASK]).value == pytest.approx(0.583333, abs=1e-6)


def test_saturated_overlap_at_full_saturation_is_the_overlap():
    a, b = np.zeros_like(GRID_MASK), GRID_MASK.copy()
    a[0, 0], b[0, 0] = True, False
    full = auspro([GRID], [[(a, 1), (b, 4)]], limit=0.3)
    assert full.value == pytest.approx(0.583333, abs=1e-6) and full.name == "auspro@0.3"
    assert auspro([GRID], [[(a, 1), (b, 99)]], limit=0.3).value == pytest.approx(full.value)


def test_a_region_counts_as_found_from_its_saturation_on():
    a, b = np.zeros_like(GRID_MASK), GRID_MASK.copy()
    a[0, 0], b[0, 0] = True, False
    # b needs one pixel and its best (16) is above all: overlap 0.5, then 1 once 14.5 is passed, after one of 15.
    one = auspro([GRID, np.zeros((2, 2))], [[(a, 1), (b, 1)], []], limit=0.2)
    assert one.value == pytest.approx((0.5 * (1 / 19) + 1 * (0.2 - 1 / 19)) / 0.2)
    # b needs two: 0.25 before the first false positive, 0.75 until 13.5 is passed, after two.
    two = auspro([GRID, np.zeros((2, 2))], [[(a, 1), (b, 2)], []], limit=0.2)
    assert two.value == pytest.approx((0.25 / 19 + 0.75 / 19 + (0.2 - 2 / 19)) / 0.2)


def test_saturated_overlap_refuses_empty_regions():
    with pytest.raises(InputError, match=r"region\[0\]\[0\]"):
        auspro([GRID], [[(np.zeros_like(GRID_MASK), 1)]])
    with pytest.raises(InputError, match=r"region\[0\]\[0\]"):
        auspro([GRID], [[(GRID_MASK, 0)]])
    with pytest.raises(InputError, match="regions"):
        auspro([GRID], [])
    assert auspro([GRID], [[]]).reason == "no anomalous pixel"


def test_mad_is_the_mean_of_seven():
    patchcore = dict(zip(SEVEN, (98.8, 99.5, 98.4, 98.3, 59.9, 61.0, 94.2), strict=True))
    invad = dict(zip(SEVEN, (98.1, 99.0, 97.6, 98.0, 56.3, 59.2, 94.4), strict=True))
    assert mad(patchcore).value == pytest.approx(87.157, abs=1e-3)
    assert mad({k: MetricResult(k, v) for k, v in invad.items()}).value == pytest.approx(86.086, abs=1e-3)
    assert "aupro undefined" in mad({**patchcore, "aupro": None}).reason
    with pytest.raises(InputError, match="pixel_ap"):
        mad({k: v for k, v in patchcore.items() if k != "pixel_ap"})
