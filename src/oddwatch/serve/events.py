"""Signs, frame by frame, joined to events that are told once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.jsonable import Jsonable
from oddwatch.core.media import Frame
from oddwatch.serve.rules import Rule, Rules

_BLINK = 2.0
"""Seconds between two frames from which on the camera counts as having been away."""
_MOST = 64
"""Events open at once on one camera; a judge that reports more is not worth a message each."""


@dataclass(frozen=True, slots=True)
class Sign(Jsonable):
    """Something abnormal in one frame, as a judge reports it.

    ``key`` joins the signs of one thing (a track, a sentence; the ``cue`` by default); ``since`` is when it began
    (seconds of the stream), where the judge knows that it was before this frame; ``over`` says that it ends here.
    """

    score: float
    box: Box | None = None
    cue: str = ""
    reason: str = ""
    probability: float | None = None
    severity: float | None = None
    key: str = ""
    since: float | None = None
    over: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise InputError("sign", f"expected a finite score, got {self.score}")
        if self.since is not None and not math.isfinite(self.since):
            raise InputError("sign", f"expected a finite start, got {self.since}")


@dataclass(slots=True, eq=False)
class Event:
    """A thing that goes on: ``start`` and ``last`` seconds of the stream, ``wall`` the start on the wall, ``best`` its
    strongest sign so far and ``frame`` the picture of that one (None once it has been told)."""

    camera: str
    zone: str
    key: str
    rule: Rule
    start: float
    last: float
    wall: datetime
    best: Sign
    size: tuple[int, int]
    frame: Frame | None = None
    id: str = ""
    told: bool = False
    quiet: float = 0.0
    missed: int = 0

    def named(self) -> str:
        """The id: of camera, zone, key and start, so that the same footage gives the same one again."""
        text = f"{self.camera}\n{self.zone}\n{self.key}\n{self.wall.isoformat(timespec='milliseconds')}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Change:
    """An event that has become one (``opened``: told from now on) or is over (``closed``)."""

    what: Literal["opened", "closed"]
    event: Event


@dataclass
class _Camera:
    time: float | None = None
    events: dict[tuple[str, str], Event] = field(default_factory=dict)
    before: list[dict[str, Any]] = field(default_factory=list)


class Joiner:
    """Joins the signs of each camera to events by the rules.

    An event opens when its signs have lasted the rule's minimum, and closes after the rule's gap without one: seconds
    that were watched, at least one look among them. While a camera is away (no frame for 2 s) nothing is known, so the
    gap does not run, unless it is away for more than ``hold`` seconds: then its events are over.
    """

    def __init__(self, rules: Rules | None = None, hold: float = 120.0) -> None:
        self.rules, self.hold = rules or Rules(), hold
        self.unjoined = 0
        self._cameras: dict[str, _Camera] = {}

    def events(self, camera: str) -> list[Event]:
        """The events of a camera that are not over, told or not."""
        seen = self._cameras.get(camera)
        return list(seen.events.values()) if seen else []

    def update(self, camera: str, frame: Frame, signs: Sequence[Sign], looked: bool = True) -> list[Change]:
        """Take in a frame (with time and wall time) and what was seen in it. Raises InputError without those times."""
        if frame.time is None or frame.wall_time is None:
            raise InputError(frame.source or "frame", "expected a time and a wall time")
        seen = self._cameras.setdefault(camera, _Camera())
        passed = 0.0 if seen.time is None else frame.time - seen.time
        seen.time = frame.time
        changes = self._adopted(seen, frame)
        if passed > self.hold:
            changes += self._closed(seen, list(seen.events))
        watched = passed if passed <= _BLINK else 0.0
        touched = {at for sign in signs if (at := self._joined(camera, seen, frame, sign)) is not None}
        for at, event in list(seen.events.items()):
            if at not in touched:
                event.quiet += watched
                event.missed += looked
                if event.missed and event.quiet >= event.rule.gap:
                    changes += self._closed(seen, [at])
                continue
            if not event.told and event.last - event.start >= event.rule.minimum - 1e-6:
                event.id, event.told = event.named(), True
                changes.append(Change("opened", event))
        over = [at for at in touched if any(s.over and (s.key or s.cue) == at[1] for s in signs)]
        return changes + self._closed(seen, over)

    def _joined(self, camera: str, seen: _Camera, frame: Frame, sign: Sign) -> tuple[str, str] | None:
        """Add a sign to its event; where that is, or None where the sign does not count."""
        assert frame.time is not None and frame.wall_time is not None
        placed = self.rules.of(camera).place(sign.box, frame.width, frame.height)
        if placed is None or not placed[1].passes(sign.score, self.rules.hour(frame.wall_time)):
            return None
        zone, rule = placed
        at = zone, sign.key or sign.cue
        start = frame.time if sign.since is None else min(sign.since, frame.time)
        event = seen.events.get(at)
        if event is None:
            if len(seen.events) >= _MOST:
                self.unjoined += 1
                return None
            wall = frame.wall_time - timedelta(seconds=frame.time - start)
            size = frame.width, frame.height
            seen.events[at] = Event(camera, *at, rule, start, frame.time, wall, sign, size, frame)
            return at
        if start < event.start and not event.told:
            event.wall -= timedelta(seconds=event.start - start)
            event.start = start
        event.last, event.quiet, event.missed = frame.time, 0.0, 0
        if sign.score > event.best.score:
            event.best, event.size = sign, (frame.width, frame.height)
            event.frame = None if event.told else frame
        return at

    def _closed(self, seen: _Camera, which: Sequence[tuple[str, str]]) -> list[Change]:
        gone = [seen.events.pop(at) for at in which if at in seen.events]
        return [Change("closed", e) for e in gone if e.told]

    def finish(self) -> list[Change]:
        """All events are over: nothing will come any more."""
        return [c for seen in self._cameras.values() for c in self._closed(seen, list(seen.events))]

    def state(self, told: Container[str] | None = None) -> dict[str, Any]:
        """What has been told and is not over, as JSON: so that a restarted watch does not tell it again.

        ``told``: only the events with these ids are known to have been.
        """
        out: dict[str, Any] = {}
        for name, seen in self._cameras.items():
            sure = [e for e in seen.events.values() if e.told and (told is None or e.id in told)]
            told_here = [_to_json(e) for e in sure] + seen.before
            if told_here:
                out[name] = told_here
        return out

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another joiner stopped. Raises InputError where the state does not fit."""
        try:
            for name, entries in state.items():
                for entry in entries:
                    datetime.fromisoformat(entry["wall"]), datetime.fromisoformat(entry["until"])
                    Sign.from_json(entry["best"]), str(entry["id"]), str(entry["zone"]), str(entry["key"])
                    width, height = entry["size"]
                    entry["size"] = int(width), int(height)
                self._cameras.setdefault(str(name), _Camera()).before = list(entries)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("events state", f"does not fit: {error!r}", "delete the file") from error

    def _adopted(self, seen: _Camera, frame: Frame) -> list[Change]:
        """Take over what was open before the restart, now that the camera is there; what is too old is over."""
        assert frame.time is not None and frame.wall_time is not None
        changes: list[Change] = []
        entries, seen.before = seen.before, []
        for entry in entries:
            wall, until = (datetime.fromisoformat(entry[k]) for k in ("wall", "until"))
            start, last = (frame.time - (frame.wall_time - t).total_seconds() for t in (wall, until))
            best = Sign.from_json(entry["best"])
            rules = self.rules.of(str(entry.get("camera", "")))
            rule = next((z.rule for z in rules.zones if z.name == entry["zone"]), rules.rule)
            event = Event(
                str(entry.get("camera", "")), entry["zone"], entry["key"], rule, start, last, wall, best,
                entry["size"], None, entry["id"], True,
            )  # fmt: skip
            if not 0 <= frame.time - last <= self.hold:
                changes.append(Change("closed", event))
            else:
                seen.events[event.zone, event.key] = event
        return changes


def _to_json(event: Event) -> dict[str, Any]:
    until = event.wall + timedelta(seconds=event.last - event.start)
    return {
        "id": event.id,
        "camera": event.camera,
        "zone": event.zone,
        "key": event.key,
        "wall": event.wall.isoformat(),
        "until": until.isoformat(),
        "best": event.best.to_json(),
        "size": list(event.size),
    }
