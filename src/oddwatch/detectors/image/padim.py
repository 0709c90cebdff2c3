"""PaDiM: one Gaussian for every place of the picture (arXiv 2011.08785, ICPR 2020).

Idea. 1. Tokens of several layers, side by side, describe a place at several depths. 2. A random subset of the channels,
drawn once, says nearly as much as all. 3. At every place the normal pictures give a mean and a covariance, 0.01 added
along its diagonal. 4. A place's score is the Mahalanobis distance from its own Gaussian; the map is upsampled and
smoothed, the picture's score is its maximum. So the parts must always lie the same way, and be more than a few.

Differs from the paper: four middle blocks of the embedded ViT-S/14, 100 of their 1536 channels, in place of three
stages of a ResNet-18 with 100 of 448 (all blocks have one grid, so nothing is resampled). Each layer's tokens are first
scaled to a mean square of 1 (``unit``): 0.01 on the diagonal is meant for features of about that size, and the residual
stream's grow from 0.008 (block 6) to 0.05 (block 9). ``unit=False`` is the published form. Pictures come in one chunk
at a time, and only counts, means and scatters are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import InputError, Tokens
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import ImageDetector, Pictures
from oddwatch.detectors.image.density import PositionMoments, position_distances
from oddwatch.detectors.image.tokens import EPS


@dataclass(kw_only=True, eq=False)
class PaDiM(ImageDetector):
    """Mahalanobis distance at every place, over ``channels`` random channels of ``layers`` side by side (all of them where
    there are no more); ``regular`` is added along each covariance's diagonal. Memory: 4·channels² bytes a place and
    as much again once it scores (41 MB each at 100 channels and 32 × 32 places).
    """

    NAME: ClassVar[str] = "padim"
    STATE: ClassVar[tuple[str, ...]] = ("counted", "mean", "scatter")

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    channels: int = 100
    regular: float = 0.01
    unit: bool = True
    counted: np.ndarray | None = field(default=None, init=False, repr=False)
    mean: np.ndarray | None = field(default=None, init=False, repr=False)
    scatter: np.ndarray | None = field(default=None, init=False, repr=False)
    _whiten: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise InputError("channels", f"expected 1 or more, got {self.channels}")
        if not self.regular > 0:
            raise InputError("regular", f"expected a number above 0, got {self.regular}")

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self._learn(PositionMoments(), normal)

    def add(self, normal: Pictures) -> Self:
        """Learn from more normal pictures; the result is that of fitting all at once."""
        self._ready()
        self._learn(self._moments(), normal)
        return self

    def _learn(self, moments: PositionMoments, normal: Pictures) -> None:
        for tokens in self.chunks(normal):
            moments.add(self._chosen(tokens))
        self.counted = np.array([moments.n])
        self.mean, self.scatter, self._whiten = moments.mean, moments.scatter, None

    def _moments(self) -> PositionMoments:
        moments = PositionMoments()
        assert self.counted is not None and self.mean is not None and self.scatter is not None
        moments.n, moments.mean, moments.scatter = int(self.counted[0]), self.mean, self.scatter
        return moments

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self._whiten = None

    def _chosen(self, tokens: Tokens) -> np.ndarray:
        """The drawn channels of the layers side by side: (B, T, channels) float32."""
        width = tokens.layers[self.layers[0]].shape[-1]
        total = width * len(self.layers)
        which = np.random.default_rng(self.seed).permutation(total)[: self.channels]
        which.sort()
        parts = []
        for i, name in enumerate(self.layers):
            x = tokens.layers[name]
            part = x[..., which[(which >= i * width) & (which < (i + 1) * width)] - i * width]
            part = part.astype(np.float32, copy=False)
            if self.unit:
                squares = np.square(x, dtype=np.float32).mean(-1, keepdims=True)
                part = part / np.sqrt(np.maximum(squares, EPS))
            parts.append(part)
        return np.concatenate(parts, axis=-1)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        assert self.mean is not None
        x = self._chosen(tokens)
        if x.shape[1:] != self.mean.shape:
            raise InputError(
                "tokens", f"expected {len(self.mean)} places, got {x.shape[1]}", "one resolution"
            )
        if self._whiten is None:
            self._whiten = self._moments().whitening(self.regular)
        return position_distances(x, self.mean, self._whiten).reshape(len(x), *tokens.grid)

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.highest(full)
