"""Weakly supervised detectors: worked numbers, sizes, what is learnt from drawn bags, keeping, notes in and curves out."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError, ModelError
from oddwatch.detectors import kept
from oddwatch.detectors.video.notes import Notes
from oddwatch.metrics.ranking import auroc

torch = pytest.importorskip("torch")

from oddwatch.detectors.video import mil, rtfm, sultani, urdmu  # noqa: E402
from oddwatch.detectors.video.rtfm import RTFM  # noqa: E402
from oddwatch.detectors.video.snippets import Bags  # noqa: E402
from oddwatch.detectors.video.sultani import Sultani  # noqa: E402
from oddwatch.detectors.video.urdmu import URDMU  # noqa: E402

QUICK = {
    Sultani: {"steps": 30, "widths": (16, 4)},
    RTFM: {"steps": 3, "branch": 8, "widths": (8, 4), "batch": 4},
    URDMU: {"steps": 3, "width": 16, "hidden": 8, "batch": 4, "slots": 8},
}
DETECTORS = list(QUICK)


def t(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(n: int, seed: int, width: int = 64, segments: int = 32, few: int = 6):
    """The bags of the specification: ``few`` rows of an anomalous one lie 2 further along one direction. Features, labels,
    labels of all rows."""
    rng, direction = np.random.default_rng(seed), np.random.default_rng(99).normal(size=width)
    direction /= np.linalg.norm(direction)
    features, labels, rows = [], [0] * n + [1] * n, np.zeros((2 * n, segments), int)
    for i, label in enumerate(labels):
        x = rng.normal(0, 0.5, (segments, width))
        if label:
            at = int(rng.integers(segments - few + 1))
            x[at : at + few] += 2 * direction
            rows[i, at : at + few] = 1
        features.append(x.astype(np.float32))
    return features, labels, rows.ravel()


SMALL = drawn(12, 3, 6, 8, 2)


# -- terms -------------------------------------------------------------------------------------------------------------


def test_how_many_segments_speak_for_a_clip():
    assert [mil.how_many(n, "sixteenth+1") for n in (1, 15, 16, 32, 48, 160, 200, 256)] == [
        1,
        1,
        2,
        3,
        4,
        11,
        13,
        17,
    ]
    assert [mil.how_many(n, "sixteenth") for n in (5, 16, 47, 512)] == [1, 1, 2, 32]
    assert [mil.how_many(n, "tenth") for n in (3, 32, 200)] == [1, 3, 20]
    with pytest.raises(InputError):
        mil.how_many(3, "half")


def test_the_mean_of_the_highest_never_looks_at_padding():
    scores = t([[0.1, 0.9, 0.4, 0.8], [0.2, 0.6, 0.5, 1.0]])
    assert mil.topk_mean(scores, 2).tolist() == pytest.approx([0.85, 0.8])
    assert mil.topk_mean(scores, 9).tolist() == pytest.approx([0.55, 0.575])
    valid = torch.tensor([[True, True, True, False], [True, True, True, False]])
    assert mil.topk_mean(scores, 2, valid=valid).tolist() == pytest.approx([0.65, 0.55])
    assert mil.topk_mean(scores, torch.tensor([1, 3]), valid=valid).tolist() == pytest.approx([0.9, 1.3 / 3])
    assert mil.topk_mean(scores, 9, valid=valid).tolist() == pytest.approx([1.4 / 3, 1.3 / 3])
    by = t([[4, 1, 3, 2], [1, 2, 3, 4]])
    assert mil.topk_mean(scores, 2, by=by).tolist() == pytest.approx([0.25, 0.75])


def test_sultanis_loss_of_the_specification():
    a, p = t([[0.2, 0.9, 0.4]]), t([[0.1, 0.5, 0.2]])
    assert float(mil.rank_hinge(a, p)) == pytest.approx(0.6)
    assert float(mil.smooth(a)) == pytest.approx(0.74)
    assert float(mil.sparse_l1(a)) == pytest.approx(1.5)
    assert float(sultani.terms(a, p)) == pytest.approx(0.6001792)
    a, p = t([[0.2, 0.9, 0.4], [0.1, 0.3, 0.6]]), t([[0.1, 0.5, 0.2], [0.3, 0.1, 0.1]])
    assert float(mil.rank_hinge(a, p)) == pytest.approx(1.3)
    assert float(mil.smooth(a)) == pytest.approx(0.87)
    assert float(sultani.terms(a, p)) == pytest.approx(1.3002696)


def test_rtfms_loss_of_the_specification():
    anomalous, normal = t([[3, 4], [0, 1], [6, 8], [1, 0]]), t([[1, 0], [0, 2], [0, 1], [2, 0]])
    found = torch.stack([normal, anomalous])[:, None]
    size = rtfm.lengths(found)
    assert size.tolist() == [[1, 2, 1, 2], [5, 1, 10, 1]]
    assert mil.top(size, 2)[1].tolist() == [2, 0] and sorted(mil.top(size, 2)[0].tolist()) == [1, 3]
    mean_a, mean_n = t([[4.5, 6]]), t([[1, 1]])
    assert float(mil.magnitude(mean_a, mean_n)) == pytest.approx(8819.8795, rel=1e-7)
    scores, y = t([[0.1, 0.4, 0.2, 0.3], [0.2, 0.3, 0.8, 0.1]]), t([0, 1])
    assert mil.topk_mean(scores, 2, by=size).tolist() == pytest.approx([0.35, 0.5])
    assert float(mil.topk_bce(torch, scores, y, 2, by=size)) == pytest.approx(0.561965, abs=1e-6)
    assert 8e-3 * float(mil.sparse_l2(scores[1:])) == pytest.approx(0.00706541, abs=1e-8)
    total = rtfm.objective(torch, scores, found, y, 2, 100.0, torch.nn.Dropout(0.0))
    assert float(total) == pytest.approx(1.45161841, abs=1e-7)
    bags = t([[0.2, 0.3], [0.8, 0.1]])
    assert float(mil.smooth(bags, across=True)) == pytest.approx(0.75)
    assert float(mil.smooth(bags)) == pytest.approx(0.5)


def test_crops_share_the_chosen_snippets_but_keep_their_own_features():
    """Two crops with opposite features: the mean over crops of the lengths chooses, each crop's own length counts."""
    one = t([[0, 1], [3, 0]])
    found = torch.stack([torch.stack([one, 2 * one]), torch.stack([one, -one])])
    scores = t([[0.5, 0.5], [0.5, 0.5]])
    plain = rtfm.objective(torch, scores, found, t([0, 1]), 1, 100.0, torch.nn.Dropout(0.0))
    expected = np.log(2) + 1e-4 * np.mean([(97 + 3) ** 2, (97 + 6) ** 2]) + 8e-3 * np.sqrt(0.5)
    assert float(plain) == pytest.approx(expected)


