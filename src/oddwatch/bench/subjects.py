"""The gallery of a benchmark: captioned pictures, described once, and scored against sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from oddwatch.core import Box, Entry, Facts, Frame, Progress, Query
from oddwatch.datasets.records import Record, frame

if TYPE_CHECKING:
    from oddwatch.pipeline.models import Models


class Language(Protocol):
    """The sentence half of the search; ``describe`` offers it, tests bring a toy.

    ``scores`` (M,) are those of ``judge``, without its reasons; ``answer`` is whether a search says that its
    first hit matches, and that hit's probability.
    """

    def parse(self, text: str) -> Query: ...
    def weights(self, query: Query) -> np.ndarray: ...
    def judge(self, query: Query, facts: Facts) -> tuple[float, Any]: ...
    def scores(self, query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray: ...
    def answer(self, gallery: Gallery, text: str, depth: int) -> tuple[bool, float]: ...


Looker = Callable[[Frame, Box | None], list[Facts]]
"""A picture, and the person meant (or None for all of it), to the facts of everybody who may be meant."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Described pictures. ``facts`` (M) belong to the records ``owner`` (M,) int; a record's score is the
    best of its facts. ``evidence`` (M, A) float32 is what the coarse scan multiplies; ``p`` and ``known`` (M, A)
    are the facts stacked."""

    records: Sequence[Record]
    facts: Sequence[Facts]
    owner: np.ndarray
    evidence: np.ndarray
    p: np.ndarray
    known: np.ndarray
    seconds: float

    @property
    def ids(self) -> list[str]:
        """The id each picture answers to."""
        return [r.image_id for r in self.records]

    def best(self, scores: np.ndarray) -> np.ndarray:
        """(N,) the best of each record's scores (M,); −inf for a record nothing was seen in."""
        out = np.full(len(self.records), -np.inf)
        np.maximum.at(out, self.owner, scores)
        return out


def describe_all(
    records: Sequence[Record],
    look: Looker,
    evidence: Callable[[Facts], np.ndarray],
    progress: Progress | None = None,
) -> Gallery:
    """Describe every record: the person in its box, or, without a box, everybody and the whole picture."""
    facts: list[Facts] = []
    owner: list[int] = []
    started = time.perf_counter()
    for i, record in enumerate(records):
        seen = look(frame(record), record.box)
        facts += seen
        owner += [i] * len(seen)
        if progress is not None:
            progress("describing pictures", i + 1, len(records))
    seconds = time.perf_counter() - started
    matrix = np.array([evidence(f) for f in facts], dtype=np.float32)
    p, known = np.array([f.p for f in facts]), np.array([f.known for f in facts])
    return Gallery(records, facts, np.array(owner, dtype=np.int64), matrix, p, known, seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One query's scores over the records (N,): the coarse scan, the slot-by-slot verdict, and seconds."""

    query: Query
    coarse: np.ndarray
    facts: np.ndarray
    seconds: Mapping[str, float] = field(default_factory=dict)


def ask(
    gallery: Gallery, text: str, language: Language, depth: int = 200, strike: frozenset[str] = frozenset()
) -> Asked:
    """Score ``text`` against the gallery as ``search`` does: scan all, judge the best ``depth`` slot by slot.

    Records beyond ``depth`` stay behind the judged ones, in the order of the scan. Slots of the kinds in
    ``strike`` are left out of the query.
    """
    t0 = time.perf_counter()
    query = language.parse(text)
    if strike:
        query = replace(query, slots=tuple(s for s in query.slots if s.kind not in strike))
    coarse = gallery.evidence @ language.weights(query)
    t1 = time.perf_counter()
    near = np.argsort(-coarse, kind="stable")[:depth]
    judged = language.scores(query, gallery.p[near], gallery.known[near])
    floor = float(judged.min()) if judged.size else 0.0
    facts = floor - 1 - (float(coarse.max(initial=0)) - coarse.astype(np.float64))
    facts[near] = judged
    t2 = time.perf_counter()
    seconds = {"coarse": t1 - t0, "facts": t2 - t0}
    return Asked(query, gallery.best(coarse.astype(np.float64)), gallery.best(facts), seconds)


class Described:
    """The packaged language: parser, weights, verdicts and probability of ``describe``."""

    def __init__(self, sentence_encoder: Any | None = None) -> None:
        from oddwatch.describe import match, sentence

        self._match, self._parse, self._encoder = match, sentence.parse, sentence_encoder

    def parse(self, text: str) -> Query:
        """Slots of a sentence."""
        return self._parse(text, self._encoder)

    def weights(self, query: Query) -> np.ndarray:
        """(A,) float32."""
        return np.asarray(self._match.weights(query), dtype=np.float32)

    def judge(self, query: Query, facts: Facts) -> tuple[float, Any]:
        """Score and reason."""
        score, reason = self._match.judge(query, facts)
        return float(score), reason

    def scores(self, query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(M,) slot-wise scores of facts ``p``, ``known`` (M, A)."""
        return np.asarray(self._match.scores(query, p, known), dtype=np.float64)

    def answer(self, gallery: Gallery, text: str, depth: int) -> tuple[bool, float]:
        """What ``search`` itself answers, asked for the first hit of any kind."""
        from oddwatch.search.engine import search

        stand_in: Any = _Searchable(gallery)
        found = search(stand_in, text, top=1, kind="any", depth=depth, sentence_encoder=self._encoder)
        probability = found.hits[0].probability if found.hits else None
        return found.answer == "matches", probability or 0.0


class _Searchable:
    """A described gallery with what ``search`` asks of a stored one."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def search(self, space: str, vector: np.ndarray, k: int, where: object) -> tuple[list[str], np.ndarray]:
        """The best ``k`` by the coarse scan."""
        scores = self._gallery.evidence @ vector
        best = np.argsort(-scores, kind="stable")[:k]
        return [str(i) for i in best], scores[best]

    def facts_of(self, ids: Sequence[str], schema: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Stacked facts of entries."""
        at = [int(i) for i in ids]
        return list(ids), self._gallery.p[at], self._gallery.known[at]

    def get_many(self, ids: Sequence[str]) -> list[Entry]:
        """Entries that hold their facts and nothing else."""
        return [
            Entry(i, "", "person", None, None, None, None, facts=self._gallery.facts[int(i)]) for i in ids
        ]


def packaged_looker(models: Models) -> Looker:
    """The pose model and describer of ``models``. With a box the detector chooses nobody: the pose inside
    the box is fitted; without one, people are found first."""
    from oddwatch.describe.body import people_in_box
    from oddwatch.describe.features import crop, rows_of

    def look(picture: Frame, box: Box | None) -> list[Facts]:
        if box is not None:
            person, others = people_in_box(models.pose, picture, box)
            return [models.describer.describe(picture, person, others=others)]
        people = models.finder.find(picture)
        tokens = models.patches.encode([crop(picture, p) for p in people])
        seen = [
            models.describer.describe(
                picture, p, others=[o for o in people if o is not p], tokens=rows_of(tokens, i, i + 1)
            )
            for i, p in enumerate(people)
        ]
        return [*seen, models.describer.describe_moment(picture, people, facts=seen)]

    return look
