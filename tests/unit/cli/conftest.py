"""The command line as a function of this process."""

from __future__ import annotations

import signal
import sys

import pytest


@pytest.fixture
def run(monkeypatch, capfdbinary):
    """``run("models", "list")`` → (exit status, standard output, standard error)."""
    from oddwatch.cli import main

    before = signal.getsignal(signal.SIGINT)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oddwatch", *map(str, arguments)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGINT, before)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return end.value.code or 0, out.decode(), err.decode()

    return run
