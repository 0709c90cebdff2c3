"""The recipe of the light heads: labels, cells, fitting, weighing and figures, on small made-up data."""

import json

import numpy as np
import pytest

from oddwatch.core import Box, Frame, InputError
from oddwatch.datasets.scenes.wardrobe import MATERIAL
from oddwatch.describe.atoms import ATOMS, INDEX, members
from oddwatch.describe.features import PARTS
from oddwatch.describe.heads import BODY, LOOKS, LightHeads, network, parts_of
from oddwatch.describe.priors import PRIOR
from oddwatch.train import colors, data, measure
from oddwatch.train.labels import targets
from oddwatch.train.weigh import auc, weigh

FACTS = {
    "upper": {"color": "red", "tone": "dark", "type": "jacket", "sleeves": "long", "pattern": "plain"},
    "lower": {"color": "blue", "tone": "dark", "type": "jeans"},
    "shoes": {"color": "black", "type": "boots"},
    "hair": {"color": "brown", "length": "short"},
    "headwear": None, "accessories": [], "carrying": ["bag"], "bag": {"color": "green"}, "posture": "lying",
    "arms": ["raised"], "action": ["stumble"], "facing": "left", "near": [], "company": "pair", "place": "street",
    "light": "dusk", "weather": "dry",
}  # fmt: skip


def test_labels_tell_what_is_true_and_what_is_not_told():
    y, told = targets(FACTS)
    assert y[INDEX["posture.lying"]] == 1 and y[INDEX["posture.standing"]] == 0
    assert told[INDEX["posture.standing"]] and y[INDEX["bag.color.green"]] == 1
    assert (
        not told[INDEX["light.day"]] and not told[INDEX["action.loiter"]] and not told[INDEX["motion.fast"]]
    )
    y, told = targets(FACTS | {"upper": FACTS["upper"] | {"type": "dress"}})
    assert not told[members("lower.type")].any()


def test_cells_share_out_the_crop():
    parts, mask = np.zeros((160, 80), np.uint8), np.zeros((160, 80), np.uint8)
    parts[:80], mask[:80] = MATERIAL["upper"], 1
    parts[80:120] = MATERIAL["lower"]
    share = data.cells(parts, mask).astype(float)
    assert np.allclose(share.sum(1), 1, atol=1e-2)
    assert share[:128, PARTS.index("upper")].min() == 1
    assert share[128:192, PARTS.index("other")].min() == 1
    assert share[192:, PARTS.index("none")].min() == 1


def test_every_material_is_a_part():
    assert set(MATERIAL) == set(data.PART_OF)
    assert set(data.PART_OF.values()) <= set(PARTS)


def test_jitter_stays_inside_the_frame_and_is_seeded():
    frame = Frame(np.zeros((100, 90, 3), np.uint8))
    for seed in range(30):
        box = data.jittered(Box(2, 3, 88, 99), frame, np.random.default_rng(seed))
        assert 0 <= box.x0 < box.x1 <= 90 and 0 <= box.y0 < box.y1 <= 100
    again = data.jittered(Box(2, 3, 88, 99), frame, np.random.default_rng(29))
    assert again == box


def test_area_under_the_curve():
    assert auc(np.array([0.1, 0.4, 0.9]), np.array([False, False, True])) == 1
    assert auc(np.array([0.9, 0.4, 0.1]), np.array([False, False, True])) == 0
    assert auc(np.zeros(5), np.array([True, False, True, False, False])) == 0.5
    assert auc(np.zeros(2), np.array([True, True])) == 0.5


def small_arrays(rng, plain: int, tokens: int) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {"token_share": np.array([0.5, 0.5], np.float32)}
    for name, atoms in (("body", BODY), ("looks", LOOKS)):
        k = len(atoms)
        out |= {
            f"{name}.plain_mean": np.zeros(plain), f"{name}.plain_dev": np.ones(plain),
            f"{name}.token_mean": np.zeros(tokens), f"{name}.token_dev": np.ones(tokens),
            f"{name}.plain": rng.normal(0, 0.1, (6, plain)), f"{name}.bias": np.zeros(6),
            f"{name}.tokens": rng.normal(0, 0.1, (6, tokens)), f"{name}.second": rng.normal(0, 1, (4, 6)),
            f"{name}.second_bias": np.zeros(4), f"{name}.last": np.zeros((k, 4)), f"{name}.last_bias": np.zeros(k),
            f"{name}.rate": np.zeros(k),
        }  # fmt: skip
    return out


