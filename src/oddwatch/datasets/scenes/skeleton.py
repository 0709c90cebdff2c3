"""Articulated bodies: joint angles to joint positions, many people at once.

Body axes: x to the person's right, y forward, z up. Angles are radians; all zero is standing at attention.
Segment lengths are fractions of body height after Drillis and Contini (1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ANGLES = (
    "pitch", "roll", "yaw", "spine", "spine_side", "twist", "nod", "look",
    "l_arm", "l_out", "l_in", "l_elbow", "r_arm", "r_out", "r_in", "r_elbow",
    "l_hip", "l_spread", "l_knee", "l_ankle", "r_hip", "r_spread", "r_knee", "r_ankle",
)  # fmt: skip
"""``pitch`` > 0 tips the whole body forward, ``roll`` > 0 to its right; ``*_arm`` and ``*_hip`` swing forward,
``*_out`` and ``*_spread`` sideways, ``*_in`` turns the upper arm inward, elbows and knees flex."""
ANGLE = {name: i for i, name in enumerate(ANGLES)}

POINTS = (
    "pelvis", "spine", "neck", "head", "crown", "nose", "l_eye", "r_eye", "l_ear", "r_ear",
    "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist", "l_hand", "r_hand",
    "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle", "l_heel", "r_heel", "l_toe", "r_toe",
)  # fmt: skip
POINT = {name: i for i, name in enumerate(POINTS)}
COCO = tuple(POINT[n] for n in (
    "nose", "l_eye", "r_eye", "l_ear", "r_ear", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow",
    "l_wrist", "r_wrist", "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle",
))  # fmt: skip
"""Positions in ``POINTS`` of the 17 COCO keypoints, in COCO's order."""


@dataclass(frozen=True, slots=True)
class Body:
    """Shape of a body: height in metres, then factors around 1 (girth, shoulder width, hip width, leg length)."""

    height: float = 1.74
    girth: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    legs: float = 1.0


def pose(**degrees: float) -> Array:
    """A pose vector (24,) in radians from named angles in degrees; ``arms``, ``outs``, ``elbows``, ``ins``,
    ``hips``, ``knees``, ``spreads`` and ``ankles`` set both sides."""
    out = np.zeros(len(ANGLES), np.float32)
    both = {"arms": "arm", "outs": "out", "ins": "in", "elbows": "elbow", "hips": "hip", "knees": "knee"}
    both |= {"spreads": "spread", "ankles": "ankle"}
    for name, value in degrees.items():
        for key in (f"l_{both[name]}", f"r_{both[name]}") if name in both else (name,):
            out[ANGLE[key]] = np.radians(value)
    return out


def _rotations(axis: str, angle: Array) -> Array:
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": (i, o, o, o, c, -s, o, s, c),
        "y": (c, o, s, o, i, o, -s, o, c),
        "z": (c, -s, o, s, c, o, o, o, i),
    }[axis]
    return np.stack(rows, -1).reshape(*angle.shape, 3, 3)


