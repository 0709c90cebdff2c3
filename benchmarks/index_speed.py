"""Time of indexing a video against the bare model passes it makes: python benchmarks/index_speed.py [VIDEO …].

Per video and repetition, one index run (in this process, models loaded, a gallery in a temporary folder), then the
same pose passes and picture encodings alone: the very arrays the run gave to the models, in the same batches and with
the same threads. ``ratio`` is total over bare, of the repetition with the least total; ``shares`` are the seconds of
the run's steps, which lie side by side and so sum to more than its total. ``real time`` is seconds of footage over
seconds taken, at ``--fps`` analysed frames a second. Without a video, a generated scene (640×360) is indexed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import oddwatch as ow
from oddwatch.pipeline.index import IndexOptions
from oddwatch.pipeline.models import Models


@contextmanager
def recorded(models: Models) -> Iterator[tuple[list[Any], list[Any]]]:
    """The arguments of every pose pass and every encoding while inside."""
    passes: list[Any] = []
    batches: list[Any] = []
    detect, encode = models.pose.detect, models.patches.encode

    def detect_noting(pixels: np.ndarray, long_side: int = 512) -> Any:
        passes.append((pixels, long_side))
        return detect(pixels, long_side)

    def encode_noting(frames: Sequence[Any], layers: Sequence[str] = ("last",)) -> Any:
        batches.append((list(frames), tuple(layers)))
        return encode(frames, layers)

    models.pose.detect, models.patches.encode = detect_noting, encode_noting  # type: ignore[method-assign]
    try:
        yield passes, batches
    finally:
        models.pose.detect, models.patches.encode = detect, encode  # type: ignore[method-assign]


def bare(models: Models, passes: list[Any], batches: list[Any]) -> tuple[float, float]:
    """Seconds of the pose passes and of the encodings, nothing else running."""
    start = time.perf_counter()
    for pixels, long_side in passes:
        models.pose.detect(pixels, long_side)
    middle = time.perf_counter()
    for frames, layers in batches:
        models.patches.encode(frames, layers)
    return middle - start, time.perf_counter() - middle


def once(video: Path, models: Models, fps: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, ow.Gallery.open(Path(folder) / "g") as gallery:
        gallery.models = models
        cpu = time.process_time()
        with recorded(models) as (passes, batches):
            report = gallery.index([video], options=IndexOptions(fps=fps))
        cpu = time.process_time() - cpu
    if not report.sources:
        raise SystemExit(f"{video}: {report.skipped}")
    cpu_bare = time.process_time()
    pose, encode = bare(models, passes, batches)
    cpu_bare = time.process_time() - cpu_bare
    total = report.seconds["total"]
    return {
        "video": video.name, "frames": report.frames, "passes": len(passes), "people": report.people,
        "encoded": sum(len(frames) for frames, _ in batches), "total s": total, "bare pose s": pose, "bare encode s": encode,
        "ratio": total / (pose + encode), "cpu ratio": cpu / cpu_bare, "real time": report.media_seconds / total,
        "shares": {k: v for k, v in report.seconds.items() if k != "total"},
    }  # fmt: skip


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--fps", type=float, default=2.0, help="analysed frames a second")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file too")
    options = parser.parse_args()
    models = Models(threads=options.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if not options.videos:
            from oddwatch.datasets.scenes import generate

            generate(Path(folder), scenes=1, seed=7)
        for video in options.videos or sorted(Path(folder).rglob("*.webm")):
            runs = [once(video, models, options.fps) for _ in range(options.repeat)]
            row = min(runs, key=lambda r: r["total s"])
            row |= {"threads": options.threads, "fps": options.fps, "load": os.getloadavg()[0]}
            row["ratios"] = [r["ratio"] for r in runs]
            rows.append(rounded(row))
            print(json.dumps(rows[-1]), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
