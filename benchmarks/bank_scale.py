"""A memory bank of a million patches: python benchmarks/bank_scale.py [--rows 1000000] [--pictures 40] [--out FILE].

Tokens (block 9 at 224 pixels, 256 a picture, 384 wide) of the normal pictures of dobot_cubes (``ODDWATCH_DATA``) by the packaged
encoder, or of drawn street scenes where that set is not there (--drawn). The bank: such tokens, each moved by a third of
the difference of two others, so that the million has the tokens' own directions and no two are equal. The queries: the 256 tokens of
pictures that no bank token came from, untouched (ten pictures ask the exact scans, all the index). Every engine runs in
a process of its own, which reports its peak memory; distances are compared with those of the exact scan of float32
vectors. Also: the coreset of 40,960 × 768 to a tenth, lazily and by the literal loop. Wall times need an idle machine;
processor times are all threads' together. OMP_NUM_THREADS sets the threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
LAYER, SIDE = "block_9", 224
ENGINES = {
    "exact": {"engine": "exact", "half": False},
    "exact, float16": {"engine": "exact", "half": True},
    "ann, float16": {"engine": "ann", "half": True},
}


def pictures(drawn: bool) -> tuple[str, list[np.ndarray]]:
    """A name, and pictures of one kind."""
    folder = DATA / "dobot_cubes"
    if folder.is_dir() and not drawn:
        from oddwatch.datasets.images import read_image_sets

        one = read_image_sets(folder)[0]
        return "dobot_cubes", [i.pixels() for i in (*one.train, *one.test) if not i.label]
    from oddwatch.datasets.scenes.stills import stills

    return "drawn scenes", [s.pixels for s in stills(5, 85)]


def encode(folder: Path, count: int, drawn: bool) -> str:
    """Write base tokens and query tokens; the last ``count`` pictures ask."""
    from oddwatch.encoders import load

    name, shown = pictures(drawn)
    count = min(count, len(shown) // 2)
    tokens: Any = load("patches", resolution=SIDE)
    x = tokens.encode(shown, (LAYER,)).layers[LAYER]
    np.save(folder / "base.npy", x[:-count].reshape(-1, x.shape[-1]))
    np.save(folder / "queries.npy", x[-count:])
    return f"{name}: {len(shown) - count} pictures in the bank, {count} ask"


def million(base: np.ndarray, rows: int, half: bool) -> np.ndarray:
    """``rows`` tokens of the same kind as ``base`` (n, D)."""
    rng = np.random.default_rng(1)
    out = np.empty((rows, base.shape[1]), np.float16 if half else np.float32)
    for lo in range(0, rows, 50_000):
        one, a, b = rng.integers(len(base), size=(3, min(50_000, rows - lo)))
        out[lo : lo + 50_000] = base[one] + (base[a] - base[b]) / 3
    return out


def child(folder: Path, engine: str, rows: int) -> dict[str, Any]:
    """Build one bank, ask it for every picture; figures, and the distances found written beside."""
    from oddwatch.detectors.image.bank import MemoryBank

    options: Any = ENGINES[engine]
    vectors = million(np.load(folder / "base.npy"), rows, options["half"])
    queries = np.load(folder / "queries.npy")[: 10 if options["engine"] == "exact" else None]
    bank = MemoryBank(**options).add(vectors)
    del vectors
    start = time.perf_counter()
    bank.knn(queries[0])
    build = time.perf_counter() - start
    spent, used, found = [], [], []
    for one in queries:
        start, cpu = time.perf_counter(), time.process_time()
        found.append(bank.knn(one))
        spent.append((time.perf_counter() - start) * 1e3)
        used.append((time.process_time() - cpu) * 1e3)
    np.savez(folder / f"{engine}.npz", distance=[d for d, _ in found], index=[i for _, i in found])
    return {
        "engine": engine,
        "rows": rows,
        "pictures": len(queries),
        "queries_a_picture": len(queries[0]),
        "first_picture_s": round(build, 1),
        "p50_ms": round(float(np.percentile(spent, 50)), 1),
        "p95_ms": round(float(np.percentile(spent, 95)), 1),
        "p50_cpu_ms": round(float(np.percentile(used, 50)), 1),
        "p95_cpu_ms": round(float(np.percentile(used, 95)), 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
    }


def compared(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    """``row`` with how far its nearest distances are off the exact ones."""
    exact, found = (dict(np.load(folder / f"{name}.npz")) for name in ("exact", row["engine"]))
    found = {name: v[: len(exact[name])] for name, v in found.items()}
    over = found["distance"] / exact["distance"] - 1
    worst = exact["distance"].max((1, 2)), found["distance"].max((1, 2))
    return row | {
        "recall_at_1": round(float((found["index"] == exact["index"]).mean()), 4),
        "distance_error_mean": round(float(np.abs(over).mean()), 5),
        "distance_error_p99": round(float(np.percentile(np.abs(over), 99)), 5),
        "picture_maximum_error_max": round(float(np.abs(worst[1] / worst[0] - 1).max()), 5),
    }


def coreset(folder: Path, points: int = 40_960, keep: float = 0.1) -> dict[str, Any]:
    """Seconds of the lazy search and of the literal loop, and whether they take the same points."""
    from oddwatch.detectors.image.coreset import k_centre

    base = np.load(folder / "base.npy")
    x = np.concatenate([million(base, points, True), million(base[::-1], points, True)], axis=1)
    start, cpu = time.perf_counter(), time.process_time()
    lazy = k_centre(x, keep, start=0)
    row: dict[str, Any] = {"points": points, "width": x.shape[1], "kept": len(lazy)}
    row |= {"lazy_s": time.perf_counter() - start, "lazy_cpu_s": time.process_time() - cpu}
    x = x.astype(np.float32) - x[0].astype(np.float32)
    squares = np.einsum("nd,nd->n", x, x)
    start, cpu = time.perf_counter(), time.process_time()
    best, taken = squares.copy(), [0]
    while len(taken) < len(lazy):
        best[taken[-1]] = -1
        taken.append(int(best.argmax()))
        np.minimum(best, squares - 2 * (x @ x[taken[-1]]) + squares[taken[-1]], out=best)
    row |= {"literal_s": time.perf_counter() - start, "literal_cpu_s": time.process_time() - cpu}
    row["same_points"] = len(np.intersect1d(lazy, taken)) / len(lazy)
    return {name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "JOB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        folder, job = Path(options.child[0]), options.child[1]
        print(json.dumps(coreset(folder) if job == "coreset" else child(folder, job, options.rows)))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = encode(folder, options.pictures, options.drawn)

        def run(job: str) -> dict[str, Any]:
            command = [sys.executable, __file__, "--rows", str(options.rows), "--child", name, job]
            row: dict[str, Any] = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            )
            return row

        rows = [run(engine) for engine in ENGINES]
        result = {
            "tokens": about,
            "cores": os.cpu_count(),
            "load_before": round(load, 1),
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "bank": [compared(folder, row) for row in rows],
            "coreset": run("coreset"),
        }
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
