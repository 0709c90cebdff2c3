"""Linear: clips labelled as a whole, judged by a ridge on how they move and on the tokens of what moves (ours; no torch).

Idea. 1. A snippet is described by three blocks: statistics of the movement of the picture's cells and of its change; the mean
backbone token of the places that move, weighted by their speed; and how much tokens change from look to look. 2. A clip is the
mean of its snippets. 3. Columns are standardised and each block is given the same total variance, so that fourteen
numbers weigh as much as four hundred. 4. Labels are fitted by ridge regression in closed form; its strength is the one with
the least squared error of leaving groups of alike clips out, also in closed form (PRESS, Allen 1974, by groups): clips cut
from one film predict each other, and leaving out one alone would choose a strength that learns films by heart. 5. As it is
linear, it scores snippets as it scores clips, and a snippet's score goes to its frames, smoothed.

Needs clips labelled as a whole, normal and anomalous, with motion and tokens noted. It is the baseline that multiple-instance
learning has to beat where there are hundreds of clips, not thousands, and where what is anomalous fills the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.ndimage import gaussian_filter1d

from oddwatch.core import Curve, InputError
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.snippets import expand, starts

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-6, 5))
FAINT = 1e-5
FIRST = 2
"""The first frames have no movement to speak of, or none to differ from."""


@dataclass(kw_only=True, eq=False)
class Linear(VideoDetector):
    """``length`` frames a snippet; ``layer`` of the noted tokens (None: the first); ``smooth`` seconds (σ); ``alike`` cosine
    distance of mean class tokens up to which clips show the same place."""

    NAME: ClassVar[str] = "linear"
    READS: ClassVar[tuple[str, ...]] = ("motion", "tokens", "cls")
    LABELS: ClassVar[bool] = True
    STATE: ClassVar[tuple[str, ...]] = ("mean", "unit", "weights")

    length: int = 16
    layer: str | None = None
    smooth: float = 1.0
    alike: float = 0.1
    mean: np.ndarray | None = field(default=None, init=False, repr=False)
    unit: np.ndarray | None = field(default=None, init=False, repr=False)
    weights: np.ndarray | None = field(default=None, init=False, repr=False)

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        wanted = np.array(labels or (), np.float64)
        if set(wanted.tolist()) != {0.0, 1.0}:
            raise InputError("labels", "expected normal (0) and anomalous (1) clips", "give both kinds")
        blocks = [self._rows(notes) for notes in normal]
        widths = np.array([block.shape[1] for block in blocks[0]])
        clips = np.stack([np.concatenate(b, axis=1).mean(axis=0) for b in blocks])
        self.mean = clips.mean(axis=0)
        self.unit = np.maximum(clips.std(axis=0), 1e-9) * np.repeat(np.sqrt(widths), widths)
        x = (clips - self.mean) / self.unit
        self.weights = x.T @ _ridge(x @ x.T, 2 * wanted - 1, self._groups(normal))

    def _curve(self, notes: Notes) -> Curve:
        assert self.mean is not None and self.unit is not None and self.weights is not None
        rows = np.concatenate(self._rows(notes), axis=1)
        if rows.shape[1] != len(self.mean):
            raise InputError(
                f"notes of {notes.name}",
                f"give {rows.shape[1]} numbers a snippet, learnt were {len(self.mean)}",
            )
        scores = ((rows - self.mean) / self.unit) @ self.weights
        values = gaussian_filter1d(
            expand(scores, self.length, len(notes)), self.smooth * notes.fps, mode="nearest"
        )
        return Curve(notes.name, notes.times, values, {"learnt": values})

    def _groups(self, clips: Sequence[Notes]) -> np.ndarray:
        """(n,) which clips show the same place, by average linkage; clips without class tokens are each their own."""
        if not all(len(notes.cls) for notes in clips) or len(clips) < 2:
            return np.arange(len(clips))
        means = np.stack([notes.cls.astype(np.float64).mean(axis=0) for notes in clips])
        found: np.ndarray = fcluster(linkage(means, "average", metric="cosine"), self.alike, "distance")
        return found if len(np.unique(found)) > 1 else np.arange(len(clips))

    def _rows(self, notes: Notes) -> list[np.ndarray]:
        """The three blocks, each (N, D), of the snippets of a clip."""
        if not (notes.has("motion") and notes.has("tokens")):
            raise InputError(f"notes of {notes.name}", "have no motion or no tokens", "watch with a backbone")
        layer = self.layer or next(iter(notes.tokens))
        if layer not in notes.tokens:
            raise InputError("layer", f"{layer!r} was not noted", f"one of: {', '.join(notes.tokens)}")
        first = starts(len(notes), self.length)
        return [_movement(notes, first), *_looks(notes, notes.tokens[layer], first, self.length)]


def _ridge(gram: np.ndarray, wanted: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(n,) dual weights of the ridge whose error of leaving out ``groups`` (n,) is least, from the clips' Gram matrix (n, n)."""
    best, found = np.inf, np.zeros(len(wanted))
    for strength in STRENGTHS:
        inverse = np.linalg.inv(gram + strength * np.eye(len(gram)))
        dual = inverse @ wanted
        error = np.empty(len(wanted))
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            error[own] = np.linalg.solve(inverse[np.ix_(own, own)], dual[own])
        if (loss := float(np.square(error).mean())) < best:
            best, found = loss, dual
    return found


