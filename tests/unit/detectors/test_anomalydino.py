"""AnomalyDINO: worked numbers, the turned bank, masks, mutual comparison, identity, adding and leaving out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from oddwatch.core import InputError, Tokens
from oddwatch.detectors.image import base
from oddwatch.detectors.image.anomalydino import (
    UNIFORM,
    AnomalyDINO,
    among,
    first_component,
    foreground,
    mutual,
    object_signs,
    otsu,
)
from oddwatch.detectors.image.base import take
from oddwatch.detectors.image.tokens import unit

RNG = np.random.default_rng(3)


def tokens_of(x: np.ndarray, grid: tuple[int, int], cls: np.ndarray | None = None) -> Tokens:
    """``x`` (B, T, D) as the tokens of layer ``last``."""
    n = len(x)
    cls = np.ones((n, x.shape[2]), np.float32) if cls is None else cls
    return Tokens(cls, {"last": x.astype(np.float32)}, grid, np.ones((n, 2)), np.zeros((n, 2)))


def dino(**more) -> AnomalyDINO:
    return AnomalyDINO(encoder="none", layers=("last",), **more)


def scene(seed: int = 0, *, side: int = 12, gap: float = 8.0) -> np.ndarray:
    """Tokens (side², 16) of an object (the middle 6 × 6) before a background, ``gap`` deviations apart."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(side, side, 16))
    field[3:9, 3:9, 0] += gap
    return field.reshape(side * side, 16).astype(np.float32)


def test_check_a_nearest_of_two() -> None:
    half = 0.5**0.5
    detector = dino(sigma=0.0).fit(tokens_of(np.array([[[0, 1], [half, half]]]), (1, 2)))
    scores = detector.score(tokens_of(np.array([[[1.0, 0.0]]]), (1, 1)))
    assert scores.values[0] == pytest.approx(0.29289, abs=1e-5)
    # ½ · squared distance of unit vectors is the same number, whatever the tokens' lengths.
    longer = detector.score(tokens_of(np.array([[[7.0, 0.0]]]), (1, 1)))
    assert longer.values[0] == pytest.approx(scores.values[0], abs=1e-6)


@pytest.mark.parametrize(("grid", "best"), [((16, 16), 2), ((9, 11), 1)])
def test_check_b_the_highest_one_percent_and_at_least_one(grid, best) -> None:
    n = grid[0] * grid[1]
    angles = np.linspace(0, np.pi / 2, n)
    query = np.stack([np.cos(angles), np.sin(angles)], 1)[None]
    detector = dino().fit(tokens_of(np.array([[[1.0, 0.0]]]), (1, 1)))
    expected = np.sort(1 - np.cos(angles))[-best:].mean()
    assert detector.score(tokens_of(query, grid)).values[0] == pytest.approx(expected, abs=1e-5)


class Looking:
    """An encoder that notes the pictures it saw."""

    id, dim, resolution = "looking", 3, 14

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def encode(self, frames: Sequence[np.ndarray], layers=("last",)) -> Tokens:
        self.seen += list(frames)
        x = np.array([f.reshape(-1, 3).mean(0) + 1 for f in frames], np.float32)[:, None]
        return tokens_of(x, (1, 1), x[:, 0])


def test_eight_turns_while_there_are_few() -> None:
    picture = np.zeros((21, 21, 3), np.uint8)
    picture[:10] = 200
    eyes = Looking()
    detector = AnomalyDINO(encoder=eyes, layers=("last",)).fit([picture])
    assert len(eyes.seen) == 8 and detector.vectors.shape == (8, 3) and detector.kin.tolist() == [0] * 8
    for seen, times in zip(
        (eyes.seen[2], eyes.seen[4], eyes.seen[6]), (1, 2, 3), strict=True
    ):  # 90°, 180°, 270°
        assert np.abs(seen.astype(int) - np.rot90(picture, times)).max() <= 1
    eyes = Looking()
    AnomalyDINO(encoder=eyes, layers=("last",)).fit([picture] * 16)
    assert len(eyes.seen) == 16
    eyes = Looking()
    AnomalyDINO(encoder=eyes, layers=("last",), rotations=1).fit([picture])
    assert len(eyes.seen) == 1


def test_added_normals_are_as_good_as_fitted_ones(toy_eyes, plates) -> None:
    normals, items = plates(6, 1), [*plates(3, 2), *plates(3, 3, odd=True)]
    for identity in (False, True):
        whole = AnomalyDINO(encoder=toy_eyes(), identity=identity).fit(normals)
        parts = AnomalyDINO(encoder=toy_eyes(), identity=identity).fit(normals[:2]).add(normals[2:]).add([])
        np.testing.assert_allclose(parts.score(items).values, whole.score(items).values, atol=1e-6)
        assert sorted(parts.kin) == sorted(whole.kin) and len(parts.vectors) == 6 * 8 * 64
    with pytest.raises(InputError, match="fit"):
        AnomalyDINO(encoder=toy_eyes()).add(normals)


