"""What normal tokens are like: shrunk Gaussians, Gaussians per position, linear subspaces; fitted in one pass."""

from __future__ import annotations

import numpy as np

from oddwatch.core import InputError


class Moments:
    """Running count, mean and scatter of rows (n, D), so that no more than one chunk is in memory; float64."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = np.zeros(0)
        self.scatter = np.zeros((0, 0))

    def add(self, rows: np.ndarray) -> None:
        """Take in rows (n, D) (Chan, Golub and LeVeque's update)."""
        if not len(rows):
            return
        x = np.asarray(rows, np.float32)
        mean = x.mean(0, dtype=np.float64)
        centred = x - mean.astype(np.float32)
        self._join(len(x), mean, (centred.T @ centred).astype(np.float64))

    def merge(self, other: Moments) -> None:
        """Take in the rows that ``other`` has taken in."""
        if other.n:
            self._join(other.n, other.mean, other.scatter)

    def _join(self, n: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if not self.n:
            self.n, self.mean, self.scatter = n, mean.copy(), scatter.copy()
            return
        total, delta = self.n + n, mean - self.mean
        self.scatter += scatter + np.outer(delta, delta) * (self.n * n / total)
        self.mean = self.mean + delta * (n / total)
        self.n = total


def principal(moments: Moments, variance: float = 0.99) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and the leading eigenvectors (D, r) float32 that explain the share ``variance`` (SubspaceAD 4.2).

    r is the smallest number whose cumulative share reaches ``variance`` (to 1e-12); 0 where nothing varies.

    Raises:
        InputError: ``variance`` outside (0, 1], or no rows.
    """
    if not 0 < variance <= 1:
        raise InputError("variance", f"expected a share above 0 and up to 1, got {variance}")
    if not moments.n:
        raise InputError("rows", "expected at least one row, got none")
    values, vectors = np.linalg.eigh(moments.scatter / max(1, moments.n - 1))
    values = np.maximum(values[::-1], 0)
    total = float(values.sum())
    scale = float(moments.mean @ moments.mean) + 1e-30
    if total <= 1e-12 * scale:
        return moments.mean.astype(np.float32), np.zeros((len(values), 0), np.float32)
    keep = components(values / total, variance)
    return moments.mean.astype(np.float32), np.ascontiguousarray(vectors[:, ::-1][:, :keep], np.float32)


def components(ratios: np.ndarray, variance: float) -> int:
    """How many leading ``ratios`` (r,) of explained variance are needed to reach ``variance``."""
    reached = np.flatnonzero(np.cumsum(ratios) >= variance - 1e-12)
    return int(reached[0]) + 1 if len(reached) else len(ratios)


def residual(rows: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(n,) squared distances of rows (n, D) from the subspace through ``mean`` (D,) along ``basis`` (D, r)."""
    centred = rows - mean
    inside = centred @ basis
    left = np.einsum("nd,nd->n", centred, centred) - np.einsum("nr,nr->n", inside, inside)
    return np.maximum(left, 0)
