"""One question to an OpenAI-compatible server (vLLM, Ollama, llama.cpp, hosted), over the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from oddwatch.core import InputError, OddwatchError

MOST_BYTES = 1_000_000


class ChatError(OddwatchError):
    """The configured chat model did not answer, or not in the form it should."""


class ChatSettings(BaseSettings):
    """``ODDWATCH_LLM_URL`` (like ``http://127.0.0.1:8080/v1``), ``ODDWATCH_LLM_MODEL``, ``ODDWATCH_LLM_KEY``,
    ``ODDWATCH_LLM_TIMEOUT`` in seconds."""

    model_config = SettingsConfigDict(env_prefix="ODDWATCH_LLM_")

    url: str | None = None
    model: str = "default"
    key: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class ChatServer:
    """A configured server. Its answers are untrusted text."""

    url: str
    model: str = "default"
    key: str | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError("ODDWATCH_LLM_URL", f"expected an http(s) address, got {self.url!r}")

    def ask(self, instruction: str, text: str) -> str:
        """The answer to ``text`` under ``instruction``, at temperature 0.

        Raises:
            ChatError: no answer in time, an HTTP error, or an answer of another form.
        """
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": text}],
        }
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        address = self.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                return _content(json.loads(reply.read(MOST_BYTES)))
        except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
            raise ChatError(f"{self.url}: the chat model did not answer usably: {error}") from error


def _content(reply: Any) -> str:
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no message in the reply ({error!r})") from error
    if not isinstance(content, str) or not content.strip():
        raise ValueError("an empty message")
    return content.strip()


def configured() -> ChatServer | None:
    """The server that the environment names, or None."""
    settings = ChatSettings()
    if not settings.url:
        return None
    return ChatServer(settings.url, settings.model, settings.key, settings.timeout)


TO_ENGLISH = (
    "Translate the user's description of a person or a scene into one plain English sentence. "
    "Keep colours, clothes, doings, counts and negations exactly. Answer with the sentence alone."
)


def to_english(text: str, server: ChatServer) -> str:
    """``text`` in English, by the configured chat model: its first line, at most 500 characters."""
    return server.ask(TO_ENGLISH, text).splitlines()[0].strip().strip('"')[:500]
