"""AnomalyNCD: found anomalies sorted into kinds that nobody named before (arXiv 2410.14379, CVPR 2025).

Idea. 1. MEBin makes masks of the anomaly maps of any detector. 2. Each region is cut out, with some surroundings. 3. Its
feature is read from the tokens under the mask only. 4. Groups are learnt beside the known kinds of another, labelled set of
defects, as novel classes; crops that hardly stand out are pulled to the first of them, the normal one. 5. A picture's kind
is that of its crops, large ones counting more.

Needs the maps and pictures of a set, and the number of kinds; for ``method="train"`` also torch and labelled defects: some
given ones, or normal pictures to draw them on. ``method="cluster"`` needs neither.

Differs from the paper: the embedded ViT-S/14 in place of DINO ViT-B/8, kept frozen: attention of the class token to masked
tokens only becomes the mean of the masked tokens of middle layers, and one trained block of attention to them stands for the
fine-tuned last blocks. All that is trained starts anew, so the rate is 0.1, that of SimGCD (arXiv 2211.11727), from which the
recipe comes, and not the paper's 0.003 for fine-tuning. What all found crops share, the mean of their features, is taken off
first: tokens of middle layers have a large common part. ``views`` varied copies are made of each crop once and drawn from,
where the paper varies at every step; at most ``kept`` tokens of a mask are used; the projector is ``hidden`` = 512 wide (the
paper: 2048). Without given defects the labelled set are generated ones (``oddwatch.datasets.defects``), their kinds the
classes, in place of AeBAD. A crop is not cut to its middle at the end, which would lose regions at its rim. ``classes`` counts
the kinds of anomalies; the normal group comes on top, is called 0, and exists in training where ``normals`` says that pictures
may be normal (the paper's number includes it); where none is, a picture without a stable region is cut out about its map's
highest point. ``cluster`` is ours: Ward's hierarchy, or k-means, of the masked means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.special import softmax

from oddwatch.core import Frame, ImageEncoder, InputError, Progress, Scores, Tokens
from oddwatch.detectors.image import maps as post
from oddwatch.detectors.image.components import kmeans, nearest
from oddwatch.detectors.image.discovery import Bags, learn
from oddwatch.detectors.image.heads import eyes_of, on_grid
from oddwatch.detectors.image.mebin import Binarised, Square, binarise, cut, squares
from oddwatch.detectors.image.tokens import mean_of, unit

Picture = Frame | np.ndarray
Cut = tuple[np.ndarray, np.ndarray]
"""Pixels (H, W, 3) uint8 and mask (H, W) bool."""
CLEAR = 0.5
"""Crops that reach this share of the search range are anomalous for certain: their targets are not corrected."""
GENERATED = 12
"""Generated defects of each kind, where no labelled ones are given."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One region: which picture, the square around it in pixels of the picture, how much it stands out (0–1 over the
    search range) and the area of its mask in pixels (0: a picture without any region, taken whole)."""

    picture: int
    square: Square
    score: float
    area: int


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """``labels`` (N,) of the pictures and ``crop_labels`` (M,) of the ``crops``: 0 normal, 1 … kinds of anomalies.
    ``probabilities`` (M, K) of the crops' groups, the first being 0; ``found`` the masks on the maps' own grid."""

    labels: np.ndarray
    crop_labels: np.ndarray
    crops: tuple[Crop, ...]
    probabilities: np.ndarray
    found: Binarised


@dataclass(kw_only=True, eq=False)
class AnomalyNCD:
    """Grouping of found anomalies.

    ``method``: ``train`` or ``cluster`` (by ``ward`` or ``kmeans``). ``layers`` are averaged, each token at unit length;
    ``temperature`` is that of region merging, in pixels (the paper: 100 for MVTec, else 50). ``normals``: whether some
    of the pictures may be normal.
    """

    NAME: ClassVar[str] = "anomalyncd"

    encoder: str | ImageEncoder = "patches"
    resolution: int = 224
    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    method: Literal["train", "cluster"] = "train"
    cluster: Literal["ward", "kmeans"] = "ward"
    normals: bool = True
    temperature: float = 50.0
    epochs: int = 50
    batch: int = 32
    lr: float = 0.1
    views: int = 4
    kept: int = 64
    hidden: int = 512
    seed: int = 3407

    def __post_init__(self) -> None:
        if self.method not in ("train", "cluster") or self.cluster not in ("ward", "kmeans"):
            raise InputError(
                "method, cluster",
                f"expected train or cluster, ward or kmeans; got {self.method!r}, {self.cluster!r}",
            )
        if (
            min(self.epochs, self.batch, self.kept, self.hidden) < 1
            or self.views < 2
            or self.temperature <= 0
        ):
            raise InputError(
                "epochs, batch, kept, hidden, views, temperature",
                "expected 1 or more, two views, and above 0",
            )

    def group(
        self,
        maps: np.ndarray | Scores,
        pictures: Sequence[Picture],
        *,
        classes: int,
        base: Sequence[tuple[Picture, np.ndarray, Any]] | None = None,
        normal: Sequence[Picture] | None = None,
        low: float | None = None,
        squared: bool = False,
        progress: Progress | None = None,
    ) -> Groups:
        """Sort ``pictures`` into ``classes`` kinds by their anomaly ``maps`` (N, h, w), which cover the whole picture.

        ``base``: labelled defects of another product, each (picture, mask (H, W), label); without, defects are drawn on
        ``normal`` pictures. ``low`` is MEBin's lower end, on the maps' scale; ``squared`` maps (SubspaceAD's) are rooted.

        Raises:
            InputError: maps and pictures that do not fit, or training without ``base`` and ``normal``.
            MissingExtra: torch is not installed, and ``method`` is ``train``.
        """
        frames = _pixels(pictures)
        values = maps.maps if isinstance(maps, Scores) else maps
        if values is None or len(values) != len(frames):
            have = "no maps" if values is None else f"{len(values)}"
            raise InputError("maps", f"expected one for each of {len(frames)} pictures, got {have}")
        if classes < 1:
            raise InputError("classes", f"expected one kind or more, got {classes}")
        found = binarise(values, low=low, squared=squared)
        fit = str(getattr(self.eyes, "fit", "squash"))
        crops, cuts = crops_of(found, frames, fit, always=not self.normals)
        if not any(c.area for c in crops):
            nothing = np.zeros(len(frames), np.int64)
            return Groups(nothing, np.zeros(len(crops), np.int64), crops, np.ones((len(crops), 1)), found)
        if self.method == "train":
            shares = self._trained(crops, cuts, classes, base, normal, progress)
        else:
            shares = self._clustered(crops, cuts, classes)
        labels = merged(shares, crops, len(frames), self.temperature)
        return Groups(labels, shares.argmax(1), crops, shares, found)

    @property
    def eyes(self) -> ImageEncoder:
        """The encoder itself, loaded on first use."""
        self.encoder = eyes_of(self.encoder, self.resolution)
        return self.encoder

    # -- groups --------------------------------------------------------------------------------------------------

    def _clustered(self, crops: Sequence[Crop], cuts: Sequence[Cut], classes: int) -> np.ndarray:
        """(M, classes + 1) one-hot groups of the crops by their masked means; crops without a region are 0."""
        features = self._bags([[c] for c in cuts]).means[:, 0]
        real = np.array([c.area > 0 for c in crops])
        labels = np.zeros(len(crops), np.int64)
        found = unit(features[real] - features[real].mean(0))
        labels[real] = 1 + grouped(found, classes, self.cluster, self.seed)
        return np.eye(classes + 1)[labels]

    def _trained(
        self,
        crops: Sequence[Crop],
        cuts: Sequence[Cut],
        classes: int,
        base: Sequence[tuple[Picture, np.ndarray, Any]] | None,
        normal: Sequence[Picture] | None,
        progress: Progress | None,
    ) -> np.ndarray:
        """(M, classes + 1) probabilities; the first is 0 throughout where no picture is normal."""
        rng = np.random.default_rng(self.seed)
        if base is None and not normal:
            raise InputError(
                "base, normal",
                "training needs labelled defects, or normal pictures to draw them on",
                'give one of both, or use method="cluster"',
            )
        known = base_cuts(base) if base is not None else generated(rng, _pixels(normal or ()), progress)
        labels = np.unique([label for _, label in known], return_inverse=True)[1].astype(np.int64)
        sides = []
        for who, some in (("labelled", [c for c, _ in known]), ("found", list(cuts))):
            if progress is not None:
                progress(f"anomalyncd: views of {who} crops", 0, len(some))
            sides.append(self._bags([[varied(rng, *c) for _ in range(self.views)] for c in some]))
        plain = self._bags([[c] for c in cuts])
        common = plain.means.mean((0, 1))
        sides = [bags.less(common) for bags in sides]
        weight = np.array([max(CLEAR - c.score, 0.0) for c in crops]) * self.normals
        found = learn(
            sides[0], labels, sides[1], plain.less(common), weight, classes + self.normals,
            epochs=self.epochs, batch=self.batch, lr=self.lr, hidden=self.hidden, seed=self.seed, progress=progress,
        )  # fmt: skip
        return found if self.normals else np.concatenate([np.zeros((len(found), 1)), found], 1)

    def _bags(self, views: Sequence[Sequence[Cut]]) -> Bags:
        """The tokens under the mask, at most ``kept`` of them, evenly taken, of each view of each item."""
        flat = [view for item in views for view in item]
        encode = getattr(self.eyes, "encode_up_to", self.eyes.encode)
        filled = np.zeros((len(flat), self.kept), bool)
        tokens = np.zeros((len(flat), self.kept, self.eyes.dim), np.float16)
        for start in range(0, len(flat), 8):
            part = flat[start : start + 8]
            seen = encode([pixels for pixels, _ in part], self.layers)
            level = {n: unit(v) for n, v in seen.layers.items()}
            rows = mean_of(Tokens(seen.cls, level, seen.grid, seen.scale, seen.offset), self.layers)
            for i, (_, mask) in enumerate(part):
                which = masked(mask, seen.grid, self.kept)
                tokens[start + i, : len(which)] = rows[i, which]
                filled[start + i, : len(which)] = True
        shape = (len(views), len(views[0]), self.kept)
        return Bags(tokens.reshape(*shape, -1), filled.reshape(shape))


# -- steps -------------------------------------------------------------------------------------------------------


def crops_of(
    found: Binarised, frames: Sequence[np.ndarray], fit: str = "squash", always: bool = False
) -> tuple[tuple[Crop, ...], list[Cut]]:
    """Squares around the regions of each picture, and what they show.

    A picture without any region is taken whole, with an empty mask; or, where it ``always`` shows an anomaly, its region is
    what lies about its map's highest point and reaches half of that.
    """
    crops, cuts = [], []
    strengths = found.strengths
    for i, pixels in enumerate(frames):
        size = pixels.shape[:2]
        region = found.masks[i] if found.masks[i].any() or not always else peak(found.levels[i])
        mask = post.project(region.astype(np.float32), size, fit) > 0.5
        strength = post.project(strengths[i], size, fit)
        height, width = size
        whole = (min(0, width - height) // 2, min(0, height - width) // 2, max(size))
        for square in squares(mask) or [whole]:
            inside = cut(mask, square) if mask.any() else np.zeros((square[2], square[2]), bool)
            crops.append(Crop(i, square, float(cut(strength, square).max()), int(inside.sum())))
            cuts.append((cut(pixels, square), inside))
    return tuple(crops), cuts


def peak(levels: np.ndarray) -> np.ndarray:
    """The region (H, W) bool of a map about its highest point where it reaches half its height above its lowest."""
    level = levels.astype(np.float32) - levels.min()
    _, numbers = cv2.connectedComponents((level >= level.max() / 2).astype(np.uint8), connectivity=8)
    return np.asarray(numbers == numbers.ravel()[int(level.argmax())]) & bool(level.max() > 0)


def masked(mask: np.ndarray, grid: tuple[int, int], kept: int) -> np.ndarray:
    """Which tokens lie half or more under ``mask`` (H, W): at most ``kept``, evenly taken. Of a mask smaller than that the
    cells that hold most of it, of an empty one all cells."""
    share = on_grid(mask, grid)
    which = np.flatnonzero(share >= min(0.5, float(share.max())))
    if len(which) > kept:
        which = which[np.linspace(0, len(which) - 1, kept).round().astype(int)]
    return which


def grouped(features: np.ndarray, k: int, how: str = "ward", seed: int = 0) -> np.ndarray:
    """(n,) groups 0 … k − 1 of unit features (n, D); fewer groups where there are fewer items."""
    k = min(k, len(features))
    if k < 2:
        return np.zeros(len(features), np.int64)
    if how == "kmeans":
        return nearest(features, kmeans(features, k, seed))
    return np.asarray(fcluster(linkage(features, "ward"), k, "maxclust"), np.int64) - 1


def merged(shares: np.ndarray, crops: Sequence[Crop], pictures: int, temperature: float = 50.0) -> np.ndarray:
    """(N,) the group of each picture: its crops' probabilities (M, K) under :func:`region_weights`."""
    owners = np.array([c.picture for c in crops])
    areas = np.array([c.area for c in crops], float)
    labels = np.zeros(pictures, np.int64)
    for i in np.unique(owners):
        own = owners == i
        labels[i] = int((region_weights(areas[own], temperature) @ shares[own]).argmax())
    return labels


def region_weights(areas: np.ndarray, temperature: float = 50.0) -> np.ndarray:
    """softmax(√area / temperature) of regions (n,) in pixels."""
    return np.asarray(softmax(np.sqrt(areas) / temperature))


def base_cuts(base: Sequence[tuple[Picture, np.ndarray, Any]]) -> list[tuple[Cut, str]]:
    """The crops of labelled defects, with their labels as text."""
    out = []
    for picture, mask, label in base:
        pixels, inside = _pixels([picture])[0], np.asarray(mask) > 0
        if inside.shape != pixels.shape[:2]:
            raise InputError("base", f"a mask is {inside.shape}, its picture {pixels.shape[:2]}")
        out += [((cut(pixels, s), cut(inside, s)), str(label)) for s in squares(inside)]
    if not out:
        raise InputError("base", "no mask has a region in it")
    return out


def generated(
    rng: np.random.Generator, normal: Sequence[np.ndarray], progress: Progress | None = None
) -> list[tuple[Cut, str]]:
    """Crops of defects drawn on normal pictures, ``GENERATED`` of each kind that changes a surface and can be seen there."""
    from oddwatch.datasets.defects import KINDS, LOGICAL, make_defect

    out = []
    kinds = [k for k in KINDS if k not in LOGICAL]
    for done, kind in enumerate(kinds):
        for _ in range(GENERATED):
            at = int(rng.integers(len(normal)))
            try:
                defect = make_defect(rng, normal[at], kind, [normal[at - 1]] if len(normal) > 1 else [])
            except InputError:  # on an even surface some kinds leave no trace
                continue
            square = squares(defect.mask)[0]
            out.append(((cut(defect.pixels, square), cut(defect.mask, square)), kind))
        if progress is not None:
            progress("anomalyncd: drawing defects", done + 1, len(kinds))
    return out


def varied(rng: np.random.Generator, pixels: np.ndarray, mask: np.ndarray) -> Cut:
    """A varied copy of a square crop: seven eighths of its side, mirrored, turned by quarters; other brightness, contrast
    and saturation, sharpness and blur, fewer levels."""
    side = mask.shape[0]
    inner = max(1, round(side * 0.875))
    y, x = (int(rng.integers(side - inner + 1)) for _ in range(2))
    shown, inside = pixels[y : y + inner, x : x + inner], mask[y : y + inner, x : x + inner]
    if mask.any() and not inside.any():  # a small region at the rim must not be lost
        shown, inside = pixels, mask
    for axis in (0, 1):
        if rng.random() < 0.5:
            shown, inside = np.flip(shown, axis), np.flip(inside, axis)
    turns = int(rng.integers(4))
    shown, inside = np.rot90(shown, turns), np.rot90(inside, turns)
    values = shown.astype(np.float32) * float(rng.uniform(0.6, 1.4))
    values = values.mean() + (values - values.mean()) * float(rng.uniform(0.6, 1.4))
    grey = values.mean(2, keepdims=True)
    values = np.clip(grey + (values - grey) * float(rng.uniform(0.6, 1.8)), 0, 255)
    soft = cv2.blur(values, (3, 3))
    values = soft + (values - soft) * float(rng.uniform(0.2, 2.0))
    values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.1, 2.0)) * inner / 224 + 1e-3)
    levels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels & np.uint8(256 - 2 ** int(rng.integers(0, 4))), np.ascontiguousarray(inside)


def _pixels(pictures: Sequence[Picture]) -> list[np.ndarray]:
    if isinstance(pictures, Tokens):
        raise InputError(
            "pictures", "crops are cut out of pictures, and tokens have no pixels", "give pictures"
        )
    return [(p if isinstance(p, Frame) else Frame(p)).pixels for p in pictures]
