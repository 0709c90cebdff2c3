"""The part of CUHK-PEDES (Li et al., CVPR 2017) in ``cuhk_pedes_sample``; the whole is read by ``pedes``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from oddwatch.core import Box, InputError
from oddwatch.datasets.pedes import pedes_record
from oddwatch.datasets.records import Record, numbered
from oddwatch.datasets.store import read_text, safe_name


def read_cuhk_sample(folder: str | Path) -> list[Record]:
    """The 60×160 crops of CUHK01; ``image_id`` is the person, the box is the whole crop.

    Most crops carry no caption and only widen the gallery.
    """
    folder, found = Path(folder), []
    table = csv.DictReader(io.StringIO(read_text(folder / "cuhk01_index.csv")))
    for number, row in enumerate(table, 2):
        file, person = row.get("file"), row.get("cuhk01_person")
        if not file or not person:
            raise InputError(f"{folder}/cuhk01_index.csv:{number}", "expected columns file and cuhk01_person")
        captions = tuple(c.strip() for c in (row.get("captions") or "").split("|||") if c.strip())
        archive = str(folder / "cuhk01_images_60x160.zip")
        box = Box(0, 0, 60, 160)
        found.append(Record(safe_name(file), person, captions, box, source="cuhk01", store=archive))
    return found


def read_cuhk_captions(folder: str | Path, split: str | None = None) -> list[Record]:
    """The captions of CUHK-PEDES val and test, whose pictures are not shipped (``store`` is empty).

    Raises InputError for a line that does not fit.
    """
    path = Path(folder) / "cuhk_pedes_val_test_captions.jsonl"
    read = [pedes_record(row, where, "", "cuhk_pedes") for where, row in numbered(path)]
    return [record for found, record in read if split is None or found == split]
