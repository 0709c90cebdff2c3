"""Gaussians of few rows, in subspaces, and per place: the worked numbers, and equality with the plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from oddwatch.core import InputError
from oddwatch.detectors.image.density import (
    Gaussian,
    Moments,
    PositionMoments,
    chi_square_threshold,
    ledoit_wolf,
    position_distances,
)

FOUR = np.array([[2, 0], [-2, 0], [0, 1], [0, -1]], float)


def test_ledoit_and_wolf_on_four_points():
    covariance, share = ledoit_wolf(FOUR)
    assert share == pytest.approx(0.944444, abs=1e-6)
    assert share == pytest.approx(0.53125 / 0.5625)
    np.testing.assert_allclose(covariance, np.diag([1.291667, 1.208333]), atol=1e-6)


def test_distances_with_and_without_shrinkage():
    x = np.array([[2.0, 1.0]])
    assert Gaussian.fit(FOUR, shrink=False).distance(x)[0] == pytest.approx(2.0, abs=1e-5)
    assert Gaussian.fit(FOUR).distance(x)[0] == pytest.approx(1.9810, abs=5e-5)


def test_shrinkage_is_the_published_formula():
    """Ledoit and Wolf's own symbols, term by term: d², b̄² and their ratio."""
    x = np.random.default_rng(0).normal(size=(30, 7)) * np.arange(1, 8)
    x = x - x.mean(0)
    n, p = x.shape
    s = x.T @ x / n
    m = np.trace(s) / p
    d2 = ((s - m * np.eye(p)) ** 2).sum() / p
    b2 = sum(((np.outer(r, r) - s) ** 2).sum() for r in x) / p / n**2
    covariance, share = ledoit_wolf(x)
    assert share == pytest.approx(min(b2, d2) / d2)
    np.testing.assert_allclose(covariance, (1 - share) * s + share * m * np.eye(p))


def test_few_rows_of_many_numbers_have_a_distance():
    x = np.random.default_rng(1).normal(size=(5, 40))
    g = Gaussian.fit(x)
    covariance, _ = ledoit_wolf(x)
    query = np.random.default_rng(2).normal(size=(3, 40))
    right = [mahalanobis(q, x.mean(0), np.linalg.inv(covariance)) for q in query]
    np.testing.assert_allclose(g.distance(query), right)


def test_leading_and_trailing_components_together_are_all():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 6)) * [10, 5, 2, 1, 0.5, 0.1]
    query = rng.normal(size=(8, 6))
    parts = [Gaussian.fit(x, kind, 0.95) for kind in ("pca", "npca")]
    assert [g.whiten.shape[1] for g in parts] == [2, 4]
    both = sum(g.distance(query) ** 2 for g in parts)
    np.testing.assert_allclose(both, Gaussian.fit(x).distance(query) ** 2)
    odd = x.mean(0) + np.array([0, 0, 0, 0, 0, 5])
    assert parts[1].distance(odd[None])[0] > 10 * parts[0].distance(odd[None])[0]


@pytest.mark.parametrize("kind", ["full", "pca", "npca"])
@pytest.mark.parametrize("rows", [np.ones((1, 4)), np.ones((6, 4)), np.zeros((2, 4))])
def test_rows_that_do_not_vary_give_finite_distances(kind, rows):
    found = Gaussian.fit(rows, kind).distance(np.array([[1, 2, 3, 4.0], rows[0]]))
    assert np.isfinite(found).all() and found[0] > found[1]


def test_chi_square_thresholds():
    for width, value in ((1, 3.0000), (2, 3.4393), (48, 8.9306), (1792, 44.3064)):
        assert chi_square_threshold(width) == pytest.approx(value, abs=1e-4)


def test_one_place_one_channel():
    moments = PositionMoments()
    for value in (1, 2, 3):
        moments.add(np.full((1, 1, 1), value, np.float32))
    assert moments.mean[0, 0] == pytest.approx(2)
    assert moments.scatter[0, 0, 0] / 2 + 0.01 == pytest.approx(1.01)
    distance = position_distances(np.full((1, 1, 1), 4.0), moments.mean, moments.whitening(0.01))
    assert distance[0, 0] == pytest.approx(1.99007, abs=1e-5)


@pytest.mark.parametrize("chunks", [[20], [1, 19], [7, 6, 7]])
def test_chunks_of_pictures_give_the_gaussians_of_all(chunks):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(20, 70, 5)) + 3 * rng.normal(size=(70, 5))).astype(np.float32)
    moments = PositionMoments()
    for part in np.split(x, np.cumsum(chunks)[:-1]):
        moments.add(part)
    query = rng.normal(size=(3, 70, 5))
    found = position_distances(query, moments.mean, moments.whitening(0.01))
    for p in (0, 37, 69):
        inverse = np.linalg.inv(np.cov(x[:, p], rowvar=False) + 0.01 * np.eye(5))
        right = [mahalanobis(q[p], x[:, p].mean(0), inverse) for q in query]
        np.testing.assert_allclose(found[:, p], right, rtol=1e-3)


def test_moments_in_chunks_are_those_of_all():
    x = np.random.default_rng(5).normal(size=(50, 4)) + 9
    moments = Moments()
    for part in np.split(x, [10, 11, 40]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.scatter / 49, np.cov(x, rowvar=False), rtol=1e-4, atol=1e-5)


def test_impossible_arguments_are_refused():
    for call in (
        lambda: ledoit_wolf(np.zeros((0, 3))),
        lambda: Gaussian.fit(FOUR, "some"),
        lambda: Gaussian.fit(FOUR, "pca", 0.0),
        lambda: chi_square_threshold(0),
        lambda: chi_square_threshold(2, 1.0),
    ):
        with pytest.raises(InputError):
            call()
    moments = PositionMoments()
    moments.add(np.zeros((2, 4, 3)))
    with pytest.raises(InputError, match="tokens"):
        moments.add(np.zeros((2, 5, 3)))
