"""Mutual scoring: the worked numbers of the specification, and every block against a plain form of itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from oddwatch.core import InputError
from oddwatch.detectors.image import mutual


def test_one_dimensional_tokens_of_three_pictures():
    x = np.array([[0, 1], [0.1, 1.1], [0, 5]], np.float64)[..., None]
    scores = mutual.lowest(mutual.nearest(x), 0.3)
    np.testing.assert_allclose(scores, [[0, 0.1], [0.1, 0.1], [0, 3.9]], atol=1e-7)
    np.testing.assert_allclose(scores.max(1), [0.1, 0.1, 3.9], atol=1e-7)


def test_rscin_of_three_scores():
    similar = np.array([[1, 0.9, 0.2], [0.9, 1, 0.1], [0.2, 0.1, 1]])
    features = np.linalg.cholesky(similar)
    scaled = np.array([0, 0.125, 1])
    for k, expected in (
        ((1,), scaled),
        ((2,), [0.05921, 0.06579, 0.83333]),
        ((1, 2), [0.02961, 0.09539, 0.91667]),
    ):
        np.testing.assert_allclose(mutual.rescore(scaled, features, k), expected, atol=1e-5)
        raw = mutual.rescore(np.array([0.1, 0.2, 0.9]), features, k)
        np.testing.assert_allclose((raw - 0.1) / 0.8, expected, atol=1e-5)


def test_rank_replacement():
    assert mutual.rank_replace(np.array([0.2, 0.5, 0.9]), np.array([10, 30, 20])).tolist() == [0.2, 0.9, 0.5]
    tied = mutual.rank_replace(np.array([[3.0, 1.0], [2.0, 4.0]]), np.array([[7, 7], [5, 7]]))
    assert tied.tolist() == [[2.0, 3.0], [1.0, 4.0]]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_nearest_is_the_plain_minimum_over_every_other_picture(kind):
    rng = np.random.default_rng(0)
    x, extra = rng.normal(size=(5, 7, 4)).astype(kind), rng.normal(size=(2, 3, 4)).astype(kind)
    found = mutual.nearest(x, extra)
    for i in range(5):
        others = [*(x[j] for j in range(5) if j != i), *extra]
        plain = np.stack([cdist(x[i], other).min(1) for other in others])
        np.testing.assert_allclose(found[i], plain, atol=1e-5 if kind is np.float32 else 1e-12)
    assert found.dtype == kind


def test_all_components_are_exact_and_few_keep_what_they_leave_out():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 20, 8)).astype(np.float32) * np.array([9, 5, 3, 1, 1, 1, 1, 1], np.float32)
    x[0, 0] = 0
    x[0, 0, 7] = 40
    exact = mutual.nearest(x)
    np.testing.assert_allclose(mutual.nearest(x, dims=8), exact, atol=1e-4)
    few = mutual.nearest(x, dims=3)
    assert np.corrcoef(few.ravel(), exact.ravel())[0, 1] > 0.9
    assert few[0, :, 0].min() > 30, "far along a component that was dropped"
    with pytest.raises(InputError, match="dims"):
        mutual.nearest(x, dims=0)


def test_batched_averages_strictly_below_the_quantile():
    rng = np.random.default_rng(2)
    x, extra = rng.normal(size=(4, 6, 5)), rng.normal(size=(2, 6, 5))
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    more = (extra / np.linalg.norm(extra, axis=-1, keepdims=True)).reshape(-1, 5)
    for share in (0.001, 0.2, 0.5, 1.0):
        found = mutual.batched(x, extra, share)
        for i in range(4):
            others = np.concatenate([unit[np.arange(4) != i].reshape(-1, 5), more])
            distances = 1 - unit[i] @ others.T
            limit = np.quantile(distances, share, axis=1)
            plain = [d[d < q].mean() for d, q in zip(distances, limit, strict=True)]
            np.testing.assert_allclose(found[i], plain, atol=1e-5)


def test_batched_of_equal_distances_is_that_distance():
    x = np.tile(np.array([1.0, 0.0]), (3, 4, 1))
    np.testing.assert_allclose(mutual.batched(x), 0, atol=1e-6)
    with pytest.raises(InputError, match="two"):
        mutual.batched(x[:1])


@pytest.mark.parametrize(("others", "kept"), [(1, 1), (3, 1), (7, 2), (10, 3)])
def test_lowest_keeps_at_least_one(others, kept):
    distances = np.random.default_rng(3).random((2, others, 5))
    np.testing.assert_allclose(
        mutual.lowest(distances), np.sort(distances, axis=1)[:, :kept].mean(1), atol=1e-12
    )
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match="share"):
            mutual.lowest(distances, share)
    with pytest.raises(InputError, match="two"):
        mutual.lowest(distances[:, :0])


def test_rescoring_is_an_average_and_survives_odd_features():
    rng = np.random.default_rng(4)
    values, features = rng.random(9), rng.normal(size=(9, 3))
    out = mutual.rescore(values, features, (1, 7, 20))
    assert values.min() <= out.min() and out.max() <= values.max()
    assert np.array_equal(mutual.rescore(values, features, ()), values)
    assert np.isfinite(mutual.rescore(values, np.zeros((9, 3)), (1, 7))).all()
    np.testing.assert_allclose(mutual.rescore(values, features, (1,)), values)
    opposed = mutual.rescore(np.array([1.0, 0.0]), np.array([[1.0, 0.0], [-1.0, 0.1]]), (2,))
    np.testing.assert_allclose(opposed, [1, 0])
    with pytest.raises(InputError, match="neighbours"):
        mutual.rescore(values, features, (0,))


def test_groups_hold_everyone_once_and_none_is_alone():
    for n, divide, most in (
        (5, None, 64),
        (200, None, 64),
        (7, 3, 64),
        (7, 7, 64),
        (3, 3, 64),
        (1, None, 64),
    ):
        parts = mutual.groups(n, divide, most)
        assert sorted(np.concatenate(parts).tolist()) == list(range(n))
        assert min(map(len, parts)) >= min(2, n) and (divide or max(map(len, parts)) <= most)
    assert [len(p) for p in mutual.groups(200)] == [50, 50, 50, 50]
    assert mutual.groups(6, 2)[0].tolist() == [0, 2, 4]
    with pytest.raises(InputError, match="divide_num"):
        mutual.groups(4, 0)
