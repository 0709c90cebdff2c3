"""The detection page and its heat: one scale, nothing unescaped, numbers that agree with the report."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import Box, Finding, Region
from oddwatch.pipeline.calibrate import Calibration
from oddwatch.pipeline.detect_out import DetectReport, PictureScore, settle
from oddwatch.report.detect import Axis, Shot, render_detect
from oddwatch.report.heat import STOPS, Scale, colours, layer, legend, overlay, png
from oddwatch.report.page import assets
from oddwatch.scoring.normal import Threshold

SCALE = Scale(1.0, 2.0)


def a_map() -> np.ndarray:
    one = np.full((32, 32), 0.5, np.float32)
    one[8:16, 8:16] = 4.0
    return one


def test_levels_mark_the_usual_the_threshold_and_what_lies_beyond():
    levels = SCALE.level(np.array([0.0, 1.0, 1.5, 2.0, 3.0, 11.0, 1e9]))
    assert levels == pytest.approx([0, 0, 0.25, 0.5, 0.75, 0.95, 1.0], abs=1e-6)
    flat = Scale(0.0, 0.0).level(np.array([0.0, 1e-9, 1.0]))
    assert np.isfinite(flat).all() and flat[0] == 0 and flat[2] > 0.99


def test_the_same_value_has_the_same_colour_in_every_picture():
    grey = np.full((32, 32, 3), 120, np.uint8)
    alone, beside = a_map(), np.full((32, 32), 0.5, np.float32)
    beside[2:30, 2:30] = 4.0
    assert np.array_equal(overlay(grey, alone, SCALE)[11, 11], overlay(grey, beside, SCALE)[15, 15])


def test_a_normal_picture_stays_as_it_is():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    assert np.array_equal(overlay(picture, np.full((8, 8), 0.9, np.float32), SCALE), picture)
    told = overlay(picture, a_map(), SCALE, np.pad(np.ones((10, 10), bool), ((8, 22), (12, 38))))
    assert told.shape == picture.shape and not np.array_equal(told, picture)
    assert max(overlay(np.zeros((3000, 10, 3), np.uint8), a_map(), SCALE).shape) == 1024


def test_colours_rise_in_opacity_and_end_at_the_stops():
    rgb, alpha = colours(np.linspace(0, 1, 50))
    assert (np.diff(alpha) > 0).all() and alpha[0] == 0 and alpha[-1] == pytest.approx(STOPS[-1][2])
    assert rgb[0].tolist() == list(STOPS[0][1]) and rgb[-1].tolist() == list(STOPS[-1][1])


def test_layers_are_transparent_where_calm_and_small():
    calm = layer(np.zeros((32, 32), np.float32), SCALE, (480, 640))
    hot = layer(a_map(), SCALE, (480, 640))
    assert len(calm) < 500 and len(hot) < 6000
    pixels = np.asarray(Image.open(io.BytesIO(hot)).convert("RGBA"))
    assert pixels.shape == (144, 192, 4) and pixels[70, 180, 3] == 0 and pixels[54, 72, 3] > 150
    assert np.asarray(Image.open(io.BytesIO(calm)).convert("RGBA"))[..., 3].max() == 0


def test_pictures_survive_as_png():
    picture = np.random.default_rng(0).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    mask = picture[..., 0] > 100
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(mask)))).astype(bool), mask)
    bar = legend(100, 5)
    assert bar.shape == (5, 100, 3) and np.array_equal(bar[0], bar[4]) and bar[0, 0].tolist() == [128] * 3


@pytest.mark.parametrize("values", [[0.1, 5.0, 0.3], [-2.0, 3.0], [4.0], [0.0, 0.0], [1.0, 1e6]])
def test_an_axis_holds_every_score_in_order(values):
    axis = Axis.over(np.array(values), min(values), max(values))
    places = [axis.at(v) for v in sorted(values)]
    assert places == sorted(places) and places[0] > 0 and places[-1] < 1000
    assert axis.at(-1e12) == 0 and axis.at(1e12) == 1000


def test_a_strong_anomaly_leaves_room_for_the_others():
    axis = Axis.over(np.array([0.0, 1.0, 2.0, 100.0]), 0.5, 1.5)
    assert axis.at(2.0) - axis.at(0.0) > 250 and axis.at(100.0) - axis.at(2.0) > 500


def a_report(n: int = 5, told: int = 2, normals: int = 6, maps: bool = True) -> DetectReport:
    threshold = Threshold(1.0, "counted", "0 of 6 normal scores reach it")
    scores = [
        PictureScore(f"/in/<b>p{i}.png", 3.0 - 0.9 * i if i < told else 0.5 - 0.05 * i, 640, 480)
        for i in range(n)
    ]
    settle(scores, 1.0, 0.3, [0.8] * n if normals else None)
    region = Region(Box(10, 20, 110, 90), "top left", 4.0, np.ones((70, 100), bool))
    findings = [
        Finding(f"image-{i}", "image", s.source, s.score, region.box, None, 0.8, s.severity, "top left: 100 × 70 pixels",
                (region,))
        for i, s in enumerate(scores) if s.above
    ]  # fmt: skip
    known = (
        Calibration(np.linspace(0.2, 0.4, normals), np.ones(normals), 1.0, "leave-one-out")
        if normals
        else None
    )
    return DetectReport(
        "subspace", "toy/112", 0.01, threshold, findings, scores, SCALE if maps else None, known,
        skipped=[("/in/<i>torn.png", "is truncated")], notes=["one <u>note</u>"], seconds={"total": 1.5},
    )  # fmt: skip


def shots(report: DetectReport, heat: bool = True) -> dict[str, Shot]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 90)).save(buffer, "JPEG")
    one = layer(a_map(), SCALE, (480, 640)) if heat else None
    return {s.source: Shot(buffer.getvalue(), one, 640, 480) for s in report.scores}


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
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of the tags whose class list holds ``name``."""
        return [a for _, a in self.found if name in (a.get("class") or "").split()]


