"""AU-PRO, AUPIMO and the streaming histogram against the reference packages, on the same maps:

python benchmarks/metrics_speed.py --peer-python PYTHON [--peer-path FOLDER] [--out FILE]

PYTHON is an interpreter with anomalib (and ADEval, in it or in FOLDER); it runs this file in a process of its own, so
that nothing of it is installed beside oddwatch. Half of the maps are normal; all are smooth noise with anomalies of
varied size and strength, float32. Each side takes maps and masks in memory to the final value, two threads, the median
of ``--times`` runs in turn after one for warming up (a first run of more than 30 s is the only one); processor seconds
of all threads beside the clock's, since those do not depend on what else the machine does. Goal: 10 times faster by
both, values equal to 0.001.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

GOAL, CLOSE, SLOW = 10.0, 1e-3, 30.0
Run = Callable[[np.ndarray, np.ndarray], dict[str, float]]


def made(images: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps (n, side, side) float32 of smooth noise, the second half with anomalies, and bool masks."""
    import cv2

    rng = np.random.default_rng(seed)
    maps = np.empty((images, side, side), dtype=np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    for i in range(images):
        noise = cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), side / 64)
        maps[i] = np.abs(noise / noise.std())
        for _ in range(rng.integers(1, 5) if i >= images // 2 else 0):
            blob = np.zeros((side, side), dtype=np.uint8)
            centre = tuple(int(v) for v in rng.integers(side // 8, side - side // 8, 2))
            axes = tuple(int(v) for v in rng.integers(2, side // 10, 2))
            cv2.ellipse(blob, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
            masks[i] |= blob > 0
            maps[i] += rng.uniform(1, 12) * cv2.GaussianBlur(blob / 255.0, (0, 0), 3)
    return maps, masks


def our_runs() -> Iterator[tuple[str, Run]]:
    """Name and function of each metric of this package."""
    from oddwatch.metrics.aupimo import aupimo
    from oddwatch.metrics.pixels import aupro, pixel_metrics
    from oddwatch.metrics.streaming import Histogram

    def streaming(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
        histogram = Histogram(float(maps.min()), float(maps.max()), 1000)
        histogram.update(maps, masks)
        return {k: v.value for k, v in histogram.compute(anchored=False).items() if k.startswith("p_")}

    yield "aupro", lambda maps, masks: {"aupro": aupro(maps, masks).value}
    yield "aupimo", lambda maps, masks: {"aupimo": aupimo(maps, masks).value}
    yield "adeval", streaming
    yield (
        "all pixel metrics",
        lambda maps, masks: {k: v.value for k, v in pixel_metrics(maps, masks).items()},
    )


def peer_runs() -> Iterator[tuple[str, Run]]:
    """The same of the reference packages that are there."""
    import torch

    torch.set_num_threads(2)
    from anomalib.metrics.aupro import _AUPRO
    from anomalib.metrics.pimo.pimo import _AUPIMO

    def metric(make: Callable[[], Any], name: str) -> Run:
        def run(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
            meter = make()
            meter.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
            return {name: float(meter.compute())}

        return run

    yield "aupro", metric(_AUPRO, "aupro")
    yield "aupimo", metric(_AUPIMO, "aupimo")
    try:
        from adeval import EvalAccumulator
    except ImportError:
        return
    if not hasattr(np, "trapz"):  # gone from numpy 2.4, used by ADEval 1.1
        np.trapz = np.trapezoid

    def streaming(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
        meter = EvalAccumulator(float(maps.min()), float(maps.max()), nstrips=1000)
        meter.add_image(maps.max(axis=(1, 2)), masks.any(axis=(1, 2)))
        meter.add_sample(maps.max(axis=(1, 2)), masks.any(axis=(1, 2)))
        meter.add_anomap_batch(list(maps), list(masks.astype(np.uint8) * 255))
        return {k: v for k, v in meter.summary().items() if k.startswith("p_")}

    yield "adeval", streaming


def worker(side: str, folder: Path, times: int) -> None:
    """Run one side's metrics on the maps in ``folder``; prints JSON."""
    maps, masks = np.load(folder / "maps.npy"), np.load(folder / "masks.npy")
    report: dict[str, Any] = {"packages": {}, "runs": {}}
    for package in ("anomalib", "ADEval", "torch", "numpy") if side == "peer" else ("numpy",):
        try:
            report["packages"][package] = version(package)
        except PackageNotFoundError:
            continue
    for name, run in peer_runs() if side == "peer" else our_runs():
        before = peak()
        clock, processor, values = timed(run, maps, masks)
        taken = [(clock, processor)]
        if clock <= SLOW:
            taken = [timed(run, maps, masks)[:2] for _ in range(times)]
        grown = max(0.0, peak() - before)
        report["runs"][name] = {"seconds": taken, "values": values, "grown_mb": grown}
    print(json.dumps(report))


def timed(run: Run, maps: np.ndarray, masks: np.ndarray) -> tuple[float, float, dict[str, float]]:
    """Seconds by the clock and of the processor, and the values."""
    clock, processor = time.perf_counter(), time.process_time()
    values = run(maps, masks)
    return time.perf_counter() - clock, time.process_time() - processor, values


def peak() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024**2 if sys.platform == "darwin" else 1024
    )


def asked(python: str, side: str, folder: Path, times: int, path: str) -> dict[str, Any]:
    """The report of one side from a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    if path:
        environment["PYTHONPATH"] = path
    command = [python, __file__, "--worker", side, "--folder", str(folder), "--times", str(times)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(ours: dict[str, Any], peer: dict[str, Any], shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """One row per metric; without a peer's figure for what it has no equal of."""
    rows = []
    for name, own in ours["runs"].items():
        seconds, processor = (statistics.median(column) for column in zip(*own["seconds"], strict=True))
        row: dict[str, Any] = {
            "protocol": "metrics speed",
            "method": name,
            "images": shape[0],
            "size": f"{shape[1]}x{shape[2]}",
            "seconds": round(seconds, 4),
            "seconds_processor": round(processor, 4),
            "extra_mb": round(own["grown_mb"], 1),
            "values": {k: round(v, 6) for k, v in own["values"].items()},
        }
        other = peer["runs"].get(name)
        if other:
            theirs = [statistics.median(column) for column in zip(*other["seconds"], strict=True)]
            ratio, by_processor = theirs[0] / seconds, theirs[1] / processor
            apart = {k: abs(v - other["values"][k]) for k, v in own["values"].items() if k in other["values"]}
            row |= {
                "peer": "ADEval" if name == "adeval" else "anomalib",
                "peer_seconds": round(theirs[0], 4),
                "peer_seconds_processor": round(theirs[1], 4),
                "peer_runs": len(other["seconds"]),
                "peer_extra_mb": round(other["grown_mb"], 1),
                "ratio": round(ratio, 1),
                "ratio_processor": round(by_processor, 1),
                "difference": float(f"{max(apart.values()):.2g}"),
                "goal_met": min(ratio, by_processor) >= GOAL and max(apart.values()) <= CLOSE,
            }
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python")
    parser.add_argument("--peer-path", default="")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.folder, args.times)
        return
    if not args.peer_python:
        parser.error("--peer-python is needed: an interpreter that has anomalib")
    from oddwatch.bench.tables import markdown, write_rows

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maps, masks = made(args.images, args.side, args.seed)
        np.save(folder / "maps.npy", maps)
        np.save(folder / "masks.npy", masks)
        ours = asked(sys.executable, "ours", folder, args.times, "")
        peer = asked(args.peer_python, "peer", folder, args.times, args.peer_path)
    rows = [{**row, "seed": args.seed} for row in compared(ours, peer, maps.shape)]
    about = {
        "command": "python benchmarks/metrics_speed.py --peer-python PYTHON",
        "machine": "two cores",
        "peer": peer["packages"],
        "numpy": ours["packages"]["numpy"],
        "times": args.times,
        "goal": "10 times faster by the clock and by processor time, values equal to 0.001",
    }
    if args.out:
        write_rows(args.out, rows, about)
    print(markdown(rows))


if __name__ == "__main__":
    main()
