"""How unlikely rows of numbers are among normal ones: nearest neighbours and Gaussian mixtures.

Every density here has ``fit(rows, groups)``, ``score(rows)`` (higher = less likely), ``held_out()`` (scores of the fitted
rows as if new, what :func:`oddwatch.scoring.relate.minmax` scales by), ``state()`` and ``restored(arrays)``, so that a detector can exchange one for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from scipy import linalg
from scipy.special import logsumexp

from oddwatch.core import InputError
from oddwatch.detectors.image.bank import MemoryBank
from oddwatch.detectors.image.components import kmeans, nearest

Arrays = dict[str, np.ndarray]
LIMIT = 20_000
"""Of more rows so many are drawn: exact search stays within a second for a clip, and a covariance gains nothing by more."""
BLOCK = 65_536
PIECES = 8
"""Pieces that a single clip is cut into, so that each can be held out from the others."""


def _rows(rows: np.ndarray, width: int | None = None) -> np.ndarray:
    """``rows`` as (n, D) float64. Raises InputError: another shape or width, or numbers that are not finite."""
    x = np.asarray(rows, np.float64)
    if x.ndim != 2 or (width is not None and x.shape[1] != width):
        raise InputError("rows", f"expected shape (n, {'D' if width is None else width}), got {x.shape}")
    if not np.isfinite(x).all():
        raise InputError("rows", "expected finite numbers", "leave out what was not measured")
    return x


def _some(rows: np.ndarray) -> np.ndarray:
    x = _rows(rows)
    if not len(x):
        raise InputError("rows", "expected at least one row of normal, got none")
    return x


def thinned(n: int, limit: int, seed: int) -> np.ndarray:
    """(≤ limit,) ascending indices of ``n`` rows, drawn by chance where there are more than ``limit``."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def pieces(clip: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(n,) groups to hold out: the ``clip`` of each row; of rows of a single clip, its :data:`PIECES` equal spans of
    ``order`` (frame or time), as rows of neighbouring frames are near copies of one another."""
    if len(clip) == 0 or (clip != clip[0]).any():
        return clip
    low, high = float(np.min(order)), float(np.max(order))
    share = (np.asarray(order, np.float64) - low) / max(high - low, 1e-12)
    return np.minimum((share * PIECES).astype(np.int64), PIECES - 1)


class Neighbours:
    """Squared Euclidean distance to the nearest normal row (mean of the ``k`` nearest), exact, of at most ``limit`` rows."""

    def __init__(self, k: int = 1, *, limit: int = LIMIT, seed: int = 0) -> None:
        if k < 1 or limit < 1:
            raise InputError("k, limit", f"expected 1 or more, got {k} and {limit}")
        self.k, self.limit, self.seed = k, limit, seed
        self.bank = MemoryBank()
        self.groups = np.zeros(0, np.int64)

    def fit(self, rows: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Remember rows (n, D); ``groups`` (n,) name the clip of each. Raises InputError: none, or not finite."""
        x = _some(rows)
        keep = thinned(len(x), self.limit, self.seed)
        self.groups = np.zeros(len(keep), np.int64) if groups is None else np.asarray(groups, np.int64)[keep]
        self.bank = MemoryBank().add(x[keep].astype(np.float32))
        return self

    def score(self, rows: np.ndarray) -> np.ndarray:
        """(m,) float64 of rows (m, D)."""
        return self._from(self.bank, rows)

    def held_out(self) -> np.ndarray:
        """(≤ n,) each remembered row's distance to those of other groups; with a single group, to all others."""
        found: list[np.ndarray] = []
        vectors = self.bank.vectors
        kinds = np.unique(self.groups)
        if len(kinds) == 1:
            if len(vectors) == 1:
                return np.zeros(1)
            away, _ = self.bank.knn(vectors, min(self.k + 1, len(vectors)))
            return np.square(away[:, 1:].astype(np.float64)).mean(1)
        for group in kinds:
            mine = self.groups == group
            found.append(self._from(MemoryBank().add(vectors[~mine]), vectors[mine]))
        return np.concatenate(found)

    def _from(self, bank: MemoryBank, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros(0)
        away, _ = bank.knn(np.asarray(rows, np.float32), min(self.k, len(bank)))
        return np.asarray(np.square(away.astype(np.float64)).mean(1))

    def state(self) -> Arrays:
        """Its arrays."""
        return {"rows": self.bank.vectors, "groups": self.groups}

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray], k: int = 1) -> Self:
        """The inverse of :meth:`state`."""
        return cls(k, limit=max(1, len(arrays["rows"]))).fit(arrays["rows"], arrays["groups"])


