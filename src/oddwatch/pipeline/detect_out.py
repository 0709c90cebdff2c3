"""What a detection leaves behind: a report object, heatmaps and masks as pictures, tables, pictures for the page."""

from __future__ import annotations

import csv
import hashlib
import heapq
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oddwatch.core import Finding, Jsonable, Region, to_jsonable
from oddwatch.pipeline.calibrate import Calibration, Check
from oddwatch.report.detect import Shot
from oddwatch.report.heat import Scale, layer, legend, overlay, png
from oddwatch.report.pictures import fitted
from oddwatch.scoring.normal import Threshold
from oddwatch.scoring.regions import paint
from oddwatch.scoring.severity import margin, severity

HEATMAPS, MASKS, SCORES, FINDINGS = WRITTEN = ("heatmaps", "masks", "scores.csv", "findings.json")
"""What lies in a folder of results."""
SHOWN = 240
"""So many pictures, the most anomalous ones, are shown on the page; the tables hold all."""
_SHOT_BYTES, _SHOT_SIDE = 26_000, 520


@dataclass(slots=True)
class PictureScore(Jsonable):
    """One judged picture. ``margin`` is 0 for the median normal picture and 1 at the threshold; ``probability`` is 1 − the
    share of normal pictures that score as high, None without normal pictures; ``severity`` 0–1, 0 up to the threshold;
    ``heatmap`` and ``mask`` are files below the folder of results."""

    source: str
    score: float
    width: int
    height: int
    rank: int = 0
    above: bool = False
    margin: float = 0.0
    probability: float | None = None
    severity: float = 0.0
    heatmap: str | None = None
    mask: str | None = None


