"""Detection over a toy encoder: ranking, thresholds from normal pictures, files, saved detectors, odd input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oddwatch as ow
from oddwatch.core import Finding, InputError, MissingExtra, ModelError
from oddwatch.detectors import DEFAULT
from oddwatch.detectors.image.subspace import SubspaceAD
from oddwatch.pipeline import detect as module
from oddwatch.pipeline.calibrate import Tally, calibrate, slight_copies
from oddwatch.pipeline.detect import detect, located, robust_bound
from oddwatch.pipeline.detect_files import PictureFiles, find_pictures
from oddwatch.pipeline.detect_out import Album, Folder
from oddwatch.pipeline.detect_setup import DetectOptions
from oddwatch.pipeline.remember import Remembering, digest
from oddwatch.report.heat import Scale


def write(folder: Path, pictures: list[np.ndarray], name: str = "p") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{name}{i:02d}.png")
    return folder


@pytest.fixture
def parts(tmp_path, plates) -> Path:
    """``good/``: 12 plates; ``parts/``: 5 more of them and 3 stained ones."""
    write(tmp_path / "good", plates(12, 1))
    write(tmp_path / "parts", plates(5, 2), "ok")
    write(tmp_path / "parts", plates(3, 3, odd=True), "stained")
    return tmp_path


@pytest.fixture
def options(toy_eyes):
    def make(**given):
        given.setdefault("method", "subspace")
        given.setdefault("arguments", {"rotations": 0} if given["method"] == "subspace" else {})
        return DetectOptions(encoder=toy_eyes(), **given)

    return make


@pytest.fixture
def run(parts, options):
    def make(pictures="parts", normal="good", saved=None, save_to=None, out=None, html=None, **given):
        return detect(
            parts / pictures, None if normal is None else parts / normal, options=options(**given),
            detector=saved, save_to=save_to, out=out, html=html,
        )  # fmt: skip

    return make


def stained(report) -> set[str]:
    return {Path(f.source).stem for f in report.findings}


def test_stained_plates_are_told_first_and_say_where(run, parts, plates):
    report = run()
    assert [s.rank for s in report.scores] == list(range(1, 9))
    assert {Path(s.source).stem for s in report.scores[:3]} == {"stained00", "stained01", "stained02"}
    assert stained(report) >= {"stained00", "stained01", "stained02"}
    pictures = {f"stained{i:02d}": p for i, p in enumerate(plates(3, 3, odd=True))}
    for finding in report.findings[:3]:
        assert isinstance(finding, Finding) and finding.task == "image"
        red = pictures[Path(finding.source).stem].astype(int)
        ys, xs = np.nonzero(red[..., 0] - red[..., 1] > 80)
        x, y = finding.box.center
        assert xs.min() - 12 <= x <= xs.max() + 12 and ys.min() - 12 <= y <= ys.max() + 12
        region = finding.regions[0]
        assert region.mask.shape == (int(region.box.height), int(region.box.width)) and region.mask.any()
        assert finding.probability == pytest.approx(12 / 13) and 0 < finding.severity < 1
        assert region.label in finding.reason and "times as far from normal" in finding.reason
    assert report.calibration.how == "leave-one-out" and len(report.calibration.scores) == 12
    assert report.threshold.rule == "predicted"


def test_a_looser_rate_lowers_the_threshold_and_a_given_one_holds(run):
    strict, loose = run(rate=0.001), run(rate=0.3)
    assert loose.threshold.value < strict.threshold.value and loose.threshold.rule == "counted"
    assert len(loose.findings) >= len(strict.findings)
    assert [s.source for s in loose.scores] == [s.source for s in strict.scores]
    given = run(threshold=1e9)
    assert given.findings == [] and given.threshold.rule == "given" and given.scores[0].severity == 0


def test_files_hold_every_picture_and_the_masks_of_findings(run, tmp_path):
    report = run(out=tmp_path / "out", html=tmp_path / "out" / "page.html")
    for row in report.scores:
        assert Image.open(tmp_path / "out" / row.heatmap).size == (96, 96)
    for finding in report.findings:
        row = next(s for s in report.scores if s.source == finding.source)
        mask = np.asarray(Image.open(tmp_path / "out" / row.mask))
        assert mask.shape == (96, 96) and mask.any() and not mask.all()
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open(encoding="utf-8")))
    assert [r["source"] for r in rows] == [s.source for s in report.scores]
    assert sum(int(r["above"]) for r in rows) == len(report.findings)
    stored = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert stored == json.loads(json.dumps(report.to_json()))
    assert {"id", "task", "source", "box", "score", "probability", "severity", "reason"} <= set(
        stored["findings"][0]
    )
    assert len(stored["findings"][0]["box"]) == 4 and stored["findings"][0]["regions"][0]["area"] > 0
    page = (tmp_path / "out" / "page.html").read_text()
    assert 'href="heatmaps/' in page


@pytest.mark.parametrize("folder", ["parts/results", "parts", "."])
def test_a_second_run_does_not_judge_what_the_first_has_written(run, parts, folder):
    out = parts / folder
    for _ in range(2):
        report = run(out=out, html=out / "page.html", save_to=out)
        assert len(report.scores) == 8 and not report.skipped


def test_a_saved_detector_gives_the_same_scores_at_another_rate(run, tmp_path, toy_eyes):
    fresh = run(save_to=tmp_path / "kept")
    again = run(normal=None, saved=tmp_path / "kept", rate=0.3)
    assert [s.source for s in again.scores] == [s.source for s in fresh.scores]
    np.testing.assert_allclose([s.score for s in again.scores], [s.score for s in fresh.scores], rtol=1e-5)
    assert again.threshold.value < fresh.threshold.value
    with pytest.raises(ModelError, match="no name"):
        detect(tmp_path / "parts", detector=tmp_path / "kept")
    (tmp_path / "kept" / "calibration.json").write_text("{}")
    with pytest.raises(ModelError, match="not a detector"):
        run(normal=None, saved=tmp_path / "kept")


def test_normals_are_learnt_in_addition(run, parts, plates, tmp_path):
    run(save_to=tmp_path / "kept")
    write(parts / "more", plates(6, 9))
    more = run(normal="more", saved=tmp_path / "kept", save_to=tmp_path / "both")
    assert len(more.calibration.scores) == 18 and any("in addition" in n for n in more.notes)
    whole = run(normal=None, saved=tmp_path / "both")
    assert len(whole.calibration.scores) == 18
    np.testing.assert_allclose([s.score for s in whole.scores], [s.score for s in more.scores], rtol=1e-5)


def test_a_method_without_maps_gives_scores_only(run, tmp_path):
    report = run(method="mvg", out=tmp_path / "out", html=tmp_path / "page.html")
    assert report.scale is None and all(s.heatmap is None for s in report.scores)
    assert all(f.box is None and not f.regions for f in report.findings)
    assert stained(report) >= {"stained00", "stained01", "stained02"}
    assert all("as a whole" in f.reason for f in report.findings)


def test_a_batch_judges_itself(run):
    alone = run(method="musc", normal=None)
    assert {Path(s.source).stem for s in alone.scores[:3]} == {"stained00", "stained01", "stained02"}
    assert alone.threshold.rule == "assumed" and any("nobody said" in n for n in alone.notes)
    assert all(s.probability is None for s in alone.scores)
    beside = run(method="musc")
    assert beside.calibration.how == "batch" and len(beside.calibration.scores) == 12
    assert beside.findings[0].probability == pytest.approx(12 / 13)
    with pytest.raises(InputError, match="learns nothing"):
        run(method="musc", save_to="anywhere")


def test_bad_files_are_skipped_and_told(run, parts):
    (parts / "parts" / "torn.png").write_bytes((parts / "parts" / "ok00.png").read_bytes()[:200])
    (parts / "parts" / "notes.txt").write_text("remember the milk")
    (parts / "good" / "empty.png").write_bytes(b"")
    report = run()
    assert len(report.scores) == 8 and len(report.calibration.scores) == 12
    assert {Path(path).name for path, _ in report.skipped} == {"torn.png", "notes.txt", "empty.png"}


def test_odd_kinds_of_pictures_are_judged(run, parts, plates):
    base = plates(1, 5)[0]
    grey = Image.fromarray(base).convert("L")
    grey.save(parts / "parts" / "grey.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(parts / "parts" / "deep.png")
    Image.fromarray(base).convert("CMYK").save(parts / "parts" / "print.jpg", quality=98)
    Image.fromarray(np.dstack([base, np.full(base.shape[:2], 255, np.uint8)])).save(
        parts / "parts" / "clear.png"
    )
    Image.fromarray(np.tile(base, (2, 3, 1))).save(parts / "parts" / "wide.png")
    report = run()
    assert len(report.scores) == 13 and np.isfinite([s.score for s in report.scores]).all()
    found = {Path(s.source).stem: s for s in report.scores}
    assert found["deep"].score == pytest.approx(found["grey"].score, rel=1e-3)
    assert (found["wide"].width, found["wide"].height) == (288, 192)


def test_one_normal_only_works_and_says_so(run, parts, plates):
    write(parts / "one", plates(1, 1))
    report = run(normal="one")
    assert report.calibration.how == "copies" and any("one normal picture only" in n for n in report.notes)
    assert {Path(s.source).stem for s in report.scores[:3]} == {"stained00", "stained01", "stained02"}


def test_identical_normals_count_once(run, parts, plates):
    write(parts / "same", plates(1, 1) * 5)
    report = run(normal="same")
    assert report.calibration.how == "copies" and any("same pixels" in n for n in report.notes)
    assert np.isfinite([s.score for s in report.scores]).all()
    write(parts / "flat", [np.full((40, 40, 3), 128, np.uint8), np.full((50, 40, 3), 128, np.uint8)])
    flat = run(normal="flat")
    assert np.isfinite([s.margin for s in flat.scores]).all() and len(flat.findings) == 8


def test_a_stained_plate_among_the_normals_is_told(run, parts, plates):
    write(parts / "good", plates(1, 8, odd=True), "bad")
    report = run()
    assert report.calibration.odd == (str(parts / "good" / "bad00.png"),)
    assert any("bad00.png" in n and "take them out" in n for n in report.notes)
    assert report.calibration.without_odd(0.01).value < report.threshold.value


def test_the_check_draws_defects_on_pictures_left_out(run):
    report = run(check=12)
    assert report.check.drawn == 12 == sum(n for _, n in report.check.kinds.values())
    assert 0 <= report.check.found <= report.check.caught <= 12
    assert report.check.caught <= run(check=12, threshold=report.calibration.usual).check.caught >= 4
    assert f"of 12 defects drawn on normal pictures {report.check.caught}" in report.check.in_words()
    assert run(check=12).check == report.check


def test_normals_inside_the_judged_folder_are_left_out(parts, options):
    report = detect([parts], parts / "good", options=options())
    assert len(report.scores) == 8 and any("12 pictures are among" in n for n in report.notes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pictures": "good"}, "the same as the normal"),
        ({"pictures": "nowhere"}, "no picture was found"),
        ({"normal": "nowhere"}, "no normal picture"),
        ({"normal": None}, "no normal picture"),
        ({"method": "magic"}, "one of: "),
        ({"arguments": {"magic": 1}}, "not known to subspace"),
        ({"rate": 0.0}, "rate"),
        ({"folds": 1}, "folds"),
        ({"check": -1}, "check"),
        ({"threshold": float("nan")}, "finite"),
        ({"layers": ("block_99",)}, "block_99"),
    ],
)
def test_wrong_input_is_told(run, given, words):
    with pytest.raises((InputError, KeyError, ValueError), match=words):
        run(**given)


def test_only_unreadable_pictures_are_no_result(run, parts):
    (parts / "torn").mkdir()
    (parts / "torn" / "a.png").write_bytes((parts / "parts" / "ok00.png").read_bytes()[:200])
    with pytest.raises(InputError, match=r"a\.png"):
        run(pictures="torn")


def test_an_extra_that_is_missing_is_named(run, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"oddwatch\[torch\]"):
        run(method="dictas", arguments={})


def test_a_stopped_run_leaves_what_it_has_judged(run, parts, monkeypatch, tmp_path, plates):
    write(parts / "parts", plates(12, 7), "more")
    real, calls = SubspaceAD.score, []

    def stops(self, items):
        calls.append(len(items))
        if len(items) == 8 and calls.count(8) == 2:
            raise KeyboardInterrupt
        return real(self, items)

    monkeypatch.setattr(SubspaceAD, "score", stops)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open(encoding="utf-8")))
    assert len(rows) == 8 and len(list((tmp_path / "out" / "heatmaps").glob("*.png"))) == 8 + 1


def test_fitting_apart_equals_fitting_again(plates, toy_eyes):
    normal, odd = plates(6, 1), plates(2, 3, odd=True)
    folds = [np.array([0, 4]), np.array([1, 2]), np.array([3, 5])]
    for rotations in (0, 2):
        whole = SubspaceAD(encoder=toy_eyes(), rotations=rotations)
        for fold, apart in zip(folds, whole.fit_apart(normal, folds), strict=True):
            rest = [p for i, p in enumerate(normal) if i not in fold]
            again = SubspaceAD(encoder=toy_eyes(), rotations=rotations).fit(rest)
            np.testing.assert_allclose(apart.score(odd).values, again.score(odd).values, rtol=1e-3)
        plain = SubspaceAD(encoder=toy_eyes(), rotations=rotations).fit(normal)
        np.testing.assert_allclose(whole.score(odd).values, plain.score(odd).values, rtol=1e-3)


def test_a_normal_left_out_scores_higher_than_a_learnt_one(plates, toy_eyes):
    detector, stain = SubspaceAD(encoder=toy_eyes(), rotations=0), plates(1, 3, odd=True)
    normal = [*plates(4, 1), *stain]
    known, _ = calibrate(detector, normal, list("abcde"), list("abcde"))
    assert known.scores.max() > 1.5 * detector.score(stain).values[0] and known.odd == ("e",)
    halves, _ = calibrate(detector, normal, list("abcde"), list("abcde"), folds=2)
    assert halves.how == "2 folds" and len(halves.scores) == 5


class Counting:
    """Counts what is really looked at."""

    def __init__(self, inner):
        self.inner, self.id, self.dim, self.looks = inner, inner.id, inner.dim, 0

    def encode(self, frames, layers=("last",)):
        self.looks += len(frames)
        return self.inner.encode(frames, layers)


def test_an_encoder_that_remembers_looks_once_and_says_the_same(plates, toy_eyes):
    pictures, plain = [ow.Frame(p) for p in plates(5, 1)], Counting(toy_eyes())
    memory = Remembering(plain)
    for items in (pictures, pictures[::-1], pictures[1:3]):
        seen, fresh = memory.encode(items, ("block_2",)), toy_eyes().encode(items, ("block_2",))
        np.testing.assert_array_equal(seen.layers["block_2"], fresh.layers["block_2"])
        np.testing.assert_array_equal(seen.cls, fresh.cls)
        assert seen.grid == fresh.grid and np.array_equal(seen.scale, fresh.scale)
    assert plain.looks == 5 and memory.id == plain.id
    assert memory.encode([], ("block_2",)).cls.shape[0] == 0
    memory.encode(pictures, ("last",))
    assert plain.looks == 10
    memory.forget()
    memory.encode(pictures, ("last",))
    assert plain.looks == 15


def test_a_full_memory_gives_up_copies_first_and_never_passes_its_limit(plates, toy_eyes):
    plain = Counting(toy_eyes())
    one = toy_eyes().encode(plates(1, 1))
    memory = Remembering(plain, most=3 * int(one.cls.nbytes + one.layers["last"].nbytes))
    copies, pictures = plates(4, 1), [ow.Frame(p) for p in plates(2, 2)]
    memory.encode(copies)
    memory.encode(pictures)
    memory.encode(pictures)
    assert plain.looks == 6 and memory.used <= memory.most
    memory.encode(copies)
    assert plain.looks == 6 + 3


def test_digests_tell_content_and_shape():
    a = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert digest(a) == digest(a.copy()) == digest(ow.Frame(a)) != digest(a.reshape(1, 4, 3))


def test_slight_copies_are_slight_and_settled_by_the_seed(plates):
    picture = plates(1, 1)[0]
    first = list(slight_copies(picture, 3, np.random.default_rng(0)))
    again = list(slight_copies(picture, 3, np.random.default_rng(0)))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for one in first:
        far = np.abs(one.astype(int) - picture).mean()
        assert one.shape == picture.shape and 0.5 < far < 30


def test_regions_of_a_told_picture_reach_the_mark_or_the_best_place():
    one = np.zeros((50, 50), np.float32)
    one[10:20, 10:20] = 0.7
    one[12, 12] = 1.2
    scale = Scale(0.2, 1.0)
    (region,) = located(one, scale, (100, 100), 0.0002)
    assert region.box.as_list() == [20, 20, 40, 40]
    one[12, 12] = 0.8
    (weaker,) = located(one, scale, (100, 100), 0.0002)
    assert weaker.box == region.box
    assert located(np.full((50, 50), 0.1, np.float32), scale, (100, 100), 0.0002) == []


def test_a_robust_bound_is_not_moved_by_a_few_strays():
    scores = np.random.default_rng(0).normal(10, 1, 200)
    strays = np.concatenate([scores, np.full(20, 1e6)])
    assert 11.5 < robust_bound(scores, 0.01) < 13.5 and 11.5 < robust_bound(strays, 0.01) < 14
    assert robust_bound(np.full(5, 2.0), 0.01) > 2.0


def test_file_names_are_safe_and_unlike_one_another(tmp_path):
    folder = Folder(tmp_path / "out")
    names = [
        folder.name(s) for s in ("/a/b/c.png", "/x/b/c.png", "/a/b/C.jpg", "/a/b/ü ?.png", "..", "scale.png")
    ]
    assert len({n.casefold() for n in names}) == 6 and "scale" not in names
    assert all("/" not in n and not n.startswith(".") for n in names) and names[0] == "b-c"


def test_an_album_keeps_the_most_anomalous(plates):
    album = Album(2)
    for i, (score, pixels) in enumerate(zip([1.0, 3.0, 2.0, 3.0], plates(4, 1), strict=True)):
        album.add(f"p{i}", score, pixels, None, None)
    assert set(album.shots()) == {"p1", "p3"}


def test_a_tally_samples_maps_and_counts_peaks():
    tally = Tally()
    tally.add(
        np.array([1.0, 2.0]), np.stack([np.zeros((200, 200), np.float32), np.eye(200, dtype=np.float32)])
    )
    known = tally.calibration("folds")
    assert known.peaks.tolist() == [0.0, 1.0] and 0 <= known.low <= 1 and known.usual == 1.5
    assert Tally.calibration(_with_scores(), "folds").scale(0.1) is None


def _with_scores() -> Tally:
    tally = Tally()
    tally.add(np.array([1.0]), None)
    return tally


def test_files_are_read_when_asked_for_and_kept_up_to_a_limit(parts, monkeypatch):
    from oddwatch.pipeline import detect_files

    reads, real = [], detect_files.read_picture
    monkeypatch.setattr(detect_files, "read_picture", lambda path: reads.append(path) or real(path))
    paths = sorted((parts / "good").glob("*.png"))[:4]
    files = PictureFiles(paths, keep=2 * 96 * 96 * 3)
    assert len(files) == 4 and not reads
    for _ in range(2):
        assert [f.source for f in files[1:]] == [str(p) for p in paths[1:]]
    assert files[-1].source == str(paths[3]) and len(reads) == 3 + 1 + 1
    with pytest.raises(IndexError):
        files[4]


def test_videos_and_archives_are_named_as_such(tmp_path, plates):
    import zipfile

    write(tmp_path / "in", plates(1, 1))
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as packed:
        packed.writestr("x.txt", "x")
    found = find_pictures(tmp_path / "in", None)
    assert len(found.pictures) == 1 and "unpack" in found.skipped[0][1]


def test_the_public_function_takes_options_by_name(parts, toy_eyes):
    report = ow.detect(parts / "parts", normal=parts / "good", encoder=toy_eyes(), arguments={"rotations": 0})
    assert isinstance(report, ow.DetectReport) and len(report.scores) == 8
    assert report.method == DEFAULT["image"] and stained(report) >= {"stained00", "stained01", "stained02"}
    with pytest.raises(InputError, match="one of: method"):
        ow.detect(parts / "parts", normal=parts / "good", magic=True)
    assert module.detect is detect
