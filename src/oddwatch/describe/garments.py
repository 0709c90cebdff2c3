"""What a garment's pixels say: colours a person would accept, tones, pattern, skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.describe import colors
from oddwatch.describe.atoms import COLORS

SAMPLES = 700
"""Most pixels of a region that are looked at."""

_HUES = np.array([c not in ("black", "white", "grey", "beige", "pink") for c in COLORS])
_C = {name: i for i, name in enumerate(COLORS)}

# Chosen on the odd persons of the CUHK01 crops (benchmarks/describer_dev.py), see there.
LIFT = 0.5  # how much a dark garment's colour "as if lit" counts beside how it looks
HALF = 0.22  # share of a garment at which half the describers use the word
SLOPE = 1.6
TOP = 0.93


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One region's colours. ``share`` (12,) of the region by term (sums to about 1), ``accept`` (12,) the
    probability that a describer accepts the term, ``tones`` (3,) dark, light, bright; ``median`` Lab (3,);
    ``amount`` of pixels behind it; ``trust`` 0–1, low when dark or small."""

    share: np.ndarray
    accept: np.ndarray
    tones: np.ndarray
    median: np.ndarray
    amount: float
    trust: float


def look(pixels: np.ndarray, weights: np.ndarray, white: float = 1.0) -> Look | None:
    """The look of a region from its sRGB pixels (N, 3) float 0–1 and weights (N,); ``white`` is the scene's
    bright level (0–1 linear luminance). None when the weights sum to less than 12 pixels."""
    keep = weights > 0.05
    pixels, weights = pixels[keep], weights[keep]
    amount = float(weights.sum())
    if amount < 12:
        return None
    if len(pixels) > SAMPLES:
        step = np.linspace(0, len(pixels) - 1, SAMPLES).astype(int)
        pixels, weights = pixels[step], weights[step]
    weights = weights / weights.sum()
    values = colors.lab(pixels)
    median = np.array([_weighted_median(values[:, i], weights) for i in range(3)], np.float32)
    seen = weights @ colors.terms(pixels)
    lit = seen
    gain = float(np.clip(0.8 / max(white, 1e-3), 1.0, 2.2))
    if gain > 1.05:
        lit = weights @ colors.terms(colors.expose(pixels, gain))
    share = 0.55 * seen + 0.45 * lit
    dark = 1 / (1 + np.exp((median[0] - 30) / 4))
    if dark > 0.05:
        lift = (50.0 / max(float(median[0]), 6.0)) ** 2.0
        lifted = weights @ colors.terms(colors.expose(pixels, float(np.clip(lift, 1, 12))))
        share = share + LIFT * dark * np.where(_HUES, lifted, 0.0)
    trust = float(np.clip(amount / 60, 0.3, 1.0) * np.clip((median[0] + 6) / 20, 0.4, 1.0))
    return Look(share, acceptance(share), _tones(values, weights, median), median, amount, trust)


def acceptance(share: np.ndarray) -> np.ndarray:
    """Shares of a region (12,) to the probabilities that a describer accepts each term."""
    odds = (np.maximum(share, 1e-4) / HALF) ** SLOPE
    return np.asarray(np.clip(TOP * odds / (1 + odds), 0.005, 0.97), np.float32)


def _tones(values: np.ndarray, weights: np.ndarray, median: np.ndarray) -> np.ndarray:
    chroma = np.hypot(values[:, 1], values[:, 2])
    bright = float(weights @ ((chroma > 38) & (values[:, 0] > 35)))
    dark = 1 / (1 + np.exp((median[0] - 33) / 5))
    light = 1 / (1 + np.exp((66 - median[0]) / 5))
    return np.array([0.05 + 0.8 * dark, 0.05 + 0.75 * light, 0.03 + 0.8 * bright**0.7], np.float32)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(total, total[-1] / 2)), len(values) - 1)])


def skin(pixels: np.ndarray) -> np.ndarray:
    """(N,) 0–1: how much sRGB ``pixels`` (N, 3) float 0–1 look like skin of any shade: hue between red and
    orange, some chroma, not very dark (a soft form of the Lab rules common in skin detection)."""
    values = colors.lab(pixels)
    chroma = np.hypot(values[:, 1], values[:, 2])
    hue = np.degrees(np.arctan2(values[:, 2], values[:, 1]))
    gate = 1 / (1 + np.exp(-(chroma - 11) / 2)) / (1 + np.exp((chroma - 45) / 4))
    level = 1 / (1 + np.exp(-(values[:, 0] - 28) / 4)) / (1 + np.exp((values[:, 0] - 92) / 3))
    return np.asarray(np.exp(-(((hue - 48) / 24) ** 2)) * gate * level, np.float32)
