"""TRLC: a taxonomy becomes rules, a first verdict on a clip is checked against them (SmartHome-Bench, CVPR 2025 workshop,
arXiv 2506.12992).

Idea. 1. A model condenses a taxonomy of anomalies into ten rules, once. 2. Shown a clip's frames, it describes, reasons and
says 0 or 1. 3. Shown its answer and the rules, it corrects itself. 4. Several models may vote.

Needs captions, or ``pictures`` and a ``chat`` model that sees; a clip gets one verdict, which is its curve throughout, or with
``seconds`` one for each stretch of that length. Without a model, a caption speaks of an anomaly when it holds a word of
:mod:`~oddwatch.detectors.video.taxonomy`; the first verdict is 1 when any caption does, and the check lets it stand when at
least two do (of a single caption, that one).

Differs from the paper: of the frames every ``every``-th (50) is shown, as the nearest look, thinned evenly to the 16 pictures
that one question may hold; the first verdict sees the rules, as the paper has it (``rules_first=False``: not, as the released code).
A verdict that cannot be read counts ½ in the curve and is UNKNOWN in :meth:`TRLC.told`; :func:`accuracy` counts it wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import UNKNOWN, ChatModel, Curve, InputError, Unknown
from oddwatch.detectors.video import taxonomy
from oddwatch.detectors.video.asking import (
    MOST_PICTURES,
    PASSED,
    Pictures,
    Told,
    ask_all,
    captions_of,
    chat_of,
    eyes_of,
    kept_arguments,
    listed,
    span_of,
    texts_of,
)
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.rules import find
from oddwatch.language.asking import Request
from oddwatch.language.grammars import Flagged
from oddwatch.language.parsing import items
from oddwatch.language.templates import prompt
from oddwatch.scoring.curves import spread

log = logging.getLogger(__name__)
RULES = 10
Verdict = int | Unknown


def vote(verdicts: Sequence[Verdict]) -> Verdict:
    """What most of them say; those that are UNKNOWN have no voice, and a tie is UNKNOWN."""
    said = [v for v in verdicts if not isinstance(v, Unknown)]
    for_, against = sum(said), len(said) - sum(said)
    return UNKNOWN if for_ == against else int(for_ > against)


def accuracy(verdicts: Sequence[Verdict], labels: Sequence[int]) -> float:
    """Share of right verdicts; UNKNOWN is wrong, whatever the label. Raises InputError without any, or for other labels."""
    if not len(labels) or len(verdicts) != len(labels) or not set(labels) <= {0, 1}:
        raise InputError(
            "labels", f"expected a label 0 or 1 for each of {len(verdicts)} verdicts, one or more"
        )
    return float(
        np.mean([not isinstance(v, Unknown) and v == y for v, y in zip(verdicts, labels, strict=True)])
    )


def write_rules(chat: ChatModel, about: str = "", count: int = RULES) -> tuple[str, ...]:
    """``count`` rules from the taxonomy ``about`` (ours where none is given); a shorter list is taken with a warning.

    Raises:
        InputError: the model wrote no rule.
    """
    (answer,) = texts_of(
        chat, [Request(prompt("trlc_rules", taxonomy=about or taxonomy.as_text(), count=count))]
    )
    listed_ = (
        [] if isinstance(answer, Unknown) else [r for r in items(answer, count) if not isinstance(r, Unknown)]
    )
    if not listed_:
        raise InputError("rules", "the model wrote none", "give rules= or another model")
    if len(listed_) < count:
        log.warning("expected %d rules, the model wrote %d", count, len(listed_))
    return tuple(listed_)


@dataclass(frozen=True, slots=True)
class Chain:
    """One model's way to a verdict: the ``first`` and the ``final`` answer, UNKNOWN where it was not to be read."""

    first: Flagged | Unknown
    final: Flagged | Unknown

    @property
    def verdict(self) -> Verdict:
        """The final one."""
        return self.final.anomaly if isinstance(self.final, Flagged) else UNKNOWN


