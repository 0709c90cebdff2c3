"""UR-DMU: one memory of normal and one of anomalous patterns, read by every snippet (AAAI 2023, arXiv 2302.05160).

Idea. 1. A transformer whose heads join ordinary attention with a fixed one to near snippets gives features in context. 2. Two
memories of 60 learnt vectors are read with sigmoid attention: how strongly a snippet answers to a memory is a score by itself.
3. Normal clips must answer to the normal memory everywhere, anomalous ones to the anomalous memory somewhere. 4. What was read by
normal clips is made a Gaussian (mean and variance, drawn while training), so that normal has a spread. 5. A head scores
the features with what was read; the mean of the k highest is the clip's score.

Needs clips labelled as a whole, and torch.

Differs from the paper: the features are those of :mod:`~oddwatch.detectors.video.snippets`, some 400 numbers instead of I3D's
1024, brought to unit deviation, and there are hundreds of clips instead of 1610: width 128 (512), at most 32 segments (200), 16
clips of each kind a step (64), 100 steps at 2e-4 (3000 at 1e-4). It over-trains: on drawn bags the segments' AUC falls while the
loss still does, so held-out clips end the training (the code chooses among test results every 10 steps). ``PAPER`` holds the
full size for published features. While training a clip shows one crop at a time; at test the crops' scores are averaged. The
distance term reads the drawn read-out of the normal memory; the Kullback-Leibler sum runs over time, not over features, as in
the code. In clips of few snippets the context smears a moment over its neighbours: clips are told apart well, moments less
well than by Sultani's network, which knows no context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import InputError, Progress
from oddwatch.detectors.video import bags, mil, snippets
from oddwatch.detectors.video.base import VideoDetector

MEMORY, TRIPLET, SPREAD, DISTANCE = 0.1, 0.1, 1e-3, 1e-4
"""What the terms weigh beside the cross-entropy of the clips."""
MARGIN = 100.0
"""How much longer the anomalous read-out shall be than the normal one."""


@dataclass(kw_only=True, eq=False)
class URDMU(bags.LearnsFromBags, VideoDetector):
    """A transformer of ``width`` with ``depth`` layers of ``heads`` and ``dropout``, memories of ``slots`` vectors, a head of
    ``hidden``. Adam at ``lr`` with weight ``decay`` on ``batch`` normal and as many anomalous clips a step, ``steps`` at
    most; a share ``held`` of the clips ends it early (0: none).

    ``length`` frames make a snippet, described by ``parts``; for training clips are pooled to ``segments`` at most.
    """

    NAME: ClassVar[str] = "ur-dmu"
    PAPER: ClassVar[dict[str, Any]] = {
        "segments": 200, "width": 512, "hidden": 128, "steps": 3000, "batch": 64, "lr": 1e-4, "held": 0.0,
        "standardise": False, "seed": 2022,
    }  # fmt: skip
    """Arguments of the paper's size, for features from files."""

    length: int = 16
    parts: tuple[str, ...] = snippets.PARTS
    segments: int = 32
    standardise: bool = True
    width: int = 128
    depth: int = 2
    heads: int = 4
    dropout: float = 0.5
    slots: int = 60
    hidden: int = 32
    steps: int = 100
    batch: int = 16
    lr: float = 2e-4
    decay: float = 5e-5
    held: float = 0.2
    learnt: bags.Arrays = field(default_factory=dict, init=False, repr=False)
    """``mean``, ``deviation``, ``segments`` and the weights ``net.*``."""

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise InputError("width", f"expected a multiple of heads ({self.heads}), got {self.width}")

    def _network(self, torch: Any, width: int) -> Any:
        return network(
            torch, width, self.width, self.depth, self.heads, self.dropout, self.slots, self.hidden
        )

    def _scores(self, torch: Any, net: Any, bag: np.ndarray) -> np.ndarray:
        return np.asarray(net(torch.from_numpy(bags.scaled(bag, self.learnt))).mean(0).numpy())

    def _learn(
        self, torch: Any, features: Sequence[np.ndarray], labels: Sequence[int], progress: Progress | None
    ) -> bags.Arrays:
        learnt, draws, held = bags.prepared(
            features, labels, self.NAME, np.random.default_rng(self.seed), how="linspace0", segments=self.segments,
            batch=self.batch, held=self.held, standardise=self.standardise, one_crop=True,
        )  # fmt: skip
        k = mil.how_many(int(learnt["segments"][0]), "sixteenth+1")
        net = self._network(torch, len(learnt["mean"]))

        def measure(x: Any, y: Any) -> Any:
            scores = net(x.flatten(0, 1)).reshape(x.shape[:3]).mean(1)
            return mil.topk_bce(torch, scores, y, k)

        mil.train(
            torch, net, lambda x, y: objective(torch, net.both(x[:, 0]), y, k), draws,
            torch.optim.Adam(net.parameters(), self.lr, weight_decay=self.decay),
            steps=self.steps, who=self.NAME, held=held, measure=measure, progress=progress,
        )  # fmt: skip
        return learnt | bags.net_arrays(net)


# -- the network -------------------------------------------------------------------------------------------------------


