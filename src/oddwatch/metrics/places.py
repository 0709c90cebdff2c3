"""Where in a video: RBDC and TBDC of boxes and tracks, and the pixel-level criterion of UCSD (metrics §13).

RBDC and TBDC: Ramachandra and Jones, "Street Scene", WACV 2020, in the form of metrics §13 (own implementation). Pixel level:
Mahadevan et al., CVPR 2010.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddwatch.core import InputError
from oddwatch.metrics.frames import equal_error_rate
from oddwatch.metrics.maps import pair, pairs
from oddwatch.metrics.ranking import MetricResult, as_scores, auroc, undefined


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes of a test set: ``frames`` (N,) int, numbered through all videos, ``boxes`` (N, 4) x0, y0, x1, y1 in pixels, and
    ``values`` (N,): the scores of found boxes, or the track numbers (through all videos) of true ones."""

    frames: np.ndarray
    boxes: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        n = self.frames.size
        if self.frames.shape != (n,) or self.boxes.shape != (n, 4) or self.values.shape != (n,):
            found = f"{self.frames.shape}, {self.boxes.shape}, {self.values.shape}"
            raise InputError("boxes", f"expected frames (N,), boxes (N, 4) and values (N,), got {found}")
        if not np.isfinite(self.boxes).all() or (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise InputError("boxes", "expected finite pixels with x0 ≤ x1 and y0 ≤ y1")
        as_scores(self.values, "values")


def box_iou(one: Any, other: Any, inclusive: bool = False) -> np.ndarray:
    """(N, M) intersection over union, 0–1, of boxes (N, 4) and (M, 4).

    Boxes are half-open, as everywhere here; ``inclusive`` takes corners as pixels that belong to the box (one more to both
    sides), as some annotations do. Two empty boxes have 0.
    """
    a, b = (np.asarray(x, np.float64).reshape(-1, 4).copy() for x in (one, other))
    if inclusive:
        a[:, 2:] += 1
        b[:, 2:] += 1
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def region_detection(
    found: Boxes,
    true: Boxes,
    frames: int,
    *,
    beta: float = 0.1,
    alpha: float = 0.1,
    inclusive: bool = False,
) -> tuple[MetricResult, MetricResult]:
    """RBDC and TBDC: areas, for 0–1 false boxes per frame, under the share of true boxes and of true tracks that are hit.

    At a threshold a true box is hit when a found box of its frame that reaches it has an IoU ≥ ``beta`` with it; a track
    when a share of at least ``alpha`` of its boxes is (one box at the least). A found box with an IoU ≥ ``beta`` with no
    true box of its frame is false, whatever else is there. ``frames`` is the number of all test frames.

    The curve starts at no false box and nothing hit, goes in straight lines from threshold to threshold, and where even
    the lowest threshold makes fewer than one false box per frame it stays as it is up to 1 (what the definition leaves
    open). Undefined without a true box.

    Raises:
        InputError: rates outside 0–1, or fewer than one frame.
    """
    if not (0 < beta <= 1 and 0 < alpha <= 1) or frames < 1:
        raise InputError(
            "regions", f"expected shares above 0 up to 1 and a frame, got {beta}, {alpha}, {frames}"
        )
    if not true.frames.size:
        reason = "no true box"
        return undefined("rbdc", reason), undefined("tbdc", reason)
    reached, false = _reached(found, true, beta, inclusive)
    tracks, code = np.unique(true.values, return_inverse=True)
    by_track = np.empty(tracks.size)
    for track in range(tracks.size):
        scores = np.sort(reached[code == track])[::-1]
        by_track[track] = scores[max(math.ceil(alpha * scores.size - 1e-9), 1) - 1]
    details = {"boxes": reached.size, "tracks": tracks.size, "false": false.size, "frames": frames}
    return (
        MetricResult("rbdc", _area(reached, false, frames), details),
        MetricResult("tbdc", _area(by_track, false, frames), details),
    )


def _reached(found: Boxes, true: Boxes, beta: float, inclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """The threshold at which each true box is hit (−∞ = never), and the scores of the false boxes."""
    reached = np.full(true.frames.size, -np.inf)
    is_false = np.ones(found.frames.size, bool)
    frames = np.intersect1d(found.frames, true.frames)
    for f, t in zip(_members(found.frames, frames), _members(true.frames, frames), strict=True):
        hit = box_iou(found.boxes[f], true.boxes[t], inclusive) >= beta
        is_false[f] = ~hit.any(axis=1)
        reached[t] = np.where(hit, found.values[f][:, None], -np.inf).max(axis=0)
    return reached, np.asarray(found.values[is_false], np.float64)


def _members(frames: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Which of ``frames`` (N,) equal each of ``wanted`` (sorted)."""
    order = np.argsort(frames, kind="stable")
    first, stop = (np.searchsorted(frames, wanted, side=side, sorter=order) for side in ("left", "right"))
    return [order[a:b] for a, b in zip(first.tolist(), stop.tolist(), strict=True)]


def _area(reached: np.ndarray, false: np.ndarray, frames: int) -> float:
    """Area under hits over false boxes per frame, from 0 to 1, of the thresholds at which hits and false boxes come."""
    thresholds = np.unique(np.concatenate((reached[reached > -np.inf], false)))[::-1]
    hits, wrong = np.sort(reached), np.sort(false)
    y = (hits.size - np.searchsorted(hits, thresholds)) / hits.size
    x = (wrong.size - np.searchsorted(wrong, thresholds)) / frames
    x, y = np.append(0.0, x), np.append(0.0, y)
    inside = x <= 1
    last = int(np.flatnonzero(inside)[-1])
    end = y[last]
    if last + 1 < x.size:
        end += (1 - x[last]) / (x[last + 1] - x[last]) * (y[last + 1] - y[last])
    x, y = np.append(x[inside], 1.0), np.append(y[inside], end)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def pixel_level_score(map_: Any, mask: Any, share: float = 0.4) -> float:
    """The highest threshold at which a frame counts as anomalous by the pixel-level criterion.

    A frame with true pixels counts when at least ``share`` of them have a map value ≥ the threshold; a frame without any
    when a single pixel has.
    """
    if not 0 < share <= 1:
        raise InputError("share", f"expected more than 0 and at most 1, got {share}")
    values, truth = pair(map_, mask)
    inside = values[truth]
    if not inside.size:
        return float(values.max())
    needed = max(math.ceil(share * inside.size - 1e-9), 1)
    return float(np.partition(inside, inside.size - needed)[inside.size - needed])


def pixel_level(maps: Sequence[Any], masks: Sequence[Any], share: float = 0.4) -> MetricResult:
    """AUROC of frames by the pixel-level criterion of UCSD: a true positive has to cover 40 % of the true pixels.

    Maps (H, W) and masks (H, W) come frame by frame, from all videos together. A frame is anomalous when its mask is not
    empty. ``details``: the equal error rate ``eer``, and ``rate_of_detection`` = 1 − eer, as older papers print it.
    """
    labels, scores = [], []
    for values, truth in pairs(maps, masks):
        labels.append(bool(truth.any()))
        scores.append(pixel_level_score(values, truth, share))
    area, error = auroc(labels, scores), equal_error_rate([labels], [scores])
    if area.number is None or error.number is None:
        return MetricResult("pixel_level_auroc", math.nan, area.details)
    details = {**area.details, "eer": error.value, "rate_of_detection": 1 - error.value, "share": share}
    return MetricResult("pixel_level_auroc", area.value, details)