@dataclass(slots=True)
class DetectReport:
    """What a detection found: ``findings`` above the threshold and ``scores`` of every picture, both most anomalous first.

    ``normal_scores`` are those the threshold comes from; ``skipped`` (path, reason); ``seconds`` by step.
    """

    method: str
    encoder: str
    rate: float
    threshold: Threshold
    findings: list[Finding] = field(default_factory=list)
    scores: list[PictureScore] = field(default_factory=list)
    scale: Scale | None = None
    calibration: Calibration | None = None
    check: Check | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``detect --json`` prints it. Masks are not part of it: they are files where a folder for results is given."""
        known = self.calibration
        return {
            "findings": [finding_json(f, self.scale) for f in self.findings],
            "scores": [s.to_json() for s in self.scores],
            "threshold": self.threshold.value,
            "threshold_rule": self.threshold.rule,
            "rate": self.rate,
            "method": self.method,
            "encoder": self.encoder,
            "calibration": None
            if known is None
            else {"how": known.how, "scores": known.scores.tolist(), "odd_normals": list(known.odd)},
            "check": None if self.check is None else to_jsonable(self.check),
            "scale": None if self.scale is None else self.scale.to_json(),
            "notes": self.notes,
            "skipped": [{"source": s, "reason": r} for s, r in self.skipped],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def finding_json(finding: Finding, scale: Scale | None) -> dict[str, Any]:
    """A finding with its box as ``[x0, y0, x1, y1]`` and its regions without masks."""
    return {
        "id": finding.id,
        "task": finding.task,
        "source": finding.source,
        "box": finding.box.as_list() if finding.box else None,
        "score": finding.score,
        "probability": finding.probability,
        "severity": finding.severity,
        "reason": finding.reason,
        "regions": [_region_json(r, scale) for r in finding.regions],
    }


def _region_json(region: Region, scale: Scale | None) -> dict[str, Any]:
    area = int(region.mask.sum()) if region.mask is not None else int(region.box.area)
    bad = float(severity(np.array([region.score]), scale.threshold, scale.low)[0]) if scale else None
    return {
        "box": region.box.as_list(), "place": region.label, "area": area, "score": region.score, "severity": bad,
    }  # fmt: skip


def settle(
    scores: list[PictureScore], threshold: float, usual: float, probability: Sequence[float] | None
) -> None:
    """Fill in margin, severity, probability and rank, and sort, most anomalous first; equal scores by name."""
    values = np.array([s.score for s in scores])
    margins, bad = margin(values, threshold, usual), severity(values, threshold, usual)
    for i, one in enumerate(scores):
        one.margin, one.severity, one.above = float(margins[i]), float(bad[i]), bool(values[i] >= threshold)
        one.probability = None if probability is None else float(probability[i])
    scores.sort(key=lambda s: (-s.score, s.source))
    for rank, one in enumerate(scores, 1):
        one.rank = rank


class Folder:
    """The folder of results: ``heatmaps/``, ``masks/``, ``scores.csv``, ``findings.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken: set[str] = set()
        for name in (HEATMAPS, MASKS):
            (path / name).mkdir(parents=True, exist_ok=True)
        (path / HEATMAPS / "scale.png").write_bytes(png(legend()))
        self._taken.add("scale")

    def heatmap(
        self, name: str, pixels: np.ndarray, one: np.ndarray, scale: Scale, found: Sequence[Region]
    ) -> str:
        """Write the overlay of one picture; its path below the folder."""
        mask = paint(found, pixels.shape[:2]) if found else None
        file = f"{HEATMAPS}/{name}.png"
        (self.path / file).write_bytes(png(overlay(pixels, one, scale, mask)))
        return file

    def mask(self, name: str, found: Sequence[Region], size: tuple[int, int]) -> str:
        """Write the mask of a finding, white on black, of the picture's own size; its path below the folder."""
        file = f"{MASKS}/{name}.png"
        (self.path / file).write_bytes(png(paint(found, size)))
        return file

    def name(self, source: str) -> str:
        """A file name for a picture: its folder and name, and a digest where that is taken already."""
        parts = re.split(r"[\\/]+", source.rpartition(".")[0] or source)[-2:]
        plain = re.sub(r"[^\w.+-]+", "_", "-".join(p for p in parts if p not in ("", ".", ".."))).strip("._")
        plain = plain[-100:] or "picture"
        if plain.casefold() in self._taken:
            plain += "-" + hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
        self._taken.add(plain.casefold())
        return plain

    def tables(self, report: DetectReport) -> None:
        """Write ``scores.csv`` and ``findings.json``."""
        reasons = {f.source: f for f in report.findings}
        with (self.path / SCORES).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(
                ["rank", "source", "score", "above", "margin", "probability", "severity", "x0", "y0", "x1", "y1", "reason"]
            )  # fmt: skip
            for s in report.scores:
                finding = reasons.get(s.source)
                box = finding.box.as_list() if finding and finding.box else [""] * 4
                rate = "" if s.probability is None else f"{s.probability:.4f}"
                rows.writerow(
                    [s.rank, s.source, f"{s.score:.6g}", int(s.above), f"{s.margin:.4g}", rate, f"{s.severity:.4f}",
                     *box, finding.reason if finding else ""]
                )  # fmt: skip
        text = json.dumps(report.to_json(), indent=1)
        (self.path / FINDINGS).write_text(text + "\n", encoding="utf-8")


class Album:
    """Small pictures for the page, of the ``most`` most anomalous ones."""

    def __init__(self, most: int = SHOWN) -> None:
        self.most = most
        self._heap: list[tuple[float, int, str, Shot]] = []
        self._count = 0

    def add(
        self, source: str, score: float, pixels: np.ndarray, one: np.ndarray | None, scale: Scale | None
    ) -> None:
        """Keep a picture if it is among the most anomalous so far."""
        self._count += 1
        if len(self._heap) == self.most and score <= self._heap[0][0]:
            return
        jpeg = fitted(Image.fromarray(pixels), _SHOT_BYTES, _SHOT_SIDE)
        size = (pixels.shape[0], pixels.shape[1])
        heat = layer(one, scale, size) if one is not None and scale is not None else None
        entry = (score, -self._count, source, Shot(jpeg, heat, size[1], size[0]))
        (heapq.heappush if len(self._heap) < self.most else heapq.heappushpop)(self._heap, entry)

    def shots(self) -> dict[str, Shot]:
        """Source → picture."""
        return {source: shot for _, _, source, shot in self._heap}
