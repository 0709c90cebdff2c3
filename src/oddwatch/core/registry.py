"""Plain lazy tables of names, cards, and extras that fail late with the command that installs them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from oddwatch.core.errors import InputError, MissingExtra
from oddwatch.core.jsonable import Jsonable


@dataclass(frozen=True, slots=True)
class Card(Jsonable):
    """What a catalogue row is and needs. ``claims`` holds published numbers with their source,
    ``verified`` which levels of the systems table hold (R runs, M measured, w key map, W weights)."""

    name: str
    kind: Literal[
        "encoder",
        "chat model",
        "stage",
        "detector",
        "explainer",
        "grouper",
        "generator",
        "benchmark",
        "metric",
    ]
    modality: Literal["text-image", "image", "video", "series", "events", "text", "cloud"]
    summary: str
    paper: str = ""
    needs: tuple[str, ...] = ()
    online: bool = False
    batch_dependent: bool = False
    transductive: bool = False
    claims: Mapping[str, str] = field(default_factory=dict)
    verified: tuple[str, ...] = ()


def resolve(table: Mapping[str, str], name: str, what: str) -> Any:
    """The object behind ``name`` in a table of ``"module:attribute"`` strings.

    Raises:
        InputError: no such name; the message lists those there are.
        MissingExtra: the module needs a package that is not installed.
    """
    if name not in table:
        raise InputError(f"{what} {name!r}", "not known", f"one of: {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def require(package: str, *, for_: str, extra: str) -> ModuleType:
    """Import an optional package, or say once what to install.

    Raises:
        MissingExtra: the package is absent. A package that is present but broken raises its own error.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package.split(".")[0]:
            raise
        raise MissingExtra(f'{for_} needs the package {package}: pip install "oddwatch[{extra}]"') from error
