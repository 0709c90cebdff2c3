"""Same person in other pictures: python benchmarks/alike_people.py [--persons 300] [--out FILE].

Every picture of a person asks a gallery for the others (``oddwatch search --like-entry``); right is an entry of the same
person. Two sets: drawn people, each seen by two cameras in two places, lights and doings, of a seed nothing was fitted
on; and the 143 CUHK01 crops of ``cuhk_pedes_sample`` (36 persons). In the same run: the expectation at random, the cosine
of the class token alone, and the scan with its re-scoring. Prints JSON rows: R@1, R@5 and mAP in percent, with 95 % bootstrap
intervals over persons and the paired difference from the class token.

``--fit`` prints the constants of ``oddwatch.search.alike`` instead: a logistic regression of "same person" on pairs of
drawn people of another seed. No weight was chosen on CUHK01; but the describer, whose facts are compared, was developed
with an eye on these crops (``describer_dev.py``), so figures on them are development figures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.optimize import minimize

from oddwatch.core import Box, Entry, Frame, Person
from oddwatch.datasets.cuhk import read_cuhk_sample
from oddwatch.datasets.records import frame
from oddwatch.datasets.scenes.doings import ABNORMAL, DOINGS, NORMAL
from oddwatch.datasets.scenes.stills import Still, _draw, _setting, _through_jpeg
from oddwatch.datasets.scenes.wardrobe import dress
from oddwatch.describe.body import people_in_box
from oddwatch.describe.describer import evidence
from oddwatch.describe.features import crop
from oddwatch.gallery.store import Gallery
from oddwatch.metrics.retrieval import Ranks, bootstrap, expected_at_random, paired_bootstrap, positive_ranks
from oddwatch.pipeline.entries import part_tokens
from oddwatch.pipeline.models import Models, spaces, unit
from oddwatch.search.alike import TERMS, Across, Term, alike

DATA = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
SEED, FIT_SEED = 515_151, 616_161
NOTE = (
    "similarity of looks, not identity; no weight was chosen on CUHK01, but the describer was developed with an eye on "
    "its crops, so the figures on cuhk_pedes_sample are development figures; its cameras are read off its numbering"
)
ODD_SHARE = 0.3
"""Share of sightings in which something goes wrong: lying, falling, crouching bodies."""


SITE = 50
"""People of one site: all are seen by its two cameras, so that the background says nothing about who it is."""
DOING_NAMES = {
    odd: [n for n in names if DOINGS[n].carry is None and DOINGS[n].prop is None]
    for odd, names in ((True, ABNORMAL), (False, NORMAL))
}


def sightings(seed: int, index: int) -> tuple[Still, Still]:
    """One drawn person, dressed once, seen by the two cameras of a site, in two places, while doing two things."""
    site = np.random.default_rng([seed, index // SITE, 606])
    cameras = [_setting(site, float(np.exp(site.uniform(np.log(70), np.log(260)))), None) for _ in range(2)]
    for attempt in range(20):
        rng = np.random.default_rng([seed, index, 505, attempt])
        look = dress(rng, carry=str(rng.choice(["none", "bag", "backpack"], p=[0.6, 0.2, 0.2])))
        seen = []
        for camera in cameras:
            names = DOING_NAMES[bool(rng.random() < ODD_SHARE)]
            weights = np.array([DOINGS[n].weight for n in names])
            name = str(rng.choice(names, p=weights / weights.sum()))
            x, y = camera.at + rng.normal(0, 0.8, 2)
            at = (float(x), float(y)) if camera.place.walkable(x, y, 0.3) else camera.at
            who = f"a{seed}_{index:06d}"
            seen.append(_draw(replace(camera, at=at), rng, name, look, 0.35, "A", who, 0.15))
        if seen[0] is not None and seen[1] is not None:
            return _through_jpeg(seen[0]), _through_jpeg(seen[1])
    raise RuntimeError(f"person {index} of seed {seed} could not be placed")


def entry(models: Models, picture: Frame, box: Box, id: str, camera: str, label: str) -> Entry:
    """What indexing would keep of the person in ``box``; ``label`` is who it is."""
    person, others = people_in_box(models.pose, picture, box)
    tokens = models.patches.encode([crop(picture, Person(box))])
    facts = models.describer.describe(picture, person, others=others, tokens=tokens)
    return Entry(
        id, f"{id}.jpg", "person", None, None, None, box, camera=camera, label=label, facts=facts,
        vectors={"facts": evidence(facts), "image": unit(tokens.cls)[0]}, tokens=part_tokens(tokens)[0],
    )  # fmt: skip


def drawn(models: Models, seed: int, index: int) -> Iterator[Entry]:
    """The two entries of a drawn person, of the cameras a and b."""
    for camera, still in zip("ab", sightings(seed, index), strict=True):
        box = Box(*(float(v) for v in still.box))
        name = f"{index:05d}{camera}"
        yield entry(models, Frame(still.pixels, name), box, name, camera, still.person)


def cuhk(models: Models) -> Iterator[Entry]:
    """The crops of CUHK01. By the data set's numbering its first two views are of one camera, the others of another."""
    for record in read_cuhk_sample(DATA / "cuhk_pedes_sample"):
        name = Path(record.image).stem
        box = record.box or Box(0, 0, 60, 160)
        yield entry(models, frame(record), box, name, "ab"[int(name[4:]) > 2], record.image_id)


