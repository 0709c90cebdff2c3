"""``oddwatch bench``: honest numbers, with protocol and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    chat_model,
    named,
    print_json,
    progress_bar,
    say,
)
from oddwatch.core.errors import InputError

app = typer.Typer(help="Measure on labelled data.", no_args_is_help=True)


@app.command("search")
def search(
    data: Annotated[Path, typer.Option("--data", help="A captioned set: a folder with records.jsonl.")],
    seed: Annotated[int, typer.Option(help="Seed of everything drawn by chance.")] = 0,
    stages: Annotated[
        str | None,
        typer.Option(
            help="A list of stages to measure beside coarse and the default, like coarse,facts,cross,sum; here sca-s, "
            "sca-m, sca-2 and assign may come last."
        ),
    ] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Measure what each stage buys: the study of all compositions.")
    ] = False,
    llm: Annotated[
        str | None, typer.Option(help="A chat model for the stages that can use one, as of search --llm.")
    ] = None,
    llm_sees: Annotated[
        bool | None, typer.Option(help="Whether it takes pictures; default: what its server says, else yes.")
    ] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Most calls of the chat model.")] = None,
    cross: Annotated[
        Path | None, typer.Option(help="Folder of a cross-encoder of your own (oddwatch train search).")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="An X-VLM, X2-VLM or CMP file for the stage checkpoint ([torch] extra)."),
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
    from oddwatch.search.stages import read_names

    encoder = None
    if dual is not None:
        from oddwatch.encoders import load

        encoder = load("dual", model=dual, device=device.value)
    names = read_names(stages) if stages is not None else None
    with progress_bar(json_) as progress, chat_model(llm, max_calls, None, None) as chat:
        rows = run_search_bench(
            data,
            dual=encoder,
            stages=names,
            ladder=ladder,
            chat=chat,
            sees=llm_sees if llm_sees is not None else getattr(chat, "sees", None) is not False,
            cross=cross,
            checkpoint=checkpoint,
            seed=seed,
            device=device.value,
            threads=threads,
            progress=progress,
        )
    print_json({"rows": rows}) if json_ else say(markdown(rows))


@app.command("image")
def image(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="A labelled set: MVTec AD, VisA, LOCO, MTD, BTAD, 3CAD, or a folder of good and rest.",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(help="Detectors to measure, like patchcore,subspace; default: the default one."),
    ] = None,
    category: Annotated[str | None, typer.Option(help="Only these categories, like hazelnut,bottle.")] = None,
    shots: Annotated[
        str, typer.Option(help="How many normal pictures to learn from, like 1,4,all; drawn by seed.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds to average over.")] = 1,
    seed: Annotated[
        int, typer.Option(help="The first seed: of splits, shots, everything drawn by chance.")
    ] = 0,
    resolution: Annotated[int, typer.Option(help="Side of the encoder's input, a multiple of 14.")] = 448,
    encoder: Annotated[str, typer.Option(help="An encoder of `oddwatch methods`, like patches.")] = "patches",
    cache: Annotated[Path | None, typer.Option(help="Keep tokens in this folder for further runs.")] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Anomalies in pictures: image AUROC, AP, F1; pixel AUROC, AP, F1, AU-PRO, AUPIMO, IoU, all 0-1; speed, size."""
    from oddwatch.bench.images import run_image_bench
    from oddwatch.bench.tables import markdown

    with progress_bar(json_) as progress:
        rows = run_image_bench(
            data,
            methods=_listed(method),
            shots=[_shots(word) for word in _listed(shots) or ["all"]],
            seeds=range(seed, seed + seeds),
            categories=_listed(category),
            encoder=encoder,
            resolution=resolution,
            cache=cache,
            device=device.value,
            threads=threads,
            progress=progress,
        )
    print_json({"rows": rows}) if json_ else say(markdown(rows))


@app.command("video")
def video(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="A labelled set: UCSD, Avenue, ShanghaiTech, UBnormal, UCF-Crime, XD-Violence, MSAD, tables of tracks, or "
            "videos with spans.csv (file, start, end).",
        ),
    ],
    method: Annotated[
        str | None, typer.Option(help="Detectors to measure, like ai-vad,stg-nf; default: the default one.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="NAME=VALUE", help="An argument of every method; may be repeated."
        ),
    ] = None,
    category: Annotated[str | None, typer.Option(help="Only these sets of the folder, like Ped2.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Rounds of a set without a split of its own, in place of its usual number."),
    ] = None,
    looks: Annotated[
        float,
        typer.Option(min=0.01, help="Frames a second that the models look at; movement is seen on all."),
    ] = 2.0,
    false_alarms: Annotated[
        float, typer.Option(min=0.0, help="False alarms an hour at which events are counted.")
    ] = 6.0,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds to average over.")] = 1,
    seed: Annotated[int, typer.Option(help="The first seed: of folds and everything drawn by chance.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="Keep what was noted of the clips in this folder for further runs.")
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Anomalies in video: micro and macro AUC, AP, anomalous clips only, EER, clip AUC, events, places; speed."""
    from oddwatch.bench.tables import markdown
    from oddwatch.bench.videos import run_video_bench
    from oddwatch.detectors.video.watching import WatchSettings

    with progress_bar(json_) as progress:
        rows = run_video_bench(
            data,
            methods=_listed(method),
            seeds=range(seed, seed + seeds),
            categories=_listed(category),
            folds=folds,
            settings=WatchSettings(looks=looks),
            options=dict(named(text) for text in option or ()),
            false_alarms=false_alarms,
            cache=cache,
            device=device.value,
            threads=threads,
            progress=progress,
        )
    print_json({"rows": rows}) if json_ else say(markdown(rows))


def _listed(text: str | None) -> list[str] | None:
    """The words of a list with commas, None where none was given."""
    return [word.strip() for word in text.split(",") if word.strip()] if text is not None else None


def _shots(word: str) -> int | None:
    """A number of normals, None for all. Raises InputError for anything else."""
    if word == "all":
        return None
    if not word.isdigit() or int(word) < 1:
        raise InputError("--shots", f"expected numbers of 1 or more, or all, got {word!r}", "like 1,4,all")
    return int(word)
