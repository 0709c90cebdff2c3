"""Point clouds for MuSc-V2 (arXiv 2511.10047, section on iterative point grouping): groups, features, the way back.

A cloud is (n, 3), or organised as a picture is, (H, W, 3), with points that are missing all zero or not finite. Centres are
drawn farthest-first; a group is the neighbourhood of a centre, grown along the surface where that bends. What a group looks
like is told by an encoder that is handed in (Point-MAE in the paper) or, by default, by hand-made local geometry.

Differs from the paper: no learnt encoder is packaged; growth adds one point at a time (the authors' code tens at once).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from oddwatch.core import InputError

FLAT = 0.01
"""Curvature below which a neighbourhood counts as flat."""
FEWEST = 8
"""Fewest points of a cloud."""


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """``points`` (n, 3) float64; of an organised cloud also ``pixels`` (n,) int, their flat places in ``shape`` (H, W)."""

    points: np.ndarray
    pixels: np.ndarray | None = None
    shape: tuple[int, int] | None = None


def read(cloud: np.ndarray | Cloud, name: str = "cloud") -> Cloud:
    """The points of a cloud (n, 3) or (H, W, 3) that are there.

    Raises:
        InputError: another shape, numbers that are none in a cloud without order, or fewer than 8 points.
    """
    if isinstance(cloud, Cloud):
        return cloud
    x = np.asarray(cloud, np.float64)
    if x.ndim not in (2, 3) or x.shape[-1] != 3:
        raise InputError(name, f"expected shape (n, 3) or (H, W, 3), got {x.shape}")
    finite = np.isfinite(x).all(-1)
    if x.ndim == 2 and not finite.all():
        raise InputError(name, "has points that are not finite", "leave them out")
    there = finite & (x != 0).any(-1) if x.ndim == 3 else finite
    if there.sum() < FEWEST:
        raise InputError(name, f"expected at least {FEWEST} points, got {int(there.sum())}")
    if x.ndim == 2:
        return Cloud(x)
    return Cloud(x[there], np.flatnonzero(there), (x.shape[0], x.shape[1]))


def farthest(points: np.ndarray, n: int, start: int = 0) -> np.ndarray:
    """Indices of ``n`` of the ``points`` (m, d): ``start``, then always the one farthest from those there are (ties: the
    first)."""
    x = np.asarray(points, np.float64)
    if not 1 <= n <= len(x):
        raise InputError("n", f"expected 1 to {len(x)} (the number of points), got {n}")
    chosen = np.empty(n, np.int64)
    chosen[0] = start
    gap = np.full(len(x), np.inf)
    for i in range(1, n):
        np.minimum(gap, ((x - x[chosen[i - 1]]) ** 2).sum(1), out=gap)
        chosen[i] = int(gap.argmax())
    return chosen


def curvature(eigenvalues: np.ndarray) -> np.ndarray:
    """The least of the eigenvalues (…, 3) of neighbourhoods' covariances over their sum, 0 to 1/3; 0 for a single spot."""
    values = np.maximum(np.asarray(eigenvalues, np.float64), 0)
    return values.min(-1) / np.maximum(values.sum(-1), 1e-300)


