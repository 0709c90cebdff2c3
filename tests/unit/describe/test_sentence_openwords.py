"""Words in no table, by the nearest words that are; with an encoder of two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.describe.sentence import openwords, parse


class Toy:
    """Puts given words on one axis and everything else on the other."""

    dim = 2

    def __init__(self, near: Sequence[str], name: str) -> None:
        self.near, self.id = frozenset(near), name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1, 0] if t in self.near else [0, 1] for t in texts], np.float32)


COATS = ("overcoat", "raincoat", "trench coat", "greatcoat", "topcoat", "flumbert")


def test_an_open_word_takes_the_row_of_its_neighbours_at_a_lower_weight() -> None:
    query = parse("a man in a red flumbert", Toy(COATS, "toy-coats"))
    slots = {s.words: s for s in query.slots}
    assert 0 < slots["flumbert"].atoms["upper.type.coat"] < 1
    assert "upper.color.red" in slots["red"].atoms
    assert slots["flumbert"].weight < 0.8 and slots["red"].weight == 1.0
    assert not query.unread


def test_denial_is_read_outside_the_encoder() -> None:
    query = parse("a man without a flumbert", Toy(COATS, "toy-coats"))
    assert [s.negated for s in query.slots if s.words == "flumbert"] == [True]


def test_a_word_whose_neighbours_disagree_stays_unread() -> None:
    mixed = Toy(("overcoat", "puppy", "bench", "lorry", "suitcase", "flumbert"), "toy-mixed")
    assert parse("a man in a red flumbert", mixed).unread == ("flumbert",)


def test_the_packaged_vectors_belong_to_the_tables() -> None:
    with np.load(openwords.PACKAGED, allow_pickle=False) as packed:
        key = str(packed["key"])
    packaged = Toy((), "all-MiniLM-L6-v2-int8")
    message = "run scripts/evaluate_open_words.py DICT --write after editing the tables"
    assert key == openwords.key_of(packaged, openwords.prototype_senses()), message


def test_a_word_is_embedded_once_and_a_sentence_in_one_batch() -> None:
    class Counting:
        id, dim = "counting", 8

        def __init__(self) -> None:
            self.calls: list[list[str]] = []

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            self.calls.append(list(texts))
            return np.random.default_rng(len(texts)).normal(size=(len(texts), 8)).astype(np.float32)

    encoder = Counting()
    parse("a gizmo frobnicates the widgetlike quokka", encoder)
    first = list(encoder.calls)
    parse("a gizmo frobnicates the widgetlike quokka", encoder)
    assert encoder.calls == first
    words = [c for c in first if len(c) < 100]
    assert len(words) == 1 and len(words[0]) > 1
