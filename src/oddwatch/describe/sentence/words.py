"""Sentence to tagged units: tokens with offsets, lemmas, the longest phrases of the lexicon, parts of speech."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

from oddwatch.describe.lexicon import FUNCTION, NUMBERS, Lexicon, Sense, lexicon, part_of_speech

TOKEN = re.compile(
    r"n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|[^\W\d_]+?(?=n['’]t\b)|[^\W\d_]+|\d+|[^\w\s]|_", re.UNICODE
)
COMPLEX = {
    tuple(p.split()): p
    for p in (
        "in front of", "next to", "close to", "away from", "out of", "on top of", "because of", "in back of",
        "by side of", "at side of", "on side of", "along with", "together with", "beside of", "instead of",
        "to left of", "to right of", "on left of", "on right of", "at edge of", "in middle of", "in center of",
        "at foot of", "across from", "up to", "in direction of", "in company of", "near to", "at back of",
        "followed by", "surrounded by", "at top of", "at bottom of", "in centre of", "dressed in", "clad in",
    )
}  # fmt: skip
_BY_FIRST = {
    first: [(w, n) for w, n in sorted(COMPLEX.items(), key=lambda c: -len(c[0])) if w[0] == first]
    for first in {w[0] for w in COMPLEX}
}
SKIPPED = frozenset(["the", "a", "an", "his", "her", "their", "its", "both", "my", "your", "one"])
# "on the left" is a place, "on the left arm" is not: a phrase may not end in these before a noun.
OPEN_ENDS = frozenset(
    [
        "left",
        "right",
        "back",
        "side",
        "front",
        "rear",
        "dark",
        "rain",
        "snow",
        "storm",
        "center",
        "middle",
        "morning",
        "day",
        "night",
    ]
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign as written, where it stands, and the (lemma, form) pairs it can be; form is one of
    ``""``, ``s``, ``ing``, ``ed``. ``hyphen``: joined to the word before."""

    low: str
    start: int
    end: int
    forms: tuple[tuple[str, str], ...]
    hyphen: bool = False


@dataclass(slots=True)
class Unit:
    """One or more tokens read together. ``tag`` is DET POSS PRO P CC NEG AUX EX NUM COL TONE N V ADJ ADV PUNCT
    or X (not in the tables); ``sense`` its meaning, if any; ``form`` its inflection."""

    start: int
    end: int
    low: str
    tag: str
    lemma: str
    form: str = ""
    sense: Sense | None = None
    hyphen: bool = False
    readings: list[tuple[str, str, Sense | None]] = field(default_factory=list)

    @property
    def cls(self) -> str:
        """The lexicon's class, or an empty string."""
        return self.sense.cls if self.sense else ""


def tokens(text: str) -> list[Token]:
    """Words, numbers and signs with their character offsets; a hyphen inside a word marks the next token."""
    found: list[Token] = []
    joined = False
    for match in TOKEN.finditer(text):
        low = match.group().lower().replace("’", "'")
        if low in "-‐‑–" and 0 < match.start() < len(text) - 1:
            around = text[match.start() - 1] + text[match.end()]
            if around.isalnum():
                joined = True
                continue
        found.append(Token(low, match.start(), match.end(), forms(low), joined))
        joined = False
    return found


@lru_cache(maxsize=20_000)
def forms(word: str) -> tuple[tuple[str, str], ...]:
    """The lemmas a word can have, as (lemma, form), lexicon words first; never empty."""
    lex = lexicon()
    found: list[tuple[str, str]] = []
    if word in lex.words:
        found.append((word, ""))
    if word in lex.irregular:
        lemma, form = lex.irregular[word]
        found.append((lemma, {"VBD": "ed", "VBN": "ed", "VBG": "ing", "NNS": "s", "VBZ": "s"}.get(form, "")))
    else:
        found.extend((lemma, form) for lemma, form in _stripped(word) if lemma in lex.words)
    if not found:
        found.extend(_respelled(word))
    if not found:
        guess = next(iter(_stripped(word)), (word, ""))
        found.append(guess if guess[1] in ("ing", "ed") else (word, ""))
    return tuple(dict.fromkeys(found))


LETTERS = "abcdefghijklmnopqrstuvwxyz"
COMMON = frozenset(
    ("color", "garment", "bag", "person", "wear", "hold", "hair", "adjpattern", "adjsleeve", "vehicle")
)
"""Classes of the words that slips of the pen are mended to."""


@cache
def _common() -> frozenset[str]:
    lex = lexicon()
    single = (p for p, classes in lex.by_hand.items() if " " not in p and len(p) > 3 and classes & COMMON)
    return frozenset(single)


