"""AUPIMO: per-image recall at a false positive rate measured on normal images only.

Bertoldo et al., "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low Tolerance",
BMVC 2024 (arXiv 2401.01984); metrics §4. In five lines:

1. Normal images are those with an empty mask. ``K`` thresholds run evenly from their lowest to their highest score.
2. F(t) is the mean over normal images of the share of pixels at or above t: one axis for all images.
3. T_i(t) is the share of the anomalous pixels of image i at or above t, whole mask, no components; false positives
   of the image itself do not count.
4. AUPIMO_i is the area of T_i over ln F between the thresholds nearest to the bounds (1e-5, 1e-4), divided by the
   logarithm of their ratio, within 0–1.
5. The data set's value is the mean over anomalous images; report the images too.

How it is fast: only the few normal scores around the bounds decide. One pass keeps the highest scores of the normal
images (some thousands) and the highest score it let go; F is exact above that, and the pass is repeated with
more if a bound was not reached. T is looked up only where F changes. The reference makes K counts per image.

Decided here: 30 points or fewer between the bounds are refused unless ``force`` (the two notes read differ by one; so
does the reference). A lower bound below the smallest rate there is is refused likewise; forced, the area
simply ends where the data do. Bounds of 0 do not occur, since the axis is logarithmic. Infinite scores are refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from oddwatch.core import InputError
from oddwatch.metrics.maps import pairs
from oddwatch.metrics.ranking import MetricResult

FEW, SOME = 30, 300
"""Points between the bounds: up to so many are refused, below so many are remarked upon."""


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """The shared rate between the bounds, inclusive: ``thresholds`` (k,) ascending, ``rates`` (k,) falling; ``notes``;
    ``worst`` the normal image with most pixels at or above the lowest threshold."""

    thresholds: np.ndarray
    rates: np.ndarray
    notes: tuple[str, ...]
    worst: int


def aupimo(
    maps: Sequence[Any],
    masks: Sequence[Any],
    bounds: tuple[float, float] = (1e-5, 1e-4),
    thresholds: int | Literal["exact"] = 300_000,
    force: bool = False,
    without_worst: bool = False,
) -> MetricResult:
    """The mean AUPIMO of the anomalous images.

    ``details``: ``scores`` (n,) per image, NaN for normal ones; ``rates`` reached for the bounds; ``thresholds``
    there; ``points`` between them; ``notes`` on what makes the value doubtful. ``thresholds="exact"`` uses the distinct
    normal scores instead of an even grid, so that no strictly rising transform of the scores changes the value.
    ``without_worst`` adds ``left_out``, the normal image with most false positives at the upper bound, and ``robust``
    and ``robust_scores`` as if it were not there: one noisy image sets the axis for all.

    Raises:
        InputError: maps and masks that do not fit; no normal or no anomalous image; both bounds at one threshold;
            unless ``force``, too few points or a lower bound out of reach; ``without_worst`` and one normal image.
    """
    lower, upper = bounds
    if not 0 < lower < upper <= 1:
        raise InputError("bounds", f"expected 0 < lower < upper <= 1, got {lower}, {upper}")
    if thresholds != "exact" and thresholds < 2:
        raise InputError("thresholds", f"expected 2 or more, or 'exact', got {thresholds}")
    sizes, found = _split(maps, masks)
    axis = _axis(maps, sizes, bounds, thresholds, force)
    scores = _areas(found, axis, bounds, len(maps))
    details: dict[str, Any] = {
        "scores": scores,
        "rates": (float(axis.rates[-1]), float(axis.rates[0])),
        "thresholds": (float(axis.thresholds[-1]), float(axis.thresholds[0])),
        "points": int(axis.rates.size),
        "notes": axis.notes,
    }
    if without_worst:
        rest = {i: size for i, size in sizes.items() if i != axis.worst}
        if not rest:
            raise InputError("masks", "one normal image only", "leaving the worst out needs two")
        other = _axis(maps, rest, bounds, thresholds, force)
        robust = _areas(found, other, bounds, len(maps))
        details |= {"left_out": axis.worst, "robust": float(np.nanmean(robust)), "robust_scores": robust}
        details["notes"] += tuple(f"without image {axis.worst}: {note}" for note in other.notes)
    return MetricResult("aupimo", float(np.nanmean(scores)), details)


def _split(maps: Sequence[Any], masks: Sequence[Any]) -> tuple[dict[int, int], dict[int, np.ndarray]]:
    """Pixels of each normal image, and the sorted anomalous scores of the others, by index."""
    sizes, found = {}, {}
    for i, (scores, mask) in enumerate(pairs(maps, masks)):
        if not math.isfinite(float(scores.max()) - float(scores.min())):
            raise InputError(f"map[{i}]", "infinite scores")
        if mask.any():
            found[i] = np.sort(scores[mask])
        else:
            sizes[i] = scores.size
    if not sizes or not found:
        raise InputError("masks", f"no {'anomalous' if sizes else 'normal'} image", "AUPIMO needs both kinds")
    return sizes, found


def _axis(
    maps: Sequence[Any],
    sizes: Mapping[int, int],
    bounds: tuple[float, float],
    thresholds: int | Literal["exact"],
    force: bool,
) -> _Axis:
    lower, upper = bounds
    pixels = sum(sizes.values())
    keep = math.ceil(4 * upper * pixels) + 64
    while True:
        tail = _tail(maps, sizes, min(keep, pixels))
        grid = (
            np.unique(tail.scores) if thresholds == "exact" else np.linspace(tail.low, tail.high, thresholds)
        )
        grid = grid[grid > tail.dropped]
        rates = tail.rates(grid)
        if keep >= pixels or (grid.size and rates[0] > upper and _nearest(rates, upper) > 0):
            break
        keep *= 8
    first, last = _nearest(rates, upper), _nearest(rates, lower)
    if first >= last:
        raise InputError(
            "bounds",
            f"{lower:g} and {upper:g} both fall on the rate {rates[first]:g} of the normal images",
            "they have too few pixels or distinct scores: add images, or widen the bounds",
        )
    thresholds_, rates_ = grid[first : last + 1], rates[first : last + 1]
    notes = _judged(rates_, bounds, bool(lower < rates[-1]), force)
    worst = int(np.bincount(tail.owners[tail.scores >= grid[first]]).argmax())
    return _Axis(thresholds_, rates_, notes, worst)


def _nearest(rates: np.ndarray, level: float) -> int:
    """The first index whose rate is nearest to ``level``; for level 1 the last whose rate is 1."""
    if level == 1:
        return int(np.flatnonzero(rates >= rates[0])[-1])
    return int(np.argmin(np.abs(rates - level)))


def _judged(
    rates: np.ndarray, bounds: tuple[float, float], unreachable: bool, force: bool
) -> tuple[str, ...]:
    """What to say about the points between the bounds; InputError for what only ``force`` lets pass."""
    notes = [
        f"the bound {bound:g} is reached as {rate:g}"
        for bound, rate in zip(bounds, (rates[-1], rates[0]), strict=True)
        if abs(rate - bound) > 0.01 * bound
    ]
    more = "more or larger normal images, more thresholds, or force"
    if unreachable and not force:
        raise InputError(
            "bounds", f"the lower one, {bounds[0]:g}, is below the smallest rate, {rates[-1]:g}", more
        )
    if rates.size <= FEW and not force:
        raise InputError("bounds", f"{rates.size} points between them, expected more than {FEW}", more)
    if rates.size < SOME:
        notes.append(f"{rates.size} points between the bounds only")
    return tuple(notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Tail:
    """All normal scores above ``dropped`` (m,) with their ``owners`` (m,), and the range of all normal scores."""

    scores: np.ndarray
    owners: np.ndarray
    sizes: Mapping[int, int]
    dropped: float
    low: float
    high: float

    def rates(self, grid: np.ndarray) -> np.ndarray:
        """Mean over images of the share of pixels at or above each threshold of ``grid`` (> dropped)."""
        of_size = np.zeros(max(self.sizes) + 1, dtype=np.int64)
        of_size[list(self.sizes)] = list(self.sizes.values())
        total = np.zeros(grid.size)
        for size in sorted(set(self.sizes.values())):
            own = np.sort(self.scores[of_size[self.owners] == size])
            total += (own.size - np.searchsorted(own, grid, side="left")) / (size * len(self.sizes))
        return total


def _tail(maps: Sequence[Any], sizes: Mapping[int, int], keep: int) -> _Tail:
    """The about ``keep`` highest scores of the normal images, in one pass and some 4 ``keep`` numbers of memory."""
    held, of = np.zeros(0), np.zeros(0, dtype=np.int64)
    low, high, dropped = math.inf, -math.inf, -math.inf
    for i in sizes:
        flat = np.asarray(maps[i]).ravel()
        low, high = min(low, float(flat.min())), max(high, float(flat.max()))
        more = flat[flat > dropped]
        held = np.concatenate([held, more])
        of = np.concatenate([of, np.full(more.size, i)])
        if held.size > 4 * keep:
            order = np.argpartition(held, held.size - keep)
            dropped = float(held[order[: held.size - keep]].max())
            kept = held > dropped
            held, of = held[kept], of[kept]
    return _Tail(held, of, sizes, dropped, low, high)


def _areas(
    found: Mapping[int, np.ndarray], axis: _Axis, bounds: tuple[float, float], images: int
) -> np.ndarray:
    """AUPIMO of each image (n,), NaN for those not in ``found``: trapezoids where the rate changes."""
    at = np.flatnonzero(np.diff(axis.rates))
    logs = np.log(axis.rates)
    widths = logs[at] - logs[at + 1]
    scores = np.full(images, np.nan)
    for i, own in found.items():
        low, high = (np.searchsorted(own, axis.thresholds[k], side="left") / own.size for k in (at, at + 1))
        area = widths @ (1 - (low + high) / 2)
        scores[i] = np.clip(area / math.log(bounds[1] / bounds[0]), 0.0, 1.0)
    return scores


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models over the same images: mean of ``first`` − ``second``, and two-sided p-values of the Wilcoxon
    signed-rank and the paired t-test (None where ``images`` are too few for one)."""

    first: str
    second: str
    images: int
    gain: float
    wilcoxon_p: float | None
    t_p: float | None


