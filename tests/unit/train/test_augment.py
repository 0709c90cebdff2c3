"""Cleaning and varying captions (search §2.2, S9)."""

from collections import Counter

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.encoders.xvlm.text import clean_caption
from oddwatch.train.augment import (
    NEAREST,
    delete_words,
    eda,
    insert_synonyms,
    replace_synonyms,
    swap_words,
    synonyms,
)

CAPTION = (
    "a young man in a maroon jacket and khaki pants is jogging along the street carrying a white backpack while "
    "a crowd of people looks on from the grass"
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_s9_cleaning_worked_example():
    assert clean_caption("A man, in a T-shirt/jeans!") == "a man in a t shirt jeans"


def test_cleaning_deletes_every_sign_and_keeps_56_words():
    assert clean_caption(' He\'s; *what*?  (#1): "so" ~ - / ok ') == "hes what 1 so ok"
    assert clean_caption("word " * 80) == " ".join(["word"] * 56)
    assert clean_caption("one two three", words=2) == "one two"
    assert clean_caption(clean_caption("A T-shirt, torn.")) == clean_caption("A T-shirt, torn.")


@pytest.mark.parametrize(
    ("word", "one"),
    [("man", "guy"), ("men", "guys"), ("jogging", "sprinting"), ("falling", "tumbling"), ("hopping", "skipping"),
     ("carries", "holds"), ("trousers", "pants"), ("maroon", "burgundy"), ("rucksack", "backpack")],
)  # fmt: skip
def test_synonyms_keep_the_inflection(word, one):
    found = synonyms(word)
    assert one in found and word not in found and 0 < len(found) <= NEAREST


@pytest.mark.parametrize("word", ["a", "the", "two", "not", "is", "wearing", "looks", "zzyzx", ""])
def test_words_that_have_no_meaning_of_their_own_have_no_synonyms(word):
    assert synonyms(word) == ()


def test_replacement_changes_as_many_words_as_asked_for_and_only_to_synonyms():
    words = CAPTION.split()
    for seed in range(30):
        found = replace_synonyms(words, 2, rng(seed))
        changed = [(a, b) for a, b in zip(words, found, strict=True) if a != b]
        assert len({a for a, _ in changed}) == 2
        assert all(b in synonyms(a) for a, b in changed)
    assert replace_synonyms(["the", "of"], 2, rng()) == ["the", "of"]


def test_insertion_adds_synonyms_and_keeps_the_rest_in_order():
    words = CAPTION.split()
    known = {s for w in words for s in synonyms(w)}
    for seed in range(30):
        found = insert_synonyms(words, 3, rng(seed))
        assert len(found) == len(words) + 3
        added = Counter(found) - Counter(words)
        assert sum(added.values()) == 3 and set(added) <= known
        rest = iter(found)
        assert all(w in rest for w in words)
    assert insert_synonyms(["the", "of"], 3, rng()) == ["the", "of"]


def test_swapping_keeps_the_words():
    words = CAPTION.split()
    found = swap_words(words, 1, rng())
    assert Counter(found) == Counter(words)
    assert sum(a != b for a, b in zip(words, found, strict=True)) == 2
    assert swap_words(["one"], 3, rng()) == ["one"]


def test_deletion_leaves_a_share_out_and_never_all():
    words = [str(i) for i in range(2000)]
    found = delete_words(words, 0.1, rng())
    assert len(found) == pytest.approx(1800, abs=60)
    assert found == sorted(found, key=int)
    assert delete_words(["a", "b"], 1.0, rng()) in (["a"], ["b"])
    assert delete_words([], 1.0, rng()) == []


def test_eda_uses_all_four_edits_and_repeats_with_a_seed():
    words = CAPTION.split()
    kinds = Counter()
    for seed in range(200):
        found = eda(CAPTION, rng(seed))
        assert found == eda(CAPTION, rng(seed))
        length, same = len(found.split()) - len(words), Counter(found.split()) == Counter(words)
        kinds["insert" if length > 0 else "delete" if length < 0 else "swap" if same else "replace"] += 1
    assert min(kinds[k] for k in ("insert", "delete", "swap", "replace")) > 20
    assert eda("", rng()) == ""
    with pytest.raises(InputError, match="share"):
        eda(CAPTION, rng(), share=2.0)
