"""Sets of video for anomaly detection: clips to learn from, labelled clips to test on, pixel masks where drawn.

``read_video_sets`` recognises what lies in a folder by its layout (see ``videos_formats`` and ``videos_public``), never
by its name; stills in zips are read in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oddwatch.core import InputError, Jsonable, Span
from oddwatch.datasets.videos_files import Tree, mask_frames, mask_labels
from oddwatch.datasets.videos_tracks import TrackTable, read_tables

if TYPE_CHECKING:
    from oddwatch.datasets.videos_clips import Clip

_DEEPEST = 3
_LOOSE_FRAMES = 16
"""Frames by which a file may be longer or shorter than its labels: decoders differ, labels are made in steps of 16."""


@dataclass(frozen=True, slots=True)
class VideoItem(Jsonable):
    """One clip of a set.

    ``files`` in ``store`` (a folder or zip): one video, or stills in order; none where only labels are there. ``part``
    are the clip's frames of that video, half-open, None for all. ``numbers`` of stills: which frames they are of the
    video they were taken from, at ``fps`` frames a second; of a video 0 where the file tells. ``n_frames`` as annotated,
    0 where only the file tells. ``label`` says whether the clip is anomalous (1) as a whole, None where nobody said;
    ``ranges`` are its anomalous frames, half-open and counted in the clip, None where not annotated by frame. ``masks``
    in ``mask_store``: one ``.npz``, ``.npy`` or ``.mat`` file, or a picture a frame ("" for nothing drawn). ``tracks``
    is a table of boxes in place of pixels, ``size`` the (height, width) they are drawn in. Clips of one ``group`` come
    from one source and never lie on both sides of a fold.
    """

    name: str
    store: str = ""
    files: tuple[str, ...] = ()
    split: str = "test"
    label: int | None = None
    cls: str = ""
    scene: str = ""
    group: str = ""
    fps: float = 0.0
    n_frames: int = 0
    ranges: tuple[tuple[int, int], ...] | None = None
    part: tuple[int, int] | None = None
    numbers: tuple[int, ...] = ()
    mask_store: str = ""
    masks: tuple[str, ...] = ()
    tracks: str = ""
    size: tuple[int, int] | None = None

    @property
    def by_frame(self) -> bool:
        """Whether frame labels are known: annotated, drawn as masks, or the whole clip is normal."""
        return self.ranges is not None or bool(self.masks) or self.label == 0

    def frame_labels(self, n: int | None = None) -> np.ndarray | None:
        """(n,) uint8, 1 for an anomalous frame; None where not annotated by frame.

        ``n`` is how many frames the file has: where it has a few more or fewer than annotated (up to 16 or 1 %), the tail
        is cut or the last label held.

        Raises:
            InputError: the file and its labels do not belong together, or ``n`` is needed and not given.
        """
        if not self.by_frame:
            return None
        if self.ranges is None and self.masks:
            labels = mask_labels(self.mask_store, self.masks)
        else:
            count = self.n_frames or n
            if not count:
                raise InputError(
                    self.name, "does not say how many frames it has", "give the number of its frames"
                )
            labels = np.zeros(count, np.uint8)
            for start, end in self.ranges or ():
                labels[start:end] = 1
        return labels if n is None or n == len(labels) else self._fitted(labels, n)

    def _fitted(self, labels: np.ndarray, n: int) -> np.ndarray:
        if not n or not len(labels) or abs(n - len(labels)) > max(_LOOSE_FRAMES, len(labels) // 100):
            raise InputError(self.name, f"has {n} frames, its labels are of {len(labels)}", "check the files")
        return np.pad(labels[:n], (0, max(0, n - len(labels))), mode="edge")

    def mask_frames(self) -> Iterator[np.ndarray | None]:
        """What is anomalous in each frame, (H, W) bool; None where nothing was drawn for it.

        Raises:
            InputError, MediaError, LimitError: a file that holds no masks.
        """
        return mask_frames(self.mask_store, self.masks)

    def table(self) -> TrackTable:
        """The clip's boxes. Raises MissingExtra without a reader of the table, InputError where there are none."""
        if not self.tracks:
            raise InputError(self.name, "has no table of tracks", "read its frames")
        tables = read_tables(self.store, self.tracks)
        if self.name not in tables:
            raise InputError(f"{self.store}: {self.tracks}", f"holds no boxes of {self.name}")
        return tables[self.name]

    def frames(self) -> Clip:
        """The clip itself, see :func:`clip_of`."""
        return clip_of(self)


def spans_of(labels: np.ndarray, times: np.ndarray) -> list[Span]:
    """The anomalous stretches of a clip in seconds, half-open: ``labels`` (N,) at ``times`` (N,).

    A stretch ends where the next frame begins; the last frame lasts as long as the median one.
    """
    if not len(labels):
        return []
    steps = np.diff(times)
    last = float(np.median(steps)) if len(steps) else 1.0
    ends = np.append(times[1:], times[-1] + last)
    return [Span(float(times[a]), float(ends[b - 1])) for a, b in runs(labels)]


