"""Watch a clip once and note what detectors read: movement on every frame, models on a few a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from oddwatch.core import Box, Frame, ImageEncoder, InputError, Person, Progress, Tokens, Track
from oddwatch.detectors.video.notes import BINS, Notes, Objects
from oddwatch.media.flow import Field, FlowMeter, ThingTracker, moving_things
from oddwatch.media.people import PeopleFinder
from oddwatch.media.tracking import Tracker
from oddwatch.media.video import Sampling

WANTED = ("motion", "objects", "people", "tokens", "captions", "small")
THINGS = 1_000_000
"""Tracks of moving things are numbered from here on, those of people from 1."""
Captioner = Callable[[Frame, Sequence[Person], Tokens | None], str]
"""A sentence for a looked-at frame."""


class Clip(Protocol):
    """What can be watched: a :class:`~oddwatch.media.video.Video`, or stills with times."""

    @property
    def name(self) -> str: ...
    @property
    def times(self) -> np.ndarray: ...
    def frames(
        self, sample: Sampling | None = None, start: float = 0.0, end: float | None = None
    ) -> Iterator[Frame]: ...


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """``want``: what to note, of :data:`WANTED` ("tokens" also gives class tokens and deep vectors of objects). ``looks``
    a second the models get, None for every frame. ``rows`` of the grid of motion cells (columns follow the aspect).
    ``layers`` of the backbone; the first gives the deep vectors. ``small`` height of the small grey frames.
    ``smallest`` pixels of a person's longer side below which a pose means nothing: such people are moving things."""

    want: tuple[str, ...] = ("motion", "objects", "people", "tokens")
    looks: float | None = 2.0
    rows: int = 12
    layers: tuple[str, ...] = ("block_9",)
    small: int = 64
    smallest: float = 32.0
    flow_height: int = 180

    def __post_init__(self) -> None:
        unknown = sorted(set(self.want) - set(WANTED))
        if unknown:
            raise InputError(f"want {unknown[0]!r}", "not known", f"of: {', '.join(WANTED)}")
        if self.looks is not None and not self.looks > 0:
            raise InputError("looks", f"expected more than 0 a second or None, got {self.looks}")


