"""Every method that can be chosen by name, from the rooms' own lazy tables and cards."""

from __future__ import annotations

import importlib

from oddwatch.core import Card

ROOMS = ("encoders", "language", "search", "detectors", "understand", "datasets", "metrics")
"""Rooms with a table of names; importing them loads no method."""


def cards() -> list[Card]:
    """The cards of every room, by kind and name."""
    found: list[Card] = []
    for room in ROOMS:
        found += getattr(importlib.import_module(f"oddwatch.{room}"), "CARDS", {}).values()
    return sorted(found, key=lambda card: (card.kind, card.name))
