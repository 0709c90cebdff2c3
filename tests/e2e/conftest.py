"""Drawn footage for end-to-end runs, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwatch.datasets.scenes import generate


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one 20-second scene and a few stills."""
    out = tmp_path_factory.mktemp("street")
    generate(out, scenes=1, twins=2, seed=11)
    return out / "media"
