"""Where on a person's picture each garment is: soft masks painted along the keypoints.

Everything is done on a small canvas of the person (its box enlarged, scaled to a fixed height), so cost does
not depend on the size of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from oddwatch.core import KEYPOINTS, Box, Frame, Person
from oddwatch.describe.features import PARTS, crop_box

HEIGHT = 128
"""Canvas pixels per box height."""

MARGIN = 0.2
"""The box is enlarged by this fraction of its height on every side, to see the background."""

SURE = 0.2
"""Least score of a keypoint that is believed."""

_K = {name: i for i, name in enumerate(KEYPOINTS)}


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A person's surroundings at a fixed scale.

    ``pixels`` (h, w, 3) uint8 RGB; ``box`` the person's box and ``points`` (17, 3) keypoints in canvas pixels (score
    0 where there is no pose); ``scale`` canvas pixels per frame pixel and ``offset`` (x, y) of its corner in
    the frame; ``torso`` length in canvas pixels; ``inside`` (h, w) bool, false beyond the frame's edge;
    ``parts`` name → (h, w) share of each body part as the part network sees it, None without picture tokens.
    """

    pixels: np.ndarray
    box: Box
    points: np.ndarray
    scale: float
    offset: tuple[float, float]
    torso: float
    inside: np.ndarray
    parts: dict[str, np.ndarray] | None = None

    def to_frame(self, mask: np.ndarray) -> Box | None:
        """The box in frame pixels around the true part of ``mask`` (h, w); None when it is empty."""
        ys, xs = np.nonzero(mask)
        if not len(ys):
            return None
        x0, x1, y0, y1 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
        (dx, dy), k = self.offset, self.scale
        return Box(float(x0 / k + dx), float(y0 / k + dy), float(x1 / k + dx), float(y1 / k + dy))


def canvas(frame: Frame, person: Person, parts: np.ndarray | None = None) -> Canvas:
    """The canvas of ``person``; ``parts`` (256, P) are the shares of ``features.PARTS`` in the cells of their crop.

    Boxes of less than a pixel are taken as one pixel.
    """
    box = person.box
    length = max(box.height, box.width * 0.6, 1.0)
    k, margin = HEIGHT / length, MARGIN * length
    x0, y0 = box.x0 - margin, box.y0 - margin
    w = max(8, round((box.width + 2 * margin) * k))
    h = max(8, round((box.height + 2 * margin) * k))
    move = np.array([[k, 0, -x0 * k], [0, k, -y0 * k]], np.float32)
    source, move = _shrunk(frame, person, move, k)
    how = cv2.INTER_LINEAR
    pixels = cv2.warpAffine(source, move, (w, h), flags=how, borderMode=cv2.BORDER_REPLICATE)
    xs, ys = np.arange(w) / k + x0, np.arange(h) / k + y0
    inside = ((ys >= 0) & (ys < frame.height))[:, None] & ((xs >= 0) & (xs < frame.width))[None]
    points = np.zeros((len(KEYPOINTS), 3), np.float32)
    if person.pose is not None:
        points = person.pose.points.astype(np.float32).copy()
        points[:, 0] = (points[:, 0] - x0) * k
        points[:, 1] = (points[:, 1] - y0) * k
    small = box.shifted(-x0, -y0)
    return Canvas(
        pixels,
        Box(small.x0 * k, small.y0 * k, small.x1 * k, small.y1 * k),
        points,
        k,
        (x0, y0),
        _torso(points, small.height * k),
        inside,
        None if parts is None else _spread(parts, crop_box(frame, person), k, (x0, y0), (w, h)),
    )


