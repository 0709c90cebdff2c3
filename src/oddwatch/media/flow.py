"""Movement between frames: dense optical flow, and the moving things it shows.

Speeds are frame heights a second, so that resolutions and frame rates compare.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np

from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame

BINS = 8
"""Directions of a flow histogram, 45° each, the first from 0° (to the right) on, towards the picture's bottom."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Movement at one frame on a picture ``height`` pixels high: ``uv`` (h, w, 2) float32, frame heights a second to the
    right and down; ``change`` (h, w) float32 grey difference 0–1; ``scale`` frame pixels per pixel (x, y). ``speed`` (h, w)
    frame heights a second follows from ``uv``."""

    uv: np.ndarray
    change: np.ndarray
    scale: tuple[float, float]
    seconds: float
    speed: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        u, v = cv2.split(self.uv)
        object.__setattr__(self, "speed", cv2.magnitude(u, v))

    def cells(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns, 4) means of speed, u, v and change over an even grid of cells."""
        size = (columns, rows)
        parts = [
            cv2.resize(c, size, interpolation=cv2.INTER_AREA) for c in (self.speed, self.uv, self.change)
        ]
        return np.dstack(parts)

    def histogram(self, box: Box) -> np.ndarray:
        """(8,) mean over the pixels of ``box`` (frame pixels) of |u| + |v| in each direction (AI-VAD, TMLR, §3.2)."""
        h, w = self.change.shape
        x0 = min(max(int(box.x0 / self.scale[0]), 0), w - 1)
        y0 = min(max(int(box.y0 / self.scale[1]), 0), h - 1)
        x1 = max(int(np.ceil(box.x1 / self.scale[0])), x0 + 1)
        y1 = max(int(np.ceil(box.y1 / self.scale[1])), y0 + 1)
        return flow_histogram(self.uv[y0:y1, x0:x1])


def flow_histogram(uv: np.ndarray) -> np.ndarray:
    """(8,) mean over the pixels of ``uv`` (h, w, 2) of |u| + |v| in each direction of 45°."""
    u, v = uv[..., 0].ravel(), uv[..., 1].ravel()
    # By comparisons, as the angle of every pixel takes four times as long: first the half, then the quarter, then the eighth.
    upper = (v < 0) | ((v == 0) & (u < 0))
    sign = np.where(upper, -1, 1).astype(u.dtype)
    right, down = u * sign, v * sign
    left = right <= 0
    second = np.where(left, -right, down) >= np.where(left, down, right)
    bins = 4 * upper + 2 * left + second
    out: np.ndarray = np.bincount(bins, np.abs(u) + np.abs(v), BINS) / max(1, len(u))
    return out


class FlowMeter:
    """Optical flow (DIS, Kroeger et al., ECCV 2016) from frame to frame, on a grey picture ``height`` pixels high.

    A frame is compared with the newest one at least ``apart`` seconds older, as slow movement shows only over time, and
    with none more than ``longest`` seconds older. Where the picture did not change by ``still`` grey levels (of 255, mean
    of 5 × 5 pixels) there is no movement: flow of even surfaces and of coding noise is made up.
    """

    def __init__(
        self, height: int = 180, *, apart: float = 0.09, longest: float = 0.6, still: float = 1.5
    ) -> None:
        self.height, self.apart, self.longest, self.still = height, apart, longest, still
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
        self._before: deque[tuple[float, np.ndarray]] = deque()

    def update(self, frame: Frame) -> Field | None:
        """The movement up to ``frame``, None where no earlier frame is near. Frames come in order of time."""
        time = frame.time or 0.0
        height = min(self.height, frame.height)
        width = max(16, round(frame.width * height / frame.height))
        grey = cv2.resize(
            cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA
        )
        while len(self._before) > 1 and time - self._before[1][0] >= self.apart - 1e-3:
            self._before.popleft()
        found = None
        if self._before and self._before[0][1].shape == grey.shape:
            found = self._between(*self._before[0], time, grey, frame)
        self._before.append((time, grey))
        return found

    def _between(
        self, then: float, before: np.ndarray, now: float, grey: np.ndarray, frame: Frame
    ) -> Field | None:
        seconds = now - then
        if not 0 < seconds <= self.longest:
            self._before.clear()
            return None
        uv = self._flow.calc(before, grey, None)
        change = cv2.absdiff(before, grey).astype(np.float32)
        moved = (cv2.blur(change, (5, 5)) >= self.still).astype(np.uint8)
        uv = cv2.copyTo(uv, moved)
        scale = (frame.width / grey.shape[1], frame.height / grey.shape[0])
        return Field(uv / (grey.shape[0] * seconds), change / 255, scale, seconds)


