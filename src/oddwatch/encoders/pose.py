"""People and their keypoints: MoveNet MultiPose Lightning, up to six people a pass.

The packaged graph has its origin's weights but computes only what is read (scripts/pose_graph.py). Against
the origin on 40 generated frames and the 20 counted frames of vtest.avi, through
:class:`oddwatch.media.people.PeopleFinder`: the same people (138 and 118), every keypoint of a score above
0.3 in its place (less than 0.05 % of the person's height). CPU of one thread on a busy AVX-512 machine, both
in turn: 1.44 and 1.6 times less a frame, 1.3 to 1.4 a pass at 192 × 256, 1.4 to 1.5 at 384 × 512 and 1.5 to
1.6 at 448 × 768.

int8 was tried and left: static, per channel, in the backbone only, it takes half of the rest, but finds 134
people for 138 and 120 for 118 (131 to 140 and 119 to 122 with other choices of layers), and needs VNNI.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, InputError, Person, Pose
from oddwatch.encoders import weights

STRIDE = 32
LEAST_SCORE = 0.1
MOST_PEOPLE = 6


class PoseModel:
    """MoveNet MultiPose: boxes, 17 COCO keypoints and scores of at most six people in one pass.

    ``model`` is a packaged name or the path of another graph of the same form: int32 ``[1, H, W, 3]`` in,
    ``[1, 6, 56]`` out (17 × (y, x, score), box y0 x0 y1 x1, score, normalised to the input).
    """

    def __init__(self, threads: int | None = None, device: str = "auto", model: str | Path = "pose") -> None:
        from oddwatch.encoders.session import session

        self._session: Any = session(weights.path(model), threads, device)
        self._input = self._session.get_inputs()[0].name
        self.id = pose_id(model)

    def detect(self, pixels: np.ndarray, long_side: int = 512) -> list[Person]:
        """The people in (H, W, 3) uint8 RGB ``pixels``, best first, score ≥ 0.1.

        The picture is resized so that its longer side is ``long_side`` pixels (a multiple of 32), aspect
        kept, padded with black to the right and below. Boxes and keypoints are in pixels of the given
        array; boxes are clipped to it, keypoints may lie outside.

        Raises:
            InputError: not such an array, or ``long_side`` not a positive multiple of 32.
        """
        if long_side < STRIDE or long_side % STRIDE:
            raise InputError("long_side", f"expected a positive multiple of {STRIDE}, got {long_side}")
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise InputError("pixels", f"expected (H, W, 3) uint8 RGB, got {pixels.dtype} {pixels.shape}")
        canvas, scale = letterbox(pixels, long_side)
        found = self._session.run(None, {self._input: canvas[None].astype(np.int32)})[0][0]
        return read_people(found, canvas.shape[:2], scale, pixels.shape[:2])


def pose_id(model: str | Path = "pose") -> str:
    """The ``id`` of such a model without building it: name and hash of the weights."""
    entry = next((e for e in weights.manifest() if e["name"] == str(model)), None)
    if entry:
        return f"movenet-multipose-lightning-{entry['sha256'][:8]}"
    return f"pose:{Path(model).name}-{weights.digest(weights.path(model))[:8]}"


def letterbox(pixels: np.ndarray, long_side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """``pixels`` with its longer side resized to ``long_side``, padded right and below to multiples of 32;
    and canvas pixels per picture pixel (x, y)."""
    import cv2

    height, width = pixels.shape[:2]
    ratio = long_side / max(height, width)
    w, h = max(1, round(width * ratio)), max(1, round(height * ratio))
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (w, h), interpolation=how)
    shape = (math.ceil(h / STRIDE) * STRIDE, math.ceil(w / STRIDE) * STRIDE, 3)
    canvas = np.zeros(shape, np.uint8)
    canvas[:h, :w] = small
    return canvas, (w / width, h / height)


def read_people(
    found: np.ndarray, canvas: tuple[int, int], scale: tuple[float, float], picture: tuple[int, int]
) -> list[Person]:
    """The (6, 56) output as people in picture pixels; ``canvas`` and ``picture`` are (height, width)."""
    height, width = picture
    to_x, to_y = canvas[1] / scale[0], canvas[0] / scale[1]
    people = []
    for row in found[np.argsort(-found[:, 55], kind="stable")]:
        score = float(row[55])
        if not np.isfinite(row).all() or score < LEAST_SCORE:
            continue
        y0, x0, y1, x1 = (float(v) for v in row[51:55])
        box = Box(min(x0, x1) * to_x, min(y0, y1) * to_y, max(x0, x1) * to_x, max(y0, y1) * to_y)
        box = box.clipped(width, height)
        if box.area <= 0:
            continue
        points = row[:51].reshape(17, 3)[:, [1, 0, 2]] * np.array([to_x, to_y, 1.0])
        people.append(Person(box, min(score, 1.0), Pose(points.astype(np.float32))))
    return people
