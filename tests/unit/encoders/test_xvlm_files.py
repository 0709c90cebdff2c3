"""Files that are offered as checkpoints of X-VLM, X2-VLM and CMP and are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from oddwatch.core import ModelError  # noqa: E402
from oddwatch.encoders.xvlm import files, keys  # noqa: E402


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["text_encoder.roberta.embeddings.word_embeddings.weight"], "RoBERTa"),
        (["cross_encoder.encoder.layer.0.output.dense.bias"], "separate cross encoder"),
        (["vision_encoder.encoder.layers.0.norm.weight"], "CLIP"),
        (["visual.proj", "logit_scale"], "neither X-VLM, X2-VLM nor CMP"),
    ],
)
def test_other_models_are_named(names, told):
    with pytest.raises(ModelError, match=told):
        keys.family_of(dict.fromkeys(names, (1,)))


def test_wrappers_are_taken_off():
    inner = {"module.a": np.zeros(1), "module.b": np.zeros(2)}
    assert set(keys.unwrap({"state_dict": {"model": inner}, "epoch": 3})) == {"a", "b"}
    assert set(keys.unwrap({"module.a": np.zeros(1), "b": np.zeros(1)})) == {"module.a", "b"}
    for wrong in ([], {}, {"epoch": 3}, {"model": {"a": "text"}}):
        with pytest.raises(ModelError, match="no table of tensors"):
            keys.unwrap(wrong)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": {"a": torch.zeros(1)}, "extra": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ModelError, match="weights-only loader refused"):
        files.read(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        files.read(tmp_path / "absent.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not a model")
        with pytest.raises(ModelError, match=name):
            files.read(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "bare.pth")
    with pytest.raises(ModelError, match=r"bare\.pth: no table"):
        files.read(tmp_path / "bare.pth")
