"""Pictures on their way to a model: shrunk, as JPEG, within limits, and named by what is in them."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import Frame, InputError, LimitError

Picture = Frame | np.ndarray


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """``long_side`` in pixels (larger pictures are shrunk), ``quality`` of JPEG, ``most`` pictures and ``most_bytes``
    of all their JPEGs in one question."""

    long_side: int = 768
    quality: int = 90
    most: int = 16
    most_bytes: int = 8_000_000


def digest(picture: Picture) -> str:
    """Hash of the pixels and their shape."""
    pixels = pixels_of(picture)
    total = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    total.update(np.ascontiguousarray(pixels).data)
    return total.hexdigest()


def pixels_of(picture: Picture) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises InputError for anything else."""
    return (picture if isinstance(picture, Frame) else Frame(picture)).pixels


def jpegs(pictures: Sequence[Picture], limits: PictureLimits) -> list[bytes]:
    """Each picture as a JPEG within ``limits``.

    Raises:
        InputError: not a Frame or (H, W, 3) uint8 array.
        LimitError: too many pictures, or too many bytes together.
    """
    if isinstance(pictures, np.ndarray) or not isinstance(pictures, Sequence):
        raise InputError("images", "expected a sequence of frames", "put one picture into a list")
    if len(pictures) > limits.most:
        raise LimitError("images", f"at most {limits.most} pictures in one question, got {len(pictures)}")
    made = [_jpeg(pixels_of(p), limits) for p in pictures]
    total = sum(map(len, made))
    if total > limits.most_bytes:
        raise LimitError("images", f"{total} bytes of pictures in one question, at most {limits.most_bytes}")
    return made


def _jpeg(pixels: np.ndarray, limits: PictureLimits) -> bytes:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if max(picture.size) > limits.long_side:
        scale = limits.long_side / max(picture.size)
        size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=limits.quality)
    return out.getvalue()


def data_url(jpeg: bytes) -> str:
    """The ``data:`` address of a JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
