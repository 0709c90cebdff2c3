"""The page of a detection in video: every peak is drawn, nothing unescaped, times and players agree with the findings."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import Box, Curve, Finding, InputError, Span
from oddwatch.report.page import assets
from oddwatch.report.video import MOST_CLIPS, Cut, headline, render_video
from oddwatch.report.video_curves import (
    axis_over,
    coarser,
    drawn,
    lanes_of,
    lasting,
    moment,
    outline,
    ticks,
)
from oddwatch.scoring.normal import Threshold

VOID = ("meta", "input", "img")


@dataclass
class OneClip:
    source: str
    curve: Curve
    findings: list[Finding]
    peaks: dict[str, float]
    duration: float = 20.0
    fps: float = 10.0
    size: tuple[int, int] = (360, 640)


@dataclass
class OneReport:
    clips: list[OneClip]
    method: str = "camera-profile"
    encoder: str = "toy/112"
    threshold: Threshold = field(
        default_factory=lambda: Threshold(2.0, "counted", "2 of 900 normal <u>scores</u> reach it")
    )
    false_alarms_per_hour: float = 1.0
    normal_seconds: float = 600.0
    notes: list[str] = field(default_factory=lambda: ["one <u>note</u>"])
    skipped: list[tuple[str, str]] = field(default_factory=lambda: [("/in/<i>torn.mp4", "is truncated")])
    seconds: dict[str, float] = field(default_factory=lambda: {"total": 1.5})

    @property
    def findings(self) -> list[Finding]:
        return [f for c in self.clips for f in c.findings]


def a_clip(name: str, told: float | None = None, severity: float = 0.5, n: int = 200) -> OneClip:
    """20 s at 10 samples/s; ``told``: where a second is anomalous, 4 at its peak, by "movement"."""
    times = np.arange(n) / 10
    cues = {"movement": np.full(n, 0.3), "look </script><b>": np.full(n, 0.4)}
    if told is None:
        return OneClip(name, Curve(name, times, np.full(n, 0.7), cues), [], {})
    at = (times >= told) & (times < told + 1)
    cues["movement"][at] = 2.6
    cues["movement"][int(10 * told) + 5] = 3.6
    curve = Curve(name, times, cues["movement"] + cues["look </script><b>"], cues)
    found = Finding(
        f"f-{name}", "video", name, 4.0, Box(10, 20, 110, 220), Span(told, told + 1), 0.97, severity, "runs <b>fast</b>"
    )  # fmt: skip
    return OneClip(name, curve, [found], {found.id: told + 0.5})


def a_report() -> OneReport:
    return OneReport([a_clip("/in/<b>a.mp4", 3.0, 0.4), a_clip("/in/b.mp4"), a_clip("/in/c.mp4", 12.0, 0.8)])


def stills(report: OneReport) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 36), (90, 120, 90)).save(buffer, "JPEG")
    return {f.id: buffer.getvalue() for f in report.findings}


def players(report: OneReport) -> dict[str, str]:
    return {c.source: f"page-media/{i}.webm" for i, c in enumerate(report.clips)}


class Tags(HTMLParser):
    """All tags with their attributes, nesting checked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def of(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of the tags whose class list holds ``name``."""
        return [a for _, a in self.found if name in (a.get("class") or "").split()]


def rendered(tmp_path, report: OneReport, **given) -> tuple[str, Tags]:
    given = {"stills": stills(report), "players": players(report), **given}
    page = render_video(report, tmp_path / "page.html", **given).read_text(encoding="utf-8")
    return page, Tags(page)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def test_times_and_durations_in_words():
    assert [moment(s) for s in (0, 9.96, 12.34, 61.0, 3661.25, -1)] == [
        "00:00.0", "00:10.0", "00:12.3", "01:01.0", "1:01:01.2", "00:00.0",
    ]  # fmt: skip
    assert [lasting(s) for s in (2.6, 59.96, 60, 72, 3599.7, 3600, 7500)] == [
        "2.6 s", "1 min", "1 min", "1 min 12 s", "1 h", "1 h", "2 h 5 min",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0.4, 3, 20, 61, 600, 3600, 86400, 10 * 86400])
def test_ticks_are_few_round_and_inside(seconds):
    marks = ticks(seconds)
    assert 1 <= len(marks) <= 7 and marks[0][0] == 0
    places = [at for at, _ in marks]
    assert places == sorted(set(places)) and places[-1] <= 97
    assert len({label for _, label in marks}) == len(marks)


def test_few_points_keep_every_peak():
    rng = np.random.default_rng(0)
    values = rng.random(90_001)
    values[[0, 4321, 90_000]] = 7, 9, 8
    curve = Curve("x", np.arange(90_001) / 25, values, {"a": values / 2, "b": np.full(90_001, np.nan)})
    few = drawn(curve, 1500)
    assert len(few.times) <= 1500 and not few.whole
    assert few.values[0] == 7 and few.values.max() == 9 and few.values[-1] == 8
    assert np.array_equal(few.cues["a"], few.values / 2) and np.isfinite(few.cues["b"]).all()
    assert np.array_equal(few.ends[:-1], few.times[1:]) and few.ends[-1] == pytest.approx(90_001 / 25)
    same = drawn(Curve("x", np.arange(5.0), np.arange(5.0)), 1500)
    assert same.whole and same.values.tolist() == [0, 1, 2, 3, 4] and same.ends[-1] == 5
    times, ends, most = coarser(few.times, few.ends, few.values, 100)
    assert len(times) <= 100 and most.max() == 9 and most[0] == 7 and most[-1] == 8
    assert np.array_equal(ends[:-1], times[1:]) and ends[-1] == few.ends[-1]


def test_a_curve_without_frames_is_drawn_as_nothing():
    none = drawn(Curve("x", np.empty(0), np.empty(0)))
    assert none.values.size == 0
    assert outline(none.times, none.ends, none.values, axis_over([none.values], 1.0), 1.0) == ""


def test_outlines_are_steps_from_floor_to_floor():
    axis = axis_over([np.array([0.0, 1.0, 2.0])], 1.0)
    times, values = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.0, 0.0])
    path = outline(times, times + 1, values, axis, 4.0)
    low, high = f"{1000 - axis.at(0.0):.0f}", f"{1000 - axis.at(2.0):.0f}"
    assert path == f"M0 1000V{low}H250V{high}H750V{low}H1000V1000"
    holed = outline(times, times + np.array([1, 0.5, 1, 1]), values, axis, 4.0)
    assert holed == f"M0 1000V{low}H250V{high}H375V1000H500V{high}H750V{low}H1000V1000"


@pytest.mark.parametrize("threshold", [1.0, 0.0, -3.0, 50.0])
def test_the_threshold_lies_inside_the_axis_though_all_is_anomalous(threshold):
    values = np.linspace(0.5, 6.0, 50)
    axis = axis_over([values], threshold)
    assert 0 < axis.at(threshold) < 1000 and axis.at(0.5) < axis.at(6.0)
    heights = [axis.at(v) for v in sorted([*values.tolist(), threshold])]
    assert heights == sorted(heights)


def test_lanes_are_the_cues_that_reach_highest_in_the_detectors_order():
    t = np.arange(3.0)
    curve = drawn(Curve("x", t, t, {f"c{i}": np.full(3, float(i % 5)) for i in range(8)}))
    assert lanes_of([curve]) == ["c1", "c2", "c3", "c4", "c6", "c7"]
    assert lanes_of([drawn(Curve("x", t, t, {"language": t}))]) == []


def test_headlines_count_moments_and_clips():
    report = a_report()
    assert headline(report) == "2 moments stand out in 2 of 3 clips"
    assert headline(OneReport(report.clips[:1])) == "1 moment stands out in 1 clip"
    assert headline(OneReport(report.clips[1:2])) == "Nothing stands out in 1 clip"
    assert headline(OneReport([report.clips[0], report.clips[2]])) == "2 moments stand out in 2 clips"


def test_the_worst_clip_comes_first_and_its_links_jump_to_its_moment(tmp_path):
    _, tags = rendered(tmp_path, a_report())
    videos = [a for t, a in tags.found if t == "video"]
    assert [v["src"] for v in videos] == [
        "page-media/2.webm#t=12.00", "page-media/0.webm#t=3.00", "page-media/1.webm",
    ]  # fmt: skip
    jumps = tags.of("jump")
    assert [float(a["data-at"]) for a in jumps if a["data-clip"] == "0"] == [12.0] * 3
    assert all(a["href"].endswith(f"#t={float(a['data-at']):.2f}") for a in jumps)
    assert [t["data-number"] for t in tags.of("found")] == ["1", "2"]
    shown = " ".join("".join(tags.text).split())
    assert "2 moments stand out in 2 of 3 clips" in shown and "00:12.0 – 00:13.0" in shown
    assert "peak 4 at 00:12.5" in shown and "severity 0.80" in shown and "probability 97 %" in shown
    assert (
        "calibrated on 10 min of normal footage" in shown and "at most 1 false alarm an hour wanted" in shown
    )


def test_the_box_is_drawn_in_frame_pixels_and_the_deciding_cue_is_marked(tmp_path):
    _, tags = rendered(tmp_path, a_report())
    spot = tags.of("spot")[0]
    assert [spot[k] for k in ("x", "y", "width", "height")] == ["10", "20", "100", "200"]
    assert len(tags.of("told")) == 2 and len(tags.of("cue")) == 6 and len(tags.of("shade")) == 2
    shade = tags.of("shade")[0]
    assert (float(shade["x"]), float(shade["width"])) == (600.0, 50.0)


def test_the_script_is_told_curves_moments_and_rule(tmp_path):
    page, _ = rendered(tmp_path, a_report(), cut=Cut(0.5, 1.0, 0.6, 0.2, 2.0), normal_events=[2.5, 0.5])
    data = data_of(page)
    assert data["cut"] == {"minimum": 0.5, "merge": 1.0, "hold": 0.6, "usual": 0.2} and data["start"] == 2.0
    assert data["events"] == [0.5, 2.5] and data["counted"] and data["hours"] == pytest.approx(1 / 6)
    clip = data["clips"][0]
    assert clip["t"]["n"] == len(clip["v"]) == 200 and clip["t"]["step"] == pytest.approx(0.1)
    assert clip["end"] == pytest.approx(20.0) and max(clip["v"]) == 4.0 and clip["has"] == [0, 1]
    assert clip["found"] == [[12.0, 13.0, 12.5, 4.0, 1]]
    bare, tags = rendered(tmp_path, a_report())
    assert data_of(bare)["cut"] is None and not tags.of("slide") and not data_of(bare)["counted"]


def test_uneven_times_are_listed(tmp_path):
    clip = a_clip("/in/a.mp4")
    times = clip.curve.times.copy()
    times[100:] += 3
    clip.curve = Curve("a", times, clip.curve.values)
    page, _ = rendered(tmp_path, OneReport([clip]))
    told = data_of(page)["clips"][0]
    assert told["t"] == pytest.approx(times.tolist()) and told["seconds"] == pytest.approx(23.0)
    assert told["holes"] == {}
    page, _ = rendered(tmp_path, OneReport([clip]), cut=Cut(longest=2.0))
    assert data_of(page)["clips"][0]["holes"] == {"99": pytest.approx(11.9)}


@pytest.mark.parametrize(
    ("threshold", "normal", "said"),
    [
        (Threshold(2.0, "counted", "of 900"), 60.0, "at most 1 false alarm an hour wanted; of 900"),
        (Threshold(2.0, "counted", "at most 1 an hour"), 60.0, "at most 1 an hour"),
        (Threshold(2.0, "given", "as given"), 60.0, "as given"),
        (Threshold(2.0, "assumed", "one <u>note</u>"), 0.0, "most of the footage is taken to be normal"),
    ],
)
def test_where_the_threshold_comes_from_is_said_once(tmp_path, threshold, normal, said):
    report = a_report()
    report.threshold, report.normal_seconds = threshold, normal
    page, _ = rendered(tmp_path, report)
    assert f'id="rate">{said}</p>' in page


def test_names_notes_reasons_and_cues_are_escaped(tmp_path):
    page, tags = rendered(tmp_path, a_report(), cut=Cut())
    assert not re.search(r"<(b|i|u)>", page) and page.count("</script>") == 2
    assert "look </script><b>" in data_of(page)["lanes"] and "&lt;b&gt;a.mp4" in page
    assert not any("style" in a or any(k.startswith("on") for k in a) for _, a in tags.found)
    assert not any((a.get("href") or "").startswith(("http", "//", "javascript")) for _, a in tags.found)


def test_the_policy_allows_own_style_own_script_and_films_beside_the_page(tmp_path):
    style, script, policy = assets("page.css", "detect.css", "video.css", "video.js")
    page, tags = rendered(tmp_path, a_report())
    said = next(a["content"] for t, a in tags.found if t == "meta" and a.get("http-equiv"))
    assert said == policy + "; media-src 'self' file:"
    assert f"<style>{style}</style>" in page and f"<script>{script}</script>" in page
    _, bare = rendered(tmp_path, a_report(), players={})
    assert next(a["content"] for t, a in bare.found if t == "meta" and a.get("http-equiv")) == policy


def test_without_players_nothing_claims_to_jump(tmp_path):
    _, tags = rendered(tmp_path, a_report(), players={}, stills={})
    assert not tags.of("jump") and not tags.of("player") and not tags.of("play")
    assert "".join(tags.text).count("no picture kept") == 2 and len(tags.of("mark")) == 2


def test_a_broken_picture_is_told_on_its_card(tmp_path):
    report = a_report()
    _, tags = rendered(tmp_path, report, stills={f.id: b"no jpeg" for f in report.findings})
    assert "".join(tags.text).count("expected a JPEG picture") == 2


@pytest.mark.parametrize(
    "address", ["http://x/a.webm", "//x/a.webm", "javascript:1", "a b.webm", "a.webm#t=3", "a.webm?x", "", "a\\b.webm"]
)  # fmt: skip
def test_only_relative_addresses_are_played(tmp_path, address):
    with pytest.raises(InputError, match="relative address"):
        rendered(tmp_path, a_report(), players={"/in/b.mp4": address})


def test_empty_reports_quiet_clips_and_clips_without_frames(tmp_path):
    _, tags = rendered(tmp_path, OneReport([], normal_seconds=0.0))
    assert "Nothing stands out in 0 clips" in "".join(tags.text)
    assert "without normal footage" in "".join(tags.text)
    empty = OneClip("/in/e.mp4", Curve("e", np.empty(0), np.empty(0)), [], {}, duration=0.0, fps=0.0)
    page, tags = rendered(tmp_path, OneReport([empty, a_clip("/in/q.mp4")]), cut=Cut())
    text = "".join(tags.text)
    assert "Nothing in this clip could be scored" in text and text.count("No moment reaches") == 2
    assert data_of(page)["clips"][1]["v"] == []


def test_many_clips_and_long_ones_stay_small(tmp_path):
    report = OneReport([a_clip(f"/in/{i}.mp4", 3.0 + i % 9, n=3000) for i in range(MOST_CLIPS + 10)])
    out = render_video(report, tmp_path / "p.html", stills=stills(report), players={}, cut=Cut())
    tags = Tags(out.read_text(encoding="utf-8"))
    assert out.stat().st_size < 3_000_000 and len(tags.of("clip")) == MOST_CLIPS
    assert "10 further clips, not drawn" in "".join(tags.text)
