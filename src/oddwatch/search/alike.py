"""People who look like one already in the gallery: similarity of looks, not identity.

Two scans take the entries whose pictures are nearest (cosine of the class token) and those whose clothes, hair and bags
are most alike as the describer saw them; the best of both are scored by the two together. Posture, doing, place and company
are no part of the facts compared; the class token still sees some of it, and weighs little.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from oddwatch.core import Entry, Evidence, Facts, Hit, InputError, Query, Reason, Where
from oddwatch.describe.atoms import GROUPS, INDEX, SCHEMA_ID, members
from oddwatch.describe.features import gains, gains_of
from oddwatch.search.engine import SearchResult

if TYPE_CHECKING:
    from oddwatch.gallery.store import Gallery

Across = Literal["cameras", "sources", "all"]
MEANING = "similarity of looks, not identity"
DEPTH = 500
"""Best of each scan that are scored."""
FEW = 10
"""People of a camera from which on its average counts more than half."""

_WORDS = {
    "upper.color": "{} top", "upper.pattern": "{} top", "upper.type": "{}", "upper.sleeves": "{} sleeves",
    "lower.color": "{} below", "lower.type": "{}", "feet.color": "{} on the feet", "feet.type": "{}",
    "hair.color": "{} hair", "hair.length": "{} hair", "head.wear": "{}", "head.color": "{} on the head",
    "bag.color": "{} bag", "carry": "{}",
}  # fmt: skip
"""Groups of facts that are told as reasons, and how."""
LOOKS = (*_WORDS, "upper.tone", "lower.tone")
"""Groups of facts that make up how somebody looks, whatever they do and wherever they are."""
_AT = np.array(sorted(i for group in LOOKS for i in members(group)))
SURE, UNLIKELY = 0.5, 0.25
"""From and below which probability a fact is told as seen, and as contradicted by another of its group."""


@dataclass(frozen=True, slots=True)
class Term:
    """One similarity in the mixture: its ``weight``, and ``mean`` and deviation ``dev`` of two strangers."""

    weight: float
    mean: float
    dev: float


TERMS: Mapping[str, Term] = {
    "like": Term(0.25, 0.778, 0.111),
    "looks": Term(2.99, 0.006, 0.265),
}
"""Fitted on drawn people alone (``benchmarks/alike_people.py --fit``): which of a site's people, seen by its other camera,
is the same. A similarity that is not known counts as that of a stranger. The cosine of part tokens, each held against that
of its own place, got the weight 0 beside these two, so part tokens are not read."""


def alike(
    gallery: Gallery,
    id: str,
    *,
    top: int = 10,
    across: Across = "all",
    where: Where | None = None,
    depth: int = DEPTH,
) -> SearchResult:
    """The people of ``gallery`` who look most like the person entry ``id``, best first; never that entry itself.

    ``across`` "cameras" leaves out entries of the same camera (of the same source, where either has no camera), "sources"
    those of the same source, "all" none. ``where`` filters as in a search. A hit's ``score`` is the weighted sum of ``like``
    (pictures, cosine) and ``looks`` (facts of appearance, cosine), each in deviations from two strangers; its ``stages``
    hold both, and the sum as ``alike``. No hit is a ``match``, none has a probability.

    Raises:
        InputError: no such entry, a moment, one without a picture's vector, ``top`` below 1, an unknown ``across``.
    """
    if top < 1:
        raise InputError("top", f"expected 1 or more, got {top}")
    if across not in get_args(Across):
        raise InputError("across", f"{across!r} is not known", "cameras, sources or all")
    if where is not None and where.kind == "moment":
        raise InputError("kind", "only people are compared by looks", "leave it out, or person")
    started = time.perf_counter()
    start = gallery.get(id)
    if start.kind != "person" or "image" not in start.vectors:
        what = "is a moment" if start.kind == "moment" else "was stored without a picture's vector"
        raise InputError(
            f"entry {id!r}", f"{what}, so no looks can be compared", "choose a person: oddwatch gallery list"
        )
    found = _candidates(gallery, start, across, replace(where or Where(), kind="person"), max(depth, top))
    scanned = time.perf_counter()
    like = gallery.scores_for("image", start.vectors["image"], found).tolist()
    looks = _looks_of(gallery, start, found, depth)
    terms = {
        i: ({} if np.isnan(near) else {"like": near}) | looks.get(i, {})
        for i, near in zip(found, like, strict=True)
    }
    scores = {i: mixed(values) for i, values in terms.items()}
    order = sorted(scores, key=lambda i: (-scores[i], i))[:top]
    hits = [
        _hit(rank, start, e, terms[e.id] | {"alike": scores[e.id]})
        for rank, e in enumerate(gallery.get_many(order), 1)
    ]
    ended = time.perf_counter()
    timing = {"scan": scanned - started, "looks": ended - scanned, "total": ended - started}
    told = {"entry": id, "across": across, "meaning": MEANING}
    return SearchResult(Query(""), tuple(hits), "similar" if hits else "nobody matches", timing, told)


def _candidates(gallery: Gallery, start: Entry, across: Across, where: Where, depth: int) -> list[str]:
    """Those who may answer among the ``depth`` nearest by picture, and among those by facts of appearance."""
    asked = {"image": start.vectors["image"]}
    if start.facts is not None and start.facts.schema == SCHEMA_ID:
        asked["facts"] = np.zeros(len(start.facts.p), np.float32)
        asked["facts"][_AT] = gains(start.facts)[_AT]
    found = [
        i
        for space, vector in asked.items()
        for i in _scan(gallery, space, vector, start, across, where, depth)
    ]
    return list(dict.fromkeys(found))


def _scan(
    gallery: Gallery, space: str, vector: np.ndarray, start: Entry, across: Across, where: Where, depth: int
) -> list[str]:
    """The best ``depth`` who may answer. A filter knows no "not this camera", so the scan goes deeper until that many are
    left."""
    k = 2 * depth
    while True:
        ids, _ = gallery.search(space, vector, k, where)
        kept = [e.id for e in gallery.get_many(ids, full=False) if _may_answer(e, start, across)]
        if len(kept) >= depth or len(ids) < k:
            return kept[:depth]
        k *= 4


def _may_answer(entry: Entry, start: Entry, across: Across) -> bool:
    if entry.id == start.id:
        return False
    if across == "all":
        return True
    if across == "cameras" and entry.camera is not None and start.camera is not None:
        return entry.camera != start.camera
    return entry.source != start.source


def _looks_of(gallery: Gallery, start: Entry, ids: Sequence[str], depth: int) -> dict[str, dict[str, float]]:
    """id → ``looks``, the cosine of the evidence of appearance with that of ``start``, where both show any.

    What a camera's people show on average is taken off first: what its light and colours do to all of them is no sign of
    who somebody is.
    """
    around, _ = gallery.search("image", start.vectors["image"], depth, Where(kind="person"))
    found, p, known = gallery.facts_of(list(dict.fromkeys([start.id, *ids, *around])), SCHEMA_ID)
    evidence = gains_of(p, known)[:, _AT] if found else np.zeros((0, len(_AT)), np.float32)
    shown = np.any(evidence, axis=1, keepdims=True)[:, 0]
    found, seen = [i for i, yes in zip(found, shown.tolist(), strict=True) if yes], _unit(evidence[shown])
    if start.id not in found:
        return {}
    places = {e.id: e.camera or e.source for e in gallery.get_many(found, full=False)}
    at = np.array([places[i] for i in found])
    for place in np.unique(at):
        rows = at == place
        n = int(rows.sum())
        seen[rows] -= n / (n + FEW) * seen[rows].mean(axis=0)
    seen = _unit(seen)
    cosines = seen @ seen[found.index(start.id)]
    return {i: {"looks": float(c)} for i, c in zip(found, cosines, strict=True)}


def mixed(values: Mapping[str, float]) -> float:
    """The score of similarities by name; 0 is what two strangers have on average."""
    return float(sum(t.weight * (values[n] - t.mean) / t.dev for n, t in TERMS.items() if n in values))


def _unit(rows: np.ndarray) -> np.ndarray:
    values = rows.astype(np.float32)
    out: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-6)
    return out


def _hit(rank: int, start: Entry, entry: Entry, stages: Mapping[str, float]) -> Hit:
    return Hit(
        rank=rank,
        id=entry.id,
        source=entry.source,
        kind=entry.kind,
        score=stages["alike"],
        camera=entry.camera,
        time=entry.time,
        start=entry.span.start if entry.span else None,
        end=entry.span.end if entry.span else None,
        frame=entry.frame,
        box=entry.box,
        wall_time=entry.wall_time,
        stages=dict(stages),
        reason=reason(start.facts, entry.facts),
    )


def reason(start: Facts | None, other: Facts | None) -> Reason:
    """What is surely seen of ``start``, by whether ``other`` shows it too, shows something else, or cannot tell."""
    if start is None or start.schema != SCHEMA_ID:
        return Reason()
    seen = other if other is not None and other.schema == SCHEMA_ID else None
    found = [
        _held(group, value, seen)
        for group in _WORDS
        for value in GROUPS[group]
        if start.known[i := INDEX[f"{group}.{value}"]] and start.p[i] >= SURE
    ]
    by: dict[str, Sequence[str]] = {
        verdict: tuple(dict.fromkeys(e.words for e in found if e.verdict == verdict))
        for verdict in ("matched", "contradicted", "unknown")
    }
    return Reason(tuple(by["matched"]), tuple(by["contradicted"]), tuple(by["unknown"]), tuple(found))


def _held(group: str, value: str, seen: Facts | None) -> Evidence:
    atom, words = f"{group}.{value}", _WORDS[group].format(value.replace("_", " "))
    if seen is None or not seen.known[INDEX[atom]]:
        return Evidence(words, "unknown", atom)
    p = float(seen.p[INDEX[atom]])
    # A box of another view would be drawn on the wrong frame.
    box = seen.boxes.get(atom) if seen.views.get(atom, 0) == 0 else None
    if p >= SURE:
        return Evidence(words, "matched", atom, p, box)
    another = max(float(seen.p[i]) for i in members(group) if seen.known[i])
    return Evidence(words, "contradicted" if p < UNLIKELY and another >= SURE else "unknown", atom, p, box)
