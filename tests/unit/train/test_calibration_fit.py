"""Fitting the calibration on people whose facts are known to the test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core import Facts
from oddwatch.describe import match
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.describe.priors import PRIOR
from oddwatch.train import calibration
from oddwatch.train.labels import targets

COLORS, DOINGS = ("red", "blue", "green", "black", "yellow"), ("walk", "sit_ground", "lie", "run")
POSTURES = {"walk": "walking", "sit_ground": "sitting", "lie": "lying", "run": "running"}


def told(rng: np.random.Generator) -> dict[str, object]:
    def worn(kind: str) -> dict[str, object]:
        color = str(rng.choice(COLORS))
        return {"type": kind, "color": color, "shade": color, "tone": "", "second": None, "pattern": "plain"}

    doing = str(rng.choice(DOINGS))
    return {
        "upper": worn("jacket") | {"sleeves": "long"}, "lower": worn("trousers"), "shoes": worn("shoes"),
        "hair": {"color": "black", "length": "short"}, "headwear": None, "accessories": [], "carrying": [], "bag": None,
        "item": None, "person": "man", "doing": doing, "posture": POSTURES[doing], "action": [], "arms": [],
        "motion": "still", "facing": "camera", "alone": True, "company": "alone", "near": [], "place": "street",
        "setting": "street", "light": "day", "weather": "dry", "camera": "eye",
    }  # fmt: skip


@pytest.fixture(scope="module")
def people() -> calibration.People:
    """120 people whose colours are seen well and whose garments are seen at random."""
    rng = np.random.default_rng(5)
    who = [told(rng) for _ in range(120)]
    facts = []
    for one in who:
        y, known = targets(one)
        p = np.clip(np.where(y > 0, 0.9, 0.04) + rng.normal(0, 0.03, y.shape), 0.01, 0.98)
        blind = np.array([".type." in a for a in calibration.match.ATOMS])
        p = np.where(blind, rng.uniform(0.05, 0.9, p.shape), p)
        facts.append(Facts(SCHEMA_ID, np.where(known, p, PRIOR).astype(np.float32), known))
    matrix = np.array([evidence(f) for f in facts])
    return calibration.People(who, np.array([f.p for f in facts]), np.array([f.known for f in facts]), matrix)


def test_kinds_that_are_seen_badly_count_less(people: calibration.People) -> None:
    kinds, loss = calibration.fit_kinds(people, calibration.captions(people, "A", 1))
    assert kinds["color upper"] > kinds["garment upper"] + 0.2
    assert all(0 < b <= 1 for b in kinds.values())
    assert 0 < loss < np.log(len(people.p))


def test_false_sentences_are_true_of_nobody_among_those_asked(people: calibration.People) -> None:
    asked = calibration.trials(people, "A", 3)
    assert asked and {t.swap for t in asked} == {"", "color", "pair", "doing"}
    for true, false in zip(asked[::2], asked[1::2], strict=True):
        assert true.true and not false.true and true.text != false.text
        assert set(false.among) <= set(true.among)
    again = calibration.trials(people, "A", 3)
    assert [t.text for t in again] == [t.text for t in asked]


def test_the_answer_is_learnt_both_ways(people: calibration.People) -> None:
    told_now = match.calibration()
    try:
        fitted = calibration.fit_answer(people, calibration.trials(people, "A", 3))
        match.use_calibration(told_now | fitted)
        report = calibration.report_answers(people, calibration.trials(people, "A", 8))
    finally:
        match.use_calibration(None)
    assert report["right_matches"] > 0.75 and report["right_nobody"] > 0.75
    assert report["auc"] > 0.85
    assert all(v >= 0 for n, v in fitted["with_evidence"].items() if n != "bias")


def test_the_threshold_lies_between_the_two_answers() -> None:
    y = np.arange(40) % 2 == 0
    cut, right = calibration.best_threshold(np.where(y, 0.8, 0.3), y)
    assert 0.3 < cut < 0.8 and right == 1.0


@pytest.mark.slow
def test_one_call_writes_a_file_that_can_be_used(
    people: calibration.People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibration, "draw_people", lambda *_: people)
    before = match.calibration()
    written = calibration.train_calibration(tmp_path / "c.json", people=120)
    assert match.calibration() == before
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == written
    assert set(before) <= set(written) and written["report"]["ranking A"]["long facts"]["R@1"] > 20
