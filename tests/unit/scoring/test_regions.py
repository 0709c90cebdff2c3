"""Regions of a map: connected, hysteresis, put on the picture."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Box, InputError
from oddwatch.scoring.regions import on_picture, paint, place, regions


def a_map() -> np.ndarray:
    one = np.zeros((40, 60), np.float32)
    one[4:10, 4:12] = 0.6
    one[6, 6] = 1.0
    one[30:36, 40:50] = 0.6  # reaches the low mark only
    one[20:24, 20:24] = 0.9
    one[24:28, 24:28] = 0.9  # touches the one before at a corner
    return one


def test_high_decides_what_low_decides_how_far():
    found = regions(a_map(), 0.8, low=0.5)
    assert [(r.box.as_list(), r.score) for r in found] == [
        ([4, 4, 12, 10], pytest.approx(1.0)),
        ([20, 20, 28, 28], pytest.approx(0.9)),
    ]
    assert found[0].mask.all() and found[1].mask.sum() == 32


def test_one_threshold_and_least_area():
    assert [r.box.as_list() for r in regions(a_map(), 0.8, least=0)] == [[6, 6, 7, 7], [20, 20, 28, 28]]
    assert len(regions(a_map(), 0.8, least=0.01)) == 1
    assert regions(a_map(), 2.0) == [] and regions(np.zeros((5, 5)), 0.1) == []


def test_on_the_picture_boxes_and_masks_are_in_its_pixels():
    region = on_picture(regions(a_map(), 0.8, low=0.5)[0], (40, 60), (400, 300))
    assert region.box == Box(20, 40, 60, 100) and region.mask.shape == (60, 40) and region.mask.all()
    assert region.label == "top left"
    small = on_picture(regions(a_map(), 0.8)[0], (40, 60), (4, 3))
    assert small.box.width >= 1 and small.box.height >= 1 and small.mask.any()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (Box(0, 0, 10, 10), "top left"), (Box(45, 45, 55, 55), "middle"), (Box(90, 45, 100, 55), "right"),
        (Box(45, 90, 55, 100), "bottom"), (Box(0, 0, 100, 100), "middle"),
    ],
)  # fmt: skip
def test_places_in_words(box, words):
    assert place(box, 100, 100) == words


def test_masks_are_painted_where_they_lie():
    found = [on_picture(r, (40, 60), (80, 120)) for r in regions(a_map(), 0.8, low=0.5)]
    painted = paint(found, (80, 120))
    assert painted.shape == (80, 120) and painted[8:20, 8:24].all() and not painted[60:72, 80:100].any()


def test_wrong_arguments_are_told():
    with pytest.raises(InputError):
        regions(np.zeros((2, 3, 3)), 1.0)
    with pytest.raises(InputError):
        regions(np.zeros((3, 3)), 1.0, low=2.0)
