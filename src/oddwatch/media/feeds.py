"""What one connection to a live source gives: pictures as they come, until it breaks or ends.

Every feed is a generator of :class:`Shot`. It opens when first asked, raises an OddwatchError, OSError or FFmpeg error
where the source fails, returns where it ends, and looks at ``stopped`` between pictures. None of them retries; that is
:class:`oddwatch.media.streams.Stream`'s.
"""

from __future__ import annotations

import io
import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import av
import httpx
import numpy as np

from oddwatch.core.errors import LimitError, MediaError, OddwatchError
from oddwatch.media.addresses import is_address, look_before, masked, same_host
from oddwatch.media.limits import Limits
from oddwatch.media.names import printable
from oddwatch.media.pictures import read_picture
from oddwatch.media.sources import kind_of
from oddwatch.media.video import _CONTAINERS, Sampling, Video

_REDIRECTS = 3
_LARGEST_JPEG = 64 * 1024**2
_UNFINISHED = (".part", ".tmp", ".crdownload", ".partial", ".filepart")


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a feed: ``pixels()`` gives its (H, W, 3) uint8 RGB (done only where the picture is wanted),
    ``pts`` its time in the feed in seconds where it has one, ``wall`` when it was filmed where that is known."""

    pixels: Callable[[], np.ndarray]
    pts: float | None = None
    wall: datetime | None = None


Feed = Iterator[Shot]


def rtsp(url: str, stopped: threading.Event, limits: Limits, timeout: float, transport: str = "tcp") -> Feed:
    """The first video stream of an RTSP address. ``timeout`` seconds for opening and for each picture."""
    look_before(url, timeout)
    options = {
        "rtsp_transport": transport,
        "timeout": str(round(timeout * 1e6)),
        "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto",
        "analyzeduration": "1000000",
        "probesize": "500000",
        # Without this it waits for twenty pictures to guess a rate that nobody asks for.
        "fpsprobesize": "0",
        "fflags": "nobuffer",
        "reorder_queue_size": "0" if transport == "tcp" else "64",
    }
    with av.open(url, options=options, timeout=(timeout, timeout), metadata_errors="replace") as container:
        yield from _decoded(container, masked(url), stopped, limits)


@cache
def _tls(verify: bool) -> ssl.SSLContext:
    """Made once: reading the system's certificates takes up to a second."""
    context = httpx.create_ssl_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def http(url: str, stopped: threading.Event, limits: Limits, timeout: float, verify: bool = True) -> Feed:
    """Motion JPEG (multipart/x-mixed-replace), or a video container, over HTTP.

    Redirects are followed on the same host only. A single JPEG is given once: it ends the feed. ``verify``: whether an
    https certificate is checked (many cameras sign their own).
    """
    address = urlsplit(url)
    target = urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2]))
    auth: httpx.Auth | None = None
    user, password = unquote(address.username or ""), unquote(address.password or "")
    with httpx.Client(
        follow_redirects=False, timeout=timeout, trust_env=False, verify=_tls(verify)
    ) as client:
        for _ in range(_REDIRECTS + 1):
            with client.stream("GET", target, headers={"Accept-Encoding": "identity"}, auth=auth) as answer:
                if answer.status_code == 401 and address.username is not None and auth is None:
                    digest = answer.headers.get("www-authenticate", "").lower().startswith("digest")
                    auth = (httpx.DigestAuth if digest else httpx.BasicAuth)(user, password)
                    continue
                if answer.is_redirect:
                    to = answer.headers.get("location", "")
                    if not same_host(target, to):
                        remedy = "name that address yourself"
                        raise MediaError(
                            masked(url), f"sends its readers to {masked(to) or 'nowhere'}", remedy
                        )
                    target = str(answer.url.join(to))
                    continue
                if answer.status_code != 200:
                    raise MediaError(
                        masked(url), f"answers {answer.status_code}", "check path, user and password"
                    )
                yield from _answered(answer, masked(url), stopped, limits)
                return
    raise MediaError(masked(url), f"redirects more than {_REDIRECTS} times", "name the last address yourself")