def test_useful_evidence_gets_weight_and_noise_falls_to_the_base_rate():
    rng = np.random.default_rng(0)
    n, a = 400, len(ATOMS)
    y, told = np.zeros((n, a), np.float32), np.zeros((n, a), bool)
    gain = np.zeros((n, a), np.float32)
    facing, near = members("facing"), members("near")
    told[:, facing + near] = True
    y[np.arange(n), rng.choice(facing, n)] = 1
    y[:, near] = rng.random((n, len(near))) < 0.3
    gain[:, facing] = 2 * (2 * y[:, facing] - 1) * (rng.random((n, 4)) < 0.9)
    gain[:, near] = rng.normal(0, 3, (n, len(near)))
    table = {"geometry": np.zeros((n, 3), np.float32), "gain": gain, "known": gain != 0,
             "pool": np.zeros((n, 5), np.float16), "y": y, "told": told}  # fmt: skip
    got = weigh(small_arrays(rng, 3 + a, 5), table, tokens=True)
    assert got.shape == (a, 3)
    assert (got[facing, 0] > 0.5).all()
    assert (np.abs(got[near, 0]) < 0.1).all()
    assert (got[members("posture")] == [1, 0, 0]).all()
    figures = measure.by_group(gain, y, told)
    assert figures["facing"]["auc"] > 0.9 > 0.6 > figures["near"]["auc"]
    assert figures["facing"]["n"] == n


def test_colour_constants_ask_for_more_where_terms_are_rare():
    rng = np.random.default_rng(1)
    n = 600
    share = rng.dirichlet(np.full(12, 0.15), n)
    truth = (share == share.max(1, keepdims=True)).astype(float)
    logs = np.repeat(np.log(share + 0.01)[:, None], 3, axis=1)
    got = colors.fit_constants(logs, np.full(n, 50.0), truth)
    assert got["seen"] + got["lit"] + got["vivid_hue"] > 0.8
    assert set(got) >= {"black", "rest", "dark_hue"}


def test_fitted_networks_say_the_same_in_numpy_and_learn():
    pytest.importorskip("torch")
    from oddwatch.train import fit

    rng = np.random.default_rng(2)
    plain, tokens = (
        rng.normal(size=(400, 8)).astype(np.float32),
        rng.normal(size=(400, 12)).astype(np.float32),
    )
    y = np.stack([plain[:, 0] > 0, tokens[:, 3] > 0], 1).astype(np.float32)
    told = np.ones_like(y, bool)
    w = fit.fit_net("toy", plain, tokens, y, told, seed=3, hidden=32, epochs=40, blind=0.2)
    said = network(w, "toy", plain, tokens)
    assert auc(said[:, 0], y[:, 0] > 0) > 0.9 and auc(said[:, 1], y[:, 1] > 0) > 0.85
    blind = network(w, "toy", plain, None)
    assert auc(blind[:, 0], y[:, 0] > 0) > 0.9 and abs(auc(blind[:, 1], y[:, 1] > 0) - 0.5) < 0.15
    again = fit.fit_net("toy", plain, tokens, y, told, seed=3, hidden=32, epochs=40, blind=0.2)
    assert all(np.array_equal(w[k], again[k]) for k in w)
    x = rng.normal(size=(3000, 20)).astype(np.float16)
    share = np.stack([x[:, 0] > 0, x[:, 0] <= 0], 1).astype(np.float16)
    parts = parts_of(fit.fit_parts(x, share, seed=1, epochs=40), x.astype(np.float32))
    assert (parts[:, 0] > 0.5)[x[:, 0] > 0.3].mean() > 0.9


def test_too_few_samples_are_refused(tmp_path):
    from oddwatch.train.heads import train_heads

    with pytest.raises(InputError, match="100"):
        train_heads(tmp_path, samples=10)


def test_written_heads_are_read_back(tmp_path):
    from oddwatch.describe.atoms import SCHEMA_ID
    from oddwatch.train.heads import write

    arrays = {"a": np.arange(6000, dtype=np.float32) / 6000, "b": np.ones(3, np.float32)}
    path = write(tmp_path, arrays, {"schema": SCHEMA_ID})
    back = LightHeads.load(tmp_path)
    assert np.allclose(back.arrays["a"], arrays["a"], atol=1e-3) and back.arrays["b"].dtype == np.float32
    assert json.loads(path.read_text())["bytes"] == (tmp_path / "heads.safetensors").stat().st_size


@pytest.mark.slow
def test_the_whole_recipe_on_a_hundred_people(tmp_path):
    pytest.importorskip("torch")
    from oddwatch.train.heads import train_heads

    card = json.loads(train_heads(tmp_path, samples=100, seed=3, workers=1).read_text())
    assert card["held_out"]["seed"] != card["seed"]
    assert card["held_out_figures"]["heads"]["posture"]["auc"] > 0.6
    assert LightHeads.load(tmp_path).arrays["weigh.tokens"].shape == (len(ATOMS), 3)
    assert PRIOR.shape == (len(ATOMS),)
