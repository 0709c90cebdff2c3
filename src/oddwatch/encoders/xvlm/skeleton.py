"""Pose maps: a skeleton in colours on black, as CMP wants one beside every picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from oddwatch.core import Box, InputError, Pose

JOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
BONES = (
    ("neck", "right_shoulder"), ("neck", "left_shoulder"), ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("neck", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("neck", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("neck", "nose"), ("nose", "right_eye"), ("right_eye", "right_ear"), ("nose", "left_eye"),
    ("left_eye", "left_ear"),
)  # fmt: skip
DIMMED = 0.6
"""Brightness of a bone against its joints."""
MOST_PIXELS = 64_000_000


def pose_map(
    poses: Pose | Sequence[Pose], width: int, height: int, box: Box | None = None, least: float = 0.2
) -> np.ndarray:
    """The people of ``poses`` as skeletons on black, (``height``, ``width``, 3) uint8 RGB.

    ``box`` is the part of the frame that fills the map (a person's crop); without one, frame pixels are map pixels.
    Points scored below ``least`` are not drawn. Joints and bones are OpenPose's 18 and 17 with its wheel of hues;
    the neck is the middle of the shoulders. Its drawing style (stick width, shading, order) is approximated, and how
    much CMP's published weights depend on it is unverified.

    Raises:
        InputError: a map without pixels or of over 64 million, or an empty box.
    """
    if width < 1 or height < 1 or width * height > MOST_PIXELS:
        raise InputError("pose map", f"expected 1 to {MOST_PIXELS} pixels, got {width} × {height}")
    if box is not None and (box.width <= 0 or box.height <= 0):
        raise InputError("box", "expected one with an area")
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    corner = (box.x0, box.y0) if box else (0.0, 0.0)
    scale = (width / box.width, height / box.height) if box else (1.0, 1.0)
    stick = max(1, round(min(width, height) / 60))
    for pose in [poses] if isinstance(poses, Pose) else poses:
        points = {
            name: ((x - corner[0]) * scale[0], (y - corner[1]) * scale[1])
            for name, (x, y) in _joints(pose, least).items()
        }
        for i, (a, b) in enumerate(BONES):
            if a in points and b in points:
                draw.line([points[a], points[b]], fill=_hue(i, DIMMED), width=2 * stick)
        for i, name in enumerate(JOINTS):
            if name in points:
                x, y = points[name]
                draw.ellipse([x - stick, y - stick, x + stick, y + stick], fill=_hue(i, 1.0))
    return np.asarray(canvas, np.uint8).copy()


def _joints(pose: Pose, least: float) -> dict[str, tuple[float, float]]:
    found = {name: at for name in JOINTS if name != "neck" and (at := pose.point(name, least)) is not None}
    if "left_shoulder" in found and "right_shoulder" in found:
        (ax, ay), (bx, by) = found["left_shoulder"], found["right_shoulder"]
        found["neck"] = ((ax + bx) / 2, (ay + by) / 2)
    return {name: at for name, at in found.items() if np.isfinite(at).all()}


def _hue(i: int, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(i / len(JOINTS), 1.0, value)
    return round(255 * red), round(255 * green), round(255 * blue)
