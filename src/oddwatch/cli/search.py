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
    shown,
    table,
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

    A star marks what fits; + words were seen, - words are contradicted, ? words could not be seen. The exit
    status is 0 with or without matches.
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
            note(f"report: {shown(str(opened.report(result, html)))}")
        if clips is not None:
            for path in opened.clips(result, clips):
                note(f"clip: {shown(str(path))}")
        print_json(result.to_json()) if json_ else _show(result, len(opened.store))


def _show(result: SearchResult, size: int) -> None:
    if result.query.unread:
        note(f"not understood: {', '.join(result.query.unread)}")
    fits = sum(hit.match for hit in result.hits)
    if fits:
        say(f"matches: {fits} of the first {len(result.hits)} (*), {size} entries searched")
    else:
        nearest = "; the nearest:" if result.hits else ""
        say(f"nobody matches, {size} entries searched{nearest}")
    if result.hits:
        for line in table([_row(hit) for hit in result.hits], right=(0, 1, 3)):
            say(line)


def _row(hit: Hit) -> tuple[str, ...]:
    at = "" if hit.time is None else f"{int(hit.time) // 60:d}:{hit.time % 60:04.1f}"
    if hit.probability is not None:
        sure = f"{hit.probability:.0%}"
    else:
        sure = f"{hit.stages['like']:.2f}" if "like" in hit.stages else ""
    words = [f"+{w}" for w in hit.reason.matched]
    words += [f"-{w}" for w in hit.reason.contradicted] + [f"?{w}" for w in hit.reason.unknown]
    where = shown(hit.source) + (f" [{hit.camera}]" if hit.camera else "")
    return f"{hit.rank}{'*' if hit.match else ' '}", sure, where, at, hit.kind, ", ".join(words)
