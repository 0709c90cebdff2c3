"""Reading what models write: every dress of JSON and lists, and nothing ever raises."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from oddwatch.core import UNKNOWN
from oddwatch.language import lenient
from oddwatch.language.parsing import YesNo, items, known, listing, read


class Match(BaseModel):
    match: float = Field(ge=0, le=1)
    why: str = ""


class Score(BaseModel):
    score: int = Field(ge=0, le=10)


class Sure(BaseModel):
    sure: bool


class Odd(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def no_word_is_good(cls, word: str) -> str:
        raise TypeError(word)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
NESTED = st.lists(PLAIN, max_size=4) | st.dictionaries(st.text(max_size=8), PLAIN, max_size=4)
FEW = settings(max_examples=60, deadline=None)
WORDS = [*"{}[]\"',:;.\\/#*`-+eE01 \n", "true", "NaN", "```json", "UNKNOWN", "1. "]
MESSY = st.lists(st.sampled_from(WORDS)).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.text() | MESSY)
def test_nothing_raises(text):
    list(lenient.values(text))
    assert len(items(text, 4)) == 4
    for schema in (Match, Score, Sure, YesNo, Odd, listing(3)):
        found, problem = read(text, schema)
        assert (found is UNKNOWN) == bool(problem)
        assert found is UNKNOWN or isinstance(found, schema)


@FEW
@given(NESTED, st.data())
def test_a_cut_anywhere_raises_nothing_and_invents_nothing(value, data):
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(0, len(text)))]
    for found in lenient.values(cut):
        assert _strings(found) <= _strings(value)


def _strings(value) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_strings, value.values()))
    if isinstance(value, list):
        return set().union(*map(_strings, value))
    return {value} if isinstance(value, str) else set()


@FEW
@given(
    NESTED.filter(bool),
    st.sampled_from(["{}", "```json\n{}\n```", "So:\n{}\nDone."]),
)
def test_json_is_found_in_any_dress(value, dress):
    assert next(lenient.values(dress.replace("{}", json.dumps(value)))) == value


@FEW
@given(NESTED.filter(bool))
def test_the_lenient_reader_reads_strict_json_too(value):
    # A trailing comma keeps the strict reader out.
    text = "[" + json.dumps(value) + ",]"
    assert next(lenient.values(text)) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': True, 'b': None,}", {"a": True, "b": None}),
        ('{"a": 1, // one\n "b": 2 /* two */}', {"a": 1, "b": 2}),
        ('{a: "x", b: UNKNOWN}', {"a": "x", "b": "UNKNOWN"}),
        ('{"a": [1, 2', {"a": [1]}),
        ('{"a": "x", "b": "y', {"a": "x"}),
        ('{"a": 0.1', {}),
        ('{"a": {"b": 1}, "c"', {"a": {"b": 1}}),
        ("“x” [“red”, “blue”]", ["red", "blue"]),
        ("<think>[1]</think>[2, 3]", [2, 3]),
        ('[1] and {"a": 2}', [1]),
        (r'["a\"b", "\u00e9", "\n",]', ['a"b', "é", "\n"]),
        ('["\\ud800",]', ["�"]),
    ],
)
def test_dialects(text, value):
    assert next(lenient.values(text)) == value


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, '{"a":' * 50_000, "[1," * 100_000, "1" * 200_000]
)
def test_deep_and_long_text_ends_soon(text):
    list(lenient.values(text))
    assert read(text, Match)[0] is UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "falling; red, UNKNOWN",
        '["falling", "red", "UNKNOWN"]',
        '["falling", "red", null]',
        '["falling", "red", "UNKNO',
        '["falling", "red"',
        "[falling, red, UNKNOWN]",
        "1. falling\n2. red\n3. UNKNOWN",
        "1) falling 2) red 3) UNKNOWN",
        "- falling\n- red\n- unknown.",
        "Here are the words:\n1. **falling**\n2. **red**\n3. cannot tell\nAnything else?",
        "falling\nred\nnot visible",
        "falling | red | ?",
        "VERB: falling, COLOR: red, VERB: UNKNOWN",
        "<VERB>: falling\n<COLOR>: red\n<VERB>: UNKNOWN",
        '{"items": ["falling", "red", "unknown"]}',
        '{"1": "falling", "2": "red", "3": "N/A"}',
        '[{"slot": 1, "word": "falling"}, {"slot": 2, "word": "red"}, {"slot": 3, "word": "UNKNOWN"}]',
        "```\nfalling, red, UNKNOWN\n```",
        "falling, red, UNKNOWN, and, more",
    ],
)
def test_lists_however_written_give_as_many_entries(text):
    assert items(text, 3) == ("falling", "red", UNKNOWN)
    parsed, _ = read(text, listing(3))
    assert parsed.items == ["falling", "red", "UNKNOWN"]


def test_phrases_stay_whole():
    assert items("1. falling off\n2. dark-blue", 2) == ("falling off", "dark-blue")


def test_one_entry_of_several():
    for text in ("1. falling", '["falling"', "UNKNOWN"):
        first = "UNKNOWN" if text == "UNKNOWN" else "falling"
        assert read(text, listing(3))[0].items == [first, "UNKNOWN", "UNKNOWN"]
    assert read("falling", listing(1))[0].items == ["falling"]


@pytest.mark.parametrize(
    "text", ["I am sorry, I cannot see any picture in this message.", "falling", "", "{}", '{"error": "x"}']
)
def test_prose_is_no_list(text):
    assert read(text, listing(3))[0] is UNKNOWN


@pytest.mark.parametrize(
    "text", ["", " ", "UNKNOWN", "unknown.", '"Unknown"', "N/A", "null", "cannot tell", "not sure", "?"]
)
def test_wordings_of_unknown(text):
    assert known(text) is UNKNOWN


def test_words_that_only_look_unknown():
    assert known("nonexistent") == "nonexistent" and known("unknown red") == "unknown red"


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("7", Score, Score(score=7)),
        ("Score: 7", Score, Score(score=7)),
        ('{"score": 7}', Score, Score(score=7)),
        ("11", Score, UNKNOWN),
        ("between 3 and 4", Score, UNKNOWN),
        ("Yes, it does.", YesNo, YesNo(answer="yes")),
        ('{"answer": "No."}', YesNo, YesNo(answer="no")),
        ("Perhaps yes", YesNo, UNKNOWN),
        ("true", Sure, Sure(sure=True)),
        ("No", Sure, Sure(sure=False)),
        ('[{"match": 0.2}]', Match, Match(match=0.2)),
        ('{"result": {"match": 0.2}}', Match, Match(match=0.2)),
        ('{"match": 2} or rather {"match": 0.2}', Match, Match(match=0.2)),
        ('{"match": Infinity}', Match, UNKNOWN),
        ('{"match": 1e999}', Match, UNKNOWN),
    ],
)  # fmt: skip
def test_values(text, schema, value):
    assert read(text, schema)[0] == value


def test_choices_in_another_spelling():
    class Kind(BaseModel):
        kind: Literal["VERB", "COLOR"]
        word: str

    assert read('{"kind": "verb", "word": "Red"}', Kind)[0] == Kind(kind="VERB", word="Red")
