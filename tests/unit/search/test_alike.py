"""People who look like an entry: who may answer, what decides, and what is said; the relative cut of a search."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oddwatch.cli import main
from oddwatch.core import Box, Entry, Facts, InputError, Span, Where
from oddwatch.describe.atoms import ATOMS, GROUPS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import evidence
from oddwatch.describe.priors import PRIOR
from oddwatch.gallery.store import Gallery
from oddwatch.pipeline.models import spaces
from oddwatch.search.alike import LOOKS, MEANING, TERMS, alike, mixed
from oddwatch.search.engine import SearchResult, search

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIM = 384


def facts(**told: str) -> Facts:
    """Facts in which one value of each group told (``upper_color="red"``) is seen, the others of it are not."""
    p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
    for name, value in told.items():
        group = name.replace("_", ".")
        for other in GROUPS[group]:
            i = INDEX[f"{group}.{other}"]
            p[i], known[i] = (0.95 if other == value else 0.01), True
    return Facts(SCHEMA_ID, p, known, {f"upper.color.{told.get('upper_color')}": Box(1, 2, 3, 4)})


def unit(*numbers: float) -> np.ndarray:
    vector = np.zeros(DIM, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def person(name: str, camera: str | None = "a", source: str = "a.mp4", **changes: Any) -> Entry:
    worn = changes.pop("worn", {"upper_color": "red", "lower_color": "blue", "posture": "walking"})
    seen = facts(**worn)
    values: dict[str, Any] = {
        "id": name, "source": source, "kind": "person", "span": Span(0, 2), "time": 1.0, "frame": 25,
        "box": Box(0, 0, 9, 20), "camera": camera, "facts": seen,
        "vectors": {"facts": evidence(seen), "image": unit(1, 0.2)},
    }  # fmt: skip
    return Entry(**{**values, **changes})


RED_EVIDENCE = evidence(facts(upper_color="red", lower_color="blue"))
BLUE = {"upper_color": "blue", "lower_color": "black", "posture": "walking"}


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    """Somebody in red, seen again by this camera and by others; somebody in blue; a moment; one of no camera."""
    with Gallery.open(tmp_path / "g", encoders=spaces()) as opened:
        opened.add([
            person("start", wall_time=NOON),
            person("same-camera", source="a2.mp4", wall_time=NOON + timedelta(hours=1)),
            person("same-source", None),
            person("elsewhere", "b", "b.mp4", wall_time=NOON - timedelta(hours=1)),
            person("lying", "c", "c.mp4", worn={"upper_color": "red", "lower_color": "blue", "posture": "lying"}),
            person("blue", "b", "b.mp4", worn=BLUE),
            person("no-camera", None, "d.mp4"),
            replace(person("moment", "b", "b.mp4"), kind="moment"),
        ])  # fmt: skip
        yield opened


def ids(result: SearchResult) -> set[str]:
    return {hit.id for hit in result}


def test_who_may_answer_across_cameras_sources_or_all(gallery: Gallery) -> None:
    every = {"same-camera", "same-source", "elsewhere", "lying", "blue", "no-camera"}
    assert ids(alike(gallery, "start", top=99)) == every
    assert ids(alike(gallery, "start", top=99, across="sources")) == every - {"same-source"}
    # Without a camera on either side the source stands in for it.
    assert ids(alike(gallery, "start", top=99, across="cameras")) == every - {"same-source", "same-camera"}
    assert ids(alike(gallery, "no-camera", top=99, across="cameras")) == (every | {"start"}) - {"no-camera"}
    assert ids(alike(gallery, "same-source", top=99, across="cameras")) == every - {"same-source"}


def test_filters_work_backwards_in_time_and_by_camera(gallery: Gallery) -> None:
    assert ids(alike(gallery, "start", where=Where(before=NOON))) == {"elsewhere"}
    assert ids(alike(gallery, "start", where=Where(after=NOON + timedelta(minutes=1)))) == {"same-camera"}
    assert ids(alike(gallery, "start", where=Where(camera="c"))) == {"lying"}
    nobody = alike(gallery, "start", where=Where(camera="a", source="b.mp4"))
    assert (len(nobody), nobody.answer) == (0, "nobody matches")


def test_looks_decide_and_posture_does_not(gallery: Gallery) -> None:
    found = {hit.id: hit for hit in alike(gallery, "start", top=99)}
    assert found["blue"].rank == len(found)
    best = found["elsewhere"]
    assert best.stages["looks"] > 0.8 > 0.4 > found["blue"].stages["looks"]
    assert best.score == pytest.approx(mixed(best.stages)) == best.stages["alike"]
    assert not {g for g in LOOKS if g.startswith(("posture", "action", "arms", "place", "frame", "company"))}
    upright = {"upper_color": "red", "lower_color": "blue", "posture": "standing", "facing": "away"}
    gallery.add([person("lying", "c", "c.mp4", worn=upright)])
    again = next(hit for hit in alike(gallery, "start", top=99) if hit.id == "lying")
    assert again.score == pytest.approx(found["lying"].score)


def test_those_alike_are_found_though_their_pictures_are_not(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", encoders=spaces()) as many:
        twin = person("twin", "b", "b.mp4", vectors={"facts": RED_EVIDENCE, "image": unit(-1)})
        blue = evidence(facts(**BLUE))
        others = [
            person(f"{i}", "b", "b.mp4", worn=BLUE, vectors={"facts": blue, "image": unit(1, i / 50)})
            for i in range(20)
        ]
        many.add([person("start"), twin, *others])
        assert alike(many, "start", top=1, depth=2, across="cameras")[0].id == "twin"


def test_what_a_camera_does_to_everybody_is_taken_off(tmp_path: Path) -> None:
    """Forty people are seen again, half of them by a camera that sees everybody through one coloured glass."""
    rng = np.random.default_rng(5)
    at = [INDEX[f"{g}.{v}"] for g in ("upper.color", "lower.color", "upper.type") for v in GROUPS[g]]
    glass = rng.normal(0, 3.0, len(at))

    def seen(name: str, odds: np.ndarray) -> Entry:
        p, known = PRIOR.copy(), np.zeros(len(ATOMS), bool)
        known[at] = True
        p[at] = 1 / (1 + np.exp(-odds - np.log(PRIOR[at] / (1 - PRIOR[at]))))
        told = Facts(SCHEMA_ID, p, known)
        vectors = {"facts": evidence(told), "image": unit(1)}
        return person(name, name[0], f"{name[0]}.mp4", facts=told, vectors=vectors)

    with Gallery.open(tmp_path / "g", encoders=spaces()) as g:
        for i in range(40):
            odds = rng.normal(0, 1.0, len(at))
            again = odds + (glass if i % 2 else 0) + rng.normal(0, 0.5, len(at))
            g.add([seen(f"a{i:02d}", odds), seen(f"{'bc'[i % 2]}{i:02d}", again)])
        found = [alike(g, f"a{i:02d}", top=1, across="cameras")[0].id for i in range(40)]
        assert sum(int(name[1:]) == i for i, name in enumerate(found)) >= 38


def test_what_is_not_known_counts_as_a_strangers(gallery: Gallery) -> None:
    assert mixed({}) == 0 == mixed({name: term.mean for name, term in TERMS.items()})
    gallery.add([person("bare", "b", facts=None), person("unseen", "b", worn={"posture": "lying"})])
    found = {hit.id: hit for hit in alike(gallery, "start", top=99)}
    for name in ("bare", "unseen"):
        assert set(found[name].stages) == {"like", "alike"}
        assert found[name].score == pytest.approx(mixed({"like": found[name].stages["like"]}))
        assert found[name].score < found["elsewhere"].score
        assert found[name].reason.unknown == ("red top", "blue below")
    blind = person("blind", "b", "b.mp4")
    gallery.add([replace(blind, vectors={"facts": blind.vectors["facts"]})])
    hit = next(hit for hit in alike(gallery, "start", top=99) if hit.id == "blind")
    assert set(hit.stages) == {"looks", "alike"} and np.isfinite(hit.score)
    # Who shows nothing is compared by the pictures alone.
    assert all(set(hit.stages) == {"like", "alike"} for hit in alike(gallery, "bare"))


def test_similarity_is_never_called_a_match(gallery: Gallery) -> None:
    result = alike(gallery, "start", across="cameras")
    assert result.answer == "similar"
    assert not any(hit.match for hit in result) and all(hit.probability is None for hit in result)
    data = result.to_json()
    assert data["like"] == {"entry": "start", "across": "cameras", "meaning": MEANING}
    assert data["answer"] == "similar" and "not identity" in data["like"]["meaning"]
    assert "like" not in search(gallery, "a man in red").to_json()


def test_the_reason_names_what_both_wear(gallery: Gallery) -> None:
    found = {hit.id: hit.reason for hit in alike(gallery, "start", top=99)}
    assert found["elsewhere"].matched == ("red top", "blue below")
    assert found["blue"].contradicted == ("red top", "blue below")
    red = found["elsewhere"].evidence[0]
    assert (red.atom, red.box) == ("upper.color.red", Box(1, 2, 3, 4))


def test_the_scan_goes_deeper_until_enough_may_answer(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", encoders=spaces()) as many:
        near = [person(f"near{i:02d}", vectors={"image": unit(1, 0.2)}) for i in range(30)]
        far = [person(f"far{i}", "b", vectors={"image": unit(0.2, 1, i)}) for i in range(3)]
        many.add([*near, *far])
        found = alike(many, "near00", top=2, depth=2, across="cameras")
        # Of the others, the two nearest pictures; not fewer, though 29 of this camera stand before them.
        assert ids(found) == {"far0", "far1"}


@pytest.mark.parametrize(
    ("id", "options", "words"),
    [
        ("nobody", {}, "nobody"),
        ("moment", {}, "moment"),
        ("start", {"top": 0}, "top"),
        ("start", {"across": "towns"}, "across"),
        ("start", {"where": Where(kind="moment")}, "people"),
    ],
)
def test_what_cannot_be_compared_is_said(
    gallery: Gallery, id: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        alike(gallery, id, **options)


def test_an_entry_without_a_picture_cannot_start(gallery: Gallery) -> None:
    bare = person("bare")
    gallery.add([replace(bare, vectors={"facts": bare.vectors["facts"]})])
    with pytest.raises(InputError, match="vector"):
        alike(gallery, "bare")


def test_the_relative_cut_keeps_the_best_and_ranks_anew(gallery: Gallery) -> None:
    every = search(gallery, "somebody in red", top=99)
    p = [hit.probability or 0.0 for hit in every]
    assert p[0] > p[-1] > 0
    assert len(every.kept_within(0)) == len(every)
    cut = every.kept_within(1)
    assert cut[0].id == every[0].id and all(h.probability == max(p) for h in cut)
    between = p[-1] / p[0] + 1e-6
    kept = every.kept_within(between)
    assert [h.rank for h in kept] == list(range(1, len(kept) + 1)) and len(cut) <= len(kept) < len(every)
    assert "blue" not in ids(kept) and kept.answer == every.answer
    with pytest.raises(InputError, match="share"):
        every.kept_within(1.5)
    with pytest.raises(InputError, match="probability"):
        alike(gallery, "start").kept_within(0.5)
    assert len(replace(every, hits=()).kept_within(0.5)) == 0


@pytest.fixture
def cli(gallery: Gallery, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable:
    """``cli("--top", 3)``: oddwatch search over the gallery; its status, output and errors."""
    gallery.close()

    def run(*arguments: object) -> tuple[int, str, str]:
        given = ["oddwatch", "search", "--gallery", str(gallery.path), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", given)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capfd.readouterr()

    return run


def test_the_command_says_that_it_is_no_identity(cli: Callable) -> None:
    status, out, _ = cli("--like-entry", "start", "--across", "cameras")
    first, *lines = out.splitlines()
    assert status == 0 and "start" in first and "similarity of looks, not identity" in first
    assert len(lines) == 4 and "*" not in out and "match" not in out
    assert "+red top" in lines[0] and "-red top" in lines[-1]
    status, out, _ = cli("--like-entry", "start", "--before", NOON.isoformat(), "--json")
    data = json.loads(out)
    assert [hit["id"] for hit in data["hits"]] == ["elsewhere"] and data["answer"] == "similar"
    assert data["like"]["meaning"] == MEANING and data["hits"][0]["match"] is False
    status, out, _ = cli("--like-entry", "start", "--camera", "none")
    assert status == 0 and out.startswith("nobody else to compare with")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a man in red", "--like-entry", "start"], "sentence"),
        (["--like-entry", "start", "--stages", "coarse"], "--stages"),
        (["--like-entry", "start", "--min-probability", "0.5"], "--min-probability"),
        (["--like-entry", "start", "--kind", "moment"], "moment"),
        (["--like-entry", "start", "--across", "towns"], "cameras"),
        (["--like-entry", "who"], "gallery list"),
        (["a man in red", "--across", "cameras"], "--like-entry"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(cli: Callable, arguments: list[str], words: str) -> None:
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1 and words in err


def test_the_command_cuts_relative_to_the_best(cli: Callable) -> None:
    every = json.loads(cli("somebody in red", "--json")[1])["hits"]
    kept = json.loads(cli("somebody in red", "--keep-within", "0.9", "--json")[1])["hits"]
    best = max(hit["probability"] for hit in every)
    assert [h["id"] for h in kept] == [h["id"] for h in every if h["probability"] >= 0.9 * best]
    assert 0 < len(kept) < len(every)
