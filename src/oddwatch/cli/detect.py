"""``oddwatch detect``: pictures against normal ones, video against quiet footage."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    named,
    note,
    print_json,
    progress_bar,
    quoted,
    say,
    shown,
    table,
)

if TYPE_CHECKING:
    from oddwatch.pipeline.detect import DetectReport

MOST_LINES = 20


def detect(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...", help="What to judge: pictures or videos; folders, files or globs."
        ),
    ],
    normal: Annotated[
        list[str] | None,
        typer.Option(
            "--normal",
            "-n",
            help="Good pictures, or quiet footage of the same camera: folder, file or glob; may be repeated.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", help="A detector, as `oddwatch methods --task image` (or video) lists."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="NAME=VALUE", help="An argument of the method; may be repeated."
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Share of normal pictures that may be told by mistake: moves the threshold.")
    ] = 0.01,
    threshold: Annotated[
        float | None, typer.Option(help="A threshold in the scores' own unit, instead of --rate.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Video: false alarms an hour that are borne; moves the threshold.")
    ] = 1.0,
    looks: Annotated[float, typer.Option(help="Video: frames a second that the models look at.")] = 2.0,
    minimum: Annotated[float, typer.Option(help="Video: seconds that a finding lasts at least.")] = 0.4,
    merge: Annotated[float, typer.Option(help="Video: findings this many seconds apart are one.")] = 2.0,
    encoder: Annotated[
        str, typer.Option(help="patches (packaged), or a folder or Hub name of a DINOv2-class model.")
    ] = "patches",
    resolution: Annotated[
        int | None, typer.Option(help="Side of the encoder's input in pixels; default: the method's.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers to look at, like block_6,block_9; default: the method's.")
    ] = None,
    tiles: Annotated[
        str | None, typer.Option(help="Cut large pictures into overlapping tiles, ROWSxCOLUMNS, like 2x2.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Parts the normal pictures are left out in for the threshold; default: by their number."
        ),
    ] = None,
    check: Annotated[
        int, typer.Option(min=0, help="Try the threshold on so many defects drawn on normal pictures.")
    ] = 0,
    detector: Annotated[
        Path | None,
        typer.Option(
            help="A folder that --save wrote: judge with it; --normal pictures are learnt in addition."
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the fitted detector in this folder.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write heatmaps, masks, scores.csv and findings.json to this folder.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Rows of the table that is printed.")] = 20,
    seed: Annotated[int, typer.Option(help="Settles everything drawn by chance.")] = 0,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Rank pictures by how far they are from normal ones, or find the moments of videos that quiet footage does not know.

    The threshold comes from what is normal alone and can be moved later. A star marks what lies above it. Without --normal
    each part of a video is judged by its other parts. The exit status is 0 with or without findings.
    """
    from oddwatch.core import InputError, MediaError
    from oddwatch.detectors import DEFAULT
    from oddwatch.pipeline.detect import DetectOptions
    from oddwatch.pipeline.detect import detect as run

    for given in (*pictures, *(normal or ())):
        if not (os.path.lexists(given) or glob.glob(given, recursive=True)):  # noqa: PTH207
            raise MediaError(shown(given), "there is no such file or folder", "nothing was judged")
    if _is_video(pictures, method, detector):
        refused = {"--rate": rate != 0.01, "--encoder": encoder != "patches", "--layers": layers is not None,
                   "--tiles": tiles is not None, "--folds": folds is not None, "--check": check > 0}  # fmt: skip
        for name in (name for name, given_ in refused.items() if given_):
            raise InputError(
                name, "is for pictures", "video takes --false-alarms, --looks, --minimum and --merge"
            )
        from oddwatch.cli.detect_video import run_video

        run_video(
            pictures, normal, method=method, option=option, detector=detector, save=save, out=out, html=html, top=top,
            threshold=threshold, false_alarms=false_alarms, looks=looks, minimum=minimum, merge=merge,
            resolution=resolution, seed=seed, device=device, threads=threads, json_=json_,
        )  # fmt: skip
        return
    if detector is not None and (method is not None or option or layers is not None or folds is not None):
        raise InputError(
            "--detector", "is fitted already", "leave out --method, --option, --layers and --folds"
        )
    if detector is not None and check:
        raise InputError(
            "--check", "needs the normal pictures a detector is fitted to", "leave out --detector"
        )
    options = DetectOptions(
        method=method or DEFAULT["image"],
        arguments=dict(named(text) for text in option or ()),
        encoder=encoder,
        resolution=resolution,
        layers=tuple(filter(None, layers.split(","))) if layers else None,
        tiles=_grid(tiles),
        rate=rate,
        threshold=threshold,
        folds=folds,
        check=check,
        seed=seed,
        device=device.value,
        threads=threads,
    )
    with progress_bar(json_) as progress:
        report = run(
            pictures,
            normal,
            options=options,
            detector=detector,
            save_to=save,
            out=out,
            html=html,
            progress=progress,
        )
    if json_:
        print_json(report.to_json())
        return
    _show(report, top)
    for path in (out, html):
        if path is not None:
            say(f"written: {quoted(path)}")
    if save is not None:
        say(
            f"kept: {quoted(save)}; again with: oddwatch detect PICTURES --detector {quoted(save)} --rate {rate:g}"
        )


def _is_video(inputs: list[str], method: str | None, detector: Path | None) -> bool:
    """Whether the named method is of video; where none is named, whether the first thing to judge is one."""
    from oddwatch.core import ModelError
    from oddwatch.detectors import CARDS
    from oddwatch.detectors.kept import read
    from oddwatch.media.sources import find

    try:
        name = method or (read(detector).method if detector is not None else None)
    except ModelError:  # told, with what to do, by whoever reads it to judge
        return False
    if name is not None:
        return name in CARDS and CARDS[name].modality == "video"
    first = next(iter(find(inputs, report=lambda skipped: None)), None)
    return first is not None and first.kind == "video"


def _grid(text: str | None) -> tuple[int, int] | None:
    from oddwatch.core import InputError

    if text is None:
        return None
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise InputError("--tiles", f"expected ROWSxCOLUMNS, got {text!r}", "like 2x2")
    return int(rows), int(columns)


def _show(report: DetectReport, top: int) -> None:
    for path, reason in report.skipped[:MOST_LINES]:
        note(f"skipped {shown(path)}: {reason}")
    if len(report.skipped) > MOST_LINES:
        note(f"skipped {len(report.skipped) - MOST_LINES} more; --json lists all")
    for text in report.notes:
        note(f"note: {text}")
    reasons = {f.source: f.reason for f in report.findings}
    rows = [("", "#", "score", "severity", "picture", "why")]
    rows += [
        ("*" if s.above else "", str(s.rank), f"{s.score:.4g}", f"{s.severity:.2f}", shown(s.source), reasons.get(s.source, ""))
        for s in report.scores[:top]
    ]  # fmt: skip
    for line in table(rows, right=(1, 2, 3)):
        say(line)
    if len(report.scores) > top:
        say(f"… {len(report.scores) - top} more; --top, --json or --out for all")
    known = report.calibration
    against = f", against {len(known.scores)} normal scores ({known.how})" if known else ""
    say(
        f"{len(report.findings)} of {len(report.scores)} pictures above the threshold {report.threshold.value:.4g} "
        f"({report.method}{against}; {report.seconds['total']:.1f} s)"
    )
    if report.check is not None:
        say(f"check: {report.check.in_words()}")
