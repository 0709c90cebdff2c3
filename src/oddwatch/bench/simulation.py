"""What cloze and pairwise re-ranking gain, as a simulation: sentences stand for pictures, a noisy witness for a model.

Coarse ranking is the cosine of sentence vectors. The re-rankers are the real stages of ``oddwatch.search``, but
they learn of an item only what a witness with a stated error rate reports of it. Nothing is trained and no picture
takes part: the numbers say how gains depend on the length N of the short list and on the witness's errors, not how
good a system is (search §3, §7.3; issue "person search", language simulation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from oddwatch.bench.noisy import Item, NoisyWitness, ReportComparator, World, cloze_of
from oddwatch.core import Hit, InputError, Query, TextEncoder
from oddwatch.metrics.retrieval import Ranks, paired_bootstrap
from oddwatch.search.cloze import ClozeStage, Fusion
from oddwatch.search.pairwise import PairwiseStage

PROTOCOL = "simulation: sentences as pictures, noisy witness"
NS: tuple[int, ...] = (1, 3, 5, 10, 20)
ERRORS: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5)
WEIGHTINGS: Mapping[str, Fusion] = {"equal": Fusion(), "verbs x3": Fusion(verb=3.0)}
JOINT = 0.5
"""Assumed share of the error that is left when two items are looked at together, in the *joint* variants."""
VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "separate": (False, False),
    "joint, lasting errors": (True, False),
    "joint, fresh errors": (True, True),
}
"""Comparators by name: (looks at both together, with new errors at each comparison); see ``ReportComparator``."""


class Stage(Protocol):
    """A re-ranker of one query's hits."""

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]: ...


@dataclass(slots=True)
class Coarse:
    """The coarse ranking: per query the best items as hits, and the place (from 1) of the wanted one among all."""

    queries: list[Query]
    heads: list[list[Hit]]
    places: np.ndarray


