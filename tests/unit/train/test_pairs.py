"""Drawn pairs: the same under a seed, kept between runs, and joined in their order."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.train import data as drawing
from oddwatch.train.negatives import HardNegatives
from oddwatch.train.pairs import CAPTIONS, Pairs, fingerprint, read, shards


def made(n: int = 6, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    return Pairs(
        rng.integers(-127, 128, (n, 9, 384)).astype(np.int8),
        rng.normal(size=(n, 5)).astype(np.float32),
        rng.random((n, 7)).astype(np.float32),
        rng.random((n, 7)) > 0.5,
        tuple((f"short {i}", f"a longer one {i}") for i in range(n)),
        np.arange(n) // 2 + 3,
        np.arange(n) % 2 == 1,
        tuple({"number": i} for i in range(n)),
    )


def equal(a: Pairs, b: Pairs) -> bool:
    return all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in fields(Pairs))
    )


class Drawn:
    """Stands for the processes that draw: each shard holds its twins' numbers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[tuple[int, int]] = []
        monkeypatch.setattr(drawing, "ProcessPoolExecutor", lambda *args, **more: self)
        monkeypatch.setattr(drawing, "as_completed", list)

    def __enter__(self) -> Drawn:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def submit(self, write: Any, path: Path, seed: int, start: int, count: int, family: str) -> Any:
        self.jobs.append((start, count))
        n = 2 * count
        np.savez(
            path,
            tokens=np.full((n, 9, 384), seed % 100, np.int8),
            geometry=np.zeros((n, 5), np.float32),
            p=np.zeros((n, 7), np.float16),
            known=np.zeros((n, 7), bool),
            twin=np.repeat(np.arange(start, start + count), 2),
            abnormal=np.arange(n) % 2 == 1,
            captions=np.array([json.dumps(["a man"])] * n),
            facts=np.array([json.dumps({"seed": seed})] * n),
        )
        return self

    def result(self) -> None:
        return None

    def __hash__(self) -> int:
        return len(self.jobs)


def test_shards_that_are_there_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Drawn(monkeypatch)
    first = shards(tmp_path, 8, 120)
    assert pool.jobs == [(0, 50), (50, 50), (100, 20)] and all(p.exists() for p in first)
    assert shards(tmp_path, 8, 120) == first and len(pool.jobs) == 3
    found = read(first)
    assert len(found) == 240 and np.array_equal(found.twin, np.repeat(np.arange(120), 2))


def test_a_longer_run_draws_what_a_shorter_one_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Drawn(monkeypatch)
    assert len(read(shards(tmp_path, 8, 10))) == 20
    assert len(read(shards(tmp_path, 8, 70))) == 140
    assert len(read(shards(tmp_path, 8, 10))) == 20
    assert len(read(shards(tmp_path, 8, 55))) == 110
    assert pool.jobs == [(0, 10), (0, 50), (50, 20), (50, 5)]


def test_other_seeds_and_families_are_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Drawn(monkeypatch)
    one, two, three = (shards(tmp_path, *job)[0] for job in ((8, 2), (9, 2), (8, 2, "B")))
    assert len({one, two, three}) == 3
    assert read([two, one]).facts[0] == {"seed": 9} and fingerprint(read([one])) != fingerprint(read([two]))


def test_no_pair_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twins"):
        shards(tmp_path / "none", 8, 0)
    assert not (tmp_path / "none").exists()


def test_the_twins_are_one_video_in_two_states() -> None:
    data = made()
    assert data.source_ids == ["3_0", "3_1", "4_0", "4_1", "5_0", "5_1"]
    partners = HardNegatives(data.source_ids)
    assert [list(partners.candidates(i)) for i in range(6)] == [[1], [0], [3], [2], [5], [4]]


def test_some_of_the_rows_in_any_order() -> None:
    data = made()
    at = np.array([5, 0, 2])
    found = data.rows(at)
    assert len(found) == 3 and found.source_ids == ["5_1", "3_0", "4_0"]
    assert found.captions == tuple(data.captions[i] for i in at) and [f["number"] for f in found.facts] == [
        5,
        0,
        2,
    ]
    for name in ("tokens", "geometry", "p", "known", "twin", "abnormal"):
        assert np.array_equal(getattr(found, name), getattr(data, name)[at])
    assert equal(data.rows(np.arange(6)), data) and len(data.rows(np.array([], np.int64))) == 0


def test_the_fingerprint_tells_tokens_and_captions() -> None:
    data = made()
    assert fingerprint(data) == fingerprint(made()) != fingerprint(made(seed=1))
    assert fingerprint(data.rows(np.array([1, 0, 2, 3, 4, 5]))) != fingerprint(data)


def test_twins_drawn_twice_are_identical(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    first = shards(tmp_path / "a", 77, 2, workers=1, progress=lambda *s: steps.append(s))
    data, again = read(first), read(shards(tmp_path / "b", 77, 2, workers=1))
    assert steps == [("drawing twins", 2, 2)]
    assert equal(data, again) and fingerprint(data) == fingerprint(again)
    before = first[0].stat().st_mtime_ns
    assert shards(tmp_path / "a", 77, 2, workers=1) == first and first[0].stat().st_mtime_ns == before
    assert len(data) == 4 and data.source_ids == ["0_0", "0_1", "1_0", "1_1"]
    assert data.tokens.shape == (4, 9, 384) and data.tokens.dtype == np.int8
    lengths = np.linalg.norm(data.tokens.astype(np.float64) / 127, axis=-1)
    assert np.abs(lengths - 1).max() < 0.05
    for own in data.captions:
        short, long = own[:CAPTIONS], own[CAPTIONS:]
        assert len(own) == 2 * CAPTIONS and max(len(s.split()) for s in short) < min(
            len(s.split()) for s in long
        )
    assert np.isfinite(data.geometry).all() and data.known.any(axis=1).all()
    # Twins wear the same and do something else.
    for one, other in ((0, 1), (2, 3)):
        assert data.captions[one] != data.captions[other]
        assert data.facts[one] != data.facts[other]
    assert not np.array_equal(data.tokens[0], data.tokens[1])


def test_the_other_family_says_the_same_in_other_words(tmp_path: Path) -> None:
    one, two = (read(shards(tmp_path, 77, 1, family, workers=1)) for family in ("A", "B"))
    assert one.facts == two.facts and one.source_ids == two.source_ids
    assert np.array_equal(one.tokens[0], two.tokens[0])
    for a, b in zip(one.captions, two.captions, strict=True):
        assert len(a) == len(b) == 2 * CAPTIONS and not set(a) & set(b)
