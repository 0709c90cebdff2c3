"""MULDE: worked numbers, parameter count, blobs in the plane, an odd object in a clip, keeping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.metrics.ranking import auroc

torch = pytest.importorskip("torch")

from oddwatch.detectors.video import mulde  # noqa: E402
from oddwatch.detectors.video.mulde import MULDE, ScoreMatching  # noqa: E402


def test_the_loss_of_the_specification():
    """f = x²/2, x = 1, n = 0.5, σ = 0.5: 0.03125; the regulariser with f(1) = 0.5 and β = 0.1: 0.0125."""
    one, half = torch.tensor([[1.0]]), torch.tensor([[0.5]])
    f = lambda x, sigma: x.square().sum(1) / 2  # noqa: E731
    assert float(mulde.matching(torch, f, one, half, half, 0.0).detach()) == pytest.approx(0.03125)
    assert float(mulde.matching(torch, f, one, half, half, 0.1).detach()) == pytest.approx(0.03125 + 0.0125)


def test_the_parameters_of_the_specification():
    count = sum(p.numel() for p in mulde.network(torch, 512, (4096, 4096)).parameters())
    assert round(count / 1e6, 1) == 18.9


def blobs(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.array([[-1.0, -1.0], [1.0, 1.0]])[rng.integers(2, size=n)]
    return centres + rng.normal(0, 0.15, (n, 2))


def area(density: ScoreMatching) -> float:
    odd = np.random.default_rng(9).uniform(-2.5, 2.5, (400, 2))
    scores = density.score(np.concatenate([blobs(400, 1), odd]))
    return float(auroc(np.repeat([0, 1], 400), scores).value)


@pytest.mark.slow
def test_blobs_stand_out_from_a_square():
    """The fixture of the specification: 0.974 with one component."""
    assert area(ScoreMatching().fit(blobs(1000, 0))) > 0.95


def test_the_learnt_energy_is_low_where_rows_are():
    density = ScoreMatching((32, 32), steps=300, noise=(0.1, 1.0), lr=3e-3).fit(blobs(500, 0))
    low, low_too, between, beside = density.values(np.array([[1.0, 1], [-1, -1], [0, 0], [1, -1]]))[:, 2]
    assert max(low, low_too) < between < beside
    assert area(density) > 0.9


def test_equal_seeds_give_equal_scores_and_are_kept():
    x = blobs(50, 0)
    first, second = (ScoreMatching((8,), steps=5, looks=3).fit(x) for _ in range(2))
    again = ScoreMatching((8,), steps=5, looks=3).restore(first.state())
    assert np.array_equal(first.score(x), second.score(x)) and np.array_equal(first.score(x), again.score(x))
    assert first.score(x[:0]).shape == (0,)


def clip(seed: int, odd: bool = False) -> Notes:
    rng = np.random.default_rng(seed)
    n = 40
    velocity = np.abs(rng.normal(0, 0.01, (n, 8))).astype(np.float32)
    velocity[:, 0] += 0.1
    if odd:
        velocity[20:30, 4] += 1
    objects = Objects(
        np.arange(n), np.tile([0, 0, 9, 9], (n, 1)).astype(np.float32), np.full(n, 3), np.zeros(n, bool), np.ones(n),
        np.full((n, 17, 3), np.nan, np.float32), velocity, np.zeros((n, 0), np.float32),
    )  # fmt: skip
    return Notes(f"clip {seed}", (90, 160), np.arange(n) / 25, objects=objects)


def test_an_odd_object_is_found_and_the_detector_kept():
    detector = MULDE(hidden=(32,), steps=100, looks=4).fit([clip(s) for s in range(4)])
    curve = detector.curve(clip(9, odd=True))
    assert set(curve.cues) == {"velocity"}
    assert curve.values[22:28].min() > curve.values[:12].max()
    assert {p.track for p in curve.places} == {3}
    again = MULDE(**detector.arguments())
    again.restore(detector.state())
    again.fitted = True
    assert np.array_equal(again.curve(clip(9, odd=True)).values, curve.values)
    without = replace(clip(9), objects=Objects())
    assert detector.curve(without).values.tolist() == [0] * 40


@pytest.mark.parametrize("wrong", [{"cues": ("colour",)}, {"noise": (1.0, 0.1)}, {"steps": 0}, {"lr": 0}])
def test_wrong_arguments(wrong):
    with pytest.raises(InputError):
        MULDE(**wrong)


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="none of"):
        MULDE().fit([replace(clip(0), objects=Objects())])
    with pytest.raises(InputError, match="rows"):
        ScoreMatching().fit(np.zeros((0, 2)))
