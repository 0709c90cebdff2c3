"""Answers as models write them: read, or UNKNOWN; never an exception."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import UNKNOWN
from oddwatch.language import grammars

TITLES = {
    "normal": re.compile(r"\bnormal\b", re.I),
    "anomaly": re.compile(r"\banomal", re.I),
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[0.7]", 0.7),
        ("The score is [0.3].", 0.3),
        ("[1]", 1.0),
        ("0.7", UNKNOWN),
        ("[]", UNKNOWN),
        ("[0.2, 0.5]", UNKNOWN),
        ("[-0.2]", UNKNOWN),
        ("[0.2, 0.5] or [ 0.4 ]", 0.4),
        ("<think>[0.9]</think>[0.1]", 0.1),
    ],
)
def test_a_number_in_brackets_of_its_own(text, value):
    assert grammars.number(text) == value


def test_a_number_above_the_most_is_none():
    assert grammars.number("[7]", most=1) is UNKNOWN
    assert grammars.number("[7]") == 7.0


@pytest.mark.parametrize(
    ("text", "plain", "compat"),
    [
        ("Output: 1", 1, 1),
        ("Output:\n0", 0, 0),
        ("nothing odd, so 0", 0, 0),
        ("", UNKNOWN, 1),
        ("Output: 10", UNKNOWN, 0),
        ("1. Nobody runs.\nOutput: 0", 0, 0),
        ("Output: 0\nThat was wrong.\nOutput: 1", 1, 1),
        ("Output: 1 (sure to 0.9)", 1, 0),
        ("output is 1.", 1, 1),
        ("Output: yes", UNKNOWN, 1),
    ],
)
def test_the_digit_after_the_last_marker(text, plain, compat):
    assert grammars.digit_after(text) == plain
    assert grammars.digit_after(text, compat=True) == compat


def test_the_first_lines_after_a_marker():
    seven = "Why\n**New questions:**\n" + "\n\n".join(f"{i}. Is it {i}?" for i in range(1, 8))
    assert grammars.lines_after(seven, "new questions") == tuple(f"Is it {i}?" for i in range(1, 6))
    assert grammars.lines_after("1. Is it?", "new questions") is UNKNOWN
    assert grammars.lines_after("New questions:\n --- \n", "new questions") is UNKNOWN


def test_lists_under_titles():
    text = (
        "Here they are, with normal ones first:\n**Normal things:**\n1. Walking\n2. A normal bin.\n\n"
        "## Anomalous things\n- **Running**\nthat is fast\n- Riding\n"
    )
    assert grammars.titled_lists(text, TITLES) == {
        "normal": ("Walking", "A normal bin"),
        "anomaly": ("Running", "Riding"),
    }
    assert grammars.titled_lists("Anomalies:\nrunning\nriding", TITLES) == {
        "normal": (),
        "anomaly": ("running", "riding"),
    }
    # A model that cannot end repeats itself.
    endless = "Anomalies:\n" + "- Running\n- Riding\n" * 30
    assert grammars.titled_lists(endless, TITLES)["anomaly"] == ("Running", "Riding")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("['Running', \"van\", 'running']", ("running", "van")),
        ("Sure:\n```python\nwords = ['van', 'cart',]\n```", ("van", "cart")),
        ("['van', 'ca", ("van",)),
        ("1. van\n2. cart", ("van", "cart")),
        ("van and cart", UNKNOWN),
        ("[1, 2]", UNKNOWN),
    ],
)
def test_a_list_of_words(text, found):
    assert grammars.words(text) == found


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ('```json\n{"description": "a", "reasoning": "b", "anomaly": 1}\n```', 1),
        ('{"anomaly": 0} // nothing happens', 0),
        ("{'anomaly': 1, 'reasoning': 'it burns'}", 1),
        ('{"anomaly": "1"}', 1),
        ('{"anomaly": true}', 1),
    ],
)
def test_a_flag_in_json(text, flag):
    assert grammars.flagged(text).anomaly == flag


@pytest.mark.parametrize("text", ['{"reasoning": "it burns"}', '{"anomaly": 2}', "anomaly", "", "{"])
def test_no_flag_is_unknown(text):
    assert grammars.flagged(text) is UNKNOWN


def test_the_last_filled_line():
    assert grammars.last_line('Summary:\n\n "Two people walk." \n```\n') == "Two people walk."
    assert grammars.last_line(" \n") is UNKNOWN
    assert (
        grammars.last_line("Two people walk. " + "One sits. " * 60 + "One")
        == "Two people walk. One sits. One"
    )
    assert len(grammars.last_line("walk " * 900)) <= grammars.LONGEST_LINE


@given(st.text(alphabet=st.sampled_from("[]{}()'\",.:01 \n-*#aoutpnewq<>/"), max_size=200))
def test_no_answer_is_an_exception(text):
    assert grammars.number(text) is UNKNOWN or grammars.number(text) >= 0
    assert grammars.digit_after(text) in (0, 1, UNKNOWN)
    assert grammars.digit_after(text, compat=True) in (0, 1)
    for found in (grammars.lines_after(text, "new"), grammars.words(text), grammars.last_line(text)):
        assert found is UNKNOWN or len(found) > 0
    assert set(grammars.titled_lists(text, TITLES)) == set(TITLES)
    flag = grammars.flagged(text)
    assert flag is UNKNOWN or flag.anomaly in (0, 1)
