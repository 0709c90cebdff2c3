"""What is true of a drawn person, in the describer's atoms: training targets with a mask of what is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from oddwatch.describe.atoms import ATOMS, GROUPS, INDEX, members

_PLACES = {
    "car park": "car_park", "park path": "grass", "grass": "grass", "street": "street", "pavement": "pavement",
    "plaza": "plaza", "corridor": "corridor", "platform": "platform",
}  # fmt: skip
_HIDDEN_ACTIONS = ("abandon", "loiter", "flee", "hide", "carry", "hit_by_vehicle")
"""Actions one picture of one person does not show."""


class _Sheet:
    def __init__(self) -> None:
        self.y, self.told = np.zeros(len(ATOMS), np.float32), np.zeros(len(ATOMS), bool)

    def group(self, group: str, values: Iterable[str | None]) -> None:
        """The whole group is told: ``values`` hold, the others do not. Words the table lacks leave it untold."""
        wanted = [v for v in values if v]
        if any(v not in GROUPS[group] for v in wanted):
            return
        self.told[members(group)] = True
        for value in wanted:
            self.y[INDEX[f"{group}.{value}"]] = 1.0

    def drop(self, atoms: Iterable[str]) -> None:
        for atom in atoms:
            self.told[INDEX[atom]] = False


def targets(facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(A,) float32 truth and (A,) bool whether it is told, of one drawn person's ``facts``."""
    sheet = _Sheet()
    upper, lower, shoes, hair = (facts[k] for k in ("upper", "lower", "shoes", "hair"))
    sheet.group("upper.color", [upper["color"], upper.get("second")])
    sheet.group("upper.tone", [upper["tone"]])
    sheet.group("upper.type", [upper["type"]])
    sheet.group("upper.sleeves", [upper.get("sleeves")])
    sheet.group("upper.pattern", [upper.get("pattern")])
    dress = upper["type"] == "dress" or not lower
    if not dress:
        sheet.group("lower.color", [lower["color"]])
        sheet.group("lower.tone", [lower["tone"]])
        sheet.group("lower.type", [lower["type"]])
    if shoes:
        sheet.group("feet.color", [shoes["color"]])
        sheet.group("feet.type", [shoes["type"]])
    sheet.group("hair.color", [] if hair["length"] == "bald" else [hair["color"]])
    sheet.group("hair.length", [hair["length"]])
    headwear = facts.get("headwear")
    worn = {*facts["accessories"], *([headwear["type"]] if headwear else [])}
    sheet.group("head.wear", worn & set(GROUPS["head.wear"]))
    sheet.group("head.color", [headwear["color"]] if headwear else [])
    sheet.group("posture", [facts["posture"]])
    sheet.group("arms", facts["arms"])
    sheet.group("action", facts["action"])
    sheet.drop(f"action.{a}" for a in _HIDDEN_ACTIONS)
    sheet.group("facing", [facts["facing"]])
    sheet.group("carry", facts["carrying"])
    if facts.get("bag"):
        sheet.group("bag.color", [facts["bag"]["color"]])
    sheet.group("near", facts["near"])
    sheet.group("company", [facts["company"]])
    sheet.drop(["company.crowd", "company.collapsed"])
    sheet.group("place", [_PLACES.get(facts["place"])])
    sheet.group("light", [{"day": "day", "night": "night"}.get(facts["light"])])
    if facts["light"] == "dusk":
        sheet.drop(["light.day", "light.night"])
    sheet.group("weather", [facts["weather"]] if facts["weather"] in GROUPS["weather"] else [])
    return sheet.y, sheet.told
