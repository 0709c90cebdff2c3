"""Colour naming: the table, the grid made of it, and what well-known colours are called."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.describe import colors
from oddwatch.describe.atoms import COLORS
from oddwatch.describe.garments import look, skin

NAMED = {
    (10, 10, 12): "black", (245, 245, 245): "white", (128, 128, 128): "grey", (200, 20, 25): "red",
    (240, 130, 20): "orange", (250, 225, 40): "yellow", (40, 140, 50): "green", (30, 70, 190): "blue",
    (110, 40, 140): "purple", (245, 150, 190): "pink", (95, 55, 25): "brown", (225, 205, 165): "beige",
    (20, 28, 70): "blue", (50, 160, 190): "blue", (120, 15, 25): "red",
}  # fmt: skip


def test_the_table_has_the_surveys_names_and_only_known_terms():
    rows = colors.names()
    assert len(rows) == 949
    for name, _, shares in rows:
        assert set(shares) <= set(COLORS), name
        assert sum(shares.values()) == pytest.approx(1, abs=0.06), name


def test_the_packaged_grid_is_the_one_the_table_gives():
    size = 5
    small = colors.build_grid(size).reshape(-1, len(COLORS))
    axis = np.linspace(0, 1, size, dtype=np.float32)
    nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    assert np.abs(colors.terms(nodes) - small).max() < 0.02


@pytest.mark.parametrize(("rgb", "name"), NAMED.items())
def test_well_known_colours_get_their_name(rgb, name):
    p = colors.terms(np.array([rgb], np.uint8))[0]
    assert COLORS[int(p.argmax())] == name


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20))
def test_every_pixel_gets_a_distribution(pixels):
    p = colors.terms(np.array(pixels, np.uint8))
    assert (p >= 0).all()
    assert np.allclose(p.sum(1), 1, atol=0.03)


def test_uint8_and_float_pixels_agree():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3), dtype=np.uint8)
    assert np.allclose(colors.terms(pixels), colors.terms(pixels / np.float32(255)), atol=1e-4)
    assert np.allclose(colors.lab(pixels), colors.lab(pixels / np.float32(255)), atol=1e-3)


def test_exposure_brightens_and_keeps_the_hue():
    dark = np.array([[30, 34, 60]], np.uint8) / np.float32(255)
    lit = colors.expose(dark, 6.0)
    before, after = colors.lab(dark)[0], colors.lab(lit)[0]
    assert after[0] > before[0] + 15
    assert abs(np.arctan2(*before[:0:-1]) - np.arctan2(*after[:0:-1])) < 0.2
    assert lit.max() <= 1


def test_the_illuminant_leaves_a_grey_scene_alone_and_cools_a_warm_one():
    grey = np.full((40, 40, 3), 120, np.uint8)
    assert np.allclose(colors.illuminant(grey), 1, atol=1e-3)
    warm = np.tile(np.array([180, 140, 100], np.uint8), (40, 40, 1))
    gains = colors.illuminant(warm)
    assert gains[0] < 1 < gains[2]
    assert gains.min() >= 0.79
    assert gains.max() <= 1.26


def _garment(rgb: tuple[int, int, int], n: int = 400) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 4, (n, 3))
    return np.clip((np.array(rgb) + noise) / 255, 0, 1).astype(np.float32)


def test_navy_may_be_called_blue_and_black():
    accept = look(_garment((22, 26, 48)), np.ones(400)).accept
    assert accept[COLORS.index("blue")] > 0.4
    assert accept[COLORS.index("black")] > 0.3
    assert accept[COLORS.index("yellow")] < 0.05


def test_a_garment_of_two_colours_has_both():
    pixels = np.concatenate([_garment((20, 22, 24), 200), _garment((235, 235, 230), 200)])
    accept = look(pixels, np.ones(400)).accept
    assert accept[COLORS.index("black")] > 0.5
    assert accept[COLORS.index("white")] > 0.5


def test_too_few_pixels_have_no_look():
    assert look(_garment((200, 0, 0), 5), np.ones(5)) is None


def test_skin_of_several_shades_is_told_from_cloth():
    flesh = np.array([[224, 172, 140], [190, 130, 100], [120, 80, 58]], np.uint8)
    cloth = np.array([[40, 60, 120], [128, 128, 128], [20, 20, 20], [60, 140, 60]], np.uint8)
    assert skin(colors.lab(flesh)).min() > 0.4
    assert skin(colors.lab(cloth)).max() < 0.1
