"""Camera profile: what this camera has never seen, by movement, shape, place and look (ours; the default).

Idea. One camera sees few kinds of things again and again. For each of several cues (how tracked things move, where, how
abruptly, what shape they have, how people hold themselves, how the picture's cells flow, what things look like, what stays
and was not there before) the vectors of normal footage are remembered. A vector's surprise is −log₁₀ of the share of held-out
normal vectors that lie as far from the memory (see ``surprise``), so cues have one unit, decades of false alarms, and add up.
A frame's value is, summed over the cues, the largest surprise among its things or cells, smoothed in time. The largest cue
at the largest thing is the reason.

A sum of many quiet cues buries the one that speaks. So a cue that reaches, by itself, what held-out normal footage reaches
less than :data:`OFTEN` times an hour adds the decades by which it is rarer :data:`LOUD` times; how rare follows from the tail
of its values there (:meth:`CameraProfile.settle`). The order of all values below that does not change. The two numbers were
chosen on drawn streets that no figure is from.

Two deeds are told from knowledge and need no memory: that somebody lies, or climbs (:mod:`~oddwatch.detectors.video.deeds`).
Where people here do so all day, the tail of held-out footage keeps it from being loud.

Attribute-wise scoring with nearest neighbours follows AI-VAD (Reiss and Hoshen, TMLR, arXiv 2212.00789); conformal shares in
place of its min-max calibration, the choice of cues and the online memory are ours.

Needs notes of normal footage of the same camera, minutes of it; learns more with ``add`` without starting again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from scipy.ndimage import gaussian_filter1d

from oddwatch.core import Box, Curve, InputError, Place
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.cues import CUES, Seen, together
from oddwatch.detectors.video.deeds import DEEDS, deeds
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.paths import paths
from oddwatch.detectors.video.surprise import Memory
from oddwatch.scoring.alarms import Tail, seconds_of, tail

OFTEN = 3.0
LOUD = 10.0
ENOUGH = 300.0
"""Seconds of held-out footage below which it does not show how rare something is."""
NUMBERS = 2_000_000
"""Most numbers of one cue's memory: 20,000 places and speeds, 5,000 looks of people and things."""


