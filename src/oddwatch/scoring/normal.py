"""Thresholds and false-alarm rates from the scores of what is normal, and nothing else.

Nothing here knows what a score is: numbers, one per item (a picture, a pixel, a window), higher = more anomalous. A score
raises an alarm when it is **≥** the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from oddwatch.core import InputError, Jsonable
from oddwatch.scoring.calibration import threshold_by_rate

SPREAD, WORTH = 0.2, 4.0


@dataclass(frozen=True, slots=True)
class Threshold(Jsonable):
    """``value`` in the scores' own unit; ``rule`` says how it came about: ``counted`` (enough normal scores to count false
    alarms), ``predicted`` (fewer: a bound for a next normal score) or ``given``; ``note`` says it in words."""

    value: float
    rule: str
    note: str = ""


def scores_of_normal(normal: np.ndarray) -> np.ndarray:
    """The scores (n,) float64, sorted. Raises InputError where there are none, or one is not finite."""
    values = np.sort(np.asarray(normal, dtype=np.float64).ravel())
    if not values.size:
        raise InputError("normal scores", "expected at least one score")
    if not np.isfinite(values).all():
        raise InputError("normal scores", "expected finite numbers", "leave out what could not be scored")
    return values


def normal_threshold(normal: np.ndarray, rate: float, deviation: float | None = None) -> Threshold:
    """The threshold that a share ``rate`` (0–1) of normal items reaches, from scores (n,) of normal items.

    From 1 / ``rate`` scores on, false alarms are counted (:func:`threshold_by_rate`). Fewer cannot show so small a rate:
    the threshold is then the bound of :func:`prediction_bound`, and never below the largest normal score. ``deviation`` is
    the standard deviation that normal scores are expected to have: 1 for a score that is one itself; without it 20 % of
    their mean (normal scores of pictures spread by 10 to 30 %) where the scores look like distances: a positive mean, and
    a deviation of no more than three times that. It counts like four further degrees of freedom.
    """
    values = scores_of_normal(normal)
    counted = threshold_by_rate(values, rate)
    if values.size * rate >= 1 - 1e-9 or rate == 0:
        return Threshold(counted, "counted", f"{rate:.3g} of {values.size} normal scores reach it")
    expected = deviation
    if expected is None:
        expected = SPREAD * float(values.mean())
        if expected <= 0 or float(values.std()) > 3 * expected:
            expected = None
    bound = prediction_bound(values, rate, expected)
    note = f"{values.size} normal scores are too few to count a rate of {rate:.3g}: predicted from their mean and spread"
    return Threshold(max(counted, bound), "predicted", note)


def prediction_bound(
    normal: np.ndarray, rate: float, expected: float | None = None, worth: float = WORTH
) -> float:
    """What the next normal score exceeds with probability ``rate`` (0–1, exclusive) if normal scores (n,) are Gaussian:
    mean + t(1 − rate, ν) · s · √(1 + 1/n), with ν = n − 1 and s their standard deviation.

    The exact one-sided prediction bound of one further observation (Hahn and Meeker, Statistical Intervals, 1991, §4.7).
    Two or three scores say next to nothing of their spread, and t is then huge. An ``expected`` standard deviation counts
    like ``worth`` further degrees of freedom: s² = (worth · expected² + (n − 1) · sd²) / ν, ν = worth + n − 1 (a scaled
    inverse χ² prior of the variance). Of a single score without it nothing can be said: infinity is no threshold, so the
    score itself is the bound.
    """
    if not 0 < rate < 1:
        raise InputError("rate", f"expected a share between 0 and 1, got {rate}")
    if worth <= 0 or (expected is not None and expected <= 0):
        raise InputError("expected", f"expected a positive deviation, got {expected} worth {worth}")
    values = scores_of_normal(normal)
    n, known = values.size, 0.0 if expected is None else worth
    freedom = known + n - 1
    if freedom <= 0:
        return float(values[0])
    own = (n - 1) * float(values.var(ddof=1)) if n > 1 else 0.0
    spread = math.sqrt((known * (expected or 0.0) ** 2 + own) / freedom)
    return float(values.mean()) + float(stats.t.ppf(1 - rate, freedom)) * spread * math.sqrt(1 + 1 / n)


def mean_and_deviations(normal: np.ndarray, deviations: float = 3.0) -> float:
    """mean + ``deviations`` standard deviations of normal scores (n,) (the practice on MVTec AD 2's pixels)."""
    values = scores_of_normal(normal)
    return float(values.mean() + deviations * values.std())


def scaled_percentile(normal: np.ndarray, share: float = 0.95, factor: float = 1.4) -> float:
    """``factor`` times the score that a share ``share`` of held-out normal scores (n,) stays below (SuperADD, 1.3–1.5)."""
    if not 0 <= share <= 1:
        raise InputError("share", f"expected a share between 0 and 1, got {share}")
    return float(factor * np.quantile(scores_of_normal(normal), share))


def chi2_threshold(p: float, k: int) -> float:
    """√χ²ₖ⁻¹(p): the Mahalanobis distance that a share ``p`` of ``k``-dimensional Gaussian items stays below (MVG).

    Real features are not Gaussian; use it where no normal scores can be had.
    """
    if not 0 <= p < 1 or k < 1:
        raise InputError("chi-square", f"expected p in [0, 1) and k of 1 or more, got {p} and {k}")
    return math.sqrt(float(stats.chi2.ppf(p, k)))


def normals_needed(rate: float, doubt: float = 0.05) -> int:
    """How many independent normal scores it takes so that their maximum has a false-alarm rate of at most ``rate`` with
    confidence 1 − ``doubt``: the smallest n with (1 − rate)ⁿ ≤ doubt."""
    if not 0 < rate < 1 or not 0 < doubt < 1:
        raise InputError("rate", f"expected shares between 0 and 1, got rate {rate}, doubt {doubt}")
    return max(1, math.ceil(math.log(doubt) / math.log1p(-rate) - 1e-9))


def rate_of_maximum(n: int, doubt: float = 0.05) -> float:
    """The false-alarm rate that the maximum of ``n`` independent normal scores keeps with confidence 1 − ``doubt``."""
    if n < 1 or not 0 < doubt < 1:
        raise InputError("n", f"expected one score or more and a doubt between 0 and 1, got {n} and {doubt}")
    return 1 - doubt ** (1 / n)


def false_alarm_rate(normal: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(N,) how often a normal item scores as high as each of ``scores`` (N,): the conformal p-value
    (1 + number of normal scores ≥ it) / (n + 1), so never 0.

    Valid whatever the scores' distribution, if normal items to come are like those seen (Vovk et al. 2005).
    """
    values = scores_of_normal(normal)
    above = values.size - np.searchsorted(values, np.asarray(scores, np.float64), side="left")
    out: np.ndarray = (1 + above) / (values.size + 1)
    return out


def out_of_line(normal: np.ndarray, deviations: float = 6.0) -> np.ndarray:
    """(n,) bool: which normal scores (n,) lie so far above the others that the item may not be normal at all.

    More than ``deviations`` robust standard deviations (1.4826 · median distance from the median) above the median; none
    of fewer than five.
    """
    values = np.asarray(normal, np.float64)
    if values.size < 5:
        return np.zeros(values.shape, bool)
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    floor = 1e-6 * max(abs(middle), 1e-12)
    out: np.ndarray = values > middle + deviations * max(float(spread), floor)
    return out
