"""What somebody did when, from where they were and how they held themselves at each look.

Postures come from the keypoints (``describe.body``), split into standing, walking and running by the speed at that
instant; a fall is the turn from upright to lying, or the fastest drop of the head; fights and the like need hands on
another person for a second. Neighbouring looks vote, so that one odd pose makes no spell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from oddwatch.core import Box, Person, Pose, Span
from oddwatch.describe import body, company
from oddwatch.describe.atoms import INDEX
from oddwatch.describe.describer import Sheet
from oddwatch.media.motion import is_lying
from oddwatch.understand.record import Spell, Steps

VOTE = 0.45
"""Seconds on either side of a look whose looks vote with it."""
WALK = 0.14
"""Body heights a second from which somebody walks, over two seconds: towards the camera little moves."""
SHORTEST = 0.4
UPRIGHT = ("posture.standing", "posture.walking", "posture.running", "posture.bending", "posture.crouching")
FAMILIES = (("standing", "walking", "running"), ("crouching", "bending", "sitting"), ("lying",), ("riding",),
            ("climbing",), ("jumping",))  # fmt: skip
"""Postures that are taken for one another."""
FAINT, MOST_FAINT = 0.15, 0.42
"""Probabilities between which a posture that was never the likeliest is noted."""
PAIRS = ("fight", "hug", "push")
PAIRED = 0.33
"""Mean probability over a second from which an action between two people is told."""


def spells_of(steps: Mapping[int, Steps]) -> dict[int, list[Spell]]:
    """Track → spells in order of their start, of everybody in one clip."""
    out = {track: _postures(own) for track, own in steps.items()}
    for track, found in _between(steps).items():
        out[track] = sorted([*out[track], *found], key=lambda s: (s.span.start, s.atom))
    return out


def speeds(steps: Steps, reach: float = 0.5) -> np.ndarray:
    """(T,) body heights a second at each look, over the looks within ``reach`` seconds on either side."""
    times, centres = steps.times, steps.centres
    out = np.zeros(len(times))
    for i, t in enumerate(times):
        near = np.flatnonzero(np.abs(times - t) <= reach + 1e-6)
        a, b = near[0], near[-1]
        if times[b] - times[a] > 0.2:
            out[i] = np.hypot(*(centres[b] - centres[a])) / (times[b] - times[a])
    return out / steps.body


def _odds(steps: Steps) -> dict[str, np.ndarray]:
    """Posture atom → (T,) probability at each look."""
    rows = []
    for i, (row, speed, slow) in enumerate(zip(steps.boxes, speeds(steps), speeds(steps, 1.0), strict=True)):
        box = Box(*(float(v) for v in row))
        pose = None if steps.poses is None else steps.poses[i]
        if pose is not None and (pose[[5, 6, 11, 12], 2] >= 0.2).sum() >= 3:
            told = body.posture(pose, box)
            lies = is_lying(Person(box, pose=Pose(pose.astype(np.float32))))
        else:
            lies = is_lying(Person(box))
            told = dict.fromkeys(body.POSTURES, 0.02) | ({"lying": 0.6} if lies else {"standing": 0.7})
        told["lying"] = max(told["lying"], 0.6 * lies)
        told = body.by_speed(told, body.soft(slow, WALK, 0.035), speed, slow)
        rows.append([min(told[w], 0.98) for w in body.POSTURES])
    table = np.array(rows)
    return {f"posture.{w}": table[:, k] for k, w in enumerate(body.POSTURES)}


def _postures(steps: Steps) -> list[Spell]:
    odds = _odds(steps)
    names = [n for n in odds if n != "posture.falling"]
    table = np.stack([odds[n] for n in names], axis=1)
    times = steps.times
    near = np.abs(times[:, None] - times[None]) <= VOTE
    smooth = (near @ table) / near.sum(1, keepdims=True)
    best = _chosen(smooth, names)
    found: list[Spell] = []
    for first, last in _runs(best):
        if times[last] - times[first] >= SHORTEST or len(times) == 1:
            p = smooth[first : last + 1, best[first]]
            peak = float(times[first + int(p.argmax())])
            sure = min(float(p.mean()) + 0.5 * _kin(smooth[first : last + 1], names, int(best[first])), 0.95)
            found.append(
                Spell(names[int(best[first])], _until(times, first, last), sure, peak, steps.box(peak))
            )
    found = _joined(found)
    found += _falls(steps, found)
    return sorted([*found, *_faint(steps, smooth, names, found)], key=lambda s: (s.span.start, s.atom))


def _faint(steps: Steps, smooth: np.ndarray, names: Sequence[str], found: Sequence[Spell]) -> list[Spell]:
    """The postures never told that came nearest to it, with their own low probability: too faint for a yes, enough to
    say whom a question means."""
    out = []
    told = {s.atom for s in found}
    for column, atom in enumerate(names):
        peak = int(smooth[:, column].argmax())
        p = float(smooth[peak, column])
        if atom in told or atom.partition(".")[2] in FAMILIES[0] or p < FAINT:
            continue
        on = smooth[:, column] >= 0.6 * p
        first, last = next((a, b) for a, b in _runs(on.astype(int)) if a <= peak <= b)
        at = float(steps.times[peak])
        out.append(Spell(atom, _until(steps.times, first, last), min(p, MOST_FAINT), at, steps.box(at)))
    return out


def _chosen(smooth: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(T,) the likeliest posture of the likeliest family: half-seen low postures would lose to standing one by one."""
    families = [[names.index(f"posture.{w}") for w in family] for family in FAMILIES]
    sums = np.stack([smooth[:, own].sum(1) for own in families], axis=1)
    within = np.stack([np.array(own)[smooth[:, own].argmax(1)] for own in families], axis=1)
    chosen: np.ndarray = within[np.arange(len(smooth)), sums.argmax(1)]
    return chosen


