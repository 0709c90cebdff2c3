"""Fitted detectors as the ONNX nodes behind their encoder: one function a method, which repeats its ``_patches`` and
``_scored`` with its fitted arrays as constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from oddwatch.core import InputError
from oddwatch.detectors.image.anomalydino import AnomalyDINO
from oddwatch.detectors.image.bank import MemoryBank
from oddwatch.detectors.image.base import ImageDetector
from oddwatch.detectors.image.fastflow import AFFINE, CLAMP, FastFlow, part_of
from oddwatch.detectors.image.mvg import MVG
from oddwatch.detectors.image.onnx_graph import Graph
from oddwatch.detectors.image.padim import PaDiM
from oddwatch.detectors.image.patchcore import PatchCore
from oddwatch.detectors.image.subspace import SubspaceAD
from oddwatch.detectors.image.tokens import EPS
from oddwatch.detectors.image.whole import PartsAndWhole

Outputs = tuple[str, str | None]
"""Names of the score (N,) and of the map (N, 14·rows, 14·columns), None for a method without maps."""


def head(detector: ImageDetector, graph: Graph) -> Outputs:
    """Add the nodes of a fitted ``detector``; layers are read by their names.

    Raises:
        InputError: a method that has no such form, or an option of it that has none.
    """
    make = HEADS.get(detector.NAME)
    if make is None:
        raise InputError(
            f"method {detector.NAME}", "cannot be exported to ONNX", f"one of: {', '.join(sorted(HEADS))}"
        )
    return make(detector, graph)


def layers_read(detector: ImageDetector) -> tuple[str, ...]:
    """The encoder's outputs that the nodes read: the layers, and the last one where the class token counts."""
    more: tuple[str, ...] = ()
    if isinstance(detector, AnomalyDINO) and detector.identity:
        more = ("last",)
    elif isinstance(detector, PartsAndWhole):
        more = detector.levels
    return tuple(dict.fromkeys((*detector.layers, *more)))


def _subspace(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, SubspaceAD)
    return _residual(detector, g, g.mean_of(detector.layers))


def _residual(detector: SubspaceAD, g: Graph, x: str) -> Outputs:
    """Of tokens ``x`` (N, T, D)."""
    mean, basis, measure = g.const(detector.mean), g.const(detector.basis), detector.measure
    centred = g.op("Sub", x, mean)
    inside = g.op("MatMul", centred, basis)
    if measure == "residual":
        squares = [g.op("ReduceSumSquare", v, axes=[2], keepdims=0) for v in (centred, inside)]
        left = g.op("Sub", *squares)
    elif measure == "cosine":
        again = g.op("Add", g.op("MatMul", inside, g.op("Transpose", basis, perm=[1, 0])), mean)
        product = g.op("Mul", g.unit(x), g.unit(again))
        cosine = g.op("ReduceSum", product, g.ints(2), keepdims=0)
        left = g.op("Sub", g.const(1.0), cosine)
    else:
        if measure == "mahalanobis":
            inside = g.op("Div", inside, g.const(np.sqrt(detector.variances + 1e-6)))
        left = g.op("ReduceSumSquare", inside, axes=[2], keepdims=0)
    patches = g.patches(g.op("Max", left, g.const(0.0)))
    full = g.upsample(patches, detector.sigma, detector.kernel)
    return g.top_mean(full, 0.01, 14 * 14 * g.grid[0] * g.grid[1]), full


def _parts_and_whole(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, PartsAndWhole) and detector.scale is not None
    (part, spread), (whole, whole_spread) = detector.scale.tolist()
    score, full = _residual(detector._parts, g, g.mean_of(detector.layers))
    score = g.op("Div", g.op("Sub", score, g.const(part)), g.const(spread))
    if whole_spread > 0:
        far = g.op("Sub", _distances(detector._whole, g), g.const(whole, np.float64))
        far = g.op("Div", far, g.const(whole_spread, np.float64))
        score = g.op("Add", score, g.op("Cast", far, to=g.onnx.TensorProto.FLOAT))
    return score, full


