"""LightAIR's head: the specification's checks L-1 to L-4 (search §7.4)."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oddwatch.core import InputError  # noqa: E402
from oddwatch.search.lightair import (  # noqa: E402
    ActionAppearance,
    action_alignment,
    certainty,
    lightair_loss,
    residual,
    top_actions,
)


def units(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=g), dim=-1)


def head(**options):
    return ActionAppearance(units(20, 16, seed=9), **options)


def test_l1_what_is_left_is_orthogonal_to_the_action():
    v, action = units(32, 16), units(32, 16, seed=1)
    for omega in (torch.zeros(32), torch.full((32,), 0.3), torch.ones(32)):
        left = residual(v, action, omega)
        assert float((left * action).sum(-1).abs().max()) < 1e-6
    parts = head()(v)
    assert float((parts.appearance * parts.action).sum(-1).abs().max().detach()) < 1e-5


def test_l2_top_actions_worked_example():
    p, entropy = top_actions(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), k=2, temperature=0.1)
    assert p[0].tolist() == pytest.approx([0.999955, 0, 0.000045, 0], abs=1e-6)
    assert float(entropy) == pytest.approx(0.000499, abs=1e-6)
    assert float(certainty(entropy)) == pytest.approx(0.999501, abs=1e-6)


def test_l3_certainty_is_within_0_and_1_and_one_action_stops_the_projection_s_gradient():
    parts = head(k=5, temperature=10.0)(units(64, 16))
    assert ((parts.certainty > 0) & (parts.certainty <= 1)).all()
    assert float(parts.certainty.min().detach()) == pytest.approx(
        1 / 5, abs=0.02
    )  # nearly even: entropy ln 5
    p, entropy = top_actions(torch.randn(8, 6), k=1)
    assert torch.equal(entropy, torch.zeros(8)) and torch.equal(certainty(entropy), torch.ones(8))
    assert torch.equal(p.max(1).values, torch.ones(8))

    v, action, weight = units(4, 16), units(4, 16, seed=1), units(4, 16, seed=2)
    grads = []
    for omega in (1.0, 0.0):
        leaf, act = v.clone().requires_grad_(), action.clone().requires_grad_()
        (residual(leaf, act, torch.full((4,), omega)) * weight).sum().backward()
        grads.append((leaf.grad, act.grad))
    # The gradient of v alone, as if the projection were a constant, and none for the action.
    assert torch.allclose(grads[0][0], weight) and not grads[0][1].any()
    through = weight - (weight * action).sum(-1, keepdim=True) * action
    assert torch.allclose(grads[1][0], through, atol=1e-6) and grads[1][1].any()


def test_l4_output_is_of_unit_length():
    parts = head()(5 * torch.randn(64, 16))
    for vectors in (parts.vector, parts.action, parts.appearance):
        assert torch.allclose(vectors.norm(dim=-1), torch.ones(64), atol=1e-5)


def test_the_codebook_is_frozen_and_the_rest_learns():
    model = head()
    assert "codebook" not in dict(model.named_parameters()) and "codebook" in model.state_dict()
    before = model.codebook.clone()
    pictures, texts = units(16, 16), units(16, 16, seed=3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        parts = model(pictures)
        itc = torch.nn.functional.cross_entropy(parts.vector @ texts.T / 0.07, torch.arange(16))
        loss = lightair_loss(itc, torch.zeros(()), action_alignment(parts.action, texts))
        optimizer.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    assert torch.equal(model.codebook, before)


def test_gradients_stay_finite_where_one_action_is_certain():
    logits = torch.tensor([[900.0, 0.0, -900.0]], requires_grad=True)
    _, entropy = top_actions(logits, k=3, temperature=0.1)
    certainty(entropy).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_alignment_by_hand():
    action, text = (
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True),
    )
    assert float(action_alignment(action, text)) == pytest.approx(0.5)
    assert float(action_alignment(action, text, torch.tensor([True, False]))) == pytest.approx(0)
    assert float(action_alignment(action, text, torch.tensor([False, False]))) == 0
    assert not action_alignment(action, text).requires_grad
    assert float(lightair_loss(*torch.tensor([1.0, 2.0, 3.0]))) == pytest.approx(1 + 4 * 2 + 3)


def test_encode_and_actions_are_numpy_and_agree_with_the_head():
    model, vectors = head(), units(10, 16).numpy()
    found = model.encode(vectors, batch=3)
    assert found.dtype == np.float32 and np.allclose(
        found, model(torch.from_numpy(vectors)).vector.detach(), atol=1e-6
    )
    assert model.encode(np.empty((0, 16), np.float32)).shape == (0, 16)
    words = [f"word {i}" for i in range(20)]
    for told in model.actions(vectors, words, batch=4):
        shares = [s for _, s in told]
        assert (
            len(told) == 3
            and shares == sorted(shares, reverse=True)
            and math.isclose(sum(shares), 1, abs_tol=1e-5)
        )
    with pytest.raises(InputError, match="20"):
        model.actions(vectors, words[:3])


def test_a_seed_repeats_and_leaves_torch_s_own_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b = head(seed=1), head(seed=1)
    assert torch.equal(torch.rand(3), expected)
    v = units(4, 16)
    assert torch.equal(a(v).vector, b(v).vector) and not torch.equal(a(v).vector, head(seed=2)(v).vector)


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 21}, {"temperature": 0.0}, {"tau": -1.0}])
def test_what_does_not_fit_is_an_input_error(options):
    with pytest.raises(InputError, match="expected"):
        head(**options)
