"""``oddwatch gallery``: look at, trim and check what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from oddwatch.cli.common import GalleryOption, JsonOption, print_json, say, when

app = typer.Typer(help="Look at, trim and check a gallery.", no_args_is_help=True)


@app.command("info")
def info(gallery: GalleryOption = Path("gallery"), json_: JsonOption = False) -> None:
    """Counts, cameras, time range, encoders, size on disk."""
    from oddwatch.gallery.store import Gallery

    with Gallery.open(gallery, create=False, readonly=True) as store:
        facts = store.info()
    if json_:
        print_json(facts)
        return
    for key, value in facts.items():
        say(f"{key}: {_plain(value)}")


@app.command("list")
def list_(
    gallery: GalleryOption = Path("gallery"),
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source file.")] = None,
    json_: JsonOption = False,
) -> None:
    """Every entry: id, source, camera, kind, start, end."""
    from oddwatch.core import Where
    from oddwatch.gallery.store import Gallery

    with Gallery.open(gallery, create=False, readonly=True) as store:
        rows = [
            {
                "id": entry.id,
                "source": entry.source,
                "camera": entry.camera,
                "kind": entry.kind,
                "start": entry.span.start if entry.span else None,
                "end": entry.span.end if entry.span else None,
            }
            for entry in store.entries(Where(camera=camera, source=source))
        ]
    if json_:
        print_json({"entries": rows})
        return
    for row in rows:
        span = "" if row["start"] is None else f"  {row['start']:.1f}–{row['end']:.1f} s"
        say(f"{row['id']}  {row['kind']:6s}  {row['source']}{span}")


@app.command("remove")
def remove(
    gallery: GalleryOption = Path("gallery"),
    source: Annotated[str | None, typer.Option(help="Everything of this source file.")] = None,
    camera: Annotated[str | None, typer.Option(help="Everything of this camera.")] = None,
    before: Annotated[
        str | None, typer.Option(help="Everything filmed before this wall-clock time (retention).")
    ] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="This entry; may be given again.")] = None,
    json_: JsonOption = False,
) -> None:
    """Forget entries for good."""
    from oddwatch.core import InputError
    from oddwatch.gallery.store import Gallery

    if source is None and camera is None and before is None and not ids:
        raise InputError("gallery remove", "expected what to remove", "--source, --camera, --before or --id")
    with Gallery.open(gallery, create=False) as store:
        gone = store.remove(source=source, camera=camera, before=when(before, "--before"), ids=ids)
    print_json({"removed": gone}) if json_ else say(f"removed {gone} entries")


@app.command("verify")
def verify(gallery: GalleryOption = Path("gallery"), json_: JsonOption = False) -> None:
    """Check that what is stored is whole; prints a hash of the content. Exit status 1 on damage."""
    from oddwatch.gallery.store import Gallery

    with Gallery.open(gallery, create=False, readonly=True) as store:
        report = store.verify()
    if json_:
        print_json(report)
    else:
        for key, value in report.items():
            say(f"{key}: {_plain(value)}")
    if report["problems"]:
        raise typer.Exit(1)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "; ".join(_plain(v) for v in value) or "none"
    return str(value)
