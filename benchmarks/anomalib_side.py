"""PatchCore and PaDiM beside anomalib's: python benchmarks/anomalib_side.py --data DATA --peer PEER/bin/python --out FILE

DATA holds the sets of --sets; PEER is an environment made as anomalib_peer.py says. Every picture is brought to the
encoder's input size first and written as PNG; both sides read the same files with the same split, read the same layers,
stop at the deepest of them, keep the same share of the bank and the same drawn channels, and have the same number of
threads. Each run has a process of its own, whose peak memory is the high-water mark of its resident set, libraries
included. ``fit_s`` and ``predict_s`` include reading the files and the backbone, not importing and loading
(``load_s``); ``…_cpu_s`` is the processor time of all threads, which other work on the machine disturbs less; ``load_average`` says how much of that there was.

``oddwatch`` is set to the formulas anomalib has (tokens not brought to unit length, PatchCore's picture score
reweighted); ``oddwatch, as shipped`` has its own defaults and is not held to the goals.

Three ways of the peer are measured. ``engine`` is what its guide tells a user to do (Lightning, batches of 32), without
its metrics, drawn pictures and threshold search. ``loop`` is the leanest: its torch model alone in batches of 8. Both see
a float32 ViT with the packaged graph's weights. ``loop, same graph`` runs the packaged int8 graph in that place: equal
tokens to the last bit, so that what remains is the methods' own. AUROCs of all are computed here, from their raw scores
and maps. Goals: AUROC within 1 point (against ``same graph``, where tokens are equal), three times faster in fit and
predict (by the clock and by processor time: on a busy machine the clock alone says nothing), at most half the peak
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from anomalib_ours import read

from oddwatch.datasets.images import ImageItem, ImageSet, read_image_sets
from oddwatch.encoders import weights
from oddwatch.encoders.shorten import shortened
from oddwatch.encoders.vit import LAYERS, PatchEncoder, fit_square, positions
from oddwatch.metrics.pixels import pool
from oddwatch.metrics.ranking import auroc

HERE = Path(__file__).resolve().parent
LAYERS_OF = {
    "patchcore": ["block_6", "block_9"],
    "padim": ["block_6", "block_7", "block_8", "block_9"],
}
OURS = ("oddwatch", "oddwatch, as shipped")
WAYS = {
    "engine": ("engine", "converted"),
    "loop": ("loop", "converted"),
    "loop, same graph": ("loop", "graph"),
}
PEER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_MMAP_THRESHOLD_": "1048576"}
"""Kind to the peer. Its threads sleep when they wait, so that processor time is work done. And what it frees is given back
from 1 MB on. Without that, on glibc 2.36, some of its runs grew by about one table of distances a coreset step (7.6 GB on
hazelnut, where it is 0.8 GB with it; 13 GB on dobot_cubes, where another of its runs took 1 GB); that freed aligned
blocks are not used again there is the presumed cause, not a traced one."""
LISTED = (
    "load_s", "fit_s", "predict_s", "fit_cpu_s", "predict_cpu_s", "peak_mb", "loaded_mb", "load_average",
)  # fmt: skip


# -- the pictures ---------------------------------------------------------------------------------------------------


def chosen(data: Path, name: str) -> ImageSet:
    """The set FOLDER or FOLDER:CATEGORY under ``data``."""
    folder, _, category = name.partition(":")
    found = [s for s in read_image_sets(data / folder) if category in ("", s.category)]
    if len(found) != 1:
        raise SystemExit(
            f"{name}: expected one set, found {[s.category for s in found]}; write FOLDER:CATEGORY"
        )
    return found[0]


def lay(images: ImageSet, folder: Path, side: int) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Write ``train`` and ``test`` as PNGs of ``side`` × ``side``; labels (N,) and masks of the test pictures."""
    for part, items in (("train", images.train), ("test", images.test)):
        (folder / part).mkdir(parents=True)
        for i, item in enumerate(items):
            shaped = fit_square(item.pixels(), side, "squash")[0]
            cv2.imwrite(str(folder / part / f"{i:05d}.png"), cv2.cvtColor(shaped, cv2.COLOR_RGB2BGR))
    return np.array([item.label for item in images.test]), [mask_of(item, side) for item in images.test]


def mask_of(item: ImageItem, side: int) -> np.ndarray | None:
    """(side, side) bool, or None where the set does not say what is anomalous."""
    mask = item.mask_pixels(item.pixels().shape)
    if mask is None:
        return None
    return cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0


