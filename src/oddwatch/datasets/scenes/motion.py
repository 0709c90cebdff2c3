"""Poses and motion cycles: what a body does at a phase or a time, as joint angles.

Every function returns a pose vector (24,). ``s`` is the person's own style (a few numbers in −1..1), so that no
two people move alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oddwatch.datasets.scenes.skeleton import ANGLE, Array, pose

Style = np.ndarray
STYLE = 8


def style(rng: np.random.Generator) -> Style:
    """A personal style, (8,) in −1..1."""
    return np.clip(rng.normal(0, 0.5, STYLE), -1, 1)


def ease(x: float) -> float:
    """Smoothstep of 0–1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def blend(a: Array, b: Array, x: float) -> Array:
    """Between two poses."""
    return (a + (b - a) * np.float32(x)).astype(np.float32)


def _bump(phase: float, centre: float, width: float) -> float:
    d = (phase - centre + np.pi) % (2 * np.pi) - np.pi
    return float(np.exp(-((d / width) ** 2)))


def walk(phase: float, s: Style, brisk: float = 1.0) -> Array:
    """A walking cycle; 2π is two steps."""
    amp = (24 + 3 * s[0]) * brisk
    out = {}
    for side, p in (("l", phase), ("r", phase + np.pi)):
        out[f"{side}_hip"] = amp * np.sin(p) + 4
        out[f"{side}_knee"] = 5 + (56 * brisk) * _bump(p, -0.55, 0.85) + 11 * _bump(p, 2.1, 0.55)
        out[f"{side}_ankle"] = -16 * _bump(p, -1.7, 0.5) + 8 * _bump(p, 0.7, 0.8)
        out[f"{side}_arm"] = -(21 + 9 * s[1]) * brisk * np.sin(p) - 2
        out[f"{side}_elbow"] = 16 + 9 * s[2] - 9 * brisk * np.sin(p)
        out[f"{side}_out"] = 7 + 3 * s[3]
    out |= {
        "twist": -5 * np.sin(phase),
        "spine": 3 + 3 * s[4],
        "pitch": 2.0,
        "roll": 1.6 * np.sin(phase + 1.5),
    }
    out |= {"nod": 4 + 6 * s[5]}
    return pose(**out)


def run(phase: float, s: Style, effort: float = 1.0) -> Array:
    """A running cycle."""
    out = {}
    for side, p in (("l", phase), ("r", phase + np.pi)):
        out[f"{side}_hip"] = 16 + (38 + 4 * s[0]) * effort * np.sin(p)
        out[f"{side}_knee"] = 20 + 88 * effort * _bump(p, -0.6, 1.0) + 16 * _bump(p, 2.2, 0.6)
        out[f"{side}_ankle"] = -22 * _bump(p, -1.8, 0.6) + 6
        out[f"{side}_arm"] = 4 - (40 + 8 * s[1]) * np.sin(p)
        out[f"{side}_elbow"] = 88 + 12 * s[2] - 12 * np.sin(p)
        out[f"{side}_out"] = 11
        out[f"{side}_in"] = 12
    return pose(**(out | {"pitch": 9 + 3 * s[3], "spine": 6, "twist": -10 * np.sin(phase), "nod": -6}))


def stand(t: float, s: Style, arms: str = "down") -> Array:
    """Standing with a slight sway; ``arms`` as in the facts: down, in_pockets, crossed, bent, hips, behind."""
    sway = np.sin(0.9 * t + 3 * s[0])
    base = pose(roll=1.4 * sway, spine=3 + 2 * s[1], look=22 * np.sin(0.37 * t + 5 * s[2]), nod=5 + 5 * s[3],
                l_spread=4, r_spread=5 + 2 * s[4], l_knee=3 + 5 * max(s[5], 0), r_knee=3)  # fmt: skip
    table = {
        "down": pose(l_arm=2, r_arm=0, outs=7, elbows=14),
        "in_pockets": pose(arms=-6, outs=16, elbows=46, ins=22),
        "crossed": pose(l_arm=28, r_arm=24, outs=10, elbows=104, ins=62),
        "bent": pose(l_arm=24, r_arm=20, outs=10, elbows=92, ins=26),
        "hips": pose(arms=-16, outs=42, elbows=82, ins=48),
        "behind": pose(arms=-28, outs=12, elbows=36, ins=40),
    }
    return (base + table[arms]).astype(np.float32)


