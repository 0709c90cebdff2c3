"""What is known of a source while it is indexed: begin, checkpoint, finish, fail.

A source whose content or settings changed keeps its old entries until the first checkpoint (or the end) of the
new pass, which drops the old and writes the new in one transaction: a search sees the one or the other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from oddwatch.core import Entry, GalleryError, Jsonable
from oddwatch.gallery import writer
from oddwatch.gallery.schema import dumps, pack_path, unpack_path

Status = Literal["new", "resume", "done"]


@dataclass(frozen=True, slots=True)
class SourceInfo(Jsonable):
    """What is known of a media file. ``wall_time`` is its first frame's; ``duration`` seconds; size in pixels."""

    kind: str | None = None
    camera: str | None = None
    wall_time: datetime | None = None
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class SourceState(Jsonable):
    """Where the indexing of a source stands.

    ``status``: ``done`` nothing to do, ``resume`` go on at ``until`` seconds with ``tracker_state``,
    ``new`` start at 0. ``stored`` is the status in the table: indexing, done, failed.
    """

    path: str
    content_hash: str
    status: Status
    until: float = 0.0
    tracker_state: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    info: SourceInfo = SourceInfo()
    stored: str = "indexing"
    problems: tuple[str, ...] = ()


_COLUMNS = (
    "path, content_hash, status, until, settings, tracker, pending, problems, "
    "kind, camera, wall, duration, width, height, fps"
)


def read(db: sqlite3.Connection, path: str) -> SourceState | None:
    """The state of a source, None when it was never seen."""
    row = db.execute(f"SELECT {_COLUMNS} FROM sources WHERE path=?", (pack_path(path),)).fetchone()
    return None if row is None else _state(row)


def read_all(db: sqlite3.Connection) -> list[SourceState]:
    """Every source, in the order they came."""
    return [_state(row) for row in db.execute(f"SELECT {_COLUMNS} FROM sources ORDER BY n")]


def _state(row: Sequence[Any]) -> SourceState:
    path, content_hash, stored, until, settings, tracker, pending, problems = row[:8]
    kind, camera, wall, duration, width, height, fps = row[8:]
    wall_time = None if wall is None else datetime.fromisoformat(wall)
    info = SourceInfo(kind, camera, wall_time, duration, width, height, fps)
    status: Status = "done" if stored == "done" else "new" if pending is not None else "resume"
    return SourceState(
        unpack_path(path), content_hash, status, until, None if tracker is None else json.loads(tracker),
        json.loads(settings), info, stored, tuple(json.loads(problems)),
    )  # fmt: skip


def unchanged(known: SourceState, content_hash: str, settings: Mapping[str, Any], info: SourceInfo) -> bool:
    """Whether a pass over this content, with these settings, camera and start, is the one that is stored."""
    return (
        known.content_hash == content_hash
        and dumps(known.settings) == dumps(settings)
        and known.info.camera == info.camera
        and known.info.wall_time == info.wall_time
    )


def begin(
    db: sqlite3.Connection,
    path: str,
    content_hash: str,
    settings: Mapping[str, Any],
    info: SourceInfo,
    force: bool,
) -> SourceState:
    """Note that ``path`` is about to be indexed, and say from where."""
    known = read(db, path)
    same = known is not None and unchanged(known, content_hash, settings, info)
    if known is not None and same and not force:
        if known.stored != "done":
            db.execute("UPDATE sources SET status='indexing', pending=NULL WHERE path=?", (pack_path(path),))
        status: Status = "done" if known.stored == "done" else "resume"
        return SourceState(
            path, content_hash, status, known.until, known.tracker_state, settings, known.info,
            "done" if status == "done" else "indexing", known.problems,
        )  # fmt: skip
    number = writer.source_number(db, path)
    pending = dumps({"content_hash": content_hash, "settings": settings, "info": info.to_json()})
    db.execute("UPDATE sources SET status='indexing', pending=? WHERE n=?", (pending, number))
    return SourceState(path, content_hash, "new", 0.0, None, settings, info)


def settle(db: sqlite3.Connection, state: SourceState) -> int:
    """Make the pass of ``state`` the current one: the first time, what the former pass left is dropped.

    Raises:
        GalleryError: the source was removed or begun with other content since.
    """
    row = db.execute(
        "SELECT n, content_hash, pending FROM sources WHERE path=?", (pack_path(state.path),)
    ).fetchone()
    if row is None:
        raise GalleryError(f"{state.path}: was removed from the gallery while it was indexed; index it again")
    number, content_hash, pending = row
    waiting = None if pending is None else json.loads(pending)
    if waiting is not None and waiting["content_hash"] == state.content_hash:
        _replace(db, number, waiting)
    elif waiting is not None or content_hash != state.content_hash:
        raise GalleryError(f"{state.path}: another process began to index it with other content; run again")
    return int(number)


def _replace(db: sqlite3.Connection, number: int, waiting: Mapping[str, Any]) -> None:
    writer.delete_entries(db, "e.source=?", (number,))
    db.execute("DELETE FROM findings WHERE parent=?", (number,))
    info = SourceInfo.from_json(waiting["info"])
    db.execute(
        "UPDATE sources SET content_hash=?, settings=?, kind=?, camera=?, wall=?, duration=?, width=?, height=?, "
        "fps=?, status='indexing', until=0, tracker=NULL, pending=NULL, problems='[]' WHERE n=?",
        (
            waiting["content_hash"], dumps(waiting["settings"]), info.kind, info.camera,
            info.wall_time.isoformat() if info.wall_time else None,
            *(None if v is None else float(v) for v in (info.duration, info.width, info.height, info.fps)), number,
        ),
    )  # fmt: skip


def checkpoint(
    db: sqlite3.Connection,
    state: SourceState,
    entries: Sequence[Entry],
    tracker_state: Mapping[str, Any] | None,
    until: float,
) -> None:
    """Entries, tracker state and the time reached, in the caller's one transaction."""
    number = settle(db, state)
    writer.insert(db, entries)
    tracker = None if tracker_state is None else dumps(tracker_state)
    db.execute(
        "UPDATE sources SET status='indexing', until=?, tracker=? WHERE n=?", (float(until), tracker, number)
    )


def finish(
    db: sqlite3.Connection, state: SourceState, entries: Sequence[Entry], problems: Sequence[str]
) -> None:
    """The last entries, and the source is done."""
    number = settle(db, state)
    writer.insert(db, entries)
    db.execute(
        "UPDATE sources SET status='done', tracker=NULL, problems=? WHERE n=?",
        (dumps([str(p) for p in problems]), number),
    )


def fail(db: sqlite3.Connection, state: SourceState, reason: str) -> None:
    """Note why a source could not be indexed; what it has is kept, and the next run tries again."""
    db.execute(
        "UPDATE sources SET status='failed', problems=? WHERE path=?",
        (dumps([reason]), pack_path(state.path)),
    )
