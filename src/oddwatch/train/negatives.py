"""Identity-based hard negatives of CMP (arXiv 2411.17776 §3.3; search §5.3), and captions that are no negatives.

The hardest negative of a pair is the same person in the same place doing the opposite: a pair made from the other
state's caption of the same video. Equal captions, on the other hand, are never negatives of one another.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import InputError
from oddwatch.encoders.xvlm.text import clean_caption

NORMAL = 0
STATES = (0, 1, 2)
"""The last part of a ``source_id``: 0 a normal caption, 1 an anomalous one, 2 both joined (which counts as anomalous)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A ``source_id`` of PAB, ``"<video>_<state>"``."""

    video: str
    state: int

    @property
    def normal(self) -> bool:
        return self.state == NORMAL


def read_source(source_id: str) -> Source:
    """The video and state (0, 1 or 2) of a ``source_id``.

    Raises:
        InputError: it has another form.
    """
    video, sign, state = source_id.rpartition("_")
    if not sign or not video or state not in ("0", "1", "2"):
        raise InputError("source_id", f"expected <video>_<0, 1 or 2>, got {source_id!r}")
    return Source(video, int(state))


class HardNegatives:
    """Picks, for a record, another one of the same video and the opposite state.

    ``source_ids`` are those of all records, in order.
    """

    def __init__(self, source_ids: Sequence[str]) -> None:
        self._sources = [read_source(s) for s in source_ids]
        self._of: dict[tuple[str, bool], list[int]] = {}
        for i, source in enumerate(self._sources):
            self._of.setdefault((source.video, source.normal), []).append(i)

    def __len__(self) -> int:
        return len(self._sources)

    def candidates(self, record: int) -> Sequence[int]:
        """The records that may be picked for ``record``, ascending; empty where its video has no opposite state."""
        source = self._sources[record]
        return self._of.get((source.video, not source.normal), [])

    def pick(self, record: int, rng: np.random.Generator) -> int | None:
        """One candidate at random, or None where there is none (leave the record out of the hard pair loss)."""
        found = self.candidates(record)
        return found[int(rng.integers(len(found)))] if found else None

    def without_partner(self) -> list[int]:
        """The records that have no candidate."""
        return [i for i in range(len(self)) if not self.candidates(i)]


def duplicate_captions(captions: Sequence[str]) -> np.ndarray:
    """Bool (N, N): two captions are the same to the model (equal when cleaned and cut); True on the diagonal.

    Mask these pairs when negatives are drawn for image-text matching.
    """
    _, number = np.unique([clean_caption(c) for c in captions], return_inverse=True)
    return np.asarray(number[:, None] == number[None, :])


def merged_ids(ids: Sequence[Hashable], captions: Sequence[str]) -> np.ndarray:
    """Numbers (N,) int64, equal for pairs that share an id or a cleaned caption, directly or by way of others.

    With these as ids a duplicate caption is a positive of ITC and no negative of ITM.

    Raises:
        InputError: as many ids as captions are expected.
    """
    if len(ids) != len(captions):
        raise InputError("captions", f"expected one per id, got {len(captions)} for {len(ids)} ids")
    root = list(range(len(ids)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    first: dict[tuple[str, Hashable], int] = {}
    for i, (own, caption) in enumerate(zip(ids, captions, strict=True)):
        for key in (("id", own), ("caption", clean_caption(caption))):
            j = find(first.setdefault(key, i))
            root[max(find(i), j)] = min(find(i), j)
    return np.array([find(i) for i in range(len(ids))], dtype=np.int64)
