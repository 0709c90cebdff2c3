"""Watch a clip once and note what detectors read: movement on every frame, models on a few a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from oddwatch.core import Box, Frame, ImageEncoder, InputError, Person, Progress, Tokens, Track
from oddwatch.detectors.video.notes import BINS, Notes, Objects
from oddwatch.media.flow import Field, FlowMeter, ThingTracker, moving_things
from oddwatch.media.left import LeftThings
from oddwatch.media.people import PeopleFinder
from oddwatch.media.tracking import Tracker
from oddwatch.media.video import Sampling

WANTED = ("motion", "objects", "people", "deep", "tokens", "captions", "small", "left")
THINGS = 1_000_000
"""Tracks of moving things are numbered from here on, those of people from 1."""
Captioner = Callable[[Frame, Sequence[Person], Tokens | None], str]
"""A sentence for a looked-at frame."""
Row = tuple[Box, int, Person | None, np.ndarray, np.ndarray | None]
"""An object: box, track, the person it is, directions of its movement, deep vector."""


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
    """``want``: what to note, of :data:`WANTED`: "deep" gives the deep vectors of objects, "tokens" these and the whole
    frame's patch and class tokens, at a quarter more time and a fifth of a megabyte a look; "left" gives things that stay and
    were not there before. ``looks`` a second the models get, None for every frame. ``rows`` of the grid of motion cells
    (columns follow the aspect). ``layers`` of the backbone; the first gives the deep vectors. ``small`` height of the small grey frames.
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
    with the numbers that ``tracker`` gave them. With ``beside`` the models look in its threads, both at once where it has
    two, while later frames' movement is measured: the notes are the same, and ``people`` those of the last look but one.

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
        beside: Executor | None = None,
    ) -> None:
        self.name, self.settings = name, settings or WatchSettings()
        self.eyes, self.finder, self.captioner, self._beside = eyes, finder, captioner, beside
        want = self.settings.want
        models = (("deep", eyes), ("tokens", eyes), ("people", finder), ("captions", captioner))
        for what, model in models:
            if what in want and model is None:
                raise InputError(f"want {what}", "has no model to note it", "give eyes, finder or captioner")
        self.people: list[Person] = []
        self.ended: list[Track] = []
        self._meter, self._things, self.tracker = (
            FlowMeter(self.settings.flow_height),
            ThingTracker(first=THINGS),
            Tracker(),
        )
        self._left = LeftThings()
        self._size: tuple[int, int] | None = None
        self._due = -np.inf
        self._pending: Callable[[], None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._times: list[float] = []
        self._motion: list[np.ndarray] = []
        self._small: list[np.ndarray] = []
        self._looked: list[int] = []
        self._tokens: list[Tokens] = []
        self._captions: list[str] = []
        self._encoder = ""
        self._rows: list[list[Row]] = []  # of each frame
        self._stays: list[tuple[float, ...]] = []

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
        self._rows.append([])
        if look is None:
            look = self._is_due(frame.time)
        later: tuple[Future[list[Person]], Future[Tokens | None]] | None = None
        if look:
            self._settle()
            if self._beside is not None:
                later = self._beside.submit(self._who, frame), self._beside.submit(self._encoded, frame)
        field = self._moved(frame)
        things = self._followed(field, frame.time)
        if not look:
            self._note(at, field, things, [], None)
        elif later is None:
            self._note_look(frame, at, field, things, self._who(frame), self._encoded(frame))
        else:
            who, encoded = later
            self._pending = lambda: self._note_look(frame, at, field, things, who.result(), encoded.result())

    def _is_due(self, time: float) -> bool:
        if self.settings.looks is None:
            return True
        if time + 1e-6 < self._due:
            return False
        step = 1 / self.settings.looks
        self._due = (np.floor(time / step + 1e-6) + 1) * step
        return True

    def _moved(self, frame: Frame) -> Field | None:
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

    def _followed(self, field: Field | None, time: float) -> list[tuple[Box, int]]:
        """The moving things of a frame and their tracks."""
        if "objects" not in self.settings.want or field is None:
            return []
        boxes = moving_things(field)
        return list(zip(boxes, self._things.update(time, boxes), strict=True))

    def _who(self, frame: Frame) -> list[Person]:
        """The people in a frame, not followed yet; changes nothing here, so that it may run beside the rest."""
        if "people" not in self.settings.want:
            return []
        assert self.finder is not None
        return self.finder.find(frame)

    def _encoded(self, frame: Frame) -> Tokens | None:
        """What the backbone makes of a frame; changes nothing here either."""
        if not {"tokens", "deep"} & set(self.settings.want):
            return None
        assert self.eyes is not None
        whole = "tokens" in self.settings.want
        encode = (None if whole else getattr(self.eyes, "encode_up_to", None)) or self.eyes.encode
        tokens: Tokens = encode([frame], self.settings.layers if whole else self.settings.layers[:1])
        return tokens

    def _settle(self) -> None:
        """Wait for the look that is under way, and note it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending()

    def _note_look(
        self,
        frame: Frame,
        at: int,
        field: Field | None,
        things: list[tuple[Box, int]],
        found: Sequence[Person],
        tokens: Tokens | None,
    ) -> None:
        self._looked.append(at)
        want, people = self.settings.want, list[Person]()
        if tokens is not None:
            assert self.eyes is not None
            self._encoder = self.eyes.id
        if "tokens" in want and tokens is not None:
            self._tokens.append(tokens)
        if "people" in want:
            large = [p for p in found if max(p.box.width, p.box.height) >= self.settings.smallest]
            people = self.people = self.tracker.update(frame, large)
        if "left" in want:
            left = self._left.update(frame, [p.box for p in found])
            self._stays += [(at, *one.box.as_list(), one.seconds) for one in left]
        if "captions" in want:
            assert self.captioner is not None
            self._captions.append(self.captioner(frame, people, tokens))
        self._note(at, field, things, people, tokens)

    def _note(
        self,
        at: int,
        field: Field | None,
        things: list[tuple[Box, int]],
        people: Sequence[Person],
        tokens: Tokens | None,
    ) -> None:
        """The objects of a frame: people, and moving things that are none of them."""
        if "objects" not in self.settings.want:
            field = None
        shown: list[tuple[Box, int, Person | None]] = [(p.box, p.track or -1, p) for p in people]
        shown += [
            (box, track, None)
            for box, track in things
            if not any(box.intersection(p.box) > 0.6 * box.area for p in people)
        ]
        still = np.full(BINS, np.nan)
        self._rows[at] = [
            (
                box,
                track,
                person,
                still if field is None else field.histogram(box),
                self._under(box, tokens),
            )
            for box, track, person in shown
        ]

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
        self._settle()
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
            self._encoder,
            np.stack(self._small) if self._small else np.zeros((0, 0, 0), np.uint8),
            np.array(self._stays, np.float32).reshape(-1, 6),
        )
        self._begin()
        return notes

    def _objects(self) -> Objects:
        if not any(self._rows):
            return Objects()
        at = [i for i, rows in enumerate(self._rows) for _ in rows]
        boxes, tracks, people, velocity, deep = zip(*(r for rows in self._rows for r in rows), strict=True)
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
    every = settings.looks is None or {"motion", "objects", "small"} & set(settings.want)
    frames = clip.frames(Sampling(None if every else settings.looks), start, end)
    with closing(frames), ThreadPoolExecutor(2, "looks") as beside:  # type: ignore[type-var]
        watcher = Watcher(clip.name, settings, eyes=eyes, finder=finder, captioner=captioner, beside=beside)
        for frame in frames:
            watcher.update(frame, None if every else True)
            if progress is not None:
                progress(
                    f"watching {clip.name}",
                    frame.time or 0.0,
                    float(clip.times[-1]) if len(clip.times) else 0.0,
                )
        return watcher.taken()