def test_turning_stops_where_normals_become_many(toy_eyes, plates) -> None:
    detector = AnomalyDINO(encoder=toy_eyes(), few=4).fit(plates(3, 1)).add(plates(2, 2))
    assert len(detector.vectors) == (3 * 8 + 2) * 64


def test_leaving_out_equals_fitting_to_the_rest(toy_eyes, plates) -> None:
    normals, items = plates(5, 1), [*plates(2, 2), *plates(2, 3, odd=True)]
    folds = [np.array([0]), np.array([1, 4])]
    detector = AnomalyDINO(encoder=toy_eyes(), identity=True, mask="auto")
    for fold, apart in zip(folds, detector.fit_apart(normals, folds), strict=True):
        rest = [normals[i] for i in range(5) if i not in fold]
        other = AnomalyDINO(encoder=toy_eyes(), identity=True, mask="auto").fit(rest)
        np.testing.assert_allclose(apart.score(items).values, other.score(items).values, atol=1e-6)
    assert len(detector.kin) == 40
    with pytest.raises(InputError, match="folds"):
        next(detector.fit_apart(normals, [np.arange(5)]))


def test_a_smaller_bank_never_comes_nearer(toy_eyes, plates) -> None:
    normals, items = plates(4, 1), [*plates(2, 2), *plates(2, 3, odd=True)]
    full = AnomalyDINO(encoder=toy_eyes()).fit(normals)
    small = AnomalyDINO(encoder=toy_eyes(), keep=0.1).fit(normals)
    assert len(small.vectors) == int(0.1 * len(full.vectors))
    assert (small.score(items).maps >= full.score(items).maps - 1e-5).all()
    assert len(small.add(plates(2, 5)).vectors) == int(0.1 * 4 * 8 * 64) + int(0.1 * 2 * 8 * 64)
    (apart,) = small.fit_apart(normals, [np.array([0])])
    assert len(apart.vectors) == int(0.1 * 3 * 8 * 64)


def test_otsu() -> None:
    assert otsu(np.array([0.0, 0, 0, 10, 10]))[0] == 5 and otsu(np.array([0.0, 0, 0, 10, 10]))[
        1
    ] == pytest.approx(1)
    assert otsu(np.linspace(0, 1, 2001))[1] == pytest.approx(UNIFORM, abs=1e-3)
    assert otsu(RNG.normal(size=20001))[1] == pytest.approx(2 / np.pi, abs=0.01)
    assert otsu(np.full(5, 3.0)) == (3.0, 0.0)
    # Against every cut in turn.
    values = np.concatenate([RNG.normal(0, 1, 40), RNG.normal(5, 1, 20)])
    v = np.sort(values)
    shares = [i * (60 - i) / 3600 * (v[:i].mean() - v[i:].mean()) ** 2 / v.var() for i in range(1, 60)]
    best = int(np.argmax(shares))
    assert otsu(values) == pytest.approx(((v[best] + v[best + 1]) / 2, shares[best]))


@pytest.mark.parametrize("scale", [1.0, 0.01, -100.0])
def test_the_mask_is_the_object_with_a_rim_at_any_scale(scale: float) -> None:
    expected = np.zeros((12, 12), bool)
    expected[2:10, 2:10] = True  # 6 × 6, dilated by 3 × 3
    np.testing.assert_array_equal(foreground(scale * scene(), (12, 12)), expected)


def test_the_paper_s_cut_has_a_unit() -> None:
    x = scene(gap=40.0)
    along = first_component(x)
    assert abs(along).max() > 10
    expected = np.zeros((12, 12), bool)
    expected[2:10, 2:10] = True
    np.testing.assert_array_equal(foreground(x, (12, 12), 10.0), expected)
    assert not foreground(0.01 * x, (12, 12), 10.0).any(), "at another scale nothing is above 10"


def test_holes_are_closed_and_a_picture_of_one_colour_is_all_foreground() -> None:
    field = scene().reshape(12, 12, 16)
    field[5, 5] -= [8.0, *[0.0] * 15]
    assert foreground(field.reshape(144, 16), (12, 12))[2:10, 2:10].all()
    assert foreground(np.full((144, 16), 0.3, np.float32), (12, 12)).all()
    assert foreground(np.full((1, 16), 0.3, np.float32), (1, 1)).all()


