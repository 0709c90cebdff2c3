"""``oddwatch synth``: labelled synthetic street footage."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import JsonOption, print_json, progress_bar, say


class Codec(StrEnum):
    """How the videos are compressed."""

    vp9 = "vp9"
    h264 = "h264"


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write media/ and records.jsonl into.")],
    scenes: Annotated[int, typer.Option(min=0, help="How many 20-second scenes.")] = 4,
    twins: Annotated[int, typer.Option(min=0, help="How many twin pairs of stills.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same footage.")] = 7,
    codec: Annotated[
        Codec, typer.Option(help="Of the videos; H.264 comes from x264, which is GPL.")
    ] = Codec.vp9,
    json_: JsonOption = False,
) -> None:
    """Draw street scenes with people, anomalies and complete labels."""
    from oddwatch.datasets.scenes import generate

    with progress_bar(json_) as progress:
        records = generate(out, scenes=scenes, twins=twins, seed=seed, codec=codec.value, progress=progress)
    if json_:
        print_json({"out": str(out), "records": len(records)})
    else:
        say(f"{len(records)} records in {out / 'records.jsonl'}")
