"""The video bench with toy detectors: rows, folds, undefined numbers, notes kept on disk, events and places."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from oddwatch.bench import video_metrics
from oddwatch.bench.tables import markdown
from oddwatch.bench.video_metrics import METRICS, Judged, evaluate, events, places
from oddwatch.bench.videos import run_video_bench
from oddwatch.bench.watched import Watched, track_notes
from oddwatch.core import Box, Card, Curve, InputError, Place
from oddwatch.datasets.videos import VideoItem, read_video_sets
from oddwatch.detectors import CARDS, DETECTORS
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.watching import WatchSettings
from oddwatch.pipeline.models import Models

LEARNT: list[tuple[list[str], list[int] | None]] = []


@dataclass(kw_only=True, eq=False)
class Changes(VideoDetector):
    """A frame is as odd as its picture changes; remembers what it was fitted on."""

    NAME: ClassVar[str] = "changes"
    READS: ClassVar[tuple[str, ...]] = ("motion",)
    gain: float = 1.0

    def _fit(self, normal, labels) -> None:
        LEARNT.append(([n.name for n in normal], labels))

    def _curve(self, notes) -> Curve:
        values = self.gain * notes.motion[..., 3].astype(np.float64).mean(axis=(1, 2))
        return Curve(notes.name, notes.times, values)


class Labelled(Changes):
    """The same, from labels of clips."""

    NAME: ClassVar[str] = "labelled"
    LABELS: ClassVar[bool] = True


@dataclass(kw_only=True, eq=False)
class Crowded(VideoDetector):
    """A frame is as odd as people are in it."""

    NAME: ClassVar[str] = "crowded"
    READS: ClassVar[tuple[str, ...]] = ("people",)
    NEEDS_NORMALS: ClassVar[bool] = False

    def _curve(self, notes) -> Curve:
        return Curve(
            notes.name, notes.times, np.bincount(notes.objects.frame, minlength=len(notes)).astype(float)
        )


class Settled(Changes):
    NAME: ClassVar[str] = "settled"
    SETTLES: ClassVar[bool] = True
    HELD: ClassVar[list[int]] = []

    def settle(self, held):
        self.HELD.append(len(held))
        return list(held)


class Refusing(Changes):
    NAME: ClassVar[str] = "refusing"

    def _fit(self, normal, labels) -> None:
        raise InputError("normal", "is not to its liking")


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    module = ModuleType("toy_video_detectors")
    for kind in (Changes, Labelled, Crowded, Refusing, Settled):
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(DETECTORS, kind.NAME, f"toy_video_detectors:{kind.__name__}")
        monkeypatch.setitem(CARDS, kind.NAME, Card(kind.NAME, "detector", "video", "a toy"))
    monkeypatch.setitem(sys.modules, "toy_video_detectors", module)
    LEARNT.clear()


def clip(path: Path, loud: tuple[int, ...] = (), count: int = 40, seed: int = 0) -> None:
    """Noise that stands still, but for ``loud`` frames, each of which is another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))

    def picture() -> np.ndarray:
        return cv2.resize(rng.integers(0, 255, (6, 8), np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST)

    still = picture()
    for i in range(count):
        writer.write(cv2.cvtColor(picture() if i in loud else still, cv2.COLOR_GRAY2BGR))
    writer.release()


@pytest.fixture(scope="module")
def spans(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("yard")
    clip(root / "train" / "quiet.avi")
    clip(root / "a.avi", tuple(range(10, 20)), seed=1)
    clip(root / "b.avi", (), seed=2)
    (root / "spans.csv").write_text("file,start,end\na.avi,1.0,2.0\n")
    return root


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("fights")
    rows = []
    for i in range(8):
        clip(root / f"c{i}.avi", tuple(range(5, 15)) if i % 2 else (), 20, seed=10 + i)
        rows.append(f"c{i}.avi,{i % 2}")
    (root / "labels.csv").write_text("file,label\n" + "\n".join(rows))
    return root


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tracks")
    head = "video,Frame_Number,Person_ID,State,BB_tl_0,BB_tl_1,BB_br_0,BB_br_1"
    (root / "gate_train.csv").write_text(f"{head}\n01,0,1,1,0,0,4,9\n")
    rows = ["01,0,1,1,0,0,4,9,0", "01,3,1,1,0,0,4,9,1", "01,3,2,1,5,0,9,9,1", "01,5,1,1,0,0,4,9,0"]
    (root / "gate_test.csv").write_text(f"{head},abnormal_gt\n" + "\n".join(rows))
    return root


def test_a_row_has_every_metric_and_says_how_it_came_about(spans):
    (row,) = run_video_bench(spans, methods=["changes"])
    assert row["method"] == "changes" and row["protocol"] == "video anomalies" and not row["default"]
    assert set(METRICS) <= set(row) and row["category"] == row["set"]
    assert row["micro_auc"] > 0.9 and row["macro_auc"] == row["anomalous_auc"] and row["macro_skipped"] == 1
    assert row["clip_auc"] == 1.0 and row["event_recall"] == 1.0 and row["events"] == 1
    assert row["detection_delay"] <= 0.1 and row["false_alarms_per_hour"] == 0
    assert (row["n_train"], row["n_test"], row["n_frames"], row["anomalous_frames"]) == (1, 2, 80, 10)
    assert row["pixel_auc"] is None and row["folds"] is None and row["frames_per_second"] > 0
    assert [([str(spans / "train" / "quiet.avi")], None)] == LEARNT
    assert json.loads(json.dumps(row)) == row and "micro_auc" in markdown([row])


def test_folds_learn_from_normal_clips_of_other_folds_only(labelled):
    rows = run_video_bench(labelled, methods=["changes", "labelled"], folds=2)
    assert [r["folds"] for r in rows] == [2, 2] and [r["clip_auc"] for r in rows] == [1.0, 1.0]
    assert rows[0]["micro_auc"] is None and rows[0]["event_recall"] is None
    assert [len(names) for names, _ in LEARNT] == [2, 2, 4, 4]
    for names, labels in LEARNT[:2]:
        assert labels is None and all(int(Path(n).stem[1]) % 2 == 0 for n in names)
    assert [sorted(labels) for _, labels in LEARNT[2:]] == [[0, 0, 1, 1]] * 2
    assert not set(LEARNT[2][0]) & set(LEARNT[3][0])
    assert (rows[0]["n_train"], rows[1]["n_train"], rows[0]["n_test"]) == (4, 8, 8)


def test_seeds_are_averaged(labelled):
    (row,) = run_video_bench(labelled, methods=["changes"], folds=2, seeds=(0, 1))
    assert row["seeds"] == [0, 1] and row["clip_auc_sd"] == 0.0 and len(LEARNT) == 4


def test_tracks_are_notes_without_pixels(tracks):
    rows = run_video_bench(tracks, methods=["crowded", "changes"])
    assert rows[0]["micro_auc"] == 1.0 and rows[0]["frames_per_second"] is None and rows[0]["n_frames"] == 6
    assert rows[1]["micro_auc"] is None and rows[1]["note"].startswith("needs motion")
    (one,) = read_video_sets(tracks)
    notes = track_notes(one.test[0])
    assert len(notes) == 6 and notes.objects.track.tolist() == [1, 1, 2, 1] and notes.has("people")
    assert notes.size == (9, 9) and np.isnan(notes.objects.pose).all()


def test_why_a_method_cannot_run_is_told_in_its_row(spans, labelled, tmp_path):
    rows = run_video_bench(spans, methods=["labelled", "refusing", "changes"])
    assert rows[0]["note"] == "no normal and anomalous clips to learn from"
    assert "is not to its liking" in rows[1]["note"] and rows[1]["micro_auc"] is None
    assert rows[2]["micro_auc"] is not None and "note" not in rows[2]
    clip(tmp_path / "a.avi")
    (tmp_path / "spans.csv").write_text("file,start,end\na.avi,0,1\n")
    assert run_video_bench(tmp_path, methods=["changes"])[0]["note"] == "no clips to learn from"


def test_unknown_names_are_told_with_those_there_are(spans):
    with pytest.raises(InputError, match=r"one of: .*changes"):
        run_video_bench(spans, methods=["nothing"])
    with pytest.raises(InputError, match="there are:"):
        run_video_bench(spans, methods=["changes"], categories=["nothing"])


def test_clips_are_watched_once_and_notes_kept(spans, tmp_path, monkeypatch):
    first = run_video_bench(spans, methods=["changes"], cache=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    monkeypatch.setattr("oddwatch.bench.watched.watch", lambda *a, **k: pytest.fail("watched again"))
    again = run_video_bench(spans, methods=["changes"], cache=tmp_path)
    assert again[0]["frames_per_second"] is None
    assert [again[0][m] for m in METRICS] == [first[0][m] for m in METRICS]


def test_notes_of_more_serve_for_less_and_other_settings_do_not(spans, tmp_path):
    (one,) = read_video_sets(spans)
    item = one.test[0]
    both = Watched(tmp_path, WatchSettings(want=("motion", "objects")), Models())
    both.notes(item)
    assert both.frames == 40 and both.pace > 0
    less = Watched(tmp_path, WatchSettings(want=("motion",)), Models())
    assert len(less.notes(item)) == 40 and less.frames == 0 and less.pace is None
    other = Watched(tmp_path, WatchSettings(want=("motion",), rows=6), Models())
    assert other.notes(item).motion.shape[1] == 6 and other.frames == 40


def test_a_part_is_cut_from_the_notes_of_the_whole(spans, tmp_path):
    item = VideoItem("a", str(spans), ("a.avi",), label=0, part=(8, 21))
    watched = Watched(tmp_path, WatchSettings(want=("motion",)), Models())
    notes = watched.notes(item)
    whole = watched.notes(VideoItem("a", str(spans), ("a.avi",)))
    assert len(notes) == 13 and watched.frames == 40
    assert np.array_equal(notes.motion, whole.motion[8:21]) and np.allclose(notes.times, watched.times(item))


# -- events and places -------------------------------------------------------------------------------------------


def judged(
    name: str, labels: list[int], values: list[float], places: tuple[Place, ...] = (), **more
) -> Judged:
    times = np.arange(len(labels)) * 1.0
    curve = Curve(name, times, np.array(values, float), places=places)
    item = VideoItem(name, label=int(any(labels)), **more)
    return Judged(item, times, np.array(labels, np.uint8), curve, (10, 20))


def test_worked_numbers_of_three_videos():
    three = [
        judged("v1", [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),
        judged("v2", [0, 0, 0, 1], [0.5, 0.6, 0.7, 0.8]),
        judged("v3", [0, 0, 0], [0.1, 0.1, 0.2]),
    ]
    found = evaluate(three, 6.0)
    assert found["micro_auc"] == pytest.approx(0.75) and found["ap"] == pytest.approx(0.633333, abs=1e-6)
    assert (found["macro_auc"], found["macro_skipped"], found["macro_auc_augmented"]) == (1.0, 1, 1.0)
    assert found["clip_auc"] == 1.0 and found["anomalous_frames"] == 3


def test_sparse_curves_are_read_in_straight_lines():
    times = np.arange(5.0)
    one = Judged(VideoItem("a"), times, None, Curve("a", np.array([1.0, 3.0]), np.array([2.0, 4.0])), (1, 1))
    assert one.scores.tolist() == [2, 2, 3, 4, 4]
    empty = Judged(VideoItem("a"), times, None, Curve("a", np.empty(0), np.empty(0)), (1, 1))
    with pytest.raises(InputError, match="no frame"):
        _ = empty.scores


def test_an_alarm_that_is_always_up_is_false():
    quiet = [0] * 10
    one = judged("a", [*quiet, 1, 1, *quiet], [1.0] * 22)
    assert events([one], 6.0) == {
        "event_recall": 0.0, "detection_delay": None, "events": 1, "false_alarms_per_hour": 0.0,
    }  # fmt: skip
    assert events([one], 1000.0)["event_recall"] == 1.0


def test_alarms_near_an_event_are_its_own_and_late_ones_are_late():
    values = [0.0] * 22
    values[11] = 1.0
    late = events([judged("a", [*[0] * 8, 1, 1, 1, 1, *[0] * 10], values)], 0.0)
    assert (late["event_recall"], late["detection_delay"]) == (1.0, 3.0)
    values[13] = 1.0
    near = events([judged("a", [*[0] * 8, 1, 1, 1, 1, *[0] * 10], values)], 0.0)
    assert (near["event_recall"], near["false_alarms_per_hour"]) == (1.0, 0.0)
    values[20] = 1.0
    far = events([judged("a", [*[0] * 8, 1, 1, 1, 1, *[0] * 10], values)], 0.0)
    assert far["event_recall"] == 0.0
    assert events([judged("a", [0] * 5, [0] * 5)], 6.0)["event_recall"] is None


def test_stretches_far_from_events_count_as_false():
    from oddwatch.core import Span

    events_ = [Span(10, 20), Span(30, 40)]
    for alarm, count in (
        (Span(9, 21), 0),
        (Span(0, 5), 1),
        (Span(0, 60), 3),
        (Span(8, 42), 1),
        (Span(18, 29), 1),
        (Span(43, 44), 1),
    ):
        assert video_metrics._false(alarm, events_) == count
    assert video_metrics._false(Span(0, 1), []) == 1


def test_places_are_measured_by_the_pixels_they_cover(tmp_path):
    masks = np.zeros((3, 20, 40), bool)
    masks[1, 4:8, 10:20] = True
    np.save(tmp_path / "m.npy", masks)
    drawn = {"mask_store": str(tmp_path), "masks": ("m.npy",)}
    exact = (Place(1, "deep", 3.0, Box(5, 2, 10, 4)),)  # half the mask's scale
    good = places([judged("a", [0, 1, 0], [0, 3, 0], exact, **drawn)], 2.0)
    assert good == {
        "pixel_auc": 1.0,
        "pixel_eer": 0.0,
        "covered": 1.0,
        "told_area": 40 / 800,
        "masked_clips": 1,
    }
    small = (Place(1, "deep", 3.0, Box(5, 2, 6, 4)), Place(2, "deep", 2.5, Box(0, 0, 4, 4)))
    bad = places([judged("a", [0, 1, 0], [0, 3, 0], small, **drawn)], 2.0)
    assert bad["covered"] == pytest.approx(0.2) and bad["pixel_auc"] == 0.25
    assert places([judged("a", [0, 1, 0], [0, 3, 0], exact, **drawn)], 3.5)["covered"] == 0.0
    assert places([judged("a", [0, 1, 0], [0, 3, 0], (), **drawn)], 2.0)["pixel_auc"] is None


def test_the_command_prints_rows(spans):
    from oddwatch.cli.bench import app

    done = CliRunner().invoke(app, ["video", "--data", str(spans), "--method", "changes", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["rows"][0]["clip_auc"] == 1.0


def test_the_command_hands_on_options(spans):
    from oddwatch.cli.bench import app

    def rows(*words: str) -> list:
        asked = ["video", "--data", str(spans), "--method", "changes", "--json", *words]
        return json.loads(CliRunner().invoke(app, asked).stdout.splitlines()[-1])["rows"]

    assert rows("-o", "gain=0")[0]["clip_auc"] == 0.5
    assert "one of: gain" in rows("-o", "loudness=2")[0]["note"]


def test_a_detector_that_learns_from_held_out_footage_is_measured_as_a_user_gets_it(labelled):
    Settled.HELD.clear()
    run_video_bench(labelled, methods=["settled"], folds=2)
    assert len(Settled.HELD) == 2 and min(Settled.HELD) >= 2
