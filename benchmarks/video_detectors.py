"""Detectors of video on real sets: python benchmarks/video_detectors.py [SET …] [--cache DIR] [--fresh].

Sets: ``ped1`` (UCSD Ped1 test clips, four folds by clip, learnt from the normal segments of the other clips), ``avenue`` (stills
every 2 s, learnt from 142 normal stills), ``tracks`` (Avenue and ShanghaiTech boxes, no pixels), ``umn`` (first 150 frames
learnt), ``fights`` (clip labels, five folds by near-duplicate source; zero-shot rows learn nothing), ``upcam`` (an office hour of
128 × 64 pixels at 5 frames a second, by movement alone). The sets are samples with protocols of their own: only their READMEs' floors
compare. The cue *left* of the camera profile takes no part: things that stay were not noted. Rows are kept in
``results/video_detectors.json`` as they come; a run that was stopped goes on.
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

from oddwatch.bench.tables import markdown, read_rows, write_rows
from oddwatch.bench.videos import run_video_bench
from oddwatch.detectors.video.watching import WatchSettings
from oddwatch.pipeline.models import Models

ROOT = Path(__file__).parent
DATA = Path(os.environ.get("ODDWATCH_DATA", ROOT.parent.parent / "shared" / "data"))
OUT = ROOT / "results" / "video_detectors.json"
PIXELS = ("motion", "objects", "people", "tokens")


@dataclass(frozen=True, slots=True)
class Job:
    """A method on a set: what is noted of the clips, and how many looks a second the models get."""

    method: str
    folder: str
    looks: float = 2.0
    want: tuple[str, ...] = PIXELS
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells a row from others."""
        return json.dumps([self.method, self.folder, self.looks, self.want, self.options])


SETS: dict[str, list[Job]] = {
    "tracks": [Job("camera-profile", "pedestrian_tracks")],
    "avenue": [Job("camera-profile", "avenue"), Job("ai-vad", "avenue")],
    "umn": [Job(m, "umn_crowd") for m in ("camera-profile", "ai-vad", "agitation")],
    "ped1": [Job(m, "ucsd_ped1") for m in ("camera-profile", "ai-vad", "agitation", "stg-nf", "mulde")],
    "fights": [
        *(Job(m, "surveillance_fights", 4.0, ("motion", "objects", "tokens")) for m in ("agitation", "linear", "sultani", "rtfm", "ur-dmu")),
        Job("camera-profile", "surveillance_fights", 4.0, ("motion", "objects", "tokens")),
    ],
    "upcam": [Job(m, "upcam_cctv", 0.2, ("motion", "objects")) for m in ("camera-profile", "ai-vad", "agitation")],
}  # fmt: skip


def run(job: Job, cache: Path, models: Models) -> Iterator[dict[str, Any]]:
    """The rows of a job, one a set of the folder."""
    settings = WatchSettings(want=job.want, looks=job.looks)
    rows = run_video_bench(
        DATA / job.folder,
        methods=[job.method],
        settings=settings,
        models=models,
        options=job.options,
        cache=cache,
    )
    for row in rows:
        yield {**row, "load": os.getloadavg()[0], "key": job.key}


def main() -> None:
    """Run the sets asked for, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--cache", type=Path, help="where notes are kept; default: until the run ends")
    parser.add_argument("--fresh", action="store_true", help="make the rows of these sets again")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    cache = options.cache or Path(tempfile.mkdtemp(prefix="oddwatch-"))
    models = Models(threads=options.threads)
    for name in options.sets:
        keys = {job.key for job in SETS[name]}
        rows = read_rows(OUT) if OUT.is_file() else []
        rows = [r for r in rows if not (options.fresh and r["key"] in keys)]
        for job in SETS[name]:
            if any(row["key"] == job.key for row in rows):
                continue
            started = time.perf_counter()
            rows += run(job, cache, models)
            write_rows(OUT, rows, {"script": "benchmarks/video_detectors.py", "machine": "two shared cores"})
            print(f"{job.method} {job.folder}: {time.perf_counter() - started:.0f} s", flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
