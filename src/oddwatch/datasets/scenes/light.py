"""Light and weather of a scene, and what the camera does to the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.datasets.scenes.camera import Array, Camera
from oddwatch.datasets.scenes.figure import Light
from oddwatch.datasets.scenes.places import Place

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sky:
    """``time`` day, dusk or night; ``weather`` dry, rain or snow; ``sun`` the unit vector toward the sun or None."""

    time: str
    weather: str
    sun: tuple[float, float, float] | None
    ambient: float
    direct: float
    tint: tuple[float, float, float]
    lamps: tuple[tuple[float, float, float], ...] = ()

    @property
    def night(self) -> bool:
        """Whether lamps are the main light."""
        return self.time == "night"

    def local(self, x: float, y: float) -> float:
        """Brightness factor at a world point: 1 by day, falling off from the lamps at night."""
        if not self.lamps:
            return 1.0
        glow = sum(1.0 / (1.0 + ((x - a) ** 2 + (y - b) ** 2) / 16.0) for a, b, _ in self.lamps)
        return float(0.42 + 0.75 * min(glow, 1.2))

    def on_person(self, camera: Camera, x: float, y: float, rng_side: float = 0.0) -> Light:
        """The light on somebody standing at a world point, in camera axes."""
        axes = camera.axes()
        if self.sun is not None:
            world = np.array(self.sun)
        elif self.lamps:
            a, b, z = min(self.lamps, key=lambda lamp: (lamp[0] - x) ** 2 + (lamp[1] - y) ** 2)
            world = np.array([a - x, b - y, z - 1.2])
            world = world / np.linalg.norm(world)
        else:
            world = np.array([0.25 + rng_side, -0.35, 0.9])
            world = world / np.linalg.norm(world)
        cam = axes @ world
        k = self.local(x, y)
        return Light(
            self.ambient * k, self.direct * k, (float(cam[0]), float(cam[1]), -float(cam[2])), self.tint
        )


def random_sky(
    rng: np.random.Generator, place: Place, time: str | None = None, weather: str | None = None
) -> Sky:
    """Light and weather for a place."""
    time = time or str(rng.choice(["day", "dusk", "night"], p=[0.64, 0.13, 0.23]))
    weather = weather or str(rng.choice(["dry", "rain", "snow"], p=[0.76, 0.15, 0.09]))
    if place.indoor:
        warm = rng.uniform(-0.07, 0.09)
        return Sky("day", "dry", None, float(rng.uniform(0.6, 0.78)), float(rng.uniform(0.24, 0.42)),
                   (1 + float(warm), 1.0, 1 - float(warm)))  # fmt: skip
    if time == "night":
        lamps = []
        for _ in range(int(rng.integers(2, 5))):
            a = float(rng.uniform(-6, 6))
            b = float(rng.uniform(4, 22))
            lamps.append((*place.to_world(a, b), 5.0) if abs(np.cos(place.yaw)) > 0.5 else (a, b, 5.0))
        level = float(rng.uniform(0.34, 0.62))
        warm = float(rng.uniform(-0.02, 0.22))
        return Sky(
            time, weather, None, level * 0.66, level * 0.5, (1 + warm, 1.0, 1 - 1.2 * warm), tuple(lamps)
        )
    sunny = weather == "dry" and rng.random() < (0.55 if time == "day" else 0.4)
    if sunny:
        az = rng.uniform(0, 2 * np.pi)
        high = rng.uniform(0.5, 1.1) if time == "day" else rng.uniform(0.22, 0.4)
        sun = (float(np.cos(az) * np.cos(high)), float(np.sin(az) * np.cos(high)), float(np.sin(high)))
    else:
        sun = None
    if time == "dusk":
        warm = float(rng.uniform(0.02, 0.18))
        return Sky(
            time,
            weather,
            sun,
            float(rng.uniform(0.42, 0.56)),
            0.4 if sunny else 0.16,
            (1 + warm, 0.98, 1 - warm),
        )
    ambient = float(rng.uniform(0.5, 0.6) if sunny else rng.uniform(0.62, 0.8))
    return Sky(time, weather, sun, ambient, float(rng.uniform(0.5, 0.68) if sunny else rng.uniform(0.14, 0.26)),
               (1.02, 1.0, 0.97) if sunny else (0.98, 1.0, 1.02))  # fmt: skip


def light_ground(image: Array, dist: Array, camera: Camera, sky: Sky, place: Place,
                 window: tuple[int, int, int, int] | None, rng: np.random.Generator) -> Array:  # fmt: skip
    """The cast place under this sky: level, tint, lamp pools, snow cover, wet ground. Image (h, w, 3) float32."""
    level = (sky.ambient + 0.75 * sky.direct) * np.array(sky.tint, np.float32)
    if sky.time == "dusk":
        level = level * np.array((0.98, 0.95, 1.0), np.float32)
    if sky.weather == "dry" and not sky.lamps:
        return np.asarray(image * np.asarray(level, np.float32), np.float32)
    rays = camera.rays(window)
    up = camera.height + dist * rays[..., 2]
    if sky.weather == "snow":
        flat = (up < 0.05) & (dist < 300)
        cover = 0.62 if not place.indoor else 0.0
        image[flat] = image[flat] * (1 - cover) + np.array((226, 230, 236), np.float32) * cover
    if sky.weather == "rain":
        flat = (up < 0.05) & (dist < 300)
        image[flat] = image[flat] * 0.7 + 12
        mirror = cv2.blur(image, (3, 61))
        image[flat] = image[flat] * 0.8 + mirror[flat] * 0.2
    if sky.lamps:
        x, y = dist * rays[..., 0], dist * rays[..., 1]
        glow = np.zeros_like(dist)
        for a, b, _ in sky.lamps:
            glow += 1.0 / (1.0 + ((x - a) ** 2 + (y - b) ** 2) / 16.0)
        level = level * (0.42 + 0.75 * np.minimum(glow, 1.2))[..., None]
        shining = (image.max(-1, keepdims=True) > 262).astype(np.float32)  # lit windows keep their own light
        image = image * (level * (1 - shining) + 0.43 * shining)
        sky_mask = dist >= 399
        image[sky_mask] = image[sky_mask] * 0.3
        return np.asarray(image, np.float32)
    return np.asarray(image * level, np.float32)


@dataclass(frozen=True, slots=True)
class Lens:
    """What a camera does: gain, gamma, colour cast (3,), contrast, blur in pixels, noise level, JPEG quality (100 none)."""

    gain: float = 1.0
    gamma: float = 1.0
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    quality: int = 100

    def table(self) -> Pixels:
        """A (256, 1, 3) look-up table for the point-wise part."""
        x = np.arange(256, dtype=np.float32)[:, None] / 255 * self.gain * np.array(self.cast, np.float32)
        x = np.clip(x, 0, None) ** self.gamma
        x = (x - 0.45) * self.contrast + 0.45
        x = np.where(x > 0.85, 0.85 + 0.15 * np.tanh((x - 0.85) / 0.15), x)
        return (np.clip(x, 0, 1) * 255).astype(np.uint8)[:, None]


def random_lens(rng: np.random.Generator, sky: Sky, strong: float = 1.0) -> Lens:
    """Domain randomisation; ``strong`` scales it."""
    night = sky.night
    c = rng.normal(0, 0.03 * strong, 3)
    return Lens(
        gain=float(np.exp(rng.normal(0.38 if night else 0.0, 0.15 * strong))),
        gamma=float(np.exp(rng.normal(0, 0.12 * strong))),
        cast=(float(1 + c[0]), float(1 + 0.5 * c[1]), float(1 + c[2])),
        contrast=float(np.exp(rng.normal(-0.03, 0.1 * strong))),
        saturation=float(np.clip(rng.normal(0.86, 0.14 * strong), 0.3, 1.2)) * (0.8 if night else 1.0),
        blur=float(max(0.0, rng.normal(0.45, 0.4 * strong))),
        noise=float(abs(rng.normal(0, 3.0 * strong))) + (4.0 if night else 0.5),
        quality=int(rng.integers(28, 92)),
    )


_NOISE: dict[str, NDArray[np.int16]] = {}


def _noise(h: int, w: int, seed: int) -> NDArray[np.int16]:
    """A window of a fixed 16 × Gaussian field (unit deviation = 16), moved by ``seed``."""
    if "n" not in _NOISE:
        rng = np.random.default_rng(77)
        field = rng.normal(0, 16, (1024, 1024, 3)) * 0.7 + rng.normal(0, 16, (1024, 1024, 1)) * 0.7
        _NOISE["n"] = field.astype(np.int16)
    rng = np.random.default_rng(seed)
    dy, dx = int(rng.integers(0, 1024 - min(h, 1000))), int(rng.integers(0, 1024 - min(w, 1000)))
    tile = _NOISE["n"][dy : dy + h, dx : dx + w]
    if tile.shape[:2] != (h, w):
        tile = np.pad(tile, ((0, h - tile.shape[0]), (0, w - tile.shape[1]), (0, 0)), mode="wrap")
    return tile


def expose(image: Pixels, lens: Lens, seed: int) -> Pixels:
    """A finished picture as this camera would give it; ``seed`` moves the noise. (H, W, 3) uint8 in and out."""
    out: NDArray[Any] = image
    if lens.blur > 0.25:
        out = cv2.GaussianBlur(out, (0, 0), lens.blur)
    out = cv2.LUT(out, lens.table())
    if abs(lens.saturation - 1) > 0.03:
        s = lens.saturation
        w = np.array((0.3, 0.59, 0.11), np.float32) * (1 - s)
        out = cv2.transform(out, (np.eye(3, dtype=np.float32) * s + w[None]).astype(np.float32))
    if lens.noise > 0.4:
        h, w_ = out.shape[:2]
        grain = cv2.convertScaleAbs(_noise(h, w_, seed), alpha=lens.noise / 16, beta=128.0)
        out = cv2.addWeighted(out, 1.0, grain, 1.0, -128.0)
    return np.asarray(out, np.uint8)


def compress(image: Pixels, quality: int) -> Pixels:
    """Through JPEG and back."""
    if quality >= 100:
        return image
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:  # pragma: no cover - OpenCV always encodes 8-bit pictures
        return image
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def fall_weather(image: Pixels, weather: str, seed: int, scale: float = 1.0) -> None:
    """Rain streaks or snow flakes, drawn in place; ``seed`` changes with every frame."""
    h, w = image.shape[:2]
    rng = np.random.default_rng(seed)
    if weather == "rain":
        n = int(h * w / 2600)
        x, y = rng.uniform(0, w, n), rng.uniform(-10, h, n)
        length = rng.uniform(5, 15, n) * scale
        ends = np.stack([np.stack([x, y], 1), np.stack([x - 0.12 * length, y + length], 1)], 1)
        layer = image.copy()
        cv2.polylines(layer, list(np.round(ends).astype(np.int32)), False, (196, 202, 208), 1)
        cv2.addWeighted(layer, 0.32, image, 0.68, 0, image)
    elif weather == "snow":
        n = int(h * w / 1500)
        for x, y, r in zip(rng.integers(0, w, n), rng.integers(0, h, n), rng.integers(0, 2, n), strict=True):
            cv2.circle(image, (int(x), int(y)), int(r), (236, 238, 242), -1)
