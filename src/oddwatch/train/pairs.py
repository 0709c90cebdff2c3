"""Generated picture-sentence pairs as the cross-encoder sees them: drawn twins, described and encoded as a gallery does.

One shard holds whole twin pairs: rows 2k and 2k + 1 are one person in the same clothes, place and light, once doing
something normal and once not, so that each is the other's identity-based hard negative (CMP, arXiv 2411.17776, §3.2).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from oddwatch.core import Box, Frame, InputError, Progress
from oddwatch.datasets.records import Record
from oddwatch.train.data import jittered, weathered, written
from oddwatch.train.negatives import Source, read_source

if TYPE_CHECKING:
    from oddwatch.pipeline.models import Models

SHARD = 50
"""Twin pairs in one file."""
CAPTIONS = 2
"""Short and long captions kept of each picture, each."""
AT_ONCE = 32
"""Pictures of one's own that are described and encoded together."""
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
    wanted = []
    for start in range(0, twins, SHARD):
        count = min(SHARD, twins - start)
        # A last shard that is not full is another file, or a longer run would take it for the whole one.
        short = "" if count == SHARD else f"_{count}"
        path = folder / f"pairs_{family}{seed}_{start:06d}{short}.npz"
        wanted.append((path, seed, start, count, family))
    return written(wanted, _write, _start, workers, "drawing twins", progress)


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


def training_records(path: str | Path, shards: Sequence[int] | str | None = None) -> list[Record]:
    """The captioned pictures to learn from: the training split of a public benchmark (``shards`` of PAB's), else all.

    Raises:
        InputError: nothing readable there.
    """
    from oddwatch.datasets.formats import READERS, detect_format
    from oddwatch.datasets.pab import read_pab
    from oddwatch.datasets.pedes import FILES
    from oddwatch.datasets.records import read_records

    name = detect_format(path) if Path(path).is_dir() else None
    if name == "pab":
        return read_pab(path, "train", shards)
    if name is not None and name in FILES:
        split: Any = READERS[name]
        found: list[Record] = split(Path(path), "train")
        return found
    return read_records(path)


def source_of(record: Record) -> Source:
    """The video and state a record comes from. Without a ``source_id`` of PAB's form its person, else the picture
    itself, stands for the video, and what is known of the doing for the state."""
    if record.source_id is not None:
        with suppress(InputError):
            return read_source(record.source_id)
    video = record.source_id or record.person or f"{record.store}/{record.image}"
    return Source(video, int(bool(record.abnormal)))


def pairs_of(records: Sequence[Record], models: Models, progress: Progress | None = None) -> Pairs:
    """Captioned pictures as :class:`Pairs`: the person in the record's box, else the largest one found, else all of it.

    Records without a caption, and the posters of scenes, are left out.

    Raises:
        InputError: none is left, or a picture is missing. MediaError: one cannot be read.
    """
    from oddwatch.pipeline.entries import part_tokens

    kept = [r for r in records if r.kind != "scene" and any(c.strip() for c in r.captions)]
    if not kept:
        raise InputError("training data", "no record has a caption")
    columns: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(kept), AT_ONCE):
        seen = [_seen(models, record) for record in kept[start : start + AT_ONCE]]
        tokens = models.patches.encode([row["crop"] for row in seen])
        found = {**_described(models, seen, tokens), "tokens": part_tokens(tokens)}
        for name, column in found.items():
            columns.setdefault(name, []).append(column)
        if progress is not None:
            progress("describing pictures", min(start + AT_ONCE, len(kept)), len(kept))
    sources = [source_of(r) for r in kept]
    number = {video: i for i, video in enumerate(dict.fromkeys(s.video for s in sources))}
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Pairs(
        joined["tokens"],
        joined["geometry"],
        joined["p"].astype(np.float32),
        joined["known"],
        tuple(tuple(sorted((c for c in r.captions if c.strip()), key=len)) for r in kept),
        np.array([number[s.video] for s in sources], np.int64),
        np.array([not s.normal for s in sources]),
        tuple(dict(r.facts) for r in kept),
    )


def _seen(models: Models, record: Record) -> dict[str, Any]:
    from oddwatch.datasets.records import frame
    from oddwatch.describe.body import people_in_box
    from oddwatch.describe.features import crop

    picture = frame(record)
    people = [] if record.box is not None else models.finder.find(picture)
    if people:
        person = max(people, key=lambda p: p.box.area)
        others = [p for p in people if p is not person]
    else:
        whole = Box(0.0, 0.0, float(picture.width), float(picture.height))
        person, others = people_in_box(models.pose, picture, record.box or whole)
    looked = np.ascontiguousarray(crop(picture, person))
    return {"frame": picture, "person": person, "others": others, "crop": looked}


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
