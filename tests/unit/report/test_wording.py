"""Words of the sentence, times and names as shown."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import Query, Slot
from oddwatch.report.wording import clock, printable, wall, words


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "00:00"),
        (59.99, "00:59"),
        (61.5, "01:01"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (36061, "10:01:01"),
        (-2, "00:00"),
    ],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_wall_time_names_its_zone_only_where_known():
    at = datetime(2026, 3, 1, 14, 5, 9)
    assert wall(at) == "2026-03-01 14:05:09"
    assert wall(at.replace(tzinfo=UTC)) == "2026-03-01 14:05:09 UTC"
    assert wall(at.replace(tzinfo=timezone(timedelta(hours=-5)))) == "2026-03-01 14:05:09 -0500"


@given(st.text(st.characters(), max_size=60))
def test_printable_is_always_encodable_and_without_controls(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in shown)
    assert printable(shown) == shown


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=60))
def test_printable_leaves_ordinary_text_alone(text):
    assert printable(text) == text


spans = st.integers(-3, 40)
slots = st.builds(
    Slot, st.text(max_size=6), st.sampled_from(["color", "action", "other", "?"]),
    st.dictionaries(st.sampled_from(["upper.color.red", "posture.lying"]), st.just(1.0)), st.booleans(), st.just("body"), spans, spans,
)  # fmt: skip


@given(st.text(max_size=30), st.lists(slots, max_size=5), st.lists(st.text(max_size=4), max_size=3))
def test_pieces_always_join_to_the_whole_sentence(text, said, unread):
    assert "".join(w.text for w in words(Query(text, tuple(said), unread=tuple(unread)))) == text


def test_slots_are_found_by_their_span_then_by_their_words():
    query = Query(
        "red car, red hat",
        (
            Slot("red", "color", {"head.color.red": 1.0}, start=9, end=12),
            Slot("car", "object", {"near.car": 1.0}),
        ),
    )
    pieces = words(query)
    assert [(w.text, w.slot) for w in pieces if w.slot is not None] == [("car", 1), ("red", 0)]
    assert next(w for w in pieces if w.slot == 0).swatch == "red"


def test_unread_words_are_whole_words():
    pieces = words(Query("a zor of zorples zor", unread=("zor", "of")))
    assert [w.text for w in pieces if w.role == "unread"] == ["zor", "of"]
