"""Ranking metrics for labels and scores: AUROC, AP, F1-max and their curves (metrics §0–1).

Rules that hold for every metric of images, pixels and severities in this room:

* A higher score is more anomalous; label 1 is anomalous; predicted means ``score >= threshold``.
* Equal scores enter in one step, so a tied pair counts one half in AUROC.
* What is undefined (one class only) is NaN and ``details["reason"]`` says why; NaN scores are refused,
  infinite ones are allowed, since only their order counts.
* A threshold chosen on the labels it is judged by is called ``oracle``.

Anomalies are few: only they are looked up, among the sorted scores of the normal items. So nothing here sorts
with an index, and all counts are exact integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from oddwatch.core import InputError


@dataclass(frozen=True, slots=True, eq=False)
class MetricResult:
    """A metric's name and value (0–1 where the metric says nothing else; NaN = undefined, with a ``reason``).

    ``details`` holds what else was found: thresholds used, counts, per-image values.
    """

    name: str
    value: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value

    @property
    def number(self) -> float | None:
        """The value, None where undefined: what a table row holds."""
        return None if math.isnan(self.value) else self.value

    @property
    def reason(self) -> str:
        """Why the value is undefined; empty where it is not."""
        return str(self.details.get("reason", ""))


def undefined(name: str, reason: str, **details: Any) -> MetricResult:
    """A result without a value."""
    return MetricResult(name, math.nan, {"reason": reason, **details})


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Cumulative counts at each distinct score, from the highest down; ``score >= thresholds[i]`` is predicted.

    ``tp`` (T,) float64 sums of positives' weights, ``fp`` (T,) counts of negatives.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray


def checked(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """``labels`` as (N,) bool and ``scores`` as (N,) float.

    Raises:
        InputError: other shapes, labels other than 0 and 1, a NaN score.
    """
    y, s = np.asarray(labels), np.asarray(scores)
    if y.ndim != 1 or y.shape != s.shape:
        raise InputError("scores", f"expected (N,) labels and scores, got {y.shape} and {s.shape}")
    if y.size and (y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all()):
        raise InputError("labels", "expected 0 (normal) and 1 (anomalous) only")
    return y.astype(bool), as_scores(s, "scores")


def as_scores(values: Any, name: str) -> np.ndarray:
    """``values`` as float32 or float64. Raises InputError for other kinds of values and for NaN."""
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise InputError(name, f"expected numbers, got {values.dtype}")
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    elif values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if values.size and np.isnan(values.min()):
        raise InputError(
            name, f"{int(np.isnan(values).sum())} NaN", "score what failed as unknown and leave it out"
        )
    return values


def sweep(labels: Any, scores: Any, weights: Any = None) -> Sweep:
    """Counts at every distinct score. ``weights`` (N,) count for positives; a negative counts 1."""
    y, s = checked(labels, scores)
    w = np.ones(y.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != y.shape:
        raise InputError("weights", f"expected shape {y.shape}, got {w.shape}")
    order = np.argsort(s)[::-1]
    s, y, w = s[order], y[order], w[order]
    last = np.flatnonzero(np.append(s[1:] != s[:-1], True)) if s.size else np.zeros(0, dtype=np.int64)
    return Sweep(s[last], np.cumsum(np.where(y, w, 0.0))[last], np.cumsum(~y)[last].astype(np.float64))


def roc_points(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False and true positive rates (T + 1,) from (0, 0) to (1, 1), and thresholds (the first is infinite).

    Raises InputError where one class is missing.
    """
    y, s = _both(labels, scores)
    swept = sweep(y, s)
    fpr, tpr = swept.fp / np.count_nonzero(~y), swept.tp / np.count_nonzero(y)
    return np.append(0.0, fpr), np.append(0.0, tpr), np.append(np.inf, swept.thresholds)


