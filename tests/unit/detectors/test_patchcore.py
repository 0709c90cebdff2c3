"""PatchCore: neighbourhoods, coreset, nearest distance, the paper's weight."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, Tokens
from oddwatch.detectors.image.bank import MemoryBank
from oddwatch.detectors.image.patchcore import PatchCore, reweighted
from oddwatch.detectors.image.tokens import pool


def points(rows: list[tuple[float, ...]]) -> Tokens:
    """Every row the one token of a picture."""
    x = np.array(rows, np.float32)[:, None]
    return Tokens(x[:, 0], {"last": x}, (1, 1), np.ones((len(x), 2)), np.zeros((len(x), 2)))


def test_mean_of_three_by_three_counts_the_zeros_outside():
    found = pool(np.ones((1, 9, 1)), (3, 3), 3).ravel()
    np.testing.assert_allclose(found, np.array([4, 6, 4, 6, 9, 6, 4, 6, 4]) / 9, rtol=1e-6)


def test_the_papers_weight():
    bank = MemoryBank().add(np.array([[0, 0], [1, 0], [5, 5]]))
    query = np.array([[2.0, 0.0]], np.float32)
    assert bank.knn(query)[0][0, 0] == 1
    assert reweighted(query, bank, 2)[0] == pytest.approx(0.73106, abs=1e-5)
    assert reweighted(query, MemoryBank().add(np.zeros((1, 2))))[0] == 1


def test_scores_with_and_without_the_weight(toy_eyes):
    normal, odd = points([(0, 0), (1, 0), (5, 5)]), points([(2, 0)])
    plain = {"encoder": toy_eyes(), "layers": ("last",), "keep": 1.0, "side": 1, "unit": False}
    assert PatchCore(**plain).fit(normal).score(odd).values[0] == pytest.approx(1)
    weighted = PatchCore(**plain, reweight=True, neighbours=2).fit(normal).score(odd).values[0]
    assert weighted == pytest.approx(0.73106, abs=1e-5)


def test_a_share_of_the_patches_is_kept_and_covers_the_rest(toy_eyes, plates):
    normals = plates(8, 1)
    whole = PatchCore(encoder=toy_eyes(), keep=1.0).fit(normals)
    tenth = PatchCore(encoder=toy_eyes()).fit(normals)
    assert len(tenth.vectors) == int(0.1 * 8 * 64)
    assert {tuple(v) for v in tenth.vectors} <= {tuple(v) for v in whole.vectors}
    drawn = whole.vectors[np.random.default_rng(0).permutation(len(whole.vectors))[:51]]
    far = [MemoryBank().add(v).knn(whole.vectors)[0].max() for v in (tenth.vectors, drawn)]
    assert far[0] < far[1]


def test_normal_pictures_lie_near_and_the_map_is_their_distance(toy_eyes, plates):
    normals = plates(6, 1)
    detector = PatchCore(encoder=toy_eyes(), keep=1.0, sigma=0).fit(normals)
    known = detector.score(normals)
    odd = detector.score(plates(4, 3, odd=True))
    assert known.values.max() < 1e-3 < odd.values.min()
    middles = odd.maps.max((1, 2))
    assert (middles <= odd.values * (1 + 1e-6)).all() and (middles > 0.9 * odd.values).all()


def test_normals_added_later_are_known(toy_eyes, plates):
    stained = plates(6, 3, odd=True)
    detector = PatchCore(encoder=toy_eyes(), keep=0.5).fit(plates(6, 1))
    before, size = detector.score(stained).values, len(detector.vectors)
    kept = detector.vectors.copy()
    after = detector.add(stained).score(stained).values
    assert (after < 0.5 * before).all()
    assert np.array_equal(detector.vectors[:size], kept) and len(detector.vectors) <= size + 6 * 64 // 2
    assert len(detector.add([]).vectors) == len(detector.vectors)


def test_options_change_what_they_say(toy_eyes, plates):
    items = plates(3, 3, odd=True)
    found = [
        PatchCore(encoder=toy_eyes(), **options).fit(plates(8, 1)).score(items).values
        for options in ({}, {"side": 1}, {"unit": False}, {"keep": 0.01}, {"layers": ("block_9",)})
    ]
    assert all(not np.allclose(a, b) for i, a in enumerate(found) for b in found[:i])
    limited = PatchCore(encoder=toy_eyes(), limit=100, projection=8).fit(plates(8, 1))
    assert len(limited.vectors) == 51


def test_an_impossible_share_is_refused(toy_eyes, plates):
    with pytest.raises(InputError, match="keep"):
        PatchCore(encoder=toy_eyes(), keep=0.0).fit(plates(1, 1))
