"""BERT (Devlin et al., 2019) cut in two as in ALBEF and X-VLM: the lower layers read the text alone, the upper ones
also look at the picture's tokens. Attribute names are those of the published checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

EPS = 1e-12


class Heads(nn.Module):
    """Queries from the text; keys and values from the text or the picture."""

    def __init__(self, width: int, heads: int, seen: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (
            nn.Linear(width, width),
            nn.Linear(seen, width),
            nn.Linear(seen, width),
        )

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(seen), self.value(seen))
        )
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).flatten(2)


class Residual(nn.Module):
    """A linear layer, added to what was there, normalised."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inner, width), nn.LayerNorm(width, EPS)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dense(x) + before)
        return out


class Attention(nn.Module):
    """Heads and residual."""

    def __init__(self, width: int, heads: int, seen: int) -> None:
        super().__init__()
        self.self, self.output = Heads(width, heads, seen), Residual(width, width)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None) -> Tensor:
        out: Tensor = self.output(self.self(x, seen, mask), x)
        return out


class Intermediate(nn.Module):
    """The wide half of the two-layer network."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return gelu(self.dense(x))


class Layer(nn.Module):
    """One BERT layer; with ``seen`` (the width of picture tokens) it attends to these after the text."""

    def __init__(self, width: int, heads: int, inner: int, seen: int | None) -> None:
        super().__init__()
        self.attention = Attention(width, heads, width)
        if seen is not None:
            self.crossattention = Attention(width, heads, seen)
        self.intermediate, self.output = Intermediate(width, inner), Residual(inner, width)

    def forward(self, x: Tensor, mask: Tensor, picture: Tensor | None = None) -> Tensor:
        x = self.attention(x, x, mask)
        if picture is not None:
            x = self.crossattention(x, picture, None)
        out: Tensor = self.output(self.intermediate(x), x)
        return out


class Embeddings(nn.Module):
    """Words, places and the (only) first segment."""

    def __init__(self, vocabulary: int, places: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(places, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, EPS)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.position_embeddings.weight[: ids.shape[1]]
        out: Tensor = self.LayerNorm(
            self.word_embeddings(ids) + places + self.token_type_embeddings.weight[0]
        )
        return out


class Layers(nn.Module):
    """The stack; the layers from ``cross`` on look at the picture."""

    def __init__(self, width: int, heads: int, inner: int, depth: int, cross: int, seen: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            Layer(width, heads, inner, seen if i >= cross else None) for i in range(depth)
        )


class TextEncoder(nn.Module):
    """The two halves. Masks are (B, T), 1 or True where a token counts."""

    def __init__(
        self,
        vocabulary: int,
        places: int,
        width: int,
        heads: int,
        inner: int,
        depth: int,
        cross: int,
        seen: int,
    ) -> None:
        super().__init__()
        self.cross = cross
        self.embeddings = Embeddings(vocabulary, places, width)
        self.encoder = Layers(width, heads, inner, depth, cross, seen)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, T, width) of the text alone."""
        x, keep = self.embeddings(ids), mask.to(torch.bool)[:, None, None]
        for layer in self.encoder.layer[: self.cross]:
            x = layer(x, keep)
        return x

    def fuse(self, text: Tensor, mask: Tensor, picture: Tensor) -> Tensor:
        """Tokens (B, T, width) of the text, having seen ``picture`` (B, L, seen)."""
        x, keep = text, mask.to(torch.bool)[:, None, None]
        for layer in self.encoder.layer[self.cross :]:
            x = layer(x, keep, picture)
        return x
