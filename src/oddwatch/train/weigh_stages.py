"""How facts and cross-encoder are added: two weights that make the right person likeliest among the held-out people."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize


def fit_sum(facts: np.ndarray, cross: np.ndarray) -> dict[str, float]:
    """Weights ≥ 0 of the stages ``facts`` and ``cross`` in their sum, by conditional logistic regression (McFadden 1974).

    Both are (N, N) scores: sentence i belongs to picture i, and all pictures are its candidates.
    """
    scores = np.stack([facts, cross]).astype(np.float64)
    found = minimize(
        lambda weights: surprise(np.tensordot(weights, scores, 1)),
        np.array([1.0, 0.5]),
        bounds=[(0.0, 20.0)] * 2,
        method="L-BFGS-B",
    )
    return {name: round(float(w), 4) for name, w in zip(("facts", "cross"), found.x, strict=True)}


def surprise(scores: np.ndarray) -> float:
    """Mean negative log likelihood, in nats, of picture i for sentence i under the softmax of its (N, N) scores."""
    total = scores - scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(total).sum(axis=1)) - np.diagonal(total)).mean())
