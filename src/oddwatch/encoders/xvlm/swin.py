"""Swin Transformer (Liu et al., ICCV 2021) as X-VLM and CMP use it: patch tokens with their mean in front.

Attribute names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from oddwatch.encoders.xvlm.positions import relative_index

PATCH = 4
APART = -100.0
"""Added to the attention between patches that the cyclic shift brought together; the authors' value."""


class Mlp(nn.Module):
    """Two layers with an exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(gelu(self.fc1(x)))
        return out


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a learnt bias for every relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.index: Tensor
        self.register_buffer("index", torch.from_numpy(relative_index(window)), persistent=False)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """``x`` (B, windows, patches, width); ``apart`` (windows, patches, patches) is added to the logits."""
        batch, windows, patches, width = x.shape
        qkv = self.qkv(x).reshape(batch, windows, patches, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)
        if apart is not None:
            bias = bias + apart[:, None]
        out = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        mixed: Tensor = self.proj(out.transpose(2, 3).reshape(batch, windows, patches, width))
        return mixed


class Block(nn.Module):
    """Attention in windows of a grid, shifted by half a window or not, then the two-layer network."""

    def __init__(self, width: int, heads: int, grid: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.grid, self.window = grid, window
        self.shift = window // 2 if shifted and grid > window else 0
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = WindowAttention(width, heads, window), Mlp(width)
        self.apart: Tensor | None
        self.register_buffer("apart", self._apart() if self.shift else None, persistent=False)

    def _apart(self) -> Tensor:
        stripes = torch.zeros(self.grid, dtype=torch.long, device="cpu")
        stripes[-self.window : -self.shift], stripes[-self.shift :] = 1, 2
        area = self._windows((3 * stripes[:, None] + stripes)[None, :, :, None])[0, ..., 0]
        return (area[:, None] != area[:, :, None]).float() * APART

    def _windows(self, x: Tensor) -> Tensor:
        batch, side, _, width = x.shape
        n, w = side // self.window, self.window
        return x.reshape(batch, n, w, n, w, width).transpose(2, 3).reshape(batch, n * n, w * w, width)

    def _grid(self, x: Tensor) -> Tensor:
        batch, _, _, width = x.shape
        n, w = self.grid // self.window, self.window
        return x.reshape(batch, n, n, w, w, width).transpose(2, 3).reshape(batch, n * w, n * w, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = self._grid(self.attn(self._windows(y), self.apart))
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Merging(nn.Module):
    """Four neighbouring patches into one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        out: Tensor = self.reduction(self.norm(torch.cat(four, -1)))
        return out


class Stage(nn.Module):
    """The blocks of one grid size; all but the last stage end in a merging."""

    def __init__(self, width: int, depth: int, heads: int, grid: int, window: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, grid, window, i % 2 == 1) for i in range(depth))
        self.downsample = None if last else Merging(width)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Patches(nn.Module):
    """The picture in 4 × 4 patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, width, PATCH, PATCH), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class Swin(nn.Module):
    """(B, 3, side, side) to (B, 1 + patches, width of the last stage): the mean of the patch tokens, then these.

    The window is the last stage's grid, as in all published settings (224: 7, 384: 12, 480: 15).
    """

    def __init__(self, side: int, width: int, depths: Sequence[int], heads: Sequence[int]) -> None:
        super().__init__()
        window = side // (PATCH << (len(depths) - 1))
        self.patch_embed = Patches(width)
        self.layers = nn.ModuleList(
            Stage(width << i, depth, heads[i], side // (PATCH << i), window, i == len(depths) - 1)
            for i, depth in enumerate(depths)
        )
        self.norm = nn.LayerNorm(width << (len(depths) - 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        x = self.norm(x).flatten(1, 2)
        return torch.cat([x.mean(1, keepdim=True), x], 1)
