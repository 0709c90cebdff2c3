"""Components: clusters, the gate of the spec, an object before a background, a segmenter's masks."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.detectors.image.components import (
    Components,
    gate,
    islands,
    kmeans,
    nearest,
    on_tokens,
    spans_corners,
)

GRID = (12, 12)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(GRID, bool)
    mask[top:bottom, left:right] = True
    return mask


def scene(seed: int, shift: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens (144, 24) of a two-part object on a background, and where its upper and lower part are."""
    kinds = np.random.default_rng(5).normal(size=(3, 24))
    kinds[1:] += 1.2  # the parts are more alike than either and the background
    upper, lower = box(2, 3 + shift, 6, 9 + shift), box(6, 3 + shift, 10, 9 + shift)
    x = np.where(upper.ravel()[:, None], kinds[1], np.where(lower.ravel()[:, None], kinds[2], kinds[0]))
    noise = np.random.default_rng(seed).normal(0, 0.05, x.shape)
    return (x + noise).astype(np.float32), upper, lower


def test_kmeans_finds_the_groups_is_repeatable_and_copes_with_too_few_rows():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(c, 0.1, (40, 3)) for c in (0, 5, 9)]).astype(np.float32)
    centres = kmeans(x, 3, seed=1)
    assert sorted(np.rint(centres[:, 0]).astype(int).tolist()) == [0, 5, 9]
    labels = nearest(x, centres)
    assert [len(set(labels[i : i + 40])) for i in (0, 40, 80)] == [1, 1, 1] and len(set(labels)) == 3
    np.testing.assert_array_equal(centres, kmeans(x, 3, seed=1))
    assert kmeans(np.ones((9, 3)), 4).shape == (1, 3) and kmeans(x[[0, 0, 1]], 5).shape == (2, 3)


def test_gate_of_the_spec():
    assert gate([box(0, 0, 12, 9)]) == "texture"  # 0.75 of the picture
    assert gate([box(0, 0, 12, 9), box(3, 3, 5, 5)]) == "texture"
    assert gate([box(0, 0, 12, 9), box(3, 3, 5, 5), box(0, 10, 2, 12)]) == "multi"
    assert gate([box(2, 2, 8, 8)]) == "single"
    assert gate([box(2, 2, 5, 5), box(7, 7, 9, 9)]) == "multi"
    assert gate([]) == "texture"


def test_object_and_parts_are_found_in_further_pictures():
    x = np.stack([scene(i, i - 1)[0] for i in range(3)])
    found = Components.learn(x, GRID, parts=2)
    assert gate(found.objects(x[0], GRID)) == "single"
    query, upper, lower = scene(9, 2)
    assert (found.object_of(query, GRID) == (upper | lower)).mean() > 0.9
    masks = found.masks(query, GRID)
    numbers = [n for _, n in masks]
    assert sorted(numbers) == [0, 1, 2] and numbers[-1] == 2
    overlap = [(mask & upper).sum() / mask.sum() for mask, n in masks[:2]]
    assert max(overlap) > 0.8 and min(overlap) < 0.2
    first = found.masks(x[0], GRID)
    numbered = {n: mask for mask, n in first}
    for (_, number), share in zip(
        masks[:2], overlap, strict=True
    ):  # the number goes with the part, not with the place
        assert (numbered[number] & scene(0, -1)[1]).any() == (share > 0.5)


def test_a_surface_has_no_object():
    x = np.random.default_rng(0).normal(size=(2, 144, 24)).astype(np.float32)
    found = Components.learn(x, GRID, parts=2)
    assert found.ground == -1 and found.object_of(x[0], GRID).all()
    assert gate(found.objects(x[0], GRID)) == "texture"


def test_masks_of_a_segmenter_join_the_part_they_overlap_most_and_the_rest_is_background():
    x = np.stack([scene(i)[0] for i in range(2)])
    found = Components.learn(x, GRID, parts=2)
    _, upper, lower = scene(0)
    masks = found.masks(x[0], GRID, [upper, lower])
    assert len({n for _, n in masks[:2]}) == 2 and masks[2][1] == 2
    np.testing.assert_array_equal(masks[2][0], ~(upper | lower))
    again = Components.restored(found.state())
    assert [n for _, n in again.masks(x[0], GRID, [upper, lower])] == [n for _, n in masks]


def test_masks_come_onto_the_grid_and_frames_are_dropped():
    big = np.kron(box(2, 2, 6, 6), np.ones((10, 10), bool))
    frame = np.ones((120, 120), bool)
    frame[10:-10, 10:-10] = False
    speck = np.zeros((120, 120), np.uint8)
    speck[3, 3] = 1
    (mask,) = on_tokens([big, frame, speck], GRID)
    np.testing.assert_array_equal(mask, box(2, 2, 6, 6))
    assert spans_corners(frame) and not spans_corners(big)


@pytest.mark.parametrize(("smallest", "number"), [(1, 2), (4, 1)])
def test_islands_touching_at_a_corner_are_one_and_small_ones_are_left_out(smallest, number):
    mask = box(1, 1, 3, 3) | box(3, 3, 5, 5) | box(9, 9, 10, 10)
    assert len(islands(mask, smallest)) == number
