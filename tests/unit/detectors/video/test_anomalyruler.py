"""AnomalyRuler: worked smoothing, all steps with a scripted model, offline rules, saving."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, InputError
from oddwatch.detectors.video.anomalyruler import AnomalyRuler, doubly_right, smoothed
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.rules import RuleBook
from oddwatch.language.scripted import FunctionModel
from oddwatch.metrics.ranking import auroc
from oddwatch.scoring.curves import ema, majority

BOOK = RuleBook(("Walking",), ("Trees",), ("Running",), ("Bicycles",))


def watched(*captions: str, name: str = "clip", every: int = 1) -> Notes:
    """Notes of a clip of which every ``every``-th frame was captioned."""
    n = len(captions) * every
    return Notes(name, (36, 64), np.arange(n) / 10, looked=np.arange(0, n, every), captions=captions)


def test_the_worked_track():
    y = np.array([0, 0, 1, 0, 1, 1, 0, 0], float)
    average = ema(y, 0.33)
    vote = majority(average, average.mean(), 1)
    np.testing.assert_array_equal(smoothed(y, 0.33, 1), vote)
    np.testing.assert_allclose(
        ema(vote.astype(float), float(average.mean())),
        [0, 0, 0, 0.424823, 0.651760, 0.783060, 0.862554, 0.552176],
        atol=1e-5,
    )


def test_nothing_found_is_normal_and_everything_found_is_anomalous():
    assert not smoothed(np.zeros(9), 0.33, 5).any()
    assert smoothed(np.ones(9), 0.33, 5).all()
    assert smoothed(np.zeros(0), 0.33, 5).shape == (0,)
    for text, value in (("a man is walking", 0.0), ("a man is running", 1.0)):
        np.testing.assert_array_equal(AnomalyRuler(book=BOOK).curve(watched(*[text] * 6)).values, value)


def test_keywords_of_a_given_book_need_no_fitting_and_no_model():
    captions = ["a man is walking"] * 6 + ["a man is running"] * 6 + ["a man is walking"] * 6
    detector = AnomalyRuler(book=BOOK, reach=1)
    assert detector.rule_book is not None and detector.rule_book.keywords == ("running", "bicycle")
    curve = detector.curve(watched(*captions))
    y = np.array([0.0] * 6 + [1.0] * 6 + [0.0] * 6)
    np.testing.assert_allclose(curve.values, ema(smoothed(y, 0.33, 1).astype(float), 0.33))
    assert curve.values[8] > 0.6 > curve.values[3]
    told = detector.told(watched(*captions))
    assert told[8].text == "running" and told[3].text == "" and told[8].span.start == 0.8


def test_an_empty_caption_says_neither():
    captions = ["a man is running", "", "a man is running", "a man is walking"]
    reading = AnomalyRuler(book=BOOK).read(watched(*captions))
    np.testing.assert_array_equal(reading.first, [1, 1, 1, 0])
    assert AnomalyRuler(book=BOOK).told(watched(*captions))[1].score is UNKNOWN


def test_all_five_steps_with_a_model():
    normal = watched(*["the first person is walking, there are trees"] * 3, name="quiet")
    test = watched(
        *["the first person is walking"] * 3,
        *["the first person is running", "the first person is walking", "the first person is running"],
        *["the first person is walking"] * 2,
    )
    asked: list[str] = []

    def answer(question):
        text = question.text
        if "List the words" in text:
            return "['running', 'walking']"
        if "Set 1" in text:
            return BOOK.text()
        if "These frames are normal" in text:
            return RuleBook(("Walking",), ("Trees",), ("Jumping",), ("Vans",)).text()
        asked.append(text)
        return "None.\nOutput: 1" if "person is running" in text else "None.\nOutput: 0"

    detector = AnomalyRuler(chat=FunctionModel(answer), reach=1, span=3).fit([normal])
    assert detector.rule_book == RuleBook(("Walking",), ("Trees",), ("Running",), ("Bicycles",), ("running",))
    reading = detector.read(test)
    np.testing.assert_array_equal(reading.first, [0, 0, 0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(reading.vote, [0, 0, 0, 1, 1, 1, 1, 1])
    # Mended by the vote: the fifth and the last two run as well.
    np.testing.assert_allclose(reading.final, ema([0, 0, 0, 1, 1, 1, 1, 1], span=3))
    np.testing.assert_array_equal(detector.curve(test).values, reading.final)
    # An equal question is asked once a reading.
    assert sum('found "running"' in text for text in asked) == 2


def test_a_single_hit_is_outvoted_and_leaves_the_caption():
    captions = ["the first person is walking"] * 14
    captions[6] = "there are trees, the first person is running"
    model = FunctionModel(lambda q: f"Output: {int('running' in q.text.partition('The frame')[2])}")
    reading = AnomalyRuler(book=BOOK, chat=model).read(watched(*captions))
    assert reading.first[6] == 1 and not reading.vote.any()
    np.testing.assert_array_equal(reading.final, 0)
    assert any('The frame: "there are trees"' in q.text for q in model.history)


def test_a_model_without_rules_for_anomalies_is_done_without(caplog):
    """As small models are: they go on about what is normal."""
    normal = [watched(*["a man is walking near a bench"] * 20)]
    chat = FunctionModel(lambda q: "Normal human activities:\n- Walking\n- Walking\n", repairs=0)
    test = watched(*["a man is strolling"] * 4, *["a man is riding a bicycle"] * 4)
    detector = AnomalyRuler(chat=chat).fit(normal)
    assert detector.rule_book is None and "no rule for anomalies" in caplog.text
    np.testing.assert_array_equal(detector.curve(test).values, AnomalyRuler().fit(normal).curve(test).values)


def test_a_verdict_that_cannot_be_read_is_the_vote():
    test = watched(*["a man is walking"] * 4, *["a man is running"] * 4)
    model = FunctionModel(lambda q: "I would not know")
    reading = AnomalyRuler(book=BOOK, chat=model, reach=0).read(test)
    np.testing.assert_allclose(reading.final, ema(reading.vote.astype(float), span=10))
    assert reading.vote[-1] and not reading.vote[0]


def test_without_a_model_rules_are_what_normal_captions_speak_of(tmp_path):
    normal = [watched(*["a man is walking near a bench"] * 20, name=str(i)) for i in range(2)]
    detector = AnomalyRuler().fit(normal)
    test = watched(*["a man is strolling"] * 4, *["a man is riding a bicycle"] * 4, every=3)
    curve = detector.curve(test)
    assert len(curve.values) == 24
    assert curve.values[:10].max() < 0.1 and curve.values[-1] > 0.7
    assert detector.told(test)[5].text == "riding"
    from oddwatch.detectors.kept import read

    detector.save(tmp_path)
    kept = read(tmp_path)
    assert kept.method == "anomalyruler" and "chat" not in kept.arguments and "book" not in kept.arguments
    again = AnomalyRuler(**kept.arguments)
    again.restore(kept.arrays)
    again.fitted = True
    np.testing.assert_array_equal(again.curve(test).values, curve.values)
    assert detector.curve(watched()).values.shape == (0,)


def test_doubly_right_is_four_cells_that_sum_to_one():
    """The published 100 frames: 83 right for the right reason, 1, 15 and 1."""
    decisions = [True] * 84 + [False] * 16
    reasons = [True] * 83 + [False] + [True] * 15 + [False]
    cells = doubly_right(decisions, reasons)
    assert cells == {"RR": 0.83, "RW": 0.01, "WR": 0.15, "WW": 0.01}
    assert sum(cells.values()) == pytest.approx(1)
    with pytest.raises(InputError, match="reasons"):
        doubly_right([True], [])


def test_captions_are_needed():
    bare = Notes("clip", (36, 64), np.arange(3) / 10)
    with pytest.raises(InputError, match="captions"):
        AnomalyRuler().fit([bare])
    with pytest.raises(InputError, match="captions"):
        AnomalyRuler(book=BOOK).curve(bare)
    with pytest.raises(InputError, match="fit"):
        AnomalyRuler().curve(bare)
    with pytest.raises(InputError, match="alpha"):
        AnomalyRuler(alpha=0)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("ped2", (9, 10, 12, 14)),
        ("avenue", (10, 10, 11, 10)),
        ("SHTech", (9, 10, 11, 13)),
        ("UBNormal", (7, 5, 5, 4)),
    ],
)
def test_published_rules_are_read_whole(name, sizes, data_root):
    path = data_root / "anomalyruler_text" / f"rule_{name}.txt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    book = RuleBook.read(path.read_text(encoding="utf-8"))
    assert (
        len(book.normal_human),
        len(book.normal_env),
        len(book.anomaly_human),
        len(book.anomaly_env),
    ) == sizes
    words = AnomalyRuler(book=book).rule_book.keywords
    assert {"running", "riding", "bicycle"} <= set(words) and not {"walking", "tree", "bag"} & set(words)


def test_published_rules_find_what_the_paper_finds_on_ped2(data_root):
    """The paper's AUC without its model's reasoning is 0.965, on all 12 clips; here are 9."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = data_root / "anomalyruler_text"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    table = parquet.read_table(folder / "ped2.parquet").to_pydict()
    videos = np.array(table["video"])
    detector = AnomalyRuler(book=RuleBook.read((folder / "rule_ped2.txt").read_text(encoding="utf-8")))
    scores, labels = [], []
    for name in dict.fromkeys(table["video"]):
        at = np.flatnonzero(videos == name)
        scores.append(detector.curve(watched(*(table["description"][i] for i in at))).values)
        labels.append([table["label"][i] for i in at])
    assert auroc(np.concatenate(labels), np.concatenate(scores)).value == pytest.approx(0.966, abs=0.005)
