"""Recipes of the search's training: TOML files beside this one (``train/recipes``) or of the user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from oddwatch.core import InputError
from oddwatch.train.fullsize import FullRecipe


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's size, which parts of it are on, and what share of words, part tokens and groups of facts it must do without
    while it learns."""

    dim: int = 128
    heads: int = 4
    layers: int = 2
    pose: bool = True
    facts: bool = True
    parts_drop: float = 0.2
    facts_drop: float = 0.15
    words_drop: float = 0.1


@dataclass(frozen=True, slots=True)
class Weights:
    """What each loss counts; 0 switches it off. ``smoothing`` of the contrastive labels, 0–1."""

    itc: float = 1.0
    itm: float = 1.0
    hard: float = 1.0
    mlm: float = 0.5
    smoothing: float = 0.2


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run. ``twins`` pairs are drawn with ``seed`` unless data is given; ``lr`` is the highest rate;
    ``schedule`` of X-VLM (linear) or CMP (step), ``warmup`` in steps; ``patience`` in epochs; in every second caption the
    share ``otherwise`` of the words that have synonyms is replaced by one; ``then`` names the offline
    stages that the system applies after it."""

    name: str
    paper: str = ""
    twins: int = 5000
    seed: int = 8
    epochs: int = 10
    batch: int = 96
    lr: float = 1e-3
    warmup: int = 200
    schedule: Literal["linear", "step"] = "linear"
    patience: int = 4
    otherwise: float = 0.0
    then: tuple[str, ...] = ()
    model: Shape = Shape()
    losses: Weights = Weights()

    def __post_init__(self) -> None:
        for name in ("twins", "epochs", "batch", "patience"):
            if getattr(self, name) < (2 if name == "batch" else 1):
                raise InputError(f"recipe {self.name}: {name}", f"expected more, got {getattr(self, name)}")
        if self.schedule not in ("linear", "step"):
            raise InputError(
                f"recipe {self.name}: schedule", f"expected linear or step, got {self.schedule!r}"
            )


def recipes() -> list[str]:
    """The names of the packaged recipes."""
    folder = resources.files("oddwatch.train") / "recipes"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str) -> Recipe | FullRecipe:
    """A packaged recipe by name, or a TOML file by path; one that names an ``architecture`` is of full size.

    Raises:
        InputError: no such recipe, not TOML, or a field that is not known.
    """
    own = Path(name)
    if own.suffix == ".toml" or own.is_file():
        where: Any = own
    elif name in recipes():
        where = resources.files("oddwatch.train") / "recipes" / f"{name}.toml"
    else:
        raise InputError(f"recipe {name!r}", "not known", f"one of {', '.join(recipes())}, or a .toml file")
    try:
        told = tomllib.loads(where.read_text(encoding="utf-8"))
        if "architecture" in told:
            return FullRecipe.of(told)
        parts = {"model": Shape(**told.pop("model", {})), "losses": Weights(**told.pop("losses", {}))}
        return Recipe(**{**told, **parts, "then": tuple(told.get("then", ()))})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise InputError(f"recipe {name}", f"cannot be read: {error}") from error
