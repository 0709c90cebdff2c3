"""What pixel metrics take: anomaly maps and masks, image by image, of any sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from oddwatch.core import InputError
from oddwatch.metrics.ranking import as_scores


def pairs(maps: Sequence[Any], masks: Sequence[Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Checked (H, W) float maps and (H, W) bool masks, one image at a time.

    Both are sequences, (N, H, W) arrays or anything with a length and items (which may load them late). In a mask
    of integers all but 0 is anomalous; floats must be 0 and 1.

    Raises:
        InputError: names the index of the image whose map or mask does not fit.
    """
    if len(maps) != len(masks):
        raise InputError("masks", f"expected one per map ({len(maps)}), got {len(masks)}")
    for i in range(len(maps)):
        yield pair(maps[i], masks[i], f"[{i}]")


def pair(map_: Any, mask: Any, index: str = "") -> tuple[np.ndarray, np.ndarray]:
    """One checked map and mask; see :func:`pairs`."""
    scores, truth = as_scores(map_, f"map{index}"), as_mask(mask, f"mask{index}")
    if scores.ndim != 2 or not scores.size:
        raise InputError(f"map{index}", f"expected (H, W) scores, got shape {scores.shape}")
    if scores.shape != truth.shape:
        raise InputError(
            f"mask{index}",
            f"expected the map's size {scores.shape}, got {truth.shape}",
            "resize the map (linear) to the mask, or the mask (nearest) to the map, and say so",
        )
    return scores, truth


def as_mask(mask: Any, name: str = "mask") -> np.ndarray:
    """``mask`` as bool; see :func:`pairs`."""
    if mask is None:
        raise InputError(
            name, "is missing", "give zeros for a normal picture, leave out one whose mask is unknown"
        )
    values = np.asarray(mask)
    if values.dtype.kind not in "biuf":
        raise InputError(name, f"expected booleans or numbers, got {values.dtype}")
    if values.dtype.kind == "f" and not np.isin(values, (0.0, 1.0)).all():
        raise InputError(name, "expected 0 and 1 only in a mask of floats", "cut it at a threshold first")
    return values.astype(bool, copy=False)


def components(mask: np.ndarray, connectivity: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Connected parts of a (H, W) bool mask: labels (H, W) int32 with 0 outside, and areas (R,) in pixels.

    Touching corners connect by default (OpenCV and scikit-image do so, scipy's default does not).
    """
    if connectivity not in (4, 8):
        raise InputError("connectivity", f"expected 4 or 8, got {connectivity}")
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return labels, np.bincount(labels.ravel())[1:]
