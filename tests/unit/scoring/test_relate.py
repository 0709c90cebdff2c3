"""Scales of scores and scores per frame: worked numbers (video-trained §1.6, §5.1) and laws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.scoring.relate import Scale, minmax, per_video, per_video_minmax, to_frames, zscore


def test_the_calibration_of_ai_vad():
    scale = Scale(1, 8)
    assert scale([2, 5, 11]).tolist() == [0.125, 0.5, 1.25]
    ten = minmax(np.arange(1, 11), high=0.999)
    assert ten.offset == 1 and ten.offset + ten.unit == pytest.approx(9.991)
    assert not ten.transductive and "0.999" in ten.rule


def test_the_z_score():
    scale = zscore(np.array([1.0, 3, 5, 7]))
    assert scale([4])[0] == 0 and scale([1, 3, 5, 7]).std() == pytest.approx(1)


@pytest.mark.parametrize("make", [zscore, minmax, per_video])
def test_equal_training_scores_are_shifted_to_zero(make):
    scale = make(np.full(7, 0.1))
    assert scale([0.1])[0] == 0 and scale([0.6])[0] == pytest.approx(0.5)


def test_per_video_normalisation_and_that_it_is_marked():
    quality = np.array([30.0, 40, 35, 20])
    assert per_video_minmax(-quality).tolist() == [0.5, 0, 0.25, 1]
    assert (1 - per_video_minmax(quality)).tolist() == [0.5, 0, 0.25, 1]
    assert per_video(quality).transductive and not zscore(quality).transductive
    assert per_video_minmax(np.full(3, 5.0)).tolist() == [0, 0, 0]


def test_a_scale_is_kept_as_json():
    scale = per_video(np.array([1.0, 3]))
    assert Scale.from_json(json.loads(json.dumps(scale.to_json()))) == scale


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(-10, 10))
def test_scaling_keeps_the_order(train, offset):
    values = np.array(train)
    for scale in (zscore(values), minmax(values), minmax(values, 0.9), per_video(values)):
        out = scale(np.sort(values + offset))
        assert np.isfinite(out).all() and (np.diff(out) >= 0).all()


@pytest.mark.parametrize("make", [zscore, minmax, per_video])
@pytest.mark.parametrize("bad", [[], [1, np.nan], [np.inf]])
def test_scales_of_nothing_are_refused(make, bad):
    with pytest.raises(InputError, match="normal scores"):
        make(np.array(bad, float))


def test_impossible_scales_are_refused():
    with pytest.raises(InputError, match="unit above 0"):
        Scale(0, 0)
    with pytest.raises(InputError, match="low < high"):
        minmax(np.arange(3), high=0.2, low=0.5)


FRAMES, SCORES = np.array([0, 0, 2, 2, 2]), np.array([1.0, 3, 5, 2, 2])


@pytest.mark.parametrize(
    ("how", "wanted"),
    [("max", [3, 5]), ("min", [1, 2]), ("mean", [2, 3]), ("sum", [4, 9])],
)
def test_units_are_joined_per_frame(how, wanted):
    out = to_frames(FRAMES, SCORES, 4, how=how, fill=-7)
    assert out.tolist() == [wanted[0], -7, wanted[1], -7]


def test_a_frame_without_a_unit_gets_what_was_declared():
    assert to_frames(FRAMES, SCORES, 3).tolist() == [3, 1, 5]
    assert to_frames(FRAMES, SCORES, 3, fill="median").tolist() == [3, 2, 5]
    assert to_frames(FRAMES, SCORES, 3, fill=0).tolist() == [3, 0, 5]
    train = np.array([-4.0, 10, 20])
    assert to_frames(FRAMES, SCORES, 3, reference=train).tolist() == [3, -4, 5]
    assert to_frames(FRAMES, SCORES, 3, fill="median", reference=train).tolist() == [3, 10, 5]


def test_a_clip_without_any_unit():
    none = np.zeros(0, int)
    assert to_frames(none, [], 2, fill=0).tolist() == [0, 0]
    assert to_frames(none, [], 2, reference=np.array([4.0, 5])).tolist() == [4, 4]
    assert to_frames([], [], 0).size == 0
    with pytest.raises(InputError, match="the min of no scores is unknown"):
        to_frames(none, [], 2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([3], [1.0], 3), {}, "expected 0–2, got 3–3"),
        (([-1], [1.0], 3), {}, "expected 0–2"),
        (([0.5], [1.0], 3), {}, "whole numbers"),
        (([0], [np.nan], 3), {}, "finite"),
        (([0], [1.0], 3), {"fill": np.nan}, "fill"),
        (([0], [1.0], 3), {"fill": "max"}, "fill"),
        (([0], [1.0], 3), {"how": "median"}, "how"),
    ],
)
def test_units_that_do_not_fit_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        to_frames(*arguments, **options)