def test_the_page_shows_ranked_pictures_with_what_the_slider_needs(tmp_path):
    report = a_report()
    page = render_detect(report, shots(report), tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert [float(t["data-score"]) for t in tags.of("tile")] == [s.score for s in report.scores]
    assert len(tags.of("heat")) == 5 and len(tags.of("normal")) == 6 and len(tags.of("dot")) == 5
    assert len([t for t in tags.of("tile") if "above" in t["class"]]) == 2
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    assert (
        data["start"] == 1.0
        and data["scores"] == [s.score for s in report.scores]
        and len(data["normal"]) == 6
    )
    assert "2 of 5 pictures stand out" in "".join(tags.text)
    assert not any(a.get("href", "").startswith("http") for _, a in tags.found if a.get("href"))
    assert not any("style" in a or any(k.startswith("on") for k in a) for _, a in tags.found)


def test_names_notes_and_reasons_are_escaped(tmp_path):
    report = a_report()
    page = render_detect(report, shots(report), tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<(b|i|u)>(p\d|torn|note)", page) and "&lt;b&gt;p0.png" in page


def test_the_policy_allows_only_the_page_s_own_style_and_script(tmp_path):
    style, script, policy = assets("page.css", "detect.css", "detect.js")
    report = a_report()
    page = render_detect(report, shots(report), tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert next(a["content"] for t, a in tags.found if t == "meta" and a.get("http-equiv")) == policy
    assert (
        "default-src 'none'" in policy
        and f"<style>{style}</style>" in page
        and f"<script>{script}</script>" in page
    )


def test_without_normals_maps_or_pictures(tmp_path):
    report = a_report(normals=0, maps=False)
    page = render_detect(report, {}, tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.of("tile") and not tags.of("scale") and not tags.of("normal")
    assert "5 less anomalous pictures" in "".join(tags.text)
    bare = Tags(
        render_detect(report, shots(report, heat=False), tmp_path / "b.html").read_text(encoding="utf-8")
    )
    assert not bare.of("heat") and len(bare.of("tile")) == 5


def test_heatmaps_are_linked_from_where_the_page_lies(tmp_path):
    report = a_report()
    for row in report.scores:
        row.heatmap = f"heatmaps/p{row.rank}.png"
    page = render_detect(report, shots(report), tmp_path / "pages" / "page.html", folder=tmp_path / "out")
    assert 'href="../out/heatmaps/p1.png"' in page.read_text(encoding="utf-8")


def test_a_page_of_many_pictures_stays_small(tmp_path):
    report = a_report(200, 50)
    page = render_detect(report, shots(report), tmp_path / "page.html")
    assert isinstance(page, Path) and page.stat().st_size < 2_000_000


def test_pictures_are_inside_the_page(tmp_path):
    report = a_report(1, 1)
    page = render_detect(report, shots(report), tmp_path / "page.html").read_text(encoding="utf-8")
    inside = re.findall(r'href="data:image/(jpeg|png);base64,([^"]+)"', page)
    assert [kind for kind, _ in inside] == ["jpeg", "png"]
    assert all(Image.open(io.BytesIO(base64.b64decode(data))).size[0] > 0 for _, data in inside)
