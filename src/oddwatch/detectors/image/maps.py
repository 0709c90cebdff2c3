"""Patch scores to pixel maps, maps to one score a picture, maps back onto the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from oddwatch.core import InputError


def upsample(
    patches: np.ndarray,
    size: tuple[int, int],
    *,
    sigma: float = 0.0,
    kernel: int | None = None,
    align_corners: bool = False,
) -> np.ndarray:
    """Patch scores (B, rows, columns) as maps (B, height, width) float32, bilinear, then smoothed.

    ``align_corners`` puts the outermost patch centres on the corner pixels (MuSc, UniVAD, DictAS, the CLIP systems);
    without it the half-pixel rule holds (PatchCore, PaDiM, AnomalyDINO). ``sigma`` is in pixels of the map; ``kernel``
    is the odd number of taps, by default ``2·int(4σ + 0.5) + 1`` (33 at σ = 4); the border repeats the edge sample.
    """
    height, width = size
    out = np.empty((len(patches), height, width), np.float32)
    for i, one in enumerate(np.asarray(patches, np.float32)):
        out[i] = _aligned(one, height, width) if align_corners else _half_pixel(one, height, width)
        if sigma > 0:
            out[i] = smooth(out[i], sigma, kernel)
    return out


def _half_pixel(one: np.ndarray, height: int, width: int) -> np.ndarray:
    resized: np.ndarray = cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def _aligned(one: np.ndarray, height: int, width: int) -> np.ndarray:
    """As two products with interpolation weights: cv2.remap rounds places to 1/32 of a patch."""
    down, across = _weights(one.shape[0], height), _weights(one.shape[1], width)
    return np.asarray(down @ one @ across.T, np.float32)


@lru_cache(maxsize=8)
def _weights(patches: int, pixels: int) -> np.ndarray:
    """(pixels, patches) float32: what each patch gives to each pixel of a line, corner on corner."""
    places = np.linspace(0, patches - 1, pixels)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(patches)))
    return np.asarray(weights, np.float32)


def smooth(picture: np.ndarray, sigma: float, kernel: int | None = None) -> np.ndarray:
    """A map (H, W) blurred with a Gaussian of ``sigma`` pixels and ``kernel`` taps (odd)."""
    taps = kernel if kernel is not None else 2 * int(4 * sigma + 0.5) + 1
    if taps < 1 or taps % 2 == 0:
        raise InputError("kernel", f"expected an odd number of taps, got {taps}")
    blurred: np.ndarray = cv2.GaussianBlur(picture, (taps, taps), sigma, borderType=cv2.BORDER_REFLECT)
    return blurred


def top_mean(values: np.ndarray, share: float) -> np.ndarray:
    """(B,) the mean of the highest ``share`` (0–1) of each item's values (B, …): max(1, int(n·share)) of them."""
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    keep = max(1, int(flat.shape[1] * share))
    return np.partition(flat, flat.shape[1] - keep, axis=1)[:, flat.shape[1] - keep :].mean(1)


def top_sum(values: np.ndarray, keep: int) -> np.ndarray:
    """(B,) the sum of the ``keep`` highest values of each item (B, …)."""
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    keep = min(max(1, keep), flat.shape[1])
    return np.partition(flat, flat.shape[1] - keep, axis=1)[:, flat.shape[1] - keep :].sum(1)


def highest(values: np.ndarray) -> np.ndarray:
    """(B,) the maximum of each item's values (B, …)."""
    return np.asarray(values, np.float64).reshape(len(values), -1).max(1)


def project(one: np.ndarray, size: tuple[int, int], fit: str = "squash") -> np.ndarray:
    """A map of the encoder's input (h, w) on the picture: (height, width) float32.

    ``fit`` is the encoder's: ``squash`` stretched the picture to the input, ``pad`` kept its aspect and padded.
    """
    height, width = size
    if fit == "pad":
        side = one.shape[0]
        ratio = side / max(height, width)
        w, h = max(1, round(width * ratio)), max(1, round(height * ratio))
        left, top = (side - w) // 2, (side - h) // 2
        one = one[top : top + h, left : left + w]
    resized: np.ndarray = cv2.resize(
        np.asarray(one, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return resized
