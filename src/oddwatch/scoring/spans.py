"""When: from an anomaly curve to segments with a start, an end, a peak and a score, and which of overlapping ones to keep.

A sample's value holds from its time to the next sample's. Segments are half-open, in seconds; a sample is in when it is
**≥** the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddwatch.core import InputError, Jsonable, Span


@dataclass(frozen=True, slots=True)
class Segment(Jsonable):
    """``[start, end)`` in seconds, the time of the highest value, that value (or what a rule made of it), and a label."""

    start: float
    end: float
    peak: float
    score: float
    label: str = ""

    def __post_init__(self) -> None:
        Span(self.start, self.end)

    @property
    def span(self) -> Span:
        """``[start, end)``."""
        return Span(self.start, self.end)


def localise(
    times: Any,
    values: Any,
    threshold: float,
    *,
    low: float | None = None,
    minimum: float = 0.0,
    merge: float = 0.0,
    longest: float | None = None,
    label: str = "",
) -> list[Segment]:
    """The stretches where a curve (N,) at ascending ``times`` (N,) is anomalous, in order of time.

    A stretch reaches as far as the values are ≥ ``low`` (by default ``threshold``) and counts when one of them is ≥
    ``threshold`` (hysteresis). Stretches that count and lie at most ``merge`` seconds apart become one; what is then
    shorter than ``minimum`` seconds is dropped. The peak is the first highest value.

    The last sample holds as long as samples usually do (the median step; 0 s of a single one). ``longest`` is the most
    seconds that any sample holds, for times with holes in them: a lost connection is neither normal nor anomalous.

    Raises:
        InputError: times that do not ascend, values that are not finite, ``low`` above ``threshold``, lengths below 0.
    """
    t, v = _checked(times, values)
    low = threshold if low is None else low
    if low > threshold:
        raise InputError("low", f"expected at most the threshold {threshold:g}, got {low:g}")
    if minimum < 0 or merge < 0 or (longest is not None and longest < 0):
        raise InputError("seconds", "expected minimum, merge and longest of 0 or more")
    ends = holds_until(t, longest)
    found: list[tuple[int, int]] = []
    for first, last in _runs(v >= low, t, ends):
        if v[first : last + 1].max() < threshold:
            continue
        # Times with a fraction of a second are sums of floats: 0.3 − 0.2 is not 0.1.
        if found and t[first] - ends[found[-1][1]] <= merge + 1e-9:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    out = []
    for first, last in found:
        if ends[last] - t[first] >= minimum - 1e-9:
            top = first + int(np.argmax(v[first : last + 1]))
            out.append(Segment(float(t[first]), float(ends[last]), float(t[top]), float(v[top]), label))
    return out


def holds_until(times: Any, longest: float | None = None) -> np.ndarray:
    """(N,) the time until which each of the samples at ascending ``times`` (N,) holds; see :func:`localise`."""
    t = np.asarray(times, np.float64)
    if t.size < 2:
        return t.copy()
    steps = np.diff(t)
    ends = np.append(t[1:], t[-1] + np.median(steps))
    return ends if longest is None else np.minimum(ends, t + longest)


def _checked(times: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    t, v = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if t.ndim != 1 or t.shape != v.shape:
        raise InputError("values", f"expected one per time, got shapes {t.shape} and {v.shape}")
    if not (np.isfinite(t).all() and np.isfinite(v).all()) or (np.diff(t) < 0).any():
        raise InputError("curve", "expected finite values at ascending times", "fill unknown values first")
    return t, v


def _runs(inside: np.ndarray, times: np.ndarray, ends: np.ndarray) -> Iterable[tuple[int, int]]:
    """First and last sample of each run of ``inside``; a hole in the times ends a run."""
    if not inside.size:
        return ()
    joined = inside[1:] & inside[:-1] & (times[1:] - ends[:-1] <= 1e-9)
    starts = np.flatnonzero(inside & ~np.append(False, joined))
    lasts = np.flatnonzero(inside & ~np.append(joined, False))
    return zip(starts.tolist(), lasts.tolist(), strict=True)


def activation_threshold(values: Any, share: float = 0.6) -> float:
    """max − ``share`` · (max − min) of a curve with at least one value (VadCLIP's class activation)."""
    v = np.asarray(values, np.float64)
    if not v.size or not 0 <= share <= 1:
        raise InputError("activation", f"expected a value and a share of 0–1, got {v.size} and {share}")
    return float(v.max() - share * (v.max() - v.min()))


def activation(
    times: Any, values: Any, *, share: float = 0.6, least: int = 2, bonus: float = 0.7, label: str = ""
) -> list[Segment]:
    """The stretches of one class's curve by its own range (VadCLIP §4.4, released code).

    Runs of at least ``least`` samples ≥ :func:`activation_threshold`; score = the run's maximum + ``bonus`` · the mean of
    the ⌊N / 16⌋ (at least one) highest values of the whole curve. Every curve has such a stretch, a quiet one too: it says
    where, not whether. A flat curve says nothing and has none.
    """
    t, v = _checked(times, values)
    if not v.size or v.max() == v.min():
        return []
    ends, whole = holds_until(t), float(np.sort(v)[-max(v.size // 16, 1) :].mean())
    out = []
    for first, last in _runs(v >= activation_threshold(v, share), t, ends):
        if last - first + 1 >= least:
            top = first + int(np.argmax(v[first : last + 1]))
            score = float(v[top]) + bonus * whole
            out.append(Segment(float(t[first]), float(ends[last]), float(t[top]), score, label))
    return out


def suppress(segments: Sequence[Segment], overlap: float = 0.6) -> list[Segment]:
    """Temporal non-maximum suppression: the best first, without those that have a tIoU ≥ ``overlap`` (0–1) with a better one.

    Labels are not looked at: suppress per label where they matter. Of equal scores the earlier segment is better.
    """
    if not 0 < overlap <= 1:
        raise InputError("overlap", f"expected a tIoU above 0 and at most 1, got {overlap}")
    kept: list[Segment] = []
    for one in sorted(segments, key=lambda s: (-s.score, s.start, s.end)):
        if all(one.span.iou(other.span) < overlap for other in kept):
            kept.append(one)
    return kept
