"""The command line as users meet it: exit statuses, one line on errors, the JSON forms, the page and the clips."""

from __future__ import annotations

import json
import shutil
import time

import pytest

import oddwatch as ow
from oddwatch.media.video import Video

SENTENCE = "a person lying on the ground"
HIT = {
    "rank", "id", "source", "camera", "time", "start", "end", "frame", "box", "score", "probability", "match",
    "stages", "reason",
}  # fmt: skip


def test_search_prints_the_object_it_promises(cli, gallery, footage):
    found = cli("search", SENTENCE, "--gallery", gallery, "--top", 3, "--json").json
    assert set(found) == {"query", "parsed", "hits", "answer", "timing", "stages", "model_calls"}
    assert found["stages"] == ["coarse", "facts"] and found["model_calls"] == 0
    assert found["query"] == SENTENCE and found["answer"] in ("matches", "nobody matches")
    assert any(slot["kind"] == "posture" for slot in found["parsed"]["slots"])
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    assert (found["answer"] == "matches") == found["hits"][0]["match"]
    for hit in found["hits"]:
        assert set(hit) >= HIT
        assert {"matched", "contradicted", "unknown"} <= set(hit["reason"])
        assert hit["source"].startswith(str(footage)) and hit["camera"] == "gate"
        assert len(hit["box"]) == 4 and hit["box"][0] < hit["box"][2] and hit["box"][1] < hit["box"][3]
        assert 0 <= hit["probability"] <= 1 and "coarse" in hit["stages"]
        is_video = hit["source"].endswith(".webm")
        assert all((hit[name] is not None) == is_video for name in ("time", "start", "end", "frame"))
        assert not is_video or hit["start"] <= hit["time"] <= hit["end"] <= 20.0


def test_nobody_matching_is_no_failure(cli, gallery):
    none = cli("search", SENTENCE, "--gallery", gallery, "--min-probability", 1, "--camera", "elsewhere")
    assert none.status == 0 and none.out.startswith("nobody matches")
    found = cli("search", SENTENCE, "--gallery", gallery, "--camera", "elsewhere", "--json").json
    assert found["hits"] == [] and found["answer"] == "nobody matches"


def test_filters_and_kinds_keep_what_they_should(cli, gallery):
    def sources(*options):
        hits = cli("search", "a person walking", "--gallery", gallery, "--json", "--top", 99, *options).json[
            "hits"
        ]
        return {(hit["source"].rpartition("/")[2], hit["kind"]) for hit in hits}

    both = {("street.webm", "person"), ("normal.jpg", "person"), ("anomaly.jpg", "person")}
    assert sources() == both == sources("--camera", "gate")
    assert sources("--source", "normal.jpg") == {("normal.jpg", "person")}
    assert {kind for _, kind in sources("--kind", "moment")} == {"moment"}
    assert {kind for _, kind in sources("--kind", "any")} == {"moment", "person"}
    assert sources("--before", "2026-03-01T14:00:00") == set()
    assert sources("--after", "2026-03-01T14:00:01") == {("street.webm", "person")}
    assert sources("--after", "2026-03-01T14:00:00", "--before", "2026-03-01T14:00:00.5+00:00") == both


def test_a_picture_finds_itself(cli, gallery, footage):
    hits = cli("search", "--like", footage / "normal.jpg", "--gallery", gallery, "--json").json["hits"]
    assert hits[0]["source"] == str(footage / "normal.jpg") and hits[0]["match"]
    assert hits[0]["stages"]["like"] == pytest.approx(1, abs=0.01)


def test_text_names_files_below_the_current_folder_shortly(cli, gallery, footage, monkeypatch):
    monkeypatch.chdir(footage.parent)
    lines = cli("search", SENTENCE, "--gallery", gallery, "--top", 2).out.splitlines()
    assert len(lines) == 3 and all(" my footage/" in line for line in lines[1:])


def test_page_and_clips_are_written(cli, gallery, tmp_path):
    page, clips = tmp_path / "new folder" / "report.html", tmp_path / "clips"
    what = (SENTENCE, "--gallery", gallery, "--kind", "moment", "--source", "street.webm", "--top", 1)
    done = cli("search", *what, "--html", page, "--clips", clips, "--json")
    assert len(done.json["hits"]) == 1 and "report:" in done.err
    text = page.read_text(encoding="utf-8")
    assert "lying on the ground" in text and "data:image/jpeg" in text and "http://" not in text
    (clip,) = clips.iterdir()
    assert 5.0 <= Video(clip).duration <= 7.5