def tokens_file(path: Path, folder: Path, side: int) -> None:
    """Sixteen test pictures of ``folder``, the position table, and the packaged graph's tokens of every block."""
    files = sorted((folder / "test").iterdir())
    pixels = read([files[i] for i in np.linspace(0, len(files) - 1, 16).round().astype(int)])
    found = PatchEncoder(side).encode(pixels, LAYERS)
    np.savez(path, pixels=np.stack(pixels), positions=positions(side // 14), **found.layers)


# -- one run --------------------------------------------------------------------------------------------------------


def spawn(python: str, script: Path, job: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Run ``script`` on ``job``; its answer."""
    path = scratch / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    threads = str(job.get("threads", 2))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    kind = PEER_ENVIRONMENT if script.name == "anomalib_peer.py" else {}
    settings = {**os.environ, **dict.fromkeys(names, threads), **kind}
    done = subprocess.run(
        [python, str(script), str(path)], env=settings, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{script.name} failed:\n{done.stderr[-2000:]}")
    answer = path.with_suffix(".answer.json")
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return found


def quality(
    job: dict[str, Any], labels: np.ndarray, masks: list[np.ndarray | None]
) -> dict[str, float | None]:
    """AUROCs in percent of the scores and maps a run left; pixels only where the set has masks."""
    found = np.load(job["answers"], allow_pickle=False)
    known = [i for i, mask in enumerate(masks) if mask is not None]
    pixel = None
    if any(labels[i] for i in known):
        pixel = pool([found["maps"][i] for i in known], [masks[i] for i in known]).auroc().number
    image = auroc(labels, found["scores"]).number
    return {"image_auroc": image and 100 * image, "pixel_auroc": pixel and 100 * pixel}


# -- the table ------------------------------------------------------------------------------------------------------


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of the AUROCs, medians of the rest over the seeds."""
    out: dict[str, Any] = {}
    for key in ("image_auroc", "pixel_auroc"):
        values = [r[key] for r in runs if r[key] is not None]
        out[key] = round(statistics.mean(values), 2) if values else None
        out[f"{key}_sd"] = round(statistics.pstdev(values), 2) if values else None
    return out | {key: round(statistics.median(r[key] for r in runs), 2) for key in LISTED}


def against(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Ours and one way of the peer."""
    both = [m["fit_s"] + m["predict_s"] for m in (mine, theirs)]
    cpu = [m["fit_cpu_s"] + m["predict_cpu_s"] for m in (mine, theirs)]
    points = {
        f"{key}_points": round(mine[key] - theirs[key], 2)
        for key in ("image_auroc", "pixel_auroc")
        if mine[key] is not None and theirs[key] is not None
    }
    return {
        **points,
        "times_faster": round(both[1] / both[0], 2),
        "times_less_cpu": round(cpu[1] / cpu[0], 2),
        "memory_ratio": round(mine["peak_mb"] / theirs["peak_mb"], 3),
        "within_1_point": all(abs(p) <= 1 for p in points.values()),
        "three_times_faster": both[1] >= 3 * both[0] and cpu[1] >= 3 * cpu[0],
        "half_the_memory": mine["peak_mb"] <= theirs["peak_mb"] / 2,
    }


def job_of(base: dict[str, Any], method: str, way: str, seed: int) -> dict[str, Any]:
    """What one run is asked to do."""
    layers = LAYERS_OF[method]
    drawn = np.random.default_rng(seed).permutation(384 * len(layers))[: base["channels"]]
    job = {
        **base,
        "do": "run",
        "method": method,
        "layers": layers,
        "seed": seed,
        "drawn": np.sort(drawn).tolist(),
    }
    if way in OURS:
        return {**job, "shipped": way != OURS[0]}
    short = Path(base["scratch"]) / "short.onnx"
    short.write_bytes(shortened(Path(base["graph"]).read_bytes(), LAYERS[: LAYERS.index(layers[-1]) + 1]))
    return {**job, "way": WAYS[way][0], "backbone": WAYS[way][1], "short": str(short)}


def compare(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    settings = {
        "resolution": args.resolution, "layers": LAYERS_OF, "coreset": args.coreset,
        "neighbours": args.neighbours, "channels": args.channels, "threads": args.threads,
    }  # fmt: skip
    base = {
        **settings, "graph": str(weights.path("patches")), "weights": str(scratch / "vit.safetensors"),
        "tokens": str(scratch / "tokens.npz"), "answers": str(scratch / "answers.npz"), "scratch": str(scratch),
    }  # fmt: skip
    peer, own = (args.peer, HERE / "anomalib_peer.py"), (sys.executable, HERE / "anomalib_ours.py")
    report: dict[str, Any] = {"settings": settings, "rows": []}
    for name in args.sets:
        images = chosen(args.data, name)
        folder = scratch / name.replace(":", "_")
        labels, masks = lay(images, folder, args.resolution)
        if "conversion" not in report:
            tokens_file(scratch / "tokens.npz", folder, args.resolution)
            report["conversion"] = spawn(*peer, {**base, "do": "convert"}, scratch)
            report["versions"] = report["conversion"].pop("versions")
        for method in args.methods:
            found: dict[str, list[dict[str, Any]]] = {way: [] for way in (*OURS, *WAYS) if way in args.ways}
            for seed in range(args.seeds):
                for way, runs in found.items():
                    job = {**job_of(base, method, way, seed), "folder": str(folder)}
                    answer = spawn(*(own if way in OURS else peer), job, scratch)
                    answer["load_average"] = os.getloadavg()[0]
                    runs.append({k: answer[k] for k in LISTED} | quality(job, labels, masks))
                    print(name, method, way, seed, runs[-1], flush=True)
            rows = {way: summary(runs) for way, runs in found.items()}
            report["rows"].append({
                "set": name, "train": len(images.train), "test": len(images.test), "anomalies": int(labels.sum()),
                "method": method, "seeds": args.seeds, **rows,
                "oddwatch_against": {way: against(rows["oddwatch"], rows[way]) for way in WAYS if way in rows},
            })  # fmt: skip
            if args.out:
                args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", required=True, help="python of the environment with anomalib")
    parser.add_argument("--sets", nargs="+", default=["dobot_cubes", "mvtec_ad_small:hazelnut"])
    parser.add_argument(
        "--methods", nargs="+", default=["patchcore", "padim"], choices=["patchcore", "padim"]
    )
    parser.add_argument("--ways", nargs="+", default=[*OURS, *WAYS], choices=[*OURS, *WAYS])
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--coreset", type=float, default=0.1)
    parser.add_argument("--neighbours", type=int, default=9)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(args, Path(scratch))
    report["minutes"] = round((time.perf_counter() - started) / 60, 1)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
