"""The head of NAGL and its training (arXiv 2510.00495): numpy to look, torch, imported inside, to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oddwatch.core import ImageEncoder, InputError, ModelError, Progress
from oddwatch.detectors.image import heads
from oddwatch.detectors.image.losses import dice, focal
from oddwatch.detectors.image.references import References
from oddwatch.detectors.image.tokens import unit

Arrays = heads.Arrays
HEADS = 4
BLOCK = 4096


# -- comparing -----------------------------------------------------------------------------------------------------


def rows_of(layers: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """The mean of the layers ``names``, (N, T, D) float32; blocks of the residual stream are normed token by token."""
    x = np.mean([np.asarray(layers[name], np.float32) for name in names], axis=0)
    if all(name == "last" for name in names):
        return x
    x = x - x.mean(-1, keepdims=True)
    return np.asarray(x / np.sqrt(x.var(-1, keepdims=True) + 1e-6), np.float32)


def alike(x: np.ndarray, others: np.ndarray, mean: bool = False) -> np.ndarray:
    """(n,) the highest (or mean) (1 + cos)/2 of each row of ``x`` (n, D) and ``others`` (m, D): 1 alike, 0 opposite."""
    x = unit(x)
    if mean:
        return np.asarray((1 + x @ unit(others).mean(0)) / 2)
    best = np.full(len(x), -1, np.float32)
    for start in range(0, len(others), BLOCK):
        best = np.maximum(best, (x @ unit(others[start : start + BLOCK]).T).max(1))
    return np.minimum((1 + best) / 2, 1)


def residual(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Rows of ``x`` (n, D) less the row of ``normal`` (m, D) whose product with them, not normalised, is highest."""
    best = np.full(len(x), -np.inf, np.float32)
    at = np.zeros(len(x), np.int64)
    for start in range(0, len(normal), BLOCK):
        near = x @ normal[start : start + BLOCK].T
        here = near.argmax(1)
        value = np.take_along_axis(near, here[:, None], 1)[:, 0]
        better = value > best
        at[better], best[better] = here[better] + start, value[better]
    return np.asarray(x - normal[at])


def combined(like_normal: np.ndarray, like_anomalous: np.ndarray) -> np.ndarray:
    """(s_a + 1 − s_n)/2."""
    return (like_anomalous + 1 - like_normal) / 2


