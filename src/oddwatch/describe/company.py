"""Who is with a person: alone, a pair, a group; and what two people do to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oddwatch.core import Frame, Person

if TYPE_CHECKING:
    from oddwatch.describe.describer import Sheet


def near(person: Person, others: Sequence[Person], within: float = 1.0) -> list[Person]:
    """Those of ``others`` whose box is closer than ``within`` body heights (box to box, sideways) and of like
    size."""
    height = max(person.box.height, person.box.width, 1.0)
    found = []
    for other in others:
        gap = max(person.box.x0 - other.box.x1, other.box.x0 - person.box.x1, 0.0)
        drop = max(person.box.y0 - other.box.y1, other.box.y0 - person.box.y1, 0.0)
        size = max(other.box.height, other.box.width) / height
        if 0.4 < size < 2.5 and gap < within * height and drop < 0.5 * within * height:
            found.append(other)
    return found


def fill(sheet: Sheet, frame: Frame, person: Person, others: Sequence[Person]) -> None:
    """Company into ``sheet``."""
    close = near(person, others, 0.8)
    n = len(close)
    sheet.set("company.alone", (0.75, 0.3, 0.12, 0.06)[min(n, 3)])
    sheet.set("company.pair", (0.08, 0.6, 0.3, 0.2)[min(n, 3)])
    sheet.set("company.group", (0.04, 0.2, 0.6, 0.8)[min(n, 3)])
    sheet.set("company.crowd", min(0.02 + 0.12 * max(len(others) - 2, 0), 0.85))
