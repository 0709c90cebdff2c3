"""What becomes an alert: thresholds by camera, zone and hour, least duration, merge gap; and the joining of signs to events.

A rules file is TOML or JSON; every key may be left out:

    timezone = "Europe/Berlin"     # of the hours; the machine's own by default
    threshold = 0.8                # a sign counts from this score on; left out, all that the judge reports count
    minimum = 1.0                  # seconds a thing must last before it is told
    gap = 5.0                      # seconds of quiet after which it is over
    [[hours]]
    from = 22                      # 22:00 to 06:00
    to = 6
    threshold = 0.6
    [cameras.gate]                 # the same keys again for one camera
    only_zones = false             # true: what lies in no zone does not count
    anchor = "foot"                # the point of a box that must lie in a zone: foot (middle of its lower edge) or center
    [[cameras.gate.zones]]         # and again for one zone; the first zone that holds the point counts
    name = "door"
    polygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 1.0], [0.1, 1.0]]     # shares of width and height, from the top left
    ignore = false                 # true: what lies in it does not count

A threshold given for a camera or zone replaces those of all hours above it.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.media.names import printable

_RULE = {"threshold", "minimum", "gap", "hours"}


@dataclass(frozen=True, slots=True)
class Rule:
    """``thresholds`` for the hours 0–23 (None: every sign counts), ``minimum`` and ``gap`` in seconds."""

    thresholds: tuple[float | None, ...] = (None,) * 24
    minimum: float = 1.0
    gap: float = 5.0

    def passes(self, score: float, hour: int) -> bool:
        """Whether a sign of this score counts at this hour."""
        threshold = self.thresholds[hour]
        return threshold is None or score >= threshold

    def changed(self, data: Mapping[str, Any], where: str) -> Rule:
        """This rule with what a table of the file says of its own. Raises InputError where that does not fit."""
        thresholds = list(self.thresholds)
        if "threshold" in data:
            thresholds = [_number(data["threshold"], f"{where}.threshold")] * 24
        for entry in _tables(data.get("hours", []), f"{where}.hours"):
            first, last = (_hour(entry.get(k), f"{where}.hours.{k}") for k in ("from", "to"))
            value = _number(entry.get("threshold"), f"{where}.hours.threshold")
            for step in range((last - first) % 24 or 24):
                thresholds[(first + step) % 24] = value
        minimum = _number(data.get("minimum", self.minimum), f"{where}.minimum", least=0.0)
        gap = _number(data.get("gap", self.gap), f"{where}.gap", least=0.0)
        return Rule(tuple(thresholds), minimum, gap)


@dataclass(frozen=True, slots=True)
class Zone:
    """A named polygon of a camera's picture: (K, 2) shares of width and height."""

    name: str
    polygon: tuple[tuple[float, float], ...]
    rule: Rule = field(default_factory=Rule)
    ignore: bool = False

    def __post_init__(self) -> None:
        points = np.asarray(self.polygon, np.float64)
        if points.ndim != 2 or points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise InputError(f"zone {self.name}", "expected a polygon of at least three [x, y]")
        if points.min() < 0 or points.max() > 1:
            raise InputError(f"zone {self.name}", "expected shares of width and height between 0 and 1")

    def holds(self, x: float, y: float) -> bool:
        """Whether a point (shares of width and height) lies in the polygon or on its edge."""
        import cv2

        outline = np.asarray(self.polygon, np.float32).reshape(-1, 1, 2)
        return bool(cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0)


