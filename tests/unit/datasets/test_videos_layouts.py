"""Every layout of video sets on made-up trees: those of the data folder, those of public sets, one's own."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from oddwatch.core import InputError
from oddwatch.datasets.videos import VideoSet, clip_of, read_video_sets
from oddwatch.media.video import Sampling


def video(path: Path, count: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
    for i in range(count):
        writer.write(np.full((24, 32, 3), 9 * i % 256, np.uint8))
    writer.release()
    return path


def named(path: Path) -> Path:
    """A file of which only the name is read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def stills(folder: Path, count: int, ending: str = "tif", drawn: tuple[int, ...] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture = np.zeros((6, 8), np.uint8)
        picture[1:3, 2:5] = 255 if i in drawn else 0
        cv2.imwrite(str(folder / f"{i + 1:03}.{ending}"), picture)


def only(folder: Path) -> VideoSet:
    (one,) = read_video_sets(folder)
    return one


def shape(one: VideoSet) -> dict[str, tuple[int | None, object]]:
    return {item.name: (item.label, item.ranges) for item in one.test}


# -- public sets as shipped --------------------------------------------------------------------------------------


def test_ucsd_as_shipped(tmp_path):
    root = tmp_path / "UCSD_Anomaly_Dataset.v1p2"
    for name in ("UCSDped1", "UCSDped2"):
        stills(root / name / "Train" / "Train001", 4)
        stills(root / name / "Test" / "Test001", 6)
        stills(root / name / "Test" / "Test002", 6)
    stills(root / "UCSDped1" / "Test" / "Test001_gt", 6, "bmp", drawn=(3, 4))
    text(
        root / "UCSDped1" / "Test" / "UCSDped1.m",
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3, 5:6];\nTestVideoFile{end+1}.gt_frame = [4];\n",
    )
    stills(root / "UCSDped2" / "Test" / "Test001_gt", 6, "bmp", drawn=(0, 5))
    ped1, ped2 = read_video_sets(root)
    assert (ped1.layout, ped1.category, len(ped1.train)) == ("ucsd", "UCSDped1", 1)
    assert shape(ped1) == {"Test001": (1, ((1, 3), (4, 6))), "Test002": (1, ((3, 4),))}
    assert ped1.test[0].frame_labels().tolist() == [0, 1, 1, 0, 1, 1]
    assert [m.any() for m in ped1.test[0].mask_frames()] == [False] * 3 + [True] * 2 + [False]
    assert ped2.test[0].frame_labels(6).tolist() == [1, 0, 0, 0, 0, 1] and ped2.test[1].frame_labels() is None
    clip = clip_of(ped1.train[0])
    assert clip.fps == 10 and [f.index for f in clip.frames(Sampling(None))] == [0, 1, 2, 3]


def test_avenue_as_shipped(tmp_path):
    root = tmp_path / "Avenue Dataset"
    named(root / "training_videos" / "01.avi")
    video(root / "testing_videos" / "01.avi", 4)
    cell = np.empty((1, 4), dtype=object)
    for i in range(4):
        cell[0, i] = np.zeros((5, 7), np.uint8)
    cell[0, 2][1, 1] = 1
    folder = tmp_path / "Avenue Dataset" / "ground_truth_demo" / "testing_label_mask"
    folder.mkdir(parents=True)
    savemat(folder / "1_label.mat", {"volLabel": cell})
    one = only(tmp_path)
    assert (one.layout, [i.name for i in one.train]) == ("avenue", ["01"])
    assert one.test[0].frame_labels(4).tolist() == [0, 0, 1, 0]
    masks = list(one.test[0].mask_frames())
    assert masks[2].shape == (5, 7) and masks[2].sum() == 1
    assert len(clip_of(one.test[0]).times) == 4


def test_shanghaitech_as_shipped(tmp_path):
    named(tmp_path / "training" / "videos" / "01_001.avi")
    for clip in ("01_0014", "05_0002"):
        stills(tmp_path / "testing" / "frames" / clip, 5, "jpg")
        (tmp_path / "testing" / "test_frame_mask").mkdir(exist_ok=True)
        np.save(tmp_path / "testing" / "test_frame_mask" / f"{clip}.npy", np.array([0, 1, 1, 0, 0], np.int64))
    (tmp_path / "testing" / "test_pixel_mask").mkdir()
    drawn = np.zeros((5, 6, 8), bool)
    drawn[1, 2, 3] = True
    np.save(tmp_path / "testing" / "test_pixel_mask" / "05_0002.npy", drawn)
    one = only(tmp_path)
    assert (one.layout, one.train[0].scene, len(one.test)) == ("shanghaitech", "01", 2)
    assert shape(one)["01_0014"] == (1, ((1, 3),))
    assert np.array_equal(np.stack(list(one.test[1].mask_frames())), drawn)
    np.save(
        tmp_path / "testing" / "test_frame_mask" / "01_0014.npy", np.array([{}], object), allow_pickle=True
    )
    with pytest.raises(InputError, match="frame labels"):
        read_video_sets(tmp_path)


