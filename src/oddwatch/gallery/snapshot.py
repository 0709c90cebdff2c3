"""What a process holds of a gallery in memory: columns for filters, matrices for scans, in a few segments.

A row is never changed in place: an entry written again gets a new, higher number. So what is held stays
valid, new rows are those above the highest number held, and removed ones are masked out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oddwatch.gallery import ann
from oddwatch.gallery.codec import COLUMN_SPACES, KINDS, unpack_codes, unpack_vectors
from oddwatch.gallery.filters import Columns, Filter, Names
from oddwatch.gallery.scan import column_scores, exact_columns, exact_rows, near, rounding, row_scores, top

CHUNK = 8_192
EXACT_ROWS = 50_000
"""Up to this many rows that pass a filter are always scanned exactly."""
ANN_LIMIT = 500
"""More answers than this are always found by an exact scan."""


class Space(NamedTuple):
    """A vector space of a gallery."""

    n: int
    name: str
    encoder: str
    dim: int | None


@dataclass(slots=True)
class Matrix:
    """The vectors of one space in one segment.

    ``values`` (A, N) int8 with ``scale`` (N,) for a column space, else (N, D) float32; ``present`` (N,)
    bool says which rows have a vector there; ``index`` is a FAISS file over them. ``reach`` is the largest
    scale, or the length of the longest row.
    """

    values: np.ndarray
    present: np.ndarray
    scale: np.ndarray | None = None
    index: Path | None = None
    reach: float = 0.0

    def error(self, vector: np.ndarray) -> float:
        """How far a score of :meth:`scores` can be from that of :meth:`exact`."""
        if self.scale is not None:
            return rounding(int(np.count_nonzero(vector)), float(np.abs(vector).sum()) * 127 * self.reach)
        return rounding(len(vector), float(np.linalg.norm(vector)) * self.reach)

    def scores(self, vector: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Inner products with all rows, or with ``rows``."""
        if self.scale is not None:
            return column_scores(self.values, self.scale, vector, rows)
        return row_scores(self.values, vector, rows)

    def between(self, low: int, high: int) -> Matrix:
        """The rows from ``low`` to before ``high``, nothing copied."""
        at = slice(low, high)
        if self.scale is None:
            return Matrix(self.values[at], self.present[at], reach=self.reach)
        return Matrix(self.values[:, at], self.present[at], self.scale[at], reach=self.reach)

    def exact(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The same with ``rows``, in double precision: equal vectors give equal scores, on every path."""
        if self.scale is not None:
            return exact_columns(self.values, self.scale, vector, rows)
        return exact_rows(self.values, vector, rows)


@dataclass(slots=True)
class Segment:
    """A run of rows: their numbers (ascending), ids, filter columns and, as they are needed, matrices."""

    rows: np.ndarray
    ids: np.ndarray
    columns: Columns
    alive: np.ndarray
    matrices: dict[str, Matrix] = field(default_factory=dict)
    fixed: bool = False

    def __len__(self) -> int:
        return len(self.rows)


def read_rows(db: sqlite3.Connection, above: int, cameras: Names, labels: Names) -> Segment | None:
    """The rows numbered above ``above`` as a segment; None when there are none."""
    cursor = db.execute(
        "SELECT n, id, kind, source, camera, label, wall_start, wall_stop FROM entries WHERE n > ? ORDER BY n",
        (above,),
    )
    parts = []
    while chunk := cursor.fetchmany(50_000):
        n, ids, kind, source, camera, label, start, stop = zip(*chunk, strict=True)
        columns = Columns(
            np.array([KINDS.index(k) for k in kind], np.int8),
            np.array(source, np.int64),
            cameras.encode(list(camera)),
            labels.encode(list(label)),
            np.array(start, np.float64),
            np.array(stop, np.float64),
        )
        names = np.array([i.encode() for i in ids])
        parts.append(Segment(np.array(n, np.int64), names, columns, np.ones(len(n), bool)))
    return join(parts) if parts else None


def join(parts: list[Segment]) -> Segment:
    """Segments one after the other as one; matrices that all of them hold are kept."""
    if len(parts) == 1:
        return parts[0]
    shared = set.intersection(*(set(p.matrices) for p in parts))
    return Segment(
        np.concatenate([p.rows for p in parts]),
        np.concatenate([p.ids for p in parts]),
        Columns(*(np.concatenate([getattr(p.columns, f) for p in parts]) for f in Columns.FIELDS)),
        np.concatenate([p.alive for p in parts]),
        {name: _join_matrices([p.matrices[name] for p in parts]) for name in shared},
    )


def _join_matrices(parts: list[Matrix]) -> Matrix:
    present = np.concatenate([p.present for p in parts])
    scales = [p.scale for p in parts if p.scale is not None]
    values = np.concatenate([p.values for p in parts], axis=1 if scales else 0)
    scale = np.concatenate(scales) if scales else None
    return Matrix(values, present, scale, reach=max(p.reach for p in parts))


Maker = Callable[[tuple[int, ...], type], np.ndarray]


def read_matrix(db: sqlite3.Connection, space: Space, rows: np.ndarray, make: Maker = np.zeros) -> Matrix:
    """The vectors of ``rows`` in ``space``; ``make`` gives the zeroed array to fill (it may be a file)."""
    dim, n = space.dim or 0, len(rows)
    present = np.zeros(n, bool)
    columns = space.name in COLUMN_SPACES
    values = make((dim, n), np.int8) if columns else make((n, dim), np.float32)
    scale, reach = np.zeros(n, np.float32) if columns else None, 0.0
    if not n or not dim:
        return Matrix(values, present, scale)
    cursor = db.execute(
        "SELECT entry, data FROM vectors WHERE space=? AND entry BETWEEN ? AND ? ORDER BY entry",
        (space.n, int(rows[0]), int(rows[-1])),
    )
    while chunk := cursor.fetchmany(CHUNK):
        numbers = np.array([c[0] for c in chunk], np.int64)
        at = np.minimum(np.searchsorted(rows, numbers), n - 1)
        ours = rows[at] == numbers
        at, blobs = at[ours], [c[1] for c, keep in zip(chunk, ours, strict=True) if keep]
        present[at] = True
        if scale is not None:
            scale[at], codes = unpack_codes(blobs, dim)
            values[:, at] = codes.T
            reach = max(reach, float(scale[at].max(initial=0.0)))
        elif len(at):
            values[at] = part = unpack_vectors(space.name, blobs, dim)
            reach = max(reach, float(np.sqrt(np.einsum("ij,ij->i", part, part).max())))
    return Matrix(values, present, scale, reach=reach)


@dataclass(slots=True)
class Snapshot:
    """The state of a gallery at one change number."""

    changes: int = -1
    deletions: int = 0
    segments: list[Segment] = field(default_factory=list)
    cameras: Names = field(default_factory=Names)
    labels: Names = field(default_factory=Names)

    @property
    def last(self) -> int:
        """The highest row number held."""
        return max((int(s.rows[-1]) for s in self.segments if len(s)), default=0)

    def __len__(self) -> int:
        return sum(len(s) for s in self.segments)

    def refresh(self, db: sqlite3.Connection, spaces: Mapping[str, Space]) -> None:
        """Take in what was written since; call it within a read transaction."""
        meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('changes', 'deletions')"))
        changes, deletions = int(meta["changes"]), int(meta["deletions"])
        if changes == self.changes:
            return
        if deletions != self.deletions and self.segments:
            self._mask(db)
        added = read_rows(db, self.last, self.cameras, self.labels)
        if added is not None:
            self.segments.append(added)
            self._merge(db, spaces)
        self.changes, self.deletions = changes, deletions

    def _mask(self, db: sqlite3.Connection) -> None:
        live = np.fromiter((r[0] for r in db.execute("SELECT n FROM entries ORDER BY n")), np.int64)
        for segment in self.segments:
            at = np.minimum(np.searchsorted(live, segment.rows), max(len(live) - 1, 0))
            segment.alive = live[at] == segment.rows if len(live) else np.zeros(len(segment), bool)

    def _merge(self, db: sqlite3.Connection, spaces: Mapping[str, Space]) -> None:
        # Sizes fall geometrically, so a row is copied a logarithmic number of times.
        s = self.segments
        while len(s) > 1 and not s[-2].fixed and len(s[-2]) < 2 * len(s[-1]):
            for name in s[-2].matrices:
                self.matrix(db, s[-1], spaces[name])
            s[-2:] = [join(s[-2:])]

    def matrix(self, db: sqlite3.Connection, segment: Segment, space: Space) -> Matrix:
        """The segment's vectors in ``space``, read once."""
        found = segment.matrices.get(space.name)
        if found is None:
            found = segment.matrices[space.name] = read_matrix(db, space, segment.rows)
        return found


def kept_rows(segment: Segment, matrix: Matrix, condition: Filter | None) -> np.ndarray | None:
    """(N,) bool of rows that are alive, have a vector, and pass the filter; None when all do."""
    mask = condition.mask(segment.columns) if condition is not None else None
    for other in (segment.alive, matrix.present):
        if not other.all():
            mask = other.copy() if mask is None else mask & other
    return mask


def _scores(matrix: Matrix, vector: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """Scores of ``rows`` (ascending): of those alone, or of everything from the first to the last when they lie dense,
    as those of a span of time do."""
    if rows is None:
        return matrix.scores(vector)
    low, high = int(rows[0]), int(rows[-1]) + 1
    if len(rows) * (2 if matrix.scale is None else 4) < high - low:
        return matrix.scores(vector, rows)
    return matrix.between(low, high).scores(vector)[rows - low]


def best(
    segment: Segment, matrix: Matrix, vector: np.ndarray, k: int, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(ids, scores) of the ``k`` best rows of one segment: exactly, or through its FAISS index where that is there,
    many rows are left and few are wanted."""
    n = len(segment)
    count = n if mask is None else int(np.count_nonzero(mask))
    if count == 0:
        return segment.ids[:0], np.empty(0, np.float32)
    rows = None if mask is None else np.flatnonzero(mask)
    candidates: np.ndarray | None = None
    if matrix.index is not None and count > EXACT_ROWS and k <= ANN_LIMIT:
        candidates = ann.propose(matrix.index, n, vector, k, mask)
    if candidates is None:
        scores = _scores(matrix, vector, rows)
        candidates = near(scores, k, matrix.error(vector))
        candidates = candidates if rows is None else rows[candidates]
    final = matrix.exact(vector, candidates)
    at = top(final, segment.ids[candidates], k)
    return segment.ids[candidates[at]], final[at]
