"""Detect in video: learn what is normal from quiet footage, give each clip a curve, cut out the moments, say why."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from oddwatch.core import Curve, Finding, InputError, LimitError, MediaError, Place, Progress, Span
from oddwatch.detectors.video.base import VideoDetector, load
from oddwatch.detectors.video.cues import WORDS
from oddwatch.detectors.video.deeds import DEEDS
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.watching import THINGS
from oddwatch.media.names import printable
from oddwatch.media.sources import Skipped, find
from oddwatch.media.video import Video
from oddwatch.pipeline.detect_files import Paths
from oddwatch.pipeline.video_out import ClipReport, VideoReport, finding_id, players, stills, write
from oddwatch.pipeline.video_setup import (
    MOSTLY,
    NOBODY,
    Eye,
    Ready,
    VideoOptions,
    among_themselves,
    assumed,
    build,
    needs_no_labels,
    prepare,
)
from oddwatch.report.video import Cut, render_video
from oddwatch.scoring.alarms import block_maxima
from oddwatch.scoring.normal import false_alarm_rate
from oddwatch.scoring.regions import place
from oddwatch.scoring.severity import severity
from oddwatch.scoring.spans import Segment, localise

log = logging.getLogger(__name__)
HOLD = 0.6
"""A finding reaches as far as the curve stays above this share of the way from usual to the threshold."""
CLEAR = 1.0
"""Decades from which it is told that somebody lies or climbs: odds of about one in three."""
LONGEST = 2.0
"""Seconds that a value of the curve holds at most; a longer hole in the footage ends a finding."""


def detect_video(
    clips: Paths,
    normal: Paths | None = None,
    *,
    options: VideoOptions | None = None,
    detector: str | Path | None = None,
    save_to: str | Path | None = None,
    out: str | Path | None = None,
    html: str | Path | None = None,
    progress: Progress | None = None,
) -> VideoReport:
    """Find the moments of ``clips`` (files, folders, globs) that ``normal`` footage of the same camera does not know.

    Without ``normal`` each part of the footage is judged by the other parts. ``detector`` is a folder that an earlier run
    wrote to ``save_to``; ``normal`` then only settles the threshold. ``out`` gets findings, curves, stills and clips;
    ``html`` a page. Clips that cannot be read are skipped and told.

    Raises:
        InputError: no clip to judge, too little footage, an unknown method or argument.
        ModelError, MissingExtra: what is needed to run is not there.
    """
    options = options or VideoOptions()
    clock: dict[str, float] = {}
    skipped: list[tuple[str, str]] = []
    with _timed(clock, "total"):
        saved: VideoDetector | None = None if detector is None else load(detector)
        judge = saved or build(options)
        if saved is None:
            needs_no_labels(judge)
        if save_to is not None and saved is None and normal is None and judge.NEEDS_NORMALS:
            raise InputError(
                "save",
                "has nothing to keep: without normal footage every part is judged anew",
                "give --normal",
            )
        reads = judge.READS
        eye = Eye(reads, options)
        with _timed(clock, "watch normal"):
            quiet = [n for _, n in _watched(normal, eye, skipped, progress)] if normal is not None else []
        if normal is not None and not quiet:
            raise InputError("normal", "none can be read", "; ".join(f"{s}: {r}" for s, r in skipped[:3]))
        with _timed(clock, "learn"):
            ready = _ready(saved, quiet, options, progress)
        if save_to is not None and ready is not None:
            ready.detector.save(save_to)
        with _timed(clock, "watch"):
            looked = _watched(clips, eye, skipped, progress)
        if not looked:
            raise InputError("clips", "none can be read", "; ".join(f"{s}: {r}" for s, r in skipped[:3]))
        with _timed(clock, "judge"):
            report = _judged(ready, looked, options)
        report.skipped, report.seconds = skipped, clock
        if out is not None or html is not None:
            with _timed(clock, "write"):
                pictures = stills(report)
                if out is not None:
                    write(report, Path(out), pictures)
                if html is not None:
                    render_video(
                        report,
                        Path(html),
                        stills=pictures,
                        players=players(report, Path(html)),
                        cut=Cut(report.minimum, report.merge, HOLD, report.usual, LONGEST),
                        normal_events=block_maxima(ready.normal).tolist() if ready and ready.normal else None,
                    )
    return report


def _ready(
    saved: VideoDetector | None, quiet: Sequence[Notes], options: VideoOptions, progress: Progress | None
) -> Ready | None:
    """A fitted detector, or None where each clip is to be judged by its own other parts."""
    if saved is not None:
        return Ready(saved, saved.NAME, [saved.curve(n) for n in quiet])
    if quiet or not build(options).NEEDS_NORMALS:
        return prepare(quiet, options, progress)
    return None


def _watched(
    paths: Paths, eye: Eye, skipped: list[tuple[str, str]], progress: Progress | None
) -> list[tuple[Path, Notes]]:
    found: list[tuple[Path, Notes]] = []
    given = [paths] if isinstance(paths, str | Path) else list(paths)

    def note(bad: Skipped) -> None:
        skipped.append((printable(bad.path), bad.reason))

    for source in find(given, report=note):
        if source.kind != "video":
            skipped.append((source.name, "is a picture, not a video"))
            continue
        try:
            found.append((source.path, eye.watch(Video(source.path), progress)))
        except (MediaError, LimitError, InputError) as error:
            log.warning("skipped %s: %s", source.name, error)
            skipped.append((source.name, getattr(error, "problem", str(error))))
    return found


def _judged(ready: Ready | None, looked: Sequence[tuple[Path, Notes]], options: VideoOptions) -> VideoReport:
    everything = [notes for _, notes in looked]
    remarks: list[str] = []
    if ready is None:
        remarks = [NOBODY]
        curves = [among_themselves(n, [o for o in everything if o is not n], options) for n in everything]
        ready = Ready(build(options), options.method)
    else:
        curves = [ready.detector.curve(notes) for notes in everything]
        if not ready.normal and options.threshold is None:
            remarks = [MOSTLY]
    report = VideoReport(
        ready.method,
        next((n.encoder for n in everything if n.encoder), ""),
        options.false_alarms,
        ready.threshold(options) or assumed(curves),
        ready.normal_seconds,
        options.minimum,
        options.merge,
    )
    report.notes += [*remarks, *ready.remarks]
    normal = ready.normal or curves
    tops = block_maxima(normal)
    usual = report.usual = float(np.median(np.concatenate([c.values for c in normal])))
    for (path, notes), curve in zip(looked, curves, strict=True):
        report.clips.append(_clip(path, notes, curve, report, tops, usual))
    report.findings = sorted((f for c in report.clips for f in c.findings), key=lambda f: -f.score)
    return report


def _clip(
    path: Path, notes: Notes, curve: Curve, report: VideoReport, tops: np.ndarray, usual: float
) -> ClipReport:
    limit = report.threshold.value
    low = min(limit, usual + HOLD * (limit - usual))
    found = localise(
        curve.times, curve.values, limit, low=low, minimum=report.minimum, merge=report.merge, longest=LONGEST
    )
    one = ClipReport(
        path, notes.name, float(notes.times[-1]) if len(notes) else 0.0, notes.fps, notes.size, curve
    )
    for segment in found:
        finding = _finding(notes, curve, segment, report, tops, usual)
        one.findings.append(finding)
        one.peaks[finding.id] = segment.peak
    return one


def _finding(
    notes: Notes, curve: Curve, segment: Segment, report: VideoReport, tops: np.ndarray, usual: float
) -> Finding:
    span = Span(segment.start, segment.end)
    decided = deciding(curve, segment)
    best = telling(curve, segment, decided)
    known = report.normal_seconds > 0
    bad = float(severity(np.array([segment.score]), report.threshold.value, usual)[0])
    return Finding(
        finding_id(notes.name, span),
        "video",
        notes.name,
        segment.score,
        box=best.box if best else None,
        span=span,
        probability=float(1 - false_alarm_rate(tops, np.array([segment.score]))[0]) if known else None,
        severity=bad,
        reason=reason(notes, curve, segment, best, decided),
    )


def deciding(curve: Curve, segment: Segment) -> list[str]:
    """The cues of a segment at its peak, strongest first."""
    at = int(np.searchsorted(curve.times, segment.peak))
    at = min(at, len(curve.times) - 1)
    return sorted(curve.cues, key=lambda cue: -float(curve.cues[cue][at]))


def telling(curve: Curve, segment: Segment, decided: Sequence[str]) -> Place | None:
    """The most surprising place of a segment, of its strongest cue that has one."""
    inside = [p for p in curve.places if segment.start <= curve.times[p.index] < segment.end]
    for cue in decided:
        own = [p for p in inside if p.cue == cue]
        if own:
            # The peak of the smoothed curve is where to look; a place a second away may be another thing.
            return max(
                own, key=lambda p: (p.score - abs(float(curve.times[p.index]) - segment.peak), -p.index)
            )
    return None


def reason(notes: Notes, curve: Curve, segment: Segment, best: Place | None, decided: Sequence[str]) -> str:
    """Who or what, where, what is unusual about it, in one line."""
    at = min(int(np.searchsorted(curve.times, segment.peak)), len(curve.times) - 1)
    strong = (
        [c for c in decided if curve.cues[c][at] >= 0.5 * curve.cues[decided[0]][at]][:2] if decided else []
    )
    words = [WORDS.get(c, c) for c in strong]
    done = _done(curve, segment, strong)
    if best is None or best.box is None:
        return "; ".join([*words, *done]) or "unlike the normal footage as a whole"
    who = "somebody" if best.track is not None and best.track < THINGS else "something"
    where = place(best.box, notes.size[0], notes.size[1])
    return "; ".join([f"{who} at the {where}: {' and '.join(words)}", *done])


def _done(curve: Curve, segment: Segment, said: Sequence[str]) -> list[str]:
    """What somebody does at another time of a moment than its peak, where it is clear enough to be told by its name."""
    inside = (curve.times >= segment.start) & (curve.times < segment.end)
    unsaid = [deed for deed in DEEDS if deed in curve.cues and deed not in said]
    return [f"somebody {WORDS[d]}" for d in unsaid if curve.cues[d][inside].max(initial=0.0) >= CLEAR]


@contextmanager
def _timed(clock: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        clock[step] = clock.get(step, 0.0) + time.perf_counter() - started


__all__ = ["deciding", "detect_video", "reason", "telling"]
