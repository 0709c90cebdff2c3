"""The gallery: what was indexed, kept in one folder, searched exactly."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from oddwatch.core import EncoderMismatch, Entry, Finding, GalleryError, InputError, Progress, Where
from oddwatch.gallery import codec, filters, report, schema, sidecar, sources, writer
from oddwatch.gallery.snapshot import Segment, Snapshot, Space, best, kept_rows
from oddwatch.gallery.sources import SourceInfo, SourceState

log = logging.getLogger(__name__)

BATCH = 5_000
SIDECAR_ROWS = 20_000
"""A gallery with more entries gets search files at its first search."""
STALE_SHARE = 0.05
"""Entries that the search files may lack before they are worth writing again."""
PAGE = 500


class Gallery:
    """Entries, their vectors and findings in one folder.

    Any number of readers and writers, threads or processes, may hold it; writers take turns. Every call
    that writes is one transaction (``add`` one per 5,000 entries): after a crash it happened or did not.
    """

    def __init__(self, path: str | Path, *, create: bool = True, readonly: bool = False) -> None:
        """See :meth:`open`."""
        self.path = Path(path)
        self.readonly = readonly
        self._lock = threading.RLock()
        self._db = schema.connect(self.path, create=create, readonly=readonly)
        self._open = True
        self._snapshot = Snapshot()

    @classmethod
    def open(
        cls,
        path: str | Path,
        create: bool = True,
        readonly: bool = False,
        encoders: Mapping[str, str] | None = None,
    ) -> Self:
        """Open the gallery in folder ``path``, or make it.

        ``encoders`` maps a space to the id of the encoder whose vectors will be written and searched there.

        Raises:
            EncoderMismatch: a space holds vectors of another encoder.
            GalleryError: no gallery and not ``create``; damaged; of a newer format; not writable.
        """
        gallery = cls(path, create=create, readonly=readonly)
        try:
            gallery._expect(encoders or {})
            gallery._sweep()
        except BaseException:
            gallery.close()
            raise
        return gallery

    def _expect(self, encoders: Mapping[str, str]) -> None:
        with self._reading():
            known = writer.read_spaces(self._db)
        for name, encoder in encoders.items():
            space = known.get(name)
            if space is not None and space.encoder != encoder and (space.dim is not None or self.readonly):
                raise EncoderMismatch(
                    f"{self.path}: its {name!r} vectors were made by {space.encoder or 'an unnamed encoder'}, "
                    f"not by {encoder}: use that encoder, or index again into a new gallery"
                )
        fresh = {n: e for n, e in encoders.items() if n not in known or known[n].encoder != e}
        if fresh and not self.readonly:
            with self._writing():
                writer.declare_spaces(self._db, fresh)

    def close(self) -> None:
        """Let go of the files. Closing twice is fine."""
        with self._lock:
            if self._open:
                self._open = False
                self._snapshot = Snapshot()
                self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Gallery({str(self.path)!r})"

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One consistent view of the tables."""
        with self._lock, schema.explained(self.path):
            self._check_open()
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.rollback()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; undone as a whole when anything fails."""
        with self._lock, schema.explained(self.path):
            self._check_open()
            if self.readonly:
                raise GalleryError(f"{self.path}: was opened for reading only")
            # Deferred transactions of two writers can fail; taking the lock first only waits.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                schema.bump(self._db, "changes")
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise

    def _check_open(self) -> None:
        if not self._open:
            raise GalleryError(f"{self.path}: was closed")

    # -- writing ---------------------------------------------------------------------------------------

    def add(self, entries: Iterable[Entry]) -> int:
        """Store entries; one whose id is there is replaced. Returns how many were given.

        Raises:
            InputError: an id or a vector that cannot be stored.
            EncoderMismatch: a vector of another dimension than the space's.
            GalleryError: disk full, locked for too long, read-only.
        """
        count, stream = 0, iter(entries)
        while batch := list(itertools.islice(stream, BATCH)):
            with self._writing():
                writer.insert(self._db, batch)
            count += len(batch)
        return count

    def add_arrays(self, entries: Iterable[Entry], vectors: Mapping[str, np.ndarray]) -> int:
        """Bulk path: bare entries (views, facts, tokens and thumbnails are not stored) and, per space, (N, D) vectors.

        Raises:
            InputError: lengths differ, or ids repeat.
        """
        start, stream = 0, iter(entries)
        while batch := list(itertools.islice(stream, 4 * BATCH)):
            part = {name: values[start : start + len(batch)] for name, values in vectors.items()}
            if len({e.id for e in batch}) != len(batch) or any(len(v) != len(batch) for v in part.values()):
                raise InputError("entries", "expected unique ids and one vector each in every space")
            with self._writing():
                writer.insert_arrays(self._db, batch, part)
            start += len(batch)
        return start

    def remove(
        self,
        *,
        source: str | None = None,
        camera: str | None = None,
        before: datetime | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Delete entries with all that belongs to them; what is given must all hold. Returns how many.

        ``source`` as in a filter; a source named (or all of a camera) is forgotten with its findings, so that it can be
        indexed again. ``before`` deletes what ended before that moment; entries of unknown time are kept. Deleted data
        is overwritten on disk, and the caches that held it are dropped.

        Raises:
            InputError: nothing was named.
        """
        if source is None and camera is None and before is None and ids is None:
            raise InputError("remove", "expected a source, a camera, a time or ids", "name what to remove")
        with self._lock, schema.explained(self.path):
            self._check_open()
            if not self.readonly:
                self._db.execute("PRAGMA secure_delete=ON")
            with self._writing():
                count = report.remove(self._db, source, camera, before, ids)
                sidecar.drop(self._db)
            self._forget()
            return count

    def optimize(
        self, progress: Progress | None = None, *, ann: bool = True, if_needed: bool = False
    ) -> bool:
        """Write the files that make opening and searching fast, and above 300,000 vectors a FAISS index.

        Call it after indexing; ``if_needed`` does nothing where the gallery is small or the files are nearly as new
        as its entries. Searches are right without: a big gallery then loads slower, and is scanned whole.
        Returns whether files were written; a disk too full for them is logged, not raised, for nothing is lost.
        """
        if self.readonly or (if_needed and not self._is_worth_optimizing(ann)):
            return False
        with self._reading():
            removals = schema.read_meta(self._db, "removals", "0")
            spaces = writer.read_spaces(self._db)
            try:
                token = sidecar.build(self._db, self.path, spaces, with_ann=ann, progress=progress)
            except OSError as error:
                log.warning("%s: the search files could not be written: %s", self.path, error)
                return False
        with self._writing():
            adopted = token is not None and sidecar.adopt(self._db, self.path, token, removals)
        self._sweep()
        self._snapshot = Snapshot()
        return adopted

    def _is_worth_optimizing(self, ann: bool) -> bool:
        count = len(self)
        if count <= SIDECAR_ROWS:
            return False
        with self._reading():
            rows, has_index = sidecar.held(self._db, self.path)
        return count - rows > STALE_SHARE * count or (ann and count > sidecar.ANN_ROWS and not has_index)

    def _sweep(self, everything: bool = False) -> None:
        # After the commit that named the files to keep, never before; and under the lock under which others name theirs.
        with self._lock, schema.explained(self.path):
            if self.readonly or not sidecar.litter(
                self.path, schema.read_meta(self._db, "sidecar"), everything
            ):
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                sidecar.sweep(self.path, schema.read_meta(self._db, "sidecar"), everything)
            finally:
                self._db.rollback()

    def _first_search(self) -> None:
        """Make the search files before a big gallery is loaded without: the same work, done once for all."""
        if self._snapshot.changes >= 0 or self.readonly:
            return
        with self._reading():
            missing = not sidecar.load(self._db, self.path, writer.read_spaces(self._db)).segments
            big = self._db.execute("SELECT 1 FROM entries LIMIT 1 OFFSET ?", (SIDECAR_ROWS,)).fetchone()
        if missing and big:
            self.optimize(ann=False)

    def _forget(self) -> None:
        self._snapshot = Snapshot()
        self._sweep(everything=True)
        self._db.execute("PRAGMA incremental_vacuum").fetchall()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # -- indexing a source -------------------------------------------------------------------------------

    def begin_source(
        self,
        path: str | Path,
        content_hash: str,
        settings: Mapping[str, Any] | None = None,
        info: SourceInfo | None = None,
        *,
        force: bool = False,
    ) -> SourceState:
        """Say that a source is about to be indexed; learn from where.

        The state's ``status`` is ``done`` (same content, settings, camera and start time: nothing to do), ``resume``
        (go on at ``until`` with ``tracker_state``) or ``new``. The old entries of a changed source stay until the
        first checkpoint, or the end, of the new pass. ``force`` indexes an unchanged source again.
        """
        info, settings = info or SourceInfo(), dict(settings or {})
        known = self.source_state(path)
        finished = known is not None and known.status == "done" and not force
        # A look without the writers' lock, so that running over an indexed folder again is free.
        if finished and known is not None and sources.unchanged(known, content_hash, settings, info):
            return known
        with self._writing():
            return sources.begin(self._db, str(path), content_hash, settings, info, force)

    def checkpoint(
        self,
        source: SourceState,
        entries: Iterable[Entry],
        tracker_state: Mapping[str, Any] | None = None,
        until: float = 0.0,
    ) -> None:
        """Store the entries finished so far, the tracker's state and the time reached (s), all or nothing.

        Raises:
            GalleryError: the source was removed, or begun with other content, by another process.
        """
        with self._writing():
            sources.checkpoint(self._db, source, list(entries), tracker_state, until)

    def finish_source(
        self, source: SourceState, entries: Iterable[Entry] = (), problems: Sequence[str] = ()
    ) -> None:
        """Store the last entries and the problems met, and mark the source as done."""
        with self._writing():
            sources.finish(self._db, source, list(entries), problems)

    def fail_source(self, source: SourceState, reason: str) -> None:
        """Note why a source could not be read to its end; what it has is kept, the next run tries again."""
        with self._writing():
            sources.fail(self._db, source, reason)

    def source_state(self, path: str | Path) -> SourceState | None:
        """What is known of a source; None when it was never seen."""
        with self._reading():
            return sources.read(self._db, str(path))

    def sources(self) -> list[SourceState]:
        """Every source, in the order they came."""
        with self._reading():
            return sources.read_all(self._db)

    # -- reading -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        with self._reading():
            return int(self._db.execute("SELECT count(*) FROM entries").fetchone()[0])

    def entries(self, where: Where | None = None, *, full: bool = True) -> Iterator[Entry]:
        """Entries by source, then time, then id; ``full=False`` leaves out all but their own row.

        What is deleted meanwhile is skipped.
        """
        with self._reading():
            condition, arguments = filters.sql(self._db, where)
            order = "s.path, e.start, e.time, e.id"
            rows = self._db.execute(
                f"SELECT e.n FROM entries e JOIN sources s ON s.n=e.source WHERE {condition} ORDER BY {order}",
                arguments,
            ).fetchall()
        numbers = [r[0] for r in rows]
        for at in range(0, len(numbers), PAGE):
            with self._reading():
                found = report.load(self._db, numbers[at : at + PAGE], full)
            yield from (found[n] for n in numbers[at : at + PAGE] if n in found)

    def get(self, id: str) -> Entry:
        """The entry ``id``, whole.

        Raises:
            InputError: there is none.
        """
        found = self.get_many([id])
        if not found:
            raise InputError(
                f"entry {id!r}", f"not in gallery {self.path}", "list them: oddwatch gallery list"
            )
        return found[0]

    def get_many(self, ids: Sequence[str], *, full: bool = True, facts: bool = False) -> list[Entry]:
        """Entries in the order of ``ids``; those that are not there are left out.

        ``full=False`` leaves out all but their own row, and with ``facts`` their facts.
        """
        with self._reading():
            numbers = report.numbers(self._db, ids)
            found = report.load(self._db, list(numbers.values()), full, facts)
        return [found[numbers[i]] for i in ids if i in numbers]

    def facts_of(self, ids: Sequence[str], schema: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The facts of many entries at once, without boxes: those of ``ids`` that have any, in that order, with (N, A)
        float32 probabilities and (N, A) bool known.

        Raises:
            GalleryError: facts of another table of atoms than ``schema``.
        """
        with self._reading():
            numbers = report.numbers(self._db, ids)
            rows = report.fact_rows(self._db, list(numbers.values()))
        have = [i for i in ids if numbers.get(i) in rows]
        stored = [rows[numbers[i]] for i in have]
        if other := next((r[0] for r in stored if r[0] != schema), None):
            raise GalleryError(
                f"{self.path}: holds facts of schema {other}, not {schema}: index the media again"
            )
        return have, *codec.fact_arrays(schema, stored)

    def spaces(self) -> dict[str, Space]:
        """The vector spaces by name, with encoder id and dimension."""
        with self._reading():
            return writer.read_spaces(self._db)

    def search(
        self, space: str, vector: np.ndarray, k: int, where: Where | None = None
    ) -> tuple[list[str], np.ndarray]:
        """The ``k`` entries whose vectors have the highest inner product with ``vector`` (D,): ids and (k,) float32
        scores, best first, equal scores by id. Fewer when the gallery or the filter holds fewer.

        In the space ``facts`` only the non-zero numbers of ``vector`` cost time.

        Raises:
            InputError: not a finite vector, or a negative ``k``.
            EncoderMismatch: another dimension than the space's.
        """
        if k < 0:
            raise InputError("k", f"expected 0 or more, got {k}")
        query = np.asarray(vector, np.float32)
        self._first_search()
        with self._reading():
            found = writer.read_spaces(self._db).get(space)
            self._check_query(space, found, query)
            if found is None or found.dim is None or k == 0:
                return [], np.empty(0, np.float32)
            parts = self._parts(found, where)
        hits = [best(segment, matrix, query, k, mask) for segment, matrix, mask in parts]
        ids = [i for part, _ in hits for i in part.tolist()]
        scores = np.concatenate([s for _, s in hits]) if hits else np.empty(0, np.float32)
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
        return [ids[i].decode() for i in order], scores[order].astype(np.float32)

    def _check_query(self, name: str, space: Space | None, query: np.ndarray) -> None:
        if query.ndim != 1 or not np.isfinite(query).all():
            raise InputError("query vector", f"expected finite numbers of shape (D,), got {query.shape}")
        if space is not None and space.dim not in (None, len(query)):
            raise EncoderMismatch(
                f"{self.path}: its {name!r} vectors have {space.dim} numbers ({space.encoder or 'unnamed'}), "
                f"the query has {len(query)}: use the encoder the gallery was made with"
            )

    def _parts(self, space: Space, where: Where | None) -> list[tuple[Segment, Any, np.ndarray | None]]:
        snapshot = self._current()
        condition = filters.bind(self._db, where, snapshot.cameras, snapshot.labels)
        parts = []
        for segment in snapshot.segments:
            matrix = snapshot.matrix(self._db, segment, space)
            parts.append((segment, matrix, kept_rows(segment, matrix, condition)))
        return parts

    def _current(self) -> Snapshot:
        spaces = writer.read_spaces(self._db)
        if self._snapshot.changes < 0:
            self._snapshot = sidecar.load(self._db, self.path, spaces)
        self._snapshot.refresh(self._db, spaces)
        return self._snapshot

    def scores_for(self, space: str, vector: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """Inner products of ``vector`` (D,) with the given entries: (N,) float32, NaN where there is no such vector."""
        query = np.asarray(vector, np.float32)
        with self._reading():
            found = writer.read_spaces(self._db).get(space)
            self._check_query(space, found, query)
            out = np.full(len(ids), np.nan, np.float32)
            if found is None or found.dim is None:
                return out
            numbers = report.numbers(self._db, ids)
            blobs = report.blobs(self._db, found.n, list(numbers.values()))
        have = [i for i, name in enumerate(ids) if numbers.get(name) in blobs]
        if have:
            values = codec.unpack_vectors(space, [blobs[numbers[ids[i]]] for i in have], len(query))
            out[have] = np.einsum("ij,j->i", values.astype(np.float64), query.astype(np.float64))
        return out

    # -- findings ----------------------------------------------------------------------------------------

    def add_findings(self, findings: Iterable[Finding]) -> int:
        """Store findings; one whose id is there is replaced. Those of an indexed source die with it."""
        with self._writing():
            return writer.insert_findings(self._db, findings)

    def findings(self, source: str | None = None, task: str | None = None) -> list[Finding]:
        """Findings by source and start, filtered by exact source path and task."""
        with self._reading():
            return report.findings(self._db, source, task)

    # -- about -------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Counts by kind, source and camera, time range, encoders, bytes on disk, problems; plain JSON values."""
        with self._reading():
            return {"path": str(self.path), **report.info(self._db, self.path)}

    def verify(self) -> dict[str, Any]:
        """Check everything: ``ok``, ``problems``, ``entries``, and ``content_hash``, which depends only on what was
        indexed: equal after a straight run and a killed and resumed one, on any machine path, in any order."""
        with self._reading():
            return report.verify(self._db, self.path)
