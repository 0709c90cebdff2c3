"""Hiding the telling words of a sentence, offline: the cloze generation (A1) of AnomalyLMM (search §3.3, §3.4).

The sentence reader's tables say which words are verbs and colours; a language model may choose other words
(``search.lmm``) and hands them to :func:`masked_with`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from oddwatch.core import InputError
from oddwatch.describe.lexicon import FUNCTION, VERB_CLASSES, lexicon
from oddwatch.describe.sentence import LONGEST, language_of
from oddwatch.describe.sentence.words import Token, Unit, tokens, units
from oddwatch.describe.witness import Blank, BlankKind

TABLES = "tables/1"
"""Names the offline way of hiding and of judging in a trace."""
AUXILIARIES = frozenset(("be", "is", "am", "are", "was", "were", "been", "being", "have", "has", "had", "having",
                         "do", "does", "did", "done", "doing", "get", "gets", "got", "getting"))  # fmt: skip
STOP_VERBS = frozenset(("wear", "show", "feature", "appear"))
"""Verbs that say nothing about what is being done (as do "dressed" and other words for wearing, which always
stay); the caller may give others."""
PLAIN_TONES = frozenset(("dark", "darker", "light", "lighter", "bright", "pale"))
"""Tones that are hidden without a colour beside them ("dark jacket")."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A hidden word: what the blank of the same place stands for, and its characters in the sentence."""

    kind: BlankKind
    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cloze:
    """A sentence with blanks and its answer key, both in reading order. The witness gets ``masked`` and
    ``blanks``, never ``text`` or ``key``. ``by`` names who chose the words."""

    text: str
    masked: str
    blanks: tuple[Blank, ...]
    key: tuple[Hidden, ...]
    by: str = TABLES

    def restore(self, words: Sequence[str]) -> str:
        """The masked sentence with ``words`` in its blanks; with the key's words it is the sentence again."""
        if len(words) != len(self.blanks):
            raise InputError("words", f"expected {len(self.blanks)} words, got {len(words)}")
        parts, at = [], 0
        for blank, word in zip(self.blanks, words, strict=True):
            parts += [self.masked[at : blank.start], word]
            at = blank.end
        return "".join([*parts, self.masked[at:]])


def generate(text: str, *, stop: frozenset[str] = STOP_VERBS) -> Cloze:
    """Hide the verbs (auxiliaries and ``stop`` excepted) and the colours of an English sentence (A1).

    A compound colour ("dark-blue", "light grey") is one blank. Of a verb phrase only the verb is hidden, so
    "falling off" leaves "off". A sentence in another language, or without such words, has no blanks.
    """
    if len(text) > LONGEST:
        raise InputError("sentence", f"expected at most {LONGEST} characters, got {len(text)}")
    hidden = _hidden(text, stop) if text.strip() and language_of(text) == "en" else []
    return masked_with(text, hidden)


def masked_with(text: str, hidden: Sequence[Hidden], by: str = TABLES) -> Cloze:
    """The cloze that hides the words ``hidden`` (in reading order, not overlapping) of ``text``: for words that
    a language model chose.

    Raises:
        InputError: a place does not hold its word, or places overlap.
    """
    parts: list[str] = []
    blanks: list[Blank] = []
    at = length = 0
    for i, word in enumerate(hidden):
        if word.start < at or text[word.start : word.end] != word.word or not word.word:
            raise InputError("hidden words", f"{word.word!r} is not at characters {word.start} to {word.end}")
        sign = f"<{word.kind}>"
        start = length + word.start - at
        blanks.append(Blank(word.kind, i, start, start + len(sign)))
        parts += [text[at : word.start], sign]
        length, at = start + len(sign), word.end
    return Cloze(text, "".join([*parts, text[at:]]), tuple(blanks), tuple(hidden), by)


def _hidden(text: str, stop: frozenset[str]) -> list[Hidden]:
    found: list[Hidden] = []
    read = units(text)
    i = 0
    while i < len(read):
        if read[i].tag in ("COL", "TONE"):
            i, color = _color_run(text, read, i)
            if color is not None:
                found.append(color)
            continue
        word = _verb(text, read, i, stop) if read[i].tag.startswith("V") else _color_inside(text, read[i])
        if word is not None:
            found.append(word)
        i += 1
    return found


def _color_run(text: str, read: list[Unit], at: int) -> tuple[int, Hidden | None]:
    """Colour and tone words joined by nothing but blanks or hyphens, as one; and where to read on."""
    end = at + 1
    while end < len(read) and read[end].tag in ("COL", "TONE"):
        # Two colours side by side are two answers, unless one names a shade of the other ("navy blue").
        if not re.fullmatch(r"[\s‐‑–-]*", text[read[end - 1].end : read[end].start]):
            break
        end += 1
    run = read[at:end]
    if all(u.tag == "TONE" for u in run) and not any(u.low in PLAIN_TONES for u in run):
        return end, None
    start, stop = run[0].start, run[-1].end
    return end, Hidden("COLOR", text[start:stop], start, stop)


def _color_inside(text: str, unit: Unit) -> Hidden | None:
    """The colour at the head of a garment's name that the tables hold as one word: "khaki pants"."""
    if unit.cls != "garment":
        return None
    inside = tokens(text[unit.start : unit.end])
    senses = lexicon().phrases.get(inside[0].low, ()) if len(inside) > 1 else ()
    if not any(not rest and sense.cls == "color" for rest, sense in senses):
        return None
    end = unit.start + inside[0].end
    return Hidden("COLOR", text[unit.start : end], unit.start, end)


def _verb(text: str, read: list[Unit], at: int, stop: frozenset[str]) -> Hidden | None:
    """The verb among a unit's words, if it says what is being done."""
    unit, before = read[at], read[at - 1] if at else None
    if (
        unit.cls == "wear"
        or unit.tag == "VMODX"
        or (unit.tag == "VMOD" and unit.cls in ("have", "lightverb", "hold", "use"))
    ):
        return None
    if unit.tag == "VX" and before is not None and before.tag in ("DET", "ADJ", "P", "NUM"):
        return None  # an unknown noun in -ing or -ed: "in the evening"
    inside = tokens(text[unit.start : unit.end])
    verb = next((t for t in inside if t.low.isalpha() and _verbal(t, unit)), None)
    if verb is None or verb.low in AUXILIARIES or any(lemma in stop for lemma, _ in verb.forms):
        return None
    start, end = unit.start + verb.start, unit.start + verb.end
    return Hidden("VERB", text[start:end], start, end)


def _verbal(token: Token, unit: Unit) -> bool:
    if token.low in FUNCTION and FUNCTION[token.low] != "AUX":
        return False
    if unit.tag == "VX":
        return True
    classes = lexicon().classes
    if any(classes.get(lemma, frozenset()) & VERB_CLASSES for lemma, _ in token.forms):
        return True
    # "lost his balance": only the phrase is in the tables, its first word carries the ending.
    return any(form in ("ing", "ed") for _, form in token.forms) and token.start == 0
