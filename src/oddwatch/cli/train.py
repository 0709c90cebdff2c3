"""``oddwatch train``: recipes that rebuild what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import progress_bar, say

app = typer.Typer(help="Train the small heads over the frozen backbone.", no_args_is_help=True)


@app.command("heads")
def heads(
    out: Annotated[Path, typer.Option(help="Folder for the weights and their card.")] = Path("heads"),
    samples: Annotated[int, typer.Option(min=100, help="Drawn people to learn from.")] = 6300,
    seed: Annotated[int, typer.Option(help="Seed of data and weights.")] = 7,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for the drawn samples; default: samples inside OUT.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw and describe.")] = 2,
) -> None:
    """Train the light heads on drawn people ([torch] extra); writes safetensors and a model card."""
    from oddwatch.train.heads import train_heads

    with progress_bar() as progress:
        card = train_heads(out, samples=samples, seed=seed, workers=workers, progress=progress, cache=cache)
    say(f"heads and card in {card.parent}")


@app.command("calibration")
def calibration(
    out: Annotated[
        Path | None, typer.Option(help="File to write; the packaged one if none is given.")
    ] = None,
    people: Annotated[int, typer.Option(min=100, help="Drawn people to fit on.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the people; the report's is another.")] = 90_001,
) -> None:
    """Fit how reliable each kind of fact is and when nobody matches, on drawn people. After every new describer."""
    from json import dumps

    from oddwatch.train.calibration import train_calibration

    with progress_bar() as progress:
        fitted = train_calibration(out, people=people, seed=seed, progress=progress)
    say(dumps(fitted["report"], indent=1))