@dataclass(frozen=True, slots=True)
class CameraRules:
    """The rule of a camera's picture as a whole, and of its zones."""

    rule: Rule = field(default_factory=Rule)
    zones: tuple[Zone, ...] = ()
    only_zones: bool = False
    anchor: Literal["foot", "center"] = "foot"

    def place(self, box: Box | None, width: int, height: int) -> tuple[str, Rule] | None:
        """The zone's name ("" outside all) and rule for a box in pixels; None where it does not count.

        A sign without a box is of the whole picture, so of no zone.
        """
        if box is not None:
            x = box.center[0] / width
            y = (box.y1 if self.anchor == "foot" else box.center[1]) / height
            # A box cut by the picture's edge still stands at that edge.
            x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
            for zone in self.zones:
                if zone.holds(x, y):
                    return None if zone.ignore else (zone.name, zone.rule)
        return None if self.only_zones else ("", self.rule)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of all cameras: ``default`` for those that have none of their own, hours in ``timezone`` (None: the
    machine's)."""

    default: CameraRules = field(default_factory=CameraRules)
    cameras: Mapping[str, CameraRules] = field(default_factory=dict)
    timezone: tzinfo | None = None

    def of(self, camera: str) -> CameraRules:
        """A camera's rules."""
        return self.cameras.get(camera, self.default)

    def hour(self, moment: datetime) -> int:
        """The hour of the day, 0–23, in which an aware moment lies."""
        return moment.astimezone(self.timezone).hour

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """From a TOML or JSON file. Raises InputError that names what does not fit."""
        path = Path(path)
        try:
            text = path.read_text("utf-8")
            data = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        except OSError as error:
            raise InputError(
                printable(path), f"cannot be read: {error.strerror}", "check path and rights"
            ) from error
        except ValueError as error:
            raise InputError(
                printable(path), f"is neither TOML nor JSON: {error}", "see docs of the rules"
            ) from error
        return cls.parse(data)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """From the tables of a rules file. Raises InputError that names what does not fit."""
        _known(data, _RULE | {"timezone", "cameras", "anchor"}, "rules")
        name = data.get("timezone")
        try:
            timezone = None if name is None else ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError("rules.timezone", f"{name!r} is not known", "like Europe/Berlin") from error
        default = CameraRules(Rule().changed(data, "rules"), anchor=_anchor(data, "rules"))
        cameras = data.get("cameras", {})
        if not isinstance(cameras, Mapping):
            raise InputError("rules.cameras", "expected a table of cameras")
        return cls(default, {k: _camera(v, default, f"cameras.{k}") for k, v in cameras.items()}, timezone)


def _camera(data: Any, default: CameraRules, where: str) -> CameraRules:
    _known(data, _RULE | {"zones", "only_zones", "anchor"}, where)
    rule = default.rule.changed(data, where)
    zones = []
    for i, entry in enumerate(_tables(data.get("zones", []), f"{where}.zones")):
        here = f"{where}.zones[{i}]"
        _known(entry, _RULE | {"name", "polygon", "ignore"}, here)
        try:
            polygon = tuple((float(x), float(y)) for x, y in entry["polygon"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{here}.polygon", "expected a list of at least three [x, y]") from error
        name = str(entry.get("name") or f"zone-{i + 1}")
        zones.append(Zone(name, polygon, rule.changed(entry, here), bool(entry.get("ignore", False))))
    anchor = _anchor(data, where) if "anchor" in data else default.anchor
    return CameraRules(rule, tuple(zones), bool(data.get("only_zones", False)), anchor)


def _anchor(data: Mapping[str, Any], where: str) -> Literal["foot", "center"]:
    value = data.get("anchor", "foot")
    if value not in ("foot", "center"):
        raise InputError(f"{where}.anchor", f'expected "foot" or "center", got {value!r}')
    return "center" if value == "center" else "foot"


def _known(data: Any, names: set[str], where: str) -> None:
    if not isinstance(data, Mapping):
        raise InputError(where, f"expected a table, got {type(data).__name__}")
    odd = sorted(set(data) - names)
    if odd:
        raise InputError(f"{where}.{odd[0]}", "is not known", f"one of: {', '.join(sorted(names))}")


def _tables(value: Any, where: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise InputError(where, "expected a list of tables")
    return value


def _number(value: Any, where: str, least: float = -math.inf) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < least
    ):
        expected = "a number" if least == -math.inf else f"a number from {least:g} on"
        raise InputError(where, f"expected {expected}, got {value!r}")
    return float(value)


def _hour(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 24:
        raise InputError(where, f"expected a whole hour from 0 to 24, got {value!r}")
    return value % 24