def sites(models: Models, kept: Path, seed: int, persons: int) -> Iterator[Gallery]:
    """One gallery per site of ``persons`` drawn people, in ``kept``; people already there are not drawn again."""
    for site in range(persons // SITE):
        with Gallery.open(kept / f"drawn-{seed}-{site}", encoders=spaces()) as gallery:
            for index in range(site * SITE + len(gallery) // 2, (site + 1) * SITE):
                gallery.add(list(drawn(models, seed, index)))
            yield gallery


# -- fitting ---------------------------------------------------------------------------------------------------------


TRIED = (*TERMS, "parts")
"""What the fit may weigh; what gets nothing is left out of ``alike``."""


def fit(galleries: Iterable[Gallery], decay: float = 1e-3) -> dict[str, Term]:
    """The mixture: which of the people seen by a site's other camera is the same (softmax over them), by non-negative
    weights of the similarities in deviations from strangers."""
    values = np.concatenate([similarities(gallery) for gallery in galleries])
    same = np.tile(np.eye(SITE, dtype=bool), (len(values) // SITE, 1))
    mean, dev = np.nanmean(values[~same], axis=0), np.nanstd(values[~same], axis=0)
    z = np.nan_to_num((values - mean) / dev)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        s = z @ w
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = ((p - same)[..., None] * z).sum((0, 1)) / len(z)
        return decay * float(w @ w) - float(np.log(p[same]).mean()), gradient + 2 * decay * w

    start = np.full(len(TRIED), 0.3)
    best = minimize(loss, start, jac=True, bounds=[(0, None)] * len(TRIED), method="L-BFGS-B")
    return {
        name: Term(round(float(w), 2), round(float(m), 3), round(float(d), 3))
        for name, w, m, d in zip(TRIED, best.x, mean, dev, strict=True)
    }


def similarities(site: Gallery) -> np.ndarray:
    """(2N, N, T) ``TRIED`` of a site's people: those of each camera against those of the other; NaN where unknown."""
    out, every = [], {e.id: e for e in site.entries()}
    for camera in "ab":
        for start in sorted(i for i, e in every.items() if e.camera == camera):
            found = {h.id: h.stages for h in alike(site, start, top=SITE, across="cameras")}
            out.append(
                [
                    [
                        parts(every[start], every[i]) if n == "parts" else found[i].get(n, np.nan)
                        for n in TRIED
                    ]
                    for i in sorted(found)
                ]
            )
    return np.array(out)


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """Ranks of the right entries, by method, and who asked."""

    ranks: dict[str, list[np.ndarray]] = field(default_factory=dict)
    persons: list[str] = field(default_factory=list)
    seconds: float = 0.0
    others: list[int] = field(default_factory=list)


METHODS = {"class token": "like", "facts of looks": "looks", "alike": "alike"}


def parts(a: Entry, b: Entry) -> float:
    """Mean cosine of the part tokens of two entries, each with the one of its own place."""
    one, two = (unit(e.tokens[1:].astype(np.float32)) for e in (a, b) if e.tokens is not None)
    return float((one * two).sum(axis=1).mean())


def ask(gallery: Gallery, across: Across, into: Asked) -> None:
    """Every entry asks for the others of its label; ranks by ``alike`` and by each of its similarities alone."""
    every = {e.id: e for e in gallery.entries()}
    label = {i: e.label for i, e in every.items()}
    for id, person in label.items():
        began = time.perf_counter()
        found = alike(gallery, id, top=len(label), across=across)
        into.seconds += time.perf_counter() - began
        right = np.array([label[h.id] == person for h in found])
        if not right.any():
            continue
        into.persons.append(str(person))
        into.others.append(len(right))
        scores = {m: [h.stages.get(s, np.nan) for h in found] for m, s in METHODS.items()}
        scores["part tokens"] = [parts(every[id], every[h.id]) for h in found]
        for method, values in scores.items():
            into.ranks.setdefault(method, []).append(positive_ranks(np.array(values), right))


def rows(asked: Asked, protocol: str, gallery: int, seed: int) -> list[dict[str, Any]]:
    """One row per method, first the expectation at random."""
    shared = {"protocol": protocol, "gallery": gallery, "queries": len(asked.persons), "seed": seed}
    positives = [len(r) for r in asked.ranks["alike"]]
    chance = expected_over(positives, asked.others)
    out = [{"method": "random (expected)", **shared, **chance}]
    base = Ranks(tuple(asked.ranks["class token"]), gallery).values()
    for method, ranks in asked.ranks.items():
        values = Ranks(tuple(ranks), gallery).values()
        row: dict[str, Any] = {"method": method, "default": method == "alike", **shared}
        row["transductive"] = False
        for name in ("R@1", "R@5", "mAP"):
            interval = bootstrap(values[name], groups=asked.persons, seed=seed)
            row[name] = round(100 * float(values[name].mean()), 2)
            if interval is not None:
                row[f"{name} 95%"] = [round(100 * interval.low, 2), round(100 * interval.high, 2)]
            if method != "class token":
                gain = paired_bootstrap(values[name], base[name], groups=asked.persons, seed=seed)
                row[f"{name} over class token"] = {"points": round(100 * gain.difference, 2), "p": gain.p}
        if method == "alike":
            row["seconds_per_query"] = round(asked.seconds / len(asked.persons), 4)
        out.append(row)
    return out


def expected_over(positives: Sequence[int], others: Sequence[int]) -> dict[str, float]:
    """The mean expectation at random of queries with different numbers of candidates."""
    names = ("R@1", "R@5", "mAP")
    each = [expected_at_random([p], n) for p, n in zip(positives, others, strict=True)]
    return {name: round(float(np.mean([e[name] for e in each])), 2) for name in names}


def measure(models: Models, kept: Path, persons: int) -> list[dict[str, Any]]:
    """All rows: drawn people site by site, then CUHK01."""
    asked = Asked()
    for gallery in sites(models, kept, SEED, persons):
        ask(gallery, "cameras", asked)
    out = rows(asked, "drawn people, the other camera of their site", 2 * SITE, SEED)
    with Gallery.open(kept / "cuhk", encoders=spaces()) as gallery:
        if not len(gallery):
            gallery.add(list(cuhk(models)))
        for across, told in (("all", "all other views"), ("cameras", "views of the other camera")):
            asked = Asked()
            ask(gallery, cast("Across", across), asked)
            out += rows(asked, f"cuhk_pedes_sample, {told}", len(gallery), SEED)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=300, help=f"drawn people, a multiple of {SITE}")
    parser.add_argument("--fit", action="store_true", help="print the constants of the mixture instead")
    parser.add_argument("--keep", type=Path, help="keep the galleries in this folder, and go on from them")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.persons < SITE or args.persons % SITE:
        parser.error(f"--persons: expected a multiple of {SITE}")
    models = Models()
    with tempfile.TemporaryDirectory() as scratch:
        kept = args.keep or Path(scratch)
        if args.fit:
            for name, term in fit(sites(models, kept, FIT_SEED, args.persons)).items():
                print(f'    "{name}": Term({term.weight}, {term.mean}, {term.dev}),')
            return
        report = {
            "weights fitted on": f"drawn people of seed {FIT_SEED}",
            "note": NOTE,
            "rows": measure(models, kept, args.persons),
        }
    text = json.dumps(report, indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
