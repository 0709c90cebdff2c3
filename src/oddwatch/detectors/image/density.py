"""What normal tokens are like: shrunk Gaussians, Gaussians per position, linear subspaces; fitted in one pass."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from scipy import linalg, stats

from oddwatch.core import InputError

Kind = Literal["full", "pca", "npca"]


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


def ledoit_wolf(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The shrunk covariance (D, D) float64 of rows (n, D), and the share λ of the sphere in it.

    (1 − λ)·S + λ·(tr S / D)·I with S the covariance over n (Ledoit and Wolf, JMVA 2004); 0 where nothing varies.
    """
    x = np.asarray(rows, np.float64)
    if x.ndim != 2 or not len(x):
        raise InputError("rows", f"expected shape (n, D) with at least one row, got {x.shape}")
    n, width = x.shape
    x = x - x.mean(0)
    s = x.T @ x / n
    squares, trace = float((s * s).sum()), float(np.trace(s))
    level = trace / width
    # The sum over all i, j of Σ x_i² x_j² is that of the rows' squared lengths, squared.
    beta = (float((np.einsum("nd,nd->n", x, x) ** 2).sum()) / n - squares) / (n * width)
    delta = (squares - 2 * level * trace + width * level**2) / width
    share = min(beta, delta) / delta if delta > 0 else 0.0
    return (1 - share) * s + share * level * np.eye(width), share


class Gaussian:
    """A Gaussian as its ``mean`` (D,) and the matrix ``whiten`` (D, r) float64: distances are ‖(x − mean)·whiten‖."""

    def __init__(self, mean: np.ndarray, whiten: np.ndarray) -> None:
        self.mean, self.whiten = mean, whiten

    @classmethod
    def fit(cls, rows: np.ndarray, kind: Kind = "full", variance: float = 0.99, shrink: bool = True) -> Self:
        """The Gaussian of rows (n, D).

        ``full`` keeps every direction; ``pca`` the leading principal components that explain the share ``variance``;
        ``npca`` those after them, at least one. Components are ordered by the plain covariance; the variance along
        each is the shrunk one's (``shrink``). Where nothing is shrunk, or no row differs from another, a floor of a
        millionth of the rows' average square along every direction keeps distances finite.

        Raises:
            InputError: an unknown kind, a variance outside (0, 1], or no rows.
        """
        if kind not in ("full", "pca", "npca"):
            raise InputError("kind", f"expected full, pca or npca, got {kind!r}")
        if not 0 < variance <= 1:
            raise InputError("variance", f"expected a share above 0 and up to 1, got {variance}")
        x = np.asarray(rows, np.float64)
        shrunk, share = ledoit_wolf(x)
        mean, width = x.mean(0), x.shape[1]
        plain = np.cov(x, rowvar=False, bias=True).reshape(width, width)
        covariance = shrunk if shrink else plain
        floor = 1e-12 + 1e-6 * (float(mean @ mean) + float(np.trace(plain))) / width
        if not shrink or share == 0 or float(np.trace(covariance)) / width < floor:
            covariance = covariance + floor * np.eye(width)
        if kind == "full":
            lower = np.linalg.cholesky(covariance)
            return cls(mean, linalg.solve_triangular(lower, np.eye(width), lower=True).T)
        values, vectors = np.linalg.eigh(plain)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        total = float(values.sum())
        lead = components(values / total, variance) if total > 0 else 0
        lead = max(1, lead) if kind == "pca" else min(lead, width - 1)
        vectors = vectors[:, :lead] if kind == "pca" else vectors[:, lead:]
        along = np.einsum("dr,de,er->r", vectors, covariance, vectors)
        return cls(mean, vectors / np.sqrt(np.maximum(along, floor)))

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """(n,) Mahalanobis distances of rows (n, D)."""
        return np.linalg.norm((np.asarray(rows, np.float64) - self.mean) @ self.whiten, axis=1)


def chi_square_threshold(width: int, p: float = 0.9973) -> float:
    """The distance that a share ``p`` of a true Gaussian of ``width`` dimensions stays below: √χ²⁻¹(p).

    Features are not Gaussian: a threshold from held-out normals is better where there are some.
    """
    if width < 1 or not 0 < p < 1:
        raise InputError("threshold", f"expected 1 dimension or more and p in (0, 1), got {width} and {p}")
    return float(np.sqrt(stats.chi2.ppf(p, width)))


class PositionMoments:
    """Running count, means (P, d) and scatters (P, d, d) float32 of one Gaussian per position; one chunk at a time."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = np.zeros((0, 0), np.float32)
        self.scatter = np.zeros((0, 0, 0), np.float32)

    def add(self, x: np.ndarray) -> None:
        """Take in items (B, P, d).

        Raises:
            InputError: other positions or widths than before.
        """
        if not len(x):
            return
        x = np.asarray(x, np.float32)
        if not self.n:
            self.mean = np.zeros(x.shape[1:], np.float32)
            self.scatter = np.zeros((*x.shape[1:], x.shape[2]), np.float32)
        if x.shape[1:] != self.mean.shape:
            raise InputError("tokens", f"expected {self.mean.shape} positions and widths, got {x.shape[1:]}")
        mean = x.mean(0)
        delta, total = mean - self.mean, self.n + len(x)
        # The shift between the means is one more row of the scatter.
        shift = delta * np.float32(np.sqrt(self.n * len(x) / total))
        rows = np.concatenate([x - mean, shift[None]]).transpose(1, 0, 2)
        for lo in range(0, len(rows), 64):
            part = rows[lo : lo + 64]
            self.scatter[lo : lo + 64] += part.transpose(0, 2, 1) @ part
        self.mean = self.mean + delta * np.float32(len(x) / total)
        self.n = total

    def whitening(self, regular: float) -> np.ndarray:
        """(P, d, d) float32, lower triangular: L⁻¹ of each covariance (over n − 1) + ``regular``·I = L·Lᵀ."""
        out = np.empty_like(self.scatter)
        unit = np.eye(self.scatter.shape[2])
        for lo in range(0, len(out), 64):
            covariance = self.scatter[lo : lo + 64] / max(1, self.n - 1) + regular * unit
            out[lo : lo + 64] = np.linalg.inv(np.linalg.cholesky(covariance))
        return out


def position_distances(x: np.ndarray, mean: np.ndarray, whiten: np.ndarray) -> np.ndarray:
    """(B, P) Mahalanobis distances of items (B, P, d), each position by its own Gaussian."""
    away = (np.asarray(x, np.float32) - mean).transpose(1, 2, 0)
    out = np.empty((away.shape[2], away.shape[0]), np.float32)
    for lo in range(0, len(away), 64):
        out[:, lo : lo + 64] = np.linalg.norm(whiten[lo : lo + 64] @ away[lo : lo + 64], axis=1).T
    return out
