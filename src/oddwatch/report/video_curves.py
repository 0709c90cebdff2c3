"""An anomaly curve as a page can draw it: few enough points, every peak kept, one height for one value in every clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddwatch.core import Curve
from oddwatch.report.detect import Axis
from oddwatch.report.wording import clock
from oddwatch.scoring.spans import holds_until

POINTS, LANE_POINTS, LANES = 1500, 500, 6
"""At most so many points a curve, points a cue, and cues shown (those with the highest peaks)."""
_STEPS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
)
_TICKS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A curve in at most so many stretches of neighbouring samples: each starts at ``times`` (n,) s and has the largest
    ``values`` (n,) of its samples; so do the ``cues``. ``ends`` (n,) s: until when each holds; ``whole`` where no samples
    were joined."""

    times: np.ndarray
    ends: np.ndarray
    values: np.ndarray
    cues: Mapping[str, np.ndarray]
    whole: bool

    def data(self, cues: Sequence[str]) -> dict[str, Any]:
        """What the page's script needs: 4 digits are enough to draw, and twice that to cut at the right sample."""
        steps, gaps = np.diff(self.times), np.flatnonzero(self.times[1:] - self.ends[:-1] > 1e-6)
        even = bool(steps.size) and bool(np.allclose(steps, steps[0], atol=1e-6))
        times: Any = [round(t, 4) for t in self.times.tolist()]
        if even:
            times = {"from": float(self.times[0]), "step": float(steps.mean()), "n": self.times.size}
        return {
            "t": times,
            "holes": {str(i): round(float(self.ends[i]), 4) for i in gaps.tolist()},
            "end": float(self.ends[-1]) if self.ends.size else 0.0,
            "v": [float(f"{v:.8g}") for v in self.values.tolist()],
            "cues": [[float(f"{v:.4g}") for v in self.cues[name].tolist()] for name in cues],
        }


def drawn(curve: Curve, points: int = POINTS, longest: float | None = None) -> Drawn:
    """``curve`` in at most ``points`` stretches of equally many samples (the last may have fewer), of which none holds longer
    than ``longest`` seconds. No peak is lost: a stretch has the largest value of its samples. Cues that are not finite count
    as their smallest finite value."""
    n = curve.times.size
    each = max(-(-n // max(points, 1)), 1)
    first = np.arange(0, n, each)
    ends = holds_until(curve.times, longest)
    last = np.minimum(first + each, n) - 1

    def most(values: np.ndarray) -> np.ndarray:
        known = np.asarray(values, np.float64)
        fine = np.isfinite(known)
        if not fine.all():
            known = np.where(fine, known, known[fine].min() if fine.any() else 0.0)
        return np.maximum.reduceat(known, first) if n else known

    cues = {name: most(values) for name, values in curve.cues.items()}
    return Drawn(curve.times[first], ends[last], most(curve.values), cues, each == 1)


def axis_over(values: Sequence[np.ndarray], threshold: float) -> Axis:
    """One height for one value in every clip: about linear up to the threshold, logarithmic far above it. What is usual is
    what nine tenths of the samples exceed; where that reaches the threshold (all of it is anomalous) a step below it."""
    joined = np.concatenate([np.asarray(v, np.float64) for v in values] + [np.array([threshold])])
    usual = float(np.quantile(joined, 0.1))
    spread = float(np.ptp(joined))
    if threshold - usual < 0.02 * spread:
        usual = threshold - 0.25 * spread
    return Axis.over(joined, usual, threshold)


def lanes_of(curves: Sequence[Drawn]) -> list[str]:
    """The cues worth a lane, in the detector's order: none where one cue is the whole curve, else the :data:`LANES` with the
    highest peaks."""
    peaks: dict[str, float] = {}
    for one in curves:
        for name, values in one.cues.items():
            if values.size:
                peaks[name] = max(peaks.get(name, -np.inf), float(values.max()))
    if len(peaks) < 2:
        return []
    kept = set(sorted(peaks, key=lambda name: -peaks[name])[:LANES])
    return [name for name in peaks if name in kept]


def outline(times: np.ndarray, ends: np.ndarray, values: np.ndarray, axis: Axis, seconds: float) -> str:
    """A step line as an SVG path in a field of 1000 × 1000 that is ``seconds`` wide: each of ``values`` (n,) holds from its
    time to its end. It starts and ends on the floor, so that it can be filled, and lies there where nothing is known."""
    starts, stops = ([_short(1000 * t / seconds) for t in where.tolist()] for where in (times, ends))
    heights = [f"{1000 - axis.at(v):.0f}" for v in values.tolist()]
    parts, stop, before = [], "", ""
    for start, end, height in zip(starts, stops, heights, strict=True):
        if start != stop:
            parts.append(f"H{stop}V1000H{start}V{height}" if stop else f"M{start} 1000V{height}")
        elif height != before:
            parts.append(f"H{start}V{height}")
        stop, before = end, height
    return "".join(parts) + (f"H{stop}V1000" if stop else "")


def _short(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")


def coarser(
    times: np.ndarray, ends: np.ndarray, values: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends and largest values of at most ``points`` stretches of a curve (n,)."""
    each = max(-(-times.size // points), 1)
    first = np.arange(0, times.size, each)
    most = np.maximum.reduceat(values, first) if times.size else values
    return times[first], ends[np.minimum(first + each, times.size) - 1], most


def ticks(seconds: float) -> list[tuple[float, str]]:
    """Round moments along a clip of so many ``seconds``: place in percent, and clock time; at most seven."""
    step = next((s for s in _STEPS if seconds / s <= _TICKS), 86400 * (1 + seconds // (86400 * _TICKS)))
    count = int(seconds / step + 1e-9)
    return [
        (round(100 * i * step / seconds, 3), moment(i * step) if step < 1 else clock(i * step))
        for i in range(count + 1)
        if i * step <= 0.97 * seconds
    ]


def moment(seconds: float) -> str:
    """A time with its tenths: ``mm:ss.t``, from an hour on ``h:mm:ss.t``."""
    tenths = max(round(10 * seconds), 0)
    return f"{clock(tenths // 10)}.{tenths % 10}"


def lasting(seconds: float) -> str:
    """A duration in words: 2.6 s, 1 min 12 s, 2 h 5 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole // 60 % 60} min" if whole // 60 % 60 else "")
