"""Fusion: several scores or rankings of the same gallery made one.

Matrices are (Q, G), higher = better; every weight is explicit and nothing depends on how many processes
scored. Formulas on whole matrices are those of published systems; the classes at the end do the same to the
hits of one query. Specification: search §2.1, §7.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np

from oddwatch.core import Evidence, Hit, InputError, Query, Reranker

Item = TypeVar("Item", bound=Hashable)
RRF_K = 60
"""Reciprocal rank fusion's constant (Cormack et al., SIGIR 2009)."""


def minmax(S: np.ndarray) -> np.ndarray:
    """The whole matrix moved to 0–1; NaN and infinities stand for the lowest finite value. A constant gives 0."""
    values = np.asarray(S, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape)
    low, high = float(values[finite].min()), float(values[finite].max())
    if high == low:
        return np.zeros(values.shape)
    out: np.ndarray = (np.where(finite, values, low) - low) / (high - low)
    return out


def top_k(s: np.ndarray, k: int) -> np.ndarray:
    """(Q, G) bool: the ``k`` best images of each query, equal scores by lower index."""
    values = np.asarray(s, dtype=np.float64)
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), axis=1, kind="stable")[:, :k]
    out = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(out, order, True, axis=1)
    return out


def two_stage(
    m: np.ndarray,
    s: np.ndarray,
    *,
    weight: float = 0.002,
    k_test: int = 128,
    select: np.ndarray | None = None,
) -> np.ndarray:
    """(Q, G) min-max of the matching scores ``m`` plus ``weight`` times min-max of the similarities ``s``.

    Only the ``k_test`` best images of a query by ``select`` (by default ``s``; another model's similarities in
    HUI) keep their ``m``; the others get the lowest of the kept ones, so ``m`` may be NaN there. The fusion of
    X-VLM and CMP, done once on the gathered matrix (search §2.1).

    Raises:
        InputError: shapes differ, or a chosen image has no matching score.
    """
    m, s = np.asarray(m, dtype=np.float64), np.asarray(s, dtype=np.float64)
    chosen_by = s if select is None else np.asarray(select, dtype=np.float64)
    if m.ndim != 2 or not m.shape == s.shape == chosen_by.shape:
        raise InputError("scores", f"expected equal (Q, G), got {m.shape}, {s.shape}, {chosen_by.shape}")
    if k_test < 1:
        raise InputError("k_test", f"expected 1 or more, got {k_test}")
    gate = top_k(chosen_by, k_test)
    if np.isnan(m[gate]).any():
        raise InputError("matching scores", "missing for images among the best k_test")
    lowest = np.where(gate, m, np.inf).min(axis=1, keepdims=True)
    out: np.ndarray = minmax(np.where(gate, m, lowest)) + weight * minmax(s)
    return out


def rrf(rankings: Sequence[Sequence[Item]], k: float = RRF_K) -> list[tuple[Item, float]]:
    """Items by the sum of 1 / (k + rank) over ``rankings`` (one-based ranks), best first.

    Equal sums keep the order in which the items are first met. Raises InputError if a ranking repeats an item.
    """
    total: dict[Item, float] = {}
    for ranking in rankings:
        if len(set(ranking)) != len(ranking):
            raise InputError("ranking", "an item stands in it twice")
        for place, item in enumerate(ranking, 1):
            total[item] = total.get(item, 0.0) + 1 / (k + place)
    return sorted(total.items(), key=lambda pair: -pair[1])


class Calibrated(Protocol):
    """What turns raw scores into probabilities: ``oddwatch.scoring`` calibrators are such."""

    def probability(self, scores: np.ndarray) -> np.ndarray: ...