def test_a_random_part_of_the_snippets_competes():
    found = torch.arange(1, 33, dtype=torch.float64).reshape(1, 1, 32, 1).repeat(2, 1, 1, 1)
    scores = torch.linspace(0.01, 0.99, 32, dtype=torch.float64).repeat(2, 1)
    torch.manual_seed(0)
    totals = {
        float(rtfm.objective(torch, scores, found, t([0, 1]), 3, 1.0, torch.nn.Dropout(0.7)))
        for _ in range(8)
    }
    assert len(totals) > 1


def test_urdmus_numbers_of_the_specification():
    near = urdmu.nearness(torch, 3)
    expected = [
        [0.460545, 0.290304, 0.220666],
        [0.318789, 0.419392, 0.318789],
        [0.220666, 0.290304, 0.460545],
    ]
    assert near.numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert near.sum(1).tolist() == pytest.approx([0.9715, 1.0570, 0.9715], abs=5e-5)
    answer, read = urdmu.read(t([[1, 0]]), t([[1, 0], [0, 2]]))
    assert read[0].tolist() == pytest.approx([0.669762, 1], abs=1e-6)
    assert float(answer) == pytest.approx(0.669762, abs=1e-6)
    assert float(urdmu.divergence(t([[[1], [0]]]), t([[[0], [0]]]))) == pytest.approx(0.5)
    assert float(urdmu.divergence(t([[[1, 0]]]), t([[[0, 0]]]))) == pytest.approx(0.25)
    hinge = mil.triplet(torch, t([[1, 0]]), t([[0, 1]]), t([[-1, 0]]))
    assert float(hinge) == pytest.approx(0.414214, abs=1e-5)
    assert float(urdmu.distance(t([[3, 4]]), t([[0, 2]]))) == pytest.approx(97)


