"""Detectors of video on labelled sets: frame, clip, event and place metrics, speed; per set, over seeds and folds."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench import video_metrics
from oddwatch.bench.video_metrics import METRICS, Judged
from oddwatch.bench.watched import Lazy, Watched
from oddwatch.core import InputError, Progress, resolve
from oddwatch.datasets.videos import VideoItem, VideoSet, read_video_sets
from oddwatch.detectors import CARDS, DEFAULT, DETECTORS
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.watching import Captioner, WatchSettings
from oddwatch.pipeline.models import Models
from oddwatch.pipeline.video_setup import Eye, VideoOptions, build, prepare

log = logging.getLogger(__name__)
PROTOCOL = "video anomalies"
_PARTS = {"cls": "tokens", "deep": "tokens"}
"""What a detector reads → what is asked of the watcher, so that detectors share notes."""
_OF_TRACKS = ("objects", "people")
_OF_MOTION = ("motion", "objects", "small", "left")


@dataclass(frozen=True, slots=True)
class Run:
    """One detector with one seed; ``folds`` in place of the set's own number."""

    method: str
    seed: int = 0
    folds: int | None = None
    false_alarms: float = 6.0


def run_video_bench(
    data: str | Path,
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    categories: Sequence[str] | None = None,
    folds: int | None = None,
    settings: WatchSettings | None = None,
    models: Models | None = None,
    captioner: Captioner | None = None,
    options: Mapping[str, Any] | None = None,
    false_alarms: float = 6.0,
    cache: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Rows of ``methods`` (default: the default detector) × sets, means and deviations over ``seeds``.

    Every clip is watched once for all methods (``settings``; what is noted follows from what the methods read, things that
    stay only where ``settings`` want them or are not given) and its
    notes are kept in ``cache``, by default until the run ends. A method learns from a set's normal clips, one that
    learns from labels also from its anomalous ones; where the set says so, in ``folds`` by source, whose curves are then
    judged together, unscaled. Curves are read at the time of every frame of a clip, in straight lines between values.
    Events: see :func:`oddwatch.bench.video_metrics.events`, at most ``false_alarms`` an hour. ``options`` go to every
    detector. Metrics are None where undefined; ``note`` says why a method cannot run on a set. Seconds are told where
    footage was really watched.

    Raises:
        InputError: unknown method, option or category, nothing readable in ``data``.
    """
    names = _methods(methods)
    sets = {seed: _chosen(read_video_sets(data, seed=seed), categories) for seed in seeds}
    reads = {name: tuple(kind_of(name).READS) for name in names}
    wanted = {_PARTS.get(part, part) for parts in reads.values() for part in parts}
    rows: list[dict[str, Any]] = []
    with _folder(cache) as folder:
        for at, first in enumerate(sets[seeds[0]]):
            base = settings or WatchSettings()
            more = ("captions", "small") if settings else ("captions", "small", "left")
            could = dict.fromkeys((*base.want, *more))
            want = tuple(w for w in could if w in wanted & _noted(first, captioner))
            watched = Watched(
                folder,
                replace(base, want=want),
                models or Eye(want, VideoOptions(device=device, threads=threads), None, captioner).models,
                captioner if "captions" in want else None,
                progress,
            )
            for name in names:
                missing = not {_PARTS.get(part, part) for part in reads[name]} & set(want)
                note = (
                    f"needs {', '.join(reads[name])}, of which nothing is noted of this set"
                    if missing
                    else ""
                )
                runs = [(Run(name, seed, folds, false_alarms), sets[seed][at]) for seed in seeds]
                if progress is not None:
                    progress(f"{name}, {first.category}", len(rows), 0)
                rows.append(_row(runs, watched, options or {}, note))
    return rows


def _methods(methods: Sequence[str] | None) -> list[str]:
    known = sorted(n for n in DETECTORS if CARDS[n].modality == "video")
    names = list(methods) if methods else [DEFAULT["video"]] if "video" in DEFAULT else []
    for name in names:
        if name not in known:
            raise InputError(f"method {name!r}", "not known", f"one of: {', '.join(known)}")
    if not names:
        raise InputError("method", "there is no default detector of video", f"one of: {', '.join(known)}")
    return names


def _noted(one: VideoSet, captioner: Captioner | None) -> set[str]:
    """What can be noted of a set's clips."""
    items = [*one.train, *one.test]
    if any(i.tracks for i in items):
        return set(_OF_TRACKS)
    if not any(i.files for i in items):
        return set()
    can = {"motion", "objects", "people", "tokens", "small", "left"} | (
        {"captions"} if captioner is not None else set()
    )
    return can if one.moving else can - set(_OF_MOTION)


@contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory(prefix="oddwatch-bench-") as folder:
        yield Path(folder)


def _chosen(sets: Sequence[VideoSet], categories: Sequence[str] | None) -> list[VideoSet]:
    if categories is None:
        return list(sets)
    missing = sorted(set(categories) - {s.category for s in sets})
    if missing:
        there = ", ".join(s.category for s in sets)
        raise InputError(f"category {missing[0]!r}", "not in the data", f"there are: {there}")
    return [s for s in sets if s.category in categories]


def kind_of(method: str) -> Any:
    """The class of a detector. Raises MissingExtra where a package is absent."""
    return resolve(DETECTORS, method, "detector")


def _row(
    runs: Sequence[tuple[Run, VideoSet]], watched: Watched, options: Mapping[str, Any], note: str
) -> dict[str, Any]:
    """One method on one set: the mean over seeds, with ``_sd`` beside where there are several."""
    run, first = runs[0]
    kind = kind_of(run.method)
    about: dict[str, Any] = {
        "method": run.method,
        "default": run.method == DEFAULT.get("video") and not options,
        "protocol": PROTOCOL,
        "set": first.name,
        "category": first.category,
        "seed": run.seed,
        "seeds": [r.seed for r, _ in runs],
        "folds": (run.folds or first.folds) if first.folds else None,
        "split": first.note,
        "looks": watched.settings.looks,
        "transductive": CARDS[run.method].batch_dependent,
    }
    if kind.NEEDS_NORMALS and not any(_learnt(kind, first.train)):
        note = note or "no clips to learn from"
    if kind.LABELS and len({i.label for i in first.train}) < 2:
        note = note or "no normal and anomalous clips to learn from"
    if note:
        return {**about, **dict.fromkeys(METRICS), "note": note}
    try:
        outcomes = [measure(r, one, watched, options) for r, one in runs]
    except InputError as error:  # told in the row, so that the other methods and sets still run
        log.warning("%s on %s: %s", run.method, first.category, error)
        return {**about, **dict.fromkeys(METRICS), "note": str(error)}
    numbers = {name for o in outcomes for name, v in o.items() if isinstance(v, float)}
    for name, value in outcomes[0].items():
        if name not in numbers:
            about[name] = value
            continue
        values = [o[name] for o in outcomes if o[name] is not None]
        about[name] = float(np.mean(values))
        if len(values) > 1 and name in METRICS:
            about[f"{name}_sd"] = float(np.std(values, ddof=1))
    return about


def _learnt(kind: Any, train: Sequence[VideoItem]) -> list[VideoItem]:
    """What a detector may learn from: normal clips, or all with a label where it learns from labels."""
    return [i for i in train if i.label == 0 or (kind.LABELS and i.label is not None)]


def _fitted(
    run: Run, kind: Any, clips: Sequence[Notes], labels: Sequence[int], options: Mapping[str, Any]
) -> VideoDetector:
    """The detector as a user gets it; normal footage is held out only where it learns something from that."""
    asked = VideoOptions(run.method, dict(options), seed=run.seed)
    if kind.SETTLES:
        # All clips are held at once: without the tokens of whole frames, where nobody reads them.
        read = clips if "tokens" in kind.READS else [replace(notes, tokens={}) for notes in clips]
        return prepare(read, asked).detector
    detector = build(asked)
    if kind.NEEDS_NORMALS or kind.LABELS:
        detector.fit(clips, labels if kind.LABELS else None)
    return detector


def measure(run: Run, one: VideoSet, watched: Watched, options: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of one run, with seconds and counts; None where a metric is undefined."""
    judged, fitting, scoring, learnt_frames = list[Judged](), 0.0, 0.0, 0
    kind = kind_of(run.method)
    rounds = 0
    for train, test in one.rounds(run.folds, run.seed):
        rounds += 1
        learnt = _learnt(kind, train)
        for item in learnt:  # watched before the clock of fitting starts
            learnt_frames += len(watched.notes(item))
        started = time.perf_counter()
        detector = _fitted(run, kind, Lazy(learnt, watched), [int(i.label or 0) for i in learnt], options)
        fitting += time.perf_counter() - started
        for item in test:
            notes = watched.notes(item)
            started = time.perf_counter()
            curve = detector.curve(notes)
            scoring += time.perf_counter() - started
            times = watched.times(item)
            judged.append(Judged(item, times, item.frame_labels(len(times)), curve, notes.size))
    frames = sum(len(j.times) for j in judged)
    pace = None if watched.pace is None else watched.pace + scoring / max(1, frames)
    return {
        **video_metrics.evaluate(judged, run.false_alarms, moving=one.moving),
        "n_train": len({i.name for i in _learnt(kind, one.train)}),
        "n_test": len(judged),
        "n_frames": frames,
        "fit_frames": learnt_frames // rounds,
        "fit_seconds": fitting / rounds,
        "frames_per_second": None if pace is None else 1 / pace,
    }
