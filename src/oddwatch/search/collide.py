"""Collision handling: two queries may not have the same best image. Offline only, and transductive.

Every variant needs all queries at once and assumes that an image answers at most one of them: a property of
a benchmark, not of a gallery that people search. Similarity Coverage Analysis is HFUT-LMC's
(arXiv 2502.03230, reconstructed); its margin rule and the assignment are those of "Protocol-Aware Global
Assignment" (ECCV 2026 workshop). Specification: search §4.4, §7.5.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from oddwatch.core import InputError

Variant = Literal["SCA-S", "SCA-M", "SCA-2", "ASSIGN"]
Rows: TypeAlias = Sequence[np.ndarray]
DENSE_CELLS = 20_000_000
"""Largest component, in cells of its utility matrix, that is solved densely (160 MB)."""


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """Rankings after collision handling; feed it to :func:`resolve` again to chain variants.

    ``top1`` (Q,) int64, the first image of each query, −1 for a query without candidates; ``rankings`` per
    query its candidate images, best first, and ``scores`` theirs in the same order; ``moved`` (Q,) bool: whose
    first image changed. ``passes`` run, ``utility`` of an assignment (slack included), ``skipped`` components
    left alone. ``transductive`` is always True: no query was ranked by itself.
    """

    variant: str
    top1: np.ndarray
    rankings: Rows
    scores: Rows
    moved: np.ndarray
    passes: int = 0
    utility: float = 0.0
    skipped: int = 0
    transductive: bool = True

    @property
    def colliding(self) -> int:
        """How many queries share their first image with another query."""
        return colliding(self.top1)


def colliding(top1: np.ndarray) -> int:
    """How many of the queries with first images ``top1`` (Q,) share theirs; −1 is no image."""
    _, count = np.unique(top1[top1 >= 0], return_counts=True)
    return int(count[count > 1].sum())


def candidates(chunks: Any, n: int) -> sparse.csr_array:
    """The best ``n`` images of each query as a (Q, G) CSR matrix, for score matrices that do not fit in memory.

    ``chunks`` yields ``(first gallery position, (Q, g) scores)``, each gallery image once. Equal scores: lower
    index first. A score of 0 stays an entry; one that is not a number is dropped.
    """
    best_i: np.ndarray | None = None
    best_s = np.empty((0, 0))
    width = 0
    for start, block in chunks:
        block = np.atleast_2d(np.asarray(block, dtype=np.float64))
        here = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        width = max(width, start + block.shape[1])
        images = here if best_i is None else np.hstack([best_i, here])
        scores = block if best_i is None else np.hstack([best_s, block])
        order = np.lexsort((images, -np.where(np.isnan(scores), -np.inf, scores)), axis=1)[:, :n]
        best_i, best_s = np.take_along_axis(images, order, 1), np.take_along_axis(scores, order, 1)
    if best_i is None:
        raise InputError("chunks", "expected at least one block of scores")
    kept = ~np.isnan(best_s)
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    found = sparse.csr_array((best_s[kept], best_i[kept], indptr), shape=(len(best_s), width))
    found.sort_indices()
    return found


def resolve(
    S: np.ndarray | sparse.csr_array | sparse.csr_matrix | Resolution,
    variant: Variant = "SCA-M",
    **params: Any,
) -> Resolution:
    """New first images and rankings of all queries, so that fewer of them share one.

    ``S`` is (Q, G) scores, higher = better: dense, or CSR whose stored entries are each query's candidates; or
    an earlier resolution to go on from. Ties go to the lower image index; NaN stands last. The parameters are
    those of :func:`sca_s`, :func:`sca_m`, :func:`sca_2` and :func:`assign`.

    Raises:
        InputError: an unknown variant or parameter, or scores of another shape.
    """
    if variant not in VARIANTS:
        raise InputError("variant", f"{variant!r} is not known", f"one of: {', '.join(VARIANTS)}")
    rule = VARIANTS[variant]
    known = [name for name in inspect.signature(rule).parameters if name != "S"]
    if unknown := sorted(set(params) - set(known)):
        raise InputError(variant, f"has no parameter {', '.join(unknown)}", f"it takes: {', '.join(known)}")
    return rule(S, **params)


Scored: TypeAlias = np.ndarray | sparse.csr_array | sparse.csr_matrix | Resolution


def sca_s(
    S: Scored,
    *,
    delta: float = 0.0,
    theta: float | None = None,
    features: np.ndarray | None = None,
    max_passes: int = 10,
) -> Resolution:
    """SCA, score rule: the query with the higher score keeps the image, the others fall to their next one.

    A query falls only if the keeper's score is more than ``delta`` (score units) above its own, and, with
    ``theta``, only if the cosine of both sentences' ``features`` (Q, D) reaches ``theta``. The closest reading
    of arXiv 2502.03230; what happens in chains is ours.
    """
    if theta is not None and features is None:
        raise InputError("features", "expected (Q, D) sentence vectors, which theta is compared with")
    unit = None if features is None else _unit(features)
    rankings, scores = _rows(S)

    def claim(q: int, place: int) -> float:
        return float(scores[q][place])

    def yields(q: int, keeper: int, gap: float) -> bool:
        near = theta is None or unit is None or float(unit[q] @ unit[keeper]) >= theta
        return gap > delta and near

    return _fall("SCA-S", rankings, scores, claim, yields, max_passes, last_wins=False)


def sca_m(
    S: Scored, *, tau: float = 0.5, margins: np.ndarray | None = None, max_passes: int = 10
) -> Resolution:
    """SCA, margin rule: the query surest of its first image keeps it; needs a lead of more than ``tau``.

    Sureness is the frozen margin best − second-best score of the query, or ``margins`` (Q,) where the scores
    that tell it are others than those that rank. ``tau`` is in units of the scores (0.5 re-ranker logits).
    """
    rankings, scores = _rows(S)
    mu = _margins(scores) if margins is None else _per_query(margins, len(rankings))
    return _fall(
        "SCA-M",
        rankings,
        scores,
        lambda q, _: float(mu[q]),
        lambda q, keeper, gap: gap > tau,
        max_passes,
        last_wins=True,
    )


def sca_2(S: Scored, *, tau: float = 0.5, margins: np.ndarray | None = None) -> Resolution:
    """SCA, single swap: one pass in which losers (by the margin rule) swap their first two images.

    Run twice it can swap back.
    """
    found = sca_m(S, tau=tau, margins=margins, max_passes=1)
    return Resolution("SCA-2", found.top1, found.rankings, found.scores, found.moved, found.passes)


def assign(S: Scored, *, n: int = 2, delta: float = 1.0, cap: int = 200) -> Resolution:
    """Best one-to-one assignment within each group of queries that compete for images.

    Queries and their first ``n`` images form a graph; its components with a shared first image and at most
    ``cap`` queries are solved. Moving a query gains its score there minus its score now; staying on its
    first image although that collides costs ``delta`` (score units; infinity: only where it cannot be helped).
    A component in which more queries would share an image than before stays as it was.
    """
    if n < 1 or cap < 1 or not delta >= 0:
        raise InputError("ASSIGN", f"expected n and cap of 1 or more and delta ≥ 0, got {n}, {cap}, {delta}")
    rankings, scores = _rows(S)
    front = _front(rankings, scores, n)
    top1 = _firsts(rankings)
    place = np.zeros(len(rankings), dtype=np.int64)
    total, skipped = 0.0, 0
    for queries in _components(front, top1):
        if len(queries) > cap:
            skipped += 1
            continue
        chosen, utility = _solved([front[q] for q in queries], delta)
        after = np.array([front[q][0][p] for q, p in zip(queries, chosen, strict=True)])
        if colliding(after) > colliding(top1[queries]):
            skipped += 1
            continue
        place[queries] = chosen
        total += utility
    return _moved("ASSIGN", rankings, scores, place, passes=1, utility=total, skipped=skipped)


VARIANTS: dict[str, Callable[..., Resolution]] = {
    "SCA-S": sca_s,
    "SCA-M": sca_m,
    "SCA-2": sca_2,
    "ASSIGN": assign,
}


def _rows(S: Scored) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per query its candidate images and their scores, best first."""
    if isinstance(S, Resolution):
        return list(S.rankings), list(S.scores)
    if sparse.issparse(S):
        return _sparse_rows(sparse.csr_array(S))
    dense = np.asarray(S)
    if dense.ndim != 2:
        raise InputError("scores", f"expected a (Q, G) matrix, got shape {dense.shape}")
    if not np.issubdtype(dense.dtype, np.floating):
        dense = dense.astype(np.float64)
    images, scores = [], []
    for row in dense:
        known = np.where(np.isnan(row), -np.inf, row)
        order = np.argsort(-known, kind="stable").astype(np.int32)
        images.append(order)
        scores.append(known[order])
    return images, scores


