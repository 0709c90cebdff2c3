"""``oddwatch search``: a sentence, or a picture, against a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ThreadsOption,
    chat_model,
    note,
    print_json,
    say,
    shown,
    table,
    when,
)

if TYPE_CHECKING:
    from oddwatch.api import Gallery
    from oddwatch.core import Hit, Where
    from oddwatch.language.asking import Chat
    from oddwatch.search.alike import Across
    from oddwatch.search.engine import SearchResult
    from oddwatch.search.stages import Stages

DEFAULT = "coarse,facts"


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
    keep_within: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Drop hits below this share of the best hit's probability."),
    ] = None,
    like: Annotated[Path | None, typer.Option(help="A picture of a person to find look-alikes of.")] = None,
    like_entry: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="A person of the gallery to find look-alikes of: similarity of looks, not identity.",
        ),
    ] = None,
    across: Annotated[
        str | None,
        typer.Option(help="With --like-entry: only other cameras, only other sources, or all (default)."),
    ] = None,
    stages: Annotated[
        str,
        typer.Option(
            help="What to run, in order: coarse, facts, cross, blanks, anomalylmm, pairwise, ssdc, sum, rrf, blend; "
            "NAME:N looks at the best N."
        ),
    ] = DEFAULT,
    llm: Annotated[
        str | None,
        typer.Option(
            envvar="ODDWATCH_LLM_URL",
            help="A chat model for the stages that can use one: the URL of an OpenAI-compatible server, a .gguf file, or a "
            "folder of a transformers model.",
        ),
    ] = None,
    llm_sees: Annotated[
        bool | None,
        typer.Option(help="Whether the chat model takes pictures; default: what its server says, else yes."),
    ] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Most calls of the chat model.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="Most tokens of the chat model.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0, help="Most seconds of asking it.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the chat model would be asked, and ask nothing.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="An X-VLM, X2-VLM or CMP file for the stage checkpoint ([torch] extra)."),
    ] = None,
    cross: Annotated[
        Path | None, typer.Option(help="Folder of a cross-encoder of your own (oddwatch train search).")
    ] = None,
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
    from oddwatch.search.lmm import notes_of, usage_of
    from oddwatch.search.stages import CHAT_STAGES, read_names

    if kind not in ("auto", "any", "person", "moment"):
        raise InputError("--kind", f"{kind!r} is not known", "auto, any, person or moment")
    where = Where(camera=camera, source=source, after=when(after, "--after"), before=when(before, "--before"))
    if like_entry is not None:
        only_looks = {
            "a sentence": query is not None, "--like": like is not None, "--kind moment": kind == "moment",
            "--min-probability": min_probability is not None, "--keep-within": keep_within is not None,
            "--stages": stages != DEFAULT, "--dry-run": dry_run,
        }  # fmt: skip
        _like_entry(gallery, like_entry, across or "all", top, where, only_looks, html, clips, json_)
        return
    if across is not None:
        raise InputError("--across", "goes with --like-entry", "name an entry: oddwatch gallery list")
    names = read_names(stages)
    asked = [n for n in names if n.partition(":")[0] in CHAT_STAGES]
    with (
        Gallery.open(gallery, create=False, device=device.value, threads=threads) as opened,
        chat_model(llm if asked else None, max_calls, max_tokens, max_seconds) as chat,
    ):
        sees = llm_sees if llm_sees is not None else getattr(chat, "sees", None) is not False
        chosen = opened.stages(names, chat=chat, sees=sees, checkpoint=checkpoint, cross=cross)
        ready = replace(chosen, rerankers=()) if dry_run else chosen
        result = opened.search(
            query,
            top=max([top, *(getattr(s, "n", 0) for s in chosen.rerankers)]) if dry_run else top,
            where=where,
            kind=cast("Literal['auto', 'any', 'person', 'moment']", kind),
            min_probability=min_probability,
            keep_within=None if dry_run else keep_within,
            like=like,
            stages=ready,
        )
        if dry_run:
            _plan(chosen, chat, result, json_)
            return
        calls = sum(usage_of(s).calls for s in chosen.rerankers)
        for line in dict.fromkeys(line for s in chosen.rerankers for line in notes_of(s)):
            note(line)
        _written(opened, result, html, clips)
        if json_:
            print_json({**result.to_json(), "stages": list(names), "model_calls": calls})
        else:
            _show(result, len(opened.store))


def _like_entry(
    gallery: Path,
    id: str,
    across: str,
    top: int,
    where: Where,
    given: Mapping[str, bool],
    html: Path | None,
    clips: Path | None,
    as_json: bool,
) -> None:
    """People who look like an entry; ``given`` says which options came along that it has no use for."""
    from oddwatch.api import Gallery
    from oddwatch.core import InputError

    for option, there in given.items():
        if there:
            raise InputError(
                "--like-entry", f"compares looks alone and takes no {option}", f"leave out {option}"
            )
    with Gallery.open(gallery, create=False) as opened:
        result = opened.alike(id, top=top, across=cast("Across", across), where=where)
        _written(opened, result, html, clips)
        if as_json:
            print_json(result.to_json())
            return
        what = "the people most like" if result.hits else "nobody else to compare with"
        say(f"{what} {id}, {len(opened.store)} entries searched; similarity of looks, not identity")
        for line in table([_row(hit) for hit in result.hits], right=(0, 1, 3)) if result.hits else ():
            say(line)


def _written(opened: Gallery, result: SearchResult, html: Path | None, clips: Path | None) -> None:
    """The report and the clips that were asked for."""
    if html is not None:
        note(f"report: {shown(str(opened.report(result, html)))}")
    if clips is not None:
        for path in opened.clips(result, clips):
            note(f"clip: {shown(str(path))}")


def _plan(chosen: Stages, chat: Chat | None, result: SearchResult, as_json: bool) -> None:
    """What the chat model would be asked."""
    from oddwatch.search.lmm import parts_of, planned_calls, requests_for

    rows = []
    for stage in chosen.rerankers:
        if chat is None or not parts_of(stage):
            continue
        least, most = planned_calls(stage.name, int(getattr(stage, "n", 0) or getattr(stage, "rounds", 0)))
        first = chat.estimate(requests_for(stage, result.query, result.hits))
        rows.append({"stage": stage.name, "least_calls": least, "most_calls": most, "first": first.to_json()})
        if not as_json:
            say(f"{stage.name}: {least} to {most} calls; at first {first}")
    if as_json:
        print_json({"plan": rows})
    elif not rows:
        say("no stage asks a chat model")


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
        near = hit.stages.get("alike", hit.stages.get("like"))
        sure = "" if near is None else f"{near:.2f}"
    words = [f"+{w}" for w in hit.reason.matched]
    words += [f"-{w}" for w in hit.reason.contradicted] + [f"?{w}" for w in hit.reason.unknown]
    where = shown(hit.source) + (f" [{hit.camera}]" if hit.camera else "")
    return f"{hit.rank}{'*' if hit.match else ' '}", sure, where, at, hit.kind, ", ".join(words)