def _spread(
    parts: np.ndarray, area: Box, k: float, corner: tuple[float, float], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The part shares of the crop ``area`` on a canvas of ``size`` (w, h), smoothly; 0 outside the crop."""
    side = round(len(parts) ** 0.5)
    kx, ky = k * area.width / side, k * area.height / side
    # Centres of cells: cell i covers (i, i + 1), the picture's pixel i the same.
    move = np.array(
        [[kx, 0, (area.x0 - corner[0]) * k + kx / 2 - 0.5], [0, ky, (area.y0 - corner[1]) * k + ky / 2 - 0.5]]
    )
    grid, out = parts.reshape(side, side, -1).astype(np.float32), {}
    for start in range(1, len(PARTS), 4):
        names = PARTS[start : start + 4]
        block = np.ascontiguousarray(grid[..., start : start + len(names)])
        spread = cv2.warpAffine(block, move, size, flags=cv2.INTER_LINEAR)
        out.update({name: spread[..., i] for i, name in enumerate(names)})
    return out


def _shrunk(frame: Frame, person: Person, move: np.ndarray, k: float) -> tuple[np.ndarray, np.ndarray]:
    # Large people are averaged down first: a warp alone would sample single pixels.
    if k > 0.6:
        return frame.pixels, move
    whole = person.box.expanded(MARGIN + 0.1).clipped(frame.width, frame.height)
    cut = frame.crop(whole)
    x0, y0 = int(whole.x0), int(whole.y0)
    size = (max(1, round(cut.shape[1] * k)), max(1, round(cut.shape[0] * k)))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    kx, ky = size[0] / cut.shape[1], size[1] / cut.shape[0]
    shift = move[:, 2] + k * np.array([x0, y0])
    return small, np.array([[k / kx, 0, shift[0]], [0, k / ky, shift[1]]], np.float32)


def middle(points: np.ndarray, *parts: str, least: float = SURE) -> np.ndarray | None:
    """(2,) mean of the believed keypoints among ``parts``; None when there are none."""
    rows = points[[_K[p] for p in parts]]
    rows = rows[rows[:, 2] >= least]
    return rows[:, :2].mean(0) if len(rows) else None


def _torso(points: np.ndarray, height: float) -> float:
    shoulders = middle(points, "left_shoulder", "right_shoulder")
    hips = middle(points, "left_hip", "right_hip")
    if shoulders is None or hips is None:
        return 0.3 * height
    # A torso seen end-on is short: never below a fifth of the box.
    return float(max(np.hypot(*(shoulders - hips)), 0.18 * height))


class Painter:
    """Paints garment regions of one canvas as float32 masks (h, w), 0–1."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.shape = canvas.pixels.shape[:2]
        self.posed = bool((canvas.points[5:13, 2] >= SURE).sum() >= 4)

    def point(self, name: str) -> np.ndarray | None:
        """(2,) canvas position of a believed keypoint, else None."""
        x, y, score = self.canvas.points[_K[name]]
        return np.array([x, y], np.float32) if score >= SURE else None

    def limb(self, first: str, second: str, width: float, start: float = 0.0, end: float = 1.0) -> np.ndarray:
        """A stroke along part of a bone, ``width`` in torso lengths; empty when an end is not seen."""
        mask = np.zeros(self.shape, np.float32)
        a, b = self.point(first), self.point(second)
        if a is not None and b is not None:
            p, q = a + (b - a) * start, a + (b - a) * end
            thick = max(1, round(width * self.canvas.torso))
            cv2.line(mask, _at(p), _at(q), 1.0, thick)
        return mask

    def band(self, y0: float, y1: float, width: float) -> np.ndarray:
        """Part of the box by fractions of its height, ``width`` of its width: where there is no pose."""
        mask, box = np.zeros(self.shape, np.float32), self.canvas.box
        cx, _ = box.center
        half = box.width * width / 2
        cv2.rectangle(
            mask,
            _at(np.array([cx - half, box.y0 + y0 * box.height])),
            _at(np.array([cx + half, box.y0 + y1 * box.height])),
            1.0,
            -1,
        )
        return mask

    def both(self, first: str, second: str, width: float, start: float = 0.0, end: float = 1.0) -> np.ndarray:
        """:meth:`limb` on both sides of the body."""
        left = self.limb(f"left_{first}", f"left_{second}", width, start, end)
        return np.maximum(left, self.limb(f"right_{first}", f"right_{second}", width, start, end))

    def chest(self) -> np.ndarray:
        """The torso from just below the neck to the waist, slightly inside its outline."""
        corners = [self.point(n) for n in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
        if any(c is None for c in corners):
            return self.band(0.2, 0.45, 0.5)
        a, b, c, d = (np.asarray(p) for p in corners)
        # Seen from the side the quadrilateral has no width: keep a fifth of the torso.
        half = 0.16 * self.canvas.torso
        axis = (a + b - c - d) / max(float(np.hypot(*(a + b - c - d))), 1e-3)
        across = np.array([-axis[1], axis[0]])
        if abs(float((a - b) @ across)) < 2 * half:
            top, low = (a + b) / 2, (c + d) / 2
            a, b, c, d = top + across * half, top - across * half, low - across * half, low + across * half
        quad = np.stack([a + (d - a) * 0.1, b + (c - b) * 0.1, c + (b - c) * 0.12, d + (a - d) * 0.12])
        center = quad.mean(0)
        quad = center + (quad - center) * 0.9
        mask = np.zeros(self.shape, np.float32)
        cv2.fillConvexPoly(mask, quad.round().astype(np.int32), 1.0)
        return mask

    def sleeves(self) -> np.ndarray:
        """Upper arms, shoulder to above the elbow."""
        return self.both("shoulder", "elbow", 0.16, 0.1, 0.85)

    def forearms(self) -> np.ndarray:
        """Below the elbow to above the wrist."""
        return self.both("elbow", "wrist", 0.1, 0.25, 0.85)

    def thighs(self) -> np.ndarray:
        """Legs from below the hip to the knee."""
        mask = self.both("hip", "knee", 0.2, 0.4, 1.0)
        return mask if mask.any() else self.band(0.55, 0.72, 0.35)

    def shins(self) -> np.ndarray:
        """Legs from below the knee to above the ankle."""
        mask = self.both("knee", "ankle", 0.13, 0.15, 0.75)
        return mask if mask.any() else self.band(0.75, 0.9, 0.3)

    def feet(self) -> np.ndarray:
        """Discs just below the ankles."""
        mask = np.zeros(self.shape, np.float32)
        for side in ("left", "right"):
            ankle, knee = self.point(f"{side}_ankle"), self.point(f"{side}_knee")
            if ankle is None or knee is None:
                continue
            step = (ankle - knee) / max(float(np.hypot(*(ankle - knee))), 1e-3)
            cv2.circle(
                mask,
                _at(ankle + step * 0.16 * self.canvas.torso),
                max(1, round(0.1 * self.canvas.torso)),
                1.0,
                -1,
            )
        return mask

    def head(self) -> tuple[np.ndarray, float] | None:
        """(2,) centre of the head and its radius in canvas pixels; None when neither face nor shoulders show."""
        ears = middle(self.canvas.points, "left_ear", "right_ear", "left_eye", "right_eye", "nose")
        if ears is None:
            return None
        return ears, 0.22 * self.canvas.torso

    def hair(self) -> np.ndarray:
        """The upper part of the head, above the eyes."""
        mask, head = np.zeros(self.shape, np.float32), self.head()
        if head is None:
            return mask
        center, radius = head
        up = self.up()
        crown = center + up * radius * 0.75
        cv2.circle(mask, _at(crown), max(1, round(radius * 0.45)), 1.0, -1)
        return mask

    def face(self) -> np.ndarray:
        """A disc around nose and eyes."""
        mask, head = np.zeros(self.shape, np.float32), self.head()
        if head is None:
            return mask
        center, radius = head
        cv2.circle(mask, _at(center - self.up() * radius * 0.15), max(1, round(radius * 0.42)), 1.0, -1)
        return mask

    def disc(self, center: np.ndarray, radius: float) -> np.ndarray:
        """A filled disc."""
        mask = np.zeros(self.shape, np.float32)
        cv2.circle(mask, _at(center), max(1, int(radius)), 1.0, -1)
        return mask

    def up(self) -> np.ndarray:
        """(2,) unit vector from hips to shoulders; straight up where they are not seen."""
        shoulders = middle(self.canvas.points, "left_shoulder", "right_shoulder")
        hips = middle(self.canvas.points, "left_hip", "right_hip")
        if shoulders is None or hips is None:
            return np.array([0.0, -1.0], np.float32)
        step = shoulders - hips
        return np.asarray(step / max(float(np.hypot(*step)), 1e-3), np.float32)

    def body(self, grow: float = 0.35) -> np.ndarray:
        """Everything that may belong to the person, ``grow`` torso lengths around the bones."""
        mask = np.zeros(self.shape, np.float32)
        for first, second in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            mask = np.maximum(mask, self.both(first, second, grow))
        for first, second in (("shoulder", "hip"), ("shoulder", "ear")):
            mask = np.maximum(mask, self.both(first, second, grow * 1.3))
        mask = np.maximum(mask, self.limb("left_shoulder", "right_hip", grow * 2))
        mask = np.maximum(mask, self.limb("right_shoulder", "left_hip", grow * 2))
        head = self.head()
        if head is not None:
            cv2.circle(mask, _at(head[0] + self.up() * head[1] * 0.3), max(1, round(head[1] * 1.4)), 1.0, -1)
        mask = np.maximum(mask, self.feet())
        return mask if mask.any() else self.band(0.0, 1.0, 0.8)


def _at(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def likeness(canvas: Canvas, body: np.ndarray, core: np.ndarray) -> np.ndarray:
    """(h, w) float32, 0–1: how much a pixel's colour is the person's (histogram of ``core``) rather than the
    background's (pixels outside ``body``); a coarse Lab histogram, smoothed."""
    code = cv2.cvtColor(canvas.pixels, cv2.COLOR_RGB2LAB)
    bins = (16, 16, 16)
    outside = ((body < 0.5) & canvas.inside).astype(np.uint8)
    inner = (core > 0.5).astype(np.uint8)
    if outside.sum() < 50 or inner.sum() < 20:
        return np.ones(body.shape, np.float32)
    ratios = []
    for mask in (inner, outside):
        hist = cv2.calcHist([code], [0, 1, 2], mask, bins, [0, 256, 64, 192, 64, 192])
        for axis in range(3):
            hist = _smooth(hist, axis)
        ratios.append(hist / max(float(hist.sum()), 1e-6))
    fore, back = ratios
    ratio = (fore + 1e-4) / (fore + back + 2e-4)
    level = code[..., 0].astype(np.int32) >> 4
    chroma = np.clip((code[..., 1:].astype(np.int32) - 64) >> 3, 0, 15)
    return np.asarray(ratio[level, chroma[..., 0], chroma[..., 1]], np.float32)


def _smooth(hist: np.ndarray, axis: int) -> np.ndarray:
    padded = np.concatenate([hist.take([0], axis), hist, hist.take([-1], axis)], axis)
    low, mid, high = (padded.take(range(i, i + hist.shape[axis]), axis) for i in range(3))
    return np.asarray(0.25 * low + 0.5 * mid + 0.25 * high, np.float32)
