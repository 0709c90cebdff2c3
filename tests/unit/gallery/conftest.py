"""Entries to fill galleries with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from oddwatch.core import Box, Entry, Facts, Motion, Person, Pose, Span, View

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ATOMS, DIM = 20, 16


def _entry(i: int, source: str = "/media/yard.mp4", **changes: Any) -> Entry:
    rng = np.random.default_rng(i)
    pose = Pose(rng.random((17, 3)).astype(np.float32))
    values: dict[str, Any] = {
        "id": f"e{i:05d}",
        "source": source,
        "kind": "moment" if i % 3 == 0 else "person",
        "span": Span(float(i), i + 2.5),
        "time": i + 1.0,
        "frame": 25 * i,
        "box": Box(1.5, 2.0, 30.25, 40.0 + i),
        "score": 0.75,
        "camera": f"cam{i % 4}",
        "wall_time": START + timedelta(seconds=i + 1),
        "label": "odd" if i % 2 else None,
        "views": (View(i + 1.0, 25 * i, Person(Box(1, 2, 3, 4), 0.5, pose, 7), 0.8),),
        "motion": Motion(speed=0.5, drop=1.25, duration=2.5),
        "facts": Facts(
            "s1", rng.random(ATOMS).astype(np.float32), rng.random(ATOMS) > 0.5, {"a": Box(0, 0, 5, 5)}
        ),
        "vectors": {
            "facts": rng.normal(size=ATOMS).astype(np.float32),
            "image": rng.normal(size=DIM).astype(np.float32),
        },
        "tokens": rng.integers(-127, 127, (4, 8)).astype(np.int8),
        "thumbnail": bytes(rng.integers(0, 256, 50, dtype=np.uint8)),
    }
    return Entry(**{**values, **changes})


@pytest.fixture
def make() -> Callable[..., Entry]:
    """``make(i, source=…, **changes)``: entry number ``i``, always the same."""
    return _entry
