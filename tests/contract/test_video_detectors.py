"""Every detector of video over drawn notes: direction, nothing changed by scoring, seeds, files, odd input."""

from __future__ import annotations

import importlib.util
import json
import sys
import zlib
from dataclasses import fields, replace

import numpy as np
import pytest

from oddwatch.core import InputError, MissingExtra, ModelError, resolve
from oddwatch.detectors import CARDS, DETECTORS, kept
from oddwatch.detectors.video import base
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.detectors.video.watching import THINGS, WANTED

HAS_TORCH = importlib.util.find_spec("torch") is not None
VIDEO = sorted(name for name in DETECTORS if CARDS[name].modality == "video")
FPS, SECONDS, HEIGHT, WIDTH, WALKERS = 10, 11, 120, 160, 3
ODD = (5.0, 8.0)
"""Seconds of an odd clip in which something happens."""


class WordBag:
    """A sentence encoder in a line: each word is a direction, drawn by its name."""

    id, dim = "toy/words", 64

    def encode(self, texts):
        rows = np.array([sum(map(self._word, t.lower().strip(".").split())) for t in texts], np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    def _word(self, word):
        return np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.dim)


TOY: dict[str, dict[str, object]] = {
    "mulde": {"steps": 40, "hidden": (16,), "looks": 4},
    "stg-nf": {"least": 20, "most": 20, "blocks": 2, "window": 12, "batch": 64, "stride": 12, "lr": 1e-2},
    "ffp": {"steps": 25, "base": 2, "levels": 2, "batch": 4},
    "sultani": {"steps": 80, "batch": 6},
    "rtfm": {"steps": 40, "batch": 6, "branch": 8},
    "ur-dmu": {"steps": 40, "batch": 6, "width": 32, "depth": 1, "slots": 8, "hidden": 16, "lr": 2e-3},
    "lavad": {"seconds": 2.0},
    "vera": {"seconds": 2.0, "width": 3, "sigma": 1.0, "epochs": 1},
    "trlc": {"seconds": 2.0},
}  # fmt: skip
"""Arguments that make a method small enough for these tests, or fit for clips of seconds, where its defaults are not."""


# -- drawn notes -------------------------------------------------------------------------------------------------------


