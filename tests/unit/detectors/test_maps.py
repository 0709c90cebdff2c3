"""Maps from patch scores: worked numbers of the upsampling rules, kernels and reductions; places on the picture."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from oddwatch.core import InputError
from oddwatch.detectors.image import maps

RNG = np.random.default_rng(0)
ROW = np.array([[[0.0, 1.0]]])


@pytest.mark.parametrize(("aligned", "expected"), [(False, [0, 0.25, 0.75, 1]), (True, [0, 1 / 3, 2 / 3, 1])])
def test_two_rules_of_bilinear_upsampling(aligned: bool, expected: list[float]) -> None:
    np.testing.assert_allclose(maps.upsample(ROW, (1, 4), align_corners=aligned)[0, 0], expected, atol=1e-6)
    down = maps.upsample(ROW.transpose(0, 2, 1), (4, 1), align_corners=aligned)
    np.testing.assert_allclose(down[0, :, 0], expected, atol=1e-6)


def test_aligned_corners_are_the_patches_of_the_corners() -> None:
    patches = RNG.normal(size=(2, 4, 5))
    full = maps.upsample(patches, (28, 42), align_corners=True)
    assert full.shape == (2, 28, 42) and full.dtype == np.float32
    np.testing.assert_allclose(
        full[:, [0, 0, -1, -1], [0, -1, 0, -1]], patches[:, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-5
    )


def test_a_single_patch_and_no_picture() -> None:
    for aligned in (False, True):
        np.testing.assert_array_equal(
            maps.upsample(np.full((1, 1, 1), 3.0), (5, 7), align_corners=aligned), 3
        )
    assert maps.upsample(np.empty((0, 3, 3)), (6, 6)).shape == (0, 6, 6)


def test_three_taps_at_sigma_four_are_nearly_a_box() -> None:
    point = np.zeros((9, 9), np.float32)
    point[4, 4] = 1
    weights = np.array([0.32984, 0.34031, 0.32984])
    np.testing.assert_allclose(maps.smooth(point, 4.0, 3)[3:6, 3:6], np.outer(weights, weights), atol=1e-5)


@pytest.mark.parametrize(("sigma", "taps"), [(4.0, 33), (1.0, 9), (0.5, 5)])
def test_the_default_is_scipy_s_gaussian_and_its_border(sigma: float, taps: int) -> None:
    picture = RNG.normal(size=(60, 50)).astype(np.float32)
    np.testing.assert_allclose(
        maps.smooth(picture, sigma), ndimage.gaussian_filter(picture, sigma, mode="reflect"), atol=1e-4
    )
    np.testing.assert_array_equal(maps.smooth(picture, sigma), maps.smooth(picture, sigma, taps))
    point = np.zeros((1, 101), np.float32)
    point[0, 50] = 1
    assert np.count_nonzero(maps.smooth(point, sigma)) == taps


def test_upsampling_smooths_where_it_is_told_to() -> None:
    patches = RNG.normal(size=(1, 4, 4))
    plain = maps.upsample(patches, (56, 56))
    np.testing.assert_array_equal(maps.upsample(patches, (56, 56), sigma=4)[0], maps.smooth(plain[0], 4))
    np.testing.assert_array_equal(
        maps.upsample(patches, (56, 56), sigma=4, kernel=3)[0], maps.smooth(plain[0], 4, 3)
    )


@pytest.mark.parametrize("kernel", [0, 2, -3])
def test_a_kernel_has_an_odd_number_of_taps(kernel: int) -> None:
    with pytest.raises(InputError, match="kernel"):
        maps.smooth(np.zeros((5, 5), np.float32), 1.0, kernel)


@pytest.mark.parametrize(("n", "keep"), [(256, 2), (99, 1), (1000, 10), (1, 1)])
def test_a_share_keeps_at_least_one(n: int, keep: int) -> None:
    values = RNG.permutation(n).astype(float)
    assert maps.top_mean(values[None], 0.01)[0] == np.sort(values)[-keep:].mean()


def test_reductions_by_hand() -> None:
    values = np.array([[[1.0, 5.0], [3.0, 2.0]], [[0.0, -1.0], [-2.0, -4.0]]])
    np.testing.assert_array_equal(maps.highest(values), [5, 0])
    np.testing.assert_array_equal(maps.top_sum(values, 2), [8, -1])
    np.testing.assert_array_equal(maps.top_sum(values, 99), [11, -7])
    np.testing.assert_array_equal(maps.top_mean(values, 0.5), [4, -0.5])
    np.testing.assert_array_equal(maps.top_mean(values, 1.0), [2.75, -1.75])


def test_back_onto_the_picture_squashed_or_padded() -> None:
    one = np.zeros((56, 56), np.float32)
    one[14:42] = 1
    squashed = maps.project(one, (112, 224))
    assert squashed.shape == (112, 224) and squashed[56].min() == 1 and squashed[10].max() == 0
    # A picture twice as wide as high fills rows 14 to 41 of the padded input: all of it is 1.
    padded = maps.project(one, (112, 224), "pad")
    assert padded.shape == (112, 224) and padded.min() == 1
    tall = maps.project(one.T, (224, 112), "pad")
    assert tall.shape == (224, 112) and tall.min() == 1
