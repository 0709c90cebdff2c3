"""A chat model on a clip: shown frames and the record's facts, believed only as far as it cites what it was shown.

Its answer has a schema; frames it cites are checked against those it was given, and an answer that cites none counts as
UNKNOWN. What it says of people is read by the sentence parser and held against the facts: where they contradict it, the
facts' answer stays and the disagreement is said. A refusal, a broken answer or no answer leaves the record's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from oddwatch.core import Answer, Frame, Unknown
from oddwatch.describe.caption import facts_sentence
from oddwatch.language.parsing import known
from oddwatch.language.templates import prompt
from oddwatch.understand.choice import moments
from oddwatch.understand.fit import NO, described, meant, said
from oddwatch.understand.record import Proof, Record, Statement

if TYPE_CHECKING:
    from oddwatch.language.asking import Chat
    from oddwatch.understand.explain import Explanation, Looker


class Part(BaseModel):
    """One answer and the frames, counted from 1, that show it."""

    text: str = Field(max_length=600)
    frames: list[int] = Field(default_factory=list, max_length=32)


class Told(BaseModel):
    """The answers to what, why and how severe."""

    what: Part
    why: Part
    how: Part


class Answered(BaseModel):
    """The answer to one question and the frames that show it."""

    answer: str = Field(max_length=600)
    frames: list[int] = Field(default_factory=list, max_length=32)


@dataclass(frozen=True, slots=True)
class _Shown:
    times: tuple[float, ...]
    frames: tuple[Frame, ...]


def _shown(record: Record, at: float | None, chat: Chat, frames: Looker | None) -> _Shown:
    """The times to look at, and their frames where the model sees."""
    times = tuple(moments(record.span, at, record.curve))
    if frames is None or chat.sees is False:
        return _Shown(times, ())
    seen = tuple(frames(times))
    return _Shown(
        tuple(round(f.time if f.time is not None else t, 2) for f, t in zip(seen, times, strict=False)), seen
    )


def facts_text(record: Record, most: int = 12) -> str:
    """The record in lines of text: who, when, doing what, with probabilities; the findings."""
    lines = []
    for person in sorted(record.people, key=lambda p: -p.span.duration)[:most]:
        lines.append(
            f"person {person.track}, seen {person.span.start:.1f} to {person.span.end:.1f} s: {facts_sentence(person.facts)}"
        )
        lines += [
            f"  {said(s.atom)} from {s.span.start:.1f} to {s.span.end:.1f} s, probability {s.p:.2f}"
            for s in person.spells[:10]
        ]
    lines += [f"finding {f.id}: {f.reason or f.task}, score {f.score:.3g}" for f in record.findings[:5]]
    return "\n".join(lines) or "Nobody was seen."


def ask_model(record: Record, question: str, own: Statement, chat: Chat, frames: Looker | None) -> Statement:
    """The model's answer to ``question``, or ``own`` with a note where it has none that counts."""
    shown = _shown(record, None, chat, frames)
    asked = prompt(
        "ask_clip",
        question=question,
        times=list(shown.times),
        count=len(shown.frames),
        facts=facts_text(record),
    )
    answer: Answer[Answered] = chat.ask(asked, shown.frames, Answered)
    if isinstance(answer.parsed, Unknown):
        return replace(
            own, note=_joined(own.note, f"the model gave no answer: {answer.note or answer.outcome}")
        )
    return _believed(record, own, Part(text=answer.parsed.answer, frames=answer.parsed.frames), shown)


def explain_model(
    record: Record, own: Explanation, at: float | None, chat: Chat, frames: Looker | None
) -> Explanation:
    """``own`` with the parts that the model supports by frames it was shown."""
    shown = _shown(record, at, chat, frames)
    asked = prompt("explain", times=list(shown.times), count=len(shown.frames), facts=facts_text(record))
    answer: Answer[Told] = chat.ask(asked, shown.frames, Told)
    if isinstance(answer.parsed, Unknown):
        note = f"the model gave no answer: {answer.note or answer.outcome}"
        what, why, how = (replace(part, note=_joined(part.note, note)) for part in own.parts.values())
        return replace(own, what=what, why=why, how=how)
    told = answer.parsed
    return replace(own, what=_believed(record, own.what, told.what, shown), why=_believed(record, own.why, told.why, shown),
                   how=_believed(record, own.how, told.how, shown))  # fmt: skip


def _believed(record: Record, own: Statement, part: Part, shown: _Shown) -> Statement:
    text = known(part.text)
    if isinstance(text, Unknown):
        return replace(own, note=_joined(own.note, "the model cannot tell")) if own.known else own
    cited = sorted({n for n in part.frames if 1 <= n <= len(shown.times)})
    missing = sorted(set(part.frames) - set(cited))
    if not cited:
        said_so = f"frames {', '.join(map(str, missing))}, which do not exist" if missing else "no frame"
        return replace(own, note=_joined(own.note, f'the model says "{text}" but cites {said_so}'))
    against = disagreements(record, text)
    if against:
        note = f'the model says "{text}", the facts disagree: {", ".join(against)}'
        return replace(own, note=_joined(own.note, note))
    proof = (*(Proof(shown.times[n - 1], f"frame {n}") for n in cited), *own.proof)
    note = f"frames {', '.join(map(str, missing))} do not exist" if missing else ""
    return Statement(
        text,
        own.value if own.known else text,
        proof,
        own.probability if own.known else None,
        "model",
        _joined(note, own.note),
    )


def disagreements(record: Record, text: str) -> list[str]:
    """What a text says that the facts contradict: doings of a probability of at most ``NO`` in everybody seen, where
    something was seen of everybody. What the facts do not know contradicts nothing."""
    found = []
    for slot in described(text).slots:
        if slot.kind not in ("posture", "action") or slot.negated or not record.people:
            continue
        values = [m.holding[0].p for m in meant(record, replace(described(slot.words), slots=(slot,)))]
        if values and all(v is not None and v <= NO for v in values):
            found.append(f'nobody is seen "{slot.words}"')
    return found


def _joined(*notes: str) -> str:
    return "; ".join(n for n in notes if n)
