"""What the people of one camera have been doing over the last seconds, from how they stood and moved at each look.

A single look tells a raised leg, not climbing, and an embrace from blows only by what follows. Here postures are averaged over
a moment; a fall is the turn from upright to lying; running away is running while others run too; loitering is much walking
that leads nowhere; hands on another person for a second are a fight, and one that falls beside somebody was perhaps hit.
Lengths are in body heights (the median of the boxes' longer side).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np

from oddwatch.core import Facts, Person
from oddwatch.describe.atoms import INDEX
from oddwatch.describe.body import POSTURES, by_speed, posture, soft
from oddwatch.describe.company import between, near

MOMENT, CLIMB = 0.7, 2.0
"""Seconds over which postures are averaged, and climbing, whose single looks come up in a run as well."""
CLIMBS = 0.08
"""Mean probability of climbing that is even odds: half of the looks at who climbs show somebody who stands or bends."""
FELL = 3.0
"""Seconds within which somebody upright who then lies has fallen."""
BLOWS, LEAST_BLOWS, HELD = 1.5, 2, 0.33
"""Seconds and looks over which hands on somebody are averaged; the mean that is even odds for what they do."""
WALK, RUN, TOGETHER = 0.18, 1.2, 1.5
"""Body heights a second from which somebody walks, runs; seconds within which people run together."""
STEP = 0.5
"""Seconds between the places of a walk: a detector's jitter is no walking."""
MEMORY, LEAST_WALK = 8.0, 5.0
"""Seconds of a track that are remembered, and of which loitering is told."""
ASTRAY, ROOM = 1.3, 1.5
"""Walked further than led anywhere, from which somebody loiters; the radius beyond which it is no longer one place."""
NEAR = 1.5
"""Body heights from a lost track within which somebody is the same."""
SWAP = 1.2
"""Body heights a second beyond which a track has jumped to somebody else, or runs: not loitering."""
HANDS = ("fight", "push", "hug")
ACTED = tuple(f"action.{word}" for word in (*HANDS, "hit", "flee", "loiter"))
"""Actions that :meth:`Acts.of` tells of, beside postures."""
_UPRIGHT = [POSTURES.index(w) for w in ("standing", "walking", "running", "bending", "riding")]


@dataclass(slots=True)
class _Step:
    """A person at one look: where the feet are and the longer side (pixels), posture, actions with others, who is near."""

    time: float
    feet: tuple[float, float]
    size: float
    posture: np.ndarray | None
    pair: dict[str, float]
    beside: frozenset[int]