def test_gallery_verbs(cli, gallery, tmp_path):
    mine = tmp_path / "g"
    shutil.copytree(gallery, mine)
    about = cli("gallery", "info", "--gallery", mine, "--json").json
    assert about["cameras"] == {"gate": about["entries"]} and about["from"].startswith("2026-03-01T14:00:00")
    rows = cli("gallery", "list", "--gallery", mine, "--json").json["entries"]
    assert len(rows) == about["entries"]
    assert all(set(row) >= {"id", "source", "camera", "kind", "start", "end"} for row in rows)
    assert len(cli("gallery", "list", "--gallery", mine).out.splitlines()) == len(rows)
    whole = cli("gallery", "verify", "--gallery", mine, "--json").json
    assert whole["ok"] and len(whole["content_hash"]) == 32
    assert cli("gallery", "remove", "--gallery", mine, "--id", rows[0]["id"], "--json").json == {"removed": 1}
    assert cli("gallery", "remove", "--gallery", mine, "--source", "street.webm").out.startswith("removed ")
    assert cli("gallery", "optimize", "--gallery", mine, "--json").json == {"optimized": True}
    assert cli("gallery", "verify", "--gallery", mine, "--json").json["content_hash"] != whole["content_hash"]
    cli("gallery", "remove", "--gallery", mine).failed(2, "--source")


def test_models_are_whole(cli):
    assert {"file", "sha256", "licence", "origin"} <= set(cli("models", "list", "--json").json["models"][0])
    assert all(row["ok"] for row in cli("models", "check", "--json").json["models"])


def test_a_second_run_is_free_and_a_copy_is_not_indexed_twice(cli, gallery, footage, tmp_path):
    mine = tmp_path / "g"
    shutil.copytree(gallery, mine)
    copy = tmp_path / "copy.jpg"
    shutil.copy(footage / "normal.jpg", copy)
    options = ("--gallery", mine, "--fps", 1, "--camera", "gate", "--start", "2026-03-01T14:00", "--json")
    began = time.monotonic()
    report = cli("index", footage, footage / "normal.jpg", str(footage / "*.webm"), copy, *options).json
    assert (report["sources"], report["unchanged"], report["frames"]) == (0, 3, 0)
    assert [path for path, _ in report["skipped"]] == [str(copy)]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], ["bogus", "--help"]),
        (["search", "x", "--top", "0"], ["--top"]),
        (["search", "x", "--bogus"], ["--bogus", "search --help"]),
        (["search", "a red hat", "--kind", "dog"], ["--kind", "person"]),
        (["search", "a red hat", "--after", "yesterday"], ["--after", "ISO"]),
        (["search"], ["sentence or a picture"]),
        (["index"], ["inputs"]),
        (["index", "tests", "--sample", "often"], ["sample", "scene"]),
    ],
)
def test_usage_errors_are_one_line_and_status_2(cli, gallery, arguments, words, tmp_path):
    where = tmp_path / "new" if arguments[0] == "index" else gallery
    cli(*arguments, *(() if arguments == ["bogus"] else ("--gallery", where))).failed(2, *words)


def test_failures_are_one_line_and_status_1(cli, gallery, tmp_path):
    cli("search", "a red hat", "--gallery", tmp_path / "none").failed(1, "no gallery here", "oddwatch index")
    cli("search", "--like", tmp_path / "none.jpg", "--gallery", gallery).failed(1, "none.jpg")
    cli("index", tmp_path / "none", "--gallery", tmp_path / "g").failed(1, "no such file")
    assert not (tmp_path / "g").exists()


def test_the_python_interface(gallery, footage, tmp_path):
    with ow.Gallery.open(gallery, readonly=True) as opened:
        found = opened.search(SENTENCE, top=3)
        assert len(found) == 3 and [hit.rank for hit in found] == [1, 2, 3]
        assert json.loads(json.dumps(found.to_json()))["answer"] == found.answer
        assert opened.report(found, tmp_path / "r.html").stat().st_size > 10_000
        with pytest.raises(ow.OddwatchError, match="read"):
            opened.index([footage])
