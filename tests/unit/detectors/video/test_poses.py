"""Pose windows: joints, normalisation, the published counting of windows, gaps, and where a window's score goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video import poses
from oddwatch.detectors.video.notes import Notes, Objects


def person(frames: list[int], total: int, track: int = 1, looked: list[int] | None = None) -> Notes:
    """One person whose keypoints move to the right by a pixel a frame."""
    at = np.array(frames, np.int64)
    n = len(at)
    points = np.stack([np.arange(17.0), np.arange(17.0) ** 2], 1)
    pose = np.ones((n, 17, 3), np.float32)
    pose[:, :, :2] = points
    pose[:, :, 0] += at[:, None]
    objects = Objects(
        at, np.tile([0, 0, 10, 20], (n, 1)).astype(np.float32), np.full(n, track), np.ones(n, bool), np.ones(n),
        pose, np.zeros((n, 8)), np.zeros((n, 0)),
    )  # fmt: skip
    looks = np.array(frames if looked is None else looked, np.int64)
    return Notes("a", (100, 200), np.arange(total) / 25, objects=objects, looked=looks)


def test_the_normalisation_of_the_specification():
    window = np.tile([[0.0, 0.0], [2.0, 2.0]], (2, 1, 1))
    assert poses.normalise(window, (1, 1)).tolist() == [[[-1, -1], [1, 1]]] * 2
    assert poses.normalise(7 * window + 3, (1, 1)) == pytest.approx(poses.normalise(window, (1, 1)))
    assert (poses.normalise(np.ones((2, 3, 2)), (4, 4)) == 0).all()


def test_the_adjacency_of_the_specification():
    assert poses.adjacency() == pytest.approx(np.full((18, 18), 1 / 18))
    one = poses.adjacency(hops=1)
    assert one.sum(0) == pytest.approx(np.ones(18)) and one[0, 1] > 0 and one[0, 4] == 0


def test_joints_have_a_neck_and_the_published_order():
    points = np.stack([np.arange(17.0), -np.arange(17.0)], 1)
    joints = poses.with_neck(points)
    assert joints[:, 0].tolist() == [0, 5.5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    assert (joints[:, 1] == -joints[:, 0]).all()


def test_a_mirror_swaps_sides_and_back():
    data = np.random.default_rng(0).normal(size=(3, 2, 4, 18))
    once = poses.mirrored(data)
    assert np.array_equal(poses.mirrored(once), data)
    right_wrist, left_wrist = 4, 7
    assert np.array_equal(once[:, 0, :, right_wrist], -data[:, 0, :, left_wrist])
    assert np.array_equal(once[:, 1, :, right_wrist], data[:, 1, :, left_wrist])


@pytest.mark.parametrize(
    ("n", "stride", "count"), [(24, 1, 0), (25, 1, 1), (30, 6, 1), (31, 6, 2), (60, 6, 6), (3, 1, 0)]
)
def test_the_number_of_windows(n, stride, count):
    """⌈(n − 24) / stride⌉ for an unbroken track."""
    assert len(poses.starts(np.arange(n), 24, stride)) == count
    assert len(poses.windows(person(list(range(n)), n), 24, stride)) == count


def test_two_absent_steps_are_allowed():
    whole = np.arange(40)
    assert 0 in poses.starts(np.delete(whole, [5, 9]), 24, 1)
    assert 0 not in poses.starts(np.delete(whole, [5, 9, 13]), 24, 1)


def test_gaps_are_bridged_along_straight_lines():
    looked = list(range(0, 60, 5))
    notes = person(looked, 60)
    found = poses.windows(notes, 24, 1, bridge=0.2)
    assert len(found) == 56 - 24
    every = poses.windows(person(list(range(56)), 60), 24, 1, bridge=0)
    assert found.data == pytest.approx(every.data, abs=1e-5)
    assert len(poses.windows(notes, 24, 1, bridge=0.1)) == 0


def test_windows_of_looks():
    looked = list(range(0, 60, 5))
    found = poses.windows(person(looked, 60), 4, 1, steps="looks")
    assert len(found) == len(looked) - 4
    assert found.frame.tolist() == looked[2:10]
    missed = poses.windows(person([f for f in looked if f != 20], 60, looked=looked), 4, 1, steps="looks")
    assert len(missed) == len(found) and missed.data == pytest.approx(found.data, abs=1e-5)


def test_scores_go_to_the_middle():
    found = poses.windows(person(list(range(10, 40)), 50), 24, 1)
    assert found.frame.tolist() == [22, 23, 24, 25, 26, 27]
    assert found.row.tolist() == [12, 13, 14, 15, 16, 17] and (found.track == 1).all()


def test_long_gaps_part_a_track():
    notes = person([*range(30), *range(80, 110)], 120)
    found = poses.windows(notes, 24, 1, bridge=1.0)
    assert not ((found.frame > 20) & (found.frame < 92)).any()


def test_unknown_keypoints_are_filled_in():
    notes = person(list(range(30)), 30)
    whole = poses.windows(notes, 24, 1).data
    pose = notes.objects.pose.copy()
    pose[5:9, 3] = np.nan
    holed = replace(notes, objects=replace(notes.objects, pose=pose))
    assert poses.windows(holed, 24, 1).data == pytest.approx(whole, abs=1e-5)
    pose[:, 3] = np.nan
    assert np.isfinite(poses.windows(holed, 24, 1).data).all()


def test_who_is_left_out():
    notes = person(list(range(30)), 30)
    assert len(poses.windows(replace(notes, objects=replace(notes.objects, track=np.full(30, -1))), 24)) == 0
    pose = notes.objects.pose.copy()
    pose[:, 5:] = np.nan
    assert len(poses.windows(replace(notes, objects=replace(notes.objects, pose=pose)), 24)) == 0
    assert poses.windows(Notes("none", (10, 10), np.zeros(0)), 24).data.shape == (0, 2, 24, 18)


@pytest.mark.parametrize("wrong", [{"length": 1}, {"stride": 0}, {"bridge": -1}, {"steps": "days"}])
def test_wrong_arguments(wrong):
    with pytest.raises(InputError):
        poses.windows(person([0, 1], 2), **wrong)
