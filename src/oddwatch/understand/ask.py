"""Free questions about a clip, answered from its record with the evidence, or UNKNOWN with the reason.

A question is read (:mod:`oddwatch.understand.reading`), the people it speaks of are looked up in the record
(:mod:`oddwatch.understand.fit`), and what is known of them answers it. An answer is UNKNOWN where no picture could tell,
where a word is not known here, where nobody in the record is meant, or where the facts are not sure enough. A chat
model, where given, answers what the record cannot; it may refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from oddwatch.core import InputError
from oddwatch.understand import doings, explain, looks
from oddwatch.understand.reading import Asked, read
from oddwatch.understand.record import Record, Statement, unknown

if TYPE_CHECKING:
    from oddwatch.language.asking import Chat

LONGEST = 500
"""Characters of the longest question."""


def ask(
    record: Record,
    question: str,
    chat: Chat | None = None,
    frames: explain.Looker | None = None,
) -> Statement:
    """The answer to ``question`` about a clip.

    ``chat`` answers where the record says UNKNOWN for want of facts (not where no picture could tell), looking at
    ``frames(times)`` where it sees. Raises InputError for an empty question or one over ``LONGEST`` characters.
    """
    if not question.strip() or len(question) > LONGEST:
        raise InputError("question", f"expected 1 to {LONGEST} characters, got {len(question.strip())}")
    asked = read(question, record.span)
    own = _answer(record, asked)
    if own.known or chat is None or asked.blind:
        return own
    from oddwatch.understand.model import ask_model

    return ask_model(record, question, own, chat, frames)


def _answer(record: Record, asked: Asked) -> Statement:
    if asked.blind:
        return unknown(f"No picture shows {asked.blind}.")
    if asked.kind == "open":
        return unknown("This is no question that facts can answer.")
    within = asked.within
    if within is not None and (within.start > record.span.end + 0.5 or within.end < record.span.start - 0.5):
        return unknown(
            f"{within.start:g} s is outside what was watched ({record.span.start:.0f} to {record.span.end:.0f} s)."
        )
    if not record.people and asked.kind not in ("yes-no", "count", "light", "place"):
        return unknown("Nobody was seen in the clip.")
    return ANSWERS[asked.kind](record, asked)


ANSWERS: Mapping[str, Callable[[Record, Asked], Statement]] = {
    "yes-no": doings.yes_no,
    "count": doings.count,
    "long": doings.long,
    "when": doings.when,
    "doing": doings.doing,
    "why": doings.why,
    "severity": doings.severity,
    "colour": looks.colour,
    "garment": looks.garment,
    "carried": looks.carried,
    "where": looks.where,
    "place": looks.place,
    "light": looks.light,
    "direction": looks.direction,
    "who": looks.who,
}
"""The answer to each kind of question that facts can answer."""
