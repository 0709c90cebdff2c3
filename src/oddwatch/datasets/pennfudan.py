"""Penn-Fudan pedestrians (Wang et al., ACCV 2007): pictures with boxes and instance masks, in a zip."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oddwatch.core import Box, InputError
from oddwatch.datasets.store import MAX_PIXELS, has, names, read, read_pixels


@dataclass(frozen=True, slots=True, eq=False)
class Pedestrians:
    """A picture and the people in it: ``boxes`` in pixels, ``masks`` (N, H, W) bool in the same order."""

    image: str
    pixels: np.ndarray
    boxes: tuple[Box, ...]
    masks: np.ndarray


def read_pennfudan(folder: str | Path) -> list[Pedestrians]:
    """All pictures of the archive in ``folder``; boxes are the tight boxes of the masks."""
    archives = sorted(Path(folder).glob("pennfudan*.zip"))
    if not archives:
        raise InputError(str(folder), "expected an archive named pennfudan*.zip")
    found = []
    for archive in archives:
        for name in names(archive):
            head, _, file = name.rpartition("PNGImages/")
            mask = f"{head}PedMasks/{file[:-4]}_mask.png"
            if file.endswith(".png") and has(archive, mask):
                found.append(_pedestrians(archive, name, mask))
    return found


def _pedestrians(archive: Path, name: str, mask: str) -> Pedestrians:
    from PIL import Image

    with Image.open(io.BytesIO(read(archive, mask)), formats=("PNG",)) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(f"{archive}: {mask}", "is too large")
        ids = np.array(picture)
    masks = np.array([ids == i for i in np.unique(ids) if i != 0], dtype=bool).reshape(-1, *ids.shape)
    boxes = []
    for one in masks:
        ys, xs = np.nonzero(one)
        boxes.append(Box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)))
    return Pedestrians(name, read_pixels(archive, name), tuple(boxes), masks)
