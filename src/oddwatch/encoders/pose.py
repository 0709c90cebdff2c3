"""People and their keypoints: MoveNet MultiPose Lightning, up to six people a pass."""

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
        self.id = "movenet-multipose-lightning" if model == "pose" else f"pose:{Path(model).name}"

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
