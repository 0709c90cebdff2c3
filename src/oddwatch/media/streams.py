"""A live source that goes on: reconnects by itself, never falls behind, and says what it is doing."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

import av
import httpx

from oddwatch.core.errors import InputError, OddwatchError
from oddwatch.core.jsonable import Jsonable
from oddwatch.core.media import Frame
from oddwatch.media import feeds
from oddwatch.media.addresses import checked, masked
from oddwatch.media.feeds import Feed, Shot
from oddwatch.media.limits import Limits

log = logging.getLogger(__name__)
Doing = Literal["idle", "connecting", "live", "waiting", "ended"]

_JUMP = 2.0
"""Seconds by which a camera's own clock may run off before it is set anew."""

_STEADY = 5.0
"""Seconds a connection must last for the next pause to be the shortest again."""


@dataclass(frozen=True, slots=True)
class StreamState(Jsonable):
    """What a stream is doing: ``frames`` handed out, ``dropped`` because nobody took them in time, ``passed`` over
    because whoever takes them wanted fewer, ``broken`` that could not be decoded, ``lag`` seconds between arrival and
    hand-out of the last frame, ``last_error`` "" if none."""

    name: str
    doing: Doing = "idle"
    frames: int = 0
    dropped: int = 0
    broken: int = 0
    reconnects: int = 0
    lag: float = 0.0
    last_error: str = ""
    passed: int = 0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between tries: ``first`` seconds, doubled each time up to ``most``; of each a random half, so that many
    clients of one rebooted switch do not come back at once."""

    first: float = 0.5
    most: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.most < 3600:
            raise InputError("back-off", f"expected 0 < first ≤ most < 3600 s, got {self.first}, {self.most}")

    def pause(self, tries: int, chance: random.Random) -> float:
        """Seconds to wait after ``tries`` failures in a row (from 1): between half and the whole of the pause."""
        whole = min(self.most, self.first * 2.0 ** min(max(tries, 1) - 1, 30))
        return whole * (0.5 + 0.5 * chance.random())


class Timeline:
    """Times that only grow, whatever a camera's clock does: the source's own timestamps while they agree with the
    clock on the wall to 2 s, set anew where they jump and after each reconnect."""

    def __init__(self) -> None:
        self.last = -1.0
        self._anchor: float | None = None

    def restart(self) -> None:
        """A new connection: its timestamps begin anywhere."""
        self._anchor = None

    def place(self, pts: float | None, elapsed: float) -> float:
        """Seconds since the stream began, for a picture that came ``elapsed`` seconds after it."""
        at = elapsed
        if pts is not None:
            if self._anchor is None or abs(self._anchor + pts - elapsed) > _JUMP:
                self._anchor = elapsed - pts
            at = self._anchor + pts
        return self._grown(at)

    def follow(self, pts: float | None) -> float:
        """Seconds in a row of files, each beginning where the one before ended."""
        if self._anchor is None:
            self._anchor = 0.0 if self.last < 0 else self.last + 0.04
        return self._grown(self._anchor + (pts or 0.0))

    def _grown(self, at: float) -> float:
        self.last = max(at, self.last + 0.001, 0.0)
        return self.last


@dataclass(frozen=True, slots=True)
class _Waiting:
    shot: Shot
    time: float
    wall: datetime
    arrived: float
    index: int


class Stream:
    """One live source, read by a thread of its own.

    ``source``: rtsp(s)://…, http(s)://… (Motion JPEG or a video container), a video file (``pace``: as a camera would
    give it; ``loop``: again and again), a camera's number, or a folder that is being written (``existing``: what is
    there already too). ``queue``: pictures kept at most; of a live source only the newest, none older than ``stale``
    seconds, so the lag is bounded and drops are counted; files wait instead and drop nothing. ``timeout`` seconds
    without a picture count as a lost connection; then it reconnects with ``backoff``, for ever, or ``retries`` times in
    a row. Frames carry :attr:`name` (no secrets in it), a time that only grows, and the wall time; ``start`` is when an
    unpaced file was filmed (default: now); ``verify`` False takes an https camera's own certificate.

    Raises:
        InputError: an address of another kind, or a path that does not exist.
    """

    def __init__(
        self,
        source: str | int | Path,
        camera: str = "",
        *,
        pace: bool = False,
        loop: bool = False,
        existing: bool = False,
        start: datetime | None = None,
        transport: Literal["tcp", "udp"] = "tcp",
        verify: bool = True,
        timeout: float = 10.0,
        queue: int = 16,
        stale: float = 1.0,
        backoff: Backoff | None = None,
        retries: int | None = None,
        limits: Limits | None = None,
        seed: int | None = None,
    ) -> None:
        self.kind = feeds.what(source)
        self.name = feeds.shown(source)
        self.camera = camera or self.name
        if self.kind in ("rtsp", "http") or (isinstance(source, str) and "://" in source):
            checked(str(source))
        elif not self.kind:
            raise InputError(self.name, "does not exist", "an address, a file, a folder or a camera's number")
        if not (timeout > 0 and stale > 0 and queue > 0):
            raise InputError(
                self.name, f"expected timeout, stale and queue above 0, got {timeout}, {stale}, {queue}"
            )
        self.live = self.kind in ("rtsp", "http", "camera") or (self.kind == "file" and pace)
        self._source, self._pace, self._loop, self._existing = source, pace, loop, existing
        self._start, self._transport, self._timeout, self._verify = start, transport, timeout, verify
        self._queue, self._stale, self._retries = queue, stale, retries
        self._backoff, self._limits = backoff or Backoff(), limits or Limits()
        self._ready, self._chance = threading.Event(), random.Random(seed)
        self._stopped, self._changed = threading.Event(), threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._timeline = Timeline()
        self._doing: Doing = "idle"
        self._frames = self._dropped = self._passed = self._broken = self._reconnects = self._index = 0
        self._lag, self._error, self._began = 0.0, "", 0.0
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Stream({self.name}, {self._doing})"

    @property
    def state(self) -> StreamState:
        """What it is doing, and the counts so far."""
        with self._changed:
            return StreamState(
                self.name, self._doing, self._frames, self._dropped, self._broken, self._reconnects,
                round(self._lag, 4), self._error, self._passed,
            )  # fmt: skip

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more and nothing waits to be taken."""
        with self._changed:
            return self._doing == "ended" and not self._waiting

    def tell(self, ready: threading.Event) -> None:
        """Set ``ready`` whenever a frame comes or the state changes; one event may serve many streams."""
        self._ready = ready

    @property
    def started(self) -> bool:
        """Whether it has been told to begin."""
        return self._thread is not None

    def start(self) -> Self:
        """Begin to read. Once."""
        if self._thread is not None:
            raise InputError(self.name, "has been started before", "make a new Stream")
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"stream {self.camera}", daemon=True)
        self._thread.start()
        return self

    def stop(self, wait: float = 2.0) -> None:
        """End reading; waits up to ``wait`` seconds for the connection to close."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(wait)
        with self._changed:
            self._waiting.clear()
            self._doing = "ended"

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends or is stopped."""
        while not self.ended:
            frame = self.take(0.5)
            if frame is not None:
                yield frame

    def take(self, timeout: float = 0.0, since: float = 0.0) -> Frame | None:
        """The next frame, or None where none came within ``timeout`` seconds or the source has ended. Frames of a live
        source from before ``since`` seconds of its time are passed over, at no cost."""
        due = time.monotonic() + timeout
        while (waiting := self._next(due, since)) is not None:
            try:
                frame = Frame(waiting.shot.pixels(), self.name, waiting.time, waiting.index, waiting.wall)
            except (OddwatchError, av.error.FFmpegError, ValueError) as error:
                with self._changed:
                    self._broken += 1
                    self._error = masked(str(error))
                continue
            with self._changed:
                self._frames += 1
                self._lag = time.monotonic() - waiting.arrived
            return frame
        return None

    def _next(self, due: float, since: float) -> _Waiting | None:
        with self._changed:
            while True:
                while self.live and self._waiting and self._waiting[0].time < since:
                    self._waiting.popleft()
                    self._passed += 1
                if self._waiting:
                    break
                left = due - time.monotonic()
                if self._doing == "ended" or left <= 0:
                    return None
                self._changed.wait(left)
            now = time.monotonic()
            while self.live and len(self._waiting) > 1 and now - self._waiting[0].arrived > self._stale:
                self._waiting.popleft()
                self._dropped += 1
            taken = self._waiting.popleft()
            self._changed.notify_all()
            return taken

    # What follows runs in the reader's thread.

    def _run(self) -> None:
        tries = 0
        while not self._stopped.is_set():
            self._say("connecting")
            self._timeline.restart()
            began = time.monotonic()
            came, error = self._connection()
            tries = 1 if came and time.monotonic() - began > _STEADY else tries + 1
            if self._stopped.is_set() or self._over(error, tries):
                break
            if error:
                log.warning("%s: %s", self.camera, error)
            self._say("waiting", error)
            pause = 0.0 if self.kind == "file" and not error else self._backoff.pause(tries, self._chance)
            if self._stopped.wait(pause):
                break
            with self._changed:
                self._reconnects += 1
        self._say("ended")

    def _over(self, error: str, tries: int) -> bool:
        if self.kind == "file" and (error or not self._loop):
            self._say("ended", error)
            return True
        if self._retries is not None and tries > self._retries:
            self._say("ended", error)
            return True
        return False

    def _say(self, doing: Doing, error: str = "") -> None:
        with self._changed:
            self._doing = doing
            self._error = error or self._error
            self._changed.notify_all()
        self._ready.set()

    def _connection(self) -> tuple[bool, str]:
        """Read until it breaks: whether pictures came, and why it broke ("" at a regular end)."""
        came = False
        try:
            for shot in self._feed():
                if not came:
                    self._say("live")
                came = True
                self._put(shot)
                if self._stopped.is_set():
                    break
        except (OddwatchError, OSError, httpx.HTTPError, av.error.FFmpegError, ValueError) as error:
            return came, masked(str(error) or type(error).__name__)
        if self.live and self.kind != "file":
            return came, "the source ended the connection"
        return came, ""

    def _feed(self) -> Feed:
        source, stopped, limits = self._source, self._stopped, self._limits
        if self.kind == "rtsp":
            return feeds.rtsp(str(source), stopped, limits, self._timeout, self._transport)
        if self.kind == "http":
            return feeds.http(str(source), stopped, limits, self._timeout, self._verify)
        if self.kind == "camera":
            return feeds.camera(int(str(source)), stopped, limits)
        path = Path(source)  # type: ignore[arg-type]
        if self.kind == "folder":
            return feeds.folder(path, stopped, limits, existing=self._existing, note=self._note)
        shots = feeds.video(path, stopped, limits)
        return feeds.paced(shots, stopped) if self._pace else shots

    def _note(self, error: str) -> None:
        log.warning("%s: %s", self.camera, error)
        with self._changed:
            self._broken += 1
            self._error = error

    def _put(self, shot: Shot) -> None:
        now = time.monotonic()
        time_, wall = self._placed(shot, now - self._began)
        with self._changed:
            self._index += 1
            waiting = _Waiting(shot, time_, wall, now, self._index - 1)
            while len(self._waiting) >= self._queue and not self._stopped.is_set():
                if self.live:
                    self._waiting.popleft()
                    self._dropped += 1
                else:
                    self._changed.wait(0.5)
            self._waiting.append(waiting)
            self._changed.notify_all()
        self._ready.set()

    def _placed(self, shot: Shot, elapsed: float) -> tuple[float, datetime]:
        now = datetime.now(UTC)
        if self.live:
            at = self._timeline.place(shot.pts, elapsed)
            return at, now - timedelta(seconds=elapsed - at)
        if self._start is None:
            self._start = shot.wall or now
        if shot.wall is not None:
            # Pictures of a folder lie as far apart as they were filmed.
            since = (shot.wall - self._start).total_seconds()
            return self._timeline.place(None, since), shot.wall
        at = self._timeline.follow(shot.pts)
        return at, self._start + timedelta(seconds=at)
