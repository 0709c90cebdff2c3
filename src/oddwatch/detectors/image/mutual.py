"""Mutual scoring: every picture of an unlabelled batch is judged by all the others (MuSc, arXiv 2401.16753).

Most tokens of most pictures are normal, so a normal token finds its like in nearly every other picture and an anomalous
one in few. The blocks here are shared by MuSc, MuSc-V2 and the batched zero-shot form of AnomalyDINO (arXiv 2405.14529):
distances of each token to each other picture, the mean of the lowest share of them, rank replacement between
modalities, and re-scoring of pictures by the pictures most like them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from oddwatch.core import InputError, Scores, Tokens
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, map_size, take
from oddwatch.detectors.image.density import Moments
from oddwatch.detectors.image.tokens import unit

BLOCK = 8_000_000
"""Most numbers in one block of distances of :func:`batched`."""


def nearest(x: np.ndarray, extra: np.ndarray | None = None, dims: int | None = None) -> np.ndarray:
    """Euclidean distances (N, N−1+M, T) of each token of ``x`` (N, T, D) to the nearest token of every other picture,
    and of each of the ``extra`` pictures (M, T', D), which are judges only.

    Column j of picture i is picture j, or j + 1 from i on; the extra ones come last. Each pair of pictures is
    multiplied once and read along both axes. Computed in the type of ``x`` (float32, or float64 where it is that).

    ``dims`` takes the inner products along that many principal components only, while lengths stay those of the
    whole tokens, so what the components leave out of a token counts as unlike everything. ``None``: exact.
    """
    kind = np.float64 if x.dtype == np.float64 else np.float32
    judges = [x] if extra is None or not len(extra) else [x, extra]
    mean, basis = _components(judges, dims)
    left, right = _sided(x, mean, basis, kind)
    n, tokens = x.shape[:2]
    others = n - 1 + (len(judges[1]) if len(judges) > 1 else 0)
    out = np.empty((n, others, tokens), kind)
    buffer = np.empty((tokens, tokens), kind)
    for i in range(n):
        for j in range(i + 1, n):
            np.matmul(left[i], right[j].T, out=buffer)
            buffer.max(axis=1, out=out[i, j - 1])
            buffer.max(axis=0, out=out[j, i])
    for m, judge in enumerate(judges[1] if len(judges) > 1 else ()):
        _, there = _sided(judge[None], mean, basis, kind)
        for i in range(n):
            (left[i] @ there[0].T).max(axis=1, out=out[i, n - 1 + m])
    out *= -2
    np.maximum(out, 0, out=out)
    return np.sqrt(out, out=out)


def _components(judges: Sequence[np.ndarray], dims: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The mean token (D,) and the leading ``dims`` principal directions (D, dims), or none of them."""
    width = judges[0].shape[-1]
    if dims is None or dims >= width:
        return np.zeros(width), None
    if dims < 1:
        raise InputError("dims", f"expected 1 or more components, got {dims}", "None keeps them all")
    moments = Moments()
    for judge in judges:
        for one in judge:
            moments.add(one)
    _, vectors = np.linalg.eigh(moments.scatter)
    return moments.mean, vectors[:, ::-1][:, :dims]


def _sided(x: np.ndarray, mean: np.ndarray, basis: np.ndarray | None, kind: Any) -> tuple[np.ndarray, ...]:
    """Two forms (N, T, d + 2) of tokens with ⟨left a, right b⟩ = −‖a − b‖²/2."""
    x = np.asarray(x, kind)
    if basis is not None:
        x = x - mean.astype(kind)
    half = np.einsum("ntd,ntd->nt", x, x)[..., None] / -2
    inside = x if basis is None else x @ basis.astype(kind)
    one = np.ones_like(half)
    return np.concatenate([inside, half, one], -1), np.concatenate([inside, one, half], -1)


def lowest(distances: np.ndarray, share: float = 0.3) -> np.ndarray:
    """(N, T) the mean of the lowest max(1, int(share·J)) distances (N, J, T) over the J other pictures.

    Raises:
        InputError: no other picture, or a share outside (0, 1].
    """
    others = distances.shape[1]
    if not others:
        raise InputError("pictures", "expected at least two to compare with each other, got one")
    if not 0 < share <= 1:
        raise InputError("share", f"expected above 0 and up to 1, got {share}")
    keep = max(1, int(share * others))
    return np.partition(distances, keep - 1, axis=1)[:, :keep].mean(1)


def batched(x: np.ndarray, extra: np.ndarray | None = None, share: float = 0.001) -> np.ndarray:
    """(N, T) batched zero-shot AnomalyDINO: the mean of each token's cosine distances to all tokens of all other pictures
    that lie strictly below their own ``share`` quantile (linear between ranks); their smallest where none does.

    ``x`` (N, T, D), ``extra`` (M, T', D) further pictures that only judge.

    Raises:
        InputError: no other picture.
    """
    x = unit(x)
    rest = unit(extra).reshape(-1, x.shape[-1]) if extra is not None else x[:0].reshape(-1, x.shape[-1])
    n, tokens = x.shape[:2]
    total = (n - 1) * tokens + len(rest)
    if not total:
        raise InputError("pictures", "expected at least two to compare with each other, got one")
    out, step = np.empty((n, tokens), np.float32), max(1, BLOCK // total)
    for i in range(n):
        others = np.concatenate([np.delete(x, i, axis=0).reshape(-1, x.shape[-1]), rest])
        for start in range(0, tokens, step):
            similar = x[i, start : start + step] @ others.T
            out[i, start : start + step] = _below_quantile(np.maximum(1 - similar, 0), share)
    return out


def _below_quantile(values: np.ndarray, share: float) -> np.ndarray:
    """(q,) the mean of each row's values (q, n) strictly below the row's ``share`` quantile, or its smallest."""
    place = share * (values.shape[1] - 1)
    keep = min(values.shape[1], int(place) + 2)
    part = np.sort(np.partition(values, keep - 1, axis=1)[:, :keep], axis=1).astype(np.float64)
    low, high = part[:, int(place)], part[:, min(int(place) + 1, keep - 1)]
    below = part < (low + (place - int(place)) * (high - low))[:, None]
    below[:, 0] = True
    return (part * below).sum(1) / below.sum(1)


def rank_replace(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The values of ``a`` in the order of ``b`` (any shape, equal sizes): where ``b`` has its q-th smallest number, the
    q-th smallest of ``a``. Equal numbers of ``b`` keep the order they stand in (stable sort)."""
    out = np.empty(b.size, a.dtype)
    out[np.argsort(b, axis=None, kind="stable")] = np.sort(a, axis=None)
    return out.reshape(b.shape)


def rescore(values: np.ndarray, features: np.ndarray, neighbours: Sequence[int]) -> np.ndarray:
    """(N,) picture scores averaged over like pictures (RsCIN of MuSc; RsCon of MuSc-V2).

    For each k of ``neighbours``, a score becomes the mean of the scores of the k pictures most similar to it, itself
    included, weighted by cosine similarity of ``features`` (N, F); then the mean over k. No ``neighbours``: as given.
    The papers bring the scores to 0–1 first; as weights add up to one, that only changes the unit, and is left out,
    so that scores keep the unit of the maps. A negative similarity weighs nothing (in the papers row sums may vanish).
    """
    values = np.asarray(values, np.float64)
    if not len(neighbours) or len(values) < 2:
        return values
    similar = np.clip(unit(features) @ unit(features).T, 0, 1).astype(np.float64)
    np.fill_diagonal(similar, 1)
    ahead = similar.copy()
    np.fill_diagonal(ahead, 2)
    order = np.argsort(-ahead, axis=1, kind="stable")
    out = np.zeros(len(values))
    for k in neighbours:
        if k < 1:
            raise InputError(
                "neighbours", f"expected 1 or more, got {k}", "leave the tuple empty to switch off"
            )
        nearest_k = order[:, :k]
        weights = np.take_along_axis(similar, nearest_k, 1)
        out += (weights * values[nearest_k]).sum(1) / weights.sum(1)
    return out / len(neighbours)


def groups(n: int, divide_num: int | None = None, most: int = 64, least: int = 2) -> list[np.ndarray]:
    """``n`` pictures in ``divide_num`` groups (by default as few as keep each within ``most``), as index arrays.

    Dealt out in turn, so that neighbours in a sorted folder (often one kind of defect) land in different groups. No
    group gets fewer than ``least`` pictures: there are fewer groups then.
    """
    if divide_num is not None and divide_num < 1:
        raise InputError("divide_num", f"expected 1 group or more, got {divide_num}")
    wanted = divide_num if divide_num is not None else -(-n // most)
    wanted = max(1, min(wanted, n // max(1, least)))
    return [np.arange(start, n, wanted) for start in range(wanted)]


@dataclass(kw_only=True, eq=False)
class MutualDetector(ImageDetector):
    """Base of the batch methods: a subclass offers ``_views`` (tokens as they are compared, one view at a time) and
    ``_features`` (what pictures are compared by when re-scored).

    ``share`` of the other pictures judge a token; ``judge`` is how: by their nearest tokens (``pictures``), or by all
    tokens of all others together, as in batched AnomalyDINO (``tokens``, which has its own share, 0.1 %).
    ``dims``: principal components kept in inner products (None: all). ``neighbours``: sizes of the re-scoring (none:
    off). ``divide_num`` groups a large batch is split into; by default groups of at most 64 pictures, which
    bounds memory and makes time grow with the number of pictures, not its square. ``kept``: at most so many of
    the normals that ``fit`` was given, drawn by ``seed``, join every group as judges.
    """

    STATE: ClassVar[tuple[str, ...]] = ("normals",)
    NEEDS_NORMALS: ClassVar[bool] = False

    sigma: float = 0.0
    share: float = 0.3
    judge: Literal["pictures", "tokens"] = "pictures"
    dims: int | None = 128
    neighbours: tuple[int, ...] = ()
    divide_num: int | None = None
    kept: int = 32
    normals: np.ndarray | None = field(default=None, init=False, repr=False)

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        if not count(normal):
            self.normals = None
            return
        order = np.random.default_rng(self.seed).permutation(count(normal))
        self.normals = self._gathered(take(normal, np.sort(order[: self.kept])))[0]

    def score(self, items: Pictures) -> Scores:
        """Scores (N,) and maps (N, side, side) of a batch: pictures are compared with each other, so a picture's score
        depends on the batch. No pictures give no scores.

        Raises:
            InputError: one picture alone, and no normals to compare it with.
        """
        n = count(items)
        if not n:
            return Scores(np.empty(0), np.empty((0, 0, 0), np.float32))
        if n == 1 and self.normals is None:
            raise InputError(
                "pictures",
                "expected at least two, to compare with each other",
                "add more, or fit normal ones",
            )
        full: np.ndarray | None = None
        values, features = np.empty(n), [np.empty(0)] * n
        for group in groups(n, self.divide_num, least=2 if self.normals is None else 1):
            x, tokens = self._gathered(take(items, group))
            patches = self._judged(x, tokens.grid)
            fields = patches.reshape(-1, *tokens.grid)
            found = maps.upsample(fields, map_size(tokens), sigma=self.sigma, align_corners=True)
            values[group] = maps.highest(found)
            if full is None:
                full = np.empty((n, *found.shape[1:]), np.float32)
            full[group] = found
            for i, about in zip(group, self._features(x, tokens.cls, patches), strict=True):
                features[i] = about
        return Scores(rescore(values, np.stack(features), self.neighbours), full)

    def _judged(self, x: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Patch scores (B, T), the mean over views of tokens (L, B, T, D)."""
        total, views = np.zeros(x.shape[1:3], np.float32), 0
        pairs = zip(self._views(x, grid), self._judges(grid), strict=False)
        for view, extra in pairs:
            if self.judge == "tokens":
                total += batched(view, extra)
            else:
                total += lowest(nearest(view, extra, self.dims), self.share)
            views += 1
        return total / views

    def _judges(self, grid: tuple[int, int]) -> Iterator[np.ndarray | None]:
        """The views of the kept normals, for ever none where there are none."""
        if self.normals is not None:
            yield from self._views(self.normals, grid)
            return
        while True:
            yield None

    def _gathered(self, items: Pictures) -> tuple[np.ndarray, Tokens]:
        """Tokens (L, B, T, D) float16 of pictures, layer by layer, and a record without layers of their globals."""
        x: np.ndarray | None = None
        start, parts = 0, []
        for tokens in self.chunks(items):
            first = tokens.layers[self.layers[0]]
            if x is None:
                x = np.empty((len(self.layers), count(items), *first.shape[1:]), np.float16)
            for which, name in enumerate(self.layers):
                x[which, start : start + len(first)] = np.clip(tokens.layers[name], -6e4, 6e4)
            start += len(first)
            parts.append(tokens)
        assert x is not None
        joined = [np.concatenate([getattr(t, name) for t in parts]) for name in ("cls", "scale", "offset")]
        return x, Tokens(joined[0], {}, parts[0].grid, joined[1], joined[2])

    def _views(self, x: np.ndarray, grid: tuple[int, int]) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def _features(self, x: np.ndarray, cls: np.ndarray, patches: np.ndarray) -> np.ndarray:
        raise NotImplementedError
