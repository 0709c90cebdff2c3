"""AnomalyLMM: re-ranking by a cloze test (arXiv 2509.04376, reconstructed; search §3).

The doing and colour words of a sentence are hidden, a witness fills the blanks from each of the best N
pictures, and hits whose words agree with the hidden ones move up. Each part can be played by a chat model
(``search.lmm``) or offline: words are hidden and compared with the sentence reader's tables (``search.hiding``,
``search.agreement``), and the describer's facts are the witness (``describe.witness``).
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from oddwatch.core import UNKNOWN, Evidence, Hit, InputError, Query, Unknown
from oddwatch.describe.witness import Blank, BlankKind, Fill, Witness
from oddwatch.search.agreement import NEAR, Judge, TableJudge
from oddwatch.search.fuse import reordered
from oddwatch.search.hiding import Cloze, Hidden, generate

__all__ = [
    "Cloze",
    "ClozeStage",
    "Fusion",
    "Hidden",
    "Kept",
    "Panel",
    "Said",
    "TableJudge",
    "Trace",
    "checked_fills",
    "generate",
]

LONGEST_WORD = 60
"""Characters of a filled word."""


@dataclass(frozen=True, slots=True)
class Said:
    """A witness's words for one picture. ``heard`` is False where the question got no answer at all (no time, an
    error, no budget left): that says nothing of the picture and is not remembered."""

    fills: Sequence[Fill]
    heard: bool = True


@runtime_checkable
class Panel(Protocol):
    """A witness that is asked about several pictures at once."""

    def fill_all(self, masked: str, blanks: Sequence[Blank], shown: Sequence[Any]) -> list[Said]: ...


def checked_fills(fills: Sequence[Fill], count: int) -> list[Fill]:
    """What a witness said, as exactly ``count`` printable words or UNKNOWN."""
    out: list[Fill] = [UNKNOWN if isinstance(f, Unknown) else _word(str(f)) for f in list(fills)[:count]]
    return out + [UNKNOWN] * (count - len(out))


def _word(said: str) -> Fill:
    plain = "".join(c if c.isprintable() else " " for c in said[:1000])
    word = " ".join(plain.strip(" \"'`.<>").split())[:LONGEST_WORD].strip()
    return UNKNOWN if not word or word.lower() == "unknown" else word


@dataclass(frozen=True, slots=True)
class Fusion:
    """The constants of A3 and A4: ``match`` (a1), ``prior`` (a2) and ``base`` (b) of S = a1·match + a2·b^place.

    ``verb`` and ``color`` weigh the blanks of each kind in the mean; with ``drop_unknown`` blanks nobody could
    decide leave the mean when they are fewer than half. The defaults are the paper's as quoted by others.
    """

    match: float = 0.95
    prior: float = 0.075
    base: float = 0.5
    verb: float = 1.0
    color: float = 1.0
    drop_unknown: bool = False

    def mean(self, kinds: Sequence[BlankKind], agreement: Sequence[float], fills: Sequence[Fill]) -> float:
        """S_match, 0–1: the weighted mean agreement over the blanks."""
        weight = np.array([self.verb if kind == "VERB" else self.color for kind in kinds], dtype=np.float64)
        silent = np.array([isinstance(f, Unknown) for f in fills], dtype=bool)
        if self.drop_unknown and 2 * silent.sum() < len(silent):
            weight = np.where(silent, 0.0, weight)
        total = float(weight.sum())
        return float(weight @ np.asarray(agreement, dtype=np.float64)) / total if total > 0 else 0.0

    def fuse(self, matches: Sequence[float]) -> tuple[list[int], list[float]]:
        """New order of candidates in coarse order with these matches, and their scores; ties keep their place."""
        scores = [self.match * m + self.prior * self.base**place for place, m in enumerate(matches)]
        return sorted(range(len(scores)), key=lambda i: -scores[i]), scores


@dataclass(frozen=True, slots=True)
class Trace:
    """What the witness said of one hit and how it agrees: the explanation of its place. ``by`` names who hid the
    words, filled them in and compared them: table or model, with the version of its prompt."""

    id: str
    masked: str
    key: tuple[Hidden, ...]
    fills: tuple[Fill, ...]
    agreement: tuple[float, ...]
    match: float
    score: float
    by: tuple[str, str, str] = ("", "", "")

    def evidence(self, stage: str) -> list[Evidence]:
        """One piece of evidence per blank: the hidden word and what was seen in its place."""
        out = []
        for hidden, fill, value in zip(self.key, self.fills, self.agreement, strict=True):
            verdict: Literal["matched", "contradicted", "unknown"] = "unknown"
            if not isinstance(fill, Unknown):
                verdict = "matched" if value >= NEAR else "contradicted" if value < 0.5 else "unknown"
            seen = "unknown" if isinstance(fill, Unknown) else fill
            out.append(Evidence(f"{hidden.word} (seen: {seen})", verdict, None, value, stage=stage))
        return out


class Kept(dict[tuple[str, str, str], list[Fill]]):
    """A cache that forgets its oldest answers beyond ``most``."""

    most = 100_000

    def __setitem__(self, key: tuple[str, str, str], value: list[Fill]) -> None:
        super().__setitem__(key, value)
        if len(self) > self.most:
            del self[next(iter(self))]


@dataclass(slots=True)
class ClozeStage:
    """AnomalyLMM over the hits of one query: the first ``n`` by cloze test, the rest as they were.

    ``shown(hit)`` is what the witness looks at: the entry's facts for the embedded one, a picture for a model.
    ``calls`` counts clozes made and blanks filled, cache hits excluded. ``cache`` is keyed by witness, hit and
    masked sentence, so it may be kept between runs. Of the last query: ``traces``, in the new order, and ``notes``.
    Where a picture got no answer at all, the order stays: silence is no reason to move a hit.
    """

    witness: Witness
    shown: Callable[[Hit], Any]
    n: int = 3
    fusion: Fusion = Fusion()
    judge: Judge = field(default_factory=TableJudge)
    make: Callable[[str], Cloze] = generate
    cache: MutableMapping[tuple[str, str, str], list[Fill]] = field(default_factory=Kept)
    name: str = "anomalylmm"
    calls: dict[str, int] = field(default_factory=lambda: {"generate": 0, "fill": 0}, init=False)
    traces: tuple[Trace, ...] = field(default=(), init=False)
    notes: tuple[str, ...] = field(default=(), init=False)
    _clozes: dict[str, Cloze] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError("n", f"expected 0 or more hits to re-rank, got {self.n}")

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, the first ``n`` re-ordered, with scores, traces as evidence and new ranks."""
        self.traces, self.notes = (), ()
        head = list(hits[: self.n])
        if len(head) < 2:
            return list(hits)
        cloze = self._cloze(query.text)
        if not cloze.blanks:
            return list(hits)
        said = self._said(cloze, head)
        told, order = self._compared(cloze, head, [s.fills for s in said])
        scores = {t.id: t.score for t in told}
        silent = sum(not s.heard for s in said)
        if silent:
            self.notes = (f"{silent} of {len(head)} pictures got no answer: their order was left as it was",)
            order, scores = list(range(len(head))), {}
        self.traces = tuple(told[i] for i in order)
        evidence = {t.id: t.evidence(self.name) for t in told}
        return reordered(hits, [*order, *range(len(head), len(hits))], self.name, scores, evidence)

    def _compared(
        self, cloze: Cloze, head: Sequence[Hit], fills: Sequence[Sequence[Fill]]
    ) -> tuple[list[Trace], list[int]]:
        """A trace for each hit, and their new order."""
        agreement = self.judge.agree(cloze, fills)
        kinds = [word.kind for word in cloze.key]
        matches = [self.fusion.mean(kinds, a, f) for a, f in zip(agreement, fills, strict=True)]
        order, scores = self.fusion.fuse(matches)
        by = (cloze.by, self.witness.id, self.judge.id)
        told = [
            Trace(hit.id, cloze.masked, cloze.key, tuple(f), tuple(a), m, s, by)
            for hit, f, a, m, s in zip(head, fills, agreement, matches, scores, strict=True)
        ]
        return told, order

    def _cloze(self, text: str) -> Cloze:
        if text not in self._clozes:
            self.calls["generate"] += 1
            if len(self._clozes) >= 10_000:
                self._clozes.clear()
            self._clozes[text] = self.make(text)
        return self._clozes[text]

    def _said(self, cloze: Cloze, head: Sequence[Hit]) -> list[Said]:
        """What the witness says of each hit, asked only where it is not remembered."""
        place = {hit.id: (self.witness.id, hit.id, cloze.masked) for hit in head}
        known = {i: Said(self.cache[key]) for i, key in place.items() if key in self.cache}
        new = [hit for hit in head if hit.id not in known]
        self.calls["fill"] += len(new)
        looks = [self.shown(hit) for hit in new]
        if isinstance(self.witness, Panel):
            found = self.witness.fill_all(cloze.masked, cloze.blanks, looks) if new else []
        else:
            found = [Said(self.witness.fill(cloze.masked, cloze.blanks, look)) for look in looks]
        for hit, said in zip(new, found, strict=True):
            known[hit.id] = Said(checked_fills(said.fills, len(cloze.blanks)), said.heard)
            if said.heard:
                self.cache[place[hit.id]] = list(known[hit.id].fills)
        return [known[hit.id] for hit in head]