def test_a_memorys_answer_is_the_mean_of_its_four_strongest_slots():
    memory = torch.zeros(60, 4, dtype=torch.float64)
    memory[:5, 0] = t([2, 4, 6, 8, 10])
    answer, _ = urdmu.read(t([[1, 0, 0, 0]]), memory)
    assert float(answer) == pytest.approx(float(torch.sigmoid(t([2, 3, 4, 5])).mean()))


def test_pseudo_labels_of_the_specification():
    scores = t([[0.1, 0.2, 0.5, 0.9, 0.6, 0.2, 0.1, 0.1]])
    one = t([[0, 0, 0, 1, 0, 0, 0, 0]])
    assert float(mil.pseudo_bce(torch, scores, one)) == pytest.approx(0.309646, abs=1e-6)
    wide = t([[0.011109, 0.135335, 0.606531, 1, 0.606531, 0.135335, 0.011109, 0]])
    assert float(mil.pseudo_bce(torch, scores, wide)) == pytest.approx(0.331911, abs=1e-6)


# -- networks ----------------------------------------------------------------------------------------------------------


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_full_size_has_the_published_number_of_parameters():
    assert size(Sultani(**Sultani.PAPER)._network(torch, 4096)) == 2_114_113
    net = RTFM(**RTFM.PAPER)._network(torch, 2048)
    assert (size(net.context), size(net.head), size(net)) == (23_603_968, 1_114_881, 24_718_849)
    net = URDMU(**URDMU.PAPER)._network(torch, 1024)
    assert [size(m) for m in (net.embed, net.layers, net.mean, net.variance, net.head)] == [
        1_573_376, 4_201_472, 262_656, 262_656, 131_329,
    ]  # fmt: skip
    assert net.normal.numel() == net.anomalous.numel() == 30_720
    assert size(net) == 6_492_929


def test_the_non_local_block_starts_as_the_identity_and_then_looks_everywhere():
    torch.manual_seed(0)
    block = rtfm.distant(torch, 4).eval()
    x = torch.randn(1, 4, 9)
    assert torch.equal(block(x), x)
    torch.nn.init.ones_(block.out[1].weight)
    moved = x.clone()
    moved[..., 0] += 1
    assert (block(moved) - block(x))[0, :, 8].abs().max() > 1e-4


def test_the_memories_are_read_by_both_halves_and_only_normal_read_outs_are_drawn():
    torch.manual_seed(0)
    net = urdmu.network(torch, 5, 8, 1, 2, 0.0, 6, 4).eval()
    x = torch.randn(4, 7, 5)
    one, two = net.both(x), net.both(x)
    half = [out["scores"].chunk(2) for out in (one, two)]
    assert torch.equal(half[0][1], half[1][1]) and not torch.equal(half[0][0], half[1][0])
    with torch.no_grad():
        net.anomalous.add_(1)
    after = net.both(x)
    assert torch.equal(after["n_n"], one["n_n"]) and torch.equal(after["a_n"], one["a_n"])
    assert not torch.equal(after["n_a"], one["n_a"]) and not torch.equal(after["a_a"], one["a_a"])


# -- training ----------------------------------------------------------------------------------------------------------


def fixed(values: list[float]):
    """What :func:`mil.train` needs, with a held-out loss that goes through ``values``; the net, and its weight at each look."""
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    draws = Bags([np.ones((1, 1, 1), np.float32)] * 2, [0, 1], 1, lambda x: x, np.random.default_rng(0))
    left, seen = list(values), []

    def measure(x: torch.Tensor, y: torch.Tensor) -> float:
        assert not net.training and not torch.is_grad_enabled()
        seen.append(float(net.weight.detach()))
        return left.pop(0)

    held = (np.ones((1, 1, 1, 1), np.float32), np.ones(1, np.float32))
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    mil.train(
        torch, net, lambda x, y: -net.weight.sum(), draws, optimizer, steps=len(values), who="test",
        held=held, measure=measure, looks=len(values), patience=2,
    )  # fmt: skip
    return float(net.weight.detach()), seen