def test_ubnormal_as_shipped(tmp_path):
    for name in ("normal_scene_1_scenario_1", "normal_scene_1_scenario_2", "abnormal_scene_1_scenario_1",
                 "abnormal_scene_2_scenario_3_fog", "abnormal_scene_2_scenario_4"):  # fmt: skip
        named(tmp_path / f"Scene{name.split('_')[2]}" / f"{name}.mp4")
    marked = tmp_path / "Scene1" / "abnormal_scene_1_scenario_1_annotations"
    text(marked / "abnormal_scene_1_scenario_1_tracks.txt", "2,10.0,19.0\n5,30,34\n")
    text(tmp_path / "scripts" / "normal_training_video_names.txt", "normal_scene_1_scenario_1\n")
    text(tmp_path / "scripts" / "normal_test_video_names.txt", "normal_scene_1_scenario_2\n")
    text(tmp_path / "scripts" / "abnormal_test_video_names.txt", "abnormal_scene_1_scenario_1\n")
    text(tmp_path / "scripts" / "abnormal_training_video_names.txt", "abnormal_scene_2_scenario_3_fog\n")
    text(tmp_path / "scripts" / "abnormal_validation_video_names.txt", "abnormal_scene_2_scenario_4\n")
    one = only(tmp_path)
    assert [(i.name, i.label) for i in one.train] == [
        ("abnormal_scene_2_scenario_3_fog", 1), ("normal_scene_1_scenario_1", 0)
    ]  # fmt: skip
    assert shape(one) == {
        "abnormal_scene_1_scenario_1": (1, ((10, 20), (30, 35))),
        "normal_scene_1_scenario_2": (0, ()),
    }
    assert one.layout == "ubnormal" and one.test[0].scene == "1"
    text(marked / "abnormal_scene_1_scenario_1_tracks.txt", "2,x,19\n")
    with pytest.raises(InputError, match=r"tracks\.txt:1"):
        read_video_sets(tmp_path)


def test_ucf_crime_as_shipped(tmp_path):
    for name in (
        "Abuse/Abuse028_x264",
        "Abuse/Abuse001_x264",
        "Normal/Normal_Videos_003_x264",
        "Normal/Normal_Videos001_x264",
    ):
        named(tmp_path / "Videos" / f"{name}.mp4")
    text(
        tmp_path / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt",
        "Abuse028_x264.mp4  Abuse  165  240  -1  -1  \nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  \n"
        "Arson011_x264.mp4  Arson  150  420  680  1267\n",
    )
    text(
        tmp_path / "Anomaly_Train.txt",
        "Abuse/Abuse001_x264.mp4\nTraining-Normal-Videos-Part-1/Normal_Videos001_x264.mp4\n",
    )
    one = only(tmp_path)
    assert shape(one) == {"Abuse028_x264": (1, ((165, 240),)), "Normal_Videos_003_x264": (0, ())}
    assert [(i.name, i.label, i.ranges) for i in one.train] == [
        ("Abuse001_x264", 1, None), ("Normal_Videos001_x264", 0, ())
    ]  # fmt: skip
    assert one.test[0].cls == "Abuse" and "1 listed test videos are not there" in one.note
    text(
        tmp_path / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt",
        "Abuse028_x264.mp4  Abuse  240  165\n",
    )
    with pytest.raises(InputError, match=r"\.txt:1"):
        read_video_sets(tmp_path)


def test_xd_violence_as_shipped(tmp_path):
    for name in (
        "test/v=abc__#1_label_B4-0-0",
        "test/v=def__#1_label_A",
        "train/v=ghi__#2_label_B1-B2-0",
        "train/v=jkl__#3_label_A",
    ):
        named(tmp_path / f"{name}.mp4")
    text(tmp_path / "annotations.txt", "v=abc__#1_label_B4-0-0 0 1517 1970 3038\n")
    one = only(tmp_path)
    assert shape(one) == {
        "v=abc__#1_label_B4-0-0": (1, ((0, 1517), (1970, 3038))),
        "v=def__#1_label_A": (0, ()),
    }
    assert [(i.label, i.cls, i.ranges) for i in one.train] == [(1, "fighting-shooting", None), (0, "", ())]
    assert one.test[0].cls == "riot" and one.layout == "xd_violence"


