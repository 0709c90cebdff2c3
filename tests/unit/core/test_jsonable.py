"""Every word to JSON and back, through a real JSON text."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from oddwatch import core
from oddwatch.core import (
    UNKNOWN,
    Box,
    Card,
    Curve,
    Entry,
    Evidence,
    Facts,
    Finding,
    Hit,
    InputError,
    Jsonable,
    Moment,
    Motion,
    Person,
    Place,
    Pose,
    Query,
    Reason,
    Region,
    Scores,
    Slot,
    Span,
    Track,
    Unknown,
    View,
    from_jsonable,
    to_jsonable,
)

number = st.floats(-1e6, 1e6)
share = st.floats(0, 1)
text = st.text(max_size=8)
count = st.integers(0, 10**6)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), None])
moment_of_day = (
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)) | st.datetimes()
)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


def ordered(cls: type, names: int) -> st.SearchStrategy:
    """Boxes and spans: corners in order."""
    pairs = [st.tuples(number, number).map(sorted) for _ in range(names)]
    return st.tuples(*pairs).map(lambda p: cls(*(lo for lo, _ in p), *(hi for _, hi in p)))


boxes = ordered(Box, 2)
spans = ordered(Span, 1)
masks = arrays.arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(0, 3)))
poses = arrays.arrays(np.float32, (17, 3), elements=st.floats(-1e4, 1e4, width=32)).map(Pose)
people = st.builds(Person, boxes, share, maybe(poses), maybe(count), maybe(masks))
motions = st.builds(Motion, *[number] * 8)
views = st.builds(View, maybe(number), maybe(count), people, share)
slots = st.builds(
    Slot, text, text, st.dictionaries(text, share, max_size=3), st.booleans(), text, count, count, share
)
verdicts = st.sampled_from(["matched", "contradicted", "unknown"])
evidence = st.builds(Evidence, text, verdicts, maybe(text), maybe(share), maybe(boxes), text)
strings = st.lists(text, max_size=3).map(tuple)
reasons = st.builds(Reason, strings, strings, strings, st.lists(evidence, max_size=2).map(tuple))


@st.composite
def facts(draw) -> Facts:
    n = draw(st.integers(0, 6))
    p = draw(arrays.arrays(np.float32, n, elements=st.floats(0, 1, width=32)))
    known = draw(arrays.arrays(np.bool_, n))
    return Facts(draw(text), p, known, draw(st.dictionaries(text, boxes, max_size=2)))


vectors = arrays.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.integers(0, 5),
    elements=st.floats(-8, 8, width=16),
)
tokens = arrays.arrays(np.int8, st.tuples(st.integers(0, 3), st.integers(0, 4)))
kinds = st.sampled_from(["person", "moment"])

places = st.builds(Place, count, text, number, maybe(boxes), maybe(count))


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    n = draw(st.integers(0, 4))
    rows = arrays.arrays(np.float64, n, elements=number)
    times = np.sort(draw(rows))
    return Curve(
        draw(text),
        times,
        draw(rows),
        draw(st.dictionaries(text, rows, max_size=2)),
        tuple(draw(st.lists(places, max_size=2))),
    )


WORDS: dict[type, st.SearchStrategy] = {
    Place: places,
    Curve: curves(),
    Box: boxes,
    Span: spans,
    Region: st.builds(Region, boxes, text, share, maybe(masks)),
    Pose: poses,
    Person: people,
    Motion: motions,
    View: views,
    Track: st.builds(Track, count, spans, st.lists(views, min_size=1, max_size=2).map(tuple), motions, count),
    Moment: st.builds(Moment, maybe(spans), maybe(number), maybe(count), st.lists(people, max_size=2).map(tuple), share, motions),
    Facts: facts(),
    Slot: slots,
    Query: st.builds(Query, text, st.lists(slots, max_size=3).map(tuple), kinds, strings, text),
    Evidence: evidence,
    Reason: reasons,
    Entry: st.builds(
        Entry, text, text, kinds, maybe(spans), maybe(number), maybe(count), maybe(boxes), share, maybe(text),
        maybe(moment_of_day), maybe(text), st.lists(views, max_size=1).map(tuple), maybe(motions), maybe(facts()),
        st.dictionaries(text, vectors, max_size=2), maybe(tokens), maybe(st.binary(max_size=20)),
    ),
    Hit: st.builds(
        Hit, st.integers(1, 99), text, text, kinds, number, maybe(text), maybe(number), maybe(number), maybe(number), maybe(count),
        maybe(boxes), maybe(moment_of_day), maybe(share), st.booleans(), st.dictionaries(text, number, max_size=3), reasons,
    ),
    Scores: st.builds(Scores, arrays.arrays(np.float64, st.integers(0, 5), elements=number), maybe(tokens)),
    Finding: st.builds(Finding, text, text, text, number, maybe(boxes), maybe(spans), maybe(share), maybe(number), text),
    Card: st.builds(Card, text, st.sampled_from(["encoder", "stage"]), st.sampled_from(["video", "text"]), text, claims=st.dictionaries(text, text, max_size=2)),
}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equal with all parts, types and dtypes."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_every_word_is_tested():
    offered = {
        c
        for _, c in inspect.getmembers(core, inspect.isclass)
        if issubclass(c, Jsonable) and c is not Jsonable
    }
    assert offered == set(WORDS)


@pytest.mark.parametrize("word", WORDS, ids=lambda c: c.__name__)
def test_round_trip_through_json_text(word):
    @settings(max_examples=25)
    @given(WORDS[word])
    def trip(value):
        told = json.loads(json.dumps(value.to_json(), allow_nan=False))
        assert same(word.from_json(told), value)

    trip()


def test_the_comparison_used_above_can_fail():
    assert not same(Box(0, 0, 1, 1), Box(0, 0, 1, 2))
    assert not same(np.zeros(2, np.float32), np.zeros(2, np.float64))
    assert not same({"a": (1, 2)}, {"a": (1, 3)})


def test_numbers_that_json_lacks_become_null_and_come_back_as_not_a_number():
    hit = Hit(1, "a", "b", "person", float("inf"))
    told = json.loads(json.dumps(hit.to_json(), allow_nan=False))
    assert told["score"] is None
    assert np.isnan(Hit.from_json(told).score)
    scores = Scores(np.array([1.0, np.nan, -np.inf]))
    assert np.array_equal(Scores.from_json(scores.to_json()).values, [1.0, np.nan, np.nan], equal_nan=True)


def test_hits_print_their_box_as_four_numbers():
    assert Hit(1, "a", "b", "person", 1.0, box=Box(1, 2, 3, 4)).to_json()["box"] == [1, 2, 3, 4]
    assert Hit(1, "a", "b", "person", 1.0).to_json()["box"] is None


def test_hits_inside_other_values_keep_their_own_form():
    told = to_jsonable([Hit(1, "a", "b", "person", 1.0, box=Box(1, 2, 3, 4)).to_json()])
    assert from_jsonable(tuple[Hit, ...], told)[0].box == Box(1, 2, 3, 4)


HIT = Hit(1, "a", "b", "person", 1.0).to_json()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (Box, {"x0": 0, "y0": 0, "x1": 1}),
        (Box, {"x0": 0, "y0": 0, "x1": 1, "y1": "2"}),
        (Box, {"x0": 0, "y0": 0, "x1": 1, "y1": True}),
        (Box, {"x0": 0, "y0": 0, "x1": 1, "y1": None}),
        (Box, {"x0": 0, "y0": 0, "x1": 1, "y1": 1, "z": 1}),
        (Box, [0, 0, 1, 1]),
        (Box, None),
        (Span, {"start": 2, "end": 1}),
        (Hit, None),
        (Hit, {**HIT, "box": [1, 2, 3]}),
        (Hit, {**HIT, "box": "1234"}),
        (Hit, {**HIT, "box": {"x0": 1}}),
        (Hit, {**HIT, "box": 7}),
        (Hit, {**HIT, "kind": "banana"}),
        (Hit, {**HIT, "id": None}),
        (Hit, {**HIT, "rank": 1.5}),
        (Hit, {**HIT, "rank": 0}),
        (Hit, {**HIT, "match": "false"}),
        (Hit, {**HIT, "probability": 1.2}),
        (Hit, {**HIT, "stages": [1]}),
        (Hit, {**HIT, "wall_time": "yesterday"}),
        (Hit, {**HIT, "reason": {"matched": "abc"}}),
        (Query, {"text": "a", "slots": [{"words": "a"}]}),
        (Pose, {"points": {"dtype": "float32", "shape": [17, 3], "values": [0]}}),
        (Pose, {"points": {"dtype": "object", "shape": [1], "values": ["x"]}}),
        (Pose, {"points": {"dtype": "no such", "shape": [1], "values": [1]}}),
        (Pose, {"points": [1, 2]}),
        (Entry, {"thumbnail": "%%%"}),
    ],
)
def test_json_that_does_not_fit_says_so_and_names_the_word(word, told):
    with pytest.raises(InputError) as caught:
        word.from_json(told)
    assert word.__name__.lower() in caught.value.subject.lower()


def test_unknown_is_null_and_comes_back_only_where_the_type_says_so():
    assert to_jsonable(UNKNOWN) is None
    assert from_jsonable(float | Unknown, None) is UNKNOWN
    assert from_jsonable(float | None, None) is None
    assert from_jsonable(float | Unknown | None, None) is None
    assert from_jsonable(float | Unknown, 0.0) == 0.0
    assert from_jsonable(Unknown, None) is UNKNOWN


def test_plain_values():
    class Shade(StrEnum):
        DARK = "dark"

    class Level(Enum):
        LOW = 1

    assert to_jsonable([Shade.DARK, Level.LOW, np.float32(0.5), np.int64(3), np.bool_(True)]) == [
        "dark",
        1,
        0.5,
        3,
        True,
    ]
    assert from_jsonable(Shade, "dark") is Shade.DARK and from_jsonable(Level, 1) is Level.LOW
    assert from_jsonable(list[int], [1, 2]) == [1, 2] and from_jsonable(tuple[int, str], [1, "a"]) == (1, "a")
    assert from_jsonable(Literal["a", 1], 1) == 1
    for kind, wrong in [
        (Level, 9),
        (tuple[int, str], [1]),
        (list[int], "12"),
        (Literal["a"], "b"),
        (dict[str, int], [1]),
    ]:
        with pytest.raises(InputError):
            from_jsonable(kind, wrong)


def test_what_has_no_json_form_is_refused():
    with pytest.raises(InputError, match="object"):
        to_jsonable(object())
