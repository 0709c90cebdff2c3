"""What objects are told by (movement, pose, look), and how their scores become a curve; for methods over noted objects.

A frame without objects counts as one object, the whole frame: its movement is that of the motion cells, its vector the mean
token of the layer that objects' vectors are from, as far as these were noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import Box, Curve, InputError, Place
from oddwatch.detectors.video.density import pieces
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.detectors.video.poses import KNOWN
from oddwatch.media.flow import flow_histogram
from oddwatch.scoring.curves import gaussian
from oddwatch.scoring.relate import Scale, to_frames

CUES = ("velocity", "pose", "deep")


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """One attribute of a clip's objects: ``rows`` (n, D), the ``frame`` (n,) and object ``index`` (n,) each is of (-1: the
    whole frame), and the frames ``known`` (N,) bool that it was looked at on."""

    rows: np.ndarray
    frame: np.ndarray
    index: np.ndarray
    known: np.ndarray


def attribute(cue: str, notes: Notes, *, bins: int = 8, by_height: bool = False) -> Attribute | None:
    """What ``cue`` (of :data:`CUES`) tells of the objects of a clip, None where its notes do not carry it.

    ``velocity`` (n, 8) as noted, or with ``bins=1`` (n, 1) its sum; ``by_height`` divides people's by their box's height in
    frame heights. ``pose`` (n, 34) see :func:`normalised`; looked at on all looked-at frames. ``deep`` (n, D) as noted.

    Raises:
        InputError: another cue, or another number of bins.
    """
    if cue not in CUES or bins not in (1, 8):
        raise InputError("cue, bins", f"expected one of {', '.join(CUES)} and 8 or 1, got {cue!r} and {bins}")
    if cue == "velocity":
        return _velocity(notes, bins, by_height)
    return _pose(notes) if cue == "pose" else _deep(notes)


def gathered(found: Sequence[Attribute | None]) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows (n, D) of all normal clips, and the groups (n,) to hold out, clips or pieces of a single one; None where
    there is no row."""
    some = [(i, a) for i, a in enumerate(found) if a is not None and len(a.rows)]
    if not some:
        return None
    clip = np.concatenate([np.full(len(a.rows), i) for i, a in some])
    groups = pieces(clip, np.concatenate([a.frame for _, a in some]))
    return np.concatenate([a.rows for _, a in some]), groups


def curve_of(
    notes: Notes,
    scored: Mapping[str, tuple[Attribute, np.ndarray]],
    scales: Mapping[str, Scale],
    sigma: float,
) -> Curve:
    """The sum of the cues: each the highest of a frame's objects on its scale, smoothed by ``sigma`` frames.

    ``scored`` holds each cue's attribute and raw scores (n,). A frame that was looked at but has no object has the lowest
    normal score, for poses 0. The place of a frame is its object with the highest score of any cue.
    """
    cues: dict[str, np.ndarray] = {}
    best: dict[int, Place] = {}
    for cue, (of, raw) in scored.items():
        empty = 0.0 if cue == "pose" else scales[cue].offset
        cues[cue] = gaussian(framed(of, scales[cue](raw), len(notes), float(scales[cue](empty))), sigma)
        for place in places(cue, of, scales[cue](raw), notes.objects):
            if place.index not in best or place.score > best[place.index].score:
                best[place.index] = place
    values = np.sum(list(cues.values()), axis=0) if cues else np.zeros(len(notes))
    return Curve(notes.name, notes.times, values, cues, tuple(best[i] for i in sorted(best)))


def framed(of: Attribute, scaled: np.ndarray, total: int, empty: float) -> np.ndarray:
    """(total,) the highest of each frame's scores (n,), ``empty`` where there is no object; along straight lines where
    it was not looked at, and ``empty`` where nothing was."""
    at = np.flatnonzero(of.known)
    if not len(at):
        return np.full(total, empty)
    highest = to_frames(of.frame, scaled, total, how="max", fill=empty)
    return np.interp(np.arange(total), at, highest[at])


