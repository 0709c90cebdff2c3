"""Clothing, hair and shoes of one person, from the painted regions of their canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from oddwatch.describe import garments
from oddwatch.describe.atoms import COLORS, TONES
from oddwatch.describe.garments import Look
from oddwatch.describe.regions import Canvas, Painter, likeness
from oddwatch.describe.scene import Light

if TYPE_CHECKING:
    from oddwatch.describe.describer import Sheet


class Wardrobe:
    """Pixels, weights and looks of the regions of one person."""

    def __init__(self, canvas: Canvas, painter: Painter, light: Light) -> None:
        self.canvas, self.painter, self.light = canvas, painter, light
        self.pixels = np.clip(canvas.pixels.astype(np.float32) / 255 * light.gains, 0, 1)
        self.chest, self.sleeves = painter.chest(), painter.sleeves()
        self.thighs, self.shins = painter.thighs(), painter.shins()
        core = np.maximum.reduce([self.chest, self.sleeves, self.thighs, self.shins])
        self.own = likeness(canvas, painter.body(), core)

    def weights(self, mask: np.ndarray, least: float = 0.55) -> np.ndarray:
        """``mask`` where the picture is, less where the colour is the background's."""
        return np.asarray(mask * np.clip(self.own, least, 1) * self.canvas.inside, np.float32)

    def upper(self) -> np.ndarray:
        """Weights (h, w) of the upper garment. Sleeves count as much as the chest: a bag on the back or an open
        jacket's shirt covers the chest, hardly ever the sleeves."""
        chest, sleeves = self.weights(self.chest), self.weights(self.sleeves)
        balance = float(np.clip(chest.sum() / max(sleeves.sum(), 1.0), 0.3, 2.5))
        return np.asarray(np.maximum(chest, np.minimum(balance, 2.5) * sleeves), np.float32)

    def look(self, weights: np.ndarray) -> Look | None:
        """The look of a region given by weights (h, w)."""
        ys, xs = np.nonzero(weights > 0.05)
        return garments.look(self.pixels[ys, xs], weights[ys, xs], self.light.white)


def fill(sheet: Sheet, canvas: Canvas, painter: Painter, light: Light) -> None:
    """Colours, tones, pattern, sleeves, leg wear, shoes and hair into ``sheet``."""
    wardrobe = Wardrobe(canvas, painter, light)
    upper = wardrobe.upper()
    lower = wardrobe.weights(np.maximum(wardrobe.thighs, 0.8 * wardrobe.shins))
    for name, weights in (("upper", upper), ("lower", lower)):
        look = wardrobe.look(weights)
        if look is None:
            continue
        box = canvas.to_frame(weights > 0.2)
        for color, p in zip(COLORS, look.accept, strict=True):
            sheet.set(f"{name}.color.{color}", float(p), box)
        for tone, p in zip(TONES, look.tones, strict=True):
            sheet.set(f"{name}.tone.{tone}", float(p), box)
