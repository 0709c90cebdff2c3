"""How many cameras share the few frames a second that a machine can analyse."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from oddwatch.core.errors import InputError

_EPSILON = 1e-6
_LOOKS, _FRAMES = 20, 100
"""How many of the last looks, and of the last frames without one, tell what the next will cost."""


class Budget:
    """``per_second`` looks shared by the cameras that are there, ``least`` a second each where that is possible.

    What is left above ``least`` goes to the cameras by weight, so that one with something going on can be looked at more
    often. Work is planned for ``busy`` of the time of ``workers``, which judge so many frames at once: first ``least``
    looks of each camera, then ``steady`` frames a second of each for their movement, then the other looks, and what is left
    for the movement of more frames (:meth:`since`). Time is given, never read: the same questions get the same answers.

    Raises:
        InputError: a number that is not above 0.
    """

    def __init__(
        self,
        per_second: float = 6.0,
        least: float = 1.0,
        busy: float = 0.9,
        steady: float = 6.0,
        workers: int = 1,
    ) -> None:
        numbers = (per_second, least, busy, steady, workers)
        if not all(math.isfinite(n) and n > 0 for n in numbers) or busy > 1:
            raise InputError("budget", f"expected numbers above 0, busy up to 1, got {numbers}")
        self.per_second, self.least, self.busy, self.steady = per_second, least, busy, steady
        self.workers = workers
        self._weights: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._next: dict[str, float] = {}
        self._looks: deque[float] = deque(maxlen=_LOOKS)
        self._frames: deque[float] = deque(maxlen=_FRAMES)

    def present(self, cameras: Iterable[str]) -> None:
        """These cameras share from now on; the share of one that is gone goes to the others."""
        names = set(cameras)
        self._weights = {n: self._weights.get(n, 1.0) for n in sorted(names)}
        self._due = {n: t for n, t in self._due.items() if n in names}
        self._next = {n: t for n, t in self._next.items() if n in names}

    def weigh(self, camera: str, weight: float) -> None:
        """How much of what is left above ``least`` a camera gets, beside the others' 1."""
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight of {camera}", f"expected a number above 0, got {weight}")
        self._weights[camera] = weight

    def took(self, seconds: float, look: bool = True) -> None:
        """What the last look cost, or the last frame without one, in seconds of a worker."""
        (self._looks if look else self._frames).append(seconds)

    @property
    def total(self) -> float:
        """Looks a second in all: ``per_second``, or what the machine can do."""
        look, frame, cameras = _mean(self._looks), _mean(self._frames), max(1, len(self._weights))
        if look == 0:
            return self.per_second
        able, work = self.busy * self.workers, cameras * self.steady * frame
        sure = min(self.least * cameras, able / look)
        return min(self.per_second, max(sure, (able - work) / look))

    @property
    def pace(self) -> float:
        """Frames a second of each camera that leave room for the looks; infinite where nothing is known yet."""
        frame, cameras = _mean(self._frames), max(1, len(self._weights))
        if frame == 0:
            return math.inf
        left = self.busy * self.workers - self.total * _mean(self._looks)
        return max(self.steady, left / (cameras * frame))

    def since(self, camera: str) -> float:
        """The time from which on a frame of ``camera`` is wanted; earlier ones are better passed over."""
        return min(self._next.get(camera, -math.inf), self._due.get(camera, -math.inf)) - _EPSILON

    def rate(self, camera: str) -> float:
        """Looks a second that a camera gets."""
        weights = self._weights if camera in self._weights else {**self._weights, camera: 1.0}
        sure = min(self.least, self.total / len(weights))
        left = self.total - sure * len(weights)
        return sure + left * weights[camera] / sum(weights.values())

    def ask(self, camera: str, at: float) -> bool:
        """Whether the frame of ``camera`` at ``at`` seconds (its own clock, growing) is to be looked at; says yes at most
        :meth:`rate` times a second on average, first at once."""
        self._weights.setdefault(camera, 1.0)
        self._next[camera] = _after(self._next.get(camera, at), at, 1.0 / self.pace)
        due = self._due.get(camera, at)
        if at < due - _EPSILON:
            return False
        self._due[camera] = _after(due, at, 1.0 / self.rate(camera))
        return True


def _after(due: float, at: float, pause: float) -> float:
    """When it is due again: from the time it was due, not from when it was done, as frames come on a grid of their own.
    But nothing is made up for."""
    return min(due, at) + pause if at - due < pause else at + pause


def _mean(values: deque[float]) -> float:
    """0 of none."""
    return sum(values) / len(values) if values else 0.0
