"""``oddwatch train search``: the list, a small recipe on pictures of one's own, a full one on a small network, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the torch extra")

from oddwatch.core import InputError
from oddwatch.datasets.records import Record
from oddwatch.train.pairs import pairs_of, source_of, training_records


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Path:
    """Six drawn people in both states, as a folder of one's own: some with box and source, some without, one nobody."""
    from oddwatch.datasets.scenes.stills import twin_pair

    root = tmp_path_factory.mktemp("own")
    rows = []
    for video in range(6):
        for state, still in enumerate(twin_pair(77, video)):
            name = f"{video}_{state}.png"
            Image.fromarray(still.pixels).save(root / name)
            row = {
                "image": name,
                "caption": [f"a person, number {video}, in state {state}", f"number {video}"],
            }
            if video < 4:
                row |= {"box": [float(v) for v in still.box], "source_id": f"v{video}_{2 * state}"}
            else:
                row |= {"person": f"p{video}", ("anomaly" if state else "normal"): "something"}
            rows.append(row)
    Image.fromarray(np.full((60, 80, 3), 127, np.uint8)).save(root / "grey.png")
    rows.append({"image": "grey.png", "caption": "an empty street"})
    rows.append({"image": "0_0.png", "caption": " "})
    (root / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return root


def test_the_list(run):
    status, said, _ = run("train", "search", "--list")
    lines = said.splitlines()
    assert status == 0 and [line.split()[0] for line in lines] == [
        "cmp",
        "cmp-full",
        "cross",
        "hfut-lmc",
        "xvlm-full",
    ]
    assert "full size, cmp, from --init" in lines[1] and "arXiv 2411.17776" in lines[1]
    assert lines[4].endswith("then sca-s")


def test_pairs_of_ones_own_pictures(twins):
    from oddwatch.pipeline.models import Models

    told = []
    records = training_records(twins)
    pairs = pairs_of(records, Models(threads=1), lambda *step: told.append(step))
    assert len(pairs) == 13 and told[-1] == ("describing pictures", 13, 13)
    # States 0 and 2 of one video are twins, the person stands in for the video, a picture alone is its own.
    assert pairs.twin.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert pairs.abnormal.tolist() == [False, True] * 6 + [False]
    assert pairs.source_ids[:2] == ["0_0", "0_1"]
    assert pairs.captions[0] == ("number 0", "a person, number 0, in state 0")
    assert pairs.tokens.shape == (13, 9, 384) and pairs.tokens.dtype == np.int8
    norms = np.linalg.norm(pairs.tokens.astype(float), axis=2)
    assert (abs(norms - 127) < 3).all()
    assert pairs.known[:12].any(1).all() and np.isfinite(pairs.geometry).all()
    # As a gallery keeps them: the same person of the same picture.
    from oddwatch.bench.subjects import packaged_looker
    from oddwatch.datasets.records import frame

    look = packaged_looker(Models(threads=1))
    (entry,) = look(frame(records[2]), records[2].box)
    np.testing.assert_allclose(pairs.p[2], entry.facts.p, atol=2e-3)
    assert abs(pairs.tokens[2].astype(int) - entry.tokens).max() <= 2
    with pytest.raises(InputError, match="no record has a caption"):
        pairs_of(records[-1:], Models(threads=1))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source_id": "ab_c_2"}, ("ab_c", 2, False)),
        ({"source_id": "clip.mp4", "abnormal": True}, ("clip.mp4", 1, False)),
        ({"person": "7", "abnormal": False}, ("7", 0, True)),
        ({}, ("s/a.png", 0, True)),
    ],
)
def test_the_video_and_state_of_a_record(fields, expected):
    found = source_of(Record("a.png", "a", store="s", **fields))
    assert (found.video, found.state, found.normal) == expected


def test_public_benchmarks_give_their_training_split(tmp_path):
    rows = [
        {"split": split, "captions": ["a man"], "file_path": f"{split}.png", "id": i}
        for i, split in enumerate(("train", "test", "train"))
    ]
    (tmp_path / "data_captions.json").write_text(json.dumps(rows))
    assert [r.image for r in training_records(tmp_path)] == ["train.png", "train.png"]
    with pytest.raises(InputError):
        training_records(tmp_path / "absent")


def test_a_small_recipe_learns_from_ones_own_pictures(run, twins, tmp_path):
    from oddwatch.search.cross import CrossModel

    (tmp_path / "own.toml").write_text(
        'name = "own"\nepochs = 2\nbatch = 4\n[model]\ndim = 16\nheads = 2\nlayers = 1\n[losses]\nmlm = 0.0\n'
    )
    out = tmp_path / "out"
    what = ("--recipe", tmp_path / "own.toml", "--data", twins, "--out", out, "--threads", 1)
    status, said, error = run("train", "search", *what)
    assert status == 0, error
    assert said == f"weights and card in {out}\n"
    card = json.loads((out / "cross.json").read_text())
    assert card["recipe"]["name"] == "own" and card["pictures"] + card["validation"]["pictures"] == 13
    assert CrossModel.load(out).card["dim"] == 16


def test_a_full_recipe_from_a_checkpoint(run, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from oddwatch.encoders.xvlm.files import CARD
    from oddwatch.encoders.xvlm.keys import Sizes
    from oddwatch.encoders.xvlm.model import open_model
    from oddwatch.encoders.xvlm.nets import Net

    sizes = Sizes("xvlm", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20)
    torch.manual_seed(0)
    save_file(
        Net(sizes).state_dict(),
        tmp_path / "x.safetensors",
        metadata={CARD: json.dumps({"sizes": sizes.to_json()})},
    )
    data = tmp_path / "pab"
    notes = data / "annotation" / "train" / "attr_0.json"
    notes.parent.mkdir(parents=True)
    with notes.open("w") as file:
        for i in range(6):
            Image.new("RGB", (40, 40), (40 * i, 90, 90)).save(data / f"{i}.png")
            row = {
                "image": f"{i}.png",
                "caption": f"a man number {i} walks",
                "image_id": f"0_{i}",
                "source_id": f"{i}_0",
            }
            file.write(json.dumps({**row, "normal": "walk"}) + "\n")
    (tmp_path / "x.toml").write_text(
        'name = "x"\narchitecture = "xvlm"\nepochs = 1\nbatch = 2\nvalidation = 0.3\n[losses]\nhard = 0.0\n'
    )
    what = ("--recipe", tmp_path / "x.toml", "--data", data, "--out", tmp_path / "out", "--device", "cpu")
    status, said, error = run("train", "search", *what, "--init", tmp_path / "x.safetensors", "--threads", 1)
    assert status == 0, error
    assert said == f"weights and card in {tmp_path / 'out'}\n"
    assert open_model(tmp_path / "out" / "xvlm.safetensors", device="cpu").family == "xvlm"

    for arguments, word in (
        (what, "--init: recipe x is of full size"),
        (
            ("--recipe", "cmp-full", "--init", tmp_path / "x.safetensors"),
            "--data: recipe cmp-full is of full size",
        ),
        (
            ("--recipe", "cross", "--init", tmp_path / "x.safetensors"),
            "--init: recipe cross starts from nothing",
        ),
        (("--recipe", "none"), "recipe 'none': not known"),
    ):
        status, said, error = run("train", "search", *arguments)
        assert (status, said) == (2, "") and word in error and error.count("\n") == 1
