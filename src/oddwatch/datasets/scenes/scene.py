"""One scene: a place, its people and what happens there, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.core import InputError, Span
from oddwatch.datasets.scenes import events, facts
from oddwatch.datasets.scenes.actors import Mover
from oddwatch.datasets.scenes.camera import random_camera
from oddwatch.datasets.scenes.light import random_lens, random_sky
from oddwatch.datasets.scenes.places import make_place
from oddwatch.datasets.scenes.script import Event, Script
from oddwatch.datasets.scenes.stage import Seen, Stage, State
from oddwatch.datasets.scenes.things import Thing
from oddwatch.datasets.scenes.wardrobe import Look

FPS = 25
SECONDS = 20.0
WIDTH, HEIGHT = 640, 360
TRIES, CLEARLY, LARGE = 10, 0.93, 60
"""A scene is composed anew, up to so often, until a lying person shows that share and that many pixels."""


class Scene:
    """Scene ``index`` of the series ``seed``: 20 s of 640×360 at 25 frames/s with at least one anomaly.

    All but the scenes 1 and 2 of a series show a lying person, so any three scenes do. Everything is a
    function of ``seed`` and ``index``.
    """

    def __init__(self, seed: int, index: int) -> None:
        self.seed, self.index, self.take = seed, index, 0
        order = np.random.default_rng([seed, 55]).permutation(len(events.EVENTS))
        self.kind = list(events.EVENTS)[int(order[index % len(order)])]
        for attempt in range(TRIES):
            self._compose(np.random.default_rng([seed, index, 101, attempt]))
            if self._lying_is_seen():
                break

    def _compose(self, rng: np.random.Generator) -> None:
        self.rng = rng
        _, where, lies = events.EVENTS[self.kind]
        place_name = str(rng.choice(where, p=_place_weights(where)))
        self.place = make_place(rng, place_name)
        self.camera, self.camera_name = random_camera(rng, WIDTH, HEIGHT)
        self.sky = random_sky(rng, self.place)
        self.lens = random_lens(rng, self.sky, 0.6)
        self.script = Script(rng, self.place, self.camera, self.sky, SECONDS)
        self.script.furnish()
        self.events: list[Event] = [events.EVENTS[self.kind][0](self.script)]
        if not lies and self.index not in (1, 2):
            second = str(rng.choice(["fall", "lie", "hit"], p=[0.6, 0.25, 0.15]))
            self.events.append(events.EVENTS[second][0](self.script))
        self.script.crowd(len(self.script.actors) + int(rng.integers(2, 5)))
        self._furniture = tuple(self.script.things)
        self._stage: Stage | None = None

    def _lying_is_seen(self) -> bool:
        """Whether who lies there can be seen: large enough and hardly hidden, in half of the looks taken."""
        lying = [
            t for t in np.arange(1.0, SECONDS, 1.0) if any(_lies(s) for _, _, s in self.people(float(t)))
        ]
        looks = [float(t) for t in lying[:: max(1, len(lying) // 4)]]
        clear = 0
        for time in looks:
            _, drawn = self.draw(time, finish=False)
            clear += any(
                _lies(state)
                and one.visible >= CLEARLY
                and max(one.box[2] - one.box[0], one.box[3] - one.box[1]) >= LARGE
                for one, _, state in drawn
            )
        return 2 * clear >= len(looks)

    def again(self, take: int, kind: str | None = None) -> Scene:
        """The same place, camera, light and standing things at another time: other people, and the event ``kind`` or none.

        So there is footage of what is normal at a place, and of what is not. 20 s; everything is a function of seed, index,
        ``take`` (1 or more) and ``kind``. Without a kind ``events`` and ``spans`` are empty. What an event needs (a fence, a
        parked car) stands there in its take only.

        Raises:
            InputError: a take below 1, an unknown kind, or one that cannot happen in this place.
        """
        if take < 1:
            raise InputError("take", f"expected 1 or more, got {take}", "0 is the scene itself")
        if kind is not None and self.place.name not in events.EVENTS.get(kind, (None, ()))[1]:
            here = [name for name, (_, where, _) in events.EVENTS.items() if self.place.name in where]
            raise InputError(
                f"kind {kind!r}", f"cannot happen in a {self.place.name}", f"one of: {', '.join(here)}"
            )
        other = copy(self)
        other.take, other.kind = take, kind or ""
        number = 0 if kind is None else 1 + list(events.EVENTS).index(kind)
        for attempt in range(TRIES):
            other._compose_again(np.random.default_rng([self.seed, self.index, 303, take, number, attempt]))
            if other._lying_is_seen():
                break
        return other

    def _compose_again(self, rng: np.random.Generator) -> None:
        script = Script(rng, self.place, self.camera, self.sky, SECONDS)
        script.things = list(self._furniture)
        self.rng, self.script, self._stage = rng, script, None
        self.events = [events.EVENTS[self.kind][0](script)] if self.kind else []
        script.crowd(len(script.actors) + int(rng.integers(3, 6)))

    @property
    def actors(self) -> dict[int, Look]:
        """The people's looks by track number."""
        return {a.track: a.look for a in self.script.actors}

    @property
    def spans(self) -> list[Span]:
        """When the anomalies happen, half-open, in seconds."""
        return [Span(round(e.start, 2), round(e.end, 2)) for e in self.events]

    @property
    def stage(self) -> Stage:
        """The scene's stage, built on first use."""
        if self._stage is None:
            rng = np.random.default_rng([self.seed, self.index, 202])
            self._stage = Stage(self.place, self.sky, self.camera, self.lens, rng, self.script.things)
        return self._stage

    def people(self, time: float) -> list[tuple[int, Look, State]]:
        """Everybody present at a time."""
        out = []
        for actor in self.script.actors:
            state = actor.state(time)
            if state is not None and state.y > 1.8:
                out.append((actor.track, actor.look, state))
        return out

    def movers(self, time: float, people: list[tuple[int, Look, State]]) -> list[Thing]:
        """Moving things at a time, bicycles under their riders among them."""
        out = [t for mover in self.script.movers if (t := _moved(mover, time)) is not None]
        for track, look, state in people:
            act = self.script.actors[track - 1].act(time)
            if act is not None and act.bicycle:
                _, _, gone = act.at(time)
                color = look.palette[10]
                out.append(Thing("bicycle", state.x, state.y, state.heading, tuple(float(v) for v in color), -gone * 2.9,  # type: ignore[arg-type]
                                 push=0.02))  # fmt: skip
        return out

    def draw(
        self, time: float, finish: bool = True
    ) -> tuple[NDArray[np.uint8], list[tuple[Seen, Look, State]]]:
        """The picture (360, 640, 3) uint8 at a time, and everybody seen in it; lengths in pixels, time in seconds."""
        people = self.people(time)
        seed = (self.seed * 1009 + self.index * 31 + round(time * FPS) * 7 + self.take * 100_003) % (2**31)
        image, seen = self.stage.draw(people, self.movers(time, people), seed, finish)
        by_track = {track: (look, state) for track, look, state in people}
        return image, [(one, *by_track[one.track]) for one in seen]

    def annotate(self, time: float, drawn: list[tuple[Seen, Look, State]]) -> dict[str, Any]:
        """A frame's annotations: time, the anomalies going on, and per person track, box, visible share,
        keypoints and facts."""
        return {
            "time": round(time, 4),
            "events": [e.kind for e in self.events if e.start <= time < e.end],
            "people": [facts.seen_record(self, one, look, state, drawn) for one, look, state in drawn],
        }

    def frames(
        self, start: float = 0.0, end: float = SECONDS, every: int = 1
    ) -> Iterator[tuple[NDArray[np.uint8], dict[str, Any]]]:
        """Pixels (360, 640, 3) uint8 RGB and annotations of each frame in [start, end) seconds, every ``every``-th.

        ``annotations["mask"](track)`` of a frame gives the visible pixels (360, 640) bool while it is the
        latest frame drawn.
        """
        for i in range(round(start * FPS), round(end * FPS), every):
            image, drawn = self.draw(i / FPS)
            notes = self.annotate(i / FPS, drawn)
            numbers = {one.track: one for one, _, _ in drawn}
            notes["mask"] = lambda track, numbers=numbers: self.stage.mask(numbers[track])
            yield image, notes


