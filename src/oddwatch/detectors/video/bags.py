"""What the detectors that learn from clips labelled as a whole share: features in, weights kept, snippets scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Curve, InputError, ModelError, Progress
from oddwatch.detectors.image.heads import Arrays, arrays_of, seeded
from oddwatch.detectors.video import mil
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.snippets import (
    Bags,
    Pooling,
    as_bags,
    checked,
    expand,
    pool,
    snippets,
    standard,
)  # fmt: skip

FAR = 6.0
"""Standardised features are cut at so many deviations: speeds have long tails."""


class LearnsFromBags:
    """Beside :class:`~oddwatch.detectors.video.base.VideoDetector` in a detector that learns from labelled bags.

    The detector has the arguments ``length``, ``parts`` and the array dictionary ``learnt``, and offers
    ``_learn(torch, features, labels, progress) -> learnt``, ``_network(torch, width)`` and ``_scores(torch, net, bag)``.
    """

    NAME: ClassVar[str]
    READS: ClassVar[tuple[str, ...]] = ("motion", "objects", "cls")
    LABELS: ClassVar[bool] = True
    seed: int
    encoder: str
    fitted: bool
    length: int
    parts: tuple[str, ...]
    learnt: Arrays

    def fit_bags(
        self,
        features: Sequence[np.ndarray],
        labels: Sequence[int],
        encoder: str = "",
        progress: Progress | None = None,
    ) -> Self:
        """Learn from features of snippets, (N, D) or (crops, N, D) a clip, and the clips' labels 0 or 1; ``encoder`` names
        what made them.

        Raises:
            InputError: labels other than 0 and 1 or of one kind, or features of several widths.
        """
        with seeded(self.seed, self.NAME) as torch:
            self.learnt = self._learn(torch, features, labels, progress)
        self.encoder, self.fitted = encoder, True
        return self

    def score_bags(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(N,) float64 scores in [0, 1] of the snippets of each clip (N, D) or (crops, N, D).

        Raises:
            InputError: not fitted yet, or features of another width.
        """
        if not self.fitted:
            raise InputError(self.NAME, "is not fitted", "call fit or fit_bags first")
        with seeded(self.seed, self.NAME) as torch, torch.no_grad():
            net = filled(torch, self._network(torch, len(self.learnt["mean"])), self.learnt)
            bags = as_bags(features)
            return [np.asarray(self._scores(torch, net, bag), np.float64) for bag in bags]

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        rows = [snippets(notes, self.length, self.parts) for notes in normal]
        self.fit_bags(rows, labels or (), self.encoder)

    def _curve(self, notes: Notes) -> Curve:
        (scores,) = self.score_bags([snippets(notes, self.length, self.parts)])
        values = expand(scores, self.length, len(notes))
        return Curve(notes.name, notes.times, values, {"learnt": values})

    def state(self) -> Arrays:
        """The fitted arrays, by name."""
        return {name: np.ascontiguousarray(value) for name, value in self.learnt.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`state`."""
        self.learnt = dict(arrays)

    def _learn(
        self, torch: Any, features: Sequence[np.ndarray], labels: Sequence[int], progress: Progress | None
    ) -> Arrays:
        raise NotImplementedError

    def _network(self, torch: Any, width: int) -> Any:
        raise NotImplementedError

    def _scores(self, torch: Any, net: Any, bag: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def scale_of(bags: Sequence[np.ndarray], standardise: bool) -> Arrays:
    """``mean`` and ``deviation`` (D,) that :func:`scaled` uses: of the rows of ``bags``, or 0 and 1."""
    width = bags[0].shape[2]
    mean, deviation = standard(bags) if standardise else (np.zeros(width), np.ones(width))
    return {"mean": mean.astype(np.float32), "deviation": deviation.astype(np.float32)}


def scaled(x: np.ndarray, learnt: Mapping[str, np.ndarray]) -> np.ndarray:
    """Features (K, N, D) at the learnt mean and deviation, float32; columns that were standardised are cut at ``FAR``.

    Raises:
        InputError: another width than was learnt, or features that are no numbers.
    """
    mean, deviation = learnt["mean"], learnt["deviation"]
    if x.shape[-1] != len(mean):
        raise InputError("features", f"are {x.shape[-1]} wide, the detector has learnt {len(mean)}")
    out = np.asarray(x, np.float32)
    if not np.isfinite(out).all():
        raise InputError("features", "expected finite numbers", "look for damaged files of features")
    if not mean.any() and (deviation == 1).all():
        return out
    return np.clip((out - mean) / deviation, -FAR, FAR)


def pooled(bag: np.ndarray, learnt: Mapping[str, np.ndarray], how: Pooling) -> np.ndarray:
    """Features (K, N, D) at the learnt scale, pooled to the learnt number of ``segments``: (K, T, D) float32."""
    return pool(scaled(bag, learnt), int(learnt["segments"][0]), how)


def prepared(
    features: Sequence[np.ndarray],
    labels: Sequence[int],
    who: str,
    rng: np.random.Generator,
    *,
    how: Pooling,
    segments: int,
    batch: int,
    held: float,
    standardise: bool,
    one_crop: bool = False,
) -> tuple[Arrays, Bags, tuple[np.ndarray, np.ndarray] | None]:
    """What training needs: the learnt scale and number of ``segments``, batches, and the held-out clips as one batch (all
    crops, normal first; None where none are held out).

    Clips are pooled to ``segments``, or to fewer where no clip has so many snippets (more would only repeat rows).

    Raises:
        InputError: see :func:`~oddwatch.detectors.video.snippets.checked` and :func:`~oddwatch.detectors.video.mil.apart`.
    """
    bags, marks = checked(features, labels, who), np.asarray(labels)
    own, out = mil.apart(labels, held, rng)
    count = min(segments, max(bag.shape[1] for bag in bags))
    learnt = scale_of([bags[i] for i in own], standardise) | {"segments": np.array([count])}

    def ready(bag: np.ndarray) -> np.ndarray:
        return pooled(bag, learnt, how)

    draws = Bags([bags[i] for i in own], marks[own], batch, ready, rng, one_crop)
    if not len(out):
        return learnt, draws, None
    out = out[np.argsort(marks[out], kind="stable")]
    return learnt, draws, (np.stack([ready(bags[i]) for i in out]), marks[out].astype(np.float32))


def net_arrays(net: Any) -> Arrays:
    """A module's weights under ``net.``"""
    return {f"net.{name}": value for name, value in arrays_of(net).items()}


def filled(torch: Any, net: Any, learnt: Mapping[str, np.ndarray]) -> Any:
    """``net`` with the weights that :func:`net_arrays` gave, ready to score.

    Raises:
        ModelError: weights are missing or of another shape.
    """
    weights = {
        n.removeprefix("net."): torch.from_numpy(v.copy()) for n, v in learnt.items() if n[:4] == "net."
    }
    wanted = {n: tuple(v.shape) for n, v in net.state_dict().items() if v.ndim}
    if wanted != {n: tuple(v.shape) for n, v in weights.items()}:
        raise ModelError("the stored weights do not fit the method's arguments")
    net.load_state_dict(weights, strict=False)  # counters of batch norms are not stored
    return net.eval()
