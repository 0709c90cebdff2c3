"""Surprise: the share of held-out normal vectors as far away, in decades."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.detectors.video.surprise import BEYOND, Memory, _Nearest


def learnt(
    n: int = 2000, d: int = 2, clips: int = 4, most: int = 5000, neighbours: int = 5, seed: int = 0
) -> Memory:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    return Memory.of(rows, np.arange(n) * clips // n, neighbours=neighbours, most=most, rng=rng)


def test_a_hand_made_memory():
    """Nine held-out distances 1…9: a vector 5 away has five as far, (1 + 5) / 10; one 90 away none, and a decade more."""
    memory = Memory(np.zeros((1, 1), np.float32), np.ones(1, np.float32), np.arange(1.0, 10.0), 1)
    rows = np.array([[0.5], [5.0], [9.0], [9.01], [90.0], [9e6]])
    expected = [0.0, -np.log10(0.6), -np.log10(0.2), 1 + np.log10(9.01 / 9), 1 + 1, 1 + BEYOND]
    assert memory.surprise(rows) == pytest.approx(expected, abs=1e-5)


def test_surprise_is_how_rare_a_normal_vector_is():
    """Of fresh normal vectors at most a tenth has a surprise of 1 or more and a hundredth 2 or more: some fewer, as they are
    measured against a memory twice as dense as the held-out ones were."""
    memory = learnt(6000, most=6000)
    fresh = memory.surprise(np.random.default_rng(9).normal(size=(20_000, 2)))
    assert 0.02 < (fresh >= 1).mean() <= 0.1
    assert 0.001 < (fresh >= 2).mean() <= 0.01
    assert fresh.min() >= 0


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20), st.floats(0, 6.2))
def test_farther_is_never_less_surprising(lengths, angle):
    way = np.array([np.cos(angle), np.sin(angle)])
    far = np.sort(lengths)[:, None] * way + 4 * way  # beyond the cloud, where distance grows with length
    surprise = learnt(200).surprise(far)
    assert np.isfinite(surprise).all() and (np.diff(surprise) >= -1e-6).all()


def test_columns_of_other_units_count_alike():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 2))
    a = Memory.of(rows, np.zeros(1000), neighbours=5, most=1000, rng=np.random.default_rng(1))
    b = Memory.of(rows * [1, 1000], np.zeros(1000), neighbours=5, most=1000, rng=np.random.default_rng(1))
    odd = np.array([[3.0, 0.0], [0.0, 3.0]])
    assert b.surprise(odd * [1, 1000]) == pytest.approx(a.surprise(odd), abs=1e-3)


def test_outliers_among_the_normal_do_not_flatten_the_rest():
    rows = np.random.default_rng(0).normal(size=(2000, 1))
    rows[::400] = 1000
    memory = Memory.of(rows, np.zeros(2000), neighbours=5, most=2000, rng=np.random.default_rng(1))
    assert memory.scale[0] < 2


def test_clips_are_held_out_as_a_whole():
    """Two clips of which each repeats one vector: measured inside a clip everything would be 0 away."""
    rows = np.repeat([[0.0, 0.0], [3.0, 4.0]], 50, axis=0)
    memory = Memory.of(rows, np.repeat([0, 1], 50), neighbours=5, most=1000, rng=np.random.default_rng(0))
    assert memory.held.min() > 0
    assert np.array_equal(memory.held, np.sort(memory.held)) and len(memory.held) == 100


def test_a_single_clip_is_cut_in_time():
    rows = np.repeat([[0.0], [1.0]], 50, axis=0)
    memory = Memory.of(rows, np.zeros(100), neighbours=5, most=1000, rng=np.random.default_rng(0))
    assert memory.held.min() > 0


def test_further_normal_vectors_are_normal_from_then_on():
    rng = np.random.default_rng(5)
    memory, odd = learnt(500), np.array([8.0, 8.0]) + rng.normal(0, 0.1, (200, 2))
    more = memory.joined(odd, 5000, rng)
    assert memory.surprise(odd).min() > 2
    assert more.surprise(odd).max() < 1
    assert len(more.bank) == 700 and len(more.held) == len(memory.held) + 200
    assert np.array_equal(more.held, np.sort(more.held))
    assert more.surprise(np.zeros((1, 2)))[0] <= memory.surprise(np.zeros((1, 2)))[0] + 1e-9
    assert memory.joined(odd[:0], 5000, rng) is memory


def test_a_memory_stays_as_small_as_it_should():
    memory = learnt(2000, most=300)
    assert len(memory.bank) == 300 and len(memory.held) == 150
    more = memory.joined(np.random.default_rng(3).normal(size=(1000, 2)), 300, np.random.default_rng(4))
    assert len(more.bank) == 300 and len(more.held) == 150
    assert more.held.min() >= 0 and (np.diff(more.held) >= 0).all()


def test_few_and_equal_vectors_give_numbers():
    rng = np.random.default_rng(0)
    for rows in (np.zeros((2, 3)), np.ones((50, 3)), np.arange(6.0).reshape(2, 3)):
        memory = Memory.of(rows, np.zeros(len(rows)), neighbours=5, most=100, rng=rng)
        assert np.isfinite(memory.surprise(np.array([[0.0, 0, 0], [9, 9, 9]]))).all()
        assert memory.surprise(rows[:0].reshape(0, 3)).shape == (0,)
    with pytest.raises(InputError, match="two things"):
        Memory.of(np.zeros((1, 3)), np.zeros(1), neighbours=5, most=100, rng=rng)


@pytest.mark.parametrize("d", [3, 40])
def test_distances_of_short_and_long_vectors_are_true(d):
    rng = np.random.default_rng(0)
    bank, rows = (rng.normal(size=(n, d)).astype(np.float32) for n in (300, 520))
    every = np.sort(np.linalg.norm(rows[:, None].astype(np.float64) - bank[None], axis=-1), axis=1)
    for k in (1, 5, 1000):
        found = _Nearest(bank).distance(rows, k)
        assert found == pytest.approx(every[:, min(k, 300) - 1], rel=1e-4)
    assert _Nearest(bank).distance(bank, 1).max() < 1e-2, "itself"
