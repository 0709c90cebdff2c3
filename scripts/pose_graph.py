"""MoveNet MultiPose's graph written again so that it does the same with less work.

The backbone and its weights are kept. What changes, all of it equal up to rounding:

* The heads for box size, box offset, keypoint regression and keypoint offset are read at 6 and at 102 cells
  only; here they run on the 3 × 3 windows around those cells instead of on every cell.
* A keypoint is the largest heat × bell around its regressed place within the person's box. Bell and box are
  products of a row's and a column's factor, so the (height, width, 6, 17) fields of distances, exponentials
  and masks become lines. Factors below e⁻⁶⁰ are zero: products with denormal numbers cost a hundred cycles
  each, and change no keypoint whose score is above 1e-20.
* Upsampling is by the constant 2 rather than to a computed size, which ONNX Runtime can do in its blocked
  layout; pixels are scaled and shifted by scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = "StatefulPartitionedCall/"
NECK = ROOT + "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
FIRST, FEATURES = NECK + "model/Conv1_relu/Relu6/unf_0:0", NECK + "re_lu_2/Relu:0"
PEOPLE, POINTS, CHANNELS = 6, 17, 24
PIXEL_SCALE = np.float32(0.007843017578125)
SPREAD = 0.300048828125
PEAK_TOLERANCE = 1.0132789611816406e-06
SURE = 0.126953125
FAR = -60.0


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class Writer:
    """Nodes of the new graph; constants and the origin's weights are added as they are used."""

    def __init__(self, origin: onnx.ModelProto) -> None:
        self.origin = origin.graph
        self.stored = {t.name: t for t in origin.graph.initializer}
        self.maker = {out: node for node in origin.graph.node for out in node.output}
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self._unpacked: set[str] = set()

    def op(self, kind: str, *inputs: str, out: str = "", **settings: Any) -> str:
        return self.ops(kind, *inputs, outs=[out or f"v{len(self.nodes)}"], **settings)[0]

    def ops(self, kind: str, *inputs: str, outs: Sequence[str], **settings: Any) -> list[str]:
        self.nodes.append(helper.make_node(kind, list(inputs), list(outs), **settings))
        return list(outs)

    def const(self, array: np.ndarray) -> str:
        name = f"{array.dtype}:{array.tolist()}:{array.shape}"
        self.tensors.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.const(np.array(value, np.float32))

    def is_weight(self, name: str) -> bool:
        maker = self.maker.get(name)
        return name in self.stored or (
            maker is not None and maker.op_type == "Cast" and maker.input[0] in self.stored
        )

    def weight(self, name: str) -> str:
        """A weight of the origin, which may be float16 behind a Cast."""
        if name in self.stored:
            self.tensors[name] = self.stored[name]
        elif name not in self._unpacked:
            self._unpacked.add(name)
            cast = self.maker[name]
            self.tensors[cast.input[0]] = self.stored[cast.input[0]]
            self.nodes.append(cast)
        return name

    def conv(self, like: onnx.NodeProto, x: str, pad: bool) -> str:
        """The convolution ``like`` on ``x``; ``pad``: with the origin's zero border, else without."""
        settings = attributes(like)
        settings.pop("auto_pad", None)
        if pad and list(settings["kernel_shape"]) == [3, 3]:
            settings["pads"] = [1, 1, 1, 1]
        return self.op("Conv", x, *[self.weight(i) for i in like.input[1:]], **settings)

    def head(self, name: str, x: str, pad: bool) -> str:
        """The head ``name`` (depthwise 3 × 3, 1 × 1, ReLU, 1 × 1) on ``x``."""
        (last,) = [o for o in self.maker if o.startswith(ROOT + name) and o.endswith("BiasAdd:0")]
        third = self.maker[last]
        relu = self.maker[third.input[0]]
        second = self.maker[relu.input[0]]
        first = self.maker[second.input[0]]
        assert relu.op_type == "Relu" and first.input[0] == FEATURES
        x = self.conv(second, self.conv(first, x, pad), pad)
        return self.conv(third, self.op("Relu", x), pad)

    def as_float(self, x: str) -> str:
        return self.op("Cast", x, to=TensorProto.FLOAT)

    def add_axis(self, x: str, axis: int) -> str:
        return self.op("Unsqueeze", x, self.ints(axis))

    def clip(self, x: str, most: str) -> str:
        return self.op("Max", self.op("Min", x, most), self.number(0))


