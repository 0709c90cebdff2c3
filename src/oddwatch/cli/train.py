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
