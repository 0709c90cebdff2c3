"""Anomalies from descriptions of frames alone, on the texts that AnomalyRuler's authors published:
python benchmarks/anomalyruler_text.py [--llm URL [--videos N]] [--sets ped2,…] [--out FILE].

Every frame of Ped2, Avenue, ShanghaiTech and UBnormal (shared part) has a text by their vision model. Scored are

* published rules: the authors' rule files, keywords taken from them by the lexicon, no language model;
* published keywords: for ShanghaiTech also the word list of the released code;
* offline rules: what normal descriptions speak of. The sets have no normal training part here, so the rules for a video come from
  the normal frames of the other videos (five folds by video, drawn with the seed): labels of other test videos are used,
  those of the scored video are not;
* with ``--llm``, rules induced from the same normal frames and frames judged by the model.

Each is given frame by frame and after the paper's smoothing (moving average, vote; for offline rules the average of the degree),
with the paper's constants. Accuracy, precision and recall are those of the vote, and of offline rules at the degree that 5 % of
the normal frames of other videos pass. The published numbers are quoted for comparison, from the whole test sets.

Needs pyarrow (``pip install "oddwatch[parquet]"``). ``ODDWATCH_DATA`` names the folder of the data.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench.tables import markdown, write_rows
from oddwatch.core import require
from oddwatch.detectors.video.anomalyruler import AnomalyRuler
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.rules import RuleBook
from oddwatch.language.chat import connect, default_cache
from oddwatch.metrics.frames import all_frames

DATA = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
OUT = Path(__file__).parent / "results" / "anomalyruler_text.json"
SEED, FOLDS, RATE = 0, 5, 0.05
PUBLISHED = {  # name → (AUC, AUC without the language model's reasoning); the paper's, on the whole test sets
    "ped2": (0.979, 0.965), "avenue": (0.897, 0.822), "SHTech": (0.852, 0.846), "UBNormal": (0.719, 0.698),
}  # fmt: skip
RELEASED = (
    "trolley", "cart", "luggage", "bicycle", "scooter", "vehicles", "vans", "accident", "running", "jumping", "riding",
    "skateboarding", "scooting", "lying", "falling", "bending", "fighting", "pushing", "loitering", "climbing",
)  # fmt: skip
"""Keywords for ShanghaiTech in the released code."""

Video = tuple[Notes, np.ndarray]


def read_set(path: Path) -> list[Video]:
    """Every video with its descriptions as captions, and its labels (n,)."""
    table = require("pyarrow.parquet", for_=path.name, extra="parquet").read_table(path).to_pydict()
    order = sorted(range(len(table["video"])), key=lambda i: (table["video"][i], table["frame"][i]))
    rows: dict[str, list[int]] = {}
    for i in order:
        rows.setdefault(table["video"][i], []).append(i)
    videos = []
    for name, at in rows.items():
        captions = tuple(table["description"][i] or "" for i in at)
        videos.append((notes_of(name, captions), np.array([table["label"][i] for i in at])))
    return videos


def notes_of(name: str, captions: tuple[str, ...]) -> Notes:
    """A clip of which nothing but its captions is known."""
    frames = np.arange(len(captions))
    return Notes(name, (1, 1), frames / 25, looked=frames, captions=captions)


def folds(videos: list[Video]) -> Iterator[tuple[list[int], list[Notes]]]:
    """The videos of a fold, and the normal frames of all others, video by video."""
    order = np.random.default_rng(SEED).permutation(len(videos))
    for k in range(FOLDS):
        tested = [int(i) for i in order[k::FOLDS]]
        normal = []
        for i, (notes, labels) in enumerate(videos):
            kept = tuple(c for c, y in zip(notes.captions, labels, strict=True) if not y)
            if i not in tested and kept:
                normal.append(notes_of(notes.name, kept))
        yield tested, normal


class Scored:
    """What was made of the videos of a set: frame scores as they are and smoothed, and verdicts."""

    def __init__(self, videos: list[Video]) -> None:
        self.labels = [labels for _, labels in videos]
        self.plain = [np.zeros(len(y)) for y in self.labels]
        self.smooth = [np.zeros(len(y)) for y in self.labels]
        self.flags = [np.zeros(len(y), bool) for y in self.labels]

    def rows(self, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A row for the scores as they are and one for the smoothed ones, the latter with the verdicts."""
        for smoothing, scores in (("none", self.plain), ("paper's", self.smooth)):
            found = all_frames(self.labels, scores)
            row = {**about, "smoothing": smoothing, "micro_auc": found["micro_auroc"].number}
            row |= {"macro_auc": found["macro_auroc"].number, "ap": found["micro_ap"].number}
            row |= {"anomalous_auc": found["anomalous_auroc"].number, "eer": found["eer"].number}
            yield row | (self.decided() if smoothing != "none" else {})

    def decided(self) -> dict[str, float | None]:
        """Accuracy, precision and recall of the verdicts; accuracy of calling every frame by the more frequent label."""
        y, said = np.concatenate(self.labels).astype(bool), np.concatenate(self.flags)
        hit = int((y & said).sum())
        return {
            "accuracy": float((y == said).mean()),
            "precision": hit / int(said.sum()) if said.any() else None,
            "recall": hit / int(y.sum()) if y.any() else None,
            "always_one_label": float(max(y.mean(), 1 - y.mean())),
        }


