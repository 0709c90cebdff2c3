"""Search a gallery with a sentence, a picture, or both.

The coarse stage is one scan: the parsed sentence is a sparse weight vector over the atoms, every entry
an evidence vector over the same atoms (``describe``). The best ``depth`` entries are then judged slot by
slot, which is where alternatives, negation and *unknown* get their exact meaning and the reason is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from oddwatch.core import Entry, EntryKind, Evidence, Hit, InputError, Jsonable, Query, Reason, View, Where
from oddwatch.describe import match as matching
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.sentence import parse
from oddwatch.scoring.cut import relative_cut
from oddwatch.search.fuse import RRF_K, reach

if TYPE_CHECKING:
    from oddwatch.core import Reranker, TextEncoder
    from oddwatch.gallery.store import Gallery
    from oddwatch.search.stages import Stages

Kind = Literal["auto", "any", "person", "moment"]
LIKE_SIMILARITY = 0.93
"""Cosine of picture vectors from which on two people are said to look alike (a likeness, no identity).

The best balance on the packaged encoder's vectors: in one indoor clip (6 tracks, 30 views) 80 % of views of one track
and 10 % of views of two tracks reach it. It holds for one camera and one posture: of drawn twins, the same clothes in
two doings, 6 % reach it, of two strangers 2 %.
"""
DOING = frozenset({"posture", "action", "motion", "facing"})
"""Kinds of slots that hold for moments of a track, not for all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult(Jsonable):
    """The parsed query, the ranking, whether the first hit passes the threshold, and seconds per step.

    ``answer`` is "similar" where entries were compared with another by their looks (``oddwatch.search.alike``), which no
    threshold decides; ``like`` then names that entry and says what the ranking means.
    """

    query: Query
    hits: tuple[Hit, ...]
    answer: Literal["matches", "nobody matches", "similar"]
    timing: Mapping[str, float] = field(default_factory=dict)
    like: Mapping[str, str] | None = None

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, rank: int) -> Hit:
        """The hit at ``rank``, counted from 0."""
        return self.hits[rank]

    def kept_within(self, share: float) -> SearchResult:
        """The hits whose probability is at least ``share`` (0–1) of the best one's, ranked anew.

        Raises:
            InputError: ``share`` outside 0–1, or hits without probabilities (found by a picture alone).
        """
        found = [h.probability for h in self.hits]
        if found and all(p is None for p in found):
            raise InputError("keep_within", "these hits have no probability", "search with a sentence")
        kept = relative_cut(np.array([np.nan if p is None else p for p in found]), share)
        chosen = [hit for hit, keep in zip(self.hits, kept.tolist(), strict=True) if keep]
        hits = tuple(replace(hit, rank=rank) for rank, hit in enumerate(chosen, 1))
        return replace(self, hits=hits, answer=_answer(hits))

    def to_json(self) -> dict[str, Any]:
        """The object that ``search --json`` prints: query, parsed, hits, answer, timing; like, where there is one."""
        parsed = self.query.to_json()
        text = parsed.pop("text")
        hits = [hit.to_json() for hit in self.hits]
        return {
            "query": text,
            "parsed": parsed,
            "hits": hits,
            "answer": self.answer,
            "timing": dict(self.timing),
            **({} if self.like is None else {"like": dict(self.like)}),
        }


def search(
    gallery: Gallery,
    text: str | None,
    *,
    top: int = 10,
    where: Where | None = None,
    kind: Kind = "auto",
    min_probability: float | None = None,
    threshold: float | None = None,
    like: np.ndarray | None = None,
    depth: int = 200,
    sentence_encoder: TextEncoder | None = None,
    stages: Stages | None = None,
) -> SearchResult:
    """Rank the entries of ``gallery`` by how well they fit ``text`` and / or a picture's vector.

    ``kind`` chooses people, moments, any, or what the sentence is about (auto). ``like`` is a unit vector
    of the gallery's image space. ``min_probability`` drops hits below it; ``threshold`` only decides
    ``match`` and ``answer`` (None: the calibrated one). ``depth`` entries of the scan are judged slot by slot.
    ``stages`` (of :func:`oddwatch.search.stages.build`) re-order what was found by the sentence; None is coarse, then facts.
    A hit's ``score`` and ``probability`` stay those of the facts; what each stage gave stands in its ``stages``.

    Raises:
        InputError: neither text nor picture, an empty or unreadable sentence, ``top`` below 1.
    """
    if top < 1:
        raise InputError("top", f"expected 1 or more, got {top}")
    if text is None and like is None:
        raise InputError("query", "expected a sentence or a picture")
    timing: dict[str, float] = {}
    started = clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        timing[name] = now - clock
        clock = now

    query = understood(text, sentence_encoder) if text is not None else Query("")
    lap("parse")
    chosen = _where(where, kind, query if text is not None else None)
    ranking = rank(
        gallery,
        query,
        like=like,
        where=chosen,
        depth=max(depth, top),
        min_probability=min_probability,
        stages=stages,
        lap=lap,
    )
    order, found, said = ranking.order, ranking.scores, ranking.said
    entries = {e.id: e for e in gallery.get_many(order[:top])}
    lap("read")
    shown = (
        _judged(query, entries[i], found[i], threshold, said.get(i, ())) for i in order[:top] if i in entries
    )
    hits = [replace(hit, rank=rank) for rank, hit in enumerate(shown, 1)]
    lap("reasons")
    timing["total"] = time.perf_counter() - started
    return SearchResult(query, tuple(hits), _answer(hits), timing)


