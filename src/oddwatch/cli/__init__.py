"""The command line, one file per verb. ``main`` is the entry point."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit: 0 done, 1 failure, 2 usage error, 130 stopped by Ctrl-C."""
    try:
        from oddwatch.cli.app import run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()
