"""Sultani et al.: rank the worst moment of an anomalous clip above the worst of a normal one (CVPR 2018, arXiv 1801.04264).

Idea. 1. A clip is a bag of 32 segments; only the bag is labelled. 2. A small network scores each segment by itself. 3. The
highest score of every anomalous bag must exceed the highest of every normal bag by 1 (hinge). 4. Scores of anomalous bags
should change little from segment to segment and be few. 5. At test a segment's score goes to its frames.

Needs clips labelled as a whole, and torch.

Differs from the paper: the features are those of :mod:`~oddwatch.detectors.video.snippets` (class token of the frozen ViT-S,
motion, objects), brought to unit deviation first because their columns have different units; some 400 numbers instead of C3D's
4096 and hundreds of clips instead of 1610, hence widths 64 and 16 (512 and 32), 400 steps (20 000), and an end by held-out clips
(the paper reports the last step). ``PAPER`` holds the full size for published features. The second layer is linear and the
terms are summed as in the authors' code (the text suggests a ReLU). The last snippet of a clip, which the code's pooling
leaves out, holds the score before it; ``legacy`` gives it 0 as the code does. Clips with fewer than 32 snippets are pooled to
no more segments than the longest has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import Progress
from oddwatch.detectors.video import bags, mil, snippets
from oddwatch.detectors.video.base import VideoDetector

WEIGHT = 8e-5
"""Of smoothness and of sparsity."""


@dataclass(kw_only=True, eq=False)
class Sultani(bags.LearnsFromBags, VideoDetector):
    """A network of ``widths`` with ``dropout``, trained by Adagrad at ``lr`` with L2 penalty ``decay`` on ``batch`` normal and
    as many anomalous clips a step, ``steps`` at most; a share ``held`` of the clips ends it early (0: none).

    ``length`` frames make a snippet, described by ``parts``; clips are pooled to ``segments`` at most.
    """

    NAME: ClassVar[str] = "sultani"
    PAPER: ClassVar[dict[str, Any]] = {
        "widths": (512, 32), "steps": 20_000, "held": 0.0, "standardise": False, "legacy": True,
    }  # fmt: skip
    """Arguments of the paper's size, for features from files."""

    length: int = 16
    parts: tuple[str, ...] = snippets.PARTS
    segments: int = 32
    standardise: bool = True
    widths: tuple[int, int] = (64, 16)
    dropout: float = 0.6
    steps: int = 400
    batch: int = 30
    lr: float = 0.01
    decay: float = 1e-3
    held: float = 0.2
    legacy: bool = False
    learnt: bags.Arrays = field(default_factory=dict, init=False, repr=False)
    """``mean``, ``deviation``, ``segments`` and the weights ``net.*``."""

    def _network(self, torch: Any, width: int) -> Any:
        return network(torch, width, self.widths, self.dropout)

    def _scores(self, torch: Any, net: Any, bag: np.ndarray) -> np.ndarray:
        scores = net(torch.from_numpy(bags.pooled(bag, self.learnt, "matlab1"))).mean(0).numpy()
        return snippets.unpooled(scores, bag.shape[1], "matlab1", self.legacy)

    def _learn(
        self, torch: Any, features: Sequence[np.ndarray], labels: Sequence[int], progress: Progress | None
    ) -> bags.Arrays:
        learnt, draws, held = bags.prepared(
            features, labels, self.NAME, np.random.default_rng(self.seed), how="matlab1", segments=self.segments,
            batch=self.batch, held=self.held, standardise=self.standardise,
        )  # fmt: skip
        net = self._network(torch, len(learnt["mean"]))
        mil.train(
            torch, net, lambda x, _: objective(net, x, self.decay), draws,
            torch.optim.Adagrad(net.parameters(), self.lr, eps=1e-8), steps=self.steps, who=self.NAME,
            held=held, measure=lambda x, y: ranking(net(x).mean(1), y), progress=progress,
        )  # fmt: skip
        return learnt | bags.net_arrays(net)


def network(torch: Any, width: int, widths: Sequence[int], dropout: float) -> Any:
    """Features (…, width) to scores (…,) in [0, 1]: three layers, a ReLU behind the first only."""
    nn = torch.nn
    layers = [nn.Linear(a, b) for a, b in zip((width, *widths), (*widths, 1), strict=True)]
    for layer in layers:
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    first, second, last = layers
    drop = nn.Dropout(dropout)
    return nn.Sequential(first, nn.ReLU(), drop, second, drop, last, nn.Sigmoid(), nn.Flatten(-2))


def terms(anomalous: Any, normal: Any) -> Any:
    """The loss of scores (a, T) and (p, T) without the penalty on weights: hinge, smoothness and sparsity."""
    extra = mil.smooth(anomalous) + mil.sparse_l1(anomalous)
    return mil.rank_hinge(anomalous, normal) + WEIGHT * extra


def objective(net: Any, x: Any, decay: float) -> Any:
    """The loss of a batch ``x`` (2b, K, T, D), normal half first; a bag's score is the mean over its crops."""
    scores = net(x).mean(1)
    half = len(scores) // 2
    weights = sum(p.square().sum() for n, p in net.named_parameters() if n.endswith("weight"))
    return terms(scores[half:], scores[:half]) + decay * weights


def ranking(scores: Any, y: Any) -> Any:
    """The hinge of bags (n, T) with labels ``y`` (n,), a mean over all pairs."""
    anomalous = scores[y == 1]
    return mil.rank_hinge(anomalous, scores[y == 0]) / len(anomalous)
