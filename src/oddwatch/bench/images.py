"""Detectors of pictures on labelled sets: picture and pixel metrics, speed, size; per category, over seeds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from oddwatch.bench.remembered import RememberingEncoder
from oddwatch.core import ImageEncoder, InputError, Progress, Scores, resolve
from oddwatch.datasets.images import ImageItem, ImageSet, read_image_sets
from oddwatch.detectors import CARDS, DEFAULT, DETECTORS
from oddwatch.detectors.image.maps import project
from oddwatch.metrics.aupimo import aupimo
from oddwatch.metrics.pixels import pool
from oddwatch.metrics.ranking import auroc, average_precision, f1_max
from oddwatch.metrics.severity import severity_metrics

PROTOCOL = "image anomalies"
METRICS = (
    "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "aupimo", "iou_max",
)  # fmt: skip


class Lazy(Sequence[np.ndarray]):
    """The pictures of items, read when they are looked at."""

    def __init__(self, items: Sequence[ImageItem]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [item.pixels() for item in self.items[index]]
        return self.items[index].pixels()


@dataclass(frozen=True, slots=True)
class Run:
    """One detector on one category: how many normals (None: all), with which seed."""

    method: str
    shots: int | None = None
    seed: int = 0


def run_image_bench(
    data: str | Path,
    *,
    methods: Sequence[str] | None = None,
    shots: Sequence[int | None] = (None,),
    seeds: Sequence[int] = (0,),
    categories: Sequence[str] | None = None,
    encoder: str | ImageEncoder = "patches",
    resolution: int = 448,
    options: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Rows of ``methods`` (default: the default detector) × categories × ``shots``, means and deviations over ``seeds``.

    ``shots`` normals are drawn by seed from a category's training pictures; None takes all. Where the data have no
    split of their own, each seed splits anew. A category without normal training pictures is scored by methods that
    need none, and by those that can learn from the unlabelled test pictures; both are marked ``transductive``.
    ``image_*`` is None where the test has one class only, ``aupimo`` also where normals have too few pixels.
    With several categories a row ``mean`` follows each method, over the categories where a number is defined.
    ``options`` go to every detector. Tokens are remembered in ``cache``, by default until the run ends; seconds are told
    where pictures were really encoded.

    Raises:
        InputError: unknown method or category, nothing readable in ``data``.
    """
    names = list(methods) if methods else [DEFAULT["image"]]
    for name in names:
        if name not in DETECTORS or CARDS[name].modality != "image":
            known = ", ".join(sorted(n for n in DETECTORS if CARDS[n].modality == "image"))
            raise InputError(f"method {name!r}", "not known", f"one of: {known}")
    sets = {seed: _chosen(read_image_sets(data, seed=seed), categories) for seed in seeds}
    rows: list[dict[str, Any]] = []
    with _eyes(encoder, resolution, cache, device, threads) as eyes:
        for name in names:
            own: list[dict[str, Any]] = []
            for number in shots:
                for at, first in enumerate(sets[seeds[0]]):
                    if progress is not None:
                        progress(f"{name}, {first.category}", len(rows) + len(own), 0)
                    if number is not None and number >= len(first.train) and len(first.train):
                        continue
                    runs = [(Run(name, number, seed), sets[seed][at]) for seed in seeds]
                    own.append(_row(runs, eyes, options or {}))
                rows += [*own, *([mean_row(own)] if len(own) > 1 else [])]
                own = []
    return rows


@contextmanager
def _eyes(
    encoder: str | ImageEncoder, resolution: int, cache: str | Path | None, device: str, threads: int | None
) -> Iterator[RememberingEncoder]:
    if isinstance(encoder, str):
        from oddwatch.encoders import load

        encoder = load(encoder, resolution=resolution, device=device, threads=threads)
    assert not isinstance(encoder, str)
    if cache is not None:
        yield RememberingEncoder(encoder, cache)
        return
    with tempfile.TemporaryDirectory(prefix="oddwatch-bench-") as folder:
        yield RememberingEncoder(encoder, folder)


def _chosen(sets: Sequence[ImageSet], categories: Sequence[str] | None) -> list[ImageSet]:
    if categories is None:
        return list(sets)
    missing = sorted(set(categories) - {s.category for s in sets})
    if missing:
        there = ", ".join(s.category for s in sets)
        raise InputError(f"category {missing[0]!r}", "not in the data", f"there are: {there}")
    return [s for s in sets if s.category in categories]


def _row(
    runs: Sequence[tuple[Run, ImageSet]], eyes: RememberingEncoder, options: Mapping[str, Any]
) -> dict[str, Any]:
    """One method on one category: the mean over seeds, with ``_sd`` beside where there are several."""
    run, first = runs[0]
    card = CARDS[run.method]
    about: dict[str, Any] = {
        "method": run.method,
        "default": run.method == DEFAULT["image"] and not options,
        "protocol": PROTOCOL,
        "set": first.name,
        "category": first.category,
        "shots": "all" if run.shots is None else run.shots,
        "seed": runs[0][0].seed,
        "seeds": [r.seed for r, _ in runs],
        "encoder": eyes.id,
        "split": first.note,
    }
    needs = kind_of(run.method).NEEDS_NORMALS
    if not first.train and needs and run.method not in UNLABELLED:
        return {**about, **dict.fromkeys(METRICS), "note": "no normal pictures to learn from"}
    about["transductive"] = card.batch_dependent or not first.train
    outcomes = [measure(r, one, eyes, options) for r, one in runs]
    numbers = {name for o in outcomes for name, v in o.items() if isinstance(v, float)}
    for name, value in outcomes[0].items():
        if name not in numbers:
            about[name] = value
            continue
        values = [o[name] for o in outcomes if o[name] is not None]
        about[name] = float(np.mean(values))
        if len(values) > 1 and name in METRICS:
            about[f"{name}_sd"] = float(np.std(values, ddof=1))
    return about


