"""Boxes in pixels, spans in seconds, regions of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.jsonable import Jsonable


@dataclass(frozen=True, slots=True)
class Box(Jsonable):
    """An axis-parallel box in pixels of the upright frame; x grows right, y down."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.x0, self.y0, self.x1, self.y1))):
            raise InputError("box", f"expected finite pixels, got {self.as_list()}")
        if self.x1 < self.x0 or self.y1 < self.y0:
            raise InputError("box", f"expected x0 ≤ x1 and y0 ≤ y1, got {self.as_list()}")

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def as_list(self) -> list[float]:
        """``[x0, y0, x1, y1]``."""
        return [self.x0, self.y0, self.x1, self.y1]

    def intersection(self, other: Box) -> float:
        """Area shared with ``other``, in square pixels."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(w, 0.0) * max(h, 0.0)

    def iou(self, other: Box) -> float:
        """Intersection over union, 0–1; two empty boxes give 0."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def expanded(self, fraction: float) -> Box:
        """Grown by ``fraction`` of its width and height on each side."""
        dx, dy = self.width * fraction, self.height * fraction
        return Box(self.x0 - dx, self.y0 - dy, self.x1 + dx, self.y1 + dy)

    def clipped(self, width: float, height: float) -> Box:
        """The part inside a picture of ``width`` × ``height`` pixels."""
        x0, x1 = (min(max(v, 0.0), width) for v in (self.x0, self.x1))
        y0, y1 = (min(max(v, 0.0), height) for v in (self.y0, self.y1))
        return Box(x0, y0, x1, y1)

    def shifted(self, dx: float, dy: float) -> Box:
        """Moved by ``dx``, ``dy`` pixels."""
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)


@dataclass(frozen=True, slots=True)
class Span(Jsonable):
    """A half-open span ``[start, end)`` in seconds."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)) or self.end < self.start:
            raise InputError("span", f"expected finite start ≤ end, got [{self.start}, {self.end})")

    @property
    def duration(self) -> float:
        return self.end - self.start

    def overlap(self, other: Span) -> float:
        """Seconds shared with ``other``."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def iou(self, other: Span) -> float:
        """Shared seconds over joint seconds, 0–1."""
        shared = self.overlap(other)
        union = self.duration + other.duration - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Region(Jsonable):
    """A part of a picture: a box, what it shows, and optionally a boolean mask of the box (h, w)."""

    box: Box
    label: str = ""
    score: float = 1.0
    mask: np.ndarray | None = None
