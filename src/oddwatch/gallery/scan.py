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
ROW_TASK = 8_192
CELLS = 196_608
"""Numbers multiplied at a time: what a core's cache holds, and few enough for BLAS not to start threads of its own
inside each of ours (OpenBLAS does from 460,800 on). einsum would not, but it keeps the interpreter's lock."""
GROUP = 256
THREADS = max(1, min(4, os.cpu_count() or 1))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="oddwatch-scan")


def _tasks(n: int, size: int, work: Callable[[int, int], None]) -> None:
    """``work(begin, end)`` over 0 … ``n`` in parts of ``size``, on all threads where there are several parts."""
    if n <= size or THREADS == 1:
        for begin in range(0, n, size):
            work(begin, min(begin + size, n))
        return
    for _ in _pool().map(lambda begin: work(begin, min(begin + size, n)), range(0, n, size)):
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
    block = int(np.clip(CELLS // used.size, BLOCK, 4 * BLOCK))

    def work(begin: int, end: int) -> None:
        decoded = np.empty((used.size, min(block, end - begin)), np.float32)
        for lo in range(begin, end, block):
            hi = min(lo + block, end)
            at: slice | np.ndarray = slice(lo, hi) if rows is None else rows[lo:hi]
            part = decoded[:, : hi - lo]
            for i, atom in enumerate(used):
                part[i] = codes[atom, at]
            np.matmul(w, part, out=out[lo:hi])
            out[lo:hi] *= scale[at]

    _tasks(n, TASK, work)
    return out


def row_scores(matrix: np.ndarray, vector: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Inner products of (N, D) float32 rows with a (D,) vector: (N,) float32, or (M,) of ``rows``."""
    v = np.ascontiguousarray(vector, dtype=np.float32)
    out = np.empty(len(matrix) if rows is None else len(rows), np.float32)

    step = max(1, CELLS // max(1, len(v)))

    def work(begin: int, end: int) -> None:
        for lo in range(begin, end, step):
            hi = min(lo + step, end)
            part = matrix[lo:hi] if rows is None else matrix[rows[lo:hi]]
            np.matmul(part, v, out=out[lo:hi])

    _tasks(len(out), ROW_TASK, work)
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


def near(scores: np.ndarray, k: int, error: float) -> np.ndarray:
    """Positions, ascending, of all rows that may be among the ``k`` best when every score is right to ``error``:
    a true score among them is no lower than ``error`` below the k-th score seen, so seen within twice that."""
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, np.int64)
    if k == len(scores):
        return np.arange(k)
    maxima = _maxima(scores, k)
    if maxima is None:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        return np.flatnonzero(scores >= least - np.float32(2 * error))
    # The k highest maxima belong to k different rows, so none of the k best lies below the least of them.
    bound = np.partition(maxima, len(maxima) - k)[len(maxima) - k]
    groups = np.flatnonzero(maxima >= bound - np.float32(2 * error))
    some = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
    some = some[: np.searchsorted(some, len(scores))]
    values = scores[some]
    least = np.partition(values, len(values) - k)[len(values) - k]
    result: np.ndarray = some[values >= least - np.float32(2 * error)]
    return result


def rounding(terms: int, size: float) -> float:
    """How far a float32 sum of ``terms`` products can be from the true one, in any order of summing, where their
    absolute values sum to at most ``size`` (Higham, Accuracy and Stability of Numerical Algorithms, §3.1); a
    little more, for the scale multiplied in after and the decoding before."""
    return (terms + 4) * 2.0**-24 * 1.01 * size


def _maxima(scores: np.ndarray, k: int) -> np.ndarray | None:
    """The highest score of every ``GROUP`` rows; None where there are too few groups to help."""
    whole = len(scores) // GROUP
    if whole < 4 * k:
        return None
    maxima = scores[: whole * GROUP].reshape(whole, GROUP).max(axis=1)
    if whole * GROUP < len(scores):
        maxima = np.append(maxima, scores[whole * GROUP :].max())
    return maxima


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
