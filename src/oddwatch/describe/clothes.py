"""Clothing, hair and shoes of one person, from the painted regions of their canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from oddwatch.describe import colors, garments
from oddwatch.describe.atoms import COLORS, INDEX, TONES
from oddwatch.describe.body import soft
from oddwatch.describe.garments import Look
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.regions import Canvas, Painter, likeness
from oddwatch.describe.scene import Light

if TYPE_CHECKING:
    from oddwatch.describe.describer import Sheet


LEAST_PART = 0.1
"""Weight of a pixel that the part network is sure is something else."""
LEAST_FEET = 0.4
"""The same for shoes, which are smaller than a patch."""


class Wardrobe:
    """Pixels, weights and looks of the regions of one person."""

    def __init__(self, canvas: Canvas, painter: Painter, light: Light) -> None:
        self.canvas, self.painter, self.light = canvas, painter, light
        self.pixels = np.clip(canvas.pixels.astype(np.float32) / 255 * light.gains, 0, 1)
        self.lab = colors.lab(self.pixels)
        self.chest, self.sleeves = painter.chest(), painter.sleeves()
        self.thighs, self.shins = painter.thighs(), painter.shins()
        core = np.maximum.reduce([self.chest, self.sleeves, self.thighs, self.shins])
        self.own = likeness(canvas, painter.body(), core)

    def weights(self, mask: np.ndarray, least: float = 0.55, part: str | None = None) -> np.ndarray:
        """``mask`` where the picture is, less where the colour is the background's or where the part network sees
        something other than ``part``."""
        out = mask * np.clip(self.own, least, 1) * self.canvas.inside
        if part is not None and self.canvas.parts is not None:
            floor = LEAST_FEET if part == "feet" else LEAST_PART
            out = out * (floor + (1 - floor) * self.canvas.parts[part])
        return np.asarray(out, np.float32)

    def upper(self) -> np.ndarray:
        """Weights (h, w) of the upper garment. Sleeves count as much as the chest: a bag on the back or an open
        jacket's shirt covers the chest, hardly ever the sleeves."""
        chest, sleeves = self.weights(self.chest, part="upper"), self.weights(self.sleeves, part="upper")
        balance = float(np.clip(chest.sum() / max(sleeves.sum(), 1.0), 0.3, 2.5))
        return np.asarray(np.maximum(chest, np.minimum(balance, 2.5) * sleeves), np.float32)

    def look(self, weights: np.ndarray) -> Look | None:
        """The look of a region given by weights (h, w)."""
        ys, xs = np.nonzero(weights > 0.05)
        return garments.look(self.pixels[ys, xs], weights[ys, xs], self.light.white)

    def median(self, mask: np.ndarray) -> np.ndarray | None:
        """Median Lab (3,) of a painted region; None for fewer than 8 pixels."""
        values = self.values(mask)
        return np.median(values, axis=0) if len(values) >= 8 else None

    def values(self, mask: np.ndarray) -> np.ndarray:
        """Lab (N, 3) of a painted region, at most 300 pixels of it."""
        ys, xs = np.nonzero(mask > 0.05)
        seen = self.canvas.inside[ys, xs]
        ys, xs = ys[seen], xs[seen]
        step = max(1, len(ys) // 300)
        return np.asarray(self.lab[ys[::step], xs[::step]])


def fill(sheet: Sheet, canvas: Canvas, painter: Painter, light: Light, away: float) -> None:
    """Colours, tones, pattern, sleeves, leg wear, shoes, hair and backpack into ``sheet``; ``away`` is the
    probability that the person is seen from behind."""
    wardrobe = Wardrobe(canvas, painter, light)
    upper = wardrobe.upper()
    lower = wardrobe.weights(np.maximum(wardrobe.thighs, 0.8 * wardrobe.shins), part="lower")
    _fill_look(sheet, wardrobe, "upper", upper)
    _fill_look(sheet, wardrobe, "lower", lower)
    feet = painter.feet()
    if feet.any():
        _fill_look(sheet, wardrobe, "feet", wardrobe.weights(feet, 0.05, "feet"), tones=False)
    if not painter.posed:
        return
    bare = _fill_sleeves(sheet, wardrobe)
    _fill_pattern(sheet, wardrobe, upper)
    _fill_legs(sheet, wardrobe, lower)
    _fill_garment(sheet, wardrobe, upper, bare)
    _fill_hair(sheet, wardrobe)
    _fill_backpack(sheet, wardrobe, away)


def _fill_look(sheet: Sheet, wardrobe: Wardrobe, name: str, weights: np.ndarray, tones: bool = True) -> None:
    look = wardrobe.look(weights)
    # Enlarged pixels are not more pixels: below eight real ones nothing is claimed.
    real = 0.0 if look is None else look.amount / max(wardrobe.canvas.scale, 1.0) ** 2
    if look is None or real < 8:
        return
    trust = look.trust * min(1.0, 0.4 + real / 100)
    box = wardrobe.canvas.to_frame(weights > 0.2)
    for color, p in zip(COLORS, look.accept, strict=True):
        sheet.set(f"{name}.color.{color}", _trusted(float(p), f"{name}.color.{color}", trust), box)
    if tones:
        for tone, p in zip(TONES, look.tones, strict=True):
            sheet.set(f"{name}.tone.{tone}", float(p), box)


def _trusted(p: float, atom: str, trust: float) -> float:
    # Small or dark regions say less: their log odds are drawn towards the base rate.
    prior = float(PRIOR[INDEX[atom]])
    logit = trust * np.log(p / (1 - p)) + (1 - trust) * np.log(prior / (1 - prior))
    return float(1 / (1 + np.exp(-logit)))


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    # Shade matters less than hue between two parts of one body: folds and light move L first.
    step = first - second
    return float(np.hypot(0.7 * step[0], 1.6 * np.hypot(step[1], step[2])))


def _fill_sleeves(sheet: Sheet, wardrobe: Wardrobe) -> float:
    """Sets the sleeves; returns the probability of bare forearms (0.3 when they are not seen)."""
    painter = wardrobe.painter
    fore, arms = painter.forearms(), wardrobe.sleeves
    values, above = wardrobe.values(fore), wardrobe.median(arms)
    if len(values) < 10 or above is None or float(np.median(values[:, 0])) < 22:
        return 0.3
    flesh = float(garments.skin(values).mean())
    apart = _distance(np.median(values, axis=0), above)
    upper_flesh = float(garments.skin(wardrobe.values(arms)).mean())
    bare = soft(flesh, 0.33, 0.07)
    # Sleeves of the forearm's own colour: a beige sweater, or no sleeves at all.
    same = soft(-apart, -7, 2) * bare
    none = same * soft(upper_flesh, 0.4, 0.07) * 0.6
    short = bare * (1 - 0.7 * same)
    box = wardrobe.canvas.to_frame(fore > 0.5)
    sheet.set("upper.sleeves.long", 0.05 + 0.9 * (1 - bare * (1 - 0.3 * same)), box)
    sheet.set("upper.sleeves.short", 0.04 + 0.85 * short, box)
    sheet.set("upper.sleeves.none", 0.02 + 0.6 * none, box)
    return bare


def _fill_pattern(sheet: Sheet, wardrobe: Wardrobe, upper: np.ndarray) -> None:
    gray = cv2.cvtColor(wardrobe.canvas.pixels, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    inner = cv2.erode((wardrobe.chest > 0.5).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    # Below 70 pixels of height stripes are gone.
    if inner.sum() < 60 or wardrobe.canvas.scale > 1.8:
        return
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    across = float(np.abs(cv2.Sobel(smooth, cv2.CV_32F, 1, 0))[inner].mean())
    down = float(np.abs(cv2.Sobel(smooth, cv2.CV_32F, 0, 1))[inner].mean())
    busy = soft(np.log(across + down + 1e-3), np.log(62), 0.35)
    striped = busy * soft(np.log((down + 1) / (across + 1)), 0.2, 0.15)
    box = wardrobe.canvas.to_frame(upper > 0.2)
    sheet.set("upper.pattern.striped", 0.02 + 0.75 * striped, box)
    sheet.set("upper.pattern.patterned", 0.04 + 0.45 * busy * (1 - 0.3 * striped), box)
    sheet.set("upper.pattern.plain", 0.85 - 0.45 * busy - 0.3 * striped, box)


def _fill_legs(sheet: Sheet, wardrobe: Wardrobe, lower: np.ndarray) -> None:
    thighs, shins = wardrobe.median(wardrobe.thighs), wardrobe.values(wardrobe.shins)
    if thighs is None or len(shins) < 12 or not wardrobe.painter.both("knee", "ankle", 0.1).any():
        return
    level = float(np.median(shins[:, 0]))
    if level < 22 and float(thighs[0]) > 30:
        return
    flesh = float(garments.skin(shins).mean())
    apart = _distance(np.median(shins, axis=0), thighs)
    bare = soft(flesh, 0.33, 0.07) * soft(apart, 7, 2)
    blue = float(sheet.p[INDEX["lower.color.blue"]])
    box = wardrobe.canvas.to_frame(lower > 0.2)
    sheet.set("lower.type.shorts", 0.03 + 0.6 * bare, box)
    sheet.set("lower.type.skirt", 0.03 + 0.3 * bare, box)
    sheet.set("lower.type.trousers", 0.05 + 0.8 * (1 - bare) * (1 - 0.35 * blue), box)
    sheet.set("lower.type.jeans", 0.03 + (1 - bare) * (0.16 + 0.68 * blue**1.5), box)


def _fill_garment(sheet: Sheet, wardrobe: Wardrobe, upper: np.ndarray, bare: float) -> None:
    """Weak evidence: a coat's colour reaches down the thighs, sleeves tell a jacket from a t-shirt."""
    chest = wardrobe.median(np.maximum(wardrobe.chest, wardrobe.sleeves))
    hem = wardrobe.median(wardrobe.painter.both("hip", "knee", 0.2, 0.25, 0.7))
    shins = wardrobe.median(wardrobe.shins)
    if chest is None or hem is None or shins is None:
        return
    dark = soft(-float(chest[0]), -35, 5)
    long = soft(_distance(hem, shins) - _distance(chest, hem), 4, 2.5)
    known = abs(bare - 0.3) > 1e-6
    box = wardrobe.canvas.to_frame(upper > 0.2)
    sheet.set("upper.type.coat", 0.05 + (1 - bare) * (0.08 + 0.5 * long), box)
    if known:
        sheet.set("upper.type.jacket", 0.06 + (1 - bare) * (0.3 + 0.08 * dark), box)
        sheet.set("upper.type.t-shirt", 0.05 + 0.5 * bare, box)
        sheet.set("upper.type.shirt", 0.22 + 0.35 * bare + 0.1 * (1 - dark), box)
        sheet.set("upper.type.sweater", 0.04 + 0.14 * (1 - bare), box)
        sheet.set("upper.type.hoodie", 0.03 + 0.1 * (1 - bare), box)


def _fill_hair(sheet: Sheet, wardrobe: Wardrobe) -> None:
    painter, canvas = wardrobe.painter, wardrobe.canvas
    head, mask = painter.head(), painter.hair()
    values = wardrobe.values(mask)
    if head is None or len(values) < 12 or wardrobe.canvas.scale > 2.8:
        return
    box = canvas.to_frame(mask > 0.5)
    tone = np.median(values, axis=0)
    flesh = float(garments.skin(values).mean())
    bald = soft(flesh, 0.42, 0.06)
    level, warm = float(tone[0]), float(np.hypot(tone[1], tone[2]))
    dark = soft(-level, -30, 4)
    sheet.set("hair.color.black", 0.05 + 0.8 * dark * (1 - 0.4 * soft(warm, 9, 2)), box)
    sheet.set("hair.color.brown", 0.08 + 0.5 * soft(warm, 7, 2) * soft(-level, -45, 5) * (1 - bald), box)
    sheet.set("hair.color.blond", 0.02 + 0.6 * soft(warm, 15, 3) * soft(level, 48, 4) * (1 - bald), box)
    sheet.set("hair.color.grey", 0.03 + 0.5 * soft(-warm, -7, 2) * soft(level, 34, 4), box)
    sheet.set("hair.length.bald", 0.02 + 0.45 * bald, box)
    center, radius = head
    up = painter.up()
    side = np.array([-up[1], up[0]])
    spots = []
    for sign in (-1.0, 1.0):
        spot = wardrobe.values(
            painter.disc(center + sign * side * radius * 0.55 - up * radius * 0.9, radius * 0.3)
        )
        spots.append(np.median(spot[:, 0]) if len(spot) > 4 else np.nan)
    nape = wardrobe.values(painter.disc(center - up * radius, radius * 0.45))
    if np.isnan(spots).any() or len(nape) <= 4:
        return
    fall = abs(float(np.mean(spots)) - level) + max(float(np.median(nape[:, 0])) - level, -3.0)
    loose = soft(-fall, -9, 3) * dark
    sheet.set("hair.length.long", 0.1 + 0.4 * loose, box)
    sheet.set("hair.length.short", 0.75 - 0.3 * loose - 0.15 * bald, box)


def _fill_backpack(sheet: Sheet, wardrobe: Wardrobe, away: float) -> None:
    """Seen from behind, a back that differs from the sleeves is a backpack; from elsewhere it stays unknown."""
    back, sleeves = wardrobe.median(wardrobe.chest), wardrobe.median(wardrobe.sleeves)
    if away < 0.6 or back is None or sleeves is None:
        return
    apart = soft(_distance(back, sleeves), 9, 3)
    box = wardrobe.canvas.to_frame(wardrobe.chest > 0.5)
    sheet.set("carry.backpack", 0.11 + 0.64 * apart, box)
    if apart > 0.5:
        look = wardrobe.look(wardrobe.weights(wardrobe.chest))
        for color, p in zip(COLORS, look.accept if look else (), strict=False):
            sheet.set(f"bag.color.{color}", float(p), box)
