"""MuSc-V2: mutual scoring of pictures, of point clouds, or of both together (arXiv 2511.10047, TPAMI 2026).

Idea. 1. Tokens are pooled over their neighbours by likeness, so that a small defect is not washed out (SNAMD); point clouds
are grouped along their surface first. 2. Every token or group is compared with every other item of the batch; the mean
of the lowest 30 % of its distances is its score. 3. With both modalities, each one's distances are raised where the
other's are high, on its own scale, by rank replacement (CAE). 4. Maps add up. 5. Picture scores are averaged over items
whose most anomalous spots look alike (RsCon).

Needs at least two items, no normals and no labels; ``fit`` lets known normal pictures judge too (pictures only).

Differs from the paper: the embedded ViT-S/14 at 448 pixels in place of DINO ViT-B/8 at 224, with middle blocks; hand-made
geometry in place of Point-MAE (``point_encoder`` takes any encoder of groups); inner products along 128 principal
components; max(1, ·) distances also for one modality; RsCon keeps the unit of the maps and gives negative similarities no
weight; pixels and points correspond through all members of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from oddwatch.core import InputError
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import Pictures, count, take
from oddwatch.detectors.image.mutual import MutualDetector, groups, lowest, nearest, rank_replace, rescore
from oddwatch.detectors.image.points import (
    Cloud,
    Groups,
    PointEncoder,
    aggregated,
    correspondence,
    geometry,
    grouped,
    interpolator,
    read,
)
from oddwatch.detectors.image.tokens import pool, unit

Link = tuple[sparse.csr_array, sparse.csr_array]


@dataclass(frozen=True, slots=True, eq=False)
class CloudScores:
    """``values`` (N,), higher = more anomalous; ``points``: the scores (n,) of each cloud's points, in the order
    :func:`~oddwatch.detectors.image.points.read` gives them; ``maps`` (N, H, W) where the clouds are organised."""

    values: np.ndarray
    points: tuple[np.ndarray, ...]
    maps: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Solid:
    """A cloud, its groups and their features, one (G, D) a layer, as they are compared."""

    cloud: Cloud
    groups: Groups
    layers: list[np.ndarray]


@dataclass(kw_only=True, eq=False)
class MuScV2(MutualDetector):
    """Mutual scoring with pooling by likeness; arguments of :class:`MutualDetector`, and:

    ``radii``: sides of the neighbourhoods on the grid (odd), numbers of neighbouring groups in a cloud. ``similar=False``
    pools by plain means instead (ablation). ``points``, ``group``: groups a cloud is cut into, points in each.
    ``grow``: groups follow a bent surface. ``cross=False`` scores the modalities apart and only adds their maps (ablation).
    """

    NAME: ClassVar[str] = "musc-v2"

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9")
    radii: tuple[int, ...] = (1, 3, 5)
    neighbours: tuple[int, ...] = (1, 7)
    similar: bool = True
    points: int = 1024
    group: int = 128
    grow: bool = True
    cross: bool = True

    # -- pictures ------------------------------------------------------------------------------------------------

    @property
    def reads_cls(self) -> bool:
        return False

    def _views(self, x: np.ndarray, grid: tuple[int, int]) -> Iterator[np.ndarray]:
        for layer in x:
            yield self._pooled(layer, grid)

    def _pooled(self, layer: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """SNAMD of one layer (B, T, D): the mean over ``radii``, at length 1."""
        total = np.zeros(layer.shape, np.float32)
        for r in self.radii:
            total += pool(layer, grid, r, "similar" if self.similar else "mean")
        return unit(total)

    def _features(self, x: np.ndarray, cls: np.ndarray, patches: np.ndarray) -> np.ndarray:
        """(B, D) the token of the highest score, at the last layer but one."""
        layer = x[max(0, len(x) - 2)]
        return unit(layer[np.arange(len(layer)), patches.argmax(1)])

    # -- point clouds --------------------------------------------------------------------------------------------

    def score_clouds(
        self,
        clouds: Sequence[np.ndarray | Cloud],
        pictures: Pictures | None = None,
        point_encoder: PointEncoder = geometry,
    ) -> CloudScores:
        """Scores of a batch of point clouds, each (n, 3) or (H, W, 3), and of the ``pictures`` taken with them.

        With pictures, clouds must be organised and cover what the picture's input shows. Maps have the clouds' H and W.
        Pictures given to ``fit`` play no part.

        Raises:
            InputError: fewer than two clouds, organised ones of unlike shapes, another number of pictures, or clouds
                that are not organised where there are pictures.
        """
        solid = [read(cloud, f"clouds[{i}]") for i, cloud in enumerate(clouds)]
        if not solid:
            return CloudScores(np.empty(0), ())
        if len(solid) < 2:
            raise InputError("clouds", "expected at least two, to compare with each other", "add more")
        shape = _common_shape(solid, needed=pictures is not None)
        if pictures is not None and count(pictures) != len(solid):
            raise InputError("pictures", f"expected one a cloud ({len(solid)}), got {count(pictures)}")
        most = min(self.points, *(len(cloud.points) for cloud in solid))
        values, features = np.empty(len(solid)), [np.empty(0)] * len(solid)
        points, full = [np.empty(0)] * len(solid), [np.empty(0)] * len(solid)
        for part in groups(len(solid), self.divide_num):
            made = [self._solid(solid[i], most, point_encoder) for i in part]
            found = self._together(made, None if pictures is None else take(pictures, part), shape)
            for i, (dots, one, about) in zip(part, found, strict=True):
                points[i], features[i] = dots, about
                values[i] = (dots if one is None else one).max()
                full[i] = np.empty(0) if one is None else one
        values = rescore(values, np.stack(features), self.neighbours)
        return CloudScores(values, tuple(points), None if shape is None else np.stack(full))

    def _solid(self, cloud: Cloud, n: int, encoder: PointEncoder) -> _Solid:
        made = grouped(cloud.points, n, self.group, grow=self.grow)
        radii = self.radii if self.similar else (1,)
        layers = [unit(aggregated(unit(layer), made, radii)) for layer in encoder(made)]
        if not layers or any(not np.isfinite(layer).all() for layer in layers):
            raise InputError("point_encoder", "gave no layer, or numbers that are not finite")
        return _Solid(cloud, made, layers)

    def _together(
        self, made: Sequence[_Solid], pictures: Pictures | None, shape: tuple[int, int] | None
    ) -> list[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
        """Per item: scores of its points, its map (where organised) and what it is re-scored by."""
        if pictures is None:
            parts, flat, about = self._groups_alone(made), None, None
        else:
            x, tokens = self._gathered(pictures)
            links = [correspondence(one.groups, one.cloud, tokens.grid) for one in made]
            patches, parts = self._both(list(self._views(x, tokens.grid)), made, links)
            about = self._features(x, tokens.cls, patches)
            assert shape is not None
            flat = maps.upsample(patches.reshape(-1, *tokens.grid), shape, align_corners=True)
        out = []
        for i, one in enumerate(made):
            centres = one.groups.points[one.groups.centres]
            dots = interpolator(centres, one.cloud.points) @ parts[i]
            drawn = None if shape is None else self._drawn(dots, one.cloud, shape)
            own = one.layers[max(0, len(one.layers) - 2)][parts[i].argmax()]
            if flat is not None and about is not None and drawn is not None and one.cloud.pixels is not None:
                drawn, own = drawn + flat[i], np.concatenate([about[i], own])
                dots = dots + flat[i].ravel()[one.cloud.pixels]
            out.append((dots, drawn, own))
        return out

    def _groups_alone(self, made: Sequence[_Solid]) -> np.ndarray:
        """Scores (B, G) of the groups of clouds without pictures, the mean over layers."""
        layers = [np.stack([one.layers[i] for one in made]) for i in range(len(made[0].layers))]
        return np.mean([lowest(nearest(x, dims=self.dims), self.share) for x in layers], axis=0)

    def _both(
        self, views: Sequence[np.ndarray], made: Sequence[_Solid], links: Sequence[Link]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of tokens (B, T) and of groups (B, G), the mean over layers; where one modality has fewer layers its last
        goes with the rest of the other's."""
        depth, solid_depth = len(views), len(made[0].layers)
        tokens, parts, steps = [], [], max(depth, solid_depth)
        cache: dict[tuple[str, int], np.ndarray] = {}
        for step in range(steps):
            a, b = min(step, depth - 1), min(step, solid_depth - 1)
            if ("2", a) not in cache:
                cache = {key: kept for key, kept in cache.items() if key == ("3", b)}
                cache["2", a] = nearest(views[a], dims=self.dims)
            if ("3", b) not in cache:
                cache["3", b] = nearest(np.stack([one.layers[b] for one in made]), dims=self.dims)
            flat, solid = cache["2", a], cache["3", b]
            if self.cross:
                pairs = [enhanced(f, s, *link) for f, s, link in zip(flat, solid, links, strict=True)]
                flat, solid = np.stack([f for f, _ in pairs]), np.stack([s for _, s in pairs])
            tokens.append(lowest(flat, self.share))
            parts.append(lowest(solid, self.share))
        return np.mean(tokens, axis=0), np.mean(parts, axis=0)

    def _drawn(self, dots: np.ndarray, cloud: Cloud, shape: tuple[int, int]) -> np.ndarray:
        """Scores of points on the picture's grid, 0 where there is no point, blurred with a radius of 4 pixels."""
        field = np.zeros(shape[0] * shape[1], np.float32)
        field[cloud.pixels] = dots
        return maps.smooth(field.reshape(shape), 4.0)


