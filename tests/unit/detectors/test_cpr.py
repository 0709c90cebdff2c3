"""CPR: worked numbers of global and local retrieval, the foreground, the head's training, the whole on plates."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, ModelError
from oddwatch.detectors.image import cpr, cpr_head, heads
from oddwatch.detectors.image.cpr import CPR

GRID = (8, 8)


def test_block_divergence_as_worked_out():
    found = cpr.divergence(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5]))
    assert float(found) == pytest.approx(np.log(2), abs=1e-5) == pytest.approx(0.69315, abs=1e-5)


def test_a_spoilt_block_is_forgiven():
    assert cpr.forgiving(np.array([0.1, 0.2, 0.3, 0.4, 5.0]), 4 / 5) == pytest.approx(1.0)
    assert cpr.forgiving(np.arange(25.0), 0.8) == sum(range(20))
    assert cpr.forgiving(np.array([0.1, 5.0]), 1.0) == pytest.approx(5.1)


def test_histograms_say_where_the_words_are():
    words = np.zeros(GRID, int)
    words[:4, :4] = 3
    found = cpr.histogram(words.ravel(), GRID, CPR(blocks=2, words=5))
    np.testing.assert_allclose(found, [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert cpr.histogram(np.zeros(4, int), (2, 2), CPR()).shape == (4, 12)


def test_the_nearest_pictures_are_those_of_the_same_layout_and_never_oneself():
    rng = np.random.default_rng(0)
    kinds = rng.dirichlet(np.ones(6), (2, 25))
    pictures = np.concatenate([0.97 * kinds[[0] * 3] + 0.03 / 6, kinds[[1] * 3]])
    assert set(cpr.nearest_of(kinds[0], pictures, 0.8, 3)) == {0, 1, 2}
    near = cpr.alike(pictures, 0.8, 2)
    assert [set(n) for n in near[:3]] == [{1, 2}, {0, 2}, {0, 1}]
    assert cpr.alike(pictures[:1], 0.8, 10)[0].tolist() == [0]


def test_codebook_finds_the_clusters_and_takes_few_rows():
    rng = np.random.default_rng(1)
    middle = rng.normal(size=(3, 16)) * 10
    rows = (middle[:, None] + rng.normal(size=(3, 50, 16)) * 0.1).reshape(-1, 16).astype(np.float32)
    found = cpr.centres(rows, 3, rng)
    gaps = np.linalg.norm(found[:, None] - middle[None], axis=-1)
    assert sorted(gaps.argmin(1)) == [0, 1, 2] and gaps.min(1).max() < 0.5
    assert cpr.centres(rows[:2], 12, rng).shape == (2, 16)


def test_local_distance_looks_around_and_not_over_the_edge():
    rng = np.random.default_rng(2)
    field = rng.normal(size=(1, 64, 16)).astype(np.float32)
    field /= np.linalg.norm(field, axis=-1, keepdims=True)
    moved = np.roll(field.reshape(1, 8, 8, 16), 1, axis=2).reshape(1, 64, 16)
    same = cpr.neighbourhood_distance(field[0], field, GRID, 1)
    np.testing.assert_allclose(same, 0, atol=1e-6)
    apart = cpr.neighbourhood_distance(field[0], moved, GRID, 1)
    assert apart.min() > 0.05
    around = cpr.neighbourhood_distance(field[0], moved, GRID, 3).reshape(GRID)
    np.testing.assert_allclose(around[:, :-1], 0, atol=1e-6)
    # The last column's own patch wrapped to the first, which is out of reach.
    assert (around[:, -1] > 0.01).all()
    brute = cpr.neighbourhood_distance(field[0], np.concatenate([field, moved]), GRID, 1)
    np.testing.assert_allclose(brute, np.minimum(same, apart), atol=1e-6)


def blobs(seed: int, thing: bool) -> np.ndarray:
    """Tokens (6, 64, 12): a middle unlike the border, or the same everywhere."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 8, 8, 12)).astype(np.float32)
    if thing:
        x[:, 2:6, 2:6] += 8
    return x.reshape(6, 64, 12)


def test_foreground_is_found_on_things_and_not_on_textures():
    rng = np.random.default_rng(3)
    x = blobs(4, True)
    plane = cpr.foreground_plane(x, GRID, rng)
    assert plane is not None
    weight = cpr.weight_of(blobs(5, True)[0], plane).reshape(GRID)
    assert weight.min() >= 0 and weight.max() <= 1
    assert weight[2:6, 2:6].min() > 0.7 and np.delete(weight, np.s_[2:6], 0).max() < 0.3
    assert cpr.foreground_plane(blobs(4, False), GRID, rng) is None
    assert cpr.foreground_plane(np.ones((2, 64, 12), np.float32), GRID, rng, sure=True) is None
    assert (cpr.weight_of(x[0], None) == 1).all()


def test_discriminant_is_zero_halfway():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(200, 3)) + np.array([4, 0, 0]), rng.normal(size=(200, 3))
    plane = cpr.discriminant(a, b)
    assert abs((a.mean(0) + b.mean(0)) / 2 @ plane[:-1] + plane[-1]) < 1e-9
    assert ((a @ plane[:-1] + plane[-1] > 0).mean() > 0.95) and (
        (b @ plane[:-1] + plane[-1] < 0).mean() > 0.95
    )