def _answered(answer: httpx.Response, name: str, stopped: threading.Event, limits: Limits) -> Feed:
    kind, _, rest = answer.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind.startswith("multipart/"):
        boundary = re.search(r"boundary=\"?([^\";]+)", rest)
        if not boundary:
            raise MediaError(name, "is multipart without a boundary", "is it a Motion JPEG address?")
        for jpeg in parts(answer.iter_raw(), boundary[1].strip().encode(), min(limits.bytes, _LARGEST_JPEG)):
            if stopped.is_set():
                return
            yield Shot(_jpeg(jpeg, name, limits))
    elif kind == "image/jpeg":
        yield Shot(_jpeg(b"".join(_bounded(answer.iter_raw(), _LARGEST_JPEG, name)), name, limits))
    elif kind.startswith(("video/", "application/octet-stream")):
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with av.open(_Pieces(answer.iter_raw()), options=options, metadata_errors="replace") as container:
            yield from _decoded(container, name, stopped, limits)
    else:
        raise MediaError(
            name, f"gives {kind or 'something unnamed'}, no video", "is it a Motion JPEG address?"
        )


def _bounded(pieces: Iterator[bytes], most: int, name: str) -> Iterator[bytes]:
    seen = 0
    for piece in pieces:
        seen += len(piece)
        if seen > most:
            raise LimitError(
                name, f"sends a picture of more than {most:,} bytes", "lower the camera's quality"
            )
        yield piece


