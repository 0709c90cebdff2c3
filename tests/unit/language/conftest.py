"""A real HTTP server on loopback that says what a test tells it to."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Act = Callable[[BaseHTTPRequestHandler], None]


def chat_reply(text: Any, **choice: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 11, "completion_tokens": 3}
    return {"choices": [{"message": {"role": "assistant", "content": text}} | choice], "usage": usage}


@dataclass
class ChatServer:
    """``acts`` are played one a POST, the last again and again; ``asked`` holds what was sent."""

    url: str = ""
    acts: list[Act] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    models: bytes = b'{"data": [{"id": "first-model"}]}'
    over: threading.Event = field(default_factory=threading.Event)

    def say(self, *texts: Any) -> None:
        self.acts += [send(200, chat_reply(text)) for text in texts]

    def then(self, *acts: Act) -> None:
        self.acts += acts

    def fail(self, *statuses: int, body: Any = b"", **headers: str) -> None:
        self.acts += [send(status, body, **headers) for status in statuses]

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        self.over.wait(20)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not self.over.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def flood(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" " * 100_000)


def send(status: int, payload: Any, **headers: str) -> Act:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return act


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    state = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            state.headers.append(dict(self.headers) | {"path": self.path})
            state.at.append(time.monotonic())
            act = state.acts.pop(0) if len(state.acts) > 1 else state.acts[0]
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                act(self)

        def do_GET(self) -> None:
            send(200, state.models)(self)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    yield state
    state.over.set()
    http.shutdown()
    http.server_close()
