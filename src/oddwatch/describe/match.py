"""A sentence held against facts, slot by slot, with unknown as a value.

A slot says how much likelier its words are of this entry than of anybody: a log likelihood ratio, 0 where nothing
could be seen. Two estimates of it are mixed. *Pooled*: the log odds of each alternative against its base rate,
averaged by the squares of the alternatives' weights; one wrongly high alternative cannot win alone. *Mixture*: log
Σ w p / Σ w prior, the words being used with probability w when an alternative holds. The score is the mean over the
slots, each weighted by its words and by how far its kind was found to be reliable (``kinds``, 0–1, fitted by
``oddwatch train calibration``). :func:`weights` is the pooled part alone, for scanning a whole gallery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.core import Evidence, Facts, InputError, Query, Reason, Slot
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR

CALIBRATION = Path(__file__).parent / "lexicon" / "calibration.json"
CLIP = 6.0
"""Most nats one slot can say."""
FLOOR = 1e-3
Verdict = Literal["matched", "contradicted", "unknown"]
BLIND = frozenset(i for atom, i in INDEX.items() if atom.startswith("person."))
"""Atoms that are read in sentences and never seen: they change no ranking."""


_CALIBRATION: dict[str, Any] | None = None


def calibration() -> dict[str, Any]:
    """The thresholds, reliabilities and logistic parameters in force."""
    return _packaged() if _CALIBRATION is None else _CALIBRATION


@cache
def _packaged() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    return data


def _logit(p: np.ndarray) -> np.ndarray:
    q = np.clip(p.astype(np.float64), 1e-4, 1 - 1e-4)
    out: np.ndarray = np.log(q / (1 - q))
    return out


_PRIOR_LOGIT = _logit(PRIOR)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A query as arrays: ``index`` (S, K) atoms, ``alt`` (S, K) their weights (0 pads), ``sign`` (S,) −1 for
    denied slots, ``weight`` (S,) that add up to 1, and the slots themselves."""

    slots: tuple[Slot, ...]
    index: np.ndarray
    alt: np.ndarray
    sign: np.ndarray
    weight: np.ndarray


def _visible(slot: Slot) -> list[tuple[int, float]]:
    seen = [(INDEX[a], w) for a, w in slot.atoms.items() if a in INDEX and INDEX[a] not in BLIND and w > 0]
    return sorted(seen, key=lambda item: -item[1])


def kind_of(slot: Slot) -> str:
    """What a slot's reliability is kept under: its kind, for colours and garments with the region."""
    return f"{slot.kind} {slot.about}" if slot.kind in ("color", "garment") else slot.kind


def _importance(slot: Slot) -> float:
    kinds = calibration()["kinds"]
    return slot.weight * float(kinds.get(kind_of(slot), kinds.get("other", 0.5)))


def _compile(query: Query) -> _Plan:
    used = [(s, a) for s in query.slots if (a := _visible(s)) and s.weight > 0]
    width = max((len(a) for _, a in used), default=1)
    index, alt = np.zeros((len(used), width), np.int64), np.zeros((len(used), width))
    for row, (_, atoms) in enumerate(used):
        index[row, : len(atoms)] = [i for i, _ in atoms]
        alt[row, : len(atoms)] = [w for _, w in atoms]
    weight = np.array([_importance(s) for s, _ in used])
    weight = weight / max(float(weight.sum()), 1e-9) if len(used) else weight
    sign = np.array([-1.0 if s.negated else 1.0 for s, _ in used])
    return _Plan(tuple(s for s, _ in used), index, alt, sign, weight)


_PLANS: dict[int, tuple[Query, _Plan]] = {}
"""Plans of the last queries by identity (slots hold dicts and cannot be hashed); the query is kept with its
plan so that its id cannot be taken by another."""


def _plan(query: Query) -> _Plan:
    kept = _PLANS.get(id(query))
    if kept is not None and kept[0] is query:
        return kept[1]
    plan = _compile(query)
    if len(_PLANS) >= 64:
        _PLANS.clear()
    _PLANS[id(query)] = (query, plan)
    return plan


def weights(query: Query) -> np.ndarray:
    """(A,) float32 weights of the linear coarse score: positive for what is asked, negative for what is denied.

    A slot's weight is shared by its alternatives in the ratio of the squares of their weights.
    """
    out = np.zeros(len(ATOMS))
    plan = _plan(query)
    if len(plan.slots):
        np.add.at(out, plan.index, _shares(plan) * (plan.weight * plan.sign)[:, None])
    return out.astype(np.float32)


def _shares(plan: _Plan) -> np.ndarray:
    out: np.ndarray = plan.alt**2 / (plan.alt**2).sum(axis=1, keepdims=True)
    return out


def visible_slots(query: Query) -> tuple[Slot, ...]:
    """The slots that something here can see, in the order of :func:`slot_evidence`."""
    return _plan(query).slots


