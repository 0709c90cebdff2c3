"""Pictures a second and memory of the picture detectors: python benchmarks/image_speed.py [--out FILE].

Each detector runs in a process of its own on ``dobot_cubes``: it learns the 52 normal pictures and judges 89, encoder included,
nothing remembered. Beside it the encoder alone, up to the same depth. Reported: seconds to learn, pictures judged a second by the
clock and by processor time, and the peak of the process's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from oddwatch.bench.tables import markdown, write_rows

DATA = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
METHODS: dict[str, dict[str, Any]] = {
    "encoder alone, up to block_9": {}, "encoder alone, all blocks": {}, "parts-and-whole": {}, "subspace": {}, "mvg": {},
    "padim": {}, "patchcore": {}, "anomalydino": {"keep": 4096}, "univad": {}, "musc": {}, "musc-v2": {},
}  # fmt: skip


def child(name: str) -> dict[str, Any]:
    """One method, measured in this process."""
    from oddwatch.bench.images import Lazy, kind_of
    from oddwatch.datasets.images import read_image_sets
    from oddwatch.encoders import load

    one = read_image_sets(DATA / "dobot_cubes")[0]
    learn, judge = Lazy(one.train), Lazy(one.test)
    eyes = load("patches", resolution=448)
    if name.startswith("encoder"):
        encode = eyes.encode if "all" in name else eyes.encode_up_to
        layers = ("last",) if "all" in name else ("block_9",)
        encode(judge[:2], layers)
        started, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(judge), 8):
            encode(judge[at : at + 8], layers)
        fit_seconds = None
    else:
        kind = kind_of(name)
        detector = kind(encoder=eyes, **METHODS[name])
        started = time.perf_counter()
        if kind.NEEDS_NORMALS:
            detector.fit(learn)
        fit_seconds = time.perf_counter() - started if kind.NEEDS_NORMALS else None
        started, cpu = time.perf_counter(), time.process_time()
        detector.score(judge)
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    return {
        "fit_seconds": fit_seconds,
        "pictures_per_second": len(judge) / wall,
        "cpu_seconds_per_picture": used / len(judge),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """One process a method; rows printed and written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child)))
        return
    rows = []
    for name in METHODS:
        done = subprocess.run(
            [sys.executable, __file__, "--child", name], capture_output=True, text=True, check=True
        )
        about = {"protocol": "picture detectors, speed", "method": name, "options": json.dumps(METHODS[name])}
        rows.append({**about, "set": "dobot_cubes", "load": os.getloadavg()[0], **json.loads(done.stdout)})
        print(rows[-1], flush=True)
    print(markdown(rows))
    if options.out:
        write_rows(options.out, rows, {"script": "benchmarks/image_speed.py", "machine": "two shared cores"})


if __name__ == "__main__":
    main()