def example(share: np.ndarray, source: tuple[int, int] = (0, 0)) -> heads.Example:
    return heads.Example({}, share.astype(np.float32).ravel(), source, {})


def test_training_pairs_keep_their_distance_and_their_kind():
    share = np.zeros(GRID)
    share[3:5, 3:5] = 1
    share[5, 5] = 0.15
    ground = np.ones((2, 64), np.float32)
    thing = cpr_head.Enrolled([], [np.array([1]), np.array([0])], ground, True)
    found = cpr_head.pairs_of([example(share)] * 2, [1, 1], [thing], GRID, 3, 20, np.random.default_rng(7))
    b, q, r = found["alike"]
    assert np.array_equal(q, r) and set(b) == {0, 1} and len(b) == 40
    assert (share.ravel()[q] == 0).all()
    b, q, r = found["apart"]
    gap = np.hypot(q // 8 - r // 8, q % 8 - r % 8)
    assert len(q) > 20 and (gap > np.sqrt(2)).all()
    b, q, r = found["defect"]
    assert np.array_equal(q, r) and set(q) == set(np.flatnonzero(share.ravel() == 1))
    texture = cpr_head.Enrolled([], thing.near, ground, False)
    assert (
        cpr_head.pairs_of([example(share)], [1], [texture], GRID, 3, 20, np.random.default_rng(7))[
            "apart"
        ].size
        == 0
    )


def test_alike_pairs_are_drawn_on_the_foreground():
    ground = np.zeros((1, *GRID), np.float32)
    ground[:, 2:6, 2:6] = 1
    thing = cpr_head.Enrolled([], [np.array([0])], ground.reshape(1, -1), True)
    found = cpr_head.pairs_of([example(np.zeros(GRID))], [0], [thing], GRID, 3, 12, np.random.default_rng(8))
    inside = ground.ravel()[found["alike"][1]]
    assert inside.mean() > 0.8
    np.testing.assert_allclose(cpr_head.sharpened(np.full(64, 0.5), GRID), 0.5)


def test_the_arguments_are_checked():
    with pytest.raises(InputError, match="reach"):
        CPR(reach=(3,))
    with pytest.raises(InputError, match="reach"):
        CPR(reach=(2, 1))
    with pytest.raises(InputError, match="nearest"):
        CPR(nearest=0)


def test_without_training_it_compares_the_encoder_s_own_tokens(toy_eyes, plates):
    plain = CPR(encoder=toy_eyes(), steps=0, foreground=False).fit(plates(12, 1))
    assert plain.head == {} and plain.plane is None
    s = plain.score([*plates(4, 2), *plates(4, 3, odd=True)])
    assert s.values[4:].min() > s.values[:4].max()
    tokens = toy_eyes().encode(plates(12, 1), plain.layers)
    again = CPR(encoder=toy_eyes(), steps=0, foreground=False).fit(tokens)
    np.testing.assert_allclose(again.score(plates(2, 2)).values, s.values[:2], rtol=1e-4)
    assert plain.score(plates(1, 2)).values[0] == pytest.approx(
        np.sort(plain.score(plates(1, 2)).maps[0].ravel())[-512:].sum(), rel=1e-5
    )


def test_tokens_cannot_be_drawn_into(toy_eyes, plates):
    eyes = toy_eyes()
    with pytest.raises(InputError, match="pictures"):
        CPR(encoder=eyes).fit(eyes.encode(plates(2, 1), ("block_6", "block_9")))


def test_training_makes_normals_agree_and_defects_differ(toy_eyes, plates, tmp_path):
    torch = pytest.importorskip("torch")
    state = torch.random.get_rng_state()
    eyes, good = toy_eyes(), plates(10, 1)
    cpr.train([good], tmp_path / "cpr.safetensors", encoder=eyes, steps=40, pairs=16, width=24)
    assert torch.equal(state, torch.random.get_rng_state())
    assert cpr.train.__kwdefaults__["width"] == 384
    trained = CPR(encoder=eyes, weights=str(tmp_path / "cpr.safetensors"))
    trained.fit(eyes.encode(good, trained.layers))
    assert trained.bank is not None and trained.bank.shape == (10, 2, 64, 24)
    plain = CPR(encoder=eyes, steps=0).fit(good)
    items = [*plates(8, 2), *plates(8, 3, odd=True)]
    ratio = [d.score(items).values.reshape(2, 8).mean(1) for d in (trained, plain)]
    assert ratio[0][1] / ratio[0][0] > 2 and ratio[1][1] > ratio[1][0]
    with pytest.raises(ModelError, match="conv"):
        other = CPR(encoder=eyes, layers=("block_6", "block_8", "block_9"), reach=(3, 1, 1))
        other.weights = str(tmp_path / "cpr.safetensors")
        other.fit(good)
    with pytest.raises(ModelError, match="cpr"):
        heads.load_head(tmp_path / "cpr.safetensors", method="dictas", encoder=eyes.id)
    with pytest.raises(InputError, match="trained on"):
        heads.load_head(tmp_path / "cpr.safetensors", method="cpr", encoder="other/448")
