"""Sets of pictures for anomaly detection: normal ones to learn from, labelled ones to test on, masks where drawn.

``read_image_sets`` recognises what lies in a folder or zip by its layout (see ``images_formats``), never by its
name; zips are read in place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from oddwatch.core import InputError, Jsonable, LimitError, MediaError
from oddwatch.datasets import store as _store

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_MASK_FORMATS = ("PNG", "BMP", "TIFF", "JPEG", "GIF", "WEBP")
_MAX_TABLE = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class ImageItem(Jsonable):
    """One picture of a set.

    ``name`` and ``mask`` are files in ``store`` (a folder or zip); ``more_masks`` are further regions of the same
    picture (LOCO draws one file a region). ``split`` is train or test, ``defect`` is "good" for a normal picture,
    ``label`` 0 or 1, ``severity`` a level from 0 up or None where unknown.
    """

    name: str
    store: str
    category: str
    split: str
    defect: str = "good"
    label: int = 0
    mask: str | None = None
    severity: int | None = None
    more_masks: tuple[str, ...] = ()

    def pixels(self) -> np.ndarray:
        """The picture, upright (H, W, 3) uint8 RGB. Raises MediaError, LimitError or InputError."""
        return _store.read_pixels(self.store, self.name)

    def mask_pixels(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """What is anomalous in a picture of ``shape`` (height, width, …): (H, W) bool, or None where not drawn.

        A normal picture gives zeros. An anomalous one whose mask is absent or empty gives None: where its defect
        lies is unknown. A mask of another size is resized (nearest) when its sides have the same ratio.

        Raises:
            InputError: a mask whose sides have another ratio than the picture's.
            MediaError, LimitError: a mask that is not a readable picture.
        """
        regions = self.mask_regions(shape)
        if regions is None:
            return None
        merged = np.zeros(shape[:2], dtype=bool)
        for _, region in regions:
            merged |= region
        return merged

    def mask_regions(self, shape: tuple[int, ...]) -> list[tuple[int, np.ndarray]] | None:
        """:meth:`mask_pixels` file by file: the largest value drawn (LOCO: the defect's own) and (H, W) bool."""
        if not self.label:
            return []
        if self.mask is None:
            return None
        found = []
        for name in (self.mask, *self.more_masks):
            values, floor = _mask_values(self.store, name)
            region = values > floor
            if region.any():
                where = f"{self.store}: {name}"
                found.append((int(values.max()), _fit(region, (shape[0], shape[1]), where, self.name)))
        return found or None


@dataclass(frozen=True, slots=True)
class Saturation(Jsonable):
    """LOCO: how much of a region must be found to count as all of it.

    ``value`` is the region's pixel value, ``threshold`` a number of pixels of the original size, or a share (0–1)
    of the region when ``relative``.
    """

    defect: str
    value: int
    threshold: float
    relative: bool


@dataclass(frozen=True, slots=True)
class ImageSet(Jsonable):
    """One category: normal pictures to learn from and labelled ones to test on.

    ``train`` is empty where no normal pictures are there; ``test`` may then hold anomalies only. ``validation``
    are normal pictures apart from both. ``note`` says in words how the pictures were split; ``layout`` is the row
    of ``IMAGE_SETS`` it was read as.
    """

    name: str
    category: str
    train: tuple[ImageItem, ...]
    test: tuple[ImageItem, ...]
    note: str = ""
    layout: str = ""
    validation: tuple[ImageItem, ...] = ()
    saturation: tuple[Saturation, ...] = ()


@dataclass(eq=False)
class Tree:
    """The files of one folder or zip, and the tables beside a zip; ``title`` names the data, ``default`` a
    category that no folder names."""

    store: Path
    title: str
    default: str
    beside: Path | None = None
    names: list[str] = field(default_factory=list)
    stems: dict[str, list[str]] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _store.names(self.store):
            path = PurePosixPath(name)
            if any(part.startswith((".", "__MACOSX")) for part in path.parts):
                continue
            self.names.append(name)
            if path.suffix.lower() in PICTURES:
                self.stems.setdefault(name[: -len(path.suffix)], []).append(name)
                self.folders.setdefault(name.rpartition("/")[0], []).append(name)
                self.bases.setdefault(path.name, []).append(name)

    @property
    def pictures(self) -> list[str]:
        """All pictures, masks among them, by name."""
        return [name for files in self.stems.values() for name in files]

    def find(self, path: str) -> list[str]:
        """The pictures meant by ``path``, which may be written from a folder above or below the tree's root."""
        path = path.strip().replace("\\", "/").removeprefix("./")
        same = self.bases.get(path.rpartition("/")[2], [])
        if path in same:
            return [path]
        return [name for name in same if name.endswith(f"/{path}") or path.endswith(f"/{name}")]

    def text(self, name: str) -> str | None:
        """A text file of the tree, or of this name beside the zip; None where there is none."""
        if _store.has(self.store, name):
            data = _store.read(self.store, name, _MAX_TABLE)
        elif self.beside is not None and _store.has(self.beside, name):
            data = _store.read(self.beside, name, _MAX_TABLE)
        else:
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.store}: {name}", f"expected UTF-8 text: {error.reason}") from error

    def tables(self) -> Iterator[str]:
        """Names of the CSV files in the tree and beside its zip."""
        inside = [name for name in self.names if name.lower().endswith(".csv")]
        yield from inside
        if self.beside is not None:
            apart = (p.name for p in sorted(self.beside.iterdir()) if p.suffix.lower() == ".csv")
            yield from (name for name in apart if name not in inside)


