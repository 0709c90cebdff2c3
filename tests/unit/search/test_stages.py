"""A search as a list of stages: what is read, what is refused, and what the engine makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oddwatch.core import Box, Entry, Evidence, Facts, Hit, InputError, Query, Span
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.sentence import parse
from oddwatch.gallery.store import Gallery
from oddwatch.search import CARDS, STAGES
from oddwatch.search.cloze import ClozeStage
from oddwatch.search.cross import CrossModel, CrossStage, CrossWitness
from oddwatch.search.engine import rank, reranked, search
from oddwatch.search.fuse import (
    BlendStage,
    DetectiveStage,
    RrfStage,
    SumStage,
    reach,
    reordered,
)
from oddwatch.search.pairwise import PairwiseStage
from oddwatch.search.stages import CHAT_STAGES, DEFAULT_STAGES, MATRIX_STAGES, Kit, Stages, build, read_names

COLORS = ("red", "blue", "green")
POSTURES = ("walking", "lying")
TEXT = "a man in a red jacket lying"


def facts_of(color: str, posture: str) -> Facts:
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for group, values, true in (("upper.color", COLORS, color), ("posture", POSTURES, posture)):
        for value in values:
            at = INDEX[f"{group}.{value}"]
            p[at], known[at] = (0.95 if value == true else 0.01), True
    p[INDEX["upper.type.jacket"]], known[INDEX["upper.type.jacket"]] = 0.9, True
    return Facts(SCHEMA_ID, p, known)


def person(name: str, color: str, posture: str, **changes: Any) -> Entry:
    facts = facts_of(color, posture)
    values: dict[str, Any] = {
        "id": name, "source": "a.mp4", "kind": "person", "span": Span(0, 2), "time": 1.0, "frame": 25,
        "box": Box(0, 0, 9, 20), "camera": "north", "facts": facts, "vectors": {"facts": evidence(facts)},
        "thumbnail": b"jpeg",
    }  # fmt: skip
    return Entry(**{**values, **changes})


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "g") as opened:
        opened.add([person(f"{c}-{d}", c, d) for c in COLORS for d in POSTURES])
        opened.add([person("m-red-lying", "red", "lying", kind="moment")])
        yield opened


@dataclass
class Nowhere:
    """A shelf without entries, and no words."""

    def get_many(self, ids: Sequence[str]) -> list[Entry]:
        return []


def model(**card: Any) -> CrossModel:
    told = {"schema": SCHEMA_ID, "heads": 2, "layers": 1, "pose": False, "facts": False, "pairs": 3, **card}
    return CrossModel(
        {"text.weight": np.zeros((4, 384)), "align.weight": np.eye(4), "itm_out.weight": np.zeros((2, 8))},
        told,
    )


def kit(**changes: Any) -> Kit:
    nothing: Any = Nowhere()
    made: dict[str, Any] = {"cross": model(sum={"facts": 0.8, "cross": 0.6}), **changes}
    return Kit(nothing, nothing, **made)


class Chat:
    """Stands for a chat model that is never asked."""

    id = "chat"

    def ask(self, *args: Any, **more: Any) -> Any:
        raise AssertionError("asked")


# Names


def test_names_are_read_from_one_line() -> None:
    assert read_names(" coarse, facts ,cross:64,") == ("coarse", "facts", "cross:64")
    assert read_names("coarse") == ("coarse",)
    for nothing in ("", " , ,"):
        with pytest.raises(InputError, match="stages"):
            read_names(nothing)


@pytest.mark.parametrize(
    "line",
    ["facts", "cross,coarse", "facts,coarse", "coarse,coarse", "coarse,cross,facts", "coarse,facts,facts",
     "coarse,facts,cross,coarse"],
)  # fmt: skip
def test_an_order_that_cannot_be_run_is_refused(line: str) -> None:
    with pytest.raises(InputError, match="coarse first"):
        build(read_names(line), kit())


def test_no_stage_is_refused() -> None:
    with pytest.raises(InputError, match="coarse first"):
        build((), kit())


@pytest.mark.parametrize("name", ["crosss", "Cross", "two-stage", "hui", "uatta", "lightair", "dual-view"])
def test_an_unknown_stage_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="anomalylmm, assign, blanks") as caught:
        build(("coarse", name), kit())
    assert not any(f" {m}," in str(caught.value) for m in MATRIX_STAGES)


@pytest.mark.parametrize(
    "name", ["cross:", "cross:0", "cross:-1", "cross:x", "cross:1.5", "cross:10001", "cross:²"]
)
def test_a_number_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="1 to 10000"):
        build(("coarse", name), kit())


@pytest.mark.parametrize("line", ["coarse:5", "coarse,facts:5", "coarse,facts,sca-s:5"])
def test_a_stage_that_looks_at_all_takes_no_number(line: str) -> None:
    with pytest.raises(InputError, match="takes no number"):
        build(read_names(line), kit(), offline=True)


# What is built


def test_the_default_judges_and_re_ranks_nothing() -> None:
    made = build(DEFAULT_STAGES, kit())
    assert made.judge and made.rerankers == () and not made.transductive
    assert not build(("coarse",), kit()).judge


def test_every_stage_of_one_query_can_be_built() -> None:
    chat: Any = Chat()
    online = [
        n for n in STAGES if n not in MATRIX_STAGES | {"coarse", "facts", "sum"} and not CARDS[n].transductive
    ]
    full = kit(chat=chat, matcher=object())
    for name in online:
        (made,) = build(("coarse", "facts", name), full).rerankers
        assert made.name == name and callable(made.rerank)
        assert type(made).__name__ in STAGES[name] or name == "blanks"
    assert isinstance(build(("coarse", "facts", "cross", "sum"), full).rerankers[1], SumStage)


def test_a_number_is_how_many_hits_a_stage_looks_at() -> None:
    chat: Any = Chat()
    names = (
        "coarse",
        "facts",
        "cross:64",
        "sum:32",
        "rrf:16",
        "blend:8",
        "anomalylmm:4",
        "blanks:5",
        "pairwise:7",
        "ssdc:2",
    )
    made = build(names, kit(chat=chat)).rerankers
    seen = {r.name: r for r in made}
    assert [seen[n].n for n in ("cross", "sum", "rrf", "anomalylmm", "blanks", "pairwise")] == [
        64, 32, 16, 4, 5, 7,
    ]  # fmt: skip
    assert isinstance(seen["blend"], BlendStage) and seen["blend"].depth == 8
    assert isinstance(seen["ssdc"], DetectiveStage) and seen["ssdc"].rounds == 2
    assert isinstance(seen["cross"], CrossStage) and isinstance(seen["blanks"], ClozeStage)
    assert isinstance(seen["blanks"].witness, CrossWitness) and isinstance(seen["pairwise"], PairwiseStage)
    assert reach(made[:1]) == 64 and reach(made[3:5]) == 8 and reach(()) == 0


def test_a_stage_that_builds_on_others_knows_their_names() -> None:
    chat: Any = Chat()
    made = build(("coarse", "facts", "cross", "rrf", "blend", "ssdc"), kit(chat=chat)).rerankers
    _, rrf, blend, squad = made
    assert isinstance(rrf, RrfStage) and rrf.stages == ("facts", "cross")
    assert isinstance(blend, BlendStage) and blend.of == "rrf"
    assert isinstance(squad, DetectiveStage) and squad.of == "blend"
    (alone,) = build(("coarse", "rrf"), kit()).rerankers
    assert isinstance(alone, RrfStage) and alone.stages == ("coarse",)


def test_the_given_cross_encoder_is_used() -> None:
    own = kit()
    (cross,) = build(("coarse", "cross"), own).rerankers
    assert isinstance(cross, CrossStage) and cross.model is own.cross


def test_the_sum_needs_the_stages_it_adds_and_their_weights() -> None:
    made = build(("coarse", "facts", "cross", "sum"), kit()).rerankers[1]
    assert isinstance(made, SumStage) and made.weights == {"facts": 0.8, "cross": 0.6}
    for names in (("coarse", "facts", "sum"), ("coarse", "cross", "sum"), ("coarse", "sum", "cross")):
        with pytest.raises(InputError, match="cross and facts"):
            build(names, kit())
    with pytest.raises(InputError, match="no weights"):
        build(("coarse", "facts", "cross", "sum"), kit(cross=model()))


def test_what_the_kit_lacks_is_said() -> None:
    with pytest.raises(InputError, match="--llm"):
        build(("coarse", "facts", "ssdc"), kit())
    with pytest.raises(InputError, match="--checkpoint"):
        build(("coarse", "checkpoint"), kit())
    assert {"ssdc"} <= CHAT_STAGES <= set(STAGES)


def test_collision_handling_is_refused_in_a_search() -> None:
    for name in ("sca-s", "sca-m", "sca-2", "assign"):
        with pytest.raises(InputError, match="all queries at once"):
            build(("coarse", "facts", name), kit())


def test_collision_handling_comes_last_in_a_benchmark() -> None:
    made = build(("coarse", "facts", "cross", "sca-s", "assign"), kit(), offline=True)
    assert made.offline == ("sca-s", "assign") and made.transductive and len(made.rerankers) == 1
    assert build(("coarse", "sca-m"), kit(), offline=True).rerankers == ()
    for names in (("coarse", "sca-s", "cross"), ("coarse", "sca-s", "cross", "assign")):
        with pytest.raises(InputError, match="before a stage of single queries"):
            build(names, kit(), offline=True)


# The stages in the engine


@dataclass
class Script:
    """Turns its first ``n`` hits around and says why."""

    n: int = 2
    name: str = "scripted"
    seen: list[list[Hit]] = field(default_factory=list)

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        self.seen.append(list(hits))
        k = min(self.n, len(hits))
        said = {h.id: [Evidence(f"looked at {h.id}", "matched", stage=self.name)] for h in hits[:k]}
        scores = {h.id: float(i) for i, h in enumerate(hits[:k])}
        return reordered(hits, [*range(k - 1, -1, -1), *range(k, len(hits))], self.name, scores, said)


def staged(*rerankers: Any, judge: bool = True) -> Stages:
    return Stages(("coarse", *(["facts"] if judge else []), *(r.name for r in rerankers)), judge, rerankers)


def test_a_stage_re_orders_what_was_found_and_says_why(gallery: Gallery) -> None:
    plain = search(gallery, TEXT)
    script = Script()
    found = search(gallery, TEXT, stages=staged(script))
    before = [h.id for h in plain]
    assert before[0] == "red-lying"
    assert [h.id for h in found] == [before[1], before[0], *before[2:]]
    assert [h.rank for h in found] == list(range(1, 7))
    assert [h.stages.get("scripted") for h in found] == [1.0, 0.0, None, None, None, None]
    assert [e.words for e in found[0].reason.evidence if e.stage == "scripted"] == [f"looked at {before[1]}"]
    assert not [e for e in found[2].reason.evidence if e.stage == "scripted"]


def test_score_probability_and_reasons_stay_those_of_the_facts(gallery: Gallery) -> None:
    plain = {h.id: h for h in search(gallery, TEXT)}
    for hit in search(gallery, TEXT, stages=staged(Script(6))):
        own = plain[hit.id]
        assert (hit.score, hit.probability, hit.match, hit.time, hit.box) == (
            own.score, own.probability, own.match, own.time, own.box,
        )  # fmt: skip
        assert hit.reason.matched == own.reason.matched
        assert hit.reason.evidence[: len(own.reason.evidence)] == own.reason.evidence
        assert hit.stages["facts"] == own.stages["facts"] and hit.stages["coarse"] == own.stages["coarse"]


def test_a_stage_sees_ranked_hits_with_the_scores_so_far(gallery: Gallery) -> None:
    first, second = Script(3, "first"), Script(2, "second")
    found = search(gallery, TEXT, stages=staged(first, second))
    before = [h.id for h in search(gallery, TEXT)]
    (hits,) = first.seen
    assert [h.id for h in hits] == before[:3]
    assert [h.rank for h in hits] == [1, 2, 3]
    assert (
        hits[0].camera == "north" and hits[0].kind == "person" and set(hits[0].stages) == {"coarse", "facts"}
    )
    assert [h.id for h in second.seen[0]] == [before[2], before[1], before[0]]
    assert "first" in second.seen[0][0].stages
    assert [h.id for h in found] == [before[1], before[2], before[0], *before[3:]]
    both = [e.stage for e in found[0].reason.evidence if e.stage in ("first", "second")]
    assert both == ["first", "second"]


def test_every_stage_has_its_time(gallery: Gallery) -> None:
    timing = search(gallery, TEXT, stages=staged(Script(3, "first"), Script(2, "second"))).timing
    assert {"parse", "scan", "judge", "first", "second", "read", "reasons", "total"} == set(timing)
    assert sum(v for k, v in timing.items() if k != "total") <= timing["total"]
    assert all(v >= 0 for v in timing.values())


def test_the_least_probability_holds_before_a_stage_looks(gallery: Gallery) -> None:
    every = search(gallery, TEXT)
    least = every.hits[1].probability
    assert least is not None
    script = Script(6)
    kept = search(gallery, TEXT, min_probability=least, stages=staged(script))
    likely = [h.id for h in every if h.probability is not None and h.probability >= least]
    assert 1 < len(likely) < len(every)
    assert [h.id for h in script.seen[0]] == likely and [h.id for h in kept] == likely[::-1]
    nobody = search(gallery, TEXT, min_probability=1.0, stages=staged(Script(6)))
    assert len(nobody) == 0 and nobody.answer == "nobody matches"


def test_the_least_probability_holds_without_the_facts_stage(gallery: Gallery) -> None:
    every = search(gallery, TEXT)
    least = every.hits[0].probability
    assert least is not None
    found = search(gallery, TEXT, min_probability=least, stages=staged(Script(6), judge=False))
    assert [h.id for h in found] == ["red-lying"] and "facts" not in found[0].stages
    assert len(search(gallery, TEXT, stages=staged(Script(6), judge=False))) == 6


def test_without_the_facts_stage_the_scan_ranks(gallery: Gallery) -> None:
    found = search(gallery, TEXT, stages=build(("coarse",), kit()))
    scores = [h.stages["coarse"] for h in found]
    assert scores == sorted(scores, reverse=True) and not any("facts" in h.stages for h in found)
    assert [h.score for h in found] == scores
    assert all(h.probability is not None for h in found)


def test_hits_beyond_the_top_are_there_for_the_stages(gallery: Gallery) -> None:
    before = [h.id for h in search(gallery, TEXT)]
    found = search(gallery, TEXT, top=1, stages=staged(Script(4)))
    assert [h.id for h in found] == [before[3]]


def test_moments_are_left_in_their_order_by_the_cross_encoder(gallery: Gallery) -> None:
    gallery.add([person("m-blue-walking", "blue", "walking", kind="moment")])
    cross: Any = CrossStage(gallery, kit().words, model=model())
    plain = search(gallery, TEXT, kind="moment")
    found = search(gallery, TEXT, kind="moment", stages=staged(cross))
    assert [h.id for h in found] == [h.id for h in plain] == ["m-red-lying", "m-blue-walking"]
    assert not any("cross" in h.stages for h in found)


def test_a_picture_alone_is_not_re_ranked(gallery: Gallery) -> None:
    gallery.add([person("seen", "red", "lying", vectors={"image": np.array([1, 0, 0, 0], np.float32)})])
    script = Script(6)
    found = search(gallery, None, like=np.array([1, 0, 0, 0], np.float32), stages=staged(script))
    assert found[0].id == "seen" and script.seen == []


def test_stages_step_by_step_end_as_they_do_at_once(gallery: Gallery) -> None:
    query = parse(TEXT)
    chat: Any = Chat()
    lists = [
        build(("coarse", "facts", "anomalylmm", "pairwise", "rrf"), kit()).rerankers,
        (Script(3, "first"), DetectiveStage(lambda q, h: h.id == "red-walking", "facts")),
        build(("coarse", "facts", "rrf:3", "blend:2"), kit(chat=chat)).rerankers,
    ]
    for rerankers in lists:
        at_once = rank(gallery, query, stages=staged(*rerankers))
        step = rank(gallery, query, stages=staged())
        for stage in rerankers:
            step = reranked(gallery, query, step, [stage])
        assert step.order == at_once.order and step.scores == at_once.scores and step.said == at_once.said


def test_a_ranking_is_not_changed_by_ranking_it_again(gallery: Gallery) -> None:
    query = parse(TEXT)
    before = rank(gallery, query, stages=staged())
    order, scores = list(before.order), {i: dict(s) for i, s in before.scores.items()}
    reranked(gallery, query, before, [Script(4)])
    assert before.order == order and before.scores == scores and before.said == {}


# The calibrated sum


def scored(*stages: dict[str, float]) -> list[Hit]:
    return [Hit(i, f"h{i}", "a", "person", 0.0, stages=s) for i, s in enumerate(stages, 1)]


def test_the_sum_adds_what_the_stages_said() -> None:
    hits = scored({"facts": 1.0, "cross": 0.0}, {"facts": 0.0, "cross": 3.0}, {"facts": 0.5, "cross": 1.0})
    found = SumStage({"facts": 2.0, "cross": 0.5}).rerank(Query("x"), hits)
    assert [h.id for h in found] == ["h1", "h2", "h3"]
    assert [h.stages["sum"] for h in found] == pytest.approx([2.0, 1.5, 1.5])
    heavier = SumStage({"facts": 1.0, "cross": 1.0}).rerank(Query("x"), hits)
    assert [h.id for h in heavier] == ["h2", "h3", "h1"] and [h.rank for h in heavier] == [1, 2, 3]


def test_what_a_stage_did_not_score_gets_its_lowest() -> None:
    hits = scored({"facts": 1.0}, {"facts": 0.9, "cross": -1.0}, {"facts": 0.0, "cross": 2.0}, {})
    found = SumStage({"facts": 1.0, "cross": 1.0}).rerank(Query("x"), hits)
    assert {h.id: h.stages["sum"] for h in found} == pytest.approx(
        {"h1": 0.0, "h2": -0.1, "h3": 2.0, "h4": -1.0}
    )
    assert [h.id for h in found] == ["h3", "h1", "h2", "h4"]


def test_a_stage_that_scored_nobody_and_hits_beyond_n_change_nothing() -> None:
    hits = scored({"facts": 1.0}, {"facts": 2.0}, {"facts": 9.0})
    found = SumStage({"facts": 1.0, "cross": 5.0}, n=2).rerank(Query("x"), hits)
    assert [h.id for h in found] == ["h2", "h1", "h3"] and "sum" not in found[2].stages
    assert SumStage({"facts": 1.0}).rerank(Query("x"), []) == []


def test_the_detective_weighs_against_the_first_hits_whatever_their_number() -> None:
    hits = scored(*({"facts": float(-i)} for i in range(8)))
    stage = DetectiveStage(lambda query, hit: hit.id == "h4", "facts", n=5)
    found = stage.rerank(Query("x"), hits)
    assert [h.id for h in found] == ["h1", "h2", "h4", "h3", "h5", "h6", "h7", "h8"]
    assert found[2].stages["ssdc"] == pytest.approx(0.4 * 0.25 + 0.6)
    assert ["ssdc" in h.stages for h in found[5:]] == [False] * 3
    assert reach([stage]) == 5
