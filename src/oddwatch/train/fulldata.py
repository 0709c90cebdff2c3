"""Records as full-size training sees them: pictures and pose maps varied alike, captions varied, words hidden, hard pairs.

Sources: CMP (arXiv 2411.17776 §3.3, §4 and its code) and X-VLM (arXiv 2111.08276). Unlike the published code, a picture
and its pose map share one flip and one erased rectangle (there they are drawn apart, so that they often disagree).
Everything drawn depends on the seed, the epoch and the record's number alone: workers and stops change nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from oddwatch.core import Frame, InputError
from oddwatch.datasets import pab
from oddwatch.datasets.records import Record, frame, holds
from oddwatch.encoders import weights
from oddwatch.encoders.sentence import WordPiece
from oddwatch.encoders.xvlm.model import DEVIATION, MEAN, squared
from oddwatch.encoders.xvlm.text import clean_caption, token_ids
from oddwatch.media.looks import AROUND
from oddwatch.train.augment import eda
from oddwatch.train.masking import mask_tokens
from oddwatch.train.negatives import HardNegatives, merged_ids
from oddwatch.train.pairs import source_of

Batch = dict[str, np.ndarray]
AHEAD = 2
"""Batches that are prepared while one is learnt from."""
ERASED_AREA = (0.02, 0.4)
ERASED_RATIO = (0.3, 3.3)
"""Share of the picture that is erased, and its height by its width (Zhong et al., Random Erasing, AAAI 2020)."""
TRIES = 10


@dataclass(frozen=True, slots=True)
class Varied:
    """How pictures are varied: chance of a ``flip`` and of an erased rectangle, and whether about half of them are shown
    as a local view, a part of half their area or more (HUI, arXiv 2511.22470)."""

    flip: float = 0.5
    erase: float = 0.6
    local: bool = False


def local_view(rng: np.random.Generator) -> bool:
    """Whether a picture is shown in part: x > 0.5 with x normal around 0.5. The paper calls 1/6 the variance, its code takes
    it as the deviation; the chance is one half in either case."""
    return bool(rng.normal(0.5, 1 / 6) > 0.5)


def varied(pictures: Sequence[np.ndarray], rng: np.random.Generator, how: Varied) -> list[np.ndarray]:
    """A picture (S, S, 3) uint8 and, if given, its pose map: (3, S, S) float32 normalised, flipped and erased alike.

    What is erased is of the mean colour in the picture and black, nobody, in the map.
    """
    if how.local and local_view(rng):
        pictures = _in_part(pictures, rng)
    side = pictures[0].shape[0]
    flip = rng.random() < how.flip
    hole = rectangle(side, rng) if rng.random() < how.erase else None
    out = []
    for number, picture in enumerate(pictures):
        x = (picture.astype(np.float32) / 255 - MEAN) / DEVIATION
        x = x[:, ::-1] if flip else x
        x = np.ascontiguousarray(x.transpose(2, 0, 1))
        if hole is not None:
            x[(slice(None), *hole)] = 0 if number == 0 else (-MEAN / DEVIATION)[:, None, None]
        out.append(x)
    return out


def _in_part(pictures: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The same square of half to all of the area of each picture, at the old size."""
    import cv2

    side = pictures[0].shape[0]
    size = max(1, round(side * float(np.sqrt(rng.uniform(0.5, 1.0)))))
    top, left = int(rng.integers(side - size + 1)), int(rng.integers(side - size + 1))
    parts = (p[top : top + size, left : left + size] for p in pictures)
    return [cv2.resize(p, (side, side), interpolation=cv2.INTER_CUBIC) for p in parts]


def rectangle(side: int, rng: np.random.Generator) -> tuple[slice, slice] | None:
    """Rows and columns of a rectangle inside ``side`` × ``side``; None where ten draws did not fit."""
    for _ in range(TRIES):
        area = rng.uniform(*ERASED_AREA) * side * side
        ratio = np.exp(rng.uniform(*np.log(ERASED_RATIO)))
        height, width = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < height < side and 0 < width < side:
            top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
            return slice(top, top + height), slice(left, left + width)
    return None


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[int, np.ndarray]:
    """The id of [MASK], and for each id whether it goes on with the word before."""
    pieces = weights.path("vocabulary").read_text(encoding="utf-8").split("\n")[:-1]
    return WordPiece(pieces).mask, np.array([p.startswith("##") for p in pieces])


