"""What is let through as a camera's address, what is shown of it, and an RTSP server that redirects."""

from __future__ import annotations

import logging
import socket
import threading

import httpx
import pytest

from oddwatch.core import InputError, MediaError
from oddwatch.media.addresses import checked, look_before, masked, same_host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://bob:s3cret@cam.local:554/live", "rtsp://***@cam.local:554/live"),
        ("rtsp://bob:s3@cret@cam.local/live", "rtsp://***@cam.local/live"),
        ("http://cam/video?user=bob&pwd=s3cret&size=2", "http://cam/video?user=***&pwd=***&size=***"),
        ("rtsp://cam/user=bob_password=s3cret_channel=1", "rtsp://cam/user=***_password=***_channel=1"),
        ("cannot open rtsp://bob:s3cret@cam/live: no", "cannot open rtsp://***@cam/live: no"),
        ("/footage/a@b.mp4", "/footage/a@b.mp4"),
    ],
)
def test_secrets_are_never_shown(text, expected):
    assert masked(text) == expected
    assert "s3" not in masked(text)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/a", "rtsp:///path", "rtsp://h:99999/", "http://a b/"]
)
def test_other_addresses_are_refused(url):
    with pytest.raises(InputError):
        checked(url)


def test_private_addresses_are_fine_for_cameras():
    assert checked("rtsp://192.168.1.20/live").hostname == "192.168.1.20"


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ("rtsp://cam/a", "rtsp://cam:8554/b", True),
        ("http://cam/a", "/b", True),
        ("http://cam/a", "http://169.254.169.254/b", False),
        ("https://cam/a", "http://cam/b", False),
        ("rtsp://cam/a", "file:///etc/passwd", False),
        ("http://cam/a", "//other/b", False),
    ],
)
def test_redirects_stay_on_the_host(here, there, expected):
    assert same_host(here, there) is expected


def serve_once(answers: list[bytes]) -> tuple[int, list[bytes]]:
    """An RTSP server that gives these answers to one connection; its port, and what it was asked."""
    server = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def run() -> None:
        line, _ = server.accept()
        with server, line:
            for answer in answers:
                asked.append(line.recv(65536))
                line.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return server.getsockname()[1], asked


def test_an_rtsp_redirect_to_another_host_is_refused():
    port, _ = serve_once([b"RTSP/1.0 302 Found\r\nLocation: rtsp://10.0.0.1:554/x\r\n\r\n"])
    with pytest.raises(MediaError, match=r"sends its readers to rtsp://10\.0\.0\.1"):
        look_before(f"rtsp://127.0.0.1:{port}/a", 2)


def test_a_redirect_after_the_password_is_refused_too():
    asks = b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\nContent-Length: 2\r\n\r\nno'
    port, asked = serve_once([asks, b"RTSP/1.0 301 Moved\r\nLocation: rtsp://evil/x\r\n\r\n"])
    with pytest.raises(MediaError, match="sends its readers") as error:
        look_before(f"rtsp://bob:pw@127.0.0.1:{port}/a", 2)
    assert "pw" not in str(error.value)
    # RFC 2617: MD5(MD5(bob:r:pw):n:MD5(DESCRIBE:uri)), worked out by hand with hashlib.
    import hashlib

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    expected = md5(f"{md5('bob:r:pw')}:n:{md5(f'DESCRIBE:rtsp://127.0.0.1:{port}/a')}")
    assert f'response="{expected}"'.encode() in asked[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"RTSP/1.0 404 Not Found\r\n\r\n", "answers 404"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not RTSP"),
        (b"", "reached|no answer"),
    ],
)
def test_refusals_say_why(answer, words):
    port, _ = serve_once([answer])
    with pytest.raises(MediaError, match=words):
        look_before(f"rtsp://127.0.0.1:{port}/a", 1)


def test_the_http_library_logs_no_secret(caplog):
    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200)))
    with caplog.at_level(logging.INFO, "httpx"), client:
        client.get("http://bob:s3cret@cam/a?token=s3cret")
    assert "***" in caplog.text and "s3cret" not in caplog.text
