"""MEBin: masks from anomaly maps by the count of regions that stays the same longest (AnomalyNCD, arXiv 2410.14379).

Idea. 1. Maps become 8-bit pictures on one scale. 2. The threshold falls from the highest value any map reaches to the lowest
of the maps' own maxima. 3. At each step small noise is eroded away and the regions are counted. 4. A count that holds over
a long stretch is the number of anomalies; the mask is taken at that stretch's last threshold. 5. No such stretch: no anomaly.

Needs the maps of a set, of which at least one should be normal or hardly anomalous: its maximum is the search's lower end.

Differs from the paper: where all maps reach the same maximum (one map alone, for instance) the search would have no range and
goes down to the lowest value of all; ``low`` sets the lower end by hand, to a threshold from normal pictures, say. The
paper's maps are 8-bit files; here the whole set is scaled to 0…255 between its lowest and highest value. Squares around regions
are merged until none are near each other (the authors' code merges once, and its boxes may then still overlap), and all of
them are kept; where a square is longer than the picture is high or wide, the border is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import cv2
import numpy as np

from oddwatch.core import InputError

Square = tuple[int, int, int]
"""Left, top and side in pixels; may reach beyond the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Binarised:
    """Masks (N, H, W) bool; the threshold (N,) and stable count (N,) of each map (255 and 0: no anomaly); ``levels``
    (N, H, W) uint8, the maps in 8 bits; the search's ``low`` and ``high`` end on that scale."""

    masks: np.ndarray
    thresholds: np.ndarray
    counts: np.ndarray
    levels: np.ndarray
    low: int
    high: int

    @property
    def strengths(self) -> np.ndarray:
        """(N, H, W) float32 maps in 0–1 over the search range; what lies below it is 0."""
        span = max(1, self.high - self.low)
        return np.clip((self.levels.astype(np.float32) - self.low) / span, 0, 1)


def binarise(
    anomaly_maps: np.ndarray,
    *,
    low: float | None = None,
    squared: bool = False,
    step: int = 4,
    least: int = 4,
    erosion: int = 6,
) -> Binarised:
    """Masks of ``anomaly_maps`` (N, H, W), higher = more anomalous.

    ``low`` is the search's lower end on the maps' own scale (None: the smallest of the maps' maxima). ``squared``: the maps
    are squared distances (SubspaceAD's) and their roots are searched: steps are even, and a few strong anomalies would else
    leave the weak ones none. Thresholds go down
    by ``step`` of 255; a stretch must hold for ``least`` of them; ``erosion`` is the side of the box, 0 for none.

    Raises:
        InputError: not (N, H, W), not finite, or arguments without sense.
    """
    maps = np.asarray(anomaly_maps)
    if maps.ndim != 3 or maps.dtype.kind not in "biuf" or not np.isfinite(maps).all():
        raise InputError("maps", f"expected finite numbers (N, H, W), got {maps.dtype} {maps.shape}")
    if not 1 <= step <= 255 or least < 1 or erosion < 0:
        raise InputError("step, least, erosion", f"expected 1–255, ≥ 1, ≥ 0; got {step}, {least}, {erosion}")
    if not len(maps):
        none = np.empty(0, np.int64)
        return Binarised(np.empty(maps.shape, bool), none, none.copy(), np.empty(maps.shape, np.uint8), 0, 0)
    if squared:
        maps = np.sqrt(np.maximum(maps, 0))
        low = None if low is None else float(np.sqrt(max(low, 0.0)))
    bottom, top = float(maps.min()), float(maps.max())
    scale = 255 / (top - bottom) if top > bottom else 0.0
    levels = np.rint((maps.astype(np.float64) - bottom) * scale).astype(np.uint8)
    peaks = levels.reshape(len(levels), -1).max(1)
    high, floor = int(peaks.max()), int(peaks.min())
    if low is not None:
        floor = int(np.clip(np.rint((low - bottom) * scale), 0, high))
    if floor == high:
        floor = 0
    found = [_binarised(one, floor, high, step, least, erosion) for one in levels]
    masks, thresholds, counts = zip(*found, strict=True)
    return Binarised(np.stack(masks), np.array(thresholds), np.array(counts), levels, floor, high)


