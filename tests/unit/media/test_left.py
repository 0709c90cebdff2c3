"""Things that stay: a bag put down is told, who stands there is not, nor what passes, nor a change of light."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Box, Frame
from oddwatch.media.left import Left, LeftThings

H, W = 180, 320
BAG = Box(100, 120, 116, 132)
GROUND = np.kron(np.random.default_rng(7).uniform(90, 150, (H // 20, W // 20)), np.ones((20, 20)))


def picture(time: float, *boxes: Box, light: float = 0.0) -> Frame:
    """Even blotches with noise, and dark boxes on it."""
    rng = np.random.default_rng(round(time * 100))
    grey = GROUND + rng.normal(0, 2, (H, W)) + light
    for box in boxes:
        grey[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 30 + light
    return Frame(np.dstack([grey.clip(0, 255).astype(np.uint8)] * 3), time=time)


def seen(shown, people=lambda t: (), seconds: float = 20.0, step: float = 0.5) -> dict[float, list[Left]]:
    """Time → what is left, of pictures ``shown(t)``."""
    left = LeftThings()
    times = np.arange(0, seconds, step).tolist()
    return {t: left.update(shown(t), people(t)) for t in times}


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0])
def test_a_bag_is_told_from_when_it_has_stayed(step):
    found = seen(lambda t: picture(t, *([BAG] if t >= 8 else [])), step=step)
    assert not any(found[t] for t in found if t < 9)
    late = [found[t] for t in found if t >= 12]
    assert all(len(things) == 1 and things[0].box.iou(BAG) > 0.5 for things in late)
    last = found[max(found)]
    assert 8 <= last[0].seconds <= 11.5


def test_what_stood_there_from_the_start_is_background_and_what_passes_is_nothing():
    walker = lambda t: Box(20 + 20 * t, 60, 40 + 20 * t, 120)  # noqa: E731
    found = seen(lambda t: picture(t, BAG, *([walker(t)] if 5 <= t < 13 else [])))
    assert not any(found.values())


def test_who_stands_there_is_no_thing_and_leaves_nothing_behind():
    somebody = Box(200, 60, 224, 130)
    here = lambda t: (somebody,) if t < 10 else ()  # noqa: E731
    assert not any(seen(lambda t: picture(t, *here(t)), here).values())
    unseen = seen(lambda t: picture(t, *([somebody] if t >= 6 else [])))
    assert unseen[19.5], "whom nobody found is a thing that stays"


def test_who_was_taken_for_ground_and_goes_leaves_nothing():
    somebody = Box(200, 60, 224, 130)
    assert not any(seen(lambda t: picture(t, *([somebody] if t < 8 else []))).values())


def test_who_comes_and_stands_there_is_no_thing_where_they_are_found():
    somebody = Box(200, 60, 224, 130)
    there = lambda t: (somebody,) if t >= 6 else ()  # noqa: E731
    assert not any(seen(lambda t: picture(t, *there(t)), there).values())


def test_a_thing_is_still_there_in_other_light():
    found = seen(lambda t: picture(t, *([BAG] if t >= 6 else []), light=25.0 * (t >= 12)))
    assert len(found[11.5]) == len(found[19.5]) == 1


def test_lamps_that_go_on_are_no_thing_and_a_moved_camera_begins_anew():
    assert not any(seen(lambda t: picture(t, light=25.0 if t >= 8 else 0.0)).values())
    turned = lambda t: Frame(np.roll(picture(t).pixels, 37 if t >= 8 else 0, axis=(0, 1)), time=t)  # noqa: E731
    assert not any(seen(turned).values())


def test_what_stays_long_becomes_background():
    left = LeftThings(longest=10.0)
    found = {t: left.update(picture(t, *([BAG] if t >= 5 else []))) for t in np.arange(0, 40, 0.5).tolist()}
    assert found[12.0] and not any(found[t] for t in found if t > 18)
