"""VERA: guiding questions, learnt in words from labelled clips, let a frozen vision model say 0 or 1 of every few seconds
(CVPR 2025, arXiv 2412.01095).

Idea. 1. A learner is shown eight frames and up to five questions, answers them, and says 0 or 1. 2. An optimiser, the same
model, sees frames, verdicts and truth of two clips at a time and rewrites the questions. 3. The questions that do best on
held-out clips stay. 4. Every 16 frames of a new clip the ten seconds around get a verdict. 5. Verdicts become the mean of
those of the most alike segments, are smoothed, and weighted towards the clip's middle.

Needs labelled clips to learn questions; without fitting it asks ``questions``. Shown are ``pictures`` where the ``chat`` model
sees, else the clip's captions. Without a model, up to five words are learnt in place of questions, those whose presence in a
caption best tells anomalous clips from normal ones; a segment that speaks of one is 1 (unfitted: of any word of the taxonomy).

Differs from the paper: segments are alike by the class tokens of the looks in them, else by sentence vectors of captions, in
place of ImageBind. Of clips with fewer than 7 segments each keeps its own verdict (``compat``: the released code takes the mean
of all, and smooths clips of fewer than 15 segments out of place). A verdict is a digit that stands alone; where there is none the
model is asked once more, for JSON, and where that cannot be read either the segment counts as anomalous, as released. The weight of
the middle is a prior of clips cut around an event; ``center=False`` leaves it out, as one has to for footage that was not cut. The
given questions compete with the learnt ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import UNKNOWN, ChatModel, Curve, InputError, TextEncoder, Unknown
from oddwatch.detectors.video import taxonomy
from oddwatch.detectors.video.asking import (
    PASSED,
    Pictures,
    Told,
    captions_of,
    chat_of,
    eyes_of,
    inside,
    kept_arguments,
    listed,
    pack,
    read_all,
    span_of,
    stride_of,
    texts_of,
    unpack,
    vectors_of,
)
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.cover import spoken
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.rules import find
from oddwatch.language import grammars
from oddwatch.language.asking import Request
from oddwatch.language.templates import prompt
from oddwatch.scoring.curves import expand, knn_softmax, position_weight, strided, vera_gaussian, window

SEEDS = (
    "Are there any suspicious people or objects in the video?",
    "Does anyone behave in an unusual way in the video?",
)


def alike(count: int, share: float, compat: bool = False) -> int:
    """How many of ``count`` segments a verdict is the mean of, itself among them: ⌊share · count⌋, at least 1; with
    ``compat`` all where that is 0, as the released slice has it."""
    n = int(share * count + 1e-9)
    return n if n else count if compat else min(1, count)


def refined(
    verdicts: Any, vectors: np.ndarray | None, total: int, *, stride: int = 16, share: float = 0.15,
    temperature: float = 0.1, width: int = 15, sigma: float = 10.0, center: bool = True, compat: bool = False,
) -> np.ndarray:  # fmt: skip
    """(total,) frame scores from the ``verdicts`` (h,) of segments with ``vectors`` (h, D) (None: no neighbours)."""
    values = np.asarray(verdicts, np.float64)
    if vectors is not None and values.size:
        values = knn_softmax(vectors, vectors, values, alike(values.size, share, compat), temperature)
    values = np.round(vera_gaussian(values, width, sigma, compat), 1)
    frames = expand(values, stride, total)
    return frames * position_weight(total) if center else frames


@dataclass(kw_only=True, eq=False)
class VERA(VideoDetector):
    """Verdicts every ``stride`` frames (see :func:`stride_of`) on ``frames`` looks of the ``seconds`` around.

    Learning: ``epochs`` through the clips, ``batch`` at a time, at most ``most`` questions; every ``every`` batches and at
    the end they are tried on a share ``held`` of the clips (all of them where there are fewer than ten), and the best stay, the
    earliest of equals. Refining: ``share`` of the segments, softmax(cosine / ``temperature``), a Gaussian of ``sigma`` over
    ``width`` segments, ``center``. Models that are handed in are not kept with a saved detector.
    """

    NAME: ClassVar[str] = "vera"
    READS: ClassVar[tuple[str, ...]] = ("captions",)
    STATE: ClassVar[tuple[str, ...]] = ("learnt",)
    NEEDS_NORMALS: ClassVar[bool] = False
    LABELS: ClassVar[bool] = True

    questions: tuple[str, ...] = SEEDS
    stride: int = 16
    seconds: float = 10.0
    frames: int = 8
    share: float = 0.15
    temperature: float = 0.1
    width: int = 15
    sigma: float = 10.0
    center: bool = True
    epochs: int = 10
    batch: int = 2
    most: int = 5
    every: int = 100
    held: float = 0.1
    compat: bool = False
    chat: ChatModel | None = field(default=None, metadata=PASSED, repr=False)
    pictures: Pictures | None = field(default=None, metadata=PASSED, repr=False)
    sentences: TextEncoder | None = field(default=None, metadata=PASSED, repr=False)
    learnt: np.ndarray | None = field(default=None, init=False, repr=False)
    """Learnt questions, or without a model words, as JSON, (L,) uint8."""

    def __post_init__(self) -> None:
        self.chat = chat_of(self.chat)
        if (
            min(self.stride, self.frames, self.batch, self.most, self.every, self.width) < 1
            or self.epochs < 0
        ):
            raise InputError(
                "stride, frames, batch, most, every, width, epochs", "expected 1 or more, 0 for epochs"
            )
        if not (
            0 < self.share <= 1 and 0 <= self.held < 1 and min(self.seconds, self.temperature, self.sigma) > 0
        ):
            raise InputError("share, held, seconds, temperature, sigma", "expected 0–1, and more than 0")
        if not self.questions:
            raise InputError("questions", "expected at least one")

    def arguments(self) -> dict[str, Any]:
        return kept_arguments(self)

    @property
    def words(self) -> tuple[str, ...]:
        """What a caption is searched for where there is no model."""
        known = {} if self.learnt is None else unpack(self.learnt)
        return tuple(known.get("words", taxonomy.all_words()))

    @property
    def asked(self) -> tuple[str, ...]:
        """The guiding questions in force."""
        known = {} if self.learnt is None else unpack(self.learnt)
        return tuple(known.get("questions", self.questions))

    # -- learning ------------------------------------------------------------------------------------------------

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        truth = [int(v) for v in labels or ()]
        if self.chat is None:
            clips = [captions_of(n, self.NAME) for n in normal]
            self.learnt = pack({"words": telling_words(clips, truth, self.most)})
            return
        self.learnt = pack({"questions": self._learn(self.chat, normal, truth)})

    def _learn(self, chat: ChatModel, clips: Sequence[Notes], truth: Sequence[int]) -> tuple[str, ...]:
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(clips))
        held = order[: round(self.held * len(clips))] if len(clips) >= 10 else order
        held = held if len(held) else order
        learn = order[len(held) :] if len(held) < len(order) else order
        questions, done = self.questions, 0
        right = {questions: self._right(chat, clips, truth, held, questions)}
        for _ in range(self.epochs):
            turn = rng.permutation(learn)
            for at in range(0, len(turn), self.batch):
                part = [int(i) for i in turn[at : at + self.batch]]
                questions = self._improved(
                    chat, [clips[i] for i in part], [truth[i] for i in part], questions
                )
                done += 1
                if done % self.every == 0 and questions not in right:
                    right[questions] = self._right(chat, clips, truth, held, questions)
        if questions not in right:
            right[questions] = self._right(chat, clips, truth, held, questions)
        return max(right, key=lambda q: right[q])

    def _right(
        self, chat: ChatModel, clips: Sequence[Notes], truth: Sequence[int], held: np.ndarray,
        questions: tuple[str, ...],
    ) -> float:  # fmt: skip
        """Share of right verdicts on the held-out clips."""
        said = self._verdicts(chat, [(clips[i], self._whole(clips[i])) for i in held], questions)
        return float(np.mean([v == truth[i] for (v, _), i in zip(said, held, strict=True)]))

    def _improved(
        self, chat: ChatModel, clips: Sequence[Notes], truth: Sequence[int], questions: tuple[str, ...]
    ) -> tuple[str, ...]:
        looks = [self._whole(clip) for clip in clips]
        said = [v for v, _ in self._verdicts(chat, list(zip(clips, looks, strict=True)), questions)]
        eyes = eyes_of(chat, self.pictures)
        data: dict[str, Any] = {
            "captions": None,
            "count": len(clips),
            "each": self.frames,
            "questions": questions,
        }
        images: list[Any] = []
        if eyes is None:
            data["captions"] = [listed(c, at) for c, at in zip(clips, looks, strict=True)]
        else:
            images = [p for c, at in zip(clips, looks, strict=True) for p in eyes(c, frames_at(c, at))]
        asked = prompt("vera_optimiser", said=said, right=list(truth), most=self.most, **data)
        (answer,) = texts_of(chat, [Request(asked, images)])
        found = (
            grammars.lines_after(answer, "new questions", self.most) if isinstance(answer, str) else answer
        )
        return questions if isinstance(found, Unknown) else found

    def _whole(self, notes: Notes) -> np.ndarray:
        return strided(len(notes.looked), self.frames)

    def _verdicts(
        self, chat: ChatModel, shown: Sequence[tuple[Notes, np.ndarray]], questions: Sequence[str]
    ) -> list[tuple[int, str]]:
        """0 or 1 for the looks of each stretch, and what was said; 1 where neither was."""
        eyes, requests = eyes_of(chat, self.pictures), []
        for notes, at in shown:
            images = [] if eyes is None else list(eyes(notes, frames_at(notes, at)))
            text = listed(notes, at) if eyes is None and captions_of(notes, self.NAME) else ""
            numbers = list(range(1, len(images) + 1))
            asked = prompt("vera_learner", captions=text, numbers=numbers, questions=list(questions))
            requests.append(Request(asked, images))
        digit = partial(grammars.digit_after, compat=self.compat)
        said = read_all(chat, requests, digit, grammars.Verdict, lambda filled: filled.output)
        return [(1 if isinstance(v, Unknown) else v, text) for v, text in said]

    # -- deduction -----------------------------------------------------------------------------------------------

    def _curve(self, notes: Notes) -> Curve:
        if not len(notes.looked):
            raise InputError(f"notes of {notes.name}", "hold no frame that was looked at")
        segments = self.segments(notes)
        values = refined(
            [verdict for verdict, _ in self._segment_verdicts(notes, segments)], self._vectors(notes, segments),
            len(notes), stride=stride_of(notes, self.stride), share=self.share, temperature=self.temperature, width=self.width,
            sigma=self.sigma, center=self.center, compat=self.compat,
        )  # fmt: skip
        return Curve(notes.name, notes.times, values, {"language": values})

    def told(self, notes: Notes) -> list[Told]:
        """Each segment's verdict before refining, and what the model said or the words that were found."""
        told = self._segment_verdicts(notes, self.segments(notes))
        stride = stride_of(notes, self.stride)
        at = range(0, len(notes), stride)
        ends = [min(start + stride, len(notes)) for start in at]
        return [
            Told(span_of(notes, start, stop), float(v) if text else UNKNOWN, text)
            for start, stop, (v, text) in zip(at, ends, told, strict=True)
        ]

    def segments(self, notes: Notes) -> list[np.ndarray]:
        """Positions of the looks that stand for the window around every ``stride``-th frame."""
        length, out = max(int(self.seconds * notes.fps), 1), []
        for center in range(0, len(notes), stride_of(notes, self.stride)):
            looks = inside(notes, *window(center, length, len(notes)))
            out.append(looks[strided(len(looks), self.frames)])
        return out

    def _segment_verdicts(self, notes: Notes, segments: Sequence[np.ndarray]) -> list[tuple[int, str]]:
        if self.chat is not None:
            return self._verdicts(self.chat, [(notes, at) for at in segments], self.asked)
        captions, words = captions_of(notes, self.NAME), self.words
        found = [find("\n".join(captions[i] for i in at), words) for at in segments]
        return [(int(bool(f)), ", ".join(f) or "nothing") for f in found]

    def _vectors(self, notes: Notes, segments: Sequence[np.ndarray]) -> np.ndarray | None:
        if notes.has("cls"):
            rows = notes.cls.astype(np.float64)
        elif notes.has("captions"):
            if self.sentences is None:
                from oddwatch.encoders.sentence import SentenceEncoder

                self.sentences = SentenceEncoder()
            rows = vectors_of(self.sentences, notes.captions)
        else:
            return None
        return np.stack([rows[at].mean(0) for at in segments])


