"""Files beside the database that make a big gallery fast to open and to search; all can be made again.

``sidecars/<token>/`` holds the filter columns and matrices as plain ``.npy`` files, read through memory maps, and
above 300,000 rows a FAISS index of each row space. A folder is written under another name, flushed to disk and
renamed; the database names the token that counts, so a half-written, foreign or outdated folder is never read.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from oddwatch.core import Progress
from oddwatch.gallery import ann
from oddwatch.gallery.codec import COLUMN_SPACES
from oddwatch.gallery.filters import Columns, Names
from oddwatch.gallery.schema import bump, read_meta, write_meta
from oddwatch.gallery.snapshot import Matrix, Segment, Snapshot, Space, join, read_matrix, read_rows

log = logging.getLogger(__name__)

FOLDER = "sidecars"
UNFINISHED_SECONDS = 3600.0
ANN_ROWS = 300_000
"""Row spaces with more vectors than this get a FAISS index."""


def load(db: sqlite3.Connection, folder: Path, spaces: Mapping[str, Space]) -> Snapshot:
    """What the sidecar holds as the start of a snapshot; an empty one where it is missing or of no use."""
    token = read_meta(db, "sidecar")
    if not token:
        return Snapshot()
    try:
        return _load(folder / FOLDER / Path(token).name, spaces)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        log.warning("%s: sidecar %s is not usable and will be made again: %s", folder, token, error)
        return Snapshot()


def _load(folder: Path, spaces: Mapping[str, Space]) -> Snapshot:
    about = json.loads((folder / "about.json").read_text())
    n = int(about["rows"])

    def array(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
        found = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if found.shape != shape or found.dtype.kind != kind:
            raise ValueError(f"{name}: expected {kind}{shape}, got {found.dtype}{found.shape}")
        result: np.ndarray = found
        return result

    kinds = {"start": "f", "stop": "f"}
    columns = Columns(*(array(f, (n,), kinds.get(f, "i")) for f in Columns.FIELDS))
    base = Segment(array("rows", (n,), "i"), array("ids", (n,), "S"), columns, np.ones(n, bool), fixed=True)
    for name, dim in about["spaces"].items():
        if name not in spaces or spaces[name].dim != dim:
            continue
        part = f"space{spaces[name].n}"
        sparse = name in COLUMN_SPACES
        values = array(f"{part}.values", (dim, n) if sparse else (n, dim), "i" if sparse else "f")
        scale = array(f"{part}.scale", (n,), "f") if sparse else None
        index = folder / f"{part}.faiss"
        base.matrices[name] = Matrix(
            values,
            array(f"{part}.present", (n,), "b"),
            scale,
            index if index.exists() else None,
            float(about["reach"][name]),
        )
    return Snapshot(
        changes=-1,
        deletions=int(about["deletions"]),
        segments=[base],
        cameras=Names.of(about["cameras"]),
        labels=Names.of(about["labels"]),
    )


def held(db: sqlite3.Connection, folder: Path) -> tuple[int, bool]:
    """How many rows the sidecar holds, 0 without a usable one, and whether it has a FAISS index."""
    token = read_meta(db, "sidecar")
    place = folder / FOLDER / Path(token).name
    try:
        rows = int(json.loads((place / "about.json").read_text())["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, False
    return rows, any(place.glob("*.faiss"))


def build(
    db: sqlite3.Connection,
    folder: Path,
    spaces: Mapping[str, Space],
    *,
    with_ann: bool,
    progress: Progress | None = None,
) -> str | None:
    """Write a sidecar of all rows, within a read transaction; its token, or None when there are no rows.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    cameras, labels = Names(), Names()
    segment = read_rows(db, 0, cameras, labels)
    if segment is None:
        return None
    segment = join([segment])
    token = secrets.token_hex(8)
    aside = folder / FOLDER / f"{token}.tmp"
    aside.mkdir(parents=True)
    try:
        _write_arrays(segment, aside)
        reach = {}
        for i, space in enumerate(s for s in spaces.values() if s.dim):
            if progress:
                progress("writing the search files", i, len(spaces))
            reach[space.name] = _write_space(db, space, segment, aside, with_ann)
        about = {
            "rows": len(segment),
            "deletions": int(read_meta(db, "deletions")),
            "cameras": cameras.names,
            "labels": labels.names,
            "spaces": {s.name: s.dim for s in spaces.values() if s.dim},
            "reach": reach,
        }
        (aside / "about.json").write_text(json.dumps(about))
        for file in aside.iterdir():
            _sync(file)
        aside.rename(folder / FOLDER / token)
        _sync(folder / FOLDER)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return token


