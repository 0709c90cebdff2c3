"""How unusual a vector is among normal ones, as decades of false alarms.

Distances to the nearest normal vectors have no unit; how often a held-out normal vector lies as far does. The surprise is
−log₁₀ of that share: 2 means one normal vector in a hundred is as far. Cues in this unit can be compared and added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from oddwatch.core import InputError

SHORT, CHUNK = 16, 256
BEYOND = 2.0
"""Decades that lying beyond every held-out vector adds at most: how far is not how rare."""


@dataclass(eq=False)
class Memory:
    """Normal vectors of one cue: ``bank`` (n, d) float32, each column divided by ``scale`` (d,); ``held`` (m,) sorted
    distances of normal vectors that were not in the bank when they were measured."""

    bank: np.ndarray
    scale: np.ndarray
    held: np.ndarray
    neighbours: int = 5

    def __post_init__(self) -> None:
        self._near = _Nearest(self.bank)

    @classmethod
    def of(
        cls, rows: np.ndarray, groups: np.ndarray, *, neighbours: int, most: int, rng: np.random.Generator
    ) -> Memory:
        """Learn ``rows`` (n, d) of which equal ``groups`` (n,) come from one clip; at most ``most`` are kept.

        Held-out distances come from two halves of the groups, each measured against the other; a single group is cut in
        two in its order. Half the memory is thinner than all of it, so these distances are rather too large than too small.
        Columns are scaled by their deviation between the first and last percentile, so that outliers
        among the normal do not flatten the rest.

        Raises:
            InputError: fewer than two rows.
        """
        if len(rows) < 2:
            raise InputError("normal footage", f"expected two things to remember or more, got {len(rows)}")
        low, high = np.percentile(rows, [1, 99], axis=0)
        scale = np.maximum(np.clip(rows, low, high).std(axis=0), 1e-3).astype(np.float32)
        scaled = (rows / scale).astype(np.float32)
        held = []
        for part in _halves(groups, rng):
            ours, theirs = _few(scaled[part], most // 2, rng), _few(scaled[~part], most // 4, rng)
            held.append(_Nearest(ours).distance(theirs, neighbours))
        return cls(_few(scaled, most, rng), scale, np.sort(np.concatenate(held)), neighbours)

    def surprise(self, rows: np.ndarray) -> np.ndarray:
        """(N,) −log₁₀ of the share of held-out normal vectors at least as far as each of ``rows`` (N, d); beyond the
        farthest of them it grows by the logarithm of the distance."""
        far = self._near.distance((rows / self.scale).astype(np.float32), self.neighbours)
        above = len(self.held) - np.searchsorted(self.held, far, side="left")
        share = (1 + above) / (1 + len(self.held))
        beyond = np.minimum(np.log10(np.maximum(far / max(float(self.held[-1]), 1e-9), 1.0)), BEYOND)
        out: np.ndarray = -np.log10(share) + beyond
        return out

    def joined(self, rows: np.ndarray, most: int, rng: np.random.Generator) -> Memory:
        """With further normal ``rows`` (n, d) learnt; these are measured first, so that they count as held out."""
        if not len(rows):
            return self
        scaled = (rows / self.scale).astype(np.float32)
        far = self._near.distance(_few(scaled, most // 4, rng), self.neighbours)
        held = np.sort(_few(np.concatenate([self.held, far]), most // 2, rng))
        return Memory(_few(np.concatenate([self.bank, scaled]), most, rng), self.scale, held, self.neighbours)


class _Nearest:
    """Distances to ``bank`` (n, d): by a tree, or, in so many dimensions that a tree sees every vector anyway, by products."""

    def __init__(self, bank: np.ndarray) -> None:
        self.bank = bank
        self._tree = cKDTree(bank) if bank.shape[1] <= SHORT else None
        self._squares = None if self._tree is not None else np.einsum("nd,nd->n", bank, bank)

    def distance(self, rows: np.ndarray, neighbours: int) -> np.ndarray:
        """(N,) distance of ``rows`` (N, d) to the ``neighbours``-th nearest, or the farthest there is."""
        k = min(neighbours, len(self.bank))
        if not len(rows):
            return np.empty(0)
        if self._tree is not None:
            near: np.ndarray = self._tree.query(rows, k=[k])[0][:, 0]
            return near
        found = [self._kth(rows[i : i + CHUNK], k) for i in range(0, len(rows), CHUNK)]
        return np.concatenate(found)

    def _kth(self, rows: np.ndarray, k: int) -> np.ndarray:
        assert self._squares is not None
        squared = self._squares - 2 * rows @ self.bank.T + np.einsum("nd,nd->n", rows, rows)[:, None]
        out: np.ndarray = np.sqrt(np.maximum(np.partition(squared, k - 1, axis=1)[:, k - 1], 0.0)).astype(
            np.float64
        )
        return out


def _few(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return rows[np.sort(rng.choice(len(rows), most, replace=False))]


def _halves(groups: np.ndarray, rng: np.random.Generator) -> Sequence[np.ndarray]:
    """Two masks (n,), each other's complement, that part no group; one group is cut in two."""
    names = np.unique(groups)
    if len(names) > 1:
        first = np.isin(groups, rng.permutation(names)[: len(names) // 2])
    else:
        first = np.arange(len(groups)) < len(groups) // 2
    return first, ~first
