"""The files beside the database: used when good, made again when missing, damaged or outdated, never trusted."""

from __future__ import annotations

import os

import numpy as np
import pytest

from oddwatch.gallery import Gallery, sidecar, store


def answers(g: Gallery) -> list:
    rng = np.random.default_rng(0)
    out = []
    for space, dim in (("facts", 20), ("image", 16)):
        ids, scores = g.search(space, rng.normal(size=dim).astype(np.float32), 30)
        out += [ids, scores.tolist()]
    return out


@pytest.fixture
def gallery(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i) for i in range(60))
        yield g


def reopened(g: Gallery) -> Gallery:
    return Gallery.open(g.path)


def files(g: Gallery) -> list:
    return sorted(p for p in (g.path / "sidecars").rglob("*") if p.is_file())


def test_answers_are_the_same_with_and_without(gallery, make):
    plain = answers(gallery)
    assert gallery.optimize()
    with reopened(gallery) as g:
        assert answers(g) == plain
        assert all(s.fixed for s in g._snapshot.segments), "it was read from the files"
        g.add([make(70)])
        g.remove(ids=["e00070"])
        assert answers(g) == plain and not files(g), "what was removed must not stay in a file"
    gallery.optimize()
    gallery.add([make(3)])
    assert answers(gallery) == plain
    with reopened(gallery) as g:
        assert answers(g) == plain and len(g._snapshot.segments) == 2
        assert g.verify()["ok"]


@pytest.mark.parametrize("harm", ["delete", "truncate", "garbage", "pickle"])
def test_damaged_files_are_not_used(gallery, harm):
    plain = answers(gallery)
    gallery.optimize()
    for file in files(gallery):
        if harm == "delete":
            file.unlink()
        elif harm == "truncate":
            os.truncate(file, file.stat().st_size // 2)
        elif harm == "garbage":
            file.write_bytes(b"\x00garbage")
        elif file.suffix == ".npy":
            np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with reopened(gallery) as g:
        assert answers(g) == plain
        assert not g.verify()["ok"]
        assert g.optimize() and g.verify()["ok"] and answers(g) == plain
        assert len(list((g.path / "sidecars").iterdir())) == 1


def test_files_of_another_time_are_not_used(gallery, make, tmp_path):
    gallery.optimize()
    (old,) = (gallery.path / "sidecars").iterdir()
    old.rename(tmp_path / "kept")
    gallery.add([make(61)])
    gallery.optimize()
    (new,) = (gallery.path / "sidecars").iterdir()
    (tmp_path / "kept").rename(old)
    plain = answers(gallery)
    with reopened(gallery) as g:
        assert answers(g) == plain and g._snapshot.last == 61
        assert new.exists() and not old.exists()


def test_a_silent_change_is_found_by_verify(gallery):
    gallery.optimize()
    file = next(f for f in files(gallery) if f.name.endswith("values.npy"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 0x55
    file.write_bytes(data)
    report = gallery.verify()
    assert not report["ok"] and "differs" in report["problems"][0]


def test_a_disk_too_full_for_them_costs_only_speed(gallery, monkeypatch, caplog):
    plain = answers(gallery)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert gallery.optimize() is False
    assert "could not be written" in caplog.text and not files(gallery)
    assert answers(gallery) == plain and gallery.verify()["ok"]


def test_a_big_gallery_gets_them_at_its_first_search(gallery, monkeypatch):
    plain = answers(gallery)
    monkeypatch.setattr(store, "SIDECAR_ROWS", 50)
    with Gallery.open(gallery.path, readonly=True) as g:
        assert answers(g) == plain and not files(g)
    with reopened(gallery) as g:
        assert answers(g) == plain and files(g)
    for file in files(gallery):
        file.unlink()
    with reopened(gallery) as g:
        assert answers(g) == plain and files(g) and g.verify()["ok"]


def test_removal_while_they_are_written_discards_them(gallery):
    with gallery._reading():
        token = sidecar.build(gallery._db, gallery.path, gallery.spaces(), with_ann=False)
    gallery.remove(ids=["e00001"])
    with gallery._writing():
        assert not sidecar.adopt(gallery._db, gallery.path, token, "0")


def test_search_files_are_written_only_where_they_pay(tmp_path, make, monkeypatch):
    monkeypatch.setattr("oddwatch.gallery.store.SIDECAR_ROWS", 30)
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i) for i in range(30))
        assert not g.optimize(if_needed=True)
        g.add(make(i) for i in range(30, 60))
        assert g.optimize(if_needed=True) and not g.optimize(if_needed=True)
        g.add([make(60)])
        assert not g.optimize(if_needed=True)
        g.add(make(i) for i in range(61, 80))
        assert g.optimize(if_needed=True)
        monkeypatch.setattr("oddwatch.gallery.sidecar.ANN_ROWS", 50)
        assert g.optimize(if_needed=True) and not g.optimize(if_needed=True)
        assert not any((g.path / "sidecars").glob("*.tmp"))