def talk(t: float, s: Style) -> Array:
    """Standing and talking with the hands."""
    g = np.sin(2.3 * t + 4 * s[0]) * np.sin(0.7 * t + s[1])
    out = stand(t, s, "down")
    return (out + pose(r_arm=26 + 16 * g, r_elbow=62 + 26 * g, r_in=16, l_arm=10 * abs(g), l_elbow=30 + 20 * g,
                       nod=4 * np.sin(3 * t))).astype(np.float32)  # fmt: skip


def wave(t: float, s: Style) -> Array:
    """One arm up and waving."""
    return (stand(t, s) + pose(r_arm=20, r_out=128 + 10 * s[2], r_elbow=34 + 26 * np.sin(8 * t), r_in=-60)).astype(
        np.float32)  # fmt: skip


def phone(t: float, s: Style) -> Array:
    """Looking down at a phone held before the chest."""
    return (stand(t, s) + pose(r_arm=38, r_elbow=88, r_in=26, l_arm=14, l_elbow=40 + 50 * (s[6] > 0), nod=26,
                               look=-22 * np.sin(0.37 * t + 5 * s[2]))).astype(np.float32)  # fmt: skip


def call(t: float, s: Style) -> Array:
    """A phone at the ear."""
    return (stand(t, s) + pose(r_arm=46, r_out=26, r_elbow=136, r_in=14, nod=6)).astype(np.float32)


def sit(t: float, s: Style, ground: bool = False) -> Array:
    """On a seat, or on the ground with the legs out."""
    lean = 8 + 12 * s[0] + 1.5 * np.sin(0.8 * t)
    if ground:
        legs: dict[str, float] = {}
        for side, k in (("l", s[1]), ("r", s[2])):
            hip = 100.0 + 16.0 * k  # the knee then brings the heel down to the level of the seat
            level = (0.243 * np.sin(np.radians(hip - 76.0)) + 0.04) / 0.235
            legs |= {f"{side}_hip": hip, f"{side}_knee": hip + 14.0 - np.degrees(np.arccos(min(level, 0.98)))}
        return pose(pitch=-14, spine=26 + 10 * s[0], spreads=14, l_arm=30, r_arm=26, elbows=40, outs=18,
                    nod=12 + 10 * s[3], **legs)  # fmt: skip
    return pose(pitch=-3, spine=lean, hips=88, knees=84 + 8 * s[1], spreads=9 + 5 * s[2], arms=36 + 6 * s[3],
                elbows=48, ins=10, nod=8 + 14 * max(s[4], -0.4), look=20 * np.sin(0.3 * t + s[5]))  # fmt: skip


def crouch(t: float, s: Style) -> Array:
    """Squatting low."""
    return pose(pitch=14 + 6 * s[0], spine=22 + 8 * s[1], hips=116 + 6 * s[2], knees=132, ankles=24, spreads=12,
                arms=48 + 12 * s[3], elbows=52, ins=16, nod=-10 + 3 * np.sin(t), look=24 * np.sin(0.9 * t))  # fmt: skip


def bend(x: float, s: Style) -> Array:
    """Bending down to the ground and up again; x 0–1, lowest at 0.5."""
    k = ease(1 - abs(2 * x - 1))
    low = pose(pitch=48, spine=38 + 8 * s[0], hips=74, l_knee=30 + 16 * s[1], r_knee=26, arms=70, elbows=8, nod=8,
               ankles=10, l_arm=54 + 14 * s[2])  # fmt: skip
    return blend(stand(0.0, s), low, k)


def lying(s: Style, how: str = "supine") -> Array:
    """Flat on the ground: supine, prone, or side (curled up a little)."""
    if how == "supine":
        return pose(pitch=-90, l_arm=10, r_arm=-4, l_out=34 + 26 * s[0], r_out=40 + 30 * s[1], elbows=24 + 16 * s[2],
                    l_hip=6 + 24 * max(s[3], 0), l_knee=12 + 50 * max(s[3], 0), r_hip=4, r_knee=9, spreads=11,
                    look=30 * s[4], twist=6 * s[5])  # fmt: skip
    if how == "prone":
        return pose(pitch=90, arms=4, l_out=88 + 50 * s[0], r_out=70 + 50 * s[1], ins=-90, l_elbow=70, r_elbow=56, l_hip=4,
                    l_knee=16 + 14 * s[2], r_knee=9, l_spread=18, r_spread=10, look=52 * np.sign(s[3] + 0.01),
                    ankles=-40)  # fmt: skip
    side = float(np.sign(s[7] + 0.01))
    return pose(roll=90 * side, pitch=0, spine=22, l_hip=44 + 20 * s[0], r_hip=28 + 20 * s[1], l_knee=58, r_knee=44,
                arms=56 + 18 * s[2], elbows=66, nod=14)  # fmt: skip


