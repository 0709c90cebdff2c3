"""Watching a real RTSP server (GStreamer's) that is killed and started anew, and a receiver that is down meanwhile.

Needs Debian's gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good and python3-gi.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from oddwatch.core import Box, Frame
from oddwatch.media.streams import Backoff, Stream
from oddwatch.media.video import Video
from oddwatch.serve.alerts import Alert
from oddwatch.serve.delivery import Delivery, Spool
from oddwatch.serve.events import Sign
from oddwatch.serve.rules import Rules
from oddwatch.serve.senders import Webhook, verified
from oddwatch.serve.watch import Options, Summary, watch

SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
QUICK = Backoff(0.2, 0.5)
SECRET = "k3y"


class Bright:
    """A judge without a model: a bright square is abnormal."""

    def update(self, camera: str, frame: Frame, look: bool) -> list[Sign]:
        bright = frame.pixels.min(2) > 200
        if not look or bright.mean() < 0.02:
            return []
        ys, xs = np.nonzero(bright)
        box = Box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
        return [Sign(float(bright.mean()), box, "square", "a bright square", key="square")]


def film(path: Path, seconds: float, bright: tuple[float, float]) -> Path:
    """A dark H.264 video of 12 frames a second in which a bright square shows in a span."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        # One slice a frame: GStreamer's payloader marks each slice as a frame of its own.
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1", "g": "12"}
        for i in range(round(seconds * 12)):
            pixels = np.full((180, 320, 3), 40, np.uint8)
            if bright[0] <= i / 12 < bright[1]:
                pixels[60:120, 80:160] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Camera:
    """The server as a camera that can be pulled out and plugged in again."""

    def __init__(self, login: tuple[str, ...] = ()) -> None:
        self.port, self.login = free_port(), login
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        who = ":".join(self.login) + "@" if self.login else ""
        return f"rtsp://{who}127.0.0.1:{self.port}/cam"

    def on(self, file: Path) -> None:
        command = [SYSTEM_PYTHON, str(SERVER), str(file), str(self.port), *self.login]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout and self.process.stderr
        if self.process.stdout.readline().strip() != "ready":
            self.process.wait(10)
            pytest.fail(f"the RTSP server did not start: {self.process.stderr.read()}")

    def off(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    """Skips where there is no GStreamer RTSP server."""
    look = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
        "assert all(Gst.ElementFactory.find(n) for n in ('qtdemux', 'rtph264pay', 'rtpbin')), 'plugins'"
    )
    hint = "apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi"
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"no {SYSTEM_PYTHON}; {hint}")
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", look], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        pytest.skip(f"no GStreamer RTSP server ({done.stderr.strip().splitlines()[-1]}); {hint}")


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    yield made
    made.off()


