"""The embedded witness: what it says of facts, and that it stays silent where it cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, Facts
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.witness import Blank, FactsWitness


def facts(atoms=(), **known):
    p, seen = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for name, value in {**dict(atoms), **known}.items():
        p[INDEX[name]], seen[INDEX[name]] = value, True
    return Facts(SCHEMA_ID, p, seen)


def blanks(masked):
    found, at = [], 0
    while (start := masked.find("<", at)) >= 0:
        at = masked.index(">", start) + 1
        found.append(Blank(masked[start + 1 : at - 1], len(found), start, at))
    return found


def say(masked, shown, least=0.5):
    return FactsWitness(least).fill(masked, blanks(masked), shown)


DRESSED = facts(
    {"upper.color.red": 0.9, "upper.color.blue": 0.1, "lower.color.blue": 0.8, "feet.color.white": 0.7,
     "head.color.green": 0.6, "bag.color.yellow": 0.6, "hair.color.blond": 0.9, "posture.falling": 0.8,
     "posture.riding": 0.6, "posture.walking": 0.2, "carry.backpack": 0.8}
)  # fmt: skip


@pytest.mark.parametrize(
    ("masked", "want"),
    [
        ("A man in a <COLOR> jacket is <VERB> off a <COLOR> bicycle", ["red", "falling", UNKNOWN]),
        ("<COLOR> trousers and <COLOR> shoes", ["blue", "white"]),
        ("a woman with <COLOR> hair in a <COLOR> hat", ["blond", "green"]),
        ("carrying a <COLOR> bag", ["yellow"]),
        ("a man <VERB> a <COLOR> backpack", ["carrying", "yellow"]),
        ("she is <VERB> a bicycle", ["riding"]),
        ("the <VERB> man wears a <COLOR> coat", ["falling", "red"]),
    ],
)
def test_blanks_are_bound_by_the_words_around_them(masked, want):
    assert say(masked, DRESSED) == want


def test_nothing_is_said_of_what_was_not_seen():
    masked = "A man in a <COLOR> jacket is <VERB>"
    assert say(masked, facts()) == [UNKNOWN, UNKNOWN]
    assert say(masked, None) == [UNKNOWN, UNKNOWN]
    assert say(masked, Facts("atoms-other", np.ones(3, np.float32), np.ones(3, bool))) == [UNKNOWN, UNKNOWN]


def test_nothing_is_said_below_the_least_probability():
    unsure = facts({"upper.color.red": 0.45, "posture.walking": 0.49})
    masked = "A man in a <COLOR> jacket is <VERB>"
    assert say(masked, unsure) == [UNKNOWN, UNKNOWN]
    assert say(masked, unsure, least=0.4) == ["red", "walking"]


def test_a_second_verb_or_colour_is_another_one():
    both = facts(
        {"posture.walking": 0.9, "action.talk": 0.7, "upper.color.black": 0.9, "upper.color.white": 0.6}
    )
    assert say("a woman <VERB> and <VERB>", both) == ["walking", "talking"]
    assert say("a <COLOR> and <COLOR> striped shirt", both) == ["black", "white"]
    one = facts({"posture.walking": 0.9, "upper.color.black": 0.9})
    assert say("a woman <VERB> and <VERB>", one) == ["walking", UNKNOWN]
    assert say("a <COLOR> and <COLOR> striped shirt", one) == ["black", "black"]


def test_a_person_in_one_colour_needs_it_above_and_below():
    assert say("a man dressed in <COLOR>", facts({"upper.color.black": 0.9, "lower.color.black": 0.8})) == [
        "black"
    ]
    assert say("a man dressed in <COLOR>", facts({"upper.color.black": 0.9, "lower.color.black": 0.02})) == [
        UNKNOWN
    ]


def test_the_kind_of_doing_follows_the_object():
    shown = facts(
        {"posture.walking": 0.95, "action.hit_by_vehicle": 0.7, "action.push": 0.8, "arms.raised": 0.9}
    )
    assert say("a man is <VERB> by a car", shown) == ["hit"]
    assert say("a man is <VERB> a bicycle", shown) == ["pushing"]
    assert say("a man <VERB> his arms", shown) == ["raising"]
    assert say("a man <VERB> past a car", shown) == ["walking"]
    assert say("two men <VERB> a woman", shown) == ["pushing"]


def test_odd_sentences_do_no_harm():
    assert say("", DRESSED) == []
    assert say("<VERB>", DRESSED) == ["falling"]
    assert say("<COLOR>", DRESSED) == [UNKNOWN]
    assert say("Человек <VERB>", DRESSED)[0] in ("falling", UNKNOWN)
    assert len(say("red " * 700 + "<VERB>", DRESSED)) == 1


def test_its_id_names_threshold_and_atoms():
    assert FactsWitness().id == FactsWitness(0.5).id
    assert FactsWitness().id != FactsWitness(0.6).id
    assert SCHEMA_ID in FactsWitness().id
