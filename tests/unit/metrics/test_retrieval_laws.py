"""C4 and C5 of the search specification (§1.6), clause by clause, on random scores with ties and unknown ones."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.metrics.retrieval import Ranks, ranks_of

GALLERY = 9


def drawn(seed: int) -> tuple[np.ndarray, list[int], list[int]]:
    """Scores (6, GALLERY) with ties and a NaN, six query ids that all have an answer, gallery ids."""
    rng = np.random.default_rng(seed)
    ids = [*range(4), *rng.integers(0, 4, GALLERY - 4).tolist()]
    scores = rng.integers(-3, 4, (6, GALLERY)).astype(float)
    scores[rng.integers(6), rng.integers(GALLERY)] = np.nan
    return scores, rng.integers(0, 4, 6).tolist(), ids


def per_query(found: Ranks) -> dict[str, np.ndarray]:
    return found.values(range(1, GALLERY + 1))


@pytest.mark.parametrize("seed", range(25))
def test_c4_recall_grows_with_k_up_to_all(seed):
    summary = ranks_of(*drawn(seed)).summary(range(1, GALLERY + 1))
    recalls = [summary[f"R@{k}"] for k in range(1, GALLERY + 1)]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 100


@pytest.mark.parametrize("seed", range(25))
def test_c4_distractors_never_raise_a_metric(seed):
    scores, asked, ids = drawn(seed)
    rng = np.random.default_rng(seed + 1000)
    for count in (1, 5, 40):
        more = np.hstack([scores, rng.integers(-4, 5, (6, count))])
        place = rng.permutation(more.shape[1])
        with_more = ranks_of(more[:, place], asked, [[*ids, *[-1] * count][i] for i in place])
        for name, values in per_query(ranks_of(scores, asked, ids)).items():
            assert (per_query(with_more)[name] <= values).all(), name


RISING = {
    "affine": lambda s: 3 * s - 7,
    "cube": lambda s: s**3,
    "logistic": lambda s: 1 / (1 + np.exp(-s)),
    "exponential": lambda s: np.exp(2 * s),
}


@pytest.mark.parametrize("name", RISING)
@pytest.mark.parametrize("row", range(6))
def test_c5_a_rising_function_of_one_row_changes_no_metric(name, row):
    scores, asked, ids = drawn(row)
    bent = scores.copy()
    bent[row] = RISING[name](scores[row])
    assert not np.array_equal(bent[row], scores[row], equal_nan=True)
    before, after = ranks_of(scores, asked, ids), ranks_of(bent, asked, ids)
    assert [r.tolist() for r in before.ranks] == [r.tolist() for r in after.ranks]
    for metric, values in per_query(before).items():
        assert np.array_equal(values, per_query(after)[metric]), metric


def test_c5_a_falling_function_does():
    scores, asked, ids = drawn(0)
    bent = scores.copy()
    bent[0] = -scores[0]
    assert ranks_of(bent, asked, ids).ranks[0].tolist() != ranks_of(scores, asked, ids).ranks[0].tolist()
