"""An encoder that remembers: pictures seen again are read from disk, so that many detectors share one pass."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Frame, ImageEncoder, Tokens


class RememberingEncoder:
    """``encoder`` with its tokens kept in ``folder``, one file a picture and layer, in half precision.

    Every token it gives has gone through half precision, remembered or not. ``seconds`` and ``encoded`` tell how long
    the pictures really encoded took and how many they were.
    """

    def __init__(self, encoder: ImageEncoder, folder: str | Path) -> None:
        self.inner = encoder
        self.folder = Path(folder) / hashlib.sha256(encoder.id.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.id, self.dim = encoder.id, encoder.dim
        self.seconds, self.encoded = 0.0, 0

    def __getattr__(self, name: str) -> Any:
        if name == "encode_up_to":  # other tokens would be remembered as the class token
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def pace(self) -> float | None:
        """Seconds a picture took to encode; None before one did."""
        return self.seconds / self.encoded if self.encoded else None

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        """As the encoder itself."""
        wanted = tuple(dict.fromkeys(layers))
        keys = [self._key(f) for f in frames]
        missing = [
            i
            for i, key in enumerate(keys)
            if not all(self._file(key, n).is_file() for n in (*wanted, "about"))
        ]
        if missing:
            started = time.perf_counter()
            found = self.inner.encode([frames[i] for i in missing], wanted)
            self.seconds += time.perf_counter() - started
            self.encoded += len(missing)
            for at, i in enumerate(missing):
                for name in wanted:
                    self._keep(keys[i], name, found.layers[name][at].astype(np.float16))
                about = [found.cls[at], found.scale[at], found.offset[at], found.grid]
                self._keep(keys[i], "about", np.concatenate(about).astype(np.float64))
        if not keys:
            return self.inner.encode([], wanted)
        abouts = np.stack([np.load(self._file(key, "about")) for key in keys])
        stacked = {n: np.stack([np.load(self._file(k, n)) for k in keys]).astype(np.float32) for n in wanted}
        grid = (int(abouts[0, -2]), int(abouts[0, -1]))
        return Tokens(abouts[:, :-6].astype(np.float32), stacked, grid, abouts[:, -6:-4], abouts[:, -4:-2])

    def _key(self, frame: Frame | np.ndarray) -> str:
        pixels = (frame if isinstance(frame, Frame) else Frame(frame)).pixels
        return hashlib.sha256(
            repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
        ).hexdigest()[:32]

    def _file(self, key: str, name: str) -> Path:
        return self.folder / f"{key}.{name}.npy"

    def _keep(self, key: str, name: str, value: np.ndarray) -> None:
        partial = self.folder / f"{key}.{name}.part"
        with partial.open("wb") as file:
            np.save(file, value)
        partial.replace(self._file(key, name))
