"""The same place at another time: other people, an event or none, the same camera and light."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.datasets.scenes import Scene
from oddwatch.datasets.scenes.doings import DOINGS


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(5, 1)


def test_nothing_happens_in_a_take_without_a_kind(scene: Scene) -> None:
    calm = scene.again(1)
    assert calm.events == [] and calm.spans == [] and calm.kind == ""
    doings = {act.doing for actor in calm.script.actors for act in actor.acts}
    assert len(calm.script.actors) >= 3
    assert not any(DOINGS[d].abnormal for d in doings if d in DOINGS)
    assert calm.annotate(3.0, calm.draw(3.0)[1])["events"] == []


def test_place_and_camera_stay_and_people_change(scene: Scene) -> None:
    one, two = scene.again(1), scene.again(2)
    assert one.camera == two.camera == scene.camera and one.sky == scene.sky
    bare = [t.stage.background for t in (one, two, scene)]
    assert np.array_equal(bare[0], bare[1]) and np.array_equal(bare[0], bare[2])
    assert one.script.things == list(scene.script.things)
    assert [a.look.facts for a in one.script.actors] != [a.look.facts for a in two.script.actors]


def test_a_take_is_a_function_of_its_number_and_kind(scene: Scene) -> None:
    kind = "throw"
    one, same = scene.again(3, kind), Scene(5, 1).again(3, kind)
    assert np.array_equal(one.draw(6.0)[0], same.draw(6.0)[0])
    assert [e.kind for e in one.events] == [kind] and one.spans[0].duration > 0
    assert one.events[0].start != scene.again(4, kind).events[0].start


def test_asking_for_takes_leaves_the_scene_as_it_is(scene: Scene) -> None:
    before = scene.draw(2.0)[0]
    scene.again(1, "throw").draw(2.0)
    assert np.array_equal(before, scene.draw(2.0)[0])
    assert scene.take == 0 and scene.events


def test_what_cannot_be_is_refused(scene: Scene) -> None:
    with pytest.raises(InputError, match="expected 1 or more, got 0"):
        scene.again(0)
    with pytest.raises(InputError, match="cannot happen in a"):
        scene.again(1, "earthquake")
