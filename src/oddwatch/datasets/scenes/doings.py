"""Doings: what a person can be caught doing in one picture, with its facts and the things it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oddwatch.datasets.scenes import motion as m
from oddwatch.datasets.scenes.motion import Style
from oddwatch.datasets.scenes.skeleton import ANGLE, Array, pose

Poser = Callable[[np.random.Generator, Style], Array]


@dataclass(frozen=True, slots=True)
class Doing:
    """One way of being busy. ``posture``, ``action`` and ``arms`` are its facts; ``make`` gives a pose;
    ``carry`` what must be in the hands; ``partner`` the doing of a second person at ``gap`` metres in front;
    ``prop`` a thing it needs; ``severity`` 0 for normal."""

    posture: str
    make: Poser
    action: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    severity: int = 0
    carry: str | None = None
    free: bool = False
    partner: str | None = None
    gap: float = 0.8
    prop: str | None = None
    lift: float = float("nan")
    rise: float = 0.0
    motion: str = "still"
    weight: float = 1.0

    @property
    def abnormal(self) -> bool:
        """Whether it is an anomaly."""
        return self.severity > 0


def _turn(rng: np.random.Generator) -> float:
    return float(rng.uniform(0, 2 * np.pi))


def _stumble(rng: np.random.Generator, s: Style) -> Array:
    return m.blend(m.walk(_turn(rng), s), m.reel(rng.uniform(0.45, 0.8), s), rng.uniform(0.65, 1.0))


def _falling(rng: np.random.Generator, s: Style) -> Array:
    how = str(rng.choice(["prone", "supine", "side"]))
    return m.fall(float(rng.uniform(0.55, 0.8)), s, how, m.walk(_turn(rng), s))


def _lying(how: str) -> Poser:
    return lambda rng, s: m.lying(s, how)


def _curled(rng: np.random.Generator, s: Style) -> Array:
    out = m.lying(s, "side")
    return (out + pose(hips=40, knees=46, spine=14, arms=14)).astype(np.float32)


def _flee(rng: np.random.Generator, s: Style) -> Array:
    out = m.run(_turn(rng), s, 1.08)
    out[ANGLE["look"]] += np.radians(float(rng.choice([-60, 0, 60])))
    return out


def _point(rng: np.random.Generator, s: Style) -> Array:
    return (m.stand(_turn(rng), s) + pose(r_arm=84, r_elbow=-8, l_arm=4)).astype(np.float32)


def _hug(rng: np.random.Generator, s: Style) -> Array:
    return (m.stand(_turn(rng), s) + pose(arms=66, elbows=42, ins=30, spine=9, outs=4)).astype(np.float32)


def _dance(rng: np.random.Generator, s: Style) -> Array:
    p = _turn(rng)
    return pose(l_arm=60 + 60 * np.sin(p), r_arm=60 - 60 * np.sin(p), outs=44, elbows=62, l_hip=26 + 16 * np.sin(p), l_knee=46,
                r_knee=22, twist=22 * np.sin(p), roll=7 * np.cos(p), spreads=13, look=20)  # fmt: skip


def _aim(rng: np.random.Generator, s: Style) -> Array:
    return (m.stand(0.0, s) + pose(arms=82, elbows=-6, ins=26, spreads=9)).astype(np.float32)


def _head(rng: np.random.Generator, s: Style) -> Array:
    both = rng.random() < 0.5
    return (m.stand(_turn(rng), s) + pose(r_arm=62, r_out=26, r_elbow=124, l_arm=62 * both, l_out=26 * both,
                                          l_elbow=110 * both, spine=7, nod=10)).astype(np.float32)  # fmt: skip


def _up(rng: np.random.Generator, s: Style) -> Array:
    return (m.stand(_turn(rng), s) + pose(arms=156, outs=14, elbows=16)).astype(np.float32)


def _down(rng: np.random.Generator, s: Style) -> Array:
    return (m.stand(_turn(rng), s, str(rng.choice(["down", "in_pockets"]))) + pose(nod=34, spine=6)).astype(
        np.float32
    )


def _kneel(rng: np.random.Generator, s: Style) -> Array:
    return pose(
        pitch=8,
        spine=24,
        l_hip=92,
        l_knee=96,
        r_hip=16,
        r_knee=96,
        r_ankle=-40,
        arms=42,
        elbows=34,
        ins=10,
        nod=20,
    )


def _stand(arms: str) -> Poser:
    return lambda rng, s: m.stand(_turn(rng), s, arms)


DOINGS: dict[str, Doing] = {
    "walk": Doing("walking", lambda r, s: m.walk(_turn(r), s, r.uniform(0.85, 1.15)), motion="slow", weight=5),
    "run": Doing("running", lambda r, s: m.run(_turn(r), s), arms=("bent",), motion="fast", weight=1.6),
    "stand": Doing("standing", _stand("down"), arms=("down",), weight=2),
    "pockets": Doing("standing", _stand("in_pockets"), arms=("in_pockets",), free=True),
    "cross_arms": Doing("standing", _stand("crossed"), arms=("crossed",), free=True, weight=0.8),
    "talk": Doing("standing", lambda r, s: m.talk(_turn(r), s), ("talk",), ("bent",), free=True, partner="talk", gap=0.85),
    "phone": Doing("standing", lambda r, s: m.phone(_turn(r), s), ("look_down",), ("bent",), carry="phone"),
    "call": Doing("standing", lambda r, s: m.call(_turn(r), s), (), ("bent", "hand_to_head"), carry="phone", weight=0.7),
    "wave": Doing("standing", lambda r, s: m.wave(_turn(r), s), ("wave",), ("raised",), free=True),
    "sit": Doing("sitting", lambda r, s: m.sit(_turn(r), s), arms=("bent",), free=True, prop="bench", lift=-0.57, weight=1.6),
    "sit_ground": Doing("sitting", lambda r, s: m.sit(0.0, s, True), free=True, weight=0.9),
    "bend": Doing("bending", lambda r, s: m.bend(r.uniform(0.42, 0.58), s), (), ("reaching",), free=True, weight=1.4),
    "crouch": Doing("crouching", lambda r, s: m.crouch(_turn(r), s), (), ("bent",), free=True, weight=1.2),
    "kneel": Doing("crouching", _kneel, ("look_down",), ("reaching",), free=True, weight=0.6),
    "carry": Doing("walking", lambda r, s: m.hold(m.walk(_turn(r), s, 0.85), "box"), ("carry",), ("bent",), carry="box",
                   motion="slow"),
    "cycle": Doing("riding", lambda r, s: m.ride(_turn(r), s), (), ("reaching",), free=True, prop="bicycle", lift=-1.0,
                   motion="fast", weight=1.3),
    "point": Doing("standing", _point, (), ("reaching",), free=True, weight=0.8),
    "hug": Doing("standing", _hug, ("hug",), ("reaching",), free=True, partner="hug", gap=0.36, weight=0.5),
    "dance": Doing("standing", _dance, ("dance",), ("raised",), free=True, weight=0.5),
    "look_down": Doing("standing", _down, ("look_down",), ("down",), free=True, weight=0.7),
    "arms_up": Doing("standing", _up, (), ("raised",), free=True, weight=0.6),
    "walk_dog": Doing("walking", lambda r, s: m.walk(_turn(r), s), free=True, prop="dog", motion="slow", weight=0.8),
    "jump": Doing("jumping", lambda r, s: m.jump(r.uniform(0.4, 0.65), s), (), ("raised",), free=True, rise=0.35, weight=0.6),
    # -- anomalies
    "fall": Doing("falling", _falling, ("stumble",), (), 3, free=True, motion="drop", weight=2.2),
    "stumble": Doing("falling", _stumble, ("stumble",), ("raised",), 2, free=True, motion="slow"),
    "lie": Doing("lying", _lying("supine"), (), (), 4, carry="none", weight=1.6),
    "lie_prone": Doing("lying", _lying("prone"), (), (), 4, carry="none", weight=1.6),
    "lie_side": Doing("lying", _lying("side"), (), (), 4, carry="none"),
    "curl": Doing("lying", _curled, (), ("hand_to_head",), 4, carry="none", weight=0.6),
    "collapse": Doing("lying", _lying("supine"), (), (), 4, carry="none", partner="kneel", gap=0.85, weight=1.2),
    "fight": Doing("standing", lambda r, s: m.punch(_turn(r), s), ("fight", "hit"), ("bent",), 4, free=True, partner="fight",
                   gap=0.72, weight=1.8),
    "struck": Doing("standing", lambda r, s: m.guard(_turn(r), s), ("fight",), ("hand_to_head",), 4, free=True, partner="fight",
                    gap=0.68),
    "push": Doing("standing", lambda r, s: m.push(r.uniform(0, 1), s), ("push",), ("reaching",), 3, free=True, partner="stumble",
                  gap=0.78),
    "kick": Doing("standing", lambda r, s: m.kick(r.uniform(0.22, 0.4), s), ("kick",), ("bent",), 4, free=True, partner="struck",
                  gap=0.9),
    "kick_down": Doing("standing", lambda r, s: m.kick(r.uniform(0.1, 0.25), s), ("kick",), ("bent",), 5, free=True,
                       partner="curl", gap=0.85, weight=0.6),
    "throw": Doing("standing", lambda r, s: m.throw(r.uniform(0.36, 0.56), s), ("throw",), ("raised",), 2, free=True, prop="ball",
                   weight=1.4),
    "climb": Doing("climbing", lambda r, s: m.climb(r.uniform(0, 2), s), (), ("raised",), 3, free=True, prop="fence", rise=0.55,
                   weight=1.4),
    "hide": Doing("crouching", lambda r, s: m.crouch(_turn(r), s), ("hide",), ("bent",), 2, free=True, prop="hide", weight=1.2),
    "flee": Doing("running", _flee, ("flee",), ("bent",), 3, free=True, motion="fast", partner="flee", gap=1.3),
    "knocked": Doing("falling", _falling, ("hit_by_vehicle",), ("raised",), 5, carry="none", prop="car", motion="drop"),
    "crash": Doing("falling", _falling, ("hit_by_vehicle",), ("raised",), 4, carry="none", prop="crash", motion="drop"),
    "run_over": Doing("lying", _lying("side"), ("hit_by_vehicle",), (), 5, carry="none", prop="car", weight=0.7),
    "drag": Doing("bending", lambda r, s: m.drag(_turn(r), s), ("drag",), ("reaching",), 4, free=True, partner="lie", gap=-1.0,
                  motion="slow", weight=0.7),
    "aim": Doing("standing", _aim, ("shoot",), ("reaching",), 5, free=True, weight=0.5),
    "abandon": Doing("walking", lambda r, s: m.walk(_turn(r), s), ("abandon",), (), 3, free=True, prop="bag", motion="slow"),
    "loiter": Doing("standing", _stand("in_pockets"), ("loiter",), ("in_pockets",), 1, free=True, prop="beside_car", weight=0.8),
    "clutch_head": Doing("standing", _head, (), ("hand_to_head",), 2, free=True, weight=0.5),
}  # fmt: skip
"""Every doing by name; weights are how often a still shows it."""

NORMAL = tuple(k for k, d in DOINGS.items() if not d.abnormal)
ABNORMAL = tuple(k for k, d in DOINGS.items() if d.abnormal)


def draw_doing(rng: np.random.Generator, abnormal: bool) -> str:
    """A doing's name, by weight."""
    names = ABNORMAL if abnormal else NORMAL
    w = np.array([DOINGS[n].weight for n in names])
    return str(names[int(rng.choice(len(names), p=w / w.sum()))])
