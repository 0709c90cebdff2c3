"""Puts the verbs together and turns errors into one clear line and an exit status."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from oddwatch._version import __version__
from oddwatch.cli import bench, demo, gallery, index, methods, models, search, synth, train
from oddwatch.core.errors import InputError, MediaError, OddwatchError

app = typer.Typer(
    name="oddwatch",
    help="Ask your footage what went wrong: index pictures and videos, then search them with a sentence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("index")(index.index)
app.command("search")(search.search)
app.add_typer(gallery.app, name="gallery")
app.add_typer(models.app, name="models")
app.command("methods")(methods.methods)
app.command("synth")(synth.synth)
app.add_typer(bench.app, name="bench")
app.add_typer(train.app, name="train")
app.command("demo")(demo.demo)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"oddwatch {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(name)s: %(message)s")


def run() -> None:
    """Parse the command line, run the verb, exit."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("stopped; what was stored is kept, run the same command again to go on", 130)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing to say, and no second error while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MediaError as error:
        _fail(str(error), 1)
    except InputError as error:
        _fail(str(error), 2)
    except (OddwatchError, OSError) as error:
        _fail(str(error), 1)


def _fail(message: str, status: int) -> None:
    line = " ".join(message.split())
    sys.stderr.buffer.write(f"oddwatch: {line}\n".encode("utf-8", "backslashreplace"))
    sys.exit(status)
