"""Start-up times: python benchmarks/import_time.py [--repeat N] [--out FILE].

Each is the least and the median wall time of fresh processes, the interpreter's own start (``python -c pass``)
included for the commands and taken off for the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMANDS = {
    "python": (["-c", "pass"], None),
    "import oddwatch": (["-c", "import oddwatch"], 0.150),
    "import oddwatch.core": (["-c", "import oddwatch.core"], None),
    "oddwatch --help": (["-m", "oddwatch", "--help"], 0.5),
    "oddwatch search --help": (["-m", "oddwatch", "search", "--help"], None),
}


def measure(arguments: list[str], repeat: int) -> list[float]:
    spent = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        spent.append(time.perf_counter() - start)
    return sorted(spent)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file too")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    own = 0.0
    for name, (arguments, goal) in COMMANDS.items():
        spent = measure(arguments, options.repeat)
        off = own if name.startswith("import") else 0.0
        own = own or spent[0]
        row = {
            "what": name,
            "least s": round(spent[0] - off, 3),
            "median s": round(spent[len(spent) // 2] - off, 3),
        }
        rows.append({**row, "goal s": goal, "load": round(os.getloadavg()[0], 2)})
        print(json.dumps(rows[-1]), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
