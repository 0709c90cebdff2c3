"""Novel classes beside known ones, over frozen tokens: the losses, net and training of AnomalyNCD (arXiv 2410.14379, §3.3).

Needs torch. Items are a few tokens each, in several views (varied copies of one crop). The net sees two views of an item and
learns that they belong together (InfoNCE, and supervised contrast between labelled items), what the labelled ones are
(cross-entropy), and groups of the others (each view predicts what the other's sharpened prediction was, while all groups
together must stay in use). Official values are the defaults of :func:`learn`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddwatch.core import Progress
from oddwatch.detectors.image.heads import seeded
from oddwatch.detectors.image.tokens import unit

PROJECTED, STUDENT = 256, 0.1


@dataclass(frozen=True, eq=False)
class Bags:
    """Items as bags of tokens: ``tokens`` (n, views, t, D) float16 and which of the t are filled, (n, views, t) bool."""

    tokens: np.ndarray
    filled: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def means(self) -> np.ndarray:
        """(n, views, D) float32 mean of each bag."""
        weight = self.filled[..., None].astype(np.float32)
        return np.asarray((self.tokens * weight).sum(2) / weight.sum(2))

    def less(self, common: np.ndarray) -> Bags:
        """The tokens less ``common`` (D,), at unit length."""
        x = unit(self.tokens - common.astype(np.float32)) * self.filled[..., None]
        return Bags(x.astype(np.float16), self.filled)


def learn(
    known: Bags,
    labels: np.ndarray,
    novel: Bags,
    plain: Bags,
    correction: np.ndarray,
    classes: int,
    *,
    epochs: int = 50,
    batch: int = 32,
    lr: float = 3e-3,
    heads: int = 4,
    hidden: int = 2048,
    share: float = 0.3,
    spread: float = 4.0,
    seed: int = 3407,
    progress: Progress | None = None,
) -> np.ndarray:
    """(m, classes) probabilities of the ``novel`` items, by the head whose clustering loss is lowest at the end.

    ``known`` items have ``labels`` 0…; ``plain`` are the novel items in one unvaried view each; ``correction`` (m,) in
    0–1 is how much an item's target is moved to the first novel class (the normal one). ``share`` weighs the labelled
    losses against the others, ``spread`` the entropy term. Batches without one of both sides are skipped.
    """
    with seeded(seed, "AnomalyNCD") as torch:
        rng = np.random.default_rng(seed)
        base = int(labels.max()) + 1
        net = network(torch, known.tokens.shape[-1], base + classes, heads, hidden)
        decayed = [p for p in net.parameters() if p.ndim > 1]
        plain_ones = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": decayed}, {"params": plain_ones, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr, momentum=0.9, weight_decay=5e-5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=lr * 1e-3)
        total = len(known) + len(novel)
        odds = np.concatenate([np.full(len(s), 0.5 / len(s)) for s in (known, novel)])
        loss_of_head = np.zeros(heads)
        for epoch in range(epochs):
            warmth, losses = teacher_temperature(epoch, epochs), []
            order = rng.choice(total, total, p=odds)
            for start in range(0, total, batch):
                chosen = order[start : start + batch]
                ours, theirs = chosen[chosen < len(known)], chosen[chosen >= len(known)] - len(known)
                if not len(ours) or not len(theirs):
                    continue
                x, filled = _two_views(torch, rng, (known, ours), (novel, theirs))
                projected, logits = net(x, filled)
                loss, clustering = total_loss(
                    torch, projected, logits, torch.from_numpy(labels[ours]), torch.from_numpy(correction[theirs]).float(),
                    base, warmth, share, spread,
                )  # fmt: skip
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(clustering)
            schedule.step()
            if losses:
                loss_of_head = np.mean(losses, axis=0)
            if progress is not None:
                progress("anomalyncd: training", epoch + 1, epochs)
        return _predicted(torch, net, plain, base, int(loss_of_head.argmin()))


def total_loss(
    torch: Any,
    projected: Any,
    logits: Any,
    labels: Any,
    correction: Any,
    base: int,
    warmth: float,
    share: float = 0.3,
    spread: float = 4.0,
) -> tuple[Any, list[float]]:
    """The loss of a batch and each head's clustering loss.

    ``projected`` (2n, P) and ``logits`` (heads, 2n, K): the first views of n items, the labelled first, then their second.
    """
    nn, known = torch.nn.functional, len(labels)
    pairs = torch.stack(projected.chunk(2), 1)
    named, clustered, each = 0.0, 0.0, []
    for one in logits:
        first, second = one.chunk(2)
        named = named + nn.cross_entropy(
            torch.cat([first[:known], second[:known]]) / STUDENT, labels.repeat(2)
        )
        student = torch.cat([first[known:], second[known:]])
        own = distillation(torch, student, correction, base, warmth) + spread * entropy_gap(torch, student)
        clustered = clustered + own
        each.append(float(own.detach()))
    heads = len(logits)
    labelled = named / heads + supervised_contrast(torch, pairs[:known], labels)
    unlabelled = clustered / heads + info_nce(torch, projected)
    return share * labelled + (1 - share) * unlabelled, each


def info_nce(torch: Any, features: Any, temperature: float = 1.0) -> Any:
    """Each of the features (2n, P) should find its other view among all others, by cosine."""
    x = torch.nn.functional.normalize(features, dim=1)
    alike = (x @ x.T / temperature).fill_diagonal_(-math.inf)
    n = len(x) // 2
    other = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return torch.nn.functional.cross_entropy(alike, other)


def supervised_contrast(torch: Any, features: Any, labels: Any, temperature: float = 0.07) -> Any:
    """Mean over the features (n, 2, P) of −log of the softmax share of each feature of the same label (Khosla et al. 2020)."""
    x = torch.nn.functional.normalize(torch.cat(features.unbind(1)), dim=1)
    same = (labels[:, None] == labels).repeat(2, 2).fill_diagonal_(False)
    alike = (x @ x.T / temperature).fill_diagonal_(-math.inf)
    logs = alike - torch.logsumexp(alike, 1, keepdim=True)
    return -(logs.masked_fill(~same, 0).sum(1) / same.sum(1)).mean()


def distillation(torch: Any, student: Any, correction: Any, base: int, warmth: float) -> Any:
    """Cross-entropy of one view's prediction with the other view's sharpened one (no gradient) among the novel classes.

    ``student`` (2m, K) logits; ``correction`` (m,) moves that much of the target to the first novel class.
    """
    logs = (student / STUDENT).log_softmax(1).chunk(2)
    target = student.detach()[:, base:].div(warmth).softmax(1)
    target = torch.cat([torch.zeros(len(target), base), target], 1)
    weight = correction.repeat(2)[:, None]
    target = target * (1 - weight)
    target[:, base] += weight[:, 0]
    first, second = target.chunk(2)
    return -((first * logs[1]).sum(1).mean() + (second * logs[0]).sum(1).mean()) / 2


def entropy_gap(torch: Any, student: Any) -> Any:
    """ln K less the entropy of the mean prediction: 0 where all K classes are equally used."""
    mean = (student / STUDENT).softmax(1).mean(0)
    return math.log(len(mean)) - torch.special.entr(mean).sum()


def teacher_temperature(epoch: int, epochs: int, warm: float = 0.8) -> float:
    """From 0.07 down to 0.04 over the first ``warm`` share of the epochs (40 of 50), in ten steps; then 0.04."""
    steps = max(1, round(warm * epochs))
    return float(np.linspace(0.07, 0.04, 10)[min(9, 10 * epoch // steps)])


def network(torch: Any, width: int, classes: int, heads: int, hidden: int) -> Any:
    """Tokens of a bag to a feature, to its projection and to the heads' logits.

    The feature starts as the mean of the bag's tokens; a block of attention of that mean to the bag, and a perceptron,
    add to it, from nothing at the start. Prototypes have length 1, so that logits are cosines.
    """
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, max(1, width // 64), batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for last in (self.attention.out_proj, self.mlp[2]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
            self.projector = nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
                nn.Linear(hidden, PROJECTED),
            )  # fmt: skip
            for layer in self.projector[::2]:
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
            self.prototypes = nn.Parameter(torch.randn(heads, classes, width))

        def forward(self, x: Any, filled: Any) -> tuple[Any, Any]:
            weight = filled[..., None].float()
            feature = (x * weight).sum(1) / weight.sum(1)
            rows = self.norm1(x)
            seen, _ = self.attention(
                self.norm1(feature)[:, None], rows, rows, key_padding_mask=~filled, need_weights=False
            )
            feature = feature + seen[:, 0]
            feature = feature + self.mlp(self.norm2(feature))
            normal = nn.functional.normalize
            return self.projector(feature), normal(feature, dim=-1) @ normal(
                self.prototypes, dim=-1
            ).transpose(1, 2)

    return Net()


def _two_views(torch: Any, rng: np.random.Generator, *parts: tuple[Bags, np.ndarray]) -> tuple[Any, Any]:
    """Two different views of the chosen items: all first ones, then all second ones (2n, t, D)."""
    tokens: list[np.ndarray] = []
    filled: list[np.ndarray] = []
    drawn = []
    for bags, which in parts:
        views = bags.tokens.shape[1]
        first = rng.integers(views, size=len(which))
        second = (first + rng.integers(1, max(2, views), size=len(which))) % views
        drawn.append((bags, which, (first, second)))
    for side in (0, 1):
        for bags, which, both in drawn:
            tokens.append(bags.tokens[which, both[side]])
            filled.append(bags.filled[which, both[side]])
    return torch.from_numpy(np.concatenate(tokens)).float(), torch.from_numpy(np.concatenate(filled))


def _predicted(torch: Any, net: Any, plain: Bags, base: int, head: int) -> np.ndarray:
    net.eval()
    out = []
    with torch.no_grad():
        for start in range(0, len(plain), 256):
            part = slice(start, start + 256)
            x = torch.from_numpy(plain.tokens[part, 0]).float()
            _, logits = net(x, torch.from_numpy(plain.filled[part, 0]))
            out.append((logits[head][:, base:] / STUDENT).softmax(1).numpy())
    return np.concatenate(out).astype(np.float64)
