"""Grading of questions about scenes: right, wrong, unknown; the baseline; the record of an observer without error."""

from __future__ import annotations

import pytest

from oddwatch.bench.subjects import Described
from oddwatch.bench.understanding import Template, by, grade, of_statement, summary, true_record
from oddwatch.core import UNKNOWN
from oddwatch.datasets.scenes.quiz import Question
from oddwatch.understand.ask import ask
from oddwatch.understand.record import Statement


def question(kind: str, *answers: object) -> Question:
    return Question(f"{kind}?", kind, kind, answers)


@pytest.mark.parametrize(
    ("kind", "answers", "said", "right"),
    [
        ("yes-no", ("yes",), True, True),
        ("yes-no", ("no",), True, False),
        ("count", (2, 3, 4), 3, True),
        ("count", (1,), 0, False),
        ("when", (4.0, 9.0), [10.5, 30.0], True),
        ("when", (4.0,), [12.0, 4.0], False),  # the first moment told is the answer
        ("long", (10.0,), 12.5, True),
        ("long", (10.0,), 14.0, False),
        ("colour", ("blue",), "blue", True),
        ("colour", ("blue",), "black", False),
        ("place", ("car park", "parking"), "car park", True),
        ("doing", ("lying",), "standing", False),
    ],
)
def test_right_and_wrong(kind, answers, said, right):
    assert grade(question(kind, *answers), said).right is right


def test_unknown_is_right_only_where_nobody_knows():
    assert grade(question("open"), None, unknown=True).right
    assert not grade(question("open"), "blue").right
    assert not grade(question("colour", "blue"), None, unknown=True).right
    assert of_statement(question("open"), Statement("why", UNKNOWN)).unknown


def test_the_shares():
    graded = [
        grade(question("yes-no", "yes"), True),
        grade(question("yes-no", "yes"), False),
        grade(question("yes-no", "yes"), None, unknown=True),
        grade(question("open"), None, unknown=True),
        grade(question("open"), "blue"),
    ]
    told = summary(graded)
    assert told["n_questions"] == 5 and told["n_unanswerable"] == 2
    assert told["accuracy"] == pytest.approx(1 / 3) and told["accuracy_where_answered"] == 0.5
    assert told["unknown_precision"] == 0.5 and told["unknown_recall"] == 0.5
    assert told["accuracy_all"] == pytest.approx(2 / 5)
    assert by(graded, lambda q: q.kind)["open"] == {"n": 2, "right": 0.5, "unknown": 0.5}
    assert summary([])["accuracy"] is None


def test_the_template_never_says_unknown():
    template = Template(
        [question("yes-no", "no"), question("yes-no", "no"), question("yes-no", "yes"), question("count", 1)]
    )
    assert template(question("yes-no", "no")).right and not template(question("yes-no", "yes")).right
    assert not template(question("open")).right and not template(question("open")).unknown


def annotation(time: float, posture: str, doing: str) -> dict[str, object]:
    garment = {"color": "red", "shade": "red", "type": "jacket", "tone": ""}
    facts = {"upper": garment, "lower": {**garment, "color": "blue", "type": "jeans"}, "shoes": {**garment, "type": "boots"},
             "hair": {"color": "black", "length": "short"}, "headwear": None, "accessories": [], "carrying": ["bag"], "bag": None,
             "posture": posture, "doing": doing, "action": []}  # fmt: skip
    return {
        "time": time,
        "people": [{"track": 1, "box": [100, 50, 130, 150], "visible": 1.0, "facts": facts}],
    }


def test_the_record_of_an_observer_without_error():
    notes = [
        annotation(
            t / 2, *(("walking", "walk") if t < 8 else ("falling", "fall") if t < 10 else ("lying", "lie"))
        )
        for t in range(20)
    ]
    record = true_record("scene", notes, "night", "plaza", Described(None))
    for asked, value in (("When does somebody fall?", [4.0]), ("What colour is the jacket of the person who falls?", "red"),
                         ("Is the person who falls wearing a hat?", False), ("Is the person who falls carrying a bag?", True),
                         ("Is it day or night?", "night"), ("Where was this filmed?", "plaza"),
                         ("How long does somebody lie on the ground?", 4.5)):  # fmt: skip
        assert ask(record, asked).value == value