@dataclass
class Acts:
    """:meth:`look` takes the people of each look in order of time; :meth:`of` says what one of them has been doing. Without
    ``company`` only :meth:`postures` are told, and what people do to one another is not looked for."""

    company: bool = True
    _steps: dict[int, deque[_Step]] = field(default_factory=dict, repr=False)
    _fell: dict[int, float] = field(default_factory=dict, repr=False)

    def look(self, time: float, people: Sequence[Person]) -> None:
        """Note everybody with a track who is in view at ``time``."""
        tracked = [p for p in people if p.track is not None]
        for person in tracked:
            close = near(person, [p for p in tracked if p is not person], 0.8) if self.company else []
            box, points = person.box, None if person.pose is None else person.pose.points
            told = None
            if points is not None and (points[[5, 6, 11, 12], 2] >= 0.2).sum() >= 3:
                likely = posture(points, box)
                told = np.array([likely[w] for w in POSTURES])
            step = _Step(
                time,
                ((box.x0 + box.x1) / 2, box.y1),
                max(box.width, box.height),
                told,
                between(person, close),
                frozenset(p.track for p in close if p.track is not None),
            )
            self._steps.setdefault(person.track or 0, deque()).append(step)
        for track, steps in list(self._steps.items()):
            while steps and time - steps[0].time > MEMORY:
                steps.popleft()
            if not steps:
                del self._steps[track]
                self._fell.pop(track, None)
        for person in tracked if self.company else ():
            if self._falling(person.track or 0) > 0.5:
                self._fell.setdefault(person.track or 0, time)

    def of(self, track: int) -> dict[str, float]:
        """Atom → probability, of what can be told; nothing of a track that is not in view."""
        steps = self._steps.get(track)
        if not steps:
            return {}
        told = self.postures(track)
        if told:
            told["posture.falling"] = max(told["posture.falling"], 0.9 * self._falling(track))
        running = soft(self._speed(steps), RUN, 0.15)
        told["action.flee"] = running * (0.25 + 0.65 * self._together(track))
        told |= self._blows(track)
        walk = _walk(steps)
        if walk[-1].time - walk[0].time >= LEAST_WALK:
            told["action.loiter"] = 0.02 + 0.9 * soft(_astray(walk), ASTRAY, 0.2)
        return {atom: _sure(p) for atom, p in told.items()}

    def postures(self, track: int) -> dict[str, float]:
        """Atom → probability of how somebody holds themselves; nothing where no look showed it."""
        steps = self._steps.get(track, deque())
        mean, longer = self._posture(steps, MOMENT), self._posture(steps, CLIMB)
        if mean is None or longer is None:
            return {}
        speed = self._speed(steps)
        told = by_speed(mean, soft(speed, WALK, 0.04), speed, speed)
        told["climbing"] = soft(longer["climbing"], CLIMBS, 0.02)
        return {f"posture.{word}": _sure(p) for word, p in told.items()}

    def told(self, track: int, facts: Facts) -> Facts:
        """``facts`` of somebody, with what they have been doing in the place of what a single look shows of it."""
        p, known = facts.p.copy(), facts.known.copy()
        for atom, value in self.of(track).items():
            p[INDEX[atom]], known[INDEX[atom]] = value, True
        return replace(facts, p=p, known=known)

    @staticmethod
    def _posture(steps: Sequence[_Step], seconds: float) -> dict[str, float] | None:
        """Mean posture over the last ``seconds``; None where no look showed it."""
        rows = [s.posture for s in _last(steps, seconds) if s.posture is not None]
        return dict(zip(POSTURES, np.mean(rows, axis=0).tolist(), strict=True)) if rows else None

    def _falling(self, track: int) -> float:
        """How sure it is that somebody lies who was upright just before, perhaps as a track that was lost where they lie."""
        steps = self._steps[track]
        now = self._posture(steps, MOMENT)
        if now is None:
            return 0.0
        here, time = steps[-1], steps[-1].time
        lost = [own for own in self._steps.values() if own[-1].time < time and _apart(own[-1], here) < NEAR]
        before = [s for own in (steps, *lost) for s in own if MOMENT <= time - s.time <= FELL]
        up = [float(s.posture[_UPRIGHT].sum()) for s in before if s.posture is not None]
        return float(now["lying"] * soft(max(up, default=0.0), 0.6, 0.08))

    @staticmethod
    def _speed(steps: Sequence[_Step], reach: float = 1.0) -> float:
        """Body heights a second over the last ``reach`` seconds; 0 of somebody just come."""
        recent = _last(steps, reach)
        seconds = recent[-1].time - recent[0].time
        if seconds < 0.2:
            return 0.0
        size = float(np.median([s.size for s in steps]))
        return float(np.hypot(*np.subtract(recent[-1].feet, recent[0].feet))) / seconds / size

    def _together(self, track: int) -> float:
        """How sure it is that most of the people run, and not one alone."""
        time = self._steps[track][-1].time
        there = [own for own in self._steps.values() if time - own[-1].time <= TOGETHER]
        ran = sum(soft(self._speed(own), RUN, 0.15) for own in there)
        return soft(ran, 1.6, 0.12) * soft(ran / len(there), 0.5, 0.06)

    def _blows(self, track: int) -> dict[str, float]:
        """What is done to somebody near: from hands on them for a while, or because they fell."""
        steps = self._steps[track]
        recent = [s.pair for s in _last(steps, BLOWS)]
        told = {f"action.{word}": 0.012 for word in HANDS}
        if sum(bool(pair) for pair in recent) >= LEAST_BLOWS:
            for word in HANDS:
                mean = float(np.mean([pair.get(word, 0.0) for pair in recent]))
                told[f"action.{word}"] = min(0.9, 0.5 * mean / HELD)
        now = steps[-1].time
        beside = frozenset[int]().union(*(s.beside for s in steps if now - s.time <= FELL))
        fallen = any(now - self._fell.get(other, -np.inf) <= FELL for other in (*beside, track))
        struck = 0.55 if fallen and beside else 0.0
        told["action.hit"] = max(0.6 * told["action.fight"], 0.7 * told["action.push"], struck)
        return told


def _sure(p: float) -> float:
    return float(min(max(p, 0.005), 0.98))


def _last(steps: Sequence[_Step], seconds: float) -> list[_Step]:
    """The steps of the last ``seconds``, in order."""
    since = steps[-1].time - seconds - 1e-6 if steps else 0.0
    return list(takewhile(lambda s: s.time >= since, reversed(steps)))[::-1]


def _apart(a: _Step, b: _Step) -> float:
    return float(np.hypot(*np.subtract(a.feet, b.feet))) / max(a.size, b.size)


def _walk(steps: Sequence[_Step]) -> list[_Step]:
    """The last steps without a jump."""
    walk = [steps[-1]]
    for step in reversed(list(steps)[:-1]):
        if _apart(step, walk[-1]) > SWAP * (walk[-1].time - step.time):
            break
        walk.append(step)
    return walk[::-1]


def _astray(steps: Sequence[_Step]) -> float:
    """How much further somebody walked than they came, less where it was not in one place."""
    times = np.array([s.time for s in steps])
    grid = np.arange(times[0], times[-1] + 1e-6, STEP)
    size = float(np.median([s.size for s in steps]))
    feet = np.array([s.feet for s in steps]) / size
    places = np.stack([np.interp(grid, times, feet[:, k]) for k in (0, 1)], axis=1)
    kernel = np.array([0.25, 0.5, 0.25])
    smooth = np.stack(
        [np.convolve(np.pad(places[:, k], 1, mode="edge"), kernel, "valid") for k in (0, 1)], axis=1
    )
    walked = float(np.hypot(*np.diff(smooth, axis=0).T).sum())
    came = float(np.hypot(*(smooth[-1] - smooth[0])))
    radius = float(np.hypot(*(smooth - smooth.mean(axis=0)).T).max())
    return (walked - came) * min(1.0, ROOM / max(radius, 1e-6))
