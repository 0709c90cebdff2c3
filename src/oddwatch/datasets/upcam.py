"""The upCam hour: one office camera, its events described in words, 5 frames a second."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from oddwatch.core import InputError, Span
from oddwatch.datasets.records import Event, Footage
from oddwatch.datasets.store import read_text

FPS = 5.0


def read_upcam(folder: str | Path) -> list[Footage]:
    """The parts of the evaluation hour with the events inside them.

    The files count frames from 1 over the whole hour and include both ends; spans here are seconds of
    the part, half-open, cut at its ends. Events outside the part are left out.
    """
    folder, found = Path(folder), []
    for path in sorted(folder.glob("*_frames*.mp4")):
        named = re.fullmatch(r"(.+)_frames(\d+)-(\d+)", path.stem)
        if named is None:
            raise InputError(str(path), "expected a name like eval_00_frames0-13499.mp4")
        first, last = int(named[2]), int(named[3])
        events = tuple(_events(folder / f"{named[1]}_events.csv", first, last))
        abnormal = tuple(e.span for e in events if e.abnormal)
        found.append(Footage(str(path), (last - first + 1) / FPS, events, abnormal))
    return found


def _events(path: Path, first: int, last: int) -> list[Event]:
    events = []
    for number, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), 2):
        try:
            start, end = int(row["start1"]) - 1, int(row["end1"])
            text, abnormal = row["description"].strip(), row["label"].strip() == "A"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}:{number}", "expected start1, end1, label, description") from error
        start, end = max(start, first), min(end, last + 1)
        if end > start:
            events.append(Event(Span((start - first) / FPS, (end - first) / FPS), text, abnormal))
    return events
