"""FastFlow: the worked numbers, invertibility and log-determinants, training that helps and stops, odd arguments."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, Tokens

torch = pytest.importorskip("torch")

from oddwatch.detectors.image import fastflow  # noqa: E402
from oddwatch.detectors.image.fastflow import FastFlow  # noqa: E402


def small(**arguments: object) -> FastFlow:
    return FastFlow(**{"blocks": 2, "steps": 20, "layers": ("block_3",), **arguments})


def net_of(width: int = 6, blocks: int = 3, kernels: tuple[int, ...] = (3, 1), seed: int = 0):
    torch.manual_seed(seed)
    net = fastflow.network(torch, width, blocks, kernels, 1.0, np.random.default_rng(seed)).double()
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.add_(torch.randn_like(value) * (0.5 if "scale" in name or "shift" in name else 1.0))
    return net


def test_the_coupling_of_the_specification():
    changed, s = fastflow.couple(torch.tensor([[[5.0]], [[3.0]]]).reshape(1, 2, 1, 1), torch.ones(1, 1, 1, 1))
    assert float(s) == pytest.approx(0.92423, abs=1e-5)
    assert float(changed) == pytest.approx(2.81994, abs=1e-5)
    loss = fastflow.nll(torch.tensor([[1.0, 2.0]]), s.flatten())
    assert float(loss) == pytest.approx(1.57577, abs=1e-5)


def test_the_global_scale_starts_at_one():
    start = 2 * float(np.log(np.expm1(5)))
    assert start == pytest.approx(9.98648, abs=1e-5)
    assert float(fastflow.gain(torch, torch.tensor(start))) == pytest.approx(1.0, abs=1e-6)
    net = fastflow.network(torch, 6, 2, (1,), 1.0, np.random.default_rng(0))
    assert float(net[1].scale.detach().flatten()[0]) == pytest.approx(9.98648, abs=1e-5)


@pytest.mark.parametrize(("measure", "expected"), [("likelihood", 1 - 0.28650), ("energy", 1.25)])
def test_the_map_of_the_specification(measure, expected, monkeypatch):
    """z = (1, 2): the paper's map is −exp(−1.25) = −0.28650; ours is that and 1."""

    class Fixed:
        def __call__(self, x):
            return torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1), torch.zeros(1)

    monkeypatch.setattr(fastflow, "restored", lambda *_: Fixed())
    detector = FastFlow(encoder="toy", layers=("a",), measure=measure)
    detector.flows = {"a.mean": np.zeros(2), "a.white": np.eye(2)}
    tokens = Tokens(
        np.zeros((1, 2)), {"a": np.array([[[1.0, 3.0]]])}, (1, 1), np.ones((1, 2)), np.zeros((1, 2))
    )
    assert detector._patches(tokens).ravel() == pytest.approx([expected], abs=1e-5)


@pytest.mark.parametrize("width", [6, 5])
def test_log_determinants_are_those_of_the_jacobian(width):
    net = net_of(width)
    x = torch.randn(1, width, 2, 2, dtype=torch.float64)
    full = torch.autograd.functional.jacobian(lambda v: net(v.reshape(x.shape))[0].flatten(), x.flatten())
    assert float(net(x)[1].detach()) == pytest.approx(float(torch.linalg.slogdet(full)[1]), rel=1e-9)


def test_a_kernel_of_one_sees_no_neighbours_and_three_does():
    x = torch.randn(1, 6, 7, 7, dtype=torch.float64)
    moved = x.clone()
    moved[..., 3, 3] += 1
    for kernels, far in (((1,), False), ((3,), True)):
        net = net_of(6, 1, kernels)
        change = (net(x)[0] - net(moved)[0]).detach().abs().sum(1)[0]
        assert bool(change[3, 2] > 1e-9) is far and change[3, 3] > 1e-9 and change[0, 0] < 1e-12


def test_arrays_give_the_same_flow_again():
    net = net_of(7, 12)
    arrays = {
        n: v.float().numpy() if v.is_floating_point() else v.numpy() for n, v in net.state_dict().items()
    }
    again = fastflow.restored(torch, arrays | {"mean": np.zeros(1)})
    x = torch.randn(2, 7, 3, 4)
    torch.testing.assert_close(again(x)[0], net.float()(x)[0])


@pytest.mark.parametrize("full", [True, False])
def test_tokens_are_brought_to_unit_spread(full):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, (40, 50, 3)) @ np.array([[1, 2, 0], [0, 3, 0], [0, 0, 0.0]])
    mean, white = fastflow.whitening(x, full, rng)
    assert mean == pytest.approx([3, 15, 0], abs=0.3)
    covariance = np.cov((x - mean).reshape(-1, 3) @ white, rowvar=False)
    spreads = np.sort(np.diag(covariance))
    assert spreads == pytest.approx([0, 1, 1], abs=0.05)
    # Channels that go together stay so unless the directions are principal ones.
    off = np.abs(covariance - np.diag(np.diag(covariance))).max()
    assert bool(off < 0.05) is full


