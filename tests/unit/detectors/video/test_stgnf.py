"""STG-NF: parameter counts, worked numbers, invertibility and log-determinants, drawn walkers, keeping."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video import poses
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.metrics.ranking import auroc

torch = pytest.importorskip("torch")

from oddwatch.detectors.video import stgnf  # noqa: E402
from oddwatch.detectors.video.stgnf import STGNF  # noqa: E402

REST = np.array(
    [[0, -9], [0, -7], [2, -7], [3, -4], [3, -1], [-2, -7], [-3, -4], [-3, -1], [1, 0], [1, 4], [1, 8], [-1, 0],
     [-1, 4], [-1, 8], [0.5, -9.5], [-0.5, -9.5], [1, -9], [-1, -9]], float,
)  # fmt: skip
SWING = np.array([0, 0, 0, 1, 2, 0, -1, -2, 0, -1, -2, 0, 1, 2, 0, 0, 0, 0], float)


def walker(rng: np.random.Generator, odd: bool, frames: int = 24) -> np.ndarray:
    """(frames, 18, 2) joints of a stick figure; an odd one swings 2.2 times as often and twice as far, and drifts thrice as fast."""
    t = np.arange(frames)
    often, far = rng.uniform(0.25, 0.35) * (2.2 if odd else 1), rng.uniform(0.8, 1.2) * (2 if odd else 1)
    drift = rng.choice([-1, 1]) * rng.uniform(0.1, 0.2) * (3 if odd else 1)
    phase = rng.uniform(0, 2 * np.pi)
    out = np.tile(REST, (frames, 1, 1))
    swing = far * np.sin(often * t + phase)[:, None] * SWING
    out[..., 0] += swing + (drift * t)[:, None]
    out[..., 1] -= np.abs(swing) / 2
    return out + rng.normal(0, 0.05, out.shape)


def walkers(n: int, odd: bool, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    raw = np.stack([walker(rng, odd) for _ in range(n)])
    return np.ascontiguousarray(poses.normalise(raw, (1, 1)).transpose(0, 3, 1, 2), np.float32)


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_parameters_of_the_specification():
    assert count(stgnf.network(torch, 24)) == 616
    assert count(stgnf.network(torch, 16)) == 488


@pytest.mark.parametrize(("z", "bits"), [(3.0, 1.325748), (0.0, 7.817876)])
def test_the_likelihoods_of_the_specification(z, bits):
    found = stgnf.nll(torch, torch.full((2, 2, 24, 18), z), torch.zeros(2), 3.0)
    assert found.tolist() == pytest.approx([bits, bits], abs=1e-5)
    each = stgnf.nll(torch, torch.full((2, 2, 24, 18), z), torch.zeros(2), torch.tensor([3.0, z]))
    assert each.tolist() == pytest.approx([bits, 1.325748], abs=1e-5)


def test_the_coupling_of_the_specification():
    five, one, zero = torch.tensor([5.0]), torch.tensor([1.0]), torch.tensor([0.0])
    changed, logs = stgnf.couple(five, one, zero)
    assert float(logs.exp()) == pytest.approx(0.880798, abs=2e-6)
    assert float(logs) == pytest.approx(-0.126927, abs=2e-6)
    assert float(changed) == pytest.approx(5.284788, abs=1e-5)
    assert float(stgnf.uncouple(changed, one, zero)) == pytest.approx(5.0, abs=1e-6)


def test_the_first_batch_settles_the_scale():
    x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    bias, scale = stgnf.settle(x)
    assert float(bias) == -2
    assert ((x + bias) * scale.exp()).flatten().tolist() == pytest.approx([-1, 1], abs=2e-6)


def test_the_flow_is_invertible_and_its_determinant_right():
    torch.manual_seed(1)
    net = stgnf.network(torch, 4, 3)
    x = torch.randn(8, 2, 4, 18)
    net.train()
    net(x)
    net.eval()
    with torch.no_grad():
        z, logdet = net(x)
        back = z
        for step in reversed(list(net)):
            back = step.back(back)
    assert torch.allclose(back, x, atol=1e-4)
    one = x[:1]
    jacobian = torch.autograd.functional.jacobian(
        lambda v: net(v.reshape(one.shape))[0].flatten(), one.flatten()
    )
    assert float(torch.linalg.slogdet(jacobian.double())[1]) == pytest.approx(float(logdet[0]), abs=1e-3)


def test_couplings_only_shrink():
    net = stgnf.network(torch, 24)
    with torch.no_grad():
        heard = net[1].net(torch.randn(4, 1, 24, 18) * 10)
    assert float(heard.min()) >= 0
    _, logs = stgnf.couple(heard[:, :1], heard[:, :1], heard[:, 1:])
    assert float(logs.exp().min()) > 0.8807 and float(logs.exp().max()) <= 1 + 2e-6


def small(**arguments) -> STGNF:
    return STGNF(**{"blocks": 2, "batch": 64, "least": 10, "epochs": 1, "most": 10, **arguments})


@pytest.mark.slow
def test_walkers_are_told_apart():
    """The fixture of the specification: 1500 windows, 200 batches of 64, area 0.990 on 200 + 200."""
    detector = STGNF(batch=64, least=200, most=200).fit_windows(walkers(1500, False, 0))
    scores = detector.score_windows(np.concatenate([walkers(200, False, 1), walkers(200, True, 2)]))
    assert auroc(np.repeat([0, 1], 200), scores).value > 0.97


def test_few_walkers_are_told_apart_by_a_small_flow():
    detector = small(least=40, most=40).fit_windows(walkers(300, False, 0))
    scores = detector.score_windows(np.concatenate([walkers(50, False, 1), walkers(50, True, 2)]))
    assert auroc(np.repeat([0, 1], 50), scores).value > 0.9


def test_equal_seeds_give_equal_scores_and_are_kept():
    data, new = walkers(100, False, 0), walkers(20, True, 1)
    first, second = (small().fit_windows(data) for _ in range(2))
    assert np.array_equal(first.score_windows(new), second.score_windows(new))
    again = small()
    again.restore(first.state())
    assert np.array_equal(first.score_windows(new), again.score_windows(new))
    assert first.score_windows(new[:0]).shape == (0,)


def test_a_score_does_not_depend_on_its_batch():
    detector = small().fit_windows(walkers(100, False, 0))
    new = walkers(10, True, 1)
    assert detector.score_windows(new)[3:4] == pytest.approx(detector.score_windows(new[3:4]), abs=1e-5)


def test_odd_windows_are_drawn_away():
    normal, odd = walkers(200, False, 0), walkers(200, True, 1)
    detector = small(least=60, most=60, lr=1e-2).fit_windows(normal, odd)
    assert float(detector.flow["radius"][0]) == 10
    scores = detector.score_windows(np.concatenate([walkers(50, False, 2), walkers(50, True, 3)]))
    assert auroc(np.repeat([0, 1], 50), scores).value > 0.9


def walk(odd_from: int, seed: int = 0, total: int = 100) -> Notes:
    """A person who walks in a clip of 100 frames and moves oddly from a frame on, as 17 keypoints at every second frame."""
    rng = np.random.default_rng(seed)
    joints = 5 * np.concatenate([walker(rng, False, odd_from), walker(rng, True, total - odd_from)]) + 50
    points = np.zeros((total, 17, 3), np.float32)
    for joint, keypoint in enumerate(poses.ORDER):
        if keypoint < 17:
            points[:, keypoint, :2] = joints[:, joint]
    at = np.arange(0, total, 2)
    n = len(at)
    objects = Objects(
        at, np.tile([30, 0, 70, 100], (n, 1)).astype(np.float32), np.full(n, 7), np.ones(n, bool), np.ones(n),
        points[at], np.zeros((n, 8)), np.zeros((n, 0)),
    )  # fmt: skip
    return Notes(f"walk {seed}", (100, 100), np.arange(total) / 25, objects=objects, looked=at)


def test_the_curve_of_a_clip():
    detector = small(least=40, most=40, stride=2).fit([walk(99, s) for s in range(12)])
    curve = detector.curve(walk(50, 99))
    assert curve.values[60:80].mean() > curve.values[15:35].mean()
    assert {p.track for p in curve.places} == {7} and all(12 <= p.index < 100 for p in curve.places)
    assert curve.places[0].box is not None
    looks = STGNF(**{**detector.arguments(), "steps": "looks"})
    looks.restore(detector.state())
    looks.fitted = True
    assert np.isfinite(looks.curve(walk(50, 99)).values).all()


def test_nobody_is_as_normal_as_can_be():
    detector = small().fit_windows(walkers(100, False, 0))
    empty = Notes("empty", (10, 10), np.arange(30) / 25)
    curve = detector.curve(empty)
    assert curve.values == pytest.approx(np.full(30, detector.normal[0])) and curve.places == ()


def test_no_window_to_learn_from():
    with pytest.raises(InputError, match="tracked"):
        STGNF().fit([Notes("empty", (10, 10), np.arange(30) / 25)])
    with pytest.raises(InputError, match="windows"):
        STGNF().fit_windows(np.zeros((3, 2, 10, 18)))


@pytest.mark.parametrize("wrong", [{"blocks": 0}, {"lr": 0}, {"least": 10, "most": 5}])
def test_wrong_arguments(wrong):
    with pytest.raises(InputError):
        STGNF(**wrong)
