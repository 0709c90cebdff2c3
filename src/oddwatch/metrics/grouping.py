"""Agreement of groups with classes: normalised mutual information, adjusted Rand index, matched F1.

Groups have no names, so none of the three depends on what they are called. They are as AnomalyNCD (arXiv 2410.14379) reports
them: NMI over the arithmetic mean of the entropies (Vinh, Epps and Bailey 2010), ARI (Hubert and Arabie 1985), and the
micro-averaged F1 after the one-to-one naming of groups that makes most items right, which equals the share of items then
right. Where both sides are one group they agree fully: 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import comb, entr

from oddwatch.core import InputError
from oddwatch.metrics.ranking import MetricResult, undefined

Labels = Sequence[Hashable] | np.ndarray


def table(classes: Labels, groups: Labels) -> np.ndarray:
    """(C, G) int64: how many items of each class fell into each group, both in order of first appearance.

    Raises:
        InputError: not one class and one group for every item.
    """
    if len(classes) != len(groups):
        raise InputError("groups", f"expected one for each of {len(classes)} items, got {len(groups)}")
    sides = [_numbers(side) for side in (classes, groups)]
    counts = np.zeros([max(side, default=-1) + 1 for side in sides], np.int64)
    np.add.at(counts, tuple(np.array(side, np.int64) for side in sides), 1)
    return counts


def nmi(classes: Labels, groups: Labels) -> MetricResult:
    """Normalised mutual information, 0–1."""
    counts = table(classes, groups)
    if not counts.size:
        return undefined("nmi", "no items")
    share = counts / counts.sum()
    entropies = float(entr(share.sum(1)).sum()), float(entr(share.sum(0)).sum())
    if counts.shape == (1, 1):
        return MetricResult("nmi", 1.0)
    mutual = sum(entropies) - float(entr(share).sum())
    return MetricResult("nmi", min(1.0, max(0.0, mutual / (sum(entropies) / 2))))


def ari(classes: Labels, groups: Labels) -> MetricResult:
    """Adjusted Rand index: 1 for equal partitions, 0 for what chance gives, down to −0.5."""
    counts = table(classes, groups)
    if not counts.size:
        return undefined("ari", "no items")
    both, rows, columns = (float(comb(n, 2).sum()) for n in (counts, counts.sum(1), counts.sum(0)))
    total = float(comb(counts.sum(), 2))
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    if most == expected:
        return MetricResult("ari", 1.0)
    return MetricResult("ari", (both - expected) / (most - expected))


def matched_f1(classes: Labels, groups: Labels) -> MetricResult:
    """Micro F1 under the best one-to-one naming of groups, 0–1; ``details["named"]`` maps the group's number to the
    class's, both in order of first appearance. Items of groups left without a class are wrong."""
    counts = table(classes, groups)
    if not counts.size:
        return undefined("f1", "no items")
    rows, columns = linear_sum_assignment(counts, maximize=True)
    named = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    return MetricResult("f1", float(counts[rows, columns].sum() / counts.sum()), {"named": named})


def grouping_metrics(classes: Labels, groups: Labels) -> dict[str, MetricResult]:
    """All three by name: ``nmi``, ``ari``, ``f1``."""
    found = (nmi(classes, groups), ari(classes, groups), matched_f1(classes, groups))
    return {one.name: one for one in found}


def _numbers(labels: Labels) -> list[int]:
    """The labels numbered in order of first appearance."""
    plain = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    known: dict[Hashable, int] = {}
    return [known.setdefault(label, len(known)) for label in plain]