def positions(width: int, skip: np.ndarray) -> np.ndarray:
    """Sine positions (T, width) of a grid ``skip`` (rows, columns) bool: half of the numbers for y, half for x.

    Places are counted along each column and row over the cells that are not skipped, and scaled to 2π (the mask of a
    reference doubles as the padding mask in the authors' code). ``width`` is a multiple of 4.
    """
    kept = (~skip).astype(np.float32)
    half = width // 2
    scale = 10000 ** (2 * (np.arange(half) // 2) / half)
    parts = []
    for axis in (0, 1):
        place = kept.cumsum(axis)
        place = place / (np.take(place, [-1], axis) + 1e-6) * 2 * np.pi
        angle = place[..., None] / scale
        parts.append(np.where(np.arange(half) % 2, np.cos(angle), np.sin(angle)))
    return np.concatenate(parts, -1).reshape(-1, width).astype(np.float32)


def grid_of(size: int) -> tuple[int, int]:
    """Rows and columns of a square grid of ``size`` tokens.

    Raises:
        InputError: it is not square.
    """
    side = round(size**0.5)
    if side * side != size:
        raise InputError("tokens", f"expected a square grid, got {size} tokens")
    return side, side


# -- the head ------------------------------------------------------------------------------------------------------


def module(head: Arrays, name: str, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Cross-attention then self-attention of the module ``name`` (``rm`` or ``afl``), each with residual and norm after."""
    x = query + _attention(head, f"{name}_ca.multihead_attn", query, key, value)
    x = _norm(head, f"{name}_ca.norm", x)
    return _norm(head, f"{name}_sa.norm", x + _attention(head, f"{name}_sa.self_attn", x, x, x))


def _attention(head: Arrays, name: str, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    weight, bias = head[f"{name}.in_proj_weight"], head[f"{name}.in_proj_bias"]
    parts = zip((query, key, value), np.split(weight, 3), np.split(bias, 3), strict=True)
    q, k, v = (x @ w.T + b for x, w, b in parts)
    out = np.empty_like(q)
    width = q.shape[1] // HEADS
    for h in range(HEADS):
        part = slice(h * width, (h + 1) * width)
        near = (q[:, part] @ k[:, part].T) * width**-0.5
        near = np.exp(near - near.max(1, keepdims=True))
        out[:, part] = (near @ v[:, part]) / near.sum(1, keepdims=True)
    return np.asarray(out @ head[f"{name}.out_proj.weight"].T + head[f"{name}.out_proj.bias"])


def _norm(head: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return np.asarray(x * head[f"{name}.weight"] + head[f"{name}.bias"])


def shapes(width: int, proxies: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every weight of a head; the names are the authors'."""
    out: dict[str, tuple[int, ...]] = {"learnable_proxies.weight": (proxies, width)}
    for part in ("rm_ca.multihead_attn", "rm_sa.self_attn", "afl_ca.multihead_attn", "afl_sa.self_attn"):
        out |= {f"{part}.in_proj_weight": (3 * width, width), f"{part}.in_proj_bias": (3 * width,)}
        out |= {f"{part}.out_proj.weight": (width, width), f"{part}.out_proj.bias": (width,)}
        layer = part.split(".")[0]
        out |= {f"{layer}.norm.weight": (width,), f"{layer}.norm.bias": (width,)}
    return out


def checked(head: Arrays, width: int, path: str) -> Arrays:
    """The weights of ``head``, float32, without a leading ``module.``.

    Raises:
        ModelError: a weight is missing, or made for tokens of another width.
    """
    head = {name.removeprefix("module."): value for name, value in head.items()}
    proxies = len(head["learnable_proxies.weight"]) if "learnable_proxies.weight" in head else 0
    out = {}
    for name, shape in shapes(width, proxies).items():
        if name not in head:
            raise ModelError(f"{path}: has no weight {name}")
        if head[name].shape != shape:
            raise ModelError(f"{path}: {name} is {head[name].shape}, expected {shape} for this encoder")
        out[name] = head[name].astype(np.float32)
    return out


def network(torch: Any, width: int, proxies: int) -> Any:
    """The head as a torch module; linear weights Xavier, proxies N(0, 1), as the authors' code begins.

    Raises:
        InputError: ``width`` is no multiple of the four heads.
    """
    if width % HEADS:
        raise InputError("encoder", f"expected tokens of a width that {HEADS} divides, got {width}")
    nn = torch.nn

    def layer(name: str) -> Any:
        made = nn.Module()
        made.add_module(name, nn.MultiheadAttention(width, HEADS, batch_first=True))
        made.norm = nn.LayerNorm(width)
        for weight in made.parameters():
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
        return made

    net = nn.Module()
    net.learnable_proxies = nn.Embedding(proxies, width)
    for part in ("rm", "afl"):
        net.add_module(f"{part}_ca", layer("multihead_attn"))
        net.add_module(f"{part}_sa", layer("self_attn"))
    return net


# -- training ------------------------------------------------------------------------------------------------------


def learn(
    eyes: ImageEncoder,
    sets: Sequence[Sequence[np.ndarray]],
    *,
    layers: Sequence[str],
    proxies: int,
    steps: int,
    batch: int,
    lr: float,
    pairs: int,
    fresh: int = 0,
    shots: int = 1,
    anomalous: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Arrays:
    """The weights of the head: AdamW, the rate a tenth after half and again after three quarters of the steps.

    An episode is a query (with a defect in a share ``anomalous`` of the cases), ``shots`` normal pictures of the same
    thing, and another picture of it with a defect and its mask.
    """
    with heads.seeded(seed, "NAGL") as torch:
        net = network(torch, eyes.dim, proxies)
        if not steps:
            return heads.arrays_of(net)
        rng = np.random.default_rng(seed)
        pool = heads.Pool(
            eyes, layers, sets, rng, size=pairs, fresh=fresh, share=anomalous, progress=progress, who="nagl"
        )
        references = References(eyes, layers, sets, rng)
        optimizer = torch.optim.AdamW(net.parameters(), lr)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4])
        for step in range(steps):
            drawn = [_episode(e, pool.examples, references, layers, shots) for e in pool.draw(batch)]
            like_normal, like_anomalous = forward(torch, net, drawn)
            share = torch.from_numpy(np.stack([e["share"] for e in drawn]))
            loss = episode_loss(torch, like_normal, like_anomalous, share)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress("nagl: training", step + 1, steps)
        return heads.arrays_of(net)


def _episode(
    query: heads.Example,
    others: Sequence[heads.Example],
    references: References,
    layers: Sequence[str],
    shots: int,
) -> Arrays:
    """One episode's tokens: ``query`` (T, D) and its ``share`` (T,), ``normal`` (shots·T, D), ``odd`` (T, D), which of
    them are ``marked`` (T,), and their positions ``places`` (T, D). Where the pool has no other defect of the
    thing the query is its own reference."""
    able = [e for e in others if e.source[0] == query.source[0] and e is not query and e.anomalous.any()]
    odd = able[int(references.rng.integers(len(able)))] if able else query
    normal = rows_of(references.draw(query.source, shots), layers)
    rows = rows_of({name: np.stack([query.query[name], odd.query[name]]) for name in layers}, layers)
    grid = grid_of(rows.shape[1])
    marked = odd.anomalous if odd.anomalous.any() else np.ones(rows.shape[1], bool)
    return {
        "query": rows[0],
        "share": query.share,
        "normal": normal.reshape(-1, normal.shape[-1]),
        "odd": rows[1],
        "marked": marked,
        "places": positions(rows.shape[2], marked.reshape(grid)),
    }


def forward(torch: Any, net: Any, drawn: Sequence[Arrays]) -> tuple[Any, Any]:
    """s_n and s_a (B, T) of episodes: the first is a constant, the second what the head says."""
    normal = [alike(e["query"], e["normal"]) for e in drawn]
    names = ("query", "odd", "places")
    x, odd, places = (torch.from_numpy(np.stack([e[name] for e in drawn])) for name in names)
    gaps = (
        [residual(e["odd"], e["normal"]) for e in drawn],
        [residual(e["query"], e["normal"]) for e in drawn],
    )
    odd_gap, gap = (torch.from_numpy(np.stack(g)) for g in gaps)
    hidden = torch.from_numpy(np.stack([~e["marked"] for e in drawn]))
    mined = net.learnable_proxies.weight.expand(len(drawn), -1, -1)
    mined = _module(net, "rm", mined, odd + places, odd_gap, hidden)
    here = torch.from_numpy(positions(x.shape[2], np.zeros(grid_of(x.shape[1]), bool)))
    found = torch.nn.functional.normalize(_module(net, "afl", mined, gap + here, x, None), dim=-1).mean(1)
    like = (1 + (torch.nn.functional.normalize(x, dim=-1) @ found[..., None])[..., 0]) / 2
    return torch.from_numpy(np.stack(normal)), like


def _module(net: Any, name: str, query: Any, key: Any, value: Any, hidden: Any) -> Any:
    across, within = getattr(net, f"{name}_ca"), getattr(net, f"{name}_sa")
    x = query + across.multihead_attn(query, key, value, key_padding_mask=hidden, need_weights=False)[0]
    x = across.norm(x)
    return within.norm(x + within.self_attn(x, x, x, need_weights=False)[0])


def episode_loss(torch: Any, like_normal: Any, like_anomalous: Any, share: Any) -> Any:
    """Cross-entropy of [1 − t, t], t the mean of the 20 highest scores, + focal + dice of [s_n, s_a]; all (B, T).

    As in the authors' code the similarities are taken as logits: the focal loss through a sigmoid, dice through a softmax.
    """
    score = (like_anomalous + 1 - like_normal) / 2
    top = score.topk(min(20, score.shape[1]), dim=1).values.mean(1)
    label = (share > 0).any(1).long()
    whole = torch.nn.functional.cross_entropy(torch.stack([1 - top, top], 1), label)
    said = torch.stack([like_normal, like_anomalous], 1)
    true = torch.stack([1 - share, share], 1)
    pixels = focal(said.sigmoid(), true, alpha=(0.75, 0.25), gamma=2.0)
    apart = said.softmax(1)
    return whole + pixels + dice(apart[:, 0], true[:, 0]) + dice(apart[:, 1], true[:, 1])
