"""What normal scores look like, from normal pictures alone: each is scored by a detector that never saw it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from oddwatch.core import Frame, InputError, Jsonable
from oddwatch.detectors.image.base import CHUNK, Chosen, ImageDetector
from oddwatch.report.heat import Scale
from oddwatch.scoring.normal import Threshold, normal_threshold, out_of_line

FEW = 16
"""Up to so many normals each is left out once; more are left out in parts."""
FOLDS, FOLDS_TRAINED = 5, 2
COPIES = 24
COPIES_FACTOR = 1.4
"""Copies are more alike than good parts are: their threshold is raised as SuperADD raises its own (1.3 to 1.5)."""
USUAL_PIXELS = 0.995
"""The share of normal pixels that lie below where a heatmap begins to show colour."""
_SAMPLE = 4096

Pictures = Sequence[Frame]
Step = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration(Jsonable):
    """Scores of normal pictures that the detector behind each had not seen.

    ``scores`` (n,); ``peaks`` (n,) the highest value of each map, empty for a method without maps; ``low`` the map value
    that 99.5 % of normal pixels stay below; ``how``: leave-one-out, folds, copies or batch; ``odd`` normal pictures that are
    far from the others; ``deviation`` what normal scores are expected to deviate by, where the method says so.
    """

    scores: np.ndarray
    peaks: np.ndarray
    low: float
    how: str
    notes: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    deviation: float | None = None

    @property
    def usual(self) -> float:
        """The median normal score."""
        return float(np.median(self.scores))

    def threshold(self, rate: float) -> Threshold:
        """The picture score that a share ``rate`` of normal pictures reaches."""
        return self._of(self.scores, rate, self.deviation)

    def without_odd(self, rate: float) -> Threshold:
        """The threshold if the odd normal pictures had not been given."""
        return self._of(self.scores[~out_of_line(self.scores)], rate, self.deviation)

    def scale(self, rate: float) -> Scale | None:
        """The heatmaps' scale: level 0.5 at the map value that a share ``rate`` of normal pictures reaches anywhere."""
        if not self.peaks.size:
            return None
        mark = self._of(self.peaks, rate).value
        return Scale(min(self.low, mark), mark)

    def _of(self, values: np.ndarray, rate: float, deviation: float | None = None) -> Threshold:
        found = normal_threshold(values, rate, deviation)
        if self.how != "copies" or found.value <= 0:
            return found
        note = f"of {values.size} altered copies of one normal picture, times {COPIES_FACTOR}"
        return Threshold(COPIES_FACTOR * found.value, "predicted", note)

    def joined(self, scores: np.ndarray, peaks: np.ndarray) -> Calibration:
        """With the scores of further normal pictures that the detector had not seen."""
        return replace(
            self,
            scores=np.concatenate([self.scores, scores]),
            peaks=np.concatenate([self.peaks, peaks]),
        )


@dataclass(frozen=True, slots=True)
class Check(Jsonable):
    """How many generated defects the threshold would catch: ``kinds`` name → (caught, drawn); ``found`` of those caught
    have the map's peak on the defect."""

    drawn: int
    caught: int
    found: int
    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def in_words(self) -> str:
        """One line for people."""
        missed = [f"{kind} {c}/{n}" for kind, (c, n) in sorted(self.kinds.items()) if c < n]
        tail = f"; not all of: {', '.join(missed)}" if missed else ""
        return f"of {self.drawn} defects drawn on normal pictures {self.caught} would be told, {self.found} in the right place{tail}"


@dataclass(slots=True)
class Drawn:
    """Scores of generated defects, before a threshold is chosen."""

    kinds: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)

    def against(self, threshold: float) -> Check:
        """What a threshold makes of them."""
        kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        caught = [score >= threshold for score in self.scores]
        for kind, one in zip(self.kinds, caught, strict=True):
            kinds[kind][0] += one
            kinds[kind][1] += 1
        found = sum(c and h for c, h in zip(caught, self.hits, strict=True))
        return Check(len(caught), sum(caught), found, {k: (c, n) for k, (c, n) in kinds.items()})


