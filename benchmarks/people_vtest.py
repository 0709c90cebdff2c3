"""People found a frame against a hand count of 20 frames of vtest.avi: one pass, tiles as needed, tiles always.

    python benchmarks/people_vtest.py [--data DIR] [--threads N] [--json]

There are no boxes, so nothing is matched: ``found/counted`` is a ratio of sums (false finds make up for
misses), ``error`` the mean absolute difference a frame, ``missed`` and ``extra`` the sums of the differences
below and above the count. Milliseconds are those of this machine and of whatever else it does.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oddwatch.encoders.pose import PoseModel
from oddwatch.media.people import PeopleFinder
from oddwatch.media.video import Video

HERE = Path(__file__).resolve().parent
WAYS: dict[str, dict[str, Any]] = {
    "one pass at 512": {"tiles": "never", "long_side": 512, "coarse": 0},
    "one pass at 768": {"tiles": "never", "long_side": 768, "coarse": 0},
    "tiles as needed": {"tiles": "auto"},
    "tiles always": {"tiles": "always"},
}


class _Counting:
    """A pose model that counts its passes."""

    def __init__(self, model: PoseModel) -> None:
        self.model, self.passes = model, 0

    def detect(self, pixels: Any, long_side: int = 512) -> Any:
        self.passes += 1
        return self.model.detect(pixels, long_side)


def measure(data: Path, threads: int, ways: Sequence[str]) -> list[dict[str, Any]]:
    """One row a way of looking."""
    counted = json.loads((HERE / "data" / "vtest_hand_count.json").read_text())
    video = Video(data / counted["video"])
    frames = [video.frame_at(row["time"]) for row in counted["frames"]]
    truth = [row["people"] for row in counted["frames"]]
    assert [f.index for f in frames] == [row["frame"] for row in counted["frames"]]
    rows = []
    for name in ways:
        settings = WAYS[name]
        model = _Counting(PoseModel(threads=threads))
        finder = PeopleFinder(model, **settings)
        finder.find(frames[0])
        model.passes, start = 0, time.perf_counter()
        found = [len(finder.find(f)) for f in frames]
        spent = time.perf_counter() - start
        off = [f - t for f, t in zip(found, truth, strict=True)]
        rows.append(
            {
                "way": name,
                "found/counted": round(sum(found) / sum(truth), 3),
                "error": round(sum(map(abs, off)) / len(off), 3),
                "missed": -sum(min(d, 0) for d in off),
                "extra": sum(max(d, 0) for d in off),
                "passes": model.passes / len(frames),
                "ms": round(1000 * spent / len(frames), 1),
                "found": found,
                "counted": truth,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = os.environ.get("ODDWATCH_DATA", HERE.parent.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=list(WAYS), action="append", help="only this one (may be repeated)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.data, options.threads, options.way or list(WAYS))
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    print("counted         ", *(f"{n:2}" for n in rows[0]["counted"]))
    for row in rows:
        print(f"{row['way']:16}", *(f"{n:2}" for n in row["found"]))
    for row in rows:
        print(f"{row['way']:16}", *(f"{k} {v}" for k, v in row.items() if not isinstance(v, (list, str))))


if __name__ == "__main__":
    main()
