"""Fixtures shared by all tests: where the data are, and a made-up search over drawn pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw, ImageFilter

from oddwatch.core import Box, Evidence, Frame, Hit, Query, Reason, Slot, Tokens

ROOT = Path(__file__).resolve().parent.parent

# The same examples in every run: a failing test fails again, on a busy machine too.
settings.register_profile("oddwatch", derandomize=True, deadline=None)
settings.load_profile("oddwatch")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    path = Path(os.environ.get("ODDWATCH_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data at {path}; set ODDWATCH_DATA")
    return path


@dataclass
class MadeUpSearch:
    """What a search gives back, made by hand."""

    query: Query
    hits: list[Hit]
    answer: str = "matches"
    timing: dict[str, float] = field(
        default_factory=lambda: {"parse": 0.0021, "scan": 0.0043, "total": 0.0094}
    )
    like: dict[str, str] | None = None


def street(number: int, size: tuple[int, int] = (1280, 720), lying: bool = True) -> tuple[bytes, Box]:
    """A drawn street with one person in it: the JPEG and the person's box."""
    w, h = size
    picture = Image.new("RGB", size, (176, 192, 204))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, int(h * 0.42), w, h), fill=(122, 122, 118))
    draw.polygon(
        [(0, int(h * 0.62)), (w, int(h * 0.5)), (w, int(h * 0.42)), (0, int(h * 0.42))], fill=(154, 150, 140)
    )
    for i in range(7):
        x, top = i * w // 7 + (number * 37) % 60, int(h * (0.06 + 0.05 * ((i * 7 + number) % 4)))
        draw.rectangle((x, top, x + w // 8, int(h * 0.43)), fill=(140 + 12 * (i % 3), 120 + 9 * (i % 4), 108))
        for row in range(top + 20, int(h * 0.38), 44):
            for column in range(x + 14, x + w // 8 - 20, 40):
                draw.rectangle((column, row, column + 18, row + 24), fill=(74, 88, 100))
    x, y, s = 220 + (number * 173) % (w - 560), int(h * 0.62) + (number * 29) % 90, h / 720
    jacket = [(186, 32, 40), (40, 70, 150), (60, 120, 70), (200, 150, 40)][0 if lying else number % 4]
    if lying:
        draw.ellipse((x - 20, y + 58 * s, x + 250 * s, y + 84 * s), fill=(92, 92, 90))
        draw.ellipse((x, y + 22 * s, x + 46 * s, y + 66 * s), fill=(205, 165, 140))
        draw.rounded_rectangle((x + 44 * s, y + 20 * s, x + 140 * s, y + 72 * s), 16, fill=jacket)
        draw.rounded_rectangle((x + 132 * s, y + 28 * s, x + 236 * s, y + 70 * s), 12, fill=(44, 48, 62))
        box = Box(x, y + 18 * s, x + 238 * s, y + 76 * s)
    else:
        y -= int(90 * s)
        draw.ellipse((x - 10, y + 188 * s, x + 84 * s, y + 204 * s), fill=(92, 92, 90))
        draw.ellipse((x + 20 * s, y, x + 56 * s, y + 42 * s), fill=(205, 165, 140))
        draw.rounded_rectangle((x + 8 * s, y + 40 * s, x + 68 * s, y + 116 * s), 14, fill=jacket)
        draw.rounded_rectangle((x + 14 * s, y + 110 * s, x + 36 * s, y + 196 * s), 8, fill=(44, 48, 62))
        draw.rounded_rectangle((x + 42 * s, y + 110 * s, x + 62 * s, y + 196 * s), 8, fill=(44, 48, 62))
        box = Box(x + 6 * s, y, x + 70 * s, y + 198 * s)
    grain = Image.effect_noise(size, 18).convert("RGB")
    picture = Image.blend(picture.filter(ImageFilter.GaussianBlur(0.8)), grain, 0.08)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue(), box


SENTENCE = "a man in a red jacket lying on the ground without a hat near a zorple"


def made_up_query(text: str = SENTENCE) -> Query:
    """The sentence as a parser would read it; spans follow the text."""
    parts = [
        ("man", "person", {"person.man": 1.0}, False, "body"),
        ("red", "color", {"upper.color.red": 1.0}, False, "upper"),
        ("jacket", "garment", {"upper.type.jacket": 1.0, "upper.type.coat": 0.6}, False, "upper"),
        ("lying", "posture", {"posture.lying": 1.0}, False, "body"),
        ("ground", "place", {"place.street": 0.5, "place.pavement": 0.5}, False, "scene"),
        ("hat", "accessory", {"head.wear.hat": 1.0}, True, "head"),
    ]
    slots = [
        Slot(words, kind, atoms, negated, about, text.index(words), text.index(words) + len(words))
        for words, kind, atoms, negated, about in parts
        if words in text
    ]
    return Query(text, tuple(slots), unread=("zorple",) if "zorple" in text else ())


def made_up_hit(rank: int, box: Box, *, lying: bool, match: bool = True) -> Hit:
    """A hit whose reason has matched, contradicted and unknown words, with regions."""
    upper = Box(box.x0 + box.width * 0.18, box.y0, box.x0 + box.width * 0.6, box.y1)
    p = max(0.02, 0.97 - 0.09 * rank)
    doing = "matched" if lying else "contradicted"
    evidence = (
        Evidence("red", "matched", "upper.color.red", 0.93, upper),
        Evidence("jacket", "matched", "upper.type.jacket", 0.71, upper),
        Evidence("lying", doing, "posture.lying", 0.96 if lying else 0.04, box),
        Evidence("ground", "matched", "place.pavement", 0.64, None),
        Evidence("not hat", "matched", "head.wear.hat", 0.08, Box(box.x0, box.y0, box.x0 + 46, box.y1)),
        Evidence("man", "unknown"),
    )
    said = {
        v: tuple(e.words for e in evidence if e.verdict == v) for v in ("matched", "contradicted", "unknown")
    }
    return Hit(
        rank, f"p-{rank:04x}", f"/footage/north gate/cam-{rank % 3}.mp4", "person", 4.2 - 0.3 * rank,
        camera=f"north gate {rank % 3}", time=61.5 * rank, start=60.0 * rank, end=60.0 * rank + 9, frame=1500 * rank,
        box=box, wall_time=datetime(2026, 3, 1, 14, 5, 9, tzinfo=UTC) + timedelta(seconds=61 * rank), probability=p,
        match=match, stages={"coarse": 4.2 - 0.3 * rank, "parts": 0.4}, reason=Reason(**said, evidence=evidence),
    )  # fmt: skip


Picture = Callable[[Hit], tuple[bytes, float] | None]


@pytest.fixture(scope="session")
def made_up_search() -> Callable[..., tuple[MadeUpSearch, Picture]]:
    """``made_up_search(hits, matches)``: a search over drawn streets and the callable that gives its pictures."""

    def make(hits: int = 6, matches: int = 4, text: str = SENTENCE) -> tuple[MadeUpSearch, Picture]:
        frames: dict[str, bytes] = {}
        found = []
        for rank in range(1, hits + 1):
            jpeg, box = street(rank, lying=rank % 3 != 0)
            hit = made_up_hit(rank, box, lying=rank % 3 != 0, match=rank <= matches)
            frames[hit.id] = jpeg
            found.append(hit)
        answer = "matches" if matches else "nobody matches"
        return MadeUpSearch(made_up_query(text), found, answer), lambda hit: (frames[hit.id], 1.0)

    return make


class ToyEyes:
    """A picture encoder in a few lines: colours and edges of each patch through fixed random planes, blocks of rising depth
    mixing in their neighbours. Good enough to see a patch of another colour, quick enough for every test."""

    dim = 32
    layer_names = (*(f"block_{i}" for i in range(1, 13)), "last")

    def __init__(self, resolution: int = 112) -> None:
        self.resolution, self.fit = resolution, "squash"
        self.id = f"toy/{resolution}"
        self._planes = np.random.default_rng(7).normal(size=(12, self.dim)).astype(np.float32)

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        side = self.resolution // 14
        first = (
            np.stack([self._first(f, side) for f in frames])
            if len(frames)
            else np.empty((0, side * side, self.dim))
        )
        out = {name: self._deep(first, side, self.layer_names.index(name)) for name in layers}
        shapes = [(f.pixels if isinstance(f, Frame) else f).shape for f in frames]
        scale = np.array([(w / self.resolution, h / self.resolution) for h, w, _ in shapes], float).reshape(
            -1, 2
        )
        cls = first.mean(1).astype(np.float32).reshape(-1, self.dim)
        return Tokens(cls, out, (side, side), scale, np.zeros_like(scale))

    def _first(self, frame: Frame | np.ndarray, side: int) -> np.ndarray:
        pixels = frame.pixels if isinstance(frame, Frame) else Frame(frame).pixels
        small = (
            np.asarray(Image.fromarray(pixels).resize((side * 4, side * 4), Image.Resampling.BOX), np.float32)
            / 255
        )
        cells = small.reshape(side, 4, side, 4, 3).transpose(0, 2, 1, 3, 4).reshape(side * side, 16, 3)
        mean, spread = cells.mean(1), cells.std(1)
        return np.tanh(np.concatenate([mean, spread, mean**2, spread**0.5], 1) @ self._planes).astype(
            np.float32
        )

    def _deep(self, x: np.ndarray, side: int, depth: int) -> np.ndarray:
        field = x.reshape(-1, side, side, self.dim)
        near = (
            np.roll(field, 1, 1) + np.roll(field, -1, 1) + np.roll(field, 1, 2) + np.roll(field, -1, 2)
        ) / 4
        share = 0.02 * depth
        return ((1 - share) * field + share * near).reshape(-1, side * side, self.dim).astype(np.float32)


@pytest.fixture(scope="session")
def toy_eyes() -> type[ToyEyes]:
    """The class of a toy encoder: ``toy_eyes()`` sees 8 × 8 patches, ``toy_eyes(224)`` 16 × 16."""
    return ToyEyes


@pytest.fixture(scope="session")
def plates() -> Callable[..., list[np.ndarray]]:
    """``plates(n, seed, odd)``: n small grey plates with grain and two stripes; ``odd`` ones carry a red stain whose place
    is drawn by chance."""

    def make(n: int, seed: int = 0, odd: bool = False, size: tuple[int, int] = (96, 96)) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        out = []
        for _ in range(n):
            h, w = size
            picture = np.full((h, w, 3), 150.0) + rng.normal(0, 6, (h, w, 1)) + rng.normal(0, 4)
            picture[h // 3 : h // 3 + 6] -= 60
            picture[:, w // 4 : w // 4 + 6] += 50
            if odd:
                y, x = int(rng.integers(h // 8, h - h // 3)), int(rng.integers(w // 8, w - w // 3))
                picture[y : y + h // 6, x : x + w // 6] = (200, 40, 40)
            out.append(np.clip(picture, 0, 255).astype(np.uint8))
        return out

    return make
