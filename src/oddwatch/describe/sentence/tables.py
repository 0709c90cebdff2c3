"""What the reader looks up: weights of kinds, kinds of atoms, what hair is called, which regions have a colour."""

from __future__ import annotations

from collections.abc import Mapping

from oddwatch.describe.atoms import COLORS

WEIGHT = {"color": 1.0, "garment": 0.8, "posture": 1.2, "action": 1.2, "object": 1.0, "accessory": 0.8, "count": 1.0,
          "company": 0.8, "place": 0.5, "light": 0.5, "motion": 0.7, "facing": 0.7, "person": 0.3, "hair": 0.5,
          "other": 0.5}  # fmt: skip
KIND = {"posture": "posture", "arms": "posture", "action": "action", "facing": "facing", "motion": "motion",
        "carry": "object", "near": "object", "company": "company", "count": "count", "place": "place",
        "light": "light", "weather": "light", "frame": "place", "person": "person", "hair": "hair",
        "head": "accessory", "upper": "garment", "lower": "garment", "feet": "garment", "bag": "object"}  # fmt: skip
HAIR = {"black": {"black": 1.0}, "brown": {"brown": 1.0, "black": 0.3}, "beige": {"blond": 1.0, "brown": 0.4},
        "yellow": {"blond": 1.0}, "orange": {"red": 1.0, "blond": 0.4}, "red": {"red": 1.0},
        "grey": {"grey": 1.0}, "white": {"grey": 1.0, "blond": 0.4}, "dark hair": {"black": 1.0, "brown": 0.8},
        "light hair": {"blond": 1.0, "brown": 0.4, "grey": 0.3}}  # fmt: skip
COLOURED = {"upper": "upper.color", "lower": "lower.color", "feet": "feet.color", "head": "head.color",
                 "bag": "bag.color", "scene": "place.color"}  # fmt: skip


def kind_of(atoms: Mapping[str, float]) -> str:
    """The kind of a slot, by its leading atom."""
    if not atoms:
        return "other"
    best = max(atoms, key=lambda a: atoms[a])
    if best.endswith(tuple(f".color.{c}" for c in COLORS)) and not best.startswith("hair"):
        return "color"
    return KIND.get(best.split(".")[0], "other")
