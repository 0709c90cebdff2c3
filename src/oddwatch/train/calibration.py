"""Rebuild ``describe/lexicon/calibration.json``: how reliable each kind of fact is, and when nobody matches.

Everything is fitted on drawn people with captions of family A and reported on people of another seed with captions of
family B. It must be run again whenever the describer changes.

1. *Reliabilities* (``kinds``): a conditional logit. In a gallery of twins and singles, the chance that a caption means
   entry i is softmax over i of Σ β_kind · w_slot · evidence_slot(i); β is bounded to 0–1, for a slot may not say more
   than its own likelihood ratio, with a ridge towards one half.
2. *Nobody matches* (``with_evidence``, ``score_only``, ``threshold``): every caption is asked as it is, and with the
   colour of a garment or the doing swapped, of a gallery in which nobody has that colour, that pair of colours or that
   doing. A logistic on the first hit's features says whether the caption is true; the threshold is that of
   equal errors.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, Facts, Frame, Progress, Query
from oddwatch.datasets.scenes.captions import Family, person_captions
from oddwatch.datasets.scenes.stills import person_still, twin_pair
from oddwatch.describe import match
from oddwatch.describe.body import people_in_box
from oddwatch.describe.describer import evidence as coarse_evidence
from oddwatch.describe.sentence import parse
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.pipeline.models import Models

FIT_SEED, REPORT_SEED = 90_001, 90_002
RIDGE = 0.02
SMALLEST = 100
"""People of the smallest gallery in which "nobody matches" is fitted; the largest has all."""
LENGTHS = ("short", "long")
MIXTURES = (0.0, 0.2, 0.4, 0.6)
REFUSALS = (-3.0, -2.5, -2.0, -1.5)
"""Log odds of a colour or doing below which nobody matches: the choices (0.05 to 0.18)."""
RARITY = 0.5
"""Share of family B's own rare words in the report."""
GARMENTS = {"upper": "lower", "lower": "upper"}
ALIKE = (
    {"black", "grey", "blue"},
    {"brown", "beige"},
    {"white", "grey", "beige"},
    {"red", "orange"},
    {"pink", "purple"},
)
"""Colours a witness may take for one another: never swapped."""

Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Drawn and described people: ``told`` (N) true facts, ``p`` and ``known`` (N, A), ``evidence`` (N, A) coarse."""

    told: Sequence[Told]
    p: np.ndarray
    known: np.ndarray
    evidence: np.ndarray


def draw_people(seed: int, count: int, models: Models, progress: Progress | None = None) -> People:
    """Draw ``count`` people, five in six of them twins, and describe each in its true box."""
    told: list[Told] = []
    facts: list[Facts] = []
    block = 0
    while len(told) < count:
        # Five pairs of twins, then two others.
        for at in range(7):
            index = 7 * block + at
            for still in twin_pair(seed, index) if at < 5 else (person_still(seed, index),):
                frame = Frame(still.pixels, "drawn")
                person, others = people_in_box(models.pose, frame, Box(*(float(v) for v in still.box)))
                facts.append(models.describer.describe(frame, person, others=others))
                told.append(still.facts)
            if progress is not None:
                progress("drawing and describing people", min(len(told), count), count)
        block += 1
    told, facts = told[:count], facts[:count]
    matrix = np.array([coarse_evidence(f) for f in facts], np.float32)
    return People(told, np.array([f.p for f in facts]), np.array([f.known for f in facts]), matrix)


def captions(people: People, family: Family, seed: int, rarity: float = 1.0) -> list[tuple[int, str, Query]]:
    """(whose, short or long, parsed) of one short and one long caption of everybody."""
    out = []
    for i, told in enumerate(people.told):
        said = person_captions(dict(told), np.random.default_rng([seed, i]), family, 1, rarity)
        out += [(i, length, parse(said[length][0])) for length in LENGTHS]
    return out


# -- reliabilities -------------------------------------------------------------------------------------------------


def fit_kinds(people: People, asked: Sequence[tuple[int, str, Query]]) -> tuple[dict[str, float], float]:
    """Kind of slot → reliability 0–1, by maximum likelihood of the right entry; and the loss in nats a caption."""
    from scipy.optimize import minimize

    kinds = sorted({match.kind_of(s) for _, _, q in asked for s in match.visible_slots(q)})
    column = {k: i for i, k in enumerate(kinds)}
    tables, right = [], []
    for i, _, query in asked:
        slots = match.visible_slots(query)
        if not slots:
            continue
        said = match.slot_evidence(query, people.p, people.known)
        table = np.zeros((len(people.p), len(kinds)), np.float32)
        for at, slot in enumerate(slots):
            table[:, column[match.kind_of(slot)]] += slot.weight * said[:, at]
        tables.append(table)
        right.append(i)

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(len(kinds))
        for table, i in zip(tables, right, strict=True):
            z = table @ beta
            chance = np.exp(z - z.max())
            chance /= chance.sum()
            total -= float(np.log(max(chance[i], 1e-30)))
            slope -= table[i] - chance @ table
        off = beta - 0.5
        return total / len(tables) + RIDGE * float(off @ off) / 2, slope / len(tables) + RIDGE * off

    found = minimize(
        loss, np.full(len(kinds), 0.5), jac=True, method="L-BFGS-B", bounds=[(0.05, 1.0)] * len(kinds)
    )
    told = {k: round(float(b), 3) for k, b in zip(kinds, found.x, strict=True)} | {"other": 0.5}
    return told, float(found.fun)


def fit_evidence(
    people: People, asked: Sequence[tuple[int, str, Query]], base: Mapping[str, Any]
) -> dict[str, Any]:
    """``mixture`` and ``kinds``: the share of the mixture in a slot's evidence that makes the right entries likeliest."""
    tried = []
    for mixture in MIXTURES:
        match.use_calibration({**base, "mixture": mixture})
        kinds, loss = fit_kinds(people, asked)
        tried.append((loss, mixture, kinds))
    _, mixture, kinds = min(tried, key=lambda one: one[0])
    return {"mixture": mixture, "kinds": kinds}


