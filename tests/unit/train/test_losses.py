"""Losses of the person-search systems: the specification's worked examples (search §2.4, §5.10, §6.4, §7.3)."""

import math

import pytest

torch = pytest.importorskip("torch")

from oddwatch.core import InputError  # noqa: E402
from oddwatch.train import losses  # noqa: E402

DISTINCT = torch.tensor([0, 1])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def units(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=rng(seed)), dim=-1)


def test_s1_itc_worked_example():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert float(losses.itc_loss_of(logits, DISTINCT, 0.0)) == pytest.approx(0.126928, abs=1e-6)
    assert float(losses.itc_loss_of(logits, DISTINCT, 0.2)) == pytest.approx(0.326928, abs=1e-6)


def test_itc_of_vectors_is_itc_of_their_logits_and_learns():
    image, text = units(6, 8).requires_grad_(), units(6, 8, seed=1).requires_grad_()
    temperature = torch.tensor(0.07, requires_grad=True)
    ids = torch.tensor([0, 1, 2, 2, 3, 4])
    loss = losses.itc_loss(image, text, ids, temperature)
    assert torch.allclose(loss, losses.itc_loss_of(image @ text.T / 0.07, ids))
    loss.backward()
    assert all(float(x.grad.abs().sum()) > 0 for x in (image, text, temperature))
    with torch.no_grad():
        stepped = losses.itc_loss(image - 1e-3 * image.grad, text - 1e-3 * text.grad, ids, temperature)
    assert stepped < loss


def test_s2_soft_labels_worked_example():
    found = losses.soft_labels(torch.tensor([7, 7, 9]), 0.2)
    wanted = [[0.466667, 0.466667, 0.066667]] * 2 + [[0.066667, 0.066667, 0.866667]]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(3))


def test_s3_itm_sampling_weights_worked_example():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    weights = losses.itm_weights(logits, torch.tensor([0, 1, 2]))
    assert not weights.requires_grad
    row = weights[0] / weights[0].sum()
    assert row.tolist() == pytest.approx([0.0, 0.731045, 0.268955], abs=1e-6)
    drawn = losses.draw_negatives(weights[:1].expand(20_000, 3), rng())
    assert float((drawn == 1).float().mean()) == pytest.approx(0.731, abs=0.01)


def test_s4_itm_batch_of_four_makes_twelve_pairs_with_four_positives():
    ids = torch.tensor([5, 6, 5, 8])
    for seed in range(50):
        pairs = losses.itm_pairs(torch.randn(4, 4, generator=rng(seed)), ids, rng(seed))
        assert len(pairs) == 12 and pairs.labels.tolist() == [1] * 4 + [0] * 8
        same = ids[pairs.image] == ids[pairs.text]
        assert same.tolist() == [True] * 4 + [False] * 8
        assert pairs.text[4:8].tolist() == pairs.image[8:].tolist() == [0, 1, 2, 3]


def test_the_hard_image_of_a_text_is_its_most_similar_one():
    logits = torch.full((3, 3), -20.0)
    logits[2, 0] = 20.0  # image 2 fits text 0
    pairs = losses.itm_pairs(logits, torch.arange(3), rng())
    assert int(pairs.image[3]) == 2 and int(pairs.text[3]) == 0
    assert int(pairs.text[8]) == 0 and int(pairs.image[8]) == 2


def test_pairs_that_are_ruled_out_are_never_drawn_and_nothing_is_invented():
    ids, logits = torch.arange(3), torch.zeros(3, 3)
    barred = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    for seed in range(20):
        pairs = losses.itm_pairs(logits, ids, rng(seed), barred)
        negative = pairs.labels == 0
        assert not barred[pairs.image[negative], pairs.text[negative]].any()
    alone = losses.itm_pairs(torch.zeros(2, 2), torch.tensor([4, 4]), rng())
    assert alone.labels.tolist() == [1, 1]


def test_itm_loss_is_two_class_cross_entropy():
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    wanted = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert float(losses.itm_loss(logits, torch.tensor([1, 0]))) == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(InputError, match=r"\(N, 2\)"):
        losses.itm_loss(torch.zeros(3, 3), torch.zeros(3, dtype=torch.int64))


