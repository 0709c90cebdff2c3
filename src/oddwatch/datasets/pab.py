"""PAB, the benchmark of text-based person anomaly search (Yang et al., arXiv 2411.17776): read as published.

Annotations are JSON lines below ``annotation/train`` (75 shards) and ``annotation/test``; ``read_challenge`` reads
the release whose names are masked. Pictures and captions are for research only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from oddwatch.core import InputError, Jsonable
from oddwatch.datasets import store as _store
from oddwatch.datasets.records import Record, holds, identity, numbered, parse_record

SHARDS: Mapping[str, range] = {"0.1M": range(8), "1M": range(75)}
"""Training setting → numbers of its annotation shards."""

_KINDS = ("attr", "pair", "imgs")  # the same records with and without action and scene: the fullest first
_APART = ("ucc", "weather")  # lie beside the test annotation and are asked for by name
_QUERIES = ("query_text.json", "query.json", "query_text.jsonl", "query.jsonl")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
NAMED = 10
"""Gallery names on a line of ``answer.txt``."""


@dataclass(frozen=True, slots=True)
class Protocol(Jsonable):
    """How a number on PAB came about; numbers of different protocols are not comparable.

    ``gallery`` counts pictures, ``pairs`` names the PAB training pairs used, ``transductive`` tells whether a
    query's score may depend on other test queries.
    """

    name: str
    gallery: int
    pairs: str
    note: str = ""
    transductive: bool = False


PROTOCOLS: Mapping[str, Protocol] = {
    p.name: p
    for p in (
        Protocol("zero-shot", 1978, "0"),
        Protocol("0.1M", 1978, "0.1M", "the first 8 of 75 shards"),
        Protocol("1M", 1978, "1M"),
        Protocol("tta", 1978, "0", "adapts to the unlabelled test set", transductive=True),
        Protocol(
            "track4", 36773, "synthetic", "1,978 pictures and 34,795 distractors, mAP over the first 10"
        ),
        Protocol("ucc", 5320, "0.1M or 1M", "UCF-Crime key frames, several may answer one query"),
        Protocol("identity", 1978, "1M", "any picture of the same pair answers"),
    )
}
"""The protocols of published results, by name."""


def protocol_of(records: Sequence[Record], pairs: str = "0", *, adapted: bool = False) -> Protocol | None:
    """The published protocol that a run over the gallery ``records`` follows, or None.

    ``pairs`` names the PAB pairs trained on ("0", "0.1M", "1M"), ``adapted`` says that the unlabelled test set was
    used. A part of a gallery follows no published protocol, nor do other pictures of the same number.
    """
    folders = {r.image.partition("/")[0] for r in records}
    name = None
    if folders == {"test"} and adapted:
        name = "tta" if pairs == "0" else None
    elif folders == {"test"} and len({r.image_id for r in records}) * 2 == len(records):
        name = "identity" if pairs == "1M" else None
    elif folders == {"test"}:
        name = "zero-shot" if pairs == "0" else pairs
    elif folders == {"ucc"}:
        name = "ucc" if pairs in SHARDS else None
    elif len(records) == PROTOCOLS["track4"].gallery:
        name = "track4"
    found = PROTOCOLS.get(name or "")
    return found if found is not None and found.gallery == len(records) else None


def read_pab(
    folder: str | Path, split: str = "test", shards: Sequence[int] | str | None = None
) -> list[Record]:
    """The records of PAB's annotation files below ``folder`` with ``split`` (train, test, ucc, …) in their path.

    ``shards`` are numbers of annotation files, or "0.1M" or "1M". Where several files hold the same records
    (``attr_3.json`` and ``pair_3.json``) the one with actions and scenes is read. Pictures lie below ``folder``
    or in a zip there.

    Raises:
        InputError: no such annotation, a shard that is missing, or a line that does not fit.
    """
    folder = Path(folder)
    found = _annotations(folder, split)
    if isinstance(shards, str):
        if shards not in SHARDS:
            raise InputError("shards", f"expected {' or '.join(SHARDS)} or numbers, got {shards!r}")
        shards = SHARDS[shards]
    if shards is not None:
        missing = sorted(set(shards) - {n for n, _ in found})
        if missing:
            told = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
            raise InputError(str(folder), f"no JSON-lines annotation of {split} shard {told}")
        found = [(n, path) for n, path in found if n in set(shards)]
    if not found:
        raise InputError(
            str(folder),
            f"no JSON-lines annotation with {split!r} in its path",
            "expected annotation/train/attr_0.json … or annotation/test/attr.json",
        )
    return [record for _, path in found for record in _read(path, folder)]


def _annotations(folder: Path, split: str) -> list[tuple[int, Path]]:
    """(shard number or −1, file) of the split in order of number; one file for each set of records."""
    if not folder.is_dir():
        raise InputError(str(folder), "expected PAB's folder", "it holds annotation/, train/ and test/")
    files = [p for p in folder.iterdir() if p.is_file()]
    for name in ("annotation", "annotations"):
        if (folder / name).is_dir():
            files += [folder / name / inside for inside in _store.names(folder / name)]
    best: dict[tuple[str, str, int], tuple[int, Path]] = {}
    for path in sorted(files):
        inside = path.relative_to(folder).as_posix().lower()
        apart = any(word in inside and word not in split for word in _APART)
        if path.suffix.lower() not in (".json", ".jsonl") or split.lower() not in inside or apart:
            continue
        match = re.fullmatch(r"(.*?)_?(\d{0,9})", path.stem.lower())
        stem, number = (match[1], int(match[2] or -1)) if match else (path.stem.lower(), -1)
        kind = _KINDS.index(stem) if stem in _KINDS else -1
        key = (str(path.parent), "" if kind >= 0 else stem, number)
        if key not in best or kind < best[key][0]:
            best[key] = (kind, path)
    return sorted((number, path) for (_, _, number), (_, path) in best.items())


def _read(path: Path, folder: Path) -> list[Record]:
    store: str | None = None
    found = []
    for where, row in numbered(path):
        record = parse_record(row, where, store or "")
        if store is None:
            store = str(_picture_store(folder, record.image))
            record = replace(record, store=store)
        found.append(record)
    if not found:
        raise InputError(str(path), "holds no records")
    return found


def _picture_store(folder: Path, image: str) -> Path:
    """``folder``, or the zip in it that holds ``image``."""
    if holds(folder, image):
        return folder
    return next((archive for archive in sorted(folder.glob("*.zip")) if holds(archive, image)), folder)


def pose_name(record: Record) -> str:
    """Where the record's pose map lies: an RGB picture of the skeleton, below the same root."""
    return f"pose/{record.image}"


