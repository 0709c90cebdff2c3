"""Posture, arms and facing from drawn skeletons."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import Box, Frame, Motion, Person, Pose
from oddwatch.describe import body

# A man of 100 px torso seen from the front: his right is on the picture's left.
STAND = {
    "nose": (0, -40), "left_eye": (6, -46), "right_eye": (-6, -46), "left_ear": (13, -42), "right_ear": (-13, -42),
    "left_shoulder": (36, 0), "right_shoulder": (-36, 0), "left_elbow": (44, 58), "right_elbow": (-44, 58),
    "left_wrist": (46, 108), "right_wrist": (-46, 108), "left_hip": (20, 100), "right_hip": (-20, 100),
    "left_knee": (20, 185), "right_knee": (-20, 185), "left_ankle": (20, 268), "right_ankle": (-20, 268),
}  # fmt: skip


def skeleton(**moved: tuple[float, float]) -> np.ndarray:
    points = {**STAND, **moved}
    return np.array([[x + 200, y + 100, 0.8] for x, y in points.values()], np.float32)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    out = points.copy()
    out[:, :2] = (points[:, :2] - 200) @ np.array([[c, s], [-s, c]]) + 200
    return out


def box_of(points: np.ndarray) -> Box:
    return Box(*points[:, :2].min(0).tolist(), *points[:, :2].max(0).tolist())


def best(points: np.ndarray, motion: Motion | None = None) -> str:
    p = body.posture(points, box_of(points), motion)
    return max(p, key=lambda word: p[word])


SITTING = skeleton(
    left_knee=(60, 125), right_knee=(55, 128), left_ankle=(52, 205), right_ankle=(48, 208), left_hip=(4, 100),
    right_hip=(-4, 100), left_shoulder=(6, 0), right_shoulder=(-6, 0),
)  # fmt: skip
BENDING = skeleton(
    nose=(118, 120), left_eye=(116, 112), right_eye=(116, 112), left_ear=(104, 104), right_ear=(104, 104),
    left_shoulder=(88, 82), right_shoulder=(86, 78), left_elbow=(92, 140), right_elbow=(90, 138), left_wrist=(96, 190),
    right_wrist=(94, 188), left_hip=(4, 100), right_hip=(-4, 100), left_knee=(4, 185), right_knee=(-4, 185),
)  # fmt: skip
STRIDE = skeleton(
    left_shoulder=(6, 0), right_shoulder=(-6, 0), left_hip=(4, 100), right_hip=(-4, 100), left_knee=(38, 178),
    left_ankle=(48, 262), right_knee=(-18, 184), right_ankle=(-66, 250),
)  # fmt: skip


def test_postures_of_drawn_skeletons():
    assert best(skeleton()) in ("standing", "walking")
    assert best(STRIDE) == "walking"
    assert best(SITTING) == "sitting"
    assert best(BENDING) == "bending"
    assert best(turned(skeleton(), 90)) == "lying"
    assert best(turned(skeleton(), -88)) == "lying"


def test_legs_apart_walk_more_than_legs_together():
    apart, together = (body.posture(p, box_of(p)) for p in (STRIDE, skeleton()))
    assert apart["walking"] > together["walking"]
    assert apart["standing"] < together["standing"]


def test_motion_tells_standing_from_walking_and_running():
    upright = skeleton()
    assert best(upright, Motion(speed=0.0, duration=5)) == "standing"
    assert best(upright, Motion(speed=0.7, top_speed=0.9, duration=5)) == "walking"
    ran = body.posture(STRIDE, box_of(STRIDE), Motion(speed=2.0, top_speed=2.6, duration=3))
    calm = body.posture(STRIDE, box_of(STRIDE), Motion(speed=0.6, top_speed=0.8, duration=3))
    assert ran["running"] > calm["running"] + 0.2
    fell = body.posture(upright, box_of(upright), Motion(drop=1.5, duration=3))
    assert fell["falling"] > 0.5


def test_facing_follows_shoulders_and_nose():
    front = body.facing(skeleton())
    back = skeleton()
    back[:, 0] = 400 - back[:, 0]
    back[:5, 2] = 0.3
    away = body.facing(back)
    assert front is not None and away is not None
    assert front.argmax() == 0
    assert away.argmax() == 1
    side = STRIDE.copy()
    side[0, 0] += 24
    side[[1, 2], 0] += 16
    right = body.facing(side)
    mirrored = side.copy()
    mirrored[:, 0] = 400 - mirrored[:, 0]
    left = body.facing(mirrored)
    assert right is not None and left is not None
    assert right.argmax() == 3
    assert left.argmax() == 2
    hidden = skeleton()
    hidden[5, 2] = 0.0
    assert body.facing(hidden) is None


@pytest.mark.parametrize(
    ("moved", "word"),
    [
        ({"left_elbow": (60, -30), "left_wrist": (60, -80)}, "raised"),
        ({"right_elbow": (-60, 10), "right_wrist": (-18, -38)}, "hand_to_head"),
        ({"left_elbow": (94, 8), "left_wrist": (146, 12)}, "reaching"),
        ({"left_elbow": (44, 58), "left_wrist": (0, 40)}, "bent"),
        ({}, "down"),
    ],
)
def test_arms(moved, word):
    p, seen = body.arms(skeleton(**moved))
    base, _ = body.arms(skeleton())
    assert seen
    assert p[word] > 0.5
    if moved:
        assert p[word] > base[word] + 0.3


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 20), st.floats(-500, 500), st.integers(0, 10_000))
def test_posture_ignores_scale_and_place_and_gives_probabilities(scale, shift, seed):
    points = skeleton() + np.append(np.random.default_rng(seed).normal(0, 6, 2), 0).astype(np.float32)
    moved = points.copy()
    moved[:, :2] = moved[:, :2] * scale + shift
    p, q = body.posture(points, box_of(points)), body.posture(moved, box_of(moved))
    assert all(0 <= v <= 1 for v in p.values())
    assert all(abs(p[w] - q[w]) < 0.02 for w in p)


def test_degenerate_keypoints_do_not_fail():
    points = np.zeros((17, 3), np.float32)
    p = body.posture(points, Box(0, 0, 0, 0))
    assert all(np.isfinite(v) and 0 <= v <= 1 for v in p.values())
    words, seen = body.arms(points)
    assert not seen
    assert set(words.values()) == {0.0}


class Finder:
    """Finds fixed people, given in pixels of the crop it is shown."""

    def __init__(self, *found: Person) -> None:
        self.found, self.shown = found, (0, 0)

    def detect(self, pixels: np.ndarray, long_side: int = 512) -> list[Person]:
        self.shown = pixels.shape[:2]
        return list(self.found)


def test_the_person_of_the_box_is_chosen_and_moved_to_the_frame():
    frame = Frame(np.zeros((400, 400, 3), np.uint8))
    box = Box(100, 100, 150, 200)
    # The crop starts 30 px (0.3 of 100) left of and above the box.
    mine = Person(Box(30, 30, 80, 130), 0.9, Pose(np.full((17, 3), 50, np.float32)))
    other = Person(Box(90, 30, 108, 130), 0.95, Pose(np.full((17, 3), 95, np.float32)))
    finder = Finder(other, mine)
    person, others = body.people_in_box(finder, frame, box)
    assert finder.shown == (160, 110)
    assert person.box == box
    assert person.pose is not None
    assert person.pose.points[0, 0] == pytest.approx(120)
    assert [o.box.x0 for o in others] == [160]


def test_nobody_in_the_box_is_no_pose():
    frame = Frame(np.zeros((400, 400, 3), np.uint8))
    assert body.pose_in_box(Finder(), frame, Box(0, 0, 40, 80)) is None
    far = Person(Box(0, 0, 5, 5), 0.9, Pose(np.zeros((17, 3), np.float32)))
    assert body.pose_in_box(Finder(far), frame, Box(100, 100, 150, 200)) is None


def test_speed_tells_who_walks_runs_and_rides_and_that_nobody_lies_who_travels():
    p = dict.fromkeys(body.POSTURES, 0.0) | {"standing": 0.4, "walking": 0.4, "sitting": 0.5, "lying": 0.6}
    still = body.by_speed(p, 0.0, 0.0, 0.0)
    assert still["standing"] == pytest.approx(0.8) and still["lying"] == pytest.approx(0.6, abs=0.01)
    assert still["riding"] < 0.01
    fast = body.by_speed(p, 1.0, 3.0, 3.0)
    assert fast["running"] == pytest.approx(0.8, abs=0.01) and fast["riding"] == pytest.approx(0.5, abs=0.01)
    assert fast["lying"] < 0.01 and fast["sitting"] < 0.01 and p["lying"] == 0.6
