"""Puts the verbs together and turns errors into one clear line and an exit status."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from oddwatch._version import __version__
from oddwatch.cli import (
    ask,
    bench,
    demo,
    detect,
    explain,
    export,
    gallery,
    index,
    methods,
    models,
    search,
    synth,
    train,
    watch,
)
from oddwatch.core.errors import InputError, MediaError, OddwatchError

STOPPED = 130

app = typer.Typer(
    name="oddwatch",
    help="Ask your footage what went wrong: index pictures and videos, then search them with a sentence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("index", short_help="Pictures and videos into a gallery.")(index.index)
app.command("search", short_help="Find people and moments with a sentence.")(search.search)
app.command("detect", short_help="What in pictures or videos is unlike the normal ones.")(detect.detect)
app.command("watch", short_help="Watch cameras and tell what is abnormal.")(watch.watch)
app.command("wrong", short_help="Say that alerts were told by mistake.")(watch.wrong)
app.command("explain", short_help="What a finding is, why, and how severe.")(explain.explain)
app.command("ask", short_help="Questions about a clip, answered or unknown.")(ask.ask)
app.command("export", short_help="Write a fitted detector as an ONNX file.")(export.export)
app.add_typer(gallery.app, name="gallery")
app.add_typer(models.app, name="models")
app.command("methods", short_help="The catalogue of methods.")(methods.methods)
app.command("synth", short_help="Draw labelled street footage.")(synth.synth)
app.add_typer(bench.app, name="bench")
app.add_typer(train.app, name="train")
app.command("demo", short_help="The whole tour on drawn footage.")(demo.demo)


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
        # Left to itself the parser prints its errors as a paragraph; here they are one line like all others.
        status = app(standalone_mode=False) or 0
        # From here on everything is done and said; Python only clears up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The parser turns Ctrl-C into a status of its own.
        _stopped() if status == STOPPED else sys.exit(status)
    except KeyboardInterrupt:
        _stopped()
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
    except (
        Exception
    ) as error:  # the parser's own errors come from a copy it brings along, under no public name
        if type(error).__name__ == "Abort":
            _stopped()
        if not hasattr(error, "format_message"):
            raise
        _usage(error)


def _stopped() -> NoReturn:
    _fail("stopped; what was stored is kept, run the same command again to go on", STOPPED)


def _usage(error: Any) -> NoReturn:
    """A command line that cannot be read: one line, or the help where nothing was given."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        sys.exit(2)
    verb = context.command_path if context else "oddwatch"
    _fail(f"{error.format_message().rstrip('.')} (see: {verb} --help)", getattr(error, "exit_code", 2))


def _fail(message: str, status: int) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = " ".join(message.split())
    sys.stderr.buffer.write(f"oddwatch: {line}\n".encode("utf-8", "backslashreplace"))
    sys.exit(status)
