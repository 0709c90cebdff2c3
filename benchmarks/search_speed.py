"""Speed of a whole sentence search: python benchmarks/search_speed.py [--rows 100000] [--people 200] [--folder DIR].

The gallery holds ``rows`` people whose facts are those of ``people`` drawn and described ones, resampled with noise in
the log odds; each with its boxes, views, a picture vector and a thumbnail, as indexing stores them. The sentences are 200
published captions of CUHK-PEDES (its sample in the data folder) when that is there, else captions of drawn people.
Prints p50 and p95 in milliseconds of every step, the first search apart, and with and without the sentence encoder.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, Entry, Facts, InputError, Person, Span, TextEncoder, View
from oddwatch.datasets.cuhk import read_cuhk_captions
from oddwatch.datasets.records import data_root
from oddwatch.describe.atoms import ATOMS, SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.encoders.sentence import SentenceEncoder
from oddwatch.gallery import Gallery
from oddwatch.pipeline.models import Models, spaces
from oddwatch.search.engine import search
from oddwatch.train.calibration import People, captions, draw_people

START = datetime(2026, 1, 1, tzinfo=UTC)
THUMBNAIL = bytes(4_000)
SENTENCES = 200


def entries(people: People, rows: int) -> Iterator[Entry]:
    """``rows`` entries with noisy copies of the facts of ``people``."""
    rng = np.random.default_rng(11)
    odds = np.log(np.clip(people.p, 1e-3, 1 - 1e-3) / (1 - np.clip(people.p, 1e-3, 1 - 1e-3)))
    for i in range(rows):
        j = int(rng.integers(len(odds)))
        p = 1 / (1 + np.exp(-(odds[j] + rng.normal(0, 0.7, odds.shape[1]))))
        known = people.known[j]
        box = Box(10, 20, 60, 160)
        boxes = {ATOMS[a]: box for a in np.flatnonzero(known).tolist()}
        facts = Facts(SCHEMA_ID, p.astype(np.float32), known, boxes)
        vector = rng.normal(size=384).astype(np.float32)
        yield Entry(
            id=f"{i * 2654435761 % 2**32:08x}{i:08x}", source=f"/footage/{i // 500:05d}.mp4", kind="person",
            span=Span(i % 500, i % 500 + 4.0), time=i % 500 + 1.0, frame=i % 500, box=box, camera=f"camera {i % 16}",
            wall_time=START + timedelta(seconds=26 * i), views=(View(1.0, 1, Person(box)),) * 3, facts=facts,
            vectors={"facts": evidence(facts), "image": vector / np.linalg.norm(vector)}, thumbnail=THUMBNAIL,
        )  # fmt: skip


def sentences(people: People) -> list[str]:
    """200 captions: published ones where there are any."""
    try:
        said = [t for r in read_cuhk_captions(data_root() / "cuhk_pedes_sample") for t in r.captions]
    except (InputError, OSError):
        said = [q.text for _, _, q in captions(people, "B", 5)]
    rng = np.random.default_rng(3)
    return [said[i] for i in rng.permutation(len(said))[:SENTENCES].tolist()]


def measure(gallery: Gallery, asked: list[str], encoder: TextEncoder | None) -> dict[str, dict[str, float]]:
    """Step → p50 and p95 in milliseconds, and the first search's total."""
    spent: dict[str, list[float]] = {}
    refused = 0
    for text in asked:
        try:
            found = search(gallery, text, top=10, sentence_encoder=encoder)
        except InputError:
            refused += 1
            continue
        for step, seconds in found.timing.items():
            spent.setdefault(step, []).append(1000 * seconds)
    first = {"first": {"total": round(spent["total"][0], 1), "refused": refused}}
    return first | {
        step: {"p50": round(float(np.median(v[1:])), 1), "p95": round(float(np.quantile(v[1:], 0.95)), 1)}
        for step, v in spent.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="Keep the gallery here, and use it if it is there.")
    args = parser.parse_args()
    people = draw_people(71, args.people, Models())
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "gallery"
        fresh = not folder.exists()
        with Gallery.open(folder, encoders=spaces()) as gallery:
            started = time.perf_counter()
            if fresh:
                gallery.add(entries(people, args.rows))
                gallery.optimize()
            built = time.perf_counter() - started
            asked = sentences(people)
            report: dict[str, Any] = {
                "rows": len(gallery),
                "built s": round(built, 1),
                "sentences": len(asked),
            }
            report["without encoder ms"] = measure(gallery, asked, None)
        with Gallery.open(folder, encoders=spaces()) as gallery:
            report["with encoder ms"] = measure(gallery, asked, SentenceEncoder(threads=2))
            report["with encoder, again, ms"] = measure(gallery, asked, SentenceEncoder(threads=2))
    report["memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        json.dumps(
            {"about": {k: v for k, v in report.items() if not isinstance(v, dict)}, "rows": rows_of(report)},
            indent=1,
        )
    )


def rows_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a run and step; the total first."""
    rows = []
    for run, steps in report.items():
        if not isinstance(steps, dict):
            continue
        rows += [
            {
                "rows": report["rows"],
                "run": run.removesuffix(" ms").rstrip(","),
                "step": step,
                "p50 ms": v["p50"],
                "p95 ms": v["p95"],
            }
            for step, v in sorted(steps.items(), key=lambda item: item[0] != "total")
            if "p50" in v
        ]
    return rows


if __name__ == "__main__":
    main()
