"""A sentence held against facts, slot by slot, with unknown as a value.

Evidence for an atom is its log odds against the atom's base rate, 0 where nothing could be seen. A slot's
evidence is that of its best alternative (an alternative of weight w counts w of its own evidence and 1 − w of
the main atom's), turned round when the slot is denied; the score is the mean over what can be seen at all,
weighted by the slots. :func:`weights` is the linear form of the same score, for scanning a whole gallery.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.core import Evidence, Facts, InputError, Query, Reason, Slot
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR

CALIBRATION = Path(__file__).parent / "lexicon" / "calibration.json"
CLIP = 4.0
Verdict = Literal["matched", "contradicted", "unknown"]
BLIND = frozenset(i for atom, i in INDEX.items() if atom.startswith("person."))
"""Atoms that are read in sentences and never seen: they change no ranking."""


@cache
def calibration() -> dict[str, Any]:
    """The packaged thresholds and logistic parameters."""
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


def _importance(slot: Slot) -> float:
    return slot.weight * float(calibration()["kinds"].get(slot.kind, 1.0))


def _compile(query: Query) -> _Plan:
    used = [(s, a) for s in query.slots if (a := _visible(s)) and s.weight > 0]
    width = max((len(a) for _, a in used), default=1)
    index, alt = np.zeros((len(used), width), np.int64), np.zeros((len(used), width))
    for row, (_, atoms) in enumerate(used):
        index[row, : len(atoms)] = [i for i, _ in atoms]
        alt[row, : len(atoms)] = [w for _, w in atoms]
    weight = np.array([_importance(s) for s, _ in used])
    weight = weight / weight.sum() if len(used) else weight
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
        share = plan.alt**2 / (plan.alt**2).sum(axis=1, keepdims=True)
        np.add.at(out, plan.index, share * (plan.weight * plan.sign)[:, None])
    return out.astype(np.float32)


def slot_evidence(query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, S) evidence of the query's visible slots for ``p`` (N, A) probabilities and ``known`` (N, A);
    positive speaks for the slot as written, 0 is unknown."""
    plan = _plan(query)
    if not len(plan.slots):
        return np.zeros((len(p), 0))
    q, seen = p[:, plan.index], known[:, plan.index] & (plan.alt > 0)
    raw = np.where(seen, np.clip(_logit(q) - _PRIOR_LOGIT[plan.index], -CLIP, CLIP), 0.0)
    main = _main(raw, seen)
    mixed = np.where(seen, plan.alt * raw + (1 - plan.alt) * main[..., None], -np.inf).max(axis=-1)
    out: np.ndarray = np.where(seen.any(axis=-1), mixed, 0.0) * plan.sign
    return out