def slot_evidence(query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, S) evidence in nats of the query's visible slots for ``p`` (N, A) probabilities and ``known`` (N, A);
    positive speaks for the slot as written, 0 is unknown."""
    plan = _plan(query)
    if not len(plan.slots):
        return np.zeros((len(p), 0))
    seen = known[:, plan.index]
    prior = PRIOR[plan.index].astype(np.float64)
    q = np.where(seen, p[:, plan.index].astype(np.float64), prior)
    odds = np.where(seen, np.clip(_logit(q) - _PRIOR_LOGIT[plan.index], -CLIP, CLIP), 0.0)
    pooled = (odds * _shares(plan)).sum(axis=-1) * plan.sign
    most = np.maximum(plan.alt.sum(axis=-1), 1.0)
    said, usual = (plan.alt * q).sum(axis=-1) / most, (plan.alt * prior).sum(axis=-1) / most
    for_it = np.log(np.maximum(said, FLOOR)) - np.log(np.maximum(usual, FLOOR))
    against = np.log(np.maximum(1 - said, FLOOR)) - np.log(np.maximum(1 - usual, FLOOR))
    mixture = np.clip(np.where(plan.sign > 0, for_it, against), -CLIP, CLIP)
    share = float(calibration()["mixture"])
    out: np.ndarray = (1 - share) * pooled + share * mixture
    return out


def scores(query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) exact slot-wise scores of many entries: ``p`` and ``known`` are (N, A). What :func:`judge` gives."""
    return scores_of(query, slot_evidence(query, p, known))


def scores_of(query: Query, evidence: np.ndarray) -> np.ndarray:
    """(N,) scores from (N, S) :func:`slot_evidence`."""
    out: np.ndarray = evidence @ _plan(query).weight
    return out


def _require_schema(facts: Facts) -> None:
    if facts.schema != SCHEMA_ID or facts.p.shape != (len(ATOMS),):
        raise InputError(
            "facts", f"expected atoms of schema {SCHEMA_ID}, got {facts.schema}", "index the media again"
        )


def judge(query: Query, facts: Facts) -> tuple[float, Reason]:
    """How well facts fit a sentence, in nats of mean evidence (−6 to 6, 0 = nothing known), and why.

    Raises:
        InputError: facts of another table of atoms.
    """
    found = assess(query, facts)
    return found.score, found.reason


@dataclass(frozen=True, slots=True)
class Assessment:
    """One entry held against a sentence: the ``score`` of :func:`judge`, the ``reason``, how likely it is that the
    entry is meant (0–1), and whether it counts as an answer."""

    score: float
    reason: Reason
    probability: float
    match: bool


def assess(query: Query, facts: Facts, threshold: float | None = None) -> Assessment:
    """Judge facts and say whether they are an answer; ``threshold`` replaces the calibrated one.

    Raises:
        InputError: facts of another table of atoms.
    """
    _require_schema(facts)
    plan = _plan(query)
    evidence = slot_evidence(query, facts.p[None], facts.known[None])[0]
    by_slot = {id(slot): float(e) for slot, e in zip(plan.slots, evidence, strict=True)}
    found = [_evidence(slot, facts, by_slot.get(id(slot))) for slot in query.slots]
    score = float(evidence @ plan.weight) if len(evidence) else 0.0
    reason = _reason(query, found)
    likely = float(probabilities(query, facts.p[None], facts.known[None])[0])
    return Assessment(score, reason, likely, is_match(query, reason, likely, threshold))


def _evidence(slot: Slot, facts: Facts, evidence: float | None) -> Evidence:
    words = spoken(slot)
    seen = [(i, w) for i, w in _visible(slot) if facts.known[i]]
    if evidence is None or not seen:
        return Evidence(words, "unknown")
    main = float(facts.p[seen[0][0]])
    mixed = [(w * float(facts.p[i]) + (1 - w) * main, i) for i, w in seen]
    p, best = max(mixed, key=lambda item: item[0])
    verdict = _verdict(p, evidence, slot.negated)
    atom = ATOMS[best]
    return Evidence(words, verdict, atom, float(facts.p[best]), facts.boxes.get(atom))


def _verdict(p: float, evidence: float, negated: bool) -> Verdict:
    limits = calibration()
    if p >= limits["matched"]:
        return "contradicted" if negated else "matched"
    if p > limits["contradicted"]:
        return "unknown"
    if negated:
        return "matched"
    # A rare fact at a low probability can still be more likely here than anywhere else.
    return "contradicted" if evidence < 0 else "unknown"


def spoken(slot: Slot) -> str:
    """A slot's words as a reason says them: "not running", "without hat"."""
    if not slot.negated:
        return slot.words
    if slot.kind in ("object", "accessory", "garment") and not slot.words.startswith(("bare", "empty")):
        return f"without {slot.words}"
    return f"not {slot.words}"


