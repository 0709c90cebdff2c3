"""The bank of normal tokens and its coreset: worked numbers, the literal loop, an index that errs little."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.image import bank as banks
from oddwatch.detectors.image import coreset
from oddwatch.detectors.image.bank import MemoryBank
from oddwatch.detectors.image.coreset import k_centre, projection_size, sparse_projection


def literal(points: np.ndarray, keep: int, start: int) -> list[int]:
    """Every new centre compared with every point, in float64."""
    x = points.astype(np.float64)
    best, out = ((x - x[start]) ** 2).sum(1), [start]
    while len(out) < keep:
        best[out[-1]] = -1
        out.append(int(best.argmax()))
        best = np.minimum(best, ((x - x[out[-1]]) ** 2).sum(1))
    return out


def test_coreset_of_five_numbers():
    points = np.array([[0], [1], [2], [10], [11]], np.float32)
    assert k_centre(points, 3, start=0).tolist() == [0, 4, 2]
    assert MemoryBank().add(points).coreset(3, start=0).vectors.ravel().tolist() == [0, 11, 2]


def test_farthest_point_sampling_of_four_points():
    points = np.array([[0, 0], [1, 0], [0, 3], [4, 0]], np.float32)
    assert k_centre(points, 3, start=0).tolist() == [0, 3, 2]


@pytest.mark.parametrize(("n", "d", "keep"), [(50, 3, 50), (700, 2, 300), (900, 24, 200)])
@pytest.mark.parametrize("round_size", [16, 2048])
def test_the_lazy_search_takes_what_the_literal_loop_takes(n, d, keep, round_size, monkeypatch):
    monkeypatch.setattr(coreset, "ROUND", round_size)
    points = np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)
    assert k_centre(points, keep, start=3).tolist() == literal(points, keep, 3)


def test_equal_distances_go_to_the_first_and_equal_points_are_taken_once(monkeypatch):
    monkeypatch.setattr(coreset, "ROUND", 32)
    points = np.random.default_rng(0).integers(0, 3, size=(800, 4)).astype(np.float32)
    taken = k_centre(points, 200, start=5)
    assert len(taken) == len(np.unique(points, axis=0)) == 81
    assert taken.tolist() == literal(points, 81, 5)
    assert k_centre(np.ones((9, 2), np.float32), 4, start=2).tolist() == [2]


def test_points_in_half_precision_and_centres_there_already():
    points = np.random.default_rng(1).normal(size=(600, 8)).astype(np.float16)
    whole = k_centre(points, 90, start=0)
    assert whole.tolist() == literal(points, 90, 0)
    assert k_centre(points, 60, given=points[whole[:30]]).tolist() == whole[30:].tolist()


def test_a_share_a_seed_a_limit_and_a_projection():
    points = np.random.default_rng(2).normal(size=(400, 32)).astype(np.float32)
    assert len(k_centre(points, 0.1)) == 40 and len(k_centre(points, 0.001)) == 1
    assert k_centre(points, 9, seed=4).tolist() == k_centre(points, 9, seed=4).tolist()
    assert k_centre(points, 9, seed=4)[0] != k_centre(points, 9, seed=5)[0]
    few = k_centre(points, 0.5, start=7, limit=50)
    assert few[0] == 7 and len(few) == len(set(few.tolist())) == 50
    islands = np.repeat(20 * points[:40], 10, axis=0) + points
    near = k_centre(islands, 40, start=7, projection=16)
    assert sorted(near // 10) == list(range(40))


@pytest.mark.parametrize(
    "wrong", [{"keep": 0}, {"keep": 0.0}, {"keep": 1.5}, {"keep": 2, "start": 9}, {"keep": 2, "limit": 0}]
)
def test_an_impossible_selection_is_refused(wrong):
    with pytest.raises(InputError):
        k_centre(np.zeros((5, 2), np.float32), **wrong)


def test_points_that_cannot_be_compared_are_refused():
    for points in (np.zeros((0, 3)), np.zeros(4), np.array([[0.0], [np.nan]])):
        with pytest.raises(InputError, match="points"):
            k_centre(points, 1)


def test_sizes_of_random_projections():
    assert [projection_size(n) for n in (1000, 10_000, 219_520)] == [170, 227, 303]
    with pytest.raises(InputError):
        projection_size(1000, 1.0)


def test_a_sparse_projection_keeps_distances_on_average():
    matrix = sparse_projection(400, 200, seed=3)
    values = np.unique(np.abs(matrix))
    np.testing.assert_allclose(values, [0, np.sqrt(1 / (0.05 * 200))], rtol=1e-6)
    assert np.mean(matrix != 0) == pytest.approx(0.05, abs=0.005)
    x = np.random.default_rng(0).normal(size=(200, 400)).astype(np.float32)
    before, after = np.linalg.norm(x, axis=1), np.linalg.norm(x @ matrix, axis=1)
    assert (after / before).mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_neighbours_are_those_of_the_whole_distance_matrix(metric, k, monkeypatch):
    monkeypatch.setattr(banks, "VECTORS", 32)
    monkeypatch.setattr(banks, "QUERIES", 16)
    rng = np.random.default_rng(k)
    vectors, queries = rng.normal(size=(100, 6)), rng.normal(size=(50, 6))
    if metric == "cosine":
        u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, vectors))
        table = 1 - u @ v.T
    else:
        table = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    bank = MemoryBank(metric)
    bank.add(vectors[:70]).add(vectors[70:])
    distances, indices = bank.knn(queries, k)
    assert np.array_equal(indices, np.argsort(table, axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(table, axis=1)[:, :k], rtol=1e-4, atol=1e-6)


def test_cosine_of_two_vectors():
    bank = MemoryBank("cosine").add(np.array([[0, 1], [0.5**0.5, 0.5**0.5]]))
    distance, index = bank.knn(np.array([[1.0, 0.0]]))
    assert distance[0, 0] == pytest.approx(0.29289, abs=1e-5) and index[0, 0] == 1


def test_a_vector_is_at_no_distance_from_itself_and_the_first_of_equals_is_named():
    vectors = 1000 + np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    bank = MemoryBank().add(np.concatenate([vectors, vectors]))
    distances, indices = bank.knn(vectors, 2)
    assert not distances.any() and np.array_equal(indices, np.stack([np.arange(20), np.arange(20) + 20], 1))


def test_half_precision_changes_little_and_takes_half():
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(500, 16)).astype(np.float32), rng.normal(size=(40, 16))
    whole, half = MemoryBank().add(vectors), MemoryBank(half=True).add(vectors)
    assert half.vectors.nbytes * 2 == whole.vectors.nbytes
    np.testing.assert_allclose(half.knn(queries)[0], whole.knn(queries)[0], rtol=1e-3)
    with pytest.raises(InputError, match="finite"):
        MemoryBank(half=True).add(np.full((1, 2), 1e6))


def test_approximate_neighbours_err_little(monkeypatch):
    monkeypatch.setattr(banks, "ANN_FROM", 1000)
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(6200, 6)) @ rng.normal(size=(6, 32)) + 0.05 * rng.normal(size=(6200, 32))
    vectors, queries = np.split(hidden.astype(np.float32), [6000])
    exact, right = MemoryBank().add(vectors).knn(queries, 3)
    near, index = MemoryBank(engine="ann", half=True).add(vectors).knn(queries, 3)
    assert (index[:, 0] == right[:, 0]).mean() > 0.9
    assert (near / exact).mean() < 1.02 and (near[:, 1:] >= near[:, :-1]).all()
    same = MemoryBank(engine="ann").add(np.ones((1000, 4)))
    assert same.knn(np.zeros((1, 4)), 900)[0] == pytest.approx(2.0)
    again = MemoryBank(engine="ann", half=True).add(vectors).knn(queries, 3)[1]
    assert np.array_equal(index, again)


def test_impossible_questions_are_refused():
    bank = MemoryBank().add(np.zeros((3, 2)))
    for call in (
        lambda: bank.knn(np.zeros((1, 2)), 4),
        lambda: bank.knn(np.zeros((1, 3))),
        lambda: bank.add(np.zeros((1, 3))),
        lambda: bank.add(np.array([[np.inf, 0]])),
        lambda: MemoryBank().knn(np.zeros((1, 2))),
        lambda: MemoryBank("manhattan"),
        lambda: MemoryBank(engine="guess"),
    ):
        with pytest.raises(InputError):
            call()
