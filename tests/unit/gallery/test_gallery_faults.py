"""Two writers, a killed writer, a full disk."""

from __future__ import annotations

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core import GalleryError
from oddwatch.gallery import Gallery

WRITER = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from oddwatch.core import Entry, Span
    from oddwatch.gallery import Gallery

    folder, name, steps, changed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

    def entry(i):
        v = np.random.default_rng(i).normal(size=16).astype(np.float32)
        return Entry(f"{name}-{i:04d}", f"/m/{name}.mp4", "person", Span(i, i + 1.0), float(i), i, None,
                     vectors={"image": v, "facts": v}, thumbnail=bytes(2000))

    with Gallery.open(folder, encoders={"image": "I", "facts": "F"}) as g:
        state = g.begin_source(f"/m/{name}.mp4", changed)
        if state.status == "done":
            sys.exit(0)
        print("begun", flush=True)
        for step in range(int(state.until), steps):
            g.checkpoint(state, [entry(3 * step + j) for j in range(3)], {"next": step + 1}, step + 1)
            if step % 7 == 6:
                g.optimize()
        g.finish_source(state)
    """
)


def start(folder: Path, name: str, steps: int = 30, changed: str = "h") -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(steps), changed]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(folder: Path, name: str, steps: int = 30, changed: str = "h") -> None:
    process = start(folder, name, steps, changed)
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_two_writers_at_once_lose_nothing(tmp_path):
    both = [start(tmp_path / "g", n) for n in ("a", "b")]
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with Gallery.open(tmp_path / "g") as g:
        assert len(g) == 180 and g.info()["status"]["done"] == 2
        assert len(set(g.search("image", np.ones(16), 500)[0])) == 180


def test_threads_share_a_gallery(tmp_path, make):
    problems: list[BaseException] = []

    def write(g: Gallery, first: int) -> None:
        try:
            for i in range(first, first + 15):
                g.add([make(i)])
                g.search("image", make(i).vectors["image"], 3)
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    with Gallery.open(tmp_path / "g") as g:
        threads = [threading.Thread(target=write, args=(g, 100 * t)) for t in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert problems == [] and len(g) == 60


def killed_runs(folder: Path, straight: str, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(rounds):
        process = start(folder, "a", changed="h2")
        assert process.stdout is not None
        if process.stdout.readline():
            time.sleep(rng.random() * 0.25)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with Gallery.open(folder) as g:
            report = g.verify()
            assert report["ok"], report["problems"]
            ids = [e.id for e in g.entries(full=False)]
            assert len(ids) == len(set(ids))
            state = g.source_state("/m/a.mp4")
            if state is not None and state.content_hash == "h2":
                assert len(ids) == 3 * state.until
            else:
                assert len(ids) in (0, 9), "the old entries stay until the new come"
            assert len(g.search("image", np.ones(16), 500)[0]) == len(ids)
    finish(folder, "a", changed="h2")
    with Gallery.open(folder) as g:
        assert g.verify()["content_hash"] == straight


def straight_run(folder: Path) -> str:
    finish(folder, "a", changed="h2")
    with Gallery.open(folder) as g:
        return g.verify()["content_hash"]


def test_killed_a_few_times(tmp_path):
    straight = straight_run(tmp_path / "straight")
    finish(tmp_path / "g", "a", steps=3, changed="h1")
    killed_runs(tmp_path / "g", straight, 3, seed=1)


@pytest.mark.slow
def test_killed_many_times(tmp_path):
    straight = straight_run(tmp_path / "straight")
    for again in range(5):
        folder = tmp_path / f"g{again}"
        finish(folder, "a", steps=3, changed="h1")
        killed_runs(folder, straight, 10, seed=again)


def test_a_full_disk_by_quota_of_pages(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i) for i in range(10))
        pages = g._db.execute("PRAGMA page_count").fetchone()[0]
        g._db.execute(f"PRAGMA max_page_count={pages + 4}")
        with pytest.raises(GalleryError, match=r"disk is full.*kept.*free"):
            g.add(make(i) for i in range(10, 500))
        assert len(g) == 10 and g.verify()["ok"]
        assert len(g.search("image", np.ones(16), 50)[0]) == 10
        g._db.execute("PRAGMA max_page_count=1000000")
        g.add(make(i) for i in range(10, 500))
        assert len(g) == 500


FULL = textwrap.dedent(
    """
    import resource, signal, sys
    import numpy as np
    from oddwatch.core import Entry, GalleryError
    from oddwatch.gallery import Gallery

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    g = Gallery.open(sys.argv[1])
    rows = 0
    try:
        while rows < 5000:
            g.add([Entry(f"{rows + i:05d}", "/m", "person", None, None, None, None, thumbnail=bytes(3000)) for i in range(20)])
            rows += 20
    except GalleryError as error:
        print("refused", error, flush=True)
    assert len(g) == rows, (len(g), rows)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    g.add([Entry("more", "/m", "person", None, None, None, None)])
    assert len(g) == rows + 1 and g.verify()["ok"]
    print("kept", rows)
    """
)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs file size limits")
def test_a_full_disk_by_file_size(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "g")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout and "kept" in done.stdout
    assert "disk" in done.stdout


def test_a_writer_that_waits_too_long_says_so(tmp_path, make):
    with Gallery.open(tmp_path / "g") as one, Gallery.open(tmp_path / "g") as two:
        two._db.execute("PRAGMA busy_timeout=50")
        with one._writing(), pytest.raises(GalleryError, match="another process"):
            two.add([make(1)])
        two.add([make(1)])
        assert len(one) == 1


def test_sqlite_here_is_new_enough():
    assert sqlite3.sqlite_version_info >= (3, 35)  # RETURNING
