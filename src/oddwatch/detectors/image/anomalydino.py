"""AnomalyDINO: cosine distance to the nearest patch token of a few normal pictures (arXiv 2405.14529, WACV 2025).

Idea. 1. The tokens of the normal pictures, each also turned by 45, 90, … degrees, are the bank, all of them. 2. A token's
score is 1 − cosine to its nearest in the bank. 3. Where an object lies before a background, tokens of the background can
score 0: the foreground is told by the first principal component of the picture's own tokens. 4. The picture's score is the
mean of its highest 1 % of token scores. 5. Without normals, pictures are compared with all others (``zero_shot``).

Needs normal pictures, from one up, or a batch of unlabelled ones.

Differs from the paper: the embedded ViT-S/14, whose last blocks were bent towards another task (see weights/NOTICE), so that
tokens are the mean of its blocks 6 to 9 and not the last layer's (``layers=("last",)`` is the paper's choice); a square
picture of 448 pixels, aspect not kept; turned copies only while there are fewer than ``few`` normals, in line with the paper,
which turns in the few-shot setting; no mask by default. The paper keeps tokens whose first component is above 10, a length
that belongs to DINOv2's last layer; here the cut is Otsu's, which needs no unit (``threshold=10`` restores the number), and
``mask="auto"`` masks only where the normal pictures themselves show an object before a background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
from scipy.linalg import eigh

from oddwatch.core import InputError, Scores, Tokens
from oddwatch.detectors.image.bank import Engine, MemoryBank
from oddwatch.detectors.image.base import ImageDetector, Pictures, count
from oddwatch.detectors.image.coreset import k_centre, share_of
from oddwatch.detectors.image.tokens import mean_of, unit

BLOCK = 8_000_000
"""Largest block of distances between unlabelled pictures, in numbers."""
UNIFORM = 0.75
"""Share of the variance that Otsu's cut explains of an even spread; more than that means two groups."""

LIMIT = 100_000
"""Most tokens a coreset is searched in; more are thinned by chance first."""


