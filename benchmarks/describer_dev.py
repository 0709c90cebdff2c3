"""The describer on the 143 CUHK01 crops of the shared sample, against our own annotations.

    python benchmarks/describer_dev.py [--scale 0.5] [--dark 0.35] [--persons odd|even|all] [--errors]
                                       [--heads packaged|none|DIR] [--card heads.json]

Nothing that ships is fitted on these crops, but how far learned evidence is trusted was chosen with them and their
errors were seen while regions and exposure limits were chosen, so all figures are development figures. A result on `cuhk_pedes_sample` is therefore not an evaluation of the describer. Colours: ``top-1`` is right when the most probable
term is one an annotator lists, ``main`` when it is the first listed; ``auc`` ranks all (garment, term) pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch.core import Box, Facts, Frame
from oddwatch.describe.atoms import COLORS, GROUPS, INDEX
from oddwatch.describe.body import Finder, people_in_box
from oddwatch.describe.describer import Describer
from oddwatch.encoders.vit import PatchEncoder

HERE = Path(__file__).parent
DATA = Path(os.environ.get("ODDWATCH_DATA", HERE.parent.parent / "shared" / "data"))


def pictures() -> dict[str, np.ndarray]:
    """File stem → (160, 60, 3) uint8 RGB."""
    out = {}
    with zipfile.ZipFile(DATA / "cuhk_pedes_sample" / "cuhk01_images_60x160.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                raw = np.frombuffer(archive.read(name), np.uint8)
                out[Path(name).stem] = cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1].copy()
    return out


def worsened(pixels: np.ndarray, scale: float, dark: float) -> np.ndarray:
    """``pixels`` smaller by ``scale`` and with ``dark`` of the light left, with sensor noise and JPEG."""
    if scale != 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if dark != 1:
        noise = np.random.default_rng(7).normal(0, 2.5, pixels.shape)
        linear = (pixels / 255.0) ** 2.2 * dark
        pixels = np.clip(linear ** (1 / 2.2) * 255 + noise, 0, 255).astype(np.uint8)
        ok, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 70])
        pixels = cv2.imdecode(coded, cv2.IMREAD_COLOR) if ok else pixels
    return np.ascontiguousarray(pixels)


def describe_all(
    finder: Finder, scale: float, dark: float, heads: str | None = "packaged"
) -> tuple[dict[str, Facts], float]:
    """Facts of every picture and the mean CPU seconds of ``describe`` beside the encoders."""
    describer, out, spent = Describer(PatchEncoder(threads=2) if heads else None, heads), {}, 0.0
    for stem, pixels in pictures().items():
        frame = Frame(worsened(pixels, scale, dark), stem)
        person, others = people_in_box(finder, frame, Box(0, 0, frame.width, frame.height))
        tokens = describer.encode([(frame, person)])
        start = time.process_time()
        out[stem] = describer.describe(frame, person, others=others, tokens=tokens)
        spent += time.process_time() - start
    return out, spent / max(len(out), 1)


def top(facts: Facts, group: str) -> str | None:
    """The most probable known value of a group."""
    known = [v for v in GROUPS[group] if facts.known[INDEX[f"{group}.{v}"]]]
    return max(known, key=lambda v: facts.p[INDEX[f"{group}.{v}"]]) if known else None


def auc(scores: list[float], labels: list[bool]) -> float:
    """Area under the ROC curve, ties counted half."""
    s, y = np.asarray(scores), np.asarray(labels)
    if y.all() or not y.any():
        return float("nan")
    return float((np.sign(s[y][:, None] - s[~y][None]) / 2 + 0.5).mean())


def truths(person: dict[str, Any]) -> dict[str, list[str]]:
    """Group → accepted values of one annotated person; groups that are told in full only."""
    worn = {"upper.color": person["upper"]["color"], "lower.color": person["lower"]["color"]}
    worn["feet.color"], worn["hair.color"] = person["feet"]["color"], person["hair"]["color"]
    worn["hair.length"] = person["hair"]["length"].split()
    worn["upper.type"], worn["lower.type"] = person["upper"]["type"], person["lower"]["type"]
    worn["upper.sleeves"] = [person["upper"]["sleeves"]]
    worn["upper.pattern"] = [person["upper"]["pattern"]]
    worn["carry"], worn["bag.color"] = person["carry"], person["bag_color"]
    worn["head.wear"] = person["wear"]
    return worn


def score(facts: dict[str, Facts], persons: dict[str, Any], show: bool) -> dict[str, float]:
    """Accuracy by group over ``persons``."""
    hits: dict[str, list[bool]] = {}
    pairs: dict[str, tuple[list[float], list[bool]]] = {}
    for stem, f in facts.items():
        person = persons.get(stem[:4])
        if person is None:
            continue
        told = truths(person) | {
            "facing": [person["facing"][int(stem[4:]) - 1]],
            "posture": [person["posture"][int(stem[4:]) - 1]],
        }
        for group, accepted in told.items():
            best = top(f, group)
            if best is None or not (accepted or group in ("carry", "head.wear")):
                continue
            if accepted:
                hits.setdefault(group, []).append(best in accepted)
                if group.endswith(".color"):
                    hits.setdefault(group + " main", []).append(best == accepted[0])
                if show and best not in accepted:
                    print(stem, group, "said", best, "not", accepted)
            scores, labels = pairs.setdefault(group, ([], []))
            for value in GROUPS[group]:
                if f.known[INDEX[f"{group}.{value}"]]:
                    scores.append(float(f.p[INDEX[f"{group}.{value}"]]))
                    labels.append(value in accepted)
    out = {group: float(np.mean(h)) for group, h in sorted(hits.items())}
    for group, (scores, labels) in sorted(pairs.items()):
        out[f"{group} auc"] = auc(scores, labels)
        out[f"{group} mean p / rate"] = float(np.mean(scores)) / max(float(np.mean(labels)), 1e-6)
    return out


def value_auc(facts: dict[str, Facts], persons: dict[str, Any]) -> dict[str, tuple[float, int]]:
    """AUC of each single atom over pictures, where both kinds occur: (auc, positives)."""
    table: dict[str, tuple[list[float], list[bool]]] = {}
    for stem, f in facts.items():
        person = persons.get(stem[:4])
        if person is None:
            continue
        for group, accepted in truths(person).items():
            for value in GROUPS[group]:
                atom = f"{group}.{value}"
                if f.known[INDEX[atom]]:
                    scores, labels = table.setdefault(atom, ([], []))
                    scores.append(float(f.p[INDEX[atom]]))
                    labels.append(value in accepted)
    return {a: (auc(s, y), sum(y)) for a, (s, y) in table.items() if any(y) and not all(y)}


def retrieval(facts: dict[str, Facts], persons: dict[str, Any], keep: int, text: str) -> dict[str, float]:
    """R@1, R@5 and mAP of each kept person's sentence over all pictures; any picture of the person (or of the one
    dressed alike: 30 = 33, 21 = 23) answers. ``keep``: 1 odd, 0 even."""
    from oddwatch.describe.match import scores
    from oddwatch.describe.sentence import parse

    alike = {"0033": "0030", "0023": "0021"}
    stems = list(facts)
    who = np.array([alike.get(s[:4], s[:4]) for s in stems])
    p, known = np.stack([facts[s].p for s in stems]), np.stack([facts[s].known for s in stems])
    found: list[tuple[float, float, float]] = []
    for name, person in persons.items():
        if int(name) % 2 != keep:
            continue
        order = np.argsort(-scores(parse(person[text]), p, known), kind="stable")
        right = who[order] == alike.get(name, name)
        precision = (np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean()
        found.append((float(right[0]), float(right[:5].any()), float(precision)))
    return dict(zip(("R@1", "R@5", "mAP"), (100 * np.array(found)).mean(0).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--dark", type=float, default=1.0)
    parser.add_argument("--persons", choices=("odd", "even", "all"), default="all")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--atoms", action="store_true")
    parser.add_argument("--heads", default="packaged", help="packaged, none or a folder")
    parser.add_argument("--card", type=Path, help="also write the figures over all persons into this card")
    args = parser.parse_args()
    from oddwatch.encoders.pose import PoseModel

    run(PoseModel(threads=2), args)


def run(finder: Finder, args: argparse.Namespace) -> None:
    """Describe, score and print."""
    told = json.loads((HERE / "data" / "cuhk01_dev.json").read_text())["persons"]
    heads = None if args.heads == "none" else args.heads
    facts, seconds = describe_all(finder, args.scale, args.dark, heads)
    halves = {"odd": 1, "even": 0}
    wanted = ("odd", "even") if args.persons == "all" else (args.persons,)
    results = {
        h: score(facts, {k: v for k, v in told.items() if int(k) % 2 == halves[h]}, args.errors)
        for h in wanted
    }
    print(
        f"describe: {1000 * seconds:.1f} CPU ms a person; {len(COLORS)} colours; scale {args.scale}, light {args.dark}"
    )
    for group in next(iter(results.values())):
        print(f"{group:32s}" + "".join(f"  {h} {results[h].get(group, float('nan')):.3f}" for h in wanted))
    for text in ("short", "long"):
        for h in wanted:
            got = retrieval(facts, told, halves[h], text)
            print(f"{text} queries, {h} persons: " + "  ".join(f"{k} {v:.1f}" for k, v in got.items()))
    if args.card is not None:
        card = json.loads(args.card.read_text())
        figures = {k: round(v, 3) for k, v in score(facts, told, False).items() if v == v}
        card["real_development"] = {
            "data": "143 CUHK01 crops, our annotations (not trained on)",
            "figures": figures,
        }
        args.card.write_text(json.dumps(card, indent=1) + "\n")
    if args.atoms:
        for atom, (a, n) in sorted(value_auc(facts, told).items()):
            print(f"{atom:28s} auc {a:.3f}  n {n}")


if __name__ == "__main__":
    main()
