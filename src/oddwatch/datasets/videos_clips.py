"""Clips that are no video file of their own: stills with times, and a part of a video."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import numpy as np

from oddwatch.core import Frame, InputError, MediaError
from oddwatch.datasets import store as _store
from oddwatch.media.video import Sampling, Video

_EPSILON = 1e-6


class Clip(Protocol):
    """What is watched: a :class:`~oddwatch.media.video.Video`, :class:`Stills` or :class:`Part`."""

    @property
    def name(self) -> str: ...
    @property
    def times(self) -> np.ndarray: ...
    def frames(
        self, sample: Sampling | None = None, start: float = 0.0, end: float | None = None
    ) -> Iterator[Frame]: ...


class Stills:
    """Pictures ``files`` of a folder or zip as a clip: at ``numbers`` / ``fps`` seconds, or one after the other."""

    def __init__(
        self, name: str, store: str, files: Sequence[str], fps: float, numbers: Sequence[int] = ()
    ) -> None:
        if not fps > 0 or (numbers and len(numbers) != len(files)):
            raise InputError(name, "expected fps above 0 and a frame number for each picture or for none")
        self.name, self.store, self.files = name, store, tuple(files)
        at = np.asarray(numbers if numbers else range(len(files)), np.float64) / fps
        if (np.diff(at) <= 0).any():
            raise InputError(name, "expected pictures in order of time")
        self.times: np.ndarray = at
        self._broken: list[str] = []

    @property
    def fps(self) -> float:
        """Pictures a second, from the median step; 1 for a single picture."""
        steps = np.diff(self.times)
        return float(1 / np.median(steps)) if len(steps) else 1.0

    @property
    def duration(self) -> float:
        """Seconds to the end of the last picture."""
        return float(self.times[-1]) + 1 / self.fps if len(self.times) else 0.0

    @property
    def problems(self) -> list[str]:
        """Pictures that could not be read so far, and why."""
        return list(self._broken)

    def frames(
        self, sample: Sampling | None = None, start: float = 0.0, end: float | None = None
    ) -> Iterator[Frame]:
        """As :meth:`Video.frames`; broken pictures are left out and listed in :attr:`problems`.

        Raises:
            InputError: sampling by scene changes, which stills do not have.
        """
        sample = sample or Sampling()
        if sample.scene is not None:
            raise InputError(self.name, "stills are sampled by time only", "leave the scene threshold out")
        stop = math.inf if end is None else end
        for index in self._picked(sample.fps):
            time = float(self.times[index])
            if not start - _EPSILON <= time < stop - _EPSILON:
                continue
            try:
                pixels = _store.read_pixels(self.store, self.files[index])
            except MediaError as error:
                if str(error) not in self._broken:
                    self._broken.append(str(error))
                continue
            yield Frame(pixels, self.name, time, int(index))

    def _picked(self, fps: float | None) -> np.ndarray:
        """Indices of the pictures on the grid k / fps."""
        if fps is None or not len(self.times):
            return np.arange(len(self.times))
        grid = np.arange(math.floor(self.times[-1] * fps + _EPSILON) + 1) / fps
        shown = np.searchsorted(self.times, grid + _EPSILON, side="right") - 1
        return np.unique(np.maximum(shown, 0))


class Part:
    """Frames ``first`` to before ``stop`` of a video, at their times in it; ``Frame.index`` counts in the part."""

    def __init__(self, video: Video, name: str, first: int, stop: int) -> None:
        if not 0 <= first < min(stop, len(video.times)):
            raise InputError(name, f"has {len(video.times)} frames, expected some of {first} to {stop - 1}")
        self.video, self.name, self._first = video, name, first
        self._stop = min(stop, len(video.times))

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the part's frames in the video, (N,) s."""
        return self.video.times[self._first : self._stop]

    @property
    def fps(self) -> float:
        return self.video.fps

    @property
    def duration(self) -> float:
        """Seconds from its first frame to the end of its last."""
        return float(self.times[-1] - self.times[0]) + 1 / self.fps

    def frames(
        self, sample: Sampling | None = None, start: float = 0.0, end: float | None = None
    ) -> Iterator[Frame]:
        """As :meth:`Video.frames`, of the part only."""
        times = self.video.times
        after = float(times[self._stop]) if self._stop < len(times) else None
        ends = [e for e in (after, end) if e is not None]
        first = max(start, float(times[self._first]))
        if ends and min(ends) < first:
            return
        for frame in self.video.frames(sample, first, min(ends) if ends else None):
            index = None if frame.index is None else frame.index - self._first
            yield replace(frame, source=self.name, index=index)
