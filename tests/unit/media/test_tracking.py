import json
from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.media import KEYPOINTS, Frame, Person, Pose
from oddwatch.media.looks import quality, take
from oddwatch.media.motion import is_lying, motion, sample
from oddwatch.media.tracking import Tracker, TrackerSettings

RED, BLUE, GREEN = (200, 30, 30), (30, 40, 200), (20, 160, 60)


def scene(time, *people, size=(640, 360)):
    """A frame with a coloured figure for each (x, y, height, colour) and the people found in it."""
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    found = []
    for x, y, height, colour in people:
        box = Box(x, y, x + 0.4 * height, y + height)
        pixels[int(y) : int(y + height), int(max(x, 0)) : int(x + 0.4 * height)] = colour
        found.append(Person(box.clipped(*size), 0.6))
    return Frame(pixels, "a.mp4", time, round(time * 10)), found


def run(tracker, steps):
    for step in steps:
        tracker.update(*step)
    return tracker.flush()


def times(start, end, fps=2):
    return [start + i / fps for i in range(round((end - start) * fps))]


def walk(t, x, y, vx, colour, height=80, vy=0.0):
    return (x + vx * t, y + vy * t, height, colour)


def test_one_walker_is_one_track():
    tracks = run(Tracker(), [scene(t, walk(t, 20, 100, 90, RED)) for t in times(0, 6)])
    assert len(tracks) == 1
    track = tracks[0]
    assert (track.span.start, track.span.end, track.frames) == (0, 5.5, 12)
    # 90 px/s at 80 px body height.
    assert track.motion.speed == pytest.approx(90 / 80, rel=0.05)
    assert track.motion.dx == pytest.approx(90 / 80, rel=0.05) and abs(track.motion.dy) < 0.05
    assert track.motion.duration == 5.5 and track.motion.still == 0


def test_people_who_cross_keep_their_number():
    steps = [scene(t, walk(t, 20, 100, 90, RED), walk(t, 560, 150, -90, BLUE)) for t in times(0, 6)]
    tracker = Tracker()
    numbers = {}
    for frame, people in steps:
        for p in tracker.update(frame, people):
            x, y = p.box.center
            colour = "red" if frame.pixels[int(y), int(x), 0] > 150 else "blue"
            numbers.setdefault(colour, set()).add(p.track)
    assert len(tracker.flush()) == 2
    assert all(len(n) == 1 for n in numbers.values())


def test_out_of_sight_for_a_while():
    steps = [scene(t, *([] if 2 <= t < 4 else [walk(t, 100, 100, 20, RED)])) for t in times(0, 6)]
    assert len(run(Tracker(), steps)) == 1
    assert len(run(Tracker(TrackerSettings(gap=1)), steps)) == 2


def test_another_person_in_the_same_place():
    steps = [scene(t, (100, 100, 80, RED if t < 2 else GREEN)) for t in times(0, 5) if not 2 <= t < 3.5]
    assert len(run(Tracker(), steps)) == 2


def test_a_bad_pair_does_not_break_good_ones():
    tracker = Tracker()
    for t in times(0, 2):
        tracker.update(*scene(t, (100, 100, 80, RED), (150, 100, 80, BLUE)))
    # The red one is gone, somebody else comes: the blue one must stay who he is.
    numbered = tracker.update(*scene(2.0, (152, 100, 80, BLUE), (210, 100, 80, GREEN)))
    assert [p.track for p in numbered] == [2, 3]


def test_flickers_are_dropped():
    frame, people = scene(0.0, (100, 100, 80, RED))
    weak = [replace(people[0], score=0.3)]
    assert run(Tracker(), [(frame, weak)]) == []
    assert len(run(Tracker(), [(frame, people)])) == 1
    again, _ = scene(0.5, (100, 100, 80, RED))
    assert run(Tracker(), [(frame, weak), (again, weak)]) == []
    assert run(Tracker(), [(frame, [replace(people[0], score=0.2)])]) == []


def test_finished_and_looks():
    tracker = Tracker(TrackerSettings(views=3))
    for t in times(0, 4):
        tracker.update(*scene(t, walk(t, 50, 100, 40, RED)))
    assert tracker.finished() == []
    tracker.update(*scene(8.0))
    (track,) = tracker.finished()
    assert len(track.views) == 3
    assert [v.quality for v in track.views] == sorted((v.quality for v in track.views), reverse=True)
    assert len({v.time for v in track.views}) == 3
    for view, look in zip(track.views, tracker.looks(track.id), strict=True):
        context, person, others = look.triple()
        assert look.view is view and others == () and context.time == view.time
        middle = context.crop(person.box).reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - RED).max() < 12
        back = look.to_frame(person.box)
        assert back.iou(view.person.box) > 0.99
    assert tracker.finished() == []
    with pytest.raises(InputError):
        tracker.looks(track.id)


