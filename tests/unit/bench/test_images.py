"""The picture bench on small made-up sets: rows, undefined numbers, shots and seeds, remembered tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.bench.images import METRICS, mean_row, run_image_bench
from oddwatch.bench.remembered import RememberingEncoder
from oddwatch.core import InputError


def store(folder: Path, pictures, masks: bool = False) -> None:
    folder.mkdir(parents=True)
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
        if masks:
            truth = folder.parent.parent / "ground_truth" / folder.name
            truth.mkdir(parents=True, exist_ok=True)
            red = pixels[..., 0].astype(int) - pixels[..., 1] > 80
            Image.fromarray(red.astype(np.uint8) * 255).save(truth / f"{i:03d}_mask.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory, plates) -> Path:
    root = tmp_path_factory.mktemp("made")
    store(root / "plate" / "train" / "good", plates(18, 1))
    store(root / "plate" / "test" / "good", plates(6, 2))
    store(root / "plate" / "test" / "stain", plates(6, 3, odd=True), masks=True)
    store(root / "bare" / "test" / "stain", plates(5, 4, odd=True), masks=True)
    return root


def test_a_row_has_every_metric_and_says_how_it_came_about(made, toy_eyes):
    rows = run_image_bench(made, methods=["subspace"], categories=["plate"], encoder=toy_eyes())
    (row,) = rows
    assert row["method"] == "subspace" and row["category"] == "plate" and row["shots"] == "all"
    assert (row["n_train"], row["n_good"], row["n_bad"]) == (18, 6, 6)
    assert row["image_auroc"] == 1.0 and row["pixel_auroc"] > 0.9 and 0.5 < row["aupro"] <= 1
    assert set(METRICS) <= set(row) and not row["transductive"] and row["pictures_per_second"] > 0
    assert json.loads(json.dumps(row)) == row


def test_the_default_runs_where_no_method_is_named(made, toy_eyes):
    rows = run_image_bench(made, categories=["plate"], encoder=toy_eyes())
    assert [r["default"] for r in rows] == [True]


def test_a_category_without_normals_is_undefined_and_stays_out_of_the_mean(made, toy_eyes):
    rows = run_image_bench(made, methods=["subspace", "padim"], encoder=toy_eyes())
    bare, plate, mean = rows[:3]
    assert bare["category"] == "bare" and bare["image_auroc"] is None and bare["transductive"]
    assert bare["pixel_auroc"] is not None and bare["aupimo"] is None
    assert mean["category"] == "mean" and mean["image_auroc"] == plate["image_auroc"]
    assert mean["pixel_auroc"] == pytest.approx((bare["pixel_auroc"] + plate["pixel_auroc"]) / 2)
    assert rows[3]["method"] == "padim" and rows[3]["pixel_auroc"] is None and "no normal" in rows[3]["note"]


def test_shots_are_drawn_by_seed_and_seeds_are_averaged(made, toy_eyes):
    rows = run_image_bench(
        made, methods=["padim"], categories=["plate"], shots=[2, None], seeds=[0, 1, 2], encoder=toy_eyes()
    )
    assert [r["shots"] for r in rows if r["category"] == "plate"] == [2, "all"]
    assert rows[0]["n_train"] == 2 and rows[0]["seeds"] == [0, 1, 2]
    assert rows[0]["image_auroc_sd"] >= 0 and rows[0]["image_auroc"] < 1.01


def test_unknown_names_are_told_with_those_there_are(made, toy_eyes):
    with pytest.raises(InputError, match=r"one of: .*subspace"):
        run_image_bench(made, methods=["nothing"], encoder=toy_eyes())
    with pytest.raises(InputError, match=r"there are: .*plate"):
        run_image_bench(made, categories=["nothing"], encoder=toy_eyes())


def test_means_leave_out_what_is_undefined():
    rows = [
        {"method": "m", "category": "a", "image_auroc": 0.5, "aupro": None},
        {"method": "m", "category": "b", "image_auroc": None, "aupro": None},
    ]
    mean = mean_row(rows)
    assert mean["image_auroc"] == 0.5 and mean["aupro"] is None and mean["categories"] == 2


def test_an_encoder_that_remembers_encodes_once(tmp_path, toy_eyes, plates):
    asked = []

    class Counting(toy_eyes):
        def encode(self, frames, layers=("last",)):
            asked.append((len(frames), tuple(layers)))
            return super().encode(frames, layers)

    eyes = RememberingEncoder(Counting(), tmp_path)
    first = eyes.encode(plates(3, 1), ("block_6", "last"))
    again = RememberingEncoder(Counting(), tmp_path).encode([*plates(3, 1)[1:], *plates(1, 2)], ("last",))
    assert asked == [(3, ("block_6", "last")), (1, ("last",))]
    np.testing.assert_array_equal(first.layers["last"][1:], again.layers["last"][:2])
    np.testing.assert_array_equal(first.scale[1:], again.scale[:2])
    plain = toy_eyes().encode(plates(3, 1), ("last",))
    np.testing.assert_allclose(first.layers["last"], plain.layers["last"], atol=1e-3)
    assert first.grid == plain.grid and eyes.encoded == 3 and eyes.pace > 0
    assert eyes.encode([], ("last",)).cls.shape == (0, 32)
