"""Sentence → picture and sentence → moment on every set at hand; writes benchmarks/results/quality_SET.json.

python benchmarks/quality.py [SET …]      sets: street_people flickr8k_mini cuhk_pedes_sample ucf_crime_samples upcam_cctv

Each run holds ours (default and coarse), a random ranking and a colour histogram side by side. The data is
found by ODDWATCH_DATA (default ../shared/data) and is for evaluation only.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from oddwatch.bench.search import run_search_bench
from oddwatch.bench.tables import markdown, write_rows
from oddwatch.datasets.records import data_root

SETS = ("street_people", "flickr8k_mini", "cuhk_pedes_sample", "ucf_crime_samples", "upcam_cctv")
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> None:
    """Run the named sets, or all of them."""
    for name in names or SETS:
        data = data_root() / name
        if not data.is_dir():
            print(f"{name}: not there, skipped")
            continue
        started = time.perf_counter()
        rows = run_search_bench(data, seed=0)
        about = {
            "set": name,
            "seconds": round(time.perf_counter() - started, 1),
            "command": f"python benchmarks/quality.py {name}",
        }
        write_rows(RESULTS / f"quality_{name}.json", rows, about)
        print(f"# {name}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
