"""LAVAD: the worked numbers, and the whole chain with looked-up vectors and a scripted model."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, InputError
from oddwatch.detectors.kept import read
from oddwatch.detectors.video.asking import stride_of
from oddwatch.detectors.video.lavad import LAVAD, distinct, nearest
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.vera import VERA
from oddwatch.language.scripted import FunctionModel, ScriptedModel

QUERIES = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]])
KEYS = np.array([[0.6, 0.8], [1, 0], [0.8, 0.6], [0, 1]])


class Table:
    """A text encoder that looks its vectors up."""

    id, dim = "table", 2

    def __init__(self, **rows):
        self.rows = {name: np.array(row, float) for name, row in rows.items()}

    def encode(self, texts):
        return np.stack([self.rows[t] for t in texts])


class TableOfBoth(Table):
    """A dual encoder that looks its vectors up; a picture's name is its first pixel."""

    def encode_texts(self, texts):
        return self.encode(texts)

    def encode_images(self, frames):
        return np.stack([self.rows[f"p{f[0, 0, 0]}"] for f in frames])


def watched(captions, fps=30.0):
    n = len(captions)
    return Notes("clip", (36, 64), np.arange(n) / fps, looked=np.arange(n), captions=tuple(captions))


def test_the_nearest_caption_of_the_worked_example():
    np.testing.assert_array_equal(nearest(QUERIES, KEYS), [1, 2, 0, 3])


def test_a_caption_said_twice_is_kept_at_its_first_frame():
    assert distinct(["a", "b", "a", "c"], [0, 16, 32, 48]) == (["a", "b", "c"], [0, 16, 48])


def test_windows_are_those_of_the_paper():
    notes = watched(["x"] * 1000, fps=30)
    windows = LAVAD().windows(notes)
    assert len(windows) == 63
    assert [(w.start, w.stop) for w in (windows[0], windows[30])] == [(0, 150), (330, 630)]
    np.testing.assert_array_equal(windows[0].looks, [0, 16, 33, 49, 66, 82, 99, 115, 132, 149])
    np.testing.assert_array_equal(
        windows[30].looks, 330 + np.array([0, 33, 66, 99, 132, 166, 199, 232, 265, 299])
    )


