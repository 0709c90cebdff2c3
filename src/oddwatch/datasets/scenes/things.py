"""Things that stand or move in a scene: cars, bicycles, dogs, benches, trees, lamps, bins, bags, balls, fences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oddwatch.datasets.scenes.camera import Array, Camera
from oddwatch.datasets.scenes.figure import Light, Patch

Window = tuple[int, int, int, int]
SIZES: dict[str, tuple[float, float]] = {
    "car": (1.8, 4.3), "bicycle": (0.5, 1.75), "dog": (0.28, 0.9), "bench": (1.7, 0.55), "tree": (0.5, 0.5),
    "lamp": (0.2, 0.2), "bin": (0.5, 0.5), "bag": (0.5, 0.3), "fence": (6.0, 0.1), "ball": (0.24, 0.24),
    "box": (0.5, 0.4), "truck": (2.3, 7.0),
}  # fmt: skip
"""Width and length in metres."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing at world (x, y) metres, ``heading`` as for people, colour sRGB; ``phase`` turns wheels and legs,
    ``z`` metres above ground, ``push`` added to its depth when sorting."""

    kind: str
    x: float
    y: float
    heading: float = 0.0
    color: tuple[float, float, float] = (120.0, 120.0, 124.0)
    phase: float = 0.0
    z: float = 0.0
    push: float = 0.0
    size: float = 1.0

    @property
    def footprint(self) -> tuple[float, float] | None:
        """Width and length of its contact shadow in metres, None where it has none."""
        if self.kind in ("lamp", "fence") or self.z > 0.5:
            return None
        w, length = SIZES[self.kind]
        if self.kind == "tree":
            return 0.7, 0.7
        return w * self.size * 1.04, length * self.size * 1.03

    def footprint_points(self) -> Array:
        """The four ground corners (4, 3) in world metres."""
        w, length = self.footprint or SIZES[self.kind]
        local = np.array([[-w, -length], [w, -length], [w, length], [-w, length]], np.float32) / 2
        return _world(self, np.concatenate([local, np.zeros((4, 1), np.float32)], 1), ground=True)


def _world(thing: Thing, local: Array, ground: bool = False) -> Array:
    c, s = np.cos(thing.heading), np.sin(thing.heading)
    out = np.empty_like(local, dtype=np.float32)
    out[:, 0] = thing.x + c * local[:, 0] - s * local[:, 1]
    out[:, 1] = thing.y + s * local[:, 0] + c * local[:, 1]
    out[:, 2] = 0.0 if ground else local[:, 2] + thing.z
    return out


class _Pen:
    """Draws boxes, rods and wheels of a thing's own axes (right, forward, up in metres) into a patch."""

    def __init__(self, thing: Thing, camera: Camera, patch: Patch) -> None:
        self.thing, self.camera, self.patch = thing, camera, patch
        self.eye = np.array([0, 0, camera.height], np.float32)

    def points(self, local: list[tuple[float, float, float]] | Array) -> Array:
        """Own axes (N, 3) to patch pixels and depth."""
        return self.patch.place(
            self.camera.project(_world(self.thing, np.asarray(local, np.float32) * self.thing.size))
        )

    def scale(self, depth: float) -> float:
        """Patch pixels per metre of the thing's own size at a depth."""
        return self.camera.focal * self.patch.scale / depth * self.thing.size

    def rod(self, a: tuple[float, float, float], b: tuple[float, float, float], r0: float, r1: float, material: int,
            fold: float = 0.0) -> None:  # fmt: skip
        """A tapered capsule."""
        p, q = self.points([a, b])
        self.patch.capsule(
            p, q, r0 * self.scale(float(p[2])), r1 * self.scale(float(q[2])), material, thick=r0, fold=fold
        )

    def hull(self, sections: list[tuple[float, float, float, float]], y0: float, y1: float, material: int,
             bias: float = 0.0, y_top: tuple[float, float] | None = None) -> None:  # fmt: skip
        """A box of (z, half width) rings between y0 and y1; the top ring may be shorter (``y_top``)."""
        (z0, w0, _, _), (z1, w1, _, _) = sections[0], sections[-1]
        t0, t1 = y_top or (y0, y1)
        c = np.array([(-w0, y0, z0), (w0, y0, z0), (w0, y1, z0), (-w0, y1, z0),
                      (-w1, t0, z1), (w1, t0, z1), (w1, t1, z1), (-w1, t1, z1)], np.float32)  # fmt: skip
        self.solid(c, material, bias)

    def solid(self, corners: Array, material: int, bias: float = 0.0, faces: str = "all") -> None:
        """Six faces of eight corners (bottom ring then top ring), those turned to the camera, shaded by slope."""
        world = _world(self.thing, corners * self.thing.size)
        flat = self.patch.place(self.camera.project(world))
        middle = world.mean(0)
        light = np.array(self.patch.light.toward, np.float32)
        axes = self.camera.axes()
        for ring in ((0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7)):
            n = np.cross(world[ring[1]] - world[ring[0]], world[ring[3]] - world[ring[0]])
            centre = world[list(ring)].mean(0)
            if n @ (centre - middle) < 0:
                n = -n
            if n @ (self.eye - centre) <= 0:
                continue
            n = n / (np.linalg.norm(n) + 1e-6)
            cam = axes @ n
            lit = max(float(cam[0] * light[0] + cam[1] * light[1] - cam[2] * light[2]), 0.0)
            ambient = self.patch.light.ambient * (0.8 + 0.28 * max(float(n[2]), 0.0))
            total = ambient + self.patch.light.direct * lit
            base = self.patch.light.ambient + 0.6 * self.patch.light.direct
            self.patch.polygon(flat[list(ring)], material, shade=total / max(base, 1e-3), bias=bias)

    def panel(
        self, corners: list[tuple[float, float, float]], material: int, shade: float = 1.0, bias: float = 0.05
    ) -> None:
        """One flat polygon, seen only from the side its corners turn counter-clockwise."""
        world = _world(self.thing, np.asarray(corners, np.float32) * self.thing.size)
        n = np.cross(world[1] - world[0], world[2] - world[0])
        if n @ (self.eye - world.mean(0)) <= 0:
            return
        self.patch.polygon(self.patch.place(self.camera.project(world)), material, shade=shade, bias=bias)

    def wheel(self, x: float, y: float, radius: float, material: int, rim: float, spokes: int = 0) -> None:
        """A wheel square to the right axis: filled (rim ≥ 1) or a tyre of that share of the radius."""
        angle = np.linspace(0, 2 * np.pi, 17)[:-1]
        ring = [(x, y + radius * float(np.cos(a)), radius + radius * float(np.sin(a))) for a in angle]
        if rim >= 1:
            self.patch.polygon(self.points(ring), material, shade=0.9, bias=0.12)
            return
        p = self.points(ring)
        r = max(0.5, rim * radius * self.scale(float(p[0, 2])) / 2)
        for i in range(16):
            self.patch.capsule(p[i], p[(i + 1) % 16], r, r, material, thick=0.02)
        for i in range(spokes):
            a = np.pi * i / spokes + self.thing.phase
            d = (radius * float(np.cos(a)), radius * float(np.sin(a)))
            self.rod((x, y - d[0], radius - d[1]), (x, y + d[0], radius + d[1]), 0.003, 0.003, 3)


