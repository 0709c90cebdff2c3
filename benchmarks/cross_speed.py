"""Seconds to re-rank 128 stored entries with the small cross-encoder: python benchmarks/cross_speed.py [--out FILE].

A gallery of 128 people with random part tokens, poses and facts on disk, as an index leaves them; short (13 words) and long
(40 words) sentences. Reading the entries, encoding the sentence, matching and ordering are all timed; the share of each part is
printed. Goal: at most 150 ms on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from oddwatch.core import Box, Entry, Facts, Hit, Person, Pose, View
from oddwatch.describe.atoms import ATOMS, SCHEMA_ID
from oddwatch.describe.sentence import parse
from oddwatch.gallery import Gallery
from oddwatch.pipeline.models import Models, spaces
from oddwatch.search.cross import CrossStage, looks_of, packaged, prior_of

SHORT = "a man in a red jacket and blue jeans lying on the ground outside"
LONG = (
    "A person with short grey hair is wearing a dark red jacket over a white shirt, loose blue jeans and black shoes, "
    "carries a brown bag and is lying on the ground face down beside a parked car on the street during the day."
)


def entries(n: int, rng: np.random.Generator) -> list[Entry]:
    """``n`` people with random looks."""
    made = []
    for i in range(n):
        points = np.column_stack([rng.uniform(0, 100, (17, 2)), rng.random(17)]).astype(np.float32)
        facts = Facts(SCHEMA_ID, rng.random(len(ATOMS)).astype(np.float32), rng.random(len(ATOMS)) < 0.5)
        person = Person(Box(0, 0, 60, 150), 0.9, Pose(points))
        tokens = rng.integers(-127, 127, (9, 384)).astype(np.int8)
        view = View(None, None, person)
        made.append(
            Entry(
                f"e{i:04d}",
                "x.jpg",
                "person",
                None,
                None,
                None,
                person.box,
                views=(view,),
                facts=facts,
                tokens=tokens,
                vectors={"facts": rng.normal(size=len(ATOMS)), "image": rng.normal(size=384)},
                thumbnail=b"x" * 20_000,
            )
        )
    return made


def timed(times: int, run: object) -> list[float]:
    """Milliseconds of each call after two for warming up."""
    out = []
    for i in range(times + 2):
        started = time.perf_counter()
        run()  # type: ignore[operator]
        if i >= 2:
            out.append(1000 * (time.perf_counter() - started))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rng, models, model = np.random.default_rng(0), Models(), packaged()
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.open(Path(folder) / "g", encoders=spaces()) as gallery,
    ):
        gallery.add(entries(args.n, rng))
        ids = [f"e{i:04d}" for i in range(args.n)]
        hits = [Hit(i + 1, e, "x.jpg", "person", 0.0) for i, e in enumerate(ids)]
        stage = CrossStage(gallery, models.sentence, args.n)
        _, looks = looks_of(gallery.get_many(ids))
        seen = model.looks(looks)
        for name, text in (("short", SHORT), ("long", LONG)):
            query = parse(text, models.sentence)
            whole = timed(args.times, lambda q=query: stage.rerank(q, hits))
            state = model.text(models.sentence.tokens([text])[0])
            parts = {
                "read": timed(args.times, lambda: looks_of(gallery.get_many(ids))),
                "looks": timed(args.times, lambda: model.looks(looks)),
                "slots": timed(args.times, lambda q=query: prior_of(q, looks)),
                "match": timed(args.times, lambda s=state: model.match(s, seen, np.zeros(args.n))),
                "sentence": timed(args.times, lambda t=text: models.sentence.tokens([t])),
            }
            rows.append(
                {
                    "query": name,
                    "candidates": args.n,
                    "median_ms": round(float(np.median(whole)), 1),
                    "p95_ms": round(float(np.quantile(whole, 0.95)), 1),
                    "parts_median_ms": {k: round(float(np.median(v)), 1) for k, v in parts.items()},
                }
            )
    report = {"command": "python benchmarks/cross_speed.py", "cores": os.cpu_count(), "rows": rows}
    text = json.dumps(report, indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
