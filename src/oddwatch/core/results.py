"""What is asked and what is answered: facts, queries, entries, hits, scores, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box, Region, Span
from oddwatch.core.jsonable import Jsonable
from oddwatch.core.media import Motion, View

EntryKind = Literal["person", "moment"]


def _probability(owner: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise InputError(owner, f"expected a probability between 0 and 1, got {value}")


@dataclass(frozen=True, slots=True, eq=False)
class Facts(Jsonable):
    """What is held to be true of one person or moment.

    ``p`` (A,) float32 calibrated probabilities, ``known`` (A,) bool whether the fact could be seen at
    all; both in the order of the atom table ``schema``. ``boxes`` maps an atom to the box (frame
    pixels) that produced it, ``views`` to the number of the view it was seen best in (0, the first, if absent).
    """

    schema: str
    p: np.ndarray
    known: np.ndarray
    boxes: Mapping[str, Box] = field(default_factory=dict)
    views: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.p.ndim != 1 or self.p.shape != self.known.shape:
            raise InputError("facts", f"expected equal (A,) arrays, got {self.p.shape}, {self.known.shape}")
        if self.p.size and not (np.isfinite(self.p).all() and self.p.min() >= 0 and self.p.max() <= 1):
            raise InputError("facts", "expected probabilities between 0 and 1")


@dataclass(frozen=True, slots=True)
class Slot(Jsonable):
    """One thing a sentence says.

    ``words`` as written; ``kind`` one of color, garment, posture, action, object, accessory, count,
    company, place, light, motion, facing, person, hair, other; ``atoms`` maps atom names to weights in
    (0, 1] (alternatives: any of them satisfies the slot); ``negated`` for "without", "not", "no";
    ``about`` what it is bound to (upper, lower, feet, head, body, scene); ``start``/``end`` characters
    in the sentence. A slot without atoms is one nothing here can see.
    """

    words: str
    kind: str
    atoms: Mapping[str, float] = field(default_factory=dict)
    negated: bool = False
    about: str = "body"
    start: int = 0
    end: int = 0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query(Jsonable):
    """A parsed sentence: its slots, what kind of entry it asks for, and words nobody could read."""

    text: str
    slots: tuple[Slot, ...] = ()
    target: EntryKind = "person"
    unread: tuple[str, ...] = ()
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Evidence(Jsonable):
    """One slot held against one entry: verdict matched / contradicted / unknown, the deciding atom, its
    probability, and the box (frame pixels) that produced it."""

    words: str
    verdict: Literal["matched", "contradicted", "unknown"]
    atom: str | None = None
    probability: float | None = None
    box: Box | None = None
    stage: str = "facts"


@dataclass(frozen=True, slots=True)
class Reason(Jsonable):
    """Why an entry is where it is: the query's words by verdict, and the evidence behind each."""

    matched: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Entry(Jsonable):
    """What a gallery remembers of one person or moment.

    ``id`` is stable: the same media indexed again gives the same id. ``time``/``frame``/``box`` are the
    best view; ``wall_time`` is when that was filmed, where known. ``vectors`` maps a space to a float
    vector; ``tokens`` are pooled int8 part tokens for re-ranking; ``thumbnail`` a JPEG of the best view.
    """

    id: str
    source: str
    kind: EntryKind
    span: Span | None
    time: float | None
    frame: int | None
    box: Box | None
    score: float = 1.0
    camera: str | None = None
    wall_time: datetime | None = None
    label: str | None = None
    views: tuple[View, ...] = ()
    motion: Motion | None = None
    facts: Facts | None = None
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    tokens: np.ndarray | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Hit(Jsonable):
    """An answer to a search: what, where, when, how sure, every stage's own score, and why."""

    rank: int
    id: str
    source: str
    kind: EntryKind
    score: float
    camera: str | None = None
    time: float | None = None
    start: float | None = None
    end: float | None = None
    frame: int | None = None
    box: Box | None = None
    wall_time: datetime | None = None
    probability: float | None = None
    match: bool = False
    stages: Mapping[str, float] = field(default_factory=dict)
    reason: Reason = Reason()

    def __post_init__(self) -> None:
        _probability(f"hit {self.id}", self.probability)
        if self.rank < 1:
            raise InputError(f"hit {self.id}", f"expected a rank of 1 or more, got {self.rank}")

    def to_json(self) -> dict[str, Any]:
        """As :class:`Jsonable`, with the box as ``[x0, y0, x1, y1]``."""
        data = Jsonable.to_json(self)
        data["box"] = self.box.as_list() if self.box else None
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hit:
        """The inverse of :meth:`to_json`."""
        box = data.get("box") if isinstance(data, Mapping) else None
        if box is None:
            return super(Hit, cls).from_json(data)
        if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != 4:
            raise InputError("Hit.box", f"expected [x0, y0, x1, y1], got {box!r}")
        corners = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
        return super(Hit, cls).from_json({**data, "box": corners})


@dataclass(frozen=True, slots=True, eq=False)
class Scores(Jsonable):
    """A detector's output: ``values`` (N,) float64, higher = more anomalous, and optional ``maps``."""

    values: np.ndarray
    maps: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1:
            raise InputError("scores", f"expected one number per item, got shape {self.values.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Finding(Jsonable):
    """A decision: where or when, how strong, how sure, and what / why / how."""

    id: str
    task: str
    source: str
    score: float
    box: Box | None = None
    span: Span | None = None
    probability: float | None = None
    severity: float | None = None
    reason: str = ""
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        _probability(f"finding {self.id}", self.probability)
