"""What is noted while a clip is watched once; every video detector reads the same notes.

Lengths are in frame heights and speeds in frame heights a second, so that notes of different resolutions compare.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Box, InputError, MediaError
from oddwatch.media.flow import BINS


def _rows(*shape: int, dtype: Any = np.float32) -> Callable[[], np.ndarray]:
    return lambda: np.zeros((0, *shape), dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """People and moving things, one row (K) each time one was seen, ordered by frame.

    ``frame`` index into :attr:`Notes.times`; ``box`` (K, 4) x0, y0, x1, y1 in pixels of the upright frame; ``track``
    number of its track in the clip, -1 for none; ``person`` whether the pose model found it; ``score`` 0–1 of the model
    (1 for moving things); ``pose`` (K, 17, 3) COCO keypoints in pixels, NaN where there is none; ``velocity`` (K, 8) mean
    over the box's pixels of |u| + |v| in each direction of :data:`BINS`, frame heights a second, NaN where the frame has
    no flow; ``deep`` (K, D) mean backbone token under the box, NaN on frames that the backbone did not look at.
    """

    frame: np.ndarray = field(default_factory=_rows(dtype=np.int64))
    box: np.ndarray = field(default_factory=_rows(4))
    track: np.ndarray = field(default_factory=_rows(dtype=np.int64))
    person: np.ndarray = field(default_factory=_rows(dtype=bool))
    score: np.ndarray = field(default_factory=_rows())
    pose: np.ndarray = field(default_factory=_rows(17, 3))
    velocity: np.ndarray = field(default_factory=_rows(BINS))
    deep: np.ndarray = field(default_factory=_rows(0))

    def __len__(self) -> int:
        return len(self.frame)

    def where(self, which: np.ndarray) -> Objects:
        """Some of the rows, by bool mask (K,) or index array."""
        return Objects(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def boxes(self) -> list[Box]:
        """All boxes."""
        return [Box(*(float(v) for v in row)) for row in self.box]


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """The notes of one clip. What was not noted has no rows.

    ``size`` (height, width) of the upright frames; ``times`` (N,) seconds of all frames, ascending. ``motion``
    (N, rows, columns, 4) float16, per cell of an even grid: mean speed, mean u (to the right) and v (down), frame heights
    a second, and mean absolute grey difference (0–1) to the frame before; zeros on the first frame. ``looked`` (M,)
    indices of the frames the models looked at: ``cls`` (M, D) and ``tokens`` layer → (M, T, D) float16 of the backbone,
    ``grid`` (rows, columns) with T = rows × columns; ``captions`` (M,) sentences. ``encoder`` names the backbone, ""
    without one. ``small`` (N, h, w) uint8 are all frames shrunk and grey, for methods that read pixels. ``left`` (K, 6) are
    things that stay and were not there before: frame, x0, y0, x1, y1 in pixels, seconds since they came.
    """

    name: str
    size: tuple[int, int]
    times: np.ndarray
    motion: np.ndarray = field(default_factory=_rows(0, 0, 4, dtype=np.float16))
    objects: Objects = field(default_factory=Objects)
    looked: np.ndarray = field(default_factory=_rows(dtype=np.int64))
    cls: np.ndarray = field(default_factory=_rows(0, dtype=np.float16))
    tokens: Mapping[str, np.ndarray] = field(default_factory=dict)
    grid: tuple[int, int] = (0, 0)
    captions: tuple[str, ...] = ()
    encoder: str = ""
    small: np.ndarray = field(default_factory=_rows(0, 0, dtype=np.uint8))
    left: np.ndarray = field(default_factory=_rows(6))

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or (np.diff(self.times) < 0).any():
            raise InputError(f"notes of {self.name}", "expected ascending times (N,)")
        n, m = len(self.times), len(self.looked)
        rows = {"motion": (self.motion, n), "cls": (self.cls, m), "captions": (self.captions, m)}
        rows["small"] = (self.small, n)
        rows |= {layer: (value, m) for layer, value in self.tokens.items()}
        for what, (value, wanted) in rows.items():
            if len(value) not in (0, wanted):
                raise InputError(
                    f"notes of {self.name}", f"expected {wanted} rows of {what}, got {len(value)}"
                )
        for what, index in (
            ("looked", self.looked),
            ("objects", self.objects.frame),
            ("left", self.left[:, 0]),
        ):
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < n:
                raise InputError(f"notes of {self.name}", f"{what} name frames that are not there")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames a second, from the median step; 1 for fewer than two frames."""
        steps = np.diff(self.times)
        steps = steps[steps > 0]
        return float(1 / np.median(steps)) if steps.size else 1.0

    def has(self, what: str) -> bool:
        """Whether there is anything of ``what``: motion, objects, people, tokens, cls, captions, small or left."""
        if what == "people":
            return bool(self.objects.person.any())
        return len(getattr(self, what)) > 0

    def part(self, start: int, stop: int) -> Notes:
        """The notes of frames ``start`` to ``stop`` (exclusive), at their own times."""
        look = (self.looked >= start) & (self.looked < stop)
        seen = (self.objects.frame >= start) & (self.objects.frame < stop)
        own = self.objects.where(seen)
        said = np.flatnonzero(look).tolist() if self.captions else []
        left = self.left[(self.left[:, 0] >= start) & (self.left[:, 0] < stop)]
        return replace(
            self,
            times=self.times[start:stop],
            motion=self.motion[start:stop],
            objects=replace(own, frame=own.frame - start),
            looked=self.looked[look] - start,
            cls=self.cls[look] if len(self.cls) else self.cls,
            tokens={layer: value[look] for layer, value in self.tokens.items()},
            captions=tuple(self.captions[i] for i in said),
            small=self.small[start:stop],
            left=_later(left, -start),
        )

    def save(self, path: str | Path) -> Path:
        """Write everything to one ``.npz`` without objects in it."""
        path = Path(path)
        about = {
            "name": self.name,
            "size": self.size,
            "grid": self.grid,
            "captions": self.captions,
            "encoder": self.encoder,
        }
        arrays: dict[str, Any] = {
            "times": self.times,
            "motion": self.motion,
            "looked": self.looked,
            "cls": self.cls,
            "small": self.small,
            "left": self.left,
        }
        arrays |= {f"tokens.{layer}": value for layer, value in self.tokens.items()}
        arrays |= {f"objects.{f.name}": getattr(self.objects, f.name) for f in fields(Objects)}
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Notes:
        """What :meth:`save` wrote. Raises MediaError where the file is damaged or something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            about = json.loads(stored.pop("about").tobytes())
            parts = {
                prefix: {n.removeprefix(prefix): stored.pop(n) for n in list(stored) if n.startswith(prefix)}
                for prefix in ("tokens.", "objects.")
            }
            about |= {
                "size": tuple(about["size"]),
                "grid": tuple(about["grid"]),
                "captions": tuple(about["captions"]),
            }
            return cls(**about, **stored, tokens=parts["tokens."], objects=Objects(**parts["objects."]))
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            raise MediaError(
                str(path), f"holds no notes of a clip: {error}", "watch the clip again"
            ) from error


def joined(parts: Sequence[Notes]) -> Notes:
    """Notes of pieces of one clip, in order of time, as one; tracks keep their numbers.

    Raises:
        InputError: no piece, or pieces of other sizes or encoders.
    """
    if not parts:
        raise InputError("notes", "expected at least one piece")
    parts = [p for p in parts if len(p)] or parts[:1]  # a piece without a frame may not know its size yet
    first = parts[0]
    encoders = {p.encoder for p in parts if p.encoder}  # a piece that no model looked at names none
    if len(encoders) > 1 or any(p.size != first.size for p in parts):
        raise InputError(f"notes of {first.name}", "expected pieces of one size and encoder")
    starts = np.cumsum([0, *(len(p) for p in parts)])[:-1]
    width = max(p.objects.deep.shape[1] for p in parts)
    moved = [
        replace(p.objects, frame=p.objects.frame + s, deep=_wide(p.objects.deep, width))
        for p, s in zip(parts, starts, strict=True)
    ]
    objects = Objects(**{f.name: _stacked([getattr(o, f.name) for o in moved]) for f in fields(Objects)})
    layers = {layer for p in parts for layer in p.tokens}
    return Notes(
        first.name,
        first.size,
        np.concatenate([p.times for p in parts]),
        _stacked([p.motion for p in parts]),
        objects,
        np.concatenate([p.looked + s for p, s in zip(parts, starts, strict=True)]),
        _stacked([p.cls for p in parts]),
        {layer: _stacked([p.tokens[layer] for p in parts if layer in p.tokens]) for layer in sorted(layers)},
        next((p.grid for p in parts if p.grid != (0, 0)), (0, 0)),
        tuple(c for p in parts for c in p.captions),
        encoders.pop() if encoders else "",
        _stacked([p.small for p in parts]),
        np.concatenate([_later(p.left, int(s)) for p, s in zip(parts, starts, strict=True)]),
    )


def _later(left: np.ndarray, frames: int) -> np.ndarray:
    """Rows of :attr:`Notes.left` so many frames later."""
    out = left.copy()
    out[:, 0] += frames
    return out


def _wide(deep: np.ndarray, width: int) -> np.ndarray:
    """Objects of a piece that the backbone did not look at, beside those of pieces that it did."""
    return deep if deep.shape[1] == width else np.full((len(deep), width), np.nan, deep.dtype)


def _stacked(values: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other; pieces without rows do not say how wide the others are."""
    filled = [v for v in values if len(v)]
    return np.concatenate(filled) if filled else values[0]
