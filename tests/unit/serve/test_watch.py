"""The loop from files to alerts, its clips, numbers and restarts, with a judge that needs no model."""

from __future__ import annotations

import importlib
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from oddwatch.core import Box, Frame, InputError, MediaError
from oddwatch.media import clips
from oddwatch.media.streams import Stream
from oddwatch.media.video import Sampling, Video
from oddwatch.serve.alerts import Alert
from oddwatch.serve.budget import Budget
from oddwatch.serve.delivery import Delivery, Spool
from oddwatch.serve.events import Sign
from oddwatch.serve.metrics import Board, Meaning, MetricsServer
from oddwatch.serve.rules import Rules
from oddwatch.serve.senders import Webhook
from oddwatch.serve.watch import Options, watch


class Bright:
    """A judge: a bright square is abnormal."""

    def __init__(self) -> None:
        self.looks = 0

    def update(self, camera: str, frame: Frame, look: bool) -> list[Sign]:
        self.looks += look
        bright = frame.pixels.min(2) > 200
        if not look or bright.mean() < 0.02:
            return []
        ys, xs = np.nonzero(bright)
        box = Box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
        return [Sign(float(bright.mean()), box, "square", "a bright square", key="square")]


def film(path: Path, seconds: float, bright: list[tuple[float, float]], rate: int = 10) -> Path:
    """A dark video in which a bright square shows in some spans."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        stream.options = {"preset": "ultrafast", "threads": "1"}
        for i in range(round(seconds * rate)):
            pixels = np.full((90, 160, 3), 40, np.uint8)
            if any(a <= i / rate < b for a, b in bright):
                pixels[30:60, 40:80] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def told(out: Path) -> list[Alert]:
    return [Alert.from_json(json.loads(line)) for line in (out / "alerts.jsonl").read_text().splitlines()]


def test_from_a_file_to_an_alert_with_frame_and_clip(tmp_path):
    path = film(tmp_path / "a.mp4", 16, [(3, 6), (7, 8), (15.5, 15.6)])
    seen: list[Alert] = []
    options = Options(tmp_path / "out", Rules.parse({"minimum": 1, "gap": 3}), before=2.0, closings=True)
    summary = watch([Stream(path, "gate")], judge := Bright(), options, on_alert=seen.append)
    assert (summary.frames, summary.alerts, summary.waiting) == (160, 1, 0)
    # Six looks a second of sixteen seconds, more or less the first and last.
    assert summary.looks == judge.looks and 90 <= judge.looks <= 100
    opened, closed = told(tmp_path / "out")
    assert seen == [opened, closed] and opened.id == closed.id
    assert (opened.state, closed.state, opened.end) == ("open", "closed", None)
    assert opened.start == pytest.approx(3.0, abs=0.2) and closed.end == pytest.approx(8.0, abs=0.3)
    assert (opened.camera, opened.cue, opened.reason) == ("gate", "square", "a bright square")
    assert opened.size == (160, 90) and opened.box.iou(Box(40, 30, 80, 60)) > 0.8
    picture = np.asarray(Image.open(opened.frame))
    assert picture[45, 60].min() > 200 and picture[5, 5].max() < 80
    clip = Video(closed.clip)
    # From two seconds before to half a second after the end, some eight frames a second.
    assert clip.duration == pytest.approx(7.5, abs=0.3) and 50 <= len(clip.times) <= 65
    shown = [int(clip.frame_at(t).pixels[45, 60].min()) > 128 for t in (0.0, 1.5, 2.5, 4.5, 5.5, 6.5)]
    assert shown == [False, False, True, True, False, True]


def test_the_clip_of_a_long_event_has_its_beginning(tmp_path):
    path = film(tmp_path / "a.mp4", 20, [(2, 20)])
    options = Options(tmp_path / "out", Rules.parse({"minimum": 0}), before=1.0, longest=4.0)
    watch([path], Bright(), options)
    (alert,) = told(tmp_path / "out")
    frames = list(Video(alert.clip).frames(Sampling(fps=None)))
    assert Video(alert.clip).duration == pytest.approx(5.5, abs=0.7)
    assert frames[0].pixels[45, 60].max() < 90 and frames[-1].pixels[45, 60].min() > 180


def test_zones_ignore_and_several_cameras_share(tmp_path):
    path = film(tmp_path / "a.mp4", 4, [(1, 4)])
    left = [[0, 0], [0.6, 0], [0.6, 1], [0, 1]]
    rules = Rules.parse(
        {"minimum": 0, "cameras": {"b": {"zones": [{"name": "left", "polygon": left, "ignore": True}]}}}
    )
    streams = [Stream(path, "a"), Stream(path, "b")]
    summary = watch(streams, Bright(), Options(tmp_path / "out", rules))
    assert [a.camera for a in told(tmp_path / "out")] == ["a"]
    # 3 a second each for 4 s.
    assert 22 <= summary.looks <= 28


def test_a_restart_does_not_tell_again_what_goes_on(tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        stop = threading.Event()
        stream = Stream(film(tmp_path / "a.mp4", 6, [(0, 6)]), "gate", pace=True)
        watch(
            [stream],
            Bright(),
            Options(out, Rules.parse({"minimum": 0.2}), seconds=0.8),
            stop=stop,
        )
    assert len(told(out)) == 1
    assert len(json.loads((out / "open.json").read_text())["gate"]) == 1


def test_alerts_reach_the_receiver_and_wait_for_one_that_is_down(tmp_path, receiver):
    path = film(tmp_path / "a.mp4", 3, [(1, 3)])
    up = Delivery(Webhook(receiver.url, "k", allow_private=True), Spool(tmp_path / "up"))
    down = Delivery(Webhook("http://127.0.0.1:9/x", allow_private=True), Spool(tmp_path / "down"))
    options = Options(tmp_path / "out", Rules.parse({"minimum": 0}), deliveries=[up, down], flush=0.5)
    summary = watch([path], Bright(), options)
    assert summary.waiting == 1 and len(Spool(tmp_path / "down")) == 1
    assert [Alert.from_json(json.loads(b)) for b in receiver.taken] == told(tmp_path / "out")


class Together:
    """A judge that answers when two cameras are asked for at once; notes who came."""

    def __init__(self) -> None:
        self.both, self.seen = threading.Barrier(2, timeout=20), dict[str, list[int]]()
        self.busy: set[str] = set()

    def update(self, camera: str, frame: Frame, look: bool) -> list[Sign]:
        assert camera not in self.busy
        self.busy.add(camera)
        self.both.wait()
        self.seen.setdefault(camera, []).append(int(frame.index or 0))
        self.busy.discard(camera)
        return []


def test_cameras_are_judged_side_by_side_and_each_in_order(tmp_path):
    path = film(tmp_path / "a.mp4", 2, [])
    judge, options = Together(), Options(tmp_path / "out", workers=2, patience=1)
    summary = watch([Stream(path, "a"), Stream(path, "b")], judge, options)
    assert judge.seen == {"a": list(range(20)), "b": list(range(20))} and summary.frames == 40


def test_frames_are_passed_over_when_they_would_take_the_time_of_the_looks(tmp_path):
    class Slow(Bright):
        def update(self, camera: str, frame: Frame, look: bool) -> list[Sign]:
            time.sleep(0.1 if look else 0.05)
            return super().update(camera, frame, look)

    path = film(tmp_path / "a.mp4", 4, [], rate=25)
    stream = Stream(path, "a", pace=True)
    options = Options(tmp_path / "out", budget=Budget(2, busy=0.8, steady=3))
    summary = watch([stream], Slow(), options)
    (state,) = summary.streams
    # 0.2 of 0.8 s for two looks, the rest for twelve frames of the twenty-five.
    assert state.passed >= 25 and summary.frames + state.passed + state.dropped == 100
    assert 6 <= summary.looks <= 9


class Failing(Bright):
    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.calls = every, 0

    def update(self, camera: str, frame: Frame, look: bool) -> list[Sign]:
        self.calls += 1
        if self.calls % self.every == 0:
            raise ZeroDivisionError("odd frame")
        return super().update(camera, frame, look)


def test_a_judge_may_fail_on_a_frame_but_not_on_all(tmp_path, caplog):
    path = film(tmp_path / "a.mp4", 3, [(1, 3)])
    options = Options(tmp_path / "out", Rules.parse({"minimum": 0}), patience=5)
    assert watch([path], Failing(7), options).alerts == 1
    assert "odd frame" in caplog.text
    with pytest.raises(ZeroDivisionError):
        watch([path], Failing(1), options)


def test_wrong_sources_and_options(tmp_path):
    path = film(tmp_path / "a.mp4", 1, [])
    with pytest.raises(InputError):
        watch([], Bright(), Options(tmp_path / "out"))
    with pytest.raises(InputError):
        watch([Stream(path, "a"), Stream(path, "a")], Bright(), Options(tmp_path / "out"))
    with pytest.raises(InputError):
        Options(tmp_path, longest=0)
    with pytest.raises(InputError):
        Options(tmp_path, workers=0)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_numbers_and_health(tmp_path):
    well = [True]
    board = Board({"x_total": Meaning("counter", "Some."), "y": Meaning("gauge", "Other.")})
    board.add("x_total", camera='a"b\\')
    board.add("x_total", 2, camera='a"b\\')
    board.set("y", 0.25)
    with pytest.raises(InputError):
        board.set("z", 1)
    with MetricsServer(board, lambda: (well[0], {"cameras": {}}), port=0) as server:
        base = f"http://127.0.0.1:{server.port}"
        status, text = get(f"{base}/metrics")
        assert status == 200
        assert text == (
            "# HELP x_total Some.\n# TYPE x_total counter\n"
            'x_total{camera="a\\"b\\\\"} 3\n# HELP y Other.\n# TYPE y gauge\ny 0.25\n'
        )
        assert get(f"{base}/health") == (200, '{"ok": true, "cameras": {}}\n')
        well[0] = False
        assert get(f"{base}/health")[0] == 503 and get(f"{base}/x")[0] == 404
        with pytest.raises(InputError):
            MetricsServer(board, lambda: (True, {}), port=server.port)


def test_a_watch_shows_its_numbers(tmp_path):
    path = film(tmp_path / "a.mp4", 1.6, [(0, 4)])
    texts: list[str] = []

    class Asking(Bright):
        def update(self, camera: str, frame: Frame, look: bool) -> list[Sign]:
            if frame.index == 14:
                texts.append(get(f"http://127.0.0.1:{port}/metrics")[1])
                texts.append(get(f"http://127.0.0.1:{port}/health")[1])
            return super().update(camera, frame, look)

    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = Options(tmp_path / "out", Rules.parse({"minimum": 0}), metrics=port)
    watch([Stream(path, "gate", pace=True)], Asking(), options)
    assert 'oddwatch_up{camera="gate"} 1' in texts[0] and 'oddwatch_alerts_total{camera="gate"} 1' in texts[0]
    assert json.loads(texts[1])["cameras"]["gate"]["doing"] == "live"


def test_a_clip_needs_frames_and_a_name_for_browsers(tmp_path):
    with pytest.raises(MediaError):
        clips.write([], tmp_path / "a.webm", 8)
    with pytest.raises(InputError):
        clips.write([], tmp_path / "a.avi", 8)
    assert list(tmp_path.iterdir()) == []


def test_freed_memory_is_given_back(tmp_path, monkeypatch):
    module = importlib.import_module("oddwatch.serve.watch")
    monkeypatch.setattr(module, "_give_back", lambda: given.append(1))
    given: list[int] = []
    watch([film(tmp_path / "a.mp4", 1, [])], Bright(), Options(tmp_path / "out"))
    assert given
    monkeypatch.undo()
    module._give_back()