def pose_map(record: Record) -> np.ndarray:
    """The record's pose map, (H, W, 3) uint8 RGB. Raises MediaError, LimitError or InputError."""
    return _store.read_pixels(record.store, pose_name(record))


def video_of(record: Record) -> str | None:
    """The video a record comes from: its ``source_id`` without the state ``_0``, ``_1`` or ``_2``, or None."""
    if not record.source_id:
        return None
    video, _, state = record.source_id.rpartition("_")
    return video if video and state.isdigit() else record.source_id


def by_identity(records: Sequence[Record]) -> list[Record]:
    """The same records for the identity protocol: any picture of the same pair answers a query.

    A pair shares ``person``, else the video. Where neither is told, as in PAB's test set, neighbours are a pair,
    and each pair must show one normal and one abnormal doing.

    Raises:
        InputError: neither is told and the neighbours are not such pairs.
    """
    told = [r.person or video_of(r) for r in records]
    if any(t is None for t in told):
        pairs = zip(records[::2], records[1::2], strict=False)
        if len(records) % 2 or any({a.abnormal, b.abnormal} != {False, True} for a, b in pairs):
            raise InputError(
                "records",
                "expected person, source_id, or neighbours of which one is normal and one an anomaly",
                "the identity protocol needs to know which pictures are a pair",
            )
        told = [f"pair {i // 2}" for i in range(len(records))]
    return [replace(r, image_id=str(t)) for r, t in zip(records, told, strict=True)]


