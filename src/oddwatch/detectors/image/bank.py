"""A memory bank of normal tokens: exact blocked nearest neighbours, or approximate ones for very many; greedy coreset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from oddwatch.core import InputError
from oddwatch.detectors.image.coreset import k_centre

if TYPE_CHECKING:
    from oddwatch.detectors.image.ann import Proposer

Metric = Literal["euclidean", "cosine"]
Engine = Literal["exact", "ann"]
QUERIES, VECTORS = 1024, 4096
"""Sides of one block of the distance matrix: 16 MB, whatever the bank's size."""
BLOCK = QUERIES * VECTORS
"""Largest block of a distance matrix, in numbers."""
ANN_FROM = 20_000
"""Below this size an exact scan is as quick as an index, so that ``ann`` banks scan too."""


class MemoryBank:
    """Vectors (n, D) that queries are compared with.

    ``metric``: ``euclidean`` distances ‖q − m‖, or ``cosine`` distances 1 − cos; vectors of a cosine bank are
    kept at unit length. ``engine``: ``exact`` scans all; ``ann`` lets a FAISS index (built at the first query after a
    change, a minute for a million) propose candidates, whose distances are then exact: what it can get wrong is to miss
    the nearest and give one slightly farther. ``half`` keeps the vectors as float16, in half the memory; all
    arithmetic is float32.
    """

    def __init__(self, metric: Metric = "euclidean", engine: Engine = "exact", half: bool = False) -> None:
        if metric not in ("euclidean", "cosine"):
            raise InputError("metric", f"expected euclidean or cosine, got {metric!r}")
        if engine not in ("exact", "ann"):
            raise InputError("engine", f"expected exact or ann, got {engine!r}")
        self.metric: Metric = metric
        self.engine: Engine = engine
        self.dtype = np.float16 if half else np.float32
        self.vectors = np.empty((0, 0), self.dtype)
        self._squares: np.ndarray | None = None
        self._proposer: Proposer | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def add(self, vectors: np.ndarray) -> Self:
        """Remember ``vectors`` (n, D).

        Raises:
            InputError: another width than the vectors there are, or numbers that are not finite (as float16, where
                the bank keeps that).
        """
        x = self._prepared(vectors, self.dtype)
        if len(self.vectors) and x.shape[1] != self.vectors.shape[1]:
            raise InputError("vectors", f"expected width {self.vectors.shape[1]}, got {x.shape[1]}")
        self.vectors = np.concatenate([self.vectors, x]) if len(self.vectors) else x
        self._squares = self._proposer = None
        return self

    def coreset(
        self,
        keep: int | float,
        *,
        seed: int = 0,
        projection: int | None = None,
        start: int | None = None,
        limit: int | None = None,
    ) -> Self:
        """Keep only the greedy k-centre selection of the vectors, in the order taken (see :func:`coreset.k_centre`).

        Euclidean distance, also between the unit vectors of a cosine bank (where it orders pairs the same way).
        """
        chosen = k_centre(self.vectors, keep, seed=seed, projection=projection, start=start, limit=limit)
        self.vectors = self.vectors[chosen]
        self._squares = self._proposer = None
        return self

    def knn(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances (q, k) float32, rising, and indices (q, k) of the ``k`` nearest vectors; of equally near ones the
        first. A vector's distance to itself is 0.

        Raises:
            InputError: an empty bank, a ``k`` it cannot give, or queries of another width.
        """
        if not 1 <= k <= len(self.vectors):
            raise InputError("k", f"expected 1 to {len(self.vectors)} (the bank's size), got {k}")
        x = self._prepared(queries, np.float32)
        if x.shape[1] != self.vectors.shape[1]:
            raise InputError("queries", f"expected width {self.vectors.shape[1]}, got {x.shape[1]}")
        distances, indices = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)
        quick = self.engine == "ann" and len(self.vectors) >= ANN_FROM
        for start in range(0, len(x), QUERIES):
            part = slice(start, start + QUERIES)
            found = self._proposed(x[part], k) if quick else self._scanned(x[part], k)
            distances[part], indices[part] = self._measured(x[part], found, k)
        return distances, indices

    def _scanned(self, x: np.ndarray, k: int) -> np.ndarray:
        """(q, k) indices of the nearest of all vectors to ``x`` (q, D), for euclidean and cosine banks alike: with
        unit vectors the nearest by distance are the nearest by cosine."""
        if self._squares is None:
            self._squares = np.empty(len(self.vectors), np.float32)
            for lo in range(0, len(self.vectors), VECTORS):
                rows = self.vectors[lo : lo + VECTORS].astype(np.float32, copy=False)
                self._squares[lo : lo + VECTORS] = np.einsum("nd,nd->n", rows, rows)
        best = np.full((len(x), k), np.inf, np.float32)
        index = np.zeros((len(x), k), np.int64)
        twice = -2 * x
        for lo in range(0, len(self.vectors), VECTORS):
            near = twice @ self.vectors[lo : lo + VECTORS].astype(np.float32, copy=False).T
            near += self._squares[lo : lo + VECTORS]
            if k == 1:
                at = near.argmin(1)[:, None]
            elif k < near.shape[1]:
                at = np.sort(np.argpartition(near, k - 1, axis=1)[:, :k], axis=1)
            else:
                at = np.broadcast_to(np.arange(near.shape[1]), near.shape)
            both = np.concatenate([best, np.take_along_axis(near, at, 1)], 1)
            where = np.concatenate([index, at + lo], 1)
            order = np.argsort(both, axis=1, kind="stable")[:, :k]
            best, index = np.take_along_axis(both, order, 1), np.take_along_axis(where, order, 1)
        return index

    def _proposed(self, x: np.ndarray, k: int) -> np.ndarray:
        """(q, c) indices of candidates, at least ``k`` of each query."""
        if self._proposer is None:
            from oddwatch.detectors.image.ann import Proposer

            self._proposer = Proposer(self.vectors)
        found = self._proposer.propose(x, k)
        short = np.flatnonzero((found >= 0).sum(1) < k)
        if len(short):
            found[short] = -1
            found[short, :k] = self._scanned(x[short], k)
        return found

    def _measured(self, x: np.ndarray, index: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances measured directly (not through products, so that small ones are right), and the best ``k``."""
        squares = np.empty(index.shape, np.float32)
        step = max(1, 4_000_000 // (index.shape[1] * x.shape[1]))
        for lo in range(0, len(x), step):
            away = self.vectors[index[lo : lo + step]] - x[lo : lo + step, None]
            squares[lo : lo + step] = np.einsum("qkd,qkd->qk", away, away)
        squares[index < 0] = np.inf
        order = np.lexsort((index, squares), axis=1)[:, :k]
        nearest, index = np.take_along_axis(squares, order, 1), np.take_along_axis(index, order, 1)
        return (np.sqrt(nearest) if self.metric == "euclidean" else nearest / 2), index

    def _prepared(self, vectors: np.ndarray, dtype: type) -> np.ndarray:
        x = np.asarray(vectors)
        if x.ndim != 2:
            raise InputError("vectors", f"expected shape (n, D), got {x.shape}")
        if self.metric == "cosine":
            x = x.astype(np.float32, copy=False)
            x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        with np.errstate(over="ignore"):
            x = np.ascontiguousarray(x, dtype)
        for lo in range(0, len(x), 65_536):
            if not np.isfinite(x[lo : lo + 65_536]).all():
                raise InputError("vectors", "expected finite numbers")
        return x
