"""Whom a description means: the words of a sentence held against each person of a record, in a stretch of time.

Clothes and things are read from the pooled facts, doings from the spells, which know when. What nothing here can see is
told apart from what was looked for and not found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from oddwatch.core import Query, Slot, Span
from oddwatch.describe.atoms import GROUPS, INDEX, group_of
from oddwatch.describe.sentence import parse
from oddwatch.describe.sentence.words import units
from oddwatch.understand.record import Proof, Record, Somebody, Spell

YES, NO = 0.5, 0.3
"""Probabilities from which something is held true, up to which it is held false; between them it is unknown."""
MEANT = 0.25
"""Probability of its weakest word from which a description means somebody."""
KIND_LEAST, KIND_NEVER = 0.35, 0.06
"""People name upper garments loosely, and a describer too: a kind that is not ruled out (p below the second) counts as so
likely, so that the colour beside it decides."""
NEAR = 0.7
"""Share of a word's weight from which an alternative answers for it: lying is not falling."""
IGNORED = frozenset(("person", "company", "count"))
"""Kinds of words that say who, not what: they tell nobody apart here."""
QUIET = frozenset(re.findall(r"\w+", """
picture video clip footage image frame recording film camera view sight scene seen shown visible see do does did doing
happen happens be being been begin begins begun beginning start starts starting one ones time moment second seconds number
mark there individual individuals persons up
"""))  # fmt: skip
"""Words of questions about clips that describe nobody."""
HELD = 0.4
"""Weight of "carrying" beside the thing carried, which says it already."""
IMPLIED = {"posture.riding": ("near.bicycle", "near.motorcycle"), "posture.climbing": ("near.fence",)}
"""Of "rides a bicycle" the riding is seen; a bicycle that nobody looks for does not stand against it."""
DOING = frozenset(("posture", "action", "motion"))


@dataclass(frozen=True, slots=True)
class Holding:
    """How sure it is that a word holds of somebody; ``p`` None where nothing was seen either way."""

    slot: Slot
    p: float | None
    spell: Spell | None = None
    atom: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """A phrase read: the ``slots`` that tell somebody apart and the words nobody here can see (``blind``)."""

    text: str
    slots: tuple[Slot, ...]
    blind: tuple[str, ...]

    @property
    def doing(self) -> tuple[Slot, ...]:
        """The slots that say what is done."""
        return tuple(s for s in self.slots if is_doing(s))


def is_doing(slot: Slot) -> bool:
    """Whether a slot says what is done, so that it has a time."""
    return bool(slot.atoms) and group_of(max(slot.atoms, key=lambda a: slot.atoms[a])) in DOING


def described(text: str) -> Description:
    """What a phrase says of somebody. Words it cannot place, and things nothing can see, are ``blind``."""
    if not text.strip():
        return Description(text, (), ())
    query: Query = parse(text)
    slots, blind = [], [u for u in query.unread if u.lower() not in QUIET]
    for slot in query.slots:
        visible = [a for a in slot.atoms if a in INDEX and not a.startswith("person.")]
        words = slot.words.lower()
        if words in QUIET or ("action.carry" in slot.atoms and slot.weight <= HELD):
            continue
        if slot.kind in IGNORED and not (slot.kind == "company" and "company.alone" in slot.atoms):
            continue
        if visible:
            slots.append(slot)
        elif words not in QUIET and not words.startswith(("something", "anything", "thing", "object")):
            blind.append(slot.words)
    if query.language != "en":
        blind.append("another language than English")
    return Description(text, tuple(slots), tuple(blind))


def holds(slot: Slot, person: Somebody, within: Span | None = None) -> Holding:
    """How sure it is that ``slot`` (as written, denials aside) holds of ``person`` in ``within`` seconds."""
    best: tuple[float, Spell | None, str] | None = None
    least = KIND_LEAST if slot.kind == "garment" else 0.0
    for atom, weight in sorted(slot.atoms.items(), key=lambda item: -item[1]):
        if atom not in INDEX or (is_doing(slot) and weight < NEAR and best is not None):
            continue
        found = _atom(atom, person, within)
        if found is None:
            continue
        p = max(min(weight, 1.0) * found[0], least if found[0] >= KIND_NEVER else 0.0)
        if best is None or p > best[0]:
            best = (p, found[1], atom)
    if best is None:
        return Holding(slot, None)
    return Holding(slot, 1 - best[0] if slot.negated else best[0], best[1], best[2])


