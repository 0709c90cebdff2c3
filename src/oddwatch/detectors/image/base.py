"""What every picture detector has: an encoder, tokens in chunks, maps from patch scores, a file format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from oddwatch.core import Frame, ImageEncoder, InputError, Scores, Tokens
from oddwatch.detectors import kept
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.tokens import rotated

Pictures = Sequence[Frame | np.ndarray] | Tokens
"""Pictures of any sizes ((H, W, 3) uint8 RGB), or their tokens where these were made before."""

CHUNK = 8


@dataclass(kw_only=True, eq=False)
class ImageDetector:
    """Base of the picture detectors: a subclass names its arguments as fields, fits, and scores patches.

    ``encoder`` is a row of :data:`oddwatch.encoders.ENCODERS` that gives patch tokens, or an encoder object;
    ``resolution`` is its input side in pixels where it is a name; ``layers`` are the tokens it is asked for.
    ``sigma`` smooths the map, in input pixels (0: not at all). ``seed`` settles everything drawn by chance.

    A subclass offers ``_fit(normal, labels)`` and ``_patches(tokens) -> (B, rows, columns)``, lists its fitted
    arrays (fields with ``init=False``, None before) in ``STATE``, and may replace ``_reduce`` (map to picture score). Fitting looks at normal pictures only.
    """

    NAME: ClassVar[str] = ""
    STATE: ClassVar[tuple[str, ...]] = ()
    NEEDS_NORMALS: ClassVar[bool] = True

    encoder: str | ImageEncoder = "patches"
    resolution: int = 448
    layers: tuple[str, ...] = ("last",)
    sigma: float = 4.0
    seed: int = 0
    fitted: bool = field(default=False, init=False, repr=False)

    # -- pictures to tokens --------------------------------------------------------------------------------------

    @property
    def reads_cls(self) -> bool:
        """Whether it looks at class tokens; where not, an encoder that can (``encode_up_to``) stops at the deepest of
        ``layers``, and ``cls`` is then that block's."""
        return True

    @property
    def eyes(self) -> ImageEncoder:
        """The encoder itself, loaded on first use."""
        if isinstance(self.encoder, str):
            from oddwatch.encoders import load

            self.encoder = load(self.encoder, resolution=self.resolution)
        assert not isinstance(self.encoder, str)
        return self.encoder

    def tokens(self, items: Pictures, layers: Sequence[str] | None = None) -> Tokens:
        """All tokens of ``items`` at once: of pictures by the encoder, of tokens themselves.

        Raises:
            InputError: tokens without a layer that this detector reads.
        """
        wanted = tuple(layers or self.layers)
        if not isinstance(items, Tokens):
            early = None if self.reads_cls else getattr(self.eyes, "encode_up_to", None)
            return early(items, wanted) if early else self.eyes.encode(items, wanted)
        missing = [name for name in wanted if name not in items.layers]
        if missing:
            raise InputError("tokens", f"have no layer {missing[0]!r}", f"encode with layers {wanted}")
        return items

    def chunks(self, items: Pictures, layers: Sequence[str] | None = None) -> Iterator[Tokens]:
        """The tokens of ``items``, a few pictures at a time, so that many pictures need little memory."""
        for start in range(0, count(items), CHUNK):
            yield self.tokens(take(items, slice(start, start + CHUNK)), layers)

    # -- fitting and scoring -------------------------------------------------------------------------------------

    def fit(self, normal: Pictures, labels: Sequence[Any] | None = None) -> Self:
        """Learn what is normal from ``normal`` pictures (or their tokens).

        Raises:
            InputError: no picture at all, where the method needs some.
        """
        if self.NEEDS_NORMALS and not count(normal):
            raise InputError(
                "normal", "expected at least one normal picture, got none", "point --normal at good ones"
            )
        self._fit(normal, labels)
        self.fitted = True
        return self

    def fit_apart(self, normal: Pictures, folds: Sequence[np.ndarray]) -> Iterator[Self]:
        """Fit to all of ``normal``, then give, for each of ``folds`` (index arrays), a detector that never saw that part.

        What a method decides by the number of normals (``few``) is decided by all of them. A method that can leave
        pictures out without starting again replaces this.
        """
        self.fit(normal)
        everything = np.arange(count(normal))
        changes: dict[str, Any] = {"few": 0} if len(everything) >= getattr(self, "few", np.inf) else {}
        for fold in folds:
            yield replace(self, **changes).fit(take(normal, np.setdiff1d(everything, fold)))

    def score(self, items: Pictures) -> Scores:
        """Scores (N,) and maps (N, side, side) in the encoder's input pixels; higher = more anomalous.

        No pictures give no scores. Scoring changes nothing.

        Raises:
            InputError: not fitted yet.
        """
        self._ready()
        found = [self._scored(self._patches(tokens), tokens) for tokens in self.chunks(items)]
        if not found:
            return Scores(np.empty(0), np.empty((0, 0, 0), np.float32))
        return Scores(np.concatenate([v for v, _ in found]), np.concatenate([m for _, m in found]))

    def with_turned(
        self, normal: Pictures, rotations: int, few: int, layers: Sequence[str] | None = None
    ) -> Iterator[Tokens]:
        """The tokens of ``normal``, and, while these are fewer than ``few`` pictures, of ``rotations`` turned copies of
        each, at evenly spread angles. Tokens made before cannot be turned and come as they are."""
        yield from self.chunks(normal, layers)
        if rotations < 1 or isinstance(normal, Tokens) or len(normal) >= few:
            return
        angles = [360 * i / (rotations + 1) for i in range(1, rotations + 1)]
        for picture in normal:
            yield from self.chunks(rotated(picture, angles), layers)

    def _ready(self) -> None:
        if self.NEEDS_NORMALS and not self.fitted:
            raise InputError(
                self.NAME or type(self).__name__, "is not fitted", "call fit with normal pictures first"
            )

    def _scored(self, patches: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """Scores (B,) float64 and maps (B, side, side) float32 of patch scores (B, rows, columns)."""
        full = maps.upsample(patches, map_size(tokens), sigma=self.sigma)
        return np.asarray(self._reduce(patches, full), np.float64), full

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        raise NotImplementedError

    def _patches(self, tokens: Tokens) -> np.ndarray:
        raise NotImplementedError

    def _reduce(self, patches: np.ndarray, full: np.ndarray) -> np.ndarray:
        return maps.top_mean(patches, 0.01)

    # -- keeping -------------------------------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        """The arguments it was made with; the encoder is told by its id elsewhere."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name != "encoder"}

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays, by name."""
        return {n: np.ascontiguousarray(v) for n in self.STATE if (v := getattr(self, n)) is not None}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`state`."""
        for name in self.STATE:
            setattr(self, name, arrays.get(name))

    def save(self, folder: str | Path) -> Path:
        """Write ``detector.json`` (method, arguments, encoder, version, hash) and ``state.safetensors``."""
        self._ready()
        return kept.write(folder, kept.Kept(self.NAME, self.arguments(), self.eyes.id, self.state()))


def load(folder: str | Path, encoder: str | ImageEncoder = "patches") -> Any:
    """The detector that ``save`` wrote to ``folder``, with ``encoder`` (by default the packaged one).

    Raises:
        ModelError: a file is missing, damaged or of another format.
        InputError: the encoder's id is another than the one it was fitted with.
    """
    from oddwatch.core import resolve
    from oddwatch.detectors import DETECTORS

    found = kept.read(folder)
    made = resolve(DETECTORS, found.method, "detector")
    detector = made(encoder=encoder, **found.arguments)
    if detector.eyes.id != found.encoder:
        raise InputError(
            "encoder", f"is {detector.eyes.id}, the detector was fitted with {found.encoder}", "give that one"
        )
    detector.restore(found.arrays)
    detector.fitted = True
    return detector


class Chosen(Sequence[Any]):
    """Some items of a sequence by index array, taken when they are asked for: pictures may be files read on access."""

    def __init__(self, items: Sequence[Any], which: np.ndarray) -> None:
        self.items, self.which = items, np.asarray(which, np.int64)

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self.items[i] for i in self.which[at].tolist()]
        return self.items[int(self.which[at])]


def count(items: Pictures) -> int:
    """How many pictures."""
    return len(items.cls) if isinstance(items, Tokens) else len(items)


def take(items: Pictures, which: slice | np.ndarray) -> Pictures:
    """Some of the pictures, by slice or index array (n,) int."""
    if isinstance(items, Tokens):
        layers = {name: value[which] for name, value in items.layers.items()}
        return Tokens(items.cls[which], layers, items.grid, items.scale[which], items.offset[which])
    return items[which] if isinstance(which, slice) else Chosen(items, which)


def map_size(tokens: Tokens) -> tuple[int, int]:
    """Height and width of the maps: 14 pixels a patch, the embedded encoder's, whatever the encoder."""
    return tokens.grid[0] * 14, tokens.grid[1] * 14


def rows_of(tokens: Tokens, name: str) -> np.ndarray:
    """The tokens of one layer as float32 rows (B·T, D)."""
    value = tokens.layers[name]
    return value.reshape(-1, value.shape[-1]).astype(np.float32, copy=False)
