"""What is held out of normal footage is not learnt by the detector that judges it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from oddwatch.core import Curve
from oddwatch.detectors.video.notes import Notes
from oddwatch.pipeline import video_setup
from oddwatch.pipeline.video_setup import VideoOptions, pieces, prepare


class Remembers:
    """Gives 1 for what it has learnt and 0 for all else."""

    LABELS, NEEDS_NORMALS, NAME = False, True, "remembers"

    def fit(self, normal: Sequence[Notes]) -> Remembers:
        self.seen = {(n.name, float(n.times[0])) for n in normal}
        return self

    def settle(self, held: Sequence[Curve]) -> list[Curve]:
        self.settled = len(held)
        return list(held)

    def curve(self, notes: Notes) -> Curve:
        learnt = (notes.name, float(notes.times[0])) in self.seen
        return Curve(notes.name, notes.times, np.full(len(notes), float(learnt)))


@pytest.mark.parametrize("clips", [1, 3])
def test_no_piece_is_judged_by_what_learnt_it(monkeypatch: pytest.MonkeyPatch, clips: int) -> None:
    monkeypatch.setattr(video_setup, "build", lambda options: Remembers())
    normal = [Notes(str(i), (90, 160), np.arange(600) / 10) for i in range(clips)]
    ready = prepare(normal, VideoOptions())
    assert sum(len(c.times) for c in ready.normal) == 600 * clips
    assert max(c.values.max() for c in ready.normal) == 0
    assert ready.detector.curve(normal[0]).values.min() == 1
    assert ready.detector.settled == len(ready.normal)


def test_many_short_clips_are_learnt_whole_and_one_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_setup, "build", lambda options: Remembers())
    ten = [Notes(str(i), (90, 160), np.arange(100) / 10) for i in range(5)]
    assert len(prepare(ten, VideoOptions()).detector.seen) == 5
    assert len(prepare(ten[:1], VideoOptions()).detector.seen) == 4


def test_short_clips_are_cut_only_where_there_are_few() -> None:
    ten = Notes("ten", (90, 160), np.arange(100) / 10)
    assert len(pieces(ten)) == 4
    assert len(pieces(ten, alone=False)) == 1
    minute = Notes("minute", (90, 160), np.arange(600) / 10)
    assert len(pieces(minute, alone=False)) == 3