def pr_points(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall and precision (T + 1,) from (0, 1), where nothing is predicted, and thresholds.

    Raises InputError where one class is missing.
    """
    y, s = _both(labels, scores)
    swept = sweep(y, s)
    recall, precision = swept.tp / np.count_nonzero(y), swept.tp / (swept.tp + swept.fp)
    return np.append(0.0, recall), np.append(1.0, precision), np.append(np.inf, swept.thresholds)


def _both(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    y, s = checked(labels, scores)
    if y.all() or not y.any():
        raise InputError("labels", "expected normal and anomalous items, got one class only")
    return y, s


def auroc(labels: Any, scores: Any) -> MetricResult:
    """Chance that a random anomalous item scores above a random normal one, ties one half."""
    pos, neg = _split(labels, scores)
    if not pos.size or not neg.size:
        return _one_class("auroc", pos, neg)
    return MetricResult("auroc", pairs_in_order(neg, pos) / (pos.size * neg.size), _counts(pos, neg))


def average_precision(labels: Any, scores: Any) -> MetricResult:
    """AP as a step sum: precision at each distinct score times the recall gained there."""
    pos, neg = _split(labels, scores)
    if not pos.size or not neg.size:
        return _one_class("ap", pos, neg)
    return MetricResult("ap", step_precision(neg, np.sort(pos)), _counts(pos, neg))


def aupr_trapezoid(labels: Any, scores: Any) -> MetricResult:
    """Trapezoid area under the precision-recall curve from (0, 1): not AP, though papers call both AUPR."""
    pos, neg = _split(labels, scores)
    if not pos.size or not neg.size:
        return _one_class("aupr-trapezoid", pos, neg)
    recall, precision, _ = pr_points(labels, scores)
    return MetricResult("aupr-trapezoid", float(trapezoid(precision, recall)), _counts(pos, neg))


def f1_max(labels: Any, scores: Any) -> MetricResult:
    """The best F1 over all thresholds, and the (highest) threshold that reaches it: an oracle value."""
    pos, neg = _split(labels, scores)
    if not pos.size or not neg.size:
        return _one_class("f1-max", pos, neg)
    return best_f1(neg, np.sort(pos))


def _split(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    y, s = checked(labels, scores)
    return s[y], np.sort(s[~y])


def _one_class(name: str, pos: np.ndarray, neg: np.ndarray) -> MetricResult:
    missing = "anomalous" if not pos.size else "normal"
    return undefined(name, f"no {missing} item", **_counts(pos, neg))


def _counts(pos: np.ndarray, neg: np.ndarray) -> dict[str, Any]:
    return {"anomalous": int(pos.size), "normal": int(neg.size)}


def pairs_in_order(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """How many (anomalous, normal) pairs have the anomalous one above, ties one half: an exact multiple of ½.

    ``normal`` (N,) sorted ascending, ``anomalous`` (P,).
    """
    below = np.searchsorted(normal, anomalous, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(normal, anomalous, side="right").sum(dtype=np.int64)
    return float(below + not_above) / 2


def step_area(normal: np.ndarray, anomalous: np.ndarray, weights: np.ndarray, limit: float) -> float:
    """Area under the weighted ROC curve up to a false positive rate of ``limit``, divided by it.

    ``normal`` (N,) sorted ascending, ``anomalous`` (P,), ``weights`` (P,) that sum to 1. An anomalous item whose
    score is passed while the rate goes from ``a`` to ``b`` (``a < b`` only in a tie) adds its weight along a straight
    line there and stays: its share of the area has a closed form, and no curve is built.
    """
    a = (normal.size - np.searchsorted(normal, anomalous, side="right")) / normal.size
    b = (normal.size - np.searchsorted(normal, anomalous, side="left")) / normal.size
    share = np.maximum(limit - (a + b) / 2, 0.0)
    cut = (a < limit) & (limit < b)
    share[cut] = (limit - a[cut]) ** 2 / (2 * (b[cut] - a[cut]))
    share[a >= limit] = 0.0
    return float(np.clip(share @ weights / limit, 0.0, 1.0))


def step_precision(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """AP of ``normal`` (N,) and ``anomalous`` (P,) scores, both sorted ascending, at least one anomalous."""
    _, gained, tp, fp = _steps(normal, anomalous)
    return float(np.sum(gained * (tp / (tp + fp))) / anomalous.size)


def best_f1(normal: np.ndarray, anomalous: np.ndarray) -> MetricResult:
    """F1-max of scores sorted ascending. Only anomalous scores can be the best threshold."""
    thresholds, _, tp, fp = _steps(normal, anomalous)
    f1 = 2 * tp / (tp + fp + anomalous.size)
    best = int(np.argmax(f1[::-1]))
    at = f1.size - 1 - best
    details = {
        "threshold": float(thresholds[at]),
        "threshold_from": "oracle",
        "precision": float(tp[at] / (tp[at] + fp[at])),
        "recall": float(tp[at] / anomalous.size),
        **_counts(anomalous, normal),
    }
    return MetricResult("f1-max", float(f1[at]), details)


def _steps(
    normal: np.ndarray, anomalous: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct anomalous scores ascending, items at each, true and false positives at or above each."""
    first = np.flatnonzero(np.append(True, anomalous[1:] != anomalous[:-1]))
    thresholds, gained = anomalous[first], np.diff(np.append(first, anomalous.size))
    fp = normal.size - np.searchsorted(normal, thresholds, side="left")
    return thresholds, gained, anomalous.size - first, fp
