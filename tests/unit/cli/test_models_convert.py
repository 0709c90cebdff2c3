"""``oddwatch models convert``: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from oddwatch.encoders.xvlm import keys  # noqa: E402
from oddwatch.encoders.xvlm.keys import Sizes  # noqa: E402
from oddwatch.encoders.xvlm.model import open_model  # noqa: E402

TINY = Sizes("xvlm", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint of X-VLM's names, for which small sizes are the published ones."""
    from oddwatch.encoders.xvlm.nets import Net

    monkeypatch.setitem(keys.PUBLISHED, "xvlm", TINY)
    torch.manual_seed(0)
    tensors = {**Net(TINY).state_dict(), "bbox_head.0.weight": torch.zeros(2, 2)}
    torch.save({"model": tensors}, tmp_path / "16m.th")
    return tmp_path / "16m.th"


def test_it_prints_family_and_hash_and_writes_what_opens(checkpoint, run, tmp_path):
    out = tmp_path / "x.safetensors"
    status, said, _ = run("models", "convert", checkpoint, out)
    card = json.loads((tmp_path / "x.json").read_text())
    assert status == 0 and "xvlm, 32 pixels" in said and card["source_sha256"] in said
    assert "1 of its tensors left out" in said
    assert open_model(out, device="cpu").id == open_model(checkpoint, device="cpu").id


def test_json(checkpoint, run, tmp_path):
    status, said, _ = run("models", "convert", checkpoint, tmp_path / "x.safetensors", "--json")
    found = json.loads(said)
    assert status == 0 and found["family"] == "xvlm" and found["file"].endswith("x.safetensors")
    assert found["sizes"] == TINY.to_json() and len(found["source_sha256"]) == 64


def test_what_it_refuses(checkpoint, run, tmp_path):
    torch.save({"model": {"visual.proj": torch.zeros(2)}}, tmp_path / "clip.pth")
    (tmp_path / "text.pth").write_text("no model")
    for given, out, word, expected in (
        (checkpoint, "x.pth", ".safetensors", 2),
        (checkpoint, "none/x.safetensors", "no such folder", 2),
        (tmp_path / "absent.th", "x.safetensors", "no such file", 1),
        (tmp_path / "text.pth", "x.safetensors", "weights-only", 1),
        (tmp_path / "clip.pth", "x.safetensors", "neither X-VLM, X2-VLM nor CMP", 1),
    ):
        status, said, error = run("models", "convert", given, tmp_path / out)
        assert (status, said) == (expected, ""), (out, error)
        assert error.startswith("oddwatch: ") and error.count("\n") == 1 and word in error
    assert not list(tmp_path.glob("*.safetensors*"))
