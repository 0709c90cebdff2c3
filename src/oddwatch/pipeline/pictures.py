"""Pictures and clips of hits, read again from their source."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from oddwatch.core import Frame, Hit, MediaError, Span
from oddwatch.media.clips import clip
from oddwatch.media.pictures import read_picture
from oddwatch.media.video import Video
from oddwatch.report import context

log = logging.getLogger(__name__)
AROUND_SECONDS = 1.0


def frame_of(hit: Hit) -> Frame:
    """The whole frame a hit was seen in. Raises MediaError where the source is gone or broken."""
    path = Path(hit.source)
    if not path.exists():
        raise MediaError(hit.source, "is no longer there", "put it back or remove it from the gallery")
    return read_picture(path) if hit.time is None else Video(path).frame_at(hit.time)


def context_picture(hit: Hit) -> tuple[bytes, float] | None:
    """A JPEG of the hit's frame and its scale; None where the source cannot be read any more."""
    try:
        return context(frame_of(hit).pixels)
    except MediaError as error:
        log.warning("no picture for %s: %s", hit.id, error)
        return None


def write_clips(hits: Sequence[Hit], folder: Path) -> list[Path]:
    """A VP9 clip of every hit of a video, a second around it; a JPEG for a still. Broken sources are skipped."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for hit in hits:
        out = folder / f"{hit.rank:03d}-{hit.id}.webm"
        try:
            if hit.time is None or hit.start is None or hit.end is None:
                out = out.with_suffix(".jpg")
                out.write_bytes(context(frame_of(hit).pixels, long_side=1600)[0])
            else:
                span = Span(max(0.0, hit.start - AROUND_SECONDS), hit.end + AROUND_SECONDS)
                clip(Path(hit.source), span, out)
        except MediaError as error:
            log.warning("no clip for %s: %s", hit.id, error)
            continue
        written.append(out)
    return written
