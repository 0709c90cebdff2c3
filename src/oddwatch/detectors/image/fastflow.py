"""FastFlow: how unlikely tokens are under a two-dimensional normalising flow (arXiv 2111.07677).

Idea. 1. A chain of invertible blocks maps the token grid of a normal picture to Gaussian noise. 2. Each block scales and
shifts half of the channels by what a small convolution says about the other half, so a place is judged with its
neighbours; then every channel is scaled and all are shuffled. 3. The blocks learn by raising the likelihood of normal
tokens, nothing else. 4. The map is −exp of the mean log-density of each place's channels, upsampled, averaged over layers.
5. The picture's score is the map's highest value.

Needs normal pictures (or their tokens) and torch.

Differs from the paper: block 8 of the embedded ViT-S/14 (the paper reads block 8 of DeiT's 12), each token layer-normed
without weights, as the paper reads them behind a norm. ``whiten`` brings the normal tokens to mean 0 and unit covariance
first, a fixed invertible layer, so that the flow starts from their Gaussian and learns what that misses: without it hundreds
of steps at 1e-3 go into the channels' correlations. Of the transformer setting the hidden ratio 0.16 is kept; there are 8
blocks (paper: 20) and at most 120 steps (500 epochs) on windows of 16 × 16 tokens (whole grids), some 40 seconds of
processor time, however many normals there are. Training ends early when tokens of held-out normals get less likely and
keeps the best weights, where re-implementations chose the epoch by test data. The map is ``1 − exp(…)``, in (0, 1), so that a
threshold is above 0; with ``measure="energy"`` it is the exponent itself, ½ the mean of z², which does not saturate far from
normal. There is no official code, hence no official weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from oddwatch.core import InputError, Tokens
from oddwatch.detectors.image import heads, maps
from oddwatch.detectors.image.base import ImageDetector, Pictures, count, take
from oddwatch.detectors.image.density import ledoit_wolf

Arrays = heads.Arrays
CLAMP, AFFINE = 0.1, 0.1
"""What the outputs of the small convolutions, and the softplus behind a channel's scale, are multiplied with."""
FLOOR = 0.02
"""Least deviation along a direction of layer-normed tokens: what never varied among the normals is not divided by nothing."""
ROWS = 65_536
"""So many tokens are enough for their covariance."""
HELD_FROM = 5
"""From so many normals on some are held out to end the training by."""


