"""Entries in, entries out; removing; information; other encoders and formats."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core import (
    Box,
    EncoderMismatch,
    Entry,
    Finding,
    GalleryError,
    InputError,
    Person,
    Span,
    View,
    Where,
)
from oddwatch.gallery import Gallery, SourceInfo

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def same(a: Entry, b: Entry) -> None:
    for name in [
        "id",
        "source",
        "kind",
        "span",
        "time",
        "frame",
        "box",
        "score",
        "camera",
        "wall_time",
        "label",
        "motion",
        "thumbnail",
    ]:
        assert getattr(a, name) == getattr(b, name), name
    assert len(a.views) == len(b.views)
    for x, y in zip(a.views, b.views, strict=True):
        assert (x.time, x.frame, x.quality, x.person.box, x.person.score, x.person.track) == (
            y.time, y.frame, y.quality, y.person.box, y.person.score, y.person.track,
        )  # fmt: skip
        assert np.array_equal(x.person.pose.points, y.person.pose.points)
    assert a.facts.schema == b.facts.schema and a.facts.boxes == b.facts.boxes
    assert np.array_equal(a.facts.known, b.facts.known)
    np.testing.assert_allclose(a.facts.p, b.facts.p, atol=5e-4)
    assert np.array_equal(a.tokens, b.tokens) and a.tokens.dtype == b.tokens.dtype
    assert a.vectors.keys() == b.vectors.keys()
    for space in a.vectors:
        scale = np.abs(a.vectors[space]).max()
        np.testing.assert_allclose(a.vectors[space], b.vectors[space], atol=scale / 200)


def test_what_goes_in_comes_out(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        assert g.add([make(1), make(2)]) == 2
        same(make(1), g.get("e00001"))
    with Gallery.open(tmp_path / "g", readonly=True) as g:
        same(make(2), g.get("e00002"))
        assert len(g) == 2


def test_a_bare_entry_and_a_name_that_is_not_utf8(tmp_path):
    path = "/media/caf\udce9.mp4"
    entry = Entry("x", path, "moment", None, None, None, None)
    with Gallery.open(tmp_path / "g") as g:
        g.add([entry])
        found = g.get("x")
        assert found.source == path and found.box is None and found.span is None
        assert found.facts is None and found.views == () and dict(found.vectors) == {}
        assert path in g.info()["sources"]
        assert [e.id for e in g.entries(Where(source=path))] == ["x"]
        assert g.verify()["ok"]


def test_numbers_of_numpy_are_stored_as_numbers(tmp_path):
    f, i = np.float32, np.int64
    person = Person(Box(f(1), f(2), f(3), f(4)), f(0.5), None, i(7))
    entry = Entry(
        "x", "/m", "person", Span(f(1), f(2)), f(1.5), i(37), Box(f(1), f(2), f(3), f(4)), f(0.5),
        wall_time=START, views=(View(f(1.5), i(37), person, f(0.5)),),
    )  # fmt: skip
    with Gallery.open(tmp_path / "g") as g:
        state = g.begin_source("/m", "h", {"fps": f(2)}, SourceInfo(width=i(640), duration=f(2.5)))
        g.checkpoint(state, [entry], {"next": i(3), "box": np.zeros(2)}, f(2))
        found = g.get("x")
        assert (found.time, found.frame, found.box) == (1.5, 37, Box(1, 2, 3, 4))
        assert found.views[0].person.track == 7 and found.span == Span(1, 2)
        state = g.begin_source("/m", "h", {"fps": 2.0}, SourceInfo(width=640, duration=2.5))
        assert (state.status, state.until, state.tracker_state["next"]) == ("resume", 2.0, 3)
        assert (state.info.width, state.info.duration) == (640, 2.5)
        with pytest.raises(InputError, match="kind"):
            g.add([Entry("y", "/m", "thing", None, None, None, None)])


def test_adding_an_id_again_replaces_it(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i) for i in range(5))
        before = g.verify()["content_hash"]
        g.add([make(3)])
        assert len(g) == 5 and g.verify()["content_hash"] == before
        g.add([make(3, label="new"), make(9), make(9, label="last")])
        assert g.get("e00003").label == "new" and g.get("e00009").label == "last"
        assert len(g) == 6
        ids, _ = g.search("image", make(3).vectors["image"], 10)
        assert sorted(ids) == sorted(set(ids)) and len(ids) == 6


def test_entries_come_by_source_then_time_and_many_by_id(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add([make(3, "/b"), make(2, "/b"), make(5, "/a"), make(1, "/b")])
        assert [e.id for e in g.entries()] == ["e00005", "e00001", "e00002", "e00003"]
        assert [e.id for e in g.get_many(["e00003", "none", "e00001"])] == ["e00003", "e00001"]
        bare = next(g.entries(full=False))
        assert bare.facts is None and bare.box == make(5).box
        with pytest.raises(InputError, match="none"):
            g.get("none")


@pytest.mark.parametrize("bad", ["", "a\0b", "x" * 129, "\udce9"])
def test_an_id_that_cannot_be_stored(tmp_path, make, bad):
    with Gallery.open(tmp_path / "g") as g:
        with pytest.raises(InputError, match="entry id"):
            g.add([make(1), make(2, id=bad)])
        assert len(g) == 0


def test_vectors_that_cannot_be_stored(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        for bad in (np.full(16, np.nan), np.full(16, 1e6), np.ones((2, 8))):
            with pytest.raises(InputError, match="image"):
                g.add([make(1, vectors={"image": bad})])
        assert len(g) == 0


def test_removing_by_what_was_named(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add([make(i, f"/m/{i % 2}.mp4") for i in range(20)])
        g.add_findings([Finding("f0", "fall", "/m/0.mp4", 1.0), Finding("f1", "fall", "/m/1.mp4", 1.0)])
        assert g.remove(ids=["e00000", "no such"]) == 1
        assert g.remove(before=START + timedelta(seconds=5)) == 2  # 1, 2 ended before; 0 is gone
        assert g.remove(camera="cam3", source="1.mp4") == 5
        assert g.source_state("/m/1.mp4") is not None
        assert g.remove(source="0.mp4") == 8
        assert [f.id for f in g.findings()] == ["f1"]
        assert g.source_state("/m/0.mp4") is None
        with pytest.raises(InputError):
            g.remove()
        assert g.remove(camera="none") == 0 and len(g) == 4
        ids, _ = g.search("image", make(9).vectors["image"], 50)
        assert sorted(ids) == [f"e{i:05d}" for i in (5, 9, 13, 17)]


def test_what_was_removed_is_gone_from_the_disk(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        secret = b"a face nobody may keep" * 20
        g.add([make(i) for i in range(30)] + [make(99, thumbnail=secret)])
        g.optimize()
        g.remove(ids=["e00099"])
        held = b"".join(f.read_bytes() for f in (tmp_path / "g").rglob("*") if f.is_file())
        assert secret not in held and b"e00099" not in held


def test_information(tmp_path, make):
    with Gallery.open(tmp_path / "g", encoders={"facts": "F1", "image": "I1"}) as g:
        g.add(make(i) for i in range(8))
        state = g.begin_source("/media/bad.mp4", "h", {}, SourceInfo(kind="video", camera="cam9"))
        g.fail_source(state, "no video stream")
        info = g.info()
    assert json.loads(json.dumps(info)) == info
    assert info["entries"] == 8 and info["kinds"] == {"moment": 3, "person": 5}
    assert info["cameras"] == {f"cam{i}": 2 for i in range(4)}
    assert info["encoders"]["image"] == {"id": "I1", "dim": 16}
    assert info["problems"] == [{"source": "/media/bad.mp4", "problem": "no video stream"}]
    assert info["from"] == "2026-03-01T12:00:00+00:00" and info["to"] == "2026-03-01T12:00:09.500000+00:00"
    assert info["bytes"] > 0 and info["status"] == {"done": 1, "indexing": 0, "failed": 1}


def test_findings_keep_their_ids_and_replace(tmp_path):
    finding = Finding("f1", "fall", "/m/a.mp4", 2.0, Box(1, 2, 3, 4), Span(1, 2), 0.5, reason="lies still")
    with Gallery.open(tmp_path / "g") as g:
        g.add_findings([finding, Finding("f2", "crowd", "/m/b.csv", 1.0)])
        g.add_findings([finding])
        assert (
            g.findings(task="fall") == [finding] or g.findings(task="fall")[0].to_json() == finding.to_json()
        )
        assert [f.id for f in g.findings()] == ["f1", "f2"]
        assert [f.id for f in g.findings(source="/m/b.csv")] == ["f2"]


def test_another_encoder_is_refused(tmp_path, make):
    with Gallery.open(tmp_path / "g", encoders={"facts": "F1", "image": "I1"}) as g:
        g.add([make(1)])
        with pytest.raises(EncoderMismatch, match="8"):
            g.add([make(2, vectors={"image": np.ones(8)})])
        with pytest.raises(EncoderMismatch, match="16"):
            g.search("image", np.ones(8), 1)
        assert len(g) == 1
    with pytest.raises(EncoderMismatch, match="I1"):
        Gallery.open(tmp_path / "g", encoders={"image": "I2"})
    with Gallery.open(tmp_path / "g", encoders={"image": "I1"}) as g:
        assert g.spaces()["facts"].encoder == "F1"


def test_an_encoder_may_change_while_there_are_no_vectors(tmp_path):
    Gallery.open(tmp_path / "g", encoders={"image": "I1"}).close()
    with Gallery.open(tmp_path / "g", encoders={"image": "I2"}) as g:
        assert g.spaces()["image"].encoder == "I2"


def test_no_gallery(tmp_path):
    for options in ({"create": False}, {"readonly": True}):
        with pytest.raises(GalleryError, match="oddwatch index"):
            Gallery.open(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_a_newer_format(tmp_path):
    Gallery.open(tmp_path / "g").close()
    with sqlite3.connect(tmp_path / "g" / "gallery.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(GalleryError, match=r"newer.*99.*update"):
        Gallery.open(tmp_path / "g")


def test_something_else_at_that_place(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "gallery.sqlite").write_text("not a database, but long enough to be read as one" * 9)
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / "gallery.sqlite") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    for name in ("text", "other"):
        with pytest.raises(GalleryError, match="not a"):
            Gallery.open(tmp_path / name)
    (tmp_path / "file").write_text("x")
    with pytest.raises(GalleryError):
        Gallery.open(tmp_path / "file")


def test_a_damaged_database_says_so(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i) for i in range(300))
    file = Path(tmp_path / "g" / "gallery.sqlite")
    data = bytearray(file.read_bytes())
    data[8192 * 3 :] = b"\xa5" * (len(data) - 8192 * 3)
    file.write_bytes(data)
    with pytest.raises(GalleryError, match="damaged"), Gallery.open(tmp_path / "g") as g:
        list(g.entries())


def test_reading_only(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add([make(1)])
    with Gallery.open(tmp_path / "g", readonly=True) as g:
        for call in (
            lambda: g.add([make(2)]),
            lambda: g.remove(ids=["e00001"]),
            lambda: g.begin_source("/x", "h"),
        ):
            with pytest.raises(GalleryError, match="reading only"):
                call()
        assert g.search("image", make(1).vectors["image"], 1)[0] == ["e00001"]


def test_closed(tmp_path):
    g = Gallery.open(tmp_path / "g")
    g.close()
    g.close()
    with pytest.raises(GalleryError, match="closed"):
        g.info()


def test_verify_finds_what_is_wrong(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i) for i in range(5))
        assert g.verify()["ok"]
        with sqlite3.connect(tmp_path / "g" / "gallery.sqlite") as db:
            db.execute("UPDATE vectors SET data=x'00' WHERE entry=1")
            db.execute("PRAGMA foreign_keys=OFF")
            db.execute("DELETE FROM entries WHERE n=2")
        db.close()
        report = g.verify()
    assert not report["ok"]
    assert any("not 32 bytes" in p for p in report["problems"])
    assert any("lost its parent" in p for p in report["problems"])


def test_the_content_hash_knows_content_only(tmp_path, make):
    def fill(name: str, order: list[int], folder: str, **changes) -> str:
        with Gallery.open(tmp_path / name) as g:
            for i in order:
                g.add([make(i, f"{folder}/yard.mp4", **changes)])
            return g.verify()["content_hash"]

    first = fill("a", [1, 2, 3], "/here")
    assert fill("b", [3, 1, 2, 1], "/elsewhere") == first
    assert fill("c", [1, 2], "/here") != first
    assert fill("d", [1, 2, 3], "/here", label="x") != first
    assert fill("e", [1, 2, 3], "/here", thumbnail=b"x") != first


def test_facts_of_many_entries_are_those_of_each(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add([make(1), make(2), make(3, facts=None)])
        ids, p, known = g.facts_of(["e00002", "none", "e00003", "e00001"], "s1")
        assert ids == ["e00002", "e00001"]
        for row, name in enumerate(ids):
            whole = g.get(name).facts
            assert np.array_equal(p[row], whole.p) and np.array_equal(known[row], whole.known)
        assert g.facts_of([], "s1")[0] == []
        with pytest.raises(GalleryError, match="index the media again"):
            g.facts_of(["e00001"], "s2")
        (light,) = g.get_many(["e00001"], full=False, facts=True)
        assert (
            light.thumbnail is None and not light.vectors and light.facts.boxes == g.get("e00001").facts.boxes
        )
