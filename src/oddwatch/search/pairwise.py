"""Pairwise comparison of the best hits: pivot-promote of ActPair (ECCV 2026 workshop, arXiv 2608.23503).

The first hit is compared with every other; those that fit the sentence better move before it and are sorted
the same way, the others keep their order. Near-twins are told apart by looking at both at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np

from oddwatch.core import Evidence, Facts, Hit, InputError, Query, Slot
from oddwatch.describe import match as matching
from oddwatch.describe.atoms import INDEX
from oddwatch.search.fuse import reordered

T = TypeVar("T")
Verdict = Literal["a", "b", "tie"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which of two hits fits better, by how much (0–1; 0 is a tie), and the words that decided."""

    verdict: Verdict
    margin: float = 0.0
    words: tuple[str, ...] = ()


class Comparator(Protocol):
    """Looks at two hits at once and says which fits the sentence better."""

    @property
    def id(self) -> str: ...
    def compare(self, query: Query, a: Hit, b: Hit) -> Comparison: ...


@dataclass(frozen=True, slots=True)
class Promotion:
    """A new order (places in the list that was sorted) and how many comparisons it took."""

    order: tuple[int, ...]
    comparisons: int


def pivot_promote(items: Sequence[T], compare: Callable[[T, T], Verdict]) -> Promotion:
    """Sort by pivot-promote: ``compare(pivot, other)`` says ``"b"`` where the other is better.

    N − 1 comparisons when the first is best, N(N − 1) / 2 at worst. A tie keeps the order.
    """
    comparisons = 0
    todo = list(range(len(items)))
    behind: list[int] = []
    while todo:
        pivot, rest = todo[0], todo[1:]
        won = [compare(items[pivot], items[other]) == "b" for other in rest]
        comparisons += len(rest)
        behind = [pivot, *(o for o, better in zip(rest, won, strict=True) if not better), *behind]
        todo = [o for o, better in zip(rest, won, strict=True) if better]
    return Promotion(tuple(behind), comparisons)


@dataclass(slots=True)
class PairwiseStage:
    """The first ``n`` hits by pivot-promote with ``comparator``; the rest keeps its order.

    A hit's score is its share of won comparisons less the lost ones (−1 to 1), ties counting nothing;
    the words that decided a comparison become evidence. ``calls`` counts comparisons, all queries together.
    """

    comparator: Comparator
    n: int = 10
    name: str = "pairwise"
    calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError("n", f"expected 0 or more hits to compare, got {self.n}")

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, the first ``n`` in the order of the comparisons."""
        head = list(hits[: self.n])
        balance = dict.fromkeys((h.id for h in head), 0)
        met = dict.fromkeys(balance, 0)
        decided: dict[str, dict[str, Literal["matched", "contradicted"]]] = {h.id: {} for h in head}

        def compare(a: Hit, b: Hit) -> Verdict:
            found = self.comparator.compare(query, a, b)
            self.calls += 1
            for h in (a, b):
                met[h.id] += 1
            if found.verdict != "tie":
                winner, loser = (a, b) if found.verdict == "a" else (b, a)
                balance[winner.id] += 1
                balance[loser.id] -= 1
                for words in found.words:
                    decided[winner.id].setdefault(words, "matched")
                    decided[loser.id].setdefault(words, "contradicted")
            return found.verdict

        promoted = pivot_promote(head, compare)
        scores = {i: balance[i] / met[i] if met[i] else 0.0 for i in balance}
        evidence = {
            i: [Evidence(words, verdict, stage=self.name) for words, verdict in said.items()]
            for i, said in decided.items()
        }
        order = (*promoted.order, *range(len(head), len(hits)))
        return reordered(hits, order, self.name, scores, evidence)


@dataclass(frozen=True, slots=True)
class FactsComparator:
    """Compares the facts of two entries on the slots of the sentence.

    A slot speaks for the entry that shows it more clearly: the difference of tanh(evidence / 2), 0 where it
    cannot be seen. The saturation is what a pointwise sum lacks: two entries that both clearly show a slot are
    equal in it, so what differs decides. ``least`` is the mean weighted difference (0–1) below which it is a
    tie; a hit without facts ties with all.
    """

    facts_of: Callable[[Hit], Facts | None]
    least: float = 0.01
    id: str = "facts-comparator/1"

    def compare(self, query: Query, a: Hit, b: Hit) -> Comparison:
        """Which hit's facts fit ``query`` better, and the words of the slots that spoke for it most."""
        both = [self.facts_of(a), self.facts_of(b)]
        known = [f for f in both if f is not None]
        slots = [s for s in query.slots if s.weight > 0 and _visible(s)]
        if len(known) < 2 or not slots:
            return Comparison("tie")
        p, seen = np.stack([f.p for f in known]), np.stack([f.known for f in known])
        shown = np.tanh(matching.slot_evidence(query, p, seen) / 2)
        kinds = matching.calibration()["kinds"]
        weight = np.array([s.weight * float(kinds.get(s.kind, 1.0)) for s in slots])
        each = weight / weight.sum() * (shown[0] - shown[1]) / 2
        margin = float(each.sum())
        if abs(margin) < self.least:
            return Comparison("tie", abs(margin))
        verdict: Verdict = "a" if margin > 0 else "b"
        toward = each if margin > 0 else -each
        strongest = [i for i in np.argsort(-toward, kind="stable")[:3] if toward[i] > self.least / 2]
        return Comparison(
            verdict, abs(margin), tuple(dict.fromkeys(matching.spoken(slots[i]) for i in strongest))
        )


def _visible(slot: Slot) -> bool:
    return any(w > 0 and a in INDEX and INDEX[a] not in matching.BLIND for a, w in slot.atoms.items())
