"""A detection in video as one HTML file: anomaly curves with their cues, the moments that stand out, players that jump to
them, and a threshold that cuts the curves again."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jinja2
import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from oddwatch._version import __version__
from oddwatch.core import Curve, Finding, InputError, MediaError
from oddwatch.report.detect import Axis
from oddwatch.report.page import assets, environment, write
from oddwatch.report.pictures import data_uri, fitted, opened
from oddwatch.report.video_curves import (
    LANE_POINTS,
    POINTS,
    Drawn,
    axis_over,
    coarser,
    drawn,
    lanes_of,
    lasting,
    moment,
    outline,
    ticks,
)
from oddwatch.report.wording import printable
from oddwatch.scoring.normal import Threshold

log = logging.getLogger(__name__)

MOST_CLIPS, MOST_CARDS = 60, 200
_ALL_POINTS, _LEAST_POINTS = 45_000, 150
_STILL_BYTES, _FREE_STILLS, _STILL_SIDE = 60_000, 30, 720
_LEAD = 1.0
"""A jump to a picture starts so many seconds before it, but not before its moment."""
PINS, FIELD, GAP, LANE, FOOT = 26, 132, 5, 32, 22
"""Heights in a chart, pixels: the numbers, the curve, a gap, a cue, the clock."""


class ClipLike(Protocol):
    """One judged clip: ``size`` is (height, width); ``peaks`` the time (s) of each finding's peak by its id."""

    @property
    def source(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def fps(self) -> float: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def curve(self) -> Curve: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def peaks(self) -> Mapping[str, float]: ...


class VideoReportLike(Protocol):
    """What a detection in video gives back. ``normal_seconds`` of normal footage it was calibrated on, 0 where nobody said
    what is normal."""

    @property
    def method(self) -> str: ...
    @property
    def encoder(self) -> str: ...
    @property
    def clips(self) -> Sequence[ClipLike]: ...
    @property
    def threshold(self) -> Threshold: ...
    @property
    def false_alarms_per_hour(self) -> float: ...
    @property
    def normal_seconds(self) -> float: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def skipped(self) -> Sequence[tuple[str, str]]: ...
    @property
    def seconds(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """How segments were cut from the curves, see :func:`oddwatch.scoring.spans.localise`: ``minimum``, ``merge`` and
    ``longest`` in seconds. A segment reaches down to ``hold`` (0–1) of the way from ``usual`` to the threshold, also to a
    moved one; to the threshold itself by default."""

    minimum: float = 0.0
    merge: float = 0.0
    hold: float = 1.0
    usual: float = 0.0
    longest: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A finding as the page shows it. ``start`` and ``peak`` in seconds, ``at`` where its picture's jump begins; ``left``,
    ``width`` and ``middle`` in thousandths of the clip; ``cues``: name, value and 0–100 of those strongest at its peak."""

    finding: Finding
    number: int
    start: float
    end: float
    peak: float
    at: float
    left: float
    width: float
    middle: float
    cues: tuple[tuple[str, str, float], ...]
    decided: str
    still: Markup | None
    missing: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A cue under the curve: its name, its outline, and where its chart begins (pixels)."""

    name: str
    path: Markup
    top: int


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as the page shows it; ``player`` the address of its playable copy, or None."""

    key: int
    clip: ClipLike
    name: str
    folder: str
    player: str | None
    moments: tuple[Moment, ...]
    path: Markup
    lanes: tuple[Lane, ...]
    ticks: list[tuple[float, str]]
    seconds: float
    height: int
    curve: Drawn


def render_video(
    report: VideoReportLike,
    out: Path,
    *,
    stills: Mapping[str, bytes],
    players: Mapping[str, str],
    title: str = "",
    cut: Cut | None = None,
    normal_events: Sequence[float] | None = None,
) -> Path:
    """Write the report of a detection in video as one page; only the players lie beside it.

    Clips come with the worst first; at most :data:`MOST_CLIPS` are drawn and :data:`MOST_CARDS` moments shown with their
    picture, the others are listed. Times of a clip are taken as times in its player.

    Args:
        report: clips, findings and threshold.
        out: the file to write; replaced only when the page is whole.
        stills: finding id → JPEG of the whole frame at its peak, of any size.
        players: source → address of a playable copy of the whole clip, relative to the page and percent-encoded.
        title: of the page; says how many moments stand out where empty.
        cut: the rule the segments were cut by; with it the threshold can be moved in the page.
        normal_events: the peak of each separate event of the normal footage, to count false alarms at a moved threshold;
            None where they are not known.

    Raises:
        InputError: an address in ``players`` is not a relative one.
        OSError: the file cannot be written.
    """
    for source, address in players.items():
        _check_address(source, address)
    ranked = sorted(
        (f for c in report.clips for f in c.findings), key=lambda f: (-(f.severity or 0.0), -f.score)
    )
    numbers = {f.id: i for i, f in enumerate(ranked, 1)}
    last = len(ranked) + 1
    order = sorted(
        report.clips,
        key=lambda c: (min((numbers[f.id] for f in c.findings), default=last), -c.curve.peak),
    )
    shown, rest = order[:MOST_CLIPS], order[MOST_CLIPS:]
    points = min(POINTS, max(_LEAST_POINTS, _ALL_POINTS // max(len(shown), 1)))
    curves = [drawn(c.curve, points, None if cut is None else cut.longest) for c in shown]
    axis = axis_over([c.curve.values for c in report.clips], report.threshold.value)
    lanes = lanes_of(curves)
    low = np.concatenate([c.cues[n] for c in curves for n in lanes if n in c.cues] or [np.zeros(1)])
    cue_axis = Axis.over(low, float(np.quantile(low, 0.1)), float(np.quantile(low, 0.1)) + axis.unit)
    pictured = {f.id: f for f in ranked[:MOST_CARDS]}
    share = min(1.0, _FREE_STILLS / max(len(pictured), 1))
    clips = [
        _clip(i, one, curve, numbers, {k: v for k, v in stills.items() if k in pictured}, players, axis, cue_axis, lanes,
              share)
        for i, (one, curve) in enumerate(zip(shown, curves, strict=True))
    ]  # fmt: skip
    folders = {c.folder for c in clips}
    style, script, policy = assets("page.css", "detect.css", "video.css", "video.js")
    text = _template().render(
        title=title or headline(report),
        report=report,
        clips=clips,
        rest=rest,
        place=folders.pop() if len(folders) == 1 else "",
        total=len(ranked),
        told=_rate(report),
        pictured=pictured,
        axis=axis,
        lanes=lanes,
        cut=cut,
        layout={"pins": PINS, "field": FIELD, "gap": GAP, "lane": LANE, "foot": FOOT},
        data=htmlsafe_json_dumps(
            _data(report, clips, axis, lanes, cut, normal_events), separators=(",", ":")
        ),
        version=__version__,
        style=style,
        script=script,
        policy=policy + ("; media-src 'self' file:" if players else ""),
    )
    return write(out, text)


def headline(report: VideoReportLike) -> str:
    """How many moments stand out in how many clips."""
    found, clips = sum(len(c.findings) for c in report.clips), len(report.clips)
    where = "1 clip" if clips == 1 else f"{clips} clips"
    if not found:
        return f"Nothing stands out in {where}"
    odd = sum(bool(c.findings) for c in report.clips)
    if odd < clips:
        where = f"{odd} of {where}"
    return f"{found} moments stand out in {where}" if found != 1 else f"1 moment stands out in {where}"


def _rate(report: VideoReportLike) -> str:
    """Where the threshold comes from, and how many false alarms it is meant to give; nothing is said twice."""
    note, rate = report.threshold.note, report.false_alarms_per_hour
    parts = [] if note in report.notes else [note]
    if report.normal_seconds > 0 and report.threshold.rule != "given" and "an hour" not in note:
        parts.insert(0, f"at most {rate:.3g} false alarm{'s' * (rate != 1)} an hour wanted")
    return "; ".join(p for p in parts if p) or "most of the footage is taken to be normal"


def _check_address(source: str, address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not parts.path or re.search(r"[\s\\?#]", address):
        raise InputError(
            f"player of {printable(source)}",
            f"expected a relative address, got {printable(address)!r}",
            "percent-encode the name of a file beside the page",
        )


def _clip(
    key: int,
    one: ClipLike,
    curve: Drawn,
    numbers: Mapping[str, int],
    stills: Mapping[str, bytes],
    players: Mapping[str, str],
    axis: Axis,
    cue_axis: Axis,
    lanes: Sequence[str],
    share: float,
) -> Clip:
    end = float(curve.ends[-1]) if curve.ends.size else 0.0
    last = max((f.span.end for f in one.findings if f.span is not None), default=0.0)
    seconds = max(one.duration, end, last, 0.1)
    rows: list[Lane] = []
    for name in lanes:
        rough = coarser(
            curve.times, curve.ends, curve.cues.get(name, np.zeros(curve.times.size)), LANE_POINTS
        )
        top = PINS + FIELD + GAP + len(rows) * (LANE + GAP)
        rows.append(Lane(name, Markup(outline(*rough, cue_axis, seconds)), top))
    shown = printable(one.source)
    folder, _, name = shown.replace("\\", "/").rpartition("/")
    return Clip(
        key=key,
        clip=one,
        name=name or shown,
        folder=folder,
        player=players.get(one.source),
        moments=tuple(
            _moment(f, one, numbers[f.id], seconds, stills, share)
            for f in sorted(one.findings, key=lambda f: numbers[f.id])
        ),
        path=Markup(outline(curve.times, curve.ends, curve.values, axis, seconds)),
        lanes=tuple(rows),
        ticks=ticks(seconds),
        seconds=seconds,
        height=PINS + FIELD + GAP + len(rows) * (LANE + GAP) + FOOT,
        curve=curve,
    )


def _moment(
    finding: Finding, one: ClipLike, number: int, seconds: float, stills: Mapping[str, bytes], share: float
) -> Moment:
    peak = one.peaks.get(finding.id, finding.span.start if finding.span is not None else 0.0)
    start, end = (finding.span.start, finding.span.end) if finding.span is not None else (peak, peak)
    cues = _strongest(one.curve, peak)
    still, missing = _still(stills.get(finding.id), finding, share)
    return Moment(
        finding=finding,
        number=number,
        start=start,
        end=end,
        peak=peak,
        at=max(start, peak - _LEAD),
        left=round(1000 * start / seconds, 2),
        width=round(max(1000 * (end - start) / seconds, 1.5), 2),
        middle=round(100 * min((start + end) / 2 / seconds, 1.0), 3),
        cues=cues,
        decided=cues[0][0] if cues else "",
        still=still,
        missing=missing,
    )


def _strongest(curve: Curve, peak: float, most: int = 3) -> tuple[tuple[str, str, float], ...]:
    """The cues with the highest values at the sample that holds at ``peak``, of two or more."""
    if not curve.times.size or len(curve.cues) < 2:
        return ()
    at = max(int(np.searchsorted(curve.times, peak + 1e-6, side="right")) - 1, 0)
    values = {name: float(v[at]) for name, v in curve.cues.items() if np.isfinite(v[at])}
    top = max(values.values(), default=0.0)
    ordered = sorted(values, key=lambda name: -values[name])[:most]
    return tuple(
        (name, f"{values[name]:.3g}", round(100 * max(values[name], 0.0) / top, 1) if top > 0 else 0.0)
        for name in ordered
    )


def _still(jpeg: bytes | None, finding: Finding, share: float) -> tuple[Markup | None, str]:
    if jpeg is None:
        return None, "no picture kept"
    try:
        picture = opened(jpeg, printable(finding.source))
    except MediaError as error:
        log.warning("no picture for %s: %s", printable(finding.id), error)
        return None, printable(str(error))
    return Markup(data_uri(fitted(picture, int(_STILL_BYTES * share), _STILL_SIDE))), ""


def _data(
    report: VideoReportLike,
    clips: Sequence[Clip],
    axis: Axis,
    lanes: Sequence[str],
    cut: Cut | None,
    events: Sequence[float] | None,
) -> dict[str, Any]:
    start = report.threshold.value
    rule = None
    if cut is not None:
        rule = {"minimum": cut.minimum, "merge": cut.merge, "hold": cut.hold, "usual": cut.usual}
    return {
        "start": start,
        "top": PINS,
        "field": FIELD,
        "axis": {"usual": axis.usual, "unit": axis.unit, "low": axis.low, "high": axis.high},
        "cut": rule,
        "hours": report.normal_seconds / 3600,
        "counted": events is not None,
        "events": sorted(float(v) for v in events or () if np.isfinite(v)),
        "lanes": [printable(name) for name in lanes],
        "clips": [
            {
                "seconds": c.seconds,
                "found": [
                    [m.start, m.end, m.peak, m.finding.score, m.number]
                    for m in sorted(c.moments, key=lambda m: m.start)
                ],
                **c.curve.data([name for name in lanes if name in c.curve.cues]),
                "has": [i for i, name in enumerate(lanes) if name in c.curve.cues],
            }
            for c in clips
        ],
    }


@cache
def _template() -> jinja2.Template:
    made = environment().overlay()
    made.filters = {**environment().filters, "moment": moment, "lasting": lasting}
    return made.get_template("video.html")
