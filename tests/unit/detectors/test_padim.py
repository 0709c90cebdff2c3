"""PaDiM: every place its own Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from oddwatch.core import InputError, Tokens
from oddwatch.detectors.image.padim import PaDiM


def one_place(values: list[float]) -> Tokens:
    x = np.array(values, np.float32).reshape(-1, 1, 1)
    return Tokens(x[:, 0], {"last": x}, (1, 1), np.ones((len(x), 2)), np.zeros((len(x), 2)))


def test_one_place_one_channel(toy_eyes):
    padim = PaDiM(encoder=toy_eyes(), layers=("last",), unit=False).fit(one_place([1, 2, 3]))
    assert padim.score(one_place([4])).values[0] == pytest.approx(1.99007, abs=1e-5)


def test_places_have_gaussians_of_the_drawn_channels(toy_eyes, plates):
    layers = ("block_6", "block_9")
    padim = PaDiM(encoder=toy_eyes(), layers=layers, channels=7, unit=False).fit(plates(18, 1))
    items = plates(2, 2)
    scores = padim._patches(toy_eyes().encode(items, layers))
    which = np.sort(np.random.default_rng(0).permutation(64)[:7])

    def chosen(pictures):
        tokens = toy_eyes().encode(pictures, layers)
        return np.concatenate([tokens.layers[n] for n in layers], -1)[..., which].astype(float)

    normal, seen = chosen(plates(18, 1)), chosen(items)
    for place in (0, 29, 63):
        inverse = np.linalg.inv(np.cov(normal[:, place], rowvar=False) + 0.01 * np.eye(7))
        for i in range(2):
            right = mahalanobis(seen[i, place], normal[:, place].mean(0), inverse)
            assert scores[i].ravel()[place] == pytest.approx(right, rel=1e-3)


def test_normals_added_later_are_as_good_as_all_at_once(toy_eyes, plates):
    normals, items = plates(16, 1), [*plates(3, 2), *plates(3, 3, odd=True)]
    whole = PaDiM(encoder=toy_eyes(), channels=20).fit(normals).score(items)
    later = PaDiM(encoder=toy_eyes(), channels=20).fit(normals[:5])
    later.score(items)
    np.testing.assert_allclose(later.add(normals[5:]).score(items).values, whole.values, rtol=1e-3)


def test_channels_are_drawn_by_the_seed_and_all_are_taken_where_there_are_few(toy_eyes, plates):
    items = plates(3, 2)
    found = [
        PaDiM(encoder=toy_eyes(), channels=channels, seed=seed).fit(plates(8, 1)).score(items).values
        for channels, seed in ((9, 0), (9, 1), (500, 0), (500, 1))
    ]
    assert not np.allclose(found[0], found[1]) and np.array_equal(found[2], found[3])


def test_a_part_at_the_wrong_place_is_odd_though_such_patches_are_normal_elsewhere(toy_eyes, plates):
    moved = [np.roll(p, 24, axis=0) for p in plates(4, 2)]
    padim = PaDiM(encoder=toy_eyes()).fit(plates(16, 1))
    assert padim.score(moved).values.min() > padim.score(plates(4, 2)).values.max()


def test_impossible_arguments_and_another_resolution_are_refused(toy_eyes, plates):
    for options in ({"channels": 0}, {"regular": 0.0}):
        with pytest.raises(InputError):
            PaDiM(encoder=toy_eyes(), **options)
    padim = PaDiM(encoder=toy_eyes()).fit(plates(3, 1))
    with pytest.raises(InputError, match="places"):
        padim.score(toy_eyes(224).encode(plates(1, 1), padim.layers))