def _binarised(
    one: np.ndarray, low: int, high: int, step: int, least: int, erosion: int
) -> tuple[np.ndarray, int, int]:
    """The mask, threshold and count of one 8-bit map (H, W)."""
    if one.max() <= low:
        return np.zeros(one.shape, bool), 255, 0
    within = np.where(one < low, 0.0, (one.astype(np.float32) - low) / (high - low) * 255)
    counts = [regions(eroded(within > t, erosion)) for t in range(255, 0, -step)]
    threshold, count = stable_threshold(counts, low, high, step=step, least=least)
    return eroded(one > threshold, erosion), threshold, count


def stable_threshold(
    counts: Sequence[int], low: int, high: int, *, step: int = 4, least: int = 4
) -> tuple[int, int]:
    """The threshold of 255 and the number of regions told by ``counts``, those at the thresholds 255, 255 − ``step``, ….

    Of the runs of equal nonzero counts at least ``least`` long the longest is chosen (of equally long ones the first), and
    in it the last threshold, brought back to the scale of ``low`` to ``high``. (255, 0) where there is none.
    """
    best, at, end = 0, 0, -1
    for value, run in groupby(counts):
        length = len(list(run))
        if value and length >= least and length > best:
            best, end = length, at + length - 1
        at += length
    if end < 0:
        return 255, 0
    return int((255 - step * end) * (high - low) / 255 + low), int(counts[end])


def eroded(mask: np.ndarray, side: int = 6) -> np.ndarray:
    """The mask (H, W) bool less what a box of ``side`` pixels does not fit into."""
    if side < 2:
        return mask
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)), bool)


def regions(mask: np.ndarray) -> int:
    """How many 8-connected regions."""
    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1


# -- crops -------------------------------------------------------------------------------------------------------


def squares(
    mask: np.ndarray, *, padding: float = 0.1, nearest: float = 0.01, smallest: float = 0.1
) -> list[Square]:
    """A square around each region of ``mask`` (H, W) bool, those near each other merged; the largest first.

    Half a side is the larger of half the region's longer side plus ``padding`` and ``smallest`` of the picture's longer
    side; squares nearer than ``nearest`` of that side are one. A square is moved inside the picture where it fits.
    """
    height, width = mask.shape
    longer = max(height, width)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    out = []
    for x, y, w, h, _ in stats[1:].tolist():
        half = max(int(max(w, h) * (1 + padding) * 0.5), int(longer * smallest), 1)
        out.append(_inside(x + w / 2, y + h / 2, 2 * half, height, width))
    merging = True
    while merging:
        merging = False
        for a, b in combinations(out, 2):
            if _apart(a, b) < int(longer * nearest):
                out = [s for s in out if s is not a and s is not b] + [_union(a, b, height, width)]
                merging = True
                break
    return sorted(out, key=lambda s: (-s[2], s))


def cut(picture: np.ndarray, square: Square) -> np.ndarray:
    """The pixels (side, side, …) of a picture or mask under ``square``; outside, the border is repeated."""
    left, top, side = square
    ys = np.clip(np.arange(top, top + side), 0, picture.shape[0] - 1)
    xs = np.clip(np.arange(left, left + side), 0, picture.shape[1] - 1)
    return np.ascontiguousarray(picture[ys[:, None], xs])


def _inside(x: float, y: float, side: int, height: int, width: int) -> Square:
    """A square of ``side`` about (x, y), no longer than the picture, moved inside it where it can be."""
    side = min(side, max(height, width))
    places = []
    for centre, length in ((x, width), (y, height)):
        start = int(centre - side / 2)
        fits = side <= length
        places.append(min(max(start, 0), length - side) if fits else (length - side) // 2)
    return places[0], places[1], side


def _apart(a: Square, b: Square) -> float:
    """How far two squares lie apart; −1 where they overlap."""
    gaps = [max(a[i], b[i]) - min(a[i] + a[2], b[i] + b[2]) for i in (0, 1)]
    if max(gaps) < 0:
        return -1.0
    return float(np.hypot(max(gaps[0], 0), max(gaps[1], 0)))


def _union(a: Square, b: Square, height: int, width: int) -> Square:
    left, top = min(a[0], b[0]), min(a[1], b[1])
    right, bottom = max(a[0] + a[2], b[0] + b[2]), max(a[1] + a[2], b[1] + b[2])
    return _inside((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top), height, width)
