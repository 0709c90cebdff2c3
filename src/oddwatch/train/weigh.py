"""Weighing hand-built against learned evidence, atom by atom, on held-out drawings (Platt 1999, with two inputs)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from oddwatch.describe.atoms import ATOMS, GROUPS, members
from oddwatch.describe.heads import evidence_of

# What photographs may make of the two kinds of evidence (hand-built, learned), a group; chosen on the annotated crops of
# benchmarks/data/cuhk01_dev.json where it shows the group, else half for what is read off rendered surroundings.
TRUST: dict[str, tuple[float, float]] = {
    "upper.color": (1.0, 0.0), "lower.color": (1.0, 0.0), "feet.color": (1.0, 0.0), "hair.color": (1.0, 0.3),
    "upper.tone": (1.0, 0.3), "lower.tone": (1.0, 0.3), "upper.pattern": (1.0, 0.3), "bag.color": (1.0, 0.3),
    "head.color": (1.0, 0.5), "upper.type": (1.0, 0.6), "lower.type": (1.0, 0.3), "feet.type": (1.0, 0.5),
    "carry": (1.0, 0.5), "near": (1.0, 0.7), "place": (1.0, 0.5), "light": (1.0, 0.5), "weather": (1.0, 0.4),
    "posture": (1.0, 0.75), "arms": (1.0, 0.9), "action": (1.0, 0.8), "facing": (1.0, 0.8), "company": (1.0, 0.8),
}  # fmt: skip
_OTHER = (1.0, 0.7)
KEPT = {"facing": 0.4, "carry": 0.6, "lower.type": 0.8, "upper.pattern": 0.8}
"""Least factors of hand-built evidence that the annotated crops bear out better than drawings do (facing, a backpack
seen from behind, bare legs, stripes)."""
LEAST = 0.55
"""AUC on held-out drawings below which learned evidence for an atom is not used."""


def weigh(arrays: Mapping[str, np.ndarray], table: Mapping[str, np.ndarray], tokens: bool) -> np.ndarray:
    """(A, 3) float32: factor of hand-built evidence, factor of learned evidence, and a constant, of each atom.

    Two factors a group and a constant an atom are fitted to the truth of ``table``; an atom of which neither
    tells anything keeps its base rate. Atoms that drawings do not tell keep their hand-built facts as they are.
    """
    plain = np.concatenate([table["geometry"], table["gain"]], axis=1)
    learned = evidence_of(arrays, plain, table["pool"].astype(np.float32) if tokens else None)
    out = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (len(ATOMS), 1))
    for group in GROUPS:
        atoms = [i for i in members(group) if table["told"][:, i].sum() >= 40]
        atoms = [i for i in atoms if table["y"][table["told"][:, i], i].sum() >= 3]
        if atoms:
            out[atoms] = _group(atoms, table, learned, TRUST.get(group, _OTHER), KEPT.get(group, 0.0))
    return out


def _group(
    atoms: list[int],
    table: Mapping[str, np.ndarray],
    learned: np.ndarray,
    trust: tuple[float, float],
    kept: float,
) -> np.ndarray:
    told, y = table["told"][:, atoms], table["y"][:, atoms] > 0.5
    hand, known = table["gain"][:, atoms].astype(np.float64), table["known"][:, atoms]
    net = learned[:, atoms].astype(np.float64)
    useful = np.array([auc(net[told[:, k], k], y[told[:, k], k]) >= LEAST for k in range(len(atoms))])
    seen = np.array(
        [auc(hand[told[:, k], k], y[told[:, k], k]) >= 0.52 or kept > 0 for k in range(len(atoms))]
    )
    net, hand = net * useful * (trust[1] > 0), hand * seen
    rate = np.clip((y * told).sum(0) / told.sum(0), 1e-3, 1 - 1e-3)
    base = np.log(rate / (1 - rate))

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        shift = v[2:] * known
        z = base + v[0] * hand + v[1] * net + shift
        p = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
        error = (p - y) * told
        value = float((np.logaddexp(0, np.where(y, -z, z)) * told).sum() + 4.0 * (v[2:] ** 2).sum())
        slope = np.concatenate(
            [[(error * hand).sum(), (error * net).sum()], (error * known).sum(0) + 8.0 * v[2:]]
        )
        return value, slope

    bounds = [(kept, 1.5), (0, 1.5), *[(-1.0, 1.0)] * len(atoms)]
    found = minimize(
        loss,
        np.array([max(kept, 0.5), 0.5, *np.zeros(len(atoms))]),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
    )
    v = found.x
    rows = np.stack([v[0] * trust[0] * seen, v[1] * trust[1] * useful, v[2:] * (seen | useful)], axis=1)
    return np.asarray(rows, np.float32)


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half; 0.5 where one label is missing."""
    n = int(labels.sum())
    if n == 0 or n == len(labels):
        return 0.5
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return float((rank[place][labels].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))
