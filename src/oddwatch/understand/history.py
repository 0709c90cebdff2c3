"""What a track's history shows: what was unusual, what came before it, who was near, what followed.

Every cue is a number from the record put into words, with the look that shows it. None of them is a motive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import Finding, Span
from oddwatch.understand.fit import said
from oddwatch.understand.record import Proof, Record, Somebody, Spell
from oddwatch.understand.spells import speeds

GRAVE: Mapping[str, float] = {
    "action.hit_by_vehicle": 0.95, "action.shoot": 0.95, "action.fight": 0.75, "action.hit": 0.75, "action.kick": 0.7,
    "posture.falling": 0.6, "action.push": 0.5, "action.drag": 0.6, "posture.lying": 0.55, "posture.climbing": 0.45,
    "action.abandon": 0.45, "action.throw": 0.4, "action.flee": 0.4, "action.hide": 0.3, "posture.running": 0.25,
    "action.loiter": 0.2,
}  # fmt: skip
"""How bad a doing is by itself, 0–1: ours, in the order of the drawn scenes' severities (1 to 5)."""
SURE = 0.45
NEAR, FAR = 1.5, 0.8
"""Body heights within which somebody is near; beyond which a place is new."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something unusual: who, the spell, and how bad it is by itself (0–1)."""

    person: Somebody
    spell: Spell
    grave: float


@dataclass(frozen=True, slots=True)
class Cue:
    """One thing the history shows: its name, in words, and where."""

    name: str
    says: str
    proof: Proof


def events(record: Record, within: Span | None = None) -> list[Event]:
    """Unusual spells, gravest first; of equal ones the surer."""
    found = [
        Event(person, spell, GRAVE[spell.atom])
        for person in record.people
        for spell in (person.spells if within is None else person.doing(within))
        if spell.p >= SURE and spell.atom in GRAVE
    ]
    return sorted(found, key=lambda e: (-e.grave, -e.spell.p, e.spell.span.start))


def of_finding(record: Record, finding: Finding) -> Somebody | None:
    """The person a finding is about: whose box overlaps its box most while it lasts."""
    if finding.box is None:
        return None
    best: tuple[float, Somebody] | None = None
    for person in record.people:
        times = person.steps.times
        if finding.span is not None:
            times = times[(times >= finding.span.start - 0.3) & (times <= finding.span.end + 0.3)]
        for time in times:
            shared = person.steps.box(float(time)).iou(finding.box)
            if best is None or shared > best[0]:
                best = (shared, person)
    return best[1] if best is not None and best[0] > 0.1 else None


def proof(person: Somebody, time: float, says: str, p: float | None = None) -> Proof:
    """A look at a person."""
    return Proof(round(time, 2), says, person.steps.box(time), person.track, p)


def before(record: Record, person: Somebody, at: float) -> list[Cue]:
    """What the seconds before ``at`` show of a person and those around."""
    return [
        *_did(person, at),
        *_others(record, person, at),
        *_against(record, person, at),
        *_new_place(record, person, at),
    ]


def _did(person: Somebody, at: float) -> list[Cue]:
    found = []
    times = person.steps.times
    recent = np.flatnonzero((times >= at - 2.5) & (times <= at - 0.2))
    fast = speeds(person.steps)
    if len(recent) and float(fast[recent].max()) >= 1.2:
        peak = recent[int(fast[recent].argmax())]
        says = f"moved fast just before, {fast[peak]:.1f} body heights a second"
        found.append(Cue("fast", says, proof(person, float(times[peak]), says)))
    for spell in person.spells:
        if (
            spell.atom in ("posture.riding", "posture.climbing", "posture.jumping")
            and at - 3 <= spell.span.end <= at + 1
        ):
            says = f"was {said(spell.atom)} just before"
            found.append(Cue(said(spell.atom), says, proof(person, spell.time, says, round(spell.p, 3))))
    return found


def _others(record: Record, person: Somebody, at: float) -> list[Cue]:
    """People within reach, and what they were doing to each other."""
    found = []
    for other in record.people:
        if other is person or not other.span.start - 0.3 <= at <= other.span.end + 0.3:
            continue
        apart = distance(person, other, at)
        if apart > NEAR:
            continue
        acts = [s for s in (*other.spells, *person.spells) if s.atom.startswith("action.") and s.atom in GRAVE
                and s.p >= SURE and s.span.start <= at + 0.5 and s.span.end >= at - 2.5]  # fmt: skip
        if acts:
            sure = max(acts, key=lambda s: s.p)
            says = f"another person ({other.track}) was within {apart:.1f} body heights: {said(sure.atom)}"
            found.append(Cue("another", says, proof(other, sure.time, says, round(sure.p, 3))))
            continue
        i = int(np.abs(other.steps.times - at).argmin())
        if float(speeds(other.steps)[i]) >= 0.8 and apart <= 1.0:
            says = f"another person ({other.track}) came within {apart:.1f} body heights at speed"
            found.append(Cue("another", says, proof(other, at, says)))
    return found


