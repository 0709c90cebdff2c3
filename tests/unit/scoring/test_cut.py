"""The relative cut keeps the best hit, drops what is far below it, and looks at nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from oddwatch.core import InputError
from oddwatch.scoring.cut import relative_cut

shares = st.floats(0, 1)
numbers = arrays(np.float64, st.integers(1, 30), elements=st.floats(-4, 4))


def test_by_hand():
    assert relative_cut(np.array([0.8, 0.61, 0.59, 0.0]), 0.75).tolist() == [True, True, False, False]
    assert relative_cut(np.array([0.2, 0.8, 0.4]), 0.5).tolist() == [False, True, True], "any order"
    assert relative_cut(np.array([0.8, 0.0, -0.1]), 0.0).tolist() == [True, True, False]
    assert relative_cut(np.array([0.8, 0.8, 0.79]), 1.0).tolist() == [True, True, False]


def test_negative_unknown_infinite_and_no_scores():
    assert relative_cut(np.array([-1.0, -2.0, -0.5]), 0.5).tolist() == [False, False, True]
    assert relative_cut(np.array([np.nan, 0.5, 0.1]), 0.5).tolist() == [False, True, False]
    assert relative_cut(np.array([np.nan, np.nan]), 0.5).tolist() == [True, False]
    assert relative_cut(np.array([np.inf, 9.0]), 0.0).tolist() == [True, False]
    assert relative_cut(np.empty(0), 0.5).tolist() == []


@given(numbers, shares)
def test_the_best_stays_and_all_under_the_share_go(scores, r):
    kept = relative_cut(scores, r)
    assert kept[scores.argmax()]
    assert not kept[scores < r * scores.max()].any() or scores.max() < 0
    if scores.max() >= 0:
        assert kept.tolist() == (scores >= r * scores.max()).tolist()


@given(numbers, shares, shares)
def test_a_larger_share_keeps_fewer(scores, a, b):
    low, high = sorted((a, b))
    assert not (relative_cut(scores, high) & ~relative_cut(scores, low)).any()


@given(numbers, numbers, shares)
def test_it_does_not_depend_on_how_many_there_are(scores, more, r):
    lesser = np.minimum(more, scores.max())
    assert (
        relative_cut(np.concatenate([scores, lesser]), r)[: len(scores)].tolist()
        == relative_cut(scores, r).tolist()
    )


def test_wrong_input():
    for r in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            relative_cut(np.ones(2), r)
    with pytest.raises(InputError, match="shape"):
        relative_cut(np.ones((2, 2)), 0.5)
