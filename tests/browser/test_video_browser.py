"""The page of a video detection in a real browser: its players jump, its threshold cuts as the localiser does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from oddwatch.core import Box, Curve, Finding, Frame
from oddwatch.media.clips import write
from oddwatch.report.video import Cut, render_video
from oddwatch.scoring.normal import Threshold
from oddwatch.scoring.spans import Segment, localise

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
CUT = Cut(minimum=0.5, merge=0.4, hold=0.6, usual=0.5, longest=0.3)
SOURCE = "/in/one <b>clip.mp4"


@dataclass
class OneClip:
    curve: Curve
    findings: list[Finding]
    peaks: dict[str, float]
    source: str = SOURCE
    duration: float = 12.8
    fps: float = 10.0
    size: tuple[int, int] = (72, 96)


@dataclass
class OneReport:
    clips: list[OneClip]
    method: str = "toy"
    encoder: str = "toy"
    threshold: Threshold = field(default_factory=lambda: Threshold(2.0, "counted", "none of 900"))
    false_alarms_per_hour: float = 1.0
    normal_seconds: float = 1800.0
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        return [f for c in self.clips for f in c.findings]


# Runs in the page itself, under a policy that also allows this script; what it finds is left in the title.
PROBE = """
(async function () {
  var said = {}, video = document.querySelector("video"), slide = document.getElementById("slide");
  function once(node, kind) { return new Promise(function (done) { node.addEventListener(kind, done, {once: true}); }); }
  function fire(node, kind, init) { node.dispatchEvent(new MouseEvent(kind, Object.assign({bubbles: true, cancelable: true}, init))); }
  async function landed(act) { var done = once(video, "seeked"); act(); await done; video.pause(); return video.currentTime; }
  function rows() {
    return Array.from(document.querySelectorAll(".moments li")).map(function (row) { return row.querySelector(".when").textContent; });
  }
  function state() {
    var outs = Array.from(document.querySelectorAll(".found.out")).length;
    return {above: document.getElementById("above").textContent, rows: rows(), rate: document.getElementById("rate").textContent, outs: outs,
      shades: document.querySelectorAll(".shade").length, value: Number(document.getElementById("value").textContent)};
  }
  said.start = state();
  said.moved = [0, 200, 400, 600, 700, 800, 1000].map(function (at) {
    slide.value = at; slide.dispatchEvent(new Event("input"));
    return state();
  });
  document.getElementById("reset").click();
  said.reset = state();
  if (video.readyState < 1) { await once(video, "loadedmetadata"); }
  said.lasts = video.duration;
  if (video.seeking) { await once(video, "seeked"); }
  said.opens = video.currentTime;
  said.pin = await landed(function () { fire(document.querySelectorAll("a.mark")[0], "click"); });
  said.picture = await landed(function () { document.querySelector(".peek").click(); });
  said.row = await landed(function () { document.querySelector(".moments .when").click(); });
  var probe = document.querySelector(".probe"), box = probe.getBoundingClientRect();
  said.curve = await landed(function () { fire(probe, "click", {clientX: box.left + box.width * 0.8, clientY: box.top + 20}); });
  said.read = document.querySelector(".read").textContent;
  probe.dispatchEvent(new KeyboardEvent("keydown", {key: "Home"}));
  probe.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
  said.key = probe.getAttribute("aria-valuetext");
  said.enter = await landed(function () { probe.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"})); });
  said.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.title = "said " + JSON.stringify(said);
})();
"""


def cut(curve: Curve, threshold: float) -> list[Segment]:
    low = min(threshold, CUT.usual + CUT.hold * (threshold - CUT.usual))
    return localise(
        curve.times, curve.values, threshold,
        low=low, minimum=CUT.minimum, merge=CUT.merge, longest=CUT.longest,
    )  # fmt: skip


@pytest.fixture
def report() -> OneReport:
    rng = np.random.default_rng(5)
    times = np.delete(np.arange(128), slice(36, 44)) / 10  # a hole in the middle of an event
    cues = {"movement": np.abs(rng.normal(0, 0.5, 120)), "look": np.abs(rng.normal(0, 0.3, 120))}
    cues["movement"][30:46] += 3.0
    cues["look"][90:101] += 2.5
    cues["look"][96] += 1.0
    curve = Curve("clip", times, cues["movement"] + cues["look"], cues)
    found = cut(curve, 2.0)
    assert len(found) >= 2
    findings = [
        Finding(f"v{i}", "video", SOURCE, s.score, Box(5, 5, 40, 60), s.span, 0.9, 1 - 2 / s.score, "odd")
        for i, s in enumerate(found)
    ]
    return OneReport([OneClip(curve, findings, {f.id: s.peak for f, s in zip(findings, found, strict=True)})])


@pytest.fixture
def page(report, tmp_path) -> Path:
    frames = [np.full((72, 96, 3), 60, np.uint8) for _ in range(128)]
    for i, pixels in enumerate(frames):
        pixels[20:50, i % 60 : i % 60 + 20] = (220, 120, 40)
    (tmp_path / "page media").mkdir()
    film = (Frame(pixels, SOURCE, time=i / 10) for i, pixels in enumerate(frames))
    write(film, tmp_path / "page media" / "1.webm", 10.0)
    return render_video(
        report,
        tmp_path / "page.html",
        stills={},
        players={SOURCE: "page%20media/1.webm"},
        cut=CUT,
        normal_events=[0.5, 1.0, 2.5],
    )


@pytest.mark.parametrize("size", ["1280,900", "500,844"], ids=["desktop", "phone"])
def test_players_jump_and_the_threshold_cuts_as_the_localiser_does(report, page, tmp_path, size):
    text = page.read_text(encoding="utf-8")
    text, replaced = re.subn(r"script-src &#39;sha256-[^&]+&#39;", "script-src 'unsafe-inline'", text)
    assert replaced == 1
    page.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    said = browse(page, tmp_path, size)
    curve, first, best = (
        report.clips[0].curve,
        report.findings[0],
        max(report.findings, key=lambda f: f.severity),
    )

    def rows(threshold: float) -> list[str]:
        return [f"{_clock(s.start)} – {_clock(s.end)}" for s in cut(curve, threshold)]

    assert said["start"]["rows"] == said["reset"]["rows"] == rows(2.0) and said["start"] == said["reset"]
    assert len({len(state["rows"]) for state in said["moved"]}) > 2
    for state in said["moved"]:
        assert state["rows"] == rows(state["value"]) and state["shades"] == len(state["rows"])
        assert int(state["above"]) == len(state["rows"])
        assert state["outs"] == sum(f.score < state["value"] for f in report.findings)
    assert said["moved"][0]["rate"] == "3 false alarms in 30 min of normal footage (6 an hour)"
    assert said["moved"][-1]["rate"] == "0 false alarms in 30 min of normal footage"

    peak = report.clips[0].peaks[best.id]
    assert said["lasts"] == pytest.approx(12.8, abs=0.2)
    assert said["opens"] == pytest.approx(max(best.span.start, peak - 1), abs=0.1)
    assert said["picture"] == pytest.approx(max(best.span.start, peak - 1), abs=0.3)
    assert said["row"] == pytest.approx(first.span.start, abs=0.3)
    assert said["pin"] in [pytest.approx(f.span.start, abs=0.3) for f in report.findings]
    assert said["curve"] == pytest.approx(10.24, abs=0.3)
    assert said["read"].startswith("00:10.2") and "≥ 2" in said["read"] and "look" in said["read"]
    assert said["key"].startswith("00:00.1, ") and said["enter"] == pytest.approx(0.1, abs=0.3)
    assert said["wide"] is False


def _clock(seconds: float) -> str:
    return f"00:{seconds:04.1f}"


def browse(page: Path, tmp_path: Path, size: str) -> dict:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--virtual-time-budget=20000", f"--window-size={size}",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r"<title>said (.*?)</title>", done.stdout, re.DOTALL)
    assert found, "the page's script did not come to its end"
    return json.loads(unescape(found[1]))
