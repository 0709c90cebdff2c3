"""What the light heads read: numbers of a pose and its neighbours, and picture tokens pooled by body part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.core import Box, Facts, Frame, Person, Tokens
from oddwatch.describe import body
from oddwatch.describe.priors import PRIOR

PARTS = ("none", "hair", "skin", "upper", "lower", "feet", "headwear", "bag", "other")
"""What a patch of a person's crop shows; ``other`` is another person."""

CROP_MARGIN = 0.08
"""What a person's crop shows around the box, of its width and height on each side."""

_BONES = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))
_TRUNK = (5, 6, 11, 12)
SEEN = 0.15


def crop(frame: Frame, person: Person) -> np.ndarray:
    """(h, w, 3) uint8 what of ``frame`` the encoder sees of ``person``."""
    return frame.crop(person.box.expanded(CROP_MARGIN))


def crop_box(frame: Frame, person: Person) -> Box:
    """The box of :func:`crop` in frame pixels."""
    pixels = crop(frame, person)
    b = person.box.expanded(CROP_MARGIN).clipped(frame.width, frame.height)
    x0, y0 = min(int(b.x0), frame.width - 1), min(int(b.y0), frame.height - 1)
    return Box(x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0])


def geometry(person: Person, others: Sequence[Person]) -> np.ndarray:
    """(G,) float32 of a person's keypoints, box and the two nearest others; zeros where there is no pose."""
    box = person.box
    aspect = np.log(max(box.width, 1.0) / max(box.height, 1.0))
    own = np.zeros(41 + 34 + 17 + 4 + 5 + 6, np.float32)
    origin, size = np.array(box.center, np.float32), 0.4 * max(box.height, box.width, 1.0)
    if person.pose is not None:
        points = person.pose.points.astype(np.float32)
        inside = (points[:, :2] - (box.x0, box.y0)) / (max(box.width, 1.0), max(box.height, 1.0))
        facing = body.facing_features(points)
        arms, seen = body.arms(points)
        size = body_size(points)
        origin = points[[11, 12], :2].mean(0)
        own = np.concatenate([
            body.posture_features(points), np.clip(inside - 0.5, -1.5, 1.5).ravel(), points[:, 2],
            np.zeros(4) if facing is None else facing, list(arms.values()),
            [1.0, person.score, float(facing is not None), float(seen), size / max(box.height, 1.0),
             size / max(box.width, 1.0)],
        ]).astype(np.float32)  # fmt: skip
    near = sorted(others, key=lambda o: _gap(person.box, o.box))[:2]
    beside = [_neighbour(o, origin, size, k == 0) for k, o in enumerate(near)]
    beside += [np.zeros(41 if k == 0 else 7, np.float32) for k in range(len(near), 2)]
    count = np.array([aspect, min(len(others), 4), _overlap(box, others)], np.float32)
    return np.concatenate([own, count, *beside]).astype(np.float32)


def body_size(points: np.ndarray) -> float:
    """Pixels: a third of the summed trunk and leg bones, about a torso, whatever the view."""
    bones = [(5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16)]
    return max(sum(float(np.hypot(*(points[i, :2] - points[j, :2]))) for i, j in bones) / 3.2, 1e-3)


def _gap(a: Box, b: Box) -> float:
    return float(np.hypot(a.center[0] - b.center[0], a.center[1] - b.center[1]))


def _overlap(box: Box, others: Sequence[Person]) -> float:
    return max((box.iou(o.box) for o in others), default=0.0)


def _neighbour(other: Person, origin: np.ndarray, size: float, whole: bool) -> np.ndarray:
    """(7,) or, with every keypoint, (41,): where another person is in units of this body, and how they stand."""
    center = (np.array(other.box.center, np.float32) - origin) / size
    spine, points = np.zeros(2, np.float32), np.zeros((17, 2), np.float32)
    if other.pose is not None:
        found = other.pose.points
        spine = (found[[5, 6], :2].mean(0) - found[[11, 12], :2].mean(0)) / body_size(found)
        points = np.clip((found[:, :2] - origin) / size, -5, 5) * (found[:, 2:] >= SEEN)
    tall = np.log(max(other.box.height, 1.0) / max(size, 1.0))
    row = [1.0, *np.clip(center, -8, 8), *np.clip(spine, -2, 2), float(np.clip(tall, -3, 3)), other.score]
    return np.concatenate([row, points.ravel()] if whole else [row]).astype(np.float32)


