"""``oddwatch demo``: the whole tour on drawn footage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import Device, DeviceOption, ThreadsOption, progress_bar, say


def demo(
    out: Annotated[Path, typer.Option(help="Where to put footage, gallery and report.")] = Path(
        "oddwatch-demo"
    ),
    seed: Annotated[int, typer.Option(help="Another seed draws another street.")] = 21,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
) -> None:
    """Draw footage, index it, search it, measure it, and write a report: a minute or two, no network."""
    from oddwatch.bench.demo import run_demo

    with progress_bar() as progress:
        report = run_demo(out, seed=seed, device=device.value, threads=threads, say=say, progress=progress)
    say(f"report: {report}")