def _answer(hits: Sequence[Hit]) -> Literal["matches", "nobody matches"]:
    return "matches" if hits and hits[0].match else "nobody matches"


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Entry ids, best first; every stage's score by id; and the evidence that re-rankers found."""

    order: list[str]
    scores: dict[str, dict[str, float]]
    said: dict[str, tuple[Evidence, ...]]


def rank(
    gallery: Gallery,
    query: Query,
    *,
    like: np.ndarray | None = None,
    where: Where | None = None,
    depth: int = 200,
    min_probability: float | None = None,
    stages: Stages | None = None,
    lap: Callable[[str], None] = lambda name: None,
) -> Ranking:
    """The ranking of a search, without its hits: the best ``depth`` entries of the scan, judged and re-ranked.

    ``lap(name)`` is called when a step is done; the arguments are those of :func:`search`.
    """
    found = _candidates(gallery, query, like, depth, where or Where())
    lap("scan")
    judge = stages is None or stages.judge
    likely: dict[str, float] = {}
    if judge or min_probability is not None:
        # Without the stage "facts" a probability is still asked of every hit, but no order is made of it.
        likely = _judge_all(gallery, query, found if judge else {i: {} for i in found})
    lap("judge")
    order = [i for i in _ranked(found) if min_probability is None or likely.get(i, -1.0) >= min_probability]
    ranking = Ranking(order, found, {})
    if stages is None or not stages.rerankers or not query.slots:
        return ranking
    return reranked(gallery, query, ranking, stages.rerankers, lap)


def reranked(
    gallery: Gallery,
    query: Query,
    before: Ranking,
    rerankers: Sequence[Reranker],
    lap: Callable[[str], None] = lambda name: None,
) -> Ranking:
    """The ranking ``before`` with its first hits in the order of the stages, their scores and their evidence added."""
    head = before.order[: reach(rerankers) or len(before.order)]
    hits = [
        Hit(
            rank=place,
            id=e.id,
            source=e.source,
            kind=e.kind,
            score=0.0,
            camera=e.camera,
            time=e.time,
            frame=e.frame,
            box=e.box,
            stages=before.scores[e.id],
            reason=Reason(evidence=before.said.get(e.id, ())),
        )
        for place, e in enumerate(gallery.get_many(head, full=False), 1)
    ]
    for stage in rerankers:
        hits = stage.rerank(query, hits)
        lap(stage.name)
    scores = {**before.scores, **{h.id: dict(h.stages) for h in hits}}
    said = {**before.said, **{h.id: h.reason.evidence for h in hits}}
    there = {h.id for h in hits}
    return Ranking([*(h.id for h in hits), *(i for i in before.order if i not in there)], scores, said)


def understood(text: str, sentence_encoder: TextEncoder | None = None) -> Query:
    """Parse ``text``, or say in one line why nothing can be searched for.

    A sentence in another language goes through the configured chat model (``ODDWATCH_LLM_URL``), if any.

    Raises:
        InputError: empty, too long, in a language nothing here reads, or without a readable word.
        ChatError: the configured chat model failed.
    """
    query = parse(text, sentence_encoder)
    if query.slots:
        return query
    if query.language != "en":
        return _translated(query, sentence_encoder)
    unread = ", ".join(query.unread[:8]) or "nothing to look for"
    raise InputError(
        "query", f"the sentence was not understood: {unread}", "name clothes, colours, doings, things"
    )


def _translated(query: Query, sentence_encoder: TextEncoder | None) -> Query:
    from oddwatch.language.chat import configured, to_english

    server = configured()
    if server is not None:
        english = parse(to_english(query.text, server), sentence_encoder)
        if english.slots:
            # Places in the sentence are those of the translation, which is therefore what is shown.
            return replace(english, language=query.language)
    raise InputError(
        "query",
        f"the sentence was not understood: it does not read as English ({query.language})",
        "say it in English, or name a chat model in ODDWATCH_LLM_URL",
    )


def _where(where: Where | None, kind: Kind, query: Query | None) -> Where:
    chosen = where or Where()
    if chosen.kind is not None or kind == "any":
        return chosen
    wanted: EntryKind = (query.target if query else "person") if kind == "auto" else kind
    return replace(chosen, kind=wanted)


