"""Places: ground, walls and sky cast ray by ray into a picture, and where in them people and cars may go.

Place axes: a across, b along (streets run along b); ``yaw`` turns them against the camera's world axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from oddwatch.datasets.scenes.camera import Array, Camera

PLACES = ("street", "plaza", "corridor", "platform", "car park", "park")
_GROUND_NAMES = ("asphalt", "pavement", "tiles", "grass", "rails", "kerb", "floor", "cobbles")


@lru_cache(maxsize=1)
def noise_tiles() -> tuple[Array, Array, Array]:
    """Three fixed wrap-around noise tiles (256, 256) in −1..1: fine, middle, coarse."""
    rng = np.random.default_rng(20240611)
    out = []
    for sigma in (0.8, 3.0, 11.0):
        n = rng.normal(size=(256, 256)).astype(np.float32)
        wide = cv2.GaussianBlur(np.tile(n, (3, 3)), (0, 0), sigma)[256:512, 256:512]
        out.append(np.clip(wide / (2.2 * wide.std()), -1, 1).astype(np.float32))
    return out[0], out[1], out[2]


def _look_up(tile: Array, x: Array, y: Array, scale: float) -> Array:
    i = (y * scale).astype(np.int32) & 255
    j = (x * scale).astype(np.int32) & 255
    out: Array = tile[i, j]
    return out


@dataclass(frozen=True, slots=True)
class Wall:
    """A vertical plane: ``axis`` ``a`` or ``b`` held at ``at`` metres, between ``start`` and ``end`` on the other axis."""

    axis: str
    at: float
    start: float
    end: float
    height: float
    color: tuple[float, float, float]
    style: str = "facade"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A place with its geometry. ``bands`` are (a0, a1, ground name) strips; what is left is ``ground``."""

    name: str
    yaw: float
    ground: str
    colors: dict[str, tuple[float, float, float]]
    bands: tuple[tuple[float, float, str], ...] = ()
    walls: tuple[Wall, ...] = ()
    ceiling: float | None = None
    walk: tuple[tuple[float, float], ...] = ((-30.0, 30.0),)
    road: tuple[float, float] | None = None
    deep: float = 60.0
    seed: int = 0
    extras: dict[str, float] = field(default_factory=dict)

    @property
    def indoor(self) -> bool:
        """Whether there is a ceiling (no weather, no sun)."""
        return self.ceiling is not None

    def to_world(self, a: float, b: float) -> tuple[float, float]:
        """Place (a, b) to world (x, y), metres."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return float(c * a - s * b), float(s * a + c * b)

    def to_place(self, x: float, y: float) -> tuple[float, float]:
        """World (x, y) to place (a, b), metres."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return float(c * x + s * y), float(-s * x + c * y)

    def surface_at(self, x: float, y: float) -> str:
        """The ground's name at a world point."""
        a, _ = self.to_place(x, y)
        for a0, a1, name in self.bands:
            if a0 <= a < a1:
                return name
        return self.ground

    def walkable(self, x: float, y: float, margin: float = 0.3) -> bool:
        """Whether somebody may walk at a world point."""
        a, b = self.to_place(x, y)
        if not any(lo + margin <= a <= hi - margin for lo, hi in self.walk):
            return False
        for wall in self.walls:
            p, q = (a, b) if wall.axis == "a" else (b, a)
            side = p > wall.at if wall.at >= 0 else p < wall.at
            if wall.start <= q <= wall.end and (side or abs(p - wall.at) < margin):
                return False
        return b < self.deep

    def cast(
        self, camera: Camera, window: tuple[int, int, int, int] | None = None, night: bool = False
    ) -> tuple[Array, Array]:
        """Colours (h, w, 3) float32 0–255 in plain light, and distances (h, w) in metres along the ray's depth."""
        rays = camera.rays(window)
        c, s = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        da, db, dz = c * rays[..., 0] + s * rays[..., 1], -s * rays[..., 0] + c * rays[..., 1], rays[..., 2]
        h, w = dz.shape
        far = np.float32(400.0)
        best = np.where(dz < -1e-4, -camera.height / np.minimum(dz, -1e-4), far).astype(np.float32)
        best = np.minimum(best, far)
        which = np.where(best < far, 0, -1).astype(np.int8)
        if self.ceiling is not None:
            t = np.where(dz > 1e-4, (self.ceiling - camera.height) / np.maximum(dz, 1e-4), far)
            closer = t < best
            best[closer], which[closer] = t[closer], 99
        for i, wall in enumerate(self.walls):
            d, e = (da, db) if wall.axis == "a" else (db, da)
            safe = np.where(np.abs(d) < 1e-5, np.float32(1e-5), d)
            t = wall.at / safe
            other, z = t * e, camera.height + t * dz
            hit = (t > 0.2) & (t < best) & (z < wall.height) & (other > wall.start) & (other < wall.end)
            best[hit], which[hit] = t[hit], i + 1
        image = np.empty((h * w, 3), np.float32)
        kinds, t_all, a_all, b_all, z_all = which.ravel(), best.ravel(), da.ravel(), db.ravel(), dz.ravel()
        for kind in (-1, 0, 99, *range(1, len(self.walls) + 1)):
            at = np.flatnonzero(kinds == kind)
            if not len(at):
                continue
            t, a, b = t_all[at], a_all[at], b_all[at]
            if kind == 0:
                image[at] = self._ground(t * a, t * b, t)
            elif kind == 99:
                image[at] = self._ceiling(t * a, t * b, t)
            elif kind > 0:
                wall = self.walls[kind - 1]
                along = t * (b if wall.axis == "a" else a)
                image[at] = _wall(wall, along, camera.height + t * z_all[at], t, night)
            else:
                image[at] = self._sky(a, z_all[at])
        image = image.reshape(h, w, 3)
        if not self.indoor:
            haze = np.clip((best - 18) / 160, 0, 0.55)[..., None] * (which >= 0)[..., None]
            if best.max() > 18:
                image += (np.array(self.colors["sky"], np.float32) * 0.92 - image) * haze
        return image, best

    def _sky(self, a: Array, z: Array) -> Array:
        up = np.clip(z * 2.2, 0, 1)[:, None]
        n = _look_up(noise_tiles()[2], a * 120, z * 240, 1.0)[:, None]
        sky = np.array(self.colors["sky"], np.float32)
        return np.asarray(sky * (1.06 - 0.16 * up) + 9 * n * (sky.mean() > 90), np.float32)

    def _ground(self, a: Array, b: Array, dist: Array) -> Array:
        fine, middle, coarse = noise_tiles()
        near = np.clip(1.25 - dist / 22, 0, 1)
        base = np.empty((*a.shape, 3), np.float32)
        base[:] = self.colors[self.ground]
        base *= _texture(self.ground, a, b, near)[:, None]
        for a0, a1, name in self.bands:
            m = (a >= a0) & (a < a1)
            if m.any():
                base[m] = (
                    np.array(self.colors[name], np.float32) * _texture(name, a[m], b[m], near[m])[:, None]
                )
        rough = 1 + 0.05 * _look_up(fine, a, b, 41.0) * near + 0.05 * _look_up(middle, a, b, 9.0)
        rough += 0.075 * _look_up(coarse, a, b, 5.0) + 0.05 * _look_up(coarse, b, a, 1.4)
        base *= rough[:, None]
        for lines in self._marks(a, b):
            base[lines] = (
                base[lines] * 0.3 + np.array(self.colors.get("paint", (214, 212, 204)), np.float32) * 0.7
            )
        return base

    def _marks(self, a: Array, b: Array) -> list[np.ndarray]:
        """Painted lines: lane dashes, crossings, parking bays, platform edge."""
        out: list[np.ndarray] = []
        x = self.extras
        if self.road is not None and self.name == "street":
            lo, hi = self.road
            mid = (lo + hi) / 2
            out.append((np.abs(a - mid) < 0.07) & (np.mod(b, 5.0) < 2.6))
            if "crossing" in x:
                out.append((a > lo + 0.3) & (a < hi - 0.3) & (np.abs(b - x["crossing"]) < 1.5)
                           & (np.mod(a - lo, 1.0) < 0.5))  # fmt: skip
        if self.name == "car park":
            bay = np.abs(np.mod(b + 0.7, 2.5) - 0.06) < 0.06
            out += [bay & (np.abs(a - row) < 2.4) for row in (x["row1"], x["row2"])]
        if self.name == "platform":
            out.append(np.abs(a - x["edge"] - 0.75) < 0.11)
        return out

    def _ceiling(self, a: Array, b: Array, dist: Array) -> Array:
        base = np.empty((*a.shape, 3), np.float32)
        base[:] = self.colors["ceiling"]
        base[(np.mod(b, 3.6) < 0.45) & (np.abs(np.mod(a + 1, 3.0) - 1) < 0.5)] = (250, 250, 244)
        lines = (np.mod(a, 0.6) < 0.025) | (np.mod(b, 0.6) < 0.025)
        base[lines & (dist < 12)] *= 0.86
        return base


