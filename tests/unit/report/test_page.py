"""The report page: what it holds, what it never lets through, how large it gets."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import Box, Evidence, Hit, MediaError, Query, Reason, Slot
from oddwatch.report import context, render

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Checks that tags nest, and gathers tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("script", "style"):
            self.text.append(data)

    def having(self, tag: str, cls: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and cls in [*(a.get("class") or "").split(" "), ""]]


def page_of(search, picture, tmp_path: Path, **more) -> tuple[str, Outline]:
    out = render(search, picture, tmp_path / "report.html", **more)
    page = out.read_text(encoding="utf-8")
    return page, Outline(page)


def test_page_shows_every_hit_with_its_words_times_and_boxes(made_up_search, tmp_path):
    search, picture = made_up_search(6, 4)
    _, outline = page_of(search, picture, tmp_path, title="Tuesday")
    text = " ".join(" ".join(outline.text).split())
    assert len(outline.having("article", "card")) == 6
    assert len(outline.having("article", "near")) == 2
    assert "01:01" in text and "2026-03-01 14:06:10 UTC" in text and "seen 01:00–01:09" in text
    assert "north gate 1" in text and "cam-1.mp4" in text and "4 hits pass" in text
    assert "88 %" in text and "Tuesday" in text
    box = search.hits[0].box
    drawn = outline.having("rect", "line")[0]
    assert float(drawn["x"]) == pytest.approx(box.x0, abs=0.06) and float(drawn["width"]) == pytest.approx(
        box.width, abs=0.11
    )
    fills = [float(r["width"]) for r in outline.having("rect", "fill")]
    assert fills == sorted(fills, reverse=True) and fills[0] == pytest.approx(88)


def test_regions_exist_only_for_words_that_were_seen(made_up_search, tmp_path):
    search, picture = made_up_search(1, 1)
    hit = search.hits[0]
    hidden = Evidence("man", "unknown", None, None, Box(0, 0, 5, 5))
    reason = dataclasses.replace(
        hit.reason, evidence=(*(e for e in hit.reason.evidence if e.words != "man"), hidden)
    )
    search.hits[0] = dataclasses.replace(hit, reason=reason)
    _, outline = page_of(search, picture, tmp_path)
    buttons = outline.having("button", "chip")
    seen = [e for e in reason.evidence if e.box is not None and e.verdict != "unknown"]
    assert len(buttons) == len(seen) == 4
    # each region twice: on the frame and on the cut-out
    assert sorted(a["data-n"] for a in outline.having("rect", "ev")) == sorted(
        2 * [b["data-n"] for b in buttons]
    )
    assert len(outline.having("span", "unknown")) == 1


def test_scale_puts_boxes_back_on_the_frame(made_up_search, tmp_path):
    search, _ = made_up_search(1, 1)
    pixels = np.full((1080, 1920, 3), 90, np.uint8)
    jpeg, scale = context(pixels, long_side=960)
    assert scale == 0.5 and Image.open(io.BytesIO(jpeg)).size == (960, 540)
    search.hits[0] = dataclasses.replace(search.hits[0], box=Box(1000, 600, 1100, 900))
    _, outline = page_of(search, lambda hit: (jpeg, scale), tmp_path)
    assert outline.having("svg", "frame")[0]["viewbox"] == "0 0 1920.0 1080.0"
    assert outline.having("rect", "line")[0]["x"] == "1000.0"
    x, y, w, h = map(float, outline.having("svg", "crop")[0]["viewbox"].split())
    assert x < 1000 and y < 600 and x + w > 1100 and y + h > 900


def test_nobody_matches_is_told_and_the_nearest_are_greyed(made_up_search, tmp_path):
    search, picture = made_up_search(3, 0)
    _, outline = page_of(search, picture, tmp_path)
    text = " ".join(outline.text)
    assert "Nobody matches." in text and "hits pass" not in text
    assert len(outline.having("article", "near")) == 3


def test_no_hits_at_all(made_up_search, tmp_path):
    search, picture = made_up_search(0, 0)
    _, outline = page_of(search, picture, tmp_path)
    assert "Nobody matches." in " ".join(outline.text) and not outline.having("article")


def test_negation_unseen_and_unread_words_are_marked(made_up_search, tmp_path):
    search, picture = made_up_search(1, 1)
    _, outline = page_of(search, picture, tmp_path)
    assert len(outline.having("span", "not")) == 1
    assert len(outline.having("span", "unseen")) == 1 and len(outline.having("span", "unread")) == 1
    text = " ".join("".join(outline.text).split())
    assert "Not read, so not searched for: zorple" in text
    assert "not hat" in text and "92 %" in text  # the hat is held 8 % true


def test_everything_from_outside_is_escaped(made_up_search, tmp_path):
    search, _ = made_up_search(2, 1)
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    search.query = Query(evil, (Slot(evil, evil, {evil: 1.0}, about=evil),), unread=(evil,), language=evil)
    box = Box(1, 2, 30, 40)
    search.hits = [
        Hit(1, evil, f"/a/{evil}.jpg", "person", 1.0, camera=evil, box=box, match=True, probability=0.9,
            stages={evil: 1.0}, reason=Reason((evil,), (evil,), (evil,), (Evidence(evil, "matched", evil, 0.5, box, evil),))),
    ]  # fmt: skip
    search.timing = {evil: 1.0}
    jpeg, _ = context(np.zeros((90, 120, 3), np.uint8))
    page, outline = page_of(search, lambda hit: (jpeg, 1.0), tmp_path, title=evil)
    assert len(outline.having("script")) == 1 and not outline.having("img")
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_names_that_are_not_utf8_and_tricks_with_direction(made_up_search, tmp_path):
    search, picture = made_up_search(1, 1)
    raw = b"/footage/caf\xe9-\xff.mp4".decode("utf-8", "surrogateescape")
    hit = dataclasses.replace(search.hits[0], source=raw, camera="gate\u202egpj.exe\x1b[2J", id="\ud800")
    search.hits = [hit]
    search.query = Query("a man \udcff in red")
    page, _ = page_of(search, lambda h: picture(dataclasses.replace(h, id="p-0001")), tmp_path)
    assert "caf\ufffd-\ufffd.mp4" in page
    assert "\u202e" not in page and "\x1b" not in page and "[U+202E]" in page


def test_nothing_is_fetched_and_only_our_script_may_run(made_up_search, tmp_path):
    search, picture = made_up_search(3, 2)
    page, outline = page_of(search, picture, tmp_path)
    assert not re.search(r"""(?:src|href)=["'](?!data:image/jpeg;base64,|#)""", page)
    assert "@import" not in page and "url(" not in page and "http://" not in page and "https://" not in page
    policy = next(a["content"] for t, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any("style" in attributes for _, attributes in outline.tags)  # the policy would refuse them


def test_pictures_have_words_and_controls_are_buttons(made_up_search, tmp_path):
    search, picture = made_up_search(2, 1)
    _, outline = page_of(search, picture, tmp_path)
    shown = [a for t, a in outline.tags if t == "svg" and a.get("role") == "img"]
    assert len(shown) == 4 and all(a["aria-label"] for a in shown)
    assert all(a.get("aria-hidden") for t, a in outline.tags if t == "svg" and a.get("role") != "img")
    assert [a["lang"] for t, a in outline.tags if t == "html"] == ["en"]


@pytest.mark.parametrize(("hits", "least", "most"), [(5, 100_000, 500_000), (24, 200_000, 2_000_000)])
def test_twenty_noisy_frames_stay_under_two_megabytes(hits, least, most, made_up_search, tmp_path):
    search, _ = made_up_search(1, 1)
    search.hits = [dataclasses.replace(search.hits[0], rank=i + 1) for i in range(hits)]
    noise = np.random.default_rng(3).integers(0, 256, (360, 640, 3), np.uint8)
    jpeg, scale = context(noise, long_side=640, quality=92)
    assert len(jpeg) > 150_000
    out = render(search, lambda hit: (jpeg, scale), tmp_path / "big.html")
    assert least < out.stat().st_size < most


def test_metadata_of_pictures_is_not_passed_on(made_up_search, tmp_path):
    search, _ = made_up_search(1, 1)
    exif = Image.Exif()
    exif[0x010F] = "SECRETMAKER"
    buffer = io.BytesIO()
    Image.new("RGB", (1280, 720), (80, 90, 100)).save(buffer, "JPEG", exif=exif)
    assert b"SECRETMAKER" in buffer.getvalue()
    _, outline = page_of(search, lambda hit: (buffer.getvalue(), 1.0), tmp_path)
    for attributes in outline.having("image"):
        assert b"SECRETMAKER" not in base64.b64decode(attributes["href"].partition(",")[2])


@pytest.mark.parametrize("given", [None, (b"", 1.0), (b"no picture", 1.0), (b"\xff\xd8\xff\xe0cut", 1.0)])
def test_a_picture_that_cannot_be_had_is_told(given, made_up_search, tmp_path):
    search, _ = made_up_search(1, 1)
    _, outline = page_of(search, lambda hit: given, tmp_path)
    assert "Picture not available" in " ".join(outline.text) and not outline.having("image")


def test_a_source_that_is_gone_is_told_by_name(made_up_search, tmp_path):
    search, _ = made_up_search(1, 1)

    def gone(hit):
        raise MediaError("<cam>.mp4", "no such file")

    page, _ = page_of(search, gone, tmp_path)
    assert "&lt;cam&gt;.mp4: no such file" in page


def test_moment_without_box_and_hit_without_time_or_probability(tmp_path, made_up_search):
    search, picture = made_up_search(1, 1)
    search.hits = [Hit(1, "p-0001", "yard.jpg", "moment", 2.0, match=True)]
    _, outline = page_of(search, picture, tmp_path)
    text = " ".join(outline.text)
    assert "no probability" in text and "picture" in text
    assert not outline.having("rect", "line") and not outline.having("svg", "crop")


def test_box_outside_the_frame_and_infinite_score(tmp_path, made_up_search):
    search, picture = made_up_search(1, 1)
    search.hits = [Hit(1, "p-0001", "yard.jpg", "person", float("inf"), box=Box(9000, 9000, 9010, 9010))]
    page_of(search, picture, tmp_path)


def test_contradicted_by_another_fact_says_what_was_seen(made_up_search, tmp_path):
    search, picture = made_up_search(1, 1)
    seen = Evidence("red", "contradicted", "upper.color.blue", 0.91)
    search.hits[0] = dataclasses.replace(search.hits[0], reason=Reason((), ("red",), (), (seen,)))
    _, outline = page_of(search, picture, tmp_path)
    assert "saw blue 91 %" in " ".join(outline.text)


def test_a_phrase_of_several_slots_is_one_chip_with_its_region(made_up_search, tmp_path):
    search, picture = made_up_search(1, 1)
    box = Box(400, 400, 420, 440)
    proofs = (
        Evidence("navy coat", "matched", "upper.color.blue", 0.8),
        Evidence("navy coat", "matched", "upper.tone.dark", 0.7, box),
        Evidence("navy coat", "unknown", "upper.type.coat", 0.4),
    )
    search.hits[0] = dataclasses.replace(search.hits[0], reason=Reason(("navy coat",), (), (), proofs))
    _, outline = page_of(search, picture, tmp_path)
    assert len(outline.having("button", "chip")) == 1 and not outline.having("span", "chip")
    text = " ".join(outline.text)
    assert all(fact in text for fact in ("upper color: blue", "upper tone: dark", "upper type: coat"))


def test_same_search_same_bytes_and_failure_leaves_the_old_page(made_up_search, tmp_path):
    search, picture = made_up_search(2, 1)
    out = render(search, picture, tmp_path / "r.html")
    first = out.read_bytes()
    assert render(search, picture, tmp_path / "deep" / "r.html").read_bytes() == first

    def broken(hit):
        raise RuntimeError("a bug, not bad media")

    with pytest.raises(RuntimeError):
        render(search, broken, out)
    assert out.read_bytes() == first and [p.name for p in tmp_path.glob("*.html")] == ["r.html"]


def test_people_who_look_alike_are_no_match(made_up_search, tmp_path):
    search, picture = made_up_search(3, 0)
    search.answer, search.like = "similar", {"entry": "p-7", "meaning": "similarity of looks, not identity"}
    html, _ = page_of(search, picture, tmp_path)
    assert "look most like entry p-7" in html and "not identity" in html
    assert "Nobody matches" not in html and "threshold" not in html.partition("<main")[2]
