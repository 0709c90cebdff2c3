"""``oddwatch detect`` as users meet it: the packaged encoder at a small size, files, JSON, a kept detector, errors."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

SMALL = ("--resolution", "112", "--option", "rotations=0")


@pytest.fixture(scope="module")
def bench(tmp_path_factory, plates):
    """``good/`` with 8 plates, ``parts/`` with 3 good ones and 2 stained ones, in a folder with a blank in its name."""
    place = tmp_path_factory.mktemp("detect") / "the line"
    for folder, name, pictures in (
        ("good", "g", plates(8, 1, size=(120, 160))),
        ("parts", "ok", plates(3, 2, size=(120, 160))),
        ("parts", "stained", plates(2, 3, odd=True, size=(120, 160))),
    ):
        (place / folder).mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(place / folder / f"{name}{i}.png")
    return place


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "detector"


def test_from_two_folders_to_findings_files_and_a_page(cli, bench, kept, tmp_path):
    out = tmp_path / "results"
    found = cli(
        "detect", bench / "parts", "--normal", bench / "good", *SMALL, "--out", out, "--html", out / "report.html",
        "--save", kept, "--json",
    ).json  # fmt: skip
    assert {"findings", "scores", "threshold", "skipped"} <= set(found)
    assert [s["source"].rpartition("/")[2] for s in found["scores"][:2]] in (
        ["stained0.png", "stained1.png"], ["stained1.png", "stained0.png"],
    )  # fmt: skip
    assert [s["rank"] for s in found["scores"]] == [1, 2, 3, 4, 5]
    sources = [f["source"] for f in found["findings"]]
    assert sources == [s["source"] for s in found["scores"] if s["score"] >= found["threshold"]]
    assert {s.rpartition("/")[2] for s in sources} >= {"stained0.png", "stained1.png"}
    for finding in found["findings"]:
        assert {"id", "task", "source", "box", "score", "probability", "severity", "reason"} <= set(finding)
        assert finding["task"] == "image" and 0 <= finding["severity"] < 1 and 0 <= finding["probability"] < 1
        assert (
            0 <= finding["box"][0] < finding["box"][2] <= 160
            and 0 <= finding["box"][1] < finding["box"][3] <= 120
        )
    assert json.loads((out / "findings.json").read_text())["scores"] == found["scores"]
    assert len(list(csv.reader((out / "scores.csv").open()))) == 6
    assert len(list((out / "heatmaps").iterdir())) == 5 + 1
    assert len(list((out / "masks").iterdir())) == len(found["findings"])
    assert "pictures stand out" in (out / "report.html").read_text(encoding="utf-8")


def test_a_kept_detector_judges_at_another_rate(cli, bench, kept):
    cli("detect", bench / "parts", "--normal", bench / "good", *SMALL, "--save", kept)
    strict = cli("detect", bench / "parts", "--detector", kept, "--rate", 0.001, "--json").json
    loose = cli("detect", bench / "parts", "--detector", kept, "--rate", 0.3, "--json").json
    assert loose["threshold"] < strict["threshold"] and len(loose["findings"]) >= len(strict["findings"])
    assert [s["score"] for s in loose["scores"]] == pytest.approx([s["score"] for s in strict["scores"]])


def test_the_table_is_for_people(cli, bench):
    shown = cli("detect", bench / "parts", "--normal", bench / "good", *SMALL, "--top", 3)
    assert shown.status == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0].split() == ["#", "score", "severity", "picture", "why"]
    assert lines[1].startswith("*") and "stained" in lines[1] and "times as far from normal" in lines[1]
    assert lines[4].startswith("… 2 more") and "pictures above the threshold" in lines[5]


def test_bad_files_are_skipped_and_the_rest_is_judged(cli, bench, tmp_path):
    torn = tmp_path / "torn.png"
    torn.write_bytes((bench / "parts" / "ok0.png").read_bytes()[:300])
    shown = cli("detect", bench / "parts", torn, "--normal", bench / "good", *SMALL)
    assert shown.status == 0 and "skipped" in shown.err and "torn.png" in shown.err
    assert "of 5 pictures" in shown.out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["parts"], 2, ["normal", "--normal"]),
        (["parts", "--normal", "nowhere"], 1, ["nowhere", "no such file"]),
        (["good", "--normal", "good"], 2, ["the same as the normal"]),
        (["parts", "--normal", "good", "--method", "magic"], 2, ["magic", "subspace"]),
        (["parts", "--normal", "good", "--option", "magic"], 2, ["NAME=VALUE"]),
        (["parts", "--normal", "good", "--option", "magic=1"], 2, ["magic", "variance"]),
        (["parts", "--normal", "good", "--tiles", "2"], 2, ["ROWSxCOLUMNS"]),
        (["parts", "--normal", "good", "--rate", "0"], 2, ["rate"]),
        (["parts", "--normal", "good", "--layers", "block_77"], 2, ["block_77"]),
        (["parts", "--detector", "parts"], 1, ["not a detector"]),
        (["parts", "--detector", "parts", "--method", "mvg"], 2, ["fitted already"]),
        (["parts", "--normal", "good", "--encoder", "pose"], 2, ["pose"]),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(cli, bench, monkeypatch, arguments, status, words):
    monkeypatch.chdir(bench)
    cli("detect", *arguments, "--resolution", "112").failed(status, *words)