def _texture(name: str, a: Array, b: Array, near: Array) -> Array:
    """Joints and blades: a factor around 1."""
    out = np.ones_like(a)
    if name in ("pavement", "tiles", "floor", "cobbles"):
        size = {"pavement": 0.6, "tiles": 1.0, "floor": 0.6, "cobbles": 0.22}[name]
        shift = np.floor(b / size) * size * (0.5 if name in ("pavement", "cobbles") else 0.0)
        i, j = np.floor((a + shift) / size), np.floor(b / size)
        cell = _look_up(noise_tiles()[0], i * 17 + 3, j * 29 + 11, 1.0)
        joint = (
            (np.mod(a + shift, size) < 0.03 * size + 0.01) | (np.mod(b, size) < 0.03 * size + 0.01)
        ) * near
        out = out * (1 + 0.06 * cell * near) * (1 - 0.22 * joint)
    elif name == "grass":
        out = (
            1
            + 0.2 * _look_up(noise_tiles()[0], a, b, 60.0) * near
            + 0.1 * _look_up(noise_tiles()[1], a, b, 17.0)
        )
    elif name == "rails":
        out = 1 + 0.3 * _look_up(noise_tiles()[0], a, b, 37.0) * near
        out = np.where(np.mod(b, 0.65) < 0.25, out * 0.75, out)
        out = np.where(np.abs(np.mod(a, 1.6) - 0.8) < 0.05, 2.0, out)
    elif name == "kerb":
        out = np.where(np.mod(b, 1.0) < 0.03, 0.75, 1.0)
    return out.astype(np.float32)


