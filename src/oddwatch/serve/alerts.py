"""An alert, and the folder of what belongs to alerts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.jsonable import Jsonable
from oddwatch.media.names import printable
from oddwatch.serve.events import Event


@dataclass(frozen=True, slots=True)
class Alert(Jsonable):
    """What is told of an event.

    ``id`` is the event's, the same however often it is sent. ``start`` and ``end`` are seconds of the stream, ``end`` None
    while it goes on; ``wall_time`` is its start on the wall. ``box`` is in pixels of a picture of ``size`` (width,
    height). ``frame`` and ``clip`` are paths of a JPEG and a WebM, "" where there is none; the clip is written anew, whole,
    when the event is over. ``source`` shows no password.
    """

    id: str
    camera: str
    source: str
    zone: str
    state: Literal["open", "closed"]
    start: float
    end: float | None
    wall_time: datetime
    score: float
    severity: float | None = None
    probability: float | None = None
    cue: str = ""
    reason: str = ""
    box: Box | None = None
    size: tuple[int, int] = (0, 0)
    frame: str = ""
    clip: str = ""

    @classmethod
    def of(cls, event: Event, source: str, over: bool, frame: str = "", clip: str = "") -> Alert:
        """The alert of an event as it stands."""
        best = event.best
        return cls(
            event.id, event.camera, source, event.zone, "closed" if over else "open", round(event.start, 3),
            round(event.last, 3) if over else None, event.wall, best.score, best.severity, best.probability,
            best.cue, best.reason, best.box, event.size, frame, clip,
        )  # fmt: skip

    @property
    def key(self) -> str:
        """What a receiver tells repeats by: the id; for the news that it is over, the id and ``.closed``."""
        return self.id if self.state == "open" else f"{self.id}.closed"

    def line(self) -> str:
        """One line of JSON, without the line's end."""
        return json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)


class JsonLines:
    """A file to which alerts are added, a line each."""

    def __init__(self, path: str | Path) -> None:
        self.path, self._lock = Path(path), threading.Lock()

    def add(self, alert: Alert) -> None:
        """Write one line and hand it to the disk. A half line left by a crash is ended first."""
        with self._lock, self.path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(alert.line().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


class Keeper:
    """A folder of frames and clips that may take ``quota`` bytes and be ``days`` old; the oldest files go first.

    Only regular files inside the folder are ever deleted; links are neither followed nor counted.
    """

    def __init__(
        self,
        folder: str | Path,
        quota: int = 10 * 1024**3,
        days: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if quota < 1 or not days > 0:
            raise InputError("keeping", f"expected a quota and days above 0, got {quota}, {days}")
        self.folder, self.quota, self.days = Path(folder), quota, days
        self.deleted, self.bytes = 0, 0
        self._clock = clock

    def place(self, camera: str, moment: datetime, name: str) -> Path:
        """The path for a new file: FOLDER/2026-03-01/camera/name; its folder is made."""
        day = self.folder / moment.astimezone().strftime("%Y-%m-%d") / safe(camera)
        day.mkdir(parents=True, exist_ok=True)
        return day / name

    def sweep(self) -> int:
        """Delete what is too old, then the oldest until the rest fits; the number of files deleted."""
        files = []
        for root, folders, names in os.walk(self.folder, followlinks=False):
            folders[:] = [f for f in folders if not (Path(root) / f).is_symlink()]
            for name in names:
                path = Path(root) / name
                try:
                    info = path.lstat()
                except OSError:
                    continue
                if not path.is_symlink() and path.is_file():
                    files.append((info.st_mtime, info.st_size, path))
        files.sort(key=lambda f: (f[0], str(f[2])))
        total, oldest, gone = sum(f[1] for f in files), self._clock() - self.days * 86_400, 0
        for mtime, size, path in files:
            if mtime >= oldest and total <= self.quota:
                break
            path.unlink(missing_ok=True)
            total, gone = total - size, gone + 1
        if gone:
            self._tidy()
        self.deleted, self.bytes = self.deleted + gone, total
        return gone

    def _tidy(self) -> None:
        """Remove folders that have become empty."""
        for root, _, _ in os.walk(self.folder, topdown=False, followlinks=False):
            if Path(root) != self.folder:
                with contextlib.suppress(OSError):
                    Path(root).rmdir()

    def __repr__(self) -> str:
        return f"Keeper({printable(self.folder)}, {self.quota:,} bytes, {self.days:g} days)"


def safe(name: str) -> str:
    """A camera's name as a folder's: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:80] or "camera"
