"""Sentences held against facts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import Facts, InputError, Query
from oddwatch.describe import match
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.sentence import parse


def facts(**seen: float) -> Facts:
    """Facts of which only ``seen`` is known ("upper__color__red" for "upper.color.red")."""
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for name, value in seen.items():
        index = INDEX[name.replace("__", ".")]
        p[index], known[index] = value, True
    return Facts(SCHEMA_ID, p, known)


LYING = facts(
    upper__color__red=0.92, upper__color__blue=0.03, upper__type__jacket=0.75, posture__lying=0.9,
    posture__running=0.02, head__wear__hat=0.03, head__wear__cap=0.03, count__two=0.05, company__pair=0.05,
)  # fmt: skip
RUNNING = facts(
    upper__color__red=0.04, upper__color__blue=0.9, upper__type__jacket=0.7, posture__lying=0.02,
    posture__running=0.9, head__wear__hat=0.9, head__wear__cap=0.1, count__two=0.9, company__pair=0.9,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "better", "worse"),
    [
        ("a man in a red jacket lying on the ground", LYING, RUNNING),
        ("a man in a blue jacket", RUNNING, LYING),
        ("a man without a hat", LYING, RUNNING),
        ("a man with a hat", RUNNING, LYING),
        ("a man not running", LYING, RUNNING),
        ("two people", RUNNING, LYING),
    ],
)
def test_the_right_facts_score_higher_both_ways(text: str, better: Facts, worse: Facts) -> None:
    query = parse(text)
    good, bad = match.judge(query, better)[0], match.judge(query, worse)[0]
    assert good > 0 > bad
    vector = match.weights(query)
    evidence = [
        np.where(f.known, np.clip(np.log(f.p / (1 - f.p)) - np.log(PRIOR / (1 - PRIOR)), -4, 4), 0) @ vector
        for f in (better, worse)
    ]
    assert evidence[0] > evidence[1]
    assert match.probability(query, good) > match.probability(query, bad)
    assert match.assess(query, better).probability > match.assess(query, worse).probability


def test_the_reason_says_what_matched_what_contradicts_and_what_could_not_be_seen() -> None:
    _, reason = match.judge(parse("a man in a red jacket running with a dog"), LYING)
    assert reason.matched == ("red", "jacket")
    assert reason.contradicted == ("running",)
    assert set(reason.unknown) == {"man", "dog"}
    red = next(e for e in reason.evidence if e.words == "red")
    assert (red.verdict, red.atom, red.probability) == ("matched", "upper.color.red", pytest.approx(0.92))


def test_denied_slots_swap_their_verdicts() -> None:
    query = parse("a man without a hat, not running")
    assert match.judge(query, LYING)[1].matched == ("without hat", "not running")
    assert match.judge(query, RUNNING)[1].contradicted == ("without hat", "not running")


def test_unknown_facts_change_nothing_and_match_nothing() -> None:
    query = parse("a man in a red jacket without a hat falls")
    score, reason = match.judge(query, facts())
    assert score == 0.0
    assert not reason.matched and not reason.contradicted
    assert not match.assess(query, facts()).match


def test_man_and_woman_never_change_the_ranking_and_are_unknown() -> None:
    seen = facts(person__man=0.99, upper__color__red=0.9)
    assert match.judge(parse("a man in red"), seen)[0] == pytest.approx(
        match.judge(parse("a woman in red"), seen)[0]
    )
    assert "man" in match.judge(parse("a man in red"), seen)[1].unknown
    assert match.weights(parse("a man in red"))[INDEX["person.man"]] == 0


def test_an_alternative_satisfies_but_less_than_the_thing_itself() -> None:
    query = parse("a coat")
    coat = match.judge(query, facts(upper__type__coat=0.9, upper__type__jacket=0.3))[0]
    jacket = match.judge(query, facts(upper__type__coat=0.1, upper__type__jacket=0.9))[0]
    shirt = match.judge(query, facts(upper__type__coat=0.05, upper__type__jacket=0.05))[0]
    assert coat > jacket > shirt


def test_rarer_facts_say_more() -> None:
    rare = match.judge(parse("a person falling"), facts(posture__falling=0.8))[0]
    common = match.judge(parse("a person walking"), facts(posture__walking=0.8))[0]
    assert rare > common > 0


def test_many_entries_at_once_score_as_one_by_one() -> None:
    query = parse("a man in a red jacket without a hat lying beside a woman")
    both = match.scores(query, np.stack([LYING.p, RUNNING.p]), np.stack([LYING.known, RUNNING.known]))
    assert both == pytest.approx([match.judge(query, LYING)[0], match.judge(query, RUNNING)[0]])


def test_a_query_nothing_can_see_gives_no_weights_and_no_match() -> None:
    query = Query("???", language="und")
    assert not match.weights(query).any()
    score, reason = match.judge(query, LYING)
    assert (score, match.probability(query, score)) == (0.0, 0.0)
    assert not reason.matched and not match.assess(query, LYING).match


def test_facts_of_another_table_are_refused() -> None:
    with pytest.raises(InputError, match="index the media again"):
        match.judge(parse("a man"), Facts("atoms-other", LYING.p, LYING.known))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_facts_give_a_finite_score_and_one_verdict_a_slot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    random = Facts(SCHEMA_ID, rng.random(len(ATOMS)).astype(np.float32), rng.random(len(ATOMS)) < 0.7)
    query = parse(
        "a woman in a dark blue coat and white shoes with no bag hits another man in the street at night"
    )
    score, reason = match.judge(query, random)
    assert np.isfinite(score) and -match.CLIP <= score <= match.CLIP
    assert len(reason.evidence) == len(query.slots)
    assert 0 <= match.probability(query, score) <= 1
    assert 0 <= match.assess(query, random).probability <= 1
    words = {*reason.matched, *reason.contradicted, *reason.unknown}
    assert words == {match.spoken(slot) for slot in query.slots}


def test_a_dark_jacket_is_black_or_navy_and_its_evidence_is_the_mixture() -> None:
    query = parse("a person in a dark jacket")
    navy = facts(upper__color__blue=0.9, upper__color__black=0.08, upper__color__red=0.02)
    red = facts(upper__color__blue=0.05, upper__color__black=0.05, upper__color__red=0.9)
    assert match.judge(query, navy)[0] > 0 > match.judge(query, red)[0]


def test_a_surer_fact_never_lowers_a_score() -> None:
    query = parse("a man in a red jacket running")
    rising = [
        match.judge(query, facts(upper__color__red=p, posture__running=0.5))[0]
        for p in (0.01, 0.1, 0.3, 0.6, 0.97)
    ]
    assert rising == sorted(rising)


def test_one_wrong_slot_refuses_what_the_mean_would_let_pass() -> None:
    query = parse("a man in a red jacket and black jeans running")
    seen = {"upper__type__jacket": 0.9, "lower__color__black": 0.95, "lower__type__jeans": 0.95}
    right = facts(upper__color__red=0.9, posture__running=0.9, **seen)
    wrong = facts(upper__color__red=0.01, posture__running=0.9, **seen)
    assert match.assess(query, right).match
    assert not match.assess(query, wrong).match
    assert match.assess(query, wrong).score > 0


def test_another_calibration_can_be_used_and_put_back() -> None:
    query = parse("a man in a red jacket running")
    packaged = match.judge(query, LYING)[0]
    try:
        match.use_calibration(match.calibration() | {"kinds": {"other": 0.0, "color upper": 1.0}})
        only_color = match.judge(query, LYING)[0]
    finally:
        match.use_calibration(None)
    assert only_color > packaged + 0.3
    assert match.judge(query, LYING)[0] == packaged


def test_a_caption_tells_the_facts() -> None:
    text = match.facts_sentence(LYING)
    assert text == "A person in a red jacket, lying down."
    held = {a for s in parse(text).slots for a in s.atoms}
    assert {"upper.color.red", "upper.type.jacket", "posture.lying"} <= held
