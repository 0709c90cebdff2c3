"""TRLC: votes, accuracy, rules, the two-step chain with scripted models, words without one."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, InputError
from oddwatch.detectors.kept import read
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.trlc import TRLC, accuracy, vote, write_rules
from oddwatch.language.scripted import FunctionModel, ScriptedModel

RULES = tuple(f"Rule {i}" for i in range(10))


def watched(captions, every=25, fps=25.0):
    n = len(captions) * every
    return Notes(
        "clip", (36, 64), np.arange(n) / fps, looked=np.arange(0, n, every), captions=tuple(captions)
    )


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ((1, 1, 0), 1),
        ((0, 0, 1), 0),
        ((1, 1, 1), 1),
        ((1, 1, UNKNOWN), 1),
        ((1, 0, UNKNOWN), UNKNOWN),
        ((UNKNOWN, UNKNOWN, 0), 0),
        ((UNKNOWN,), UNKNOWN),
        ((), UNKNOWN),
    ],
)
def test_the_majority_of_those_who_speak(verdicts, said):
    assert vote(verdicts) == said


def test_accuracy_counts_the_unread_as_wrong():
    assert accuracy([1, 0, UNKNOWN, UNKNOWN], [1, 1, 0, 1]) == 0.25
    # 781 unanimous clips at 91.2 % and 422 split ones at 64.0 % are 81.66 % of 1,203.
    right = [1] * 712 + [0] * 69 + [1] * 270 + [0] * 152
    assert accuracy(right, [1] * 1203) == pytest.approx(0.8166, abs=5e-4)
    for verdicts, labels in (([], []), ([1], [1, 0]), ([1], [2])):
        with pytest.raises(InputError, match="label"):
            accuracy(verdicts, labels)


def test_ten_rules_and_a_warning_for_fewer(caplog):
    ten = "\n".join(f"{i}. Rule {i - 1}" for i in range(1, 11))
    assert write_rules(ScriptedModel([ten])) == RULES
    assert write_rules(ScriptedModel([ten + "\n11. Rule 10"])) == RULES
    with caplog.at_level(logging.WARNING):
        assert write_rules(ScriptedModel(["1. Rule 0\n2. Rule 1"])) == RULES[:2]
    assert "expected 10 rules" in caplog.text
    with pytest.raises(InputError, match="rules"):
        write_rules(ScriptedModel([""], repairs=0))


def said(anomaly, reasoning="because"):
    return {"description": "people", "reasoning": reasoning, "anomaly": anomaly}


CLIPS = [watched([f"clip {i}"] * 3) for i in range(6)]
LABELS = [i % 2 for i in range(6)]


@pytest.mark.parametrize(("kind", "share"), [("confirms", 0.5), ("knows", 1.0)])
def test_reflection_that_confirms_changes_nothing_and_an_oracle_is_always_right(kind, share):
    def answer(question):
        text = question.text
        number = next(i for i in range(6) if f"clip {i}" in text)
        first = int(number in (0, 1, 3, 4))
        if "The first judgement" not in text:
            return said(first)
        return said(LABELS[number] if kind == "knows" else int("Anomaly: 1" in text))

    detector = TRLC(rules=RULES, chat=FunctionModel(answer))
    verdicts = [detector.told(clip)[0].score for clip in CLIPS]
    first = [int(i in (0, 1, 3, 4)) for i in range(6)]
    assert accuracy(first, LABELS) == 0.5
    assert accuracy([int(v) for v in verdicts], LABELS) == share


def test_one_verdict_is_the_curve_of_the_clip():
    chat = ScriptedModel([said(0), said(1, "rule 3")])
    detector = TRLC(rules=RULES, chat=chat)
    curve = detector.curve(watched(["a bear", "a bear"]))
    np.testing.assert_array_equal(curve.values, np.ones(50))
    first, second = (q.text for q in chat.history)
    assert "Rule 9" in first and "0.0 s: a bear" in first and "1.0 s" not in first
    assert "The first judgement" in second and "Anomaly: 0" in second


def test_the_released_first_step_sees_no_rules():
    chat = ScriptedModel([said(0), said(0)])
    TRLC(rules=RULES, rules_first=False, chat=chat).curve(watched(["a bear"]))
    assert "Rule 9" not in chat.history[0].text and "Rule 9" in chat.history[1].text
    alone = ScriptedModel([said(1)])
    assert TRLC(rules=RULES, reflect=False, chat=alone).told(watched(["a bear"]))[0].score == 1


@pytest.mark.parametrize("replies", [["nothing"], [said(1), "nothing"], [{"reasoning": "x"}]])
def test_what_cannot_be_read_is_unknown(replies):
    detector = TRLC(rules=RULES, chat=ScriptedModel([*replies, *replies], repairs=0))
    assert detector.told(watched(["a bear"]))[0].score is UNKNOWN
    detector = TRLC(rules=RULES, chat=ScriptedModel(replies, repairs=0))
    np.testing.assert_array_equal(detector.curve(watched(["a bear"])).values, 0.5)


def test_rules_are_written_once_and_models_vote():
    ten = "\n".join(f"{i}. Rule {i - 1}" for i in range(1, 11))
    yes = FunctionModel(
        lambda q: ten if "taxonomy" in q.text or "Kinds of" in q.text else said(1, "yes"), name="a"
    )
    others = tuple(FunctionModel(lambda q, v=v: said(v), name=f"b{v}") for v in (0, 1))
    detector = TRLC(chat=yes, also=others)
    told = detector.told(CLIPS[0]) + detector.told(CLIPS[1])
    assert [t.score for t in told] == [1.0, 1.0] and told[0].text == "yes"
    assert sum("Kinds of anomalies" in q.text for q in yes.history) == 1
    assert all("Rule 9" in q.text for q in others[0].history)


def test_stretches_get_verdicts_of_their_own():
    chat = FunctionModel(lambda q: said(int("falls" in q.text)))
    notes = watched(["walks", "walks", "falls", "walks"])
    curve = TRLC(rules=RULES, seconds=1, chat=chat).curve(notes)
    np.testing.assert_array_equal(curve.values, np.repeat([0, 0, 1, 0], 25))


def test_pictures_are_those_of_every_fiftieth_frame_and_sixteen_at_most():
    taken: list[list[int]] = []

    def pictures(notes, at):
        taken.append(list(at))
        return [np.zeros((4, 4, 3), np.uint8)] * len(at)

    chat = FunctionModel(lambda q: said(int(len(q.images) == 16)))
    notes = Notes("clip", (4, 4), np.arange(2000) / 25, looked=np.arange(0, 2000, 10))
    detector = TRLC(rules=RULES, chat=chat, pictures=pictures)
    assert detector.told(notes)[0].score == 1
    assert len(taken[0]) == 16 and taken[0][0] == 0 and taken[0][-1] == 1950


def test_without_a_model_two_captions_have_to_say_it():
    words = TRLC()
    assert words.told(watched(["a man is falling", "a man is lying down"]))[0].text == "falling, lying"
    verdicts = [
        words.told(watched(c))[0].score
        for c in (["falling"], ["falling", "walking"], ["falling", "walking", "lying"], ["walking"], [""])
    ]
    assert verdicts == [1, 0, 1, 0, UNKNOWN]
    np.testing.assert_array_equal(words.score([watched(["fire", "fire"]), watched([""])]).values, [1, 0.5])


def test_arguments_are_checked():
    with pytest.raises(InputError, match="seconds"):
        TRLC(seconds=0)
    with pytest.raises(InputError, match="also"):
        TRLC(also=(FunctionModel(lambda q: ""),))
    with pytest.raises(InputError, match="looked"):
        TRLC().curve(Notes("clip", (2, 2), np.arange(3.0)))
    with pytest.raises(InputError, match="captions"):
        TRLC().curve(Notes("clip", (2, 2), np.arange(3.0), looked=np.arange(3)))


def test_rules_are_kept_and_models_are_not(tmp_path):
    TRLC(rules=RULES, chat=FunctionModel(lambda q: said(1))).fit([]).save(tmp_path)
    again = TRLC(**read(tmp_path).arguments)
    assert again.rules == RULES and again.chat is None and again.also == ()