def places(cue: str, of: Attribute, scaled: np.ndarray, objects: Objects) -> Iterator[Place]:
    """The object with the highest of the scores (n,) in each frame; of a whole frame there is no box."""
    order = np.lexsort((-scaled, of.frame))
    first = order[np.unique(of.frame[order], return_index=True)[1]]
    for i in first:
        row, score = int(of.index[i]), float(scaled[i])
        if row < 0:
            yield Place(int(of.frame[i]), cue, score)
            continue
        track = int(objects.track[row])
        box = Box(*(float(v) for v in objects.box[row]))
        yield Place(int(of.frame[i]), cue, score, box, track if track >= 0 else None)


def _velocity(notes: Notes, bins: int, by_height: bool) -> Attribute | None:
    objects = notes.objects
    index = np.flatnonzero(np.isfinite(objects.velocity).all(1))
    rows = objects.velocity[index].astype(np.float64)
    if by_height and notes.size[0] > 0:
        tall = (objects.box[index, 3] - objects.box[index, 1]) / notes.size[0]
        rows[objects.person[index]] /= np.maximum(tall, 1e-3)[objects.person[index], None]
    empty = np.flatnonzero(_free(len(notes), objects.frame))
    empty = empty[empty > 0] if notes.has("motion") else empty[:0]
    if not len(index) and not len(empty):
        return None
    whole = [flow_histogram(notes.motion[i, :, :, 1:3]) for i in empty]
    rows = np.concatenate([rows, np.array(whole).reshape(len(empty), rows.shape[1])])
    if bins == 1:
        rows = rows.sum(1, keepdims=True)
    return _of(rows, objects.frame[index], index, empty, len(notes))


def _pose(notes: Notes) -> Attribute | None:
    rows, index = normalised(notes.objects.pose)
    if not len(index) and not notes.has("people"):
        return None
    found = _of(rows, notes.objects.frame[index], index, np.zeros(0, np.int64), len(notes))
    found.known[notes.looked if len(notes.looked) else slice(None)] = True
    return found


def _deep(notes: Notes) -> Attribute | None:
    objects = notes.objects
    width = objects.deep.shape[1]
    index = np.flatnonzero(np.isfinite(objects.deep).all(1)) if width else np.zeros(0, np.int64)
    rows = objects.deep[index].astype(np.float64)
    layer = next((v for v in notes.tokens.values() if len(v) and width in (0, v.shape[2])), None)
    if layer is None and not len(index):
        return None
    empty, whole = np.zeros(0, np.int64), rows[:0]
    if layer is not None:
        rows = rows.reshape(len(index), layer.shape[2])
        bare = _free(len(notes), objects.frame)[notes.looked]
        empty, whole = notes.looked[bare], layer[bare].mean(1, dtype=np.float32).astype(np.float64)
    rows = np.concatenate([rows, whole])
    return _of(rows, objects.frame[index], index, empty, len(notes))


def _free(frames: int, taken: np.ndarray) -> np.ndarray:
    """(frames,) bool: frames without an object."""
    out = np.ones(frames, bool)
    out[taken] = False
    return out


def _of(rows: np.ndarray, frame: np.ndarray, index: np.ndarray, empty: np.ndarray, total: int) -> Attribute:
    """Of objects and, after these, of whole frames ``empty``."""
    frames = np.concatenate([frame, empty]).astype(np.int64)
    known = np.zeros(total, bool)
    known[frames] = True
    return Attribute(rows, frames, np.concatenate([index, np.full(len(empty), -1)]).astype(np.int64), known)


def normalised(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 34) poses without place and size, and which (n,) of ``pose`` (K, 17, 3) they are: those with ``KNOWN`` keypoints.

    Less the middle of the keypoints' extent, over its larger side; unknown keypoints lie in the middle.
    """
    points = np.asarray(pose[:, :, :2], np.float64)
    known = np.asarray(np.isfinite(points).all(2))
    index = np.flatnonzero(known.sum(1) >= KNOWN)
    points, known = points[index], known[index]
    if not len(index):
        return np.zeros((0, 2 * pose.shape[1])), index
    low = np.where(known[..., None], points, np.inf).min(1)
    high = np.where(known[..., None], points, -np.inf).max(1)
    side = np.maximum((high - low).max(1), 1e-9)
    moved = (points - ((low + high) / 2)[:, None]) / side[:, None, None]
    return np.where(known[..., None], moved, 0.0).reshape(len(index), -1), index
