"""A predicted picture against the true one as one number per picture: the error reducers of prediction and reconstruction.

Pictures come as (B, H, W) or (B, H, W, C), with values of one range (``peak`` = its width: 1 for [0, 1], 2 for [−1, 1],
255 for bytes). ``mse``, ``sum_se`` and ``block_max`` are errors; ``psnr`` and ``ssim`` say how *good* a picture is, as
everywhere in the literature. :func:`anomaly` turns each of them so that higher is more anomalous.

Sources: video-trained §1.3; Wang et al., IEEE TIP 2004 (SSIM).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from oddwatch.core import InputError

Rule = Literal["mse", "psnr", "sum_se", "block_max", "ssim"]
LEAST = 1e-10
"""The smallest error of :func:`psnr`, in squared peaks: 100 dB, what equal pictures have."""


def _pair(predicted: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != t.shape or p.ndim not in (3, 4) or 0 in p.shape[1:]:
        raise InputError(
            "pictures", f"expected two (B, H, W) or (B, H, W, C) arrays, got {p.shape}, {t.shape}"
        )
    if not (np.isfinite(p).all() and np.isfinite(t).all()):
        raise InputError("pictures", "expected finite numbers")
    return p, t


def _squared(predicted: Any, true: Any) -> np.ndarray:
    p, t = _pair(predicted, true)
    return np.asarray((p - t) ** 2)


def mse(predicted: Any, true: Any) -> np.ndarray:
    """(B,) mean squared error."""
    error = _squared(predicted, true)
    return np.asarray(error.mean(axis=tuple(range(1, error.ndim))))


def sum_se(predicted: Any, true: Any) -> np.ndarray:
    """(B,) sum of the squared errors of all elements (STATE)."""
    error = _squared(predicted, true)
    return np.asarray(error.sum(axis=tuple(range(1, error.ndim))))


def psnr(predicted: Any, true: Any, peak: float = 1.0) -> np.ndarray:
    """(B,) 10 · log10(peak² / mse) in dB, higher = better; at most 100 dB, so that equal pictures have a finite one."""
    return np.asarray(10 * np.log10(_above(peak) ** 2 / np.maximum(mse(predicted, true), LEAST * peak**2)))


def block_max(predicted: Any, true: Any, block: int = 16) -> np.ndarray:
    """(B,) the largest mean squared error of any ``block`` × ``block`` window inside the picture: small things count too.

    A picture smaller than that is its own window. The size is ours: the reducer is a proposal without a published one.
    """
    if block < 1:
        raise InputError("block", f"expected 1 pixel or more, got {block}")
    error = _squared(predicted, true)
    if error.ndim == 4:
        error = error.mean(axis=3)
    h, w = (min(block, n) for n in error.shape[1:])
    means = uniform_filter(error, size=(1, h, w), mode="nearest")
    inside = means[:, h // 2 : h // 2 + error.shape[1] - h + 1, w // 2 : w // 2 + error.shape[2] - w + 1]
    return np.asarray(inside.max(axis=(1, 2)))


def ssim(predicted: Any, true: Any, peak: float = 1.0) -> np.ndarray:
    """(B,) structural similarity, 1 = equal: 11 × 11 Gaussian window of σ 1.5, C1 = (0.01 · peak)², C2 = (0.03 · peak)².

    The mean over all pixels and channels, the picture mirrored at its border (Wang's code leaves the border out).
    """
    p, t = _pair(predicted, true)
    c1, c2 = (0.01 * _above(peak)) ** 2, (0.03 * peak) ** 2

    def near(x: np.ndarray) -> np.ndarray:
        sigma = (0, 1.5, 1.5, 0)[: x.ndim]
        return np.asarray(gaussian_filter(x, sigma, truncate=3.5, mode="reflect"))

    a, b = near(p), near(t)
    va, vb, both = near(p * p) - a * a, near(t * t) - b * b, near(p * t) - a * b
    map_ = (2 * a * b + c1) * (2 * both + c2) / ((a * a + b * b + c1) * (va + vb + c2))
    return np.asarray(map_.mean(axis=tuple(range(1, p.ndim))))


def anomaly(predicted: Any, true: Any, rule: Rule = "psnr", *, peak: float = 1.0) -> np.ndarray:
    """(B,) how far the predicted pictures are from the true ones, higher = more anomalous: −PSNR in dB, 1 − SSIM, or an error."""
    if rule == "psnr":
        return -psnr(predicted, true, peak)
    if rule == "ssim":
        return 1 - ssim(predicted, true, peak)
    errors = {"mse": mse, "sum_se": sum_se, "block_max": block_max}
    if rule not in errors:
        raise InputError("rule", f"expected mse, psnr, sum_se, block_max or ssim, got {rule!r}")
    return errors[rule](predicted, true)


def _above(peak: float) -> float:
    if not peak > 0:
        raise InputError("peak", f"expected the width of the values' range, above 0, got {peak}")
    return peak
