"""Pixel metrics over pooled pixels: AU-PRO in its variants, AUROC, AP, F1-max, IoU-max and ADer's averages.

All pixels of all images are pooled (never rescaled per image). The normal ones are sorted once, by value; memory
is their count in the maps' own float type, for a moment twice. Sets that do not fit go through
:mod:`oddwatch.metrics.streaming`.

Sources: Bergmann et al., IJCV 2021 (PRO, sPRO in IJCV 2022); zhangzjn/ADer (21 thresholds); metrics §1–2, images §2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.integrate import trapezoid

from oddwatch.core import InputError
from oddwatch.metrics.maps import as_mask, components, pair, pairs
from oddwatch.metrics.ranking import (
    MetricResult,
    best_f1,
    pairs_in_order,
    step_area,
    step_precision,
    undefined,
)

Variant = Literal["exact", "quantile", "linear200"]
SEVEN = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
"""The numbers whose mean ADer calls mAD."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The pooled pixels of a test set.

    ``normal`` (N,) and ``anomalous`` (P,) scores, both sorted ascending; ``weights`` (P,) such that each of the
    ``regions`` regions sums to 1 / regions.
    """

    normal: np.ndarray
    anomalous: np.ndarray
    weights: np.ndarray
    regions: int

    def auroc(self) -> MetricResult:
        """Pixel AUROC. Near 0.98 for most detectors, since normal pixels are many: never report it alone."""
        pairs_ = self.normal.size * self.anomalous.size
        return self._defined("pixel_auroc") or self._result(
            "pixel_auroc", pairs_in_order(self.normal, self.anomalous) / pairs_
        )

    def ap(self) -> MetricResult:
        """Pixel average precision (step rule)."""
        return self._defined("pixel_ap") or self._result(
            "pixel_ap", step_precision(self.normal, self.anomalous)
        )

    def f1_max(self) -> MetricResult:
        """The best pixel F1 over all thresholds, with its threshold (oracle)."""
        return self._defined("pixel_f1_max") or replace(
            best_f1(self.normal, self.anomalous), name="pixel_f1_max"
        )

    def aupro(
        self, limit: float = 0.3, variant: Variant = "exact", num_thresholds: int | None = None
    ) -> MetricResult:
        """Area under PRO over the false positive rate up to ``limit``, divided by it; see :func:`aupro`."""
        if not 0 < limit <= 1:
            raise InputError("limit", f"expected a rate above 0, at most 1, got {limit}")
        if variant not in ("exact", "quantile", "linear200"):
            raise InputError("variant", f"expected exact, quantile or linear200, got {variant!r}")
        if num_thresholds is not None and (variant == "exact" or num_thresholds < 2):
            raise InputError("num_thresholds", "expected 2 or more, and a variant other than exact")
        name = f"aupro@{limit:g}" + ("" if variant == "exact" else f"/{variant}")
        missing = self._defined(name)
        if missing:
            return missing
        if variant == "exact":
            return self._result(name, step_area(self.normal, self.anomalous, self.weights, limit))
        if variant == "quantile":
            return self._result(name, self._quantile(limit, num_thresholds or 100))
        return self._linear(name, limit, num_thresholds or 200)

    def pro(self, thresholds: np.ndarray, strict: bool = False) -> np.ndarray:
        """Mean overlap of the regions at ``thresholds``; ``strict``: predicted is above, not at or above."""
        below = np.append(0.0, np.cumsum(self.weights))
        side: Literal["left", "right"] = "right" if strict else "left"
        found = np.searchsorted(self.anomalous, thresholds, side=side)
        return np.clip(below[-1] - below[found], 0.0, 1.0)

    def fpr(self, thresholds: np.ndarray, strict: bool = False) -> np.ndarray:
        """Share of normal pixels predicted at ``thresholds``."""
        side: Literal["left", "right"] = "right" if strict else "left"
        return 1 - np.searchsorted(self.normal, thresholds, side=side) / self.normal.size

    def pro_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The exact curve: rates and overlaps (T + 1,) from (0, 0) to (1, 1), and thresholds from infinity down.

        Raises InputError without normal or without anomalous pixels.
        """
        missing = self._defined("pro")
        if missing:
            raise InputError("masks", missing.reason)
        thresholds = np.unique(np.concatenate([self.normal, self.anomalous]))[::-1]
        fpr, pro = self.fpr(thresholds), self.pro(thresholds)
        return np.append(0.0, fpr), np.append(0.0, pro), np.append(np.inf, thresholds)

    def ader(self) -> dict[str, MetricResult]:
        """ADer's threshold metrics: ``iou_max``, ``f1_max_21`` and ``mf1``, ``macc``, ``miou``.

        Scores are scaled by the pool's minimum and maximum; predicted is strictly above 0, 0.05, …, 1; the averages
        are over 0.2, 0.3, …, 0.8. Constant maps predict nothing: 0, and for the accuracy the normal share.
        Raises InputError for infinite scores.
        """
        names = ("iou_max", "f1_max_21", "mf1", "macc", "miou")
        if self._defined(names[0]):
            return {name: self._defined(name) or undefined(name, "") for name in names}
        low, high = self._range()
        levels = np.arange(21) / 20
        thresholds = low + (high - low) * levels
        thresholds[-1] = high
        tp = self.anomalous.size - np.searchsorted(self.anomalous, thresholds, side="right")
        fp = self.normal.size - np.searchsorted(self.normal, thresholds, side="right")
        iou = tp / (self.anomalous.size + fp)
        f1 = 2 * tp / (self.anomalous.size + tp + fp)
        accuracy = (tp + self.normal.size - fp) / (self.anomalous.size + self.normal.size)
        middle = slice(4, 17, 2)
        found = {name: self._result(name, float(curve[middle].mean())) for name, curve in
                 (("mf1", f1), ("macc", accuracy), ("miou", iou))}  # fmt: skip
        for name, curve in (("iou_max", iou), ("f1_max_21", f1)):
            details = {"threshold": float(thresholds[curve.argmax()]), "threshold_from": "oracle"}
            found[name] = MetricResult(name, float(curve.max()), details)
        return {name: found[name] for name in names}

    def _quantile(self, limit: float, num_thresholds: int) -> float:
        at = np.linspace(0, self.normal.size - 1, num_thresholds).astype(np.int64)[::-1]
        fpr = np.append(1 - (at + 1) / self.normal.size, 1.0)
        pro = np.append(self.pro(self.normal[at], strict=True), 1.0)
        return area_partial(fpr, pro, limit) / limit

    def _linear(self, name: str, limit: float, num_thresholds: int) -> MetricResult:
        thresholds = np.linspace(*self._range(), num_thresholds)[::-1]
        fpr, pro = self.fpr(thresholds, strict=True), self.pro(thresholds, strict=True)
        kept = fpr < limit
        fpr, pro = fpr[kept], pro[kept]
        if not fpr.size or fpr.max() == fpr.min():
            return undefined(name, f"one false positive rate only below {limit:g}: nothing to rescale by")
        scaled = (fpr - fpr.min()) / (fpr.max() - fpr.min())
        return self._result(name, float(trapezoid(pro, scaled)))

    def _range(self) -> tuple[float, float]:
        low = float(min(self.normal[0], self.anomalous[0]))
        high = float(max(self.normal[-1], self.anomalous[-1]))
        if not math.isfinite(high - low):
            raise InputError("maps", "infinite scores", "metrics on a grid of scores need finite ones")
        return low, high

    def _defined(self, name: str) -> MetricResult | None:
        if not self.anomalous.size:
            return undefined(name, "no anomalous pixel")
        return undefined(name, "no normal pixel") if not self.normal.size else None

    def _result(self, name: str, value: float) -> MetricResult:
        details = {
            "normal": int(self.normal.size),
            "anomalous": int(self.anomalous.size),
            "regions": self.regions,
        }
        return MetricResult(name, value, details)


