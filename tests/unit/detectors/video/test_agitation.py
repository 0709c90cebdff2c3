"""Agitation: even movement is calm, however much of it; movement that turns about is not."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.detectors.video.agitation import Agitation
from oddwatch.detectors.video.notes import Notes

TIMES = np.arange(200) / 20


def clip(speed: float = 0.0, wild: slice = slice(0, 0), change: float = 0.0, fast: float = 1.0) -> Notes:
    """All cells drift at ``speed``; those of a corner turn about at every frame of ``wild``."""
    motion = np.zeros((200, 6, 8, 4))
    motion[1:, ..., 1] = speed
    motion[1:, ..., 3] = change
    turn = np.where(np.arange(200) % 2, fast, -fast)[wild]
    motion[wild, :2, :2, 1] = turn[:, None, None]
    motion[wild, :2, :2, 3] = 0.3
    motion[..., 0] = np.hypot(motion[..., 1], motion[..., 2])
    return Notes("clip", (120, 160), TIMES, motion.astype(np.float16))


def test_a_still_picture_has_nothing():
    curve = Agitation().curve(clip())
    assert curve.values == pytest.approx(np.zeros(200)) and set(curve.cues) == {"turbulence", "strength"}
    assert Agitation().score([Notes("bare", (120, 160), TIMES)]).values.tolist() == [0]


def test_even_movement_is_calm_however_fast():
    for speed in (0.05, 0.5, 2.0):
        assert Agitation().curve(clip(speed)).values[20:] == pytest.approx(np.zeros(180), abs=0.05)


def test_turning_about_stands_out_when_it_happens():
    curve = Agitation(smooth=0.3).curve(clip(0.1, slice(100, 140)))
    assert 5.0 <= curve.times[curve.values.argmax()] < 7.0
    inside, outside = curve.values[105:135], np.concatenate([curve.values[20:80], curve.values[160:]])
    assert inside.min() > outside.max() + 0.5
    assert curve.values == pytest.approx(curve.cues["turbulence"] + curve.cues["strength"])


def test_more_of_it_scores_higher():
    scores = Agitation().score([clip(0.1, slice(100, 140), fast=f) for f in (0.1, 0.5, 2.0)]).values
    assert (np.diff(scores) > 0).all()


def test_the_floor_keeps_noise_down():
    """Cells that turn about by a fraction of a thousandth of the frame are noise."""
    curve = Agitation().curve(clip(0.0, slice(1, 200), fast=0.0005))
    assert (
        curve.cues["turbulence"].max()
        < 0.5
        < Agitation().curve(clip(0.0, slice(1, 200))).cues["turbulence"].max()
    )


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_of_a_few_frames(frames):
    assert np.isfinite(Agitation().curve(clip(0.1, slice(0, 9)).part(0, frames)).values).all()