def _wall(wall: Wall, s: Array, z: Array, dist: Array, night: bool) -> Array:
    """A wall's colours at (s metres along, z metres up)."""
    fine, middle, coarse = noise_tiles()
    base = np.empty((*s.shape, 3), np.float32)
    base[:] = wall.color
    near = np.clip(1.3 - dist / 28, 0, 1)
    base *= (1 + 0.05 * _look_up(middle, s, z, 13.0) + 0.07 * _look_up(coarse, s, z, 4.0))[:, None]
    if wall.style == "plain":
        base *= (1 - 0.3 * (z < 0.12))[:, None]
        seams = np.mod(s + wall.seed, 3.1) < 0.05
        base[seams] *= 0.86
        door = (np.mod(s + wall.seed, 7.3) < 1.0) & (z < 2.1)
        base[door] = np.array(wall.color) * 0.62
        return base
    if wall.style == "trees":
        top = wall.height * (0.62 + 0.3 * _look_up(coarse, s, s * 0 + wall.seed, 6.0))
        leaves = 1 + 0.34 * _look_up(fine, s, z, 22.0) * near + 0.34 * _look_up(middle, s, z, 14.0)
        base = np.array(wall.color, np.float32) * (leaves * (0.62 + 0.38 * np.clip(z / 5, 0, 1)))[:, None]
        base[z > top] = -1.0
        return np.where(base < 0, np.array((176, 190, 202), np.float32), base)
    if wall.style == "fence":
        bars = (np.mod(s, 0.5) < 0.06) | (np.abs(z - wall.height + 0.08) < 0.05) | (np.abs(z - 0.2) < 0.04)
        base[~bars] *= 0.8
        return base
    if wall.style == "brick":
        row = np.floor(z / 0.12)
        joint = (np.mod(z, 0.12) < 0.018) | (np.mod(s + 0.12 * (row % 2), 0.26) < 0.02)
        base *= (
            1 - 0.16 * joint * near + 0.08 * _look_up(fine, np.floor(s / 0.26) * 31, row * 17, 1.0) * near
        )[:, None]
    # Houses differ from one another; windows sit in a grid above a ground floor of shop fronts and doors.
    house = np.floor((s + wall.seed) / 8.5)
    base *= (1 + 0.16 * _look_up(fine, house * 37 + 5, house * 11 + wall.seed, 1.0))[:, None]
    floor = np.floor((z - 0.4) / 3.1)
    u, v = np.mod(s + wall.seed, 2.125), np.mod(z - 0.4, 3.1)
    cell = _look_up(fine, np.floor((s + wall.seed) / 2.125) * 13 + 7, floor * 23 + wall.seed, 1.0)
    window = (np.abs(u - 1.06) < 0.52) & (v > 0.95) & (v < 2.5) & (floor >= 1)
    frame = (np.abs(u - 1.06) < 0.62) & (v > 0.86) & (v < 2.6) & (floor >= 1)
    lit = (cell > 0.3) if night else (cell > 2)
    base[frame] = base[frame] * 0.55 + 110
    glass = np.where(lit[:, None], np.array((330, 250, 150), np.float32),
                     np.array((58, 66, 76), np.float32) * (1 + 0.4 * cell + 0.25 * (v - 1))[:, None])  # fmt: skip
    cross = (np.abs(u - 1.06) < 0.03) | (np.abs(v - 1.9) < 0.03)
    base[window & ~cross] = glass[window & ~cross]
    shop = (
        (floor < 1)
        & (z > 0.5)
        & (z < 2.6)
        & (np.mod(s + wall.seed, 8.5) > 0.6)
        & (np.mod(s + wall.seed, 8.5) < 5.6)
    )
    shine = _look_up(middle, s[shop] * 0.5, z[shop], 3.0)
    front = np.array((344, 312, 250) if night else (72, 78, 84), np.float32)
    base[shop] = (
        front
        * (1 + (0.1 if night else 0.28) * shine + 0.12 * (z[shop] - 1.5) * (-1 if night else 1))[:, None]
    )
    sign = (z > 2.7) & (z < 3.25) & (np.mod(s + wall.seed, 8.5) < 6.0)
    hue = _look_up(fine, house * 7, house * 3 + 1, 1.0)
    base[sign] = np.stack([110 + 90 * hue, 96 - 60 * hue, 90 + 50 * np.abs(hue)], -1)[sign]
    door = (np.abs(np.mod(s + wall.seed, 8.5) - 7.1) < 0.55) & (z < 2.3)
    base[door] = np.stack([66 + 40 * hue, 56 + 8 * hue, 48 - 10 * hue], -1)[door]
    return base


