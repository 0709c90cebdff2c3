"""The data sets of person search by sentences: CUHK-PEDES, ICFG-PEDES and RSTPReid, read as published.

Each is one JSON list of pictures with ``split``, ``captions``, ``id`` (the person) and a path below ``imgs/``.
Any picture of the person answers a sentence. Without the pictures the sentences can still be read.

CUHK-PEDES: Li et al., CVPR 2017. ICFG-PEDES: Ding et al., arXiv 2107.12666. RSTPReid: Zhu et al., arXiv 2109.05534.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oddwatch.core import InputError
from oddwatch.datasets.records import Record, captions_of, identity, numbered, safe_path

FILES: Mapping[str, tuple[str, ...]] = {
    "cuhk_pedes": ("reid_raw.json", "caption_all.json"),
    "icfg_pedes": ("ICFG-PEDES.json", "ICFG_PEDES.json"),
    "rstp_reid": ("data_captions.json",),
}
"""Data set → the names its annotation goes by, the one to be preferred first."""

SPLITS = ("train", "val", "test")


def read_cuhk_pedes(folder: str | Path, split: str | None = "test") -> list[Record]:
    """CUHK-PEDES: the pictures of one split with two sentences each, or of all (None).

    ``caption_all.json``, which names no splits, is read only as a whole, and where ``reid_raw.json`` is missing.
    Of all splits together the persons are called ``train-1``, ``test-1``, …, as the numbers may start anew.

    Raises:
        InputError: no annotation, a split that is not in it, or an item that does not fit.
    """
    return _read("cuhk_pedes", Path(folder), split)


def read_icfg_pedes(folder: str | Path, split: str | None = "test") -> list[Record]:
    """ICFG-PEDES, which has no validation split; else like :func:`read_cuhk_pedes`."""
    return _read("icfg_pedes", Path(folder), split)


def read_rstp_reid(folder: str | Path, split: str | None = "test") -> list[Record]:
    """RSTPReid, five pictures of each person; else like :func:`read_cuhk_pedes`."""
    return _read("rstp_reid", Path(folder), split)


def name_of(present: Collection[str]) -> str | None:
    """Which of the three data sets a folder with these names holds, or None."""
    return next((name for name, files in FILES.items() if any(f in present for f in files)), None)


def pedes_record(row: Mapping[str, Any], where: str, store: str, source: str) -> tuple[str | None, Record]:
    """(split, record) of one annotated picture; ``image_id`` and ``person`` are the person's id.

    Raises:
        InputError: no path, no id, captions that are not texts, or a path that leaves the data; ``where`` names it.
    """
    image = safe_path(row.get("file_path", row.get("img_path")), "file_path", where)
    person = identity(row, ("id",), where)
    if not person:
        raise InputError(where, "expected a field 'id', the number of the person")
    captions = tuple(t for t in (c.strip() for c in captions_of(row.get("captions"), where)) if t)
    split = row.get("split")
    record = Record(image, person, captions, source=source, person=person, store=store)
    return split if isinstance(split, str) else None, record


def _read(name: str, folder: Path, split: str | None) -> list[Record]:
    if split is not None and split not in SPLITS:
        raise InputError("split", f"expected {', '.join(SPLITS)} or None, got {split!r:.60}")
    places = [folder / n for n in FILES[name]]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise InputError(str(folder), f"no annotation of {name}", f"expected {' or '.join(FILES[name])}")
    store = next((str(folder / n) for n in ("imgs", "imgs.zip") if (folder / n).exists()), "")
    read = [pedes_record(row, where, store, name) for where, row in numbered(path)]
    present = {where for where, _ in read if where is not None}
    kept = [record if split else _of(where, record) for where, record in read if split in (None, where)]
    if not kept:
        known = ", ".join(sorted(present)) or "no field 'split'"
        raise InputError(str(path), f"holds no pictures of split {split!r}", f"it has {known}"[:300])
    return kept


def _of(split: str | None, record: Record) -> Record:
    person = f"{split}-{record.person}" if split else record.image_id
    return replace(record, image_id=person, person=person)
