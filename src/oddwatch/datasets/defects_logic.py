"""Parts that are missing, swapped, extra or turned: what a picture shows is wrong though every surface is right.

A part is a region of the object with much structure in it. Each function takes a generator, ``pixels`` (H, W, 3)
float32 in 0–255, the object ``ground`` (H, W) bool and a strength (0 faint – 1 strong), and gives the changed
pixels and the area meant, (H, W) bool.
"""

from __future__ import annotations

import cv2
import numpy as np

_CANDIDATES = 12


def spot(rng: np.random.Generator, ground: np.ndarray) -> tuple[int, int]:
    """A pixel (y, x) of the object, away from its edge."""
    return _spots(rng, ground, 1)[0]


def _spots(rng: np.random.Generator, ground: np.ndarray, count: int) -> list[tuple[int, int]]:
    padded = cv2.copyMakeBorder(ground.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    places = np.flatnonzero(depth > 0.15 * depth.max())
    drawn = np.unravel_index(places[rng.integers(len(places), size=count)], ground.shape)
    return [(int(y), int(x)) for y, x in zip(*drawn, strict=True)]


def outline(
    rng: np.random.Generator, ground: np.ndarray, size: tuple[float, float], angular: float = 0.25
) -> np.ndarray:
    """An irregular round or oval shape on the object, or with a chance of ``angular`` a rectangle, (H, W) bool;
    ``size`` is the range of its radius as a share of the object's extent."""
    y, x = spot(rng, ground)
    radius = max(2.0, _extent(ground) * float(rng.uniform(*size)))
    turn, flat = float(rng.uniform(0, np.pi)), float(rng.uniform(0.4, 1.0))
    around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    wave = np.ones_like(around)
    if rng.uniform() < angular:  # a rectangle
        wave = np.minimum(
            1 / np.maximum(np.abs(np.cos(around)), 1e-6), 1 / np.maximum(np.abs(np.sin(around)), 1e-6)
        )
    else:
        for k in range(2, 6):
            wave += float(rng.uniform(0, 0.35 / k)) * np.cos(k * around + float(rng.uniform(0, 2 * np.pi)))
    across, down = radius * wave * np.cos(around), radius * flat * wave * np.sin(around)
    points = np.stack(
        [x + across * np.cos(turn) - down * np.sin(turn), y + across * np.sin(turn) + down * np.cos(turn)],
        axis=1,
    )
    layer = np.zeros(ground.shape, dtype=np.uint8)
    cv2.fillPoly(layer, [np.rint(points).astype(np.int32)], 1)
    return np.asarray((layer > 0) & ground)


def missing(
    rng: np.random.Generator, pixels: np.ndarray, ground: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """A part gone: a piece of the object's edge broken off, or something on it filled with what surrounds it."""
    if not ground.all() and rng.uniform() < 0.5:
        return _broken_off(rng, pixels, ground, strength)
    y, x, radius = _part(rng, pixels, ground, 0.06 + 0.12 * strength)
    area = np.zeros(ground.shape, dtype=bool)
    area[_window(y, x, radius)] = _disc(radius) > 0
    margin = radius + 8
    around = (slice(max(0, y - margin), y + margin + 1), slice(max(0, x - margin), x + margin + 1))
    changed = pixels.copy()
    filled = _filled(np.ascontiguousarray(pixels[around]), np.ascontiguousarray(area[around]))
    changed[around] = _grained(rng, filled, pixels[around], area[around])
    return changed, area


def _filled(cut: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """``cut`` with its hole inpainted (Telea) from around it, at most 96 pixels wide while doing so."""
    height, width = hole.shape
    scale = min(1.0, 96 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    wide = cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8))
    within = cv2.resize(wide, size, interpolation=cv2.INTER_NEAREST)
    mended = cv2.inpaint(small, within, 3, cv2.INPAINT_TELEA)
    smooth = cv2.resize(mended, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.where(hole[..., None], smooth, cut), dtype=np.float32)


def _broken_off(
    rng: np.random.Generator, pixels: np.ndarray, ground: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """A bite out of the object's edge that shows the nearest background."""
    edge = ground & ~cv2.erode(ground.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    places = np.flatnonzero(edge)
    y, x = np.unravel_index(places[int(rng.integers(len(places)))], ground.shape)
    radius = max(2, round(_extent(ground) * float(rng.uniform(0.06, 0.1 + 0.15 * strength))))
    bite = np.zeros(ground.shape, dtype=np.uint8)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = radius * rng.uniform(0.6, 1.2, 9)
    corners = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
    cv2.fillPoly(bite, [np.rint(corners).astype(np.int32)], 1)
    rim = max(1, round(0.02 * min(ground.shape)))  # shadows and blur beside the object are no background
    wide = cv2.dilate(ground.astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
    if wide.all():
        return pixels, np.zeros(ground.shape, dtype=bool)
    _, labels = cv2.distanceTransformWithLabels(wide, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    behind = np.flatnonzero(wide == 0)
    nearest[labels.reshape(-1)[behind]] = behind
    background = pixels.reshape(-1, 3)[nearest[labels]]
    background = cv2.GaussianBlur(background, (0, 0), max(1.0, 0.15 * radius))
    area = (bite > 0) & (cv2.dilate(ground.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    share = (cv2.GaussianBlur(area.astype(np.float32), (0, 0), 0.8) * area)[..., None]
    return np.asarray(pixels * (1 - share) + _grained(rng, background, pixels, area) * share), area


def swapped(
    rng: np.random.Generator, pixels: np.ndarray, ground: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two parts change places."""
    y, x, radius = _part(rng, pixels, ground, 0.06 + 0.1 * strength)
    away = ground.copy()
    away[max(0, y - 2 * radius) : y + 2 * radius + 1, max(0, x - 2 * radius) : x + 2 * radius + 1] = False
    area = np.zeros(ground.shape, dtype=bool)
    if not away.any():
        return pixels, area
    v, u, _ = _part(rng, pixels, away, radius)
    first, second = _window(y, x, radius), _window(v, u, radius)
    area[first] = _disc(radius) > 0
    if area[second].any():  # moved together at the picture's edge
        return pixels, np.zeros_like(area)
    area[second] = area[first]
    changed = pixels.copy()
    changed[second] = _mixed(pixels[second], pixels[first], radius)
    changed[first] = _mixed(pixels[first], pixels[second], radius)
    return changed, area


def extra(
    rng: np.random.Generator, pixels: np.ndarray, ground: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """A part that is there once more, in another place."""
    y, x, radius = _part(rng, pixels, ground, 0.06 + 0.12 * strength)
    place = _window(*_inside(spot(rng, ground), ground, radius), radius)
    changed, area = pixels.copy(), np.zeros(ground.shape, dtype=bool)
    changed[place] = _mixed(pixels[place], pixels[_window(y, x, radius)], radius)
    area[place] = _disc(radius) > 0
    return changed, area


def rotated(
    rng: np.random.Generator, pixels: np.ndarray, ground: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """A round part turned where it is, by 20 to 180 degrees."""
    y, x, radius = _part(rng, pixels, ground, 0.08 + 0.17 * strength)
    degrees = float(rng.choice([-1, 1]) * rng.uniform(20, 60 + 120 * strength))
    place, side = _window(y, x, radius), 2 * radius + 1
    turn = cv2.getRotationMatrix2D((float(radius), float(radius)), degrees, 1.0)
    old = np.ascontiguousarray(pixels[place])
    turned = cv2.warpAffine(old, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    changed, area = pixels.copy(), np.zeros(ground.shape, dtype=bool)
    changed[place] = _mixed(old, turned, radius, 2.0)
    area[place] = _disc(radius, 2.0) > 0
    return changed, area


def _extent(ground: np.ndarray) -> float:
    """The side of a square as large as the object, in pixels."""
    return float(np.sqrt(max(int(ground.sum()), 1)))


def _part(
    rng: np.random.Generator, pixels: np.ndarray, ground: np.ndarray, size: float
) -> tuple[int, int, int]:
    """(y, x, radius) of the most structured of some places on the object; ``size`` above 1 is a radius in pixels,
    else a share of the object's extent."""
    radius = round(size if size > 1 else _extent(ground) * size * float(rng.uniform(0.8, 1.2)))
    radius = int(np.clip(radius, 2, (min(ground.shape) - 1) // 4))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    edges = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    energy = cv2.blur(edges, (2 * radius + 1, 2 * radius + 1))
    best, found = -1.0, (0, 0)
    for place in _spots(rng, ground, _CANDIDATES):
        y, x = _inside(place, ground, radius)
        if energy[y, x] > best:
            best, found = float(energy[y, x]), (y, x)
    return found[0], found[1], radius


def _inside(place: tuple[int, int], ground: np.ndarray, radius: int) -> tuple[int, int]:
    """The nearest centre whose whole window is inside the picture."""
    y, x = (int(np.clip(a, radius, s - 1 - radius)) for a, s in zip(place, ground.shape, strict=True))
    return y, x


def _window(y: int, x: int, radius: int) -> tuple[slice, slice]:
    return slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1)


def _disc(radius: int, power: float = 4.0) -> np.ndarray:
    """A square with round corners (power 4) or a disc (power 2) in its window, float32 0 or 1."""
    away = np.abs(np.arange(-radius, radius + 1) / radius) ** power
    return np.asarray(away[:, None] + away[None, :] <= 1, dtype=np.float32)


def _mixed(below: np.ndarray, above: np.ndarray, radius: int, power: float = 4.0) -> np.ndarray:
    """``above`` over ``below`` inside the window's disc, its edge soft towards the middle."""
    disc = _disc(radius, power)
    softness = 0.06 * radius
    share = (cv2.GaussianBlur(disc, (0, 0), softness) * disc if softness > 0.3 else disc)[..., None]
    return np.asarray(below * (1 - share) + above * share)


def _grained(
    rng: np.random.Generator, filled: np.ndarray, pixels: np.ndarray, area: np.ndarray
) -> np.ndarray:
    """``filled`` with the picture's own grain inside ``area``: a fill that is too smooth would give itself away."""
    fine = pixels - cv2.GaussianBlur(pixels, (0, 0), 1.5)
    spread = float(np.median(np.abs(fine))) * 1.4826
    grain = cv2.GaussianBlur(rng.normal(0, 1, area.shape).astype(np.float32), (0, 0), 0.6)
    return np.asarray(filled + (grain / max(float(grain.std()), 1e-6) * spread * area)[..., None])
