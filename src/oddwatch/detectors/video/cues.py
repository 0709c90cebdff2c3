"""What the camera profile looks at: each cue turns notes into vectors, one for each thing or place and frame.

A cue says in words what is unusual when its vector is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import label, uniform_filter1d

from oddwatch.core import Box
from oddwatch.describe.body import posture_features
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.paths import Paths

STILL = 0.01
"""Frame heights a second below which a cell counts as still."""
STEADY = 0.3
"""Seconds over which the flow of a cell is averaged: that of two frames is noisy."""
TALL = 64
"""Pixels of a person's longer side below which keypoints are rather guessed than seen."""
BODY = (5, 6, 11, 12, 13, 14)
"""Shoulders, hips and knees: a pose without them is half a pose."""
STAYS = 1.4
"""Seconds that something new stays before it counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Vectors of one cue: ``frame`` (K,) ascending or not, ``vectors`` (K, d), ``row`` (K,) of ``notes.objects`` or -1,
    ``cell`` (K,) number in the cue's grid or -1, ``grid`` (rows, columns); ``boxes`` (K, 4) where they are neither."""

    frame: np.ndarray
    vectors: np.ndarray
    row: np.ndarray
    cell: np.ndarray
    grid: tuple[int, int] = (1, 1)
    boxes: np.ndarray | None = None

    def box(self, k: int, notes: Notes) -> Box:
        """Where vector ``k`` was seen, in pixels."""
        if self.boxes is not None:
            return Box(*(float(v) for v in self.boxes[k]))
        if self.row[k] >= 0:
            return Box(*(float(v) for v in notes.objects.box[self.row[k]]))
        height, width = notes.size
        rows, columns = self.grid
        r, c = divmod(int(self.cell[k]), columns)
        return Box(c * width / columns, r * height / rows, (c + 1) * width / columns, (r + 1) * height / rows)


def _along_paths(
    notes: Notes, found: Paths, names: tuple[str, ...], people: bool = False, dense: bool = False
) -> Seen:
    """Numbers of tracks; with ``people`` of people's only, as the outline of a moving thing comes and goes with its
    movement and with what passes by it; with ``dense`` of tracks that were seen often."""
    which = notes.objects.person[found.row] if people else np.ones(len(found.row), bool)
    which = which & found.dense if dense else which
    rows = found.row[which]
    return Seen(notes.objects.frame[rows], found.columns(*names)[which], rows, np.full(len(rows), -1))


def _things(notes: Notes, found: Paths) -> Seen:
    """How large and broad moving things other than people are, and how low in the picture."""
    objects = notes.objects
    rows = found.row[~objects.person[found.row]]
    box = objects.box[rows].astype(np.float64) / notes.size[0]
    low = 2 / notes.size[0]
    sides = np.log(np.maximum(box[:, 2:] - box[:, :2], low))
    return Seen(objects.frame[rows], np.column_stack([box[:, 3], sides]), rows, np.full(len(rows), -1))


def _pose(notes: Notes, found: Paths) -> Seen:
    """How people hold themselves: the numbers by which postures are told (``describe.body``)."""
    objects = notes.objects
    sides = (objects.box[:, 2:] - objects.box[:, :2]).max(axis=1, initial=0.0)
    sure = np.nan_to_num(objects.pose[:, BODY, 2]) >= 0.2
    rows = np.flatnonzero(objects.person & (sides >= TALL) & (sure.sum(axis=1) >= len(BODY) - 1))
    told = [posture_features(points) for points in objects.pose[rows]]
    vectors = np.array(told) if told else np.empty((0, 1))
    return Seen(objects.frame[rows], vectors, rows, np.full(len(rows), -1))


