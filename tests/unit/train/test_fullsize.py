"""Full-size training end to end with small networks on a CPU: ten drawn pictures in PAB's format, a checkpoint of the
authors' names, and what comes out opened as a published model."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from oddwatch.core import InputError, ModelError  # noqa: E402
from oddwatch.datasets.pab import pose_map  # noqa: E402
from oddwatch.datasets.records import frame  # noqa: E402
from oddwatch.encoders.xvlm import files  # noqa: E402
from oddwatch.encoders.xvlm.keys import Sizes  # noqa: E402
from oddwatch.encoders.xvlm.model import open_model  # noqa: E402
from oddwatch.train.fulldata import Reader  # noqa: E402
from oddwatch.train.fullnet import FullModel, evaluate  # noqa: E402
from oddwatch.train.fullsize import FullRecipe, FullWeights, train_full  # noqa: E402
from oddwatch.train.recipe import read_recipe, recipes  # noqa: E402

TINY = Sizes("xvlm", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20)
RECIPE = FullRecipe(
    "tiny",
    "cmp",
    epochs=2,
    batch=4,
    lr=2e-3,
    warmup=0,
    schedule="linear",
    validation=0.2,
    erase=0.3,
    length=24,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A small X-VLM in the form of pre-training, with its head for hidden words."""
    from oddwatch.encoders.xvlm.nets import Net

    torch.manual_seed(3)
    net, out = Net(TINY), {}
    for name, value in net.state_dict().items():
        out[name.replace("text_encoder.", "text_encoder.bert.")] = value
    head = "text_encoder.cls.predictions"
    out |= {
        f"{head}.transform.dense.weight": torch.eye(24), f"{head}.transform.dense.bias": torch.full((24,), 0.25),
        f"{head}.transform.LayerNorm.weight": torch.full((24,), 0.5), f"{head}.transform.LayerNorm.bias": torch.zeros(24),
        f"{head}.bias": torch.linspace(0, 1, 30522), f"{head}.decoder.bias": torch.linspace(0, 1, 30522),
        f"{head}.decoder.weight": out["text_encoder.bert.embeddings.word_embeddings.weight"].clone(),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("start")
    torch.save({"model": out}, folder / "16m.th")
    files.convert(folder / "16m.th", folder / "bare.safetensors", TINY)
    # Converting leaves training's head out; a file of one's own may keep it.
    from safetensors.torch import save_file

    card = json.dumps({"family": "xvlm", "sizes": TINY.to_json()})
    save_file(out, folder / "xvlm.safetensors", metadata={files.CARD: card})
    return folder / "xvlm.safetensors"


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def reader(records, **options) -> Reader:
    return Reader(
        records, 32, 24, seed=5, **{"poses": True, "hide": True, "edit": True, "hard": True} | options
    )


# The network


def full(start: Path, family: str = "cmp", hide: bool = True) -> FullModel:
    if family == "xvlm":
        return FullModel(files.load(start).net, start, hide)
    sizes = replace(TINY, family="cmp", dim=64, pose_block=True, pose_conv=True)
    return FullModel(files.start_cmp(start, 0, sizes).net, start, hide)


def test_the_head_for_hidden_words_comes_from_the_checkpoint(start):
    model = full(start)
    assert model.head == "checkpoint"
    found = model.published()
    theirs = tensors(start)
    for name in ("bias", "transform.dense.bias", "transform.LayerNorm.weight"):
        torch.testing.assert_close(
            found[f"text_encoder.cls.predictions.{name}"], theirs[f"text_encoder.cls.predictions.{name}"]
        )
    assert full(start.with_name("bare.safetensors")).head == "fresh"
    bare = full(start, "xvlm", hide=False)
    assert bare.head == "none" and not any(".cls." in n or ".bert." in n for n in bare.published())


def columns(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    return {k: torch.from_numpy(v) for k, v in batch.items()}


def test_the_losses_of_a_batch(start, records):
    model = full(start, "xvlm").eval()
    batch = columns(next(reader(records).batches(0, 6)))
    torch.manual_seed(0)
    told = model.losses(batch, 0.8, 0.2)
    assert set(told) == {"itc", "itm", "hard", "mlm"}
    assert all(torch.isfinite(v) and v > 0 for v in told.values())
    torch.manual_seed(0)
    plain = model.losses({k: v for k, v in batch.items() if "edited" not in k}, 0.8, 0.2)
    torch.manual_seed(0)
    half = model.losses(batch, 0.4, 0.2)
    # What edited captions add is in proportion to their weight, in ITC and ITM alone.
    torch.testing.assert_close(
        told["itc"] - plain["itc"], 2 * (half["itc"] - plain["itc"]), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        told["itm"] - plain["itm"], 2 * (half["itm"] - plain["itm"]), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(told["mlm"], plain["mlm"])
    # The hard pairs are (I, T~) and (I~, T), none of them a match.
    with torch.no_grad():
        image = model.net.image_tokens(batch["pixels"])
        other = model.net.image_tokens(batch["hard_pixels"])
        asked = (
            (batch["hard_ids"], batch["hard_mask"], image),
            (batch["text_ids"], batch["text_mask"], other),
        )
        logits = torch.cat([model.net.match(model.net.text_tokens(i, m), m, x) for i, m, x in asked])
    torch.testing.assert_close(told["hard"].detach(), -logits.log_softmax(1)[:, 0].mean())
    told["mlm"].backward()
    assert model.cls["predictions"].bias.grad.abs().sum() > 0


def test_cmp_learns_from_the_pose(start, records):
    model = full(start)
    batch = columns(next(reader(records).batches(0, 6)))
    sum(model.losses(batch, 0.8, 0.2).values()).backward()
    for name in ("pose_conv.expand.0.weight", "pose_block.attn.q.weight", "vision_proj.2.weight", "temp"):
        assert model.net.get_parameter(name).grad.abs().sum() > 0, name


def test_validation_is_the_two_stage_score_of_the_published_model(start, records, tmp_path):
    from oddwatch.metrics.retrieval import ranks_of
    from oddwatch.search.fuse import two_stage

    model = full(start)
    check = reader(records, hide=False, edit=False, hard=False)
    found = evaluate(model, check, k_test=4, batch=3, device="cpu")
    assert model.training and set(found) == {"R@1", "R@5", "mAP"}
    from safetensors.torch import save_file

    save_file(
        model.published(),
        tmp_path / "cmp.safetensors",
        metadata={files.CARD: json.dumps({"sizes": model.net.sizes.to_json()})},
    )
    opened = open_model(tmp_path / "cmp.safetensors", device="cpu", length=24)
    tokens = opened.tokens_of([frame(r).pixels for r in records], [pose_map(r) for r in records])
    texts = [r.captions[0] for r in records]
    s = opened.encode_texts(texts) @ opened.vectors_of(tokens).T
    m = np.stack([opened.match(t, tokens) for t in texts])
    ids = [r.image_id for r in records]
    expected = ranks_of(two_stage(m, s, k_test=4), ids, ids).summary((1, 5))
    assert found == {name: pytest.approx(expected[name], abs=0.01) for name in found}


# The run


def test_loss_falls_and_the_result_opens_as_a_published_model(start, records, tmp_path):
    recipe = replace(RECIPE, epochs=14, patience=14, flip=0.0, erase=0.0)
    card = json.loads(train_full(recipe, records, start, tmp_path, device="cpu", threads=1).read_text())
    first, last = card["log"][0], card["log"][-1]
    for name in ("itc", "itm", "mlm", "hard"):
        assert last[name] < first[name], name
    assert last["itc"] < 0.9 * first["itc"] and last["mlm"] < 0.8 * first["mlm"]
    assert card["records"] == 8 and card["validation"]["records"] == 2 and card["finished"]
    assert card["recipe"]["losses"] == asdict(FullWeights()) and card["init"]["word head"] == "checkpoint"
    assert card["validation"]["R@1"] == max(e["R@1"] for e in card["log"])
    assert not (tmp_path / "resume.pt").exists()
    opened = open_model(tmp_path / "cmp.safetensors", device="cpu", length=24)
    assert (opened.family, opened.dim, opened.sizes.pose_block) == ("cmp", 2048, True)
    scores = opened.score(
        records[0].captions[0], [frame(r).pixels for r in records[:2]], [pose_map(r) for r in records[:2]]
    )
    assert scores.shape == (2,) and np.isfinite(scores).all()
    further = train_full(
        replace(recipe, epochs=1), records, tmp_path / "cmp.safetensors", tmp_path / "on", device="cpu"
    )
    assert json.loads(further.read_text())["init"]["word head"] == "checkpoint"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stopped_run_goes_on_to_the_same_weights(start, records, tmp_path, accumulate):
    recipe = replace(
        RECIPE, batch=2, epochs=2, accumulate=accumulate
    )  # eight pictures: four batches an epoch
    train_full(recipe, records, start, tmp_path / "whole", device="cpu", threads=1)
    stops = 0
    for _ in range(12):
        card = train_full(
            recipe, records, start, tmp_path / "parts", device="cpu", threads=1, workers=1, seconds=0
        )
        if json.loads(card.read_text())["finished"]:
            break
        stops += 1
        assert (tmp_path / "parts" / "resume.pt").exists()
        assert open_model(tmp_path / "parts" / "cmp.safetensors", device="cpu", length=24).family == "cmp"
    assert stops == 8 // accumulate - 1
    whole, parts = (tensors(tmp_path / name / "cmp.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)
    logs = [json.loads((tmp_path / n / "cmp.json").read_text())["log"] for n in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_accumulated_batches_are_one_step(start, records, tmp_path):
    """Without chance in the networks two batches a step move the weights by the mean of both gradients."""
    from oddwatch.train.fullsize import _Run

    recipe = replace(
        RECIPE, architecture="xvlm", batch=4, accumulate=2, losses=FullWeights(mlm=0, hard=0, eda=0)
    )
    run = _Run(recipe, records, start, tmp_path, "cpu", 1, torch)
    for number, batch in enumerate(run.learn.batches(0, 4)):
        run._learn(batch)
        if number == 0:
            run.batch, first = 1, run.model.net.itm_head[0].weight.grad.clone()
    both = run.model.net.itm_head[0].weight.grad.clone()
    alone = _Run(replace(recipe, accumulate=1), records, start, tmp_path, "cpu", 1, torch)
    alone._learn(next(alone.learn.batches(0, 4)))
    torch.testing.assert_close(alone.model.net.itm_head[0].weight.grad, 2 * first)
    assert not torch.equal(both, first)
    assert run.total == 2 and alone.total == 4


def test_xvlm_at_another_resolution(start, records, tmp_path):
    recipe = replace(
        RECIPE,
        name="x",
        architecture="xvlm",
        side=64,
        epochs=1,
        pairs=4,
        losses=FullWeights(mlm=0, hard=0, eda=0),
    )
    card = json.loads(train_full(recipe, records, start, tmp_path, device="cpu", threads=1).read_text())
    assert card["records"] == 4 and set(card["log"][0]) == {"epoch", "itc", "itm", "R@1", "R@5", "mAP"}
    opened = open_model(tmp_path / "xvlm.safetensors", device="cpu")
    assert (opened.family, opened.resolution) == ("xvlm", 64)
    assert "text_encoder.encoder.layer.0.output.dense.bias" in tensors(tmp_path / "xvlm.safetensors")


def test_patience_ends_a_run(start, records, tmp_path):
    recipe = replace(RECIPE, epochs=9, patience=2, lr=1e-9)
    card = json.loads(train_full(recipe, records, start, tmp_path, device="cpu", threads=1).read_text())
    assert len(card["log"]) == 3 and card["finished"]


def test_what_a_run_refuses(start, records, tmp_path):
    def run(recipe=RECIPE, data=records, init=start):
        return train_full(recipe, data, init, tmp_path, device="cpu", seconds=0)

    run()
    with pytest.raises(InputError, match="another recipe"):
        run(replace(RECIPE, lr=1e-3))
    with pytest.raises(InputError, match="another recipe, checkpoint or data"):
        run(data=records[:8])
    (tmp_path / "resume.pt").unlink()
    with pytest.raises(InputError, match="two or more videos"):
        run(data=records[:2])
    with pytest.raises(InputError, match="two or more videos"):
        run(data=[replace(r, captions=()) for r in records])
    with pytest.raises(InputError, match="no pose map"):
        run(data=[replace(r, image=f"{r.image}.gone") for r in records])
    with pytest.raises(InputError, match="starts at its checkpoint's 32 pixels"):
        run(replace(RECIPE, side=64))
    with pytest.raises(ModelError, match="no such file"):
        run(init=tmp_path / "absent.pth")
    with pytest.raises(InputError, match="is of cmp"):
        run(replace(RECIPE, architecture="xvlm"), init=tmp_path / "cmp.safetensors")


def test_the_packaged_recipes_are_those_of_the_papers():
    full = {name: recipe for name in recipes() if isinstance(recipe := read_recipe(name), FullRecipe)}
    assert set(full) == {"cmp-full", "xvlm-full"}
    cmp = full["cmp-full"]
    assert (cmp.lr, cmp.warmup, cmp.schedule, cmp.epochs, cmp.batch) == (1e-4, 500, "step", 30, 22)
    assert (cmp.erase, cmp.length, cmp.k_test, cmp.side) == (0.6, 56, 128, 0)
    assert cmp.losses == FullWeights(1, 1, 1, 1, 0.8, 0.2)
    x = full["xvlm-full"]
    assert (x.lr, x.side, x.epochs, x.batch, x.pairs, x.then) == (3e-5, 384, 10, 20, 10_000, ("sca-s",))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('architecture = "vit"', "cmp or xvlm"),
        ('architecture = "cmp"\nbatch = 1', "batch: expected 2 or more"),
        ('architecture = "cmp"\nschedule = "cosine"', "linear or step"),
        ('architecture = "cmp"\nspeed = 3', "cannot be read"),
        ('architecture = "cmp"\n[losses]\ngan = 1.0', "cannot be read"),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path, line, told):
    (tmp_path / "own.toml").write_text(f'name = "own"\n{line}\n')
    with pytest.raises(InputError, match=told):
        read_recipe(str(tmp_path / "own.toml"))
