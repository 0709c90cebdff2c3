"""Heads of picture detectors that serve any thing, learnt from the normal pictures of whole data sets."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch.core import ImageEncoder, InputError, Jsonable, Progress
from oddwatch.datasets.images import ImageItem, ImageSet, read_image_sets
from oddwatch.detectors import DETECTORS

EPOCHS, BATCH = 30, 24


def _dictas(pictures: int) -> dict[str, Any]:
    steps = EPOCHS * max(1, -(-pictures // BATCH))
    return {
        "steps": steps, "batch": BATCH, "lr": 1e-4, "pairs": BATCH, "fresh": BATCH, "points": None, "terms": None,
    }  # fmt: skip


def _nagl(pictures: int) -> dict[str, Any]:
    return {"steps": 1260, "batch": 8, "lr": 1e-5, "pairs": 8, "fresh": 8, "layers": ("last",)}


OFFICIAL: dict[str, Callable[[int], dict[str, Any]] | None] = {
    "dictas": _dictas,
    "nagl": _nagl,
    "metauas": None,
}
"""Method whose head serves any thing → the arguments of its paper's training for so many pictures, None where the paper
does not tell them."""
PER_PRODUCT = ("cpr", "fastflow")
"""Methods that learn one product from its own normals, at every fit."""


@dataclass(frozen=True, slots=True)
class TrainedHead(Jsonable):
    """``weights`` were written, learnt from so many ``pictures`` of the ``sets``; ``layers`` where not the method's own."""

    weights: str
    method: str
    sets: tuple[str, ...]
    pictures: int
    layers: tuple[str, ...] | None = None


def train_image(
    method: str,
    data: Sequence[str | Path],
    out: str | Path,
    *,
    encoder: str | ImageEncoder = "patches",
    resolution: int = 448,
    per_set: int | None = 64,
    official: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainedHead:
    """Train the head of ``method`` on the train split of all sets in the ``data`` folders or zips; write ``out``.

    Of each set at most ``per_set`` pictures are drawn (None, and ``official``: all). ``official`` takes the values of the
    paper; ``steps``, ``batch`` and ``lr`` come before them, and before the module's own small ones.

    Raises:
        InputError: a method without such a head, data without normal pictures, values that the paper does not tell.
        MissingExtra: torch is not installed.
    """
    check(method, official)
    sets = [one for folder in data for one in read_image_sets(folder, seed=seed) if one.train]
    if not sets:
        names = ", ".join(str(d) for d in data) or "none given"
        raise InputError(
            "data", f"no normal pictures to learn from: {names}", "a data set with a train split"
        )
    rng = np.random.default_rng(seed)
    chosen = [_drawn(one, None if official else per_set, rng) for one in sets]
    total, done = sum(len(items) for items in chosen), 0
    pictures: list[list[np.ndarray]] = [[] for _ in chosen]
    for kept, items in zip(pictures, chosen, strict=True):
        for item in items:
            kept.append(shrunk(item.pixels(), resolution))
            done += 1
            if progress is not None:
                progress("reading normal pictures", done, total)
    values = OFFICIAL[method]
    named: dict[str, Any] = values(total) if official and values is not None else {}
    named |= {name: v for name, v in (("steps", steps), ("batch", batch), ("lr", lr)) if v is not None}
    module = importlib.import_module(DETECTORS[method].partition(":")[0])
    module.train(pictures, out, encoder=encoder, resolution=resolution, seed=seed, progress=progress, **named)
    return TrainedHead(
        str(out), method, tuple(f"{s.name}/{s.category}" for s in sets), total, named.get("layers")
    )


def check(method: str, official: bool = False) -> None:
    """Whether ``method`` can be trained so.

    Raises:
        InputError: it cannot, and why.
    """
    if method in PER_PRODUCT:
        raise InputError(
            f"method {method}",
            "learns one product from its own normal pictures, and has no head for all",
            f"oddwatch detect PICTURES --normal DIR --method {method} --save DIR trains and keeps it",
        )
    if method not in OFFICIAL:
        what = "learns no weights" if method in DETECTORS else "is not known"
        raise InputError(f"method {method}", what, f"one of: {', '.join(sorted(OFFICIAL))}")
    if official and OFFICIAL[method] is None:
        raise InputError(
            "official", f"the paper of {method} tells no steps and rates", "give --steps, --batch and --lr"
        )


def _drawn(one: ImageSet, most: int | None, rng: np.random.Generator) -> list[ImageItem]:
    if most is None or len(one.train) <= most:
        return list(one.train)
    return [one.train[int(i)] for i in np.sort(rng.choice(len(one.train), most, replace=False))]


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """The picture (H, W, 3) uint8 with its shorter side no longer than ``side``, the encoder's input, so that many fit in
    memory."""
    height, width = pixels.shape[:2]
    ratio = side / min(height, width)
    if ratio >= 1:
        return pixels
    size = (max(side, round(width * ratio)), max(side, round(height * ratio)))
    small: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small
