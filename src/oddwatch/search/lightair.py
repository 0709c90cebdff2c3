"""LightAIR's action and appearance head (ACM MM 2026, arXiv 2608.09152; search §7.4).

A picture's vector is taken apart: a small network names the few likeliest actions of a frozen codebook (action words
through the text tower), their mixture is the action part, what is orthogonal to it the appearance part. The surer the
action (low entropy), the less the appearance part may bend it in training. A gate weighs both parts; their sum is the
vector that is searched, at no cost beside the dual encoder's.

Needs torch; a dual encoder's unit vectors of pictures and of the action words; to train, sentences and pictures
(:func:`action_alignment`, :func:`lightair_loss`). The paper's base is X²-VLM fine-tuned with it; here any vectors
will do. Differs from the published code: the projection is exact (no 1e-6 in its denominator).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from oddwatch.core import InputError, require

torch: Any = require("torch", for_="LightAIR", extra="torch")
unit: Any = torch.nn.functional.normalize
Module: Any = torch.nn.Module
Tensor: TypeAlias = Any


def top_actions(logits: Tensor, k: int = 3, temperature: float = 0.1) -> tuple[Tensor, Tensor]:
    """Softmax over the ``k`` largest of ``logits`` (B, K): probabilities (B, K), 0 elsewhere, and their entropy (B,)."""
    best, where = logits.topk(k, dim=-1)
    p = (best / temperature).softmax(-1)
    # A probability that has run out of digits would have an infinite slope.
    entropy = -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(-1)
    return torch.zeros_like(logits).scatter(-1, where, p), entropy


def certainty(entropy: Tensor, tau: float = 1.0) -> Tensor:
    """ω = exp(−entropy / τ) within (0, 1]; 1 where one action has all the probability."""
    return (-entropy / tau).exp()


def residual(v: Tensor, action: Tensor, omega: Tensor) -> Tensor:
    """What of ``v`` (B, D) is orthogonal to the unit vectors ``action`` (B, D), not yet of unit length.

    The value does not depend on ``omega`` (B,); the gradient through the projection is scaled by 1 − ω.
    """
    projection = (v * action).sum(-1, keepdim=True) * action
    share = omega[:, None]
    return v - (share * projection.detach() + (1 - share) * projection)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """``vector``, ``action``, ``appearance`` (B, D) unit vectors; ``probabilities`` (B, K) of the actions; ``certainty``
    (B,) within (0, 1]."""

    vector: Tensor
    action: Tensor
    appearance: Tensor
    probabilities: Tensor
    certainty: Tensor


class ActionAppearance(Module):
    """The head: unit picture vectors (B, D) to :class:`Parts`.

    ``codebook`` (K, D) are the text vectors of K action words (the paper: 875); it is kept with the weights and
    never trained. ``k`` actions are mixed at ``temperature``; ``tau`` scales the entropy.

    Raises:
        InputError: the codebook is no matrix, or ``k`` or a temperature does not fit.
    """

    def __init__(
        self,
        codebook: np.ndarray | Tensor,
        *,
        k: int = 3,
        temperature: float = 0.1,
        tau: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        words = torch.as_tensor(codebook, dtype=torch.float32).detach().clone()
        if words.dim() != 2 or not 1 <= k <= len(words):
            raise InputError(
                "codebook", f"expected (K, D) with at least k = {k} words, got {tuple(words.shape)}"
            )
        if temperature <= 0 or tau <= 0:
            raise InputError("temperature", f"expected numbers above 0, got {temperature} and tau {tau}")
        self.k, self.temperature, self.tau = k, temperature, tau
        self.register_buffer("codebook", unit(words, dim=-1))
        count, dim = words.shape
        nn = torch.nn
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.mapper = nn.Sequential(
                nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, count)
            )
            self.gate = nn.Sequential(
                nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 2 * dim), nn.Sigmoid()
            )

    def forward(self, vectors: Tensor) -> Parts:
        """The parts of picture vectors (B, D), which are brought to unit length first."""
        v = unit(vectors, dim=-1)
        p, entropy = top_actions(self.mapper(v), self.k, self.temperature)
        omega = certainty(entropy, self.tau)
        action = unit(p @ self.codebook, dim=-1)
        appearance = unit(residual(v, action, omega), dim=-1)
        of_action, of_appearance = self.gate(torch.cat([action, appearance], dim=-1)).chunk(2, dim=-1)
        vector = unit(of_action * action + of_appearance * appearance, dim=-1)
        return Parts(vector, action, appearance, p, omega)

    def encode(self, vectors: np.ndarray, batch: int = 4096) -> np.ndarray:
        """Searchable unit vectors (N, D) float32 of a dual encoder's picture vectors (N, D); texts keep their own."""
        found = [parts.vector.cpu().numpy() for parts in self._parts(vectors, batch)]
        return np.concatenate(found) if found else np.empty((0, self.codebook.shape[1]), np.float32)

    def actions(
        self, vectors: np.ndarray, words: Sequence[str], batch: int = 4096
    ) -> list[list[tuple[str, float]]]:
        """The ``k`` likeliest of the codebook's ``words`` for each vector with their shares, best first: why it was found.

        Raises:
            InputError: not one word per row of the codebook.
        """
        if len(words) != len(self.codebook):
            raise InputError(
                "words", f"expected {len(self.codebook)}, one per row of the codebook, got {len(words)}"
            )
        told = []
        for parts in self._parts(vectors, batch):
            share, where = parts.probabilities.topk(self.k, dim=-1)
            told += [
                [(words[i], float(s)) for s, i in zip(row, at, strict=True)]
                for row, at in zip(share.tolist(), where.tolist(), strict=True)
            ]
        return told

    def _parts(self, vectors: np.ndarray, batch: int) -> Any:
        rows = torch.as_tensor(np.asarray(vectors, np.float32), device=self.codebook.device)
        for start in range(0, len(rows), batch):
            with torch.no_grad():
                yield self(rows[start : start + batch])


def action_alignment(action: Tensor, text: Tensor, told: Tensor | None = None) -> Tensor:
    """Mean of 1 − cos(action part, sentence vector), no gradient to the sentence; (B, D) both.

    ``told`` (B,) bool limits it to pairs whose action is in the codebook; 0 where there is none.
    """
    gap = 1 - torch.nn.functional.cosine_similarity(action, text.detach(), dim=-1)
    if told is None:
        return gap.mean()
    return (gap * told).sum() / told.sum().clamp_min(1)


def lightair_loss(
    itc: Tensor, itm: Tensor, alignment: Tensor, *, align_weight: float = 1.0, itm_weight: float = 4.0
) -> Tensor:
    """ITC + 1.0 × alignment + 4.0 × ITM, each with its augmented and hard-pair parts already in it."""
    return itc + align_weight * alignment + itm_weight * itm