@pytest.mark.parametrize("second", [False, True])
def test_msad_protocols(tmp_path, second):
    for name in ("Assault_1", "Assault_2", "MSAD_normal_testing_1", "MSAD_normal_mall29"):
        named(tmp_path / "videos" / f"{name}.mp4")
    text(
        tmp_path / "anomaly_annotation.csv",
        "name,scenario,total frames,starting frame of anomaly,ending frame of anomaly\nAssault_2,shop,100,10,19\n"
        "Assault_1,shop,100,5,9\n",
    )
    if second:
        text(tmp_path / "msad-i3d-test.list", "/a/Assault_2_i3d.npy\n/a/MSAD_normal_testing_1_i3d.npy\n")
        text(tmp_path / "msad-i3d.list", "/a/Assault_1_i3d.npy\n/a/MSAD_normal_mall29_i3d.npy\n")
    one = only(tmp_path)
    tested = {"Assault_2": (1, ((10, 20),)), "MSAD_normal_testing_1": (0, ())}
    assert shape(one) == (tested if second else tested | {"Assault_1": (1, ((5, 10),))})
    assert [i.label for i in one.train] == ([1, 0] if second else [0]) and one.test[0].cls == "Assault"


# -- labels beside clips -----------------------------------------------------------------------------------------


def test_labels_of_whole_clips(tmp_path):
    for i in range(4):
        video(tmp_path / f"c{i}.avi")
    text(tmp_path / "labels.csv", "file,label\nc0.avi,0\nc1.avi,1\nc2.avi,0\nc3.avi,1\nabsent.avi,1\n")
    one = only(tmp_path)
    assert (one.layout, one.alike, [i.label for i in one.test]) == ("clip_labels", True, [0, 1, 0, 1])
    assert one.test[1].ranges is None and one.test[0].frame_labels(10).tolist() == [0] * 10
    text(tmp_path / "labels.csv", "file,label\nc0.avi,maybe\n")
    with pytest.raises(InputError, match=r"labels\.csv:2"):
        read_video_sets(tmp_path)


def test_the_part_to_learn_ends_before_the_first_anomaly(tmp_path):
    video(tmp_path / "clip.avi", 60)
    rows = [f"{i},{int(12 <= i < 20 or i > 50)}" for i in range(60)]
    text(tmp_path / "labels.csv", "frame0,label\n" + "\n".join(rows))
    one = only(tmp_path)
    assert one.train[0].part == (0, 12) and one.test[0].ranges == ((0, 8), (39, 48))
    assert len(clip_of(one.test[0]).times) == one.test[0].n_frames == 48


def test_lines_of_labels_need_their_video(tmp_path):
    video(tmp_path / "eval.avi", 5)
    video(tmp_path / "quiet.avi", 5)
    text(tmp_path / "eval_labels.csv", "0\n1\n1\n0\n0\n")
    one = only(tmp_path)
    assert shape(one) == {"eval": (1, ((1, 3),))} and [i.name for i in one.train] == ["quiet"]
    text(tmp_path / "eval_labels.csv", "0\n1\nx\n")
    with pytest.raises(InputError, match="no video set"):
        read_video_sets(tmp_path)


def test_tables_of_tracks_as_csv(tmp_path):
    head = "video,Frame_Number,Person_ID,State,BB_tl_0,BB_tl_1,BB_br_0,BB_br_1"
    folder = tmp_path / "tracks"
    text(folder / "av_train.csv", f"{head}\n01,3,1,1,0,0,5,9\n01,0,1,1,0,0,4,9\n02,1,7,1,0,0,4,9\n")
    text(
        folder / "av_test.csv",
        f"{head},abnormal_ped,abnormal_gt\n01,0,1,1,0,0,4,9,0,0\n01,2,2,1,1,1,4,9,1,1\n01,2,1,1,0,0,4,9,0,1\n",
    )
    one = only(folder)
    assert (one.category, [i.n_frames for i in one.train]) == ("av", [4, 2])
    assert shape(one) == {"01": (1, ((2, 3),))}
    table = one.test[0].table()
    assert table.frame.tolist() == [0, 2, 2] and table.track.tolist() == [1, 1, 2]
    assert table.abnormal.tolist() == [False, False, True]
    text(tmp_path / "avenue" / "frame_labels_from_masks.json", json.dumps({"01": "01110"}))
    assert shape(only(folder)) == {"01": (1, ((1, 4),))}
    text(folder / "av_test.csv", f"{head}\n01,0,1,1,0,nan,4,9\n")
    with pytest.raises(InputError, match="finite boxes"):
        read_video_sets(folder)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_own_videos_with_spans(tmp_path, form):
    video(tmp_path / "train" / "quiet.avi")
    video(tmp_path / "gate" / "a.avi")
    video(tmp_path / "gate" / "b.avi")
    video(tmp_path / "yard" / "a.avi")
    rows = [
        ("gate/a.avi", 0.25, 0.5, "fall"),
        ("gate/a.avi", 0.72, 0.74, "run"),
        ("yard/a.avi", 0.9, 9.0, ""),
    ]
    if form == "csv":
        lines = "\n".join(",".join(map(str, r)) for r in rows)
        text(tmp_path / "spans.csv", f"file,start,end,label\n{lines}\n")
    else:
        keys = ("file", "start", "end", "label")
        text(tmp_path / "spans.json", json.dumps([dict(zip(keys, r, strict=True)) for r in rows]))
    one = only(tmp_path)
    assert [i.name for i in one.train] == ["train/quiet"]
    # frames shown within the span: those of 0.2, 0.3 and 0.4 s; an instant takes the frame shown then
    assert shape(one) == {
        "gate/a": (1, ((2, 5), (7, 8))), "gate/b": (0, ()), "yard/a": (1, ((9, 10),)),
    }  # fmt: skip
    assert one.test[0].cls == "run"


