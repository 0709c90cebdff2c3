"""How well facts are told: the rows heads read of a person, and accuracies by group against truths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from oddwatch.core import Frame, Person
from oddwatch.describe import features
from oddwatch.describe.atoms import GROUPS, members
from oddwatch.describe.describer import Describer
from oddwatch.describe.heads import Crop, LightHeads, evidence_of
from oddwatch.describe.priors import PRIOR
from oddwatch.train.weigh import auc


def row(
    heads: LightHeads, frame: Frame, person: Person, others: Sequence[Person], seen: Crop
) -> dict[str, np.ndarray]:
    """What the networks read of one person: geometry, hand-built evidence and mask, pooled tokens (float16)."""
    parts = heads.parts(frame, person, seen)
    facts = Describer(heads=None).by_hand(frame, person, others, parts)
    return {
        "geometry": features.geometry(person, others),
        "gain": features.gains(facts),
        "known": facts.known,
        "pool": features.pooled(*seen, parts).astype(np.float16),
    }


def totals(
    arrays: Mapping[str, np.ndarray], table: Mapping[str, np.ndarray], tokens: bool = True
) -> np.ndarray:
    """(N, A) evidence as the describer gives it, of a table of rows."""
    plain = np.concatenate([table["geometry"], table["gain"]], axis=1)
    told = evidence_of(arrays, plain, table["pool"].astype(np.float32) if tokens else None)
    w = arrays["weigh.tokens" if tokens else "weigh.blind"]
    return np.asarray(
        w[:, 0] * table["gain"] + w[:, 1] * told + w[:, 2] * (table["known"] | (w[:, 1] > 0)), np.float32
    )


def by_group(evidence: np.ndarray, y: np.ndarray, told: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Group → AUC (mean over atoms), ``top`` (share of the likeliest values that hold), ``balanced`` (mean of that
    over values, by evidence alone), ``n`` rows, from evidence (N, A)."""
    prior = np.log(PRIOR / (1 - PRIOR))
    out: dict[str, dict[str, float | None]] = {}
    for group in GROUPS:
        m = [i for i in members(group) if told[:, i].sum() >= 20]
        if not m:
            continue
        areas = [
            auc(evidence[told[:, i], i], y[told[:, i], i] > 0.5)
            for i in m
            if 3 <= y[told[:, i], i].sum() < told[:, i].sum()
        ]
        rows = told[:, m].all(1) & (y[:, m].sum(1) > 0)
        best = (evidence[rows][:, m]).argmax(1)
        likely = (evidence[rows][:, m] + prior[m]).argmax(1)
        truth = y[rows][:, m] > 0.5
        shares = [float((best[truth[:, k]] == k).mean()) for k in range(len(m)) if truth[:, k].sum() >= 3]
        out[group] = {
            "auc": _mean(areas),
            "top": _mean(truth[np.arange(len(likely)), likely]) if len(likely) else None,
            "balanced": _mean(shares),
            "n": float(rows.sum()),
        }
    return out


def figures(
    arrays: Mapping[str, np.ndarray], table: Mapping[str, np.ndarray]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """:func:`by_group` of the hand-built facts, of the heads with tokens, and of the heads by pose alone."""
    y, told = table["y"], table["told"]
    return {
        "hand": by_group(table["gain"], y, told),
        "heads": by_group(totals(arrays, table), y, told),
        "pose only": by_group(totals(arrays, table, tokens=False), y, told),
    }


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return round(float(np.mean(values)), 3) if len(values) else None
