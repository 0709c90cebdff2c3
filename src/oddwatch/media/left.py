"""Things that stay in the picture and were not there before: a bag put down, somebody lying where nobody lay.

The median of the last pictures is held against a slow background (two backgrounds, after Porikli, Ivanov and Haga, EURASIP
Journal on Advances in Signal Processing 2008). Where somebody is, nothing is learnt: who stands or lies there and was found
is no thing, and a place that somebody leaves is no change. Where the background has the edges and the picture has not, something
went that the background had taken for ground (a ghost; told by edges as in Cucchiara et al., PAMI 2003).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame

_OFTEN = 3
"""Pictures that a median needs."""
_LEARN = 0.2
"""Share of the difference that the background takes over at a look."""


@dataclass(frozen=True, slots=True)
class Left:
    """A thing that stays: its box in frame pixels and for how many seconds it has been there."""

    box: Box
    seconds: float


class LeftThings:
    """Looks at a few pictures a second of one camera, in order of time, shrunk to ``height`` pixels and grey.

    Still is what did not change for ``still`` seconds. It is new where it differs by ``level`` grey levels (of 255, the
    brightness of the whole picture set aside) from the background, on at least ``smallest`` of the picture. What stays for
    ``longest`` seconds becomes background. Where more than ``whole`` of the picture differs, light or camera changed, and all
    begins anew.
    """

    def __init__(
        self,
        height: int = 120,
        *,
        still: float = 1.6,
        level: float = 18.0,
        smallest: float = 0.0003,
        longest: float = 120.0,
        whole: float = 0.3,
    ) -> None:
        self.height, self.still, self.level = height, still, level
        self.smallest, self.longest, self.whole = smallest, longest, whole
        self._recent: deque[tuple[float, np.ndarray, np.ndarray]] = deque()
        self._ground: np.ndarray | None = None
        self._known: list[tuple[Box, float, float]] = []

    def update(self, frame: Frame, people: Sequence[Box] = ()) -> list[Left]:
        """What stays at ``frame`` and was not there before; ``people`` are the boxes of who was found in it. Frames have one size."""
        time = frame.time or 0.0
        height = min(self.height, frame.height)
        width = max(8, round(frame.width * height / frame.height))
        grey = cv2.cvtColor(
            cv2.resize(frame.pixels, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        soft = cv2.GaussianBlur(grey, (3, 3), 0).astype(np.float32)
        scale = (frame.width / width, frame.height / height)
        self._recent.append((time, soft, _covered(people, soft.shape, scale)))
        while len(self._recent) > _OFTEN and time - self._recent[1][0] >= self.still:
            self._recent.popleft()
        if len(self._recent) < _OFTEN or time - self._recent[0][0] < 0.8 * self.still:
            return []
        pictures = np.stack([picture for _, picture, _ in self._recent])
        now = np.median(pictures, axis=0)
        mask = self._new(pictures, now)
        if mask.mean() > self.whole:
            self._ground, self._known = None, []
            return []
        return self._things(mask, now, time, scale)

    def _new(self, pictures: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(h, w) bool where something still differs from the background; learns the background elsewhere."""
        calm = np.abs(pictures - now).max(axis=0) < 0.6 * self.level
        calm &= ~np.any([people for _, _, people in self._recent], axis=0)
        if self._ground is None:
            self._ground = np.full(now.shape, np.nan, np.float32)
        known = np.isfinite(self._ground)
        change = now - self._ground
        both = known & calm
        change -= np.median(change[both]) if both.any() else 0.0
        new: np.ndarray = both & (np.abs(np.where(known, change, 0.0)) > self.level)
        self._ground[calm & ~known] = now[calm & ~known]
        learnt = both & ~new
        self._ground[learnt] += _LEARN * (now - self._ground)[learnt]
        return new

    def _things(
        self, mask: np.ndarray, now: np.ndarray, time: float, scale: tuple[float, float]
    ) -> list[Left]:
        assert self._ground is not None
        tidy = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        tidy = cv2.morphologyEx(tidy, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(tidy, connectivity=8)
        known, found = [], []
        for number in range(1, count):
            x, y, w, h, area = stats[number].tolist()
            if area < max(6.0, self.smallest * mask.size):
                continue
            box = Box(x * scale[0], y * scale[1], (x + w) * scale[0], (y + h) * scale[1])
            since = min((s for b, s, _ in self._known if _is_same(b, box)), default=time)
            own = numbers == number
            if time - since > self.longest or _went(own, now, self._ground):
                self._ground[own] = now[own]
                continue
            known.append((box, since, time))
            found.append(Left(box, time - since))
        gone = [
            k
            for k in self._known
            if time - k[2] < self.still and not any(_is_same(k[0], b) for b, _, _ in known)
        ]
        self._known = known + gone
        return found


def _went(own: np.ndarray, now: np.ndarray, ground: np.ndarray) -> bool:
    """Whether the outline of a change (h, w) bool is seen in the background ``ground`` rather than in ``now``."""
    kernel = np.ones((3, 3), np.uint8)
    mask = own.astype(np.uint8)
    outline = cv2.dilate(mask, kernel) > cv2.erode(mask, kernel)
    known = np.where(np.isfinite(ground), ground, now).astype(np.float32)

    def edges(picture: np.ndarray) -> float:
        across, down = (cv2.Sobel(picture, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0))
        return float(cv2.magnitude(across, down)[outline].mean())

    return edges(known) > edges(now.astype(np.float32))


def _is_same(a: Box, b: Box) -> bool:
    return a.intersection(b) > 0.3 * min(a.area, b.area)


def _covered(people: Sequence[Box], shape: tuple[int, ...], scale: tuple[float, float]) -> np.ndarray:
    """(h, w) bool where somebody is, with a margin."""
    out = np.zeros(shape, bool)
    for box in people:
        x, y = 0.1 * box.width / scale[0] + 1, 0.05 * box.height / scale[1] + 1
        rows = slice(max(0, int(box.y0 / scale[1] - y)), int(box.y1 / scale[1] + y) + 1)
        out[rows, max(0, int(box.x0 / scale[0] - x)) : int(box.x1 / scale[0] + x) + 1] = True
    return out
