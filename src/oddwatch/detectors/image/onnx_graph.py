"""Nodes and constants of an ONNX graph (opset 17) that repeat the blocks of the detectors behind an encoder's outputs.

Every function here does what the one of the same name in ``tokens``, ``maps`` or ``bank`` does; names of tensors are
strings, N the number of pictures. Needs the ``onnx`` package ([export] extra); running such a graph needs ONNX Runtime only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oddwatch.core import InputError, LimitError, require
from oddwatch.detectors.image import maps as maps_
from oddwatch.detectors.image.tokens import EPS

OPSET = 17
MOST_BYTES = 1_900_000_000
"""A file of protocol buffers ends below 2 GiB."""
ROWS_END = np.iinfo(np.int64).max


class Graph:
    """Nodes behind the outputs of an encoder whose patches lie on ``grid`` (rows, columns)."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.onnx = require("onnx", for_="export", extra="export")
        self.grid = grid
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.bytes = 0
        self._tokens: dict[str, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The only output of a new node."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """The outputs of a new node."""
        at = len(self.nodes)
        names = [f"head/{at}_{kind}_{i}" if outputs > 1 else f"head/{at}_{kind}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, names[0], **attributes))
        return names

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant.

        Raises:
            LimitError: all constants together are larger than an ONNX file can be.
        """
        array = np.ascontiguousarray(value, dtype)
        self.bytes += array.nbytes
        if self.bytes > MOST_BYTES:
            raise LimitError(
                "model",
                f"would be larger than {MOST_BYTES / 1e9:.1f} GB",
                "fit with a smaller bank, like -o keep=0.01",
            )
        name = f"head/constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def ints(self, *values: int) -> str:
        """A constant of whole numbers."""
        return self.const(values, np.int64)

    # -- tokens --------------------------------------------------------------------------------------------------------

    def tokens(self, layer: str) -> str:
        """(N, T, D) patch tokens: a layer's output without the class token."""
        if layer not in self._tokens:
            self._tokens[layer] = self.op("Slice", layer, self.ints(1), self.ints(ROWS_END), self.ints(1))
        return self._tokens[layer]

    def mean_of(self, layers: Sequence[str]) -> str:
        """(N, T, D)."""
        return self.op("Mean", *[self.tokens(name) for name in layers])

    def unit(self, x: str) -> str:
        """Rows of length 1 along the last axis."""
        return self.op("Div", x, self.op("Max", self.length(x), self.const(EPS)))

    def length(self, x: str, axis: int = -1, keep: bool = True) -> str:
        """Euclidean lengths along an axis."""
        return self.op("ReduceL2", x, axes=[axis], keepdims=int(keep))

    def pool(self, x: str, side: int) -> str:
        """(N, T, D) averaged over ``side`` × ``side`` neighbours, zeros outside counted."""
        if side == 1:
            return x
        half = side // 2
        field = self.op(
            "AveragePool", self.field(x), kernel_shape=[side, side], pads=[half] * 4, count_include_pad=1
        )
        rows = self.op("Reshape", field, self.ints(0, 0, -1))
        return self.op("Transpose", rows, perm=[0, 2, 1])

    def field(self, x: str) -> str:
        """(N, T, D) as (N, D, rows, columns)."""
        return self.op("Reshape", self.op("Transpose", x, perm=[0, 2, 1]), self.ints(0, 0, *self.grid))

    def rows(self, x: str, width: int) -> str:
        """(N, T, D) as (N·T, D)."""
        return self.op("Reshape", x, self.ints(-1, width))

    def patches(self, x: str) -> str:
        """One number a token, in any shape, as (N, rows, columns)."""
        return self.op("Reshape", x, self.ints(-1, *self.grid))

    # -- distances -----------------------------------------------------------------------------------------------------

    def nearest(self, rows: str, vectors: np.ndarray) -> tuple[str, str, str]:
        """Of rows (n, D): the squared distance (n,) to the nearest of ``vectors`` (M, D), that one's index (n,), and the
        constant that holds the vectors. Measured directly, as the bank does, so that small distances are right."""
        bank = self.const(vectors)
        squares = self.const(np.einsum("nd,nd->n", vectors, vectors))
        dots = self.op("MatMul", rows, self.op("Transpose", bank, perm=[1, 0]))
        near = self.op("Sub", squares, self.op("Mul", dots, self.const(2.0)))
        index = self.op("ArgMin", near, axis=1, keepdims=0)
        away = self.op("Sub", self.op("Gather", bank, index, axis=0), rows)
        return self.op("ReduceSumSquare", away, axes=[1], keepdims=0), index, bank

    # -- maps ----------------------------------------------------------------------------------------------------------

    def upsample(self, patches: str, sigma: float = 0.0, kernel: int | None = None) -> str:
        """(N, rows, columns) as (N, 14·rows, 14·columns), bilinear by half pixels and smoothed: both are linear and go
        along rows and columns apart, so together they are one matrix on each side."""
        down, across = (self.const(line_weights(n, sigma, kernel)) for n in self.grid)
        return self.op("MatMul", self.op("MatMul", down, patches), self.op("Transpose", across, perm=[1, 0]))

    def highest(self, x: str) -> str:
        """(N,) the maximum of each item's values."""
        return self.op("ReduceMax", self.op("Flatten", x), axes=[1], keepdims=0)

    def top_mean(self, x: str, share: float, size: int) -> str:
        """(N,) the mean of the highest ``share`` of each item's ``size`` values."""
        keep = max(1, int(size * share))
        top = self.ops("TopK", 2, self.op("Flatten", x), self.ints(keep), axis=1, sorted=0)[0]
        return self.op("ReduceMean", top, axes=[1], keepdims=0)


def line_weights(patches: int, sigma: float = 0.0, kernel: int | None = None) -> np.ndarray:
    """(14·patches, patches) float32: what each patch of a line gives to each pixel, by :func:`maps.upsample` itself."""
    one_hot = np.eye(patches, dtype=np.float32)[:, :, None]
    return np.ascontiguousarray(
        maps_.upsample(one_hot, (14 * patches, 1), sigma=sigma, kernel=kernel)[..., 0].T
    )


def composed(
    encoder: bytes,
    graph: Graph,
    constants: dict[str, np.ndarray],
    side: int,
    outputs: dict[str, tuple[str, tuple[Any, ...]]],
    exact: bool = True,
) -> Any:
    """The model: ``encoder`` (a graph with the input ``pixels``), then ``graph``.

    ``constants`` take the place of inputs of the encoder; ``side`` is that of its pictures; ``outputs`` name → (tensor,
    shape); ``exact`` has the encoder's whole numbers multiplied as float32 (:func:`exact_products`).

    Raises:
        InputError: the encoder's graph is of another operator set.
    """
    onnx, helper = graph.onnx, graph.onnx.helper
    model = onnx.load_model_from_string(encoder)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset != OPSET:
        raise InputError(
            "encoder", f"its graph has operator set {opset}, expected {OPSET}", "use the packaged encoder"
        )
    inner = model.graph
    for name, value in constants.items():
        inner.initializer.append(onnx.numpy_helper.from_array(value, name))
    inputs = [i for i in inner.input if i.name not in constants]
    del inner.input[:], inner.output[:], inner.value_info[:]
    if [i.name for i in inputs] != ["pixels"]:
        raise InputError(
            "encoder", "its graph needs other inputs than pixels and positions", "use the packaged encoder"
        )
    kind = onnx.TensorProto
    inner.input.append(helper.make_tensor_value_info("pixels", kind.UINT8, ["N", side, side, 3]))
    if exact:
        exact_products(graph.onnx, inner)
    inner.node.extend(graph.nodes)
    inner.initializer.extend(graph.constants)
    for name, (tensor, shape) in outputs.items():
        inner.node.append(helper.make_node("Identity", [tensor], [name], f"head/{name}"))
        inner.output.append(helper.make_tensor_value_info(name, kind.FLOAT, shape))
    model.producer_name = "oddwatch"
    onnx.checker.check_model(model)
    return model


def exact_products(onnx: Any, inner: Any) -> None:
    """Have the products of 8-bit numbers in a graph done in float32, which holds their sums exactly.

    ONNX Runtime's own 8-bit product saturates on x86 processors without VNNI unless a session option says otherwise, and
    then scores differ from machine to machine. The weights stay 8-bit in the file; they are widened when it is loaded.
    """
    make, float_ = onnx.helper.make_node, onnx.TensorProto.FLOAT
    nodes = list(inner.node)
    del inner.node[:]
    for node in nodes:
        if node.op_type != "MatMulIntegerToFloat":
            inner.node.append(node)
            continue
        out = node.output[0]
        a, b, a_step, b_step, *rest = node.input
        zeros, bias = [*rest, "", ""][:2], [*rest, "", "", ""][2]
        sides = []
        for side, value, zero in (("a", a, zeros[0]), ("b", b, zeros[1])):
            name = f"{out}/{side}"
            inner.node.append(make("Cast", [value], [name], to=float_))
            if zero:
                inner.node.append(make("Cast", [zero], [f"{name}/zero"], to=float_))
                inner.node.append(make("Sub", [name, f"{name}/zero"], [f"{name}/off"]))
                name = f"{name}/off"
            sides.append(name)
        inner.node.append(make("MatMul", sides, [f"{out}/product"]))
        inner.node.append(make("Mul", [a_step, b_step], [f"{out}/step"]))
        last = f"{out}/scaled" if bias else out
        inner.node.append(make("Mul", [f"{out}/product", f"{out}/step"], [last]))
        if bias:
            inner.node.append(make("Add", [last, bias], [out]))
