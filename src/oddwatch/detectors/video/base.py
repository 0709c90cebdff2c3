"""What every video detector has: notes in, a curve out, a file format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Curve, InputError, ModelError, Scores
from oddwatch.detectors import kept
from oddwatch.detectors.video.notes import Notes


@dataclass(kw_only=True, eq=False)
class VideoDetector:
    """Base of the video detectors: a subclass names its arguments as fields, fits, and gives a curve of a clip.

    A subclass offers ``_fit(normal, labels)`` and ``_curve(notes)``, lists the notes it reads in ``READS`` (of motion,
    objects, people, deep, tokens, cls, captions, small, left) and its fitted arrays (fields with ``init=False``, None before) in ``STATE``.
    ``LABELS`` says that it learns from clips labelled normal (0) and anomalous (1) as a whole, ``SETTLES`` that
    :meth:`settle` has something to learn. ``seed`` settles everything drawn by chance.
    """

    NAME: ClassVar[str] = ""
    READS: ClassVar[tuple[str, ...]] = ()
    STATE: ClassVar[tuple[str, ...]] = ()
    NEEDS_NORMALS: ClassVar[bool] = True
    LABELS: ClassVar[bool] = False
    SETTLES: ClassVar[bool] = False

    seed: int = 0
    encoder: str = field(default="", init=False, repr=False)
    fitted: bool = field(default=False, init=False, repr=False)

    def fit(self, normal: Sequence[Notes], labels: Sequence[int] | None = None) -> Self:
        """Learn from the notes of clips: of normal ones, or, where ``LABELS``, of clips with ``labels`` 0 or 1.

        Raises:
            InputError: no clip, labels that do not fit, or notes without what the method reads.
        """
        if self.NEEDS_NORMALS and not len(normal):
            raise InputError(
                "normal", "expected at least one clip, got none", "point --normal at quiet footage"
            )
        if labels is not None:
            labels = [int(label) for label in labels]
        if self.LABELS if labels is None else len(labels) != len(normal) or not set(labels) <= {0, 1}:
            raise InputError("labels", f"{self.NAME} expects a label 0 or 1 for each of {len(normal)} clips")
        encoders = {n.encoder for n in normal if n.encoder}
        if len(encoders) > 1:
            raise InputError("notes", f"were made with several encoders: {', '.join(sorted(encoders))}")
        self.encoder = encoders.pop() if encoders else ""
        self._fit(normal, labels)
        self.fitted = True
        return self

    def settle(self, held: Sequence[Curve]) -> list[Curve]:
        """Learn how cues compare from the curves ``held`` of normal footage, each made by a detector that had not learnt that
        part; returns these curves as this detector would give them."""
        return list(held)

    def score(self, items: Sequence[Notes]) -> Scores:
        """One number a clip, the peak of its curve, float64. No clips give no scores; scoring changes nothing."""
        return Scores(np.array([self.curve(notes).peak for notes in items], np.float64))

    def curve(self, notes: Notes) -> Curve:
        """The anomaly curve of one clip, a value for every frame; an empty clip gives an empty curve.

        Raises:
            InputError: not fitted yet, or notes made with another encoder.
        """
        if self.NEEDS_NORMALS and not self.fitted:
            raise InputError(self.NAME, "is not fitted", "call fit with notes of normal clips first")
        if self.encoder and notes.encoder and notes.encoder != self.encoder:
            raise InputError(
                "encoder", f"is {notes.encoder}, the detector was fitted with {self.encoder}", "give that one"
            )
        if not len(notes):
            return Curve(notes.name, notes.times, np.empty(0))
        return self._curve(notes)

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        raise NotImplementedError

    def _curve(self, notes: Notes) -> Curve:
        raise NotImplementedError

    # -- keeping -------------------------------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays, by name."""
        return {n: np.ascontiguousarray(v) for n in self.STATE if (v := getattr(self, n)) is not None}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`state`."""
        for name in self.STATE:
            setattr(self, name, arrays.get(name))

    def save(self, folder: str | Path) -> Path:
        """Write it to ``folder``, see :mod:`oddwatch.detectors.kept`. Raises InputError where it still has to be fitted."""
        if self.NEEDS_NORMALS and not self.fitted:
            raise InputError(self.NAME, "is not fitted", "call fit first")
        return kept.write(folder, kept.Kept(self.NAME, self.arguments(), self.encoder, self.state()))


def load(folder: str | Path) -> Any:
    """The detector that ``save`` wrote to ``folder``. Raises ModelError where it is no video detector."""
    from oddwatch.core import resolve
    from oddwatch.detectors import CARDS, DETECTORS

    found = kept.read(folder)
    if found.method not in CARDS or CARDS[found.method].modality != "video":
        raise ModelError(f"{folder}: holds {found.method}, which is no detector of video")
    kind = resolve(DETECTORS, found.method, "detector")
    try:
        detector = kind(**found.arguments)
        detector.restore(found.arrays)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise ModelError(f"{folder}: holds a {found.method} of another version: {error}") from error
    detector.encoder = found.encoder
    detector.fitted = True
    return detector


def at_looks(values: np.ndarray, notes: Notes) -> np.ndarray:
    """(N,) values of all frames from values (M,) of the looked-at ones: straight lines between, held at the ends."""
    if not len(values):
        return np.zeros(len(notes))
    out: np.ndarray = np.interp(notes.times, notes.times[notes.looked], np.asarray(values, np.float64))
    return out
