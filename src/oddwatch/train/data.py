"""Training data of the light heads: drawn stills as the deployed pipeline sees them, in shards on disk."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, Frame, Person, Pose, Progress
from oddwatch.describe.features import CROP_MARGIN, PARTS, crop
from oddwatch.train.labels import targets

SHARD = 100
GRID = 16
"""Patch tokens a side of the 224-pixel crop."""

PART_OF = {
    "hair": "hair", "skin": "skin", "dark": "skin", "upper": "upper", "upper2": "upper", "inner": "upper",
    "lower": "lower", "lower2": "lower", "shoes": "feet", "sole": "feet", "head": "headwear", "lens": "headwear",
    "bag": "bag", "item": "bag", "metal": "bag",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One drawn person as the pipeline sees them: the frame, the person with the pose found, the others found, CLS
    (384,) and patch tokens (256, 384), the share of each part in each token's cell (256, P), truth and what is
    told of it (A,), and the doing drawn."""

    frame: Frame
    person: Person
    others: tuple[Person, ...]
    cls: np.ndarray
    tokens: np.ndarray
    parts: np.ndarray
    y: np.ndarray
    told: np.ndarray
    doing: str


def shards(
    folder: Path,
    seed: int,
    count: int,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Path]:
    """Draw, find and encode stills 0…``count`` of ``seed`` into ``folder``, in files of 100; those there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        (folder / f"{seed}_{start:06d}.npz", seed, start, min(SHARD, count - start))
        for start in range(0, count, SHARD)
    ]
    return written(wanted, _write, _start, workers, "drawing people", progress)


def written(
    wanted: Sequence[tuple[Any, ...]],
    write: Callable[..., None],
    start: Callable[[], None],
    workers: int,
    what: str,
    progress: Progress | None,
) -> list[Path]:
    """The files of the jobs ``wanted`` (path, seed, start, count, …), those missing made by ``write(*job)`` in ``workers``
    processes, each prepared by ``start()``."""
    todo = [job for job in wanted if not job[0].exists()]
    total = sum(job[3] for job in wanted)
    done = total - sum(job[3] for job in todo)
    # Spawned, not forked: the parent may already hold an inference session's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, workers), mp_context=context, initializer=start) as pool:
        running = {pool.submit(write, *job): job for job in todo}
        for future in as_completed(running):
            future.result()
            done += running[future][3]
            if progress is not None:
                progress(what, done, total)
    return [job[0] for job in wanted]


_MODELS: dict[str, Any] = {}


def _start() -> None:
    import cv2

    from oddwatch.encoders.pose import PoseModel
    from oddwatch.encoders.vit import PatchEncoder

    cv2.setNumThreads(1)
    _MODELS["pose"], _MODELS["patches"] = PoseModel(threads=1), PatchEncoder(224, threads=1)


def _write(path: Path, seed: int, start: int, count: int) -> None:
    rows = [_row(seed, index) for index in range(start, start + count)]
    crops = [row.pop("crop") for row in rows]
    tokens = _MODELS["patches"].encode(crops)
    columns: dict[str, np.ndarray] = {
        k: np.stack([r[k] for r in rows]) for k in ("pose", "box", "parts", "y", "told", "doing")
    }
    columns |= {"cls": tokens.cls.astype(np.float16), "tokens": tokens.layers["last"].astype(np.float16)}
    for name in ("others", "png"):
        columns[name] = np.concatenate([r[name] for r in rows])
        columns[f"{name}_at"] = np.cumsum([0, *(len(r[name]) for r in rows)])
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
    scratch.replace(path)


def _row(seed: int, index: int) -> dict[str, Any]:
    from oddwatch.datasets.scenes.stills import person_still
    from oddwatch.describe.body import people_in_box

    still = person_still(seed, index)
    rng = np.random.default_rng([seed, index, 909])
    pixels = weathered(still.pixels, rng)
    frame = Frame(pixels, f"{seed}/{index}")
    box = jittered(Box(*still.box), frame, rng)
    person, others = people_in_box(_MODELS["pose"], frame, box)
    around = box.expanded(CROP_MARGIN)
    y, told = targets(still.facts)
    return {
        "crop": np.ascontiguousarray(crop(frame, person)),
        "pose": _flat(person),
        "box": np.array(box.as_list(), np.float32),
        "others": np.stack([_flat(p, True) for p in others]) if others else np.zeros((0, 56), np.float32),
        "parts": cells(*(_plane(p).crop(around)[..., 0] for p in (still.parts, still.mask))),
        "png": _coded(pixels),
        "y": y.astype(np.float16),
        "told": told,
        "doing": np.array(str(still.facts["doing"]), "U24"),
    }  # fmt: skip


def weathered(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``pixels`` as other cameras would have them: tone curve, colour cast and softness."""
    import cv2

    out: np.ndarray = pixels.astype(np.float32) / 255
    if rng.random() < 0.6:
        out = out ** float(np.exp(rng.normal(0, 0.2)))
        out = out * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    if rng.random() < 0.4:
        h, w = pixels.shape[:2]
        k = float(rng.uniform(0.35, 0.9))
        small = cv2.resize(out, (max(8, round(w * k)), max(8, round(h * k))), interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(out * 255, 0, 255).astype(np.uint8))


