"""LAVAD: captions, summed up over some seconds and rated by a language model, then refined by neighbours (CVPR 2024,
arXiv 2404.01014).

Idea. 1. Every frame is captioned. 2. A caption is replaced by the clip's caption that fits the frame best, so that a wrong one
gives way. 3. Every 16 frames the captions of the ten seconds around are summed up. 4. The model rates each summary from 0 to
1. 5. A rating becomes the mean of those of the ten summaries that fit the ten seconds best. Nothing is learnt.

Needs captions, and a ``chat`` model. Without one, the summary is the caption nearest to the mean of its window, and the rating
compares it with sentences of ordinary and of alarming scenes: σ((a − b) / 0.1) of the two greatest cosines, rounded to 0.1 as
the model's ratings are.

Differs from the paper: in place of ImageBind the packaged sentence encoder, by which a frame or a window is the mean vector of
the captions within half a stride of it, or in it; with a ``dual`` encoder and ``pictures`` they are pictures, as in the paper.
Frames are those that were looked at, and where only looks were noted a rating stands for as long as 16 frames last at 30 a second.
With fewer than k distinct summaries all are used. A rating without brackets is asked for once more, as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import expit

from oddwatch.core import ChatModel, Curve, DualEncoder, InputError, TextEncoder, Unknown
from oddwatch.detectors.video.asking import (
    PASSED,
    Pictures,
    Told,
    captions_of,
    chat_of,
    inside,
    kept_arguments,
    read_all,
    span_of,
    stride_of,
    texts_of,
    vectors_of,
)
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes
from oddwatch.language import grammars
from oddwatch.language.asking import Request
from oddwatch.language.templates import prompt
from oddwatch.scoring.curves import expand, fill_gaps, knn_softmax, spread, window

ORDINARY = (
    "People are walking.", "People are standing and talking.", "People are sitting.", "A person is waiting.",
    "An empty place with nobody in it.", "Cars are driving on the road.", "People are shopping.", "A person is working.",
)  # fmt: skip
ALARMING = (
    "People are fighting.", "A person is attacking someone.", "A person is stealing something.", "A person falls to the ground.",
    "A person is lying on the ground.", "A person points a gun.", "Something is on fire.", "There is an explosion.",
    "A car crashes.", "A person breaks or damages something.", "People run away in panic.", "The police arrest someone.",
)  # fmt: skip
SHARPNESS = 0.1
"""Difference of cosines that moves the offline rating from ½ to 0.73."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Ten seconds: frames [start, stop) and the positions of the looks that stand for them."""

    start: int
    stop: int
    looks: np.ndarray


def distinct(texts: Sequence[str], at: Sequence[int]) -> tuple[list[str], list[int]]:
    """Every text once, at its first place."""
    first: dict[str, int] = {}
    for text, place in zip(texts, at, strict=True):
        first.setdefault(text, place)
    return list(first), list(first.values())


