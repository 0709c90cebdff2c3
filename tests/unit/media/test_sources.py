import os
import sys

import pytest
from PIL import Image

from oddwatch.core.errors import MediaError
from oddwatch.media.sources import Skipped, content_hash, find, locate, printable


@pytest.fixture
def picture(tmp_path):
    def make(name, folder=tmp_path, form="PNG"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, form)
        return path

    return make


def run(*inputs):
    skipped: list[Skipped] = []
    return list(find(inputs, report=skipped.append)), skipped


def test_folders_are_searched_in_order(tmp_path, picture):
    made = [picture(n) for n in ("b/2.png", "a.png", "b/1.png")]
    found, skipped = run(tmp_path)
    assert [s.path for s in found] == sorted(made) and not skipped
    assert found[0].kind == "picture" and found[0].size == found[0].path.stat().st_size


def test_empty_folder(tmp_path):
    assert run(tmp_path) == ([], [])


def test_content_decides_not_the_name(tmp_path, picture):
    picture("photo.txt")
    picture("really_png.jpg")
    (tmp_path / "text.jpg").write_text("This is only text.")
    (tmp_path / "text.mp4").write_text("GThis is only text." * 100)
    found, skipped = run(tmp_path)
    assert [s.path.name for s in found] == ["photo.txt", "really_png.jpg"]
    assert sorted(s.path.name for s in skipped) == ["text.jpg", "text.mp4"]


def test_zero_bytes(tmp_path):
    (tmp_path / "a.jpg").touch()
    _, skipped = run(tmp_path)
    assert "empty (0 bytes)" in skipped[0].reason


def test_nothing_there_and_no_match(tmp_path):
    _, skipped = run(tmp_path / "none.jpg", str(tmp_path / "*.jpg"))
    assert "No such file" in skipped[0].reason and "pattern" in skipped[1].reason


def test_globs_and_literal_brackets(tmp_path, picture):
    picture("a1.png")
    picture("sub/a2.png")
    odd = picture("b[1].png")
    assert [s.path.name for s in run(str(tmp_path / "**" / "a*.png"))[0]] == ["a1.png", "a2.png"]
    assert [s.path for s in run(str(odd))[0]] == [odd]


def test_symlink_loop_and_twice(tmp_path, picture):
    real = picture("folder/a.png")
    (tmp_path / "folder" / "back").symlink_to(tmp_path)
    (tmp_path / "again.png").symlink_to(real)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    found, skipped = run(tmp_path, tmp_path)
    assert len(found) == 1
    reasons = {s.path.name: s.reason for s in skipped}
    assert "loop" in reasons["back"] and "symbolic links" in reasons["self"]
    assert "No such file" in reasons["dangling"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path, picture):
    path = picture("a.png")
    path.chmod(0)
    found, skipped = run(tmp_path)
    assert not found and "Permission denied" in skipped[0].reason


def test_read_error_is_reported(tmp_path, picture, monkeypatch):
    path = picture("a.png")
    kept = picture("b.png")
    plain = type(path).open

    def refuse(self, *arguments, **named):
        if self.name == "a.png":
            raise PermissionError(13, "Permission denied")
        return plain(self, *arguments, **named)

    monkeypatch.setattr(type(path), "open", refuse)
    found, skipped = run(tmp_path)
    assert [s.path for s in found] == [kept] and "Permission denied" in skipped[0].reason


def test_removed_in_between(tmp_path, picture):
    picture("a.png")
    gone = picture("b.png")
    skipped: list[Skipped] = []
    walk = find([tmp_path], report=skipped.append)
    next(walk)
    gone.unlink()
    assert list(walk) == [] and "No such file" in skipped[0].reason


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    _, skipped = run(tmp_path)
    assert skipped[0].reason == "not a regular file"


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_names_that_are_not_utf8(tmp_path, picture):
    picture(os.fsdecode(b"caf\xe9.png"))
    found, _ = run(tmp_path)
    assert found[0].name.endswith("caf\\xe9.png")
    found[0].name.encode()
    assert locate(found[0].name) == found[0].path
    assert len(content_hash(found[0].path)) == 40
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_text("no picture")
    assert "\\xff.jpg" in str(run(tmp_path)[1][0])


def test_hash(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    same = content_hash(path)
    path.write_bytes(b"x" * 2_999_999 + b"y")
    assert same != content_hash(path) and same == same.lower()
    with pytest.raises(MediaError, match="No such file"):
        content_hash(tmp_path / "none")


def test_printable_keeps_good_names(tmp_path):
    assert printable("straße/猫.png") == "straße/猫.png"