def by_book(videos: list[Video], book: RuleBook) -> Scored:
    """Keywords of a given rule book."""
    scored, detector = Scored(videos), AnomalyRuler(book=book, seed=SEED)
    for i, (notes, _) in enumerate(videos):
        reading = detector.read(notes)
        scored.plain[i], scored.smooth[i], scored.flags[i] = reading.first, reading.final, reading.vote
    return scored


def by_folds(videos: list[Video], chat: Any = None, most: int | None = None) -> Scored:
    """Rules from the normal frames of other videos, by the lexicon, or by a model for the first ``most`` videos."""
    chosen = videos[:most]
    scored = Scored(chosen)
    for tested, normal in folds(videos):
        tested = [i for i in tested if i < len(chosen)]
        if not tested:
            continue
        detector = AnomalyRuler(chat=chat, seed=SEED).fit(normal)
        level = 0.5
        if chat is None:
            level = float(np.quantile(np.concatenate([detector.read(n).final for n in normal]), 1 - RATE))
        for i in tested:
            reading = detector.read(videos[i][0])
            scored.plain[i], scored.smooth[i] = reading.first, reading.final
            scored.flags[i] = reading.final > level
    return scored


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(PUBLISHED))
    parser.add_argument("--llm", help="URL, .gguf file or folder of a chat model")
    parser.add_argument("--videos", type=int, default=3, help="videos of each set that the model judges")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.sets.split(","):
        videos = read_set(DATA / "anomalyruler_text" / f"{name}.parquet")
        book = RuleBook.read((DATA / "anomalyruler_text" / f"rule_{name}.txt").read_text(encoding="utf-8"))
        runs: dict[str, Any] = {"published rules": lambda b=book, v=videos: by_book(v, b)}
        if name == "SHTech":
            runs["published keywords"] = lambda b=book, v=videos: by_book(v, replace(b, keywords=RELEASED))
        runs["offline rules"] = lambda v=videos: by_folds(v)
        if options.llm:
            chat = connect(options.llm, cache=default_cache())
            runs[f"language model {chat.id}"] = lambda v=videos, c=chat: by_folds(v, c, options.videos)
        for rules, run in runs.items():
            started = time.perf_counter()
            scored = run()
            about = {
                "method": "anomalyruler", "protocol": f"descriptions of {name}", "seed": SEED, "default": False,
                "rules": rules, "videos": len(scored.labels), "frames": int(sum(map(len, scored.labels))),
            }  # fmt: skip
            spent = time.perf_counter() - started
            own = list(scored.rows(about))
            published = dict(zip(("published_auc", "published_base_auc"), PUBLISHED[name], strict=True))
            rows += [r | published | {"frames_per_second": about["frames"] / spent} for r in own]
            print(markdown(own), flush=True)
    about = {
        "script": Path(__file__).name,
        "folds": FOLDS,
        "false_alarm_rate": RATE,
        "data": "anomalyruler_text, shared part",
    }
    write_rows(options.out, rows, about)


if __name__ == "__main__":
    main()
