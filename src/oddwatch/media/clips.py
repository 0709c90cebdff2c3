"""Cut a piece out of a video, as VP9 for any browser."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from oddwatch.core.errors import InputError, MediaError
from oddwatch.core.geometry import Span
from oddwatch.core.media import Frame
from oddwatch.media.limits import Limits
from oddwatch.media.names import printable
from oddwatch.media.video import Sampling, Video

_CLOCK = Fraction(1, 90_000)


def clip(
    path: str | Path, span: Span, out: str | Path, *, tallest: int = 720, limits: Limits | None = None
) -> Path:
    """Write the frames of ``span`` (seconds) to ``out`` (.webm or .mp4) as VP9, without sound.

    Timing is kept, pictures taller than ``tallest`` pixels are scaled down. The file appears only when
    complete.

    Raises:
        InputError: ``out`` has another ending. MediaError: the span holds no frame that can be decoded.
    """
    part = _part(Path(out))
    video = Video(path, limits=limits)
    frames = video.frames(Sampling(fps=None), max(0.0, span.start), span.end)
    found = f"no frame between {span.start:.2f} and {span.end:.2f} s"
    nothing = MediaError(video.name, found, f"it lasts {video.duration:.2f} s")
    return _finished(frames, Path(out), part, video.fps, tallest, nothing)


def write(frames: Iterable[Frame], out: str | Path, fps: float, *, tallest: int = 720) -> Path:
    """Write ``frames`` (times growing) to ``out`` as :func:`clip` does; ``fps`` is roughly how many come in a second.

    Raises:
        InputError: ``out`` has another ending. MediaError: there is no frame.
    """
    nothing = MediaError(printable(out), "would be a clip without a frame", "give at least one")
    return _finished(frames, Path(out), _part(Path(out)), fps, tallest, nothing)


def _part(out: Path) -> Path:
    if out.suffix.lower() not in (".webm", ".mp4"):
        raise InputError(printable(out), "expected a name ending in .webm or .mp4", "rename it")
    return out.with_name(f".{out.stem}.part{out.suffix}")


def _finished(
    frames: Iterable[Frame], out: Path, part: Path, fps: float, tallest: int, nothing: MediaError
) -> Path:
    try:
        if not _write(frames, part, fps, tallest):
            raise nothing
        os.replace(part, out)  # noqa: PTH105
    finally:
        part.unlink(missing_ok=True)
    return out


def _write(frames: Iterable[Frame], part: Path, fps: float, tallest: int) -> int:
    written, start, before = 0, 0.0, -1
    with av.open(str(part.absolute()), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _CLOCK
        stream.options = {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}
        for frame in frames:
            if not written:
                start = frame.time or 0.0
                stream.height, stream.width = _even_size(frame, tallest)
            picture = _picture(frame, stream.width, stream.height)
            # A rounded clock must still move on for every frame.
            before = picture.pts = max(before + 1, round(((frame.time or 0.0) - start) / _CLOCK))
            container.mux(stream.encode(picture))
            written += 1
        if written:
            container.mux(stream.encode())
    return written


def _even_size(frame: Frame, tallest: int) -> tuple[int, int]:
    scale = min(1.0, tallest / frame.height)
    return tuple(max(2, round(side * scale / 2) * 2) for side in (frame.height, frame.width))  # type: ignore[return-value]


def _picture(frame: Frame, width: int, height: int) -> av.VideoFrame:
    import cv2

    pixels = frame.pixels
    if (frame.width, frame.height) != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    picture.time_base = _CLOCK
    return picture