def solve(
    bodies: Sequence[Body], poses: Array, headings: Array, places: Array, lifts: Array
) -> tuple[Array, Array]:
    """Joint positions of N people.

    ``poses`` (N, 24); ``headings`` (N,) radians, 0 walks away from the camera (+y), π/2 to the left (−x);
    ``places`` (N, 2) metres on the ground; ``lifts`` (N,) metres: NaN sets the body on the ground by its lowest
    point, a number ≥ 0 raises it that much off the ground, a number < 0 puts the pelvis at that height (sign dropped).
    Returns points (N, 28, 3) in metres and frames (N, 3, 3, 3): columns right, forward, up of pelvis, chest, head.
    """
    shape = np.array([[b.height, b.girth, b.shoulders, b.hips, b.legs] for b in bodies], np.float32)
    h, legs = shape[:, :1], shape[:, 4:5]
    a = {name: poses[:, i] for name, i in ANGLE.items()}
    rx = _rotations("x", np.stack([-a["pitch"], -a["spine"], -a["nod"]], 1))
    ry = _rotations("y", np.stack([a["roll"], a["spine_side"]], 1))
    rz = _rotations("z", np.stack([headings + a["yaw"], a["twist"], a["look"]], 1))
    base = rz[:, 0] @ ry[:, 0] @ rx[:, 0]
    chest = base @ rz[:, 1] @ ry[:, 1] @ rx[:, 1]
    head = chest @ rz[:, 2] @ rx[:, 2]
    sides = np.stack([np.ones(len(h)), -np.ones(len(h))], 1).astype(np.float32)
    limb = {k: np.stack([a[f"l_{k}"], a[f"r_{k}"]], 1) for k in
            ("arm", "out", "in", "elbow", "hip", "spread", "knee", "ankle")}  # fmt: skip
    upper = (
        chest[:, None]
        @ _rotations("x", limb["arm"])
        @ _rotations("y", sides * limb["out"])
        @ _rotations("z", -sides * limb["in"])
    )
    lower = upper @ _rotations("x", limb["elbow"])
    thigh = base[:, None] @ _rotations("x", limb["hip"]) @ _rotations("y", sides * limb["spread"])
    shin = thigh @ _rotations("x", -limb["knee"])
    foot = shin @ _rotations("x", limb["ankle"])

    p = np.zeros((len(bodies), len(POINTS), 3), np.float32)

    def put(
        name: str, start: Array, frame: Array, x: float | Array, y: float, z: float, scale: Array = h
    ) -> Array:
        if isinstance(x, np.ndarray):
            offset = frame[:, :, 0] * x[:, None] + frame @ np.array((0.0, y, z), np.float32)
        else:
            offset = frame @ np.array((x, y, z), np.float32)
        out: Array = start + offset * scale
        p[:, POINT[name]] = out
        return out

    pelvis = p[:, 0]
    put("spine", pelvis, base, 0.0, 0.0, 0.115)
    neck = put("neck", p[:, 1], chest, 0.0, 0.0, 0.175)
    skull = put("head", neck, head, 0.0, 0.012, 0.105)
    for name, x, y, z in (("crown", 0, 0, 0.07), ("nose", 0, 0.056, -0.008), ("l_eye", -0.018, 0.046, 0.01),
                          ("r_eye", 0.018, 0.046, 0.01), ("l_ear", -0.041, 0.0, 0.0), ("r_ear", 0.041, 0.0, 0.0)):  # fmt: skip
        put(name, skull, head, x, y, z)
    for k, (side, sign) in enumerate((("l", -1.0), ("r", 1.0))):
        shoulder = put(f"{side}_shoulder", neck, chest, sign * 0.101 * shape[:, 2], 0.0, -0.022)
        elbow = put(f"{side}_elbow", shoulder, upper[:, k], 0.0, 0.0, -0.176)
        wrist = put(f"{side}_wrist", elbow, lower[:, k], 0.0, 0.0, -0.148)
        put(f"{side}_hand", wrist, lower[:, k], 0.0, 0.004, -0.045)
        hip = put(f"{side}_hip", pelvis, base, sign * 0.05 * shape[:, 3], 0.0, -0.012)
        knee = put(f"{side}_knee", hip, thigh[:, k], 0.0, 0.0, -0.243, h * legs)
        ankle = put(f"{side}_ankle", knee, shin[:, k], 0.0, 0.0, -0.235, h * legs)
        put(f"{side}_heel", ankle, foot[:, k], 0.0, -0.022, -0.03)
        put(f"{side}_toe", ankle, foot[:, k], sign * 0.012, 0.105, -0.032)

    # Half thickness of the flesh around each point, so that a body rests on its skin and not on its bones.
    thick = np.full(len(POINTS), 0.03, np.float32)
    for name, value in (("pelvis", 0.062), ("spine", 0.06), ("neck", 0.03), ("head", 0.05), ("nose", 0.0),
                        ("l_toe", 0.012), ("r_toe", 0.012), ("l_heel", 0.016), ("r_heel", 0.016),
                        ("l_hand", 0.018), ("r_hand", 0.018), ("l_shoulder", 0.04), ("r_shoulder", 0.04)):  # fmt: skip
        thick[POINT[name]] = value
    lowest = (p[:, :, 2] - thick * h).min(1)
    rise = np.where(np.isnan(lifts), -lowest, np.where(lifts < 0, -lifts, lifts - lowest)).astype(np.float32)
    p[:, :, :2] += places[:, None]
    p[:, :, 2] += rise[:, None]
    return p, np.stack([base, chest, head], 1)
