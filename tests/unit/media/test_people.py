import numpy as np
import pytest

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame, Person, Pose
from oddwatch.media.people import PeopleFinder, merged, pose_similarity, tightened
from oddwatch.media.people import _Found as Found

SHAPE = np.array([(0.5, 0.05), (0.55, 0.03), (0.45, 0.03), (0.6, 0.05), (0.4, 0.05), (0.75, 0.2), (0.25, 0.2),
                  (0.85, 0.35), (0.15, 0.35), (0.9, 0.5), (0.1, 0.5), (0.65, 0.5), (0.35, 0.5), (0.65, 0.72),
                  (0.35, 0.72), (0.65, 0.95), (0.35, 0.95)])  # fmt: skip


def person(x, y, height=100.0, score=0.6, sure=0.8):
    width = height * 0.4
    points = np.column_stack([x + SHAPE[:, 0] * width, y + SHAPE[:, 1] * height, np.full(17, sure)])
    return Person(Box(x, y, x + width, y + height), score, Pose(points.astype(np.float32)))


class Fake:
    """Sees the ``there`` that are wholly or partly in the part shown, at most six, best first. The frame's
    channels hold each pixel's place, so the part is known."""

    def __init__(self, there, least_height=0.0):
        self.there, self.least_height, self.calls = there, least_height, []

    def detect(self, pixels, long_side=512):
        r, g, b = (int(v) for v in pixels[0, 0])
        x0, y0 = r + 256 * (b // 16), g + 256 * (b % 16)
        h, w = pixels.shape[:2]
        self.calls.append((x0, y0, w, h, long_side))
        found = []
        for p in self.there:
            shown = p.box.intersection(Box(x0, y0, x0 + w, y0 + h)) / p.box.area
            if shown < 0.3 or p.box.height * long_side / max(h, w) < self.least_height:
                continue
            box = p.box.shifted(-x0, -y0).clipped(w, h)
            found.append(Person(box, p.score * shown, p.pose.shifted(-x0, -y0)))
        return sorted(found, key=lambda p: -p.score)[:6]


def frame(width=800, height=600):
    y, x = np.mgrid[:height, :width]
    return Frame(np.stack([x % 256, y % 256, 16 * (x // 256) + y // 256], axis=2).astype(np.uint8))


def crowd(n):
    return [person(30 + 80 * (i % 9), 40 + 180 * (i // 9), score=0.5 + i / 100) for i in range(n)]


def near(found, there):
    return sorted(round(p.box.x0 / 8) for p in found) == sorted(round(p.box.x0 / 8) for p in there)


def test_one_pass_is_enough_for_a_few():
    model = Fake(crowd(4))
    assert near(PeopleFinder(model).find(frame()), model.there)
    assert [c[4] for c in model.calls] == [768, 256]


def test_crowds_are_split_and_counted_once():
    model = Fake(crowd(20))
    found = PeopleFinder(model, budget=20).find(frame())
    assert len(found) == 20 and near(found, model.there)
    assert all(f.box.iou(max(model.there, key=lambda t: t.box.iou(f.box)).box) > 0.7 for f in found)


@pytest.mark.parametrize("budget", [1, 2, 3, 6])
def test_budget_holds(budget):
    model = Fake(crowd(27))
    PeopleFinder(model, budget=budget).find(frame())
    assert len([c for c in model.calls if c[4] == 768]) == budget and len(model.calls) == budget + 1


def test_small_people_get_tiles():
    there = [person(50 + 300 * i, 100 + 200 * (i % 2), height=36) for i in range(3)] + [
        person(600, 480, height=20)
    ]
    model = Fake(there, least_height=30)
    assert near(PeopleFinder(model).find(frame()), there)
    assert len(PeopleFinder(Fake(there, 30), tiles="never").find(frame())) == 3


def test_all_tiles_cover_the_picture():
    model = Fake([])
    PeopleFinder(model, tiles="always", budget=9).find(frame(801, 599))
    covered = np.zeros((599, 801), bool)
    tiles = [c for c in model.calls if c[2] < 801]
    for x, y, w, h, _ in tiles:
        covered[y : y + h, x : x + w] = True
    assert len(tiles) == 4 and covered.mean() > 0.97


def test_nobody_and_doubtful_ones():
    assert PeopleFinder(Fake([])).find(frame()) == []
    unsure = [person(100, 100, score=0.15), person(300, 100, sure=0.2), person(500, 100, height=10)]
    assert PeopleFinder(Fake(unsure)).find(frame()) == []


def test_a_part_gives_way_to_the_whole():
    whole = person(100, 100)
    cut = Person(Box(100, 100, 140, 150), 0.9, whole.pose)
    assert merged([Found(cut, True), Found(whole, False)]) == [whole]


def test_parts_of_a_large_person_are_not_people():
    large, part = person(100, 50, height=500, score=0.6), person(150, 100, height=200, score=0.3)
    assert merged([Found(part, False, 0.96), Found(large, False, 0.32)]) == [large]
    # Seen in a pass in which the large one fits, the small one is a child in front.
    assert len(merged([Found(part, False, 0.32), Found(large, False, 0.32)])) == 2


def test_two_close_people_stay_two():
    a, b = person(100, 100), person(122, 104)
    assert pose_similarity(a, b) < 0.2 and len(merged([Found(a, False), Found(b, False)])) == 2
    assert len(merged([Found(a, False), Found(person(101, 101, score=0.4), False)])) == 1


def test_box_holds_the_keypoints():
    p = person(100, 100)
    narrow = Person(Box(110, 120, 120, 150), 0.5, p.pose)
    assert tightened(narrow, frame()).box.iou(p.box) > 0.7
    wide = Person(Box(0, 0, 400, 400), 0.5, p.pose)
    assert tightened(wide, frame()).box.area < 4 * p.box.area
    at_edge = tightened(person(-20, -10), frame()).box
    assert at_edge.x0 == 0 and at_edge.y0 == 0


def test_wrong_settings():
    with pytest.raises(InputError):
        PeopleFinder(Fake([]), tiles="some")
    with pytest.raises(InputError):
        PeopleFinder(Fake([]), budget=0)
    assert PeopleFinder(Fake([])).id != PeopleFinder(Fake([]), budget=3).id
