"""The detection page in a real browser: its slider counts, its boxes tick, it never scrolls sideways."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import Box, Finding, Region
from oddwatch.pipeline.calibrate import Calibration
from oddwatch.pipeline.detect_out import DetectReport, PictureScore, settle
from oddwatch.report.detect import Shot, render_detect
from oddwatch.report.heat import Scale, layer
from oddwatch.scoring.normal import Threshold

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

# Runs in the page itself, under a policy that also allows this script; what it finds is left in the title.
PROBE = """
function fire(node, kind) { node.dispatchEvent(new Event(kind, {bubbles: true})); }
function state() {
  var tiles = Array.from(document.querySelectorAll(".tile"));
  return [document.getElementById("above").textContent, tiles.filter(function (t) { return t.classList.contains("above"); }).length,
    tiles.filter(function (t) { return getComputedStyle(t).display !== "none"; }).length, document.getElementById("rate").textContent].join(",");
}
var said = ["start=" + state()], slide = document.getElementById("slide");
slide.value = 0; fire(slide, "input"); said.push("low=" + state());
slide.value = 1000; fire(slide, "input"); said.push("high=" + state());
var only = document.getElementById("only"); only.checked = true; fire(only, "change"); said.push("only=" + state());
document.getElementById("reset").click(); said.push("reset=" + state());
var heat = document.querySelector(".heat"); said.push("heat=" + getComputedStyle(heat).visibility);
document.querySelector(".peek").click(); said.push("peek=" + getComputedStyle(heat).visibility);
said.push("wide=" + (document.documentElement.scrollWidth > document.documentElement.clientWidth));
document.title = said.join(";");
"""


@pytest.fixture
def page(tmp_path) -> Path:
    scores = [
        PictureScore(f"/a/very/long/folder/picture_{i:03d}.png", 8.0 / (i + 1), 640, 480) for i in range(9)
    ]
    settle(scores, 1.5, 0.5, [0.9] * 9)
    region = Region(Box(100, 90, 220, 200), "top left", 3.0, np.ones((110, 120), bool))
    findings = [
        Finding(f"image-{s.rank}", "image", s.source, s.score, region.box, None, 0.9, s.severity, "top left", (region,))
        for s in scores if s.above
    ]  # fmt: skip
    report = DetectReport(
        "subspace", "toy", 0.01, Threshold(1.5, "counted", "none"), findings, scores, Scale(1, 2),
        Calibration(np.linspace(0.2, 1.0, 10), np.ones(10), 1.0, "leave-one-out"),
    )  # fmt: skip
    buffer, one = io.BytesIO(), np.zeros((32, 32), np.float32)
    one[6:14, 6:14] = 4
    Image.new("RGB", (320, 240), (120, 140, 150)).save(buffer, "JPEG")
    shots = {s.source: Shot(buffer.getvalue(), layer(one, Scale(1, 2), (480, 640)), 640, 480) for s in scores}
    return render_detect(report, shots, tmp_path / "page.html")


@pytest.mark.parametrize("size", ["1280,900", "390,844"], ids=["desktop", "phone"])
def test_the_slider_moves_the_threshold(page, tmp_path, size):
    text = page.read_text(encoding="utf-8")
    text, replaced = re.subn(r"script-src &#39;sha256-[^&]+&#39;", "script-src 'unsafe-inline'", text)
    assert replaced == 1
    page.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--virtual-time-budget=2000", f"--window-size={size}",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = re.search(r"<title>(start=.*?)</title>", done.stdout)
    assert said, "the page's script did not run"
    found = dict(part.split("=", 1) for part in said[1].split(";"))
    assert (
        found["start"]
        == found["reset"].replace("5,5,5,", "5,5,9,")
        == "5,5,9,0 of 10 normal pictures would be told too"
    )
    assert found["low"].startswith("9,9,9,10 of 10") and found["high"].startswith("0,0,9,0 of 10")
    assert found["only"].startswith("0,0,0,0 of 10") and found["reset"].startswith("5,5,5,")
    assert (found["heat"], found["peek"], found["wide"]) == ("visible", "hidden", "false")
