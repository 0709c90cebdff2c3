"""A pinhole camera over a ground plane.

World axes in metres: x right, y away from the camera, z up; the ground is z = 0. Camera axes: x right,
y down, z along the optical axis. The camera stands at (0, 0, height).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@lru_cache(maxsize=64)
def _axes(tilt: float, roll: float) -> Array:
    c, s = np.cos(tilt), np.sin(tilt)
    right, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, -s, -c])
    cr, sr = np.cos(roll), np.sin(roll)
    rows = np.stack([cr * right + sr * down, cr * down - sr * right, np.array([0.0, c, -s])])
    out = rows.astype(np.float32)
    out.flags.writeable = False
    return out


@dataclass(frozen=True, slots=True)
class Camera:
    """Height in metres, ``tilt`` (downwards) and ``roll`` in radians, focal length and picture size in pixels."""

    height: float
    tilt: float
    focal: float
    width: int = 640
    image_height: int = 360
    roll: float = 0.0
    cx: float = 320.0
    cy: float = 180.0

    def axes(self) -> Array:
        """(3, 3): rows are the camera's right, down and forward directions in world axes."""
        return _axes(self.tilt, self.roll)

    def project(self, points: Array) -> Array:
        """World points (..., 3) in metres to (..., 3): pixel x, pixel y, depth in metres (≥ 0.1)."""
        rel = points - np.array([0.0, 0.0, self.height], np.float32)
        cam = rel @ self.axes().T
        depth = np.maximum(cam[..., 2:3], 0.1)
        xy = cam[..., :2] * (self.focal / depth) + np.array([self.cx, self.cy], np.float32)
        return np.concatenate([xy, depth], -1)

    def rays(self, window: tuple[int, int, int, int] | None = None) -> Array:
        """Directions (h, w, 3) in world axes, camera depth 1, through the pixels of ``window`` (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = window or (0, 0, self.width, self.image_height)
        axes = self.axes()
        xs = ((np.arange(x0, x1) + 0.5 - self.cx) / self.focal).astype(np.float32)
        ys = ((np.arange(y0, y1) + 0.5 - self.cy) / self.focal).astype(np.float32)
        return xs[None, :, None] * axes[0] + ys[:, None, None] * axes[1] + axes[2]

    def ground(self, x: float, y: float) -> tuple[float, float] | None:
        """World (x, y) on the ground seen at a pixel; None at or above the horizon."""
        axes = self.axes()
        ray = (x - self.cx) / self.focal * axes[0] + (y - self.cy) / self.focal * axes[1] + axes[2]
        if ray[2] > -1e-3:
            return None
        k = self.height / -float(ray[2])
        return float(ray[0]) * k, float(ray[1]) * k

    def depth_of(self, x: float, y: float, z: float = 0.0) -> float:
        """Depth in metres of a world point along the optical axis."""
        return float(np.array([x, y, z - self.height]) @ self.axes()[2])

    def moved(self, **changes: float) -> Camera:
        """A copy with some values changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def random_camera(rng: np.random.Generator, width: int = 640, height: int = 360) -> tuple[Camera, str]:
    """A camera and its name: ``eye``, ``shop``, ``surveillance`` or ``roof`` (rising height and tilt)."""
    name = str(rng.choice(["eye", "shop", "surveillance", "roof"], p=[0.2, 0.3, 0.38, 0.12]))
    low, high, tilt0, tilt1, f0, f1 = {
        "eye": (1.4, 1.9, 1.0, 6.0, 0.85, 1.3),
        "shop": (2.3, 3.2, 6.0, 13.0, 0.75, 1.1),
        "surveillance": (3.2, 5.0, 11.0, 22.0, 0.75, 1.15),
        "roof": (6.0, 9.0, 25.0, 36.0, 1.1, 1.7),
    }[name]
    camera = Camera(
        height=float(rng.uniform(low, high)),
        tilt=float(np.radians(rng.uniform(tilt0, tilt1))),
        focal=float(width * rng.uniform(f0, f1)),
        width=width,
        image_height=height,
        roll=float(np.radians(rng.normal(0.0, 1.2))),
        cx=width / 2,
        cy=height / 2,
    )
    return camera, name
