"""How well a filled word agrees with the hidden one, offline: the comparison (A3) of AnomalyLMM (search §3.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from oddwatch.core import TextEncoder, Unknown
from oddwatch.describe.lexicon import FUNCTION, lexicon, part_of_speech
from oddwatch.describe.sentence.phrases import noun_phrase
from oddwatch.describe.sentence.words import tokens, units
from oddwatch.describe.witness import BlankKind, Fill
from oddwatch.search.hiding import TABLES, Cloze

SAME, NEAR = 1.0, 0.8
"""How well equal lemmas, and words of one synonym set or colour family, agree."""


class Judge(Protocol):
    """Compares what was said of several pictures with the hidden words: for each picture one agreement per blank, 0–1,
    0 for UNKNOWN. ``id`` names the judge and its version."""

    @property
    def id(self) -> str: ...
    def agree(self, cloze: Cloze, said: Sequence[Sequence[Fill]]) -> list[tuple[float, ...]]: ...


@dataclass(slots=True)
class TableJudge:
    """How well a filled word agrees with the hidden one, 0–1 (A3): equal lemmas 1, one synonym set or colour
    family 0.8, else the cosine of sentence vectors clipped to 0–1 (0 without ``encoder``); UNKNOWN 0.

    Sentence vectors call red and blue alike. With ``strict`` two words that the tables know to be different
    get 0, and only words in no table are left to the vectors.
    """

    encoder: TextEncoder | None = None
    strict: bool = False
    _kept: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The tables, and the encoder of the words that are in none."""
        return TABLES + (f"+{self.encoder.id}" if self.encoder else "") + (";strict" if self.strict else "")

    def agree(self, cloze: Cloze, said: Sequence[Sequence[Fill]]) -> list[tuple[float, ...]]:
        """Agreement of every picture's words with the hidden ones."""
        return [
            tuple(self(w.kind, w.word, fill) for w, fill in zip(cloze.key, fills, strict=True))
            for fills in said
        ]

    def __call__(self, kind: BlankKind, key: str, fill: Fill) -> float:
        """Agreement of ``fill`` with ``key``."""
        if isinstance(fill, Unknown):
            return 0.0
        table = color_agreement(key, fill) if kind == "COLOR" else verb_agreement(key, fill)
        if table is not None and (table > 0 or self.strict):
            return table
        if self.encoder is None:
            return 0.0
        a, b = self._vector(key.lower()), self._vector(fill.lower())
        return float(np.clip(a @ b, 0.0, 1.0))

    def _vector(self, word: str) -> np.ndarray:
        assert self.encoder is not None
        if word not in self._kept:
            if len(self._kept) > 10_000:
                self._kept.clear()
            self._kept[word] = self.encoder.encode([word])[0]
        return self._kept[word]


@lru_cache(maxsize=4096)
def verb_agreement(key: str, fill: str) -> float | None:
    """1 for equal lemmas, 0.8 for one synonym set, 0 for different ones; None where a word is in no table."""
    a, b = _lemmas(key), _lemmas(fill)
    if a & b or key.lower() == fill.lower():
        return SAME
    rows_a, rows_b = _synonym_sets(a), _synonym_sets(b)
    if not rows_a or not rows_b:
        return None
    return NEAR if rows_a & rows_b else 0.0


def _lemmas(phrase: str) -> frozenset[str]:
    """The lemmas of a phrase's verb: its first word that is not a function word."""
    for token in tokens(phrase):
        if token.low.isalpha() and token.low not in FUNCTION:
            return frozenset(lemma for lemma, _ in token.forms)
    return frozenset()


def _synonym_sets(lemmas: frozenset[str]) -> frozenset[tuple[tuple[str, float], ...]]:
    """The rows of the verb tables that hold a lemma, by what they mean."""
    rows = set()
    for lemma in lemmas:
        for rest, sense in lexicon().phrases.get(lemma, ()):
            if not rest and sense.meanings and part_of_speech(sense.cls) == "V":
                rows.add(tuple(item for meaning in sense.meanings for item in meaning.items()))
    return frozenset(rows)


@lru_cache(maxsize=4096)
def color_agreement(key: str, fill: str) -> float | None:
    """1 for the same colour words, 0.8 for one colour family, 0 for different ones; None for no colour.

    Families share a basic colour, or one that the tables count at least half: maroon is red and a little brown.
    """
    words = [re.findall(r"[a-z]+", w.lower().replace("gray", "grey")) for w in (key, fill)]
    if words[0] == words[1]:
        return SAME
    a, b = _family(key), _family(fill)
    if not a or not b:
        return None
    return NEAR if a & b else 0.0


def _family(words: str) -> frozenset[str]:
    read = units(f"{words} thing")
    found = noun_phrase(read, 0) if read else None
    colors = found[0].colours if found else []
    return frozenset(term for color in colors for term, weight in color.terms.items() if weight >= 0.5)
