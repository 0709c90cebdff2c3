"""Bad input and faults, through the real command line: reported in one line, nothing lost, the rest goes on."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import struct
import subprocess
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

import oddwatch as ow
from oddwatch.gallery.store import Gallery


def png_bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that says it is ``side`` × ``side``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def movie(path: Path, seconds: int = 6, picture: bool = True) -> None:
    """A clip of coloured noise (or of silence only) with a key frame a second."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        if not picture:
            sound = out.add_stream("aac", rate=8000)
            for i in range(20):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts = 8000, 1024 * i
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
            return
        video = out.add_stream("mpeg4", rate=10, options={"g": "10"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for _ in range(10 * seconds):
            out.mux(
                video.encode(av.VideoFrame.from_ndarray(rng.integers(0, 255, (96, 160, 3)).astype(np.uint8)))
            )
        out.mux(video.encode(None))


def reasons(report: dict) -> dict[str, str]:
    return {path.rpartition("/")[2]: reason for path, reason in report["skipped"]}


def test_bad_files_are_reported_and_the_good_one_is_indexed(cli, still, tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(still)
    (folder / "zero.jpg").touch()
    (folder / "truncated.jpg").write_bytes(still[: len(still) // 3])
    (folder / "header only.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "bomb.png").write_bytes(png_bomb(50_000))
    (folder / "text.jpg").write_text("not a picture")
    (folder / "folder.jpg").mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.mp4")
    movie(folder / "silence.mp4", picture=False)
    report = cli("index", folder, "--gallery", tmp_path / "g", "--json").json
    assert report["sources"] == 1 and report["people"] >= 1
    why = reasons(report)
    assert set(why) == {
        "zero.jpg", "truncated.jpg", "header only.png", "bomb.png", "text.jpg", "loop", "dangling.jpg", "pipe.mp4",
        "silence.mp4",
    }  # fmt: skip
    assert "empty" in why["zero.jpg"] and "loop" in why["loop"] and "pixel" in why["bomb.png"]
    assert "neither" in why["text.jpg"] and "video" in why["silence.mp4"]
    with Gallery.open(tmp_path / "g", create=False) as store:
        assert {e.source for e in store.entries()} == {str(folder / "good.jpg")}


def test_an_unreadable_file_is_reported(still, tmp_path, monkeypatch):
    # Permissions do not stop root, so the refusal is made up where files are opened.
    (tmp_path / "good.jpg").write_bytes(still)
    (tmp_path / "secret.jpg").write_bytes(still)
    real = Path.open

    def refuse(self, *arguments, **options):
        if self.name == "secret.jpg":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with ow.Gallery.open(tmp_path / "g") as gallery:
        report = gallery.index([tmp_path])
    why = reasons(report.to_json())
    assert report.sources == 1 and list(why) == ["secret.jpg"] and "Permission denied" in why["secret.jpg"]


def test_an_empty_folder_is_said_to_be_empty(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    done = cli("index", tmp_path / "empty", "--gallery", tmp_path / "g")
    assert (done.status, done.out) == (1, "") and "no pictures or videos" in done.err
    found = cli("search", "a person in red", "--gallery", tmp_path / "g")
    assert found.status == 0 and found.out.startswith("nobody matches")


def test_the_sound_parts_of_a_broken_video_are_indexed(cli, tmp_path):
    whole = tmp_path / "whole.mp4"
    movie(whole)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle - 4_000 : middle + 4_000] = np.random.default_rng(1).bytes(8_000)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    tail = tmp_path / "tail.avi"
    movie(tail)
    os.truncate(tail, tail.stat().st_size * 2 // 3)
    report = cli("index", broken, tail, "--gallery", tmp_path / "g", "--fps", 1, "--json").json
    assert report["sources"] == 2 and report["moments"] >= 3
    assert {path for path, _ in report["problems"]} >= {str(broken)}


def test_a_file_that_goes_away_while_indexing_is_reported(still, footage, tmp_path):
    (tmp_path / "a.jpg").write_bytes(still)
    (tmp_path / "b.jpg").write_bytes((footage / "anomaly.jpg").read_bytes())

    def gone(*_):
        (tmp_path / "b.jpg").unlink(missing_ok=True)

    with ow.Gallery.open(tmp_path / "g") as gallery:
        report = gallery.index([tmp_path / "a.jpg", tmp_path / "b.jpg"], progress=gone)
        assert report.sources == 1 and "No such file" in reasons(report.to_json())["b.jpg"]
        assert gallery.store.verify()["ok"]


def test_a_full_disk_ends_in_one_line_and_loses_nothing(begin, footage, still, tmp_path):
    """A limit on the size of a file stands in for the disk: SQLite meets it as it meets a full one."""
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.jpg").write_bytes(still)
    run = begin("index", media, "--gallery", tmp_path / "g", "--json")
    assert run.communicate(timeout=120) and run.returncode == 0
    before = content(tmp_path / "g")
    (media / "b.jpg").write_bytes((footage / "anomaly.jpg").read_bytes())
    size = 24 * 1024

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    run = begin("index", media, "--gallery", tmp_path / "g", preexec_fn=limit)
    out, error = run.communicate(timeout=120)
    assert (run.returncode, out) == (1, b""), error
    assert error.count(b"\n") == 1 and b"kept" in error, error
    assert content(tmp_path / "g") == before
    run = begin("index", media, "--gallery", tmp_path / "g", "--json")
    assert run.communicate(timeout=120) and run.returncode == 0
    assert content(tmp_path / "g") != before


def content(gallery: Path) -> str:
    with Gallery.open(gallery, create=False, readonly=True) as store:
        report = store.verify()
    assert report["ok"], report
    return report["content_hash"]


def test_a_small_file_system_fills_up_in_one_line(begin, still, footage, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    options = [mount, "-t", "tmpfs", "-o", "size=140k", "tmpfs", str(place)]
    if mount is None or os.geteuid() or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        run = begin("index", footage / "normal.jpg", footage / "anomaly.jpg", "--gallery", place / "g")
        out, error = run.communicate(timeout=120)
        assert (run.returncode, out) == (1, b"") and error.count(b"\n") == 1 and b"full" in error, error
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_names_that_are_not_utf_8_work_everywhere(cli, gallery, footage, still, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff.jpg")
    try:
        Path(odd).write_bytes(still)
    except OSError:
        pytest.skip("this file system holds only UTF-8 names")
    g = tmp_path / "g"
    assert cli("index", tmp_path, "--gallery", g, "--json").json["sources"] == 1
    assert (
        "caf"
        in cli("index", tmp_path, "--gallery", tmp_path / "h").out
        + cli("gallery", "list", "--gallery", g).out
    )
    (hit,) = cli("search", "a person walking", "--gallery", g, "--top", 1, "--json").json["hits"]
    assert hit["source"] == odd
    done = cli("search", "a person walking", "--gallery", g, "--top", 1, "--html", tmp_path / "r.html")
    assert done.status == 0 and "caf\\xe9 \\xff.jpg" in done.out
    assert "data:image/jpeg" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert cli("gallery", "remove", "--gallery", g, "--source", odd, "--json").json["removed"] >= 1


def test_a_gallery_inside_the_footage_is_not_footage(cli, still, tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(still)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        report = cli("index", ".", "--gallery", "g", "--json").json
        assert report["skipped"] == [] and report["sources"] + report["unchanged"] == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", ["empty"]),
        ("   ", ["empty"]),
        ("a red jacket " * 770, ["10"]),
        ("😀 🤷‍♂️", ["not understood"]),
        ("человек лежит на земле", ["not understood", "English"]),
        ("倒れている人", ["not understood", "English"]),
        ("zorple frump", ["not understood", "zorple"]),
    ],
)
def test_sentences_nobody_can_read_are_refused_in_one_line(cli, gallery, query, words, monkeypatch):
    monkeypatch.delenv("ODDWATCH_LLM_URL", raising=False)
    cli("search", query, "--gallery", gallery).failed(2, *words)


def changed(gallery: Path, tmp_path: Path, *statements: str) -> Path:
    mine = tmp_path / "g"
    shutil.copytree(gallery, mine)
    with sqlite3.connect(mine / "gallery.sqlite") as db:
        for statement in statements:
            db.execute(statement)
    return mine


def test_a_gallery_of_another_encoder_is_refused(cli, gallery, still, tmp_path):
    mine = changed(gallery, tmp_path, "UPDATE spaces SET encoder='other-model' WHERE name='image'")
    cli("search", "a red jacket", "--gallery", mine).failed(1, "other-model", "index again")
    (tmp_path / "a.jpg").write_bytes(still)
    cli("index", tmp_path / "a.jpg", "--gallery", mine).failed(1, "other-model")


def test_a_gallery_of_a_newer_format_is_refused(cli, gallery, tmp_path):
    mine = changed(gallery, tmp_path, "PRAGMA user_version=99")
    cli("search", "a red jacket", "--gallery", mine).failed(1, "newer version", "99")
    cli("gallery", "info", "--gallery", mine).failed(1, "newer version")


def test_a_damaged_gallery_is_refused(cli, tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "gallery.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    cli("search", "a red jacket", "--gallery", tmp_path / "g").failed(1, str(tmp_path / "g"))


def test_two_writers_at_once_both_get_through(begin, footage, tmp_path):
    runs = [
        begin("index", footage / f"{n}.jpg", "--gallery", tmp_path / "g", "--json")
        for n in ("normal", "anomaly")
    ]
    for run in runs:
        _, error = run.communicate(timeout=120)
        assert run.returncode == 0, error
    content(tmp_path / "g")
    with Gallery.open(tmp_path / "g", create=False, readonly=True) as store:
        assert {Path(e.source).name for e in store.entries()} == {"normal.jpg", "anomaly.jpg"}
