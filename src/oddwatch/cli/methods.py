"""``oddwatch methods``: the catalogue, from the cards."""

from __future__ import annotations

from typing import Annotated

import typer

from oddwatch.cli.common import JsonOption, print_json, say


def methods(
    task: Annotated[str | None, typer.Option(help="Only this modality, like text-image or image.")] = None,
    json_: JsonOption = False,
) -> None:
    """List every method with what it needs and how far it was verified."""
    from oddwatch.catalogue import cards

    rows = [card for card in cards() if task is None or card.modality == task]
    if json_:
        print_json({"methods": [card.to_json() for card in rows]})
        return
    for card in rows:
        needs = f"  needs {', '.join(card.needs)}" if card.needs else ""
        say(f"{card.name}  [{card.kind}, {card.modality}]  {card.summary}{needs}")