def _write_arrays(segment: Segment, folder: Path) -> None:
    np.save(folder / "rows.npy", segment.rows)
    np.save(folder / "ids.npy", segment.ids)
    for name in Columns.FIELDS:
        np.save(folder / f"{name}.npy", getattr(segment.columns, name))


def _write_space(
    db: sqlite3.Connection, space: Space, segment: Segment, folder: Path, with_ann: bool
) -> float:
    part = folder / f"space{space.n}"

    def make(shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return _new_array(Path(f"{part}.values.npy"), shape, dtype)

    matrix = read_matrix(db, space, segment.rows, make)
    np.save(f"{part}.present.npy", matrix.present)
    if matrix.scale is not None:
        np.save(f"{part}.scale.npy", matrix.scale)
    elif with_ann and int(matrix.present.sum()) > ANN_ROWS:
        ann.build(matrix.values, np.flatnonzero(matrix.present), Path(f"{part}.faiss"))
    if isinstance(matrix.values, np.memmap):
        matrix.values.flush()
    return matrix.reach


def _new_array(file: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """A zeroed .npy file as a writable memory map, its space on disk taken first: a map that outgrows the disk would
    end the process instead of raising."""
    kind = np.dtype(dtype)
    with file.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        start = stream.tell()
        stream.flush()
        size = start + kind.itemsize * int(np.prod(shape, dtype=np.int64))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)
    return np.memmap(file, dtype=kind, mode="r+", offset=start, shape=shape)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def adopt(db: sqlite3.Connection, folder: Path, token: str, removals: str) -> bool:
    """Make ``token`` the sidecar that counts, in the caller's transaction; not if entries were removed on purpose
    since ``removals`` was read, for then it holds what must be gone."""
    if read_meta(db, "removals", "0") != removals or not (folder / FOLDER / token).is_dir():
        return False
    write_meta(db, "sidecar", token)
    return True


def drop(db: sqlite3.Connection) -> None:
    """Forget the sidecar, in the caller's transaction; :func:`sweep` then deletes it."""
    if not read_meta(db, "removals"):
        write_meta(db, "removals", "0")
    bump(db, "removals")
    db.execute("DELETE FROM meta WHERE key='sidecar'")


def litter(folder: Path, keep: str, everything: bool = False) -> list[Path]:
    """Sidecar folders other than ``keep``; what another process may be writing only if ``everything``, or old."""
    return [
        f for f in (folder / FOLDER).glob("*") if f.name != keep and (everything or not _being_written(f))
    ]


def _being_written(folder: Path) -> bool:
    try:
        age = time.time() - folder.stat().st_mtime
    except OSError:
        return True
    return folder.suffix == ".tmp" and age < UNFINISHED_SECONDS


def sweep(folder: Path, keep: str, everything: bool = False) -> None:
    """Delete the litter; what cannot be deleted now is left for the next time."""
    for found in litter(folder, keep, everything):
        shutil.rmtree(found, ignore_errors=True)


def check(db: sqlite3.Connection, folder: Path, spaces: Mapping[str, Space]) -> list[str]:
    """What in the sidecar differs from the database."""
    token = read_meta(db, "sidecar")
    if not token or not (folder / FOLDER / Path(token).name).is_dir():
        return []
    try:
        held = _load(folder / FOLDER / Path(token).name, spaces)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        return [f"sidecar {token} cannot be read ({error}); delete the folder {FOLDER}, it is made again"]
    base = held.segments[0]
    ids = dict(db.execute("SELECT n, id FROM entries"))
    wrong = sum(
        i != ids[n].encode() for n, i in zip(base.rows.tolist(), base.ids.tolist(), strict=True) if n in ids
    )
    for name, matrix in base.matrices.items():
        wrong += _differing(db, spaces[name], base, matrix, ids)
    return (
        [
            f"sidecar {token} differs from the database in {wrong} places; delete the folder {FOLDER}, it is made again"
        ]
        if wrong
        else []
    )


def _differing(
    db: sqlite3.Connection, space: Space, base: Segment, matrix: Matrix, ids: Mapping[int, str]
) -> int:
    wrong, size = 0, 50_000
    for lo in range(0, len(base), size):
        part = slice(lo, lo + size)
        truth = read_matrix(db, space, base.rows[part])
        alive = np.array([n in ids for n in base.rows[part].tolist()], bool)
        if matrix.scale is not None and truth.scale is not None:
            same = (matrix.values[:, part] == truth.values).all(axis=0) & (matrix.scale[part] == truth.scale)
        else:
            same = (matrix.values[part] == truth.values).all(axis=1)
        wrong += int(np.count_nonzero(alive & ~(same & (matrix.present[part] == truth.present))))
    return wrong
