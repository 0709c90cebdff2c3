"""Refiners of anomaly curves: windows, gaps, neighbours, smoothing, votes, gates, and scores per segment to scores per frame.

A curve is an array (N,) of finite numbers in the order of time, higher = more anomalous, of one clip: no window reaches
over the border of a clip. Nothing here changes its input. Widths are in samples: a paper's width in frames has to be
scaled where a clip is not watched frame by frame.

Sources (video-language §1.4, video-trained §1.3): LAVAD arXiv 2404.01014, VERA 2412.01095, AnomalyRuler 2407.10299,
Holmes-VAU 2412.06171, Jigsaw-VAD ECCV 2022, STG-NF 2211.10946, SUVAD, HyCoVAD 2509.22544.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, savgol_filter

from oddwatch.core import InputError

log = logging.getLogger(__name__)


def _curve(values: Any, name: str = "values") -> np.ndarray:
    """``values`` as (N,) float64. Raises InputError for another shape, or numbers that are not finite."""
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != 1:
        raise InputError(name, f"expected one number per sample, got shape {out.shape}")
    if not np.isfinite(out).all():
        count = int((~np.isfinite(out)).sum())
        raise InputError(
            name, f"expected finite numbers, {count} of {out.size} are not", "fill the gaps first"
        )
    return out


def _whole(name: str, value: int, least: int) -> int:
    if value != int(value) or value < least:
        raise InputError(name, f"expected a whole number of {least} or more, got {value}")
    return int(value)


# -- which frames are looked at ----------------------------------------------------------------------------------


def window(center: int, length: int, total: int) -> tuple[int, int]:
    """``[start, stop)`` of the window of ``length`` frames around ``center``, cut at the ends of ``total`` frames."""
    half = _whole("length", length, 1) // 2
    if not 0 <= center < total:
        raise InputError("center", f"expected a frame of 0–{total - 1}, got {center}")
    return max(center - half, 0), min(center + max(half, 1), total)


def spread(total: int, n: int) -> np.ndarray:
    """(min(n, total),) int frames from the first to the last of ``total``, evenly spread, rounded down (LAVAD)."""
    total, n = _whole("total", total, 0), _whole("n", n, 1)
    if total <= n:
        return np.arange(total)
    return np.floor(np.linspace(0, total - 1, n)).astype(np.int64)


def strided(total: int, n: int) -> np.ndarray:
    """(min(n, total),) int frames ⌊k · total / n⌋: the last one is never chosen, unless it is one of few (VERA)."""
    total, n = _whole("total", total, 0), _whole("n", n, 1)
    n = min(n, total)
    return np.arange(n) * total // max(n, 1)


def by_density(scores: Any, n: int) -> np.ndarray:
    """(n,) int frames, more where ``scores`` (N,), 0–1, are high; a frame may be chosen twice (Holmes-VAU).

    With n frames or fewer, or scores that sum to less than 1, evenly spread ones, rounded. Else the curve of cumulated
    scores + 0.1 is cut into steps of equal rise. Of no frames none are chosen.
    """
    s, n = _curve(scores, "scores"), _whole("n", n, 1)
    if (s < 0).any():
        raise InputError("scores", f"expected 0 or more, got {s.min():g}", "scale them to 0–1 first")
    if not s.size:
        return np.zeros(0, np.int64)
    if s.size <= n or s.sum() < 1:
        return np.rint(np.linspace(0, s.size - 1, n)).astype(np.int64)
    risen = np.append(0.0, np.cumsum(s + 0.1))
    at = np.interp(np.linspace(1, np.round(risen[-1]), n), risen, np.arange(s.size + 1))
    return np.clip(np.floor(at), 0, s.size - 1).astype(np.int64)


# -- gaps and neighbours -----------------------------------------------------------------------------------------


def fill_gaps(values: Any, missing: float | None = None) -> np.ndarray:
    """(N,) float64: unknown values replaced along straight lines between the known ones, held at both ends.

    Unknown is NaN (or None), and ``missing`` where a sentinel such as −1 is used. Where nothing is known the values are 0,
    and a warning is logged: no answer is not an anomaly, but should not pass unseen.
    """
    try:
        out = np.asarray(values, dtype=np.float64).copy()
    except TypeError as error:
        raise InputError("values", "expected numbers, NaN or None") from error
    if out.ndim != 1 or np.isinf(out).any():
        raise InputError("values", f"expected one finite or unknown number per sample, got shape {out.shape}")
    known = ~np.isnan(out)
    if missing is not None:
        known &= out != missing
    if known.all():
        return out
    if not known.any():
        log.warning("none of %d values is known: all are taken as 0", out.size)
        return np.zeros(out.size)
    at = np.arange(out.size)
    out[~known] = np.interp(at[~known], at[known], out[known])
    return out


def softmax_neighbours(
    similarity: Any, values: Any, k: int, temperature: float = 1.0, exclude_self: bool = False
) -> np.ndarray:
    """(Q,) float64: for each row of ``similarity`` (Q, K) the mean of the ``k`` most similar keys' ``values`` (K,), weighted
    by softmax(similarity / temperature).

    Of equally similar keys the earlier one counts. ``k`` above the number of keys takes all. ``exclude_self`` leaves out
    the diagonal of a square matrix (a single sample then keeps its value).
    """
    near, v = np.asarray(similarity, dtype=np.float64), _curve(values)
    if near.ndim != 2 or near.shape[1] != v.size:
        raise InputError("similarity", f"expected (Q, {v.size}), got shape {near.shape}")
    if not np.isfinite(near).all():
        raise InputError("similarity", "expected finite numbers")
    if not temperature > 0:
        raise InputError("temperature", f"expected more than 0, got {temperature}")
    k = _whole("k", k, 1)
    if exclude_self and near.shape[0] != near.shape[1]:
        raise InputError("exclude_self", f"expected as many queries as keys, got shape {near.shape}")
    if not near.shape[0] or (exclude_self and v.size == 1):
        return v[: near.shape[0]].copy()
    if not v.size:
        raise InputError("values", "expected at least one key")
    if exclude_self:
        near = near.copy()
        np.fill_diagonal(near, -np.inf)
    chosen = np.argsort(-near, axis=1, kind="stable")[:, : min(k, v.size - exclude_self)]
    z = np.take_along_axis(near, chosen, axis=1)
    weights = np.exp((z - z[:, :1]) / temperature)
    out: np.ndarray = (weights * v[chosen]).sum(axis=1) / weights.sum(axis=1)
    return np.clip(out, v.min(), v.max())


def knn_softmax(
    queries: Any, keys: Any, values: Any, k: int = 10, temperature: float = 1.0, exclude_self: bool = False
) -> np.ndarray:
    """(Q,) float64: :func:`softmax_neighbours` by the cosine of ``queries`` (Q, D) and ``keys`` (K, D).

    LAVAD: temperature 1, 10 neighbours, clips to sentences. VERA: temperature 0.1, 15 % of the segments, itself among them.
    VADTree: temperature 0.1, 10 neighbours. A vector of zeros is equally unlike everything (cosine 0).
    """
    q, other = (_unit(x, name) for x, name in ((queries, "queries"), (keys, "keys")))
    if q.shape[1] != other.shape[1]:
        raise InputError("queries", f"expected {other.shape[1]} numbers each as the keys, got {q.shape[1]}")
    return softmax_neighbours(q @ other.T, values, k, temperature, exclude_self)


def _unit(vectors: Any, name: str) -> np.ndarray:
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise InputError(name, f"expected (N, D) finite numbers, got shape {x.shape}")
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1.0))


# -- segments to frames ------------------------------------------------------------------------------------------


def expand(
    values: Any,
    stride: int = 16,
    total: int | None = None,
    *,
    hold: bool = False,
    last: int | None = None,
) -> np.ndarray:
    """Frame scores from segment scores (h,): each repeated ``stride`` times, cut to ``total`` frames.

    Without ``total`` exactly h · stride frames (the rule of RTFM's lists, tied to the feature file). ``last`` repeats the
    last segment that often instead, whatever the stride (VERA: the length of that segment). ``hold`` repeats the last
    score up to ``total``; without it a ``total`` beyond the segments is an error: the annotation is then of another length.
    """
    v, stride = _curve(values), _whole("stride", stride, 1)
    times = np.full(v.size, stride)
    if last is not None and v.size:
        times[-1] = _whole("last", last, 0)
    out = np.repeat(v, times)
    if total is None:
        return out
    total = _whole("total", total, 0)
    if out.size >= total:
        return out[:total]
    if not hold or not v.size:
        raise InputError("total", f"{v.size} segments of {stride} frames give {out.size} of {total} frames",
                         "pass hold=True to hold the last score" if v.size else "score at least one segment")  # fmt: skip
    return np.append(out, np.full(total - out.size, v[-1]))


def at_times(
    times: Any, values: Any, wanted: Any, rule: Literal["hold", "linear", "nearest"] = "hold"
) -> np.ndarray:
    """(M,) values at the instants ``wanted`` (M,) of a curve (N,) at ascending ``times`` (N,), all in seconds.

    ``hold``: a value holds until the next one (what a live watcher knows); ``linear``: straight lines; ``nearest``: of two
    equally near the earlier. Before the first and after the last time their values are held.
    """
    t, v, at = _curve(times, "times"), _curve(values), _curve(wanted, "wanted")
    if t.size != v.size or (np.diff(t) < 0).any():
        raise InputError("times", f"expected {v.size} ascending times, got {t.size}")
    if not t.size:
        raise InputError("times", "expected at least one value")
    if rule == "linear":
        return np.interp(at, t, v)
    if rule == "hold":
        return v[np.clip(np.searchsorted(t, at, side="right") - 1, 0, t.size - 1)]
    if rule == "nearest":
        return v[np.searchsorted((t[1:] + t[:-1]) / 2, at, side="left")]
    raise InputError("rule", f"expected hold, linear or nearest, got {rule!r}")


# -- smoothing ---------------------------------------------------------------------------------------------------


def gaussian(values: Any, sigma: float) -> np.ndarray:
    """``values`` (N, …) along time, Gaussian of ``sigma`` samples cut at 4 σ, mirrored at the ends (scipy's reflect)."""
    out = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sigma) or sigma < 0:
        raise InputError("sigma", f"expected 0 or more samples, got {sigma}")
    if not out.size or sigma == 0:
        return out.copy()
    return np.asarray(gaussian_filter1d(out, sigma, axis=0, mode="reflect"))


def cascade(values: Any, sigmas: Sequence[float] = (1, 2, 3, 4, 5, 6)) -> np.ndarray:
    """Gaussians one after another (STG-NF): about one of √(Σσ²) samples, 9.5 by default."""
    out = np.asarray(values, dtype=np.float64)
    for sigma in sigmas:
        out = gaussian(out, sigma)
    return out


def moving_average(values: Any, width: int) -> np.ndarray:
    """(N,) means of ``width`` (odd) samples; the first and last ⌊width / 2⌋ stay as they are (Jigsaw-VAD)."""
    v, width = _curve(values), _whole("width", width, 1)
    if width % 2 == 0:
        raise InputError("width", f"expected an odd number, got {width}")
    out = v.copy()
    if v.size >= width:
        half = width // 2
        out[half : v.size - half] = np.convolve(v, np.full(width, 1 / width), mode="valid")
    return out


def vera_kernel(width: int = 15, sigma: float = 10.0) -> np.ndarray:
    """(width,) weights that sum to 1: a Gaussian over ⌊−width/2⌋ … ⌊width/2⌋, off its centre for odd widths, as released."""
    width = _whole("width", width, 1)
    if not sigma > 0:
        raise InputError("sigma", f"expected more than 0, got {sigma}")
    at = np.linspace(np.floor(-width / 2), np.floor(width / 2), width)
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def vera_gaussian(values: Any, width: int = 15, sigma: float = 10.0, compat: bool = False) -> np.ndarray:
    """(N,) smoothed by :func:`vera_kernel` with zeros beyond the ends, so that the ends of a clip sink.

    Aligned by default. The released code reads the wrong stretch where a clip has fewer than ``width`` segments;
    ``compat`` does as it does.
    """
    v, kernel = _curve(values), vera_kernel(width, sigma)
    if not v.size:
        return v
    start = (min(v.size, width) - 1) // 2 if compat else (width - 1) // 2
    return np.convolve(v, kernel)[start : start + v.size]


def position_weight(frames: int) -> np.ndarray:
    """(frames,) weights exp(−½((i − c) / c)²), c = ⌊frames / 2⌋: 1 in the middle, e^−½ at the start (VERA).

    A prior of data sets whose events lie in the middle, not a property of video. Fewer than two frames weigh 1.
    """
    frames = _whole("frames", frames, 0)
    if frames < 2:
        return np.ones(frames)
    c = frames // 2
    return np.asarray(np.exp(-0.5 * ((np.arange(frames) - c) / c) ** 2))


def ema(values: Any, alpha: float | None = None, *, span: float | None = None) -> np.ndarray:
    """(N,) exponential moving average Σ(1 − α)^(t−i) y_i / Σ(1 − α)^(t−i) over i ≤ t: corrected for its start.

    ``alpha`` in (0, 1] (0.33 in AnomalyRuler, the default), or ``span`` ≥ 1 for α = 2 / (span + 1).
    """
    v = _curve(values)
    if alpha is not None and span is not None:
        raise InputError("ema", "expected alpha or span, not both")
    if span is not None and not span >= 1:
        raise InputError("span", f"expected 1 or more samples, got {span}")
    a = 2 / (span + 1) if span is not None else 0.33 if alpha is None else alpha
    if not 0 < a <= 1:
        raise InputError("alpha", f"expected more than 0 and at most 1, got {a}")
    if not v.size:
        return v
    keep = [1.0, -(1 - a)]
    out: np.ndarray = lfilter([1.0], keep, v) / lfilter([1.0], keep, np.ones(v.size))
    return np.clip(out, v.min(), v.max())


def majority(values: Any, threshold: float, reach: int) -> np.ndarray:
    """(N,) bool: more than half of the samples within ``reach`` to both sides lie above ``threshold`` (AnomalyRuler).

    Strictly more, and strictly above: a tie is no. At the ends the window is what there is of it.
    """
    v, reach = _curve(values), _whole("reach", reach, 0)
    above = np.append(0, np.cumsum(v > threshold))
    at = np.arange(v.size)
    first, stop = np.maximum(at - reach, 0), np.minimum(at + reach + 1, v.size)
    out: np.ndarray = 2 * (above[stop] - above[first]) > stop - first
    return out


def savgol(values: Any, width: int = 53, order: int = 3) -> np.ndarray:
    """(N,) Savitzky–Golay: a polynomial of ``order`` over ``width`` (odd) samples, exact on such polynomials (SUVAD).

    A curve shorter than ``width`` uses the largest odd width that fits, and an order below it.
    """
    v, width, order = _curve(values), _whole("width", width, 1), _whole("order", order, 0)
    if width % 2 == 0 or order >= width:
        raise InputError("width", f"expected an odd number above the order {order}, got {width}")
    if not v.size:
        return v
    width = min(width, v.size - (v.size + 1) % 2)
    return np.asarray(savgol_filter(v, width, min(order, width - 1), mode="interp"))


# -- adaptive gates: thresholds from the curve itself, a sample passes when it is ≥ ------------------------------


def gate_by_spread(values: Any, times: float = 1.0) -> float:
    """Mean + ``times`` standard deviations (of the whole curve, not of a sample of it)."""
    v = _some(values)
    return float(v.mean() + times * v.std())


def gate_by_median(values: Any, times: float = 3.0) -> float:
    """Median + ``times`` median absolute deviations (unscaled)."""
    v = _some(values)
    middle = np.median(v)
    return float(middle + times * np.median(np.abs(v - middle)))


def gate_by_share(values: Any, share: float = 0.5) -> float:
    """The value that a share ``share`` (0–1) of the samples stays below (linear between two samples)."""
    if not 0 <= share <= 1:
        raise InputError("share", f"expected 0–1, got {share}")
    return float(np.quantile(_some(values), share))


def _some(values: Any) -> np.ndarray:
    v = _curve(values)
    if not v.size:
        raise InputError("values", "expected at least one, a gate of none is undefined")
    return v