def drawn(seed: int, odd: bool = False, frames: int = FPS * SECONDS, encoder: str = "toy/8") -> Notes:
    """Three people walk to and fro; in an odd clip one runs, flails and looks like nobody else for three seconds."""
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / FPS
    looked = np.arange(0, frames, 5)
    event = (times >= ODD[0]) & (times < ODD[1]) & odd
    return Notes(
        f"{'odd' if odd else 'calm'} {seed}", (HEIGHT, WIDTH), times, _motion(times, event, rng),
        _objects(times, looked, event, rng), looked, *_tokens(looked, event, rng), (2, 2),
        tuple(_caption(bool(event[i]), int(i) // 5 + seed) for i in looked), encoder, _small(times, event, rng),
    )  # fmt: skip


def _motion(times: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An even drift of half the cells; in the event a cell in the middle that turns about at every frame."""
    motion = np.zeros((len(times), 6, 8, 4))
    motion[:, 3:, :, 1] = 0.1 + rng.normal(0, 0.005, (len(times), 3, 8))
    motion[..., 3] = 0.01
    motion[event, 4, 3:5, 1] = (np.where(np.arange(len(times)) % 2, 1.0, -1.0)[event])[:, None]
    motion[event, 4, 3:5, 3] = 0.3
    motion[..., 0] = np.hypot(motion[..., 1], motion[..., 2])
    motion[0] = 0
    return motion.astype(np.float16)


def _objects(times: np.ndarray, looked: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> Objects:
    """At looks people with poses and vectors, else moving things; 40 pixels high, 15 pixels a second."""
    rows: list[tuple] = []
    phase, way = rng.uniform(0, 2, WALKERS), np.array([1, -1, 1])
    along = np.zeros(WALKERS)
    for i, t in enumerate(times):
        for who in range(WALKERS):
            wild = bool(event[i]) and who == 0
            along[who] += (90 if wild else 15) / FPS
            foot = np.array([80 + way[who] * (along[who] % 60 - 30), 70 + 20 * who + rng.normal(0, 0.2)])
            person = i in looked
            box = [foot[0] - 8, foot[1] - 40, foot[0] + 8, foot[1]]
            speed = np.zeros(8)
            speed[0 if way[who] > 0 else 4] = (0.75 if wild else 0.125) + rng.normal(0, 0.005)
            pose, deep = np.full((17, 3), np.nan), np.full(8, np.nan)
            if person:
                pose, deep = (
                    _pose(foot, t + phase[who], wild, rng),
                    np.eye(8)[5 if wild else 0] + rng.normal(0, 0.05, 8),
                )
            track = who + 1 if person else THINGS + who
            rows.append(
                (i, box, track, person, 0.9 if person else 1.0, pose, speed if i else speed * np.nan, deep)
            )
    kinds = (np.int64, np.float32, np.int64, bool, *[np.float32] * 4)
    return Objects(
        *(np.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True))
    )


def _pose(foot: np.ndarray, t: float, wild: bool, rng: np.random.Generator) -> np.ndarray:
    """A stick figure whose legs and arms swing once a second, or with limbs and head anywhere."""
    swing = np.sin(2 * np.pi * t) * 6
    x = np.array([0, -1, 1, -2, 2, -5, 5, -6, 6, -6 + swing / 2, 6 - swing / 2, -3, 3, -3, 3, -swing, swing])
    y = np.array([38, 39, 39, 38, 38, 32, 32, 25, 25, 19, 19, 18, 18, 9, 9, 0, 0.0])
    if wild:
        x, y = rng.uniform(-16, 16, 17), rng.uniform(0, 40, 17)
    points = np.stack([foot[0] + x, foot[1] - y], 1) + rng.normal(0, 0.2, (17, 2))
    return np.concatenate([points, np.full((17, 1), 0.9)], 1)


def _tokens(looked: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> tuple:
    base_ = np.where(event[looked, None], np.eye(8)[5], np.eye(8)[0])
    cls = base_ + rng.normal(0, 0.05, base_.shape)
    layer = base_[:, None] + rng.normal(0, 0.05, (len(looked), 4, 8))
    return cls.astype(np.float16), {"block_9": layer.astype(np.float16)}


def _caption(odd: bool, number: int) -> str:
    calm = ("People are walking.", "People are standing and talking.", "A person is walking.")
    wild = ("A person is punching someone.", "A person is fighting.", "A person is attacking someone.")
    return (wild if odd else calm)[number % 3]


def _small(times: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey bar that moves on by a pixel a frame; in the event a patch of noise."""
    small = np.full((len(times), 24, 32), 90.0)
    for i in range(len(times)):
        small[i, 8:20, i % 32] = 170
    small[event, 6:18, 8:20] = rng.uniform(0, 255, (int(event.sum()), 12, 12))
    return (small + rng.normal(0, 1, small.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def footage():
    """Six calm and six odd clips to learn from, four and four to score."""
    return {
        "learn": [drawn(s) for s in range(6)],
        "odd": [drawn(s, odd=True) for s in range(20, 26)],
        "calm test": [drawn(s) for s in range(40, 44)],
        "odd test": [drawn(s, odd=True) for s in range(60, 64)],
    }


def built(name: str):
    if "extra torch" in CARDS[name].needs and not HAS_TORCH:
        pytest.skip("needs torch")
    return kind_of(name)(**TOY.get(name, {}), **passed(name))


def kind_of(name: str):
    return resolve(DETECTORS, name, "detector")


def passed(name: str) -> dict[str, object]:
    """A toy sentence encoder for those that take one."""
    return {"sentences": WordBag()} if "sentences" in {f.name for f in fields(kind_of(name))} else {}


def taught(name: str, footage):
    detector = built(name)
    if detector.LABELS:
        return detector.fit([*footage["learn"], *footage["odd"]], [0] * 6 + [1] * 6)
    return detector.fit(footage["learn"])


@pytest.fixture(scope="module")
def toys(footage):
    """``toys(name)``: the detector, fitted at toy size; made once a name."""
    made = {}

    def make(name: str):
        if name not in made:
            made[name] = taught(name, footage)
        return made[name]

    return make


def same(a: Notes, b: Notes) -> bool:
    def arrays(n: Notes) -> list[np.ndarray]:
        own = [getattr(n.objects, f.name) for f in fields(Objects)]
        return [n.times, n.motion, n.looked, n.cls, n.small, *n.tokens.values(), *own]

    pairs = zip(arrays(a), arrays(b), strict=True)
    return a.captions == b.captions and all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs
    )


# -- the contract ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEO)
def test_odd_clips_score_higher_and_while_they_are_odd(name, toys, footage):
    calm, odd = (toys(name).score(footage[kind]).values for kind in ("calm test", "odd test"))
    assert np.isfinite([calm, odd]).all() and calm.dtype == np.float64
    assert (odd[:, None] > calm).mean() > 0.9, f"{name}: {calm} against {odd}"
    for notes in footage["odd test"]:
        curve = toys(name).curve(notes)
        inside = (notes.times >= ODD[0]) & (notes.times < ODD[1])
        assert curve.values[inside].mean() > curve.values[~inside].mean()


@pytest.mark.parametrize("name", VIDEO)
def test_a_curve_has_a_value_a_frame_and_places_inside_the_picture(name, toys, footage):
    notes = footage["odd test"][0]
    curve = toys(name).curve(notes)
    assert curve.name == notes.name and np.array_equal(curve.times, notes.times)
    assert curve.values.dtype == np.float64 and curve.cues
    assert all(np.isfinite(values).all() for values in curve.cues.values())
    index = [place.index for place in curve.places]
    assert index == sorted(index) and set(index) <= set(range(len(notes)))
    for place in curve.places:
        assert place.cue in curve.cues and np.isfinite(place.score)
        assert place.track is None or place.track >= 0
        if place.box is not None:
            x, y = place.box.center
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    json.dumps(curve.to_json())


@pytest.mark.parametrize("name", VIDEO)
def test_one_by_one_equals_all_at_once_unless_the_card_says_so(name, toys, footage):
    if CARDS[name].batch_dependent:
        pytest.skip("its card says batch_dependent")
    items = [*footage["calm test"][:2], footage["odd test"][0]]
    alone = [toys(name).score([item]).values[0] for item in items]
    np.testing.assert_allclose(toys(name).score(items).values, alone, rtol=1e-9)
    np.testing.assert_allclose(toys(name).score(items[::-1]).values[::-1], alone, rtol=1e-9)


@pytest.mark.parametrize("name", VIDEO)
def test_scoring_changes_nothing(name, toys, footage):
    detector, notes = toys(name), footage["odd test"][1]
    before, copy = {k: v.copy() for k, v in detector.state().items()}, drawn(61, odd=True)
    first = detector.curve(notes)
    assert np.array_equal(first.values, detector.curve(notes).values)
    after = detector.state()
    assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k]) for k in before)
    assert same(notes, copy)


@pytest.mark.parametrize("name", VIDEO)
def test_equal_seeds_give_equal_detectors(name, toys, footage):
    items = [footage["calm test"][0], footage["odd test"][0]]
    first, again = (d.score(items).values for d in (toys(name), taught(name, footage)))
    # What is trained differs in the last bits where the machine shares out its work in another way.
    trained = "extra torch" in CARDS[name].needs
    np.testing.assert_allclose(again, first, rtol=0.02 if trained else 1e-9, atol=1e-6)


@pytest.mark.parametrize("name", VIDEO)
def test_saved_and_loaded_scores_alike(name, toys, footage, tmp_path):
    detector, items = toys(name), [footage["calm test"][0], footage["odd test"][0]]
    loaded = base.load(detector.save(tmp_path / name))
    for given, model in passed(name).items():
        assert getattr(loaded, given) is None  # models are not kept
        setattr(loaded, given, model)
    assert type(loaded) is type(detector) and loaded.arguments() == detector.arguments()
    assert loaded.fitted and loaded.encoder == detector.encoder
    np.testing.assert_allclose(loaded.score(items).values, detector.score(items).values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", VIDEO)
def test_models_that_are_handed_in_are_not_among_the_arguments(name):
    kind = kind_of(name)
    given = {f.name for f in fields(kind) if f.init and not f.metadata.get("kept", True)}
    known = {f.name for f in fields(kind) if f.init}
    arguments = kind().arguments()
    assert set(arguments) == known - given
    json.dumps(arguments)
    assert kind(**arguments).arguments() == arguments


@pytest.mark.parametrize("name", VIDEO)
def test_a_damaged_or_strange_file_is_told(name, toys, tmp_path):
    folder = toys(name).save(tmp_path / name)
    about = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps(about | {"arguments": {"zorple": 1}}))
    with pytest.raises(ModelError, match="version"):
        base.load(folder)
    (folder / "detector.json").write_text(json.dumps(about | {"sha256": "0"}))
    with pytest.raises(ModelError, match="not the file"):
        base.load(folder)
    kept.write(tmp_path / "picture", kept.Kept("mvg", {}, "", {"a": np.zeros(1)}))
    with pytest.raises(ModelError, match="no detector of video"):
        base.load(tmp_path / "picture")


@pytest.mark.parametrize("name", VIDEO)
def test_empty_input_and_a_single_frame(name, toys):
    detector = toys(name)
    assert detector.score([]).values.shape == (0,)
    empty = Notes("empty", (HEIGHT, WIDTH), np.empty(0))
    assert detector.curve(empty).values.shape == (0,) and detector.score([empty]).values.tolist() == [0]
    single = detector.curve(drawn(0, frames=1))
    assert single.values.shape == (1,) and np.isfinite(single.values).all()


@pytest.mark.parametrize("name", VIDEO)
def test_a_single_normal_clip_is_enough_where_nobody_labels(name, footage):
    detector = built(name)
    if detector.LABELS:
        pytest.skip("learns from labelled clips")
    scores = detector.fit(footage["learn"][:1]).score([footage["calm test"][0], footage["odd test"][0]])
    assert np.isfinite(scores.values).all() and scores.values[1] > scores.values[0]


@pytest.mark.parametrize("name", VIDEO)
def test_what_is_missing_is_asked_for(name, footage):
    detector, notes = built(name), footage["calm test"][0]
    if detector.NEEDS_NORMALS:
        with pytest.raises(InputError, match="fit"):
            detector.score([notes])
        with pytest.raises(InputError, match="fit"):
            detector.save("nowhere")
        with pytest.raises(InputError, match="normal"):
            detector.fit([], [] if detector.LABELS else None)
        bare = Notes("bare", (HEIGHT, WIDTH), np.arange(40) / FPS)
        with pytest.raises(InputError):
            detector.fit([bare, bare], [0, 1] if detector.LABELS else None)


@pytest.mark.parametrize("name", VIDEO)
def test_wrong_labels_are_told(name, footage):
    detector, clips = built(name), footage["learn"][:2]
    for wrong in ([0], [0, 1, 1], [0, 2]):
        with pytest.raises(InputError, match="label"):
            detector.fit(clips, wrong)
    if detector.LABELS:
        with pytest.raises(InputError, match="label"):
            detector.fit(clips)
        with pytest.raises(InputError, match="normal"):
            detector.fit(clips, [0, 0])


@pytest.mark.parametrize("name", VIDEO)
def test_notes_of_another_encoder_are_refused(name, toys, footage):
    with pytest.raises(InputError, match="fitted with toy/8"):
        toys(name).curve(drawn(0, encoder="other"))
    mixed = [footage["learn"][0], drawn(1, encoder="other")]
    with pytest.raises(InputError, match="several encoders"):
        built(name).fit(mixed, [0, 1] if toys(name).LABELS else None)


@pytest.mark.parametrize("name", VIDEO)
def test_the_card_says_what_is_needed(name):
    kind, needs = kind_of(name), CARDS[name].needs
    assert name == kind.NAME and set(kind.READS) <= {*WANTED, "cls"}
    wanted = {
        "normals": kind.NEEDS_NORMALS and not kind.LABELS,
        "labels": kind.NEEDS_NORMALS and kind.LABELS,
        "labels (optional)": kind.LABELS and not kind.NEEDS_NORMALS,
        "captions": "captions" in kind.READS,
    }
    assert {n: n in needs for n in wanted} == wanted
    assert set(needs) <= {*wanted, "extra torch", "language model (optional)"}
    assert ("language model (optional)" in needs) == ("chat" in {f.name for f in fields(kind)})


@pytest.mark.parametrize("name", VIDEO)
def test_torch_is_needed_where_the_card_says_so_and_nowhere_else(name, footage, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    detector = kind_of(name)(**TOY.get(name, {}), **passed(name))
    labels = [0, 1] if detector.LABELS else None
    clips = [footage["learn"][0], footage["odd"][0] if labels else footage["learn"][1]]
    if "extra torch" in CARDS[name].needs:
        with pytest.raises(MissingExtra, match="torch"):
            detector.fit(clips, labels)
    else:
        assert np.isfinite(detector.fit(clips, labels).score(clips).values).all()


@pytest.mark.parametrize("name", VIDEO)
def test_what_was_not_noted_gives_no_number_out_of_nothing(name, toys, footage):
    """A clip without what the method reads: a clear error, or a curve without a peak as high as an odd clip's."""
    bare = Notes("bare", (HEIGHT, WIDTH), np.arange(40) / FPS)
    try:
        values = toys(name).curve(bare).values
    except InputError:
        return
    assert np.isfinite(values).all() and values.max() < toys(name).score(footage["odd test"]).values.min()


def test_a_method_that_learns_nothing_can_be_kept_without_fitting(tmp_path):
    detector = kind_of("agitation")(smooth=0.3)
    loaded = base.load(detector.save(tmp_path))
    assert loaded.smooth == 0.3
    notes = replace(drawn(0, odd=True), encoder="")
    assert np.array_equal(loaded.curve(notes).values, detector.curve(notes).values)
