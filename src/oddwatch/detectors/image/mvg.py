"""MVG, or Gaussian-AD: how far a picture's mean tokens lie from those of normal pictures (arXiv 2005.14140, ICPR 2020).

Idea. 1. Every level of a frozen network is averaged over the whole picture: one vector a level. 2. The normal pictures'
vectors give one Gaussian a level, its covariance shrunk by Ledoit and Wolf's rule, so that few pictures are enough.
3. A picture's score is the sum of its Mahalanobis distances over the levels. 4. ``pca`` keeps the leading principal
components, ``npca`` the trailing ones: the paper's finding is that the directions in which normal pictures vary least say
most. There is no map: small defects drown in the mean.

Differs from the paper: the twelve blocks of the embedded ViT-S/14 and its last layer norm stand for the nine levels of
an EfficientNet-B4 (all levels are used there too, the early ones carry colour and texture), at 448 pixels. In a
subspace the variances are the shrunk ones (the trailing components of few pictures would have none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Scores, Tokens
from oddwatch.detectors.image.base import ImageDetector, Pictures
from oddwatch.detectors.image.density import Gaussian, Kind

LEVELS = (*(f"block_{i}" for i in range(1, 13)), "last")


@dataclass(kw_only=True, eq=False)
class MVG(ImageDetector):
    """Sum over ``layers`` of the Mahalanobis distance of the picture's mean token.

    ``kind``: ``full``, ``pca`` or ``npca``, with the share ``variance`` that the leading components explain (paper:
    0.95 or 0.99 for ``pca``, 0.99 to 0.9999 for ``npca``). ``shrink=False`` takes the plain covariance (with a floor).
    """

    NAME: ClassVar[str] = "mvg"
    STATE: ClassVar[tuple[str, ...]] = ("pooled",)

    layers: tuple[str, ...] = LEVELS
    kind: Kind = "full"
    variance: float = 0.99
    shrink: bool = True
    pooled: np.ndarray | None = field(default=None, init=False, repr=False)
    """Mean tokens (N, layers, D) of the normal pictures: what is kept, since they are small and the shrinkage needs all."""
    _gaussians: list[Gaussian] = field(default_factory=list, init=False, repr=False)

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self.pooled = np.concatenate([self._pool(tokens) for tokens in self.chunks(normal)])
        self._estimate()

    def add(self, normal: Pictures) -> Self:
        """Learn from more normal pictures; the result is that of fitting all at once."""
        self._ready()
        assert self.pooled is not None
        self.pooled = np.concatenate([self.pooled, *(self._pool(tokens) for tokens in self.chunks(normal))])
        self._estimate()
        return self

    def score(self, items: Pictures) -> Scores:
        """Scores (N,) without maps; higher = more anomalous.

        Raises:
            InputError: not fitted yet.
        """
        levels = self.levels(items)
        return Scores(levels.sum(1))

    def levels(self, items: Pictures) -> np.ndarray:
        """(N, layers) the distance at every layer, float64; :func:`density.chi_square_threshold` is their scale where
        normal pictures are Gaussian."""
        self._ready()
        found = [
            np.stack([g.distance(x[:, i]) for i, g in enumerate(self._gaussians)], 1)
            for x in map(self._pool, self.chunks(items))
        ]
        return np.concatenate(found) if found else np.empty((0, len(self.layers)))

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self._estimate()

    def _estimate(self) -> None:
        assert self.pooled is not None
        self._gaussians = [
            Gaussian.fit(self.pooled[:, i], self.kind, self.variance, self.shrink)
            for i in range(len(self.layers))
        ]

    def _pool(self, tokens: Tokens) -> np.ndarray:
        return np.stack([tokens.layers[n].mean(1, dtype=np.float32) for n in self.layers], 1)
