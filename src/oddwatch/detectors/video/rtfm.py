"""RTFM: the moments with the largest features speak for a clip (ICCV 2021, arXiv 2101.10030).

Idea. 1. Dilated convolutions over time and a non-local block put every snippet into the context of its clip. 2. Of each clip the
k snippets with the longest feature vectors are chosen, not those with the highest scores. 3. Their mean feature shall be long
(100) in anomalous clips and short in normal ones. 4. Their mean score is the clip's, learnt by cross-entropy. 5. Scores of
anomalous clips should change little and be few.

Needs clips labelled as a whole, and torch.

Differs from the paper: the features are those of :mod:`~oddwatch.detectors.video.snippets`, some 400 numbers instead of I3D's
2048, brought to unit deviation (the margin 100 belongs to features of one scale; :attr:`RTFM.margin` changes it), and there are
hundreds of clips instead of 1610: branches of 32 channels (512), a head of 64 and 16 (512, 128), dropout 0.3 (0.7), 16 clips of
each kind a step (32), 200 steps (15 000, with the best chosen by test data), weight decay 0.0005 (the paper's text; the code has
0.005, as ``PAPER``), and an end by held-out clips. ``PAPER`` holds the full size for published features. Clips are pooled to no
more segments than the longest has snippets; at test all snippets are scored, the crops averaged after the sigmoid.
As in the code, the differences between neighbours run over the borders of bags laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import Progress
from oddwatch.detectors.video import bags, mil, snippets
from oddwatch.detectors.video.base import VideoDetector

MAGNITUDE, SMOOTH, SPARSE = 1e-4, 8e-4, 8e-3
"""What the terms weigh beside the cross-entropy."""


@dataclass(kw_only=True, eq=False)
class RTFM(bags.LearnsFromBags, VideoDetector):
    """Branches of ``branch`` channels (half of it inside the non-local block), a head of ``widths``, ``dropout`` everywhere;
    anomalous features are drawn to the length ``margin``. Adam at ``lr`` with weight ``decay`` on ``batch`` normal and as
    many anomalous clips a step, ``steps`` at most; a share ``held`` of the clips ends it early (0: none).

    ``length`` frames make a snippet, described by ``parts``; for training clips are pooled to ``segments`` at most.
    """

    NAME: ClassVar[str] = "rtfm"
    PAPER: ClassVar[dict[str, Any]] = {
        "branch": 512, "widths": (512, 128), "dropout": 0.7, "steps": 15_000, "batch": 32, "decay": 0.005,
        "held": 0.0, "standardise": False,
    }  # fmt: skip
    """Arguments of the paper's size, for features from files."""

    length: int = 16
    parts: tuple[str, ...] = snippets.PARTS
    segments: int = 32
    standardise: bool = True
    branch: int = 32
    widths: tuple[int, int] = (64, 16)
    dropout: float = 0.3
    margin: float = 100.0
    steps: int = 200
    batch: int = 16
    lr: float = 1e-3
    decay: float = 5e-4
    held: float = 0.2
    learnt: bags.Arrays = field(default_factory=dict, init=False, repr=False)
    """``mean``, ``deviation``, ``segments`` and the weights ``net.*``."""

    def _network(self, torch: Any, width: int) -> Any:
        return network(torch, width, self.branch, self.widths, self.dropout)

    def _scores(self, torch: Any, net: Any, bag: np.ndarray) -> np.ndarray:
        scores, _ = net(torch.from_numpy(bags.scaled(bag, self.learnt))[None])
        return np.asarray(scores[0].numpy())

    def _learn(
        self, torch: Any, features: Sequence[np.ndarray], labels: Sequence[int], progress: Progress | None
    ) -> bags.Arrays:
        learnt, draws, held = bags.prepared(
            features, labels, self.NAME, np.random.default_rng(self.seed), how="linspace0",
            segments=self.segments, batch=self.batch, held=self.held, standardise=self.standardise,
        )  # fmt: skip
        k = mil.how_many(int(learnt["segments"][0]), "tenth")
        net = self._network(torch, len(learnt["mean"]))
        drop = torch.nn.Dropout(self.dropout)

        def loss(x: Any, y: Any) -> Any:
            scores, found = net(x)
            return objective(torch, scores, found, y, k, self.margin, drop)

        def measure(x: Any, y: Any) -> Any:
            scores, found = net(x)
            return mil.topk_bce(torch, scores, y, k, by=lengths(found))

        mil.train(
            torch, net, loss, draws, torch.optim.Adam(net.parameters(), self.lr, weight_decay=self.decay),
            steps=self.steps, who=self.NAME, held=held, measure=measure, progress=progress,
        )  # fmt: skip
        return learnt | bags.net_arrays(net)