def bones(person: Person, area: Box, side: int = 16) -> np.ndarray:
    """(side², 12) float32: how near each cell of the crop ``area`` is to each bone, trunk and head (0–1), how far
    along the spine it is, and whether there is a pose."""
    out = np.zeros((side * side, 12), np.float32)
    if person.pose is None:
        return out
    points = person.pose.points
    size = body_size(points)
    xs = area.x0 + (np.arange(side) + 0.5) / side * area.width
    ys = area.y0 + (np.arange(side) + 0.5) / side * area.height
    cells = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float32)
    hips, neck = points[[11, 12], :2].mean(0), points[[5, 6], :2].mean(0)
    pairs = [(points[i, :2], points[j, :2], min(points[i, 2], points[j, 2])) for i, j in _BONES]
    pairs.append((hips, neck, float(points[list(_TRUNK), 2].mean())))
    pairs.append((points[:5, :2].mean(0), points[:5, :2].mean(0), float(points[:5, 2].max())))
    for k, (a, b, score) in enumerate(pairs):
        out[:, k] = np.exp(-((_distance(cells, a, b) / (0.3 * size)) ** 2)) * min(score / 0.3, 1.0)
    spine = neck - hips
    along = (cells - hips) @ spine / max(float(spine @ spine), 1e-3)
    out[:, 10], out[:, 11] = np.clip(along, -2.5, 2.5), 1.0
    return out


def _distance(cells: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    step = b - a
    t = np.clip((cells - a) @ step / max(float(step @ step), 1e-6), 0, 1)
    return np.asarray(np.hypot(*(cells - a - t[:, None] * step).T), np.float32)


REGIONS = ("person", "head", "upper", "lower", "feet", "bag", "skin", "none", "other")
_MIX = np.array([[float(p not in ("none", "other")) for p in PARTS],
                 [{"hair": 1.0, "headwear": 1.0, "skin": 0.3}.get(p, 0.0) for p in PARTS],
                 *([float(p == r) for p in PARTS] for r in REGIONS[2:])], np.float32)  # fmt: skip


def pooled(cls: np.ndarray, tokens: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """((1 + R) · 384 + 2R,) float32: CLS (384,), the mean of ``tokens`` (256, 384) over each region as weighted by
    ``parts`` (256, P), and every region's share of the crop and middle row."""
    weight = _MIX @ parts.T
    total = weight.sum(1, keepdims=True)
    mean = (weight @ tokens) / (total + 0.5)
    side = round(len(tokens) ** 0.5)
    rows = np.repeat((np.arange(side) + 0.5) / side, side)
    middle = (weight @ rows) / (total[:, 0] + 0.5)
    share = np.sqrt(total[:, 0] / len(tokens))
    return np.concatenate([cls, mean.ravel(), share, middle]).astype(np.float32)


def gains(facts: Facts) -> np.ndarray:
    """(A,) float32 evidence of facts: log odds over the base rate, within ±4, 0 where unknown."""
    return gains_of(facts.p, facts.known)


def gains_of(p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """As :func:`gains`, of many entries at once: ``p`` and ``known`` (…, A) to (…, A) float32."""
    q = np.clip(p.astype(np.float64), 1e-4, 1 - 1e-4)
    prior = PRIOR.astype(np.float64)
    gain = np.log(q / (1 - q)) - np.log(prior / (1 - prior))
    out: np.ndarray = (np.clip(gain, -4, 4) * known).astype(np.float32)
    return out


def only(tokens: Tokens, index: int) -> tuple[np.ndarray, np.ndarray]:
    """CLS (384,) and last patch tokens (256, 384) of one crop of a batch."""
    return tokens.cls[index], tokens.layers["last"][index]


def rows_of(tokens: Tokens, start: int, stop: int) -> Tokens:
    """The tokens of the crops ``start`` to ``stop`` of a batch."""
    layers = {name: layer[start:stop] for name, layer in tokens.layers.items()}
    return Tokens(
        tokens.cls[start:stop], layers, tokens.grid, tokens.scale[start:stop], tokens.offset[start:stop]
    )
