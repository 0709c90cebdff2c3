"""Sentence search over drawn people: python benchmarks/search_generated.py [--pairs 500] [--seed 424242] [--out FILE] [--ladder].

A gallery of twin pairs (the same person, clothes, place and light, once normal and once not), 1,000 people by default, of a
seed nothing was fitted on, asked with captions of family B (own templates and words). Prints JSON rows: R@1, R@5, mAP in
percent for the linear and the exact stage, with and without action words, beside the same with the true facts; "nobody
matches" by the benchmark's own swaps; which twin is put first; and the share of the captions' words that the synonym
table lacks. With --ladder also every composition of stages, asked one caption a picture (short and long by turns), each
paired with coarse and with coarse + facts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench.nobody import nobody_rows
from oddwatch.bench.search import paired_rows, rows_of_scores
from oddwatch.bench.stages import LADDER, compose_all
from oddwatch.bench.subjects import Described, bare, gallery_of, packaged_looker
from oddwatch.bench.subjects import Gallery as Subjects
from oddwatch.core import Box, Entry, Facts, Frame, InputError, Query
from oddwatch.datasets.records import Record
from oddwatch.datasets.scenes.captions import person_captions
from oddwatch.datasets.scenes.stills import twin_pair
from oddwatch.datasets.scenes.words import content_words, unknown_share
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.describe.lexicon import lexicon
from oddwatch.describe.priors import PRIOR
from oddwatch.metrics.retrieval import bootstrap, ranks_of
from oddwatch.pipeline.models import Models
from oddwatch.search.cross import CrossModel
from oddwatch.train.labels import targets

SURE = 0.97
RARITY = 0.7
"""Share of family B's rare words; the share that the table lacks is printed."""
DOING = frozenset({"posture", "action", "motion"})


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """The gallery, its twins' facts as annotated, and captions: (record, length, text)."""

    gallery: Subjects
    truth: Subjects
    asked: list[tuple[int, str, str]]
    plain: list[tuple[int, str, str]]


def draw(pairs: int, seed: int, rarity: float, models: Models) -> Set:
    """Draw, describe and caption ``pairs`` pairs of twins."""
    records: list[Record] = []
    entries: list[Entry] = []
    asked, plain = [], []
    look = packaged_looker(models)
    for index in range(pairs):
        for still in twin_pair(seed, index):
            n = len(records)
            box = Box(*(float(v) for v in still.box))
            entries += look(Frame(still.pixels, "drawn"), box)
            said = person_captions(still.facts, np.random.default_rng([seed, n]), "B", 1, rarity)
            asked += [(n, length, said[length][0]) for length in ("short", "long")]
            plain += [
                (n, length, text) for length, text in zip(("short", "long"), said["plain"], strict=True)
            ]
            records.append(
                Record(
                    f"{n}.png",
                    str(n),
                    (said["short"][0], said["long"][0]),
                    box,
                    still.facts,
                    still.abnormal,
                    person=still.person,
                )
            )
    order = range(len(records))
    true = [bare(_true(r.facts)) for r in records]
    return Set(
        gallery_of(records, entries, order, evidence),
        gallery_of(records, true, order, evidence),
        asked,
        plain,
    )


def _true(told: Any) -> Facts:
    """Annotated facts as probabilities; what is not told stays unknown."""
    y, known = targets(told)
    p = np.where(known, np.where(y > 0, SURE, 1 - SURE), PRIOR).astype(np.float32)
    return Facts(SCHEMA_ID, p, known)