@dataclass(slots=True)
class Simulation:
    """Runs re-rankers over the coarse ranking of a world, every combination of N, error rate and weighting.

    ``unknown_share`` of the witness's errors are UNKNOWN, the others a wrong word. p values are those of a paired
    bootstrap that draws people, as the four answers about one person are not independent.
    """

    world: World
    encoder: TextEncoder
    seed: int = 0
    unknown_share: float = 0.3
    joint: float = JOINT
    draws: int = 2000
    depth: int = max(NS)
    coarse: Coarse = field(init=False)
    _items: dict[str, Item] = field(init=False)
    _people: list[str] = field(init=False)
    _honest: dict[tuple[str, str], Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._items = {item.id: item for item in self.world.items}
        self._people = [item.person for item in self.world.items]
        self.coarse = ranked(self.world, self.encoder, self.depth)

    def rows(
        self,
        ns: Sequence[int] = NS,
        errors: Sequence[float] = ERRORS,
        weightings: Mapping[str, Fusion] = WEIGHTINGS,
    ) -> Iterator[dict[str, Any]]:
        """The row of the coarse ranking, then one per weighting, error, N and re-ranker; R@K and mAP in percent.

        A row has its gain of R@1 over coarse with interval and p, and the witness's calls and the comparisons per query
        (mean over the queries whose item coarse ranking has among its first ``depth``, the only ones that are run).
        The rows of a comparator also have their gain over the cloze test of the same setting.

        Raises:
            InputError: an N beyond the depth that was ranked.
        """
        if max(ns) > self.depth:
            raise InputError("N", f"{max(ns)} is more than the {self.depth} items that were ranked")
        yield self._row(["coarse"], self.coarse.places, calls=0.0)
        for weighting, fusion in weightings.items():
            for error in errors:
                for n in ns:
                    yield from self._setting(n, error, weighting, fusion)

    def _setting(self, n: int, error: float, weighting: str, fusion: Fusion) -> Iterator[dict[str, Any]]:
        about: dict[str, Any] = {
            "n": n,
            "error": error,
            "unknown_share": self.unknown_share,
            "weighting": weighting,
        }
        witness = self._witness(error)
        places = self._places(ClozeStage(witness, lambda hit: self._items[hit.id], n, fusion, make=cloze_of))
        cloze = places
        yield self._row(["coarse", "anomalylmm"], places, calls=self._each(witness.asked), **about)
        for variant, (joint, fresh) in VARIANTS.items():
            witness = self._witness(error)
            factor = self.joint if joint else 1.0
            stage = PairwiseStage(ReportComparator(witness, self._items, fusion, factor, fresh), n)
            places = self._places(stage)
            # A model that looks at both is called once a comparison; reports made alone are kept.
            calls = stage.calls if joint else witness.asked
            yield self._row(
                ["coarse", "pairwise"],
                places,
                against=cloze,
                variant=variant,
                error_factor=factor,
                calls=self._each(calls),
                comparisons=self._each(stage.calls),
                **about,
            )

    def _witness(self, error: float) -> NoisyWitness:
        return NoisyWitness(error, self.unknown_share, self.seed, self._honest)

    def _each(self, count: int) -> float:
        return round(count / max(1, int((self.coarse.places <= self.depth).sum())), 2)

    def _places(self, stage: Stage) -> np.ndarray:
        """The place of each wanted item once ``stage`` has re-ranked the head of the list."""
        out = self.coarse.places.copy()
        for i, (query, head, item) in enumerate(
            zip(self.coarse.queries, self.coarse.heads, self.world.items, strict=True)
        ):
            if out[i] <= len(head):
                out[i] = next(h.rank for h in stage.rerank(query, head) if h.id == item.id)
        return out

    def _row(
        self, stages: list[str], places: np.ndarray, against: np.ndarray | None = None, **about: Any
    ) -> dict[str, Any]:
        ranks = Ranks(tuple(places[:, None]), len(self._items))
        summary = {
            k: round(float(v or 0), 2) for k, v in ranks.summary().items() if k in ("R@1", "R@5", "mAP")
        }
        row: dict[str, Any] = {"protocol": PROTOCOL, "seed": self.seed, "stages": stages, **about}
        row |= {"n_queries": len(places), "gallery": len(self._items), **summary}
        if len(stages) > 1:
            gain = self._gain(places, self.coarse.places)
            row |= {"R@1 gain": gain[0], "R@1 p": gain[3], "ci95": {"R@1 gain": [gain[1], gain[2]]}}
        if against is not None:
            gain = self._gain(places, against)
            row |= {"R@1 over cloze": gain[0], "R@1 over cloze p": gain[3]}
        return row

    def _gain(self, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float]:
        """Points of R@1 of ``first`` above ``second``, the ends of the interval, p."""
        found = paired_bootstrap(
            (first == 1).astype(float),
            (second == 1).astype(float),
            groups=self._people,
            draws=self.draws,
            seed=self.seed,
        )
        points = [round(100 * v, 2) for v in (found.difference, found.low, found.high)]
        return points[0], points[1], points[2], round(found.p, 4)


def ranked(world: World, encoder: TextEncoder, depth: int) -> Coarse:
    """The items by the cosine of their sentence's vector with the query's; equal cosines in the order of the items."""
    gallery = encoder.encode([item.text for item in world.items]).astype(np.float64)
    scores = encoder.encode(list(world.queries)).astype(np.float64) @ gallery.T
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.argmax(order == np.arange(len(order))[:, None], axis=1) + 1
    heads = [
        [
            Hit(rank, world.items[i].id, "sentences", "person", float(scores[q, i]))
            for rank, i in enumerate(best[:depth].tolist(), 1)
        ]
        for q, best in enumerate(order)
    ]
    return Coarse([Query(text) for text in world.queries], heads, places)


def pivot(rows: Sequence[Mapping[str, Any]], column: str = "R@1 gain", level: float = 0.05) -> str:
    """Markdown: one line per re-ranker, weighting and error rate, one column per N; differences with p < ``level`` in bold."""
    body = [r for r in rows if column in r]
    ns = sorted({int(r["n"]) for r in body})
    lines = ["| re-ranker | weighting | error | " + " | ".join(f"N = {n}" for n in ns) + " |"]
    lines.append("|---|---|---:|" + "---:|" * len(ns))
    cells: dict[tuple[str, str, float], dict[int, str]] = {}
    for r in body:
        name = r["stages"][-1] + (f", {r['variant']}" if "variant" in r else "")
        p = r.get(column.removesuffix(" gain") + " p")
        text = f"{r[column]:+.1f}"
        cells.setdefault((name, str(r["weighting"]), float(r["error"])), {})[int(r["n"])] = (
            f"**{text}**" if p is not None and p < level else text
        )
    for (name, weighting, error), found in sorted(cells.items()):
        lines.append(
            f"| {name} | {weighting} | {error:g} | " + " | ".join(found.get(n, "–") for n in ns) + " |"
        )
    return "\n".join(lines) + "\n"
