"""CPR: the most alike normal pictures first, then the most alike patch near the same place (arXiv 2308.06748, TIP 2024).

Idea. 1. Global retrieval: a codebook of 12 words turns a picture into 5 × 5 word histograms; the ``nearest`` normals by
block-wise KL, the worst fifth of the blocks forgiven. 2. Local retrieval: a small convolutional head per layer, trained so
that equal places of normal pictures agree and defects do not. 3. A patch's score is the least cosine distance to patches
of the retrieved pictures within a small neighbourhood of its place. 4. Of objects, the background is weighed down by a
linear discriminant. 5. Two layers are summed; the picture's score is the sum of the ``top`` highest pixels.

Needs normal pictures (their pixels where the head is trained at fit), and torch. For things that lie alike in all pictures.
One normal costs 1.6 MB of memory at 448 pixels and 384 numbers a patch.

Differs from the paper: two middle layers of the embedded ViT-S/14 at 448 pixels in place of the first two dense blocks of
DenseNet201 at 320; so both have one grid, and foreground and scores meet on it before upsampling. Training points are
grid cells, not interpolated pixels; only cells clear of the defect (or mostly in it) count. Without ``weights`` the head is
trained on the user's normals with the defects of :mod:`oddwatch.datasets.defects` (not DTD textures), with some hundred
pairs in place of 1.3 million; noise and lightness augmentation is left out, as the pictures are encoded once. ``foreground="auto"``
decides between object and texture by itself (the paper is told): an object's border belongs to one of two clusters and its
middle does not. Weights are named like the authors' ``lrb`` (``conv.0.0.weight`` …), but theirs belong to convolutional
backbones and fit no encoder here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from oddwatch.core import ImageEncoder, InputError, Progress, Tokens, require
from oddwatch.detectors.image import cpr_head, heads, maps
from oddwatch.detectors.image.base import ImageDetector, Pictures, count
from oddwatch.detectors.image.tokens import unit

Arrays = heads.Arrays
HEAD = "head."


@dataclass(kw_only=True, eq=False)
class CPR(ImageDetector):
    """Local retrieval within the ``nearest`` normals, over neighbourhoods of ``reach`` × ``reach`` cells for each layer.

    ``words``, ``blocks``, ``kept``: the codebook's size, blocks a side, share of blocks that count. ``foreground``: weigh
    the background down (True), do not (False), or only of objects ("auto"). ``weights``: a head made by :func:`train`;
    without it fitting trains one (``steps`` of ``batch`` pairs at rate ``lr`` over ``pairs`` generated pictures). ``steps=0``
    compares the encoder's own tokens. ``width``: numbers a patch (the paper's fast versions have 64 and 16).
    """

    NAME: ClassVar[str] = "cpr"
    STATE: ClassVar[tuple[str, ...]] = ("codebook", "histograms", "bank", "plane", "ground")

    layers: tuple[str, ...] = ("block_6", "block_9")
    reach: tuple[int, ...] = (3, 1)
    nearest: int = 10
    words: int = 12
    blocks: int = 5
    kept: float = 0.8
    foreground: bool | Literal["auto"] = "auto"
    top: int = 512
    width: int = 384
    weights: str | None = None
    steps: int = 100
    batch: int = 4
    lr: float = 1e-3
    pairs: int = 64
    head: Arrays = field(default_factory=dict, init=False, repr=False)
    codebook: np.ndarray | None = field(default=None, init=False, repr=False)
    histograms: np.ndarray | None = field(default=None, init=False, repr=False)
    bank: np.ndarray | None = field(default=None, init=False, repr=False)
    plane: np.ndarray | None = field(default=None, init=False, repr=False)
    ground: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.reach) != len(self.layers) or any(r < 1 or r % 2 == 0 for r in self.reach):
            raise InputError("reach", f"expected an odd number for each of {self.layers}, got {self.reach}")
        if self.nearest < 1 or not 0 < self.kept <= 1:
            raise InputError("nearest, kept", "expected 1 or more and a share above 0 up to 1")

    # -- fitting -------------------------------------------------------------------------------------------------

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        parts = list(self.chunks(normal))
        grid = parts[0].grid
        raw = [np.concatenate([np.asarray(t.layers[n], np.float16) for t in parts]) for n in self.layers]
        rng = np.random.default_rng(self.seed)
        first = raw[0]
        self.codebook = centres(first.reshape(-1, first.shape[-1]), self.words, rng)
        self.histograms = np.stack([histogram(words_of(x, self.codebook), grid, self) for x in first])
        self.plane = None
        if self.foreground:
            self.plane = foreground_plane(first, grid, rng, sure=self.foreground != "auto")
        self.ground = np.stack([weight_of(x, self.plane) for x in first])
        self.head = self._trained(normal, raw, grid)
        net = self._network()
        bank = np.stack(
            [self._local(net, [r[i : i + 1] for r in raw], grid)[:, 0] for i in range(count(normal))]
        )
        self.bank = bank.astype(np.float16)

    def _trained(self, normal: Pictures, raw: Sequence[np.ndarray], grid: tuple[int, int]) -> Arrays:
        """The local head, of a file or trained; none where there is nothing to train."""
        if self.weights is not None:
            head = heads.load_head(self.weights, method=self.NAME, encoder=self.eyes.id)
            return cpr_head.checked(head, self.eyes.dim, len(self.layers), self.weights)
        if not self.steps:
            return {}
        assert self.histograms is not None and self.ground is not None
        one = cpr_head.Enrolled(
            list(raw), alike(self.histograms, self.kept, self.nearest), self.ground, self.plane is not None
        )
        return cpr_head.learn(
            self.eyes, [heads.pixels_of(normal, "CPR")], [one], grid, layers=self.layers, reach=self.reach[0],
            width=self.width, steps=self.steps, batch=self.batch, lr=self.lr, pairs=self.pairs, seed=self.seed,
        )  # fmt: skip

    # -- scoring -------------------------------------------------------------------------------------------------

    def _patches(self, tokens: Tokens) -> np.ndarray:
        assert self.codebook is not None and self.histograms is not None
        assert self.bank is not None and self.ground is not None
        grid, raw = tokens.grid, [tokens.layers[n] for n in self.layers]
        net = self._network()
        out = np.empty((len(tokens.cls), grid[0] * grid[1]), np.float32)
        for i in range(len(out)):
            one = [np.asarray(r[i : i + 1], np.float32) for r in raw]
            seen = histogram(words_of(one[0][0], self.codebook), grid, self)
            near = nearest_of(seen, self.histograms, self.kept, self.nearest)
            local = self._local(net, one, grid)
            found = self.bank[near].astype(np.float32)
            out[i] = sum(
                neighbourhood_distance(local[n, 0], found[:, n], grid, r) for n, r in enumerate(self.reach)
            )
            out[i] *= np.maximum(weight_of(one[0][0], self.plane), self.ground[near].max(0))
        return out.reshape(-1, *grid)

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.top_sum(full, self.top)

    def _network(self) -> Any:
        """The head as a torch module in evaluation mode; None without one."""
        if not self.head:
            return None
        torch = require("torch", for_="CPR", extra="torch")
        net = cpr_head.network(torch, self.eyes.dim, len(self.layers), len(self.head["conv.0.4.bias"]))
        net.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in self.head.items()}, strict=False)
        return net.eval()

    def _local(self, net: Any, raw: Sequence[np.ndarray], grid: tuple[int, int]) -> np.ndarray:
        """Unit descriptors (layers, B, T, width) float32 of tokens of each layer (B, T, D)."""
        if net is None:
            return np.stack([unit(r) for r in raw])
        torch = require("torch", for_="CPR", extra="torch")
        with torch.inference_mode():
            seen = [
                net.conv[n](cpr_head.field_of(torch.from_numpy(np.asarray(r, np.float32)), grid))
                .flatten(2)
                .transpose(1, 2)
                .numpy()
                for n, r in enumerate(raw)
            ]
        return np.stack([unit(s) for s in seen])

    def state(self) -> Arrays:
        return super().state() | {HEAD + n: np.ascontiguousarray(v) for n, v in self.head.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.head = {n.removeprefix(HEAD): v for n, v in arrays.items() if n.startswith(HEAD)}


# -- global retrieval --------------------------------------------------------------------------------------------


def centres(x: np.ndarray, k: int, rng: np.random.Generator, most: int = 50_000) -> np.ndarray:
    """(k, D) k-means centres of at most ``most`` of the rows ``x`` (n, D); fewer where there are fewer rows."""
    if len(x) > most:
        x = x[np.sort(rng.choice(len(x), most, replace=False))]
    k = min(k, len(x))
    cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
    _, _, found = cv2.kmeans(np.ascontiguousarray(x, np.float32), k, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    return np.asarray(found, np.float32)


def words_of(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """(T,) the nearest word of each token ``x`` (T, D)."""
    near = (codebook**2).sum(1) - 2 * (np.asarray(x, np.float32) @ codebook.T)
    return np.asarray(near.argmin(1))


def histogram(words: np.ndarray, grid: tuple[int, int], cpr: CPR) -> np.ndarray:
    """(blocks, words) shares of the words in each of ``blocks`` × ``blocks`` parts of the grid (fewer on small grids)."""
    one_hot = np.eye(cpr.words, dtype=np.float32)[words].reshape(*grid, cpr.words)
    rows = np.array_split(np.arange(grid[0]), min(cpr.blocks, grid[0]))
    columns = np.array_split(np.arange(grid[1]), min(cpr.blocks, grid[1]))
    return np.stack([one_hot[np.ix_(r, c)].mean((0, 1)) for r in rows for c in columns])


def divergence(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """KL(query ‖ reference) of histograms (…, words), 1e-8 added to each share."""
    q, r = query.astype(np.float64) + 1e-8, reference.astype(np.float64) + 1e-8
    return np.asarray((q * np.log(q / r)).sum(-1))


def forgiving(distances: np.ndarray, kept: float = 0.8) -> np.ndarray:
    """The sum of the lowest share ``kept`` of block distances (…, blocks): a defect spoils only a few blocks."""
    keep = max(1, int(distances.shape[-1] * kept + 1e-9))
    return np.asarray(np.sort(distances, -1)[..., :keep].sum(-1))


def nearest_of(query: np.ndarray, histograms: np.ndarray, kept: float, k: int) -> np.ndarray:
    """The ``k`` (at most) of ``histograms`` (n, blocks, words) that are most alike, best first."""
    return np.argsort(forgiving(divergence(query[None], histograms), kept), kind="stable")[:k]


def alike(histograms: np.ndarray, kept: float, k: int) -> list[np.ndarray]:
    """For each picture its ``k`` nearest others; the picture itself where it is the only one."""
    out = []
    for i, one in enumerate(histograms):
        near = nearest_of(one, histograms, kept, k + 1)
        others = near[near != i][:k]
        out.append(others if len(others) else near)
    return out


# -- foreground --------------------------------------------------------------------------------------------------


def foreground_plane(
    x: np.ndarray, grid: tuple[int, int], rng: np.random.Generator, *, sure: bool = False, most: int = 15_000
) -> np.ndarray | None:
    """(D + 1,) weights and offset of the foreground value of a token, of normal pictures' tokens ``x`` (B, T, D).

    Two clusters; the one that holds most of the border (3/80 of the side) is background; tokens of the middle (± 1/5) that
    are not in it are foreground; a linear discriminant between these, scaled by its range without the outer 1 %. None where
    one side has no token, or, unless ``sure`` that it is an object, where the background's share of the border is
    not at least half above its share of the middle.
    """
    rows, columns = grid
    flat = x.reshape(-1, x.shape[-1])
    two = centres(flat, 2, rng)
    words = np.stack([words_of(one, two) for one in x]).reshape(len(x), rows, columns)
    h, w = max(1, rows * 3 // 80), max(1, columns * 3 // 80)
    border = np.ones(grid, bool)
    border[h : rows - h, w : columns - w] = False
    middle = np.zeros(grid, bool)
    middle[int(rows * 0.3) : int(rows * 0.7), int(columns * 0.3) : int(columns * 0.7)] = True
    away = np.bincount(words[:, border].ravel(), minlength=2).argmax()
    behind = words == away
    if not sure and behind[:, border].mean() - behind[:, middle].mean() < 0.5:
        return None
    inside, outside = x[(~behind & middle).reshape(len(x), -1)], x[(behind & border).reshape(len(x), -1)]
    n = min(most, len(inside), len(outside))
    if not n:
        return None
    inside, outside = (part[rng.permutation(len(part))[:n]] for part in (inside, outside))
    plane = discriminant(inside, outside)
    values = np.sort(np.concatenate([one.astype(np.float32) @ plane[:-1] + plane[-1] for one in x]))
    cut = int(len(values) * 0.01)
    low, high = float(values[cut]), float(values[len(values) - 1 - cut])
    if high - low <= 1e-9:
        return None
    plane[-1] -= low
    return np.asarray(plane / (high - low), np.float32)


def discriminant(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(D + 1,) Fisher's plane between rows (n, D) and (m, D), equal priors, above 0 inside; the scatter is shrunk by a
    thousandth, so that few rows suffice."""
    a, b = inside.astype(np.float64), outside.astype(np.float64)
    one, two = a.mean(0), b.mean(0)
    centred = np.concatenate([a - one, b - two])
    scatter = centred.T @ centred / max(1, len(centred) - 2)
    scatter.flat[:: len(scatter) + 1] += 1e-3 * np.trace(scatter) / len(scatter) + 1e-9
    slope = np.linalg.solve(scatter, one - two)
    return np.append(slope, -0.5 * slope @ (one + two))


