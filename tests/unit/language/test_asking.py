"""Cache, budget, estimate and tally, on scripted models."""

from __future__ import annotations

import sqlite3
import stat
import threading

import numpy as np
import pytest
from pydantic import BaseModel, Field

from oddwatch.core import UNKNOWN, ChatModel, Frame, InputError, LimitError, Prompt
from oddwatch.language import CHAT_MODELS, load
from oddwatch.language.asking import NoReply, Question, Reply, Request, form_of
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache, Stored
from oddwatch.language.parsing import listing
from oddwatch.language.scripted import FunctionModel, ScriptedModel


class Match(BaseModel):
    match: int = Field(ge=0, le=10)


def picture(value: int) -> Frame:
    return Frame(np.full((4, 4, 3), value, np.uint8), source=f"p{value}")


@pytest.fixture
def cache(tmp_path):
    with AnswerCache(tmp_path / "deep" / "answers.sqlite") as opened:
        yield opened


def test_a_script_is_followed_and_remembered():
    model = load("scripted", [{"match": 3}, Match(match=4), "prose", "5"])
    assert isinstance(model, ChatModel) and "scripted" in CHAT_MODELS
    answers = [model.ask(Prompt(f"{i}?", "look", "fit", "2"), [picture(i)], Match) for i in range(3)]
    assert [a.parsed for a in answers] == [Match(match=3), Match(match=4), Match(match=5)]
    assert answers[0].prompt == "fit@2" and answers[0].model == "scripted"
    assert [q.images[0].source for q in model.history] == ["p0", "p1", "p2", "p2"]
    with pytest.raises(InputError, match="no reply left"):
        model.ask("more?")


def test_a_function_sees_the_picture_and_a_failure_is_unknown():
    def answer(question: Question):
        shade = int(question.images[0].pixels[0, 0, 0])
        return NoReply("dark") if shade == 0 else {"match": shade}

    model = FunctionModel(answer)
    assert model.ask("?", [picture(7)], Match).parsed == Match(match=7)
    failed = model.ask("?", [picture(0)], Match)
    assert failed.parsed is UNKNOWN and (failed.outcome, failed.note) == ("failed", "dark")


def test_without_a_schema_the_answer_is_the_text():
    model = ScriptedModel(["<think>hm</think> A man.\n", "", "  "])
    assert model.ask("?").parsed == "A man."
    assert model.ask("?").parsed is UNKNOWN


def test_as_many_calls_as_questions_and_none_the_second_time(cache):
    """Search spec A-7: with N = 3 and Q distinct queries, Q cloze calls and 3Q completions; then 0."""

    def run() -> FunctionModel:
        model = FunctionModel(lambda q: "falling, red", cache=cache, parallel=4)
        for query in range(5):
            model.ask(Prompt(f"mask {query}", name="cloze", version="1"), schema=listing(2))
            model.ask_many(
                Request(Prompt(f"fill {query}", name="fill", version="1"), [picture(i)], listing(2))
                for i in range(3)
            )
        return model

    first, second = run(), run()
    assert len(first.history) == first.tally.calls == 5 + 15 and len(cache) == 20
    assert len(second.history) == second.tally.calls == 0 and second.tally.cached == 20
    answer = second.ask(Prompt("mask 0", name="cloze", version="1"), schema=listing(2))
    assert answer.cached and answer.parsed.items == ["falling", "red"] and answer.usage.tokens == 0


def test_anything_that_changes_the_question_asks_again(cache):
    class Other(BaseModel):
        match: int

    asked = Prompt("?", "look", "fit", "1")
    model = FunctionModel(lambda q: "3", cache=cache)
    calls = [
        (asked, [picture(1)], Match), (Prompt("!", "look", "fit", "1"), [picture(1)], Match),
        (Prompt("?", "peer", "fit", "1"), [picture(1)], Match), (Prompt("?", "look", "fit", "2"), [picture(1)], Match),
        (asked, [picture(2)], Match), (asked, [picture(1), picture(1)], Match), (asked, [], Match),
        (asked, [np.ones((2, 8, 3), np.uint8)], Match), (asked, [picture(1)], Other), (asked, [picture(1)], None),
    ]  # fmt: skip
    for prompt, images, schema in [*calls, *calls]:
        model.ask(prompt, images, schema)
    assert len(model.history) == len(calls) == len(cache)
    FunctionModel(lambda q: "3", name="another", cache=cache).ask(*calls[0])
    assert len(cache) == len(calls) + 1


def test_nonsense_is_remembered_but_a_failure_is_not(cache):
    model = ScriptedModel(["prose", "prose again", NoReply("down"), "4"], cache=cache)
    assert model.ask("a", schema=Match).outcome == "unusable"
    again = model.ask("a", schema=Match)
    assert again.cached and again.parsed is UNKNOWN and again.outcome == "unusable" and again.note
    assert model.ask("b", schema=Match).outcome == "failed"
    assert model.ask("b", schema=Match).parsed == Match(match=4)


def test_what_is_in_the_cache_is_checked_again(cache):
    model = ScriptedModel(["4"], cache=cache)
    model.ask("a", schema=Match)
    cache._db.execute("UPDATE answers SET raw = '{\"match\": 99}'")
    assert model.ask("a", schema=Match).parsed is UNKNOWN


