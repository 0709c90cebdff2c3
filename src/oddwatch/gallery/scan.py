"""Exact scans: a sparse weight vector over byte columns, a dense vector over rows, and the best k."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

BLOCK = 16_384
GATHER = 4_096
THREADS = max(1, min(4, os.cpu_count() or 1))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="oddwatch-scan")


def _blocks(n: int, size: int, work: Callable[[int, int], None]) -> None:
    spans = [(lo, min(lo + size, n)) for lo in range(0, n, size)]
    if len(spans) <= 2 or THREADS == 1:
        for lo, hi in spans:
            work(lo, hi)
        return
    for _ in _pool().map(lambda s: work(*s), spans):
        pass


def column_scores(
    codes: np.ndarray, scale: np.ndarray, weights: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """Inner products of sparse weights with byte columns.

    ``codes`` (A, N) int8, column-major in the sense that one atom's values lie together; ``scale`` (N,)
    float32; ``weights`` (A,) float32, of which only the non-zero are touched; ``rows`` (M,) restricts
    to those. Gives (M,) or (N,) float32. Temporaries stay within a few MB whatever N is.
    """
    used = np.flatnonzero(weights)
    w = np.ascontiguousarray(weights[used], dtype=np.float32)
    n = codes.shape[1] if rows is None else len(rows)
    out = np.zeros(n, np.float32)
    if used.size == 0:
        return out

    def work(lo: int, hi: int) -> None:
        part = np.empty((used.size, hi - lo), np.float32)
        at = slice(lo, hi) if rows is None else rows[lo:hi]
        for i, column in enumerate(used):
            part[i] = codes[column, at]
        np.dot(w, part, out=out[lo:hi])
        out[lo:hi] *= scale[at]

    _blocks(n, BLOCK, work)
    return out


def row_scores(matrix: np.ndarray, vector: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Inner products of (N, D) float32 rows with a (D,) vector: (N,) float32, or (M,) of ``rows``."""
    v = np.ascontiguousarray(vector, dtype=np.float32)
    if rows is None:
        result: np.ndarray = matrix @ v
        return result
    out = np.empty(len(rows), np.float32)

    def work(lo: int, hi: int) -> None:
        np.dot(matrix[rows[lo:hi]], v, out=out[lo:hi])

    _blocks(len(rows), GATHER, work)
    return out


def top(scores: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` best, best first, equal scores by id.

    ``scores`` (N,) float32; ``ids`` (N,) bytes. Rows at −inf are left out.
    """
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, np.int64)
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
    else:
        least = scores.min()
    least = max(least, np.finfo(np.float32).min)
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)
    wanted = k - len(above)
    if len(equal) > wanted:
        equal = equal[first_by_id(ids, equal, wanted)]
    best = np.concatenate([above, equal])
    order = np.lexsort((ids[best], -scores[best]))
    result: np.ndarray = best[order]
    return result


def first_by_id(ids: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Positions within ``rows`` of the ``k`` smallest ids, in any order."""
    if k <= 0:
        return np.empty(0, np.int64)
    if len(rows) <= k:
        return np.arange(len(rows))
    some = ids[rows]
    # Eight bytes decide nearly always, and numbers are partitioned far faster than strings.
    width = max(8, some.dtype.itemsize)
    head = some.astype(f"S{width}").view(np.uint8).reshape(len(rows), width)[:, :8]
    key = np.ascontiguousarray(head).view(">u8")[:, 0].astype(np.uint64)
    limit = np.partition(key, k - 1)[k - 1]
    candidates = np.flatnonzero(key <= limit)
    order = np.argsort(some[candidates], kind="stable")[:k]
    result: np.ndarray = candidates[order]
    return result
