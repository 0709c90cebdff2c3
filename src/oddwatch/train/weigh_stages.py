"""How facts and cross-encoder are added: two weights that make the right person likeliest among the held-out people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from oddwatch.core import InputError
from oddwatch.describe import match as matching
from oddwatch.describe.sentence import parse
from oddwatch.search.cross import CrossModel, Looks
from oddwatch.train.pairs import Pairs


def fit_sum(
    model: CrossModel,
    check: Pairs,
    tokens: Sequence[np.ndarray],
    texts: Sequence[str],
    own: np.ndarray,
    encoder: Any,
) -> dict[str, float]:
    """Weights of the stages ``facts`` and ``cross`` in their sum, each ≥ 0, by conditional logistic regression (McFadden 1974).

    Sentence i (``texts``, frozen ``tokens``) belongs to picture ``own[i]`` of ``check``; all pictures are its candidates. A
    sentence that the parser cannot read, or that names nothing to be seen, is left out; empty without any.
    """
    seen = model.looks(Looks(check.tokens, check.geometry, check.p, check.known))
    facts, cross, right = [], [], []
    for text, vectors, picture in zip(texts, tokens, own.tolist(), strict=True):
        try:
            query = parse(text, encoder)
        except InputError:
            continue
        if matching.visible_slots(query):
            facts.append(matching.scores(query, check.p, check.known))
            cross.append(model.match(model.text(vectors.astype(np.float32))[0], seen))
            right.append(picture)
    if not right:
        return {}
    scores, at = np.stack([np.array(facts), np.array(cross)]), np.arange(len(right))

    def loss(weights: np.ndarray) -> float:
        total = np.tensordot(weights, scores, 1)
        total -= total.max(axis=1, keepdims=True)
        return float((np.log(np.exp(total).sum(axis=1)) - total[at, right]).mean())

    found = minimize(loss, np.array([1.0, 0.5]), bounds=[(0.0, 20.0)] * 2, method="L-BFGS-B")
    return {name: round(float(w), 4) for name, w in zip(("facts", "cross"), found.x, strict=True)}
