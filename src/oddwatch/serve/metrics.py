"""Numbers for Prometheus and a health page, over the standard library's HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

from oddwatch.core.errors import InputError

Health = Callable[[], tuple[bool, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Meaning:
    """Whether a number only grows (counter) or is a state (gauge), and what it says."""

    kind: Literal["counter", "gauge"]
    help: str


class Board:
    """Named numbers with labels. Names must be among ``meanings``."""

    def __init__(self, meanings: Mapping[str, Meaning]) -> None:
        self._meanings, self._lock = dict(meanings), threading.Lock()
        self._values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {name: {} for name in meanings}

    def set(self, name: str, value: float, **labels: str) -> None:
        """Put down a number."""
        with self._lock:
            self._at(name)[tuple(sorted(labels.items()))] = float(value)

    def add(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to a number, 0 at first."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            values = self._at(name)
            values[key] = values.get(key, 0.0) + by

    def get(self, name: str, **labels: str) -> float:
        """A number, 0 where it has not been put down yet."""
        with self._lock:
            return self._at(name).get(tuple(sorted(labels.items())), 0.0)

    def _at(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        if name not in self._values:
            raise InputError(f"number {name!r}", "not known", f"one of: {', '.join(sorted(self._values))}")
        return self._values[name]

    def text(self) -> str:
        """All numbers in Prometheus' text format 0.0.4."""
        lines = []
        with self._lock:
            for name, meaning in self._meanings.items():
                lines += [f"# HELP {name} {meaning.help}", f"# TYPE {name} {meaning.kind}"]
                for labels, value in sorted(self._values[name].items()):
                    inside = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels)
                    lines.append(f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}")
        return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """``/metrics`` and ``/health`` (200, or 503 where ill) at ``host``:``port`` (0: any free one), in a thread.

    Listens on this machine only unless told otherwise: the numbers name the cameras.

    Raises:
        InputError: the port is taken or not allowed.
    """

    def __init__(self, board: Board, health: Health, port: int = 9464, host: str = "127.0.0.1") -> None:
        try:
            self._server = _Server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"{host}:{port}", f"cannot be listened on: {error}", "choose another port"
            ) from error
        self._server.board, self._server.health = board, health
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    board: Board
    health: Health


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5
    server_version, sys_version = "oddwatch", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", self.server.board.text())
        elif path == "/health":
            well, told = self.server.health()
            self._answer(200 if well else 503, "application/json", json.dumps({"ok": well, **told}) + "\n")
        else:
            self._answer(404, "text/plain; charset=utf-8", "/metrics or /health\n")

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A scrape every few seconds is no news."""
