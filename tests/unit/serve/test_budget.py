"""The share-out of looks."""

from __future__ import annotations

import pytest

from oddwatch.core import InputError
from oddwatch.serve.budget import Budget


def looks(budget: Budget, cameras: dict[str, float], seconds: float = 20.0) -> dict[str, int]:
    """Looks that cameras with these frame rates get in some seconds."""
    frames = sorted((i / fps, name) for name, fps in cameras.items() for i in range(int(seconds * fps)))
    count = dict.fromkeys(cameras, 0)
    for at, name in frames:
        count[name] += budget.ask(name, at)
    return count


def test_four_cameras_share_six_looks_evenly():
    budget = Budget(6)
    budget.present("abcd")
    count = looks(budget, dict.fromkeys("abcd", 25.0))
    # 1.5 a second each; frames come every 40 ms, and the first look is at once.
    assert all(30 <= n <= 31 for n in count.values())


def test_ten_cameras_get_what_there_is():
    budget = Budget(6)
    budget.present("abcdefghij")
    assert set(looks(budget, dict.fromkeys("abcdefghij", 25.0)).values()) == {12}


def test_the_share_of_a_camera_that_is_gone_goes_to_the_others():
    budget = Budget(6)
    budget.present("ab")
    assert budget.rate("a") == pytest.approx(3.0)
    budget.present("a")
    assert budget.rate("a") == pytest.approx(6.0)


def test_weight_shares_what_is_above_the_least():
    budget = Budget(6, least=1)
    budget.present("abc")
    budget.weigh("a", 2)
    # 1 each, and 3 more by 2 : 1 : 1.
    assert [budget.rate(c) for c in "abc"] == pytest.approx([2.5, 1.75, 1.75])


def test_dear_looks_shrink_the_shares():
    budget = Budget(6, busy=0.8)
    budget.present("ab")
    budget.took(0.4)
    assert budget.total == pytest.approx(2.0) and budget.rate("a") == pytest.approx(1.0)


def test_a_slow_camera_is_looked_at_each_time_and_pauses_are_not_made_up_for():
    budget = Budget(6)
    assert looks(budget, {"a": 0.5}) == {"a": 10}
    assert budget.ask("a", 100.0) and not budget.ask("a", 100.1) and budget.ask("a", 100.17)


def test_the_same_questions_get_the_same_answers():
    runs = []
    for _ in range(2):
        budget = Budget(5)
        runs.append([budget.ask(n, i * 0.03) for i in range(500) for n in "abc"])
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "wrong", [{"per_second": 0}, {"per_second": float("nan")}, {"least": 0}, {"busy": 2}]
)
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(InputError):
        Budget(**wrong)
