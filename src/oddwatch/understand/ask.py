"""Free questions about a clip, answered from its record with the evidence, or UNKNOWN with the reason.

A question is read (:mod:`oddwatch.understand.reading`), the people it speaks of are looked up in the record
(:mod:`oddwatch.understand.fit`), and what is known of them answers it. An answer is UNKNOWN where no picture could tell,
where a word is not known here, where nobody in the record is meant, or where the facts are not sure enough. A chat
model, where given, answers what the record cannot; it may refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from oddwatch.core import InputError, Span
from oddwatch.describe.atoms import GROUPS, INDEX, group_of
from oddwatch.describe.caption import facts_sentence
from oddwatch.understand import explain
from oddwatch.understand.fit import (
    MEANT,
    Description,
    Meant,
    described,
    meant,
    said,
    split,
    top,
    yes_or_no,
)
from oddwatch.understand.reading import Asked, read
from oddwatch.understand.record import Proof, Record, Somebody, Spell, Statement, unknown

if TYPE_CHECKING:
    from oddwatch.language.asking import Chat

LONGEST = 500
"""Characters of the longest question."""
REGIONS: tuple[tuple[str, str], ...] = (
    ("lower", r"\b(legs?|lower|below the waist|bottom half|trousers)\b"),
    ("feet", r"\b(feet|foot|shoes)\b"),
    ("head", r"\b(head|face)\b"),
    ("upper", r"\b(upper|top|torso|chest|above the waist)\b"),
)
_LEAD = re.compile(
    r"^(when|where|whereabouts|who|what|which|at|in|on|for|to|since|how|is|are|was|were|does|do|did|has|have|had|can|could|will|"
    r"long|many|much|moment|time|second|seconds|part|half|side|corner|of|the picture|the frame|the image|point|it|that)\b[ ,]*"
)


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


# -- whom ------------------------------------------------------------------------------------------------------------


def _bare(words: str) -> str:
    """A question without the words that only ask."""
    words = words.strip(" ,")
    while (shorter := _LEAD.sub("", words, count=1)) != words:
        words = shorter
    return words.strip(" ,")


def _one(record: Record, what: Description, within: Span | None) -> Meant | Statement:
    """The person a question is about, or why there is none."""
    if what.blind:
        return _blind(what)
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


def _blind(what: Description) -> Statement:
    return unknown(f"Nothing here can tell {', '.join(repr(b) for b in what.blind)} in a picture.")


def _proofs(found: Sequence[Meant]) -> tuple[Proof, ...]:
    return tuple(m.proof() for m in found[:5])


# -- answers ---------------------------------------------------------------------------------------------------------


_SOMEBODY = re.compile(r"\b(the|that|this|he|she|they)\b")
_ANYBODY = re.compile(
    r"^(anybody|anyone|somebody|someone|people|any|some|an?|there|two|three|nobody|no one|nothing)\b"
)


def _yes_no(record: Record, asked: Asked) -> Statement:
    words = _bare(asked.words)
    words = re.sub(r"^(you see|there|be|not) ", "", words)
    if re.search(r"\b(unusual|abnormal|strange|odd|suspicious|anomal\w+|out of the ordinary)\b", words):
        return explain.anything(record)
    if _ANYBODY.match(words) or not re.match(r"(the|that|this)\b", words):
        return _exists(record, described(words), asked.within)
    subject, predicate = split(words)
    whom, what = described(subject), described(predicate)
    if not whom.slots and not whom.blind and len(record.people) != 1:
        return _exists(record, described(words), asked.within)
    found = _one(record, whom, asked.within)
    if isinstance(found, Statement):
        return found
    if what.blind or not what.slots:
        return _blind(what) if what.blind else unknown("The question does not say what to look for.")
    held = meant(Record(record.source, record.span, record.size, (found.person,)), what, asked.within)
    values = [h.p for h in held[0].holding] if held else [None]
    low = None if any(v is None for v in values) else min(v for v in values if v is not None)
    return _verdict(yes_or_no([low]), held or [found], what.text, low)


def _exists(record: Record, what: Description, within: Span | None) -> Statement:
    if what.blind:
        return _blind(what)
    if not what.slots:
        n = len(record.people)
        return Statement(
            "Yes." if n else "No, nobody was seen.", bool(n), _proofs(meant(record, what, within))
        )
    found = meant(record, what, within)
    values: list[float | None] = []
    for one in found:
        known = [h.p for h in one.holding if h.p is not None]
        # One word that surely does not hold is enough for a no.
        low = min(known, default=None)
        values.append(low if len(known) == len(one.holding) or (low is not None and low < 0.1) else None)
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
    proof = _proofs(found) if told else ()
    return Statement(
        "Yes." if told else "No.", told, proof, None if p is None else round(p if told else 1 - p, 3)
    )


def _count(record: Record, asked: Asked) -> Statement:
    words = re.sub(
        r"\b(how many|what is|the number of|different|can be counted|are in view|are there)\b",
        " ",
        asked.words,
    )
    what = described(_bare(words))
    if what.blind:
        return _blind(what)
    if what.slots:
        found = [m for m in meant(record, what, asked.within) if m.p >= YES_COUNT]
        return Statement(f"{len(found)}.", len(found), _proofs(found))
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


def _when(record: Record, asked: Asked) -> Statement:
    words = _bare(asked.words)
    border = "leave" if _LEAVES.search(words) else "come" if _COMES.search(words) else ""
    if border:
        words = _COMES.sub("", _LEAVES.sub("", words))
    what = described(words)
    if border or (not what.doing and not what.blind):
        found = _one(record, what, None)
        if isinstance(found, Statement):
            return found
        return _at_border(record, found, border)
    if what.blind:
        return _blind(what)
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


def _long(record: Record, asked: Asked) -> Statement:
    what = described(_bare(re.sub(r"\b(for )?how (long|many seconds)\b|\bbeen there\b", " ", asked.words)))
    found = meant(record, what)
    if what.blind:
        return _blind(what)
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


_OWNER = re.compile(r"\b(?:worn by|of|on|has|does|is wearing)\b (?=(?:the|a|that|this)\b)")


def _colour(record: Record, asked: Asked) -> Statement:
    words = re.sub(r"^(in )?(what|which) colou?rs?|\bcolou?r of\b", " ", asked.words)
    parts = _OWNER.split(_bare(words), maxsplit=1)
    thing, owner = parts[0], parts[1] if len(parts) > 1 else ""
    item = described(thing)
    if item.blind:
        return _blind(item)
    group = next((g for s in item.slots for a in s.atoms if (g := _colour_group(a))), "")
    if not group:
        return unknown(f'No colours are kept of "{thing.strip()}".')
    found = _one(record, described(owner or _rest(thing)), asked.within)
    if isinstance(found, Statement):
        return found
    return _fact(found, group, f"{group.partition('.')[0]} colour")


def _rest(thing: str) -> str:
    """ "the falling person's jacket" → "the falling person"."""
    owner, mark, _ = thing.partition("'s ")
    return owner if mark else ""


def _colour_group(atom: str) -> str:
    group = group_of(atom)
    if atom in ("carry.bag", "carry.backpack", "carry.suitcase"):
        return "bag.color"
    known = {"upper.type": "upper.color", "lower.type": "lower.color", "feet.type": "feet.color",
             "head.wear": "head.color", "hair.color": "hair.color", "hair.length": "hair.color"}  # fmt: skip
    return known.get(group, "")


def _fact(found: Meant, group: str, what: str, least: float = 0.25) -> Statement:
    best = top(found.person, group, least)
    if best is None:
        return unknown(f"The {what} could not be seen.", note=f"track {found.person.track}")
    value, p = best
    proof = found.proof()
    at = found.person.facts.boxes.get(f"{group}.{value}") or proof.box
    shown = Proof(proof.time, f"{what}: {said(value)}", at, proof.track, round(p, 3))
    return Statement(f"{said(value).capitalize()}.", said(value), (shown, proof), round(p, 3))


def _garment(record: Record, asked: Asked) -> Statement:
    region = next((r for r, words in REGIONS if re.search(words, asked.words)), "")
    words = re.sub(r"\b(on|at|over) (the|his|her|their) (legs?|feet|head|upper body|lower body|body|torso|face)\b|\b(below|above) the waist\b|"
                   r"\b(what|which)( kind of)?( garment| clothes| clothing)?\b|\bwear(s|ing)?\b|\bdressed in$|\bclad in$", " ", asked.words)  # fmt: skip
    found = _one(record, described(_bare(words)), asked.within)
    if isinstance(found, Statement):
        return found
    groups = {"lower": "lower.type", "feet": "feet.type", "head": "head.wear", "upper": "upper.type"}
    if region:
        return _fact(found, groups[region], f"{region} garment")
    text = facts_sentence(found.person.facts, 0.4)
    best = top(found.person, "upper.type")
    return Statement(text, best[0], (found.proof(),)) if best else unknown("The clothes could not be seen.")


def _carried(record: Record, asked: Asked) -> Statement:
    words = re.sub(r"\b(carry|carries|carrying|carried|hold|holds|holding)\b", " ", asked.words)
    found = _one(record, described(_bare(words)), asked.within)
    return found if isinstance(found, Statement) else _fact(found, "carry", "thing carried", 0.4)


def _where(record: Record, asked: Asked) -> Statement:
    words = re.sub(
        r"(,| or| and| on the| in the)* \b(left|middle|right|centre|center)\b(,| or)?", " ", asked.words
    )
    found = _one(record, described(_bare(words)), asked.within)
    if isinstance(found, Statement):
        return found
    proof = found.proof()
    box = (
        proof.box
        if found.spell is None or asked.turn == ""
        else found.person.steps.box(_turned(found, asked))
    )
    if box is None or not record.size[0]:
        return unknown("The place in the picture is not known.")
    x = box.center[0] / record.size[0]
    side = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "middle"
    return Statement(
        f"In the {side} of the picture, at {proof.time:.1f} s.", side, (proof,), proof.probability
    )


def _turned(found: Meant, asked: Asked) -> float:
    spell = found.spell
    assert spell is not None
    return spell.span.end + 0.5 if asked.turn == "after" else spell.span.start - 0.5


def _doing(record: Record, asked: Asked) -> Statement:
    words = re.sub(
        r"\b(up to|going on|happen(s|ed|ing)?|doing|takes? place|took place|follow(s|ed)?( for)?|what do they do|do they do)\b",
        " ",
        asked.words,
    )
    what = described(_strip_do(_bare(words)))
    if not what.slots and not what.blind and len(record.people) != 1:
        return explain.happened(record, asked.within)
    found = _one(record, what, asked.within)
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


def _scene(record: Record, group: str, least: float) -> tuple[str, float] | None:
    """The likeliest value of a group of the surroundings, from the whole picture or else from the people's."""
    every = [record.scene] if record.scene is not None else []
    every += [p.facts for p in record.people]
    for facts in every:
        known = [(float(facts.p[i]), v) for v in GROUPS[group] if facts.known[i := INDEX[f"{group}.{v}"]]]
        p, value = max(known, default=(0.0, ""))
        if p >= least:
            return value, p
    return None


