"""NAGL: the score as worked out, residuals, masks on the grid, the head in numpy and torch, marked anomalies as references."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, ModelError
from oddwatch.detectors.image import base, heads, nagl, nagl_head
from oddwatch.detectors.image.nagl import NAGL
from oddwatch.detectors.image.references import COPIES, References

SMALL = {"steps": 20, "pairs": 8, "batch": 2}


def stain(picture: np.ndarray) -> np.ndarray:
    """Where a plate is red."""
    return picture[..., 0].astype(int) - picture[..., 1] > 80


def test_the_score_as_worked_out():
    np.testing.assert_allclose(nagl_head.combined(np.array([0.9, 0.98]), np.array([0.7, 0.55])), [0.4, 0.285])


def test_likeness_is_of_the_nearest_or_of_all():
    x, others = np.array([[2.0, 0]]), np.array([[0, 3.0], [0.6, 0.8], [-1, 0]])
    np.testing.assert_allclose(nagl_head.alike(x, others), [0.8])
    np.testing.assert_allclose(nagl_head.alike(x, others, mean=True), [(0.5 + 0.8 + 0) / 3], rtol=1e-6)
    many = np.random.default_rng(0).normal(size=(2 * nagl_head.BLOCK + 5, 4)).astype(np.float32)
    np.testing.assert_allclose(nagl_head.alike(many[-3:], many), 1, atol=1e-6)


def test_residuals_are_from_the_largest_product_not_the_nearest_direction():
    normal = np.array([[1.0, 0], [3, 3]])
    # By cosine (2, 0) is like (1, 0); its product with (3, 3) is larger.
    np.testing.assert_array_equal(
        nagl_head.residual(np.array([[2.0, 0], [-1, 0]]), normal), [[-1, -3], [-2, 0]]
    )
    rng = np.random.default_rng(1)
    x, many = rng.normal(size=(7, 4)), rng.normal(size=(nagl_head.BLOCK + 9, 4))
    np.testing.assert_allclose(nagl_head.residual(x, many), x - many[(x @ many.T).argmax(1)])


def test_any_pixel_marks_a_cell_whose_window_starts_one_pixel_early():
    mask = np.zeros((56, 56), np.uint8)
    mask[20, 13] = 255
    assert nagl.cells_of(mask, (4, 4)).reshape(4, 4)[1].tolist() == [False, True, False, False]
    mask[20, 13], mask[12, 12] = 0, 1
    assert np.flatnonzero(nagl.cells_of(mask, (4, 4))).tolist() == [0]
    mask[12, 12], mask[55, 55] = 0, 1  # outside every window: its own cell
    assert np.flatnonzero(nagl.cells_of(mask, (4, 4))).tolist() == [15]
    large = np.zeros((560, 560), bool)
    large[300, 300] = True  # smaller than a pixel of the input
    assert np.flatnonzero(nagl.cells_of(large, (4, 4))).tolist() == [10]
    for wrong in (np.zeros((4, 4)), np.ones(4)):
        with pytest.raises(InputError, match="mask"):
            nagl.cells_of(wrong, (4, 4))


def test_positions_are_sines_of_counted_places():
    found = nagl_head.positions(8, np.zeros((2, 4), bool)).reshape(2, 4, 8)
    y, x = 2 * np.pi / (2 + 1e-6), 2 * np.pi * 3 / (4 + 1e-6)
    expected = [np.sin(y), np.cos(y), np.sin(y / 100), np.cos(y / 100)]
    expected += [np.sin(x), np.cos(x), np.sin(x / 100), np.cos(x / 100)]
    np.testing.assert_allclose(found[0, 2], expected, atol=1e-6)
    skip = np.zeros((2, 4), bool)
    skip[0, :2] = True
    skipped = nagl_head.positions(8, skip).reshape(2, 4, 8)
    np.testing.assert_allclose(skipped[0, 0, 4:], [0, 1, 0, 1], atol=1e-6)
    half = 2 * np.pi / (2 + 1e-6)  # the first of two counted places of the row
    np.testing.assert_allclose(skipped[0, 2, 4], np.sin(half), atol=1e-6)
    np.testing.assert_allclose(skipped[1, 2], found[1, 2], atol=1e-6)
    assert np.isfinite(nagl_head.positions(8, np.ones((2, 2), bool))).all()


def test_the_head_in_numpy_is_the_head_in_torch():
    torch = pytest.importorskip("torch")
    with heads.seeded(0, "a test"):
        net = nagl_head.network(torch, 16, 5)
    head = heads.arrays_of(net)
    assert {n: v.shape for n, v in head.items()} == nagl_head.shapes(16, 5)
    rng = np.random.default_rng(3)
    query, odd, normal = (rng.normal(size=(n, 16)).astype(np.float32) for n in (9, 9, 18))
    marked = np.array([0, 1, 1, 0, 0, 0, 1, 0, 0], bool)
    places = nagl_head.positions(16, marked.reshape(3, 3))
    episode = {"query": query, "odd": odd, "normal": normal, "marked": marked, "places": places}
    with torch.inference_mode():
        like_normal, like_odd = (x[0].numpy() for x in nagl_head.forward(torch, net, [episode]))
    np.testing.assert_allclose(like_normal, nagl_head.alike(query, normal), atol=1e-6)
    key, gap = (odd + places)[marked], nagl_head.residual(odd, normal)[marked]
    mined = nagl_head.module(head, "rm", head["learnable_proxies.weight"], key, gap)
    here = nagl_head.residual(query, normal) + nagl_head.positions(16, np.zeros((3, 3), bool))
    found = nagl_head.module(head, "afl", mined, here, query)
    np.testing.assert_allclose(like_odd, nagl_head.alike(query, found, mean=True), atol=1e-5)
    with pytest.raises(InputError, match="width"):
        nagl_head.network(torch, 18, 5)
    with pytest.raises(InputError, match="square"):
        nagl_head.grid_of(12)


def test_the_loss_as_worked_out():
    torch = pytest.importorskip("torch")
    normal, odd, share = (torch.tensor([row]) for row in ([0.9, 0.2], [0.1, 0.8], [0.0, 1.0]))
    # Scores 0.1 and 0.8, of fewer than 20 tokens all count: t = 0.45, the picture is anomalous.
    whole = -np.log(np.exp(0.45) / (np.exp(0.45) + np.exp(0.55)))
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    pixels = 0.0
    for value, true in ((0.9, 1), (0.2, 0), (0.1, 0), (0.8, 1)):
        p = sigmoid(value) if true else 1 - sigmoid(value)
        pixels += (0.25 if true else 0.75) * (1 - p) ** 2 * -np.log(p) / 4
    first, second = sigmoid(0.8), sigmoid(-0.6)  # softmax of [s_n, s_a], the normal channel
    dices = 2 - (2 * first + 1) / (first + second + 2) - (2 * (1 - second) + 1) / (2 - first - second + 2)
    assert float(nagl_head.episode_loss(torch, normal, odd, share)) == pytest.approx(whole + pixels + dices)


def test_without_anomalies_it_is_the_nearest_normal_token(toy_eyes, plates, tmp_path):
    eyes = toy_eyes()
    plain = NAGL(encoder=eyes).fit(plates(6, 1))
    items = [*plates(4, 2), *plates(4, 3, odd=True)]
    found = plain.score(items)
    rows = nagl_head.rows_of(eyes.encode(items, plain.layers).layers, plain.layers)
    near = [1 - nagl_head.alike(x, plain.bank.astype(np.float32)) for x in rows]
    np.testing.assert_allclose(found.values, [x.max() for x in near], rtol=1e-5)
    assert found.values[4:].min() > found.values[:4].max() and not plain.head
    tokens = eyes.encode(plates(6, 1), plain.layers)
    np.testing.assert_allclose(NAGL(encoder=eyes).fit(tokens).score(items).values, found.values, rtol=1e-5)
    assert NAGL(encoder=eyes, shots=2).fit(plates(6, 1)).bank.shape == (2 * 64, 32)


def test_the_last_layer_is_taken_as_it_is_and_blocks_are_normed():
    rng = np.random.default_rng(5)
    layers = {"last": rng.normal(2, 3, (2, 4, 8)), "block_6": rng.normal(2, 3, (2, 4, 8))}
    np.testing.assert_allclose(nagl_head.rows_of(layers, ["last"]), layers["last"].astype(np.float32))
    normed = nagl_head.rows_of(layers, ["block_6"])
    np.testing.assert_allclose(normed.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(normed.std(-1), 1, atol=1e-4)


def test_marked_anomalies_come_as_labels_or_are_shown_later_and_are_kept(toy_eyes, plates, tmp_path):
    pytest.importorskip("torch")
    eyes, good, bad = toy_eyes(), plates(6, 1), plates(2, 4, odd=True)
    masks = [stain(p) for p in bad]
    labelled = NAGL(encoder=eyes, **SMALL).fit([*good, *bad], [*[None] * 5, 0, *masks])
    later = NAGL(encoder=eyes, **SMALL).fit(good)
    before = later.score(good).values
    later.show(bad[:1], masks[:1]).show(bad[1:], masks[1:])
    items = [*plates(4, 2), *plates(4, 3, odd=True)]
    found = labelled.score(items)
    np.testing.assert_allclose(found.values, later.score(items).values, atol=1e-5)
    assert found.values[4:].min() > found.values[:4].max() and (later.score(good).values != before).all()
    loaded = base.load(later.save(tmp_path / "nagl"), encoder=eyes)
    np.testing.assert_allclose(found.values, loaded.score(items).values, atol=1e-5)
    loaded.show(bad[:1], masks[:1])
    assert len(loaded.marked) > len(later.marked)
    tokens = eyes.encode([*good, *bad], later.layers)
    nearest = NAGL(encoder=eyes, match="nearest").fit(tokens, [*[None] * 6, *masks])
    found = nearest.score(bad).values
    assert not nearest.head and (found > nearest.score(good).values.max()).all()


def test_the_unmarked_of_an_anomalous_picture_stands_for_normal(toy_eyes, plates):
    eyes, bad = toy_eyes(), plates(3, 4, odd=True)
    alone = NAGL(encoder=eyes, match="nearest").fit(bad, [stain(p) for p in bad])
    marked = np.concatenate([nagl.cells_of(stain(p), (8, 8)) for p in bad])
    assert len(alone.bank) == (~marked).sum() and len(alone.marked) == marked.sum()
    s = alone.score([*plates(4, 2), *plates(4, 3, odd=True)]).values
    assert s[4:].min() > s[:4].max()
    with pytest.raises(InputError, match="everything"):
        NAGL(encoder=eyes, match="nearest").fit(bad[:1], [np.ones((96, 96))])
    with pytest.raises(InputError, match="no normal picture"):
        NAGL(encoder=eyes, **SMALL).fit(bad, [stain(p) for p in bad])


def test_generated_defects_serve_as_references(toy_eyes, plates):
    pytest.importorskip("torch")
    eyes = toy_eyes()
    made = NAGL(encoder=eyes, pretend=3, **SMALL).fit(plates(5, 1))
    assert len(made.marked) >= 3 and made.head["learnable_proxies.weight"].shape == (25, 32)
    s = made.score([*plates(4, 2), *plates(4, 3, odd=True)]).values
    assert (s[4:, None] > s[:4]).mean() > 0.9
    with pytest.raises(InputError, match="pictures"):
        NAGL(encoder=eyes, pretend=3).fit(eyes.encode(plates(2, 1), made.layers))
    with pytest.raises(InputError, match="pretend"):
        NAGL(encoder=eyes, pretend=3, match="nearest").fit(plates(1, 4, odd=True), [np.eye(96)])


def test_training_lowers_the_loss_and_its_head_serves_other_things(toy_eyes, plates, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    eyes, path, losses = toy_eyes(), tmp_path / "nagl.safetensors", []
    kept = nagl_head.episode_loss
    monkeypatch.setattr(nagl_head, "episode_loss", lambda *a: losses.append(kept(*a)) or losses[-1])
    state = torch.random.get_rng_state()
    nagl.train([plates(6, 1), plates(1, 2)], path, encoder=eyes, steps=60, pairs=12, lr=1e-3)
    assert torch.equal(state, torch.random.get_rng_state())
    values = [float(x.detach()) for x in losses]
    assert np.mean(values[-15:]) < np.mean(values[:15]) - 0.01
    bad = [255 - p for p in plates(2, 4, odd=True)]
    masks = [stain(255 - p) for p in bad]
    served = NAGL(encoder=eyes, weights=str(path))
    served.fit(eyes.encode([*(255 - p for p in plates(6, 5)), *bad], served.layers), [*[None] * 6, *masks])
    seen = plates(4, 7, odd=True)
    for picture, one in zip(seen, served.score([255 - p for p in seen]).maps, strict=True):
        cells = nagl.cells_of(stain(picture), (8, 8)).reshape(8, 8)
        inside = np.kron(cells, np.ones((14, 14), bool))
        assert one[inside].mean() > one[~inside].mean() + one[~inside].std()


def test_weights_of_the_authors_fit_and_odd_ones_are_refused(toy_eyes, plates, tmp_path):
    torch = pytest.importorskip("torch")
    eyes, bad = toy_eyes(), plates(1, 4, odd=True)
    theirs = {f"module.{n}": v for n, v in heads.arrays_of(nagl_head.network(torch, 32, 25)).items()}
    path = heads.save_head(tmp_path / "a.safetensors", theirs, method="nagl", encoder=eyes.id)

    def fit() -> NAGL:
        return NAGL(encoder=eyes, weights=str(path)).fit([*plates(2, 1), *bad], [None, None, stain(bad[0])])

    assert fit().head.keys() == nagl_head.shapes(32, 25).keys()
    wide = heads.arrays_of(nagl_head.network(torch, 16, 25))
    path = heads.save_head(tmp_path / "b.safetensors", wide, method="nagl", encoder=eyes.id)
    with pytest.raises(ModelError, match=r"expected \(25, 32"):
        fit()
    theirs.pop("module.afl_sa.norm.bias")
    path = heads.save_head(tmp_path / "c.safetensors", theirs, method="nagl", encoder=eyes.id)
    with pytest.raises(ModelError, match=r"afl_sa\.norm\.bias"):
        fit()


def test_arguments_and_labels_are_checked(toy_eyes, plates):
    with pytest.raises(InputError, match="match"):
        NAGL(match="far")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="shots"):
        NAGL(shots=0)
    with pytest.raises(InputError, match="labels"):
        NAGL(encoder=toy_eyes()).fit(plates(2, 1), [None])
    fitted = NAGL(encoder=toy_eyes(), match="nearest").fit(plates(2, 1))
    with pytest.raises(InputError, match="masks"):
        fitted.show(plates(2, 4, odd=True), [])
    with pytest.raises(InputError, match="fit"):
        NAGL(encoder=toy_eyes()).show(plates(1, 4), [np.ones((96, 96))])


def test_references_are_other_pictures_of_the_same_thing(toy_eyes, plates):
    eyes, rng = toy_eyes(), np.random.default_rng(2)
    sets = [plates(3, 1), plates(1, 2), []]
    refs = References(eyes, ("block_6",), sets, rng, keep=2)
    own = eyes.encode(sets[0], ("block_6",)).layers["block_6"]
    for i in refs.which[0]:
        other = int(refs.which[0][refs.which[0] != i][0])
        drawn = refs.draw((0, int(i)), 3)["block_6"]
        np.testing.assert_allclose(drawn, np.stack([own[other]] * 3), atol=1e-3)
    assert len(refs.which[1]) == COPIES and refs.draw((1, 0), 1)["block_6"].shape == (1, 64, 32)
