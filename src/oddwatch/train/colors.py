"""The colour constants of ``describe/garments.py``, fitted on drawn people: when a describer accepts a colour term."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from oddwatch.describe import scene
from oddwatch.describe.atoms import COLORS, members
from oddwatch.describe.clothes import Wardrobe
from oddwatch.describe.heads import LightHeads
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.regions import Painter, canvas
from oddwatch.train import data

NAMES = ("seen", "lit", "vivid_hue", "vivid_grey", "dark_hue")
_SPECIAL = ("black", "white", "grey", "brown", "beige")


def shares(paths: Sequence[Path], heads: LightHeads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log shares (N, 3, 12) of the terms in upper and lower garments, their lightness (N,), and the truths (N, 12)."""
    logs, levels, truth = [], [], []
    for path in paths:
        for s in data.samples(path):
            place = canvas(s.frame, s.person, heads.parts(s.frame, s.person, (s.cls, s.tokens)))
            wardrobe = Wardrobe(place, Painter(place), scene.light_of(s.frame))
            lower = wardrobe.weights(np.maximum(wardrobe.thighs, 0.8 * wardrobe.shins), part="lower")
            for name, weights in (("upper", wardrobe.upper()), ("lower", lower)):
                atoms, look = members(f"{name}.color"), wardrobe.look(weights)
                if look is not None and s.told[atoms].all() and look.amount / max(place.scale, 1) ** 2 >= 8:
                    logs.append(np.log(look.ways + 0.01))
                    levels.append(look.median[0])
                    truth.append(s.y[atoms])
    return np.array(logs), np.array(levels), np.array(truth)


def fit_constants(logs: np.ndarray, levels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The five factors and the biases of special terms and the rest: logistic regression on :func:`shares`, colours
    weighted to their base rates."""
    prior = PRIOR[members("upper.color")]
    rate = np.clip(truth.mean(0), 1e-3, 1)
    weight = np.where(truth > 0, prior / rate, (1 - prior) / (1 - rate))
    hue = np.array([c not in ("black", "white", "grey", "beige") for c in COLORS])
    dark = 1 / (1 + np.exp((levels - 30) / 4))
    kinds = np.array([_SPECIAL.index(c) if c in _SPECIAL else len(_SPECIAL) for c in COLORS])
    columns = [logs[:, 0], logs[:, 1], logs[:, 2] * hue, logs[:, 2] * ~hue, dark[:, None] * hue]
    columns += [np.broadcast_to(kinds == k, truth.shape) for k in range(len(_SPECIAL) + 1)]
    x = np.stack([np.asarray(c, np.float64) for c in columns], -1).reshape(-1, len(columns))
    y, w = truth.reshape(-1), weight.reshape(-1)

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ v
        p = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
        value = float(
            (w * np.logaddexp(0, np.where(y > 0, -z, z))).sum() / w.sum() + 1e-4 * (v[:5] ** 2).sum()
        )
        return value, x.T @ (w * (p - y)) / w.sum() + np.append(2e-4 * v[:5], np.zeros(len(v) - 5))

    bounds = [(0.0, 3.0)] * 5 + [(-2.0, 9.0)] * (len(_SPECIAL) + 1)
    found = minimize(
        loss, np.array([0.3, 0.6, 0.6, 0.4, 0.5] + [4.0] * 6), jac=True, bounds=bounds, method="L-BFGS-B"
    )
    return dict(zip((*NAMES, *_SPECIAL, "rest"), (round(float(v), 2) for v in found.x), strict=True))
