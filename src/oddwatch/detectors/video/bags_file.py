"""Published snippet features: ``.npy`` files named by a list, with a label for each clip.

A file holds (N, D), a row for every 16 frames, or crops beside each other: (N, K, D), as the I3D features that go with RTFM, or
(K, N, D): the axis that is equally long in all files of a list is that of the crops. Crops in files of their own, as those that
go with UR-DMU (``CLIP__0.npy`` …), are clips of their own in training and can be joined for scoring. A list has a line for
each file: ``PATH LABEL``, 0 normal and 1 anomalous, separated by blanks, a tab or a comma. Without a label the names of the two
big sets tell: ``Normal`` (UCF-Crime) and ``label_A`` (XD-Violence) are normal. Paths are those of the maker's machine as
often as not: a file that is not there is looked for by its name beside the list, or in the folder that is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from oddwatch.core import InputError, MediaError

LINE = re.compile(r"(?P<name>.+?)(?:(?:\s*,\s*|\s+)(?P<label>[01]))?$")
KNOWN = tuple(
    (re.compile(pattern), label)
    for pattern, label in (("label_A", 0), ("label_[BG]", 1), ("Normal", 0), ("x264", 1))
)
"""What names of the two big sets tell, the first that fits: XD-Violence's end in their classes, UCF-Crime's in a codec."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Clips as files of features: ``features`` (N, D) or (K, N, D) each, read from disk when they are used; ``labels`` 0 or
    1; ``names`` of the files without ``.npy``."""

    features: list[np.ndarray]
    labels: list[int]
    names: list[str]

    def __len__(self) -> int:
        return len(self.features)


def read_list(path: str | Path, folder: str | Path | None = None, join: bool = False) -> Features:
    """The clips that a list names, in its order; ``folder`` is where the files are, if not where the list says. With
    ``join`` neighbouring lines ``CLIP__0``, ``CLIP__1`` … are crops of one clip (read into memory).

    Raises:
        MediaError: the list or a file cannot be read, or a file is no array of features.
        InputError: no line, a line without a label whose name does not tell one, or crops that do not fit together.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(
            str(path), f"cannot be read: {error}", "give a text file of PATH LABEL lines"
        ) from error
    entries = [_entry(line.strip(), f"{path}:{i}") for i, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise InputError(str(path), "names no files", "give lines of PATH LABEL")
    files = [_found(name, path.parent, Path(folder) if folder else None) for name, _ in entries]
    clips = Features(
        _crops_first([read_features(file) for file in files]),
        [label for _, label in entries],
        [file.stem for file in files],
    )
    return _joined(clips) if join else clips


def read_features(path: str | Path) -> np.ndarray:
    """What a file holds, (N, D) or with three axes as it is, left on disk until it is used. Nothing in it is executed.

    Raises:
        MediaError: it is no ``.npy`` file of decimal numbers, or of another shape.
    """
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(str(path), f"holds no features: {error}", "give a .npy file of numbers") from error
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.ndim not in (2, 3) or not x.size:
        found = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else "several arrays"
        raise MediaError(str(path), f"expected decimal numbers (N, D), (N, K, D) or (K, N, D), got {found}")
    return x


def _entry(line: str, where: str) -> tuple[str, int]:
    """Path and label of a line."""
    found = LINE.match(line)
    name, label = (found["name"].strip(), found["label"]) if found else (line, None)
    if label is not None:
        return name, int(label)
    told = [kind for pattern, kind in KNOWN if pattern.search(Path(name).name)]
    if not told:
        raise InputError(where, f"has no label 0 or 1: {line}", "write PATH LABEL")
    return name, told[0]


def _found(name: str, beside: Path, folder: Path | None) -> Path:
    """The file a list means."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    places = [folder / name, folder / bare] if folder else [Path(name), beside / name, beside / bare]
    for place in places:
        if place.is_file():
            return place
    raise MediaError(name, f"is not at {', '.join(map(str, places))}", "say in which folder the features are")


def _crops_first(files: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All as (N, D) or (K, N, D): crops are the axis that is equally long in all files, the second where both are."""
    if len({x.ndim for x in files}) > 1:
        raise InputError("features", "expected all files with crops or all without")
    if files[0].ndim == 2 or len({x.shape[1] for x in files}) > 1:
        if files[0].ndim == 3 and len({x.shape[0] for x in files}) > 1:
            raise InputError("features", "expected as many crops in all files, (N, K, D) or (K, N, D)")
        return list(files)
    return [np.asarray(x.swapaxes(0, 1)) for x in files]


def _joined(clips: Features) -> Features:
    """Neighbours ``CLIP__0`` … as one clip."""
    out = Features([], [], [])
    groups = groupby(range(len(clips)), lambda i: (re.sub(r"__\d+$", "", clips.names[i]), clips.labels[i]))
    for (name, label), members in groups:
        parts = [clips.features[i] for i in members]
        if len({x.shape for x in parts}) > 1 or parts[0].ndim != 2:
            raise InputError(f"crops of {name}", "expected equal shapes (N, D)")
        out.features.append(np.stack(parts) if len(parts) > 1 else parts[0])
        out.labels.append(label)
        out.names.append(name)
    return out
