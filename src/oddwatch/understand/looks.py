"""Answers about looks and places: colours, clothes, things carried, where in the picture, the place, the light, who."""

from __future__ import annotations

import re

from oddwatch.describe.atoms import GROUPS, INDEX, group_of
from oddwatch.describe.caption import facts_sentence
from oddwatch.understand.fit import MEANT, Meant, described, meant, said, top
from oddwatch.understand.reading import Asked
from oddwatch.understand.record import Proof, Record, Statement, unknown
from oddwatch.understand.whom import bare, proofs, refused, the_one

REGIONS: tuple[tuple[str, str], ...] = (
    ("lower", r"\b(legs?|lower|below the waist|bottom half|trousers)\b"),
    ("feet", r"\b(feet|foot|shoes)\b"),
    ("head", r"\b(head|face)\b"),
    ("upper", r"\b(upper|top|torso|chest|above the waist)\b"),
)


_OWNER = re.compile(r"\b(?:worn by|of|on|has|does|is wearing)\b (?=(?:the|a|that|this)\b)")


def colour(record: Record, asked: Asked) -> Statement:
    words = re.sub(r"^(in )?(what|which) colou?rs?|\bcolou?r of\b", " ", asked.words)
    parts = _OWNER.split(bare(words), maxsplit=1)
    thing, owner = parts[0], parts[1] if len(parts) > 1 else ""
    item = described(thing)
    if item.blind:
        return refused(item)
    group = next((g for s in item.slots for a in s.atoms if (g := _colour_group(a))), "")
    if not group:
        return unknown(f'No colours are kept of "{thing.strip()}".')
    found = the_one(record, described(owner or _rest(thing)), asked.within)
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


def garment(record: Record, asked: Asked) -> Statement:
    region = next((r for r, words in REGIONS if re.search(words, asked.words)), "")
    words = re.sub(r"\b(on|at|over) (the|his|her|their) (legs?|feet|head|upper body|lower body|body|torso|face)\b|\b(below|above) the waist\b|"
                   r"\b(what|which)( kind of)?( garment| clothes| clothing)?\b|\bwear(s|ing)?\b|\bdressed in$|\bclad in$", " ", asked.words)  # fmt: skip
    found = the_one(record, described(bare(words)), asked.within)
    if isinstance(found, Statement):
        return found
    groups = {"lower": "lower.type", "feet": "feet.type", "head": "head.wear", "upper": "upper.type"}
    if region:
        return _fact(found, groups[region], f"{region} garment")
    text = facts_sentence(found.person.facts, 0.4)
    best = top(found.person, "upper.type")
    return Statement(text, best[0], (found.proof(),)) if best else unknown("The clothes could not be seen.")


def carried(record: Record, asked: Asked) -> Statement:
    words = re.sub(r"\b(carry|carries|carrying|carried|hold|holds|holding)\b", " ", asked.words)
    found = the_one(record, described(bare(words)), asked.within)
    return found if isinstance(found, Statement) else _fact(found, "carry", "thing carried", 0.4)


def where(record: Record, asked: Asked) -> Statement:
    words = re.sub(
        r"(,| or| and| on the| in the)* \b(left|middle|right|centre|center)\b(,| or)?", " ", asked.words
    )
    found = the_one(record, described(bare(words)), asked.within)
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


def light(record: Record, asked: Asked) -> Statement:
    best = _scene(record, "light", 0.5)
    return (
        Statement(f"{best[0].capitalize()}.", best[0], probability=round(best[1], 3))
        if best
        else unknown("The light does not tell.")
    )


def place(record: Record, asked: Asked) -> Statement:
    best = _scene(record, "place", 0.5)
    if best is None:
        return unknown("The kind of place could not be told from the pictures.")
    return Statement(f"{said(best[0]).capitalize()}.", said(best[0]), probability=round(best[1], 3))


def direction(record: Record, asked: Asked) -> Statement:
    words = re.sub(r"\b(direction|way|go|goes|going|moves?|moving|heads?|heading)\b", " ", asked.words)
    found = the_one(record, described(bare(words)), asked.within)
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


def who(record: Record, asked: Asked) -> Statement:
    what = described(bare(asked.words))
    if what.blind or not what.slots:
        return (
            refused(what)
            if what.blind
            else unknown("The question does not say who is meant; names are not known.")
        )
    found = [m for m in meant(record, what, asked.within) if m.p >= MEANT]
    if not found:
        return unknown(f'Nobody in the record is known to be "{what.text}".')
    return Statement(
        facts_sentence(found[0].person.facts, 0.4),
        f"track {found[0].person.track}",
        proofs(found),
        round(found[0].p, 3),
    )
