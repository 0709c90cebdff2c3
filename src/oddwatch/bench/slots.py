"""Which kinds of facts win and lose queries: verdicts by slot, added up, never shown per item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from oddwatch.bench.subjects import Asked, Gallery, Language
from oddwatch.core import Facts, Query, Reason

VERDICTS = ("matched", "contradicted", "unknown")


def verdicts(query: Query, facts: Facts, language: Language) -> list[tuple[str, str]]:
    """(kind, verdict) of every slot of ``query`` held against ``facts``."""
    reason = language.judge(query, facts)[1]
    if not isinstance(reason, Reason) or len(reason.evidence) != len(query.slots):
        return []
    pairs = zip(query.slots, reason.evidence, strict=True)
    return [
        (f"{s.about} {s.kind}" if s.kind in ("color", "garment") else s.kind, e.verdict) for s, e in pairs
    ]


def slot_rows(
    gallery: Gallery,
    asked: Sequence[tuple[str, str]],
    answers: Sequence[Asked | None],
    language: Language,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of protocol ``slots``, one per kind of slot: verdicts on the true picture, and on the picture
    wrongly put first. ``lost`` counts the queries where the kind spoke for the wrong picture and against, or
    not at all for, the true one; ``words_unread`` is on the row ``unread``."""
    true: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    lost: Counter[str] = Counter()
    won: Counter[str] = Counter()
    unread = queries = failed = 0
    ids = np.array(gallery.ids, dtype=object)
    for (_, image_id), answer in zip(asked, answers, strict=True):
        if answer is None:
            continue
        queries += 1
        unread += len(answer.query.unread)
        scores, mine_at = answer.facts, ids == image_id
        mine = np.flatnonzero(mine_at)
        best = int(mine[answer.facts[mine].argmax()])
        for_true = verdicts(answer.query, _facts_of(gallery, best, answer.query, language), language)
        true.update(for_true)
        first = int(np.where(mine_at, -np.inf, scores).argmax())
        if scores[first] < answer.facts[best]:
            continue
        failed += 1
        for_wrong = verdicts(answer.query, _facts_of(gallery, first, answer.query, language), language)
        wrong.update(for_wrong)
        for (kind, ours), (_, theirs) in zip(for_true, for_wrong, strict=False):
            lost[kind] += ours != "matched" and theirs == "matched"
            won[kind] += ours == "matched" and theirs != "matched"
    head = {"default": True, "protocol": "slots", "seed": seed, "queries": "all"}
    rows: list[dict[str, Any]] = []
    for kind in sorted({k for k, _ in true}):
        counts = {f"true_{v}": true[kind, v] for v in VERDICTS}
        counts |= {f"wrong_{v}": wrong[kind, v] for v in VERDICTS}
        rows.append(
            {
                **head,
                "stages": ["coarse", "facts"],
                "slot": kind,
                **counts,
                "lost": lost[kind],
                "won": won[kind],
            }
        )
    if queries:
        last = {"slot": "unread", "n_queries": queries, "not_first": failed, "words_unread": unread}
        rows.append({**head, "stages": ["coarse", "facts"], **last})
    return rows


def _facts_of(gallery: Gallery, record: int, query: Query, language: Language) -> Facts:
    """The facts of a record; of several people, those that fit best."""
    own = [gallery.facts[i] for i in np.flatnonzero(gallery.owner == record).tolist()]
    return max(own, key=lambda f: language.judge(query, f)[0]) if len(own) > 1 else own[0]