def _main(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The value of each slot's heaviest atom that was seen (atoms stand in order of weight)."""
    first = seen.argmax(axis=-1)
    out: np.ndarray = np.take_along_axis(values, first[..., None], axis=-1)[..., 0]
    return out


def scores(query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) exact slot-wise scores of many entries: ``p`` and ``known`` are (N, A). What :func:`judge` gives."""
    out: np.ndarray = slot_evidence(query, p, known) @ _plan(query).weight
    return out


def _require_schema(facts: Facts) -> None:
    if facts.schema != SCHEMA_ID or facts.p.shape != (len(ATOMS),):
        raise InputError(
            "facts", f"expected atoms of schema {SCHEMA_ID}, got {facts.schema}", "index the media again"
        )


def judge(query: Query, facts: Facts) -> tuple[float, Reason]:
    """How well facts fit a sentence, in nats of mean evidence (about −4 to 4, 0 = nothing known), and why.

    Raises:
        InputError: facts of another table of atoms.
    """
    _require_schema(facts)
    plan = _plan(query)
    evidence = slot_evidence(query, facts.p[None], facts.known[None])[0]
    by_slot = {id(slot): float(e) for slot, e in zip(plan.slots, evidence, strict=True)}
    found = [_evidence(slot, facts, by_slot.get(id(slot))) for slot in query.slots]
    return float(evidence @ plan.weight) if len(evidence) else 0.0, _reason(query, found)


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


def features(query: Query, score: float, reason: Reason | None = None) -> dict[str, float]:
    """What the calibration reads: the score, and from a reason the weighted shares of matched and contradicted
    slots and ``worst``, the lowest log odds of a slot as written (−3 to 3)."""
    if reason is None or len(reason.evidence) != len(query.slots):
        return {"bias": 1.0, "score": score}
    total = matched = contradicted = 0.0
    worst = 3.0 if any(e.probability is not None for e in reason.evidence) else 0.0
    for slot, evidence in zip(query.slots, reason.evidence, strict=True):
        if not _visible(slot):
            continue
        weight = _importance(slot)
        total += weight
        matched += weight * (evidence.verdict == "matched")
        contradicted += weight * (evidence.verdict == "contradicted")
        if evidence.probability is not None and weight >= 0.7:
            p = 1 - evidence.probability if slot.negated else evidence.probability
            worst = min(worst, float(np.clip(_logit(np.array(p)), -3, 3)))
    total = total or 1.0
    return {
        "bias": 1.0,
        "score": score,
        "matched": matched / total,
        "contradicted": contradicted / total,
        "worst": worst,
    }


def probability(query: Query, score: float, reason: Reason | None = None) -> float:
    """How likely it is that the entry is what the sentence means, 0–1, by the packaged logistic calibration.

    With ``reason`` the verdicts count too. A query without a visible slot gives 0.
    """
    if not _plan(query).slots:
        return 0.0
    x = features(query, score, reason)
    parameters = calibration()["with_reason" if len(x) > 2 else "score_only"]
    z = sum(parameters.get(name, 0.0) * value for name, value in x.items())
    return float(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def is_match(query: Query, reason: Reason, probability: float | None, threshold: float | None = None) -> bool:
    """Whether a hit counts as an answer: its probability reaches the threshold (the calibrated one by default)
    and at least one word of the sentence was seen to hold."""
    least = float(calibration()["threshold"]) if threshold is None else threshold
    return bool(probability is not None and probability >= least and reason.matched)


Sample = tuple[Query, float, Reason | None, bool]


def fit_calibration(
    samples: Iterable[Sample], *, ridge: float = 1e-2, write: Path | None = None
) -> dict[str, Any]:
    """Fit both logistics to (query, score, reason, is the right entry) samples, by Newton steps with a ridge;
    the threshold is the one with the best balanced accuracy. ``write`` replaces that JSON file.

    Raises:
        InputError: fewer than ten samples, or only one kind of answer.
    """
    items = list(samples)
    y = np.array([float(truth) for *_, truth in items])
    if len(items) < 10 or y.min() == y.max():
        raise InputError("samples", f"expected ten or more, right and wrong ones, got {len(items)}")
    result = json.loads(json.dumps(calibration()))
    with_reason = all(reason is not None for _, _, reason, _ in items)
    for name in ("score_only", "with_reason") if with_reason else ("score_only",):
        rows = [features(q, s, r if name == "with_reason" else None) for q, s, r, _ in items]
        names = list(dict.fromkeys(key for row in rows for key in row))
        x = np.array([[row.get(key, 0.0) for key in names] for row in rows])
        beta = _logistic(x, y, ridge)
        result[name] = dict(zip(names, (round(float(b), 5) for b in beta), strict=True))
        result["threshold"] = round(_best_threshold(1 / (1 + np.exp(-x @ beta)), y), 4)
    result["note"] = f"logistic parameters fitted to {len(items)} samples by fit_calibration"
    if write is not None:
        write.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        calibration.cache_clear()
        _PLANS.clear()
    return result


def _logistic(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    beta = np.zeros(x.shape[1])
    # Right and wrong samples count the same: how many wrong ones were drawn says nothing.
    each = np.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum()) * len(y)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (each * (y - p)) - ridge * beta
        curvature = (x * (each * p * (1 - p))[:, None]).T @ x + ridge * np.eye(x.shape[1])
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def _best_threshold(p: np.ndarray, y: np.ndarray) -> float:
    cuts = np.unique(p)
    middles = np.concatenate([[0.5], (cuts[1:] + cuts[:-1]) / 2])
    balanced = [
        ((p >= c) & (y > 0)).sum() / y.sum() + ((p < c) & (y == 0)).sum() / (1 - y).sum() for c in middles
    ]
    return float(middles[int(np.argmax(balanced))])


def facts_sentence(facts: Facts, least: float = 0.5) -> str:
    """A caption of the facts known with a probability of ``least`` or more."""
    from oddwatch.describe.caption import facts_sentence as write

    return write(facts, least)
