"""Naming colours as people do: pixels to the twelve basic terms and three tones.

P(term | Lab) is a kernel density over the colour names of the XKCD survey (some five million answers
averaged into 949 names), each name mapped to basic terms by its words (``data/colors.tsv``), and anchors
on the grey axis, which survey names leave thin. The density is tabulated over sRGB and looked up smoothly.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import cv2
import numpy as np

from oddwatch.describe.atoms import COLORS

GRID = 33
"""Nodes per axis of the lookup table over sRGB."""

BANDWIDTH = 6.0
"""Kernel width in ΔE (CIE76): two to three just noticeable differences."""

# Cloth is called black well above a screen's black: its folds and the camera's fog lift it.
_GREY_AXIS = (
    [(level, "black") for level in (0, 4, 8, 12, 16, 20, 24)]
    + [(level, "grey") for level in (34, 40, 46, 52, 58, 64, 70, 76)]
    + [(level, "white") for level in (84, 90, 95, 100)]
)


def lab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB ``pixels`` (..., 3) uint8 or float 0–1: L 0–100, a and b about ±100; float32."""
    values = pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    flat = cv2.cvtColor(np.ascontiguousarray(values.reshape(1, -1, 3)), cv2.COLOR_RGB2LAB)
    return np.asarray(flat, np.float32).reshape(pixels.shape)


def names() -> list[tuple[str, str, dict[str, float]]]:
    """The colour-name table: (name, "#rrggbb", term → share) of each of the 949 names."""
    text = resources.files("oddwatch.describe").joinpath("data/colors.tsv").read_text("utf-8")
    rows = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value, shares = line.split("\t")
            rows.append((name, value, {t: float(s) for t, s in (x.split("=") for x in shares.split())}))
    return rows


def build_grid(size: int = GRID) -> np.ndarray:
    """(size, size, size, 12) float32 P(term | sRGB), computed from the table; rows sum to 1."""
    rows = names()
    rgb = np.array([[int(v[i : i + 2], 16) for i in (1, 3, 5)] for _, v, _ in rows], np.uint8)
    shares = np.array([[s.get(t, 0.0) for t in COLORS] for _, _, s in rows], np.float32)
    anchors = np.array([[level, 0, 0] for level, _ in _GREY_AXIS], np.float32)
    grey = np.array([[4.0 * (t == term) for t in COLORS] for _, term in _GREY_AXIS], np.float32)
    centers, shares = np.concatenate([lab(rgb), anchors]), np.concatenate([shares, grey])
    axis = np.linspace(0, 1, size, dtype=np.float32)
    nodes = lab(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3))
    out = np.empty((len(nodes), len(COLORS)), np.float32)
    for start in range(0, len(nodes), 4096):
        part = nodes[start : start + 4096]
        squared = ((part[:, None] - centers[None]) ** 2).sum(-1)
        # A node far from every name takes its nearest ones: the kernel grows with the gap.
        gap = np.partition(squared, 3, axis=1)[:, 3:4]
        kernel = np.exp(-squared / (2 * np.maximum(BANDWIDTH**2, gap)))
        mixed = kernel @ shares
        out[start : start + 4096] = mixed / mixed.sum(1, keepdims=True)
    return out.reshape(size, size, size, len(COLORS))


@cache
def _grid() -> np.ndarray:
    with (
        resources.files("oddwatch.describe").joinpath("data/colors.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        return np.asarray(data["terms"], np.float32).reshape(-1, len(COLORS)) / 255


def terms(pixels: np.ndarray) -> np.ndarray:
    """P(term | pixel) of sRGB ``pixels`` (N, 3) uint8 or float 0–1: (N, 12) float32 in the order of COLORS.

    Trilinear lookup; about 1 ms for 5,000 pixels.
    """
    values = pixels.astype(np.float32) * (1 / 255 if pixels.dtype == np.uint8 else 1)
    place = np.clip(values, 0, 1) * (GRID - 1)
    low = np.minimum(place.astype(np.int32), GRID - 2)
    part = place - low
    base = (low[:, 0] * GRID + low[:, 1]) * GRID + low[:, 2]
    grid, out = _grid(), np.zeros((len(values), len(COLORS)), np.float32)
    for corner in range(8):
        bits = (corner >> 2 & 1, corner >> 1 & 1, corner & 1)
        weight = np.prod([part[:, i] if bit else 1 - part[:, i] for i, bit in enumerate(bits)], axis=0)
        out += weight[:, None] * grid[base + (bits[0] * GRID + bits[1]) * GRID + bits[2]]
    return out


def expose(pixels: np.ndarray, gain: np.ndarray | float) -> np.ndarray:
    """``pixels`` (N, 3) float 0–1 sRGB as if lit ``gain`` times stronger (in linear light), not clipped to
    white per channel but scaled back, so that the hue stays."""
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    linear = linear * (np.asarray(gain)[:, None] if np.ndim(gain) else gain)
    linear = linear / np.maximum(linear.max(-1, keepdims=True), 1)
    lit = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    return lit.astype(np.float32)


def vivid(pixels: np.ndarray, factor: float) -> np.ndarray:
    """``pixels`` (N, 3) float 0–1 sRGB with their chroma ``factor`` times larger (Lab a and b)."""
    values = lab(pixels)
    values[:, 1:] *= factor
    back = cv2.cvtColor(np.ascontiguousarray(values[None]), cv2.COLOR_LAB2RGB)[0]
    return np.clip(np.asarray(back, np.float32), 0, 1)


def illuminant(pixels: np.ndarray, power: float = 6.0, strength: float = 0.5) -> np.ndarray:
    """Mild shades-of-grey correction (Finlayson & Trezzi 2004): (3,) gains with mean 1 for a picture
    (H, W, 3) uint8. ``strength`` 0 changes nothing, 1 corrects in full; gains stay within 0.8–1.25."""
    if pixels.shape[:2] != (64, 64):
        pixels = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    small = pixels.reshape(-1, 3).astype(np.float32) / 255
    light = np.maximum((small**power).mean(0) ** (1 / power), 1e-3)
    gains = (light.mean() / light) ** strength
    return np.clip(gains / gains.mean(), 0.8, 1.25).astype(np.float32)
