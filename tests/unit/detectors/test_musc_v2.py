"""MuSc-V2: pooling by likeness, modalities that hear each other, clouds with dents from end to end."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from oddwatch.core import InputError
from oddwatch.detectors.image.musc_v2 import MuScV2, enhanced, exchanged
from oddwatch.detectors.image.points import Groups, read
from oddwatch.detectors.image.tokens import pool, unit

SMALL = {"points": 64, "group": 40}


def relief(seed: int, dent: bool = False, side: int = 40, depth: float = 0.12) -> np.ndarray:
    """An organised cloud (side, side, 3): a ridged plate with noise, its border missing; perhaps a dent."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    z = 1 + 0.05 * np.sin(9 * x) + rng.normal(0, 0.002, x.shape)
    if dent:
        cy, cx = rng.uniform(0.3, 0.7, 2)
        z -= depth * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.004)
    cloud = np.stack([x, y, z], -1)
    cloud[:2] = 0
    cloud[:, -2:] = np.nan
    return cloud


def ball(seed: int, dent: bool = False, n: int = 1500) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    if dent:
        pole = rng.normal(size=3)
        pole /= np.linalg.norm(pole)
        x *= 1 - 0.3 * np.exp(-((x - pole) ** 2).sum(1, keepdims=True) / 0.05)
    return x


@pytest.fixture
def musc(toy_eyes):
    def make(**options: object) -> MuScV2:
        return MuScV2(encoder=toy_eyes(), **options)

    return make


def test_snamd_of_a_centre_and_one_neighbour(musc):
    pair = np.array([[[0.0], [1.0]]])
    assert pool(pair, (1, 2), 3, "similar")[0, 0, 0] == pytest.approx(0.26894, abs=1e-5)
    layer = np.random.default_rng(0).normal(size=(2, 36, 5)).astype(np.float32)
    view = next(musc()._views(layer[None], (6, 6)))
    mean = sum(pool(layer, (6, 6), r, "similar") for r in (1, 3, 5)) / 3
    np.testing.assert_allclose(view, unit(mean), atol=1e-6)
    plain = next(musc(similar=False)._views(layer[None], (6, 6)))
    assert np.abs(plain - view).max() > 0.05


def test_rescoring_looks_at_the_token_of_the_highest_score(musc):
    x = np.random.default_rng(1).normal(size=(3, 2, 4, 5))
    patches = np.array([[0.0, 3, 1, 2], [5.0, 3, 1, 2]])
    np.testing.assert_allclose(
        musc()._features(x, np.zeros((2, 5)), patches), unit(x[1][[0, 1], [1, 0]]), atol=1e-6
    )
    assert musc()._features(x[:1], np.zeros((2, 5)), patches).shape == (2, 5)


def test_one_modality_hears_the_other_step_by_step():
    """Two other items, three tokens; the second modality finds the third token odd."""
    own = np.array([[0.1, 0.2, 0.3], [0.1, 0.4, 0.7]])
    other = np.array([[1.0, 2.0, 9.0], [1.5, 2.5, 8.0]])
    spread = np.array([0.0, 0.2, 0.4]) / np.sqrt(2)
    sure = 1 - spread[[0, 1, 2]]  # the deviations of ``other`` rank first and second equal, the third last
    heard = np.array([[0.1, 0.2, 0.7], [0.1, 0.3, 0.4]])
    np.testing.assert_allclose(np.sort(heard, axis=None), np.sort(own, axis=None))
    raised = np.maximum(own, heard) * sure
    order = np.argsort(raised, axis=None, kind="stable")
    again = np.empty(6)
    again[order] = np.sort(own, axis=None)
    expected = (own + again.reshape(2, 3)) / 2
    np.testing.assert_allclose(exchanged(own, other, np.ones(3, bool)), expected)


def test_tokens_without_a_point_hear_nothing_and_one_other_item_is_enough():
    own = np.array([[0.1, 0.3, 0.2]])
    loud = exchanged(own, np.array([[3.0, 1.0, 5.0]]), np.ones(3, bool))
    np.testing.assert_allclose(loud, [[0.1, 0.25, 0.25]])  # heard 0.2, 0.1, 0.3; at most 0.2, 0.3, 0.3
    partly = exchanged(own, np.array([[3.0, 1.0, 0.0]]), np.array([True, True, False]))
    np.testing.assert_allclose(partly, [[0.15, 0.3, 0.15]])  # heard 0.3, 0.1, none; at most 0.3, 0.3, 0.2
    np.testing.assert_allclose(exchanged(own, np.zeros((1, 3)), np.zeros(3, bool)), own)


