"""Explanations and answers about clips, from what is known of them; by name, loaded when first used."""

from __future__ import annotations

from oddwatch.core import Card

EXPLAINERS: dict[str, str] = {
    "explain": "oddwatch.understand.explain:explain",
    "ask": "oddwatch.understand.ask:ask",
}
"""Name → ``"module:function"``; nothing is imported until it is loaded."""

CARDS: dict[str, Card] = {
    "explain": Card(
        "explain", "explainer", "video",
        "What happened, why and how severe it is, from facts, track history and a detector's cues, with the evidence; a "
        "vision model may add what frames show. What nothing supports is unknown",
        paper="the three questions of CUVA, Du et al., CVPR 2024 (arXiv 2405.00181)", verified=("R",),
        claims={"MMEval, A-Guardian": "79.65 / 58.92 / 50.64 (description, cause, effect); not measured here"},
    ),
    "ask": Card(
        "ask", "explainer", "video",
        "Free questions about a clip, read by the sentence parser and answered from what is known of it, with the "
        "evidence or unknown with the reason; a chat model answers what the facts cannot",
        verified=("R", "M"),
    ),
}  # fmt: skip


def load(name: str) -> object:
    """The function ``name`` of :data:`EXPLAINERS`. Raises InputError where there is none."""
    from oddwatch.core import resolve

    return resolve(EXPLAINERS, name, "explainer")


__all__ = ["CARDS", "EXPLAINERS", "load"]
