"""Frame metrics of video: AUROC and AP over all frames (micro), per video (macro), of anomalous videos only, and the equal
error rate (metrics §13, video-trained §2.1).

Labels and scores come video by video: two sequences of (n,) arrays, one pair per video, labels 0 and 1. Nothing is
smoothed or rescaled here: that belongs to the detector. What is undefined is NaN and ``reason`` says why, as everywhere in
:mod:`oddwatch.metrics.ranking`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from oddwatch.core import InputError
from oddwatch.metrics.ranking import (
    MetricResult,
    aupr_trapezoid,
    auroc,
    average_precision,
    checked,
    roc_points,
    undefined,
)

Variant = Literal["skip", "augmented"]
Videos = Sequence[Any]


def paired(
    labels: Videos, scores: Videos, names: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each video's labels (n,) bool and scores (n,) float64.

    Raises:
        InputError: names the video whose labels and scores differ in length, or are no labels and scores.
    """
    if len(labels) != len(scores):
        raise InputError("scores", f"expected one array per video ({len(labels)}), got {len(scores)}")
    if names is not None and len(names) != len(labels):
        raise InputError("names", f"expected one per video ({len(labels)}), got {len(names)}")
    out = []
    for i, (y, s) in enumerate(zip(labels, scores, strict=True)):
        name = f"video {i}" if names is None else f"video {names[i]}"
        y, s = np.asarray(y), np.asarray(s)
        if y.ndim != 1 or s.ndim != 1:
            raise InputError(name, f"expected (n,) labels and scores, got shapes {y.shape} and {s.shape}")
        if y.size != s.size:
            found = f"expected a score for each of {y.size} labelled frames, got {s.size}"
            raise InputError(name, found, "expand segment scores to frames and hold the last one")
        try:
            y, s = checked(y, s)
        except InputError as error:
            raise InputError(f"{name}, {error.subject}", error.problem, error.remedy) from error
        out.append((y, s.astype(np.float64)))
    return out


def micro_auroc(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> MetricResult:
    """AUROC of the frames of all videos together: one ROC. What most tables report as frame AUC."""
    return _micro("micro_auroc", auroc, paired(labels, scores, names))


def micro_ap(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> MetricResult:
    """Average precision (step rule) of the frames of all videos together."""
    return _micro("micro_ap", average_precision, paired(labels, scores, names))


def micro_aupr_trapezoid(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> MetricResult:
    """Trapezoid area under the precision–recall curve of all frames: what RTFM, UR-DMU, LAVAD and VERA print as AP.

    On coarse scores it is too high: constant scores of balanced labels have 0.75, their average precision is 0.5.
    """
    return _micro("micro_aupr_trapezoid", aupr_trapezoid, paired(labels, scores, names))


def anomalous_auroc(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> MetricResult:
    """Micro AUROC of the videos that have an anomalous frame (AnoAUC, AUC_A): much harder, and tells more."""
    return _micro("anomalous_auroc", auroc, _anomalous(paired(labels, scores, names)))


def anomalous_ap(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> MetricResult:
    """Micro average precision of the videos that have an anomalous frame (AP_A)."""
    return _micro("anomalous_ap", average_precision, _anomalous(paired(labels, scores, names)))


def macro_auroc(
    labels: Videos, scores: Videos, names: Sequence[str] | None = None, variant: Variant = "skip"
) -> MetricResult:
    """AUROC of each video, averaged over videos.

    ``skip`` leaves out videos with frames of one kind only, and counts them. ``augmented`` first adds a normal frame of
    score 0 and an anomalous frame of the largest score there is to **every** video, as AI-VAD and its relatives do: a wholly
    normal video then has 1, short videos gain much, and negative scores lose. Use it only to compare with such numbers.

    ``details``: ``per_video`` (None where skipped), ``skipped``, ``variant``.
    """
    if variant not in ("skip", "augmented"):
        raise InputError("variant", f"expected skip or augmented, got {variant!r}")
    values: list[float | None] = []
    for y, s in paired(labels, scores, names):
        if variant == "augmented":
            y = np.concatenate(([False], y, [True]))
            s = np.concatenate(([0.0], s, [np.finfo(np.float64).max]))
        values.append(auroc(y, s).number)
    known = [v for v in values if v is not None]
    details = {"per_video": values, "skipped": len(values) - len(known), "variant": variant}
    if not known:
        reason = f"none of {len(values)} videos has normal and anomalous frames"
        return undefined("macro_auroc", reason, **details)
    return MetricResult("macro_auroc", sum(known) / len(known), details)


def equal_error_rate(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> MetricResult:
    """The error rate of all frames together where as large a share of normal frames is flagged as of anomalous frames
    missed; straight lines between the points of the ROC. Lower is better.

    ``details``: ``threshold`` (the next one at which no more than that share is missed), found on the test labels: an
    oracle.
    """
    y, s = _joined(paired(labels, scores, names))
    if y.all() or not y.any():
        return undefined("eer", f"no {'normal' if y.size and y.all() else 'anomalous'} frame")
    fpr, tpr, thresholds = roc_points(y, s)
    gap = fpr + tpr - 1
    # It starts at −1 and ends at 1, so neither the search nor the step below can leave the curve.
    at = int(np.argmax(gap >= 0))
    share = -gap[at - 1] / (gap[at] - gap[at - 1])
    value = float(fpr[at - 1] + share * (fpr[at] - fpr[at - 1]))
    return MetricResult("eer", value, {"threshold": float(thresholds[at]), "threshold_from": "oracle"})


def roc_area(fpr: Any, tpr: Any) -> MetricResult:
    """Trapezoid area under a ROC curve given by its points (T,), such as a published one, from (0, 0) to (1, 1).

    Raises:
        InputError: points that are no such curve: rates that fall or leave 0–1, or an end that is missing.
    """
    x, y = np.asarray(fpr, np.float64), np.asarray(tpr, np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size < 2:
        raise InputError("curve", f"expected two (T,) arrays of rates, got shapes {x.shape} and {y.shape}")
    rising = (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    if not rising or not np.allclose((x[0], y[0], x[-1], y[-1]), (0, 0, 1, 1), atol=1e-6):
        raise InputError("curve", "expected rates that rise from (0, 0) to (1, 1)", "add the missing end")
    return MetricResult("roc_area", float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) / 2))


def all_frames(labels: Videos, scores: Videos, names: Sequence[str] | None = None) -> dict[str, MetricResult]:
    """Every metric of this file by name, the augmented macro AUROC among them."""
    known = {
        f.__name__: f(labels, scores, names)
        for f in (micro_auroc, macro_auroc, micro_ap, micro_aupr_trapezoid, anomalous_auroc, anomalous_ap)
    }
    known["macro_auroc_augmented"] = macro_auroc(labels, scores, names, variant="augmented")
    known["eer"] = equal_error_rate(labels, scores, names)
    return known


def _joined(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if not pairs:
        return np.zeros(0, bool), np.zeros(0)
    return np.concatenate([y for y, _ in pairs]), np.concatenate([s for _, s in pairs])


def _micro(name: str, metric: Any, pairs: list[tuple[np.ndarray, np.ndarray]]) -> MetricResult:
    found = metric(*_joined(pairs))
    return replace(found, name=name, details={**found.details, "videos": len(pairs)})


def _anomalous(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(y, s) for y, s in pairs if y.any()]
