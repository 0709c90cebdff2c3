"""Generated defects: the recipe's numbers, and what holds for every kind on every picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oddwatch.core import InputError, resolve
from oddwatch.datasets import CARDS, GENERATORS
from oddwatch.datasets.defects import (
    FAINTEST,
    KINDS,
    LOGICAL,
    TOLERANCE,
    Defect,
    blend,
    fade,
    foreground,
    make_defect,
    perlin,
    training_pairs,
)
from oddwatch.datasets.defects_texture import drawn, photometric


def _part(height: int = 64, width: int = 80, seed: int = 0, grey: bool = False) -> np.ndarray:
    """A bright disc with marks on a dark even ground, with a little grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    away = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    picture = np.full((height, width, 3), 30.0)
    picture[away < 0.36] = (90, 90, 90) if grey else (200, 150, 60)
    marks = (away < 0.3) & ((x // max(3, width // 12)) % 3 == 0) & ((y // max(3, height // 10)) % 2 == 0)
    picture[marks] = (190, 190, 190) if grey else (40, 60, 180)
    grain = rng.normal(0, 2, (height, width, 1 if grey else 3))
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _plain(height: int = 40, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


def test_fade_by_hand() -> None:
    assert fade(0.5) == pytest.approx(0.5)
    assert fade(0.25) == pytest.approx(0.103516, abs=1e-6)
    assert fade(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_blend_by_hand() -> None:
    x, a = np.full((2, 2, 3), 100.0), np.full((2, 2, 3), 200.0)
    assert np.all(blend(x, a, np.ones((2, 2)), 0.5) == 150)
    mixed = blend(x, a, np.array([[1, 0], [0, 0]]), 0.8)
    assert np.allclose(mixed[0, 0], 120) and np.all(mixed[0, 1] == 100)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 99))
def test_perlin_is_zero_at_the_lattice_and_within_one(down: int, across: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = perlin((64, 96), (2**down, 2**across), rng)
    assert noise.shape == (64, 96) and np.abs(noise).max() <= 1
    assert np.abs(noise[:: 64 // 2**down, :: 96 // 2**across]).max() < 1e-6
    assert noise.std() > 0.05


def test_perlin_between_its_corners_by_hand() -> None:
    class Turns(np.random.Generator):
        def uniform(self, low: float = 0, high: float = 1, size: object = None) -> np.ndarray:  # type: ignore[override]
            return np.zeros(size)  # type: ignore[call-overload]

    noise = perlin((8, 8), (1, 1), Turns(np.random.PCG64(0)))  # every gradient points right
    expected = [np.sqrt(2) * ((1 - fade(u)) * u + fade(u) * (u - 1)) for u in np.arange(8) / 8]
    assert np.allclose(noise, np.tile(expected, (8, 1)), atol=1e-6)
    assert noise[3, 4] == pytest.approx(0.0, abs=1e-6) and noise[3, 2] == pytest.approx(
        np.sqrt(2) * 0.146484, abs=1e-5
    )


def test_foreground_finds_the_object_or_takes_the_whole() -> None:
    found = foreground(_part())
    y, x = np.mgrid[:64, :80]
    disc = np.hypot((y - 32) / 64, (x - 40) / 80) < 0.36
    assert (found == disc).mean() > 0.95
    texture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert foreground(texture).all() and foreground(_plain()).all()


def _holds(defect: Defect, before: np.ndarray, kind: str) -> None:
    assert defect.kind == kind
    assert defect.pixels.dtype == np.uint8 and defect.pixels.shape == before.shape
    assert defect.mask.dtype == bool and defect.mask.shape == before.shape[:2]
    change = np.abs(defect.pixels.astype(int) - before)
    change = change.max(axis=2) if change.ndim == 3 else change
    assert defect.mask.sum() >= 4
    assert change[defect.mask].min() > 0 and change[defect.mask].mean() >= FAINTEST
    assert (change[defect.mask] > TOLERANCE).mean() > 0.5
    assert change[~defect.mask].max(initial=0) <= TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 16), (17, 40), (64, 80)])
def test_every_kind_changes_what_its_mask_says(kind: str, size: tuple[int, int]) -> None:
    picture, other = _part(*size), _part(*size, seed=1)
    kept = picture.copy()
    for seed in range(4):
        for others in ((), (other,)):
            _holds(make_defect(np.random.default_rng(seed), picture, kind, others), picture, kind)
    assert np.array_equal(picture, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_and_another_another(kind: str) -> None:
    picture = _part()
    first, again, other = (
        make_defect(np.random.default_rng(s), picture, kind, [picture[::-1].copy()]) for s in (5, 5, 6)
    )
    assert np.array_equal(first.pixels, again.pixels) and np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_colour_stays_so(kind: str) -> None:
    grey, colourful = _part(grey=True), _part(seed=2)
    defect = make_defect(np.random.default_rng(3), grey, kind, [colourful])
    assert (defect.pixels[..., :1] == defect.pixels).all()
    flat = make_defect(np.random.default_rng(3), grey[..., 0], kind, [colourful])
    assert flat.pixels.shape == (64, 80) and np.array_equal(flat.pixels, defect.pixels[..., 0])


@pytest.mark.parametrize("kind", KINDS)
def test_defects_lie_on_the_object(kind: str) -> None:
    picture = _part(96, 96)
    y, x = np.mgrid[:96, :96]
    near = np.hypot(y - 48, x - 48) < 0.36 * 96 + 4
    inside = [make_defect(np.random.default_rng(s), picture, kind).mask for s in range(8)]
    assert sum((m & near).sum() for m in inside) / sum(m.sum() for m in inside) > 0.85


def test_difficulty_varies() -> None:
    picture = _part(96, 96)
    made = [make_defect(np.random.default_rng(s), picture) for s in range(60)]
    assert len({d.kind for d in made}) >= 8
    sizes = [d.mask.mean() for d in made]
    change = [np.abs(d.pixels.astype(int) - picture).max(axis=2)[d.mask].mean() for d in made]
    assert max(sizes) > 8 * min(sizes) and max(change) > 4 * min(change)


@pytest.mark.parametrize("kind", LOGICAL[1:])
def test_logical_kinds_keep_to_the_colours_that_are_there(kind: str) -> None:
    picture = _part(96, 96)
    for seed in range(5):
        defect = make_defect(np.random.default_rng(seed), picture, kind)
        assert defect.pixels.min() >= picture.min() - 1 and defect.pixels.max() <= picture.max() + 1


def test_swapped_parts_are_where_the_other_was() -> None:
    picture = _part(128, 128)
    defect = make_defect(np.random.default_rng(1), picture, "swapped")
    old, new = (
        picture[defect.mask].astype(float).mean(axis=0),
        defect.pixels[defect.mask].astype(float).mean(axis=0),
    )
    assert np.abs(old - new).max() < 12  # the same two parts, so nearly the same colours together


def test_an_even_picture_shows_surface_defects_but_nothing_to_exchange() -> None:
    for kind in ("perlin", "scratch", "crack", "blob"):
        _holds(make_defect(np.random.default_rng(0), _plain(), kind), _plain(), kind)
    for kind in ("swapped", "extra", "rotated", "missing"):
        with pytest.raises(InputError, match=f"no {kind} can be seen"):
            make_defect(np.random.default_rng(0), _plain(), kind)


def test_textures_may_be_a_picture_a_folder_or_a_zip(tmp_path: Path) -> None:
    red = np.zeros((30, 30, 3), np.uint8)
    red[..., 0] = np.random.default_rng(0).integers(0, 255, (30, 30))
    (tmp_path / "braided").mkdir()
    Image.fromarray(red).save(tmp_path / "braided" / "a.png")
    given = make_defect(np.random.default_rng(2), _part(), "perlin", texture=red)
    read = make_defect(np.random.default_rng(2), _part(), "perlin", texture=tmp_path)
    assert given.mask.any() and read.mask.any()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        make_defect(np.random.default_rng(2), _part(), "perlin", texture=tmp_path / "empty")


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (np.zeros((32, 32, 3), np.float32), r"got float32"),
        (np.zeros((32, 32, 4), np.uint8), r"got uint8 \(32, 32, 4\)"),
        (np.zeros((15, 40, 3), np.uint8), "at least 16×16 pixels, got 40×15"),
        ("x.png", "got str"),
    ],
)
def test_other_pictures_are_refused(pixels: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        make_defect(np.random.default_rng(0), pixels)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="one of: perlin, cutpaste"):
        make_defect(np.random.default_rng(0), _part(), "dent")


def test_training_pairs_mix_normal_and_defective() -> None:
    normals = [_part(seed=s) for s in range(3)]
    pairs = list(training_pairs(np.random.default_rng(0), normals, 60, share=0.7))
    good = [d for d in pairs if d.kind == "good"]
    assert len(pairs) == 60 and 8 <= len(good) <= 28
    for defect in good:
        assert not defect.mask.any() and any(np.array_equal(defect.pixels, n) for n in normals)
    assert all(d.mask.any() for d in pairs if d.kind != "good")
    again = list(training_pairs(np.random.default_rng(0), normals, 60, share=0.7))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(pairs, again, strict=True))


