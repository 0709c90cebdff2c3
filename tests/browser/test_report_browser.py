"""The report in a real browser: runs under its own policy, is not blank, never scrolls sideways."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.core import Query
from oddwatch.report import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

MEASURE = """<script>addEventListener("load", function () {
  var wide = document.documentElement.scrollWidth, see = document.documentElement.clientWidth;
  var loaded = Array.from(document.querySelectorAll("image")).every(function (i) { return i.getBBox().width > 0; });
  var chip = document.querySelector("button.chip"), shown = "none";
  if (chip) {
    chip.click(); chip.blur();
    shown = Array.from(document.querySelectorAll(".ev")).filter(function (r) { return getComputedStyle(r).visibility === "visible"; }).length;
  }
  parent.postMessage("wide=" + wide + " see=" + see + " loaded=" + loaded + " shown=" + shown, "*");
});</script>"""


def browse(page: Path, tmp_path: Path, *flags: str) -> str:
    """Run headless Chromium on ``page``; its standard output."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--virtual-time-budget=2000", f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def pages(made_up_search, tmp_path):
    def make(name: str, hits: int, matches: int, text: str | None = None) -> Path:
        search, picture = made_up_search(hits, matches)
        if text is not None:
            search.query = Query(text, unread=tuple(text.split()[:3]))
        return render(search, picture, tmp_path / f"{name}.html")

    return make


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_screenshot_shows_a_page(pages, tmp_path, width, height, scheme):
    page, shot = pages("shot", 3, 2), tmp_path / "shot.png"
    browse(
        page,
        tmp_path,
        f"--window-size={width},{height}",
        f"--screenshot={shot}",
        f"--blink-settings=preferredColorScheme={scheme}",
    )
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32)
    assert pixels.shape == (height, width, 3)
    assert pixels.std() > 15 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 2000
    paper = pixels[2, 2].mean()
    assert paper < 60 if scheme == 0 else paper > 200


@pytest.mark.parametrize("kind", ["matches", "nobody", "long"])
@pytest.mark.parametrize("frame", [390, 320, 1280])
def test_never_wider_than_the_window(pages, tmp_path, kind, frame):
    # Headless Chromium has a least window width of its own, so the page is measured inside a frame.
    long = "x" * 900 + " a man " + "ж" * 300
    page = {
        "matches": lambda: pages("m", 2, 2),
        "nobody": lambda: pages("n", 2, 0),
        "long": lambda: pages("l", 2, 1, long),
    }[kind]()
    inner = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    (tmp_path / "inner.html").write_text(inner.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<!doctype html><iframe id="f" src="inner.html" width="{frame}" height="800" style="border:0"></iframe>'
        '<script>addEventListener("message", function (e) { document.title = e.data; });</script>'
    )
    dom = browse(outer, tmp_path, "--window-size=1400,900", "--dump-dom")
    found = re.search(r"wide=(\d+) see=(\d+) loaded=(\w+) shown=(\w+)", dom)
    assert found, dom[:500]
    wide, see, loaded, shown = found.groups()
    assert int(see) == frame and int(wide) <= frame
    assert loaded == "true"
    assert shown == "2"  # the pressed word's region, on the frame and on the cut-out


def test_own_script_runs_under_the_policy_and_a_strange_one_does_not(pages, tmp_path):
    page = pages("policy", 1, 1)
    assert '<html lang="en" class="js">' in browse(page, tmp_path, "--dump-dom")
    strange = page.read_text(encoding="utf-8").replace(
        "</body>", '<script>document.title = "broken in"</script></body>'
    )
    page.write_text(strange, encoding="utf-8")
    assert "<title>broken in</title>" not in browse(page, tmp_path, "--dump-dom")