def _car(pen: _Pen, long: float = 4.3) -> None:
    w, h = 0.9, long / 2
    body, glass, dark, lamp, red = 1, 2, 4, 5, 6
    pen.hull([(0.28, w, 0, 0), (0.86, w * 0.97, 0, 0)], -h, h, body)
    pen.hull(
        [(0.86, w * 0.9, 0, 0), (1.42, w * 0.72, 0, 0)],
        -h * 0.86,
        h * 0.42,
        body,
        0.02,
        (-h * 0.62, h * 0.08),
    )
    for s in (-1.0, 1.0):
        low, top = w * 0.9 * s * 1.01, w * 0.74 * s * 1.01
        for a, b, c, d in ((-0.74, -0.22, -0.2, -0.56), (-0.17, 0.34, 0.06, -0.17)):
            quad = [(low, h * a, 0.92), (low, h * b, 0.92), (top, h * c, 1.34), (top, h * d, 1.34)]
            pen.panel(quad if s > 0 else quad[::-1], glass, 0.9, 0.1)
        for y in (-0.62, 0.64):
            pen.wheel(s * w * 1.0, h * y, 0.31, dark, 1.0)
            ring = [(s * w * 1.02, h * y + 0.17 * float(np.cos(a)), 0.31 + 0.17 * float(np.sin(a)))
                    for a in np.linspace(0, 2 * np.pi, 11)[:-1]]  # fmt: skip
            pen.panel(ring if s > 0 else ring[::-1], 3, 0.9, 0.16)
    pen.panel([(w * 0.84, h * 0.41, 0.9), (-w * 0.84, h * 0.41, 0.9), (-w * 0.66, h * 0.1, 1.36), (w * 0.66, h * 0.1, 1.36)],
              glass, 1.1, 0.1)  # fmt: skip
    pen.panel([(-w * 0.84, -h * 0.85, 0.9), (w * 0.84, -h * 0.85, 0.9), (w * 0.66, -h * 0.64, 1.36), (-w * 0.66, -h * 0.64, 1.36)],
              glass, 0.9, 0.1)  # fmt: skip
    for s in (-1.0, 1.0):
        x0, x1 = sorted((s * w * 0.6, s * w * 0.93))
        pen.panel(
            [(x1, h * 1.005, 0.6), (x0, h * 1.005, 0.6), (x0, h * 1.005, 0.78), (x1, h * 1.005, 0.78)],
            lamp,
            1.2,
            0.1,
        )
        pen.panel(
            [(x0, -h * 1.005, 0.6), (x1, -h * 1.005, 0.6), (x1, -h * 1.005, 0.78), (x0, -h * 1.005, 0.78)],
            red,
            1.1,
            0.1,
        )
    pen.panel([(w * 0.95, h * 1.004, 0.3), (-w * 0.95, h * 1.004, 0.3), (-w * 0.95, h * 1.004, 0.42), (w * 0.95, h * 1.004, 0.42)],
              dark, 1.0, 0.1)  # fmt: skip


