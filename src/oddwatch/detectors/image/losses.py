"""Losses of the trained heads: focal, dice, binary cross-entropy, cosine hinge ([torch] extra; torch is the tensors' own).

Each takes torch tensors and gives a scalar tensor. Probabilities are kept ``TINY`` away from 0 and 1, so that no
logarithm is infinite. Sources: focal arXiv 1708.02002 eq. 5; dice arXiv 1606.04797 with 1 added above and below, as the
CLIP prompt systems do (AnomalyCLIP); the cubed hinge CPR (arXiv 2308.06748).
"""

from __future__ import annotations

from typing import Any

TINY = 1e-6


def focal(p: Any, y: Any, *, alpha: float | tuple[float, float] | None = None, gamma: float = 2.0) -> Any:
    """Mean of −α (1 − p_t)^γ ln p_t over all elements.

    ``p`` are probabilities of the anomaly (any shape), ``y`` the truth (0 or 1, same shape); p_t is ``p`` where y is 1,
    else 1 − p. ``alpha`` weighs all alike, or as (normal, anomalous); None: 1.
    """
    p = p.clamp(TINY, 1 - TINY)
    true = p * y + (1 - p) * (1 - y)
    loss = -((1 - true) ** gamma) * true.log()
    if isinstance(alpha, tuple):
        loss = loss * (alpha[0] * (1 - y) + alpha[1] * y)
    elif alpha is not None:
        loss = loss * alpha
    return loss.mean()


def dice(p: Any, y: Any, *, smooth: float = 1.0) -> Any:
    """Mean over pictures of 1 − (2 Σpy + 1)/(Σp + Σy + 1); ``p`` probabilities and ``y`` truth, both (B, …)."""
    p, y = p.flatten(1), y.flatten(1)
    return (1 - (2 * (p * y).sum(1) + smooth) / (p.sum(1) + y.sum(1) + smooth)).mean()


def bce(p: Any, y: Any, weight: Any = None) -> Any:
    """Mean of −y ln p − (1 − y) ln(1 − p); ``weight`` (same shape, not all zero) makes it a weighted mean."""
    p = p.clamp(TINY, 1 - TINY)
    loss = -(y * p.log() + (1 - y) * (1 - p).log())
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum()


def cosine_hinge(cos: Any, margin: float, *, alike: bool, power: float = 3.0, weight: Any = None) -> Any:
    """Mean over the pairs that count of w·max(0, margin − cos)^power where they should be ``alike``, else of
    w·max(0, cos − margin)^power (CPR: margins 0.8 and −0.2).

    ``cos`` are cosines (any shape); pairs whose ``weight`` (same shape) is 0 do not count; 0 where none does.
    """
    gap = (margin - cos if alike else cos - margin).clamp(min=0) ** power
    if weight is None:
        return gap.mean()
    return (gap * weight).sum() / (weight > 0).sum().clamp(min=1)