def test_views_are_spread_over_time():
    tracks = run(Tracker(), [scene(t, (100 + t, 100, 80, RED)) for t in times(0, 40)])
    seen = sorted(v.time for v in tracks[0].views)
    assert len(seen) == 5 and seen[-1] - seen[0] > 20


def test_a_look_is_small_and_knows_its_neighbours():
    frame, people = scene(0.0, (100, 10, 340, RED), (240, 10, 340, BLUE))
    look = take(frame, people[0], people, 0.5)
    assert look.context.height <= 320 and look.scale < 1
    assert len(look.neighbours) == 1
    blue = look.context.crop(look.neighbours[0].box).reshape(-1, 3)
    assert (np.abs(blue.mean(axis=0) - BLUE).max()) < 30
    assert look.edge is False
    assert quality(frame, people[0], []) > quality(frame, Person(Box(0, 10, 136, 350), 0.6), [])


@pytest.mark.parametrize("cut", [1, 4, 9, 13])
def test_a_saved_run_goes_on_identically(cut):
    steps = [
        scene(t, *([walk(t, 20, 100, 60, RED)] if t < 3 else []), walk(t, 400, 120, -30, BLUE))
        for t in times(0, 8)
    ]
    straight = run(Tracker(), steps)
    tracker, tracks = Tracker(), []
    for i, step in enumerate(steps):
        if i == cut:
            tracks += tracker.finished()
            tracker = Tracker.from_state(json.loads(json.dumps(tracker.state())))
        tracker.update(*step)
    looks = {}
    for track in tracker.flush():
        tracks.append(track)
        looks[track.id] = tracker.looks(track.id)
    assert [t.to_json() for t in sorted(tracks, key=lambda t: t.id)] == [
        t.to_json() for t in sorted(straight, key=lambda t: t.id)
    ]
    assert all(len(k.jpeg) > 100 for ks in looks.values() for k in ks)


@pytest.mark.parametrize("state", [{}, {"format": 9}, {"format": 1, "settings": {"x": 1}}])
def test_foreign_state(state):
    with pytest.raises(InputError):
        Tracker.from_state(state)


def test_frames_must_come_in_order():
    tracker = Tracker()
    tracker.update(*scene(1.0))
    with pytest.raises(InputError, match="time order"):
        tracker.update(*scene(0.5))
    with pytest.raises(InputError):
        tracker.update(Frame(np.zeros((4, 4, 3), np.uint8)), [])


def body(**places):
    points = np.zeros((17, 3), np.float32)
    for name, (x, y) in places.items():
        points[KEYPOINTS.index(name)] = (x, y, 0.9)
    return Pose(points)


def test_lying():
    wide, tall = Box(0, 0, 100, 40), Box(0, 0, 40, 100)
    assert is_lying(Person(wide)) and not is_lying(Person(tall))
    level = body(left_shoulder=(10, 20), right_shoulder=(10, 24), left_hip=(50, 22), right_hip=(50, 26))
    upright = body(left_shoulder=(50, 10), right_shoulder=(60, 10), left_hip=(50, 50), right_hip=(60, 50))
    assert is_lying(Person(Box(0, 0, 100, 90), pose=level))
    assert not is_lying(Person(wide, pose=upright))


def test_fall_then_lying_still():
    rows = [(t, Person(Box(100, 100, 140, 200))) for t in times(0, 3)]
    rows += [(t, Person(Box(80, 165, 180, 200))) for t in times(3, 8)]
    moved = motion([sample(t, p) for t, p in rows])
    # The head falls 65 − (8 − 2.8) px within half a second, at a body height of 100 px.
    assert moved.drop == pytest.approx(0.6 / 0.5, rel=0.1)
    assert moved.lying == 4.5 and moved.still >= 4.5


def test_walking_towards_the_camera_is_no_fall():
    rows = [(t, Person(Box(100, 50 + 60 * t, 140, 150 + 62 * t))) for t in times(0, 4)]
    moved = motion([sample(t, p) for t, p in rows])
    assert moved.drop < 0.1 and moved.dy == pytest.approx(0.6, rel=0.1)


def test_one_look_has_no_motion():
    assert motion([sample(0.0, Person(Box(0, 0, 4, 9)))]).speed == 0


def test_who_stays_all_day_is_not_remembered_look_by_look(monkeypatch):
    monkeypatch.setattr("oddwatch.media.tracking.MOST_SAMPLES", 20)
    tracker = Tracker()
    for t in times(0, 60):
        tracker.update(*scene(t, walk(t, 20, 100, 8, RED)))
    (live,) = tracker._live
    assert len(live.samples) <= 20
    moved = tracker.motion(live.id)
    assert moved.duration == 59.5 and moved.dx == pytest.approx(8 / 80, rel=0.05)
