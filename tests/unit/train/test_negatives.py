"""Identity-based hard negatives (search §5.3, C-6) and duplicate captions (§2.3)."""

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.train.negatives import HardNegatives, duplicate_captions, merged_ids, read_source


def test_c6_the_picker_stays_with_the_video_and_turns_the_state():
    ids = ["1_0", "1_1", "1_2", "2_0"]
    negatives = HardNegatives(ids)
    rng = np.random.default_rng(0)
    picked = [{negatives.pick(i, rng) for _ in range(50)} for i in range(4)]
    assert picked == [{1, 2}, {0}, {0}, {None}]
    assert negatives.without_partner() == [3] and len(negatives) == 4


def test_a_video_s_name_may_hold_underscores():
    assert read_source("a_b_1").video == "a_b" and read_source("a_b_1").state == 1
    negatives = HardNegatives(["a_1_0", "a_1", "a_0"])
    assert [list(negatives.candidates(i)) for i in range(3)] == [[], [2], [1]]


@pytest.mark.parametrize("wrong", ["", "12", "_1", "12_3", "12_x", "12_"])
def test_another_form_is_an_input_error(wrong):
    with pytest.raises(InputError, match="source_id"):
        HardNegatives(["1_0", wrong])


def test_duplicate_captions_are_found_as_the_model_reads_them():
    captions = ["A man, falling.", "a man falling", "A woman falls"]
    assert duplicate_captions(captions).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    long = "word " * 56
    assert duplicate_captions([long + "one", long + "two"]).all()
    assert duplicate_captions([]).shape == (0, 0)


def test_merged_ids_join_ids_and_captions_in_chains():
    ids = ["p", "q", "r", "q", "s"]
    captions = ["red hat", "blue hat", "Red hat!", "green hat", "white hat"]
    found = merged_ids(ids, captions)
    assert len(set(found)) == 3
    assert found[0] == found[2] and found[1] == found[3]
    chain = merged_ids([1, 2, 2, 3], ["a", "a", "b", "b"])
    assert len(set(chain.tolist())) == 1
    with pytest.raises(InputError, match="one per id"):
        merged_ids([1], [])


def test_a_duplicate_caption_is_no_negative_of_matching():
    torch = pytest.importorskip("torch")
    from oddwatch.train.losses import itm_pairs

    captions = ["a man falls", "A man falls.", "a man sits"]
    masked = torch.from_numpy(duplicate_captions(captions))
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        pairs = itm_pairs(torch.zeros(3, 3), torch.arange(3), g, masked)
        asked = {
            (i, t)
            for i, t, y in zip(*(x.tolist() for x in (pairs.image, pairs.text, pairs.labels)), strict=True)
            if not y
        }
        assert not asked & {(0, 1), (1, 0)}
