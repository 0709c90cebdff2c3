"""Still pictures: everything Pillow reads, as upright RGB."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from oddwatch.core.errors import LimitError, MediaError
from oddwatch.core.media import Frame
from oddwatch.media.limits import Limits
from oddwatch.media.names import printable

# EPS starts Ghostscript, WMF and the stubs need a host program, MPEG is video.
_REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FPX"}


def _formats() -> list[str]:
    Image.init()
    return sorted(set(Image.ID) - _REFUSED)


def is_picture(path: str | Path) -> bool:
    """Whether Pillow recognises the header of ``path``; nothing is decoded and nothing is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(Path(path), formats=_formats()):
                return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # noqa: BLE001 - a plug-in may raise anything on foreign bytes
        return False


def read_picture(path: str | Path, *, limits: Limits | None = None) -> Frame:
    """Read a still as an upright (H, W, 3) uint8 RGB frame.

    The EXIF orientation is applied, transparency is laid over white, 16-bit and float samples are
    scaled to 8 bits, CMYK is converted without its profile, of an animation the first frame is taken.

    Raises:
        MediaError: the file is missing, empty, truncated or not a picture.
        LimitError: more bytes or pixels than ``limits`` allow; nothing has been decoded then. Pillow's own
            ceiling of about 179 million pixels holds beyond that.
    """
    path, limits = Path(path), limits or Limits()
    name = printable(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MediaError(
            name, f"cannot be read: {error.strerror or error}", "check path and rights"
        ) from error
    if size == 0:
        raise MediaError(name, "is empty (0 bytes)", "copy it again from its origin")
    if size > limits.bytes:
        raise LimitError(name, f"has {size:,} bytes, the limit is {limits.bytes:,}", "raise Limits(bytes=…)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats()) as image:
                _check_pixels(name, image, limits)
                pixels = upright_rgb(image)
    except Image.DecompressionBombError as error:
        raise LimitError(name, f"has too many pixels: {error}", "scale it down first") from error
    except UnidentifiedImageError as error:
        raise MediaError(name, "is not a picture that can be read", "check what the file holds") from error
    except (LimitError, MediaError):
        raise
    except Exception as error:
        problem = f"is truncated or damaged: {error or type(error).__name__}"
        raise MediaError(name, problem, "copy it again from its origin") from error
    return Frame(pixels, source=name)


def _check_pixels(name: str, image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        found = f"has {width} × {height} pixels, the limit is {limits.pixels:,}"
        raise LimitError(name, found, "raise Limits(pixels=…) or scale it down first")


def upright_rgb(image: Image.Image) -> np.ndarray:
    """An opened picture of any mode as upright (H, W, 3) uint8 RGB, as :func:`read_picture` says."""
    image.load()
    try:
        orientation = int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - broken EXIF of a sound picture: take it as upright
        orientation = 1
    eight = _eight_bits(image)
    if orientation in range(2, 9):
        # ImageOps reads the tag from the image it turns, which the 8-bit copy may have lost.
        eight.getexif()[0x0112] = orientation
        eight = ImageOps.exif_transpose(eight)
    return np.ascontiguousarray(np.asarray(eight, dtype=np.uint8))


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, rgba).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    samples = np.nan_to_num(np.asarray(image).astype(np.float32))
    highest = float(samples.max(initial=0.0))
    if image.mode.startswith("I;16"):
        full = 65535.0
    elif image.mode == "F":
        full = 1.0 if highest <= 1 else 255.0 if highest <= 255 else highest
    else:
        full = 255.0 if highest <= 255 else 65535.0 if highest <= 65535 else highest
    grey = np.clip(samples * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