def _bicycle(pen: _Pen) -> None:
    tyre, frame, metal = 4, 1, 3
    for y in (-0.52, 0.52):
        pen.wheel(0.0, y, 0.34, tyre, 0.11, 3)
    pen.rod((0, -0.52, 0.34), (0, -0.08, 0.3), 0.014, 0.014, frame)
    pen.rod((0, -0.52, 0.34), (0, -0.2, 0.8), 0.014, 0.014, frame)
    pen.rod((0, -0.08, 0.3), (0, -0.24, 0.92), 0.016, 0.016, frame)
    pen.rod((0, -0.08, 0.3), (0, 0.36, 0.8), 0.018, 0.018, frame)
    pen.rod((0, -0.2, 0.8), (0, 0.35, 0.86), 0.016, 0.016, frame)
    pen.rod((0, 0.52, 0.34), (0, 0.34, 0.96), 0.016, 0.016, frame)
    pen.rod((-0.25, 0.32, 1.0), (0.25, 0.32, 1.0), 0.016, 0.016, metal)
    pen.rod((0, -0.32, 0.95), (0, -0.1, 0.95), 0.05, 0.03, tyre)


def _dog(pen: _Pen) -> None:
    p = pen.thing.phase
    pen.rod((0, -0.26, 0.42), (0, 0.24, 0.46), 0.11, 0.125, 1, 0.05)
    pen.rod((0, 0.28, 0.5), (0, 0.42, 0.64), 0.085, 0.075, 1)
    pen.rod((0, 0.42, 0.65), (0, 0.6, 0.6), 0.08, 0.045, 1)
    pen.rod((0, -0.32, 0.46), (0, -0.52, 0.64), 0.03, 0.015, 1)
    for i, (x, y) in enumerate(((-0.08, 0.22), (0.08, 0.22), (-0.08, -0.24), (0.08, -0.24))):
        swing = 0.13 * float(np.sin(p + np.pi * (i in (1, 2))))
        pen.rod((x, y, 0.4), (x, y + 0.5 * swing - 0.02, 0.2), 0.05, 0.03, 1)
        pen.rod((x, y + 0.5 * swing - 0.02, 0.2), (x, y + swing, 0.03), 0.03, 0.025, 1)
    for x in (-0.06, 0.06):
        pen.rod((x, 0.4, 0.7), (x * 1.4, 0.38, 0.64), 0.03, 0.02, 4)


def _bench(pen: _Pen) -> None:
    for y in (-0.18, 0.0, 0.18):
        pen.solid(_cuboid((0, y, 0.45), (0.85, 0.075, 0.02)), 1)
    for z in (0.62, 0.8):
        pen.solid(_cuboid((0, -0.27, z), (0.85, 0.02, 0.06)), 1)
    for x in (-0.7, 0.7):
        pen.rod((x, -0.26, 0), (x, -0.26, 0.85), 0.03, 0.03, 3)
        pen.rod((x, 0.2, 0), (x, 0.2, 0.44), 0.03, 0.03, 3)


def _cuboid(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Array:
    (x, y, z), (a, b, c) = centre, half
    ring = [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)]
    return np.array([(*p, z - c) for p in ring] + [(*p, z + c) for p in ring], np.float32)


def _tree(pen: _Pen) -> None:
    pen.rod((0, 0, 0), (0.06, 0, 2.2), 0.17, 0.12, 2, 0.12)
    pen.rod((0.06, 0, 2.0), (-0.5, 0.2, 3.4), 0.1, 0.05, 2)
    rng = np.random.default_rng(int(abs(pen.thing.x * 31 + pen.thing.y * 17)) + 1)
    for _ in range(34):
        x, y, z = rng.normal(0, 0.75), rng.normal(0, 0.75), rng.normal(3.7, 0.7)
        pen.rod((x, y, z), (x + 0.2, y, z + 0.15), 0.42, 0.3, int(rng.choice([1, 1, 7])), 0.12)


