"""Index pictures and videos: find people, follow them, describe them, remember them.

A video is read in chunks of at most a minute. Each chunk's people and moments are stored in one transaction
together with the tracker's state, so a killed run goes on where it was and ends with the same content.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oddwatch.core import Frame, InputError, Jsonable, LimitError, MediaError, Person, Progress
from oddwatch.gallery.sources import SourceInfo, SourceState
from oddwatch.media.moments import MomentBuilder
from oddwatch.media.names import printable
from oddwatch.media.pictures import read_picture
from oddwatch.media.sources import Skipped, Source, content_hash, find
from oddwatch.media.tracking import Tracker
from oddwatch.media.video import Sampling, Video
from oddwatch.pipeline.ahead import ahead
from oddwatch.pipeline.entries import EntryMaker

if TYPE_CHECKING:
    from oddwatch.gallery.store import Gallery
    from oddwatch.pipeline.models import Models

log = logging.getLogger(__name__)

SCENE_CHANGE = 0.08
_SETTINGS_VERSION = 1


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """``fps`` analysed frames a second of video; ``sample`` by "time" or by "scene" change (``fps`` is then how often
    is looked); ``camera`` a name for what filmed this; ``start`` wall-clock time of the first frame (aware);
    ``moment_seconds`` length of a moment; ``commit_seconds`` of footage are lost at most when a run is killed."""

    fps: float = 2.0
    sample: str = "time"
    camera: str | None = None
    start: datetime | None = None
    moment_seconds: float = 5.0
    commit_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.commit_seconds <= 60:
            raise InputError("commit", f"expected 1 to 60 seconds, got {self.commit_seconds}")
        if self.sample not in ("time", "scene"):
            raise InputError("sample", f"{self.sample!r} is not known", "time or scene")

    def sampling(self) -> Sampling:
        """The media room's words for it."""
        return Sampling(self.fps, SCENE_CHANGE if self.sample == "scene" else None)


@dataclass
class IndexReport(Jsonable):
    """What an index run did. ``skipped`` and ``problems`` are (path, reason); ``seconds`` by step, of this run (steps
    run side by side, so they sum to more than ``total``); ``media_seconds`` of video looked at."""

    sources: int = 0
    unchanged: int = 0
    people: int = 0
    moments: int = 0
    frames: int = 0
    media_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[step]``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def summary(self) -> str:
        """One line for people."""
        spent = self.seconds.get("total", 0.0)
        rate = f", {self.media_seconds / spent:.1f}× real time" if self.media_seconds and spent else ""
        unchanged = f", {self.unchanged} unchanged" if self.unchanged else ""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"{self.sources} indexed{unchanged}{skipped}: {self.people} people and {self.moments} moments "
            f"in {self.frames} frames, {spent:.1f} s{rate}"
        )


def index(
    inputs: Sequence[str | Path],
    gallery: Gallery,
    models: Models,
    options: IndexOptions,
    progress: Progress | None = None,
) -> IndexReport:
    """Index everything ``inputs`` name into ``gallery``; what is unchanged costs a hash, bad files are reported.

    Raises:
        InputError: there is no input at all, or nothing usable among them that exists.
        GalleryError: the gallery cannot be written (disk full, read-only).
    """
    if not inputs:
        raise InputError("inputs", "expected at least one folder, file or glob")
    report = IndexReport()
    with report.timed("total"):
        # A gallery kept inside the footage is no footage.
        own = gallery.path.resolve()
        found = find([Path(i) if not isinstance(i, str) else i for i in inputs], report=_noting(report, own))
        sources = [s for s in found if not s.path.resolve().is_relative_to(own)]
        if not sources and not report.skipped:
            names = ", ".join(printable(i) for i in inputs)
            report.skipped.append((names, "holds no pictures or videos"))
        run = _Run(gallery, models, options, report, progress, sum(s.size for s in sources))
        for source in sources:
            run.source(source)
        if report.people + report.moments:
            with report.timed("optimize"):
                gallery.optimize(progress, if_needed=True)
    return report


def _noting(report: IndexReport, own: Path) -> Any:
    def note(skipped: Skipped) -> None:
        if skipped.path.resolve().is_relative_to(own):
            return
        log.warning("skipped %s", skipped)
        report.skipped.append((printable(skipped.path), skipped.reason))

    return note


