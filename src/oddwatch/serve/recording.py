"""The last seconds of each camera, and the frames and clips that are written of them beside the watching."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from oddwatch.core.errors import OddwatchError
from oddwatch.core.media import Frame
from oddwatch.media import clips
from oddwatch.serve.alerts import Alert, Keeper

log = logging.getLogger(__name__)
_SLACK = 0.5
_WAITING = 32
"""Events whose clip is waiting to be written; with more at once the next ones go without."""


def jpeg(pixels: np.ndarray, tallest: int | None = None, quality: int = 85) -> bytes:
    """(H, W, 3) RGB as JPEG, scaled down to ``tallest`` pixels where it is taller."""
    if tallest is not None and pixels.shape[0] > tallest:
        size = max(1, round(pixels.shape[1] * tallest / pixels.shape[0])), tallest
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return bytes(data)


Shots = tuple[tuple[float, bytes], ...]


class Ring:
    """The last seconds of a camera as small JPEGs: ``before`` seconds, and up to ``longest`` more from ``since`` on, when
    something is going on."""

    def __init__(self, before: float, longest: float, fps: float, tallest: int) -> None:
        self.before, self.longest, self.fps, self.tallest = before, longest, fps, tallest
        self._shots: deque[tuple[float, bytes]] = deque()
        self._due = 0.0

    def add(self, frame: Frame, since: float | None) -> None:
        """Take a frame, unless it comes too soon after the last one."""
        now = frame.time or 0.0
        if now < self._due - 1e-3:
            return
        self._due = max(self._due + 1.0 / self.fps, now + 0.5 / self.fps)
        began = now if since is None else max(since, now - self.longest - 2 * _SLACK)
        while self._shots and self._shots[0][0] < began - self.before - _SLACK:
            self._shots.popleft()
        self._shots.append((now, jpeg(frame.pixels, self.tallest, 80)))

    def cut(self, start: float, end: float) -> Shots:
        """What there is from ``before`` seconds before ``start`` to ``end``, at most ``longest`` after ``start``."""
        last = min(end, start + self.longest)
        return tuple(s for s in self._shots if start - self.before <= s[0] <= last + _SLACK)


@dataclass
class _Job:
    alert: Alert
    picture: Frame | None
    shots: Shots
    tell: bool


class Recorder:
    """Writes frames and clips in a thread of its own, then hands the alert to ``publish`` (called in that thread, in
    order).

    An alert never waits for a clip that cannot be made: it then goes without.
    """

    def __init__(self, keeper: Keeper, publish: Callable[[Alert], None], fps: float) -> None:
        self.keeper, self.without = keeper, 0
        self.error: Exception | None = None
        self._publish, self._fps = publish, fps
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._files: dict[str, tuple[str, str]] = {}
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout: float = 60.0) -> None:
        """Write what is left, then end."""
        self._jobs.put(None)
        self._thread.join(timeout)

    def put(self, alert: Alert, shots: Shots = (), picture: Frame | None = None, tell: bool = True) -> None:
        """Write ``picture`` and a clip of ``shots`` (over the event's earlier one), then ``tell`` the alert or not."""
        if self._jobs.qsize() >= _WAITING and shots:
            shots, self.without = (), self.without + 1
        self._jobs.put(_Job(alert, picture, shots, tell))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._do(job)
            except Exception as error:
                log.exception("an alert of %s could not be told", job.alert.camera)
                # The watch raises it: an alert that cannot be told is no small matter.
                self.error = error

    def _do(self, job: _Job) -> None:
        alert = job.alert
        frame, clip = self._files.pop(alert.id, ("", ""))
        frame, clip = self._frame(job) or frame, self._clip(job) or clip
        if alert.state == "open":
            self._files[alert.id] = frame, clip
        if job.tell:
            self._publish(replace(alert, frame=frame, clip=clip))

    def _frame(self, job: _Job) -> str:
        if job.picture is None:
            return ""
        try:
            path = self.keeper.place(job.alert.camera, job.alert.wall_time, f"{job.alert.id}.jpg")
            path.write_bytes(jpeg(job.picture.pixels, quality=90))
        except OSError as error:
            log.error("no frame of an alert of %s: %s", job.alert.camera, error)
            return ""
        return str(path.absolute())

    def _clip(self, job: _Job) -> str:
        if not job.shots:
            return ""
        try:
            path = self.keeper.place(job.alert.camera, job.alert.wall_time, f"{job.alert.id}.webm")
            clips.write(_frames(job.shots), path, self._fps)
        except (OddwatchError, OSError) as error:
            log.error("no clip of an alert of %s: %s", job.alert.camera, error)
            return ""
        return str(path.absolute())


def _frames(shots: Iterable[tuple[float, bytes]]) -> Iterator[Frame]:
    for time, data in shots:
        bgr = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        yield Frame(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), "", time)
