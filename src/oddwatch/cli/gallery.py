"""``oddwatch gallery``: look at, trim and check what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from oddwatch.cli.common import (
    GalleryOption,
    JsonOption,
    note,
    print_json,
    progress_bar,
    say,
    shown,
    table,
    when,
)

if TYPE_CHECKING:
    from oddwatch.core import EntryKind

MOST_SOURCES = 20

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
    for line in table(_about(facts)):
        say(line)


def _about(facts: dict[str, Any]) -> list[tuple[str, str]]:
    sources = facts["sources"]
    rows = [
        ("gallery", shown(facts["path"])),
        ("entries", f"{facts['entries']:,}" + (f" ({_plain(facts['kinds'])})" if facts["kinds"] else "")),
        ("sources", f"{len(sources):,} ({_plain({k: v for k, v in facts['status'].items() if v})})"),
    ]
    most = sorted(sources.items(), key=lambda item: -item[1])[:MOST_SOURCES]
    rows += [("", f"{count:,} from {shown(path)}") for path, count in most]
    if len(sources) > len(most):
        rows.append(("", f"and {len(sources) - len(most):,} more; --json lists all"))
    rows.append(("cameras", _plain(facts["cameras"])))
    rows.append(("filmed", f"{facts['from']} to {facts['to']}" if facts["from"] else "times are not known"))
    rows += [(f"{name} by", f"{e['id']}, {e['dim']} numbers") for name, e in facts["encoders"].items()]
    rows.append(("findings", f"{facts['findings']:,}"))
    rows.append(("on disk", f"{facts['bytes'] / 1e6:,.1f} MB"))
    rows.append(("made by", f"{facts['created_by']}, {facts['created']}, format {facts['format']}"))
    return rows + [("problem", f"{shown(p['source'])}: {p['problem']}") for p in facts["problems"]]


@app.command("list")
def list_(
    gallery: GalleryOption = Path("gallery"),
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source file.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: person or moment.")] = None,
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
            for entry in store.entries(Where(camera=camera, source=source, kind=_kind(kind)), full=False)
        ]
    if json_:
        print_json({"entries": rows})
        return
    if not rows:
        note("no entries")
        return
    for line in table([_row(row) for row in rows], right=(2,)):
        say(line)


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    span = "" if row["start"] is None else f"{row['start']:.1f}–{row['end']:.1f} s"
    return row["id"], row["kind"], span, shown(row["source"]), row["camera"] or ""


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
    print_json({"removed": gone}) if json_ else say(f"removed {gone} {'entry' if gone == 1 else 'entries'}")


@app.command("optimize")
def optimize(gallery: GalleryOption = Path("gallery"), json_: JsonOption = False) -> None:
    """Write the search files of a large gallery anew; `index` does so by itself where it pays."""
    from oddwatch.gallery.store import Gallery

    with Gallery.open(gallery, create=False) as store, progress_bar(json_) as progress:
        written = store.optimize(progress)
    print_json({"optimized": written}) if json_ else say(
        "search files written" if written else "nothing to write"
    )


@app.command("verify")
def verify(gallery: GalleryOption = Path("gallery"), json_: JsonOption = False) -> None:
    """Check that what is stored is whole; prints a hash of the content. Exit status 1 on damage."""
    from oddwatch.gallery.store import Gallery

    with Gallery.open(gallery, create=False, readonly=True) as store:
        report = store.verify()
    if json_:
        print_json(report)
    else:
        say("whole: nothing is damaged" if report["ok"] else "damaged:")
        for problem in report["problems"]:
            say(f"  {problem}")
        rows = [
            ("entries", f"{report['entries']:,}"),
            ("unfinished", _plain(list(map(shown, report["unfinished"])))),
        ]
        for line in table([*rows, ("content hash", report["content_hash"])]):
            say(line)
    if report["problems"]:
        raise typer.Exit(1)


def _kind(kind: str | None) -> EntryKind | None:
    from oddwatch.core import InputError

    if kind not in (None, "person", "moment"):
        raise InputError("--kind", f"{kind!r} is not known", "person or moment")
    return cast("EntryKind | None", kind)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_plain(v)} {k}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "; ".join(_plain(v) for v in value) or "none"
    return str(value)