def _vary(
    rng: np.random.Generator, rgb: tuple[float, float, float], amount: float = 14
) -> tuple[float, float, float]:
    v = np.clip(np.array(rgb) * rng.uniform(0.82, 1.15) + rng.normal(0, amount * 0.3, 3), 8, 245)
    return float(v[0]), float(v[1]), float(v[2])


_FACADES = (
    (168, 152, 132),
    (150, 96, 74),
    (188, 180, 166),
    (122, 116, 112),
    (176, 140, 104),
    (142, 150, 156),
)


def make_place(rng: np.random.Generator, name: str | None = None) -> Place:
    """A random place; ``name`` one of ``PLACES``."""
    kind = name or str(rng.choice(PLACES, p=[0.38, 0.17, 0.12, 0.1, 0.13, 0.1]))
    colors = {
        "asphalt": _vary(rng, (92, 92, 95)), "pavement": _vary(rng, (150, 146, 140)), "tiles": _vary(rng, (160, 152, 142)),
        "grass": _vary(rng, (84, 108, 56)), "rails": _vary(rng, (70, 64, 60)), "kerb": _vary(rng, (168, 166, 162)),
        "floor": _vary(rng, (158, 154, 146)), "cobbles": _vary(rng, (122, 114, 108)), "sky": _vary(rng, (190, 200, 212), 8),
        "ceiling": _vary(rng, (206, 204, 198)),
    }  # fmt: skip
    seed = int(rng.integers(0, 200))

    def facade(i: int) -> tuple[tuple[float, float, float], str, int]:
        color = _FACADES[int(rng.integers(len(_FACADES)))]
        return _vary(rng, color), str(rng.choice(["facade", "brick"])), seed + 3 * i

    def wall(axis: str, at: float, lo: float, hi: float, high: float, i: int) -> Wall:
        color, look, number = facade(i)
        return Wall(axis, at, lo, hi, high, color, look, number)

    if kind == "street":
        along = rng.random() < 0.55
        pave = str(rng.choice(["pavement", "tiles", "cobbles"], p=[0.65, 0.2, 0.15]))
        high = float(rng.uniform(9, 16))
        if along:  # the camera hangs over the nearer pavement
            yaw = float(rng.normal(0, 0.16))
            flip = -1.0 if rng.random() < 0.5 else 1.0
            near, wide = float(rng.uniform(0.4, 3.2)), float(rng.uniform(5.5, 7.0))
            lo, hi = sorted((flip * near, flip * (near + wide)))
            left, right = lo - float(rng.uniform(3.0, 4.5)), hi + float(rng.uniform(3.0, 4.5))
            cross = float(rng.uniform(7, 17))
        else:  # it looks across the road to the far side
            yaw = float(rng.normal(np.pi / 2, 0.15))
            lo = float(rng.uniform(6.5, 11.0))
            hi = lo + float(rng.uniform(5.5, 7.0))
            left, right = -60.0, hi + float(rng.uniform(2.6, 4.0))
            cross = float(rng.uniform(-4, 4))
        bands: tuple[tuple[float, float, str], ...] = (
            (lo - 0.2, lo, "kerb"),
            (lo, hi, "asphalt"),
            (hi, hi + 0.2, "kerb"),
        )
        walls: tuple[Wall, ...] = (wall("a", right, -80, 90, high, 1),)
        if along:
            walls += (
                wall("a", left, -80, 90, float(rng.uniform(9, 16)), 2),
                wall("b", 75.0, -40, 40, 14.0, 3),
            )
        extras = {"crossing": cross} if rng.random() < 0.4 else {}
        return Place(kind, yaw, pave, colors, bands, walls, walk=((left, lo), (hi, right)), road=(lo, hi), seed=seed,
                     extras=extras, deep=70)  # fmt: skip
    if kind == "plaza":
        yaw = float(rng.normal(0, 0.35))
        far, side = float(rng.uniform(20, 38)), float(rng.uniform(14, 26))
        walls = (wall("b", far, -60, 60, float(rng.uniform(8, 14)), 1), wall("a", side, -10, far, 11.0, 2),
                 wall("a", -side, -10, far, 11.0, 3))  # fmt: skip
        ground = str(rng.choice(["tiles", "cobbles", "pavement"]))
        return Place(kind, yaw, ground, colors, (), walls, walk=((-side, side),), seed=seed, deep=far)
    if kind == "corridor":
        wide = float(rng.uniform(1.8, 3.4))
        shift = float(rng.uniform(-0.6, 0.6))
        far, high = float(rng.uniform(14, 28)), float(rng.uniform(2.9, 3.6))
        paint = _vary(
            rng, ((204, 200, 190), (176, 188, 192), (196, 182, 160), (150, 168, 150))[int(rng.integers(4))]
        )
        walls = tuple(Wall(ax, at, lo, hi, high, paint, "plain", seed) for ax, at, lo, hi in
                      (("a", shift + wide, -5, far), ("a", shift - wide, -5, far), ("b", far, -9, 9)))  # fmt: skip
        return Place(kind, float(rng.normal(0, 0.06)), "floor", colors, (), walls, high,
                     walk=((shift - wide, shift + wide),), seed=seed, deep=far)  # fmt: skip
    if kind == "platform":
        edge = float(rng.uniform(-2.5, -0.8))
        yaw = float(rng.normal(0, 0.14))
        right = edge + float(rng.uniform(4.5, 7.5))
        bands = ((edge - 5.2, edge - 0.02, "rails"), (edge - 0.02, edge + 0.3, "kerb"))
        colors["paint"] = (206, 174, 48)
        walls = (Wall("a", right, -20, 80, 4.5, _vary(rng, (150, 142, 130)), "brick" if rng.random() < 0.5 else "plain", seed),
                 Wall("a", edge - 5.2, -20, 80, 3.2, _vary(rng, (112, 104, 96)), "plain", seed + 1),
                 Wall("b", 70, -30, 30, 8.0, _vary(rng, (120, 124, 126)), "facade", seed))  # fmt: skip
        return Place(kind, yaw, "tiles", colors, bands, walls, walk=((edge + 0.2, right),), seed=seed,
                     extras={"edge": edge}, deep=66)  # fmt: skip
    if kind == "car park":
        yaw = float(rng.normal(0, 0.5))
        far = float(rng.uniform(26, 45))
        row1, row2 = float(rng.uniform(-9, -6)), float(rng.uniform(6, 9))
        walls = (Wall("b", far, -70, 70, float(rng.uniform(3, 9)), *facade(1)),)
        return Place(kind, yaw, "asphalt", colors, (), walls, walk=((-5.5, 5.5),), road=(-3.0, 3.0), seed=seed,
                     extras={"row1": row1, "row2": row2}, deep=far)  # fmt: skip
    yaw = float(rng.normal(0, 0.4))
    path = float(rng.uniform(-4, 2))
    far = float(rng.uniform(24, 40))
    green = _vary(rng, (58, 78, 42))
    walls = (Wall("b", far, -90, 90, 9.0, green, "trees", seed),)
    return Place("park", yaw, "grass", colors, ((path, path + 2.4, "pavement"),), walls, walk=((-25.0, 25.0),), seed=seed,
                 extras={"path": path}, deep=far)  # fmt: skip
