"""Fitting the small networks of the light heads in torch ([torch] extra); everything comes back as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from oddwatch.core import MissingExtra, Progress

Arrays = dict[str, np.ndarray]


def torch_module(seed: int) -> Any:
    """torch, seeded, on one thread (its pool costs more than these small products). Raises MissingExtra without it."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("training the heads", "torch") from error
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return torch


def standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column means and deviations (1 where a column is constant)."""
    mean, deviation = x.mean(0), x.std(0)
    return mean.astype(np.float32), np.where(deviation < 1e-5, 1.0, deviation).astype(np.float32)


def fit_parts(x: np.ndarray, y: np.ndarray, seed: int, hidden: int = 64, epochs: int = 5) -> Arrays:
    """The part network: cells' tokens and bones ``x`` (N, D) float16 to shares of parts ``y`` (N, P), cross-entropy."""
    torch = torch_module(seed)
    mean, deviation = standard(x[:: max(1, len(x) // 20000)].astype(np.float32))
    net = torch.nn.Sequential(
        torch.nn.Dropout(0.1),
        torch.nn.Linear(x.shape[1], hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, y.shape[1]),
    )
    inputs, truth = torch.from_numpy(x), torch.from_numpy(y.astype(np.float16))
    shift, scale = torch.from_numpy(mean), torch.from_numpy(deviation)
    batches = (len(x) // 2048 + 1) * epochs
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(2048):
            logits = net((inputs[rows].float() - shift) / scale)
            loss = -(torch.log_softmax(logits, 1) * truth[rows].float()).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    one, two = net[1], net[3]
    weight = one.weight.detach().numpy() / deviation
    return {
        "parts.in": weight,
        "parts.in_bias": one.bias.detach().numpy() - weight @ mean,
        "parts.out": two.weight.detach().numpy(),
        "parts.out_bias": two.bias.detach().numpy(),
    }


def fit_net(
    name: str,
    plain: np.ndarray,
    tokens: np.ndarray,
    y: np.ndarray,
    told: np.ndarray,
    seed: int,
    hidden: int = 160,
    epochs: int = 30,
    blind: float = 0.3,
    progress: Progress | None = None,
) -> Arrays:
    """A network from numbers ``plain`` (N, D) and pooled tokens (N, T) to atoms: binary cross-entropy where ``told``.

    Half of the token inputs are dropped at random, and all of them in a share ``blind`` of the samples, so
    that the network works without tokens too and leans on no single one.
    """
    torch = torch_module(seed)
    mean_p, dev_p = standard(plain)
    mean_t, dev_t = standard(tokens.astype(np.float32))
    zp = torch.from_numpy(np.clip((plain - mean_p) / dev_p, -6, 6))
    zt = torch.from_numpy(np.clip((tokens - mean_t) / dev_t, -6, 6))
    truth, weight = torch.from_numpy(y), torch.from_numpy(told.astype(np.float32))
    first_p, first_t = (
        torch.nn.Linear(plain.shape[1], hidden),
        torch.nn.Linear(tokens.shape[1], hidden, bias=False),
    )
    second, last = torch.nn.Linear(hidden, hidden // 2), torch.nn.Linear(hidden // 2, y.shape[1])
    layers = torch.nn.ModuleList([first_p, first_t, second, last])
    with torch.no_grad():
        rate = (y * told).sum(0) / np.maximum(told.sum(0), 1)
        last.bias.copy_(torch.from_numpy(np.log(np.clip(rate, 1e-3, 1 - 1e-3) / np.clip(1 - rate, 1e-3, 1))))
    drop = torch.nn.functional.dropout
    optimizer = torch.optim.AdamW(layers.parameters(), 2e-3, weight_decay=0.05)
    size = 256
    steps = -(-len(zp) // size) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(zp)).split(size):
            seen = (torch.rand(len(rows), 1) >= blind).float()
            hp = first_p(drop(zp[rows], 0.1) + 0.1 * torch.randn(len(rows), zp.shape[1]))
            h = torch.relu(hp + first_t(drop(zt[rows], 0.5)) * seen)
            logits = last(drop(torch.relu(second(drop(h, 0.3))), 0.2))
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, truth[rows], reduction="none"
            )
            loss = (losses * weight[rows]).sum() / weight[rows].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress(f"training {name}", epoch + 1, epochs)
    get = lambda t: t.detach().numpy().astype(np.float32)  # noqa: E731
    return {
        f"{name}.plain_mean": mean_p, f"{name}.plain_dev": dev_p, f"{name}.token_mean": mean_t,
        f"{name}.token_dev": dev_t, f"{name}.plain": get(first_p.weight), f"{name}.bias": get(first_p.bias),
        f"{name}.tokens": get(first_t.weight), f"{name}.second": get(second.weight),
        f"{name}.second_bias": get(second.bias), f"{name}.last": get(last.weight), f"{name}.last_bias": get(last.bias),
    }  # fmt: skip
