"""UniVAD: the spec's worked numbers, what the gate decides, components, masks and text that are handed in."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.image import base
from oddwatch.detectors.image.univad import (
    UniVAD,
    abnormal,
    component_looks,
    fuse,
    geometry,
    prompts,
    smoothed,
)


def flat(value: float) -> np.ndarray:
    return np.full((2, 2), value)


def test_text_probability_of_the_spec():
    p = abnormal(np.array([0.25]), np.array([0.26]))
    assert p == pytest.approx(0.73106, abs=5e-6)
    assert (p - (1 - p) + 1) / 2 == pytest.approx(0.73106, abs=5e-6)


def test_fusions_of_the_spec():
    assert fuse("texture", [flat(0.2), flat(0.4)], text=flat(0.6)) == pytest.approx(flat(0.4))
    single = fuse("single", [flat(0.2), flat(0.4)], [flat(0.3), flat(0.5)], flat(0.6))
    assert single == pytest.approx(flat(0.43333), abs=5e-6)
    multi = fuse("multi", [flat(0.2), flat(0.4)], [flat(0.3), flat(0.5)], flat(0.6), flat(0.5))
    assert multi == pytest.approx(single + 0.25)
    assert fuse("single", [flat(0.2), flat(0.4)], [flat(0.3), flat(0.5)]) == pytest.approx(flat(0.35))


def test_graph_smoothing_of_the_spec():
    out = smoothed(np.array([[1, 0], [0, 1], [1, 1]], np.float32))
    expected = [[1, 0.41421], [0.41421, 1], [0.70711, 0.70711]]
    np.testing.assert_allclose(out, expected, atol=5e-6)


def test_geometry_and_looks_of_components():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 4:8] = True
    lab = np.full((80, 80, 3), 128, np.uint8)
    lab[20:40, 40:80] = (100, 120, 180)
    np.testing.assert_allclose(geometry(mask, lab), [8 / 64, (180 / 120) ** 2, 0.75, 0.375], rtol=1e-5)
    assert geometry(mask, None)[1] == 0
    x = np.stack([np.eye(64, 16, dtype=np.float32) + 0.1] * 2)
    looks = component_looks(x, [(mask, 0), (~mask, 1)])
    assert looks.shape == (2, 2, 16) and np.allclose(np.linalg.norm(looks, axis=-1), 1)


def test_the_ensemble_has_its_size():
    normal, odd = prompts("bolt")
    assert (len(normal), len(odd)) == (7 * 35, 5 * 35) and len(set(normal + odd)) == 12 * 35
    assert "a bad photo of a bolt without defect" in normal and "this is the broken bolt in the scene" in odd


def parts(n: int, seed: int, swapped: bool = False) -> list[np.ndarray]:
    """Dark pictures with a green and a blue block; swapped ones have them exchanged."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        picture = rng.normal(20, 3, (96, 96, 3))
        colours = [(40, 200, 60), (40, 60, 210)]
        for i, colour in enumerate(colours[::-1] if swapped else colours):
            picture[34:62, 12 + 40 * i : 44 + 40 * i] = colour
        out.append(np.clip(picture, 0, 255).astype(np.uint8))
    return out


def halves(picture: np.ndarray) -> list[np.ndarray]:
    """A segmenter for these pictures: one mask for each colour."""
    return [picture[..., 1] > 130, picture[..., 2] > 130]


def grain(n: int, seed: int) -> list[np.ndarray]:
    """Grey grain all over."""
    rng = np.random.default_rng(seed)
    return [np.clip(rng.normal(128, 25, (96, 96, 1)).repeat(3, 2), 0, 255).astype(np.uint8) for _ in range(n)]


def test_grain_is_a_texture_and_switches_do_what_they_say(toy_eyes):
    items = grain(3, 3)
    detector = UniVAD(encoder=toy_eyes()).fit(grain(2, 1))
    assert detector.shown == "texture"
    plain = UniVAD(encoder=toy_eyes(), identity=False).fit(grain(2, 1)).score(items)
    np.testing.assert_array_equal(detector.score(items).values, plain.values)  # g is not added to textures
    single = UniVAD(encoder=toy_eyes(), kind="single").fit(grain(2, 1))
    without = UniVAD(encoder=toy_eyes(), kind="single", identity=False).fit(grain(2, 1))
    assert (single.score(items).values > without.score(items).values).all()


