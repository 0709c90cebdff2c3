"""Whom a question is about: one person of the record, or why nobody is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oddwatch.core import Span
from oddwatch.understand.fit import MEANT, Description, Meant, meant
from oddwatch.understand.record import Proof, Record, Statement, unknown

_LEAD = re.compile(
    r"^(when|where|whereabouts|who|what|which|at|in|on|for|to|since|how|is|are|was|were|does|do|did|has|have|had|can|could|will|"
    r"long|many|much|moment|time|second|seconds|part|half|side|corner|of|the picture|the frame|the image|point|it|that)\b[ ,]*"
)


def bare(words: str) -> str:
    """A question without the words that only ask."""
    words = words.strip(" ,")
    while (shorter := _LEAD.sub("", words, count=1)) != words:
        words = shorter
    return words.strip(" ,")


def the_one(record: Record, what: Description, within: Span | None) -> Meant | Statement:
    """The person a question is about, or why there is none."""
    if what.blind:
        return refused(what)
    found = meant(record, what, within)
    if within is not None and found and found[0].p < MEANT:
        # What tells them apart may be done at another time than the one asked for.
        always = {m.person.track: m for m in meant(record, what)}
        found = sorted((always[m.person.track] for m in found), key=lambda m: -m.p)
    if not found:
        return unknown("Nobody was in the picture then.")
    if not what.slots and len(found) > 1:
        return unknown("Several people were seen and the question tells none of them apart.")
    if found[0].p < MEANT:
        return unknown(f'Nobody in the record is known to be "{what.text}".')
    return found[0]


def refused(what: Description) -> Statement:
    return unknown(f"Nothing here can tell {', '.join(repr(b) for b in what.blind)} in a picture.")


def proofs(found: Sequence[Meant]) -> tuple[Proof, ...]:
    return tuple(m.proof() for m in found[:5])