def test_windows_lie_inside_and_small_grids_stay_whole():
    grid, rng = np.arange(6 * 9 * 2).reshape(6, 9, 2), np.random.default_rng(0)
    seen = {fastflow.windowed(grid, 4, rng)[0, 0, 0] for _ in range(60)}
    assert fastflow.windowed(grid, 4, rng).shape == (4, 4, 2) and len(seen) > 8
    assert fastflow.windowed(grid, 9, rng) is grid and fastflow.windowed(grid, None, rng) is grid


def test_training_makes_normal_tokens_likelier_and_stops_by_held_out_ones():
    rng, looks = np.random.default_rng(0), []
    x = torch.randn(32, 4, 4, 4) * torch.tensor([0.2, 1, 1, 3]).reshape(1, 4, 1, 1)
    torch.manual_seed(0)
    net = fastflow.network(torch, 4, 2, (1,), 1.0, rng)
    held = [x[i : i + 1] for i in range(8)]

    def draw(n: int):
        looks.append(n)
        return x[8:][torch.randperm(24)[:n]]

    def likely() -> float:
        with torch.no_grad():
            return float(np.mean([float(fastflow.nll(*net(one))) for one in held]))

    before = likely()
    options = {"batch": 8, "decay": 0.0}
    fastflow.train(torch, net, draw, held, steps=60, lr=1e-2, patience=3, **options)
    after = likely()
    assert after < before and len(looks) == 60
    # With a rate that destroys the flow training ends after three looks of five steps, and the best weights stay.
    fastflow.train(torch, net, draw, held, steps=60, lr=30.0, patience=3, **options)
    assert len(looks) == 75 and likely() == pytest.approx(after)


def test_a_trained_flow_tells_broken_relations_that_single_channels_do_not_show():
    """Normal tokens: the second half repeats the first. Odd ones: it is that of another token."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)

    def grids(n: int):
        half = torch.randn(n, 2, 4, 4)
        return torch.cat([half, half + 0.1 * torch.randn_like(half)], 1)

    good = grids(40)
    odd = torch.cat([good[:, :2], good.roll(1, 0)[:, 2:]], 1)

    def told(steps: int) -> float:
        net = fastflow.network(torch, 4, 2, (1,), 4.0, rng)
        fastflow.train(torch, net, grids, [], steps=steps, batch=16, lr=1e-2, decay=1e-5, patience=3)
        with torch.no_grad():
            a, b = (net(x)[0].square().mean((1, 2, 3)).numpy() for x in (good, odd))
        return float((b[:, None] > a).mean())

    assert told(0) < 0.7 and told(150) > 0.95


def test_more_layers_are_averaged_and_few_normals_need_no_held_out(toy_eyes, plates):
    detector = small(encoder=toy_eyes(), layers=("block_3", "block_6"), steps=3).fit(plates(2, 1))
    tokens = detector.tokens(plates(2, 5))
    levels = detector._levels(tokens)
    np.testing.assert_allclose(detector._patches(tokens), (levels[0] + levels[1]) / 2, rtol=1e-6)
    assert {n.partition(".")[0] for n in detector.state()} == {"block_3", "block_6"}


def test_the_likelihood_map_is_a_bent_energy_map(toy_eyes, plates):
    detector = small(encoder=toy_eyes()).fit(plates(6, 1))
    tokens = detector.tokens(plates(3, 5, odd=True))
    bent = detector._patches(tokens)
    detector.measure = "energy"
    np.testing.assert_allclose(bent, -np.expm1(-detector._patches(tokens)), atol=1e-6)
    assert (bent >= 0).all() and (bent <= 1).all()


def test_no_more_normals_than_the_limit_are_learnt(toy_eyes, plates):
    eyes = toy_eyes()
    seen = []
    plain = eyes.encode
    eyes.encode = lambda frames, layers: seen.append(len(frames)) or plain(frames, layers)
    small(encoder=eyes, limit=5, steps=1).fit(plates(9, 1))
    assert sum(seen) == 5


@pytest.mark.parametrize(
    "wrong", [{"measure": "odds"}, {"blocks": 0}, {"kernels": (2,)}, {"kernels": ()}, {"held": 1.0}]
)
def test_arguments_that_cannot_be(wrong):
    with pytest.raises(InputError):
        FastFlow(**wrong)


def test_a_layer_that_was_not_learnt(toy_eyes, plates):
    detector = small(encoder=toy_eyes(), steps=1).fit(plates(3, 1))
    detector.layers = ("block_5",)
    with pytest.raises(InputError, match="block_5"):
        detector.score(plates(1, 2))
