"""Which clips were cut from one source: told by their pictures, so that no fold learns what it tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from scipy.fft import dctn
from scipy.sparse.csgraph import connected_components

from oddwatch.core import Frame, InputError, MediaError
from oddwatch.datasets.videos import VideoItem, clip_of
from oddwatch.media.video import Sampling

ALIKE = 16
"""Bits of 63 in which the pictures of one source differ at most. Between unrelated clips of ``surveillance_fights`` the
distances pile up around 32, and their count is lowest at 12 to 18."""
NEIGHBOURS = 20
"""The same for clips whose names differ only in a number, by at most :data:`APART`."""
APART = 4


def perceptual_hash(frame: Frame) -> np.ndarray:
    """(63,) bool: which of the 63 lowest frequencies of the picture (8×8 of a 32×32 cosine transform, without the mean)
    are above their median."""
    grey = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    low = dctn(small, norm="ortho")[:8, :8].ravel()[1:]
    above: np.ndarray = low > np.median(low)
    return above


def look_alikes(items: Sequence[VideoItem]) -> dict[str, str]:
    """Name of a clip → name of its group: clips with near-equal middle frames are one, and what hangs together by them.

    Raises:
        InputError: a clip without pictures. MediaError: one whose middle frame cannot be read.
    """
    return dict(_grouped(tuple(items)))


@lru_cache(maxsize=8)
def _grouped(items: tuple[VideoItem, ...]) -> dict[str, str]:
    if not items:
        return {}
    hashes = np.array([perceptual_hash(_middle(item)) for item in items])
    apart = (hashes[:, None] != hashes[None]).sum(axis=2)
    near = apart <= ALIKE
    near |= (apart <= NEIGHBOURS) & _numbered([item.name for item in items])
    _, parts = connected_components(near, directed=False)
    first = {int(part): items[i].name for i, part in reversed(list(enumerate(parts)))}
    return {item.name: first[int(part)] for item, part in zip(items, parts, strict=True)}


def _middle(item: VideoItem) -> Frame:
    clip = clip_of(item)
    if not len(clip.times):
        raise InputError(item.name, "has no frames")
    time = float(clip.times[len(clip.times) // 2])
    frame = next(iter(clip.frames(Sampling(None), time)), None)
    if frame is None:
        raise MediaError(item.name, "its middle frame cannot be read", "copy it again from its origin")
    return frame


def _numbered(names: Sequence[str]) -> np.ndarray:
    """(N, N) bool: names that differ in their last number only, and by little."""
    found = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    stems = np.array([f"{m[1]} {m[3]}" if m else name for m, name in zip(found, names, strict=True)])
    numbers = np.array([int(m[2]) if m else 0 for m in found], dtype=np.float64)
    close: np.ndarray = (stems[:, None] == stems) & (np.abs(numbers[:, None] - numbers) <= APART)
    return close