class Tally:
    """Scores, map peaks and a sample of map values, gathered chunk by chunk."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.peaks: list[float] = []
        self._pixels: list[np.ndarray] = []

    def add(self, values: np.ndarray, maps: np.ndarray | None) -> None:
        """Take in scores (B,) and maps (B, h, w)."""
        self.scores += values.tolist()
        for one in () if maps is None else maps:
            self.peaks.append(float(one.max()))
            self._pixels.append(one.ravel()[:: max(1, one.size // _SAMPLE)].astype(np.float32))

    def calibration(self, how: str, notes: Sequence[str] = (), odd: Sequence[str] = ()) -> Calibration:
        """What was gathered."""
        low = float(np.quantile(np.concatenate(self._pixels), USUAL_PIXELS)) if self._pixels else 0.0
        return Calibration(np.array(self.scores), np.array(self.peaks), low, how, tuple(notes), tuple(odd))


def calibrate(
    detector: ImageDetector,
    normal: Pictures,
    names: Sequence[str],
    contents: Sequence[str],
    *,
    folds: int | None = None,
    trained: bool = False,
    check: int = 0,
    seed: int = 0,
    step: Step | None = None,
) -> tuple[Calibration, Drawn]:
    """Fit ``detector`` to all of ``normal``, and score each by one that was fitted without it.

    Up to 16 pictures each is left out once, more in five parts (two, where a method is ``trained`` for long); ``folds``
    says otherwise. Pictures of equal ``contents`` count once: a copy left in would tell nothing about what is new. Of one
    single picture slightly moved, turned and lit copies are scored. ``check`` defects are drawn on pictures left out.

    Raises:
        InputError: no picture, or fewer than two folds.
    """
    if folds is not None and folds < 2:
        raise InputError("folds", f"expected 2 or more, got {folds}")
    step = step or (lambda done: None)
    kept, deviation = _distinct(contents), getattr(detector, "DEVIATION", None)
    notes = _about_copies(len(normal), len(kept))
    rng, drawn = np.random.default_rng(seed), Drawn()
    if len(kept) < 2:
        return _of_one(detector, Chosen(normal, kept), check, rng, drawn, notes, step)
    count = folds or (FOLDS_TRAINED if trained else len(kept) if len(kept) <= FEW else FOLDS)
    parts = [np.sort(p) for p in np.array_split(rng.permutation(len(kept)), min(count, len(kept)))]
    pictures, tally, order, done = Chosen(normal, kept), Tally(), list[int](), 0
    for part, apart in zip(parts, detector.fit_apart(pictures, parts), strict=True):
        for values, maps in _scored(apart, Chosen(pictures, part)):
            tally.add(values, maps)
            done += len(values)
            step(done)
        order += part.tolist()
        share = -(-check * done // len(kept)) - len(drawn.kinds)
        _draw(apart, Chosen(pictures, part), share, rng, drawn)
    odd = [names[int(kept[order[i]])] for i in np.flatnonzero(out_of_line(np.array(tally.scores)))]
    how = "leave-one-out" if len(parts) == len(kept) else f"{len(parts)} folds"
    return replace(tally.calibration(how, notes, odd), deviation=deviation), drawn


def _of_one(
    detector: ImageDetector,
    normal: Pictures,
    check: int,
    rng: np.random.Generator,
    drawn: Drawn,
    notes: list[str],
    step: Step,
) -> tuple[Calibration, Drawn]:
    detector.fit(normal)
    copies, tally = list(slight_copies(normal[0].pixels, COPIES, rng)), Tally()
    for values, maps in _scored(detector, copies):
        tally.add(values, maps)
    step(len(normal))
    _draw(detector, normal, check, rng, drawn)
    notes.append(
        f"one normal picture only: the threshold comes from {COPIES} slightly moved, turned and lit copies of it and "
        "cannot know how good parts differ; give more normal pictures"
    )
    return tally.calibration("copies", notes), drawn


def slight_copies(pixels: np.ndarray, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``n`` copies of a picture (H, W, 3) uint8 as a camera might take it again: turned up to 3°, moved up to 2 % of its
    sides, scaled and lit up to 5 % differently, with a little grain."""
    height, width = pixels.shape[:2]
    for _ in range(n):
        angle, size = rng.uniform(-3, 3), rng.uniform(0.97, 1.03)
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, size)
        matrix[:, 2] += rng.uniform(-0.02, 0.02, 2) * np.array([width, height])
        moved = cv2.warpAffine(
            pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        lit = moved * np.float32(rng.uniform(0.95, 1.05)) + rng.normal(0, 1.5, pixels.shape).astype(
            np.float32
        )
        yield np.clip(np.round(lit), 0, 255).astype(np.uint8)


def _scored(detector: ImageDetector, items: Sequence[Any]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for start in range(0, len(items), CHUNK):
        scores = detector.score(items[start : start + CHUNK])
        yield scores.values, scores.maps


def _draw(
    detector: ImageDetector, pictures: Pictures, n: int, rng: np.random.Generator, drawn: Drawn
) -> None:
    """Score ``n`` pictures with a defect each, and note whether the map's peak lies on it."""
    from oddwatch.datasets.defects import training_pairs

    if n < 1:
        return
    some = rng.choice(len(pictures), min(len(pictures), CHUNK), replace=False)
    for defect in training_pairs(rng, [pictures[int(i)].pixels for i in some], n, share=1.0):
        scores = detector.score([defect.pixels])
        drawn.kinds.append(defect.kind)
        drawn.scores.append(float(scores.values[0]))
        drawn.hits.append(scores.maps is not None and _on(scores.maps[0], defect.mask))


def _on(one: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the map's peak lies on the mask, or within 3 % of the picture's sides of it."""
    reach = 2 * max(1, round(0.03 * max(one.shape))) + 1
    small = cv2.resize(mask.astype(np.float32), one.shape[::-1], interpolation=cv2.INTER_AREA)
    wide = cv2.dilate((small > 0).astype(np.uint8), np.ones((reach, reach), np.uint8))
    return bool(wide.ravel()[int(one.argmax())])


def _distinct(contents: Sequence[str]) -> np.ndarray:
    """Indices of the first item of each content."""
    first: dict[str, int] = {}
    for i, content in enumerate(contents):
        first.setdefault(content, i)
    return np.array(sorted(first.values()), np.int64)


def _about_copies(given: int, kept: int) -> list[str]:
    if given == kept:
        return []
    return [f"{given - kept} of {given} normal pictures have the same pixels as another one and count once"]
