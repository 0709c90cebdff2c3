"""Few points that stand for many: greedy k-centre (the same as farthest point sampling), and random projections.

Greedy k-centre takes the point farthest from all points taken so far, again and again (Gonzalez 1985; PatchCore, arXiv
2106.08265, section 3.2). Done literally, every new centre is compared with every point. Here the distances are refreshed
lazily: a distance that was right some centres ago can only have fallen since, so that it is an upper bound, and a point
is looked at again only when its bound is among the largest. These few are compared with one another in one matrix
product, and as many centres are taken from it as lie above every bound outside. The centres are the literal loop's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oddwatch.core import InputError

ROUND = 2048
"""Points that are compared with one another at a time: their products take 16 MB."""
SAME = 1e-6
"""Squared distances below this share of the largest squared length are rounding: the points are one point."""


def k_centre(
    points: np.ndarray,
    keep: int | float,
    *,
    seed: int = 0,
    projection: int | None = None,
    start: int | None = None,
    limit: int | None = None,
    given: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Indices (m,) int64 of ``points`` (n, D), in the order taken, that leave no point far from all of them.

    ``keep``: how many (int, 1 or more), or a share of the points (float in (0, 1]). ``start`` is the first one (by
    default drawn by ``seed``); among equally far points the first is taken. Fewer are returned where all points are
    already covered (equal points are taken once). ``projection``: measure distances after a sparse random projection
    to that many dimensions. ``limit``: where there are more points than this, the search runs over ``limit`` of them
    drawn evenly by ``seed`` (the start among them). Float16 points are read as they are, so that they need half the
    memory. ``given`` (g, D) are centres there are already: they are not returned, and the search goes on from them
    instead of from a start. ``progress(taken, of)`` is told now and then.

    Raises:
        InputError: points that are not (n, D) or not finite, or an impossible ``keep``, ``start`` or ``limit``.
    """
    points = np.asarray(points)
    if points.ndim != 2 or not len(points):
        raise InputError("points", f"expected shape (n, D) with at least one row, got {points.shape}")
    n = len(points)
    wanted = share_of(keep, n)
    if limit is not None and limit < 1:
        raise InputError("limit", f"expected 1 or more, got {limit}")
    if given is not None and (given.ndim != 2 or given.shape[1] != points.shape[1] or not len(given)):
        raise InputError("given", f"expected shape (g, {points.shape[1]}), got {given.shape}")
    rng = np.random.default_rng(seed)
    first = int(rng.integers(n)) if start is None else start
    if not 0 <= first < n:
        raise InputError("start", f"expected an index from 0 to {n - 1}, got {start}")
    rows = np.arange(n)
    if limit is not None and n > limit:
        rest = np.delete(rows, first)
        rows = np.sort(np.append(rng.choice(rest, limit - 1, replace=False), first))
        points, wanted = points[rows], min(wanted, limit)
        first = int(np.searchsorted(rows, first))
    if projection is not None:
        matrix = sparse_projection(points.shape[1], projection, seed=seed)
        points, given = _project(points, matrix), None if given is None else _project(given, matrix)
    return rows[_Search(points, first, wanted, given, progress).run()]


def share_of(keep: int | float, n: int) -> int:
    """How many of ``n`` points ``keep`` means: itself (at most n), or for a float max(1, int(n·keep))."""
    if isinstance(keep, float):
        if not 0 < keep <= 1:
            raise InputError("keep", f"expected a share above 0 and up to 1, got {keep}")
        return max(1, int(n * keep))
    if keep < 1:
        raise InputError("keep", f"expected 1 point or more, got {keep}")
    return min(int(keep), n)


def projection_size(n: int, eps: float = 0.9) -> int:
    """Dimensions that keep the distances of ``n`` points to 1 ± ``eps`` (Johnson and Lindenstrauss):
    ⌊4 ln n / (eps²/2 − eps³/3)⌋."""
    if n < 1 or not 0 < eps < 1:
        raise InputError("projection", f"expected n of 1 or more and eps in (0, 1), got {n} and {eps}")
    return max(1, int(4 * np.log(n) / (eps**2 / 2 - eps**3 / 3)))


def sparse_projection(width: int, to: int, *, seed: int = 0) -> np.ndarray:
    """A matrix (width, to) float32 that keeps distances on average: 1/√width of its numbers are
    ±√(1/(density·to)), the rest 0 (Li, Hastie and Church, KDD 2006)."""
    if width < 1 or to < 1:
        raise InputError("projection", f"expected 1 dimension or more, got {width} to {to}")
    rng = np.random.default_rng(seed)
    density = 1 / np.sqrt(width)
    signs = np.where(rng.random((width, to)) < 0.5, -1.0, 1.0)
    signs[rng.random((width, to)) >= density] = 0
    return (signs * np.sqrt(1 / (density * to))).astype(np.float32)


