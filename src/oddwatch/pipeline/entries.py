"""Tracks, pictures and moments into gallery entries: described, encoded in batches, with a thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.core import Entry, EntryKind, Facts, Frame, Moment, Motion, Person, Span, Tokens, Track, View
from oddwatch.describe.describer import evidence
from oddwatch.media.looks import Look, quality, take
from oddwatch.pipeline.models import CROP_MARGIN, unit

if TYPE_CHECKING:
    from oddwatch.pipeline.index import IndexOptions, IndexReport
    from oddwatch.pipeline.models import Models

THUMBNAIL_SIDE = 480
PART_GRID = (4, 2)
"""Part tokens kept a person: rows × columns of mean patch tokens, after the class token."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """An entry waiting for its picture vector: ``crop`` is what the encoder will see."""

    entry: dict[str, Any]
    crop: np.ndarray


class EntryMaker:
    """Collects what one source gave and turns it into entries, the encoder running on whole batches."""

    def __init__(
        self, models: Models, source: str, key: str, options: IndexOptions, report: IndexReport
    ) -> None:
        self.models, self.source, self.key = models, source, key
        self.options, self.report = options, report
        self._drafts: list[_Draft] = []

    def track(self, track: Track, looks: Sequence[Look]) -> None:
        """A person followed through a video."""
        with self.report.timed("describe"):
            facts = self.models.describer.describe_track([look.triple() for look in looks], track.motion)
        self._person(f"p{track.id}", looks[0], facts, track.span, track.views, track.motion)

    def picture(self, frame: Frame, people: Sequence[Person]) -> None:
        """The people of a still picture, and the picture itself."""
        ordered = sorted(people, key=lambda p: (p.box.x0, p.box.y0))
        for number, person in enumerate(ordered, 1):
            others = [p for p in ordered if p is not person]
            with self.report.timed("describe"):
                facts = self.models.describer.describe(frame, person, others=others)
            look = take(frame, person, others, quality(frame, person, others))
            self._person(f"p{number}", look, facts, None, (look.view,), None, whole=True)
        self._moment("m0", frame, Moment(None, None, None, tuple(ordered), float(len(ordered))))

    def moment(self, moment: Moment, frame: Frame) -> None:
        """Some seconds of a video."""
        number = 0 if moment.span is None else round(moment.span.start * 1000)
        self._moment(f"m{number}", frame, moment)

    def entries(self) -> list[Entry]:
        """Everything collected since the last call."""
        drafts, self._drafts = self._drafts, []
        if not drafts:
            return []
        with self.report.timed("encode"):
            tokens = self.models.patches.encode([d.crop for d in drafts])
        vectors, parts = unit(tokens.cls), part_tokens(tokens)
        return [
            Entry(**{**d.entry, "vectors": {**d.entry["vectors"], "image": vectors[i]}, "tokens": parts[i]})
            for i, d in enumerate(drafts)
        ]

    def _person(
        self,
        name: str,
        look: Look,
        facts: Facts,
        span: Span | None,
        views: Sequence[View],
        motion: Motion | None,
        whole: bool = False,
    ) -> None:
        context, person = look.context, look.person
        if not whole:
            # Facts of a track were read in the kept picture; everything stored is in pixels of the frame.
            facts = Facts(
                facts.schema, facts.p, facts.known, {a: look.to_frame(b) for a, b in facts.boxes.items()}
            )
        entry = self._common(name, "person", facts, look.view.time, look.view.frame, span)
        entry |= {
            "box": look.view.person.box,
            "score": look.view.person.score,
            "views": tuple(views),
            "motion": motion,
            "thumbnail": look.jpeg,
        }
        self._drafts.append(_Draft(entry, context.crop(person.box.expanded(CROP_MARGIN))))

    def _moment(self, name: str, frame: Frame, moment: Moment) -> None:
        with self.report.timed("describe"):
            facts = self.models.describer.describe_moment(frame, moment.people, moment.motion)
            thumbnail = _thumbnail(frame)
        entry = self._common(name, "moment", facts, moment.time, moment.frame, moment.span)
        entry |= {"box": None, "motion": moment.motion, "thumbnail": thumbnail}
        self._drafts.append(_Draft(entry, frame.pixels))

    def _common(
        self,
        name: str,
        kind: EntryKind,
        facts: Facts,
        time: float | None,
        frame: int | None,
        span: Span | None,
    ) -> dict[str, Any]:
        return {
            "id": f"{self.key}-{name}",
            "source": self.source,
            "kind": kind,
            "span": span,
            "time": time,
            "frame": frame,
            "camera": self.options.camera,
            "wall_time": self._wall(time),
            "facts": facts,
            "vectors": {"facts": evidence(facts)},
        }

    def _wall(self, time: float | None) -> datetime | None:
        start = self.options.start
        return None if start is None else start + timedelta(seconds=time or 0.0)


def part_tokens(tokens: Tokens) -> np.ndarray:
    """(N, 1 + 8, 384) int8: the class token and mean patch tokens of a 4 × 2 grid, each scaled to length 127."""
    rows, columns = PART_GRID
    n, _, dim = tokens.layers["last"].shape
    height, width = tokens.grid
    patches = tokens.layers["last"].reshape(n, rows, height // rows, columns, width // columns, dim)
    parts = patches.mean(axis=(2, 4)).reshape(n, rows * columns, dim)
    joined = unit(np.concatenate([tokens.cls[:, None], parts], axis=1))
    return np.round(joined * 127).astype(np.int8)


def _thumbnail(frame: Frame) -> bytes:
    import io

    from PIL import Image

    picture = Image.fromarray(frame.pixels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