def test_masks_that_are_given_make_components_and_exchanged_parts_are_seen(toy_eyes, tmp_path):
    detector = UniVAD(encoder=toy_eyes(), segment=halves).fit(parts(2, 1))
    assert detector.shown == "multi" and sorted(set(detector.numbers.tolist())) == [0, 1, 2]
    good, bad = detector.score(parts(2, 2)).values, detector.score(parts(2, 3, swapped=True)).values
    assert bad.min() > good.max()
    flat_ = UniVAD(encoder=toy_eyes(), segment=halves, graph=False).fit(parts(2, 1))
    weaker = flat_.score(parts(2, 3, swapped=True)).values - flat_.score(parts(2, 2)).values
    assert ((bad - good) > weaker + 0.01).all()
    loaded = base.load(detector.save(tmp_path / "d"), encoder=toy_eyes())
    with pytest.raises(InputError, match="fitted with one"):
        loaded.score(parts(1, 2))
    loaded.segment = halves
    np.testing.assert_allclose(loaded.score(parts(2, 2)).values, good, atol=1e-5)


def test_components_by_clustering_when_the_kind_is_named(toy_eyes):
    detector = UniVAD(encoder=toy_eyes(), kind="multi", parts=2).fit(parts(3, 1))
    scores = detector.score([*parts(2, 2), *parts(2, 3, swapped=True)]).values
    assert np.isfinite(scores).all() and scores[2:].min() > scores[:2].max()


def test_what_needs_pixels_says_so(toy_eyes):
    eyes = toy_eyes()
    layers = UniVAD.layers
    tokens = eyes.encode(parts(2, 1), layers)
    with pytest.raises(InputError, match="colour=False"):
        UniVAD(encoder=eyes, kind="multi").fit(tokens)
    with pytest.raises(InputError, match="tokens are not enough"):
        UniVAD(encoder=eyes, segment=halves).fit(tokens)
    same = UniVAD(encoder=eyes, kind="multi", colour=False)
    a = same.fit(tokens).score(eyes.encode(parts(2, 2), layers)).values
    np.testing.assert_allclose(a, same.fit(parts(2, 1)).score(parts(2, 2)).values, atol=1e-6)


class Towers:
    """A space in which sentences about damage and red pictures lie on one side."""

    id, dim = "toy", 2

    def encode_texts(self, texts):
        bad = np.array([any(w in t for w in ("damaged", "broken", "with ")) for t in texts], float)
        return np.stack([1 - bad, bad], 1).astype(np.float32)

    def encode_images(self, frames):
        red = np.array([float((f[..., 0].astype(int) - f[..., 1] > 80).mean() * 4) for f in frames])
        return np.stack([np.ones_like(red), np.minimum(red, 1)], 1).astype(np.float32)


def test_a_text_map_is_added_where_towers_are_given(toy_eyes, plates):
    good, odd = plates(2, 2), plates(2, 3, odd=True)
    make = {"encoder": toy_eyes(), "kind": "texture"}
    plain = UniVAD(**make).fit(plates(1, 1)).score([*good, *odd]).maps
    with_text = UniVAD(**make, text=Towers()).fit(plates(1, 1)).score([*good, *odd]).maps
    # without red all windows say normal: a third term of nearly 0 in the mean of now three
    np.testing.assert_allclose(with_text[:2], plain[:2] * 2 / 3, atol=1e-3)
    assert (with_text[2:] >= plain[2:] * 2 / 3 - 1e-6).all()


def test_more_normals_than_shots_are_drawn_and_some_can_be_added(toy_eyes, plates):
    detector = UniVAD(encoder=toy_eyes(), shots=2).fit(plates(5, 1))
    assert len(detector.classes) == 2
    before = detector.score(plates(2, 7)).values
    detector.add(plates(2, 7))
    assert len(detector.classes) == 4
    assert (detector.score(plates(2, 7)).values < before).all()


@pytest.mark.parametrize("wrong", [{"kind": "x"}, {"reduce": "sum"}, {"parts": 0}, {"layers": ("last",)}])
def test_wrong_arguments_are_told(wrong):
    with pytest.raises(InputError):
        UniVAD(**wrong)
