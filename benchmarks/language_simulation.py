"""What cloze and pairwise re-ranking gain when a witness errs: a simulation on human sentences.

    OMP_NUM_THREADS=1 python benchmarks/language_simulation.py [--people 500] [--seed 0] [--out FILE]

Reads the captions of ``cuhk_pedes_sample`` (found by ``ODDWATCH_DATA``). No picture takes part: see
``oddwatch.bench.noisy`` for what stands for a picture and ``oddwatch.bench.simulation`` for the run. Prints Markdown
tables; ``--out`` also writes every row as JSON.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from oddwatch.bench.noisy import make_world
from oddwatch.bench.simulation import PROTOCOL, Simulation, pivot
from oddwatch.bench.tables import write_rows
from oddwatch.datasets.cuhk import read_cuhk_captions
from oddwatch.datasets.records import data_root
from oddwatch.encoders.sentence import SentenceEncoder


def main() -> None:
    """Run all settings and print how gains depend on N and on the error rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unknown-share", type=float, default=0.3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    started = time.process_time()
    world = make_world(read_cuhk_captions(data_root() / "cuhk_pedes_sample"), args.people, args.seed)
    run = Simulation(world, SentenceEncoder(threads=1), args.seed, args.unknown_share)
    rows = list(run.rows())
    seconds = round(time.process_time() - started, 1)
    coarse = rows[0]
    print(
        f"{PROTOCOL}: {coarse['gallery']} items of {args.people} people, {coarse['n_queries']} queries, seed {args.seed}"
    )
    print(
        f"coarse: R@1 {coarse['R@1']:.1f}, R@5 {coarse['R@5']:.1f}, mAP {coarse['mAP']:.1f}; {seconds} s of one core"
    )
    print("\nPoints of R@1 over coarse (bold: p < 0.05, paired bootstrap by person)\n")
    print(pivot(rows))
    print("Points of R@1 over the cloze test with the same reports, N, error and weighting\n")
    print(pivot(rows, "R@1 over cloze"))
    if args.out:
        about = {
            "command": f"OMP_NUM_THREADS=1 python benchmarks/language_simulation.py --people {args.people} --seed {args.seed}",
            "sentences": "CUHK-PEDES val and test captions; plain items as written, twins and queries with a swapped doing",
            "unknown_share": args.unknown_share,
            "encoder": run.encoder.id,
            "cpu_seconds": seconds,
        }
        write_rows(args.out, rows, about)


if __name__ == "__main__":
    main()