def test_agreement_raises_and_keeps_the_scale():
    rng = np.random.default_rng(2)
    flat, solid = rng.uniform(0.1, 0.2, (6, 8)), rng.uniform(0.5, 0.7, (6, 8))
    solid[:, 3] = 1.9
    straight = sparse.eye_array(8, format="csr")
    tokens, parts = enhanced(flat, solid, straight, straight)
    gain = (tokens - flat).mean(0)
    assert gain.argmax() == 3 and gain[3] > 0.02
    assert flat.min() <= tokens.min() and tokens.max() <= flat.max()
    assert parts.mean(0).argmax() == 3 and solid.min() <= parts.min() and parts.max() <= solid.max()


def test_pictures_from_end_to_end(musc, plates):
    items = [*plates(8, 2), *plates(2, 3, odd=True)]
    scores = musc().score(items)
    assert scores.values[8:].min() > scores.values[:8].max()
    for change in ({"similar": False}, {"neighbours": ()}, {"radii": (1,)}, {"layers": ("block_6",)}):
        other = musc(**change).score(items).values
        assert np.isfinite(other).all() and np.abs(other - scores.values).max() > 1e-5, change
    with pytest.raises(InputError, match="at least two"):
        musc().score(items[:1])


def test_a_dent_in_a_relief_is_found_and_mapped(musc):
    clouds = [relief(i) for i in range(6)] + [relief(7, dent=True)]
    scores = musc(**SMALL).score_clouds(clouds)
    assert scores.values[6] > scores.values[:6].max()
    assert scores.maps is not None and scores.maps.shape == (7, 40, 40) and np.isfinite(scores.maps).all()
    dented = read(clouds[6])
    deepest = dented.points[:, 2].argmin()
    hottest = dented.points[scores.points[6].argmax()]
    assert np.linalg.norm(hottest[:2] - dented.points[deepest][:2]) < 0.15
    assert len(scores.points[6]) == len(dented.points) == 38 * 38


def test_a_dent_in_a_ball_without_order_is_found(musc):
    clouds = [ball(i) for i in range(5)] + [ball(6, dent=True, n=1300)]
    scores = musc(**SMALL, neighbours=()).score_clouds(clouds)
    assert scores.maps is None and [len(p) for p in scores.points] == [1500] * 5 + [1300]
    assert scores.values[5] > scores.values[:5].max()
    radius = np.linalg.norm(clouds[5], axis=1)
    top = scores.points[5].argsort()[-50:]
    assert radius[top].mean() < radius.mean()


def test_pictures_and_clouds_together(musc, plates):
    """One item is odd in its picture only, one in its cloud only: both come out on top."""
    clouds = [relief(i) for i in range(6)] + [relief(6), relief(8, dent=True)]
    pictures = [*plates(6, 2), *plates(1, 3, odd=True), *plates(1, 4)]
    both = musc(**SMALL, neighbours=()).score_clouds(clouds, pictures)
    assert set(both.values.argsort()[-2:]) == {6, 7}
    assert both.maps is not None and both.maps.shape == (8, 40, 40)
    apart = musc(**SMALL, neighbours=(), cross=False).score_clouds(clouds, pictures)
    assert np.abs(apart.values - both.values).max() > 1e-3
    alone = musc(**SMALL, neighbours=()).score_clouds(clouds)
    flat = musc(neighbours=()).score(pictures)
    assert flat.maps is not None and alone.maps is not None and apart.maps is not None
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        sides = [one.maps[(slice(None), *corner)] for one in (apart, alone, flat)]
        np.testing.assert_allclose(sides[0], sides[1] + sides[2], atol=1e-5)


def test_a_learnt_encoder_plugs_in(musc):
    def heights(groups: Groups) -> list[np.ndarray]:
        z = np.sort(groups.neighbourhoods[..., 2], axis=1).astype(np.float32)
        return [z + 0.01, np.abs(z) + 0.01]

    clouds = [relief(i) for i in range(4)] + [relief(5, dent=True)]
    scores = musc(**SMALL, neighbours=()).score_clouds(clouds, point_encoder=heights)
    assert np.isfinite(scores.values).all() and len(set(scores.values.round(6))) == 5
    with pytest.raises(InputError, match="point_encoder"):
        musc(**SMALL).score_clouds(clouds, point_encoder=lambda groups: [])


def test_two_alike_and_wrong_batches(musc, plates):
    same = musc(**SMALL).score_clouds([relief(0), relief(0)])
    assert np.isfinite(same.values).all() and same.values.max() < 1e-2
    assert musc().score_clouds([]).values.shape == (0,)
    flat = ball(0)
    for clouds, pictures, why in (
        ([relief(0)], None, "at least two"),
        ([relief(0), relief(1, side=20)], None, "one shape"),
        ([relief(0), flat], None, "one shape"),
        ([flat, flat], plates(2, 1), "not organised"),
        ([relief(0), relief(1)], plates(3, 1), "one a cloud"),
        ([relief(0), np.zeros((4, 4))], None, r"clouds\[1\]"),
    ):
        with pytest.raises(InputError, match=why):
            musc(**SMALL).score_clouds(clouds, pictures)
