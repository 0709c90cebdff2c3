"""``oddwatch export``: a fitted detector as an ONNX file, checked against itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import JsonOption, named, note, print_json, progress_bar, say, shown, table


def export(
    method: Annotated[
        str | None,
        typer.Argument(
            help="parts-and-whole, subspace, patchcore, anomalydino, padim, mvg or fastflow; default: the saved one's, or detect's own."
        ),
    ] = None,
    normal: Annotated[
        list[str] | None,
        typer.Option(
            "--normal",
            "-n",
            help="Pictures of good ones to fit to: a folder, picture or glob; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The file to write; its thresholds go beside it, with .json.")
    ] = Path("model.onnx"),
    detector: Annotated[
        Path | None, typer.Option(help="A folder that `detect --save` wrote, instead of --normal.")
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option(
            "--pictures", "-p", help="Pictures to compare file and detector on; default: normal ones."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="NAME=VALUE", help="An argument of the method; may be repeated."
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Side of the input in pixels; default: the method's.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers to look at, like block_6,block_9; default: the method's.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="patches (packaged), or an .onnx file of the same form.")
    ] = "patches",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Keep 8-bit products: quicker, but x86 without VNNI then needs a session option."
        ),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="Largest difference from the detector, as a share of its largest value."),
    ] = 1e-3,
    keep: Annotated[bool, typer.Option("--keep", help="Keep a file that differs by more.")] = False,
    seed: Annotated[int, typer.Option(help="Settles everything drawn by chance.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Write a detector as one ONNX file, from pixels to score and map, and check it against the detector.

    The threshold stays outside: a table of thresholds by false-alarm rate lies beside the file. A file that differs from
    the detector is removed, and the exit status is 1.
    """
    from oddwatch.core import InputError
    from oddwatch.detectors import DEFAULT
    from oddwatch.pipeline.detect_setup import DetectOptions
    from oddwatch.pipeline.export import export as run

    if detector is not None and (option or layers is not None or resolution is not None or normal):
        raise InputError(
            "--detector", "is fitted already", "leave out --normal, --option, --layers and --resolution"
        )
    options = DetectOptions(
        method=method or DEFAULT["image"],
        arguments=dict(named(text) for text in option or ()),
        encoder=encoder,
        resolution=resolution,
        layers=tuple(filter(None, layers.split(","))) if layers else None,
        seed=seed,
    )
    with progress_bar(json_) as progress:
        report = run(
            out,
            normal or None,
            options=options,
            detector=detector,
            method=method,
            pictures=pictures or None,
            int8=int8,
            tolerance=tolerance,
            keep=keep,
            progress=progress,
        )
    if json_:
        print_json(report)
        return
    for path, reason in report.skipped:
        note(f"skipped {shown(path)}: {reason}")
    say(f"written: {shlex.quote(report.model)} ({report.bytes / 1e6:.1f} MB), {shlex.quote(report.about)}")
    say(f"checked: {report.parity.in_words()}")
    rows = [("rate", "threshold", "")]
    rows += [(f"{r['rate']:g}", f"{r['score']:.4g}", str(r["rule"])) for r in report.thresholds]
    for line in table(rows, right=(0, 1)):
        say(line)
