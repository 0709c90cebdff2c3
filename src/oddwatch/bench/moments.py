"""Sentence → moment retrieval in videos with described events, judged by overlap in time."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.bench.baselines import histogram_scores, histograms_of
from oddwatch.core import Entry, InputError, Progress, Span
from oddwatch.datasets.formats import read_footage
from oddwatch.datasets.records import Footage
from oddwatch.metrics.retrieval import Ranks, bootstrap, expected_at_random, positive_ranks

if TYPE_CHECKING:
    from oddwatch.pipeline.models import Models

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moments:
    """Everything a search may answer: (video, span) of each entry, and what scores a sentence against them.

    ``scores(text)`` is (M,), higher = better, NaN for an entry it says nothing about; it may raise InputError
    for a sentence it does not read. ``histograms`` (M, 12) are colour shares for the baseline.
    """

    entries: Sequence[tuple[str, Span]]
    scores: Callable[[str], np.ndarray]
    histograms: np.ndarray | None = None


def relevant(entries: Sequence[tuple[str, Span]], video: str, span: Span, rule: str) -> np.ndarray:
    """(M,) bool: which entries answer for ``span`` of ``video``.

    ``rule`` "half": they share half of the shorter of the two; "iou": intersection over union ≥ 0.5.
    """
    name = Path(video).name

    def fits(other: Span) -> bool:
        if rule == "iou":
            return span.iou(other) >= 0.5
        shorter = min(span.duration, other.duration)
        return shorter > 0 and span.overlap(other) >= 0.5 * shorter

    return np.array([Path(v).name == name and fits(s) for v, s in entries], dtype=bool)


def run_moment_bench(
    data: str | Path | Sequence[Footage],
    index: Callable[[Sequence[str]], Moments],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Row]:
    """Rows of protocol ``text to moment``: R@K and mAP in percent for the search and for chance.

    ``index`` is given the videos and returns what can be searched. All videos form one gallery. One query per
    described event; a sentence used for several events is answered by any of them. An event no entry
    overlaps enough is left out and counted as ``excluded``.
    """
    footage = list(data) if not isinstance(data, (str, Path)) else read_footage(data)
    events = [(f.video, e) for f in footage for e in f.events if e.text]
    if not events:
        raise InputError(str(data) if isinstance(data, (str, Path)) else "data", "holds no described event")
    moments = index([f.video for f in footage])
    texts = list(dict.fromkeys(e.text for _, e in events))
    started, scored = time.perf_counter(), {}
    for i, text in enumerate(texts):
        try:
            scored[text] = np.asarray(moments.scores(text), dtype=np.float64)
        except InputError:
            scored[text] = np.full(len(moments.entries), np.nan)
        if progress is not None:
            progress("asking", i + 1, len(texts))
    seconds = (time.perf_counter() - started) / len(texts)
    rows = []
    for rule in ("half", "iou"):
        truth = {t: np.zeros(len(moments.entries), dtype=bool) for t in texts}
        for video, event in events:
            truth[event.text] |= relevant(moments.entries, video, event.span, rule)
        ranks = Ranks(tuple(positive_ranks(scored[t], truth[t]) for t in texts), len(moments.entries))
        head = {
            "protocol": "text to moment",
            "relevant": rule,
            "queries": "all",
            "gallery": len(moments.entries),
        }
        tail = {"n_queries": len(texts) - ranks.excluded, "excluded": ranks.excluded, "seed": seed}
        shared = {**head, **tail, "transductive": False, "model_calls": 0}
        named = {"stages": ["coarse", "facts"], "default": True, "seconds_per_query": seconds}
        refused = sum(bool(np.isnan(scored[t]).all()) for t in texts)
        rows.append(
            {**named, **shared, "refused": refused, **ranks.summary(), "ci95": _intervals(ranks, seed)}
        )
        chance = expected_at_random([int(t.sum()) for t in truth.values()], len(moments.entries))
        rows.append({"method": "random", "default": False, **shared, **chance, "ci95": None})
        if moments.histograms is not None:
            rng = np.random.default_rng(seed)
            colors = [histogram_scores(t, moments.histograms) for t in texts]
            colors = [c + 1e-9 * rng.random(c.size) for c in colors]
            plain = Ranks(
                tuple(positive_ranks(c, truth[t]) for c, t in zip(colors, texts, strict=True)), ranks.gallery
            )
            by_color = {**plain.summary(), "ci95": _intervals(plain, seed)}
            rows.append({"method": "colour-histogram", "default": False, **shared, **by_color})
    return rows


def packaged_index(
    models: Models, folder: str | Path, progress: Progress | None = None
) -> Callable[[Sequence[str]], Moments]:
    """Index videos with the pipeline into a gallery in ``folder``; sentences are scored as ``search`` does,
    against the kind of entry they ask for."""
    from oddwatch.describe import match
    from oddwatch.describe.sentence import parse
    from oddwatch.gallery.store import Gallery
    from oddwatch.pipeline.index import IndexOptions, index
    from oddwatch.pipeline.models import spaces

    def build(videos: Sequence[str]) -> Moments:
        with Gallery.open(folder, encoders=spaces()) as gallery:
            index(videos, gallery, models, IndexOptions(), progress)
            kept = [e for e in gallery.entries() if e.facts is not None and e.span is not None]
        if not kept:
            raise InputError("videos", "nothing was indexed", "see the index report")
        p = np.array([e.facts.p for e in kept if e.facts])
        known = np.array([e.facts.known for e in kept if e.facts])
        kinds = np.array([e.kind for e in kept])

        def scores(text: str) -> np.ndarray:
            query = parse(text, models.sentence)
            if not query.slots:
                raise InputError("query", "no word of it was understood")
            fits = np.asarray(match.scores(query, p, known), dtype=np.float64)
            return np.where(kinds == query.target, fits, np.nan)

        spans = [(e.source, e.span) for e in kept if e.span]
        return Moments(spans, scores, histograms_of([(_seen(e), None) for e in kept]))

    return build


def _seen(entry: Entry) -> np.ndarray:
    from PIL import Image

    if entry.thumbnail is None:
        return np.zeros((1, 1, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(entry.thumbnail), formats=("JPEG",)) as picture:
        return np.array(picture.convert("RGB"))


def _intervals(ranks: Ranks, seed: int) -> dict[str, list[float] | None]:
    out: dict[str, list[float] | None] = {}
    for name, values in ranks.values().items():
        interval = bootstrap(values, seed=seed, draws=1000)
        out[name] = [100 * interval.low, 100 * interval.high] if interval else None
    return out
