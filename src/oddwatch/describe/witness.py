"""The embedded witness: fills the blanks of a masked sentence from facts alone, with no language model.

It is shown the sentence without the hidden words, so it can only say what the facts say. Which garment a
colour blank belongs to and what kind of doing a verb blank asks for is read from the words around the blank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

from oddwatch.core import UNKNOWN, Facts, Query, Slot, Unknown
from oddwatch.describe.atoms import GROUPS, INDEX, SCHEMA_ID, group_of
from oddwatch.describe.lexicon import PERSON_CLASSES
from oddwatch.describe.sentence import LONGEST, parse
from oddwatch.describe.sentence.phrases import noun_phrase
from oddwatch.describe.sentence.words import Unit, units

BlankKind = Literal["VERB", "COLOR"]
Fill = str | Unknown


@dataclass(frozen=True, slots=True)
class Blank:
    """A place to fill: its kind, its number in reading order, and the characters of its sign (``<VERB>``) in
    the masked sentence. What was there before is not in it."""

    kind: BlankKind
    index: int
    start: int
    end: int


class Witness(Protocol):
    """Looks at one picture (or what is known of it) and fills the blanks: one word or UNKNOWN for each, in
    order. ``id`` names the witness and its version: answers of equal ids may be cached together."""

    @property
    def id(self) -> str: ...
    def fill(self, masked: str, blanks: Sequence[Blank], shown: Any) -> Sequence[Fill]: ...


DOING: Mapping[str, str] = {f"posture.{value}": value for value in GROUPS["posture"]} | {
    "action.fight": "fighting",
    "action.flee": "fleeing",
    "action.loiter": "loitering",
    "action.wave": "waving",
    "action.talk": "talking",
    "action.look_down": "looking",
    "action.stumble": "stumbling",
    "action.dance": "dancing",
    "action.hide": "hiding",
    "action.shoot": "shooting",
}
"""What somebody can do without an object, and the word for it."""
TO_THINGS: Mapping[str, str] = {
    "action.push": "pushing",
    "action.kick": "kicking",
    "action.throw": "throwing",
    "action.drag": "dragging",
    "action.abandon": "leaving",
}
TO_PEOPLE: Mapping[str, str] = {
    "action.hug": "hugging",
    "action.fight": "fighting",
    "action.hit": "hitting",
    "action.push": "pushing",
    "action.kick": "kicking",
    "action.drag": "dragging",
    "carry.child": "carrying",
}
WITH_VEHICLES: Mapping[str, str] = {
    "posture.riding": "riding",
    "action.push": "pushing",
    "action.kick": "kicking",
}
WITH_ARMS: Mapping[str, str] = {
    "arms.raised": "raising",
    "arms.crossed": "crossing",
    "arms.reaching": "stretching",
    "arms.bent": "bending",
    "action.wave": "waving",
}
BY_VEHICLE: Mapping[str, str] = {"action.hit_by_vehicle": "hit"}
THINGS = frozenset(("bag", "carried", "camera", "object", "anything"))
VEHICLES = frozenset(("vehicle", "animal"))


@dataclass(frozen=True, slots=True)
class _Question:
    """What one blank asks: atoms and the word for each, or a colour that ``groups`` of atoms agree in. With
    neither (the colour of a thing no atom holds) nothing can be said."""

    words: Mapping[str, str]
    groups: tuple[str, ...] = ()


class FactsWitness:
    """Fills verbs and colours from :class:`Facts`.

    ``least`` is the probability from which a fact is said; below it, or where nothing could be seen, the blank
    stays UNKNOWN. Of several things true the surest is said first; no verb is said twice, and a second colour
    of the same garment is another one if it has one.
    """

    def __init__(self, least: float = 0.5) -> None:
        self.least = least

    @property
    def id(self) -> str:
        """Names this witness, its threshold and the table of atoms."""
        return f"facts-witness/1:{self.least:g}:{SCHEMA_ID}"

    def fill(self, masked: str, blanks: Sequence[Blank], shown: Facts | None) -> list[Fill]:
        """One word or UNKNOWN per blank; all UNKNOWN without facts, or with facts of another table of atoms."""
        if shown is None or shown.schema != SCHEMA_ID:
            return [UNKNOWN] * len(blanks)
        said: set[str] = set()
        return [
            (self._color if question.groups else self._verb)(question, shown, said)
            for question in _questions(masked, tuple(blanks))
        ]

    def _verb(self, question: _Question, facts: Facts, said: set[str]) -> Fill:
        best: dict[str, float] = {}
        for atom, word in question.words.items():
            at = INDEX[atom]
            if facts.known[at] and word not in said:
                best[word] = max(best.get(word, 0.0), float(facts.p[at]))
        if not best:
            return UNKNOWN
        word = max(best, key=lambda w: best[w])
        if best[word] < self.least:
            return UNKNOWN
        said.add(word)
        return word

    def _color(self, question: _Question, facts: Facts, said: set[str]) -> Fill:
        best: dict[str, list[float]] = {}
        for group in question.groups:
            for value in GROUPS[group]:
                at = INDEX[f"{group}.{value}"]
                if facts.known[at]:
                    best.setdefault(value, []).append(float(facts.p[at]))
        mean = {value: sum(p) / len(p) for value, p in best.items()}
        likely = sorted((v for v in mean if mean[v] >= self.least), key=lambda v: -mean[v])
        if not likely:
            return UNKNOWN
        place = "+".join(question.groups)
        word = next((v for v in likely if f"{place}.{v}" not in said), likely[0])
        said.add(f"{place}.{word}")
        return word


def _standins(masked: str, blanks: Sequence[Blank]) -> tuple[str, list[tuple[int, int]]]:
    """The masked sentence with a word in every blank that lets it be read, and where those words stand."""
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = length = 0
    for blank in blanks:
        before = masked[at : blank.start]
        # "black" colours hair as well as clothes; "holding" takes an object, as whatever was hidden did.
        word = "black" if blank.kind == "COLOR" else "holding"
        parts += [before, word]
        spans.append((length + len(before), length + len(before) + len(word)))
        length, at = spans[-1][1], blank.end
    return "".join([*parts, masked[at:]]), spans


@lru_cache(maxsize=512)
def _questions(masked: str, blanks: tuple[Blank, ...]) -> tuple[_Question, ...]:
    if not blanks:
        return ()
    text, spans = _standins(masked, blanks)
    query, read = parse(text[:LONGEST]), units(text[:LONGEST])
    return tuple(
        _color_question(query, span) if blank.kind == "COLOR" else _verb_question(read, span)
        for blank, span in zip(blanks, spans, strict=True)
    )


def _color_question(query: Query, span: tuple[int, int]) -> _Question:
    groups = [
        group_of(atom)
        for slot in query.slots
        if _covers(slot, span)
        for atom in slot.atoms
        if group_of(atom).endswith(".color")
    ]
    return _Question({}, tuple(dict.fromkeys(groups)))


def _covers(slot: Slot, span: tuple[int, int]) -> bool:
    return slot.start < span[1] and span[0] < slot.end


def _verb_question(read: list[Unit], span: tuple[int, int]) -> _Question:
    after = next((i + 1 for i, u in enumerate(read) if u.start < span[1] and span[0] < u.end), len(read))
    marker = ""
    while after < len(read) and read[after].tag in ("P", "ADV", "ADVX"):
        if read[after].tag == "P":
            marker = read[after].lemma
        after += 1
    phrase = noun_phrase(read, after) if after < len(read) else None
    cls = phrase[0].cls if phrase else ""
    if marker:
        return _Question(BY_VEHICLE if marker == "by" and cls in VEHICLES else DOING)
    if cls in THINGS and phrase is not None and phrase[0].head is not None:
        return _Question({**_carried(phrase[0].head), **TO_THINGS})
    if cls in VEHICLES:
        return _Question(WITH_VEHICLES)
    if cls == "bodypart":
        return _Question(WITH_ARMS)
    if cls in PERSON_CLASSES and phrase is not None and phrase[0].det:
        return _Question(TO_PEOPLE)
    return _Question(DOING)


def _carried(head: Unit) -> Mapping[str, str]:
    """Carrying what the noun names, or anything where no atom is that thing."""
    meanings = head.sense.meanings if head.sense else ()
    atoms = [atom for meaning in meanings for atom in meaning if atom.startswith("carry.")]
    return dict.fromkeys(atoms or ["action.carry"], "carrying")
