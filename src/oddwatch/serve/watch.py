"""Watch cameras: sources → budget → judge → events → alerts → deliveries, for months, in flat memory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from oddwatch.core.errors import InputError, OddwatchError
from oddwatch.core.jsonable import Jsonable
from oddwatch.core.media import Frame
from oddwatch.media.names import printable
from oddwatch.media.streams import Stream, StreamState
from oddwatch.serve.alerts import Alert, JsonLines, Keeper
from oddwatch.serve.budget import Budget
from oddwatch.serve.delivery import Delivery
from oddwatch.serve.events import Change, Event, Joiner, Sign
from oddwatch.serve.metrics import Board, Meaning, MetricsServer
from oddwatch.serve.recording import Recorder, Ring
from oddwatch.serve.rules import Rules

log = logging.getLogger(__name__)

MEANINGS = {
    "oddwatch_up": Meaning("gauge", "Whether frames come from the camera."),
    "oddwatch_frames_total": Meaning("counter", "Frames taken in."),
    "oddwatch_dropped_frames_total": Meaning(
        "counter", "Frames left out because they came faster than they were taken."
    ),
    "oddwatch_passed_frames_total": Meaning(
        "counter", "Frames passed over on purpose, to leave time for the looks."
    ),
    "oddwatch_broken_frames_total": Meaning("counter", "Frames or files that could not be decoded."),
    "oddwatch_reconnects_total": Meaning("counter", "Tries to connect anew."),
    "oddwatch_lag_seconds": Meaning("gauge", "Age of the last frame when it was taken in."),
    "oddwatch_looks_total": Meaning("counter", "Frames analysed."),
    "oddwatch_looks_per_second": Meaning("gauge", "The camera's share of the budget."),
    "oddwatch_alerts_total": Meaning("counter", "Events told."),
    "oddwatch_open_events": Meaning("gauge", "Told events that go on."),
    "oddwatch_judge_errors_total": Meaning("counter", "Frames on which the judge failed."),
    "oddwatch_clips_left_out_total": Meaning(
        "counter", "Alerts told without a new clip, too many coming at once."
    ),
    "oddwatch_deliveries_total": Meaning("counter", "Alerts that a receiver took."),
    "oddwatch_delivery_failures_total": Meaning("counter", "Tries that a receiver did not take."),
    "oddwatch_deliveries_refused_total": Meaning("counter", "Alerts that a receiver refused for good."),
    "oddwatch_deliveries_dropped_total": Meaning("counter", "Alerts dropped because a spool was full."),
    "oddwatch_spooled": Meaning("gauge", "Alerts waiting for a receiver."),
    "oddwatch_kept_bytes": Meaning("gauge", "Bytes of frames and clips kept."),
    "oddwatch_kept_deleted_total": Meaning("counter", "Frames and clips deleted for age or room."),
}


class Judge(Protocol):
    """Says what is abnormal in a frame.

    Called with the frames of every camera, each camera's in order and one at a time, but those of several cameras at once
    from several threads. ``look`` says whether this one may be analysed with models; motion is for all. What is not over is
    reported again in later frames.
    """

    def update(self, camera: str, frame: Frame, look: bool) -> Sequence[Sign]: ...


@dataclass(frozen=True)
class Options:
    """``out`` takes alerts.jsonl, frames and clips, and open.json (what is not over, for a restart).

    ``before`` seconds of a clip lie before the event and at most ``longest`` after its start; ``quota`` bytes and ``days``
    bound frames and clips; ``closings`` tells also when an event is over; ``metrics`` is the port of /metrics and /health
    (None: no such server, 0: any free port); ``seconds`` ends the watch after so long; ``flush`` seconds are given to the
    deliveries at the end (what they cannot send stays in their spools); ``patience`` frames in a row the judge may fail on.
    ``workers`` cameras are judged at once, None for one a processor.
    """

    out: Path
    rules: Rules = field(default_factory=Rules)
    budget: Budget = field(default_factory=Budget)
    deliveries: Sequence[Delivery] = ()
    closings: bool = False
    before: float = 5.0
    longest: float = 30.0
    clip_fps: float = 8.0
    clip_height: int = 480
    quota: int = 10 * 1024**3
    days: float = 30.0
    hold: float = 120.0
    metrics: int | None = None
    metrics_host: str = "127.0.0.1"
    seconds: float | None = None
    flush: float = 5.0
    patience: int = 50
    workers: int | None = None

    def __post_init__(self) -> None:
        if not (self.before >= 0 and self.longest > 0 and self.clip_fps > 0 and self.clip_height > 15):
            raise InputError(
                "clips", "expected before ≥ 0, longest and clip_fps above 0, clip_height above 15"
            )
        if (
            self.hold < 0
            or self.flush < 0
            or self.patience < 1
            or (self.workers is not None and self.workers < 1)
            or (self.seconds is not None and self.seconds <= 0)
        ):
            raise InputError(
                "watch", "expected hold and flush ≥ 0, patience and workers ≥ 1, seconds above 0"
            )


@dataclass(frozen=True, slots=True)
class Summary(Jsonable):
    """What a watch did: ``alerts`` told, ``looks`` analysed frames, ``waiting`` alerts left in spools."""

    seconds: float
    frames: int
    looks: int
    alerts: int
    waiting: int
    streams: tuple[StreamState, ...]


def watch(
    sources: Sequence[Stream | str | int | Path],
    judge: Judge,
    options: Options,
    *,
    stop: threading.Event | None = None,
    on_alert: Callable[[Alert], None] | None = None,
) -> Summary:
    """Watch until all sources have ended, ``stop`` is set, SIGINT or SIGTERM comes, or ``options.seconds`` are over.

    Sources that are no :class:`Stream` yet are opened as cam-1, cam-2, …. ``on_alert`` is called in another thread, after
    the alert is in alerts.jsonl and in every spool. Deliveries are started and stopped here.

    Raises:
        InputError: no source, two cameras of one name, a folder that cannot be written.
        Exception: the judge's own, where it fails ``options.patience`` times in a row.
    """
    streams = [s if isinstance(s, Stream) else Stream(s, f"cam-{i}") for i, s in enumerate(sources, 1)]
    names = [s.camera for s in streams]
    if not streams or len(set(names)) < len(names):
        raise InputError("sources", "expected at least one, each camera with a name of its own", "name them")
    return _Watch(streams, judge, options, on_alert).run(stop or threading.Event())


@dataclass(frozen=True, slots=True)
class _Judging:
    """A frame that is being judged."""

    frame: Frame
    look: bool
    job: Future[tuple[Sequence[Sign], float]]


class _Watch:
    def __init__(
        self, streams: list[Stream], judge: Judge, options: Options, on_alert: Callable[[Alert], None] | None
    ) -> None:
        self.streams, self.judge, self.options, self.on_alert = streams, judge, options, on_alert
        self.ready = threading.Event()
        self.board = Board(MEANINGS)
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                printable(options.out), f"cannot be made: {error.strerror}", "check rights"
            ) from error
        self.lines = JsonLines(options.out / "alerts.jsonl")
        self.keeper = Keeper(options.out / "kept", options.quota, options.days)
        self.recorder = Recorder(self.keeper, self._publish, options.clip_fps)
        self.joiner = Joiner(options.rules, options.hold)
        self.state = options.out / "open.json"
        self.rings = {
            s.camera: Ring(options.before, options.longest, options.clip_fps, options.clip_height)
            for s in streams
        }
        self.whole: set[str] = set()
        self.published: set[str] = set()
        self.restored: frozenset[str] | set[str] = frozenset()
        self.unsaved = False
        self.frames = self.looks = self.alerts = self.failures = 0
        self.workers = min(len(streams), options.workers or os.cpu_count() or 1)
        options.budget.workers = self.workers
        self.turn = list(streams)
        self.running: dict[str, _Judging] = {}
        self.began = self.beat = time.monotonic()
        self.kept_at = self.told_at = 0.0

    def run(self, stop: threading.Event) -> Summary:
        self._restore()
        with _signals(stop), self._served():
            for delivery in self.options.deliveries:
                delivery.start()
            self.recorder.start()
            try:
                for stream in self.streams:
                    stream.tell(self.ready)
                    if not stream.started:
                        stream.start()
                self._loop(stop)
            finally:
                self._end()
        waiting = sum(len(d.spool) for d in self.options.deliveries)
        states = tuple(s.state for s in self.streams)
        spent = round(time.monotonic() - self.began, 3)
        return Summary(spent, self.frames, self.looks, self.alerts, waiting, states)

    @contextlib.contextmanager
    def _served(self) -> Iterator[None]:
        if self.options.metrics is None:
            yield
            return
        with MetricsServer(
            self.board, self._health, self.options.metrics, self.options.metrics_host
        ) as server:
            log.info("numbers at http://%s:%d/metrics", self.options.metrics_host, server.port)
            yield

    def _loop(self, stop: threading.Event) -> None:
        until = None if self.options.seconds is None else self.began + self.options.seconds
        with ThreadPoolExecutor(self.workers, "judge") as pool:
            while not stop.is_set() and (until is None or time.monotonic() < until):
                self.ready.clear()
                # Whether all had ended is asked before the frames are, or a last one could be missed.
                ended = all(s.ended for s in self.streams) and not self.running
                did = [self._finish(s) for s in self.streams if s.camera in self.running]
                did += [self._begin(s, pool) for s in list(self.turn)]
                self._housekeeping()
                if self.recorder.error is not None:
                    raise self.recorder.error
                if ended and not any(did):
                    self._changed(self.joiner.finish())
                    return
                if not any(did):
                    self.ready.wait(0.25)
            for stream in self.streams:
                if stream.camera in self.running:
                    self._finish(stream, wait=True)

    def _begin(self, stream: Stream, pool: ThreadPoolExecutor) -> bool:
        """Have the stream's next frame judged, where there is one, and a worker free, and none of its own under way."""
        camera, budget = stream.camera, self.options.budget
        if camera in self.running or len(self.running) >= self.workers:
            return False
        frame = stream.take(since=budget.since(camera))
        if frame is None:
            return False
        look = budget.ask(camera, frame.time or 0.0)
        job = pool.submit(self._judged, camera, frame, look)
        self.running[camera] = _Judging(frame, look, job)
        job.add_done_callback(lambda _: self.ready.set())
        # Whoever had a turn is asked last for the next, or the first cameras would take all.
        self.turn.remove(stream)
        self.turn.append(stream)
        return True

    def _judged(self, camera: str, frame: Frame, look: bool) -> tuple[Sequence[Sign], float]:
        """What the judge says, and the seconds it took. Runs in a worker's thread."""
        began = time.monotonic()
        signs = self.judge.update(camera, frame, look)
        return signs, time.monotonic() - began

    def _finish(self, stream: Stream, wait: bool = False) -> bool:
        """Take in what was said of the stream's frame, where it is said."""
        judging = self.running[stream.camera]
        if not (wait or judging.job.done()):
            return False
        del self.running[stream.camera]
        camera, frame, at = stream.camera, judging.frame, judging.frame.time or 0.0
        signs, looked = self._said(camera, judging)
        self.frames += 1
        changes = self.joiner.update(camera, frame, signs, looked)
        events = self.joiner.events(camera)
        # Where something goes on, its end is wanted soon too.
        self.options.budget.weigh(camera, 2.0 if events else 1.0)
        going = [e.start for e in events if at - e.start <= self.options.longest + 1.0]
        self.rings[camera].add(frame, min(going, default=None))
        self._changed(changes)
        self._complete(stream, events, at)
        return True

    def _said(self, camera: str, judging: _Judging) -> tuple[Sequence[Sign], bool]:
        """What the judge says, and whether it looked and could say it."""
        try:
            signs, seconds = judging.job.result()
        except Exception:
            # One odd frame must not end months of watching; a judge that is broken must.
            self.failures += 1
            self.board.add("oddwatch_judge_errors_total", camera=camera)
            log.exception("the judge failed on a frame of %s", camera)
            if self.failures >= self.options.patience:
                raise
            return (), False
        self.failures = 0
        self.options.budget.took(seconds, judging.look)
        if judging.look:
            self.board.add("oddwatch_looks_total", camera=camera)
            self.looks += 1
        return signs, judging.look

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            event = change.event
            stream = next((s for s in self.streams if s.camera == event.camera), None)
            source = stream.name if stream else ""
            over = change.what == "closed"
            alert = Alert.of(event, source, over)
            ring = self.rings.get(event.camera)
            shots = ring.cut(event.start, event.last) if ring and event.id not in self.whole else ()
            if over:
                self.recorder.put(alert, shots, tell=self.options.closings)
                self.whole.discard(event.id)
                self.unsaved = True
            else:
                self.recorder.put(alert, shots, event.frame)
                event.frame = None
                self.alerts += 1
                self.board.add("oddwatch_alerts_total", camera=event.camera)

    def _complete(self, stream: Stream, events: Sequence[Event], at: float) -> None:
        """Write the clip of an event that has lasted as long as a clip may, while its first pictures are still there."""
        for event in events:
            if event.told and event.id not in self.whole and at - event.start > self.options.longest:
                self.whole.add(event.id)
                shots = self.rings[event.camera].cut(event.start, at)
                self.recorder.put(Alert.of(event, stream.name, False), shots, tell=False)

    def _publish(self, alert: Alert) -> None:
        """Runs in the recorder's thread. Only what is on disk for all counts as told: after a crash in between it is told
        again rather than never."""
        self.lines.add(alert)
        for delivery in self.options.deliveries:
            delivery.put(alert)
        if alert.state == "open":
            self.published.add(alert.id)
        self.unsaved = True
        if self.on_alert is not None:
            self.on_alert(alert)

    def _housekeeping(self) -> None:
        now = self.beat = time.monotonic()
        if self.unsaved:
            self._save()
        if now - self.told_at >= 1.0:
            self.told_at = now
            self.options.budget.present([s.camera for s in self.streams if s.state.doing == "live"])
            self._count()
        if now - self.kept_at >= 60.0:
            self.kept_at = now
            self.keeper.sweep()
            self._save()
            _give_back()

    def _count(self) -> None:
        board = self.board
        for stream in self.streams:
            state, labels = stream.state, {"camera": stream.camera}
            live = state.doing == "live"
            board.set("oddwatch_up", float(live), **labels)
            board.set("oddwatch_frames_total", state.frames, **labels)
            board.set("oddwatch_dropped_frames_total", state.dropped, **labels)
            board.set("oddwatch_passed_frames_total", state.passed, **labels)
            board.set("oddwatch_broken_frames_total", state.broken, **labels)
            board.set("oddwatch_reconnects_total", state.reconnects, **labels)
            board.set("oddwatch_lag_seconds", state.lag, **labels)
            board.set(
                "oddwatch_looks_per_second",
                self.options.budget.rate(stream.camera) if live else 0.0,
                **labels,
            )
            going = sum(e.told for e in self.joiner.events(stream.camera))
            board.set("oddwatch_open_events", going, **labels)
        for delivery in self.options.deliveries:
            name = delivery.name
            board.set("oddwatch_deliveries_total", delivery.delivered, to=name)
            board.set("oddwatch_delivery_failures_total", delivery.failed, to=name)
            board.set("oddwatch_deliveries_refused_total", delivery.refused, to=name)
            board.set("oddwatch_deliveries_dropped_total", delivery.spool.dropped, to=name)
            board.set("oddwatch_spooled", len(delivery.spool), to=name)
        board.set("oddwatch_clips_left_out_total", self.recorder.without)
        board.set("oddwatch_kept_bytes", self.keeper.bytes)
        board.set("oddwatch_kept_deleted_total", self.keeper.deleted)

    def _health(self) -> tuple[bool, dict[str, Any]]:
        """Well: the loop goes round, and at least one source is live. Runs in a server's thread."""
        states = {s.camera: s.state for s in self.streams}
        quiet = time.monotonic() - self.beat
        well = quiet < 10.0 and any(s.doing == "live" for s in states.values())
        told = {name: {"doing": s.doing, "error": s.last_error} for name, s in states.items()}
        waiting = {d.name: len(d.spool) for d in self.options.deliveries}
        return well, {"cameras": told, "waiting": waiting, "quiet_seconds": round(quiet, 3)}

    def _save(self) -> None:
        self.unsaved = False
        going = {e.id for s in self.streams for e in self.joiner.events(s.camera) if e.told}
        # Events that were over before they were told would stay for ever.
        for gone in self.published - going - self.restored:
            self.published.discard(gone)
        part = self.state.with_name(".open.json.part")
        part.write_text(json.dumps(self.joiner.state(self.published)), "utf-8")
        part.replace(self.state)

    def _restore(self) -> None:
        if not self.state.exists():
            return
        try:
            before = json.loads(self.state.read_text("utf-8"))
            self.joiner.restore(before)
            self.restored = {e["id"] for entries in before.values() for e in entries}
            self.published |= self.restored
        except (OSError, ValueError, OddwatchError) as error:
            # Losing it costs a second alert of what still goes on; refusing to watch would cost all.
            log.warning("%s is not used: %s", printable(self.state), error)

    def _end(self) -> None:
        for stream in self.streams:
            stream.stop(0.0)
        for stream in self.streams:
            stream.stop(1.0)
        self.recorder.stop()
        self._save()
        until = time.monotonic() + self.options.flush
        for delivery in self.options.deliveries:
            delivery.stop(max(0.0, until - time.monotonic()))
        self.keeper.sweep()
        self._count()


def _give_back() -> None:
    """Hand freed memory back to the system: glibc keeps what many threads freed in pieces, some 70 MB after two minutes."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set ``stop`` (a second one does what it did before), where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def asked(number: int, _: object) -> None:
        # Not ready.set(): the loop may hold that event's lock at this very moment. It looks up four times a second.
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
