"""How many cameras share the few frames a second that a machine can analyse."""

from __future__ import annotations

import math
from collections.abc import Iterable

from oddwatch.core.errors import InputError

_EPSILON = 1e-6


class Budget:
    """``per_second`` looks shared by the cameras that are there, ``least`` a second each where that is possible.

    What is left above ``least`` goes to the cameras by weight, so that one with something going on can be looked at more
    often. Where looks turn out to cost more than ``busy`` of the machine's time, all shares shrink by as much. Time is
    given, never read: the same questions get the same answers.

    Raises:
        InputError: a number that is not above 0.
    """

    def __init__(self, per_second: float = 6.0, least: float = 1.0, busy: float = 0.8) -> None:
        if not (math.isfinite(per_second) and per_second > 0 and least > 0 and 0 < busy <= 1):
            raise InputError("budget", f"expected numbers above 0, got {per_second}, {least}, {busy}")
        self.per_second, self.least, self.busy = per_second, least, busy
        self._weights: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._cost = 0.0

    def present(self, cameras: Iterable[str]) -> None:
        """These cameras share from now on; the share of one that is gone goes to the others."""
        names = set(cameras)
        self._weights = {n: self._weights.get(n, 1.0) for n in sorted(names)}
        self._due = {n: t for n, t in self._due.items() if n in names}

    def weigh(self, camera: str, weight: float) -> None:
        """How much of what is left above ``least`` a camera gets, beside the others' 1."""
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight of {camera}", f"expected a number above 0, got {weight}")
        self._weights[camera] = weight

    def took(self, seconds: float) -> None:
        """What the last look cost, in seconds of work."""
        self._cost = seconds if self._cost == 0 else 0.9 * self._cost + 0.1 * seconds

    @property
    def total(self) -> float:
        """Looks a second in all: ``per_second``, or what the machine can do."""
        return min(self.per_second, self.busy / self._cost) if self._cost > 0 else self.per_second

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
        due = self._due.get(camera, at)
        if at < due - _EPSILON:
            return False
        pause = 1.0 / self.rate(camera)
        # From the time it was due, not from now: frames come on a grid of their own. But no looks are made up for.
        self._due[camera] = due + pause if at - due < pause else at + pause
        return True
