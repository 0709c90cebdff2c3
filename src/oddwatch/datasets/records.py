"""Records: a picture, who in it is meant, and what was written about it.

``read_records`` reads any folder that holds ``records.jsonl`` (one JSON object a line, at least
``{"image": "a.jpg", "caption": "…"}``) with its pictures beside it, below it or in a zip, and the public data
sets of ``formats``. Nothing is unpacked.
"""

from __future__ import annotations

import json
import math
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
    different doings. ``hard_image`` / ``hard_caption`` are a benchmark's own hard negatives and ``hard_id`` the
    ``image_id`` they belong to; ``source_id`` is the video and the state shown, ``"<video>_<y>"`` with y = 0 for
    normal, and ``source_caption`` what was said of that video. ``kind`` is what the generator wrote: scene (a
    video's poster), person or twin. ``store`` is empty where the pictures were not shipped.
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
    source_id: str | None = None
    source_caption: str | None = None
    hard_id: str | None = None


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
    for _, row in numbered(path):
        yield row


def numbered(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """:func:`json_lines` with the place of each object, ``file:line`` or ``file: item n`` of a list."""
    text = _store.read_text(path)
    if text.lstrip().startswith("["):
        yield from _json_list(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if number > MAX_RECORDS or len(line) > MAX_LINE:
            raise LimitError(f"{path}:{number}", f"more than {MAX_RECORDS} lines or {MAX_LINE} characters")
        if line.strip():
            yield f"{path}:{number}", _object(f"{path}:{number}", line)


def _json_list(path: str | Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = _parse(str(path), text)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: item {number}", "expected a JSON object")
        yield f"{path}: item {number}", row


def _object(where: str, line: str) -> dict[str, Any]:
    row = _parse(where, line)
    if not isinstance(row, dict):
        raise InputError(where, f"expected a JSON object, got {type(row).__name__}")
    return row


def _parse(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"is not JSON: {error}") from error


def parse_record(row: Mapping[str, Any], where: str, store: str) -> Record:
    """One JSON object as a :class:`Record`; ``where`` names it in errors.

    Without ``image_id``, pictures of one ``person`` (or ``id``) answer the same queries; without those, each
    picture its own.

    Raises:
        InputError: no image, an identity that is neither text nor number, a caption that is neither text nor a
            list of texts, a box that is not four numbers, both ``normal`` and ``anomaly``, or a path that leaves
            the data.
    """
    image = safe_path(row.get("image"), "image", where)
    hard = row.get("hard_i")
    if isinstance(hard, str):
        # PAB's train files write this one path without its leading folder
        inside = image.startswith("train/") and not hard.startswith("train/")
        hard = safe_path(f"train/{hard}" if inside else hard, "hard_i", where)
    time, facts = row.get("time"), row.get("facts")
    abnormal, action = _label(row, where)
    person = identity(row, ("person",), where)
    return Record(
        image=image,
        image_id=identity(row, ("image_id", "person", "id"), where) or image,
        captions=captions_of(row.get("caption", row.get("captions")), where),
        box=_box(row.get("box"), where),
        facts=facts if isinstance(facts, dict) else {},
        abnormal=abnormal,
        source=_text(row, "source") or _text(row, "source_id") or "",
        time=float(time) if _number(time) else None,  # type: ignore[arg-type]
        person=person,
        store=store,
        scene=_text(row, "scene"),
        action=action,
        hard_image=hard if isinstance(hard, str) else None,
        hard_caption=_text(row, "hard_c"),
        kind=_text(row, "kind"),
        source_id=_text(row, "source_id"),
        source_caption=_text(row, "source_caption"),
        hard_id=identity(row, ("hard_i_id",), where),
    )


def safe_path(value: object, field: str, where: str) -> str:
    """``value`` as a path inside the data. Raises InputError with ``where`` for anything else."""
    if not isinstance(value, str):
        raise InputError(where, f"expected a field {field!r} holding a path", f"got {type(value).__name__}")
    try:
        return _store.safe_name(value)
    except InputError as error:
        raise InputError(where, f"{field}: {error}") from error


def identity(row: Mapping[str, Any], fields: Sequence[str], where: str) -> str | None:
    """The first of ``fields`` that is given, as text; None without any.

    Raises InputError for one that is neither text nor a number.
    """
    for name in fields:
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, str) or _number(value):
            return str(value)
        raise InputError(where, f"expected {name} to be a text or a number, got {type(value).__name__}")
    return None


def captions_of(value: object, where: str) -> tuple[str, ...]:
    """A text or list of texts as captions, none for None. Raises InputError for anything else."""
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) for t in texts):
        raise InputError(where, "expected caption to be a text or a list of texts")
    return tuple(texts)


def _text(row: Mapping[str, Any], field: str) -> str | None:
    value = row.get(field)
    return value if isinstance(value, str) else None


def _number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def _box(value: object, where: str) -> Box | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 4 and all(map(_number, value))):
        got = f"{len(value)} values" if isinstance(value, list) else type(value).__name__
        raise InputError(where, f"expected box [x0, y0, x1, y1] in finite pixels, got {got}")
    try:
        return Box(*map(float, value))
    except InputError as error:
        raise InputError(where, str(error)) from error


def _label(row: Mapping[str, Any], where: str) -> tuple[bool | None, str | None]:
    """Whether a record is abnormal (None: unknown) and what is done in it."""
    normal, anomaly = row.get("normal") or None, row.get("anomaly") or None
    if normal is not None and anomaly is not None:
        raise InputError(where, "has both normal and anomaly", "give the action under one of the two")
    label = anomaly or normal or row.get("action")
    action = label if isinstance(label, str) else None
    if isinstance(row.get("abnormal"), bool):
        return bool(row["abnormal"]), action
    if normal is None and anomaly is None:
        return None, action
    return anomaly is not None, action


def read_jsonl(path: str | Path, root: str | Path | None = None) -> list[Record]:
    """The records of one JSON-lines file; pictures are looked for below ``root``, or, without it, near the
    file (its folder, the usual subfolders, a zip beside it, up to three folders up)."""
    path = Path(path)
    rows = list(numbered(path))
    if not rows:
        raise InputError(str(path), "holds no records")
    first = parse_record(rows[0][1], rows[0][0], "")
    store = str(_find_store(path.parent, first.image) if root is None else root)
    return [parse_record(row, where, store) for where, row in rows]


def _find_store(folder: Path, image: str) -> Path:
    for base in (folder, *list(folder.resolve().parents)[:3]):
        for sub in _SUBFOLDERS:
            if (base / sub).is_dir() and holds(base / sub, image):
                return base / sub
        if base == folder:
            for archive in sorted(folder.glob("*.zip")):
                if holds(archive, image):
                    return archive
    return folder


def holds(store: Path, image: str) -> bool:
    """Whether a folder or zip is there and holds ``image``."""
    try:
        return store.exists() and _store.has(store, image)
    except OSError:  # a name longer than the file system allows
        return False


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


def pixels(record: Record) -> np.ndarray:
    """The record's picture, upright (H, W, 3) uint8 RGB. Raises MediaError, LimitError or InputError."""
    if not record.store:
        raise InputError(record.image, "its data set came without pictures", "use the sentences only")
    return _store.read_pixels(record.store, record.image)


def frame(record: Record) -> Frame:
    """The record's picture as a :class:`Frame` named ``store/image``."""
    return Frame(pixels(record), source=f"{record.store}/{record.image}", time=None)


def queries(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Every (sentence, image_id) asked by the records, in order: one query per caption."""
    return [(text, r.image_id) for r in records for text in r.captions if text.strip()]