@dataclass(slots=True)
class Reader:
    """``records`` at ``side`` pixels and ``length`` tokens; with ``poses`` also their pose maps.

    ``hide`` masks words, ``edit`` adds a second caption by EDA, ``hard`` adds identity-based hard pairs: the record's own
    (``hard_image``, ``hard_caption``) where it names one, else one of its video in the opposite state.

    Raises:
        InputError: a record without a caption, or poses where none of the first hundred pictures has a map.
    """

    records: Sequence[Record]
    side: int
    length: int
    seed: int = 0
    poses: bool = False
    hide: bool = False
    edit: bool = False
    hard: bool = False
    how: Varied = Varied()
    _partners: HardNegatives = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for record in self.records:
            if not any(clean_caption(c) for c in record.captions):
                raise InputError(record.image, "expected a caption with a word")
        first = self.records[:100]
        if self.poses and not any(holds_map(r) for r in first):
            raise InputError(
                f"{self.records[0].store}/{pab.pose_name(self.records[0])}",
                "no pose map is there",
                "CMP learns from pose maps at pose/<path of the picture>; without them choose xvlm-full",
            )
        sources = [source_of(r) for r in self.records]
        self._partners = HardNegatives([f"{s.video}_{s.state}" for s in sources])

    def __len__(self) -> int:
        return len(self.records)

    def order(self, epoch: int, size: int) -> list[np.ndarray]:
        """The records of each batch of an epoch; what is left over for a smaller one is not used."""
        size = min(size, len(self))
        found = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        return [found[i : i + size] for i in range(0, len(self) - size + 1, size)]

    def batches(
        self, epoch: int, size: int, start: int = 0, workers: int = 2
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch from number ``start`` on, prepared by ``workers`` threads ahead of their use."""
        waiting: deque[list[Future[dict[str, np.ndarray | str]]]] = deque()
        with ThreadPoolExecutor(max(1, workers)) as pool:
            for rows in self.order(epoch, size)[start:]:
                waiting.append([pool.submit(self._sample, i, epoch) for i in rows.tolist()])
                if len(waiting) > AHEAD:
                    yield self._joined([f.result() for f in waiting.popleft()])
            while waiting:
                yield self._joined([f.result() for f in waiting.popleft()])

    def plain(self, at: int) -> list[np.ndarray]:
        """The picture of record ``at`` (3, S, S) float32 as it is, and with ``poses`` its map."""
        return varied(self._pictures(self.records[at]), np.random.default_rng(0), Varied(0.0, 0.0))

    def _sample(self, at: int, epoch: int) -> dict[str, np.ndarray | str]:
        rng = np.random.default_rng([self.seed, epoch, at])
        record = self.records[at]
        caption = self._caption(record, rng)
        out: dict[str, np.ndarray | str] = {"caption": caption, "id": record.image_id}
        out |= self._seen(record, rng, "")
        if self.edit:
            out["edited"] = eda(clean_caption(caption, self.length), rng)
        if self.hide:
            out["hidden"], out["targets"] = self._hidden(caption, rng)
        other = self._partner(at, rng) if self.hard else None
        if other is not None:
            out["hard_caption"] = self._caption(other, rng)
            out |= self._seen(other, rng, "hard_")
        return out

    def _caption(self, record: Record, rng: np.random.Generator) -> str:
        usable = [c for c in record.captions if clean_caption(c)]
        return usable[int(rng.integers(len(usable)))]

    def _partner(self, at: int, rng: np.random.Generator) -> Record | None:
        record = self.records[at]
        if record.hard_image and record.hard_caption and clean_caption(record.hard_caption):
            return replace(record, image=record.hard_image, captions=(record.hard_caption,), box=None)
        found = self._partners.pick(at, rng)
        return None if found is None else self.records[found]

    def _seen(self, record: Record, rng: np.random.Generator, name: str) -> dict[str, np.ndarray]:
        made = varied(self._pictures(record), rng, self.how)
        return {f"{name}{kind}": x for kind, x in zip(("pixels", "poses"), made, strict=False)}

    def _pictures(self, record: Record) -> list[np.ndarray]:
        shown = frame(record)
        out = [_part(shown, record)]
        if self.poses:
            black = np.zeros((1, 1, 3), np.uint8)
            out.append(_part(Frame(pab.pose_map(record)), record) if holds_map(record) else black)
        return [squared(p, self.side) for p in out]

    def _hidden(self, caption: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        mask, continues = _vocabulary()
        ids = token_ids([caption], self.length)[0][0]
        ends = (0, int(ids[np.flatnonzero(ids)[-1]]))  # padding and [SEP]
        found = mask_tokens(
            ids, rng, mask_id=mask, vocabulary=len(continues), continues=continues[ids], never=ends
        )
        return found.ids, found.targets

    def _joined(self, samples: Sequence[Mapping[str, np.ndarray | str]]) -> Batch:
        """Columns stacked over the batch; ``same`` (B,) numbers of what shows the same, ``hard_rows`` whose hard pair is
        in the columns ``hard_…``."""
        captions = [str(s["caption"]) for s in samples]
        out: Batch = {"same": merged_ids([str(s["id"]) for s in samples], captions)}
        hard = [i for i, s in enumerate(samples) if "hard_caption" in s]
        texts = {"text": captions}
        if self.edit:
            texts["edited"] = [str(s["edited"]) for s in samples]
        if hard:
            out["hard_rows"] = np.array(hard, np.int64)
            texts["hard"] = [str(samples[i]["hard_caption"]) for i in hard]
        for name, said in texts.items():
            out[f"{name}_ids"], out[f"{name}_mask"] = token_ids(said, self.length)
        for name in ("pixels", "poses", "hidden", "targets", "hard_pixels", "hard_poses"):
            column = [s[name] for s in samples if name in s]
            if column:
                out[name] = np.stack([np.asarray(c) for c in column])
        return out


def holds_map(record: Record) -> bool:
    """Whether a record's pose map is there."""
    return bool(record.store) and holds(Path(record.store), pab.pose_name(record))


def _part(shown: Frame, record: Record) -> np.ndarray:
    """All of the picture, or the person meant with the surroundings that a gallery keeps."""
    return shown.pixels if record.box is None else shown.crop(record.box.expanded(AROUND))
