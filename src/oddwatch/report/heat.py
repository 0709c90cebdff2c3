"""Heatmaps on one scale: the same colour means the same in every picture of a run, and a normal picture stays calm."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from oddwatch.core import Jsonable

STOPS: tuple[tuple[float, tuple[int, int, int], float], ...] = (
    (0.0, (255, 214, 70), 0.0),
    (0.5, (255, 166, 0), 0.34),
    (0.75, (233, 62, 38), 0.62),
    (1.0, (122, 4, 92), 0.80),
)
"""Level, colour, opacity: nothing below what is usual, then amber, red past the threshold, purple far beyond it."""

LEVELS = 32


@dataclass(frozen=True, slots=True)
class Scale(Jsonable):
    """From map values to levels 0–1. ``low`` is what few pixels of normal pictures reach (level 0, no colour),
    ``threshold`` from where a region is told (level 0.5); twice as far from ``low`` is 0.75, ten times 0.95."""

    low: float
    threshold: float

    def level(self, one: np.ndarray) -> np.ndarray:
        """(…) float32 levels 0–1 of map values (…)."""
        unit = max(self.threshold - self.low, 1e-6 * max(abs(self.threshold), abs(self.low)), 1e-12)
        m = np.maximum((np.asarray(one, np.float32) - self.low) / unit, 0)
        out: np.ndarray = np.where(m <= 1, 0.5 * m, 1 - 0.5 / np.maximum(m, 1))
        return out.astype(np.float32)


def colours(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (…, 3) float32 0–255 and opacities (…) 0–1 of levels (…) 0–1."""
    at = [s[0] for s in STOPS]
    rgb = np.stack([np.interp(levels, at, [s[1][c] for s in STOPS]) for c in range(3)], -1)
    return rgb.astype(np.float32), np.interp(levels, at, [s[2] for s in STOPS]).astype(np.float32)


def overlay(
    pixels: np.ndarray, one: np.ndarray, scale: Scale, mask: np.ndarray | None = None, long_side: int = 1024
) -> np.ndarray:
    """The picture (H, W, 3) uint8 under its map (h, w), at most ``long_side`` pixels; the outline of ``mask`` (H, W) bool
    drawn around what is told."""
    height, width = pixels.shape[:2]
    ratio = min(1.0, long_side / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    base = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if ratio < 1 else pixels
    levels = cv2.resize(scale.level(one), size, interpolation=cv2.INTER_LINEAR)
    rgb, alpha = colours(levels)
    out = np.clip(base + alpha[..., None] * (rgb - base) + 0.5, 0, 255).astype(np.uint8)
    if mask is not None and mask.any():
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outline, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        thick = max(1, round(max(size) / 500))
        cv2.drawContours(out, outline, -1, (20, 20, 24), thick + 2)
        cv2.drawContours(out, outline, -1, (255, 255, 255), thick)
    return out


def layer(one: np.ndarray, scale: Scale, size: tuple[int, int], long_side: int = 192) -> bytes:
    """The map alone as a small transparent PNG in the shape of a picture of ``size`` (height, width), to be laid over it;
    a calm one is a few hundred bytes."""
    ratio = long_side / max(size)
    shape = (max(1, round(size[1] * ratio)), max(1, round(size[0] * ratio)))
    levels = cv2.resize(scale.level(one), shape, interpolation=cv2.INTER_AREA)
    steps = np.linspace(0, 1, LEVELS, dtype=np.float32)
    rgb, alpha = colours(steps)
    picture = Image.fromarray(np.round(levels * (LEVELS - 1)).astype(np.uint8), "P")
    picture.putpalette(np.round(rgb).astype(np.uint8).ravel().tolist())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=np.round(alpha * 255).astype(np.uint8).tobytes(), optimize=True)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) uint8 RGB or (H, W) bool pixels."""
    buffer = io.BytesIO()
    if pixels.dtype == bool:
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()
    # OpenCV writes colour PNGs several times as fast as Pillow.
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def legend(width: int = 480, height: int = 28) -> np.ndarray:
    """The scale as a bar (height, width, 3) uint8 on mid grey, level 0 left, 1 right."""
    rgb, alpha = colours(np.linspace(0, 1, width, dtype=np.float32))
    row = 128 + alpha[:, None] * (rgb - 128)
    return np.repeat(np.round(row).astype(np.uint8)[None], height, 0)
