"""``oddwatch models``: what is installed, where it comes from, whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.common import JsonOption, print_json, say

app = typer.Typer(help="The models: list, check, pull, convert.", no_args_is_help=True)


@app.command("list")
def list_(json_: JsonOption = False) -> None:
    """The models that ship with the package and those in the local cache."""
    from oddwatch.encoders import weights

    rows = weights.manifest()
    if json_:
        print_json({"models": rows})
        return
    for row in rows:
        say(f"{row['file']}  {row['size'] / 1e6:.1f} MB  {row['licence']}\n    from {row['origin']}")


@app.command("check")
def check(json_: JsonOption = False) -> None:
    """Compare every model file with its hash. Exit status 1 if one differs."""
    from oddwatch.encoders import weights

    rows = weights.check()
    if json_:
        print_json({"models": rows})
    else:
        for row in rows:
            say(f"{'ok ' if row['ok'] else 'BAD'} {row['file']}  {row.get('problem') or row['sha256'][:16]}")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="A model id on the Hub, like google/siglip2-base-patch16-256.")],
) -> None:
    """Fetch an optional model into the local cache (the only verb that uses the network)."""
    from oddwatch.encoders import weights

    say(f"stored in {weights.pull(name)}")


@app.command("convert")
def convert(
    path: Annotated[Path, typer.Argument(help="A published checkpoint: .pth, .th or .safetensors.")],
    out: Annotated[Path, typer.Argument(help="The file to write; its name ends in .safetensors.")],
    json_: JsonOption = False,
) -> None:
    """Write an X-VLM, X2-VLM or CMP checkpoint as safetensors with a card beside it ([torch] extra).

    The checkpoint is read without running what is in it, and refused unless every name and shape fits.
    """
    from oddwatch.core import InputError
    from oddwatch.encoders.xvlm import files

    if not out.parent.is_dir():
        raise InputError(str(out.parent), "no such folder", "make it first")
    card = files.convert(path, out)
    if json_:
        print_json({"file": str(out), **card})
        return
    say(f"{out}: {card['family']}, {card['sizes']['side']} pixels, {card['keys']} tensors")
    say(f"from {card['source']} (sha256 {card['source_sha256']}), {card['left_out']} of its tensors left out")
