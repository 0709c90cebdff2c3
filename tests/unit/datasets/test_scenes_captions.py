"""Captions of the scene generator: true, of the promised length, and held out by family."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.datasets.scenes import content_words, family_words, person_captions, person_still, unknown_share
from oddwatch.datasets.scenes.captions import Family, event_caption
from oddwatch.datasets.scenes.doings import DOINGS
from oddwatch.datasets.scenes.events import EVENTS
from oddwatch.datasets.scenes.words import CARRIED, COLORS, GARMENTS, WORN
from oddwatch.datasets.scenes.words import DOINGS as TOLD

_FACTS = [person_still(31, i, tall=50, others=0.0).facts for i in range(14)]


@pytest.mark.parametrize("family", ["A", "B"])
def test_lengths(family: Family) -> None:
    rng = np.random.default_rng(0)
    for facts in _FACTS:
        told = person_captions(facts, rng, family, 4)
        for text in told["short"]:
            assert 5 <= len(text.split()) <= 12, text
        for text in told["long"]:
            assert 18 <= len(text.split()) <= 40, text


@pytest.mark.parametrize("family", ["A", "B"])
def test_a_caption_names_only_what_is_there(family: Family) -> None:
    rng = np.random.default_rng(1)
    for facts in _FACTS:
        told = person_captions(facts, rng, family, 6)
        text = " " + " ".join(told["short"] + told["long"] + told["plain"]).lower() + " "
        true = {
            facts["upper"]["type"],
            facts["shoes"]["type"],
            *([facts["lower"]["type"]] if facts["lower"] else []),
        }
        for kind, phrases in GARMENTS[family].items():
            for phrase in phrases:
                if f" {phrase} " in text:
                    assert kind in true or any(
                        phrase in p for k in true for p in GARMENTS[family].get(k, (k,))
                    ), (phrase, true)
        for name, phrases in CARRIED[family].items():
            noun = phrases[0].split()[-1]
            if f" {noun} " in text and noun not in " ".join(p for p in TOLD[family][facts["doing"]]):
                assert name in facts["carrying"] or noun == "bag", (noun, facts["carrying"])
        for name in ("glasses", "scarf", "helmet"):
            noun = WORN[family][name][0].split()[-1]
            if f" {noun} " in text:
                assert name in facts["accessories"]


def test_plain_captions_do_not_tell_the_doing() -> None:
    rng = np.random.default_rng(2)
    for family in ("A", "B"):
        for facts in _FACTS:
            for text in person_captions(facts, rng, family, 3)["plain"]:
                assert not any(
                    f" {phrase}" in f" {text.lower()}" for phrase in TOLD[family][facts["doing"]]
                ), text


def test_the_second_family_speaks_other_words() -> None:
    rng = np.random.default_rng(3)
    texts = [
        t
        for f in _FACTS
        for t in person_captions(f, rng, "B", 5)["short"] + person_captions(f, rng, "B", 5)["long"]
    ]
    assert unknown_share(texts, family_words("A")) >= 0.3
    assert unknown_share(texts, [w for t in texts for w in content_words(t)]) == 0.0


def test_both_families_tell_every_doing_event_and_shade() -> None:
    rng = np.random.default_rng(4)
    for family in ("A", "B"):
        assert set(DOINGS) <= set(TOLD[family])
        for kind in EVENTS:
            assert len(event_caption(kind, _FACTS[0], rng, family).split()) >= 3
    from oddwatch.datasets.scenes.shades import SHADES

    assert {s.word for s in SHADES} <= set(COLORS["B"])