def compare(scores: Mapping[str, Any]) -> list[Comparison]:
    """Every pair of models by their per-image ``scores`` (n,), NaN for normal images (the same ones in all).

    Raises InputError for fewer than two models, other lengths, NaN in other places, or no score at all.
    """
    names, rows = _rows(scores)
    pairs_ = itertools.combinations(range(len(names)), 2)
    return [_compared(names[a], names[b], rows[a] - rows[b]) for a, b in pairs_]


def _compared(first: str, second: str, gains: np.ndarray) -> Comparison:
    n, gain = gains.size, float(gains.mean())
    if not gains.any():
        return Comparison(first, second, n, gain, 1.0, 1.0 if n > 1 else None)
    wilcoxon = float(stats.wilcoxon(gains).pvalue)
    t = None
    if n > 1:
        spread = gains.std(ddof=1) / math.sqrt(n)
        t = float(2 * stats.t.sf(abs(gain) / spread, n - 1)) if spread else 0.0
    return Comparison(first, second, n, gain, wilcoxon, t)


def average_ranks(scores: Mapping[str, Any]) -> dict[str, float]:
    """Mean over images of each model's place (1 = best, ties share); see :func:`compare`."""
    names, rows = _rows(scores)
    return dict(zip(names, stats.rankdata(-rows, axis=0).mean(axis=1).tolist(), strict=True))


def spread(scores: Any) -> dict[str, float]:
    """Box plot figures of per-image ``scores``: ``min``, ``p5``, quartiles, ``max``, ``mean``, share ``at_zero``."""
    _, rows = _rows({"scores": scores, "again": scores})
    values = rows[0]
    names = {"min": 0, "p5": 5, "q1": 25, "median": 50, "q3": 75, "max": 100}
    found = dict(zip(names, np.percentile(values, list(names.values())).tolist(), strict=True))
    return found | {"mean": float(values.mean()), "at_zero": float((values == 0).mean())}


def _rows(scores: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
    if len(scores) < 2:
        raise InputError("scores", f"expected two models or more, got {len(scores)}")
    rows = [np.asarray(values, dtype=np.float64) for values in scores.values()]
    if any(row.ndim != 1 or row.shape != rows[0].shape for row in rows):
        raise InputError("scores", f"expected (n,) of one length, got {[row.shape for row in rows]}")
    known = [~np.isnan(row) for row in rows]
    if any((k != known[0]).any() for k in known):
        raise InputError(
            "scores", "NaN for different images", "compare models over the same anomalous images"
        )
    if not known[0].any():
        raise InputError("scores", "no image has one")
    return list(scores), np.stack(rows)[:, known[0]]
