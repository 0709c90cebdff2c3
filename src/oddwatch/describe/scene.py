"""The surroundings: light, place, and what is true of a whole moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from oddwatch.core import Box, Frame, Person
from oddwatch.describe import colors
from oddwatch.describe.atoms import COLORS
from oddwatch.describe.body import soft

if TYPE_CHECKING:
    from oddwatch.describe.describer import Sheet


SIDE = 28
"""The surroundings are looked at reduced to this many pixels a side."""


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """The light of a frame: ``gains`` (3,) mild colour correction, ``white`` the linear luminance of its bright
    parts (95th percentile), ``mean`` its mean linear luminance."""

    gains: np.ndarray
    white: float
    mean: float


def light_of(frame: Frame) -> Light:
    """The light of a frame, from a 64×64 reduction of it."""
    little = cv2.resize(frame.pixels, (64, 64), interpolation=cv2.INTER_AREA)
    small = little.astype(np.float32) / 255
    linear = (small**2.2) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return Light(colors.illuminant(little), float(np.percentile(linear, 95)), float(linear.mean()))


def fill(sheet: Sheet, frame: Frame, person: Person, light: Light) -> None:
    """Light, where in the frame, and the colours and grass or snow of ``person``'s surroundings into ``sheet``."""
    fill_light(sheet, light)
    cx, _ = person.box.center
    # A frame hardly larger than the person is a cut-out: where the person stands in it means nothing.
    share = person.box.height / frame.height
    if share < 0.55 and person.box.width / frame.width < 0.4:
        x = cx / frame.width
        sheet.set("frame.left", 0.05 + 0.8 * soft(-x, -0.38, 0.05))
        sheet.set("frame.right", 0.05 + 0.8 * soft(x, 0.62, 0.05))
        sheet.set("frame.center", 0.05 + 0.75 * soft(-abs(x - 0.5), -0.16, 0.04))
        sheet.set("frame.near", 0.05 + 0.75 * soft(share, 0.42, 0.06))
        sheet.set("frame.far", 0.05 + 0.75 * soft(-share, -0.16, 0.04))
    ground, around = _surroundings(frame, person)
    fill_place(sheet, ground, around)


def fill_light(sheet: Sheet, light: Light) -> None:
    """Day or night from the frame's brightness; a dim room is neither for sure."""
    night = soft(-light.mean, -0.03, 0.01)
    dim = soft(-light.mean, -0.07, 0.02)
    sheet.set("light.night", 0.02 + 0.4 * dim + 0.4 * night)
    sheet.set("light.day", 0.92 - 0.35 * dim - 0.4 * night)


def fill_place(sheet: Sheet, ground: np.ndarray, around: np.ndarray) -> None:
    """Place colours, grass, trees and snow from sRGB pixels (N, 3) float 0–1 of the ground and of all around."""
    if len(around) >= 30:
        share = colors.terms(around).mean(0)
        for term, p in zip(COLORS, share, strict=True):
            sheet.set(f"place.color.{term}", float(0.02 + 0.8 * p / (p + 0.3)))
        green = _green(around)
        sheet.set("place.trees", 0.03 + 0.3 * soft(green, 0.3, 0.07))
    if len(ground) >= 16:
        values = colors.lab(ground)
        sheet.set("place.grass", 0.02 + 0.65 * soft(_green(ground), 0.4, 0.08))
        white = float(((values[:, 0] > 82) & (np.hypot(values[:, 1], values[:, 2]) < 8)).mean())
        sheet.set("place.snow", 0.005 + 0.4 * soft(white, 0.75, 0.06))


def _green(pixels: np.ndarray) -> float:
    values = colors.lab(pixels)
    chroma = np.hypot(values[:, 1], values[:, 2])
    hue = np.degrees(np.arctan2(values[:, 2], values[:, 1]))
    return float(((hue > 95) & (hue < 155) & (chroma > 9) & (values[:, 0] > 12)).mean())


def _surroundings(frame: Frame, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """sRGB (N, 3) float 0–1 of the ground beside the feet and of everything around the box."""
    box = person.box
    h = max(box.height, box.width)
    area = Box(box.x0 - 0.6 * h, box.y0 - 0.2 * h, box.x1 + 0.6 * h, box.y1 + 0.15 * h).clipped(
        frame.width, frame.height
    )
    cut = frame.crop(area)
    small = cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    xs = area.x0 + (np.arange(SIDE) + 0.5) / SIDE * max(area.width, 1)
    ys = area.y0 + (np.arange(SIDE) + 0.5) / SIDE * max(area.height, 1)
    beside = (xs < box.x0) | (xs > box.x1)
    outside = beside[None] | (ys < box.y0)[:, None] | (ys > box.y1)[:, None]
    low = (ys > box.y1 - 0.2 * h)[:, None] & outside
    return small[low], small[outside]


def fill_moment(sheet: Sheet, frame: Frame, people: Sequence[Person], light: Light) -> None:
    """How many people, what place and light: what is true of a whole picture."""
    n = len(people)
    for word, count in (("none", 0), ("one", 1), ("two", 2), ("three", 3)):
        miss = abs(n - count)
        sheet.set(f"count.{word}", (0.75, 0.18, 0.04, 0.02)[min(miss, 3)] if n or count == 0 else 0.05)
    sheet.set("count.many", 0.02 + 0.85 * soft(float(n), 3.5, 0.6))
    sheet.set("company.crowd", 0.01 + 0.85 * soft(float(n), 7.5, 1.5))
    sheet.set("company.group", 0.03 + 0.6 * soft(float(n), 2.6, 0.4))
    sheet.set("company.pair", 0.6 if n == 2 else 0.12)
    sheet.set("company.alone", 0.65 if n == 1 else 0.12 if n else 0.05)
    fill_light(sheet, light)
    small = cv2.resize(frame.pixels, (64, 48), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    fill_place(sheet, small[24:].reshape(-1, 3), small.reshape(-1, 3))