def _patchcore(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, PatchCore) and detector.vectors is not None
    parts = [g.unit(g.tokens(n)) if detector.unit else g.tokens(n) for n in detector.layers]
    x = g.op("Concat", *[g.pool(part, detector.side) for part in parts], axis=-1)
    queries = g.rows(x, detector.vectors.shape[1])
    squares, index, bank = g.nearest(queries, detector.vectors)
    patches = g.patches(g.op("Sqrt", squares))
    score = g.highest(patches)
    if detector.reweight and len(detector.vectors) > 1:
        score = g.op("Mul", score, _reweighted(detector, g, x, patches, index, bank))
    return score, g.upsample(patches, detector.sigma)


def _reweighted(detector: PatchCore, g: Graph, x: str, patches: str, index: str, bank: str) -> str:
    """(N,) weights of the highest patches: 1 − softmax of the distance to its nearest, among the nearest's neighbours."""
    assert detector.vectors is not None
    near = min(detector.neighbours, len(detector.vectors))
    around = MemoryBank().add(detector.vectors).knn(detector.vectors, near)[1]
    worst = g.op("ArgMax", g.op("Flatten", patches), axis=1, keepdims=1)
    query = g.op("GatherND", x, worst, batch_dims=1)
    by_picture = g.op("Reshape", index, g.ints(-1, g.grid[0] * g.grid[1]))
    nearest = g.op("GatherND", by_picture, worst, batch_dims=1)
    others = g.op("Gather", bank, g.op("Gather", g.const(around, np.int64), nearest, axis=0), axis=0)
    away = g.length(g.op("Sub", others, g.op("Unsqueeze", query, g.ints(1))), axis=2, keep=False)
    own = g.length(g.op("Sub", g.op("Gather", bank, nearest, axis=0), query), axis=1)
    top = g.op("ReduceMax", away, axes=[1], keepdims=1)
    total = g.op("ReduceSum", g.op("Exp", g.op("Sub", away, top)), g.ints(1), keepdims=1)
    share = g.op("Div", g.op("Exp", g.op("Sub", own, top)), total)
    return g.op("Squeeze", g.op("Sub", g.const(1.0), share), g.ints(1))


def _anomalydino(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, AnomalyDINO) and detector.vectors is not None
    if detector.masks:
        raise InputError(
            "mask", "the foreground of a picture cannot be told inside an ONNX graph", "fit with -o mask=none"
        )
    rows = g.rows(g.unit(g.mean_of(detector.layers)), detector.vectors.shape[1])
    squares, _, _ = g.nearest(rows, np.asarray(detector.vectors, np.float32))
    patches = g.patches(g.op("Div", squares, g.const(2.0)))
    score = g.top_mean(patches, 0.01, g.grid[0] * g.grid[1])
    if detector.identity and detector.classes is not None:
        cls = g.unit(g.op("Gather", "last", g.const(0, np.int64), axis=1))
        cosine = g.op("ReduceMax", g.op("MatMul", cls, g.const(detector.classes.T)), axes=[1], keepdims=0)
        farther = g.op("Sub", g.const(1.0 - detector.own), cosine)
        score = g.op("Add", score, g.op("Max", farther, g.const(0.0)))
    return score, g.upsample(patches, detector.sigma)


def _padim(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, PaDiM) and detector.mean is not None
    width = detector.eyes.dim
    which = np.random.default_rng(detector.seed).permutation(width * len(detector.layers))[
        : detector.channels
    ]
    which.sort()
    parts = []
    for i, name in enumerate(detector.layers):
        x = g.tokens(name)
        own = which[(which >= i * width) & (which < (i + 1) * width)] - i * width
        part = g.op("Gather", x, g.const(own, np.int64), axis=2)
        if detector.unit:
            squares = g.op("ReduceMean", g.op("Mul", x, x), axes=[2])
            part = g.op("Div", part, g.op("Sqrt", g.op("Max", squares, g.const(EPS))))
        parts.append(part)
    away = g.op(
        "Transpose", g.op("Sub", g.op("Concat", *parts, axis=2), g.const(detector.mean)), perm=[1, 2, 0]
    )
    whiten = g.const(detector._moments().whitening(detector.regular))
    along = g.length(g.op("MatMul", whiten, away), axis=1, keep=False)
    full = g.upsample(g.patches(g.op("Transpose", along, perm=[1, 0])), detector.sigma)
    return g.highest(full), full


