"""How bad: the distance above a threshold, in units of how far the threshold is from what is usual."""

from __future__ import annotations

import numpy as np

TINY = 1e-12


def margin(scores: np.ndarray, threshold: float, usual: float) -> np.ndarray:
    """(N,) scores on a scale with 0 at ``usual`` (the median normal score) and 1 at ``threshold``.

    Where normal scores do not differ at all the unit is a millionth of the threshold, so that nothing divides by zero.
    """
    unit = max(threshold - usual, 1e-6 * max(abs(threshold), abs(usual)), TINY)
    out: np.ndarray = (np.asarray(scores, np.float64) - usual) / unit
    return out


def severity(scores: np.ndarray, threshold: float, usual: float) -> np.ndarray:
    """(N,) 0–1: 0 up to the threshold, then 1 − 1 / margin: 0.5 at twice the threshold's distance from usual, 0.9 at ten
    times. It never saturates, so the order of the worst ones is kept."""
    m = margin(scores, threshold, usual)
    out: np.ndarray = np.where(m > 1, 1 - 1 / np.maximum(m, 1.0), 0.0)
    return out


def in_words(value: float) -> str:
    """A severity (0–1) as a word: none, slight, clear, strong."""
    return "none" if value <= 0 else "slight" if value < 1 / 3 else "clear" if value < 2 / 3 else "strong"
