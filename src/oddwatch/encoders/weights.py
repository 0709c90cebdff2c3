"""The packaged model files: where they are, where they came from, and whether they are unchanged.

Order of resolution, everywhere: a path the user gives, the package's own data, the local Hub cache, and
the Hub itself only when asked (:func:`pull`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from oddwatch.core import ModelError, require

FOLDER = Path(__file__).resolve().parents[1] / "weights"
_checked: dict[Path, tuple[int, int]] = {}
_lock = threading.Lock()


def manifest(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """``name``, ``file``, ``sha256``, ``size`` (bytes), ``what``, ``origin``, ``licence`` of each packaged file.

    Raises:
        ModelError: the manifest is absent or not of the expected form.
    """
    at = folder / "manifest.json"
    try:
        files = json.loads(at.read_text(encoding="utf-8"))["files"]
        return [
            entry for entry in files if entry["name"] and entry["file"] and entry["sha256"] and entry["size"]
        ]
    except OSError as error:
        raise ModelError(f"{at}: cannot be read ({error.strerror}); reinstall oddwatch") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{at}: not a manifest of model files; reinstall oddwatch") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _problem(entry: dict[str, Any], folder: Path) -> str | None:
    at = folder / entry["file"]
    if not at.is_file():
        return "missing"
    size = at.stat().st_size
    if size != entry["size"]:
        return f"expected {entry['size']} bytes, found {size}"
    if digest(at) != entry["sha256"]:
        return "its SHA-256 differs from the manifest's"
    return None


def path(name: str | Path, folder: Path = FOLDER) -> Path:
    """The file behind ``name`` (a name of the manifest), or ``name`` itself where it is a file's path.

    A packaged file is held against its hash the first time a process uses it.

    Raises:
        ModelError: no such name, or the file is missing or changed.
    """
    known = {entry["name"]: entry for entry in manifest(folder)}
    if str(name) not in known:
        given = Path(name)
        if given.is_file():
            return given
        raise ModelError(
            f"{name}: neither a file nor a packaged model; packaged are {', '.join(sorted(known))}"
        )
    entry = known[str(name)]
    at = folder / entry["file"]
    with _lock:
        stat = at.stat() if at.is_file() else None
        stamp = (stat.st_size, stat.st_mtime_ns) if stat else None
        if stamp is None or _checked.get(at) != stamp:
            problem = _problem(entry, folder)
            if problem or stamp is None:
                raise ModelError(f"{at}: {problem}; reinstall oddwatch or run scripts/rebuild_weights.py")
            _checked[at] = stamp
    return at


def check(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every packaged file held against the manifest now: its entry plus ``ok`` and ``problem`` (or None)."""
    rows = []
    for entry in manifest(folder):
        problem = _problem(entry, folder)
        rows.append({**entry, "path": str(folder / entry["file"]), "ok": problem is None, "problem": problem})
    return rows


def local(repo: str) -> Path | None:
    """Folder of a Hub model in the local cache, or a folder the user gives; None where it is neither.
    Touches no network."""
    if Path(repo).is_dir():
        return Path(repo)
    hub = require("huggingface_hub", for_=f"the model {repo}", extra="torch")
    try:
        return Path(hub.snapshot_download(repo, local_files_only=True))
    except (OSError, ValueError):
        return None


def pull(repo: str, revision: str | None = None) -> Path:
    """Fetch a Hub model (``owner/name``) into the local cache and return its folder. The only function here
    that uses the network. Pickled weights are left out: safetensors and configuration only.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        ModelError: no network, no such model, or the name is not one of the Hub.
    """
    if any(entry["name"] == repo for entry in manifest()):
        return path(repo)
    hub = require("huggingface_hub", for_=f"pulling {repo}", extra="torch")
    wanted = ["*.safetensors", "*.json", "*.txt", "*.model", "*.onnx"]
    try:
        at: str = hub.snapshot_download(repo, revision=revision, allow_patterns=wanted)
        return Path(at)
    except Exception as error:  # the client's network errors share no public base class
        raise ModelError(
            f"{repo}: could not be fetched from the Hub ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "check the name and the network, or give the path of a local copy"
        ) from error
