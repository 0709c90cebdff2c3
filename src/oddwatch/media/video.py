"""Video through PyAV: exact presentation times, upright frames, sampling that does not depend on the start.

``Frame.time`` is the frame's presentation timestamp minus the container's start time, in seconds: what a
player's position counter shows. ``Frame.index`` counts the stream's frames in presentation order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from oddwatch.core.errors import InputError, LimitError, MediaError
from oddwatch.core.media import Frame
from oddwatch.media.limits import Limits
from oddwatch.media.names import printable

# Play lists (concat, hls, dash) and scripts could make FFmpeg open other files; picture and text
# demuxers would take anything. Only real containers and raw streams are let through.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,asf_o,h264,hevc,vvc,m4v,mjpeg,mxf,ivf,obu,"
    "rm,dv,nut,wtv,nsv,yuv4mpegpipe,live_flv,h261,h263,vc1,cavsvideo,pva,ty,gxf,lxf"
)
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are looked at.

    ``fps``: the frame a player shows at each instant k / fps (each frame once), None for every frame. With
    ``scene`` (0–1) only those are kept whose mean grey difference from the sample before is at least that
    much, and one at least every ``longest`` seconds. The grid is anchored at time 0, so a run that starts in
    the middle sees the same frames.
    """

    fps: float | None = 2.0
    scene: float | None = None
    longest: float = 10.0

    def __post_init__(self) -> None:
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise InputError("sampling", f"expected fps above 0 or None, got {self.fps}")
        if self.scene is not None and not 0 <= self.scene <= 1:
            raise InputError("sampling", f"expected a scene threshold between 0 and 1, got {self.scene}")
        if not self.longest > 0:
            raise InputError("sampling", f"expected longest above 0 s, got {self.longest}")


def _open(path: Path) -> Any:
    name = printable(path)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        if path.stat().st_size == 0:
            raise MediaError(name, "is empty (0 bytes)", "copy it again from its origin")
        # An absolute path cannot be read as "protocol:…".
        return av.open(str(path.absolute()), options=options, metadata_errors="replace")
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"cannot be opened as a video: {reason}"
        raise MediaError(name, problem, "it may be cut off or of an unknown kind") from error


def _stream(path: Path, container: Any, limits: Limits) -> Any:
    """The first real video stream (cover art is none), within the limits."""
    for stream in container.streams.video:
        if "attached_pic" in stream.disposition.name.lower() if stream.disposition else False:
            continue
        pixels = (stream.codec_context.width or 0) * (stream.codec_context.height or 0)
        if pixels > limits.pixels:
            found = f"has frames of {pixels:,} pixels, the limit is {limits.pixels:,}"
            raise LimitError(printable(path), found, "raise Limits(pixels=…)")
        return stream
    raise MediaError(printable(path), "has no video stream", "give a file with pictures in it")


def _announced(container: Any, stream: Any) -> float:
    """Seconds of video the header speaks of; 0 where it does not, or where it is FFmpeg's own guess."""
    if not any(name in container.format.name for name in ("mov", "matroska", "avi")):
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1
    return float(container.duration / av.time_base) if container.duration and alone else 0.0


def probe(path: str | Path, *, limits: Limits | None = None) -> None:
    """Raise MediaError (or LimitError) unless ``path`` opens as a video with a video stream."""
    path = Path(path)
    with _open(path) as container:
        _stream(path, container, limits or Limits())


@dataclass(frozen=True, slots=True)
class _Table:
    """Every packet's timestamp, from one pass without decoding. ``pts`` (N,) ascending; ``keys`` (K, 2)
    presentation and decoding timestamps of the keyframes; ``timed`` whether each packet has its own
    timestamp, which is what makes seeking exact."""

    pts: np.ndarray
    keys: np.ndarray
    last: int
    timed: bool


