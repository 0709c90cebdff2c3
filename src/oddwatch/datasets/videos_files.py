"""Files of video sets: what lies in a folder, tables, and pixel masks in each form that sets ship."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from oddwatch.core import InputError, LimitError, MediaError
from oddwatch.datasets import store as _store

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_MAX_TABLE = 64 * 1024**2
_MAX_MASKS = 2 * 1024**3


def is_video(name: str) -> bool:
    """Whether a file is called like a video."""
    return name.lower().endswith(VIDEOS)


def stem(name: str) -> str:
    """The file's name without folder and ending (Windows' folders too, as some lists have them)."""
    return PurePosixPath(name.replace("\\", "/")).stem


@dataclass(eq=False)
class Tree:
    """The files of one folder: ``names`` below it, ``videos`` by stem, ``pictures`` by folder, the ``zips`` in it."""

    root: Path
    names: list[str] = field(default_factory=list)
    videos: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, list[str]] = field(default_factory=dict)
    zips: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in _store.names(self.root):
            path = PurePosixPath(name)
            if any(part.startswith((".", "__MACOSX")) for part in path.parts):
                continue
            self.names.append(name)
            if is_video(name):
                self.videos.setdefault(path.stem, []).append(name)
            elif path.suffix.lower() in PICTURES:
                self.pictures.setdefault(name.rpartition("/")[0], []).append(name)
            elif path.suffix.lower() == ".zip" and "/" not in name:
                self.zips.append(self.root / name)

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def store(self) -> str:
        return str(self.root)

    def ending(self, *ends: str) -> list[str]:
        """Names that end so, in any case."""
        return [n for n in self.names if n.lower().endswith(ends)]

    def text(self, name: str) -> str:
        """A text file. Raises InputError, LimitError."""
        data = _store.read(self.root, name, _MAX_TABLE)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.root}: {name}", f"expected UTF-8 text: {error.reason}") from error

    def json(self, name: str) -> Any:
        """A JSON file. Raises InputError, LimitError."""
        try:
            return json.loads(self.text(name))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.root}: {name}", f"is not JSON: {error}") from error

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV file, column names in lower case. Raises InputError, LimitError."""
        try:
            table = csv.DictReader(io.StringIO(self.text(name)))
            return [{str(k).strip().lower(): str(v or "").strip() for k, v in row.items()} for row in table]
        except csv.Error as error:
            raise InputError(f"{self.root}: {name}", f"is not CSV: {error}") from error

    def video(self, name: str) -> str | None:
        """The one video meant by ``name``, with or without folder and ending; None where absent or not clear."""
        found = self.videos.get(stem(name)) or self.videos.get(PurePosixPath(name).name, [])
        if len(found) > 1:
            plain = name.replace("\\", "/").removeprefix("./")
            found = [n for n in found if plain in (n, n.rpartition(".")[0]) or n.endswith(f"/{plain}")]
        return found[0] if len(found) == 1 else None

    def wrong(self, name: str, line: int | None, expected: str) -> InputError:
        """The error of a line that does not say what it should."""
        return InputError(f"{self.root}: {name}" + (f":{line}" if line else ""), f"expected {expected}")


def pairs(values: Iterable[Any], wrong: InputError, shift: int = 0) -> list[tuple[int, int]]:
    """Half-open ranges from start, end, start, end, …; pairs with a negative start mean none. ``shift`` goes to the starts.

    Raises:
        InputError: ``wrong``, where these are no whole numbers in pairs or an end lies before its start.
    """
    try:
        numbers = [int(v) for v in values]
    except (TypeError, ValueError) as error:
        raise wrong from error
    found = [(a + shift, b) for a, b in zip(numbers[::2], numbers[1::2], strict=False) if a >= 0]
    if len(numbers) % 2 or any(not 0 <= a <= b for a, b in found):
        raise wrong
    return [(a, b) for a, b in found if b > a]


def natural(name: str) -> tuple[Any, ...]:
    """Sorting key by which 2 comes before 10."""
    return tuple(int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name))


def mask_labels(store: str, files: Sequence[str]) -> np.ndarray:
    """(N,) uint8: whether anything is drawn in each frame."""
    return _mask_labels(store, tuple(files)).copy()


@lru_cache(maxsize=256)
def _mask_labels(store: str, files: tuple[str, ...]) -> np.ndarray:
    return np.array([int(m is not None and m.any()) for m in mask_frames(store, files)], np.uint8)


def mask_frames(store: str, files: Sequence[str]) -> Iterator[np.ndarray | None]:
    """Frame by frame what is drawn, (H, W) bool, None for no drawing.

    One ``.npz`` (``packed`` bits and ``shape``), ``.npy`` (N, H, W) or ``.mat`` (a cell ``volLabel`` of (H, W), or an
    array (H, W, N)), or a picture a frame.

    Raises:
        InputError: a file of another content; pickled objects are never loaded. LimitError: masks above 2 GiB.
    """
    if len(files) == 1 and files[0].lower().endswith((".npz", ".npy", ".mat")):
        yield from _volume(Path(store), files[0])
        return
    for name in files:
        yield None if not name else _store.read_pixels(store, name).max(axis=2) > 0


def _volume(store: Path, name: str) -> Iterator[np.ndarray]:
    where, ending = f"{store}: {name}", name.lower()[-4:]
    try:
        if ending == ".npy":
            path = store / _store.safe_name(name)
            if path.stat().st_size > _MAX_MASKS:
                raise LimitError(where, f"is larger than {_MAX_MASKS} bytes")
            volume = np.load(path, mmap_mode="r", allow_pickle=False)
            if volume.ndim != 3:
                raise InputError(where, f"expected masks (N, H, W), got {volume.shape}")
            yield from (np.asarray(frame) > 0 for frame in volume)
        elif ending == ".npz":
            yield from _packed(io.BytesIO(_store.read(store, name)), where)
        else:
            yield from _matlab(io.BytesIO(_store.read(store, name)), where)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        if isinstance(error, InputError | LimitError | MediaError):
            raise
        raise InputError(where, f"holds no pixel masks: {error}") from error


def _packed(file: io.BytesIO, where: str) -> Iterator[np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        shape = tuple(int(v) for v in arrays["shape"])
        packed = arrays["packed"]
    size = int(np.prod(shape, dtype=object)) if len(shape) == 3 and min(shape) > 0 else 0
    if not size or packed.dtype != np.uint8 or packed.ndim != 1 or len(packed) * 8 < size:
        raise InputError(where, f"expected packed bits of masks (N, H, W), got shape {shape}")
    if size > _MAX_MASKS:
        raise LimitError(where, f"holds masks of {size} pixels")
    yield from np.unpackbits(packed, count=size).reshape(shape).astype(bool)


def _matlab(file: io.BytesIO, where: str) -> Iterator[np.ndarray]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = {k: v for k, v in loadmat(file).items() if not k.startswith("__")}
    except (MatReadError, TypeError) as error:
        raise InputError(where, f"is no MAT file that can be read: {error}") from error
    volume = found.get("volLabel", next(iter(found.values()), None))
    if volume is None:
        raise InputError(where, "holds nothing")
    if volume.dtype == object:
        yield from (np.asarray(frame) > 0 for frame in volume.ravel())
    elif volume.ndim == 3:
        yield from (volume[:, :, i] > 0 for i in range(volume.shape[2]))
    else:
        raise InputError(where, f"expected masks (H, W, N), got {volume.shape}")
