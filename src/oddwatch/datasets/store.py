"""Where pictures lie: a folder, or a zip read in place. Names from outside never leave it."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from oddwatch.core import InputError, LimitError, MediaError

MAX_MEMBER_BYTES = 64 * 1024**2
MAX_PIXELS = 100_000_000
MAX_TEXT_BYTES = 512 * 1024**2
MAX_MEMBERS = 2_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def safe_name(name: str) -> str:
    """``name`` as a relative POSIX path without ``..``; raises InputError for anything else."""
    path = PurePosixPath(name)
    bad = not name or "\0" in name or "\\" in name or path.is_absolute() or ".." in path.parts
    if bad or (len(name) > 1 and name[1] == ":"):
        raise InputError(repr(name[:200]), "expected a relative path inside the data folder or archive")
    return str(path)


@lru_cache(maxsize=8)
def _archive(path: str, stamp: tuple[int, int]) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as a zip: {error}") from error
    if len(archive.namelist()) > MAX_MEMBERS:
        raise LimitError(path, f"more than {MAX_MEMBERS} members")
    return archive


def _open(path: Path) -> zipfile.ZipFile:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(str(path), f"cannot be opened: {error.strerror}") from error
    return _archive(str(path), (status.st_mtime_ns, status.st_size))


def names(store: str | Path) -> list[str]:
    """Files in a zip or folder, relative and sorted; links that leave the folder are left out."""
    store = Path(store)
    if store.is_dir():
        root = store.resolve()
        inside = (p for p in root.rglob("*") if p.is_file() and p.resolve().is_relative_to(root))
        return sorted(p.relative_to(root).as_posix() for p in inside)
    return sorted(n for n in _open(store).namelist() if not n.endswith("/"))


def has(store: str | Path, name: str) -> bool:
    """Whether the folder or zip ``store`` holds a file ``name``."""
    store, name = Path(store), safe_name(name)
    if store.is_dir():
        return (store / name).is_file()
    try:
        return not _open(store).getinfo(name).is_dir()
    except KeyError:
        return False


def read(store: str | Path, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
    """The bytes of a file in a folder or zip.

    Raises:
        InputError: no such file, a name or link that leaves the store, or a damaged archive.
        LimitError: more than ``limit`` bytes, whatever the archive's directory says.
    """
    store, name = Path(store), safe_name(name)
    try:
        if store.is_dir():
            path = (store / name).resolve()
            if not path.is_relative_to(store.resolve()):
                raise InputError(str(store / name), "is a link that leaves its folder")
            with path.open("rb") as file:
                data = file.read(limit + 1)
        else:
            with _open(store).open(name) as member:
                data = member.read(limit + 1)
    except (KeyError, FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{store}: {name}", "no such file") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{store}: {name}", f"cannot be read: {error}") from error
    if len(data) > limit:
        raise LimitError(f"{store}: {name}", f"is larger than {limit} bytes")
    return data


def read_text(path: str | Path, limit: int = MAX_TEXT_BYTES) -> str:
    """A UTF-8 text file (a byte-order mark is dropped). Raises InputError or LimitError."""
    path = Path(path)
    data = read(path.parent, path.name, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"expected UTF-8 text: {error.reason} at byte {error.start}") from error


def read_pixels(store: str | Path, name: str) -> np.ndarray:
    """A picture as upright (H, W, 3) uint8 RGB.

    Raises:
        MediaError: not a whole picture.
        LimitError: more than 100 million pixels or 64 MiB.
    """
    from PIL import Image

    from oddwatch.media.pictures import upright_rgb

    data = read(store, name)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise LimitError(f"{store}: {name}", f"is {picture.width}×{picture.height} pixels")
            return upright_rgb(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, LimitError):
            raise
        raise MediaError(f"{store}: {name}", f"is not a readable picture: {error}") from error
