"""AnomalyRuler: a few normal frames give a rule book, frames that break a rule are anomalous (ECCV 2024, arXiv 2407.10299).

Idea. 1. Captions of ten normal frames become rules of what is normal, and by contrast of what is not; the sets are merged by
vote. 2. Words taken from the anomaly rules are looked for in every caption. 3. The hits are smoothed and voted over the
frames around. 4. Captions that disagree with the vote are mended. 5. A language model judges each mended caption by the
rules, and its verdicts are smoothed.

Needs captions of normal frames, or a rule ``book``. With ``chat`` all five steps run. With a book and no model, steps 2 and 3
do, with the model's part in taking keywords played by the lexicon. With neither, the rules are what normal captions speak of
(:class:`~oddwatch.detectors.video.cover.Cover`): a caption is as anomalous as its rarest doing or thing is among the normal
ones, from 0 to 1, and the curve is that degree under the same moving average.

Differs from the paper: keywords match whole words, in the singular or plural (``whole=False`` matches inside words, as the
released code does); the clip's own mean as the threshold is a statistic of the tested clip, kept for keywords (``tau`` sets
another), not used without them; where every caption holds a keyword all frames are anomalous (the released comparison says
none are); a verdict that cannot be read is asked for once more, as JSON, and then falls back to the vote (released: another
model); where the model writes no rule for anomalies, all is done as without a model; averages start anew with every
clip, and run over the frames that were looked at and captioned, at however many a second.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import UNKNOWN, ChatModel, Curve, InputError, Unknown
from oddwatch.detectors.video.asking import (
    PASSED,
    Told,
    captions_of,
    chat_of,
    kept_arguments,
    pack,
    span_of,
    unpack,
)
from oddwatch.detectors.video.base import VideoDetector, at_looks
from oddwatch.detectors.video.cover import Cover, Term
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.rules import RuleBook, aggregate, find, induce, judge, keywords, mended
from oddwatch.scoring.curves import ema, fill_gaps, majority

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What was made of a clip's captions, one entry a look: ``first`` (M,) 0–1 by the caption alone, ``vote`` (M,) bool after
    smoothing, ``final`` (M,) the curve, ``words`` that decided, ``said`` by the model."""

    first: np.ndarray
    vote: np.ndarray
    final: np.ndarray
    words: list[str]
    said: list[str]


def smoothed(first: np.ndarray, alpha: float, reach: int, tau: float | None = None) -> np.ndarray:
    """(M,) bool: perception smoothing. The moving average of ``first`` (M,) above ``tau`` (None: its mean) in more than half of
    the looks within ``reach``; where every look is anomalous, all are."""
    if first.size and first.min() >= 1:
        return np.ones(first.size, bool)
    average = ema(first, alpha)
    level = (float(average.mean()) if average.size else 0.0) if tau is None else tau
    return majority(average, level, reach)


def doubly_right(decisions: Sequence[bool], reasons: Sequence[bool]) -> dict[str, float]:
    """Shares of frames by whether the decision (first letter) and the reason given (second) are right or wrong: RR, RW, WR, WW,
    which sum to 1. Raises InputError for none, or not as many of one as of the other."""
    decided, reasoned = np.asarray(decisions, bool), np.asarray(reasons, bool)
    if not decided.size or decided.shape != reasoned.shape:
        raise InputError("reasons", f"expected one for each of {decided.size} decisions, one or more")
    cells = {"RR": (True, True), "RW": (True, False), "WR": (False, True), "WW": (False, False)}
    return {name: float(((decided == d) & (reasoned == r)).mean()) for name, (d, r) in cells.items()}


