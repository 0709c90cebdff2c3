"""Putting entries into the tables. Everything here runs inside a transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from oddwatch.core import EncoderMismatch, Entry, Finding, InputError
from oddwatch.gallery import codec
from oddwatch.gallery.schema import bump, dumps, pack_path
from oddwatch.gallery.snapshot import Space


def read_spaces(db: sqlite3.Connection) -> dict[str, Space]:
    """The spaces by name."""
    rows = db.execute("SELECT n, name, encoder, dim FROM spaces ORDER BY n")
    return {row[1]: Space(*row) for row in rows}


def declare_spaces(db: sqlite3.Connection, encoders: Mapping[str, str]) -> None:
    """Remember which encoder makes the vectors of which space, where that is not yet settled."""
    for name, encoder in encoders.items():
        db.execute(
            "INSERT INTO spaces (name, encoder) VALUES (?1, ?2) "
            "ON CONFLICT (name) DO UPDATE SET encoder=?2 WHERE dim IS NULL",
            (name, encoder),
        )


def ensure_space(db: sqlite3.Connection, name: str, dim: int) -> Space:
    """The space ``name``; its dimension is settled by the first vector.

    Raises:
        EncoderMismatch: the space holds vectors of another dimension.
    """
    space = read_spaces(db).get(name)
    if space is None:
        db.execute("INSERT INTO spaces (name, encoder, dim) VALUES (?, '', ?)", (name, dim))
    elif space.dim is None:
        db.execute("UPDATE spaces SET dim=? WHERE n=?", (dim, space.n))
    elif space.dim != dim:
        raise EncoderMismatch(
            f"space {name!r} holds vectors of {space.dim} numbers ({space.encoder or 'encoder not named'}), "
            f"got {dim}: index again into a new gallery, or use the encoder it was made with"
        )
    return read_spaces(db)[name]


def source_number(db: sqlite3.Connection, path: str) -> int:
    """The number of a source, made if it is new."""
    key = pack_path(path)
    row = db.execute("SELECT n FROM sources WHERE path=?", (key,)).fetchone()
    if row is None:
        row = db.execute("INSERT INTO sources (path) VALUES (?) RETURNING n", (key,)).fetchone()
    return int(row[0])


def delete_entries(db: sqlite3.Connection, condition: str, arguments: Sequence[object] = ()) -> int:
    """Delete entries ``e`` by an SQL condition, with their children; the count."""
    found = db.execute(
        f"DELETE FROM entries WHERE n IN (SELECT e.n FROM entries e WHERE {condition})", arguments
    ).rowcount
    if found:
        bump(db, "deletions")
    return found


def next_number(db: sqlite3.Connection) -> int:
    """The next row number; numbers are never used again, also after a deletion."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'").fetchone()
    return 1 + (int(row[0]) if row else 0)


def insert(db: sqlite3.Connection, entries: Sequence[Entry]) -> int:
    """Write entries; one whose id is there replaces it. Of equal ids in one call the last counts."""
    unique = {codec.check_id(e.id): e for e in entries}
    _drop_ids(db, unique)
    sources = {path: source_number(db, path) for path in {e.source for e in unique.values()}}
    numbered = list(enumerate(unique.values(), next_number(db)))
    _insert_rows(db, [codec.entry_row(n, sources[e.source], e) for n, e in numbered])
    written = [(n, codec.details(e)) for n, e in numbered]
    db.executemany("INSERT INTO details VALUES (?, ?)", [d for d in written if d[1] is not None])
    facts = [codec.facts_row(n, e.facts) for n, e in numbered if e.facts is not None]
    db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?)", facts)
    tokens = [codec.tokens_row(n, e.tokens) for n, e in numbered if e.tokens is not None]
    db.executemany("INSERT INTO tokens VALUES (?, ?, ?, ?)", tokens)
    thumbs = [(n, e.thumbnail) for n, e in numbered if e.thumbnail is not None]
    db.executemany("INSERT INTO thumbs VALUES (?, ?)", thumbs)
    for name in sorted({name for _, e in numbered for name in e.vectors}):
        _insert_vectors(db, name, [(n, e.vectors[name]) for n, e in numbered if name in e.vectors])
    return len(numbered)


def _drop_ids(db: sqlite3.Connection, ids: Iterable[str]) -> None:
    if db.executemany("DELETE FROM entries WHERE id=?", ((i,) for i in ids)).rowcount > 0:
        bump(db, "deletions")


def _insert_rows(db: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    db.executemany(f"INSERT INTO entries VALUES ({','.join('?' * 18)})", rows)


def _insert_vectors(db: sqlite3.Connection, name: str, pairs: Sequence[tuple[int, np.ndarray]]) -> None:
    dims = {np.shape(v) for _, v in pairs}
    if len(dims) != 1 or len(next(iter(dims))) != 1:
        raise InputError(f"vectors of space {name!r}", f"expected one shape (D,), got {sorted(dims)}")
    space = ensure_space(db, name, next(iter(dims))[0])
    blobs = codec.pack_vectors(name, np.stack([np.asarray(v, np.float32) for _, v in pairs]))
    db.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)",
        [(n, space.n, b) for (n, _), b in zip(pairs, blobs, strict=True)],
    )


def insert_arrays(db: sqlite3.Connection, bare: Sequence[Entry], vectors: Mapping[str, np.ndarray]) -> None:
    """Write entries that have only their own row and a row in each of ``vectors`` (N, D)."""
    _drop_ids(db, [e.id for e in bare])
    sources = {path: source_number(db, path) for path in {e.source for e in bare}}
    first = next_number(db)
    _insert_rows(db, [codec.entry_row(n, sources[e.source], e) for n, e in enumerate(bare, first)])
    for name, values in vectors.items():
        space = ensure_space(db, name, values.shape[1])
        blobs = codec.pack_vectors(name, values)
        db.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?)", [(n, space.n, b) for n, b in enumerate(blobs, first)]
        )


def insert_findings(db: sqlite3.Connection, findings: Iterable[Finding]) -> int:
    """Write findings; one whose id is there replaces it. A finding in a known source dies with it."""
    rows = []
    for finding in findings:
        codec.check_id(finding.id)
        key = pack_path(finding.source)
        parent = db.execute("SELECT n FROM sources WHERE path=?", (key,)).fetchone()
        span = finding.span
        rows.append((
            finding.id, parent[0] if parent else None, key, finding.task, float(finding.score),
            float(span.start) if span else None, float(span.end) if span else None, dumps(finding.to_json()),
        ))  # fmt: skip
    db.executemany("INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return len(rows)
