"""A record of a video file by itself: find the people, follow them, describe them. No pipeline, no gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from oddwatch.core import Curve, Facts, Finding, Frame, MediaError, Motion, Person, Progress, Span
from oddwatch.describe.describer import Describer
from oddwatch.media.tracking import Tracker
from oddwatch.understand.explain import Looker
from oddwatch.understand.record import Record, Steps, make

FPS = 4.0
"""Looks a second: a fall takes one second."""
MOST_VIEWS = 3
SCENE_EVERY = 5.0


class Finder(Protocol):
    """What finds people in a frame: ``media.people.PeopleFinder``."""

    def find(self, frame: Frame) -> list[Person]: ...


def watch(
    frames: Iterable[Frame],
    finder: Finder,
    describer: Describer,
    *,
    source: str = "",
    findings: Sequence[Finding] = (),
    curve: Curve | None = None,
    tell: Callable[[float], None] | None = None,
) -> Record:
    """The record of ``frames`` in order of time. ``tell`` is called with the seconds done.

    Raises:
        MediaError: there is no frame. InputError: a frame without a time, or out of order.
    """
    tracker, looks = Tracker(), dict[int, list[tuple[float, Person]]]()
    facts: dict[int, Facts] = {}
    motions: dict[int, Motion] = {}
    times: list[float] = []
    scenes: list[Facts] = []
    size = (0, 0)

    def settle(tracks: Sequence[object]) -> None:
        for track in tracks:
            kept = tracker.looks(track.id)[:MOST_VIEWS]  # type: ignore[attr-defined]
            facts[track.id] = describer.describe_track([k.triple() for k in kept], track.motion)  # type: ignore[attr-defined]
            motions[track.id] = track.motion  # type: ignore[attr-defined]

    for frame in frames:
        people = tracker.update(frame, finder.find(frame))
        at = float(frame.time or 0.0)
        size = (frame.width, frame.height)
        if not times or at - times[0] >= SCENE_EVERY * len(scenes):
            scenes.append(describer.describe_moment(frame, people, facts=[]))
        times.append(at)
        for person in people:
            if person.track is not None:
                looks.setdefault(person.track, []).append((at, person))
        settle(tracker.finished())
        if tell is not None:
            tell(at)
    settle(tracker.flush())
    if not times:
        raise MediaError(source or "clip", "holds no frame that can be decoded")
    # Tracks the tracker did not believe in have no facts and are nobody.
    steps = {t: _steps(own) for t, own in looks.items() if t in facts}
    span = Span(times[0], times[-1])
    return make(source, span, size, steps, facts, motions=motions, scene=_pooled(scenes), times=times,
                findings=findings, curve=curve)  # fmt: skip


def watch_file(
    path: str | Path,
    finder: Finder,
    describer: Describer,
    *,
    fps: float = FPS,
    span: Span | None = None,
    findings: Sequence[Finding] = (),
    curve: Curve | None = None,
    progress: Progress | None = None,
) -> Record:
    """The record of a video file, or of ``span`` of it, looked at ``fps`` times a second; of a picture, at 0 s.

    Raises:
        MediaError: it cannot be read, is neither, or the span holds no frame.
    """
    from oddwatch.media.pictures import read_picture
    from oddwatch.media.sources import kind_of
    from oddwatch.media.video import Sampling, Video

    if kind_of(path) == "picture":
        frame = replace(read_picture(path), time=0.0)
        return watch([frame], finder, describer, source=str(path), findings=findings, curve=curve)
    video = Video(path)
    start, end = (0.0, None) if span is None else (max(span.start, 0.0), span.end)
    last = video.duration if end is None else min(end, video.duration)

    def tell(at: float) -> None:
        if progress is not None:
            progress(video.name, at - start, max(last - start, 1e-6))

    frames = video.frames(Sampling(fps), start, end)
    return watch(frames, finder, describer, source=str(path), findings=findings, curve=curve, tell=tell)


def looker(path: str | Path) -> Looker:
    """What shows a chat model the frames of a video or picture file at some times."""
    from oddwatch.media.pictures import read_picture
    from oddwatch.media.sources import kind_of
    from oddwatch.media.video import Video

    if kind_of(path) == "picture":
        picture = replace(read_picture(path), time=0.0)
        return lambda times: [picture]
    video = Video(path)
    return lambda times: [video.frame_at(max(t, 0.0)) for t in times]


def _steps(own: Sequence[tuple[float, Person]]) -> Steps:
    poses = None
    if all(p.pose is not None for _, p in own):
        poses = np.stack([p.pose.points for _, p in own if p.pose is not None])
    boxes = np.array([p.box.as_list() for _, p in own], np.float64)
    return Steps(np.array([t for t, _ in own], np.float64), boxes, poses)


def _pooled(scenes: Sequence[Facts]) -> Facts:
    """The mean of what the looks at the whole picture say; how many people there were is the record's own."""
    known = np.asarray(np.stack([s.known for s in scenes]).all(0), bool)
    return Facts(scenes[0].schema, np.stack([s.p for s in scenes]).mean(0).astype(np.float32), known)
