"""A detection as one HTML file: the ranked pictures under one heat scale, and a threshold that can be moved."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from oddwatch._version import __version__
from oddwatch.core import Finding
from oddwatch.report.heat import Scale, legend, png
from oddwatch.report.page import assets, environment, write
from oddwatch.report.pictures import data_uri
from oddwatch.report.wording import printable
from oddwatch.scoring.normal import Threshold


class RowLike(Protocol):
    """One judged picture, see the pipeline's ``PictureScore``."""

    source: str
    score: float
    width: int
    height: int
    rank: int
    above: bool
    margin: float
    probability: float | None
    severity: float
    heatmap: str | None


class CheckLike(Protocol):
    """What generated defects said of the threshold."""

    def in_words(self) -> str: ...


class CalibrationLike(Protocol):
    """Scores of normal pictures."""

    @property
    def scores(self) -> np.ndarray: ...
    @property
    def how(self) -> str: ...


class DetectLike(Protocol):
    """What a detection gives back, see the pipeline's ``DetectReport``."""

    method: str
    encoder: str
    rate: float
    threshold: Threshold
    notes: list[str]
    skipped: list[tuple[str, str]]
    seconds: dict[str, float]
    scale: Scale | None

    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def scores(self) -> Sequence[RowLike]: ...
    @property
    def check(self) -> CheckLike | None: ...
    @property
    def calibration(self) -> CalibrationLike | None: ...


@dataclass(frozen=True, slots=True)
class Shot:
    """A small picture (JPEG) and its heat (transparent PNG of the same shape, None without maps); ``width`` and ``height``
    of the whole picture in pixels."""

    jpeg: bytes
    heat: bytes | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Axis:
    """Scores along a line from 0 to 1000, nearly linear around what is usual and logarithmic far from it: a few strong
    anomalies do not press all the others together. A place is asinh((score − ``usual``) / ``unit``), scaled."""

    usual: float
    unit: float
    low: float
    high: float

    @classmethod
    def over(cls, values: np.ndarray, usual: float, threshold: float) -> Axis:
        """An axis with some room on both sides of ``values`` (n,); its unit is how far the threshold is from usual."""
        unit = max(threshold - usual, 1e-6 * max(abs(threshold), abs(usual)), 1e-12)
        ends = np.arcsinh((np.array([values.min(), values.max()]) - usual) / unit)
        room = 0.04 * float(ends[1] - ends[0]) or 0.1
        return cls(usual, unit, float(ends[0]) - room, float(ends[1]) + room)

    def at(self, value: float) -> float:
        """Where a score lies, 0–1000."""
        share = (math.asinh((value - self.usual) / self.unit) - self.low) / (self.high - self.low)
        return round(1000 * min(max(share, 0.0), 1.0), 2)


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture as the page shows it."""

    row: RowLike
    name: str
    folder: str
    picture: Markup
    heat: Markup | None
    shot: Shot
    finding: Finding | None
    link: str | None


def render_detect(
    report: DetectLike,
    shots: Mapping[str, Shot],
    out: Path,
    *,
    title: str = "",
    folder: Path | None = None,
) -> Path:
    """Write the report of a detection as one self-contained page.

    Args:
        report: findings, scores, threshold and normal scores.
        shots: source → small picture; pictures without one are only counted.
        out: the file to write; replaced only when the page is whole.
        title: of the page; says how many were told where empty.
        folder: of heatmaps, to which pictures are then linked.

    Raises:
        OSError: the file cannot be written.
    """
    found = {f.source: f for f in report.findings}
    tiles = [
        _tile(row, shots[row.source], found, out, folder) for row in report.scores if row.source in shots
    ]
    normal = np.zeros(0) if report.calibration is None else np.asarray(report.calibration.scores, np.float64)
    values = np.array([r.score for r in report.scores])
    usual = float(np.median(normal if normal.size else values))
    axis = Axis.over(
        np.concatenate([values, normal, [report.threshold.value]]), usual, report.threshold.value
    )
    folders = {_parted(row.source)[0] for row in report.scores}
    style, script, policy = assets("page.css", "detect.css", "detect.js")
    text = _template().render(
        title=title or f"{len(report.findings)} of {len(values)} pictures stand out",
        report=report,
        tiles=tiles,
        hidden=len(values) - len(tiles),
        place=folders.pop() if len(folders) == 1 else "",
        axis=axis,
        normal=[axis.at(v) for v in normal.tolist()],
        dots=[axis.at(v) for v in values.tolist()],
        data=Markup(
            json.dumps(
                {
                    "usual": axis.usual,
                    "unit": axis.unit,
                    "low": axis.low,
                    "high": axis.high,
                    "start": report.threshold.value,
                    "normal": sorted(normal.tolist()),
                    "scores": values.tolist(),
                }
            )
        ),
        legend=_png_uri(png(legend())) if report.scale is not None else None,
        version=__version__,
        style=style,
        script=script,
        policy=policy,
    )
    return write(out, text)


def _tile(row: RowLike, shot: Shot, found: Mapping[str, Finding], out: Path, folder: Path | None) -> Tile:
    where, name = _parted(row.source)
    link = None
    if folder is not None and row.heatmap:
        link = quote(Path(os.path.relpath(folder / row.heatmap, out.parent)).as_posix())
    heat = None if shot.heat is None else _png_uri(shot.heat)
    return Tile(row, name, where, Markup(data_uri(shot.jpeg)), heat, shot, found.get(row.source), link)


def _parted(source: str) -> tuple[str, str]:
    """Folder and name of a picture, to be shown."""
    shown = printable(source)
    folder, _, name = shown.replace("\\", "/").rpartition("/")
    return folder, name or shown


def _png_uri(data: bytes) -> Markup:
    return Markup("data:image/png;base64," + base64.b64encode(data).decode("ascii"))


@cache
def _template() -> jinja2.Template:
    return environment().get_template("detect.html")