class Mixture:
    """A mixture of ``components`` Gaussians with full covariances, fitted by expectation and maximisation.

    It starts from the best of three k-means runs with k-means++ starts (scikit-learn: one), and ends when the mean
    log-likelihood rises by less than ``tolerance``, or after ``steps``. ``floor`` times the mean variance of the columns
    is added to every variance (scikit-learn adds 1e-6 whatever the unit). Fewer distinct rows give fewer components.
    At most ``limit`` rows are fitted.
    """

    STATE: ClassVar[tuple[str, ...]] = ("weights", "means", "whiten", "fitted")

    def __init__(
        self,
        components: int = 5,
        *,
        floor: float = 1e-6,
        tolerance: float = 1e-3,
        steps: int = 100,
        limit: int = LIMIT,
        seed: int = 0,
    ) -> None:
        if components < 1 or steps < 1 or limit < 1 or not floor > 0:
            raise InputError(
                "mixture", "expected components, steps and limit of 1 or more and a floor above 0"
            )
        self.components, self.floor, self.tolerance, self.steps = components, floor, tolerance, steps
        self.limit, self.seed = limit, seed
        self.weights, self.means = np.zeros(0), np.zeros((0, 0))
        self.whiten = np.zeros((0, 0, 0))
        """(C, D, D) lower triangular, L⁻¹ of each covariance L·Lᵀ."""
        self.fitted = np.zeros((0, 0))

    def fit(self, rows: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Fit rows (n, D). Raises InputError: none, or not finite. ``groups`` change nothing here."""
        x = _some(rows)
        x = x[thinned(len(x), self.limit, self.seed)]
        spread = float(x.var(0).mean())
        floor = self.floor * (spread if spread > 0 else max(1.0, float(np.square(x).mean())))
        centres = kmeans(x, self.components, self.seed).astype(np.float64)
        share = np.eye(len(centres))[nearest(x, centres)]
        before = -np.inf
        for _ in range(self.steps):
            self._maximise(x, share, floor)
            joint = self._joint(x)
            total = logsumexp(joint, axis=1)
            share = np.exp(joint - total[:, None])
            now = float(total.mean())
            if now - before < self.tolerance:
                break
            before = now
        self.fitted = x
        return self

    def _maximise(self, x: np.ndarray, share: np.ndarray, floor: float) -> None:
        """Weights, means and covariances from each row's shares (n, C); components that hold nothing are dropped."""
        share = share[:, share.sum(0) > 1e-9 * len(x)]
        count = share.sum(0)
        self.weights = count / count.sum()
        self.means = (share.T @ x) / count[:, None]
        unit = np.eye(x.shape[1])
        whiten = []
        for c in range(len(count)):
            away = x - self.means[c]
            covariance = (away * share[:, c : c + 1]).T @ away / count[c] + floor * unit
            whiten.append(linalg.solve_triangular(np.linalg.cholesky(covariance), unit, lower=True))
        self.whiten = np.stack(whiten)

    def _joint(self, x: np.ndarray) -> np.ndarray:
        """(n, C) log of weight times density."""
        out = np.empty((len(x), len(self.weights)))
        for c, (weight, mean, white) in enumerate(zip(self.weights, self.means, self.whiten, strict=True)):
            z = (x - mean) @ white.T
            constant = np.log(weight) + np.log(np.diag(white)).sum() - 0.5 * x.shape[1] * np.log(2 * np.pi)
            out[:, c] = constant - 0.5 * np.einsum("nd,nd->n", z, z)
        return out

    def score(self, rows: np.ndarray) -> np.ndarray:
        """(m,) negative log-densities of rows (m, D), nats."""
        x = _rows(rows, self.means.shape[1])
        parts = [-logsumexp(self._joint(x[lo : lo + BLOCK]), axis=1) for lo in range(0, len(x), BLOCK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def held_out(self) -> np.ndarray:
        """(n,) of the fitted rows themselves: a mixture of a few components hardly bends to one of many rows."""
        return self.score(self.fitted)

    def state(self) -> Arrays:
        """Its arrays."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in self.STATE if name != "fitted"}

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of :meth:`state`; the fitted rows are not kept, so that it scores but has nothing held out."""
        out = cls(max(1, len(arrays["weights"])))
        out.weights, out.means, out.whiten = arrays["weights"], arrays["means"], arrays["whiten"]
        out.fitted = np.zeros((0, out.means.shape[1]))
        return out