@pytest.mark.parametrize(("fps", "stride"), [(30, 16), (25, 16), (15, 16), (5, 3), (2, 1), (0.2, 1)])
def test_where_only_looks_were_noted_a_rating_lasts_as_long(fps, stride):
    """Two looks a second, as the program takes by default: a rating each half second, not one in eight."""
    notes = watched(["a man is walking", "two men are fighting"] * 20, fps=fps)
    assert stride_of(notes, 16) == stride
    told = LAVAD().told(notes)
    assert len(told) == len(VERA().told(notes)) == -(-40 // stride)
    assert told[0].span.duration == pytest.approx(stride / fps) and told[-1].span.end == pytest.approx(
        40 / fps
    )
    assert len(LAVAD().curve(notes).values) == len(VERA().curve(notes).values) == 40


def test_the_whole_chain_gives_the_worked_track():
    """Windows of one frame, whose pictures and summaries are the vectors of toy A; ratings 0.1, 0.2, 0.9, 0.8."""
    table = TableOfBoth(
        p0=QUERIES[0], p1=QUERIES[1], p2=QUERIES[2], p3=QUERIES[3],
        a=KEYS[0], b=KEYS[1], c=KEYS[2], d=KEYS[3],
        **{f"summary {i}": KEYS[i] for i in range(4)},
    )  # fmt: skip
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(4)]
    notes = Notes(
        "clip", (2, 2), np.arange(64) / 30, looked=np.arange(0, 64, 16), captions=("a", "b", "c", "d")
    )
    for k, track in (
        (1, [0.2, 0.9, 0.1, 0.8]),
        (2, [0.515116, 0.507999, 0.492001, 0.484884]),
        (4, [0.454401, 0.491640, 0.508360, 0.545599]),
    ):
        chat = ScriptedModel(
            [*(f"So:\nsummary {i}" for i in range(4)), "[0.1]", "The score is [0.2].", "[0.9]", "[0.8]"]
        )
        detector = LAVAD(
            k=k,
            seconds=1 / 30,
            frames=1,
            chat=chat,
            dual=table,
            pictures=lambda n, at: [frames[i // 16] for i in at],
        )
        np.testing.assert_allclose(detector.curve(notes).values, np.repeat(track, 16), atol=1e-5)
        # Captions were cleaned by the pictures: the first picture is nearest to the second caption.
        shown = [q.text.split("\n")[3] for q in chat.history[:4]]
        assert shown == ["b", "c", "a", "d"]


def test_an_unrated_window_is_filled_from_its_neighbours():
    # The captions differ: equal windows are asked about once.
    table = Table(**{f"x{i}": [1, 0] for i in range(48)}, s0=[1, 0], s1=[0, 1], s2=[-1, 0])
    notes = watched([f"x{i}" for i in range(48)])
    # The bare number is asked about once more, and no form is filled in either.
    replies = ["s0", "s1", "s2", "[0.2]", "0.9", "[0.8]", "quite high"]
    detector = LAVAD(seconds=1 / 3, k=1, clean=False, chat=ScriptedModel(replies, repairs=0), sentences=table)
    rated = LAVAD(
        seconds=1 / 3,
        k=3,
        temperature=1e6,
        clean=False,
        chat=ScriptedModel(replies, repairs=0),
        sentences=table,
    )
    np.testing.assert_allclose(detector.curve(notes).values, 0.2)
    # Equal weights: the mean of 0.2, the filled 0.5 and 0.8.
    np.testing.assert_allclose(rated.curve(notes).values, 0.5, atol=1e-5)


def test_a_rating_without_brackets_is_asked_for_as_json():
    table = Table(**{f"x{i}": [1, 0] for i in range(16)}, s0=[1, 0])
    chat = ScriptedModel(["s0", "The suspicion is 1.", {"score": 0.3}], repairs=0)
    curve = LAVAD(clean=False, chat=chat, sentences=table).curve(watched([f"x{i}" for i in range(16)]))
    np.testing.assert_allclose(curve.values, 0.3)
    assert chat.history[1].schema is None and chat.history[2].schema["properties"]["score"]["enum"][3] == 0.3


def test_one_summary_gives_a_constant_track():
    table = Table(x=[1, 0], y=[0, 1], same=[0.6, 0.8])
    chat = FunctionModel(lambda q: "[0.7]" if "Python list" in q.text else "same")
    curve = LAVAD(seconds=1 / 3, chat=chat, sentences=table).curve(watched(["x", "y"] * 40))
    np.testing.assert_allclose(curve.values, 0.7)
    np.testing.assert_array_equal(curve.cues["language"], curve.values)


def test_turning_all_vectors_changes_nothing():
    rng = np.random.default_rng(3)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    names = [f"c{i}" for i in range(20)]
    rows = dict(zip(names, rng.normal(size=(20, 6)), strict=True))
    notes = watched([n for n in names for _ in range(8)])
    tracks = []
    for change in (np.eye(6), turn):
        table = Table(**{n: row @ change for n, row in rows.items()})
        chat = FunctionModel(
            lambda q: (
                f"[0.{sum(map(ord, q.text)) % 10}]" if "Python list" in q.text else q.text.split("\n")[3]
            )
        )
        tracks.append(LAVAD(seconds=1 / 3, chat=chat, sentences=table).curve(notes).values)
    np.testing.assert_allclose(tracks[0], tracks[1], atol=1e-9)
    assert np.ptp(tracks[0]) > 0


def test_without_any_rating_nothing_is_known():
    table = Table(x=[1, 0], s=[1, 0])
    chat = FunctionModel(lambda q: "no" if "Python list" in q.text else "s", repairs=0)
    detector = LAVAD(chat=chat, sentences=table)
    assert all(t.score is UNKNOWN and t.text == "s" for t in detector.told(watched(["x"] * 20)))
    np.testing.assert_array_equal(detector.curve(watched(["x"] * 20)).values, 0)


def test_without_a_model_sentence_vectors_rate_the_middlemost_caption():
    quiet = ["There are two people. One person is walking and the other is standing."] * 30
    wild = ["Two men are fighting, one is punching the other, who falls to the ground."] * 30
    detector = LAVAD(seconds=20 / 30)
    curve = detector.curve(watched(quiet + wild + quiet))
    assert curve.values[44] > curve.values[:16].max() and curve.values[44] > curve.values[-5:].max()
    told = detector.told(watched(quiet + wild + quiet))
    assert told[0].text == quiet[0] and told[0].span.start == 0 and told[-1].span.end == 3
    np.testing.assert_array_equal(
        detector.score([watched(wild)]).values > detector.score([watched(quiet)]).values, True
    )


def test_arguments_are_checked():
    with pytest.raises(InputError, match="role"):
        LAVAD(role="judge")
    with pytest.raises(InputError, match="stride"):
        LAVAD(stride=0)
    with pytest.raises(InputError, match="pictures"):
        LAVAD(dual=TableOfBoth())
    with pytest.raises(InputError, match="captions"):
        LAVAD().curve(Notes("clip", (2, 2), np.arange(3.0)))


def test_arguments_are_kept_and_models_are_not(tmp_path):
    table = Table(x=[1, 0])
    LAVAD(k=3, role="crime", sentences=table, chat=FunctionModel(lambda q: "")).fit([]).save(tmp_path)
    again = LAVAD(**read(tmp_path).arguments)
    assert (again.k, again.role, again.chat, again.sentences) == (3, "crime", None, None)
