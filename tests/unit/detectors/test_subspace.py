"""SubspaceAD: worked numbers, measures of its ablation, adding and leaving out, no normals at all."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, Tokens
from oddwatch.detectors.image import base, maps
from oddwatch.detectors.image.density import Moments, components, principal, residual
from oddwatch.detectors.image.subspace import SubspaceAD

RNG = np.random.default_rng(5)
LINE = np.array([[0, 0], [1, 1], [2, 2], [3, 3]], np.float32)


def tokens_of(x: np.ndarray, grid: tuple[int, int], names: tuple[str, ...] = ("last",)) -> Tokens:
    """``x`` (B, T, D) as the tokens of each of ``names``."""
    n = len(x)
    layers = {name: x.astype(np.float32) for name in names}
    return Tokens(np.zeros((n, x.shape[2])), layers, grid, np.ones((n, 2)), np.zeros((n, 2)))


def subspace(**more) -> SubspaceAD:
    return SubspaceAD(encoder="none", layers=("last",), **more)


def test_check_points_on_a_line() -> None:
    moments = Moments()
    moments.add(LINE)
    mean, basis = principal(moments, 0.99)
    np.testing.assert_allclose(mean, [1.5, 1.5])
    np.testing.assert_allclose(np.linalg.eigvalsh(moments.scatter / 3), [0, 10 / 3], atol=1e-6)
    assert basis.shape == (2, 1)
    centred = np.array([2, 0]) - mean
    assert abs(centred @ basis[:, 0]) == pytest.approx(0.70711, abs=1e-5)
    np.testing.assert_allclose(
        residual(np.array([[2, 0], [7, 7]], np.float32), mean, basis), [2.0, 0.0], atol=1e-5
    )


def test_check_the_same_through_the_detector() -> None:
    detector = subspace(sigma=0.0).fit(tokens_of(LINE[None], (2, 2)))
    patches = detector._patches(tokens_of(np.array([[[2, 0], [7, 7]]]), (1, 2)))
    np.testing.assert_allclose(patches, [[[2.0, 0.0]]], atol=1e-5)


@pytest.mark.parametrize(("variance", "expected"), [(0.9, 1), (0.95, 2), (0.99, 2), (1.0, 3)])
def test_check_components_of_explained_variance(variance: float, expected: int) -> None:
    assert components(np.array([0.9, 0.09, 0.01]), variance) == expected


def test_all_variance_explains_everything() -> None:
    x = RNG.normal(size=(1, 100, 5))
    scores = subspace(variance=1.0).fit(tokens_of(x, (10, 10))).score(tokens_of(x * 3, (10, 10)))
    np.testing.assert_allclose(scores.values, 0, atol=1e-4)


def test_layers_are_averaged() -> None:
    a, b = RNG.normal(size=(2, 3, 16, 6)).astype(np.float32)
    n = len(a)
    both = Tokens(np.zeros((n, 6)), {"a": a, "b": b}, (4, 4), np.ones((n, 2)), np.zeros((n, 2)))
    found = SubspaceAD(encoder="none", layers=("a", "b"), variance=0.7).fit(both).score(both)
    mean = tokens_of((a + b) / 2, (4, 4))
    np.testing.assert_allclose(found.values, subspace(variance=0.7).fit(mean).score(mean).values, rtol=1e-4)


def test_the_score_is_the_mean_of_the_highest_percent_of_pixels() -> None:
    normal = tokens_of(RNG.normal(size=(4, 64, 6)) * [3, 3, 1, 0.1, 0.1, 0.1], (8, 8))
    detector = subspace(variance=0.9).fit(normal)
    scores = detector.score(normal)
    assert scores.maps.shape == (4, 112, 112)
    top = np.sort(scores.maps.reshape(4, -1).astype(float), axis=1)[:, -int(0.01 * 112 * 112) :]
    np.testing.assert_allclose(scores.values, top.mean(1), rtol=1e-6)


def test_the_kernel_is_the_authors_and_smooths_less() -> None:
    normal = tokens_of(RNG.normal(size=(3, 64, 6)), (8, 8))
    query = RNG.normal(size=(1, 64, 6))
    query[0, 27] += 20
    theirs, all_taps = (
        subspace(variance=0.9, **more).fit(normal).score(tokens_of(query, (8, 8)))
        for more in ({}, {"kernel": None})
    )
    assert theirs.maps.max() > all_taps.maps.max()
    patches = subspace(variance=0.9).fit(normal)._patches(tokens_of(query, (8, 8)))
    np.testing.assert_allclose(theirs.maps, maps.upsample(patches, (112, 112), sigma=4, kernel=3), rtol=1e-5)


def test_measures_of_the_ablation_by_hand() -> None:
    # Spread 3, 2 and almost none along the axes; the subspace is the first two.
    x = np.array([[13, 0, 0.0], [7, 0, 0], [10, 2, 0], [10, -2, 0]])
    query = tokens_of(np.array([[[16, 4, 1.0]]]), (1, 1))
    by = {
        m: subspace(measure=m, variance=0.99).fit(tokens_of(x[None], (2, 2)))._patches(query)[0, 0, 0]
        for m in ("residual", "euclidean", "mahalanobis", "cosine")
    }
    assert by["residual"] == pytest.approx(1, abs=1e-4)
    assert by["euclidean"] == pytest.approx(36 + 16, abs=1e-3)
    # Variances 18/3 and 8/3.
    assert by["mahalanobis"] == pytest.approx(36 / 6 + 16 / (8 / 3), abs=1e-3)
    assert by["cosine"] == pytest.approx(1 - (272 / (272 * 273) ** 0.5), abs=1e-4)


def test_dropped_components_count_as_unexplained() -> None:
    x = np.array([[3, 0, 0.0], [-3, 0, 0], [0, 2, 0], [0, -2, 0]])
    query = tokens_of(np.array([[[5, 4, 1.0]]]), (1, 1))
    found = [subspace(drop=d).fit(tokens_of(x[None], (2, 2)))._patches(query)[0, 0, 0] for d in (0, 1, 2, 9)]
    np.testing.assert_allclose(found, [1, 26, 42, 42], atol=1e-3)


def test_added_normals_give_the_fit_of_all_also_after_loading(toy_eyes, plates, tmp_path) -> None:
    normals, items = plates(6, 1), [*plates(3, 2), *plates(3, 3, odd=True)]
    whole = SubspaceAD(encoder=toy_eyes(), rotations=4).fit(normals)
    parts = SubspaceAD(encoder=toy_eyes(), rotations=4).fit(normals[:2]).add(normals[2:4]).add([])
    parts = base.load(parts.save(tmp_path / "s"), encoder=toy_eyes()).add(normals[4:])
    assert parts.counts.tolist() == whole.counts.tolist() == [6, 6 * 5 * 64]
    np.testing.assert_allclose(parts.score(items).values, whole.score(items).values, rtol=1e-3)
    with pytest.raises(InputError, match="fit"):
        SubspaceAD(encoder=toy_eyes()).add(normals)


def test_turning_stops_where_normals_become_many(toy_eyes, plates) -> None:
    detector = SubspaceAD(encoder=toy_eyes(), rotations=4, few=4).fit(plates(3, 1)).add(plates(2, 2))
    assert detector.counts.tolist() == [5, (3 * 5 + 2) * 64]


def test_leaving_out_equals_fitting_to_the_rest(toy_eyes, plates) -> None:
    normals, items = plates(5, 1), [*plates(2, 2), *plates(2, 3, odd=True)]
    folds = [np.array([0, 2]), np.array([1])]
    detector = SubspaceAD(encoder=toy_eyes(), rotations=2)
    for fold, apart in zip(folds, detector.fit_apart(normals, folds), strict=True):
        rest = [normals[i] for i in range(5) if i not in fold]
        other = SubspaceAD(encoder=toy_eyes(), rotations=2).fit(rest)
        assert apart.counts.tolist() == other.counts.tolist()
        np.testing.assert_allclose(apart.score(items).values, other.score(items).values, rtol=1e-3)
    whole = SubspaceAD(encoder=toy_eyes(), rotations=2).fit(normals)
    np.testing.assert_allclose(detector.score(items).values, whole.score(items).values, rtol=1e-3)


def test_unlabelled_pictures_are_their_own_normals(toy_eyes, plates) -> None:
    items = [*plates(10, 2), *plates(2, 3, odd=True)]
    scores = SubspaceAD.zero_shot(items, encoder=toy_eyes(), variance=0.95)
    assert scores.values[10:].min() > scores.values[:10].max()
    fitted = SubspaceAD(encoder=toy_eyes(), variance=0.95, rotations=0).fit(items).score(items)
    np.testing.assert_array_equal(scores.values, fitted.values)
    with pytest.raises(InputError, match="normal"):
        SubspaceAD.zero_shot([], encoder=toy_eyes())


def test_it_stops_the_encoder_at_its_deepest_layer(toy_eyes, plates) -> None:
    asked = []

    class Early(toy_eyes):
        def encode_up_to(self, frames, layers):
            asked.append(tuple(layers))
            return super().encode(frames, layers)

    SubspaceAD(encoder=Early(), rotations=0).fit(plates(2, 1))
    assert asked == [("block_6", "block_7", "block_8", "block_9")]


@pytest.mark.parametrize(
    ("name", "wrong"), [("measure", "plain"), ("drop", -1), ("variance", 0.0), ("variance", 1.2)]
)
def test_wrong_arguments_are_named(name: str, wrong: object) -> None:
    with pytest.raises(InputError, match=name):
        subspace(**{name: wrong})
