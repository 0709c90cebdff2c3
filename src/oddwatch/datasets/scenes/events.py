"""Anomalies: one function each, writing people, things and an event with cause, effect and severity into a script."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oddwatch.datasets.scenes import motion as m
from oddwatch.datasets.scenes.actors import Actor, Mover, Point
from oddwatch.datasets.scenes.script import Event, Script

HOWS = ("prone", "supine", "side")


def _how(s: Script) -> str:
    return str(s.rng.choice(HOWS))


def _when(s: Script, low: float = 4.0, high: float = 10.0) -> float:
    return float(s.rng.uniform(low, high))


def _shift(p: Point, way: Point, metres: float) -> Point:
    return p[0] + way[0] * metres, p[1] + way[1] * metres


def _down(s: Script, actor: Actor, how: str, up: bool) -> float:
    """Lie for a while and perhaps get up; returns when the lying ends."""
    left = s.seconds - actor.end[0]
    stay = float(s.rng.uniform(4, 7)) if up else left
    actor.lie(min(stay, left), how)
    over = actor.end[0]
    if s.seconds - over > 3:
        s.rest(actor.get_up(how))
    return over


def fall(s: Script) -> Event:
    """A walker trips and goes down; sometimes gets up, sometimes is helped."""
    at, way, t, how = s.spot(70, 190), s.along(), _when(s), _how(s)
    speed = float(s.rng.uniform(1.0, 1.6))
    here, _ = s.path(at, way, t * speed, 0.0)
    a = s.person(free_hands=True)
    far = float(np.hypot(at[0] - here[0], at[1] - here[1]))
    a.begin(max(0.0, t - far / speed), here).go(at, speed)
    t = a.end[0]
    a.fall(how, float(s.rng.uniform(0.9, 1.25)), (way[0] * 0.5, way[1] * 0.5))
    over = _down(s, a, how, s.rng.random() < 0.45)
    tracks = [a.track]
    if s.rng.random() < 0.45:
        helper = s.person(carry="none")
        begin = t + 0.8
        start, _ = s.path(_shift(at, way, -1.0), way, 6.0, 0.0)
        near = _shift(at, way, -0.35)
        helper.begin(begin, start).go(near, 2.6, "run").stay(max(over - helper.end[0], 1.0), "kneel")
        s.rest(helper)
    cause = str(
        s.rng.choice(
            ["tripped over their own feet", "lost their balance while walking", "slipped on the ground"]
        )
    )
    return Event(
        "fall", t, over, tracks, cause, f"ended up lying {_words(how)} on the ground", 3, {"how": how}
    )


def _words(how: str) -> str:
    return {"prone": "face down", "supine": "on the back", "side": "on one side"}[how]


def lie(s: Script) -> Event:
    """Somebody lies on the ground from the start."""
    at, how = s.spot(70, 190), _how(s)
    a = s.person(carry="none").begin(0.0, at, float(s.rng.uniform(0, 2 * np.pi))).lie(s.seconds, how)
    return Event("lie", 0.0, s.seconds, [a.track], "collapsed before the recording began, the reason is not seen",
                 "lies motionless on the ground", 4, {"how": how})  # fmt: skip


def fight(s: Script) -> Event:
    """Two people walk up to each other and fight; one may be knocked down."""
    at, way, t = s.spot(75, 190, room=1.2), s.along(), _when(s, 3, 7)
    side = (way[1], -way[0])
    a, b = s.person(carry="none"), s.person(carry="none")
    lasts = float(s.rng.uniform(4.5, 7.5))
    for actor, k in ((a, -1.0), (b, 1.0)):
        goal = _shift(at, side, 0.36 * k)
        here, _ = s.path(_shift(at, side, 0.5 * k), (side[0] * -k, side[1] * -k), 1.2 * t, 0.0)
        far = float(np.hypot(goal[0] - here[0], goal[1] - here[1]))
        actor.begin(max(0.0, t - far / 1.25), here).go(goal, 1.25)
        if actor.end[0] < t:
            actor.stay(t - actor.end[0], "talk")
    t = max(a.end[0], b.end[0])
    for actor in (a, b):
        if actor.end[0] < t:
            actor.stay(t - actor.end[0], "stand")
    face_a, face_b = s.facing(a.end[1:], b.end[1:]), s.facing(b.end[1:], a.end[1:])
    a.stay(lasts, "fight", face_a)
    over, how = t + lasts, _how(s)
    effect = "the two exchanged blows until they let go of each other"
    if s.rng.random() < 0.6:
        b.stay(lasts * 0.7, "fight", face_b)
        b.fall("supine", 0.9, (side[0] * 0.45, side[1] * 0.45), "fall")
        b.lie(s.seconds - b.end[0], "supine")
        how, effect, over = "supine", "one of them was knocked to the ground", s.seconds
    else:
        b.stay(lasts, "struck" if s.rng.random() < 0.4 else "fight", face_b)
        s.rest(b.go(_shift(b.end[1:], side, 8.0), 1.5, "walk", s.seconds))
    s.rest(a.go(_shift(a.end[1:], side, -8.0), 1.6, "walk", s.seconds))
    return Event(
        "fight",
        t,
        over,
        [a.track, b.track],
        "an argument between two people turned violent",
        effect,
        4,
        {"how": how},
    )


def hit(s: Script) -> Event:
    """One person walks up to another and strikes, kicks or pushes them down, then runs."""
    at, way, t = s.spot(75, 190, room=1.0), s.along(), _when(s, 4, 8)
    manner = str(s.rng.choice(["fight", "kick", "push"]))
    victim = s.person(carry="none").begin(0.0, at, s.facing(at, _shift(at, way, -3)))
    victim.stay(t + 0.5, str(s.rng.choice(["stand", "pockets", "look_down"])))
    hitter = s.person(carry="stick" if manner == "fight" and s.rng.random() < 0.4 else "none")
    here, _ = s.path(_shift(at, way, -0.8), way, 1.5 * t, 0.0)
    goal = _shift(at, way, -0.72)
    far = float(np.hypot(goal[0] - here[0], goal[1] - here[1]))
    hitter.begin(max(0.0, t - far / 1.5), here).go(goal, 1.5)
    t = hitter.end[0]
    hitter.stay(1.7, manner, s.facing(goal, at))
    away, _ = s.path(_shift(at, way, -1.2), way, 30.0, 0.0)
    hitter.go(away, 3.6, "flee", s.seconds)
    victim.acts[-1] = type(victim.acts[-1])(0.0, t + 0.5, victim.acts[-1].doing, at, at, victim.acts[-1].heading,
                                            victim.acts[-1].make)  # fmt: skip
    victim.stay(0.4, "struck")
    victim.fall("supine", 0.9, (way[0] * 0.5, way[1] * 0.5))
    over = _down(s, victim, "supine", s.rng.random() < 0.3)
    verb = {"fight": "struck", "kick": "kicked", "push": "pushed"}[manner]
    return Event("hit", t, over, [hitter.track, victim.track], f"was {verb} by another person without warning",
                 "fell backwards and stayed on the ground", 4, {"manner": manner, "how": "supine"})  # fmt: skip


def crash(s: Script) -> Event:
    """A cyclist rides into a walker; both go down."""
    at, way, t = s.spot(70, 180, room=1.2), s.along(), _when(s, 4, 9)
    side = (way[1], -way[0])
    walker, rider = s.person(carry="none"), s.person(carry="none")
    here, _ = s.path(at, side, 1.2 * t, 0.0)
    far = float(np.hypot(at[0] - here[0], at[1] - here[1]))
    walker.begin(max(0.0, t - far / 1.2), here, s.facing(at, _shift(at, side, 1.0))).go(at, 1.2)
    if walker.end[0] < t:
        walker.stay(t - walker.end[0], "phone")
    speed, stop = float(s.rng.uniform(3.4, 4.6)), _shift(at, way, -0.75)
    ride_far = min(speed * t, 30.0)
    rider.begin(t - ride_far / speed, _shift(stop, way, -ride_far)).ride(stop, speed)
    walker.fall("side", 0.95, (way[0] * 0.9, way[1] * 0.9), "crash", 0.12)
    walker.lie(s.seconds - walker.end[0], "side")
    rider.fall("prone", 0.9, (way[0] * 0.3 + side[0] * 0.7, way[1] * 0.3 + side[1] * 0.7), "fall")
    over = _down(s, rider, "prone", True)
    s.movers.append(
        Mover(
            "bicycle", s.car_color()[1], [(t, stop[0], stop[1], s.facing(stop, at) + 0.9)], t, 1e9, size=0.95
        )
    )
    return Event("bicycle collision", t, s.seconds, [walker.track, rider.track],
                 "a cyclist did not brake and rode into a pedestrian", "both fell to the ground", 4,
                 {"how": "side", "rider_up": over})  # fmt: skip


def car_crash(s: Script) -> Event:
    """A car hits somebody who crosses the road."""
    at, t = s.spot(60, 150, "road"), _when(s, 4, 8)
    a, b = s.place.to_world(0.0, 1.0)
    way = (a, b) if s.rng.random() < 0.5 else (-a, -b)
    side = (way[1], -way[0])
    walker = s.person(carry="none")
    start = _shift(at, side, -min(1.3 * t, 4.5))
    walker.begin(max(0.0, t - float(np.hypot(at[0] - start[0], at[1] - start[1])) / 1.3), start).go(at, 1.3)
    t = walker.end[0]
    speed = float(s.rng.uniform(6, 9))
    heading = s.facing(at, _shift(at, way, 1))
    name, color = s.car_color()
    s.lanes.append((at, way, 1.3))
    contact = _shift(at, way, -2.45)
    path = [(t - 4.0, *_shift(contact, way, -4.0 * speed), heading), (t, *contact, heading),
            (t + 0.5, *_shift(contact, way, 1.1), heading), (t + 1.0, *_shift(contact, way, 1.4), heading)]  # fmt: skip
    s.movers.append(Mover("car", color, path, t - 4.0))
    walker.fall("side", 1.0, (way[0] * 2.6, way[1] * 2.6), "knocked", 0.5)
    walker.lie(s.seconds - walker.end[0], "side")
    return Event("car collision", t, s.seconds, [walker.track], f"a {name} car did not stop for a person crossing the road",
                 "the person was thrown to the ground and stayed down", 5, {"car": name, "how": "side"})  # fmt: skip


def climb(s: Script) -> Event:
    """Somebody walks to a fence and climbs over it."""
    at, t = s.spot(60, 150, room=1.4), _when(s, 3, 7)
    heading = float(s.rng.normal(0, 0.5))
    face = (-float(np.sin(heading)), float(np.cos(heading)))
    s.add("fence", _shift(at, face, 0.3), heading)
    a = s.person(carry="none" if s.rng.random() < 0.6 else "backpack")
    here, _ = s.path(_shift(at, face, -0.4), face, 1.3 * t, 0.0)
    far = float(np.hypot(at[0] - here[0], at[1] - here[1]))
    a.begin(max(0.0, t - far / 1.3), here, heading).go(at, 1.3)
    t, style = a.end[0], a.style
    up = float(s.rng.uniform(3.2, 4.6))
    a.stay(up, "climb", heading, lambda u, g: m.climb(u, style), lambda u: 0.05 + 1.15 * m.ease(u / up))
    a.stay(0.7, "jump", heading, lambda u, g: m.jump(u / 0.7, style), lambda u: 1.2 * (1 - u / 0.7) + 0.5 * u * (0.7 - u),
           (face[0] * 0.9, face[1] * 0.9))  # fmt: skip
    over = a.end[0]
    a.go(_shift(a.end[1:], face, 8.0), 1.9, "walk", s.seconds)
    s.rest(a)
    return Event(
        "climb",
        t,
        over,
        [a.track],
        "wanted to get past the fence",
        "climbed over the fence and went on behind it",
        3,
    )


def throw(s: Script) -> Event:
    """Somebody throws something across the place."""
    at, t = s.spot(75, 190), _when(s, 3, 8)
    heading = float(s.rng.uniform(0, 2 * np.pi))
    face = (-float(np.sin(heading)), float(np.cos(heading)))
    a = s.person(carry="none").begin(0.0, at, heading)
    times = int(s.rng.integers(2, 4))
    a.stay(t, "stand")
    style = a.style
    for _ in range(times):
        begin = a.end[0]
        a.stay(1.5, "throw", heading, lambda u, g: m.throw(u / 1.5, style))
        go = begin + 0.8
        far = float(s.rng.uniform(4, 8))
        p, q = _shift(at, face, 0.5), _shift(at, face, far)
        s.movers.append(
            Mover("ball", (74, 66, 60), [(go, *p, 0.0), (go + 0.9, *q, 0.0)], go, 1e9, 0.8, 1.5, size=0.62)
        )
        a.stay(float(s.rng.uniform(0.6, 1.6)), "stand")
    over = a.end[0]
    s.rest(a)
    return Event(
        "throw", t, over, [a.track], "was angry and picked up stones", "threw stones across the place", 2
    )


def hide(s: Script) -> Event:
    """Somebody sneaks up to a parked car, crouches behind it and looks around."""
    at = s.spot(60, 140, "road" if s.place.name == "car park" else "walk", 1.6)
    away = np.array(at) / (np.hypot(*at) + 1e-6)
    side = (-away[1], away[0])
    car = s.add("car", at, float(np.arctan2(-side[0], side[1])), s.car_color()[1])
    t = _when(s, 3, 6)
    k = float(s.rng.choice([-1.0, 1.0]))
    goal = (at[0] + away[0] * 0.9 + side[0] * 2.2 * k, at[1] + away[1] * 0.9 + side[1] * 2.2 * k)
    goal = (float(goal[0]), float(goal[1]))
    a = s.person(carry="none")
    start = (goal[0] + side[0] * k * 6, goal[1] + side[1] * k * 6)
    a.begin(0.0, (float(start[0]), float(start[1]))).go(goal, 6.0 / t)
    t = a.end[0]
    lasts = float(s.rng.uniform(5, 9))
    a.stay(lasts, "hide", s.facing(goal, (car.x, car.y)))
    over = a.end[0]
    a.go((float(start[0]), float(start[1])), 3.2, "flee", s.seconds)
    s.rest(a)
    return Event(
        "hide",
        t,
        over,
        [a.track],
        "did not want to be seen",
        "crouched behind a parked car and looked around",
        2,
    )


def loiter(s: Script) -> Event:
    """Somebody walks up and down in front of a parked car or a door all the time."""
    at = s.spot(65, 170, room=0.8)
    way = s.along()
    if s.place.name in ("street", "car park", "plaza"):
        s.add("car", _shift(at, (way[1], -way[0]), 1.9), s.facing(at, _shift(at, way, 1.0)), s.car_color()[1])
    a = s.person(carry="none" if s.rng.random() < 0.5 else "backpack").begin(0.0, at)
    k = 1.0
    while a.end[0] < s.seconds:
        _, goal = s.path(at, (way[0] * k, way[1] * k), 0.0, float(s.rng.uniform(1.2, 2.4)))
        a.go(goal, 0.8, "walk", s.seconds)
        if a.end[0] < s.seconds:
            a.stay(
                min(float(s.rng.uniform(1.5, 3.0)), s.seconds - a.end[0]),
                "loiter",
                float(s.rng.uniform(0, 2 * np.pi)),
            )
        k = -k
    return Event("loiter", 2.0, s.seconds, [a.track], "waited for a moment without witnesses, or so it seems",
                 "walked up and down in one place and looked around", 1)  # fmt: skip


def escape(s: Script) -> Event:
    """A quiet crowd suddenly runs apart."""
    t, at = _when(s, 6, 9), s.spot(60, 120, room=0.4)
    tracks = []
    for i in range(int(s.rng.integers(5, 8))):
        p = s.spot(50, 150, room=0.3)
        a = s.person(free_hands=True).begin(0.0, p, float(s.rng.uniform(0, 2 * np.pi)))
        if i % 2:
            way = s.along()
            _, goal = s.path(p, way, 0.0, 1.0 * t)
            a.go(goal, 1.0, "walk", t + float(s.rng.uniform(0, 0.5)))
        if a.end[0] < t:
            a.stay(
                t - a.end[0] + float(s.rng.uniform(0, 0.5)), str(s.rng.choice(["stand", "talk", "pockets"]))
            )
        x, y = a.end[1:]
        out = np.array([x - at[0], y - at[1]]) + s.rng.normal(0, 0.7, 2)
        if s.place.name in ("street", "corridor", "platform"):
            u = np.array(s.place.to_world(0.0, 1.0))
            out = u * (1 if out @ u > 0 else -1)
        out = out / (np.hypot(*out) + 1e-6)
        _, goal = s.path((x, y), (float(out[0]), float(out[1])), 0.0, 45.0)
        a.go(goal, float(s.rng.uniform(3.0, 4.3)), "flee", s.seconds)
        s.rest(a)
        tracks.append(a.track)
    return Event("crowd escape", t, min(t + 6.0, s.seconds), tracks, "something frightened the crowd",
                 "everybody ran away at the same moment", 4)  # fmt: skip


def vehicle(s: Script) -> Event:
    """A car drives where people walk; somebody jumps aside."""
    at, t = s.spot(55, 130, room=1.3), _when(s, 4, 8)
    a, b = s.place.to_world(0.0, 1.0)
    way = (a, b) if s.rng.random() < 0.5 else (-a, -b)
    side = (way[1], -way[0])
    name, color = s.car_color()
    speed = float(s.rng.uniform(3.5, 5.5))
    heading = s.facing(at, _shift(at, way, 1))
    s.movers.append(Mover("car", color, [(t - 3, *_shift(at, way, -3 * speed), heading), (t + 9, *_shift(at, way, 9 * speed), heading)],
                          t - 3, t + 9))  # fmt: skip
    p = s.person(free_hands=True)
    s.lanes.append((at, way, 1.35))
    p.begin(0.0, at, s.facing(at, _shift(at, way, -1))).stay(max(t - 1.4, 0.5), "stand")
    p.go(_shift(at, side, float(s.rng.choice([-2.2, 2.2]))), 3.0, "flee")
    s.rest(p)
    return Event("vehicle on the pavement", max(t - 3, 0.0), min(t + 5, s.seconds), [p.track],
                 f"a {name} car left the road", "drove where people walk, somebody had to jump aside", 4, {"car": name})  # fmt: skip


def abandon(s: Script) -> Event:
    """Somebody puts a bag down and walks off without it."""
    at, way, t = s.spot(70, 180, room=0.9), s.along(), _when(s, 3, 6)
    here, there = s.path(at, way, 1.2 * t, 25.0)
    a = s.person(carry="none")
    far = float(np.hypot(at[0] - here[0], at[1] - here[1]))
    a.begin(max(0.0, t - far / 1.2), here, s.facing(here, at) if far > 0.1 else 0.0).go(at, 1.2)
    t, style = a.end[0], a.style
    a.stay(2.4, "bend", make=lambda u, g: m.bend(u / 2.4, style))
    put = t + 1.2
    spot = _shift(at, way, 0.42)
    names = {"black": (30, 30, 33), "brown": (96, 66, 44), "blue": (38, 56, 104), "red": (150, 34, 36)}
    color = str(s.rng.choice(list(names)))
    s.movers.append(Mover("bag", tuple(float(v) for v in names[color]), [(put, *spot, 0.3)], put))  # type: ignore[arg-type]
    a.stay(1.0, "stand").go(there, 1.5, "abandon", s.seconds)
    s.rest(a)
    return Event("abandoned bag", put, s.seconds, [a.track], "put a bag down and walked away from it",
                 f"the {color} bag is left without an owner", 3, {"bag": color})  # fmt: skip


EVENTS: dict[str, tuple[Callable[[Script], Event], tuple[str, ...], bool]] = {
    "fall": (fall, ("street", "plaza", "corridor", "platform", "car park", "park"), True),
    "fight": (fight, ("street", "plaza", "corridor", "platform", "car park", "park"), False),
    "car collision": (car_crash, ("street", "car park"), True),
    "hit": (hit, ("street", "plaza", "corridor", "platform", "car park", "park"), True),
    "lie": (lie, ("street", "plaza", "corridor", "platform", "car park", "park"), True),
    "bicycle collision": (crash, ("street", "plaza", "park"), True),
    "climb": (climb, ("street", "plaza", "car park", "park"), False),
    "throw": (throw, ("street", "plaza", "car park", "park"), False),
    "hide": (hide, ("street", "car park", "plaza"), False),
    "loiter": (loiter, ("street", "corridor", "platform", "car park"), False),
    "crowd escape": (escape, ("street", "plaza", "platform", "park"), False),
    "vehicle on the pavement": (vehicle, ("street", "plaza", "park"), False),
    "abandoned bag": (abandon, ("street", "plaza", "corridor", "platform"), False),
}  # fmt: skip
"""By kind: the function, the places it can happen in, and whether it always leaves somebody lying."""