def _left(notes: Notes, found: Paths) -> Seen:
    """How large what stays and was not there before is, and since when; a look that shows nothing of the kind counts too, as
    most footage shows nothing else."""
    left = notes.left[notes.left[:, 5] >= STAYS]
    empty = np.setdiff1d(notes.looked, left[:, 0].astype(np.int64))
    area = (left[:, 3] - left[:, 1]) * (left[:, 4] - left[:, 2]) / notes.size[0] ** 2
    vectors = np.zeros((len(empty) + len(left), 2))
    vectors[len(empty) :] = np.column_stack([np.log1p(area / 5e-4), np.minimum(left[:, 5], 8.0) / 4])
    boxes = np.concatenate([np.zeros((len(empty), 4)), left[:, 1:5]])
    none = np.full(len(vectors), -1)
    return Seen(np.concatenate([empty, left[:, 0].astype(np.int64)]), vectors, none, none, boxes=boxes)


def _flow(notes: Notes, found: Paths) -> Seen:
    """Cells of the picture in which something moves: where, and its mean velocity."""
    if not notes.has("motion"):
        return Seen(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.int64))
    steady = max(1, round(STEADY * notes.fps))
    motion = uniform_filter1d(notes.motion.astype(np.float32), steady, axis=0, mode="nearest")
    frame, r, c = np.nonzero(motion[..., 0] > STILL)
    rows, columns = motion.shape[1:3]
    tall = columns / rows
    vectors = np.stack(
        [(c + 0.5) / columns * tall, (r + 0.5) / rows, motion[frame, r, c, 1], motion[frame, r, c, 2]], axis=1
    )
    return Seen(frame, vectors, np.full(len(frame), -1), r * columns + c, (rows, columns))


def _deep(notes: Notes, found: Paths) -> Seen:
    """What people and things look like: the unit vector of their tokens' mean."""
    objects = notes.objects
    rows = (
        np.flatnonzero(np.isfinite(objects.deep).all(axis=1))
        if objects.deep.shape[1]
        else np.empty(0, np.int64)
    )
    deep = objects.deep[rows]
    unit = deep / np.maximum(np.linalg.norm(deep, axis=1, keepdims=True), 1e-6)
    return Seen(objects.frame[rows], unit, rows, np.full(len(rows), -1))


CUES: dict[str, tuple[Callable[[Notes, Paths], Seen], str]] = {
    "movement": (
        partial(_along_paths, names=("vx", "vy")),
        "moves unusually fast or in an unusual direction",
    ),
    "place": (partial(_along_paths, names=("x", "y", "vx", "vy")), "moves as nobody does at this place"),
    "jerk": (
        partial(_along_paths, names=("jerk", "growth"), people=True, dense=True),
        "changes its movement abruptly",
    ),
    "shape": (
        partial(_along_paths, names=("aspect", "growth"), people=True),
        "has an unusual shape or posture",
    ),
    "size": (partial(_along_paths, names=("y", "height")), "is unusually large or small for this place"),
    "thing": (_things, "is larger or broader than what moves here"),
    "pose": (_pose, "holds itself as nobody here did"),
    "left": (_left, "stays here and was not here before"),
    "flow": (_flow, "moves as this part of the picture has not seen"),
    "deep": (_deep, "looks like nothing seen here before"),
}
"""Name → (what makes its vectors, what it means when they are unusual)."""

WORDS: dict[str, str] = {name: words for name, (_, words) in CUES.items()} | {
    "lying": "lies on the ground",
    "climbing": "climbs",
    "velocity": "moves unusually fast or in an unusual direction",
    "likelihood": "moves its limbs as nobody here did",
    "prediction": "is not what the frames before led to expect",
    "turbulence": "keeps changing its movement",
    "strength": "changes the picture strongly",
    "learnt": "is like the clips that were labelled anomalous",
    "language": "is told in words that the rules or the model call abnormal",
}
"""What the cues of all video detectors mean when they are unusual."""


def together(cell: int, cells: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Those of ``cells`` (K,) that hang together with ``cell``, side by side or at the corners, on a ``grid``."""
    mask = np.zeros(grid, bool)
    mask.flat[cells] = True
    parts, _ = label(mask, np.ones((3, 3)))
    out: np.ndarray = cells[parts.flat[cells] == parts.flat[cell]]
    return out
