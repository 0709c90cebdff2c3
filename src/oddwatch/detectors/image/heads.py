"""What trained heads share: pictures with generated defects as tokens, masks on the token grid, weight files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch._version import __version__
from oddwatch.core import Frame, ImageEncoder, InputError, ModelError, Progress, Tokens, require
from oddwatch.detectors.image.base import CHUNK, Pictures
from oddwatch.detectors.image.tokens import rotated

Picture = Frame | np.ndarray
Arrays = dict[str, np.ndarray]

CLEAR, MARKED = 0.05, 0.3
"""Up to this share of a cell's area under the mask it is normal; from that share on it is anomalous; between, neither."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One training picture as tokens: ``query`` layer → (T, D) float16, ``share`` (T,) of each cell under the
    defect's mask, ``source`` (set, picture), and the tokens of a varied copy of the source where these were asked for."""

    query: Arrays
    share: np.ndarray
    source: tuple[int, int]
    copy: Arrays

    @property
    def normal(self) -> np.ndarray:
        """(T,) bool: cells without a defect."""
        return self.share <= CLEAR

    @property
    def anomalous(self) -> np.ndarray:
        """(T,) bool: cells of the defect; of a defect smaller than a cell, the cells that hold most of it."""
        most = float(self.share.max(initial=0))
        return (self.share >= min(MARKED, most)) & (self.share > 0)


def pixels_of(pictures: Pictures | Sequence[Picture], who: str) -> list[np.ndarray]:
    """The pictures as (H, W, 3) uint8 arrays.

    Raises:
        InputError: tokens were given: generated defects need pixels.
    """
    if isinstance(pictures, Tokens):
        raise InputError(
            "normal",
            f"{who} learns from defects drawn into the pictures, and tokens cannot be drawn into",
            "give the pictures, or weights=FILE of a head trained before",
        )
    return [(p if isinstance(p, Frame) else Frame(p)).pixels for p in pictures]


def eyes_of(encoder: str | ImageEncoder, resolution: int) -> ImageEncoder:
    """The encoder behind a name, at ``resolution``, or the encoder itself."""
    if not isinstance(encoder, str):
        return encoder
    from oddwatch.encoders import load

    eyes: ImageEncoder = load(encoder, resolution=resolution)
    return eyes


def on_grid(mask: np.ndarray, grid: tuple[int, int], fit: str = "squash") -> np.ndarray:
    """(T,) float32: the share of each token's cell that lies under ``mask`` (H, W) bool. ``fit`` is the encoder's."""
    field = mask.astype(np.float32)
    if fit == "pad":
        height, width = field.shape
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        field = np.pad(field, ((top, side - height - top), (left, side - width - left)))
    small = cv2.resize(field, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 1).astype(np.float32).ravel()


