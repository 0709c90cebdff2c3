"""UCF-Crime clips (Sultani et al., CVPR 2018) with the sentences of UCA (Yuan et al., CVPR 2024)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oddwatch.core import InputError, Span
from oddwatch.datasets.records import Event, Footage
from oddwatch.datasets.store import read_text, safe_name

FPS = 30.0


def read_ucf(folder: str | Path) -> list[Footage]:
    """The clips of ``annotations.json`` that are present, with their sentences and anomalous ranges."""
    folder = Path(folder)
    path = folder / "annotations.json"
    try:
        table = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), f"is not JSON: {error}") from error
    if not isinstance(table, dict):
        raise InputError(str(path), "expected an object of clips")
    clips = ((folder / f"{safe_name(str(name))}.mp4", row) for name, row in sorted(table.items()))
    return [_clip(video, row, f"{path}: {video.stem}") for video, row in clips if video.is_file()]


def _clip(video: Path, row: Any, where: str) -> Footage:
    try:
        uca = row["uca"] or {"duration": row["frames"] / FPS, "timestamps": [], "sentences": []}
        pairs = zip(uca["timestamps"], uca["sentences"], strict=True)
        ends = [int(v) for v in row.get("anomalous_ranges_frames") or [] if int(v) >= 0]
        ranges = zip(ends[::2], ends[1::2], strict=False)
        abnormal = tuple(Span(start / FPS, (end + 1) / FPS) for start, end in ranges)
        # some published sentences start after they end; those have no span to find
        spans = [(float(start), float(end), str(text)) for (start, end), text in pairs]
        events = [(Span(start, end), text) for start, end, text in spans if end > start]
        described = tuple(Event(s, t, any(s.overlap(a) > 0 for a in abnormal)) for s, t in events)
        return Footage(str(video), float(uca["duration"]), described, abnormal)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(where, f"does not have the expected form: {error}") from error
