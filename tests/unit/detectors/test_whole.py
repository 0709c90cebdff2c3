"""Parts and whole: both members count, the scale comes from held-out normals, files and folds keep it."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.detectors.image.base import load
from oddwatch.detectors.image.mvg import MVG
from oddwatch.detectors.image.whole import PartsAndWhole, _scale


@pytest.fixture(scope="module")
def fitted(toy_eyes, plates):
    return PartsAndWhole(encoder=toy_eyes()).fit(plates(24, 1))


def dimmed(pictures):
    return [np.clip(p * 0.9, 0, 255).astype(np.uint8) for p in pictures]


def test_a_picture_that_is_a_little_off_everywhere_is_seen_by_the_whole_alone(fitted, toy_eyes, plates):
    parts = PartsAndWhole(encoder=toy_eyes(), whole=False).fit(plates(24, 1))
    good, off = plates(12, 5), dimmed(plates(12, 6))

    def apart(detector):
        a, b = detector.score(good).values, detector.score(off).values
        return (b.min() - a.max()) / a.std()

    assert apart(fitted) > 1 > 0
    assert apart(fitted) > apart(parts)


def test_the_scale_is_that_of_held_out_normals(fitted, plates):
    fresh = fitted.score(plates(24, 9)).values
    assert abs(float(np.median(fresh))) < 2.5 and 0.3 < fresh.std() < 5


def test_a_picture_unlike_the_others_counts_as_unseen_in_the_scale(toy_eyes, plates):
    normal = [*plates(23, 1), *plates(1, 3, odd=True)]
    both = PartsAndWhole(encoder=toy_eyes()).fit(normal)
    seen = both._parts.score(both._reduced(both.tokens(normal, both._all))).values
    assert both.scale[0, 0] > 2 * seen.mean()
    whole = MVG(encoder=toy_eyes(), layers=both.levels).fit(normal).score(normal).values
    assert both.scale[1, 1] > 2 * whole.std()


def test_the_whole_is_left_out_of_few_normals(toy_eyes, plates):
    few = PartsAndWhole(encoder=toy_eyes()).fit(plates(4, 1))
    assert few.scale[1].tolist() == [0, 0]
    assert np.isfinite(few.score(plates(2, 3)).values).all()


def test_leaving_out_a_fold_is_fitting_without_it_on_the_scale_of_all(toy_eyes, plates):
    normal = [*plates(5, 3, odd=True), *plates(21, 2)]  # what is left out is unlike the rest
    folds = [np.arange(5), np.arange(5, 10)]
    whole = PartsAndWhole(encoder=toy_eyes())
    apart = list(whole.fit_apart(normal, folds))
    assert whole.fitted and len(apart) == 2
    alone = PartsAndWhole(encoder=toy_eyes()).fit(normal[5:])
    items = plates(3, 4, odd=True)
    alone.scale = whole.scale
    np.testing.assert_allclose(apart[0].score(items).values, alone.score(items).values, rtol=1e-3)


def test_normals_added_later_are_learnt_and_kept_in_the_file(toy_eyes, plates, tmp_path):
    one = PartsAndWhole(encoder=toy_eyes()).fit(plates(16, 1))
    items = [*plates(3, 3), *dimmed(plates(3, 4))]
    before = one.score(items).values
    one.add(dimmed(plates(16, 2)))
    after = one.score(items).values
    assert (after[3:] < before[3:]).all()
    again = load(one.save(tmp_path / "d"), encoder=toy_eyes())
    np.testing.assert_allclose(again.score(items).values, after, rtol=1e-5)


def test_equal_or_single_held_out_scores_have_a_deviation():
    assert (_scale(np.array([3.0])) > 0).all()
    assert _scale(np.array([3.0, 3.0, 3.0]))[1] == pytest.approx(0.003)
    assert _scale(np.zeros(5))[1] > 0
    mean, deviation = _scale(np.array([1.0, 2.0, 3.0]))
    assert (mean, deviation) == (2.0, 1.0)


def test_its_whole_is_mvg_on_the_middle_blocks(fitted, toy_eyes, plates):
    items = dimmed(plates(3, 4))
    mvg = MVG(encoder=toy_eyes(), layers=fitted.levels).fit(plates(24, 1))
    parts = PartsAndWhole(encoder=toy_eyes(), whole=False).fit(plates(24, 1))
    joined = parts.score(items).values + (mvg.score(items).values - fitted.scale[1, 0]) / fitted.scale[1, 1]
    np.testing.assert_allclose(fitted.score(items).values, joined, rtol=1e-3)