def ranking(
    gallery: Subjects, asked: Sequence[tuple[int, str, str]], language: Described, strike: bool, what: str
) -> list[dict[str, Any]]:
    """Rows for short, long and all captions, coarse and exact; and how often the twin stays behind."""
    scores: dict[str, list[np.ndarray]] = {"coarse": [], "facts": []}
    for _, _, text in asked:
        try:
            query = language.parse(text)
        except InputError:
            for found in scores.values():
                found.append(np.full(len(gallery.records), -np.inf))
            continue
        if strike:
            query = replace(query, slots=tuple(s for s in query.slots if s.kind not in DOING))
        scores["coarse"].append(gallery.evidence @ language.weights(query))
        scores["facts"].append(language.scores(query, gallery.p, gallery.known))
    rows = []
    for stage, found in scores.items():
        matrix = np.array(found)
        for length in ("short", "long", "all"):
            at = [i for i, a in enumerate(asked) if length in ("all", a[1])]
            ranks = ranks_of(matrix[at], [str(asked[i][0]) for i in at], gallery.ids)
            twins = [matrix[i, asked[i][0]] > matrix[i, asked[i][0] ^ 1] for i in at]
            spread = bootstrap(ranks.hits(1), groups=[asked[i][0] // 2 for i in at], draws=500)
            summary = {
                k: round(float(v or 0), 1) for k, v in ranks.summary().items() if k in ("R@1", "R@5", "mAP")
            }
            rows.append(
                {
                    "protocol": "drawn people",
                    "stages": [stage],
                    "facts": what,
                    "queries": length,
                    "n": len(at),
                    **summary,
                    "R@1 ci95": [round(100 * spread.low, 1), round(100 * spread.high, 1)] if spread else None,
                    "own twin first": round(float(np.mean(twins)), 3),
                }
            )
    return rows


def _parsed(language: Described, text: str) -> Query | None:
    try:
        return language.parse(text)
    except InputError:
        return None


def ladder(
    drawn: Set, language: Described, cross: CrossModel | None, seed: int, wanted: Sequence[tuple[str, ...]]
) -> list[dict[str, Any]]:
    """Rows of the compositions over one caption a picture, each with its gain over coarse and over coarse + facts."""
    # Of two pairs' eight captions: short and long ones alike for the normal and the odd pictures.
    asked = [a for i, a in enumerate(drawn.asked) if i % 8 in (0, 3, 5, 6)]
    queries = [_parsed(language, text) for _, _, text in asked]
    pairs = [(text, str(n)) for n, _, text in asked]
    lists = [("coarse",), ("coarse", "facts"), *wanted]
    made = compose_all(drawn.gallery, queries, lists, language.encoder, cross=cross)
    rows: list[dict[str, Any]] = []
    for one in made:
        rows += rows_of_scores(one.scores, pairs, drawn.gallery.ids, one.extra, seed)[-1:]
        # Queries stand in the order of the pictures: picture n's own query is row n, its twin column n ^ 1.
        own = [one.scores[n, n] > one.scores[n, n ^ 1] for n in range(len(asked))]
        rows[-1] |= {"protocol": "drawn people, compositions", "own twin first": float(np.mean(own))}
    for one in made[2:]:
        against = {"coarse": made[0].scores, "coarse + facts": made[1].scores}
        rows += paired_rows(one.scores, against, pairs, drawn.gallery.ids, seed, one)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=424_242)
    parser.add_argument("--rarity", type=float, default=RARITY)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("--cross", type=Path, help="folder of a cross-encoder; default: the packaged one")
    parser.add_argument("--stages", nargs="*", help="compositions in place of the whole ladder")
    args = parser.parse_args()
    models = Models()
    drawn = draw(args.pairs, args.seed, args.rarity, models)
    language = Described(models.sentence)
    captions = [text for _, _, text in drawn.asked]
    # Words by hand and those that were derived from WordNet; the parser knows inflections of both.
    by_hand = {w for phrase in lexicon().by_hand for w in phrase.replace("-", " ").split()}
    table = {w for phrase in lexicon().words for w in phrase.replace("-", " ").split()}
    report: dict[str, Any] = {
        "gallery": len(drawn.gallery.records),
        "seed": args.seed,
        "caption family": "B",
        "rarity": args.rarity,
        "content words": sum(len(content_words(t)) for t in captions),
        "share of words not in the table by hand": round(unknown_share(captions, by_hand), 3),
        "share of words not in the whole table": round(unknown_share(captions, table), 3),
    }
    rows = ranking(drawn.gallery, drawn.asked, language, False, "seen")
    rows += ranking(drawn.gallery, drawn.asked, language, True, "seen, doing words struck out")
    rows += ranking(drawn.gallery, drawn.plain, language, False, "seen, captions without action words")
    rows += ranking(drawn.truth, drawn.asked, language, False, "true")
    rows += nobody_rows(drawn.gallery, language, 0, 200)
    rows += [row | {"facts": "true"} for row in nobody_rows(drawn.truth, language, 0, 200)]
    report["rows"] = rows
    if args.ladder or args.stages:
        cross = CrossModel.load(args.cross) if args.cross is not None else None
        wanted = [tuple(s.split(",")) for s in args.stages] if args.stages else LADDER
        rows += ladder(drawn, language, cross, args.seed, wanted)
    text = json.dumps(report, indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