def jittered(box: Box, frame: Frame, rng: np.random.Generator) -> Box:
    """``box`` as a detector gives it: sides off by some 4 %, one in twelve cut short below, inside the frame."""
    w, h = max(box.width, 4.0), max(box.height, 4.0)
    d = rng.normal(0, 0.04, 4) * [w, h, w, h]
    bottom = box.y1 - (float(rng.uniform(0.08, 0.35)) * h if rng.random() < 1 / 12 else 0.0)
    x0, y0, x1, y1 = box.x0 + d[0], box.y0 + d[1], box.x1 + d[2], bottom + d[3]
    return Box(min(x0, x1 - 2), min(y0, y1 - 2), max(x1, x0 + 2), max(y1, y0 + 2)).clipped(
        frame.width, frame.height
    )


def cells(parts: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(256, P) float16 share of each part in each cell of a crop: materials (h, w) and the person's mask (h, w)."""
    import cv2

    from oddwatch.datasets.scenes.wardrobe import MATERIAL

    table = np.zeros(len(MATERIAL) + 1, np.uint8)
    for name, number in MATERIAL.items():
        table[number] = PARTS.index(PART_OF[name])
    label = np.where(mask > 0, table[parts], np.where(parts > 0, PARTS.index("other"), 0))
    out = np.zeros((GRID * GRID, len(PARTS)), np.float16)
    for part in range(len(PARTS)):
        share = cv2.resize((label == part).astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        out[:, part] = share.ravel()
    return out


def _flat(person: Person, boxed: bool = False) -> np.ndarray:
    points = np.zeros((17, 3), np.float32) if person.pose is None else person.pose.points.astype(np.float32)
    row = np.append(points.ravel(), np.float32(person.score if person.pose is not None or boxed else -1))
    return np.concatenate([row, np.array(person.box.as_list(), np.float32)]) if boxed else row


def _person(row: np.ndarray, box: np.ndarray) -> Person:
    edges = Box(*(float(v) for v in box))
    if row[51] < 0:
        return Person(edges)
    points = row[:51].reshape(17, 3)
    return Person(edges, float(row[51]), Pose(points) if points.any() else None)


def _plane(values: np.ndarray) -> Frame:
    return Frame(np.repeat(values[..., None].astype(np.uint8), 3, axis=2))


def _coded(pixels: np.ndarray) -> np.ndarray:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def samples(path: Path, rows: slice = slice(None)) -> Iterator[Sample]:
    """The samples of one shard, one after another."""
    from PIL import Image

    with np.load(path, allow_pickle=False) as data:
        columns = {name: data[name] for name in data.files}
    for i in range(len(columns["y"]))[rows]:
        a, b = columns["png_at"][i : i + 2]
        with Image.open(io.BytesIO(columns["png"][a:b].tobytes())) as image:
            frame = Frame(np.asarray(image.convert("RGB"), np.uint8), f"{path.stem}/{i}")
        a, b = columns["others_at"][i : i + 2]
        others = tuple(_person(o[:52], o[52:]) for o in columns["others"][a:b])
        yield Sample(
            frame,
            _person(columns["pose"][i], columns["box"][i]),
            others,
            columns["cls"][i].astype(np.float32),
            columns["tokens"][i].astype(np.float32),
            columns["parts"][i].astype(np.float32),
            columns["y"][i].astype(np.float32),
            columns["told"][i],
            str(columns["doing"][i]),
        )


def fingerprint(paths: list[Path]) -> str:
    """Hash of the truths and tokens of shards: the same data give the same figure."""
    digest = hashlib.blake2b(digest_size=12)
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            digest.update(data["y"].tobytes() + data["pose"].tobytes() + data["cls"].tobytes())
    return digest.hexdigest()
