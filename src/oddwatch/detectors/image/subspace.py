"""SubspaceAD: what the principal components of normal tokens cannot explain (arXiv 2602.23013, CVPR 2026).

Idea. 1. A few normal pictures, turned, give patch tokens, averaged over middle layers. 2. Their mean and leading
principal components (99 % of the variance) are the whole model. 3. A token's score is its squared distance from that
subspace. 4. The map is upsampled and lightly smoothed; the picture's score is the mean of its highest 1 % of pixels.

Differs from the paper: the embedded ViT-S/14 at 448 pixels in place of DINOv2-g at 672; the layers averaged; turned copies
are made only while there are fewer than ``few`` normals (with many, the pictures themselves say what varies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import Tokens
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import ImageDetector, Pictures
from oddwatch.detectors.image.density import Moments, principal, residual
from oddwatch.detectors.image.tokens import mean_of


@dataclass(kw_only=True, eq=False)
class SubspaceAD(ImageDetector):
    """PCA residual of the mean of ``layers``.

    ``variance`` is the share the subspace explains; ``rotations`` turned copies of each normal picture (evenly spread
    angles, where the paper draws them) are learnt from too while there are fewer than ``few`` normals.
    """

    NAME: ClassVar[str] = "subspace"
    STATE: ClassVar[tuple[str, ...]] = ("mean", "basis")

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    variance: float = 0.99
    rotations: int = 30
    few: int = 16
    mean: np.ndarray | None = field(default=None, init=False, repr=False)
    basis: np.ndarray | None = field(default=None, init=False, repr=False)

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        moments = Moments()
        for tokens in self.with_turned(normal, self.rotations, self.few):
            x = mean_of(tokens, self.layers)
            moments.add(x.reshape(-1, x.shape[-1]))
        self.mean, self.basis = principal(moments, self.variance)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        x = mean_of(tokens, self.layers)
        assert self.mean is not None and self.basis is not None
        return residual(x.reshape(-1, x.shape[-1]), self.mean, self.basis).reshape(len(x), *tokens.grid)

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.top_mean(full, 0.01)
