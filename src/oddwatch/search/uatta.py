"""UATTA: uncertainty-aware test-time adaptation of a cross-encoder (SIGIR 2026, arXiv 2604.08598; search §7.7).

Transductive: learns from the test queries, without labels. Queries that retrieval finds back in both directions are
kept. The cross-encoder's scores of each one's best pictures should be decided, not spread (low entropy), the less so
the more the two directions disagree. Only LayerNorm weights learn.

Needs torch, all queries' and pictures' coarse scores, and a cross-encoder. Differs from the paper: it works on any
module with LayerNorms (of X-VLM give layers 6 to 11 and the matching head: 30,720 numbers; the paper's 33,792 count two
norms more, which these scores do not pass through); dropout is off; the number of epochs is given, never chosen
on test results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from oddwatch.core import InputError, Progress, require

torch: Any = require("torch", for_="test-time adaptation", extra="torch")
Tensor: TypeAlias = Any
Match = Callable[[np.ndarray, np.ndarray], Tensor]
"""``match(queries (B,), images (B, K))``: matching scores (B, K) of the module, with gradients; indices int64."""


def uncertainty(p: np.ndarray | float, r: np.ndarray | float) -> np.ndarray:
    """u = exp(|p − r| / mean(p, r)): 1 where both directions agree, at most e² (≈ 7.4).

    ``p`` > 0 is the probability of a query's first image, ``r`` ≥ 0 that of the query for this image.
    """
    p, r = np.asarray(p, np.float64), np.asarray(r, np.float64)
    return np.exp(np.abs(p - r) / ((p + r) / 2))


def found_back(scores: np.ndarray, k: int = 5) -> np.ndarray:
    """Bool (Q,): whether any of a query's best ``k`` images has the query among its own best ``k`` queries.

    ``scores`` (Q, G), higher = fits better; of equal ones the lower index counts first.
    """
    scores = _matrix(scores)
    back = _best(scores.T, k)
    return np.array([bool((back[images] == q).any()) for q, images in enumerate(_best(scores, k))], bool)


def agreement(scores: np.ndarray, k: int = 128, temperature: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """``(p, r)``, each (Q,): softmax over the best ``k`` of a query's first image, and of the query for that image.

    ``r`` is 0 where the query is not among the image's best ``k``. ``scores`` (Q, G) are cosines.
    """
    scores = _matrix(scores)
    images, queries = _best(scores, k), _best(scores.T, k)
    p, r = np.empty(len(scores)), np.zeros(len(scores))
    for q, best in enumerate(images):
        p[q] = _softmax(scores[q, best] / temperature)[0]
        back = queries[best[0]]
        place = np.flatnonzero(back == q)
        if len(place):
            r[q] = _softmax(scores[back, best[0]] / temperature)[place[0]]
    return p, r


def adaptation_loss(match: Tensor, u: Tensor) -> Tensor:
    """Mean over queries of the entropy of softmax(``match`` (B, K)) divided by the uncertainty ``u`` (B,)."""
    log_p = match.log_softmax(-1)
    return (-(log_p.exp() * log_p).sum(-1) / u).mean()


def layer_norms(module: Any) -> dict[str, Any]:
    """Name → weight or bias of every LayerNorm in ``module``."""
    return {
        f"{name}.{kind}".lstrip("."): parameter
        for name, part in module.named_modules()
        if isinstance(part, torch.nn.LayerNorm)
        for kind, parameter in part.named_parameters(recurse=False)
    }


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """``queries`` that were learnt from, ``losses`` mean of each epoch, how many ``parameters`` (numbers) learnt.
    ``transductive`` is always True: no score of the adapted model is of one query alone."""

    queries: np.ndarray
    losses: tuple[float, ...]
    parameters: int
    transductive: bool = True


def adapt(
    module: Any,
    match: Match,
    scores: np.ndarray,
    *,
    k: int = 5,
    candidates: int = 8,
    epochs: int = 50,
    batch: int = 16,
    lr: float = 5e-5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Adapted:
    """Adapt the LayerNorms of ``module`` in place to queries with coarse ``scores`` (Q, G).

    ``match`` runs the module on chosen queries and images. Everything else stays as it is, and so does what
    requires gradients and whether the module is in training mode. Some query is always found back: the one of the
    highest score.

    Raises:
        InputError: the module has no LayerNorm, ``match`` gives another shape, or a number is below 1.
    """
    if min(k, candidates, epochs, batch) < 1:
        raise InputError("adaptation", "expected k, candidates, epochs and batch of 1 or more")
    norms = layer_norms(module)
    if not norms:
        raise InputError("module", "it has no LayerNorm to adapt")
    scores = _matrix(scores)
    chosen = np.flatnonzero(found_back(scores, k))
    images, u = _best(scores[chosen], candidates), uncertainty(*agreement(scores))[chosen]
    before, training = {p: p.requires_grad for p in module.parameters()}, module.training
    optimizer = torch.optim.AdamW(norms.values(), lr, betas=(0.9, 0.98), weight_decay=0.0)
    rng = np.random.default_rng(seed)
    losses = []
    try:
        module.eval().requires_grad_(False)
        for parameter in norms.values():
            parameter.requires_grad_(True)
        for epoch in range(epochs):
            order = rng.permutation(len(chosen))
            total = 0.0
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                total += _step(optimizer, match, chosen[rows], images[rows], u[rows]) * len(rows)
            losses.append(total / len(order))
            if progress is not None:
                progress("adapting", epoch + 1, epochs)
    finally:
        module.train(training)
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)
            parameter.grad = None
    return Adapted(chosen, tuple(losses), sum(p.numel() for p in norms.values()))


def _step(optimizer: Any, match: Match, queries: np.ndarray, images: np.ndarray, u: np.ndarray) -> float:
    found = match(queries, images)
    if tuple(found.shape) != images.shape:
        raise InputError("match", f"expected scores of the shape {images.shape}, got {tuple(found.shape)}")
    loss = adaptation_loss(found, torch.as_tensor(u, dtype=found.dtype, device=found.device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _matrix(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != 2 or not scores.size:
        raise InputError("scores", f"expected (queries, images), got the shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise InputError("scores", "expected finite numbers, some are not")
    return scores


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    # Row by row: the whole order of a large gallery would not fit in memory.
    return np.array([np.argsort(-row, kind="stable")[:k] for row in scores], np.int64).reshape(
        len(scores), min(k, scores.shape[1])
    )


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())
