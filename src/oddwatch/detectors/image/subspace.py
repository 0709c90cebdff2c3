"""SubspaceAD: what the principal components of normal tokens cannot explain (arXiv 2602.23013, CVPR 2026).

Idea. 1. A few normal pictures, turned, give patch tokens, averaged over middle layers. 2. Their mean and leading
principal components (99 % of the variance) are the whole model. 3. A token's score is its squared distance from that
subspace. 4. The map is upsampled and lightly smoothed; the picture's score is the mean of its highest 1 % of pixels.
5. Without normals the subspace is that of the unlabelled pictures themselves (``zero_shot``).

Needs normal pictures, or a batch of pictures of which most are normal.

Differs from the paper: the embedded ViT-S/14 at 448 pixels in place of DINOv2-g at 672, and its blocks 6 to 9, which lie
as deep as the paper's 22 to 28 of 40; turned copies at evenly spread angles, where the paper draws them, and only while
there are fewer than ``few`` normals (with many, the pictures themselves say what varies). The scatter of the normal tokens is
kept, so that normals can be added later; the paper's one-off fit gives the same subspace. As in the authors' code the kernel
of σ = 4 is cut to 3 × 3, nearly a box, so that a defect of few pixels keeps its height; ``kernel=None`` smooths with all taps,
as other detectors do. Kernel PCA, saliency masks and contrast equalisation, which that code also has, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from oddwatch.core import InputError, Scores, Tokens
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, map_size, take
from oddwatch.detectors.image.density import Moments, principal, residual
from oddwatch.detectors.image.tokens import mean_of, unit

Measure = Literal["residual", "mahalanobis", "euclidean", "cosine"]


@dataclass(kw_only=True, eq=False)
class SubspaceAD(ImageDetector):
    """PCA residual of the mean of ``layers``.

    ``variance`` is the share the subspace explains; ``rotations`` turned copies of each normal picture are learnt from
    too while there are fewer than ``few`` normals. ``measure``: the squared ``residual`` (the paper's), or, of its
    ablation, ``mahalanobis`` and ``euclidean`` (squared lengths inside the subspace) and ``cosine`` (1 − cosine of a token
    and its reconstruction). The ``drop`` leading components count as unexplained. ``kernel`` is the smoothing's number of
    taps (None: as many as ``sigma`` needs).
    """

    NAME: ClassVar[str] = "subspace"
    STATE: ClassVar[tuple[str, ...]] = ("counts", "centre", "scatter")

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    variance: float = 0.99
    rotations: int = 30
    few: int = 16
    measure: Measure = "residual"
    drop: int = 0
    kernel: int | None = 3
    counts: np.ndarray | None = field(default=None, init=False, repr=False)
    centre: np.ndarray | None = field(default=None, init=False, repr=False)
    scatter: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.measure not in ("residual", "mahalanobis", "euclidean", "cosine"):
            raise InputError(
                "measure", f"expected residual, mahalanobis, euclidean or cosine, got {self.measure!r}"
            )
        if self.drop < 0:
            raise InputError("drop", f"expected 0 or more components, got {self.drop}")
        if not 0 < self.variance <= 1:
            raise InputError("variance", f"expected a share above 0 and up to 1, got {self.variance}")

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self._solve(self._moments(normal, self.rotations, self.few), count(normal))

    def add(self, normal: Pictures) -> Self:
        """Learn from further normal pictures; the subspace becomes that of all normals so far.

        Raises:
            InputError: not fitted yet.
        """
        self._ready()
        seen, moments = self._learnt()
        if count(normal):
            moments.merge(self._moments(normal, self.rotations, self.few - seen))
            self._solve(moments, seen + count(normal))
        return self

    def fit_apart(self, normal: Pictures, folds: Sequence[np.ndarray]) -> Iterator[Self]:
        """As in the base, but every picture is encoded once: sums over parts of the normals are put together."""
        turned = self.rotations if count(normal) < self.few else 0
        seen = np.unique(np.concatenate([np.empty(0, np.int64), *folds]))
        rest = np.setdiff1d(np.arange(count(normal)), seen)
        parts = [
            (self._moments(take(normal, which), turned, self.few), len(which)) for which in (*folds, rest)
        ]
        self.learn(*_sum(parts))
        for i in range(len(folds)):
            apart = replace(self)
            apart.learn(*_sum(parts[:i] + parts[i + 1 :]))
            yield apart

    def learn(self, moments: Moments, pictures: int) -> None:
        """Fit from the moments of the tokens of so many pictures."""
        self._solve(moments, pictures)
        self.fitted = True

    @classmethod
    def zero_shot(cls, items: Pictures, **arguments: Any) -> Scores:
        """Scores of unlabelled pictures against the subspace of themselves, not turned: what most do not show is odd.

        Raises:
            InputError: no picture.
        """
        return cls(**{"rotations": 0, **arguments}).fit(items).score(items)

    def _moments(self, normal: Pictures, rotations: int, few: int) -> Moments:
        moments = Moments()
        for tokens in self.with_turned(normal, rotations, few):
            x = mean_of(tokens, self.layers)
            moments.add(x.reshape(-1, x.shape[-1]))
        return moments

    def _solve(self, moments: Moments, pictures: int) -> None:
        """Keep what was learnt; its mean (D,), basis (D, r) and variances (r,), less the dropped components."""
        self.counts = np.array([pictures, moments.n], np.int64)
        self.centre, self.scatter = moments.mean, moments.scatter
        self.mean, basis = principal(moments, self.variance)
        self.basis = np.ascontiguousarray(basis[:, self.drop :])
        along = np.einsum("dr,dr->r", self.basis, moments.scatter @ self.basis)
        self.variances = along / max(1, moments.n - 1)

    def _learnt(self) -> tuple[int, Moments]:
        """How many normal pictures were learnt, and the moments of their tokens."""
        moments = Moments()
        if self.counts is None or self.centre is None or self.scatter is None:
            return 0, moments
        moments.n, moments.mean, moments.scatter = int(self.counts[1]), self.centre, self.scatter.copy()
        return int(self.counts[0]), moments

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        pictures, moments = self._learnt()
        self._solve(moments, pictures)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        x = mean_of(tokens, self.layers)
        return self._measured(x.reshape(-1, x.shape[-1])).reshape(len(x), *tokens.grid)

    def _measured(self, rows: np.ndarray) -> np.ndarray:
        """(n,) scores of tokens (n, D)."""
        if self.measure == "residual":
            return residual(rows, self.mean, self.basis)
        inside = (rows - self.mean) @ self.basis
        if self.measure == "cosine":
            again = inside @ self.basis.T + self.mean
            return np.maximum(1 - np.einsum("nd,nd->n", unit(rows), unit(again)), 0)
        if self.measure == "mahalanobis":
            inside = inside / np.sqrt(self.variances + 1e-6).astype(np.float32)
        return np.asarray(np.einsum("nr,nr->n", inside, inside))

    def _scored(self, patches: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        full = maps.upsample(patches, map_size(tokens), sigma=self.sigma, kernel=self.kernel)
        return maps.top_mean(full, 0.01), full


def _sum(parts: Sequence[tuple[Moments, int]]) -> tuple[Moments, int]:
    total = Moments()
    for part, _ in parts:
        total.merge(part)
    return total, sum(pictures for _, pictures in parts)
