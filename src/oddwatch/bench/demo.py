"""The tour: draw footage, index it, search it, measure it, write the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from oddwatch.core import Progress
from oddwatch.datasets.scenes import generate
from oddwatch.gallery.store import Gallery
from oddwatch.pipeline.index import IndexOptions, index
from oddwatch.pipeline.models import Models, spaces
from oddwatch.pipeline.pictures import context_picture
from oddwatch.report import render
from oddwatch.search.engine import SearchResult, search

SENTENCES = (
    "someone lying on the ground",
    "a person in a red top running",
    "two people fighting",
    "a person in a tutu without shoes juggling",
)
TWINS = 16


def run_demo(
    out: Path,
    *,
    seed: int = 7,
    device: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> Path:
    """Everything in folder ``out``; ``say`` gets the lines for people. Returns the report's path.

    Raises:
        OSError: the folder cannot be written.
    """
    from oddwatch.bench.search import run_search_bench

    models = Models(device=device, threads=threads)
    footage, gallery = out / "footage", out / "gallery"
    say(f"drawing three street scenes and {TWINS} twin pairs of stills (seed {seed})")
    generate(footage, scenes=3, seed=seed, progress=progress)
    generate(out / "twins", scenes=0, twins=TWINS, seed=seed, progress=progress)
    say("indexing them: people, moments, facts")
    with Gallery.open(gallery, encoders=spaces()) as store:
        report = index([str(footage / "media" / "*.webm")], store, models, IndexOptions(), progress)
        say("  " + report.summary())
        results = [search(store, text, top=6, sentence_encoder=models.sentence) for text in SENTENCES]
    for result in results:
        say(_line(result))
    say("measuring sentence → picture on the twins (drawn people, not a claim about real ones)")
    rows = run_search_bench(out / "twins", seed=seed, device=device, threads=threads, progress=progress)
    for row in rows:
        if row.get("protocol") == "text to picture" and row.get("queries") == "short" and row.get("default"):
            say(f"  R@1 {row['R@1']:.1f}, R@5 {row['R@5']:.1f} over {row['gallery']} pictures")
    return render(results[0], context_picture, out / "report.html")


def _line(result: SearchResult) -> str:
    first = result.hits[0] if result.hits else None
    if result.answer != "matches" or first is None:
        return f'  "{result.query.text}": nobody matches'
    at = "" if first.time is None else f" at {first.time:.1f} s"
    return f'  "{result.query.text}": {Path(first.source).name}{at} ({first.probability or 0:.0%})'
