"""STG-NF: how unlikely somebody's movement is under a normalising flow of poses (arXiv 2211.10946, ICCV 2023).

Idea. 1. A window is the 18 joints of one person over T frames, without place and size. 2. Eight invertible steps map normal
windows to Gaussian noise around 3: each scales the two coordinates, swaps them, and shifts and scales one by what a graph
convolution over joints and time says about the other. 3. They learn by raising the likelihood of normal windows. 4. A
window's score is its negative log-likelihood, in bits a number, written to its middle frame. 5. A frame has the score of its
least likely person, smoothed by six Gaussians one after another.

Needs normal clips with tracked poses, and torch. The whole flow has 616 numbers (T = 24). Where clips have ``labels``, the
windows of those labelled 1 are drawn to −``radius`` instead (then 10), as published for UBnormal; trim such clips to the event,
and train for thousands of batches, as 10 deviations are a long way.

Differs from the paper: poses are MoveNet's at the frames that the models looked at (AlphaPose, every frame). Windows
are of all frames, with poses along straight lines between looks up to ``bridge`` seconds apart, so that a window lasts as
long as the paper's at any number of looks; with ``steps="looks"`` they are of looked-at frames only. Equal where every frame
is looked at and ``bridge`` is 0. Where there are few windows, training takes at least ``least`` batches, and at most
``most``, three minutes of processor time (paper: eight epochs, however long). A mirrored window swaps left and right joints.
Frames without a person have the lowest score that a normal window had (paper: of the test set, which looks at all test
videos); likewise where no track is long enough.

Measured by others: at a learning rate of 5e-3 the likelihood rises more and detection gets worse. More training is not better.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import Box, Curve, InputError, Place
from oddwatch.detectors.image.heads import arrays_of, seeded
from oddwatch.detectors.video import poses, prednet
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.poses import Steps, Windows
from oddwatch.scoring.curves import cascade
from oddwatch.scoring.relate import to_frames

log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]
JOINTS = 18
FLOOR = 1e-6
CHUNK = 1024


@dataclass(kw_only=True, eq=False)
class STGNF(VideoDetector):
    """Windows of ``window`` poses (UBnormal: 16), a new one every ``stride`` poses in training and every one after it;
    ``blocks`` of the flow, joints within ``hops`` bones hear each other. ``radius`` of the prior: 3, or 10 with labels, where None.
    Training: Adamax at ``lr``·``fade``^epoch, ``epochs`` of batches of ``batch``, at least ``least`` and at most ``most`` of these.
    ``steps`` and ``bridge``: see :func:`oddwatch.detectors.video.poses.windows`. ``sigmas`` smooth, in frames.
    """

    NAME: ClassVar[str] = "stg-nf"
    READS: ClassVar[tuple[str, ...]] = ("people",)

    window: int = 24
    stride: int = 6
    absent: int = 2
    steps: Steps = "frames"
    bridge: float = 1.0
    blocks: int = 8
    hops: int = 8
    radius: float | None = None
    lr: float = 5e-4
    fade: float = 0.99
    epochs: int = 8
    batch: int = 256
    least: int = 200
    most: int = 500
    clip: float = 100.0
    mirror: bool = True
    sigmas: tuple[float, ...] = (1, 2, 3, 4, 5, 6)
    flow: Arrays = field(default_factory=dict, init=False, repr=False)
    normal: np.ndarray = field(default_factory=lambda: np.zeros(0), init=False, repr=False)
    """(2,) lowest and highest score of a normal training window."""

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.batch < 1 or self.epochs < 1 or not self.lr > 0:
            raise InputError("blocks, batch, epochs, lr", "expected 1 or more and a rate above 0")
        if not 1 <= self.least <= self.most:
            raise InputError("least, most", f"expected 1 ≤ least ≤ most, got {self.least} and {self.most}")

    def _windows(self, notes: Notes, stride: int) -> Windows:
        return poses.windows(
            notes, self.window, stride, absent=self.absent, steps=self.steps, bridge=self.bridge
        )

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        kinds = list(labels) if labels is not None else [0] * len(normal)
        found = [self._windows(notes, self.stride).data for notes in normal]
        data = np.concatenate([w for w, kind in zip(found, kinds, strict=True) if not kind] or [found[0][:0]])
        odd = np.concatenate([w for w, kind in zip(found, kinds, strict=True) if kind] or [found[0][:0]])
        if not len(data):
            raise InputError(
                "normal",
                f"no person was tracked for more than {self.window} {self.steps}",
                "watch with more looks a second, give longer clips, or a smaller window",
            )
        self.fit_windows(data, odd)

    def fit_windows(self, data: np.ndarray, odd: np.ndarray | None = None) -> STGNF:
        """Learn from normalised windows (W, 2, T, 18) of normal people, and from ``odd`` ones where there are any."""
        data = np.ascontiguousarray(data, np.float32)
        odd = np.zeros((0, *data.shape[1:]), np.float32) if odd is None else np.asarray(odd, np.float32)
        if data.ndim != 4 or data.shape[1:] != (2, self.window, JOINTS) or not len(data):
            raise InputError("windows", f"expected (W, 2, {self.window}, {JOINTS}), got {data.shape}")
        both = np.concatenate([data, odd])
        mean = np.concatenate([np.ones(len(data)), -np.ones(len(odd))]).astype(np.float32) * self._radius(odd)
        if self.mirror:
            both, mean = np.concatenate([both, poses.mirrored(both)]), np.tile(mean, 2)
        with seeded(self.seed, "STG-NF") as torch:
            net = network(torch, self.window, self.blocks, self.hops)
            self._train(torch, net, torch.from_numpy(both), torch.from_numpy(mean))
            self.flow = arrays_of(net) | {"radius": np.array([self._radius(odd)], np.float32)}
        scores = self.score_windows(data)
        self.normal = np.array([scores.min(), scores.max()])
        self.fitted = True
        return self

    def _radius(self, odd: np.ndarray) -> float:
        return self.radius if self.radius is not None else 10.0 if len(odd) else 3.0

    def _train(self, torch: Any, net: Any, data: Any, mean: Any) -> None:
        optimizer = torch.optim.Adamax(net.parameters(), self.lr)
        batches = -(-len(data) // self.batch)
        wanted = min(max(self.epochs * batches, self.least), self.most)
        epochs = -(-wanted // batches)
        net.train()
        done = 0
        for epoch in range(epochs):
            # The rate fades as over the paper's epochs, however many short ones there are here.
            for group in optimizer.param_groups:
                group["lr"] = self.lr * self.fade ** (epoch * self.epochs / epochs)
            for rows in torch.randperm(len(data)).split(self.batch)[: wanted - done]:
                z, logdet = net(data[rows])
                loss = nll(torch, z, logdet, mean[rows]).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), self.clip)
                optimizer.step()
                done += 1

    def score_windows(self, data: np.ndarray) -> np.ndarray:
        """(W,) float64 negative log-likelihoods, bits a number, of normalised windows (W, 2, T, 18)."""
        with seeded(self.seed, "STG-NF") as torch, torch.no_grad():
            net = network(torch, self.window, self.blocks, self.hops)
            for step in prednet.restored(torch, net, self.flow):
                step.started = True
            mean = float(self.flow["radius"][0])
            parts = []
            for lo in range(0, len(data), CHUNK):
                z, logdet = net(torch.from_numpy(np.ascontiguousarray(data[lo : lo + CHUNK])))
                parts.append(nll(torch, z, logdet, mean))
            return np.concatenate([np.asarray(p.double().numpy()) for p in parts]) if parts else np.zeros(0)

    def _curve(self, notes: Notes) -> Curve:
        found = self._windows(notes, 1)
        if not len(found):
            log.info("%s: nobody in %s was tracked for a whole window", self.NAME, notes.name)
        scores = self.score_windows(found.data)
        framed = self._framed(found.frame, scores, notes)
        values = cascade(framed, self.sigmas)
        return Curve(
            notes.name, notes.times, values, {"pose": values}, tuple(self._places(found, scores, notes))
        )

    def _framed(self, frame: np.ndarray, scores: np.ndarray, notes: Notes) -> np.ndarray:
        """(N,) the least likely person of each frame; between looks along straight lines, where windows are of looks."""
        framed = to_frames(frame, scores, len(notes), how="max", fill=float(self.normal[0]))
        if self.steps == "frames" or not len(notes.looked):
            return framed
        return np.interp(np.arange(len(notes)), notes.looked, framed[notes.looked])

    def _places(self, found: Windows, scores: np.ndarray, notes: Notes) -> Iterator[Place]:
        """The least likely person of each frame, with the box of the look nearest to it."""
        order = np.lexsort((-scores, found.frame))
        first = order[np.unique(found.frame[order], return_index=True)[1]]
        for i in first:
            box = Box(*(float(v) for v in notes.objects.box[found.row[i]]))
            yield Place(int(found.frame[i]), "pose", float(scores[i]), box, int(found.track[i]))

    def state(self) -> Arrays:
        return {f"flow.{n}": np.ascontiguousarray(v) for n, v in self.flow.items()} | {"normal": self.normal}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.flow = {n.removeprefix("flow."): v for n, v in arrays.items() if n.startswith("flow.")}
        self.normal = arrays["normal"]


# -- the flow ----------------------------------------------------------------------------------------------------------


def nll(torch: Any, z: Any, logdet: Any, mean: Any) -> Any:
    """(B,) −(log-determinant + log N(z; mean, I)) / (ln 2 · count): bits a number; ``z`` (B, …), ``mean`` a number or (B,)."""
    count = z[0].numel()
    away = z.flatten(1) - (mean[:, None] if hasattr(mean, "ndim") and mean.ndim else mean)
    logp = -(away.square().sum(1) + count * float(np.log(2 * np.pi))) / 2
    return -(logdet + logp) / (float(np.log(2)) * count)


def couple(x: Any, shift: Any, raw: Any) -> tuple[Any, Any]:
    """``x`` shifted, then scaled by sigmoid(raw + 2) + 1e-6, and the log scales. Torch tensors of one shape."""
    scale = (raw + 2).sigmoid() + FLOOR
    return (x + shift) * scale, scale.log()


def uncouple(x: Any, shift: Any, raw: Any) -> Any:
    """The inverse of :func:`couple`."""
    return x / ((raw + 2).sigmoid() + FLOOR) - shift


def settle(x: Any) -> tuple[Any, Any]:
    """Bias and log scale (1, C, 1, 1) that bring the channels of ``x`` (B, C, T, V) to mean 0 and unit variance."""
    bias = -x.mean((0, 2, 3), keepdim=True)
    spread = x.var((0, 2, 3), keepdim=True, correction=0).sqrt()
    return bias, -(spread + FLOOR).log()


def network(torch: Any, window: int, blocks: int = 8, hops: int = 8) -> Any:
    """The flow as a torch module: windows (B, 2, T, 18) to z of that shape and log-determinants (B,).

    The graph convolution has no residual path in the first block, as published: there, as all joints are within 8 bones of
    each other, it hears nothing but their mean.
    """
    nn = torch.nn
    mix = torch.from_numpy(poses.adjacency(JOINTS, hops=hops))
    reach = window // 2 + 1
    reach += 1 - reach % 2

    class GraphConv(nn.Module):  # type: ignore[name-defined]
        def __init__(self, residual: bool) -> None:
            super().__init__()
            self.graph = nn.Conv2d(1, 2, 1)
            self.time = nn.Sequential(
                nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, (reach, 1), padding=(reach // 2, 0)), nn.BatchNorm2d(2)
            )  # fmt: skip
            self.past = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)) if residual else None

        def forward(self, x: Any) -> Any:
            heard = self.time(self.graph(x) @ mix)
            return (heard if self.past is None else heard + self.past(x)).relu()

    class Step(nn.Module):  # type: ignore[name-defined]
        def __init__(self, residual: bool) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1, 2, 1, 1))
            self.scale = nn.Parameter(torch.zeros(1, 2, 1, 1))
            self.net = GraphConv(residual)
            self.started = False

        def forward(self, x: Any) -> tuple[Any, Any]:
            if not self.started:
                with torch.no_grad():
                    bias, scale = settle(x)
                    self.bias.copy_(bias)
                    self.scale.copy_(scale)
                self.started = True
            x = ((x + self.bias) * self.scale.exp()).flip(1)
            heard = self.net(x[:, :1])
            changed, logs = couple(x[:, 1:], heard[:, :1], heard[:, 1:])
            whole = x.shape[2] * x.shape[3] * self.scale.sum()
            return torch.cat([x[:, :1], changed], 1), whole + logs.flatten(1).sum(1)

        def back(self, z: Any) -> Any:
            """The input that gives ``z`` (with running statistics, not those of a batch)."""
            heard = self.net(z[:, :1])
            x = torch.cat([z[:, :1], uncouple(z[:, 1:], heard[:, :1], heard[:, 1:])], 1).flip(1)
            return x * (-self.scale).exp() - self.bias

    class Flow(nn.ModuleList):  # type: ignore[name-defined]
        def forward(self, x: Any) -> tuple[Any, Any]:
            total = torch.zeros(len(x), dtype=x.dtype)
            for step in self:
                x, logdet = step(x)
                total = total + logdet
            return x, total

    return Flow([Step(i > 0) for i in range(blocks)])
