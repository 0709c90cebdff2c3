"""MVG: a distance a level, summed; more normals later are as good as all at once."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.image.density import Gaussian
from oddwatch.detectors.image.mvg import MVG


def test_the_score_is_the_sum_of_the_levels_distances(toy_eyes, plates):
    layers = ("block_3", "block_9")
    mvg = MVG(encoder=toy_eyes(), layers=layers).fit(plates(14, 1))
    items = plates(3, 2)
    levels = mvg.levels(items)
    normal, seen = (toy_eyes().encode(p, layers).layers for p in (plates(14, 1), items))
    for i, name in enumerate(layers):
        np.testing.assert_allclose(
            levels[:, i], Gaussian.fit(normal[name].mean(1)).distance(seen[name].mean(1)), rtol=1e-3
        )
    scores = mvg.score(items)
    assert scores.maps is None
    np.testing.assert_allclose(scores.values, levels.sum(1))


@pytest.mark.parametrize("kind", ["full", "pca", "npca"])
def test_normals_added_later_are_as_good_as_all_at_once(kind, toy_eyes, plates):
    normals, items = plates(16, 1), [*plates(3, 2), *plates(3, 3, odd=True)]
    whole = MVG(encoder=toy_eyes(), kind=kind).fit(normals).score(items)
    later = MVG(encoder=toy_eyes(), kind=kind).fit(normals[:5]).add(normals[5:9]).add(normals[9:])
    np.testing.assert_allclose(later.score(items).values, whole.values, rtol=1e-6)
    assert len(later.pooled) == 16


def test_shrinkage_and_variants_are_arguments(toy_eyes, plates):
    items = [*plates(4, 2), *plates(4, 3, odd=True)]
    found = [
        MVG(encoder=toy_eyes(), layers=("block_6",), **options).fit(plates(40, 1)).score(items).values
        for options in ({}, {"shrink": False}, {"kind": "pca"}, {"kind": "npca"})
    ]
    for i, one in enumerate(found):
        assert np.isfinite(one).all()
        assert not any(np.allclose(one, other) for other in found[:i])
    for i in (0, 1, 3):
        assert found[i][4:].min() > found[i][:4].max()


def test_adding_needs_a_fitted_detector(toy_eyes, plates):
    with pytest.raises(InputError, match="fit"):
        MVG(encoder=toy_eyes()).add(plates(2, 1))
