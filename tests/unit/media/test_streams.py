"""Live sources: Motion JPEG over a real socket, files as if live, folders being written, and their clocks."""

from __future__ import annotations

import io
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from oddwatch.core import InputError, LimitError
from oddwatch.media.feeds import parts
from oddwatch.media.limits import Limits
from oddwatch.media.streams import Backoff, Stream, Timeline

QUICK = Backoff(0.05, 0.2)


def jpeg(grey: int, size: tuple[int, int] = (64, 48)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def camera():
    """A camera that sends Motion JPEG at some 50 pictures a second, ``server.most`` a connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(dict(self.headers))
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{server.server_port}/video")
                self.end_headers()
                return
            if self.path == "/page":
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                return
            if self.path == "/locked" and "Authorization" not in self.headers:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="cam"')
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=--cut")
            self.end_headers()
            for i in range(server.most):
                body = b"\xff\xd8broken" if server.damaged and i == 1 else jpeg(10 + i)
                head = b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
                try:
                    self.wfile.write(head + body + b"\r\n")
                except OSError:
                    return
                time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.most, server.damaged = [], 5, False  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def address(server: ThreadingHTTPServer, path: str = "/video", login: str = "") -> str:
    return f"http://{login}127.0.0.1:{server.server_port}{path}"


def test_motion_jpeg_reconnects_and_goes_on_counting(camera):
    with Stream(address(camera), "gate", backoff=QUICK, seed=1) as stream:
        frames = []
        for frame in stream:
            frames.append(frame)
            if len(frames) == 12:
                break
        state = stream.state
    times = [f.time for f in frames]
    assert all(a < b for a, b in pairwise(times))
    assert [f.index for f in frames] == list(range(12))
    assert (
        state.reconnects >= 2 and state.dropped == 0 and state.last_error == "the source ended the connection"
    )
    assert all(f.wall_time is not None and f.wall_time.tzinfo is not None for f in frames)
    assert abs(int(frames[0].pixels.mean()) - 10) <= 1 and frames[0].pixels.shape == (48, 64, 3)


def test_a_slow_reader_gets_the_newest_and_the_rest_is_counted(camera):
    camera.most = 30
    with Stream(address(camera), queue=4, backoff=Backoff(5, 5)) as stream:
        time.sleep(1.0)
        frames = [stream.take(0.1) for _ in range(4)]
        assert stream.take(0.0) is None
        assert [f.index for f in frames if f] == [26, 27, 28, 29]
        assert stream.state.dropped == 26 and stream.state.frames == 4


def test_frames_that_are_not_wanted_are_passed_over_and_counted_apart(camera):
    camera.most = 12
    with Stream(address(camera), backoff=Backoff(5, 5), stale=9) as stream:
        time.sleep(0.6)
        first = stream.take(0.1)
        later = stream.take(0.1, since=first.time + 0.07)
        assert first.index == 0 and later.time >= first.time + 0.07 and later.index >= 2
        assert stream.state.passed == later.index - 1 and stream.state.dropped == 0
        assert stream.take(0.0, since=1e9) is None
        assert stream.state.passed == 10 and stream.state.frames == 2


def test_of_a_file_that_waits_nothing_is_passed_over(tmp_path):
    with Stream(write_video(tmp_path / "a.mp4", 5)) as stream:
        frames = []
        while not stream.ended:
            frames.append(stream.take(0.5, since=1e9))
    assert len([f for f in frames if f is not None]) == 5 and stream.state.passed == 0


def test_frames_older_than_stale_are_not_handed_out(camera):
    with Stream(address(camera), stale=0.15, backoff=Backoff(5, 5)) as stream:
        time.sleep(0.6)
        assert stream.take(0.1).index == 4
        assert stream.state.dropped == 4


def test_a_damaged_picture_costs_only_itself(camera):
    camera.damaged = True
    with Stream(address(camera), backoff=Backoff(5, 5)) as stream:
        got = [stream.take(1.0).index for _ in range(4)]
    assert got == [0, 2, 3, 4] and stream.state.broken == 1


def test_the_password_goes_to_the_camera_and_nowhere_else(camera, caplog):
    with (
        caplog.at_level("DEBUG"),
        Stream(address(camera, "/locked", "bob:s3cret@"), backoff=Backoff(5, 5)) as stream,
    ):
        frame = stream.take(2.0)
    assert frame is not None and camera.asked[1]["Authorization"].startswith("Basic ")
    assert "s3cret" not in frame.source + stream.name + repr(stream) + caplog.text


@pytest.mark.parametrize(
    ("path", "words"), [("/away", "sends its readers to http://localhost"), ("/page", "text/html")]
)
def test_what_is_no_camera_is_said(camera, path, words):
    with Stream(address(camera, path), backoff=Backoff(0.02, 0.02), retries=1) as stream:
        assert list(stream) == []
    assert words in stream.state.last_error and stream.state.reconnects == 1 and stream.state.doing == "ended"


def test_nobody_there_waits_and_says_so():
    with Stream("rtsp://127.0.0.1:9/x", timeout=1, backoff=Backoff(0.01, 0.05)) as stream:
        time.sleep(0.5)
        state = stream.state
    assert state.reconnects >= 3 and "cannot be reached" in state.last_error
    assert stream.state.doing == "ended"


def write_video(path: Path, frames: int = 12, rate: int = 12) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i % 256, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def test_a_file_gives_every_frame_and_ends(tmp_path):
    with Stream(write_video(tmp_path / "a.mp4", 40), queue=4) as stream:
        time.sleep(0.3)
        frames = list(stream)
    assert len(frames) == 40 and stream.state.dropped == 0 and stream.state.doing == "ended"
    assert frames[12].time == pytest.approx(1.0, abs=0.01)
    assert (frames[12].wall_time - frames[0].wall_time).total_seconds() == pytest.approx(1.0, abs=0.01)


def test_a_looped_file_keeps_its_clock_growing(tmp_path):
    with Stream(write_video(tmp_path / "a.mp4"), loop=True) as stream:
        times = [stream.take(2.0).time for _ in range(30)]
    assert all(0 < b - a < 0.2 for a, b in pairwise(times))


def test_a_paced_file_takes_its_time(tmp_path):
    began = time.monotonic()
    with Stream(write_video(tmp_path / "a.mp4", 7), pace=True) as stream:
        frames = list(stream)
    assert len(frames) == 7 and stream.live
    assert time.monotonic() - began >= 0.5


def test_a_broken_file_ends_with_its_reason(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0" * 100)
    with Stream(tmp_path / "a.mp4") as stream:
        assert list(stream) == []
    assert "cannot be opened" in stream.state.last_error


def test_a_folder_gives_what_is_finished_in_order(tmp_path):
    (tmp_path / "old.jpg").write_bytes(jpeg(9))
    with Stream(tmp_path, "inbox") as stream:
        assert stream.take(0.3) is None
        (tmp_path / "b.jpg.part").write_bytes(jpeg(5))
        for i, name in enumerate(("z.jpg", "a.jpg", "bad.jpg")):
            (tmp_path / name).write_bytes(b"\xff\xd8\xff" if name == "bad.jpg" else jpeg(50 + i))
            os.utime(tmp_path / name, (1_700_000_000 + i, 1_700_000_000 + i))
        first, second = stream.take(3.0), stream.take(3.0)
        assert stream.take(0.7) is None
    assert [int(f.pixels.mean()) for f in (first, second)] == [50, 51]
    assert second.time - first.time == pytest.approx(1.0) and first.wall_time.timestamp() == 1_700_000_000
    assert stream.state.broken == 1 and "bad.jpg" in stream.state.last_error


def test_what_is_no_source_is_refused(tmp_path):
    for source in (tmp_path / "none", "udp://host/x", "file:///etc/passwd", "concat:a|b"):
        with pytest.raises(InputError):
            Stream(source)


def test_parts_without_a_length_and_in_small_pieces():
    pictures = [jpeg(1), jpeg(2), jpeg(3)]
    body = b"".join(b"--x\r\nContent-Type: image/jpeg\r\n\r\n" + p + b"\r\n" for p in pictures) + b"--x--"
    pieces = (body[i : i + 7] for i in range(0, len(body), 7))
    assert list(parts(pieces, b"x", 10_000)) == pictures


def test_a_part_without_end_is_cut_off():
    endless = iter([b"--x\r\n\r\n", *[b"a" * 1000] * 100])
    with pytest.raises(LimitError):
        list(parts(endless, b"x", 10_000))


def test_a_picture_over_the_limit_is_not_decoded(camera):
    camera.most = 100
    with Stream(address(camera), limits=Limits(pixels=100), backoff=Backoff(5, 5)) as stream:
        assert stream.take(0.8) is None
        state = stream.state
    assert "64 × 48 pixels" in state.last_error and state.broken >= 2 and state.frames == 0


def test_the_timeline_grows_through_jumps_of_the_cameras_clock():
    line = Timeline()
    assert line.place(100.0, 1.0) == pytest.approx(1.0)
    assert line.place(100.5, 1.7) == pytest.approx(1.5)
    assert line.place(5.0, 2.0) == pytest.approx(2.0)
    assert line.place(4.0, 2.0) == pytest.approx(2.001)
    line.restart()
    assert line.place(900.0, 30.0) == pytest.approx(30.0)


def test_pauses_double_up_to_the_cap():
    pauses = [Backoff(1, 8).pause(n, random.Random(0)) for n in range(1, 8)]
    for n, pause in enumerate(pauses, 1):
        assert min(8, 2 ** (n - 1)) / 2 <= pause <= min(8, 2 ** (n - 1))
    assert Backoff(1, 8).pause(10_000, random.Random(0)) <= 8