class _Run:
    def __init__(
        self,
        gallery: Gallery,
        models: Models,
        options: IndexOptions,
        report: IndexReport,
        progress: Progress | None,
        total: int,
    ) -> None:
        self.gallery, self.models, self.options, self.report = gallery, models, options, report
        self.progress, self.total, self.done = progress, total, 0
        self.settings = {
            "version": _SETTINGS_VERSION,
            "fps": options.fps,
            "sample": options.sample,
            "moment_seconds": options.moment_seconds,
            "people": models.finder.id,
        }

    def source(self, source: Source) -> None:
        try:
            self._source(source)
        except (MediaError, LimitError, OSError) as error:
            # A file that went away or broke while it was read must not end the run.
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else error.problem
            log.warning("skipped %s: %s", source.name, reason)
            self.report.skipped.append((source.name, reason))
        self.done += source.size
        self._tell(source, 0.0)

    def _source(self, source: Source) -> None:
        path = source.path.absolute()
        with self.report.timed("hash"):
            digest = content_hash(source.path)
        if self._is_copy(path, digest):
            self.report.skipped.append((source.name, "has the same content as a source already indexed"))
            return
        info = SourceInfo(kind=source.kind, camera=self.options.camera, wall_time=self.options.start)
        state = self.gallery.begin_source(path, digest, self.settings, info)
        if state.status == "done":
            self.report.unchanged += 1
            return
        maker = EntryMaker(
            self.models, str(path), _key(path, digest, self.options), self.options, self.report
        )
        try:
            if source.kind == "picture":
                self._picture(source, state, maker)
            else:
                self._video(source, state, maker)
        except (MediaError, LimitError, OSError) as error:
            self.gallery.fail_source(state, str(error))
            raise
        self.report.sources += 1

    def _is_copy(self, path: Path, digest: str) -> bool:
        """Whether the same content was indexed from another file that still is there."""
        owners = self._owners.setdefault((digest, self.options.camera), [])
        for other in [o for o in owners if o != str(path)]:
            if Path(other).exists():
                return True
            self.gallery.remove(source=other)
            owners.remove(other)
        owners.append(str(path))
        return False

    @cached_property
    def _owners(self) -> dict[tuple[str, str | None], list[str]]:
        """Which sources hold a content, by its hash and the camera; kept up to date while this run goes on."""
        found: dict[tuple[str, str | None], list[str]] = {}
        for known in self.gallery.sources():
            found.setdefault((known.content_hash, known.info.camera), []).append(known.path)
        return found

    def _picture(self, source: Source, state: SourceState, maker: EntryMaker) -> None:
        with self.report.timed("decode"):
            frame = read_picture(source.path)
        with self.report.timed("pose"):
            people = self.models.finder.find(frame)
        self.report.frames += 1
        maker.picture(frame, people)
        self._store(lambda entries: self.gallery.finish_source(state, entries), maker)

    def _video(self, source: Source, state: SourceState, maker: EntryMaker) -> None:
        with self.report.timed("decode"):
            video = Video(source.path)
        saved = state.tracker_state if state.status == "resume" else None
        tracker = Tracker.from_state(saved["tracker"]) if saved else Tracker()
        moments = (
            MomentBuilder.from_state(saved["moments"])
            if saved
            else MomentBuilder(self.options.moment_seconds)
        )
        begun = state.until if saved else 0.0
        boundary = self._after(begun)
        # Decoding, looking for people and all the rest each have a thread; the order of frames is kept.
        with closing(ahead(self._looked_at(ahead(self._decoded(video, begun))))) as seen:
            for frame, people in seen:
                at = frame.time or 0.0
                if at >= boundary:
                    self._checkpoint(state, maker, tracker, moments, at)
                    boundary = self._after(at)
                self._follow(frame, people, tracker, moments)
                self._tell(source, at / max(video.duration, 1e-6))
        with self.report.timed("track"):
            self._hand_over(maker, tracker, moments, end=video.duration)
        self.report.media_seconds += max(0.0, video.duration - begun)
        self.report.problems += [(source.name, p) for p in video.problems]
        self._store(lambda entries: self.gallery.finish_source(state, entries, video.problems), maker)

    def _after(self, at: float) -> float:
        """The next point on the grid of commits, anchored at 0."""
        step = self.options.commit_seconds
        return (int(at / step) + 1) * step

    def _decoded(self, video: Video, start: float) -> Generator[Frame, None, None]:
        frames = video.frames(self.options.sampling(), start)
        while True:
            with self.report.timed("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _looked_at(
        self, frames: Generator[Frame, None, None]
    ) -> Generator[tuple[Frame, list[Person]], None, None]:
        with closing(frames):
            for frame in frames:
                with self.report.timed("pose"):
                    people = self.models.finder.find(frame)
                yield frame, people

    def _follow(
        self, frame: Frame, people: Sequence[Person], tracker: Tracker, moments: MomentBuilder
    ) -> None:
        with self.report.timed("track"):
            numbered = tracker.update(frame, people)
            moments.update(frame, numbered, tracker.speeds())
        self.report.frames += 1

    def _checkpoint(
        self, state: SourceState, maker: EntryMaker, tracker: Tracker, moments: MomentBuilder, until: float
    ) -> None:
        with self.report.timed("track"):
            self._hand_over(maker, tracker, moments)
        saved = {"tracker": tracker.state(), "moments": moments.state()}
        self._store(lambda entries: self.gallery.checkpoint(state, entries, saved, until), maker)

    def _hand_over(
        self, maker: EntryMaker, tracker: Tracker, moments: MomentBuilder, end: float | None = None
    ) -> None:
        for track in tracker.finished() if end is None else tracker.flush():
            maker.track(track, tracker.looks(track.id))
        for moment in moments.finished() if end is None else moments.flush(end):
            maker.moment(moment, moments.frame(moment))

    def _store(self, write: Any, maker: EntryMaker) -> None:
        entries = maker.entries()
        with self.report.timed("store"):
            write(entries)
        people = sum(e.kind == "person" for e in entries)
        self.report.people += people
        self.report.moments += len(entries) - people

    def _tell(self, source: Source, share: float) -> None:
        if self.progress is not None:
            self.progress(source.name, self.done + min(share, 1.0) * source.size, self.total)


def _key(path: Path, digest: str, options: IndexOptions) -> str:
    """Names a source in the ids of its entries: the same media indexed again, anywhere, has the same."""
    said = "\0".join((digest, path.name, options.camera or "")).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(said, digest_size=6).hexdigest()
