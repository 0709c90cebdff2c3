"""MEBin: the spec's stable intervals, masks of drawn maps, squares around regions."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.image.mebin import binarise, cut, eroded, regions, squares, stable_threshold


def test_stable_intervals_of_the_spec():
    counts = [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert stable_threshold(counts, 100, 200) == (190, 1)
    assert stable_threshold([0, 1, 2, 3, 4, 5], 100, 200) == (255, 0)


def test_of_equally_long_runs_the_first_counts_and_zeros_never_do():
    assert stable_threshold([0] * 9 + [2] * 4 + [1] * 4, 0, 255) == (255 - 4 * 12, 2)
    assert stable_threshold([0] * 64, 0, 255) == (255, 0)
    assert stable_threshold([1, 1, 1, 2, 2], 0, 255, least=3) == (247, 1)


def blobs(*places: tuple[int, int, int], size: int = 96, height: float = 1.0) -> np.ndarray:
    """A map with round hills (x, y, radius) on a low plain with a ripple."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    out = 0.05 + 0.02 * np.sin(x / 3) * np.cos(y / 4)
    for cx, cy, r in places:
        out = np.maximum(out, height * np.clip(1.3 - np.hypot(x - cx, y - cy) / r, 0, 1))
    return out


def test_regions_are_counted_and_lie_on_the_hills_while_the_plain_stays_empty():
    maps = np.stack([blobs((24, 24, 14)), blobs((24, 70, 14), (70, 30, 16)), blobs()])
    found = binarise(maps)
    assert found.counts.tolist() == [1, 2, 0] and found.thresholds[2] == 255
    assert [regions(m) for m in found.masks] == [1, 2, 0]
    assert found.masks[0][24, 24] and found.masks[1][70, 24] and found.masks[1][30, 70]
    assert (found.masks & (maps < 0.1)).sum() == 0
    assert 0 < found.strengths[0].max() <= 1 and found.strengths[2].max() == 0


def test_a_map_alone_has_a_range_and_low_can_be_given():
    one = blobs((40, 40, 20))[None]
    assert binarise(one).counts.tolist() == [1]
    weak = np.stack([blobs((40, 40, 20)), blobs((40, 40, 20), height=0.4)])
    assert binarise(weak).counts.tolist() == [1, 0]  # the weaker hill is the search's lower end
    assert binarise(weak, low=0.1).counts.tolist() == [1, 1]


def test_roots_of_squared_maps_give_the_masks_of_the_distances():
    maps = np.stack([blobs((24, 24, 14)), blobs((30, 50, 20), height=0.2), blobs()])
    plain, rooted = binarise(maps), binarise(maps**2, squared=True)
    np.testing.assert_array_equal(plain.thresholds, rooted.thresholds)
    np.testing.assert_array_equal(plain.masks, rooted.masks)
    np.testing.assert_array_equal(
        binarise(maps, low=0.2).masks, binarise(maps**2, low=0.04, squared=True).masks
    )
    assert (
        binarise(maps**2).counts[1] == 0 and rooted.counts[1] == 1
    )  # a weak hill has few of the even steps when squared


def test_scale_does_not_matter_and_odd_maps_are_told():
    maps = np.stack([blobs((24, 24, 14)), blobs()])
    np.testing.assert_array_equal(binarise(maps).masks, binarise(maps * 1e-3 + 5).masks)
    assert not binarise(np.full((2, 20, 20), 3.0)).masks.any()
    assert binarise(np.empty((0, 20, 20))).masks.shape == (0, 20, 20)
    for bad in (np.zeros((4, 4)), np.full((1, 4, 4), np.nan)):
        with pytest.raises(InputError, match="maps"):
            binarise(bad)
    with pytest.raises(InputError, match="step"):
        binarise(maps, step=0)


def test_erosion_takes_what_the_box_does_not_fit_into():
    mask = np.zeros((20, 20), bool)
    mask[2:7, 2:7] = mask[10:16, 10:16] = True
    assert regions(mask) == 2 and regions(eroded(mask)) == 1 and regions(eroded(mask, 0)) == 2


def test_squares_keep_their_least_side_grow_with_the_region_and_merge_when_near():
    mask = np.zeros((200, 200), bool)
    mask[100:104, 100:104] = True
    assert squares(mask) == [(82, 82, 40)]  # 0.1 of 200 on either side of (102, 102)
    mask[:] = False
    mask[50:130, 60:80] = True
    left, top, side = squares(mask)[0]
    assert side == 2 * int(80 * 0.55) and left + side / 2 == 70 and top + side / 2 == 90
    mask[50:130, 108:116] = True
    merged = squares(mask)
    assert len(merged) == 1 and merged[0][2] > side
    mask[:] = False
    mask[10:14, 10:14] = mask[180:184, 180:184] = True
    assert len(squares(mask)) == 2 and squares(np.zeros((30, 30), bool)) == []


def test_a_cut_has_its_side_and_repeats_the_border():
    picture = np.arange(20 * 40).reshape(20, 40).astype(np.float32)
    mask = np.zeros((20, 40), bool)
    mask[2:18, 2:38] = True
    square = squares(mask)[0]
    inside = cut(picture, square)
    assert inside.shape == (square[2], square[2]) and square[2] > 20
    assert (inside[0] == inside[1]).all() and inside.max() == picture[-1, min(39, square[0] + square[2] - 1)]
