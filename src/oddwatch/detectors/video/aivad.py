"""AI-VAD: how unusual each object's speed, pose and look are, added up (Reiss and Hoshen, TMLR 2025; arXiv 2212.00789).

Idea. 1. Every object is told by three attributes: a histogram of its movement by direction, its pose, a deep vector. 2. What
is normal is a mixture of Gaussians of the histograms and all normal poses and vectors as they are. 3. An object's scores are
−log of the mixture's density and squared distances to the nearest normal pose and vector; a frame's, the highest of its
objects. 4. The scores of each attribute are scaled to 0–1 by those of normals, poses and vectors of the other clips only.
5. The three are added and smoothed in time.

Needs normal clips. Nothing is trained but the mixture.

Differs from the paper: objects are people of the pose model and moving things (paper: Mask R-CNN and motion), flow is DIS
(FlowNet2) in frame heights a second, poses are MoveNet's (AlphaPose), vectors the backbone's mean token under the box (CLIP
of a crop). The formula of pose normalisation is not published: here keypoints less the middle of their extent, over the
larger side of it, unknown ones in the middle; fewer than ``KNOWN`` of them are no pose. At most 20 000 normals of an attribute
are kept (the paper: all; 100 cluster means cost it a point at most). With a single normal clip, eight pieces of it in time
take the place of clips.

What is missing. An attribute that normal notes do not carry is left out, and logged; so is one that a clip's notes do not
carry (or in which no person was seen), whose curve is then the sum of fewer. A frame without objects counts as one object, the whole frame: its movement is
that of the motion cells, its vector the mean token of the layer that objects' vectors are from, as far as these were
noted. A frame that the pose model saw without finding a pose has pose score 0 (before scaling). Frames that an
attribute was not looked at on have values along straight lines between those it was. Objects without a flow, a vector or a
pose are not scored by it. Where all normals have equal scores the scale keeps their unit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from oddwatch.core import Box, Curve, InputError, Place
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.density import LIMIT, Arrays, Mixture, Neighbours, pieces
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.detectors.video.poses import KNOWN
from oddwatch.media.flow import flow_histogram
from oddwatch.scoring.curves import gaussian
from oddwatch.scoring.relate import Scale, minmax, to_frames

log = logging.getLogger(__name__)
CUES = ("velocity", "pose", "deep")


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """One attribute of a clip's objects: ``rows`` (n, D), the ``frame`` (n,) and object ``index`` (n,) each is of (-1: the
    whole frame), and the frames ``known`` (N,) bool that it was looked at on."""

    rows: np.ndarray
    frame: np.ndarray
    index: np.ndarray
    known: np.ndarray


@dataclass(kw_only=True, eq=False)
class AIVAD(VideoDetector):
    """``cues`` of :data:`CUES` are used where there are notes for them. ``components`` of the mixture (Ped2: 2), ``k``
    nearest normals. ``bins``: 8 directions of movement, or 1 for its amount alone. ``by_height`` divides people's movement by
    their box's height in frame heights (the paper: ShanghaiTech only, where people are near and far). Scales end at
    ``percentile`` of velocity and pose of normals and at the maximum of vectors. ``sigma`` smooths, in frames (paper: 3,
    ShanghaiTech 7). At most ``limit`` normals of an attribute are kept.
    """

    NAME: ClassVar[str] = "ai-vad"
    READS: ClassVar[tuple[str, ...]] = ("objects", "motion", "people", "tokens")

    cues: tuple[str, ...] = CUES
    components: int = 5
    k: int = 1
    bins: int = 8
    by_height: bool = False
    percentile: float = 99.9
    sigma: float = 3.0
    limit: int = LIMIT
    densities: dict[str, Mixture | Neighbours] = field(default_factory=dict, init=False, repr=False)
    scales: dict[str, Scale] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.cues or set(self.cues) - set(CUES):
            raise InputError("cues", f"expected some of {', '.join(CUES)}, got {self.cues}")
        if self.bins not in (1, 8):
            raise InputError("bins", f"expected 8 or 1, got {self.bins}")
        if not 0 < self.percentile <= 100 or not self.sigma >= 0:
            raise InputError(
                "percentile, sigma", f"expected 0–100 and ≥ 0, got {self.percentile}, {self.sigma}"
            )

    @property
    def missing(self) -> tuple[str, ...]:
        """The wanted cues that the normal notes did not carry."""
        return tuple(cue for cue in self.cues if cue not in self.densities)

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        self.densities, self.scales = {}, {}
        for cue in self.cues:
            found = [
                (i, a) for i, notes in enumerate(normal) if (a := self._attribute(cue, notes)) is not None
            ]
            found = [(i, a) for i, a in found if len(a.rows)]
            if not found:
                log.warning("%s: the notes of normal clips carry no %s, it is left out", self.NAME, cue)
                continue
            rows = np.concatenate([a.rows for _, a in found])
            clip = np.concatenate([np.full(len(a.rows), i) for i, a in found])
            self._learn(cue, rows, pieces(clip, np.concatenate([a.frame for _, a in found])))
        if not self.densities:
            raise InputError("normal", f"the notes carry none of {', '.join(self.cues)}", "watch for objects")

    def _learn(self, cue: str, rows: np.ndarray, groups: np.ndarray) -> None:
        density: Mixture | Neighbours
        if cue == "velocity":
            density = Mixture(self.components, limit=self.limit, seed=self.seed).fit(rows)
        else:
            density = Neighbours(self.k, limit=self.limit, seed=self.seed).fit(rows, groups)
        self.densities[cue] = density
        self.scales[cue] = minmax(density.held_out(), 1.0 if cue == "deep" else self.percentile / 100)

    def _curve(self, notes: Notes) -> Curve:
        cues: dict[str, np.ndarray] = {}
        best: dict[int, Place] = {}
        for cue in (c for c in self.cues if c in self.densities):
            of = self._attribute(cue, notes)
            if of is None:
                log.info("%s: the notes of %s carry no %s, it is left out", self.NAME, notes.name, cue)
                continue
            raw = self.densities[cue].score(of.rows)
            cues[cue] = gaussian(self._framed(cue, of, raw, len(notes)), self.sigma)
            for place in self._places(cue, of, self.scales[cue](raw), notes.objects):
                if place.index not in best or place.score > best[place.index].score:
                    best[place.index] = place
        values = np.sum(list(cues.values()), axis=0) if cues else np.zeros(len(notes))
        return Curve(notes.name, notes.times, values, cues, tuple(best[i] for i in sorted(best)))

    def _framed(self, cue: str, of: Attribute, raw: np.ndarray, total: int) -> np.ndarray:
        """(total,) scaled: the highest score of each frame's objects, along straight lines where it was not looked at."""
        scale = self.scales[cue]
        empty = 0.0 if cue == "pose" else scale.offset
        at = np.flatnonzero(of.known)
        if not len(at):
            return np.zeros(total)
        framed = to_frames(of.frame, raw, total, how="max", fill=empty)
        return np.interp(np.arange(total), at, scale(framed[at]))

    @staticmethod
    def _places(cue: str, of: Attribute, scaled: np.ndarray, objects: Objects) -> Iterator[Place]:
        """The highest object of each frame."""
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

    # -- attributes ----------------------------------------------------------------------------------------------

    def _attribute(self, cue: str, notes: Notes) -> Attribute | None:
        """What ``cue`` looks at, None where the notes cannot tell."""
        if cue == "velocity":
            return self._velocity(notes)
        return self._pose(notes) if cue == "pose" else self._deep(notes)

    def _velocity(self, notes: Notes) -> Attribute | None:
        objects = notes.objects
        index = np.flatnonzero(np.isfinite(objects.velocity).all(1))
        rows = objects.velocity[index].astype(np.float64)
        if self.by_height and notes.size[0] > 0:
            tall = (objects.box[index, 3] - objects.box[index, 1]) / notes.size[0]
            rows[objects.person[index]] /= np.maximum(tall, 1e-3)[objects.person[index], None]
        empty = np.flatnonzero(_free(len(notes), objects.frame))
        empty = empty[empty > 0] if notes.has("motion") else empty[:0]
        if not len(index) and not len(empty):
            return None
        whole = [flow_histogram(notes.motion[i, :, :, 1:3]) for i in empty]
        rows = np.concatenate([rows, np.array(whole).reshape(len(empty), rows.shape[1])])
        if self.bins == 1:
            rows = rows.sum(1, keepdims=True)
        return _attribute(rows, objects.frame[index], index, empty, len(notes))

    def _pose(self, notes: Notes) -> Attribute | None:
        rows, index = normalised(notes.objects.pose)
        if not len(index) and not notes.has("people"):
            return None
        found = _attribute(rows, notes.objects.frame[index], index, np.zeros(0, np.int64), len(notes))
        found.known[notes.looked if len(notes.looked) else slice(None)] = True
        return found

    def _deep(self, notes: Notes) -> Attribute | None:
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
        return _attribute(rows, objects.frame[index], index, empty, len(notes))

    # -- keeping -------------------------------------------------------------------------------------------------

    def state(self) -> Arrays:
        out: Arrays = {}
        for cue, density in self.densities.items():
            out |= {f"{cue}.{name}": np.ascontiguousarray(v) for name, v in density.state().items()}
            out[f"{cue}.scale"] = np.array([self.scales[cue].offset, self.scales[cue].unit])
        return out

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.densities, self.scales = {}, {}
        for cue in self.cues:
            if f"{cue}.scale" not in arrays:
                continue
            own = {n.removeprefix(f"{cue}."): v for n, v in arrays.items() if n.startswith(f"{cue}.")}
            self.scales[cue] = Scale(*(float(v) for v in own.pop("scale")), "of normals")
            kept = Mixture.restored(own) if cue == "velocity" else Neighbours.restored(own, self.k)
            self.densities[cue] = kept


def _free(frames: int, taken: np.ndarray) -> np.ndarray:
    """(frames,) bool: frames without an object."""
    out = np.ones(frames, bool)
    out[taken] = False
    return out


def _attribute(
    rows: np.ndarray, frame: np.ndarray, index: np.ndarray, empty: np.ndarray, total: int
) -> Attribute:
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
    known = np.isfinite(points).all(2)
    index = np.flatnonzero(known.sum(1) >= KNOWN)
    points, known = points[index], known[index]
    if not len(index):
        return np.zeros((0, 2 * pose.shape[1])), index
    low = np.where(known[..., None], points, np.inf).min(1)
    high = np.where(known[..., None], points, -np.inf).max(1)
    side = np.maximum((high - low).max(1), 1e-9)
    moved = (points - ((low + high) / 2)[:, None]) / side[:, None, None]
    return np.where(known[..., None], moved, 0.0).reshape(len(index), -1), index