@dataclass(kw_only=True, eq=False)
class TRLC(VideoDetector):
    """One verdict a clip, or one for each ``seconds`` of it, by ``chat`` and the models ``also`` who vote with it.

    ``rules`` are those given, else the first model writes them from the taxonomy when they are first needed. Models that
    are handed in are not kept with a saved detector.
    """

    NAME: ClassVar[str] = "trlc"
    READS: ClassVar[tuple[str, ...]] = ("captions",)
    NEEDS_NORMALS: ClassVar[bool] = False

    rules: tuple[str, ...] = ()
    seconds: float | None = None
    every: int = 50
    rules_first: bool = True
    reflect: bool = True
    chat: ChatModel | None = field(default=None, metadata=PASSED, repr=False)
    also: tuple[ChatModel, ...] = field(default=(), metadata=PASSED, repr=False)
    pictures: Pictures | None = field(default=None, metadata=PASSED, repr=False)
    written: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        self.chat = chat_of(self.chat)
        if self.every < 1 or (self.seconds is not None and not self.seconds > 0):
            raise InputError("every, seconds", "expected 1 frame or more, and more than 0 seconds or None")
        if self.also and self.chat is None:
            raise InputError("also", "expected a chat model that the others vote with")

    def arguments(self) -> dict[str, Any]:
        return kept_arguments(self)

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        """Nothing is learnt from clips."""

    def rules_of(self, chat: ChatModel) -> tuple[str, ...]:
        """The rules in force."""
        if not self.rules and not self.written:
            self.written = write_rules(chat)
        return self.rules or self.written

    def _curve(self, notes: Notes) -> Curve:
        values = np.zeros(len(notes))
        for (start, stop), told in zip(self._stretches(notes), self.told(notes), strict=True):
            values[start:stop] = 0.5 if isinstance(told.score, Unknown) else told.score
        return Curve(notes.name, notes.times, values, {"language": values})

    def told(self, notes: Notes) -> list[Told]:
        """The verdict on each stretch with the reasoning, or the words that were found."""
        if not len(notes.looked):
            raise InputError(f"notes of {notes.name}", "hold no frame that was looked at")
        stretches = self._stretches(notes)
        shown = [self._shown(notes, *s) for s in stretches]
        if self.chat is None:
            told = [self._by_words(notes, *s) for s in stretches]
        else:
            judges = (self.chat, *self.also)
            chains = list(zip(*(self.chains(chat, notes, shown) for chat in judges), strict=True))
            told = [(vote([c.verdict for c in each]), _reason(each)) for each in chains]
        return [
            Told(span_of(notes, *s), v if isinstance(v, Unknown) else float(v), text)
            for s, (v, text) in zip(stretches, told, strict=True)
        ]

    def _stretches(self, notes: Notes) -> list[tuple[int, int]]:
        """Frames [start, stop) that get one verdict."""
        if self.seconds is None:
            return [(0, len(notes))]
        number = ((notes.times - notes.times[0]) // self.seconds).astype(np.int64)
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        return list(zip(starts.tolist(), [*starts[1:].tolist(), len(notes)], strict=True))

    def _shown(self, notes: Notes, start: int, stop: int) -> np.ndarray:
        """Positions of the looks nearest to every ``every``-th frame, at most as many as one question may hold."""
        wanted = np.arange(start, stop, self.every)
        looks = np.unique(np.abs(notes.looked[:, None] - wanted[None]).argmin(0))
        return looks[spread(len(looks), MOST_PICTURES)]

    def chains(self, chat: ChatModel, notes: Notes, shown: Sequence[np.ndarray]) -> list[Chain]:
        """Both answers of one model on each stretch; without a first answer there is nothing to check."""
        eyes = eyes_of(chat, self.pictures)
        rules = self.rules_of(self.chat or chat) if self.rules_first or self.reflect else ()
        data = []
        for at in shown:
            images = [] if eyes is None else list(eyes(notes, [int(notes.looked[i]) for i in at]))
            data.append((images, listed(notes, at) if eyes is None and captions_of(notes, self.NAME) else ""))
        given = list(rules) if self.rules_first else []
        first = _flags(
            chat, [Request(prompt("trlc_first", captions=c, rules=given), i, Flagged) for i, c in data]
        )
        if not self.reflect:
            return [Chain(f, f) for f in first]
        again = [(n, f) for n, f in enumerate(first) if isinstance(f, Flagged)]
        asked = [
            Request(
                prompt("trlc_reflect", captions=data[n][1], rules=list(rules), **dict(f)), data[n][0], Flagged
            )
            for n, f in again
        ]
        final = {n: f for (n, _), f in zip(again, _flags(chat, asked), strict=True)}
        return [Chain(f, final.get(n, UNKNOWN)) for n, f in enumerate(first)]

    def _by_words(self, notes: Notes, start: int, stop: int) -> tuple[Verdict, str]:
        captions = captions_of(notes, self.NAME)
        looks = np.flatnonzero((notes.looked >= start) & (notes.looked < stop))
        told = [captions[i] for i in looks if captions[i].strip()]
        if not told:
            return UNKNOWN, ""
        found = [find(caption, taxonomy.all_words()) for caption in told]
        hits = [f for f in found if f]
        words = ", ".join(dict.fromkeys(w for f in hits for w in f))
        return int(len(hits) >= min(2, len(told))), words


def _flags(chat: ChatModel, requests: Sequence[Request]) -> list[Flagged | Unknown]:
    return [a.parsed if isinstance(a.parsed, Flagged) else UNKNOWN for a in ask_all(chat, requests)]


def _reason(chains: Sequence[Chain]) -> str:
    """Reasoning of the first model that gave any."""
    answers = [a for c in chains for a in (c.final, c.first) if isinstance(a, Flagged)]
    return next((a.reasoning or a.description for a in answers if a.reasoning or a.description), "")