class Watcher:
    """Takes the frames of one camera or clip in order of time; :meth:`taken` hands out the notes since it was last called.

    ``eyes`` is the backbone, ``finder`` looks for people, ``captioner`` says a frame in a sentence; each is needed only
    where its notes are wanted. Tracks go on from one piece of notes to the next. ``people`` are those of the last look,
    with the numbers that ``tracker`` gave them.

    Raises:
        InputError: something is wanted whose model is not given.
    """

    def __init__(
        self,
        name: str,
        settings: WatchSettings | None = None,
        *,
        eyes: ImageEncoder | None = None,
        finder: PeopleFinder | None = None,
        captioner: Captioner | None = None,
    ) -> None:
        self.name, self.settings = name, settings or WatchSettings()
        self.eyes, self.finder, self.captioner = eyes, finder, captioner
        want = self.settings.want
        for what, model in (("tokens", eyes), ("people", finder), ("captions", captioner)):
            if what in want and model is None:
                raise InputError(f"want {what}", "has no model to note it", "give eyes, finder or captioner")
        self.people: list[Person] = []
        self.ended: list[Track] = []
        self._meter, self._things, self.tracker = (
            FlowMeter(self.settings.flow_height),
            ThingTracker(first=THINGS),
            Tracker(),
        )
        self._size: tuple[int, int] | None = None
        self._due = -np.inf
        self._begin()

    def _begin(self) -> None:
        self._times: list[float] = []
        self._motion: list[np.ndarray] = []
        self._small: list[np.ndarray] = []
        self._looked: list[int] = []
        self._tokens: list[Tokens] = []
        self._captions: list[str] = []
        self._rows: list[tuple[int, Box, int, Person | None, np.ndarray, np.ndarray | None]] = []

    def update(self, frame: Frame, look: bool | None = None) -> None:
        """Note one frame; ``look`` tells whether the models look at it, None lets ``settings.looks`` decide.

        Raises:
            InputError: the frame has no time, or another size than those before.
        """
        if frame.time is None:
            raise InputError(self.name, "expected frames with a time")
        size = (frame.height, frame.width)
        if self._size not in (None, size):
            raise InputError(self.name, f"changes its size from {self._size} to {size}", "cut the clip there")
        self._size = size
        at = len(self._times)
        self._times.append(frame.time)
        field = self._moved(frame, at)
        if look is None:
            look = self._is_due(frame.time)
        people, tokens = self._look(frame, at) if look else ([], None)
        if "objects" in self.settings.want and field is not None:
            self._note_things(field, at, people, tokens)

    def _is_due(self, time: float) -> bool:
        if self.settings.looks is None:
            return True
        if time + 1e-6 < self._due:
            return False
        step = 1 / self.settings.looks
        self._due = (np.floor(time / step + 1e-6) + 1) * step
        return True

    def _moved(self, frame: Frame, at: int) -> Field | None:
        want = self.settings.want
        if "small" in want:
            width = max(8, round(frame.width * self.settings.small / frame.height))
            grey = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
            self._small.append(cv2.resize(grey, (width, self.settings.small), interpolation=cv2.INTER_AREA))
        if "motion" not in want and "objects" not in want:
            return None
        field = self._meter.update(frame)
        rows, columns = self.settings.rows, max(1, round(self.settings.rows * frame.width / frame.height))
        self._motion.append(np.zeros((rows, columns, 4)) if field is None else field.cells(rows, columns))
        return field

    def _look(self, frame: Frame, at: int) -> tuple[list[Person], Tokens | None]:
        self._looked.append(at)
        want, people, tokens = self.settings.want, list[Person](), None
        if "tokens" in want:
            assert self.eyes is not None
            tokens = self.eyes.encode([frame], self.settings.layers)
            self._tokens.append(tokens)
        if "people" in want:
            assert self.finder is not None
            found = self.finder.find(frame)
            large = [p for p in found if max(p.box.width, p.box.height) >= self.settings.smallest]
            people = self.people = self.tracker.update(frame, large)
            for person in people:
                self._rows.append(
                    (
                        at,
                        person.box,
                        person.track or -1,
                        person,
                        np.full(BINS, np.nan),
                        self._under(person.box, tokens),
                    )
                )
        if "captions" in want:
            assert self.captioner is not None
            self._captions.append(self.captioner(frame, people, tokens))
        return people, tokens

    def _note_things(self, field: Field, at: int, people: Sequence[Person], tokens: Tokens | None) -> None:
        for i in range(
            len(self._rows) - 1, -1, -1
        ):  # people of this frame were noted before its movement was known
            if self._rows[i][0] != at:
                break
            self._rows[i] = (*self._rows[i][:4], field.histogram(self._rows[i][1]), self._rows[i][5])
        boxes = moving_things(field)
        for box, track in zip(boxes, self._things.update(self._times[at], boxes), strict=True):
            if not any(box.intersection(p.box) > 0.6 * box.area for p in people):
                self._rows.append((at, box, track, None, field.histogram(box), self._under(box, tokens)))

    def _under(self, box: Box, tokens: Tokens | None) -> np.ndarray | None:
        """(D,) mean of the tokens whose patches the box meets."""
        if tokens is None:
            return None
        assert self._size is not None
        rows, columns = tokens.grid
        height, width = self._size
        x0, x1 = (
            min(max(int(v / width * columns), 0), columns - 1) for v in (box.x0, max(box.x0, box.x1 - 1e-3))
        )
        y0, y1 = (min(max(int(v / height * rows), 0), rows - 1) for v in (box.y0, max(box.y0, box.y1 - 1e-3)))
        layer = tokens.layers[self.settings.layers[0]][0].reshape(rows, columns, -1)
        out: np.ndarray = layer[y0 : y1 + 1, x0 : x1 + 1].mean(axis=(0, 1))
        return out

    def taken(self) -> Notes:
        """The notes of the frames since the last call; ``ended`` are then the tracks of people that ended since, whose
        pictures ``tracker.looks`` holds until the next."""
        self.ended = self.tracker.finished()
        parts = self._tokens
        layers = (
            {n: np.concatenate([t.layers[n] for t in parts]).astype(np.float16) for n in self.settings.layers}
            if parts
            else {}
        )
        notes = Notes(
            self.name,
            self._size or (0, 0),
            np.array(self._times),
            np.array(self._motion, np.float16) if self._motion else np.zeros((0, 0, 0, 4), np.float16),
            self._objects(),
            np.array(self._looked, np.int64),
            np.concatenate([t.cls for t in parts]).astype(np.float16)
            if parts
            else np.zeros((0, 0), np.float16),
            layers,
            parts[0].grid if parts else (0, 0),
            tuple(self._captions),
            self.eyes.id if parts and self.eyes is not None else "",
            np.stack(self._small) if self._small else np.zeros((0, 0, 0), np.uint8),
        )
        self._begin()
        return notes

    def _objects(self) -> Objects:
        if not self._rows:
            return Objects()
        at, boxes, tracks, people, velocity, deep = zip(*self._rows, strict=True)
        width = next((len(d) for d in deep if d is not None), 0)
        nobody = np.full((17, 3), np.nan, np.float32)
        return Objects(
            np.array(at, np.int64),
            np.array([b.as_list() for b in boxes], np.float32),
            np.array(tracks, np.int64),
            np.array([p is not None for p in people]),
            np.array([1.0 if p is None else p.score for p in people], np.float32),
            np.stack([nobody if p is None or p.pose is None else p.pose.points for p in people]).astype(
                np.float32
            ),
            np.array(velocity, np.float32),
            np.array([np.full(width, np.nan) if d is None else d for d in deep], np.float32),
        )


def watch(
    clip: Clip,
    settings: WatchSettings | None = None,
    *,
    eyes: ImageEncoder | None = None,
    finder: PeopleFinder | None = None,
    captioner: Captioner | None = None,
    start: float = 0.0,
    end: float | None = None,
    progress: Progress | None = None,
) -> Notes:
    """The notes of ``clip`` from ``start`` to ``end`` seconds; every frame is decoded unless only models look."""
    settings = settings or WatchSettings()
    watcher = Watcher(clip.name, settings, eyes=eyes, finder=finder, captioner=captioner)
    every = settings.looks is None or {"motion", "objects", "small"} & set(settings.want)
    frames = clip.frames(Sampling(None if every else settings.looks), start, end)
    with closing(frames):  # type: ignore[type-var]
        for frame in frames:
            watcher.update(frame, None if every else True)
            if progress is not None:
                progress(
                    f"watching {clip.name}",
                    frame.time or 0.0,
                    float(clip.times[-1]) if len(clip.times) else 0.0,
                )
    return watcher.taken()
