"""Compositions of stages over a toy gallery: the engine's order, ties that stay ties, and collision handling apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oddwatch.bench import stages as compositions
from oddwatch.bench.stages import LADDER, Composition, check, compose, compose_all
from oddwatch.bench.subjects import Gallery, Searchable, bare, gallery_of
from oddwatch.core import Box, Entry, Facts, InputError, Person, Query, View
from oddwatch.datasets.records import Record
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.sentence import parse
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.search import collide
from oddwatch.search.cross import Looks
from oddwatch.search.engine import rank
from oddwatch.search.stages import Kit, build

COLORS = ("red", "blue", "green")
POSTURES = ("walking", "lying", "sitting")
PEOPLE = [(c, d) for c in COLORS for d in POSTURES]
QUERIES = [parse(f"a man in a {c} jacket {d}") for c, d in PEOPLE]


def person(color: str, posture: str, odds: float = 0.0) -> Entry:
    """Somebody whose match with any sentence is written on the tokens."""
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for group, values, true in (("upper.color", COLORS, color), ("posture", POSTURES, posture)):
        for value in values:
            at = INDEX[f"{group}.{value}"]
            p[at], known[at] = (0.95 if value == true else 0.01), True
    p[INDEX["upper.type.jacket"]], known[INDEX["upper.type.jacket"]] = 0.9, True
    tokens = np.zeros((9, 384), np.int8)
    tokens[0, 0] = round(10 * odds)
    view = View(None, None, Person(Box(0, 0, 9, 20), 0.9))
    return replace(bare(Facts(SCHEMA_ID, p, known)), tokens=tokens, views=(view,))


def toy(entries: Sequence[Entry], owner: Sequence[int] | None = None) -> Gallery:
    owner = range(len(entries)) if owner is None else owner
    records = [Record(f"{i}.png", f"r{i}") for i in range(max(owner) + 1)]
    return gallery_of(records, entries, owner, evidence)


class Told:
    """A cross-encoder that reads the odds off the tokens, in tenths."""

    def __init__(self) -> None:
        self.card = {"pairs": 17, "sum": {"facts": 1.0, "cross": 0.1}}
        self.words: list[str] = []
        self.id = "told"

    def text(self, tokens: np.ndarray) -> np.ndarray:
        return tokens

    def looks(self, seen: Looks) -> np.ndarray:
        return seen.tokens

    def match(self, text: np.ndarray, seen: np.ndarray, prior: np.ndarray) -> np.ndarray:
        assert prior.shape == (len(seen),)
        out: np.ndarray = seen[:, 0, 0].astype(np.float64) / 10
        return out

    def near(self, text: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return np.zeros(len(seen))


class Words:
    def tokens(self, texts: Sequence[str], most: int = 0) -> list[np.ndarray]:
        return [np.zeros((1, 1))] * len(texts)

    def blanked(self, parts: Sequence[str], most: int = 0) -> tuple[np.ndarray, list[int]]:
        return np.zeros((1, 1)), []


TOLD: Any = Told()
ODDS = (0.3, -1.2, 2.0, 0.7, 0.1, -0.4, 1.1, 0.9, -2.0)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return toy([person(*who, odds) for who, odds in zip(PEOPLE, ODDS, strict=True)])


def made(gallery: Gallery, line: str, queries: Sequence[Query | None] = QUERIES, **more: Any) -> Composition:
    return compose(gallery, queries, line.split(","), Words(), cross=TOLD, **more)


def engine(gallery: Gallery, query: Query, line: str, depth: int = 200) -> list[int]:
    shelf: Any = Searchable(gallery)
    stages = build(line.split(","), Kit(shelf, Words(), cross=TOLD), offline=True)
    return [int(i) for i in rank(shelf, query, depth=depth, stages=stages).order]


LINES = (
    "coarse", "coarse,facts", "coarse,cross", "coarse,facts,cross", "coarse,facts,cross:3", "coarse,facts,cross,sum",
    "coarse,facts,cross:4,rrf", "coarse,facts,anomalylmm", "coarse,facts,blanks", "coarse,facts,pairwise",
    "coarse,facts,cross,sum,pairwise:4", "coarse,facts,cross,blend:5",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_composition_ranks_as_the_engine_does(gallery: Gallery, line: str) -> None:
    found = made(gallery, line)
    assert found.scores.shape == (9, 9) and found.stages == tuple(line.split(",")) and not found.transductive
    for query, row in zip(QUERIES, found.scores, strict=True):
        order = engine(gallery, query, line)
        assert sorted(order) == list(range(9))
        assert (np.diff(row[order]) <= 0).all()
        if line != "coarse,facts":
            continue
        assert np.argsort(-row, kind="stable").tolist() == order


def test_compositions_side_by_side_are_those_alone(gallery: Gallery) -> None:
    wanted = [tuple(line.split(",")) for line in (*LINES, "coarse,facts,cross,sum,assign")]
    steps: list[int] = []
    together = compose_all(
        gallery, QUERIES, wanted, Words(), cross=TOLD, progress=lambda what, i, n: steps.append(i)
    )
    assert steps == list(range(1, 10))
    for names, found in zip(wanted, together, strict=True):
        alone = made(gallery, ",".join(names))
        assert found.stages == names and np.array_equal(found.scores, alone.scores)
    cost = {c.stages: c.seconds for c in together}
    longer, shorter = ("coarse", "facts", "cross", "sum"), ("coarse", "facts", "cross")
    assert cost[longer] > cost[shorter] > cost["coarse", "facts"] > 0


def test_a_stage_decides_between_entries_that_the_facts_cannot_tell_apart() -> None:
    alike = toy([person("red", "lying", 0.2), person("red", "lying", 1.5), person("blue", "lying", 3.0)])
    query = [parse("a man in a red jacket lying")] * 3
    facts = made(alike, "coarse,facts", query)
    assert facts.scores[0, 0] == facts.scores[0, 1] > facts.scores[0, 2]
    # Ties stand against the system: neither of the two is first.
    assert ranks_of(facts.scores, [0, 1, 2], [0, 1, 2]).hits(1).tolist() == [False, False, False]
    sum_ = made(alike, "coarse,facts,cross:2", query)
    assert sum_.scores[0, 1] > sum_.scores[0, 0] > sum_.scores[0, 2]
    assert ranks_of(sum_.scores, [0, 1, 2], [0, 1, 2]).hits(1).tolist() == [False, True, False]


def test_entries_that_no_stage_told_apart_stay_tied() -> None:
    twins = toy([person("red", "lying", 0.5), person("red", "lying", 0.5), person("blue", "lying", 3.0)])
    query = [parse("a man in a red jacket lying")]
    for line in ("coarse,facts,cross:2", "coarse,facts,cross:1", "coarse,facts,cross,rrf"):
        row = made(twins, line, query).scores[0]
        assert row[0] == row[1], line
    # One that a stage was not shown is not behind one that it was only because of its number.
    four = toy([person("red", "lying", odds) for odds in (0.1, 0.9, 0.5)])
    row = made(four, "coarse,facts,cross:2", query).scores[0]
    assert row[1] > row[0] == row[2]


def test_a_ranking_keeps_the_scores_of_the_stage_that_scored_the_most(gallery: Gallery) -> None:
    plain, found = made(gallery, "coarse,facts"), made(gallery, "coarse,facts,cross:3")
    assert np.abs(np.sort(found.scores) - np.sort(plain.scores)).max() < 1e-7
    assert (found.scores != plain.scores).any()
    cross = made(gallery, "coarse,facts,cross")
    assert np.abs(np.sort(cross.scores) - np.sort(ODDS)).max() < 1e-7


class Echo(Told):
    """A cross-encoder that repeats what it is told the slots say."""

    def match(self, text: np.ndarray, seen: np.ndarray, prior: np.ndarray) -> np.ndarray:
        return prior


def test_the_cross_encoder_is_told_what_the_slots_of_each_query_say(gallery: Gallery) -> None:
    echo: Any = Echo()
    found = compose(gallery, QUERIES, ("coarse", "cross"), Words(), cross=echo)
    facts = made(gallery, "coarse,facts")
    assert np.abs(found.scores - facts.scores).max() < 1e-6
    assert (np.ptp(found.scores, axis=1) > 0.1).all() and np.ptp(found.scores, axis=0).min() > 0.1


def test_what_the_scan_leaves_out_counts_as_last(gallery: Gallery) -> None:
    found = made(gallery, "coarse,facts,cross", depth=4)
    assert np.isfinite(found.scores).sum(axis=1).tolist() == [4] * 9
    for query, row in zip(QUERIES, found.scores, strict=True):
        order = engine(gallery, query, "coarse,facts,cross", depth=4)
        assert np.flatnonzero(np.isfinite(row)).tolist() == sorted(order)


def test_a_picture_is_as_good_as_the_best_in_it() -> None:
    two = toy([person("red", "lying"), person("blue", "walking"), person("green", "lying")], [0, 1, 1])
    (row,) = made(two, "coarse,facts", [parse("a man in a green jacket lying")]).scores
    assert row.shape == (2,) and row[1] > row[0]


def test_a_query_that_was_refused_is_answered_last(gallery: Gallery) -> None:
    queries: list[Query | None] = [None, *QUERIES[1:]]
    for line in ("coarse,facts", "coarse,facts,cross,sum", "coarse,facts,sca-s", "coarse,facts,assign"):
        found = made(gallery, line, queries)
        assert np.isneginf(found.scores[0]).all()
        ranks = ranks_of(found.scores, range(9), range(9))
        assert not ranks.hits(8)[0] and ranks.hits(9)[0]
    assert np.array_equal(
        made(gallery, "coarse,facts", queries).scores[1:], made(gallery, "coarse,facts").scores[1:]
    )
    assert made(gallery, "coarse,facts", [None, None]).seconds == 0


# Collision handling

NEAR = [
    "a man in a red jacket lying", "a man in red lying down", "someone in a red jacket",
    "a man in a blue jacket walking", "a man in a blue jacket", "someone lying", "a green jacket",
]  # fmt: skip


@pytest.mark.parametrize("name", ["sca-s", "sca-m", "sca-2", "assign"])
def test_collision_handling_is_that_of_the_whole_matrix_and_marked(gallery: Gallery, name: str) -> None:
    queries = [parse(text) for text in NEAR]
    # The odds make every score another one, so that the order is one only.
    odd = toy([person(*who, odds) for who, odds in zip(PEOPLE, ODDS, strict=True)])
    plain = made(odd, "coarse,facts,cross:9,sum", queries)
    found = made(odd, f"coarse,facts,cross:9,sum,{name}", queries)
    direct = getattr(collide, name.replace("-", "_"))(plain.scores)
    assert found.transductive and not plain.transductive and found.extra["transductive"]
    assert found.extra["stages"][-1] == name
    for row, images in zip(found.scores, direct.rankings, strict=True):
        assert np.argsort(-row, kind="stable").tolist() == images.tolist()
    assert direct.moved.any()
    assert np.abs(np.sort(found.scores) - np.sort(plain.scores)).max() < 1e-7
    still = ~direct.moved
    assert np.abs(found.scores[still] - plain.scores[still]).max() < 1e-7


def test_rules_can_follow_each_other(gallery: Gallery) -> None:
    queries = [parse(text) for text in NEAR]
    plain = made(gallery, "coarse,facts,cross,sum", queries).scores
    found = made(gallery, "coarse,facts,cross,sum,sca-s,assign", queries).scores
    direct = collide.assign(collide.sca_s(plain))
    assert [int(r.argmax()) for r in found] == direct.top1.tolist()


def test_collision_handling_breaks_no_tie_that_it_does_not_decide() -> None:
    twins = toy([person("red", "lying"), person("red", "lying"), person("blue", "walking")])
    queries = [parse("a man in a red jacket lying"), parse("a man in a blue jacket walking")]
    for name in ("sca-s", "sca-m", "assign"):
        found = made(twins, f"coarse,facts,{name}", queries)
        assert found.scores[0, 0] == found.scores[0, 1], name
    # Two queries want the same image first: the one that gives way has decided for its second.
    both = [queries[0], queries[0], queries[1]]
    found = made(twins, "coarse,facts,assign", both)
    firsts = [row.argmax() for row in found.scores[:2]]
    assert sorted(firsts) == [0, 1]
    assert [bool(row[0] == row[1]) for row in found.scores[:2]].count(False) == 1


@pytest.mark.parametrize("name", ["sca-s", "sca-m", "sca-2", "assign"])
def test_a_refused_query_takes_no_image_away(gallery: Gallery, name: str) -> None:
    # Without candidates its first image would be image 0, which is what the first query wants.
    queries: list[Query | None] = [QUERIES[0], None, None]
    found = made(gallery, f"coarse,facts,{name}", queries).scores
    assert np.array_equal(found[0], made(gallery, "coarse,facts", queries).scores[0])
    assert found[0].argmax() == 0 and np.isneginf(found[1:]).all()


# What a row tells, and what is refused


def test_a_row_tells_what_a_composition_costs_and_was_trained_on(gallery: Gallery) -> None:
    for line, pairs in (
        ("coarse,facts", 0),
        ("coarse,facts,pairwise", 0),
        ("coarse,cross:5", 17),
        ("coarse,facts,blanks", 17),
    ):
        extra = made(gallery, line).extra
        assert extra["train_pairs"] == pairs and extra["model_calls"] == 0
        assert extra["seconds_per_query"] > 0 and extra["stages"] == line.split(",")
        assert set(extra) == {"stages", "transductive", "seconds_per_query", "model_calls", "train_pairs"}


def test_every_step_of_the_ladder_can_be_built() -> None:
    nowhere: Any = None
    for names in LADDER:
        stages = build(names, Kit(nowhere, nowhere, cross=TOLD), offline=True)
        assert stages.transductive == (names[-1] in ("sca-s", "sca-m", "assign"))
    assert len(set(LADDER)) == len(LADDER) and ("coarse", "facts") not in LADDER


def test_what_cannot_be_run_is_refused_before_anything_is_described() -> None:
    check(("coarse", "facts", "anomalylmm", "sca-s"))
    chat: Any = object()
    check(("coarse", "facts", "ssdc"), chat)
    for names in (
        ("facts",),
        ("coarse", "sca-s", "facts"),
        ("coarse", "facts", "ssdc"),
        ("coarse", "checkpoint"),
    ):
        with pytest.raises(InputError):
            check(names)
    assert compositions.__all__ == ["LADDER", "Composition", "check", "compose", "compose_all"]
