"""RBDC, TBDC and the pixel-level criterion against worked numbers (metrics §13), brute force and their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.metrics.places import Boxes, box_iou, pixel_level, pixel_level_score, region_detection


def boxes(*rows):
    table = np.array(rows, float).reshape(-1, 6)
    return Boxes(table[:, 0].astype(int), table[:, 1:5], table[:, 5])


def test_the_overlap_of_boxes_with_pixels_that_belong_to_them():
    assert box_iou([[0, 0, 9, 9]], [[5, 0, 14, 9]], inclusive=True)[0, 0] == pytest.approx(50 / 150)
    assert box_iou([[0, 0, 10, 10]], [[5, 0, 15, 10]])[0, 0] == pytest.approx(50 / 150)
    assert box_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]])[0, 0] == 0
    assert box_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)


def test_found_boxes_that_are_the_true_ones_are_perfect():
    true = boxes((0, 0, 0, 10, 10, 1), (1, 2, 0, 12, 10, 1), (1, 50, 50, 60, 60, 2))
    region, track = region_detection(true, true, 2)
    assert region.value == 1 == track.value and region.details["false"] == 0


def test_hits_and_false_boxes_in_order():
    true = boxes((0, 0, 0, 10, 10, 1), (1, 0, 0, 10, 10, 1), (2, 0, 0, 10, 10, 2), (3, 0, 0, 10, 10, 2))
    found = boxes(
        (0, 0, 0, 10, 10, 0.9), (5, 0, 0, 10, 10, 0.8), (6, 0, 0, 10, 10, 0.7), (2, 0, 0, 10, 10, 0.6)
    )
    # Of ten frames: one quarter hit from 0 false on, a half from 0.2 on; then nothing more up to 1.
    region, track = region_detection(found, true, 10, alpha=0.5)
    assert region.value == pytest.approx(0.25 * 0.2 + 0.5 * 0.8)
    assert track.value == pytest.approx(0.5 * 0.2 + 1.0 * 0.8)
    assert region_detection(found, true, 10, alpha=0.51)[1].value == 0


def test_the_curve_is_cut_at_one_false_box_per_frame():
    true = boxes((0, 0, 0, 10, 10, 1))
    rows = [(0, 90, 90, 95, 95, 0.9), (0, 80, 80, 85, 85, 0.8), (0, 0, 0, 10, 10, 0.8)]
    # From (1, 0) to (2, 1): nothing within [0, 1].
    assert region_detection(boxes(*rows), true, 1)[0].value == 0
    # Over four frames the curve is (0, 0), (¼, 0), (½, 1) and stays.
    assert region_detection(boxes(*rows), true, 4)[0].value == pytest.approx(0.125 + 0.5)
    # From (0, 0) straight to (2, 1), cut at (1, ½).
    tied = boxes(*[(*r[:5], 0.8) for r in rows])
    assert region_detection(tied, true, 1)[0].value == pytest.approx(0.25)


def test_a_small_overlap_is_a_hit_and_a_miss_beside_it_is_false():
    true = boxes((0, 0, 0, 10, 10, 1))
    hit = boxes((0, 8, 0, 18, 10, 1))
    assert region_detection(hit, true, 1)[0].value == 1
    assert region_detection(hit, true, 1, beta=0.12)[0].value == 0
    assert region_detection(hit, true, 1, beta=0.12)[0].details["false"] == 1


def test_nothing_true_is_undefined_and_nothing_found_is_zero():
    none, true = boxes(), boxes((0, 0, 0, 10, 10, 1))
    assert region_detection(true, none, 3)[0].reason == "no true box"
    assert [m.value for m in region_detection(none, true, 3)] == [0, 0]


def test_boxes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="x0 ≤ x1"):
        boxes((0, 5, 0, 1, 1, 1))
    with pytest.raises(InputError, match="NaN"):
        boxes((0, 0, 0, 1, 1, math.nan))
    with pytest.raises(InputError, match=r"values \(N,\)"):
        Boxes(np.zeros(2, int), np.zeros((2, 4)), np.zeros(1))
    with pytest.raises(InputError, match="shares"):
        region_detection(boxes(), boxes(), 0)


rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 2), st.integers(1, 4), st.integers(0, 3)),
    min_size=1,
    max_size=8,
).map(lambda found: boxes(*[(f, x, y, x + n, y + 3, v) for f, x, y, n, v in found]))


def by_definition(found, true, frames, beta, alpha):
    """Points of both curves, threshold by threshold."""
    curve = [(0.0, 0.0, 0.0)]
    for threshold in sorted(set(found.values), reverse=True):
        up = found.values >= threshold
        near = box_iou(found.boxes, true.boxes) >= beta
        near &= found.frames[:, None] == true.frames
        hit = (near & up[:, None]).any(axis=0)
        tracks = [hit[true.values == t].mean() >= alpha - 1e-12 for t in set(true.values)]
        curve.append(((up & ~near.any(axis=1)).sum() / frames, hit.mean(), np.mean(tracks)))
    return np.array(curve).T


@settings(max_examples=60)
@given(rows, rows, st.sampled_from([0.1, 0.3, 0.6]), st.sampled_from([0.1, 0.5, 1.0]))
def test_both_are_areas_under_the_curves_of_the_definition(found, true, beta, alpha):
    for frames in (4, 40):
        x, *curves = by_definition(found, true, frames, beta, alpha)
        for metric, y in zip(
            region_detection(found, true, frames, beta=beta, alpha=alpha), curves, strict=True
        ):
            area = 0.0
            for a, b, c, d in zip(x, y, [*x[1:], max(x[-1], 1.0)], [*y[1:], y[-1]], strict=True):
                if a < 1 and c > a:
                    stop = min(c, 1.0)
                    area += (stop - a) * (b + b + (d - b) * (stop - a) / (c - a)) / 2
            assert metric.value == pytest.approx(area, abs=1e-12)


# -- pixel level -------------------------------------------------------------------------------------------------


def test_a_frame_counts_when_two_fifths_of_its_true_pixels_are_covered():
    mask = np.zeros((4, 5), bool)
    mask[0] = True
    map_ = np.zeros((4, 5))
    map_[0] = [5, 4, 3, 2, 1]
    map_[3, 3] = 9
    assert pixel_level_score(map_, mask) == 4
    assert pixel_level_score(map_, mask, 0.41) == 3 and pixel_level_score(map_, mask, 1) == 1
    assert pixel_level_score(map_, np.zeros((4, 5), bool)) == 9


def test_a_detector_that_looks_at_the_wrong_place_is_right_by_frames_and_wrong_by_pixels():
    masks, maps = np.zeros((4, 6, 6), bool), np.zeros((4, 6, 6))
    masks[2:, :2, :2] = True
    maps[2:, 5, 5], maps[:2, 0, 0] = 9, 1
    wrong = pixel_level(maps, masks)
    assert wrong.value == 0 and wrong.details["eer"] == 1
    maps[2:, 0, :2] = 5
    right = pixel_level(maps, masks)
    assert right.value == 1 and right.details["rate_of_detection"] == 1


def test_pixel_level_needs_both_kinds_of_frames():
    assert pixel_level(np.zeros((2, 3, 3)), np.zeros((2, 3, 3), bool)).reason == "no anomalous item"
    assert pixel_level([], []).number is None
    with pytest.raises(InputError, match=r"mask\[1\]"):
        pixel_level(np.zeros((2, 3, 3)), [np.zeros((3, 3)), np.zeros((2, 2))])
    with pytest.raises(InputError, match="share"):
        pixel_level_score(np.zeros((2, 2)), np.zeros((2, 2)), 0)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.05, 1))
def test_at_its_score_a_frame_just_counts(seed, share):
    rng = np.random.default_rng(seed)
    map_, mask = rng.integers(0, 6, (4, 4)).astype(float), rng.random((4, 4)) < 0.5
    score = pixel_level_score(map_, mask, share)

    def counts(threshold):
        up = map_ >= threshold
        return up[mask].mean() >= share - 1e-9 if mask.any() else up.any()

    assert counts(score) and not counts(np.nextafter(score, np.inf))


def test_the_truth_itself_is_perfect_on_ucsd(data_root):
    folder = data_root / "ucsd_ped1" / "pixel_masks"
    files = sorted(folder.glob("*.npz"))[:2]
    if not files:
        pytest.skip(f"no pixel masks in {folder}")
    masks = []
    for file in files:
        with np.load(file, allow_pickle=False) as stored:
            shape = stored["shape"]
            masks.append(np.unpackbits(stored["packed"])[: np.prod(shape)].reshape(shape).astype(bool))
    joined = np.concatenate(masks)[::4]
    found = pixel_level(joined.astype(np.float32), joined)
    assert found.value == 1 and found.details["anomalous"] == int(joined.any(axis=(1, 2)).sum())
    half = joined.copy()
    half[:, :, : half.shape[2] // 2] = False
    assert pixel_level(half.astype(np.float32), joined).value < 1
