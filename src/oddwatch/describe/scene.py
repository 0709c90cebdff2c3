"""The surroundings: light, place, and what is true of a whole moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from oddwatch.core import Frame, Person
from oddwatch.describe import colors

if TYPE_CHECKING:
    from oddwatch.describe.describer import Sheet


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """The light of a frame: ``gains`` (3,) mild colour correction, ``white`` the linear luminance of its bright
    parts (95th percentile), ``mean`` its mean linear luminance."""

    gains: np.ndarray
    white: float
    mean: float


def light_of(frame: Frame) -> Light:
    """The light of a frame, from a 64×64 reduction of it."""
    small = cv2.resize(frame.pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    linear = (small**2.2) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return Light(colors.illuminant(frame.pixels), float(np.percentile(linear, 95)), float(linear.mean()))


def fill(sheet: Sheet, frame: Frame, person: Person, light: Light) -> None:
    """Light and place of ``person``'s surroundings into ``sheet``."""
    night = float(1 / (1 + np.exp((light.mean - 0.03) / 0.01)))
    sheet.set("light.night", 0.02 + 0.8 * night)
    sheet.set("light.day", 0.95 - 0.85 * night)
