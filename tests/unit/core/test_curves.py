"""Curves check what they are made of and turn into JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oddwatch.core import Box, Curve, InputError, Place

TIMES = np.array([0.0, 0.5, 0.5, 1.0])


def test_a_curve_turns_into_json():
    place = Place(2, "movement", 3.5, Box(1, 2, 3, 4), 7)
    curve = Curve("a.mp4", TIMES, np.array([0.0, 2, 4, 1]), {"movement": np.zeros(4)}, (place,))
    again = Curve.from_json(json.loads(json.dumps(curve.to_json())))
    assert again.name == "a.mp4" and np.array_equal(again.times, TIMES)
    assert np.array_equal(again.values, curve.values) and again.places == (place,)
    assert np.array_equal(again.cues["movement"], np.zeros(4))
    assert curve.peak == 4


def test_nothing_has_no_peak():
    assert Curve("empty", np.empty(0), np.empty(0)).peak == 0
    assert Curve("below", np.zeros(2), np.array([-3.0, -2.0])).peak == -2


@pytest.mark.parametrize(
    ("times", "values", "cues"),
    [
        (TIMES, np.zeros(3), {}),
        (TIMES[:, None], np.zeros((4, 1)), {}),
        (TIMES, np.array([0, 1, np.nan, 0]), {}),
        (TIMES, np.array([0, 1, np.inf, 0]), {}),
        (np.array([0, 1, np.nan, 2]), np.zeros(4), {}),
        (TIMES[::-1], np.zeros(4), {}),
        (TIMES, np.zeros(4), {"deep": np.zeros(5)}),
    ],
)
def test_what_is_no_curve_is_refused(times, values, cues):
    with pytest.raises(InputError, match="curve a"):
        Curve("a.mp4", times, values, cues)
