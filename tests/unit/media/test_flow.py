"""Flow of drawn pictures: known speeds at any frame rate and size, stillness, a moving camera; things and their tracks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import Box, Frame
from oddwatch.detectors.video.cues import STILL
from oddwatch.media.flow import BINS, Field, FlowMeter, ThingTracker, flow_histogram, moving_things

H, W, SIDE = 180, 240, 64


def texture(height: int, width: int, seed: int = 0, least: int = 40, most: int = 200) -> np.ndarray:
    """Soft blotches of 20 pixels: the flow's finest level is a quarter of the picture."""
    rng = np.random.default_rng(seed)
    rough = rng.uniform(least, most, (height // 20 + 2, width // 20 + 2)).astype(np.float32)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def street(squares: list[tuple[float, float]], time: float, scale: int = 1, noise: float = 0.0) -> Frame:
    """Textured squares at upper left corners (x, y) on a textured ground."""
    picture = texture(H, W)
    for n, (x, y) in enumerate(squares):
        move = np.array([[1, 0, x], [0, 1, y]], np.float32)
        square = cv2.warpAffine(texture(SIDE, SIDE, n + 1, 0, 255), move, (W, H), borderValue=-1)
        inside = cv2.warpAffine(np.ones((SIDE, SIDE), np.float32), move, (W, H)) > 0.5
        picture[inside] = np.maximum(square, 0)[inside]
    if noise:
        picture = picture + np.random.default_rng(round(time * 1000)).normal(0, noise, picture.shape)
    if scale > 1:
        picture = cv2.resize(picture, (W * scale, H * scale), interpolation=cv2.INTER_CUBIC)
    grey = picture.clip(0, 255).astype(np.uint8)
    return Frame(np.dstack([grey] * 3), time=time)


def seen(way: tuple[float, float], fps: float, frames: int = 8, scale: int = 1) -> Field:
    """The movement at the last frame of a square that moves ``way`` pixels a second (of H)."""
    meter = FlowMeter()
    for i in range(frames):
        t = i / fps
        field = meter.update(street([(90 + way[0] * t, 66 + way[1] * t)], t, scale))
    assert field is not None
    return field


def middle(field: Field, frames: int, fps: float, way: tuple[float, float]) -> np.ndarray:
    """Median (u, v) inside the square, away from its edges."""
    t = (frames - 1) / fps
    x, y = round(90 + way[0] * t) + 10, round(66 + way[1] * t) + 10
    return np.median(field.uv[y : y + SIDE - 20, x : x + SIDE - 20].reshape(-1, 2), axis=0)


@pytest.mark.parametrize("fps", [5, 10, 25, 50])
@pytest.mark.parametrize("way", [(36.0, 0.0), (0.0, -27.0)])
def test_speed_is_frame_heights_a_second_at_any_frame_rate(fps, way):
    field = seen(way, fps)
    u, v = middle(field, 8, fps, way)
    assert (u, v) == pytest.approx((way[0] / H, way[1] / H), abs=0.015)


def test_speed_does_not_depend_on_the_resolution():
    a, b = seen((36, 0), 25), seen((36, 0), 25, scale=2)
    assert b.uv.shape == a.uv.shape and b.scale == (2, 2)
    assert middle(b, 8, 25, (36, 0)) == pytest.approx(middle(a, 8, 25, (36, 0)), abs=0.02)


def test_slow_movement_shows_over_the_time_apart():
    """Half a pixel a frame at 25 a second: the frames compared lie at least 0.09 s apart."""
    field = seen((12.5, 0), 25)
    assert 0.09 <= field.seconds <= 0.13
    assert middle(field, 8, 25, (12.5, 0))[0] == pytest.approx(12.5 / H, abs=0.015)


@pytest.mark.parametrize(("noise", "share"), [(0.0, 0.0), (1.0, 0.05), (4.0, 1.0)])
def test_a_noisy_still_picture_is_still(noise, share):
    """Faint noise is no movement at all, strong noise less than would count and nothing that is a thing."""
    meter = FlowMeter()
    fields = [meter.update(street([(90, 66)], i / 25, noise=noise)) for i in range(6)]
    assert fields[0] is None
    for field in fields[1:]:
        assert (field.speed > 0).mean() <= share and moving_things(field) == []
        assert field.speed.mean() < STILL


def test_holes_and_jumps_in_time_have_no_movement():
    meter = FlowMeter()
    assert meter.update(street([(60, 60)], 0.0)) is None
    assert meter.update(street([(66, 60)], 2.0)) is None, "more than `longest` apart"
    assert meter.update(street([(67, 60)], 2.1)) is not None
    assert meter.update(street([(70, 60)], 1.0)) is None, "the clock was set back"
    assert meter.update(street([(71, 60)], 1.1)) is not None
    assert meter.update(Frame(np.zeros((90, 90, 3), np.uint8), time=1.2)) is None, "another size"


def test_a_moving_camera_shows_no_things():
    wide = texture(H, W + 60)
    meter = FlowMeter()
    for i in range(5):
        grey = wide[:, 4 * i : 4 * i + W].clip(0, 255).astype(np.uint8)
        field = meter.update(Frame(np.dstack([grey] * 3), time=i / 10))
    assert np.median(field.uv[..., 0]) == pytest.approx(-40 / H, abs=0.03)
    assert moving_things(field) == []
    assert moving_things(field, whole=1.0) != []


def test_moving_things_are_where_the_squares_are():
    meter = FlowMeter()
    for i in range(6):
        corners = [(20 + 4 * i, 20), (160 - 3 * i, 110)]
        field = meter.update(street(corners, i / 10, scale=2))
    boxes = moving_things(field)
    assert len(boxes) == 2
    for x, y in corners:
        square = Box(2 * x, 2 * y, 2 * (x + SIDE), 2 * (y + SIDE))
        assert max(box.iou(square) for box in boxes) > 0.6
    assert moving_things(field, most=1) == boxes[:1] and boxes[0].area >= boxes[1].area
    assert moving_things(field, smallest=0.5) == []


def test_cells_are_means_and_add_up():
    field = seen((36, 0), 25)
    cells = field.cells(6, 8)
    assert cells.shape == (6, 8, 4)
    for channel, whole in enumerate((field.speed, field.uv[..., 0], field.uv[..., 1], field.change)):
        assert cells[..., channel].mean() == pytest.approx(whole.mean(), abs=1e-4)
    r, c = np.unravel_index(cells[..., 0].argmax(), (6, 8))
    assert r in (2, 3, 4) and c in (3, 4, 5)


def test_the_histogram_tells_directions_inside_a_box():
    way = (36.0, 0.0)
    field = seen(way, 25)
    t = 7 / 25
    box = Box(105 + 36 * t, 81, 139 + 36 * t, 115)
    histogram = field.histogram(box)
    assert histogram.shape == (BINS,) and histogram[[0, 7]].sum() == pytest.approx(36 / H, abs=0.03)
    assert histogram[[2, 3, 4, 5]].sum() < 0.01
    assert field.histogram(Box(0, 0, 30, 30)).sum() == 0


@given(
    st.floats(-400, 400), st.floats(-400, 400), st.floats(0, 500), st.floats(0, 500)
)  # boxes of people may reach beyond the picture
def test_a_box_beyond_the_picture_has_the_nearest_pixels(x, y, width, height):
    uv = np.zeros((18, 24, 2), np.float32)
    uv[:, 0], uv[:, -1] = (0, 1), (-1, 0)
    field = Field(uv, np.zeros((18, 24), np.float32), (10.0, 10.0), 0.1)
    histogram = field.histogram(Box(x, y, x + width, y + height))
    assert np.isfinite(histogram).all() and 0 <= histogram.sum() <= 1
    if x + width <= 0:
        assert histogram[2] == 1  # the first column alone, downwards
    if x >= 240:
        assert histogram[4] == 1


@given(st.floats(0, 359.99), st.floats(0.01, 5))
def test_every_direction_has_its_bin(degrees, speed):
    angle = np.radians(degrees)
    uv = np.array([[[speed * np.cos(angle), speed * np.sin(angle)]]])
    histogram = flow_histogram(uv)
    assert histogram.sum() == pytest.approx(np.abs(uv).sum())
    if min(degrees % 45, 45 - degrees % 45) > 1e-3:
        assert histogram.argmax() == int(degrees // 45)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_directions_by_comparison_are_those_of_the_angle(kind):
    rng = np.random.default_rng(0)
    some = rng.normal(size=(40, 30, 2))
    some[:10] = np.round(some[:10])  # many on the borders of the bins, and some still
    some = some.astype(kind)
    angle = np.degrees(np.arctan2(some[..., 1].astype(float), some[..., 0].astype(float))) % 360
    size = np.abs(some).astype(float).sum(axis=2)
    expected = [size[(angle >= 45 * k) & (angle < 45 * k + 45)].sum() / 1200 for k in range(BINS)]
    assert flow_histogram(some) == pytest.approx(expected, rel=1e-6)
    assert flow_histogram(np.zeros((0, 5, 2), kind)).tolist() == [0.0] * BINS


# -- tracks ------------------------------------------------------------------------------------------------------------


def box_at(x: float, y: float = 50, side: float = 20) -> Box:
    return Box(x, y, x + side, y + side)


def test_tracks_keep_their_numbers_through_a_crossing():
    """Two things walk towards each other, are one blob for two frames, and come out on the other side."""
    tracker = ThingTracker(first=100)
    numbers = []
    for i in range(21):
        left, right = 4.0 * i, 80 - 4.0 * i
        boxes = [box_at(left, 50), box_at(right, 58)] if abs(left - right) > 4 else [Box(38, 50, 62, 78)]
        numbers.append(tracker.update(i / 10, boxes))
    assert numbers[0] == [100, 101]
    assert numbers[-1] == [100, 101]
    assert {n for frame in numbers for n in frame} == {100, 101}


def test_a_thing_far_away_is_another_one_and_a_short_gap_is_bridged():
    tracker = ThingTracker(gap=1.0)
    assert tracker.update(0.0, [box_at(0)]) == [1]
    assert tracker.update(0.1, []) == []
    assert tracker.update(0.8, [box_at(5)]) == [1]
    assert tracker.update(0.9, [box_at(5), box_at(120)]) == [1, 2]
    assert tracker.update(2.5, [box_at(5)]) == [3], "out of sight for longer than the gap"


def test_a_fast_small_thing_is_followed_along_its_velocity():
    tracker = ThingTracker()
    found = [tracker.update(i / 10, [box_at(7.0 * i, side=10)]) for i in range(12)]
    assert found == [[1]] * 12


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(0, 200)), max_size=6), st.integers(0, 5))
def test_numbers_are_never_shared(corners, steps):
    tracker = ThingTracker()
    for i in range(steps + 1):
        numbers = tracker.update(i / 10, [box_at(x + i, y) for x, y in corners])
        assert len(numbers) == len(set(numbers)) == len(corners) and min(numbers, default=1) >= 1
