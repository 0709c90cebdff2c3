"""What every part offers, one protocol a kind. Implementations need no base class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from oddwatch.core.media import Frame
from oddwatch.core.results import EntryKind, Hit, Query, Scores
from oddwatch.core.unknown import Unknown

T = TypeVar("T")

Progress = Callable[[str, float, float], None]
"""``progress(what, done, total)``; total 0 where it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """What an image encoder sees. ``cls`` (N, D) float32; ``layers`` name → (N, T, D) float32 patch tokens;
    ``grid`` (rows, columns) with rows × columns = T; ``scale`` (N, 2) picture pixels per input pixel (x, y) and
    ``offset`` (N, 2) the input's upper left corner in picture pixels, so patches can be put back on the picture."""

    cls: np.ndarray
    layers: Mapping[str, np.ndarray]
    grid: tuple[int, int]
    scale: np.ndarray
    offset: np.ndarray


@runtime_checkable
class ImageEncoder(Protocol):
    """Pictures to tokens. ``id`` names weights and preprocessing: equal ids mean comparable vectors."""

    @property
    def id(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens: ...


@runtime_checkable
class TextEncoder(Protocol):
    """Sentences to unit vectors (N, D) float32."""

    @property
    def id(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def encode(self, texts: Sequence[str]) -> np.ndarray: ...


@runtime_checkable
class DualEncoder(Protocol):
    """Pictures and sentences in one space, both as unit vectors (N, D) float32."""

    @property
    def id(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def encode_images(self, frames: Sequence[Frame | np.ndarray]) -> np.ndarray: ...
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray: ...


class CrossEncoder(Protocol):
    """One sentence against several pictures: (N,) scores, higher = fits better."""

    @property
    def id(self) -> str: ...
    def score(self, text: str, frames: Sequence[Frame | np.ndarray]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as a chat model gets it: ``text`` under the instruction ``system``. ``name`` and ``version`` are
    those of the prompt file it was made from; the version is stored with every answer."""

    text: str
    system: str = ""
    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost: calls of the model, and tokens as the model counted them (0 where it told none)."""

    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens + other.answer_tokens,
        )

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a chat model said. ``parsed`` is UNKNOWN unless ``outcome`` is ``answered``; ``note`` then says why.

    ``outcome``: ``answered``; ``unusable`` (it spoke, but not in the form asked for); ``failed`` (no reply: too late,
    an error of the server); ``refused`` (the budget is used up). ``raw`` is untrusted text. ``yes`` is the
    probability of yes against no, where the model offers token probabilities and the question was yes or no.
    ``cached`` answers cost nothing: their ``usage`` is zero.
    """

    parsed: T | Unknown
    raw: str = ""
    usage: Usage = Usage()
    seconds: float = 0.0
    outcome: Literal["answered", "unusable", "failed", "refused"] = "answered"
    note: str = ""
    model: str = ""
    prompt: str = ""
    yes: float | None = None
    cached: bool = False


@runtime_checkable
class ChatModel(Protocol):
    """Answers questions about text and pictures. ``id`` names weights, server and decoding: equal ids may share
    cached answers. ``schema`` is a pydantic model class (typed loosely: this room knows numpy only); without one the
    answer is the text. A model that cannot answer says UNKNOWN; it raises only for a wrong argument or set-up."""

    @property
    def id(self) -> str: ...
    def ask(
        self,
        prompt: str | Prompt,
        images: Sequence[Frame | np.ndarray] = (),
        schema: type[Any] | None = None,
    ) -> Answer[Any]: ...


@dataclass(frozen=True, slots=True)
class Where:
    """Filters of a search; None means any. Times are wall-clock; naive ones are read as UTC."""

    kind: EntryKind | None = None
    source: str | None = None
    camera: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    label: str | None = None


class Index(Protocol):
    """Vectors of one encoder. ``search`` returns (ids, scores), best first, equal scores by id."""

    @property
    def encoder_id(self) -> str: ...
    def add(self, ids: Sequence[str], vectors: np.ndarray) -> None: ...
    def search(
        self, vector: np.ndarray, k: int, where: Where | None = None
    ) -> tuple[list[str], np.ndarray]: ...


class Reranker(Protocol):
    """A stage of a search: takes hits, returns the same hits in a better order, its score in ``hit.stages``."""

    @property
    def name(self) -> str: ...
    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]: ...


class Detector(Protocol):
    """Learns what is normal, scores items: higher = more anomalous. Scoring changes nothing."""

    def fit(self, normal: Sequence[Any], labels: Sequence[Any] | None = None) -> Detector: ...
    def score(self, items: Sequence[Any]) -> Scores: ...


class Calibrator(Protocol):
    """Turns raw scores into probabilities and thresholds."""

    def fit(self, scores: np.ndarray, labels: np.ndarray | None = None) -> Calibrator: ...
    def threshold(
        self, *, false_alarms_per_hour: float | None = None, rate: float | None = None
    ) -> float: ...
