"""MetaUAS: alignment as worked out, prompts, the bank's map, the head's parts, training, odd weights."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, ModelError
from oddwatch.detectors.image import heads, metauas
from oddwatch.detectors.image.metauas import MetaUAS

torch = pytest.importorskip("torch")
SMALL = {"steps": 2, "pairs": 4, "batch": 2, "width": 8}
LAYERS = MetaUAS.layers


def tensor(*rows: list[float]):
    return torch.tensor([list(rows)])


def test_the_aligned_prompt_as_worked_out():
    q, k, v = tensor([1.0, 0.0]), tensor([1.0, 0.0], [0.0, 1.0]), tensor([2.0], [4.0])
    assert float(metauas.aligned(torch, q, k, v)) == pytest.approx(2.53788, abs=5e-6)
    assert float(metauas.aligned(torch, q, k, v, "hard")) == 2
    np.testing.assert_array_equal(metauas.aligned(torch, q, k, v, "none"), v)
    large = metauas.aligned(torch, q * 30, k * 30, v)  # not scaled by the width
    assert float(large) == pytest.approx(2)


def test_the_bank_s_map_is_half_the_least_cosine_distance():
    x, prompt = np.array([[1.0, 0], [0, -2]]), np.array([[0.6, 0.8], [0, 5.0]])
    np.testing.assert_allclose(metauas.apart(x, prompt), [0.2, 0.9], atol=1e-7)


def test_the_loss_counts_clear_cells_only():
    p = torch.tensor([[0.9, 0.5, 0.2]])
    normal, odd = torch.tensor([[False, False, True]]), torch.tensor([[True, False, False]])
    expected = -(np.log(0.9) + np.log(0.8)) / 2 + 1 - (2 * 0.9 + 1) / (0.9 + 0.2 + 1 + 1)
    assert float(metauas.change_loss(p, normal, odd)) == pytest.approx(expected)
    p[0, 1] = 0.99
    assert float(metauas.change_loss(p, normal, odd)) == pytest.approx(expected)


@pytest.mark.parametrize("fusion", ["cat", "add", "absdiff"])
@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_the_head_takes_any_grid_and_every_weight_learns(fusion, grid):
    with heads.seeded(0, "a test"):
        net = metauas.network(torch, 16, 3, 64, "soft", fusion)
        x, y = torch.randn(2, 2, 3, grid[0] * grid[1], 16)
        change = net(x, y, grid)
    assert change.shape == (2, *grid)
    change.square().sum().backward()
    still = [n for n, w in net.named_parameters() if w.grad is None or not w.grad.abs().max() > 0]
    # A bias before a softmax over keys shifts the query's products alike only where keys are centred: it may stay.
    assert [n for n in still if not n.startswith("reduce")] == []


def test_joined_features_start_as_differences():
    net = metauas.network(torch, 16, 2, 8, "none", "cat")
    x = torch.randn(1, 2, 16, 16)
    same = net.level(0, x, x, (4, 4))
    bias = net.mix[0].bias.relu()[None, :, None, None]
    torch.testing.assert_close(same, bias.expand_as(same))


def test_a_prompt_in_another_order_changes_nothing():
    with heads.seeded(1, "a test"):
        net = metauas.network(torch, 16, 2, 8, "soft", "cat").eval()
        x, prompt = torch.randn(1, 2, 16, 16), torch.randn(1, 2, 16, 16)
    prompt[:, 1] = 1.0  # the deepest layer is halved on the grid first, where places matter
    order = torch.randperm(16)
    torch.testing.assert_close(net(x, prompt, (4, 4)), net(x, prompt[:, :, order], (4, 4)))


def test_prompts_are_the_first_or_the_nearest_normal(toy_eyes, plates):
    eyes, normal = toy_eyes(), [255 - plates(1, 1)[0], *plates(3, 2)]
    first = MetaUAS(encoder=eyes, prompt="first", **SMALL).fit(normal)
    near = MetaUAS(encoder=eyes, **SMALL).fit(normal)
    assert len(first.prompts) == 1 and len(near.prompts) == 4
    np.testing.assert_array_equal(first.prompts[0], near.prompts[0])
    for seen, nearest in ((255 - plates(2, 3)[0], normal[0]), (normal[2], normal[2])):
        alone = MetaUAS(encoder=eyes, prompt="first", **SMALL).fit([nearest])
        alone.head = near.head
        np.testing.assert_allclose(near.score([seen]).maps, alone.score([seen]).maps, atol=1e-6)
    assert near.score(normal[2:3]).values < first.score(normal[2:3]).values
    assert len(MetaUAS(encoder=eyes, shots=2, **SMALL).fit(normal).prompts) == 2


def test_the_bank_adds_its_map_and_the_score_is_the_highest(toy_eyes, plates):
    eyes = toy_eyes()
    with_bank = MetaUAS(encoder=eyes, **SMALL).fit(plates(3, 1))
    items = [*plates(4, 2), *plates(4, 3, odd=True)]
    both = with_bank.score(items)
    with_bank.bank = False
    change = with_bank.score(items)
    np.testing.assert_allclose(both.values, both.maps.max((1, 2)), rtol=1e-6)
    assert (change.maps >= 0).all() and (change.maps <= 1).all()
    added = both.maps - change.maps
    assert added.min() > -1e-6 and added[4:].max((1, 2)).min() > added[:4].max()


def test_training_finds_changes_and_its_head_serves_given_prompts(toy_eyes, plates, tmp_path):
    eyes, path = toy_eyes(224), tmp_path / "metauas.safetensors"
    state = torch.random.get_rng_state()
    said: list[tuple[str, float, float]] = []
    sets = [plates(4, 1, size=(48, 48)), plates(1, 2, size=(48, 48))]
    metauas.train(
        sets, path, encoder=eyes, steps=40, pairs=16, lr=3e-3, width=16,
        progress=lambda *what: said.append(what),
    )  # fmt: skip
    assert torch.equal(state, torch.random.get_rng_state())
    assert said[-1] == ("metauas: training", 40, 40)
    served = MetaUAS(encoder=eyes, weights=str(path), width=16)
    served.fit(eyes.encode(plates(3, 5), LAYERS))
    items = [*plates(6, 6), *plates(6, 7, odd=True)]
    s = served.score(items)
    assert (s.values[6:, None] > s.values[:6]).mean() > 0.9
    served.bank = False
    s = served.score(items)
    assert (s.values[6:, None] > s.values[:6]).mean() > 0.7
    again = metauas.learn(
        eyes,
        sets,
        layers=LAYERS,
        alignment="soft",
        fusion="cat",
        width=16,
        steps=40,
        batch=4,
        lr=3e-3,
        pairs=16,
    )
    assert all(np.array_equal(again[n], v) for n, v in served.head.items())


def test_odd_weights_and_arguments_are_refused(toy_eyes, plates, tmp_path):
    eyes, path = toy_eyes(), tmp_path / "a.safetensors"
    wrong = heads.arrays_of(metauas.network(torch, 32, 3, 16, "soft", "cat"))
    heads.save_head(path, wrong, method="metauas", encoder=eyes.id)
    with pytest.raises(ModelError, match=r"expected \(64, 64\)"):
        MetaUAS(encoder=eyes, weights=str(path)).fit(plates(2, 1))
    wrong.pop("out.bias")
    heads.save_head(path, wrong, method="metauas", encoder=eyes.id)
    with pytest.raises(ModelError, match=r"out\.bias is nothing"):
        MetaUAS(encoder=eyes, weights=str(path), width=16).fit(plates(2, 1))
    with pytest.raises(InputError, match="pictures"):
        MetaUAS(encoder=eyes).fit(eyes.encode(plates(2, 1), LAYERS))
    for arguments in ({"prompt": "last"}, {"alignment": "x"}, {"fusion": "x"}, {"layers": ("last",)}):
        with pytest.raises(InputError, match=next(iter(arguments))):
            MetaUAS(**arguments)