def test_masked_tokens_score_nothing_and_auto_asks_the_normals() -> None:
    normals = np.stack([scene(i) for i in range(4)])
    odd = scene(9).reshape(12, 12, 16).copy()
    odd[0, 0] = -odd[0, 0] * 3  # in the background
    odd[5, 5, 1:] += 4 * RNG.normal(size=15)  # in the object
    query = tokens_of(odd.reshape(1, 144, 16), (12, 12))
    plain, masked, auto = (dino(mask=m).fit(tokens_of(normals, (12, 12))) for m in ("none", "pc", "auto"))
    assert not plain.masks and masked.masks and auto.masks
    first, second = plain._patches(query)[0], masked._patches(query)[0]
    assert first[0, 0] > 0.1 and second[0, 0] == 0 and second[5, 5] == pytest.approx(first[5, 5])
    np.testing.assert_array_equal(auto._patches(query)[0], second)
    texture = RNG.normal(size=(4, 144, 16))
    assert not dino(mask="auto").fit(tokens_of(texture, (12, 12))).masks, "a texture has no background"
    parting, border = object_signs(scene(), (12, 12))
    assert parting > UNIFORM and border == 0


def test_mutual_is_the_mean_strictly_below_the_quantile() -> None:
    x = unit(RNG.normal(size=(4, 50, 6)))
    for which in range(4):
        others = np.delete(x, which, 0).reshape(-1, 6)
        d = np.sort(1 - x[which] @ others.T, axis=1)  # 150 distances; share 0.04 → the 6th is the quantile
        np.testing.assert_allclose(mutual(x, which, 0.04), d[:, :5].mean(1), atol=1e-5)
        np.testing.assert_allclose(mutual(x, which, 0.001), d[:, 0], atol=1e-5)
    same = unit(np.ones((3, 50, 6)))
    np.testing.assert_allclose(mutual(same, 0, 0.5), 0, atol=1e-6)


def test_mutual_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = unit(RNG.normal(size=(3, 40, 6)))
    whole = mutual(x, 1, 0.1)
    monkeypatch.setattr("oddwatch.detectors.image.anomalydino.BLOCK", 700)
    np.testing.assert_allclose(mutual(x, 1, 0.1), whole, atol=1e-6)


def test_unlabelled_pictures_judge_each_other(toy_eyes, plates) -> None:
    items = [*plates(9, 2), *plates(2, 3, odd=True)]
    scores = AnomalyDINO.zero_shot(items, encoder=toy_eyes())
    assert scores.values.shape == (11,) and scores.maps.shape == (11, 112, 112)
    assert scores.values[9:].min() > scores.values[:9].max()
    with pytest.raises(InputError, match="two"):
        AnomalyDINO.zero_shot(items[:1], encoder=toy_eyes())
    with pytest.raises(InputError, match="identity"):
        AnomalyDINO.zero_shot(items, encoder=toy_eyes(), identity=True)


def test_among_is_the_farthest_nearest_of_another_picture() -> None:
    angles = np.deg2rad([0, 5, 30, 90])
    classes = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert among(classes, np.arange(4)) == pytest.approx(1 - np.cos(np.deg2rad(60)))
    assert among(classes, np.array([0, 0, 1, 1])) == pytest.approx(1 - np.cos(np.deg2rad(85)))
    assert among(classes, np.zeros(4, int)) == pytest.approx(1 - np.cos(np.deg2rad(60)))
    assert among(classes[:1], np.zeros(1, int)) == 0


def test_identity_sees_another_object_of_the_same_patches() -> None:
    patches = RNG.normal(size=(5, 9, 4))
    classes = np.array(
        [[1, 0, 0, 0], [1, 0.05, 0, 0], [1, 0, 0.05, 0], [1, 0.02, 0, 0], [0, 1, 0, 0]], np.float32
    )
    all_tokens = tokens_of(patches[[0, 1, 2, 0, 0]], (3, 3), classes)
    normal, items = take(all_tokens, np.arange(3)), take(all_tokens, np.arange(3, 5))
    blind, seeing = (dino(identity=i).fit(normal).score(items).values for i in (False, True))
    np.testing.assert_allclose(blind, 0, atol=1e-6)
    assert seeing[0] == pytest.approx(0, abs=1e-6) and seeing[1] > 0.9


def test_class_tokens_are_read_only_for_identity() -> None:
    assert not dino().reads_cls and dino(identity=True).reads_cls


def test_saved_with_all_it_needs(toy_eyes, plates, tmp_path) -> None:
    detector = AnomalyDINO(encoder=toy_eyes(), mask="auto", identity=True).fit(plates(3, 1))
    loaded = base.load(detector.save(tmp_path / "a"), encoder=toy_eyes()).add(plates(1, 4))
    assert loaded.kin.max() == 3 and loaded.masks == detector.add(plates(1, 4)).masks
    items = plates(2, 5, odd=True)
    np.testing.assert_allclose(loaded.score(items).values, detector.score(items).values, atol=1e-6)


@pytest.mark.parametrize(("name", "wrong"), [("mask", "all"), ("rotations", 0), ("keep", 0.0), ("keep", 0)])
def test_wrong_arguments_are_named(name: str, wrong: object) -> None:
    with pytest.raises(InputError, match=name):
        dino(**{name: wrong})