# -- nobody matches ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A sentence asked of the entries ``among``; ``true`` if one of them is meant; ``swap`` names what is wrong."""

    text: str
    among: np.ndarray
    true: bool
    swap: str


def trials(people: People, family: Family, seed: int, rarity: float = 1.0) -> list[Trial]:
    """A true and a false sentence for everybody whose caption shows the swap; galleries of 100 to all people."""
    rng, out, n = np.random.default_rng(seed), [], len(people.told)
    for i, told in enumerate(people.told):
        kind = ("color", "pair", "doing")[int(rng.integers(3))]
        swapped = (
            _other_doing(people, told, rng) if kind == "doing" else _other_color(people, told, kind, rng)
        )
        length, words = LENGTHS[int(rng.integers(2))], int(rng.integers(2**31))
        size = int(rng.integers(min(SMALLEST, n), n + 1))
        if swapped is None:
            continue
        facts, holds = swapped
        true, false = (
            person_captions(dict(f), np.random.default_rng(words), family, 1, rarity)[length][0]
            for f in (told, facts)
        )
        if true == false:
            continue
        among = np.union1d(rng.permutation(n)[:size], [i])
        out.append(Trial(true, among, True, ""))
        nobody = np.array([j for j in among.tolist() if not holds(people.told[j])], np.int64)
        out.append(Trial(false, nobody, False, kind))
    return out


Swapped = tuple[dict[str, Any], Callable[[Told], bool]]
"""Facts with one thing changed, and whether somebody else's facts hold what it was changed to."""


def _other_color(people: People, told: Told, kind: str, rng: np.random.Generator) -> Swapped | None:
    garment = ("upper", "lower")[int(rng.integers(2))]
    other = GARMENTS[garment]
    own = set(_colors(told, garment))
    if not own:
        return None
    near = own.union(*(group for group in ALIKE if group & own))
    for j in rng.integers(len(people.told), size=30).tolist():
        new = people.told[j][garment]
        if new and new["color"] not in near:
            facts = copy.deepcopy(dict(told))
            facts[garment].update(color=new["color"], shade=new["shade"], tone=new["tone"], second=None)

            def holds(who: Told, color: str = new["color"]) -> bool:
                pair = kind == "color" or bool(_colors(who, other) & _colors(told, other))
                return color in _colors(who, garment) and pair

            return facts, holds
    return None


