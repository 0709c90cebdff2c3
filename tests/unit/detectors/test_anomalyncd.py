"""AnomalyNCD: region merging of the spec, losses by hand, grouping with and without training."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oddwatch.core import InputError, Scores
from oddwatch.detectors.image.anomalyncd import (
    AnomalyNCD,
    Crop,
    crops_of,
    generated,
    grouped,
    masked,
    merged,
    region_weights,
    varied,
)
from oddwatch.detectors.image.mebin import binarise
from oddwatch.metrics.grouping import matched_f1

INKS = {"red": (210, 40, 40), "green": (40, 190, 60)}


def spoilt(n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """``n`` grey pictures, by turns clean and with a red or green spot of either of two sizes; maps that show the spots;
    names of the kinds."""
    rng = np.random.default_rng(seed)
    pictures, maps, names = [], [], []
    y, x = np.mgrid[:112, :112]
    for i in range(n):
        picture = rng.normal(128, 8, (112, 112, 1)).repeat(3, 2)
        one = np.full((112, 112), 0.05) + rng.normal(0, 0.005, (112, 112))
        name = ["good", *INKS][i % 3]
        if name != "good":
            at, r = rng.integers(28, 84, 2), int(rng.integers(10, 16))
            away = np.hypot(y - at[0], x - at[1])
            picture[away < r] = INKS[name] + rng.normal(0, 8, 3)
            one = np.maximum(one, np.clip(1.4 - away / r, 0, 1))
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
        maps.append(one)
        names.append(name)
    return pictures, np.stack(maps).astype(np.float32), names


def test_region_weights_of_the_spec():
    np.testing.assert_allclose(region_weights(np.array([100.0, 25.0]), 100), [0.51250, 0.48750], atol=5e-6)


def test_a_picture_goes_with_its_crops_the_larger_counting_more():
    crops = [Crop(0, (0, 0, 8), 1.0, 10_000), Crop(0, (9, 0, 8), 1.0, 100), Crop(2, (0, 0, 8), 1.0, 50)]
    shares = np.array([[0, 0.4, 0.6], [0, 0.65, 0.35], [0, 1, 0]])
    assert merged(shares, crops, 3).tolist() == [2, 0, 1]
    assert merged(shares, crops, 3, temperature=1e6).tolist() == [1, 0, 1]  # as if equally large


def test_kinds_are_found_by_clustering_and_clean_pictures_are_zero(toy_eyes):
    pictures, maps, names = spoilt(12, 0)
    found = AnomalyNCD(encoder=toy_eyes(), method="cluster").group(
        Scores(maps.max((1, 2)), maps), pictures, classes=2
    )
    assert [label == 0 for label in found.labels] == [name == "good" for name in names]
    assert float(matched_f1(names, found.labels)) == 1
    assert found.probabilities.shape == (len(found.crops), 3)
    again = AnomalyNCD(encoder=toy_eyes(), method="cluster", cluster="kmeans").group(
        maps, pictures, classes=2
    )
    assert float(matched_f1(names, again.labels)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False])
def test_kinds_are_found_by_training_beside_known_ones(toy_eyes, plates, given):
    pytest.importorskip("torch")
    pictures, maps, names = spoilt(18, 1)
    base = None
    if given:
        rng, base = np.random.default_rng(5), []
        for i in range(16):  # blue and yellow spots elsewhere
            mask = np.zeros((96, 96), bool)
            mask[30:54, 40:60] = True
            picture = plates(1, i)[0].copy()
            picture[mask] = np.array([(40, 60, 220), (220, 210, 50)][i % 2]) + rng.integers(-9, 9, 3)
            base.append((picture, mask, i % 2))
    seen = []
    small = {"epochs": 25, "batch": 16, "lr": 0.05, "views": 2, "hidden": 32}
    detector = AnomalyNCD(encoder=toy_eyes(), **small)
    found = detector.group(
        maps, pictures, classes=2, base=base, normal=plates(2, 3), progress=lambda *a: seen.append(a[0])
    )
    assert float(matched_f1(names, found.labels)) > 0.8
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
    assert any("training" in what for what in seen)


def test_without_normal_pictures_there_is_no_normal_group(toy_eyes, plates):
    pytest.importorskip("torch")
    pictures, maps, names = spoilt(12, 2)
    odd = [i for i, name in enumerate(names) if name != "good"]
    chosen = {"classes": 2, "normal": plates(2, 3), "low": 0.1}
    small = {"normals": False, "epochs": 2, "views": 2, "hidden": 32}
    found, again = (
        AnomalyNCD(encoder=toy_eyes(), **small).group(maps[odd], [pictures[i] for i in odd], **chosen)
        for _ in range(2)
    )
    assert set(found.labels) <= {1, 2} and (found.probabilities[:, 0] == 0).all()
    np.testing.assert_array_equal(found.probabilities, again.probabilities)


def test_crops_hold_their_region_and_a_clean_picture_is_taken_whole():
    pictures, maps, names = spoilt(3, 3)
    wide = [np.concatenate([p, p], 1) for p in pictures]
    crops, cuts = crops_of(binarise(maps), wide)
    assert [c.picture for c in crops] == [0, 1, 2] and crops[0].area == 0 and not cuts[0][1].any()
    assert crops[0].square == (0, -56, 224) and cuts[0][0].shape == (224, 224, 3)
    for crop, (pixels, mask) in list(zip(crops, cuts, strict=True))[1:]:
        assert pixels.shape[:2] == mask.shape == (crop.square[2],) * 2 and crop.area == mask.sum() > 0
        assert crop.score > 0.9
    assert names[0] == "good" and crops[0].score < 0.1


def test_where_no_picture_is_normal_each_has_a_region(toy_eyes):
    pictures, maps, names = spoilt(6, 3)
    weak = maps.copy()
    weak[1] = 0.05 + 0.02 * (maps[1] - 0.05)
    found = binarise(weak)
    assert not found.masks[1].any()
    crops, cuts = crops_of(found, pictures, always=True)
    mask = cuts[[c.picture for c in crops].index(1)][1]
    assert 0 < mask.sum() < 1000 and all(c.area for c in crops)
    y, x = np.unravel_index(maps[1].argmax(), (112, 112))
    left, top, side = crops[[c.picture for c in crops].index(1)].square
    assert left <= x < left + side and top <= y < top + side
    odd = [i for i, name in enumerate(names) if name != "good"]
    detector = AnomalyNCD(encoder=toy_eyes(), method="cluster", normals=False)
    labels = detector.group(weak[odd], [pictures[i] for i in odd], classes=2).labels
    assert set(labels) == {1, 2} and float(matched_f1([names[i] for i in odd], labels)) == 1


def test_tokens_under_a_mask():
    mask = np.zeros((64, 64), bool)
    assert len(masked(mask, (8, 8), 64)) == 64 and len(masked(mask, (8, 8), 10)) == 10
    mask[8:24, 8:16] = True
    assert masked(mask, (8, 8), 64).tolist() == [9, 17]
    mask[:] = False
    mask[0:2, 0:2] = True
    assert masked(mask, (8, 8), 64).tolist() == [0]


def test_varied_copies_keep_the_region_and_differ():
    rng = np.random.default_rng(0)
    pixels, mask = spoilt(2, 4)[0][1], np.zeros((112, 112), bool)
    mask[0:4, 0:4] = True
    copies = [varied(rng, pixels, mask) for _ in range(20)]
    assert all(m.any() and p.shape[:2] == m.shape and p.dtype == np.uint8 for p, m in copies)
    assert len({p.tobytes() for p, _ in copies}) == 20


def test_generated_defects_are_of_several_kinds(plates):
    made = generated(np.random.default_rng(0), plates(3, 1))
    assert len({kind for _, kind in made}) >= 5 and all(mask.any() for (_, mask), _ in made)


def test_groups_are_at_most_the_items():
    assert grouped(np.eye(2, 4, dtype=np.float32), 5).tolist() in ([0, 1], [1, 0])
    assert grouped(np.eye(1, 4, dtype=np.float32), 3).tolist() == [0]


def test_losses_by_hand():
    torch = pytest.importorskip("torch")
    from oddwatch.detectors.image import discovery

    x = torch.eye(2).repeat(2, 1)  # two items, equal views: cosine 1 to the other view, 0 to the two others
    assert float(discovery.info_nce(torch, x)) == pytest.approx(-math.log(math.e / (math.e + 2)))
    pairs = torch.eye(2)[:, None].repeat(1, 2, 1)
    expected = -math.log(math.exp(1 / 0.07) / (math.exp(1 / 0.07) + 2))
    assert float(discovery.supervised_contrast(torch, pairs, torch.tensor([0, 1]))) == pytest.approx(
        expected, abs=1e-6
    )
    even = torch.zeros(4, 3)
    assert float(discovery.entropy_gap(torch, even)) == pytest.approx(0, abs=1e-6)
    one = torch.tensor([[1.0, -9, -9]]).repeat(4, 1)
    assert float(discovery.entropy_gap(torch, one)) == pytest.approx(math.log(3), abs=1e-4)
    # a uniform student pays ln 3 for any target; full correction makes the first novel class the target
    assert float(discovery.distillation(torch, even, torch.zeros(2), 1, 0.04)) == pytest.approx(math.log(3))
    sure = torch.tensor([[-9.0, 9, -9], [-9, -9, 9]]).repeat(2, 1)
    assert float(discovery.distillation(torch, sure, torch.zeros(2), 1, 0.04)) == pytest.approx(0, abs=1e-5)
    assert float(discovery.distillation(torch, sure, torch.ones(2), 1, 0.04)) == pytest.approx(180 / 2)
    assert [discovery.teacher_temperature(e, 50) for e in (0, 3, 4, 39, 40, 49)] == pytest.approx(
        [0.07, 0.07, 0.07 - 0.03 / 9, 0.04, 0.04, 0.04]
    )


def test_wrong_input_says_what_is_missing(toy_eyes):
    pictures, maps, _ = spoilt(3, 0)
    detector = AnomalyNCD(encoder=toy_eyes())
    with pytest.raises(InputError, match='method="cluster"'):
        detector.group(maps, pictures, classes=2)
    with pytest.raises(InputError, match="each of 3 pictures"):
        detector.group(maps[:2], pictures, classes=2)
    with pytest.raises(InputError, match="one kind"):
        detector.group(maps, pictures, classes=0)
    with pytest.raises(InputError, match="no pixels"):
        detector.group(maps, toy_eyes().encode(pictures), classes=2)
    with pytest.raises(InputError, match="no mask"):
        detector.group(maps, pictures, classes=2, base=[(pictures[0], np.zeros((112, 112)), "x")])
    for wrong in ({"method": "magic"}, {"views": 1}, {"temperature": 0}):
        with pytest.raises(InputError):
            AnomalyNCD(**wrong)


def test_nothing_found_is_all_normal(toy_eyes):
    pictures, maps, _ = spoilt(2, 0)
    detector = AnomalyNCD(encoder=toy_eyes())
    assert detector.group(np.zeros_like(maps), pictures, classes=2).labels.tolist() == [0, 0]
    assert detector.group(np.empty((0, 8, 8)), [], classes=2).labels.shape == (0,)
