"""Heads for any thing: which pictures are learnt from, with which values, and who refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oddwatch.cli.app import app
from oddwatch.core import InputError
from oddwatch.detectors.image import dictas, nagl
from oddwatch.train.image import check, shrunk, train_image


@pytest.fixture(scope="module")
def sets(tmp_path_factory, plates) -> Path:
    """Two categories in the layout of MVTec AD: six and four normal pictures, and tests that must not be read."""
    root = tmp_path_factory.mktemp("sets")
    for seed, (name, n) in enumerate((("plate", 6), ("sheet", 4))):
        for split, defect, count in (("train", "good", n), ("test", "good", 1), ("test", "stain", 1)):
            folder = root / name / split / defect
            folder.mkdir(parents=True)
            for i, pixels in enumerate(plates(count, seed, odd=defect == "stain")):
                pixels[0, 0] = {"train": 1, "test": 2}[split]
                Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return root


@pytest.fixture
def seen(monkeypatch) -> list[tuple]:
    calls: list[tuple] = []
    for module in (dictas, nagl):
        monkeypatch.setattr(module, "train", lambda pictures, out, **named: calls.append((pictures, named)))
    return calls


def test_only_normal_training_pictures_are_read(sets, seen, tmp_path):
    made = train_image("dictas", [sets], tmp_path / "w.safetensors", seed=3)
    ((pictures, named),) = seen
    assert sorted(map(len, pictures)) == [4, 6] and made.pictures == 10 and len(made.sets) == 2
    assert all((one[0, 0] == 1).all() for items in pictures for one in items)
    assert named["seed"] == 3 and not {"steps", "batch", "lr"} & set(named)  # the module's own values


def test_some_of_each_set(sets, seen, tmp_path):
    train_image("nagl", [sets], tmp_path / "w", per_set=3)
    assert [len(items) for items in seen[0][0]] == [3, 3]


def test_values_of_the_papers_and_what_is_given(sets, seen, tmp_path):
    made = train_image("nagl", [sets], tmp_path / "w", official=True, per_set=3, steps=7)
    pictures, named = seen[0]
    assert sum(map(len, pictures)) == 10
    assert (named["steps"], named["batch"], named["lr"], named["fresh"]) == (7, 8, 1e-5, 8)
    assert made.layers == ("last",) == named["layers"]
    made = train_image("dictas", [sets], tmp_path / "w", official=True)
    named = seen[1][1]
    assert (named["steps"], named["batch"], named["lr"]) == (30, 24, 1e-4) and made.layers is None
    assert named["fresh"] == 24 and named["points"] is None and named["terms"] is None


@pytest.mark.parametrize(
    ("method", "official", "match"),
    [
        ("fastflow", False, "detect"),
        ("cpr", False, "detect"),
        ("subspace", False, "learns no weights"),
        ("nobody", False, "not known"),
        ("metauas", True, "steps"),
    ],
)
def test_who_cannot_be_trained_so(method, official, match):
    with pytest.raises(InputError, match=match):
        check(method, official)


def test_data_without_normal_pictures(sets, tmp_path):
    with pytest.raises(InputError, match="normal"):
        train_image("dictas", [], tmp_path / "w")


def test_pictures_fit_the_encoder():
    assert shrunk(np.zeros((1000, 2000, 3), np.uint8), 448).shape == (448, 896, 3)
    assert shrunk(np.zeros((300, 2000, 3), np.uint8), 448).shape == (300, 2000, 3)


def test_the_verb_takes_a_list_of_folders(sets, seen, tmp_path):
    words = [
        "train",
        "image",
        "dictas",
        "--data",
        f"{sets / 'plate'},{sets / 'sheet'}",
        "--out",
        str(tmp_path / "w"),
    ]
    done = CliRunner().invoke(app, [*words, "--steps", "5"])
    assert done.exit_code == 0, (done.output, done.exception)
    pictures, named = seen[0]
    assert [len(items) for items in pictures] == [6, 4] and named["steps"] == 5
    assert "10 normal pictures of 2 sets" in done.stdout and "weights=" in done.stdout


def test_a_head_is_trained_and_used(sets, tmp_path, toy_eyes, plates):
    pytest.importorskip("torch")
    eyes = toy_eyes()
    out = tmp_path / "w.safetensors"
    train_image("dictas", [sets], out, encoder=eyes, resolution=112, steps=3, batch=2)
    detector = dictas.DictAS(encoder=eyes, weights=str(out), entries=256).fit(plates(3, 1))
    values = detector.score([*plates(2, 2), *plates(2, 3, odd=True)]).values
    assert values[2:].min() > values[:2].max()