def reel(x: float, s: Style) -> Array:
    """Off balance: arms thrown out, trunk thrown over, one leg off the ground; x 0–1."""
    k = np.sin(np.pi * min(max(x, 0), 1))
    return pose(pitch=16 * x, spine=14 * k, l_arm=60 + 50 * k, r_arm=40 + 60 * k, l_out=50 * k, r_out=64 * k, elbows=36,
                l_hip=34 * k, l_knee=46, r_hip=-12 * k, r_knee=30, roll=12 * k * np.sign(s[0] + 0.01), nod=-8)  # fmt: skip


def fall(x: float, s: Style, how: str, before: Array) -> Array:
    """From ``before`` to the ground; x 0–1: stumbling until 0.35, then tipping over faster and faster."""
    if x < 0.3:
        return blend(before, reel(x / 0.3 * 0.6, s), ease(x / 0.3))
    k = (x - 0.3) / 0.7
    out = blend(reel(0.6, s), lying(s, how), ease(min(1.0, 1.15 * k)))
    end = lying(s, how)
    start = reel(0.6, s)
    for name in ("pitch", "roll"):
        i = ANGLE[name]
        out[i] = start[i] + (end[i] - start[i]) * min(1.0, k * k * 1.15)
    buckle = np.sin(np.pi * min(k * 1.1, 1.0))
    for name in ("l_knee", "r_knee"):
        out[ANGLE[name]] += np.float32(np.radians(42 * buckle))
    for name in ("l_hip", "r_hip"):
        out[ANGLE[name]] += np.float32(np.radians(30 * buckle))
    return out


def rise(x: float, s: Style, how: str) -> Array:
    """From the ground to standing, through a crouch."""
    if x < 0.5:
        return blend(lying(s, how), crouch(0.0, s), ease(2 * x))
    return blend(crouch(0.0, s), stand(0.0, s), ease(2 * x - 1))


def punch(t: float, s: Style) -> Array:
    """A fighting stance, punching with alternate hands."""
    beat = 2 * np.pi * (1.15 + 0.2 * s[0]) * t + 3 * s[1]
    left, right = max(np.sin(beat), 0) ** 2, max(np.sin(beat + np.pi), 0) ** 2
    return pose(pitch=9, spine=13 + 5 * s[2], twist=24 * (left - right), l_arm=42 + 46 * left, r_arm=42 + 46 * right,
                l_elbow=118 - 104 * left, r_elbow=118 - 104 * right, ins=24, outs=8, l_hip=28, l_knee=26, r_hip=-12,
                r_knee=20, spreads=7, nod=6)  # fmt: skip


def guard(t: float, s: Style) -> Array:
    """Arms over the face, giving way."""
    return pose(pitch=-8, spine=16, arms=78, elbows=122, ins=30, l_hip=6 + 8 * np.sin(5 * t), l_knee=26, r_hip=14,
                r_knee=32, look=16 * np.sin(6 * t), nod=18)  # fmt: skip


def push(t: float, s: Style) -> Array:
    """Both arms stretched forward against somebody."""
    k = 0.5 + 0.5 * np.sin(4.5 * t)
    return pose(pitch=16, spine=10, arms=78 + 8 * s[0], elbows=14 + 52 * k, ins=8, l_hip=34, l_knee=36, r_hip=-18, r_knee=16)  # fmt: skip


def kick(t: float, s: Style) -> Array:
    """Kicking with the right foot."""
    k = max(np.sin(2 * np.pi * 0.8 * t), 0.0)
    return pose(pitch=-10 * k, spine=8, r_hip=-18 + 92 * k, r_knee=62 - 48 * k, l_knee=14, l_hip=6, arms=22, outs=32,
                elbows=58)  # fmt: skip