def _movement(notes: Notes, first: np.ndarray) -> np.ndarray:
    """(N, 14) logarithms of how the cells move in each snippet: speed (mean, most, middle, share that moves, concentration),
    unevenness (most and mean against the middle flow, gradients), acceleration (most, mean, against speed), deviation over
    time, strongest change, objects a frame."""
    ends = np.append(first[1:], len(notes))
    counts = np.bincount(notes.objects.frame, minlength=len(notes))
    rows = []
    for a, b in zip(first.tolist(), ends.tolist(), strict=True):
        a = max(a, min(FIRST, b - 2))
        cells = notes.motion[max(a, 0) : b].astype(np.float64)
        speed, uv = cells[..., 0], cells[..., 1:3]
        flat = uv.reshape(len(uv), -1, 2)
        apart = np.linalg.norm(flat - np.median(flat, axis=1, keepdims=True), axis=-1)
        steep = sum(np.linalg.norm(np.diff(uv, axis=axis), axis=-1).max(initial=0.0) for axis in (1, 2))
        pull = np.linalg.norm(np.diff(uv, axis=0), axis=-1) if len(uv) > 1 else np.zeros((1, *uv.shape[1:3]))
        rows.append(
            [
                speed.mean(), np.percentile(speed, 99.5), np.median(speed), (speed > 0.05).mean(),
                np.percentile(speed, 99) / (speed.mean() + 0.01), np.percentile(apart, 99.5), apart.mean(), steep,
                np.percentile(pull, 99.5), pull.mean(), pull.mean() / (speed.mean() + 0.005), uv.std(axis=0).mean(),
                np.percentile(cells[..., 3], 99.5), counts[a:b].mean(),
            ]
        )  # fmt: skip
    return np.log(np.maximum(np.array(rows), FAINT))


def _looks(notes: Notes, tokens: np.ndarray, first: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) mean token of what moves, and (N, D) mean absolute change of tokens from look to look, of the looks nearest
    to each snippet."""
    seen = tokens.astype(np.float32)
    rows, columns = notes.grid
    moving = []
    for token, at in zip(seen, notes.looked.tolist(), strict=True):
        speed = notes.motion[max(0, at - 2) : at + 5, ..., 0].astype(np.float32).mean(axis=0)
        weight = cv2.resize(speed, (columns, rows), interpolation=cv2.INTER_AREA).ravel() + 1e-4
        moving.append(weight @ token / weight.sum())
    changes = np.abs(np.diff(seen, axis=0)).mean(axis=1)
    changes = np.concatenate([changes[:1], changes]) if len(changes) else np.zeros((len(seen), seen.shape[2]))
    middles = first + length / 2
    near = [
        np.abs(notes.looked - m) <= max(length / 2, float(np.abs(notes.looked - m).min())) for m in middles
    ]
    return np.stack([np.mean(np.array(moving)[k], axis=0) for k in near]), np.stack(
        [changes[k].mean(axis=0) for k in near]
    )
