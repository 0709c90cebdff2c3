"""AI-VAD: worked numbers, each cue finds its own kind of anomaly, what is missing is left out, keeping."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video import attributes
from oddwatch.detectors.video.aivad import AIVAD
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.media.flow import flow_histogram
from oddwatch.scoring.relate import Scale

STANDING = np.stack([np.linspace(-5, 5, 17) * (-1) ** np.arange(17), np.linspace(0, 40, 17)], 1)


def clip(seed: int = 0, frames: int = 60, people: int = 2, looks: int = 3, **parts: bool) -> Notes:
    """People that walk to the right at 0.1 frame heights a second; every ``looks``-th frame has poses and vectors."""
    rng = np.random.default_rng(seed)
    frame = np.repeat(np.arange(frames), people)
    n = len(frame)
    looked = np.arange(0, frames, looks)
    seen = np.isin(frame, looked)
    left = rng.uniform(20, 200, n)
    box = np.stack([left, np.full(n, 50.0), left + 20, np.full(n, 90.0)], 1).astype(np.float32)
    pose = np.full((n, 17, 3), np.nan, np.float32)
    pose[seen, :, :2] = STANDING + rng.normal(0, 0.5, (seen.sum(), 17, 2)) + left[seen, None, None]
    pose[seen, :, 2] = 0.9
    velocity = np.abs(rng.normal(0, 0.005, (n, 8))).astype(np.float32)
    velocity[:, 0] += 0.1
    velocity[frame == 0] = np.nan
    deep = np.full((n, 12), np.nan, np.float32)
    deep[seen] = rng.normal(0, 0.1, (seen.sum(), 12)) + np.eye(12)[0]
    objects = Objects(
        frame, box, np.tile(np.arange(people), frames), np.ones(n, bool), np.ones(n, np.float32), pose, velocity, deep
    )  # fmt: skip
    return Notes(f"clip {seed}", (240, 320), np.arange(frames) / 25, objects=objects, looked=looked)


def spoilt(notes: Notes, cue: str, at: range = range(30, 40)) -> Notes:
    """One of the people runs, falls or changes its look."""
    o = notes.objects
    which = np.isin(o.frame, at) & (o.track == 1)
    velocity, pose, deep = o.velocity.copy(), o.pose.copy(), o.deep.copy()
    if cue == "velocity":
        velocity[which, 0] *= 5
    elif cue == "pose":
        pose[which, :, :2] = pose[which, :, 1::-1] * [1, 0.5]
    else:
        deep[which, 1] += 2
    return replace(notes, objects=replace(o, velocity=velocity, pose=pose, deep=deep))


@pytest.fixture(scope="module")
def fitted() -> AIVAD:
    return AIVAD(components=2).fit([clip(s) for s in range(4)])


def test_the_histogram_of_the_specification():
    uv = np.array([[[1, 0], [0, 1]], [[-1, 0], [0, -2]]], np.float32)
    histogram = flow_histogram(uv)
    assert histogram.tolist() == [0.25, 0, 0.25, 0, 0.25, 0, 0.5, 0]
    notes = clip(frames=2, people=1, looks=1)
    objects = replace(notes.objects, velocity=np.tile(histogram, (2, 1)).astype(np.float32))
    objects.box[:, 3] = objects.box[:, 1] + 2
    notes = replace(notes, objects=objects, size=(1, 320))
    assert AIVAD(bins=1)._attribute("velocity", notes).rows[0] == pytest.approx([1.25])
    assert AIVAD(bins=1, by_height=True)._attribute("velocity", notes).rows[0] == pytest.approx([0.625])


def test_the_highest_object_makes_the_frame():
    """Neighbours of the specification: 1 and 9 in one frame make 9, on the scale of 1 to 9: 1."""
    detector = AIVAD(cues=("deep",), sigma=0)
    detector._learn("deep", np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([0, 1]))
    detector.scales["deep"] = Scale(1.0, 8.0)
    detector.fitted = True
    objects = Objects(
        np.zeros(2, np.int64), np.array([[0, 0, 1, 1], [5, 5, 9, 9]], np.float32), np.array([3, 4]),
        np.zeros(2, bool), np.ones(2), np.full((2, 17, 3), np.nan), np.full((2, 8), np.nan), np.array([[0.0, 1], [3, 0]]),
    )  # fmt: skip
    curve = detector.curve(Notes("a", (10, 10), np.zeros(1), objects=objects, looked=np.zeros(1, np.int64)))
    assert curve.values == pytest.approx([1.0])
    (place,) = curve.places
    assert (place.cue, place.track, place.score) == ("deep", 4, pytest.approx(1.0))
    assert place.box is not None and place.box.as_list() == [5, 5, 9, 9]


@pytest.mark.parametrize("cue", attributes.CUES)
def test_each_cue_finds_its_kind(fitted, cue):
    curve = fitted.curve(spoilt(clip(9), cue))
    middle = slice(32, 38)
    assert curve.values[middle].min() > 1.5 * np.delete(curve.values, np.s_[24:46]).max()
    decided = max(curve.cues, key=lambda c: curve.cues[c][middle].mean())
    assert decided == cue
    places = {p.index: p for p in curve.places}
    assert places[36].cue == cue and places[36].track == 1


def test_the_cues_add_up(fitted):
    curve = fitted.curve(clip(9))
    assert set(curve.cues) == set(attributes.CUES) and fitted.missing == ()
    assert curve.values == pytest.approx(sum(curve.cues.values()))
    assert len({p.index for p in curve.places}) == len(curve.places)


def test_what_normals_do_not_carry_is_left_out(caplog):
    bare = [
        replace(n, objects=replace(n.objects, deep=np.zeros((len(n.objects), 0))))
        for n in map(clip, range(3))
    ]
    with caplog.at_level(logging.WARNING):
        detector = AIVAD(components=2).fit(bare)
    assert detector.missing == ("deep",) and "no deep" in caplog.text
    assert set(detector.curve(clip(5)).cues) == {"velocity", "pose"}


def test_what_a_clip_does_not_carry_is_left_out(fitted, caplog):
    still = clip(9)
    still = replace(still, objects=replace(still.objects, velocity=np.full((len(still.objects), 8), np.nan)))
    with caplog.at_level(logging.INFO):
        curve = fitted.curve(still)
    assert "no velocity" in caplog.text and set(curve.cues) == {"pose", "deep"}
    assert np.isfinite(curve.values).all()
    nothing = Notes("empty", (240, 320), np.arange(5) / 25)
    assert fitted.curve(nothing).values.tolist() == [0] * 5


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="none of velocity"):
        AIVAD().fit([Notes("empty", (240, 320), np.arange(5) / 25)])


def test_a_frame_without_objects_is_one_object():
    motion = np.zeros((4, 2, 3, 4), np.float16)
    motion[1:, :, :, 1] = 0.5
    tokens = np.ones((2, 6, 12), np.float16)
    notes = Notes(
        "a", (240, 320), np.arange(4) / 25, motion, looked=np.array([0, 2]), tokens={"x": tokens}, grid=(2, 3)
    )
    velocity, deep = (AIVAD()._attribute(cue, notes) for cue in ("velocity", "deep"))
    assert velocity.frame.tolist() == [1, 2, 3] and velocity.index.tolist() == [-1] * 3
    assert velocity.rows[0] == pytest.approx([0.5, 0, 0, 0, 0, 0, 0, 0])
    assert deep.frame.tolist() == [0, 2] and deep.rows.shape == (2, 12) and (deep.rows == 1).all()
    assert AIVAD()._attribute("pose", notes) is None


def test_nobody_there_has_pose_score_zero(fitted):
    notes = clip(9)
    notes = replace(notes, objects=notes.objects.where(notes.objects.frame >= 30))
    of, scale = attributes.attribute("pose", notes), fitted.scales["pose"]
    cue = attributes.curve_of(notes, {"pose": (of, np.ones(20))}, {"pose": scale}, 0).cues["pose"]
    assert cue[:27] == pytest.approx(np.full(27, float(scale(0.0))))
    assert cue[30:57] == pytest.approx(np.full(27, float(scale(1.0))))


def test_poses_lose_place_and_size():
    pose = np.full((3, 17, 3), np.nan, np.float32)
    pose[0, :, :2] = STANDING
    pose[1, :, :2] = 3 * STANDING + [70, 20]
    pose[2, :5, :2] = 1
    rows, index = attributes.normalised(pose)
    assert index.tolist() == [0, 1] and rows[0] == pytest.approx(rows[1], abs=1e-6)
    assert np.abs(rows).max() == pytest.approx(0.5)
    pose[0, 3, :] = np.nan
    assert attributes.normalised(pose)[0][0].reshape(17, 2)[3].tolist() == [0, 0]


def test_a_single_clip_is_enough():
    detector = AIVAD(components=2).fit([clip(0)])
    assert detector.curve(spoilt(clip(9), "deep")).values[35] > 1.5 * detector.curve(clip(9)).values.max()


def test_kept_and_read_again(fitted, tmp_path):
    again = AIVAD(**fitted.arguments())
    again.restore(fitted.state())
    again.fitted = True
    before, after = fitted.curve(clip(9)), again.curve(clip(9))
    assert np.array_equal(before.values, after.values) and before.places == after.places
    fitted.save(tmp_path)
    assert (tmp_path / "state.safetensors").is_file()


def test_equal_seeds_give_equal_curves(fitted):
    again = AIVAD(components=2).fit([clip(s) for s in range(4)])
    assert np.array_equal(again.curve(clip(9)).values, fitted.curve(clip(9)).values)


@pytest.mark.parametrize(
    "wrong", [{"cues": ("colour",)}, {"bins": 4}, {"percentile": 0}, {"sigma": -1}, {"cues": ()}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(InputError):
        AIVAD(**wrong)
