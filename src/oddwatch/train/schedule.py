"""Learning rates over the steps of a training, and which parameters learn faster or without decay.

Sources: CMP (arXiv 2411.17776 and its code; search §5.5), X-VLM's retrieval recipe (arXiv 2111.08276). Pure
functions of the step; with ``base=1`` they are the factor a LambdaLR wants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from oddwatch.core import InputError

NO_DECAY = (r"bias",)
"""Names, in any case, of parameters that weight decay leaves alone, beside all that are no matrices (norms, scales)."""
CMP_FASTER = (
    r"vision_encoder\.layers\.[23]\.",
    r"text_encoder\..*layer\.(4|5|10|11)\.",
    r"(^|\.)(cls|vision_proj|text_proj|itm_head|pose_block|pose_conv)\.",
)
"""What learns twice as fast in CMP, in X-VLM's names: Swin stages 3 and 4, BERT layers 4, 5, 10 and 11, the MLM head,
the projections, the matching head, the pose modules."""


def step_schedule(step: int, total: int, warmup: int = 500, base: float = 1e-4) -> float:
    """CMP's rate: linear warm-up, then a linear decay to 0 at ``total``, halved after 4 warm-ups, a fifth after 7.

    The code's schedule; the paper tells a plain line from 1e-4 to 1e-5 (``linear_schedule(..., final=1e-5)``).
    """
    rate = linear_schedule(step, total, warmup, base)
    if step < 4 * warmup:
        return rate
    return rate * (0.5 if step < 7 * warmup else 0.2)


def linear_schedule(
    step: int, total: int, warmup: int | None = None, base: float = 3e-5, final: float = 0.0
) -> float:
    """X-VLM's rate: from 0 to ``base`` over ``warmup`` steps (a tenth of ``total``), then in a line to ``final``.

    Raises:
        InputError: a negative step, or a warm-up that does not end before ``total``.
    """
    start = total // 10 if warmup is None else warmup
    if step < 0 or not 0 <= start < total:
        raise InputError(
            "schedule", f"expected step ≥ 0 and 0 ≤ warm-up < total, got {step}, {start}, {total}"
        )
    if step < start:
        return base * step / start
    return final + (base - final) * max(0, total - step) / (total - start)


def parameter_groups(
    named: Iterable[tuple[str, Any]],
    *,
    faster: Sequence[str] = CMP_FASTER,
    no_decay: Sequence[str] = NO_DECAY,
    lr: float = 1e-4,
    times: float = 2.0,
    weight_decay: float = 0.01,
) -> list[dict[str, Any]]:
    """Four groups for AdamW of a module's ``named_parameters()``: {plain, faster} × {decay, no decay}.

    ``faster`` and ``no_decay`` are regular expressions, searched in the names in any case; numbers and vectors never
    decay. (CMP's code goes by names alone and so decays the norms inside its heads.) Every parameter that
    requires a gradient is in exactly one group; frozen ones are in none, groups may be empty. Each is a dict
    with ``name``, ``params``, ``names``, ``lr`` and ``weight_decay``.

    Raises:
        InputError: no parameter requires a gradient.
    """
    rates = {"": lr, "faster, ": lr * times}
    groups = {
        (speed, decays): {
            "name": f"{speed}{'decay' if decays else 'no decay'}",
            "params": [],
            "names": [],
            "lr": rate,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for speed, rate in rates.items()
        for decays in (True, False)
    }
    for name, parameter in named:
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not _any(no_decay, name)
            group: dict[str, Any] = groups["faster, " if _any(faster, name) else "", decays]
            group["params"].append(parameter)
            group["names"].append(name)
    if not any(group["params"] for group in groups.values()):
        raise InputError("parameters", "none requires a gradient", "unfreeze what should be trained")
    return list(groups.values())


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(re.search(pattern, name, re.IGNORECASE) for pattern in patterns)
