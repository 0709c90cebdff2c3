"""The chat client against a real HTTP server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from oddwatch.core import InputError
from oddwatch.language.chat import ChatError, ChatServer, configured, to_english
from oddwatch.search.engine import understood


class Handler(BaseHTTPRequestHandler):
    reply: bytes = b""
    status = 200
    asked: ClassVar[dict] = {}

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        Handler.asked = json.loads(self.rfile.read(length)) | {
            "path": self.path,
            "auth": self.headers.get("Authorization"),
        }
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.reply)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    Handler.status = 200
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    http.server_close()


def says(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_asks_in_the_open_form(server):
    Handler.reply = says('"a man in a red jacket"\nand more')
    assert to_english("ein Mann in roter Jacke", ChatServer(server, "m", "k")) == "a man in a red jacket"
    assert Handler.asked["path"] == "/v1/chat/completions"
    assert Handler.asked["model"] == "m" and Handler.asked["auth"] == "Bearer k"
    assert Handler.asked["messages"][1] == {"role": "user", "content": "ein Mann in roter Jacke"}


@pytest.mark.parametrize(
    "reply", [b"", b"prose", b'{"choices": []}', b'{"choices": [{"message": {"content": ""}}]}', b"[1"]
)
def test_an_answer_of_another_form_is_one_clear_error(server, reply):
    Handler.reply = reply
    with pytest.raises(ChatError, match="did not answer usably"):
        ChatServer(server).ask("x", "y")


def test_http_error_and_no_server(server):
    Handler.status, Handler.reply = 500, b"oops"
    with pytest.raises(ChatError, match="500"):
        ChatServer(server).ask("x", "y")
    with pytest.raises(ChatError):
        ChatServer("http://127.0.0.1:9/v1", timeout=2).ask("x", "y")


def test_only_http_addresses():
    with pytest.raises(InputError, match="http"):
        ChatServer("file:///etc/passwd")


def test_another_language_goes_through_the_configured_model(server, monkeypatch):
    german = "ein Mann mit einer roten Jacke liegt auf dem Boden"
    monkeypatch.delenv("ODDWATCH_LLM_URL", raising=False)
    assert configured() is None
    with pytest.raises(InputError, match=r"not understood.*English"):
        understood(german)
    monkeypatch.setenv("ODDWATCH_LLM_URL", server)
    Handler.reply = says("A man in a red jacket lies on the ground.")
    query = understood(german)
    assert query.language == "de"
    assert {"upper.color.red", "posture.lying"} <= {a for s in query.slots for a in s.atoms}