def weight_of(x: np.ndarray, plane: np.ndarray | None) -> np.ndarray:
    """(T,) foreground weights 0–1 of tokens (T, D); 1 everywhere without a plane."""
    if plane is None:
        return np.ones(len(x), np.float32)
    return np.clip(np.asarray(x, np.float32) @ plane[:-1] + plane[-1], 0, 1).astype(np.float32)


# -- local retrieval ---------------------------------------------------------------------------------------------


def neighbourhood_distance(
    query: np.ndarray, references: np.ndarray, grid: tuple[int, int], reach: int
) -> np.ndarray:
    """(T,) the least 1 − cosine between each unit descriptor of ``query`` (T, D) and those of ``references`` (n, T, D)
    within ``reach`` × ``reach`` cells around its place; cells off the picture do not count."""
    rows, columns = grid
    q, refs = query.reshape(rows, columns, -1), references.reshape(-1, rows, columns, query.shape[-1])
    best = np.full(grid, np.inf, np.float32)
    half = reach // 2
    for dy in range(-min(half, rows - 1), min(half, rows - 1) + 1):
        for dx in range(-min(half, columns - 1), min(half, columns - 1) + 1):
            here = np.s_[max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)]
            there = np.s_[max(0, dy) : rows - max(0, -dy), max(0, dx) : columns - max(0, -dx)]
            cos = np.einsum("yxd,nyxd->nyx", q[here], refs[:, there[0], there[1]], optimize=True)
            best[here] = np.minimum(best[here], 1 - cos.max(0))
    return np.maximum(best, 0).ravel()


