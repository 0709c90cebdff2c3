"""Official checkpoints through transformers: CLIP / SigLIP 2 class dual encoders, DINOv2 class picture encoders.

Needs the ``[torch]`` extra. A model is a folder or a Hub name; nothing is fetched unless
``allow_download=True``. Only safetensors are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Frame, InputError, ModelError, Tokens, require
from oddwatch.encoders import weights


def find_model(model: str | Path, allow_download: bool = False) -> Path:
    """Folder of a model: a path, else the local Hub cache, else (only when allowed) the Hub.

    Raises:
        ModelError: it is in neither, or the folder holds no safetensors.
    """
    folder = weights.local(str(model))
    if folder is None and allow_download:
        folder = weights.pull(str(model))
    if folder is None:
        raise ModelError(
            f"{model}: neither a folder nor in the local cache; fetch it with: oddwatch models pull {model}"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no safetensors here; other weight files are not read")
    return folder


def torch_device(device: str) -> str:
    """``cuda`` or ``cpu`` for auto, cpu or cuda.

    Raises:
        InputError: an unknown device, or cuda where torch sees none.
    """
    torch = require("torch", for_="this encoder", extra="torch")
    if device not in ("auto", "cpu", "cuda"):
        raise InputError("device", f"expected auto, cpu or cuda, got {device!r}")
    there = bool(torch.cuda.is_available())
    if device == "cuda" and not there:
        raise InputError("device", "cuda was asked for, but torch sees no CUDA device", "use --device cpu")
    return "cuda" if there and device != "cpu" else "cpu"


class _Loaded:
    """A transformers model in evaluation mode with its picture processor."""

    def __init__(self, model: str | Path, device: str, allow_download: bool, batch: int) -> None:
        if batch < 1:
            raise InputError("batch", f"expected 1 or more, got {batch}")
        transformers = require("transformers", for_=f"the model {model}", extra="torch")
        self.torch = require("torch", for_=f"the model {model}", extra="torch")
        self.folder = find_model(model, allow_download)
        self.device, self.batch = torch_device(device), batch
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            net = transformers.AutoModel.from_pretrained(self.folder, use_safetensors=True, **options)
            self.pictures = transformers.AutoImageProcessor.from_pretrained(self.folder, **options)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{self.folder}: transformers cannot load this model: {error}") from error
        self.net = net.to(self.device).eval()
        self.id = f"{net.config.model_type}-{fingerprint(self.folder)}"

    def prepared(self, frames: Sequence[Frame | np.ndarray], **options: Any) -> dict[str, Any]:
        pixels = [(f if isinstance(f, Frame) else Frame(f)).pixels for f in frames]
        found = self.pictures(images=pixels, return_tensors="pt", **options)
        return {name: value.to(self.device) for name, value in found.items()}


def fingerprint(folder: Path) -> str:
    """Twelve hex digits over the weights and settings in ``folder``: equal ones mean comparable vectors."""
    total = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")]):
        total.update(file.name.encode() + bytes.fromhex(weights.digest(file)))
    return total.hexdigest()[:12]


class HubDualEncoder(_Loaded):
    """Pictures and sentences in one space: any model with ``get_image_features`` and ``get_text_features``
    (CLIP, Radford et al. 2021; SigLIP, Zhai et al. 2023; SigLIP 2, Tschannen et al. 2025)."""

    def __init__(
        self, model: str | Path, device: str = "auto", allow_download: bool = False, batch: int = 8
    ) -> None:
        super().__init__(model, device, allow_download, batch)
        if not hasattr(self.net, "get_text_features"):
            raise ModelError(f"{self.folder}: {type(self.net).__name__} is not a dual encoder")
        transformers = require("transformers", for_="sentences", extra="torch")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{self.folder}: no tokenizer that can be read: {error}") from error
        text = self.net.config.text_config
        self._length = int(text.max_position_embeddings)
        self.dim = int(self.encode_texts(["a"]).shape[1])

    def encode_images(self, frames: Sequence[Frame | np.ndarray]) -> np.ndarray:
        """Unit vectors (N, D) float32 of Frames or (H, W, 3) uint8 RGB arrays.

        Raises:
            InputError: a frame is not such an array.
        """
        return self._vectors(frames, lambda part: self.net.get_image_features(**self.prepared(part)))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (N, D) float32; each text is padded and cut to the model's own length (SigLIP was
        trained so).

        Raises:
            InputError: ``texts`` is one string.
        """
        if isinstance(texts, str):
            raise InputError("texts", "expected a sequence of strings, got one string", "wrap it in a list")

        def run(part: Sequence[str]) -> Any:
            words = self._tokenizer(
                list(part),
                padding="max_length",
                truncation=True,
                max_length=self._length,
                return_tensors="pt",
            )
            known = {k: v.to(self.device) for k, v in words.items() if k in ("input_ids", "attention_mask")}
            if "siglip" in self.net.config.model_type:
                known.pop("attention_mask", None)
            return self.net.get_text_features(**known)

        return self._vectors(texts, run)

    def _vectors(self, items: Sequence[Any], run: Any) -> np.ndarray:
        parts = []
        with self.torch.inference_mode():
            for start in range(0, len(items), self.batch):
                found = run(items[start : start + self.batch])
                found = getattr(found, "pooler_output", found)
                parts.append(self.torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy())
        return np.concatenate(parts) if parts else np.empty((0, getattr(self, "dim", 0)), np.float32)


