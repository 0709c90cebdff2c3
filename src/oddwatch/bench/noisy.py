"""Sentences that stand for pictures, and a witness who tells them with errors: the parts of the language simulation.

An item is a human sentence about one person; its twin is the same sentence with another, anomalous doing, as in the
pairs of PAB (arXiv 2411.17776). An item is asked for by the *other* human sentence about the same picture, with the
item's doing in words of the same meaning. The two sentences disagree as people do, so even a witness without errors
does not always confirm what is asked. ``oddwatch.bench.simulation`` runs it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from oddwatch.core import UNKNOWN, Facts, Hit, InputError, Query, Unknown
from oddwatch.datasets.records import Record
from oddwatch.describe.atoms import ATOMS, COLORS, INDEX, SCHEMA_ID, group_of, members
from oddwatch.describe.sentence import parse
from oddwatch.describe.witness import DOING, Blank, FactsWitness, Fill
from oddwatch.search.cloze import Cloze, Fusion, TableJudge, generate
from oddwatch.search.pairwise import Comparison

SURE, CERTAIN = 0.95, 0.99
"""Probability of a fact that the sentence tells, and of the doing, which is known by construction."""


@dataclass(frozen=True, slots=True)
class Doing:
    """Something a person does: its atom, and (-ing form, -s form) as items say it and as queries ask for it."""

    atom: str
    seen: tuple[str, str]
    asked: tuple[str, str]


PLAIN = (
    Doing("posture.walking", ("walking", "walks"), ("strolling", "strolls")),
    Doing("posture.standing", ("standing", "stands"), ("waiting", "waits")),
    Doing("posture.running", ("running", "runs"), ("jogging", "jogs")),
    Doing("posture.sitting", ("sitting", "sits"), ("perching", "perches")),
)
ANOMALOUS = (
    Doing("posture.falling", ("falling", "falls"), ("collapsing", "collapses")),
    Doing("posture.lying", ("lying", "lies"), ("sprawling", "sprawls")),
    Doing("posture.crouching", ("crouching", "crouches"), ("kneeling", "kneels")),
    Doing("posture.jumping", ("jumping", "jumps"), ("leaping", "leaps")),
    Doing("posture.climbing", ("climbing", "climbs"), ("clambering", "clambers")),
    Doing("action.fight", ("fighting", "fights"), ("brawling", "brawls")),
    Doing("action.flee", ("fleeing", "flees"), ("escaping", "escapes")),
    Doing("action.stumble", ("stumbling", "stumbles"), ("staggering", "staggers")),
    Doing("action.dance", ("dancing", "dances"), ("twirling", "twirls")),
    Doing("action.hide", ("hiding", "hides"), ("sneaking", "sneaks")),
)
_FORMS = {word: (doing, i) for doing in PLAIN for pair in (doing.seen, doing.asked) for i, word in enumerate(pair)}  # fmt: skip


@lru_cache(maxsize=20_000)
def cloze_of(text: str) -> Cloze:
    """``generate``, remembered: a query is asked many times here."""
    return generate(text)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A sentence that stands for a picture, and what it tells, as facts. Re-rankers get ``id`` only."""

    id: str
    person: str
    text: str
    doing: Doing
    facts: Facts


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Items, twins side by side, and the query of each item at the same place."""

    items: tuple[Item, ...]
    queries: tuple[str, ...]


def doing_of(text: str) -> Doing | None:
    """The plain doing (walking, standing, running, sitting) that a sentence tells first; None where it tells none."""
    words = (h.word.lower() for h in cloze_of(text).key if h.kind == "VERB")
    return next((_FORMS[w][0] for w in words if w in _FORMS), None)


def with_doing(text: str, doing: Doing, asked: bool = False) -> str:
    """``text`` with its plain doings replaced by ``doing``, or with a sentence that tells it at the beginning."""
    forms = doing.asked if asked else doing.seen
    places = [h for h in cloze_of(text).key if h.kind == "VERB" and h.word.lower() in _FORMS]
    for hidden in reversed(places):
        text = text[: hidden.start] + forms[_FORMS[hidden.word.lower()][1]] + text[hidden.end :]
    return text if places else f"A person is {forms[0]}. {text}"


def facts_of(text: str, doing: Doing) -> Facts:
    """What ``text`` tells: the atoms its slots name are true, the rest of their groups false, all else unknown."""
    p, known = np.full(len(ATOMS), 1 - SURE, dtype=np.float32), np.zeros(len(ATOMS), dtype=bool)
    for slot in parse(text).slots:
        for atom, weight in slot.atoms.items():
            if atom not in INDEX:
                continue
            known[members(group_of(atom))] = True
            if not slot.negated:
                p[INDEX[atom]] = max(float(p[INDEX[atom]]), SURE * min(weight, 1.0))
    known[[*members("posture"), INDEX[doing.atom]]] = True
    p[INDEX[doing.atom]] = CERTAIN
    return Facts(SCHEMA_ID, p, known)


def make_world(records: Sequence[Record], people: int = 500, seed: int = 0) -> World:
    """Twins of the first ``people`` people with a picture of which one sentence tells a plain doing.

    Every person gives two items (as written, and its anomalous twin) and two queries, from one picture.

    Raises:
        InputError: fewer such people than ``people``.
    """
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    queries: list[str] = []
    taken: set[str] = set()
    for record in records:
        if record.image_id in taken or len(taken) == people:
            continue
        for own, other in _two_sentences(record):
            plain = doing_of(own)
            if plain is None:
                continue
            taken.add(record.image_id)
            odd = ANOMALOUS[int(rng.integers(len(ANOMALOUS)))]
            for mark, doing in (("plain", plain), ("odd", odd)):
                text = own if doing is plain else with_doing(own, doing)
                name = f"{record.image_id}-{mark}"
                items.append(Item(name, record.image_id, text, doing, facts_of(text, doing)))
                queries.append(with_doing(other, doing, asked=True))
            break
    if people < 1 or len(taken) < people:
        raise InputError("people", f"{people} wanted, {len(taken)} have a sentence that tells a plain doing")
    return World(tuple(items), tuple(queries))


def _two_sentences(record: Record) -> list[tuple[str, str]]:
    found = [c.strip() for c in record.captions[:2] if c.strip()]
    return [(found[0], found[1]), (found[1], found[0])] if len(found) == 2 else []


def _draws(*parts: object) -> tuple[float, float, float]:
    """Three numbers in [0, 1) that depend on ``parts`` alone."""
    digest = hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=24).digest()
    a, b, c = (value / 2**64 for value in struct.unpack("<3Q", digest))
    return a, b, c


@dataclass(slots=True)
class NoisyWitness:
    """Says what an item's sentence tells, blank by blank, with errors.

    With probability ``error`` a blank gets UNKNOWN (a share ``unknown_share`` of the errors) or another word of its
    kind, all equally likely; of what the sentence does not tell the honest answer is UNKNOWN, and the error an
    invented word. Errors depend on (``seed``, item, masked sentence, blank) alone, so asking again gives the same
    answer and the errors of a lower rate are among those of a higher one.
    """

    error: float = 0.0
    unknown_share: float = 0.3
    seed: int = 0
    honest: dict[tuple[str, str], list[Fill]] = field(default_factory=dict)
    asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not (0 <= self.error <= 1 and 0 <= self.unknown_share <= 1):
            raise InputError("witness", f"expected rates in 0–1, got {self.error}, {self.unknown_share}")

    @property
    def id(self) -> str:
        """Names the witness and its rates."""
        return f"noisy-witness/1:{self.error:g}:{self.unknown_share:g}:{self.seed}"

    def fill(self, masked: str, blanks: Sequence[Blank], shown: Item) -> list[Fill]:
        """One word or UNKNOWN per blank."""
        return self.look(masked, blanks, shown)

    def look(
        self, masked: str, blanks: Sequence[Blank], shown: Item, salt: str = "", factor: float = 1.0
    ) -> list[Fill]:
        """A report of ``shown``: another ``salt`` is another look, whose error rate is ``factor`` times the usual."""
        self.asked += 1
        if (shown.id, masked) not in self.honest:
            self.honest[shown.id, masked] = FactsWitness().fill(masked, blanks, shown.facts)
        true = self.honest[shown.id, masked]
        rate = self.error * factor
        return [
            self._said(blank, word, rate, _draws(self.seed, shown.id, masked, blank.index, salt))
            if rate
            else word
            for blank, word in zip(blanks, true, strict=True)
        ]

    def _said(self, blank: Blank, true: Fill, rate: float, draws: tuple[float, float, float]) -> Fill:
        errs, silent, which = draws
        if errs >= rate:
            return true
        if silent < self.unknown_share:
            return UNKNOWN
        pool = COLORS if blank.kind == "COLOR" else tuple(dict.fromkeys(DOING.values()))
        others = [word for word in pool if word != true]
        return others[int(which * len(others))]


@dataclass(slots=True)
class ReportComparator:
    """Compares two items by what the witness reports of them, blank by blank.

    A blank speaks +1 for an item whose word agrees with the hidden one, −1 where it contradicts it, 0 where nothing
    can be said: saturated, so a blank in which both agree decides nothing. ``least`` is the weighted mean
    difference (0–1) below which it is a tie.

    ``factor`` 1 without ``fresh`` is the variant *separate*: the two reports are those that the cloze test reads, each
    made alone, so what differs from the cloze test is only how they are weighed up. A look at both at once is assumed
    to leave ``factor`` of the errors; with ``fresh`` each comparison is a new look with errors of its own, without it
    an item's errors last through all comparisons. Both are assumptions of the simulation, not findings.
    """

    witness: NoisyWitness
    items: dict[str, Item]
    fusion: Fusion = field(default_factory=Fusion)
    factor: float = 1.0
    fresh: bool = False
    least: float = 0.01
    judge: TableJudge = field(default_factory=TableJudge)
    kept: dict[tuple[str, str, str], list[Fill]] = field(default_factory=dict)
    id: str = "report-comparator/1"

    def compare(self, query: Query, a: Hit, b: Hit) -> Comparison:
        """Which of two items the reports fit better."""
        cloze = cloze_of(query.text)
        if not cloze.blanks:
            return Comparison("tie")
        pair = "|".join(sorted((a.id, b.id)))
        weight = [self.fusion.verb if w.kind == "VERB" else self.fusion.color for w in cloze.key]
        votes = [self._votes(cloze, self.items[hit.id], pair) for hit in (a, b)]
        gain = sum(w * (x - y) / 2 for w, x, y in zip(weight, *votes, strict=True)) / sum(weight)
        if abs(gain) < self.least:
            return Comparison("tie", abs(gain))
        return Comparison("a" if gain > 0 else "b", abs(gain))

    def _votes(self, cloze: Cloze, item: Item, pair: str) -> list[float]:
        salt = pair if self.fresh else ""
        key = (item.id, cloze.masked, salt)
        if key not in self.kept:
            self.kept[key] = self.witness.look(cloze.masked, cloze.blanks, item, salt, self.factor)
        return self._judged(cloze, self.kept[key])

    def _judged(self, cloze: Cloze, said: Sequence[Fill]) -> list[float]:
        votes = []
        for hidden, fill in zip(cloze.key, said, strict=True):
            agreement = self.judge(hidden.kind, hidden.word, fill)
            votes.append(0.0 if isinstance(fill, Unknown) else 1.0 if agreement >= 0.5 else -1.0)
        return votes