def test_c5_hard_pair_loss_is_ln_2_at_a_half_and_falls_with_the_match():
    assert float(losses.hard_pair_loss(torch.zeros(6, 2))) == pytest.approx(math.log(2), abs=1e-6)
    by_match = [float(losses.hard_pair_loss(torch.tensor([[0.0, m]] * 4))) for m in (2.0, 0.0, -2.0, -8.0)]
    assert by_match == sorted(by_match, reverse=True)
    mixed = torch.tensor([[3.0, -1.0], [-1.0, 3.0]])
    assert torch.allclose(
        losses.hard_pair_loss(mixed), losses.itm_loss(mixed, torch.zeros(2, dtype=torch.int64))
    )


def test_mlm_counts_masked_places_only():
    logits = torch.randn(2, 5, 11, generator=rng(), requires_grad=True)
    targets = torch.full((2, 5), -100)
    targets[0, 2], targets[1, 4] = 3, 7
    by_hand = -(logits[0, 2].log_softmax(0)[3] + logits[1, 4].log_softmax(0)[7]) / 2
    assert torch.allclose(losses.mlm_loss(logits, targets), by_hand)
    nothing = losses.mlm_loss(logits, torch.full((2, 5), -100))
    nothing.backward()
    assert float(nothing.detach()) == 0 and not logits.grad.abs().any()


def test_m1_sdm_near_zero_when_right_positive_when_flat_and_symmetric():
    right = losses.sdm_loss_of(torch.tensor([[10.0, 0.0], [0.0, 10.0]]), DISTINCT)
    assert abs(float(right)) < 2e-3
    # Flat: each way 0.5 ln(0.5) + 0.5 ln(0.5 / 1e-8).
    flat = 2 * (0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-8))
    assert float(losses.sdm_loss_of(torch.full((2, 2), 3.0), DISTINCT)) == pytest.approx(flat, rel=1e-5)
    image, text, ids = units(5, 8), units(5, 8, seed=1), torch.tensor([1, 1, 2, 3, 4])
    both = losses.sdm_loss(image, text, ids)
    assert float(both) > 0 and torch.allclose(both, losses.sdm_loss(text, image, ids))


def test_sdm_is_zero_where_the_similarities_are_the_shares_of_equal_ids():
    logits = (losses.soft_labels(torch.tensor([1, 1, 2]), 0.0) + 1e-8).log()
    assert float(losses.sdm_loss_of(logits, torch.tensor([1, 1, 2]))) == pytest.approx(0, abs=1e-6)


def test_v4_equal_embeddings_make_the_kl_term_zero():
    classifier, labels = torch.nn.Linear(8, 5), torch.tensor([0, 3, 4])
    with torch.no_grad():
        a, b = classifier(units(3, 8)), classifier(units(3, 8, seed=1))
    assert float(losses.symmetric_kl(a, a)) == 0
    assert float(losses.symmetric_kl(a, b)) > 0
    assert torch.allclose(losses.symmetric_kl(a, b), losses.symmetric_kl(b, a))
    assert torch.allclose(
        losses.action_loss(a, a, labels), torch.nn.functional.cross_entropy(a, labels)
    )  # equal views: nothing but the cross-entropy is left


def test_action_loss_by_hand_and_without_known_actions():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    kl = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    lk = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    told = (math.log(2) - math.log(0.9)) / 2
    found = losses.action_loss(p.log(), q.log(), torch.tensor([0]))
    assert float(found) == pytest.approx(told + (kl + lk) / 2, abs=1e-6)
    unknown = losses.action_loss(p.log(), q.log(), torch.tensor([-100]))
    assert float(unknown) == pytest.approx((kl + lk) / 2, abs=1e-6)


def test_siglip_by_hand():
    logits = torch.tensor([[2.0, -1.0], [0.0, 1.0]])
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    wanted = -sum(math.log(sigmoid(x)) for x in (2.0, 1.0, 0.0, 1.0)) / 2
    assert float(losses.siglip_loss(logits, DISTINCT)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.itc_loss(torch.zeros(3, 4), torch.zeros(2, 4), torch.arange(3)),
        lambda: losses.itc_loss_of(torch.zeros(3, 3), torch.arange(2)),
        lambda: losses.soft_labels(torch.arange(3), 1.5),
        lambda: losses.soft_labels(torch.zeros(0)),
        lambda: losses.itm_weights(torch.zeros(2, 3), torch.arange(2)),
    ],
)
def test_what_does_not_fit_is_an_input_error(call):
    with pytest.raises(InputError, match="expected"):
        call()
