"""``oddwatch watch`` and ``oddwatch wrong``: cameras live, and what was told by mistake."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddwatch.cli.common import (
    Device,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    named,
    note,
    print_json,
    quoted,
    say,
    shown,
)

if TYPE_CHECKING:
    from oddwatch.media.streams import Stream
    from oddwatch.serve.alerts import Alert


def watch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Cameras, each [NAME=]SOURCE: rtsp://…, http://… (Motion JPEG), a video file, a folder being written, or the "
            "number of a camera of this machine."
        ),
    ],
    alert: Annotated[
        list[str] | None,
        typer.Option("--alert", "-a", help="A sentence for what is abnormal; may be repeated."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="A sentence for who does not count; may be repeated.")
    ] = None,
    normal: Annotated[
        list[str] | None,
        typer.Option(
            "--normal", "-n", help="Quiet footage, [NAME=]FILE of one camera or of all; may be repeated."
        ),
    ] = None,
    learn: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds of its own past that a camera without --normal learns from; 0: sentences alone.",
        ),
    ] = 600.0,
    false_alarms: Annotated[
        float, typer.Option(help="False alarms a day that are borne, of each camera and sentence.")
    ] = 1.0,
    out: Annotated[Path, typer.Option(help="Folder of alerts.jsonl, frames and clips.")] = Path("watched"),
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Remember everybody seen in this gallery, to be searched at once."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="TOML or JSON: thresholds by camera, zone and hour, minimum, gap.")
    ] = None,
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            help="POST alerts to this address, signed with ODDWATCH_WEBHOOK_SECRET; may be repeated."
        ),
    ] = None,
    mqtt: Annotated[
        list[str] | None,
        typer.Option(help="Publish alerts to mqtt[s]://HOST/TOPIC ([mqtt] extra); may be repeated."),
    ] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Webhooks may lie in a private network.")
    ] = False,
    closings: Annotated[bool, typer.Option("--closings", help="Tell also when an event is over.")] = False,
    looks: Annotated[
        float, typer.Option(min=0.1, help="Frames a second that models look at, shared by all cameras.")
    ] = 6.0,
    quota: Annotated[float, typer.Option(min=0.001, help="GB of frames and clips that are kept.")] = 10.0,
    days: Annotated[float, typer.Option(min=0.01, help="Days for which they are kept.")] = 30.0,
    metrics: Annotated[int | None, typer.Option(help="Port of /metrics and /health on this machine.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="A detector of `oddwatch methods --task video`.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="An argument of the method."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    pace: Annotated[bool, typer.Option("--pace/--no-pace", help="Play files as if they came live.")] = True,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Watch cameras: tell what they have never seen, and what your sentences call abnormal.

    Alerts go to OUT/alerts.jsonl with a frame and a clip, and to webhooks and brokers, which get them later when they are
    down. A camera that goes away is waited for. Ctrl-C ends it; the same command goes on.
    """
    from oddwatch.core import InputError
    from oddwatch.detectors import DEFAULT
    from oddwatch.pipeline.models import Models
    from oddwatch.pipeline.video_setup import VideoOptions
    from oddwatch.serve.budget import Budget
    from oddwatch.serve.judge import JudgeOptions, LiveJudge
    from oddwatch.serve.rules import Rules
    from oddwatch.serve.watch import Options
    from oddwatch.serve.watch import watch as run

    if not alert and not normal and learn == 0:
        raise InputError("watch", "has nothing to look for", "give --alert, --normal, or --learn above 0")
    streams = _streams(sources, pace)
    video = VideoOptions(
        method=method or DEFAULT["video"],
        arguments=dict(named(text) for text in option or ()),
        device=device.value,
        threads=threads,
    )
    judging = JudgeOptions(tuple(alert or ()), tuple(ignore or ()), false_alarms, video, learn)
    with ExitStack() as stack:
        # Cameras are judged side by side: a thread each costs less in sum than all cores for one.
        each = threads or max(1, (os.cpu_count() or 1) // len(streams))
        models = Models(device.value, each, quick=True)
        remember = stack.enter_context(_remembering(gallery, models))
        judge = LiveJudge(judging, _normal(normal, streams), models=models, folder=out, on_tracks=remember)
        if normal:
            note("learning the normal footage …")
            for stream in streams:
                judge.camera(stream.camera)
        options = Options(
            out, Rules.read(rules) if rules else Rules(), Budget(looks), _deliveries(webhook, mqtt, out, allow_private),
            closings=closings, quota=int(quota * 1024**3), days=days, metrics=metrics, seconds=seconds,
        )  # fmt: skip
        note(
            f"watching {', '.join(f'{s.camera} ({s.name})' if s.camera != s.name else s.name for s in streams)}; Ctrl-C ends it"
        )
        summary = run(streams, judge, options, on_alert=None if json_ else _tell)
    if json_:
        print_json(summary.to_json())
        return
    say(
        f"{summary.alerts} alerts in {summary.seconds:.0f} s, {summary.frames} frames, {summary.looks} looks; {quoted(out / 'alerts.jsonl')}"
    )
    if summary.waiting:
        note(f"{summary.waiting} alerts wait for a receiver; they are sent when the same command runs again")


def wrong(
    out: Annotated[Path, typer.Argument(help="The folder that `oddwatch watch` writes.")],
    ids: Annotated[list[str], typer.Argument(help="Ids of alerts that were no anomaly.")],
) -> None:
    """Say that alerts were told by mistake: a running watch learns what they showed as normal.

    A watch that is started later on the same folder learns them then.
    """
    from oddwatch.core import InputError

    path = out / "alerts.jsonl"
    if not path.is_file():
        raise InputError(shown(str(path)), "does not exist", "give the folder of a watch")
    known = {
        row["id"]: row
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and (row := json.loads(line))
    }
    unknown = [i for i in ids if i not in known]
    if unknown:
        raise InputError(f"alert {unknown[0]}", "is not in alerts.jsonl", "copy an id from there")
    with (out / "wrong.jsonl").open("a", encoding="utf-8") as file:
        for one in (known[i] for i in ids):
            end = one["end"] if one["end"] is not None else one["start"] + 10.0
            file.write(
                json.dumps({"id": one["id"], "camera": one["camera"], "start": one["start"], "end": end})
                + "\n"
            )
    say(f"{len(ids)} noted; what they showed will be learnt as normal")


def _streams(sources: list[str], pace: bool) -> list[Stream]:
    from oddwatch.media.streams import Stream

    found = []
    for number, given in enumerate(sources, 1):
        name, source = _named(given)
        place: str | int = int(source) if source.isdecimal() else source
        file = isinstance(place, str) and Path(place).is_file()
        found.append(Stream(place, name or f"cam-{number}", pace=pace and file))
    return found


def _named(given: str) -> tuple[str, str]:
    """``[NAME=]SOURCE``; an address may hold an equals sign of its own, a name no slash."""
    name, equals, rest = given.partition("=")
    return (
        (name, rest)
        if equals and name and not {"/", ":", "\\"} & set(name) and not Path(given).exists()
        else ("", given)
    )


def _normal(given: list[str] | None, streams: list[Stream]) -> dict[str, list[Path]]:
    from oddwatch.core import InputError

    found: dict[str, list[Path]] = {}
    for text in given or ():
        name, path = _named(text)
        if name and name not in {s.camera for s in streams}:
            raise InputError(
                f"--normal {name}",
                "is no camera of this watch",
                f"one of: {', '.join(s.camera for s in streams)}",
            )
        if not Path(path).is_file():
            raise InputError(shown(path), "is no video file", "give quiet footage of the camera")
        found.setdefault(name, []).append(Path(path))
    return found


@contextmanager
def _remembering(gallery: Path | None, models: Any) -> Iterator[Any]:
    if gallery is None:
        yield None
        return
    from oddwatch.gallery.store import Gallery
    from oddwatch.pipeline.models import spaces
    from oddwatch.serve.remember import LiveGallery

    with Gallery.open(gallery, encoders=spaces()) as opened:
        live = LiveGallery(opened, models)
        yield live.tracks
        live.finish()


def _deliveries(webhook: list[str] | None, mqtt: list[str] | None, out: Path, private: bool) -> list[Any]:
    from oddwatch.serve.senders import receiver

    secret = os.environ.get("ODDWATCH_WEBHOOK_SECRET", "")
    return [
        receiver(url, out / "spool", secret=secret, allow_private=private)
        for url in (*(webhook or ()), *(mqtt or ()))
    ]


def _tell(alert: Alert) -> None:
    say(f"{alert.wall_time:%H:%M:%S}  {alert.camera}  {alert.id}  {alert.reason}  {alert.frame}")
