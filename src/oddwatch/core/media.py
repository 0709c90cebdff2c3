"""Frames, the people in them, and how they move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box, Span
from oddwatch.core.jsonable import Jsonable

KEYPOINTS: tuple[str, ...] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""COCO order, the person's own left and right."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Pixels and where they came from.

    ``pixels`` is (H, W, 3) uint8 RGB, upright. ``time`` is seconds from the start of the source (its
    presentation timestamp; None for a picture), ``index`` the frame's number in the source,
    ``wall_time`` the moment it was filmed where known.
    """

    pixels: np.ndarray
    source: str = ""
    time: float | None = None
    index: int | None = None
    wall_time: datetime | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        if not isinstance(p, np.ndarray) or p.dtype != np.uint8 or p.ndim != 3 or p.shape[2] != 3:
            found = f"{p.dtype} {p.shape}" if isinstance(p, np.ndarray) else type(p).__name__
            raise InputError(self.source or "frame", f"expected (H, W, 3) uint8 RGB pixels, got {found}")
        if p.shape[0] < 1 or p.shape[1] < 1:
            raise InputError(self.source or "frame", "expected at least one pixel")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def crop(self, box: Box) -> np.ndarray:
        """The pixels of ``box`` (rounded outwards, clipped to the frame), at least 1×1; a view."""
        b = box.clipped(self.width, self.height)
        x0, y0 = min(int(b.x0), self.width - 1), min(int(b.y0), self.height - 1)
        x1, y1 = max(int(np.ceil(b.x1)), x0 + 1), max(int(np.ceil(b.y1)), y0 + 1)
        view: np.ndarray = self.pixels[y0:y1, x0:x1]
        return view

    def __repr__(self) -> str:
        at = "" if self.time is None else f" @ {self.time:.3f} s"
        return f"Frame({self.width}×{self.height} {self.source}{at})"


@dataclass(frozen=True, slots=True, eq=False)
class Pose(Jsonable):
    """17 COCO keypoints: ``points`` is (17, 3) float32, x and y in pixels of the frame, score 0–1."""

    points: np.ndarray

    def __post_init__(self) -> None:
        if self.points.shape != (len(KEYPOINTS), 3):
            raise InputError("pose", f"expected (17, 3) keypoints, got {self.points.shape}")

    def point(self, name: str, least: float = 0.2) -> tuple[float, float] | None:
        """x, y of a keypoint, or None when its score is below ``least``."""
        x, y, score = self.points[KEYPOINTS.index(name)]
        return (float(x), float(y)) if score >= least else None

    def shifted(self, dx: float, dy: float) -> Pose:
        """Moved by ``dx``, ``dy`` pixels."""
        return Pose(self.points + np.array([dx, dy, 0], dtype=self.points.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Person(Jsonable):
    """A person in a frame: box in pixels, detector score 0–1, and pose, track and mask where known."""

    box: Box
    score: float = 1.0
    pose: Pose | None = None
    track: int | None = None
    mask: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Motion(Jsonable):
    """How a track moves. Lengths are in body heights (median longer side of the boxes, so that a lying person has
    one), times in seconds.

    ``speed`` median and ``top_speed`` 95th percentile (heights/s); ``dx``, ``dy`` mean velocity
    (heights/s, image axes); ``drop`` the fastest fall of the head or box top within one second
    (heights/s, ≥ 0); ``lying`` longest time spent lying, ``still`` longest time without moving (s);
    ``duration`` of the track (s).
    """

    speed: float = 0.0
    top_speed: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    drop: float = 0.0
    lying: float = 0.0
    still: float = 0.0
    duration: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class View(Jsonable):
    """One look at a tracked person: when, where in the picture, how good a look (0–1)."""

    time: float | None
    frame: int | None
    person: Person
    quality: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Track(Jsonable):
    """One person through a video: its number, span, best views (best first) and motion."""

    id: int
    span: Span
    views: tuple[View, ...]
    motion: Motion = Motion()
    frames: int = 1

    def __post_init__(self) -> None:
        if not self.views:
            raise InputError(f"track {self.id}", "expected at least one view")


@dataclass(frozen=True, slots=True, eq=False)
class Moment(Jsonable):
    """A stretch of a source (some seconds of video, or a whole picture) and who is in it.

    ``time``/``frame`` name its best view; ``people`` are those seen in that frame; ``count`` the 90th
    percentile of people per analysed frame.
    """

    span: Span | None
    time: float | None
    frame: int | None
    people: tuple[Person, ...] = ()
    count: float = 0.0
    motion: Motion = Motion()
