"""Error reducers against the worked numbers (video-trained §1.6) and the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.scoring.difference import anomaly, block_max, mse, psnr, ssim, sum_se

A, B = np.array([[[0, 0.5], [1, 0.5]]]), np.array([[[0.1, 0.5], [0.8, 0.5]]])


def test_mse_and_psnr():
    assert mse(A, B)[0] == pytest.approx(0.0125) and sum_se(A, B)[0] == pytest.approx(0.05)
    assert psnr(A, B)[0] == pytest.approx(19.0309, abs=1e-4)
    assert psnr(np.zeros((1, 4, 4)), np.full((1, 4, 4), 0.1))[0] == pytest.approx(20)


def test_the_same_pictures_in_another_range_have_the_same_psnr():
    assert mse(2 * A - 1, 2 * B - 1)[0] == pytest.approx(0.05)
    assert psnr(2 * A - 1, 2 * B - 1, peak=2)[0] == pytest.approx(19.0309, abs=1e-4)
    assert ssim(255 * A, 255 * B, peak=255)[0] == pytest.approx(ssim(A, B)[0])


def test_equal_pictures_have_a_finite_psnr():
    assert psnr(A, A)[0] == pytest.approx(100) == psnr(255 * A, 255 * A, peak=255)[0]
    assert ssim(A, A)[0] == pytest.approx(1)


def test_ssim_of_constant_pictures():
    def flat(value):
        return np.full((1, 20, 20), value)

    assert ssim(flat(0.5), flat(0.6))[0] == pytest.approx(0.983609, abs=1e-6)
    assert ssim(flat(0.0), flat(1.0))[0] == pytest.approx(9.999e-5, abs=1e-8)


def test_ssim_is_the_mean_of_its_definition_at_every_pixel():
    rng = np.random.default_rng(0)
    p, t = rng.random((2, 12, 9))
    x = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w = np.outer(x, x) / x.sum() ** 2
    wide = [np.lib.stride_tricks.sliding_window_view(np.pad(v, 5, "symmetric"), (11, 11)) for v in (p, t)]
    values = []
    for u, v in zip(wide[0].reshape(-1, 11, 11), wide[1].reshape(-1, 11, 11), strict=True):
        a, b = (w * u).sum(), (w * v).sum()
        va, vb, ab = (w * (u - a) ** 2).sum(), (w * (v - b) ** 2).sum(), (w * (u - a) * (v - b)).sum()
        values.append((2 * a * b + 1e-4) * (2 * ab + 9e-4) / ((a * a + b * b + 1e-4) * (va + vb + 9e-4)))
    assert ssim(p[None], t[None])[0] == pytest.approx(np.mean(values), abs=1e-9)
    color = ssim(np.stack([p, t, p], axis=2)[None], np.stack([t, t, p], axis=2)[None])[0]
    assert color == pytest.approx((np.mean(values) + 2) / 3, abs=1e-9)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 7, 50])
def test_the_worst_block_is_the_largest_mean_of_any_window(block):
    rng = np.random.default_rng(block)
    p, t = rng.random((2, 2, 9, 7, 3))
    error = ((p - t) ** 2).mean(axis=3)
    h, w = min(block, 9), min(block, 7)
    wanted = [max(e[i : i + h, j : j + w].mean() for i in range(10 - h) for j in range(8 - w)) for e in error]
    np.testing.assert_allclose(block_max(p, t, block), wanted, atol=1e-12)


def test_a_small_difference_counts_in_the_worst_block():
    true = np.zeros((2, 64, 64))
    predicted = true.copy()
    predicted[0, 10:20, 10:20] = 1
    predicted[1] = 0.2
    assert mse(predicted, true)[0] < mse(predicted, true)[1]
    assert block_max(predicted, true, 10)[0] == pytest.approx(1) and block_max(predicted, true, 10)[1] < 0.1


@pytest.mark.parametrize("rule", ["mse", "psnr", "sum_se", "block_max", "ssim"])
def test_every_rule_rises_with_the_error(rule):
    rng = np.random.default_rng(0)
    true = rng.random((1, 24, 24))
    noise = rng.normal(size=(1, 24, 24))
    found = [anomaly(true + s * noise, true, rule)[0] for s in (0, 0.05, 0.2, 0.8)]
    assert found == sorted(found) and found[0] < found[-1]


def test_pictures_that_do_not_fit_are_refused():
    for bad in (np.zeros((2, 2)), np.zeros((1, 2, 3)), np.full((1, 2, 2), np.nan), np.zeros((1, 0, 2))):
        with pytest.raises(InputError, match="pictures"):
            mse(bad, A if bad.shape != (1, 0, 2) else bad)
    with pytest.raises(InputError, match="rule"):
        anomaly(A, B, "lpips")
    with pytest.raises(InputError, match="peak"):
        psnr(A, B, 0)
    assert mse(np.zeros((0, 4, 4)), np.zeros((0, 4, 4))).size == 0
