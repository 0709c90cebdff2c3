"""Which pictures to judge and which to learn from: files found, normals kept apart, unreadable ones told."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oddwatch.core import Frame, InputError
from oddwatch.media.names import printable
from oddwatch.media.pictures import read_picture
from oddwatch.media.sources import Skipped, find
from oddwatch.pipeline.remember import digest

Paths = str | Path | Iterable[str | Path]


class PictureFiles(Sequence[Frame]):
    """Pictures that are read when they are asked for, so that any number of them needs little memory; the first ``keep``
    bytes of pixels stay, for those who ask again and again."""

    def __init__(self, paths: Sequence[Path], keep: int = 0) -> None:
        self.paths, self._keep = list(paths), keep
        self._kept: dict[int, Frame] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self._read(i) for i in range(len(self))[at]]
        return self._read(range(len(self))[at])

    def _read(self, i: int) -> Frame:
        if i in self._kept:
            return self._kept[i]
        frame = read_picture(self.paths[i])
        if frame.pixels.nbytes <= self._keep:
            self._keep -= frame.pixels.nbytes
            self._kept[i] = frame
        return frame


@dataclass
class Found:
    """``pictures`` to judge, ``normal`` ones to learn from, and what was ``skipped``, as (path, reason)."""

    pictures: list[Path] = field(default_factory=list)
    normal: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def given(paths: Paths | None) -> list[str | Path]:
    """One path or many, as a list."""
    return [] if paths is None else [paths] if isinstance(paths, (str, Path)) else list(paths)


def find_pictures(pictures: Paths, normal: Paths | None, own: Sequence[Path] = ()) -> Found:
    """The picture files below ``pictures`` and ``normal``; what lies below ``own`` (results of an earlier run) is left out.

    A picture among the normals is not judged a second time: its own score would be that of something learnt.

    Raises:
        InputError: nothing to judge: no pictures at all, or only those that are also among the normals.
    """
    found = Found()
    found.pictures = _listed(given(pictures), found, own)
    found.normal = _listed(given(normal), found, own)
    learnt = {_identity(p) for p in found.normal}
    judged = [p for p in found.pictures if _identity(p) not in learnt]
    twice = len(found.pictures) - len(judged)
    if twice and not judged:
        raise InputError(
            "pictures", "are the same as the normal ones", "name a folder that holds pictures to be judged"
        )
    if twice:
        found.notes.append(f"{twice} pictures are among the normal ones and were not judged")
    found.pictures = judged
    return found


def readable(
    paths: Sequence[Path], skipped: list[tuple[str, str]], step: Callable[[int], None]
) -> tuple[list[Path], list[str]]:
    """Those of ``paths`` that can be decoded to their end, and what each holds (equal pixels, equal text); the others are
    noted in ``skipped``."""
    kept, contents = [], []
    for done, path in enumerate(paths, 1):
        try:
            contents.append(digest(read_picture(path)))
        except InputError as error:
            skipped.append((printable(path), reason_of(error, path)))
        else:
            kept.append(path)
        step(done)
    return kept, contents


def reason_of(error: Exception, path: Path) -> str:
    """What an error says, without the path in front."""
    return str(error).removeprefix(f"{printable(path)}: ")


def _listed(inputs: Sequence[str | Path], found: Found, own: Sequence[Path]) -> list[Path]:
    def report(skipped: Skipped) -> None:
        if not _below(skipped.path, own):
            found.skipped.append((printable(skipped.path), _reason(skipped)))

    kept = []
    for source in find(inputs, report=report):
        if _below(source.path, own):
            continue
        if source.kind == "picture":
            kept.append(source.path)
        else:
            found.skipped.append((source.name, "is a video; this method looks at pictures"))
    return kept


def _reason(skipped: Skipped) -> str:
    try:
        packed = skipped.path.is_file() and zipfile.is_zipfile(skipped.path)
    except OSError:
        packed = False
    return "is an archive; unpack it first" if packed else skipped.reason


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(folder in (path, *path.parents) for folder in folders) or any(
        folder.resolve() in path.resolve().parents for folder in folders if folder.exists()
    )


def _identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino
