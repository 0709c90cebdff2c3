"""Boxes and spans, validation on construction, and the value "unknown"."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oddwatch.core import (
    KEYPOINTS,
    UNKNOWN,
    Box,
    Evidence,
    Facts,
    Finding,
    Frame,
    Hit,
    InputError,
    LimitError,
    MediaError,
    OddwatchError,
    Pose,
    Scores,
    Span,
    Track,
    Unknown,
    to_jsonable,
)

side = st.floats(-1000, 1000)


@st.composite
def boxes(draw) -> Box:
    (x0, x1), (y0, y1) = (sorted((draw(side), draw(side))) for _ in range(2))
    return Box(x0, y0, x1, y1)


@st.composite
def spans(draw) -> Span:
    return Span(*sorted((draw(side), draw(side))))


def test_box_by_hand():
    a, b = Box(0, 0, 4, 2), Box(2, 1, 6, 3)
    assert (a.width, a.height, a.area, a.center) == (4, 2, 8, (2, 1))
    assert a.intersection(b) == 2 and a.iou(b) == pytest.approx(2 / 14)
    assert a.shifted(1, -1) == Box(1, -1, 5, 1) and a.expanded(0.5) == Box(-2, -1, 6, 3)
    assert Box(-5, 1, 3, 99).clipped(10, 20) == Box(0, 1, 3, 20)
    assert Box(0, 0, 1, 1).iou(Box(1, 0, 2, 1)) == 0  # touching is not sharing
    assert Box(0, 0, 0, 0).iou(Box(0, 0, 0, 0)) == 0
    assert a.as_list() == [0, 0, 4, 2]


@given(boxes(), boxes())
def test_iou_is_symmetric_bounded_and_one_with_itself(a, b):
    assert 0 <= a.iou(b) <= 1 + 1e-9
    assert a.iou(b) == pytest.approx(b.iou(a), abs=1e-9)
    assert a.intersection(b) <= min(a.area, b.area) * (1 + 1e-9) + 1e-9
    if a.area > 1e-6:
        assert a.iou(a) == pytest.approx(1)


@given(boxes(), st.integers(1, 500), st.integers(1, 500))
def test_clipping_stays_inside_and_is_final(box, width, height):
    inside = box.clipped(width, height)
    assert 0 <= inside.x0 <= inside.x1 <= width and 0 <= inside.y0 <= inside.y1 <= height
    assert inside.clipped(width, height) == inside
    assert inside.area == pytest.approx(box.intersection(Box(0, 0, width, height)), abs=1e-6)


def test_span_by_hand():
    assert Span(1, 3).duration == 2
    assert Span(0, 2).overlap(Span(1, 4)) == 1 and Span(0, 2).iou(Span(1, 4)) == 0.25
    assert Span(0, 1).overlap(Span(1, 2)) == 0  # half-open
    assert Span(0, 1).overlap(Span(5, 6)) == 0 and Span(2, 2).iou(Span(2, 2)) == 0


@given(spans(), spans())
def test_span_iou_is_symmetric_and_bounded(a, b):
    assume(a.duration > 1e-9)
    assert 0 <= a.iou(b) <= 1 + 1e-9 and a.iou(b) == pytest.approx(b.iou(a))
    assert a.iou(a) == pytest.approx(1)


nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box(1, 0, 0, 1),
        lambda: Box(0, 1, 1, 0),
        lambda: Box(nan, 0, 1, 1),
        lambda: Box(0, 0, inf, 1),
        lambda: Span(2, 1),
        lambda: Span(nan, 1),
        lambda: Span(0, inf),
        lambda: Pose(np.zeros((16, 3), np.float32)),
        lambda: Track(1, Span(0, 1), ()),
        lambda: Facts("s", np.zeros(3, np.float32), np.zeros(2, bool)),
        lambda: Facts("s", np.zeros((1, 3), np.float32), np.zeros((1, 3), bool)),
        lambda: Facts("s", np.array([1.5], np.float32), np.ones(1, bool)),
        lambda: Facts("s", np.array([-0.1], np.float32), np.ones(1, bool)),
        lambda: Facts("s", np.array([nan], np.float32), np.ones(1, bool)),
        lambda: Hit(0, "a", "b", "person", 1.0),
        lambda: Hit(1, "a", "b", "person", 1.0, probability=1.01),
        lambda: Hit(1, "a", "b", "person", 1.0, probability=nan),
        lambda: Finding("a", "t", "s", 1.0, probability=-0.1),
        lambda: Scores(np.zeros((2, 2))),
        lambda: Frame(np.zeros((2, 2), np.uint8)),
        lambda: Frame(np.zeros((2, 2, 3), np.float32)),
        lambda: Frame(np.zeros((0, 2, 3), np.uint8)),
        lambda: Frame([[1, 2, 3]]),
    ],
)
def test_what_makes_no_sense_is_refused_on_construction(make):
    with pytest.raises(InputError):
        make()


def test_words_are_frozen():
    for word, name in [
        (Box(0, 0, 1, 1), "x0"),
        (Hit(1, "a", "b", "person", 1.0), "score"),
        (Evidence("a", "matched"), "words"),
    ]:
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(word, name, 5)


def test_frame_crop_rounds_outwards_and_is_never_empty():
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    frame = Frame(pixels, "a.jpg", 1.25)
    assert (frame.width, frame.height) == (7, 5)
    assert np.array_equal(frame.crop(Box(1.5, 0.2, 3.1, 2)), pixels[0:2, 1:4])
    assert frame.crop(Box(-9, -9, -8, -8)).shape == (1, 1, 3)
    assert frame.crop(Box(70, 50, 71, 51)).shape == (1, 1, 3)
    assert np.shares_memory(frame.crop(Box(0, 0, 2, 2)), pixels)
    assert repr(frame) == "Frame(7×5 a.jpg @ 1.250 s)"


def test_pose_points_below_the_least_score_are_not_there():
    points = np.zeros((17, 3), np.float32)
    points[KEYPOINTS.index("left_wrist")] = (3, 4, 0.5)
    pose = Pose(points).shifted(10, 20)
    assert pose.point("left_wrist") == (13, 24) and pose.point("left_wrist", least=0.6) is None
    assert pose.point("nose") is None
    with pytest.raises(ValueError):
        pose.point("tail")


def test_unknown_is_one_value_however_it_travels():
    assert Unknown() is UNKNOWN
    assert copy.copy(UNKNOWN) is UNKNOWN and copy.deepcopy([UNKNOWN])[0] is UNKNOWN
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(UNKNOWN, protocol)) is UNKNOWN


def test_unknown_is_false_but_no_number_and_no_none():
    assert not UNKNOWN
    assert UNKNOWN is not None and UNKNOWN != 0 and UNKNOWN != False and UNKNOWN != -1  # noqa: E712
    assert repr(UNKNOWN) == "UNKNOWN" and json.dumps(to_jsonable({"a": UNKNOWN})) == '{"a": null}'
    with pytest.raises(TypeError):
        float(UNKNOWN)
    with pytest.raises(AttributeError):
        UNKNOWN.value = 1


def test_errors_say_what_was_wrong_and_what_to_do():
    error = MediaError("a.mp4", "holds no video", "give a video")
    assert str(error) == "a.mp4: holds no video (give a video)"
    assert (error.subject, error.problem, error.remedy) == ("a.mp4", "holds no video", "give a video")
    assert str(InputError("x", "bad")) == "x: bad"
    assert isinstance(LimitError("a", "b"), (InputError, OddwatchError)) and isinstance(error, ValueError)
