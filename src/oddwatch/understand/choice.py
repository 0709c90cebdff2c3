"""Which moments of a clip a vision model is shown: CUVA's choice (Du et al., CVPR 2024), for six frames instead of a hundred.

A known moment is shown at five places of the seconds around it (relative positions 0.17, 0.33, 0.5, 0.67, 0.83, as their
first mode of resampling). Without one, the peaks of a detector's curve stand in for their importance curve of captions
and frames, each a little before and after; without a curve the frames are spread over the clip. Their choice is random in
what it replaces, this one is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.core import Curve, Span

LOOKS = 6
"""Frames shown in one question."""
AROUND = 2.5
"""Seconds before and after a moment that frames are taken from."""
POSITIONS = (0.17, 0.33, 0.5, 0.67, 0.83)
LEAST = 0.35
"""Share of the curve's highest value from which a local maximum is a peak."""
BESIDE = 0.5


def inside(span: Span) -> list[float]:
    """Five times of an important stretch."""
    return [span.start + f * span.duration for f in POSITIONS]


def peaks(values: np.ndarray, least: float = LEAST) -> list[int]:
    """Positions of the local maxima above ``least`` of (N,) values, in order; of a plateau its first."""
    found, n = [], len(values)
    i = 0
    while i < n:
        j = i
        while j + 1 < n and values[j + 1] == values[i]:
            j += 1
        rises = i == 0 or values[i - 1] < values[i]
        falls = j == n - 1 or values[j + 1] < values[i]
        if rises and falls and values[i] > least:
            found.append(i)
        i = j + 1
    return found


def moments(span: Span, at: float | None, curve: Curve | None, most: int = LOOKS) -> list[float]:
    """At most ``most`` ascending times within ``span`` to look at: around ``at``, else at the peaks of ``curve``, else
    spread evenly."""
    if at is not None:
        around = Span(max(span.start, at - AROUND), max(span.start, min(span.end, at + AROUND)))
        return _ascending(inside(around), span, most)
    if curve is not None and curve.peak > 0:
        found = peaks(curve.values / curve.peak)
        best = sorted(found, key=lambda i: -float(curve.values[i]))[: most // 2]
        beside = [float(curve.times[i]) + d for i in best for d in (-BESIDE, BESIDE)]
        if beside:
            return _ascending(beside, span, most)
    return _ascending(np.linspace(span.start, span.end, most).tolist(), span, most)


def _ascending(times: Sequence[float], span: Span, most: int) -> list[float]:
    return sorted({round(min(max(t, span.start), span.end), 2) for t in times})[:most]