def test_training_ends_when_held_out_clips_get_worse_and_the_best_weights_stay():
    weight, seen = fixed([0.9, 0.5, 0.6, 0.7, 0.1, 0.1])
    assert seen == [1, 2, 3, 4] and weight == 2


def test_progress_that_is_next_to_nothing_is_none():
    weight, seen = fixed([0.9, 0.5, 0.4999, 0.4998, 0.1])
    assert seen == [1, 2, 3, 4] and weight == 2


def test_clips_are_held_out_where_there_are_enough():
    labels = [0] * 20 + [1] * 10
    own, held = mil.apart(labels, 0.2, np.random.default_rng(0))
    assert sorted([*own, *held]) == list(range(30))
    assert np.bincount(np.asarray(labels)[held]).tolist() == [4, 2]
    assert len(mil.apart(labels[:-1], 0.2, np.random.default_rng(0))[1]) == 0
    assert len(mil.apart(labels, 0.0, np.random.default_rng(0))[1]) == 0
    with pytest.raises(InputError):
        mil.apart(labels, 1.0, np.random.default_rng(0))


def test_a_loss_that_is_no_number_says_so():
    huge = [np.full((4, 3), 1e30, np.float32), np.full((4, 3), -1e30, np.float32)]
    with pytest.raises(ModelError, match="not finite"):
        RTFM(standardise=False, **QUICK[RTFM]).fit_bags(huge, [0, 1])


# -- what is learnt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments", "least"),
    [
        (Sultani, {"steps": 100}, 0.95),
        (RTFM, {"steps": 40}, 0.95),
        pytest.param(Sultani, {}, 0.95, marks=pytest.mark.slow),
        pytest.param(RTFM, {}, 0.95, marks=pytest.mark.slow),
        pytest.param(URDMU, {}, 0.95, marks=pytest.mark.slow),
    ],
)
def test_the_anomalous_rows_of_drawn_bags_are_found(method, arguments, least):
    """Rows were never labelled, only bags: 80 + 80 to learn from, 30 + 30 new ones."""
    features, labels, _ = drawn(80, 1)
    new, _, rows = drawn(30, 2)
    detector = method(**arguments).fit_bags(features, labels)
    scores = np.concatenate(detector.score_bags(new))
    assert scores.min() >= 0 and scores.max() <= 1
    assert auroc(rows, scores).value > least
    clips = [s.max() for s in detector.score_bags(new)]
    assert auroc([0] * 30 + [1] * 30, clips).value > least


@pytest.mark.parametrize("method", DETECTORS)
def test_labels_the_other_way_round_turn_the_scores(method):
    """What is called anomalous decides, so a detector that scored by size or position would fail one of the two."""
    arguments = QUICK[method] | {"steps": 30}
    if method is not Sultani:
        arguments["lr"] = 1e-2
    features = [np.full((4, 3), sign, np.float32) + 0.1 * SMALL[0][0][:4, :3] for sign in (-1, 1) * 6]
    marks = [0, 1] * 6
    for labels in (marks, [1 - m for m in marks]):
        scores = [s.mean() for s in method(**arguments).fit_bags(features, labels).score_bags(features)]
        assert auroc(labels, scores).value == 1


