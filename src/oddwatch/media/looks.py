"""The few best, different looks at a tracked person, each with a small picture of the surroundings."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame, Person, Pose, View

TALLEST = 320
"""Height of a kept picture in pixels at most."""
AROUND = 0.35
"""Share of the box's sides kept around it."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A view of a track and its pixels.

    ``view`` is in pixels of the whole frame. ``jpeg`` is the part ``part`` of that frame, ``scale`` kept
    pixels per frame pixel; ``others`` are the neighbours in pixels of the whole frame.
    """

    view: View
    jpeg: bytes
    part: Box
    scale: float
    others: tuple[Person, ...] = ()
    source: str = ""
    wall_time: datetime | None = None
    edge: bool = False

    @property
    def context(self) -> Frame:
        """The kept picture, decoded anew at each call."""
        with Image.open(io.BytesIO(self.jpeg)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        return Frame(pixels, self.source, self.view.time, self.view.frame, self.wall_time)

    @property
    def person(self) -> Person:
        """The person in pixels of :attr:`context`."""
        return self._inside(self.view.person)

    @property
    def neighbours(self) -> tuple[Person, ...]:
        """The others in pixels of :attr:`context`; their boxes may reach out of it."""
        return tuple(self._inside(p) for p in self.others)

    def triple(self) -> tuple[Frame, Person, tuple[Person, ...]]:
        """(context, person, neighbours): what a describer takes."""
        return self.context, self.person, self.neighbours

    def to_frame(self, box: Box) -> Box:
        """A box of :attr:`context` in pixels of the whole frame."""
        x, y, s = self.part.x0, self.part.y0, self.scale
        return Box(x + box.x0 / s, y + box.y0 / s, x + box.x1 / s, y + box.y1 / s)

    def _inside(self, person: Person) -> Person:
        x, y, s = self.part.x0, self.part.y0, self.scale
        b = person.box
        box = Box((b.x0 - x) * s, (b.y0 - y) * s, (b.x1 - x) * s, (b.y1 - y) * s)
        pose = None
        if person.pose is not None:
            points = person.pose.points.copy()
            points[:, :2] = (points[:, :2] - (x, y)) * s
            pose = Pose(points)
        return replace(person, box=box, pose=pose)

    def to_json(self) -> dict[str, Any]:
        """All of it, the picture in base 64."""
        return {
            "view": self.view.to_json(),
            "jpeg": base64.b64encode(self.jpeg).decode(),
            "part": self.part.as_list(),
            "scale": self.scale,
            "others": [p.to_json() for p in self.others],
            "source": self.source,
            "wall_time": self.wall_time.isoformat() if self.wall_time else None,
            "edge": self.edge,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Look:
        """The inverse of :meth:`to_json`."""
        wall = data["wall_time"]
        return cls(
            View.from_json(data["view"]),
            base64.b64decode(data["jpeg"]),
            Box(*data["part"]),
            data["scale"],
            tuple(Person.from_json(p) for p in data["others"]),
            data["source"],
            datetime.fromisoformat(wall) if wall else None,
            data["edge"],
        )


def is_at_edge(box: Box, frame: Frame) -> bool:
    """Whether the frame's edge may cut through the person."""
    near = 0.02 * max(box.width, box.height) + 1
    beyond = (box.x0 < near, box.y0 < near, frame.width - box.x1 < near, frame.height - box.y1 < near)
    return any(beyond)


def quality(frame: Frame, person: Person, others: Sequence[Person]) -> float:
    """How good a look this is, 0–1: sure keypoints, size, not cut by the edge, not covered by others."""
    sure = float(np.clip(person.pose.points[:, 2], 0, 1).mean()) if person.pose is not None else 0.5
    size = min(1.0, max(person.box.width, person.box.height) / 160) ** 0.5
    edge = 0.6 if is_at_edge(person.box, frame) else 1.0
    area = max(person.box.area, 1e-9)
    covered = min(1.0, sum(person.box.intersection(o.box) for o in others) / area)
    return float(np.clip((0.3 + 0.7 * sure) * (0.4 + 0.6 * size) * edge * (1 - 0.5 * covered), 0, 1))


def take(frame: Frame, person: Person, others: Sequence[Person], score: float) -> Look:
    """Keep a look: the box and 35 % around it, at most 320 pixels high, as a JPEG of quality 95.

    It is kept compressed from the start, so that a run resumed from a saved state sees the same pixels.
    """
    wide = person.box.expanded(AROUND)
    pixels = frame.crop(wide)
    x0, y0 = (float(int(v)) for v in (max(wide.x0, 0.0), max(wide.y0, 0.0)))
    part = Box(x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0])
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = min(1.0, TALLEST / image.height)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    near = tuple(o for o in others if o is not person and o.box.intersection(part) > 0)
    view = View(frame.time, frame.index, person, score)
    edge = is_at_edge(person.box, frame)
    return Look(view, buffer.getvalue(), part, scale, near, frame.source, frame.wall_time, edge)


def thinned(looks: Sequence[Look], keep: int) -> list[Look]:
    """The ``keep`` best looks that are spread over time, best first: each is worth its quality, less when a
    better one is near in time."""
    ranked = sorted(looks, key=lambda k: (-k.view.quality, k.view.time or 0.0))
    if len(ranked) <= keep:
        return ranked
    times = [k.view.time or 0.0 for k in ranked]
    reach = max(1e-6, (max(times) - min(times)) / keep)
    chosen: list[int] = [0]
    while len(chosen) < keep:
        rest = [i for i in range(len(ranked)) if i not in chosen]
        apart = {i: min(abs(times[i] - times[c]) for c in chosen) for i in rest}
        best = max(
            rest, key=lambda i: (ranked[i].view.quality * (0.4 + 0.6 * min(1.0, apart[i] / reach)), -i)
        )
        chosen.append(best)
    return [ranked[i] for i in sorted(chosen)]