@dataclass(kw_only=True, eq=False)
class AnomalyRuler(VideoDetector):
    """Rules from ``n`` batches of ``batch`` normal captions, of which a normal one needs ``least`` votes (None: half).

    Smoothing: ``alpha`` of the moving average over keyword hits, ``reach`` looks of the vote to both sides, ``tau`` (None: the
    mean of the clip's average). ``span`` of the average over the model's verdicts. ``book`` stands for induced rules;
    without keywords they are taken from it. ``chat`` is not kept with a saved detector: assign it again.
    """

    NAME: ClassVar[str] = "anomalyruler"
    READS: ClassVar[tuple[str, ...]] = ("captions",)
    STATE: ClassVar[tuple[str, ...]] = ("rules", "usual", "counts")

    n: int = 10
    batch: int = 1
    least: int | None = None
    alpha: float = 0.33
    reach: int = 5
    tau: float | None = None
    span: int = 10
    whole: bool = True
    book: RuleBook | None = field(default=None, metadata=PASSED, repr=False)
    chat: ChatModel | None = field(default=None, metadata=PASSED, repr=False)
    rules: np.ndarray | None = field(default=None, init=False, repr=False)
    """The rule book as JSON, (L,) uint8."""
    usual: np.ndarray | None = field(default=None, init=False, repr=False)
    """What normal captions speak of, as JSON, (L,) uint8; ``counts`` (T + 1,) in how many, the last of how many."""
    counts: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.chat = chat_of(self.chat)
        if min(self.n, self.batch, self.span) < 1 or self.reach < 0 or not 0 < self.alpha <= 1:
            raise InputError("n, batch, span, reach, alpha", "expected 1, 1, 1, 0 or more, and 0 < alpha ≤ 1")
        if self.book is not None:
            self._keep(self.book)
            self.fitted = True

    def arguments(self) -> dict[str, Any]:
        return kept_arguments(self)

    @property
    def rule_book(self) -> RuleBook | None:
        """The rules in force; None where they are what normal captions speak of."""
        return None if self.rules is None else RuleBook.of(unpack(self.rules))

    @property
    def cover(self) -> Cover | None:
        """What normal captions speak of, where there is no rule book."""
        if self.usual is None or self.counts is None:
            return None
        known = tuple(Term(*entry) for entry in unpack(self.usual))
        return Cover(known, self.counts[:-1], int(self.counts[-1]))

    def _keep(self, book: RuleBook) -> None:
        words = book.keywords or keywords(self.chat, book)
        self.rules = pack(replace(book, keywords=words).lists())

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        captions = [c for notes in normal for c in captions_of(notes, self.NAME)]
        if self.book is not None:
            return
        if self.chat is not None:
            books = induce(self.chat, captions, n=self.n, batch=self.batch, seed=self.seed)
            book = aggregate(self.chat, books, self.least)
            if book.anomaly:
                self._keep(book)
                self.usual = self.counts = None
                return
            log.warning("the model wrote no rule for anomalies: rules are what normal captions speak of")
        cover = Cover.of(captions)
        self.rules = None
        self.usual = pack([[t.key, t.word, t.kind] for t in cover.known])
        self.counts = np.append(cover.counts, cover.total)

    def _curve(self, notes: Notes) -> Curve:
        reading = self.read(notes)
        values = at_looks(reading.final, notes)
        return Curve(notes.name, notes.times, values, {"language": values})

    def read(self, notes: Notes) -> Reading:
        """All steps over a clip's captions."""
        captions = captions_of(notes, self.NAME)
        book = self.rule_book
        if book is None:
            return self._by_cover(captions)
        hits = [find(c, book.keywords, self.whole) for c in captions]
        # An empty caption says neither.
        known = np.array(
            [float(bool(h)) if c.strip() else np.nan for h, c in zip(hits, captions, strict=True)]
        )
        first = fill_gaps(known)
        vote = smoothed(first, self.alpha, self.reach, self.tau)
        words = [h[0] if h else "" for h in hits]
        if self.chat is None:
            return Reading(first, vote, ema(vote.astype(float), self.alpha), words, [""] * len(captions))
        return self._judged(self.chat, book, captions, hits, first, vote)

    def _by_cover(self, captions: Sequence[str]) -> Reading:
        cover = self.cover
        assert cover is not None
        degrees, words = cover.surprises(captions)
        first = fill_gaps(degrees)
        final = ema(first, self.alpha)
        return Reading(
            first, smoothed(first, self.alpha, self.reach, self.tau), final, words, [""] * len(words)
        )

    def _judged(
        self, chat: ChatModel, book: RuleBook, captions: Sequence[str], hits: Sequence[Sequence[str]],
        first: np.ndarray, vote: np.ndarray,
    ) -> Reading:  # fmt: skip
        """Steps 4 and 5: captions mended by the vote, then judged with what the vote found."""
        texts, words = [], []
        anywhere = Counter(w for h in hits for w in h)
        for i, caption in enumerate(captions):
            around = Counter(w for h in hits[max(i - self.reach, 0) : i + self.reach + 1] for w in h)
            # An average outlives the window: then the clip's most frequent word.
            frequent = next((w for w, _ in (around or anywhere).most_common(1)), "")
            texts.append(mended(caption, first[i] > 0.5, bool(vote[i]), hits[i], frequent))
            words.append((hits[i][0] if hits[i] else frequent) if vote[i] else "")
        told = judge(chat, book, texts, words)
        verdicts = [
            float(v) if isinstance(d, Unknown) else float(d) for (d, _), v in zip(told, vote, strict=True)
        ]
        return Reading(first, vote, ema(verdicts, span=self.span), words, [said for _, said in told])

    def told(self, notes: Notes) -> list[Told]:
        """Each look's score and the word or the model's sentence that it rests on."""
        reading = self.read(notes)
        out = []
        for i, at in enumerate(notes.looked):
            empty = not notes.captions[i].strip()
            text = reading.said[i] or reading.words[i]
            score = UNKNOWN if empty else float(reading.final[i])
            out.append(Told(span_of(notes, int(at), int(at) + 1), score, text))
        return out
