"""Cut a video into moments of some seconds, each with its busiest frame and how its crowd moves."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Span
from oddwatch.core.media import Frame, Moment, Motion, Person
from oddwatch.media.video import difference, thumbnail

_FORMAT = 1
_QUIET = 0.004
"""Mean grey difference below which nothing happens (sensor noise and compression)."""


@dataclass
class _Window:
    number: int
    first: float
    last: float
    counts: list[int] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    means: list[tuple[float, float]] = field(default_factory=list)
    changes: list[tuple[float, float]] = field(default_factory=list)
    best: float = -1.0
    frame: Frame | None = None
    people: tuple[Person, ...] = ()


class MomentBuilder:
    """Moments of ``seconds`` on a grid anchored at 0, fed in time order.

    A moment's best frame is the one with most people, then most motion. In its motion ``speed`` is the median
    and ``top_speed`` the 95th percentile over its people (body heights/s), ``drop`` the largest rise of the
    crowd's mean speed within a second (heights/s), ``still`` the longest time in which the picture did not
    change.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError("seconds", f"expected a length above 0 s, got {seconds}")
        self.seconds = seconds
        self._window: _Window | None = None
        self._done: list[_Window] = []
        self._before: np.ndarray | None = None
        self._frames: dict[float, Frame] = {}

    def update(self, frame: Frame, people: Sequence[Person], speeds: Sequence[float] = ()) -> None:
        """Take in the next frame, its people, and the speed of those that move (``Tracker.speeds()``).

        Raises:
            InputError: the frame has no time or lies before the window being filled.
        """
        if frame.time is None:
            raise InputError(frame.source or "frame", "expected a time in seconds")
        number = int(frame.time / self.seconds + 1e-9)
        if self._window is not None and number < self._window.number:
            raise InputError(frame.source or "frame", f"expected time order, got {frame.time:.3f} s")
        if self._window is None or number != self._window.number:
            if self._window is not None:
                self._done.append(self._window)
            self._window = _Window(number, frame.time, frame.time)
        small = np.round(thumbnail(frame) * 255) / 255
        change = 0.0 if self._before is None else difference(self._before, small)
        self._before = small
        self._add(self._window, frame, people, list(speeds), change)

    def _add(
        self, w: _Window, frame: Frame, people: Sequence[Person], speeds: list[float], change: float
    ) -> None:
        time = frame.time or 0.0
        w.last = time
        w.counts.append(len(people))
        w.speeds += speeds
        w.means.append((time, float(np.mean(speeds)) if speeds else 0.0))
        w.changes.append((time, change))
        score = len(people) + min(change * 10, 0.9)
        if score > w.best:
            w.best, w.frame, w.people = score, frame, tuple(people)

    def finished(self) -> list[Moment]:
        """Moments that have ended since the last call."""
        done, self._done = self._done, []
        self._frames = {}
        return [self._moment(w) for w in done]

    def flush(self, end: float | None = None) -> list[Moment]:
        """End the open moment, at ``end`` seconds where that is known, and hand out the rest."""
        if self._window is not None:
            if end is not None:
                self._window.last = max(self._window.last, min(end, self._end(self._window)))
            self._done.append(self._window)
            last, self._window = self._window, None
            moments = self.finished()
            if end is not None and moments:
                span = Span(last.number * self.seconds, max(last.last, last.number * self.seconds))
                old = moments[-1]
                moments[-1] = Moment(span, old.time, old.frame, old.people, old.count, old.motion)
            return moments
        return self.finished()

    def frame(self, moment: Moment) -> Frame:
        """The best frame of a moment handed out last. Raises InputError for any other."""
        if moment.time not in self._frames:
            raise InputError("moment", "is not among those handed out last", "ask before going on")
        return self._frames[moment.time]

    def _end(self, w: _Window) -> float:
        return (w.number + 1) * self.seconds

    def _moment(self, w: _Window) -> Moment:
        assert w.frame is not None and w.frame.time is not None
        self._frames[w.frame.time] = w.frame
        span = Span(w.number * self.seconds, self._end(w))
        moved = Motion(
            speed=float(np.median(w.speeds)) if w.speeds else 0.0,
            top_speed=float(np.percentile(w.speeds, 95)) if w.speeds else 0.0,
            drop=_rise(w.means),
            still=_quiet(w.changes),
            duration=span.duration,
        )
        count = float(np.percentile(w.counts, 90)) if w.counts else 0.0
        return Moment(span, w.frame.time, w.frame.index, w.people, count, moved)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, as JSON; the open windows' best frames as lossless PNG."""
        before = None
        if self._before is not None:
            grey = np.round(self._before * 255).astype(np.uint8)
            before = {"shape": list(grey.shape), "values": grey.ravel().tolist()}
        windows = [*self._done, *([self._window] if self._window else [])]
        return {
            "format": _FORMAT,
            "seconds": self.seconds,
            "open": self._window is not None,
            "before": before,
            "windows": [_to_json(w) for w in windows],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MomentBuilder:
        """The builder that :meth:`state` described. Raises InputError where it does not fit."""
        try:
            if state["format"] != _FORMAT:
                raise InputError("moments state", f"has format {state['format']}, expected {_FORMAT}")
            builder = cls(state["seconds"])
            if state["before"] is not None:
                grey = np.array(state["before"]["values"], np.float32).reshape(state["before"]["shape"])
                builder._before = np.round(grey) / 255
            windows = [_from_json(w) for w in state["windows"]]
            builder._window = windows.pop() if state["open"] else None
            builder._done = windows
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("moments state", f"does not fit: {error!r}", "index the source anew") from error
        return builder


def _rise(means: Sequence[tuple[float, float]]) -> float:
    best = 0.0
    for i, (t0, v0) in enumerate(means):
        for t1, v1 in means[i + 1 :]:
            if t1 - t0 > 1.0 + 1e-6:
                break
            best = max(best, v1 - v0)
    return best


def _quiet(changes: Sequence[tuple[float, float]]) -> float:
    best, start = 0.0, None
    for time, change in changes:
        if change >= _QUIET or start is None:
            start = time
        best = max(best, time - start)
    return best


def _to_json(w: _Window) -> dict[str, Any]:
    import cv2

    assert w.frame is not None
    bgr = cv2.cvtColor(w.frame.pixels, cv2.COLOR_RGB2BGR)
    _, png = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return {
        **{k: getattr(w, k) for k in ("number", "first", "last", "counts", "speeds", "best")},
        "means": [list(m) for m in w.means],
        "changes": [list(c) for c in w.changes],
        "people": [p.to_json() for p in w.people],
        "png": base64.b64encode(png.tobytes()).decode(),
        "source": w.frame.source,
        "time": w.frame.time,
        "index": w.frame.index,
        "wall_time": w.frame.wall_time.isoformat() if w.frame.wall_time else None,
    }


def _from_json(data: Mapping[str, Any]) -> _Window:
    from datetime import datetime

    import cv2

    raw = np.frombuffer(base64.b64decode(data["png"]), np.uint8)
    bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("its picture cannot be decoded")
    pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    wall = datetime.fromisoformat(data["wall_time"]) if data["wall_time"] else None
    return _Window(
        **{k: data[k] for k in ("number", "first", "last", "counts", "speeds", "best")},
        means=[(a, b) for a, b in data["means"]],
        changes=[(a, b) for a, b in data["changes"]],
        people=tuple(Person.from_json(p) for p in data["people"]),
        frame=Frame(pixels, data["source"], data["time"], data["index"], wall),
    )
