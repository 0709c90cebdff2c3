"""The peer's half of anomalib_side.py; runs in anomalib's own environment, which needs no Oddwatch:

    python3 -m venv PEER
    PEER/bin/pip install torch==2.13.0+cpu         # a CPU build, before the rest
    PEER/bin/pip install anomalib==2.7.0 torchvision==0.28.0 onnx safetensors
    PEER/bin/python benchmarks/anomalib_peer.py JOB.json    # the driver writes the job and reads its answer

``convert`` turns the packaged int8 graph into a float32 state for timm's vit_small_patch14_dinov2 (integer codes times
their steps, layer scale already folded in, pixel normalisation unfolded) and compares every block's tokens with those
the graph itself gave: they differ by the rounding of activations alone, which the float ViT does not have. ``run``
fits and predicts with anomalib's PatchCore or PaDiM, its feature extractor replaced by that ViT or by the graph, PaDiM's
draw of channels by Oddwatch's. Their code does everything else: pooling, coreset, neighbours, Gaussians, maps, picture
scores.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib_ours import clocks, peak_mb, spent

warnings.filterwarnings("ignore")
DIM, DEPTH, PATCH = 384, 12, 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def name_operators() -> None:
    """Make torchvision importable beside a CPU torch: the package index's torchvision is built for CUDA, its
    operators do not load, and importing it fails for their names alone. Nothing here calls them."""
    spec = importlib.util.find_spec("torchvision")
    assert spec and spec.origin, "torchvision is not installed"
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            for name in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


# -- the backbone ---------------------------------------------------------------------------------------------------


def state_of(graph: Path, positions: np.ndarray) -> dict[str, torch.Tensor]:
    """timm's state of the graph's ViT for the grid that ``positions`` (1, 1 + side², 384) is for."""
    import onnx
    from onnx import numpy_helper

    w = {t.name: numpy_helper.to_array(t) for t in onnx.load(graph).graph.initializer}
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    kernel = w["patch.weight"] * (255 * std)[None, :, None, None]
    out = {
        "cls_token": w["cls"].reshape(1, 1, DIM),
        "pos_embed": positions,
        "patch_embed.proj.weight": kernel,
        "patch_embed.proj.bias": w["patch.bias"] + np.einsum("oihw,i->o", kernel, mean / std),
        "norm.weight": w["layernorm.weight"],
        "norm.bias": w["layernorm.bias"],
    }

    def matrix(site: str) -> tuple[np.ndarray, np.ndarray]:
        return (w[f"{site}.int8"].astype(np.float32) * w[f"{site}.step"]).T, w[f"{site}.bias"]

    for i in range(DEPTH):
        to, of = f"blocks.{i}.", f"encoder.layer.{i}."
        for norm in ("norm1", "norm2"):
            out[to + norm + ".weight"], out[to + norm + ".bias"] = (
                w[of + norm + ".weight"],
                w[of + norm + ".bias"],
            )
        parts = [matrix(f"{i}.qkv/{part}") for part in ("query", "key", "value")]
        out[to + "attn.qkv.weight"] = np.concatenate([p[0] for p in parts])
        out[to + "attn.qkv.bias"] = np.concatenate([p[1] for p in parts])
        for name, site in (("attn.proj", "out"), ("mlp.fc1", "fc1"), ("mlp.fc2", "fc2")):
            out[f"{to}{name}.weight"], out[f"{to}{name}.bias"] = matrix(f"{i}.{site}")
        for scale in ("ls1", "ls2"):
            out[f"{to}{scale}.gamma"] = np.ones(DIM, np.float32)
    return {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in out.items()}


class Converted(torch.nn.Module):
    """timm's ViT-S/14 with the state that :func:`convert` wrote: normalised pictures (B, 3, H, W) to
    {layer: (B, 384, H/14, W/14)}. ``block_9`` is the residual stream after the ninth block, ``last`` the last norm.
    """

    def __init__(self, state: Path, layers: list[str]) -> None:
        super().__init__()
        import timm
        from safetensors.torch import load_file

        tensors = load_file(state)
        side = round((tensors["pos_embed"].shape[1] - 1) ** 0.5) * PATCH
        self.vit = timm.create_model(
            "vit_small_patch14_dinov2", pretrained=False, img_size=side, num_classes=0
        )
        self.vit.load_state_dict(tensors)
        self.layers, self.out_dims = layers, [DIM] * len(layers)

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.vit.norm_pre(self.vit.patch_drop(self.vit._pos_embed(self.vit.patch_embed(pictures))))
        found = {}
        for i, block in enumerate(self.vit.blocks):
            x = block(x)
            if (name := f"block_{i + 1}") in self.layers:
                found[name] = as_maps(x, pictures)
            if len(found) == len(self.layers):  # what lies deeper is not asked for: Oddwatch stops there too
                break
        if "last" in self.layers:
            found["last"] = as_maps(self.vit.norm(x), pictures)
        return {name: found[name] for name in self.layers}


class Graph(torch.nn.Module):
    """The packaged int8 graph itself in the ViT's place, so that both sides see the same tokens to the last bit."""

    def __init__(self, graph: Path, positions: np.ndarray, layers: list[str], threads: int) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        # As Oddwatch sets it: without it processors with AVX2 only saturate in 8-bit products.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.positions, self.layers, self.out_dims = positions, layers, [DIM] * len(layers)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        pixels = (
            ((pictures.permute(0, 2, 3, 1) * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        )
        values = self.session.run(self.layers, {"pixels": pixels, "positions": self.positions})
        return {n: as_maps(torch.from_numpy(v), pictures) for n, v in zip(self.layers, values, strict=True)}


def as_maps(tokens: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Tokens (B, 1 + rows·columns, D), the class token first, as maps (B, D, rows, columns)."""
    rows, columns = (size // PATCH for size in pictures.shape[-2:])
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)


def normalised(pixels: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 as the ViT wants it."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """Write the ViT's state; compare its tokens with the graph's own on the job's pictures."""
    from safetensors.torch import save_file

    given = np.load(job["tokens"], allow_pickle=False)
    save_file(state_of(Path(job["graph"]), given["positions"]), job["weights"])
    names = [name for name in given.files if name not in ("pixels", "positions")]
    model, pictures = Converted(job["weights"], names).eval(), normalised(given["pixels"])
    made = [model(part) for part in pictures.split(8)]
    rows = {}
    for name in names:
        theirs = torch.cat([m[name] for m in made]).flatten(2).transpose(1, 2).double().numpy()
        ours = given[name].astype(np.float64)
        norms = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
        cosine = (ours * theirs).sum(-1) / norms
        rows[name] = {
            "max_difference": round(float(np.abs(ours - theirs).max()), 4),
            "mean_difference": round(float(np.abs(ours - theirs).mean()), 5),
            "mean_magnitude": round(float(np.abs(ours).mean()), 4),
            "mean_cosine": round(float(cosine.mean()), 5),
            "least_cosine": round(float(cosine.min()), 5),
        }
    return {"pictures": len(pictures), "layers": rows}


# -- fitting and predicting -----------------------------------------------------------------------------------------


def module(job: dict[str, Any]) -> Any:
    """anomalib's Lightning module of the job's method, with our feature extractor. Its extras that cost time and
    memory (metrics, drawn pictures, threshold search) are off."""
    from anomalib.models import Padim, Patchcore
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    layers, size = list(job["layers"]), (job["resolution"],) * 2
    shaping = PreProcessor(transform=Compose([Resize(size, antialias=True), Normalize(mean=MEAN, std=STD)]))
    off = {"post_processor": False, "evaluator": False, "visualizer": False, "pre_processor": shaping}
    # A stand-in backbone of theirs, whose extractor is then replaced.
    if job["method"] == "patchcore":
        made = Patchcore(
            backbone="resnet18", layers=["layer1"], pre_trained=False, num_neighbors=job["neighbours"],
            coreset_sampling_ratio=job["coreset"], **off,
        )  # fmt: skip
    else:
        made = Padim(backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=1, **off)
        made.model.register_buffer("idx", torch.tensor(job["drawn"]))
        made.model.n_features, made.model.n_features_original = len(job["drawn"]), DIM * len(layers)
    if job["backbone"] == "converted":
        eyes: torch.nn.Module = Converted(job["weights"], layers)
    else:
        positions = np.load(job["tokens"], allow_pickle=False)["positions"]
        eyes = Graph(job["short"], positions, layers, job["threads"])
    made.model.feature_extractor, made.model.layers = eyes.eval(), layers
    return made


def by_engine(model: Any, job: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, list[tuple[float, float]]]:
    """As their guide does it: Engine.fit on a folder, Engine.predict on another, batches of 32."""
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from torch.utils.data import DataLoader

    folder = Path(job["folder"])
    data = Folder(
        name="set",
        root=folder,
        normal_dir="train",
        test_split_mode="none",
        val_split_mode="none",
        num_workers=0,
    )
    engine = Engine(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=job["scratch"],
    )  # fmt: skip
    times = [clocks()]
    data.setup()
    engine.fit(model=model, train_dataloaders=data.train_dataloader())
    times.append(clocks())
    test = PredictDataset(folder / "test")
    loader = DataLoader(test, batch_size=32, collate_fn=test.collate_fn)
    batches = engine.predict(model=model, dataloaders=loader) or []
    times.append(clocks())
    names = [Path(name).name for batch in batches for name in batch.image_path]
    if names != sorted(path.name for path in (folder / "test").iterdir()):
        raise SystemExit("the predictions are not in the order of the files")
    scores, maps = ([getattr(b, k).numpy() for b in batches] for k in ("pred_score", "anomaly_map"))
    return np.concatenate(scores), np.concatenate(maps), times


def by_loop(model: Any, job: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, list[tuple[float, float]]]:
    """The leanest way: their torch model alone, fed by a loop in batches of 8."""
    from anomalib.data.utils import read_image

    folder, shaping = Path(job["folder"]), model.pre_processor.transform

    def batches(part: str) -> Any:
        files = sorted((folder / part).iterdir())
        for start in range(0, len(files), 8):
            yield shaping(torch.stack([read_image(f, as_tensor=True) for f in files[start : start + 8]]))

    times = [clocks()]
    model.model.train()
    for batch in batches("train"):
        model.model(batch)
    model.fit()
    times.append(clocks())
    model.model.eval()
    with torch.no_grad():
        found = [model.model(batch) for batch in batches("test")]
    times.append(clocks())
    scores, maps = (torch.cat([getattr(f, k) for f in found]).numpy() for k in ("pred_score", "anomaly_map"))
    return scores, maps, times


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Fit on ``folder/train`` and predict ``folder/test``; scores and maps go to ``answers``."""
    started = time.perf_counter()
    torch.manual_seed(job["seed"])
    model = module(job)
    loaded = time.perf_counter()
    loaded_mb = peak_mb()
    scores, maps, times = {"engine": by_engine, "loop": by_loop}[job["way"]](model, job)
    peak = peak_mb()
    np.savez(job["answers"], scores=scores.reshape(-1), maps=maps.reshape(len(maps), *maps.shape[-2:]))
    return {"load_s": loaded - started, "peak_mb": peak, "loaded_mb": loaded_mb} | spent(times)


def main() -> None:
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    name_operators()
    os.chdir(path.parent)
    answer = {"convert": convert, "run": run}[job["do"]](job)
    answer["versions"] = {"torch": torch.__version__} | {
        name: importlib.metadata.version(name) for name in ("anomalib", "timm", "torchvision", "lightning")
    }
    path.with_suffix(".answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