@pytest.mark.parametrize(
    "row", ["a.avi,1,1", "a.avi,x,2", "a.avi,0,inf", "b.avi,0,1", "../a.avi/..,0,1", "a.avi,-1,1"]
)
def test_spans_that_say_nothing_are_refused(tmp_path, row):
    video(tmp_path / "a.avi")
    text(tmp_path / "spans.csv", f"file,start,end\n{row}\n")
    with pytest.raises(InputError, match=r"spans\.csv:2"):
        read_video_sets(tmp_path)


def test_broken_tables_are_told_by_name(tmp_path):
    video(tmp_path / "a.avi")
    text(tmp_path / "spans.json", "{")
    with pytest.raises(InputError, match=r"spans\.json"):
        read_video_sets(tmp_path)
    text(tmp_path / "spans.json", json.dumps({"file": 1}))
    with pytest.raises(InputError, match="a list of objects"):
        read_video_sets(tmp_path)


@pytest.mark.parametrize(
    "truth",
    [[], {"a": {}}, {"a": {"n_frames": 9, "anomalous_ranges_1based_inclusive": 3}},
     {"a": {"n_frames": 9, "anomalous_ranges_1based_inclusive": [[7, 3]]}}],
)  # fmt: skip
def test_ranges_that_are_none_are_refused(tmp_path, truth):
    video(tmp_path / "a.avi")
    text(tmp_path / "frame_gt.json", json.dumps(truth))
    text(tmp_path / "normal_segments_1based.json", json.dumps({"a": [[1, 2]]}))
    with pytest.raises(InputError, match=r"frame_gt\.json"):
        read_video_sets(tmp_path)


def test_lists_of_labels_without_footage(tmp_path):
    text(tmp_path / "xd_violence_test_800.json", json.dumps([
        {"video": "v", "n_frames": 50, "label": "1", "temporal_label": [5, 60], "multiclass": [["G", 5, 60]]},
        {"video": "w", "n_frames": 50, "label": "0", "temporal_label": [], "multiclass": None},
    ]))  # fmt: skip
    assert shape(only(tmp_path)) == {"v": (1, ((5, 50),)), "w": (0, ())}
    for bad in ([{}], [3], [{"video": "v", "n_frames": 5, "label": "1", "temporal_label": ["x", 1]}]):
        text(tmp_path / "xd_violence_test_800.json", json.dumps(bad))
        with pytest.raises(InputError, match=r"xd_violence_test_800\.json"):
            read_video_sets(tmp_path)


def test_sets_of_a_folder_above_are_all_found(tmp_path):
    for name in ("one", "two"):
        video(tmp_path / name / "eval.avi", 3)
        text(tmp_path / name / "eval_labels.csv", "0\n1\n0\n")
    assert [s.category for s in read_video_sets(tmp_path)] == ["one", "two"]


def test_sets_beside_each_other_are_not_mixed(tmp_path):
    for name in ("Normal_Videos001_x264", "Abuse028_x264"):
        named(tmp_path / "crime" / "Videos" / f"{name}.mp4")
    text(tmp_path / "crime" / "Temporal_Anomaly_Annotation.txt", "Abuse028_x264.mp4 Abuse 1 5 -1 -1\n")
    named(tmp_path / "drawn" / "Scene1" / "normal_scene_1_scenario_1.mp4")
    stills(tmp_path / "ped" / "Train" / "Train001", 2)
    stills(tmp_path / "ped" / "Test" / "Test001", 2)
    found = read_video_sets(tmp_path)
    assert [(s.category, s.layout) for s in found] == [
        ("crime", "ucf_crime"), ("drawn", "ubnormal"), ("ped", "ucsd"),
    ]  # fmt: skip
