"""The engine over a small gallery on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core import Box, Entry, Facts, InputError, Span
from oddwatch.describe import match
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.sentence import parse
from oddwatch.gallery.store import Gallery
from oddwatch.search.engine import LIKE_SIMILARITY, search

COLORS = ("red", "blue", "green")
POSTURES = ("walking", "lying")


def person(name: str, color: str, posture: str, **changes: object) -> Entry:
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for group, values, true in (("upper.color", COLORS, color), ("posture", POSTURES, posture)):
        for value in values:
            p[INDEX[f"{group}.{value}"]], known[INDEX[f"{group}.{value}"]] = (
                0.95 if value == true else 0.01,
                True,
            )
    p[INDEX["upper.type.jacket"]], known[INDEX["upper.type.jacket"]] = 0.9, True
    facts = Facts(SCHEMA_ID, p, known, {f"upper.color.{color}": Box(1, 2, 3, 4)})
    vector = np.zeros(4, np.float32)
    vector[COLORS.index(color)] = 1.0
    values: dict[str, object] = {
        "id": name, "source": "a.mp4", "kind": "person", "span": Span(0, 2), "time": 1.0, "frame": 25,
        "box": Box(0, 0, 9, 20), "facts": facts, "vectors": {"facts": evidence(facts), "image": vector},
        "thumbnail": b"jpeg",
    }  # fmt: skip
    return Entry(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "g") as opened:
        opened.add([person(f"{c}-{d}", c, d) for c in COLORS[:2] for d in POSTURES])
        yield opened


def test_the_right_person_comes_first_with_the_box_that_shows_it(gallery: Gallery) -> None:
    found = search(gallery, "a man in a red jacket lying", top=3)
    assert found.hits[0].id == "red-lying"
    assert [h.rank for h in found] == [1, 2, 3]
    assert found.answer == "matches"
    red = next(e for e in found.hits[0].reason.evidence if e.words == "red")
    assert red.box == Box(1, 2, 3, 4)
    assert {"parse", "scan", "judge", "total"} <= set(found.timing)


def test_a_hit_says_what_judging_it_alone_says(gallery: Gallery) -> None:
    text = "a man in a blue jacket lying"
    for hit in search(gallery, text):
        facts = gallery.get(hit.id).facts
        assert facts is not None
        alone = match.assess(parse(text), facts)
        assert hit.score == pytest.approx(alone.score)
        assert hit.probability == pytest.approx(alone.probability)
        assert (hit.match, hit.reason.matched) == (alone.match, alone.reason.matched)


def test_a_colour_that_nobody_wears_matches_nobody(gallery: Gallery) -> None:
    found = search(gallery, "a man in a green jacket lying")
    assert found.answer == "nobody matches"
    assert len(found) == 4


def test_hits_below_the_least_probability_are_dropped_and_ranks_close_up(gallery: Gallery) -> None:
    every = search(gallery, "a man in a red jacket lying")
    least = every.hits[1].probability
    assert least is not None
    kept = search(gallery, "a man in a red jacket lying", min_probability=least + 1e-9)
    assert [h.id for h in kept] == ["red-lying"]
    assert search(gallery, "a man in a red jacket lying", min_probability=1.0).answer == "nobody matches"


def test_the_depth_of_judging_does_not_change_the_first(gallery: Gallery) -> None:
    shallow = search(gallery, "a man in a red jacket lying", top=1, depth=1)
    assert shallow.hits[0].id == "red-lying"


def test_a_picture_alone_matches_by_likeness(gallery: Gallery) -> None:
    like = np.array([1, 0, 0, 0], np.float32)
    found = search(gallery, None, like=like)
    assert {h.id for h in found.hits[:2]} == {"red-lying", "red-walking"}
    assert found.answer == "matches" and [h.match for h in found] == [True, True, False, False]
    off = np.array([LIKE_SIMILARITY - 0.05, 0, 0, 0], np.float32)
    off[3] = np.sqrt(1 - off[0] ** 2)
    assert search(gallery, None, like=off).answer == "nobody matches"


def test_a_sentence_and_a_picture_must_both_fit(gallery: Gallery) -> None:
    like = np.array([1, 0, 0, 0], np.float32)
    found = search(gallery, "a man in a red jacket lying", like=like)
    assert found.hits[0].id == "red-lying" and found.hits[0].match
    assert set(found.hits[0].stages) >= {"coarse", "facts", "like", "fused"}
    assert not any(h.match for h in search(gallery, "a man in a blue jacket lying", like=like))


def test_an_entry_without_facts_or_picture_comes_last_and_breaks_nothing(gallery: Gallery) -> None:
    vector = evidence(person("x", "red", "lying").facts)  # type: ignore[arg-type]
    gallery.add([person("bare", "red", "lying", facts=None, vectors={"facts": vector})])
    found = search(gallery, "a man in a red jacket lying", like=np.array([1, 0, 0, 0], np.float32))
    assert len(found) == 5
    assert all(np.isfinite(list(h.stages.values())).all() for h in found)


@pytest.mark.parametrize(("text", "top"), [(None, 10), ("a man", 0)])
def test_nothing_to_search_for_is_said(gallery: Gallery, text: str | None, top: int) -> None:
    with pytest.raises(InputError):
        search(gallery, text, top=top)
