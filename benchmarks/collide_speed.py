"""How long and how much memory collision handling takes at the size of the 36,773-image protocol.

    OMP_NUM_THREADS=2 python benchmarks/collide_speed.py [--queries 1978] [--gallery 36773] [--top 50] [--out FILE]

Scores are random (normal), with 300 near-twin pairs that make two queries want one image: speed does not need
real ones. Each variant runs on the CSR matrix of the best ``--top`` images per query, which is made from the
dense scores in chunks; ASSIGN also with n = 10, where large components appear, and at last on the whole dense matrix.
``--out`` writes the rows as JSON.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench.tables import write_rows
from oddwatch.search.collide import candidates, resolve


def chunks(queries: int, gallery: int, seed: int, width: int = 2048) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of (first image, scores); query q's own image is q, and each third query's twin is the one before."""
    for start in range(0, gallery, width):
        rng = np.random.default_rng([seed, start])
        block = rng.normal(size=(queries, min(width, gallery - start)))
        for q in range(start, min(queries, start + block.shape[1])):
            block[q, q - start] += 5.0 + rng.random()
            if q % 3 == 0 and q + 1 < queries:
                block[q + 1, q - start] += 5.0 + rng.random()
        yield start, block


def main() -> None:
    """Print seconds, peak memory and colliding queries of each variant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=1978)
    parser.add_argument("--gallery", type=int, default=36_773)
    parser.add_argument("--top", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    started = time.perf_counter()
    S: Any = candidates(chunks(args.queries, args.gallery, args.seed), args.top)
    rows = [row(f"best {args.top} of {args.gallery}", started, None, None)]
    before = resolve(S, "SCA-M", max_passes=0).colliding
    runs: list[tuple[Any, dict[str, int]]] = [
        ("SCA-S", {}), ("SCA-M", {}), ("SCA-2", {}), ("ASSIGN", {}), ("ASSIGN", {"n": 10, "cap": 2000}),
    ]  # fmt: skip
    for variant, options in runs:
        started = time.perf_counter()
        found = resolve(S, variant, **options)
        label = variant + "".join(f" {k}={v}" for k, v in options.items())
        rows.append(row(label, started, found.colliding, int(found.moved.sum()), found.skipped))
    S = np.hstack([block for _, block in chunks(args.queries, args.gallery, args.seed)])
    started = time.perf_counter()
    found = resolve(S, "ASSIGN")
    rows.append(row("ASSIGN, dense matrix", started, found.colliding, int(found.moved.sum()), found.skipped))
    print(f"colliding before: {before}")
    for r in rows:
        print("  ".join(f"{k} {v}" for k, v in r.items() if v is not None))
    if args.out:
        about = {
            "command": "OMP_NUM_THREADS=2 python benchmarks/collide_speed.py "
            f"--queries {args.queries} --gallery {args.gallery} --top {args.top} --seed {args.seed}",
            "scores": "random normal, with twin pairs; peak_mb is that of the whole run up to the row",
            "transductive": True,
            "queries": args.queries,
            "gallery": args.gallery,
            "colliding_before": before,
        }
        write_rows(args.out, rows, about)


def row(
    what: str, started: float, colliding: int | None, moved: int | None, skipped: int | None = None
) -> dict[str, object]:
    """One line of the result; memory is the peak of the whole run so far."""
    return {
        "what": what,
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "colliding": colliding,
        "moved": moved,
        "skipped": skipped,
    }


if __name__ == "__main__":
    main()
