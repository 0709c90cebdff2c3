"""Compositions of search stages side by side: the same queries through each, what each buys, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddwatch.bench.subjects import Gallery, Searchable
from oddwatch.core import ChatModel, Progress, Query
from oddwatch.search.stages import Kit, Stages, build

LADDER: tuple[tuple[str, ...], ...] = (
    ("coarse", "cross"),
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


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """What a list of stages gave: ``scores`` (Q, N) whose order is its ranking, and what it cost a query."""

    stages: tuple[str, ...]
    scores: np.ndarray
    seconds: float
    calls: float
    transductive: bool
    pairs: int
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
    gallery: Gallery,
    queries: Sequence[Query | None],
    names: Sequence[str],
    words: Any,
    *,
    depth: int = 200,
    chat: ChatModel | None = None,
    sees: bool = True,
    cross: Any = None,
    progress: Progress | None = None,
) -> Composition:
    """The stages ``names`` over all ``queries`` (None for one the parser refuses, which counts as answered last).

    A re-ranked query has the same scores in a new order: its k-th entry gets the k-th highest score of its last stage that
    scored everything it was given, so that collision handling has margins to compare. Raises as :func:`build`.
    """
    shelf: Any = Searchable(gallery)
    kit = Kit(shelf, words, chat, sees, cross)
    stages = build(names, kit, offline=True)
    rows = np.full((len(queries), len(gallery.entries)), -np.inf)
    seconds = []
    for i, query in enumerate(queries):
        if query is None:
            continue
        started = time.perf_counter()
        order, values = _ranked(shelf, query, stages, depth, len(gallery.entries))
        seconds.append(time.perf_counter() - started)
        rows[i, order] = values
        if progress is not None:
            progress(" ".join(names), i + 1, len(queries))
    scores = np.array([gallery.best(row) for row in rows])
    for name in stages.offline:
        scores = _settled(scores, name)
    calls, notes = _asked(stages)
    mean = float(np.mean(seconds)) if seconds else 0.0
    pairs = _pairs(names, cross)
    return Composition(
        tuple(names), scores, mean, calls / max(len(queries), 1), stages.transductive, pairs, notes
    )


def _ranked(shelf: Any, query: Query, stages: Stages, depth: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Entry numbers, best first, and falling values for them."""
    from oddwatch.search.engine import rank

    found = rank(shelf, query, depth=min(depth, size), stages=stages)
    order = np.array([int(i) for i in found.order])
    dense = _dense(found.order, found.scores, ["coarse", "facts", *(r.name for r in stages.rerankers)])
    return order, np.sort(dense)[::-1]


def _dense(
    order: Sequence[str], scores: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> np.ndarray:
    """(N,) of the last stage that scored the most entries; those it did not score stand below, by their place."""
    count = {n: sum(n in scores[i] for i in order) for n in names}
    most = max(count.values(), default=0)
    if not most:
        return -np.arange(len(order), dtype=float)
    name = [n for n in names if count[n] == most][-1]
    values = np.array([scores[i].get(name, np.nan) for i in order], dtype=float)
    lowest = np.nanmin(values)
    return np.where(np.isnan(values), lowest - 1 - np.arange(len(order)), values)


def _settled(scores: np.ndarray, name: str) -> np.ndarray:
    """(Q, N) scores after collision handling: each query's values in its new order."""
    from oddwatch.search import collide

    rule: Callable[..., Any] = getattr(collide, name.replace("-", "_"))
    out = np.full(scores.shape, -np.inf)
    resolved = rule(scores)
    for q, (images, values) in enumerate(zip(resolved.rankings, resolved.scores, strict=True)):
        finite = np.isfinite(values)
        out[q, images[finite]] = np.sort(values[finite])[::-1] - 1e-9 * np.arange(int(finite.sum()))
    return out


def _asked(stages: Stages) -> tuple[int, tuple[str, ...]]:
    from oddwatch.search.lmm import notes_of, usage_of

    calls = sum(usage_of(s).calls for s in stages.rerankers)
    return calls, tuple(dict.fromkeys(line for s in stages.rerankers for line in notes_of(s)))


def _pairs(names: Sequence[str], cross: Any) -> int:
    """Picture-sentence pairs that the stages were trained on."""
    if not {"cross", "blanks", "sum"} & {n.partition(":")[0] for n in names}:
        return 0
    from oddwatch.search.cross import packaged

    return int((cross or packaged()).card["pairs"])


def check(names: Sequence[str], chat: ChatModel | None = None) -> None:
    """Raises InputError where ``names`` cannot be run, before anything is described."""
    nowhere: Any = None
    build(names, Kit(nowhere, nowhere, chat), offline=True)


__all__ = ["LADDER", "Composition", "check", "compose"]