@pytest.mark.parametrize("method", DETECTORS)
def test_equal_seeds_give_equal_scores_and_others_do_not(method):
    features, labels, _ = SMALL
    one, two, other = (
        method(**QUICK[method], seed=seed).fit_bags(features, labels).score_bags(features)[0]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize("method", DETECTORS)
def test_a_clip_scores_the_same_alone_and_crops_are_averaged(method):
    features, labels, _ = SMALL
    detector = method(**QUICK[method]).fit_bags(features, labels)
    together = detector.score_bags(features)
    assert np.array_equal(detector.score_bags([features[5]])[0], together[5])
    both = detector.score_bags([np.stack([features[0], features[13]])])[0]
    assert both == pytest.approx((together[0] + together[13]) / 2, abs=1e-6)
    short = detector.score_bags([features[0][:1]])[0]
    assert short.shape == (1,) and np.isfinite(short).all()


@pytest.mark.parametrize("method", DETECTORS)
def test_the_state_gives_the_same_scores_again(method, tmp_path):
    features, labels, _ = SMALL
    detector = method(**QUICK[method]).fit_bags(features, labels, encoder="i3d")
    found = kept.read(detector.save(tmp_path))
    assert found.method == method.NAME and found.encoder == "i3d"
    again = method(**found.arguments)
    again.restore(found.arrays)
    again.fitted = True
    for one, two in zip(detector.score_bags(features), again.score_bags(features), strict=True):
        assert np.array_equal(one, two)
    with pytest.raises(ModelError, match="do not fit"):
        other = method(**{**found.arguments, **({"width": 8} if method is URDMU else {"widths": (3, 3)})})
        other.restore(found.arrays)
        other.fitted = True
        other.score_bags(features)


@pytest.mark.parametrize("method", DETECTORS)
def test_what_cannot_be_learnt_or_scored_is_refused(method):
    features, labels, _ = SMALL
    detector = method(**QUICK[method])
    with pytest.raises(InputError, match="not fitted"):
        detector.score_bags(features)
    with pytest.raises(InputError, match="one kind"):
        detector.fit_bags(features[:12], labels[:12])
    detector.fit_bags(features, labels)
    with pytest.raises(InputError, match="wide"):
        detector.score_bags([features[0][:, :3]])
    with pytest.raises(InputError, match="finite"):
        detector.score_bags([np.full((2, 6), np.nan, np.float32)])
    with pytest.raises(InputError, match="clip 0"):
        detector.score_bags([np.zeros((0, 6), np.float32)])


# -- notes -------------------------------------------------------------------------------------------------------------


def notes(seed: int, busy: bool, frames: int = 80) -> Notes:
    """A clip in which, when ``busy``, everything moves fast from frame 32 to 48."""
    rng = np.random.default_rng(seed)
    motion = rng.uniform(0, 0.1, (frames, 2, 2, 4)).astype(np.float16)
    if busy:
        motion[32:48, ..., 0] += 2
        motion[32:48, ..., 3] += 0.3
    looked = np.arange(0, frames, 8)
    cls = rng.normal(size=(len(looked), 6)).astype(np.float16)
    return Notes(
        f"clip {seed}", (90, 160), np.arange(frames) / 25, motion, looked=looked, cls=cls, encoder="toy"
    )


def test_notes_of_labelled_clips_give_a_curve_whose_peak_is_in_the_event():
    clips = [notes(i, i % 2 == 1) for i in range(16)]
    labels = [i % 2 for i in range(16)]
    detector = Sultani(parts=("motion", "cls"), steps=80).fit(clips, labels)
    curve = detector.curve(notes(99, True))
    assert curve.times.shape == (80,) and 32 <= int(curve.values.argmax()) < 48
    assert np.array_equal(curve.cues["learnt"], curve.values)
    scores = detector.score([notes(100, False), notes(101, True)]).values
    assert scores[1] > scores[0]
    assert detector.encoder == "toy" and detector.score([]).values.size == 0
    empty = Notes("none", (90, 160), np.zeros(0))
    assert detector.curve(empty).values.size == 0


@pytest.mark.parametrize("method", DETECTORS)
def test_labels_are_asked_for_and_other_encoders_refused(method):
    clips = [notes(i, i % 2 == 1) for i in range(4)]
    detector = method(**QUICK[method], parts=("motion", "cls"))
    with pytest.raises(InputError, match="label"):
        detector.fit(clips)
    detector.fit(clips, [0, 1, 0, 1])
    assert len(detector.curve(clips[0]).values) == 80
    other = Notes("other", (90, 160), clips[0].times, clips[0].motion, encoder="other")
    with pytest.raises(InputError, match="encoder"):
        detector.curve(other)
