"""What happened, why, and how severe it is: the three questions of CUVA (Du et al., CVPR 2024, arXiv 2405.00181).

CUVA puts them to a video language model. Here the record answers first: *what* from the facts and the doings of whom a
finding means, *why* from what the track's history shows before it (fast before falling, another person at it, against
the others' direction, where nobody was before, the cue that decided), *how* from what followed (stayed down, got up,
others gather) and the finding's own severity. A part that nothing supports is UNKNOWN; a motive is never told. A chat
model, where given, is shown frames and the facts; its parts count only with frames it was shown, and where the facts
contradict it they stay and the disagreement is said (:mod:`oddwatch.understand.model`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oddwatch.core import Finding, Frame, Jsonable, Span
from oddwatch.describe.caption import facts_sentence
from oddwatch.scoring.severity import in_words
from oddwatch.understand import history
from oddwatch.understand.fit import said
from oddwatch.understand.record import Proof, Record, Somebody, Spell, Statement, unknown

if TYPE_CHECKING:
    from oddwatch.language.asking import Chat

Looker = Callable[[Sequence[float]], Sequence[Frame]]
"""The frames of a clip at some times, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation(Jsonable):
    """The answers to the three questions about ``finding`` (its id; "" for the clip as a whole). ``severity`` 0–1, None
    where nothing tells."""

    finding: str
    what: Statement
    why: Statement
    how: Statement
    severity: float | None = None

    @property
    def parts(self) -> dict[str, Statement]:
        """The three answers by name."""
        return {"what": self.what, "why": self.why, "how": self.how}


def explain(
    record: Record, finding: Finding | None = None, chat: Chat | None = None, frames: Looker | None = None
) -> Explanation:
    """What, why and how severe: of ``finding``, or of the gravest thing in the record.

    ``chat`` is asked the same with ``frames`` (where it sees) and the facts.
    """
    event = _event(record, finding)
    person = event.person if event is not None else history.of_finding(record, finding) if finding else None
    followed = history.after(record, event) if event is not None else []
    severe = history.grave(event, followed, finding)
    at = event.spell.span.start if event is not None else _time(record, finding)
    spell = event.spell if event is not None else None
    own = Explanation(
        finding.id if finding is not None else "",
        _what(record, finding, event, person),
        why(record, person, spell, at),
        _how(severe, event, followed, finding, at),
        severe,
    )
    if chat is None:
        return own
    from oddwatch.understand.model import explain_model

    return explain_model(record, own, at, chat, frames)


def _event(record: Record, finding: Finding | None) -> history.Event | None:
    """What a finding is about, else the gravest thing in the record."""
    if finding is None:
        return next(iter(history.events(record)), None)
    within = None
    if finding.span is not None:
        within = Span(max(finding.span.start - 1, 0), finding.span.end + 1)
    found = history.events(record, within)
    meant = history.of_finding(record, finding)
    own = [e for e in found if meant is not None and e.person is meant]
    # A finding with a box is about whom it shows; without one, about the gravest thing in its time.
    return next(iter(own), None) if finding.box is not None and meant is not None else next(iter(found), None)


def _time(record: Record, finding: Finding | None) -> float | None:
    if finding is not None and finding.span is not None:
        return (finding.span.start + finding.span.end) / 2
    if record.curve is not None and len(record.curve.times):
        return float(record.curve.times[int(record.curve.values.argmax())])
    return None


def _what(
    record: Record, finding: Finding | None, event: history.Event | None, person: Somebody | None
) -> Statement:
    if event is not None:
        one, spell = event.person, event.spell
        later = [
            s
            for s in one.spells
            if s.span.start >= spell.span.start and s is not spell and s.p >= history.SURE
        ]
        then = "".join(f", then {said(s.atom)}" for s in later[:2])
        text = f"{said(spell.atom).capitalize()}{then}, {spell.span.start:.1f} to {spell.span.end:.1f} s. {_clothes(one)}"
        shown = Proof(spell.time, said(spell.atom), spell.box, one.track, round(spell.p, 3))
        return Statement(text, said(spell.atom), (shown, *_seen_facts(one)), round(spell.p, 3))
    if person is not None and finding is not None:
        at = _time(record, finding) or person.span.start
        doing = ", ".join(dict.fromkeys(said(s.atom) for s in person.doing(finding.span or person.span)))
        text = f"{_clothes(person)} {doing.capitalize() or 'Doing nothing that could be told'}."
        return Statement(
            f"{text} {_reason(finding)}".strip(), doing or "somebody", (history.proof(person, at, doing),)
        )
    if finding is not None and finding.reason:
        shown = Proof(_time(record, finding) or 0.0, finding.reason, finding.box, None, finding.probability)
        return Statement(_reason(finding), finding.reason, (shown,), finding.probability)
    return unknown("Nothing unusual was seen in the record.")


