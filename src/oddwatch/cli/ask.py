"""``oddwatch ask``: questions about a clip, answered with the evidence or unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    chat_model,
    note,
    print_json,
    progress_bar,
    quoted,
    say,
    shown,
)

if TYPE_CHECKING:
    from oddwatch.core import Progress
    from oddwatch.pipeline.models import Models
    from oddwatch.understand.record import Record, Statement

LLM = Annotated[
    str | None,
    typer.Option(
        envvar="ODDWATCH_LLM_URL",
        help="A chat model for what the facts do not tell: the URL of an OpenAI-compatible server, a .gguf file, or a "
        "folder of a transformers model. It is shown frames where it sees.",
    ),
]
MaxCalls = Annotated[int | None, typer.Option(min=0, help="Most calls of the chat model.")]


def ask(
    clip: Annotated[Path, typer.Argument(help="A video, or a picture.")],
    questions: Annotated[list[str], typer.Argument(help='What to ask, like "How many people fall?"')],
    record: Annotated[
        Path | None,
        typer.Option(
            help="Keep what was seen in this file; where it is there already, the clip is not watched again."
        ),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.2, max=30, help="Frames looked at per second of video.")] = 4.0,
    llm: LLM = None,
    max_calls: MaxCalls = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Answer questions about a clip from what is seen in it: yes or no, how many, when, what colour, where, what before or after.

    What no picture shows, and what is not in the clip, is answered with unknown and the reason. The exit status is 0 either
    way.
    """
    from oddwatch.pipeline.models import Models
    from oddwatch.understand.ask import ask as answer
    from oddwatch.understand.watch import looker

    models = Models(device=device.value, threads=threads)
    with progress_bar(json_) as progress:
        known = _record(clip, record, fps, models, progress)
    with chat_model(llm, max_calls, None, None) as chat:
        frames = looker(clip) if chat is not None else None
        answers = [(q, answer(known, q, chat, frames)) for q in questions]
    if json_:
        rows = [{"question": q, "known": a.known, **a.to_json()} for q, a in answers]
        print_json({"source": str(clip), "answers": rows})
        return
    for question, told in answers:
        if len(answers) > 1:
            say(question)
        show(told)


def _record(clip: Path, kept: Path | None, fps: float, models: Models, progress: Progress | None) -> Record:
    """What is known of the clip, from ``kept`` where that file is there."""
    from oddwatch.core import InputError
    from oddwatch.understand.record import Record
    from oddwatch.understand.watch import watch_file

    if kept is not None and kept.exists():
        try:
            known = Record.from_json(json.loads(kept.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(quoted(kept), f"holds no record of a clip: {error}", "delete it") from error
        if Path(known.source).name != clip.name:
            raise InputError(quoted(kept), f"is the record of {shown(known.source)}", "give another file")
        return known
    known = watch_file(clip, models.finder, models.describer, fps=fps, progress=progress)
    if kept is not None:
        part = kept.with_name(kept.name + ".part")
        part.write_text(json.dumps(known.to_json()), encoding="utf-8")
        part.replace(kept)
    return known


def show(told: Statement, lead: str = "") -> None:
    """An answer for people: the words, how sure, where to see it."""
    sure = "" if told.probability is None else f"  ({told.probability:.0%})"
    by = "  [chat model]" if told.by == "model" else ""
    say(f"{lead}{'' if told.known else 'unknown: '}{told.text}{sure}{by}")
    for proof in told.proof[:5]:
        where = "" if proof.box is None else " at " + ", ".join(f"{v:.0f}" for v in proof.box.as_list())
        say(f"  {proof.time:6.1f} s  {proof.says}{where}")
    if told.note:
        note(f"  {told.note}")
