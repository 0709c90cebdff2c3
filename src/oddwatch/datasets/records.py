"""Records: a picture, who in it is meant, and what was written about it.

``read_records`` reads any folder that holds ``records.jsonl`` (one JSON object a line) with its pictures
beside it, below it or in a zip, and JSON-lines files in the form of the PAB benchmark (Yang et al.,
arXiv 2411.17776). Nothing is unpacked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, Frame, InputError, Jsonable, LimitError, Span
from oddwatch.datasets import store as _store

MAX_LINE = 64_000_000
MAX_RECORDS = 5_000_000
_SUBFOLDERS = ("", "media", "images", "crops", "stills", "train", "test")


@dataclass(frozen=True, slots=True)
class Record(Jsonable):
    """A captioned picture.

    ``image`` is a path inside ``store`` (a folder or zip); records with one ``image_id`` answer the same
    queries. ``box`` is the person meant, in pixels. ``facts`` are annotations as written. ``abnormal`` and
    ``time`` (seconds in ``source``) are None where unknown; ``person`` is shared by pictures of one person in
    different doings. ``hard_image`` / ``hard_caption`` are a benchmark's own hard negatives;
    ``kind`` is what the generator wrote: scene (a video's poster), person or twin.
    """

    image: str
    image_id: str
    captions: tuple[str, ...] = ()
    box: Box | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    abnormal: bool | None = None
    source: str = ""
    time: float | None = None
    person: str | None = None
    store: str = ""
    scene: str | None = None
    action: str | None = None
    hard_image: str | None = None
    hard_caption: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Event(Jsonable):
    """A stretch of a video and the sentence written about it."""

    span: Span
    text: str
    abnormal: bool | None = None


@dataclass(frozen=True, slots=True)
class Footage(Jsonable):
    """A video with described events; ``duration`` in seconds."""

    video: str
    duration: float
    events: tuple[Event, ...] = ()
    abnormal: tuple[Span, ...] = ()


def data_root() -> Path:
    """The folder of public data sets: ``ODDWATCH_DATA``, or ``../shared/data`` beside the working folder or
    the source tree. Raises InputError when there is none."""
    given = os.environ.get("ODDWATCH_DATA")
    tree = Path(__file__).resolve().parents[3]
    candidates = [Path(given)] if given else [Path.cwd() / "../shared/data", tree / "../shared/data"]
    for folder in candidates:
        if folder.is_dir():
            return folder.resolve()
    raise InputError(str(candidates[0]), "no such folder of data sets", "set ODDWATCH_DATA to where they are")


def json_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file (or of a file that is one JSON list).

    Raises:
        InputError: a line that is not a JSON object, named by file and number.
        LimitError: a line of more than 64 million characters or more than five million lines.
    """
    text = _store.read_text(path)
    if text.lstrip().startswith("["):
        yield from _json_list(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if number > MAX_RECORDS or len(line) > MAX_LINE:
            raise LimitError(f"{path}:{number}", f"more than {MAX_RECORDS} lines or {MAX_LINE} characters")
        if line.strip():
            yield _object(f"{path}:{number}", line)


def _json_list(path: str | Path, text: str) -> Iterator[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not JSON: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: item {number}", "expected a JSON object")
        yield row


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError(where, f"expected a JSON object, got {type(row).__name__}")
    return row


def parse_record(row: Mapping[str, Any], where: str, store: str) -> Record:
    """One JSON object as a :class:`Record`; ``where`` names it in errors.

    Raises:
        InputError: no image, a caption that is neither text nor a list of texts, a box that is not four
            numbers, or a path that leaves the data.
    """
    image = row.get("image")
    if not isinstance(image, str):
        raise InputError(where, "expected a field 'image' holding a path")
    hard = row.get("hard_i")
    box = row.get("box")
    if box is not None and not (isinstance(box, list) and len(box) == 4 and all(map(_number, box))):
        raise InputError(where, f"expected box [x0, y0, x1, y1] in pixels, got {box!r}")
    time, facts = row.get("time"), row.get("facts")
    action = row.get("anomaly") or row.get("normal") or row.get("action")
    return Record(
        image=_store.safe_name(image),
        image_id=str(row.get("image_id", image)),
        captions=_captions(row.get("caption", row.get("captions", ())), where),
        box=Box(*map(float, box)) if box is not None else None,
        facts=facts if isinstance(facts, dict) else {},
        abnormal=_abnormal(row),
        source=str(row.get("source") or row.get("source_id") or ""),
        time=float(time) if _number(time) else None,  # type: ignore[arg-type]
        person=str(row["person"]) if row.get("person") is not None else None,
        store=store,
        scene=row.get("scene") if isinstance(row.get("scene"), str) else None,
        action=action if isinstance(action, str) else None,
        # PAB's train files write this one path without its leading folder
        hard_image=_store.safe_name(("train/" if image.startswith("train/") else "") + hard)
        if isinstance(hard, str)
        else None,
        hard_caption=row.get("hard_c") if isinstance(row.get("hard_c"), str) else None,
        kind=row.get("kind") if isinstance(row.get("kind"), str) else None,
    )


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _captions(value: object, where: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) for t in texts):
        raise InputError(where, "expected caption to be a text or a list of texts")
    return tuple(texts)


def _abnormal(row: Mapping[str, Any]) -> bool | None:
    if isinstance(row.get("abnormal"), bool):
        return bool(row["abnormal"])
    if "anomaly" in row or "normal" in row:
        return "anomaly" in row
    return None


def read_jsonl(path: str | Path, root: str | Path | None = None) -> list[Record]:
    """The records of one JSON-lines file; pictures are looked for below ``root``, or, without it, near the
    file (its folder, the usual subfolders, a zip beside it, up to three folders up)."""
    path = Path(path)
    rows = list(json_lines(path))
    if not rows:
        raise InputError(str(path), "holds no records")
    where = _find_store(path.parent, str(rows[0].get("image", ""))) if root is None else Path(root)
    return [parse_record(row, f"{path}: record {n}", str(where)) for n, row in enumerate(rows, 1)]


def _find_store(folder: Path, image: str) -> Path:
    if not image:
        return folder
    safe = _store.safe_name(image)
    for base in (folder, *list(folder.resolve().parents)[:3]):
        for sub in _SUBFOLDERS:
            if (base / sub).is_dir() and _store.has(base / sub, safe):
                return base / sub
        if base == folder:
            for archive in sorted(folder.glob("*.zip")):
                if _store.has(archive, safe):
                    return archive
    return folder


def read_records(path: str | Path) -> list[Record]:
    """The captioned pictures of a data set: a folder of a known form, or a JSON-lines file.

    Raises InputError where nothing readable is found; the message says what was looked for.
    """
    from oddwatch.datasets.formats import READERS, detect_format

    path = Path(path)
    if path.is_file() and path.suffix.lower() in (".json", ".jsonl"):
        return read_jsonl(path)
    name = detect_format(path)
    reader = READERS.get(name or "")
    if reader is None:
        known = ", ".join(READERS)
        raise InputError(
            str(path),
            "no captioned pictures found",
            f"expected records.jsonl with pictures beside it or in a zip, or a folder like {known}",
        )
    return reader(path)


def read_folder(folder: str | Path) -> list[Record]:
    """A folder with ``records.jsonl`` and its pictures: street_people, the scene generator, or your own."""
    return read_jsonl(Path(folder) / "records.jsonl")


def read_scenes(folder: str | Path) -> list[Footage]:
    """The videos of the scene generator's ``records.jsonl`` with their events."""
    folder, found = Path(folder), []
    for number, row in enumerate(json_lines(folder / "records.jsonl"), 1):
        if row.get("kind") != "scene":
            continue
        try:
            spans = [(Span(*map(float, e["span"])), str(e["caption"])) for e in row["events"]]
            video, duration = folder / _store.safe_name(row["video"]), float(row["duration"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder}/records.jsonl: record {number}", f"is not a scene: {error}"
            ) from error
        events = tuple(Event(span, text, True) for span, text in spans)
        found.append(Footage(str(video), duration, events, tuple(span for span, _ in spans)))
    return found


def read_pab(folder: str | Path, split: str = "test", shards: Sequence[int] | None = None) -> list[Record]:
    """PAB's JSON-lines files below ``folder``: those with ``split`` in their path, sorted by name.

    ``shards`` keeps the given positions of that list ("0.1M" is the first 8 of train's 75).
    """
    folder = Path(folder)
    files = [n for n in _store.names(folder) if n.endswith((".json", ".jsonl")) and split in n.lower()]
    kept = [f for i, f in enumerate(files) if shards is None or i in shards]
    if not kept:
        raise InputError(str(folder), f"no JSON-lines annotation with {split!r} in its path")
    return [record for name in kept for record in read_jsonl(folder / name, root=folder)]


def pixels(record: Record) -> np.ndarray:
    """The record's picture, upright (H, W, 3) uint8 RGB. Raises MediaError, LimitError or InputError."""
    return _store.read_pixels(record.store, record.image)


def frame(record: Record) -> Frame:
    """The record's picture as a :class:`Frame` named ``store/image``."""
    return Frame(pixels(record), source=f"{record.store}/{record.image}", time=None)


def queries(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Every (sentence, image_id) asked by the records, in order: one query per caption."""
    return [(text, r.image_id) for r in records for text in r.captions if text.strip()]