@dataclass(kw_only=True, eq=False)
class FastFlow(ImageDetector):
    """One flow of ``blocks`` couplings for each of ``layers``.

    The kernels of the couplings alternate over ``kernels`` (odd sides; ``(1,)`` sees no neighbours), their hidden width is
    ``ratio`` of the channels that go in; ``whiten=False`` brings channels to unit deviation only. Training: Adam at ``lr``
    with weight ``decay``, at most ``steps`` of ``batch`` pictures, of each a ``window`` of so many tokens a side (None: all),
    from at most ``limit`` normals; it ends after ``patience`` looks at the held-out share ``held`` without progress
    (0: never). ``steps=0`` leaves the Gaussian. ``measure``: ``likelihood`` (the paper's) or ``energy``.
    """

    NAME: ClassVar[str] = "fastflow"

    layers: tuple[str, ...] = ("block_8",)
    sigma: float = 0.0
    blocks: int = 8
    kernels: tuple[int, ...] = (3, 1)
    ratio: float = 0.16
    steps: int = 120
    batch: int = 8
    window: int | None = 16
    whiten: bool = True
    lr: float = 1e-3
    decay: float = 1e-5
    held: float = 0.15
    patience: int = 3
    limit: int = 400
    measure: Literal["likelihood", "energy"] = "likelihood"
    flows: Arrays = field(default_factory=dict, init=False, repr=False)
    """``LAYER.mean``, ``LAYER.white`` and, per block i, ``LAYER.i.{in,out}.{weight,bias}``, ``.scale``, ``.shift``,
    ``.order``."""

    def __post_init__(self) -> None:
        if self.measure not in ("likelihood", "energy"):
            raise InputError("measure", f"expected likelihood or energy, got {self.measure!r}")
        if self.blocks < 1 or not self.kernels or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise InputError(
                "blocks, kernels", f"expected 1 or more, odd sides, got {self.blocks}, {self.kernels}"
            )
        if not 0 <= self.held < 1:
            raise InputError("held", f"expected a share from 0 up to below 1, got {self.held}")

    @property
    def reads_cls(self) -> bool:
        return False

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        rng = np.random.default_rng(self.seed)
        if count(normal) > self.limit:
            normal = take(normal, np.sort(rng.choice(count(normal), self.limit, replace=False)))
        grids: dict[str, list[np.ndarray]] = {name: [] for name in self.layers}
        for tokens in self.chunks(normal):
            for name in self.layers:
                grids[name].append(normed(tokens, name).astype(np.float16))
        with heads.seeded(self.seed, "FastFlow") as torch:
            self.flows = {}
            for name in self.layers:
                learnt = self._learn(torch, np.concatenate(grids.pop(name)), tokens.grid, rng)
                self.flows |= {f"{name}.{part}": value for part, value in learnt.items()}

    def _learn(self, torch: Any, x: np.ndarray, grid: tuple[int, int], rng: np.random.Generator) -> Arrays:
        """A flow for the tokens ``x`` (N, T, D) float16 of normal pictures."""
        mean, white = whitening(x, self.whiten, rng)
        net = network(torch, x.shape[2], self.blocks, self.kernels, self.ratio, rng)
        order = rng.permutation(len(x))
        apart = max(1, round(self.held * len(x))) if self.held and len(x) >= HELD_FROM else 0

        def some(which: np.ndarray) -> Any:
            cut = np.stack([windowed(x[i].reshape(*grid, -1), self.window, rng) for i in which])
            return torch.from_numpy(channels_first((cut.astype(np.float32) - mean) @ white))

        train(
            torch, net, lambda n: some(rng.choice(order[apart:], min(n, len(x) - apart), replace=False)),
            [some(order[i : i + 1]) for i in range(min(apart, 2 * self.batch))],
            steps=self.steps, batch=self.batch, lr=self.lr, decay=self.decay, patience=self.patience,
        )  # fmt: skip
        return {"mean": mean, "white": white} | heads.arrays_of(net)

    def _patches(self, tokens: Tokens) -> np.ndarray:
        """(B, rows, columns): the mean over the layers."""
        return np.stack(list(self._levels(tokens))).mean(0)

    def _levels(self, tokens: Tokens) -> list[np.ndarray]:
        """For each layer, (B, rows, columns) float32."""
        with heads.seeded(self.seed, "FastFlow") as torch, torch.no_grad():
            levels = []
            for name in self.layers:
                flow = part_of(self.flows, name)
                if not flow:
                    raise InputError(f"layer {name!r}", "this FastFlow has no flow for it", "fit again")
                net = restored(torch, flow)
                x = ((normed(tokens, name) - flow["mean"]) @ flow["white"]).reshape(
                    len(tokens.cls), *tokens.grid, -1
                )
                z, _ = net(torch.from_numpy(channels_first(x)))
                energy = z.double().square().mean(1) / 2
                level = energy if self.measure == "energy" else -torch.expm1(-energy)
                levels.append(np.asarray(level.numpy(), np.float32))
        return levels

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.highest(full)

    def state(self) -> Arrays:
        return {name: np.ascontiguousarray(value) for name, value in self.flows.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.flows = dict(arrays)


def part_of(arrays: Mapping[str, np.ndarray], name: str) -> Arrays:
    """Those whose name begins with ``name`` and a dot, without these."""
    return {n.removeprefix(f"{name}."): v for n, v in arrays.items() if n.startswith(f"{name}.")}


def normed(tokens: Tokens, name: str) -> np.ndarray:
    """A layer as (B, T, D) float32, every token at mean 0 and deviation 1 over its channels."""
    x = np.asarray(tokens.layers[name], np.float32)
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6)


def channels_first(x: np.ndarray) -> np.ndarray:
    """(B, rows, columns, D) as (B, D, rows, columns) float32."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)


def whitening(x: np.ndarray, full: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and matrix (D, D) float32 that bring tokens ``x`` (N, T, D) to mean 0 and, ``full``, unit covariance along
    their principal directions, else unit deviations; of at most ``ROWS`` tokens drawn by chance."""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > ROWS:
        rows = rows[np.sort(rng.choice(len(rows), ROWS, replace=False))]
    rows = rows.astype(np.float32)
    mean = rows.mean(0, dtype=np.float64)
    covariance, _ = ledoit_wolf(rows)
    if not full:
        covariance = np.diag(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance)
    white = vectors / np.sqrt(np.maximum(values, FLOOR**2))
    return mean.astype(np.float32), white.astype(np.float32)


def windowed(one: np.ndarray, side: int | None, rng: np.random.Generator) -> np.ndarray:
    """A window (side, side, D) of a grid (rows, columns, D), drawn by chance; all of it where it is no larger."""
    rows, columns = one.shape[:2]
    if side is None or (rows <= side and columns <= side):
        return one
    y, x = (int(rng.integers(max(0, n - side) + 1)) for n in (rows, columns))
    return one[y : y + side, x : x + side]


# -- the flow ----------------------------------------------------------------------------------------------------------