def split_by_video(
    records: Sequence[Record], validation: float = 0.05, seed: int = 0
) -> tuple[list[Record], list[Record]]:
    """(training, validation) records such that no video is in both; order is kept.

    ``validation`` is the share of videos held out, at least one. A record without ``source_id`` goes by its
    ``person``, else by its ``image_id``. The draw depends on the seed and the names only, not on the order.

    Raises:
        InputError: a share outside 0–1 (both excluded) or fewer than two videos.
    """
    if not 0 < validation < 1:
        raise InputError("validation", f"expected a share between 0 and 1, got {validation}")
    keys = [_group(r) for r in records]
    drawn = sorted(set(keys), key=lambda key: (_draw(seed, key), key))
    if len(drawn) < 2:
        raise InputError("records", f"expected two or more videos, got {len(drawn)}")
    held = set(drawn[: min(max(1, round(validation * len(drawn))), len(drawn) - 1)])
    return (
        [r for r, key in zip(records, keys, strict=True) if key not in held],
        [r for r, key in zip(records, keys, strict=True) if key in held],
    )


def _draw(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}/{key}".encode("utf-8", "replace")).digest()


def _group(record: Record) -> str:
    video = video_of(record)
    if video is not None:
        return f"video {video}"
    return f"person {record.person}" if record.person else f"image {record.image_id}"


@dataclass(frozen=True, slots=True)
class Attributes(Jsonable):
    """What a set of records shows: counts by action and scene in small letters, commonest first.

    ``words`` is the mean number of words of a caption, None without any; ``unlabelled`` counts records that are
    neither called normal nor abnormal.
    """

    normal: int
    abnormal: int
    unlabelled: int
    words: float | None
    normal_actions: Mapping[str, int] = field(default_factory=dict)
    abnormal_actions: Mapping[str, int] = field(default_factory=dict)
    scenes: Mapping[str, int] = field(default_factory=dict)


def attributes(records: Sequence[Record]) -> Attributes:
    """The attribute annotation of ``records`` in numbers."""
    labels = Counter(r.abnormal for r in records)
    lengths = [len(text.split()) for r in records for text in r.captions]
    return Attributes(
        labels[False],
        labels[True],
        labels[None],
        sum(lengths) / len(lengths) if lengths else None,
        _counts(r.action for r in records if r.abnormal is False),
        _counts(r.action for r in records if r.abnormal),
        _counts(r.scene for r in records),
    )


def _counts(words: Iterable[str | None]) -> dict[str, int]:
    counted = Counter(" ".join(w.casefold().split()) for w in words if w and w.strip())
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class Challenge(Jsonable):
    """The release with masked names: (id, text) ``queries`` in the order asked for, and the ``gallery``'s pictures
    as paths inside ``store``. Which answers which is not told."""

    queries: tuple[tuple[str, str], ...]
    gallery: tuple[str, ...]
    store: str

    def records(self) -> list[Record]:
        """The gallery as records without captions; ``image_id`` is the masked name."""
        return [Record(name, _masked(name), store=self.store) for name in self.gallery]