# -- the network -------------------------------------------------------------------------------------------------------


def network(torch: Any, width: int, branch: int, widths: Sequence[int], dropout: float) -> Any:
    """Features (b, K, T, width) to scores (b, T), the mean over the crops, and features in context (b, K, T, width)."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.context = context(torch, width, branch)
            self.drop = nn.Dropout(dropout)
            drop, (one, two) = nn.Dropout(dropout), widths
            self.head = nn.Sequential(
                nn.Linear(width, one), nn.ReLU(), drop, nn.Linear(one, two), nn.ReLU(), drop, nn.Linear(two, 1)
            )  # fmt: skip
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv1d):
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

        def forward(self, x: Any) -> tuple[Any, Any]:
            found = self.context(x.flatten(0, 1).transpose(1, 2)).transpose(1, 2)
            found = self.drop(found).reshape(x.shape)
            return self.head(found).sigmoid().squeeze(-1).mean(1), found

    return Net()


def context(torch: Any, width: int, branch: int) -> Any:
    """The multi-scale temporal network as a torch module, (b, width, T) to the same."""
    nn = torch.nn

    def dilated(step: int) -> Any:
        return nn.Sequential(
            nn.Conv1d(width, branch, 3, dilation=step, padding=step), nn.ReLU(), nn.BatchNorm1d(branch)
        )

    class Scales(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dilated = nn.ModuleList([dilated(step) for step in (1, 2, 4)])
            self.narrow = nn.Sequential(nn.Conv1d(width, branch, 1, bias=False), nn.ReLU())
            self.distant = distant(torch, branch)
            self.fuse = nn.Sequential(
                nn.Conv1d(4 * branch, width, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm1d(width)
            )

        def forward(self, x: Any) -> Any:
            scales = [part(x) for part in self.dilated]
            return x + self.fuse(torch.cat([*scales, self.distant(self.narrow(x))], 1))

    return Scales()


def distant(torch: Any, width: int) -> Any:
    """The non-local block (b, width, T): every time looks at every other by θᵀφ / T, without a softmax; it starts as the identity."""
    nn = torch.nn
    inner = max(1, width // 2)

    class Distant(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.theta, self.phi, self.g = (nn.Conv1d(width, inner, 1) for _ in range(3))
            self.out = nn.Sequential(nn.Conv1d(inner, width, 1), nn.BatchNorm1d(width))
            nn.init.zeros_(self.out[1].weight)
            nn.init.zeros_(self.out[1].bias)

        def forward(self, x: Any) -> Any:
            near = self.theta(x).transpose(1, 2) @ self.phi(x) / x.shape[2]
            return x + self.out(self.g(x) @ near.transpose(1, 2))

    return Distant()


# -- the loss ----------------------------------------------------------------------------------------------------------


def lengths(found: Any) -> Any:
    """(b, T) the length of the features (b, K, T, D), a mean over the crops."""
    return found.norm(dim=-1).mean(1)


def objective(torch: Any, scores: Any, found: Any, y: Any, k: int, margin: float, drop: Any) -> Any:
    """The loss of a batch, normal half first: ``scores`` (2b, T), features ``found`` (2b, K, T, D), labels ``y`` (2b,).

    ``drop`` is the dropout through which the lengths go before the k longest are chosen, so that a random part of the
    snippets competes.
    """
    size = lengths(found)
    size = size * drop(torch.ones_like(size))
    at = mil.top(size, k)
    bag = mil.bce(torch, scores.gather(1, at).mean(1), y)
    crops = found.shape[1]
    mean = mil.gathered(found.flatten(0, 1), at.repeat_interleave(crops, 0)).mean(1)
    half, split = len(scores) // 2, len(mean) // 2
    anomalous = scores[half:]
    return (
        bag
        + MAGNITUDE * mil.magnitude(mean[split:], mean[:split], margin)
        + SMOOTH * mil.smooth(anomalous, across=True)
        + SPARSE * mil.sparse_l2(anomalous)
    )