def calibrated_sum(
    scores: Sequence[np.ndarray],
    calibrators: Sequence[Calibrated],
    weights: Sequence[float] | None = None,
) -> np.ndarray:
    """Weighted sum of the log odds that calibrated scorers give: same shape as each of ``scores``, nats.

    Unlike min-max it needs no whole matrix, so a query's scores do not depend on the others. Unknown scores
    (NaN) count 0. Log odds are held within ±10.
    """
    if not scores or len(scores) != len(calibrators) or (weights and len(weights) != len(scores)):
        raise InputError("scores", "expected as many calibrators and weights as scorers, at least one")
    out = np.zeros(np.shape(scores[0]))
    for values, calibrator, weight in zip(scores, calibrators, weights or [1.0] * len(scores), strict=True):
        raw = np.asarray(values, dtype=np.float64)
        p = np.clip(calibrator.probability(raw.ravel()).reshape(raw.shape), 1e-6, 1 - 1e-6)
        out = out + weight * np.where(np.isnan(raw), 0.0, np.clip(np.log(p / (1 - p)), -10, 10))
    return out


def iterative_ensemble(start: np.ndarray, steps: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    """S ← w·S + (1 − w)·S_next for each ``(S_next, w)``, all min-max normalised (HUI, arXiv 2511.22470).

    w = 1 ignores the new model, w = 0 replaces what was there; the order of the steps matters.
    """
    out = minmax(start)
    for matrix, w in steps:
        if np.shape(matrix) != out.shape:
            raise InputError(
                "scores",
                f"expected {out.shape} in one gallery order, got {np.shape(matrix)}",
                "use aligned()",
            )
        if not 0 <= w <= 1:
            raise InputError("weight", f"expected 0 to 1, got {w}")
        out = w * out + (1 - w) * minmax(matrix)
    return out


def effective_weights(steps: Sequence[float]) -> list[float]:
    """The share of the start and of each step of :func:`iterative_ensemble` in the end; they add up to 1."""
    shares = [1.0]
    for w in steps:
        shares = [share * w for share in shares] + [1 - w]
    return shares


def aligned(S: np.ndarray, have: Sequence[Hashable], want: Sequence[Hashable]) -> np.ndarray:
    """``S`` (Q, G), whose columns are the images ``have``, with its columns in the order ``want``.

    Raises:
        InputError: the two do not name the same images, each once.
    """
    place = {item: i for i, item in enumerate(have)}
    if len(place) != len(have) or len(want) != len(have) or set(want) != set(place):
        raise InputError("gallery", "the two orders do not name the same images, each once")
    out: np.ndarray = np.asarray(S)[:, [place[item] for item in want]]
    return out


def disputed(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """(Q,) bool: the queries whose first image the matrices disagree on; only these need a costly judge
    (GENAI4E's routing, arXiv 2608.12843)."""
    first = np.stack([np.asarray(m).argmax(axis=1) for m in matrices])
    out: np.ndarray = (first != first[:1]).any(axis=0)
    return out


def blend(scores: Sequence[float] | np.ndarray, weight: float = 0.5, depth: int = 20) -> list[int]:
    """New order of a ranked pool: its first ``depth`` by score − ``weight`` × (zero-based place in the pool).

    ``scores`` (N,) are the re-ranker's, in pool order; equal values keep the pool's order, as does all after
    ``depth``. PAGA's rank prior (search §7.5).
    """
    values = np.asarray(scores, dtype=np.float64)
    head = values[:depth] - weight * np.arange(len(values[:depth]))
    return [int(i) for i in np.argsort(-head, kind="stable")] + list(range(len(head), len(values)))


def dual_view(
    original: np.ndarray, rewrite: np.ndarray, *, pool: int = 100, keep: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """(indices, scores) of the ``keep`` best images by the mean of both sentences' cosines, best first.

    ``original`` and ``rewrite`` are (G,) similarities of the sentence and of its rewriting in canonical words;
    only the union of both top ``pool`` lists takes part (ActPair, arXiv 2608.23503).
    """
    a, b = np.asarray(original, dtype=np.float64), np.asarray(rewrite, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError("scores", f"expected equal (G,) similarities, got {a.shape}, {b.shape}")
    union = np.flatnonzero(top_k(a[None], pool)[0] | top_k(b[None], pool)[0])
    mean = (a[union] + b[union]) / 2
    order = np.argsort(-mean, kind="stable")[:keep]
    return union[order], mean[order]


def lambda_fusion(base: np.ndarray, refined: np.ndarray, lam: float = 0.4) -> np.ndarray:
    """``lam`` × base + (1 − ``lam``) × refined (SSDC, arXiv 2604.23282)."""
    if not 0 <= lam <= 1:
        raise InputError("lambda", f"expected 0 to 1, got {lam}")
    out: np.ndarray = lam * np.asarray(base, dtype=np.float64) + (1 - lam) * np.asarray(
        refined, dtype=np.float64
    )
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Squad:
    """What :func:`squad` found: fused ``scores`` (G,), the ``accepted`` image or None, and ``calls`` asked."""

    scores: np.ndarray
    accepted: int | None
    calls: int


def squad(
    base: np.ndarray,
    accepts: Callable[[int], bool],
    *,
    refine: Callable[[int], np.ndarray] | None = None,
    lam: float = 0.4,
    rounds: int = 5,
) -> Squad:
    """SSDC's second stage for one query: round r asks a detective about the image at rank r, until one is taken.

    ``base`` (G,) are scores in 0–1. ``refine(image)`` gives (G,) scores of the sentence as rewritten after that
    image; without it the accepted image is refined to 1 and the others keep their base score. At most one image
    is accepted; with none, the base scores are returned. From the paper's description: the released script,
    in which rounds after the first hardly ever act, is not followed.
    """
    base = np.asarray(base, dtype=np.float64)
    for calls, image in enumerate(np.argsort(-base, kind="stable")[:rounds].tolist(), 1):
        if accepts(image):
            refined = base.copy() if refine is None else np.asarray(refine(image), dtype=np.float64)
            refined = refined.copy()
            refined[image] = 1.0
            return Squad(lambda_fusion(base, refined, lam), image, calls)
    return Squad(base.copy(), None, min(rounds, len(base)))


def reordered(
    hits: Sequence[Hit],
    order: Sequence[int],
    stage: str,
    scores: Mapping[str, float],
    evidence: Mapping[str, Sequence[Evidence]] | None = None,
) -> list[Hit]:
    """``hits`` in the new ``order`` (a permutation of their places) with new ranks, the stage's scores by id in
    ``hit.stages[stage]`` and its evidence added to the reasons. ``hit.score`` stays the coarse one's."""
    if sorted(order) != list(range(len(hits))):
        raise InputError(stage, "a stage may neither add nor lose a hit")
    out: list[Hit] = []
    for rank, i in enumerate(order, 1):
        hit = hits[i]
        stages = {**hit.stages, stage: float(scores[hit.id])} if hit.id in scores else hit.stages
        said = tuple(evidence.get(hit.id, ())) if evidence else ()
        reason = replace(hit.reason, evidence=(*hit.reason.evidence, *said)) if said else hit.reason
        out.append(replace(hit, rank=rank, stages=stages, reason=reason))
    return out


def reach(rerankers: Sequence[Reranker]) -> int:
    """How many hits the widest of the stages looks at."""
    wide = (getattr(r, name, 0) for r in rerankers for name in ("n", "depth", "rounds"))
    return max(wide, default=0)


def _by(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -scores[i])


@dataclass(frozen=True, slots=True)
class RrfStage:
    """Reciprocal rank fusion of earlier stages' scores over the first ``n`` hits; a hit without one of them stands behind
    those that have it, all equal."""

    stages: tuple[str, ...]
    k: float = RRF_K
    n: int = 128
    name: str = "rrf"

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The hits by the sum of reciprocal ranks; equal sums keep their order."""
        head = hits[: self.n]
        total = [0.0] * len(head)
        for stage in self.stages:
            scored = [h.stages.get(stage, -np.inf) for h in head]
            best = sorted(scored, reverse=True)
            for i, value in enumerate(scored):
                total[i] += 1 / (self.k + 1 + best.index(value))
        order = [*_by(total), *range(len(head), len(hits))]
        return reordered(hits, order, self.name, {h.id: t for h, t in zip(head, total, strict=True)})


@dataclass(frozen=True, slots=True)
class SumStage:
    """The first ``n`` hits by the weighted sum of earlier stages' scores, a calibrated log odds where the ``weights`` were
    fitted as one; a hit that a stage did not score gets that stage's lowest score."""

    weights: Mapping[str, float]
    n: int = 128
    name: str = "sum"

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The first hits by the sum; equal sums keep their order, and so does the rest."""
        head = hits[: self.n]
        total = np.zeros(len(head))
        for stage, weight in self.weights.items():
            scores = np.array([h.stages.get(stage, np.nan) for h in head])
            if len(head) and not np.isnan(scores).all():
                total += weight * np.where(np.isnan(scores), np.nanmin(scores), scores)
        order = [*_by(total.tolist()), *range(len(head), len(hits))]
        return reordered(hits, order, self.name, {h.id: float(t) for h, t in zip(head, total, strict=True)})


@dataclass(frozen=True, slots=True)
class BlendStage:
    """PAGA's rank prior over the scores of the stage ``of``: the first ``depth`` hits by score − weight × place."""

    of: str
    weight: float = 0.5
    depth: int = 20
    name: str = "blend"

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The first ``depth`` hits that the stage scored, in their new order; the rest stays."""
        scored = [h.stages.get(self.of) for h in hits[: self.depth]]
        if any(s is None for s in scored):
            raise InputError("blend", f"the stage {self.of!r} did not score the first {self.depth} hits")
        values = [float(s) for s in scored if s is not None]
        order = blend(values, self.weight, self.depth) + list(range(len(values), len(hits)))
        blended = {h.id: v - self.weight * i for i, (h, v) in enumerate(zip(hits, values, strict=False))}
        return reordered(hits, order, self.name, blended)


@dataclass(slots=True)
class DetectiveStage:
    """SSDC's detective over the hits of one query: ``accepts(query, hit)`` looks at the best ``rounds`` hits in
    turn; the first one it accepts gets λ·base + 1 − λ. Base is the min-max of the stage ``of`` over the first ``n`` hits;
    the rest stays.

    ``refine(query, hits, place)`` scores (N,) these hits in 0–1 by the sentence as a writer rewrote it after the
    accepted hit. Without it the accepted hit comes near a first hit that was turned down, never before it.
    ``calls`` counts what the detective was asked.
    """

    accepts: Callable[[Query, Hit], bool]
    of: str = "facts"
    lam: float = 0.4
    rounds: int = 5
    refine: Callable[[Query, Sequence[Hit], int], np.ndarray] | None = None
    name: str = "ssdc"
    n: int = 128
    calls: int = field(default=0, init=False)

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The hits by fused score; without an accepted one their order is unchanged."""
        if not hits:
            return []
        head = hits[: self.n]
        base = minmax(np.array([h.stages.get(self.of, np.nan) for h in head]))
        # An earlier stage may have moved hits past what these scores say; ranks are those of the list.
        ranked = np.minimum.accumulate(base)
        refine = self.refine
        found = squad(
            ranked,
            lambda i: self.accepts(query, head[i]),
            refine=None if refine is None else lambda i: refine(query, head, i),
            lam=self.lam,
            rounds=self.rounds,
        )
        self.calls += found.calls
        scores = {h.id: float(s) for h, s in zip(head, found.scores, strict=True)}
        order = [*_by(found.scores.tolist()), *range(len(head), len(hits))]
        return reordered(hits, order, self.name, scores)
