"""The generator's own shade table: colour words as a witness would use them, and sRGB clouds around them.

Kept apart from the describer's colour table on purpose, so that the generator can test it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Shade:
    """A named shade: ``word`` as said, ``color`` one of the twelve plain colour terms, ``rgb`` its centre,
    ``spread`` standard deviation in sRGB steps."""

    word: str
    color: str
    rgb: tuple[int, int, int]
    spread: float = 7.0
    tone: str = ""


SHADES: tuple[Shade, ...] = (
    Shade("black", "black", (26, 25, 27), 6),
    Shade("black", "black", (38, 36, 38), 5),
    Shade("jet black", "black", (15, 15, 17), 3),
    Shade("white", "white", (226, 225, 222), 9),
    Shade("white", "white", (240, 240, 239), 5),
    Shade("off-white", "white", (219, 214, 203), 6),
    Shade("grey", "grey", (118, 118, 120), 12),
    Shade("dark grey", "grey", (72, 72, 75), 7, "dark"),
    Shade("light grey", "grey", (172, 172, 173), 9, "light"),
    Shade("navy", "blue", (29, 34, 58), 6, "dark"),
    Shade("dark blue", "blue", (33, 46, 92), 8, "dark"),
    Shade("blue", "blue", (48, 84, 156), 14),
    Shade("light blue", "blue", (140, 176, 212), 11, "light"),
    Shade("bright blue", "blue", (24, 98, 214), 10, "bright"),
    Shade("teal", "blue", (26, 104, 120), 9),
    Shade("red", "red", (168, 30, 36), 13),
    Shade("bright red", "red", (214, 30, 32), 9, "bright"),
    Shade("dark red", "red", (104, 22, 28), 8, "dark"),
    Shade("maroon", "red", (84, 24, 34), 7, "dark"),
    Shade("orange", "orange", (216, 110, 34), 11),
    Shade("bright orange", "orange", (244, 118, 14), 7, "bright"),
    Shade("yellow", "yellow", (216, 184, 46), 11),
    Shade("bright yellow", "yellow", (240, 220, 32), 8, "bright"),
    Shade("mustard", "yellow", (182, 142, 40), 8),
    Shade("green", "green", (48, 114, 62), 12),
    Shade("dark green", "green", (32, 62, 44), 8, "dark"),
    Shade("olive", "green", (86, 88, 52), 8, "dark"),
    Shade("light green", "green", (142, 186, 128), 10, "light"),
    Shade("bright green", "green", (62, 178, 58), 9, "bright"),
    Shade("purple", "purple", (96, 54, 128), 11),
    Shade("dark purple", "purple", (58, 34, 78), 7, "dark"),
    Shade("lilac", "purple", (174, 150, 200), 9, "light"),
    Shade("pink", "pink", (220, 142, 168), 11),
    Shade("bright pink", "pink", (226, 66, 136), 10, "bright"),
    Shade("light pink", "pink", (236, 194, 206), 8, "light"),
    Shade("brown", "brown", (102, 70, 48), 11),
    Shade("dark brown", "brown", (62, 44, 34), 7, "dark"),
    Shade("tan", "brown", (160, 122, 84), 9, "light"),
    Shade("beige", "beige", (200, 182, 150), 9),
    Shade("khaki", "beige", (164, 150, 112), 9),
    Shade("cream", "beige", (226, 214, 186), 7, "light"),
)

_UPPER: dict[str, float] = {"black": 26, "grey": 14, "white": 11, "blue": 17, "red": 8, "green": 6, "brown": 5, "beige": 5,
          "pink": 3, "yellow": 2.5, "orange": 2, "purple": 2.5}  # fmt: skip
_LOWER: dict[str, float] = {"black": 34, "grey": 15, "blue": 27, "brown": 6, "beige": 8, "white": 3.5, "green": 3, "red": 2,
          "pink": 0.7, "purple": 0.7, "yellow": 0.4, "orange": 0.4}  # fmt: skip
_SHOES: dict[str, float] = {
    "black": 40,
    "white": 22,
    "grey": 12,
    "brown": 14,
    "blue": 5,
    "red": 4,
    "beige": 2,
    "green": 1,
}
_BAGS: dict[str, float] = {"black": 36, "brown": 16, "blue": 12, "grey": 10, "red": 9, "green": 6, "beige": 5, "pink": 3,
         "yellow": 2, "purple": 1}  # fmt: skip
_EVEN = dict.fromkeys(_UPPER, 1.0)
USES: dict[str, dict[str, float]] = {
    "upper": _UPPER,
    "lower": _LOWER,
    "shoes": _SHOES,
    "bag": _BAGS,
    "any": _EVEN,
}
"""How often each plain colour is worn, by use."""


def _weights(use: str) -> np.ndarray:
    table = USES[use]
    each: dict[str, int] = {}
    for shade in SHADES:
        each[shade.color] = each.get(shade.color, 0) + 1
    w = np.array([table.get(s.color, 0.0) / each[s.color] for s in SHADES])
    return w / w.sum()


_WEIGHTS = {use: _weights(use) for use in USES}
DENIM = (Shade("blue", "blue", (62, 84, 118), 8), Shade("dark blue", "blue", (38, 48, 74), 6, "dark"),
         Shade("light blue", "blue", (122, 146, 176), 9, "light"), Shade("black", "black", (36, 36, 41), 5),
         Shade("grey", "grey", (104, 106, 112), 8))  # fmt: skip


def draw_shade(rng: np.random.Generator, use: str = "upper", flat: float = 0.25) -> tuple[Shade, np.ndarray]:
    """A shade for ``use`` (a key of ``USES``) and its sampled sRGB (3,) float32; with probability ``flat`` all
    plain colours are equally likely, so that rare colours are seen too."""
    w = _WEIGHTS["any" if rng.random() < flat else use]
    shade = SHADES[int(rng.choice(len(SHADES), p=w))]
    return shade, sample(rng, shade)


def draw_denim(rng: np.random.Generator) -> tuple[Shade, np.ndarray]:
    """A shade of denim and its sampled sRGB (3,)."""
    shade = DENIM[int(rng.choice(len(DENIM), p=[0.4, 0.25, 0.15, 0.14, 0.06]))]
    return shade, sample(rng, shade)


def sample(rng: np.random.Generator, shade: Shade) -> np.ndarray:
    """One sRGB colour (3,) float32 of a shade's cloud: common lightness noise and a little hue noise."""
    noise = rng.normal(0, 0.8 * shade.spread) + rng.normal(0, 0.45 * shade.spread, 3)
    return np.clip(np.array(shade.rgb, np.float32) + noise, 6, 250).astype(np.float32)
