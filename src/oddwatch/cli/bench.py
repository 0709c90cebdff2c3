"""``oddwatch bench``: honest numbers, with protocol and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import Device, DeviceOption, JsonOption, ThreadsOption, print_json, progress_bar, say

app = typer.Typer(help="Measure on labelled data.", no_args_is_help=True)


@app.command("search")
def search(
    data: Annotated[Path, typer.Option("--data", help="A captioned set: a folder with records.jsonl.")],
    seed: Annotated[int, typer.Option(help="Seed of everything drawn by chance.")] = 0,
    stages: Annotated[
        str | None, typer.Option(help="Stages to measure, comma-separated: coarse, or coarse,facts.")
    ] = None,
    dual: Annotated[
        Path | None,
        typer.Option(help="Folder of a CLIP or SigLIP class model to measure beside ([torch] extra)."),
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Sentence to picture retrieval: R@1, R@5, R@10, mAP in percent, short and long queries apart."""
    from oddwatch.bench.search import run_search_bench
    from oddwatch.bench.tables import markdown

    encoder = None
    if dual is not None:
        from oddwatch.encoders import load

        encoder = load("dual", model=dual, device=device.value)
    with progress_bar(json_) as progress:
        rows = run_search_bench(
            data,
            dual=encoder,
            stages=tuple(s.strip() for s in stages.split(",") if s.strip()) if stages is not None else None,
            seed=seed,
            device=device.value,
            threads=threads,
            progress=progress,
        )
    print_json({"rows": rows}) if json_ else say(markdown(rows))
