"""Parts and whole: SubspaceAD for places, MVG for the picture, joined in deviations of held-out normals (our own).

Idea. 1. SubspaceAD (arXiv 2602.23013) sees what no normal patch looks like, but not that everything is a little off, or that
a part is missing whose place looks like background. 2. MVG (arXiv 2005.14140) sees just that, and no small defect. 3. Each of
``folds`` parts of the normals is scored by both, fitted to the other parts; their means and deviations put both scores on
one scale. 4. The score is the sum: how many deviations above normal. 5. The map is SubspaceAD's.

Needs normal pictures. With fewer than ``enough`` a Gaussian over pictures says nothing, and the whole is left out.

Differs from the paper, that is, from both: one encoding for the two; MVG on the middle blocks 6 to 10 only, since what lies
before them is colour and after them the backbone's own task. Chosen as default by defects drawn on held-out normals
(``benchmarks/image_choice.py``), not by anybody's test labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Scores, Tokens
from oddwatch.detectors.image.base import ImageDetector, Pictures, count
from oddwatch.detectors.image.density import Moments
from oddwatch.detectors.image.mvg import MVG
from oddwatch.detectors.image.subspace import SubspaceAD
from oddwatch.detectors.image.tokens import mean_of

PARTS = "parts"
JUDGED = 512
"""Most normal pictures whose tokens are kept, in half precision, to settle the scale."""


@dataclass(kw_only=True, eq=False)
class PartsAndWhole(ImageDetector):
    """Deviations of SubspaceAD's score over ``layers`` plus those of MVG's over ``levels``.

    ``variance``, ``rotations`` and ``few`` are SubspaceAD's; ``folds`` parts of the normals settle the scale; ``whole=False``
    leaves MVG out, as fewer than ``enough`` normals do.
    """

    NAME: ClassVar[str] = "parts-and-whole"
    DEVIATION: ClassVar[float] = 1.0
    """What normal scores are expected to deviate by, for thresholds from very few of them."""

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    levels: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9", "block_10")
    variance: float = 0.99
    rotations: int = 30
    few: int = 16
    folds: int = 5
    enough: int = 8
    whole: bool = True
    scale: np.ndarray | None = field(default=None, init=False, repr=False)
    """(2, 2) mean and deviation of held-out normals' scores: parts, whole. A deviation of 0 leaves the score out."""

    def __post_init__(self) -> None:
        self._parts = SubspaceAD(
            encoder=self.encoder, resolution=self.resolution, layers=(PARTS,), sigma=self.sigma,
            variance=self.variance, rotations=0,
        )  # fmt: skip
        self._whole = MVG(encoder=self.encoder, resolution=self.resolution, layers=self.levels)

    @property
    def reads_cls(self) -> bool:
        return False

    # -- fitting -------------------------------------------------------------------------------------------------

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self._learn(normal, np.zeros(count(normal), np.int64))

    def fit_apart(self, normal: Pictures, folds: Sequence[np.ndarray]) -> Iterator[Self]:
        """As in the base, but every picture is encoded once, and the scale is that of all normals."""
        outer = np.full(count(normal), len(folds))
        for i, fold in enumerate(folds):
            outer[fold] = i
        learnt = self._learn(normal, outer)
        self.fitted = True
        for i in range(len(folds)):
            kept = outer != i
            apart = replace(self)
            apart._parts = learnt.subspace(self._parts, learnt.outer != i, int(kept.sum()))
            apart._whole.fit(_tokens(learnt.pooled[kept], self.levels))
            apart.scale, apart.fitted = self.scale, True
            yield apart

    def add(self, normal: Pictures) -> Self:
        """Learn from further normal pictures; the scale stays that of the first fit."""
        self._ready()
        for tokens in self.chunks(normal, self._all):
            reduced = self._reduced(tokens)
            self._parts.add(reduced)
            self._whole.add(reduced)
        return self

    @property
    def _all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.layers, *self.levels)))

    def _reduced(self, tokens: Tokens) -> Tokens:
        """What both members read: the mean of ``layers`` a token, the mean token of each of ``levels``."""
        means = {
            n: np.asarray(tokens.layers[n]).mean(1, keepdims=True, dtype=np.float32) for n in self.levels
        }
        layers = {PARTS: mean_of(tokens, self.layers), **means}
        return Tokens(tokens.cls, layers, tokens.grid, tokens.scale, tokens.offset)

    def _learn(self, normal: Pictures, outer: np.ndarray) -> _Learnt:
        """Fit both members to all of ``normal`` and settle the scale; sums are kept by the parts that ``outer`` (N,) and
        the detector's own folds cut."""
        self.__post_init__()
        n = len(outer)
        inner = np.empty(n, np.int64)
        for k, fold in enumerate(self._folds(n)):
            inner[fold] = k
        atoms, atom = np.unique(np.stack([outer, inner], 1), axis=0, return_inverse=True)
        judged = np.sort(np.random.default_rng(self.seed).permutation(n)[:JUDGED])
        learnt = _Learnt(
            [Moments() for _ in atoms], atoms[:, 0], np.empty((n, len(self.levels), 0), np.float32)
        )
        pooled, rows, at = [], [], 0
        for tokens in self.with_turned(normal, self.rotations, self.few, self._all):
            reduced = self._reduced(tokens)
            for i in range(len(reduced.cls)):
                picture = at if at < n else (at - n) // self.rotations
                learnt.sums[int(atom.ravel()[picture])].add(reduced.layers[PARTS][i])
                if at < n:
                    pooled.append(np.stack([reduced.layers[name][i, 0] for name in self.levels]))
                    if at in judged:
                        rows.append(reduced.layers[PARTS][i].astype(np.float16))
                at += 1
        learnt.pooled = np.stack(pooled)
        self._parts = learnt.subspace(self._parts, np.ones(len(atoms), bool), n)
        self._whole.fit(_tokens(learnt.pooled, self.levels))
        self.scale = self._settled(learnt, atoms[:, 1], inner, judged, np.stack(rows), reduced.grid)
        return learnt

    def _settled(
        self, learnt: _Learnt, inner_of: np.ndarray, inner: np.ndarray, judged: np.ndarray, rows: np.ndarray,
        grid: tuple[int, int],
    ) -> np.ndarray:  # fmt: skip
        """The scale: every fold's pictures scored by members that never saw them. One picture says what it can of itself."""
        with_whole = self.whole and len(inner) >= self.enough
        held = np.full((2, len(judged)), np.nan)
        for k in np.unique(inner):
            mine = inner[judged] == k
            if not mine.any():
                continue
            kept, others = inner_of != k, inner != k
            if not kept.any():
                kept, others = ~kept, ~others
            out = _tokens(learnt.pooled[judged[mine]], self.levels, rows[mine], grid)
            held[0, mine] = learnt.subspace(self._parts, kept, int(others.sum())).score(out).values
            if with_whole:
                apart = replace(self._whole).fit(_tokens(learnt.pooled[others], self.levels))
                held[1, mine] = apart.score(out).values
        return np.stack([_scale(held[0]), _scale(held[1]) if with_whole else np.zeros(2)])

    def _folds(self, n: int) -> list[np.ndarray]:
        """Parts of ``n`` pictures by chance: each alone while they are few."""
        parts = n if n < self.few else min(self.folds, n)
        return np.array_split(np.random.default_rng(self.seed).permutation(n), parts)

    # -- scoring -------------------------------------------------------------------------------------------------

    def score(self, items: Pictures) -> Scores:
        """Scores (N,), deviations above normal, and SubspaceAD's maps (N, side, side).

        Raises:
            InputError: not fitted yet.
        """
        self._ready()
        assert self.scale is not None
        values, maps_ = [], []
        for tokens in self.chunks(items, self._all):
            reduced = self._reduced(tokens)
            found = self._parts.score(reduced)
            assert found.maps is not None
            value = (found.values - self.scale[0, 0]) / self.scale[0, 1]
            if self.scale[1, 1] > 0:
                value = value + (self._whole.score(reduced).values - self.scale[1, 0]) / self.scale[1, 1]
            values.append(value)
            maps_.append(found.maps)
        if not values:
            return Scores(np.empty(0), np.empty((0, 0, 0), np.float32))
        return Scores(np.concatenate(values), np.concatenate(maps_))

    # -- keeping -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Both members' arrays and the scale."""
        members = {f"parts.{n}": v for n, v in self._parts.state().items()}
        members |= {f"whole.{n}": v for n, v in self._whole.state().items()}
        assert self.scale is not None
        return {**members, "scale": self.scale}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`state`."""
        for name, member in (("parts", self._parts), ("whole", self._whole)):
            own = {n.removeprefix(f"{name}."): v for n, v in arrays.items() if n.startswith(f"{name}.")}
            member.restore(own)
            member.fitted = True
        self.scale = arrays["scale"]


@dataclass(slots=True, eq=False)
class _Learnt:
    """What was read of the normals: the moments of each part's tokens, the fold ``outer`` each part lies in, and the mean
    tokens ``pooled`` (N, levels, D) of the pictures."""

    sums: list[Moments]
    outer: np.ndarray
    pooled: np.ndarray

    def subspace(self, like: SubspaceAD, parts: np.ndarray, pictures: int) -> SubspaceAD:
        """A detector as ``like``, fitted to some of the parts, by (P,) bool."""
        total, made = Moments(), replace(like)
        for part in np.flatnonzero(parts).tolist():
            total.merge(self.sums[part])
        made.learn(total, pictures)
        return made


def _tokens(
    pooled: np.ndarray, levels: Sequence[str], rows: np.ndarray | None = None, grid: tuple[int, int] = (1, 1)
) -> Tokens:
    """What the members read, made of mean tokens (N, levels, D) and the tokens ``rows`` (N, T, D) of the parts."""
    n = len(pooled)
    layers = {name: pooled[:, i : i + 1] for i, name in enumerate(levels)}
    if rows is not None:
        layers[PARTS] = rows
    return Tokens(pooled[:, 0], layers, grid, np.ones((n, 2)), np.zeros((n, 2)))


def _scale(values: np.ndarray) -> np.ndarray:
    """Mean and deviation of held-out scores; equal ones get a deviation by their size, one alone a tenth of it."""
    mean = float(values.mean())
    least = max(1e-3 * abs(mean), 1e-9) if len(values) > 2 else max(0.1 * abs(mean), 1e-9)
    return np.array([mean, max(float(values.std(ddof=1)) if len(values) > 1 else 0.0, least)])
