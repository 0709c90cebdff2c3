"""Conditioning of tokens: layers, lengths, neighbourhoods and turned pictures, by worked numbers and slow twins."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import Frame, InputError, Tokens
from oddwatch.detectors.image.tokens import layer_norm, mean_of, pool, rotated, unit

RNG = np.random.default_rng(1)


def two_layers() -> Tokens:
    a, b = RNG.normal(size=(2, 2, 6, 4)).astype(np.float16)
    return Tokens(np.zeros((2, 4)), {"a": a, "b": b}, (2, 3), np.ones((2, 2)), np.zeros((2, 2)))


def test_layers_together_are_their_mean() -> None:
    tokens = two_layers()
    a, b = (tokens.layers[n].astype(np.float32) for n in "ab")
    mean = mean_of(tokens, ("a", "b"))
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, (a + b) / 2, atol=1e-6)
    np.testing.assert_array_equal(mean_of(tokens, ("a",)), a)
    np.testing.assert_array_equal(tokens.layers["a"], a)


def test_unit_length_and_zero_stays_zero() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0], [-1e-3, 0.0]])
    np.testing.assert_allclose(unit(x), [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-6)


def test_each_item_to_mean_0_and_deviation_1() -> None:
    x = RNG.normal(3, 7, size=(3, 10, 5))
    normed = layer_norm(x)
    np.testing.assert_allclose(normed.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normed.std((1, 2)), 1, atol=1e-4)
    np.testing.assert_array_equal(normed[1:2], layer_norm(x[1:2]))
    assert not layer_norm(np.full((1, 4, 2), 5.0)).any()


def test_zeros_around_are_counted_in_the_mean() -> None:
    means = pool(np.ones((1, 9, 2)), (3, 3), 3)[0, :, 0].reshape(3, 3)
    np.testing.assert_allclose(
        means, [[4 / 9, 6 / 9, 4 / 9], [6 / 9, 1, 6 / 9], [4 / 9, 6 / 9, 4 / 9]], atol=1e-6
    )


def slow_pool(x: np.ndarray, grid: tuple[int, int], r: int, mode: str, sigma: float = 4.0) -> np.ndarray:
    """Neighbour by neighbour."""
    rows, columns = grid
    field, half = x.reshape(rows, columns, -1), r // 2
    out = np.zeros_like(field)
    side = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2))
    side = side / side.sum()
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for di in range(-half, half + 1):
                for dj in range(-half, half + 1):
                    if not (0 <= i + di < rows and 0 <= j + dj < columns):
                        continue
                    near = field[i + di, j + dj]
                    w = {
                        "mean": 1 / r**2,
                        "gauss": side[di + half] * side[dj + half],
                        "similar": np.exp(-np.linalg.norm(near - field[i, j])),
                    }[mode]
                    total += w
                    out[i, j] += w * near
            if mode == "similar":
                out[i, j] /= total
    return out.reshape(x.shape)


@pytest.mark.parametrize("mode", ["mean", "gauss", "similar"])
@pytest.mark.parametrize(("grid", "r"), [((4, 6), 3), ((5, 3), 5), ((2, 7), 7), ((1, 1), 3)])
def test_pools_are_those_of_the_slow_twin(mode: str, grid: tuple[int, int], r: int) -> None:
    x = RNG.normal(size=(2, grid[0] * grid[1], 3))
    found = pool(x, grid, r, mode, sigma=1.3)
    for one, expected in zip(found, x, strict=True):
        np.testing.assert_allclose(one, slow_pool(expected, grid, r, mode, 1.3), atol=1e-5)


def test_gaussian_weights_of_three_tokens_at_sigma_four() -> None:
    x = np.zeros((1, 25, 1))
    x[0, 12] = 1
    weights = np.array([0.32984, 0.34031, 0.32984])
    found = pool(x, (5, 5), 3, "gauss")[0, :, 0].reshape(5, 5)
    np.testing.assert_allclose(found[1:4, 1:4], np.outer(weights, weights), atol=1e-5)


def test_one_neighbour_is_the_token_itself() -> None:
    x = RNG.normal(size=(1, 6, 2)).astype(np.float32)
    for mode in ("mean", "gauss", "similar"):
        np.testing.assert_array_equal(pool(x, (2, 3), 1, mode), x)


@pytest.mark.parametrize(("r", "grid", "name"), [(2, (2, 3), "r"), (0, (2, 3), "r"), (3, (3, 3), "tokens")])
def test_what_cannot_be_pooled_is_told(r: int, grid: tuple[int, int], name: str) -> None:
    with pytest.raises(InputError, match=name):
        pool(np.zeros((1, 6, 2)), grid, r)


def test_pictures_turn_about_their_middle() -> None:
    square = RNG.integers(0, 256, (21, 21, 3), dtype=np.uint8)
    same, quarter, half, back = rotated(square, [0, 90, 180, 360])
    np.testing.assert_array_equal(same, square)
    np.testing.assert_array_equal(back, square)
    assert np.abs(quarter.astype(int) - np.rot90(square)).max() <= 1
    assert np.abs(half.astype(int) - square[::-1, ::-1]).max() <= 1
    wide = np.full((20, 50, 3), 77, np.uint8)
    for turned in rotated(Frame(wide), [30, 45]):
        assert turned.shape == wide.shape and (turned == 77).all(), "corners repeat the border"