def pool(maps: Sequence[Any], masks: Sequence[Any], connectivity: int = 8) -> Pixels:
    """Pool the pixels of ``maps`` by ``masks`` (see :func:`oddwatch.metrics.maps.pairs`)."""
    normal, anomalous, weights, regions = [], [], [], 0
    for scores, mask in pairs(maps, masks):
        if not mask.any():
            normal.append(scores.ravel())
            continue
        labels, areas = components(mask, connectivity)
        normal.append(scores[~mask])
        anomalous.append(scores[mask])
        weights.append((1.0 / areas)[labels[mask] - 1])
        regions += areas.size
    return _pooled(normal, anomalous, weights, regions)


def _pooled(
    normal: list[np.ndarray], anomalous: list[np.ndarray], weights: list[np.ndarray], regions: int
) -> Pixels:
    empty = np.zeros(0)
    bad = np.concatenate(anomalous) if anomalous else empty
    order = np.argsort(bad)
    share = np.concatenate(weights)[order] / regions if regions else empty
    good = np.concatenate(normal) if normal else empty
    good.sort()
    return Pixels(good, bad[order], share, regions)


def aupro(
    maps: Sequence[Any],
    masks: Sequence[Any],
    limit: float = 0.3,
    variant: Variant = "exact",
    num_thresholds: int | None = None,
) -> MetricResult:
    """AU-PRO: mean overlap with the 8-connected anomalous regions, over false positive rates up to ``limit``.

    ``exact`` (default; also anomalib's since 2): every score is a threshold, ties in one step, straight line to the
    limit. ``quantile``: ``num_thresholds`` (100) positions among the sorted normal pixels, predicted is strictly
    above. ``linear200``: ``num_thresholds`` (200) from the lowest to the highest score, strictly above, rates below the
    limit rescaled to 0–1. They differ in the second to third decimal: name the variant. Other limits in use: 0.05
    (MVTec AD 2), 0.01 (3D).

    Raises InputError for maps and masks that do not fit. NaN without anomalous or without normal pixels.
    """
    return pool(maps, masks).aupro(limit, variant, num_thresholds)


