"""Pictures small enough to live inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from oddwatch.core import Box, MediaError

MAX_PIXELS = 50_000_000


def context(pixels: np.ndarray, *, long_side: int = 1920, quality: int = 90) -> tuple[bytes, float]:
    """A frame as a JPEG of at most ``long_side`` pixels, and its scale.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        long_side: of the JPEG, in pixels; a smaller frame is not enlarged.
        quality: of the JPEG, 1–95.

    Returns:
        The JPEG, and JPEG pixels per frame pixel (≤ 1).
    """
    picture = Image.fromarray(pixels)
    scale = min(1.0, long_side / max(picture.size))
    return _jpeg(_resized(picture, scale), quality), scale


def opened(jpeg: bytes, subject: str) -> Image.Image:
    """The picture in ``jpeg`` as RGB.

    Raises:
        MediaError: the bytes are no picture, are cut short, or hold too many pixels.
    """
    try:
        picture = Image.open(io.BytesIO(jpeg))
        if picture.width * picture.height > MAX_PIXELS:
            raise MediaError(
                subject, f"picture of {picture.width}×{picture.height} pixels is too large for a page"
            )
        return picture.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise MediaError(subject, f"expected a JPEG picture: {error}") from error


def fitted(picture: Image.Image, limit: int, long_side: int) -> bytes:
    """A JPEG of at most ``limit`` bytes and ``long_side`` pixels: quality goes first, then size.

    The last, smallest try is returned even where it is still above the limit.
    """
    side = min(long_side, max(picture.size))
    while True:
        small = _resized(picture, side / max(picture.size))
        for quality in (82, 64):
            data = _jpeg(small, quality)
            if len(data) <= limit:
                return data
        if side <= 160:
            return data
        # Bytes go about with the area; a little less, so that the next try is likely the last.
        side = max(160, int(side * min(0.9, 0.95 * (limit / len(data)) ** 0.5)))


def around(box: Box, width: float, height: float, margin: float = 0.2) -> Box:
    """The part of a ``width`` × ``height`` frame worth showing as the person: the box, some margin, and
    more of the surroundings where the box is much wider than high or the other way round."""
    pad = margin * max(box.width, box.height)
    w, h = box.width + 2 * pad, box.height + 2 * pad
    w, h = max(w, 0.6 * h), max(h, 0.85 * w)
    x, y = box.center
    return Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2).clipped(width, height)


def data_uri(jpeg: bytes) -> str:
    """``jpeg`` as a ``data:`` address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _resized(picture: Image.Image, scale: float) -> Image.Image:
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()
