"""Pictures seen in overlapping tiles, so that small things are seen: any patch encoder, one finer grid of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from oddwatch.core import Frame, ImageEncoder, InputError, Tokens
from oddwatch.encoders.vit import PATCH, fit_square, pixels_of, resize

MOST = 32
"""Most tiles along one side."""


class TiledEncoder:
    """An encoder that sees each picture as ``tiles`` (rows, columns) overlapping tiles, each at its full resolution.

    The picture is stretched to the size of all tiles together, so that patches of neighbouring tiles fall onto each other;
    ``overlap`` is the share of a tile's side that it has in common with the next, in whole patches (at least one, where
    above 0). Where tiles overlap, their tokens are averaged. With g patches a side and o of overlap, n tiles give a side
    of n·g − (n − 1)·o patches: 32, 8 and 2 give 56.

    ``encoder`` is an object or a row of :data:`oddwatch.encoders.ENCODERS`, made with ``options`` (its arguments); it must
    have a square ``resolution`` and patches of ``patch`` pixels. ``cls`` is the mean of the tiles' class tokens or, with
    ``whole``, that of one more look at the whole picture.

    One picture's tiles are in memory at a time, beside the picture and the tokens that are returned.
    """

    def __init__(
        self,
        encoder: str | ImageEncoder = "patches",
        tiles: tuple[int, int] = (2, 2),
        overlap: float = 0.25,
        cls: Literal["mean", "whole"] = "mean",
        patch: int = PATCH,
        **options: Any,
    ) -> None:
        if len(tiles) != 2 or not all(isinstance(n, int) and 1 <= n <= MOST for n in tiles):
            raise InputError("tiles", f"expected rows and columns, 1 to {MOST} each, got {tiles}")
        if not 0 <= overlap <= 0.5:
            raise InputError("overlap", f"expected a share of 0 to 0.5, got {overlap}")
        if cls not in ("mean", "whole"):
            raise InputError("cls", f"expected mean or whole, got {cls!r}")
        if isinstance(encoder, str):
            from oddwatch.encoders import load

            inner: ImageEncoder = load(encoder, **options)
        elif options:
            raise InputError("options", f"{', '.join(options)}: the encoder is already made")
        else:
            inner = encoder
        side = getattr(inner, "resolution", None)
        if not isinstance(side, int) or side % patch:
            raise InputError("encoder", f"expected one with a resolution in patches of {patch}, got {side}")
        self.fit: Literal["squash", "pad"] = getattr(inner, "fit", "squash")
        if self.fit == "pad" and tiles[0] != tiles[1]:
            raise InputError("tiles", f"expected as many rows as columns with fit='pad', got {tiles}")
        self.encoder, self.tiles, self.cls = inner, (tiles[0], tiles[1]), cls
        self.side, self.patch, self.dim = side // patch, patch, inner.dim
        self.shared = min(self.side - 1, max(1, round(self.side * overlap))) if overlap else 0
        self.layer_names: tuple[str, ...] = tuple(getattr(inner, "layer_names", ("last",)))
        self.resolution = max(self.grid) * patch
        self.id = f"{inner.id}/tiles-{tiles[0]}x{tiles[1]}-{self.shared}-{cls}"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the merged tokens."""
        step = self.side - self.shared
        return (self.tiles[0] - 1) * step + self.side, (self.tiles[1] - 1) * step + self.side

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        """Tokens of ``frames`` ((H, W, 3) uint8 RGB of any sizes): ``cls`` (N, D), layers (N, rows·columns, D) float32.

        Raises:
            InputError: what the encoder itself refuses, or patches of another size than ``patch``.
        """
        return self._merged(self.encoder.encode, frames, layers)

    def encode_up_to(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str]) -> Tokens:
        """The same patch tokens, where the encoder can stop at the deepest of ``layers``; ``cls`` is then that layer's."""
        return self._merged(getattr(self.encoder, "encode_up_to", self.encoder.encode), frames, layers)

    def _merged(self, encode: Any, frames: Sequence[Frame | np.ndarray], layers: Sequence[str]) -> Tokens:
        rows, columns = self.grid
        names, count = list(dict.fromkeys(layers)), len(frames)
        out = {name: np.zeros((count, rows, columns, self.dim), np.float32) for name in names}
        cls = np.empty((count, self.dim), np.float32)
        scale, offset = np.ones((count, 2)), np.zeros((count, 2))
        if not count:
            encode([], names)  # an unknown layer is refused here too
        for i, frame in enumerate(frames):
            canvas, scale[i], offset[i] = self._canvas(pixels_of(frame))
            views = [self._cut(canvas, *place) for place in self._places()]
            if self.cls == "whole":
                views.append(resize(canvas, self.side * self.patch, self.side * self.patch))
            tokens = encode(views, names)
            if tokens.grid != (self.side, self.side):
                raise InputError(
                    "patch", f"is {self.patch} pixels, but the encoder gave a grid of {tokens.grid}"
                )
            cls[i] = tokens.cls[-1] if self.cls == "whole" else tokens.cls.mean(0)
            for name in names:
                self._put(out[name][i], tokens.layers[name])
        flat = {name: value.reshape(count, rows * columns, self.dim) for name, value in out.items()}
        return Tokens(cls, flat, self.grid, scale, offset)

    def _canvas(self, pixels: np.ndarray) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
        """The picture at the size of all tiles together, picture pixels per pixel of it, and its upper left corner."""
        height, width = (n * self.patch for n in self.grid)
        if self.fit == "pad":
            return fit_square(pixels, height, "pad")
        scale = (pixels.shape[1] / width, pixels.shape[0] / height)
        return resize(pixels, width, height), scale, (0.0, 0.0)

    def _places(self) -> list[tuple[int, int]]:
        """The upper left patch of each tile."""
        step = self.side - self.shared
        return [(r * step, c * step) for r in range(self.tiles[0]) for c in range(self.tiles[1])]

    def _cut(self, canvas: np.ndarray, row: int, column: int) -> np.ndarray:
        length, y, x = self.side * self.patch, row * self.patch, column * self.patch
        return np.ascontiguousarray(canvas[y : y + length, x : x + length])

    def _put(self, field: np.ndarray, values: np.ndarray) -> None:
        """The mean of all tiles' tokens (n, side², D) at each place of ``field`` (rows, columns, D)."""
        times = np.zeros((*self.grid, 1), np.float32)
        for (row, column), value in zip(self._places(), values, strict=False):
            where = (slice(row, row + self.side), slice(column, column + self.side))
            field[where] += value.reshape(self.side, self.side, -1)
            times[where] += 1
        field /= times
