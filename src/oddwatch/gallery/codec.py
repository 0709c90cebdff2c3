"""Entries to rows and back. Plain JSON and raw little-endian arrays; nothing is ever unpickled."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from oddwatch.core import Box, Entry, Facts, InputError, Motion, Person, Pose, Span, View
from oddwatch.gallery.schema import dumps, pack_path, unpack_path

COLUMN_SPACES = frozenset({"facts"})
"""Spaces searched with sparse weights: one signed byte per value and one float32 scale per entry."""

KINDS = ("person", "moment")
ID_BYTES = 128
TOKEN_TYPES = frozenset({"int8", "uint8", "float16", "float32"})


def epoch(time: datetime) -> float:
    """Seconds since 1970; a naive time is read as UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def check_id(id: str) -> str:
    """``id`` if it can be stored.

    Raises:
        InputError: empty, with a NUL, not UTF-8, or longer than 128 bytes.
    """
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= ID_BYTES or "\0" in id:
        raise InputError("entry id", f"expected 1 to {ID_BYTES} bytes of UTF-8 without NUL, got {id[:40]!r}")
    return id


def pack_vector(space: str, vector: np.ndarray) -> bytes:
    """The blob of one (D,) vector: float16, or in a column space a float32 scale and signed bytes."""
    return pack_vectors(space, np.asarray(vector)[None])[0]


def pack_vectors(space: str, vectors: np.ndarray) -> list[bytes]:
    """The blobs of (N, D) vectors.

    Raises:
        InputError: not two-dimensional, not finite, or beyond the range of float16.
    """
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"vectors of space {space!r}", f"expected (N, D), got {np.shape(vectors)}")
    if not np.isfinite(values).all() or (values.size and np.abs(values).max() > 65000):
        raise InputError(f"vectors of space {space!r}", "expected finite numbers below 65000")
    if space not in COLUMN_SPACES:
        half = np.ascontiguousarray(values, dtype="<f2")
        return [row.tobytes() for row in half]
    scale, codes = quantise(values)
    return [s.tobytes() + c.tobytes() for s, c in zip(scale.astype("<f4"), codes, strict=True)]


def quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) floats to (N,) float32 scales and (N, D) signed bytes; ``scale * byte`` is within scale / 2."""
    scale = np.abs(values).max(axis=1, initial=0.0).astype(np.float32) / np.float32(127)
    safe = np.where(scale > 0, scale, np.float32(1))[:, None]
    return scale, np.rint(values / safe).astype(np.int8)


def blob_bytes(space: str, dim: int) -> int:
    """How long the blob of a ``dim``-vector is."""
    return 4 + dim if space in COLUMN_SPACES else 2 * dim


def unpack_codes(blobs: Sequence[bytes], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs of a column space to (N,) float32 scales and (N, D) signed bytes."""
    raw = np.frombuffer(b"".join(blobs), dtype=np.uint8).reshape(len(blobs), 4 + dim)
    return raw[:, :4].copy().view("<f4")[:, 0], raw[:, 4:].view(np.int8)


def unpack_vectors(space: str, blobs: Sequence[bytes], dim: int) -> np.ndarray:
    """Blobs to (N, D) float32."""
    if space in COLUMN_SPACES:
        scale, codes = unpack_codes(blobs, dim)
        result: np.ndarray = codes.astype(np.float32) * scale[:, None]
        return result
    return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), dim).astype(np.float32)


def wall_span(entry: Entry) -> tuple[float | None, float | None]:
    """When an entry was filmed, epoch seconds: its best view's wall time widened to its span."""
    if entry.wall_time is None:
        return None, None
    at = epoch(entry.wall_time)
    if entry.span is None or entry.time is None:
        return at, at
    return at - max(entry.time - entry.span.start, 0.0), at + max(entry.span.end - entry.time, 0.0)


def _real(value: float | None) -> float | None:
    # SQLite would store a NumPy number as its raw bytes.
    return None if value is None else float(value)


def _whole(value: int | None) -> int | None:
    return None if value is None else int(value)


def entry_row(n: int, source: int, entry: Entry) -> tuple[Any, ...]:
    """The row of table ``entries``.

    Raises:
        InputError: an id or kind that cannot be stored.
    """
    if entry.kind not in KINDS:
        raise InputError(f"entry {entry.id}", f"expected kind {' or '.join(KINDS)}, got {entry.kind!r}")
    span, box = entry.span, entry.box
    return (
        n, check_id(entry.id), source, entry.kind,
        _real(span.start) if span else None, _real(span.end) if span else None,
        _real(entry.time), _whole(entry.frame),
        *(map(_real, box.as_list()) if box else (None,) * 4), float(entry.score), entry.camera,
        entry.wall_time.isoformat() if entry.wall_time else None, *map(_real, wall_span(entry)), entry.label,
    )  # fmt: skip


