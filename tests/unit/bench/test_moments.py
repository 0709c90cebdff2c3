"""Sentence to moment retrieval on toy footage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from oddwatch.bench.baselines import PROTOTYPES
from oddwatch.bench.moments import Moments, relevant, run_moment_bench
from oddwatch.core import InputError, Span
from oddwatch.datasets.records import Event, Footage

FOOTAGE = [
    Footage("a.mp4", 20, (Event(Span(0, 5), "a fall"), Event(Span(9, 16), "a fight"))),
    Footage("b.mp4", 10, (Event(Span(0, 5), "a dog"), Event(Span(5, 10), "unreadable"))),
]
ENTRIES = [(v, Span(s, s + 5)) for v, n in (("x/a.mp4", 4), ("x/b.mp4", 2)) for s in range(0, 5 * n, 5)]


def _scores(text: str) -> np.ndarray:
    if text == "unreadable":
        raise InputError("query", "not read")
    wanted = {"a fall": [0], "a fight": [3, 2], "a dog": [0, 4]}[text]
    return np.array([1 - 0.1 * wanted.index(i) if i in wanted else 0.0 for i in range(len(ENTRIES))])


def _index(videos: Sequence[str]) -> Moments:
    assert list(videos) == ["a.mp4", "b.mp4"]
    return Moments(ENTRIES, _scores)


def test_rows_by_overlap() -> None:
    rows = run_moment_bench(FOOTAGE, _index)
    half, chance, iou, _ = rows
    assert (half["n_queries"], half["gallery"], half["refused"]) == (4, 6, 1)
    assert half["R@1"] == pytest.approx(25.0), (
        "the fall; the fight's best half lies at 10 s, the dog elsewhere"
    )
    assert half["R@5"] == pytest.approx(75.0), "a sentence that was not read is answered last"
    assert (chance["method"], chance["R@1"]) == ("random", pytest.approx(100 * (4 * 1 / 6) / 4))
    assert iou["relevant"] == "iou" and iou["n_queries"] == 4


def test_colors_of_moments_are_a_baseline() -> None:
    histograms = np.zeros((len(ENTRIES), 12))
    histograms[0, list(PROTOTYPES).index("red")] = 1
    footage = [Footage("a.mp4", 20, (Event(Span(0, 5), "a red coat"),))]
    rows = run_moment_bench(footage, lambda v: Moments(ENTRIES, lambda t: np.zeros(6), histograms))
    found = {r.get("method", "search"): r for r in rows if r["relevant"] == "half"}
    assert (found["colour-histogram"]["R@1"], found["search"]["R@1"]) == (100.0, 0.0)


def test_rules_of_relevance() -> None:
    assert relevant(ENTRIES, "a.mp4", Span(0, 20), "half").tolist() == [True] * 4 + [False] * 2
    assert relevant(ENTRIES, "a.mp4", Span(0, 20), "iou").tolist() == [False] * 6
    assert relevant(ENTRIES, "b.mp4", Span(1, 2), "half").tolist() == [False] * 4 + [True, False]
    assert not relevant(ENTRIES, "c.mp4", Span(0, 5), "half").any()


def test_events_nobody_can_answer_are_counted() -> None:
    late = [Footage("a.mp4", 99, (Event(Span(0, 5), "a fall"), Event(Span(90, 95), "a dog")))]
    rows = run_moment_bench(late, lambda videos: Moments(ENTRIES, _scores))
    assert (rows[0]["n_queries"], rows[0]["excluded"]) == (1, 1)
    with pytest.raises(InputError, match="described event"):
        run_moment_bench([Footage("a.mp4", 1)], _index)
