"""Indexing a source: free when unchanged, resumed when broken off, replaced at once when changed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from oddwatch.core import Finding, GalleryError, Where
from oddwatch.gallery import Gallery, SourceInfo

PATH = "/media/yard.mp4"


def test_from_begin_to_done(tmp_path, make):
    info = SourceInfo("video", "gate", datetime(2026, 1, 1, tzinfo=UTC), 60.0, 640, 360, 25.0)
    with Gallery.open(tmp_path / "g") as g:
        assert g.source_state(PATH) is None
        state = g.begin_source(PATH, "h1", {"fps": 2}, info)
        assert (state.status, state.until, state.tracker_state) == ("new", 0.0, None)
        g.checkpoint(state, [make(1), make(2)], {"next": 3}, 30.0)
        assert len(g.search("image", np.ones(16), 9)[0]) == 2, "what a checkpoint stored can be found at once"
    with Gallery.open(tmp_path / "g") as g:
        state = g.begin_source(PATH, "h1", {"fps": 2}, info)
        assert (state.status, state.until, state.tracker_state) == ("resume", 30.0, {"next": 3})
        assert state.info == info
        g.finish_source(state, [make(3)], ["2 frames could not be read"])
        done = g.begin_source(PATH, "h1", {"fps": 2}, info)
        assert done.status == "done" and len(g) == 3
        assert g.source_state(PATH).tracker_state is None
        assert g.info()["problems"] == [{"source": PATH, "problem": "2 frames could not be read"}]
        assert [s.path for s in g.sources()] == [PATH]


def test_an_unchanged_source_is_free(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.finish_source(g.begin_source(PATH, "h1"), [make(1)])
        with Gallery.open(tmp_path / "g") as other, other._writing():
            assert g.begin_source(PATH, "h1").status == "done", "and does not wait for a writer"
        assert g.begin_source(PATH, "h1", force=True).status == "new"


@pytest.mark.parametrize(
    "change",
    [
        {"content_hash": "h2"},
        {"settings": {"fps": 4}},
        {"info": SourceInfo(camera="gate")},
        {"info": SourceInfo(wall_time=datetime(2026, 1, 1, tzinfo=UTC))},
    ],
)
def test_a_changed_source_is_replaced_in_one_step(tmp_path, make, change):
    first = {"content_hash": "h1", "settings": {"fps": 2}, "info": SourceInfo()}
    with Gallery.open(tmp_path / "g") as g, Gallery.open(tmp_path / "g", readonly=True) as reader:
        g.add([make(50, "/media/other.mp4")])
        g.finish_source(g.begin_source(PATH, **first), [make(1), make(2)])
        g.add_findings([Finding("f", "fall", PATH, 1.0)])
        state = g.begin_source(PATH, **{**first, **change})
        assert state.status == "new"
        assert {e.id for e in reader.entries()} == {"e00001", "e00002", "e00050"}
        g.checkpoint(state, [make(2, label="new"), make(7)], {}, 10.0)
        assert {e.id for e in reader.entries()} == {"e00002", "e00007", "e00050"}
        assert sorted(reader.search("image", np.ones(16), 9)[0]) == ["e00002", "e00007", "e00050"]
        assert reader.get("e00002").label == "new" and reader.findings() == []
        g.checkpoint(state, [make(8)], {}, 20.0)
        g.finish_source(state)
        assert {e.id for e in g.entries(Where(source="yard.mp4"))} == {"e00002", "e00007", "e00008"}
        assert g.begin_source(PATH, **{**first, **change}).status == "done"


def test_broken_off_before_its_first_checkpoint(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.finish_source(g.begin_source(PATH, "h1"), [make(1)])
        g.begin_source(PATH, "h2")
    with Gallery.open(tmp_path / "g") as g:
        assert len(g) == 1
        state = g.begin_source(PATH, "h2")
        assert state.status == "new"
        g.finish_source(state, [])
        assert len(g) == 0 and g.source_state(PATH).content_hash == "h2"


def test_back_to_the_old_content_before_a_checkpoint(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.finish_source(g.begin_source(PATH, "h1"), [make(1)])
        g.begin_source(PATH, "h2")
        state = g.begin_source(PATH, "h1")
        g.finish_source(state, [make(1)])
        assert len(g) == 1 and g.begin_source(PATH, "h1").status == "done"


def test_a_failed_source_keeps_what_it_has_and_is_tried_again(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        state = g.begin_source(PATH, "h1")
        g.checkpoint(state, [make(1)], {"a": 1}, 5.0)
        g.fail_source(state, "the disk was pulled out")
        assert g.source_state(PATH).problems == ("the disk was pulled out",)
        again = g.begin_source(PATH, "h1")
        assert (again.status, again.until) == ("resume", 5.0) and len(g) == 1
        g.finish_source(again)
        assert g.source_state(PATH).problems == ()


def test_a_checkpoint_is_all_or_nothing(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        state = g.begin_source(PATH, "h1")
        g.checkpoint(state, [make(1)], {"a": 1}, 5.0)
        with pytest.raises(ValueError):
            g.checkpoint(state, [make(2), make(3, id="")], {"a": 2}, 10.0)
        with pytest.raises(ValueError):
            g.checkpoint(state, [make(2)], {"a": float("nan")}, 10.0)
        assert len(g) == 1 and g.source_state(PATH).until == 5.0


def test_a_source_taken_away_meanwhile(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        state = g.begin_source(PATH, "h1")
        g.checkpoint(state, [make(1)], {}, 5.0)
        g.remove(source=PATH)
        with pytest.raises(GalleryError, match="removed"):
            g.checkpoint(state, [make(2)], {}, 6.0)
        old = g.begin_source(PATH, "h1")
        g.checkpoint(old, [make(1)], {}, 5.0)
        new = g.begin_source(PATH, "h2")
        g.checkpoint(new, [make(2)], {}, 5.0)
        with pytest.raises(GalleryError, match="other content"):
            g.checkpoint(old, [make(3)], {}, 6.0)
        assert [e.id for e in g.entries()] == ["e00002"]
