"""The local head of CPR and its training (arXiv 2308.06748, sections III-C and III-D): torch, imported inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from oddwatch.core import ImageEncoder, ModelError, Progress, require
from oddwatch.detectors.image import heads
from oddwatch.detectors.image.losses import cosine_hinge

Arrays = heads.Arrays


@dataclass(frozen=True, slots=True, eq=False)
class Enrolled:
    """The normal pictures of one thing: tokens of each layer (N, T, D), the ``near`` pictures of each, foreground weights
    (N, T), and whether it is an object (its places differ) or a texture."""

    raw: Sequence[np.ndarray]
    near: Sequence[np.ndarray]
    ground: np.ndarray
    thing: bool


def learn(
    eyes: ImageEncoder,
    sets: Sequence[Sequence[np.ndarray]],
    enrolled: Sequence[Enrolled],
    grid: tuple[int, int],
    *,
    layers: Sequence[str],
    reach: int,
    width: int,
    steps: int,
    batch: int,
    lr: float,
    pairs: int,
    fresh: int = 0,
    anomalous: float = 0.9,
    points: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> Arrays:
    """The weights of the local head: AdamW (decay 1e-2) on the cubed hinges, 0.8 for pairs that should agree, −0.2 for
    those that should not; ``points`` of each kind a picture, a share ``anomalous`` of the queries with a defect."""
    with heads.seeded(seed, "CPR") as torch:
        rng = np.random.default_rng(seed)
        net = network(torch, eyes.dim, len(layers), width)
        pool = heads.Pool(
            eyes, layers, sets, rng, size=pairs, fresh=fresh, share=anomalous, progress=progress, who="cpr"
        )
        optimizer = torch.optim.AdamW(net.parameters(), lr, weight_decay=1e-2)
        for step in range(steps):
            drawn = pool.draw(batch)
            other = [int(rng.choice(enrolled[e.source[0]].near[e.source[1]])) for e in drawn]
            kinds = pairs_of(drawn, other, enrolled, grid, reach, points, rng)
            loss = torch.zeros(())
            for n, layer in enumerate(layers):
                query = torch.from_numpy(np.stack([e.query[layer] for e in drawn]).astype(np.float32))
                found = np.stack([enrolled[e.source[0]].raw[n][j] for e, j in zip(drawn, other, strict=True)])
                loss = loss + _loss(
                    torch, net.conv[n], query, torch.from_numpy(found.astype(np.float32)), grid, kinds
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress is not None:
                progress("cpr: training", step + 1, steps)
        return heads.arrays_of(net)


def pairs_of(
    drawn: Sequence[heads.Example],
    other: Sequence[int],
    enrolled: Sequence[Enrolled],
    grid: tuple[int, int],
    reach: int,
    points: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Which cells are compared: ``alike``, ``apart`` and ``defect``, each (3, n) int: picture, query cell, reference cell.

    Alike are equal places that are normal, drawn by foreground weight; apart (of objects) are places farther from each
    other than √2·(reach // 2) cells; defect are places under the defect.
    """
    out: dict[str, list[np.ndarray]] = {"alike": [], "apart": [], "defect": []}
    size = grid[0] * grid[1]
    for b, (e, j) in enumerate(zip(drawn, other, strict=True)):
        thing = enrolled[e.source[0]]
        weight = np.maximum(thing.ground[e.source[1]], thing.ground[j])
        chance = np.where(e.normal, sharpened(weight, grid) if thing.thing else 1.0, 0.0)
        able = int((chance > 0).sum())
        cells = (
            rng.choice(size, min(points, able), replace=False, p=chance / chance.sum())
            if able
            else np.empty(0, int)
        )
        out["alike"].append(np.stack([np.full(len(cells), b), cells, cells]))
        if thing.thing:
            moved = rng.integers(size, size=len(cells))
            gap = np.hypot(moved // grid[1] - cells // grid[1], moved % grid[1] - cells % grid[1])
            far = gap > np.sqrt(2) * (reach // 2)
            out["apart"].append(np.stack([np.full(int(far.sum()), b), moved[far], cells[far]]))
        bad = rng.permutation(np.flatnonzero(e.anomalous))[:points]
        out["defect"].append(np.stack([np.full(len(bad), b), bad, bad]))
    return {name: np.concatenate([np.empty((3, 0), int), *found], axis=1) for name, found in out.items()}


def sharpened(weight: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Foreground weights (T,) smoothed by a 25th of the side, then pushed to 0 and 1: sigmoid(10x − 5)."""
    field = cv2.GaussianBlur(weight.reshape(grid).astype(np.float32), (0, 0), max(0.1, grid[0] / 25))
    return np.asarray(1 / (1 + np.exp(5 - 10 * field.astype(np.float64)))).ravel()


def _loss(
    torch: Any, conv: Any, query: Any, found: Any, grid: tuple[int, int], kinds: Mapping[str, np.ndarray]
) -> Any:
    """The hinges of one layer; apart pairs weigh by how far the encoder's own tokens (B, T, D) are from each other."""
    seen = conv(field_of(torch.cat([query, found]), grid)).flatten(2).transpose(1, 2)
    seen, kept = seen[: len(query)], seen[len(query) :]
    cosine = torch.nn.functional.cosine_similarity
    cos = {name: cosine(seen[b, q], kept[b, r], dim=-1) for name, (b, q, r) in kinds.items()}
    b, q, r = kinds["apart"]
    gap = ((query[b, q] - found[b, r]) ** 2).sum(-1)
    gap = gap / gap.mean().clamp(min=1e-12) if len(gap) else gap
    apart = torch.cat([cos["apart"], cos["defect"]])
    weight = torch.cat([gap, torch.ones_like(cos["defect"])])
    ones = torch.ones_like(cos["alike"])
    return cosine_hinge(cos["alike"], 0.8, alike=True, weight=ones) + cosine_hinge(
        apart, -0.2, alike=False, weight=weight
    )


def field_of(x: Any, grid: tuple[int, int]) -> Any:
    """Torch tokens (B, T, D) as (B, D, rows, columns)."""
    return x.transpose(1, 2).unflatten(2, grid)


def network(torch: Any, dim: int, layers: int, width: int) -> Any:
    """One head a layer: 1 × 1 to 192, an Inception block of 256, 1 × 1 to ``width``."""
    nn = torch.nn

    def conv(into: int, out: int, side: int = 1) -> Any:
        parts = {
            "conv": nn.Conv2d(into, out, side, padding=side // 2, bias=False),
            "bn": nn.BatchNorm2d(out, eps=1e-3),
            "relu": nn.ReLU(),
        }
        made = nn.Sequential()
        for name, part in parts.items():
            made.add_module(name, part)
        return made

    class Inception(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.branch0 = conv(192, 64)
            self.branch1 = nn.Sequential(conv(192, 48), conv(48, 64, 3))
            self.branch2 = nn.Sequential(conv(192, 64))
            mean = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
            self.branch3 = nn.Sequential(mean, conv(192, 64))

        def forward(self, x: Any) -> Any:
            return torch.cat([b(x) for b in (self.branch0, self.branch1, self.branch2, self.branch3)], 1)

    def head() -> Any:
        first = (nn.Conv2d(dim, 192, 1), nn.BatchNorm2d(192), nn.ReLU())
        return nn.Sequential(*first, Inception(), nn.Conv2d(256, width, 1))

    net = nn.Module()
    net.conv = nn.ModuleList([head() for _ in range(layers)])
    return net


def checked(head: Arrays, dim: int, layers: int, path: str) -> Arrays:
    """The weights of ``head`` for ``layers`` layers of tokens of width ``dim``.

    Raises:
        ModelError: a weight is missing, or of another shape.
    """
    torch = require("torch", for_="CPR", extra="torch")
    if "conv.0.4.bias" not in head:
        raise ModelError(f"{path}: has no weight conv.0.4.bias")
    expected = heads.arrays_of(network(torch, dim, layers, len(head["conv.0.4.bias"])))
    for name, value in expected.items():
        if name not in head or head[name].shape != value.shape:
            found = head[name].shape if name in head else "nothing"
            raise ModelError(f"{path}: {name} is {found}, expected {value.shape} for this encoder")
    return {name: head[name] for name in expected}
