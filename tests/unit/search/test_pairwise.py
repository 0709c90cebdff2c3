"""Pivot-promote: the checks V-1 to V-3 of the specification, and the comparator over facts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import Facts, Hit, InputError, Query
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.sentence import parse
from oddwatch.search.pairwise import Comparison, FactsComparator, PairwiseStage, pivot_promote


def by_relevance(a, b):
    return "a" if a > b else "b" if b > a else "tie"


def promote(relevance):
    return pivot_promote(relevance, by_relevance)


def hit(i, rank=1):
    return Hit(rank=rank, id=i, source="a.jpg", kind="person", score=0.0)


def facts(**atoms):
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for name, value in atoms.items():
        at = INDEX[name.replace("__", ".")]
        p[at], known[at] = value, True
    return Facts(SCHEMA_ID, p, known)


class Scripted:
    id = "scripted"

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def compare(self, query, a, b):
        self.asked.append((a.id, b.id))
        return self.answer(a, b)


def test_v1_worked_example():
    done = promote([3, 5, 1, 4])
    assert ["ABCD"[i] for i in done.order] == ["B", "D", "A", "C"]
    assert done.comparisons == 4


def test_v1_first_is_best_and_worst_case():
    best = promote([9, 5, 1, 4])
    assert best.order == (0, 1, 2, 3)
    assert best.comparisons == 3
    for m in (1, 2, 5, 10):
        worst = promote(list(range(m)))
        assert worst.comparisons == m * (m - 1) // 2
        assert worst.order == tuple(reversed(range(m)))


def test_v2_a_tie_keeps_the_order():
    assert pivot_promote("abcd", lambda a, b: "tie").order == (0, 1, 2, 3)
    assert promote([2, 2, 3, 2, 3]).order == (2, 4, 0, 1, 3)


@given(st.lists(st.integers(), max_size=12))
def test_v3_always_a_is_the_identity(items):
    done = pivot_promote(items, lambda a, b: "a")
    assert done.order == tuple(range(len(items)))
    assert done.comparisons == max(0, len(items) - 1)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_the_best_comes_first_and_nothing_is_lost(relevance):
    done = promote(relevance)
    assert sorted(done.order) == list(range(len(relevance)))
    assert done.comparisons <= len(relevance) * (len(relevance) - 1) // 2
    if relevance:
        assert relevance[done.order[0]] == max(relevance)


def test_stage_counts_comparisons_and_leaves_the_tail():
    worth = {"a": 3, "b": 5, "c": 1, "d": 4, "e": 99}
    comparator = Scripted(lambda x, y: Comparison(by_relevance(worth[x.id], worth[y.id]), 0.5, ("red",)))
    stage = PairwiseStage(comparator, n=4)
    done = stage.rerank(Query("x"), [hit(i, r) for r, i in enumerate("abcde", 1)])
    assert [h.id for h in done] == ["b", "d", "a", "c", "e"]
    assert [h.rank for h in done] == [1, 2, 3, 4, 5]
    assert stage.calls == 4 == len(comparator.asked)
    assert done[0].stages["pairwise"] == 1.0
    assert "pairwise" not in done[4].stages
    assert done[2].stages["pairwise"] == pytest.approx(-1 / 3)
    assert {e.stage for e in done[0].reason.evidence} == {"pairwise"}
    assert done[0].reason.evidence[0].verdict == "matched"
    assert not done[4].reason.evidence


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n):
    comparator = Scripted(lambda x, y: Comparison("b"))
    stage = PairwiseStage(comparator, n=n)
    assert [h.id for h in stage.rerank(Query("x"), [hit("a"), hit("b")])] == ["a", "b"]
    assert stage.rerank(Query("x"), []) == []
    assert stage.calls == 0
    with pytest.raises(InputError, match="0 or more"):
        PairwiseStage(comparator, n=-1)


def test_facts_decide_by_what_differs():
    falling = facts(upper__color__red=0.97, posture__falling=0.8, posture__walking=0.05)
    walking = facts(upper__color__red=0.98, posture__falling=0.03, posture__walking=0.9)
    comparator = FactsComparator(lambda h: {"a": walking, "b": falling}[h.id])
    query = parse("A man in a red jacket is falling")
    found = comparator.compare(query, hit("a"), hit("b"))
    assert found.verdict == "b"
    assert found.words == ("falling",)
    assert comparator.compare(query, hit("b"), hit("a")).verdict == "a"
    assert comparator.compare(query, hit("b"), hit("a")).margin == pytest.approx(found.margin)
    denied = comparator.compare(parse("A man in a red jacket who is not falling"), hit("a"), hit("b"))
    assert denied.verdict == "a"
    assert denied.words == ("not falling",)


def test_facts_that_say_nothing_tie():
    unseen, red = facts(), facts(upper__color__red=0.9)
    comparator = FactsComparator(lambda h: {"a": unseen, "b": red, "c": None}[h.id])
    assert comparator.compare(parse("a woman"), hit("a"), hit("b")).verdict == "tie"
    assert comparator.compare(parse("a red jacket"), hit("b"), hit("b")).verdict == "tie"
    assert comparator.compare(parse("a red jacket"), hit("a"), hit("c")).verdict == "tie"
    assert comparator.compare(parse("a red jacket"), hit("a"), hit("b")).verdict == "b"
    assert comparator.compare(parse("a blue hat"), hit("a"), hit("b")).verdict == "tie"


def test_saturation_lets_the_difference_decide_where_a_sum_does_not():
    from oddwatch.describe import match

    query = parse("A man in a red jacket is falling")
    vivid = facts(upper__color__red=0.998, posture__falling=0.03)
    right = facts(upper__color__red=0.8, posture__falling=0.05)
    pointwise = [match.judge(query, f)[0] for f in (vivid, right)]
    assert pointwise[0] > pointwise[1]
    comparator = FactsComparator(lambda h: {"a": vivid, "b": right}[h.id], least=0.0)
    assert comparator.compare(query, hit("a"), hit("b")).verdict == "b"
