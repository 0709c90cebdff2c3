"""Detectors as ONNX files: from pixels to the detector's numbers, thresholds beside it, no file that differs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oddwatch.cli.app import app
from oddwatch.core import InputError, ModelError
from oddwatch.detectors import DEFAULT
from oddwatch.detectors.image import onnx_graph
from oddwatch.encoders import weights
from oddwatch.pipeline import export as module
from oddwatch.pipeline.detect_setup import DetectOptions, prepare, save
from oddwatch.pipeline.export import Parity, export

onnx = pytest.importorskip("onnx")

SIDE = 112
QUICK = DetectOptions(
    "subspace", arguments={"rotations": 0}, resolution=SIDE, layers=("block_2", "block_3"), folds=2
)


@pytest.fixture(scope="module")
def good(tmp_path_factory, plates) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for i, pixels in enumerate(plates(6, 1, size=(90, 130))):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def exported(good, tmp_path_factory):
    return export(tmp_path_factory.mktemp("out") / "model.onnx", good, options=QUICK)


def test_the_file_alone_gives_the_detectors_scores(exported, good, plates):
    import cv2
    import onnxruntime

    from oddwatch.detectors import load

    pictures = [np.array(Image.open(p)) for p in sorted(good.iterdir())]
    detector = load("subspace", encoder="patches", resolution=SIDE, layers=QUICK.layers, rotations=0)
    theirs = detector.fit(pictures).score(odd := plates(3, 4, odd=True, size=(300, 200)))
    run = onnxruntime.InferenceSession(Path(exported.model).read_bytes(), providers=["CPUExecutionProvider"])
    assert [i.name for i in run.get_inputs()] == ["pixels"]
    squares = np.stack([cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in odd])
    score, full = run.run(["score", "map"], {"pixels": squares})
    np.testing.assert_allclose(score, theirs.values, rtol=1e-3)
    np.testing.assert_allclose(full, theirs.maps, atol=1e-3 * theirs.maps.max())


def test_products_of_whole_numbers_are_exact_everywhere(good, tmp_path, exported):
    kinds = {n.op_type for n in onnx.load(exported.model).graph.node}
    assert (
        "MatMulIntegerToFloat" not in kinds
        and json.loads(Path(exported.about).read_text())["session_options"] == {}
    )
    kept = export(tmp_path / "m.onnx", good, options=QUICK, int8=True)
    assert kept.parity.passed
    assert "MatMulIntegerToFloat" in {n.op_type for n in onnx.load(kept.model).graph.node}
    assert json.loads(Path(kept.about).read_text())["session_options"] == {"session.x64quantprecision": "1"}


@pytest.mark.parametrize("optional", [("a_zero", "b_zero", "bias"), ("a_zero", "b_zero"), ("", "b_zero"), ()])
def test_exact_products_equal_the_product_of_whole_numbers(optional):
    import onnxruntime

    rng, helper = np.random.default_rng(0), onnx.helper
    a, b = (
        rng.integers(0, 256, (2, 3, 500)).astype(np.uint8),
        rng.integers(-128, 128, (500, 4)).astype(np.int8),
    )
    values = {
        "b": b, "a_step": np.float32([0.5]), "b_step": rng.random(4).astype(np.float32),
        "a_zero": np.uint8([3]), "b_zero": np.int8([1, -2, 0, 5]), "bias": rng.random(4).astype(np.float32),
    }  # fmt: skip
    node = helper.make_node(
        "MatMulIntegerToFloat", ["a", "b", "a_step", "b_step", *optional], ["y"], domain="com.microsoft"
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, a.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3, 4])],
        [onnx.numpy_helper.from_array(v, n) for n, v in values.items()],
    )  # fmt: skip
    onnx_graph.exact_products(onnx, graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    whole_a = a.astype(np.int64) - (3 if "a_zero" in optional else 0)
    whole_b = b.astype(np.int64) - (values["b_zero"].astype(np.int64) if "b_zero" in optional else 0)
    expected = (whole_a @ whole_b) * (0.5 * values["b_step"]) + (values["bias"] if "bias" in optional else 0)
    np.testing.assert_allclose(run.run(None, {"a": a})[0], expected, rtol=1e-6)


def test_what_lies_beside_the_file(exported):
    about = json.loads(Path(exported.about).read_text())
    assert about["model"] == "model.onnx" and about["method"] == "subspace"
    assert about["sha256"] == hashlib.sha256(Path(exported.model).read_bytes()).hexdigest()
    assert about["input"] == {"name": "pixels", "shape": ["N", SIDE, SIDE, 3], "type": "uint8"}
    assert set(about["outputs"]) == {"score", "map"} and about["preprocessing"]["fit"] == "squash"
    assert about["arguments"]["layers"] == ["block_2", "block_3"]
    assert len(about["normal_scores"]) == 6 and about["normal_scores"] == sorted(about["normal_scores"])
    rates = [row["rate"] for row in about["thresholds"]]
    scores = [row["score"] for row in about["thresholds"]]
    assert 0.01 in rates and rates == sorted(rates) and scores == sorted(scores, reverse=True)
    assert all(row["map"] > 0 for row in about["thresholds"])


def test_the_check_holds_and_covers_defects(exported):
    parity = exported.parity
    assert parity.pictures == 10 and parity.passed and parity.flips == 0
    assert parity.scores < 1e-3 and parity.maps is not None and parity.maps < 1e-3


@pytest.mark.parametrize("keep", [False, True])
def test_a_file_that_differs_is_not_kept_unless_asked(keep, good, tmp_path, monkeypatch):
    true = onnx_graph.line_weights
    monkeypatch.setattr(onnx_graph, "line_weights", lambda *a: 1.001 * true(*a))
    with pytest.raises(ModelError, match="differs"):
        export(tmp_path / "a.onnx", good, options=QUICK, keep=keep)
    assert (tmp_path / "a.onnx").exists() is keep
    assert (tmp_path / "a.json").exists() is keep
    export(tmp_path / "a.onnx", good, options=QUICK, tolerance=0.01)


@pytest.mark.parametrize(
    ("scores", "maps", "passed"), [(9e-4, 9e-4, True), (9e-4, None, True), (2e-3, 0, False), (0, 2e-3, False)]
)
def test_both_differences_count(scores, maps, passed):
    assert Parity(3, scores, maps, 0, 1e-3).passed is passed


def test_differences_are_shares_of_the_largest_value():
    assert module._difference(np.array([1.0, 4.2]), np.array([1.1, 4.0])) == pytest.approx(0.05)
    assert module._difference(np.zeros(2), np.zeros(2)) == 0
    assert not module._difference(np.array([np.nan]), np.ones(1)) <= 1e9


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        (DEFAULT["image"], {}),
        ("patchcore", {}),
        ("anomalydino", {"rotations": 1}),
        ("padim", {}),
        ("mvg", {}),
    ],
)
def test_other_methods_from_pixels(method, arguments, good, tmp_path):
    options = DetectOptions(method, arguments, resolution=SIDE, layers=("block_2",), folds=2)
    report = export(tmp_path / "m.onnx", good, options=options)
    assert report.parity.passed and (report.parity.maps is None) is (method == "mvg")


def test_a_saved_detector_is_exported_without_its_normals(good, tmp_path, plates):
    normal = [np.array(Image.open(p)) for p in sorted(good.iterdir())]
    from oddwatch.core import Frame

    ready = prepare(
        [Frame(p) for p in normal], [str(i) for i in range(6)], [str(i) for i in range(6)], QUICK, None
    )
    folder = save(ready, tmp_path / "kept")
    with pytest.raises(InputError, match="pictures"):
        export(tmp_path / "m.onnx", detector=folder)
    report = export(tmp_path / "m.onnx", detector=folder, pictures=good)
    assert report.method == "subspace" and report.parity.passed
    assert report.thresholds[3]["score"] == pytest.approx(ready.calibration.threshold(0.01).value)
    with pytest.raises(InputError, match="subspace"):
        export(tmp_path / "m.onnx", detector=folder, pictures=good, method="padim")


def test_an_encoder_that_pads(good, tmp_path):
    from oddwatch.encoders.vit import PatchEncoder

    pictures = [np.array(Image.open(p)) for p in sorted(good.iterdir())]
    from oddwatch.core import Frame
    from oddwatch.detectors import load
    from oddwatch.pipeline.detect_setup import Ready

    eyes = PatchEncoder(SIDE, fit="pad")
    detector = load("subspace", encoder=eyes, resolution=SIDE, layers=("block_2",), rotations=0).fit(pictures)
    ready = Ready(detector, "subspace", None, "patches", None)
    path = tmp_path / "m.onnx"
    path.write_bytes(module.graph_of(ready).SerializeToString())
    assert module.compare(ready, path, pictures[:2]).passed
    assert detector.score([Frame(pictures[0])]).maps.shape == (1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (DetectOptions("dictas"), "dictas"),
        (DetectOptions("musc"), "one of"),
        (DetectOptions("subspace", tiles=(2, 2)), "tiles"),
        (DetectOptions("subspace", encoder="some/model"), "encoder"),
    ],
)
def test_what_cannot_be_exported_is_told_before_anything_is_fitted(options, match, good, tmp_path):
    with pytest.raises(InputError, match=match):
        export(tmp_path / "m.onnx", good, options=options)
    assert not list(tmp_path.iterdir())


def test_wrong_calls(good, tmp_path):
    with pytest.raises(InputError, match="onnx"):
        export(tmp_path / "m.bin", good)
    with pytest.raises(InputError, match="one of them"):
        export(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="one of them"):
        export(tmp_path / "m.onnx", good, detector=tmp_path)


def test_the_verb(good, tmp_path):
    out = tmp_path / "deep" / "m.onnx"
    words = [
        "export",
        "subspace",
        "--normal",
        str(good),
        "--out",
        str(out),
        "-o",
        "rotations=0",
        "--resolution",
        str(SIDE),
    ]
    done = CliRunner().invoke(app, [*words, "--layers", "block_2", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert Path(said["model"]) == out and out.exists() and said["parity"]["flips"] == 0
    done = CliRunner().invoke(app, [*words, "--layers", "block_2"])
    assert done.exit_code == 0 and "checked: 10 pictures" in done.stdout and "0.01" in done.stdout
    done = CliRunner().invoke(app, ["export", "--detector", str(tmp_path), *words[2:]])
    assert isinstance(done.exception, InputError)


def test_the_packaged_encoder_is_the_one_inside(exported):
    inside = {i.name for i in onnx.load(exported.model).graph.initializer}
    whole = {i.name for i in onnx.load(str(weights.path("patches"))).graph.initializer}
    assert "positions" in inside and len(inside & whole) > 20
    assert (
        exported.bytes < 0.6 * weights.path("patches").stat().st_size
    )  # without the blocks behind the third
