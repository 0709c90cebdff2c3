"""How facts and cross-encoder are added: two weights that make the right person likeliest among the held-out people."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize


def fit_sum(facts: np.ndarray, cross: np.ndarray) -> dict[str, float]:
    """Weights ≥ 0 of the stages ``facts`` and ``cross`` in their sum, by conditional logistic regression (McFadden 1974).

    Both are (N, N) scores: sentence i belongs to picture i, and all pictures are its candidates.
    """
    scores, own = np.stack([facts, cross]).astype(np.float64), np.arange(len(facts))

    def loss(weights: np.ndarray) -> float:
        total = np.tensordot(weights, scores, 1)
        total -= total.max(axis=1, keepdims=True)
        return float((np.log(np.exp(total).sum(axis=1)) - total[own, own]).mean())

    found = minimize(loss, np.array([1.0, 0.5]), bounds=[(0.0, 20.0)] * 2, method="L-BFGS-B")
    return {name: round(float(w), 4) for name, w in zip(("facts", "cross"), found.x, strict=True)}
