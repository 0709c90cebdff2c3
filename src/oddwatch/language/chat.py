"""The chat model that the user configured, by a URL or the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from oddwatch.core import InputError, Unknown
from oddwatch.language.asking import Chat, ChatError
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache
from oddwatch.language.server import ServerModel
from oddwatch.language.templates import prompt

LONGEST_SENTENCE = 500


class ChatSettings(BaseSettings):
    """``ODDWATCH_LLM_URL`` (like ``http://127.0.0.1:8080/v1``, or a model file or folder), ``ODDWATCH_LLM_MODEL`` (the
    name on the server; else its first), ``ODDWATCH_LLM_KEY``, ``ODDWATCH_LLM_TIMEOUT`` in seconds for one question,
    ``ODDWATCH_LLM_TOKENS`` that an answer may have (else the back end's own), ``ODDWATCH_LLM_PARALLEL`` questions that a
    server is sent at once: as many as it answers at once, the time limit runs for those that wait."""

    model_config = SettingsConfigDict(env_prefix="ODDWATCH_LLM_")

    url: str | None = None
    model: str | None = None
    key: SecretStr | None = None
    timeout: float = 30.0
    tokens: int | None = Field(default=None, ge=1)
    parallel: int = Field(default=4, ge=1)


def settings() -> ChatSettings:
    """The settings of the environment.

    Raises:
        InputError: a value of the wrong form; the message names its variable.
    """
    try:
        return ChatSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"ODDWATCH_LLM_{str(first['loc'][0]).upper()}"
        raise InputError(name, first["msg"]) from error


def connect(
    url: str, *, cache: AnswerCache | None = None, budget: Budget | None = None, **options: Any
) -> Chat:
    """The model behind ``url``: an http(s) address, a ``.gguf`` file (llama.cpp in process), or a folder with a
    transformers model. Name, key and limits come from the environment; ``options`` go to the back end.

    Raises:
        InputError: none of these.
        MissingExtra: a file or folder needs an extra that is not installed.
    """
    given = settings()
    limit = {} if given.tokens is None else {"max_tokens": given.tokens}
    options = {"timeout": given.timeout, "cache": cache, "budget": budget, **limit, **options}
    if url.strip() and "://" not in url:
        path = Path(url).expanduser()
        if path.suffix.lower() == ".gguf":
            from oddwatch.language.llamacpp import LlamaCppModel

            return LlamaCppModel(path, **options)
        if path.is_dir():
            from oddwatch.language.hub import HubChatModel

            return HubChatModel(path, **options)
    key = given.key.get_secret_value() if given.key else None
    if given.url and key and _host(url) != _host(given.url):
        # The key in the environment is for the server named beside it.
        key = None
    options = {"model": given.model, "key": key, "parallel": given.parallel, **options}
    return ServerModel(url, **options)


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def configured() -> Chat | None:
    """The model that the environment names, or None. Raises as :func:`connect`."""
    url = settings().url
    return connect(url) if url else None


def default_cache() -> AnswerCache:
    """The answer cache in the user's cache folder. Raises InputError where none can be kept."""
    from platformdirs import user_cache_path

    return AnswerCache(user_cache_path("oddwatch") / "answers.sqlite")


def to_english(text: str, model: Chat) -> str:
    """``text`` in English: the first line that ``model`` says, at most 500 characters.

    Raises:
        ChatError: the model did not answer.
    """
    answer = model.ask(prompt("to_english", text=text))
    if isinstance(answer.parsed, Unknown):
        raise ChatError(f"the chat model did not translate the sentence: {answer.note}")
    return str(answer.parsed).splitlines()[0].strip().strip('"')[:LONGEST_SENTENCE]
