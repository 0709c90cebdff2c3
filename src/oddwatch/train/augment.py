"""Captions varied for training: EDA (Wei & Zou, EMNLP 2019), as CMP uses it (search §2.2).

It makes a second caption for a picture by one of four small edits: words replaced by synonyms, synonyms put in,
words swapped, words left out. Differs from CMP: synonyms come from the sentence reader's tables, not from WordNet,
so only words about people, clothes, colours and doings have any. A synonym here means the same to the reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np

from oddwatch.core import InputError
from oddwatch.describe.lexicon import FUNCTION, NUMBERS, TABLES, lexicon, rows
from oddwatch.describe.sentence.words import forms

Words = list[str]

NEAREST = 5
"""Synonyms of a row of the tables that are used: its first words mean it most plainly."""


def eda(text: str, rng: np.random.Generator, share: float = 0.1, delete: float = 0.1) -> str:
    """The caption after one edit, drawn evenly of the four; ``share`` of the words (at least one) is edited.

    A word is left out with probability ``delete``. Words are split at blanks: give captions
    cleaned by :func:`oddwatch.encoders.xvlm.text.clean_caption`.

    Raises:
        InputError: a share is outside 0–1.
    """
    for name, value in (("share", share), ("delete", delete)):
        if not 0 <= value <= 1:
            raise InputError(name, f"expected a number from 0 to 1, got {value}")
    words = text.split()
    count = max(1, int(share * len(words)))
    edits: tuple[Callable[[], Words], ...] = (
        lambda: replace_synonyms(words, count, rng),
        lambda: insert_synonyms(words, count, rng),
        lambda: swap_words(words, count, rng),
        lambda: delete_words(words, delete, rng),
    )
    return " ".join(edits[int(rng.integers(len(edits)))]())


def replace_synonyms(words: Sequence[str], count: int, rng: np.random.Generator) -> Words:
    """Up to ``count`` different words, those that have synonyms, replaced by one wherever they stand."""
    replaceable = [w for w in dict.fromkeys(words) if synonyms(w)]
    chosen = [replaceable[i] for i in rng.permutation(len(replaceable))[:count]]
    new = {w: synonyms(w)[int(rng.integers(len(synonyms(w))))] for w in chosen}
    return [new.get(w, w) for w in words]


def insert_synonyms(words: Sequence[str], count: int, rng: np.random.Generator) -> Words:
    """``count`` synonyms of words of the caption put in at random places; none where no word has any."""
    result = list(words)
    sources = [w for w in words if synonyms(w)]
    for _ in range(count if sources else 0):
        options = synonyms(sources[int(rng.integers(len(sources)))])
        result.insert(int(rng.integers(len(result) + 1)), options[int(rng.integers(len(options)))])
    return result


def swap_words(words: Sequence[str], count: int, rng: np.random.Generator) -> Words:
    """Two words at different places change places, ``count`` times."""
    result = list(words)
    for _ in range(count if len(result) > 1 else 0):
        i, j = rng.choice(len(result), 2, replace=False)
        result[i], result[j] = result[j], result[i]
    return result


def delete_words(words: Sequence[str], probability: float, rng: np.random.Generator) -> Words:
    """Each word is left out with ``probability``; at least one stays."""
    kept = [w for w in words if rng.random() >= probability]
    return kept or [words[int(rng.integers(len(words)))]] if words else []


@lru_cache(maxsize=20_000)
def synonyms(word: str) -> tuple[str, ...]:
    """Other single words with the meaning of ``word`` (lower case), in its inflection; () for most words."""
    if word in FUNCTION or word in NUMBERS:
        return ()
    for lemma, form in forms(word):
        found = [_inflected(other, form) for other in _rows().get(lemma, ()) if other != lemma]
        if found:
            return tuple(dict.fromkeys(w for w in found if w and w != word))[:NEAREST]
    return ()


@cache
def _rows() -> dict[str, tuple[str, ...]]:
    """Word → the first words of its row. Rows without a meaning of their own ("be", "look") hold no synonyms."""
    found: dict[str, tuple[str, ...]] = {}
    for table in TABLES[:-1]:  # the last one holds every kind of its root: a ruby is no synonym of a bead
        for phrases, *rest in rows(table):
            single = [p for p in phrases.split("|") if p.isalpha()]
            if len(rest) > 2 and rest[2].strip() not in ("", "-"):
                for word in single:
                    found.setdefault(word, tuple(single[: NEAREST + 1]))
    return found


@cache
def _irregular() -> dict[tuple[str, str], str]:
    """(lemma, form) → the irregular word; of several past forms none, since they cannot be told apart."""
    found: dict[tuple[str, str], set[str]] = {}
    kinds = {"VBD": "ed", "VBN": "ed", "VBG": "ing", "NNS": "s", "VBZ": "s"}
    for word, (lemma, tag) in lexicon().irregular.items():
        if tag in kinds:
            found.setdefault((lemma, kinds[tag]), set()).add(word)
    return {key: next(iter(words)) if len(words) == 1 else "" for key, words in found.items()}


def _inflected(lemma: str, form: str) -> str:
    """``lemma`` with the ending ``form`` ("", "s", "ing", "ed") in English spelling; "" where it is not known."""
    if not form:
        return lemma
    if (lemma, form) in _irregular():
        return _irregular()[lemma, form]
    if form == "s":
        if re.search(r"(s|x|z|ch|sh)$", lemma):
            return lemma + "es"
        return re.sub(r"(?<=[^aeiou])y$", "ie", lemma) + "s"
    if form == "ing":
        stem = re.sub(r"ie$", "y", lemma)
        stem = re.sub(r"(?<=[^eoy])e$", "", stem)
    else:
        stem = re.sub(r"e$", "", re.sub(r"(?<=[^aeiou])y$", "i", lemma))
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", stem) and stem == lemma:
        stem += stem[-1]
    return stem + form
