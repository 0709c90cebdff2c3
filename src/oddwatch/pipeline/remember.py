"""An encoder that does not look twice: what was encoded once is found again by the picture's content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oddwatch.core import Frame, ImageEncoder, Tokens

Seen = tuple[np.ndarray, dict[str, np.ndarray], tuple[int, int], np.ndarray, np.ndarray]


class Remembering:
    """An :class:`ImageEncoder` around another: the same numbers, and each picture's tokens kept in ``most`` bytes.

    Refitting without a part of the normals, scoring that part and fitting to all then cost one look at each picture.
    Pictures come before their altered copies: when full, copies (plain arrays) make room for frames; else nothing more
    is kept. ``watch`` is told how many pictures were really looked at. Not for use from several threads.
    """

    def __init__(
        self, encoder: ImageEncoder, most: int = 1 << 30, watch: Callable[[int], None] | None = None
    ) -> None:
        self.encoder, self.most, self.used = encoder, most, 0
        self._watch = watch or (lambda fresh: None)
        self._frames: dict[str, Seen] = {}
        self._copies: dict[str, Seen] = {}
        if hasattr(encoder, "encode_up_to"):
            self.encode_up_to = self._up_to

    @property
    def id(self) -> str:
        return self.encoder.id

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def __getattr__(self, name: str) -> Any:
        if name == "encoder":
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        """As the encoder's own."""
        return self._encode("whole", self.encoder.encode, frames, layers)

    def _up_to(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str]) -> Tokens:
        return self._encode("early", self.encoder.encode_up_to, frames, layers)  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Let go of everything remembered."""
        self._frames.clear()
        self._copies.clear()
        self.used = 0

    def _encode(
        self, way: str, encode: Any, frames: Sequence[Frame | np.ndarray], layers: Sequence[str]
    ) -> Tokens:
        items = list(frames)
        if not items:
            result: Tokens = encode(items, layers)
            return result
        keys = [f"{way} {' '.join(layers)} {digest(item)}" for item in items]
        fresh = [i for i, key in enumerate(keys) if key not in self._frames and key not in self._copies]
        found: dict[str, Seen] = {}
        if fresh:
            tokens = encode([items[i] for i in fresh], layers)
            for row, i in enumerate(fresh):
                found[keys[i]] = seen = _row(tokens, row)
                self._keep(keys[i], seen, isinstance(items[i], Frame))
            self._watch(len(fresh))
        rows = [found.get(k) or self._frames.get(k) or self._copies[k] for k in keys]
        return Tokens(
            np.stack([r[0] for r in rows]),
            {name: np.stack([r[1][name] for r in rows]) for name in layers},
            rows[0][2],
            np.stack([r[3] for r in rows]),
            np.stack([r[4] for r in rows]),
        )

    def _keep(self, key: str, seen: Seen, is_frame: bool) -> None:
        need = _bytes(seen)
        while is_frame and self.used + need > self.most and self._copies:
            self.used -= _bytes(self._copies.pop(next(iter(self._copies))))
        if self.used + need <= self.most:
            (self._frames if is_frame else self._copies)[key] = seen
            self.used += need


def digest(item: Frame | np.ndarray) -> str:
    """A picture's content: equal pixels, equal digest."""
    pixels = item.pixels if isinstance(item, Frame) else item
    total = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    total.update(np.ascontiguousarray(pixels).data)
    return total.hexdigest()


def _row(tokens: Tokens, i: int) -> Seen:
    layers = {name: value[i].copy() for name, value in tokens.layers.items()}
    return tokens.cls[i].copy(), layers, tokens.grid, tokens.scale[i].copy(), tokens.offset[i].copy()


def _bytes(seen: Seen) -> int:
    return int(seen[0].nbytes + sum(value.nbytes for value in seen[1].values()))
