"""Answers about doings: is it so, how many, when, how long, what is done then, before or after, why, how severe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oddwatch.core import Span
from oddwatch.describe.atoms import group_of
from oddwatch.understand import explain
from oddwatch.understand.fit import MEANT, Description, Meant, described, meant, said, split, yes_or_no
from oddwatch.understand.reading import Asked
from oddwatch.understand.record import Proof, Record, Somebody, Spell, Statement, unknown
from oddwatch.understand.whom import bare, proofs, refused, the_one

_ANYBODY = re.compile(
    r"^(anybody|anyone|somebody|someone|people|any|some|an?|there|two|three|nobody|no one|nothing)\b"
)


GLIMPSE = 1.5
"""Seconds below which somebody of whom nothing is known does not stand in the way of a no."""


def yes_no(record: Record, asked: Asked) -> Statement:
    words = bare(asked.words)
    words = re.sub(r"^(you see|there|be|not) ", "", words)
    if re.search(r"\b(unusual|abnormal|strange|odd|suspicious|anomal\w+|out of the ordinary)\b", words):
        return explain.anything(record)
    if _ANYBODY.match(words) or not re.match(r"(the|that|this)\b", words):
        return _exists(record, described(words), asked.within)
    subject, predicate = split(words)
    whom, what = described(subject), described(predicate)
    if not whom.slots and not whom.blind and len(record.people) != 1:
        return _exists(record, described(words), asked.within)
    found = the_one(record, whom, asked.within)
    if isinstance(found, Statement):
        return found
    if what.blind or not what.slots:
        return refused(what) if what.blind else unknown("The question does not say what to look for.")
    held = meant(Record(record.source, record.span, record.size, (found.person,)), what, asked.within)
    values = [h.p for h in held[0].holding] if held else [None]
    low = None if any(v is None for v in values) else min(v for v in values if v is not None)
    return _verdict(yes_or_no([low]), held or [found], what.text, low)


def _exists(record: Record, what: Description, within: Span | None) -> Statement:
    if what.blind:
        return refused(what)
    if not what.slots:
        n = len(record.people)
        return Statement(
            "Yes." if n else "No, nobody was seen.", bool(n), proofs(meant(record, what, within))
        )
    found = meant(record, what, within)
    values: list[float | None] = []
    for one in found:
        known = [h.p for h in one.holding if h.p is not None]
        # One word that surely does not hold is enough for a no; a glimpse of somebody says nothing.
        low = min(known, default=None)
        told = low if len(known) == len(one.holding) or (low is not None and low < 0.1) else None
        if told is not None or one.person.span.duration >= GLIMPSE:
            values.append(told)
    if not found:
        return Statement("No, nobody was in the picture.", False, probability=0.9)
    told = yes_or_no(values)
    sure = max((v for v in values if v is not None), default=None)
    return _verdict(told, [m for m in found if m.p >= MEANT] or found[:1], what.text, sure)


def _verdict(told: bool | None, found: Sequence[Meant], what: str, p: float | None) -> Statement:
    if told is None:
        return unknown(
            f'The facts do not tell whether "{what}".', note="" if p is None else f"probability {p:.2f}"
        )
    proof = proofs(found) if told else ()
    return Statement(
        "Yes." if told else "No.", told, proof, None if p is None else round(p if told else 1 - p, 3)
    )


def count(record: Record, asked: Asked) -> Statement:
    words = re.sub(
        r"\b(how many|what is|the number of|different|can be counted|are in view|are there)\b",
        " ",
        asked.words,
    )
    what = described(bare(words))
    if what.blind:
        return refused(what)
    if what.slots:
        found = [m for m in meant(record, what, asked.within) if m.p >= YES_COUNT]
        return Statement(f"{len(found)}.", len(found), proofs(found))
    if asked.within is not None:
        at = (asked.within.start + asked.within.end) / 2
        n = record.count(at)
        if n is None:
            return unknown("The clip was not looked at then.")
        there = [p for p in record.people if p.span.start <= at <= p.span.end]
        return Statement(
            f"{n} at {at:.1f} s.", n, tuple(Proof(at, "a person", p.steps.box(at), p.track) for p in there)
        )
    most = int(record.counts.max()) if len(record.counts) else 0
    return Statement(f"{len(record.people)} in all, at most {most} at once.", len(record.people))


YES_COUNT = 0.45


def _spells(found: Sequence[Meant], what: Description) -> list[tuple[Spell, Meant]]:
    """The spells of the described doing of everybody meant, in order of time."""
    atoms = {a for s in what.doing for a, w in s.atoms.items() if w >= 0.7}
    out = [(s, m) for m in found if m.p >= MEANT for s in m.person.spells if s.atom in atoms and s.p >= MEANT]
    return sorted(out, key=lambda pair: pair[0].span.start)


_LEAVES = re.compile(
    r"\b(leaves?|left|disappears?|goes away|go away|walks? off)\b(?! (behind|a|the (?!picture|scene|frame)))"
)


_COMES = re.compile(r"\b(appears?|arrives?|enters?|comes? in|come into view)\b")


def when(record: Record, asked: Asked) -> Statement:
    words = bare(asked.words)
    border = "leave" if _LEAVES.search(words) else "come" if _COMES.search(words) else ""
    if border:
        words = _COMES.sub("", _LEAVES.sub("", words))
    what = described(words)
    if border or (not what.doing and not what.blind):
        found = the_one(record, what, None)
        if isinstance(found, Statement):
            return found
        return _at_border(record, found, border)
    if what.blind:
        return refused(what)
    told = _spells(meant(record, what, asked.within), what)
    if not told:
        return unknown(f'Nobody in the record is known to be "{what.text}".')
    starts = [round(s.span.start, 2) for s, _ in told]
    spans = ", ".join(f"{s.span.start:.1f} to {s.span.end:.1f} s" for s, _ in told[:5])
    proof = tuple(Proof(s.time, said(s.atom), s.box, m.person.track, round(s.p, 3)) for s, m in told[:5])
    return Statement(f"{spans}.", starts, proof, round(max(s.p for s, _ in told), 3))


def _at_border(record: Record, found: Meant, border: str) -> Statement:
    span = found.person.span
    at = span.start if border == "come" else span.end
    inside = at > record.span.start + 1 if border == "come" else at < record.span.end - 1
    if not border:
        return Statement(f"{span.start:.1f} to {span.end:.1f} s.", [round(span.start, 2)], (found.proof(),))
    if not inside:
        return unknown(
            "They are there when the clip begins." if border == "come" else "They are still there at the end."
        )
    return Statement(f"At {at:.1f} s.", [round(at, 2)],
                     (Proof(at, border, found.person.steps.box(at), found.person.track),))  # fmt: skip


def long(record: Record, asked: Asked) -> Statement:
    what = described(bare(re.sub(r"\b(for )?how (long|many seconds)\b|\bbeen there\b", " ", asked.words)))
    found = meant(record, what)
    if what.blind:
        return refused(what)
    if not what.doing:
        return unknown("The question does not say how long what lasts.")
    told = _spells(found, what)
    stays = re.search(r"\bbeen there\b|\bin (view|the picture)\b", asked.words)
    if not told:
        return unknown(f'Nobody in the record is known to be "{what.text}".')
    spell, one = max(told, key=lambda pair: pair[0].span.duration)
    seconds = one.person.span.duration if stays else spell.span.duration
    proof = Proof(spell.time, said(spell.atom), spell.box, one.person.track, round(spell.p, 3))
    return Statement(f"{seconds:.1f} seconds.", round(seconds, 1), (proof,), round(spell.p, 3))


def doing(record: Record, asked: Asked) -> Statement:
    words = re.sub(
        r"\b(up to|going on|happen(s|ed|ing)?|doing|takes? place|took place|follow(s|ed)?( for)?|what do they do|do they do)\b",
        " ",
        asked.words,
    )
    what = described(_strip_do(bare(words)))
    if not what.slots and not what.blind and len(record.people) != 1:
        return explain.happened(record, asked.within)
    found = the_one(record, what, asked.within)
    if isinstance(found, Statement):
        return found
    if asked.turn and found.spell is not None:
        return _beside(found.person, found.spell, asked.turn)
    if found.spell is not None and asked.within is None and len(what.slots) == len(what.doing):
        return unknown("The question says itself what is done.")
    span = asked.within or found.person.span
    told = [s for s in found.person.doing(Span(span.start - 0.2, span.end + 0.2)) if s.p >= MEANT]
    return _told(found.person, told, span) if told else unknown("What is done then could not be seen.")


def _strip_do(words: str) -> str:
    return re.sub(r"\b(do|does|did)$", "", words).strip(" ,")


def _told(person: Somebody, told: Sequence[Spell], span: Span) -> Statement:
    # The posture that fills most of the time is the answer; what else is done stands in the text.
    main = max(told, key=lambda s: (min(s.span.end, span.end) - max(s.span.start, span.start), s.p))
    words = list(dict.fromkeys(said(s.atom) for s in told))
    proof = tuple(Proof(s.time, said(s.atom), s.box, person.track, round(s.p, 3)) for s in told[:5])
    return Statement(f"{', '.join(words).capitalize()}.", said(main.atom), proof, round(main.p, 3))


def _beside(person: Somebody, spell: Spell, turn: str) -> Statement:
    """What somebody did right before or after a spell."""
    postures = [s for s in person.spells if group_of(s.atom) == "posture" and s.atom != spell.atom]
    if turn == "after":
        near = [s for s in postures if s.span.end > spell.span.end + 0.2 and s.span.start >= spell.span.start]
        one = min(near, key=lambda s: s.span.start, default=None)
    else:
        near = [s for s in postures if s.span.start < spell.span.start - 0.2]
        one = max(near, key=lambda s: s.span.end, default=None)
    if one is None:
        return unknown(f"Nothing is known of them {turn} that.")
    proof = Proof(one.time, said(one.atom), one.box, person.track, round(one.p, 3))
    return Statement(f"{said(one.atom).capitalize()}, {one.span.start:.1f} to {one.span.end:.1f} s.", said(one.atom),
                     (proof,), round(one.p, 3))  # fmt: skip


def why(record: Record, asked: Asked) -> Statement:
    what = described(
        bare(re.sub(r"^(why|how come|what (is|was) the (cause|reason)|what caused?s?)\b", "", asked.words))
    )
    if what.blind:
        return refused(what)
    if what.doing:
        found = the_one(record, what, asked.within)
        if isinstance(found, Statement):
            return found
        return explain.why(record, found.person, found.spell)
    return explain.explain(record).why


def severity(record: Record, asked: Asked) -> Statement:
    return explain.explain(record).how
