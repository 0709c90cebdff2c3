"""Where a list of hits ends: a cut relative to its best score.

One fixed threshold fits neither all queries nor all models; a share of the best score moves with both (search §9,
points 6 and 7).
"""

from __future__ import annotations

import numpy as np

from oddwatch.core import InputError


def relative_cut(scores: np.ndarray, r: float) -> np.ndarray:
    """(N,) bool: which of ``scores`` (N,), in any order, reach ``r`` (0–1) times the best of them.

    Meant for scores with a meaningful zero, such as probabilities. The best is always kept, and of several equal ones
    all, even where it is negative and no share of it can be reached; unknown scores (NaN) are dropped, unless all are
    unknown: then the first is kept. Only the scores given count, so cutting a longer list of the same search keeps
    the same hits, and a larger gallery without a better hit changes nothing. No scores give an empty mask.

    Raises:
        InputError: ``r`` outside 0–1, or scores of another shape.
    """
    if not 0 <= r <= 1:
        raise InputError("r", f"expected a share of the best score between 0 and 1, got {r}")
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError("scores", f"expected one number per hit, got shape {values.shape}")
    if not values.size:
        return np.zeros(0, dtype=bool)
    values = np.where(np.isnan(values), -np.inf, values)
    best = float(values.max())
    if best == -np.inf:
        return np.arange(values.size) == 0
    # An infinite best times 0 is no number; no finite score is a share of it.
    least = best if best < 0 or np.isinf(best) else r * best
    out: np.ndarray = values >= least
    return out
