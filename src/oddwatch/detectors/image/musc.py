"""MuSc: an unlabelled batch judges itself (Li et al., ICLR 2024, arXiv 2401.16753).

Idea. 1. Tokens of several layers are normalised per picture and averaged over r × r neighbours, r in {1, 3, 5}. 2. Every
token is compared with every other picture of the batch: its distance to the nearest token there. 3. Its score is the mean
of the lowest 30 % of these distances: normal tokens find their like in many pictures. 4. Scores are averaged over
layers and r; the picture's is the map's maximum. 5. Picture scores are averaged over the most similar pictures (RsCIN).

Needs at least two pictures, no normals and no labels. Where normals are known, ``fit`` lets them judge too. It fails where
one and the same defect is in 30 % of the pictures or more.

Differs from the paper: the embedded ViT-S/14 at 448 pixels in place of CLIP ViT-L/14 at 518, with middle blocks (of which
the embedded backbone's are better than late ones; the paper takes four at even distances up to the last); inner products
along 128 principal components (``dims=None``: all, twice the time); max(1, ·) distances where 30 % of few pictures
are none; RsCIN keeps the unit of the maps; large batches are split by dealing out, not in runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oddwatch.detectors.image.mutual import MutualDetector
from oddwatch.detectors.image.tokens import layer_norm, pool, unit


@dataclass(kw_only=True, eq=False)
class MuSc(MutualDetector):
    """Mutual scoring of a batch; arguments of :class:`MutualDetector`, and:

    ``radii``: the sides of the neighbourhoods (odd). ``norm``: LayerNorm over each picture's tokens first. ``layers=("last",),
    radii=(1,), norm=False, judge="tokens", neighbours=()`` is batched zero-shot AnomalyDINO.
    """

    NAME: ClassVar[str] = "musc"

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    radii: tuple[int, ...] = (1, 3, 5)
    norm: bool = True
    neighbours: tuple[int, ...] = (1, 2, 3)

    @property
    def reads_cls(self) -> bool:
        return bool(self.neighbours)

    def _views(self, x: np.ndarray, grid: tuple[int, int]) -> Iterator[np.ndarray]:
        for layer in x:
            conditioned = layer_norm(layer) if self.norm else layer.astype(np.float32)
            for r in self.radii:
                yield unit(pool(conditioned, grid, r))

    def _features(self, x: np.ndarray, cls: np.ndarray, patches: np.ndarray) -> np.ndarray:
        return cls
