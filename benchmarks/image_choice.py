"""Which picture detector is the default, chosen without any test label:
python benchmarks/image_choice.py [--cache DIR] [--out FILE].

Only the normal training pictures of four sets are read. A fifth of them (at most 24) is held out; on each of these, defects are
drawn (two of ``oddwatch.datasets.defects``, in turn of all kinds) and one change of the whole picture (uneven light, loss
of focus, a colour cast). Every candidate learns the other four fifths and must tell the held-out pictures from the changed ones:
image AUROC for the drawn defects and for the whole-picture changes, and pixel AUROC and AU-PRO for the drawn ones. The default is
the candidate with the best mean of the first two over the sets.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch.bench.remembered import RememberingEncoder
from oddwatch.bench.tables import markdown, write_rows
from oddwatch.core import resolve
from oddwatch.datasets.defects import KINDS, make_defect
from oddwatch.datasets.images import ImageSet, read_image_sets
from oddwatch.detectors import DEFAULT, DETECTORS
from oddwatch.detectors.image.maps import project
from oddwatch.encoders import load
from oddwatch.metrics.pixels import pool
from oddwatch.metrics.ranking import auroc

DATA = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
SETS = {
    "mvtec_ad_small": "hazelnut", "dobot_cubes": None, "magnetic_tile_mtd": None, "mvtec_loco_juice_bottle": None,
}  # fmt: skip
SEED, HELD, PER = 4711, 24, 2
MIDDLE = ("block_6", "block_7", "block_8", "block_9")
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "parts-and-whole": ("parts-and-whole", {}),
    "subspace": ("subspace", {}),
    "subspace, last layer": ("subspace", {"layers": ("last",)}),
    "mvg, blocks 6-10": ("mvg", {"layers": (*MIDDLE, "block_10")}),
    "patchcore, 4096 patches": ("patchcore", {"most": 4096}),
    "anomalydino, 4096 tokens": ("anomalydino", {"keep": 4096}),
    "padim": ("padim", {}),
}
"""Name → method and arguments."""


def whole_change(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Uneven light, loss of focus or a colour cast, from faint to strong."""
    height, width = pixels.shape[:2]
    strength = float(rng.uniform(0.3, 1.0))
    kind = int(rng.integers(3))
    if kind == 0:
        coarse = rng.uniform(-1, 1, (2, 2)).astype(np.float32)
        light = cv2.resize(coarse / np.abs(coarse).max(), (width, height), interpolation=cv2.INTER_CUBIC)
        return np.clip(pixels * (1 + 0.5 * strength * light[..., None]), 0, 255).astype(np.uint8)
    if kind == 1:
        return cv2.GaussianBlur(pixels, (0, 0), 0.006 * strength * max(height, width) + 0.3)
    cast = 1 + 0.3 * strength * rng.uniform(-1, 1, 3)
    return np.clip(pixels * cast, 0, 255).astype(np.uint8)


def drawn(one: ImageSet) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[str]]:
    """The pictures to learn from; the held-out ones with what was changed on them; masks; and what each is."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(one.train))
    held = order[: max(6, min(HELD, len(order) // 5))]
    learn = [one.train[int(i)].pixels() for i in np.sort(order[len(held) :])]
    kinds, pictures, masks, what = sorted(KINDS), [], [], []
    for at, i in enumerate(np.sort(held)):
        pixels = one.train[int(i)].pixels()
        pictures.append(pixels)
        masks.append(np.zeros(pixels.shape[:2], bool))
        what.append("good")
        for j in range(PER):
            defect = make_defect(rng, pixels, kinds[(PER * at + j) % len(kinds)], others=learn[:40])
            pictures.append(defect.pixels)
            masks.append(defect.mask)
            what.append("drawn")
        pictures.append(whole_change(rng, pixels))
        masks.append(np.ones(pixels.shape[:2], bool))
        what.append("whole")
    return learn, pictures, masks, what


def judged(
    name: str, learn: Sequence[np.ndarray], pictures: Sequence[np.ndarray], masks: Sequence[np.ndarray],
    what: Sequence[str], eyes: RememberingEncoder,
) -> dict[str, float | None]:  # fmt: skip
    """The four numbers of one candidate on one set."""
    method, arguments = CANDIDATES[name]
    detector = resolve(DETECTORS, method, "detector")(encoder=eyes, **arguments).fit(learn)
    scores, is_ = detector.score(pictures), np.array(what)
    found: dict[str, float | None] = {}
    for kind in ("drawn", "whole"):
        kept = (is_ == "good") | (is_ == kind)
        found[kind] = auroc(is_[kept] == kind, scores.values[kept]).number
    if scores.maps is not None:
        local = np.flatnonzero(is_ != "whole")
        maps = [project(scores.maps[i], masks[i].shape) for i in local]
        pooled = pool(maps, [masks[i] for i in local])
        found |= {"pixel_auroc": pooled.auroc().number, "aupro": pooled.aupro().number}
    return found


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cache = options.cache or Path(tempfile.mkdtemp(prefix="oddwatch-"))
    eyes = RememberingEncoder(load("patches", resolution=448), cache)
    rows: list[dict[str, Any]] = []
    for folder, category in SETS.items():
        one = next(s for s in read_image_sets(DATA / folder) if category in (None, s.category))
        material = drawn(one)
        for name in CANDIDATES:
            found = judged(name, *material, eyes)
            rows.append(
                {
                    "protocol": "default by drawn defects",
                    "seed": SEED,
                    "set": one.category,
                    "candidate": name,
                    **found,
                }
            )
    for name in CANDIDATES:
        own = [r for r in rows if r["candidate"] == name]
        numbers = {
            k: [r[k] for r in own if r.get(k) is not None] for k in ("drawn", "whole", "pixel_auroc", "aupro")
        }
        mean = {k: float(np.mean(v)) if v else None for k, v in numbers.items()}
        both = (float(mean["drawn"] or 0) + float(mean["whole"] or 0)) / 2
        about = {"protocol": "default by drawn defects", "seed": SEED, "set": "mean", "candidate": name}
        rows.append(
            {**about, **mean, "drawn and whole": both, "chosen": CANDIDATES[name] == (DEFAULT["image"], {})}
        )
    print(markdown(rows))
    if options.out:
        write_rows(
            options.out, rows, {"script": "benchmarks/image_choice.py", "labels": "none of any test set"}
        )


if __name__ == "__main__":
    main()