class HubPatchEncoder(_Loaded):
    """CLS and patch tokens of a DINOv2-class model (Oquab et al. 2023): ``last`` after the last layer norm,
    ``block_1`` to ``block_L`` before it. Pictures are squashed to the square ``resolution`` (a multiple of
    the patch size; by default the nearest one below the model's own)."""

    def __init__(
        self,
        model: str | Path,
        resolution: int | None = None,
        device: str = "auto",
        allow_download: bool = False,
        batch: int = 8,
    ) -> None:
        super().__init__(model, device, allow_download, batch)
        config = self.net.config
        for name in ("patch_size", "num_hidden_layers", "hidden_size", "image_size"):
            if not isinstance(getattr(config, name, None), int):
                raise ModelError(f"{self.folder}: {type(self.net).__name__} is not a DINOv2-class model")
        self.dim, self._patch = int(config.hidden_size), int(config.patch_size)
        self.resolution = resolution or config.image_size // self._patch * self._patch
        if self.resolution < self._patch or self.resolution % self._patch:
            raise InputError("resolution", f"expected a multiple of {self._patch}, got {resolution}")
        self.layer_names = (*(f"block_{i + 1}" for i in range(config.num_hidden_layers)), "last")
        self.id = f"{self.id}/{self.resolution}"

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        """Tokens as :class:`oddwatch.core.Tokens`; layers (N, grid², D) float32.

        Raises:
            InputError: a layer not in ``layer_names``, or a frame that is not (H, W, 3) uint8.
        """
        for name in layers:
            if name not in self.layer_names:
                raise InputError(f"layer {name!r}", "not known", f"one of {', '.join(self.layer_names)}")
        side, grid = self.resolution, self.resolution // self._patch
        size = {"height": side, "width": side}
        found: dict[str, list[np.ndarray]] = {"cls": [], **{name: [] for name in layers}}
        with self.torch.inference_mode():
            for start in range(0, len(frames), self.batch):
                part = frames[start : start + self.batch]
                inputs = self.prepared(part, size=size, do_center_crop=False, do_resize=True)
                out = self.net(pixel_values=inputs["pixel_values"], output_hidden_states=True)
                found["cls"].append(out.last_hidden_state[:, 0].float().cpu().numpy())
                for name in found:
                    if name != "cls":
                        value = (
                            out.last_hidden_state
                            if name == "last"
                            else out.hidden_states[int(name.removeprefix("block_"))]
                        )
                        # The patches stand last: some models put register tokens after the class token.
                        found[name].append(value[:, -grid * grid :].float().cpu().numpy())
        empty = np.empty((0, grid * grid, self.dim), np.float32)
        shapes = [(f if isinstance(f, Frame) else Frame(f)).pixels.shape for f in frames]
        scale = np.array([(w / side, h / side) for h, w, _ in shapes], float).reshape(-1, 2)
        return Tokens(
            np.concatenate(found["cls"]) if found["cls"] else empty[:, 0],
            {name: np.concatenate(found[name]) if found[name] else empty for name in layers},
            (grid, grid),
            scale,
            np.zeros_like(scale),
        )
