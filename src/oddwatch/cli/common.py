"""What several verbs share: options, progress on standard error, JSON on standard output."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddwatch.core.errors import InputError
from oddwatch.core.jsonable import to_jsonable
from oddwatch.core.protocols import Progress

if TYPE_CHECKING:
    from oddwatch.language.asking import Chat


class Device(StrEnum):
    """Where models run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


GalleryOption = Annotated[
    Path, typer.Option("--gallery", "-g", envvar="ODDWATCH_GALLERY", help="The gallery's folder.")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where models run.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="Threads of a model, halved where two look at once; default: all cores."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def print_json(value: Any) -> None:
    """``value`` as one line of JSON on standard output (ASCII, so odd file names survive)."""
    sys.stdout.write(json.dumps(to_jsonable(value)) + "\n")


def say(text: str) -> None:
    """A line for people, on standard output; bytes that are no text are shown escaped."""
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


def note(text: str) -> None:
    """A remark on standard error."""
    typer.echo(text.encode("utf-8", "backslashreplace").decode(), err=True)


def shown(source: str) -> str:
    """A source for people: relative to the current folder when it lies below, odd bytes escaped."""
    path = Path(source)
    with suppress(ValueError, OSError):
        path = path.relative_to(Path.cwd())
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def quoted(path: Path) -> str:
    """A path as one writes it in a shell."""
    return shlex.quote(os.fsencode(path).decode("utf-8", "backslashreplace"))


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Lines of aligned columns, those numbered in ``right`` to the right; no trailing blanks."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def when(text: str | None, option: str) -> datetime | None:
    """An ISO date or time; without a zone it is read as UTC.

    Raises:
        InputError: the text is no ISO 8601 time.
    """
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(option, f"{text!r} is no ISO time", "like 2026-05-01T14:30") from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def named(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``: a JSON value, else the text itself.

    Raises:
        InputError: no name, or no value.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputError("--option", f"expected NAME=VALUE, got {text!r}", "like rotations=0")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress | None]:
    """A progress callback that draws on standard error, or None when quiet or not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(what: str, done: float, total: float) -> None:
            shown = what.encode("utf-8", "backslashreplace").decode()
            bar.update(task, description=shown[-50:], completed=done, total=total or None)

        yield update


@contextmanager
def chat_model(
    url: str | None, calls: int | None, tokens: int | None, seconds: float | None
) -> Iterator[Chat | None]:
    """The chat model behind ``url`` with the user's answer cache and budget, or None."""
    if url is None:
        yield None
        return
    from oddwatch.language.budget import Budget
    from oddwatch.language.chat import connect, default_cache

    with default_cache() as cache, connect(url, cache=cache, budget=Budget(calls, tokens, seconds)) as chat:
        yield chat
