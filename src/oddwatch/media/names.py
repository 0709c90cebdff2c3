"""Paths as text: any name the file system holds can be shown, stored as UTF-8, and found again."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def printable(path: str | os.PathLike[str]) -> str:
    """``path`` as valid UTF-8 text; bytes that are none are written ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def locate(text: str) -> Path:
    """The path that :func:`printable` showed as ``text``."""
    path = Path(text)
    if path.exists():
        return path
    raw = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), text.encode())
    decoded = Path(os.fsdecode(raw))
    return decoded if decoded.exists() else path
