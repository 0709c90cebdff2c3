"""Detectors of video that ask a language model, on fights:
python benchmarks/language_detectors.py [--llm URL] [--clips N] [--cache DIR].

``surveillance_fights`` (shared part): N clips with a fight and N without, drawn with the seed, each a few seconds long. The
packaged describer writes a caption for each of two looks a second; TRLC, VERA and LAVAD judge by these captions alone, first as they
do without a model, then, with ``--llm``, with one. Nothing is learnt: VERA asks its own two questions, TRLC's rules are written by
the model. Of a clip the mean of what was told of its parts counts (``clip_auc``), and whether it is 0.5 or more (``accuracy``); of
VERA the verdicts as they are said, since its smoothing and the weight of the middle would tell these short clips apart by their
length. ``questions`` are those that the model was really asked, ``unusable`` of them without an answer of the form asked for. The
clips are shorter than the ten seconds that LAVAD and VERA look around, so all parts of a clip have nearly one score.

The model of the committed rows is SmolLM2-135M-Instruct, the small model that comes as a package. It cannot judge, by our own
measurement: asked about twelve sentences that fit a scene or do not, its odds of yes against no had an AUC of 0.47, and here it says
much the same whatever the captions are. The rows show that the chain runs with a real server and a model that does not keep to forms,
and at what cost; they do not show what these methods are worth with the models of their papers. The captions tell of people's
postures in one still, which is little to tell a fight by.

Without ``--llm`` only the rows without a model are made; rows of other models stay in the file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench.tables import markdown, read_rows, write_rows
from oddwatch.bench.watched import Watched
from oddwatch.core import Unknown
from oddwatch.datasets.videos import VideoItem, read_video_sets
from oddwatch.detectors.video.asking import Told
from oddwatch.detectors.video.captions import DescriberCaptioner
from oddwatch.detectors.video.lavad import LAVAD
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.trlc import TRLC
from oddwatch.detectors.video.vera import VERA
from oddwatch.detectors.video.watching import WatchSettings
from oddwatch.language.asking import Chat
from oddwatch.language.chat import connect
from oddwatch.metrics.ranking import auroc
from oddwatch.pipeline.models import Models

ROOT = Path(__file__).parent
DATA = Path(os.environ.get("ODDWATCH_DATA", ROOT.parent.parent / "shared" / "data"))
OUT = ROOT / "results" / "language_detectors.json"
SEED, LOOKS = 0, 2.0
DETECTORS: dict[str, Any] = {"trlc": TRLC, "vera": VERA, "lavad": LAVAD}


def drawn(count: int) -> list[VideoItem]:
    """``count`` clips of each label, by chance."""
    (fights,) = read_video_sets(DATA / "surveillance_fights", seed=SEED)
    items = sorted({i.name: i for i in (*fights.train, *fights.test)}.values(), key=lambda i: i.name)
    rng = np.random.default_rng(SEED)
    chosen = []
    for label in (1, 0):
        own = [i for i in items if i.label == label]
        chosen += [own[j] for j in rng.permutation(len(own))[:count]]
    return chosen


def worth(told: Sequence[Told]) -> float:
    """A clip's score: the mean over its parts, of which an unknown one counts a half."""
    return float(np.mean([0.5 if isinstance(t.score, Unknown) else t.score for t in told]))


def row(method: str, notes: list[Notes], labels: list[int], chat: Chat | None) -> dict[str, Any]:
    """One detector on all clips."""
    before = chat.tally if chat is not None else None
    started = time.perf_counter()
    detector = DETECTORS[method](chat=chat, seed=SEED)
    said = [worth(detector.told(n)) for n in notes]
    spent = time.perf_counter() - started
    about: dict[str, Any] = {
        "method": method, "protocol": "fights, captions of the describer", "seed": SEED, "default": False,
        "model": "none" if chat is None else str(getattr(chat, "model", chat.id)), "clips": len(notes),
        "clip_auc": auroc(labels, said).number,
        "accuracy": float(np.mean([(s >= 0.5) == bool(y) for s, y in zip(said, labels, strict=True)])),
        "told_anomalous": float(np.mean([s >= 0.5 for s in said])),
        "seconds_per_clip": spent / len(notes), "load": os.getloadavg()[0],
    }  # fmt: skip
    if chat is not None and before is not None:
        after = chat.tally
        about |= {"questions": after.calls - before.calls, "unusable": after.unusable - before.unusable}
        about |= {"no_reply": after.failed - before.failed}
    return about


def main() -> None:
    """Measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", help="URL, .gguf file or folder of a chat model")
    parser.add_argument("--clips", type=int, default=6, help="clips with a fight, and as many without")
    parser.add_argument("--methods", default=",".join(DETECTORS))
    parser.add_argument("--cache", type=Path, help="where notes are kept; default: until the run ends")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    models = Models(threads=options.threads)
    settings = WatchSettings(want=("people", "captions"), looks=LOOKS)
    folder = options.cache or Path(tempfile.mkdtemp(prefix="oddwatch-"))
    watched = Watched(folder, settings, models, DescriberCaptioner(models.describer))
    items = drawn(options.clips)
    notes = [watched.notes(i) for i in items]
    labels = [int(i.label or 0) for i in items]
    # No cache of answers: the seconds are those of asking.
    chats = [None] + ([connect(options.llm)] if options.llm else [])
    for chat in chats:
        for method in options.methods.split(","):
            made = row(method, notes, labels, chat)
            rows = read_rows(options.out) if options.out.is_file() else []
            same = ("method", "model", "clips")
            rows = [r for r in rows if any(r.get(n) != made[n] for n in same)] + [made]
            about = {"script": f"benchmarks/{Path(__file__).name}", "machine": "two shared cores, one thread"}
            write_rows(options.out, rows, about)
            print(markdown([made]), flush=True)


if __name__ == "__main__":
    main()