@dataclass(kw_only=True, eq=False)
class CameraProfile(VideoDetector):
    """``cues`` of :data:`oddwatch.detectors.video.cues.CUES`, of which one that the normal footage has nothing of is left out,
    and of :data:`oddwatch.detectors.video.deeds.DEEDS`.
    ``neighbours`` and ``most``: nearest vectors and size of a memory (long vectors fewer, :data:`NUMBERS` in all). ``smooth``
    seconds (σ of a Gaussian). A place is told from a surprise of ``told`` on, ``places`` a frame at most."""

    NAME: ClassVar[str] = "camera-profile"
    READS: ClassVar[tuple[str, ...]] = ("motion", "objects", "people", "deep", "left")
    SETTLES: ClassVar[bool] = True

    cues: tuple[str, ...] = (*CUES, *DEEDS)
    neighbours: int = 5
    most: int = 20_000
    smooth: float = 0.5
    told: float = 2.0
    places: int = 3
    memories: dict[str, Memory] = field(default_factory=dict, init=False, repr=False)
    tails: dict[str, Tail] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        unknown = [c for c in self.cues if c not in CUES and c not in DEEDS]
        if unknown or not self.cues:
            raise InputError(f"cues {unknown}", "expected names of cues", f"of: {', '.join((*CUES, *DEEDS))}")
        if min(self.neighbours, self.places) < 1 or self.most < 4 or not self.smooth >= 0:
            raise InputError("neighbours, places, most, smooth", "expected 1, 1, 4 and 0 or more")

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        rng = np.random.default_rng(self.seed)
        looked = [self._seen(notes) for notes in normal]
        self.memories, self.tails = {}, {}
        for cue in self._remembered:
            rows = np.concatenate(
                [seen[cue].vectors for seen in looked if len(seen[cue].frame)] or [np.empty((0, 1))]
            )
            groups = np.concatenate([np.full(len(seen[cue].frame), i) for i, seen in enumerate(looked)])
            if len(rows) > 2 * self.neighbours:
                self.memories[cue] = Memory.of(
                    rows, groups, neighbours=self.neighbours, most=self._most(rows), rng=rng
                )
        if not self.memories:
            raise InputError(
                "normal", "shows nothing that moves or can be looked at", "give more footage, or other cues"
            )

    def add(self, normal: Sequence[Notes]) -> Self:
        """Learn more normal footage, without starting again. Raises InputError where it is not fitted."""
        if not self.fitted:
            raise InputError(self.NAME, "is not fitted", "call fit first")
        rng = np.random.default_rng(self.seed)
        for notes in normal:
            seen = self._seen(notes)
            for cue, memory in self.memories.items():
                self.memories[cue] = memory.joined(seen[cue].vectors, self._most(memory.bank), rng)
        return self

    def settle(self, held: Sequence[Curve]) -> list[Curve]:
        """Learn how rare each cue's large values are, as cautiously as so little footage asks for; a cue whose values there are
        all alike is taken at its word: a decade is a decade. From less than :data:`ENOUGH` seconds nothing is learnt."""
        self.tails = {}
        for cue in self.cues if seconds_of(held) >= ENOUGH else ():
            own = [Curve(c.name, c.times, c.cues[cue]) for c in held if cue in c.cues]
            if own:
                self.tails[cue] = tail(own).cautious()
        return [self._loud(curve) for curve in held]

    def _loud(self, curve: Curve) -> Curve:
        """With what cues add that are rare by themselves."""
        cues = dict(curve.cues)
        for cue, own in self.tails.items():
            cues[cue] = cues[cue] + LOUD * np.maximum(own.decades(cues[cue]) + np.log10(OFTEN), 0.0)
        return replace(curve, values=np.sum(list(cues.values()), axis=0), cues=cues)

    def _most(self, rows: np.ndarray) -> int:
        return max(4, min(self.most, NUMBERS // rows.shape[1]))

    def _seen(self, notes: Notes) -> dict[str, Seen]:
        found = paths(notes)
        return {cue: CUES[cue][0](notes, found) for cue in self._remembered}

    @property
    def _remembered(self) -> list[str]:
        return [cue for cue in self.cues if cue in CUES]

    def _surprises(self, notes: Notes) -> Iterator[tuple[str, Seen, np.ndarray]]:
        """Each cue, what it saw and the decades (K,) by which that is unusual."""
        found = paths(notes)
        for cue, memory in self.memories.items():
            seen = CUES[cue][0](notes, found)
            yield cue, seen, memory.surprise(seen.vectors) if len(seen.frame) else np.empty(0)
        if any(cue in DEEDS for cue in self.cues):
            seen, decades = deeds(notes)
            yield from ((cue, seen, decades[cue]) for cue in self.cues if cue in DEEDS)

    def _curve(self, notes: Notes) -> Curve:
        cues: dict[str, np.ndarray] = {}
        told: list[Place] = []
        for cue, seen, surprise in self._surprises(notes):
            raw = np.zeros(len(notes))
            np.maximum.at(raw, seen.frame, surprise)
            cues[cue] = gaussian_filter1d(
                self._held(raw, seen, notes), self.smooth * notes.fps, mode="nearest"
            )
            told += [
                Place(
                    int(seen.frame[k]),
                    cue,
                    float(surprise[k]),
                    self._box(seen, int(k), surprise, notes),
                    self._track(seen, int(k), notes),
                )
                for k in np.flatnonzero((surprise >= self.told) & (surprise >= raw[seen.frame]))
            ]
        values = np.sum(list(cues.values()), axis=0)
        return self._loud(Curve(notes.name, notes.times, values, cues, self._most_telling(told)))

    @staticmethod
    def _held(raw: np.ndarray, seen: Seen, notes: Notes) -> np.ndarray:
        """A cue of looked-at frames only keeps its value until the next look."""
        if not len(notes.looked) or not len(seen.frame) or not np.isin(seen.frame, notes.looked).all():
            return raw
        last = np.maximum.accumulate(
            np.where(np.isin(np.arange(len(raw)), notes.looked), np.arange(len(raw)), -1)
        )
        return np.where(last >= 0, raw[np.maximum(last, 0)], 0.0)

    def _box(self, seen: Seen, k: int, surprise: np.ndarray, notes: Notes) -> Box:
        """Where vector ``k`` was seen; of a cell, with the surprising cells around it."""
        if seen.row[k] >= 0 or seen.boxes is not None:
            return seen.box(k, notes)
        first, last = np.searchsorted(
            seen.frame, [seen.frame[k], seen.frame[k] + 1]
        )  # cells come in order of frames
        own = first + np.flatnonzero(surprise[first:last] >= self.told)
        around = set(together(int(seen.cell[k]), seen.cell[own], seen.grid).tolist())
        boxes = [seen.box(int(i), notes) for i in own if int(seen.cell[i]) in around]
        return Box(
            min(b.x0 for b in boxes),
            min(b.y0 for b in boxes),
            max(b.x1 for b in boxes),
            max(b.y1 for b in boxes),
        )

    @staticmethod
    def _track(seen: Seen, k: int, notes: Notes) -> int | None:
        track = int(notes.objects.track[seen.row[k]]) if seen.row[k] >= 0 else -1
        return track if track >= 0 else None

    def _most_telling(self, told: Sequence[Place]) -> tuple[Place, ...]:
        """The ``places`` most surprising of each frame, in order of frames."""
        ordered = sorted(told, key=lambda p: (p.index, -p.score))
        kept: list[Place] = []
        for place in ordered:
            if sum(p.index == place.index for p in kept[-self.places :]) < self.places:
                kept.append(place)
        return tuple(kept)

    # -- keeping -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """The memories, three arrays a cue, and the tails, one."""
        tails = {
            f"{cue}.tail": np.array([t.start, t.scale, t.per_hour, t.count]) for cue, t in self.tails.items()
        }
        return tails | {
            f"{cue}.{name}": np.ascontiguousarray(getattr(memory, name))
            for cue, memory in self.memories.items()
            for name in ("bank", "scale", "held")
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`state`."""
        self.memories = {
            cue: Memory(arrays[f"{cue}.bank"], arrays[f"{cue}.scale"], arrays[f"{cue}.held"], self.neighbours)
            for cue in self.cues
            if f"{cue}.bank" in arrays
        }
        self.tails = {}
        for cue in self.cues:
            if f"{cue}.tail" in arrays:
                start, scale, per_hour, count = (float(v) for v in arrays[f"{cue}.tail"])
                self.tails[cue] = Tail(start, scale, per_hour, int(count))
