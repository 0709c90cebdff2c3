"""Published X-VLM, X2-VLM and CMP checkpoints as a stage of the search, over the pictures that a gallery keeps.

The two-stage score of these systems (ALBEF's, X-VLM's, CMP's): the logit of "match" orders the best hits, the similarity
of the two unit vectors breaks ties. Picture tokens are computed once and kept for the next sentence.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from oddwatch.core import Entry, Frame, Hit, InputError, Pose, Query
from oddwatch.encoders.xvlm.model import CmpEncoder, XvlmEncoder
from oddwatch.media.looks import AROUND, TALLEST
from oddwatch.search.fuse import minmax, reordered

if TYPE_CHECKING:
    from oddwatch.search.cross import Shelf

MEMORY = 512 * 1024**2
"""Bytes of picture tokens kept: 2,600 pictures at 224 pixels (50 tokens of width 1024 in float32)."""


def kept_picture(entry: Entry) -> Frame | None:
    """The picture that a gallery keeps of ``entry``, None where there is none."""
    from PIL import Image

    if entry.thumbnail is None:
        return None
    with Image.open(io.BytesIO(entry.thumbnail)) as image:
        return Frame(np.asarray(image.convert("RGB")), entry.source, entry.time)


def kept_pose(entry: Entry, picture: Frame) -> Pose | None:
    """The pose of ``entry``'s first view in pixels of its kept ``picture``, None where none is known.

    The picture is the box and its surroundings as :func:`oddwatch.media.looks.take` cuts them (how far it is scaled
    follows from its size; where the frame cut it both right and below, somewhat too little); a picture larger than these
    is the whole frame, as benchmarks keep it.
    """
    if not entry.views or (pose := entry.views[0].person.pose) is None:
        return None
    wide = entry.views[0].person.box.expanded(AROUND)
    x0, y0 = (float(int(max(v, 0.0))) for v in (wide.x0, wide.y0))
    widest, highest = np.ceil(wide.x1) - x0, np.ceil(wide.y1) - y0
    if picture.width > widest or picture.height > highest:
        return pose
    scale = 1.0
    if picture.height >= TALLEST:
        scale = min(1.0, max(picture.width / widest, picture.height / highest))
    points = pose.points.copy()
    points[:, :2] = (points[:, :2] - (x0, y0)) * scale
    return Pose(points)


@dataclass(slots=True)
class MatcherStage:
    """The first ``n`` hits by a published cross-encoder (of :func:`oddwatch.encoders.xvlm.model.open_model`), the rest as they were.

    The final score is min-max of the matching logits plus ``weight`` × min-max of the contrastive similarities, over
    the hits of this query; a hit without a kept picture counts as the worst of the scored. CMP sees the pose that is
    kept of an entry. ``memory`` bounds the bytes of picture tokens that are kept by hit id.
    """

    shelf: Shelf
    model: XvlmEncoder
    n: int = 128
    weight: float = 0.002
    memory: int = MEMORY
    name: str = "checkpoint"
    _tokens: OrderedDict[str, np.ndarray] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError("n", f"expected 0 or more hits to match, got {self.n}")

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits with the logits of the match in ``stages["checkpoint"]``."""
        head = list(hits[: self.n])
        odds: dict[str, float] = {}
        near: dict[str, float] = {}
        vector = self.model.encode_texts([query.text])[0] if head else np.zeros(0)
        for ids, tokens in self._seen([h.id for h in head]):
            odds |= zip(ids, self.model.match(query.text, tokens).tolist(), strict=True)
            near |= zip(ids, (self.model.vectors_of(tokens) @ vector).tolist(), strict=True)
        if len(odds) < 2:
            return list(hits)
        m, s = (minmax(np.array([found.get(h.id, np.nan) for h in head])) for found in (odds, near))
        final = m + self.weight * s
        order = sorted(range(len(head)), key=lambda i: -final[i])
        return reordered(hits, [*order, *range(len(head), len(hits))], self.name, odds)

    def _seen(self, ids: Sequence[str]) -> Iterator[tuple[list[str], np.ndarray]]:
        """Ids and tokens (B, L, D) of those entries that have a picture, in batches of the model's."""
        for start in range(0, len(ids), self.model.batch):
            part = ids[start : start + self.model.batch]
            found = {i: self._tokens[i] for i in part if i in self._tokens}
            found |= self._encoded([i for i in part if i not in found])
            for i, tokens in found.items():
                self._keep(i, tokens)
            if found:
                yield list(found), np.stack(list(found.values()))

    def _encoded(self, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        entries = self.shelf.get_many(ids) if ids else []
        shown = [(e, f) for e in entries if (f := kept_picture(e)) is not None]
        if not shown:
            return {}
        frames = [f for _, f in shown]
        if isinstance(self.model, CmpEncoder):
            tokens = self.model.tokens_of(frames, [kept_pose(e, f) for e, f in shown])
        else:
            tokens = self.model.tokens_of(frames)
        return {e.id: t for (e, _), t in zip(shown, tokens, strict=True)}

    def _keep(self, id_: str, tokens: np.ndarray) -> None:
        """Last used, last dropped."""
        self._tokens[id_] = tokens
        self._tokens.move_to_end(id_)
        while len(self._tokens) * tokens.nbytes > self.memory:
            self._tokens.popitem(last=False)
