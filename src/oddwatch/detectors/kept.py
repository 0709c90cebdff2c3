"""A fitted detector on disk: ``detector.json`` (method, arguments, encoder, version, hash) and ``state.safetensors``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch._version import __version__
from oddwatch.core import ModelError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """What a folder holds. ``arguments`` are those of the method's constructor, lists as tuples."""

    method: str
    arguments: dict[str, Any]
    encoder: str
    arrays: dict[str, np.ndarray]


def write(folder: str | Path, kept: Kept) -> Path:
    """Write ``kept`` to ``folder``, made where it is not there."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept.arrays, folder / "state.safetensors")
    about = {
        "format": FORMAT,
        "method": kept.method,
        "arguments": {n: list(v) if isinstance(v, tuple) else v for n, v in kept.arguments.items()},
        "encoder": kept.encoder,
        "oddwatch": __version__,
        "sha256": _digest(folder / "state.safetensors"),
    }
    (folder / "detector.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def read(folder: str | Path) -> Kept:
    """What :func:`write` wrote. Raises ModelError: a file is missing, damaged or of another format."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        about = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ModelError(f"{folder}: format {about['format']!r}, this version reads {FORMAT}")
        if _digest(folder / "state.safetensors") != about["sha256"]:
            raise ModelError(f"{folder}: state.safetensors is not the file that was saved")
        arguments: Mapping[str, Any] = dict(about["arguments"])
        method, encoder = str(about["method"]), str(about["encoder"])
        arrays = load_file(folder / "state.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder}: is not a saved detector: {error}") from error
    lists = {name: tuple(v) if isinstance(v, list) else v for name, v in arguments.items()}
    return Kept(method, lists, encoder, arrays)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