def moving_things(
    field: Field, *, pixels: float = 0.35, smallest: float = 0.0008, most: int = 40, whole: float = 0.6
) -> list[Box]:
    """Boxes (frame pixels) of what moves by at least ``pixels`` between the two frames, largest first.

    Areas below ``smallest`` of the frame are noise. Where more than ``whole`` of the frame moves the camera does, and
    nothing is told apart from it.
    """
    h, w = field.change.shape
    mask = (field.speed * h * field.seconds >= pixels).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    if mask.mean() > whole:
        return []
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    rows = stats[1:count]
    rows = rows[rows[:, cv2.CC_STAT_AREA] >= max(12.0, smallest * h * w)]
    rows = rows[np.argsort(-rows[:, cv2.CC_STAT_AREA], kind="stable")][:most]
    sx, sy = field.scale
    return [Box(x * sx, y * sy, (x + bw) * sx, (y + bh) * sy) for x, y, bw, bh, _ in rows.tolist()]


class ThingTracker:
    """Numbers moving things from frame to frame by overlap with where they were expected (Hungarian method)."""

    def __init__(self, *, gap: float = 1.0, first: int = 1) -> None:
        self.gap = gap
        self._next = first
        self._live: dict[int, tuple[float, Box, np.ndarray]] = {}

    def update(self, time: float, boxes: list[Box]) -> list[int]:
        """The number of each box's track, new ones where none fits."""
        self._live = {n: t for n, t in self._live.items() if time - t[0] <= self.gap}
        numbers = list(self._live)
        found: list[int] = [-1] * len(boxes)
        if numbers and boxes:
            from scipy.optimize import linear_sum_assignment

            costs = self._costs([self._live[n] for n in numbers], time, boxes)
            for r, c in zip(*linear_sum_assignment(np.minimum(costs, 1.0)), strict=True):
                if costs[r, c] < 1.0:
                    found[c] = numbers[r]
        for i, box in enumerate(boxes):
            if found[i] < 0:
                found[i], self._next = self._next, self._next + 1
                self._live[found[i]] = (time, box, np.zeros(2))
                continue
            then, before, velocity = self._live[found[i]]
            moved = np.subtract(box.center, before.center) / max(time - then, 1e-3)
            self._live[found[i]] = (time, box, 0.7 * velocity + 0.3 * moved)
        return found

    @staticmethod
    def _costs(tracks: list[tuple[float, Box, np.ndarray]], time: float, boxes: list[Box]) -> np.ndarray:
        """(T, B): 0–0.9 by overlap with where a track was or is expected, 0.9–1 by distance where it is near, else 2."""
        before = np.array([b.as_list() for _, b, _ in tracks])
        step = np.array([velocity * (time - then) for then, _, velocity in tracks])
        expected = before + np.tile(step, 2)
        found = np.array([b.as_list() for b in boxes])
        iou = np.maximum(_ious(expected, found), _ious(before, found))
        middle, there = (expected[:, :2] + expected[:, 2:]) / 2, (found[:, :2] + found[:, 2:]) / 2
        far = np.hypot(*np.moveaxis(middle[:, None] - there[None], -1, 0))
        size = 0.5 * (_sides(before)[:, None] + _sides(found)[None])
        near = np.where(far < 0.5 * size, 0.9 + 0.1 * far / np.maximum(0.5 * size, 1e-9), 2.0)
        out: np.ndarray = np.where(iou > 0.1, 1.0 - iou, near)
        return out


def _sides(boxes: np.ndarray) -> np.ndarray:
    """(N,) the longer side of each box."""
    out: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return out


def _ious(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4); two empty boxes give 0."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None] - shared
    out: np.ndarray = shared / np.where(union > 0, union, 1.0)
    return out
