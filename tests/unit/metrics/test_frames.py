"""Frame metrics of video: worked numbers (metrics §13, video-trained §1.6 and §2.1, video-language P16), laws, real curves."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.metrics.frames import (
    all_frames,
    anomalous_ap,
    anomalous_auroc,
    equal_error_rate,
    macro_auroc,
    micro_ap,
    micro_aupr_trapezoid,
    micro_auroc,
    roc_area,
)
from oddwatch.metrics.ranking import auroc

Y = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0]]
S = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0.1, 0.1, 0.2]]

video = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=8)
videos = st.lists(video, min_size=1, max_size=5).map(
    lambda rows: (
        [np.array([y for y, _ in v], int) for v in rows],
        [np.array([s for _, s in v], float) for v in rows],
    )
)


def per_video(scores):
    return [(np.array(s) - min(s)) / (max(s) - min(s)) for s in scores]


def test_three_videos():
    assert micro_auroc(Y, S).value == 0.75
    assert micro_ap(Y, S).value == pytest.approx(0.633333, abs=1e-6)
    macro = macro_auroc(Y, S)
    assert macro.value == 1 and macro.details["skipped"] == 1
    assert macro.details["per_video"] == [1, 1, None]
    assert macro_auroc(Y, S, variant="augmented").value == 1
    assert micro_auroc(Y, per_video(S)).value == pytest.approx(0.916667, abs=1e-6)


def test_the_danger_of_normalising_per_video():
    y, s = [[0, 0, 0, 1], [0, 0, 0, 0]], [[1, 2, 3, 4], [1, 1.2, 1.1, 1.3]]
    assert micro_auroc(y, s).value == 1
    assert micro_auroc(y, per_video(s)).value == pytest.approx(0.928571, abs=1e-6)


def test_macro_hides_what_micro_shows():
    y, s = [[0, 0, 1, 1]] * 2, [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]
    assert (macro_auroc(y, s).value, micro_auroc(y, s).value) == (1, 0.75)


def test_added_frames_inflate():
    y, s = [[0, 1, 0, 1]], [[0.4, 0.3, 0.2, 0.1]]
    assert macro_auroc(y, s).value == 0.25
    assert macro_auroc(y, s, variant="augmented").value == pytest.approx(0.666667, abs=1e-6)
    assert macro_auroc([[0, 0, 0]], [[5, 0, 2]], variant="augmented").value == 1
    assert macro_auroc([[0, 1]], [[-0.5, -0.9]], variant="augmented").value == 0.5


def test_one_ranking_of_four():
    y, s = [[0, 0], [1, 1]], [[0.1, 0.4], [0.35, 0.8]]
    assert micro_auroc(y, s).value == 0.75
    assert micro_ap(y, s).value == pytest.approx(0.833333, abs=1e-6)
    assert micro_aupr_trapezoid(y, s).value == pytest.approx(0.791667, abs=1e-6)


def test_constant_scores_show_which_ap_is_meant():
    y, s = [[0, 1], [1, 0]], [[3, 3], [3, 3]]
    assert (micro_auroc(y, s).value, micro_ap(y, s).value) == (0.5, 0.5)
    assert micro_aupr_trapezoid(y, s).value == 0.75
    assert equal_error_rate(y, s).value == 0.5


def test_anomalous_videos_only():
    y, s = [[0] * 4, [0, 1, 1, 0]], [[0.1] * 4, [0.5, 0.4, 0.8, 0.2]]
    assert micro_auroc(y, s).value == pytest.approx(0.916667, abs=1e-6)
    found = anomalous_auroc(y, s)
    assert found.value == 0.75 and found.details["videos"] == 1
    assert anomalous_ap(y, s).value == pytest.approx(0.833333, abs=1e-6)


def test_the_equal_error_rate():
    assert equal_error_rate([[0, 0, 1, 1]], [[1, 2, 3, 4]]).value == 0
    assert equal_error_rate([[1, 1, 0, 0]], [[1, 2, 3, 4]]).value == 1
    found = equal_error_rate([[0, 0, 1, 1]], [[0.1, 0.4, 0.35, 0.8]])
    assert found.value == 0.5 and found.details["threshold_from"] == "oracle"
    # ROC (0, 0), (0, 1/3), (1/2, 1): the diagonal from (0, 1) to (1, 0) meets the second line at fpr 2/7.
    assert equal_error_rate([[1, 1, 1, 0, 0]], [[9, 5, 5, 5, 1]]).value == pytest.approx(2 / 7)


def test_one_kind_of_frame_is_undefined_and_said():
    found = all_frames([[0, 0], [0]], [[1, 2], [3]])
    assert {k for k, v in found.items() if v.number is not None} == {"macro_auroc_augmented"}
    assert found["micro_auroc"].reason == "no anomalous item"
    assert found["eer"].reason == "no anomalous frame"
    assert "none of 2 videos" in found["macro_auroc"].reason
    assert equal_error_rate([[1]], [[1]]).reason == "no normal frame"
    assert micro_auroc([], []).number is None and macro_auroc([], []).number is None


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (
            [[0, 1], [0, 1, 1]],
            [[1, 2], [1, 2]],
            "video b: expected a score for each of 3 labelled frames, got 2",
        ),
        ([[0, 1], [0, 2]], [[1, 2], [1, 2]], "video b, labels: expected 0"),
        ([[0, 1], [0, 1]], [[1, 2], [1, np.nan]], "video b, scores: 1 NaN"),
        ([[0, 1], [[0, 1]]], [[1, 2], [1, 2]], r"video b: expected \(n,\)"),
        ([[0, 1]], [[1, 2], [1, 2]], "one array per video"),
    ],
)
def test_what_does_not_fit_is_named(labels, scores, message):
    names = ["a", "b"] if len(labels) == 2 else None
    for metric in (micro_auroc, macro_auroc, micro_ap, anomalous_auroc, equal_error_rate):
        with pytest.raises(InputError, match=message):
            metric(labels, scores, names)


def test_names_and_variants_are_checked():
    with pytest.raises(InputError, match="names"):
        micro_auroc([[0, 1]], [[1, 2]], ["a", "b"])
    with pytest.raises(InputError, match="variant"):
        macro_auroc([[0, 1]], [[1, 2]], variant="pad")
    assert micro_auroc([[0, 1]], [[1, np.inf]]).value == 1


@settings(max_examples=20)
@given(videos)
def test_an_increasing_transform_changes_nothing(pair):
    labels, scores = pair
    other = [np.exp(s) - 1 for s in scores]
    again = all_frames(labels, other)
    for name, value in all_frames(labels, scores).items():
        np.testing.assert_allclose(value.value, again[name].value, atol=1e-12)


@settings(max_examples=20)
@given(videos)
def test_turning_the_scores_round_turns_the_areas_round(pair):
    labels, scores = pair
    back = [-s for s in scores]
    for metric in (micro_auroc, macro_auroc, anomalous_auroc, equal_error_rate):
        one, other = metric(labels, scores).number, metric(labels, back).number
        assert (one is None) == (other is None)
        if one is not None:
            assert one + other == pytest.approx(1)


@settings(max_examples=20)
@given(videos)
def test_the_order_of_videos_does_not_matter_and_one_video_is_its_own_mean(pair):
    labels, scores = pair
    again = all_frames(labels[::-1], scores[::-1])
    for name, value in all_frames(labels, scores).items():
        np.testing.assert_allclose(value.value, again[name].value, atol=1e-12)
    assert micro_auroc(labels[:1], scores[:1]).number == macro_auroc(labels[:1], scores[:1]).number
    assert micro_auroc(labels, scores).number == auroc(np.concatenate(labels), np.concatenate(scores)).number


@settings(max_examples=20)
@given(videos)
def test_at_the_equal_error_threshold_the_errors_enclose_the_rate(pair):
    labels, scores = pair
    found = equal_error_rate(labels, scores)
    if found.number is None:
        return
    y, s = np.concatenate(labels), np.concatenate(scores)
    flagged = s >= found.details["threshold"]
    assert flagged[y == 0].mean() >= found.value - 1e-12 >= (~flagged[y == 1]).mean() - 2e-12


@settings(max_examples=20)
@given(videos)
def test_the_area_under_the_points_is_the_area_of_the_ranks(pair):
    from oddwatch.metrics.ranking import roc_points

    y, s = (np.concatenate(v) for v in pair)
    if 0 < y.sum() < y.size:
        assert roc_area(*roc_points(y, s)[:2]).value == pytest.approx(auroc(y, s).value, abs=1e-12)


@pytest.mark.parametrize(
    "curve", [([0, 1], [0, 0.5]), ([0.1, 1], [0, 1]), ([0, 0.5, 0.4, 1], [0, 0, 0, 1]), ([0], [0])]
)
def test_what_is_no_roc_curve_is_refused(curve):
    with pytest.raises(InputError, match="curve"):
        roc_area(*curve)


# -- published curves and ground truth ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth(data_root):
    folder = data_root / "vad_frame_gt"
    if not folder.is_dir():
        pytest.skip(f"no vad_frame_gt in {data_root}")
    return folder


PUBLISHED = ("binary_svm", "lu_et_al_2013", "hasan_et_al_2016", "sultani_et_al_2018")
README = dict(zip(PUBLISHED, (0.4999, 0.6551, 0.5066, 0.7541), strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_curve_has_its_published_area(truth, name):
    with np.load(truth / "ucf_crime_published_roc_curves.npz", allow_pickle=False) as stored:
        x, y, area = (stored[f"{name}/{part}"].astype(np.float64) for part in ("X", "Y", "AUC"))
    assert roc_area(x, y).value == pytest.approx(float(area[0]), abs=1e-6)
    assert float(area[0]) == pytest.approx(README[name], abs=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_frames_that_have_a_published_curve_have_its_area(truth, name):
    with np.load(truth / "ucf_crime_published_roc_curves.npz", allow_pickle=False) as stored:
        x, y, area = (stored[f"{name}/{part}"].astype(np.float64) for part in ("X", "Y", "AUC"))
    # As many frames as make each step of the curve, all of one score, which falls from step to step.
    steps = np.arange(x.size - 1, 0, -1.0)
    normal, anomalous = (np.repeat(steps, np.diff(np.rint(v * 300_000)).astype(int)) for v in (x, y))
    labels = [np.zeros(normal.size, int), np.ones(anomalous.size, int)]
    assert normal.size == anomalous.size == 300_000
    assert micro_auroc(labels, [normal, anomalous]).value == pytest.approx(float(area[0]), abs=1e-4)


def test_the_totals_of_the_ground_truth(truth):
    with (truth / "ucf_crime_test_290.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 290 and sum(int(r["n_frames"]) for r in rows) == 1_111_808
    anomalous = [r for r in rows if int(r["start1"]) >= 0]
    assert len(anomalous) == 140 and all(r["class"] != "Normal" for r in anomalous)
    xd = json.loads((truth / "xd_violence_test_800.json").read_text())
    assert len(xd) == 800
    weak = [
        len((truth / f"shanghaitech_weak_split_{part}.txt").read_text().split()) for part in ("train", "test")
    ]
    assert weak == [238, 199]
    shanghai = json.loads((truth / "shanghaitech_test.json").read_text())
    assert len(shanghai) == 81 and all(set(v) <= {"0", "1"} for v in shanghai.values())


def test_the_labels_themselves_are_a_perfect_detector(truth):
    shanghai = json.loads((truth / "shanghaitech_test.json").read_text())
    labels = [np.array(list(v), int) for v in shanghai.values()]
    names = list(shanghai)
    assert micro_auroc(labels, labels, names).value == 1 and equal_error_rate(labels, labels).value == 0
    constant = [np.zeros(v.size) for v in labels]
    share = np.concatenate(labels).mean()
    assert micro_auroc(labels, constant).value == 0.5
    assert micro_ap(labels, constant).value == pytest.approx(share)
    assert micro_aupr_trapezoid(labels, constant).value == pytest.approx((1 + share) / 2)
    both = sum(0 < v.sum() < v.size for v in labels)
    assert macro_auroc(labels, constant, names).details["skipped"] == len(labels) - both