def _colors(told: Told, garment: str) -> set[str]:
    item = told[garment] or {}
    return {c for c in (item.get("color"), item.get("second")) if c}


def _other_doing(people: People, told: Told, rng: np.random.Generator) -> Swapped | None:
    for j in rng.integers(len(people.told), size=30).tolist():
        new = people.told[j]
        # Nobody walking or standing in a gallery of people is no gallery.
        if (new["posture"] in ("walking", "standing") and not new["action"]) or _does_alike(told, new):
            continue
        facts = dict(told) | {k: new[k] for k in ("doing", "posture", "action", "arms")}
        return facts, lambda who, new=new: _does_alike(who, new)
    return None


def _does_alike(one: Told, other: Told) -> bool:
    if one["doing"] == other["doing"] or set(one["action"]) & set(other["action"]):
        return True
    same = one["posture"] == other["posture"] or {one["posture"], other["posture"]} == {"lying", "falling"}
    return same and not (one["action"] and other["action"]) and one["posture"] not in ("standing", "walking")


def first_hits(people: People, asked: Sequence[Trial]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(T, F) features of the first hit of every trial that was understood, (T,) whether it is true, and its swap."""
    rows, true, swaps = [], [], []
    for trial in asked:
        query = parse(trial.text)
        if match.visible_slots(query) and len(trial.among):
            said = match.slot_evidence(query, people.p[trial.among], people.known[trial.among])
            odds = match.slot_odds(query, people.p[trial.among], people.known[trial.among])
            x = match.features(query, said, odds)
            rows.append(x[int(x[:, 1].argmax())])
            true.append(trial.true)
            swaps.append(trial.swap)
    return np.array(rows), np.array(true), swaps


def logistic(x: np.ndarray, y: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """(F,) coefficients of P(y | x), the first one free, the others not below 0; both answers count the same."""
    from scipy.optimize import minimize

    each = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    sign = np.where(y, 1.0, -1.0)

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        z = sign * (x @ beta)
        wrong = 1 / (1 + np.exp(np.clip(z, -30, 30)))
        rest = np.r_[0.0, beta[1:]]
        value = float(each @ np.logaddexp(0, -z)) + ridge * float(rest @ rest) / 2
        return value, -(each * sign * wrong) @ x + ridge * rest

    bounds = [(None, None)] + [(0.0, None)] * (x.shape[1] - 1)
    found: np.ndarray = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def best_threshold(p: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The cut at which the worse of the two answers is right most often, and how often that is."""
    cuts = np.unique(np.r_[0.02, p, 0.98])
    middles = (cuts[1:] + cuts[:-1]) / 2
    right = np.array([min((p[y] >= c).mean(), (p[~y] < c).mean()) for c in middles])
    best = np.flatnonzero(right == right.max())
    return float(middles[best[len(best) // 2]]), float(right.max())


def fit_answer(people: People, asked: Sequence[Trial]) -> dict[str, Any]:
    """``score_only``, ``with_evidence``, ``refuse`` and ``threshold``."""
    x, y, _ = first_hits(people, asked)
    short, whole = logistic(x[:, :2], y), logistic(x, y)
    chance = 1 / (1 + np.exp(-x @ whole))
    lowest = x[:, 3:5].min(axis=1)
    tried = []
    for refuse in REFUSALS:
        held = np.where(lowest < refuse, 0.0, chance)
        cut, right = best_threshold(held, y)
        tried.append((right, refuse, cut))
    _, refuse, cut = max(tried)
    return {
        "score_only": {n: round(float(b), 4) for n, b in zip(match.FEATURES[:2], short, strict=True)},
        "with_evidence": {n: round(float(b), 4) for n, b in zip(match.FEATURES, whole, strict=True)},
        "refuse": refuse,
        "threshold": round(cut, 4),
    }


# -- report --------------------------------------------------------------------------------------------------------


def report_answers(people: People, asked: Sequence[Trial]) -> dict[str, float]:
    """Share of true sentences that match, and of false ones that nobody matches, by swap; and the AUC."""
    x, y, swaps = first_hits(people, asked)
    parameters = match.calibration()["with_evidence"]
    z = x @ np.array([parameters.get(n, 0.0) for n in match.FEATURES])
    limits = match.calibration()
    said = (1 / (1 + np.exp(-z)) >= limits["threshold"]) & (x[:, 3:5].min(axis=1) >= limits["refuse"])
    out = {"right_matches": float(said[y].mean()), "right_nobody": float((~said[~y]).mean())}
    for kind in sorted(set(swaps) - {""}):
        out[f"right_nobody {kind}"] = float((~said[np.array(swaps) == kind]).mean())
    gap = z[y][:, None] - z[~y][None]
    return {k: round(v, 3) for k, v in (out | {"auc": float((np.sign(gap) / 2 + 0.5).mean())}).items()}


def report_ranking(people: People, asked: Sequence[tuple[int, str, Query]]) -> dict[str, dict[str, float]]:
    """R@1, R@5 and mAP in percent of the linear and the exact stage, short and long captions apart."""
    out, ids = {}, [str(i) for i in range(len(people.p))]
    for length in LENGTHS:
        picked = [(i, q) for i, size, q in asked if size == length]
        wanted = [str(i) for i, _ in picked]
        stages = {
            "coarse": np.array([people.evidence @ match.weights(q) for _, q in picked]),
            "facts": np.array([match.scores(q, people.p, people.known) for _, q in picked]),
        }
        for name, scores in stages.items():
            found = ranks_of(scores, wanted, ids).summary()
            out[f"{length} {name}"] = {k: round(float(found[k] or 0), 1) for k in ("R@1", "R@5", "mAP")}
    return out


def train_calibration(
    out: Path | None = None, *, people: int = 600, seed: int = FIT_SEED, progress: Progress | None = None
) -> dict[str, Any]:
    """Fit on ``people`` drawn of ``seed``, report on half as many of another, and write ``out`` (default: the packaged
    file). Returns what was written.

    Raises:
        OSError: the file cannot be written.
    """
    models = Models()
    train = draw_people(seed, people, models, progress)
    held = draw_people(seed + REPORT_SEED - FIT_SEED, max(people // 2, 50), models, progress)
    told = json.loads(match.CALIBRATION.read_text(encoding="utf-8"))
    fitted = {k: told[k] for k in ("matched", "contradicted", "mixture")}
    unfitted = {
        "kinds": {"other": 0.5},
        "threshold": 0.5,
        "refuse": -3.0,
        "score_only": {},
        "with_evidence": {},
    }
    try:
        match.use_calibration(fitted | unfitted)
        fitted |= fit_evidence(train, captions(train, "A", seed), unfitted | fitted)
        match.use_calibration(unfitted | fitted)
        asked = [t for k in range(3) for t in trials(train, "A", seed + k)]
        fitted |= fit_answer(train, asked)
        match.use_calibration(fitted)
        fitted["report"] = {
            "seed": seed, "people": len(train.p), "held-out people": len(held.p),
            "ranking A": report_ranking(held, captions(held, "A", seed + 1)),
            "ranking B": report_ranking(held, captions(held, "B", seed + 1, RARITY)),
            "nobody A": report_answers(held, trials(held, "A", seed + 1)),
            "nobody B": report_answers(held, trials(held, "B", seed + 1, RARITY)),
        }  # fmt: skip
    finally:
        match.use_calibration(None)
    fitted = {"note": "written by `oddwatch train calibration`; drawn people only", **fitted}
    target = match.CALIBRATION if out is None else out
    target.write_text(json.dumps(fitted, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    match.reload()
    return fitted
