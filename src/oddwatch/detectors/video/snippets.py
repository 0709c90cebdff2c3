"""Snippets: a clip in steps of 16 frames as rows of numbers, pooled to segments, drawn as bags, spread back to frames.

Needs numpy only. The definitions are those in which the weakly supervised methods agree or differ (Sultani et al. 2018, RTFM
2021, UR-DMU 2023): three ways to pool a clip's snippets to a fixed number of segments, and batches of as many normal as
anomalous clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from scipy.spatial.distance import pdist

from oddwatch.core import InputError
from oddwatch.detectors.video.notes import Notes

PARTS = ("cls", "motion", "objects")
"""What a snippet's row can be made of: see :func:`appearance`, :func:`motion`, :func:`objects`."""
Pooling = Literal["linspace0", "matlab1", "index"]
KEEP = 1 << 29
"""Bytes of pooled clips that :class:`Bags` keeps; what is beyond is pooled again when it is drawn."""


# -- rows of a clip ----------------------------------------------------------------------------------------------------


def starts(frames: int, length: int) -> np.ndarray:
    """First frames (N,) of the snippets of ``length``. A rest of at least half a snippet is one more; a smaller rest
    belongs to the last, so that every frame is in one. At least one snippet; none of no frames."""
    if length < 1:
        raise InputError("length", f"expected at least one frame a snippet, got {length}")
    count = max(1, (frames + length // 2) // length) if frames else 0
    return np.arange(count) * length


def snippets(notes: Notes, length: int = 16, parts: Sequence[str] = PARTS) -> np.ndarray:
    """Rows (N, D) float32 of the snippets of a clip: the named ``parts`` side by side.

    Raises:
        InputError: an unknown part, none, or notes without what a part reads.
    """
    makers = {"cls": appearance, "motion": motion, "objects": objects}
    unknown = [part for part in parts if part not in makers]
    if unknown or not parts:
        raise InputError("parts", f"expected some of {', '.join(PARTS)}, got {', '.join(unknown) or 'none'}")
    return np.concatenate([makers[part](notes, length) for part in parts], 1).astype(np.float32)


def appearance(notes: Notes, length: int = 16) -> np.ndarray:
    """(N, D) mean class token of the looked-at frames of each snippet; where there are none, of the nearest snippet
    that has some.

    Raises:
        InputError: the notes have no class tokens.
    """
    if not len(notes.cls):
        what = "have no class tokens of the backbone"
        raise InputError(f"notes of {notes.name}", what, "watch with a backbone, or leave cls out of parts")
    first = starts(len(notes), length)
    owner = _owner(notes.looked, first, length)
    total = np.zeros((len(first), notes.cls.shape[1]))
    np.add.at(total, owner, notes.cls.astype(np.float64))
    looks = np.bincount(owner, minlength=len(first))
    return _nearest(total / np.maximum(looks, 1)[:, None], looks > 0)


def motion(notes: Notes, length: int = 16) -> np.ndarray:
    """(N, 9) of the motion in each snippet, speeds in frame heights a second, changes of grey 0–1.

    Means over its frames of: mean speed, the fastest cell's, speed of the mean flow, what the mean speed exceeds it by (things
    moving in different directions), mean change, the most changed cell's; the largest fastest cell and most changed cell
    of any frame; and the deviation of the mean speed over the frames.

    Raises:
        InputError: the notes have no motion.
    """
    if not len(notes.motion):
        raise InputError(
            f"notes of {notes.name}", "have no motion", "watch again, or leave motion out of parts"
        )
    cells = notes.motion.reshape(len(notes), -1, 4).astype(np.float64)
    mean, most = cells.mean(1), cells.max(1)
    whole = np.hypot(mean[:, 1], mean[:, 2])
    frames = np.stack(
        [mean[:, 0], most[:, 0], whole, np.maximum(mean[:, 0] - whole, 0), mean[:, 3], most[:, 3]], 1
    )
    first = starts(len(notes), length)
    counts = np.diff(np.append(first, len(notes)))[:, None]
    means = np.add.reduceat(frames, first) / counts
    peaks = np.maximum.reduceat(frames[:, [1, 5]], first)
    spread = np.add.reduceat(np.square(frames[:, :1]), first) / counts - np.square(means[:, :1])
    return np.concatenate([means, peaks, np.sqrt(np.maximum(spread, 0))], 1)


def objects(notes: Notes, length: int = 16) -> np.ndarray:
    """(N, 7) of what is in each snippet: people a frame, mean (over the frames where people were looked for) and most;
    moving things a frame, mean and most; the closest two people ever come, between their boxes' centres, in frame heights
    and at most 1; the largest share of the picture under boxes in a frame; the fastest object's mean speed."""
    found, first = notes.objects, starts(len(notes), length)
    n, owner = len(notes), _owner(np.arange(len(notes)), first, length)
    people = np.bincount(found.frame[found.person], minlength=n).astype(np.float64)
    things = np.bincount(found.frame[~found.person], minlength=n).astype(np.float64)
    searched = people > 0
    searched[notes.looked] = True
    looks = np.bincount(owner[searched], minlength=len(first))
    mean = np.bincount(owner, people, len(first)) / np.maximum(looks, 1)
    covered = np.zeros(n)
    sides = found.box[:, 2:] - found.box[:, :2]
    np.add.at(covered, found.frame, sides.prod(1) / (notes.size[0] * notes.size[1]))
    fastest = np.zeros(n)
    np.maximum.at(fastest, found.frame, np.nan_to_num(found.velocity).sum(1))
    seen = _nearest(np.stack([mean, np.maximum.reduceat(people, first)], 1), looks > 0)
    rest = [
        np.bincount(owner, things, len(first)) / np.bincount(owner),
        np.maximum.reduceat(things, first),
        np.minimum.reduceat(_gaps(notes), first),
        np.maximum.reduceat(np.minimum(covered, 1), first),
        np.maximum.reduceat(fastest, first),
    ]
    return np.concatenate([seen, np.stack(rest, 1)], 1)


def _gaps(notes: Notes) -> np.ndarray:
    """(N,) the smallest distance of two people in each frame, in frame heights, at most 1."""
    found = notes.objects.where(notes.objects.person)
    out = np.ones(len(notes))
    centres = (found.box[:, :2] + found.box[:, 2:]) / 2 / notes.size[0]
    for frame in np.flatnonzero(np.bincount(found.frame, minlength=len(notes)) > 1):
        out[frame] = min(1.0, float(pdist(centres[found.frame == frame]).min()))
    return out


def _owner(frames: np.ndarray, first: np.ndarray, length: int) -> np.ndarray:
    return np.minimum(frames // length, len(first) - 1)


def _nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rows (N, …) with those not ``known`` replaced by the nearest that is; all as they are where none is known."""
    at = np.flatnonzero(known)
    if not at.size:
        return values
    rows = np.arange(len(values))
    return np.asarray(values[at[np.abs(rows[:, None] - at).argmin(1)]])


# -- segments and frames -----------------------------------------------------------------------------------------------


def edges(snippets: int, segments: int, how: Pooling = "linspace0") -> np.ndarray:
    """Where the segments of a clip of so many ``snippets`` begin and the last one ends: (segments + 1,) int.

    Segment i holds the snippets from edge i up to before edge i + 1, or the one at edge i where these are equal. ``matlab1``
    counts from 1, as Sultani's code does; its last snippet is in no segment unless that segment would be empty.
    ``index`` takes one snippet a segment: the edges are these snippets, and the last again.

    Raises:
        InputError: no snippet, no segment, or another name.
    """
    if snippets < 1 or segments < 1:
        raise InputError("segments", f"expected at least 1 of at least 1 snippet, got {segments}, {snippets}")
    if how == "linspace0":
        return np.linspace(0, snippets, segments + 1).astype(np.int64)
    if how == "matlab1":
        return np.floor(np.linspace(1, snippets, segments + 1) + 0.5).astype(np.int64)
    if how == "index":
        at = np.linspace(0, snippets - 1, segments).astype(np.int64)
        return np.append(at, at[-1])
    raise InputError("how", f"expected linspace0, matlab1 or index, got {how!r}")


def pool(x: np.ndarray, segments: int, how: Pooling = "linspace0") -> np.ndarray:
    """Rows (…, N, D) of snippets as means (…, segments, D) float32. With ``matlab1`` each is brought to length 1."""
    edge = edges(x.shape[-2], segments, how)
    if how == "index":
        return np.asarray(x[..., edge[:-1], :], np.float32)
    if how == "matlab1":
        edge = edge - 1
    used = x[..., : max(edge[-1], edge[-2] + 1), :].astype(np.float64)
    # reduceat takes the row itself where a range is empty, which is the definition
    means = np.add.reduceat(used, edge[:-1], axis=-2) / np.maximum(np.diff(edge), 1)[:, None]
    if how == "matlab1":
        means /= np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), 1e-12)
    return np.asarray(means, np.float32)


def unpooled(scores: np.ndarray, snippets: int, how: Pooling = "matlab1", legacy: bool = False) -> np.ndarray:
    """Scores (segments,) given back to the ``snippets`` (N,) that each segment held.

    Where several segments hold one snippet the last decides. Snippets that no segment holds keep the score before them,
    or with ``legacy`` 0, as in Sultani's code.
    """
    edge = edges(snippets, len(scores), how) - (how == "matlab1")
    out = np.zeros(snippets)
    given = np.zeros(snippets, bool)
    for i, score in enumerate(scores):
        part = slice(edge[i], max(edge[i + 1], edge[i] + 1))
        out[part], given[part] = score, True
    if legacy:
        return out
    before = np.maximum.accumulate(np.where(given, np.arange(snippets), 0))
    return np.asarray(out[before])


def expand(scores: np.ndarray, length: int = 16, frames: int | None = None) -> np.ndarray:
    """Scores (N,) of snippets for every frame: each ``length`` times (``repeat``, what published ground truth of feature
    files is made for); with the true number of ``frames``, cut to it or the last held (``hold``)."""
    out = np.repeat(np.asarray(scores, np.float64), length)
    if frames is None or not len(out):
        return out
    return out[np.minimum(np.arange(frames), len(out) - 1)]


# -- bags --------------------------------------------------------------------------------------------------------------


def checked(features: Sequence[np.ndarray], labels: Sequence[int], who: str) -> list[np.ndarray]:
    """The clips as (K, N, D) views; K crops, 1 where they are given as (N, D).

    Raises:
        InputError: labels other than 0 and 1 or only one of them, clips without rows, or of several widths.
    """
    bags = as_bags(features)
    if len(labels) != len(bags) or not set(map(int, labels)) <= {0, 1}:
        raise InputError("labels", f"{who} expects a label 0 or 1 for each of {len(bags)} clips")
    if len(set(map(int, labels))) < 2:
        raise InputError("labels", f"{who} learns from normal (0) and anomalous (1) clips, got only one kind")
    shapes = {(bag.shape[0], bag.shape[2]) for bag in bags}
    if len(shapes) > 1:
        raise InputError("features", f"expected equal crops and widths (K, D), got {sorted(shapes)[:4]}")
    return bags


def as_bags(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Clips (N, D) or (K, N, D) as (K, N, D) views. Raises InputError where one is neither or has no rows."""
    bags = [x[None] if x.ndim == 2 else x for x in features]
    for i, bag in enumerate(bags):
        if bag.ndim != 3 or not bag.size:
            raise InputError(f"clip {i}", f"expected rows (N, D) or (K, N, D), got shape {features[i].shape}")
    return bags


def standard(bags: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (D,) float32 of all rows; 1 where a column never varies."""
    rows = sum(bag.shape[0] * bag.shape[1] for bag in bags)
    mean = sum(bag.sum((0, 1), dtype=np.float64) for bag in bags) / rows
    variance = sum(np.square(bag - mean).sum((0, 1)) for bag in bags) / rows
    deviation = np.sqrt(variance)
    return np.asarray(mean, np.float32), np.where(deviation < 1e-5, 1, deviation).astype(np.float32)


class Bags:
    """Batches of clips for ever: ``x`` (2·batch, K, T, D) float32 and labels (2·batch,), normal half first.

    The normal and the anomalous clips are two streams, each shuffled anew when it has been through; a rest too small for a batch is
    dropped. ``batch`` is at most the smaller stream. ``pooled`` makes (K, T, D) of a clip. With ``one_crop`` a clip shows
    one of its crops at a time (K = 1), drawn by chance.
    """

    def __init__(
        self,
        bags: Sequence[np.ndarray],
        labels: Sequence[int],
        batch: int,
        pooled: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator,
        one_crop: bool = False,
    ) -> None:
        self._bags, self._pooled, self._rng, self._one_crop = bags, pooled, rng, one_crop
        marks = np.asarray(labels)
        self._streams = [np.flatnonzero(marks == label) for label in (0, 1)]
        self.batch = min(batch, *map(len, self._streams))
        if self.batch < 1:
            raise InputError("bags", "expected at least one normal and one anomalous clip, and batch ≥ 1")
        self._kept: dict[int, np.ndarray] = {}
        self._room = KEEP

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        labels = np.repeat(np.array([0, 1], np.float32), self.batch)
        for halves in zip(*map(self._stream, self._streams), strict=False):
            yield np.stack([self._clip(int(i)) for half in halves for i in half]), labels

    def _stream(self, clips: np.ndarray) -> Iterator[np.ndarray]:
        while True:
            order = self._rng.permutation(clips)
            for start in range(0, len(order) - self.batch + 1, self.batch):
                yield order[start : start + self.batch]

    def _clip(self, i: int) -> np.ndarray:
        x = self._kept.get(i)
        if x is None:
            x = self._pooled(self._bags[i])
            if x.nbytes <= self._room:
                self._kept[i], self._room = x, self._room - x.nbytes
        if not self._one_crop:
            return x
        at = int(self._rng.integers(len(x)))
        return x[at : at + 1]
