"""What a detection in video leaves behind: a report object, stills, playable copies, tables."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from oddwatch.core import Curve, Finding, InputError, MediaError, Span
from oddwatch.media.clips import clip
from oddwatch.media.video import Video
from oddwatch.report.pictures import fitted
from oddwatch.scoring.normal import Threshold

FINDINGS, CURVES, STILLS, CLIPS = VIDEO_WRITTEN = ("findings.json", "curves", "stills", "clips")
"""What lies in a folder of results."""
POINTS = 2000
"""So many points of a curve are printed; the files hold all."""


@dataclass(slots=True)
class ClipReport:
    """One judged clip: its curve, what stands out of it, and when each finding is at its peak (s)."""

    path: Path
    source: str
    duration: float
    fps: float
    size: tuple[int, int]
    curve: Curve
    findings: list[Finding] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class VideoReport:
    """What a detection in video found: ``findings`` of all ``clips``, most severe first; ``normal_seconds`` of footage the
    threshold comes from (0: none was said to be normal); ``usual`` median value of the curves there; ``skipped`` (path, reason); ``seconds`` by step."""

    method: str
    encoder: str
    false_alarms_per_hour: float
    threshold: Threshold
    normal_seconds: float = 0.0
    minimum: float = 0.0
    merge: float = 0.0
    usual: float = 0.0
    clips: list[ClipReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``detect --json`` prints it; ``scores`` are the curves by source, thinned to maxima where they are long."""
        return {
            "findings": [finding_json(f) for f in self.findings],
            "scores": {c.source: _points(c.curve) for c in self.clips},
            "threshold": self.threshold.value,
            "threshold_rule": self.threshold.rule,
            "false_alarms_per_hour": self.false_alarms_per_hour,
            "normal_seconds": round(self.normal_seconds, 1),
            "method": self.method,
            "encoder": self.encoder,
            "notes": self.notes,
            "skipped": [{"source": s, "reason": r} for s, r in self.skipped],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding with its span as ``[start, end]`` in seconds and its box as ``[x0, y0, x1, y1]``."""
    return {
        "id": finding.id,
        "task": finding.task,
        "source": finding.source,
        "span": None if finding.span is None else [round(finding.span.start, 3), round(finding.span.end, 3)],
        "box": None if finding.box is None else [round(v, 1) for v in finding.box.as_list()],
        "score": finding.score,
        "probability": finding.probability,
        "severity": finding.severity,
        "reason": finding.reason,
    }


def _points(curve: Curve) -> dict[str, Any]:
    """Times, values and cues, of long curves the largest value of each stretch."""
    n = len(curve.times)
    step = -(-n // POINTS) if n else 1
    starts = np.arange(0, n, step)
    tops = np.array([s + int(np.argmax(curve.values[s : s + step])) for s in starts.tolist()], np.int64)
    return {
        "times": np.round(curve.times[tops], 3).tolist(),
        "values": np.round(curve.values[tops], 4).tolist(),
        "cues": {cue: np.round(values[tops], 4).tolist() for cue, values in curve.cues.items()},
        "peak": curve.peak,
    }


def finding_id(source: str, span: Span) -> str:
    """Stable: the same stretch of the same source has the same."""
    said = f"{source}\0{span.start:.2f}"
    return "v" + hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=5).hexdigest()


def stills(report: VideoReport, least_bytes: int = 60_000, side: int = 720) -> dict[str, bytes]:
    """Finding id → JPEG of the frame at its peak."""
    found: dict[str, bytes] = {}
    for one in report.clips:
        if not one.findings:
            continue
        video = Video(one.path)
        for finding in one.findings:
            frame = video.frame_at(one.peaks[finding.id])
            found[finding.id] = fitted(Image.fromarray(frame.pixels), least_bytes, side)
    return found


def write(report: VideoReport, folder: Path, pictures: Mapping[str, bytes]) -> None:
    """``findings.json``, a curve of every clip as CSV, the still and the clip of every finding."""
    for name in (CURVES, STILLS, CLIPS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / FINDINGS).write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    taken: set[str] = set()
    for one in report.clips:
        cues = list(one.curve.cues)
        with (folder / CURVES / f"{plain(one.source, taken)}.csv").open(
            "w", newline="", encoding="utf-8"
        ) as file:
            rows = csv.writer(file)
            rows.writerow(["seconds", "value", *cues])
            columns = [one.curve.times, one.curve.values, *(one.curve.cues[c] for c in cues)]
            rows.writerows([f"{v:.6g}" for v in row] for row in zip(*columns, strict=True))
        for finding in one.findings:
            (folder / STILLS / f"{finding.id}.jpg").write_bytes(pictures[finding.id])
            assert finding.span is not None
            around = Span(max(0.0, finding.span.start - 2), finding.span.end + 2)
            clip(one.path, around, folder / CLIPS / f"{finding.id}.webm", tallest=480)


def players(report: VideoReport, page: Path, longest: float = 900.0) -> dict[str, str]:
    """Source → a playable copy beside ``page``, of clips with findings that last at most ``longest`` seconds."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for one in report.clips:
        if not one.findings or one.duration > longest:
            continue
        folder = page.with_name(page.stem + "_files")
        folder.mkdir(parents=True, exist_ok=True)
        name = plain(one.source, taken) + ".webm"
        try:
            clip(one.path, Span(0.0, one.duration + 1), folder / name, tallest=360)
        except (MediaError, InputError):
            continue
        found[one.source] = quote(f"{folder.name}/{name}")
    return found


def plain(source: str, taken: set[str]) -> str:
    """A file name for a source, made unique by a digest where it is taken."""
    name = re.sub(r"[^\w.+-]+", "_", Path(source).stem).strip("._")[:80] or "clip"
    if name.casefold() in taken:
        name += "-" + hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    taken.add(name.casefold())
    return name
