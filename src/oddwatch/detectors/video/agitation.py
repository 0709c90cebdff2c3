"""Agitation: movement that keeps changing, beside the strongest change in the picture (ours; nothing is learnt).

Idea. People who walk, cars, and a swaying camera move much and evenly; people who fight, scuffle or flee change their movement
from instant to instant. 1. A cell's movement is its mean flow. 2. Its unrest is how much that changes from frame to frame.
3. Turbulence is the mean unrest of the picture over its mean speed, both smoothed in time: how much of the movement is change.
4. Strength is the change of the most changed cell. 5. The value is the decades by which both exceed what a calm picture has,
log₁₀(1 + turbulence / ``CALM``) + log₁₀(1 + strength / ``FAINT``), so that a still picture has 0.

Needs the motion of cells. It knows no scene: thresholds are best set from quiet footage of the camera.

The two factors were settled by looking at some ten statistics of cells on the 226 shared clips of the Surveillance Camera
Fight set, so a figure on these is optimistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter1d

from oddwatch.core import Curve
from oddwatch.detectors.video.base import VideoDetector
from oddwatch.detectors.video.notes import Notes

FLOOR = 0.005
"""Frame heights a second below which movement is noise."""
CALM = 0.05
"""Share of the movement that changes from frame to frame however even it is."""
FAINT = 0.02
"""Grey difference (0–1) of the most changed cell that a quiet camera's noise reaches."""


@dataclass(kw_only=True, eq=False)
class Agitation(VideoDetector):
    """``smooth`` seconds (σ of a Gaussian) over which movement and its change are averaged."""

    NAME: ClassVar[str] = "agitation"
    READS: ClassVar[tuple[str, ...]] = ("motion",)
    NEEDS_NORMALS: ClassVar[bool] = False

    smooth: float = 1.0

    def _fit(self, normal: Sequence[Notes], labels: Sequence[int] | None) -> None:
        """Nothing is learnt."""

    def _curve(self, notes: Notes) -> Curve:
        if not notes.has("motion"):
            return Curve(notes.name, notes.times, np.zeros(len(notes)))
        motion = notes.motion.astype(np.float64)
        changes = np.zeros(len(notes))
        # The first frames have no flow to differ from.
        changes[2:] = np.linalg.norm(np.diff(motion[1:, ..., 1:3], axis=0), axis=-1).mean(axis=(1, 2))
        speed = motion[..., 0].mean(axis=(1, 2))
        strongest = np.percentile(motion[..., 3].reshape(len(notes), -1), 99.5, axis=1)
        turbulence = np.log10(1 + self._steady(changes, notes) / (self._steady(speed, notes) + FLOOR) / CALM)
        strength = np.log10(1 + self._steady(strongest, notes) / FAINT)
        return Curve(
            notes.name, notes.times, turbulence + strength, {"turbulence": turbulence, "strength": strength}
        )

    def _steady(self, values: np.ndarray, notes: Notes) -> np.ndarray:
        out: np.ndarray = gaussian_filter1d(values, self.smooth * notes.fps, mode="nearest")
        return out