def _lies(state: State) -> bool:
    return bool(state.facts.get("posture") == "lying")


def _place_weights(where: tuple[str, ...]) -> list[float]:
    w = [2.5 if name == "street" else 1.0 for name in where]
    return [v / sum(w) for v in w]


def _moved(mover: Mover, time: float) -> Thing | None:
    if not mover.start <= time < mover.end:
        return None
    path = mover.path
    if time <= path[0][0] or len(path) == 1:
        _, x, y, h = path[0]
        gone, z = 0.0, mover.base if len(path) > 1 else 0.0
    elif time >= path[-1][0]:
        _, x, y, h = path[-1]
        gone, z = 0.0, 0.0
    else:
        i = next(k for k in range(len(path) - 1) if path[k][0] <= time < path[k + 1][0])
        (t0, x0, y0, h0), (t1, x1, y1, h1) = path[i], path[i + 1]
        k = (time - t0) / (t1 - t0)
        x, y, h = x0 + k * (x1 - x0), y0 + k * (y1 - y0), h0 + k * ((h1 - h0 + np.pi) % (2 * np.pi) - np.pi)
        gone = time
        z = mover.base * (1 - k) + 4 * mover.arc * k * (1 - k) if mover.base else 0.0
    if y < 1.0:
        return None
    return Thing(mover.kind, x, y, h, mover.color, gone * mover.wheel, z, mover.push, mover.size)
