"""Linear: labels of whole clips, leaving groups out, and what it needs."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video.linear import Linear, _ridge
from oddwatch.detectors.video.notes import Notes


def clip(seed: int, wild: bool, place: int = 0, frames: int = 48) -> Notes:
    """Cells that move evenly, or back and forth, seen by a backbone that knows places."""
    rng = np.random.default_rng(seed)
    motion = np.zeros((frames, 4, 6, 4))
    sway = np.where(np.arange(frames) % 2 == 0, 1, -1) if wild else np.ones(frames)
    motion[..., 1] = 0.2 * sway[:, None, None] + rng.normal(0, 0.01, (frames, 4, 6))
    motion[..., 0], motion[..., 3] = np.abs(motion[..., 1]), 0.02
    looked = np.arange(0, frames, 8)
    tokens = rng.normal(0, 0.1, (len(looked), 4, 8))
    cls = np.eye(8)[place] + rng.normal(0, 0.01, (len(looked), 8))
    return Notes(
        f"{seed}", (90, 160), np.arange(frames) / 16, motion.astype(np.float16), looked=looked,
        cls=cls.astype(np.float16), tokens={"block_9": tokens.astype(np.float16)}, grid=(2, 2), encoder="eyes",
    )  # fmt: skip


def test_clips_that_move_back_and_forth_are_told_from_even_ones() -> None:
    clips = [clip(i, bool(i % 2), i // 2 % 4) for i in range(24)]
    detector = Linear().fit(clips, [i % 2 for i in range(24)])
    assert detector.curve(clip(99, True)).peak > 0 > detector.curve(clip(98, False)).peak
    assert len(detector.curve(clip(99, True)).values) == 48


def test_leaving_one_out_in_closed_form_equals_fitting_without_it() -> None:
    rng = np.random.default_rng(2)
    x, wanted, groups = rng.normal(size=(12, 5)), np.sign(rng.normal(size=12)), np.repeat(np.arange(4), 3)
    strength = 1.0
    inverse = np.linalg.inv(x @ x.T + strength * np.eye(12))
    own = groups == 2
    quick = np.linalg.solve(inverse[np.ix_(own, own)], (inverse @ wanted)[own])
    weights = np.linalg.solve(x[~own].T @ x[~own] + strength * np.eye(5), x[~own].T @ wanted[~own])
    np.testing.assert_allclose(quick, wanted[own] - x[own] @ weights, atol=1e-9)
    dual = _ridge(x @ x.T, wanted, groups)
    assert dual.shape == (12,) and np.isfinite(dual).all()


def test_near_copies_do_not_choose_a_strength_that_learns_them_by_heart() -> None:
    rng = np.random.default_rng(5)
    films = rng.normal(size=(10, 400))
    x = np.repeat(films, 6, axis=0) + 0.05 * rng.normal(size=(60, 400))
    wanted = np.repeat(np.where(rng.random(10) < 0.5, -1.0, 1.0), 6)
    alone = _ridge(x @ x.T, wanted, np.arange(60))
    apart = _ridge(x @ x.T, wanted, np.repeat(np.arange(10), 6))
    assert np.abs(x.T @ apart).sum() < np.abs(x.T @ alone).sum()


def test_what_is_missing_is_told() -> None:
    with pytest.raises(InputError, match="both kinds"):
        Linear().fit([clip(1, False)], [0])
    bare = Notes("bare", (90, 160), np.arange(4) / 10)
    with pytest.raises(InputError, match="no motion or no tokens"):
        Linear().fit([bare, bare], [0, 1])
    detector = Linear(layer="last")
    with pytest.raises(InputError, match="not noted"):
        detector.fit([clip(1, False), clip(2, True)], [0, 1])
