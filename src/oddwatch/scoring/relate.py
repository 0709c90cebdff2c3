"""Scores on a common scale, and scores of units (objects, persons, windows) as one score per frame.

A scale is learned from the scores of normal training data, unless the caller asks for ``per_video``: that one looks at the
whole test video (transductive) and says so. Sources: video-trained §1.1–1.3, §5.1 (AI-VAD, arXiv 2212.00789), STATE
(2301.12048).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from oddwatch.core import InputError, Jsonable
from oddwatch.scoring.normal import scores_of_normal

Fill = Literal["min", "median"] | float
How = Literal["max", "min", "mean", "sum"]


@dataclass(frozen=True, slots=True)
class Scale(Jsonable):
    """(score − ``offset``) / ``unit``; ``rule`` says how the two were found, ``transductive`` that it was on test data.

    What lies beyond the training scores goes below 0 or above 1: nothing is cut off.
    """

    offset: float
    unit: float
    rule: str = "given"
    transductive: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.offset) or not (np.isfinite(self.unit) and self.unit > 0):
            found = f"expected a finite offset and a unit above 0, got {self.offset}, {self.unit}"
            raise InputError("scale", found)

    def __call__(self, scores: Any) -> np.ndarray:
        """``scores`` of any shape on this scale, float64."""
        out: np.ndarray = (np.asarray(scores, np.float64) - self.offset) / self.unit
        return out


def _scale(offset: float, unit: float, rule: str, transductive: bool = False) -> Scale:
    """A scale; where all scores are equal there is no unit, and the scores' own (1) is kept."""
    return Scale(float(offset), float(unit) if unit > 0 else 1.0, rule, transductive)


def zscore(train: np.ndarray) -> Scale:
    """Mean 0 and standard deviation 1 on ``train`` (n,) (STATE). Equal scores are only shifted to 0."""
    values = scores_of_normal(train)
    # The mean of equal numbers need not be that number, nor their deviation 0.
    spread = values.std() if values[0] < values[-1] else 0.0
    return _scale(values.mean() if spread else values[0], spread, "z-score of training scores")


def minmax(train: np.ndarray, high: float = 1.0, low: float = 0.0) -> Scale:
    """0 at the quantile ``low`` and 1 at the quantile ``high`` (0–1) of ``train`` (n,), by default minimum and maximum.

    AI-VAD takes 0.999 for velocity and pose, 1 for its deep vectors. Quantiles are linear between two scores. Equal scores
    are only shifted to 0.
    """
    if not 0 <= low < high <= 1:
        raise InputError("high", f"expected quantiles 0 ≤ low < high ≤ 1, got {low} and {high}")
    values = scores_of_normal(train)
    bottom, top = np.quantile(values, [low, high])
    return _scale(bottom, top - bottom, f"quantiles {low:g} and {high:g} of training scores")


def per_video(scores: np.ndarray) -> Scale:
    """0 at the minimum and 1 at the maximum of one test video's scores (n,): transductive, and marked so.

    It forces a 0 and a 1 into every video, also into wholly normal ones (of equal scores all become 0). Papers that report
    PSNR do it; as a default it is wrong.
    """
    values = scores_of_normal(scores)
    return _scale(
        values[0], values[-1] - values[0], "minimum and maximum of the test video", transductive=True
    )


def per_video_minmax(scores: np.ndarray) -> np.ndarray:
    """(n,) the scores of one test video on their own :func:`per_video` scale."""
    return per_video(scores)(scores)


def to_frames(
    frames: Any,
    scores: Any,
    total: int,
    *,
    how: How = "max",
    fill: Fill = "min",
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """(total,) float64: one score per frame from the ``scores`` (M,) of units seen in ``frames`` (M,) int.

    ``how`` joins the units of a frame: ``max`` (the most anomalous object; also "minimum over persons" of a likelihood,
    which is the maximum of its negative), ``min``, ``mean`` or ``sum``. A frame without any unit gets ``fill``: a number
    (0 for "nobody is nothing"), or the ``min`` or ``median`` of ``reference`` (n,) (the units' training scores), or,
    without it, of the units of this clip, which for ``min`` and ``median`` is transductive. Never NaN.

    Raises:
        InputError: frames outside 0–total−1, scores that are not finite, or no unit at all to take a fill of.
    """
    at, s = np.asarray(frames), np.asarray(scores, np.float64)
    if at.ndim != 1 or at.shape != s.shape or (at.size and at.dtype.kind not in "iu"):
        raise InputError("frames", f"expected (M,) whole numbers and scores, got {at.shape} and {s.shape}")
    if at.size and (at.min() < 0 or at.max() >= total):
        raise InputError("frames", f"expected 0–{total - 1}, got {at.min()}–{at.max()}")
    if not np.isfinite(s).all():
        raise InputError("scores", "expected finite numbers", "leave out the units that could not be scored")
    at = at.astype(np.int64)
    seen = np.bincount(at, minlength=total)
    if how in ("max", "min"):
        out = np.full(total, -np.inf if how == "max" else np.inf)
        (np.maximum if how == "max" else np.minimum).at(out, at, s)
    elif how in ("mean", "sum"):
        out = np.bincount(at, weights=s, minlength=total).astype(np.float64)
        out /= np.maximum(seen, 1) if how == "mean" else 1
    else:
        raise InputError("how", f"expected max, min, mean or sum, got {how!r}")
    if (seen == 0).any():
        out[seen == 0] = _fill(fill, s if reference is None else np.asarray(reference, np.float64))
    return out


def _fill(fill: Fill, of: np.ndarray) -> float:
    if fill in ("min", "median"):
        if not of.size:
            hint = "give the training scores as reference, or a number as fill"
            raise InputError("fill", f"the {fill} of no scores is unknown", hint)
        values = scores_of_normal(of)
        return float(values[0] if fill == "min" else np.median(values))
    if isinstance(fill, str) or not np.isfinite(fill):
        raise InputError("fill", f"expected min, median or a finite number, got {fill!r}")
    return float(fill)
