"""Drawing one articulated person into a small z-buffered patch.

Every body part is a tapered, shaded capsule in screen space: per pixel the position along the part, the
lateral position across it and the surface normal are known, so clothing edges, stripes, faces and light come
out of one formula. The patch is drawn at up to twice the size and averaged down (anti-aliasing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Surface = Callable[[Array, Array, Array, Array], NDArray[np.uint8]]
"""``(t, u, nx, ny)`` → material numbers; t along the part 0–1, u across −1..1, (nx, ny) screen normal."""
_FAR = np.float32(1e6)


@dataclass(frozen=True, slots=True)
class Light:
    """Light at a person: ``ambient`` and ``direct`` strengths, ``toward`` the light in camera axes (3,), ``tint`` (3,)."""

    ambient: float
    direct: float
    toward: tuple[float, float, float]
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Patch:
    """A z-buffered piece of picture: materials, shades and depths of the nearest surface.

    ``origin`` is the full picture's pixel at the patch's corner and ``scale`` patch pixels per picture pixel.
    """

    def __init__(self, box: tuple[int, int, int, int], scale: int, light: Light) -> None:
        self.box, self.scale = box, scale
        w, h = (box[2] - box[0]) * scale, (box[3] - box[1]) * scale
        self.width, self.height = w, h
        self.depth: Array = np.full((h, w), _FAR, np.float32)
        self.shade: Array = np.zeros((h, w), np.float32)
        self.material: NDArray[np.uint8] = np.zeros((h, w), np.uint8)
        self.xs = (np.arange(w, dtype=np.float32) + 0.5)[None]
        self.ys = (np.arange(h, dtype=np.float32) + 0.5)[:, None]
        self.light = light

    def place(self, points: Array) -> Array:
        """Picture pixels (N, 3: x, y, depth) to patch pixels, depth kept."""
        out = points.copy()
        out[:, 0] = (points[:, 0] - self.box[0]) * self.scale
        out[:, 1] = (points[:, 1] - self.box[1]) * self.scale
        return out

    def _window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int] | None:
        a, b = max(int(x0), 0), max(int(y0), 0)
        c, d = min(int(x1) + 1, self.width), min(int(y1) + 1, self.height)
        return (a, b, c, d) if a < c and b < d else None

    def capsule(
        self,
        p: Array,
        q: Array,
        r0: float,
        r1: float,
        material: int | Surface,
        *,
        profile: Array | None = None,
        thick: float = 1.0,
        fold: float = 0.0,
        bias: float = 0.0,
        flat: bool = False,
    ) -> None:
        """Draw a tapered capsule from ``p`` to ``q`` (patch x, y, depth) with end radii in patch pixels.

        ``profile`` (K,) replaces the linear taper; ``thick`` is the radius in metres seen along the view;
        ``fold`` the strength of cloth folds; ``bias`` metres taken from the depth; ``flat`` cuts the round ends.
        """
        px, py, pz = (float(v) for v in p)
        qx, qy, qz = (float(v) for v in q)
        big = float(profile.max()) if profile is not None else max(r0, r1)
        win = self._window(min(px, qx) - big, min(py, qy) - big, max(px, qx) + big, max(py, qy) + big)
        if win is None:
            return
        a, b, c, d = win
        ax, ay = qx - px, qy - py
        length2 = ax * ax + ay * ay + 1e-3
        dx, dy = self.xs[:, a:c] - px, self.ys[b:d] - py
        raw = dx * (ax / length2) + dy * (ay / length2)
        t = np.minimum(np.maximum(raw, 0.0), 1.0)
        ex, ey = dx - t * ax, dy - t * ay
        if profile is not None:
            k = t * np.float32(len(profile) - 1.001)
            i = k.astype(np.intp)
            lo = profile[i]
            r = lo + (profile[i + 1] - lo) * (k - i)
        elif r0 == r1:
            r = np.float32(max(r0, 0.6))
        else:
            r = np.maximum(r0 + (r1 - r0) * t, 0.6)
        nx, ny = ex / r, ey / r
        n2 = nx * nx + ny * ny
        inside = n2 < 1.0
        if flat:
            inside &= (raw >= 0) & (raw <= 1)
        nz = np.sqrt(np.maximum(1.0 - n2, 0.0))
        z = (pz - bias) + (qz - pz) * t - thick * nz
        inside &= z < self.depth[b:d, a:c]
        lx, ly, lz = self.light.toward
        lit = np.maximum(nx * lx + ny * ly + nz * lz, 0.0)
        shade = self.light.ambient * (0.78 + 0.22 * nz - 0.16 * ny) + self.light.direct * lit
        norm = length2**0.5
        if fold > 0 and norm > 9 and big > 3:
            u = (nx * -ay + ny * ax) / norm
            shade *= 1.0 + fold * np.sin(t * (9.0 + 3.0 * big / norm) + 2.6 * u + px * 0.01 + 5.0 * fold * nx)
        np.copyto(self.depth[b:d, a:c], z, where=inside)
        np.copyto(self.shade[b:d, a:c], shade, where=inside)
        if isinstance(material, int):
            self.material[b:d, a:c][inside] = material
        else:
            u = (nx * -ay + ny * ax) / norm
            np.copyto(self.material[b:d, a:c], material(t, u, nx, ny), where=inside)

    def ball(
        self, p: Array, r: float, material: int | Surface, *, thick: float = 0.1, bias: float = 0.0
    ) -> None:
        """Draw a sphere of ``r`` patch pixels."""
        q = p.copy()
        q[1] += 0.01
        self.capsule(p, q, r, r, material, thick=thick, bias=bias)

    def polygon(self, points: Array, material: int, *, shade: float = 1.0, bias: float = 0.0) -> None:
        """Draw a flat convex polygon of (N, 3) patch points at its mean depth."""
        win = self._window(*points[:, :2].min(0), *points[:, :2].max(0))
        if win is None:
            return
        a, b, c, d = win
        mask = np.zeros((d - b, c - a), np.uint8)
        cv2.fillConvexPoly(mask, np.round(points[:, :2] - (a, b)).astype(np.int32), 1)
        z = np.float32(points[:, 2].mean() - bias)
        inside = (mask > 0) & (z < self.depth[b:d, a:c])
        self.depth[b:d, a:c][inside] = z
        self.shade[b:d, a:c][inside] = shade * (self.light.ambient + 0.6 * self.light.direct)
        self.material[b:d, a:c][inside] = material

    def finish(self, palette: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Colours (h, w, 3) uint8 and coverage (h, w) uint8 0–255 at picture size."""
        lut = np.asarray(palette * np.asarray(self.light.tint, np.float32), np.float32)
        rgb: Array = lut[self.material] * self.shade[..., None]
        # Highlights roll off instead of clipping, so that white cloth keeps its folds.
        if float(lut.max() * self.shade.max()) > 215:
            np.minimum(rgb, 255.0 - 2500.0 / np.maximum(rgb + 40.0, 250.0), out=rgb)
        cover: Array = (self.material > 0).astype(np.float32)
        if self.scale > 1:
            size = (self.width // self.scale, self.height // self.scale)
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
            cover = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)
        else:
            rgb = cv2.GaussianBlur(rgb, (3, 3), 0.55)
            cover = cv2.GaussianBlur(cover, (3, 3), 0.55)
        rgb = rgb / np.maximum(cover, 1e-3)[..., None]
        return np.clip(rgb, 0, 255).astype(np.uint8), (cover * 255).astype(np.uint8)