def throw(x: float, s: Style) -> Array:
    """Wind up and throw overarm with the right hand; released at about 0.55."""
    back = pose(twist=-32, pitch=-7, r_arm=110, r_out=60, r_elbow=96, l_arm=52, l_out=20, l_elbow=20, l_hip=26, l_knee=22,
                r_hip=-10, r_knee=18)  # fmt: skip
    done = pose(twist=34, pitch=18, spine=22, r_arm=76, r_out=6, r_elbow=12, l_arm=-22, l_elbow=30, l_hip=28, l_knee=30,
                r_hip=-26, r_knee=24)  # fmt: skip
    base = stand(0.0, s)
    if x < 0.4:
        return blend(base, back, ease(x / 0.4))
    if x < 0.6:
        return blend(back, done, ease((x - 0.4) / 0.2))
    return blend(done, base, ease((x - 0.6) / 0.4))


def climb(t: float, s: Style) -> Array:
    """Hand over hand up a fence."""
    p = 2 * np.pi * 0.7 * t
    return pose(pitch=-4, l_arm=140 + 22 * np.sin(p), r_arm=140 - 22 * np.sin(p), l_elbow=44 - 26 * np.sin(p),
                r_elbow=44 + 26 * np.sin(p), l_hip=44 - 34 * np.sin(p), r_hip=44 + 34 * np.sin(p), outs=10,
                l_knee=70 - 40 * np.sin(p), r_knee=70 + 40 * np.sin(p), nod=-20, spreads=12)  # fmt: skip


def jump(x: float, s: Style) -> Array:
    """One jump; x 0–1, highest at 0.55."""
    k = np.sin(np.pi * x)
    return pose(pitch=4, arms=40 + 108 * k, outs=18 * k, elbows=24, hips=44 * (1 - k) + 12, knees=66 * (1 - k) + 26, ankles=-16 * k)  # fmt: skip


def ride(phase: float, s: Style) -> Array:
    """On a bicycle, pedalling."""
    c = np.cos(phase)
    return pose(pitch=20 + 5 * s[0], spine=22 + 6 * s[1], arms=66, elbows=24, ins=4, nod=-26, l_hip=84 + 24 * c, r_hip=84 - 24 * c,
                l_knee=76 + 32 * c, r_knee=76 - 32 * c, outs=6)  # fmt: skip


def drag(phase: float, s: Style) -> Array:
    """Walking backwards bent over, pulling something along."""
    out = walk(phase, s, 0.7)
    return (out + pose(pitch=20, spine=28, arms=52, hips=34, nod=-6)).astype(np.float32)


def hold(out: Array, what: str) -> Array:
    """A pose changed for what is carried: arms under a box, a hand up with an umbrella or a phone."""
    out = out.copy()
    table = {
        "box": {
            "l_arm": 34,
            "r_arm": 34,
            "l_elbow": 72,
            "r_elbow": 72,
            "l_in": 10,
            "r_in": 10,
            "l_out": 6,
            "r_out": 6,
        },
        "umbrella": {"arm": 34, "elbow": 108, "in": 12, "out": 6},
        "suitcase": {"arm": -16, "elbow": 6, "out": 8},
        "bag": {"arm": 2, "elbow": 8, "out": 7},
        "phone": {"arm": 36, "elbow": 92, "in": 22},
        "paper": {"arm": 34, "elbow": 84, "in": 18},
        "bottle": {"arm": 26, "elbow": 84, "in": 10},
    }.get(what, {})
    for name, degrees in table.items():
        out[ANGLE[name]] = np.radians(degrees)
    return out


def hold_side(out: Array, what: str, side: float) -> Array:
    """Like :func:`hold`, with the one-handed things in the right (side > 0) or left hand."""
    one = {"umbrella", "suitcase", "bag", "phone", "paper", "bottle"}
    if what not in one:
        return hold(out, what) if what == "box" else out
    out = out.copy()
    table = {"umbrella": (34, 108, 12, 6), "suitcase": (-16, 6, 0, 8), "bag": (2, 8, 0, 8), "phone": (36, 92, 22, 4),
             "paper": (34, 84, 18, 4), "bottle": (26, 84, 10, 4)}[what]  # fmt: skip
    s = "r" if side > 0 else "l"
    for name, degrees in zip(("arm", "elbow", "in", "out"), table, strict=True):
        out[ANGLE[f"{s}_{name}"]] = np.radians(degrees)
    return out


STILL: dict[str, Callable[[float, Style], Array]] = {
    "talk": talk, "wave": wave, "phone": phone, "call": call, "punch": punch, "guard": guard, "push": push,
    "kick": kick, "climb": climb, "crouch": crouch,
}  # fmt: skip
"""Behaviours that only need a time and a style."""
