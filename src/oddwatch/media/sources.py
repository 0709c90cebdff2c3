"""Which files there are to look at: files, folders, globs; what each holds is told by its content."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from oddwatch.core.errors import MediaError, OddwatchError
from oddwatch.media.limits import Limits
from oddwatch.media.names import locate, printable

__all__ = ["Limits", "Skipped", "Source", "content_hash", "find", "kind_of", "locate", "printable"]

log = logging.getLogger(__name__)
Kind = Literal["picture", "video"]

_PICTURES: tuple[tuple[int, bytes], ...] = (
    (0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (0, b"GIF8"), (0, b"BM"), (0, b"II*\0"), (0, b"MM\0*"),
    (8, b"WEBP"), (0, b"\0\0\1\0"), (4, b"jP  \r\n"), (0, b"\xff\x4f\xff\x51"), (0, b"8BPS"), (0, b"qoif"),
    (8, b"avif"), (8, b"avis"), (8, b"heic"), (8, b"mif1"), (0, b"DDS "), (0, b"P4"), (0, b"P5"), (0, b"P6"),
)  # fmt: skip
_VIDEOS: tuple[tuple[int, bytes], ...] = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (4, b"free"), (8, b"AVI "), (0, b"\x1aE\xdf\xa3"),
    (0, b"OggS"), (0, b"FLV\x01"), (0, b"\0\0\1\xba"), (0, b"\0\0\1\xb3"), (0, b"\0\0\0\1"), (0, b"\0\0\1"),
    (0, b"\x30\x26\xb2\x75"), (0, b"\x06\x0e\x2b\x34"), (0, b"G"), (4, b"G"), (0, b"DKIF"), (0, b"YUV4MPEG2"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be looked at; ``size`` in bytes, ``mtime`` in seconds since the epoch."""

    path: Path
    kind: Kind
    size: int
    mtime: float

    @property
    def name(self) -> str:
        """The path as valid UTF-8 text, see :func:`printable`."""
        return printable(self.path)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was passed over, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


Report = Callable[[Skipped], None]


def _log(skipped: Skipped) -> None:
    log.warning("skipped %s", skipped)


def find(
    inputs: Sequence[str | Path], *, report: Report | None = None, limits: Limits | None = None
) -> Iterator[Source]:
    """The pictures and videos named by ``inputs``: files, folders (searched through) and globs.

    The order is that of the inputs, names sorted inside a folder; a file reached twice comes once.
    Links are followed, a link back into its own folder is reported. Whatever cannot be used is handed to
    ``report`` (logged as a warning by default); nothing is raised for it.
    """
    walk = _Walk(report or _log, limits or Limits())
    for given in inputs:
        for path in _expand(given, walk.report):
            yield from walk.path(path, ())


def _expand(given: str | Path, report: Report) -> list[Path]:
    path = Path(given)
    if os.path.lexists(path) or not glob.has_magic(str(given)):
        return [path]
    matches = sorted(glob.glob(str(given), recursive=True), key=os.fsencode)  # noqa: PTH207 - absolute ones too
    if not matches:
        report(Skipped(path, "nothing matches this pattern"))
    return [Path(m) for m in matches]


@dataclass
class _Walk:
    report: Report
    limits: Limits
    seen: set[tuple[int, int]] = field(default_factory=set)

    def path(self, path: Path, parents: tuple[tuple[int, int], ...]) -> Iterator[Source]:
        try:
            info = path.stat()
        except OSError as error:
            self.report(Skipped(path, _why(error)))
            return
        identity = (info.st_dev, info.st_ino)
        if identity in parents:
            self.report(Skipped(path, "a link back into its own folder (symlink loop)"))
        elif identity in self.seen:
            return
        elif stat.S_ISDIR(info.st_mode):
            self.seen.add(identity)
            yield from self._folder(path, (*parents, identity))
        else:
            self.seen.add(identity)
            yield from self._file(path, info)

    def _folder(self, path: Path, parents: tuple[tuple[int, int], ...]) -> Iterator[Source]:
        try:
            names = sorted(os.listdir(path), key=os.fsencode)  # noqa: PTH208
        except OSError as error:
            self.report(Skipped(path, _why(error)))
            return
        for name in names:
            yield from self.path(path / name, parents)

    def _file(self, path: Path, info: os.stat_result) -> Iterator[Source]:
        if not stat.S_ISREG(info.st_mode):
            self.report(Skipped(path, "not a regular file"))
            return
        try:
            kind = kind_of(path, limits=self.limits)
        except OddwatchError as error:
            self.report(Skipped(path, str(error).removeprefix(f"{printable(path)}: ")))
            return
        yield Source(path, kind, info.st_size, info.st_mtime)


def _why(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def kind_of(path: str | Path, *, limits: Limits | None = None) -> Kind:
    """``"picture"`` or ``"video"``, by the first bytes and a look at the header, never by the name alone.

    Raises:
        MediaError: the file is empty, unreadable, or neither; LimitError: it is over ``limits``.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise MediaError(printable(path), _why(error), "check path and rights") from error
    if not head:
        raise MediaError(printable(path), "is empty (0 bytes)", "copy it again from its origin")
    if _starts(head, _PICTURES):
        from oddwatch.media.pictures import is_picture

        if is_picture(path):
            return "picture"
    if _starts(head, _VIDEOS):
        from oddwatch.media.video import probe

        probe(path, limits=limits)
        return "video"
    return _by_header(path)


def _starts(head: bytes, table: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head[at : at + len(magic)] == magic for at, magic in table)


def _by_header(path: Path) -> Kind:
    """Pillow knows formats without a fixed first word (TGA, PCX, …); ask it only where the name says so."""
    from PIL import Image

    from oddwatch.media.pictures import is_picture

    Image.init()
    if path.suffix.lower() in Image.EXTENSION and is_picture(path):
        return "picture"
    raise MediaError(printable(path), "is neither a picture nor a video", "check what the file holds")


def content_hash(path: str | Path) -> str:
    """BLAKE2b (20 bytes, hex) of a file's content, read in pieces. Raises MediaError if it cannot be read."""
    digest = hashlib.blake2b(digest_size=20)
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise MediaError(printable(path), _why(error), "check path and rights") from error
    return digest.hexdigest()
