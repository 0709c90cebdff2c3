"""Thresholds of anomaly curves from normal footage, by how many false alarms an hour are borne."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from oddwatch.core import Curve, InputError
from oddwatch.scoring.calibration import threshold_by_alarms
from oddwatch.scoring.normal import Threshold

BLOCK = 5.0
"""Seconds of footage whose largest value counts as one draw; values closer than that are one event."""
TAIL = 0.8
"""Share of the blocks below the point from which the tail is taken to be exponential."""


def block_maxima(curves: Sequence[Curve], block: float = BLOCK) -> np.ndarray:
    """(n,) largest value in each stretch of ``block`` seconds of each curve; a shorter rest counts when it is the only one
    or at least half as long."""
    found: list[float] = []
    for curve in curves:
        if not curve.times.size:
            continue
        start, step = curve.times[0], _step(curve)
        whole = max(1, round((curve.times[-1] + step - start) / block))
        which = np.minimum(((curve.times - start) / block).astype(np.int64), whole - 1)
        tops = np.full(whole, -np.inf)
        np.maximum.at(tops, which, curve.values)
        found += tops[np.isfinite(tops)].tolist()
    return np.array(found)


def seconds_of(curves: Sequence[Curve]) -> float:
    """Seconds of footage behind curves; the last value of each holds as long as the others do."""
    return float(sum(c.times[-1] - c.times[0] + _step(c) for c in curves if c.times.size))


@dataclass(frozen=True, slots=True)
class Tail:
    """How rare large values of a curve are: ``start`` (u) is reached ``per_hour`` (λ) times an hour, and beyond it values fall
    off exponentially with ``scale`` (β), as peaks over a threshold do (Coles, An Introduction to Statistical Modeling of
    Extreme Values, 2001, §4.2, shape 0). ``scale`` is the mean of ``count`` excesses."""

    start: float
    scale: float
    per_hour: float
    count: int

    def cautious(self, sure: float = 0.8, least: float = 1 / math.log(10)) -> Tail:
        """With the largest scale that the excesses allow at the confidence ``sure``: 2nβ over the quantile 1 − sure of χ² with
        2n degrees of freedom. Without excesses it is ``least``."""
        if not self.count:
            return replace(self, scale=least)
        return replace(self, scale=2 * self.count * self.scale / float(chi2.ppf(1 - sure, 2 * self.count)))

    def level(self, per_hour: float) -> float:
        """The value reached ``per_hour`` times an hour: u + β · ln(λ / rate), u at least."""
        return self.start + self.scale * math.log(max(self.per_hour / per_hour, 1.0))

    def decades(self, values: np.ndarray) -> np.ndarray:
        """−log₁₀ of how often an hour ``values`` are reached: 0 is once an hour, 1 once in ten hours; ``scale`` above 0."""
        out: np.ndarray = (values - self.start) / (self.scale * math.log(10)) - math.log10(self.per_hour)
        return out


def tail(curves: Sequence[Curve], block: float = BLOCK) -> Tail:
    """The tail of the largest values of blocks of ``block`` seconds, above their ``TAIL`` quantile; a scale of 0 where no
    block lies above it. Raises InputError where there is no frame."""
    tops = block_maxima(curves, block)
    if not tops.size:
        raise InputError("normal footage", "expected at least one frame")
    start = float(np.quantile(tops, TAIL))
    excess = tops[tops > start] - start
    hours = max(seconds_of(curves) / 3600, 1e-9)
    scale = float(excess.mean()) if excess.size else 0.0
    return Tail(start, scale, max(excess.size, 1) / hours, int(excess.size))


def alarm_threshold(
    curves: Sequence[Curve], false_alarms_per_hour: float, *, rest: float = 60.0, block: float = BLOCK
) -> Threshold:
    """The value that normal footage reaches ``false_alarms_per_hour`` times an hour, from the ``curves`` of such footage.

    Where so many hours are there that at least one false alarm is allowed, alarms are counted (at most one in ``rest``
    seconds). Less footage cannot show so small a rate: it is then predicted from the :class:`Tail` of the largest values, and
    never below the largest of them.

    Raises:
        InputError: no normal footage, or a rate that is not above 0.
    """
    if not false_alarms_per_hour > 0:
        raise InputError(
            "false alarms", f"expected more than 0 an hour, got {false_alarms_per_hour}", "like 1 or 0.1"
        )
    tops = block_maxima(curves, block)
    if not tops.size:
        raise InputError("normal footage", "expected at least one frame")
    hours = seconds_of(curves) / 3600
    if hours * false_alarms_per_hour >= 1:
        joined = np.concatenate([np.append(block_maxima([c], 1.0), -np.inf) for c in curves])
        value = threshold_by_alarms(joined, 1.0, false_alarms_per_hour, rest)
        return Threshold(
            value,
            "counted",
            f"at most {false_alarms_per_hour:.3g} false alarms an hour in {_long(hours)} of normal footage",
        )
    level = tail(curves, block).level(false_alarms_per_hour)
    note = f"{_long(hours)} of normal footage are too few to count {false_alarms_per_hour:.3g} false alarms an hour: predicted from its largest values"
    return Threshold(max(level, float(np.nextafter(tops.max(), np.inf))), "predicted", note)


def _step(curve: Curve) -> float:
    steps = np.diff(curve.times)
    return float(np.median(steps)) if steps.size else 0.0


def _long(hours: float) -> str:
    minutes = 60 * hours
    return (
        f"{hours:.1f} hours"
        if hours >= 2
        else f"{minutes:.0f} minutes"
        if minutes >= 2
        else f"{60 * minutes:.0f} seconds"
    )
