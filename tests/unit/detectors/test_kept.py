"""Detectors on disk: what was written is read, anything else is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oddwatch.core import ModelError
from oddwatch.detectors import kept

ARRAYS = {"bank": np.arange(6, dtype=np.float32).reshape(2, 3), "held": np.array([0.5, 2.0])}
KEPT = kept.Kept("some-method", {"cues": ("a", "b"), "k": 3, "sigma": None}, "toy/8", ARRAYS)


def test_what_was_written_is_read(tmp_path):
    found = kept.read(kept.write(tmp_path / "new" / "folder", KEPT))
    assert (found.method, found.arguments, found.encoder) == (KEPT.method, KEPT.arguments, "toy/8")
    assert found.arrays.keys() == ARRAYS.keys()
    assert all(
        np.array_equal(found.arrays[n], v) and found.arrays[n].dtype == v.dtype for n, v in ARRAYS.items()
    )
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "detector.json",
        "state.safetensors",
    ]


def test_a_detector_without_arrays_is_kept_too(tmp_path):
    assert kept.read(kept.write(tmp_path, kept.Kept("m", {}, "", {}))).arrays == {}


def test_writing_again_replaces(tmp_path):
    kept.write(tmp_path, KEPT)
    kept.write(tmp_path, kept.Kept("other", {}, "", {"x": np.zeros(1)}))
    assert kept.read(tmp_path).method == "other" and set(kept.read(tmp_path).arrays) == {"x"}


def spoil(folder, how: str) -> None:
    about, state = folder / "detector.json", folder / "state.safetensors"
    found = json.loads(about.read_text())
    if how == "no json":
        about.unlink()
    elif how == "no state":
        state.unlink()
    elif how == "not json":
        about.write_text("{")
    elif how == "a list":
        about.write_text("[]")
    elif how == "binary":
        about.write_bytes(b"\xff\xfe\x00")
    elif how == "another format":
        about.write_text(json.dumps(found | {"format": 99}))
    elif how == "without a method":
        about.write_text(json.dumps({k: v for k, v in found.items() if k != "method"}))
    elif how == "cut off":
        state.write_bytes(state.read_bytes()[:-4])
    elif how == "other weights":
        state.write_bytes(state.read_bytes()[:-1] + b"\x01")
    elif how == "no arguments":
        about.write_text(json.dumps(found | {"arguments": 3}))
    else:
        state.write_bytes(b"zorple")
        about.write_text(json.dumps(found | {"sha256": kept._digest(state)}))


@pytest.mark.parametrize(
    "how",
    [
        "no json", "no state", "not json", "a list", "binary", "another format", "without a method", "cut off",
        "other weights", "no arguments", "no weights",
    ],
)  # fmt: skip
def test_a_damaged_folder_is_told_with_its_name(tmp_path, how):
    folder = kept.write(tmp_path / "saved", KEPT)
    spoil(folder, how)
    with pytest.raises(ModelError, match="saved"):
        kept.read(folder)