def _sparse_rows(S: sparse.csr_array) -> tuple[list[np.ndarray], list[np.ndarray]]:
    images, scores = [], []
    for start, end in zip(S.indptr[:-1], S.indptr[1:], strict=True):
        at, values = S.indices[start:end], np.asarray(S.data[start:end], dtype=np.float64)
        if len(np.unique(at)) != len(at):
            raise InputError(
                "scores", "an image is stored twice for one query", "call sum_duplicates() first"
            )
        values = np.where(np.isnan(values), -np.inf, values)
        order = np.lexsort((at, -values))
        images.append(at[order])
        scores.append(values[order])
    return images, scores


def _firsts(rankings: Rows) -> np.ndarray:
    return np.array([int(r[0]) if len(r) else -1 for r in rankings], dtype=np.int64)


def _unit(features: np.ndarray) -> np.ndarray:
    values = np.asarray(features, dtype=np.float64)
    norms: np.ndarray = np.linalg.norm(values, axis=1, keepdims=True)
    out: np.ndarray = values / np.maximum(norms, 1e-12)
    return out


def _per_query(values: np.ndarray, queries: int) -> np.ndarray:
    out = np.asarray(values, dtype=np.float64)
    if out.shape != (queries,):
        raise InputError("margins", f"expected one number per query ({queries}), got shape {out.shape}")
    return out


