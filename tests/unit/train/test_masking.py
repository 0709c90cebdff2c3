"""Masking of captions: the specification's check S8 and what it says of spans and branches (search §2.2)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.train.masking import IGNORED, mask_tokens

CLS, SEP, PAD, MASK = 101, 102, 0, 103
FIXED = {"mask_id": MASK, "vocabulary": range(1000, 2000), "never": (PAD, SEP)}
HIDE = (1.0, 0.0, 0.0)


def caption(words, padded=56, seed=0):
    """Token ids of words with the given numbers of pieces, and which pieces go on with a word."""
    rng = np.random.default_rng(seed)
    ids, joined = [CLS], [False]
    for pieces in words:
        ids += rng.integers(1000, 2000, pieces).tolist()
        joined += [False] + [True] * (pieces - 1)
    ids, joined = [*ids, SEP], [*joined, False]
    more = max(0, padded - len(ids))
    return np.array(ids + [PAD] * more), np.array(joined + [False] * more)


def words_of(joined):
    return np.cumsum(~joined)


@given(st.lists(st.integers(1, 4), max_size=30), st.integers(0, 10**6), st.floats(0, 1))
def test_s8_masks_whole_words_never_position_0_never_more_than_10(pieces, seed, span):
    ids, joined = caption(pieces)
    masked = mask_tokens(
        ids, np.random.default_rng(seed), continues=joined, span=span, branches=HIDE, **FIXED
    )
    places = masked.positions
    assert len(places) <= 10 and 0 not in places
    assert not np.isin(ids[places], (CLS, SEP, PAD)).any()
    number = words_of(joined)
    for word in set(number[places]):
        assert np.isin(np.flatnonzero(number == word), places).all()
    assert (masked.ids[places] == MASK).all()
    assert np.array_equal(masked.restored(), ids)


def test_s8_unmasking_restores_the_input_whatever_the_branch():
    ids, joined = caption([1, 2, 1, 3] * 5)
    for seed in range(30):
        masked = mask_tokens(ids, np.random.default_rng(seed), continues=joined, **FIXED)
        assert np.array_equal(masked.restored(), ids)
        unmasked = masked.targets == IGNORED
        assert np.array_equal(masked.ids[unmasked], ids[unmasked])


def test_a_quarter_of_the_caption_not_of_its_padding():
    ids, _ = caption([1] * 16)
    for seed in range(20):
        masked = mask_tokens(ids, np.random.default_rng(seed), branches=HIDE, **FIXED)
        assert len(masked.positions) == 4
    long, _ = caption([1] * 54)
    assert len(mask_tokens(long, np.random.default_rng(0), **FIXED).positions) == 10


def test_one_word_at_least_and_none_where_there_is_none():
    ids, joined = caption([3])
    masked = mask_tokens(ids, np.random.default_rng(0), continues=joined, **FIXED)
    assert masked.positions.tolist() == [1, 2, 3]
    empty, _ = caption([])
    assert not len(mask_tokens(empty, np.random.default_rng(0), **FIXED).positions)
    long, joined = caption([11])
    assert not len(mask_tokens(long, np.random.default_rng(0), continues=joined, **FIXED).positions)


def test_without_whole_words_single_pieces_are_masked():
    ids, joined = caption([4] * 10)
    number = words_of(joined)
    split = 0
    for seed in range(20):
        masked = mask_tokens(
            ids, np.random.default_rng(seed), continues=joined, whole_word=False, span=0.0, **FIXED
        )
        assert len(masked.positions) == 10
        split += any(
            not np.isin(np.flatnonzero(number == w), masked.positions).all()
            for w in set(number[masked.positions])
        )
    assert split == 20


def test_spans_are_two_or_three_in_a_row():
    ids, _ = caption([1] * 40)
    runs = []
    for seed in range(100):
        places = mask_tokens(ids, np.random.default_rng(seed), span=1.0, share=0.075, **FIXED).positions
        runs += [len(r) for r in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)]
    assert {2, 3} <= set(runs)
    assert np.mean(runs) > 1.5
    alone = [
        mask_tokens(ids, np.random.default_rng(s), span=0.0, share=0.05, **FIXED).positions
        for s in range(100)
    ]
    assert np.mean([np.diff(p).min() == 1 for p in alone]) < 0.2


def test_branches_80_10_10():
    ids, _ = caption([1] * 40)
    hidden = other = kept = 0
    for seed in range(400):
        masked = mask_tokens(ids, np.random.default_rng(seed), **FIXED)
        seen, was = masked.ids[masked.positions], ids[masked.positions]
        hidden += (seen == MASK).sum()
        kept += (seen == was).sum()
        other += ((seen != MASK) & (seen != was)).sum()
        assert np.isin(seen, [MASK, *range(1000, 2000)]).all()
    shares = np.array([hidden, other, kept]) / (hidden + other + kept)
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_a_seed_repeats_and_the_input_is_left_alone():
    ids, joined = caption([1, 2] * 12)
    before = ids.copy()
    a, b = (mask_tokens(ids, np.random.default_rng(3), continues=joined, **FIXED) for _ in range(2))
    assert np.array_equal(a.ids, b.ids) and np.array_equal(a.targets, b.targets)
    assert np.array_equal(ids, before)


@pytest.mark.parametrize(
    "wrong",
    [{"continues": [True]}, {"share": 2.0}, {"span": -1.0}, {"branches": (0.5, 0.1, 0.1)}, {"most": -1}],
)
def test_what_does_not_fit_is_an_input_error(wrong):
    with pytest.raises(InputError, match="expected"):
        mask_tokens([CLS, 1000, SEP], np.random.default_rng(0), **{**FIXED, **wrong})
