"""Follow people through a video, so that one person is one track.

Association by optimal assignment (Hungarian method) of detections to tracks moved on at constant velocity;
the cost joins distance in body heights, box overlap and the colours of the torso, as two looks half a second
apart may not overlap at all. Deterministic, and resumable through JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box, Span
from oddwatch.core.media import Frame, Motion, Person, Track
from oddwatch.media.looks import Look, quality, take, thinned
from oddwatch.media.motion import Sample, motion, sample

MOST_SAMPLES = 2000
"""Looks at one person that are remembered; of more the older ones are thinned, so that who stays all day costs no more."""
_FORMAT = 1
_POOL = 2
_LONG = 0.75
"""Seconds out of sight after which somebody in quite different colours is somebody else."""
_PLAIN = ("id", "first", "last", "frames", "best", "total", "colours")


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """``gap``: seconds a person may be out of sight. ``views``: looks kept a track. A track of fewer than
    ``least_frames`` detections, or whose scores add up to less than ``evidence``, is dropped unless one
    detection scores ``sure``. Below ``start`` a detection may carry a track on but not begin one. ``speed``:
    fastest expected movement in body heights a second. ``limit``: largest cost of an association."""

    gap: float = 3.0
    views: int = 5
    least_frames: int = 2
    evidence: float = 0.8
    sure: float = 0.45
    start: float = 0.25
    speed: float = 2.2
    limit: float = 0.62


@dataclass
class _Live:
    id: int
    first: float
    last: float
    box: Box
    velocity: tuple[float, float]
    colours: list[float]
    samples: list[Sample]
    looks: list[Look] = field(default_factory=list)
    frames: int = 1
    best: float = 0.0
    total: float = 0.0

    @property
    def body(self) -> float:
        return max(1.0, self.box.width, self.box.height)

    def predicted(self, time: float) -> Box:
        # Velocity is trusted for a second; people turn and stop.
        ahead = min(time - self.last, 1.0)
        return self.box.shifted(self.velocity[0] * ahead, self.velocity[1] * ahead)


class Tracker:
    """Tracks of one video. Feed :meth:`update` in time order, collect :meth:`finished` now and then,
    and :meth:`flush` at the end; :meth:`looks` holds the pixels of the tracks handed out last."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self._live: list[_Live] = []
        self._done: list[_Live] = []
        self._looks: dict[int, list[Look]] = {}
        self._next = 1
        self._time = -math.inf

    def update(self, frame: Frame, people: Sequence[Person]) -> list[Person]:
        """Take in the people of the next frame; returns them with ``track`` set where they belong to one.

        Raises:
            InputError: the frame has no time or lies before the one already seen.
        """
        if frame.time is None or frame.time < self._time:
            found = f"expected frames in time order after {self._time:.3f} s, got {frame.time}"
            raise InputError(frame.source or "frame", found)
        self._time = frame.time
        self._retire(frame.time)
        colours = [torso_colours(frame, p) for p in people]
        pairs = self._assigned(frame.time, people, colours)
        numbered = list(people)
        for track, i in pairs:
            numbered[i] = replace(people[i], track=track.id)
            self._carry_on(track, frame.time, numbered[i], colours[i])
        taken = {i for _, i in pairs}
        for i, person in enumerate(people):
            if i not in taken and person.score >= self.settings.start:
                numbered[i] = replace(person, track=self._next)
                self._begin(frame.time, numbered[i], colours[i])
        by_id = {t.id: t for t in self._live}
        for person in numbered:
            if person.track is not None:
                self._consider(by_id[person.track], frame, person, [p for p in numbered if p is not person])
        return numbered

    def finished(self) -> list[Track]:
        """Tracks that have ended since the last call, in order of their start."""
        done, self._done = self._done, []
        tracks, self._looks = [], {}
        for live in sorted(done, key=lambda t: (t.first, t.id)):
            if not self._is_credible(live):
                continue
            looks = thinned(live.looks, self.settings.views)
            self._looks[live.id] = looks
            moved = motion(live.samples)
            tracks.append(
                Track(live.id, Span(live.first, live.last), tuple(k.view for k in looks), moved, live.frames)
            )
        return tracks

    def flush(self) -> list[Track]:
        """End every track and hand out those not handed out yet."""
        self._done += self._live
        self._live = []
        return self.finished()

    def looks(self, track_id: int) -> list[Look]:
        """The pixels behind the views of a track that the last :meth:`finished` or :meth:`flush` returned,
        in the order of its ``views``. Raises InputError for any other."""
        if track_id not in self._looks:
            raise InputError(f"track {track_id}", "is not among those handed out last", "ask before going on")
        return self._looks[track_id]

    def speeds(self) -> list[float]:
        """Present speed of every person in sight, in body heights a second."""
        return [math.hypot(*t.velocity) / t.body for t in self._live if t.last == self._time and t.frames > 1]

    def motion(self, track_id: int) -> Motion:
        """How somebody who is still followed has moved so far. Raises InputError for any other number."""
        for live in self._live:
            if live.id == track_id:
                return motion(live.samples)
        raise InputError(f"track {track_id}", "is not among those followed now")

    def _is_credible(self, track: _Live) -> bool:
        s = self.settings
        seen_enough = track.frames >= s.least_frames and track.total >= s.evidence
        return seen_enough or track.best >= s.sure

    def _retire(self, time: float) -> None:
        over = [t for t in self._live if time - t.last > self.settings.gap]
        self._done += over
        self._live = [t for t in self._live if time - t.last <= self.settings.gap]

    def _assigned(
        self, time: float, people: Sequence[Person], colours: Sequence[list[float]]
    ) -> list[tuple[_Live, int]]:
        if not self._live or not people:
            return []
        from scipy.optimize import linear_sum_assignment

        costs = np.array(
            [[self._cost(t, time, p, c) for p, c in zip(people, colours, strict=True)] for t in self._live]
        )
        # Pairs beyond the limit all cost the same, or avoiding one would break up good pairs.
        rows, columns = linear_sum_assignment(np.minimum(costs, self.settings.limit + 1e-3))
        return [
            (self._live[r], int(c))
            for r, c in zip(rows, columns, strict=True)
            if costs[r, c] <= self.settings.limit
        ]

    def _cost(self, track: _Live, time: float, person: Person, colours: list[float]) -> float:
        """0 for the same place, size and colours; above 1 where it cannot be the same person."""
        gap, box = time - track.last, track.predicted(time)
        body = max(track.body, 0.5 * (track.body + max(person.box.width, person.box.height)))
        apart = math.dist(box.center, person.box.center) / body
        reach = 0.5 + self.settings.speed * min(gap, 1.5)
        size = abs(math.log(max(1.0, person.box.width, person.box.height) / track.body))
        if apart > reach or size > 0.8:
            return 100.0
        unlike = colour_distance(track.colours, colours)
        if gap > _LONG and unlike > 0.7:
            return 100.0
        later = 0.1 * max(0.0, gap - 0.6) / self.settings.gap
        return 0.45 * apart / reach + 0.2 * (1 - box.iou(person.box)) + 0.45 * unlike + 0.1 * size + later

    def _carry_on(self, track: _Live, time: float, person: Person, colours: list[float]) -> None:
        step = max(time - track.last, 1e-3)
        (x0, y0), (x1, y1) = track.box.center, person.box.center
        share = 1.0 if track.frames == 1 else 0.6
        vx, vy = track.velocity
        track.velocity = (vx + share * ((x1 - x0) / step - vx), vy + share * ((y1 - y0) / step - vy))
        track.colours = [0.8 * a + 0.2 * b for a, b in zip(track.colours, colours, strict=True)]
        track.last, track.box, track.frames = time, person.box, track.frames + 1
        track.best, track.total = max(track.best, person.score), track.total + person.score
        track.samples.append(sample(time, person))
        if len(track.samples) > MOST_SAMPLES:
            track.samples[: -MOST_SAMPLES // 2] = track.samples[: -MOST_SAMPLES // 2 : 2]

    def _begin(self, time: float, person: Person, colours: list[float]) -> None:
        new = _Live(self._next, time, time, person.box, (0.0, 0.0), colours, [sample(time, person)])
        new.best = new.total = person.score
        self._live.append(new)
        self._next += 1

    def _consider(self, track: _Live, frame: Frame, person: Person, others: Sequence[Person]) -> None:
        score, most = quality(frame, person, others), _POOL * self.settings.views
        if len(track.looks) >= most:
            # Encoding costs a millisecond: skip looks too poor to stay.
            if score < min(k.view.quality for k in track.looks):
                return
            track.looks = sorted(thinned(track.looks, most - 1), key=lambda k: k.view.time or 0.0)
        track.looks.append(take(frame, person, others, score))

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, as JSON. Tracks handed out are not in it."""
        return {
            "format": _FORMAT,
            "settings": asdict(self.settings),
            "next": self._next,
            "time": None if math.isinf(self._time) else self._time,
            "live": [_to_json(t) for t in self._live],
            "done": [_to_json(t) for t in self._done],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Tracker:
        """The tracker that :meth:`state` described. Raises InputError where it does not fit."""
        try:
            if state["format"] != _FORMAT:
                raise InputError("tracker state", f"has format {state['format']}, expected {_FORMAT}")
            tracker = cls(TrackerSettings(**state["settings"]))
            tracker._next = int(state["next"])
            tracker._time = -math.inf if state["time"] is None else float(state["time"])
            tracker._live = [_from_json(t) for t in state["live"]]
            tracker._done = [_from_json(t) for t in state["done"]]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("tracker state", f"does not fit: {error!r}", "index the source anew") from error
        return tracker


def _to_json(track: _Live) -> dict[str, Any]:
    return {
        **{k: getattr(track, k) for k in _PLAIN},
        "box": track.box.as_list(),
        "velocity": list(track.velocity),
        "samples": [list(s) for s in track.samples],
        "looks": [k.to_json() for k in track.looks],
    }


def _from_json(data: Mapping[str, Any]) -> _Live:
    vx, vy = data["velocity"]
    samples: list[Any] = [tuple(s) for s in data["samples"]]
    return _Live(
        **{k: data[k] for k in _PLAIN},
        box=Box(*data["box"]),
        velocity=(vx, vy),
        samples=samples,
        looks=[Look.from_json(k) for k in data["looks"]],
    )


def torso_colours(frame: Frame, person: Person) -> list[float]:
    """Square roots of a colour histogram of torso and thighs, (64,) with unit length: 2 halves × 32 bins
    (4 lightness × 8 hue sectors, grey ones in the first)."""
    import cv2

    box = _trunk(person).clipped(frame.width, frame.height)
    pixels = cv2.resize(frame.crop(box), (16, 32), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    light = np.minimum(lab[..., 0] / 64, 3).astype(int)
    a, b = lab[..., 1] - 128, lab[..., 2] - 128
    sector = 1 + np.floor((np.arctan2(b, a) + np.pi) / (2 * np.pi) * 6.999).astype(int)
    bins = light * 8 + np.where(np.hypot(a, b) < 10, 0, sector)
    halves = [np.bincount(half.ravel(), minlength=32) for half in (bins[:16], bins[16:])]
    counts = np.concatenate(halves).astype(np.float64)
    return [round(float(v), 5) for v in np.sqrt(counts / counts.sum())]


def _trunk(person: Person) -> Box:
    """Shoulders to knees, where they are seen; else the middle of the box."""
    box = person.box
    if person.pose is not None:
        names = ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee", "right_knee")
        seen = [p for n in names if (p := person.pose.point(n, 0.3))]
        if len(seen) >= 4:
            (x0, y0), (x1, y1) = np.min(seen, axis=0), np.max(seen, axis=0)
            return Box(float(x0), float(y0), float(max(x1, x0 + 2)), float(max(y1, y0 + 2)))
    dx, dy = 0.25 * box.width, 0.15 * box.height
    return Box(box.x0 + dx, box.y0 + dy, box.x1 - dx, box.y1 - dy)


def colour_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Hellinger distance of two :func:`torso_colours`, 0–1."""
    return math.sqrt(max(0.0, 1.0 - float(np.dot(a, b))))
