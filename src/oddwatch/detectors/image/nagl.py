"""NAGL: normal and marked anomalous pictures as references, compared through residuals (arXiv 2510.00495, NeurIPS 2025).

Idea. 1. A token is normal as far as it is like its nearest normal token. 2. The difference of a marked anomalous token
from its nearest normal token, its residual, says how it departs from normal, whatever the thing is. 3. 25 learned proxies
gather such residuals by attention; with them a second attention gathers, in each query, proxies of its own anomalies
out of its residuals. 4. A token is anomalous as far as it is like those. 5. Both are averaged, (s_a + 1 − s_n)/2.

Needs normal pictures; marked anomalous ones where there are some: given to ``fit`` with their masks as labels, or to
:meth:`NAGL.show` later. Where none are given the score is 1 − s_n, without a head, and torch is not needed. Without
normal pictures the unmarked tokens of the anomalous ones stand for normal.

Differs from the paper: the mean of blocks 6 to 9 of the embedded ViT-S/14, normed token by token as the paper's last
layer is by its encoder, as middle blocks see defects better on this backbone (``layers=("last",)`` is the paper's). The
paper trains on another, labelled data set; without ``weights`` the head is trained on the user's own normals with
generated defects as queries and as references, with fewer steps at a higher rate. Pixel losses are taken on the token
grid against each cell's share of the defect. At most ``shots`` normals are kept, drawn by chance. Each reference has its
own positions: the authors' code mixes those of several. ``pretend`` makes generated defects references where no real
anomaly is known, which is ours and 0 by default: a head trained so shortly on generated defects serves marked anomalies
better than the nearest marked token does, but normal references alone do as well or better. Weights carry the authors'
names (``rm_ca.multihead_attn.in_proj_weight`` …; a leading ``module.`` is ignored), so their checkpoint, converted to
safetensors, fits tokens of their encoder and ``last``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from oddwatch.core import ImageEncoder, InputError, Progress, Tokens
from oddwatch.detectors.image import heads
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, take
from oddwatch.detectors.image.nagl_head import (
    alike,
    checked,
    combined,
    grid_of,
    learn,
    module,
    positions,
    residual,
    rows_of,
)

Arrays = heads.Arrays
Match = Literal["proxies", "nearest"]
HEAD = "head."
PATCH = 14


@dataclass(kw_only=True, eq=False)
class NAGL(ImageDetector):
    """Nearest normal tokens of at most ``shots`` pictures, and ``proxies`` learned proxies of marked anomalies.

    ``match``: how a query meets the marked anomalies, the paper's ``proxies``, or the ``nearest`` marked token (its
    baseline, nothing to train). ``pretend``: so many generated defects are references besides the marked ones.
    ``weights``: a head made by :func:`train`; without it one is trained when the first anomaly is shown (``steps`` of
    ``batch`` episodes at rate ``lr`` over ``pairs`` generated pictures).
    """

    NAME: ClassVar[str] = "nagl"
    STATE: ClassVar[tuple[str, ...]] = ("bank", "marked", "places")

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    shots: int = 16
    match: Match = "proxies"
    pretend: int = 0
    proxies: int = 25
    weights: str | None = None
    steps: int = 150
    batch: int = 4
    lr: float = 1e-4
    pairs: int = 48
    head: Arrays = field(default_factory=dict, init=False, repr=False)
    bank: np.ndarray | None = field(default=None, init=False, repr=False)
    marked: np.ndarray | None = field(default=None, init=False, repr=False)
    places: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.match not in ("proxies", "nearest"):
            raise InputError("match", f"expected proxies or nearest, got {self.match!r}")
        if self.shots < 1 or self.proxies < 1 or self.pretend < 0:
            raise InputError("shots, proxies, pretend", "expected 1 or more, 1 or more, 0 or more")
        self._normal: Pictures = []
        self._mined: np.ndarray | None = None

    @property
    def reads_cls(self) -> bool:
        return False

    # -- references ----------------------------------------------------------------------------------------------

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        masks = [None] * count(normal) if labels is None else [_mask_of(label) for label in labels]
        if len(masks) != count(normal):
            raise InputError("labels", f"expected one for each of {count(normal)} pictures, got {len(masks)}")
        good = np.array([i for i, mask in enumerate(masks) if mask is None], np.int64)
        odd = np.array([i for i, mask in enumerate(masks) if mask is not None], np.int64)
        self._normal, self.head, self.marked, self.places = take(normal, good), {}, None, None
        rng = np.random.default_rng(self.seed)
        kept = take(normal, np.sort(rng.permutation(good)[: self.shots]))
        rows = [self._rows(t).reshape(-1, t.layers[self.layers[0]].shape[-1]) for t in self.chunks(kept)]
        self.bank = np.concatenate(rows).astype(np.float16) if rows else None
        shown = [m for m in masks if m is not None]
        if shown:
            self._learn(*self._marks(take(normal, odd), shown))
        if self.pretend:
            pictures = heads.pixels_of(self._normal, "NAGL with pretend")
            if not pictures:
                raise InputError("pretend", "draws defects into normal pictures, and got none", "pretend=0")
            made = heads.examples(self.eyes, self.layers, [pictures], self.pretend, rng, share=1.0)
            tokens = rows_of({n: np.stack([e.query[n] for e in made]) for n in self.layers}, self.layers)
            self._learn(tokens, np.stack([e.anomalous for e in made]))
        self._settle()

    def show(self, abnormal: Pictures, masks: Sequence[np.ndarray]) -> Self:
        """Learn what anomalies look like from pictures with their masks (H, W), not 0 where anomalous; adds to those before.

        Raises:
            InputError: not fitted; a mask that is missing or marks nothing; no head, and no pictures left to train one.
        """
        self._ready()
        if len(masks) != count(abnormal):
            raise InputError(
                "masks", f"expected one for each of {count(abnormal)} pictures, got {len(masks)}"
            )
        if len(masks):
            self._learn(*self._marks(abnormal, [np.asarray(m) for m in masks]))
            self._settle()
        return self

    def _marks(self, items: Pictures, masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (N, T, D) of ``items`` and which of them are marked (N, T) bool."""
        fit = str(getattr(self.eyes, "fit", "squash"))
        tokens: list[np.ndarray] = []
        marked: list[np.ndarray] = []
        for part in self.chunks(items):
            tokens.append(self._rows(part))
            marked += [cells_of(masks[len(marked) + i], part.grid, fit) for i in range(len(part.cls))]
        return np.concatenate(tokens), np.stack(marked)

    def _learn(self, tokens: np.ndarray, marked: np.ndarray) -> None:
        """Keep the marked ones of ``tokens`` (N, T, D) with their positions; without normals, the others are normal."""
        if self.bank is None:
            self.bank = tokens[~marked].astype(np.float16)
            if not len(self.bank):
                raise InputError("masks", "mark everything, and there is no normal picture", "give one")
        grid = grid_of(tokens.shape[1])
        places = np.concatenate([positions(tokens.shape[2], m.reshape(grid))[m] for m in marked])
        both = tokens[marked].astype(np.float16), places.astype(np.float16)
        if self.marked is not None and self.places is not None:
            both = np.concatenate([self.marked, both[0]]), np.concatenate([self.places, both[1]])
        self.marked, self.places = both

    def _settle(self) -> None:
        """Residual proxies of the marked anomalies, with a head, trained where there is none yet."""
        self._mined = None
        if self.marked is None or self.match == "nearest":
            return
        assert self.bank is not None and self.places is not None
        if not self.head:
            self.head = self._trained()
        tokens, bank = self.marked.astype(np.float32), self.bank.astype(np.float32)
        gap = residual(tokens, bank)
        key = tokens + self.places.astype(np.float32)
        self._mined = module(self.head, "rm", self.head["learnable_proxies.weight"], key, gap)

    def _trained(self) -> Arrays:
        if self.weights is not None:
            head = heads.load_head(self.weights, method=self.NAME, encoder=self.eyes.id)
            return checked(head, self.eyes.dim, self.weights)
        pictures = heads.pixels_of(self._normal, "NAGL")
        if self.steps and not pictures:
            raise InputError(
                "normal",
                "there is no head yet, and no normal picture to train one on",
                "fit with some, or weights=FILE",
            )
        return learn(
            self.eyes, [pictures], layers=self.layers, proxies=self.proxies, steps=self.steps, batch=self.batch,
            lr=self.lr, pairs=self.pairs, seed=self.seed,
        )  # fmt: skip

    # -- scoring -------------------------------------------------------------------------------------------------

    def _patches(self, tokens: Tokens) -> np.ndarray:
        assert self.bank is not None
        bank = self.bank.astype(np.float32)
        out = np.stack([self._one(x, tokens.grid, bank) for x in self._rows(tokens)])
        return out.reshape(-1, *tokens.grid)

    def _one(self, x: np.ndarray, grid: tuple[int, int], bank: np.ndarray) -> np.ndarray:
        """(T,) scores of one picture's tokens (T, D)."""
        like_normal = alike(x, bank)
        if self.marked is None:
            return 1 - like_normal
        if self._mined is None:
            return combined(like_normal, alike(x, self.marked.astype(np.float32)))
        key = residual(x, bank) + positions(x.shape[1], np.zeros(grid, bool)).reshape(x.shape)
        found = module(self.head, "afl", self._mined, key, x)
        return combined(like_normal, alike(x, found, mean=True))

    def _rows(self, tokens: Tokens) -> np.ndarray:
        return rows_of(tokens.layers, self.layers)

    def state(self) -> Arrays:
        return super().state() | {HEAD + n: np.ascontiguousarray(v) for n, v in self.head.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.head = {n.removeprefix(HEAD): v for n, v in arrays.items() if n.startswith(HEAD)}
        self._settle()


# -- masks and training ------------------------------------------------------------------------------------------


def cells_of(mask: np.ndarray, grid: tuple[int, int], fit: str = "squash") -> np.ndarray:
    """(T,) bool: cells with any pixel of ``mask`` (H, W), which is brought to the encoder's input first.

    As in the paper a cell's 14 × 14 window starts one pixel before the cell.

    Raises:
        InputError: not a mask, or one that marks nothing.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.any():
        raise InputError("mask", f"expected (H, W) with marked pixels, got shape {mask.shape}, none marked")
    height, width = grid[0] * PATCH, grid[1] * PATCH
    seen = heads.on_grid(mask != 0, (height, width), fit).reshape(height, width) > 0
    moved = np.pad(seen, ((1, 0), (1, 0)))[:height, :width]
    if not moved.any():  # only the last pixels of a row or column are marked
        moved = seen
    return np.asarray(moved.reshape(grid[0], PATCH, grid[1], PATCH).any((1, 3)).ravel())


def _mask_of(label: Any) -> np.ndarray | None:
    """The mask a label is; None of a normal picture (None, 0 or False)."""
    if label is None or (np.ndim(label) == 0 and not label):
        return None
    return np.asarray(label)


def train(
    sets: Sequence[Sequence[heads.Picture]],
    out: str | Path,
    *,
    encoder: str | ImageEncoder = "patches",
    resolution: int = 448,
    layers: Sequence[str] = NAGL.layers,
    proxies: int = 25,
    steps: int = 600,
    batch: int = 4,
    lr: float = 1e-4,
    pairs: int = 192,
    fresh: int = 0,
    shots: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """A head for any thing, from normal pictures of several things (``sets``), written to ``out`` (safetensors).

    Small by default. The paper's training: ``steps=1260`` (20 epochs of 500 episodes), ``batch=8``, ``lr=1e-5``, ``fresh=8``,
    ``shots`` 1, 2 or 4, layer ``last``, and real labelled defects of another data set in place of generated ones.

    Raises:
        InputError: no picture in any set.
        MissingExtra: torch is not installed.
    """
    eyes = heads.eyes_of(encoder, resolution)
    pictures = [heads.pixels_of(pictures, "NAGL") for pictures in sets]
    head = learn(
        eyes, pictures, layers=layers, proxies=proxies, steps=steps, batch=batch, lr=lr, pairs=pairs, fresh=fresh,
        shots=shots, seed=seed, progress=progress,
    )  # fmt: skip
    heads.save_head(out, head, method=NAGL.NAME, encoder=eyes.id)