def enhanced(
    flat: np.ndarray, solid: np.ndarray, to_tokens: sparse.csr_array, to_groups: sparse.csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """CAE: the distances (J, T) of one picture's tokens and (J, G) of its cloud's groups, each raised where the other's are
    high; ``to_tokens`` (T, G) and ``to_groups`` (G, T) carry values across (see :func:`points.correspondence`)."""
    from_solid, from_flat = (to_tokens @ solid.T).T, (to_groups @ flat.T).T
    seen = np.diff(to_tokens.indptr) > 0
    everywhere = np.ones(solid.shape[1], bool)
    return exchanged(flat, from_solid, seen), exchanged(solid, from_flat, everywhere)


def exchanged(own: np.ndarray, other: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """One side of CAE: distances ``own`` (J, T) after hearing the aligned ones of the ``other`` modality (J, T), which exist
    where ``seen`` (T,). The spread over J is the sample deviation, 0 where there is one other item."""
    freedom = 1 if len(own) > 1 else 0
    sure = 1 - rank_replace(own.std(0, ddof=freedom), other.std(0, ddof=freedom))
    heard = np.zeros_like(own)
    heard[:, seen] = rank_replace(own[:, seen], other[:, seen])
    raised = rank_replace(own, np.maximum(own, heard) * sure)
    return np.asarray((own + raised) / 2)


def _common_shape(clouds: Sequence[Cloud], needed: bool) -> tuple[int, int] | None:
    """The one shape of organised clouds; None where none is organised.

    Raises:
        InputError: several shapes, or unorganised clouds among others or where a shape is ``needed``.
    """
    shapes: set[Any] = {cloud.shape for cloud in clouds}
    if len(shapes) > 1:
        raise InputError("clouds", f"expected one shape (H, W, 3), got {sorted(map(str, shapes))}")
    shape: tuple[int, int] | None = shapes.pop()
    if needed and shape is None:
        raise InputError("clouds", "are not organised", "give (H, W, 3), aligned with their pictures")
    return shape


__all__ = ["CloudScores", "MuScV2", "enhanced", "exchanged"]
