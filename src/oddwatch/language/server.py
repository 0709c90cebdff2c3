"""Any OpenAI-compatible server: vLLM, Ollama, llama.cpp, hosted ones."""

from __future__ import annotations

import email.utils
import ipaddress
import json
import logging
import random
import ssl
import threading
import time
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from oddwatch.core import InputError
from oddwatch.language import wire
from oddwatch.language.asking import Chat, ChatError, NoReply, Question, Reply
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache
from oddwatch.language.pictures import PictureLimits

log = logging.getLogger(__name__)

MOST_BYTES = 2_000_000
"""Bytes of a server's reply."""
AGAIN = {408, 425, 429, 500, 502, 503, 504, 529}
SET_UP = {
    401: "the key is not accepted (ODDWATCH_LLM_KEY)",
    403: "this key may not use it (ODDWATCH_LLM_KEY)",
    404: "no such address or model (ODDWATCH_LLM_URL, ODDWATCH_LLM_MODEL)",
}
REFUSES_EXTRAS = {400, 415, 422, 501}
"""What servers say to fields they do not know."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
DOWN_AFTER, DOWN_SECONDS = 3, 30.0
"""After so many questions without a reply in a row, none is sent for a while: each would cost its whole time limit."""


def checked(url: str) -> str:
    """``url`` as the base of requests; ``/v1`` is put under a bare host.

    Raises:
        InputError: not an http(s) address, or one with a user name, a query or a fragment.
    """
    try:
        parts = urlsplit(url.strip())
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine:
        raise InputError("the chat model's URL", f"expected an http(s) address, got {url[:200]!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "the chat model's URL", "holds more than host and path", "put a key into ODDWATCH_LLM_KEY"
        )
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


class ServerModel(Chat):
    """A model behind ``URL/chat/completions``. ``model`` None takes the first that ``URL/models`` lists.

    ``timeout`` seconds for one question with retries and repair; ``retries`` after 429, 5xx and lost connections, with
    growing pauses or as long as Retry-After says. Redirects are not followed. A private address is as good as any: the
    user named it.

    Raises:
        InputError: not an http(s) address.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        max_tokens: int = 512,
        parallel: int = 4,
        retries: int = 4,
        repairs: int = 1,
        pictures: PictureLimits | None = None,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(timeout=timeout, parallel=parallel, repairs=repairs, cache=cache, budget=budget)
        self.url = checked(url)
        self.max_tokens, self.retries = max_tokens, retries
        self.pictures = pictures or PictureLimits()
        self._model, self._naming = model, threading.Lock()
        self._models: list[dict[str, Any]] | None = None
        self._plain = 0
        self._misses, self._down_until = 0, 0.0
        self._client = self._connected(key)

    def _connected(self, key: str | None) -> httpx.Client:
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            return httpx.Client(
                headers=headers,
                follow_redirects=False,
                # A proxy of the environment is for the world outside.
                trust_env=not _is_local(urlsplit(self.url).hostname or ""),
                verify=_tls(),
                limits=httpx.Limits(max_connections=self.parallel + 1),
            )
        except (UnicodeEncodeError, ValueError) as error:
            raise InputError("ODDWATCH_LLM_KEY", "not a key that can be sent", "plain letters") from error

    @property
    def model(self) -> str:
        """The model's name on the server."""
        with self._naming:
            if self._model is None:
                name = next((m.get("id") for m in self._listed()), None)
                self._model = name[:300] if isinstance(name, str) and name else "default"
            return self._model

    @property
    def sees(self) -> bool | None:
        name = self.model
        with self._naming:
            told = next((m.get("architecture") for m in self._listed() if m.get("id") == name), None)
        takes = told.get("input_modalities") if isinstance(told, dict) else None
        return "image" in takes if isinstance(takes, list) else None

    @property
    def id(self) -> str:
        return f"{self.model}@{self.url};{self.max_tokens};{self.pictures.long_side}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def reply(self, question: Question) -> Reply:
        if time.monotonic() < self._down_until:
            raise NoReply(f"{self.url}: not asked, {DOWN_AFTER} questions in a row got no reply")
        try:
            found = wire.read(self._asked(question))
        except NoReply:
            self._misses += 1
            if self._misses >= DOWN_AFTER:
                self._down_until = time.monotonic() + DOWN_SECONDS
            raise
        self._misses = 0
        return found

    def _asked(self, question: Question) -> Any:
        """The server's reply as JSON, after as many tries as there is time for."""
        for attempt in range(self.retries + 1):
            status, text, wait = self._offered(question)
            if status == 200:
                return _json(text)
            if status in SET_UP:
                raise ChatError(f"{self.url}: HTTP {status}: {SET_UP[status]}{_said(text)}")
            if status not in AGAIN and status != 0:
                raise NoReply(f"{self.url}: HTTP {status}{_said(text)}")
            pause = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.8, 1.2)
            pause = wait if wait is not None else pause
            why = f"HTTP {status}{_said(text)}" if status else text
            if attempt == self.retries or time.monotonic() + pause >= question.deadline:
                raise NoReply(f"{self.url}: {why}")
            time.sleep(pause)
        raise NoReply(f"{self.url}: no reply")

    def _offered(self, question: Question) -> tuple[int, str, float | None]:
        """What the server says to the richest form of the request that it takes."""
        full = wire.body(question, model=self.model, max_tokens=self.max_tokens, pictures=self.pictures)
        forms = [full, wire.without_extras(full), wire.for_reasoners(full)]
        said: tuple[int, str, float | None] = (0, "", None)
        for plain in range(self._plain, len(forms)):
            if plain > self._plain and forms[plain] == forms[plain - 1]:
                continue
            said = self._once("POST", "/chat/completions", question.deadline, forms[plain])
            if said[0] not in REFUSES_EXTRAS:
                if said[0] == 200 and plain > self._plain:
                    log.info("%s takes a plainer request only", self.url)
                    self._plain = plain
                break
        return said

    def _once(
        self, method: str, path: str, deadline: float, sent: dict[str, Any] | None = None
    ) -> tuple[int, str, float | None]:
        """Status (0: the connection failed), text, and the pause the server asks for."""
        left = deadline - time.monotonic()
        late = NoReply(f"{self.url}: no reply within the time limit of {self.timeout:g} s")
        if left <= 0:
            raise late
        try:
            with self._client.stream(method, self.url + path, json=sent, timeout=left) as response:
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise NoReply(f"{self.url}: the reply is packed, though that was not asked for")
                taken = bytearray()
                for piece in response.iter_raw():
                    taken += piece
                    if len(taken) > MOST_BYTES:
                        raise NoReply(f"{self.url}: a reply of more than {MOST_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise late
                wait = _pause(response.headers.get("retry-after"))
                return response.status_code, taken.decode("utf-8", "replace"), wait
        except httpx.TimeoutException as error:
            raise late from error
        except httpx.TransportError as error:
            return 0, f"{type(error).__name__}: {str(error)[:200]}", None
        except httpx.HTTPError as error:
            raise NoReply(f"{self.url}: {type(error).__name__}: {str(error)[:200]}") from error

    def _listed(self) -> list[dict[str, Any]]:
        """The server's models, asked for once; none where it does not say."""
        if self._models is None:
            try:
                status, text, _ = self._once("GET", "/models", time.monotonic() + min(self.timeout, 5.0))
                found = _json(text)["data"] if status == 200 else []
            except (NoReply, KeyError, TypeError) as error:
                log.info("%s names no model: %s", self.url, error)
                found = []
            self._models = [m for m in found if isinstance(m, dict)] if isinstance(found, list) else []
        return self._models


@cache
def _tls() -> ssl.SSLContext:
    """Read once: certificates take a tenth of a second."""
    return httpx.create_ssl_context()


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoReply("the server's reply is no JSON") from error


def _said(text: str) -> str:
    """A server's own words, as far as they fit into a line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return f": {line[:200]}" if line else ""


def _pause(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date."""
    if header is None:
        return None
    try:
        return max(float(header), 0.0) if float(header) < 1e6 else 1e6
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
