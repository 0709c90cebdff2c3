"""Densities of rows: the worked numbers, agreement with direct sums, what is left out of what, odd rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from oddwatch.core import InputError
from oddwatch.detectors.video.density import Mixture, Neighbours, pieces, thinned
from oddwatch.scoring.relate import minmax


def test_the_neighbours_of_the_specification():
    near = Neighbours().fit(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert near.score(np.array([[0.0, 1.0], [3.0, 0.0]])) == pytest.approx([1.0, 9.0])


def test_the_scale_of_the_specification():
    assert np.percentile(np.arange(1, 11), 99.9) == pytest.approx(9.991)
    scale = minmax(np.array([1.0, 4.0, 9.0]))
    assert scale(np.array([2.0, 5.0, 11.0])) == pytest.approx([0.125, 0.5, 1.25])


def test_rows_of_the_same_clip_are_left_out():
    rows = np.array([[0.0], [0.1], [5.0], [5.2]])
    near = Neighbours().fit(rows, np.array([0, 0, 1, 1]))
    assert near.held_out() == pytest.approx([25.0, 24.01, 24.01, 26.01], rel=1e-5)


def test_a_single_group_leaves_out_the_row_itself():
    assert Neighbours().fit(np.array([[0.0], [1.0], [3.0]])).held_out() == pytest.approx([1.0, 1.0, 4.0])
    assert Neighbours().fit(np.array([[2.0]])).held_out() == pytest.approx([0.0])


def test_several_neighbours_are_averaged():
    near = Neighbours(2).fit(np.array([[0.0], [1.0], [3.0]]))
    assert near.score(np.array([[0.0]])) == pytest.approx([0.5])


def test_neighbours_agree_with_all_pairs():
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(3000, 6)), rng.normal(size=(1500, 6))
    direct = np.square(new[:, None] - rows[None]).sum(2).min(1)
    assert Neighbours().fit(rows).score(new) == pytest.approx(direct, rel=1e-4)


def test_one_component_is_the_normal_density():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 3)) @ np.array([[2.0, 0, 0], [0.5, 1.0, 0], [0, 0.3, 0.1]])
    mixture = Mixture(1, floor=1e-9).fit(x)
    truth = -stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x)
    assert mixture.score(x) == pytest.approx(truth, abs=1e-4)


def test_the_standard_normal_of_the_specification():
    mixture = Mixture(1)
    mixture.weights, mixture.means, mixture.whiten = np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))
    assert mixture.score(np.array([[0.0], [1.0]])) == pytest.approx([0.918939, 1.418939], abs=1e-6)


def test_a_mixture_finds_its_parts():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal((0, 0), 0.5, (300, 2)), rng.normal((6, 1), 1.0, (100, 2))])
    mixture = Mixture(2).fit(x)
    order = np.argsort(mixture.means[:, 0])
    assert mixture.weights[order] == pytest.approx([0.75, 0.25], abs=0.01)
    assert mixture.means[order] == pytest.approx(np.array([[0, 0], [6, 1]]), abs=0.3)
    assert mixture.score(np.array([[3.0, 0.5]]))[0] > np.percentile(mixture.held_out(), 99)


def test_far_rows_do_not_overflow():
    mixture = Mixture(2).fit(np.random.default_rng(0).normal(size=(50, 2)))
    far = mixture.score(np.array([[1e6, 0.0], [1e7, 0.0]]))
    assert np.isfinite(far).all() and far[1] > far[0] > 1e9


def test_equal_rows_are_no_trouble():
    x = np.tile([[1.0, 2.0]], (10, 1))
    mixture = Mixture(5).fit(x)
    assert len(mixture.weights) == 1
    assert mixture.score(np.array([[1.0, 2.0]]))[0] < mixture.score(np.array([[1.1, 2.0]]))[0] < np.inf
    assert Neighbours().fit(x).held_out() == pytest.approx(np.zeros(10))


def test_kept_densities_score_the_same():
    x = np.random.default_rng(3).normal(size=(60, 4))
    mixture, near = Mixture(3).fit(x), Neighbours(2).fit(x, np.arange(60) // 20)
    assert np.array_equal(Mixture.restored(mixture.state()).score(x), mixture.score(x))
    again = Neighbours.restored(near.state(), 2)
    assert np.array_equal(again.score(x), near.score(x))
    assert np.array_equal(again.held_out(), near.held_out())


def test_equal_seeds_give_equal_mixtures():
    x = np.random.default_rng(4).normal(size=(400, 3))
    first, second = (Mixture(4, limit=200, seed=7).fit(x).score(x) for _ in range(2))
    assert np.array_equal(first, second)


def test_few_are_drawn_of_many():
    assert thinned(5, 10, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = thinned(1000, 10, 0)
    assert len(set(drawn.tolist())) == 10 and (np.diff(drawn) > 0).all()


def test_a_single_clip_is_cut_into_pieces():
    assert pieces(np.array([0, 0, 1]), np.array([5, 6, 7])).tolist() == [0, 0, 1]
    cut = pieces(np.zeros(17, int), np.arange(17))
    assert cut[0] == 0 and cut[-1] == 7 and (np.diff(cut) >= 0).all() and len(set(cut.tolist())) == 8
    assert pieces(np.zeros(2, int), np.array([3, 3])).tolist() == [0, 0]


@pytest.mark.parametrize("density", [Neighbours, Mixture])
def test_rows_that_cannot_be(density):
    with pytest.raises(InputError, match="at least one row"):
        density().fit(np.zeros((0, 3)))
    with pytest.raises(InputError, match="finite"):
        density().fit(np.array([[np.nan, 1.0]]))
    fitted = density().fit(np.eye(3))
    assert fitted.score(np.zeros((0, 3))).shape == (0,)
    with pytest.raises(InputError):
        fitted.score(np.zeros((2, 4)))
    with pytest.raises(InputError):
        density(0)
