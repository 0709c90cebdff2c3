"""Four cameras on one laptop: python benchmarks/watch_four.py [--seconds 600] [--out FILE].

Drawn footage (640 × 360, 25 frames a second) is played four times at once, as if live, to `oddwatch watch`'s own loop: camera
profile learnt from the first part of each camera's own past, one sentence, people and backbone on a shared budget of six looks
a second. Models are loaded and warm before the clock starts; numbers are of the time after the profiles are learnt
(``--learn`` seconds, and as many again to settle). Told for each camera, each second: looks, frames taken in, frames passed over
on purpose (they would take the looks' time) and frames dropped (they came faster than they were taken); lag when a frame is taken
in, and from its arrival until its judgement is there. Of the process: memory over time, with the straight line through all but the first third.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench.tables import markdown, write_rows
from oddwatch.core import Box, Frame, Person
from oddwatch.datasets.scenes import generate
from oddwatch.detectors.video.watching import WatchSettings
from oddwatch.media.streams import Stream, StreamState
from oddwatch.pipeline.models import Models
from oddwatch.pipeline.video_setup import VideoOptions
from oddwatch.serve.budget import Budget
from oddwatch.serve.events import Sign
from oddwatch.serve.judge import JudgeOptions, LiveJudge
from oddwatch.serve.watch import Options, watch


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass
class Watched:
    """A judge that is timed; what came before ``since`` (by the clock of ``time.monotonic``) is not told."""

    judge: LiveJudge
    streams: dict[str, Stream]
    since: float
    looks: Counter[str] = field(default_factory=Counter)
    cost: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    late: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def update(self, camera: str, frame: Frame, look: bool) -> Sequence[Sign]:
        """The judge's own answer."""
        lag, began = self.streams[camera].state.lag, time.monotonic()
        signs = self.judge.update(camera, frame, look)
        spent = time.monotonic() - began
        if began >= self.since:
            self.looks[camera] += look
            self.cost[look].append(spent)
            self.late[camera].append(lag + spent)
        return signs


def warmed(cameras: int) -> Models:
    """Models that have looked once, each with its share of the processors."""
    models = Models(threads=max(1, (os.cpu_count() or 1) // cameras), quick=True)
    street = Frame(np.full((360, 640, 3), 90, np.uint8), "warm", 0.0)
    models.finder.find(street)
    models.patches.encode_up_to([street], WatchSettings().layers[:1])
    models.describer.describe(street, Person(Box(300, 100, 340, 200), 0.9))
    return models


def main() -> None:
    """Watch, sample lag and memory once a second, write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--learn", type=float, default=30.0)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--looks", type=float, default=6.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oddwatch-four-") as temporary:
        rows = watched(Path(temporary), options)
    print(markdown(rows))
    if options.out:
        write_rows(options.out, rows, {"script": "benchmarks/watch_four.py", "machine": "two shared cores",
                                       "note": __doc__})  # fmt: skip


def watched(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows."""
    generate(folder / "scenes", scenes=1, seed=77, codec="h264")
    video = next((folder / "scenes" / "media").glob("*.mp4"))
    streams = [Stream(video, f"cam-{i + 1}", pace=True, loop=True) for i in range(options.cameras)]
    asked = JudgeOptions(alerts=["someone lying on the ground"], video=VideoOptions(), learn=options.learn)
    judge = Watched(
        LiveJudge(asked, models=warmed(options.cameras)),
        {s.camera: s for s in streams},
        time.monotonic() + 2 * options.learn,
    )
    memory: list[tuple[float, float]] = []
    lags: dict[str, list[float]] = {s.camera: [] for s in streams}
    before: list[tuple[StreamState, ...]] = []
    loads: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(1.0):
            now = time.monotonic()
            memory.append((now, memory_mb()))
            loads.append(os.getloadavg()[0])
            if now < judge.since:
                continue
            if not before:
                before.append(tuple(s.state for s in streams))
            for stream in streams:
                lags[stream.camera].append(stream.state.lag)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    cpu, began = time.process_time(), time.monotonic()
    settings = Options(folder / "out", budget=Budget(options.looks), seconds=options.seconds)
    summary = watch(streams, judge, settings)
    cpu, spent, seconds = time.process_time() - cpu, time.monotonic() - began, time.monotonic() - judge.since
    stop.set()
    if not before:
        raise SystemExit(f"--seconds must be more than {2 * options.learn:.0f}, or --learn less")
    rows = [
        {
            "protocol": "four cameras",
            "camera": new.camera,
            "seconds": round(seconds, 1),
            "looks a second": judge.looks[new.camera] / seconds,
            "frames taken a second": (state.frames - old.frames) / seconds,
            "frames passed over a second": (state.passed - old.passed) / seconds,
            "frames dropped a second": (state.dropped - old.dropped) / seconds,
            **{f"lag {k} s": v for k, v in percentiles(lags[new.camera]).items()},
            **{f"judged after {k} s": v for k, v in percentiles(judge.late[new.camera]).items()},
        }
        for new, state, old in zip(streams, summary.streams, before[0], strict=True)
    ]
    return [*rows, {
        "protocol": "four cameras",
        "camera": "all",
        "seconds": round(seconds, 1),
        "looks a second": sum(judge.looks.values()) / seconds,
        "ms a look": 1e3 * float(np.mean(judge.cost[True] or [np.nan])),
        "ms a frame": 1e3 * float(np.mean(judge.cost[False] or [np.nan])),
        "alerts": summary.alerts,
        "profiles learnt": sum(judge.judge.camera(s.camera).ready is not None for s in streams),
        "cpu seconds a second": cpu / spent,
        "load": float(np.mean(loads)),
        **flatness(memory),
    }]  # fmt: skip


def percentiles(values: list[float]) -> dict[str, float]:
    """The middle, the 95th of a hundred, and the largest."""
    middle, high, most = np.percentile(values or [np.nan], [50, 95, 100]).tolist()
    return {"p50": middle, "p95": high, "max": most}


def flatness(memory: list[tuple[float, float]]) -> dict[str, float]:
    """Memory at a third of the time and at the end (medians of ten samples), and how steep the line between is."""
    late = np.array(memory[len(memory) // 3 :])
    slope = float(np.polyfit(late[:, 0] - late[0, 0], late[:, 1], 1)[0])
    return {
        "memory MB at a third": float(np.median(late[:10, 1])),
        "memory MB at the end": float(np.median(late[-10:, 1])),
        "memory MB most": float(late[:, 1].max()),
        "memory MB a minute": 60 * slope,
    }


if __name__ == "__main__":
    main()
