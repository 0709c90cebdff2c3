"""DictAS: sparsemax and the score as worked out, the block in numpy and torch, lookups, training, odd weights."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, ModelError
from oddwatch.detectors.image import attention, dictas, heads
from oddwatch.detectors.image.dictas import DictAS, sparsemax


def test_sparsemax_as_worked_out():
    np.testing.assert_allclose(sparsemax(np.array([[1, 0.5, -1]])), [[0.75, 0.25, 0]])
    np.testing.assert_allclose(sparsemax(np.array([[0.2, 0.1, 0]])), [[13 / 30, 1 / 3, 7 / 30]])
    np.testing.assert_allclose(sparsemax(np.array([[1000.0, 1000.0, 0]])), [[0.5, 0.5, 0]])
    np.testing.assert_allclose(sparsemax(np.array([[3.0]])), [[1.0]])


def by_sorting(z: np.ndarray) -> np.ndarray:
    """Sparsemax of a vector as its definition says."""
    ordered = np.sort(z)[::-1]
    sums = np.cumsum(ordered)
    k = max(i + 1 for i in range(len(z)) if 1 + (i + 1) * ordered[i] > sums[i])
    return np.maximum(z - (sums[k - 1] - 1) / k, 0)


@pytest.mark.parametrize("scale", [0.001, 0.3, 5.0])
def test_sparsemax_agrees_with_sorting(scale):
    z = np.random.default_rng(0).normal(size=(20, 300)) * scale
    found = sparsemax(z)
    np.testing.assert_allclose(found, [by_sorting(row) for row in z], atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(sparsemax(z.astype(np.float32)), found, atol=1e-5)


def test_sparsemax_in_torch_is_the_same_and_has_the_right_gradient():
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(1).normal(size=(6, 40)) * 0.7
    t = torch.tensor(z, requires_grad=True)
    found = dictas.torch_sparsemax(torch, t)
    np.testing.assert_allclose(found.detach().numpy(), sparsemax(z), atol=1e-12)
    push = torch.tensor(np.random.default_rng(2).normal(size=(6, 40)))
    (found * push).sum().backward()
    inside = sparsemax(z) > 0
    mean = (push.numpy() * inside).sum(1, keepdims=True) / inside.sum(1, keepdims=True)
    np.testing.assert_allclose(t.grad.numpy(), inside * (push.numpy() - mean), atol=1e-12)


def test_the_score_as_worked_out():
    x, y = np.array([[1.0, 0], [1, 0], [1, 0], [0, 0]]), np.array([[0.6, 0.8], [1, 0], [-2, 0], [1, 0]])
    np.testing.assert_allclose(dictas.distance(x, y), [0.2, 0, 1, 0.5])


def test_lookups_differ_as_their_names_say():
    keys = np.eye(3, dtype=np.float32) * 4
    values = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    query = np.array([[2, 1.9, 0]], np.float32)
    most = dictas.retrieve(query, keys, values, "max")
    sparse = dictas.retrieve(query, keys, values, "sparsemax")
    dense = dictas.retrieve(query, keys, values, "softmax")
    np.testing.assert_array_equal(most, [[1, 0, 0]])
    np.testing.assert_allclose(sparse, sparsemax(query * 4 / 3**0.5), atol=1e-6)
    assert sparse[0, 2] == 0 < dense[0, 2] and dense.sum() == pytest.approx(1)
    with pytest.raises(InputError, match="lookup"):
        DictAS(lookup="nearest")  # type: ignore[arg-type]


def test_losses_pull_normals_in_and_order_the_two():
    torch = pytest.importorskip("torch")
    apart = torch.tensor([[0.4, 0.2, 0.1, 0.1], [0.2, 0.2, 0.6, 0.8], [0.3, 0.3, 0.3, 0.3]])
    bad = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]).bool()
    found = dictas.query_loss(torch, apart, ~bad, bad, 0.1)
    # Only the first picture has its normals farther (0.3) than its defect (0.1).
    assert float(found) == pytest.approx((0.3 + 0.2 + 0.3) / 3 + 0.1 * 0.2)
    assert float(dictas.query_loss(torch, apart, ~bad, bad, 0.0)) == pytest.approx(0.8 / 3)


def test_the_block_in_numpy_is_the_block_in_torch():
    torch = pytest.importorskip("torch")
    with heads.seeded(0, "a test"):
        net = dictas.network(torch, 16)
        for weight in net.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    net.eval()
    head = heads.arrays_of(net)
    assert {n: v.shape for n, v in head.items()} == dictas.shapes(16)
    x = np.random.default_rng(3).normal(size=(9, 16)).astype(np.float32)
    with torch.inference_mode():
        query = net.Query_Generator(torch.from_numpy(x)[None])[0].numpy()
        value = net.Value_Generator(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(attention.attend(x, head, "Query_Generator"), query, atol=1e-4)
    np.testing.assert_allclose(dictas.value(x, head), value, atol=1e-4)
    with pytest.raises(InputError, match="width"):
        attention.block(torch, 18)


def test_the_key_block_starts_as_the_query_block():
    torch = pytest.importorskip("torch")
    head = heads.arrays_of(dictas.network(torch, 8))
    for name in attention.shapes(8):
        np.testing.assert_array_equal(head[f"Query_Generator.{name}"], head[f"Key_Generator.{name}"])
    assert np.abs(head["Query_Generator.q_proj.weight"] - head["Query_Generator.k_proj.weight"]).max() > 0


def test_tokens_drawn_for_a_step_hold_half_of_the_defect_at_most():
    rng = np.random.default_rng(4)
    bad = np.zeros(100, bool)
    bad[10:50] = True
    some = dictas._some(bad, 40, rng)
    assert len(set(some)) == 40 and bad[some].sum() == 20
    assert bad[dictas._some(~bad, 90, rng)].sum() == 40  # 60 of 100 are bad here: more than half has to be
    assert len(set(dictas._some(bad, 100, rng))) == 100
    assert len(dictas._some(np.zeros(100, bool), 40, rng)) == 40


def test_masks_meet_the_grid_as_the_encoder_sees_the_picture():
    mask = np.zeros((40, 80), bool)
    mask[:10, :20] = True
    squashed = heads.on_grid(mask, (4, 4)).reshape(4, 4)
    assert squashed[0, 0] == 1 and squashed.sum() == 1
    padded = heads.on_grid(mask, (4, 4), "pad").reshape(4, 4)
    assert padded[0].sum() == 0 and padded[1, 0] == pytest.approx(0.5) and padded.sum() == pytest.approx(0.5)
    tiny = heads.Example({}, np.array([0.02, 0.1, 0, 0]), (0, 0), {})
    assert tiny.anomalous.tolist() == [False, True, False, False]
    assert tiny.normal.tolist() == [True, False, True, True]


def test_a_defect_smaller_than_the_grey_zone_marks_one_cell_and_none_marks_none():
    assert not heads.Example({}, np.zeros(4), (0, 0), {}).anomalous.any()
    speck = heads.Example({}, np.array([0, 0.01, 0, 0]), (0, 0), {})
    assert speck.anomalous.tolist() == [False, True, False, False]


def test_examples_come_from_every_set_with_defects_in_their_share(toy_eyes, plates):
    rng = np.random.default_rng(5)
    sets = [plates(3, 1), plates(2, 2, size=(64, 80))]
    found = heads.examples(toy_eyes(), ("block_6",), sets, 40, rng, share=0.5, copies=1.0)
    assert {e.source for e in found} == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)}
    spoilt = [e for e in found if e.anomalous.any()]
    assert 8 <= len(spoilt) <= 32
    for e in spoilt:
        s, i = e.source
        whole = toy_eyes().encode([sets[s][i]], ("block_6",)).layers["block_6"][0]
        moved = np.abs(e.query["block_6"] - whole).max(1)
        assert moved[e.anomalous].max() > 0.01
        assert moved[e.anomalous].mean() > moved[e.share == 0].mean()
    assert all(e.copy["block_6"].shape == (64, 32) for e in found)


def test_pool_keeps_its_size_and_is_renewed_when_told(toy_eyes, plates):
    rng = np.random.default_rng(6)
    pool = heads.Pool(toy_eyes(), ("block_6",), [plates(3, 1)], rng, size=5, fresh=0, share=0.5)
    before = list(pool.examples)
    assert len(pool.draw(2)) == 2 and len(pool.draw(9)) == 9 and pool.examples == before
    pool.fresh = 2
    pool.draw(1)
    pool.draw(1)
    assert sum(a is b for a, b in zip(before, pool.examples, strict=True)) == 1
    with pytest.raises(InputError, match="normal"):
        heads.Pool(toy_eyes(), ("block_6",), [[]], rng, size=5, fresh=0, share=0.5)


def test_more_normals_than_shots_are_drawn_and_the_dictionary_keeps_its_size(toy_eyes, plates):
    pytest.importorskip("torch")
    small = DictAS(encoder=toy_eyes(), steps=0, shots=4, entries=100).fit(plates(9, 1))
    assert small.keys is not None and small.keys.shape == (4, 4 * 25, 32)
    assert DictAS(encoder=toy_eyes(), steps=0).fit(plates(2, 1)).keys.shape == (4, 2 * 64, 32)
    with pytest.raises(InputError, match="shots"):
        DictAS(shots=0)


def test_the_picture_s_score_is_the_highest_of_the_sharper_map(toy_eyes, plates):
    pytest.importorskip("torch")
    d = DictAS(encoder=toy_eyes(), steps=0, sigma_score=0.0, sigma=0.0).fit(plates(4, 1))
    s = d.score(plates(3, 2, odd=True))
    np.testing.assert_allclose(s.values, s.maps.max((1, 2)), rtol=1e-6)
    d.sigma = 6.0
    assert (d.score(plates(3, 2, odd=True)).maps.max((1, 2)) < s.values).all()


def test_a_trained_head_serves_things_it_has_not_seen(toy_eyes, plates, tmp_path):
    torch = pytest.importorskip("torch")
    eyes, path = toy_eyes(), tmp_path / "dictas.safetensors"
    dark = [255 - p for p in plates(8, 5)]
    state = torch.random.get_rng_state()
    said: list[tuple[str, float, float]] = []
    dictas.train(
        [plates(8, 1), plates(4, 2)], path, encoder=eyes, steps=30, pairs=12, points=32,
        progress=lambda *what: said.append(what),
    )  # fmt: skip
    assert torch.equal(state, torch.random.get_rng_state())
    assert said[-1] == ("dictas: training", 30, 30)
    served = DictAS(encoder=eyes, weights=str(path))
    served.fit(eyes.encode(dark, served.layers))
    items = [*(255 - p for p in plates(6, 6)), *(255 - p for p in plates(6, 7, odd=True))]
    values = served.score(items).values
    assert (values[6:, None] > values[:6]).mean() > 0.9


def test_odd_weights_are_refused(toy_eyes, plates, tmp_path):
    torch = pytest.importorskip("torch")
    eyes = toy_eyes()
    good = heads.arrays_of(dictas.network(torch, 32))
    fused = good | {"Fuse_Feature.compress.weight": np.zeros((1, 4), np.float32)}
    path = heads.save_head(tmp_path / "a.safetensors", fused, method="dictas", encoder=eyes.id)
    assert DictAS(encoder=eyes, weights=str(path)).fit(plates(2, 1)).head.keys() == good.keys()
    wide = heads.arrays_of(dictas.network(torch, 16))
    path = heads.save_head(tmp_path / "b.safetensors", wide, method="dictas", encoder=eyes.id)
    with pytest.raises(ModelError, match=r"expected \(32"):
        DictAS(encoder=eyes, weights=str(path)).fit(plates(2, 1))
    good.pop("Key_Generator.norm1.bias")
    path = heads.save_head(tmp_path / "c.safetensors", good, method="dictas", encoder=eyes.id)
    with pytest.raises(ModelError, match=r"Key_Generator\.norm1\.bias"):
        DictAS(encoder=eyes, weights=str(path)).fit(plates(2, 1))
    (tmp_path / "d.safetensors").write_bytes(b"nothing of the kind")
    for name in ("d.safetensors", "none.safetensors"):
        with pytest.raises(ModelError, match="weights"):
            DictAS(encoder=eyes, weights=str(tmp_path / name)).fit(plates(2, 1))
    with pytest.raises(InputError, match="pictures"):
        DictAS(encoder=eyes).fit(eyes.encode(plates(2, 1), ("block_6", "block_9")))
