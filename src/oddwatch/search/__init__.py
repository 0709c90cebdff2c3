"""Text-based person anomaly search: stages by name."""

from __future__ import annotations

from oddwatch.core import Card

STAGES: dict[str, str] = {"coarse": "oddwatch.search.engine:search"}
"""Name → ``"module:attribute"``."""

CARDS: dict[str, Card] = {
    "coarse": Card(
        "coarse", "stage", "text-image",
        "Typed facts of every entry matched with the sentence's slots: one linear scan, then slot by slot",
        online=True,
        verified=("R",),
    ),
}  # fmt: skip