def _simple(pen: _Pen, kind: str) -> None:
    if kind == "lamp":
        pen.rod((0, 0, 0), (0, 0, 4.8), 0.07, 0.045, 3)
        pen.rod((0, 0, 4.8), (0.7, 0, 5.0), 0.04, 0.04, 3)
        pen.rod((0.55, 0, 4.95), (0.9, 0, 4.97), 0.08, 0.08, 5)
    elif kind == "bin":
        pen.rod((0, 0, 0.25), (0, 0, 0.75), 0.25, 0.27, 1)
        pen.rod((0, 0, 0.95), (0, 0, 0.97), 0.27, 0.27, 4)
    elif kind == "bag":
        pen.rod((-0.12, 0, 0.16), (0.12, 0, 0.16), 0.17, 0.17, 1, 0.06)
        pen.rod((-0.1, 0, 0.33), (0, 0, 0.45), 0.018, 0.018, 4)
        pen.rod((0.1, 0, 0.33), (0, 0, 0.45), 0.018, 0.018, 4)
    elif kind == "ball":
        pen.rod((0, 0, 0.12), (0, 0, 0.121), 0.12, 0.12, 1)
    elif kind == "box":
        pen.solid(_cuboid((0, 0, 0.2), (0.25, 0.2, 0.2)), 1)
    elif kind == "fence":
        for i in range(25):
            x = -3.0 + 0.25 * i
            pen.rod((x, 0, 0), (x, 0, 1.75), 0.018, 0.018, 1)
        for z in (0.25, 1.62):
            pen.rod((-3, 0, z), (3, 0, z), 0.03, 0.03, 1)
    elif kind == "truck":
        pen.hull([(0.5, 1.15, 0, 0), (3.1, 1.15, 0, 0)], -3.5, 1.6, 1)
        pen.hull([(0.4, 1.1, 0, 0), (2.4, 1.05, 0, 0)], 1.7, 3.5, 8, 0.0, (1.7, 3.2))
        for x in (-1.05, 1.05):
            for y in (-2.3, 2.5):
                pen.wheel(x, y, 0.45, 4, 1.0)
        pen.panel([(0.95, 3.46, 1.5), (-0.95, 3.46, 1.5), (-0.9, 3.26, 2.25), (0.9, 3.26, 2.25)], 2, 1.0, 0.1)


def draw_thing(
    thing: Thing, camera: Camera, light: Light, window: Window
) -> tuple[Window, NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Draw a thing: its picture box, colours (h, w, 3) and coverage (h, w); None when out of the window."""
    w, length = SIZES[thing.kind]
    reach = max(w, length) / 2 * thing.size + (1.8 if thing.kind == "tree" else 0.4)
    high = {"tree": 5.6, "lamp": 5.2, "truck": 3.3, "fence": 1.9, "car": 1.6}.get(
        thing.kind, 1.2
    ) * thing.size
    corner = np.array([[thing.x + i * reach, thing.y + j * reach, thing.z + k] for i in (-1, 1) for j in (-1, 1)
                       for k in (-0.05, high)], np.float32)  # fmt: skip
    p = camera.project(corner)
    if p[:, 2].min() < 0.5:
        return None
    lo, hi = p[:, :2].min(0), p[:, :2].max(0)
    box = (max(int(lo[0]), window[0]), max(int(lo[1]), window[1]), min(int(hi[0]) + 1, window[2]),
           min(int(hi[1]) + 1, window[3]))  # fmt: skip
    if box[2] - box[0] < 2 or box[3] - box[1] < 2:
        return None
    patch = Patch(box, 2 if (box[3] - box[1]) * (box[2] - box[0]) < 30000 else 1, light)
    pen = _Pen(thing, camera, patch)
    if thing.kind == "car":
        _car(pen)
    elif thing.kind == "bicycle":
        _bicycle(pen)
    elif thing.kind == "dog":
        _dog(pen)
    elif thing.kind == "bench":
        _bench(pen)
    elif thing.kind == "tree":
        _tree(pen)
    else:
        _simple(pen, thing.kind)
    rgb = np.array(thing.color, np.float32)
    palette = np.zeros((16, 3), np.float32)
    palette[1] = rgb
    palette[2] = (86, 66, 50) if thing.kind == "tree" else (44, 52, 60)
    palette[3], palette[4], palette[5], palette[6] = (
        (142, 144, 148),
        (24, 24, 26),
        (238, 236, 220),
        (150, 24, 24),
    )
    palette[7], palette[8] = rgb * 0.8, (206, 206, 208)
    colours, cover = patch.finish(palette)
    return box, colours, cover
