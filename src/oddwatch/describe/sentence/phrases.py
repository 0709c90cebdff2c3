"""Noun phrases: determiner, number, colours, modifiers and a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from oddwatch.describe.lexicon import NUMBERS
from oddwatch.describe.sentence.words import Unit

NEIGHBOURS = {
    "dark": {"blue": {"black": 0.5}, "grey": {"black": 0.6}, "green": {"black": 0.3}, "brown": {"black": 0.4},
             "purple": {"black": 0.3}, "red": {"brown": 0.4}},
    "light": {"grey": {"white": 0.5}, "blue": {"white": 0.3, "grey": 0.2}, "brown": {"beige": 0.9},
              "pink": {"white": 0.3}, "green": {"white": 0.2}, "yellow": {"beige": 0.4, "white": 0.3},
              "purple": {"pink": 0.3}},
    "bright": {"green": {"yellow": 0.3}, "yellow": {"green": 0.3}},
}  # fmt: skip
TONE_ONLY: Mapping[str, dict[str, float]] = {
    "dark": {"black": 1.0, "blue": 0.6, "grey": 0.6, "brown": 0.5},
    "light": {"white": 1.0, "beige": 0.8, "grey": 0.6},
    "bright": {},
}


@dataclass(slots=True)
class Colour:
    """Colour words and what they may look like: basic terms with weights, and a tone."""

    start: int
    end: int
    terms: dict[str, float]
    tone: str | None = None
    tone_only: bool = False


@dataclass(slots=True)
class NounPhrase:
    """A chunk. ``head`` None for colour-only or modifier-only phrases; ``mods`` every modifier unit."""

    start: int
    end: int
    det: str = ""
    number: int | None = None
    number_unit: Unit | None = None
    colours: list[Colour] = field(default_factory=list)
    mods: list[Unit] = field(default_factory=list)
    head: Unit | None = None
    nouns: list[Unit] = field(default_factory=list)

    @property
    def cls(self) -> str:
        """The class of the head, or an empty string."""
        return self.head.cls if self.head else ""


STARTS = frozenset(["DET", "POSS", "NUM", "COL", "TONE", "ADJ", "N", "VMOD", "VMODX", "ADJX", "NX"])
INSIDE = frozenset(["COL", "TONE", "ADJ", "N", "VMOD", "VMODX", "ADJX", "NX", "ADV", "NUM", "POSS"])


def noun_phrase(units: list[Unit], at: int) -> tuple[NounPhrase, int] | None:
    """The noun phrase that starts at ``at`` and the position after it, or None when none does."""
    if units[at].tag not in STARTS:
        return None
    np = NounPhrase(units[at].start, units[at].end)
    i = at
    while i < len(units) and units[i].tag in ("DET", "POSS"):
        np.det = units[i].low if units[i].tag == "DET" or not np.det else np.det
        np.end, i = units[i].end, i + 1
    if i < len(units) and units[i].tag == "NUM":
        np.number_unit = units[i]
        np.number = NUMBERS.get(units[i].low) or (int(units[i].low[:6]) if units[i].low.isdecimal() else None)
        np.end, i = units[i].end, i + 1
        if i < len(units) and units[i].low == "of":
            i += 1
            while i < len(units) and units[i].tag in ("DET", "POSS"):
                i += 1
    i = _inside(units, i, np)
    _merge_colours(np)
    return (np, i) if i > at else None


def _inside(units: list[Unit], i: int, np: NounPhrase) -> int:
    while i < len(units):
        unit = units[i]
        if unit.tag == "COL" or (unit.tag == "TONE" and _tones(units, i, np)):
            if np.head is not None:
                break
            i = _colour(units, i, np)
        elif unit.tag in ("ADJ", "VMOD", "VMODX", "ADJX", "TONE", "NUM") or (
            unit.tag in ("ADV",) and np.head is None and _reaches(units, i, ("N", "NX", "COL", "ADJ"))
        ):
            if np.head is not None:
                break
            np.mods.append(unit)
            np.end, i = unit.end, i + 1
        elif unit.tag in ("N", "NX"):
            if np.head is not None and not _same_noun(np.head, unit):
                break
            np.nouns.append(unit)
            np.head, np.end, i = unit, unit.end, i + 1
        elif unit.tag == "POSS" and unit.low.startswith("'") and np.head is not None:
            np.head, np.det, i = None, "the", i + 1
            np.colours.clear()
        elif (unit.low in (",", "and", "/") and np.head is None and (np.mods or np.colours)) and _continues(
            units, i, np
        ):
            i += 1
        else:
            break
    return i


def _same_noun(head: Unit, unit: Unit) -> bool:
    """Whether two nouns side by side are one compound ("leather jacket", "soccer player")."""
    return head.form != "s" and not (
        head.cls in ("person", "garment") and unit.cls == "person" and head.cls == "person"
    )


def _reaches(units: list[Unit], i: int, tags: tuple[str, ...]) -> bool:
    return i + 1 < len(units) and units[i + 1].tag in tags


def _tones(units: list[Unit], i: int, np: NounPhrase) -> bool:
    """Whether "dark" speaks of a thing that follows: "dark jeans", "dark, baggy jeans"."""
    if _reaches(units, i, ("COL", "TONE", "N", "ADJ", "NX", "ADJX")):
        return True
    return i + 2 < len(units) and units[i + 1].low in (",", "and", "or") and _continues(units, i + 1, np)


def _continues(units: list[Unit], i: int, np: NounPhrase) -> bool:
    """Whether a comma or "and" between modifiers joins them under a later head."""
    j = i + 1
    if j < len(units) and units[i].low == "," and units[j].low == "and":
        j += 1
    if j >= len(units) or units[j].tag not in ("COL", "TONE", "ADJ", "ADJX", "VMODX"):
        return False
    second_colour = False
    while j < len(units) and units[j].tag in ("COL", "TONE", "ADJ", "ADJX", "VMODX", "VMOD", "ADV"):
        second_colour |= units[j].tag == "COL"
        j += 1
    if j < len(units) and units[j].tag in ("N", "NX"):
        return True
    return bool(np.colours) and second_colour and units[i].low != ","


def _colour(units: list[Unit], i: int, np: NounPhrase) -> int:
    """One colour: tones, then colour words with no joiner between them ("dark navy blue")."""
    start, tone, end = units[i].start, None, units[i].end
    terms: dict[str, float] = {}
    first = i
    while (
        i < len(units) and units[i].tag in ("TONE", "COL") and not (i > first and units[i].hyphen and terms)
    ):
        sense = units[i].sense
        if sense is not None and sense.cls == "color":
            terms = {**{k: v * 0.6 for k, v in terms.items()}, **sense.meanings[0]}
            tone = tone or sense.tone
        elif sense is not None:
            if terms:
                break
            tone = sense.tone
        end, i = units[i].end, i + 1
    for term in list(terms):
        for near, weight in NEIGHBOURS.get(tone or "", {}).get(term, {}).items():
            terms.setdefault(near, weight * terms[term])
    np.colours.append(Colour(start, end, terms, tone))
    np.end = end
    return i


def _merge_colours(np: NounPhrase) -> None:
    """A tone alone colours its garment ("dark jacket"): give it the colours it may stand for."""
    for colour in np.colours:
        if not colour.terms and colour.tone:
            colour.terms, colour.tone_only = dict(TONE_ONLY[colour.tone]), True