def read_image_sets(folder: str | Path, *, seed: int = 0) -> list[ImageSet]:
    """The image sets in a folder or zip, one a category, items by name; ``seed`` splits where the data do not.

    Raises:
        InputError: nothing of a known layout; the message says what was looked for.
    """
    from oddwatch.datasets.images_formats import LOOKED_FOR, read_tree

    found = [one for tree in trees(folder) for one in read_tree(tree, seed)]
    if not found:
        raise InputError(str(folder), "no image set of a known layout", f"looked for {LOOKED_FOR}")
    return found


def trees(folder: str | Path) -> list[Tree]:
    """What there is to read: the zip given, or the folder and the zips in it (not those unpacked beside)."""
    path = Path(folder)
    if path.is_file() and path.suffix.lower() == ".zip":
        return [Tree(path, _plain(path.stem), _plain(path.stem), path.parent)]
    if not path.is_dir():
        raise InputError(str(path), "expected a folder or a zip of pictures")
    title = path.resolve().name
    archives = [p for p in sorted(path.glob("*.zip")) if not p.with_suffix("").is_dir()]
    found = [Tree(path, title, title), *(Tree(p, title, _plain(p.stem), path) for p in archives)]
    return [tree for tree in found if tree.stems]


def _plain(stem: str) -> str:
    """An archive's name without the picture size that copies carry: ``parts_320x640`` is ``parts``."""
    return re.sub(r"[_-]\d{2,5}(x\d{2,5})?$", "", stem) or stem


def _mask_values(store: str, name: str) -> tuple[np.ndarray, int]:
    """A mask's values (H, W) and the value above which a pixel is anomalous.

    Some sets number their defects from 1, so any value counts, except in a JPEG, where black is only near 0.
    """
    from PIL import Image

    data = _store.read(store, name)
    try:
        with Image.open(io.BytesIO(data), formats=_MASK_FORMATS) as picture:
            if picture.width * picture.height > _store.MAX_PIXELS:
                raise LimitError(f"{store}: {name}", f"is {picture.width}×{picture.height} pixels")
            floor = 127 if picture.format == "JPEG" else 0
            values = np.array(picture.convert("RGB") if picture.mode in ("RGBA", "LA", "PA") else picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, LimitError):
            raise
        raise MediaError(f"{store}: {name}", f"is not a readable mask: {error}") from error
    return (values.max(axis=2) if values.ndim == 3 else values), floor


def _fit(mask: np.ndarray, shape: tuple[int, int], where: str, picture: str) -> np.ndarray:
    (height, width), (rows, columns) = mask.shape, shape
    if (height, width) == (rows, columns):
        return mask
    if abs(height * columns / width - rows) >= 1 or abs(width * rows / height - columns) >= 1:
        raise InputError(
            where,
            f"the mask is {width}×{height} pixels, its picture {picture} {columns}×{rows}",
            "expected equal sizes, or the same ratio of the sides",
        )
    drawn = mask.astype(np.uint8)
    resized = cv2.resize(drawn, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    if not resized.any():  # thinner than the step between the pixels kept
        resized = cv2.resize(drawn * np.float32(1), (columns, rows), interpolation=cv2.INTER_AREA) > 0
    return resized
