"""Retrieval: where the right pictures are in a ranking.

Everything is computed from the ranks of the relevant ("positive") items, so a metric needs the score
matrix once and only in parts. Three rules hold throughout:

* Ties count against the system: an irrelevant item with an equal score stands before a relevant one.
* A score that is not a number is an unknown score and stands last.
* A query without any relevant item is left out of every mean and counted in ``excluded``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import InputError, Jsonable

Chunks = Callable[[], Iterable[tuple[int, np.ndarray]]]
"""Yields ``(first gallery position, (Q, g) scores)``; called twice."""


def positive_ranks(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """1-based positions of the relevant items in a ranking by falling score, ascending.

    ``scores`` (G,) float, ``relevant`` (G,) bool; returns (P,) int64, empty without relevant items.
    """
    scores, relevant = np.asarray(scores, dtype=np.float64), np.asarray(relevant, dtype=bool)
    if scores.ndim != 1 or scores.shape != relevant.shape:
        raise InputError(
            "scores", f"expected (G,) scores and relevance, got {scores.shape}, {relevant.shape}"
        )
    scores = np.where(np.isnan(scores), -np.inf, scores)
    good = -np.sort(-scores[relevant])
    bad = np.sort(scores[~relevant])
    ahead = bad.size - np.searchsorted(bad, good, side="left")
    return (ahead + np.arange(1, good.size + 1)).astype(np.int64)


def ranks_of(scores: np.ndarray, query_ids: Sequence[object], gallery_ids: Sequence[object]) -> Ranks:
    """Ranks of all queries: item j is relevant to query i iff their ids are equal.

    ``scores`` (Q, G), higher = better. Raises InputError where the shapes do not fit.
    """
    meter = Meter(gallery_ids)
    meter.update(scores, query_ids)
    return meter.result()


class Meter:
    """Collects ranks block by block of queries, so that only one block of scores is in memory."""

    def __init__(self, gallery_ids: Sequence[object]) -> None:
        self._codes: dict[object, int] = {}
        self._gallery = np.array([self._codes.setdefault(i, len(self._codes)) for i in gallery_ids], np.int64)
        self._ranks: list[np.ndarray] = []

    def update(self, scores: np.ndarray, query_ids: Sequence[object]) -> None:
        """Add ``scores`` (q, G) of the queries ``query_ids``."""
        scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
        if scores.shape != (len(query_ids), self._gallery.size):
            expected = (len(query_ids), self._gallery.size)
            raise InputError("scores", f"expected shape {expected} (queries, gallery), got {scores.shape}")
        for row, query in zip(scores, query_ids, strict=True):
            self._ranks.append(positive_ranks(row, self._gallery == self._codes.get(query, -1)))

    def result(self) -> Ranks:
        """The ranks so far."""
        return Ranks(tuple(self._ranks), int(self._gallery.size))


def ranks_streaming(
    chunks: Chunks, query_ids: Sequence[object], gallery_ids: Sequence[object], limit: int = 50_000_000
) -> Ranks:
    """As :func:`ranks_of`, for a score matrix that is made in chunks of the gallery.

    Two passes: the first keeps the scores of relevant items, the second counts the irrelevant ones
    at or above each. Memory is one chunk plus one number per relevant (query, item) pair.

    Raises:
        InputError: the chunks do not cover the gallery exactly once, differ between the passes, or there
            are more than ``limit`` relevant pairs.
    """
    where: dict[object, list[int]] = {}
    for j, item in enumerate(gallery_ids):
        where.setdefault(item, []).append(j)
    places = [np.array(where.get(q, ()), dtype=np.int64) for q in query_ids]
    if sum(p.size for p in places) > limit:
        raise InputError("gallery", f"more than {limit} relevant pairs", "score fewer queries at a time")
    found = [np.full(p.size, np.nan) for p in places]
    for start, block in _covering(chunks, len(query_ids), len(gallery_ids)):
        for q, place in enumerate(places):
            inside = (place >= start) & (place < start + block.shape[1])
            found[q][inside] = block[q, place[inside] - start]
    good = [-np.sort(-np.where(np.isnan(f), -np.inf, f)) for f in found]
    ahead = [np.zeros(g.size, dtype=np.int64) for g in good]
    for start, block in _covering(chunks, len(query_ids), len(gallery_ids)):
        for q, place in enumerate(places):
            if not good[q].size:
                continue
            inside = place[(place >= start) & (place < start + block.shape[1])] - start
            bad = np.sort(np.delete(block[q], inside))
            ahead[q] += bad.size - np.searchsorted(bad, good[q], side="left")
    ranks = tuple(a + np.arange(1, a.size + 1) for a in ahead)
    return Ranks(ranks, len(gallery_ids))


def _covering(chunks: Chunks, queries: int, gallery: int) -> Iterable[tuple[int, np.ndarray]]:
    seen = np.zeros(gallery, dtype=bool)
    for start, block in chunks():
        block = np.asarray(block, dtype=np.float64)
        if block.ndim != 2 or block.shape[0] != queries or not 0 <= start <= gallery - block.shape[1]:
            raise InputError("chunk", f"expected ({queries}, g) scores inside the gallery, got {block.shape}")
        if seen[start : start + block.shape[1]].any():
            raise InputError("chunk", f"gallery position {start} was given twice")
        seen[start : start + block.shape[1]] = True
        yield start, np.where(np.isnan(block), -np.inf, block)
    if not seen.all():
        raise InputError("chunk", f"{int((~seen).sum())} gallery items were never scored")


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Positions of the relevant items of each query in a gallery of ``gallery`` items.

    The per-query arrays of this class are (N,) float64 over the queries that have a relevant item; means
    are 0–1, or NaN when no query has one.
    """

    ranks: tuple[np.ndarray, ...]
    gallery: int

    @property
    def included(self) -> np.ndarray:
        """(Q,) bool: which queries have a relevant item."""
        return np.array([r.size > 0 for r in self.ranks], dtype=bool)

    @property
    def excluded(self) -> int:
        """How many queries have no relevant item and are in no mean."""
        return int((~self.included).sum()) if self.ranks else 0

    @property
    def first(self) -> np.ndarray:
        """(N,) rank of the best-placed relevant item."""
        return np.array([r[0] for r in self.ranks if r.size], dtype=np.float64)

    def hits(self, k: int) -> np.ndarray:
        """1 where a relevant item is among the first ``k``."""
        return (self.first <= k).astype(np.float64)

    def recall_fraction(self, k: int) -> np.ndarray:
        """Share of the relevant items among the first ``k`` (what some fields call recall)."""
        return np.array([(r <= k).mean() for r in self.ranks if r.size], dtype=np.float64)

    def average_precision(self, at: int | None = None) -> np.ndarray:
        """Mean precision at each relevant item. With ``at``, items below that rank count as not found and
        the sum is divided by ``min(relevant, at)``."""
        values = []
        for r in self.ranks:
            if r.size:
                precision = np.arange(1, r.size + 1) / r
                kept = precision if at is None else precision[r <= at]
                values.append(kept.sum() / (r.size if at is None else min(r.size, at)))
        return np.array(values, dtype=np.float64)

    def inverse_negative_penalty(self) -> np.ndarray:
        """Relevant items over the rank of the last of them (Ye et al., TPAMI 2021)."""
        return np.array([r.size / r[-1] for r in self.ranks if r.size], dtype=np.float64)

    def values(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
        """Per-query values by metric name: ``R@K``, ``mAP``, ``mAP@10``, ``mINP``."""
        named = {f"R@{k}": self.hits(k) for k in ks}
        named["mAP"] = self.average_precision()
        named["mAP@10"] = self.average_precision(at=10)
        named["mINP"] = self.inverse_negative_penalty()
        return named

    def summary(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float | None]:
        """Means in percent; None where no query could be judged."""
        return {name: 100 * float(v.mean()) if v.size else None for name, v in self.values(ks).items()}


def attainable(percent: float, queries: int) -> bool:
    """Whether a published recall can be a share of ``queries`` single-answer queries.

    True if some n / ``queries``, in percent, rounds (± 0.005 points) or truncates (< 0.01 points) to it.
    """
    if queries < 1:
        raise InputError("queries", f"expected 1 or more, got {queries}")
    near = percent * queries / 100
    for n in range(max(0, math.floor(near) - 1), min(queries, math.ceil(near) + 1) + 1):
        over = 100 * n / queries - percent
        if -0.005 - 1e-9 <= over < 0.01 - 1e-9:
            return True
    return False


def expected_at_random(
    positives: Sequence[int], gallery: int, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float | None]:
    """The exact expectation, in percent, of every metric under a uniformly random ranking.

    ``positives`` are the numbers of relevant items of the queries; zeros are left out.
    """
    counts, weights = np.unique([p for p in positives if p > 0], return_counts=True)
    names = [f"R@{k}" for k in ks] + ["mAP", "mAP@10", "mINP"]
    if not counts.size:
        return dict.fromkeys(names)
    totals = dict.fromkeys(names, 0.0)
    for p, weight in zip(counts.astype(int).tolist(), weights.tolist(), strict=True):
        if p > gallery:
            raise InputError("positives", f"{p} relevant items in a gallery of {gallery}")
        for k in ks:
            missed = math.comb(gallery - p, k) / math.comb(gallery, k) if k <= gallery else 0.0
            totals[f"R@{k}"] += weight * (1 - missed)
        k_ = np.arange(1, gallery + 1)
        precision = (1 + (k_ - 1) * (p - 1) / max(gallery - 1, 1)) / k_
        totals["mAP"] += weight * float(precision.sum()) / gallery
        totals["mAP@10"] += weight * float(precision[:10].sum()) * p / gallery / min(p, 10)
        last = [math.comb(m - 1, p - 1) / math.comb(gallery, p) / m for m in range(p, gallery + 1)]
        totals["mINP"] += weight * p * math.fsum(last)
    return {name: 100 * total / int(weights.sum()) for name, total in totals.items()}


@dataclass(frozen=True, slots=True)
class Interval(Jsonable):
    """A mean with the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def _resampled_means(
    values: np.ndarray, groups: Sequence[object] | None, draws: int, seed: int
) -> np.ndarray:
    if groups is None:
        sums, counts = values, np.ones(values.size)
    else:
        _, code = np.unique(np.array([str(g) for g in groups]), return_inverse=True)
        sums, counts = np.bincount(code, weights=values), np.bincount(code).astype(np.float64)
    rng = np.random.default_rng(seed)
    step = max(1, 1_000_000 // sums.size)
    means = []
    for start in range(0, draws, step):
        chosen = rng.integers(0, sums.size, (min(step, draws - start), sums.size))
        means.append(sums[chosen].sum(1) / counts[chosen].sum(1))
    return np.concatenate(means)


def bootstrap(
    values: np.ndarray,
    *,
    groups: Sequence[object] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval of the mean of per-query ``values`` (N,); None for no values.

    ``groups`` (N,) resamples whole groups together: give the picture of each query when several queries
    ask for one picture, or the interval is too narrow. (Efron and Tibshirani 1993, ch. 13.)
    """
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        return None
    low, high = np.quantile(_resampled_means(values, groups, draws, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Paired(Jsonable):
    """A difference of two systems on the same queries: mean (first minus second), interval, p value."""

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: Sequence[object] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Paired:
    """Is the mean of ``first`` above that of ``second``, query by query? Two-sided percentile p value.

    Raises InputError unless both hold one value for each of the same (≥ 1) queries.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise InputError("values", f"expected equal (N,) arrays, got {first.shape} and {second.shape}")
    difference = first - second
    means = _resampled_means(difference, groups, draws, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Paired(float(difference.mean()), float(low), float(high), min(1.0, 2 * (tail + 1) / (draws + 1)))


@dataclass(frozen=True, slots=True)
class McNemar(Jsonable):
    """Queries only the first system answered, only the second, and the exact two-sided p value."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Exact McNemar test on two (N,) arrays of right (true) and wrong answers to the same queries."""
    first, second = np.asarray(first).astype(bool), np.asarray(second).astype(bool)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError("answers", f"expected equal (N,) arrays, got {first.shape} and {second.shape}")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    n = b + c
    tail = sum(math.comb(n, k) for k in range(min(b, c) + 1))
    return McNemar(b, c, min(1.0, 2 * tail / 2**n))