def _mvg(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, MVG)
    return g.op("Cast", _distances(detector, g), to=g.onnx.TensorProto.FLOAT), None


def _distances(detector: MVG, g: Graph) -> str:
    """(N,) in double precision, as the detector: directions in which normal pictures hardly vary weigh much."""
    double = g.onnx.TensorProto.DOUBLE
    distances = []
    for name, gaussian in zip(detector.layers, detector._gaussians, strict=True):
        mean = g.op("ReduceMean", g.op("Cast", g.tokens(name), to=double), axes=[1], keepdims=0)
        away = g.op("Sub", mean, g.const(gaussian.mean, np.float64))
        along = g.op("MatMul", away, g.const(gaussian.whiten, np.float64))
        squares = g.op("ReduceSum", g.op("Mul", along, along), g.ints(1), keepdims=0)
        distances.append(g.op("Sqrt", squares))
    return g.op("Sum", *distances)


def _fastflow(detector: ImageDetector, g: Graph) -> Outputs:
    assert isinstance(detector, FastFlow)
    levels = []
    for name in detector.layers:
        flow = part_of(detector.flows, name)
        x = g.tokens(name)
        x = g.op("Sub", x, g.op("ReduceMean", x, axes=[2]))
        squares = g.op("ReduceMean", g.op("Mul", x, x), axes=[2])
        x = g.op("Div", x, g.op("Sqrt", g.op("Add", squares, g.const(1e-6))))
        x = g.field(g.op("MatMul", g.op("Sub", x, g.const(flow["mean"])), g.const(flow["white"])))
        for i in range(sum(n.endswith(".order") for n in flow)):
            x = _coupled(g, part_of(flow, str(i)), x)
        energy = g.op("Div", g.op("ReduceMean", g.op("Mul", x, x), axes=[1], keepdims=0), g.const(2.0))
        if detector.measure == "likelihood":
            energy = g.op("Sub", g.const(1.0), g.op("Exp", g.op("Neg", energy)))
        levels.append(energy)
    full = g.upsample(g.op("Mean", *levels), detector.sigma)
    return g.highest(full), full


def _coupled(g: Graph, block: Mapping[str, np.ndarray], x: str) -> str:
    """(N, D, rows, columns) through one block of the flow."""
    changed = block["out.weight"].shape[0] // 2
    first = block["order"].size - changed
    kept, rest = g.ops("Split", 2, x, g.ints(first, changed), axis=1)
    raw = kept
    for layer in ("in", "out"):
        weight = block[f"{layer}.weight"]
        raw = g.op(
            "Conv", raw, g.const(weight), g.const(block[f"{layer}.bias"]), pads=[weight.shape[-1] // 2] * 4
        )
        if layer == "in":
            raw = g.op("Relu", raw)
    scale, shift = g.ops("Split", 2, g.op("Mul", raw, g.const(CLAMP)), g.ints(changed, changed), axis=1)
    factor = g.op("Exp", g.op("Mul", g.op("Tanh", scale), g.const(2.0)))
    x = g.op("Concat", kept, g.op("Add", g.op("Mul", rest, factor), shift), axis=1)
    gain = 2 * AFFINE * np.logaddexp(0, 0.5 * block["scale"].astype(np.float64))
    x = g.op("Add", g.op("Mul", x, g.const(gain)), g.const(block["shift"]))
    return g.op("Gather", x, g.const(block["order"], np.int64), axis=1)


HEADS: dict[str, Callable[[ImageDetector, Graph], Outputs]] = {
    "anomalydino": _anomalydino,
    "fastflow": _fastflow,
    "mvg": _mvg,
    "padim": _padim,
    "parts-and-whole": _parts_and_whole,
    "patchcore": _patchcore,
    "subspace": _subspace,
}
"""Method → the function that adds its nodes."""
