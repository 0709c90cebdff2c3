"""What a detector adds to its backbone's time a picture: python benchmarks/detector_overhead.py [--json FILE].

SubspaceAD, and AnomalyDINO fitted to one picture without turned copies, score single pictures of 448 pixels. ``bare`` is
the encoder's own pass over the same picture, up to the same layer, and ``whole`` its pass through all blocks. The passes
alternate in one process, in turn in either order; ``ratio`` is the median over pictures of scoring against the bare pass
beside it, ``cpu ratio`` the same in processor seconds, which a busy machine disturbs less. Pictures are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch.detectors.image.anomalydino import AnomalyDINO
from oddwatch.detectors.image.subspace import SubspaceAD
from oddwatch.encoders.vit import PatchEncoder

BOUNDS = {"subspace": 1.15, "anomalydino": 1.3}
"""Most times the bare pass that each may take."""


def pictures(n: int, seed: int = 0) -> list[np.ndarray]:
    """Grainy plates with a few bars, (600, 800, 3) uint8."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        picture = np.clip(rng.normal(150, 12, (600, 800, 3)), 0, 255).astype(np.uint8)
        for x, y, w, h in rng.integers(20, 500, (6, 4)).tolist():
            cv2.rectangle(picture, (x, y), (x + w, y + h), rng.integers(0, 256, 3).tolist(), -1)
        out.append(cv2.GaussianBlur(picture, (5, 5), 1.0))
    return out


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock and of all processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compared(detector: Any, eyes: PatchEncoder, items: list[np.ndarray]) -> dict[str, Any]:
    """One row: medians over ``items`` of scoring, of the bare pass and of the whole one, and the ratios."""
    takes: list[tuple[str, Callable[[np.ndarray], Any]]] = [
        ("score", lambda p: detector.score([p])),
        ("bare", lambda p: eyes.encode_up_to([p], detector.layers)),
        ("whole", lambda p: eyes.encode([p], detector.layers)),
    ]
    for _, work in takes:
        work(items[0])
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in takes}
    for i, picture in enumerate(items):
        for name, work in takes if i % 2 else reversed(takes):
            seconds[name].append(timed(lambda w=work, p=picture: w(p)))  # type: ignore[misc]

    def ratio(other: str, clock: int) -> float:
        pairs = zip(seconds["score"], seconds[other], strict=True)
        return round(statistics.median(a[clock] / b[clock] for a, b in pairs), 3)

    middle = {
        name: round(statistics.median(wall for wall, _ in values), 4) for name, values in seconds.items()
    }
    bound = BOUNDS[detector.NAME]
    return {
        "method": detector.NAME, "pictures": len(items), "score s": middle["score"], "bare s": middle["bare"],
        "whole s": middle["whole"], "ratio": ratio("bare", 0), "cpu ratio": ratio("bare", 1),
        "ratio to whole": ratio("whole", 0), "bound": bound, "within": ratio("bare", 0) <= bound,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=11)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    eyes = PatchEncoder(448, threads=options.threads)
    items = pictures(options.pictures + 4)
    normals, queries = items[:4], items[4:]
    detectors = [
        SubspaceAD(encoder=eyes, rotations=0).fit(normals),
        AnomalyDINO(encoder=eyes, rotations=1).fit(normals[:1]),
    ]
    rows = []
    for detector in detectors:
        rows.append(
            compared(detector, eyes, queries)
            | {"threads": options.threads, "load": round(os.getloadavg()[0], 2)}
        )
        print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
