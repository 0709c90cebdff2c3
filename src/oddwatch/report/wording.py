"""Times, file names and sentences as a page shows them. Everything here may come from a stranger."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from oddwatch.core import Query, Slot

# Bidirectional controls can make a file name read as another one; they are shown, not obeyed.
_SHOWN = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}

FAMILIES: dict[str, str] = {
    "color": "color",
    "garment": "wear",
    "accessory": "wear",
    "hair": "wear",
    "posture": "doing",
    "action": "doing",
    "motion": "doing",
    "facing": "doing",
    "object": "thing",
    "person": "who",
    "count": "who",
    "company": "who",
    "place": "where",
    "light": "where",
}
"""Slot kind → the colour family its words are shown in; kinds not listed are shown plain."""


def printable(text: str) -> str:
    """``text`` fit to be shown and encoded: undecodable bytes become U+FFFD, control and
    direction-changing characters their code point in brackets."""
    try:
        clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # a lone surrogate that no file name makes; shown by its code point below
        clean = text
    return "".join(map(_visible, clean))


def _visible(char: str) -> str:
    if char in "\n\t":
        return " "
    if ord(char) in _SHOWN or unicodedata.category(char) in ("Cc", "Cs"):
        return f"[U+{ord(char):04X}]"
    return char


def clock(seconds: float) -> str:
    """Seconds as ``mm:ss``, from an hour on ``h:mm:ss``; part seconds are cut, as players do."""
    whole = max(int(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def wall(time: datetime) -> str:
    """A moment of the day as ``2026-03-01 14:05:09 UTC``; the zone is left out where it is not known."""
    offset = time.utcoffset()
    if offset is None:
        zone = ""
    elif offset == timedelta(0):
        zone = " UTC"
    else:
        zone = time.strftime(" %z")
    return time.strftime("%Y-%m-%d %H:%M:%S") + zone


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of the sentence as shown: its text, and what was understood.

    ``role`` is plain, slot, unseen (understood, but nothing here can see it) or unread; ``slot`` the
    number of the slot in the query.
    """

    text: str
    role: str = "plain"
    kind: str = ""
    family: str = ""
    negated: bool = False
    slot: int | None = None
    swatch: str = ""


def words(query: Query) -> list[Word]:
    """The sentence cut into plain and understood pieces, in order; joined they give the whole text."""
    marks: list[tuple[int, int, Word]] = []
    for number, slot in enumerate(query.slots):
        start, end = _place(query.text, slot.words, slot.start, slot.end)
        if start < end:
            marks.append((start, end, _word(query.text[start:end], number, slot)))
    for unread in query.unread:
        start = _free(query.text, unread, [(s, e) for s, e, _ in marks])
        if start >= 0 and unread:
            end = start + len(unread)
            marks.append((start, end, Word(query.text[start:end], "unread", "not read")))
    return _cut(query.text, sorted(marks, key=lambda m: (m[0], -m[1])))


def _cut(text: str, marks: Sequence[tuple[int, int, Word]]) -> list[Word]:
    pieces: list[Word] = []
    at = 0
    for start, end, word in marks:
        if start < at:  # inside an earlier mark: that one already shows these letters
            continue
        if start > at:
            pieces.append(Word(text[at:start]))
        pieces.append(word)
        at = end
    if at < len(text):
        pieces.append(Word(text[at:]))
    return pieces


def _place(text: str, wanted: str, start: int, end: int) -> tuple[int, int]:
    if 0 <= start < end <= len(text):
        return start, end
    found = text.lower().find(wanted.lower()) if wanted else -1
    return (found, found + len(wanted)) if found >= 0 else (0, 0)


def _free(text: str, wanted: str, taken: Sequence[tuple[int, int]]) -> int:
    low, at = text.lower(), -1
    while (at := low.find(wanted.lower(), at + 1)) >= 0:
        end = at + len(wanted)
        whole = not (at and low[at - 1].isalnum()) and not (end < len(low) and low[end].isalnum())
        if whole and all(end <= s or at >= e for s, e in taken):
            return at
    return -1


def visible(slot: Slot) -> bool:
    """Whether anything here can see what the slot says: ``person.*`` is read in sentences, never seen."""
    return any(not atom.startswith("person.") for atom in slot.atoms)


def _word(text: str, number: int, slot: Slot) -> Word:
    role = "slot" if visible(slot) else "unseen"
    family = FAMILIES.get(slot.kind, "other")
    return Word(text, role, slot.kind, family, slot.negated, number, _swatch(slot))


def _swatch(slot: Slot) -> str:
    """The colour a slot names (its heaviest colour atom), or nothing."""
    named = [(w, a) for a, w in slot.atoms.items() if ".color." in a]
    return max(named)[1].rpartition(".")[2] if named and slot.kind == "color" else ""