UNLABELLED = {"subspace"}
"""Methods whose paper also fits on the unlabelled test pictures themselves."""


def kind_of(method: str) -> Any:
    """The class of a detector. Raises MissingExtra where a package is absent."""
    return resolve(DETECTORS, method, "detector")


def measure(run: Run, one: ImageSet, eyes: RememberingEncoder, options: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of one run, with seconds and sizes; None where a metric is undefined.

    Raises:
        MissingExtra: the method needs a package that is not installed.
    """
    kind = kind_of(run.method)
    detector = kind(encoder=eyes, **{"seed": run.seed, **options})
    train, test = drawn(one.train, run), Lazy(one.test)
    started, before = time.perf_counter(), eyes.seconds
    if train:
        detector.fit(Lazy(train))
    elif kind.NEEDS_NORMALS:
        detector.fit(test)
    fitted, inside = time.perf_counter(), eyes.seconds
    scores = detector.score(test)
    scoring = time.perf_counter() - fitted - (eyes.seconds - inside)
    pace = scoring / max(1, len(one.test)) + (eyes.pace or 0.0)
    return {
        **evaluate(scores, one.test, getattr(eyes, "fit", "squash")),
        "n_train": len(train),
        "n_good": sum(not i.label for i in one.test),
        "n_bad": sum(i.label for i in one.test),
        "fit_seconds": fitted - started - (inside - before) + eyes.pace * len(train) if eyes.pace else None,
        "pictures_per_second": 1 / pace if eyes.pace else None,
        "model_mb": sum(v.nbytes for v in detector.state().values()) / 1e6,
    }


def drawn(train: Sequence[ImageItem], run: Run) -> list[ImageItem]:
    """The normals a run may learn from: ``shots`` of them by seed, or all."""
    if run.shots is None or run.shots >= len(train):
        return list(train)
    order = np.random.default_rng(run.seed).permutation(len(train))[: run.shots]
    return [train[int(i)] for i in order]


def evaluate(scores: Scores, items: Sequence[ImageItem], fit: str = "squash") -> dict[str, float | None]:
    """Every metric of scores and maps against the labels and masks of ``items``; None where undefined.

    Maps are projected onto the pictures first, so masks keep their own size. Anomalous pictures without a mask stay
    out of the pixel metrics.
    """
    labels = np.array([item.label for item in items])
    found: dict[str, float | None] = {
        "image_auroc": auroc(labels, scores.values).number,
        "image_ap": average_precision(labels, scores.values).number,
        "image_f1_max": f1_max(labels, scores.values).number,
    }
    if len(set(labels.tolist())) < 2:
        found = dict.fromkeys(found)
    if any(item.severity is not None for item in items):
        levels = [item.severity if item.severity is not None else item.label for item in items]
        found |= {name: r.number for name, r in severity_metrics(levels, scores.values).items()}
    return {**found, **_pixels(scores, items, fit)}


def _pixels(scores: Scores, items: Sequence[ImageItem], fit: str) -> dict[str, float | None]:
    names = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "aupimo", "iou_max")
    if scores.maps is None or not any(item.mask for item in items):
        return dict.fromkeys(names)
    maps, masks = [], []
    for one, item in zip(scores.maps, items, strict=True):
        size = item.pixels().shape[:2]
        mask = item.mask_pixels(size)
        if mask is not None:
            maps.append(project(one, (size[0], size[1]), fit))
            masks.append(mask)
    pooled = pool(maps, masks)
    values = {
        "pixel_auroc": pooled.auroc().number,
        "pixel_ap": pooled.ap().number,
        "pixel_f1_max": pooled.f1_max().number,
        "aupro": pooled.aupro().number,
        "aupimo": None,
        "iou_max": pooled.ader()["iou_max"].number,
    }
    try:
        values["aupimo"] = aupimo(maps, masks).number
    except InputError:  # no normal picture, or too few normal pixels for its false positive rates
        return values
    return values


def mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over the categories of one method; a number undefined everywhere stays None."""
    out: dict[str, Any] = {
        k: v for k, v in rows[0].items() if not isinstance(v, float) and not k.endswith("_sd")
    }
    for name in ("n_train", "n_good", "n_bad", "split", "note", "transductive"):
        out.pop(name, None)
    out |= {"category": "mean", "categories": len(rows)}
    for name in dict.fromkeys(
        k for row in rows for k, v in row.items() if isinstance(v, float) and not k.endswith("_sd")
    ):
        values = [row[name] for row in rows if row.get(name) is not None]
        out[name] = float(np.mean(values))
    return {**dict.fromkeys(METRICS), **out}
