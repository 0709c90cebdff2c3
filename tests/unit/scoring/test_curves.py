"""Refiners of curves against the worked numbers (video-language §1.4, video-trained §1.6) and their laws."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.scoring import curves

curve = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40).map(
    lambda v: np.array(v, np.float64)
)


def close(found, wanted, tolerance=1e-6):
    np.testing.assert_allclose(found, wanted, atol=tolerance, rtol=0)


# P1


@pytest.mark.parametrize(
    ("center", "wanted"), [(0, (0, 150)), (480, (330, 630)), (990, (840, 1000)), (999, (849, 1000))]
)
def test_a_window_is_centred_and_cut_at_the_ends(center, wanted):
    assert curves.window(center, 300, 1000) == wanted


def test_a_window_of_one_frame_is_that_frame():
    assert curves.window(5, 1, 10) == (5, 6)
    with pytest.raises(InputError, match="center: expected a frame of 0–9, got 10"):
        curves.window(10, 4, 10)


def test_frames_are_chosen_as_lavad_and_vera_do():
    assert curves.spread(300, 10).tolist() == [0, 33, 66, 99, 132, 166, 199, 232, 265, 299]
    assert curves.spread(150, 10).tolist() == [0, 16, 33, 49, 66, 82, 99, 115, 132, 149]
    assert curves.spread(3, 10).tolist() == [0, 1, 2]
    assert curves.strided(300, 8).tolist() == [0, 37, 75, 112, 150, 187, 225, 262]
    assert curves.strided(17, 8).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert curves.strided(3, 8).tolist() == [0, 1, 2]
    assert curves.strided(0, 8).size == curves.spread(0, 8).size == 0


# P3


def test_gaps_are_filled_along_lines_and_held_at_the_ends():
    wanted = [0.2, 0.2, 0.4, 0.6, 0.8, 0.8]
    close(curves.fill_gaps([-1, 0.2, -1, -1, 0.8, -1], missing=-1), wanted)
    close(curves.fill_gaps([np.nan, 0.2, None, np.nan, 0.8, None]), wanted)


def test_nothing_known_is_all_zeros_and_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert curves.fill_gaps([-1, -1], missing=-1).tolist() == [0, 0]
    assert "none of 2 values is known" in caplog.text


def test_filling_leaves_its_input_alone():
    given_ = np.array([np.nan, 1.0])
    curves.fill_gaps(given_)
    assert np.isnan(given_[0])


# P4

QUERIES, KEYS = [(1, 0), (0.8, 0.6), (0.6, 0.8), (0, 1)], [(0.6, 0.8), (1, 0), (0.8, 0.6), (0, 1)]
VALUES = [0.1, 0.2, 0.9, 0.8]


@pytest.mark.parametrize(
    ("k", "wanted"),
    [
        (1, (0.2, 0.9, 0.1, 0.8)),
        (2, (0.515116, 0.507999, 0.492001, 0.484884)),
        (4, (0.454401, 0.491640, 0.508360, 0.545599)),
        (99, (0.454401, 0.491640, 0.508360, 0.545599)),
    ],
)
def test_neighbours_of_lavad(k, wanted):
    close(curves.knn_softmax(QUERIES, KEYS, VALUES, k), wanted)


@pytest.mark.parametrize(("k", "wanted"), [(2, (0.731059, 0.268941, 0)), (3, (0.730879, 0.268762, 0.000335))])
def test_neighbours_of_vera(k, wanted):
    near = [(1, 0.9, 0.2), (0.9, 1, 0.3), (0.2, 0.3, 1)]
    close(curves.softmax_neighbours(near, [1, 0, 0], k, temperature=0.1), wanted, 1e-5)


def test_a_sample_may_be_kept_from_voting_for_itself():
    near = [(1, 0.9, 0.2), (0.9, 1, 0.3), (0.2, 0.3, 1)]
    assert curves.softmax_neighbours(near, [1, 2, 4], 1, exclude_self=True).tolist() == [2, 1, 2]
    assert curves.softmax_neighbours([[1.0]], [7], 3, exclude_self=True).tolist() == [7]
    with pytest.raises(InputError, match="as many queries as keys"):
        curves.softmax_neighbours([[1, 2.0]], [7, 8], 1, exclude_self=True)


@given(st.integers(0, 5000), st.integers(1, 12), st.floats(0.01, 5))
def test_neighbours_stay_within_the_values_and_ignore_rotation(seed, k, temperature):
    rng = np.random.default_rng(seed)
    q, keys, v = rng.normal(size=(6, 4)), rng.normal(size=(9, 4)), rng.normal(size=9)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    out = curves.knn_softmax(q, keys, v, k, temperature)
    assert (out >= v.min()).all() and (out <= v.max()).all()
    close(curves.knn_softmax(q @ turn, keys @ turn, v, k, temperature), out, 1e-8)
    close(curves.knn_softmax(q, keys, np.full(9, 0.3), k, temperature), 0.3)
    close(curves.knn_softmax(keys, keys, v, 9, 1e-6), v)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 0]], [[1, 0, 0]], [1], 1), "expected 3 numbers each"),
        (([[1, 0]], [[1, 0]], [1, 2], 1), r"expected \(Q, 2\)"),
        (([[1, 0]], [[1, 0]], [1], 0), "k: expected a whole number of 1 or more"),
        (([[1, 0]], [[1, 0]], [1], 1, 0), "temperature"),
        (([[1, np.nan]], [[1, 0]], [1], 1), "queries"),
        (([[1, 0]], np.zeros((0, 2)), [], 1), "at least one key"),
    ],
)
def test_neighbours_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        curves.knn_softmax(*arguments)


def test_a_vector_of_zeros_weighs_all_the_same():
    close(curves.knn_softmax([[0, 0]], [[1, 0], [0, 1]], [0, 1], 2), [0.5])


# P5


def test_scores_are_repeated_to_frames():
    out = curves.expand([1, 2, 3], 16, 40)
    assert [int((out == v).sum()) for v in (1, 2, 3)] == [16, 16, 8] and out.size == 40
    assert curves.expand([1, 2, 3], 16).size == 48
    vera = curves.expand([1, 2, 3], 16, last=21)
    assert [int((vera == v).sum()) for v in (1, 2, 3)] == [16, 16, 21]
    held = curves.expand([1, 2, 3], 16, 60, hold=True)
    assert [int((held == v).sum()) for v in (1, 2, 3)] == [16, 16, 28]


def test_a_clip_longer_than_its_segments_is_said_not_filled():
    with pytest.raises(InputError, match="3 segments of 16 frames give 48 of 60 frames"):
        curves.expand([1, 2, 3], 16, 60)
    with pytest.raises(InputError, match="0 segments"):
        curves.expand([], 16, 60, hold=True)
    assert curves.expand([], 16, 0).size == 0


def test_a_curve_is_read_at_other_times():
    t, v, at = [0, 1, 2], [10, 20, 0], [-1, 0, 0.4, 0.5, 0.6, 1, 1.75, 5]
    assert curves.at_times(t, v, at).tolist() == [10, 10, 10, 10, 10, 20, 20, 0]
    assert curves.at_times(t, v, at, "nearest").tolist() == [10, 10, 10, 10, 20, 20, 0, 0]
    close(curves.at_times(t, v, at, "linear"), [10, 10, 14, 15, 16, 20, 5, 0])
    with pytest.raises(InputError, match="ascending"):
        curves.at_times([1, 0], [1, 2], [0])


# P6


def test_the_kernel_of_vera_is_off_its_centre():
    kernel = curves.vera_kernel()
    close(
        [kernel[0], kernel[-1], kernel.max(), kernel[:7].sum(), kernel[8:].sum(), kernel.sum()],
        [0.053700, 0.057882, 0.073859, 0.453596, 0.472545, 1],
    )
    assert kernel.argmax() == 7


def test_vera_sinks_at_the_ends():
    out = curves.vera_gaussian(np.ones(20))
    close([out[0], out[-1], out[10]], [0.527455, 0.546404, 1])
    close(curves.vera_gaussian(np.ones(20), compat=True), out)


def test_a_short_clip_is_aligned_unless_the_released_code_is_wanted():
    impulse = [0, 0, 1, 0, 0]
    close(curves.vera_gaussian(impulse), (0.071414, 0.073044, 0.073859, 0.073831, 0.072960))
    close(curves.vera_gaussian(impulse, compat=True), (0.053700, 0.058171, 0.062295, 0.065950, 0.069022))


# Gaussian, moving average, cascade


def test_the_gaussian_of_an_impulse():
    close(curves.gaussian([0, 0, 1, 0, 0], 1), [0.058423, 0.242105, 0.398943, 0.242105, 0.058423])
    assert curves.gaussian([1, 5.0], 0).tolist() == [1, 5]
    rows = curves.gaussian(np.stack([[0, 0, 1, 0, 0], [1, 1, 1, 1, 1]], axis=1), 1)
    close(rows[:, 1], 1)
    close(rows[2, 0], 0.398943)
    with pytest.raises(InputError, match="sigma"):
        curves.gaussian([1], -1)


def test_the_cascade_is_about_one_gaussian():
    impulse = np.zeros(201)
    impulse[100] = 1
    out = curves.cascade(impulse)
    at = np.arange(201)
    assert np.sqrt((out * (at - 100) ** 2).sum()) == pytest.approx(np.sqrt(91), rel=0.01)
    close(out, curves.gaussian(impulse, np.sqrt(91)), 2e-4)


def test_a_moving_average_leaves_the_ends_untouched():
    close(curves.moving_average([9, 0, 3, 6, 0, 9], 3), [9, 4, 3, 3, 5, 9])
    assert curves.moving_average([9, 0], 5).tolist() == [9, 0]
    with pytest.raises(InputError, match="odd"):
        curves.moving_average([1, 2], 2)


@given(curve, st.floats(0.1, 6), st.floats(0.01, 1))
def test_smoothing_stays_within_the_curve_and_keeps_a_constant(v, sigma, alpha):
    low, high = v.min() - 1e-9, v.max() + 1e-9
    for out in (
        curves.gaussian(v, sigma),
        curves.cascade(v),
        curves.moving_average(v, 5),
        curves.ema(v, alpha),
    ):
        assert out.shape == v.shape and (out >= low).all() and (out <= high).all()
    flat = np.full(v.size, v[0])
    for out in (curves.gaussian(flat, sigma), curves.ema(flat, alpha), curves.savgol(flat)):
        close(out, flat, 1e-9)


# P7


def test_the_position_weight():
    w = curves.position_weight(64)
    close(w[[0, 16, 32, 48, 63]], [0.606531, 0.882497, 1, 0.882497, 0.625479])
    close(
        curves.position_weight(8),
        [0.606531, 0.754840, 0.882497, 0.969233, 1, 0.969233, 0.882497, 0.754840],
    )
    assert curves.position_weight(1).tolist() == [1] and curves.position_weight(0).size == 0
    assert curves.position_weight(101).min() == pytest.approx(np.exp(-0.5))


# P8, P9

Y = [0, 0, 1, 0, 1, 1, 0, 0]


def test_the_moving_average_of_anomalyruler():
    out = curves.ema(Y)
    close(out, [0, 0, 0.471943, 0.276898, 0.552768, 0.715032, 0.463848, 0.304300])
    assert out.mean() == pytest.approx(0.348099, abs=1e-6)
    close(curves.ema(Y, span=10), [0, 0, 0.401993, 0.269554, 0.479246, 0.614503, 0.466433, 0.360317])
    assert curves.ema([]).size == 0


@pytest.mark.parametrize(
    "arguments", [{"alpha": 0}, {"alpha": 1.1}, {"span": 0.5}, {"alpha": 0.1, "span": 3}]
)
def test_an_average_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(InputError):
        curves.ema(Y, **arguments)


@pytest.mark.parametrize(
    ("reach", "wanted"),
    [(0, [0, 0, 1, 0, 1, 1, 1, 0]), (1, [0, 0, 0, 1, 1, 1, 1, 0]), (2, [0, 0, 0, 1, 1, 1, 1, 1])],
)
def test_the_vote(reach, wanted):
    out = curves.ema(Y)
    assert curves.majority(out, out.mean(), reach).astype(int).tolist() == wanted


# P10


@pytest.mark.parametrize(("n", "wanted"), [(5, [8, 9, 10, 11, 19]), (6, [8, 9, 10, 10, 11, 19])])
def test_frames_gather_where_scores_are_high(n, wanted):
    s = np.zeros(20)
    s[8:12] = 1
    assert curves.by_density(s, n).tolist() == wanted


def test_frames_spread_where_scores_say_nothing():
    assert curves.by_density(np.full(20, 0.01), 5).tolist() == [0, 5, 10, 14, 19]
    assert curves.by_density(np.ones(20), 5).tolist() == [0, 5, 10, 15, 19]
    assert curves.by_density(np.ones(3), 3).tolist() == [0, 1, 2]
    assert curves.by_density([], 3).size == 0


# P11


@pytest.mark.parametrize("count", [53, 54, 80, 200, 5, 6, 7])
def test_savitzky_golay_keeps_a_cubic(count):
    x = np.linspace(-1, 1, count)
    cubic = 2 * x**3 - x**2 + 0.5 * x + 3
    close(curves.savgol(cubic), cubic, 1e-9)


def test_savitzky_golay_on_short_curves_is_finite():
    for count in range(5):
        out = curves.savgol(np.arange(count))
        close(out, np.arange(count), 1e-9)


# P14


def test_the_gates():
    v = np.array([0.10, 0.12, 0.11, 0.13, 0.10, 0.60, 0.70, 0.12, 0.11, 0.10])
    assert curves.gate_by_spread(v) == pytest.approx(0.435862, abs=1e-6)
    assert curves.gate_by_median(v) == pytest.approx(0.16)
    for gate in (curves.gate_by_spread(v), curves.gate_by_median(v)):
        assert np.flatnonzero(v >= gate).tolist() == [5, 6]
    half = curves.gate_by_share(v)
    assert half == pytest.approx(0.115) and (v >= half).sum() == 5
    with pytest.raises(InputError, match="a gate of none"):
        curves.gate_by_spread([])


@pytest.mark.parametrize("bad", [[[1, 2]], [1, np.nan], [np.inf]])
@pytest.mark.parametrize(
    "call", [curves.ema, curves.savgol, curves.vera_gaussian, curves.expand, curves.gate_by_median]
)
def test_what_is_no_curve_is_refused(call, bad):
    with pytest.raises(InputError, match="values"):
        call(bad)
