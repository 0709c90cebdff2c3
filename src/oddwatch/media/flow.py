"""Movement between frames: dense optical flow, and the moving things it shows.

Speeds are frame heights a second, so that resolutions and frame rates compare.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame

BINS = 8
"""Directions of a flow histogram, 45° each, the first from 0° (to the right) on, towards the picture's bottom."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Movement at one frame on a picture ``height`` pixels high: ``uv`` (h, w, 2) float32, frame heights a second to the
    right and down; ``change`` (h, w) float32 grey difference 0–1; ``scale`` frame pixels per pixel (x, y)."""

    uv: np.ndarray
    change: np.ndarray
    scale: tuple[float, float]
    seconds: float

    @property
    def speed(self) -> np.ndarray:
        """(h, w) frame heights a second."""
        out: np.ndarray = np.hypot(self.uv[..., 0], self.uv[..., 1])
        return out

    def cells(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns, 4) means of speed, u, v and change over an even grid of cells."""
        channels = np.dstack([self.speed, self.uv, self.change])
        out: np.ndarray = cv2.resize(channels, (columns, rows), interpolation=cv2.INTER_AREA)
        return out

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
    flat = uv.reshape(-1, 2).astype(np.float64)
    angle = np.degrees(np.arctan2(flat[:, 1], flat[:, 0])) % 360
    bins = np.minimum((angle * BINS / 360).astype(np.int64), BINS - 1)
    weights = np.abs(flat).sum(axis=1)
    out: np.ndarray = np.bincount(bins, weights, BINS) / max(1, len(flat))
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
        uv[cv2.blur(change, (5, 5)) < self.still] = 0.0
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

            costs = np.array([[self._cost(self._live[n], time, b) for b in boxes] for n in numbers])
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
    def _cost(track: tuple[float, Box, np.ndarray], time: float, box: Box) -> float:
        then, before, velocity = track
        expected = before.shifted(*(velocity * (time - then)))
        far = float(np.hypot(*np.subtract(expected.center, box.center)))
        size = 0.5 * (max(before.width, before.height) + max(box.width, box.height))
        iou = max(expected.iou(box), before.iou(box))
        return 1.0 - iou if iou > 0.1 else 0.9 + 0.1 * far / (0.5 * size) if far < 0.5 * size else 2.0