class Video:
    """A video file. Opening reads its packet table and the first frame; frames are decoded on demand.

    Raises:
        MediaError: it cannot be opened, has no video stream, or not one frame can be decoded.
        LimitError: a frame or the length is over ``limits``.
    """

    def __init__(self, path: str | Path, *, limits: Limits | None = None) -> None:
        self.path, self.limits = Path(path), limits or Limits()
        self.name = printable(self.path)
        self._broken: dict[str, list[float]] = {}
        with _open(self.path) as container:
            stream = _stream(self.path, container, self.limits)
            self._time_base: Fraction = stream.time_base or Fraction(1, 1000)
            self._start = self._origin(container, stream)
            self._rate = float(stream.average_rate or stream.guessed_rate or 25)
            self._announced = _announced(container, stream)
            self.codec: str = stream.codec_context.name
        if self.duration > self.limits.seconds:
            found = f"lasts {self.duration:,.0f} s, the limit is {self.limits.seconds:,.0f} s"
            raise LimitError(self.name, found, "raise Limits(seconds=…) or cut it")
        first = next(self._decoded(0.0, None), None)
        if first is None:
            raise MediaError(self.name, "holds no frame that can be decoded", "copy it again from its origin")
        self.width, self.height = first.width, first.height
        self._note_missing_tail()

    def _origin(self, container: Any, stream: Any) -> int:
        """The container's start in units of the stream's time base."""
        if container.start_time is not None:
            seconds = Fraction(int(container.start_time), av.time_base)
            return round(seconds / self._time_base)
        return int(stream.start_time or 0)

    @cached_property
    def _table(self) -> _Table:
        pts: list[int] = []
        keys: list[tuple[int, int]] = []
        last, timed = 0, True
        with _open(self.path) as container:
            stream = _stream(self.path, container, self.limits)
            try:
                for packet in container.demux(stream):
                    if not packet.size or packet.is_discard:
                        continue
                    if packet.pts is None:
                        timed = False
                        pts.append(len(pts))
                        continue
                    pts.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
                    last = max(last, packet.pts + (packet.duration or 0))
            except av.error.FFmpegError as error:
                self._note(f"reading stops early ({error.strerror})", self._seconds(last))
        if not pts:
            raise MediaError(self.name, "holds no frames", "copy it again from its origin")
        table = np.unique(np.array(pts, dtype=np.int64))
        pairs = np.array(sorted(keys), dtype=np.int64).reshape(-1, 2)
        return _Table(table, pairs, last, timed and len(table) == len(pts))

    def _seconds(self, pts: int) -> float:
        return max(0.0, float((pts - self._start) * self._time_base))

    @cached_property
    def times(self) -> np.ndarray:
        """Presentation time of every frame in seconds, (N,) float64 ascending."""
        table = self._table
        if not table.timed:
            return np.arange(len(table.pts)) / self._rate
        times = (table.pts - self._start) * float(self._time_base)
        return np.maximum(times, 0.0)

    @property
    def duration(self) -> float:
        """Seconds from the start to the end of the last frame."""
        if not self._table.timed:
            return len(self._table.pts) / self._rate
        return max(self._seconds(self._table.last), float(self.times[-1]))

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        times = self.times
        span = float(times[-1] - times[0])
        return (len(times) - 1) / span if len(times) > 1 and span > 0 else self._rate

    @property
    def problems(self) -> list[str]:
        """What was found broken so far, one line a kind."""
        lines = []
        for what, at in self._broken.items():
            where = f"at {at[0]:.2f} s" if len(at) == 1 else f"{len(at)} times, {min(at):.2f}–{max(at):.2f} s"
            lines.append(f"{what}: {where}")
        return lines

    def _note(self, what: str, at: float) -> None:
        times = self._broken.setdefault(what, [])
        if at not in times:
            times.append(at)

    def _note_missing_tail(self) -> None:
        if self._announced - self.duration > max(1.0, 0.02 * self._announced):
            self._note(f"the tail is missing ({self._announced:.2f} s announced)", self.duration)

    def frames(
        self, sample: Sampling | None = None, start: float = 0.0, end: float | None = None
    ) -> Iterator[Frame]:
        """Upright RGB frames with ``start`` ≤ time < ``end`` that ``sample`` chooses, in order.

        Broken parts are left out and listed in :attr:`problems`. A run from ``start`` gives exactly the
        frames that a run from 0 gives from there on.
        """
        sample = sample or Sampling()
        if not math.isfinite(start) or (end is not None and not end >= start):
            raise InputError("start/end", f"expected finite start ≤ end, got {start}, {end}")
        if sample.scene is None:
            yield from self._chosen(self._picked(sample.fps), start, end)
        else:
            yield from self._scenes(sample, start, end)

    def _picked(self, fps: float | None) -> np.ndarray:
        """Indices of the frames on the grid."""
        times = self.times
        if fps is None:
            return np.arange(len(times))
        grid = np.arange(math.floor(times[-1] * fps + _EPSILON) + 1) / fps
        shown = np.searchsorted(times, grid + _EPSILON, side="right") - 1
        return np.unique(np.maximum(shown, 0))

    def _chosen(self, picked: np.ndarray, start: float, end: float | None) -> Iterator[Frame]:
        at = self.times[picked]
        stop = math.inf if end is None else end
        wanted = {int(i) for i in picked[(at >= start - _EPSILON) & (at < stop - _EPSILON)]}
        if not wanted:
            return
        found = 0
        for decoded in self._decoded(float(self.times[min(wanted)]), wanted):
            found += 1
            yield decoded
            if found == len(wanted):
                break
        if found < len(wanted):
            self._note(f"{len(wanted) - found} sampled frame(s) could not be decoded", start)

    def _scenes(self, sample: Sampling, start: float, end: float | None) -> Iterator[Frame]:
        picked = self._picked(sample.fps)
        at = self.times[picked]
        first = int(np.searchsorted(at, start - _EPSILON))
        # The sample before decides about the first, so that a run from the middle agrees with a whole one.
        lead = float(at[first - 1]) if first > 0 else start
        before: np.ndarray | None = None
        window = -1
        for frame in self._chosen(picked, lead, end):
            time, small = frame.time or 0.0, thumbnail(frame)
            changed = before is None or difference(before, small) >= (sample.scene or 0.0)
            due = int(time / sample.longest) != window
            before, window = small, int(time / sample.longest)
            if time >= start - _EPSILON and (changed or due):
                yield frame

    def frame_at(self, time: float) -> Frame:
        """The frame a player shows at ``time`` seconds. Raises MediaError where that one is broken."""
        if not math.isfinite(time) or time < 0:
            raise InputError("time", f"expected seconds from 0 on, got {time}")
        shown = max(0, int(np.searchsorted(self.times, time + _EPSILON, side="right")) - 1)
        frame = next(self._chosen(np.array([shown]), 0.0, None), None)
        if frame is None:
            raise MediaError(self.name, f"the frame at {time:.2f} s cannot be decoded", "choose another time")
        return frame

    def _decoded(self, start: float, wanted: set[int] | None) -> Iterator[Frame]:
        """Sound frames with an index in ``wanted`` (None: all), decoded from the keyframe before ``start`` on.
        Only these are converted to RGB."""
        table = self._table
        with _open(self.path) as container:
            stream = _stream(self.path, container, self.limits)
            # Frame threads would make what is left of damaged parts depend on timing.
            stream.thread_type = "SLICE"
            packets = self._packets_from(container, stream, start)
            counter = 0
            last = max(wanted) if wanted else math.inf
            for raw in self._raw(packets):
                index = int(np.searchsorted(table.pts, raw.pts)) if table.timed else counter
                counter += 1
                if index >= len(table.pts) or (table.timed and table.pts[index] != raw.pts):
                    continue
                if wanted is not None and index not in wanted:
                    if index > last:
                        return
                    continue
                time = float(self.times[index])
                if raw.width * raw.height > self.limits.pixels:
                    raise LimitError(
                        self.name, f"a frame of {raw.width} × {raw.height} pixels", "raise Limits"
                    )
                pixels = np.rot90(raw.to_ndarray(format="rgb24"), round(raw.rotation / 90) % 4)
                yield Frame(np.ascontiguousarray(pixels), self.name, time, index)

    def _packets_from(self, container: Any, stream: Any, start: float) -> Iterator[Any]:
        """Packets from the last keyframe shown at or before ``start`` on.

        Containers seek by decoding time, some only roughly, so a seek is aimed at the keyframe's decoding
        time and checked against its first packet.
        """
        table = self._table
        keys = table.keys[(table.keys[:, 0] - self._start) * float(self._time_base) <= start + _EPSILON]
        if table.timed and len(keys) > 1 and start > 0:
            pts, dts = (int(v) for v in keys[-1])
            for back in (0.0, 1.0, 5.0):
                try:
                    container.seek(dts - round(back / self._time_base), stream=stream, backward=True)
                    packets = container.demux(stream)
                    first = next(packets)
                except (av.error.FFmpegError, StopIteration):
                    continue
                if first.is_keyframe and first.pts is not None and first.pts <= pts:
                    return chain([first], packets)
            # Frames are told by their timestamps, so a failed seek can only lose some, never mix them up.
            with suppress(av.error.FFmpegError):
                container.seek(int(table.keys[0, 1]), stream=stream, backward=True)
        demuxed: Iterator[Any] = container.demux(stream)
        return demuxed

    def _raw(self, packets: Iterator[Any]) -> Iterator[Any]:
        position = 0.0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._note(f"reading stops early ({error.strerror})", position)
                return
            if packet.pts is not None:
                position = self._seconds(packet.pts)
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if not isinstance(error, av.error.EOFError):
                    self._note(f"cannot be decoded ({error.strerror})", position)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._note("damaged frame left out", position)
                elif frame.pts is not None or not self._table.timed:
                    yield frame


def thumbnail(frame: Frame, width: int = 64) -> np.ndarray:
    """The frame in grey at ``width`` pixels, (h, width) float32 0–1, for cheap comparisons."""
    import cv2

    height = max(1, round(frame.height * width / frame.width))
    small = cv2.resize(frame.pixels, (width, height), interpolation=cv2.INTER_AREA)
    grey: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return grey


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute difference of two thumbnails, 0–1; pictures of different size count as 1."""
    return 1.0 if before.shape != after.shape else float(np.abs(before - after).mean())
