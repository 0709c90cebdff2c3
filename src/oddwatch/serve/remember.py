"""Watched people enter the gallery as soon as they have left the picture, so that they can be searched at once."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from oddwatch.detectors.video.watching import Watcher
from oddwatch.gallery.sources import SourceInfo, SourceState
from oddwatch.pipeline.entries import EntryMaker
from oddwatch.pipeline.index import IndexOptions, IndexReport
from oddwatch.pipeline.models import Models

if TYPE_CHECKING:
    from oddwatch.gallery.store import Gallery


class LiveGallery:
    """Stores the tracks that end while cameras are watched. Each camera's watch is one source of the gallery, named
    ``CAMERA since TIME``; its entries carry the camera, times of the stream and wall-clock times."""

    def __init__(self, gallery: Gallery, models: Models) -> None:
        self.gallery, self.models = gallery, models
        self._open: dict[str, tuple[SourceState, EntryMaker, IndexReport]] = {}
        self.people = 0

    def tracks(self, camera: str, watcher: Watcher, began: datetime) -> None:
        """Store the people whose tracks ended; ``began`` is the wall-clock time of the stream's second 0."""
        state, maker, _ = self._source(camera, began)
        for track in watcher.ended:
            maker.track(track, watcher.tracker.looks(track.id))
        entries = maker.entries()
        self.gallery.checkpoint(state, entries, until=max((t.span.end for t in watcher.ended), default=0.0))
        self.people += len(entries)

    def _source(self, camera: str, began: datetime) -> tuple[SourceState, EntryMaker, IndexReport]:
        if camera not in self._open:
            name = f"{camera} since {(began + timedelta(seconds=0.5)).replace(microsecond=0).isoformat()}"
            digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
            options, report = IndexOptions(camera=camera, start=began), IndexReport()
            state = self.gallery.begin_source(
                name, digest, {"watched": True}, SourceInfo("video", camera, began)
            )
            self._open[camera] = (state, EntryMaker(self.models, name, digest[:12], options, report), report)
        return self._open[camera]

    def finish(self) -> None:
        """Mark every camera's source as done."""
        for state, _, _ in self._open.values():
            self.gallery.finish_source(state)
        self._open.clear()
