"""Every detector of pictures: direction, batches, nothing changed by scoring, seeds, files, odd input."""

from __future__ import annotations

import importlib
import importlib.util
import inspect

import numpy as np
import pytest

from oddwatch.core import InputError, Scores
from oddwatch.detectors import CARDS, DETECTORS
from oddwatch.detectors.image import base

HAS_TORCH = importlib.util.find_spec("torch") is not None
TOY: dict[str, dict[str, object]] = {
    "cpr": {"steps": 30, "pairs": 12},
    "dictas": {"steps": 30, "pairs": 12, "entries": 512},
    "fastflow": {"steps": 40, "blocks": 4},
    "metauas": {"steps": 40, "pairs": 24, "width": 16, "lr": 1e-3},
}
"""Arguments that make a method small enough for these tests, where its defaults are not."""

IMAGE = sorted(name for name in DETECTORS if CARDS[name].modality == "image")


@pytest.fixture(scope="module")
def toys(toy_eyes, plates):
    """``toys(name)``: the detector over a toy encoder, fitted at toy size; made once a name."""
    made = {}

    def make(name: str, fresh: bool = False):
        if "extra torch" in CARDS[name].needs and not HAS_TORCH:
            pytest.skip("needs torch")
        if name not in made or fresh:
            module, _, attribute = DETECTORS[name].partition(":")
            kind = getattr(importlib.import_module(module), attribute)
            detector = kind(encoder=toy_eyes(), **TOY.get(name, {}))
            if kind.NEEDS_NORMALS:
                detector.fit(plates(12, 1))
            if fresh:
                return detector
            made[name] = detector
        return made[name]

    return make


def equal(a: Scores, b: Scores, tolerance: float = 1e-4) -> None:
    scale = max(1e-6, float(np.abs(a.values).max()))
    np.testing.assert_allclose(a.values, b.values, atol=tolerance * scale, rtol=0)
    assert (a.maps is None) == (b.maps is None)
    if a.maps is not None:
        np.testing.assert_allclose(
            a.maps, b.maps, atol=tolerance * max(1e-6, float(np.abs(a.maps).max())), rtol=0
        )


@pytest.mark.parametrize("name", IMAGE)
def test_stained_plates_score_higher(name, toys, plates):
    scores = toys(name).score([*plates(6, 2), *plates(6, 3, odd=True)])
    assert scores.values.shape == (12,) and np.isfinite(scores.values).all()
    good, bad = scores.values[:6], scores.values[6:]
    assert (bad[:, None] > good).mean() > 0.9, f"{name}: {good} against {bad}"


@pytest.mark.parametrize("name", IMAGE)
def test_maps_are_finite_and_point_at_the_stain(name, toys, plates):
    odd = plates(6, 3, odd=True)
    scores = toys(name).score([*plates(6, 2), *odd])
    if scores.maps is None:
        assert "no map" in CARDS[name].summary
        return
    assert scores.maps.shape == (12, 112, 112) and np.isfinite(scores.maps).all()
    hits = 0
    for picture, one in zip(odd, scores.maps[6:], strict=True):
        red = picture[..., 0].astype(int) - picture[..., 1] > 80
        ys, xs = np.nonzero(red)
        y, x = np.unravel_index(one.argmax(), one.shape)
        near = 14 + 8
        hits += (ys.min() * 7 / 6 - near <= y <= ys.max() * 7 / 6 + near) and (
            xs.min() * 7 / 6 - near <= x <= xs.max() * 7 / 6 + near
        )
    assert hits >= 5


@pytest.mark.parametrize("name", IMAGE)
def test_one_by_one_equals_all_at_once_unless_the_card_says_so(name, toys, plates):
    if CARDS[name].batch_dependent:
        pytest.skip("its card says batch_dependent")
    detector, items = toys(name), [*plates(7, 4), *plates(3, 5, odd=True)]
    alone = [detector.score([item]) for item in items]
    maps = None if alone[0].maps is None else np.concatenate([s.maps for s in alone])
    equal(detector.score(items), Scores(np.concatenate([s.values for s in alone]), maps))


@pytest.mark.parametrize("name", IMAGE)
def test_scoring_changes_nothing_and_equal_seeds_give_equal_detectors(name, toys, plates):
    items = [*plates(4, 6), *plates(2, 7, odd=True)]
    detector = toys(name)
    before = {k: v.copy() for k, v in detector.state().items()}
    first = detector.score(items)
    equal(first, detector.score(items), 1e-6)
    after = detector.state()
    assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k]) for k in before)
    # What is trained differs in the last bits where the machine shares out its work in another way, and training magnifies it.
    trained = "extra torch" in CARDS[name].needs
    equal(first, toys(name, fresh=True).score(items), 0.02 if trained else 1e-5)


@pytest.mark.parametrize("name", IMAGE)
def test_saved_and_loaded_scores_alike(name, toys, plates, tmp_path, toy_eyes):
    items = [*plates(4, 8), *plates(2, 9, odd=True)]
    detector = toys(name)
    loaded = base.load(detector.save(tmp_path / name), encoder=toy_eyes())
    assert type(loaded) is type(detector) and loaded.arguments() == detector.arguments()
    equal(detector.score(items), loaded.score(items), 1e-5)
    if detector.NEEDS_NORMALS:
        with pytest.raises(InputError, match="fitted with"):
            base.load(tmp_path / name, encoder=toy_eyes(224))


@pytest.mark.parametrize("name", IMAGE)
def test_empty_one_and_wrong_input(name, toys, plates):
    detector = toys(name)
    none = detector.score([])
    assert none.values.shape == (0,)
    if not CARDS[name].batch_dependent:
        assert np.isfinite(detector.score(plates(1, 3)).values).all()
    with pytest.raises(InputError):
        detector.score([np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)])
    kind = type(detector)
    if kind.NEEDS_NORMALS:
        with pytest.raises(InputError, match="normal"):
            kind(encoder=detector.encoder, **TOY.get(name, {})).fit([])
        with pytest.raises(InputError, match="fit"):
            kind(encoder=detector.encoder, **TOY.get(name, {})).score(plates(1, 3))


@pytest.mark.parametrize("name", IMAGE)
def test_one_normal_or_identical_normals_never_give_nan(name, toys, plates, toy_eyes):
    kind = type(toys(name))
    if not kind.NEEDS_NORMALS:
        same = plates(1, 1) * 4
        assert np.isfinite(toys(name).score(same).values).all()
        return
    for normals in (plates(1, 1), plates(1, 1) * 4, [np.full((40, 60, 3), 128, np.uint8)]):
        scores = kind(encoder=toy_eyes(), **TOY.get(name, {})).fit(normals).score(plates(3, 2))
        assert np.isfinite(scores.values).all()
        assert scores.maps is None or np.isfinite(scores.maps).all()


@pytest.mark.parametrize("name", IMAGE)
def test_the_file_is_named_like_the_row_and_documented(name, toys):
    kind = type(toys(name))
    assert name == kind.NAME
    module = inspect.getdoc(importlib.import_module(kind.__module__)) or ""
    assert "Differs from the paper" in module and "arXiv" in module
