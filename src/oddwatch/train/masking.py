"""Masked language modelling: which tokens of a caption are hidden, and by what (X-VLM arXiv 2111.08276; search §2.2).

A quarter of the caption, at most ten tokens, whole words, now and then two or three in a row. Differs from the
published code, which counts and masks padding too (so always ten, some of them padding) and cuts a word in
half when it runs over the limit: here padding is never masked and a word is masked whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import InputError

IGNORED = -100
"""The target that says: nothing to learn at this place."""


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """``ids`` (L,) int64 as the model sees them; ``targets`` (L,) int64 the hidden token, −100 where not masked."""

    ids: np.ndarray
    targets: np.ndarray

    @property
    def positions(self) -> np.ndarray:
        """The masked places, ascending."""
        return np.flatnonzero(self.targets != IGNORED)

    def restored(self) -> np.ndarray:
        """The tokens before masking (L,)."""
        return np.where(self.targets == IGNORED, self.ids, self.targets)


def mask_tokens(
    ids: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
    *,
    mask_id: int,
    vocabulary: int | Sequence[int],
    continues: Sequence[bool] | np.ndarray | None = None,
    never: Sequence[int] = (),
    share: float = 0.25,
    most: int = 10,
    span: float = 0.2,
    whole_word: bool = True,
    branches: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> Masked:
    """Hide tokens of ``ids`` (L,), [CLS] first.

    ``never`` are token ids that stay (padding, [SEP]); position 0 stays too. round(``share`` × the rest) tokens are
    masked, at least one word, at most ``most`` tokens. With probability ``span`` two or three tokens in a row are
    taken. ``continues`` (L,) tells pieces that go on with the word before; with ``whole_word`` all pieces of a
    word go together. Of the masked tokens ``branches`` (summing to 1) become ``mask_id``, a random token
    (of ``vocabulary``: its size, or the ids to draw from), or stay. A word of more than ``most`` pieces is never masked.

    Raises:
        InputError: sizes differ, or a share is outside 0–1.
    """
    row = np.array(ids, dtype=np.int64)
    joined = np.zeros(len(row), bool) if continues is None else np.array(continues, dtype=bool)
    if row.ndim != 1 or joined.shape != row.shape:
        raise InputError(
            "tokens", f"expected ids and continues of one length, got {row.shape} and {joined.shape}"
        )
    if not 0 <= share <= 1 or not 0 <= span <= 1 or most < 0:
        raise InputError(
            "masking", f"expected share and span within 0–1 and most ≥ 0, got {share}, {span}, {most}"
        )
    if min(branches) < 0 or abs(sum(branches) - 1) > 1e-6:
        raise InputError("branches", f"expected three shares that sum to 1, got {branches}")
    open_ = ~np.isin(row, np.array(never, dtype=np.int64))
    open_[:1] = False
    chosen = _chosen(open_, joined & whole_word, rng, share, most, span)
    return _hidden(row, chosen, rng, mask_id, vocabulary, branches)


def _chosen(
    open_: np.ndarray, joined: np.ndarray, rng: np.random.Generator, share: float, most: int, span: float
) -> np.ndarray:
    """Bool (L,): the places to mask, whole words, not more than asked for (but at least one word)."""
    count = int(open_.sum())
    wanted = min(most, max(1, round(share * count))) if count and share > 0 else 0
    chosen = np.zeros(len(open_), bool)
    for place in rng.permutation(np.flatnonzero(open_)):
        if chosen.sum() >= wanted:
            break
        if chosen[place]:
            continue
        width = int(rng.integers(2, 4)) if rng.random() < span else 1
        for size in dict.fromkeys((width, 1)):  # a span too long for what is left is tried again as one word
            taken = chosen | _words(open_, joined, int(place), size)
            first = not chosen.any() and size == 1
            if taken.sum() <= (most if first else wanted):
                chosen = taken
                break
    return chosen


def _words(open_: np.ndarray, joined: np.ndarray, place: int, width: int) -> np.ndarray:
    """Bool (L,): ``width`` tokens from ``place``, widened to whole words, ended by a token that must stay."""
    start, end = place, place + 1
    while start > 0 and joined[start] and open_[start - 1]:
        start -= 1
    while end < len(open_) and open_[end] and (end < place + width or joined[end]):
        end += 1
    found = np.zeros(len(open_), bool)
    found[start:end] = True
    return found


def _hidden(
    row: np.ndarray,
    chosen: np.ndarray,
    rng: np.random.Generator,
    mask_id: int,
    vocabulary: int | Sequence[int],
    branches: tuple[float, float, float],
) -> Masked:
    targets = np.where(chosen, row, IGNORED)
    places = np.flatnonzero(chosen)
    branch = rng.choice(3, size=len(places), p=np.array(branches) / sum(branches))
    seen = row.copy()
    seen[places[branch == 0]] = mask_id
    other = places[branch == 1]
    seen[other] = rng.choice(vocabulary, size=len(other)) if len(other) else mask_id
    return Masked(seen, targets)
