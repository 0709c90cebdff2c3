"""Published checkpoint formats of X-VLM, X2-VLM and CMP, on synthetic tables of the authors' names and shapes: at full
size without memory for it, and in small with random weights. What is tested is the format and the code path; no
published weights are at hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from oddwatch.core import DualEncoder, InputError, ModelError, Pose  # noqa: E402
from oddwatch.encoders.xvlm import files, keys, model  # noqa: E402
from oddwatch.encoders.xvlm.keys import KeyMismatch, Sizes  # noqa: E402

Table = dict[str, tuple[int, ...]]
TINY = {
    "xvlm": Sizes("xvlm", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20),
    "cmp": Sizes("cmp", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20, True, True),
    "x2vlm": Sizes("x2vlm", 32, (2,), (4,), 8, 32, 30522, 64, 24, 3, 40, 2, 2, 20),
}
TEXTS = ["A man falls off a bicycle.", "a woman in a red coat is dancing", "rain"]


# The tables below follow the constructors of the public code, not ours: github.com/zengyan-97/X-VLM,
# github.com/zengyan-97/X2-VLM, github.com/Shuyu-XJTU/CMP.


def linear(name: str, out: int, inner: int, bias: bool = True) -> Table:
    return {f"{name}.weight": (out, inner), **({f"{name}.bias": (out,)} if bias else {})}


def norm(name: str, width: int) -> Table:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Table:
    running = {f"{name}.{part}": (width,) for part in ("running_mean", "running_var")}
    return {**norm(name, width), **running, f"{name}.num_batches_tracked": ()}


def swin_table(s: Sizes, window: int) -> Table:
    t: Table = {"patch_embed.proj.weight": (s.width, 3, 4, 4), "patch_embed.proj.bias": (s.width,)}
    t |= norm("patch_embed.norm", s.width)
    for i, (depth, heads) in enumerate(zip(s.depths, s.heads, strict=True)):
        width, grid = s.width * 2**i, s.side // 4 // 2**i
        for j in range(depth):
            at = f"layers.{i}.blocks.{j}"
            t |= norm(f"{at}.norm1", width) | norm(f"{at}.norm2", width)
            t |= linear(f"{at}.attn.qkv", 3 * width, width) | linear(f"{at}.attn.proj", width, width)
            t[f"{at}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
            t[f"{at}.attn.relative_position_index"] = (window**2, window**2)
            t |= linear(f"{at}.mlp.fc1", 4 * width, width) | linear(f"{at}.mlp.fc2", width, 4 * width)
            if j % 2 and grid > window:
                t[f"{at}.attn_mask"] = ((grid // window) ** 2, window**2, window**2)
        if i < len(s.depths) - 1:
            t |= linear(f"layers.{i}.downsample.reduction", 2 * width, 4 * width, bias=False)
            t |= norm(f"layers.{i}.downsample.norm", 4 * width)
    return t | norm("norm", s.width * 2 ** (len(s.depths) - 1))


def beit_table(s: Sizes) -> Table:
    w, grid = s.width, s.side // s.patch
    t: Table = {"cls_token": (1, 1, w), "patch_embed.proj.weight": (w, 3, s.patch, s.patch)}
    t["patch_embed.proj.bias"] = (w,)
    for i in range(s.depths[0]):
        at = f"blocks.{i}"
        t |= {f"{at}.{n}": (w,) for n in ("gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias")}
        t |= norm(f"{at}.norm1", w) | norm(f"{at}.norm2", w)
        t |= linear(f"{at}.attn.qkv", 3 * w, w, bias=False) | linear(f"{at}.attn.proj", w, w)
        t |= linear(f"{at}.mlp.fc1", 4 * w, w) | linear(f"{at}.mlp.fc2", w, 4 * w)
        t[f"{at}.attn.relative_position_bias_table"] = ((2 * grid - 1) ** 2 + 3, s.heads[0])
        t[f"{at}.attn.relative_position_index"] = (grid**2 + 1, grid**2 + 1)
    return t | norm("fc_norm", w)


def bert_table(s: Sizes, seen: int) -> Table:
    w = s.text_width
    t: Table = {
        "embeddings.position_ids": (1, s.places),
        "embeddings.word_embeddings.weight": (s.vocabulary, w),
    }
    t["embeddings.position_embeddings.weight"] = (s.places, w)
    t["embeddings.token_type_embeddings.weight"] = (2, w)
    t |= norm("embeddings.LayerNorm", w)
    for i in range(s.text_layers + s.cross_layers):
        at = f"encoder.layer.{i}"
        for kind, of in (("attention", w), ("crossattention", seen)):
            if kind == "attention" or i >= s.text_layers:
                t |= linear(f"{at}.{kind}.self.query", w, w) | linear(f"{at}.{kind}.self.key", w, of)
                t |= linear(f"{at}.{kind}.self.value", w, of) | linear(f"{at}.{kind}.output.dense", w, w)
                t |= norm(f"{at}.{kind}.output.LayerNorm", w)
        t |= linear(f"{at}.intermediate.dense", s.inner, w) | linear(f"{at}.output.dense", w, s.inner)
        t |= norm(f"{at}.output.LayerNorm", w)
    return t


def mlp_head(name: str, width: int, out: int) -> Table:
    return (
        linear(f"{name}.0", 2 * width, width)
        | norm(f"{name}.1", 2 * width)
        | linear(f"{name}.3", out, 2 * width)
    )


def table(s: Sizes, pretraining: bool = True) -> Table:
    """All names of a checkpoint: in the form of pre-training (and of CMP's training), or of retrieval."""
    under = lambda prefix, part: {f"{prefix}.{name}": shape for name, shape in part.items()}  # noqa: E731
    seen = s.width * 2 ** (len(s.depths) - 1)
    picture = (
        beit_table(s) if s.family == "x2vlm" else swin_table(s, s.side // (4 * 2 ** (len(s.depths) - 1)))
    )
    t = under("vision_encoder", picture) | {"temp": ()}
    t |= under("text_encoder.bert" if pretraining else "text_encoder", bert_table(s, seen))
    if pretraining:
        head = "text_encoder.cls.predictions"
        t |= linear(f"{head}.transform.dense", s.text_width, s.text_width)
        t |= norm(f"{head}.transform.LayerNorm", s.text_width) | linear(
            f"{head}.decoder", s.vocabulary, s.text_width
        )
        t[f"{head}.bias"] = (s.vocabulary,)
    t |= mlp_head("itm_head", s.text_width, 2)
    if s.family == "cmp":
        for name, inner in (("vision_proj", 3 * seen), ("text_proj", 4 * s.text_width)):
            t |= batch_norm(f"{name}.0", inner) | linear(f"{name}.2", s.dim, inner)
        t |= norm("pose_block.norm", seen)
        for part in ("q", "k", "v", "proj"):
            t |= linear(f"pose_block.attn.{part}", seen, seen)
        for name, (a, b) in {"expand": (3, 96), "reduce": (96, 3)}.items():
            t |= {f"pose_conv.{name}.0.weight": (b, a, 3, 3), f"pose_conv.{name}.0.bias": (b,)}
            t |= batch_norm(f"pose_conv.{name}.1", b)
        return t
    t |= linear("vision_proj", s.dim, seen) | linear("text_proj", s.dim, s.text_width)
    return t | (mlp_head("bbox_head", s.text_width, 4) if pretraining else {})


def weights(t: Table, seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    out = {}
    for name, shape in t.items():
        if name.endswith(("num_batches_tracked", "position_ids", "relative_position_index")):
            out[name] = torch.zeros(shape, dtype=torch.long)
        elif name.endswith("running_var"):
            out[name] = torch.rand(shape) + 0.5
        else:
            is_scale = "norm" in name.lower() and name.endswith("weight")
            out[name] = 0.3 * torch.randn(shape) + (1.0 if is_scale else 0.0)
    return out


def save(path: Path, tensors: dict[str, Any]) -> Path:
    torch.save({"model": tensors, "config": {"embed_dim": 20, "files": ["a"]}}, path)
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("xvlm")
    return {name: save(folder / f"{name}.pth", weights(table(s))) for name, s in TINY.items()}


@pytest.fixture(scope="module")
def encoders(checkpoints) -> dict[str, model.XvlmEncoder]:
    return {
        name: model.BY_FAMILY[name](path, device="cpu", sizes=TINY[name])
        for name, path in checkpoints.items()
    }


def pictures(count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (30 + 9 * i, 41, 3), dtype=np.uint8) for i in range(count)]


def pose() -> Pose:
    rng = np.random.default_rng(2)
    return Pose(np.column_stack([rng.uniform(5, 30, (17, 2)), np.ones(17)]).astype(np.float32))


PUBLISHED = {
    "xvlm": (keys.PUBLISHED["xvlm"], 644, 215.6),
    "xvlm-384": (replace(keys.PUBLISHED["xvlm"], side=384), 644, 215.8),
    "cmp": (keys.PUBLISHED["cmp"], 672, 230.8),
    "x2vlm": (keys.PUBLISHED["x2vlm"], 587, 254.8),
    "x2vlm-large": (keys.PUBLISHED["x2vlm-large"], 791, 592.9),
}
"""Sizes, names in the file, and millions of parameters (papers: 216, 230.8, 255, 593)."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_table_is_used_up_and_fills_everything(name):
    sizes, count, millions = PUBLISHED[name]
    t = table(sizes)
    assert len(t) == count
    tied_or_no_parameter = ("predictions.decoder.weight", "predictions.decoder.bias", "_index", "attn_mask",
                            "position_ids", "running_mean", "running_var", "num_batches_tracked")  # fmt: skip
    total = sum(math.prod(shape) for n, shape in t.items() if not n.endswith(tied_or_no_parameter))
    assert total / 1e6 == pytest.approx(millions, abs=0.06)

    assert keys.sizes_of(t) == sizes
    wanted = files.wanted_shapes(sizes)
    plan = keys.plan(t, wanted, sizes)
    assert set(plan.take) == set(wanted) and plan.fresh == () and not plan.resize
    assert set(plan.take.values()) | set(plan.unused) == set(t)
    assert not set(plan.take.values()) & set(plan.unused)


@pytest.mark.parametrize("name", ["xvlm", "x2vlm"])
def test_the_retrieval_form_is_used_up_too(name):
    sizes = keys.PUBLISHED[name]
    t = table(sizes, pretraining=False)
    plan = keys.plan(t, files.wanted_shapes(sizes), sizes)
    assert set(plan.take.values()) | set(plan.unused) == set(t)
    assert set(plan.unused.values()) == {"a count from 0", "follows from the window"}


def test_cmp_without_its_pose_branch_is_a_setting_of_its_code():
    t = {n: shape for n, shape in table(keys.PUBLISHED["cmp"]).items() if not n.startswith("pose_")}
    sizes = keys.sizes_of(t)
    assert sizes == replace(keys.PUBLISHED["cmp"], pose_block=False, pose_conv=False)
    assert set(keys.plan(t, files.wanted_shapes(sizes), sizes).take) == set(files.wanted_shapes(sizes))


def test_at_another_resolution_every_position_table_is_resized_and_nothing_else():
    t = table(replace(keys.PUBLISHED["xvlm"], side=384))
    sizes = keys.PUBLISHED["xvlm"]
    plan = keys.plan(t, files.wanted_shapes(sizes), sizes)
    assert plan.resize == {n for n in plan.take if n.endswith("relative_position_bias_table")}
    assert len(plan.resize) == 24


def test_only_the_listed_names_stay_fresh_when_cmp_starts_from_xvlm():
    t, sizes = table(keys.PUBLISHED["xvlm"]), keys.PUBLISHED["cmp"]
    wanted = files.wanted_shapes(sizes)
    plan = keys.plan(t, wanted, sizes, start=True)
    assert {n.partition(".")[0] for n in plan.fresh} == {
        "vision_proj",
        "text_proj",
        "pose_block",
        "pose_conv",
    }
    with pytest.raises(KeyMismatch) as caught:
        keys.plan(t, wanted, sizes)
    assert set(caught.value.missing) == set(plan.fresh)
    del t["text_encoder.bert.encoder.layer.3.output.dense.bias"]
    with pytest.raises(KeyMismatch) as caught:
        keys.plan(t, wanted, sizes, start=True)
    assert caught.value.missing == ("text_encoder.encoder.layer.3.output.dense.bias",)


@pytest.mark.parametrize("name", ["xvlm", "cmp", "x2vlm"])
def test_one_name_missing_left_over_or_bent_is_told(name):
    sizes = keys.PUBLISHED[name]
    wanted = files.wanted_shapes(sizes)
    one = "text_encoder.bert.encoder.layer.7.attention.self.query.weight"
    ours = one.replace("bert.", "")

    def refused(t: Table) -> KeyMismatch:
        with pytest.raises(KeyMismatch) as caught:
            keys.plan(t, wanted, sizes)
        return caught.value

    t = table(sizes)
    error = refused({n: shape for n, shape in t.items() if n != one})
    assert (error.missing, error.unexpected, error.wrong) == ((ours,), (), {}) and ours in str(error)
    error = refused({**t, "itm_head.4.weight": (2, 2)})
    assert (error.missing, error.unexpected, error.wrong) == ((), ("itm_head.4.weight",), {})
    error = refused({**t, one: (768, 767)})
    assert error.wrong == {one: ((768, 767), wanted[ours])} and "of wrong shape" in str(error)
    error = refused({**t, ours: wanted[ours]})
    assert error.unexpected == (ours,)


def test_a_model_short_of_its_last_layer_is_not_taken_for_a_smaller_one():
    sizes = keys.PUBLISHED["xvlm"]
    t = {n: shape for n, shape in table(sizes).items() if ".layer.11." not in n}
    with pytest.raises(KeyMismatch, match=r"26 missing: text_encoder\.encoder\.layer\.11"):
        keys.plan(t, files.wanted_shapes(sizes), sizes)


def test_windows_of_several_sizes_as_in_384_by_128_models_are_refused():
    t = table(keys.PUBLISHED["xvlm"])
    bent = {n for n in t if n.startswith("vision_encoder.layers.3.") and n.endswith("bias_table")}
    t |= dict.fromkeys(bent, (49, 32))
    with pytest.raises(KeyMismatch) as caught:
        keys.plan(t, files.wanted_shapes(keys.sizes_of(t)), keys.sizes_of(t))
    assert set(caught.value.wrong) == bent


@pytest.mark.parametrize("name", TINY)
def test_unit_vectors_and_match_scores(encoders, name):
    encoder, frames = encoders[name], pictures()
    assert isinstance(encoder, DualEncoder) and encoder.dim == 20
    images, texts = encoder.encode_images(frames), encoder.encode_texts(TEXTS)
    assert images.shape == (4, 20) and texts.shape == (3, 20) and images.dtype == texts.dtype == np.float32
    for vectors in (images, texts):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    # M-2: one similarity, from whichever side.
    np.testing.assert_allclose(texts @ images.T, (images @ texts.T).T, atol=1e-6)
    tokens = encoder.tokens_of(frames)
    scores = np.stack([encoder.match(text, tokens) for text in TEXTS])
    assert (
        scores.shape == (3, 4) and np.ptp(scores, axis=0).min() > 1e-4 and np.ptp(scores, axis=1).min() > 1e-4
    )
    np.testing.assert_allclose(encoder.score(TEXTS[0], frames), scores[0], atol=1e-5)
    np.testing.assert_allclose(encoder.vectors_of(tokens), images, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_an_item_does_not_depend_on_its_batch_nor_on_the_run(checkpoints, encoders, name):
    encoder, frames = encoders[name], pictures()
    again = model.BY_FAMILY[name](checkpoints[name], device="cpu", sizes=TINY[name], batch=3)
    assert again.id == encoder.id
    np.testing.assert_array_equal(encoder.encode_images(frames), encoder.encode_images(frames))
    np.testing.assert_allclose(again.encode_images(frames), encoder.encode_images(frames), atol=1e-5)
    np.testing.assert_allclose(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-5)
    alone = [float(encoder.score(TEXTS[1], [f])[0]) for f in frames]
    np.testing.assert_allclose(again.score(TEXTS[1], frames), alone, atol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_nothing_in_nothing_out_and_wrong_input_is_told(encoders, name):
    encoder = encoders[name]
    assert encoder.encode_images([]).shape == encoder.encode_texts([]).shape == (0, 20)
    assert encoder.score("a man", []).shape == (0,)
    with pytest.raises(InputError, match="list"):
        encoder.encode_texts("a man")
    for empty in ("", " ,.! "):
        with pytest.raises(InputError, match="at least one word"):
            encoder.score(empty, pictures(1))
    with pytest.raises(InputError, match="uint8"):
        encoder.encode_images([np.zeros((4, 4, 3), np.float32)])
    with pytest.raises(InputError, match="tokens_of"):
        encoder.match("a man", np.zeros((2, 3, 4), np.float32))


def test_the_signs_of_a_caption_do_not_count(encoders):
    for name in TINY:
        a, b = encoders[name].encode_texts(["A man, in a T-shirt!", "a man in a t shirt"])
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_another_resolution_is_another_encoder(checkpoints, encoders, name):
    side = {"x2vlm": 48}.get(name, 48)
    large = model.BY_FAMILY[name](checkpoints[name], resolution=side, device="cpu", sizes=TINY[name])
    assert large.resolution == side and large.id != encoders[name].id
    assert large.tokens_of(pictures(1)).shape[1] == 1 + (side // TINY[name].step) ** 2
    np.testing.assert_allclose(np.linalg.norm(large.encode_images(pictures(2)), axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="multiple of 8"):
        model.BY_FAMILY[name](checkpoints[name], resolution=43, sizes=TINY[name])


def test_only_the_right_family_and_possible_options(checkpoints):
    with pytest.raises(ModelError, match="expected a checkpoint of xvlm, this is cmp"):
        model.XvlmEncoder(checkpoints["cmp"], sizes=TINY["cmp"])
    with pytest.raises(KeyMismatch, match=r"xvlm\.pth: xvlm: the checkpoint does not fit"):
        model.XvlmEncoder(checkpoints["xvlm"])
    for option in ({"length": 65}, {"length": 2}, {"batch": 0}, {"device": "tpu"}):
        with pytest.raises(InputError):
            model.XvlmEncoder(checkpoints["xvlm"], sizes=TINY["xvlm"], **option)
    with pytest.raises(InputError, match="sizes"):
        Sizes(heads=(4, 8, 16, 31))


@pytest.mark.parametrize("name", TINY)
def test_converted_it_is_the_same_encoder(tmp_path, checkpoints, encoders, name):
    out = tmp_path / "small.safetensors"
    card = files.convert(checkpoints[name], out, TINY[name])
    assert {p.name for p in tmp_path.iterdir()} == {"small.safetensors", "small.json"}
    assert json.loads((tmp_path / "small.json").read_text()) == card
    assert card["family"] == name and card["keys"] == len(files.wanted_shapes(TINY[name]))
    assert len(card["source_sha256"]) == 64 and card["keys"] + card["left_out"] == len(table(TINY[name]))
    again = model.open_model(out, device="cpu")  # the card tells the sizes
    assert type(again) is type(encoders[name]) and again.id == encoders[name].id
    np.testing.assert_array_equal(again.encode_texts(TEXTS), encoders[name].encode_texts(TEXTS))
    np.testing.assert_array_equal(
        again.score(TEXTS[0], pictures(2)), encoders[name].score(TEXTS[0], pictures(2))
    )


def test_what_does_not_fit_is_not_converted(tmp_path, checkpoints):
    with pytest.raises(InputError, match=r"\.safetensors"):
        files.convert(checkpoints["xvlm"], tmp_path / "x.pth", TINY["xvlm"])
    tensors = weights(table(TINY["xvlm"]))
    del tensors["itm_head.3.bias"]
    with pytest.raises(KeyMismatch, match=r"itm_head\.3\.bias"):
        files.convert(save(tmp_path / "short.pth", tensors), tmp_path / "x.safetensors", TINY["xvlm"])
    assert {p.name for p in tmp_path.iterdir()} == {"short.pth"}
    files.convert(checkpoints["xvlm"], tmp_path / "x.safetensors", TINY["xvlm"])
    with pytest.raises(InputError, match="the checkpoint itself"):
        files.convert(tmp_path / "x.safetensors", tmp_path / "x.safetensors")


def test_forms_of_a_file_do_not_change_the_weights(tmp_path, encoders):
    tensors = weights(table(TINY["xvlm"]))
    forms = {
        "old": ({n.replace("text_encoder.bert.", "text_encoder."): v for n, v in tensors.items()}, False),
        "parallel": ({"state_dict": {f"module.{n}": v for n, v in tensors.items()}}, True),
        "no-temperature": ({"model": {n: v for n, v in tensors.items() if n != "temp"}}, True),
    }
    for name, (tree, zipped) in forms.items():
        torch.save(tree, tmp_path / name, _use_new_zipfile_serialization=zipped)
        encoder = model.XvlmEncoder(tmp_path / name, device="cpu", sizes=TINY["xvlm"])
        assert (encoder.id == encoders["xvlm"].id) == (name != "no-temperature")
        np.testing.assert_array_equal(encoder.encode_texts(TEXTS), encoders["xvlm"].encode_texts(TEXTS))


def test_half_precision_is_read_as_float32(tmp_path, encoders):
    halves = {n: v.half() if v.is_floating_point() else v for n, v in weights(table(TINY["cmp"])).items()}
    encoder = model.CmpEncoder(save(tmp_path / "half.pth", halves), device="cpu", sizes=TINY["cmp"])
    assert encoder.net.itm_head[0].weight.dtype == torch.float32
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), encoders["cmp"].encode_texts(TEXTS), atol=5e-3)


def test_cmp_reads_poses(encoders):
    encoder, frames = encoders["cmp"], pictures(3)
    assert isinstance(encoder, model.CmpEncoder)
    nobody = encoder.tokens_of(frames)
    np.testing.assert_allclose(
        encoder.tokens_of(frames, [None, [], np.zeros((9, 5, 3), np.uint8)]), nobody, atol=1e-5
    )
    seen = encoder.tokens_of(frames, [pose(), None, None])
    assert np.abs(seen[0] - nobody[0]).max() > 1e-3
    np.testing.assert_allclose(seen[1:], nobody[1:], atol=1e-5)
    ready = model.drawn(frames[0], pose())
    assert ready is not None and ready.shape == frames[0].shape
    np.testing.assert_allclose(encoder.tokens_of(frames[:1], [ready])[0], seen[0], atol=1e-5)
    score = encoder.score(TEXTS[0], frames, [pose(), None, None])
    assert abs(score[0] - encoder.score(TEXTS[0], frames)[0]) > 1e-5
    with pytest.raises(InputError, match="one item per frame"):
        encoder.encode_images(frames, [None])


def test_cmp_starts_from_xvlm(tmp_path, checkpoints):
    one, two = (files.start_cmp(checkpoints["xvlm"], seed, TINY["cmp"]) for seed in (1, 1))
    assert one.net.training and one.fingerprint == two.fingerprint
    state = one.net.state_dict()
    for name, value in two.net.state_dict().items():
        assert torch.equal(value, state[name]), name
    taken = weights(table(TINY["xvlm"]))
    assert all(torch.equal(state[n], taken[theirs]) for n, theirs in one.plan.take.items())
    assert float(state["vision_proj.2.weight"].std()) == pytest.approx(1e-5, rel=0.1)
    other = files.start_cmp(checkpoints["xvlm"], 2, TINY["cmp"])
    assert not torch.equal(
        other.net.state_dict()["pose_block.attn.q.weight"], state["pose_block.attn.q.weight"]
    )
    with pytest.raises(ModelError, match="starts from an X-VLM checkpoint, this is cmp"):
        files.start_cmp(checkpoints["cmp"], 0, TINY["cmp"])
