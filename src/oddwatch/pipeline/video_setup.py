"""A video detector ready to judge: what it needs noted, fitted to normal footage, its threshold from held-out parts of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from oddwatch.core import Curve, InputError, Progress, require, resolve
from oddwatch.detectors import CARDS, DEFAULT, DETECTORS
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.watching import WANTED, Captioner, Clip, WatchSettings, watch
from oddwatch.pipeline.models import Models
from oddwatch.scoring.alarms import alarm_threshold, block_maxima, seconds_of
from oddwatch.scoring.normal import Threshold

PIECE = 20.0
"""Seconds of a piece of footage that is learnt or left out as a whole."""
SHORTEST = 2.0
FOLDS = 4
NOBODY = (
    "nobody said what is normal: every part is judged by the others, and most of it is taken to be normal"
)
MOSTLY = "nobody said what is normal: the threshold assumes that most of this footage is"


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """How to detect in video. ``method`` a row of the detectors, ``arguments`` those of its class. ``false_alarms`` an
    hour of normal footage, or a ``threshold`` in the curve's unit. A finding lasts at least ``minimum`` seconds; two less
    than ``merge`` seconds apart are one. ``looks`` a second the models get; ``resolution`` of the backbone's input.
    ``threads`` of a model, halved where two look at once; None takes all cores."""

    method: str = DEFAULT["video"]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    false_alarms: float = 1.0
    threshold: float | None = None
    minimum: float = 0.4
    merge: float = 2.0
    looks: float = 2.0
    resolution: int = 224
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.false_alarms) and self.false_alarms > 0):
            raise InputError(
                "false alarms", f"expected more than 0 an hour, got {self.false_alarms}", "like 1 or 0.1"
            )
        if self.threshold is not None and not np.isfinite(self.threshold):
            raise InputError("threshold", f"expected a finite number, got {self.threshold}")
        if self.minimum < 0 or self.merge < 0 or not self.looks > 0:
            raise InputError("video", "expected minimum and merge of 0 s or more, and looks above 0")


def build(options: VideoOptions) -> VideoDetector:
    """The detector that ``options`` ask for, not fitted.

    Raises:
        InputError: an unknown method, or an argument it does not have.
        MissingExtra: the method needs a package that is not installed.
    """
    if options.method in DETECTORS and CARDS[options.method].modality != "video":
        raise InputError(
            f"method {options.method!r}", "judges pictures, not video", "see `oddwatch methods --task video`"
        )
    kind = resolve(DETECTORS, options.method, "method")
    if "extra torch" in CARDS[options.method].needs:
        require("torch", for_=f"the method {options.method}", extra="torch")
    known = {f.name for f in fields(kind) if f.init} - {"seed"}
    for name in options.arguments:
        if name not in known:
            raise InputError(
                f"option {name!r}", f"not known to {options.method}", f"one of: {', '.join(sorted(known))}"
            )
    try:
        detector: VideoDetector = kind(seed=options.seed, **options.arguments)
    except TypeError as error:
        raise InputError(f"method {options.method}", f"cannot be built: {error}") from error
    return detector


def _shared(threads: int | None, wanted: Set[str]) -> int:
    """The threads of each model: where two of them look at once, half of what there is."""
    whole = threads or os.cpu_count() or 1
    return max(1, whole // 2) if "people" in wanted and {"tokens", "deep"} & wanted else whole


class Eye:
    """Watches clips for one detector: notes what it reads, with the embedded models."""

    def __init__(
        self,
        reads: Sequence[str],
        options: VideoOptions,
        models: Models | None = None,
        captioner: Captioner | None = None,
    ) -> None:
        wanted = {"tokens" if r == "cls" else r for r in reads}
        self.models = models or Models(options.device, _shared(options.threads, wanted))
        if "captions" in wanted:
            wanted |= {"people"}  # whom a sentence speaks of
            captioner = captioner or self._describer()
        self.captioner = captioner
        self.settings = WatchSettings(want=tuple(w for w in WANTED if w in wanted), looks=options.looks)
        self._resolution = options.resolution

    def _describer(self) -> Captioner:
        from oddwatch.detectors.video.captions import DescriberCaptioner

        return DescriberCaptioner(self.models.describer)

    def parts(self) -> dict[str, Any]:
        """The models as :func:`oddwatch.detectors.video.watching.watch` takes them, only those that are needed."""
        want = self.settings.want
        return {
            "eyes": self._eyes() if {"tokens", "deep"} & set(want) else None,
            "finder": self.models.finder if "people" in want else None,
            "captioner": self.captioner if "captions" in want else None,
        }

    def _eyes(self) -> Any:
        if self._resolution == 224:
            return self.models.patches
        from oddwatch.encoders.vit import PatchEncoder

        return PatchEncoder(self._resolution, threads=self.models.threads, device=self.models.device)

    def watch(self, clip: Clip, progress: Progress | None = None) -> Notes:
        """The notes of one clip."""
        return watch(clip, self.settings, **self.parts(), progress=progress)


def pieces(notes: Notes, alone: bool = True) -> list[Notes]:
    """``notes`` cut into stretches of about :data:`PIECE` seconds; a clip that is ``alone`` and too short for one a fold into
    shorter ones, of :data:`SHORTEST` seconds or more."""
    if not len(notes):
        return []
    length = float(notes.times[-1] - notes.times[0])
    count = max(1, round(length / PIECE), min(FOLDS, int(length / SHORTEST)) if alone else 1)
    edges = np.searchsorted(notes.times, notes.times[0] + np.arange(1, count) * length / count)
    cuts = [0, *edges.tolist(), len(notes)]
    return [notes.part(a, b) for a, b in pairwise(cuts) if b > a]


@dataclass
class Ready:
    """A fitted detector with the curves of normal footage that it had not learnt (none where nobody said what is normal),
    and notes for the user."""

    detector: VideoDetector
    method: str
    normal: list[Curve] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def threshold(self, options: VideoOptions) -> Threshold | None:
        """By the false alarms borne, or as given; None where there is no normal footage to tell."""
        if options.threshold is not None:
            return Threshold(options.threshold, "given", "as given")
        return alarm_threshold(self.normal, options.false_alarms) if self.normal else None

    @property
    def normal_seconds(self) -> float:
        return seconds_of(self.normal)


def prepare(normal: Sequence[Notes], options: VideoOptions, progress: Progress | None = None) -> Ready:
    """Fit to all of ``normal``, and keep the curves that each part gets from a detector fitted to the others.

    Raises:
        InputError: the method learns from labels, or there is too little footage to learn from.
    """
    detector = build(options)
    ready = Ready(detector, options.method)
    needs_no_labels(detector)
    few = sum(len(notes) > 0 for notes in normal) < FOLDS
    by_clip = [pieces(notes, alone=few) for notes in normal]
    cut = [piece for own in by_clip for piece in own]
    if not detector.NEEDS_NORMALS:
        ready.normal = [detector.curve(notes) for notes in normal]
        return ready
    if not cut:
        raise InputError("normal", "expected at least one clip of normal footage", "give --normal")
    detector.fit(cut)
    folds = _folds([len(own) for own in by_clip])
    for done, fold in enumerate(folds):
        if progress is not None:
            progress("holding out normal footage", done, len(folds))
        rest = [p for i, p in enumerate(cut) if i not in fold]
        ready.normal += _held_out(build(options), rest, [cut[i] for i in sorted(fold)])
    if len(folds) < 2:
        ready.remarks.append(
            "there is one short piece of normal footage: it was judged by itself, the threshold may be too low"
        )
        ready.normal = [detector.curve(p) for p in cut]
    else:
        ready.normal = detector.settle(ready.normal)
    return ready


def needs_no_labels(detector: VideoDetector) -> None:
    """Raises InputError where a method cannot learn without labels: normal footage has none."""
    if detector.LABELS and detector.NEEDS_NORMALS:
        raise InputError(
            f"method {detector.NAME}",
            "learns from clips with labels",
            "train it first: oddwatch train video, then --detector",
        )


def _held_out(detector: VideoDetector, rest: Sequence[Notes], held: Sequence[Notes]) -> list[Curve]:
    return [detector.fit(rest).curve(held[0]), *(detector.curve(p) for p in held[1:])]


def _folds(counts: Sequence[int]) -> list[set[int]]:
    """Up to :data:`FOLDS` sets of pieces to leave out: of whole clips where there are several, else runs of neighbouring
    pieces, which share what they show."""
    counts = [count for count in counts if count]
    total = sum(counts)
    clip = np.repeat(np.arange(len(counts)), counts)
    if len(counts) >= 2:
        k = min(FOLDS, len(counts))
        return [set(np.flatnonzero(clip % k == f).tolist()) for f in range(k)]
    k = min(FOLDS, total)
    return [set(part.tolist()) for part in np.array_split(np.arange(total), k)] if k > 1 else []


def among_themselves(notes: Notes, others: Sequence[Notes], options: VideoOptions) -> Curve:
    """The curve of a clip whose every fourth part is judged by a detector fitted to the rest, and to ``others``.

    Raises:
        InputError: there is too little footage to judge a part by the rest.
    """
    cut, more = pieces(notes), [p for o in others for p in pieces(o)]
    if len(cut) + len(more) < 2:
        raise InputError(
            notes.name,
            f"lasts {notes.times[-1] - notes.times[0]:.0f} s, too short to judge a part by the rest",
            "give --normal",
        )
    folds = _folds([len(cut)]) or [{0}]
    found: dict[int, Curve] = {}
    for fold in folds:
        held = sorted(fold)
        rest = more + [p for i, p in enumerate(cut) if i not in fold]
        found |= dict(zip(held, _held_out(build(options), rest, [cut[i] for i in held]), strict=True))
    return joined([found[i] for i in range(len(cut))])


def joined(curves: Sequence[Curve]) -> Curve:
    """Curves of consecutive parts of one clip as one."""
    starts = np.cumsum([0, *(len(c.times) for c in curves)])[:-1].tolist()
    cues = sorted({cue for c in curves for cue in c.cues})
    return Curve(
        curves[0].name,
        np.concatenate([c.times for c in curves]),
        np.concatenate([c.values for c in curves]),
        {cue: np.concatenate([c.cues.get(cue, np.zeros(len(c.times))) for c in curves]) for cue in cues},
        tuple(replace(p, index=p.index + s) for c, s in zip(curves, starts, strict=True) for p in c.places),
    )


def assumed(curves: Sequence[Curve]) -> Threshold:
    """A threshold where nobody said what is normal: what few blocks of mostly normal footage would reach."""
    tops = block_maxima(curves)
    middle = float(np.median(tops))
    spread = 1.4826 * float(np.median(np.abs(tops - middle)))
    return Threshold(float(np.nextafter(middle + 3.5 * max(spread, 1e-9), np.inf)), "assumed", MOSTLY)