def _atom(atom: str, person: Somebody, within: Span | None) -> tuple[float, Spell | None] | None:
    spells = person.spells if within is None else person.doing(within)
    own = [s for s in spells if s.atom == atom]
    if own:
        sure = max(own, key=lambda s: s.p)
        return sure.p, sure
    if group_of(atom) == "posture":
        # Every look has a posture: one that was never told was not there.
        return (0.05, None) if spells else None
    if not person.facts.known[INDEX[atom]]:
        return None
    p = float(person.facts.p[INDEX[atom]])
    return (p, None) if within is None or group_of(atom) not in DOING else (min(p, 0.45), None)


@dataclass(frozen=True, slots=True)
class Meant:
    """Somebody a description may mean: how sure of its weakest word, and what holds."""

    person: Somebody
    p: float
    holding: tuple[Holding, ...]

    @property
    def spell(self) -> Spell | None:
        """The spell in which the person does what was said, if anything was."""
        return next((h.spell for h in self.holding if h.spell is not None), None)

    def proof(self) -> Proof:
        """Where it can be seen."""
        spell = self.spell
        if spell is not None:
            return Proof(spell.time, said(spell.atom), spell.box, self.person.track, round(self.p, 3))
        middle = float(self.person.steps.times[len(self.person.steps.times) // 2])
        says = ", ".join(h.slot.words for h in self.holding) or "a person"
        return Proof(middle, says, self.person.steps.box(middle), self.person.track, round(self.p, 3))


def meant(record: Record, what: Description, within: Span | None = None) -> list[Meant]:
    """Everybody in the record a description may mean, surest first; a word nothing was seen of counts as unlikely."""
    found = []
    for person in record.people:
        if within is not None and not _present(person, within):
            continue
        holding = tuple(holds(s, person, within if is_doing(s) else None) for s in what.slots)
        implied = {o for h in holding if h.p is not None for a in h.slot.atoms for o in IMPLIED.get(a, ())}
        holding = tuple(h for h in holding if h.p is not None or not implied.intersection(h.slot.atoms))
        p = min((0.2 if h.p is None else h.p for h in holding), default=1.0)
        found.append(Meant(person, p, holding))
    return sorted(found, key=lambda m: (-m.p, -m.person.span.duration))


def _present(person: Somebody, within: Span) -> bool:
    return person.span.start - 0.3 <= within.end and within.start <= person.span.end + 0.3


def split(text: str) -> tuple[str, str]:
    """ "the person who falls wearing a hat" → ("the person who falls", "wearing a hat"): whom a question is about and
    what it asks of them; the verb of a relative clause belongs to the person."""
    read = units(text)
    relative = any(u.low in ("who", "that", "which") and u.tag == "PRO" for u in read)
    passed = not relative
    for i, unit in enumerate(read):
        # "dressed in red" and "seen" tell whom, not what.
        verb = unit.tag in ("V", "VX") or (unit.tag == "AUX" and i and passed)
        if not verb or unit.low.startswith(("dressed", "clad")):
            continue
        if passed:
            return text[: unit.start].strip(), text[unit.start :].strip()
        passed = unit.cls != "lightverb"
    return text, ""


def top(person: Somebody, group: str, least: float = 0.25) -> tuple[str, float] | None:
    """The likeliest value of a group of facts (``upper.color``) and its probability; None where nothing was seen."""
    found = [
        (float(person.facts.p[i]), value)
        for value in GROUPS[group]
        if person.facts.known[i := INDEX[f"{group}.{value}"]]
    ]
    p, value = max(found, default=(0.0, ""))
    return (value, p) if p >= least else None


def said(atom: str) -> str:
    """An atom as a word: ``posture.hand_to_head`` → "hand to head"."""
    return atom.rpartition(".")[2].replace("_", " ")


def yes_or_no(values: Sequence[float | None]) -> bool | None:
    """Whether any of some probabilities says yes, or all say no; None in between or where nothing was seen."""
    if any(v is not None and v >= YES for v in values):
        return True
    if values and all(v is not None and v <= NO for v in values):
        return False
    return None