def _margins(scores: Rows) -> np.ndarray:
    """(Q,) best minus second-best score; infinite with a single candidate, which nothing can replace."""
    out = np.full(len(scores), np.inf)
    for q, row in enumerate(scores):
        if len(row) > 1:
            second, first = np.partition(np.asarray(row, dtype=np.float64), -2)[-2:]
            out[q] = first - second if np.isfinite(second) else np.inf
    return out


def _fall(
    variant: str,
    rankings: list[np.ndarray],
    scores: list[np.ndarray],
    claim: Callable[[int, int], float],
    yields: Callable[[int, int, float], bool],
    max_passes: int,
    last_wins: bool,
) -> Resolution:
    """Passes in which the strongest claim on each shared image stays and the others go one image on."""
    place = np.zeros(len(rankings), dtype=np.int64)
    passes = 0
    while passes < max_passes:
        groups: dict[int, list[int]] = {}
        for q, row in enumerate(rankings):
            if len(row):
                groups.setdefault(int(row[place[q]]), []).append(q)
        going = []
        for group in groups.values():
            if len(group) > 1:
                claims = {q: claim(q, int(place[q])) for q in group}
                keeper = max(group, key=lambda q: (claims[q], q if last_wins else -q))
                going += [
                    q
                    for q in group
                    if q != keeper
                    and place[q] + 1 < len(rankings[q])
                    and yields(q, keeper, claims[keeper] - claims[q])
                ]
        if not going:
            break
        place[going] += 1
        passes += 1
    return _moved(variant, rankings, scores, place, passes)