# -- training ----------------------------------------------------------------------------------------------------


def train(
    sets: Sequence[Sequence[heads.Picture]],
    out: str | Path,
    *,
    encoder: str | ImageEncoder = "patches",
    resolution: int = 448,
    layers: Sequence[str] = CPR.layers,
    reach: Sequence[int] = CPR.reach,
    width: int = 384,
    steps: int = 1000,
    batch: int = 4,
    lr: float = 1e-3,
    pairs: int = 128,
    fresh: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """A local head from normal pictures of one thing (the paper) or of several (``sets``), written to ``out`` (safetensors).

    Small by default. The paper's training, one thing at a time: ``steps=40_000`` (textures 500), ``batch=32``,
    ``pairs=12_000``, ``seed=66``.

    Raises:
        InputError: no picture in any set.
        MissingExtra: torch is not installed.
    """
    eyes = heads.eyes_of(encoder, resolution)
    pictures = [heads.pixels_of(some, "CPR") for some in sets if len(some)]
    enrolled, grid = [], (0, 0)
    for some in pictures:
        cpr = CPR(encoder=eyes, layers=tuple(layers), reach=tuple(reach), steps=0, seed=seed).fit(some)
        assert cpr.histograms is not None and cpr.ground is not None
        parts = list(cpr.chunks(some))
        grid = parts[0].grid
        raw = [np.concatenate([np.asarray(t.layers[n], np.float16) for t in parts]) for n in layers]
        near = alike(cpr.histograms, cpr.kept, cpr.nearest)
        enrolled.append(cpr_head.Enrolled(raw, near, cpr.ground, cpr.plane is not None))
    head = cpr_head.learn(
        eyes, pictures, enrolled, grid, layers=layers, reach=reach[0], width=width, steps=steps, batch=batch, lr=lr,
        pairs=pairs, fresh=fresh, seed=seed, progress=progress,
    )  # fmt: skip
    heads.save_head(out, head, method=CPR.NAME, encoder=eyes.id)
