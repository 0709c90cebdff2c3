"""Drawn footage and one gallery of it, made once a session, and the command line as a function."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oddwatch.cli import main
from oddwatch.datasets.scenes import generate

START = "2026-03-01T14:00:00+00:00"


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on standard output."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    def failed(self, status: int, *words: str) -> None:
        """Assert that it ended so, with nothing on standard output and one line on standard error that says why."""
        assert (self.status, self.out) == (status, ""), self
        assert self.err.startswith("oddwatch: ") and self.err.count("\n") == 1, self.err
        for word in words:
            assert word in self.err, self.err


@pytest.fixture
def cli(capfdbinary, monkeypatch) -> Callable[..., Done]:
    """``cli("search", …)``: the command in this process, as far as a process of its own is not the point."""

    before = signal.getsignal(signal.SIGINT)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["oddwatch", *map(str, arguments)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGINT, before)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Done(int(end.value.code or 0), out.decode(), err.decode())

    return run


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "oddwatch", *map(os.fsencode, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.fixture(scope="session")
def begin() -> Callable[..., subprocess.Popen[bytes]]:
    """``begin("index", …)``: a running process."""
    return start


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a blank in its name: one 20-second scene and two stills."""
    drawn = tmp_path_factory.mktemp("drawn")
    generate(drawn, scenes=1, twins=1, seed=11)
    out = tmp_path_factory.mktemp("e2e") / "my footage"
    out.mkdir()
    shutil.copy(next(drawn.glob("media/*.webm")), out / "street.webm")
    for name in ("normal", "anomaly"):
        shutil.copy(drawn / "media" / f"twin_00000_{name}.jpg", out / f"{name}.jpg")
    return out


@pytest.fixture(scope="session")
def still(footage: Path) -> bytes:
    """A JPEG with a person in it."""
    return (footage / "normal.jpg").read_bytes()


@pytest.fixture(scope="session")
def gallery(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The footage indexed at one frame a second. Tests may not change it."""
    out = tmp_path_factory.mktemp("shared") / "g"
    run = start(
        "index", footage, "--gallery", out, "--fps", "1", "--camera", "gate", "--start", START, "--json"
    )
    printed, error = run.communicate(timeout=300)
    assert run.returncode == 0, error.decode()
    report = json.loads(printed)
    assert (
        report["sources"] == 3 and report["frames"] == 22 and report["people"] >= 3 and report["moments"] == 6
    )
    return out
