"""Detect in pictures: learn what is normal from normal ones, rank the others, say where and how far they are off.

Pictures are read, judged and let go in chunks: maps and pixels of all pictures are never in memory together, unless the
method judges a whole batch by itself. A run that is stopped leaves the heatmaps and the table of what it has judged.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import norm

from oddwatch.core import Finding, Frame, InputError, Progress, Region
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import CHUNK
from oddwatch.media.names import printable
from oddwatch.media.pictures import read_picture
from oddwatch.pipeline.ahead import ahead
from oddwatch.pipeline.calibrate import Calibration, Tally
from oddwatch.pipeline.detect_files import Found, Paths, PictureFiles, find_pictures, readable, reason_of
from oddwatch.pipeline.detect_out import WRITTEN, Album, DetectReport, Folder, PictureScore, settle
from oddwatch.pipeline.detect_setup import KEPT, DetectOptions, Ready, load, prepare, save
from oddwatch.report.detect import render_detect
from oddwatch.report.heat import Scale
from oddwatch.scoring.normal import Threshold, false_alarm_rate
from oddwatch.scoring.regions import on_picture, regions

KEPT_BYTES = 256 << 20
"""Pixels of normal pictures that stay in memory while they are learnt from again and again."""
NOBODY = "nobody said what is normal: the threshold assumes that most of these pictures are"


@dataclass(slots=True)
class _Judge:
    """What turns scores and maps into rows and findings, and where they go."""

    report: DetectReport
    least: float
    fit: str
    folder: Folder | None
    album: Album | None

    def take(self, path: Path, pixels: np.ndarray, score: float, one: np.ndarray | None) -> None:
        """One picture (H, W, 3) with its score and map (h, w) over the encoder's input."""
        size, source, scale = (pixels.shape[0], pixels.shape[1]), printable(path), self.report.scale
        row = PictureScore(source, score, size[1], size[0])
        shown = None if one is None else self._straight(one, size)
        found: list[Region] = []
        told = score >= self.report.threshold.value
        if told and shown is not None and scale is not None:
            found = located(shown, scale, size, self.least)
        if self.folder is not None and shown is not None and scale is not None:
            name = self.folder.name(source)
            row.heatmap = self.folder.heatmap(name, pixels, shown, scale, found)
            if found:
                row.mask = self.folder.mask(name, found, size)
        if self.album is not None:
            self.album.add(source, score, pixels, shown, scale)
        self.report.scores.append(row)
        if told:
            self.report.findings.append(
                Finding(
                    _id(source), "image", source, score, found[0].box if found else None, regions=tuple(found)
                )
            )

    def _straight(self, one: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The map without the padding of an encoder that keeps the aspect."""
        if self.fit != "pad":
            return one
        ratio = max(one.shape) / max(size)
        return maps.project(one, (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))), "pad")


def detect(
    pictures: Paths,
    normal: Paths | None = None,
    *,
    options: DetectOptions | None = None,
    detector: str | Path | None = None,
    save_to: str | Path | None = None,
    out: str | Path | None = None,
    html: str | Path | None = None,
    progress: Progress | None = None,
) -> DetectReport:
    """Rank ``pictures`` (files, folders, globs) by how far they are from the ``normal`` ones.

    ``detector`` is a folder that an earlier run wrote to ``save_to``: nothing is fitted then, and ``normal`` pictures, if
    given, are learnt in addition. ``out`` gets a heatmap of every picture, masks, ``scores.csv`` and ``findings.json``;
    ``html`` a page. Files that cannot be read are skipped and told.

    Raises:
        InputError: no picture to judge, no normal one where the method needs some, an unknown method or argument.
        ModelError, MissingExtra: what is needed to run is not there.
    """
    options = options or DetectOptions()
    clock: dict[str, float] = {}
    with _timed(clock, "total"):
        found = find_pictures(pictures, normal, _own(out, html, save_to, detector))
        if not found.pictures:
            raise InputError("pictures", "no picture was found", _why(found))
        with _timed(clock, "normal"):
            ready = _ready(found, options, detector, progress)
        if save_to is not None:
            save(ready, save_to)
        folder, album = None if out is None else Folder(Path(out)), None if html is None else Album()
        with _timed(clock, "pictures"):
            report = _run(ready, found, options, folder, album, progress)
    report.seconds = clock
    if folder is not None:
        folder.tables(report)
    if album is not None and html is not None:
        render_detect(report, album.shots(), Path(html), folder=None if folder is None else folder.path)
    return report


def _own(out: str | Path | None, html: str | Path | None, *kept: str | Path | None) -> list[Path]:
    """What runs write: no pictures to judge, though it may lie among them."""
    written = [] if out is None else [Path(out) / name for name in WRITTEN]
    written += [] if html is None else [Path(html)]
    return written + [Path(folder) / name for folder in kept if folder is not None for name in KEPT]


def _ready(
    found: Found, options: DetectOptions, saved: str | Path | None, progress: Progress | None
) -> Ready:
    """Read or fit the detector; unreadable normal pictures are noted."""

    def step(done: int) -> None:
        if progress:
            progress("looking through the normal pictures", done, len(found.normal))

    found.normal, contents = readable(found.normal, found.skipped, step)
    files = PictureFiles(found.normal, keep=KEPT_BYTES)
    names = [printable(p) for p in found.normal]
    if saved is None:
        return prepare(files, names, contents, options, progress)
    ready = load(saved, options)
    if files and ready.calibration is not None:
        add = getattr(ready.detector, "add", None)
        if add is None:
            raise InputError(
                "normal", f"a fitted {ready.method} cannot learn more", "fit again with all normal pictures"
            )
        # Scored before they are learnt, so that they say as much about new pictures as those left out did.
        tally = Tally()
        for start in range(0, len(files), CHUNK):
            scores = ready.detector.score(files[start : start + CHUNK])
            tally.add(scores.values, scores.maps)
        ready.calibration = ready.calibration.joined(np.array(tally.scores), np.array(tally.peaks))
        add(files)
        found.notes.append(f"{len(files)} normal pictures were learnt in addition")
    return ready


def _run(
    ready: Ready,
    found: Found,
    options: DetectOptions,
    folder: Folder | None,
    album: Album | None,
    progress: Progress | None,
) -> DetectReport:
    """Judge every picture, then rank and explain. Whatever stops it, what was judged is written."""
    if ready.batch_dependent:
        values, batch_maps, marks = _whole_batch(ready, found, options, progress)
    else:
        assert ready.calibration is not None
        values, batch_maps, marks = None, None, _marks(ready.calibration, options)
    report = DetectReport(
        ready.method, ready.detector.eyes.id, options.rate, marks.threshold, scale=marks.scale,
        calibration=marks.calibration, skipped=found.skipped, notes=found.notes,
    )  # fmt: skip
    report.notes += marks.notes
    if ready.drawn.scores:
        report.check = ready.drawn.against(marks.threshold.value)
    judge = _Judge(report, options.least_area, getattr(ready.detector.eyes, "fit", "squash"), folder, album)
    try:
        done = 0
        with closing(ahead(_chunks(found.pictures, found.skipped))) as chunks:
            for chunk in chunks:
                frames = [frame for _, frame in chunk]
                if values is None:
                    scores = ready.detector.score(frames)
                    part, part_maps = scores.values, scores.maps
                else:
                    part = values[done : done + len(chunk)]
                    part_maps = None if batch_maps is None else batch_maps[done : done + len(chunk)]
                for i, (path, frame) in enumerate(chunk):
                    judge.take(
                        path, frame.pixels, float(part[i]), None if part_maps is None else part_maps[i]
                    )
                done += len(chunk)
                if progress:
                    progress("judging", done, len(found.pictures))
    except BaseException:
        if folder is not None:
            _conclude(report, marks)
            folder.tables(report)
        raise
    if not report.scores:
        raise InputError("pictures", "none of them can be read", _why(found))
    _conclude(report, marks)
    return report


@dataclass(frozen=True, slots=True)
class _Marks:
    """Where what is usual ends."""

    threshold: Threshold
    usual: float
    scale: Scale | None
    calibration: Calibration | None
    notes: tuple[str, ...] = ()


def _marks(calibration: Calibration, options: DetectOptions) -> _Marks:
    found = calibration.threshold(options.rate)
    if options.threshold is not None:
        found = Threshold(options.threshold, "given", "as given")
    notes = [*calibration.notes]
    if calibration.odd:
        names = ", ".join(calibration.odd[:5]) + (" …" if len(calibration.odd) > 5 else "")
        notes.append(
            f"among the normal pictures these are far from the others and raise the threshold: {names}; if they are not "
            f"good, take them out (the threshold would be {calibration.without_odd(options.rate).value:.4g}), if they are, "
            "give more like them"
        )
    return _Marks(found, calibration.usual, calibration.scale(options.rate), calibration, tuple(notes))


def _whole_batch(
    ready: Ready, found: Found, options: DetectOptions, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray | None, _Marks]:
    """Scores and maps of all pictures, judged together with the normal ones where there are some."""

    def step(done: int) -> None:
        if progress:
            progress("looking through the pictures", done, len(found.pictures))

    found.pictures, _ = readable(found.pictures, found.skipped, step)
    scores = ready.detector.score(PictureFiles([*found.normal, *found.pictures]))
    n = len(found.normal)
    tally = Tally()
    tally.add(
        scores.values[:n] if n else scores.values,
        None if scores.maps is None else scores.maps[:n] if n else scores.maps,
    )
    values, batch_maps = scores.values[n:], None if scores.maps is None else scores.maps[n:]
    if n:
        return values, batch_maps, _marks(tally.calibration("batch"), options)
    known = tally.calibration("batch")
    threshold = Threshold(robust_bound(known.scores, options.rate), "assumed", NOBODY)
    if options.threshold is not None:
        threshold = Threshold(options.threshold, "given", "as given")
    mark = robust_bound(known.peaks, options.rate) if known.peaks.size else 0.0
    scale = Scale(min(float(np.median(known.peaks)), mark), mark) if known.peaks.size else None
    return values, batch_maps, _Marks(threshold, known.usual, scale, None, (NOBODY,))


def robust_bound(scores: np.ndarray, rate: float) -> float:
    """What a share ``rate`` (0–1) of Gaussian scores exceeds whose middle and spread are those of most ``scores`` (n,):
    median + z(1 − rate) · 1.4826 · median distance from the median."""
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(np.abs(scores - middle)))
    return float(np.nextafter(middle + float(norm.ppf(1 - rate)) * spread, np.inf))


def located(one: np.ndarray, scale: Scale, size: tuple[int, int], least: float) -> list[Region]:
    """The regions of a told picture of ``size`` (height, width) from its map (h, w), strongest first.

    A region reaches the threshold of the scale somewhere and extends half-way down to what is usual. Where none does, as
    the picture is told for many slightly odd places, the strongest place above half-way is given.
    """
    half = (scale.low + scale.threshold) / 2
    found = regions(one, scale.threshold, low=half, least=least)
    if not found and float(one.max()) > half:
        found = regions(one, float(one.max()), low=half, least=least)
    return [on_picture(region, one.shape, size) for region in found]


def _chunks(paths: Sequence[Path], skipped: list[tuple[str, str]]) -> Iterator[list[tuple[Path, Frame]]]:
    chunk: list[tuple[Path, Frame]] = []
    for path in paths:
        try:
            chunk.append((path, read_picture(path)))
        except InputError as error:
            skipped.append((printable(path), reason_of(error, path)))
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _conclude(report: DetectReport, marks: _Marks) -> None:
    """Rank pictures and findings, and say of each finding how sure, how bad and why."""
    values = np.array([s.score for s in report.scores])
    sure = None
    if marks.calibration is not None and len(values):
        sure = (1 - false_alarm_rate(marks.calibration.scores, values)).tolist()
    settle(report.scores, marks.threshold.value, marks.usual, sure)
    rows = {s.source: s for s in report.scores}
    report.findings = [
        replace(
            f,
            probability=rows[f.source].probability,
            severity=rows[f.source].severity,
            reason=reason(f, rows[f.source]),
        )
        for f in report.findings
    ]
    report.findings.sort(key=lambda f: rows[f.source].rank)


def reason(finding: Finding, row: PictureScore) -> str:
    """Where, how large and how far from normal, in one line."""
    times = f"{row.margin:.1f}" if row.margin < 100 else f"{row.margin:.0f}"
    far = f"{times} times as far from normal as the threshold"
    if not finding.regions:
        where = "no single place stands out" if row.heatmap else "the picture as a whole"
        return f"{where}; {far}"
    first, rest = finding.regions[0], len(finding.regions) - 1
    area = int(first.mask.sum()) if first.mask is not None else int(first.box.area)
    share = 100 * area / (row.width * row.height)
    size = f"{first.box.width:.0f} × {first.box.height:.0f} pixels, {share:.2g} % of the picture"
    more = f", and {rest} more place{'s' if rest > 1 else ''}" if rest else ""
    return f"{first.label}: {size}{more}; {far}"


def _id(source: str) -> str:
    return "image-" + hashlib.blake2b(source.encode(), digest_size=5).hexdigest()


def _why(found: Found) -> str:
    if not found.skipped:
        return "name folders, files or globs that hold pictures"
    path, why = found.skipped[0]
    more = f" and {len(found.skipped) - 1} more skipped" if len(found.skipped) > 1 else ""
    return f"skipped {path}: {why}{more}"


@contextmanager
def _timed(clock: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        clock[step] = time.perf_counter() - started


__all__ = ["DetectOptions", "DetectReport", "detect", "located", "reason", "robust_bound"]
