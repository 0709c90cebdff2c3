"""``oddwatch ask`` and ``oddwatch explain`` on a kept record, on a drawn clip, and on what is wrong."""

from __future__ import annotations

import json

import pytest

from oddwatch.core import Span
from oddwatch.understand.record import Record


@pytest.fixture
def kept(tmp_path):
    """A clip that need not be watched again: its record is there."""
    import numpy as np

    record = Record("clip.mp4", Span(0, 5), (640, 360), times=np.arange(5.0), counts=np.zeros(5, np.int64))
    file = tmp_path / "seen.json"
    file.write_text(json.dumps(record.to_json()))
    return tmp_path / "clip.mp4", file


def test_a_kept_record_answers_at_once(run, kept):
    clip, file = kept
    status, out, err = run(
        "ask",
        clip,
        "How many people are there at 2 seconds?",
        "What is his name?",
        "--record",
        file,
        "--json",
    )
    assert (status, err) == (0, "")
    rows = json.loads(out)["answers"]
    assert [(r["known"], r["value"]) for r in rows] == [(True, 0), (False, None)]
    status, out, _ = run("ask", clip, "What is his name?", "--record", file)
    assert status == 0 and out.startswith("unknown: No picture shows who somebody is.")


def test_the_record_of_another_clip_is_refused(run, kept):
    clip, file = kept
    status, _, err = run("ask", clip.with_name("other.mp4"), "Who falls?", "--record", file)
    assert status == 2 and "is the record of" in err
    file.write_text("{}")
    status, _, err = run("ask", clip, "Who falls?", "--record", file)
    assert status == 2 and err.count("\n") == 1


def test_one_line_for_what_is_not_there(run, tmp_path):
    status, _, err = run("ask", tmp_path / "none.mp4", "Who falls?")
    assert status == 1 and "none.mp4" in err and err.count("\n") == 1
    status, _, err = run("explain", tmp_path / "none.json")
    assert status == 2 and "none.json" in err and err.count("\n") == 1
    (tmp_path / "f.json").write_text(
        json.dumps({"findings": [{"id": "v1", "source": "gone.mp4", "score": 1}]})
    )
    status, _, err = run("explain", tmp_path / "f.json", "v1")
    assert status == 1 and "gone.mp4" in err
    status, _, err = run("explain", tmp_path / "f.json", "v9")
    assert status == 2 and "v1" in err


def test_no_finding_to_explain(run, tmp_path):
    (tmp_path / "f.json").write_text('{"findings": []}')
    assert run("explain", tmp_path / "f.json")[:2] == (0, "there is no finding to explain\n")
    status, out, _ = run("explain", tmp_path / "f.json", "--json")
    assert status == 0 and json.loads(out) == {"explanations": []}


@pytest.mark.slow
def test_a_drawn_clip(run, tmp_path):
    from oddwatch.datasets.scenes import Scene
    from oddwatch.datasets.scenes.writer import write_video

    scene = Scene(3, 0)
    event = scene.events[0]
    start = max(event.start - 2, 0)
    write_video(tmp_path / "clip.webm", (image for image, _ in scene.frames(start, start + 3, 12)), fps=2)
    ask = (
        "ask",
        tmp_path / "clip.webm",
        "How many people are there?",
        "What do they say?",
        "--record",
        tmp_path / "r.json",
    )
    status, out, _ = run(*ask, "--fps", 1, "--threads", 1, "--json")
    rows = json.loads(out)["answers"]
    assert status == 0 and rows[0]["value"] >= 1 and not rows[1]["known"]
    assert Record.from_json(json.loads((tmp_path / "r.json").read_text())).people
    finding = {"id": "v1", "task": "video", "source": str(tmp_path / "clip.webm"), "span": [1.0, 3.0], "box": None, "score": 2.0,
               "severity": 0.5, "reason": "moves fast"}  # fmt: skip
    (tmp_path / "findings.json").write_text(json.dumps({"findings": [finding], "scores": {}}))
    status, out, _ = run("explain", tmp_path, "--fps", 1, "--threads", 1)
    assert status == 0 and out.startswith("v1 ") and "what: " in out and "why: " in out and "how: " in out
