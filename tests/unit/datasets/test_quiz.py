"""Questions about a drawn scene: as many without an answer, true to the annotations, the same every time."""

from __future__ import annotations

import pytest

from oddwatch.datasets.scenes import Scene
from oddwatch.datasets.scenes.quiz import WAYS, done, quiz, told


@pytest.fixture(scope="module")
def scene_and_notes():
    scene = Scene(5, 0)
    # The annotations do not need the pictures finished; a few frames of the scene will do.
    notes = [scene.annotate(t, scene.draw(t, finish=False)[1]) for t in (i * 1.0 for i in range(20))]
    return scene, notes


@pytest.mark.slow
@pytest.mark.parametrize("family", ["A", "B"])
def test_half_have_no_answer(scene_and_notes, family):
    scene, notes = scene_and_notes
    found = quiz(scene, notes, family)
    assert sum(q.answerable for q in found) == 9 and sum(not q.answerable for q in found) == 9
    assert len({q.text for q in found}) == 18 and all("{" not in q.text for q in found)
    assert quiz(scene, notes, family) == found
    assert len({q.topic for q in found if not q.answerable}) >= 8


@pytest.mark.slow
def test_the_families_share_no_question(scene_and_notes):
    scene, notes = scene_and_notes
    a, b = ({q.text for q in quiz(scene, notes, f)} for f in ("A", "B"))
    assert not a & b


@pytest.mark.slow
def test_answers_are_those_of_the_annotations(scene_and_notes):
    scene, notes = scene_and_notes
    seen = {w for n in notes for p in n["people"] for w in done(p["facts"])}
    for q in quiz(scene, notes, "A", each=14):
        if q.kind == "yes-no" and q.topic in WAYS:
            assert q.answers == (("yes",) if q.topic in seen else ("no",))
        if q.kind == "light":
            assert q.answers == (scene.sky.time,)


def test_people_and_spans():
    def note(time, posture, visible=1.0, doing="walk"):
        facts = {"posture": posture, "doing": doing, "action": []}
        return {
            "time": time,
            "people": [{"track": 3, "box": [0, 0, 20, 60], "visible": visible, "facts": facts}],
        }

    notes = [
        note(0.0, "walking"),
        note(0.5, "lying"),
        note(1.0, "lying"),
        note(1.5, "crouching", doing="get_up"),
        note(2.0, "lying", 0.1),
    ]
    one = told(notes)[3]
    assert one.times == [0.0, 0.5, 1.0, 1.5]
    assert one.spans("lying") == [(0.5, 1.0)] and one.spans("walking") == [(0.0, 0.0)]
    assert not one.does("crouching").any()
    assert told(notes, 0.0, 0.0)[3].spans("lying") == [(0.5, 1.0), (2.0, 2.0)]