def test_equal_questions_are_asked_once():
    model = FunctionModel(lambda q: "x")
    assert len(model.ask_many([Request("a"), Request("b"), Request("a")])) == 3 and len(model.history) == 2


def test_a_stopped_run_goes_on_where_it_was(cache):
    requests = [Request(f"{i}?", schema=Match) for i in range(10)]

    def stop(question: Question):
        if question.text.startswith("6?"):
            raise KeyboardInterrupt
        return "1"

    with pytest.raises(KeyboardInterrupt):
        FunctionModel(stop, cache=cache).ask_many(requests)
    assert 6 <= len(cache) < 10
    before = len(cache)
    model = FunctionModel(lambda q: "1", cache=cache)
    estimate = model.estimate(requests)
    assert (estimate.questions, estimate.cached, estimate.calls) == (10, before, 10 - before)
    assert all(a.parsed == Match(match=1) for a in model.ask_many(requests))
    assert len(model.history) == 10 - before
    assert model.estimate(requests).calls == 0


def test_an_estimate_asks_nothing():
    model = FunctionModel(lambda q: "1")
    found = model.estimate([Request("x" * 350), Request("y", [picture(1)]), Request("y", [picture(1)])])
    assert not model.history and found.calls == 2 and 1000 <= found.tokens <= 1200 and found.seconds is None
    model.ask("z")
    later = model.estimate([Request("y")])
    assert later.seconds is not None and "1 calls" in str(later)


@pytest.mark.parametrize("limits", [{"calls": 3}, {"tokens": 25}, {"seconds": 0}, {"calls": 0}])
def test_budgets(limits):
    model = FunctionModel(lambda q: Reply("1", prompt_tokens=9, answer_tokens=1), budget=Budget(**limits))
    answers = [model.ask(f"{i}?", schema=Match) for i in range(6)]
    allowed = 0 if 0 in limits.values() else 3
    assert len(model.history) == allowed
    assert [a.outcome for a in answers] == ["answered"] * allowed + ["refused"] * (6 - allowed)
    assert answers[-1].parsed is UNKNOWN and "budget" in answers[-1].note and answers[-1].usage.calls == 0


def test_a_repair_is_a_call_of_the_budget():
    model = FunctionModel(lambda q: "prose", budget=Budget(calls=3))
    assert [model.ask(f"{i}", schema=Match).outcome for i in range(3)] == ["unusable", "unusable", "refused"]
    assert len(model.history) == 3
    with pytest.raises(InputError):
        Budget(calls=-1)


def test_threads_never_go_over_the_budget():
    model = FunctionModel(lambda q: "1", budget=Budget(calls=20), parallel=8)
    model.ask_many([Request(f"{i}") for i in range(60)])
    assert len(model.history) == 20 and model.tally.refused == 40


def test_the_cache_file_is_private_and_ours(tmp_path, cache):
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    with AnswerCache(cache.path) as second:
        second.put("k", "m", Prompt("?"), Stored("said", 0.5))
        assert cache.get("k") == Stored("said", 0.5)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(InputError, match="another program"):
        AnswerCache(other)
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(InputError, match="not an answer cache"):
        AnswerCache(tmp_path / "text")
    with pytest.raises(InputError, match="can be kept"):
        AnswerCache(tmp_path)


def test_many_threads_share_a_cache(cache):
    model = FunctionModel(lambda q: q.text, cache=cache, parallel=8)
    threads = [threading.Thread(target=model.ask, args=(f"{i % 40}",)) for i in range(120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 40 and model.tally.answered == 120


def test_odd_characters_are_kept_as_far_as_they_can_be(cache):
    model = ScriptedModel(["a\ud800b\x00c"], cache=cache)
    assert model.ask("\ud800?").parsed == "a?b\x00c"
    assert model.ask("\ud800?").cached


def test_a_repair_that_does_not_fit_or_is_not_heard_is_unknown_and_asked_again_later(cache):
    for trouble in (LimitError("prompt", "too long"), NoReply("late")):

        def answer(question: Question, trouble: Exception = trouble):
            if len(question.messages) > 1:
                raise trouble
            return Reply("prose", yes=0.25)

        found = FunctionModel(answer, cache=cache).ask("?", schema=Match)
        assert found.parsed is UNKNOWN and found.outcome == "unusable" and found.yes == 0.25
        assert len(cache) == 0


def test_a_question_that_does_not_fit_is_the_caller_s_error():
    def answer(question: Question):
        raise LimitError("prompt", "too long")

    with pytest.raises(LimitError):
        FunctionModel(answer).ask("?")


def test_a_form_keeps_the_order_of_its_class_and_nothing_to_copy():
    """Servers that write by a grammar put what is not required last; small models copy a docstring into their answer."""

    class Inner(BaseModel):
        """Said to nobody."""

        why: str = ""

    class Outer(BaseModel):
        """Nor this."""

        reasoning: str = ""
        inner: Inner = Inner()
        anomaly: int

    form = form_of(Outer)
    assert form["required"] == list(form["properties"]) == ["reasoning", "inner", "anomaly"]
    assert form["$defs"]["Inner"]["required"] == ["why"]
    assert "Said" not in str(form) and "Nor" not in str(form) and "title" not in form["properties"]["anomaly"]
    # What is left out is still taken.
    assert ScriptedModel([{"anomaly": 1}]).ask("?", schema=Outer).parsed == Outer(anomaly=1)
