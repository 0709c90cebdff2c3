"""Generated picture-sentence pairs as the cross-encoder sees them: drawn twins, described and encoded as a gallery does.

One shard holds whole twin pairs: rows 2k and 2k + 1 are one person in the same clothes, place and light, once doing
something normal and once not, so that each is the other's identity-based hard negative (CMP, arXiv 2411.17776, §3.2).
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.core import Box, Frame, InputError, Progress

SHARD = 50
"""Twin pairs in one file."""
CAPTIONS = 2
"""Short and long captions kept of each picture, each."""
Family = Literal["A", "B"]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pictures with their captions, columns stacked over N pictures.

    ``tokens`` (N, 9, 384) int8 part tokens and ``geometry`` (N, G) float32 of the pose as a gallery keeps them; ``p``
    and ``known`` (N, A) facts; ``captions`` per picture short ones first; ``twin`` (N,) int64 the number of the twin
    pair; ``abnormal`` (N,) bool; ``facts`` what was drawn.
    """

    tokens: np.ndarray
    geometry: np.ndarray
    p: np.ndarray
    known: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    twin: np.ndarray
    abnormal: np.ndarray
    facts: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def source_ids(self) -> list[str]:
        """PAB's ``<video>_<state>``: the twins of a pair are one video in two states."""
        return [f"{t}_{int(a)}" for t, a in zip(self.twin.tolist(), self.abnormal.tolist(), strict=True)]

    def rows(self, at: np.ndarray) -> Pairs:
        """The pictures at ``at`` (K,) alone."""
        return Pairs(
            self.tokens[at],
            self.geometry[at],
            self.p[at],
            self.known[at],
            tuple(self.captions[i] for i in at.tolist()),
            self.twin[at],
            self.abnormal[at],
            tuple(self.facts[i] for i in at.tolist()),
        )


def shards(
    folder: Path,
    seed: int,
    twins: int,
    family: Family = "A",
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Path]:
    """Draw, describe and encode twin pairs 0…``twins`` of ``seed`` into ``folder``; files that are there are kept.

    Raises:
        InputError: fewer than one pair.
    """
    if twins < 1:
        raise InputError("twins", f"expected 1 or more pairs, got {twins}")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        (folder / f"pairs_{family}{seed}_{start:06d}.npz", seed, start, min(SHARD, twins - start), family)
        for start in range(0, twins, SHARD)
    ]
    todo = [job for job in wanted if not job[0].exists()]
    done = twins - sum(job[3] for job in todo)
    # Spawned, not forked: the parent may already hold an inference session's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, workers), mp_context=context, initializer=_start) as pool:
        running = {pool.submit(_write, *job): job for job in todo}
        for future in as_completed(running):
            future.result()
            done += running[future][3]
            if progress is not None:
                progress("drawing twins", done, twins)
    return [job[0] for job in wanted]


_MODELS: dict[str, Any] = {}


def _start() -> None:
    import cv2

    from oddwatch.pipeline.models import Models

    cv2.setNumThreads(1)
    models = Models(threads=1)
    _MODELS["models"] = models


def _write(path: Path, seed: int, start: int, count: int, family: Family) -> None:
    from oddwatch.pipeline.entries import part_tokens

    models = _MODELS["models"]
    drawn = [row for index in range(start, start + count) for row in _twins(models, seed, index, family)]
    tokens = models.patches.encode([row["crop"] for row in drawn])
    columns = _described(models, drawn, tokens)
    columns["tokens"] = part_tokens(tokens)
    columns["twin"] = np.repeat(np.arange(start, start + count), 2)
    columns["abnormal"] = np.array([row["abnormal"] for row in drawn])
    for name in ("captions", "facts"):
        columns[name] = np.array([json.dumps(row[name]) for row in drawn])
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]
    scratch.replace(path)


def _described(models: Any, drawn: Sequence[dict[str, Any]], tokens: Any) -> dict[str, np.ndarray]:
    from oddwatch.describe.features import geometry, rows_of

    told = [
        models.describer.describe(
            row["frame"], row["person"], others=row["others"], tokens=rows_of(tokens, i, i + 1)
        )
        for i, row in enumerate(drawn)
    ]
    return {
        "p": np.array([f.p for f in told], np.float16),
        "known": np.array([f.known for f in told]),
        "geometry": np.array([geometry(row["person"], ()) for row in drawn], np.float32),
    }


def _twins(models: Any, seed: int, index: int, family: Family) -> list[dict[str, Any]]:
    from oddwatch.datasets.scenes.captions import person_captions
    from oddwatch.datasets.scenes.stills import twin_pair
    from oddwatch.describe.body import people_in_box
    from oddwatch.describe.features import crop
    from oddwatch.train.data import jittered, weathered

    rng = np.random.default_rng([seed, index, 911])
    rows = []
    for still in twin_pair(seed, index):
        frame = Frame(weathered(still.pixels, rng), f"{seed}/{index}")
        box = jittered(Box(*(float(v) for v in still.box)), frame, rng)
        person, others = people_in_box(models.pose, frame, box)
        said = person_captions(still.facts, rng, family, CAPTIONS)
        rows.append(
            {
                "frame": frame,
                "person": person,
                "others": others,
                "crop": np.ascontiguousarray(crop(frame, person)),
                "captions": [*said["short"], *said["long"]],
                "facts": still.facts,
                "abnormal": still.abnormal,
            }
        )
    return rows


def read(paths: Sequence[Path]) -> Pairs:
    """The pairs of some shards, in their order."""
    columns: dict[str, list[np.ndarray]] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            for name in data.files:
                columns.setdefault(name, []).append(data[name])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Pairs(
        joined["tokens"],
        joined["geometry"],
        joined["p"].astype(np.float32),
        joined["known"],
        tuple(tuple(json.loads(c)) for c in joined["captions"]),
        joined["twin"].astype(np.int64),
        joined["abnormal"].astype(bool),
        tuple(json.loads(f) for f in joined["facts"]),
    )


def fingerprint(pairs: Pairs) -> str:
    """Hash of tokens and captions: the same data give the same figure."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(pairs.tokens.tobytes() + json.dumps(pairs.captions).encode())
    return digest.hexdigest()
