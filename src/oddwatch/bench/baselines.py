"""What any system must beat: chance, and the colour words of the sentence held against pixel colours."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from oddwatch.core import Box

PROTOTYPES: dict[str, tuple[int, int, int]] = {
    "black": (20, 20, 20), "white": (240, 240, 240), "grey": (128, 128, 128), "red": (200, 30, 30),
    "orange": (240, 130, 30), "yellow": (235, 215, 50), "green": (40, 140, 60), "blue": (40, 70, 180),
    "purple": (120, 50, 150), "pink": (240, 150, 180), "brown": (110, 70, 40), "beige": (220, 205, 170),
}  # fmt: skip
"""One sRGB value for each basic colour term."""

WORDS: dict[str, tuple[str, ...]] = {
    **{c: (c,) for c in PROTOTYPES},
    "gray": ("grey",), "silver": ("grey",), "charcoal": ("grey", "black"), "navy": ("blue",), "denim": ("blue",),
    "maroon": ("red",), "burgundy": ("red",), "crimson": ("red",), "scarlet": ("red",), "tan": ("brown", "beige"),
    "khaki": ("beige", "brown", "green"), "cream": ("beige", "white"), "ivory": ("white", "beige"),
    "olive": ("green",), "teal": ("green", "blue"), "turquoise": ("blue", "green"), "cyan": ("blue",),
    "gold": ("yellow",), "golden": ("yellow",), "violet": ("purple",), "lavender": ("purple",),
    "lilac": ("purple",), "magenta": ("pink", "purple"), "mustard": ("yellow",), "rust": ("orange", "brown"),
    "peach": ("pink", "orange"), "salmon": ("pink",), "coral": ("pink", "orange"), "camel": ("brown", "beige"),
    "blackish": ("black",), "whitish": ("white",), "greyish": ("grey",), "bluish": ("blue",), "reddish": ("red",),
}  # fmt: skip
"""Colour word → the basic terms it may be called."""


def color_words(text: str) -> list[tuple[str, ...]]:
    """The colours named in ``text``, in order, each as the basic terms it may be called."""
    return [WORDS[w] for w in re.findall(r"[a-z]+", text.lower()) if w in WORDS]


def color_histogram(pixels: np.ndarray, box: Box | None = None) -> np.ndarray:
    """(12,) share of each basic term among the pixels (H, W, 3) uint8 of ``box``: nearest sRGB prototype of
    the cells of an 8×8×8 histogram."""
    if box is not None:
        b = box.clipped(pixels.shape[1], pixels.shape[0])
        x0, y0 = min(int(b.x0), pixels.shape[1] - 1), min(int(b.y0), pixels.shape[0] - 1)
        pixels = pixels[y0 : max(int(np.ceil(b.y1)), y0 + 1), x0 : max(int(np.ceil(b.x1)), x0 + 1)]
    cells = (pixels.reshape(-1, 3).astype(np.int64) >> 5) @ np.array([64, 8, 1])
    counts = np.bincount(cells, minlength=512)
    axis = np.arange(8) * 32 + 16
    centers = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 1, 3)
    nearest = np.square(centers - np.array(list(PROTOTYPES.values()))).sum(-1).argmin(1)
    shares = np.bincount(nearest, weights=counts, minlength=len(PROTOTYPES)) / max(counts.sum(), 1)
    return np.asarray(shares, dtype=np.float64)


def histogram_scores(text: str, histograms: np.ndarray) -> np.ndarray:
    """(N,) mean log share of the colours named in ``text`` in histograms (N, 12); all 0 without a colour."""
    order = {c: i for i, c in enumerate(PROTOTYPES)}
    named = color_words(text)
    if not named:
        return np.zeros(len(histograms))
    shares = [histograms[:, [order[c] for c in colors]].sum(1) for colors in named]
    scores = np.log(np.stack(shares) + 0.01).mean(0)
    return np.asarray(scores, dtype=np.float64)


def histograms_of(pictures: Sequence[tuple[np.ndarray, Box | None]]) -> np.ndarray:
    """(N, 12) histograms of (pixels, box) pairs."""
    return np.array([color_histogram(p, b) for p, b in pictures]).reshape(-1, len(PROTOTYPES))
