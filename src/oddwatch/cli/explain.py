"""``oddwatch explain``: what a finding is, why, and how severe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.ask import LLM, MaxCalls, show
from oddwatch.cli.common import (
    Device,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    chat_model,
    note,
    print_json,
    progress_bar,
    say,
    shown,
)

if TYPE_CHECKING:
    from oddwatch.core import Finding, Progress
    from oddwatch.pipeline.models import Models
    from oddwatch.understand.findings import Found
    from oddwatch.understand.record import Record

BEFORE, AFTER = 12.0, 8.0
"""Seconds of footage around a finding that are looked at."""


def explain(
    findings: Annotated[
        Path,
        typer.Argument(help="What `oddwatch detect` wrote: its --json output, or the --out folder or file."),
    ],
    id: Annotated[str | None, typer.Argument(help="The finding's id; default: the first ones.")] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Without an ID: how many findings.")] = 3,
    fps: Annotated[float, typer.Option(min=0.2, max=30, help="Frames looked at per second of video.")] = 4.0,
    llm: LLM = None,
    max_calls: MaxCalls = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Say what happened, why and how severe it is, with the evidence; what nothing supports is unknown.

    Looks at the footage around each finding again, so the footage must still be there.
    """
    from oddwatch.pipeline.models import Models
    from oddwatch.understand import findings as file
    from oddwatch.understand.explain import explain as explained
    from oddwatch.understand.watch import looker

    found = file.read(findings)
    chosen = [found.get(id)] if id is not None else list(found.findings[:top])
    models = Models(device=device.value, threads=threads)
    rows = []
    with chat_model(llm, max_calls, None, None) as chat, progress_bar(json_) as progress:
        for finding in chosen:
            record = _record(found, finding, fps, models, progress)
            frames = looker(found.source(finding)) if chat is not None else None
            rows.append((finding, explained(record, finding, chat, frames)))
    if json_:
        print_json({"explanations": [{"source": f.source, **e.to_json()} for f, e in rows]})
        return
    if not rows:
        say("there is no finding to explain")
    for finding, told in rows:
        span = finding.span
        when = "" if span is None else f", {span.start:.1f} to {span.end:.1f} s"
        say(f"{finding.id}  {shown(finding.source)}{when}")
        for name, part in told.parts.items():
            show(part, f"  {name}: ")
    if id is None and len(found.findings) > len(rows):
        note(f"{len(found.findings) - len(rows)} more findings; name one, or raise --top")


def _record(found: Found, finding: Finding, fps: float, models: Models, progress: Progress | None) -> Record:
    """What is known of the footage around a finding."""
    from oddwatch.core import Span
    from oddwatch.understand.watch import watch_file

    around = None
    if finding.span is not None:
        around = Span(max(finding.span.start - BEFORE, 0.0), finding.span.end + AFTER)
    return watch_file(found.source(finding), models.finder, models.describer, fps=fps, span=around, findings=(finding,),
                      curve=found.curves.get(finding.source), progress=progress)  # fmt: skip
