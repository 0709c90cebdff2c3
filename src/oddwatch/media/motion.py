"""How a track moves, from where its person was at each look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.core.media import Motion, Person

# A sample is (time s, centre x, centre y, head y, width, height, lying 0/1): plain numbers, for JSON.
Sample = tuple[float, float, float, float, float, float, int]


def sample(time: float, person: Person) -> Sample:
    """The numbers of one look that :func:`motion` needs; lengths in pixels."""
    box = person.box
    x, y = box.center
    nose = person.pose.point("nose", 0.3) if person.pose else None
    head = nose[1] if nose else box.y0 + 0.08 * box.height
    return (time, x, y, head, box.width, box.height, int(is_lying(person)))


def is_lying(person: Person) -> bool:
    """Whether the torso is within 35° of level, or, without one, the box clearly wider than tall."""
    box = person.box
    if person.pose is not None:
        named = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
        corners = [person.pose.point(n, 0.25) for n in named]
        top = [c for c in corners[:2] if c]
        low = [c for c in corners[2:] if c]
        if top and low:
            dx, dy = np.mean(top, axis=0) - np.mean(low, axis=0)
            # Seen end-on a torso is a few pixels long and its angle means nothing.
            if np.hypot(dx, dy) >= 0.15 * max(box.width, box.height):
                return bool(abs(dy) <= abs(dx) * np.tan(np.radians(35)))
    return box.width > 1.3 * box.height


def motion(samples: Sequence[Sample]) -> Motion:
    """Motion of a track, see :class:`oddwatch.core.media.Motion`.

    Speeds are taken over steps of at least 0.4 s, so that the detector's jitter at high frame rates does not
    count as movement. The body height is the median of the box's longer side, so that a lying person has one.
    """
    if len(samples) < 2:
        return Motion()
    table = np.array(samples, dtype=np.float64)
    times, centre = table[:, 0], table[:, 1:3]
    body = max(1.0, float(np.median(np.maximum(table[:, 4], table[:, 5]))))
    duration = float(times[-1] - times[0])
    speeds = _speeds(times, centre) / body
    dx, dy = (centre[-1] - centre[0]) / body / max(duration, 1e-6)
    return Motion(
        speed=float(np.median(speeds)) if len(speeds) else 0.0,
        top_speed=float(np.percentile(speeds, 95)) if len(speeds) else 0.0,
        dx=float(dx) if duration > 0 else 0.0,
        dy=float(dy) if duration > 0 else 0.0,
        drop=_drop(table, body),
        lying=_longest(times, table[:, 6] > 0),
        still=_still(times, centre, body),
        duration=duration,
    )


def _speeds(times: np.ndarray, centre: np.ndarray, step: float = 0.4) -> np.ndarray:
    speeds = []
    start = 0
    for i in range(1, len(times)):
        gap = times[i] - times[start]
        if gap >= step:
            speeds.append(float(np.hypot(*(centre[i] - centre[start]))) / gap)
            start = i
    return np.array(speeds)


def _drop(table: np.ndarray, body: float) -> float:
    """Fastest fall of the head within a second, while the feet stay (someone walking towards the camera or
    out of the picture moves both)."""
    fastest = 0.0
    times, head, bottom = table[:, 0], table[:, 3], table[:, 2] + table[:, 5] / 2
    for i in range(len(table) - 1):
        within = np.flatnonzero((times > times[i]) & (times <= times[i] + 1.0 + 1e-6))
        for j in within:
            fall = (head[j] - head[i]) - max(0.0, bottom[j] - bottom[i])
            fastest = max(fastest, fall / body / max(times[j] - times[i], 0.5))
    return float(fastest)


def _longest(times: np.ndarray, flags: np.ndarray, gap: float = 3.5) -> float:
    best, start = 0.0, None
    for i, flag in enumerate(flags):
        if not flag or (start is not None and i and times[i] - times[i - 1] > gap):
            start = None
        if flag:
            start = times[i] if start is None else start
            best = max(best, float(times[i] - start))
    return best


def _still(times: np.ndarray, centre: np.ndarray, body: float, radius: float = 0.12) -> float:
    """Longest time within ``radius`` body heights of where it began."""
    best, start = 0.0, 0
    for i in range(1, len(times)):
        while start < i and np.hypot(*(centre[i] - centre[start])) > radius * body:
            start += 1
        best = max(best, float(times[i] - times[start]))
    return best
