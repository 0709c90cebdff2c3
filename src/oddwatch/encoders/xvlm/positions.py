"""Relative position bias of windows: which table row a pair of patches reads, and tables for another window."""

from __future__ import annotations

import numpy as np


def relative_index(side: int, cls: bool = False) -> np.ndarray:
    """Rows of the bias table for all pairs of a ``side`` × ``side`` window, (side², side²) int64, the asking patch
    first (Liu et al., Swin, 2021). With ``cls`` a class token stands in front, (side² + 1)², and three more rows
    close the table: from class to patch, from patch to class, class to class (Bao et al., BEiT, 2022)."""
    at = np.stack(np.divmod(np.arange(side * side), side), 1)
    step = at[:, None] - at[None] + side - 1
    index = step[..., 0] * (2 * side - 1) + step[..., 1]
    if not cls:
        return index.astype(np.int64)
    last = (2 * side - 1) ** 2
    out = np.empty((side * side + 1,) * 2, np.int64)
    out[1:, 1:], out[0], out[:, 0], out[0, 0] = index, last, last + 1, last + 2
    return out


def window_side(rows: int, extra: int = 0) -> int | None:
    """Side of the window whose table has ``rows`` rows, ``extra`` of them not of patches; None where there is none."""
    wide = round(max(rows - extra, 0) ** 0.5)
    return (wide + 1) // 2 if wide % 2 and wide * wide == rows - extra else None


def resize_table(table: np.ndarray, side: int, extra: int = 0) -> np.ndarray:
    """``table`` (rows, heads) for a window of ``side`` patches; its last ``extra`` rows stay as they are.

    As the BEiT and X-VLM code does: old distances are spread in a geometric progression so that the farthest old and
    new ones coincide, and a cubic spline over both axes is read at the new whole distances. For a smaller window the
    progression stays near 1 and the far distances are left out.
    """
    from scipy.interpolate import RectBivariateSpline

    old = window_side(len(table), extra)
    if old is None:
        raise ValueError(f"{len(table)} rows are no table of a square window")
    if old == side:
        return table
    inner = table[: len(table) - extra].reshape(2 * old - 1, 2 * old - 1, -1).astype(np.float64)
    known = _spread(old - 1, side - 1)
    wanted = np.arange(-(side - 1), side, dtype=np.float64)
    degree = min(3, 2 * old - 2)
    heads = [
        RectBivariateSpline(known, known, inner[..., h], kx=degree, ky=degree)(wanted, wanted).ravel()
        for h in range(table.shape[1])
    ]
    return np.concatenate([np.stack(heads, 1), table[len(table) - extra :]]).astype(table.dtype)


def _spread(old: int, new: int) -> np.ndarray:
    """Places of the distances −``old``..``old`` on an axis whose farthest whole distance is ``new``."""
    left, right = 1.01, 1.5
    ratio = (left + right) / 2
    while right - left > 1e-6:
        ratio = (left + right) / 2
        if (ratio**old - 1) / (ratio - 1) > new:
            right = ratio
        else:
            left = ratio
    far = np.cumsum(ratio ** np.arange(old))
    return np.concatenate([-far[::-1], [0.0], far])
