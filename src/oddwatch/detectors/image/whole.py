"""Parts and whole: SubspaceAD for places, MVG for the picture, joined in deviations of held-out normals (our own).

Idea. 1. SubspaceAD (arXiv 2602.23013) sees what no normal patch looks like, but not that everything is a little off, or that
a part is missing whose place looks like background. 2. MVG (arXiv 2005.14140) sees just that, and no small defect. 3. Each of
``folds`` parts of the normals is scored by both, fitted to the other parts; their means and deviations put both scores on
one scale. 4. The score is the sum: how many deviations above normal. 5. The map is SubspaceAD's.

Needs normal pictures. With fewer than ``enough`` a Gaussian over pictures says nothing, and the whole is left out.

Differs from the paper, that is, from both: one encoding for the two; MVG on the middle blocks 6 to 10 only, since what lies
before them is colour and after them the backbone's own task. Chosen as default by defects drawn on held-out normals
(``benchmarks/image_default.py``), not by anybody's test labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Scores, Tokens
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, take
from oddwatch.detectors.image.density import Moments
from oddwatch.detectors.image.mvg import MVG
from oddwatch.detectors.image.subspace import SubspaceAD
from oddwatch.detectors.image.tokens import mean_of

PARTS = "parts"


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
        rows, owner = self._gathered(normal)
        self._learn(np.arange(count(normal)), rows, self._sums(rows, owner))

    def fit_apart(self, normal: Pictures, folds: Sequence[np.ndarray]) -> Iterator[Self]:
        """As in the base, but every picture is encoded, and summed up, once."""
        rows, owner = self._gathered(normal)
        sums, everything = self._sums(rows, owner), np.arange(count(normal))
        self._learn(everything, rows, sums)
        self.fitted = True
        for fold in folds:
            apart = replace(self)
            apart._learn(np.setdiff1d(everything, fold), rows, sums)
            apart.fitted = True
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

    def _gathered(self, normal: Pictures) -> tuple[Tokens, np.ndarray]:
        """Reduced tokens of all normals, in half precision, then of their turned copies; and whose picture each row is."""
        turned = self.with_turned(normal, self.rotations, self.few, self._all)
        found = [self._reduced(tokens) for tokens in turned]
        n, rows = count(normal), sum(len(t.cls) for t in found)
        owner = np.concatenate([np.arange(n), np.repeat(np.arange(n), (rows - n) // n)])
        layers = {PARTS: np.concatenate([t.layers[PARTS].astype(np.float16) for t in found])}
        layers |= {name: np.concatenate([t.layers[name] for t in found]) for name in self.levels}
        first = found[0]
        whole = [np.concatenate([getattr(t, name) for t in found]) for name in ("cls", "scale", "offset")]
        return Tokens(whole[0], layers, first.grid, whole[1], whole[2]), owner

    def _sums(self, rows: Tokens, owner: np.ndarray) -> list[Moments]:
        """The moments of each picture's tokens with those of its turned copies: any part of the normals is a sum of them."""
        found = []
        for picture in range(int(owner.max()) + 1):
            moments = Moments()
            for row in np.flatnonzero(owner == picture):
                moments.add(rows.layers[PARTS][row])
            found.append(moments)
        return found

    def _learn(self, pictures: np.ndarray, rows: Tokens, sums: Sequence[Moments]) -> None:
        """Fit both members to ``pictures``, whose upright tokens lead ``rows``; score held-out ones for the scale."""
        self.__post_init__()
        with_whole = self.whole and len(pictures) >= self.enough
        self._parts = self._subspace(pictures, sums)
        self._whole.fit(_rows(rows, pictures))
        held = np.full((2, len(pictures)), np.nan)
        for fold in self._folds(len(pictures)):
            out = _rows(rows, pictures[fold])
            rest = np.setdiff1d(pictures, pictures[fold])
            # One picture: what it says of its own turned copies.
            parts = self._subspace(rest if len(rest) else pictures, sums)
            held[0, fold] = parts.score(out).values
            if with_whole:
                held[1, fold] = replace(self._whole).fit(_rows(rows, rest)).score(out).values
        self.scale = np.stack([_scale(held[0]), _scale(held[1]) if with_whole else np.zeros(2)])

    def _subspace(self, pictures: np.ndarray, sums: Sequence[Moments]) -> SubspaceAD:
        total, made = Moments(), replace(self._parts)
        for picture in pictures.tolist():
            total.merge(sums[picture])
        made.learn(total, len(pictures))
        return made

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


def _rows(tokens: Tokens, which: np.ndarray) -> Tokens:
    found = take(tokens, which)
    assert isinstance(found, Tokens)
    return found


def _scale(values: np.ndarray) -> np.ndarray:
    """Mean and deviation of held-out scores; equal ones get a deviation by their size, one alone a tenth of it."""
    mean = float(values.mean())
    least = max(1e-3 * abs(mean), 1e-9) if len(values) > 2 else max(0.1 * abs(mean), 1e-9)
    return np.array([mean, max(float(values.std(ddof=1)) if len(values) > 1 else 0.0, least)])
