"""One block of self-attention and a small perceptron over a picture's tokens (DictAS, arXiv 2508.13560), in numpy and torch.

y = LN(x); z = W1·attention(y) + y; out = W3·LN(W2·z), four heads, no biases on queries, keys, values and W3; dropout 0.1
after W1 while training. Names of weights are the authors'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oddwatch.core import InputError

HEADS = 4


def attend(x: np.ndarray, head: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The attention block ``name`` of ``head`` over one picture's tokens ``x`` (T, D): (T, D) float32.

    y = LN(x); z = W1·attention(y) + y; W3·LN(W2·z), with four heads (dropout is off outside training).
    """
    get = lambda part: head[f"{name}.{part}"]  # noqa: E731
    y = _norm(x, get("norm1.weight"), get("norm1.bias"))
    q, k, v = (y @ get(f"{p}_proj.weight").T for p in "qkv")
    width = x.shape[1] // HEADS
    z = np.empty_like(y)
    for h in range(HEADS):
        part = slice(h * width, (h + 1) * width)
        near = (q[:, part] @ k[:, part].T) * width**-0.5
        near = np.exp(near - near.max(1, keepdims=True))
        z[:, part] = (near @ v[:, part]) / near.sum(1, keepdims=True)
    mlp = f"{name}.TwoLayerMLP."
    z = z @ head[mlp + "linear1.weight"].T + head[mlp + "linear1.bias"] + y
    z = z @ head[mlp + "linear2.weight"].T + head[mlp + "linear2.bias"]
    z = _norm(z, head[mlp + "norm.weight"], head[mlp + "norm.bias"])
    out: np.ndarray = z @ head[mlp + "linear3.weight"].T
    return out


def _norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    out: np.ndarray = (x - mean) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias
    return out


def shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of a block's weights for tokens of ``width``."""
    square: tuple[int, ...] = (width, width)
    row: tuple[int, ...] = (width,)
    out = {f"{p}_proj.weight": square for p in "qkv"} | {"norm1.weight": row, "norm1.bias": row}
    for linear in ("linear1", "linear2"):
        out |= {f"TwoLayerMLP.{linear}.weight": square, f"TwoLayerMLP.{linear}.bias": row}
    norm = {"TwoLayerMLP.norm.weight": row, "TwoLayerMLP.norm.bias": row}
    return out | norm | {"TwoLayerMLP.linear3.weight": square}


def block(torch: Any, width: int) -> Any:
    """The block as a torch module.

    Raises:
        InputError: ``width`` is no multiple of the four heads.
    """
    if width % HEADS:
        raise InputError("encoder", f"expected tokens of a width that {HEADS} divides, got {width}")
    nn = torch.nn

    class Perceptron(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear1, self.linear2 = nn.Linear(width, width), nn.Linear(width, width)
            self.norm, self.linear3 = nn.LayerNorm(width), nn.Linear(width, width, bias=False)
            self.drop = nn.Dropout(0.1)

        def forward(self, x: Any, y: Any) -> Any:
            return self.linear3(self.norm(self.linear2(self.drop(self.linear1(x)) + y)))

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in "qkv")
            self.TwoLayerMLP = Perceptron()

        def forward(self, x: Any) -> Any:
            y = self.norm1(x)
            q, k, v = (
                p(y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                for p in (self.q_proj, self.k_proj, self.v_proj)
            )
            z = nn.functional.scaled_dot_product_attention(q, k, v)
            return self.TwoLayerMLP(z.transpose(1, 2).flatten(2), y)

    return Block()
