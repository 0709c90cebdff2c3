"""``oddwatch index``: pictures and videos into a gallery."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ThreadsOption,
    note,
    print_json,
    progress_bar,
    quoted,
    say,
    shown,
    when,
)

if TYPE_CHECKING:
    from oddwatch.pipeline.index import IndexReport

MOST_LINES = 30


def index(
    inputs: Annotated[list[str], typer.Argument(help="Folders, pictures, videos or globs.")],
    gallery: GalleryOption = Path("gallery"),
    camera: Annotated[str | None, typer.Option(help="Name of the camera that filmed this.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Wall-clock time of the first frame, ISO 8601 (UTC if no zone).")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.05, max=60, help="Frames analysed per second of video.")] = 2.0,
    sample: Annotated[str, typer.Option(help="Sample video by `time` or by `scene` change.")] = "time",
    commit: Annotated[
        float, typer.Option(min=1, max=60, help="Seconds of footage between two commits.")
    ] = 60.0,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Find the people and moments in pictures and videos and remember them in a gallery.

    A second run skips what has not changed and goes on where an interrupted one stopped. Files that
    cannot be read are reported and skipped.
    """
    from oddwatch.api import Gallery
    from oddwatch.core import MediaError
    from oddwatch.pipeline.index import IndexOptions

    if not any(os.path.lexists(i) or glob.glob(i, recursive=True) for i in inputs):  # noqa: PTH207
        raise MediaError(shown(inputs[0]), "there is no such file or folder", "nothing was indexed")
    options = IndexOptions(
        fps=fps, sample=sample, camera=camera, start=when(start, "--start"), commit_seconds=commit
    )
    with (
        Gallery.open(gallery, device=device.value, threads=threads) as opened,
        progress_bar(json_) as progress,
    ):
        report = opened.index(inputs, options=options, progress=progress)
    if json_:
        print_json(report.to_json())
    else:
        _show(report, gallery)
    if not report.sources and not report.unchanged and report.skipped:
        raise typer.Exit(1)


def _show(report: IndexReport, gallery: Path) -> None:
    for path, reason in report.skipped[:MOST_LINES]:
        note(f"skipped {shown(path)}: {reason}")
    if len(report.skipped) > MOST_LINES:
        note(f"skipped {len(report.skipped) - MOST_LINES} more; --json lists all")
    for path, problem in report.problems[:MOST_LINES]:
        note(f"{shown(path)}: {problem}")
    if not report.sources and not report.unchanged:
        note("oddwatch: nothing was indexed")
        return
    say(report.summary())
    if report.sources:
        say(f'now: oddwatch search "a person in a red jacket" --gallery {quoted(gallery)}')