class Receiver:
    """A webhook's receiver that checks signatures and can be away; ``got`` are the bodies it took."""

    def __init__(self) -> None:
        self.port, self.got, self.keys = free_port(), [], []
        self.server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def up(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stamp, given = self.headers["X-Oddwatch-Timestamp"], self.headers["X-Oddwatch-Signature"]
                good = verified(SECRET, stamp, body, given, time.time())
                if good:
                    receiver.got.append(json.loads(body))
                    receiver.keys.append(self.headers["Idempotency-Key"])
                self.send_response(200 if good else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.up()
    yield made
    made.down()


def setting(camera: str, out: Path, hook: str) -> tuple[Stream, Options]:
    """One camera and one receiver, quick to come back."""
    stream = Stream(camera, "gate", timeout=5.0, backoff=QUICK)
    sender = Webhook(hook, SECRET, allow_private=True, timeout=2.0)
    delivery = Delivery(sender, Spool(out / "spool"), Backoff(0.2, 1.0))
    rules = Rules.parse({"minimum": 0.5, "gap": 1.5})
    return stream, Options(out, rules, deliveries=[delivery], before=2.0, flush=1.0)


def watch_alone(camera: str, out: str, hook: str) -> None:
    """What the process that is terminated does."""
    stream, options = setting(camera, Path(out), hook)
    watch([stream], Bright(), options)


class Watching(threading.Thread):
    """A watch of one camera beside the test."""

    def __init__(self, camera: Camera, out: Path, receiver: Receiver) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.stream, self.options = setting(camera.url, out, receiver.url)
        self.delivery = self.options.deliveries[0]
        self.summary: Summary | None = None
        self.start()

    def run(self) -> None:
        self.summary = watch([self.stream], Bright(), self.options, stop=self.stop)

    def end(self) -> Summary:
        self.stop.set()
        self.join(20)
        assert self.summary is not None
        return self.summary


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    due = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < due, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def told(out: Path) -> list[Alert]:
    path = out / "alerts.jsonl"
    return (
        [Alert.from_json(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    )


def rebooted(camera: Camera, receiver: Receiver, tmp_path: Path, away: float) -> None:
    """The camera reboots while something goes on, the receiver is down for ``away`` s, and each thing is told once."""
    camera.on(film(tmp_path / "first.mp4", 60, (1.0, 60)))
    receiver.down()
    down_at = time.monotonic()
    watching = Watching(camera, out := tmp_path / "out", receiver)
    wait(lambda: len(told(out)) == 1, 40, "the first alert")
    camera.off()
    wait(lambda: watching.stream.state.doing != "live", 40, "the loss was noticed")
    before = watching.stream.state.frames
    # It comes back with the same thing still there for two seconds; then quiet; then a new thing.
    second = film(tmp_path / "second.mp4", 12, (0, 2))
    third = film(tmp_path / "third.mp4", 30, (0.5, 30))
    camera.on(second)
    wait(lambda: watching.stream.state.frames > before + 48, 40, "frames after the reboot")
    wait(lambda: not json.loads((out / "open.json").read_text()), 40, "the first is over")
    assert len(told(out)) == 1
    camera.off()
    camera.on(third)
    wait(lambda: len(told(out)) == 2, 40, "the second alert")
    time.sleep(max(0.0, away - (time.monotonic() - down_at)))
    assert receiver.got == [] and len(watching.delivery.spool) == 2
    receiver.up()
    wait(lambda: watching.delivery.delivered == 2, 40, "both delivered")
    summary = watching.end()
    assert summary.alerts == 2 and summary.waiting == 0 and summary.streams[0].reconnects >= 2
    assert [Alert.from_json(a) for a in receiver.got] == told(out)
    assert receiver.keys == [a.id for a in told(out)] and len(set(receiver.keys)) == 2
    for alert in told(out):
        assert alert.source == camera.url and Path(alert.frame).exists() and Video(alert.clip).duration > 0.5
    assert summary.streams[0].lag < 2.0


def test_a_camera_reboots_and_a_receiver_is_down_for_20_seconds(camera, receiver, tmp_path):
    rebooted(camera, receiver, tmp_path, away=20.0)


def test_the_server_is_killed_mid_stream_and_the_alert_arrives_once(camera, receiver, tmp_path):
    camera.on(film(tmp_path / "first.mp4", 30, (0.5, 30)))
    receiver.down()
    watching = Watching(camera, out := tmp_path / "out", receiver)
    wait(lambda: len(told(out)) == 1, 40, "the alert")
    camera.off()
    wait(lambda: watching.stream.state.doing != "live", 40, "the loss was noticed")
    camera.on(film(tmp_path / "second.mp4", 30, (0, 30)))
    before = watching.stream.state.frames
    wait(lambda: watching.stream.state.frames > before + 12, 40, "frames after the reboot")
    assert receiver.got == [] and watching.delivery.failed > 0
    receiver.up()
    wait(lambda: watching.delivery.delivered == 1, 40, "the alert was delivered")
    summary = watching.end()
    assert summary.alerts == len(receiver.got) == len(told(out)) == 1
    assert summary.streams[0].reconnects >= 1


def test_a_password_is_used_and_shown_nowhere(tmp_path, receiver, caplog):
    camera = Camera(("bob", "s3cret"))
    try:
        camera.on(film(tmp_path / "a.mp4", 20, (0, 20)))
        with caplog.at_level("DEBUG"):
            watching = Watching(camera, out := tmp_path / "out", receiver)
            wait(lambda: len(receiver.got) == 1, 40, "the alert")
            watching.end()
    finally:
        camera.off()
    shown = (
        caplog.text + (out / "alerts.jsonl").read_text() + json.dumps(receiver.got) + str(watching.summary)
    )
    assert "s3cret" not in shown and told(out)[0].source == f"rtsp://***@127.0.0.1:{camera.port}/cam"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_watch_that_is_ended_leaves_nothing_half_and_does_not_repeat(camera, receiver, tmp_path, how):
    camera.on(film(tmp_path / "a.mp4", 60, (0, 60)))
    receiver.down()
    out = tmp_path / "out"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_watch_rtsp as t; t.watch_alone(*sys.argv[2:])"
    command = [sys.executable, "-c", code, str(SERVER.parent), camera.url, str(out), receiver.url]
    for turn in range(2):
        process = subprocess.Popen(command)
        try:
            if turn == 0:
                wait(lambda: len(told(out)) == 1, 40, "the alert")
            else:
                receiver.up()
                wait(lambda: len(receiver.got) == 1, 40, "what the first run left")
            # Long enough to have seen the thing again, and to have told it twice.
            time.sleep(2.0)
            process.send_signal(how)
            assert process.wait(15) == (0 if how == signal.SIGTERM else -how)
        finally:
            process.kill()
            process.wait()
    assert len(told(out)) == 1 and len(receiver.got) == 1
    assert len(json.loads((out / "open.json").read_text())["gate"]) == 1
    assert not list(out.rglob("*.part*"))