def _reason(finding: Finding) -> str:
    return f"The detector says: {finding.reason}." if finding.reason else ""


def _clothes(person: Somebody) -> str:
    return facts_sentence(person.facts, 0.5)


def _seen_facts(person: Somebody) -> tuple[Proof, ...]:
    """The surest two facts that have a box."""
    from oddwatch.describe.atoms import INDEX, group_of

    shown = [(float(person.facts.p[INDEX[a]]), a, b) for a, b in person.facts.boxes.items()
             if group_of(a).startswith(("upper", "lower", "head", "carry"))]  # fmt: skip
    times = person.steps.times
    middle = float(times[len(times) // 2])
    return tuple(
        Proof(middle, a, b, person.track, round(p, 3)) for p, a, b in sorted(shown, key=lambda s: -s[0])[:2]
    )


def why(record: Record, person: Somebody | None, spell: Spell | None, at: float | None = None) -> Statement:
    """What the history before shows; UNKNOWN where it shows nothing."""
    at = spell.span.start if spell is not None else at
    cues = history.before(record, person, at) if person is not None and at is not None else []
    if record.curve is not None and record.curve.cues and at is not None and len(record.curve.times):
        i = int(np.abs(record.curve.times - at).argmin())
        cue = max(record.curve.cues, key=lambda name: float(record.curve.cues[name][i]))  # type: ignore[union-attr]
        says = f"most unusual by {cue.replace('_', ' ')}"
        cues.append(history.Cue("curve", says, Proof(round(at, 2), says, None, None, None)))
    if not cues:
        return unknown("Nothing that was seen before tells why; motives are not seen.")
    text = "; ".join(c.says for c in cues)
    return Statement(f"{text[0].upper()}{text[1:]}.", text, tuple(c.proof for c in cues))


def _how(
    severe: float | None,
    event: history.Event | None,
    followed: Sequence[history.Cue],
    finding: Finding | None,
    at: float | None,
) -> Statement:
    if severe is None:
        return unknown("Nothing in the record tells how severe it is.")
    told = "; ".join(c.says for c in followed)
    parts = [f"{in_words(severe).capitalize()} ({severe:.2f} of 1)", *([told] if told else [])]
    proofs = [c.proof for c in followed]
    if not proofs and event is not None:
        proofs = [
            history.proof(event.person, event.spell.time, said(event.spell.atom), round(event.spell.p, 3))
        ]
    if not proofs and finding is not None:
        proofs = [
            Proof(at or 0.0, f"severity {severe:.2f} of the finding", finding.box, None, finding.probability)
        ]
    return Statement(": ".join(parts) + ".", in_words(severe), tuple(proofs))


def happened(record: Record, within: Span | None) -> Statement:
    """What happens in some seconds: the unusual first, else what everybody does."""
    found = history.events(record, within)[:3]
    if found:
        words = list(dict.fromkeys(said(e.spell.atom) for e in found))
        proof = tuple(
            Proof(e.spell.time, said(e.spell.atom), e.spell.box, e.person.track, round(e.spell.p, 3))
            for e in found
        )
        spans = "; ".join(
            f"{said(e.spell.atom)}, {e.spell.span.start:.1f} to {e.spell.span.end:.1f} s" for e in found
        )
        return Statement(f"{spans[0].upper()}{spans[1:]}.", words[0], proof, round(found[0].spell.p, 3))
    told = [
        (p, s)
        for p in record.people
        for s in (p.spells if within is None else p.doing(within))
        if s.p >= history.SURE
    ]
    if not told:
        return unknown("Nothing that could be told happens then.")
    words = list(dict.fromkeys(said(s.atom) for _, s in told))
    proof = tuple(Proof(s.time, said(s.atom), s.box, p.track, round(s.p, 3)) for p, s in told[:3])
    return Statement(f"Nothing unusual; people are {', '.join(words)}.", words[0], proof)


def anything(record: Record) -> Statement:
    """Whether anything unusual happens: yes by a finding or an unusual doing, no where people were watched."""
    found = history.events(record)
    if found or record.findings:
        if found:
            return Statement("Yes.", True, happened(record, None).proof, round(found[0].spell.p, 3))
        shown = [
            Proof(f.span.start if f.span else 0.0, f.reason or f.task, f.box, None, f.probability)
            for f in record.findings[:3]
        ]
        return Statement("Yes.", True, tuple(shown), record.findings[0].probability)
    if not len(record.times):
        return unknown("The clip was not looked at.")
    return Statement("No, nothing unusual was seen.", False)
