"""How tracked people and things move and what shape they have, instant by instant.

Lengths are in the thing's own heights, so that near and far ones compare; places in frame heights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from oddwatch.detectors.video.notes import Notes

COLUMNS = ("x", "y", "height", "aspect", "vx", "vy", "jerk", "growth")


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Rows (K,) of ``notes.objects`` that belong to tracks of at least ``least`` seconds: ``row`` their index there;
    ``numbers`` (K, 8) of :data:`COLUMNS`: middle x and foot y (frame heights), log height, log width/height, velocity
    to the right and down (own heights/s), change of velocity (own heights/s²), relative growth of the height (1/s); ``dense`` (K,) whether the track was
    seen often enough (:data:`DENSE`) to tell abrupt changes."""

    row: np.ndarray
    numbers: np.ndarray
    dense: np.ndarray

    def columns(self, *names: str) -> np.ndarray:
        """(K, n) of some columns."""
        return self.numbers[:, [COLUMNS.index(n) for n in names]]


DENSE = 0.25
"""Seconds between two looks (median of a track) up to which a change of movement is seen and not made up between them."""
STILLS = 1.0
"""Frames a second below which footage is stills: who is who from one to the next, and how fast, cannot be told."""


def paths(notes: Notes, least: float = 0.2, smooth: float = 0.16, steady: float = 0.5) -> Paths:
    """Positions and sizes along every track, between its looks by straight lines, smoothed over ``smooth`` seconds (the
    height, by which speeds are divided, over ``steady``).

    In stills (:data:`STILLS`) everybody is a row by themselves, without movement."""
    if notes.fps < STILLS:
        return _alone(notes)
    rows, numbers, dense = [np.empty(0, np.int64)], [np.empty((0, len(COLUMNS)))], [np.empty(0, bool)]
    for own in _tracks(notes):
        frames = notes.objects.frame[own]
        if notes.times[frames[-1]] - notes.times[frames[0]] < least:
            continue
        rows.append(own)
        numbers.append(_along(notes, own, smooth, steady))
        dense.append(np.full(len(own), float(np.median(np.diff(notes.times[frames]))) <= DENSE))
    return Paths(np.concatenate(rows), np.concatenate(numbers), np.concatenate(dense))


def _alone(notes: Notes) -> Paths:
    rows = np.flatnonzero(notes.objects.person)
    x0, y0, x1, y1 = notes.objects.box[rows].astype(np.float64).T
    height = np.maximum(y1 - y0, 1.0)
    table = np.zeros((len(rows), len(COLUMNS)))
    table[:, 0], table[:, 1] = (x0 + x1) / 2 / notes.size[0], y1 / notes.size[0]
    table[:, 2], table[:, 3] = np.log(height / notes.size[0]), np.log(np.maximum(x1 - x0, 1.0) / height)
    return Paths(rows, table, np.zeros(len(rows), bool))


def _tracks(notes: Notes) -> Iterator[np.ndarray]:
    """The rows of each track, in order of frames."""
    order = np.argsort(notes.objects.track, kind="stable")
    numbers = notes.objects.track[order]
    for own in np.split(order, np.flatnonzero(np.diff(numbers)) + 1):
        if len(own) > 1 and notes.objects.track[own[0]] >= 0:
            frames = notes.objects.frame[own]
            yield own[np.concatenate([[True], np.diff(frames) > 0])]


def _along(notes: Notes, own: np.ndarray, smooth: float, steady: float) -> np.ndarray:
    box, frames = notes.objects.box[own].astype(np.float64), notes.objects.frame[own]
    rate, tall = notes.fps, notes.size[0]
    steps = np.arange(frames[0], frames[-1] + 1)

    def line(values: np.ndarray, seconds: float = smooth) -> np.ndarray:
        out: np.ndarray = gaussian_filter1d(np.interp(steps, frames, values), seconds * rate, mode="nearest")
        return out

    def slope(values: np.ndarray) -> np.ndarray:
        out: np.ndarray = np.gradient(values) * rate
        return out

    x, foot = line((box[:, 0] + box[:, 2]) / 2), line(box[:, 3])
    width, height = line(box[:, 2] - box[:, 0]), line(box[:, 3] - box[:, 1])
    own_height = np.maximum(line(box[:, 3] - box[:, 1], steady), 0.01 * tall)
    vx, vy = slope(x) / own_height, slope(foot) / own_height
    log_height = np.log(np.maximum(height, 1.0))
    aspect = np.log(np.maximum(width, 1.0)) - log_height
    table = np.stack(
        [
            x / tall,
            foot / tall,
            np.log(own_height / tall),
            aspect,
            vx,
            vy,
            np.hypot(slope(vx), slope(vy)),
            slope(log_height),
        ],
        axis=1,
    )
    out: np.ndarray = table[frames - frames[0]]
    return out
