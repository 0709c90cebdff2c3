"""PAB: annotation and shards, splits without shared videos, protocols, the masked release, and our own twins."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oddwatch.core import InputError
from oddwatch.datasets import pab
from oddwatch.datasets.formats import detect_format
from oddwatch.datasets.records import Record, pixels, queries, read_records
from oddwatch.datasets.scenes.writer import generate


def _jpeg(color: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (6, 8), color).save(out, "JPEG")
    return out.getvalue()


def _lines(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def _train(shard: int, index: int, state: int, **more: object) -> dict[str, object]:
    kind = ("goal", "wentrong", "full")[state]
    return {
        "image": f"train/imgs_{shard}/{kind}/{index}.jpg",
        "caption": f"somebody of shard {shard} seen {index} times",
        "image_id": f"{shard}_{index}",
        "hard_i": f"imgs_{shard}/goal/{index + 50}.jpg",
        "hard_c": "the same somebody, otherwise busy",
        "hard_i_id": f"{shard}_{index + 50}",
        "source_id": f"{10 * shard + index // 3}_{state}",
        "source_caption": "somebody is at it",
        "anomaly" if state else "normal": "Slipping" if state else "Skating",
        "scene": "Ice rink",
    } | more


TEST = [
    {
        "image": "test/0.jpg",
        "image_id": 0,
        "caption": ["a boy skates", "a lad on skates"],
        "normal": "Skating",
    },
    {"image": "test/1.jpg", "image_id": 1, "caption": ["a boy lies on the ice"], "anomaly": "Slipping"},
]


def test_c7_two_records_three_queries_and_where_hard_negatives_lie(tmp_path: Path) -> None:
    _lines(tmp_path / "annotation/test/attr.json", TEST)
    _lines(tmp_path / "annotation/train/attr_0.json", [_train(0, 4, 1)])
    assert detect_format(tmp_path) == "pab"
    records = read_records(tmp_path)
    assert (len(records), len(queries(records))) == (2, 3)
    assert [i for _, i in queries(records)] == ["0", "0", "1"]
    (one,) = pab.read_pab(tmp_path, "train")
    assert (one.image, one.hard_image) == ("train/imgs_0/wentrong/4.jpg", "train/imgs_0/goal/54.jpg")
    assert (one.hard_id, one.hard_caption) == ("0_54", "the same somebody, otherwise busy")
    assert (one.source_id, one.source_caption, pab.video_of(one)) == ("1_1", "somebody is at it", "1")
    assert (one.abnormal, one.action, one.scene) == (True, "Slipping", "Ice rink")
    assert Record.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_shards_go_by_their_number(tmp_path: Path) -> None:
    for shard in range(75):
        _lines(tmp_path / f"annotation/train/attr_{shard}.json", [_train(shard, 0, 0)])
    small = pab.read_pab(tmp_path, "train", "0.1M")
    assert [r.image_id for r in small] == [f"{s}_0" for s in range(8)]
    whole = pab.read_pab(tmp_path, "train", "1M")
    assert (
        [r.image_id for r in whole]
        == [f"{s}_0" for s in range(75)]
        == [r.image_id for r in pab.read_pab(tmp_path, "train")]
    )
    assert [r.image_id for r in pab.read_pab(tmp_path, "train", [10, 2])] == ["2_0", "10_0"]
    (tmp_path / "annotation/train/attr_5.json").unlink()
    with pytest.raises(InputError, match=r"no JSON-lines annotation of train shard 5$"):
        pab.read_pab(tmp_path, "train", "0.1M")
    with pytest.raises(InputError, match=r"expected 0\.1M or 1M"):
        pab.read_pab(tmp_path, "train", "2M")


def test_the_same_records_are_read_once(tmp_path: Path) -> None:
    plain = [{k: r[k] for k in ("image", "image_id", "caption")} for r in TEST]
    _lines(tmp_path / "annotation/test/pair.json", plain)
    assert [r.action for r in pab.read_pab(tmp_path)] == [None, None]
    _lines(tmp_path / "annotation/test/attr.json", TEST)
    _lines(tmp_path / "annotation/test/ucc.json", [{"image": "ucc/9.jpg", "image_id": 9, "caption": ["x"]}])
    _lines(tmp_path / "annotation/multi-weather/multi-weather_test_rain.json", plain)
    _lines(tmp_path / "annotation/source_caption.json", ["not records"])
    assert [r.action for r in pab.read_pab(tmp_path)] == ["Skating", "Slipping"]
    assert [r.image for r in pab.read_pab(tmp_path, "ucc")] == ["ucc/9.jpg"]
    assert len(pab.read_pab(tmp_path, "weather_test_rain")) == 2
    with pytest.raises(InputError, match="no JSON-lines annotation with 'train'"):
        pab.read_pab(tmp_path, "train")
    _lines(tmp_path / "annotation/test/attr.json", [])
    with pytest.raises(InputError, match="holds no records"):
        pab.read_pab(tmp_path)
    with pytest.raises(InputError, match="PAB's folder"):
        pab.read_pab(tmp_path / "nowhere")


@pytest.mark.parametrize("zipped", [True, False])
def test_pictures_and_poses_lie_in_the_folder_or_a_zip(tmp_path: Path, zipped: bool) -> None:
    _lines(tmp_path / "annotation/test/attr.json", TEST)
    files = {"test/0.jpg": _jpeg(), "test/1.jpg": _jpeg(), "pose/test/0.jpg": _jpeg((0, 0, 250))}
    if zipped:
        with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    first, second = pab.read_pab(tmp_path)
    assert pixels(first).shape == pixels(second).shape == (8, 6, 3)
    assert pab.pose_name(first) == "pose/test/0.jpg"
    assert pab.pose_map(first)[0, 0, 2] > 200 > pixels(first)[0, 0, 2]
    with pytest.raises(InputError, match="no such file"):
        pab.pose_map(second)


def test_identity_protocol_pairs_neighbours_videos_or_persons() -> None:
    test = [Record(f"test/{i}.jpg", str(i), ("x",), abnormal=bool(i % 2)) for i in range(6)]
    assert [r.image_id for r in pab.by_identity(test)] == [f"pair {i // 2}" for i in range(6)]
    assert pab.by_identity(test[:2])[1].image == "test/1.jpg"
    for bad in (test[:5], test[1:5:2], [replace(r, abnormal=None) for r in test]):
        with pytest.raises(InputError, match="one is normal and one an anomaly"):
            pab.by_identity(bad)
    videos = [replace(test[i], source_id=s) for i, s in enumerate(("7_0", "8_0", "7_1", "7_2"))]
    assert [r.image_id for r in pab.by_identity(videos)] == ["7", "8", "7", "7"]
    assert [r.image_id for r in pab.by_identity([replace(r, person="p") for r in videos[:2]])] == ["p", "p"]


def _records(videos: Sequence[int]) -> list[Record]:
    return [
        Record(
            f"{i}.jpg",
            str(i),
            source_id=None if v < 0 else f"{v}_{i % 3}",
            person=f"p{v}" if v < -3 else None,
        )
        for i, v in enumerate(videos)
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-6, 9), min_size=12, max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
def test_no_video_straddles_the_split(videos: list[int], share: float, seed: int, random: object) -> None:
    records = _records(videos)
    if len({pab.video_of(r) or r.person or r.image_id for r in records}) < 2:
        return
    train, held = pab.split_by_video(records, share, seed)
    assert train and held and sorted(map(str, train + held)) == sorted(map(str, records))
    for key in (pab.video_of, lambda r: r.person):
        assert not {key(r) for r in train} & {key(r) for r in held} - {None}
    assert [r for r in records if r in train] == train
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {r.image for r in pab.split_by_video(shuffled, share, seed)[1]} == {r.image for r in held}


def test_split_sizes_seeds_and_refusals() -> None:
    records = _records([v for v in range(200) for _ in range(3)])
    train, held = pab.split_by_video(records)
    assert (len(train), len(held)) == (570, 30)
    assert pab.split_by_video(records, seed=1)[1] != held
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(InputError, match="share between 0 and 1"):
            pab.split_by_video(records, share)
    with pytest.raises(InputError, match="two or more videos, got 1"):
        pab.split_by_video(records[:3])


def test_protocols_name_what_a_number_is_comparable_to() -> None:
    test = [Record(f"test/{i}.jpg", str(i)) for i in range(1978)]

    def name(records: Sequence[Record], pairs: str = "0", adapted: bool = False) -> str | None:
        found = pab.protocol_of(records, pairs, adapted=adapted)
        return found.name if found else None

    assert [name(test), name(test, "0.1M"), name(test, "1M"), name(test, "0", True)] == [
        "zero-shot", "0.1M", "1M", "tta",
    ]  # fmt: skip
    assert name(test[:-1]) is None and name(test, "9M") is None and name([]) is None
    paired = [replace(r, image_id=str(i // 2)) for i, r in enumerate(test)]
    assert (name(paired, "1M"), name(paired, "0.1M")) == ("identity", None)
    ucc = [Record(f"ucc/{i}.jpg", str(i)) for i in range(5320)]
    assert (name(ucc, "0.1M"), name(ucc), name(ucc[1:], "1M")) == ("ucc", None, None)
    masked = [Record(f"{i}.jpg", str(i)) for i in range(36773)]
    assert (name(masked), name(masked[:1978])) == ("track4", None)
    assert [p.transductive for p in pab.PROTOCOLS.values() if p.name == "tta"] == [True]
    assert pab.PROTOCOLS["track4"].gallery == 1978 + 34795


def test_attributes_count_actions_scenes_and_states() -> None:
    records = [
        Record("a", "a", ("one two three",), abnormal=False, action="Skating ", scene="Rink"),
        Record("b", "b", ("one",), abnormal=False, action="skating", scene="rink"),
        Record("c", "c", abnormal=True, action="Slipping", scene="Street"),
        Record("d", "d"),
    ]
    found = pab.attributes(records)
    assert (found.normal, found.abnormal, found.unlabelled, found.words) == (2, 1, 1, 2.0)
    assert (found.normal_actions, found.abnormal_actions) == ({"skating": 2}, {"slipping": 1})
    assert list(found.scenes.items()) == [("rink", 2), ("street", 1)]
    assert pab.Attributes.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert pab.attributes([]).words is None


NAMES = [f"{c}{i:02d}X" for i, c in enumerate("KQZABWYVTMRL")]


def _challenge(folder: Path, form: str = "lines", zipped: bool = False) -> Path:
    rows = {"Q7": "a boy skates", "Q2": "a boy slips", "Q5": "a man waves"}
    listed = [{"query_index": q, "caption": t} for q, t in rows.items()]
    if form == "lines":
        _lines(folder / "query_text.json", listed)
    else:
        whole = listed if form == "list" else rows
        (folder / "query.json").write_text(json.dumps(whole))
    (folder / "query_index.txt").write_text("Q2\nQ5\nQ7\n")
    names = [f"{n}.jpg" for n in NAMES] + ["notes.txt"]
    if zipped:
        with zipfile.ZipFile(folder / "gallery.zip", "w") as archive:
            for name in names:
                archive.writestr(f"gallery/{name}", _jpeg())
            archive.writestr("__MACOSX/gallery/._K00X.jpg", b"")
    else:
        (folder / "gallery").mkdir()
        for name in names:
            (folder / "gallery" / name).write_bytes(_jpeg())
    return folder


@pytest.mark.parametrize(
    ("form", "zipped"), [("lines", False), ("lines", True), ("list", False), ("object", True)]
)
def test_the_masked_release_is_read_in_the_order_asked(tmp_path: Path, form: str, zipped: bool) -> None:
    found = pab.read_challenge(_challenge(tmp_path, form, zipped))
    assert found.queries == (("Q2", "a boy slips"), ("Q5", "a man waves"), ("Q7", "a boy skates"))
    records = found.records()
    assert {r.image_id for r in records} == set(NAMES)
    assert pixels(records[0]).shape == (8, 6, 3)
    (tmp_path / "query_index.txt").unlink()
    assert [q for q, _ in pab.read_challenge(tmp_path).queries] == ["Q7", "Q2", "Q5"]


def test_answers_are_ten_names_a_line(tmp_path: Path) -> None:
    found = pab.read_challenge(_challenge(tmp_path))
    ranked = {q: NAMES[i:] + NAMES[:i] for i, q in enumerate(("Q5", "Q7", "Q2"))}
    path = tmp_path / "answer.txt"
    pab.write_answer(path, found, {q: [f"gallery/{n}.jpg" for n in names] for q, names in ranked.items()})
    assert path.read_text().splitlines() == [" ".join(ranked[q][:10]) for q in ("Q2", "Q5", "Q7")]
    assert pab.read_answer(path, found) == {q: tuple(names[:10]) for q, names in ranked.items()}
    for change, problem in (
        ({"Q5": NAMES[:9]}, "query Q5: expected 10 different"),
        ({"Q5": [*NAMES[:9], NAMES[0]]}, "query Q5: expected 10 different gallery names, got 9"),
        ({"Q5": [*NAMES[:9], "elsewhere"]}, "'elsewhere' is not a name of the gallery"),
    ):
        with pytest.raises(InputError, match=problem):
            pab.write_answer(path, found, ranked | change)
    (tmp_path / f"gallery/{NAMES[0]}.jpg").rename(tmp_path / "gallery/a b.jpg")
    with pytest.raises(InputError, match="'a b' holds a blank"):
        pab.write_answer(path, pab.read_challenge(tmp_path), {q: ["a b", *NAMES[1:10]] for q in ranked})
    with pytest.raises(InputError, match="query Q7: has no answer"):
        pab.write_answer(path, found, {q: ranked[q] for q in ("Q2", "Q5")})
    assert len(pab.read_answer(path, found)) == 3  # what was there before a refusal stays
    text = path.read_text()
    path.write_text(text + text.splitlines()[0] + "\n")
    with pytest.raises(InputError, match="expected 3 lines, one a query, got 4"):
        pab.read_answer(path, found)
    path.write_text(text.replace(NAMES[1], "gone"))  # the first line, of Q2, has not named it
    with pytest.raises(InputError, match=r"answer\.txt:2: 'gone'"):
        pab.read_answer(path, found)


def test_masked_releases_that_lack_something_say_what(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no query texts"):
        pab.read_challenge(tmp_path)
    folder = _challenge(tmp_path)
    for text, problem in (
        ("Q2\nQ9\n", "'Q9' has no text in query_text.json"),
        ("Q2\nQ2\n", "asks for a query twice"),
    ):
        (folder / "query_index.txt").write_text(text)
        with pytest.raises(InputError, match=problem):
            pab.read_challenge(folder)
    (folder / "query_index.txt").unlink()
    (folder / "gallery/sub").mkdir()
    (folder / f"gallery/sub/{NAMES[0]}.png").write_bytes(b"")
    with pytest.raises(InputError, match="two pictures of one name"):
        pab.read_challenge(folder)
    shutil.rmtree(folder / "gallery")
    (folder / "gallery").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        pab.read_challenge(folder)
    (folder / "gallery").rmdir()
    with pytest.raises(InputError, match="neither gallery/ nor"):
        pab.read_challenge(folder)
    _lines(folder / "query_text.json", [{"query_index": "a", "caption": "x"}] * 2)
    with pytest.raises(InputError, match=r"query_text\.json:2: query 'a' comes twice"):
        pab.read_challenge(folder)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["query_index", "caption", "text", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(_json, st.booleans(), st.text(max_size=12))
def test_any_query_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: object, lines: bool, order: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "gallery").mkdir()
    (folder / "gallery/one.jpg").write_bytes(b"")
    rows = value if lines and isinstance(value, list) else [value]
    (folder / "query.json").write_text("\n".join(map(json.dumps, rows)))
    if lines:
        (folder / "query_index.txt").write_text(order, "utf-8", "replace")
    try:
        found = pab.read_challenge(folder)
    except InputError:
        return
    ranked = {q: ["one.jpg"] for q, text in found.queries if isinstance(text, str)}
    pab.write_answer(folder / "answer.txt", found, ranked)
    assert pab.read_answer(folder / "answer.txt", found) == dict.fromkeys(ranked, ("one",))


def test_generated_twins_are_records_of_the_same_form(tmp_path: Path) -> None:
    rows = generate(tmp_path, scenes=0, twins=2, seed=31)
    records = read_records(tmp_path)
    assert [r.source_id for r in records] == [f"t31-0000{i}_{y}" for i in (0, 1) for y in (0, 1)]
    assert [r.abnormal for r in records] == [False, True] * 2
    by_id = {r.image_id: r for r in records}
    for record, row in zip(records, rows, strict=True):
        other = by_id[record.hard_id or ""]
        assert other is not record and pab.video_of(other) == pab.video_of(record)
        assert (record.hard_image, other.hard_id) == (other.image, record.image_id)
        assert record.hard_caption in other.captions and record.source_caption in record.captions
        assert (record.action, record.scene) == (row.get("normal") or row.get("anomaly"), row["scene"])
        assert record.abnormal == ("anomaly" in row) and pixels(record).size
    for seed in range(6):
        train, held = pab.split_by_video(records, 0.5, seed)
        assert len({pab.video_of(r) for r in train}) == len({pab.video_of(r) for r in held}) == 1
    assert len({r.image_id for r in pab.by_identity(records)}) == 2
