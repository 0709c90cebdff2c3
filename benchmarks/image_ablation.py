"""What each method's own idea buys: python benchmarks/image_ablation.py [METHOD …] [--cache DIR] [--out FILE].

Each detector runs twice on hazelnut of ``mvtec_ad_small`` (8 of its 40 normals by seed; 12 good, 18 defective pictures), as it is and
with its idea switched off by one argument. Compared: image AUROC, and the average precision of the pixels inside each defective
picture, paired over the 18 pictures (Wilcoxon's signed-rank test). A small sample: most differences are not significant, and
they are reported whatever they say. Methods without a map are compared by AUROC alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from oddwatch.bench.images import Lazy, Run, drawn, kind_of
from oddwatch.bench.remembered import RememberingEncoder
from oddwatch.bench.tables import markdown, write_rows
from oddwatch.datasets.images import read_image_sets
from oddwatch.detectors.image.maps import project
from oddwatch.encoders import load
from oddwatch.metrics.ranking import auroc, average_precision

DATA = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
SHOTS, SEED = 8, 0
IDEAS: list[tuple[str, str, dict[str, Any]]] = [
    ("parts-and-whole", "the whole picture's Gaussian", {"whole": False}),
    ("mvg", "shrinkage of the covariance", {"shrink": False}),
    ("padim", "covariance at each place", {"regular": 1e6}),
    ("patchcore", "neighbourhoods of 3 × 3", {"side": 1}),
    ("anomalydino", "turned copies", {"rotations": 0}),
    ("subspace", "mean of several layers", {"layers": ("block_9",)}),
    ("musc", "neighbourhoods of several sizes", {"radii": (1,)}),
    ("musc", "re-scoring by alike pictures", {"neighbours": ()}),
    ("musc-v2", "weights by similarity", {"similar": False}),
    ("univad", "components and their graph", {"kind": "texture"}),
    ("dictas", "sparse lookup (nearest key instead)", {"lookup": "max"}),
    ("cpr", "retrieval of alike pictures", {"nearest": SHOTS}),
    ("nagl", "proxies of residuals", {"match": "nearest"}),
    ("metauas", "soft alignment with the prompt", {"alignment": "none"}),
    ("fastflow", "volume change in the score", {"measure": "energy"}),
]  # fmt: skip
WITH: dict[str, dict[str, Any]] = {"cpr": {"nearest": 2}, "nagl": {"pretend": 4}}
"""Arguments of both runs: so that the idea has something to do among eight normals."""


def judged(
    method: str, arguments: dict[str, Any], one: Any, eyes: RememberingEncoder
) -> tuple[float, np.ndarray | None]:
    """Image AUROC, and the pixel AP (n,) of each defective picture."""
    kind = kind_of(method)
    detector = kind(encoder=eyes, **{"seed": SEED, **WITH.get(method, {}), **arguments})
    if kind.NEEDS_NORMALS:
        detector.fit(Lazy(drawn(one.train, Run(method, SHOTS, SEED))))
    scores = detector.score(Lazy(one.test))
    image = auroc([i.label for i in one.test], scores.values).value
    if scores.maps is None:
        return image, None
    found = []
    for item, map_ in zip(one.test, scores.maps, strict=True):
        if item.label:
            shape = item.pixels().shape[:2]
            mask = item.mask_pixels(shape)
            found.append(average_precision(mask.ravel(), project(map_, shape).ravel()).value)
    return image, np.array(found)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    eyes = RememberingEncoder(load("patches", resolution=448), options.cache or Path(tempfile.mkdtemp()))
    one = next(s for s in read_image_sets(DATA / "mvtec_ad_small") if s.category == "hazelnut")
    rows: list[dict[str, Any]] = []
    whole: dict[str, tuple[float, np.ndarray | None]] = {}
    for method, idea, off in IDEAS:
        if options.methods and method not in options.methods:
            continue
        if method not in whole:
            whole[method] = judged(method, {}, one, eyes)
        image, pixels = whole[method]
        image_off, pixels_off = judged(method, off, one, eyes)
        row: dict[str, Any] = {
            "protocol": "ablations, hazelnut",
            "seed": SEED,
            "method": method,
            "without": idea,
        }
        row |= {"image_auroc": image, "image_auroc, off": image_off}
        if pixels is not None and pixels_off is not None:
            row |= {"pixel_ap": float(pixels.mean()), "pixel_ap, off": float(pixels_off.mean())}
            gains = pixels - pixels_off
            row["wilcoxon p"] = float(wilcoxon(gains).pvalue) if np.any(gains) else 1.0
            row["better, of 18"] = int((gains > 0).sum())
        rows.append(row)
        print(row, flush=True)
        if options.out:
            write_rows(options.out, rows, {"script": "benchmarks/image_ablation.py", "normals": SHOTS})
    print(markdown(rows))


if __name__ == "__main__":
    main()