@dataclass(kw_only=True, eq=False)
class AnomalyDINO(ImageDetector):
    """Nearest-neighbour cosine distance of the mean of ``layers``.

    ``rotations`` (the picture itself is the first) are learnt while there are fewer than ``few`` normals. ``mask``: ``none``,
    ``pc`` (tokens of the background score 0) or ``auto`` (``pc`` where the normals show an object before a background);
    ``threshold`` is the paper's fixed cut of the first component, None Otsu's. ``identity`` adds to the picture's score how
    much farther its CLS token is from the normals' than these are from each other: it sees another object of like texture.
    ``keep`` is how many tokens of the normals given at a time the bank takes (a share, or a number; the paper takes all,
    1.0), chosen by greedy k-centre; ``engine`` is the bank's, ``exact`` or ``ann``.
    """

    NAME: ClassVar[str] = "anomalydino"
    STATE: ClassVar[tuple[str, ...]] = ("vectors", "signs", "classes", "kin")

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    rotations: int = 8
    few: int = 16
    mask: Literal["none", "pc", "auto"] = "none"
    threshold: float | None = None
    identity: bool = False
    keep: int | float = 1.0
    engine: Engine = "exact"
    vectors: np.ndarray | None = field(default=None, init=False, repr=False)
    signs: np.ndarray | None = field(default=None, init=False, repr=False)
    classes: np.ndarray | None = field(default=None, init=False, repr=False)
    kin: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mask not in ("none", "pc", "auto"):
            raise InputError("mask", f"expected none, pc or auto, got {self.mask!r}")
        if self.rotations < 1:
            raise InputError("rotations", f"expected 1 (the picture as it is) or more, got {self.rotations}")
        share_of(self.keep, 1)

    @property
    def reads_cls(self) -> bool:
        return self.identity

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self.restore({})
        self._learn(normal)

    def add(self, normal: Pictures) -> Self:
        """Remember the tokens of further normal pictures.

        Raises:
            InputError: not fitted yet.
        """
        self._ready()
        if count(normal):
            self._learn(normal)
        return self

    def fit_apart(self, normal: Pictures, folds: Sequence[np.ndarray]) -> Iterator[Self]:
        """As in the base, but every picture is encoded once and its tokens are left out of the bank."""
        if not self._all:  # a coreset of all is none of the rest
            yield from super().fit_apart(normal, folds)
            return
        self.fit(normal)
        assert self.vectors is not None and self.kin is not None and self.classes is not None
        assert self.signs is not None
        views = self.vectors.reshape(len(self.kin), -1, self.vectors.shape[1])
        for fold in folds:
            stay = ~np.isin(self.kin, fold)
            if not stay.any():
                raise InputError("folds", "expected folds that leave a normal picture, got one of all")
            apart = replace(self)
            signs = self.signs[stay] if len(self.signs) else self.signs
            rows = views[stay].reshape(-1, views.shape[2])
            apart.restore(
                {"vectors": rows, "signs": signs, "classes": self.classes[stay], "kin": self.kin[stay]}
            )
            apart.fitted = True
            yield apart

    def _learn(self, normal: Pictures) -> None:
        seen, fresh = (0 if self.kin is None else int(self.kin.max()) + 1), count(normal)
        rows, classes, signs = [], [], []
        for tokens in self.with_turned(normal, self.rotations - 1, self.few - seen):
            x = mean_of(tokens, self.layers)
            rows.append(x.reshape(-1, x.shape[-1]))
            classes.append(unit(tokens.cls))
            if self.mask == "auto":
                signs += [object_signs(one, tokens.grid) for one in x]
        joined = np.concatenate(rows)
        rows.clear()
        self.bank.add(
            joined if self._all else joined[k_centre(unit(joined), self.keep, seed=self.seed, limit=LIMIT)]
        )
        self.vectors = self.bank.vectors
        views = sum(len(c) for c in classes) // fresh
        kin = np.concatenate([np.arange(fresh), np.repeat(np.arange(fresh), views - 1)])
        self.kin = _joined(self.kin, seen + kin)
        self.classes = _joined(self.classes, np.concatenate(classes))
        self.signs = _joined(self.signs, np.array(signs, np.float32).reshape(-1, 2))
        self.own = among(self.classes, self.kin)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.bank, self.own = MemoryBank("cosine", self.engine), 0.0
        if self.vectors is not None and self.classes is not None and self.kin is not None:
            self.vectors = self.bank.add(self.vectors).vectors
            self.own = among(self.classes, self.kin)

    @property
    def _all(self) -> bool:
        return isinstance(self.keep, float) and self.keep >= 1

    @property
    def masks(self) -> bool:
        """Whether tokens of the background score 0."""
        if self.mask != "auto":
            return self.mask == "pc"
        if self.signs is None or not len(self.signs):
            return False
        parting, border = self.signs.mean(0)
        return bool(parting > UNIFORM and border < 0.5)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        x = mean_of(tokens, self.layers)
        near, _ = self.bank.knn(x.reshape(-1, x.shape[-1]))
        return self._kept(near.reshape(len(x), *tokens.grid), x, tokens.grid)

    def _kept(self, patches: np.ndarray, x: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Patch scores (B, rows, columns) with those of the background at 0 where it is masked."""
        if self.masks:
            patches = patches * np.stack([foreground(one, grid, self.threshold) for one in x])
        return patches

    def _scored(self, patches: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        values, full = super()._scored(patches, tokens)
        if self.identity and self.classes is not None:
            farther = 1 - (unit(tokens.cls) @ self.classes.T).max(1) - self.own
            values = values + np.maximum(farther, 0)
        return values, full

    @classmethod
    def zero_shot(cls, items: Pictures, *, share: float = 0.001, **arguments: Any) -> Scores:
        """Scores of unlabelled pictures, each compared with all the others: the mean of a token's distances that lie
        strictly below their own ``share`` quantile (the nearest where none does). The paper's pictures are 672 pixels.

        Raises:
            InputError: fewer than two pictures, or ``identity``, which needs normals.
        """
        detector = cls(**arguments)
        if count(items) < 2:
            raise InputError("items", f"expected two pictures or more to compare, got {count(items)}")
        if detector.identity:
            raise InputError("identity", "needs normal pictures", "fit with normals, or leave it off")
        chunks = [(mean_of(t, detector.layers), t) for t in detector.chunks(items)]
        grid = chunks[0][1].grid
        if detector.mask == "auto":
            detector.signs = np.array([object_signs(one, grid) for x, _ in chunks for one in x], np.float32)
        bank = unit(np.concatenate([x for x, _ in chunks]))
        scored, start = [], 0
        for x, tokens in chunks:
            near = np.stack([mutual(bank, start + i, share) for i in range(len(x))])
            patches = detector._kept(near.reshape(len(x), *grid), x, grid)
            scored.append(detector._scored(patches, tokens))
            start += len(x)
        return Scores(np.concatenate([v for v, _ in scored]), np.concatenate([m for _, m in scored]))


def mutual(x: np.ndarray, which: int, share: float = 0.001) -> np.ndarray:
    """(T,) mean of the lowest cosine distances of picture ``which``'s unit tokens (N, T, D) to those of all others.

    With k = int(share · (N − 1)·T), the k-th lowest is the quantile; those strictly below it are averaged.
    """
    flat, (_, tokens, width) = x.reshape(-1, x.shape[-1]), x.shape
    others = len(flat) - tokens
    k, out = int(share * others), np.empty(tokens, np.float32)
    step = max(1, BLOCK // len(flat))
    for start in range(0, tokens, step):
        queries = x[which, start : start + step].reshape(-1, width)
        d = np.concatenate(
            [1 - queries @ flat[: which * tokens].T, 1 - queries @ flat[(which + 1) * tokens :].T], 1
        )
        nearest = d.min(1)
        if k > 1:
            low = np.partition(d, k - 1, axis=1)[:, :k]
            below = low < low[:, -1:]
            total = np.where(below, low, 0).sum(1)
            nearest = np.where(below.any(1), total / np.maximum(below.sum(1), 1), nearest)
        out[start : start + step] = np.maximum(nearest, 0)
    return out


def among(classes: np.ndarray, kin: np.ndarray) -> float:
    """How far a normal's CLS token (m, D), unit, may lie from the next one: the largest of the distances to the nearest
    view of another picture (``kin`` (m,) says whose view a row is); with one picture, of another view; else 0."""
    far = 1 - classes @ classes.T
    other = kin[:, None] != kin
    if not other.any():
        other = ~np.eye(len(kin), dtype=bool)
    if not other.any():
        return 0.0
    return float(max(0.0, np.where(other, far, np.inf).min(1).max()))


def first_component(x: np.ndarray) -> np.ndarray:
    """(T,) the centred tokens (T, D) along their first principal component, of either sign."""
    centred = x - x.mean(0)
    last = x.shape[1] - 1
    _, vector = eigh(centred.T @ centred, subset_by_index=[last, last])
    return np.asarray(centred @ vector[:, 0], np.float32)


def otsu(values: np.ndarray) -> tuple[float, float]:
    """The cut of values (n,) that explains most of their variance, and the share it explains (0 where all are equal)."""
    v = np.sort(np.asarray(values, np.float64))
    n, spread = len(v), float(v.var())
    if n < 2 or spread <= 1e-12 * max(1.0, float(v @ v) / n):
        return float(v[-1]), 0.0
    below = np.arange(1, n)
    low = np.cumsum(v)[:-1]
    between = below * (n - below) / n**2 * (low / below - (v.sum() - low) / (n - below)) ** 2
    at = int(between.argmax())
    return float((v[at] + v[at + 1]) / 2), float(between[at] / spread)


def foreground(x: np.ndarray, grid: tuple[int, int], threshold: float | None = None) -> np.ndarray:
    """Which tokens (T, D) of a picture belong to its object: (rows, columns) bool.

    The first principal component is cut at ``threshold`` (None: Otsu's cut); where at most 35 % of the middle (20 % off
    each side) is kept, the other side is the object; the mask is then dilated and closed by 3 × 3. All where nothing varies.
    """
    along = first_component(x).reshape(grid)
    cut, parting = (threshold, 1.0) if threshold is not None else otsu(along.ravel())
    if not parting:
        return np.ones(grid, bool)
    kept = along > cut
    rows, columns = (slice(int(n * 0.2), max(int(n * 0.2) + 1, int(n * 0.8))) for n in grid)
    if kept[rows, columns].mean() <= 0.35:
        kept = -along > (cut if threshold is not None else -cut)
    square = np.ones((3, 3), np.uint8)
    wider = cv2.dilate(kept.astype(np.uint8), square)
    return np.asarray(cv2.morphologyEx(wider, cv2.MORPH_CLOSE, square), bool)


def object_signs(x: np.ndarray, grid: tuple[int, int]) -> tuple[float, float]:
    """What speaks for an object before a background: the share of the first component's variance that Otsu's cut explains
    (above 0.75 for two groups), and the share of the outermost tokens that would be foreground (low where the object stands
    free)."""
    inside = foreground(x, grid)
    edge = np.ones(grid, bool)
    edge[1:-1, 1:-1] = False
    return otsu(first_component(x))[1], float(inside[edge].mean())


def _joined(old: np.ndarray | None, new: np.ndarray) -> np.ndarray:
    return new if old is None else np.concatenate([old, new])
