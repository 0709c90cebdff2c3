"""Rule books: induced, merged, their keywords found, captions mended; what normal captions speak of."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, InputError
from oddwatch.detectors.video.cover import Cover, terms
from oddwatch.detectors.video.rules import (
    RuleBook,
    aggregate,
    find,
    induce,
    judge,
    keywords,
    keywords_of,
    mended,
    merge,
)
from oddwatch.language.scripted import FunctionModel, ScriptedModel

BOOK = RuleBook(
    ("Walking alone", "Using a phone"),
    ("Trees along the street",),
    ("Riding a bicycle or scooter", "Walking on the roof"),
    ("Vehicles such as vans", "Unattended bags"),
)


def test_a_book_is_read_as_the_published_files_are_written():
    text = (
        "**Rules for Anomaly Human Activities:**\n1. Running\n\n**Anomaly Non-Human Objects:**\n1. Vans\n"
        "2. Carts\n**Normal Human Activities:**\n1. Walking.\n**Rules for Normal Environmental Objects:**\n1. Trees"
    )
    book = RuleBook.read(text)
    assert (book.normal_human, book.normal_env) == (("Walking",), ("Trees",))
    assert (book.anomaly_human, book.anomaly_env) == (("Running",), ("Vans", "Carts"))
    assert RuleBook.read(BOOK.text()) == BOOK
    assert RuleBook.of(BOOK.lists()) == BOOK
    assert book.whole and not RuleBook.read("1. Running").whole


def test_keywords_are_what_only_the_anomaly_rules_speak_of():
    assert keywords_of(BOOK) == ("riding", "bicycle", "scooter", "vehicle", "van")


@pytest.mark.parametrize(
    ("least", "kept"), [(5, ("Walking",)), (None, ("Walking",)), (4, ("Walking", "Sitting"))]
)
def test_normal_rules_need_votes_and_anomaly_rules_none(least, kept):
    books = [
        RuleBook(
            normal_human=("Walking",) * (i < 6) + ("sitting." if i else "Sitting",) * (i < 4),
            anomaly_human=(f"Doing {i}",),
            anomaly_env=("walking",),
        )
        for i in range(10)
    ]
    book = merge(books, least)
    assert book.normal_human == kept
    assert book.anomaly_human == tuple(f"Doing {i}" for i in range(10))
    # What is kept as normal is no anomaly.
    assert book.anomaly_env == ()


def test_induction_asks_again_for_a_list_that_is_missing():
    whole, short = BOOK.text(), RuleBook(normal_human=("Sitting",)).text()
    lists = {k: list(v) * 2 for k, v in BOOK.lists().items() if k != "keywords"}
    for second in (lists, BOOK.text()):
        chat = ScriptedModel([short, whole, second], repairs=0)
        books = induce(chat, ["a man walks", "", "a woman sits"], n=10, seed=1)
        assert [b.normal_human for b in books] == [("Sitting",), BOOK.normal_human]
        assert books[0].anomaly == BOOK.anomaly
        assert "All four lists" in chat.history[2].text and "All four lists" not in chat.history[0].text
        assert chat.history[0].schema is None and "anomaly_env" in chat.history[2].schema["properties"]
    # What came before an answer was cut off is kept.
    cut = ScriptedModel(["no idea", '{"normal_human": ["Walking"], "anomaly_human": ["Fight'], repairs=0)
    assert induce(cut, ["a man walks"]) == [RuleBook(normal_human=("Walking",))]
    with pytest.raises(InputError, match="captions"):
        induce(chat, [" "])


def test_batches_are_drawn_by_the_seed():
    captions = [f"caption {i}" for i in range(40)]
    asked = []
    for seed in (0, 0, 1):
        chat = FunctionModel(lambda q: BOOK.text())
        induce(chat, captions, n=3, batch=2, seed=seed)
        asked.append([q.text for q in chat.history])
    assert asked[0] == asked[1] != asked[2]
    assert len(asked[0]) == 3 and all(text.count("caption ") == 2 for text in asked[0])


def test_a_model_that_says_nothing_usable_is_replaced():
    assert aggregate(ScriptedModel(["no idea"]), [BOOK, BOOK]) == merge([BOOK, BOOK])
    other = RuleBook(anomaly_human=("Running",))
    assert aggregate(ScriptedModel([other.text()]), [BOOK, BOOK]) == other
    assert keywords(ScriptedModel(["no idea"]), BOOK) == keywords_of(BOOK)
    assert keywords(ScriptedModel(["['Van', 'trees', 'walking', 'robbing']"]), BOOK) == ("van", "robbing")
    assert keywords(None, BOOK) == keywords_of(BOOK)


def test_words_are_found_whole_or_as_the_released_code_does():
    assert find("Advance to the cartoon", ("van", "cart")) == ()
    assert find("Advance to the cartoon", ("van", "cart"), whole=False) == ("van", "cart")
    assert find("A van, buses and a vehicle", ("bus", "vans", "vehicles", "riding")) == (
        "bus",
        "vans",
        "vehicles",
    )
    assert find("a trash bin", ("trash bin", "bin")) == ("trash bin", "bin")


TEXT = "two people walking, the first person is walking, a bicycle is nearby"


@pytest.mark.parametrize(
    ("text", "was", "now", "frequent", "out"),
    [
        (TEXT, True, False, "", "two people walking, the first person is walking"),
        (
            TEXT,
            False,
            True,
            "running",
            "two people walking, the first person is running, a bicycle is nearby",
        ),
        (
            TEXT,
            False,
            True,
            "bicycle",
            "two people walking, the first person is riding a bicycle, a bicycle is nearby",
        ),
        (TEXT, True, True, "running", TEXT),
        (TEXT, False, False, "running", TEXT),
        (TEXT, False, True, "", TEXT),
        ("Two people.", False, True, "running", "Two people. One person is running."),
        ("A bicycle. A man, walking, a bicycle.", True, False, "", "A man, walking."),
        ("A bicycle.", True, False, "", ""),
    ],
)
def test_captions_are_mended_by_the_vote(text, was, now, frequent, out):
    assert mended(text, was, now, ["bicycle"], frequent) == out


def test_verdicts_are_read_from_the_last_line():
    replies = ["None. 1.\nOutput: 0", "Rule 1 matches.\nOutput: 1", "I cannot tell", "An anomaly."]
    # What cannot be read is asked for once more, as JSON.
    chat = ScriptedModel([*replies, "I still cannot", {"reasoning": "a van", "output": 1}], repairs=0)
    told = judge(chat, BOOK, ["a", "b", "c", "d"], ["", "van", "", ""])
    assert [verdict for verdict, _ in told] == [0, 1, UNKNOWN, 1]
    assert told[2][1] == "I cannot tell" and "a van" in told[3][1]
    assert [q.schema is None for q in chat.history] == [True] * 4 + [False] * 2
    assert 'found "van"' in chat.history[1].text and "found nothing" in chat.history[0].text


def test_terms_are_doings_and_things():
    said = terms(
        "There are two people. A man in a red jacket is riding a bicycle, another is running to a van."
    )
    assert [(t.word, t.kind) for t in said] == [
        ("riding", "doing"),
        ("bicycle", "thing"),
        ("running", "doing"),
        ("van", "thing"),
    ]
    assert terms("strolling")[0].key == terms("walking")[0].key != terms("running")[0].key


def test_the_rarest_term_decides():
    cover = Cover.of(["a man is walking"] * 8 + ["a man is sitting near a dog"] + [""])
    values, words = cover.surprises(["strolling", "walking and sitting", "a van", "a man", "", "walking"])
    assert words == ["strolling", "sitting", "van", "", "", "walking"]
    most = np.log(10 / 0.5)
    np.testing.assert_allclose(values[:4], [np.log(10 / 8.5) / most, np.log(10 / 1.5) / most, 1, 0])
    assert np.isnan(values[4]) and values[5] == values[0]
    with pytest.raises(InputError, match="captions"):
        Cover.of([""])
