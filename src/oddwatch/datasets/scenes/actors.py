"""Actors: people through time. An actor is a list of acts, each a stretch of doing one thing somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from oddwatch.datasets.scenes import motion as m
from oddwatch.datasets.scenes.doings import DOINGS
from oddwatch.datasets.scenes.motion import Style
from oddwatch.datasets.scenes.skeleton import Array
from oddwatch.datasets.scenes.stage import State
from oddwatch.datasets.scenes.wardrobe import Look

Point = tuple[float, float]
Pose = Callable[[float, float], Array]
"""Seconds since the act began and metres gone → pose."""


@dataclass(frozen=True, slots=True)
class Act:
    """From ``start`` to ``end`` seconds, from ``here`` to ``there`` (metres), doing ``doing`` (a name of ``DOINGS``
    or of its own) in the pose of ``make``; ``lift`` (seconds into the act → value for the skeleton)."""

    start: float
    end: float
    doing: str
    here: Point
    there: Point
    heading: float
    make: Pose
    lift: Callable[[float], float] = lambda t: float("nan")
    posture: str | None = None
    slow_down: bool = False
    bicycle: bool = False

    def at(self, t: float) -> tuple[float, float, float]:
        """Position and metres gone at a time."""
        span = max(self.end - self.start, 1e-6)
        x = min(max((t - self.start) / span, 0.0), 1.0)
        if self.slow_down:
            x = 1 - (1 - x) ** 2
        dx, dy = self.there[0] - self.here[0], self.there[1] - self.here[1]
        return self.here[0] + x * dx, self.here[1] + x * dy, x * float(np.hypot(dx, dy))


@dataclass(slots=True)
class Actor:
    """One person through the scene: track number, look, personal style, and acts in order of time."""

    track: int
    look: Look
    style: Style
    acts: list[Act] = field(default_factory=list)
    phase: float = 0.0

    def act(self, t: float) -> Act | None:
        """The act going on at a time, None when absent."""
        for act in self.acts:
            if act.start <= t < act.end:
                return act
        return None

    def state(self, t: float) -> State | None:
        """Where and how at a time, poses blended over the first third of a second of an act."""
        act = self.act(t)
        if act is None:
            return None
        x, y, gone = act.at(t)
        pose = act.make(t - act.start, gone)
        heading = act.heading
        lift = act.lift(t - act.start)
        i = self.acts.index(act)
        into = t - act.start
        if i and into < 0.35 and self.acts[i - 1].end >= act.start - 1e-6:
            last = self.acts[i - 1]
            k = m.ease(into / 0.35)
            pose = m.blend(last.make(last.end - last.start, last.at(last.end)[2]), pose, k)
            turn = (act.heading - last.heading + np.pi) % (2 * np.pi) - np.pi
            heading = last.heading + turn * k
            before = last.lift(last.end - last.start)
            if lift < 0 <= before or before < 0 <= lift or np.isnan(lift) != np.isnan(before):
                lift = lift if k > 0.5 else before
        for thing in self.look.facts["carrying"]:
            if DOINGS.get(act.doing) is None or DOINGS[act.doing].posture in ("walking", "standing"):
                pose = m.hold_side(pose, thing, self.look.cut["bag_side"])
        doing = DOINGS.get(act.doing)
        facts = {
            "doing": act.doing,
            "posture": act.posture or (doing.posture if doing else "standing"),
            "action": list(doing.action) if doing else [],
            "arms": list(doing.arms) if doing else [],
        }
        return State(x, y, heading, pose, lift, facts)

    @property
    def end(self) -> tuple[float, float, float]:
        """Time and position at the end of the last act."""
        last = self.acts[-1]
        x, y, _ = last.at(last.end)
        return last.end, x, y

    # -- building: each call appends one act that begins where and when the last one ended ----------------------

    def begin(self, t: float, here: Point, heading: float = 0.0) -> Actor:
        """Set the first place and time (an act of no length)."""
        self.acts.append(Act(t, t, "stand", here, here, heading, lambda s, g: m.stand(s, self.style)))
        return self

    def go(self, there: Point, speed: float, doing: str = "walk", until: float | None = None) -> Actor:
        """Walk or run (by speed, m/s) straight to a point; ``until`` cuts it short at a time."""
        t, x, y = self.end
        dx, dy = there[0] - x, there[1] - y
        far = float(np.hypot(dx, dy))
        end = t + far / max(speed, 0.05)
        if until is not None and until < end:
            k = max((until - t) / (end - t), 0.0)
            there, end = (x + k * dx, y + k * dy), max(until, t)
        heading = float(np.arctan2(-dx, dy))
        style, h, phase = self.style, self.look.body.height, self.phase
        if speed > 2.2:
            stride, effort = 1.35 * h, min(speed / 3.4, 1.15)

            def make(s: float, gone: float) -> Array:
                return m.run(phase + 2 * np.pi * gone / stride, style, effort)

        else:
            stride, brisk = 0.84 * h * (0.75 + 0.2 * speed), 0.6 + 0.32 * speed

            def make(s: float, gone: float) -> Array:
                return m.walk(phase + 2 * np.pi * gone / stride, style, brisk)

        self.acts.append(Act(t, end, doing, (x, y), there, heading, make))
        return self

    def stay(self, seconds: float, doing: str = "stand", heading: float | None = None, make: Pose | None = None,
             lift: Callable[[float], float] | None = None, drift: Point = (0.0, 0.0), posture: str | None = None) -> Actor:  # fmt: skip
        """Do something on the spot (or drifting by ``drift`` metres)."""
        t, x, y = self.end
        face = self.acts[-1].heading if heading is None else heading
        make = make or self._still(doing)
        self.acts.append(Act(t, t + seconds, doing, (x, y), (x + drift[0], y + drift[1]), face, make,
                             lift or (lambda s: float("nan")), posture, slow_down=drift != (0.0, 0.0)))  # fmt: skip
        return self

    def _still(self, doing: str) -> Pose:
        style = self.style
        if doing in m.STILL:
            fn = m.STILL[doing]
            return lambda s, g: fn(s, style)
        table: dict[str, Pose] = {
            "pockets": lambda s, g: m.stand(s, style, "in_pockets"),
            "loiter": lambda s, g: m.stand(s * 1.8, style, "in_pockets"),
            "cross_arms": lambda s, g: m.stand(s, style, "crossed"),
            "fight": lambda s, g: m.punch(s, style),
            "struck": lambda s, g: m.guard(s, style),
            "hide": lambda s, g: m.crouch(s, style),
            "sit_ground": lambda s, g: m.sit(s, style, True),
            "sit": lambda s, g: m.sit(s, style),
            "lie": lambda s, g: m.lying(style, "supine"),
            "lie_prone": lambda s, g: m.lying(style, "prone"),
            "lie_side": lambda s, g: m.lying(style, "side"),
        }
        if doing in table:
            return table[doing]
        fixed = DOINGS[doing].make(np.random.default_rng(self.track + 1), style) if doing in DOINGS else None
        return lambda s, g: m.stand(s, style) if fixed is None else fixed

    def fall(self, how: str, seconds: float = 1.1, drift: Point = (0.0, 0.0), doing: str = "fall",
             fly: float = 0.0) -> Actor:  # fmt: skip
        """Go down (``how`` as in :func:`motion.lying`), thrown ``fly`` metres up on the way."""
        last, style = self.acts[-1], self.style
        before = last.make(last.end - last.start, last.at(last.end)[2])

        def lift(s: float) -> float:
            x = s / seconds
            return fly * 4 * x * (1 - x) if fly and x < 1 else float("nan")

        return self.stay(
            seconds, doing, None, lambda s, g: m.fall(s / seconds, style, how, before), lift, drift, "falling"
        )

    def lie(self, seconds: float, how: str) -> Actor:
        """Stay down."""
        return self.stay(seconds, {"supine": "lie", "prone": "lie_prone", "side": "lie_side"}[how])

    def get_up(self, how: str, seconds: float = 2.2) -> Actor:
        """Stand up again."""
        style = self.style
        return self.stay(
            seconds, "get_up", None, lambda s, g: m.rise(s / seconds, style, how), posture="crouching"
        )

    def ride(self, there: Point, speed: float, until: float | None = None) -> Actor:
        """Cycle straight to a point."""
        self.go(there, speed, "cycle", until)
        act, style = self.acts.pop(), self.style
        self.acts.append(Act(act.start, act.end, "cycle", act.here, act.there, act.heading,
                             lambda s, g: m.ride(g * 1.6, style), lambda s: -1.0, "riding", bicycle=True))  # fmt: skip
        return self


@dataclass(slots=True)
class Mover:
    """A thing through time: ``path`` of (time, x, y, heading, phase); still before and after, absent outside
    ``start``–``end``; ``arc`` metres of height of a throw between the two ends."""

    kind: str
    color: tuple[float, float, float]
    path: list[tuple[float, float, float, float]]
    start: float = 0.0
    end: float = 1e9
    arc: float = 0.0
    base: float = 0.0
    wheel: float = 3.0
    size: float = 1.0
    push: float = 0.0