def varied(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """A copy turned by any angle, mirrored by chance, and in half of the cases with a few squares blacked out."""
    out = rotated(np.rot90(pixels, int(rng.integers(4))).copy(), [float(rng.uniform(0, 360))])[0]
    for axis in (0, 1):
        if rng.random() < 0.5:
            out = np.flip(out, axis)
    out = np.ascontiguousarray(out)
    if rng.random() < 0.5:
        height, width = out.shape[:2]
        for _ in range(int(rng.integers(1, 9))):
            h, w = int(rng.integers(1, height // 16 + 2)), int(rng.integers(1, width // 16 + 2))
            y, x = int(rng.integers(max(1, height - h))), int(rng.integers(max(1, width - w)))
            out[y : y + h, x : x + w] = 0
    return out


def examples(
    eyes: ImageEncoder,
    layers: Sequence[str],
    sets: Sequence[Sequence[np.ndarray]],
    n: int,
    rng: np.random.Generator,
    *,
    share: float,
    copies: float | None = None,
    kinds: Sequence[str] | None = None,
) -> list[Example]:
    """``n`` pictures drawn from the ``sets`` (each a kind of thing, normal pictures only), as evenly as they go, with
    a generated defect in a ``share`` of them. ``copies``: with each one's own picture as a reference, varied in that
    share of the cases. ``kinds`` of defects: all that change the surface where None."""
    places = [(s, i) for s, pictures in enumerate(sets) for i in range(len(pictures))]
    order = np.concatenate([rng.permutation(len(places)) for _ in range(-(-n // len(places)))])[:n]
    out: list[Example] = []
    for start in range(0, n, CHUNK):
        chosen = [places[int(i)] for i in order[start : start + CHUNK]]
        drawn = [_spoilt(rng, sets[s], i, share, kinds) for s, i in chosen]
        tokens = eyes.encode([pixels for pixels, _ in drawn], layers)
        fit = str(getattr(eyes, "fit", "squash"))
        kept: Tokens | None = None
        if copies is not None:
            plain = [sets[s][i] for s, i in chosen]
            kept = eyes.encode([varied(rng, p) if rng.random() < copies else p for p in plain], layers)
        for j, (source, (_, mask)) in enumerate(zip(chosen, drawn, strict=True)):
            query = {name: tokens.layers[name][j].astype(np.float16) for name in layers}
            copy = {name: kept.layers[name][j].astype(np.float16) for name in layers} if kept else {}
            out.append(Example(query, on_grid(mask, tokens.grid, fit), source, copy))
    return out


def _spoilt(
    rng: np.random.Generator,
    pictures: Sequence[np.ndarray],
    i: int,
    share: float,
    kinds: Sequence[str] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Picture ``i`` with a defect in a ``share`` of the cases, and the defect's mask (H, W) bool."""
    from oddwatch.datasets.defects import KINDS, LOGICAL, make_defect

    pixels = pictures[i]
    if rng.random() >= share:
        return pixels, np.zeros(pixels.shape[:2], bool)
    order = rng.permutation(list(kinds or [k for k in KINDS if k not in LOGICAL]))
    others = [pictures[int(rng.integers(len(pictures)))]] if len(pictures) > 1 else []
    for at, kind in enumerate(order):
        try:
            defect = make_defect(rng, pixels, str(kind), others)
        except InputError:  # on an even surface some kinds leave no trace; others do
            if at + 1 == len(order):
                raise
        else:
            return defect.pixels, defect.mask
    raise InputError("kinds", "expected at least one kind of defect, got none")


class Pool:
    """The examples that training draws from: ``size`` of them, of which ``fresh`` are replaced at every step.

    With ``fresh`` equal to a batch every picture is seen once, as in the papers; with 0 the encoder works at the start only.
    """

    def __init__(
        self,
        eyes: ImageEncoder,
        layers: Sequence[str],
        sets: Sequence[Sequence[np.ndarray]],
        rng: np.random.Generator,
        *,
        size: int,
        fresh: int,
        share: float,
        copies: float | None = None,
        kinds: Sequence[str] | None = None,
        progress: Progress | None = None,
        who: str = "training",
    ) -> None:
        if size < 1 or not any(len(pictures) for pictures in sets):
            raise InputError("normal", "expected at least one normal picture to train on, got none")
        self.rng, self.fresh, self._at = rng, min(fresh, size), 0
        self._more = lambda n: examples(eyes, layers, sets, n, rng, share=share, copies=copies, kinds=kinds)
        self.examples: list[Example] = []
        while len(self.examples) < size:
            self.examples += self._more(min(4 * CHUNK, size - len(self.examples)))
            if progress is not None:
                progress(f"{who}: drawing defects", len(self.examples), size)

    def draw(self, n: int) -> list[Example]:
        """``n`` of the examples (with repetition only where there are fewer)."""
        if self.fresh:
            for example in self._more(self.fresh):
                self.examples[self._at % len(self.examples)] = example
                self._at += 1
        chosen = self.rng.choice(len(self.examples), n, replace=n > len(self.examples))
        return [self.examples[int(i)] for i in chosen]


@contextmanager
def seeded(seed: int, who: str) -> Iterator[Any]:
    """torch with its generator at ``seed`` inside, and as it was afterwards.

    Equal seeds give equal weights: sums that several threads share are added up in one order.

    Raises:
        MissingExtra: torch is not installed.
    """
    torch = require("torch", for_=f"training {who}", extra="torch")
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield torch
        finally:
            torch.use_deterministic_algorithms(before)


def arrays_of(net: Any) -> Arrays:
    """All weights and running statistics of a torch module as numpy arrays, by name; counters (single numbers) are left out."""
    return {n: value.detach().cpu().numpy().copy() for n, value in net.state_dict().items() if value.ndim}


def save_head(out: str | Path, arrays: Mapping[str, np.ndarray], *, method: str, encoder: str) -> Path:
    """Write a head's weights to ``out`` (safetensors), with the method and the encoder it was trained on."""
    from safetensors.numpy import save_file

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"method": method, "encoder": encoder, "oddwatch": __version__}
    save_file({name: np.ascontiguousarray(v) for name, v in arrays.items()}, out, metadata=about)
    return out


def load_head(path: str | Path, *, method: str, encoder: str) -> Arrays:
    """The weights in ``path``; files without our notes (converted from elsewhere) are taken as they are.

    Raises:
        ModelError: no such file, not safetensors, or the head of another method.
        InputError: it was trained on the tokens of another encoder.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is not a file of weights: {error}") from error
    if about.get("method", method) != method:
        raise ModelError(f"{path}: holds a head of {about['method']}, expected one of {method}")
    made_with = about.get("encoder", encoder)
    if _model(made_with) != _model(encoder):
        raise InputError("weights", f"were trained on tokens of {made_with}, the encoder is {encoder}")
    return arrays


def _model(encoder: str) -> str:
    """The part of an encoder's id that names its weights: heads work at any resolution."""
    return encoder.split("/")[0]
