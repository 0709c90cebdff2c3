"""A memory bank of normal tokens: exact blocked nearest neighbours, greedy coreset."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np

from oddwatch.core import InputError

Metric = Literal["euclidean", "cosine"]
BLOCK = 4_000_000
"""Largest block of the distance matrix, in numbers."""


class MemoryBank:
    """Vectors (n, D) float32 that queries are compared with.

    ``metric``: ``euclidean`` distances ‖q − m‖, or ``cosine`` distances 1 − cos; vectors of a cosine bank are
    kept at unit length.
    """

    def __init__(self, metric: Metric = "euclidean") -> None:
        if metric not in ("euclidean", "cosine"):
            raise InputError("metric", f"expected euclidean or cosine, got {metric!r}")
        self.metric: Metric = metric
        self.vectors = np.empty((0, 0), np.float32)
        self._squares: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def add(self, vectors: np.ndarray) -> Self:
        """Remember ``vectors`` (n, D).

        Raises:
            InputError: another width than the vectors there are, or numbers that are not finite.
        """
        x = self._prepared(vectors)
        if len(self.vectors) and x.shape[1] != self.vectors.shape[1]:
            raise InputError("vectors", f"expected width {self.vectors.shape[1]}, got {x.shape[1]}")
        self.vectors = np.concatenate([self.vectors, x]) if len(self.vectors) else x
        self._squares = None
        return self

    def knn(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances (q, k) float32, rising, and indices (q, k) of the ``k`` nearest vectors; exact.

        Raises:
            InputError: an empty bank, a ``k`` it cannot give, or queries of another width.
        """
        if not 1 <= k <= len(self.vectors):
            raise InputError("k", f"expected 1 to {len(self.vectors)} (the bank's size), got {k}")
        x = self._prepared(queries)
        if x.shape[1] != self.vectors.shape[1]:
            raise InputError("queries", f"expected width {self.vectors.shape[1]}, got {x.shape[1]}")
        distances, indices = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)
        step = max(1, BLOCK // len(self.vectors))
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            distances[part], indices[part] = self._block(x[part], k)
        return distances, indices

    def _block(self, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of one block of prepared queries."""
        similar = x @ self.vectors.T
        if self.metric == "euclidean":
            if self._squares is None:
                self._squares = np.einsum("nd,nd->n", self.vectors, self.vectors)
            similar *= -2
            similar += self._squares
        else:
            np.negative(similar, out=similar)
        if k == 1:
            index = similar.argmin(1)[:, None]
        else:
            index = np.argpartition(similar, k - 1, axis=1)[:, :k] if k < similar.shape[1] else None
            if index is None:
                index = np.tile(np.arange(k), (len(x), 1))
            order = np.argsort(np.take_along_axis(similar, index, 1), axis=1, kind="stable")
            index = np.take_along_axis(index, order, 1)
        nearest = np.take_along_axis(similar, index, 1)
        if self.metric == "euclidean":
            nearest += np.einsum("nd,nd->n", x, x)[:, None]
            return np.sqrt(np.maximum(nearest, 0)), index
        return np.maximum(1 + nearest, 0), index

    def _prepared(self, vectors: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(vectors, np.float32)
        if x.ndim != 2:
            raise InputError("vectors", f"expected shape (n, D), got {x.shape}")
        if not np.isfinite(x).all():
            raise InputError("vectors", "expected finite numbers")
        if self.metric == "cosine":
            x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return x
