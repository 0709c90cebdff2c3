"""AI-VAD: how unusual each object's speed, pose and look are, added up (Reiss and Hoshen, TMLR; arXiv 2212.00789).

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
carry (or poses where nobody was seen), whose curve is then the sum of fewer. A frame without objects counts as one object,
the whole frame: its movement is that of the motion cells, its vector the mean token of the layer that objects' vectors are
from, as far as these were noted. A frame that the pose model saw without finding a pose has pose score 0 (before scaling).
Frames that an attribute was not looked at on have values along straight lines between those it was. Objects without a flow,
a vector or a pose are not scored by it. Where all normals have equal scores the scale keeps their unit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from oddwatch.core import Curve, InputError
from oddwatch.detectors.video.attributes import CUES, Attribute, attribute, curve_of, gathered
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.density import LIMIT, Arrays, Mixture, Neighbours
from oddwatch.detectors.video.notes import Notes
from oddwatch.scoring.relate import Scale, minmax

log = logging.getLogger(__name__)


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
            found = gathered([self._attribute(cue, notes) for notes in normal])
            if found is None:
                log.warning("%s: the notes of normal clips carry no %s, it is left out", self.NAME, cue)
                continue
            self._learn(cue, *found)
        if not self.densities:
            raise InputError("normal", f"the notes carry none of {', '.join(self.cues)}", "watch for objects")

    def _attribute(self, cue: str, notes: Notes) -> Attribute | None:
        return attribute(cue, notes, bins=self.bins, by_height=self.by_height)

    def _learn(self, cue: str, rows: np.ndarray, groups: np.ndarray) -> None:
        density: Mixture | Neighbours
        if cue == "velocity":
            density = Mixture(self.components, limit=self.limit, seed=self.seed).fit(rows)
        else:
            density = Neighbours(self.k, limit=self.limit, seed=self.seed).fit(rows, groups)
        self.densities[cue] = density
        self.scales[cue] = minmax(density.held_out(), 1.0 if cue == "deep" else self.percentile / 100)

    def _curve(self, notes: Notes) -> Curve:
        scored = {}
        for cue, density in self.densities.items():
            if (of := self._attribute(cue, notes)) is None:
                log.info("%s: the notes of %s carry no %s, it is left out", self.NAME, notes.name, cue)
            else:
                scored[cue] = of, density.score(of.rows)
        return curve_of(notes, scored, self.scales, self.sigma)

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
            offset, unit = own.pop("scale")
            self.scales[cue] = Scale(float(offset), float(unit), "of training scores")
            kept = Mixture.restored(own) if cue == "velocity" else Neighbours.restored(own, self.k)
            self.densities[cue] = kept
