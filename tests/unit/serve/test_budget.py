"""The share-out of looks."""

from __future__ import annotations

from itertools import pairwise

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


def test_one_dear_look_among_cheap_ones_does_not_stop_the_looks():
    budget = Budget(6)
    budget.present("a")
    for seconds in (2.0, *[0.1] * 19):
        budget.took(seconds)
    assert budget.total == pytest.approx(0.9 / 0.195)
    budget.took(0.1)
    assert budget.total == pytest.approx(6)


def test_looks_at_least_come_before_the_movement_and_that_before_more_looks():
    budget = Budget(6, least=1, busy=0.8, steady=6, workers=2)
    budget.present("abcd")
    assert budget.pace == float("inf") and budget.since("a") < 0
    budget.took(0.2)
    budget.took(0.01, look=False)
    # Of 1.6 s a second 0.24 are for 4 × 6 frames, and 1.2 for all six looks; 0.4 are left for 40 frames, 10 each.
    assert budget.total == pytest.approx(6) and budget.pace == pytest.approx(10)
    dear = Budget(6, least=1, busy=0.8, steady=6, workers=2)
    dear.present("abcd")
    dear.took(0.3)
    dear.took(0.02, look=False)
    # 0.48 s for the frames, which leaves 1.12 for 3.7 looks: less than one each, which come first.
    assert dear.total == pytest.approx(4) and [dear.rate(c) for c in "abcd"] == [1, 1, 1, 1]
    assert dear.pace == 6
    dear.took(0.7)
    assert dear.total == pytest.approx(1.6 / 0.5), "no more than it can"


def test_frames_that_leave_no_room_for_looks_are_passed_over():
    budget = Budget(2, least=1, busy=0.8, steady=2)
    budget.present("a")
    budget.took(0.2)
    budget.took(0.08, look=False)  # 0.4 s for two looks leave 0.4 for five frames
    taken, looked = [], []
    for i in range(500):
        at = i * 0.04
        if at >= budget.since("a"):
            taken.append(at)
            if budget.ask("a", at):
                looked.append(at)
    assert len(looked) == pytest.approx(40, abs=1) and 100 <= len(taken) <= 120
    assert max(b - a for a, b in pairwise(taken)) < 0.25


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
    "wrong", [{"per_second": 0}, {"per_second": float("nan")}, {"least": 0}, {"busy": 2}, {"steady": 0}]
)
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(InputError):
        Budget(**wrong)
