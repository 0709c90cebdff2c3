"""What a garment's pixels say: colours a person would accept, tones, pattern, skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.describe import colors
from oddwatch.describe.atoms import COLORS

SAMPLES = 240
"""Most pixels of a region that are looked at."""

_HUE = np.array([c not in ("black", "white", "grey", "beige") for c in COLORS])

# Logistic weights of a term being accepted, from the log shares of a region as it looks, as the scene's white
# would have it, and with its colour brought out; fitted on drawn people weighted to the base rates of priors.py
# (train/colors.py).
_SEEN, _LIT, _VIVID_HUE, _VIVID_GREY, _DARK_HUE = 0.03, 0.94, 1.02, 0.53, 0.0
_BIAS = np.array(
    [{"black": 3.03, "white": 3.04, "grey": 0.46, "brown": 1.27, "beige": 2.03}.get(c, 2.61) for c in COLORS]
)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One region's colours. ``share`` (12,) of the region by term (sums to about 1), ``accept`` (12,) the
    probability that a describer accepts the term, ``tones`` (3,) dark, light, bright; ``median`` Lab (3,);
    ``amount`` of pixels behind it; ``trust`` 0–1, low when dark or small;
    ``ways`` (3, 12) shares as seen, as lit, and with colour brought out."""

    share: np.ndarray
    accept: np.ndarray
    tones: np.ndarray
    median: np.ndarray
    amount: float
    trust: float
    ways: np.ndarray


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
    gain = float(np.clip(0.8 / max(white, 1e-3), 1.0, 12.0))
    lift = float(np.clip((50.0 / max(float(median[0]), 6.0)) ** 2.2, 1, 14))
    ways = (pixels, colors.expose(pixels, gain), colors.vivid(colors.expose(pixels, lift), 2.0))
    shares = colors.terms(np.concatenate(ways)).reshape(3, len(pixels), len(COLORS))
    seen, lit, vivid = np.einsum("n,wnc->wc", weights, shares)
    share = 0.5 * seen + 0.5 * lit
    accept = acceptance(seen, lit, vivid, float(median[0]))
    trust = float(np.clip(amount / 60, 0.3, 1.0) * np.clip((median[0] + 6) / 20, 0.4, 1.0))
    tones = _tones(values, weights, float(median[0]) * gain**0.4)
    return Look(share, accept, tones, median, amount, trust, np.stack([seen, lit, vivid]))


def acceptance(seen: np.ndarray, lit: np.ndarray, vivid: np.ndarray, level: float) -> np.ndarray:
    """Shares of a region's terms, each (12,), and its lightness to the probabilities that a describer accepts
    each term."""
    logs = [np.log(np.asarray(x, np.float64) + 0.01) for x in (seen, lit, vivid)]
    dark = 1 / (1 + np.exp((level - 30) / 4))
    brought = np.where(_HUE, _VIVID_HUE * logs[2] + _DARK_HUE * dark, _VIVID_GREY * logs[2])
    logit = _SEEN * logs[0] + _LIT * logs[1] + brought + _BIAS
    return np.asarray(np.clip(1 / (1 + np.exp(-logit)), 0.005, 0.97), np.float32)


def _tones(values: np.ndarray, weights: np.ndarray, level: float) -> np.ndarray:
    # ``level`` is the lightness under the scene's own white: pale cloth in a dim passage is still pale.
    chroma = np.hypot(values[:, 1], values[:, 2])
    bright = float(weights @ ((chroma > 38) & (values[:, 0] > 35)))
    dark = 1 / (1 + np.exp((level - 36) / 5))
    light = 1 / (1 + np.exp((62 - level) / 5))
    return np.array([0.05 + 0.8 * dark, 0.05 + 0.75 * light, 0.03 + 0.8 * bright**0.7], np.float32)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(total, total[-1] / 2)), len(values) - 1)])


def skin(values: np.ndarray) -> np.ndarray:
    """(N,) 0–1: how much ``values`` (N, 3) in Lab look like skin of any shade: hue between red and orange, some
    chroma, not very dark (a soft form of the Lab rules common in skin detection)."""
    chroma = np.hypot(values[:, 1], values[:, 2])
    hue = np.degrees(np.arctan2(values[:, 2], values[:, 1]))
    gate = 1 / (1 + np.exp(-(chroma - 11) / 2)) / (1 + np.exp((chroma - 45) / 4))
    level = 1 / (1 + np.exp(-(values[:, 0] - 28) / 4)) / (1 + np.exp((values[:, 0] - 92) / 3))
    return np.asarray(np.exp(-(((hue - 48) / 24) ** 2)) * gate * level, np.float32)
