"""DictAS: normal tokens as a dictionary that a learnt sparse lookup retrieves from (arXiv 2508.13560, ICCV 2025).

Idea. 1. Three small attention blocks make queries of a picture's tokens, and keys and values of the normals' tokens.
2. Each query takes a sparse mixture (sparsemax) of the values. 3. One minus the cosine between the token and what was
retrieved, halved, is its score: what the dictionary cannot say is anomalous. 4. The blocks learn to retrieve normal
tokens well and defects badly, so they serve things never seen in training. 5. Layers and pooling scales are averaged.

Needs normal pictures (their pixels where the head is trained at fit), and torch for training only; scoring is numpy.

Differs from the paper: tokens of the embedded ViT-S/14 at 448 pixels in place of CLIP ViT-L/14 at 336, two middle
layers (the paper's choice for MVTec, relative depth adapted to this backbone). No text tower, so the text probability of
the picture score (which is then the map's maximum alone) and the text alignment loss TAC are left out. Without
``weights`` the head is trained on the user's own normals, shortly: few steps at a higher rate; the key block starts
equal to the query block, so that like finds like from the start; each step draws one layer, one scale and some of the
tokens; the value block freezes after a third of the steps in place of when validation stalls (there is no labelled
validation); the weights' running average is not kept. The self-attention of keys and values stays within each normal
picture (the paper: over all references at once), which is equal at one shot and lets cost grow linearly; with more than
``shots`` normals some are drawn, as the paper draws its references, and the dictionary holds ``entries`` of their tokens.
Weights carry the authors' names (``Query_Generator.q_proj.weight`` …): their checkpoint, converted to safetensors, loads
with a 1024-wide encoder; its text fusion is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from oddwatch.core import ImageEncoder, InputError, ModelError, Progress, Tokens
from oddwatch.detectors.image import attention, heads, maps
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, take
from oddwatch.detectors.image.tokens import EPS, pool

Arrays = heads.Arrays
Lookup = Literal["sparsemax", "softmax", "max"]
PARTS = ("Query_Generator", "Key_Generator", "Value_Generator.AttnBlock")
HEAD = "head."


@dataclass(kw_only=True, eq=False)
class DictAS(ImageDetector):
    """Retrieval error of a dictionary of ``entries`` tokens of at most ``shots`` normals, at each of ``layers`` × ``scales``.

    ``lookup``: the paper's ``sparsemax``, or ``softmax`` (dense) and ``max`` (nearest key) to see what it gives.
    ``sigma`` smooths the map, ``sigma_score`` the one whose maximum is the picture's score (the paper's two settings).
    ``weights``: a head made by :func:`train`; without it fitting trains one (``steps`` of ``batch`` at rate ``lr``
    over ``pairs`` generated pictures; ``contrast`` weighs the CQC loss, 0 leaves it out; ``steps=0``: untrained).
    """

    NAME: ClassVar[str] = "dictas"
    STATE: ClassVar[tuple[str, ...]] = ("keys", "values")

    layers: tuple[str, ...] = ("block_6", "block_9")
    sigma: float = 6.0
    sigma_score: float = 2.0
    scales: tuple[int, ...] = (1, 3)
    lookup: Lookup = "sparsemax"
    shots: int = 16
    entries: int = 4096
    weights: str | None = None
    steps: int = 100
    batch: int = 4
    lr: float = 1e-3
    pairs: int = 32
    contrast: float = 0.1
    head: Arrays = field(default_factory=dict, init=False, repr=False)
    keys: np.ndarray | None = field(default=None, init=False, repr=False)
    values: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.lookup not in ("sparsemax", "softmax", "max"):
            raise InputError("lookup", f"expected sparsemax, softmax or max, got {self.lookup!r}")
        if self.shots < 1 or self.entries < 1:
            raise InputError("shots, entries", f"expected 1 or more, got {self.shots}, {self.entries}")

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self.head = self._trained(normal)
        rng = np.random.default_rng(self.seed)
        n = count(normal)
        if n > self.shots:
            normal = take(normal, np.sort(rng.choice(n, self.shots, replace=False)))
        keys, values = [], []
        for tokens in self.chunks(normal):
            size = tokens.grid[0] * tokens.grid[1]
            keep = min(size, max(1, self.entries // min(n, self.shots)))
            for i in range(len(tokens.cls)):
                rows = np.sort(rng.choice(size, keep, replace=False))
                k, v = self._entries(self.tokens(take(tokens, slice(i, i + 1))), rows)
                keys.append(k)
                values.append(v)
        self.keys = np.concatenate(keys, 1).astype(np.float16)
        self.values = np.concatenate(values, 1).astype(np.float16)

    def _trained(self, normal: Pictures) -> Arrays:
        if self.weights is not None:
            head = heads.load_head(self.weights, method=self.NAME, encoder=self.eyes.id)
            return checked(head, self.eyes.dim, self.weights)
        pictures = heads.pixels_of(normal, "DictAS") if self.steps else []
        return learn(
            self.eyes, [pictures], layers=self.layers, scales=self.scales, steps=self.steps, batch=self.batch,
            lr=self.lr, pairs=self.pairs, contrast=self.contrast, seed=self.seed,
        )  # fmt: skip

    def _entries(self, one: Tokens, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values (layers·scales, n, D) of one picture's tokens at ``rows``."""
        keys, values = [], []
        for layer in self.layers:
            raw = np.asarray(one.layers[layer], np.float32)
            for scale in self.scales:
                x = pool(raw, one.grid, scale)[0]
                keys.append(attention.attend(x, self.head, "Key_Generator")[rows])
                values.append(value(x, self.head)[rows])
        return np.stack(keys), np.stack(values)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        assert self.keys is not None and self.values is not None
        size, combinations = len(tokens.cls), len(self.layers) * len(self.scales)
        total = np.zeros((size, tokens.grid[0] * tokens.grid[1]), np.float32)
        at = 0
        for layer in self.layers:
            raw = np.asarray(tokens.layers[layer], np.float32)
            seen = np.stack([value(one, self.head) for one in raw])
            for scale in self.scales:
                keys, values = self.keys[at].astype(np.float32), self.values[at].astype(np.float32)
                for i, x in enumerate(pool(seen, tokens.grid, scale)):
                    query = attention.attend(x, self.head, "Query_Generator")
                    total[i] += distance(x, retrieve(query, keys, values, self.lookup))
                at += 1
        return (total / combinations).reshape(size, *tokens.grid)

    def _scored(self, patches: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        size = (tokens.grid[0] * 14, tokens.grid[1] * 14)
        full = maps.upsample(patches, size, sigma=self.sigma, align_corners=True)
        sharp = maps.upsample(patches, size, sigma=self.sigma_score, align_corners=True)
        return maps.highest(sharp), full

    def state(self) -> Arrays:
        return super().state() | {HEAD + n: np.ascontiguousarray(v) for n, v in self.head.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.head = {n.removeprefix(HEAD): v for n, v in arrays.items() if n.startswith(HEAD)}


# -- lookup ------------------------------------------------------------------------------------------------------


def sparsemax(z: np.ndarray) -> np.ndarray:
    """Rows of ``z`` (n, m) float on the simplex: max(z − τ, 0) with τ such that each row sums to 1 (arXiv 1602.02068)."""
    dense: np.ndarray = _sparse(z).toarray()
    return dense


def _sparse(z: np.ndarray) -> Any:
    """The same as a scipy sparse array. Only what is less than 1 below a row's maximum can stay; τ of these by Newton's
    method from below, which ends after as many steps as the support shrinks; no sorting."""
    from scipy.sparse import csr_array

    z = z - z.max(1, keepdims=True)
    near = z > -1
    number = np.count_nonzero(near, 1)
    starts = np.concatenate([[0], np.cumsum(number)])
    columns, value = np.nonzero(near.ravel())[0], z[near]
    columns %= z.shape[1]
    inside = np.ones(len(value), bool)
    while True:
        size = np.add.reduceat(inside, starts[:-1], dtype=np.int64)
        tau = (np.add.reduceat(np.where(inside, value, 0), starts[:-1]) - 1) / size
        left = value - np.repeat(tau, number)
        smaller = inside & (left > 0)
        if np.count_nonzero(smaller) == np.count_nonzero(inside):
            out = csr_array((np.maximum(left, 0).astype(z.dtype), columns, starts), shape=z.shape)
            out.eliminate_zeros()
            return out
        inside = smaller


def torch_sparsemax(torch: Any, z: Any) -> Any:
    """The same of a torch tensor (…, m), by sorting; differentiable."""
    ordered = z.detach().sort(-1, descending=True).values
    rank = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    size = (1 + rank * ordered > ordered.cumsum(-1)).sum(-1, keepdim=True)
    inside = z.detach() >= ordered.gather(-1, size - 1)
    tau = ((z * inside).sum(-1, keepdim=True) - 1) / inside.sum(-1, keepdim=True)
    return (z - tau).clamp(min=0)


def retrieve(query: np.ndarray, keys: np.ndarray, values: np.ndarray, lookup: Lookup) -> np.ndarray:
    """What the dictionary ``keys``, ``values`` (m, D) says to each ``query`` (n, D): (n, D) float32."""
    z = query @ keys.T
    if lookup == "max":
        best: np.ndarray = values[z.argmax(1)]
        return best
    z *= query.shape[1] ** -0.5
    if lookup == "softmax":
        z = np.exp(z - z.max(1, keepdims=True))
        dense: np.ndarray = (z @ values) / z.sum(1, keepdims=True)
        return dense
    return np.asarray(_sparse(z) @ values, np.float32)


def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) (1 − cos)/2 of rows of ``x`` and ``y`` (n, D): 0 alike, 1 opposite."""
    length = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    cos = np.einsum("nd,nd->n", x, y) / np.maximum(length, EPS)
    return np.maximum((1 - cos) / 2, 0)


# -- the head -----------------------------------------------------------------------------------------------------------


def value(x: np.ndarray, head: Arrays) -> np.ndarray:
    """The value block: x + attention block."""
    return x + attention.attend(x, head, PARTS[2])


def checked(head: Arrays, width: int, path: str) -> Arrays:
    """The three blocks of ``head``, float32.

    Raises:
        ModelError: a weight is missing, or made for tokens of another width.
    """
    out = {}
    for name, shape in shapes(width).items():
        if name not in head:
            raise ModelError(f"{path}: has no weight {name}")
        if head[name].shape != shape:
            raise ModelError(f"{path}: {name} is {head[name].shape}, expected {shape} for this encoder")
        out[name] = head[name].astype(np.float32)
    return out


def shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every weight of a head for tokens of ``width``; the names are the authors'."""
    return {f"{part}.{name}": shape for part in PARTS for name, shape in attention.shapes(width).items()}


# -- training ----------------------------------------------------------------------------------------------------


def train(
    sets: Sequence[Sequence[heads.Picture]],
    out: str | Path,
    *,
    encoder: str | ImageEncoder = "patches",
    resolution: int = 448,
    layers: Sequence[str] = DictAS.layers,
    scales: Sequence[int] = DictAS.scales,
    steps: int = 1000,
    batch: int = 4,
    lr: float = 1e-3,
    pairs: int = 128,
    fresh: int = 0,
    points: int | None = 256,
    terms: int | None = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """A head for any thing, from normal pictures of several things (``sets``), written to ``out`` (safetensors).

    Small by default. The paper's training: ``steps`` = 30 epochs, ``batch=24``, ``lr=1e-4``, ``pairs=24``, ``fresh=24``,
    ``points=None``, ``terms=None``, with a folder of real textures in the defects.

    Raises:
        InputError: no picture in any set.
        MissingExtra: torch is not installed.
    """
    eyes = heads.eyes_of(encoder, resolution)
    pictures = [heads.pixels_of(pictures, "DictAS") for pictures in sets]
    head = learn(
        eyes, pictures, layers=layers, scales=scales, steps=steps, batch=batch, lr=lr, pairs=pairs, fresh=fresh,
        points=points, terms=terms, seed=seed, progress=progress,
    )  # fmt: skip
    heads.save_head(out, head, method=DictAS.NAME, encoder=eyes.id)


def learn(
    eyes: ImageEncoder,
    sets: Sequence[Sequence[np.ndarray]],
    *,
    layers: Sequence[str],
    scales: Sequence[int],
    steps: int,
    batch: int,
    lr: float,
    pairs: int,
    fresh: int = 0,
    points: int | None = 256,
    terms: int | None = 1,
    contrast: float = 0.1,
    anomalous: float = 0.7,
    copies: float = 0.9,
    warm: float = 1 / 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Arrays:
    """The weights of the three blocks: Adam (0.5, 0.999) on L_q + ``contrast``·CQC; rate falling to 0 as a cosine.

    ``anomalous`` is the share of queries with a defect, ``copies`` that of references varied in geometry; after the
    share ``warm`` of the steps the value block is frozen and queries pass through it. ``points`` query tokens and twice
    as many reference tokens, and ``terms`` of the layer × scale combinations, are drawn at each step (None: all).
    """
    with heads.seeded(seed, "DictAS") as torch:
        net = network(torch, eyes.dim)
        if not steps:
            return heads.arrays_of(net)
        rng = np.random.default_rng(seed)
        pool_ = heads.Pool(
            eyes, layers, sets, rng, size=pairs, fresh=fresh, share=anomalous, copies=copies,
            progress=progress, who="dictas",
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.999))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        combinations = [(layer, scale) for layer in layers for scale in scales]
        for step in range(steps):
            frozen = step >= warm * steps
            if frozen:
                net.Value_Generator.requires_grad_(False)
            drawn = pool_.draw(batch)
            some = rng.permutation(len(combinations))[:terms]
            loss = torch.zeros(())
            for layer, scale in (combinations[int(i)] for i in some):
                loss = loss + _loss(torch, net, drawn, layer, scale, frozen, points, contrast, rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress("dictas: training", step + 1, steps)
        return heads.arrays_of(net)


def _loss(
    torch: Any,
    net: Any,
    drawn: Sequence[heads.Example],
    layer: str,
    scale: int,
    frozen: bool,
    points: int | None,
    contrast: float,
    rng: np.random.Generator,
) -> Any:
    """L_q + contrast·CQC of one layer and scale over a batch of examples."""
    query = torch.from_numpy(np.stack([e.query[layer] for e in drawn]).astype(np.float32))
    reference = torch.from_numpy(np.stack([e.copy[layer] for e in drawn]).astype(np.float32))
    if frozen:
        with torch.no_grad():
            query = net.Value_Generator(query)
    query, reference = (_pooled(torch, x, scale) for x in (query, reference))
    normal, anomalous = np.stack([e.normal for e in drawn]), np.stack([e.anomalous for e in drawn])
    size = query.shape[1]
    if points is not None and points < size:
        chosen = np.stack([_some(bad, points, rng) for bad in anomalous])
        query = torch.take_along_dim(query, torch.from_numpy(chosen)[..., None], 1)
        normal, anomalous = (np.take_along_axis(m, chosen, 1) for m in (normal, anomalous))
        kept = np.stack([rng.permutation(size)[: 2 * points] for _ in drawn])
        reference = torch.take_along_dim(reference, torch.from_numpy(kept)[..., None], 1)
    z = net.Query_Generator(query) @ net.Key_Generator(reference).transpose(1, 2)
    found = torch_sparsemax(torch, z * query.shape[-1] ** -0.5) @ net.Value_Generator(reference)
    apart = 1 - torch.nn.functional.cosine_similarity(query, found, dim=-1)
    return query_loss(torch, apart, torch.from_numpy(normal), torch.from_numpy(anomalous), contrast)


def query_loss(torch: Any, apart: Any, normal: Any, anomalous: Any, contrast: float) -> Any:
    """L_q, the mean distance of normal tokens, + ``contrast``·CQC, how much farther normal tokens are than anomalous
    ones (mean over the pictures where they are and that have a defect). ``apart`` (B, T), masks (B, T) bool."""
    good = (apart * normal).sum(1) / normal.sum(1).clamp(min=1)
    bad = (apart * anomalous).sum(1) / anomalous.sum(1).clamp(min=1)
    wrong = (good - bad).clamp(min=0) * anomalous.any(1)
    return good.mean() + contrast * wrong.sum() / (wrong > 0).sum().clamp(min=1)


def _some(anomalous: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """``points`` cells: of the anomalous ones as many as make up half, the rest by chance."""
    order = rng.permutation(len(anomalous))
    bad = order[anomalous[order]]
    first = bad[: max(points // 2, points - (len(order) - len(bad)))]
    return np.concatenate([first, order[~anomalous[order]][: points - len(first)]])


def _pooled(torch: Any, x: Any, scale: int) -> Any:
    if scale == 1:
        return x
    side = round(x.shape[1] ** 0.5)
    field = x.transpose(1, 2).reshape(len(x), -1, side, side)
    return torch.nn.functional.avg_pool2d(field, scale, 1, scale // 2).flatten(2).transpose(1, 2)


def network(torch: Any, width: int) -> Any:
    """The three blocks as a torch module: weights N(0, 0.02), biases 0; the key block starts as the query block."""
    nn, block = torch.nn, attention.block

    class Value(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.AttnBlock = block(torch, width)

        def forward(self, x: Any) -> Any:
            return x + self.AttnBlock(x)

    net = nn.ModuleDict()
    for name in ("Query_Generator", "Key_Generator"):
        net[name] = block(torch, width)
    net["Value_Generator"] = Value()
    for name, weight in net.named_parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=0.02)
        elif "bias" in name:
            nn.init.zeros_(weight)
    net["Key_Generator"].load_state_dict(net["Query_Generator"].state_dict())
    return net
