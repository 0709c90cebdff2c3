"""Filters of a search and of a listing: the same meaning over columns in memory and over SQL.

``source`` is a whole path or its last parts (``yard.mp4`` finds ``/a/yard.mp4``); ``kind``, ``camera`` and ``label``
are exact; ``after``/``before`` keep what was filmed, in part or whole, within ``[after, before)``. An entry whose
wall-clock time is unknown fails a time filter.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oddwatch.core import Where
from oddwatch.gallery.codec import KINDS, epoch
from oddwatch.gallery.schema import unpack_path


@dataclass(slots=True)
class Names:
    """Strings as small numbers; None is −1."""

    names: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, names: list[str]) -> Names:
        return cls(list(names), {n: i for i, n in enumerate(names)})

    def encode(self, values: list[str | None]) -> np.ndarray:
        """(N,) int32; new names are learnt."""
        out = np.empty(len(values), np.int32)
        for i, value in enumerate(values):
            if value is None:
                out[i] = -1
                continue
            code = self.codes.get(value)
            if code is None:
                code = self.codes[value] = len(self.names)
                self.names.append(value)
            out[i] = code
        return out


@dataclass(slots=True)
class Columns:
    """What filters read, one row an entry: kind, source number, camera and label codes, wall-clock span."""

    kind: np.ndarray
    source: np.ndarray
    camera: np.ndarray
    label: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    FIELDS = ("kind", "source", "camera", "label", "start", "stop")


@dataclass(frozen=True, slots=True)
class Filter:
    """A :class:`Where` with its names looked up."""

    where: Where
    sources: np.ndarray | None
    camera: int | None
    label: int | None

    def mask(self, columns: Columns) -> np.ndarray | None:
        """(N,) bool of the rows kept; None when all are."""
        w, parts = self.where, []
        if w.kind is not None:
            parts.append(columns.kind == KINDS.index(w.kind))
        if self.sources is not None:
            one = self.sources.size == 1
            parts.append(columns.source == self.sources[0] if one else np.isin(columns.source, self.sources))
        if self.camera is not None:
            parts.append(columns.camera == self.camera)
        if self.label is not None:
            parts.append(columns.label == self.label)
        if w.after is not None:
            after = epoch(w.after)
            parts.append((columns.stop > after) | (columns.start >= after))
        if w.before is not None:
            parts.append(columns.start < epoch(w.before))
        if not parts:
            return None
        mask = parts[0]
        for part in parts[1:]:
            mask &= part
        result: np.ndarray = mask
        return result


def source_numbers(db: sqlite3.Connection, source: str) -> list[int]:
    """Numbers of the sources that ``source`` names: the path itself, else those that end in it."""
    rows = [(n, unpack_path(p)) for n, p in db.execute("SELECT n, path FROM sources ORDER BY n")]
    exact = [n for n, path in rows if path == source]
    tail = "/" + source.replace("\\", "/").lstrip("/")
    return exact or [n for n, path in rows if path.replace("\\", "/").endswith(tail)]


def bind(db: sqlite3.Connection, where: Where | None, cameras: Names, labels: Names) -> Filter | None:
    """Look up the names of ``where``; None when it keeps everything."""
    if where is None or where == Where():
        return None
    sources = None
    if where.source is not None:
        sources = np.array(source_numbers(db, where.source), dtype=np.int64)
    # −2 is a code no row has: a name never seen keeps nothing.
    camera = None if where.camera is None else cameras.codes.get(where.camera, -2)
    label = None if where.label is None else labels.codes.get(where.label, -2)
    return Filter(where, sources, camera, label)


def sql(db: sqlite3.Connection, where: Where | None) -> tuple[str, list[Any]]:
    """``where`` as an SQL condition over ``entries e`` and its arguments."""
    parts: list[str] = ["1"]
    arguments: list[Any] = []
    if where is None:
        return "1", arguments
    if where.source is not None:
        numbers = source_numbers(db, where.source)
        parts.append(f"e.source IN ({','.join(map(str, numbers))})")
    for column, value in (("kind", where.kind), ("camera", where.camera), ("label", where.label)):
        if value is not None:
            parts.append(f"e.{column} = ?")
            arguments.append(value)
    if where.after is not None:
        parts.append("(e.wall_stop > ? OR e.wall_start >= ?)")
        arguments += [epoch(where.after)] * 2
    if where.before is not None:
        parts.append("e.wall_start < ?")
        arguments.append(epoch(where.before))
    return " AND ".join(parts), arguments
