"""Anomalies from descriptions of frames alone, on the texts that AnomalyRuler's authors published:
python benchmarks/anomalyruler_text.py [--llm URL [--videos N] [--every K] [--rules N]] [--sets ped2,…] [--out FILE].

Every frame of Ped2, Avenue, ShanghaiTech and UBnormal (shared part) has a text by their vision model. Scored are

* published rules: the authors' rule files, keywords taken from them by the lexicon, no language model;
* published keywords: for ShanghaiTech also the word list of the released code;
* offline rules: what normal descriptions speak of. The sets have no normal training part here, so the rules for a video come from
  the normal frames of the other videos (five folds by video, drawn with the seed): labels of other test videos are used,
  those of the scored video are not;
* with ``--llm``, rules induced by the model from ``--rules`` normal frames of the videos that are not judged, and every
  ``--every``-th frame of ``--videos`` videos with both kinds of frames, drawn with the seed, judged by it; beside it the offline
  rules from the same videos on the same frames. With this option these rows alone are made, and put beside those in the file.
  SmolLM2-135M, the small model that comes as a package, cannot judge: it repeats itself, copies the form it is to fill in, and says 0
  or 1 whatever is described. Its rows show that the chain runs with a real model, not what a language model is good for.

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

from oddwatch.bench.tables import markdown, read_rows, write_rows
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


def by_folds(videos: list[Video]) -> Scored:
    """Rules from the normal frames of other videos, by the lexicon."""
    scored = Scored(videos)
    for tested, normal in folds(videos):
        detector = AnomalyRuler(seed=SEED).fit(normal)
        level = level_of(detector, normal)
        for i in tested:
            reading = detector.read(videos[i][0])
            scored.plain[i], scored.smooth[i] = reading.first, reading.final
            scored.flags[i] = reading.final > level
    return scored


def level_of(detector: AnomalyRuler, normal: list[Notes]) -> float:
    """The degree that a share of the normal frames passes."""
    return float(np.quantile(np.concatenate([detector.read(n).final for n in normal]), 1 - RATE))


def judged(
    videos: list[Video], most: int, every: int, rules: int, chat: Any = None
) -> tuple[Scored, dict[str, Any]]:
    """Every ``every``-th frame of ``most`` videos by rules from the normal frames of the others, with a model or without, and
    how that went."""
    both = [i for i, (_, y) in enumerate(videos) if 0 < y[::every].sum() < len(y[::every])]
    drawn = [int(i) for i in np.random.default_rng(SEED).permutation(both)[:most]]
    thin = [(notes_of(n.name, n.captions[::every]), y[::every]) for n, y in (videos[i] for i in drawn)]
    normal = []
    for i, (notes, labels) in enumerate(videos):
        kept = tuple(c for c, y in zip(notes.captions, labels, strict=True) if not y)
        if i not in drawn and kept:
            normal.append(notes_of(notes.name, kept))
    detector, scored = AnomalyRuler(chat=chat, n=rules, seed=SEED).fit(normal), Scored(thin)
    book = detector.rule_book
    level = level_of(detector, normal) if book is None else 0.5
    for i, (notes, _) in enumerate(thin):
        reading = detector.read(notes)
        scored.plain[i], scored.smooth[i], scored.flags[i] = (
            reading.first,
            reading.final,
            reading.final > level,
        )
    about: dict[str, Any] = {"every": every}
    if chat is not None:
        about |= {"rule_sets": rules, "questions": chat.tally.calls, "unusable": chat.tally.unusable}
        about |= {"no_reply": chat.tally.failed, "load": os.getloadavg()[0]}
    if chat is not None and book is not None:
        about |= {"rules_of_anomaly": len(book.anomaly), "keywords": len(book.keywords)}
    return scored, about


def beside(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the file with those of the same run replaced."""
    names = ("protocol", "rules", "smoothing", "every", "videos")
    made = {tuple(r.get(n) for n in names) for r in rows}
    kept = read_rows(path) if path.is_file() else []
    return [r for r in kept if tuple(r.get(n) for n in names) not in made] + rows


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(PUBLISHED))
    parser.add_argument("--llm", help="URL, .gguf file or folder of a chat model")
    parser.add_argument("--videos", type=int, default=3, help="videos of each set that the model judges")
    parser.add_argument("--every", type=int, default=10, help="of their frames every so many-th")
    parser.add_argument("--rules", type=int, default=10, help="normal frames that rules are induced from")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.sets.split(","):
        videos = read_set(DATA / "anomalyruler_text" / f"{name}.parquet")
        book = RuleBook.read((DATA / "anomalyruler_text" / f"rule_{name}.txt").read_text(encoding="utf-8"))
        runs: dict[str, Any] = {}
        if options.llm:
            chat = connect(options.llm, cache=default_cache())
            few = (options.videos, options.every, options.rules)
            runs["offline rules, same frames"] = lambda v=videos, f=few: judged(v, *f)
            runs[f"language model {getattr(chat, 'model', chat.id)}"] = lambda v=videos, f=few, c=chat: (
                judged(v, *f, c)
            )
        else:
            runs["published rules"] = lambda b=book, v=videos: (by_book(v, b), {})
            if name == "SHTech":
                released = replace(book, keywords=RELEASED)
                runs["published keywords"] = lambda b=released, v=videos: (by_book(v, b), {})
            runs["offline rules"] = lambda v=videos: (by_folds(v), {})
        for rules, run in runs.items():
            started = time.perf_counter()
            scored, went = run()
            about = {
                "method": "anomalyruler", "protocol": f"descriptions of {name}", "seed": SEED, "default": False,
                "rules": rules, "videos": len(scored.labels), "frames": int(sum(map(len, scored.labels))),
            }  # fmt: skip
            spent = time.perf_counter() - started
            own = list(scored.rows(about))
            published = dict(zip(("published_auc", "published_base_auc"), PUBLISHED[name], strict=True))
            rows += [r | published | {"frames_per_second": about["frames"] / spent} | went for r in own]
            print(markdown(own), flush=True)
    about = {
        "script": Path(__file__).name,
        "folds": FOLDS,
        "false_alarm_rate": RATE,
        "data": "anomalyruler_text, shared part",
    }
    write_rows(options.out, beside(options.out, rows), about)


if __name__ == "__main__":
    main()
