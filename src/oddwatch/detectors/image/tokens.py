"""Conditioning of patch tokens: layers together or apart, unit length, neighbourhoods, foreground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from oddwatch.core import Frame, InputError, Tokens

EPS = 1e-12


def mean_of(tokens: Tokens, layers: Sequence[str]) -> np.ndarray:
    """The mean over layers: (B, T, D) float32 (SubspaceAD)."""
    out = np.zeros(tokens.layers[layers[0]].shape, np.float32)
    for name in layers:
        out += tokens.layers[name]
    out /= len(layers)
    return out


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1 along the last axis; a zero row stays zero."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), EPS)


def layer_norm(x: np.ndarray) -> np.ndarray:
    """Each item (B, T, D) to mean 0 and deviation 1 over all its numbers, without weights (MuSc step 1)."""
    x = np.asarray(x, np.float32)
    mean = x.mean((1, 2), keepdims=True)
    return (x - mean) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def pool(
    x: np.ndarray,
    grid: tuple[int, int],
    r: int,
    mode: Literal["mean", "gauss", "similar"] = "mean",
    sigma: float = 4.0,
) -> np.ndarray:
    """Each token (B, T, D) replaced by a pool of its ``r`` × ``r`` neighbours on the grid; r odd.

    ``mean``: zero-padded, zeros counted (PatchCore, MuSc, DictAS). ``gauss``: Gaussian weights of ``sigma``
    tokens, zero-padded (AF-CLIP). ``similar``: weights exp(−‖f − f_centre‖), only neighbours inside (MuSc-V2).

    Raises:
        InputError: an even or negative ``r``, or tokens that do not fill the grid.
    """
    if r < 1 or r % 2 == 0:
        raise InputError("r", f"expected an odd side of 1 or more, got {r}")
    rows, columns = grid
    if x.shape[1] != rows * columns:
        raise InputError("tokens", f"expected {rows} × {columns} tokens, got {x.shape[1]}")
    x = np.asarray(x, np.float32)
    if r == 1:
        return x
    if mode == "similar":
        return _similar(x, rows, columns, r)
    taps = (
        cv2.getGaussianKernel(r, sigma, cv2.CV_32F).ravel()
        if mode == "gauss"
        else np.full(r, 1 / r, np.float32)
    )
    out = np.empty_like(x)
    for i, one in enumerate(x):
        out[i] = _separable(one.reshape(rows, columns, -1), taps).reshape(x.shape[1], -1)
    return out


def _separable(field: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """A (rows, columns, D) field weighted along both axes, zeros outside."""
    for axis in (0, 1):
        half, length = len(taps) // 2, field.shape[axis]
        out = np.zeros_like(field)
        for step, weight in zip(range(-half, half + 1), taps, strict=True):
            if abs(step) >= length:
                continue
            source = slice(max(0, step), length + min(0, step))
            target = slice(max(0, -step), length - max(0, step))
            where = (slice(None),) * axis
            out[(*where, target)] += weight * field[(*where, source)]
        field = out
    return field


def _similar(x: np.ndarray, rows: int, columns: int, r: int) -> np.ndarray:
    field = x.reshape(len(x), rows, columns, -1)
    total, weights = np.zeros_like(field), np.zeros((*field.shape[:3], 1), np.float32)
    half = r // 2
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            if abs(dy) >= rows or abs(dx) >= columns:
                continue
            there = (
                slice(None),
                slice(max(0, dy), rows + min(0, dy)),
                slice(max(0, dx), columns + min(0, dx)),
            )
            here = (
                slice(None),
                slice(max(0, -dy), rows - max(0, dy)),
                slice(max(0, -dx), columns - max(0, dx)),
            )
            w = np.exp(-np.linalg.norm(field[there] - field[here], axis=-1, keepdims=True))
            total[here] += w * field[there]
            weights[here] += w
    return (total / weights).reshape(x.shape)


def rotated(picture: Frame | np.ndarray, angles: Sequence[float]) -> list[np.ndarray]:
    """The picture turned by each of ``angles`` (degrees) about its middle, same size; corners repeat the border."""
    pixels = picture.pixels if isinstance(picture, Frame) else picture
    height, width = pixels.shape[:2]
    out = []
    for angle in angles:
        if angle % 360 == 0:
            out.append(pixels)
            continue
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        turned = cv2.warpAffine(
            pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        out.append(turned)
    return out
