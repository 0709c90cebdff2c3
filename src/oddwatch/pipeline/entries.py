"""Tracks, pictures and moments into gallery entries: described, encoded in batches, with a thumbnail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.core import Entry, EntryKind, Facts, Frame, Moment, Motion, Person, Span, Tokens, Track, View
from oddwatch.describe.describer import evidence
from oddwatch.describe.features import crop, rows_of
from oddwatch.media.looks import Look, quality, take
from oddwatch.pipeline.models import unit

if TYPE_CHECKING:
    from oddwatch.pipeline.index import IndexOptions, IndexReport
    from oddwatch.pipeline.models import Models

THUMBNAIL_SIDE = 480
PART_GRID = (4, 2)
"""Part tokens kept a person: rows × columns of mean patch tokens, after the class token."""


ENCODED_LOOKS = 2
"""Best looks of a track that are encoded; the others are described by their poses and colours."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """An entry waiting for its tokens: ``crops`` are what the encoder will see, the first of them the entry's
    picture; ``finish`` makes the entry of their tokens."""

    crops: Sequence[np.ndarray]
    finish: Callable[[Tokens], Entry]


class EntryMaker:
    """Collects what one source gave and turns it into entries: encoded in whole batches, each crop once, then
    described with the tokens."""

    def __init__(
        self, models: Models, source: str, key: str, options: IndexOptions, report: IndexReport
    ) -> None:
        self.models, self.source, self.key = models, source, key
        self.options, self.report = options, report
        self._drafts: list[_Draft] = []

    def track(self, track: Track, looks: Sequence[Look]) -> None:
        """A person followed through a video."""
        best, views = looks[0], [look.triple() for look in looks]

        def finish(tokens: Tokens) -> Entry:
            with self.report.timed("describe"):
                facts = self.models.describer.describe_track(views, track.motion, tokens)
            # Facts of a track were read in the kept picture; everything stored is in pixels of the frame.
            boxes = {a: looks[facts.views.get(a, 0)].to_frame(b) for a, b in facts.boxes.items()}
            facts = replace(facts, boxes=boxes)
            return self._person(f"p{track.id}", best, facts, track.span, track.views, track.motion, tokens)

        self._drafts.append(_Draft([crop(f, p) for f, p, _ in views[:ENCODED_LOOKS]], finish))

    def picture(self, frame: Frame, people: Sequence[Person]) -> None:
        """The people of a still picture, and the picture itself."""
        ordered = sorted(people, key=lambda p: (p.box.x0, p.box.y0))
        told: list[Facts] = []
        for number, person in enumerate(ordered, 1):
            self._drafts.append(
                self._still(frame, person, [p for p in ordered if p is not person], number, told)
            )
        moment = Moment(None, None, None, tuple(ordered), float(len(ordered)))
        self._moment("m0", frame, moment, told)

    def _still(
        self, frame: Frame, person: Person, others: Sequence[Person], number: int, told: list[Facts]
    ) -> _Draft:
        look = take(frame, person, others, quality(frame, person, others))

        def finish(tokens: Tokens) -> Entry:
            with self.report.timed("describe"):
                facts = self.models.describer.describe(frame, person, others=others, tokens=tokens)
            told.append(facts)
            return self._person(f"p{number}", look, facts, None, (look.view,), None, tokens)

        return _Draft([crop(frame, person)], finish)

    def moment(self, moment: Moment, frame: Frame) -> None:
        """Some seconds of a video."""
        number = 0 if moment.span is None else round(moment.span.start * 1000)
        self._moment(f"m{number}", frame, moment, None)

    def entries(self) -> list[Entry]:
        """Everything collected since the last call."""
        drafts, self._drafts = self._drafts, []
        if not drafts:
            return []
        with self.report.timed("encode"):
            tokens = self.models.patches.encode([pixels for d in drafts for pixels in d.crops])
        ends = np.cumsum([len(d.crops) for d in drafts])
        return [
            d.finish(rows_of(tokens, int(e) - len(d.crops), int(e)))
            for d, e in zip(drafts, ends, strict=True)
        ]

    def _person(
        self,
        name: str,
        look: Look,
        facts: Facts,
        span: Span | None,
        views: Sequence[View],
        motion: Motion | None,
        tokens: Tokens,
    ) -> Entry:
        entry = self._common(name, "person", facts, look.view.time, look.view.frame, span, tokens)
        entry |= {
            "box": look.view.person.box,
            "score": look.view.person.score,
            "views": tuple(views),
            "motion": motion,
            "thumbnail": look.jpeg,
        }
        return Entry(**entry)

    def _moment(self, name: str, frame: Frame, moment: Moment, told: Sequence[Facts] | None) -> None:
        def finish(tokens: Tokens) -> Entry:
            with self.report.timed("describe"):
                facts = self.models.describer.describe_moment(frame, moment.people, moment.motion, told)
                thumbnail = _thumbnail(frame)
            entry = self._common(name, "moment", facts, moment.time, moment.frame, moment.span, tokens)
            return Entry(**entry, box=None, motion=moment.motion, thumbnail=thumbnail)

        self._drafts.append(_Draft([frame.pixels], finish))

    def _common(
        self,
        name: str,
        kind: EntryKind,
        facts: Facts,
        time: float | None,
        frame: int | None,
        span: Span | None,
        tokens: Tokens,
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
            "vectors": {"facts": evidence(facts), "image": unit(tokens.cls)[0]},
            "tokens": part_tokens(tokens)[0],
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
