"""Raw scores to probabilities, and thresholds by how often they may be wrong.

Calibrators need scores with labels; a threshold needs only scores of what is normal. Nothing here
assumes a scale: scores are numbers where higher means more of what is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from oddwatch.core import InputError

STATE_VERSION = 1


def _labelled(scores: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Finite scores with their 0/1 labels; unknown (NaN) scores are left out."""
    scores = np.asarray(scores, dtype=np.float64)
    if labels is None:
        raise InputError("labels", "expected a 0/1 label for each score", "calibration needs labelled scores")
    labels = np.asarray(labels).astype(np.float64)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError("labels", f"expected shape {scores.shape}, got {labels.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("labels", "expected only 0 and 1")
    kept = np.isfinite(scores)
    scores, labels = scores[kept], labels[kept]
    if not 0 < labels.sum() < labels.size:
        raise InputError(
            "labels", "expected both classes", f"got {int(labels.sum())} of {labels.size} positive"
        )
    return scores, labels


def _normal(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64).ravel()
    scores = np.sort(scores[~np.isnan(scores)])
    if not scores.size:
        raise InputError("normal scores", "expected at least one score")
    return scores


def threshold_by_rate(normal: np.ndarray, rate: float) -> float:
    """The lowest threshold that at most a share ``rate`` (0–1) of ``normal`` scores (N,) reaches.

    A score raises an alarm when it is **≥** the threshold. With fewer than 1 / ``rate`` normal scores the
    threshold is just above the largest of them: a smaller rate cannot be told from so little.
    """
    if not 0 <= rate <= 1:
        raise InputError("rate", f"expected a share between 0 and 1, got {rate}")
    ordered = _normal(normal)
    allowed = int(np.floor(rate * ordered.size + 1e-9))
    if allowed >= ordered.size:
        return float(ordered[0])
    return float(np.nextafter(ordered[ordered.size - 1 - allowed], np.inf))


def threshold_by_alarms(
    normal: np.ndarray, seconds_per_score: float, false_alarms_per_hour: float, rest: float = 60.0
) -> float:
    """The lowest threshold that gives at most ``false_alarms_per_hour`` on normal footage.

    ``normal`` (N,) are scores of consecutive stretches of ``seconds_per_score`` seconds. After an alarm
    none is raised for ``rest`` seconds, so a burst is one alarm and a stretch that stays high alarms again.
    """
    if seconds_per_score <= 0 or false_alarms_per_hour < 0 or rest < 0:
        raise InputError("threshold", "expected positive seconds_per_score, alarms and rest of 0 or more")
    values = np.nan_to_num(np.asarray(normal, dtype=np.float64).ravel(), nan=-np.inf)
    steps = np.unique(_normal(values))
    allowed = false_alarms_per_hour * values.size * seconds_per_score / 3600
    apart = max(1, int(np.ceil(rest / seconds_per_score - 1e-9)))
    # lowering the threshold never removes an alarm, so the count can be bisected
    low, high = 0, steps.size
    while low < high:
        middle = (low + high) // 2
        if _alarms(values >= steps[middle], apart) <= allowed:
            high = middle
        else:
            low = middle + 1
    return float(steps[low]) if low < steps.size else float(np.nextafter(steps[-1], np.inf))


def _alarms(above: np.ndarray, apart: int) -> int:
    count, ready = 0, 0
    for at in np.flatnonzero(above).tolist():
        if at >= ready:
            count, ready = count + 1, at + apart
    return count


class _WithThreshold:
    """Keeps what is needed to choose a threshold later, and change it."""

    def __init__(self) -> None:
        self._normal: np.ndarray | None = None
        self._seconds = 1.0

    def watch_normal(self, scores: np.ndarray, seconds_per_score: float = 1.0) -> Self:
        """Remember scores (N,) of normal data, ``seconds_per_score`` seconds each."""
        self._normal, self._seconds = np.asarray(scores, dtype=np.float64).ravel(), float(seconds_per_score)
        _normal(self._normal)
        return self

    def threshold(self, *, false_alarms_per_hour: float | None = None, rate: float | None = None) -> float:
        """The raw score from which to raise an alarm; exactly one of the two is given.

        Raises InputError before any normal score was seen.
        """
        if self._normal is None:
            raise InputError("threshold", "no normal scores yet", "call fit or watch_normal first")
        if (rate is None) == (false_alarms_per_hour is None):
            raise InputError("threshold", "expected exactly one of rate and false_alarms_per_hour")
        if rate is not None:
            return threshold_by_rate(self._normal, rate)
        assert false_alarms_per_hour is not None
        return threshold_by_alarms(self._normal, self._seconds, false_alarms_per_hour)


class LogisticCalibrator(_WithThreshold):
    """p = 1 / (1 + exp(−(a·s + b))), fitted by maximum likelihood with Platt's softened targets.

    Platt 1999; the Newton iteration with step halving is the one of Lin, Lin and Weng 2007.
    """

    kind = "logistic"

    def __init__(self, a: float = 1.0, b: float = 0.0) -> None:
        super().__init__()
        self.a, self.b = float(a), float(b)

    def fit(self, scores: np.ndarray, labels: np.ndarray | None = None) -> Self:
        """Fit on scores (N,) and 0/1 labels (N,). The scores labelled 0 become the normal ones."""
        s, y = _labelled(scores, labels)
        positive = y.sum()
        target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (y.size - positive + 2))
        center, width = float(s.mean()), float(s.std()) or 1.0
        a, b = _newton((s - center) / width, target, float(np.log((positive + 1) / (y.size - positive + 1))))
        self.a, self.b = a / width, b - a * center / width
        self.watch_normal(s[y == 0])
        return self

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities (N,) of scores (N,); unknown scores stay NaN."""
        z = np.asarray(self.a * np.asarray(scores, dtype=np.float64) + self.b)
        p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
        return np.asarray(p, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """State that ``json.dumps`` takes."""
        return {"version": STATE_VERSION, "kind": self.kind, "a": self.a, "b": self.b}


def _newton(s: np.ndarray, target: np.ndarray, start: float) -> tuple[float, float]:
    def loss(w: np.ndarray) -> float:
        z = s * w[0] + w[1]
        return float((np.logaddexp(0, z) - target * z).sum())

    w, design = np.array([0.0, start]), np.stack([s, np.ones_like(s)])
    for _ in range(100):
        p = np.exp(-np.logaddexp(0, -(s * w[0] + w[1])))
        gradient = design @ (p - target)
        if np.abs(gradient).max() < 1e-8 * s.size:
            break
        hessian = (design * (p * (1 - p))) @ design.T + 1e-9 * np.eye(2)
        step, size, before = np.linalg.solve(hessian, gradient), 1.0, loss(w)
        while size > 1e-10 and loss(w - size * step) > before - 1e-4 * size * float(gradient @ step):
            size /= 2
        if size <= 1e-10:
            break
        w = w - size * step
    return float(w[0]), float(w[1])


class IsotonicCalibrator(_WithThreshold):
    """The rising step function of the score nearest to the labels, linear between the steps.

    Pool adjacent violators (Ayer et al. 1955; Zadrozny and Elkan 2002). Needs some hundred labels;
    outside the scores seen it stays at the end values, which are kept off 0 and 1 by one imagined label.
    """

    kind = "isotonic"

    def __init__(self, knots: np.ndarray | None = None, values: np.ndarray | None = None) -> None:
        super().__init__()
        self.knots = np.zeros(1) if knots is None else np.asarray(knots, dtype=np.float64)
        self.values = np.full(1, 0.5) if values is None else np.asarray(values, dtype=np.float64)
        if self.knots.shape != self.values.shape or not self.knots.size or (np.diff(self.knots) < 0).any():
            raise InputError("knots", "expected rising knots with one value each")

    def fit(self, scores: np.ndarray, labels: np.ndarray | None = None) -> Self:
        """Fit on scores (N,) and 0/1 labels (N,). The scores labelled 0 become the normal ones."""
        s, y = _labelled(scores, labels)
        unique, code = np.unique(s, return_inverse=True)
        count = np.bincount(code).astype(np.float64)
        blocks: list[list[float]] = []
        sums = np.bincount(code, weights=y)
        for low, total, n in zip(unique.tolist(), sums.tolist(), count.tolist(), strict=True):
            blocks.append([low, low, total, n])
            while len(blocks) > 1 and blocks[-2][2] * blocks[-1][3] >= blocks[-1][2] * blocks[-2][3]:
                last = blocks.pop()
                blocks[-1] = [blocks[-1][0], last[1], blocks[-1][2] + last[2], blocks[-1][3] + last[3]]
        rate = y.mean()
        fitted = [(total + rate) / (n + 1) if total in (0, n) else total / n for _, _, total, n in blocks]
        steps = np.maximum.accumulate(np.array(fitted))
        self.knots = np.array([edge for block in blocks for edge in block[:2]])
        self.values = np.repeat(steps, 2)
        self.watch_normal(s[y == 0])
        return self

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities (N,) of scores (N,); unknown scores stay NaN."""
        p = np.interp(np.asarray(scores, dtype=np.float64), self.knots, self.values)
        return np.asarray(p, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """State that ``json.dumps`` takes."""
        knots, values = self.knots.tolist(), self.values.tolist()
        return {"version": STATE_VERSION, "kind": self.kind, "knots": knots, "values": values}


def from_json(state: Mapping[str, Any]) -> LogisticCalibrator | IsotonicCalibrator:
    """The calibrator that ``to_json`` described; its normal scores are not part of the state.

    Raises InputError for a state of another kind or version, or numbers that do not fit.
    """
    if state.get("version") != STATE_VERSION:
        raise InputError("calibrator", f"expected version {STATE_VERSION}, got {state.get('version')!r}")
    try:
        if state.get("kind") == "logistic":
            a, b = float(state["a"]), float(state["b"])
            if not (np.isfinite(a) and np.isfinite(b)):
                raise InputError("calibrator", "expected finite numbers")
            return LogisticCalibrator(a, b)
        if state.get("kind") == "isotonic":
            knots, values = np.asarray(state["knots"], float), np.asarray(state["values"], float)
            if not (np.isfinite(knots).all() and (values >= 0).all() and (values <= 1).all()):
                raise InputError("calibrator", "expected finite knots and probabilities")
            return IsotonicCalibrator(knots, values)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("calibrator", f"state does not fit: {error}") from error
    raise InputError("calibrator", f"unknown kind {state.get('kind')!r}", "logistic or isotonic")


def expected_calibration_error(probability: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean gap between stated probability and observed share over ``bins`` equal-count bins, 0–1."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(labels).astype(np.float64)
    if p.shape != y.shape or p.ndim != 1 or not p.size:
        raise InputError("labels", f"expected equal (N,) arrays, got {p.shape} and {y.shape}")
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, p.size))
    return float(sum(part.size * abs(p[part].mean() - y[part].mean()) for part in parts) / p.size)
