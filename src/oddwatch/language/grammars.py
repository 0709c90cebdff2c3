"""How models are asked to write their answers where no JSON is asked for, and how such answers are read.

One reader a grammar (video-language §1.6). A reader never raises on a model's output: what is not of the form is UNKNOWN
or an empty section, and what follows from that is the caller's rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from oddwatch.core import UNKNOWN, Unknown
from oddwatch.language import lenient, parsing

BRACKETED = re.compile(r"\[\s*(\d+(?:\.\d+)?|\.\d+)\s*\]")
LONE_DIGIT = re.compile(r"(?<![\d.,])[01](?![\d]|[.,]\d)")
ITEM = re.compile(r"^\s*(?:[-*•+]\s+|\(?\d{1,3}\s*[.):]\s*)")
SENTENCES = re.compile(r"(?<=[.!?])\s+")
MOST_ITEMS, LONGEST_ITEM, LONGEST_LINE = 100, 300, 1000
"""Entries of a list, characters of one, and of a line that are kept."""


ZERO_OR_ONE: dict[str, Any] = {"enum": [0, 1]}
"""Told to the server only, as are lengths: some ignore the limits of a number, and some models never end a text."""


class Flagged(BaseModel):
    """A verdict of 0 (normal) or 1 (anomalous) with the texts that stand beside it."""

    description: str = Field("", json_schema_extra={"maxLength": 1200})
    reasoning: str = Field("", json_schema_extra={"maxLength": 600})
    anomaly: int = Field(ge=0, le=1, json_schema_extra=ZERO_OR_ONE)


class Verdict(BaseModel):
    """What :func:`digit_after` reads, as JSON."""

    reasoning: str = Field("", json_schema_extra={"maxLength": 400})
    output: int = Field(ge=0, le=1, json_schema_extra=ZERO_OR_ONE)


class Rating(BaseModel):
    """What :func:`number` reads, as JSON: 0 to 1 in tenths."""

    score: float = Field(ge=0, le=1, json_schema_extra={"enum": [i / 10 for i in range(11)]})


def number(text: str, most: float | None = None) -> float | Unknown:
    """The first bracket pair that encloses one unsigned decimal number and nothing else: ``[0.7]`` is 0.7 (P2).

    A bare number, empty brackets and a list of numbers are UNKNOWN, as is a number above ``most``.
    """
    found = BRACKETED.search(lenient.spoken(text))
    if found is None:
        return UNKNOWN
    value = float(found.group(1))
    return UNKNOWN if most is not None and value > most else value


def digit_after(text: str, marker: str = "output", compat: bool = False) -> int | Unknown:
    """The 0 or 1 after the last ``marker``; of a text without the marker, the first in it (VERA).

    Only a digit that stands alone counts, so that 10 and 0.9 are neither. ``compat`` reads as the released code: 0
    where there is any digit 0, else 1, whatever was said.
    """
    said = lenient.spoken(text)
    at = said.lower().rfind(marker.lower())
    rest = said[at + len(marker) :] if at >= 0 else said
    if compat:
        return 0 if "0" in rest else 1
    found = LONE_DIGIT.search(rest)
    return UNKNOWN if found is None else int(found.group())


def lines_after(text: str, marker: str, most: int = 5) -> tuple[str, ...] | Unknown:
    """The first ``most`` filled lines after the last ``marker``, without their numbers; UNKNOWN without the marker or
    without such a line (VERA's new questions)."""
    said = lenient.spoken(text)
    at = said.lower().rfind(marker.lower())
    if at < 0:
        return UNKNOWN
    rest = said[at + len(marker) :].lstrip("*_#:` \t").splitlines()
    kept = [line for line in (_bare(raw) for raw in rest) if re.search(r"\w", line)]
    return tuple(kept[:most]) or UNKNOWN


def titled_lists(text: str, titles: Mapping[str, re.Pattern[str]]) -> dict[str, tuple[str, ...]]:
    """Name → entries of the list under its title. A line that is no list entry and that a title's pattern is found in
    starts its section; where none is found the section is empty. Entries are numbered or dashed lines, or, in a section
    without any, all its lines; a title that comes twice adds to its section. An entry that is repeated counts once."""
    marked: dict[str, list[str]] = {name: [] for name in titles}
    plain: dict[str, list[str]] = {name: [] for name in titles}
    section = None
    for line in lenient.spoken(text).splitlines():
        item = ITEM.match(line.replace("**", ""))
        name = next((n for n, p in titles.items() if p.search(line)), None) if item is None else None
        if name is not None:
            section = name
        elif section is not None and re.search(r"\w", line):
            (marked if item else plain)[section].append(_bare(line))
    return {name: tuple(dict.fromkeys(marked[name] or plain[name]))[:MOST_ITEMS] for name in titles}


def words(text: str) -> tuple[str, ...] | Unknown:
    """The words of a Python list, lower-cased, each once; UNKNOWN where no list is in the answer.

    Fenced, amid prose and cut off as in :mod:`oddwatch.language.lenient`; without brackets a numbered or dashed list
    will do.
    """
    for value in lenient.values(text):
        if isinstance(value, list) and any(isinstance(v, str) for v in value):
            return _once([v for v in value if isinstance(v, str)])
    listed = [_bare(line) for line in lenient.spoken(text).splitlines() if ITEM.match(line)]
    return _once(listed) if listed else UNKNOWN


def flagged(text: str) -> Flagged | Unknown:
    """A JSON object with ``anomaly`` 0 or 1 (as a number, text or truth value) and texts, fenced, commented or in
    Python's quotes; UNKNOWN where the flag is missing or something else."""
    found: Any = parsing.read(text, Flagged)[0]
    return found if isinstance(found, Flagged) else UNKNOWN


def last_line(text: str) -> str | Unknown:
    """The last filled line without quotes, a sentence that is repeated once only, UNKNOWN where there is none (LAVAD's
    summaries)."""
    lines = [line.strip().strip("\"'").strip() for line in lenient.spoken(text).splitlines()]
    last = next((line for line in reversed(lines) if re.search(r"\w", line)), None)
    return UNKNOWN if last is None else " ".join(dict.fromkeys(SENTENCES.split(last)))[:LONGEST_LINE]


def _bare(line: str) -> str:
    """A list entry without its number, emphasis and the full stop."""
    plain = ITEM.sub("", line.replace("**", "").strip(), count=1)
    return plain.strip().strip("\"'`").rstrip(".").strip()[:LONGEST_ITEM]


def _once(found: list[str]) -> tuple[str, ...]:
    kept = (word.strip().lower()[:LONGEST_ITEM] for word in found)
    return tuple(dict.fromkeys(word for word in kept if word))[:MOST_ITEMS]
