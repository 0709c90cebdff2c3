"""Findings files: what detect writes is read back, anything else is refused by name."""

from __future__ import annotations

import json

import pytest

from oddwatch.core import Box, InputError, MediaError, Span
from oddwatch.understand.findings import read

ROW = {"id": "v1", "task": "video", "source": "clip.mp4", "span": [2.0, 4.5], "box": [1, 2, 3, 4], "score": 3.5,
       "probability": 0.02, "severity": 0.6, "reason": "moves fast"}  # fmt: skip
SCORES = {"clip.mp4": {"times": [0, 1], "values": [0.1, 0.7], "cues": {"motion": [0.1, 0.7]}, "peak": 0.7}}


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_video_run(tmp_path):
    found = read(write(tmp_path / "f.json", {"findings": [ROW], "scores": SCORES}))
    one = found.get("v1")
    assert (one.span, one.box, one.severity) == (Span(2, 4.5), Box(1, 2, 3, 4), 0.6)
    assert found.curves["clip.mp4"].peak == 0.7


def test_a_picture_run_in_a_folder(tmp_path):
    row = {k: v for k, v in ROW.items() if k != "span"} | {"probability": None, "regions": []}
    write(tmp_path / "findings.json", {"findings": [row], "scores": [{"source": "a.png", "score": 1}]})
    found = read(tmp_path)
    assert found.get("v1").span is None and found.curves == {}


def test_the_footage_is_found_beside_the_findings(tmp_path):
    found = read(write(tmp_path / "f.json", {"findings": [{**ROW, "source": "elsewhere/clip.mp4"}]}))
    with pytest.raises(MediaError, match="is not there"):
        found.source(found.get("v1"))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert found.source(found.get("v1")) == tmp_path / "clip.mp4"


@pytest.mark.parametrize("data", ["{", "[1]", {"rows": []}, {"findings": [3]}, {"findings": [{"id": "a"}]},
                                  {"findings": [{**ROW, "box": [1, 2]}]}, {"findings": [{**ROW, "span": "x"}]},
                                  {"findings": [{**ROW, "score": None}]}])  # fmt: skip
def test_anything_else_is_refused(tmp_path, data):
    with pytest.raises(InputError, match=r"f\.json"):
        read(write(tmp_path / "f.json", data))


def test_no_such_file_and_no_such_finding(tmp_path):
    with pytest.raises(InputError, match=r"none\.json"):
        read(tmp_path / "none.json")
    found = read(write(tmp_path / "f.json", {"findings": [ROW]}))
    with pytest.raises(InputError, match="v1"):
        found.get("v2")