def nearest(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(Q,) int: the key (K, D) of the greatest cosine to each query (Q, D), the first of equals."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (queries, keys)]
    return np.asarray((unit[0] @ unit[1].T).argmax(1))


def _middlemost(captions: Sequence[str], vectors: np.ndarray) -> str:
    """The caption nearest to the mean of their vectors."""
    return captions[int(nearest(vectors.mean(0, keepdims=True), vectors)[0])]


@dataclass(kw_only=True, eq=False)
class LAVAD(VideoDetector):
    """A rating every ``stride`` frames (see :func:`stride_of`) from ``frames`` looks of the ``seconds`` around, refined by the ``k`` summaries that fit
    best, weighted by softmax(cosine / ``temperature``).

    ``role``: the model is told that it works for a law enforcement agency ("law", the paper's for UCF-Crime) or is asked
    for criminal activity ("crime", for XD-Violence). ``clean=False`` leaves captions as they are. Models that are handed in
    are not kept with a saved detector.
    """

    NAME: ClassVar[str] = "lavad"
    READS: ClassVar[tuple[str, ...]] = ("captions",)
    NEEDS_NORMALS: ClassVar[bool] = False

    stride: int = 16
    seconds: float = 10.0
    frames: int = 10
    k: int = 10
    temperature: float = 1.0
    role: Literal["law", "crime"] = "law"
    clean: bool = True
    chat: ChatModel | None = field(default=None, metadata=PASSED, repr=False)
    sentences: TextEncoder | None = field(default=None, metadata=PASSED, repr=False)
    dual: DualEncoder | None = field(default=None, metadata=PASSED, repr=False)
    pictures: Pictures | None = field(default=None, metadata=PASSED, repr=False)

    def __post_init__(self) -> None:
        self.chat = chat_of(self.chat)
        if min(self.stride, self.frames, self.k) < 1 or not min(self.seconds, self.temperature) > 0:
            raise InputError(
                "stride, frames, k, seconds, temperature", "expected 1 or more, and times above 0"
            )
        if self.role not in ("law", "crime"):
            raise InputError("role", f"expected law or crime, got {self.role!r}")
        if self.dual is not None and self.pictures is None:
            raise InputError("pictures", "expected a way to get the frames that dual is to look at")

    def arguments(self) -> dict[str, Any]:
        return kept_arguments(self)

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        """Nothing is learnt."""

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        if self.dual is not None:
            kinds = list(dict.fromkeys(texts))
            rows = dict(zip(kinds, np.asarray(self.dual.encode_texts(kinds)), strict=True))
            return np.stack([rows[text] for text in texts])
        if self.sentences is None:
            from oddwatch.encoders.sentence import SentenceEncoder

            self.sentences = SentenceEncoder()
        return vectors_of(self.sentences, texts)

    def _curve(self, notes: Notes) -> Curve:
        values = expand(self._read(notes)[1], stride_of(notes, self.stride), len(notes))
        return Curve(notes.name, notes.times, values, {"language": values})

    def told(self, notes: Notes) -> list[Told]:
        """The summaries, each with its refined score; UNKNOWN where no summary of the clip was rated."""
        told, values = self._read(notes)
        rated = any(not isinstance(t.score, Unknown) for t in told)
        return [replace(t, score=float(v)) if rated else t for t, v in zip(told, values, strict=True)]

    def _read(self, notes: Notes) -> tuple[list[Told], np.ndarray]:
        """A window's summary with its own rating, and the refined ratings (h,)."""
        captions = list(captions_of(notes, self.NAME))
        vectors = self._texts(captions)
        seen = None
        if self.dual is not None and self.pictures is not None:
            seen = np.asarray(self.dual.encode_images(self.pictures(notes, [int(i) for i in notes.looked])))
        windows, step = self.windows(notes), stride_of(notes, self.stride)
        if self.clean:
            captions = self._cleaned(notes, captions, vectors, seen)
        table = dict(zip(notes.captions, vectors, strict=True))
        summaries = self._summaries([[captions[i] for i in w.looks] for w in windows], table)
        ratings = self._ratings(summaries)
        told = [
            Told(span_of(notes, at, min(at + step, len(notes))), rating, summary)
            for at, rating, summary in zip(range(0, len(notes), step), ratings, summaries, strict=True)
        ]
        queries = np.stack([(vectors if seen is None else seen)[w.looks].mean(0) for w in windows])
        known = fill_gaps([np.nan if isinstance(r, Unknown) else r for r in ratings])
        texts, first = distinct(summaries, range(len(summaries)))
        return told, knn_softmax(queries, self._texts(texts), known[first], self.k, self.temperature)

    def windows(self, notes: Notes) -> list[Window]:
        """The window around every ``stride``-th frame."""
        length = max(int(self.seconds * notes.fps), 1)
        out = []
        for center in range(0, len(notes), stride_of(notes, self.stride)):
            start, stop = window(center, length, len(notes))
            looks = inside(notes, start, stop)
            out.append(Window(start, stop, looks[spread(len(looks), self.frames)]))
        return out

    def _cleaned(
        self, notes: Notes, captions: Sequence[str], vectors: np.ndarray, seen: np.ndarray | None
    ) -> list[str]:
        """Each look's caption, or the one of those at every ``stride``-th frame that fits it best."""
        stride = stride_of(notes, self.stride)
        at = [inside(notes, c, c + 1)[0] for c in range(0, len(notes), stride)]
        texts, first = distinct([captions[i] for i in at], at)
        if seen is None:
            half = stride // 2
            around = [inside(notes, int(i) - half, int(i) + half + 1) for i in notes.looked]
            seen = np.stack([vectors[a].mean(0) for a in around])
        return [texts[i] for i in nearest(seen, vectors[first])]

    def _summaries(self, captions: Sequence[Sequence[str]], table: Mapping[str, np.ndarray]) -> list[str]:
        middle = [_middlemost(c, np.stack([table[text] for text in c])) for c in captions]
        if self.chat is None:
            return middle
        asked = [Request(prompt("lavad_summary", captions="\n".join(c))) for c in captions]
        said = [a if isinstance(a, Unknown) else grammars.last_line(a) for a in texts_of(self.chat, asked)]
        # Without a summary the window is known by its middlemost caption.
        return [m if isinstance(s, Unknown) else s for s, m in zip(said, middle, strict=True)]

    def _ratings(self, summaries: Sequence[str]) -> list[float | Unknown]:
        if self.chat is None:
            alike = self._texts(summaries) @ self._texts([*ALARMING, *ORDINARY]).T
            margin = alike[:, : len(ALARMING)].max(1) - alike[:, len(ALARMING) :].max(1)
            return [float(v) for v in np.round(expit(margin / SHARPNESS), 1)]
        asked = [Request(prompt("lavad_score", summary=s, role=self.role)) for s in summaries]
        bracketed = partial(grammars.number, most=1)
        return [r for r, _ in read_all(self.chat, asked, bracketed, grammars.Rating, lambda said: said.score)]
