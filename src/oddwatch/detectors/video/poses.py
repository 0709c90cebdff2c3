"""Windows of poses along tracks, for methods that judge how somebody moves (STG-NF, arXiv 2211.10946; FG-Diff, 2412.03044)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse.csgraph import shortest_path

from oddwatch.core import InputError
from oddwatch.detectors.video.notes import Notes

Steps = Literal["frames", "looks"]

ORDER = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""Which of the 17 COCO keypoints, and 17 for the neck, is each of the 18 joints."""
SHOULDERS = (5, 6)
BONES = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (0, 14), (0, 15), (14, 16), (15, 17),
)  # fmt: skip
"""Pairs of the 18 joints that are connected: neck to nose, shoulders and hips, limbs, nose over eyes to ears."""
MIRROR = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
"""The joint that takes each one's place in a mirror."""
KNOWN = 6
"""Fewer known keypoints are no pose."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Pose windows of one clip: ``data`` (W, 2, T, 18) float32 normalised x and y, ``frame`` (W,) the frame that a
    window's score is written to, ``track`` (W,) whose it is and ``row`` (W,) the object row nearest to that frame."""

    data: np.ndarray
    frame: np.ndarray
    track: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.data)


def with_neck(points: np.ndarray) -> np.ndarray:
    """(…, 18, 2) joints of ``points`` (…, 17, 2): with the neck, the mean of the shoulders, in the order :data:`ORDER`."""
    neck = points[..., SHOULDERS, :].mean(-2, keepdims=True)
    return np.concatenate([points, neck], -2)[..., ORDER, :]


def normalise(window: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Windows (…, T, J, 2) of pixels without place and size: divided by ``size`` (width, height), less the mean over
    frames and joints, both coordinates over the standard deviation of y. A pose without any extent stays all zeros."""
    x = np.asarray(window, np.float64) / np.asarray(size, np.float64)
    x = x - x.mean((-3, -2), keepdims=True)
    spread = x[..., 1].std((-2, -1))[..., None, None, None]
    return np.asarray(x / np.where(spread > 1e-9, spread, 1.0))


def mirrored(data: np.ndarray) -> np.ndarray:
    """Windows (W, 2, T, 18) seen in a mirror: x changes its sign, left and right their joints."""
    out = data[..., MIRROR].copy()
    out[:, 0] *= -1
    return out


def adjacency(joints: int = 18, bones: Sequence[tuple[int, int]] = BONES, hops: int = 8) -> np.ndarray:
    """(joints, joints) float32: 1 where two joints are within ``hops`` bones, columns divided by their sums."""
    graph = np.zeros((joints, joints))
    for a, b in bones:
        graph[a, b] = graph[b, a] = 1
    near = (shortest_path(graph, unweighted=True) <= hops).astype(np.float32)
    return np.asarray(near / near.sum(0, keepdims=True), np.float32)


def starts(present: np.ndarray, length: int, stride: int, absent: int = 2) -> np.ndarray:
    """(W,) indices into the ascending steps ``present`` (n,) at which a window of ``length`` detections begins.

    ⌈(n − length) / stride⌉ of them, so a track of exactly ``length`` gives none, as published; of these the ones whose
    ``length`` expected step numbers are all there, but for ``absent``.
    """
    at = np.arange(0, max(0, len(present) - length), stride)
    ends = np.searchsorted(present, present[at] + length)
    return at[ends - at >= length - absent]


def windows(
    notes: Notes,
    length: int = 24,
    stride: int = 1,
    *,
    absent: int = 2,
    steps: Steps = "frames",
    bridge: float = 1.0,
) -> Windows:
    """All windows of ``length`` consecutive poses of one track, a new one every ``stride`` poses.

    A step is a frame, or with ``steps="looks"`` a frame that the models looked at. Steps without a pose between two of
    the same track at most ``bridge`` seconds apart get one along straight lines (0: none, as published): the pose model
    looks a few times a second, and a window of 24 looks would be longer than most tracks are seen. A keypoint that is
    not known gets its place from earlier and later ones in the same way, one that the track never shows the mean of the others. Poses
    of fewer than ``KNOWN`` keypoints, and people without a track, are left out. A score is written to the step half a
    window behind the first, as published.

    Raises:
        InputError: a window shorter than two poses, a stride below 1, or steps of another name.
    """
    if length < 2 or stride < 1 or absent < 0 or not bridge >= 0:
        raise InputError("windows", "expected length ≥ 2, stride ≥ 1, absent ≥ 0 and bridge ≥ 0")
    if steps not in ("frames", "looks"):
        raise InputError("steps", f"expected frames or looks, got {steps!r}")
    objects = notes.objects
    at = notes.looked if steps == "looks" and len(notes.looked) else np.arange(len(notes))
    step = np.searchsorted(at, objects.frame)
    good = (np.isfinite(objects.pose[:, :, :2]).all(2).sum(1) >= KNOWN) & (objects.track >= 0)
    good &= at[np.minimum(step, len(at) - 1)] == objects.frame if len(at) else False
    data, frame, track, row = [], [], [], []
    for number in np.unique(objects.track[good]):
        rows = np.flatnonzero(good & (objects.track == number))
        _, first = np.unique(step[rows], return_index=True)
        rows = rows[first]
        present, poses = _filled(step[rows], objects.pose[rows, :, :2], notes.times[at], bridge)
        begin = starts(present, length, stride, absent)
        if not len(begin):
            continue
        cut = with_neck(poses)[begin[:, None] + np.arange(length)]
        data.append(normalise(cut, (notes.size[1], notes.size[0])).transpose(0, 3, 1, 2))
        middle = np.minimum(present[begin] + length // 2, len(at) - 1)
        frame.append(at[middle])
        track.append(np.full(len(begin), number))
        row.append(rows[_nearest(step[rows], middle)])
    if not data:
        none = np.zeros(0, np.int64)
        return Windows(np.zeros((0, 2, length, 18), np.float32), none, none, none)
    stacked = np.ascontiguousarray(np.concatenate(data), np.float32)
    return Windows(stacked, np.concatenate(frame), np.concatenate(track), np.concatenate(row))


def _filled(
    step: np.ndarray, points: np.ndarray, times: np.ndarray, bridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ascending steps (n,) and poses (n, 17, 2) float64 of one track, with those of bridged gaps, every keypoint known."""
    points = np.asarray(points, np.float64).copy()
    for j in range(points.shape[1]):
        known = np.isfinite(points[:, j]).all(1)
        if known.any() and not known.all():
            for c in (0, 1):
                points[~known, j, c] = np.interp(step[~known], step[known], points[known, j, c])
    never = np.isnan(points).sum(2) > 0
    if never.any():
        middle = np.nanmean(points, axis=1, keepdims=True)
        points = np.where(never[..., None], middle, points)
    wanted = np.arange(step[0], step[-1] + 1)
    before = step[np.searchsorted(step, wanted, side="right") - 1]
    after = step[np.searchsorted(step, wanted)]
    wanted = wanted[(before == after) | (times[after] - times[before] <= bridge + 1e-9)]
    flat = points.reshape(len(step), -1)
    filled = np.stack([np.interp(wanted, step, flat[:, i]) for i in range(flat.shape[1])], 1)
    return wanted, filled.reshape(len(wanted), *points.shape[1:])


def _nearest(steps: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(W,) index of the ascending ``steps`` nearest to each of ``wanted``."""
    after = np.clip(np.searchsorted(steps, wanted), 0, len(steps) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(steps[before] - wanted) <= np.abs(steps[after] - wanted), before, after)
