"""Exact scans: a sparse weight vector over byte columns, a dense vector over rows, and the best k."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

BLOCK = 4_096
ROWS = 1_024
TASK = 65_536
THREADS = max(1, min(4, os.cpu_count() or 1))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="oddwatch-scan")


def _blocks(n: int, size: int, work: Callable[[int, int], None]) -> None:
    def task(begin: int) -> None:
        end = min(begin + TASK, n)
        for lo in range(begin, end, size):
            work(lo, min(lo + size, end))

    if n <= TASK or THREADS == 1:
        for begin in range(0, n, TASK):
            task(begin)
        return
    for _ in _pool().map(task, range(0, n, TASK)):
        pass


def column_scores(
    codes: np.ndarray, scale: np.ndarray, weights: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """Inner products of sparse weights with byte columns.

    ``codes`` (A, N) int8, one atom's values side by side; ``scale`` (N,) float32; ``weights`` (A,)
    float32, of which only the non-zero are touched; ``rows`` (M,) restricts to those. Gives (M,) or
    (N,) float32. Temporaries stay within a few MB whatever N is.
    """
    used = np.flatnonzero(weights)
    w = np.ascontiguousarray(weights[used], dtype=np.float32)
    n = codes.shape[1] if rows is None else len(rows)
    out = np.zeros(n, np.float32)
    if used.size == 0:
        return out

    def work(lo: int, hi: int) -> None:
        if rows is None:
            at: slice | np.ndarray = slice(lo, hi)
            part = codes[used, lo:hi]
        else:
            at = rows[lo:hi]
            part = codes[used[:, None], at]
        # einsum, not BLAS: BLAS would start threads of its own inside each of ours.
        np.einsum("i,ij->j", w, part.astype(np.float32), out=out[lo:hi])
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
        np.einsum("ij,j->i", matrix[rows[lo:hi]], v, out=out[lo:hi])

    _blocks(len(rows), ROWS, work)
    return out


def exact_columns(codes: np.ndarray, scale: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """As :func:`column_scores` of ``rows``, summed in float64: the same number wherever a row lies."""
    used = np.flatnonzero(weights)
    w, out = weights[used].astype(np.float64), np.zeros(len(rows))
    for lo in range(0, len(rows) if used.size else 0, BLOCK):
        at = rows[lo : lo + BLOCK]
        # Decoded to float32 first, as an entry that is read back is, so that its products are these scores.
        part = codes[used[:, None], at].astype(np.float32) * scale[at]
        out[lo : lo + BLOCK] = np.einsum("i,ij->j", w, part.astype(np.float64))
    return out.astype(np.float32)


def exact_rows(matrix: np.ndarray, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """As :func:`row_scores` of ``rows``, summed in float64: the same number wherever a row lies."""
    v, out = vector.astype(np.float64), np.zeros(len(rows))
    for lo in range(0, len(rows), ROWS):
        part = matrix[rows[lo : lo + ROWS]].astype(np.float64)
        out[lo : lo + ROWS] = np.einsum("ij,j->i", part, v)
    return out.astype(np.float32)


def near(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of all rows that rounding alone could bring among the ``k`` best."""
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, np.int64)
    if k == len(scores):
        return np.arange(k)
    best = np.partition(scores, len(scores) - k)[len(scores) - k :]
    least = best[0]
    slack = np.float32(1e-5) * max(abs(best.max()), abs(least))
    return np.flatnonzero(scores >= least - slack)


def top(scores: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` best, best first, equal scores by id.

    ``scores`` (N,) float32; ``ids`` (N,) bytes.
    """
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, np.int64)
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
    else:
        least = scores.min()
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
