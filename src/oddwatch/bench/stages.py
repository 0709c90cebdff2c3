"""Compositions of search stages side by side: the same queries through each, what each buys, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from oddwatch.bench.subjects import Gallery, Searchable
from oddwatch.core import ChatModel, Progress, Query, Reranker
from oddwatch.search.engine import Ranking, rank, reranked
from oddwatch.search.lmm import notes_of, usage_of
from oddwatch.search.stages import Kit, Stages, build

LADDER: tuple[tuple[str, ...], ...] = (
    ("coarse", "facts", "cross"),
    ("coarse", "facts", "cross", "sum"),
    ("coarse", "facts", "cross", "rrf"),
    ("coarse", "facts", "anomalylmm"),
    ("coarse", "facts", "blanks"),
    ("coarse", "facts", "pairwise"),
    ("coarse", "facts", "cross", "sum", "blanks"),
    ("coarse", "facts", "cross", "sum", "pairwise"),
    ("coarse", "facts", "cross", "sum", "sca-s"),
    ("coarse", "facts", "cross", "sum", "sca-m"),
    ("coarse", "facts", "cross", "sum", "assign"),
)
"""The study of ``bench search --ladder``, beside coarse and the default. The last three need all queries at once."""


HAIR = 1e-9
"""By how much a score is lowered to stand behind an equal one."""


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """What a list of stages gave: ``scores`` (Q, N) whose order is its ranking, and what it cost a query."""

    stages: tuple[str, ...]
    scores: np.ndarray
    seconds: float
    calls: float
    transductive: bool
    pairs: int | None
    notes: tuple[str, ...] = ()

    @property
    def extra(self) -> dict[str, Any]:
        """The fields that its rows carry beside the metrics."""
        return {
            "stages": list(self.stages),
            "transductive": self.transductive,
            "seconds_per_query": self.seconds,
            "model_calls": self.calls,
            "train_pairs": self.pairs,
        }


def compose(
    gallery: Gallery, queries: Sequence[Query | None], names: Sequence[str], words: Any, **options: Any
) -> Composition:
    """One composition; see :func:`compose_all`."""
    return compose_all(gallery, queries, [tuple(names)], words, **options)[0]


def compose_all(
    gallery: Gallery,
    queries: Sequence[Query | None],
    wanted: Sequence[tuple[str, ...]],
    words: Any,
    *,
    depth: int = 200,
    chat: ChatModel | None = None,
    sees: bool = True,
    cross: Any = None,
    matcher: Any = None,
    progress: Progress | None = None,
) -> list[Composition]:
    """The lists of stages ``wanted`` over all ``queries`` (None for one the parser refuses, which counts as answered last).

    What two lists have in common at their beginning is computed once. A re-ranked query has the same scores in a new order:
    its k-th entry gets the k-th highest score of the last stage that scored the most entries, so that collision handling
    has margins to compare. Entries that no stage told apart stay tied. Raises as :func:`build`.
    """
    shelf: Any = Searchable(gallery)
    kit = Kit(shelf, words, chat, sees, cross, matcher)
    steps: dict[tuple[str, ...], Reranker] = {}
    made = [build(names, kit, offline=True) for names in wanted]
    lists = [_online(stages, steps) for stages in made]
    rows = [np.full((len(queries), len(gallery.entries)), -np.inf) for _ in wanted]
    seconds = np.zeros(len(wanted))
    for i, query in enumerate(queries):
        known: dict[tuple[str, ...], tuple[Ranking, float]] = {}
        for row, (n, names) in zip(rows, enumerate(lists), strict=True):
            if query is not None:
                ranking, spent = _ranked(shelf, query, names, steps, min(depth, len(gallery.entries)), known)
                dense = _dense(ranking, names)
                row[i, [int(e) for e in ranking.order]] = _falling(
                    dense, _apart(ranking, dense, steps, names)
                )
                seconds[n] += spent
        if progress is not None:
            progress("ranking", i + 1, len(queries))
    answered = max(sum(q is not None for q in queries), 1)
    return [
        _composition(gallery, names, stages, row, spent / answered, len(queries), steps, cross)
        for names, stages, row, spent in zip(wanted, made, rows, seconds.tolist(), strict=True)
    ]


def _online(stages: Stages, steps: dict[tuple[str, ...], Reranker]) -> tuple[str, ...]:
    """The names of the stages of single queries; their re-rankers are kept in ``steps`` by all names up to theirs."""
    names = stages.names[: len(stages.names) - len(stages.offline)]
    first = len(names) - len(stages.rerankers)
    for i, reranker in enumerate(stages.rerankers, first + 1):
        steps.setdefault(names[:i], reranker)
    return names


def _ranked(
    shelf: Any,
    query: Query,
    names: tuple[str, ...],
    steps: Mapping[tuple[str, ...], Reranker],
    depth: int,
    known: dict[tuple[str, ...], tuple[Ranking, float]],
) -> tuple[Ranking, float]:
    """The ranking by the stages ``names`` and the seconds it takes from the start."""
    if names in known:
        return known[names]
    before, spent = None, 0.0
    if names in steps:
        before, spent = _ranked(shelf, query, names[:-1], steps, depth, known)
    started = time.perf_counter()
    if before is None:
        found = rank(shelf, query, depth=depth, stages=Stages(names, "facts" in names, ()))
    else:
        found = reranked(shelf, query, before, [steps[names]])
    known[names] = found, spent + time.perf_counter() - started
    return known[names]


def _composition(
    gallery: Gallery,
    names: tuple[str, ...],
    stages: Stages,
    row: np.ndarray,
    seconds: float,
    queries: int,
    steps: Mapping[tuple[str, ...], Reranker],
    cross: Any,
) -> Composition:
    scores = np.array([gallery.best(values) for values in row])
    if stages.offline:
        scores = _settled(scores, stages.offline)
    own = [steps[names[:i]] for i in range(len(names) + 1) if names[:i] in steps]
    calls = sum(usage_of(s).calls for s in own) / max(queries, 1)
    notes = tuple(dict.fromkeys(line for s in own for line in notes_of(s)))
    return Composition(names, scores, seconds, calls, stages.transductive, _pairs(names, cross), notes)


def _dense(ranking: Ranking, names: Sequence[str]) -> np.ndarray:
    """(N,) of the last stage that scored the most entries; those it did not score stand below, by their place."""
    bare = [n.partition(":")[0] for n in names]
    count = {n: sum(n in ranking.scores[i] for i in ranking.order) for n in bare}
    most = max(count.values(), default=0)
    if not most:
        return -np.arange(len(ranking.order), dtype=float)
    name = [n for n in bare if count[n] == most][-1]
    values = np.array([ranking.scores[i].get(name, np.nan) for i in ranking.order], dtype=float)
    return np.where(np.isnan(values), np.nanmin(values) - 1 - np.arange(len(values)), values)


def _apart(
    ranking: Ranking, dense: np.ndarray, steps: Mapping[tuple[str, ...], Reranker], names: tuple[str, ...]
) -> np.ndarray:
    """(N − 1,) bool: whether an entry and the next in the order have different scores, of ``dense`` or of a re-ranker that
    scored both."""
    used = [steps[names[:i]].name for i in range(1, len(names) + 1) if names[:i] in steps]
    told = [ranking.scores[i] for i in ranking.order]
    out = dense[:-1] != dense[1:]
    for k, (one, other) in enumerate(pairwise(told)):
        out[k] |= any(n in one and n in other and one[n] != other[n] for n in used)
    return out


def _falling(values: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """``values`` (N,) sorted, highest first; equal ones that stand ``apart`` (N − 1,) differ by a hair."""
    out: np.ndarray = np.sort(values)[::-1]
    out[1:] -= HAIR * np.cumsum(apart & (out[:-1] == out[1:]))
    return out


def _settled(scores: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(Q, N) scores after the collision handling ``names``: each query's values in its new order, equal ones tied unless
    their order was changed. A query without finite scores takes no part."""
    from oddwatch.search import collide

    finite = np.isfinite(scores)
    starts = np.concatenate([[0], np.cumsum(finite.sum(axis=1))])
    resolved: Any = sparse.csr_array((scores[finite], np.nonzero(finite)[1], starts), shape=scores.shape)
    for name in names:
        resolved = getattr(collide, name.replace("-", "_"))(resolved)
    out = np.full(scores.shape, -np.inf)
    for q, images in enumerate(resolved.rankings):
        own = scores[q, images]
        # Equal scores stand by index: where the higher index comes first, a rule has put it there.
        out[q, images] = _falling(own, (own[:-1] != own[1:]) | (images[:-1] > images[1:]))
    return out


def _pairs(names: Sequence[str], cross: Any) -> int | None:
    """Picture-sentence pairs that the stages were trained on; None where a checkpoint does not tell."""
    if "checkpoint" in {n.partition(":")[0] for n in names}:
        return None
    if not {"cross", "blanks", "sum"} & {n.partition(":")[0] for n in names}:
        return 0
    from oddwatch.search.cross import packaged

    return int((cross or packaged()).card["pairs"])


def check(names: Sequence[str], chat: ChatModel | None = None, matcher: Any = None) -> None:
    """Raises InputError where ``names`` cannot be run, before anything is described."""
    nowhere: Any = None
    build(names, Kit(nowhere, nowhere, chat, matcher=matcher), offline=True)


__all__ = ["LADDER", "Composition", "check", "compose", "compose_all"]
