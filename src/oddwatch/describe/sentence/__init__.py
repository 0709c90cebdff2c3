"""A sentence, read: what it says, slot by slot, with the characters that say it."""

from __future__ import annotations

import re
from dataclasses import replace

from oddwatch.core import InputError, Query, TextEncoder
from oddwatch.describe.sentence.language import language_of
from oddwatch.describe.sentence.openwords import OPEN_TAGS, resolve
from oddwatch.describe.sentence.reader import Reader
from oddwatch.describe.sentence.words import Unit, units

LONGEST = 2000
"""Characters of the longest sentence that is read."""


def parse(text: str, sentence_encoder: TextEncoder | None = None) -> Query:
    """Read a sentence into slots.

    A text in another language or script, or without a letter, gives a query whose ``language`` is not ``en``
    and which has no slots; an English text in which nothing was read has no slots either. ``sentence_encoder``
    gives words in no table the atoms whose gloss is nearest in meaning, at a weight below 1; without it they
    stay ``unread``.

    Raises:
        InputError: empty text, or more than ``LONGEST`` characters.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("sentence", "expected words, got an empty text", "describe the person or the moment")
    if len(text) > LONGEST:
        raise InputError(
            "sentence",
            f"expected at most {LONGEST} characters, got {len(text)}",
            "shorten it to what matters",
        )
    language = language_of(text)
    if language != "en":
        return Query(text, language=language, unread=tuple(re.findall(r"\w+", text))[:100])
    read = units(text)
    guessed: list[Unit] = []
    if sentence_encoder is not None and any(unit.tag in OPEN_TAGS for unit in read):
        guessed = resolve(read, sentence_encoder)
    reader = Reader(text, read)
    reader.read()
    for at, slot in enumerate(reader.slots):
        weight = min(
            (u.sense.weight for u in guessed if u.sense and u.start < slot.end and slot.start < u.end),
            default=1.0,
        )
        if weight < 1:
            reader.slots[at] = replace(slot, weight=round(slot.weight * weight, 3))
    slots = sorted(reader.slots, key=lambda slot: (slot.start, slot.end))
    unread = tuple(dict.fromkeys(text[u.start : u.end] for u in reader.unread))
    target = "moment" if reader.moment else "person"
    return Query(text, tuple(slots), "moment" if target == "moment" else "person", unread, language)


__all__ = ["LONGEST", "language_of", "parse"]
