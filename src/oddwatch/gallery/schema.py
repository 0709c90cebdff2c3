"""The tables of a gallery, how it is opened, and what SQLite's errors mean to a user."""

from __future__ import annotations

import errno
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oddwatch._version import __version__
from oddwatch.core.errors import GalleryError
from oddwatch.core.jsonable import to_jsonable

FORMAT = 1
APPLICATION_ID = 0x0DD0_A7C4 & 0x7FFF_FFFF
FILE = "gallery.sqlite"
BUSY_SECONDS = 30.0

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE spaces (
  n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, encoder TEXT NOT NULL, dim INTEGER
);
CREATE TABLE sources (
  n INTEGER PRIMARY KEY AUTOINCREMENT, path NOT NULL UNIQUE, content_hash TEXT NOT NULL DEFAULT '',
  kind TEXT, camera TEXT, wall TEXT, duration REAL, width INTEGER, height INTEGER, fps REAL,
  status TEXT NOT NULL DEFAULT 'done', until REAL NOT NULL DEFAULT 0,
  settings TEXT NOT NULL DEFAULT '{}', tracker TEXT, pending TEXT, problems TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE entries (
  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  source INTEGER NOT NULL REFERENCES sources(n) ON DELETE CASCADE,
  kind TEXT NOT NULL, start REAL, stop REAL, time REAL, frame INTEGER,
  x0 REAL, y0 REAL, x1 REAL, y1 REAL, score REAL NOT NULL, camera TEXT,
  wall TEXT, wall_start REAL, wall_stop REAL, label TEXT
);
CREATE INDEX entries_source ON entries(source);
CREATE TABLE details (
  entry INTEGER PRIMARY KEY REFERENCES entries(n) ON DELETE CASCADE, data TEXT NOT NULL
);
CREATE TABLE facts (
  entry INTEGER PRIMARY KEY REFERENCES entries(n) ON DELETE CASCADE,
  schema TEXT NOT NULL, p BLOB NOT NULL, known BLOB NOT NULL, boxes TEXT NOT NULL
);
CREATE TABLE tokens (
  entry INTEGER PRIMARY KEY REFERENCES entries(n) ON DELETE CASCADE,
  dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL
);
CREATE TABLE thumbs (
  entry INTEGER PRIMARY KEY REFERENCES entries(n) ON DELETE CASCADE, jpeg BLOB NOT NULL
);
CREATE TABLE vectors (
  entry INTEGER NOT NULL REFERENCES entries(n) ON DELETE CASCADE,
  space INTEGER NOT NULL REFERENCES spaces(n), data BLOB NOT NULL, PRIMARY KEY (space, entry)
) WITHOUT ROWID;
CREATE INDEX vectors_entry ON vectors(entry);
CREATE TABLE findings (
  id TEXT PRIMARY KEY, parent INTEGER REFERENCES sources(n) ON DELETE CASCADE,
  source NOT NULL, task TEXT NOT NULL, score REAL NOT NULL, start REAL, stop REAL, data TEXT NOT NULL
);
CREATE INDEX findings_parent ON findings(parent);
"""


def connect(folder: Path, *, create: bool, readonly: bool) -> sqlite3.Connection:
    """Open (or make) the database of a gallery folder.

    Raises:
        GalleryError: no gallery there, not a gallery, damaged, made by a newer version, or not writable.
    """
    file = folder / FILE
    if not file.exists() and (readonly or not create):
        raise GalleryError(
            f"{folder}: no gallery here; make one with: oddwatch index MEDIA --gallery {folder}"
        )
    with explained(folder):
        if not readonly:
            folder.mkdir(parents=True, exist_ok=True)
        db = _open(file, readonly)
    try:
        with explained(folder):
            if readonly:
                _check(db, folder)
            else:
                _prepare(db, folder)
    except BaseException:
        db.close()
        raise
    return db


def _open(file: Path, readonly: bool) -> sqlite3.Connection:
    uri = file.resolve().as_uri()
    modes = ("?mode=ro", "?immutable=1") if readonly else ("?mode=rwc",)
    for mode in modes:
        db = sqlite3.connect(
            uri + mode, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA foreign_keys=ON")
            db.execute("PRAGMA user_version").fetchone()
            return db
        except sqlite3.OperationalError:
            db.close()
            # A write-ahead log needs a writable folder even to be read; read-only media hold none.
            if mode is modes[-1] or Path(f"{file}-wal").exists():
                raise
    raise AssertionError("unreachable")


def _prepare(db: sqlite3.Connection, folder: Path) -> None:
    empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if empty:
        db.execute("PRAGMA page_size=8192")
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        # Two processes may have seen the empty file; only the first makes the tables.
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(db)
        db.execute("COMMIT")
    _check(db, folder)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")


def _create(db: sqlite3.Connection) -> None:
    for statement in TABLES.split(";"):
        if statement.strip():
            db.execute(statement)
    rows = {
        "format": str(FORMAT),
        "created_by": f"oddwatch {__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "gallery": secrets.token_hex(8),
        "changes": "0",
        "deletions": "0",
    }
    db.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={FORMAT}")


def _check(db: sqlite3.Connection, folder: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise GalleryError(f"{folder / FILE}: not a gallery; choose another folder, or remove the file")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        raise GalleryError(
            f"{folder}: made by a newer version (format {found}, this one reads up to {FORMAT}); "
            f'update with: pip install -U "oddwatch", or index again into another folder'
        )


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into GalleryErrors that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise GalleryError(f"{folder}: {_explain(error)}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise GalleryError(f"{folder}: {_FULL}") from error
        raise GalleryError(f"{folder}: cannot be opened or written: {error.strerror or error}") from error


_FULL = "the disk is full; what was stored before is kept: free some space and run again"


def _explain(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "full" in text or "disk I/O error" in text:
        return _FULL if "full" in text else f"the disk refused to write ({text}); what was stored is kept"
    if "locked" in text or "busy" in text:
        return f"another process has been writing for {BUSY_SECONDS:.0f} s; wait for it and run again"
    if "readonly" in text or "read-only" in text or "unable to open" in text:
        return f"cannot be opened or written ({text}); check the folder's permissions"
    if "not a database" in text or "malformed" in text or "no such" in text:
        return f"damaged or not a gallery ({text}); restore a copy, or index again into another folder"
    return text


def read_meta(db: sqlite3.Connection, key: str, default: str = "") -> str:
    """One value of the meta table."""
    row = db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return default if row is None else str(row[0])


def write_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    """Set one value of the meta table."""
    db.execute("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value=?2", (key, value))


def bump(db: sqlite3.Connection, key: str) -> None:
    """Count one more change; other processes watch the number."""
    db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key=?", (key,))


def pack_path(path: str) -> str | bytes:
    """A path as SQLite can hold it: text, or bytes where the name is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def unpack_path(value: str | bytes) -> str:
    """The inverse of :func:`pack_path`."""
    return os.fsdecode(value) if isinstance(value, bytes) else value


def dumps(value: Any) -> str:
    """Compact JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=to_jsonable)
