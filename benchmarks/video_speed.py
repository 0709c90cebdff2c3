"""How fast is a camera watched and learnt? python benchmarks/video_speed.py [--cache DIR] [--out FILE].

30 s of a drawn street, 640×360 at 25 frames a second, H.264 (two takes of one camera, one after the other), with two threads:
of two models that look at once each has one, as in `oddwatch detect`. Each row does what the row above does and more: decoding
alone; motion of cells on every frame; moving things followed; people found and followed at two looks a second; the backbone at
the same looks, which is all the camera profile reads; the profile's curve. ``frames_per_second`` is by the clock while the machine
had the ``load`` (processes that want to run, on two cores) that is told beside it; ``cpu_seconds`` is processor time, which other
work distorts less, and ``frames_per_cpu_second`` what one core by itself would give. ``goal`` is what the project wants of two
cores.

The last rows learn 10 minutes of normal footage. Fitting and holding out is measured on notes of that length: the 30 s
repeated 20 times, tracks renumbered, a little noise on boxes, flow and vectors so that nothing is equal. Watching the 10 minutes
is 20 times the 30 s (extrapolated: the watcher's work does not depend on what went before).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch.bench.tables import markdown, write_rows
from oddwatch.datasets.scenes import Scene
from oddwatch.datasets.scenes.writer import write_video
from oddwatch.detectors.video.notes import Notes, joined
from oddwatch.detectors.video.watching import WatchSettings, watch
from oddwatch.media.video import Sampling, Video
from oddwatch.pipeline.video_setup import Eye, VideoOptions, prepare

RESULTS = Path(__file__).parent / "results" / "video_speed.json"
SEED, INDEX, THREADS = 617, 0, 2
SECONDS, LEARNT = 30, 600
STEPS: dict[str, tuple[str, ...]] = {
    "motion": ("motion",),
    "motion, things": ("motion", "objects"),
    "motion, things, people": ("motion", "objects", "people"),
    "motion, things, people, backbone": ("motion", "objects", "people", "deep", "left"),
}


def footage(folder: Path) -> Path:
    """The clip, drawn where it is not there yet."""
    path = folder / f"street-{SEED}-{INDEX}.mp4"
    if not path.exists():
        scene = Scene(SEED, INDEX)

        def frames() -> Iterator[np.ndarray]:
            for pixels, _ in chain(scene.again(1).frames(), scene.again(2).frames(0, SECONDS - 20)):
                yield pixels

        part = path.with_suffix(".part.mp4")
        write_video(part, frames(), "h264")
        part.replace(path)
    return path


def timed(name: str, frames: int, work: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    """A row about ``work`` on so many frames, and its result."""
    clock, cpu = time.perf_counter(), time.process_time()
    out = work()
    seconds, used = time.perf_counter() - clock, time.process_time() - cpu
    row = {"protocol": "video, speed", "method": name, "default": False, "frames": frames, "seconds": seconds,
           "cpu_seconds": used, "load": os.getloadavg()[0]}  # fmt: skip
    return row, out


def longer(notes: Notes, times: int) -> Notes:
    """Notes of the same camera ``times`` as long, nothing quite equal."""
    rng = np.random.default_rng(0)
    length = float(notes.times[-1] - notes.times[0]) + 1 / notes.fps
    parts = []
    for k in range(times):
        own = notes.objects
        box = own.box + rng.normal(0, 0.5, own.box.shape).astype(np.float32)
        deep = own.deep * (1 + rng.normal(0, 0.02, own.deep.shape).astype(np.float32))
        objects = replace(
            own, box=box, deep=deep, track=np.where(own.track >= 0, own.track + k * 10_000_000, -1)
        )
        motion = notes.motion * (1 + rng.normal(0, 0.05, notes.motion.shape)).astype(np.float16)
        parts.append(
            replace(notes, times=notes.times + k * length, objects=objects, motion=motion, tokens={})
        )
    return joined(parts)


def main() -> None:
    """One row after the other, printed and written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, help="keep the drawn clip here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    cv2.setNumThreads(THREADS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.cache or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measured(Video(footage(folder)))
    for row in rows:
        print(row, flush=True)
    write_rows(args.out, rows, {"command": "python benchmarks/video_speed.py", "threads": THREADS,
                                "machine": "two shared cores", "note": __doc__})  # fmt: skip
    print(markdown(rows))


def measured(video: Video) -> list[dict[str, Any]]:
    """All rows."""
    models = Eye(("people", "deep"), VideoOptions(threads=THREADS)).models
    first = next(iter(video.frames(Sampling(None))))
    models.finder.find(first)  # models are loaded and warm before the clock starts
    models.patches.encode_up_to([first], ("block_9",))
    count = len(video.times)
    row, _ = timed("decoding", count, lambda: sum(1 for _ in video.frames(Sampling(None))))
    rows = [row]
    notes = None
    for name, want in STEPS.items():
        finder = models.finder if "people" in want else None
        eyes = models.patches if "deep" in want else None
        settings = WatchSettings(want=want)
        row, notes = timed(name, count, partial(watch, video, settings, finder=finder, eyes=eyes))
        rows.append(row)
    assert notes is not None
    options = VideoOptions()
    minutes = longer(notes, LEARNT // SECONDS)
    fitting, ready = timed(
        "learn 10 minutes: fit and hold out", len(minutes), lambda: prepare([minutes], options)
    )
    judging, _ = timed("judge", count, lambda: ready.detector.curve(notes))
    rows.append(
        summed("camera-profile judged", rows[-1], judging) | {"default": True, "goal": "25 frames a second"}
    )
    watching = {**rows[-2], "method": "learn 10 minutes: watch (extrapolated)", "frames": len(minutes)}
    watching |= {k: watching[k] * LEARNT / SECONDS for k in ("seconds", "cpu_seconds")}
    learning = summed("learn 10 minutes: all (extrapolated)", watching, fitting) | {"goal": "300 seconds"}
    rows += [watching, fitting, learning]
    return [{**row, "frames_per_second": row["frames"] / row["seconds"],
             "frames_per_cpu_second": row["frames"] / row["cpu_seconds"]} for row in rows]  # fmt: skip


def summed(name: str, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A row of two things done one after the other to the same frames."""
    return {**one, "method": name, **{k: one[k] + other[k] for k in ("seconds", "cpu_seconds")}}


if __name__ == "__main__":
    main()