def _reason(query: Query, found: Sequence[Evidence]) -> Reason:
    """Every phrase once, by the verdict of its heaviest slot; a contradiction wins a tie."""
    order = {"contradicted": 2, "matched": 1, "unknown": 0}
    best: dict[str, tuple[float, int, Verdict]] = {}
    for slot, evidence in zip(query.slots, found, strict=True):
        known = evidence.verdict != "unknown"
        rank = (_importance(slot) if known else 0.0, order[evidence.verdict], evidence.verdict)
        best[evidence.words] = max(best.get(evidence.words, rank), rank)
    said: dict[str, list[str]] = {"matched": [], "contradicted": [], "unknown": []}
    for words, (_, _, verdict) in best.items():
        said[verdict].append(words)
    said["unknown"].extend(w for w in query.unread if w not in best)
    return Reason(tuple(said["matched"]), tuple(said["contradicted"]), tuple(said["unknown"]), tuple(found))


DOING = frozenset({"posture", "action", "motion"})
CLEAR = 0.35
"""Slots of less weight than this (hints of the parser) refuse nobody."""
SUREST = 4.0
"""Most log odds a slot counts when it is asked whether it holds."""
FEATURES = ("bias", "score", "weakest", "color", "doing", "seen")


def slot_odds(query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, S) log odds, −4 to 4, that each visible slot holds as written, by its best alternative; NaN is unknown.

    Evidence says whom a slot points to, odds say whether it holds: a rare colour at 0.01 is little evidence against
    anybody, for nobody wears it, and yet no match.
    """
    plan = _plan(query)
    if not len(plan.slots):
        return np.zeros((len(p), 0))
    seen = known[:, plan.index] & (plan.alt > 0)
    holds = np.where(seen, plan.alt * p[:, plan.index].astype(np.float64), 0.0).max(axis=-1)
    odds = np.clip(_logit(np.where(plan.sign > 0, holds, 1 - holds)), -SUREST, SUREST)
    return np.where(seen.any(axis=-1), odds, np.nan)


def features(query: Query, evidence: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """(N, 6) what the calibration reads, in the order of FEATURES, of (N, S) :func:`slot_evidence` and
    :func:`slot_odds`: 1, the score, the soft minimum of the odds of all clear slots (−log mean e^−odds), the lowest
    odds of a colour and of a doing (0 without one), and the share of the weight that could be seen. So one slot that
    does not hold refuses an entry, whatever the rest."""
    plan = _plan(query)
    out = np.zeros((len(evidence), len(FEATURES)))
    out[:, 0], out[:, 1] = 1.0, evidence @ plan.weight
    clear = np.array([s.weight >= CLEAR for s in plan.slots], bool)
    color = clear & np.array([s.kind == "color" for s in plan.slots], bool)
    doing = clear & np.array([s.kind in DOING for s in plan.slots], bool)
    unknown = np.isnan(odds)
    count = (clear & ~unknown).sum(axis=1)
    against = np.where(clear & ~unknown, np.exp(-np.nan_to_num(odds)), 0.0).sum(axis=1)
    out[:, 2] = np.where(count > 0, -np.log(np.maximum(against, 1e-9) / np.maximum(count, 1)), 0.0)
    for column, chosen in ((3, color), (4, doing)):
        lowest = np.where(chosen & ~unknown, odds, np.inf).min(axis=1, initial=np.inf)
        out[:, column] = np.where(np.isinf(lowest), 0.0, lowest)
    out[:, 5] = ~unknown @ plan.weight
    return out


def probability(query: Query, score: float) -> float:
    """How likely it is that an entry of this ``score`` is what the sentence means, 0–1, by the packaged logistic.

    Even odds are those of a true sentence and one that is wrong in one slot. A query without a visible slot gives 0.
    """
    if not _plan(query).slots:
        return 0.0
    parameters = calibration()["score_only"]
    z = parameters.get("bias", 0.0) + parameters.get("score", 0.0) * score
    return float(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def probabilities(query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) the same, sharper, from all facts (N, A): the weakest slots count, and a colour or doing whose odds are
    below the calibrated ``refuse`` leaves half of the threshold at most."""
    if not _plan(query).slots:
        return np.zeros(len(p))
    limits = calibration()
    x = features(query, slot_evidence(query, p, known), slot_odds(query, p, known))
    z = x @ np.array([limits["with_evidence"].get(n, 0.0) for n in FEATURES])
    likely = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
    refused = x[:, 3:5].min(axis=1) < limits["refuse"]
    out: np.ndarray = np.where(refused, np.minimum(likely, limits["threshold"] / 2), likely)
    return out


def is_match(query: Query, reason: Reason, probability: float | None, threshold: float | None = None) -> bool:
    """Whether a hit counts as an answer: its probability reaches the threshold (the calibrated one by default)
    and at least one word of the sentence was seen to hold."""
    least = float(calibration()["threshold"]) if threshold is None else threshold
    return bool(probability is not None and probability >= least and reason.matched)


def use_calibration(values: Mapping[str, Any] | None) -> None:
    """Replace the calibration of this process (None: back to the packaged one)."""
    global _CALIBRATION
    _CALIBRATION = None if values is None else dict(values)
    _PLANS.clear()


def reload() -> None:
    """Read the packaged calibration again."""
    _packaged.cache_clear()
    use_calibration(None)


def facts_sentence(facts: Facts, least: float = 0.5) -> str:
    """A caption of the facts known with a probability of ``least`` or more."""
    from oddwatch.describe.caption import facts_sentence as write

    return write(facts, least)