def runs(labels: np.ndarray | Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Half-open index ranges in which ``labels`` is not 0."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(labels) != 0, [0]]).astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


@dataclass(frozen=True, slots=True)
class VideoSet(Jsonable):
    """Clips to learn from and labelled ones to test on.

    With ``folds`` the two share their sources: :meth:`rounds` then gives as many rounds, in each of which what is
    learnt and what is tested come from different groups. ``alike`` finds the groups by near-duplicate pictures (clips
    that were cut from one source). ``train`` may hold anomalous clips (label 1) for methods that learn from labels.
    ``moving`` is False where stills lie so far apart that they show no motion. ``note`` says in words how the clips were
    split; ``layout`` is the row of ``VIDEO_SETS`` it was read as.
    """

    name: str
    category: str
    train: tuple[VideoItem, ...]
    test: tuple[VideoItem, ...]
    note: str = ""
    layout: str = ""
    folds: int = 0
    alike: bool = False
    moving: bool = True

    def rounds(
        self, folds: int | None = None, seed: int = 0
    ) -> Iterator[tuple[list[VideoItem], list[VideoItem]]]:
        """(to learn from, to test on) for each fold; just once where the set has a split of its own.

        ``folds`` in place of the set's own number; as many as groups leave one out. Groups are dealt out by ``seed``, the
        largest first, so that folds hold about as many anomalous and normal test clips.
        """
        if not self.folds:
            yield list(self.train), list(self.test)
            return
        groups = self._groups()
        dealt = _dealt([(groups[i.name], i.label or 0) for i in self.test], folds or self.folds, seed)
        for fold in sorted(set(dealt.values())):
            train = [i for i in self.train if dealt.get(groups[i.name]) != fold]
            yield train, [i for i in self.test if dealt[groups[i.name]] == fold]

    def _groups(self) -> dict[str, str]:
        items = [*self.train, *self.test]
        if self.alike:
            from oddwatch.datasets.videos_alike import look_alikes

            return look_alikes(list({i.name: i for i in items}.values()))
        return {item.name: item.group or item.name for item in items}


def _dealt(items: Sequence[tuple[str, int]], folds: int, seed: int) -> dict[str, int]:
    """Group → fold: each group, the largest first, goes where fewest clips with its labels lie."""
    groups = sorted({g for g, _ in items})
    if folds < 2 or len(groups) < 2:
        raise InputError("folds", f"expected 2 or more of 2 or more groups, got {folds} of {len(groups)}")
    counts = {
        g: np.array([sum(1 for o, label in items if (o, label) == (g, y)) for y in (0, 1)]) for g in groups
    }
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    held = np.zeros((min(folds, len(groups)), 2))
    dealt = {}
    for group in sorted(order, key=lambda g: -int(counts[g].sum())):
        own = counts[group]
        best = min(range(len(held)), key=lambda f: (float(held[f] @ own), float(held[f].sum())))
        dealt[group] = best
        held[best] += own
    return dealt


def clip_of(item: VideoItem) -> Clip:
    """The clip to look at: ``name``, ``times`` (N,) s, ``frames(sampling, start, end)`` as a video has them.

    Raises:
        InputError: there are no pictures, only labels or tracks. MediaError, LimitError: they cannot be read.
    """
    from oddwatch.datasets.videos_clips import Part, Stills
    from oddwatch.datasets.videos_files import is_video
    from oddwatch.media.video import Video

    if not item.files:
        raise InputError(item.name, "has labels or tracks only, no pictures", "get the footage of the set")
    if not is_video(item.files[0]):
        return Stills(item.name, item.store, item.files, item.fps or 1.0, item.numbers)
    video = Video(Path(item.store) / item.files[0])
    return video if item.part is None else Part(video, item.name, *item.part)


def read_video_sets(folder: str | Path, *, seed: int = 0) -> list[VideoSet]:
    """The video sets in a folder (or in folders below, where it is none itself); ``seed`` is for splits of our own.

    Raises:
        InputError: nothing of a known layout; the message says what was looked for.
    """
    from oddwatch.datasets.videos_formats import LOOKED_FOR

    path = Path(folder)
    if not path.is_dir():
        raise InputError(str(path), "expected a folder of videos")
    found = _below(path, seed, 0)
    if not found:
        raise InputError(str(path), "no video set of a known layout", f"looked for {LOOKED_FOR}")
    return found


def _below(path: Path, seed: int, depth: int) -> list[VideoSet]:
    """The sets of a folder and of those folders in it that they do not use; where all lies in one folder that is a set by
    itself, that set."""
    from oddwatch.datasets.videos_formats import read_tree

    found = read_tree(Tree(path), seed)
    if depth == _DEEPEST:
        return found
    items = [i for s in found for i in (*s.train, *s.test) if i.store == str(path)]
    used = {file.partition("/")[0] for i in items for file in (*i.files, i.tracks) if file}
    children = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))
    children = [child for child in children if not child.is_symlink()]
    inner = [child for child in children if used == {child.name}]
    if inner and (better := _below(inner[0], seed, depth + 1)):
        found = better
    rest = [child for child in children if child.name not in used]
    return found + [one for child in rest for one in _below(child, seed, depth + 1)]


__all__ = ["TrackTable", "VideoItem", "VideoSet", "clip_of", "read_video_sets", "runs", "spans_of"]
