"""What CMP's own ideas buy at small scale: python benchmarks/cmp_ablation.py [--twins 800] [--cache DIR] [--out FILE].

Trains the recipe ``cmp`` (no typed facts) four times from the same drawn twins and seed: whole, without the pose-aware block,
without identity-based hard negatives, without both. Each network is asked one caption a picture about 200 drawn people of another
seed, none of whom chose an epoch; R@1 and how often a person's own twin stays behind are compared with the whole recipe's, paired,
over people. Needs the [torch] extra. It was
never run to its end here, so no figure of it is in the docs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.metrics.retrieval import paired_bootstrap, ranks_of
from oddwatch.pipeline.models import Models
from oddwatch.search.cross import CrossModel
from oddwatch.train import pairs
from oddwatch.train.recipe import Recipe, read_recipe
from oddwatch.train.search import VALIDATION, VALIDATION_TWINS, scores_of, train_search
from oddwatch.train.texts import encode_texts

VARIANTS = {
    "CMP": {},
    "without pose": {"pose": False},
    "without hard negatives": {"hard": 0.0},
    "without both": {"pose": False, "hard": 0.0},
}
TWINS = 100


def variant(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with parts of its model or losses changed."""
    model = {k: v for k, v in changes.items() if k == "pose"}
    losses = {k: v for k, v in changes.items() if k == "hard"}
    return replace(recipe, model=replace(recipe.model, **model), losses=replace(recipe.losses, **losses))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twins", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cache = args.cache or Path(scratch) / "pairs"
        recipe = read_recipe("cmp")
        assert isinstance(recipe, Recipe)
        recipe = replace(recipe, twins=args.twins or recipe.twins)
        seed = recipe.seed + VALIDATION
        people = pairs.read(pairs.shards(cache, seed, VALIDATION_TWINS + TWINS, "A"))
        people = people.rows(np.flatnonzero(people.twin >= VALIDATION_TWINS))
        texts = encode_texts(people, Models(threads=1).sentence, False)
        found: dict[str, dict[str, np.ndarray]] = {}
        rows: list[dict[str, Any]] = []
        for name, changes in VARIANTS.items():
            folder = Path(scratch) / name.replace(" ", "-")
            card = train_search(variant(recipe, changes), folder, cache=cache, threads=1)
            scores = scores_of(CrossModel.load(card.parent), people, texts)
            ids, own = list(range(len(people))), np.arange(len(people))
            ranks = ranks_of(scores, ids, ids)
            twin = scores[own, own] > scores[own, own ^ 1]
            found[name] = {
                "R@1": 100 * ranks.hits(1),
                "mAP": 100 * ranks.average_precision(),
                "own twin first": 1.0 * twin,
            }
            row: dict[str, Any] = {
                "method": name,
                "protocol": "ablation, drawn people",
                "seed": seed,
                "gallery": len(people),
            }
            row |= {"pairs": json.loads(card.read_text())["pairs"], "transductive": False}
            for metric, values in found[name].items():
                row[metric] = round(float(values.mean()), 3)
                if name != "CMP":
                    test = paired_bootstrap(values, found["CMP"][metric], groups=(own // 2).tolist(), seed=0)
                    row[f"{metric} change"], row[f"{metric} p"] = round(test.difference, 3), round(test.p, 4)
            rows.append(row)
            print(json.dumps(row), flush=True)
        about = {
            "command": "python benchmarks/cmp_ablation.py",
            "twins": recipe.twins,
            "epochs": recipe.epochs,
        }
        if args.out is not None:
            args.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
