"""Find the people in a frame: one pass over all of it, and overlapping tiles where one is not enough.

MoveNet MultiPose returns at most six people a pass and is sure of those some 50 to 320 input pixels high. So a
coarse pass looks for people who fill the picture, and a fine one that comes back full, or with small people, is
repeated on overlapping parts of the picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame, Person

FULL = 6
"""People in one pass at most: so many found means there may be more."""
_TALL = 320
"""Input pixels above which a pass sees parts of a person rather than the person."""

# Spread of a labelled keypoint in units of sqrt(2 · box area): the OKS constants of the COCO keypoint task.
_SPREAD = np.array(
    [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=np.float64
) / 1000  # fmt: skip


class PoseDetector(Protocol):
    """One pass of a pose model: boxes and keypoints in pixels of ``pixels``."""

    def detect(self, pixels: np.ndarray, long_side: int = 512) -> list[Person]: ...


@dataclass(frozen=True, slots=True)
class _Found:
    """A person in frame pixels; ``cut`` where a tile's inner border goes through the box; ``scale`` input
    pixels per frame pixel of the pass."""

    person: Person
    cut: bool
    scale: float = 1.0


class PeopleFinder:
    """People of a frame through a pose model.

    ``tiles``: "auto" adds tiles where a pass is full or people are small, "never" adds none, "always" adds
    four. ``budget``: passes a frame at most, each of ``long_side`` input pixels, beside one of ``coarse``
    (0: none), which costs a ninth. A person needs a score of ``least`` and ``keypoints`` keypoints of at
    least 0.3.
    """

    def __init__(
        self,
        pose_model: PoseDetector,
        tiles: Literal["auto", "never", "always"] = "auto",
        *,
        long_side: int = 768,
        coarse: int = 256,
        budget: int = 6,
        overlap: float = 0.25,
        least: float = 0.2,
        keypoints: int = 6,
        smallest: float = 16.0,
    ) -> None:
        if tiles not in ("auto", "never", "always"):
            raise InputError("tiles", f"expected auto, never or always, got {tiles!r}")
        if budget < 1 or long_side < 64 or not 0 <= overlap < 0.9:
            raise InputError("people finder", "expected budget ≥ 1, long_side ≥ 64 and 0 ≤ overlap < 0.9")
        self.pose_model, self.tiles, self.long_side, self.budget = pose_model, tiles, long_side, budget
        self.coarse = coarse
        self.overlap, self.least, self.keypoints, self.smallest = overlap, least, keypoints, smallest

    @property
    def id(self) -> str:
        """Names the model and the settings: equal ids find equal people."""
        model = getattr(self.pose_model, "id", type(self.pose_model).__name__)
        settings = (
            self.tiles,
            self.long_side,
            self.coarse,
            self.budget,
            self.overlap,
            self.least,
            self.keypoints,
        )
        return f"{model}/{'-'.join(map(str, (*settings, self.smallest)))}"

    def find(self, frame: Frame) -> list[Person]:
        """The people in ``frame``, best score first; boxes and keypoints in its pixels."""
        whole = Box(0, 0, frame.width, frame.height)
        long_side = self._input_side(max(frame.width, frame.height))
        first = self._look(frame, whole, long_side)
        found, left = list(first), self.budget - 1
        if self.coarse and long_side > 1.25 * self.coarse:
            found += self._look(frame, whole, self.coarse)
        parts = deque(self._parts(whole, first, long_side))
        while parts and left > 0:
            part = parts.popleft()
            seen = self._look(frame, part, self.long_side)
            found, left = found + seen, left - 1
            if self.tiles == "auto" and len(seen) >= FULL:
                parts.extend(_halves(part, self.overlap))
        sound = [f for f in found if self._is_person(f.person)]
        return [tightened(p, frame) for p in merged(sound)]

    def _input_side(self, longest: int) -> int:
        # Little is gained by blowing small pictures up further.
        return int(np.clip(np.ceil(1.5 * longest / 32) * 32, 256, self.long_side))

    def _parts(self, whole: Box, first: Sequence[_Found], long_side: int) -> list[Box]:
        if self.tiles == "never":
            return []
        if self.tiles == "always":
            return _quarters(whole, self.overlap)
        scale = long_side / max(whole.width, whole.height)
        heights = [f.person.box.height * scale for f in first if self._is_person(f.person)]
        small = bool(heights) and float(np.median(heights)) < 48
        large = scale < 0.6
        if (small or large) and self.budget >= 5:
            return _quarters(whole, self.overlap)
        return _halves(whole, self.overlap) if len(first) >= FULL or small or large else []

    def _look(self, frame: Frame, part: Box, long_side: int) -> list[_Found]:
        people = self.pose_model.detect(frame.crop(part), long_side)
        x, y = int(part.x0), int(part.y0)
        found = []
        for person in people:
            moved = replace(
                person,
                box=person.box.shifted(x, y),
                pose=person.pose.shifted(x, y) if person.pose else None,
            )
            scale = long_side / max(part.width, part.height)
            found.append(_Found(moved, _is_cut(moved.box, part, frame), scale))
        return found

    def _is_person(self, person: Person) -> bool:
        if person.score < self.least or max(person.box.width, person.box.height) < self.smallest:
            return False
        return person.pose is None or int((person.pose.points[:, 2] >= 0.3).sum()) >= self.keypoints


def _is_cut(box: Box, part: Box, frame: Frame) -> bool:
    near = 0.03 * max(box.width, box.height) + 1
    return (
        (part.x0 > 0 and box.x0 - part.x0 < near)
        or (part.y0 > 0 and box.y0 - part.y0 < near)
        or (part.x1 < frame.width and part.x1 - box.x1 < near)
        or (part.y1 < frame.height and part.y1 - box.y1 < near)
    )


def _split(low: float, high: float, overlap: float) -> list[tuple[float, float]]:
    side = (high - low) / (2 - overlap)
    return [(float(int(low)), float(int(low + side) + 1)), (float(int(high - side)), float(int(high)))]


def _halves(part: Box, overlap: float) -> list[Box]:
    if part.width >= part.height:
        return [Box(a, part.y0, b, part.y1) for a, b in _split(part.x0, part.x1, overlap)]
    return [Box(part.x0, a, part.x1, b) for a, b in _split(part.y0, part.y1, overlap)]


def _quarters(part: Box, overlap: float) -> list[Box]:
    columns, rows = _split(part.x0, part.x1, overlap), _split(part.y0, part.y1, overlap)
    return [Box(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


def pose_similarity(a: Person, b: Person, least: float = 0.2) -> float:
    """Object keypoint similarity (COCO) of two poses, 0–1, over keypoints both are sure of; 0 if < 3."""
    if a.pose is None or b.pose is None:
        return 0.0
    p, q = a.pose.points, b.pose.points
    both = (p[:, 2] >= least) & (q[:, 2] >= least)
    if both.sum() < 3:
        return 0.0
    area = max(1.0, min(a.box.area, b.box.area))
    squared = ((p[both, :2] - q[both, :2]).astype(np.float64) ** 2).sum(axis=1)
    return float(np.exp(-squared / (8 * area * _SPREAD[both] ** 2)).mean())


def _same(kept: _Found, other: _Found) -> bool:
    a, b = kept.person, other.person
    iou, alike = a.box.iou(b.box), pose_similarity(a, b)
    if alike > 0.55 or iou > 0.75 or (iou > 0.45 and (alike > 0.2 or a.pose is None or b.pose is None)):
        return True
    if a.box.height * other.scale > _TALL and a.box.intersection(b.box) > 0.7 * b.box.area:
        # A part of somebody too large for the pass it comes from.
        return True
    if not (other.cut or kept.cut):
        return False
    # A part of somebody whom the neighbouring tile sees whole.
    return a.box.intersection(b.box) > 0.6 * max(1e-9, min(a.box.area, b.box.area))


def merged(found: Sequence[_Found]) -> list[Person]:
    """One person for each in the picture: whole ones before cut ones, then by score."""
    kept: list[_Found] = []
    for candidate in sorted(found, key=lambda f: (f.cut, -f.person.score, f.person.box.as_list())):
        if not any(_same(k, candidate) for k in kept):
            kept.append(candidate)
    return sorted((k.person for k in kept), key=lambda p: (-p.score, p.box.as_list()))


def tightened(person: Person, frame: Frame) -> Person:
    """The box made to hold all confident keypoints, and cut back where it reaches far beyond them."""
    box = person.box
    if person.pose is not None:
        sure = person.pose.points[person.pose.points[:, 2] >= 0.3]
        if len(sure) >= 4:
            (x0, y0), (x1, y1) = sure[:, :2].min(axis=0), sure[:, :2].max(axis=0)
            box = Box(min(box.x0, x0), min(box.y0, y0), max(box.x1, x1), max(box.y1, y1))
            if len(sure) >= 16:
                far = 0.3 * max(x1 - x0, y1 - y0)
                box = Box(
                    max(box.x0, x0 - far), max(box.y0, y0 - far), min(box.x1, x1 + far), min(box.y1, y1 + far)
                )
    box = Box(*(float(v) for v in box.as_list())).clipped(frame.width, frame.height)
    return replace(person, box=box)
