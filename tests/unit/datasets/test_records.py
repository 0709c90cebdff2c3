"""Readers of captioned pictures: own folders, PAB's form, the public sets where present."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oddwatch.core import Box, InputError, LimitError, MediaError
from oddwatch.datasets import store
from oddwatch.datasets.cuhk import read_cuhk_captions
from oddwatch.datasets.formats import detect_format, read_footage
from oddwatch.datasets.pennfudan import read_pennfudan
from oddwatch.datasets.records import (
    Record,
    data_root,
    parse_record,
    pixels,
    queries,
    read_jsonl,
    read_records,
)


def _jpeg(width: int = 8, height: int = 6, orientation: int | None = None) -> bytes:
    picture, out = Image.new("RGB", (width, height), (200, 30, 30)), io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    picture.save(out, "JPEG", exif=exif)
    return out.getvalue()


def _folder(tmp_path: Path, rows: list[dict], zipped: bool) -> Path:
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    if zipped:
        with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
            for row in rows:
                archive.writestr(row["image"], _jpeg())
    else:
        for row in rows:
            path = tmp_path / "media" / row["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_jpeg())
    return tmp_path


ROWS = [
    {"image": "a.jpg", "image_id": "p1", "caption": ["short one", "a longer one"], "box": [1, 1, 5, 6],
     "facts": {"posture": "walking"}, "abnormal": False, "source": "cam", "time": 1.5, "person": "x"},
    {"image": "sub/b.jpg", "image_id": 7, "caption": "only one"},
]  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_a_folder_of_ones_own(tmp_path: Path, zipped: bool) -> None:
    records = read_records(_folder(tmp_path, ROWS, zipped))
    assert records[0].captions == ("short one", "a longer one")
    assert (records[0].box, records[0].time, records[0].person) == (Box(1, 1, 5, 6), 1.5, "x")
    assert (records[1].image_id, records[1].abnormal, records[1].box) == ("7", None, None)
    assert pixels(records[1]).shape == (6, 8, 3)
    assert queries(records) == [("short one", "p1"), ("a longer one", "p1"), ("only one", "7")]
    assert Record.from_json(records[0].to_json()) == records[0]


def test_a_picture_and_a_sentence_a_line_are_enough(tmp_path: Path) -> None:
    rows = [{"image": "a.jpg", "caption": "a man falls"}, {"image": "b.jpg", "caption": "a woman waves"}]
    records = read_records(_folder(tmp_path, rows, True))
    assert queries(records) == [("a man falls", "a.jpg"), ("a woman waves", "b.jpg")]
    assert pixels(records[0]).shape == (6, 8, 3)
    assert records[0] == Record("a.jpg", "a.jpg", ("a man falls",), store=records[0].store)


@pytest.mark.parametrize(
    ("given", "ids", "person"),
    [
        ({"person": "ann"}, "ann", "ann"),
        ({"id": 17}, "17", None),
        ({"id": 3, "person": "ann"}, "ann", "ann"),
        ({"image_id": "i", "person": "ann", "id": 3}, "i", "ann"),
        ({"image_id": None, "id": 0}, "0", None),
    ],
)
def test_several_pictures_of_a_person_answer(
    tmp_path: Path, given: dict, ids: str, person: str | None
) -> None:
    rows = [{"image": f"{n}.jpg", "caption": f"sentence {n}"} | given for n in "ab"]
    records = read_records(_folder(tmp_path, rows, False))
    assert [r.image_id for r in records] == [ids, ids]
    assert queries(records) == [("sentence a", ids), ("sentence b", ids)]
    assert records[0].person == person


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    lines = ['{"image": "a.jpg", "caption": "x"}', "", '{"image": "b.jpg", "caption": 7}']
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"records\.jsonl:3: expected caption"):
        read_records(tmp_path)
    (tmp_path / "records.jsonl").write_text("\n".join([*lines[:2], '{"image": "../b.jpg"}']))
    with pytest.raises(InputError, match=r"records\.jsonl:3: image: .*relative path"):
        read_records(tmp_path)
    (tmp_path / "records.jsonl").write_text("[" + lines[0] + "," + lines[2] + "]")
    with pytest.raises(InputError, match=r"records\.jsonl: item 2"):
        read_records(tmp_path)


def test_a_picture_with_an_endless_name_is_merely_absent(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(json.dumps({"image": "a" * 5000, "caption": "x"}))
    (record,) = read_records(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        pixels(record)


@pytest.mark.parametrize(
    ("row", "abnormal", "action"),
    [
        ({"normal": "Walking"}, False, "Walking"),
        ({"anomaly": "Falling"}, True, "Falling"),
        ({"anomaly": None, "normal": "Walking"}, False, "Walking"),
        ({"abnormal": True, "action": "running"}, True, "running"),
        ({}, None, None),
    ],
)
def test_labels_of_a_record(row: dict, abnormal: bool | None, action: str | None) -> None:
    record = parse_record({"image": "a.jpg"} | row, "here", "")
    assert (record.abnormal, record.action) == (abnormal, action)


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/passwd", "a/../../b", "c:\\x", "a\\b", "", "a\0b", "C:/x"]
)
def test_names_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="relative path"):
        parse_record({"image": name}, "here", str(tmp_path))
    with pytest.raises(InputError, match="relative path"):
        store.read(tmp_path, name)


def test_links_never_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out.jpg").write_bytes(_jpeg())
    inside = tmp_path / "data"
    inside.mkdir()
    (inside / "in.jpg").symlink_to(tmp_path / "out.jpg")
    with pytest.raises(InputError, match="leaves its folder"):
        store.read(inside, "in.jpg")
    assert store.names(inside) == []


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"caption": "x"}, "image"),
        ({"image": "a", "caption": 3}, "caption"),
        ({"image": "a", "caption": ["x", 3]}, "caption"),
        ({"image": "a", "box": [1, 2, 3]}, "box"),
        ({"image": "a", "box": [1, 2, "3", 4]}, "box"),
        ({"image": "a", "box": [5, 2, 3, 4]}, "box"),
        ({"image": "a", "box": [1, 2, 10**400, 4]}, "box"),
        ({"image": "a", "image_id": [1]}, "image_id"),
        ({"image": "a", "person": {}}, "person"),
        ({"image": "a", "hard_i": "/b"}, "hard_i"),
        ({"image": "a", "normal": "walking", "anomaly": "falling"}, "both normal and anomaly"),
    ],
)
def test_records_that_do_not_fit_say_where(row: dict, part: str) -> None:
    with pytest.raises(InputError, match=f"file:3: .*{part}"):
        parse_record(row, "file:3", "")


@pytest.mark.parametrize("text", ["{", "[1]", "3\n", '{"image": 1}', "[" * 100_000, "\n\n", ""])
def test_broken_files_raise_one_kind_of_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"records\.jsonl"):
        read_jsonl(path)


def test_not_utf8_and_missing(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="UTF-8"):
        read_records(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="data folder"):
        read_records(tmp_path / "nowhere")
    (tmp_path / "records.jsonl").unlink()
    with pytest.raises(InputError, match="no captioned pictures"):
        read_records(tmp_path)


def test_limits_of_bytes_and_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", b"\0" * 1_000_000)
        archive.writestr("text.jpg", b"not a picture")
        archive.writestr("cut.jpg", _jpeg(64, 64)[:400])
        archive.writestr("turned.jpg", _jpeg(8, 6, orientation=6))
    with pytest.raises(LimitError, match="larger"):
        store.read(tmp_path / "x.zip", "bomb", limit=10_000)
    for name in ("text.jpg", "cut.jpg"):
        with pytest.raises(MediaError, match=name):
            store.read_pixels(tmp_path / "x.zip", name)
    assert store.read_pixels(tmp_path / "x.zip", "turned.jpg").shape == (8, 6, 3)
    monkeypatch.setattr(store, "MAX_PIXELS", 10)
    with pytest.raises(LimitError, match="pixels"):
        store.read_pixels(tmp_path / "x.zip", "turned.jpg")
    with pytest.raises(InputError, match="no such file"):
        store.read(tmp_path / "x.zip", "absent")
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="zip"):
        store.read(tmp_path / "bad.zip", "a")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    "image_id caption captions box facts time person id hard_i hard_c hard_i_id source_id normal anomaly"
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(_FIELDS.split()), _json), st.just("a.jpg") | st.text(max_size=8) | _json
)
def test_any_object_is_read_or_refused(row: dict, image: object) -> None:
    try:
        record = parse_record(row | {"image": image}, "here", "")
    except InputError as error:
        assert str(error).startswith("here: ")
        return
    assert all(isinstance(c, str) for c in record.captions)
    assert record.image and record.image_id and not record.image.startswith("/")
    assert Record.from_json(record.to_json()) == record


@settings(max_examples=60, deadline=None)
@given(st.lists(_json | st.dictionaries(st.sampled_from(["image", *_FIELDS.split()]), _json), max_size=4))
def test_any_json_lines_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("any") / "records.jsonl"
    for text in ("\n".join(map(json.dumps, rows)), json.dumps(rows)):
        path.write_text(text)
        try:
            assert len(read_records(path.parent)) == len(rows)
        except InputError as error:
            assert "records.jsonl" in str(error)


def _data(name: str) -> Path:
    try:
        folder = data_root() / name
    except InputError:
        pytest.skip("no data sets here: set ODDWATCH_DATA")
    if not folder.is_dir():
        pytest.skip(f"{name} is not in the data folder")
    return folder


def test_data_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODDWATCH_DATA", str(tmp_path))
    assert data_root() == tmp_path.resolve()
    monkeypatch.setenv("ODDWATCH_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="ODDWATCH_DATA"):
        data_root()


@pytest.mark.parametrize(
    ("name", "form", "pictures", "sentences", "boxes"),
    [
        ("street_people", "records", 142, 284, 142),
        ("flickr8k_mini", "flickr8k", 114, 570, 0),
        ("cuhk_pedes_sample", "cuhk", 143, 24, 143),
    ],
)
def test_public_captioned_sets(name: str, form: str, pictures: int, sentences: int, boxes: int) -> None:
    folder = _data(name)
    assert detect_format(folder) == form
    records = read_records(folder)
    assert (len(records), len(queries(records))) == (pictures, sentences)
    assert sum(r.box is not None for r in records) == boxes
    shapes = [pixels(r).shape for r in records[:: len(records) // 3]]
    assert all(s[2] == 3 for s in shapes)


def test_upcam_spans_are_seconds_of_the_part() -> None:
    (part,) = read_footage(_data("upcam_cctv"))
    assert part.duration == 2700.0
    assert (part.events[0].span.start, part.events[0].span.end) == (0.0, 308.0)
    assert part.events[-1].span.end == 2700.0
    labels = (_data("upcam_cctv") / "eval_00_frames0-13499_labels.csv").read_text().split()
    flags = np.array([v == "1" for v in labels[-13500:]])
    ours = np.zeros(13500, dtype=bool)
    for span in part.abnormal:
        ours[round(span.start * 5) : round(span.end * 5)] = True
    assert (ours == flags).mean() > 0.99


def test_ucf_sentences_and_ranges() -> None:
    clips = {Path(f.video).stem: f for f in read_footage(_data("ucf_crime_samples"))}
    assert len(clips) == 4
    assert len(clips["Fighting023_x264"].events) == 5
    assert clips["Fighting023_x264"].abnormal[0].start == pytest.approx(10.0)
    assert clips["Normal_Videos_015_x264"].abnormal == ()
    with pytest.raises(InputError, match="described events"):
        read_footage(_data("pennfudan_sample"))


def test_pennfudan_masks_lie_in_their_boxes() -> None:
    people = read_pennfudan(_data("pennfudan_sample"))
    assert (len(people), sum(len(p.boxes) for p in people)) == (5, 8)
    for picture in people:
        assert picture.masks.shape[1:] == picture.pixels.shape[:2]


def test_cuhk_captions_without_pictures() -> None:
    found = read_cuhk_captions(_data("cuhk_pedes_sample"))
    assert sum(len(r.captions) for r in found) == 9182
    assert 0 < len(read_cuhk_captions(_data("cuhk_pedes_sample"), "val")) < len(found)
    with pytest.raises(InputError, match="without pictures"):
        pixels(found[0])


def test_reading_leaves_no_files_behind(tmp_path: Path) -> None:
    before = set(_folder(tmp_path, ROWS, True).iterdir())
    [pixels(r) for r in read_records(tmp_path)]
    assert set(tmp_path.iterdir()) == before
