"""The language simulation: what its parts promise, on made-up sentences and, where they are, the human ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oddwatch.bench.noisy import (
    ANOMALOUS,
    PLAIN,
    Item,
    NoisyWitness,
    ReportComparator,
    World,
    cloze_of,
    doing_of,
    facts_of,
    make_world,
    with_doing,
)
from oddwatch.bench.simulation import PROTOCOL, Simulation, pivot
from oddwatch.core import Hit, InputError, Query, Unknown
from oddwatch.datasets.cuhk import read_cuhk_captions
from oddwatch.datasets.records import Record
from oddwatch.search.cloze import Fusion, TableJudge

WALK, FALL = PLAIN[0], ANOMALOUS[0]
COLORS = ("black", "white", "red", "blue", "green", "yellow")


def records(people: int = 24) -> list[Record]:
    """Two sentences about each person, who differs from all others in the colours of jacket and trousers."""
    found = []
    for i in range(people):
        upper, lower = COLORS[i % 6], COLORS[(i // 6 + i) % 6]
        said = (
            f"A man in a {upper} jacket and {lower} pants is walking.",
            f"He has {lower} pants and a {upper} jacket.",
        )
        found.append(Record(f"{i}.png", str(i), said))
    return found


class Lengths:
    """A text encoder that knows letters only: no training, no weights."""

    id, dim = "letters", 26

    def encode(self, texts):
        counts = np.array([[t.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(records(), 24, seed=1)


@pytest.fixture(scope="module")
def run(world) -> Simulation:
    return Simulation(world, Lengths(), draws=200)


@pytest.mark.parametrize("doing", [*PLAIN, *ANOMALOUS], ids=lambda d: d.atom)
def test_items_and_queries_say_the_same_doing_in_other_words(doing):
    for seen, asked in zip(doing.seen, doing.asked, strict=True):
        assert seen != asked
        assert TableJudge()("VERB", asked, doing.seen[0]) == 0.8
    others = [o for o in (*PLAIN, *ANOMALOUS) if o is not doing]
    assert not any(TableJudge()("VERB", doing.asked[0], o.seen[0]) for o in others)


def test_a_twin_differs_in_its_doing_alone():
    text = "The man walks along the street in a red jacket."
    assert doing_of(text) is WALK
    assert with_doing(text, FALL) == "The man falls along the street in a red jacket."
    assert with_doing("A man in red is WALKING.", FALL, asked=True) == "A man in red is collapsing."
    assert with_doing("A man in red.", FALL, asked=True) == "A person is collapsing. A man in red."
    assert doing_of("A man in red.") is None


def test_facts_are_what_the_sentence_tells(world):
    text = "A man in a red jacket is falling."
    cloze = cloze_of("A man in a red jacket and blue pants is collapsing.")
    said = NoisyWitness().fill(cloze.masked, cloze.blanks, Item("a", "a", text, FALL, facts_of(text, FALL)))
    assert [str(f) if not isinstance(f, Unknown) else None for f in said] == ["red", None, "falling"]


def test_a_world_has_twins_side_by_side(world):
    assert len(world.items) == len(world.queries) == 48
    for plain, odd in zip(world.items[::2], world.items[1::2], strict=True):
        assert plain.person == odd.person
        assert plain.doing in PLAIN and odd.doing in ANOMALOUS
        assert odd.text == with_doing(plain.text, odd.doing)
    asked = [cloze_of(q).masked for q in world.queries]
    assert asked[::2] == asked[1::2], "what is masked does not tell twins apart"
    with pytest.raises(InputError, match="people"):
        make_world(records(), 25)


def test_the_witness_errs_at_its_rate_and_always_alike(world):
    # Errors depend on the masked sentence, so the same question in other words is another draw.
    asked = [f"A man in a red jacket and blue pants is walking near pole {n}." for n in range(30)]
    pairs = [(cloze_of(q), item) for q in asked for item in world.items]
    honest = [f for c, i in pairs for f in NoisyWitness().fill(c.masked, c.blanks, i)]

    def wrong(error: float) -> list[tuple[bool, bool]]:
        witness = NoisyWitness(error, unknown_share=0.25)
        said = [f for c, i in pairs for f in witness.fill(c.masked, c.blanks, i)]
        assert said == [f for c, i in pairs for f in witness.fill(c.masked, c.blanks, i)]
        return [(s != t, isinstance(s, Unknown)) for s, t in zip(said, honest, strict=True)]

    low, high = wrong(0.2), wrong(0.5)
    assert np.mean([w for w, _ in low]) == pytest.approx(0.2, abs=0.02)
    assert np.mean([w for w, _ in high]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([u for w, u in high if w]) == pytest.approx(0.25, abs=0.03)
    assert all(h for (w, _), (h, _) in zip(low, high, strict=True) if w), (
        "errors of 0.2 are among those of 0.5"
    )
    with pytest.raises(InputError, match="rates"):
        NoisyWitness(1.5)


def test_the_comparator_is_saturated_and_ties_between_equals(world):
    items = {i.id: i for i in world.items}
    hits = {name: Hit(1, name, "s", "person", 0.0) for name in items}
    compare = ReportComparator(NoisyWitness(), items).compare
    query = Query(world.queries[1])
    plain, odd = hits[world.items[0].id], hits[world.items[1].id]
    assert compare(query, plain, odd).verdict == "b"
    assert compare(query, odd, plain).verdict == "a"
    assert compare(query, odd, odd).verdict == "tie"
    assert compare(Query("A person."), plain, odd).verdict == "tie"
    three, one = (
        compare(query, odd, plain).margin,
        compare(Query(f"A man is {world.items[1].doing.asked[0]}."), odd, plain).margin,
    )
    assert three == pytest.approx(1 / 3) and one == pytest.approx(1.0)
    heavy = ReportComparator(NoisyWitness(), items, Fusion(verb=3.0)).compare(query, odd, plain)
    assert heavy.margin == pytest.approx(3 / 5)


def test_a_joint_look_is_a_new_look_with_fewer_errors(world):
    items = {i.id: i for i in world.items}
    a, b, c = (Hit(1, i.id, "s", "person", 0.0) for i in world.items[:3])
    query = Query(world.queries[1])
    wrong = NoisyWitness(1.0, 0.0)
    assert ReportComparator(wrong, items, factor=0.0).compare(query, a, b).verdict == "b", "no error is left"
    cloze, seen = cloze_of(query.text), []
    for other in (b, c):
        pair = "|".join(sorted((a.id, other.id)))
        seen.append(NoisyWitness(0.9, 0.0).look(cloze.masked, cloze.blanks, items[a.id], pair))
    assert seen[0] != seen[1]
    witness = NoisyWitness(0.5)
    lasting, fresh = (ReportComparator(witness, items, factor=0.5, fresh=new) for new in (False, True))
    for comparator, looks in ((lasting, 3), (fresh, 4)):
        before = witness.asked
        for other in (b, c, b):
            comparator.compare(query, a, other)
        assert witness.asked - before == looks


def test_without_errors_the_place_is_that_of_the_best_reports(run, world):
    rows = {
        (r["stages"][-1], r.get("variant"), r.get("n")): r
        for r in run.rows((1, 3, 20), (0.0,), {"equal": Fusion()})
    }
    coarse = rows["coarse", None, None]
    for (stage, variant, n), row in rows.items():
        assert row["protocol"] == PROTOCOL
        if n == 1:
            assert (row["R@1"], row["R@1 gain"], row["R@1 p"]) == (coarse["R@1"], 0, 1.0), (stage, variant)
        if n == 3:
            assert row["R@5"] == coarse["R@5"], "three re-ranked hits cannot change the first five"
        if n == 20:
            assert row["R@1 gain"] > 10 and row["R@1 p"] < 0.05, (stage, variant)
    within = float((run.coarse.places <= 20).mean()) * 100
    assert rows["pairwise", "joint, fresh errors", 20]["R@1"] == pytest.approx(within, abs=0.0051), (
        "an oracle reaches coarse R@N"
    )
    assert rows["pairwise", "joint, fresh errors", 20]["comparisons"] >= 19
    with pytest.raises(InputError, match="N"):
        next(run.rows((30,)))


def test_errors_cost_gain_and_a_witness_that_always_errs_loses(run):
    gains = {}
    for row in run.rows((20,), (0.0, 0.5, 1.0), {"equal": Fusion()}):
        if row["stages"][-1] == "anomalylmm":
            gains[row["error"]] = row["R@1 gain"]
    assert gains[0.0] > gains[0.5] > gains[1.0]
    assert gains[1.0] < 0


def test_a_silent_witness_leaves_the_ranking(world):
    run = Simulation(world, Lengths(), unknown_share=1.0, draws=100)
    rows = list(run.rows((20,), (1.0,), {"equal": Fusion()}))
    cloze = next(r for r in rows if r["stages"][-1] == "anomalylmm")
    separate = next(r for r in rows if r.get("variant") == "separate")
    assert cloze["R@1"] == separate["R@1"] == rows[0]["R@1"]


def test_pivot_marks_what_is_significant(run):
    rows = list(run.rows((1, 20), (0.0,), {"equal": Fusion()}))
    table = pivot(rows)
    assert "| anomalylmm | equal | 0 | +0.0 | **+" in table
    assert table.count("\n") == 6
    assert "anomalylmm" not in pivot(rows, "R@1 over cloze")


def test_human_sentences_make_twins(data_root: Path):
    folder = data_root / "cuhk_pedes_sample"
    if not folder.is_dir():
        pytest.skip("cuhk_pedes_sample is not in the data folder")
    world = make_world(read_cuhk_captions(folder), 60)
    assert len(world.items) == 120
    right = 0
    for item, text in zip(world.items, world.queries, strict=True):
        cloze = cloze_of(text)
        said = NoisyWitness().fill(cloze.masked, cloze.blanks, item)
        doing = [f for h, f in zip(cloze.key, said, strict=True) if h.word.lower() in item.doing.asked]
        assert doing, "every query asks for the doing"
        right += item.doing.seen[0] in doing
    assert right / 120 > 0.95
