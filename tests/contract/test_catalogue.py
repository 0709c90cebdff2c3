"""Every row of every catalogue: it resolves, it has a card, and the two agree."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import oddwatch
from oddwatch import catalogue
from oddwatch.core import Card, InputError, MissingExtra, resolve

ROW = re.compile(r"oddwatch(\.\w+)+:\w+")


def tables() -> dict[tuple[str, str], dict[str, str]]:
    """The lazy tables in the rooms' own modules: upper-case names of dicts from a name to ``module:attribute``."""
    found = {}
    for file in sorted(Path(oddwatch.__file__).parent.glob("*/__init__.py")):
        room = importlib.import_module(f"oddwatch.{file.parent.name}")
        for name, value in vars(room).items():
            if (
                name.isupper()
                and isinstance(value, dict)
                and value
                and all(isinstance(v, str) and ROW.fullmatch(v) for v in value.values())
            ):
                found[room.__name__, name] = value
    return found


TABLES = tables()
ROWS = [(room, table, name) for (room, table), rows in TABLES.items() for name in rows]


def cards_of(room: str) -> dict[str, Card]:
    return importlib.import_module(room).CARDS


def test_the_tables_are_found():
    assert ("oddwatch.encoders", "ENCODERS") in TABLES


@pytest.mark.parametrize(
    ("room", "table", "name"), ROWS, ids=[f"{r.rpartition('.')[2]}-{n}" for r, _, n in ROWS]
)
def test_row_resolves_or_says_which_extra_is_missing(room, table, name):
    try:
        found = resolve(TABLES[room, table], name, table)
    except MissingExtra as error:
        assert re.search(r'pip install "oddwatch\[\w+\]"', str(error))
    else:
        assert callable(found) and (found.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("room", "table", "name"), ROWS, ids=[f"{r.rpartition('.')[2]}-{n}" for r, _, n in ROWS]
)
def test_row_has_a_card_of_its_name(room, table, name):
    card = cards_of(room)[name]
    assert card.name == name and card.summary
    assert Card.from_json(card.to_json()) == card


@pytest.mark.parametrize("room", sorted({room for room, _ in TABLES}))
def test_no_card_without_a_row(room):
    rows = {name for (r, _), table in TABLES.items() if r == room for name in table}
    assert set(cards_of(room)) == rows


def test_the_catalogue_lists_every_card():
    listed = [card.name for card in catalogue.cards()]
    assert sorted(listed) == sorted(name for room in {r for r, _ in TABLES} for name in cards_of(room))


@pytest.mark.parametrize(("room", "table"), TABLES, ids=[t for _, t in TABLES])
def test_a_name_that_is_not_there_is_an_input_error(room, table):
    with pytest.raises(InputError, match="one of"):
        resolve(TABLES[room, table], "no such method", table)
