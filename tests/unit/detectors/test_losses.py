"""The losses of the trained heads: worked numbers of the specification, gradients, edges."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oddwatch.detectors.image.losses import bce, cosine_hinge, dice, focal  # noqa: E402


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_focal_as_worked_out():
    for p, y in ((0.8, 1.0), (0.2, 0.0)):
        assert float(focal(t(p), t(y), alpha=0.25, gamma=2)) == pytest.approx(0.0022314, abs=1e-7)
        assert float(focal(t(p), t(y), gamma=4)) == pytest.approx(0.00035703, abs=1e-8)


def test_focal_weighs_the_classes_apart_when_told():
    both = (0.4, 0.6)
    assert float(focal(t(0.8), t(1.0), alpha=both)) == pytest.approx(0.6 * 0.0089257, abs=1e-7)
    assert float(focal(t(0.2), t(0.0), alpha=both)) == pytest.approx(0.4 * 0.0089257, abs=1e-7)


def test_focal_without_gamma_is_cross_entropy():
    p, y = t(0.9, 0.3, 0.6), t(1, 0, 0)
    assert float(focal(p, y, gamma=0)) == pytest.approx(float(bce(p, y)))
    expected = torch.nn.functional.binary_cross_entropy(p, y)
    assert float(bce(p, y)) == pytest.approx(float(expected))


def test_dice_as_worked_out():
    # Two pictures of five pixels: Σpy 3, Σp 4, Σy 4 in the first; all right in the second.
    p = torch.stack([t(1, 1, 1, 1, 0), t(1, 0, 0, 0, 0)])
    y = torch.stack([t(1, 1, 1, 0, 1), t(1, 0, 0, 0, 0)])
    assert float(dice(p[:1], y[:1])) == pytest.approx(0.22222, abs=1e-5)
    assert float(dice(p, y)) == pytest.approx(0.11111, abs=1e-5)
    assert float(dice(torch.zeros(1, 5), torch.zeros(1, 5))) == 0


def test_cubed_hinge_as_worked_out():
    assert float(cosine_hinge(t(0.6), 0.8, alike=True)) == pytest.approx(0.008)
    assert float(cosine_hinge(t(0.3), -0.2, alike=False)) == pytest.approx(0.125)
    assert float(cosine_hinge(t(0.9), 0.8, alike=True)) == 0
    assert float(cosine_hinge(t(-0.3), -0.2, alike=False)) == 0


def test_hinge_and_cross_entropy_leave_out_what_has_no_weight():
    cos = t(0.6, 0.1)
    assert float(cosine_hinge(cos, 0.8, alike=True, weight=t(1, 0))) == pytest.approx(0.008)
    assert float(cosine_hinge(cos, 0.8, alike=True, weight=t(0, 0))) == 0
    assert float(bce(t(0.9, 0.1), t(1, 1), t(1, 0))) == pytest.approx(float(bce(t(0.9), t(1))))


def test_certain_and_wrong_is_finite_and_has_a_gradient_below_certainty():
    p = torch.tensor([1.0, 0.0, 0.7], requires_grad=True)
    loss = focal(p, torch.tensor([0.0, 1.0, 1.0])) + bce(p, torch.tensor([0.0, 1.0, 1.0]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(p.grad).all() and p.grad[2] < 0
