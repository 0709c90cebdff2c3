"""Where: connected parts of a map above a threshold, as boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from oddwatch.core import Box, InputError, Region

ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")


def regions(
    one: np.ndarray, threshold: float, *, low: float | None = None, least: float = 0.0002
) -> list[Region]:
    """The 8-connected parts of a map (h, w) that reach ``threshold`` somewhere, strongest first.

    A part extends to wherever the map is ≥ ``low`` (by default ``threshold``): a high threshold decides what is told, a
    lower one how far it reaches (hysteresis, Canny 1986). Parts under the share ``least`` (0–1) of the map are dropped.
    Boxes are in map pixels, half-open; ``score`` is the part's highest value; ``mask`` (rows, columns of the box) bool.

    Raises:
        InputError: ``one`` is no map, or ``low`` lies above ``threshold``.
    """
    if one.ndim != 2:
        raise InputError("map", f"expected (height, width), got shape {one.shape}")
    low = threshold if low is None else low
    if low > threshold:
        raise InputError("low", f"expected at most the threshold {threshold:g}, got {low:g}")
    count, labels, facts, _ = cv2.connectedComponentsWithStats((one >= low).astype(np.uint8), connectivity=8)
    found = []
    for number in range(1, count):
        x, y, w, h, area = (int(v) for v in facts[number])
        mask = labels[y : y + h, x : x + w] == number
        peak = float(one[y : y + h, x : x + w][mask].max())
        if peak >= threshold and area >= least * one.size:
            found.append(Region(Box(x, y, x + w, y + h), "", peak, mask))
    return sorted(found, key=lambda r: (-r.score, r.box.y0, r.box.x0))


def on_picture(region: Region, shape: Sequence[int], size: Sequence[int]) -> Region:
    """A region of a map of ``shape`` (h, w) on a picture of ``size`` (height, width) that the map covers; labelled with
    its place in words. The box is rounded outwards to whole pixels."""
    height, width = size[0], size[1]
    y, x = height / shape[0], width / shape[1]
    x0, y0 = int(np.floor(region.box.x0 * x)), int(np.floor(region.box.y0 * y))
    x1 = min(width, max(x0 + 1, int(np.ceil(region.box.x1 * x))))
    y1 = min(height, max(y0 + 1, int(np.ceil(region.box.y1 * y))))
    box = Box(min(x0, width - 1), min(y0, height - 1), x1, y1)
    mask = None
    if region.mask is not None:
        grown = cv2.resize(
            region.mask.astype(np.float32), (int(box.width), int(box.height)), interpolation=cv2.INTER_LINEAR
        )
        mask = grown >= 0.5
        if not mask.any():
            mask = grown >= grown.max()
    return Region(box, place(box, height, width), region.score, mask)


def place(box: Box, height: float, width: float) -> str:
    """Which ninth of a ``height`` × ``width`` picture the middle of a box lies in: "top left" … "middle" … "bottom right"."""
    x, y = box.center
    row, column = min(2, max(0, int(3 * y / height))), min(2, max(0, int(3 * x / width)))
    return " ".join(filter(None, (ROWS[row], COLUMNS[column]))) or "middle"


def paint(found: Sequence[Region], size: Sequence[int]) -> np.ndarray:
    """The masks of regions in one (height, width) bool array; a region without a mask fills its box."""
    out = np.zeros((size[0], size[1]), bool)
    for region in found:
        x0, y0, x1, y1 = (int(v) for v in region.box.as_list())
        out[y0:y1, x0:x1] |= True if region.mask is None else region.mask
    return out
