"""What is known of a clip: who was there when and where, what each did in which stretch of time, the findings.

A record is made from what was seen once (tracks, facts, findings, a detector's curve) and answers questions without the
footage. What was not looked for is not in it, and what is not in it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.core import UNKNOWN, Box, Curve, Facts, Finding, InputError, Jsonable, Motion, Span, Unknown

if TYPE_CHECKING:
    from oddwatch.core import Track


STILL = Motion()


@dataclass(frozen=True, slots=True, eq=False)
class Steps(Jsonable):
    """One person at each look: ``times`` (T,) s ascending, ``boxes`` (T, 4) pixels of the upright frame, ``poses``
    (T, 17, 3) keypoints where there are any."""

    times: np.ndarray
    boxes: np.ndarray
    poses: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.times)
        if not n or self.boxes.shape != (n, 4) or (self.poses is not None and self.poses.shape != (n, 17, 3)):
            found = f"{self.times.shape}, {self.boxes.shape}"
            raise InputError("steps", f"expected (T,) times, (T, 4) boxes and (T, 17, 3) poses, got {found}")
        if (np.diff(self.times) < 0).any() or not np.isfinite(self.boxes).all():
            raise InputError("steps", "expected ascending times and finite boxes")

    def box(self, time: float) -> Box:
        """The box at the look nearest to ``time``."""
        return Box(*(float(v) for v in self.boxes[int(np.abs(self.times - time).argmin())]))

    @property
    def body(self) -> float:
        """Body height in pixels: the median longer side, so that a lying person has one."""
        sides = np.maximum(self.boxes[:, 2] - self.boxes[:, 0], self.boxes[:, 3] - self.boxes[:, 1])
        return max(float(np.median(sides)), 1.0)

    @property
    def centres(self) -> np.ndarray:
        """(T, 2) centres of the boxes, pixels."""
        middle: np.ndarray = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return middle


@dataclass(frozen=True, slots=True)
class Spell(Jsonable):
    """A stretch in which somebody did one thing: an ``atom`` of posture, action or motion, with probability ``p``;
    ``time`` and ``box`` of the look that shows it."""

    atom: str
    span: Span
    p: float
    time: float
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class Somebody(Jsonable):
    """One person: the track's number, every look, pooled facts, motion, and what was done when."""

    track: int
    steps: Steps
    facts: Facts
    motion: Motion = STILL
    spells: tuple[Spell, ...] = ()

    @property
    def span(self) -> Span:
        """From the first look to the last."""
        return Span(float(self.steps.times[0]), float(self.steps.times[-1]))

    def doing(self, within: Span) -> tuple[Spell, ...]:
        """The spells that share time with ``within``."""
        return tuple(s for s in self.spells if s.span.start <= within.end and within.start <= s.span.end)


@dataclass(frozen=True, slots=True)
class Proof(Jsonable):
    """Where an answer can be seen: time in seconds, the box, the person's track, what is seen there, how sure."""

    time: float
    says: str
    box: Box | None = None
    track: int | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Statement(Jsonable):
    """One thing said about a clip, or UNKNOWN.

    ``value`` is the bare answer (a word, number, list of numbers or boolean) or UNKNOWN; ``text`` says it in words, or why it
    is unknown. ``proof`` is where it can be seen, ``by`` who says so (facts, model), ``note`` what speaks against it.
    """

    text: str
    value: Any = UNKNOWN
    proof: tuple[Proof, ...] = ()
    probability: float | None = None
    by: str = "facts"
    note: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an answer."""
        return not isinstance(self.value, Unknown)


def unknown(why: str, by: str = "facts", note: str = "") -> Statement:
    """No answer, and why."""
    return Statement(why, UNKNOWN, by=by, note=note)


@dataclass(frozen=True, slots=True, eq=False)
class Record(Jsonable):
    """What is known of a clip.

    ``span`` was looked at, in frames of ``size`` (width, height) pixels. ``scene`` are the facts of the whole picture.
    ``times`` (N,) and ``counts`` (N,) say how many people were seen at each look; ``findings`` and ``curve`` are a
    detector's, where one ran.
    """

    source: str
    span: Span
    size: tuple[int, int]
    people: tuple[Somebody, ...] = ()
    scene: Facts | None = None
    times: np.ndarray = field(default_factory=lambda: np.empty(0))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    findings: tuple[Finding, ...] = ()
    curve: Curve | None = None

    def __post_init__(self) -> None:
        if self.times.shape != self.counts.shape:
            raise InputError("record", f"expected a count for each time, got {self.counts.shape}")

    def person(self, track: int) -> Somebody:
        """The person of a track. Raises InputError where there is none."""
        found = next((p for p in self.people if p.track == track), None)
        if found is None:
            raise InputError(f"track {track}", "is not in the record")
        return found

    def count(self, time: float) -> int | None:
        """People seen at the look nearest to ``time``; None outside what was looked at."""
        if not len(self.times) or not self.span.start - 0.5 <= time <= self.span.end + 0.5:
            return None
        return int(self.counts[int(np.abs(self.times - time).argmin())])


def make(
    source: str,
    span: Span,
    size: tuple[int, int],
    steps: Mapping[int, Steps],
    facts: Mapping[int, Facts],
    *,
    motions: Mapping[int, Motion] | None = None,
    spells: Mapping[int, Sequence[Spell]] | None = None,
    scene: Facts | None = None,
    times: Sequence[float] | None = None,
    findings: Sequence[Finding] = (),
    curve: Curve | None = None,
) -> Record:
    """A record from what was seen: people by track number. ``times`` are those of all looks, with somebody or not.

    Spells not given are read from the steps (:mod:`oddwatch.understand.spells`). Raises InputError where a person has
    steps but no facts.
    """
    from oddwatch.understand.spells import spells_of

    missing = sorted(set(steps) - set(facts))
    if missing:
        raise InputError("facts", f"expected those of every track, missing {missing}")
    told = spells if spells is not None else spells_of(steps)
    people = tuple(
        Somebody(t, steps[t], facts[t], (motions or {}).get(t, STILL), tuple(told.get(t, ())))
        for t in sorted(steps)
    )
    seen = [float(t) for s in steps.values() for t in s.times]
    every = np.array(sorted(set(seen if times is None else times)), np.float64)
    counts = np.array([sum(bool((s.times == t).any()) for s in steps.values()) for t in every], np.int64)
    return Record(source, span, size, people, scene, every, counts, tuple(findings), curve)


def steps_of(track: Track) -> Steps:
    """The steps of a track from its best views alone, for where nothing else was kept."""
    views = sorted((v for v in track.views if v.time is not None), key=lambda v: v.time or 0.0)
    if not views:
        raise InputError(f"track {track.id}", "has no view with a time")
    poses: Any = None
    if all(v.person.pose is not None for v in views):
        poses = np.stack([v.person.pose.points for v in views if v.person.pose is not None])
    boxes = np.array([v.person.box.as_list() for v in views], np.float64)
    return Steps(np.array([v.time for v in views], np.float64), boxes, poses)
