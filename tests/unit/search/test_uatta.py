"""UATTA: the specification's check U-1, which queries are learnt from, and that only LayerNorms learn (search §7.7)."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oddwatch.core import InputError  # noqa: E402
from oddwatch.search.uatta import (  # noqa: E402
    adapt,
    adaptation_loss,
    agreement,
    found_back,
    layer_norms,
    uncertainty,
)


def test_u1_uncertainty_worked_example():
    assert float(uncertainty(0.5, 0.25)) == pytest.approx(1.947734, abs=1e-6)
    assert uncertainty(np.array([0.1, 0.9]), np.array([0.1, 0.9])).tolist() == [1, 1]
    assert float(uncertainty(0.3, 0.0)) == pytest.approx(math.exp(2))
    assert float(uncertainty(0.2, 0.4)) == float(uncertainty(0.4, 0.2))


def test_queries_that_are_found_back_both_ways():
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.1, 0.2, 0.7]])
    # Query 1's first image prefers query 0.
    assert found_back(scores, k=1).tolist() == [True, False, True]
    # Of its first two, image 1 has query 1 first.
    assert found_back(scores, k=2).tolist() == [True, True, True]
    assert found_back(scores, k=50).all()


def test_agreement_by_hand():
    scores = np.array([[0.03, 0.0], [0.06, 0.0]])
    p, r = agreement(scores, k=2)
    e, e2 = math.e, math.e**2
    assert p == pytest.approx([e / (e + 1), e2 / (e2 + 1)])
    assert r == pytest.approx([e / (e + e2), e2 / (e + e2)])
    p, r = agreement(scores, k=1)
    assert p.tolist() == [1, 1] and r.tolist() == [0, 1]


def test_loss_is_entropy_over_uncertainty():
    even = torch.zeros(2, 8)
    assert float(adaptation_loss(even, torch.ones(2))) == pytest.approx(math.log(8))
    assert float(adaptation_loss(even, torch.tensor([2.0, 4.0]))) == pytest.approx(math.log(8) * 3 / 8)
    sure = torch.tensor([[50.0] + [0.0] * 7])
    assert float(adaptation_loss(sure, torch.ones(1))) == pytest.approx(0, abs=1e-6)


class Cross(torch.nn.Module):
    """A small cross-encoder over made-up vectors."""

    def __init__(self, queries=24, images=30, dim=12):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.register_buffer("images", torch.randn(images, dim, generator=g))
        self.register_buffer("texts", self.images[:queries] + 0.8 * torch.randn(queries, dim, generator=g))
        torch.manual_seed(0)
        self.mix = torch.nn.Linear(2 * dim, dim)
        self.norm = torch.nn.LayerNorm(dim)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(dim, dim), torch.nn.LayerNorm(dim), torch.nn.Linear(dim, 2)
        )

    def match(self, queries, images):
        text = self.texts[queries][:, None].expand(-1, images.shape[1], -1)
        both = torch.cat([text, self.images[images]], dim=-1)
        return self.head(self.drop(self.norm(self.mix(both))))[..., 1]

    def coarse(self):
        unit = torch.nn.functional.normalize
        return (unit(self.texts, dim=-1) @ unit(self.images, dim=-1).T).numpy()


def test_only_layer_norms_learn_and_the_scores_become_more_decided():
    model = Cross().train()
    model.mix.bias.requires_grad_(False)
    frozen = {n: p.requires_grad for n, p in model.named_parameters()}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    norms = layer_norms(model)
    assert set(norms) == {"norm.weight", "norm.bias", "head.1.weight", "head.1.bias"}
    told = []
    found = adapt(
        model, model.match, model.coarse(), epochs=40, lr=2e-2, progress=lambda *a: told.append(a[1:])
    )
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == set(norms)
    assert found.parameters == 48 and found.transductive
    assert len(found.losses) == 40 and found.losses[-1] < 0.7 * found.losses[0]
    assert found.queries.tolist() == np.flatnonzero(found_back(model.coarse())).tolist()
    assert told[-1] == (40, 40)
    assert model.training and {n: p.requires_grad for n, p in model.named_parameters()} == frozen
    assert all(p.grad is None for p in model.parameters())


def test_x_vlm_s_norms_are_as_many_as_the_paper_counts():
    from oddwatch.encoders.xvlm.keys import PUBLISHED
    from oddwatch.encoders.xvlm.nets import Net

    with torch.device("meta"):
        net = Net(PUBLISHED["xvlm"])
    cross = torch.nn.ModuleList([*net.text_encoder.encoder.layer[6:], net.itm_head])
    count = sum(p.numel() for p in layer_norms(cross).values())
    assert count == 33_792 - 2 * 2 * 768  # without the embedding's norm and the MLM head's


def test_a_seed_repeats():
    losses = []
    for _ in range(2):
        model = Cross()
        losses.append(adapt(model, model.match, model.coarse(), epochs=3, batch=4, seed=2).losses)
    assert losses[0] == losses[1]


def test_only_queries_that_are_found_back_are_asked_about_their_best_images():
    model, asked = Cross(queries=3, images=3), []

    def match(queries, images):
        asked.append((queries.tolist(), images.tolist()))
        return model.match(queries, images)

    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.1, 0.2, 0.7]])
    found = adapt(model, match, scores, k=1, candidates=2, epochs=1)
    assert found.queries.tolist() == [0, 2]
    assert len(asked) == 1
    assert sorted(zip(*asked[0], strict=True)) == [(0, [0, 2]), (2, [2, 1])]


def test_what_does_not_fit_is_an_input_error():
    model = Cross()
    with pytest.raises(InputError, match="no LayerNorm"):
        adapt(torch.nn.Linear(2, 2), model.match, model.coarse())
    with pytest.raises(InputError, match="match"):
        adapt(model, lambda q, i: model.match(q, i)[:, :2], model.coarse())
    with pytest.raises(InputError, match="1 or more"):
        adapt(model, model.match, model.coarse(), epochs=0)
    with pytest.raises(InputError, match="queries, images"):
        found_back(np.zeros(3))
    with pytest.raises(InputError, match="finite"):
        found_back(np.array([[np.nan]]))
    assert all(p.requires_grad for p in model.parameters())
