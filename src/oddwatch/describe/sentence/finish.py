"""What only the whole sentence tells: denials by "nobody", layers of clothing, clothes left without a wearer.

* "nobody is wearing a hat" denies the hat; it does not say that there is nobody. "nobody else is near" is alone.
* "a black jacket and a white shirt": of what is worn under a jacket little is seen, so it counts half.
* "a man pushing somebody in a red jacket", and nothing else worn: a description of one person tells that person's
  clothes more often than another's, so they count for that person, by half.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from oddwatch.core import Slot

DENIABLE = frozenset(
    {"posture", "action", "motion", "garment", "accessory", "object", "hair", "color", "facing"}
)
OUTER = frozenset({"upper.type.jacket", "upper.type.coat", "upper.type.vest", "upper.type.suit"})
INNER = frozenset({"upper.type.shirt", "upper.type.t-shirt", "upper.type.sweater", "upper.type.hoodie"})
UNDER = 0.5
_CLAUSE = re.compile(r"[.;!?\n]|\b(?:but|while|whereas)\b")


def deny_after(slots: Sequence[Slot], text: str, nobody: Sequence[tuple[int, int]]) -> list[Slot]:
    """``slots`` with what a clause says of nobody denied; ``nobody`` are the characters of its subjects."""
    out = list(slots)
    for start, end in nobody:
        stop = _CLAUSE.search(text, end)
        last = stop.start() if stop else len(text)
        said = [i for i, s in enumerate(out) if end <= s.start < last and s.kind in DENIABLE and s.atoms]
        if not said:
            continue
        paired = any(out[i].kind == "color" for i in said)
        for i in said:
            half = 0.5 if paired and out[i].kind in ("color", "garment", "accessory") else 1.0
            out[i] = replace(out[i], negated=not out[i].negated, weight=out[i].weight * half)
        out = [s for s in out if not (s.start == start and "count.none" in s.atoms)]
    return out


def under_layers(slots: Sequence[Slot]) -> list[Slot]:
    """``slots`` with what is worn under a jacket, coat, vest or suit at half weight, its colours too."""
    worn = sorted(
        (s for s in slots if s.kind == "garment" and s.about == "upper" and not s.negated and _kind(s)),
        key=lambda s: s.start,
    )
    outer = [s for s in worn if _kind(s) == "outer"]
    inner = [s for s in worn if _kind(s) == "inner"]
    if not outer or not inner:
        return list(slots)
    full = max(s.weight for s in outer)
    factor = {id(s): 1.0 for s in slots}
    for garment in inner:
        if garment.weight < 0.75 * full:
            continue  # "over a shirt" has been weighed already
        before = max((s.end for s in worn if s.end <= garment.start), default=0)
        for s in slots:
            own = s.about == "upper" and s.kind in ("color", "garment") and before <= s.start < garment.end
            factor[id(s)] = UNDER if own else factor[id(s)]
    return [replace(s, weight=round(s.weight * factor[id(s)], 3)) if factor[id(s)] != 1 else s for s in slots]


def _kind(slot: Slot) -> str:
    best = max(slot.atoms, key=lambda a: slot.atoms[a], default="")
    return "outer" if best in OUTER else "inner" if best in INNER else ""