def backbone(g: Writer) -> None:
    """int32 pixels (1, H, W, 3) to FEATURES (1, 24, H/4, W/4)."""
    # As the origin has it but on scalars: its broadcast over three channels takes ten times as long.
    x = g.op("Transpose", g.op("Cast", "input", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    x = g.op("Sub", g.op("Mul", x, g.number(float(PIXEL_SCALE))), g.number(1))
    first = g.maker[FIRST]
    g.op("Conv", x, *[g.weight(i) for i in first.input[1:]], out=FIRST, **attributes(first))
    wanted, waiting = set(), [FEATURES]
    while waiting:
        name = waiting.pop()
        if name == FIRST or g.is_weight(name) or name in wanted:
            continue
        wanted.add(name)
        node = g.maker[name]
        waiting += node.input[:1] if node.op_type == "Resize" else node.input
    for node in g.origin.node:
        if node.output[0] not in wanted:
            continue
        if node.op_type == "Resize":
            none, twice = g.const(np.zeros(0, np.float32)), g.const(np.array([1, 1, 2, 2], np.float32))
            how = {"coordinate_transformation_mode": "half_pixel", "mode": "linear"}
            g.op("Resize", node.input[0], none, twice, out=node.output[0], **how)
            continue
        for name in node.input:
            if g.is_weight(name):
                g.weight(name)
        g.nodes.append(node)


class Windows:
    """3 × 3 windows of the features around chosen cells, the border zero."""

    def __init__(self, g: Writer, width: str) -> None:
        self.g = g
        padded = g.op("Pad", FEATURES, g.ints(0, 0, 1, 1, 0, 0, 1, 1))
        self.flat = g.op("Reshape", padded, g.ints(CHANNELS, -1))
        self.stride = g.op("Add", width, g.ints(2))
        down = g.op("Mul", g.ints(0, 0, 0, 1, 1, 1, 2, 2, 2), self.stride)
        self.cells = g.op("Add", down, g.ints(0, 1, 2, 0, 1, 2, 0, 1, 2))

    def at(self, row: str, column: str) -> str:
        """(N, 24, 3, 3) around N cells."""
        g = self.g
        corner = g.op("Add", g.op("Mul", row, self.stride), column)
        index = g.op("Add", g.add_axis(corner, 1), self.cells)
        found = g.op("Transpose", g.op("Gather", self.flat, index, axis=1), perm=[1, 0, 2])
        return g.op("Reshape", found, g.ints(-1, CHANNELS, 3, 3))


def centres(g: Writer, width: str) -> tuple[str, str, str]:
    """Score, row and column (6,) of the highest local maxima of the centre heat."""
    heat = g.op("Sigmoid", g.head("center_0", FEATURES, True))
    top = g.op("MaxPool", heat, kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2])
    peak = g.op("Less", g.op("Abs", g.op("Sub", heat, top)), g.number(PEAK_TOLERANCE))
    flat = g.op("Reshape", g.op("Mul", heat, g.as_float(peak)), g.ints(-1))
    score, cell = g.ops("TopK", flat, g.ints(PEOPLE), outs=["centre_score", "centre_cell"])
    row = g.op("Div", cell, width)
    return score, row, g.op("Sub", cell, g.op("Mul", row, width))


def bell(g: Writer, length: str, place: str, low: str, high: str, spread: str) -> str:
    """(6, 17, length) exp(−distance² / spread) along one axis, zero outside the box [low, high)."""
    line = g.op("Range", g.number(0), g.op("Squeeze", g.as_float(length)), g.number(1))
    away = g.op("Sub", line, place)
    power = g.op("Div", g.op("Neg", g.op("Mul", away, away)), spread)
    near = g.as_float(g.op("Greater", power, g.number(FAR)))
    inside = g.op("And", g.op("GreaterOrEqual", line, low), g.op("Less", line, high))
    return g.op("Mul", g.op("Mul", g.op("Exp", power), near), g.add_axis(g.as_float(inside), 1))


def best_cells(g: Writer, heat: str, down: str, across: str, height: str, width: str) -> tuple[str, str, str]:
    """Row, column and score (6, 17) of the largest heat × bell of each person's keypoints.

    The origin's score is the largest over all people of the product in that cell.
    """
    weighted = g.op("Mul", heat, g.add_axis(across, 2))
    in_row = g.op("ReduceMax", weighted, axes=[3], keepdims=0)
    row = g.op("ArgMax", g.op("Mul", in_row, down), axis=2, keepdims=0)
    kind = g.const(np.tile(np.arange(POINTS), (PEOPLE, 1)))
    line = g.op("Add", g.op("Mul", kind, height), row)
    rows = g.op("Reshape", heat, g.op("Concat", g.ints(-1), width, axis=0))
    along = g.op("Mul", g.op("Gather", rows, line, axis=0), across)
    column = g.op("ArgMax", along, axis=2, keepdims=0)
    cell = g.op("Add", g.op("Mul", line, width), column)
    value = g.op("Gather", g.op("Reshape", heat, g.ints(-1)), cell, axis=0)

    def everybodys(factor: str, place: str) -> str:
        index = g.add_axis(g.op("Transpose", place, perm=[1, 0]), 0)
        index = g.op("Expand", index, g.ints(PEOPLE, POINTS, PEOPLE))
        return g.op("GatherElements", factor, index, axis=2)

    weight = g.op("Mul", everybodys(across, column), everybodys(down, row))
    most = g.op("Transpose", g.op("ReduceMax", weight, axes=[0], keepdims=0), perm=[1, 0])
    return row, column, g.op("Mul", value, most)


def decode(g: Writer) -> None:
    """FEATURES to output_0 (1, 6, 56)."""
    size = g.op("Slice", g.op("Shape", FEATURES), g.ints(2), g.ints(4))
    height, width = g.ops("Split", size, g.ints(1, 1), outs=["height", "width"], axis=0)
    extent = g.as_float(size)
    score, row, column = centres(g, width)
    windows = Windows(g, width)
    near = windows.at(row, column)
    centre = g.as_float(g.op("Concat", g.add_axis(row, 1), g.add_axis(column, 1), axis=1))
    whole = g.op("Max", g.op("Reshape", g.head("box_scale_0", near, False), g.ints(-1, 2)), g.number(0))
    half = g.op("Mul", whole, g.number(0.5))
    middle = g.op("Add", centre, g.op("Reshape", g.head("box_offset_0", near, False), g.ints(-1, 2)))
    low = g.clip(g.op("Sub", middle, half), extent)
    high = g.clip(g.op("Add", middle, half), extent)
    box = g.op("Div", g.op("Concat", low, high, axis=1), g.op("Concat", extent, extent, axis=0))
    box = g.clip(box, g.number(1))

    regress = g.op("Reshape", g.head("kpt_regress_0", near, False), g.ints(PEOPLE, POINTS, 2))
    mean = g.op("Add", regress, g.add_axis(centre, 1))
    y, x = g.ops("Split", mean, g.ints(1, 1), outs=["mean_y", "mean_x"], axis=2)
    y0, x0 = g.ops("Split", low, g.ints(1, 1), outs=["y0", "x0"], axis=1)
    y1, x1 = g.ops("Split", high, g.ints(1, 1), outs=["y1", "x1"], axis=1)
    spread = g.op("Mul", g.op("Min", g.as_float(height), g.as_float(width)), g.number(SPREAD))
    down, across = bell(g, height, y, y0, y1, spread), bell(g, width, x, x0, x1, spread)
    heat = g.op("Sigmoid", g.head("kpt_heatmap_0", FEATURES, True))
    row, column, sureness = best_cells(g, heat, down, across, height, width)

    flat = g.ints(-1)
    found = windows.at(g.op("Reshape", row, flat), g.op("Reshape", column, flat))
    offset = g.op("Reshape", g.head("kpt_offset_0", found, False), g.ints(-1, POINTS, 2))
    count = np.arange(PEOPLE * POINTS)
    offset = g.op("GatherND", offset, g.const(np.stack([count, count % POINTS], axis=1)))
    offset = g.op("Reshape", offset, g.ints(PEOPLE, POINTS, 2))
    cell = g.as_float(g.op("Concat", g.add_axis(row, 2), g.add_axis(column, 2), axis=2))
    place = g.op("Div", g.op("Add", cell, offset), extent)
    points = g.op("Concat", place, g.add_axis(sureness, 2), axis=2)
    points = g.op("Reshape", points, g.ints(PEOPLE, POINTS * 3))

    sure = g.as_float(g.op("Greater", sureness, g.number(SURE)))
    total = g.op("ReduceSum", g.op("Mul", sureness, sure), g.ints(1), keepdims=1)
    number = g.op("Max", g.op("ReduceSum", sure, g.ints(1), keepdims=1), g.number(1))
    final = g.op("Div", g.op("Mul", g.add_axis(score, 1), total), number)
    g.op("Unsqueeze", g.op("Concat", points, box, final, axis=1), g.ints(0), out="output_0")


def build_pose(origin: onnx.ModelProto) -> onnx.ModelProto:
    """The origin's network (int32 (1, H, W, 3) to (1, 6, 56), H and W multiples of 32) with less work."""
    g = Writer(origin)
    backbone(g)
    decode(g)
    graph = helper.make_graph(
        g.nodes,
        "movenet_multipose",
        [helper.make_tensor_value_info("input", TensorProto.INT32, [1, "H", "W", 3])],
        [helper.make_tensor_value_info("output_0", TensorProto.FLOAT, [1, PEOPLE, 56])],
        list(g.tensors.values()),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7, producer_name="oddwatch"
    )
    onnx.checker.check_model(model)
    return model
