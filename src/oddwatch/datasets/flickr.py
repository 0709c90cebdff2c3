"""Flickr8k, as shipped in ``flickr8k_mini``: photographs with five human captions (Hodosh et al., 2013)."""

from __future__ import annotations

from pathlib import Path

from oddwatch.core import InputError
from oddwatch.datasets.records import Record, json_lines
from oddwatch.datasets.store import safe_name


def read_flickr(folder: str | Path, split: str | None = None, people_only: bool = False) -> list[Record]:
    """Records of ``captions.jsonl`` with pictures in ``images.zip``; no box: the whole picture is meant.

    ``split`` keeps train, dev or test; ``people_only`` those with a person word in a caption.
    """
    folder, found = Path(folder), []
    for number, row in enumerate(json_lines(folder / "captions.jsonl"), 1):
        file, captions = row.get("file"), row.get("captions")
        if not isinstance(file, str) or not isinstance(captions, list):
            raise InputError(f"{folder}/captions.jsonl: record {number}", "expected file and captions")
        if (split and row.get("split") != split) or (people_only and not row.get("person")):
            continue
        texts = tuple(str(c) for c in captions)
        archive = str(folder / "images.zip")
        found.append(Record(safe_name(file), file, texts, source="flickr8k", store=archive))
    return found
