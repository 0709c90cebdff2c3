"""Noise, drawn textures and photometric changes that generated defects are made of."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np


def fade(t: np.ndarray | float) -> np.ndarray:
    """Perlin's polynomial 6t⁵ − 15t⁴ + 10t³ of ``t`` in 0–1."""
    t = np.asarray(t)
    return np.asarray(t * t * t * (t * (t * 6 - 15) + 10))


def perlin(shape: tuple[int, int], lattice: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gradient noise, ``shape`` float32 within ±1; ``lattice`` counts cells down and across; 0 at their corners."""
    turn = rng.uniform(0, 2 * np.pi, (lattice[0] + 1, lattice[1] + 1)).astype(np.float32)
    down, right = np.sin(turn), np.cos(turn)
    y, x = (
        np.arange(size, dtype=np.float32) * cells / size for size, cells in zip(shape, lattice, strict=True)
    )
    i, j = y.astype(int)[:, None], x.astype(int)[None, :]
    v, u = y[:, None] - i, x[None, :] - j
    corner = [
        [down[i + a, j + b] * (v - a) + right[i + a, j + b] * (u - b) for b in (0, 1)] for a in (0, 1)
    ]  # the gradient at each of the four corners times the way from there
    rows, columns = fade(v), fade(u)
    top = corner[0][0] + columns * (corner[0][1] - corner[0][0])
    bottom = corner[1][0] + columns * (corner[1][1] - corner[1][0])
    return np.asarray((top + rows * (bottom - top)) * np.sqrt(2), dtype=np.float32)


def clouds(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Soft noise of two scales within ±1."""
    size = (min(shape[0], 96), min(shape[1], 96))  # nothing finer than that is in them
    noise = (perlin(size, (3, 3), rng) + 0.5 * perlin(size, (4, 4), rng)) / 1.5
    return np.asarray(cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Clouds, stripes, grain or cells between two colours, (H, W, 3) float32."""
    size = (shape[0], shape[1])
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    form = str(rng.choice(["clouds", "stripes", "grain", "cells"]))
    turn, pitch = float(rng.uniform(0, np.pi)), min(size) * float(rng.uniform(0.03, 0.15))
    if form == "clouds":
        value = clouds(rng, size)
    elif form == "stripes":
        value = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / pitch + 3 * clouds(rng, size))
    elif form == "grain":
        value = cv2.GaussianBlur(rng.normal(0, 2, size).astype(np.float32), (0, 0), 0.8)
    else:
        value = np.sin(x * 2 * np.pi / pitch) * np.sin(y * 2 * np.pi / pitch)
    share = np.clip(value / 2 + 0.5, 0, 1)[..., None]
    first, second = rng.uniform(0, 255, (2, 3))
    return np.asarray(first * (1 - share) + second * share, dtype=np.float32)


def photometric(rng: np.random.Generator, pixels: np.ndarray, count: int) -> np.ndarray:
    """(H, W, 3) uint8 after ``count`` different operations on colour and sharpness; DRAEM draws three."""
    for name in rng.choice([*_TABLES, *_OPERATIONS], count, replace=False):
        if name in _TABLES:
            table = np.clip(_TABLES[str(name)](rng, np.arange(256.0)), 0, 255).astype(np.uint8)
            pixels = np.asarray(cv2.LUT(pixels, table))
        else:
            pixels = _OPERATIONS[str(name)](rng, pixels)
    return pixels


def _hue(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    turned = (np.arange(256) + int(rng.integers(10, 170))) % 180
    fuller = np.clip(np.arange(256) + int(rng.integers(-50, 51)), 0, 255)
    table = np.stack([turned, fuller, np.arange(256)], axis=1).astype(np.uint8)[None]
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB))


def _sharpened(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    more = float(rng.uniform(0.5, 2))
    return np.asarray(cv2.addWeighted(pixels, 1 + more, cv2.GaussianBlur(pixels, (0, 0), 2), -more, 0))


def _equalized(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    return np.stack([cv2.equalizeHist(np.ascontiguousarray(pixels[..., i])) for i in range(3)], axis=2)


_TABLES: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "gamma": lambda rng, v: 255 * (v / 255) ** rng.uniform(0.5, 2.0),
    "brightness": lambda rng, v: v * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30),
    "solarized": lambda rng, v: np.where(v > rng.integers(32, 128), 255 - v, v),
    "posterized": lambda rng, v: v - v % 2 ** int(rng.integers(4, 7)),
    "inverted": lambda rng, v: 255 - v,
}
_OPERATIONS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "hue": _hue,
    "sharpened": _sharpened,
    "equalized": _equalized,
}