def _candidates(
    gallery: Gallery, query: Query, like: np.ndarray | None, k: int, where: Where
) -> dict[str, dict[str, float]]:
    """id → the score of each scan that put it among the best ``k``."""
    found: dict[str, dict[str, float]] = {}
    scans: dict[str, tuple[str, np.ndarray]] = {}
    if query.slots:
        scans["coarse"] = ("facts", matching.weights(query))
    if like is not None:
        scans["like"] = ("image", like)
    for stage, (space, vector) in scans.items():
        for i, score in zip(*gallery.search(space, vector, k, where), strict=True):
            found.setdefault(i, {})[stage] = float(score)
    for stage, (space, vector) in scans.items():
        missing = [i for i, stages in found.items() if stage not in stages]
        if missing:
            scores = gallery.scores_for(space, vector, missing).tolist()
            known = {i: s for i, s in zip(missing, scores, strict=True) if not np.isnan(s)}
            for i, score in known.items():
                found[i][stage] = score
    return found


def _judge_all(gallery: Gallery, query: Query, stages: Mapping[str, dict[str, float]]) -> dict[str, float]:
    """Adds the slot-wise score of every candidate that has facts; returns their probabilities by id."""
    if not (query.slots and stages):
        return {}
    ids, p, known = gallery.facts_of(list(stages), SCHEMA_ID)
    if not ids:
        return {}
    evidence = matching.slot_evidence(query, p, known)
    for i, score in zip(ids, matching.scores_of(query, evidence).tolist(), strict=True):
        stages[i]["facts"] = score
    return dict(zip(ids, matching.probabilities(query, p, known).tolist(), strict=True))


def _judged(
    query: Query,
    entry: Entry,
    stages: Mapping[str, float],
    threshold: float | None,
    said: tuple[Evidence, ...] = (),
) -> Hit:
    reason, probability, match = Reason(), None, False
    if query.slots and entry.facts is not None:
        found = matching.assess(query, entry.facts, threshold)
        reason, probability, match = found.reason, found.probability, found.match
    if "like" in stages:
        # A sentence and a picture: both must fit.
        match = stages["like"] >= LIKE_SIMILARITY and (match or not query.slots)
    number, view = _best_view(query, entry, reason)
    reason = replace(reason, evidence=(*(_in_view(e, entry, number) for e in reason.evidence), *said))
    return Hit(
        rank=1,
        id=entry.id,
        source=entry.source,
        kind=entry.kind,
        score=stages[next(s for s in ("fused", "facts", "like", "coarse") if s in stages)],
        camera=entry.camera,
        time=view.time if view else entry.time,
        start=entry.span.start if entry.span else None,
        end=entry.span.end if entry.span else None,
        frame=view.frame if view else entry.frame,
        box=view.person.box if view else entry.box,
        wall_time=_wall(entry, view),
        probability=probability,
        match=match,
        stages=dict(stages),
        reason=reason,
    )


def _best_view(query: Query, entry: Entry, reason: Reason) -> tuple[int, View | None]:
    """The view that shows what the sentence says is done; the entry's own best view (0) where none does."""
    seen = entry.facts.views if entry.facts is not None else {}
    shown = [
        (evidence.probability or 0.0, seen.get(evidence.atom or "", 0))
        for slot, evidence in zip(query.slots, reason.evidence, strict=False)
        if slot.kind in DOING and evidence.verdict == "matched" and not slot.negated
    ]
    number = max(shown)[1] if shown else 0
    return (number, entry.views[number]) if number < len(entry.views) else (0, None)


def _in_view(evidence: Evidence, entry: Entry, number: int) -> Evidence:
    """Boxes of other views would be drawn on the wrong frame."""
    seen = entry.facts.views if entry.facts is not None else {}
    same = seen.get(evidence.atom or "", 0) == number
    return evidence if same else replace(evidence, box=None)


def _wall(entry: Entry, view: View | None) -> datetime | None:
    if entry.wall_time is None or view is None or view.time is None or entry.time is None:
        return entry.wall_time
    return entry.wall_time + timedelta(seconds=view.time - entry.time)


def _ranked(stages: dict[str, dict[str, float]]) -> list[str]:
    """Entry ids, best first: by the slot-wise score (the scan's, where no facts are kept), by likeness, or by both
    through reciprocal ranks; what a stage could not score comes last in it."""
    known = {s for found in stages.values() for s in found}
    used = [s for s in ("facts" if "facts" in known else "coarse", "like") if s in known]
    orders = [sorted(stages, key=lambda i: (-stages[i].get(s, -np.inf), i)) for s in used]
    if len(orders) == 1:
        return orders[0]
    for order in orders:
        for rank, i in enumerate(order):
            stages[i]["fused"] = stages[i].get("fused", 0.0) + 1 / (RRF_K + 1 + rank)
    return sorted(stages, key=lambda i: (-stages[i]["fused"], i))