def _kin(smooth: np.ndarray, names: Sequence[str], best: int) -> float:
    """Mean probability of the other postures of a posture's family."""
    word = names[best].partition(".")[2]
    own = next(f for f in FAMILIES if word in f)
    return float(smooth[:, [names.index(f"posture.{w}") for w in own if w != word]].sum(1).mean())


def _until(times: np.ndarray, first: int, last: int) -> Span:
    return Span(float(times[first]), float(times[min(last + 1, len(times) - 1)]))


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch of equal values."""
    cuts = np.flatnonzero(np.diff(values)) + 1
    starts, ends = [0, *cuts.tolist()], [*(cuts - 1).tolist(), len(values) - 1]
    return list(zip(starts, ends, strict=True)) if len(values) else []


def _joined(spells: Sequence[Spell], gap: float = 1.2) -> list[Spell]:
    """Spells of one atom that a short interruption parts, as one."""
    out: list[Spell] = []
    for spell in spells:
        last = next((s for s in reversed(out) if s.atom == spell.atom), None)
        if last is not None and spell.span.start - last.span.end <= gap:
            sure = max(last, spell, key=lambda s: s.p)
            out[out.index(last)] = Spell(
                spell.atom, Span(last.span.start, spell.span.end), sure.p, sure.time, sure.box
            )
        else:
            out.append(spell)
    return out


def _falls(steps: Steps, spells: Sequence[Spell]) -> list[Spell]:
    """Where somebody who was upright lies within two seconds, however the look between was read."""
    out: list[Spell] = []
    for lying in (s for s in spells if s.atom == "posture.lying"):
        before = [s for s in spells if s.atom in UPRIGHT and s.span.start < lying.span.start]
        if not before or lying.span.start - before[-1].span.end > 2.0:
            continue
        if out and lying.span.start - out[-1].span.end < 3.0:
            continue
        # Some bend or crouch on the way down: the fall begins where the body last was upright.
        begun = min(before[-1].span.end, lying.span.start)
        start, end = max(begun - 0.5, float(steps.times[0])), min(lying.span.start + 0.6, lying.span.end)
        at = float(steps.times[int(np.abs(steps.times - begun).argmin())])
        out.append(Spell("posture.falling", Span(start, max(end, start)), 0.9 * lying.p, at, steps.box(at)))
    return out


def _between(steps: Mapping[int, Steps]) -> dict[int, list[Spell]]:
    """Actions between two people, from looks at which both were seen with their poses."""
    at: dict[float, list[tuple[int, Person]]] = {}
    for track, own in steps.items():
        for i, time in enumerate(own.times):
            pose = None if own.poses is None else Pose(own.poses[i].astype(np.float32))
            at.setdefault(float(time), []).append((track, Person(Box(*own.boxes[i].tolist()), pose=pose)))
    series: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for time, present in at.items():
        for track, person in present:
            others = [p for t, p in present if t != track]
            sheet = Sheet()
            company.fill(sheet, person, others)
            for word in PAIRS:
                series.setdefault((track, word), []).append((time, float(sheet.p[INDEX[f"action.{word}"]])))
    out: dict[int, list[Spell]] = {}
    for (track, word), seen in series.items():
        out.setdefault(track, []).extend(_strong(f"action.{word}", seen, steps[track]))
    return out


def _strong(atom: str, seen: Sequence[tuple[float, float]], steps: Steps) -> list[Spell]:
    times, values = (np.array(v) for v in zip(*sorted(seen), strict=True))
    near = np.abs(times[:, None] - times[None]) <= 0.75
    mean = (near @ values) / near.sum(1)
    on = (mean >= PAIRED) & (near.sum(1) >= 3)
    found = []
    for first, last in _runs(on.astype(int)):
        if on[first]:
            peak = first + int(mean[first : last + 1].argmax())
            p = min(0.9, float(mean[peak]) / PAIRED * 0.55)
            when = float(times[peak])
            found.append(Spell(atom, _until(times, first, last), p, when, steps.box(when)))
    return found