class _Pieces(io.RawIOBase):
    """An HTTP body as a file that can only be read onwards."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        if not self._left:
            self._left = next(self._pieces, b"")
        size = len(self._left) if size < 0 else size
        out, self._left = self._left[:size], self._left[size:]
        return out


def parts(pieces: Iterator[bytes], boundary: bytes, most: int) -> Iterator[bytes]:
    """The JPEGs of a multipart stream, by Content-Length where a part has it, else up to the next boundary.

    Raises:
        LimitError: a part of more than ``most`` bytes.
    """
    mark = b"--" + boundary.removeprefix(b"--")
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while (part := _next_part(buffer, mark)) is not None:
            if part.startswith(b"\xff\xd8"):
                yield part
        if len(buffer) > most + 8192:
            raise LimitError(
                "motion JPEG", f"a part of more than {most:,} bytes", "lower the camera's quality"
            )


def _next_part(buffer: bytearray, mark: bytes) -> bytes | None:
    """Cut the first whole part off ``buffer``; None where none is whole yet."""
    begin = buffer.find(mark)
    if begin < 0:
        return None
    head = re.compile(rb"\r?\n\r?\n").search(buffer, begin)
    if head is None:
        return None
    length = re.search(rb"(?i)\ncontent-length:\s*(\d{1,10})", buffer[begin : head.start()])
    if length:
        end = after = head.end() + int(length[1])
        if len(buffer) < end:
            return None
    else:
        end = buffer.find(mark, head.end())
        if end < 0:
            return None
        after = end
    part = bytes(buffer[head.end() : end])
    del buffer[:after]
    return part if length else part.rstrip(b"\r\n")


def _jpeg(data: bytes, name: str, limits: Limits) -> Callable[[], np.ndarray]:
    def pixels() -> np.ndarray:
        import cv2
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as header:
                width, height = header.size
        except (OSError, SyntaxError, ValueError) as error:
            raise MediaError(
                name, "sends a picture that is no JPEG", "is it a Motion JPEG address?"
            ) from error
        if width * height > limits.pixels:
            raise LimitError(name, f"a picture of {width} × {height} pixels", "raise Limits(pixels=…)")
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise MediaError(name, "sends a damaged JPEG", "check the line to the camera")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    return pixels


def _decoded(container: Any, name: str, stopped: threading.Event, limits: Limits) -> Feed:
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise MediaError(name, "has no video stream", "check the address")
    # Frame threads would hold back as many pictures as there are threads.
    stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
    for packet in container.demux(stream):
        if stopped.is_set():
            return
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            # A lost packet costs pictures up to the next keyframe, not the connection.
            continue
        for raw in frames:
            if raw.width * raw.height > limits.pixels:
                raise LimitError(
                    name, f"a frame of {raw.width} × {raw.height} pixels", "raise Limits(pixels=…)"
                )
            if not raw.is_corrupt:
                yield Shot(_upright(raw), None if raw.time is None else float(raw.time))


def _upright(raw: Any) -> Callable[[], np.ndarray]:
    def pixels() -> np.ndarray:
        turned = np.rot90(raw.to_ndarray(format="rgb24"), round(raw.rotation / 90) % 4)
        return np.ascontiguousarray(turned)

    return pixels


def camera(number: int, stopped: threading.Event, limits: Limits) -> Feed:
    """The camera that the system calls ``number``, through OpenCV."""
    import cv2

    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise MediaError(f"camera {number}", "cannot be opened", "is it plugged in and free?")
        while not stopped.is_set():
            good, bgr = capture.read()
            if not good:
                raise MediaError(f"camera {number}", "gives no picture any more", "is it still plugged in?")
            if bgr.shape[0] * bgr.shape[1] > limits.pixels:
                raise LimitError(f"camera {number}", f"a picture of {bgr.shape[1]} × {bgr.shape[0]} pixels")
            yield Shot(lambda bgr=bgr: np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))  # type: ignore[misc]
    finally:
        capture.release()


def video(path: Path, stopped: threading.Event, limits: Limits, start: datetime | None = None) -> Feed:
    """Every frame of a video file. ``start``: when its first frame was filmed, where known."""
    opened = Video(path, limits=limits)
    for frame in opened.frames(Sampling(fps=None)):
        if stopped.is_set():
            return
        wall = None if start is None else start + timedelta(seconds=frame.time or 0.0)
        yield Shot(lambda pixels=frame.pixels: pixels, frame.time, wall)  # type: ignore[misc]


def folder(
    path: Path,
    stopped: threading.Event,
    limits: Limits,
    *,
    existing: bool,
    note: Callable[[str], None],
    every: float = 0.5,
) -> Feed:
    """New pictures and finished videos of a folder, oldest first. ``existing``: those already there too.

    A file counts as finished when its size and time have not changed between two looks (``every`` seconds apart) and
    its name is not one that is given to unfinished ones (hidden, .part, .tmp). A video's start is its file time less
    its length. Files that cannot be read are handed to ``note`` and passed over.
    """
    seen: dict[str, tuple[int, int]] = {} if existing else _listed(path)
    before: dict[str, tuple[int, int]] = {}
    while not stopped.is_set():
        now = _listed(path)
        seen = {n: s for n, s in seen.items() if n in now}
        finished = [n for n, s in now.items() if seen.get(n) != s and before.get(n) == s and s[1] > 0]
        for name in sorted(finished, key=lambda n: (now[n][0], n)):
            seen[name] = now[name]
            try:
                yield from _file(path / name, now[name][0] / 1e9, stopped, limits)
            except OddwatchError as error:
                note(str(error))
            if stopped.is_set():
                return
        before = now
        stopped.wait(every)


def _listed(path: Path) -> dict[str, tuple[int, int]]:
    """Name to (time in ns, bytes) of the files in a folder that may be finished."""
    out = {}
    for entry in path.iterdir():
        if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
            continue
        try:
            info = entry.stat()
        except OSError:
            # It was moved away between the listing and the look.
            continue
        if entry.is_file():
            out[entry.name] = (info.st_mtime_ns, info.st_size)
    return out


def _file(path: Path, mtime: float, stopped: threading.Event, limits: Limits) -> Feed:
    filmed = datetime.fromtimestamp(mtime, UTC)
    if kind_of(path, limits=limits) == "picture":
        frame = read_picture(path, limits=limits)
        yield Shot(lambda: frame.pixels, None, filmed)
        return
    length = Video(path, limits=limits).duration
    yield from video(path, stopped, limits, filmed - timedelta(seconds=length))


def paced(shots: Feed, stopped: threading.Event, clock: Callable[[], float] = time.monotonic) -> Feed:
    """The shots of a file, each when it is due, as a camera would give them."""
    began = clock()
    for shot in shots:
        wait = (shot.pts or 0.0) - (clock() - began)
        if wait > 0 and math.isfinite(wait) and stopped.wait(wait):
            return
        yield shot


def what(source: str | int | Path) -> str:
    """Which feed reads ``source``: rtsp, http, camera, folder, file, or "" where nothing does."""
    if isinstance(source, int) or (
        isinstance(source, str) and source.isdecimal() and not Path(source).exists()
    ):
        return "camera"
    if isinstance(source, str) and is_address(source):
        return source.split("://")[0].lower().removesuffix("s")
    path = Path(source)
    return "folder" if path.is_dir() else "file" if path.exists() else ""


def shown(source: str | int | Path) -> str:
    """``source`` as it may be shown and logged."""
    if isinstance(source, int) or what(source) == "camera":
        return f"camera {source}"
    return masked(source) if isinstance(source, str) and is_address(source) else printable(source)
