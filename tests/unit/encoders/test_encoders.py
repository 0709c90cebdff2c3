"""The packaged encoders: shapes, goldens, batch invariance, places on the picture, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import ImageEncoder, InputError, ModelError, TextEncoder
from oddwatch.encoders import CARDS, ENCODERS, load, weights
from oddwatch.encoders.pose import PoseModel, letterbox, pose_id, read_people
from oddwatch.encoders.sentence import SentenceEncoder
from oddwatch.encoders.session import product_may_overflow, providers, session
from oddwatch.encoders.vit import LAYERS, PatchEncoder, encoder_id, fit_square, resize


def picture(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.ascontiguousarray(
        np.kron(rng.integers(0, 256, (height // 10, width // 10, 3)), np.ones((10, 10, 1)))
    ).astype(np.uint8)


@pytest.fixture(scope="module")
def patches() -> PatchEncoder:
    return PatchEncoder(threads=2, batch=3)


@pytest.fixture(scope="module")
def sentences() -> SentenceEncoder:
    return SentenceEncoder(threads=2)


@pytest.fixture(scope="module")
def pose() -> PoseModel:
    return PoseModel(threads=2)


def test_every_name_has_a_card_and_unknown_names_list_the_known() -> None:
    assert set(ENCODERS) == set(CARDS) and all(name == card.name for name, card in CARDS.items())
    with pytest.raises(InputError, match="sentences"):
        load("no-such-encoder")


def test_the_table_imports_no_heavy_library() -> None:
    code = (
        "import sys, oddwatch.encoders, oddwatch.encoders.vit as v; v.encoder_id(224);"
        "print([m for m in ('onnxruntime', 'cv2', 'torch', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_tokens_have_their_shapes_and_the_batch_does_not_matter(patches: PatchEncoder) -> None:
    assert isinstance(patches, ImageEncoder)
    frames = [picture(0), picture(1, 40, 200), np.zeros((1, 1, 3), np.uint8), picture(3, 300, 60), picture(4)]
    tokens = patches.encode(frames, layers=("block_6", "last"))
    assert tokens.cls.shape == (5, 384) and tokens.grid == (16, 16)
    assert {n: a.shape for n, a in tokens.layers.items()} == {"block_6": (5, 256, 384), "last": (5, 256, 384)}
    assert np.isfinite(tokens.cls).all()
    alone = patches.encode(frames[3:4], layers=("block_6",))
    assert np.abs(alone.cls[0] - tokens.cls[3]).max() < 1e-4
    assert np.abs(alone.layers["block_6"][0] - tokens.layers["block_6"][3]).max() < 1e-4
    assert not np.allclose(tokens.cls[0], tokens.cls[4], atol=0.1)


def test_threads_do_not_matter(patches: PatchEncoder) -> None:
    one = PatchEncoder(threads=1).encode([picture(0)]).cls
    assert np.abs(one - patches.encode([picture(0)]).cls).max() < 1e-3


def test_golden_tokens(patches: PatchEncoder) -> None:
    # From the float32 graph of the origin; int8 rounding moves them a little.
    golden = json.loads((Path(__file__).parent / "golden_cls.json").read_text())
    cls = patches.encode([picture(0), picture(1)]).cls
    for found, expected in zip(cls, np.array(golden["cls"]), strict=True):
        cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine > 0.98


@pytest.mark.slow
def test_448_gives_a_finer_grid_of_the_same_picture(patches: PatchEncoder) -> None:
    fine = PatchEncoder(448, threads=2)
    assert fine.id == encoder_id(448) != patches.id == encoder_id(224)
    a, b = fine.encode([picture(0)]), patches.encode([picture(0)])
    assert a.grid == (32, 32) and a.layers["last"].shape == (1, 1024, 384)
    pooled = a.layers["last"].reshape(16, 2, 16, 2, 384).mean(axis=(1, 3)).reshape(256, 384)
    coarse = b.layers["last"][0]
    cosine = (pooled * coarse).sum(1) / np.linalg.norm(pooled, axis=1) / np.linalg.norm(coarse, axis=1)
    assert cosine.mean() > 0.6
    assert (
        np.mean(
            cosine
            > (pooled * coarse[::-1]).sum(1)
            / np.linalg.norm(pooled, axis=1)
            / np.linalg.norm(coarse[::-1], axis=1)
        )
        > 0.75
    )


def test_no_frames_and_wrong_input(patches: PatchEncoder) -> None:
    nothing = patches.encode([], layers=LAYERS)
    assert nothing.cls.shape == (0, 384) and nothing.layers["block_1"].shape == (0, 256, 384)
    with pytest.raises(InputError, match="block_13"):
        patches.encode([picture(0)], layers=("block_13",))
    with pytest.raises(InputError):
        patches.encode([np.zeros((4, 4, 3), np.float32)])
    for wrong in ({"resolution": 225}, {"batch": 0}, {"fit": "stretch"}, {"threads": 0}, {"device": "tpu"}):
        with pytest.raises(InputError):
            PatchEncoder(**wrong)  # type: ignore[arg-type]


def test_scale_and_offset_put_the_input_back_on_the_picture() -> None:
    pixels = picture(0, 100, 200)
    _, scale, offset = fit_square(pixels, 224, "squash")
    assert (scale[0] * 224 + offset[0], scale[1] * 224 + offset[1]) == pytest.approx((200, 100))
    square, scale, offset = fit_square(pixels, 224, "pad")
    assert square[:56].max() == 0 and square[57:167].max() > 0
    assert (scale[0] * 0 + offset[0], scale[1] * 56 + offset[1]) == pytest.approx((0, 0))
    assert (scale[0] * 224 + offset[0], scale[1] * 168 + offset[1]) == pytest.approx((200, 100))


def test_resizing_shrinks_without_aliasing_on_each_axis() -> None:
    stripes = np.zeros((64, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize(stripes, 128, 128)
    assert small.shape == (128, 128, 3) and np.abs(small.astype(int) - 128).max() <= 1


def test_sentence_vectors(sentences: SentenceEncoder) -> None:
    assert isinstance(sentences, TextEncoder)
    texts = [
        "a red coat",
        "a red jacket",
        "a person wearing no helmet",
        "a person wearing a helmet",
        "stock prices rose",
    ]
    v = sentences.encode(texts)
    assert (
        v.shape == (5, 384) and v.dtype == np.float32 and np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5)
    )
    assert v[0] @ v[1] == pytest.approx(0.79, abs=0.06)
    assert v[2] @ v[3] > 0.7, "negation is not in the vector: the parser has to handle it"
    assert abs(v[0] @ v[4]) < 0.25
    for i, text in enumerate(texts):
        assert np.abs(sentences.encode([text])[0] - v[i]).max() < 1e-4


def test_the_mean_of_the_tokens_is_the_sentence(sentences: SentenceEncoder) -> None:
    texts = ["a man", "a man lying on the ground beside a bicycle", "two women", ""]
    found = sentences.tokens(texts)
    assert [len(t) for t in found] == [4, 11, 4, 2] and {t.dtype.name for t in found} == {"float32"}
    for tokens, vector in zip(found, sentences.encode(texts), strict=True):
        mean = tokens.mean(axis=0)
        assert tokens.shape[1] == 384 and np.abs(mean / np.linalg.norm(mean) - vector).max() < 1e-5
    alone = sentences.tokens(texts[1:2])[0]
    assert np.abs(alone - found[1]).max() < 1e-4
    # One word is another token; what stands around it only takes notice.
    one, other = sentences.tokens(["a man in a red jacket", "a man in a blue jacket"])
    moved = np.linalg.norm(one - other, axis=1)
    assert moved.argmax() == 5 and moved.min() > 0


def test_tokens_are_cut(sentences: SentenceEncoder) -> None:
    long = "a man in a red jacket " * 60
    assert [len(t) for t in sentences.tokens([long, "a man"], 20)] == [20, 4]
    assert len(sentences.tokens([long])[0]) == 256
    assert sentences.tokens([]) == []
    with pytest.raises(InputError):
        sentences.tokens("a man")
    with pytest.raises(InputError, match=r"texts\[1\]"):
        sentences.tokens(["a", None])  # type: ignore[list-item]


def test_blanks_stand_between_the_parts(sentences: SentenceEncoder) -> None:
    tokens, places = sentences.blanked(["a man in a ", " jacket is ", " on the ground."])
    # [CLS] a man in a [MASK] jacket is [MASK] on the ground . [SEP]
    assert tokens.shape == (14, 384) and places == [5, 8]
    whole, none = sentences.blanked(["a man in a red jacket"])
    assert none == [] and np.abs(whole - sentences.tokens(["a man in a red jacket"])[0]).max() < 1e-4
    assert sentences.blanked(["", ""])[1] == [1] and len(sentences.blanked(["", ""])[0]) == 3
    # The blank is a sign of its own: no word of the sentence gives the same tokens.
    (said,) = sentences.tokens(["a man in a mask jacket"])
    assert np.abs(sentences.blanked(["a man in a", "jacket"])[0] - said).max() > 0.1
    with pytest.raises(InputError, match="list"):
        sentences.blanked("a man")


def test_blanks_beyond_the_last_token_have_no_place(sentences: SentenceEncoder) -> None:
    parts = ["one two three", "four five", "six", "seven"]
    full, places = sentences.blanked(parts)
    assert len(full) == 12 and places == [4, 7, 9]
    for most, kept in ((12, 3), (11, 3), (10, 2), (9, 2), (8, 1), (5, 0)):
        tokens, some = sentences.blanked(parts, most)
        assert len(tokens) == most and some == places[:kept]
    assert len(sentences.blanked(["word " * 400, "end"])[0]) == 256


def test_sentences_that_are_none(sentences: SentenceEncoder) -> None:
    assert sentences.encode([]).shape == (0, 384)
    assert np.isfinite(sentences.encode(["", "🙂", "x" * 10000])).all()
    with pytest.raises(InputError, match="one string"):
        sentences.encode("a man")
    with pytest.raises(InputError, match=r"texts\[1\]"):
        sentences.encode(["a", 3])  # type: ignore[list-item]


def test_letterbox_keeps_the_aspect_and_pads_to_32() -> None:
    canvas, scale = letterbox(np.full((100, 300, 3), 9, np.uint8), 256)
    assert canvas.shape == (96, 256, 3) and canvas[84, 255, 0] == 9 and canvas[86:].max() == 0
    assert scale == pytest.approx((256 / 300, 85 / 100))


def test_pose_output_is_read_into_picture_pixels() -> None:
    found = np.zeros((6, 56), np.float32)
    found[0, 51:56] = 0.1, 0.25, 0.6, 0.5, 0.05
    found[1, 51:56] = 0.1, 0.25, 0.6, 0.5, 0.9
    found[1, :3] = 0.2, 0.5, 0.7
    found[2, 51:56] = 0.0, 0.9, 0.5, 1.4, 0.4
    people = read_people(found, (128, 256), (0.5, 0.5), (200, 500))
    assert [p.score for p in people] == pytest.approx([0.9, 0.4])
    assert people[0].box.as_list() == pytest.approx([128, 25.6, 256, 153.6])
    assert people[0].pose is not None and people[0].pose.points[0] == pytest.approx([256, 51.2, 0.7])
    assert people[1].box.x1 == 500


def test_nobody_on_an_empty_wall_and_wrong_input(pose: PoseModel) -> None:
    assert pose.detect(np.full((120, 160, 3), 128, np.uint8), 256) == []
    with pytest.raises(InputError, match="long_side"):
        pose.detect(picture(0), 300)
    with pytest.raises(InputError, match="uint8"):
        pose.detect(np.zeros((9, 9, 3)), 256)


@pytest.mark.parametrize(("size", "rows"), [("256x256", slice(0, 256)), ("192x256", slice(32, 224))])
def test_the_rewritten_pose_graph_gives_what_its_origin_gave(size: str, rows: slice) -> None:
    # street.png is a part of a generated frame; the golden rows are the origin's outputs on it.
    here = Path(__file__).parent
    golden = np.array(json.loads((here / "golden_pose.json").read_text())[size])
    with Image.open(here / "street.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))[rows]
    found = session(weights.path("pose"), 2, "cpu").run(None, {"input": pixels[None].astype(np.int32)})[0][0]
    sure = golden[:, 55] > 0.1
    assert found.shape == (6, 56) and sure.sum() >= 2
    assert np.abs(found[sure] - golden[sure]).max() < 1e-3


def test_the_smallest_picture_passes_and_the_id_names_the_weights(pose: PoseModel, tmp_path: Path) -> None:
    assert pose.detect(np.zeros((1, 1, 3), np.uint8), 32) == []
    digest = next(e["sha256"] for e in weights.manifest() if e["name"] == "pose")
    assert pose.id == pose_id() and digest[:8] in pose.id
    (tmp_path / "pose.onnx").write_bytes(b"other weights")
    assert pose_id(tmp_path / "pose.onnx") != pose_id(weights.path("pose")) != pose.id


def test_people_on_a_real_frame(pose: PoseModel, data_folder: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(data_folder / "people_videos" / "vtest.avi")) as video:
        pixels = next(video.decode(video=0)).to_ndarray(format="rgb24")
    people = pose.detect(pixels, 768)
    assert len(people) >= 3
    assert all(1.2 < p.box.height / p.box.width < 5 for p in people)
    left = pose.detect(np.ascontiguousarray(pixels[:, ::-1]), 768)
    best = people[0].box
    assert max(best.iou(type(best)(768 - p.box.x1, p.box.y0, 768 - p.box.x0, p.box.y1)) for p in left) > 0.5


@pytest.fixture
def data_folder() -> Path:
    import os

    root = Path(os.environ.get("ODDWATCH_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not (root / "people_videos" / "vtest.avi").is_file():
        pytest.skip(f"no people_videos/vtest.avi in {root}")
    return root


def test_manifest_is_whole() -> None:
    rows = weights.check()
    assert {r["name"] for r in rows} == {"pose", "patches", "positions", "sentences", "vocabulary"}
    assert all(r["ok"] for r in rows)
    assert sum(r["size"] for r in rows) < 62e6
    notice = (weights.FOLDER / "NOTICE").read_text(encoding="utf-8")
    for row in rows:
        assert row["sha256"] in notice and row["origin_sha256"] in notice and row["licence"] in notice


def test_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    entry = {
        "name": "toy",
        "file": "toy.bin",
        "sha256": "0" * 64,
        "size": 3,
        "licence": "none",
        "origin": "here",
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": [entry]}))
    with pytest.raises(ModelError, match="missing"):
        weights.path("toy", tmp_path)
    (tmp_path / "toy.bin").write_bytes(b"abcd")
    with pytest.raises(ModelError, match="3 bytes"):
        weights.path("toy", tmp_path)
    (tmp_path / "toy.bin").write_bytes(b"abc")
    with pytest.raises(ModelError, match="SHA-256"):
        weights.path("toy", tmp_path)
    assert [r["ok"] for r in weights.check(tmp_path)] == [False]
    with pytest.raises(ModelError, match="toy"):
        weights.path("other", tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ModelError, match="manifest"):
        weights.manifest(tmp_path)


def test_a_file_given_by_path_wins(tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"not a graph")
    assert weights.path(own) == own
    with pytest.raises(ModelError, match=r"own\.onnx"):
        session(own)
    with pytest.raises(ModelError, match="no such"):
        session(tmp_path / "absent.onnx")


def test_cuda_is_refused_where_there_is_none() -> None:
    assert providers("cpu") == ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in providers("auto"):
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="onnxruntime-gpu"):
        providers("cuda")


def test_the_exact_product_is_taken_where_the_fast_one_overflows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = product_may_overflow.__wrapped__
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags : fpu avx2 avx_vnni\n")
    assert not ask(info)
    info.write_text("processor : 0\nflags : fpu avx2\n")
    assert ask(info) and ask(tmp_path / "absent")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not ask(info)


def test_pull_without_a_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="comes with the torch extra")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"nobody/model.*no route"):
        weights.pull("nobody/model")
