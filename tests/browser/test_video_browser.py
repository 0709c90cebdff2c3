"""The page of a video detection in a real browser: its players jump, its threshold cuts as the localiser does."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


# Asked of the page through the browser's own protocol: the page's policy stays as it is.
PROBE = """
(async function () {
  var said = {}, video = document.querySelector("video"), slide = document.getElementById("slide");
  function once(node, kind) { return new Promise(function (done) { node.addEventListener(kind, done, {once: true}); }); }
  function fire(node, kind, init) { node.dispatchEvent(new MouseEvent(kind, Object.assign({bubbles: true, cancelable: true}, init))); }
  async function landed(act) {  // the place is noted as the seek begins: a slow machine plays on until it is asked
    var done = once(video, "seeked"), at;
    video.addEventListener("seeking", function () { at = video.currentTime; }, {once: true});
    act();
    await done;
    video.pause();
    return at;
  }
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
  return said;
})()
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


def test_players_jump_and_the_threshold_cuts_as_the_localiser_does(report, page, tmp_path):
    with browser(page, tmp_path) as talk:
        said = talk.evaluate(PROBE)
        for width in (1280, 390, 320):
            talk(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=844,
                deviceScaleFactor=1,
                mobile=False,
            )
            assert talk.evaluate("document.documentElement.scrollWidth") <= width
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


def _clock(seconds: float) -> str:
    return f"00:{seconds:04.1f}"


@contextmanager
def browser(page: Path, tmp_path: Path) -> Iterator[Talk]:
    """Chromium on ``page``, in real time as films need it."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--remote-debugging-pipe", "--window-size=1280,900",
        f"--user-data-dir={tmp_path / 'profile'}", page.as_uri(),
    ]  # fmt: skip
    (asked, ask), (answer, answered) = os.pipe(), os.pipe()
    # Chromium listens on 3 and answers on 4; high copies first, as 3 and 4 may be taken by one another.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (asked, answered)]

    def wire() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    running = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        close_fds=False, preexec_fn=wire, start_new_session=True,
    )  # fmt: skip
    for fd in (asked, answered, *high):
        os.close(fd)
    try:
        talk = Talk(ask, answer)
        page_id = talk.until(
            lambda: next((t for t in talk("Target.getTargets")["targetInfos"] if t["type"] == "page"), None)
        )["targetId"]
        talk.session = talk("Target.attachToTarget", targetId=page_id, flatten=True)["sessionId"]

        talk.until(
            lambda: talk.evaluate("document.readyState === 'complete' && location.protocol === 'file:'")
        )
        yield talk
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        os.close(ask)
        os.close(answer)


class Talk:
    """Chromium's protocol over two pipes: messages end with a zero byte; what is not an answer is passed over."""

    def __init__(self, ask: int, answer: int, seconds: float = 80.0) -> None:
        self.ask, self.answer, self.number, self.rest, self.session = ask, answer, 0, b"", ""
        self.end = time.monotonic() + seconds

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self.number:
                assert "result" in said, said
                return said["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.answer], [], [], max(self.end - time.monotonic(), 0))
            assert ready, "Chromium does not answer"
            got = os.read(self.answer, 65536)
            assert got, "Chromium has ended"
            self.rest += got
        first, self.rest = self.rest.split(b"\0", 1)
        return json.loads(first)

    def evaluate(self, script: str) -> Any:
        """The value of ``script`` in the page, awaited where it is a promise."""
        done = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, look: Callable[[], Any]) -> Any:
        """What ``look`` finds, as soon as it finds something."""
        while not (found := look()):
            assert time.monotonic() < self.end, "the page does not come up"
            time.sleep(0.05)
        return found
