"""CUHK-PEDES, ICFG-PEDES and RSTPReid: one list of pictures with split, sentences and the person."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oddwatch.core import InputError
from oddwatch.datasets import pedes
from oddwatch.datasets.formats import READERS, detect_format
from oddwatch.datasets.records import Record, pixels, queries, read_records

SETS = [
    ("cuhk_pedes", "reid_raw.json", "file_path"),
    ("cuhk_pedes", "caption_all.json", "file_path"),
    ("icfg_pedes", "ICFG-PEDES.json", "file_path"),
    ("icfg_pedes", "ICFG_PEDES.json", "file_path"),
    ("rstp_reid", "data_captions.json", "img_path"),
]


def _rows(path: str) -> list[dict]:
    """Two persons in the test split (one in two pictures) and one in each other split, whose numbers start anew."""
    return [
        {"split": "train", path: "cam_a/1.png", "id": 1, "captions": ["red coat ", "a coat"], "processed_tokens": []},
        {"split": "val", path: "cam_a/2.png", "id": 1, "captions": ["a green hat"]},
        {"split": "test", path: "cam_b/3.png", "id": 1, "captions": ["a blue bag", "bag in hand"]},
        {"split": "test", path: "cam_b/4.png", "id": 1, "captions": ["bag on the back", " "]},
        {"split": "test", path: "cam_b/5.png", "id": 2, "captions": ["yellow boots"]},
    ]  # fmt: skip


def _png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 12), (10, 200, 10)).save(out, "PNG")
    return out.getvalue()


def _write(folder: Path, name: str, rows: object, pictures: str = "") -> Path:
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    if pictures == "zip":
        with zipfile.ZipFile(folder / "imgs.zip", "w") as archive:
            archive.writestr("cam_b/3.png", _png())
    elif pictures == "folder":
        (folder / "imgs/cam_b").mkdir(parents=True)
        (folder / "imgs/cam_b/3.png").write_bytes(_png())
    return folder


@pytest.mark.parametrize("pictures", ["folder", "zip"])
@pytest.mark.parametrize(("form", "name", "path"), SETS)
def test_the_test_split_answers_by_person(
    tmp_path: Path, form: str, name: str, path: str, pictures: str
) -> None:
    folder = _write(tmp_path, name, _rows(path), pictures)
    assert detect_format(folder) == form
    records = read_records(folder)
    assert queries(records) == [
        ("a blue bag", "1"), ("bag in hand", "1"), ("bag on the back", "1"), ("yellow boots", "2"),
    ]  # fmt: skip
    assert [r.image_id for r in records] == [r.person for r in records] == ["1", "1", "2"]
    assert [r.image for r in records] == ["cam_b/3.png", "cam_b/4.png", "cam_b/5.png"]
    assert {r.source for r in records} == {form}
    assert pixels(records[0]).shape == (12, 5, 3)
    assert [r.captions for r in READERS[form](folder)] == [r.captions for r in records]


def test_splits_are_chosen_and_persons_of_all_kept_apart(tmp_path: Path) -> None:
    folder = _write(tmp_path, "reid_raw.json", _rows("file_path"))
    (train,) = pedes.read_cuhk_pedes(folder, "train")
    assert (train.captions, train.image_id) == (("red coat", "a coat"), "1")
    assert [r.image for r in pedes.read_cuhk_pedes(folder, "val")] == ["cam_a/2.png"]
    every = pedes.read_cuhk_pedes(folder, None)
    assert [r.image_id for r in every] == ["train-1", "val-1", "test-1", "test-1", "test-2"]
    assert [r.person for r in every] == [r.image_id for r in every]
    with pytest.raises(InputError, match="expected train, val, test or None"):
        pedes.read_cuhk_pedes(folder, "dev")
    _write(tmp_path, "ICFG-PEDES.json", [r for r in _rows("file_path") if r["split"] != "val"])
    with pytest.raises(InputError, match=r"no pictures of split 'val' \(it has test, train\)"):
        pedes.read_icfg_pedes(tmp_path, "val")
    with pytest.raises(InputError, match="no annotation of rstp_reid"):
        pedes.read_rstp_reid(tmp_path)


def test_sentences_can_be_read_without_pictures(tmp_path: Path) -> None:
    records = read_records(_write(tmp_path, "data_captions.json", _rows("img_path")))
    assert len(queries(records)) == 4 and {r.store for r in records} == {""}
    with pytest.raises(InputError, match="without pictures"):
        pixels(records[0])


def test_an_annotation_without_splits_is_read_as_a_whole(tmp_path: Path) -> None:
    rows = [{k: v for k, v in r.items() if k != "split"} for r in _rows("file_path")]
    folder = _write(tmp_path, "caption_all.json", rows)
    with pytest.raises(InputError, match="no field 'split'"):
        read_records(folder)
    assert [r.image_id for r in pedes.read_cuhk_pedes(folder, None)] == ["1", "1", "1", "1", "2"]
    _write(folder, "reid_raw.json", _rows("file_path"))
    assert len(read_records(folder)) == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"file_path": None}, "holding a path"),
        ({"file_path": "../x.png"}, "relative path"),
        ({"id": None}, "'id', the number of the person"),
        ({"id": [1]}, "expected id to be"),
        ({"captions": {"a": 1}}, "expected caption"),
        ({"captions": [1]}, "expected caption"),
    ],
)
def test_items_that_do_not_fit_say_where(tmp_path: Path, change: dict, problem: str) -> None:
    rows = _rows("file_path")
    rows[3] |= change
    with pytest.raises(InputError, match=rf"reid_raw\.json: item 4: .*{problem}"):
        read_records(_write(tmp_path, "reid_raw.json", rows))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
_item = st.fixed_dictionaries(
    {},
    optional={
        "split": st.just("test") | _json,
        "file_path": st.text(max_size=6) | _json,
        "id": st.integers() | _json,
        "captions": st.lists(st.text(max_size=5), max_size=2) | _json,
    },
)


@settings(max_examples=120, deadline=None)
@given(st.lists(_item, max_size=3) | _json)
def test_any_annotation_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    folder = _write(tmp_path_factory.mktemp("any"), "reid_raw.json", value)
    for split in ("test", None):
        try:
            records = pedes.read_cuhk_pedes(folder, split)
        except InputError as error:
            assert "reid_raw.json" in str(error)
            continue
        assert records and all(isinstance(r, Record) and r.image_id == r.person for r in records)
        assert all(t == t.strip() != "" for r in records for t in r.captions)