def details(entry: Entry) -> str | None:
    """Views and motion as JSON, None where there are none. Masks are not kept."""
    if not entry.views and entry.motion is None:
        return None
    return dumps(
        {
            "views": [_view(v) for v in entry.views],
            "motion": entry.motion.to_json() if entry.motion else None,
        }
    )


def _view(view: View) -> dict[str, Any]:
    person = view.person
    pose = person.pose
    return {
        "time": _real(view.time), "frame": _whole(view.frame), "quality": float(view.quality),
        "box": [float(v) for v in person.box.as_list()], "score": float(person.score),
        "track": _whole(person.track),
        "pose": None if pose is None else base64.b64encode(pose.points.astype("<f4").tobytes()).decode(),
    }  # fmt: skip


def _view_back(data: Mapping[str, Any]) -> View:
    pose = None
    if data["pose"] is not None:
        points = np.frombuffer(base64.b64decode(data["pose"]), dtype="<f4").reshape(17, 3)
        pose = Pose(points.astype(np.float32))
    person = Person(Box(*data["box"]), data["score"], pose, data["track"])
    return View(data["time"], data["frame"], person, data["quality"])


def facts_row(n: int, facts: Facts) -> tuple[Any, ...]:
    """The row of table ``facts``: probabilities as float16, the known mask as bits."""
    boxes = {k: [float(v) for v in b.as_list()] for k, b in facts.boxes.items()}
    known = np.packbits(facts.known.astype(bool)).tobytes()
    seen = dumps({"boxes": boxes, "views": dict(facts.views)})
    return n, facts.schema, facts.p.astype("<f2").tobytes(), known, seen


def fact_arrays(schema: str, rows: Sequence[tuple[str, bytes, bytes]]) -> tuple[np.ndarray, np.ndarray]:
    """(N, A) float32 probabilities and (N, A) bool known of stored facts, all of ``schema``."""
    if not rows:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), bool)
    p = np.frombuffer(b"".join(r[1] for r in rows), "<f2").reshape(len(rows), -1).astype(np.float32)
    bits = np.frombuffer(b"".join(r[2] for r in rows), np.uint8).reshape(len(rows), -1)
    return p, np.unpackbits(bits, axis=1, count=p.shape[1]).astype(bool)


def facts_back(schema: str, p: bytes, known: bytes, boxes: str) -> Facts:
    """The inverse of :func:`facts_row`."""
    values = np.frombuffer(p, dtype="<f2").astype(np.float32)
    bits = np.unpackbits(np.frombuffer(known, dtype=np.uint8), count=len(values)).astype(bool)
    seen = json.loads(boxes)
    return Facts(schema, values, bits, {k: Box(*b) for k, b in seen["boxes"].items()}, seen["views"])


def tokens_row(n: int, tokens: np.ndarray) -> tuple[Any, ...]:
    """The row of table ``tokens``."""
    if tokens.dtype.name not in TOKEN_TYPES:
        raise InputError("tokens", f"expected one of {', '.join(sorted(TOKEN_TYPES))}, got {tokens.dtype}")
    data = tokens.astype(tokens.dtype.newbyteorder("<")).tobytes()
    return n, tokens.dtype.name, dumps(list(tokens.shape)), data


def tokens_back(dtype: str, shape: str, data: bytes) -> np.ndarray:
    """The inverse of :func:`tokens_row`."""
    if dtype not in TOKEN_TYPES:
        raise InputError("tokens", f"stored as {dtype}, which is not read")
    array = np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(json.loads(shape))
    return array.astype(dtype)


ENTRY_COLUMNS = (
    "e.n, e.id, s.path, e.kind, e.start, e.stop, e.time, e.frame, e.x0, e.y0, e.x1, e.y1, e.score, "
    "e.camera, e.wall, e.label"
)


def entry_back(row: Sequence[Any]) -> Entry:
    """An entry from a row of :data:`ENTRY_COLUMNS`, without its children."""
    _, id, path, kind, start, stop, time, frame, x0, y0, x1, y1, score, camera, wall, label = row
    return Entry(
        id=id, source=unpack_path(path), kind=kind,
        span=None if start is None else Span(start, stop), time=time, frame=frame,
        box=None if x0 is None else Box(x0, y0, x1, y1), score=score, camera=camera,
        wall_time=None if wall is None else datetime.fromisoformat(wall), label=label,
    )  # fmt: skip


def with_details(entry: Entry, data: str) -> Entry:
    """``entry`` with the views and motion that :func:`details` wrote."""
    value = json.loads(data)
    motion = None if value["motion"] is None else Motion.from_json(value["motion"])
    return replace(entry, views=tuple(_view_back(v) for v in value["views"]), motion=motion)


def source_key(path: str) -> str | bytes:
    """How a source's path is looked up."""
    return pack_path(path)
