"""Scripts: who and what is where in a scene, from start to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oddwatch.datasets.scenes import motion as m
from oddwatch.datasets.scenes.actors import Actor, Mover, Point
from oddwatch.datasets.scenes.camera import Camera
from oddwatch.datasets.scenes.light import Sky
from oddwatch.datasets.scenes.places import Place
from oddwatch.datasets.scenes.things import SIZES, Thing
from oddwatch.datasets.scenes.wardrobe import dress

CAR_COLORS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("white", (222, 222, 220)), ("black", (34, 34, 37)), ("grey", (118, 121, 126)), ("grey", (168, 171, 174)),
    ("blue", (42, 66, 118)), ("red", (150, 32, 34)), ("green", (44, 76, 58)), ("yellow", (214, 178, 44)),
    ("beige", (188, 176, 150)),
)  # fmt: skip


@dataclass(slots=True)
class Event:
    """Something that happens: ``kind``, half-open span in seconds, the tracks in it, and the telling of it."""

    kind: str
    start: float
    end: float
    tracks: list[int]
    cause: str
    effect: str
    severity: int
    facts: dict[str, Any] = field(default_factory=dict)


class Script:
    """Builds the people, things and events of one scene of ``seconds``."""

    def __init__(
        self, rng: np.random.Generator, place: Place, camera: Camera, sky: Sky, seconds: float = 20.0
    ) -> None:
        self.rng, self.place, self.camera, self.sky, self.seconds = rng, place, camera, sky, seconds
        self.actors: list[Actor] = []
        self.movers: list[Mover] = []
        self.things: list[Thing] = []
        self.events: list[Event] = []
        self.lanes: list[tuple[Point, Point, float]] = []  # (point, way, half width) kept free for vehicles

    # -- where --------------------------------------------------------------------------------------------------

    def tall(self, x: float, y: float) -> float:
        """Height in pixels of a 1.7 m person standing at a world point, 0 behind the camera."""
        p = self.camera.project(np.array([[x, y, 0.0], [x, y, 1.7]], np.float32))
        return float(np.hypot(*(p[0] - p[1])[:2])) if p[:, 2].min() > 0.8 else 0.0

    def in_view(self, x: float, y: float, margin: float = 0.06) -> bool:
        """Whether somebody standing at a world point is whole in the picture."""
        p = self.camera.project(np.array([[x, y, 0.0], [x, y, 1.8]], np.float32))
        w, h = self.camera.width, self.camera.image_height
        inside = (
            (p[:, 0] > margin * w)
            & (p[:, 0] < (1 - margin) * w)
            & (p[:, 1] > -0.02 * h)
            & (p[:, 1] < 0.98 * h)
        )
        return bool(inside.all() and p[:, 2].min() > 1.5)

    def clear(self, x: float, y: float, room: float = 0.55) -> bool:
        """Whether no fixed thing stands within ``room`` metres and no lane of a vehicle runs there."""
        for (px, py), (wx, wy), half in self.lanes:
            if abs((x - px) * wy - (y - py) * wx) < half:
                return False
        for t in self.things:
            dx, dy = x - t.x, y - t.y
            c, s = np.cos(t.heading), np.sin(t.heading)
            w, length = SIZES[t.kind]
            if abs(c * dx + s * dy) < w / 2 + room and abs(-s * dx + c * dy) < length / 2 + room:
                return False
        return True

    def spot(self, low: float = 48, high: float = 200, on: str = "walk", room: float = 0.6) -> Point:
        """A visible free point where a person is between ``low`` and ``high`` pixels tall; on ``walk`` or ``road``."""
        w, h = self.camera.width, self.camera.image_height
        best: tuple[float, Point] = (1e9, (0.0, 6.0))
        for _ in range(160):
            at = self.camera.ground(self.rng.uniform(0.1, 0.9) * w, self.rng.uniform(0.25, 0.97) * h)
            if at is None or at[1] > 60 or not self.in_view(*at):
                continue
            good = self._on(at, on)
            tall = self.tall(*at)
            miss = max(low - tall, tall - high, 0.0) + 300 * (not good) + 60 * (not self.clear(*at, room))
            if miss == 0:
                return at
            if miss < best[0]:
                best = (miss, at)
        return best[1]

    def _on(self, at: Point, on: str) -> bool:
        if on == "road":
            road = self.place.road
            return road is not None and road[0] + 0.5 < self.place.to_place(*at)[0] < road[1] - 0.5
        return self.place.walkable(*at)

    def along(self) -> Point:
        """A unit direction people walk in here: mostly along the street, any way on open ground."""
        if self.place.name in ("plaza", "park", "car park"):
            angle = self.rng.uniform(0, 2 * np.pi)
        else:
            a, b = self.place.to_world(0.0, 1.0)
            angle = np.arctan2(b, a) + self.rng.normal(0, 0.05) + (np.pi if self.rng.random() < 0.5 else 0)
        return float(np.cos(angle)), float(np.sin(angle))

    def path(self, at: Point, way: Point, before: float, after: float) -> tuple[Point, Point]:
        """From ``before`` metres before ``at`` to ``after`` metres past it, kept off walls and things."""

        def reach(sign: float, far: float) -> Point:
            good = at
            for step in np.arange(0.5, far + 0.5, 0.5):
                p = (at[0] + sign * way[0] * step, at[1] + sign * way[1] * step)
                if not self.place.walkable(*p, margin=0.2) or p[1] < 1.2 or not self.clear(*p, 0.3):
                    break
                good = p
            return good

        return reach(-1, before), reach(1, after)

    # -- who ----------------------------------------------------------------------------------------------------

    def person(self, *, carry: str | None = None, free_hands: bool = False) -> Actor:
        """A new person, not yet placed."""
        look = dress(
            self.rng,
            weather=self.sky.weather if not self.place.indoor else "dry",
            carry=carry,
            free_hands=free_hands,
        )
        actor = Actor(
            len(self.actors) + 1, look, m.style(self.rng), phase=float(self.rng.uniform(0, 2 * np.pi))
        )
        self.actors.append(actor)
        return actor

    def facing(self, a: Point, b: Point) -> float:
        """The heading that looks from ``a`` to ``b``."""
        return float(np.arctan2(-(b[0] - a[0]), b[1] - a[1]))

    def passer_by(
        self,
        speed: float | None = None,
        start: float | None = None,
        doing: str = "walk",
        carry: str | None = None,
    ) -> Actor:
        """Somebody who walks through, from out of view to out of view where there is room."""
        rng = self.rng
        speed = speed or float(rng.normal(1.3, 0.18))
        at, way = self.spot(), self.along()
        lead = float(rng.uniform(1, 14)) * speed
        here, there = self.path(at, way, lead, 26.0)
        begin = max(0.0, rng.uniform(-2, 4)) if start is None else start
        actor = self.person(carry=carry).begin(begin, here)
        actor.go(there, speed, doing, self.seconds)
        t = actor.end[0]
        if t < self.seconds - 1:  # the way ends at a wall: look around, come back
            actor.stay(float(rng.uniform(1, 3)), str(rng.choice(["stand", "pockets", "phone"]))).go(
                here, speed, doing, self.seconds
            )
        if actor.end[0] < self.seconds:
            actor.stay(self.seconds - actor.end[0])
        return actor

    def rest(self, actor: Actor, doing: str = "stand") -> Actor:
        """Fill what is left of the scene."""
        left = self.seconds - actor.end[0]
        return actor.stay(left, doing) if left > 1e-3 else actor

    def bystander(self, doing: str) -> Actor:
        """Somebody who stays in one place doing something normal."""
        at = self.spot(room=0.5)
        carry = {"phone": "phone", "call": "phone", "carry": "box"}.get(doing)
        free = doing in ("wave", "talk", "cross_arms", "pockets", "sit_ground", "dance")
        actor = self.person(carry=carry, free_hands=free).begin(
            0.0, at, float(self.rng.uniform(0, 2 * np.pi))
        )
        if doing == "wave":
            t = float(self.rng.uniform(1, 8))
            return self.rest(actor.stay(t, "stand").stay(float(self.rng.uniform(3, 6)), "wave"))
        if doing == "bend":
            style, t = actor.style, float(self.rng.uniform(1, 9))
            return self.rest(
                actor.stay(t, "stand").stay(2.8, "bend", make=lambda s, g: m.bend(s / 2.8, style))
            )
        return self.rest(actor, doing)

    def talkers(self) -> None:
        """Two people face to face, talking."""
        at = self.spot(room=0.9)
        way = float(self.rng.uniform(0, 2 * np.pi))
        gap = float(self.rng.uniform(0.75, 1.1)) / 2
        spots = [(at[0] + k * gap * np.cos(way), at[1] + k * gap * np.sin(way)) for k in (-1.0, 1.0)]
        for p, q in (spots, spots[::-1]):
            actor = self.person(carry="none" if self.rng.random() < 0.6 else "backpack")
            actor.begin(0.0, (float(p[0]), float(p[1])), self.facing(p, q))
            self.rest(actor, "talk")

    def sitter(self) -> Actor | None:
        """Somebody on a bench, if there is one in view."""
        for bench in self.things:
            taken = any(a.acts[0].here == (bench.x, bench.y) for a in self.actors if a.acts)
            if bench.kind == "bench" and self.in_view(bench.x, bench.y) and not taken:
                actor = self.person(free_hands=True).begin(0.0, (bench.x, bench.y), bench.heading)
                left = self.seconds
                return actor.stay(left, "sit", lift=lambda s: -0.57)
        return None

    def cyclist(self, start: float = 0.0) -> Actor:
        """Somebody who rides through, on the road where there is one."""
        at = self.spot(on="road" if self.place.road and self.place.name == "street" else "walk")
        way = self.along()
        speed = float(self.rng.uniform(3.2, 4.6))
        here = (at[0] - way[0] * 16, at[1] - way[1] * 16)
        actor = self.person(free_hands=True).begin(start, here)
        actor.ride((at[0] + way[0] * 40, at[1] + way[1] * 40), speed, self.seconds)
        return actor

    def dog_walker(self) -> Actor:
        """Somebody walking a dog."""
        actor = self.passer_by(1.15, 0.0, "walk_dog", "none")
        path = []
        color = [(92, 66, 42), (40, 36, 34), (198, 180, 150), (150, 116, 76)][int(self.rng.integers(4))]
        for t in np.arange(0.0, self.seconds + 0.2, 0.2):
            act = actor.act(float(t))
            if act is None:
                continue
            x, y, _ = act.at(float(t))
            h = act.heading
            path.append((float(t), x + 0.55 * float(np.cos(h)) - 0.3 * float(np.sin(h)),
                         y + 0.55 * float(np.sin(h)) + 0.3 * float(np.cos(h)), h))  # fmt: skip
        self.movers.append(Mover("dog", color, path, wheel=9.0))
        return actor

    def crowd(self, count: int) -> None:
        """The people of an ordinary moment."""
        kinds = ["walk", "walk", "walk", "talk", "sit", "phone", "stand", "pockets", "run", "cycle", "dog", "bend", "wave",
                 "carry", "call", "cross_arms"]  # fmt: skip
        while len(self.actors) < count:
            kind = str(self.rng.choice(kinds))
            if kind == "walk":
                self.passer_by()
            elif kind == "run":
                self.passer_by(
                    float(self.rng.uniform(2.6, 3.4)), float(self.rng.uniform(0, 10)), "run", "none"
                )
            elif kind == "carry":
                self.passer_by(1.1, None, "carry", "box")
            elif kind == "talk":
                self.talkers()
            elif kind == "sit":
                if self.sitter() is None:
                    self.bystander("sit_ground" if self.place.name == "park" else "stand")
            elif kind == "cycle":
                if self.place.name in ("street", "park", "plaza"):
                    self.cyclist(float(self.rng.uniform(0, 10)))
            elif kind == "dog":
                if self.place.name in ("street", "park"):
                    self.dog_walker()
            else:
                self.bystander(kind)

    # -- what ---------------------------------------------------------------------------------------------------

    def car_color(self) -> tuple[str, tuple[float, float, float]]:
        """A name and an sRGB colour of a car."""
        name, rgb = CAR_COLORS[int(self.rng.integers(len(CAR_COLORS)))]
        v = np.clip(np.array(rgb) + self.rng.normal(0, 6), 8, 245)
        return name, (float(v[0]), float(v[1]), float(v[2]))

    def add(
        self, kind: str, at: Point, heading: float = 0.0, color: tuple[float, float, float] | None = None
    ) -> Thing:
        """Stand a fixed thing at a world point."""
        rng = self.rng
        table = {"tree": (58, 82, 40), "bench": (112, 82, 54), "bin": (56, 74, 60), "lamp": (80, 82, 86), "fence": (74, 80, 78),
                 "bicycle": (60, 70, 110)}  # fmt: skip
        if color is None:
            base = np.array(table.get(kind, self.car_color()[1])) * rng.uniform(0.8, 1.25) + rng.normal(
                0, 8, 3
            )
            base = np.clip(base, 10, 240)
            color = (float(base[0]), float(base[1]), float(base[2]))
        thing = Thing(kind, at[0], at[1], heading, color)
        self.things.append(thing)
        return thing

    def furnish(self) -> None:
        """Parked cars, trees, lamps, benches and bins where they belong."""
        rng, place = self.rng, self.place
        if place.name == "street" and place.road is not None:
            lo, hi = place.road
            along = abs(np.cos(place.yaw)) > 0.5
            b_range = (4.0, 40.0) if along else (-16.0, 16.0)
            far_side, near_side = (hi, lo) if abs(hi) > abs(lo) else (lo, hi)
            sign = 1 if far_side == hi else -1
            for b in np.arange(b_range[0], b_range[1], 5.6):
                if rng.random() < 0.42:
                    self._put(
                        "car",
                        far_side - sign * 1.05,
                        float(b + rng.uniform(-0.4, 0.4)),
                        place.yaw + np.pi * (rng.random() < 0.5),
                    )
            side = float(sign) * -0.55
            for b in np.arange(b_range[0], b_range[1], 9.0):
                kind = str(rng.choice(["tree", "lamp", "bin", "none"], p=[0.3, 0.3, 0.12, 0.28]))
                if kind != "none":
                    self._put(
                        kind, far_side - side if rng.random() < 0.6 else near_side + side, float(b), place.yaw
                    )
            if rng.random() < 0.5:
                self._scatter("bench", 1)
            if rng.random() < 0.4:
                self._scatter("bicycle", 1)
        elif place.name == "car park":
            for row, turn in ((place.extras["row1"], 0.0), (place.extras["row2"], np.pi)):
                for b in np.arange(4.2, place.deep - 3, 2.5):
                    if rng.random() < 0.55:
                        self._put("car", row, float(b), place.yaw + np.pi / 2 + turn * (rng.random() < 0.5))
            self._scatter("lamp", 2)
        elif place.name in ("plaza", "park"):
            for kind, n in (
                ("bench", 2),
                ("tree", 3 if place.name == "park" else 2),
                ("lamp", 2),
                ("bin", 1),
                ("bicycle", 1),
            ):
                self._scatter(kind, int(rng.integers(0, n + 1)))
        elif place.name == "platform":
            self._scatter("bench", int(rng.integers(1, 3)))
            self._scatter("lamp", 1)
            self._scatter("bin", 1)
        elif rng.random() < 0.5:
            self._scatter("bench", 1)

    def _put(self, kind: str, a: float, b: float, heading: float) -> None:
        x, y = self.place.to_world(a, b)
        if y > 2.5 and (kind != "tree" or self.tall(x, y) < 120):
            self.add(kind, (x, y), float(heading))

    def _scatter(self, kind: str, n: int) -> None:
        for _ in range(n):
            high = 150 if kind in ("bench", "bin", "bicycle") else 85
            at = self.spot(30, high, room=0.9)
            if self.tall(*at) < 1.25 * high and self.place.walkable(*at):
                self.add(kind, at, float(self.rng.uniform(0, 2 * np.pi)))
