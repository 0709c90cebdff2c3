"""Tables of tracked people without pixels: one row a box."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from oddwatch.core import InputError, Jsonable, LimitError, require
from oddwatch.datasets import store as _store

COLUMNS = ("video", "Frame_Number", "Person_ID", "BB_tl_0", "BB_tl_1", "BB_br_0", "BB_br_1")
"""Columns of a table: the clip, frame from 0, track, x0, y0, x1, y1; in test tables also ``abnormal_ped`` and ``abnormal_gt``."""
_MAX_BYTES = 512 * 1024**2


@dataclass(frozen=True, slots=True, eq=False)
class TrackTable(Jsonable):
    """The boxes of one clip, by frame: ``frame`` (K,), ``track`` (K,), ``box`` (K, 4) x0, y0, x1, y1 in pixels.

    ``abnormal`` (K,) whether this box is the anomaly and ``frame_label`` (K,) whether its frame is anomalous; None
    where not annotated.
    """

    frame: np.ndarray
    track: np.ndarray
    box: np.ndarray
    abnormal: np.ndarray | None = None
    frame_label: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frame)


def read_tables(store: str | Path, name: str) -> Mapping[str, TrackTable]:
    """Clip → its boxes, from a ``.parquet`` or ``.csv`` file with :data:`COLUMNS`.

    Raises:
        MissingExtra: pyarrow is needed for Parquet. InputError: another table. LimitError: more than 512 MiB.
    """
    path = Path(store) / _store.safe_name(name)
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(str(path), f"cannot be opened: {error.strerror}") from error
    if status.st_size > _MAX_BYTES:
        raise LimitError(str(path), f"is larger than {_MAX_BYTES} bytes")
    return _read(str(path), (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4)
def _read(path: str, stamp: tuple[int, int]) -> Mapping[str, TrackTable]:
    columns = _parquet(path) if path.lower().endswith(".parquet") else _csv(path)
    missing = [c for c in COLUMNS if c not in columns]
    if missing:
        raise InputError(path, f"has no column {missing[0]}", f"expected {', '.join(COLUMNS)}")
    try:
        videos = np.asarray(columns["video"]).astype(str)
        frame, track = (np.asarray(columns[c]).astype(np.int64) for c in COLUMNS[1:3])
        box = np.stack([np.asarray(columns[c]).astype(np.float32) for c in COLUMNS[3:]], axis=1)
        marks = {
            field: np.asarray(columns[c]).astype(np.int64).astype(bool)
            for field, c in (("abnormal", "abnormal_ped"), ("frame_label", "abnormal_gt"))
            if c in columns
        }
    except (ValueError, TypeError) as error:
        raise InputError(path, f"expected numbers in {', '.join(COLUMNS[1:])}: {error}") from error
    if not np.isfinite(box).all() or (len(frame) and frame.min() < 0):
        raise InputError(path, "expected finite boxes and frames from 0")
    names, code = np.unique(videos, return_inverse=True)
    order = np.lexsort((track, frame, code))
    starts = np.searchsorted(code[order], np.arange(len(names)))
    tables = {}
    for name, rows in zip(names, np.split(order, starts[1:]), strict=True):
        tables[str(name)] = TrackTable(
            frame[rows], track[rows], box[rows], **{k: v[rows] for k, v in marks.items()}
        )
    return tables


def _parquet(path: str) -> dict[str, np.ndarray]:
    parquet = require("pyarrow.parquet", for_=f"reading {Path(path).name}", extra="parquet")
    try:
        table = parquet.read_table(path)
        return {c: table.column(c).to_numpy() for c in table.column_names}
    except (OSError, ValueError) as error:
        raise InputError(path, f"is no Parquet file that can be read: {error}") from error


def _csv(path: str) -> dict[str, np.ndarray]:
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    return {c: np.array([row[c] for row in rows]) for c in (rows[0] if rows else {})}
