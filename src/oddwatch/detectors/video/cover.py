"""What normal captions speak of, and how far another caption goes beyond it: rules of normality without a language model.

A caption is read with the describer's lexicon into what is done (verbs in -ing) and which things there are (nouns of things,
vehicles, animals, bags). Words of one row of the lexicon are one term, so that strolling is as normal as walking; clothes,
colours, places and kinds of people are no terms. A term is as surprising as it is rare among normal captions, a caption as
surprising as its most surprising term.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from oddwatch.core import InputError
from oddwatch.describe.sentence.words import Unit, forms, units

THINGS = frozenset(("carried", "object", "near", "vehicle", "bag", "animal"))
"""Classes of the lexicon whose nouns are things that a rule can speak of."""
IDLE = frozenset(("lightverb", "have", "wear"))
"""Classes of verbs that tell nothing of what is done."""
ANYTHING = frozenset(("object", "item", "thing"))
STATES = frozenset(("ADJ", "ADJX", "VMOD", "VMODX", "NX", "V", "VX"))
"""Tags of a word before a noun that tells its state; unknown words there are adjectives mostly."""
VERBS = frozenset(("V", "VX", "VMOD", "VMODX"))
CLAUSE = re.compile(r"[.,;:!?\n]+")


@dataclass(frozen=True, slots=True)
class Term:
    """Something a text speaks of: ``key`` equal for words of one meaning, ``word`` as one would search for it. ``stated``:
    a thing in some state, as an unattended bag is."""

    key: str
    word: str
    kind: Literal["doing", "thing"]
    stated: bool = False


def terms(text: str) -> tuple[Term, ...]:
    """What ``text`` speaks of, in order, each key once."""
    return tuple({term.key: term for term in reversed(spoken(text))}.values())[::-1]


def spoken(text: str) -> tuple[Term, ...]:
    """Every word of ``text`` that is a term, in order."""
    return tuple(term for clause in CLAUSE.split(text) if clause.strip() for term in _terms(clause.strip()))


@lru_cache(maxsize=50_000)
def _terms(clause: str) -> tuple[Term, ...]:
    found: list[Term] = []
    before = None
    for unit in units(clause):
        found += _of_unit(unit, before)
        before = unit
    return tuple(found)


def _of_unit(unit: Unit, before: Unit | None) -> Iterable[Term]:
    words = unit.low.split()
    if unit.tag in VERBS and unit.form == "ing" and unit.cls not in IDLE and words[0].endswith("ing"):
        atoms = [a for a in _sure(unit) if not a.startswith(("near.", "carry."))]
        yield Term(atoms[0] if atoms else forms(words[0])[0][0], words[0], "doing")
        # "riding a bicycle" is one phrase of the lexicon that names a thing as well.
        for word in words[1:]:
            yield from (t for u in units(word) if u.tag == "N" for t in _of_unit(u, None))
    elif unit.tag == "N" and unit.cls in THINGS and unit.lemma not in ANYTHING:
        atoms = _sure(unit)
        stated = before is not None and before.tag in STATES
        yield Term(atoms[0] if atoms else unit.lemma, unit.lemma, "thing", stated)


def _sure(unit: Unit) -> list[str]:
    """Atoms that the unit's meaning holds for certain."""
    meanings = unit.sense.meanings if unit.sense else ()
    return [atom for one in meanings for atom, weight in one.items() if weight >= 1]


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """``known`` terms of normal captions, most frequent first, with in how many of ``total`` captions each was: ``counts``
    (T,)."""

    known: tuple[Term, ...]
    counts: np.ndarray
    total: int

    @classmethod
    def of(cls, captions: Sequence[str]) -> Cover:
        """From normal captions, of which empty ones tell nothing. Raises InputError where there is none."""
        told = [terms(c) for c in captions if c.strip()]
        if not told:
            raise InputError(
                "normal", "expected captions of normal frames, got none", "watch with a captioner"
            )
        first: dict[str, Term] = {}
        for found in told:
            for term in found:
                first.setdefault(term.key, term)
        counted = Counter(term.key for found in told for term in found).most_common()
        return cls(
            tuple(first[k] for k, _ in counted), np.array([n for _, n in counted], np.int64), len(told)
        )

    def surprises(self, captions: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """(N,) from 0 (all terms are in every normal caption) to 1 (one is in none), NaN for an empty caption, and the word
        that is least normal: log((n + 1) / (c + ½)) of a term in c of n normal captions, relative to that of c = 0."""
        count = {t.key: int(c) for t, c in zip(self.known, self.counts, strict=True)}
        most = math.log((self.total + 1) / 0.5)
        values, words = np.zeros(len(captions)), [""] * len(captions)
        for i, caption in enumerate(captions):
            rare = min(terms(caption), key=lambda t: count.get(t.key, 0), default=None)
            if rare is not None:
                values[i] = math.log((self.total + 1) / (count.get(rare.key, 0) + 0.5)) / most
                words[i] = rare.word
            elif not caption.strip():
                values[i] = np.nan
        return np.clip(values, 0, 1), words
