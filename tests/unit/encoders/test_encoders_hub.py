"""Dual and picture encoders of transformers, on tiny random models made here: the code path, not quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the torch extra")
transformers = pytest.importorskip("transformers", reason="needs the torch extra")

from oddwatch.core import DualEncoder, ImageEncoder, InputError, ModelError  # noqa: E402
from oddwatch.encoders import load  # noqa: E402

pytestmark = pytest.mark.slow
NET = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}


def pictures(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (20 + 9 * i, 31, 3), dtype=np.uint8) for i in range(count)]


def save_tokenizer(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "coat", "man", "falls"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def save_processor(folder: Path, kind: str, size: Any) -> None:
    settings = {
        "image_processor_type": kind, "do_resize": True, "size": size, "do_normalize": True,
        "do_rescale": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": False,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def save_dual(folder: Path, kind: str) -> Path:
    import torch

    torch.manual_seed(0)
    picture = {**NET, "image_size": 28, "patch_size": 14}
    text = {**NET, "vocab_size": 10, "max_position_embeddings": 12}
    if kind == "clip":
        text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
        config = transformers.CLIPConfig(text_config=text, vision_config=picture, projection_dim=24)
        model = transformers.CLIPModel(config)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=picture))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(
        folder,
        "CLIPImageProcessor" if kind == "clip" else "SiglipImageProcessor",
        {"height": 28, "width": 28},
    )
    return folder


@pytest.mark.parametrize(("kind", "dim"), [("clip", 24), ("siglip", 32)])
def test_dual_encoder_gives_unit_vectors_that_do_not_depend_on_the_batch(
    tmp_path: Path, kind: str, dim: int
) -> None:
    encoder = load("dual", model=save_dual(tmp_path, kind), device="cpu", batch=2)
    assert isinstance(encoder, DualEncoder)
    assert encoder.dim == dim
    texts = ["a red coat", "man falls", "a"]
    t, v = encoder.encode_texts(texts), encoder.encode_images(pictures())
    assert t.shape == v.shape == (3, dim) and t.dtype == v.dtype == np.float32
    assert np.allclose(np.linalg.norm(np.concatenate([t, v]), axis=1), 1, atol=1e-5)
    assert not np.allclose(t[0], t[1], atol=1e-4) and not np.allclose(v[0], v[1], atol=1e-4)
    assert np.allclose(encoder.encode_texts(texts[2:]), t[2:], atol=1e-5)
    assert np.allclose(encoder.encode_images(pictures()[1:2]), v[1:2], atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, dim)
    with pytest.raises(InputError):
        encoder.encode_texts("a")


def test_patch_encoder_gives_layers_and_puts_patches_back_on_the_picture(tmp_path: Path) -> None:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=42, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    save_processor(tmp_path, "BitImageProcessor", {"height": 42, "width": 42})
    encoder = load("hub-patches", model=tmp_path, resolution=56, device="cpu", batch=2)
    assert isinstance(encoder, ImageEncoder)
    tokens = encoder.encode(pictures(), layers=("last", "block_1"))
    assert tokens.cls.shape == (3, 32) and tokens.grid == (4, 4)
    assert {n: a.shape for n, a in tokens.layers.items()} == {"last": (3, 16, 32), "block_1": (3, 16, 32)}
    assert np.allclose(tokens.scale[0] * 56, (31, 20))
    assert np.allclose(encoder.encode(pictures()[:1]).layers["last"], tokens.layers["last"][:1], atol=1e-5)
    assert encoder.encode([]).layers["last"].shape == (0, 16, 32)
    with pytest.raises(InputError, match="block_9"):
        encoder.encode(pictures(), layers=("block_9",))


def test_nothing_is_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="models pull"):
        load("dual", model="nobody/no-such-model")
    with pytest.raises(ModelError, match="safetensors"):
        load("dual", model=tmp_path)


def test_id_follows_the_weights(tmp_path: Path) -> None:
    from oddwatch.encoders.hub import fingerprint

    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = fingerprint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert fingerprint(tmp_path) != first
