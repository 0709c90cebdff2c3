"""Four cameras on one laptop: python benchmarks/watch_four.py [--seconds 600] [--out FILE].

Drawn footage (640 × 360, 25 frames a second) is played four times at once, as if live, to `oddwatch watch`'s own loop: camera
profile learnt from the first ten seconds of each camera's past, one sentence, people and backbone on a shared budget of six
looks a second. Told for each camera: frames taken in and dropped, looks a second, lag; and the memory of the process over time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from oddwatch.bench.tables import markdown, write_rows
from oddwatch.datasets.scenes import generate
from oddwatch.media.streams import Stream
from oddwatch.pipeline.models import Models
from oddwatch.pipeline.video_setup import VideoOptions
from oddwatch.serve.budget import Budget
from oddwatch.serve.judge import JudgeOptions, LiveJudge
from oddwatch.serve.watch import Options, watch


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Watch, sample lag and memory once a second, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--looks", type=float, default=6.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="oddwatch-four-"))
    generate(folder / "scenes", scenes=1, seed=77, codec="h264")
    video = next((folder / "scenes" / "media").glob("*.mp4"))
    streams = [Stream(video, f"cam-{i + 1}", pace=True, loop=True) for i in range(options.cameras)]
    judge = LiveJudge(
        JudgeOptions(alerts=["someone lying on the ground"], video=VideoOptions(), learn=10.0),
        models=Models(quick=True),
    )
    lags: dict[str, list[float]] = {s.camera: [] for s in streams}
    memory: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(1.0):
            memory.append(memory_mb())
            for stream in streams:
                lags[stream.camera].append(stream.state.lag)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    started = time.perf_counter()
    settings = Options(folder / "out", budget=Budget(options.looks), seconds=options.seconds)
    summary = watch(streams, judge, settings)
    spent = time.perf_counter() - started
    stop.set()
    late = memory[len(memory) // 3 :]
    rows = [
        {
            "protocol": "four cameras",
            "camera": stream.camera,
            "seconds": round(spent, 1),
            "frames taken a second": state.frames / spent,
            "frames dropped a second": state.dropped / spent,
            "lag p50 s": float(np.percentile(lags[stream.camera], 50)),
            "lag p95 s": float(np.percentile(lags[stream.camera], 95)),
            "lag max s": float(max(lags[stream.camera])),
        }
        for stream, state in zip(streams, summary.streams, strict=True)
    ]
    rows.append(
        {
            "protocol": "four cameras",
            "camera": "all",
            "seconds": round(spent, 1),
            "looks a second": summary.looks / spent,
            "alerts": summary.alerts,
            "memory MB at a third": late[0],
            "memory MB at the end": late[-1],
            "load": os.getloadavg()[0],
        }
    )
    print(markdown(rows))
    if options.out:
        write_rows(options.out, rows, {"script": "benchmarks/watch_four.py", "machine": "two shared cores"})


if __name__ == "__main__":
    main()
