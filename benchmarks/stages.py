"""What each stage of a search buys and costs: python benchmarks/stages.py [generated | SET …] [--pairs 200] [--cross DIR].

``generated`` asks 400 drawn people of a seed nothing was fitted on (as ``search_generated.py`` draws them); a SET is a captioned
folder of the data (default: street_people). Every composition answers the same queries and is paired with coarse and with
coarse + facts. Writes benchmarks/results/stages_NAME.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import search_generated

from oddwatch.bench.search import run_search_bench
from oddwatch.bench.stages import LADDER
from oddwatch.bench.subjects import Described
from oddwatch.bench.tables import markdown, write_rows
from oddwatch.datasets.records import data_root
from oddwatch.pipeline.models import Models
from oddwatch.search.cross import CrossModel

RESULTS = Path(__file__).parent / "results"
SEED = 424_242


def generated(pairs: int, cross: Path | None) -> list[dict[str, Any]]:
    """Rows over drawn twins."""
    models = Models()
    drawn = search_generated.draw(pairs, SEED, search_generated.RARITY, models)
    own = CrossModel.load(cross) if cross is not None else None
    return search_generated.ladder(drawn, Described(models.sentence), own, SEED, LADDER)


def real(name: str, cross: Path | None) -> list[dict[str, Any]]:
    """Rows over a captioned set: the rankings and their paired comparisons."""
    rows = run_search_bench(data_root() / name, ladder=True, cross=cross)
    return [
        r
        for r in rows
        if r["protocol"] in ("text to picture", "paired") and "colour-histogram" not in r.values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=["generated", "street_people"])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--cross", type=Path, help="folder of a cross-encoder; default: the packaged one")
    args = parser.parse_args()
    for name in args.sets:
        started = time.perf_counter()
        rows = generated(args.pairs, args.cross) if name == "generated" else real(name, args.cross)
        about = {
            "command": f"python benchmarks/stages.py {name}",
            "seconds": round(time.perf_counter() - started, 1),
        }
        write_rows(RESULTS / f"stages_{name}.json", rows, about)
        print(f"# {name}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
