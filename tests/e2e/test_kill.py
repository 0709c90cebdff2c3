"""kill -9 and Ctrl-C at any point of an index run: the gallery opens, holds nothing twice, and a resumed run
ends with the content of a straight one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oddwatch.gallery.store import Gallery

INDEX = [sys.executable, "-m", "oddwatch", "index"]


def start(media: Path, gallery: Path) -> subprocess.Popen[bytes]:
    # Short commits, so that there is something to be killed between.
    command = [*INDEX, str(media), "--gallery", str(gallery), "--commit", "4", "--threads", "1", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def content(gallery: Path) -> str:
    with Gallery.open(gallery, create=False, readonly=True) as store:
        report = store.verify()
        ids = [e.id for e in store.entries()]
    assert report["ok"], report["problems"]
    assert len(ids) == len(set(ids))
    return report["content_hash"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, street: Path) -> tuple[str, float]:
    gallery = tmp_path_factory.mktemp("straight") / "g"
    began = time.monotonic()
    run = start(street, gallery)
    out, error = run.communicate(timeout=300)
    assert run.returncode == 0, error.decode()
    assert json.loads(out)["people"] > 0
    return content(gallery), time.monotonic() - began


def kill_and_resume(street: Path, gallery: Path, delays: list[float], how: signal.Signals) -> str:
    for delay in delays:
        run = start(street, gallery)
        try:
            run.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            run.send_signal(how)
        run.communicate(timeout=120)
        if (gallery / "gallery.sqlite").exists():
            content(gallery)
    run = start(street, gallery)
    _, error = run.communicate(timeout=300)
    assert run.returncode == 0, error.decode()
    return content(gallery)


def test_three_kills_then_the_same_content(street, straight, tmp_path):
    want, seconds = straight
    delays = [seconds * share for share in (0.35, 0.5, 0.7)]
    assert kill_and_resume(street, tmp_path / "g", delays, signal.SIGKILL) == want


def test_ctrl_c_leaves_a_usable_gallery(street, straight, tmp_path):
    want, seconds = straight
    assert kill_and_resume(street, tmp_path / "g", [seconds * 0.6], signal.SIGINT) == want


@pytest.mark.slow
def test_fifty_random_kills(street, straight, tmp_path):
    want, seconds = straight
    dice = random.Random(7)
    for round_ in range(10):
        delays = [dice.uniform(0.2, 1.0) * seconds for _ in range(5)]
        assert kill_and_resume(street, tmp_path / f"g{round_}", delays, signal.SIGKILL) == want
