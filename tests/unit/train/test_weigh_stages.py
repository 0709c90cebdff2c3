"""The weights of the calibrated sum: what helps is weighed, what does not is not, and the sum is the better for it."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.metrics.retrieval import ranks_of
from oddwatch.train.weigh_stages import fit_sum

N = 240
SEEDS = range(6)


def noise(seed: int, size: float = 1.0) -> np.ndarray:
    """(N, N) scores that know nothing."""
    return np.random.default_rng([seed, 17]).normal(0, size, (N, N))


def scorer(seed: int, signal: float) -> np.ndarray:
    """(N, N) scores in which the right picture stands ``signal`` deviations above the others, on average."""
    return np.random.default_rng([seed, 23]).normal(0, 1, (N, N)) + signal * np.eye(N)


def groups(seed: int, coarse: bool) -> np.ndarray:
    """(N, N) noisy scores that tell the ten kinds of the pictures (``coarse``), or the pictures of a kind, from each other
    and nothing else."""
    kind, member = np.arange(N) % 10, np.arange(N) // 10
    key = kind if coarse else member
    same = key[:, None] == key[None]
    return 2.0 * same + np.random.default_rng([seed, 31 + coarse]).normal(0, 0.7, (N, N))


def loss(weights: dict[str, float], facts: np.ndarray, cross: np.ndarray) -> float:
    """Mean negative log likelihood of the right picture."""
    total = weights["facts"] * facts + weights["cross"] * cross
    peak = total.max(axis=1, keepdims=True)
    return float((np.log(np.exp(total - peak).sum(axis=1)) + peak[:, 0] - np.diag(total)).mean())


def first(scores: np.ndarray) -> float:
    return float(ranks_of(scores, range(N), range(N)).hits(1).mean())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scorer_that_knows_nothing_gets_about_no_weight(seed: int) -> None:
    found = fit_sum(scorer(seed, 3.0), noise(seed))
    assert found["facts"] > 1.5 and found["cross"] < 0.1 * found["facts"]
    turned = fit_sum(noise(seed), scorer(seed, 3.0))
    assert turned["cross"] > 1.5 and turned["facts"] < 0.1 * turned["cross"]
    nothing = fit_sum(noise(seed), noise(seed + 100))
    assert max(nothing.values()) < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scorer_that_is_wrong_gets_no_weight_and_none_is_below_zero(seed: int) -> None:
    assert fit_sum(scorer(seed, 3.0), -scorer(seed + 50, 3.0))["cross"] == 0
    assert fit_sum(-scorer(seed, 3.0), -scorer(seed + 50, 3.0)) == {"facts": 0, "cross": 0}


@pytest.mark.parametrize("seed", SEEDS)
def test_two_that_complement_each_other_both_get_weight(seed: int) -> None:
    facts, cross = groups(seed, True), groups(seed, False)
    found = fit_sum(facts, cross)
    assert min(found.values()) > 1
    summed = found["facts"] * facts + found["cross"] * cross
    assert first(summed) > first(facts) + 0.3 and first(summed) > first(cross) + 0.3
    # Held out: the same two kinds of scorer on other people.
    facts, cross = groups(seed + 1000, True), groups(seed + 1000, False)
    assert first(found["facts"] * facts + found["cross"] * cross) > 0.4 + max(first(facts), first(cross)) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_surer_of_two_alike_gets_more(seed: int) -> None:
    found = fit_sum(scorer(seed, 4.0), scorer(seed + 50, 2.0))
    assert found["facts"] > 1.3 * found["cross"] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_no_weights_nearby_make_the_right_picture_likelier(seed: int) -> None:
    facts, cross = groups(seed, True), groups(seed, False)
    found = fit_sum(facts, cross)
    least = loss(found, facts, cross)
    for name in found:
        for factor in (0.0, 0.5, 0.9, 1.1, 2.0):
            assert loss({**found, name: found[name] * factor}, facts, cross) > least


def test_the_units_of_a_scorer_do_not_matter() -> None:
    facts, cross = groups(1, True), groups(1, False)
    found, other = fit_sum(facts, cross), fit_sum(facts * 4, cross / 2)
    assert other["facts"] * 4 == pytest.approx(found["facts"], rel=0.01)
    assert other["cross"] / 2 == pytest.approx(found["cross"], rel=0.01)


def test_what_is_added_to_all_pictures_of_a_sentence_does_not_matter() -> None:
    facts, cross = groups(2, True), groups(2, False)
    shifted = facts + np.random.default_rng(0).normal(0, 500, (N, 1))
    found, other = fit_sum(facts, cross), fit_sum(shifted, cross)
    assert other == pytest.approx(found, rel=0.01)


def test_weights_that_would_grow_without_end_are_held() -> None:
    assert fit_sum(np.eye(N), np.zeros((N, N)))["facts"] == pytest.approx(20)
    assert fit_sum(np.eye(N, dtype=np.float32) * 1e4, np.zeros((N, N)))["facts"] <= 20
