"""FFP: how badly the next frame is predicted (Liu, Luo, Lian, Gao, CVPR 2018; arXiv 1712.09867).

Idea. 1. A U-Net reads four frames and draws the fifth. 2. It learns from normal clips only: equal brightness, equal edges,
optionally equal optical flow and fooling an adversary that tells true frames from drawn ones. 3. Where something moves or looks
as nothing did in training, the drawn frame is wrong. 4. A frame's score is the peak signal-to-noise ratio of the drawn to the
true frame, negated. 5. Each clip's scores are scaled to 0–1 by their own lowest and highest.

Needs normal clips with small grey frames in their notes ("small"), and torch. No pretrained model.

Differs from the paper: frames are small and grey (``small`` of the watcher: 64 pixels high; paper: 256 × 256 in colour), the
network has 8 channels at full size (64), so that it trains in half a minute; ``base=64, levels=4`` is the published one, of 7.7 million
numbers in colour. Adam at 1e-3 with batches of 8 (paper: 2e-4, 4), ``steps`` in all. Flow and adversary are off; the flow
is one step of Lucas and Kanade's instead of FlowNet2. Scores are decibels below the median of normal frames, whatever
the clip; ``per_video`` scales as published, which looks at the whole test clip and forces a 0 and a 1 into every normal one.
The first frames, which have none before them to be drawn from (paper: left out of the measure), have the score of a median
frame, 0. Smoothed by a Gaussian of ``sigma`` frames (paper: not). The place is the window of a sixth of the frame's
height that is drawn worst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from scipy.ndimage import uniform_filter

from oddwatch.core import Box, Curve, InputError, Place
from oddwatch.detectors.image.heads import arrays_of, seeded
from oddwatch.detectors.video import prednet
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.scoring.curves import gaussian
from oddwatch.scoring.difference import Rule, anomaly
from oddwatch.scoring.relate import per_video_minmax

Arrays = dict[str, np.ndarray]
CHUNK = 32
LOOKED_BACK = 256
"""So many training frames are enough for their median score."""


@dataclass(kw_only=True, eq=False)
class FramePrediction(VideoDetector):
    """``context`` frames, ``spacing`` frames apart, predict the next one. The network has ``base`` channels at full size and
    ``levels`` of them. ``gradient``, ``flow`` and ``fool`` weigh the losses beside the squared error (paper: 1, 2, 0.05; 0:
    off). ``rule`` makes a number of a frame's error, see :mod:`oddwatch.scoring.difference`.
    """

    NAME: ClassVar[str] = "ffp"
    READS: ClassVar[tuple[str, ...]] = ("small",)

    context: int = 4
    spacing: int = 1
    base: int = 8
    levels: int = 4
    steps: int = 500
    batch: int = 8
    lr: float = 1e-3
    gradient: float = 1.0
    flow: float = 0.0
    fool: float = 0.0
    rule: Rule = "psnr"
    sigma: float = 2.0
    per_video: bool = False
    net: Arrays = field(default_factory=dict, init=False, repr=False)
    usual: float = field(default=0.0, init=False, repr=False)
    """Median of the rule over normal frames."""

    def __post_init__(self) -> None:
        if min(self.context, self.spacing, self.steps, self.batch) < 1 or not self.lr > 0:
            raise InputError("context, spacing, steps, batch, lr", "expected 1 or more and a rate above 0")
        if min(self.gradient, self.flow, self.fool, self.sigma) < 0:
            raise InputError("gradient, flow, fool, sigma", "expected 0 or more")
        zeros = np.zeros((1, 1, 1))
        anomaly(zeros, zeros, self.rule)  # an unknown rule is told before the training

    def network(self, torch: Any) -> Any:
        """The untrained network, grey."""
        return prednet.unet(torch, frames=self.context, base=self.base, levels=self.levels)

    def _terms(self, torch: Any) -> dict[prednet.Term, float]:
        terms: dict[prednet.Term, float] = {prednet.intensity: 1.0, prednet.gradient: self.gradient}
        if self.flow:
            terms[prednet.flow_term(torch)] = self.flow
        return {term: weight for term, weight in terms.items() if weight}

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        reach = Reach(self.context, self.spacing)
        clips = [notes.small for notes in normal if reach.count(len(notes.small))]
        if not clips:
            found = f"no clip has {reach.length} small frames or more"
            raise InputError("normal", found, 'watch with "small" among what is noted')
        rng = np.random.default_rng(self.seed)
        with seeded(self.seed, "FFP") as torch:
            net = self.network(torch)
            critic = prednet.patch_critic(torch, channels=1, widths=(16, 32, 64, 64)) if self.fool else None
            prednet.train(
                torch, net, reach.draws(torch, clips, self.batch, rng), self._terms(torch),
                steps=self.steps, lr=self.lr, critic=critic, fool=self.fool, critic_lr=self.lr / 10,
            )  # fmt: skip
            self.net = arrays_of(net)
            net.eval()
            some = reach.draws(torch, clips, self.batch, rng)
            errors: list[np.ndarray] = []
            while sum(map(len, errors)) < LOOKED_BACK:
                clip, true = some()
                errors.append(self._errors(drawn(torch, net, clip)[:, 0], grey(true[:, 0])))
        self.usual = float(np.median(np.concatenate(errors)))

    def _errors(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        return anomaly(predicted, true, self.rule, peak=2.0)

    def _curve(self, notes: Notes) -> Curve:
        reach = Reach(self.context, self.spacing)
        values = np.zeros(len(notes))
        places: list[Place] = []
        if reach.count(len(notes.small)):
            with seeded(self.seed, "FFP") as torch:
                net = prednet.restored(torch, self.network(torch), self.net)
                for at, clip, true in reach.all(torch, notes.small):
                    predicted, wanted = drawn(torch, net, clip)[:, 0], grey(true[:, 0])
                    values[at] = self._errors(predicted, wanted) - self.usual
                    places += worst(at, values[at], np.square(predicted - wanted), notes.size)
        values = gaussian(values, self.sigma)
        if self.per_video:
            values = per_video_minmax(values)
        return Curve(notes.name, notes.times, values, {"prediction": values}, tuple(places))

    def state(self) -> Arrays:
        arrays = {f"net.{n}": np.ascontiguousarray(v) for n, v in self.net.items()}
        return arrays | {"usual": np.array([self.usual])}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.net = {n.removeprefix("net."): v for n, v in arrays.items() if n.startswith("net.")}
        self.usual = float(arrays["usual"][0])


# -- clips in and out of a network, for every method that predicts frames ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """Windows of ``context`` frames ``spacing`` apart, and the frames so many spacings ``ahead`` of the last of them."""

    context: int = 4
    spacing: int = 1
    ahead: tuple[int, ...] = (1,)

    @property
    def length(self) -> int:
        """Frames from the first of a window to the farthest one ahead, both counted."""
        return (self.context - 1 + max(self.ahead)) * self.spacing + 1

    def count(self, frames: int) -> int:
        """Windows in a clip of so many frames."""
        return max(0, frames - self.length + 1)

    @property
    def offsets(self) -> np.ndarray:
        """(context + heads,) frames of a window and ahead of it, from its first."""
        inside = np.arange(self.context)
        return np.concatenate([inside, self.context - 1 + np.array(self.ahead)]) * self.spacing

    def cut(self, torch: Any, clip: np.ndarray, start: np.ndarray) -> tuple[Any, Any]:
        """Clips (B, context, 1, h, w) and true frames (B, heads, 1, h, w) in [−1, 1] that begin at ``start`` (B,)."""
        taken = clip[start[:, None] + self.offsets].astype(np.float32) / 127.5 - 1
        both = torch.from_numpy(taken[:, :, None])
        return both[:, : self.context], both[:, self.context :]

    def draws(
        self, torch: Any, clips: Sequence[np.ndarray], batch: int, rng: np.random.Generator
    ) -> Callable[[], tuple[Any, Any]]:
        """A function that gives ``batch`` windows drawn from clips (N, h, w) uint8; a batch is of frames of one size."""
        sizes: dict[tuple[int, ...], list[np.ndarray]] = {}
        for clip in clips:
            sizes.setdefault(clip.shape[1:], []).append(clip)
        groups = list(sizes.values())
        counts = [np.array([self.count(len(c)) for c in group], np.float64) for group in groups]
        total = np.array([c.sum() for c in counts])

        def draw() -> tuple[Any, Any]:
            g = int(rng.choice(len(groups), p=total / total.sum()))
            chosen = rng.choice(len(groups[g]), batch, p=counts[g] / total[g])
            parts = [
                self.cut(torch, groups[g][i], rng.integers(self.count(len(groups[g][i])), size=1))
                for i in chosen
            ]
            return torch.cat([clip for clip, _ in parts]), torch.cat([true for _, true in parts])

        return draw

    def all(self, torch: Any, clip: np.ndarray) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """All windows of a clip (N, h, w) uint8 in order: the frames (B,) that the first head predicts, clips, true frames."""
        start = np.arange(self.count(len(clip)))
        for lo in range(0, len(start), CHUNK):
            part = start[lo : lo + CHUNK]
            yield part + self.offsets[self.context], *self.cut(torch, clip, part)


def grey(frames: Any) -> np.ndarray:
    """(B, h, w) of torch frames (B, 1, h, w)."""
    out: np.ndarray = frames[:, 0].numpy()
    return out


def drawn(torch: Any, net: Any, clip: Any) -> np.ndarray:
    """(B, heads, h, w) what ``net`` predicts from clips (B, T, 1, h, w)."""
    with torch.no_grad():
        out: np.ndarray = net(clip)[:, :, 0].numpy()
    return out


def worst(at: np.ndarray, values: np.ndarray, error: np.ndarray, size: tuple[int, int]) -> Iterator[Place]:
    """The window of each error map (B, h, w) with the largest mean, a sixth of its height wide, in pixels of frames ``size``."""
    h, w = error.shape[1:]
    side = min(max(3, h // 6), h, w)
    mean = uniform_filter(error, (0, side, side), mode="nearest")
    mean = mean[:, side // 2 : h - (side - 1) // 2, side // 2 : w - (side - 1) // 2]
    for i in range(len(at)):
        y, x = np.unravel_index(int(mean[i].argmax()), mean[i].shape)
        sy, sx = size[0] / h, size[1] / w
        box = Box(float(x * sx), float(y * sy), float((x + side) * sx), float((y + side) * sy))
        yield Place(int(at[i]), "prediction", float(values[i]), box)
