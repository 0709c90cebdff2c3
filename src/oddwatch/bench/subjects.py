"""The gallery of a benchmark: captioned pictures, described once, and scored against sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from oddwatch.core import Box, Entry, Facts, Frame, Person, Progress, Query, Tokens, View
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


Looker = Callable[[Frame, Box | None], list[Entry]]
"""A picture, and the person meant (or None for all of it), to what a gallery keeps of everybody who may be meant:
facts, and what re-rankers look at (part tokens, a view, a thumbnail)."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Described pictures. ``entries`` (M) belong to the records ``owner`` (M,) int; a record's score is the
    best of its entries. ``evidence`` (M, A) float32 is what the coarse scan multiplies; ``p`` and ``known`` (M, A)
    are the facts stacked."""

    records: Sequence[Record]
    entries: Sequence[Entry]
    owner: np.ndarray
    evidence: np.ndarray
    p: np.ndarray
    known: np.ndarray
    seconds: float

    @property
    def facts(self) -> list[Facts]:
        """(M) the facts of the entries."""
        return [e.facts for e in self.entries if e.facts is not None]

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
    entries: list[Entry] = []
    owner: list[int] = []
    started = time.perf_counter()
    for i, record in enumerate(records):
        seen = look(frame(record), record.box)
        entries += seen
        owner += [i] * len(seen)
        if progress is not None:
            progress("describing pictures", i + 1, len(records))
    return gallery_of(records, entries, owner, evidence, time.perf_counter() - started)


def gallery_of(
    records: Sequence[Record],
    entries: Sequence[Entry],
    owner: Sequence[int],
    evidence: Callable[[Facts], np.ndarray],
    seconds: float = 0.0,
) -> Gallery:
    """The gallery of ``entries`` (all with facts), numbered in their order."""
    numbered = [replace(e, id=str(i)) for i, e in enumerate(entries)]
    facts = [e.facts for e in numbered if e.facts is not None]
    matrix = np.array([evidence(f) for f in facts], dtype=np.float32)
    p, known = np.array([f.p for f in facts]), np.array([f.known for f in facts])
    return Gallery(records, numbered, np.array(owner, dtype=np.int64), matrix, p, known, seconds)


def bare(facts: Facts) -> Entry:
    """An entry that has facts and nothing else."""
    return Entry("", "", "person", None, None, None, None, facts=facts)


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

        self._match, self._parse, self.encoder = match, sentence.parse, sentence_encoder

    def parse(self, text: str) -> Query:
        """Slots of a sentence."""
        return self._parse(text, self.encoder)

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

        stand_in: Any = Searchable(gallery)
        found = search(stand_in, text, top=1, kind="any", depth=depth, sentence_encoder=self.encoder)
        probability = found.hits[0].probability if found.hits else None
        return found.answer == "matches", probability or 0.0


class Searchable:
    """A described gallery with what ``search`` and its stages ask of a stored one."""

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

    def get_many(self, ids: Sequence[str], *, full: bool = True) -> list[Entry]:
        """The entries, whole in any case."""
        return [self._gallery.entries[int(i)] for i in ids]


def packaged_looker(models: Models) -> Looker:
    """The pose model and describer of ``models``. With a box the detector chooses nobody: the pose inside
    the box is fitted; without one, people are found first."""
    from oddwatch.describe.body import people_in_box
    from oddwatch.describe.features import crop, rows_of

    def look(picture: Frame, box: Box | None) -> list[Entry]:
        if box is not None:
            person, others = people_in_box(models.pose, picture, box)
            people, told = [person], [others]
        else:
            people = models.finder.find(picture)
            told = [[o for o in people if o is not p] for p in people]
        tokens = models.patches.encode([crop(picture, p) for p in people])
        seen = []
        for i, (person, others) in enumerate(zip(people, told, strict=True)):
            own = rows_of(tokens, i, i + 1)
            facts = models.describer.describe(picture, person, others=others, tokens=own)
            seen.append(_kept(picture, person, facts, own))
        if box is None:
            about = [e.facts for e in seen if e.facts is not None]
            moment = models.describer.describe_moment(picture, people, facts=about)
            seen.append(replace(bare(moment), kind="moment"))
        return seen

    return look


def _kept(picture: Frame, person: Person, facts: Facts, tokens: Tokens) -> Entry:
    """What a gallery keeps of a person in a picture."""
    import io

    from PIL import Image

    from oddwatch.pipeline.entries import part_tokens

    jpeg = io.BytesIO()
    Image.fromarray(picture.pixels).save(jpeg, "JPEG", quality=90)
    return replace(
        bare(facts),
        box=person.box,
        views=(View(None, None, person),),
        tokens=part_tokens(tokens)[0],
        thumbnail=jpeg.getvalue(),
    )
