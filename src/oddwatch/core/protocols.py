"""What every part offers, one protocol a kind. Implementations need no base class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np

from oddwatch.core.media import Frame
from oddwatch.core.results import EntryKind, Hit, Query, Scores

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
