"""PatchCore: the distance to the nearest of a coreset of normal patches (arXiv 2106.08265, CVPR 2022).

Idea. 1. Two middle layers, each token averaged with its 3 × 3 neighbours, side by side describe a patch. 2. The patches of
all normal pictures make a bank; greedy k-centre keeps the tenth of it that leaves no patch far away. 3. A patch's
score is the distance to its nearest in the bank. 4. The picture's score is its highest patch; with ``reweight``
(the paper's equation 7, not the authors' code) times 1 − softmax of that distance among the distances to the nearest's own
neighbours, so that a rare but normal neighbour makes a patch more suspect. 5. The map is upsampled and smoothed.

Differs from the paper: blocks 6 and 9 of the embedded ViT-S/14 (half and three quarters of its depth, as layers 2 and 3 of a
WideResNet-50), both on one grid, so that nothing is resampled and no channels are pooled together (as in anomalib).
Tokens are first brought to unit length layer by layer (``unit``): the residual stream grows with depth (block 9 is more
than twice as long as block 6), so that plain distances would mostly hear the deeper layer. ``unit=False`` is the
published form. The coreset is exact k-centre without a projection (``projection`` gives the approximate one), over at
most ``limit`` patches drawn by chance, and of at most ``most``: the search's time grows with the product of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Tokens
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.bank import Engine, MemoryBank
from oddwatch.detectors.image.base import ImageDetector, Pictures, count
from oddwatch.detectors.image.coreset import k_centre, share_of
from oddwatch.detectors.image.tokens import pool
from oddwatch.detectors.image.tokens import unit as unit_length


@dataclass(kw_only=True, eq=False)
class PatchCore(ImageDetector):
    """Nearest-neighbour distance to the coreset ``vectors`` (M, layers·D).

    ``keep`` is the share of patches kept (paper: 0.25, 0.1 or 0.01), ``most`` of them at most; ``side`` the neighbourhood's. ``reweight``
    multiplies the highest distance by the paper's weight, with ``neighbours`` its b. ``engine="ann"`` is for banks of
    more than some hundred thousand patches.
    """

    NAME: ClassVar[str] = "patchcore"
    STATE: ClassVar[tuple[str, ...]] = ("vectors",)

    layers: tuple[str, ...] = ("block_6", "block_9")
    keep: float = 0.1
    side: int = 3
    unit: bool = True
    reweight: bool = False
    neighbours: int = 9
    projection: int | None = None
    most: int = 10_000
    limit: int = 100_000
    engine: Engine = "exact"
    vectors: np.ndarray | None = field(default=None, init=False, repr=False)
    _bank: MemoryBank | None = field(default=None, init=False, repr=False)

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self._keep(self._select(self._all(normal)))

    def add(self, normal: Pictures) -> Self:
        """Learn from more normal pictures: the search goes on from the coreset there is, over their patches, and takes
        the same share of them. Quicker than fitting all, and close to it, not equal."""
        self._ready()
        if count(normal):
            assert self.vectors is not None
            more = self._select(self._all(normal), self.vectors)
            self._keep(np.concatenate([self.vectors, more]))
        return self

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._keep(arrays["vectors"])

    def _keep(self, vectors: np.ndarray) -> None:
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self._bank = MemoryBank(engine=self.engine).add(self.vectors)

    def _select(self, patches: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
        chosen = k_centre(
            patches, min(share_of(self.keep, len(patches)), self.most), seed=self.seed,
            projection=self.projection, limit=self.limit, given=given,
        )  # fmt: skip
        return patches[chosen]

    def _all(self, normal: Pictures) -> np.ndarray:
        """Every patch of ``normal`` (N, layers·D), float16: its step is far below the distances between patches."""
        patches, at = np.empty((0, 0), np.float16), 0
        for tokens in self.chunks(normal):
            x = self._embedded(tokens)
            if not at:
                patches = np.empty((count(normal) * x.shape[1], x.shape[2]), np.float16)
            patches[at : at + x.shape[0] * x.shape[1]] = x.reshape(-1, x.shape[2])
            at += x.shape[0] * x.shape[1]
        return patches

    def _embedded(self, tokens: Tokens) -> np.ndarray:
        """(B, T, layers·D) float32."""
        parts = [unit_length(tokens.layers[n]) if self.unit else tokens.layers[n] for n in self.layers]
        return np.concatenate([pool(x, tokens.grid, self.side) for x in parts], axis=-1)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        assert self._bank is not None
        x = self._embedded(tokens)
        distances, _ = self._bank.knn(x.reshape(-1, x.shape[-1]))
        return distances.reshape(len(x), *tokens.grid)

    def _scored(self, patches: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        values, full = super()._scored(patches, tokens)
        if self.reweight:
            assert self._bank is not None
            worst = patches.reshape(len(patches), -1).argmax(1)
            queries = self._embedded(tokens)[np.arange(len(worst)), worst]
            values = values * reweighted(queries, self._bank, self.neighbours)
        return values, full

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.highest(patches)


def reweighted(queries: np.ndarray, bank: MemoryBank, neighbours: int = 9) -> np.ndarray:
    """(n,) weights 1 − exp(d_m)/Σ exp(d_j) of queries (n, D): m is the nearest in the bank, j runs over m's own
    ``neighbours`` nearest, itself among them (fewer in a smaller bank; 1 where it is alone)."""
    if len(bank) == 1:
        return np.ones(len(queries))
    nearest = bank.knn(queries)[1][:, 0]
    around = bank.knn(bank.vectors[nearest], min(neighbours, len(bank)))[1]
    away = np.linalg.norm(bank.vectors[around] - queries[:, None], axis=2).astype(np.float64)
    own = np.linalg.norm(bank.vectors[nearest] - queries, axis=1).astype(np.float64)
    top = away.max(1)
    weights: np.ndarray = 1 - np.exp(own - top) / np.exp(away - top[:, None]).sum(1)
    return weights
