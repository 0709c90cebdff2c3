"""Oddwatch's half of anomalib_side.py, in a process of its own that imports no more than detecting needs:

    python benchmarks/anomalib_ours.py JOB.json    # the driver writes the job and reads its answer

The peer's half takes its clocks from here, and imports nothing else of this.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def peak_mb() -> float:
    """The largest resident memory so far, in MB. Linux counts a process's ru_maxrss on from its parent's; the
    high-water mark of its own memory does not."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            1024 if sys.platform != "darwin" else 1024**2
        )


def clocks() -> tuple[float, float]:
    """Seconds by the clock, and of processor time of all threads."""
    return time.perf_counter(), time.process_time()


def spent(times: list[tuple[float, float]]) -> dict[str, float]:
    """What fitting and predicting took, from the clocks before, between and after."""
    start, between, done = times
    return {
        "fit_s": between[0] - start[0], "predict_s": done[0] - between[0],
        "fit_cpu_s": between[1] - start[1], "predict_cpu_s": done[1] - between[1],
    }  # fmt: skip


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Fit on ``folder/train`` and score ``folder/test``; scores and maps go to ``answers``."""
    from oddwatch.core import resolve
    from oddwatch.detectors import DETECTORS
    from oddwatch.encoders.vit import PatchEncoder

    cv2.setNumThreads(job["threads"])
    started = time.perf_counter()
    eyes = PatchEncoder(job["resolution"], threads=job["threads"])
    own = {
        "patchcore": {
            "keep": job["coreset"],
            "reweight": not job["shipped"],
            "neighbours": job["neighbours"],
        },
        "padim": {"channels": job["channels"]},
    }[job["method"]]
    made = resolve(DETECTORS, job["method"], "detector")
    model = made(encoder=eyes, layers=tuple(job["layers"]), seed=job["seed"], unit=job["shipped"], **own)
    loaded_mb, times = peak_mb(), [clocks()]
    model.fit(read(sorted(Path(job["folder"], "train").iterdir())))
    times.append(clocks())
    found = model.score(read(sorted(Path(job["folder"], "test").iterdir())))
    times.append(clocks())
    peak = peak_mb()
    np.savez(job["answers"], scores=found.values, maps=found.maps)
    return {"load_s": times[0][0] - started, "peak_mb": peak, "loaded_mb": loaded_mb} | spent(times)


def read(files: list[Path]) -> list[np.ndarray]:
    """Pictures as (H, W, 3) uint8 RGB."""
    return [cv2.imread(str(f), cv2.IMREAD_COLOR_RGB) for f in files]


def main() -> None:
    path = Path(sys.argv[1])
    answer = run(json.loads(path.read_text(encoding="utf-8")))
    path.with_suffix(".answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
