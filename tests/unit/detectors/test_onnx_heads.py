"""Detectors as ONNX nodes: each gives the detector's own scores and maps on the same tokens."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from oddwatch.core import InputError, LimitError
from oddwatch.detectors import load
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import ImageDetector

onnx = pytest.importorskip("onnx")

from oddwatch.detectors.image import onnx_graph  # noqa: E402
from oddwatch.detectors.image.onnx_graph import Graph, line_weights  # noqa: E402
from oddwatch.detectors.image.onnx_heads import HEADS, head, layers_read  # noqa: E402

HAS_TORCH = importlib.util.find_spec("torch") is not None
MIDDLE = {"layers": ("block_6", "block_9")}
CASES = [
    ("parts-and-whole", {"rotations": 0, **MIDDLE, "levels": ("block_6", "block_10"), "enough": 4}),
    ("parts-and-whole", {"rotations": 0, **MIDDLE, "whole": False}),
    ("subspace", {"rotations": 0}),
    ("subspace", {"rotations": 0, "measure": "cosine", "kernel": None}),
    ("subspace", {"rotations": 0, "measure": "euclidean", "drop": 1}),
    ("subspace", {"rotations": 0, "measure": "mahalanobis"}),
    ("patchcore", MIDDLE),
    ("patchcore", {**MIDDLE, "unit": False, "side": 1}),
    ("patchcore", {**MIDDLE, "reweight": True}),
    ("anomalydino", {"rotations": 1}),
    ("anomalydino", {"rotations": 1, "identity": True}),
    ("padim", {"channels": 20, **MIDDLE}),
    ("padim", {"channels": 500, **MIDDLE, "unit": False}),
    ("mvg", MIDDLE),
    ("mvg", {**MIDDLE, "kind": "npca"}),
    ("fastflow", {**MIDDLE, "blocks": 3, "steps": 3}),
    ("fastflow", {"layers": ("block_8",), "blocks": 2, "steps": 2, "measure": "energy", "kernels": (1,)}),
]


def run(detector: ImageDetector, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Score and map from a graph whose inputs are the layers' outputs, class token first."""
    import onnxruntime

    layers = layers_read(detector)
    tokens = detector.eyes.encode(pictures, layers)
    graph = Graph(tokens.grid)
    names = dict(zip(("score", "map"), head(detector, graph), strict=True))
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    cls = tokens.cls[:, None]
    given = {n: np.concatenate([cls, tokens.layers[n]], 1).astype(np.float32) for n in layers}
    nodes = [*graph.nodes, *(helper.make_node("Identity", [v], [n]) for n, v in names.items() if v)]
    inputs = [helper.make_tensor_value_info(n, kind, ["N", *v.shape[1:]]) for n, v in given.items()]
    shapes = {"score": ["N"], "map": ["N", *(14 * n for n in tokens.grid)]}
    outputs = [helper.make_tensor_value_info(n, kind, shapes[n]) for n, v in names.items() if v]
    body = helper.make_graph(nodes, "test", inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid("", onnx_graph.OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = [o.name for o in session.get_outputs()]
    return dict(zip(wanted, session.run(wanted, given), strict=True))


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_the_nodes_give_the_detectors_numbers(name, arguments, toy_eyes, plates):
    if name == "fastflow" and not HAS_TORCH:
        pytest.skip("needs torch")
    detector = load(name, encoder=toy_eyes(), **arguments)
    assert isinstance(detector, ImageDetector)
    detector.fit(plates(6, 1))
    items = [*plates(3, 2), *plates(2, 3, odd=True)]
    ours, theirs = run(detector, items), detector.score(items)
    assert ours["score"].shape == (5,)
    np.testing.assert_allclose(ours["score"], theirs.values, rtol=2e-5, atol=1e-5 * theirs.values.max())
    assert ("map" in ours) is (theirs.maps is not None)
    if theirs.maps is not None:
        np.testing.assert_allclose(ours["map"], theirs.maps, rtol=0, atol=2e-5 * float(theirs.maps.max()))


def test_every_head_has_a_case():
    assert {name for name, _ in CASES} == set(HEADS)


@pytest.mark.parametrize(("sigma", "kernel"), [(0.0, None), (4.0, None), (4.0, 3)])
def test_upsampling_is_one_matrix_a_side(sigma, kernel):
    patches = np.random.default_rng(0).random((1, 5, 7)).astype(np.float32)
    down, across = line_weights(5, sigma, kernel), line_weights(7, sigma, kernel)
    full = maps.upsample(patches, (70, 98), sigma=sigma, kernel=kernel)[0]
    np.testing.assert_allclose(down @ patches[0] @ across.T, full, atol=1e-6)
    np.testing.assert_allclose(down.sum(1), 1, atol=1e-5)


def test_a_method_or_option_without_such_a_form(toy_eyes, plates):
    with pytest.raises(InputError, match="subspace"):
        head(load("musc", encoder=toy_eyes()), Graph((8, 8)))
    masked = load("anomalydino", encoder=toy_eyes(), mask="pc", rotations=1).fit(plates(2, 1))
    with pytest.raises(InputError, match="mask=none"):
        head(masked, Graph((8, 8)))


def test_a_graph_does_not_grow_beyond_what_a_file_can_hold(monkeypatch):
    monkeypatch.setattr(onnx_graph, "MOST_BYTES", 100)
    graph = Graph((8, 8))
    graph.const(np.zeros(20))
    with pytest.raises(LimitError, match="keep"):
        graph.const(np.zeros(20))
