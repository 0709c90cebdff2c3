"""Fusion: the worked examples S5, S6, P-1, P-2, H-1, H-3 to H-5, D-1 to D-4, G-1, G-2, V-5."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import Evidence, Hit, InputError, Query
from oddwatch.scoring.calibration import LogisticCalibrator
from oddwatch.search import fuse

M, S = np.array([[2.0, 1.8, -6.0]]), np.array([[0.30, 0.50, 0.10]])
QUERY = Query("a man")


def order(scores):
    return np.argsort(-np.asarray(scores), kind="stable").tolist()


def hit(i, rank=1, **stages):
    return Hit(rank=rank, id=i, source="a.jpg", kind="person", score=0.0, stages=stages)


def test_s5_fusion_once_with_an_explicit_weight():
    fused = fuse.two_stage(M, S)
    assert fused[0] == pytest.approx([1.001, 0.977, 0.0])
    assert order(fused[0]) == [0, 1, 2]


def test_s5_the_order_of_a_four_process_run_is_not_ours():
    w = 4
    wrong = (M - M.min()) / (1000 - M.min()) + w * 0.002 * fuse.minmax(S)
    assert order(wrong[0]) == [1, 0, 2]
    assert order(fuse.two_stage(M, S)[0]) != order(wrong[0])


def test_s6_top_k_gate():
    fused = fuse.two_stage(M, S, k_test=2)
    floor = fuse.minmax(np.array([[2.0, 1.8, 1.8]]))[0, 2]
    assert fused[0, 2] == pytest.approx(floor + 0.002 * 0.0)
    unscored = fuse.two_stage(np.array([[2.0, 1.8, np.nan]]), S, k_test=2)
    assert unscored == pytest.approx(fused)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_s6_no_image_outside_passes_one_with_more_of_both(seed, k):
    rng = np.random.default_rng(seed)
    m, s = rng.normal(size=(2, 6)), rng.normal(size=(2, 6))
    fused, gate = fuse.two_stage(m, s, k_test=k), fuse.top_k(s, k)
    for q in range(2):
        for out in np.flatnonzero(~gate[q]):
            for kept in np.flatnonzero(gate[q]):
                if s[q, kept] > s[q, out]:
                    assert fused[q, kept] > fused[q, out]


def test_a_chosen_image_without_a_matching_score_is_refused():
    with pytest.raises(InputError, match="missing"):
        fuse.two_stage(np.array([[2.0, np.nan, 1.0]]), S, k_test=2)
    with pytest.raises(InputError, match="equal"):
        fuse.two_stage(M, S.T)


def test_h5_selection_changes_only_which_images_are_matched():
    other = np.array([[0.1, 0.2, 0.9]])
    by_s, by_other = fuse.two_stage(M, S, k_test=2), fuse.two_stage(M, S, k_test=2, select=other)
    assert fuse.top_k(other, 2)[0].tolist() == [False, True, True]
    everything = fuse.two_stage(M, S, k_test=3, select=other)
    assert everything == pytest.approx(fuse.two_stage(M, S))
    assert by_s[0, 0] > by_s[0, 1]
    assert by_other[0] == pytest.approx([0.0 + 0.001, 1.0 + 0.002, 0.0])


def test_minmax():
    assert fuse.minmax(np.array([[2.0, 4.0], [3.0, np.nan]])).tolist() == [[0, 1], [0.5, 0]]
    assert fuse.minmax(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]
    assert fuse.minmax(np.array([[np.nan]])).tolist() == [[0]]


def test_p1_rrf():
    fused = fuse.rrf([["a", "b", "c"], ["b", "c", "a"], ["b", "a", "d"]])
    assert [item for item, _ in fused] == ["b", "a", "c", "d"]
    assert [score for _, score in fused] == pytest.approx([0.048916, 0.048395, 0.032002, 0.015873], abs=1e-6)
    with pytest.raises(InputError, match="twice"):
        fuse.rrf([["a", "a"]])


def test_p2_blend():
    scores = [2.0, 2.4, 2.9, 4.0]
    assert [s - 0.5 * i for i, s in enumerate(scores)] == pytest.approx([2.0, 1.9, 1.9, 2.5])
    assert fuse.blend(scores) == [3, 0, 1, 2]
    assert fuse.blend([0.0, 9.0, 99.0], depth=2) == [1, 0, 2]
    assert fuse.blend([]) == []


def test_h1_effective_weights():
    beit, uit, blip, clip = fuse.effective_weights([0.925, 0.9, 0.9])
    assert (uit, beit, blip, clip) == pytest.approx((0.06075, 0.74925, 0.09, 0.10))
    assert uit + beit + blip + clip == pytest.approx(1)
    rng = np.random.default_rng(0)
    each = [rng.normal(size=(3, 4)) for _ in range(4)]
    steps = list(zip(each[1:], [0.925, 0.9, 0.9], strict=True))
    shares = np.tensordot([beit, uit, blip, clip], np.stack([fuse.minmax(m) for m in each]), 1)
    assert fuse.iterative_ensemble(each[0], steps) == pytest.approx(shares)


def test_h3_the_ends_of_the_weight():
    a, b = np.array([[0.0, 1.0, 3.0]]), np.array([[5.0, 1.0, 0.0]])
    assert fuse.iterative_ensemble(a, [(b, 1.0)]) == pytest.approx(fuse.minmax(a))
    assert fuse.iterative_ensemble(a, [(b, 0.0)]) == pytest.approx(fuse.minmax(b))
    with pytest.raises(InputError, match="0 to 1"):
        fuse.iterative_ensemble(a, [(b, 1.5)])
    with pytest.raises(InputError, match="order"):
        fuse.iterative_ensemble(a, [(b.T, 0.5)])


def test_h4_order_matters():
    rng = np.random.default_rng(1)
    a, b, c = (rng.normal(size=(2, 3)) for _ in range(3))
    there = fuse.iterative_ensemble(a, [(b, 0.9), (c, 0.6)])
    back = fuse.iterative_ensemble(a, [(c, 0.6), (b, 0.9)])
    assert not np.allclose(there, back)
    assert fuse.effective_weights([0.9, 0.6]) != fuse.effective_weights([0.6, 0.9])


def test_g1_one_gallery_order():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    want, have = list("vwxyz"), list("zxvyw")
    shuffled = fuse.aligned(b, want, have)
    assert fuse.aligned(shuffled, have, want) == pytest.approx(b)
    fused = fuse.iterative_ensemble(a, [(b, 0.5)])
    assert fuse.iterative_ensemble(a, [(fuse.aligned(shuffled, have, want), 0.5)]) == pytest.approx(fused)
    assert not np.allclose(fuse.iterative_ensemble(a, [(shuffled, 0.5)]), fused)
    with pytest.raises(InputError, match="same images"):
        fuse.aligned(b, want, list("vwxyy"))


def test_g2_unanimous_queries_need_no_judge():
    a = np.array([[3.0, 1.0], [0.0, 1.0]])
    assert fuse.disputed([a, a * 2, a + 5]).tolist() == [False, False]
    assert fuse.disputed([a, a[:, ::-1]]).tolist() == [True, True]


def test_v5_equal_views():
    view = np.random.default_rng(4).normal(size=30)
    index, scores = fuse.dual_view(view, view, pool=20, keep=10)
    assert index.tolist() == order(view)[:10]
    assert scores == pytest.approx(view[index])


def test_dual_view_pools_both_lists():
    a, b = np.array([0.9, 0.5, 0.45, 0.0]), np.array([0.0, 0.5, 0.45, 0.9])
    index, scores = fuse.dual_view(a, b, pool=1, keep=4)
    assert index.tolist() == [0, 3]
    assert scores == pytest.approx([0.45, 0.45])
    with pytest.raises(InputError, match="equal"):
        fuse.dual_view(a, b[:2])


BASE = np.array([0.2, 0.9, 0.5, 1.0, 0.1, 0.0])


def test_d1_lambda_one_is_the_base():
    assert fuse.squad(BASE, lambda i: True, lam=1.0).scores == pytest.approx(BASE)


def test_d2_an_always_no_detective_changes_nothing():
    found = fuse.squad(BASE, lambda i: False)
    assert found.scores == pytest.approx(BASE)
    assert (found.accepted, found.calls) == (None, 5)


def test_d3_the_accepted_image():
    found = fuse.squad(BASE, lambda i: i == 2, lam=0.4)
    want = BASE.copy()
    want[2] = 0.4 * BASE[2] + 0.6
    assert found.scores == pytest.approx(want)
    assert found.calls == 3, "ranks 1 and 2 were asked first"


def test_d4_at_most_one_image_is_accepted():
    found = fuse.squad(BASE, lambda i: True)
    assert found.accepted == 3
    assert found.calls == 1
    assert int((found.scores != BASE).sum()) <= 1


def test_a_rewritten_sentence_scores_everything():
    refined = np.array([0.0, 0.0, 1.0, 0.2, 0.0, 0.0])
    found = fuse.squad(BASE, lambda i: True, refine=lambda i: refined, lam=0.4)
    assert found.scores[1] == pytest.approx(0.4 * 0.9)
    assert found.scores[3] == pytest.approx(0.4 * 1.0 + 0.6)
    assert refined[3] == 0.2, "the caller's array is left alone"


def test_calibrated_sum():
    a, b = np.array([[0.0, 2.0]]), np.array([[1.0, np.nan]])
    same, steep = LogisticCalibrator(1.0, 0.0), LogisticCalibrator(2.0, -1.0)
    assert fuse.calibrated_sum([a, b], [same, steep]) == pytest.approx(np.array([[0 + 1.0, 2.0]]))
    assert fuse.calibrated_sum([a, b], [same, steep], [0.5, 2.0]) == pytest.approx(np.array([[2.0, 1.0]]))
    with pytest.raises(InputError, match="as many"):
        fuse.calibrated_sum([a, b], [same])


def test_stages_keep_every_hit_and_add_their_score():
    hits = [hit("a", coarse=3.0, like=0.1), hit("b", coarse=2.0, like=0.9), hit("c", coarse=1.0, like=0.8)]
    fused = fuse.RrfStage(("coarse", "like")).rerank(QUERY, hits)
    assert [h.id for h in fused] == ["b", "a", "c"]
    assert [h.rank for h in fused] == [1, 2, 3]
    assert fused[0].stages["rrf"] == pytest.approx(1 / 61 + 1 / 62)
    assert fused[0].stages["coarse"] == 2.0
    equal = fuse.RrfStage(("like",)).rerank(QUERY, [hit("a"), hit("b", like=1.0), hit("c")])
    assert equal[1].stages["rrf"] == equal[2].stages["rrf"]


def test_blend_stage():
    hits = [hit(i, m=s) for i, s in zip("abcd", [2.0, 2.4, 2.9, 4.0], strict=True)]
    assert [h.id for h in fuse.BlendStage("m").rerank(QUERY, hits)] == ["d", "a", "b", "c"]
    assert [h.id for h in fuse.BlendStage("m", depth=2).rerank(QUERY, hits)] == ["a", "b", "c", "d"]
    assert [h.id for h in fuse.BlendStage("m", weight=0.1).rerank(QUERY, hits)] == ["d", "c", "b", "a"]
    with pytest.raises(InputError, match="did not score"):
        fuse.BlendStage("other").rerank(QUERY, hits)


def test_detective_stage():
    hits = [hit(i, facts=s) for i, s in zip("abc", [4.0, 3.5, 0.0], strict=True)]
    stage = fuse.DetectiveStage(lambda query, h: h.id == "b")
    done = stage.rerank(QUERY, hits)
    assert [h.id for h in done] == ["a", "b", "c"]
    assert [h.stages["ssdc"] for h in done] == pytest.approx([1.0, 0.4 * 0.875 + 0.6, 0.0])
    assert stage.calls == 2
    written = fuse.DetectiveStage(lambda q, h: h.id == "b", refine=lambda q, hs, i: np.array([0.1, 0.5, 0.0]))
    assert [h.id for h in written.rerank(QUERY, hits)] == ["b", "a", "c"]


def test_detective_stage_that_accepts_nobody():
    hits = [hit(i, facts=s) for i, s in zip("abc", [1.0, 3.5, 2.0], strict=True)]
    stage = fuse.DetectiveStage(lambda query, h: False)
    assert [h.id for h in stage.rerank(QUERY, hits)] == ["a", "b", "c"], "the order it was given"
    assert stage.calls == 3
    assert stage.rerank(QUERY, []) == []


def test_reordered_refuses_to_lose_a_hit():
    with pytest.raises(InputError, match="lose"):
        fuse.reordered([hit("a"), hit("b")], [0, 0], "x", {})
    said = {"b": [Evidence("red", "matched", stage="x")]}
    done = fuse.reordered([hit("a"), hit("b")], [1, 0], "x", {"b": 1.0}, said)
    assert done[0].reason.evidence[0].stage == "x"
    assert "x" not in done[1].stages
