"""Reading entries whole, counting, removing and checking; over an open connection."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Entry, Finding
from oddwatch.gallery import codec, filters, sidecar, sources, writer
from oddwatch.gallery.schema import FORMAT, pack_path, read_meta, unpack_path

CHUNK = 500


def _chunks(values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    for at in range(0, len(values), CHUNK):
        part = values[at : at + CHUNK]
        yield ",".join("?" * len(part)), part


def numbers(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Row numbers by id, of those that exist."""
    found: dict[str, int] = {}
    for marks, part in _chunks(list(dict.fromkeys(ids))):
        found.update(db.execute(f"SELECT id, n FROM entries WHERE id IN ({marks})", part))
    return found


def blobs(db: sqlite3.Connection, space: int, rows: Sequence[int]) -> dict[int, bytes]:
    """Vector blobs of one space by row number."""
    found: dict[int, bytes] = {}
    for marks, part in _chunks(rows):
        found.update(
            db.execute(
                f"SELECT entry, data FROM vectors WHERE space=? AND entry IN ({marks})", (space, *part)
            )
        )
    return found


def fact_rows(db: sqlite3.Connection, rows: Sequence[int]) -> dict[int, tuple[str, bytes, bytes]]:
    """Facts as stored, without their boxes, by row number: schema, probabilities, known mask."""
    found: dict[int, tuple[str, bytes, bytes]] = {}
    for marks, part in _chunks(rows):
        query = f"SELECT entry, schema, p, known FROM facts WHERE entry IN ({marks})"
        found.update((n, tuple(row)) for n, *row in db.execute(query, part))
    return found


def load(db: sqlite3.Connection, rows: Sequence[int], full: bool, facts: bool = False) -> dict[int, Entry]:
    """Entries by row number; with all their children if ``full``, with their facts if ``facts``."""
    found: dict[int, Entry] = {}
    for marks, part in _chunks(rows):
        query = f"FROM entries e JOIN sources s ON s.n=e.source WHERE e.n IN ({marks})"
        for row in db.execute(f"SELECT {codec.ENTRY_COLUMNS} {query}", part):
            found[row[0]] = codec.entry_back(row)
        if full or facts:
            _fill_facts(db, found, marks, part)
        if full:
            _fill(db, found, marks, part)
    return found


def _fill_facts(db: sqlite3.Connection, found: dict[int, Entry], marks: str, part: Sequence[int]) -> None:
    query = f"SELECT entry, schema, p, known, boxes FROM facts WHERE entry IN ({marks})"
    for n, *row in db.execute(query, part):
        found[n] = replace(found[n], facts=codec.facts_back(*row))


def _fill(db: sqlite3.Connection, found: dict[int, Entry], marks: str, part: Sequence[int]) -> None:
    for n, data in db.execute(f"SELECT entry, data FROM details WHERE entry IN ({marks})", part):
        found[n] = codec.with_details(found[n], data)
    for n, *row in db.execute(f"SELECT entry, dtype, shape, data FROM tokens WHERE entry IN ({marks})", part):
        found[n] = replace(found[n], tokens=codec.tokens_back(*row))
    for n, jpeg in db.execute(f"SELECT entry, jpeg FROM thumbs WHERE entry IN ({marks})", part):
        found[n] = replace(found[n], thumbnail=jpeg)
    vectors: dict[int, dict[str, np.ndarray]] = {}
    for space in writer.read_spaces(db).values():
        for n, blob in blobs(db, space.n, part).items():
            vectors.setdefault(n, {})[space.name] = codec.unpack_vectors(space.name, [blob], space.dim or 0)[
                0
            ]
    for n, value in vectors.items():
        found[n] = replace(found[n], vectors=value)


def findings(db: sqlite3.Connection, source: str | None, task: str | None) -> list[Finding]:
    """Findings by source and start."""
    parts, arguments = ["1"], []
    for column, value in (("source", None if source is None else pack_path(source)), ("task", task)):
        if value is not None:
            parts.append(f"{column}=?")
            arguments.append(value)
    rows = db.execute(
        f"SELECT data FROM findings WHERE {' AND '.join(parts)} ORDER BY source, start, id", arguments
    )
    return [Finding.from_json(json.loads(row[0])) for row in rows]


def remove(
    db: sqlite3.Connection,
    source: str | None,
    camera: str | None,
    before: datetime | None,
    ids: Iterable[str] | None,
) -> int:
    """Delete the entries for which everything given holds; sources named whole go with their findings."""
    parts: list[str] = ["1"]
    arguments: list[Any] = []
    owners: list[int] | None = None
    if source is not None:
        owners = filters.source_numbers(db, source)
        parts.append(f"e.source IN ({','.join(map(str, owners))})")
    if camera is not None:
        parts.append("e.camera=?")
        arguments.append(camera)
    if before is not None:
        parts.append("e.wall_stop < ?")
        arguments.append(codec.epoch(before))
    if ids is not None:
        db.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (id TEXT PRIMARY KEY)")
        db.execute("DELETE FROM chosen")
        db.executemany("INSERT OR IGNORE INTO chosen VALUES (?)", ((i,) for i in ids))
        parts.append("e.id IN (SELECT id FROM chosen)")
    count = writer.delete_entries(db, " AND ".join(parts), arguments)
    if before is None and ids is None:
        _remove_sources(db, owners, camera)
    return count


