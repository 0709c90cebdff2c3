"""``oddwatch search``: a sentence, or a picture, against a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ThreadsOption,
    note,
    print_json,
    say,
    when,
)

if TYPE_CHECKING:
    from oddwatch.core import Hit
    from oddwatch.search.engine import SearchResult


def search(
    query: Annotated[str | None, typer.Argument(help="What to look for, as a sentence.")] = None,
    gallery: GalleryOption = Path("gallery"),
    top: Annotated[int, typer.Option("--top", "-k", min=1, max=10_000, help="How many hits.")] = 10,
    kind: Annotated[
        str, typer.Option(help="person, moment, any, or auto: what the sentence is about.")
    ] = "auto",
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only this source file, as `gallery list` shows it.")
    ] = None,
    after: Annotated[str | None, typer.Option(help="Only from this wall-clock time on (ISO 8601).")] = None,
    before: Annotated[str | None, typer.Option(help="Only before this wall-clock time (ISO 8601).")] = None,
    min_probability: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Drop hits below this calibrated probability.")
    ] = None,
    like: Annotated[Path | None, typer.Option(help="A picture of a person to find look-alikes of.")] = None,
    clips: Annotated[
        Path | None, typer.Option(help="Write a short clip of every hit into this folder.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Rank the people and moments of a gallery by a sentence, and say why.

    The exit status is 0 with or without matches.
    """
    from oddwatch.api import Gallery
    from oddwatch.core import InputError, Where

    if kind not in ("auto", "any", "person", "moment"):
        raise InputError("--kind", f"{kind!r} is not known", "auto, any, person or moment")
    where = Where(camera=camera, source=source, after=when(after, "--after"), before=when(before, "--before"))
    with Gallery.open(gallery, create=False, device=device.value, threads=threads) as opened:
        result = opened.search(
            query,
            top=top,
            where=where,
            kind=cast("Literal['auto', 'any', 'person', 'moment']", kind),
            min_probability=min_probability,
            like=like,
        )
        if html is not None:
            note(f"report: {opened.report(result, html)}")
        if clips is not None:
            for path in opened.clips(result, clips):
                note(f"clip: {path}")
        print_json(result.to_json()) if json_ else _show(result, len(opened.store))


def _show(result: SearchResult, size: int) -> None:
    if result.query.unread:
        note(f"not understood: {', '.join(result.query.unread)}")
    if not result.hits:
        say(f"nobody matches ({size} entries searched)")
        return
    if result.answer == "nobody matches":
        say("nobody matches; the nearest:")
    for hit in result.hits:
        say(_line(hit))


def _line(hit: Hit) -> str:
    at = "" if hit.time is None else f" at {int(hit.time) // 60:d}:{hit.time % 60:04.1f}"
    sure = "" if hit.probability is None else f"{hit.probability:4.0%}"
    words = [f"+{w}" for w in hit.reason.matched]
    words += [f"-{w}" for w in hit.reason.contradicted] + [f"?{w}" for w in hit.reason.unknown]
    mark = "*" if hit.match else " "
    return f"{hit.rank:3d}{mark} {sure} {hit.kind:6s} {hit.source}{at}  {', '.join(words)}"
