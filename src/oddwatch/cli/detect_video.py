"""``oddwatch detect`` of videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oddwatch.cli.common import Device, named, note, print_json, progress_bar, quoted, say, shown, table

if TYPE_CHECKING:
    from oddwatch.pipeline.video_out import VideoReport

MOST_LINES = 20


def run_video(
    clips: list[str],
    normal: list[str] | None,
    *,
    method: str | None,
    option: list[str] | None,
    detector: Path | None,
    save: Path | None,
    out: Path | None,
    html: Path | None,
    top: int,
    device: Device,
    json_: bool,
    **settings: Any,
) -> None:
    """Run a detection in video as the command line asked for it, and print what it found."""
    from oddwatch.core import InputError
    from oddwatch.detectors import DEFAULT
    from oddwatch.pipeline.detect_video import detect_video
    from oddwatch.pipeline.video_setup import VideoOptions

    if detector is not None and (method is not None or option):
        raise InputError("--detector", "is fitted already", "leave out --method and --option")
    resolution = settings.pop("resolution")
    options = VideoOptions(
        method=method or DEFAULT["video"],
        arguments=dict(named(text) for text in option or ()),
        device=device.value,
        **settings,
        **({} if resolution is None else {"resolution": resolution}),
    )
    with progress_bar(json_) as progress:
        report = detect_video(
            clips,
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
            f"kept: {quoted(save)}; again with: oddwatch detect VIDEOS --detector {quoted(save)} --normal QUIET"
        )


def _show(report: VideoReport, top: int) -> None:
    for path, why in report.skipped[:MOST_LINES]:
        note(f"skipped {shown(path)}: {why}")
    for text in report.notes:
        note(f"note: {text}")
    rows = [("from", "to", "score", "severity", "clip", "why")]
    rows += [
        (_clock(f.span.start), _clock(f.span.end), f"{f.score:.2f}", f"{f.severity or 0:.2f}", shown(f.source), f.reason)
        for f in report.findings[:top]
        if f.span is not None
    ]  # fmt: skip
    if report.findings:
        for line in table(rows, right=(0, 1, 2, 3)):
            say(line)
    if len(report.findings) > top:
        say(f"… {len(report.findings) - top} more; --top, --json or --out for all")
    seconds = sum(c.duration for c in report.clips)
    known = f", against {report.normal_seconds:.0f} s of normal footage" if report.normal_seconds else ""
    moments = "1 moment" if len(report.findings) == 1 else f"{len(report.findings)} moments"
    say(
        f"{moments} above the threshold {report.threshold.value:.3g} in {len(report.clips)} clips, {seconds:.0f} s "
        f"({report.method}{known}; {report.seconds['total']:.1f} s)"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