def network(
    torch: Any, features: int, width: int, depth: int, heads: int, dropout: float, slots: int, hidden: int
) -> Any:
    """Features (b, T, ``features``) to scores (b, T). ``both`` of a batch, normal half first, gives what the loss needs."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv1d(features, width, 3, padding=1)
            self.layers = nn.ModuleList([layer(torch, width, heads, dropout) for _ in range(depth)])
            bound = width**-0.5
            self.normal = nn.Parameter(torch.empty(slots, width).uniform_(-bound, bound))
            self.anomalous = nn.Parameter(torch.empty(slots, width).uniform_(-bound, bound))
            self.mean, self.variance = nn.Linear(width, width), nn.Linear(width, width)
            self.head = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

        def context(self, x: Any) -> Any:
            x = self.embed(x.transpose(1, 2)).relu().transpose(1, 2)
            for part in self.layers:
                x = part(x)
            return x

        def scores(self, x: Any, z: Any) -> Any:
            return self.head(torch.cat([x, z], -1)).sigmoid().squeeze(-1)

        def forward(self, x: Any) -> Any:
            x = self.context(x)
            return self.scores(x, self.mean(read(x, self.anomalous)[1]) + self.mean(read(x, self.normal)[1]))

        def both(self, x: Any) -> dict[str, Any]:
            x = self.context(x)
            n, a = x.chunk(2)
            (n_n, read_n_n), (n_a, read_n_a) = read(n, self.normal), read(n, self.anomalous)
            (a_n, read_a_n), (a_a, read_a_a) = read(a, self.normal), read(a, self.anomalous)
            mean, log = self.mean(read_n_n), self.variance(read_n_n)
            drawn = mean + torch.randn_like(mean) * (log / 2).exp()
            far = self.mean(read_a_a)
            z = torch.cat([drawn + self.mean(read_n_a), far + self.mean(read_a_n)])
            return {
                "scores": self.scores(x, z), "n": n, "a": a, "n_n": n_n, "n_a": n_a, "a_n": a_n, "a_a": a_a,
                "mean": mean, "log": log, "drawn": drawn, "far": far,
            }  # fmt: skip

    return Net()


def layer(torch: Any, width: int, heads: int, dropout: float) -> Any:
    """A transformer layer (b, T, width), norms first; half of what each head gives is attention, half the mean of near values."""
    nn = torch.nn

    class Layer(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.project = nn.Linear(width, 4 * width, bias=False)
            self.out = nn.Sequential(nn.Linear(2 * width, width), nn.Dropout(dropout))
            self.forward_norm = nn.LayerNorm(width)
            self.feed = nn.Sequential(
                nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.Dropout(dropout)
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            b, steps, _ = x.shape
            parts = self.project(self.norm(x)).reshape(b, steps, 4, heads, width // heads)
            q, k, v, near = parts.permute(2, 0, 3, 1, 4)
            far = nn.functional.scaled_dot_product_attention(q, k, v)
            joined = torch.cat([far, nearness(torch, steps).to(x.dtype) @ near], -1)
            x = x + self.out(joined.transpose(1, 2).reshape(b, steps, 2 * width))
            return x + self.feed(self.forward_norm(x))

    return Layer()


def nearness(torch: Any, steps: int) -> Any:
    """(T, T) exp(−|i − j| / e), every column divided by its sum (the rows of it do not sum to 1)."""
    at = torch.arange(steps, dtype=torch.float64)
    near = (-(at[:, None] - at).abs() / np.e).exp()
    return near / near.sum(0, keepdim=True)


def read(x: Any, memory: Any) -> tuple[Any, Any]:
    """Of features ``x`` (…, T, D) and a ``memory`` (M, D): how strongly each answers to it, (…, T) in [0, 1], the mean of the
    M // 16 + 1 largest sigmoid attentions; and what it reads, (…, T, D), not normalised by the attentions' sum."""
    attention = (x @ memory.T / memory.shape[1] ** 0.5).sigmoid()
    few = mil.how_many(len(memory), "sixteenth+1")
    return attention.topk(min(few, len(memory)), -1).values.mean(-1), attention @ memory


# -- the loss ----------------------------------------------------------------------------------------------------------


def divergence(mean: Any, log: Any) -> Any:
    """−½ Σ (1 + log − mean² − e^log) over time, averaged over the rest; ``mean`` and log-variance ``log`` (b, T, D)."""
    return (-0.5 * (1 + log - mean.square() - log.exp()).sum(1)).mean()


def distance(far: Any, near: Any, margin: float = MARGIN) -> Any:
    """Mean of max(0, margin − ‖far‖ + ‖near‖) over rows (b, D)."""
    return (margin - far.norm(dim=-1) + near.norm(dim=-1)).clamp(min=0).mean()


def objective(torch: Any, out: dict[str, Any], y: Any, k: int) -> Any:
    """The loss of what ``both`` gave for a batch with labels ``y`` (2b,), normal half first."""
    unit = torch.nn.functional.normalize
    one, zero = torch.ones_like(out["n_n"]), torch.zeros_like(out["n_n"])
    memory = (
        mil.bce(torch, mil.topk_mean(out["a_a"], k), one[:, 0])
        + mil.bce(torch, mil.topk_mean(1 - out["a_n"], k), one[:, 0])
        + mil.bce(torch, out["n_n"], one)
        + mil.bce(torch, out["n_a"], zero)
    )
    most_n, most_a = mil.top(out["n_n"], k), mil.top(out["a_a"], k)
    anchor = mil.gathered(out["n"], most_n).mean(1)
    positive = mil.gathered(out["a"], mil.top(out["a_n"], k)).mean(1)
    negative = mil.gathered(out["a"], most_a).mean(1)
    apart = distance(mil.gathered(out["far"], most_a).mean(1), mil.gathered(out["drawn"], most_n).mean(1))
    return (
        mil.topk_bce(torch, out["scores"], y, k)
        + MEMORY * memory
        + TRIPLET * mil.triplet(torch, unit(anchor, dim=1), unit(positive, dim=1), unit(negative, dim=1))
        + SPREAD * divergence(out["mean"], out["log"])
        + DISTANCE * apart
    )
