"""MetaUAS: anomalies as changes of a picture against one normal prompt picture (arXiv 2505.09265, NeurIPS 2024).

Idea. 1. Segmenting what changed between two pictures is learnt without a single real anomaly, from drawn changes.
2. Query and prompt need not lie alike: at three depths each query cell takes a softmax-weighted mixture of all prompt
cells, the aligned prompt. 3. Query and aligned prompt side by side go through a UNet with scSE attention to a map of
change. 4. The prompt is a given normal picture, or of several the most like the query (MetaUAS*). 5. The distance of each
token to the nearest of the prompt, M = ½·min(1 − cos), can be added (MetaUAS*+). The picture's score is the map's maximum.

Needs normal pictures (their pixels where the head is trained at fit), and torch.

Differs from the paper: three layers of the embedded ViT-S/14 at 448 pixels, normed token by token, in place of
EfficientNet-B4's three deepest stages; the deepest is halved on the grid, so that the decoder has two levels; all are
narrowed to ``width`` numbers before it, and the map has one number a token. M looks at the same tokens, not at CLIP's,
and the prompt is chosen by the mean token of the deepest layer. Losses, schedule and changes are not published; ours are
binary cross-entropy + dice on the cells that are clearly in or out of the change, AdamW with a rate falling to 0 as a cosine, and all kinds
of :mod:`oddwatch.datasets.defects`, changed parts (the paper's object-level changes) as well as changed surfaces, drawn
in two thirds of the queries, against another normal picture of the same thing. Without ``weights`` the head is trained
on the user's own normals, shortly, so that what varies among them counts as no change. The mixing weights of query and
aligned prompt start as opposites, so that the decoder sees differences from the first step. Of many normals ``shots``
are kept as prompts. The authors' weights belong to EfficientNet and fit no encoder here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from oddwatch.core import ImageEncoder, InputError, ModelError, Progress, Tokens, require
from oddwatch.detectors.image import heads, maps
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, take
from oddwatch.detectors.image.losses import bce, dice
from oddwatch.detectors.image.nagl_head import alike, grid_of, rows_of
from oddwatch.detectors.image.references import References
from oddwatch.detectors.image.tokens import unit

Arrays = heads.Arrays
Alignment = Literal["soft", "hard", "none"]
Fusion = Literal["cat", "add", "absdiff"]
HEAD = "head."


@dataclass(kw_only=True, eq=False)
class MetaUAS(ImageDetector):
    """Change of each picture against a normal one: ``prompt`` says which, the ``nearest`` of at most ``shots`` normals
    (MetaUAS*), or the ``first`` for all (MetaUAS).

    ``bank`` adds the distance to the prompt's nearest token (MetaUAS*+). ``alignment`` (``soft`` is the paper's, ``hard``
    the most alike cell, ``none`` the same place) and ``fusion`` (``cat`` is the paper's) belong to the head. ``weights``: a
    head made by :func:`train`; without it fitting trains one (``steps`` of ``batch`` at rate ``lr`` over ``pairs`` generated
    pictures). ``width``: numbers a cell in the decoder.
    """

    NAME: ClassVar[str] = "metauas"
    STATE: ClassVar[tuple[str, ...]] = ("prompts", "means")

    layers: tuple[str, ...] = ("block_4", "block_6", "block_9")
    sigma: float = 0.0
    prompt: Literal["nearest", "first"] = "nearest"
    bank: bool = True
    shots: int = 32
    alignment: Alignment = "soft"
    fusion: Fusion = "cat"
    width: int = 64
    weights: str | None = None
    steps: int = 120
    batch: int = 4
    lr: float = 2e-3
    pairs: int = 64
    head: Arrays = field(default_factory=dict, init=False, repr=False)
    prompts: np.ndarray | None = field(default=None, init=False, repr=False)
    means: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, known in (
            ("prompt", ("nearest", "first")),
            ("alignment", ("soft", "hard", "none")),
            ("fusion", ("cat", "add", "absdiff")),
        ):
            if getattr(self, name) not in known:
                raise InputError(name, f"expected one of {known}, got {getattr(self, name)!r}")
        if len(self.layers) < 2 or self.shots < 1:
            raise InputError(
                "layers, shots", "expected two layers or more, shallow first, and 1 shot or more"
            )

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self.head = self._trained(normal)
        n, rng = count(normal), np.random.default_rng(self.seed)
        if self.prompt == "first":
            normal = take(normal, slice(0, 1))
        elif n > self.shots:
            normal = take(normal, np.sort(rng.choice(n, self.shots, replace=False)))
        self.prompts = np.concatenate([self._rows(t).astype(np.float16) for t in self.chunks(normal)])
        self.means = unit(self.prompts[:, -1].astype(np.float32).mean(1))

    def _trained(self, normal: Pictures) -> Arrays:
        if self.weights is not None:
            head = heads.load_head(self.weights, method=self.NAME, encoder=self.eyes.id)
            return checked(head, self._network(), self.weights)
        return learn(
            self.eyes, [heads.pixels_of(normal, "MetaUAS")], layers=self.layers, alignment=self.alignment,
            fusion=self.fusion, width=self.width, steps=self.steps, batch=self.batch, lr=self.lr, pairs=self.pairs,
            seed=self.seed,
        )  # fmt: skip

    def _rows(self, tokens: Tokens) -> np.ndarray:
        """(B, layers, T, D) float32, each layer normed by itself."""
        return np.stack([rows_of(tokens.layers, [name]) for name in self.layers], 1)

    def _network(self) -> Any:
        torch = require("torch", for_="MetaUAS", extra="torch")
        return network(torch, self.eyes.dim, len(self.layers), self.width, self.alignment, self.fusion)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        assert self.prompts is not None and self.means is not None
        torch = require("torch", for_="MetaUAS", extra="torch")
        net = self._network()
        net.load_state_dict({n: torch.from_numpy(v) for n, v in self.head.items()}, strict=False)
        net.eval()
        rows = self._rows(tokens)
        at = (unit(rows[:, -1].mean(1)) @ self.means.T).argmax(1)
        out = np.empty((len(rows), *tokens.grid), np.float32)
        with torch.inference_mode():
            for i, x in enumerate(rows):
                prompt = self.prompts[at[i]].astype(np.float32)
                change = net(torch.from_numpy(x[None]), torch.from_numpy(prompt[None]), tokens.grid)
                out[i] = change[0].sigmoid().numpy()
                if self.bank:
                    out[i] += apart(x.mean(0), prompt.mean(0)).reshape(tokens.grid)
        return out

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.highest(full)

    def state(self) -> Arrays:
        return super().state() | {HEAD + n: np.ascontiguousarray(v) for n, v in self.head.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.head = {n.removeprefix(HEAD): v for n, v in arrays.items() if n.startswith(HEAD)}


def apart(x: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """M: (n,) ½ · the least 1 − cos of each row of ``x`` (n, D) to the rows of ``prompt`` (m, D)."""
    return 1 - alike(x, prompt)


# -- the head ----------------------------------------------------------------------------------------------------------


def aligned(torch: Any, q: Any, k: Any, v: Any, how: Alignment = "soft") -> Any:
    """For each query cell ``q`` (B, n, d) a mixture of the prompt's ``v`` (B, m, D) by softmax(q·kᵀ), not scaled, over all
    of its cells ``k`` (B, m, d); ``hard``: the cell of the largest weight; ``none``: the cell at the same place."""
    if how == "none":
        return v
    near = q @ k.transpose(1, 2)
    if how == "hard":
        return torch.take_along_dim(v, near.argmax(-1)[..., None], 1)
    return near.softmax(-1) @ v


def network(torch: Any, dim: int, layers: int, width: int, alignment: Alignment, fusion: Fusion) -> Any:
    """The head as a torch module: (query, prompt) (B, layers, T, D), grid → change (B, rows, columns), not yet squashed."""
    nn = torch.nn

    class Squeeze(nn.Module):  # type: ignore[name-defined]
        """scSE (arXiv 1803.02579): gates by channel and by place, added."""

        def __init__(self, size: int) -> None:
            super().__init__()
            small = max(1, size // 16)
            self.channel = nn.Sequential(nn.Conv2d(size, small, 1), nn.ReLU(), nn.Conv2d(small, size, 1))
            self.place = nn.Conv2d(size, 1, 1)

        def forward(self, x: Any) -> Any:
            return x * self.channel(x.mean((2, 3), keepdim=True)).sigmoid() + x * self.place(x).sigmoid()

    class Decode(nn.Module):  # type: ignore[name-defined]
        """One level of the UNet: what comes from below, enlarged to its skip, joined, two convolutions between gates."""

        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = Squeeze(2 * width), Squeeze(width)
            parts = []
            for size in (2 * width, width):
                conv = nn.Conv2d(size, width, 3, padding=1, bias=False)
                parts += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            self.conv = nn.Sequential(*parts)

        def forward(self, x: Any, skip: Any) -> Any:
            x = nn.functional.interpolate(x, size=skip.shape[2:], mode="nearest")
            return self.after(self.conv(self.before(torch.cat([x, skip], 1))))

    class Change(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.reduce = nn.ModuleList([nn.Linear(dim, dim // 2) for _ in range(layers)])
            size = 2 * dim if fusion == "cat" else dim
            self.mix = nn.ModuleList([nn.Linear(size, width) for _ in range(layers)])
            self.decode = nn.ModuleList([Decode() for _ in range(layers - 1)])
            self.out = nn.Conv2d(width, 1, 1)
            nn.init.constant_(self.out.bias, -3.0)
            if fusion == "cat":
                for mix in self.mix:
                    mix.weight.data[:, dim:] = -mix.weight.data[:, :dim]

        def level(self, i: int, query: Any, prompt: Any, grid: tuple[int, int]) -> Any:
            query, prompt, grid = query[:, i], prompt[:, i], grid
            if i == layers - 1:
                (query, grid), (prompt, _) = halved(query, grid), halved(prompt, grid)
            there = aligned(torch, self.reduce[i](query), self.reduce[i](prompt), prompt, alignment)
            if fusion == "cat":
                both = torch.cat([query, there], -1)
            else:
                both = query + there if fusion == "add" else (query - there).abs()
            return self.mix[i](both).relu().transpose(1, 2).unflatten(2, grid)

        def forward(self, query: Any, prompt: Any, grid: tuple[int, int]) -> Any:
            x = self.level(layers - 1, query, prompt, grid)
            for i, decode in zip(range(layers - 2, -1, -1), self.decode, strict=True):
                x = decode(x, self.level(i, query, prompt, grid))
            return self.out(x)[:, 0]

    def halved(x: Any, grid: tuple[int, int]) -> tuple[Any, tuple[int, int]]:
        small = nn.functional.avg_pool2d(x.transpose(1, 2).unflatten(2, grid), 2, ceil_mode=True)
        return small.flatten(2).transpose(1, 2), (small.shape[2], small.shape[3])

    return Change()


def checked(head: Arrays, net: Any, path: str) -> Arrays:
    """The weights of ``head`` that ``net`` has.

    Raises:
        ModelError: one is missing, or of another shape.
    """
    expected = heads.arrays_of(net)
    for name, value in expected.items():
        if name not in head or head[name].shape != value.shape:
            found = head[name].shape if name in head else "nothing"
            raise ModelError(
                f"{path}: {name} is {found}, expected {value.shape} for this encoder and these arguments"
            )
    return {name: head[name].astype(np.float32) for name in expected}


# -- training ------------------------------------------------------------------------------------------------------


def train(
    sets: Sequence[Sequence[heads.Picture]],
    out: str | Path,
    *,
    encoder: str | ImageEncoder = "patches",
    resolution: int = 448,
    layers: Sequence[str] = MetaUAS.layers,
    alignment: Alignment = "soft",
    fusion: Fusion = "cat",
    width: int = 64,
    steps: int = 600,
    batch: int = 4,
    lr: float = 2e-3,
    pairs: int = 256,
    fresh: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """A head for any thing, from normal pictures of several things (``sets``), written to ``out`` (safetensors).

    Small by default. The paper's steps and rates are not published; its spirit is many pictures of everyday scenes, each pair
    seen once (``fresh=batch``), and far more ``steps``.

    Raises:
        InputError: no picture in any set.
        MissingExtra: torch is not installed.
    """
    eyes = heads.eyes_of(encoder, resolution)
    pictures = [heads.pixels_of(pictures, "MetaUAS") for pictures in sets]
    head = learn(
        eyes, pictures, layers=layers, alignment=alignment, fusion=fusion, width=width, steps=steps, batch=batch, lr=lr,
        pairs=pairs, fresh=fresh, seed=seed, progress=progress,
    )  # fmt: skip
    heads.save_head(out, head, method=MetaUAS.NAME, encoder=eyes.id)


def learn(
    eyes: ImageEncoder,
    sets: Sequence[Sequence[np.ndarray]],
    *,
    layers: Sequence[str],
    alignment: Alignment,
    fusion: Fusion,
    width: int,
    steps: int,
    batch: int,
    lr: float,
    pairs: int,
    fresh: int = 0,
    changed: float = 2 / 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Arrays:
    """The weights of the head, from queries with a drawn change (a share ``changed``) against other normal pictures."""
    from oddwatch.datasets.defects import KINDS

    with heads.seeded(seed, "MetaUAS") as torch:
        net = network(torch, eyes.dim, len(layers), width, alignment, fusion)
        if not steps:
            return heads.arrays_of(net)
        rng = np.random.default_rng(seed)
        pool = heads.Pool(
            eyes, layers, sets, rng, size=pairs, fresh=fresh, share=changed, kinds=list(KINDS),
            progress=progress, who="metauas",
        )  # fmt: skip
        references = References(eyes, layers, sets, rng)
        optimizer = torch.optim.AdamW(net.parameters(), lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            drawn = pool.draw(batch)
            query = _stacked([e.query for e in drawn], layers)
            shown = [references.draw(e.source, 1) for e in drawn]
            prompt = _stacked([{name: x[0] for name, x in one.items()} for one in shown], layers)
            bad, good = (
                torch.from_numpy(np.stack([getattr(e, n) for e in drawn])) for n in ("anomalous", "normal")
            )
            found = net(torch.from_numpy(query), torch.from_numpy(prompt), grid_of(bad.shape[1]))
            loss = change_loss(found.flatten(1).sigmoid(), good, bad)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress("metauas: training", step + 1, steps)
        return heads.arrays_of(net)


def _stacked(items: Sequence[Arrays], layers: Sequence[str]) -> np.ndarray:
    """(B, layers, T, D) of pictures' tokens (T, D) by layer, each layer normed by itself."""
    return np.stack([rows_of({name: np.stack([x[name] for x in items])}, [name]) for name in layers], 1)


def change_loss(p: Any, normal: Any, anomalous: Any) -> Any:
    """Binary cross-entropy + dice of the change's probabilities (B, T) over the cells that are ``normal`` or
    ``anomalous``, both (B, T) bool; cells that are neither, at a change's rim, do not count. Dice is of the whole batch:
    by picture, those without a change would teach to say nothing at all."""
    counted, y = (normal | anomalous).to(p.dtype), anomalous.to(p.dtype)
    return bce(p, y, counted) + dice((p * counted).reshape(1, -1), y.reshape(1, -1))
