"""Findings as ``detect --out`` and ``detect --json`` write them, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, Curve, Finding, InputError, MediaError, Span

LARGEST = 200_000_000
"""Bytes of the largest findings file that is read."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The findings of one run, in the file's order, and the curve of each source where the file holds one."""

    path: Path
    findings: tuple[Finding, ...]
    curves: Mapping[str, Curve]

    def get(self, id: str) -> Finding:
        """The finding called ``id``. Raises InputError where there is none; the message names some."""
        one = next((f for f in self.findings if f.id == id), None)
        if one is None:
            some = ", ".join(f.id for f in self.findings[:5]) or "it holds none"
            raise InputError(f"finding {id}", f"is not in {self.path}", f"findings there: {some}")
        return one

    def source(self, finding: Finding) -> Path:
        """The file a finding is about: as written, else beside the findings. Raises MediaError where it is gone."""
        for path in (
            Path(finding.source),
            self.path.parent / finding.source,
            self.path.parent / Path(finding.source).name,
        ):
            if path.is_file():
                return path
        raise MediaError(finding.source, "is not there", "run oddwatch explain where the footage lies")


def read(path: str | Path) -> Found:
    """What a findings file holds. ``path`` may be the folder that ``detect --out`` wrote.

    Raises:
        InputError: it cannot be read, or is no findings file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "findings.json"
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(str(path), f"is larger than {LARGEST} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            str(path), f"cannot be read as findings: {error}", "give what detect --out or --json wrote"
        ) from error
    rows = data.get("findings") if isinstance(data, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(r, Mapping) for r in rows):
        raise InputError(
            str(path), "expected an object with a list of findings", "give what detect --out or --json wrote"
        )
    scores = data.get("scores")
    curves = {}
    if isinstance(scores, Mapping):
        curves = {str(s): c for s, row in scores.items() if (c := _curve(str(s), row)) is not None}
    return Found(path, tuple(_finding(row, f"{path}, finding {i}") for i, row in enumerate(rows, 1)), curves)


def _finding(row: Mapping[str, Any], where: str) -> Finding:
    try:
        return Finding(
            id=str(row["id"]),
            task=str(row.get("task", "")),
            source=str(row["source"]),
            score=float(row["score"]),
            box=_corners(row.get("box")),
            span=_span(row.get("span")),
            probability=_number(row.get("probability")),
            severity=_number(row.get("severity")),
            reason=str(row.get("reason") or ""),
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(
            where, f"does not fit: {error!r}", "give what detect --out or --json wrote"
        ) from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _corners(value: Any) -> Box | None:
    if value is None:
        return None
    return Box.from_json(value) if isinstance(value, Mapping) else Box(*(float(v) for v in value))


def _span(value: Any) -> Span | None:
    if value is None:
        return None
    return Span.from_json(value) if isinstance(value, Mapping) else Span(*(float(v) for v in value))


def _curve(source: str, row: Any) -> Curve | None:
    """A source's curve; None where the scores are something else, as those of pictures are."""
    try:
        cues = {str(k): np.asarray(v, np.float64) for k, v in row.get("cues", {}).items()}
        return Curve(
            source, np.asarray(row["times"], np.float64), np.asarray(row["values"], np.float64), cues
        )
    except (AttributeError, KeyError, TypeError, ValueError, InputError):
        return None
