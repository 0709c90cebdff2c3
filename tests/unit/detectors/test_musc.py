"""MuSc: the paper's steps in order, its switches, normals that judge, batches of one and two, groups, tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from oddwatch.core import InputError
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.musc import MuSc
from oddwatch.detectors.image.tokens import layer_norm, pool, unit


@pytest.fixture
def musc(toy_eyes):
    def make(**options: object) -> MuSc:
        return MuSc(encoder=toy_eyes(), **options)

    return make


def test_the_steps_of_the_paper_one_by_one(musc, plates):
    detector = musc(layers=("block_6", "block_9"), radii=(1, 3), neighbours=(), dims=None)
    items = [*plates(4, 2), *plates(1, 3, odd=True)]
    tokens = detector.tokens(items)
    total = np.zeros((5, 64))
    for layer in detector.layers:
        for r in (1, 3):
            view = unit(pool(layer_norm(tokens.layers[layer].astype(np.float16)), tokens.grid, r))
            for i in range(5):
                others = [cdist(view[i], view[j]).min(1) for j in range(5) if j != i]
                total[i] += np.sort(others, axis=0)[0] / 4
    scores = detector.score(items)
    full = maps.upsample(total.reshape(5, 8, 8), (112, 112), align_corners=True)
    np.testing.assert_allclose(scores.values, full.max((1, 2)), atol=2e-3)
    assert scores.maps is not None
    np.testing.assert_allclose(scores.maps, full, atol=2e-3)


def test_pictures_and_their_tokens_score_alike(musc, plates):
    items = [*plates(5, 2), *plates(2, 3, odd=True)]
    detector = musc()
    by_tokens = detector.score(detector.tokens(items))
    np.testing.assert_allclose(detector.score(items).values, by_tokens.values, atol=1e-6)


def test_two_pictures_work_and_one_needs_normals(musc, plates):
    good, bad = plates(1, 2)[0], plates(1, 3, odd=True)[0]
    pair = musc().score([good, bad])
    assert np.isfinite(pair.values).all() and pair.values.min() > 0
    with pytest.raises(InputError, match="at least two"):
        musc().score([bad])
    fitted = musc().fit(plates(6, 1))
    assert fitted.score([bad]).values[0] > fitted.score([good]).values[0]


def test_normals_join_the_batch_as_judges(musc, plates):
    same = plates(1, 3, odd=True) * 6
    alone, fitted = musc(), musc().fit(plates(12, 1))
    assert alone.score(same).values.max() < 0.02, "one defect everywhere is normal to the batch"
    fitted.share = 0.9
    assert fitted.score(same).values.min() > 0.2
    few = musc(kept=3).fit(plates(12, 1))
    assert few.normals is not None and few.normals.shape[:2] == (4, 3)
    assert musc().fit([]).normals is None


def test_order_of_the_batch_is_nothing_to_it(musc, plates):
    items = [*plates(5, 2), *plates(2, 3, odd=True)]
    order = np.random.default_rng(0).permutation(7)
    first, second = musc().score(items), musc().score([items[i] for i in order])
    np.testing.assert_allclose(first.values[order], second.values, atol=1e-5)


def test_groups_of_a_large_batch_are_batches_of_their_own(musc, plates):
    items = [*plates(8, 2), *plates(2, 3, odd=True)]
    split = musc(divide_num=2, neighbours=()).score(items)
    whole = musc(neighbours=())
    for start in (0, 1):
        np.testing.assert_allclose(split.values[start::2], whole.score(items[start::2]).values, atol=1e-6)
    assert split.maps is not None and split.maps.shape == (10, 112, 112)


def test_each_idea_can_be_switched_off_and_changes_the_scores(musc, plates):
    items = [*plates(8, 2), *plates(3, 3, odd=True)]
    full = musc().score(items).values
    for change in (
        {"neighbours": ()},
        {"radii": (1,)},
        {"layers": ("block_6",)},
        {"norm": False},
        {"share": 1.0},
        {"judge": "tokens"},
    ):
        other = musc(**change).score(items).values
        assert np.isfinite(other).all() and np.abs(other - full).max() > 1e-4, change
        assert other[8:].mean() > other[:8].mean(), change


def test_batched_anomalydino_is_an_argument(musc, plates):
    detector = musc(layers=("last",), radii=(1,), norm=False, judge="tokens", neighbours=())
    values = detector.score([*plates(5, 2), *plates(2, 3, odd=True)]).values
    assert values[5:].min() > values[:5].max()


def test_huge_or_constant_tokens_never_give_nan(musc, plates):
    detector = musc()
    tokens = detector.tokens(plates(4, 2))
    huge = replace(tokens, layers={name: x * 1e6 for name, x in tokens.layers.items()})
    flat = replace(tokens, layers={name: np.zeros_like(x) for name, x in tokens.layers.items()})
    for odd in (huge, flat):
        scores = detector.score(odd)
        assert np.isfinite(scores.values).all() and scores.maps is not None and np.isfinite(scores.maps).all()
    with pytest.raises(InputError, match="no layer"):
        detector.score(replace(tokens, layers={"last": tokens.layers["block_6"]}))