def _respelled(word: str) -> list[tuple[str, str]]:
    """The common words one slip away (a letter too many, too few, wrong, or two swapped), when that is one lemma."""
    if len(word) < 5 or not word.isascii():
        return []
    cuts = [(word[:i], word[i:]) for i in range(1, len(word) + 1)]
    near = {a + b[1:] for a, b in cuts if b} | {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    near |= {a + c + b for a, b in cuts for c in LETTERS}
    if len(word) > 5:
        near |= {a + c + b[1:] for a, b in cuts if b for c in LETTERS}
    known = _common()
    found = {(w, "") for w in near if w in known}
    if not found:
        found = {(lemma, form) for w in near for lemma, form in _stripped(w) if lemma in known}
    return list(found) if len({lemma for lemma, _ in found}) == 1 else []


def _stripped(word: str) -> Iterator[tuple[str, str]]:
    if len(word) < 4:
        return
    for suffix, form in (("ing", "ing"), ("ed", "ed"), ("es", "s"), ("s", "s"), ("er", "er")):
        if not word.endswith(suffix) or suffix == "er":
            continue
        stem = word[: -len(suffix)]
        if suffix == "s" and word.endswith(("ss", "us")):
            continue
        if len(stem) < 2:
            continue
        yield stem, form
        if suffix in ("ing", "ed"):
            yield stem + "e", form
            if len(stem) > 2 and stem[-1] == stem[-2]:
                yield stem[:-1], form
        if suffix in ("es", "ed") and stem.endswith("i"):
            yield stem[:-1] + "y", form
        if suffix == "es" and stem.endswith("v"):
            yield stem[:-1] + "f", form
            yield stem[:-1] + "fe", form


def _phrase_length(found: list[Token], at: int, rest: tuple[str, ...]) -> int:
    """Tokens covered when the words ``rest`` follow position ``at`` (determiners skipped), or 0."""
    i = at + 1
    for word in rest:
        if i < len(found) and found[i].low in SKIPPED and found[i].low != word:
            i += 1
        if i >= len(found) or (
            not any(lemma == word for lemma, _ in found[i].forms) and found[i].low != word
        ):
            return 0
        i += 1
    return i - at


def _noun_like(token: Token, lex: Lexicon) -> bool:
    return (
        any(
            part_of_speech(c) in ("N", "ADJ", "COL", "TONE")
            for lemma, _ in token.forms
            for c in lex.classes.get(lemma, ())
        )
        and token.low not in FUNCTION
    )


def _describes_next(found: list[Token], at: int, length: int, lex: Lexicon) -> bool:
    """Whether a phrase such as "in dark" is a preposition and the start of a noun phrase: "in dark jacket", "in dark,
    baggy jeans", "in dark dungarees"."""
    rest = found[at + length : at + length + 2]
    if not rest:
        return False
    if rest[0].low.isalpha() and rest[0].low not in FUNCTION:
        return _noun_like(rest[0], lex) or not any(lex.classes.get(lemma) for lemma, _ in rest[0].forms)
    # "in the dark, people run" is a place or a time.
    named = any(t.low in SKIPPED for t in found[at : at + length])
    return not named and rest[0].low in (",", "and", "or") and len(rest) > 1 and _noun_like(rest[1], lex)


def _matches(found: list[Token], at: int, lex: Lexicon) -> tuple[int, list[tuple[str, str, Sense | None]]]:
    """The longest phrase that starts at a token: its length and its readings (tag, form, sense)."""
    best = 0
    readings: list[tuple[str, str, Sense | None]] = []
    for lemma, form in dict.fromkeys((*found[at].forms, (found[at].low, ""))):
        for rest, sense in lex.phrases.get(lemma, ()):
            if len(rest) + 1 < best:
                break
            length = _phrase_length(found, at, rest)
            if not length or length < best:
                continue
            last = found[at + length - 1].low
            if rest and at + length < len(found) and found[at + length].low in ("'s", "’s"):
                continue
            if rest and last in OPEN_ENDS and _describes_next(found, at, length, lex):
                continue
            if length > best:
                best, readings = length, []
            tag = part_of_speech(sense.cls)
            if tag in ("COL", "TONE") and form in ("ing", "ed", "s"):
                continue
            if tag == "N" and form in ("ing", "ed") and not rest and lemma != found[at].low:
                continue
            readings.append((tag, form, sense))
    return best, readings


def units(text: str) -> list[Unit]:
    """The sentence as tagged units, in order."""
    lex, found = lexicon(), tokens(text)
    result: list[Unit] = []
    at = 0
    while at < len(found):
        token = found[at]
        length, readings = _matches(found, at, lex)
        complex_length, complex_name = _complex(found, at)
        if complex_length > max(length, 1):
            length, readings = complex_length, [("P", "", None)]
        elif length <= 1 and token.low in FUNCTION:
            function: list[tuple[str, str, Sense | None]] = [(FUNCTION[token.low], "", None)]
            keep = [
                r
                for r in readings
                if r[0] in ("N", "ADV", "V")
                and token.low in ("inside", "outside", "have", "having", "had", "has", "do", "does", "lack")
            ]
            length, readings = 1, function + keep
        elif length <= 1 and (token.low in NUMBERS or token.low.isdigit()):
            length, readings = 1, [("NUM", "", None)]
        length = max(length, 1)
        end = found[at + length - 1].end
        unit = Unit(
            token.start, end, text[token.start : end].lower(), "X", token.forms[0][0], hyphen=token.hyphen
        )
        if complex_name and length == complex_length:
            unit.lemma = complex_name
        unit.readings = readings
        if not readings and not token.low[0].isalnum():
            unit.tag = "PUNCT" if not token.low.startswith("'") else "POSS"
            if token.low == "n't":
                unit.tag = "NEG"
        result.append(unit)
        at += length
    _tag(result)
    return result


def _complex(found: list[Token], at: int) -> tuple[int, str]:
    for words, name in _BY_FIRST.get(found[at].low, ()):
        if length := _phrase_length(found, at, words[1:]):
            return length, name
    return 0, ""


def _can(unit: Unit | None, *tags: str) -> bool:
    return unit is not None and any(r[0] in tags for r in unit.readings)


def _tag(sequence: list[Unit]) -> None:
    """Choose one reading a unit, left to right, by the tag before and what can follow."""
    for i, unit in enumerate(sequence):
        before = sequence[i - 1] if i else None
        after = sequence[i + 1] if i + 1 < len(sequence) else None
        if unit.tag in ("PUNCT", "POSS", "NEG"):
            continue
        if not unit.readings:
            _guess(unit, before, after)
            continue
        tag, form, sense = unit.readings[0] if len(unit.readings) == 1 else _choose(unit, before, after)
        unit.tag, unit.form, unit.sense = tag, form, sense
        if sense:
            unit.lemma = sense.phrase
        elif tag == "AUX":
            unit.lemma = unit.low
        if (
            tag == "V"
            and (form or unit.low.endswith(("ed", "en", "ing")))
            and form != "s"
            and _nominal(before)
            and _starts_noun(after)
        ):
            unit.tag = "VMOD"


def _nominal(unit: Unit | None) -> bool:
    return unit is not None and unit.tag in ("DET", "ADJ", "COL", "TONE", "NUM", "POSS", "VMOD")


def _starts_noun(unit: Unit | None) -> bool:
    return _can(unit, "N", "ADJ", "COL", "TONE") or (
        unit is not None and not unit.readings and unit.low.isalpha() and not unit.low.endswith("ly")
    )


def _choose(unit: Unit, before: Unit | None, after: Unit | None) -> tuple[str, str, Sense | None]:
    by: dict[str, tuple[str, str, Sense | None]] = {}
    for reading in unit.readings:
        by.setdefault(reading[0], reading)
    if "P" in by and ("N" in by):
        noun_follows = _starts_noun(after) or (after is not None and _can(after, "DET", "POSS", "NUM"))
        return by["P"] if noun_follows else by["N"]
    if "AUX" in by:
        follows_verb = after is not None and any(
            r[0] == "V" or r[0] in ("NEG", "AUX") for r in after.readings
        )
        return by["AUX"] if follows_verb or "V" not in by else by["V"]
    if "NEG" in by:
        return by["NEG"]
    if "COL" in by:
        return by["COL"]
    if "TONE" in by:
        return (
            by["TONE"] if _starts_noun(after) or ("V" not in by and "N" not in by) else by.get("V") or by["N"]
        )
    verb, noun, adjective = by.get("V"), by.get("N"), by.get("ADJ")
    after_noun_slot = before is not None and (_nominal(before) or before.tag in ("V", "P"))
    if verb and noun and verb[1] == "ing" and noun[1] == "" and after_noun_slot and not _starts_noun(after):
        return noun
    if verb and (noun or adjective) and _verb_here(verb[1], before, after):
        return verb
    if adjective and (_starts_noun(after) or not noun):
        return adjective if "ADV" not in by or _starts_noun(after) else by["ADV"]
    return noun or by.get("ADV") or verb or unit.readings[0]


def _verb_here(form: str, before: Unit | None, after: Unit | None) -> bool:
    if before is None:
        return form == "ing"
    if _nominal(before):
        return form in ("ing", "ed")
    if before.tag in ("PRO", "AUX", "NEG") or (before.low in ("to", "and") and form == "ing"):
        return True
    if form == "ing":
        return True
    subject = before.tag == "N" or before.tag == "X"
    if form == "ed":
        return subject or before.tag in ("ADV", "CC", "PUNCT")
    if form == "s":
        return (subject and before.form != "s") or before.tag in ("ADV", "CC")
    return before.low == "to" or (
        subject and (before.form == "s" or before.cls in ("people", "groupn", "group2"))
    )


def _guess(unit: Unit, before: Unit | None, after: Unit | None) -> None:
    """Part of speech of a word in no table, by its ending and its neighbours."""
    word = unit.low
    if not word.isalpha():
        unit.tag = "PUNCT"
    elif word.endswith("ly"):
        unit.tag = "ADVX"
    elif word.endswith("ing") and len(word) > 5:
        unit.tag, unit.form = ("VMODX" if _nominal(before) and _starts_noun(after) else "VX"), "ing"
    elif word.endswith("ed") and len(word) > 4:
        unit.tag, unit.form = ("VMODX" if _nominal(before) or _starts_noun(after) else "VX"), "ed"
    elif (
        before is not None
        and word.endswith("s")
        and (before.tag in ("PRO", "AUX") or (before.cls == "person" and before.form != "s"))
    ):
        unit.tag = "VX"
    else:
        unit.tag = "ADJX" if _nominal(before) and _starts_noun(after) else "NX"