def couple(raw: Any, x: Any) -> tuple[Any, Any]:
    """The second half ``x`` (B, C, …) scaled and shifted by the convolutions' ``raw`` (B, 2C, …), and log-scales s:
    a = 0.1·raw, s = 2·tanh(a_scale), x·exp(s) + a_shift. Torch tensors."""
    a = CLAMP * raw
    s = 2 * a[:, : x.shape[1]].tanh()
    return x * s.exp() + a[:, x.shape[1] :], s


def gain(torch: Any, scale: Any) -> Any:
    """A channel's factor 0.1·softplus_{β = 0.5}(scale): 1 at 2·ln(e⁵ − 1)."""
    return AFFINE * torch.nn.functional.softplus(scale, beta=0.5)


def nll(z: Any, logdet: Any) -> Any:
    """Mean over pictures of ½ Σ z² − log-determinant; ``z`` (B, …) and ``logdet`` (B,) torch tensors."""
    return (z.square().flatten(1).sum(1) / 2 - logdet).mean()


def network(
    torch: Any, width: int, blocks: int, kernels: Sequence[int], ratio: float, rng: np.random.Generator
) -> Any:
    """A chain of ``blocks`` as a torch module: (B, width, rows, columns) to z of that shape and log-determinants (B,)."""
    nn = torch.nn
    first = width - width // 2
    hidden = max(1, int(ratio * first))

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self, kernel: int) -> None:
            super().__init__()
            self.add_module("in", nn.Conv2d(first, hidden, kernel, padding="same"))
            self.add_module("out", nn.Conv2d(hidden, 2 * (width // 2), kernel, padding="same"))
            self.scale = nn.Parameter(torch.full((1, width, 1, 1), 2 * float(np.log(np.expm1(5)))))
            self.shift = nn.Parameter(torch.zeros(1, width, 1, 1))
            self.register_buffer("order", torch.from_numpy(rng.permutation(width)))

        def forward(self, x: Any) -> tuple[Any, Any]:
            kept, changed = x[:, :first], x[:, first:]
            changed, s = couple(self.out(getattr(self, "in")(kept).relu()), changed)
            g = gain(torch, self.scale)
            x = torch.cat([kept, changed], 1) * g + self.shift
            return x[:, self.order], s.flatten(1).sum(1) + x.shape[2] * x.shape[3] * g.log().sum()

    class Chain(nn.ModuleList):  # type: ignore[name-defined]
        def forward(self, x: Any) -> tuple[Any, Any]:
            total = torch.zeros(len(x))
            for block in self:
                x, logdet = block(x)
                total = total + logdet
            return x, total

    return Chain([Block(kernels[i % len(kernels)]) for i in range(blocks)])


def restored(torch: Any, flow: Mapping[str, np.ndarray]) -> Any:
    """The module that ``flow``'s arrays came from."""
    kernels = [v.shape[-1] for n, v in sorted(flow.items(), key=_place) if n.endswith("in.weight")]
    first = flow["0.in.weight"]
    width = flow["0.scale"].shape[1]
    ratio = (first.shape[0] + 0.5) / first.shape[1]
    net = network(torch, width, len(kernels), kernels, ratio, np.random.default_rng(0))
    net.load_state_dict({n: torch.from_numpy(v.copy()) for n, v in flow.items() if n[0].isdigit()})
    return net.eval()


def _place(item: tuple[str, np.ndarray]) -> int:
    number = item[0].partition(".")[0]
    return int(number) if number.isdigit() else -1


def train(
    torch: Any,
    net: Any,
    draw: Callable[[int], Any],
    held: Sequence[Any],
    *,
    steps: int,
    batch: int,
    lr: float,
    decay: float,
    patience: int,
    looks: int = 12,
) -> None:
    """Adam on the likelihood of what ``draw(batch)`` gives. The ``held`` grids are looked at ``looks`` times in ``steps``;
    after ``patience`` looks without progress (0: never) it ends; the weights of the best look stay."""
    optimizer = torch.optim.Adam(net.parameters(), lr, weight_decay=decay)
    best, kept, waited, every = _held_out(torch, net, held), _copy(net), 0, max(1, steps // looks)
    for step in range(1, steps + 1):
        loss = nll(*net(draw(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not held or (step % every and step < steps):
            continue
        now = _held_out(torch, net, held)
        if now < best:
            best, kept, waited = now, _copy(net), 0
        else:
            waited += 1
            if waited == patience:
                break
    if held:
        net.load_state_dict(kept)


def _copy(net: Any) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _held_out(torch: Any, net: Any, held: Sequence[Any]) -> float:
    with torch.no_grad():
        return float(np.mean([float(nll(*net(x))) for x in held])) if held else np.inf
