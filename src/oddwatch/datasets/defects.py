"""Defects drawn on one's own normal pictures, with masks: to train on, and to try a threshold where none is at hand.

Surface defects are here, parts that are missing, swapped, extra or turned in ``defects_logic``. Every kind varies
from faint to strong and lies on the object where one stands out from its background. Everything is a function of
the given ``numpy.random.Generator``.

Sources: DRAEM (arXiv 2108.07610) for ``perlin``, CutPaste (arXiv 2104.04015) and Poisson editing for ``cutpaste``,
CPR (arXiv 2308.06748, section 4) for ``shuffle``; the other kinds are ours. Decisions where the papers are silent
or need what is not here:

- DRAEM blends in pictures of DTD. Without a folder of textures the source is another normal picture, changed by
  three photometric operations, or a drawn texture; rotation of the noise is uniform in ±90° with mirrored borders.
- A lattice never has cells of less than four pixels, so that small pictures work; noise is drawn at 256 pixels at
  most and enlarged.
- CPR's "16×16 structural shuffle" is read as a grid of 16×16 cells that change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from oddwatch.core import InputError
from oddwatch.datasets import store as _store
from oddwatch.datasets.defects_logic import extra, missing, outline, rotated, spot, swapped
from oddwatch.datasets.defects_texture import clouds, drawn, fade, perlin, photometric
from oddwatch.datasets.images import PICTURES

__all__ = [
    "KINDS", "LOGICAL", "SMALLEST", "TOLERANCE", "Defect", "blend", "fade", "foreground", "make_defect", "perlin",
    "training_pairs",
]  # fmt: skip

TOLERANCE = 6
"""A pixel is part of a defect when a channel changed by more than this (of 255), or changed at all between such."""
FAINTEST = 10
"""Least mean change inside a mask (of 255): what is fainter is drawn again."""
SMALLEST = 16
"""Least height and width of a picture, in pixels."""
_TRIES = 12


@dataclass(frozen=True, slots=True, eq=False)
class Defect:
    """A picture (of the given one's shape, uint8), where it was changed, (H, W) bool, and how; "good" if not."""

    pixels: np.ndarray
    mask: np.ndarray
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """What a kind draws on: ``pixels`` (H, W, 3) float32 in 0–255, the object ``ground`` (H, W) bool, how strong
    the defect is to be (0 faint – 1 strong), and where other pictures and textures come from."""

    rng: np.random.Generator
    pixels: np.ndarray
    ground: np.ndarray
    strength: float
    others: Sequence[np.ndarray]
    texture: np.ndarray | str | Path | None


def blend(x: np.ndarray, texture: np.ndarray, mask: np.ndarray, beta: float) -> np.ndarray:
    """DRAEM: x(1−m) + m((1−β)A + βx), float; ``mask`` (H, W) or like ``x``, in 0–1."""
    m = np.asarray(mask, dtype=np.float32)
    m = m[..., None] if m.ndim == x.ndim - 1 else m
    return np.asarray(x * (1 - m) + m * ((1 - beta) * texture + beta * x))


def foreground(pixels: np.ndarray) -> np.ndarray:
    """Where the object is, (H, W) bool: what differs from the colour of the border; all of it where nothing does.

    ``pixels`` is (H, W, 3) uint8 RGB. A rim of even colour is asked for, and an object of 3 to 85 % of the
    picture that hardly touches the rim.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, 128 / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(small, (3, 3), 0).astype(np.float32)
    rim = np.ones(lab.shape[:2], dtype=bool)
    edge = max(1, min(size) // 32)
    rim[edge:-edge, edge:-edge] = False
    away = np.linalg.norm(lab - np.median(lab[rim], axis=0), axis=2)
    cut, _ = cv2.threshold(np.clip(away, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    found = (away > max(cut, 12)).astype(np.uint8)
    found = cv2.morphologyEx(cv2.morphologyEx(found, cv2.MORPH_OPEN, _disc(3)), cv2.MORPH_CLOSE, _disc(7))
    if not 0.03 < found.mean() < 0.85 or found[rim].mean() > 0.2:
        return np.ones((height, width), dtype=bool)
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def make_defect(
    rng: np.random.Generator,
    pixels: np.ndarray,
    kind: str | None = None,
    others: Sequence[np.ndarray] = (),
    texture: np.ndarray | str | Path | None = None,
) -> Defect:
    """One defect on a copy of ``pixels``, (H, W, 3) or (H, W) uint8; a picture without colour stays so.

    ``kind`` is one of :data:`KINDS`, drawn by ``rng`` when None. ``others`` are further normal pictures (pieces
    and textures come from them), ``texture`` a picture or a folder or zip of pictures to blend in.

    Raises:
        InputError: not such a picture, an unknown kind, or a picture on which the kind cannot be seen, as
            exchanged parts of an even surface.
    """
    colour = _checked(pixels)
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind {kind!r}", "not known", f"one of: {', '.join(KINDS)}")
    others = [_checked(other) for other in others]
    ground = foreground(colour)
    grey = all(np.array_equal(colour[..., 0], colour[..., i]) for i in (1, 2))
    least = max(4, round(2e-4 * ground.size))
    for attempt in range(_TRIES):
        drawn = str(rng.choice(list(KINDS))) if kind is None else kind
        strength = max(float(rng.uniform()), attempt / _TRIES)  # a defect nobody sees is drawn stronger
        canvas = _Canvas(rng, colour.astype(np.float32), ground, strength, others, texture)
        changed, area = KINDS[drawn](canvas)
        new = changed[area]
        if grey:
            new = np.repeat(new.mean(axis=1, keepdims=True), 3, axis=1)
        made = colour.copy()
        made[area] = np.clip(np.rint(new), 0, 255)
        away = cv2.absdiff(made, colour)
        most = np.maximum(np.maximum(away[..., 0], away[..., 1]), away[..., 2])
        clear = (most > TOLERANCE).astype(np.uint8)
        mask = (cv2.morphologyEx(clear, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0) & (most > 0)
        if mask.sum() >= least and most[mask].mean() >= FAINTEST:
            return Defect(made if pixels.ndim == 3 else made[..., 0], mask, drawn)
    raise InputError(
        "pixels",
        f"no {kind or 'defect'} can be seen on this picture after {_TRIES} tries",
        "try another kind",
    )


def training_pairs(
    rng: np.random.Generator,
    normals: Sequence[np.ndarray],
    n: int,
    kinds: Sequence[str] | None = None,
    share: float = 0.5,
    texture: np.ndarray | str | Path | None = None,
) -> Iterator[Defect]:
    """``n`` pictures drawn from ``normals``, a ``share`` of them with a defect, the others unchanged ("good").

    ``share`` is a probability: 0.5 is DRAEM's, 0.7 DictAS's, 0.9 CPR's. ``kinds`` are the kinds to draw from
    (None: all); a kind that cannot be seen on a picture is replaced by another of them.

    Raises:
        InputError: no normal pictures, an unknown kind, a share outside 0–1, or a picture on which none shows.
    """
    if not len(normals):
        raise InputError("normals", "expected at least one normal picture")
    if not 0 <= share <= 1:
        raise InputError("share", f"expected a share between 0 and 1, got {share}")
    chosen = list(KINDS) if kinds is None else list(kinds)
    if not chosen or set(chosen) - set(KINDS):
        raise InputError(f"kinds {chosen}", "expected names of kinds", f"some of: {', '.join(KINDS)}")
    return (_pair(rng, normals, chosen, share, texture) for _ in range(n))


def _pair(
    rng: np.random.Generator,
    normals: Sequence[np.ndarray],
    kinds: list[str],
    share: float,
    texture: np.ndarray | str | Path | None,
) -> Defect:
    at = int(rng.integers(len(normals)))
    picture = normals[at]
    if rng.uniform() >= share:
        return Defect(picture.copy(), np.zeros(_checked(picture).shape[:2], dtype=bool), "good")
    others = (
        [normals[(at + 1 + int(rng.integers(len(normals) - 1))) % len(normals)]] if len(normals) > 1 else []
    )
    order = [kinds[i] for i in rng.permutation(len(kinds))]
    for kind in order[:-1]:
        try:
            return make_defect(rng, picture, kind, others, texture)
        except InputError:  # not to be seen on this picture
            continue
    return make_defect(rng, picture, order[-1], others, texture)


def _checked(pixels: np.ndarray) -> np.ndarray:
    """The picture as (H, W, 3) uint8."""
    right = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
    if not right or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise InputError("pixels", f"expected (H, W, 3) or (H, W) uint8, got {got}")
    if min(pixels.shape[:2]) < SMALLEST:
        size = f"{pixels.shape[1]}×{pixels.shape[0]}"
        raise InputError("pixels", f"expected at least {SMALLEST}×{SMALLEST} pixels, got {size}")
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _disc(size: int) -> np.ndarray:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


# --- the kinds -------------------------------------------------------------------------------------------------


def _noise_mask(c: _Canvas) -> np.ndarray:
    """DRAEM's mask: rotated noise above 0.5, on the object."""
    shape = c.ground.shape
    size = (min(shape[0], 256), min(shape[1], 256))
    most = [min(5, int(np.log2(side / 4))) for side in size]
    lattice = (2 ** int(c.rng.integers(0, most[0] + 1)), 2 ** int(c.rng.integers(0, most[1] + 1)))
    noise = perlin(size, lattice, c.rng)
    turn = cv2.getRotationMatrix2D((size[1] / 2, size[0] / 2), float(c.rng.uniform(-90, 90)), 1.0)
    noise = cv2.warpAffine(noise, turn, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray((cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5) & c.ground)


def _perlin(c: _Canvas) -> tuple[np.ndarray, np.ndarray]:
    mask = _noise_mask(c)
    return blend(c.pixels, _texture(c), mask, float(c.rng.uniform(0, 0.8))), mask


def _shuffle(c: _Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Cells of a 16×16 grid change places below a noise mask, with an opacity of 0.5 to 1."""
    height, width = c.ground.shape
    cells = min(16, height // 4, width // 4)
    side = (-(-width // cells) * cells, -(-height // cells) * cells)
    even = cv2.resize(c.pixels, side, interpolation=cv2.INTER_LINEAR)
    grid = even.reshape(cells, side[1] // cells, cells, side[0] // cells, 3).swapaxes(1, 2)
    flat = grid.reshape(cells * cells, *grid.shape[2:])[c.rng.permutation(cells * cells)]
    mixed = flat.reshape(grid.shape).swapaxes(1, 2).reshape(even.shape)
    source = cv2.resize(mixed, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = _noise_mask(c)
    return blend(c.pixels, source, mask, float(c.rng.uniform(0, 0.5))), mask


def _cutpaste(c: _Canvas) -> tuple[np.ndarray, np.ndarray]:
    """A turned piece of another picture, or of elsewhere in this one; half the time Poisson-blended."""
    height, width = c.ground.shape
    source = c.others[int(c.rng.integers(len(c.others)))] if c.others else c.pixels.astype(np.uint8)
    shape = outline(c.rng, c.ground, (0.06, 0.15 + 0.15 * c.strength))
    y, x = np.nonzero(shape)
    if not len(y):
        return c.pixels, shape
    tall, wide = int(y.max() - y.min() + 1), int(x.max() - x.min() + 1)
    at_y, at_x = spot(c.rng, foreground(source))
    turn = cv2.getRotationMatrix2D((float(at_x), float(at_y)), float(c.rng.uniform(-60, 60)), 1.0)
    turn[:, 2] += (x.min() + wide / 2 - at_x, y.min() + tall / 2 - at_y)
    piece = cv2.warpAffine(source, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    if c.rng.uniform() < 0.5:
        piece = photometric(c.rng, piece, 1)
    inner = shape.copy()
    inner[[0, 1, -2, -1]], inner[:, [0, 1, -2, -1]] = False, False  # seamlessClone needs a margin
    if c.rng.uniform() < 0.5 or inner.sum() < 16:
        return blend(c.pixels, piece.astype(np.float32), shape, 0.0), shape
    left, top, w, h = cv2.boundingRect(inner.astype(np.uint8))
    target = c.pixels.astype(np.uint8)
    middle = (left + w // 2, top + h // 2)
    mixed = cv2.seamlessClone(piece, target, inner.astype(np.uint8) * 255, middle, cv2.NORMAL_CLONE)
    return mixed.astype(np.float32), inner


def _scratch(c: _Canvas) -> tuple[np.ndarray, np.ndarray]:
    """One to three bent lines, brighter or darker than what they cross, often with a shadow along one side."""
    side = min(c.ground.shape)
    shade, lit = float(c.rng.choice([-1, 1])), c.rng.uniform() < 0.5
    depth = (18 + 110 * c.strength) * shade
    changed = c.pixels.copy()
    area = np.zeros(c.ground.shape, dtype=bool)
    for _ in range(int(c.rng.integers(1, 4))):
        y, x = spot(c.rng, c.ground)
        length = side * float(c.rng.uniform(0.12, 0.25 + 0.3 * c.strength))
        path = _walk(c.rng, y, x, float(c.rng.uniform(0, 2 * np.pi)), length, bend=0.12)
        width = max(1, round(side * float(c.rng.uniform(0.003, 0.012))))
        line = _strokes(c.ground.shape, [(path, width)])
        changed += (line * depth)[..., None]
        if lit and width > 1:
            beside = _strokes(c.ground.shape, [(path + np.array([0.7, 0.5]) * width, max(1, width // 2))])
            changed -= (beside * depth * 0.5)[..., None]
            line = np.maximum(line, beside)
        area |= line > 0
    return changed, area & c.ground


def _crack(c: _Canvas) -> tuple[np.ndarray, np.ndarray]:
    """A dark jagged line that branches and thins out."""
    side = min(c.ground.shape)
    y, x = spot(c.rng, c.ground)
    width = max(1, round(side * float(c.rng.uniform(0.004, 0.006 + 0.014 * c.strength))))
    heading = float(c.rng.uniform(0, 2 * np.pi))
    main = _walk(c.rng, y, x, heading, side * float(c.rng.uniform(0.2, 0.6)), bend=0.5)
    half = len(main) // 2
    strokes = [(main[: half + 1], width), (main[half:], max(1, width - 1))]
    for _ in range(int(c.rng.integers(0, 5))):
        start = main[int(c.rng.integers(len(main)))]
        turn = heading + float(c.rng.choice([-1, 1]) * c.rng.uniform(0.4, 1.2))
        branch = _walk(c.rng, start[0], start[1], turn, side * float(c.rng.uniform(0.05, 0.2)), bend=0.5)
        strokes.append((branch, max(1, width - 1)))
    line = _strokes(c.ground.shape, strokes)
    kept = 1 - line * (0.3 + 0.6 * c.strength)
    return c.pixels * kept[..., None], (line > 0) & c.ground


def _blob(c: _Canvas) -> tuple[np.ndarray, np.ndarray]:
    """A stain that tints, a hole that is dark with a shaded rim, or a smear that covers."""
    shape = outline(c.rng, c.ground, (0.02, 0.06 + 0.1 * c.strength), angular=0.05)
    soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), max(0.6, 0.004 * min(shape.shape)))
    form = str(c.rng.choice(["stain", "hole", "smear"]))
    ink = c.rng.uniform(0, 255, 3).astype(np.float32)
    ink += float(c.rng.uniform()) * (ink.mean() - ink)  # few stains are of a pure colour
    if form == "hole":
        inner = cv2.distanceTransform(shape.astype(np.uint8), cv2.DIST_L2, 3)
        depth = np.minimum(inner / max(1.0, 0.35 * float(inner.max())), 1.0)
        changed = c.pixels * (1 - (soft * depth * (0.35 + 0.6 * c.strength)))[..., None]
    elif form == "stain":
        uneven: np.ndarray = 0.75 + 0.25 * clouds(c.rng, shape.shape)
        share = (soft * uneven * (0.15 + 0.5 * c.strength))[..., None]
        changed = c.pixels * (1 - share) + share * ink * c.pixels / 255
    else:
        light = clouds(c.rng, shape.shape) * 30
        share = (soft * (0.25 + 0.7 * c.strength))[..., None]
        changed = c.pixels * (1 - share) + share * (ink + light[..., None])
    return changed, (soft > 0.02) & c.ground


def _part(
    draw: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> Callable[[_Canvas], tuple[np.ndarray, np.ndarray]]:
    return lambda c: draw(c.rng, c.pixels, c.ground, c.strength)


KINDS: dict[str, Callable[[_Canvas], tuple[np.ndarray, np.ndarray]]] = {
    "perlin": _perlin,
    "cutpaste": _cutpaste,
    "shuffle": _shuffle,
    "scratch": _scratch,
    "crack": _crack,
    "blob": _blob,
    "missing": _part(missing),
    "swapped": _part(swapped),
    "extra": _part(extra),
    "rotated": _part(rotated),
}
"""Kind of defect → what draws it."""
LOGICAL = ("missing", "swapped", "extra", "rotated")
"""The kinds that change what is where, and leave every surface as it was."""


# --- lines and textures ----------------------------------------------------------------------------------------


def _walk(
    rng: np.random.Generator, y: float, x: float, heading: float, length: float, bend: float
) -> np.ndarray:
    """A path (N, 2) of y, x that keeps its heading up to ``bend`` radians a step."""
    steps = max(3, min(60, round(length / 4)))
    headings = heading + np.cumsum(rng.normal(0, bend, steps))
    moves = np.stack([np.sin(headings), np.cos(headings)], axis=1) * (length / steps)
    return np.asarray(np.array([y, x]) + np.cumsum(np.concatenate([np.zeros((1, 2)), moves]), axis=0))


def _strokes(shape: tuple[int, ...], strokes: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """Lines of a width in pixels along paths, float32 0–1, smooth at their edges."""
    layer = np.zeros(shape[:2], dtype=np.uint8)
    for path, width in strokes:
        points = np.rint(path[:, ::-1] * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(layer, [points], False, 255, width, cv2.LINE_AA, 4)
    return layer.astype(np.float32) / 255


def _texture(c: _Canvas) -> np.ndarray:
    """What is blended in, (H, W, 3) float32: the given texture, another normal picture, or a drawn one."""
    given = c.texture
    if isinstance(given, (str, Path)):
        files = _texture_files(str(given))
        given = _store.read_pixels(given, files[int(c.rng.integers(len(files)))])
    elif given is not None:
        given = _checked(given)
    if given is None and c.others and c.rng.uniform() < 0.5:
        given = c.others[int(c.rng.integers(len(c.others)))]
    if given is None:
        return drawn(c.rng, c.ground.shape)
    size = (c.ground.shape[1], c.ground.shape[0])
    return photometric(c.rng, cv2.resize(given, size, interpolation=cv2.INTER_AREA), 3).astype(np.float32)


@lru_cache(maxsize=8)
def _texture_files(folder: str) -> tuple[str, ...]:
    files = tuple(n for n in _store.names(folder) if n.lower().endswith(PICTURES))
    if not files:
        raise InputError(folder, "expected a folder or zip of textures, found no pictures")
    return files
