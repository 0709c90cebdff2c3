"""The small cross-encoder in torch, for training: the same computation and names as ``search.cross``."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from oddwatch.core import InputError, require
from oddwatch.describe.atoms import ATOMS, members
from oddwatch.search.cross import SEEN_GROUPS

torch: Any = require("torch", for_="training the cross-encoder", extra="torch")
nn: Any = torch.nn
F: Any = torch.nn.functional
Tensor: TypeAlias = Any

TEXT, PARTS = 384, 9
"""Width of the frozen tokens, and how many of them a gallery keeps of a person."""


class Attention(nn.Module):
    """Multi-head attention with biases; ``keep`` (B, M) bool is False where a token is padding. With ``product`` the output
    also sees what was asked times what was found, which is how a word learns early whether it was answered."""

    def __init__(self, dim: int, heads: int, product: bool = False) -> None:
        super().__init__()
        self.heads, self.product = heads, product
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.o = nn.Linear(dim * (1 + product), dim)

    def forward(self, asks: Tensor, told: Tensor, keep: Tensor | None = None) -> Tensor:
        q, k, v = (self._split(f(x)) for f, x in ((self.q, asks), (self.k, told), (self.v, told)))
        seen = None if keep is None else keep[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        return self.o(torch.cat([mixed, asks * mixed], -1) if self.product else mixed)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Self-attention over the sentence, cross-attention to the looks, feed-forward; norms first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.ffn_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.self_attention, self.cross_attention = Attention(dim, heads), Attention(dim, heads, True)
        self.ffn_in, self.ffn_out = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def read(self, x: Tensor, keep: Tensor) -> Tensor:
        """The half that does not see the looks, so that it is computed once a sentence."""
        n = self.self_norm(x)
        return x + self.self_attention(n, n, keep)

    def first(self, x: Tensor, keep: Tensor) -> Tensor:
        """As :meth:`read`, for [CLS] alone."""
        n = self.self_norm(x)
        return x[:, :1] + self.self_attention(n[:, :1], n, keep)

    def look(self, x: Tensor, seen: Tensor, drop: float) -> Tensor:
        """Cross-attention and feed-forward."""
        x = x + F.dropout(self.cross_attention(self.cross_norm(x), seen), drop, self.training)
        h = F.gelu(self.ffn_in(self.ffn_norm(x)), approximate="tanh")
        return x + F.dropout(self.ffn_out(h), drop, self.training)


class CrossNet(nn.Module):
    """Text (T, 384) tokens against looks; ``words`` is the vocabulary of the cloze head (masked language modelling).

    ``pose`` and ``facts`` switch CMP's pose-aware block and the fact tokens off for ablations. ``parts_drop`` of the numbers in
    part tokens and ``facts_drop`` of the groups of facts are hidden in training, so that the network leans on neither alone.
    """

    def __init__(
        self,
        geometry: np.ndarray,
        *,
        dim: int = 128,
        heads: int = 4,
        layers: int = 2,
        pose: bool = True,
        facts: bool = True,
        words: int = 0,
        drop: float = 0.1,
        parts_drop: float = 0.0,
        facts_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise InputError("heads", f"expected a divisor of {dim}, got {heads}")
        self.drop, self.parts_drop, self.facts_drop = drop, parts_drop, facts_drop
        self.facts, self.pose = facts, pose
        self.text, self.text_norm, self.weight = nn.Linear(TEXT, dim), nn.LayerNorm(dim), nn.Linear(dim, 1)
        self.parts, self.look_norm = nn.Linear(TEXT, dim), nn.LayerNorm(dim)
        self.align = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.align.weight)
        self.place = nn.Parameter(torch.randn(PARTS, dim) * 0.02)
        if pose:
            spread = geometry.std(axis=0)
            self.register_buffer("geometry_mean", torch.from_numpy(geometry.mean(axis=0)).float())
            self.register_buffer("geometry_dev", torch.from_numpy(np.where(spread < 1e-5, 1, spread)).float())
            self.pose_in, self.pose_out = (
                nn.Linear(geometry.shape[1], dim),
                nn.Linear(dim, PARTS * dim),
            )
            self.pose_norm, self.pose_attention = nn.LayerNorm(dim), Attention(dim, heads)
        if facts:
            self.facts_atom = nn.Parameter(torch.randn(len(ATOMS), dim) * 0.1)
            self.facts_group = nn.Parameter(torch.randn(len(SEEN_GROUPS), dim) * 0.02)
            self.facts_known = nn.Parameter(torch.randn(len(SEEN_GROUPS), dim) * 0.02)
            belongs = np.zeros((len(SEEN_GROUPS), len(ATOMS)), np.float32)
            for row, group in zip(belongs, SEEN_GROUPS, strict=True):
                row[members(group)] = 1
            self.register_buffer("belongs", torch.from_numpy(belongs), persistent=False)
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(layers))
        self.itm_norm, self.itm_in, self.itm_out = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 2 * dim),
            nn.Linear(2 * dim, 2),
        )
        if words:
            self.cloze_norm, self.cloze_out = nn.LayerNorm(dim), nn.Linear(dim, words)
        self.log_temperature = nn.Parameter(torch.tensor(float(np.log(0.07))))
        self.itm_near, self.itm_prior = nn.Parameter(torch.tensor(5.0)), nn.Parameter(torch.tensor(4.0))

    @property
    def temperature(self) -> Tensor:
        """Learnable, held within 0.01–0.5 (0.07 at the start)."""
        return self.log_temperature.exp().clamp(0.01, 0.5)

    def keep_words(self, tokens: np.ndarray) -> None:
        """Fix the sentence's projection as the principal components of frozen ``tokens`` (K, 384): words that were never
        learnt from stay beside those they are like, which a learnt projection of a few hundred words would not do."""
        mean = tokens.mean(axis=0)
        _, spread, axes = np.linalg.svd(tokens - mean, full_matrices=False)
        dim = self.text.out_features
        weight = axes[:dim] / (spread[:dim].mean() / np.sqrt(len(tokens)))
        with torch.no_grad():
            self.text.weight.copy_(torch.from_numpy(weight))
            self.text.bias.copy_(torch.from_numpy(-weight @ mean))
        self.text.requires_grad_(False)

    def name_facts(self, words: np.ndarray) -> None:
        """Start every atom's vector where the sentence's words for it are: ``words`` (A, 384) frozen tokens of its name."""
        if self.facts:
            with torch.no_grad():
                named = torch.from_numpy(words - words.mean(axis=0)).float() @ self.text.weight.T
                self.facts_atom.copy_(0.5 * named / named.norm(dim=1, keepdim=True).clamp(min=1e-6))

    def encode_text(self, tokens: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, d) states, (B, T, d) unit vectors for the contrastive gate, and (B, T) how much each word counts in it (adds up
        to 1) of frozen tokens (B, T, 384), ``keep`` (B, T) bool."""
        x = self.text_norm(self.text(tokens))
        counts = self.weight(x)[..., 0].masked_fill(~keep, float("-inf")).softmax(1)
        return x, F.normalize(x, dim=-1), counts

    def encode_looks(
        self, tokens: Tensor, geometry: Tensor, evidence: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, M, d) tokens, and as many unit vectors for the contrastive gate: part tokens (B, 9, 384) of unit length, pose numbers (B, G),
        evidence and whether it is known (B, A)."""
        parts = self.parts(F.dropout(tokens, self.parts_drop, self.training)) + self.place
        if self.pose:
            z = ((geometry - self.geometry_mean) / self.geometry_dev).clamp(-6, 6)
            asks = self.pose_out(F.gelu(self.pose_in(z), approximate="tanh")).unflatten(-1, (PARTS, -1))
            parts = parts + self.pose_attention(self.pose_norm(asks), self.pose_norm(parts))
        if self.facts:
            if self.training and self.facts_drop:
                kept = torch.rand(len(known), len(SEEN_GROUPS)) >= self.facts_drop
                kept = kept.to(known) @ self.belongs
                evidence, known = evidence * kept, known * kept
            rows = torch.einsum("ba,ga,ad->bgd", evidence, self.belongs, self.facts_atom) + self.facts_group
            any_known = (torch.einsum("ba,ga->bg", known, self.belongs) > 0).float()
            parts = torch.cat([parts, rows + any_known[..., None] * self.facts_known], dim=1)
        y = self.look_norm(parts)
        return y, F.normalize(self.align(y), dim=-1)

    def near(self, words: Tensor, counts: Tensor, looks: Tensor) -> Tensor:
        """(B, Q) token-wise similarity (FILIP, arXiv 2111.07783) of B looks (B, M, d) with Q sentences (Q, T, d): every word's
        best answer, weighted by how much the word counts."""
        best = torch.einsum("qtd,bmd->bqtm", words, looks).amax(-1)
        return torch.einsum("bqt,qt->bq", best, counts)

    def read(self, x: Tensor, keep: Tensor) -> Tensor:
        """The first layer's look at the sentence itself."""
        return self.layers[0].read(x, keep)

    def match(self, read: Tensor, keep: Tensor, seen: Tensor, near: Tensor, prior: Tensor) -> Tensor:
        """(P, 2) logits, no match and match, of P pairs: first-layer states (P, T, d), looks (P, M, d), how ``near`` (P,) the
        two are, and what the slots say (P,): the head starts from both and learns what is left."""
        x = read
        for i, layer in enumerate(self.layers):
            if i == len(self.layers) - 1:
                x = layer.first(x, keep) if i else x[:, :1]
            elif i:
                x = layer.read(x, keep)
            x = layer.look(x, seen, self.drop)
        h = F.gelu(self.itm_in(self.itm_norm(x[:, 0])), approximate="tanh")
        logits = self.itm_out(h)
        start = self.itm_near * near + (self.itm_prior * prior if self.facts else 0)
        return logits + torch.stack([torch.zeros_like(near), start], dim=-1)

    def fill(self, read: Tensor, keep: Tensor, seen: Tensor, blanks: Tensor) -> Tensor:
        """(P, K, words) logits of the words hidden at token places ``blanks`` (P, K)."""
        x = read
        for i, layer in enumerate(self.layers):
            x = layer.read(x, keep) if i else x
            x = layer.look(x, seen, self.drop)
        at = blanks[..., None].expand(-1, -1, x.shape[-1])
        return self.cloze_out(self.cloze_norm(x.gather(1, at)))


def arrays_of(net: CrossNet) -> dict[str, Any]:
    """The network's parameters as numpy arrays by name, without what only training needs."""
    state = net.state_dict()
    return {k: v.detach().cpu().numpy() for k, v in state.items() if k != "log_temperature"}
