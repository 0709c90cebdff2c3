"""Notes of the clips of a set: each clip is watched once, its notes kept on disk, so that many detectors share one look."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import overload

import numpy as np

from oddwatch.core import InputError, Progress
from oddwatch.datasets.videos import VideoItem, clip_of
from oddwatch.detectors.video.notes import BINS, Notes, Objects
from oddwatch.detectors.video.watching import Captioner, WatchSettings, watch
from oddwatch.encoders.pose import pose_id
from oddwatch.encoders.vit import encoder_id
from oddwatch.media.sources import content_hash
from oddwatch.pipeline.models import Models

_FORMAT = 1
_HELD = 1024**3
"""Bytes of notes that are held in memory beside those on disk."""


class Watched:
    """The notes of clips, by ``settings``, kept in ``folder`` under the content of what was watched and by what.

    ``seconds`` and ``frames`` tell how long the watching really done here took, and of how many frames it was.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: WatchSettings,
        models: Models,
        captioner: Captioner | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.folder, self.settings, self.models = Path(folder), settings, models
        self.captioner, self.progress = captioner, progress
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seconds, self.frames = 0.0, 0
        self._held: OrderedDict[Path, Notes] = OrderedDict()
        self._times: dict[VideoItem, np.ndarray] = {}
        self._hashes: dict[Path, str] = {}

    @property
    def pace(self) -> float | None:
        """Seconds a frame took to watch, decoding included; None before one did."""
        return self.seconds / self.frames if self.frames else None

    def times(self, item: VideoItem) -> np.ndarray:
        """Seconds of the clip's frames, (N,)."""
        if item not in self._times:
            if item.tracks:
                self._times[item] = np.arange(item.n_frames) / (item.fps or 25.0)
            else:
                self._times[item] = clip_of(item).times
        return self._times[item]

    def notes(self, item: VideoItem) -> Notes:
        """The notes of one clip; a part of a video is cut from the notes of the whole.

        Raises:
            InputError: it has neither pictures nor tracks. MediaError, LimitError: they cannot be read.
        """
        if item.tracks:
            return track_notes(item)
        whole = self._whole(item)
        if item.part is None:
            return whole
        times = self.times(item)
        start, stop = np.searchsorted(whole.times, [times[0] - 1e-6, times[-1] + 1e-6])
        return whole.part(int(start), int(stop))

    def _whole(self, item: VideoItem) -> Notes:
        path = self._file(item)
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        notes = Notes.load(path) if path.is_file() else self._watch(item, path)
        self._held[path] = notes
        while len(self._held) > 1 and sum(map(_size, self._held.values())) > _HELD:
            self._held.popitem(last=False)
        return notes

    def _watch(self, item: VideoItem, path: Path) -> Notes:
        clip = clip_of(replace(item, part=None))
        want = self.settings.want
        eyes = self.models.patches if "tokens" in want else None
        finder = self.models.finder if "people" in want else None
        started = time.perf_counter()
        notes = watch(
            clip, self.settings, eyes=eyes, finder=finder, captioner=self.captioner, progress=self.progress
        )
        self.seconds += time.perf_counter() - started
        self.frames += len(clip.times)
        notes.save(path)
        return notes

    def _file(self, item: VideoItem) -> Path:
        """Where the notes of a whole clip lie or will lie: notes that hold more than what is wanted do as well."""
        store = Path(item.store)
        if not item.files:
            raise InputError(item.name, "has labels only, no pictures", "get the footage of the set")
        files = [store] if store.is_file() else [store / name for name in item.files]
        parts = [str(_FORMAT), repr(replace(self.settings, want=())), *(self._hash(f) for f in files)]
        if store.is_file() or len(item.files) > 1:
            parts += [*item.files, repr((item.fps, item.numbers))]
        key, wanted = _short("\n".join(parts), 32), {self._made_by(w) for w in self.settings.want}
        for path in sorted(self.folder.glob(f"{key}.*.npz")):
            if wanted <= set(path.name.split(".")[1].split("+")):
                return path
        return self.folder / f"{key}.{'+'.join(sorted(wanted))}.npz"

    def _made_by(self, what: str) -> str:
        """``what`` is noted, with a mark of the model that notes it."""
        if what == "tokens":
            return f"{what}-{_short(encoder_id(224), 8)}"
        if what == "people":
            return f"{what}-{_short(pose_id(), 8)}"
        if what == "captions":
            return f"{what}-{_short(str(getattr(self.captioner, 'id', type(self.captioner).__name__)), 8)}"
        return what

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = content_hash(path)
        return self._hashes[path]


class Lazy(Sequence[Notes]):
    """The notes of items, looked up when they are read."""

    def __init__(self, items: Sequence[VideoItem], watched: Watched) -> None:
        self.items, self.watched = items, watched

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Notes: ...
    @overload
    def __getitem__(self, index: slice) -> list[Notes]: ...
    def __getitem__(self, index: int | slice) -> Notes | list[Notes]:
        if isinstance(index, slice):
            return [self.watched.notes(item) for item in self.items[index]]
        return self.watched.notes(self.items[index])


def track_notes(item: VideoItem) -> Notes:
    """The notes of a table of tracks: people with boxes and tracks on every frame, nothing else known of them."""
    table = item.table()
    count = len(table)
    last = int(table.frame[-1]) if count else -1
    if last >= item.n_frames:
        raise InputError(item.name, f"has a box in frame {last}, its labels are of {item.n_frames}")
    height, width = item.size or (
        int(np.ceil(table.box[:, 3].max(initial=1))),
        int(np.ceil(table.box[:, 2].max(initial=1))),
    )
    objects = Objects(
        table.frame,
        table.box,
        table.track,
        np.ones(count, bool),
        np.ones(count, np.float32),
        np.full((count, 17, 3), np.nan, np.float32),
        np.full((count, BINS), np.nan, np.float32),
        np.full((count, 0), np.nan, np.float32),
    )
    times = np.arange(item.n_frames) / (item.fps or 25.0)
    return Notes(item.name, (height, width), times, objects=objects, looked=np.arange(item.n_frames))


def _short(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _size(notes: Notes) -> int:
    arrays = [getattr(notes, f.name) for f in fields(Notes)]
    arrays += [*notes.tokens.values(), *(getattr(notes.objects, f.name) for f in fields(Objects))]
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))
