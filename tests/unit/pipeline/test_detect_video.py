"""Detection in drawn videos end to end, with toy models: moments, places, reasons, thresholds, files, odd input."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oddwatch.core import Box, Curve, InputError, ModelError, Place
from oddwatch.detectors.video.cues import CUES
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.sultani import Sultani
from oddwatch.detectors.video.watching import THINGS
from oddwatch.media.video import Video
from oddwatch.pipeline import video_setup
from oddwatch.pipeline.detect_video import deciding, detect_video, reason, telling
from oddwatch.pipeline.video_out import VIDEO_WRITTEN, plain
from oddwatch.pipeline.video_setup import (
    FOLDS,
    MOSTLY,
    NOBODY,
    VideoOptions,
    assumed,
    needs_no_labels,
    pieces,
)
from oddwatch.scoring.spans import Segment

W, H, FPS = 192, 144, 10
ODD = (8.0, 10.0)


def blotches(height: int, width: int, seed: int, low: int = 0, high: int = 255) -> np.ndarray:
    rough = (
        np.random.default_rng(seed).uniform(low, high, (height // 12 + 2, width // 12 + 2)).astype(np.float32)
    )
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


GROUND, SQUARES = blotches(H, W, 0, 90, 160), [blotches(28, 28, n) for n in (1, 2, 3)]


def picture(i: int, shift: int, odd: bool) -> np.ndarray:
    """Two squares stroll to and fro in the upper half; in the event a third darts through the lower half."""
    grey = GROUND.copy()
    for n, (y, step) in enumerate(((8, 2), (58, 3))):
        at = (step * (i + shift) + 70 * n) % 280
        x = (at if at < 140 else 280 - at) + 10
        grey[y : y + 28, x : x + 28] = SQUARES[n]
    if odd and ODD[0] <= i / FPS < ODD[1]:
        at = 9 * (i - round(ODD[0] * FPS)) % 280
        x = (at if at < 140 else 280 - at) + 10
        grey[108:136, x : x + 28] = SQUARES[2]
    return np.dstack([grey] * 3)


def film(path: Path, seconds: float, shift: int = 0, odd: bool = False) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "12"}
        for i in range(round(seconds * FPS)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, shift, odd), format="rgb24")))
        out.mux(stream.encode())
    return path


class Nobody:
    def find(self, frame):
        return []


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """``quiet/`` with a clip of half a minute, ``clips/``: an odd one, a quiet one, a picture, a broken file."""
    root = tmp_path_factory.mktemp("footage")
    (root / "quiet").mkdir()
    (root / "clips").mkdir()
    film(root / "quiet" / "quiet.mp4", 30)
    film(root / "clips" / "odd.mp4", 14, shift=17, odd=True)
    film(root / "clips" / "calm.mp4", 10, shift=41)
    Image.fromarray(picture(0, 0, False)).save(root / "clips" / "picture.png")
    (root / "clips" / "broken.mp4").write_bytes(b"zorple" * 100)
    return root


@pytest.fixture(scope="module")
def toy_models(toy_eyes):
    """The models are toys: an encoder in a few lines, and nobody to be found. A clip is watched once for all tests."""

    class Toys:
        def __init__(self, device, threads) -> None:
            self.patches, self.finder = toy_eyes(), Nobody()
            self.device, self.threads = device, threads

    real, known = video_setup.watch, {}

    def once(clip, settings, *, progress=None, **models):
        key = (clip.name, settings)
        if key not in known or progress is not None:
            known[key] = real(clip, settings, progress=progress, **models)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_setup, "Models", Toys)
        patch.setattr(video_setup, "watch", once)
        yield


def run(footage: Path, clips="clips", normal: str | None = "quiet", **given):
    paths = {
        name: given.pop(name) for name in ("detector", "save_to", "out", "html", "progress") if name in given
    }
    given.setdefault("arguments", {"cues": ("movement", "place", "flow")} if "method" not in given else {})
    many = [footage / c for c in clips] if isinstance(clips, tuple) else footage / clips
    return detect_video(many, normal and footage / normal, options=VideoOptions(**given), **paths)


@pytest.fixture(scope="module")
def whole(footage, toy_models):
    """A run with everything written."""
    out, html = footage / "out", footage / "page" / "report.html"
    html.parent.mkdir()
    return run(footage, out=out, html=html, save_to=footage / "saved"), out, html


def test_the_moment_is_found_with_its_place_and_reason(whole):
    report = whole[0]
    assert [Path(c.source).name for c in report.clips] == ["calm.mp4", "odd.mp4"]
    best = report.findings[0]
    assert Path(best.source).name == "odd.mp4" and best.task == "video"
    assert best.span.start == pytest.approx(ODD[0], abs=1.0) and best.span.end == pytest.approx(
        ODD[1], abs=1.0
    )
    assert best.box.center[1] > 95, "the lower half, where the third square darts"
    assert best.score >= report.threshold.value and 0.8 < best.probability < 1 and best.severity > 0.1
    assert best.reason.startswith("something at the") and "moves" in best.reason
    for finding in report.findings:
        assert "odd" in finding.source and ODD[0] - 1 < finding.span.start < ODD[1] + 1
    scores = [f.score for f in report.findings]
    assert scores == sorted(scores, reverse=True) and len({f.id for f in report.findings}) == len(scores)


def test_the_threshold_comes_from_held_out_quiet_footage(whole):
    report = whole[0]
    assert report.threshold.rule == "predicted" and report.normal_seconds == pytest.approx(30, abs=0.2)
    assert report.notes == []
    calm, odd = (c.curve for c in report.clips)
    assert odd.peak > report.threshold.value > calm.peak
    assert report.usual < report.threshold.value


def test_a_picture_and_a_broken_file_are_skipped_and_told(whole):
    skipped = {Path(s).name: why for s, why in whole[0].skipped}
    assert set(skipped) == {"picture.png", "broken.mp4"} and "picture" in skipped["picture.png"]


def test_json_is_plain_and_complete(whole):
    stored = json.loads(json.dumps(whole[0].to_json()))
    first = stored["findings"][0]
    assert set(first) == {"id", "task", "source", "span", "box", "score", "probability", "severity", "reason"}
    assert len(first["span"]) == 2 and len(first["box"]) == 4
    curve = stored["scores"][first["source"]]
    assert len(curve["times"]) == len(curve["values"]) == 140 and curve["peak"] == pytest.approx(
        first["score"]
    )
    assert stored["threshold_rule"] == "predicted" and stored["method"] == "camera-profile"
    assert stored["false_alarms_per_hour"] == 1 and stored["encoder"] == "toy/112"
    assert {"total", "watch", "learn", "judge"} <= set(stored["seconds"]) and len(stored["skipped"]) == 2


def test_the_folder_holds_findings_curves_stills_and_clips(whole):
    report, out, _ = whole
    assert {p.name for p in out.iterdir()} == set(VIDEO_WRITTEN)
    stored = json.loads((out / "findings.json").read_text())
    assert stored["findings"] == json.loads(json.dumps(report.to_json()))["findings"]
    with (out / "curves" / "odd.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seconds", "value", *report.clips[1].curve.cues] and len(rows) == 141
    assert [float(r[1]) for r in rows[1:]] == pytest.approx(report.clips[1].curve.values, rel=1e-4, abs=1e-6)
    for finding in report.findings:
        still = Image.open(out / "stills" / f"{finding.id}.jpg")
        assert still.size == (W, H)
        piece = Video(out / "clips" / f"{finding.id}.webm")
        assert piece.duration == pytest.approx(finding.span.duration + 4, abs=0.5)


def test_the_page_shows_the_moment_and_a_player(whole):
    report, _, html = whole
    text = html.read_text(encoding="utf-8")
    assert "odd.mp4" in text and report.findings[0].reason[1:] in text
    assert (html.with_name("report_files") / "odd.webm").exists(), "a copy that any browser plays"
    assert not (html.with_name("report_files") / "calm.webm").exists(), "nothing was found in it"


def test_a_saved_detector_gives_the_same_curves(whole, footage):
    report = run(footage, ("clips/odd.mp4", "clips/calm.mp4"), None, detector=footage / "saved")
    first = whole[0].clips[1].curve
    assert np.array_equal(report.clips[0].curve.values, first.values)
    assert report.notes == [MOSTLY] and report.threshold.rule == "assumed"
    assert any(ODD[0] - 1 < f.span.start < ODD[1] for f in report.findings)
    assert all(f.probability is None for f in report.findings), (
        "nobody said how often normal footage reaches it"
    )


def test_quiet_footage_settles_the_threshold_of_a_saved_detector(whole, footage):
    report = run(footage, ("clips/odd.mp4",), "clips/calm.mp4", detector=footage / "saved")
    assert report.threshold.rule == "predicted" and report.normal_seconds == pytest.approx(10, abs=0.2)
    assert report.notes == []


def test_a_given_threshold_is_taken(whole, footage):
    high = run(footage, ("clips/odd.mp4",), None, detector=footage / "saved", threshold=1e9)
    assert high.threshold.rule == "given" and high.findings == [] and high.notes == []
    low = run(
        footage, ("clips/odd.mp4",), None, detector=footage / "saved", threshold=-1.0, minimum=0, merge=0
    )
    (finding,) = low.findings
    assert finding.span.start == 0 and finding.span.end == pytest.approx(14, abs=0.1)
    assert (
        run(
            footage, ("clips/odd.mp4",), None, detector=footage / "saved", threshold=-1.0, minimum=20
        ).findings
        == []
    )


def test_without_quiet_footage_parts_are_judged_by_the_others(footage, toy_models, tmp_path):
    report = run(footage, ("clips/odd.mp4", "clips/calm.mp4"), None)
    assert report.notes == [NOBODY] and report.threshold.rule == "assumed" and report.normal_seconds == 0
    best = report.findings[0]
    assert best.source.endswith("odd.mp4") and best.probability is None
    assert ODD[0] - 1 < best.span.start < ODD[1]
    alone = detect_video(film(tmp_path / "long.mp4", 26, 17, odd=True))
    assert ODD[0] - 1 < alone.findings[0].span.start < ODD[1], "one clip is cut into parts"


def test_a_clip_too_short_to_be_judged_by_itself_is_told(footage, toy_models, tmp_path):
    film(tmp_path / "short.mp4", 1.5)
    with pytest.raises(InputError, match="too short"):
        detect_video(tmp_path / "short.mp4")


def test_a_method_that_learns_nothing_needs_no_quiet_footage(footage, toy_models, tmp_path):
    report = run(footage, ("clips/odd.mp4",), None, method="agitation", save_to=tmp_path / "kept")
    assert report.notes == [MOSTLY] and report.method == "agitation"
    again = run(footage, ("clips/odd.mp4",), "clips/calm.mp4", detector=tmp_path / "kept")
    assert np.array_equal(again.clips[0].curve.values, report.clips[0].curve.values)
    assert again.threshold.rule == "predicted"


def test_what_cannot_be_done_is_told_before_anything_is_watched(footage, toy_models, tmp_path):
    def never(*_):
        raise AssertionError("watched")

    with pytest.raises(InputError, match="give --normal"):
        run(footage, normal=None, save_to=tmp_path, progress=never)
    with pytest.raises(InputError, match="not known"):
        run(footage, method="zorple", progress=never)
    with pytest.raises(InputError, match="judges pictures"):
        run(footage, method="mvg", progress=never)
    with pytest.raises(InputError, match="zorple"):
        run(footage, arguments={"zorple": 1}, progress=never)
    with pytest.raises(InputError, match="cues"):
        run(footage, arguments={"cues": ("zorple",)}, progress=never)
    with pytest.raises(ModelError, match="not a saved detector"):
        run(footage, detector=tmp_path, progress=never)
    with pytest.raises(InputError, match="learns from clips with labels"):
        needs_no_labels(Sultani())


def test_nothing_to_judge_or_to_learn_from_is_told(footage, toy_models):
    with pytest.raises(InputError, match="none can be read"):
        run(footage, ("clips/picture.png", "clips/broken.mp4", "nowhere.mp4"), None, method="agitation")
    with pytest.raises(InputError, match="normal"):
        run(footage, ("clips/odd.mp4",), "clips/broken.mp4")


@pytest.mark.parametrize(
    "wrong",
    [
        {"false_alarms": 0}, {"false_alarms": float("nan")}, {"threshold": float("inf")}, {"minimum": -1}, {"merge": -1},
        {"looks": 0}, {"looks": float("nan")},
    ],
)  # fmt: skip
def test_wrong_options_are_told(wrong):
    with pytest.raises(InputError):
        VideoOptions(**wrong)


# -- pieces, folds, words ----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.floats(0.5, 100), st.floats(0, 1000), st.integers(1, 15))
def test_pieces_hold_every_frame_once(seconds, start, fps):
    notes = Notes("a", (6, 8), start + np.arange(max(1, round(seconds * fps))) / fps)
    cut = pieces(notes)
    assert np.array_equal(np.concatenate([p.times for p in cut]), notes.times) and all(map(len, cut))
    if seconds > 10:
        assert len(cut) >= 4
    assert pieces(Notes("none", (6, 8), np.empty(0))) == []


@given(st.lists(st.integers(0, 12), max_size=9))
def test_folds_leave_out_every_piece_once_and_never_all(counts):
    folds, total = video_setup._folds(counts), sum(counts)
    if total < 2:
        assert folds == []
        return
    assert len(folds) <= FOLDS and all(folds)
    assert sorted(i for fold in folds for i in fold) == list(range(total))
    assert all(len(fold) < total for fold in folds)
    filled = [c for c in counts if c]
    if len(filled) > 1:
        clip = np.repeat(np.arange(len(filled)), filled)
        for fold in folds:
            assert not set(clip[sorted(fold)]) & set(np.delete(clip, sorted(fold))), "clips stay whole"


def test_parts_of_a_curve_are_joined_with_their_places():
    parts = [
        Curve("a", np.array([0.0, 1]), np.array([1.0, 2]), {"flow": np.ones(2)}, (Place(1, "flow", 3.0),)),
        Curve("a", np.array([2.0]), np.array([5.0]), {"deep": np.ones(1)}, (Place(0, "deep", 4.0),)),
    ]
    whole = video_setup.joined(parts)
    assert whole.values.tolist() == [1, 2, 5] and [p.index for p in whole.places] == [1, 2]
    assert whole.cues["flow"].tolist() == [1, 1, 0] and whole.cues["deep"].tolist() == [0, 0, 1]


def test_an_assumed_threshold_lies_above_most_blocks_and_below_an_event():
    values = np.random.default_rng(0).uniform(0, 1, 600)
    values[300:305] = 9.0
    found = assumed([Curve("a", np.arange(600.0), values)])
    assert 1.0 < found.value < 9.0 and found.note == MOSTLY
    flat = assumed([Curve("a", np.arange(60.0), np.ones(60))])
    assert 1.0 < flat.value < 1.001


def test_who_where_and_what_in_one_line():
    times = np.arange(10.0)
    cues = {
        "movement": np.where(times == 5, 3.0, 0.0),
        "size": np.where(times == 5, 2.0, 0.0),
        "deep": np.zeros(10),
    }
    left, right = Box(0, 10, 20, 30), Box(80, 70, 99, 99)
    places = (
        Place(4, "movement", 3.2, left, 7), Place(5, "size", 9.0, right, THINGS), Place(9, "movement", 9.9, right, 8),
    )  # fmt: skip
    curve = Curve("a", times, sum(cues.values()), cues, places)
    notes, segment = Notes("a", (100, 100), times), Segment(3.0, 7.0, 5.0, 5.0)
    decided = deciding(curve, segment)
    assert decided == ["movement", "size", "deep"]
    best = telling(curve, segment, decided)
    assert best == places[0], "of the strongest cue, inside the segment"
    said = reason(notes, curve, segment, best, decided)
    assert said.startswith("somebody at the ") and CUES["movement"][1] in said and CUES["size"][1] in said
    assert CUES["deep"][1] not in said
    assert reason(notes, curve, segment, places[1], decided).startswith("something at the ")
    assert reason(notes, curve, segment, None, decided).startswith(CUES["movement"][1])
    fallen = replace(
        curve,
        cues=cues | {"lying": np.where(times == 6, 1.5, 0.0), "climbing": np.where(times == 8, 4.0, 0.0)},
    )
    told = reason(notes, fallen, segment, best, deciding(fallen, segment))
    assert told == f"{said}; somebody lies on the ground", (
        "not at the peak, but in this moment; climbing is after it"
    )
    lies = replace(curve, cues=cues | {"lying": np.where(times == 5, 4.0, 0.0)})
    assert reason(notes, lies, segment, best, deciding(lies, segment)).count("lies on the ground") == 1
    unsure = replace(curve, cues=cues | {"lying": np.where(times == 6, 0.5, 0.0)})
    assert reason(notes, unsure, segment, best, deciding(unsure, segment)) == said
    bare = Curve("a", times, np.ones(10))
    assert telling(bare, segment, []) is None and "as a whole" in reason(notes, bare, segment, None, [])


def test_file_names_of_sources_are_plain_and_never_shared():
    taken: set[str] = set()
    names = [
        plain(s, taken)
        for s in ("/a/Clip one.mp4", "/b/clip ONE.mp4", "/c/☃/…", "/d/..mp4", "/e/" + "x" * 300)
    ]
    assert len({n.casefold() for n in names}) == 5 and names[0] == "Clip_one"
    assert all(n and len(n) <= 100 and "/" not in n and not n.startswith(".") for n in names)
