"""Streaming pixel metrics: histograms instead of sorted pixels, in constant memory (ADEval).

Zhang et al., "ADer" (arXiv 2406.03262), package ADEval; metrics §3, images §2.8. In five lines:

1. Scores fall into ``nstrips`` bins between stated bounds, and an underflow and an overflow bin; the bounds should hold
   99 % of the scores, and one far outlier as a bound wastes the bins.
2. Three histograms: normal pixels, anomalous pixels, and anomalous pixels weighted by 1 / area of their 8-connected
   component, so that the weighted true positive rate is PRO.
3. Sums from the top give rates and precision at the bin edges; predicted is ``score >= edge``.
4. AUROC and AUPR by trapezoid (precision 1 where nothing is predicted), AU-PRO by trapezoid with a straight line at
   the limit.
5. Image scores are map maxima, a sample's score the highest of its views.

Different here: curves start at (0, 0) and end at (1, 1) even where scores lie outside the bounds (``anchored=False``
gives ADEval's own, which begins at the highest edge and so loses AUPR above it); edges may be quantile- or
log-spaced; image and sample metrics are exact, not binned; maps and masks must have one size; component weights
are whole multiples of 2⁻⁴⁰ (off by less than 10⁻⁶ for any region), so that sums do not depend on their order and
:meth:`Histogram.merge` is exactly associative and commutative.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np
from scipy.integrate import trapezoid

from oddwatch.core import InputError
from oddwatch.metrics.maps import components, pair, pairs
from oddwatch.metrics.pixels import area_partial, pool
from oddwatch.metrics.ranking import MetricResult, aupr_trapezoid, auroc, undefined

QUANTUM = 2.0**40
Source = Callable[[], Iterable[tuple[Any, Any]]]
"""Gives all (map, mask) pairs, anew at each call."""


class Histogram:
    """ADEval's accumulator of pixel, image and sample metrics.

    ``lower`` and ``upper`` bound the ``nstrips`` even bins; ``edges`` (E,) rising replace them. Raises InputError for
    bounds or edges that do not rise.
    """

    def __init__(
        self, lower: float = 0.0, upper: float = 1.0, nstrips: int = 1000, edges: Any = None
    ) -> None:
        if edges is None:
            if not (np.isfinite(upper - lower) and lower < upper) or nstrips < 1:
                raise InputError(
                    "bounds", f"expected finite lower < upper and bins, got {lower}, {upper}, {nstrips}"
                )
            edges = np.linspace(lower, upper, nstrips + 1)
        self.edges = np.asarray(edges, dtype=np.float64)
        if self.edges.ndim != 1 or self.edges.size < 2 or not np.isfinite(self.edges).all():
            raise InputError("edges", "expected two or more finite numbers")
        if (np.diff(self.edges) <= 0).any():
            raise InputError("edges", "expected rising numbers", "np.unique removes equal ones")
        self.reset()

    def reset(self) -> None:
        """Forget everything but the edges."""
        bins = self.edges.size + 1
        self._normal, self._anomalous, self._weighted = (np.zeros(bins, dtype=np.int64) for _ in range(3))
        self._regions = 0
        self._images: list[tuple[float, bool]] = []
        self._samples: dict[Hashable, tuple[float, bool]] = {}

    def update(
        self, maps: Sequence[Any], masks: Sequence[Any], samples: Sequence[Hashable] | None = None
    ) -> None:
        """Add images; ``samples`` names the object each is a view of (one per image without).

        Raises InputError, naming the image, for what does not fit and for infinite scores; images before it stay.
        """
        if samples is not None and len(samples) != len(maps):
            raise InputError("samples", f"expected one per map ({len(maps)}), got {len(samples)}")
        for i, (scores, mask) in enumerate(pairs(maps, masks)):
            self._add(scores, mask, f"[{i}]")
            if samples is not None:
                self._sample(samples[i], *self._images[-1])

    def _add(self, scores: np.ndarray, mask: np.ndarray, index: str) -> None:
        if not np.isfinite(float(scores.max()) - float(scores.min())):
            raise InputError(f"map{index}", "infinite scores")
        bad = bool(mask.any())
        self._normal += self._counts(scores[~mask] if bad else scores.ravel())
        if bad:
            labels, areas = components(mask)
            bins = np.searchsorted(self.edges, scores[mask], side="right")
            weights = np.rint(QUANTUM / areas)[labels[mask] - 1]
            self._anomalous += np.bincount(bins, minlength=self._normal.size)
            self._weighted += np.bincount(bins, weights, minlength=self._normal.size).astype(np.int64)
            self._regions += areas.size
        self._images.append((float(scores.max()), bad))

    def _counts(self, scores: np.ndarray) -> np.ndarray:
        """How many ``scores`` are in each bin. Sorting them is faster than looking each one up."""
        below = np.searchsorted(np.sort(scores), self.edges, side="left")
        return np.diff(below, prepend=0, append=scores.size)

    def _sample(self, name: Hashable, score: float, bad: bool) -> None:
        before = self._samples.get(name, (score, bad))
        self._samples[name] = (max(before[0], score), before[1] or bad)

    def merge(self, other: Histogram) -> Self:
        """Add what ``other`` has seen (of other images); returns itself. Raises InputError for other edges."""
        if not np.array_equal(self.edges, other.edges):
            raise InputError("merge", "the accumulators have different edges", "give all workers the same")
        self._normal += other._normal
        self._anomalous += other._anomalous
        self._weighted += other._weighted
        self._regions += other._regions
        self._images = self._images + other._images
        for name, (score, bad) in other._samples.items():
            self._sample(name, score, bad)
        return self

    def compute(self, limit: float = 0.3, anchored: bool = True) -> dict[str, MetricResult]:
        """``p_auroc``, ``p_aupr``, ``p_aupro`` of pixels, ``i_auroc``, ``i_aupr`` of images, ``s_auroc``, ``s_aupr`` of
        samples (where given; else of images). NaN with a reason where a class is missing."""
        if not 0 < limit <= 1:
            raise InputError("limit", f"expected a rate above 0, at most 1, got {limit}")
        images = list(zip(*self._images, strict=True)) or [(), ()]
        samples = list(zip(*self._samples.values(), strict=True)) or images
        found = self._pixels(limit, anchored)
        for prefix, (scores, bad) in (("i", images), ("s", samples)):
            labels, values = np.array(bad, dtype=bool), np.array(scores, dtype=np.float64)
            for metric, name in ((auroc, f"{prefix}_auroc"), (aupr_trapezoid, f"{prefix}_aupr")):
                result = metric(labels, values)
                found[name] = MetricResult(name, result.value, result.details)
        return found

    def _pixels(self, limit: float, anchored: bool) -> dict[str, MetricResult]:
        names = ("p_auroc", "p_aupr", "p_aupro")
        normal, anomalous = int(self._normal.sum()), int(self._anomalous.sum())
        if not normal or not anomalous:
            reason = f"no {'anomalous' if normal else 'normal'} pixel"
            return {name: undefined(name, reason) for name in names}
        fp, tp, overlap = (_from_top(h, anchored) for h in (self._normal, self._anomalous, self._weighted))
        fpr, recall, pro = fp / normal, tp / anomalous, overlap / self._weighted.sum()
        precision = np.divide(tp, tp + fp, out=np.ones(tp.size), where=tp + fp > 0)
        values = (trapezoid(recall, fpr), trapezoid(precision, recall), area_partial(fpr, pro, limit) / limit)
        details = {
            "bins": self.edges.size - 1,
            "outside": float((self._outside(0) + self._outside(-1)) / (normal + anomalous)),
            "regions": self._regions,
        }
        return {name: MetricResult(name, float(v), details) for name, v in zip(names, values, strict=True)}

    def _outside(self, bin_: Literal[0, -1]) -> int:
        return int(self._normal[bin_] + self._anomalous[bin_])


def _from_top(histogram: np.ndarray, anchored: bool) -> np.ndarray:
    """Counts at or above each edge from the highest down; anchored from none to all."""
    sums = np.cumsum(histogram[::-1])
    return np.append(0, sums) if anchored else sums[:-1]


def quantile_edges(scores: Any, nstrips: int = 1000) -> np.ndarray:
    """Edges with equally many of ``scores`` (a sample) between them; fewer where scores repeat."""
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not values.size or not np.isfinite(values).all() or nstrips < 1:
        raise InputError("scores", "expected finite scores, and one bin or more")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, nstrips + 1)))
    return edges if edges.size > 1 else np.array([edges[0], np.nextafter(edges[0], np.inf)])


def log_edges(lower: float, upper: float, nstrips: int = 1000) -> np.ndarray:
    """Edges in equal ratios, for positive scores with a long tail."""
    if not 0 < lower < upper < np.inf or nstrips < 1:
        raise InputError(
            "bounds", f"expected 0 < lower < upper, got {lower}, {upper}", "shift the scores first"
        )
    edges = np.geomspace(lower, upper, nstrips + 1)
    edges[[0, -1]] = lower, upper
    return edges


def two_pass(
    source: Source,
    nstrips: int = 1000,
    spacing: Literal["even", "quantile", "log"] = "even",
    limit: float = 0.3,
    exact_below: int = 10_000_000,
    sample: int = 1000,
) -> dict[str, MetricResult]:
    """ADEval's seven numbers from pairs that do not fit in memory: a first pass finds the edges, a second counts.

    ``quantile`` edges come from ``sample`` scores of each map, evenly spaced by rank. With fewer than ``exact_below``
    pixels those of pixels are exact instead (``details["exact"]``); the pairs are kept for that. Raises InputError
    without images, for constant maps with ``log``, and where the second pass gives other pairs.
    """
    if spacing not in ("even", "quantile", "log"):
        raise InputError("spacing", f"expected even, quantile or log, got {spacing!r}")
    low, high, pixels, images = np.inf, -np.inf, 0, 0
    seen: list[np.ndarray] = []
    for images, (map_, mask) in enumerate(source(), start=1):
        scores, _ = pair(map_, mask, f"[{images - 1}]")
        low, high, pixels = (
            min(low, float(scores.min())),
            max(high, float(scores.max())),
            pixels + scores.size,
        )
        if spacing == "quantile":
            ranks = np.linspace(0, scores.size - 1, min(sample, scores.size)).astype(np.int64)
            seen.append(np.sort(scores, axis=None)[ranks])
    if not images:
        raise InputError("source", "gave no image")
    if spacing == "quantile":
        edges = quantile_edges(np.concatenate(seen), nstrips)
    elif spacing == "log":
        edges = log_edges(low, high, nstrips)
    else:
        edges = np.linspace(low, high if high > low else np.nextafter(low, np.inf), nstrips + 1)
        edges = np.unique(edges)
    return _second_pass(source, Histogram(edges=edges), images, pixels, limit, pixels < exact_below)


def _second_pass(
    source: Source, histogram: Histogram, images: int, pixels: int, limit: float, exact: bool
) -> dict[str, MetricResult]:
    kept: list[tuple[Any, Any]] = []
    count = 0
    for map_, mask in source():
        histogram.update([map_], [mask])
        count += 1
        if exact:
            kept.append((map_, mask))
    if count != images:
        raise InputError(
            "source", f"gave {images} images, then {count}", "it must give all pairs anew at each call"
        )
    found = histogram.compute(limit)
    if exact:
        pooled = pool([m for m, _ in kept], [m for _, m in kept])
        labels = np.repeat([False, True], [pooled.normal.size, pooled.anomalous.size])
        aupr = aupr_trapezoid(labels, np.concatenate([pooled.normal, pooled.anomalous]))
        for name, result in (("p_auroc", pooled.auroc()), ("p_aupr", aupr), ("p_aupro", pooled.aupro(limit))):
            found[name] = MetricResult(
                name, result.value, {**result.details, "exact": True, "pixels": pixels}
            )
    return found