def _project(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    out = np.empty((len(points), matrix.shape[1]), np.float32)
    for lo in range(0, len(points), 16_384):
        out[lo : lo + 16_384] = points[lo : lo + 16_384].astype(np.float32) @ matrix
    return out


class _Search:
    """The lazy loop over ``points`` (n, D); squared distances, float32, measured from the start."""

    def __init__(
        self,
        points: np.ndarray,
        start: int,
        wanted: int,
        given: np.ndarray | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.points, self.progress = points, progress
        # From a point of the set: small numbers, and whole numbers stay whole, so that equal distances stay equal.
        self.origin = points[start].astype(np.float32)
        self.squares = np.empty(len(points), np.float32)
        for lo in range(0, len(points), 16_384):
            part = points[lo : lo + 16_384] - self.origin
            self.squares[lo : lo + 16_384] = np.einsum("nd,nd->n", part, part)
        if not np.isfinite(self.squares).all():
            raise InputError("points", "expected finite numbers (squares too)")
        self.same = SAME * float(self.squares.max())
        self.bound = np.full(len(points), np.inf, np.float32)
        self.seen = np.zeros(len(points), np.int64)
        self.given = 0 if given is None else len(given)
        self.picked = np.empty(wanted, np.int64)
        self.centres = np.empty((self.given + wanted, points.shape[1]), np.float32)
        self.norms = np.empty(self.given + wanted, np.float32)
        self.taken = self.given
        if given is None:
            self._take(start, points[start] - self.origin)
        else:
            self.centres[: self.given] = given - self.origin
            self.norms[: self.given] = np.einsum("nd,nd->n", *[self.centres[: self.given]] * 2)

    def run(self) -> np.ndarray:
        """The indices taken."""
        n, wanted, size = len(self.points), len(self.norms), ROUND
        self._refresh_all()
        while self.taken < wanted:
            if size >= n:
                rows, outside = np.arange(n), np.float32(-1)
            else:
                order = np.argpartition(self.bound, n - size - 1)
                rows, outside = np.sort(order[n - size :]), self.bound[order[n - size - 1]]
            x = self._refresh(rows)
            if self.bound[rows].max() <= self.same and outside <= self.same:
                break
            before = self.taken
            self._greedy(rows, x, float(outside))
            stuck = self.taken == before and (self.seen[rows] == self.taken).all()
            # Ties with points outside: the first index may be there, so look at more of them.
            tied = stuck and self.bound[rows].max() <= outside
            size = size * 2 if tied else ROUND
            if self.progress is not None:
                self.progress(self.taken - self.given, wanted - self.given)
        return self.picked[: self.taken - self.given]

    def _greedy(self, rows: np.ndarray, x: np.ndarray, outside: float) -> None:
        """Take centres among ``rows`` (sorted; x their centred vectors) while they lie above ``outside``."""
        alive = np.flatnonzero(self.bound[rows] > max(outside, self.same))
        if not len(alive):
            return
        rows, x = rows[alive], x[alive]
        best, squares = self.bound[rows], self.squares[rows]
        table = _distances(x, squares, x, squares) if len(rows) <= 4 * ROUND else None
        floor = max(outside, self.same)
        while self.taken < len(self.norms):
            at = int(best.argmax())
            if best[at] <= floor:
                break
            self._take(int(rows[at]), x[at])
            one = slice(at, at + 1)
            away = _distances(x[one], squares[one], x, squares)[0] if table is None else table[at]
            np.minimum(best, away, out=best)
            best[at] = -1
        self.bound[rows], self.seen[rows] = best, self.taken

    def _take(self, index: int, centred: np.ndarray) -> None:
        self.picked[self.taken - self.given] = index
        self.centres[self.taken], self.norms[self.taken] = centred, self.squares[index]
        self.bound[index] = -1
        self.taken += 1

    def _refresh_all(self) -> None:
        for lo in range(0, len(self.points), 16_384):
            self._refresh(np.arange(lo, min(lo + 16_384, len(self.points))))

    def _refresh(self, rows: np.ndarray) -> np.ndarray:
        """Bring the bounds of ``rows`` up to date; their centred vectors (m, D)."""
        x = self.points[rows] - self.origin
        seen = self.seen[rows]
        for since in np.unique(seen[seen < self.taken]):
            group = np.flatnonzero(seen == since)
            part = x if len(group) == len(rows) else x[group]
            which = rows[group]
            for lo in range(int(since), self.taken, 4096):
                new = slice(lo, min(lo + 4096, self.taken))
                found = _distances(part, self.squares[which], self.centres[new], self.norms[new]).min(1)
                self.bound[which] = np.minimum(self.bound[which], found)
        self.seen[rows] = self.taken
        return x


def _distances(a: np.ndarray, a_squares: np.ndarray, b: np.ndarray, b_squares: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) of rows a (n, D) and b (m, D), not below 0."""
    out: np.ndarray = a @ b.T
    out *= -2
    out += b_squares
    out += a_squares[:, None]
    return np.maximum(out, 0, out=out)
