"""NMI, ARI and matched F1: values by hand, names that do not matter, one group."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.metrics.grouping import ari, grouping_metrics, matched_f1, nmi, table


def test_two_classes_in_three_groups_by_hand():
    classes, groups = ["a", "a", "b", "b"], [0, 0, 1, 2]
    np.testing.assert_array_equal(table(classes, groups), [[2, 0, 0], [0, 1, 1]])
    # H(classes) = 1 bit = I, H(groups) = 1.5 bits: 1 / 1.25
    assert float(nmi(classes, groups)) == pytest.approx(0.8)
    # pairs together in both 1, in classes 2, in groups 1, of 6: (1 − 2/6) / (1.5 − 2/6)
    assert float(ari(classes, groups)) == pytest.approx(4 / 7)
    f1 = matched_f1(classes, groups)
    assert float(f1) == pytest.approx(0.75) and f1.details["named"][0] == 0


def test_the_best_naming_is_not_the_greedy_one():
    # group 0 holds 5 a and 4 b, group 1 holds 4 a and 0 b: greedily a→0 leaves b nothing (5 right), a→1, b→0 has 8
    classes = ["a"] * 5 + ["b"] * 4 + ["a"] * 4
    groups = [0] * 9 + [1] * 4
    assert float(matched_f1(classes, groups)) == pytest.approx(8 / 13)


@pytest.mark.parametrize("seed", [0, 1])
def test_names_of_groups_do_not_matter_and_equal_partitions_agree_fully(seed):
    rng = np.random.default_rng(seed)
    classes, groups = rng.integers(4, size=60), rng.integers(5, size=60)
    renamed = np.array(list("vwxyz"))[groups]
    for one, other in zip(
        grouping_metrics(classes, groups).values(), grouping_metrics(classes, renamed).values(), strict=True
    ):
        assert float(one) == pytest.approx(float(other))
    assert all(float(v) == pytest.approx(1) for v in grouping_metrics(classes, classes * 7 - 3).values())
    assert abs(float(ari(classes, groups))) < 0.1


def test_one_group_no_items_and_unequal_lengths():
    assert all(float(v) == 1 for v in grouping_metrics([3, 3], ["x", "x"]).values())
    assert float(nmi([0, 1], [0, 0])) == 0 and float(ari([0, 1], [0, 0])) == 0
    assert all(v.number is None and v.reason for v in grouping_metrics([], []).values())
    with pytest.raises(InputError, match="each of 2"):
        nmi([0, 1], [0])
