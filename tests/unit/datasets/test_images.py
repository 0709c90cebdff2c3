"""Readers of image anomaly sets: every layout, in a folder and in a zip, and masks."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import InputError, MediaError, resolve
from oddwatch.datasets import CARDS, IMAGE_SETS
from oddwatch.datasets.images import ImageItem, ImageSet, read_image_sets


def _png(size: tuple[int, int] = (12, 8), value: int = 90, mode: str = "L", form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, value if mode in ("L", "1", "I;16") else (value,) * len(mode)).save(out, form)
    return out.getvalue()


def _mask(size: tuple[int, int] = (12, 8), value: int = 255) -> bytes:
    drawn = np.zeros(size[::-1], np.uint8)
    drawn[2:5, 3:7] = value
    out = io.BytesIO()
    Image.fromarray(drawn).save(out, "PNG")
    return out.getvalue()


def _write(root: Path, files: list[str] | dict[str, bytes], archive: str | None = None) -> Path:
    """Files below ``root``, pictures and masks drawn by name, or in a zip there."""
    root.mkdir(parents=True, exist_ok=True)
    given = files if isinstance(files, dict) else dict.fromkeys(files, b"")
    masked = ("_mask.", "ground_truth", "Masks", "masks/")
    given = {n: d or (_mask() if any(m in n for m in masked) else _png()) for n, d in given.items()}
    if archive is not None:
        with zipfile.ZipFile(root / archive, "w") as out:
            for name, data in given.items():
                out.writestr(name, data)
        return root
    for name, data in given.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def _numbered(pattern: str, count: int) -> list[str]:
    return [pattern.format(i) for i in range(count)]


def _shape(sets: list[ImageSet]) -> dict[str, tuple[int, int, int]]:
    return {
        s.category: (len(s.train), sum(not i.label for i in s.test), sum(i.label for i in s.test))
        for s in sets
    }


MVTEC = [
    *_numbered("nut/train/good/{:03}.png", 5),
    *_numbered("nut/test/good/{:03}.png", 2),
    *_numbered("nut/test/hole/{:03}.png", 3),
    *_numbered("nut/ground_truth/hole/{:03}_mask.png", 3),
    *_numbered("bolt/test/bent/{:03}.jpg", 2),
    *_numbered("bolt/ground_truth/bent/{:03}_mask.png", 2),
]


@pytest.mark.parametrize("archive", [None, "whatever_256.zip"])
def test_mvtec_layout(tmp_path: Path, archive: str | None) -> None:
    sets = read_image_sets(_write(tmp_path / "parts", MVTEC, archive))
    assert _shape(sets) == {"bolt": (0, 0, 2), "nut": (5, 2, 3)}
    bolt, nut = sets
    assert (nut.name, nut.layout) == ("parts", "mvtec_ad")
    assert "no normal pictures to learn from" in bolt.note
    hole = [i for i in nut.test if i.label]
    assert [i.name for i in hole] == _numbered("nut/test/hole/{:03}.png", 3)
    assert {i.defect for i in hole} == {"hole"} and all(i.split == "test" for i in hole)
    assert hole[0].pixels().shape == (8, 12, 3)
    mask = hole[0].mask_pixels((8, 12, 3))
    assert mask is not None and mask.dtype == bool and mask.sum() == 12 and mask[2, 3] and not mask[0, 0]
    normal = nut.train[0].mask_pixels((8, 12))
    assert normal is not None and normal.shape == (8, 12) and not normal.any()


def test_a_folder_that_is_one_category_and_a_zip_given_itself(tmp_path: Path) -> None:
    one = [n.removeprefix("nut/") for n in MVTEC if n.startswith("nut/")]
    _write(tmp_path / "nut", one)
    assert _shape(read_image_sets(tmp_path / "nut")) == {"nut": (5, 2, 3)}
    _write(tmp_path / "zips", one, "nut_320x640.zip")
    assert _shape(read_image_sets(tmp_path / "zips" / "nut_320x640.zip")) == {"nut": (5, 2, 3)}


def test_an_archive_beside_its_own_folder_is_read_once(tmp_path: Path) -> None:
    _write(tmp_path / "d", [f"all/{n}" for n in MVTEC])
    _write(tmp_path / "d", MVTEC, "all.zip")
    assert _shape(read_image_sets(tmp_path / "d")) == {"bolt": (0, 0, 2), "nut": (5, 2, 3)}


@pytest.mark.parametrize("beside", [True, False])
def test_index_gives_the_split(tmp_path: Path, beside: bool) -> None:
    rows = ["file,category,split,defect,label"]
    rows += [f"{n},nut,{'train' if int(n[-7:-4]) < 2 else 'test'},good,0" for n in MVTEC if "train/good" in n]
    rows += [f"{n},nut,test,hole,1" for n in MVTEC if "nut/test/hole" in n]
    rows += ["nut/test/hole/not_there.png,nut,test,hole,1"]
    index = "\n".join(rows).encode()
    if beside:
        _write(tmp_path / "d", MVTEC, "any.zip")
        (tmp_path / "d/index.csv").write_bytes(index)
    else:
        _write(tmp_path / "d", dict.fromkeys(MVTEC, b"") | {"index.csv": index}, "any.zip")
    sets = read_image_sets(tmp_path / "d")
    assert _shape(sets) == {"nut": (2, 3, 3)}
    assert "split of index.csv" in sets[0].note and "1 pictures listed there are not" in sets[0].note
    assert all(i.mask == i.name.replace("test", "ground_truth").replace(".png", "_mask.png")
               for i in sets[0].test if i.label)  # fmt: skip


def test_index_alone_labels_a_flat_folder(tmp_path: Path) -> None:
    files = _numbered("p{}.png", 8)
    index = "file,class,label\n" + "\n".join(
        f"{f},{'free' if i < 5 else 'spot'},{int(i >= 5)}" for i, f in enumerate(files)
    )
    _write(tmp_path / "flat", dict.fromkeys(files, b"") | {"index.csv": index.encode(), "p7_mask.png": b""})
    (found,) = read_image_sets(tmp_path / "flat")
    assert _shape([found]) == {"flat": (3, 2, 3)}
    assert [i.mask for i in found.test if i.label] == [None, None, "p7_mask.png"]


def test_loco_regions_saturation_and_validation(tmp_path: Path) -> None:
    config = [{"defect_name": "swapped", "pixel_value": 253, "saturation_threshold": 140800, "relative_saturation": False}]  # fmt: skip
    other = np.zeros((8, 12), np.uint8)
    other[7, 11] = 251
    out = io.BytesIO()
    Image.fromarray(other).save(out, "PNG")
    files = dict.fromkeys(
        _numbered("juice/train/good/{:03}.png", 3) + _numbered("juice/validation/good/{:03}.png", 2)
        + _numbered("juice/test/good/{:03}.png", 2) + _numbered("juice/test/logical_anomalies/{:03}.png", 2)
        + ["juice/test/structural_anomalies/000.png"], b""
    )  # fmt: skip
    files |= {
        "juice/ground_truth/logical_anomalies/000/000.png": _mask(value=253),
        "juice/ground_truth/logical_anomalies/000/001.png": out.getvalue(),
        "juice/ground_truth/logical_anomalies/001.png": _mask(value=250),
        "juice/defects_config.json": json.dumps(config).encode(),
    }
    (juice,) = read_image_sets(_write(tmp_path / "loco", files))
    assert (juice.layout, _shape([juice])) == ("mvtec_loco", {"juice": (3, 2, 3)})
    assert len(juice.validation) == 2
    (saturation,) = juice.saturation
    assert (saturation.value, saturation.threshold, saturation.relative) == (253, 140800.0, False)
    first, second, structural = [i for i in juice.test if i.label]
    regions = first.mask_regions((8, 12))
    assert regions is not None and [v for v, _ in regions] == [253, 251]
    merged = first.mask_pixels((8, 12))
    assert merged is not None and merged.sum() == 13
    assert second.mask == "juice/ground_truth/logical_anomalies/001.png"
    assert structural.mask_pixels((8, 12)) is None

    gone = {n: d for n, d in files.items() if "test/good" not in n}
    (juice,) = read_image_sets(_write(tmp_path / "part", gone))
    assert _shape([juice]) == {"juice": (3, 2, 3)} and juice.validation == ()
    assert "those of validation are the normal test pictures" in juice.note


@pytest.mark.parametrize("original", [True, False])
def test_mtd_splits_its_free_tiles(tmp_path: Path, original: bool) -> None:
    inner, mask = ("Imgs/", "") if original else ("", "_mask")
    files = dict.fromkeys(
        _numbered(f"MT_Free/{inner}f{{}}.jpg", 10) + _numbered(f"MT_Crack/{inner}c{{}}.jpg", 2), b""
    )
    files |= dict.fromkeys(_numbered(f"MT_Crack/{inner}c{{}}{mask}.png", 2), _mask())
    if original:
        files |= dict.fromkeys(_numbered("MT_Free/Imgs/f{}.png", 10), _png(value=0))
    _write(tmp_path / "tiles", files)
    (tiles,) = read_image_sets(tmp_path / "tiles", seed=3)
    assert (tiles.layout, _shape([tiles])) == ("mtd", {"tiles": (8, 2, 2)})
    assert all(i.mask is not None for i in tiles.test if i.label)
    assert "8 of 10 normal pictures by seed 3" in tiles.note
    assert read_image_sets(tmp_path / "tiles", seed=3) == [tiles]
    drawn = {tuple(i.name for i in read_image_sets(tmp_path / "tiles", seed=s)[0].train) for s in range(4)}
    assert len(drawn) > 1
    assert list(tiles.train) == sorted(tiles.train, key=lambda i: i.name)


def test_btad_and_3cad(tmp_path: Path) -> None:
    btad = [*_numbered("01/train/ok/{}.bmp", 4), *_numbered("01/test/ok/{}.bmp", 2), "01/test/ko/7.bmp", "01/ground_truth/ko/7.png"]  # fmt: skip
    (one,) = read_image_sets(_write(tmp_path / "b", btad))
    assert (one.layout, _shape([one])) == ("btad", {"01": (4, 2, 1)})
    assert one.test[0].mask == "01/ground_truth/ko/7.png" and one.test[0].defect == "ko"
    root = "Copper_Stator"
    cad = [f"{root}/train/good/0.png", f"{root}/test/good/1.png", f"{root}/test/Bruise/2.png", f"{root}/ground_truth/Bruise/2.png"]  # fmt: skip
    (one,) = read_image_sets(_write(tmp_path / "c", cad))
    assert (one.layout, _shape([one])) == ("3cad", {root: (1, 1, 1)})
    assert one.test[0].mask == f"{root}/ground_truth/Bruise/2.png"


VISA = [
    *_numbered("candle/Data/Images/Normal/{:04}.JPG", 10),
    *_numbered("candle/Data/Images/Anomaly/{:03}.JPG", 2),
    *_numbered("candle/Data/Masks/Anomaly/{:03}.png", 2),
]


def test_visa_raw_and_by_its_table(tmp_path: Path) -> None:
    (raw,) = read_image_sets(_write(tmp_path / "raw", VISA))
    assert (raw.layout, _shape([raw])) == ("visa", {"candle": (9, 1, 2)})
    assert raw.test[0].mask == "candle/Data/Masks/Anomaly/000.png"
    table = "object,split,label,image,mask\n" + "\n".join(
        [f"candle,{'train' if '0000' in n else 'test'},normal,{n}," for n in VISA[:10]]
        + [
            f"candle,test,anomaly,{n},{n.replace('Images', 'Masks').replace('JPG', 'png')}"
            for n in VISA[10:12]
        ]
    )
    files = dict.fromkeys(VISA, b"") | {"split_csv/1cls.csv": table.encode()}
    (listed,) = read_image_sets(_write(tmp_path / "listed", files))
    assert _shape([listed]) == {"candle": (1, 9, 2)}
    anomaly = listed.test[0]
    assert (anomaly.defect, anomaly.mask) == ("anomaly", "candle/Data/Masks/Anomaly/000.png")


@pytest.mark.parametrize(("good", "rest"), [("normal", "abnormal"), ("Good", "holes"), ("OK", "nok")])
def test_good_folder_and_rest(tmp_path: Path, good: str, rest: str) -> None:
    files = _numbered(f"{good}/{{}}.jpg", 10) + _numbered(f"{rest}/{{}}.jpg", 3) + ["ground_truth/1_mask.png"]
    (found,) = read_image_sets(_write(tmp_path / "d", files, "cubes.zip"))
    assert (found.layout, _shape([found])) == ("good_and_rest", {"cubes": (6, 4, 3)})
    assert {i.defect for i in found.test} == {"good", rest}
    assert Counter(i.mask for i in found.test) == {None: 6, "ground_truth/1_mask.png": 1}


def test_severity_template(tmp_path: Path) -> None:
    base = "data/Industry/visa/pcb1"
    files = dict.fromkeys(
        [f"{base}/train/good/0.png", f"{base}/test/good_level_0/0.png", f"{base}/test/melt,scratch_level_2/0.png",
         f"{base}/test/bent_level_1/0.png", "data/Industry/visa/pcb2/test/good_level_0/0.png"], b""
    )  # fmt: skip
    table = 'Path,Severity\ngood_level_0/0.png,0.0\nbent_level_1/0.png,0.5\n"melt,scratch_level_2/0.png",1.2\nnone/0.png,3'
    files["data/template/visa_pcb1_template.csv"] = table.encode()
    (found,) = read_image_sets(_write(tmp_path / "mad", files))
    assert (found.layout, found.category, len(found.train)) == ("mad_bench", "visa_pcb1", 1)
    levels = [(i.name.removeprefix(f"{base}/test/"), i.severity, i.label, i.defect) for i in found.test]
    assert levels == [
        ("bent_level_1/0.png", 1, 1, "bent"),
        ("good_level_0/0.png", 0, 0, "good"),
        ("melt,scratch_level_2/0.png", 2, 1, "melt,scratch"),
    ]
    assert "1 pictures listed there are not" in found.note


def test_severity_by_image_path_raw_and_bad_levels(tmp_path: Path) -> None:
    files = {
        "a.png": b"",
        "b.png": b"",
        "t.csv": b"image_path_raw,severity,anomaly_score\na.png,0,\nb.png,2,\n",
    }
    (found,) = read_image_sets(_write(tmp_path / "s", files))
    assert [(i.name, i.severity) for i in found.test] == [("a.png", 0), ("b.png", 2)]
    for level in ("much", "-1", "nan", "inf", ""):
        (tmp_path / "s/t.csv").write_text(f"Path,Severity\na.png,{level}\n")
        with pytest.raises(InputError, match=r"t\.csv:2: expected a severity level"):
            read_image_sets(tmp_path / "s")


def _item(
    tmp_path: Path, mask: bytes | None, picture: tuple[int, int] = (12, 8), name: str = "m.png"
) -> ImageItem:
    files = {"p.png": _png(picture)} | ({} if mask is None else {name: mask})
    store = _write(tmp_path / "one", files)
    return ImageItem("p.png", str(store), "c", "test", "hole", 1, None if mask is None else name)


def test_a_mask_of_another_size_is_resized_only_at_the_same_ratio(tmp_path: Path) -> None:
    same = _item(tmp_path, _mask((24, 16)))
    resized = same.mask_pixels((8, 12))
    assert resized is not None and resized.shape == (8, 12) and resized.any()
    odd = _item(tmp_path, _mask((12, 12)))
    with pytest.raises(InputError, match=r"m\.png: the mask is 12×12 pixels, its picture p\.png 12×8"):
        odd.mask_pixels((8, 12))


def test_a_thin_mask_survives_a_resized_picture(tmp_path: Path) -> None:
    line = np.zeros((80, 120), np.uint8)
    line[:, 13] = 255
    out = io.BytesIO()
    Image.fromarray(line).save(out, "PNG")
    mask = _item(tmp_path, out.getvalue()).mask_pixels((8, 12))
    assert mask is not None and mask[:, 1].all() and mask.sum() == 8


@pytest.mark.parametrize("data", [_png(value=0), None])
def test_an_absent_or_empty_mask_of_an_anomaly_is_unknown(tmp_path: Path, data: bytes | None) -> None:
    assert _item(tmp_path, data).mask_pixels((8, 12)) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [(_mask(value=3), 12), (_png(value=1, mode="1"), 96), (_png(value=40_000, mode="I;16"), 96),
     (_png(value=255, mode="RGBA"), 96), (_png(value=200, mode="RGB", form="JPEG"), 96)],
)  # fmt: skip
def test_masks_of_any_kind_of_picture(tmp_path: Path, data: bytes, expected: int) -> None:
    mask = _item(tmp_path, data).mask_pixels((8, 12))
    assert mask is not None and mask.sum() == expected


def test_jpeg_noise_is_no_mask(tmp_path: Path) -> None:
    assert _item(tmp_path, _png(value=9, form="JPEG")).mask_pixels((8, 12)) is None


def test_a_broken_mask_is_a_media_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="not a readable mask"):
        _item(tmp_path, b"no picture").mask_pixels((8, 12))


def test_nothing_recognised_says_what_was_looked_for(tmp_path: Path) -> None:
    for files in (
        ["a.png", "b.png"],
        ["cats/1.png", "dogs/2.png"],
        ["train/cat/1.png", "test/dog/2.png"],
        {"x.txt": b"x"},
    ):
        folder = _write(tmp_path / str(len(list(tmp_path.iterdir()))), files)
        with pytest.raises(InputError, match=r"ground_truth.*1cls\.csv.*MT_.*index\.csv.*good"):
            read_image_sets(folder)
    with pytest.raises(InputError, match="expected a folder or a zip"):
        read_image_sets(tmp_path / "nowhere")


def test_a_table_cannot_name_a_file_outside(tmp_path: Path) -> None:
    _write(tmp_path, {"secret.png": _png()})
    files = {"a.png": b"", "index.csv": b"file,split,label\n../secret.png,train,0\na.png,test,1\n"}
    (found,) = read_image_sets(_write(tmp_path / "in", files))
    assert [i.name for i in found.test] == ["a.png"] and found.train == ()


def test_broken_tables_are_input_errors(tmp_path: Path) -> None:
    config = {"juice/defects_config.json": b"{"}
    loco = dict.fromkeys(["juice/train/good/0.png", "juice/test/logical_anomalies/0.png"], b"")
    with pytest.raises(InputError, match=r"defects_config\.json"):
        read_image_sets(_write(tmp_path / "l", loco | config))
    with pytest.raises(InputError, match="UTF-8"):
        read_image_sets(_write(tmp_path / "u", {"a.png": b"", "index.csv": b"\xff\xfe\x00"}))
    with pytest.raises(InputError, match="expected columns object"):
        read_image_sets(_write(tmp_path / "v", {"a.png": b"", "split_csv/1cls.csv": b"a,b\n1,2\n"}))


def test_sets_turn_into_json_and_back(tmp_path: Path) -> None:
    (_, nut) = read_image_sets(_write(tmp_path / "parts", MVTEC))
    assert ImageSet.from_json(nut.to_json()) == nut


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_layout_has_a_reader_and_a_card(name: str) -> None:
    assert resolve(IMAGE_SETS, name, "image set") is read_image_sets
    assert (CARDS[name].kind, CARDS[name].modality) == ("benchmark", "image")


@pytest.mark.parametrize(
    ("folder", "category", "layout", "expected"),
    [
        ("mvtec_ad_small", "hazelnut", "mvtec_ad", (40, 12, 18)),
        ("mvtec_ad_small", "wood", "mvtec_ad", (0, 0, 15)),
        ("mvtec_loco_juice_bottle", "juice_bottle", "mvtec_loco", (335, 41, 107)),
        ("magnetic_tile_mtd", "mtd", "mtd", (288, 72, 296)),
        ("dobot_cubes", "cubes", "good_and_rest", (52, 35, 54)),
    ],
)
def test_real_sets(
    data_root: Path, folder: str, category: str, layout: str, expected: tuple[int, int, int]
) -> None:
    if not (data_root / folder).is_dir():
        pytest.skip(f"{folder} is not there")
    found = {s.category: s for s in read_image_sets(data_root / folder)}[category]
    assert (found.layout, _shape([found])[category]) == (layout, expected)
    anomalies = [i for i in found.test if i.label]
    if folder != "dobot_cubes":
        mask = anomalies[0].mask_pixels(anomalies[0].pixels().shape)
        assert mask is not None and mask.any() and not mask.all()


@pytest.mark.parametrize("mode", ["I;16", "L", "RGBA", "CMYK", "P"])
def test_pictures_of_any_mode_are_read_as_rgb(tmp_path, mode):
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (16, 1))
    picture = Image.fromarray(ramp)
    if mode == "I;16":
        picture = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode == "P":
        picture = picture.convert(mode)
    elif mode != "L":
        picture = picture.convert("RGB").convert(mode)
    kind = {"CMYK": "tif"}.get(mode, "png")
    for folder in ("good", "bad"):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / f"a.{kind}")
    pixels = read_image_sets(tmp_path)[0].test[0].pixels()
    assert pixels.shape == (16, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.mean(2) - ramp).max() <= 3
