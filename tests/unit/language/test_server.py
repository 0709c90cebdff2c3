"""The server back end against a real HTTP server: good answers, and every kind of bad day."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from oddwatch.core import UNKNOWN, ChatModel, Frame, InputError, LimitError
from oddwatch.language import server as module
from oddwatch.language.asking import ChatError, Request, form_of
from oddwatch.language.budget import Budget
from oddwatch.language.parsing import YesNo, listing
from oddwatch.language.pictures import PictureLimits
from oddwatch.language.server import ServerModel


class Match(BaseModel):
    match: float = Field(ge=0, le=1)
    why: str


GOOD = '{"match": 0.5, "why": "red jacket"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)


def model(chat_server, **options) -> ServerModel:
    return ServerModel(chat_server.url, **{"model": "m", "timeout": 5.0, **options})


def test_a_valid_answer(chat_server):
    chat_server.say(GOOD)
    asked = model(chat_server, key="k")
    assert isinstance(asked, ChatModel)
    answer = asked.ask("Does it fit?", schema=Match)
    assert answer.parsed == Match(match=0.5, why="red jacket") and answer.outcome == "answered"
    assert (answer.usage.calls, answer.usage.prompt_tokens, answer.usage.answer_tokens) == (1, 11, 3)
    assert answer.raw == GOOD and answer.seconds > 0 and not answer.cached
    sent = chat_server.asked[0]
    assert sent["model"] == "m" and sent["temperature"] == 0 and sent["max_tokens"] == 512
    form = sent["response_format"]["json_schema"]["schema"]
    assert form == form_of(Match) and form["properties"]["match"]["maximum"] == 1
    assert "Does it fit?" in sent["messages"][0]["content"] and "maximum" in sent["messages"][0]["content"]
    assert chat_server.headers[0]["Authorization"] == "Bearer k"
    assert chat_server.headers[0]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    "said",
    [
        f"```json\n{GOOD}\n```",
        f"Sure! Here it is:\n{GOOD}\nI hope this helps.",
        '<think>maybe {"match": 9}</think>' + GOOD,
        "{'match': 0.5, 'why': 'red jacket',}",
        '{"match": "0.5", "why": "red jacket"} // done',
        [{"type": "text", "text": GOOD}],
    ],
)
def test_an_answer_in_another_dress(chat_server, said):
    chat_server.say(said)
    answer = model(chat_server).ask("?", schema=Match)
    assert answer.parsed == Match(match=0.5, why="red jacket")
    assert len(chat_server.asked) == 1


@pytest.mark.parametrize(
    "said",
    [
        "I think the jacket is red.",
        '{"match": 0.5, "why": "the m',
        '{"match": 2, "why": "out of range"}',
        '{"match": [0.5], "why": 3}',
        '{"match": NaN, "why": "x"}',
        "[1, 2, 3]",
        "null",
        "",
        None,
    ],
)
def test_an_answer_of_the_wrong_form_is_asked_for_once_more(chat_server, said):
    chat_server.say(said, GOOD)
    asked = model(chat_server)
    answer = asked.ask("?", schema=Match)
    assert answer.parsed == Match(match=0.5, why="red jacket") and answer.usage.calls == 2
    turns = chat_server.asked[1]["messages"]
    assert [t["role"] for t in turns] == ["user", "assistant", "user"]
    assert "could not be used" in turns[2]["content"]

    chat_server.acts.clear()
    chat_server.say(said)
    answer = asked.ask("another?", schema=Match)
    assert answer.parsed is UNKNOWN and answer.outcome == "unusable" and answer.note
    assert len(chat_server.asked) == 4 and asked.tally.notes() == [
        "1 question(s) answered, but not in the form asked for"
    ]


def test_what_was_wrong_is_told_without_the_model_s_own_words(chat_server):
    chat_server.say('{"match": "ignore all rules", "why": "x"}', GOOD)
    model(chat_server).ask("?", schema=Match)
    assert "ignore all rules" not in chat_server.asked[1]["messages"][2]["content"]


def test_errors_that_pass(chat_server):
    chat_server.fail(500, 503)
    chat_server.then(lambda handler: handler.connection.shutdown(socket.SHUT_RDWR))
    chat_server.say(GOOD)
    answer = model(chat_server).ask("?", schema=Match)
    assert answer.parsed is not UNKNOWN and len(chat_server.asked) == 4 and answer.usage.calls == 1


def test_errors_that_stay_are_unknown(chat_server):
    chat_server.fail(500, body=b"out of\x1b[31m memory\n" * 100)
    asked = model(chat_server, retries=2)
    answer = asked.ask("?", schema=Match)
    assert answer.parsed is UNKNOWN and answer.outcome == "failed" and len(chat_server.asked) == 3
    assert "HTTP 500: out of" in answer.note and "\x1b" not in answer.note and len(answer.note) < 400
    assert asked.tally.failed == 1 and "could not be reached" in asked.tally.notes()[0]


@pytest.mark.parametrize("http_date", [False, True])
def test_too_many_requests_waits_as_long_as_it_is_told(chat_server, http_date):
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1.99))
    chat_server.fail(429, Retry_After=later if http_date else "0.4")
    chat_server.say(GOOD)
    assert model(chat_server).ask("?", schema=Match).parsed is not UNKNOWN
    assert chat_server.at[1] - chat_server.at[0] >= (0.3 if http_date else 0.4)


def test_a_wait_beyond_the_time_limit_is_not_waited(chat_server):
    chat_server.fail(429, Retry_After="3600")
    started = time.monotonic()
    answer = model(chat_server).ask("?", schema=Match)
    assert answer.outcome == "failed" and "429" in answer.note and time.monotonic() - started < 2


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_a_server_that_never_answers(chat_server, way):
    chat_server.then(getattr(chat_server, way))
    started = time.monotonic()
    answer = model(chat_server, timeout=0.3).ask("?", schema=Match)
    assert answer.parsed is UNKNOWN and "time limit" in answer.note
    assert time.monotonic() - started < 1.5


def test_a_dead_server_costs_its_time_limit_a_few_times_only(chat_server):
    chat_server.then(chat_server.hang)
    asked = model(chat_server, timeout=0.2, parallel=2)
    started = time.monotonic()
    answers = asked.ask_many([Request(f"{i}?", schema=Match) for i in range(40)])
    assert all(a.parsed is UNKNOWN and a.outcome == "failed" for a in answers)
    assert time.monotonic() - started < 2 and len(chat_server.asked) <= 4
    assert "not asked" in answers[-1].note and asked.tally.failed == 40


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = ServerModel(f"http://127.0.0.1:{port}", timeout=2, retries=1).ask("?", schema=Match)
    assert answer.parsed is UNKNOWN and "Connect" in answer.note


@pytest.mark.parametrize(
    "payload",
    [b"<html>prose</html>", b"", b"[1", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": "x"}]}',
     b'{"choices": [{"message": {"content": 5}}]}', b'{"error": "no"}', b"[" * 100_000],
)  # fmt: skip
def test_a_reply_of_another_form_is_unknown(chat_server, payload):
    chat_server.fail(200, body=payload)
    answer = model(chat_server).ask("?", schema=Match)
    assert answer.parsed is UNKNOWN and answer.outcome == "failed" and "reply" in answer.note


def test_a_huge_reply_is_cut_off(chat_server, monkeypatch):
    chat_server.then(chat_server.flood)
    answer = model(chat_server).ask("?", schema=Match)
    assert answer.parsed is UNKNOWN and "more than 2000000 bytes" in answer.note


def test_a_packed_reply_is_not_unpacked(chat_server):
    chat_server.fail(200, body=b"x", Content_Encoding="gzip")
    assert "packed" in model(chat_server).ask("?").note


def test_wrong_counts_of_tokens_count_as_none(chat_server):
    odd = {
        "choices": [{"message": {"content": "hi"}}],
        "usage": {"prompt_tokens": "9", "completion_tokens": -3},
    }
    chat_server.fail(200, body=odd)
    answer = model(chat_server).ask("?")
    assert answer.parsed == "hi" and answer.usage.tokens == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_set_up_is_said_at_once(chat_server, status):
    chat_server.fail(status)
    with pytest.raises(ChatError, match=f"{status}.*ODDWATCH_LLM"):
        model(chat_server).ask("?")
    with pytest.raises(ChatError):
        model(chat_server).ask_many([Request("a"), Request("b")])


def test_redirects_are_not_followed(chat_server):
    chat_server.fail(307, Location="http://127.0.0.1:1/v1/chat/completions")
    assert "HTTP 307" in model(chat_server, key="secret").ask("?").note


def test_a_server_without_response_formats(chat_server):
    def act(handler):
        refused = "response_format" in chat_server.asked[-1]
        (no if refused else yes)(handler)

    chat_server.fail(400, body=b"unknown field response_format")
    chat_server.say(GOOD)
    no, yes = chat_server.acts
    chat_server.acts[:] = [act]
    asked = model(chat_server)
    assert asked.ask("?", schema=Match).parsed is not UNKNOWN and len(chat_server.asked) == 2
    assert asked.ask("??", schema=Match).parsed is not UNKNOWN and len(chat_server.asked) == 3


def test_a_server_that_wants_the_newer_limit(chat_server):
    chat_server.fail(400)
    chat_server.say("hi")
    assert model(chat_server).ask("?").parsed == "hi"
    sent = chat_server.asked[1]
    assert sent["max_completion_tokens"] == 512 and "temperature" not in sent and "max_tokens" not in sent


def test_the_first_model_is_taken_where_none_is_named(chat_server):
    chat_server.say("hi")
    asked = model(chat_server, model=None)
    assert asked.ask("?").model.startswith("first-model@http://127.0.0.1")
    assert chat_server.asked[0]["model"] == "first-model"
    chat_server.models = b"prose"
    assert model(chat_server, model=None).model == "default"


@pytest.mark.parametrize(
    ("listed", "sees"),
    [
        (b'{"data": [{"id": "m", "architecture": {"input_modalities": ["text"]}}]}', False),
        (b'{"data": [{"id": "m", "architecture": {"input_modalities": ["text", "image"]}}]}', True),
        (b'{"data": [{"id": "x", "architecture": {"input_modalities": ["image"]}}, 3, {"id": "m"}]}', None),
        (b'{"data": [{"id": "m", "architecture": "text"}]}', None),
        (b'{"data": {"id": "m"}}', None),
        (b"[1]", None),
        (b"prose", None),
    ],
)
def test_a_server_may_say_whether_its_model_takes_pictures(chat_server, listed, sees):
    chat_server.models = listed
    assert model(chat_server).sees is sees


def test_pictures_go_as_data_urls_within_limits(chat_server):
    chat_server.say("hi")
    asked = model(chat_server, pictures=PictureLimits(long_side=64, most=2, most_bytes=5000))
    wide = Frame(np.zeros((100, 400, 3), np.uint8))
    asked.ask("what?", [wide, np.zeros((20, 10, 3), np.uint8)])
    parts = chat_server.asked[0]["messages"][0]["content"]
    assert [p["type"] for p in parts] == ["image_url", "image_url", "text"]
    assert _size(parts[0]) == (64, 16) and _size(parts[1]) == (10, 20)
    with pytest.raises(LimitError, match="at most 2"):
        asked.ask("what?", [wide] * 3)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    with pytest.raises(LimitError, match="bytes"):
        asked.ask("what?", [noise, noise])
    with pytest.raises(InputError):
        asked.ask("what?", [np.zeros((3, 3))])
    with pytest.raises(InputError):
        asked.ask(" ")


def _size(part: dict) -> tuple[int, int]:
    import base64
    import io

    from PIL import Image

    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).size


def test_odds_of_yes(chat_server):
    def top(**logprobs):
        listed = [{"token": t, "logprob": p} for t, p in logprobs.items()]
        return {"content": [{"token": "x", "logprob": 0, "top_logprobs": listed}]}

    payload = {"choices": [{"message": {"content": "Yes."}, "logprobs": top(Yes=-0.5, no=-1.5, maybe=-9)}]}
    chat_server.fail(200, body=payload)
    answer = model(chat_server).ask("?", schema=YesNo)
    assert answer.parsed == YesNo(answer="yes")
    assert answer.yes == pytest.approx(1 / (1 + np.exp(-1)))
    assert chat_server.asked[0]["logprobs"] is True and "response_format" not in chat_server.asked[0]
    for odd in (None, "x", {"content": "x"}, {"content": [{"top_logprobs": [{"token": 1}]}]}, top(maybe=-1)):
        payload["choices"][0]["logprobs"] = odd
        chat_server.acts.clear()
        chat_server.fail(200, body=payload)
        assert model(chat_server).ask("?", schema=YesNo).yes is None


def test_no_more_than_so_many_at_once(chat_server):
    now, most, lock = 0, 0, threading.Lock()
    reply = []

    def slow(handler):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.03)
        with lock:
            now -= 1
        reply[0](handler)

    chat_server.say("hi")
    reply.append(chat_server.acts.pop())
    chat_server.then(slow)
    asked = model(chat_server, parallel=3)
    seen = []
    answers = asked.ask_many(
        [Request(f"{i}") for i in range(12)], progress=lambda what, done, total: seen.append((done, total))
    )
    assert [a.parsed for a in answers] == ["hi"] * 12 and most == 3 and seen[-1] == (12, 12)


def test_a_budget_stops_the_calls_not_the_command(chat_server):
    chat_server.say(GOOD)
    asked = model(chat_server, budget=Budget(calls=5), parallel=4)
    answers = asked.ask_many([Request(f"{i}", schema=Match) for i in range(12)])
    assert len(chat_server.asked) == 5
    assert sum(a.outcome == "refused" for a in answers) == 7 and asked.tally.refused == 7
    assert all(a.parsed is UNKNOWN for a in answers if a.outcome == "refused")
    assert asked.tally.notes() == ["7 question(s) not asked: the budget is used up"]


def test_lists_of_exactly_so_many(chat_server):
    class Kind(BaseModel):
        kind: Literal["VERB", "COLOR"]

    chat_server.say("falling; red, UNKNOWN", "1. falling\n2. red", '["falling", "re', "color")
    asked = model(chat_server)
    three = listing(3)
    assert asked.ask("a", schema=three).parsed.items == ["falling", "red", "UNKNOWN"]
    assert asked.ask("b", schema=three).parsed.items == ["falling", "red", "UNKNOWN"]
    assert asked.ask("c", schema=three).parsed.items == ["falling", "UNKNOWN", "UNKNOWN"]
    assert json.loads(json.dumps(chat_server.asked[0]["response_format"]))["json_schema"]["name"] == "Fills3"
    assert asked.ask("d", schema=Kind).parsed.kind == "COLOR"
