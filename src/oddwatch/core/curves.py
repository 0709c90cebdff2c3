"""How anomalous a clip is over time, by which cue, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.jsonable import Jsonable


@dataclass(frozen=True, slots=True)
class Place(Jsonable):
    """Where one frame is anomalous: ``index`` into the curve's times, the ``cue`` that says so and its ``score`` (in the
    curve's unit), the ``box`` in pixels of the upright frame, and the ``track`` where it is one."""

    index: int
    cue: str
    score: float
    box: Box | None = None
    track: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Curve(Jsonable):
    """A detector's anomaly curve of one clip.

    ``times`` (N,) seconds, ascending; ``values`` (N,) float64, higher = more anomalous, finite. ``cues`` holds what the
    values were made of, each (N,) in the same unit, so that the largest at an instant is the cue that decided. ``places``
    are the anomalous places, at most a few a frame, in order of their index.
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    cues: Mapping[str, np.ndarray] = field(default_factory=dict)
    places: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or self.times.shape != self.values.shape:
            found = f"expected as many values as times, got {self.values.shape} and {self.times.shape}"
            raise InputError(f"curve {self.name}", found)
        if (
            not (np.isfinite(self.values).all() and np.isfinite(self.times).all())
            or (np.diff(self.times) < 0).any()
        ):
            raise InputError(f"curve {self.name}", "expected finite values at ascending times")
        for cue, values in self.cues.items():
            if values.shape != self.times.shape:
                raise InputError(
                    f"curve {self.name}", f"expected {cue} of shape {self.times.shape}, got {values.shape}"
                )

    @property
    def peak(self) -> float:
        """The largest value; 0 for a clip without frames."""
        return float(self.values.max()) if self.values.size else 0.0