def test_training_pairs_of_one_normal_and_of_chosen_kinds() -> None:
    one = list(training_pairs(np.random.default_rng(0), [_part()], 8, ["scratch", "blob"], share=1.0))
    assert {d.kind for d in one} == {"scratch", "blob"}
    even = list(training_pairs(np.random.default_rng(0), [_plain()], 4, ["swapped", "scratch"], share=1.0))
    assert {d.kind for d in even} == {"scratch"}
    assert all(d.kind == "good" for d in training_pairs(np.random.default_rng(0), [_part()], 4, share=0.0))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [({"normals": []}, "at least one normal"), ({"share": 1.5}, "between 0 and 1"), ({"kinds": ["dent"]}, "some of"),
     ({"kinds": []}, "some of")],
)  # fmt: skip
def test_wrong_arguments_of_training_pairs(arguments: dict, match: str) -> None:
    given = {"normals": [_part()], "n": 1} | arguments
    with pytest.raises(InputError, match=match):
        training_pairs(np.random.default_rng(0), **given)


def test_drawn_textures_and_photometric_changes_differ() -> None:
    rng = np.random.default_rng(0)
    textures = [drawn(rng, (40, 50)) for _ in range(12)]
    assert all(t.shape == (40, 50, 3) and t.min() >= 0 and t.max() <= 255 for t in textures)
    assert len({round(float(t.mean()), 3) for t in textures}) == 12
    picture = _part()
    changed = [photometric(rng, picture, 3) for _ in range(12)]
    assert all(c.dtype == np.uint8 and c.shape == picture.shape for c in changed)
    assert sum(not np.array_equal(c, picture) for c in changed) >= 11


def test_the_generator_has_a_row_and_a_card() -> None:
    assert resolve(GENERATORS, "defects", "generator") is training_pairs
    assert CARDS["defects"].kind == "generator"
