"""MULDE: how unlikely an object is under densities learnt at many scales (Micorek et al., CVPR 2024; arXiv 2403.14497).

Idea. 1. Objects are told by movement, pose and a deep vector, as by AI-VAD, standardised. 2. A network f(x, σ) learns the
negative log-density of normal rows with Gaussian noise of any σ, from the noise alone: its slope at a noisy row must point
along the noise (denoising score matching). 3. A small weight on f² fixes the constant that slopes leave open. 4. A row's
values of f at 16 σ are a vector; a mixture of Gaussians of normal vectors gives its negative log-density. 5. A frame has
the highest of its objects, smoothed in time.

Needs normal clips, and torch.

Differs from the paper: the attributes are ours, see :mod:`oddwatch.detectors.video.aivad`; each has its own network, and their
scores are added on the scale of normals as there (how the paper joins them we could not verify). Layers of 128 (4096), 1500
steps of 256 rows at 1e-3 (up to 1000 epochs of 2048 at 4e-5 to 5e-4), ten to twenty seconds of processor time an attribute;
σ from 0.01 (0.001), as a network so small does not follow finer noise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Curve, InputError
from oddwatch.detectors.image.heads import arrays_of, seeded
from oddwatch.detectors.video.attributes import CUES, attribute, curve_of, gathered
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.density import LIMIT, Arrays, Mixture, thinned
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.prednet import restored
from oddwatch.scoring.relate import Scale, minmax

log = logging.getLogger(__name__)
CHUNK = 4096


@dataclass(kw_only=True, eq=False)
class MULDE(VideoDetector):
    """``cues`` as in AI-VAD. The network has layers of ``hidden``; ``noise`` is the range of σ, in deviations, looked at in
    ``looks`` places; ``components`` of the mixture (paper: 1, 3 or 5); ``beta`` weighs f². ``sigma`` smooths, in frames;
    scales end at ``percentile`` of normals.
    """

    NAME: ClassVar[str] = "mulde"
    READS: ClassVar[tuple[str, ...]] = ("objects", "motion", "people", "tokens")

    cues: tuple[str, ...] = CUES
    hidden: tuple[int, ...] = (128, 128)
    noise: tuple[float, float] = (0.01, 1.0)
    looks: int = 16
    components: int = 1
    beta: float = 0.1
    steps: int = 1500
    batch: int = 256
    lr: float = 1e-3
    percentile: float = 99.9
    sigma: float = 3.0
    densities: dict[str, ScoreMatching] = field(default_factory=dict, init=False, repr=False)
    scales: dict[str, Scale] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.cues or set(self.cues) - set(CUES):
            raise InputError("cues", f"expected some of {', '.join(CUES)}, got {self.cues}")
        self._density()

    def _density(self) -> ScoreMatching:
        return ScoreMatching(
            self.hidden, noise=self.noise, looks=self.looks, components=self.components, beta=self.beta,
            steps=self.steps, batch=self.batch, lr=self.lr, seed=self.seed,
        )  # fmt: skip

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        self.densities, self.scales = {}, {}
        for cue in self.cues:
            found = gathered([attribute(cue, notes) for notes in normal])
            if found is None:
                log.warning("%s: the notes of normal clips carry no %s, it is left out", self.NAME, cue)
                continue
            self.densities[cue] = self._density().fit(*found)
            self.scales[cue] = minmax(self.densities[cue].held_out(), self.percentile / 100)
        if not self.densities:
            raise InputError("normal", f"the notes carry none of {', '.join(self.cues)}", "watch for objects")

    def _curve(self, notes: Notes) -> Curve:
        scored = {}
        for cue, density in self.densities.items():
            if (of := attribute(cue, notes)) is None:
                log.info("%s: the notes of %s carry no %s, it is left out", self.NAME, notes.name, cue)
            else:
                scored[cue] = of, density.score(of.rows)
        return curve_of(notes, scored, self.scales, self.sigma)

    def state(self) -> Arrays:
        out: Arrays = {}
        for cue, density in self.densities.items():
            out |= {f"{cue}.{name}": np.ascontiguousarray(v) for name, v in density.state().items()}
            out[f"{cue}.scale"] = np.array([self.scales[cue].offset, self.scales[cue].unit])
        return out

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.densities, self.scales = {}, {}
        for cue in self.cues:
            if f"{cue}.scale" not in arrays:
                continue
            own = {n.removeprefix(f"{cue}."): v for n, v in arrays.items() if n.startswith(f"{cue}.")}
            offset, unit = own.pop("scale")
            self.scales[cue] = Scale(float(offset), float(unit), "of training scores")
            self.densities[cue] = self._density().restore(own)


class ScoreMatching:
    """The density: a network f(x, σ) and a mixture over its values at ``looks`` evenly spaced σ of the range ``noise``."""

    def __init__(
        self,
        hidden: tuple[int, ...] = (128, 128),
        *,
        noise: tuple[float, float] = (0.01, 1.0),
        looks: int = 16,
        components: int = 1,
        beta: float = 0.1,
        steps: int = 1500,
        batch: int = 256,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        if not 0 < noise[0] < noise[1] or min(looks, steps, batch, *hidden) < 1 or not lr > 0 or beta < 0:
            raise InputError(
                "density", "expected a rising range of noise, sizes of 1 or more and a rate above 0"
            )
        self.hidden, self.noise, self.looks, self.beta = hidden, noise, looks, beta
        self.steps, self.batch, self.lr, self.seed = steps, batch, lr, seed
        self.mixture = Mixture(components, seed=seed)
        self.mean, self.spread = np.zeros(0), np.zeros(0)
        self.weights: Arrays = {}

    def fit(self, rows: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Learn from rows (n, D). Raises InputError: none. ``groups`` change nothing here."""
        x = np.asarray(rows, np.float64)
        if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
            raise InputError("rows", f"expected (n, D) finite numbers, got shape {x.shape}")
        x = x[thinned(len(x), LIMIT, self.seed)]
        spread = x.std(0)
        self.mean, self.spread = x.mean(0), np.where(spread > 1e-9, spread, 1.0)
        with seeded(self.seed, "MULDE") as torch:
            net = network(torch, x.shape[1], self.hidden)
            data = torch.from_numpy(((x - self.mean) / self.spread).astype(np.float32))
            optimizer = torch.optim.Adam(net.parameters(), self.lr, betas=(0.5, 0.9))
            low, high = np.log(self.noise)
            for _ in range(self.steps):
                clean = data[torch.randint(len(data), (self.batch,))]
                sigma = (low + (high - low) * torch.rand(self.batch, 1)).exp()
                loss = matching(torch, net, clean, torch.randn_like(clean) * sigma, sigma, self.beta)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            self.weights = arrays_of(net)
        self.mixture.fit(self.values(x))
        return self

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(n, looks) f of rows (n, D) at each σ."""
        x = (np.asarray(rows, np.float64) - self.mean) / self.spread
        sigmas = np.linspace(*self.noise, self.looks)
        out = np.empty((len(x), self.looks))
        with seeded(self.seed, "MULDE") as torch, torch.no_grad():
            net = restored(torch, network(torch, len(self.mean), self.hidden), self.weights)
            for lo in range(0, len(x), CHUNK):
                part = torch.from_numpy(x[lo : lo + CHUNK].astype(np.float32))
                for i, sigma in enumerate(sigmas):
                    out[lo : lo + CHUNK, i] = net(part, torch.full((len(part), 1), float(sigma))).numpy()
        return out

    def score(self, rows: np.ndarray) -> np.ndarray:
        """(m,) negative log-densities of the values of f of rows (m, D)."""
        return self.mixture.score(self.values(rows))

    def held_out(self) -> np.ndarray:
        """(n,) of the fitted rows themselves."""
        return self.mixture.held_out()

    def state(self) -> Arrays:
        """Its arrays."""
        out = {f"net.{n}": v for n, v in self.weights.items()}
        out |= {f"mixture.{n}": v for n, v in self.mixture.state().items()}
        return out | {"mean": self.mean, "spread": self.spread}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of :meth:`state`."""
        self.mean, self.spread = arrays["mean"], arrays["spread"]
        self.weights = {n.removeprefix("net."): v for n, v in arrays.items() if n.startswith("net.")}
        self.mixture = Mixture.restored(
            {n.removeprefix("mixture."): v for n, v in arrays.items() if n.startswith("mixture.")}
        )
        return self