def _moved(
    variant: str,
    rankings: list[np.ndarray],
    scores: list[np.ndarray],
    place: np.ndarray,
    passes: int,
    utility: float = 0.0,
    skipped: int = 0,
) -> Resolution:
    """Each query's image at ``place`` brought to the front; the rest keeps its order."""
    rankings, scores = list(rankings), list(scores)
    for q in np.flatnonzero(place):
        p = int(place[q])
        order = np.concatenate([[p], np.arange(p), np.arange(p + 1, len(rankings[q]))])
        rankings[q], scores[q] = rankings[q][order], scores[q][order]
    return Resolution(
        variant, _firsts(rankings), rankings, scores, place > 0, passes, utility, skipped, transductive=True
    )


Front: TypeAlias = list[tuple[np.ndarray, np.ndarray]]


def _front(rankings: Rows, scores: Rows, n: int) -> Front:
    """Per query the first ``n`` images and what moving there gains; the gain of the first is 0."""
    front: Front = []
    for images, values in zip(rankings, scores, strict=True):
        kept = np.asarray(values[:n], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            gain = kept - kept[:1]
        gain = np.where(np.isnan(gain), -np.inf, gain)
        gain[:1] = 0.0
        front.append((np.asarray(images[:n], dtype=np.int64), gain))
    return front


def _components(front: Front, top1: np.ndarray) -> list[np.ndarray]:
    """Query indices of each connected component that has a shared first image, in order of its first query."""
    queries = len(front)
    edges = np.concatenate([images for images, _ in front]) if front else np.empty(0, np.int64)
    if not edges.size:
        return []
    columns, image = np.unique(edges, return_inverse=True)
    row = np.repeat(np.arange(queries), [len(images) for images, _ in front])
    nodes = queries + len(columns)
    graph = sparse.coo_array((np.ones(len(row), np.int8), (row, queries + image)), shape=(nodes, nodes))
    _, label = connected_components(graph.tocsr(), directed=False)
    members: dict[int, list[int]] = {}
    for q in range(queries):
        members.setdefault(int(label[q]), []).append(q)
    return [np.array(group) for group in members.values() if len(group) > 1 and colliding(top1[group])]


def _solved(front: Front, delta: float) -> tuple[np.ndarray, float]:
    """The place of each query's image in its list (0 stays), and the total utility, slack counted."""
    columns = np.unique(np.concatenate([images for images, _ in front]))
    rows = np.repeat(np.arange(len(front)), [len(images) for images, _ in front])
    at = np.concatenate([np.searchsorted(columns, images) for images, _ in front])
    gain = np.concatenate([values for _, values in front])
    finite = np.isfinite(gain)
    rows, at, gain = rows[finite], at[finite], gain[finite]
    # An infinite slack cost becomes one that no sum of gains can outweigh: few slacks first, then utility.
    cost = min(delta, 1.0 + len(front) * float(np.ptp(gain))) if np.isinf(delta) else delta
    queries, images = len(front), len(columns)
    taken = _matched(queries, images, rows, at, gain, cost)
    place = np.zeros(queries, dtype=np.int64)
    total = 0.0
    for q, column in enumerate(taken):
        if column >= images:
            total -= delta
            continue
        place[q] = int(np.flatnonzero(front[q][0] == columns[column])[0])
        total += float(front[q][1][place[q]])
    return place, total


def _matched(
    queries: int, images: int, rows: np.ndarray, at: np.ndarray, gain: np.ndarray, slack: float
) -> np.ndarray:
    """(queries,) the column each query takes; column ``images + q`` is q's own slack."""
    if queries * (images + queries) <= DENSE_CELLS:
        cost = np.full((queries, images + queries), np.inf)
        cost[rows, at] = -gain
        cost[np.arange(queries), images + np.arange(queries)] = slack
        _, taken = linear_sum_assignment(cost)
        return np.asarray(taken)
    # The sparse solver reads a stored 0 as no edge, so all costs are lifted above it.
    lift = 1.0 + max(0.0, float(gain.max()))
    own = np.arange(queries)
    costs = np.concatenate([lift - gain, np.full(queries, lift + slack)])
    where = (np.concatenate([rows, own]), np.concatenate([at, images + own]))
    graph = sparse.coo_array((costs, where), shape=(queries, images + queries)).tocsr()
    row, taken = min_weight_full_bipartite_matching(graph)
    return np.asarray(taken)[np.argsort(row)]
