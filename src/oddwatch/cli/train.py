"""``oddwatch train``: recipes that rebuild what ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.common import Device, DeviceOption, progress_bar, say, table

if TYPE_CHECKING:
    from oddwatch.core import Progress
    from oddwatch.train.fullsize import FullRecipe
    from oddwatch.train.recipe import Recipe

app = typer.Typer(
    help="Train the light heads, the calibration, and the cross-encoders of the search.", no_args_is_help=True
)


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


@app.command("search")
def search(
    recipe: Annotated[str, typer.Option(help="A recipe's name, or a .toml file.")] = "cross",
    out: Annotated[
        Path, typer.Option(help="Folder for the weights and their card; the same one goes on.")
    ] = Path("trained"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Captioned pictures: a PAB folder, or one with records.jsonl; default: drawn twins."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps what was drawn and read; default: pairs inside OUT."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Of full size: the checkpoint to start from (.pth, .th, .safetensors)."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that draw, or threads that read pictures.")
    ] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch; default: its own.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; the same command goes on.")
    ] = None,
    device: DeviceOption = Device.auto,
    list_: Annotated[bool, typer.Option("--list", help="Print the recipes and stop.")] = False,
) -> None:
    """Train a cross-encoder of the search from a recipe ([torch] extra); writes safetensors and a model card.

    The small recipes learn on a CPU from drawn twins, or from --data. Those of full size fine-tune a published X-VLM or
    CMP checkpoint (--init) on --data and want a GPU. A stopped run goes on where it was.
    """
    from oddwatch.train.fullsize import FullRecipe
    from oddwatch.train.recipe import read_recipe, recipes

    if list_:
        for line in table([_row(read_recipe(name)) for name in recipes()]):
            say(line)
        return
    chosen = read_recipe(recipe)
    with progress_bar() as progress:
        if isinstance(chosen, FullRecipe):
            card = _full(chosen, out, data, init, device.value, workers, threads, seconds, progress)
        else:
            card = _small(chosen, out, data, init, cache, device.value, workers, threads, seconds, progress)
    say(f"weights and card in {card.parent}")


@app.command("image")
def image(
    method: Annotated[str, typer.Argument(help="dictas, nagl or metauas.")],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", help="Data sets with normal pictures: folders or zips, DIR[,DIR]; may be repeated."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file of weights to write.")] = Path(
        "weights.safetensors"
    ),
    official: Annotated[
        bool,
        typer.Option(
            "--official", help="The values of the method's paper; wants hours, or a GPU-sized machine."
        ),
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Rate of learning.")] = None,
    per_set: Annotated[
        int, typer.Option(min=1, help="Normal pictures drawn of each set; --official takes all.")
    ] = 64,
    encoder: Annotated[str, typer.Option(help="The encoder whose tokens the head reads.")] = "patches",
    resolution: Annotated[int, typer.Option(help="Side of its input in pixels.")] = 448,
    seed: Annotated[int, typer.Option(help="Seed of pictures, defects and weights.")] = 0,
) -> None:
    """Train the head of an image detector for any thing ([torch] extra), on normal pictures with drawn defects.

    Only the train split is read. Use it with: oddwatch detect … --method METHOD -o weights=FILE.
    """
    from oddwatch.train.image import train_image

    folders = [part for text in data for part in ([text] if Path(text).exists() else text.split(","))]
    with progress_bar() as progress:
        made = train_image(
            method, folders, out, encoder=encoder, resolution=resolution, per_set=per_set, official=official,
            steps=steps, batch=batch, lr=lr, seed=seed, progress=progress,
        )  # fmt: skip
    layers = f" --layers {','.join(made.layers)}" if made.layers else ""
    say(f"weights in {made.weights}, from {made.pictures} normal pictures of {len(made.sets)} sets")
    say(f"use: oddwatch detect PICTURES --normal DIR --method {method} -o weights={made.weights}{layers}")


@app.command("video")
def video(
    method: Annotated[str, typer.Argument(help="linear, sultani, rtfm or ur-dmu.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the fitted detector.")] = Path("detector"),
    normal: Annotated[
        list[str] | None,
        typer.Option("--normal", "-n", help="Normal clips: files, folders, globs; may be repeated."),
    ] = None,
    anomalous: Annotated[
        list[str] | None,
        typer.Option("--anomalous", help="Clips with something abnormal in them; may be repeated."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="A data set whose clips have labels.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="A list of published features: lines of PATH LABEL (.npy, (N, D) or (N, crops, D))."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the files of the list are.")] = None,
    extractor: Annotated[
        str, typer.Option(help="What made the features, like i3d-rgb; kept with the detector.")
    ] = "",
    official: Annotated[
        bool, typer.Option("--official", help="The sizes and steps of the method's paper.")
    ] = False,
    looks: Annotated[float, typer.Option(help="Frames a second that the backbone looks at.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of weights and bags.")] = 0,
) -> None:
    """Train a video detector on clips labelled as a whole (all but linear: [torch] extra).

    Use it with: oddwatch detect CLIPS --detector DIR --normal QUIET.
    """
    from oddwatch.pipeline.video_setup import VideoOptions
    from oddwatch.train.video import train_video

    with progress_bar() as progress:
        made = train_video(
            method, out, data=data, normal=normal or (), anomalous=anomalous or (), features=features, folder=folder,
            extractor=extractor, official=official, options=VideoOptions(method=method, looks=looks, seed=seed),
            progress=progress,
        )  # fmt: skip
    say(
        f"{made.method} in {made.folder}, learnt from {made.normal} normal and {made.anomalous} anomalous clips"
    )


def _row(recipe: Recipe | FullRecipe) -> tuple[str, ...]:
    from oddwatch.train.fullsize import FullRecipe

    size = f"full size, {recipe.architecture}, from --init" if isinstance(recipe, FullRecipe) else "small"
    then = f"then {', '.join(recipe.then)}" if recipe.then else ""
    return recipe.name, size, f"{recipe.epochs} epochs of batches of {recipe.batch}", recipe.paper, then


def _full(
    recipe: FullRecipe,
    out: Path,
    data: Path | None,
    init: Path | None,
    device: str,
    workers: int,
    threads: int | None,
    seconds: float | None,
    progress: Progress | None,
) -> Path:
    from oddwatch.core import InputError
    from oddwatch.train.fullsize import train_full
    from oddwatch.train.pairs import training_records

    if data is None or init is None:
        missing = "--data" if data is None else "--init"
        raise InputError(
            missing, f"recipe {recipe.name} is of full size and needs one", "--data FOLDER --init CHECKPOINT"
        )
    return train_full(
        recipe,
        training_records(data, recipe.shards),
        init,
        out,
        device=device,
        workers=workers,
        threads=threads,
        seconds=seconds,
        progress=progress,
    )


def _small(
    recipe: Recipe,
    out: Path,
    data: Path | None,
    init: Path | None,
    cache: Path | None,
    device: str,
    workers: int,
    threads: int | None,
    seconds: float | None,
    progress: Progress | None,
) -> Path:
    from oddwatch.core import InputError
    from oddwatch.pipeline.models import Models
    from oddwatch.train.pairs import pairs_of, training_records
    from oddwatch.train.search import train_search

    if init is not None:
        raise InputError(
            "--init", f"recipe {recipe.name} starts from nothing", "leave it out, or choose one of full size"
        )
    pairs = None
    if data is not None:
        pairs = pairs_of(training_records(data), Models(device=device, threads=threads), progress)
    return train_search(
        recipe,
        out,
        data=pairs,
        cache=cache,
        workers=workers,
        threads=threads,
        seconds=seconds,
        progress=progress,
    )