def network(torch: Any, width: int, hidden: Sequence[int]) -> Any:
    """f as a torch module: rows (B, width) and σ (B, 1) to (B,)."""
    nn = torch.nn
    layers: list[Any] = []
    for a, b in zip((width + 1, *hidden), hidden, strict=False):
        layers += [nn.Linear(a, b), nn.GELU()]
    layers.append(nn.Linear(hidden[-1], 1))

    class Energy(nn.Sequential):  # type: ignore[name-defined]
        def forward(self, x: Any, sigma: Any) -> Any:
            return super().forward(torch.cat([x, sigma], 1))[:, 0]

    return Energy(*layers)


def matching(torch: Any, f: Any, clean: Any, noise: Any, sigma: Any, beta: float) -> Any:
    """½ mean σ²‖noise/σ² − ∇f(clean + noise, σ)‖² + β/2 mean f(clean, σ)²: rows (B, D), ``sigma`` (B, 1); one number."""
    noisy = (clean + noise).requires_grad_()
    (slope,) = torch.autograd.grad(f(noisy, sigma).sum(), noisy, create_graph=True)
    wrong = (sigma.square() * (noise / sigma.square() - slope).square()).sum(1).mean() / 2
    return wrong + beta / 2 * f(clean, sigma).square().mean()
