"""The search benchmark on a toy gallery whose right answers are known."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oddwatch.bench import baselines, facts, nobody, oracle
from oddwatch.bench.search import length_of, run_search_bench
from oddwatch.bench.subjects import Gallery, ask, bare, describe_all
from oddwatch.core import Box, Entry, Evidence, Facts, Frame, InputError, Query, Reason, Slot
from oddwatch.datasets.records import Record, read_records
from oddwatch.describe.atoms import ATOMS, COLORS, INDEX, SCHEMA_ID, members

PAINT = {c: baselines.PROTOTYPES[c] for c in ("red", "blue", "green", "white")}
POSTURES = ("walking", "lying")


class Toy:
    """Reads colour and posture words; needs no models."""

    def parse(self, text: str) -> Query:
        words = text.lower().split()
        if "?" in text:
            raise InputError("query", "not read")
        found = [Slot(w, "color", {f"upper.color.{w}": 1.0}, about="upper") for w in words if w in COLORS]
        found += [Slot(w, "posture", {f"posture.{w}": 1.0}) for w in words if w in POSTURES]
        found += [
            Slot(w, "action") for w in words if w[:-3] + "ing" in nobody.ACTION_POOL and w not in POSTURES
        ]
        return Query(text, tuple(found))

    def weights(self, query: Query) -> np.ndarray:
        out = np.zeros(len(ATOMS), np.float32)
        for slot in query.slots:
            for atom, weight in slot.atoms.items():
                out[INDEX[atom]] += weight
        return out

    def judge(self, query: Query, facts: Facts) -> tuple[float, Reason]:
        seen = []
        for slot in query.slots:
            if not slot.atoms:
                seen.append(Evidence(slot.words, "unknown"))
                continue
            (atom,) = slot.atoms
            i = INDEX[atom]
            verdict = "unknown" if not facts.known[i] else "matched" if facts.p[i] > 0.5 else "contradicted"
            seen.append(Evidence(slot.words, verdict, atom, float(facts.p[i])))  # type: ignore[arg-type]
        score = sum({"matched": 1, "contradicted": -1, "unknown": 0}[e.verdict] for e in seen)
        return float(score), Reason(evidence=tuple(seen))

    def scores(self, query: Query, p: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.array([self.judge(query, Facts(SCHEMA_ID, a, b))[0] for a, b in zip(p, known, strict=True)])

    def answer(self, gallery: Gallery, text: str, depth: int) -> tuple[bool, float]:
        found = ask(gallery, text, self, depth)
        probability = 0.9 if found.facts.max() == len(found.query.slots) else 0.1
        return probability >= 0.5, probability


def look(frame: Frame, box: Box | None) -> list[Entry]:
    """Upper colour from the middle pixel; lying when the box is wide."""
    p, known = np.full(len(ATOMS), 0.1, np.float32), np.zeros(len(ATOMS), bool)
    pixel = frame.pixels[frame.height // 2, frame.width // 2].astype(int)
    color = min(PAINT, key=lambda c: float(np.abs(pixel - PAINT[c]).sum()))
    posture = "lying" if box is not None and box.width > box.height else "walking"
    for group, value in (("upper.color", color), ("posture", posture)):
        known[members(group)] = True
        p[INDEX[f"{group}.{value}"]] = 0.9
    return [bare(Facts(SCHEMA_ID, p, known))]


def evidence(facts: Facts) -> np.ndarray:
    return np.where(facts.known, np.log(facts.p / (1 - facts.p)), 0).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = []
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        for color, rgb in PAINT.items():
            for posture in POSTURES:
                name, out = f"{color}-{posture}.png", io.BytesIO()
                Image.new("RGB", (40, 40), rgb).save(out, "PNG")
                archive.writestr(name, out.getvalue())
                short = f"man in {color} coat {posture} here"
                long = f"there is a man wearing a {color} coat who is {posture} on the ground of a wide empty street"
                rows.append({
                    "image": name, "image_id": name, "caption": [short, long], "person": color,
                    "box": [0, 0, 40, 20] if posture == "lying" else [0, 0, 20, 40],
                    "facts": {"upper": {"color": color}, "lower": {"color": "black"}, "posture": posture},
                })  # fmt: skip
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def _rows(folder: Path, **options: object) -> list[dict]:
    return run_search_bench(folder, look=look, language=Toy(), evidence=evidence, **options)  # type: ignore[arg-type]


def test_rows_of_a_gallery_that_can_be_solved(folder: Path) -> None:
    rows = _rows(folder)
    found = {
        (tuple(r.get("stages", ())) or r["method"], r["queries"]): r
        for r in rows
        if r["protocol"] == "text to picture"
    }
    for queries, n in (("short", 8), ("long", 8), ("all", 16)):
        for system in (("coarse", "facts"), ("coarse",)):
            row = found[system, queries]
            assert (row["n_queries"], row["gallery"], row["R@1"], row["mAP"]) == (n, 8, 100.0, 100.0)
            assert row["ci95"]["R@1"] == [100.0, 100.0] and row["transductive"] is False
        assert found["random", queries]["R@1"] == pytest.approx(12.5)
        histogram = found["colour-histogram", queries]
        assert histogram["R@1"] < 100 == histogram["R@5"], "two pictures a colour"
    assert found[("coarse", "facts"), "all"]["default"] and not found[("coarse",), "all"]["default"]
    json.dumps(rows)


def test_without_doing_words_twins_cannot_be_told(folder: Path) -> None:
    rows = {r["queries"]: r for r in _rows(folder) if r["protocol"].endswith("struck out")}
    assert (rows["all"]["R@1"], rows["all"]["R@5"], rows["all"]["default"]) == (0.0, 100.0, False)
    assert rows["all"]["mAP"] == 50.0


def test_gains_are_tested_in_pairs(folder: Path) -> None:
    rows = {r["against"]: r for r in _rows(folder) if r["protocol"] == "paired"}
    assert (rows["coarse"]["R@1 gain"], rows["coarse"]["mcnemar p"]) == (0.0, 1.0)
    histogram = rows["colour-histogram"]
    assert histogram["R@1 gain"] > 0 and histogram["only_default"] > histogram["only_other"] == 0
    assert histogram["mcnemar p"] == pytest.approx(2 / 2 ** histogram["only_default"])


def test_annotated_facts_in_place_of_seen_ones(folder: Path) -> None:
    def blind(frame: Frame, box: Box | None) -> list[Entry]:
        return [bare(Facts(SCHEMA_ID, np.full(len(ATOMS), 0.1, np.float32), np.zeros(len(ATOMS), bool)))]

    rows = run_search_bench(folder, look=blind, language=Toy(), evidence=evidence)
    told = {r["queries"]: r for r in rows if r["protocol"].endswith("as annotated")}
    assert (told["all"]["R@1"], told["all"]["default"]) == (100.0, False)
    truth = oracle.true_facts({"upper": {"color": "red"}, "posture": "unknown"}, Toy())
    assert truth.p[INDEX["upper.color.red"]] > 0.9 > 0.1 > truth.p[INDEX["upper.color.blue"]]
    assert not truth.known[members("posture")].any()


def test_fact_rows(folder: Path) -> None:
    rows = {(r["fact"], r.get("equivalence")): r for r in _rows(folder) if r["protocol"] == "facts"}
    assert rows["upper.color", "strict"]["accuracy"] == 1.0
    lower = rows["lower.color", "strict"]
    assert (lower["accuracy"], lower["coverage"], lower["accuracy_known"]) == (0.0, 0.0, None)
    posture = rows["posture", None]
    assert posture["balanced_accuracy"] == 1.0
    assert posture["per_class"]["lying"] == {"n": 4, "recall": 1.0, "answered": {"lying": 4}}


def test_nobody_matches_both_ways(folder: Path) -> None:
    (row,) = [r for r in _rows(folder) if r["protocol"] == "nobody matches"]
    assert (row["right_matches"], row["right_nobody"]) == (1.0, 1.0)
    assert row["n_true"] == row["n_false"] == 8
    assert row["auc"] == 1.0
    assert {k: v["n"] for k, v in row["right_nobody_by_slot"].items()}["color"] > 0


def test_falsified_sentences_name_what_is_nowhere(folder: Path) -> None:
    gallery = describe_all(read_records(folder), look, evidence)
    pairs = nobody.falsified(gallery, seed=3)
    assert pairs == nobody.falsified(gallery, seed=3) != nobody.falsified(gallery, seed=4)
    for true, false, kind in pairs:
        changed = [(a, b) for a, b in zip(true.split(), false.split(), strict=True) if a != b]
        assert len(changed) == 1
        old, new = changed[0]
        if kind == "color":
            assert old in PAINT and new in COLORS and new not in PAINT
        else:
            assert old in POSTURES and new not in POSTURES


def test_a_doing_is_absent_when_no_word_of_it_is_there() -> None:
    rng = np.random.default_rng(0)
    found = {
        nobody.swapped_action("a man walking off", "brown trousers, a trip, she dances", rng)
        for _ in range(300)
    }
    said = {str(f).split()[2] for f in found}
    assert "running" in said and not {"falling", "dancing", "walking"} & said
    assert nobody.swapped_action("a man in red", "", rng) is None


def test_where_every_colour_is_worn_an_absent_pair_is_swapped_in() -> None:
    worn = [
        {"upper": frozenset({u}), "lower": frozenset({w})} for u, w in zip(COLORS, COLORS[::-1], strict=True)
    ]
    record = Record("a.png", "a", (), facts={"upper.color": "red", "lower.color": COLORS[8]})
    text = f"a man in a red jacket and {COLORS[8]} trousers"
    assert COLORS[3] == "red"
    swapped = {nobody.swapped_pair(record, text, worn, np.random.default_rng(i)) for i in range(60)}
    assert None not in swapped and text not in swapped
    for found in swapped:
        words = str(found).split()
        pair = (words[4], words[-2])
        assert pair not in {(u, w) for u, w in zip(COLORS, COLORS[::-1], strict=True)}
        assert (pair[0] == "red") != (pair[1] == COLORS[8])
    bare = Record("a.png", "a", (), facts={"upper.color": "red"})
    assert nobody.swapped_pair(bare, text, worn, np.random.default_rng(0)) is None


def test_a_doing_of_nobody_dressed_alike_may_be_swapped_in() -> None:
    everywhere = " ".join(s.split("|")[0] for s in nobody.ACTION_POOL.values())
    rng = np.random.default_rng(0)
    assert nobody.swapped_action("a man walking", everywhere, rng) is None
    assert (
        nobody.swapped_action("a man walking", everywhere, rng, [everywhere.replace("crawl", "")])
        == "a man crawling"
    )


def test_twins_and_slots(folder: Path) -> None:
    rows = _rows(folder)
    twins = {r["queries"]: r for r in rows if r["protocol"] == "twins"}
    assert (twins["all"]["n"], twins["all"]["right"], twins["all"]["people"]) == (16, 16, 4)
    slots = {r["slot"]: r for r in rows if r["protocol"] == "slots"}
    assert slots["upper color"]["true_matched"] == slots["posture"]["true_matched"] == 16
    assert slots["unread"]["not_first"] == 0


def test_a_blind_describer_is_at_chance_or_below(folder: Path) -> None:
    def blind(frame: Frame, box: Box | None) -> list[Entry]:
        return [bare(Facts(SCHEMA_ID, np.full(len(ATOMS), 0.1, np.float32), np.zeros(len(ATOMS), bool)))]

    rows = run_search_bench(folder, look=blind, language=Toy(), evidence=evidence)
    (row,) = [
        r for r in rows if r.get("default") and r["protocol"] == "text to picture" and r["queries"] == "all"
    ]
    assert (row["R@1"], row["mAP"]) == (0.0, pytest.approx(12.5))
    assert [r["right"] for r in rows if r["protocol"] == "twins"] == [0, 0, 0]
    slots = {r["slot"]: r for r in rows if r["protocol"] == "slots"}
    assert slots["posture"]["true_unknown"] == 16 and slots["unread"]["not_first"] == 16


def test_sentences_that_are_refused_count_as_wrong(folder: Path) -> None:
    lines = (folder / "records.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["caption"] = ["???"]
    (folder / "records.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]))
    (row,) = [r for r in _rows(folder) if r.get("default") and r.get("queries") == "short" and "R@1" in r]
    assert (row["refused"], row["n_queries"]) == (1, 8)
    assert row["R@1"] == pytest.approx(100 * 7 / 8)


def test_depth_keeps_the_rest_behind(folder: Path) -> None:
    rows = _rows(folder, depth=1)
    (row,) = [r for r in rows if r.get("default") and r.get("queries") == "all" and "R@1" in r]
    assert row["R@1"] == 100.0


def test_only_coarse_when_asked_and_unknown_stages(folder: Path) -> None:
    rows = _rows(folder, stages=["coarse"])
    assert {tuple(r["stages"]) for r in rows if r.get("stages") and r["protocol"] == "text to picture"} == {
        ("coarse",)
    }
    with pytest.raises(InputError, match="magic"):
        _rows(folder, stages=["magic"])
    (folder / "records.jsonl").write_text('{"image": "red-lying.png"}')
    with pytest.raises(InputError, match="caption"):
        _rows(folder)


@pytest.mark.parametrize(
    ("words", "strict", "lenient"),
    [
        ("navy", {"blue"}, {"blue", "black", "grey"}),
        ("dark gray", {"grey"}, {"blue", "black", "grey"}),
        ("black and white", {"black", "white"}, {"blue", "black", "grey", "white"}),
        ("light blue", {"blue"}, {"blue"}),
        ("dark red", {"red"}, {"red"}),
        ("striped", set(), set()),
    ],
)
def test_colors_that_answer_an_annotation(words: str, strict: set[str], lenient: set[str]) -> None:
    assert facts.accepted_colors(words) == strict
    assert facts.accepted_colors(words, lenient=True) == lenient


def test_annotations_nested_flat_and_absent() -> None:
    assert facts.annotated({"upper": {"color": "Red"}}, "upper.color") == "red"
    assert facts.annotated({"upper.color": ["red", "blue"]}, "upper.color") == "red and blue"
    assert facts.annotated({"posture": "unknown"}, "posture") is None
    assert facts.annotated({"upper": "red"}, "upper.color") is None


def test_histogram_sees_the_box_only() -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, 10:] = baselines.PROTOTYPES["red"]
    red = list(baselines.PROTOTYPES).index("red")
    assert baselines.color_histogram(pixels)[red] == pytest.approx(0.5)
    assert baselines.color_histogram(pixels, Box(10, 0, 20, 20))[red] == 1.0
    assert baselines.color_histogram(pixels, Box(500, 500, 600, 600)).sum() == pytest.approx(1)
    assert baselines.histogram_scores("a person", np.zeros((3, 12))).tolist() == [0, 0, 0]


def test_lengths() -> None:
    assert length_of("man in a red coat") == "short"
    assert length_of("word " * 15) == "long"


class Painter:
    """A dual encoder that knows red, green and blue."""

    id, dim = "painter", 3

    def encode_images(self, frames):
        means = np.stack([np.asarray(f).reshape(-1, 3).mean(0) for f in frames]).astype(np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_texts(self, texts):
        return np.array([[c in t for c in ("red", "green", "blue")] for t in texts], np.float32)


def test_a_dual_encoder_is_measured_on_the_boxes(tmp_path):
    from oddwatch.bench.search import dual_matrix
    from oddwatch.datasets.records import read_records

    lines = []
    for i, color in enumerate([(255, 0, 0), (0, 0, 255)]):
        picture = np.full((40, 40, 3), (0, 255, 0), np.uint8)
        picture[10:30, 10:20] = color
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        words = ["a red one", "a blue one"][i]
        lines.append(
            json.dumps({"image": f"{i}.png", "image_id": str(i), "caption": [words], "box": [10, 10, 20, 30]})
        )
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    asked = [("a red one", "0"), ("a blue one", "1")]
    scores = dual_matrix(Painter(), read_records(tmp_path), asked)
    assert np.allclose(scores, np.eye(2), atol=1e-4)
