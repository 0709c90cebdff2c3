"""SSDC's detective, analyst and writer, and ActPair's rewriter, with functions in the model's place."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Frame, Hit, Query
from oddwatch.language.asking import NoReply, Reply
from oddwatch.language.scripted import FunctionModel, ScriptedModel
from oddwatch.search.lmm import build_chat_detective, planned_calls, usage_of
from oddwatch.search.squad import ChatAnalyst, ChatDetective, ChatRewriter, ChatWriter

Q = "A man in a red jacket is falling off a blue bicycle on the road."


def picture(i):
    """A picture that a function can recognise: its first pixel is the letter."""
    return Frame(np.full((4, 4, 3), ord(i), np.uint8))


def letter(image):
    return chr(int(image.pixels[0, 0, 0]))


def hits(ids):
    return [
        Hit(rank=r, id=i, source="a.jpg", kind="person", score=1 / r, stages={"facts": 1 / r})
        for r, i in enumerate(ids, 1)
    ]


def ids(ranking):
    return [h.id for h in ranking]


def asked_of(question):
    """Which part asks, by its instruction."""
    system = question.messages[0].text
    return next(p for p in ("whether the main person", "note what", "merge") if p in system)


def squad(answer, **options):
    return build_chat_detective(FunctionModel(answer), lambda hit: picture(hit.id), **options)


def test_d2_a_detective_that_says_no_changes_nothing():
    for said in ("no", "No.", NoReply("late"), "I could not say", Reply("yes", yes=0.2)):
        stage = squad(lambda q, said=said: said)
        assert ids(stage.rerank(Query(Q), hits("ABC"))) == list("ABC")
        assert usage_of(stage).calls >= 3


def test_d3_the_odds_of_yes_decide_where_offered():
    def answer(question):
        return Reply("no", yes=0.8) if letter(question.images[0]) == "B" else Reply("yes", yes=0.4)

    stage = squad(answer, rounds=3)
    done = stage.rerank(Query(Q), hits("ABC"))
    base = (1 / 2 - 1 / 3) / (1 - 1 / 3)
    assert {h.id: h.stages["ssdc"] for h in done}["B"] == pytest.approx(0.4 * base + 0.6)
    assert stage.calls == 2 == usage_of(stage).calls
    assert planned_calls("ssdc", 3) == (1, 3) and planned_calls("ssdc", 3, writer=True) == (1, 5)


def test_an_accepted_picture_is_analysed_and_the_sentence_written_anew():
    def answer(question):
        part = asked_of(question)
        if part == "note what":
            return {"items": ["man", "UNKNOWN", *["none"] * 13]}
        if part == "merge":
            assert '"sex": "man"' in question.text and "age" not in question.text
            return {"sentence": "A man\nfalls. \x1b[31m"}
        return "yes" if letter(question.images[0]) == "B" else "no"

    scored = []

    def score(sentence, found):
        scored.append(sentence)
        return np.array([0.0, 0.5, 0.9])

    stage = squad(answer, score=score)
    assert ids(stage.rerank(Query(Q), hits("ABC"))) == ["B", "C", "A"]
    assert scored == ["A man falls. [31m"]
    assert usage_of(stage).calls == 4


def test_analyst_and_writer_without_an_answer_change_nothing():
    silent = FunctionModel(lambda q: NoReply("late"))
    assert ChatAnalyst(silent)(picture("A")) == {} and ChatAnalyst(silent)(None) == {}
    assert ChatWriter(silent)("a man", {"sex": "man"}) == "a man"
    assert ChatWriter(ScriptedModel([]))("a man", {}) == "a man"


def test_the_rewriter_fills_the_fixed_form():
    said = {"person": "a man", "clothing": "a red jacket", "action": "falling", "scene": "on the road"}
    model = FunctionModel(lambda q: said)
    rewriter = ChatRewriter(model, tags=("falling", "riding"))
    assert rewriter(Q) == "a man wearing a red jacket is falling on the road."
    assert '["falling", "riding"]' in model.history[0].text
    said |= {"clothing": "UNKNOWN", "person": ""}
    assert rewriter(Q) == "a person is falling on the road."
    for useless in ("prose", {"person": "a man"}, dict.fromkeys(said, "UNKNOWN"), NoReply("late")):
        assert ChatRewriter(FunctionModel(lambda q, u=useless: u))(Q) == Q
    assert ChatRewriter(ScriptedModel([]))(" ") == " "


def test_detective_without_a_picture_accepts_nobody():
    assert not ChatDetective(ScriptedModel([]), lambda hit: None)(Query(Q), hits("A")[0])