def frames_at(notes: Notes, looks: np.ndarray) -> list[int]:
    """Frame numbers of some looks."""
    return [int(notes.looked[i]) for i in looks]


def telling_words(clips: Sequence[Sequence[str]], truth: Sequence[int], most: int) -> tuple[str, ...]:
    """Up to ``most`` words that tell anomalous clips (1) from normal ones (0) best: added one after another while the balanced
    accuracy of "a caption of the clip holds one" rises; of equals the one said in fewer normal clips, then by the alphabet."""
    y = np.asarray(truth, bool)
    if not y.any() or y.all():
        raise InputError("labels", "expected normal (0) and anomalous (1) clips", "without any, do not fit")
    said = [{term.word for caption in clip for term in spoken(caption)} for clip in clips]
    candidates = sorted(set().union(*said))
    holds = {word: np.array([word in one for one in said]) for word in candidates}
    kept: list[str] = []
    told, best = np.zeros(len(y), bool), 0.5
    while len(kept) < most:
        rated = [
            (-_balanced(told | holds[w], y), float(holds[w][~y].mean()), w)
            for w in candidates
            if w not in kept
        ]
        if not rated or -min(rated)[0] <= best + 1e-9:
            break
        minus, _, word = min(rated)
        kept, told, best = [*kept, word], told | holds[word], -minus
    return tuple(kept)


def _balanced(told: np.ndarray, y: np.ndarray) -> float:
    return float((told[y].mean() + (~told[~y]).mean()) / 2)