def iou_max(maps: Sequence[Any], masks: Sequence[Any]) -> MetricResult:
    """ADer's IoU-max: the best intersection over union of pooled pixels at 21 thresholds (oracle)."""
    return pool(maps, masks).ader()["iou_max"]


def pixel_metrics(maps: Sequence[Any], masks: Sequence[Any], limit: float = 0.3) -> dict[str, MetricResult]:
    """``pixel_auroc``, ``pixel_ap``, ``pixel_f1_max``, ``aupro`` and ADer's five, from one pool."""
    found = pool(maps, masks)
    return {
        "pixel_auroc": found.auroc(),
        "pixel_ap": found.ap(),
        "pixel_f1_max": found.f1_max(),
        "aupro": found.aupro(limit),
        **found.ader(),
    }


def mad(values: Mapping[str, float | MetricResult | None]) -> MetricResult:
    """ADer's mAD: the mean of the seven numbers named in :data:`SEVEN`; undefined if one of them is.

    Raises InputError where one is missing.
    """
    missing = [name for name in SEVEN if name not in values]
    if missing:
        raise InputError("values", f"without {', '.join(missing)}")
    numbers = [math.nan if values[name] is None else float(values[name]) for name in SEVEN]  # type: ignore[arg-type]
    unknown = [name for name, number in zip(SEVEN, numbers, strict=True) if math.isnan(number)]
    if unknown:
        return undefined("mad", f"{', '.join(unknown)} undefined")
    return MetricResult("mad", sum(numbers) / len(numbers))


Region = tuple[Any, float]
"""A (H, W) mask and its saturation: from how many pixels on it counts as found."""


def auspro(maps: Sequence[Any], regions: Sequence[Sequence[Region]], limit: float = 0.05) -> MetricResult:
    """AU-sPRO of MVTec LOCO (Bergmann et al., IJCV 2022): a region of saturation s overlaps by min(1, pixels / s).

    ``regions[i]`` are the annotated regions of image i (none for a normal one), each whole, not split into
    components; they may overlap. A saturation larger than the region counts as its area. Normal pixels lie in no
    region. The first s pixels found in a region weigh 1 / s and the others nothing, so the exact area is AU-PRO's.

    Raises InputError for an empty region, a saturation below one pixel, or sizes that do not fit.
    """
    if not 0 < limit <= 1:
        raise InputError("limit", f"expected a rate above 0, at most 1, got {limit}")
    if len(maps) != len(regions):
        raise InputError("regions", f"expected one list per map ({len(maps)}), got {len(regions)}")
    normal, anomalous, weights = [], [], []
    for i, own in enumerate(regions):
        union = np.zeros(np.shape(maps[i]), dtype=bool)
        for r, (mask, saturation) in enumerate(own):
            scores, truth = pair(maps[i], as_mask(mask, f"region[{i}][{r}]"), f"[{i}][{r}]")
            found = np.sort(scores[truth])[::-1]
            if not found.size or saturation < 1:
                raise InputError(
                    f"region[{i}][{r}]", f"{found.size} pixels, saturation {saturation}: expected 1 or more"
                )
            full = min(float(saturation), float(found.size))
            anomalous.append(found)
            weights.append(np.clip(full - np.arange(found.size), 0.0, 1.0) / full)
            union |= truth
        scores, _ = pair(maps[i], union, f"[{i}]")
        normal.append(scores[~union])
    pooled = _pooled(normal, anomalous, weights, len(anomalous))
    return replace(pooled.aupro(limit), name=f"auspro@{limit:g}")


def area_partial(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Trapezoid area under ``y`` over rising ``x`` from its start to ``limit``, straight line at the limit."""
    inside = int(np.searchsorted(x, limit, side="right"))
    cut_x, cut_y = x[:inside], y[:inside]
    if inside and inside < x.size and cut_x[-1] < limit:
        part = (limit - cut_x[-1]) / (x[inside] - cut_x[-1])
        cut_x, cut_y = np.append(cut_x, limit), np.append(cut_y, cut_y[-1] + part * (y[inside] - cut_y[-1]))
    return float(trapezoid(cut_y, cut_x))
