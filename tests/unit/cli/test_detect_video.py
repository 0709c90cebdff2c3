"""``oddwatch detect`` of videos: JSON, words, files, refused options."""

from __future__ import annotations

import json

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from oddwatch.cli.detect import _is_video
from oddwatch.media.video import Video

W, H, FPS = 160, 120, 10


def picture(i: int, odd: bool) -> np.ndarray:
    """A patch strolls along; in the event, from second 6 to 8, another flickers and jumps about."""
    rng = np.random.default_rng(0)
    grey = cv2.resize(
        rng.uniform(80, 170, (10, 14)).astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC
    )
    x = 2 * i % 240
    grey[20:44, (x if x < 120 else 240 - x) :][:, :24] = rng.uniform(0, 255, (24, 24))
    if odd and 60 <= i < 80:
        jump = np.random.default_rng(i)
        left = int(jump.integers(0, 110))
        grey[70:110, left : left + 40] = cv2.resize(jump.uniform(0, 255, (5, 5)).astype(np.float32), (40, 40))
    return np.dstack([grey.clip(0, 255).astype(np.uint8)] * 3)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """``quiet.mp4`` of 20 s, ``odd.mp4`` of 12 s, ``still.png``."""
    folder = tmp_path_factory.mktemp("films")
    for name, seconds in (("quiet.mp4", 20), ("odd.mp4", 12)):
        with av.open(str(folder / name), "w") as out:
            stream = out.add_stream("libx264", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
            stream.options = {"preset": "ultrafast", "crf": "12"}
            for i in range(seconds * FPS):
                frame = av.VideoFrame.from_ndarray(picture(i, name == "odd.mp4"), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    Image.fromarray(picture(0, False)).save(folder / "still.png")
    return folder


CALM = ("--method", "agitation", "--option", "smooth=0.5")
"""A detector that needs no model."""


def test_json_is_the_only_thing_on_standard_output(run, films):
    status, out, _ = run("detect", films / "odd.mp4", "--normal", films / "quiet.mp4", *CALM, "--json")
    assert status == 0
    told = json.loads(out)
    assert (
        told["method"] == "agitation"
        and told["threshold_rule"] == "predicted"
        and told["normal_seconds"] == 20
    )
    (finding,) = told["findings"]
    assert finding["task"] == "video" and finding["source"].endswith("odd.mp4")
    start, end = finding["span"]
    assert 4.5 < start < 7 < end < 10 and finding["score"] >= told["threshold"]
    assert len(told["scores"][finding["source"]]["times"]) == 120


def test_words_and_files(run, films, tmp_path):
    out_folder, page, kept = tmp_path / "out", tmp_path / "page.html", tmp_path / "kept"
    status, out, _ = run(
        "detect", films / "odd.mp4", "-n", films / "quiet.mp4", *CALM,
        "--out", out_folder, "--html", page, "--save", kept,
    )  # fmt: skip
    assert status == 0
    assert "1 moment above the threshold" in out and "odd.mp4" in out and "0:0" in out
    assert f"written: {out_folder}" in out and f"written: {page}" in out and f"kept: {kept}" in out
    (finding,) = json.loads((out_folder / "findings.json").read_text())["findings"]
    assert Video(out_folder / "clips" / f"{finding['id']}.webm").height == H
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads((kept / "detector.json").read_text())["arguments"]["smooth"] == 0.5
    # A kept detector knows that it is of video.
    status, out, err = run("detect", films / "odd.mp4", "--detector", kept, "--threshold", "100")
    assert status == 0 and "0 moments above the threshold 100" in out and "note:" not in err


def test_what_is_assumed_is_said(run, films):
    status, out, err = run("detect", films / "odd.mp4", films / "still.png", *CALM)
    assert status == 0 and "agitation" in out
    assert "nobody said what is normal" in err and "still.png" in err and "picture" in err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--rate", "0.1"), "--rate"),
        (("--tiles", "2x2"), "--tiles"),
        (("--folds", "3"), "--folds"),
        (("--check", "2"), "--check"),
        (("--looks", "0"), "looks"),
        (("--false-alarms", "0"), "false alarms"),
        (("--minimum", "-1"), "minimum"),
        (("--option", "zorple=1"), "zorple"),
        (("--save", "nowhere", "--method", "camera-profile"), "--normal"),
        (("--method", "mvg"), "is a video"),
    ],
)
def test_what_does_not_go_with_videos_is_refused(run, films, given, said):
    status, out, err = run("detect", films / "odd.mp4", *given)
    assert status != 0 and said in err and not out.strip()


def test_a_kept_detector_takes_no_method(run, films, tmp_path):
    kept = tmp_path / "kept"
    assert run("detect", films / "odd.mp4", *CALM, "--save", kept)[0] == 0
    status, _, err = run("detect", films / "odd.mp4", "--detector", kept, "--option", "smooth=1")
    assert status != 0 and "fitted already" in err


def test_a_clip_that_is_not_there_is_told(run, films):
    status, _, err = run("detect", films / "nowhere.mp4", *CALM)
    assert status != 0 and "nowhere.mp4" in err and "no such file" in err


def test_the_first_thing_decides_whether_it_is_video(films):
    video, still = str(films / "odd.mp4"), str(films / "still.png")
    assert _is_video([video, still], None, None) and not _is_video([still, video], None, None)
    assert _is_video([still], "agitation", None) and not _is_video([video], "mvg", None)
    assert not _is_video([video], "zorple", None) and not _is_video([], None, None)
