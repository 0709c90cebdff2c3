"""The components of a picture on its token grid: by clustering its tokens, or from masks that a segmenter gives.

Shared by methods that compare like parts with like (UniVAD, arXiv 2412.03342). Without a segmenter the object is told from
its background by two clusters of tokens (the background holds most of the border), the object's tokens are clustered into
parts, and each 8-connected region of a part is a mask. With one, each of its masks joins the part it overlaps most.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import cv2
import numpy as np
from scipy.cluster.vq import kmeans2

from oddwatch.core import Frame
from oddwatch.detectors.image.anomalydino import UNIFORM, first_component, otsu
from oddwatch.detectors.image.heads import on_grid
from oddwatch.detectors.image.tokens import pool, unit

Kind = Literal["texture", "single", "multi"]
Segmenter = Callable[[Frame | np.ndarray], Sequence[np.ndarray]]
"""``segment(picture)`` gives masks (H, W) bool or 0/1 of the picture's own size, without one for the background."""

MOST = 8192
"""Tokens that clusters are made of; of more, some are drawn."""
LARGE = 0.65
"""A mask that covers more than this share of the picture is no object before a background, but a surface."""


def kmeans(x: np.ndarray, k: int, seed: int = 0, tries: int = 3) -> np.ndarray:
    """(≤ k, D) centres of the rows (n, D): the best of ``tries`` runs of Lloyd's algorithm from k-means++ starts.

    Fewer centres where there are fewer distinct rows.
    """
    x = np.asarray(x, np.float32)
    k = min(k, len(np.unique(x, axis=0)) if len(x) <= 4 * k else k)
    if k < 2 or float(np.ptp(x, axis=0).max(initial=0)) == 0:
        return x.mean(0, keepdims=True)
    best: tuple[float, np.ndarray] | None = None
    for attempt in range(tries):
        with warnings.catch_warnings():  # an empty cluster is left out below
            warnings.filterwarnings("ignore", message="One of the clusters is empty")
            rng = np.random.default_rng([seed, attempt])
            centres, labels = kmeans2(x, k, iter=30, minit="++", rng=rng)
        away = float(((x - centres[labels]) ** 2).sum())
        if best is None or away < best[0]:
            best = away, np.asarray(centres[np.unique(labels)], np.float32)
    assert best is not None
    return best[1]


def nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n,) which of the ``centres`` (k, D) is nearest to each row (n, D)."""
    return np.asarray(((centres**2).sum(1) - 2 * x @ centres.T).argmin(1))


def islands(mask: np.ndarray, smallest: int = 1) -> list[np.ndarray]:
    """The 8-connected regions of ``mask`` (rows, columns) bool of at least ``smallest`` cells, as masks."""
    number, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [labels == i for i in range(1, number) if stats[i, cv2.CC_STAT_AREA] >= smallest]


def spans_corners(mask: np.ndarray) -> bool:
    """Whether a mask (rows, columns) holds two opposite corners of the picture: then it is no object."""
    return bool((mask[0, 0] and mask[-1, -1]) or (mask[0, -1] and mask[-1, 0]))


def gate(masks: Sequence[np.ndarray]) -> Kind:
    """What a picture with these object masks shows: one of at most two masks covering more than 0.65 of it, a texture;
    exactly one mask, a single object; else several. No mask at all is a texture: there is nothing to set apart."""
    if not masks:
        return "texture"
    if len(masks) <= 2 and max(float(m.mean()) for m in masks) > LARGE:
        return "texture"
    return "single" if len(masks) == 1 else "multi"


@dataclass(frozen=True, eq=False)
class Components:
    """Clusters that tell what a token belongs to: ``sides`` (2, D) with number ``ground`` the background (one row: no
    object stands out), ``parts`` (k, D) of the object."""

    sides: np.ndarray
    ground: int
    parts: np.ndarray

    @classmethod
    def learn(cls, x: np.ndarray, grid: tuple[int, int], parts: int, seed: int = 0) -> Self:
        """From the tokens (B, T, D) of normal pictures; the first says whether an object stands out."""
        fields = _conditioned(x, grid)
        rows = fields.reshape(-1, fields.shape[-1])
        if otsu(first_component(fields[0]))[1] <= UNIFORM:
            return cls(rows.mean(0, keepdims=True), -1, kmeans(_some(rows, seed), parts, seed))
        sides = kmeans(_some(rows, seed), 2, seed)
        labels = nearest(rows, sides).reshape(-1, *grid)
        edge = np.ones(grid, bool)
        edge[1:-1, 1:-1] = False
        ground = int(np.bincount(labels[:, edge].ravel(), minlength=2).argmax())
        inside = rows[labels.ravel() != ground]
        return cls(sides, ground, kmeans(_some(inside if len(inside) else rows, seed), parts, seed))

    def object_of(self, x: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """(rows, columns) bool: the object among the tokens (T, D) of a picture; all where none stands out."""
        if self.ground < 0:
            return np.ones(grid, bool)
        return (nearest(_conditioned(x[None], grid)[0], self.sides) != self.ground).reshape(grid)

    def objects(self, x: np.ndarray, grid: tuple[int, int], smallest: int = 4) -> list[np.ndarray]:
        """Masks of the objects among the tokens (T, D): the regions of :meth:`object_of`."""
        return islands(self.object_of(x, grid), smallest)

    def masks(
        self,
        x: np.ndarray,
        grid: tuple[int, int],
        given: Sequence[np.ndarray] | None = None,
        smallest: int = 4,
    ) -> list[tuple[np.ndarray, int]]:
        """All component masks of a picture (tokens (T, D)) with the number of their part; the last is the background,
        whose number is the count of parts. ``given`` are a segmenter's masks on the grid."""
        field = _conditioned(x[None], grid)[0]
        labels = nearest(field, self.parts).reshape(grid)
        number = len(self.parts)
        if given is None:
            inside = self.object_of(x, grid)
            out = [(m, p) for p in range(number) for m in islands(inside & (labels == p), smallest)]
        else:
            inside = np.any(given, axis=0) if len(given) else np.zeros(grid, bool)
            out = [(m, int(np.bincount(labels[m], minlength=number).argmax())) for m in given if m.any()]
        if not inside.all():
            out.append((~inside, number))
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Its arrays, by name."""
        return {"sides": self.sides, "ground": np.array([self.ground]), "parts": self.parts}

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of :meth:`state`."""
        return cls(arrays["sides"], int(arrays["ground"][0]), arrays["parts"])


def on_tokens(masks: Sequence[np.ndarray], grid: tuple[int, int], fit: str = "squash") -> list[np.ndarray]:
    """A segmenter's masks (H, W) as cells of the grid that lie mostly under them; without those that hold two opposite
    corners, and those that cover no cell."""
    cells = [on_grid(np.asarray(m) > 0, grid, fit).reshape(grid) > 0.5 for m in masks]
    return [m for m in cells if m.any() and not spans_corners(m)]


def wider(mask: np.ndarray) -> np.ndarray:
    """The mask (rows, columns) dilated by one cell on all sides."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), bool)


def _conditioned(x: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Tokens (B, T, D) averaged over 3 × 3 cells, at unit length: labels that do not flicker."""
    return unit(pool(unit(x), grid, 3))


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= MOST:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), MOST, replace=False))]
