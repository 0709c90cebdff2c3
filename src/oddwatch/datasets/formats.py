"""Which data set a folder holds, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from oddwatch.core import InputError
from oddwatch.datasets.cuhk import read_cuhk_sample
from oddwatch.datasets.flickr import read_flickr
from oddwatch.datasets.pab import read_pab
from oddwatch.datasets.pedes import name_of, read_cuhk_pedes, read_icfg_pedes, read_rstp_reid
from oddwatch.datasets.records import Footage, Record, read_folder, read_scenes
from oddwatch.datasets.ucf import read_ucf
from oddwatch.datasets.upcam import read_upcam

READERS: Mapping[str, Callable[[Path], list[Record]]] = {
    "records": read_folder,
    "flickr8k": read_flickr,
    "cuhk": read_cuhk_sample,
    "cuhk_pedes": read_cuhk_pedes,
    "icfg_pedes": read_icfg_pedes,
    "rstp_reid": read_rstp_reid,
    "pab": read_pab,
}
"""Format → reader of captioned pictures; of a benchmark with splits, the test split."""

FOOTAGE_READERS: Mapping[str, Callable[[Path], list[Footage]]] = {
    "upcam": read_upcam,
    "ucf_crime": read_ucf,
    "records": read_scenes,
}
"""Format → reader of videos with described events."""


def detect_format(folder: str | Path) -> str | None:
    """The format of a data folder: records, flickr8k, cuhk, cuhk_pedes, icfg_pedes, rstp_reid, upcam, ucf_crime,
    pennfudan, pab, or None.

    Raises InputError when ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(str(folder), "expected a data folder", "give the folder that holds the annotations")
    present = {p.name for p in folder.iterdir()}
    if "records.jsonl" in present:
        return "records"
    if {"captions.jsonl", "images.zip"} <= present:
        return "flickr8k"
    if "cuhk01_index.csv" in present:
        return "cuhk"
    if (pedes := name_of(present)) is not None:
        return pedes
    if any(n.endswith("_events.csv") for n in present):
        return "upcam"
    if "annotations.json" in present and any(n.endswith("_x264.mp4") for n in present):
        return "ucf_crime"
    if any(n.startswith("pennfudan") and n.endswith(".zip") for n in present):
        return "pennfudan"
    annotated = [p for n in ("annotation", "annotations") for p in (folder / n).rglob("*.json")]
    if annotated or any(n.endswith(".json") and "test" in n for n in present):
        return "pab"
    return None


def read_footage(folder: str | Path) -> list[Footage]:
    """Videos with described events. Raises InputError for a folder of another form."""
    name = detect_format(folder)
    if name is None or name not in FOOTAGE_READERS:
        known = ", ".join(FOOTAGE_READERS)
        raise InputError(str(folder), "no videos with described events found", f"known forms: {known}")
    return FOOTAGE_READERS[name](Path(folder))
