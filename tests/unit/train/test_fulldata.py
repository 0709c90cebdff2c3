"""What full-size training sees: pictures and pose maps varied alike, captions edited, words hidden, hard pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.datasets.pab import pose_map
from oddwatch.datasets.records import frame
from oddwatch.encoders.xvlm.model import DEVIATION, MEAN
from oddwatch.encoders.xvlm.text import token_ids
from oddwatch.train import fulldata
from oddwatch.train.fulldata import Reader, Varied, local_view, rectangle, varied
from oddwatch.train.masking import IGNORED


def test_a_picture_and_its_map_are_varied_alike():
    rng = np.random.default_rng(0)
    picture = rng.integers(1, 256, (32, 32, 3), dtype=np.uint8)
    flips = holes = 0
    for seed in range(40):
        a, b = varied([picture, picture], np.random.default_rng(seed), Varied(0.5, 0.5))
        plain = ((picture.astype(np.float32) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)
        erased = (a == 0).all(0)
        flipped = not np.allclose(a[:, ~erased], plain[:, ~erased])
        expected = plain[:, :, ::-1] if flipped else plain
        np.testing.assert_allclose(a[:, ~erased], expected[:, ~erased], atol=1e-6)
        np.testing.assert_array_equal(a[:, ~erased], b[:, ~erased])
        if erased.any():  # one rectangle: mean colour in the picture, nobody in the map
            rows, columns = np.nonzero(erased)
            whole = erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert whole.all() and 0.01 <= whole.size / 1024 <= 0.45
            np.testing.assert_allclose(
                b[:, erased].T, (-MEAN / DEVIATION)[None].repeat(whole.size, 0), atol=1e-6
            )
        flips, holes = flips + flipped, holes + bool(erased.any())
    assert 10 < flips < 30 and 10 < holes < 30
    (same,) = varied([picture], rng, Varied(0, 0))
    np.testing.assert_allclose(same, plain, atol=1e-6)


def test_an_erased_rectangle_covers_2_to_40_percent():
    rng = np.random.default_rng(1)
    areas = []
    for _ in range(500):
        found = rectangle(224, rng)
        assert found is not None
        rows, columns = found
        assert 0 <= rows.start < rows.stop <= 224 and 0 <= columns.start < columns.stop <= 224
        areas.append((rows.stop - rows.start) * (columns.stop - columns.start) / 224**2)
    assert 0.019 < min(areas) < 0.03 and 0.35 < max(areas) < 0.401
    assert rectangle(1, rng) is None


def reader(records, **options) -> Reader:
    return Reader(
        records, 32, 24, seed=5, **{"poses": True, "hide": True, "edit": True, "hard": True} | options
    )


def test_what_a_batch_holds(records):
    read = reader(records)
    (batch,) = list(read.batches(0, 10))
    rows = read.order(0, 10)[0]
    assert sorted(rows.tolist()) == list(range(10))
    assert batch["pixels"].shape == batch["poses"].shape == batch["hard_poses"].shape == (10, 3, 32, 32)
    expected, mask = token_ids([records[i].captions[0] for i in rows], 24)
    np.testing.assert_array_equal(batch["text_ids"], expected)
    np.testing.assert_array_equal(batch["text_mask"], mask)
    hidden = batch["targets"] != IGNORED
    np.testing.assert_array_equal(np.where(hidden, batch["targets"], batch["hidden"]), expected)
    assert (hidden.sum(1) >= 1).all() and not hidden[expected < 103].any()  # never padding, [CLS], [SEP]
    assert (batch["edited_ids"] != batch["text_ids"]).any(1).sum() >= 5
    assert len(set(batch["same"].tolist())) == 10
    # Whoever has a twin in the other state is shown it: the same colour, the other doing.
    assert batch["hard_rows"].tolist() == list(range(10))
    other = [records[i + 1 if i % 2 == 0 else i - 1].captions[0] for i in rows]
    np.testing.assert_array_equal(batch["hard_ids"], token_ids(other, 24)[0])


def test_workers_and_stops_change_nothing(records):
    read = reader(records)
    one, three = (list(read.batches(1, 3, workers=n)) for n in (1, 3))
    late = list(read.batches(1, 3, start=2))
    assert len(one) == len(three) == 3 and len(late) == 1  # the tenth picture is left over
    for a, b in ((one[0], three[0]), (one[2], three[2]), (one[2], late[0])):
        assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    again = list(read.batches(2, 3))
    assert any(not np.array_equal(a["pixels"], b["pixels"]) for a, b in zip(one, again, strict=True))
    assert len(read.order(0, 50)) == 1  # fewer records than a batch make one


def test_the_hard_pair_that_the_data_names_comes_first(records):
    named = replace(records[0], hard_image=records[5].image, hard_caption="a hat")
    read = reader([named, *records[1:]], how=Varied(0, 0), hide=False, edit=False)
    at = int(np.flatnonzero(np.concatenate(read.order(0, 10)) == 0)[0])
    (batch,) = list(read.batches(0, 10))
    np.testing.assert_array_equal(batch["hard_ids"][at], token_ids(["a hat"], 24)[0][0])
    np.testing.assert_allclose(batch["hard_pixels"][at], read.plain(5)[0], atol=1e-6)
    np.testing.assert_allclose(batch["hard_poses"][at], read.plain(5)[1], atol=1e-6)
    alone = reader([replace(r, source_id=None, person=None) for r in records])
    assert "hard_rows" not in next(alone.batches(0, 4))


def test_equal_captions_show_the_same(records):
    twice = [replace(records[0], image_id=f"{i}") for i in range(2)] + list(records[2:4])
    (batch,) = list(reader(twice, hard=False).batches(0, 4))
    counts = np.unique(batch["same"], return_counts=True)[1]
    assert sorted(counts.tolist()) == [1, 1, 2]


def test_a_box_is_shown_with_its_surroundings(records):
    from oddwatch.core import Box

    whole, part = reader(records[:1]), reader([replace(records[0], box=Box(12, 4, 22, 40))])
    shown = frame(records[0]).crop(Box(12, 4, 22, 40).expanded(0.35))
    expected = ((fulldata.squared(shown, 32).astype(np.float32) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)
    np.testing.assert_allclose(part.plain(0)[0], expected, atol=1e-6)
    assert not np.allclose(part.plain(0)[1], whole.plain(0)[1])


def test_records_that_cannot_be_learnt_from(records):
    with pytest.raises(InputError, match="caption with a word"):
        reader([replace(records[0], captions=(" ,.",))])
    elsewhere = [replace(r, image="absent.png") for r in records]
    with pytest.raises(InputError, match=r"pose/absent\.png: no pose map"):
        reader(elsewhere)
    assert pose_map(records[0]).any() and fulldata.holds_map(records[0])
    one_missing = reader([*records[:3], replace(records[3], store="")])
    assert one_missing.poses and not fulldata.holds_map(one_missing.records[3])


def test_h2_half_of_the_pictures_are_local_views():
    rng = np.random.default_rng(0)
    drawn = np.array([local_view(rng) for _ in range(4000)])
    assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(0.25 / 4000)
    picture = np.tile(np.arange(48, dtype=np.uint8)[:, None, None] * 5, (1, 48, 3))
    plain = varied([picture], np.random.default_rng(1), Varied(0, 0))[0]
    seen = [varied([picture, picture], np.random.default_rng(i), Varied(0, 0, True)) for i in range(200)]
    assert all(a.shape == plain.shape and np.array_equal(a, b) for a, b in seen)
    changed = sum(not np.allclose(a, plain) for a, _ in seen)
    assert 70 < changed < 130