def _light(record: Record, asked: Asked) -> Statement:
    best = _scene(record, "light", 0.5)
    return (
        Statement(f"{best[0].capitalize()}.", best[0], probability=round(best[1], 3))
        if best
        else unknown("The light does not tell.")
    )


def _place(record: Record, asked: Asked) -> Statement:
    best = _scene(record, "place", 0.5)
    if best is None:
        return unknown("The kind of place could not be told from the pictures.")
    return Statement(f"{said(best[0]).capitalize()}.", said(best[0]), probability=round(best[1], 3))


def _direction(record: Record, asked: Asked) -> Statement:
    words = re.sub(r"\b(direction|way|go|goes|going|moves?|moving|heads?|heading)\b", " ", asked.words)
    found = _one(record, described(_bare(words)), asked.within)
    if isinstance(found, Statement):
        return found
    motion = found.person.motion
    dx, dy = motion.dx, motion.dy
    if max(abs(dx), abs(dy)) < 0.05:
        return unknown("They go nowhere.")
    side = (
        ("right" if dx > 0 else "left")
        if abs(dx) >= abs(dy)
        else ("towards the camera" if dy > 0 else "away from the camera")
    )
    return Statement(f"{side.capitalize()}.", side, (found.proof(),))


def _who(record: Record, asked: Asked) -> Statement:
    what = described(_bare(asked.words))
    if what.blind or not what.slots:
        return (
            _blind(what)
            if what.blind
            else unknown("The question does not say who is meant; names are not known.")
        )
    found = [m for m in meant(record, what, asked.within) if m.p >= MEANT]
    if not found:
        return unknown(f'Nobody in the record is known to be "{what.text}".')
    return Statement(
        facts_sentence(found[0].person.facts, 0.4),
        f"track {found[0].person.track}",
        _proofs(found),
        round(found[0].p, 3),
    )


def _why(record: Record, asked: Asked) -> Statement:
    what = described(
        _bare(re.sub(r"^(why|how come|what (is|was) the (cause|reason)|what caused?s?)\b", "", asked.words))
    )
    if what.blind:
        return _blind(what)
    if what.doing:
        found = _one(record, what, asked.within)
        if isinstance(found, Statement):
            return found
        return explain.why(record, found.person, found.spell)
    return explain.explain(record).why


def _severity(record: Record, asked: Asked) -> Statement:
    return explain.explain(record).how


ANSWERS: Mapping[str, Callable[[Record, Asked], Statement]] = {
    "yes-no": _yes_no, "count": _count, "long": _long, "when": _when, "colour": _colour, "light": _light,
    "place": _place, "where": _where, "garment": _garment, "carried": _carried, "doing": _doing, "why": _why,
    "severity": _severity, "who": _who, "direction": _direction,
}  # fmt: skip
