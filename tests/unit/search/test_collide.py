"""Collision handling: the worked examples B-1 to B-7 of the specification and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from oddwatch.core import InputError
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.search import collide
from oddwatch.search.collide import Resolution, candidates, colliding, resolve

B1 = np.array([[0.90, 0.60, 0.20], [0.85, 0.80, 0.10], [0.30, 0.40, 0.70]])
B2 = np.array([[0.90, 0.88, 0.20], [0.85, 0.40, 0.10], [0.30, 0.40, 0.70]])
B3 = np.array([[3.0, 1.0, 0.0], [2.5, 2.1, 0.1], [0.2, 2.4, 2.1]])
VARIANTS = ("SCA-S", "SCA-M", "SCA-2", "ASSIGN")


def top(S, variant, **params):
    return resolve(S, variant, **params).top1.tolist()


def total(S, top1):
    return float(S[np.arange(len(S)), top1].sum())


def r1(top1, truth):
    return 100 * float(np.mean(np.asarray(top1) == np.asarray(truth)))


def test_b1_both_rules_agree():
    assert B1.argmax(1).tolist() == [0, 0, 2]
    assert top(B1, "SCA-S") == [0, 1, 2]
    assert top(B1, "SCA-M", tau=0.0) == [0, 1, 2]
    rows, columns = linear_sum_assignment(-B1)
    assert total(B1, [0, 1, 2]) == pytest.approx(2.40) == float(B1[rows, columns].sum())
    assert top(B1, "SCA-M", tau=0.5) == [0, 0, 2] == top(B1, "SCA-M")
    # Delta_s is 0.05, the gap of the margins (0.30, 0.05) 0.25: thresholds on either side of them.
    assert top(B1, "SCA-S", delta=0.049) == [0, 1, 2]
    assert top(B1, "SCA-S", delta=0.051) == [0, 0, 2]
    assert top(B1, "SCA-M", tau=0.249) == [0, 1, 2]
    assert top(B1, "SCA-M", tau=0.251) == [0, 0, 2]


def test_b2_the_rules_disagree():
    assert top(B2, "SCA-S") == [0, 1, 2]
    assert total(B2, [0, 1, 2]) == pytest.approx(2.00)
    assert top(B2, "SCA-M", tau=0.0) == [1, 0, 2]
    rows, columns = linear_sum_assignment(-B2)
    assert total(B2, [1, 0, 2]) == pytest.approx(2.43) == float(B2[rows, columns].sum())
    # Margins 0.02 and 0.45: their gap is 0.43.
    assert top(B2, "SCA-M", tau=0.429) == [1, 0, 2]
    assert top(B2, "SCA-M", tau=0.431) == [0, 0, 2]
    for delta in (1.0, 0.04):
        assert top(B2, "ASSIGN", n=2, delta=delta) == [1, 0, 2]
    stays = resolve(B2, "ASSIGN", n=2, delta=0.01)
    assert stays.top1.tolist() == [0, 0, 2]
    assert stays.colliding == 2
    assert stays.utility == pytest.approx(-0.01), "one slack"


def test_b3_a_chain():
    assert top(B3, "SCA-M", tau=0.0) == [0, 1, 2]
    after = resolve(B3, "SCA-M", tau=0.5)
    assert after.top1.tolist() == [0, 1, 1]
    assert after.colliding == 2
    done = resolve(after, "ASSIGN", n=2, delta=1.0)
    assert done.top1.tolist() == [0, 1, 2]
    assert done.utility == pytest.approx(-0.3)
    assert top(B3, "SCA-S") == [0, 2, 1]


def test_b3_passes_are_limited():
    assert top(B3, "SCA-M", tau=0.0, max_passes=1) == [0, 1, 1]
    assert resolve(B3, "SCA-M", tau=0.0).passes == 2
    assert resolve(B3, "SCA-M", tau=0.5).passes == 1
    assert top(B3, "SCA-S", max_passes=1) == [0, 1, 1], "query 1 falls twice"
    assert top(B3, "SCA-M", tau=0.0, max_passes=100) == [0, 1, 2], "a fixed point"
    # Query 1 gives way to a margin 1.6 above its own, query 2 then to one 0.1 above.
    assert top(B3, "SCA-M", tau=1.59) == [0, 1, 1] == top(B3, "SCA-M", tau=0.101)
    assert top(B3, "SCA-M", tau=1.61) == [0, 0, 1]
    assert top(B3, "SCA-M", tau=0.099) == [0, 1, 2]


def test_b5_a_low_delta_brings_the_collision_back():
    after = resolve(B3, "SCA-M", tau=0.5)
    low = resolve(after, "ASSIGN", n=2, delta=0.2)
    assert low.top1.tolist() == [0, 0, 1]
    assert low.utility == pytest.approx(0.2)
    assert low.moved.tolist() == [False, True, False], "query 0 on slack, query 1 back, query 2 where it was"
    assert low.colliding == 2


def test_b7_recall_bookkeeping():
    assert r1(B1.argmax(1), [0, 1, 2]) == pytest.approx(66.67, abs=0.01)
    for variant, params in (("SCA-S", {}), ("SCA-M", {"tau": 0.0}), ("SCA-2", {"tau": 0.0}), ("ASSIGN", {})):
        assert r1(top(B1, variant, **params), [0, 1, 2]) == 100, variant
    truth = [1, 0, 2]
    assert r1(B2.argmax(1), truth) == pytest.approx(66.67, abs=0.01)
    assert r1(top(B2, "SCA-S"), truth) == pytest.approx(33.33, abs=0.01)
    assert r1(top(B2, "SCA-M", tau=0.0), truth) == 100


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_result_says_that_it_is_transductive(variant):
    found = resolve(B1, variant)
    assert found.transductive is True
    assert found.variant == variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_b4_one_query_stays(variant):
    found = resolve(B1[:1], variant)
    assert found.rankings[0].tolist() == [0, 1, 2]
    assert not found.moved.any()


def test_sca_2_swaps_and_swaps_back():
    S = np.array([[3.0, 1.0, 0.0], [2.5, 2.1, 0.1], [0.2, 2.9, 0.1]])
    once = resolve(S, "SCA-2", tau=0.0)
    assert once.top1.tolist() == [0, 1, 1]
    twice = resolve(once, "SCA-2", tau=0.0)
    assert twice.top1.tolist() == [0, 0, 1]
    assert twice.rankings[1].tolist() == [0, 1, 2]


def test_gate_moves_only_similar_sentences():
    far = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    near = np.array([[1.0, 0.0], [0.99, 0.05], [1.0, 0.0]])
    assert top(B1, "SCA-S", theta=0.96, features=far) == [0, 0, 2]
    assert top(B1, "SCA-S", theta=0.96, features=near) == [0, 1, 2]
    with pytest.raises(InputError, match="features"):
        resolve(B1, "SCA-S", theta=0.96)


def test_ties():
    S = np.array([[1.0, 0.5], [1.0, 0.5]])
    assert top(S, "SCA-S") == [0, 0], "an equal score is not beaten"
    assert top(S, "SCA-S", delta=-1.0) == [0, 1], "the smaller query keeps"
    assert top(S, "SCA-M", tau=-1.0) == [1, 0], "the larger query keeps"
    assert resolve(np.array([[0.5, 0.5, 0.7]]), "SCA-S").rankings[0].tolist() == [2, 0, 1]


def test_components_over_the_cap_are_left_alone():
    S = np.tile([1.0, 0.9, 0.8, 0.7], (4, 1))
    assert resolve(S, "ASSIGN", n=4, cap=3).skipped == 1
    assert top(S, "ASSIGN", n=4, cap=3) == [0, 0, 0, 0]
    assert sorted(top(S, "ASSIGN", n=4, cap=4)) == [0, 1, 2, 3]


def test_too_few_images_leave_a_collision():
    S = np.array([[1.0], [0.5]])
    found = resolve(S, "ASSIGN", delta=np.inf)
    assert found.top1.tolist() == [0, 0]
    assert found.colliding == 2


def test_unknown_variant_parameter_and_shape():
    with pytest.raises(InputError, match="SCA-M"):
        resolve(B1, "SCA-X")
    with pytest.raises(InputError, match="tau"):
        resolve(B1, "SCA-S", tau=1.0)
    with pytest.raises(InputError, match="shape"):
        resolve(B1[0], "SCA-S")
    with pytest.raises(InputError, match="delta"):
        resolve(B1, "ASSIGN", delta=float("nan"))


def test_empty_rows_nan_and_negative_infinity():
    S = sparse.csr_array(np.array([[0.9, 0.6, 0.0], [0.85, 0.8, 0.0], [0.0, 0.0, 0.0]]))
    for variant in VARIANTS:
        found = resolve(S, variant)
        assert found.top1[2] == -1
        assert len(found.rankings[2]) == 0
    bad = np.array([[np.nan, 1.0, -np.inf], [np.nan, 1.0, 0.5]])
    for variant in VARIANTS:
        assert resolve(bad, variant).top1[1] in (1, 2)
    assert top(bad, "ASSIGN") == [1, 2]


def test_an_image_stored_twice_is_refused():
    S = sparse.csr_array((np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 3))
    with pytest.raises(InputError, match="twice"):
        resolve(S, "SCA-S")


scores = arrays(
    np.float64,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.integers(-20, 20).map(lambda v: v / 4),
)


@settings(max_examples=80, deadline=None)
@given(scores, st.sampled_from(VARIANTS), st.sampled_from([0.0, 0.5, 50.0]))
def test_b4_nothing_is_added_or_lost(S, variant, strength):
    name = "tau" if variant in ("SCA-M", "SCA-2") else "delta"
    found = resolve(S, variant, **{name: strength})
    start = resolve(S, variant, max_passes=0) if variant in ("SCA-S", "SCA-M") else None
    for q, row in enumerate(found.rankings):
        assert sorted(row.tolist()) == list(range(S.shape[1]))
        assert np.array_equal(S[q, row], found.scores[q])
        if start is not None:
            rest = [i for i in start.rankings[q].tolist() if i != row[0]]
            assert row.tolist()[1:] == rest, "only one image came forward"
    if colliding(S.argmax(1)) == 0:
        assert not found.moved.any()
        assert found.top1.tolist() == S.argmax(1).tolist()
    if variant == "ASSIGN":
        assert found.colliding <= colliding(S.argmax(1))
    again = resolve(found, "ASSIGN", delta=50.0)
    assert again.colliding <= found.colliding


@settings(max_examples=60, deadline=None)
@given(scores, st.sampled_from(["SCA-S", "SCA-M"]))
def test_b4_pointers_go_forward_only(S, variant):
    start = resolve(S, variant, max_passes=0).rankings
    name = "delta" if variant == "SCA-S" else "tau"
    before = np.zeros(len(S), dtype=int)
    for passes in range(1, 8):
        top1 = resolve(S, variant, max_passes=passes, **{name: 0.0}).top1
        places = np.array(
            [row.tolist().index(image) for row, image in zip(start, top1.tolist(), strict=True)]
        )
        assert (places >= before).all() and (places - before).max() <= 1
        before = places


@settings(max_examples=80, deadline=None)
@given(scores, st.sampled_from(VARIANTS), st.integers(1, 7), st.sampled_from([50.0, 1e6, np.inf]))
def test_b4_assign_with_a_large_delta_never_collides_more(S, before, n, delta):
    first = resolve(S, before)
    found = resolve(first, "ASSIGN", n=n, delta=delta)
    assert found.colliding <= first.colliding
    assert resolve(S, "ASSIGN", n=n, delta=delta).colliding <= colliding(S.argmax(1))
    if n >= S.shape[1] >= len(S):
        assert found.colliding == 0, "where there is an image for everyone, everyone has one"


def test_b6_at_two_hundred_queries():
    S = np.random.default_rng(200).normal(size=(200, 200))
    assert colliding(S.argmax(1)) > 0
    found = resolve(S, "ASSIGN", n=200, delta=np.inf)
    assert found.skipped == 0
    assert found.top1.tolist() == linear_sum_assignment(-S)[1].tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_b6_assign_is_the_hungarian_solution(size, seed):
    S = np.random.default_rng(seed).normal(size=(size, size))
    found = resolve(S, "ASSIGN", n=size, delta=np.inf)
    rows, columns = linear_sum_assignment(-S)
    if colliding(S.argmax(1)):
        assert found.top1.tolist() == columns.tolist()
        assert found.utility == pytest.approx(float(S[rows, columns].sum() - S.max(1).sum()))
    assert found.colliding == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]))
def test_b6_margin_rule_does_not_depend_on_the_order_of_queries(queries, images, seed, tau):
    rng = np.random.default_rng(seed)
    S, order = rng.normal(size=(queries, images)), rng.permutation(queries)
    assert (
        resolve(S, "SCA-M", tau=tau).top1[order].tolist() == resolve(S[order], "SCA-M", tau=tau).top1.tolist()
    )


@settings(max_examples=60, deadline=None)
@given(scores, st.sampled_from(VARIANTS))
def test_sparse_and_dense_agree(S, variant):
    whole = sparse.csr_array(
        (S.ravel(), np.tile(np.arange(S.shape[1]), len(S)), np.arange(len(S) + 1) * S.shape[1]), shape=S.shape
    )
    dense, thin = resolve(S, variant), resolve(whole, variant)
    assert dense.top1.tolist() == thin.top1.tolist()
    assert [r.tolist() for r in dense.rankings] == [r.tolist() for r in thin.rankings]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([0.2, 1.0, np.inf]))
def test_large_components_are_solved_alike(size, n, seed, delta):
    S = np.random.default_rng(seed).normal(size=(size, size))
    dense = resolve(S, "ASSIGN", n=n, delta=delta)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collide, "DENSE_CELLS", 0)
        thin = resolve(S, "ASSIGN", n=n, delta=delta)
    assert thin.top1.tolist() == dense.top1.tolist()


def test_candidates_are_the_best_of_all_chunks():
    S = np.random.default_rng(3).integers(0, 6, size=(5, 23)).astype(float)
    thin = candidates(((start, S[:, start : start + 7]) for start in (14, 0, 7, 21)), 4)
    assert thin.shape == S.shape
    for q in range(5):
        want = np.argsort(-S[q], kind="stable")[:4]
        assert resolve(thin, "SCA-S", max_passes=0).rankings[q].tolist() == want.tolist()
    with pytest.raises(InputError, match="block"):
        candidates(iter(()), 3)


def test_rankings_are_measured_with_the_same_metrics():
    found = resolve(B2, "SCA-M", tau=0.0)
    S = np.empty_like(B2)
    for q, row in enumerate(found.rankings):
        S[q, row] = -np.arange(3)
    assert ranks_of(S, ["b", "a", "c"], ["a", "b", "c"]).first.tolist() == [1, 1, 1]
    assert isinstance(found, Resolution)
