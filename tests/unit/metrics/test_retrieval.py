"""Retrieval metrics against hand-computed values, and their laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.metrics.retrieval import (
    Meter,
    attainable,
    bootstrap,
    expected_at_random,
    mcnemar,
    paired_bootstrap,
    positive_ranks,
    ranks_of,
    ranks_streaming,
)

C1 = np.array([[0.9, 0.8, 0.1, 0.2], [0.3, 0.4, 0.5, 0.1], [0.2, 0.6, 0.7, 0.65], [0.1, 0.2, 0.3, 0.05]])


def test_one_answer_each() -> None:
    found = ranks_of(C1, range(4), range(4))
    assert found.first.tolist() == [1, 2, 1, 4]
    assert found.summary((1, 2, 5)) == pytest.approx(
        {"R@1": 50, "R@2": 75, "R@5": 100, "mAP": 68.75, "mAP@10": 68.75, "mINP": 68.75}
    )


def test_several_answers() -> None:
    found = ranks_of(np.array([[0.9, 0.2, 0.8, 0.1, 0.5]]), [0], [0, 0, 1, 1, 0])
    assert found.ranks[0].tolist() == [1, 3, 4]
    assert found.average_precision()[0] == pytest.approx(0.805556, abs=1e-6)
    assert found.inverse_negative_penalty()[0] == pytest.approx(0.75)
    assert found.recall_fraction(3)[0] == pytest.approx(2 / 3)
    assert found.average_precision(at=2)[0] == pytest.approx(0.5)


def test_only_ten_names_seen() -> None:
    scores = np.zeros((3, 12))
    for row, rank in enumerate((1, 2, 12)):
        scores[row] = np.where(np.arange(12) < rank - 1, 2.0, 0.0)
        scores[row, 11] = 1.0
    found = ranks_of(scores, ["it"] * 3, [*range(11), "it"])
    assert found.first.tolist() == [1, 2, 12]
    assert found.summary()["mAP"] == pytest.approx(52.7778, abs=1e-4)
    assert found.summary()["mAP@10"] == pytest.approx(50.0)


def test_relevance_lists_of_the_metrics_note() -> None:
    falling = np.array([5.0, 4, 3, 2, 1])
    lists = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=bool)
    ranks = [positive_ranks(falling, row) for row in lists]
    ap = [np.mean(np.arange(1, r.size + 1) / r) for r in ranks]
    assert ap == pytest.approx([0.833333, 0.45], abs=1e-6)
    assert [r.size / r[-1] for r in ranks] == pytest.approx([2 / 3, 2 / 5])


def test_equal_scores_count_against_the_system() -> None:
    found = ranks_of(np.ones((1, 8)), ["b"], ["b", *"acdefgh"])
    assert found.first.tolist() == [8]
    assert found.average_precision()[0] == pytest.approx(1 / 8)
    assert positive_ranks(np.ones(4), np.array([True, False, True, False])).tolist() == [3, 4]


def test_unknown_scores_stand_last() -> None:
    assert positive_ranks(np.array([np.nan, -5.0, -9.0]), np.array([True, False, False])).tolist() == [3]
    assert positive_ranks(np.array([np.nan, -np.inf]), np.array([False, True])).tolist() == [2]


def test_queries_without_answer_are_left_out_and_counted() -> None:
    found = ranks_of(C1[:2], [0, "nobody"], range(4))
    assert (found.excluded, found.first.tolist()) == (1, [1])
    none = ranks_of(C1[:1], ["nobody"], range(4))
    assert none.excluded == 1 and none.summary() == dict.fromkeys(none.summary())
    assert bootstrap(none.hits(1)) is None


def test_attainable() -> None:
    assert all(attainable(v, 1978) for v in (84.93, 84.73, 85.49, 89.23, 93.73, 97.47, 100.0, 99.95))
    assert all(attainable(v, 1978) for v in (84.27, 85.13, 85.08)), "truncated, not rounded"
    assert not attainable(99.99, 1978)
    assert not attainable(50.3, 10)
    with pytest.raises(InputError, match="queries"):
        attainable(50, 0)


def test_wrong_shapes() -> None:
    with pytest.raises(InputError, match="expected shape"):
        ranks_of(C1, range(3), range(4))
    with pytest.raises(InputError, match="expected"):
        positive_ranks(np.zeros(3), np.zeros(4, dtype=bool))


@st.composite
def _cases(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[int]]:
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    scores = draw(st.lists(st.integers(-4, 4), min_size=queries * gallery, max_size=queries * gallery))
    ids = draw(st.lists(st.integers(0, 3), min_size=gallery, max_size=gallery))
    asked = draw(st.lists(st.integers(0, 3), min_size=queries, max_size=queries))
    return np.array(scores, dtype=float).reshape(queries, gallery), asked, ids


@settings(max_examples=60, deadline=None)
@given(_cases(), st.randoms(use_true_random=False))
def test_laws_of_a_ranking(case: tuple[np.ndarray, list[int], list[int]], random: object) -> None:
    scores, asked, ids = case
    found = ranks_of(scores, asked, ids)
    plain = found.values((1, 2, 5, 100))
    recalls = [plain[f"R@{k}"] for k in (1, 2, 5, 100)]
    assert all((a <= b).all() for a, b in itertools.pairwise(recalls))
    assert recalls[-1].all()
    order = np.array(random.sample(range(len(ids)), len(ids)))  # type: ignore[attr-defined]
    moved = ranks_of(scores[:, order], asked, [ids[i] for i in order])
    bent = ranks_of(np.exp(scores) * 3 + scores**3, asked, ids)
    for name, values in plain.items():
        assert np.array_equal(values, moved.values((1, 2, 5, 100))[name]), "order of the gallery matters"
        assert np.array_equal(values, bent.values((1, 2, 5, 100))[name]), "a rising function matters"
    more = ranks_of(np.hstack([scores, scores[:, ::-1] * 2]), asked, [*ids, *[9] * len(ids)])
    assert all((more.values()[n] <= found.values()[n]).all() for n in found.values())


@settings(max_examples=60, deadline=None)
@given(_cases(), st.integers(1, 5))
def test_chunks_of_the_gallery_give_the_same_ranks(
    case: tuple[np.ndarray, list[int], list[int]], size: int
) -> None:
    scores, asked, ids = case
    starts = range(0, len(ids), size)
    streamed = ranks_streaming(lambda: ((s, scores[:, s : s + size]) for s in starts), asked, ids)
    whole = ranks_of(scores, asked, ids)
    assert [r.tolist() for r in streamed.ranks] == [r.tolist() for r in whole.ranks]


def test_blocks_of_queries_give_the_same_ranks() -> None:
    meter = Meter(range(4))
    for i in range(4):
        meter.update(C1[i : i + 1], [i])
    assert meter.result().first.tolist() == [1, 2, 1, 4]


def test_chunks_must_cover_the_gallery_once() -> None:
    with pytest.raises(InputError, match="never scored"):
        ranks_streaming(lambda: [(0, C1[:, :2])], range(4), range(4))
    with pytest.raises(InputError, match="given twice"):
        ranks_streaming(lambda: [(0, C1), (0, C1)], range(4), range(4))
    with pytest.raises(InputError, match="relevant pairs"):
        ranks_streaming(lambda: [(0, C1)], range(4), range(4), limit=3)


def test_random_ranking_expectation_by_enumeration() -> None:
    every = [np.array(p, dtype=float) for p in itertools.permutations(range(5))]
    found = ranks_of(np.array(every), [7] * len(every), [7, 7, 0, 1, 2])
    assert expected_at_random([2, 0], 5, (1, 2)) == pytest.approx(found.summary((1, 2)))
    assert expected_at_random([], 5)["R@1"] is None
    assert expected_at_random([1], 142)["R@1"] == pytest.approx(100 / 142)


def test_bootstrap_interval_holds_the_binomial_width() -> None:
    values = np.r_[np.ones(425), np.zeros(75)]
    interval = bootstrap(values, draws=1000)
    assert interval is not None and interval.mean == 0.85
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * np.sqrt(0.85 * 0.15 / 500), rel=0.15)
    doubled = bootstrap(np.repeat(values, 2), groups=np.repeat(np.arange(500), 2).tolist(), draws=1000)
    naive = bootstrap(np.repeat(values, 2), draws=1000)
    assert doubled is not None and naive is not None
    assert doubled.high - doubled.low > 1.2 * (naive.high - naive.low)


def test_paired_tests() -> None:
    rng = np.random.default_rng(3)
    first = (rng.random(400) < 0.6).astype(float)
    second = np.where(rng.random(400) < 0.2, 0.0, first)
    gain = paired_bootstrap(first, second, draws=500)
    assert gain.difference > 0 and gain.low > 0 and gain.p < 0.02
    assert paired_bootstrap(first, first, draws=200).p == 1.0
    exact = mcnemar(np.array([1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 1, 1, 0]))
    assert (exact.only_first, exact.only_second) == (5, 1)
    assert exact.p == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar(np.ones(3), np.ones(3)).p == 1.0
    with pytest.raises(InputError):
        paired_bootstrap(first, second[:3])
