"""Severity metrics of MAD-Bench (arXiv 2411.14515): do scores rise with how bad an item is?

Test items carry a severity 0, 1, 2, … (0 = normal; half levels are rounded up). AUROC of level 0 against each
level and against all tells whether anomalies are found, C-index and Kendall's tau-b whether they are put in order.
Many normal items dominate both, so they are also given for the anomalous items alone. All are 0–1 but tau-b,
which is −1 to 1; the benchmark prints them times 100. Only the order of scores counts: any strictly rising
transform changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from oddwatch.core import InputError
from oddwatch.metrics.ranking import MetricResult, as_scores, auroc, pairs_in_order, undefined


def severity_levels(severity: Any) -> np.ndarray:
    """Severities (N,) as integers, halves rounded up. Raises InputError for negative or unknown ones."""
    values = np.asarray(severity)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise InputError("severity", f"expected (N,) numbers, got {values.dtype} of shape {values.shape}")
    levels = np.ceil(values.astype(np.float64))
    if not np.isfinite(levels).all() or (levels < 0).any():
        raise InputError("severity", "expected 0 (normal) or more", "leave out items of unknown severity")
    return levels.astype(np.int64)


def c_index(severity: Any, scores: Any) -> MetricResult:
    """Share of pairs of different severity that the scores put in the same order; a tied score counts one half."""
    levels, s = _checked(severity, scores)
    below: list[np.ndarray] = []
    ordered, pairs = 0.0, 0
    for level in np.unique(levels):
        own = s[levels == level]
        lower = np.sort(np.concatenate(below)) if below else s[:0]
        ordered += pairs_in_order(lower, own)
        pairs += own.size * lower.size
        below.append(own)
    if not pairs:
        return undefined("c-index", "all items have the same severity", pairs=0)
    return MetricResult("c-index", ordered / pairs, {"pairs": pairs})


def kendall_tau_b(severity: Any, scores: Any) -> MetricResult:
    """Kendall's tau-b of severity and score, −1 to 1; undefined where one of them is constant."""
    levels, s = _checked(severity, scores)
    if np.unique(levels).size < 2:
        return undefined("tau-b", "all items have the same severity")
    if np.unique(s).size < 2:
        return undefined("tau-b", "all items have the same score")
    ranks = np.unique(s, return_inverse=True)[1]  # infinite scores are only ranks here
    return MetricResult("tau-b", float(stats.kendalltau(levels, ranks, variant="b").statistic))


def severity_metrics(severity: Any, scores: Any) -> dict[str, MetricResult]:
    """All of MAD-Bench for one subset.

    ``auroc_0v1`` … one per level present, ``auroc_0vall``, ``tau_b``, ``c_index``, and ``tau_b_anomalous``,
    ``c_index_anomalous`` without the normal items. Raises InputError for shapes that differ and NaN scores.
    """
    levels, s = _checked(severity, scores)
    found = {}
    for level in np.unique(levels[levels > 0]).tolist():
        kept = (levels == 0) | (levels == level)
        found[f"auroc_0v{level}"] = auroc(levels[kept] > 0, s[kept])
    bad = levels > 0
    found["auroc_0vall"] = auroc(bad, s)
    found["tau_b"], found["c_index"] = kendall_tau_b(levels, s), c_index(levels, s)
    found["tau_b_anomalous"] = kendall_tau_b(levels[bad], s[bad])
    found["c_index_anomalous"] = c_index(levels[bad], s[bad])
    return found


def _checked(severity: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    levels, s = severity_levels(severity), as_scores(scores, "scores")
    if levels.shape != s.shape:
        raise InputError("scores", f"expected one per severity {levels.shape}, got {s.shape}")
    return levels, s
