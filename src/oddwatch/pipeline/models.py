"""The models an index or a search runs, loaded once and only when first used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oddwatch.core import Frame, InputError
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.features import CROP_MARGIN

if TYPE_CHECKING:
    from oddwatch.describe.describer import Describer
    from oddwatch.encoders.pose import PoseModel
    from oddwatch.encoders.sentence import SentenceEncoder
    from oddwatch.encoders.vit import PatchEncoder
    from oddwatch.media.people import PeopleFinder


def spaces() -> dict[str, str]:
    """The vector spaces of a gallery and the encoder each belongs to."""
    from oddwatch.encoders.vit import encoder_id

    return {"facts": SCHEMA_ID, "image": encoder_id(224)}


@dataclass
class Models:
    """The embedded models on one device. ``threads`` is per model; None takes all cores. ``quick`` looks for people in one
    pass of 512 pixels, for cameras watched live, and not in tiles, which find small people and crowds."""

    device: str = "auto"
    threads: int | None = None
    quick: bool = False

    @cached_property
    def pose(self) -> PoseModel:
        from oddwatch.encoders.pose import PoseModel

        return PoseModel(threads=self._threads, device=self.device)

    @cached_property
    def finder(self) -> PeopleFinder:
        from oddwatch.media.people import PeopleFinder

        if self.quick:
            return PeopleFinder(self.pose, "never", long_side=512, coarse=0)
        return PeopleFinder(self.pose)

    @cached_property
    def patches(self) -> PatchEncoder:
        from oddwatch.encoders.vit import PatchEncoder

        return PatchEncoder(resolution=224, threads=self._threads, device=self.device)

    @cached_property
    def sentence(self) -> SentenceEncoder:
        from oddwatch.encoders.sentence import SentenceEncoder

        return SentenceEncoder(threads=self._threads)

    @cached_property
    def describer(self) -> Describer:
        from oddwatch.describe.describer import Describer

        return Describer(self.patches, threads=self._threads)

    @property
    def _threads(self) -> int:
        return self.threads or os.cpu_count() or 1


def picture_vector(models: Models, like: str | Path | np.ndarray) -> np.ndarray:
    """Unit vector of the largest person in a picture (of the whole picture where nobody is found).

    Raises:
        MediaError: the picture cannot be read. InputError: it is a vector of another dimension.
    """
    if isinstance(like, np.ndarray) and like.ndim == 1:
        if like.shape[0] != models.patches.dim:
            raise InputError("like", f"expected {models.patches.dim} numbers, got {like.shape[0]}")
        return like / max(float(np.linalg.norm(like)), 1e-12)
    from oddwatch.media.pictures import read_picture

    frame = Frame(like, "picture") if isinstance(like, np.ndarray) else read_picture(like)
    people = models.finder.find(frame)
    crop = frame.pixels
    if people:
        crop = frame.crop(max(people, key=lambda p: p.box.area).box.expanded(CROP_MARGIN))
    return unit(models.patches.encode([crop]).cls)[0]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(norms, 1e-12)
    return scaled.astype(np.float32)