def read_challenge(folder: str | Path) -> Challenge:
    """``query_index.txt``, the query texts and ``gallery/`` (or ``gallery.zip``) of ``folder``.

    The texts are ``query_text.json`` or ``query.json``: JSON lines or a list of objects with ``query_index`` and
    ``caption``, or one object of id → text. Without ``query_index.txt`` their order is the order of the queries.

    Raises:
        InputError: a part that is missing, a query without text, or a name that comes twice.
    """
    folder = Path(folder)
    path = next((folder / n for n in _QUERIES if (folder / n).is_file()), None)
    if path is None:
        raise InputError(str(folder), "holds no query texts", f"expected {' or '.join(_QUERIES[:2])}")
    texts = _query_texts(path)
    index = folder / "query_index.txt"
    order = _store.read_text(index).split() if index.is_file() else list(texts)
    for name in order:
        if name not in texts:
            raise InputError(str(index), f"query {name!r:.60} has no text in {path.name}")
    if len(set(order)) < len(order):
        raise InputError(str(index), "asks for a query twice")
    if not order:
        raise InputError(str(folder), "asks for no query")
    store = next((folder / n for n in ("gallery", "gallery.zip") if (folder / n).exists()), None)
    if store is None:
        raise InputError(str(folder), "holds neither gallery/ nor gallery.zip")
    gallery = tuple(n for n in _store.names(store) if n.lower().endswith(_PICTURES) and "/." not in f"/{n}")
    if not gallery:
        raise InputError(str(store), "holds no pictures", f"expected {', '.join(_PICTURES)}")
    if len({_masked(n) for n in gallery}) < len(gallery):
        raise InputError(str(store), "holds two pictures of one name")
    return Challenge(tuple((name, texts[name]) for name in order), gallery, str(store))


def _query_texts(path: Path) -> dict[str, str]:
    """Query id → text of the forms in which the releases give it."""
    text = _store.read_text(path)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None  # JSON lines
    pairs: list[tuple[str, object, str]] = []
    if isinstance(whole, dict) and "query_index" not in whole:
        pairs = [(name, value, f"{path}: {name!r:.60}") for name, value in whole.items()]
    else:
        for where, row in numbered(path):
            name = identity(row, ("query_index",), where)
            if name is None:
                raise InputError(where, "expected query_index, the id of a query")
            pairs.append((name, row, where))
    found: dict[str, str] = {}
    for name, value, where in pairs:
        if isinstance(value, dict):
            value = value.get("caption", value.get("text"))
        if not isinstance(value, str):
            raise InputError(where, "expected the text of the query as caption")
        if name in found:
            raise InputError(where, f"query {name!r:.60} comes twice")
        found[name] = value
    return found


def _masked(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in _PICTURES else path.name


def write_answer(path: str | Path, challenge: Challenge, ranked: Mapping[str, Sequence[str]]) -> None:
    """Write ``answer.txt``: for each query in order a line of its best ten gallery names, best first.

    ``ranked`` maps query ids to names, with or without folder and suffix; names after the tenth are left out.

    Raises:
        InputError: a query without answer, too few names, one that comes twice or is not in the gallery.
    """
    known = {_masked(n) for n in challenge.gallery}
    lines = []
    for name, _ in challenge.queries:
        if name not in ranked:
            raise InputError(f"query {name}", "has no answer", "rank the gallery for every query")
        given = [_masked(n) for n in ranked[name][:NAMED]]
        lines.append(" ".join(_checked(given, known, f"query {name}")))
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text("".join(line + "\n" for line in lines), "utf-8")
    part.replace(path)


def read_answer(path: str | Path, challenge: Challenge) -> dict[str, tuple[str, ...]]:
    """Query id → the gallery names of its line in ``answer.txt``, best first.

    Raises:
        InputError: another number of lines than queries, or a line that does not fit.
    """
    lines = _store.read_text(path).splitlines()
    if len(lines) != len(challenge.queries):
        raise InputError(str(path), f"expected {len(challenge.queries)} lines, one a query, got {len(lines)}")
    known = {_masked(n) for n in challenge.gallery}
    return {
        name: tuple(_checked([_masked(n) for n in line.split()], known, f"{path}:{number}"))
        for number, ((name, _), line) in enumerate(zip(challenge.queries, lines, strict=True), 1)
    }


def _checked(names: list[str], known: set[str], where: str) -> list[str]:
    wanted = min(NAMED, len(known))
    if len(names) != wanted or len(set(names)) < wanted:
        raise InputError(where, f"expected {wanted} different gallery names, got {len(set(names))}")
    for name in names:
        if name not in known:
            raise InputError(where, f"{name!r:.60} is not a name of the gallery")
        if name.split() != [name]:
            raise InputError(where, f"{name!r:.60} holds a blank, which parts the names of a line")
    return names
