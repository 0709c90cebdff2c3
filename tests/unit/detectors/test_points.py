"""Point clouds in groups: the worked numbers, growth along a surface, features that know a dent, the way back."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.image import points


def plane(n: int = 600, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 3))
    x[:, 2] = 0
    return x


def test_farthest_of_four_points():
    x = np.array([[0, 0], [1, 0], [0, 3], [4, 0]])
    assert points.farthest(x, 3, 0).tolist() == [0, 3, 2]
    with pytest.raises(InputError, match="1 to 4"):
        points.farthest(x, 5)


def test_curvature_of_eigenvalues():
    assert points.curvature(np.array([0.001, 0.5, 0.5])) == pytest.approx(0.000999, abs=1e-6)
    assert points.curvature(np.array([0.001, 0.5, 0.5])) < points.FLAT
    assert points.curvature(np.array([0.2, 0.2, 0.2])) == pytest.approx(1 / 3)
    assert points.curvature(np.zeros(3)) == 0


def test_flat_groups_are_the_nearest_points():
    groups = points.grouped(plane(), 20, 32, 20)
    assert groups.members.shape == (20, 32) and (groups.curvature < 1e-12).all()
    for centre, members in zip(groups.centres, groups.members, strict=True):
        distances = ((groups.points - groups.points[centre]) ** 2).sum(1)
        assert set(members) == set(np.argsort(distances, kind="stable")[:32])


def test_growth_stays_on_its_sheet():
    """Two parallel sheets a little apart: the nearest points jump over, growth does so less."""
    rng = np.random.default_rng(0)
    sheet = rng.uniform(0, 1, (900, 2))
    lower = np.c_[sheet, np.zeros(900)]
    upper = np.c_[rng.uniform(0, 1, (900, 2)), np.full(900, 0.15)]
    x = np.concatenate([lower, upper])
    grown, near = points.grouped(x, 60, 128, 30), points.grouped(x, 60, 128, 30, grow=False)

    def other_side(groups: points.Groups) -> float:
        height = groups.points[groups.members][..., 2] - groups.points[groups.centres][:, None, 2]
        return float((np.abs(height) > 0.06).mean())

    assert other_side(near) > 0.1
    assert other_side(grown) < 0.5 * other_side(near)
    assert all(len(set(m)) == 128 for m in grown.members)


def test_growth_is_the_plain_greedy_rule():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 3))
    groups = points.grouped(x, 4, 24, 10)
    for centre, members in zip(groups.centres, groups.members, strict=True):
        order = np.argsort(((x - x[centre]) ** 2).sum(1), kind="stable")[:48].tolist()
        group, left = order[:10], order[10:]
        while len(group) < 24:
            gaps = [((x[group] - x[p]) ** 2).sum(1).min() for p in left]
            group.append(left.pop(int(np.argmin(gaps))))
        assert members.tolist() == group


def test_features_do_not_turn_or_scale_and_know_a_dent():
    rng = np.random.default_rng(2)
    x = plane(900, 3)
    x[:, 2] += rng.normal(0, 0.002, 900)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    still = points.geometry(points.grouped(x, 60, 48, 30))[0]
    moved = points.geometry(points.grouped(x @ turn * 7 + 5, 60, 48, 30))[0]
    np.testing.assert_allclose(still, moved, atol=1e-4)
    assert still.shape == (60, 49) and still.dtype == np.float32

    dented = x.copy()
    inside = (x[:, :2] ** 2).sum(1) < 0.05
    dented[inside, 2] -= 0.15
    groups = points.grouped(dented, 60, 48, 30)
    gap = np.linalg.norm(points.geometry(groups)[0][:, None] - still[None], axis=-1).min(1)
    places = groups.points[groups.centres]
    at_dent = (places[:, :2] ** 2).sum(1) < 0.12
    assert gap[at_dent].mean() > 2 * gap[~at_dent].mean()


def test_features_of_one_spot_are_finite():
    for x in (np.zeros((20, 3)), np.c_[np.arange(20.0), np.zeros((20, 2))]):
        (layer,) = points.geometry(points.grouped(x, 5, 10, 5))
        assert np.isfinite(layer).all()


def test_pooling_by_likeness_only_where_it_is_flat():
    x = np.array([[0.0, 0, 0], [1, 0, 0]])
    features = np.array([[0.0], [1.0]])
    flat = points.Groups(x, np.arange(2), np.zeros((2, 1), int), np.array([0.0, 0.5]))
    out = points.aggregated(features, flat, (2,))
    assert out[:, 0] == pytest.approx([np.exp(-1) / (1 + np.exp(-1)), 1.0])
    assert out[0, 0] == pytest.approx(0.26894, abs=1e-5)
    wide = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    np.testing.assert_allclose(points.aggregated(wide, flat, (1, 2))[0], [1.5, 2.5, 3.0])


def test_interpolation_adds_up_to_one_and_meets_the_centres():
    x = plane(200, 4)
    weights = points.interpolator(x[:30], x)
    np.testing.assert_allclose(np.asarray(weights.sum(axis=1)).ravel(), 1)
    values = x[:30] @ np.array([1.0, 2.0, 0.0])
    found = weights @ values
    np.testing.assert_allclose(found[:30], values, atol=1e-5)
    assert np.abs(found - x @ np.array([1.0, 2.0, 0.0])).mean() < 0.2 * values.std()
    assert (points.interpolator(x[:2], x) @ np.ones(2)).tolist() == pytest.approx([1] * 200)


def test_pixels_and_groups_correspond():
    y, x = np.mgrid[:8, :8]
    raw = np.stack([x, y, np.ones_like(x)], -1).astype(float)
    raw[:, 4:] = 0
    cloud = points.read(raw)
    assert cloud.shape == (8, 8) and cloud.pixels is not None and len(cloud.points) == 32
    groups = points.grouped(cloud.points, 32, 1, 1)
    to_tokens, to_groups = points.correspondence(groups, cloud, (2, 2))
    token = (cloud.points[groups.centres, 1] >= 4) * 2
    seen = to_tokens @ token.astype(float)
    assert seen.tolist() == [0, 0, 2, 0] and (np.diff(to_tokens.indptr) > 0).tolist() == [
        True,
        False,
        True,
        False,
    ]
    assert (to_groups @ np.array([5.0, 9.0, 7.0, 9.0])).tolist() == (5 + token).tolist()
    with pytest.raises(InputError, match="organised"):
        points.correspondence(groups, points.read(cloud.points), (2, 2))


def test_clouds_that_are_none():
    missing = np.full((4, 4, 3), np.nan)
    missing[0, :, :] = 1.0
    for wrong, why in (
        (np.zeros((4, 2)), "shape"),
        (np.zeros((6, 6, 3)), "at least 8"),
        (missing, "at least 8"),
        (np.array([[np.nan, 0, 0]] * 20), "finite"),
        (np.zeros((3, 3)), "at least 8"),
    ):
        with pytest.raises(InputError, match=why):
            points.read(wrong)
