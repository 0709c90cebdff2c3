"""Detectors of pictures on four real sets: python benchmarks/image_detectors.py [PART …] [--cache DIR] [--fresh].

Parts: ``default`` (the default detector, all normals, three seeds), ``all`` (training-free detectors, all normals, one seed; those
that need no normals on the test pictures alone, the mutual ones at 224 pixels on the two large sets), ``shots`` (1 and 4 normals, three seeds, no turned copies), ``trained`` (trained detectors, all
normals, one seed, hazelnut and cubes), ``none`` (categories without normals: localisation only, transductive). Each part writes
``results/image_PART.json`` row by row: a run that was stopped goes on, ``--fresh`` starts again.

The sets: hazelnut of ``mvtec_ad_small`` (40 normals; 12 good, 18 defective), ``dobot_cubes`` (52; 35, 54; no masks),
``magnetic_tile_mtd`` (288; 72, 296) and the logical anomalies of ``mvtec_loco_juice_bottle`` (335; 41 of its validation pictures, 107).
They are small samples with protocols of their own: nothing here compares with published tables.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oddwatch.bench.images import run_image_bench
from oddwatch.bench.tables import markdown, read_rows, write_rows
from oddwatch.encoders import load

ROOT = Path(__file__).parent
DATA = Path(os.environ.get("ODDWATCH_DATA", ROOT.parent.parent / "shared" / "data"))
SETS = (
    ("mvtec_ad_small", "hazelnut"), ("dobot_cubes", None), ("magnetic_tile_mtd", None), ("mvtec_loco_juice_bottle", None),
)  # fmt: skip
EASY = SETS[:2]
THREE = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a part: a method, with arguments that its table names, on a set."""

    method: str
    folder: str
    category: str | None
    shots: int | None = None
    seeds: tuple[int, ...] = (0,)
    options: dict[str, Any] = field(default_factory=dict)
    resolution: int = 448

    @property
    def key(self) -> str:
        """What tells a row from others."""
        return json.dumps(
            [self.method, self.folder, self.category, self.shots, self.seeds, self.options, self.resolution]
        )


def jobs(part: str) -> Iterator[Job]:
    """The jobs of a part."""
    if part == "default":
        yield from (Job("parts-and-whole", *one, seeds=THREE) for one in SETS)
    elif part == "all":
        for method in ("parts-and-whole", "subspace", "mvg", "padim"):
            yield from (Job(method, *one) for one in SETS)
        for sets in (EASY, SETS[2:]):  # what takes longest comes last
            for method in ("patchcore", "univad"):
                yield from (Job(method, *one) for one in sets)
            yield from (Job("anomalydino", *one, options={"keep": 4096}) for one in sets)
        for method in ("musc", "musc-v2"):
            yield from (Job(method, *one) for one in EASY)
            # Each of 368 pictures against all others: sixteen times the work at 448 pixels.
            yield from (Job(method, *one, resolution=224) for one in SETS[2:])
    elif part == "shots":
        for sets in (EASY, SETS[2:]):
            for shots in (1, 4):
                for method in ("patchcore", "padim", "mvg"):
                    yield from (Job(method, *one, shots=shots, seeds=THREE) for one in sets)
                for method in ("parts-and-whole", "subspace", "anomalydino"):
                    turned = {
                        "rotations": int(method == "anomalydino")
                    }  # there the picture itself counts as one
                    yield from (Job(method, *one, shots=shots, seeds=THREE, options=turned) for one in sets)
    elif part == "trained":
        for method in ("fastflow", "cpr", "dictas", "nagl", "metauas"):
            yield from (Job(method, *one) for one in EASY)
    elif part == "none":
        for method in ("subspace", "musc"):
            yield from (Job(method, "mvtec_ad_small", name) for name in BARE)


BARE = ("bottle", "cable", "carpet", "grid", "leather", "pill", "screw", "tile", "wood")
PARTS = ("default", "all", "shots", "trained", "none")


def run(job: Job, cache: Path, encoders: dict[int, Any]) -> dict[str, Any]:
    """The row of a job."""
    if job.resolution not in encoders:
        encoders[job.resolution] = load("patches", resolution=job.resolution)
    rows = run_image_bench(
        DATA / job.folder,
        methods=[job.method],
        categories=[job.category] if job.category else None,
        shots=[job.shots],
        seeds=job.seeds,
        encoder=encoders[job.resolution],
        options=job.options,
        cache=cache,
    )
    row = rows[0]
    if job.resolution != 448:
        row["method"] += f" at {job.resolution} px"
    if job.options:
        row["method"] += f" ({', '.join(f'{k}={v}' for k, v in job.options.items())})"
    return {**row, "key": job.key}


def main() -> None:
    """Run the parts asked for, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--cache", type=Path, help="where tokens are kept; default: until the run ends")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    cache = options.cache or Path(tempfile.mkdtemp(prefix="oddwatch-"))
    encoders: dict[int, Any] = {}
    for part in options.parts:
        out = ROOT / "results" / f"image_{part}.json"
        rows = [] if options.fresh or not out.is_file() else read_rows(out)
        for job in jobs(part):
            if any(row["key"] == job.key for row in rows):
                continue
            started = time.perf_counter()
            rows.append(run(job, cache, encoders))
            write_rows(
                out, rows, {"script": f"benchmarks/image_detectors.py {part}", "machine": "two shared cores"}
            )
            print(f"{job.method} {job.folder} {job.shots}: {time.perf_counter() - started:.0f} s", flush=True)
        print(markdown(rows))


if __name__ == "__main__":
    main()