def shapes(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (G, 3), rising, and eigenvectors (G, 3, 3), in columns, of the covariances of points (G, k, 3)."""
    centred = neighbours - neighbours.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("gka,gkb->gab", centred, centred) / neighbours.shape[1])
    return values, vectors


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A cloud in groups: ``points`` (n, 3), ``centres`` (G,) and ``members`` (G, size) as indices of points, and the
    ``curvature`` (G,) around each centre."""

    points: np.ndarray
    centres: np.ndarray
    members: np.ndarray
    curvature: np.ndarray

    @property
    def neighbourhoods(self) -> np.ndarray:
        """(G, size, 3) the members' places relative to their centre, as point encoders take them."""
        return self.points[self.members] - self.points[self.centres][:, None]


PointEncoder = Callable[[Groups], Sequence[np.ndarray]]
"""Features of the groups of one cloud, one array (G, D) a layer."""


def grouped(points: np.ndarray, n: int = 1024, size: int = 128, core: int = 80, grow: bool = True) -> Groups:
    """``n`` groups of ``size`` points (each at most as many as there are).

    Where the ``size`` nearest points of a centre are flat (curvature below 0.01) they are the group. Elsewhere it starts
    with the ``core`` nearest, and of the 2·``size`` nearest the one nearest to any point of the group is added until
    it is full, so that it follows the surface. ``grow=False`` takes the nearest everywhere.
    """
    x = np.asarray(points, np.float64)
    size = min(size, len(x))
    centres = farthest(x, min(n, len(x)))
    candidates = cKDTree(x).query(x[centres], k=min(2 * size, len(x)))[1].reshape(len(centres), -1)
    members = candidates[:, :size].copy()
    bend = curvature(shapes(x[members])[0])
    bent = np.flatnonzero(bend >= FLAT) if grow else np.empty(0, np.int64)
    for start in range(0, len(bent), 64):
        part = bent[start : start + 64]
        members[part] = _grown(x, candidates[part], size, min(core, size))
    return Groups(x, centres, members, bend)


def _grown(x: np.ndarray, candidates: np.ndarray, size: int, core: int) -> np.ndarray:
    """Members (g, size) grown from the first ``core`` of ``candidates`` (g, c), nearest to the centre first."""
    places = x[candidates]
    squares = np.einsum("gcd,gcd->gc", places, places)
    gap = squares[:, :, None] + squares[:, None, :core]
    gap -= 2 * np.einsum("gcd,gkd->gck", places, places[:, :core])
    reach = gap.min(2)
    reach[:, :core] = np.inf
    picked = np.empty((len(candidates), size), np.int64)
    picked[:, :core] = np.arange(core)
    rows = np.arange(len(candidates))
    for i in range(core, size):
        picked[:, i] = reach.argmin(1)
        new = places[rows, picked[:, i]]
        np.minimum(reach, ((places - new[:, None]) ** 2).sum(2), out=reach)
        np.put_along_axis(reach, picked[:, : i + 1], np.inf, axis=1)
    return np.take_along_axis(candidates, picked, 1)


def geometry(groups: Groups) -> list[np.ndarray]:
    """Hand-made features of groups, one layer (G, 49) float32: a default where no learnt encoder is at hand.

    Per group: histograms of the heights above its plane, and, in the manner of FPFH (Rusu et al., ICRA 2009), of the angles
    between the centre's normal, a member's normal and the line between them (11 bins each, soft, square roots, so
    that their distance is Hellinger's); how line-, plane- and ball-like it is; its size against the cloud's median; how far
    its mean lies from its centre (edges, holes). Angles are unsigned, so no view point is needed, and a dent looks like
    a bump. Turning or scaling the whole cloud changes nothing.
    """
    x = groups.points
    near = cKDTree(x).query(x, k=min(16, len(x)))[1]
    normals = shapes(x[near])[1][:, :, 0]
    around = groups.neighbourhoods
    values, vectors = shapes(around)
    radius = np.sqrt(np.maximum(values.sum(-1), 1e-300))
    mean = around.mean(1)
    heights = np.abs(np.einsum("gkd,gd->gk", around - mean[:, None], vectors[:, :, 0])) / radius[:, None]
    lengths = np.linalg.norm(around, axis=-1)
    lines = around / np.maximum(lengths, 1e-300)[..., None]
    own, theirs = normals[groups.centres], normals[groups.members]
    known = lengths > 0
    tables = [
        _soft(np.minimum(heights, 1), np.ones_like(known)),
        _soft(_angle(np.einsum("gd,gkd->gk", own, theirs)), known),
        _soft(_angle(np.einsum("gd,gkd->gk", own, lines)), known),
        _soft(_angle(np.einsum("gkd,gkd->gk", theirs, lines)), known),
    ]
    most = np.maximum(values[:, 2], 1e-300)
    spread = np.log(radius / np.maximum(np.median(radius), 1e-300))
    more = [
        (values[:, 2] - values[:, 1]) / most,
        (values[:, 1] - values[:, 0]) / most,
        np.sqrt(np.maximum(values[:, 0], 0) / most),
        np.clip(spread, -1, 1),
        np.linalg.norm(mean, axis=1) / radius,
    ]
    return [np.concatenate([*tables, np.stack(more, 1)], 1).astype(np.float32)]


def _angle(cosines: np.ndarray) -> np.ndarray:
    """Unsigned angles as 0 (along) to 1 (across)."""
    return np.arccos(np.clip(np.abs(cosines), 0, 1)) / (np.pi / 2)


def _soft(values: np.ndarray, known: np.ndarray, bins: int = 11) -> np.ndarray:
    """(G, bins) square roots of histograms of values (G, k) in 0–1, each shared between its two nearest bins; only where
    ``known``."""
    at = values * (bins - 1)
    low = np.minimum(at.astype(np.int64), bins - 2)
    upper = (at - low) * known
    rows = np.arange(len(values))[:, None] * bins
    flat = len(values) * bins
    table = np.bincount((rows + low).ravel(), (known - upper).ravel(), flat)
    table += np.bincount((rows + low + 1).ravel(), upper.ravel(), flat)
    table = table.reshape(-1, bins)
    return np.sqrt(np.maximum(table, 0) / np.maximum(table.sum(1, keepdims=True), 1e-300))


def aggregated(features: np.ndarray, groups: Groups, radii: Sequence[int] = (1, 3, 5)) -> np.ndarray:
    """SNAMD of groups (G, D): where it is flat, the r nearest groups weighted by exp(−‖f − f_centre‖), for each r, side by
    side and averaged back to D in runs; where it bends, the feature itself."""
    places = groups.points[groups.centres]
    most = min(max(radii), len(places))
    near = cKDTree(places).query(places, k=most)[1].reshape(len(places), most)
    theirs = features[near]
    weights = np.exp(-np.linalg.norm(theirs - features[:, None], axis=-1, keepdims=True))
    pooled = [(theirs[:, :r] * weights[:, :r]).sum(1) / weights[:, :r].sum(1) for r in radii]
    joined = np.concatenate(pooled, 1).reshape(*features.shape, len(radii)).mean(2)
    out: np.ndarray = np.where((groups.curvature < FLAT)[:, None], joined, features)
    return out


def interpolator(centres: np.ndarray, points: np.ndarray, k: int = 3) -> sparse.csr_array:
    """Weights (n, G) from values at ``centres`` (G, 3) to ``points`` (n, 3): the ``k`` nearest, by one over squared
    distance, adding up to one (PointNet++)."""
    k = min(k, len(centres))
    distances, near = cKDTree(centres).query(points, k=k)
    distances, near = distances.reshape(-1, k), near.reshape(-1, k)
    scale = max(float(np.median(distances[:, -1])), 1e-150)
    weights = 1 / ((distances / scale) ** 2 + 1e-8)
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(points)), k)
    return sparse.csr_array((weights.ravel(), (rows, near.ravel())), shape=(len(points), len(centres)))


def correspondence(
    groups: Groups, cloud: Cloud, grid: tuple[int, int]
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Means (T, G) from groups to the tokens of a picture's ``grid``, and (G, T) from tokens to groups, by the pixels of
    the groups' members; a token without a point has an empty row.

    The paper leaves the weights open; a member point is one vote here (the authors' code looks at centres only).

    Raises:
        InputError: a cloud that is not organised as a picture.
    """
    if cloud.pixels is None or cloud.shape is None:
        raise InputError("cloud", "is not organised", "give (H, W, 3), aligned with its picture")
    height, width = cloud.shape
    y, x = np.divmod(cloud.pixels[groups.members], width)
    token = (y * grid[0] // height) * grid[1] + x * grid[1] // width
    group = np.broadcast_to(np.arange(len(token))[:, None], token.shape)
    votes = sparse.csr_array(
        (np.ones(token.size), (token.ravel(), group.ravel())), shape=(grid[0] * grid[1], len(token))
    )
    return _rows_to_one(votes), _rows_to_one(votes.T.tocsr())


def _rows_to_one(table: sparse.csr_array) -> sparse.csr_array:
    total = np.asarray(table.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(total, 1)) @ table)
