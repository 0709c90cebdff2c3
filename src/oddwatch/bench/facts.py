"""Are the facts right? Colours of garments and posture against annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oddwatch.bench.baselines import WORDS
from oddwatch.bench.subjects import Gallery
from oddwatch.core import Facts
from oddwatch.describe.atoms import COLORS, GROUPS, members
from oddwatch.metrics.retrieval import bootstrap

DARK = frozenset({"black", "grey", "blue"})
"""Black, navy and dark grey, which annotators of dark footage cannot tell apart."""


def annotated(facts: Mapping[str, Any], group: str) -> str | None:
    """The annotation of a group such as ``upper.color``, from nested or flat facts; None where not stated."""
    value: Any = facts.get(group)
    if value is None:
        head, _, tail = group.partition(".")
        inner = facts.get(head)
        value = inner.get(tail) if tail and isinstance(inner, Mapping) else inner if not tail else None
    if isinstance(value, (list, tuple)):
        value = " and ".join(str(v) for v in value)
    if not isinstance(value, str) or value.strip().lower() in ("", "unknown", "none"):
        return None
    return value.strip().lower()


def accepted_colors(words: str, lenient: bool = False) -> frozenset[str]:
    """The basic colours that answer an annotation such as "dark brown", "navy" or "black and white".

    Any colour named is right. ``lenient`` also takes black, grey and blue for one another where the
    annotation is black, navy, charcoal or a dark one of them.
    """
    tokens = re.findall(r"[a-z]+", words)
    found = {basic for t in tokens for basic in WORDS.get(t, ())}
    dark = "navy" in tokens or "black" in found or "charcoal" in tokens or ("dark" in tokens and found & DARK)
    return frozenset(found | DARK if lenient and dark else found)


def top_of(facts: Facts, group: str) -> str | None:
    """The likeliest value of a group, None when none of its atoms was seen."""
    at = members(group)
    known = facts.known[at]
    if not known.any():
        return None
    return GROUPS[group][int(np.where(known, facts.p[at], -1.0).argmax())]


def fact_rows(gallery: Gallery, seed: int) -> list[dict[str, Any]]:
    """Rows of protocol ``facts``: upper and lower colour (strict and lenient), posture. Shares 0–1.

    Only records with a box and one set of facts are judged. A fact that was not seen counts as wrong in
    ``accuracy`` and is left out of ``accuracy_known``.
    """
    pairs = [
        (gallery.records[o].facts, f) for o, f in zip(gallery.owner.tolist(), gallery.facts, strict=True)
    ]
    boxed = [r.box is not None for r in gallery.records]
    pairs = [p for p, o in zip(pairs, gallery.owner.tolist(), strict=True) if boxed[o]]
    rows = []
    for group in ("upper.color", "lower.color"):
        for lenient in (False, True):
            row = _color_row(pairs, group, lenient, seed)
            if row:
                rows.append(row)
    posture = _posture_row(pairs, seed)
    return rows + ([posture] if posture else [])


def _row(fact: str, seed: int, right: Sequence[bool], known: Sequence[bool]) -> dict[str, Any]:
    values = np.array(right, dtype=np.float64)
    interval = bootstrap(values, seed=seed, draws=1000)
    seen = values[np.array(known, dtype=bool)]
    return {
        "method": "describer",
        "default": True,
        "protocol": "facts",
        "fact": fact,
        "n": values.size,
        "seed": seed,
        "accuracy": float(values.mean()),
        "ci95": {"accuracy": [interval.low, interval.high] if interval else None},
        "coverage": float(np.mean(known)),
        "accuracy_known": float(seen.mean()) if seen.size else None,
    }


def _color_row(
    pairs: Sequence[tuple[Mapping[str, Any], Facts]], group: str, lenient: bool, seed: int
) -> dict[str, Any] | None:
    right, known = [], []
    per: dict[str, list[int]] = {}
    for truth, seen in pairs:
        words = annotated(truth, group)
        accepted = accepted_colors(words, lenient) if words else frozenset()
        if not accepted or not words:
            continue
        top = top_of(seen, group)
        right.append(top in accepted)
        known.append(top is not None)
        first = next(iter(sorted(accepted_colors(words), key=COLORS.index)))
        per.setdefault(first, []).append(right[-1])
    if not right:
        return None
    row = _row(group, seed, right, known)
    row["equivalence"] = "black, navy, dark grey are one" if lenient else "strict"
    row["per_class"] = {c: {"n": len(v), "recall": float(np.mean(v))} for c, v in sorted(per.items())}
    return row


def _posture_row(pairs: Sequence[tuple[Mapping[str, Any], Facts]], seed: int) -> dict[str, Any] | None:
    truth, found = [], []
    for annotation, seen in pairs:
        name = annotated(annotation, "posture")
        if name in GROUPS["posture"]:
            truth.append(name)
            found.append(top_of(seen, "posture"))
    if not truth:
        return None
    row = _row(
        "posture", seed, [a == b for a, b in zip(truth, found, strict=True)], [f is not None for f in found]
    )
    classes = {}
    for name in dict.fromkeys(sorted(truth)):
        answers = [f for t, f in zip(truth, found, strict=True) if t == name]
        taken = {str(v): answers.count(v) for v in sorted(set(answers), key=str)}
        classes[name] = {"n": len(answers), "recall": answers.count(name) / len(answers), "answered": taken}
    row["per_class"] = classes
    row["balanced_accuracy"] = float(np.mean([c["recall"] for c in classes.values()]))
    return row
