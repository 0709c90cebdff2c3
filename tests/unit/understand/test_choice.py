"""Which frames a vision model is shown: the worked numbers of the specification (video-language 2.2)."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Curve, Span
from oddwatch.understand.choice import inside, moments, peaks


def test_five_places_of_a_stretch():
    assert inside(Span(10, 20)) == pytest.approx([11.7, 13.3, 15.0, 16.7, 18.3])


def test_peaks_take_the_first_of_a_plateau():
    assert peaks(np.array([0.1, 0.4, 0.2, 0.36, 0.36, 0.1])) == [1, 3]


@pytest.mark.parametrize(("values", "found"), [([], []), ([0.5], [0]), ([0.5, 0.5], [0]), ([0.35, 0.1], []),
                                               ([0.4, 0.9, 0.5], [1]), ([0.9, 0.4, 0.8], [0, 2]), ([0.4, 0.4, 0.9], [2])])  # fmt: skip
def test_peaks_at_the_ends(values, found):
    assert peaks(np.array(values)) == found


def test_a_known_moment_is_looked_at_closely():
    assert moments(Span(0, 20), 10, None) == [8.35, 9.15, 10.0, 10.85, 11.65]
    near_the_start = moments(Span(0, 20), 0.5, None)
    assert near_the_start[0] >= 0 and near_the_start[-1] <= 3


def test_else_the_curve_s_peaks_else_the_whole_clip():
    times = np.arange(0, 20, 1.0)
    curve = Curve("d", times, np.where(times == 5, 3.0, np.where(times == 12, 2.0, 0.0)))
    assert moments(Span(0, 20), None, curve) == [4.5, 5.5, 11.5, 12.5]
    assert moments(Span(0, 20), None, None) == [0, 4, 8, 12, 16, 20]
    assert moments(Span(0, 20), None, Curve("d", times, np.zeros(20))) == [0, 4, 8, 12, 16, 20]
    assert moments(Span(3, 3), None, None) == [3]