def _remove_sources(db: sqlite3.Connection, owners: list[int] | None, camera: str | None) -> None:
    condition, arguments = "NOT EXISTS (SELECT 1 FROM entries e WHERE e.source = s.n)", []
    if owners is not None:
        condition += f" AND s.n IN ({','.join(map(str, owners))})"
    if camera is not None:
        condition += " AND s.camera=?"
        arguments.append(camera)
    db.execute(f"DELETE FROM sources WHERE n IN (SELECT s.n FROM sources s WHERE {condition})", arguments)


def info(db: sqlite3.Connection, folder: Path) -> dict[str, Any]:
    """The numbers ``gallery info`` prints."""
    first, last = db.execute("SELECT min(wall_start), max(wall_stop) FROM entries").fetchone()
    states = sources.read_all(db)
    counts = db.execute("SELECT source, count(*) FROM entries GROUP BY source")
    by_source = {r[0]: r[1] for r in counts}
    paths = [(n, unpack_path(p)) for n, p in db.execute("SELECT n, path FROM sources ORDER BY n")]
    cameras = db.execute("SELECT camera, count(*) FROM entries WHERE camera NOT NULL GROUP BY camera")
    return {
        "format": FORMAT,
        "created_by": read_meta(db, "created_by"),
        "created": read_meta(db, "created"),
        "entries": sum(by_source.values()),
        "kinds": dict(
            db.execute("SELECT kind, count(*) FROM entries GROUP BY kind ORDER BY kind").fetchall()
        ),
        "sources": {path: by_source.get(n, 0) for n, path in paths},
        "cameras": dict(cameras.fetchall()),
        "status": {s: sum(x.stored == s for x in states) for s in ("done", "indexing", "failed")},
        "from": _iso(first),
        "to": _iso(last),
        "encoders": {s.name: {"id": s.encoder, "dim": s.dim} for s in writer.read_spaces(db).values()},
        "findings": db.execute("SELECT count(*) FROM findings").fetchone()[0],
        "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
        "problems": [{"source": s.path, "problem": p} for s in states for p in s.problems],
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def verify(db: sqlite3.Connection, folder: Path) -> dict[str, Any]:
    """Check the file, the links between tables and the sizes of all vectors; hash the content."""
    problems = [r[0] for r in db.execute("PRAGMA integrity_check") if r[0] != "ok"]
    problems += [
        f"table {r[0]}: row {r[1]} has lost its parent" for r in db.execute("PRAGMA foreign_key_check")
    ]
    for space in writer.read_spaces(db).values():
        size = codec.blob_bytes(space.name, space.dim or 0)
        bad = db.execute(
            "SELECT count(*) FROM vectors WHERE space=? AND length(data) != ?", (space.n, size)
        ).fetchone()[0]
        if bad:
            problems.append(f"space {space.name!r}: {bad} vectors are not {size} bytes long")
    problems += sidecar.check(db, folder, writer.read_spaces(db))
    entries = db.execute("SELECT count(*) FROM entries").fetchone()[0]
    unfinished = [
        unpack_path(r[0]) for r in db.execute("SELECT path FROM sources WHERE status='indexing' ORDER BY n")
    ]
    return {
        "ok": not problems,
        "problems": problems,
        "entries": entries,
        "unfinished": unfinished,
        "content_hash": content_hash(db),
    }


def content_hash(db: sqlite3.Connection) -> str:
    """A hash of what is held, whatever order it came in and whatever folders the sources lay in.

    A source counts by its content hash, or its file name where that is unknown; row numbers, paths,
    settings and tracker states do not count.
    """
    total = hashlib.blake2b(digest_size=16)
    owner = {}
    for n, path, hashed in db.execute("SELECT n, path, content_hash FROM sources"):
        owner[n] = hashed or unpack_path(path).replace("\\", "/").rpartition("/")[2]
    for name in sorted(owner.values()):
        _feed(total, "source", name)
    for n, *row in db.execute(
        "SELECT n, source, id, kind, start, stop, time, frame, x0, y0, x1, y1, score, camera, wall, label "
        "FROM entries ORDER BY id"
    ):
        _feed(total, "entry", owner[row[0]], *row[1:])
        _feed_children(db, total, n)
    for row in db.execute("SELECT id, task, score, start, stop FROM findings ORDER BY id"):
        _feed(total, "finding", *row)
    return total.hexdigest()


_CHILDREN = (
    "SELECT data FROM details WHERE entry=?",
    "SELECT schema, p, known, boxes FROM facts WHERE entry=?",
    "SELECT dtype, shape, data FROM tokens WHERE entry=?",
    "SELECT jpeg FROM thumbs WHERE entry=?",
    "SELECT s.name, v.data FROM vectors v JOIN spaces s ON s.n=v.space WHERE v.entry=? ORDER BY s.name",
)


def _feed_children(db: sqlite3.Connection, total: hashlib.blake2b, n: int) -> None:
    for query in _CHILDREN:
        for row in db.execute(query, (n,)):
            _feed(total, "child", *row)


def _feed(total: hashlib.blake2b, *values: Any) -> None:
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogateescape")
        total.update(f"{type(value).__name__}{len(data)}:".encode())
        total.update(data)
