"""Who is with a person: alone, a pair, a group; and what two people seem to do to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from oddwatch.core import Person
from oddwatch.describe.body import posture, soft, torso_length

if TYPE_CHECKING:
    from oddwatch.describe.describer import Sheet

_WRISTS, _ANKLES, _TRUNK, _HEAD = (9, 10), (15, 16), (5, 6, 11, 12), (0, 1, 2, 3, 4)


def near(person: Person, others: Sequence[Person], within: float = 1.0) -> list[Person]:
    """Those of ``others`` who are about as large and closer than ``within`` body heights, box to box."""
    height = max(person.box.height, person.box.width, 1.0)
    found = []
    for other in others:
        gap = max(person.box.x0 - other.box.x1, other.box.x0 - person.box.x1, 0.0)
        drop = max(person.box.y0 - other.box.y1, other.box.y0 - person.box.y1, 0.0)
        size = max(other.box.height, other.box.width) / height
        if 0.4 < size < 2.5 and gap < within * height and drop < 0.5 * within * height:
            found.append(other)
    return found


def fill(sheet: Sheet, person: Person, others: Sequence[Person]) -> None:
    """Company and pairwise actions into ``sheet``. No others given means that nobody was seen."""
    close = near(person, others, 0.8)
    n = min(len(close), 3)
    sheet.set("company.alone", (0.72, 0.3, 0.12, 0.06)[n])
    sheet.set("company.pair", (0.1, 0.6, 0.3, 0.2)[n])
    sheet.set("company.group", (0.06, 0.2, 0.55, 0.75)[n])
    sheet.set("company.crowd", min(0.02 + 0.12 * max(len(others) - 2, 0), 0.85))
    for word, count in (("one", 0), ("two", 1), ("three", 2)):
        sheet.set(f"count.{word}", 0.65 if n == count else 0.12)
    sheet.set("count.many", (0.03, 0.08, 0.2, 0.6)[n])
    _fill_collapsed(sheet, person, close)
    _fill_actions(sheet, person, close)


def _fill_collapsed(sheet: Sheet, person: Person, close: Sequence[Person]) -> None:
    down = [posture(p.pose.points, p.box)["lying"] for p in close if p.pose is not None]
    sheet.set("company.collapsed", 0.01 + 0.8 * max(down, default=0.0))


def _fill_actions(sheet: Sheet, person: Person, close: Sequence[Person]) -> None:
    """Fight, push, hug, talk from where one person's hands are on the other; weak in a single picture."""
    seen = between(person, close)
    if not close:
        for word in PAIRED:
            sheet.set(f"action.{word}", 0.012)
        return
    if not seen:
        return
    for word in PAIRED:
        sheet.set(f"action.{word}", seen[word], person.box)
    sheet.set("action.hit", 0.6 * seen["fight"], person.box)


PAIRED = ("fight", "push", "hug", "talk")
"""What two people do to each other."""


def between(person: Person, close: Sequence[Person]) -> dict[str, float]:
    """The probability in a single picture that ``person`` does each of :data:`PAIRED` with one of those who are ``close``;
    nothing where nobody close has a pose."""
    pairs = [_pair(person, other) for other in close if other.pose is not None and person.pose is not None]
    return {word: max(p[word] for p in pairs) for word in PAIRED} if pairs else {}


def _pair(person: Person, other: Person) -> dict[str, float]:
    if person.pose is None or other.pose is None:
        return dict.fromkeys(("fight", "push", "hug", "talk"), 0.03)
    a, b = person.pose.points, other.pose.points
    unit = (torso_length(a) + torso_length(b)) / 2
    apart = float(np.hypot(*(a[list(_TRUNK), :2].mean(0) - b[list(_TRUNK), :2].mean(0)))) / unit
    touch = max(_reach(a, b, unit), _reach(b, a, unit))
    heads = max(_reach(a, b, unit, _HEAD), _reach(b, a, unit, _HEAD))
    both = min(_reach(a, b, unit), _reach(b, a, unit))
    stretched = max(_stretch(a), _stretch(b))
    high = max(_high(a), _high(b))
    facing = _toward(a, b) * _toward(b, a)
    return {
        "fight": 0.02 + 0.3 * touch * max(high, stretched) + 0.35 * heads * high,
        "push": 0.02 + 0.35 * touch * stretched * soft(apart, 0.8, 0.15),
        "hug": 0.02 + 0.4 * both * soft(-apart, -0.6, 0.1),
        "talk": 0.05 + 0.4 * facing * soft(-apart, -2.6, 0.4) * (1 - 0.6 * high),
    }


def _reach(a: np.ndarray, b: np.ndarray, unit: float, part: tuple[int, ...] = _TRUNK) -> float:
    # How near a wrist of ``a`` is to that part of ``b``, 0–1.
    target = b[list(part)]
    target = target[target[:, 2] >= 0.15]
    best = 0.0
    for w in _WRISTS:
        if a[w, 2] >= 0.15 and len(target):
            gap = float(np.hypot(*(target[:, :2] - a[w, :2]).T).min()) / unit
            best = max(best, soft(-gap, -0.4, 0.1))
    return best


def _stretch(a: np.ndarray) -> float:
    unit = torso_length(a)
    reach = [
        float(np.hypot(*(a[w, :2] - a[s, :2]))) / unit
        for s, w in ((5, 9), (6, 10))
        if min(a[s, 2], a[w, 2]) >= 0.15 and a[w, 1] < a[s, 1] + 0.6 * unit
    ]
    return max((soft(r, 0.65, 0.12) for r in reach), default=0.0)


def _high(a: np.ndarray) -> float:
    unit = torso_length(a)
    lift = [float(a[s, 1] - a[w, 1]) / unit for s, w in ((5, 9), (6, 10)) if min(a[s, 2], a[w, 2]) >= 0.15]
    return max((soft(v, -0.15, 0.1) for v in lift), default=0.0)


def _toward(a: np.ndarray, b: np.ndarray) -> float:
    # The nose leads the ears towards the other; a head seen from the front counts half.
    ears, nose = a[[3, 4], 0].mean(), a[0, 0]
    step = (nose - ears) / torso_length(a) * np.sign(b[list(_TRUNK), 0].mean() - nose)
    return soft(float(step), 0.0, 0.06)