def distance(a: Somebody, b: Somebody, at: float) -> float:
    """How far apart two people are at a time, in body heights of the larger, between their centres."""
    (x0, y0), (x1, y1) = a.steps.box(at).center, b.steps.box(at).center
    return float(np.hypot(x1 - x0, y1 - y0)) / max(a.steps.body, b.steps.body)


def _against(record: Record, person: Somebody, at: float) -> list[Cue]:
    """Against the direction of at least three others, of whom nearly all go one way."""
    others = [p.motion.dx for p in record.people if p is not person and abs(p.motion.dx) >= 0.15]
    own = person.motion.dx
    if abs(own) < 0.15 or len(others) < 3 or np.mean(np.sign(others) == -np.sign(own)) < 0.8:
        return []
    says = f"moved {'right' if own > 0 else 'left'}, against the direction of {len(others)} others"
    return [Cue("against", says, proof(person, at, says))]


def _new_place(record: Record, person: Somebody, at: float) -> list[Cue]:
    """Where nobody else had been, with enough seen before to tell."""
    feet = np.array([[(b[0] + b[2]) / 2, b[3]] for p in record.people if p is not person
                     for b in p.steps.boxes[p.steps.times < at]])  # fmt: skip
    if at - record.span.start < 8 or len(feet) < 40:
        return []
    box = person.steps.box(at)
    gap = float(np.hypot(feet[:, 0] - box.center[0], feet[:, 1] - box.y1).min()) / person.steps.body
    if gap < FAR:
        return []
    says = f"was where nobody else had been, {gap:.1f} body heights from the nearest path"
    return [Cue("place", says, proof(person, at, says))]


def after(record: Record, event: Event) -> list[Cue]:
    """What followed: lying still, getting up, others gathering, running off."""
    person, spell = event.person, event.spell
    end = spell.span.end
    found = []
    down = [
        s
        for s in person.spells
        if s.atom == "posture.lying" and s.p >= SURE and s.span.end >= spell.span.start
    ]
    if down:
        long = max(s.span.duration for s in down)
        says = f"lay on the ground for {long:.0f} s"
        found.append(Cue("lying", says, proof(person, down[-1].time, says)))
        last = down[-1].span.end
        rose = [s for s in person.spells if s.atom in ("posture.standing", "posture.walking", "posture.running")
                and s.span.start >= last - 0.5]  # fmt: skip
        if rose:
            says = f"got up at {rose[0].span.start:.0f} s"
            found.append(Cue("up", says, proof(person, rose[0].time, says)))
        elif person.span.end >= last - 0.5 and long >= 3:
            says = "did not get up while they were seen"
            found.append(Cue("down", says, proof(person, person.span.end, says)))
    came = [o for o in record.people if o is not person and _comes(o, person, spell.span.start, end + 6)]
    if came:
        says = f"{len(came)} other {'person' if len(came) == 1 else 'people'} came near"
        found.append(Cue("gather", says, proof(came[0], min(end + 2, came[0].span.end), says)))
    ran = [o for o in record.people if o is not person and any(
        s.atom == "posture.running" and s.p >= SURE and -1 <= s.span.start - spell.span.start <= 4 for s in o.spells)]  # fmt: skip
    if ran:
        says = f"{len(ran)} other {'person' if len(ran) == 1 else 'people'} ran"
        found.append(Cue("ran", says, proof(ran[0], min(end, ran[0].span.end), says)))
    return found


def _comes(other: Somebody, person: Somebody, start: float, end: float) -> bool:
    """Whether ``other`` was away at ``start`` and is near later on."""
    times = other.steps.times[(other.steps.times >= start) & (other.steps.times <= end)]
    apart = [distance(person, other, float(t)) for t in times]
    return bool(apart) and apart[0] > NEAR and min(apart) <= NEAR


def grave(event: Event | None, followed: Sequence[Cue], finding: Finding | None) -> float | None:
    """How severe, 0–1: the doing's own weight, more where somebody stays down, less where they get up; the finding's
    own severity where that is higher. None where nothing tells."""
    names = {c.name for c in followed}
    values = []
    if event is not None:
        own = (
            event.grave
            + 0.25 * ("down" in names)
            - 0.15 * ("up" in names)
            + 0.05 * ("gather" in names or "ran" in names)
        )
        values.append(float(np.clip(own, 0, 1)))
    if finding is not None and finding.severity is not None:
        values.append(finding.severity)
    return max(values, default=None)
