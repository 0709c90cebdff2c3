"""The three models in torch, to score with and to train on: picture tokens, text tokens, unit vectors, match logits.

Sources: X-VLM (arXiv 2111.08276), X2-VLM (arXiv 2211.12402), CMP (arXiv 2411.17776) and their public code. There is
no dropout in these modules but in CMP's projections, and no stochastic depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, normalize, scaled_dot_product_attention

from oddwatch.encoders.xvlm.beit import Beit
from oddwatch.encoders.xvlm.bert import TextEncoder
from oddwatch.encoders.xvlm.keys import Sizes
from oddwatch.encoders.xvlm.swin import Swin

MATCH = 1
"""The class "picture and text belong together" among the two logits."""
HEAD_WIDTH = 64


def three_means(tokens: Tensor) -> list[Tensor]:
    """Means of three windows over (B, T, D), each (B, D); neighbouring windows may share a token."""
    return list(adaptive_avg_pool1d(tokens.transpose(1, 2), 3).unbind(-1))


def feature_head(inner: int, dim: int) -> nn.Sequential:
    """CMP's way into the shared space; it starts close to zero."""
    last = nn.Linear(inner, dim)
    nn.init.normal_(last.weight, std=1e-5)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.BatchNorm1d(inner), nn.Dropout(0.5), last)


class PoseAttention(nn.Module):
    """Queries from the pose, keys and values from the picture."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, picture: Tensor, pose: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(pose), self.k(picture), self.v(picture))
        )
        out: Tensor = self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class PoseBlock(nn.Module):
    """Adds to every picture token what the pose token of its place finds in the picture; one norm for both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(width), PoseAttention(width, max(1, width // HEAD_WIDTH))

    def forward(self, picture: Tensor, pose: Tensor) -> Tensor:
        out: Tensor = picture + self.attn(self.norm(picture), self.norm(pose))
        return out


class PoseConv(nn.Module):
    """Pose map to pose map, (B, 3, H, W), through 96 channels; never negative."""

    def __init__(self, inner: int = 96) -> None:
        super().__init__()
        self.expand, self.reduce = (
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in ((3, inner), (inner, 3))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.reduce(self.expand(x))
        return out


class Net(nn.Module):
    """One of the three, of the given sizes. Names of parameters are the authors' (without their ``bert.``)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = s = sizes
        seen = s.token_width
        self.vision_encoder: Swin | Beit = (
            Beit(s.side, s.patch, s.width, s.depths[0], s.heads[0])
            if s.family == "x2vlm"
            else Swin(s.side, s.width, s.depths, s.heads)
        )
        self.text_encoder = TextEncoder(
            s.vocabulary, s.places, s.text_width, s.text_heads, s.inner,
            s.text_layers + s.cross_layers, s.text_layers, seen,
        )  # fmt: skip
        if s.family == "cmp":
            self.vision_proj: nn.Module = feature_head(3 * seen, s.dim)
            self.text_proj: nn.Module = feature_head(4 * s.text_width, s.dim)
        else:
            self.vision_proj, self.text_proj = nn.Linear(seen, s.dim), nn.Linear(s.text_width, s.dim)
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.itm_head = nn.Sequential(
            nn.Linear(s.text_width, 2 * s.text_width),
            nn.LayerNorm(2 * s.text_width),
            nn.GELU(),
            nn.Linear(2 * s.text_width, 2),
        )
        if s.pose_block:
            self.pose_block = PoseBlock(seen)
        if s.pose_conv:
            self.pose_conv = PoseConv()

    def pose_tokens(self, pose: Tensor) -> Tensor:
        """Tokens (B, 1 + L, D) of normalised pose maps (B, 3, side, side), through the picture encoder itself."""
        out: Tensor = self.vision_encoder(self.pose_conv(pose) if self.sizes.pose_conv else pose)
        return out

    def image_tokens(self, pixels: Tensor, pose: Tensor | None = None) -> Tensor:
        """Tokens (B, 1 + L, D) of normalised pictures (B, 3, side, side), the mean of the patches first; with
        ``pose`` (tokens of :meth:`pose_tokens`) as CMP's pose-aware block leaves them."""
        tokens: Tensor = self.vision_encoder(pixels)
        if pose is not None:
            tokens = self.pose_block(tokens, pose)
        return tokens

    def image_vectors(self, tokens: Tensor) -> Tensor:
        """Unit vectors (B, dim)."""
        whole = torch.cat(three_means(tokens[:, 1:]), 1) if self.sizes.family == "cmp" else tokens[:, 0]
        return normalize(self.vision_proj(whole), dim=-1)

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, T, W) of the text alone."""
        out: Tensor = self.text_encoder(ids, mask)
        return out

    def text_vectors(self, tokens: Tensor) -> Tensor:
        """Unit vectors (B, dim). CMP pools over all places, padding included, as its public code does."""
        parts: Sequence[Tensor] = [tokens[:, 0]]
        if self.sizes.family == "cmp":
            parts = [*parts, *three_means(tokens[:, 1:])]
        return normalize(self.text_proj(torch.cat(list(parts), 1)), dim=-1)

    def match(self, text: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        """Logits (B, 2) of "no match" and "match" for texts (B, T, W) beside pictures (B, L, D)."""
        out: Tensor = self.itm_head(self.text_encoder.fuse(text, mask, image)[:, 0])
        return out
