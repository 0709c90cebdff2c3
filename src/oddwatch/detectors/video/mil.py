"""Learning from clips whose frames carry no labels (multiple-instance learning): the terms and one training loop.

A bag is a clip, its instances are segments; only the bag has a label. The terms take torch tensors of scores (b, T) in
[0, 1], higher = more anomalous, and give one number; methods add them with their own weights. Where papers and their code
reduce differently (sum or mean), the term is the code's, because the weights belong to it (Sultani et al. 2018, RTFM 2021,
UR-DMU 2023). torch is imported by the methods, not here; :func:`train` gets it handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from oddwatch.core import InputError, ModelError, Progress
from oddwatch.detectors.video.snippets import Bags

Rule = Literal["sixteenth+1", "sixteenth", "tenth"]
HELD_FROM = 10
"""Clips are held out to end the training by where each kind has so many."""

LEAST = 1e-3
"""Held-out loss must fall by more than this to count: on its way to 0 it says nothing about segments any more."""


# -- which segments ----------------------------------------------------------------------------------------------------


def how_many(segments: int, rule: Rule) -> int:
    """How many of a clip's segments speak for it: T // 16 + 1 (UR-DMU, VadCLIP), max(T // 16, 1) (LaGoVAD),
    max(T // 10, 1) (RTFM).

    Raises:
        InputError: another rule.
    """
    rules = {"sixteenth+1": segments // 16 + 1, "sixteenth": segments // 16, "tenth": segments // 10}
    if rule not in rules:
        raise InputError("rule", f"expected one of {', '.join(rules)}, got {rule!r}")
    return max(rules[rule], 1)


def top(values: Any, k: int) -> Any:
    """Indices (b, k) of each row's largest of ``values`` (b, T); all of them where there are fewer."""
    return values.topk(min(k, values.shape[1]), 1).indices


def gathered(x: Any, at: Any) -> Any:
    """Rows (b, k, D) of ``x`` (b, T, D) at the indices ``at`` (b, k)."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))


def topk_mean(scores: Any, k: Any, by: Any = None, valid: Any = None) -> Any:
    """(b,) the mean of ``scores`` (b, T) at the k largest of ``by`` (b, T; the scores themselves where None).

    ``k`` is a number or an integer tensor (b,), so that each clip can have its own. Segments outside ``valid`` (b, T) bool,
    padding, are never among them.
    """
    by = scores if by is None else by
    if valid is not None:
        by = by.masked_fill(~valid, -float("inf"))
    order = by.argsort(dim=1, descending=True, stable=True)
    place = order.argsort(dim=1)
    limit = k if isinstance(k, int) else k[:, None]
    chosen = place < limit
    if valid is not None:
        chosen = chosen & valid
    return (scores * chosen).sum(1) / chosen.sum(1).clamp(min=1)


# -- terms -------------------------------------------------------------------------------------------------------------


def rank_hinge(anomalous: Any, normal: Any) -> Any:
    """Mean over normal bags j of Σ over anomalous bags i of max(0, 1 − max_t A_i + max_t P_j)."""
    gap = 1 - anomalous.amax(1)[:, None] + normal.amax(1)[None]
    return gap.clamp(min=0).sum(0).mean()


def bce(torch: Any, scores: Any, truth: Any) -> Any:
    """Mean cross-entropy of ``scores`` in [0, 1] with ``truth``; no number where scores are none, for :func:`train` to report."""
    if not bool(torch.isfinite(scores).all()):
        return scores.sum()
    return torch.nn.functional.binary_cross_entropy(scores, truth)


def topk_bce(torch: Any, scores: Any, y: Any, k: int, by: Any = None) -> Any:
    """Cross-entropy of the bags' mean of k segments, chosen by the largest ``by``, and their labels ``y`` (b,)."""
    return bce(torch, topk_mean(scores, k, by), y)


def magnitude(anomalous: Any, normal: Any, margin: float = 100.0) -> Any:
    """Mean over pairs of (|margin − ‖f_A‖| + ‖f_P‖)²; ``anomalous`` and ``normal`` (b, D) the mean features of the
    selected segments."""
    return ((margin - anomalous.norm(dim=1)).abs() + normal.norm(dim=1)).square().mean()


def smooth(scores: Any, across: bool = False) -> Any:
    """Σ (s_t − s_{t+1})² within each bag, or ``across`` the borders of the bags laid end to end, as RTFM's code does."""
    if across:
        scores = scores.reshape(1, -1)
    return (scores[:, 1:] - scores[:, :-1]).square().sum()


def sparse_l1(scores: Any) -> Any:
    """Σ s over all segments of all bags."""
    return scores.abs().sum()


def sparse_l2(scores: Any) -> Any:
    """‖s‖₂ of all scores as one vector."""
    return scores.flatten().norm()


def triplet(torch: Any, anchor: Any, positive: Any, negative: Any, margin: float = 1.0) -> Any:
    """Mean of max(0, d(a, p) − d(a, n) + margin) over rows (b, D)."""
    return torch.nn.functional.triplet_margin_loss(anchor, positive, negative, margin=margin)


def pseudo_bce(torch: Any, scores: Any, pseudo: Any) -> Any:
    """Cross-entropy of every segment's score with what a rule says it should be, ``pseudo`` (b, T) in [0, 1]."""
    return bce(torch, scores, pseudo)


# -- training ----------------------------------------------------------------------------------------------------------


def apart(labels: Sequence[int], share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the clips to learn from and of those held out: a ``share`` of each kind, drawn by chance; none where a
    kind has fewer than ``HELD_FROM`` clips or the share is 0.

    Raises:
        InputError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError("held", f"expected a share from 0 up to below 1, got {share}")
    kinds = [rng.permutation(np.flatnonzero(np.asarray(labels) == label)) for label in (0, 1)]
    enough = share > 0 and min(map(len, kinds)) >= HELD_FROM
    counts = [min(max(1, round(share * len(kind))), len(kind) - 1) if enough else 0 for kind in kinds]
    held = np.concatenate([kind[:n] for kind, n in zip(kinds, counts, strict=True)])
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(held)


def train(
    torch: Any,
    net: Any,
    loss: Callable[[Any, Any], Any],
    bags: Bags,
    optimizer: Any,
    *,
    steps: int,
    who: str,
    held: tuple[np.ndarray, np.ndarray] | None = None,
    measure: Callable[[Any, Any], Any] | None = None,
    looks: int = 20,
    patience: int = 5,
    progress: Progress | None = None,
) -> None:
    """At most ``steps`` of ``optimizer`` on ``loss(x, y)`` of batches from ``bags``.

    ``measure(x, y)`` of the clips ``held`` out, lower = better (the net in ``eval`` mode), is taken ``looks`` times; after
    ``patience`` times without progress (0: never) training ends, and the weights of the best look stay. Without clips held
    out the last weights stay.

    Raises:
        ModelError: the loss is no longer a finite number.
    """
    best, kept, waited, every = np.inf, _copy(net), 0, max(1, steps // looks)
    batches = iter(bags)
    apart = [torch.from_numpy(part) for part in held] if held is not None else []
    for step in range(1, steps + 1):
        net.train()
        value = loss(*map(torch.from_numpy, next(batches)))
        if not bool(torch.isfinite(value)):
            raise ModelError(
                f"{who}: the loss at step {step} is not finite: lower lr, or set standardise=True"
            )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if progress is not None and (step % every == 0 or step == steps):
            progress(f"training {who}", step, steps)
        if measure is None or not apart or (step % every and step < steps):
            continue
        net.eval()
        with torch.no_grad():
            now = float(measure(*apart))
        if now < best - LEAST:
            best, kept, waited = now, _copy(net), 0
        else:
            waited += 1
            if waited == patience:
                break
    if np.isfinite(best):
        net.load_state_dict(kept)
    net.eval()


def _copy(net: Any) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
