"""Alerts on their way: a spool on disk, and a worker that empties it in order, however long the receiver is away."""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from pathlib import Path
from typing import Protocol, Self

from oddwatch.core.errors import InputError, OddwatchError
from oddwatch.media.names import printable
from oddwatch.media.streams import Backoff
from oddwatch.serve.alerts import Alert

log = logging.getLogger(__name__)
_FILE = re.compile(r"^(\d{12})\.([A-Za-z0-9._-]{1,100})\.json$")


class DeliveryError(OddwatchError):
    """A message was not taken. ``again``: whether to try it again (no: the receiver refuses this one for good)."""

    def __init__(self, problem: str, again: bool = True) -> None:
        self.again = again
        super().__init__(problem)


class Sender(Protocol):
    """One way of telling others. ``name`` shows no secret; ``send`` raises :class:`DeliveryError` where it is not taken."""

    name: str

    def send(self, key: str, body: bytes) -> None: ...

    def close(self) -> None: ...


class Spool:
    """Messages waiting in a folder, a file each, in order; at most ``most`` bytes, beyond that the oldest are dropped
    (and counted in ``dropped``). A file appears whole or not at all, and outlives the process.

    Messages that a receiver refuses for good are moved to ``refused/``, of which the newest 1000 are kept.
    """

    def __init__(self, folder: str | Path, most: int = 64 * 1024**2) -> None:
        if most < 1:
            raise InputError("spool", f"expected room for at least a byte, got {most}")
        self.folder, self.most = Path(folder), most
        self.dropped = 0
        try:
            (self.folder / "refused").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                printable(self.folder), f"cannot be made: {error.strerror}", "check rights"
            ) from error
        for left in self.folder.glob(".*.part"):
            left.unlink(missing_ok=True)
        self._lock = threading.Lock()
        names = sorted(n for n in os.listdir(self.folder) if _FILE.match(n))  # noqa: PTH208
        self._waiting = {n: (self.folder / n).stat().st_size for n in names}
        self._next = int(names[-1][:12]) + 1 if names else 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        with self._lock:
            return sum(self._waiting.values())

    def put(self, key: str, body: bytes) -> bool:
        """Add a message; False where one with this key is waiting already. Raises InputError for an odd key."""
        if not _FILE.match(f"{0:012d}.{key}.json"):
            raise InputError(f"message {key!r}", "expected letters, digits, dots, dashes, at most 100")
        with self._lock:
            if any(n[13:] == f"{key}.json" for n in self._waiting):
                return False
            name = f"{self._next:012d}.{key}.json"
            part = self.folder / f".{name}.part"
            with part.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / name)
            self._next += 1
            self._waiting[name] = len(body)
            while len(self._waiting) > 1 and sum(self._waiting.values()) > self.most:
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]
                (self.folder / oldest).unlink(missing_ok=True)
                self.dropped += 1
                log.error("%s is full: the oldest message was dropped", printable(self.folder))
        return True

    def first(self) -> tuple[str, str, bytes] | None:
        """File name, key and body of the message that has waited longest."""
        with self._lock:
            while self._waiting:
                name = next(iter(self._waiting))
                try:
                    found = _FILE.match(name)
                    assert found
                    return name, found[2], (self.folder / name).read_bytes()
                except FileNotFoundError:
                    del self._waiting[name]
        return None

    def done(self, name: str) -> None:
        """Take a message off."""
        with self._lock:
            self._waiting.pop(name, None)
            (self.folder / name).unlink(missing_ok=True)

    def refuse(self, name: str) -> None:
        """Put a message aside that will never be taken."""
        with self._lock:
            self._waiting.pop(name, None)
            aside = self.folder / "refused"
            (self.folder / name).replace(aside / name)
            for old in sorted(os.listdir(aside))[:-1000]:  # noqa: PTH208
                (aside / old).unlink(missing_ok=True)


class Delivery:
    """One receiver: a spool, a sender, and a worker that sends what waits, the oldest first, each until it is taken.

    ``delivered``, ``failed`` (tries) and ``refused`` count; ``last_error`` is "" while all is well.
    """

    def __init__(
        self, sender: Sender, spool: Spool, backoff: Backoff | None = None, seed: int | None = None
    ) -> None:
        self.sender, self.spool = sender, spool
        self.delivered = self.failed = self.refused = 0
        self.last_error = ""
        self._backoff, self._chance = backoff or Backoff(1.0, 60.0), random.Random(seed)
        self._wake, self._stopped, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._hurry = False
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The sender's."""
        return self.sender.name

    def start(self) -> Self:
        """Begin to send, what an earlier run left first."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"deliver {self.name}", daemon=True)
            self._thread.start()
        return self

    def put(self, alert: Alert) -> None:
        """Take an alert; returns when it is on disk."""
        self._idle.clear()
        self.spool.put(alert.key, alert.line().encode())
        self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Try at once and wait until nothing waits any more; False where ``timeout`` seconds did not do."""
        due = time.monotonic() + timeout
        self._hurry = True
        self._wake.set()
        while len(self.spool) and time.monotonic() < due and self._thread is not None:
            self._idle.wait(0.05)
            self._idle.clear()
        self._hurry = False
        return not len(self.spool)

    def stop(self, flush: float = 0.0) -> None:
        """End; what waits is tried for ``flush`` seconds and stays in the spool otherwise."""
        if flush > 0:
            self.flush(flush)
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self.sender.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        tries = 0
        while not self._stopped.is_set():
            self._wake.clear()
            message = self.spool.first()
            if message is None:
                self._idle.set()
                self._wake.wait(1.0)
                continue
            if self._sent(*message):
                tries = 0
            else:
                tries += 1
                # A new alert does not shorten the pause: the receiver is as away for it as for the others.
                pause = 0.2 if self._hurry else self._backoff.pause(tries, self._chance)
                self._pause(pause)

    def _pause(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        while not self._stopped.is_set() and (left := due - time.monotonic()) > 0:
            hurried = self._hurry
            self._wake.wait(min(left, 1.0))
            self._wake.clear()
            if self._hurry and not hurried:
                return

    def _sent(self, name: str, key: str, body: bytes) -> bool:
        """Whether the message is off the spool."""
        try:
            self.sender.send(key, body)
        except DeliveryError as error:
            self.failed += 1
            if self.last_error != str(error):
                log.warning("%s: %s", self.name, error)
            self.last_error = str(error)
            if error.again:
                return False
            self.refused += 1
            self.spool.refuse(name)
            return True
        self.delivered += 1
        self.last_error = ""
        self.spool.done(name)
        return True
