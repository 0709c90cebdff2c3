"""The scene generator: what it promises about scenes, people and records."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core.errors import InputError
from oddwatch.datasets.scenes import Scene, generate, person_still, twin_pair
from oddwatch.datasets.scenes.doings import ABNORMAL, DOINGS
from oddwatch.datasets.scenes.events import EVENTS
from oddwatch.datasets.scenes.skeleton import Body, pose, solve


def _lies(scene: Scene) -> bool:
    """Somebody lies in view at some time of the scene (from the script; nothing is drawn)."""
    for actor in scene.script.actors:
        for t in np.arange(0.1, 20.0, 0.5):
            state = actor.state(float(t))
            if (
                state is not None
                and state.facts["posture"] == "lying"
                and scene.script.tall(state.x, state.y) > 20
            ):
                return True
    return False


@pytest.mark.parametrize("seed", [0, 7])
def test_every_scene_has_an_anomaly_and_any_three_a_lying_person(seed: int) -> None:
    lacking = 0
    for index in range(9):
        scene = Scene(seed, index)
        assert scene.events and scene.kind in EVENTS
        lacking += not _lies(scene)
    assert lacking <= 2


def test_anomaly_spans_are_half_open_and_inside_the_scene() -> None:
    for index in range(13):
        for span in Scene(3, index).spans:
            assert 0 <= span.start < span.end <= 20


def test_a_series_shows_every_anomaly() -> None:
    assert {Scene(11, i).kind for i in range(len(EVENTS))} == set(EVENTS)


def test_frames_depend_on_nothing_but_seed_and_index() -> None:
    one, two, other = (Scene(*key).draw(3.0)[0] for key in ((5, 1), (5, 1), (6, 1)))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_frame_and_its_annotations() -> None:
    scene = Scene(7, 3)
    seen = 0
    for pixels, notes in scene.frames(4.0, 5.0, every=12):
        assert pixels.shape == (360, 640, 3) and pixels.dtype == np.uint8
        assert pixels.std() > 5
        for one in notes["people"]:
            seen += 1
            x0, y0, x1, y1 = one["box"]
            assert 0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 360
            assert 0 < one["visible"] <= 1
            assert len(one["keypoints"]) == 17
            pad = 0.1 * max(x1 - x0, y1 - y0) + 3
            for x, y, flag in one["keypoints"]:
                assert flag in (0, 1, 2)
                if flag:
                    assert x0 - pad <= x <= x1 + pad and y0 - pad <= y <= y1 + pad
            mask = notes["mask"](one["track"])
            ys, xs = np.nonzero(mask)
            assert len(xs) == 0 or (
                xs.min() >= x0 - 1 and xs.max() <= x1 and ys.min() >= y0 - 1 and ys.max() <= y1
            )
    assert seen


def test_people_move_smoothly() -> None:
    for index in (0, 4):
        scene = Scene(7, index)
        for actor in scene.script.actors:
            before = None
            for t in np.arange(0.0, 19.9, 0.04):
                state = actor.state(float(t))
                if state is not None and before is not None:
                    assert math.hypot(state.x - before.x, state.y - before.y) < 0.6
                    assert float(np.abs(state.pose - before.pose).max()) < 1.4
                before = state


def test_a_body_stands_on_the_ground_and_keeps_its_limbs() -> None:
    poses = np.stack([pose(), pose(pitch=90), pose(hips=90, knees=90)])
    nan = np.full(3, np.nan, np.float32)
    points, _ = solve(
        [Body(height=1.8)] * 3, poses, np.zeros(3, np.float32), np.zeros((3, 2), np.float32), nan
    )
    assert points[0, :, 2].max() == pytest.approx(1.8, abs=0.06)
    assert points[1, :, 2].max() < 0.6
    assert (points[:, :, 2] > -0.01).all()
    thigh = np.linalg.norm(points[:, 18] - points[:, 20], axis=1)
    assert np.allclose(thigh, thigh[0], atol=1e-4)
    left, right = points[0, 10], points[0, 11]
    assert left[0] < right[0]  # facing away from the camera the left shoulder is on the left


def test_twins_share_clothes_and_place_and_differ_in_doing() -> None:
    for index in range(6):
        normal, odd = twin_pair(21, index)
        assert not normal.abnormal and odd.abnormal
        assert odd.facts["doing"] in ABNORMAL and normal.facts["doing"] not in ABNORMAL
        assert normal.person == odd.person
        for key in (
            "upper",
            "lower",
            "shoes",
            "hair",
            "accessories",
            "setting",
            "light",
            "weather",
            "person",
        ):
            assert normal.facts[key] == odd.facts[key], key


def test_a_still_shows_its_person() -> None:
    heights = []
    for index in range(12):
        still = person_still(4, index)
        h, w = still.pixels.shape[:2]
        assert still.mask.shape == (h, w) and still.mask.any()
        x0, y0, x1, y1 = still.box
        assert 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h
        inside = still.keypoints[still.keypoints[:, 2] == 2]
        assert len(inside) >= 3
        # A keypoint flagged as seen lies on the person's own pixels.
        hit = still.mask[inside[:, 1].astype(int), inside[:, 0].astype(int)]
        assert hit.mean() > 0.95
        heights.append(y1 - y0)
        assert np.array_equal(still.pixels, person_still(4, index).pixels)
    assert max(heights) > 2 * min(heights)


def test_the_shirt_has_the_colour_it_is_said_to_have() -> None:
    wanted = {"red": 0, "green": 1, "blue": 2}
    right = total = 0
    for index in range(40):
        still = person_still(9, index, doing="stand", tall=110, others=0.0)
        upper = still.facts["upper"]
        if (
            upper["color"] not in wanted
            or upper["tone"] == "dark"
            or still.facts["light"] != "day"
            or upper["pattern"] != "plain"
        ):
            continue
        if upper["inner"] is not None or {"backpack", "umbrella", "box"} & set(still.facts["carrying"]):
            continue
        x, y = still.keypoints[[5, 6, 11, 12], :2].mean(0).astype(int)
        patch = still.pixels[y - 4 : y + 4, x - 3 : x + 3].reshape(-1, 3).mean(0)
        right += int(patch.argmax()) == wanted[upper["color"]]
        total += 1
    assert total >= 3 and right / total >= 0.75


@pytest.mark.parametrize("name", sorted(DOINGS))
def test_every_doing_can_be_drawn(name: str) -> None:
    still = person_still(2, 1, doing=name, tall=60, others=0.0)
    assert still.facts["doing"] == name and still.abnormal == DOINGS[name].abnormal
    assert still.facts["posture"] == DOINGS[name].posture


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="yodel"):
        person_still(1, 1, doing="yodel")
    with pytest.raises(InputError, match="codec"):
        generate(tmp_path, codec="gif")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="caption_family"):
        generate(tmp_path, caption_family="C")  # type: ignore[arg-type]


def test_twins_on_disk(tmp_path: Path) -> None:
    rows = generate(tmp_path, scenes=0, twins=3, seed=13)
    lines = (tmp_path / "records.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(rows))
    assert len(rows) == 6 and len({r["image_id"] for r in rows}) == 6
    for row in rows:
        assert (tmp_path / row["image"]).is_file() and (tmp_path / row["hard_i"]).is_file()
        assert ("normal" in row) != ("anomaly" in row)
        assert row["caption"] and row["scene"] and row["hard_c"]
    again = generate(tmp_path / "again", scenes=0, twins=3, seed=13)
    assert again == rows
    for row in rows:
        assert (tmp_path / row["image"]).read_bytes() == (tmp_path / "again" / row["image"]).read_bytes()


@pytest.mark.slow
def test_a_scene_on_disk(tmp_path: Path) -> None:
    import av

    rows = generate(tmp_path, scenes=1, seed=7)
    first = rows[0]
    with av.open(str(tmp_path / first["video"])) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (640, 360)
        assert sum(1 for _ in container.decode(stream)) == 500
    assert first["spans"] and first["questions"] and first["boxes"]
    assert all(len(t["times"]) == len(t["boxes"]) == len(t["keypoints"]) for t in first["boxes"])
    assert any(r["kind"] == "person" for r in rows)
    assert all(r["source_id"] == f"s7-0000_{int(r['abnormal'])}" for r in rows)
